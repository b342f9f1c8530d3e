/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The headers of packets: TCP is found after any headers of IP, a request in fragments passes, and
 * a packet that is not of a service, or whose headers are wrong or cut, leaves as it came.
 */
#include "requests.h"

static const struct segment whole_request = {.flags = PSH | ACK,
					     .seq = CLIENT_ISN + 1,
					     .ack = SERVER_ISN + 1,
					     .window = 501,
					     .text = REQUEST,
					     .len = WHOLE};

#define NO_FRAGMENT 255

/*
 * IPv6 extension headers: n of `size` bytes each. The `nth` of them is a fragment header with the
 * offset and flag in `part`.
 */
struct headers {
	unsigned n, size;
	uint8_t nth;
	uint16_t part;
};

static const struct headers many_headers = {20, 8, NO_FRAGMENT};

/* Inserts them after the IPv6 header, before the next one. */
static void put_headers(struct frame *f, uint8_t *ip, const struct headers *h)
{
	static const uint8_t kinds[] = {0, 60, 43, 60};
	uint8_t *at = ip + 40, *kind = ip + 6, next = ip[6];
	size_t n = h->n * h->size - (h->nth < h->n ? h->size - 8 : 0);

	assert_true(f->len + n <= sizeof(f->data));
	memmove(at + n, at, f->data + f->len - at);
	memset(at, 0, n);
	f->len += n;
	put16(ip + 4, get16(ip + 4) + n);
	for (unsigned i = 0; i < h->n; i++) {
		*kind = i == h->nth ? 44 : kinds[i ? 1 + i % 3 : 0];
		kind = at;
		if (i == h->nth) {
			put16(at + 2, h->part);
			at += 8;
		} else {
			at[1] = h->size / 8 - 1;
			at += h->size;
		}
	}
	*kind = next;
}

/* Only the first fragment of a packet has ports: a request in fragments passes, until a server is
 * seen to answer it. */
static void a_fragmented_request_is_a_framing_error_and_passes(void **state)
{
	static const struct between first_part = {
		.n = 8, .next = 44, .bytes = {6, 0, 0, 1, 0, 0, 0, 1}};
	static const struct step handshake[] = {HANDSHAKE};
	static struct frame in, out;
	const struct row ends = {"", .conns = 1,
				 .counters = {{SLUICE_COUNTER_PASSED_FRAMING_ERROR, 1}}};
	static const struct row reset = {"", .counters = {{SLUICE_COUNTER_PASSED_FRAMING_ERROR, 1},
							  {SLUICE_COUNTER_FRAMING_ERROR_RESET, 1}}};
	const struct step next = {FROM_CLIENT(WHOLE, 0, REQUEST)};
	const struct step answer = {FROM_SERVER(0, 2 * WHOLE, OK_SHORT)};
	const struct step after = {FROM_CLIENT(2 * WHOLE, OK_N, REQUEST), .then = RESET,
				   .out_seq = OK_N, .rst_seq = 2 * WHOLE};

	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		const struct shape shape = {.ipv6 = ipv6};

		reset_world();
		for (int i = 0; i < 3; i++)
			play_step(&shape, &handshake[i], HTTP_PORT);
		shut_ttft(ipv6);
		make_frame(&in, &shape, &whole_request);
		if (ipv6)
			put_between(&in, &shape, &first_part);
		else
			put16(in.data + 14 + 6, 0x2000);
		assert_int_equal(run_tc(w.skel->progs.requests, &in, &out), THEN_UNSPEC);
		assert_same_frame(&in, &out);
		play_step(&shape, &next, HTTP_PORT);
		assert_ends(&ends);
		play_step(&shape, &answer, HTTP_PORT);
		play_step(&shape, &after, HTTP_PORT);
		assert_ends(&reset);
	}
}

