/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A daemon state for the tests of everything that shows it. It has two services, one of them in
 * shadow mode, model "llama" shut by its TTFT, model "fresh" without a sample, and counts that add
 * up.
 */
#ifndef SLUICE_STATE_FIXTURE_H
#define SLUICE_STATE_FIXTURE_H

#include <stdlib.h>
#include <string.h>

#include "core/controller.h"
#include "core/state.h"

#define FIXTURE_NOW_NS  1000000000000ULL       /* 1000 s after boot */
#define FIXTURE_UNIX_NS 1700000000000000000ULL /* 2023-11-14 22:13:20 UTC */
#define FIXTURE_LLAMA   2
#define FIXTURE_FRESH   3

struct fixture {
	struct controller controller;
	struct daemon_state state;
	struct state_interface interfaces[1];
	struct service services[2];
	struct state_count counts[6];
	struct state_map maps[2];
	struct state_client clients[2];
	struct trouble troubles[SLUICE_SERVICES_MAX + 1][TROUBLE_KINDS];
};

static inline void fixture_sample(struct fixture *f, uint32_t id, unsigned kind, double ms,
				  unsigned n)
{
	struct sluice_sample sample = {
		.time_ns = FIXTURE_NOW_NS,
		.sum_ns = (__u64)(ms * 1e6) * n,
		.n = n,
		.model = (__u16)id,
		.kind = (__u8)kind,
	};

	controller_sample(&f->controller, &sample);
}

static inline void fixture_address(uint8_t addr[16], uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
	const uint8_t v4[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d};

	memcpy(addr, v4, sizeof(v4));
}

