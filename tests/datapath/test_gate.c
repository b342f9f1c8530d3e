/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * SYNs at the front door. Each row runs on all hooks that can stand there: native XDP, generic XDP
 * and tc ingress. All must give the same verdict. Only the checksum of the answer differs, and tc
 * alone counts a SYN that passes for the lease or in shadow mode, so it is counted once.
 */
#include "packets.h"

enum hook { HOOK_NATIVE, HOOK_GENERIC, HOOK_TC, HOOK_COUNT };

enum gate { LET_PASS, REFUSED_BY_RST, DROPPED, LEASE, SHADOW };

struct gate_row {
	const char *what;
	void (*act)(bool ipv6);
	uint16_t port;
	enum gate then;
	uint8_t reason;
};

static void nothing(bool ipv6)
{
}

static void flag(uint32_t model, uint8_t reason, uint8_t action)
{
	set_flag(model, (struct sluice_model_flag){.reason = reason, .action = action});
}

static void block(bool ipv6, uint8_t action, uint64_t expires_ns)
{
	set_client_flag(ipv6, SLUICE_MODEL_ALL,
			(struct sluice_client_flag){.reason = SLUICE_REASON_CLIENT_BLOCKED,
						    .action = action,
						    .expires_ns = expires_ns});
}

static void block_client(bool ipv6)
{
	block(ipv6, SLUICE_ACTION_DEFAULT, 0);
}

static void block_client_by_drop(bool ipv6)
{
	block(ipv6, SLUICE_ACTION_DROP, 0);
}

static void block_client_until_now(bool ipv6)
{
	block(ipv6, SLUICE_ACTION_DEFAULT, CLOCK_START);
}

static void block_client_for_one_model(bool ipv6)
{
	set_client_flag(ipv6, LLAMA,
			(struct sluice_client_flag){.reason = SLUICE_REASON_CLIENT_BLOCKED});
}

static void block_prefix(bool ipv6)
{
	set_prefix(ipv6, ipv6 ? 48 : 112, (struct sluice_prefix){.class = SLUICE_PREFIX_BLOCKED});
}

static void block_prefix_by_drop(bool ipv6)
{
	set_prefix(ipv6, 128,
		   (struct sluice_prefix){.class = SLUICE_PREFIX_BLOCKED,
					  .action = SLUICE_ACTION_DROP});
}

static void block_prefix_until_now(bool ipv6)
{
	set_prefix(
		ipv6, 128,
		(struct sluice_prefix){.class = SLUICE_PREFIX_BLOCKED, .expires_ns = CLOCK_START});
}

static void block_but_exempt(bool ipv6)
{
	block_client(ipv6);
	flag(SLUICE_MODEL_ALL, SLUICE_REASON_OPERATOR, SLUICE_ACTION_DEFAULT);
	set_prefix(ipv6, ipv6 ? 56 : 120, (struct sluice_prefix){.class = SLUICE_PREFIX_EXEMPT});
}

static void exempt_a_part_of_a_blocked_prefix(bool ipv6)
{
	block_prefix(ipv6);
	set_prefix(ipv6, 128, (struct sluice_prefix){.class = SLUICE_PREFIX_EXEMPT});
}

static void shut_models(bool ipv6)
{
	flag(LLAMA, SLUICE_REASON_TTFT, SLUICE_ACTION_DEFAULT);
	flag(OPAQUE_MODEL, SLUICE_REASON_ITL, SLUICE_ACTION_DEFAULT);
}

static void shut_all(bool ipv6)
{
	flag(SLUICE_MODEL_ALL, SLUICE_REASON_TTFT, SLUICE_ACTION_DEFAULT);
}

static void shut_models_by_drop(bool ipv6)
{
	flag(OPAQUE_MODEL, SLUICE_REASON_ITL, SLUICE_ACTION_DROP);
}