/* … wherever among IPv6's headers the fragment header stands, and whatever a second one says. */
static void a_fragment_is_found_among_any_headers(void **state)
{
	static const struct {
		const char *what;
		struct headers first, then; /* these come after those */
	} ways[] = {
		{"the last of four", {4, 8, 3, 1}, {0}},
		{"the last of five", {5, 8, 4, 1}, {0}},
		{"among many", {20, 8, 2, 1}, {0}},
		{"after many", {20, 24, 19, 1}, {0}},
		{"and then a whole one", {1, 8, 0, 1}, {1, 8, 0, 0}},
		{"and then a whole one among many", {3, 8, 1, 1}, {20, 8, 10, 0}},
	};
	static const struct step handshake[] = {HANDSHAKE};
	static const struct shape shape = {.ipv6 = true};
	static const struct row ends = {"", .conns = 1,
					.counters = {{SLUICE_COUNTER_PASSED_FRAMING_ERROR, 1}}};
	static struct frame in, out;

	for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		reset_world();
		row_now = ways[i].what;
		shape_now = shape;
		for (int k = 0; k < 3; k++)
			play_step(&shape, &handshake[k], HTTP_PORT);
		shut_ttft(true);
		make_frame(&in, &shape, &whole_request);
		put_headers(&in, in.data + 14, &ways[i].then);
		put_headers(&in, in.data + 14, &ways[i].first);
		assert_int_equal(run_tc(w.skel->progs.requests, &in, &out), THEN_UNSPEC);
		assert_same_frame(&in, &out);
		assert_ends(&ends);
	}
	row_now = NULL;
}

/* invariant 7: sluice judges the segment after any number of IPv6 headers. */
static void tcp_is_found_after_any_ipv6_headers(void **state)
{
	static const struct {
		const char *what;
		struct headers headers;
		bool big;
	} ways[] = {
		{"four", {4, 8, NO_FRAGMENT}},
		{"five", {5, 8, NO_FRAGMENT}},
		{"twenty", {20, 8, NO_FRAGMENT}},
		{"three hundred", {300, 8, NO_FRAGMENT}},
		{"one of 136 bytes", {1, 136, NO_FRAGMENT}},
		{"one of 256 bytes", {1, 256, NO_FRAGMENT}},
		{"the longest there is", {1, 2048, NO_FRAGMENT}},
		{"ten of 200 bytes", {10, 200, NO_FRAGMENT}},
		{"a fragment that is all there is, among many", {20, 8, 7}},
		{"many, and no length", {20, 8, NO_FRAGMENT}, .big = true},
	};
	static const struct step handshake[] = {HANDSHAKE};
	static const struct shape shape = {.ipv6 = true};
	static const struct row admitted = {"", ADMITTED_ONCE};
	static struct frame in, out, clone;
	struct segment syn_ack = {
		.from_server = true, .flags = SYN | ACK, .seq = SERVER_ISN, .ack = CLIENT_ISN + 1};
	struct sluice_conn conn;

	for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		for (int shut = 0; shut < 2; shut++) {
			reset_world();
			row_now = ways[i].what;
			shape_now = shape;
			/* the server's segments are found as well */
			play_step(&shape, &handshake[0], HTTP_PORT);
			make_frame(&in, &shape, &syn_ack);
			put_headers(&in, in.data + 14, &ways[i].headers);
			assert_int_equal(run_tc(w.skel->progs.responses, &in, &out), THEN_UNSPEC);
			assert_same_frame(&in, &out);
			play_step(&shape, &handshake[2], HTTP_PORT);
			if (shut)
				shut_ttft(true);
			make_frame(&in, &shape, &whole_request);
			put_headers(&in, in.data + 14, &ways[i].headers);
			if (ways[i].big)
				put16(in.data + 14 + 4, 0);
			if (shut) {
				assert_int_not_equal(run_tc(w.skel->progs.requests, &in, &out),
						     THEN_UNSPEC);
				assert_int_equal(requests_of(HTTP_ID, LLAMA,
							     SLUICE_VERDICT_REJECTED,
							     SLUICE_REASON_TTFT),
						 1);
				assert_int_equal(requests_in_all(), 1);
				catch_clone(&clone, 20000);
				continue;
			}
			assert_int_equal(run_tc(w.skel->progs.requests, &in, &out), THEN_UNSPEC);
			assert_same_frame(&in, &out);
			assert_true(get_conn(true, HTTP_PORT, &conn));
			assert_int_equal(conn.c_next, CLIENT_ISN + 1 + WHOLE);
			assert_ends(&admitted);
		}
	}
	row_now = NULL;
}

/*
 * invariant 7: with any headers before TCP, and without a length in the IP header (BIG TCP), the
 * segment's bytes are the same.
 */
