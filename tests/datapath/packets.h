/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Plays packets to the programs through BPF_PROG_TEST_RUN, and reads the output byte by byte. A
 * test is a row: the packets of one connection in order, the outcome of each, and the maps at the
 * end. The one idea: every packet that a program sends passes the programs again, as on an
 * interface, and must pass unchanged; and a packet that passes must be the same packet.
 *
 * Time is settings.clock_ns, which the rows move. A packet socket on a veth, in a network namespace
 * of the test's own, catches clones.
 */
#ifndef SLUICE_PACKETS_H
#define SLUICE_PACKETS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cmocka.h>

#include <sluice/http1_wanted.h>

#include "core/reply_text.h"
#include "sluice.skel.h"

#define FIN  0x01
#define SYN  0x02
#define RST  0x04
#define PSH  0x08
#define ACK  0x10
#define NONE 0x80 /* as a row's flags: none at all */

#define MS          1000000ULL
#define CLOCK_START (1000000 * MS)
#define HOUR        (3600000 * MS)

#define HTTP_PORT    8000
#define OPAQUE_PORT  9000
#define CLIENT_PORT  40001
#define HTTP_ID      3
#define OPAQUE_ID    4
#define OTHER_ID     6
#define LLAMA        2 /* default model of the HTTP service */
#define QWEN         3
#define OPAQUE_MODEL 5
#define MODELS_USED  16
#define CLIENT_ISN   0xfffffff0u /* both sides' numbers wrap soon */
#define SERVER_ISN   0x7ffffff8u
#define TS_VAL       0x01020304u
#define TS_ECR       0xa1b2c3d4u

static const uint8_t client_v4[16] = {[10] = 0xff, 0xff, 198, 51, 100, 7};
static const uint8_t server_v4[16] = {[10] = 0xff, 0xff, 192, 0, 2, 1};
static const uint8_t client_v6[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 0x77, 0, 0, [15] = 7};
static const uint8_t server_v6[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, [15] = 1};
static const uint8_t client_mac[6] = {2, 0, 0, 0, 0, 0xc};
static const uint8_t server_mac[6] = {2, 0, 0, 0, 0, 0x5};

/* ---- the wire ---- */

enum link { LINK_ETHERNET, LINK_VLAN, LINK_QINQ, LINK_NONE };

enum options {
	OPTIONS_NONE,
	OPTIONS_TS,      /* NOP NOP TS: what stacks send */
	OPTIONS_TS_SACK, /* … and a SACK block after it */
	OPTIONS_SACK_TS, /* … or before it */
	OPTIONS_TS_BARE, /* TS first, padded after it */
	OPTIONS_SYN,     /* MSS, SACK permitted, TS, NOP, window scale */
	OPTIONS_SACK,    /* no timestamps */
};

struct shape {
	bool ipv6;
	enum link link;
	enum options options;
	bool partial; /* the TCP checksum is the pseudo-header's sum, as on packets of this host */
};

struct segment {
	bool from_server;
	uint8_t flags;
	uint32_t seq, ack;
	uint16_t window;
	const void *text;
	size_t len;
	uint16_t client_port, server_port; /* 0: the usual */
};

#define FRAME_MAX 3600

struct frame {
	size_t len;
	uint8_t data[FRAME_MAX + 512];
};

static inline void put16(uint8_t *at, uint16_t v)
{
	at[0] = v >> 8;
	at[1] = v;
}

static inline void put32(uint8_t *at, uint32_t v)
{
	put16(at, v >> 16);
	put16(at + 2, v);
}

static inline uint16_t get16(const uint8_t *at)
{
	return at[0] << 8 | at[1];
}

static inline uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