static void shut_but_allow_client(bool ipv6)
{
	shut_models(ipv6);
	set_client_flag(ipv6, SLUICE_MODEL_ALL, (struct sluice_client_flag){.allow = 1});
}

static void operator_all(bool ipv6)
{
	flag(SLUICE_MODEL_ALL, SLUICE_REASON_OPERATOR, SLUICE_ACTION_DEFAULT);
}

static void operator_all_but_allow_client(bool ipv6)
{
	operator_all(ipv6);
	set_client_flag(ipv6, SLUICE_MODEL_ALL, (struct sluice_client_flag){.allow = 1});
}

static void fill_limits(bool ipv6)
{
	set_flag(SLUICE_MODEL_ALL, (struct sluice_model_flag){.allow = 1, .limit = 1});
	add_in_flight(SLUICE_MODEL_ALL, 5);
}

static void block_without_lease(bool ipv6)
{
	block_client(ipv6);
	w.settings.lease_until_ns = CLOCK_START;
	write_settings();
}

static void block_and_stop(bool ipv6)
{
	block_client(ipv6);
	w.settings.stopping = 1;
	write_settings();
}

static void block_in_shadow(bool ipv6)
{
	struct sluice_service service = http_service();

	service.mode = SLUICE_MODE_SHADOW;
	set_both(HTTP_PORT, service);
	block_client(ipv6);
}

static void drop_by_service(bool ipv6)
{
	struct sluice_service service = http_service();

	service.action = SLUICE_ACTION_DROP;
	set_both(HTTP_PORT, service);
	block_client(ipv6);
}

/* Every client has its part of the connections, and three quarters of conns are taken. */
static void crowd(bool ipv6)
{
	for (uint32_t i = 1; i < SLUICE_CONN_BUCKETS; i++)
		w.conn_counts[i] = SLUICE_CONNS_CLIENT_MAX(SLUICE_CONNS_MAX);
	w.conn_counts[SLUICE_CONNS_ALL] = SLUICE_CONNS_CROWDED(SLUICE_CONNS_MAX);
}

static void crowd_below_three_quarters(bool ipv6)
{
	crowd(ipv6);
	w.conn_counts[SLUICE_CONNS_ALL]--;
}

static void crowd_by_drop(bool ipv6)
{
	crowd(ipv6);
	set_flag(SLUICE_MODEL_ALL,
		 (struct sluice_model_flag){.allow = 1, .action = SLUICE_ACTION_DROP});
}

static void crowd_in_shadow(bool ipv6)
{
	struct sluice_service service = http_service();

	service.mode = SLUICE_MODE_SHADOW;
	set_both(HTTP_PORT, service);
	crowd(ipv6);
}

static void crowd_without_lease(bool ipv6)
{
	crowd(ipv6);
	w.settings.lease_until_ns = CLOCK_START;
	write_settings();
}

static void crowd_but_exempt(bool ipv6)
{
	crowd(ipv6);
	set_prefix(ipv6, 128, (struct sluice_prefix){.class = SLUICE_PREFIX_EXEMPT});
}

static void crowd_but_allowed(bool ipv6)
{
	crowd(ipv6);
	set_client_flag(ipv6, SLUICE_MODEL_ALL, (struct sluice_client_flag){.allow = 1});
}

static void crowd_but_allowed_until_now(bool ipv6)
{
	crowd(ipv6);
	set_client_flag(ipv6, SLUICE_MODEL_ALL,
			(struct sluice_client_flag){.allow = 1, .expires_ns = CLOCK_START});
}

static void crowd_but_allowed_one_model(bool ipv6)
{
	crowd(ipv6);
	set_client_flag(ipv6, LLAMA, (struct sluice_client_flag){.allow = 1});
}

/* The client is a trusted proxy of this service, of which a header or PROXY names the client. */
static void crowd_of(bool ipv6, uint8_t forwarded, uint8_t proxy, uint32_t id)
{
	struct sluice_service service = http_service();

	crowd(ipv6);
	service.forwarded = forwarded;
	service.proxy = proxy;
	set_both(HTTP_PORT, service);
	clear_map(fd_of(trusted_proxies));
	trust_peer(ipv6, id);
}