static void headers_between_ip_and_tcp_are_no_part_of_the_segment(void **state)
{
	static const struct step handshake[] = {HANDSHAKE};
	static const struct row ends = {"", ADMITTED_ONCE};
	struct sluice_conn conn;

	for (unsigned i = 0; i < sizeof(betweens) / sizeof(betweens[0]); i++) {
		const struct shape shape = {.ipv6 = betweens[i].ipv6};
		const struct step whole = {FROM_CLIENT(0, 0, REQUEST), .between = &betweens[i]};

		reset_world();
		row_now = betweens[i].what;
		shape_now = shape;
		for (int k = 0; k < 3; k++)
			play_step(&shape, &handshake[k], HTTP_PORT);
		play_step(&shape, &whole, HTTP_PORT);
		assert_true(get_conn(shape.ipv6, HTTP_PORT, &conn));
		assert_int_equal(conn.c_next, CLIENT_ISN + 1 + WHOLE);
		assert_ends(&ends);
	}
	row_now = NULL;
}

/* ---- packets of others ---- */

struct alien {
	const char *what;
	void (*change)(struct frame *f, const struct shape *shape);
	uint16_t client_port, server_port;
};

static uint8_t *ip_of(struct frame *f, const struct shape *shape)
{
	return f->data + (shape->link == LINK_ETHERNET ? 14 : 18);
}

static void make_udp(struct frame *f, const struct shape *shape)
{
	ip_of(f, shape)[shape->ipv6 ? 6 : 9] = 17;
}

static void make_arp(struct frame *f, const struct shape *shape)
{
	put16(ip_of(f, shape) - 2, ETH_P_ARP);
}

/* A later fragment with a payload that only looks like a TCP header. */
static void make_later_fragment(struct frame *f, const struct shape *shape)
{
	static const uint8_t extension[8] = {6, 0, 0, 0x19, 0, 0, 0, 1};
	uint8_t *ip = ip_of(f, shape);

	if (!shape->ipv6) {
		put16(ip + 6, 3);
		return;
	}
	ip[6] = 44;
	put16(ip + 4, get16(ip + 4) + 8);
	memmove(ip + 48, ip + 40, f->data + f->len - (ip + 40));
	memcpy(ip + 40, extension, 8);
	f->len += 8;
}

static void other_version(struct frame *f, const struct shape *shape)
{
	ip_of(f, shape)[0] = 0x75;
}

static void other_host(struct frame *f, const struct shape *shape)
{
	uint8_t *src = ip_of(f, shape) + (shape->ipv6 ? 8 : 12);
	size_t addr = shape->ipv6 ? 16 : 4;
	bool server = !memcmp(src, shape->ipv6 ? server_v6 : server_v4 + 12, addr);

	src[server ? addr - 1 : 2 * addr - 1] ^= 0x40;
}

static void short_header_length(struct frame *f, const struct shape *shape)
{
	ip_of(f, shape)[shape->ipv6 ? 40 + 12 : 20 + 12] = 0x40;
}

static void longer_than_it_is(struct frame *f, const struct shape *shape)
{
	uint8_t *ip = ip_of(f, shape);

	put16(ip + (shape->ipv6 ? 4 : 2), get16(ip + (shape->ipv6 ? 4 : 2)) + 1);
}

static void shorter_than_its_header(struct frame *f, const struct shape *shape)
{
	put16(ip_of(f, shape) + (shape->ipv6 ? 4 : 2), shape->ipv6 ? 12 : 32);
}

/* IPv4: the length leaves less than nothing for TCP. */
static void shorter_than_ip(struct frame *f, const struct shape *shape)
{
	put16(ip_of(f, shape) + (shape->ipv6 ? 4 : 2), 10);
}

/* The length leaves nothing for TCP. */
static void as_long_as_ip(struct frame *f, const struct shape *shape)
{
	uint8_t *ip = ip_of(f, shape);

	if (shape->ipv6)
		put_headers(f, ip, &(struct headers){1, 8, NO_FRAGMENT});
	put16(ip + (shape->ipv6 ? 4 : 2), shape->ipv6 ? 8 : 20);
}

static void put_many(struct frame *f, const struct shape *shape)
{
	if (shape->ipv6)
		put_headers(f, ip_of(f, shape), &many_headers);
	else
		make_udp(f, shape);
}

static void many_udp(struct frame *f, const struct shape *shape)
{
	make_udp(f, shape);
	put_many(f, shape);
}

static void many_no_next(struct frame *f, const struct shape *shape)
{
	put_many(f, shape);
	if (shape->ipv6)
		ip_of(f, shape)[40 + 8 * 12] = 59;
}

static void many_later_fragment(struct frame *f, const struct shape *shape)
{
	if (shape->ipv6)
		put_headers(f, ip_of(f, shape), &(struct headers){20, 8, 12, 0x0100});
	else
		make_later_fragment(f, shape);
}