/* RFC 1071, over bytes in memory order; not complemented. */
static inline uint16_t sum_bytes(uint32_t sum, const uint8_t *at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? at[i] : at[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static inline uint16_t sum_pseudo(const uint8_t *src, const uint8_t *dst, size_t addr, size_t len)
{
	return sum_bytes(
		sum_bytes(sum_bytes(6 + (len >> 16) + (len & 0xffff), src, addr), dst, addr), NULL,
		0);
}

static inline size_t put_options(uint8_t *at, enum options options)
{
	static const uint8_t ts[] = {1, 1, 8, 10, 1, 2, 3, 4, 0xa1, 0xb2, 0xc3, 0xd4};
	static const uint8_t sack[] = {1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 9};
	static const uint8_t syn[] = {2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2,
				      3, 4, 0, 0,    0, 0, 1, 3,  3, 7};
	size_t n = 0;

	if (options == OPTIONS_SACK_TS || options == OPTIONS_SACK)
		n = sizeof(sack), memcpy(at, sack, n);
	if (options == OPTIONS_TS || options == OPTIONS_TS_SACK || options == OPTIONS_SACK_TS)
		memcpy(at + n, ts, sizeof(ts)), n += sizeof(ts);
	if (options == OPTIONS_TS_SACK)
		memcpy(at + n, sack, sizeof(sack)), n += sizeof(sack);
	if (options == OPTIONS_TS_BARE) {
		memcpy(at, ts + 2, 10);
		memset(at + 10, 0, 2);
		n = 12;
	}
	if (options == OPTIONS_SYN)
		n = sizeof(syn), memcpy(at, syn, n);
	return n;
}

static inline size_t put_link(uint8_t *at, const struct shape *shape, bool from_server)
{
	size_t n = 12;

	if (shape->link == LINK_NONE)
		return 0;
	memcpy(at, from_server ? client_mac : server_mac, 6);
	memcpy(at + 6, from_server ? server_mac : client_mac, 6);
	if (shape->link == LINK_QINQ) {
		put16(at + n, ETH_P_8021AD);
		put16(at + n + 2, 0x2007);
		n += 4;
	}
	if (shape->link != LINK_ETHERNET) {
		put16(at + n, ETH_P_8021Q);
		put16(at + n + 2, 0x6123);
		n += 4;
	}
	put16(at + n, shape->ipv6 ? ETH_P_IPV6 : ETH_P_IP);
	return n + 2;
}

static inline void make_frame(struct frame *f, const struct shape *shape, const struct segment *s)
{
	const uint8_t *client = shape->ipv6 ? client_v6 : client_v4 + 12;
	const uint8_t *server = shape->ipv6 ? server_v6 : server_v4 + 12;
	const uint8_t *src = s->from_server ? server : client,
		      *dst = s->from_server ? client : server;
	uint16_t cport = s->client_port ? s->client_port : CLIENT_PORT;
	uint16_t sport = s->server_port ? s->server_port : HTTP_PORT;
	uint8_t *ip, *tcp;
	size_t tcp_len;
	uint16_t sum;

	memset(f, 0, sizeof(*f));
	ip = f->data + put_link(f->data, shape, s->from_server);
	tcp = ip + (shape->ipv6 ? 40 : 20);
	tcp_len = 20 + put_options(tcp + 20, shape->options);
	put16(tcp, s->from_server ? sport : cport);
	put16(tcp + 2, s->from_server ? cport : sport);
	put32(tcp + 4, s->seq);
	put32(tcp + 8, s->flags & ACK ? s->ack : 0);
	tcp[12] = tcp_len / 4 << 4;
	tcp[13] = s->flags;
	put16(tcp + 14, s->window);
	assert_true(tcp_len + s->len < FRAME_MAX - 80);
	memcpy(tcp + tcp_len, s->text, s->len);
	tcp_len += s->len;
	if (shape->ipv6) {
		ip[0] = 0x60;
		put16(ip + 4, tcp_len);
		ip[6] = 6;
		ip[7] = 61;
		memcpy(ip + 8, src, 16);
		memcpy(ip + 24, dst, 16);
	} else {
		ip[0] = 0x45;
		put16(ip + 2, 20 + tcp_len);
		put16(ip + 4, 0x1d1d);
		put16(ip + 6, 0x4000);
		ip[8] = 61;
		ip[9] = 6;
		memcpy(ip + 12, src, 4);
		memcpy(ip + 16, dst, 4);
		put16(ip + 10, ~sum_bytes(0, ip, 20));
	}
	sum = sum_pseudo(src, dst, shape->ipv6 ? 16 : 4, tcp_len);
	put16(tcp + 16, shape->partial ? sum : (uint16_t)~sum_bytes(sum, tcp, tcp_len));
	f->len = tcp + tcp_len - f->data;
}

/* A packet that came out. */
struct seen {
	bool from_server; /* by its addresses and ports */
	uint32_t seq, ack;
	uint8_t flags;
	uint16_t window;
	bool timestamps;
	uint32_t ts_val, ts_ecr;
	const uint8_t *text;
	size_t len;
};

/*
 * The bytes between IP and TCP: options, or extension headers of which `next` gives the first one's
 * type. `big`: IP states no length.
 */
struct between {
	const char *what;
	bool ipv6, big;
	uint8_t n, next, bytes[40];
};

static inline void put_between(struct frame *f, const struct shape *shape, const struct between *b)
{
	uint8_t link[32], *ip = f->data + put_link(link, shape, false);
	size_t fixed = shape->ipv6 ? 40 : 20, length_at = shape->ipv6 ? 4 : 2;

	memmove(ip + fixed + b->n, ip + fixed, f->data + f->len - ip - fixed);
	memcpy(ip + fixed, b->bytes, b->n);
	f->len += b->n;
	put16(ip + length_at, b->big ? 0 : get16(ip + length_at) + b->n);
	if (shape->ipv6) {
		if (b->n)
			ip[6] = b->next;
		return;
	}
	ip[0] += b->n / 4;
	put16(ip + 10, 0);
	put16(ip + 10, ~sum_bytes(0, ip, 20 + b->n));
}

/*
 * Reads a forged packet and checks everything that holds for each of them: the link header is that
 * of a packet of the client, or of the server (link_from_server), lengths are exact, checksums
 * right, and no other options are present.
 */
static inline void read_forged(const struct frame *f, const struct shape *shape,
			       bool link_from_server, uint16_t server_port, struct seen *out)
{
	const uint8_t *client = shape->ipv6 ? client_v6 : client_v4 + 12;
	const uint8_t *server = shape->ipv6 ? server_v6 : server_v4 + 12;
	size_t addr = shape->ipv6 ? 16 : 4, ip_len = shape->ipv6 ? 40 : 20, head, tcp_len;
	uint8_t link[32];
	size_t l2 = put_link(link, shape, link_from_server);
	const uint8_t *ip = f->data + l2, *tcp = ip + ip_len, *src, *dst;
	uint16_t sum;

	assert_true(f->len >= l2 + ip_len + 20);
	assert_memory_equal(f->data, link, l2);
	if (shape->ipv6) {
		assert_int_equal(get32(ip), 0x60000000);
		assert_int_equal(get16(ip + 4), f->len - l2 - 40);
		assert_int_equal(ip[6], 6);
		assert_int_equal(ip[7], 64);
		src = ip + 8;
		dst = ip + 24;
	} else {
		assert_int_equal(get16(ip), 0x4500);
		assert_int_equal(get16(ip + 2), f->len - l2);
		assert_int_equal(get16(ip + 4), 0);
		assert_int_equal(get16(ip + 6), 0x4000);
		assert_int_equal(ip[8], 64);
		assert_int_equal(ip[9], 6);
		assert_int_equal(sum_bytes(0, ip, 20), 0xffff);
		src = ip + 12;
		dst = ip + 16;
	}
	memset(out, 0, sizeof(*out));
	out->from_server = !memcmp(src, server, addr);
	assert_memory_equal(src, out->from_server ? server : client, addr);
	assert_memory_equal(dst, out->from_server ? client : server, addr);
	assert_int_equal(get16(tcp), out->from_server ? server_port : CLIENT_PORT);
	assert_int_equal(get16(tcp + 2), out->from_server ? CLIENT_PORT : server_port);
	out->seq = get32(tcp + 4);
	out->ack = get32(tcp + 8);
	out->flags = tcp[13];
	out->window = get16(tcp + 14);
	head = (tcp[12] >> 4) * 4;
	assert_int_equal(tcp[12] & 15, 0);
	assert_int_equal(get16(tcp + 18), 0);
	assert_true(head == 20 || head == 32);
	if (head == 32) {
		assert_int_equal(get32(tcp + 20), 0x0101080a);
		out->timestamps = true;
		out->ts_val = get32(tcp + 24);
		out->ts_ecr = get32(tcp + 28);
	}
	tcp_len = f->len - l2 - ip_len;
	sum = sum_pseudo(src, dst, addr, tcp_len);
	if (shape->partial)
		assert_int_equal(get16(tcp + 16), sum);
	else
		assert_int_equal(sum_bytes(sum, tcp, tcp_len), 0xffff);
	out->text = tcp + head;
	out->len = tcp_len - head;
}

/* ---- the programs and their maps ---- */

static struct world {
	struct sluice_bpf *skel;
	struct ring_buffer *rings;
	int ifindex, clones, cpus;
	struct sluice_settings settings;
	struct sluice_sample samples[256];
	unsigned sample_count;
	struct sluice_refusal refusals[64];
	unsigned refusal_count;
	bool unread; /* the rings are left to fill up */
} w;

#define fd_of(name) bpf_map__fd(w.skel->maps.name)

static inline int keep_sample(void *ctx, void *data, size_t size)
{
	assert_int_equal(size, sizeof(w.samples[0]));
	assert_true(w.sample_count < sizeof(w.samples) / sizeof(w.samples[0]));
	memcpy(&w.samples[w.sample_count++], data, size);
	return 0;
}

static inline int keep_refusal(void *ctx, void *data, size_t size)
{
	assert_int_equal(size, sizeof(w.refusals[0]));
	assert_true(w.refusal_count < sizeof(w.refusals) / sizeof(w.refusals[0]));
	memcpy(&w.refusals[w.refusal_count++], data, size);
	return 0;
}

static inline int count_record(void *ctx, void *data, size_t size)
{
	++*(unsigned *)ctx;
	return 0;
}

/* The number of records in a ring that was left to fill up; empties it. */
static inline unsigned read_filled(int fd)
{
	unsigned n = 0;
	struct ring_buffer *ring = ring_buffer__new(fd, count_record, &n, NULL);

	assert_non_null(ring);
	assert_true(ring_buffer__consume(ring) >= 0);
	ring_buffer__free(ring);
	w.unread = false;
	return n;
}

static inline void write_settings(void)
{
	uint32_t zero = 0;

	assert_int_equal(bpf_map_update_elem(fd_of(settings), &zero, &w.settings, BPF_ANY), 0);
}

static inline void pass_ms(uint64_t ms)
{
	w.settings.clock_ns += ms * MS;
	write_settings();
}

static inline void clear_map(int fd, size_t key_size)
{
	uint8_t key[64];

	assert_true(key_size <= sizeof(key));
	while (!bpf_map_get_next_key(fd, NULL, key))
		assert_int_equal(bpf_map_delete_elem(fd, key), 0);
}

static inline unsigned entries(int fd)
{
	uint8_t key[64];
	unsigned n = 0;

	for (int err = bpf_map_get_next_key(fd, NULL, key); !err;
	     err = bpf_map_get_next_key(fd, key, key))
		n++;
	return n;
}

static inline struct sluice_model_flag get_flag(uint32_t model)
{
	struct sluice_model_flag flag;

	assert_int_equal(bpf_map_lookup_elem(fd_of(model_flags), &model, &flag), 0);
	return flag;
}

static inline void set_flag(uint32_t model, struct sluice_model_flag flag)
{
	assert_int_equal(bpf_map_update_elem(fd_of(model_flags), &model, &flag, BPF_ANY), 0);
}

/* After every change of services and model_ids, as the daemon does. */
static inline void names_changed(void)
{
	w.settings.names++;
	write_settings();
}

static inline void set_service(bool ipv6, uint16_t port, struct sluice_service service)
{
	struct sluice_service_key key = {.port = htons(port)};

	memcpy(key.addr, ipv6 ? server_v6 : server_v4, 16);
	assert_int_equal(bpf_map_update_elem(fd_of(services), &key, &service, BPF_ANY), 0);
	names_changed();
}

static inline struct sluice_service http_service(void)
{
	return (struct sluice_service){
		.id = HTTP_ID,
		.default_model = LLAMA,
		.action = SLUICE_ACTION_REPLY,
		.mode = SLUICE_MODE_ENFORCE,
		.client_plen4 = 32,
		.client_plen6 = 64,
	};
}

static inline struct sluice_service opaque_service(void)
{
	struct sluice_service service = http_service();

	service.id = OPAQUE_ID;
	service.default_model = OPAQUE_MODEL;
	service.protocol = SLUICE_PROTOCOL_OPAQUE;
	return service;
}

static inline void set_both(uint16_t port, struct sluice_service service)
{
	set_service(false, port, service);
	set_service(true, port, service);
}

static inline void set_port(uint16_t port)
{
	uint32_t word = port / 64;
	uint64_t bits = 0;

	bpf_map_lookup_elem(fd_of(ports), &word, &bits);
	bits |= 1ULL << (port % 64);
	assert_int_equal(bpf_map_update_elem(fd_of(ports), &word, &bits, BPF_ANY), 0);
}

static inline void set_model(const char *name, uint32_t id)
{
	struct sluice_model_name key = {0};

	memcpy(key.name, name, strlen(name));
	assert_int_equal(bpf_map_update_elem(fd_of(model_ids), &key, &id, BPF_ANY), 0);
	names_changed();
}

static inline void set_replies(uint32_t model, const char *name)
{
	for (uint32_t reason = 0; reason < SLUICE_REASON_COUNT; reason++) {
		for (uint32_t no_retry = 0; no_retry < 2; no_retry++) {
			struct sluice_reply_key key = {
				.model = model, .reason = reason, .no_retry = no_retry};
			struct sluice_reply reply;

			assert_int_equal(reply_text_build(&reply, name, reason, no_retry), 0);
			assert_int_equal(bpf_map_update_elem(fd_of(replies), &key, &reply, BPF_ANY),
					 0);
		}
	}
}

static inline struct sluice_client this_client(bool ipv6)
{
	struct sluice_client client = {.plen = ipv6 ? 64 : 128};

	memcpy(client.addr, ipv6 ? client_v6 : client_v4, ipv6 ? 8 : 16);
	return client;
}

static inline struct sluice_conn_key this_key(bool ipv6, uint16_t server_port)
{
	struct sluice_conn_key key = {.client_port = htons(CLIENT_PORT),
				      .server_port = htons(server_port)};

	memcpy(key.client_addr, ipv6 ? client_v6 : client_v4, 16);
	memcpy(key.server_addr, ipv6 ? server_v6 : server_v4, 16);
	return key;
}

static inline void set_client_flag(bool ipv6, uint32_t model, struct sluice_client_flag flag)
{
	struct sluice_client_flag_key key = {.client = this_client(ipv6), .model = model};

	assert_int_equal(bpf_map_update_elem(fd_of(client_flags), &key, &flag, BPF_ANY), 0);
}

/* A prefix around this client: 198.51.100.0/24, 2001:db8:0:77::/56 → by its length of 128. */
static inline void set_prefix(bool ipv6, uint32_t plen, struct sluice_prefix prefix)
{
	struct sluice_prefix_key key = {.plen = plen};

	memcpy(key.addr, ipv6 ? client_v6 : client_v4, 16);
	assert_int_equal(bpf_map_update_elem(fd_of(client_prefixes), &key, &prefix, BPF_ANY), 0);
}

static inline void add_in_flight(uint32_t model, int64_t n)
{
	struct sluice_model_state state;

	assert_int_equal(bpf_map_lookup_elem(fd_of(model_state), &model, &state), 0);
	state.in_flight += n;
	assert_int_equal(bpf_map_update_elem(fd_of(model_state), &model, &state, BPF_ANY), 0);
}

static inline struct sluice_model_state get_state(uint32_t model)
{
	struct sluice_model_state state;

	assert_int_equal(bpf_map_lookup_elem(fd_of(model_state), &model, &state), 0);
	return state;
}

/* The requests in flight of all clients together. */
static inline int64_t client_holds(void)
{
	struct sluice_client_flag_key key;
	struct sluice_holding held;
	int64_t sum = 0;

	for (int err = bpf_map_get_next_key(fd_of(client_in_flight), NULL, &key); !err;
	     err = bpf_map_get_next_key(fd_of(client_in_flight), &key, &key)) {
		assert_int_equal(bpf_map_lookup_elem(fd_of(client_in_flight), &key, &held), 0);
		sum += held.in_flight;
	}
	return sum;
}

static inline bool get_conn(bool ipv6, uint16_t server_port, struct sluice_conn *out)
{
	struct sluice_conn_key key = this_key(ipv6, server_port);

	return !bpf_map_lookup_elem(fd_of(conns), &key, out);
}

static inline uint64_t sum_cpus(int fd, const void *key)
{
	uint64_t values[w.cpus], sum = 0;

	if (bpf_map_lookup_elem(fd, key, values))
		return 0;
	for (int i = 0; i < w.cpus; i++)
		sum += values[i];
	return sum;
}

static inline uint64_t counter(uint32_t which)
{
	return sum_cpus(fd_of(counters), &which);
}

static inline uint64_t requests_of(uint32_t service, uint32_t model, uint32_t verdict,
				   uint32_t reason)
{
	struct sluice_count_key key = {
		.service = service, .model = model, .verdict = verdict, .reason = reason};
	struct sluice_admitted_count each[w.cpus];
	uint64_t sum = sum_cpus(fd_of(request_counts), &key);

	if (verdict != SLUICE_VERDICT_ADMITTED || reason != SLUICE_REASON_NONE)
		return sum;
	assert_int_equal(bpf_map_lookup_elem(fd_of(admitted_counts), &model, each), 0);
	for (int i = 0; i < w.cpus; i++)
		sum += each[i].service == service ? each[i].n : 0;
	return sum;
}

static inline uint64_t requests_in_all(void)
{
	struct sluice_admitted_count each[w.cpus];
	struct sluice_count_key key;
	uint64_t sum = 0;

	for (int err = bpf_map_get_next_key(fd_of(request_counts), NULL, &key); !err;
	     err = bpf_map_get_next_key(fd_of(request_counts), &key, &key))
		sum += sum_cpus(fd_of(request_counts), &key);
	for (uint32_t model = 0; model < MODELS_USED; model++) {
		assert_int_equal(bpf_map_lookup_elem(fd_of(admitted_counts), &model, each), 0);
		for (int i = 0; i < w.cpus; i++)
			sum += each[i].n;
	}
	return sum;
}

/* The rules of the HTTP service. */
static inline void put_rules(struct sluice_rules r)
{
	uint32_t service = HTTP_ID;

	r.names = http1_names(r.header);
	assert_int_equal(bpf_map_update_elem(fd_of(rules), &service, &r, BPF_ANY), 0);
}

/* Every map as a daemon with one HTTP and one opaque service writes it at its start. */
static inline void reset_world(void)
{
	uint64_t zeros[2 * w.cpus];
	size_t histogram = sizeof(struct sluice_histogram) * w.cpus;
	void *none = calloc(1, histogram);
	uint32_t zero = 0;

	memset(zeros, 0, sizeof(zeros));
	w.settings = (struct sluice_settings){
		.lease_until_ns = CLOCK_START + HOUR,
		.clock_ns = CLOCK_START,
		.abi_version = SLUICE_ABI_VERSION,
		.names = w.settings.names + 1,
	};
	write_settings();
	bpf_map_update_elem(fd_of(verdict_rate), &zero, zeros, BPF_ANY);
	clear_map(fd_of(client_flags), sizeof(struct sluice_client_flag_key));
	clear_map(fd_of(client_prefixes), sizeof(struct sluice_prefix_key));
	clear_map(fd_of(client_quotas), sizeof(struct sluice_client_flag_key));
	clear_map(fd_of(weighted_quotas), sizeof(struct sluice_weighted_key));
	clear_map(fd_of(client_counts), sizeof(struct sluice_client));
	clear_map(fd_of(half_open), sizeof(struct sluice_conn_key));
	clear_map(fd_of(conns), sizeof(struct sluice_conn_key));
	clear_map(fd_of(tombstones), sizeof(struct sluice_conn_key));
	clear_map(fd_of(request_counts), sizeof(struct sluice_count_key));
	clear_map(fd_of(client_in_flight), sizeof(struct sluice_client_flag_key));
	clear_map(fd_of(services), sizeof(struct sluice_service_key));
	put_rules((struct sluice_rules){0});
	set_both(HTTP_PORT, http_service());
	set_both(OPAQUE_PORT, opaque_service());
	for (uint32_t i = 0; i < MODELS_USED; i++) {
		struct sluice_model_state state = {0};

		set_flag(i, (struct sluice_model_flag){.allow = 1});
		bpf_map_update_elem(fd_of(model_state), &i, &state, BPF_ANY);
		bpf_map_update_elem(fd_of(histograms), &i, none, BPF_ANY);
		bpf_map_update_elem(fd_of(admitted_counts), &i, none, BPF_ANY);
	}
	for (uint32_t i = 0; i < SLUICE_COUNTER_COUNT; i++)
		bpf_map_update_elem(fd_of(counters), &i, zeros, BPF_ANY);
	free(none);
	ring_buffer__consume(w.rings);
	w.sample_count = w.refusal_count = 0;
	while (recv(w.clones, zeros, sizeof(zeros), MSG_DONTWAIT) >= 0)
		;
}

/* ---- running ---- */

#define THEN_REDIRECT 7  /* TC_ACT_REDIRECT */
#define THEN_UNSPEC   -1 /* TC_ACT_UNSPEC */

static inline int run_tc(struct bpf_program *program, const struct frame *in, struct frame *out)
{
	struct __sk_buff ctx = {.ifindex = w.ifindex};
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in->data, .data_size_in = in->len,
			    .data_out = out->data, .data_size_out = sizeof(out->data),
			    .ctx_in = &ctx, .ctx_size_in = sizeof(ctx), .repeat = 1);
	int err = bpf_prog_test_run_opts(bpf_program__fd(program), &opts);

	if (err)
		fail_msg("BPF_PROG_TEST_RUN of %zu bytes: %s", in->len, strerror(-err));
	out->len = opts.data_size_out;
	if (!w.unread)
		ring_buffer__consume(w.rings);
	return opts.retval;
}

static inline int run_xdp(struct bpf_program *program, const struct frame *in, struct frame *out)
{
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in->data, .data_size_in = in->len,
			    .data_out = out->data, .data_size_out = sizeof(out->data), .repeat = 1);
	int err = bpf_prog_test_run_opts(bpf_program__fd(program), &opts);

	if (err)
		fail_msg("BPF_PROG_TEST_RUN of %zu bytes: %s", in->len, strerror(-err));
	out->len = opts.data_size_out;
	if (!w.unread)
		ring_buffer__consume(w.rings);
	return opts.retval;
}