static void crowd_of_a_trusted_proxy(bool ipv6)
{
	crowd_of(ipv6, 1, 0, HTTP_ID);
}

static void crowd_of_a_trusted_proxy_by_proxy_header(bool ipv6)
{
	crowd_of(ipv6, 0, 1, HTTP_ID);
}

static void crowd_of_another_services_proxy(bool ipv6)
{
	crowd_of(ipv6, 1, 0, OPAQUE_ID);
}

/* invariant 5, and the part of invariant 1 that a SYN needs */
static const struct gate_row rows[] = {
	{"nothing is shut", nothing, HTTP_PORT, LET_PASS, 0},
	{"a blocked client", block_client, HTTP_PORT, REFUSED_BY_RST, SLUICE_REASON_CLIENT_BLOCKED},
	{"a blocked client, to be dropped", block_client_by_drop, HTTP_PORT, DROPPED,
	 SLUICE_REASON_CLIENT_BLOCKED},
	{"a service that drops", drop_by_service, HTTP_PORT, DROPPED, SLUICE_REASON_CLIENT_BLOCKED},
	{"a block that has ended", block_client_until_now, HTTP_PORT, LET_PASS, 0},
	{"a block for one model", block_client_for_one_model, HTTP_PORT, LET_PASS, 0},
	{"a blocked prefix", block_prefix, HTTP_PORT, REFUSED_BY_RST, SLUICE_REASON_CLIENT_BLOCKED},
	{"a blocked prefix, to be dropped", block_prefix_by_drop, OPAQUE_PORT, DROPPED,
	 SLUICE_REASON_CLIENT_BLOCKED},
	{"a prefix whose block has ended", block_prefix_until_now, HTTP_PORT, LET_PASS, 0},
	{"an exempt prefix, whatever other rules say", block_but_exempt, HTTP_PORT, LET_PASS, 0},
	{"an exempt address in a blocked prefix", exempt_a_part_of_a_blocked_prefix, OPAQUE_PORT,
	 LET_PASS, 0},
	{"an http service shut by latency", shut_models, HTTP_PORT, LET_PASS, 0},
	{"an http service when all is shut by latency", shut_all, HTTP_PORT, LET_PASS, 0},
	{"an opaque service shut by latency", shut_models, OPAQUE_PORT, REFUSED_BY_RST,
	 SLUICE_REASON_ITL},
	{"an opaque service when all is shut", shut_all, OPAQUE_PORT, REFUSED_BY_RST,
	 SLUICE_REASON_TTFT},
	{"an opaque service that drops", shut_models_by_drop, OPAQUE_PORT, DROPPED,
	 SLUICE_REASON_ITL},
	{"an allowed client of a shut opaque service", shut_but_allow_client, OPAQUE_PORT, LET_PASS,
	 0},
	{"a drain of an http service: its requests read why", operator_all, HTTP_PORT, LET_PASS, 0},
	{"the operator's rule over an allowed client", operator_all_but_allow_client, OPAQUE_PORT,
	 REFUSED_BY_RST, SLUICE_REASON_OPERATOR},
	{"limits that are full", fill_limits, HTTP_PORT, LET_PASS, 0},
	{"a lease that has run out", block_without_lease, HTTP_PORT, LEASE, 0},
	{"a daemon that stops", block_and_stop, HTTP_PORT, LEASE, 0},
	{"shadow mode", block_in_shadow, HTTP_PORT, SHADOW, SLUICE_REASON_CLIENT_BLOCKED},
	{"a blocked client at an unprotected port", block_client, HTTP_PORT + 1, LET_PASS, 0},
	{"a client with its part of nearly full connections", crowd, HTTP_PORT, REFUSED_BY_RST,
	 SLUICE_REASON_CLIENT_SHARE},
	{"… of an opaque service", crowd, OPAQUE_PORT, REFUSED_BY_RST, SLUICE_REASON_CLIENT_SHARE},
	{"… to be dropped", crowd_by_drop, HTTP_PORT, DROPPED, SLUICE_REASON_CLIENT_SHARE},
	{"… with one connection less than three quarters", crowd_below_three_quarters, HTTP_PORT,
	 LET_PASS, 0},
	{"… in shadow mode", crowd_in_shadow, HTTP_PORT, SHADOW, SLUICE_REASON_CLIENT_SHARE},
	{"… without a lease", crowd_without_lease, HTTP_PORT, LEASE, 0},
	{"… in an exempt prefix", crowd_but_exempt, HTTP_PORT, LET_PASS, 0},
	{"… that is allowed", crowd_but_allowed, HTTP_PORT, LET_PASS, 0},
	{"… that is allowed no longer", crowd_but_allowed_until_now, HTTP_PORT, REFUSED_BY_RST,
	 SLUICE_REASON_CLIENT_SHARE},
	{"… that is allowed for one model only", crowd_but_allowed_one_model, HTTP_PORT,
	 REFUSED_BY_RST, SLUICE_REASON_CLIENT_SHARE},
	{"… that is a trusted proxy, with a header", crowd_of_a_trusted_proxy, HTTP_PORT, LET_PASS,
	 0},
	{"… that is a trusted proxy, with a PROXY header", crowd_of_a_trusted_proxy_by_proxy_header,
	 HTTP_PORT, LET_PASS, 0},
	{"… that is a trusted proxy of another service", crowd_of_another_services_proxy, HTTP_PORT,
	 REFUSED_BY_RST, SLUICE_REASON_CLIENT_SHARE},
};