static void many_to_another_port(struct frame *f, const struct shape *shape)
{
	uint8_t *ip = ip_of(f, shape);

	put16(ip + (shape->ipv6 ? 40 : 20), 1);
	put16(ip + (shape->ipv6 ? 40 : 20) + 2, 2);
	put_many(f, shape);
}

static void many_longer(struct frame *f, const struct shape *shape)
{
	put_many(f, shape);
	longer_than_it_is(f, shape);
}

/* The payload's length is `n`, and the headers alone have 160 bytes. */
static void many_of(struct frame *f, const struct shape *shape, uint16_t n)
{
	put_many(f, shape);
	if (shape->ipv6)
		put16(ip_of(f, shape) + 4, n);
}

static void many_less_than_they_are(struct frame *f, const struct shape *shape)
{
	many_of(f, shape, 12);
}

static void many_as_they_are(struct frame *f, const struct shape *shape)
{
	many_of(f, shape, 160);
}

static void many_and_half_a_header(struct frame *f, const struct shape *shape)
{
	many_of(f, shape, 160 + 12);
}

/* One header claims to be longer than the packet. */
static void many_past_the_packet(struct frame *f, const struct shape *shape)
{
	put_many(f, shape);
	if (shape->ipv6)
		ip_of(f, shape)[40 + 8 * 12 + 1] = 255;
}

/* invariant 11 */
static void other_packets_leave_as_they_came(void **state)
{
	static const struct alien aliens[] = {
		{"UDP", make_udp, 0, 0},
		{"ARP", make_arp, 0, 0},
		{"a later fragment", make_later_fragment, 0, 0},
		{"another IP version", other_version, 0, 0},
		{"another host's address", other_host, 0, 0},
		{"another port", NULL, 0, HTTP_PORT + 1},
		{"the protected port on the client's side", NULL, HTTP_PORT, 22},
		{"a TCP header too short to be one", short_header_length, 0, 0},
		{"a length over the packet's end", longer_than_it_is, 0, 0},
		{"a length within the TCP header", shorter_than_its_header, 0, 0},
		{"a length within the IP header", shorter_than_ip, 0, 0},
		{"a length that ends with IP's headers", as_long_as_ip, 0, 0},
		{"UDP after many IPv6 headers", many_udp, 0, 0},
		{"nothing after many IPv6 headers", many_no_next, 0, 0},
		{"a later fragment, said among many IPv6 headers", many_later_fragment, 0, 0},
		{"another port after many IPv6 headers", many_to_another_port, 0, 0},
		{"many IPv6 headers, and a length over the packet's end", many_longer, 0, 0},
		{"many IPv6 headers, and a length within them", many_less_than_they_are, 0, 0},
		{"many IPv6 headers, and a length that ends with them", many_as_they_are, 0, 0},
		{"many IPv6 headers, and a length within the TCP header", many_and_half_a_header, 0,
		 0},
		{"many IPv6 headers, one of them past the packet's end", many_past_the_packet, 0,
		 0},
	};
	static struct frame in, out;

	for (int kind = 0; kind < 8; kind++) {
		const struct shape shape = {kind & 1, kind & 2 ? LINK_VLAN : LINK_ETHERNET,
					    OPTIONS_NONE, false};
		bool server = kind & 4;

		for (unsigned i = 0; i < sizeof(aliens) / sizeof(aliens[0]); i++) {
			struct segment s = {.from_server = server,
					    .flags = server ? SYN | ACK : PSH | ACK,
					    .text = REQUEST,
					    .len = WHOLE,
					    .client_port = aliens[i].client_port,
					    .server_port = aliens[i].server_port};
			struct row nothing = {.what = aliens[i].what};

			reset_world();
			row_now = aliens[i].what;
			shape_now = shape;
			shut_itl_for_all(false);
			block_client(shape.ipv6);
			make_frame(&in, &shape, &s);
			if (aliens[i].change)
				aliens[i].change(&in, &shape);
			assert_int_equal(run_tc(program_for(&shape, server), &in, &out),
					 THEN_UNSPEC);
			assert_same_frame(&in, &out);
			assert_int_equal(entries(fd_of(half_open)), 0);
			assert_ends(&nothing);
			if (server)
				continue;
			s.flags = SYN;
			make_frame(&in, &shape, &s);
			if (aliens[i].change)
				aliens[i].change(&in, &shape);
			assert_int_equal(run_tc(w.skel->progs.requests, &in, &out), THEN_UNSPEC);
			assert_same_frame(&in, &out);
			assert_int_equal(run_xdp(w.skel->progs.gate, &in, &out), XDP_PASS);
			assert_same_frame(&in, &out);
			assert_ends(&nothing);
		}
	}
	row_now = NULL;
}