/* The program for this shape's link: without Ethernet the packet begins with its IP header. */
static inline struct bpf_program *program_for(const struct shape *shape, bool egress)
{
	if (shape->link == LINK_NONE)
		return egress ? w.skel->progs.responses_l3 : w.skel->progs.requests_l3;
	return egress ? w.skel->progs.responses : w.skel->progs.requests;
}

/*
 * The packet that was cloned to the host. The packet socket removes the outer tag; this puts it
 * back.
 */
static inline bool catch_clone(struct frame *out, int timeout_ms)
{
	struct pollfd p = {.fd = w.clones, .events = POLLIN};
	char control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
	struct iovec iov = {out->data, sizeof(out->data)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *c;
	ssize_t n;

	if (poll(&p, 1, timeout_ms) != 1)
		return false;
	n = recvmsg(w.clones, &msg, 0);
	assert_true(n > 0);
	out->len = n;
	for (c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		struct tpacket_auxdata aux;

		if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA)
			continue;
		memcpy(&aux, CMSG_DATA(c), sizeof(aux));
		if (!(aux.tp_status & TP_STATUS_VLAN_VALID))
			continue;
		memmove(out->data + 16, out->data + 12, n - 12);
		put16(out->data + 12, aux.tp_vlan_tpid);
		put16(out->data + 14, aux.tp_vlan_tci);
		out->len += 4;
	}
	return true;
}