/* A SYN as stacks send it: bare, with data, with data and FIN, with ECN. */
static const struct segment syns[] = {
	{.flags = SYN},
	{.flags = SYN, .text = "early", .len = 5},
	{.flags = SYN | FIN, .text = "early", .len = 5},
	{.flags = SYN | 0xc0},
};

static void assert_reported(const struct gate_row *row, bool ipv6, unsigned n, bool shadow)
{
	const struct sluice_service service =
		row->port == OPAQUE_PORT ? opaque_service() : http_service();
	struct sluice_client client = this_client(ipv6);
	const struct sluice_refusal *reported = &w.refusals[0];
	uint32_t verdict = shadow                 ? SLUICE_VERDICT_SYN_SHADOW
			   : row->then == DROPPED ? SLUICE_VERDICT_SYN_DROPPED
						  : SLUICE_VERDICT_SYN_RESET;

	assert_int_equal(w.refusal_count, n);
	assert_int_equal(entries(fd_of(request_counts)), n);
	/* invariant 3: a SYN takes no slot and begins no connection. */
	assert_int_equal(entries(fd_of(conns)), 0);
	assert_int_equal(entries(fd_of(tombstones)), 0);
	if (!n)
		return;
	assert_int_equal(requests_of(service.id, service.default_model, verdict, row->reason), 1);
	assert_memory_equal(&reported->client, &client, sizeof(client));
	assert_int_equal(reported->at_syn, 1);
	assert_int_equal(reported->reason, row->reason);
	assert_int_equal(reported->service, service.id);
	assert_int_equal(reported->verdict,
			 shadow ? SLUICE_VERDICT_SHADOW_REJECTED : SLUICE_VERDICT_REJECTED);
}