static inline struct fixture *fixture_new(void)
{
	const struct controller_targets all = {
		.ttft_ms = 1000,
		.itl_ms = 30,
		.tau_s = 15,
		.max_in_flight = -1,
	};
	struct fixture *f = calloc(1, sizeof(*f));
	struct daemon_state *s = &f->state;

	controller_init(&f->controller, &all, true);
	controller_learn(&f->controller, "llama", FIXTURE_NOW_NS);
	controller_learn(&f->controller, "fresh", FIXTURE_NOW_NS);
	fixture_sample(f, FIXTURE_LLAMA, SLUICE_SAMPLE_TTFT, 2000, 1);
	fixture_sample(f, FIXTURE_LLAMA, SLUICE_SAMPLE_ITL, 12.5, 4);
	fixture_sample(f, FIXTURE_LLAMA, SLUICE_SAMPLE_DURATION, 80, 50);
	f->controller.model[FIXTURE_LLAMA].own.max_in_flight = 64;
	s->now_ns = FIXTURE_NOW_NS;
	s->unix_ns = FIXTURE_UNIX_NS;
	s->started_ns = FIXTURE_NOW_NS - 61000000000ULL;
	s->pid = 4711;
	s->mode = SLUICE_MODE_ENFORCE;
	s->policy = "ema-flag";
	s->lease_ms = 2000;
	s->lease_until_ns = FIXTURE_NOW_NS + 2000000000ULL;
	s->controller = &f->controller;
	s->troubles = (const struct trouble(*)[TROUBLE_KINDS])f->troubles;
	f->troubles[0][TROUBLE_OPAQUE] =
		(struct trouble){.on = true, .since_ns = FIXTURE_NOW_NS - 60000000000ULL};
	s->changed_ns[FIXTURE_LLAMA] = FIXTURE_NOW_NS - 42000000000ULL;
	s->kernel[SLUICE_MODEL_ALL] = (struct state_load){.in_flight = 5, .waiting = 2};
	s->kernel[FIXTURE_LLAMA] = (struct state_load){.in_flight = 5, .waiting = 2};
	s->kernel[FIXTURE_FRESH] =
		(struct state_load){.in_flight = -1}; /* read between two CPUs' updates */
	for (unsigned i = 0; i < SLUICE_HISTOGRAM_BUCKETS; i++)
		s->histograms[FIXTURE_LLAMA].count[0][i] = i;
	s->histograms[FIXTURE_LLAMA].sum_ns[0] = 1500000000;
	s->histograms[FIXTURE_LLAMA].count[SLUICE_LATENCY_DURATION][9] = 3;
	s->histograms[FIXTURE_LLAMA].sum_ns[SLUICE_LATENCY_DURATION] = 250000000;
	s->histograms[FIXTURE_LLAMA].count[SLUICE_LATENCY_NORMALIZED][5] = 2;
	s->histograms[FIXTURE_LLAMA].sum_ns[SLUICE_LATENCY_NORMALIZED] = 6000000;
	s->histograms[FIXTURE_LLAMA].met[SLUICE_LATENCY_TTFT] = 190;
	s->histograms[FIXTURE_LLAMA].output_tokens = 12345;
	s->histograms[FIXTURE_LLAMA].missed[SLUICE_LATENCY_TTFT] = 10;
	s->histograms[FIXTURE_LLAMA].missed[SLUICE_LATENCY_NORMALIZED] = 2;
	for (unsigned i = 0; i < SLUICE_COUNTER_COUNT; i++)
		s->counters[i] = 100 + i;

	f->interfaces[0] = (struct state_interface){
		.name = "eth0", .xdp = "native", .tcx = true, .attached = {true, true, true}};
	f->services[0] = (struct service){
		.wildcard = true,
		.port = 8000,
		.protocol = SLUICE_PROTOCOL_HTTP,
		.action = SLUICE_ACTION_REPLY,
		.mode = SLUICE_MODE_ENFORCE,
		.model_id = FIXTURE_LLAMA,
	};
	f->services[1] = (struct service){
		.addr = {0x20, 0x01, 0x0d, 0xb8, [15] = 1},
		.port = 443,
		.protocol = SLUICE_PROTOCOL_OPAQUE,
		.action = SLUICE_ACTION_RESET,
		.mode = SLUICE_MODE_SHADOW,
		.model_id = FIXTURE_FRESH,
	};
	f->counts[0] =
		(struct state_count){{0, FIXTURE_LLAMA, SLUICE_VERDICT_ADMITTED, 0, 0, 0}, 70};
	f->counts[1] = (struct state_count){
		{0, FIXTURE_LLAMA, SLUICE_VERDICT_REJECTED, SLUICE_REASON_TTFT, 0, 0}, 20};
	f->counts[2] = (struct state_count){
		{0, FIXTURE_LLAMA, SLUICE_VERDICT_REJECTED, SLUICE_REASON_CLIENT_BLOCKED, 0, 0}, 3};
	f->counts[3] =
		(struct state_count){{1, FIXTURE_FRESH, SLUICE_VERDICT_ADMITTED, 0, 0, 0}, 7};
	f->counts[4] = (struct state_count){
		{1, FIXTURE_FRESH, SLUICE_VERDICT_SHADOW_REJECTED, SLUICE_REASON_ITL, 0, 0}, 1};
	f->counts[5] = (struct state_count){
		{0, FIXTURE_LLAMA, SLUICE_VERDICT_SYN_RESET, SLUICE_REASON_CLIENT_BLOCKED, 0, 0},
		9};
	f->maps[0] = (struct state_map){"conns", 10, 65536, 0};
	f->maps[1] = (struct state_map){"tombstones", 65000, 65536, 4};
	fixture_address(f->clients[0].client.addr, 192, 0, 2, 1);
	f->clients[0].client.plen = 128;
	f->clients[0].count = (struct sluice_client_count){
		.admitted = 70,
		.rejected = 20,
		.last_seen_ns = FIXTURE_NOW_NS - 9000000000ULL,
		.last_reason = SLUICE_REASON_TTFT,
		.last_model = FIXTURE_LLAMA,
		.by_reason = {[SLUICE_REASON_TTFT] = 18, [SLUICE_REASON_REQUEST_QUOTA] = 2},
		.shadow_by_reason = {[SLUICE_REASON_ITL] = 6},
	};
	f->clients[0].in_flight = 5;
	f->clients[1].client = (struct sluice_client){.addr = {0x20, 0x01, 0x0d, 0xb8}, .plen = 64};
	f->clients[1].count = (struct sluice_client_count){
		.admitted = 7,
		.last_seen_ns = FIXTURE_NOW_NS - 1000000000ULL,
		.last_model = FIXTURE_FRESH,
		.last_service = 1,
	};
	s->interfaces = f->interfaces;
	s->interface_count = 1;
	s->services = f->services;
	s->service_count = 2;
	s->counts = f->counts;
	s->count_count = 6;
	s->maps = f->maps;
	s->map_count = 2;
	s->clients = f->clients;
	s->client_count = 2;
	return f;
}

#endif