static inline void assert_same_frame(const struct frame *a, const struct frame *b)
{
	assert_int_equal(a->len, b->len);
	assert_memory_equal(a->data, b->data, a->len);
}

/* ---- rows ---- */

/* A row states only the values that are not zero. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

enum outcome {
	PASS,     /* TC_ACT_UNSPEC, and not a bit of it changed */
	DROP,     /* TC_ACT_SHOT */
	REFUSE,   /* the 429 to the client, and on a copy the RST to the server */
	RESET,    /* a RST to the client, and on a copy one to the server */
	REPEATED, /* the 429 to the client, the server left alone */
	ANSWER,   /* a pure ACK to the client */
	CUT,      /* a RST to the client, the server left alone */
	UP_RST,   /* a server's packet turned into a RST for it */
};

/*
 * One packet, or one change of state (act). Sequence numbers count from the byte after each side's
 * SYN: 0 is its first byte, a SYN has -1. Flags 0: ACK, and PSH if there is text. `ms` pass before
 * it.
 */
struct step {
	bool server;
	uint8_t flags;
	int32_t seq, ack;
	const char *text;
	size_t len; /* 0: strlen(text) */
	uint32_t ms;
	bool zero_window;
	uint16_t window; /* 0: wide */
	void (*act)(bool ipv6);
	enum outcome then;
	int32_t out_seq, out_ack; /* of the segment to the client (UP_RST: to the server) */
	int32_t rst_seq;          /* of the RST to the server */
	const struct between *between;
};