/* invariants 11 and 1: a header that is cut anywhere passes unchanged. */
static void truncated_headers_leave_as_they_came(void **state)
{
	static struct frame whole, in, out;

	for (int kind = 0; kind < 5; kind++) {
		const struct shape shape = {kind & 1 || kind == 4,
					    kind & 2 ? LINK_QINQ : LINK_ETHERNET, OPTIONS_TS,
					    false};
		struct segment s = {.flags = SYN, .text = "x", .len = 1};

		block_client(shape.ipv6);
		make_frame(&whole, &shape, &s);
		if (kind == 4)
			put_headers(&whole, whole.data + 14, &many_headers);
		/* TEST_RUN itself needs whole IP headers where it finds one. */
		for (size_t len = kind & 2 ? 16 : shape.ipv6 ? 54 : 34; len < whole.len; len++) {
			in = whole;
			in.len = len;
			assert_int_equal(run_tc(w.skel->progs.requests, &in, &out), THEN_UNSPEC);
			assert_same_frame(&in, &out);
			assert_int_equal(run_tc(w.skel->progs.responses, &in, &out), THEN_UNSPEC);
			assert_same_frame(&in, &out);
			assert_int_equal(run_xdp(w.skel->progs.gate, &in, &out), XDP_PASS);
			assert_same_frame(&in, &out);
		}
	}
}

/* Ethernet pads short frames: bytes after the IP packet are no payload. */
static void padding_after_a_short_packet_is_no_payload(void **state)
{
	static const struct step handshake[] = {HANDSHAKE};
	static const struct shape shape = {0};
	static struct frame in, out;
	struct segment ack = {
		.flags = ACK, .seq = CLIENT_ISN + 1, .ack = SERVER_ISN + 1, .window = 501};
	struct sluice_conn conn;

	for (int i = 0; i < 3; i++)
		play_step(&shape, &handshake[i], HTTP_PORT);
	make_frame(&in, &shape, &ack);
	memset(in.data + in.len, 'P', 6);
	in.len += 6;
	assert_int_equal(run_tc(w.skel->progs.requests, &in, &out), THEN_UNSPEC);
	assert_true(get_conn(false, HTTP_PORT, &conn));
	assert_int_equal(conn.c_next, CLIENT_ISN + 1);
	assert_int_equal(counter(SLUICE_COUNTER_PASSED_FRAMING_ERROR), 0);
}

/* BIG TCP: packets of more than 64 KiB have no length in their IP header. */
static void a_length_of_zero_means_the_whole_packet(void **state)
{
	static const struct step handshake[] = {HANDSHAKE};
	static struct frame in, out;
	struct segment request = {.flags = PSH | ACK,
				  .seq = CLIENT_ISN + 1,
				  .ack = SERVER_ISN + 1,
				  .window = 501,
				  .text = REQUEST,
				  .len = WHOLE};

	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		const struct shape shape = {.ipv6 = ipv6};
		struct sluice_conn conn;

		reset_world();
		for (int i = 0; i < 3; i++)
			play_step(&shape, &handshake[i], HTTP_PORT);
		make_frame(&in, &shape, &request);
		put16(ip_of(&in, &shape) + (ipv6 ? 4 : 2), 0);
		assert_int_equal(run_tc(w.skel->progs.requests, &in, &out), THEN_UNSPEC);
		assert_same_frame(&in, &out);
		assert_true(get_conn(ipv6, HTTP_PORT, &conn));
		assert_int_equal(conn.c_next, CLIENT_ISN + 1 + WHOLE);
		assert_int_equal(get_state(SLUICE_MODEL_ALL).in_flight, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(a_fragmented_request_is_a_framing_error_and_passes),
		packets_test(a_fragment_is_found_among_any_headers),
		packets_test(tcp_is_found_after_any_ipv6_headers),
		packets_test(headers_between_ip_and_tcp_are_no_part_of_the_segment),
		packets_test(other_packets_leave_as_they_came),
		packets_test(truncated_headers_leave_as_they_came),
		packets_test(padding_after_a_short_packet_is_no_payload),
		packets_test(a_length_of_zero_means_the_whole_packet),
	};

	return packets_main("headers", tests);
}