static void play_syn(const struct gate_row *row, enum hook hook, const struct shape *shape,
		     struct segment syn)
{
	static const int passes[] = {XDP_PASS, XDP_PASS, THEN_UNSPEC};
	static const int replies[] = {XDP_TX, XDP_TX, THEN_REDIRECT};
	static const int drops[] = {XDP_DROP, XDP_DROP, TC_ACT_SHOT};
	struct row_counter lease = {SLUICE_COUNTER_PASSED_LEASE,
				    row->then == LEASE && hook == HOOK_TC};
	struct shape answer = *shape;
	static struct frame in, out, after, sent;
	bool shadow = row->then == SHADOW && hook == HOOK_TC;
	bool refused = row->then == REFUSED_BY_RST || row->then == DROPPED;
	struct seen seen;
	int retval;

	reset_world();
	row_now = row->what;
	shape_now = *shape;
	step_now = hook;
	row->act(shape->ipv6);
	syn.seq = 0xfffffffd;
	syn.window = 64240;
	syn.server_port = row->port;
	make_frame(&in, shape, &syn);
	if (hook == HOOK_TC)
		retval = run_tc(program_for(shape, false), &in, &out);
	else
		retval = run_xdp(hook == HOOK_NATIVE ? w.skel->progs.gate
						     : w.skel->progs.gate_generic,
				 &in, &out);
	assert_int_equal(retval, row->then == REFUSED_BY_RST ? replies[hook]
				 : row->then == DROPPED      ? drops[hook]
							     : passes[hook]);
	if (!refused) {
		if (hook == HOOK_TC && row->port != HTTP_PORT + 1 && syn.len) {
			syn.len = 0; /* data in a SYN to a protected port is cut off */
			sent = in;
			make_frame(&in, shape, &syn);
			carry_checksum(&in, shape, &sent);
			assert_int_equal(counter(SLUICE_COUNTER_SYN_DATA_CUT), 1);
		}
		assert_same_frame(&in, &out);
	}
	if (row->then == REFUSED_BY_RST) {
		/* Generic XDP cannot know more than the field. */
		if (hook != HOOK_GENERIC)
			answer.partial = false;
		read_forged(&out, &answer, true, row->port, &seen);
		assert_true(seen.from_server);
		assert_int_equal(seen.flags, RST | ACK);
		assert_int_equal(seen.seq, 0);
		assert_int_equal(seen.ack, (uint32_t)(syn.seq + 1 + syn.len + !!(syn.flags & FIN)));
		assert_int_equal(seen.window, 0);
		assert_int_equal(seen.len, 0);
		assert_int_equal(run_tc(program_for(shape, true), &out, &after), THEN_UNSPEC);
		assert_same_frame(&after, &out);
	}
	assert_reported(row, shape->ipv6, refused || shadow, shadow);
	assert_counters(&lease, 1);
	row_now = NULL;
}

static void all_hooks_judge_a_syn_alike_and_its_rst_is_right_to_the_byte(void **state)
{
	static const enum options options[] = {OPTIONS_NONE, OPTIONS_SYN, OPTIONS_TS};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (int kind = 0; kind < 2 * 4 * 3 * 2; kind++)
			for (int hook = 0; hook < HOOK_COUNT; hook++)
				for (unsigned s = 0; s < sizeof(syns) / sizeof(syns[0]); s++) {
					const struct shape shape = {kind & 1, kind / 2 % 4,
								    options[kind / 8 % 3],
								    kind / 24};

					if (shape.link == LINK_NONE && hook != HOOK_TC)
						continue;
					play_syn(&rows[i], hook, &shape, syns[s]);
				}
}

/* The gate acts on SYNs only; a blocked client's connections are judged after it. */
static void everything_but_a_syn_passes_the_gate(void **state)
{
	static const uint8_t flags[] = {ACK, ACK | PSH, SYN | ACK, RST, FIN | ACK, SYN | RST, 0};
	static struct frame in, out;

	for (int kind = 0; kind < 4; kind++) {
		const struct shape shape = {kind & 1, kind & 2 ? LINK_VLAN : LINK_ETHERNET,
					    OPTIONS_TS, false};

		for (unsigned i = 0; i < sizeof(flags); i++) {
			struct segment s = {.flags = flags[i], .text = "GET", .len = 3};

			reset_world();
			block_client(shape.ipv6);
			make_frame(&in, &shape, &s);
			assert_int_equal(run_xdp(w.skel->progs.gate, &in, &out), XDP_PASS);
			assert_same_frame(&in, &out);
			assert_int_equal(run_xdp(w.skel->progs.gate_generic, &in, &out), XDP_PASS);
			assert_same_frame(&in, &out);
			assert_int_equal(w.refusal_count, 0);
		}
	}
}