struct row_counter {
	uint32_t counter;
	uint64_t n;
};

struct row_requests {
	uint16_t model;
	uint8_t verdict, reason;
	uint64_t n;
	uint32_t service; /* 0: that of the row's port */
};

struct row_sample {
	uint8_t kind;
	uint16_t model;
	uint32_t n;
	uint64_t sum_ms;
};

#define STEPS_MAX 40

struct row {
	const char *what;
	struct step steps[STEPS_MAX];
	/* At the end, in the maps. Everything not listed here is 0. */
	int in_flight, waiting;
	unsigned conns, tombstones;
	struct row_counter counters[6];
	struct row_requests requests[6];
	struct row_sample samples[20];
	uint16_t port; /* 0: HTTP_PORT */
};

/* The beginning of most rows. */
#define HANDSHAKE                                                                                  \
	{.flags = SYN, .seq = -1}, {.server = true, .flags = SYN | ACK, .seq = -1},                \
	{                                                                                          \
		.flags = ACK                                                                       \
	}
#define FROM_CLIENT(at, acked, bytes) .seq = (at), .ack = (acked), .text = (bytes)
#define FROM_SERVER(at, acked, bytes) .server = true, .seq = (at), .ack = (acked), .text = (bytes)

static inline struct segment segment_of(const struct step *s, uint16_t port)
{
	struct segment out = {.from_server = s->server, .server_port = port};

	out.len = s->len ? s->len : s->text ? strlen(s->text) : 0;
	out.text = s->text;
	out.flags = s->flags == NONE ? 0 : s->flags ? s->flags : out.len ? ACK | PSH : ACK;
	out.seq = (s->server ? SERVER_ISN : CLIENT_ISN) + 1 + s->seq;
	out.ack = (s->server ? CLIENT_ISN : SERVER_ISN) + 1 + s->ack;
	out.window = s->zero_window ? 0 : s->window ? s->window : 64240;
	return out;
}

