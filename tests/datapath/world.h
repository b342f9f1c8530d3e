/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The world of a packet: the programs, loaded, and their maps, which hold what a daemon with one
 * HTTP and one opaque service writes at its start. The one idea: a test runs a program on a frame
 * by BPF_PROG_TEST_RUN and reads what came out.
 *
 * Time is settings.clock_ns, which the tests move. A packet socket on a veth, in a network
 * namespace of the test's own, catches clones.
 */
#ifndef SLUICE_WORLD_H
#define SLUICE_WORLD_H

#include "frames.h"
#include "map_access.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <sluice/http1_wanted.h>
#include <sluice/reply.h>

#include "core/reply_text.h"
#include "sluice.skel.h"

#define MS          1000000ULL
#define CLOCK_START (1000000 * MS)
#define HOUR        (3600000 * MS)

#define HTTP_ID      3
#define OPAQUE_ID    4
#define OTHER_ID     6
#define LLAMA        2 /* default model of the HTTP service */
#define QWEN         3
#define OPAQUE_MODEL 5
#define MODELS_USED  16

static struct world {
	struct sluice_bpf *skel;
	struct ring_buffer *rings;
	int ifindex, above, clones, cpus; /* above: the second interface on a packet's way */
	struct sluice_settings settings;
	struct sluice_sample samples[256];
	unsigned sample_count;
	struct sluice_refusal refusals[64];
	unsigned refusal_count;
	struct sluice_record records[64];
	unsigned record_count;
	bool unread;          /* the rings are left to fill up */
	int64_t *conn_counts; /* the map itself */
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

static inline int keep_record(void *ctx, void *data, size_t size)
{
	assert_int_equal(size, sizeof(w.records[0]));
	assert_true(w.record_count < sizeof(w.records) / sizeof(w.records[0]));
	memcpy(&w.records[w.record_count++], data, size);
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

/* ---- the maps ---- */

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

/* The head of a service's refusals to pages of its origin number `origin`, or all others (-1). */
static inline void set_reply_head(uint32_t service, uint64_t hash,
				  const struct service_reply *reply, int origin)
{
	for (__u32 unavailable = 0; unavailable < 2; unavailable++) {
		struct sluice_reply_head_key key = {
			.service = service, .origin = hash, .unavailable = unavailable};
		struct sluice_reply_head head;

		assert_int_equal(reply_text_head(&head, reply, origin, unavailable, NULL), 0);
		assert_int_equal(bpf_map_update_elem(fd_of(reply_heads), &key, &head, BPF_ANY), 0);
	}
}

static inline void set_service(bool ipv6, uint16_t port, struct sluice_service service)
{
	struct sluice_service_key key = {.port = htons(port)};

	memcpy(key.addr, ipv6 ? server_v6 : server_v4, 16);
	assert_int_equal(bpf_map_update_elem(fd_of(services), &key, &service, BPF_ANY), 0);
	set_reply_head(service.id, 0, &(struct service_reply){0}, -1);
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
		struct sluice_reply_key key = {.model = model, .reason = reason};
		struct sluice_reply reply;

		assert_int_equal(reply_text_build(&reply, name, reason), 0);
		assert_int_equal(bpf_map_update_elem(fd_of(replies), &key, &reply, BPF_ANY), 0);
	}
}

static inline void set_reply_forms(void)
{
	for (uint32_t i = 0; i < SLUICE_REPLY_FORMS; i++) {
		struct sluice_reply_form form;

		reply_text_form(&form, i / 8, i / 4 % 2, i / 2 % 2, i % 2);
		assert_int_equal(bpf_map_update_elem(fd_of(reply_forms), &i, &form, BPF_ANY), 0);
	}
}

static inline uint64_t hash_of(const struct siphash_secret *secret, const char *text)
{
	struct siphash h;

	siphash_begin(&h, secret);
	for (; *text; text++)
		siphash_byte(&h, secret, (__u8)*text);
	return siphash_end(&h, secret);
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

/* Trusts this client as a proxy of a service that reads the addresses which proxies state. */
static inline void trust_peer(bool ipv6, uint32_t service)
{
	struct sluice_trusted_key key = {.plen = 160, .service = service};
	uint32_t one = 1;

	memcpy(key.addr, ipv6 ? client_v6 : client_v4, 16);
	assert_int_equal(bpf_map_update_elem(fd_of(trusted_proxies), &key, &one, BPF_ANY), 0);
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

static inline void put_state(uint32_t model, struct sluice_model_state state)
{
	assert_int_equal(bpf_map_update_elem(fd_of(model_state), &model, &state, BPF_ANY), 0);
}

/* The client holds `n` in a pool, or in SLUICE_POOL_STALLED or _DEPARTED. */
static inline void put_holding(const struct sluice_client *client, uint32_t pool, int64_t n)
{
	struct sluice_client_flag_key key = {.client = *client, .model = pool};
	struct sluice_holding held = {.in_flight = n};

	assert_int_equal(bpf_map_update_elem(fd_of(client_in_flight), &key, &held, BPF_ANY), 0);
}

/* What all clients together hold: their requests in flight, or in SLUICE_POOL_STALLED or _DEPARTED.
 */
static inline int64_t client_holds(uint32_t pool)
{
	struct sluice_client_flag_key key;
	struct sluice_holding held;
	int64_t sum = 0;

	for (int err = bpf_map_get_next_key(fd_of(client_in_flight), NULL, &key); !err;
	     err = bpf_map_get_next_key(fd_of(client_in_flight), &key, &key)) {
		assert_int_equal(bpf_map_lookup_elem(fd_of(client_in_flight), &key, &held), 0);
		if (key.model == pool || (key.model < SLUICE_MODELS_MAX && !pool))
			sum += held.in_flight;
	}
	return sum;
}

/* How many connections have an exchange with one of these flags; *admitted_ns, if not NULL: the sum
 * of the times at which those were admitted. */
static inline int64_t sum_exchanges(uint32_t flags, uint64_t *admitted_ns)
{
	struct sluice_conn_key key;
	struct sluice_conn conn;
	int64_t n = 0;

	for (int err = bpf_map_get_next_key(fd_of(conns), NULL, &key); !err;
	     err = bpf_map_get_next_key(fd_of(conns), &key, &key)) {
		assert_int_equal(bpf_map_lookup_elem(fd_of(conns), &key, &conn), 0);
		if (!(conn.exchange.flags & flags))
			continue;
		n++;
		if (admitted_ns)
			*admitted_ns += conn.exchange.admitted_ns;
	}
	return n;
}

static inline int64_t exchanges_with(uint32_t flags)
{
	return sum_exchanges(flags, NULL);
}

static inline uint64_t began_in_flight(void)
{
	uint64_t sum = 0;

	sum_exchanges(SLUICE_EXCHANGE_IN_FLIGHT, &sum);
	return sum;
}

static inline bool get_conn(bool ipv6, uint16_t server_port, struct sluice_conn *out)
{
	struct sluice_conn_key key = this_key(ipv6, server_port);

	return !bpf_map_lookup_elem(fd_of(conns), &key, out);
}

static inline uint64_t counter(uint32_t which)
{
	return sum_cpus(fd_of(counters), &which);
}

/* class: as in struct sluice_count_key. */
static inline uint64_t requests_of_class(uint32_t service, uint32_t model, uint32_t verdict,
					 uint32_t reason, uint32_t class)
{
	struct sluice_count_key key = {.service = service,
				       .model = model,
				       .verdict = verdict,
				       .reason = reason,
				       .class = class};
	struct sluice_admitted_count each[w.cpus];
	uint64_t sum = sum_cpus(fd_of(request_counts), &key);

	if (verdict != SLUICE_VERDICT_ADMITTED || reason != SLUICE_REASON_NONE || class)
		return sum;
	assert_int_equal(bpf_map_lookup_elem(fd_of(admitted_counts), &model, each), 0);
	for (int i = 0; i < w.cpus; i++)
		sum += each[i].service == service ? each[i].n : 0;
	return sum;
}

static inline uint64_t requests_of(uint32_t service, uint32_t model, uint32_t verdict,
				   uint32_t reason)
{
	return requests_of_class(service, model, verdict, reason, 0);
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

/* The models that count for a request whose own cannot be read. */
static inline void set_named(struct sluice_named_models named)
{
	uint32_t zero = 0;

	assert_int_equal(bpf_map_update_elem(fd_of(named_models), &zero, &named, BPF_ANY), 0);
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
	clear_map(fd_of(client_flags));
	clear_map(fd_of(client_prefixes));
	clear_map(fd_of(client_quotas));
	clear_map(fd_of(weighted_quotas));
	clear_map(fd_of(client_counts));
	clear_map(fd_of(half_open));
	clear_map(fd_of(conns));
	memset(w.conn_counts, 0, SLUICE_CONN_BUCKETS * sizeof(*w.conn_counts));
	clear_map(fd_of(tombstones));
	clear_map(fd_of(kept));
	clear_map(fd_of(request_counts));
	clear_map(fd_of(client_in_flight));
	clear_map(fd_of(services));
	for (uint32_t id = 0; id < SLUICE_SERVICES_MAX; id++)
		bpf_map_update_elem(fd_of(unread_answered), &id, &zero, BPF_ANY);
	put_rules((struct sluice_rules){0});
	set_named((struct sluice_named_models){0});
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
	w.sample_count = w.refusal_count = w.record_count = 0;
	w.skel->bss->recording = 0;
	while (recv(w.clones, zeros, sizeof(zeros), MSG_DONTWAIT) >= 0)
		;
}

/* ---- running ---- */

#define THEN_REDIRECT 7  /* TC_ACT_REDIRECT */
#define THEN_UNSPEC   -1 /* TC_ACT_UNSPEC */

/* Runs a program on a frame, with `ctx` (of ctx_size bytes, 0: none) as its context. */
static inline int run_program(struct bpf_program *program, const struct frame *in,
			      struct frame *out, void *ctx, uint32_t ctx_size)
{
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in->data, .data_size_in = in->len,
			    .data_out = out->data, .data_size_out = sizeof(out->data),
			    .ctx_in = ctx, .ctx_size_in = ctx_size, .repeat = 1);
	int err = bpf_prog_test_run_opts(bpf_program__fd(program), &opts);

	if (err)
		fail_msg("BPF_PROG_TEST_RUN of %zu bytes: %s", in->len, strerror(-err));
	out->len = opts.data_size_out;
	if (!w.unread)
		ring_buffer__consume(w.rings);
	return opts.retval;
}

static inline int run_tc_at(struct bpf_program *program, int ifindex, const struct frame *in,
			    struct frame *out)
{
	struct __sk_buff ctx = {.ifindex = ifindex};

	return run_program(program, in, out, &ctx, sizeof(ctx));
}

static inline int run_tc(struct bpf_program *program, const struct frame *in, struct frame *out)
{
	return run_tc_at(program, w.ifindex, in, out);
}

static inline int run_xdp(struct bpf_program *program, const struct frame *in, struct frame *out)
{
	return run_program(program, in, out, NULL, 0);
}

/* Runs the pass over all connections, as the daemon does. */
/* Sweeps, and evicts at most `n` connections that are idle for `idle_ns`. */
static inline void sweep_evicting(uint64_t idle_ns, uint32_t n)
{
	struct {
		struct sluice_sweep asked;
		uint8_t pad[48];
	} packet = {.asked = {.idle_ns = idle_ns, .evict = n}};
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = &packet,
			    .data_size_in = sizeof(packet), .repeat = 1);

	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(w.skel->progs.sweep), &opts), 0);
	assert_int_equal(opts.retval, TC_ACT_OK);
}

static inline void sweep_now(bool ipv6)
{
	sweep_evicting(0, 0);
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

/* ---- opening and closing ---- */

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
	w.above = if_nametoindex("t1");
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
	w.conn_counts = mmap(NULL, SLUICE_CONN_BUCKETS * sizeof(*w.conn_counts),
			     PROT_READ | PROT_WRITE, MAP_SHARED, fd_of(conn_counts), 0);
	if (w.conn_counts == MAP_FAILED)
		return -1;
	w.rings = ring_buffer__new(fd_of(samples), keep_sample, NULL, NULL);
	if (!w.rings || ring_buffer__add(w.rings, fd_of(verdicts), keep_refusal, NULL) ||
	    ring_buffer__add(w.rings, fd_of(records), keep_record, NULL))
		return -1;
	set_port(HTTP_PORT);
	set_port(OPAQUE_PORT);
	set_model("llama", LLAMA);
	set_model("qwen", QWEN);
	set_reply_forms();
	set_replies(SLUICE_MODEL_ALL, NULL);
	set_replies(LLAMA, "llama");
	return 0;
}

#endif
