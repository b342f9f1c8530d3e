/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The policies: what the kernel and the daemon do together, by their own code and at the same
 * times. An arrival gets its verdict by what the last tick wrote. Samples arrive as they occur.
 */
#ifndef SLUICE_SIM_POLICY_H
#define SLUICE_SIM_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/waits.h>

#include "core/adaptive.h"
#include "core/ema.h"
#include "sim/random.h"
#include "sim/workload.h"

#define POLICY_TICK_NS 100000000ULL

enum policy_kind {
	POLICY_NONE,
	POLICY_FIXED,    /* a limit of requests in flight */
	POLICY_EMA_FLAG, /* shut while an average is over its target */
	POLICY_ADAPTIVE,
};

struct policy_rule {
	enum policy_kind kind;
	uint32_t limit; /* FIXED */
	double tau_s;   /* EMA_FLAG */
	struct adaptive_targets targets;
};

/* What the kernel keeps of an admitted request. */
struct policy_request {
	uint64_t admitted_ns, first_ns;
	uint64_t turn; /* the admissions until it, itself included */
	uint32_t queued_bytes, in_flight_at_admission;
	uint32_t wait_end; /* the predicted end of its wait: time of a slot of waits */
	bool waiting;      /* counted as waiting: its first token will show */
	bool expected;     /* its bytes are in waits until then */
};

/* What `sluicectl status` would show of a run. */
struct policy_shown {
	uint32_t changes;            /* between open and shut */
	uint32_t shut_while_replies; /* ticks: shut, and a response ended in the last 100 ms */
	uint32_t above_ceiling;      /* admissions that put more in flight than the ceiling */
	uint32_t in_flight, ceiling; /* the highest of each */
};

struct policy {
	struct policy_rule rule;
	const struct workload *work;
	struct policy_request *requests; /* by id */
	struct sluice_holding *held;     /* by client */
	uint64_t *client_seen_ns;        /* its last request; 0: none */
	struct admission_load load;
	uint64_t began_ns; /* sum of the times of admission of those in flight */
	struct sluice_waits waits;
	uint64_t first_token_ns, began_waiting_ns;
	uint32_t decoding[2]; /* requests past their first token: [1] those that are not streamed */
	double streamed;      /* share of those that decode now, or did last */
	uint32_t *order;      /* ids in order of admission */
	uint32_t order_count, oldest; /* oldest: index of the first that may still wait */
	struct adaptive_view view;
	struct adaptive adaptive;
	struct sluice_admission written;
	struct ema ttft, itl;
	bool shut;
	struct policy_shown shown;
	uint64_t ended_at_tick; /* view.ended, at the last tick */
	struct chance spread;
};

/* 0 or -ENOMEM. */
int policy_init(struct policy *p, const struct policy_rule *rule, const struct workload *work);
void policy_free(struct policy *p);

/* Whether request `id` is admitted; then it is in flight and waiting. */
bool policy_judge(struct policy *p, uint32_t id, uint64_t now_ns);
/* Retry-After in seconds, for the request just refused. */
uint32_t policy_retry_s(struct policy *p, uint64_t now_ns);
/* Events of a response: its first token, gaps of all responses in the last 100 ms, its end. */
void policy_first_token(struct policy *p, uint32_t id, uint64_t now_ns);
void policy_gaps(struct policy *p, uint64_t sum_ns, uint64_t count, uint64_t now_ns);
void policy_ended(struct policy *p, uint32_t id, uint64_t now_ns);
/* The daemon's tick, every 100 ms. policy_ticks(): whether the policy needs it. */
bool policy_ticks(const struct policy *p);
void policy_tick(struct policy *p, uint64_t now_ns);

/* The target of a request for its first token, in ms. */
double policy_ttft_ms(const struct adaptive_targets *t, uint32_t bytes);

#endif