/* Offsets as the rows write them. */
static inline int32_t client_offset(uint32_t seq)
{
	return (int32_t)(seq - (CLIENT_ISN + 1));
}

static inline int32_t server_offset(uint32_t seq)
{
	return (int32_t)(seq - (SERVER_ISN + 1));
}

static inline void assert_timestamps(const struct seen *seen, const struct shape *shape)
{
	bool wanted = shape->options == OPTIONS_TS || shape->options == OPTIONS_TS_SACK ||
		      shape->options == OPTIONS_SACK_TS || shape->options == OPTIONS_TS_BARE;

	assert_int_equal(seen->timestamps, wanted);
	if (wanted) {
		assert_int_equal(seen->ts_val, TS_ECR);
		assert_int_equal(seen->ts_ecr, TS_VAL);
	}
}

static inline const char *outcome_text(int retval)
{
	return retval == THEN_UNSPEC     ? "passed"
	       : retval == TC_ACT_SHOT   ? "dropped"
	       : retval == THEN_REDIRECT ? "redirected"
					 : "unknown";
}

static struct seen last; /* the last packet to the client; its text is in last_frame */
static struct frame last_frame;

/* Plays one step, and compares every packet and record with the step. */
static inline void play_step(const struct shape *shape, const struct step *s, uint16_t port)
{
	bool clone_wanted = s->then == REFUSE || s->then == RESET;
	struct segment segment = segment_of(s, port);
	static struct frame in, out, clone, after;
	struct seen seen;
	int retval, wanted;

	pass_ms(s->ms);
	if (s->act) {
		s->act(shape->ipv6);
		return;
	}
	make_frame(&in, shape, &segment);
	if (s->between)
		put_between(&in, shape, s->between);
	retval = run_tc(program_for(shape, s->server), &in, &out);
	wanted = s->then == PASS ? THEN_UNSPEC : s->then == DROP ? TC_ACT_SHOT : THEN_REDIRECT;
	if (retval != wanted)
		fail_msg("%s, and not %s", outcome_text(retval), outcome_text(wanted));
	if (s->then == PASS) {
		if ((segment.flags & (SYN | ACK)) == SYN && segment.len) {
			segment.len = 0; /* data in a SYN is cut off */
			make_frame(&in, shape, &segment);
		}
		assert_same_frame(&out, &in);
	}
	if (wanted == THEN_REDIRECT) {
		/*
		 * Answers swap the link header's addresses; so does the RST that goes to the server
		 * instead of a packet.
		 */
		read_forged(&out, shape, !s->server, port, &seen);
		assert_int_equal(seen.from_server, s->then != UP_RST);
		if (s->then == UP_RST) {
			assert_int_equal(seen.flags, RST);
			assert_int_equal(client_offset(seen.seq), s->out_seq);
			assert_int_equal(seen.ack, 0);
			assert_int_equal(seen.window, 0);
			assert_int_equal(seen.len, 0);
		} else {
			assert_timestamps(&seen, shape);
			assert_int_equal(server_offset(seen.seq), s->out_seq);
			last_frame = out;
			last = seen;
			last.text = last_frame.data + (seen.text - out.data);
		}
		switch (s->then) {
		case REFUSE:
		case REPEATED:
			assert_int_equal(seen.flags, FIN | PSH | ACK);
			assert_int_equal(client_offset(seen.ack), s->out_ack);
			assert_true(seen.window > 0);
			assert_true(seen.len > 100);
			assert_memory_equal(seen.text, "HTTP/1.1 429 ", 13);
			break;
		case RESET:
		case CUT:
			assert_int_equal(seen.flags, RST);
			assert_int_equal(seen.ack, 0);
			assert_int_equal(seen.window, 0);
			assert_int_equal(seen.len, 0);
			break;
		case ANSWER:
			assert_int_equal(seen.flags, ACK);
			assert_int_equal(client_offset(seen.ack), s->out_ack);
			assert_true(seen.window > 0);
			assert_int_equal(seen.len, 0);
			break;
		default:
			break;
		}
	}
	assert_int_equal(catch_clone(&clone, clone_wanted ? 20000 : 0), clone_wanted);
	if (clone_wanted) {
		read_forged(&clone, shape, false, port, &seen);
		assert_false(seen.from_server);
		assert_int_equal(seen.flags, RST);
		assert_int_equal(client_offset(seen.seq), s->rst_seq);
		assert_int_equal(seen.ack, 0);
		assert_int_equal(seen.window, 0);
		assert_int_equal(seen.len, 0);
		assert_false(seen.timestamps);
		/* It passes tc ingress again, before the answer leaves. */
		assert_int_equal(run_tc(program_for(shape, false), &clone, &after), THEN_UNSPEC);
		assert_same_frame(&after, &clone);
	}
	if (wanted == THEN_REDIRECT) {
		assert_int_equal(run_tc(program_for(shape, s->then != UP_RST), &out, &after),
				 THEN_UNSPEC);
		assert_same_frame(&after, &out);
		assert_false(catch_clone(&clone, 0));
	}
}