/* A client retransmits its SYN; each is refused and counted, and costs nothing else. */
static void a_repeated_syn_is_refused_again(void **state)
{
	static const struct shape shape = {.link = LINK_ETHERNET, .options = OPTIONS_SYN};
	static struct frame in, out;
	struct segment syn = {.flags = SYN};

	block_client(false);
	make_frame(&in, &shape, &syn);
	for (int i = 0; i < 5; i++)
		assert_int_equal(run_xdp(w.skel->progs.gate, &in, &out), XDP_TX);
	assert_int_equal(
		requests_of(HTTP_ID, LLAMA, SLUICE_VERDICT_SYN_RESET, SLUICE_REASON_CLIENT_BLOCKED),
		5);
	assert_int_equal(entries(fd_of(half_open)), 0);
}

/* invariant 8: a bridge and its port see one SYN, and a client retransmits it. */
static void a_syn_that_passes_counts_once_whichever_hooks_see_it(void **state)
{
	static const struct shape shape = {.link = LINK_ETHERNET, .options = OPTIONS_SYN};
	static struct frame in, out;

	for (int shadow = 0; shadow < 2; shadow++) {
		reset_world();
		if (shadow)
			block_in_shadow(false);
		else
			block_without_lease(false);
		for (unsigned attempt = 1; attempt < 4; attempt++) {
			struct segment syn = {.flags = SYN, .seq = attempt * 1000};

			make_frame(&in, &shape, &syn);
			for (int pass = 0; pass < 4; pass++)
				assert_int_equal(run_tc_at(w.skel->progs.requests,
							   pass % 2 ? w.above : w.ifindex, &in,
							   &out),
						 THEN_UNSPEC);
			assert_int_equal(requests_of(HTTP_ID, LLAMA, SLUICE_VERDICT_SYN_SHADOW,
						     SLUICE_REASON_CLIENT_BLOCKED),
					 shadow ? attempt : 0);
			assert_int_equal(counter(SLUICE_COUNTER_PASSED_LEASE),
					 shadow ? 0 : attempt);
		}
	}
}

/*
 * invariant 8: the ring gets at most 1,000 records a second of each CPU, and the others are
 * counted.
 */
static void refusals_beyond_the_rings_rate_are_counted(void **state)
{
	static const struct shape shape = {.link = LINK_ETHERNET};
	static struct frame in, out;
	struct segment syn = {.flags = SYN};

	block_client(false);
	make_frame(&in, &shape, &syn);
	for (int i = 0; i < 1100; i++) {
		assert_int_equal(run_xdp(w.skel->progs.gate, &in, &out), XDP_TX);
		assert_true(w.refusal_count <= 1);
		w.refusal_count = 0;
	}
	assert_int_equal(counter(SLUICE_COUNTER_VERDICTS_LOST), 100);
	pass_ms(1000);
	assert_int_equal(run_xdp(w.skel->progs.gate, &in, &out), XDP_TX);
	assert_int_equal(counter(SLUICE_COUNTER_VERDICTS_LOST), 100);
	assert_int_equal(w.refusal_count, 1);
}