static inline bool bookkeeping(uint32_t counter)
{
	return counter == SLUICE_COUNTER_HALF_OPEN_INSERTS ||
	       counter == SLUICE_COUNTER_HALF_OPEN_DELETES ||
	       counter == SLUICE_COUNTER_FORGED_ANSWERS || counter == SLUICE_COUNTER_SYN_DATA_CUT;
}

static inline void assert_counters(const struct row_counter *wanted, unsigned max)
{
	static const char *const names[] = {
#define X(name, text) text,
		SLUICE_COUNTERS(X)
#undef X
	};

	for (uint32_t i = 0; i < SLUICE_COUNTER_COUNT; i++) {
		uint64_t n = 0;

		for (unsigned k = 0; k < max; k++)
			if (wanted[k].n && wanted[k].counter == i)
				n = wanted[k].n;
		if (counter(i) != n && (n || !bookkeeping(i)))
			fail_msg("counter %s is %llu, not %llu", names[i],
				 (unsigned long long)counter(i), (unsigned long long)n);
	}
}

/* Compares the maps with a row's end. */
static inline void assert_ends(const struct row *row)
{
	uint32_t service = row->port == OPAQUE_PORT ? OPAQUE_ID : HTTP_ID;
	struct sluice_model_state all = get_state(SLUICE_MODEL_ALL);
	int64_t in_flight = 0, waiting = 0;
	uint64_t requests = 0;
	unsigned n = 0;

	assert_int_equal(all.in_flight, row->in_flight);
	assert_int_equal(all.waiting, row->waiting);
	for (uint32_t i = SLUICE_MODEL_OTHER; i < MODELS_USED; i++) {
		in_flight += get_state(i).in_flight;
		waiting += get_state(i).waiting;
	}
	assert_int_equal(in_flight, row->in_flight);
	assert_int_equal(waiting, row->waiting);
	assert_int_equal(client_holds(), row->in_flight);
	assert_int_equal(entries(fd_of(conns)), row->conns);
	assert_int_equal(entries(fd_of(tombstones)), row->tombstones);
	assert_counters(row->counters, sizeof(row->counters) / sizeof(row->counters[0]));
	for (const struct row_requests *r = row->requests;
	     r < row->requests + sizeof(row->requests) / sizeof(row->requests[0]) && r->n; r++) {
		assert_int_equal(requests_of(r->service ? r->service : service, r->model,
					     r->verdict, r->reason),
				 r->n);
		requests += r->n;
	}
	assert_int_equal(requests_in_all(), requests);
	while (n < sizeof(row->samples) / sizeof(row->samples[0]) &&
	       (row->samples[n].n || row->samples[n].kind))
		n++;
	assert_int_equal(w.sample_count, n);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(w.samples[i].kind, row->samples[i].kind);
		assert_int_equal(w.samples[i].model, row->samples[i].model);
		assert_int_equal(w.samples[i].n, row->samples[i].n);
		assert_int_equal(w.samples[i].sum_ns, row->samples[i].sum_ms * MS);
		assert_int_equal(w.samples[i].service, service);
	}
}