/* invariant 8: a refusal that finds no space in the ring is counted too. */
static void refusals_that_find_the_ring_full_are_counted(void **state)
{
	static const struct shape shape = {.link = LINK_ETHERNET};
	static struct frame in, out;
	const unsigned records = 1 + (1 << 18) / sizeof(struct sluice_refusal);
	struct segment syn = {.flags = SYN};
	unsigned reported;

	block_client(false);
	make_frame(&in, &shape, &syn);
	w.unread = true;
	for (unsigned i = 0; i < records; i++) {
		assert_int_equal(run_xdp(w.skel->progs.gate, &in, &out), XDP_TX);
		if (i % 500 == 0) /* within its rate */
			pass_ms(1000);
	}
	reported = read_filled(fd_of(verdicts));
	assert_true(reported < records);
	assert_int_equal(reported + counter(SLUICE_COUNTER_VERDICTS_LOST), records);
}

/*
 * invariant 3: neither Multipath TCP nor Fast Open reaches a protected port; the rest of the SYN
 * stays.
 */
static void a_syn_is_made_plain_tcp(void **state)
{
	static const uint8_t before[40] = {2, 4,   5,  0xb4, 30,   12, 0x10, 1, 1, 2, 3, 4, 5, 6,
					   7, 8,   34, 10,   1,    2,  3,    4, 5, 6, 7, 8, 3, 3,
					   9, 254, 4,  0xf9, 0x89, 1,  254,  4, 1, 2, 1, 1};
	static const uint8_t after[40] = {2, 4, 5, 0xb4, 1, 1, 1,   1, 1, 1, 1, 1, 1, 1,
					  1, 1, 1, 1,    1, 1, 1,   1, 1, 1, 1, 1, 3, 3,
					  9, 1, 1, 1,    1, 1, 254, 4, 1, 2, 1, 1};
	static struct frame in, out;

	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		const struct shape shape = {ipv6, LINK_ETHERNET, OPTIONS_NONE, false};
		const size_t ip_at = 14, tcp_at = ip_at + (ipv6 ? 40 : 20);
		struct segment syn = {.flags = SYN, .text = before, .len = sizeof(before)};
		struct sluice_conn_key key = this_key(ipv6, HTTP_PORT);
		struct sluice_half_open half;
		const uint8_t *ip = in.data + ip_at;
		uint8_t *tcp = in.data + tcp_at;

		reset_world();
		make_frame(&in, &shape, &syn); /* the options are in the position of the text */
		tcp[12] = 60 / 4 << 4;
		put16(tcp + 16, 0);
		put16(tcp + 16, ~sum_bytes(sum_pseudo(ip + (ipv6 ? 8 : 12), ip + (ipv6 ? 24 : 16),
						      ipv6 ? 16 : 4, 60),
					   tcp, 60));
		assert_int_equal(run_tc(w.skel->progs.requests, &in, &out), THEN_UNSPEC);
		assert_int_equal(out.len, in.len);
		tcp = out.data + tcp_at;
		assert_memory_equal(out.data, in.data, tcp_at + 16);
		assert_memory_equal(tcp + 20, after, sizeof(after));
		assert_int_equal(sum_bytes(sum_pseudo(ip + (ipv6 ? 8 : 12), ip + (ipv6 ? 24 : 16),
						      ipv6 ? 16 : 4, 60),
					   tcp, 60),
				 0xffff);
		assert_int_equal(counter(SLUICE_COUNTER_OPTIONS_REMOVED), 1);
		assert_int_equal(bpf_map_lookup_elem(fd_of(half_open), &key, &half), 0);
		assert_int_equal(half.wscale, 9);
		assert_int_equal(half.answered, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(all_hooks_judge_a_syn_alike_and_its_rst_is_right_to_the_byte),
		packets_test(everything_but_a_syn_passes_the_gate),
		packets_test(a_repeated_syn_is_refused_again),
		packets_test(a_syn_that_passes_counts_once_whichever_hooks_see_it),
		packets_test(refusals_beyond_the_rings_rate_are_counted),
		packets_test(refusals_that_find_the_ring_full_are_counted),
		packets_test(a_syn_is_made_plain_tcp),
	};

	return packets_main("gate", tests);
}