static inline bool step_empty(const struct step *s)
{
	static const struct step nothing;

	return !memcmp(s, &nothing, sizeof(nothing));
}

static const char *row_now; /* for the message of a row that fails */
static unsigned step_now;
static struct shape shape_now;

static inline void play(const struct shape *shape, const struct row *row)
{
	unsigned end = STEPS_MAX;

	reset_world();
	row_now = row->what;
	shape_now = *shape;
	while (end && step_empty(&row->steps[end - 1]))
		end--;
	for (step_now = 0; step_now < end; step_now++)
		play_step(shape, &row->steps[step_now], row->port ? row->port : HTTP_PORT);
	assert_ends(row);
	row_now = NULL;
}

static const struct shape shapes[] = {
	{.ipv6 = false, LINK_ETHERNET, OPTIONS_TS, false},
	{.ipv6 = true, LINK_VLAN, OPTIONS_NONE, true},
	{.ipv6 = false, LINK_NONE, OPTIONS_TS_SACK, true},
};

#define play_rows(rows)                                                                            \
	do {                                                                                       \
		for (unsigned shape_ = 0; shape_ < sizeof(shapes) / sizeof(shapes[0]); shape_++)   \
			for (unsigned row_ = 0; row_ < sizeof(rows) / sizeof(rows[0]); row_++)     \
				play(&shapes[shape_], &rows[row_]);                                \
	} while (0)

/* ---- the whole ---- */

static inline int world_close(void **state)
{
	if (w.rings)
		ring_buffer__free(w.rings);
	sluice_bpf__destroy(w.skel);
	close(w.clones);
	return 0;
}

static inline int world_open(void **state)
{
	int one = 1, capacity = 1 << 20;
	struct sockaddr_ll here = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	struct bpf_map *map;
	cpu_set_t cpu;

	/*
	 * Per-CPU state is that of one CPU, as between an answer and its passage through tc egress.
	 */
	CPU_ZERO(&cpu);
	CPU_SET(sched_getcpu(), &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu) || unshare(CLONE_NEWNET))
		return -1;
	if (system("sysctl -qw net.ipv6.conf.default.disable_ipv6=1 && ip link set lo up && "
		   "ip link add t0 type veth peer name t1 && ip link set t0 up && ip link set t1 up"))
		return -1;
	w.ifindex = if_nametoindex("t0");
	w.clones = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	here.sll_ifindex = w.ifindex;
	if (w.clones < 0 || setsockopt(w.clones, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one)) ||
	    setsockopt(w.clones, SOL_SOCKET, SO_RCVBUF, &capacity, sizeof(capacity)) ||
	    bind(w.clones, (struct sockaddr *)&here, sizeof(here)))
		return -1;
	w.cpus = libbpf_num_possible_cpus();
	w.skel = sluice_bpf__open();
	if (!w.skel)
		return -1;
	bpf_object__for_each_map(map, w.skel->obj) bpf_map__set_pin_path(map, NULL);
	if (sluice_bpf__load(w.skel))
		return -1;
	w.rings = ring_buffer__new(fd_of(samples), keep_sample, NULL, NULL);
	if (!w.rings || ring_buffer__add(w.rings, fd_of(verdicts), keep_refusal, NULL))
		return -1;
	set_port(HTTP_PORT);
	set_port(OPAQUE_PORT);
	set_model("llama", LLAMA);
	set_model("qwen", QWEN);
	set_replies(SLUICE_MODEL_ALL, NULL);
	set_replies(LLAMA, "llama");
	return 0;
}

static inline int world_reset(void **state)
{
	row_now = NULL;
	reset_world();
	return 0;
}

/* Prints the row and step of a failure. */
static inline int print_row(void **state)
{
	if (row_now)
		fprintf(stderr,
			"        in \"%s\", step %u (IPv%d, link %d, options %d, partial %d)\n",
			row_now, step_now, shape_now.ipv6 ? 6 : 4, shape_now.link,
			shape_now.options, shape_now.partial);
	return 0;
}

#define packets_test(f) cmocka_unit_test_setup_teardown(f, world_reset, print_row)

#define packets_main(name, tests)                                                                  \
	(geteuid() ? (fprintf(stderr, "%s: needs root\n", name), 77)                               \
		   : cmocka_run_group_tests_name(name, tests, world_open, world_close))

#endif
