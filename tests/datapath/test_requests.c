/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tc ingress, packet by packet: how a connection is proven, how a request is reassembled and judged
 * once, every byte of a refusal on the wire, and how a tombstone carries it to its end. Rows are
 * played over IPv4 and IPv6, with and without VLAN tags and link headers, timestamps and checksum
 * offload.
 */
#include "packets.h"

#include <jansson.h>
#include <netinet/tcp.h>

#define HEAD    "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 31\r\n\r\n"
#define BODY    "{\"model\":\"llama\",\"messages\":[]}"
#define REQUEST HEAD BODY
#define WHOLE   ((int)sizeof(REQUEST) - 1)
#define HEAD_N  ((int)sizeof(HEAD) - 1)
_Static_assert(sizeof(BODY) - 1 == 31, "Content-Length");

#define CHUNKED                                                                                    \
	"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"           \
	"b;x=\"y\"\r\n{\"model\":\"q\r\n12\r\nwen\",\"prompt\":\"a\"}\r\n0\r\nTrailer: 1\r\n\r\n"

#define COMPRESSED                                                                                 \
	"POST / HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 16\r\n\r\n{\"model\":\"qwen\"}"
#define COMPRESSED_N ((int)sizeof(COMPRESSED) - 1)

/* Two of these have 3,072 bytes: the gap and the bytes that pass after it. */
#define LONG_HEAD   "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n"
#define LONG_HEAD_N ((int)sizeof(LONG_HEAD) - 1)

#define ADMITTED_ONCE                                                                              \
	.in_flight = 1, .waiting = 1, .conns = 1,                                                  \
	.requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}
#define REFUSED(why) .requests = {{LLAMA, SLUICE_VERDICT_REJECTED, SLUICE_REASON_##why, 1}}

/* The length of the 429 that names the default model; every wait gives the same. */
static int32_t reply_len(enum sluice_reason reason)
{
	struct sluice_reply_key key = {.model = LLAMA, .reason = reason};
	struct sluice_reply reply;

	assert_int_equal(bpf_map_lookup_elem(fd_of(replies), &key, &reply), 0);
	return reply.len;
}

/* ---- changes of the world ---- */

static void shut_ttft(bool ipv6)
{
	set_flag(LLAMA,
		 (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT, .retry_after_ms = 2500});
}

static void shut_itl_for_all(bool ipv6)
{
	set_flag(SLUICE_MODEL_ALL,
		 (struct sluice_model_flag){.reason = SLUICE_REASON_ITL, .retry_after_ms = 1000});
}

static void shut_by_reset(bool ipv6)
{
	set_flag(LLAMA, (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT,
						   .retry_after_ms = 2500,
						   .action = SLUICE_ACTION_RESET});
}

static void shut_qwen(bool ipv6)
{
	set_flag(QWEN,
		 (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT, .retry_after_ms = 2500});
}

static void shut_in_shadow(bool ipv6)
{
	set_flag(LLAMA, (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT,
						   .retry_after_ms = 2500,
						   .mode = SLUICE_MODE_SHADOW});
}

static void open_all(bool ipv6)
{
	set_flag(LLAMA, (struct sluice_model_flag){.allow = 1});
	set_flag(SLUICE_MODEL_ALL, (struct sluice_model_flag){.allow = 1});
}

static void limit_to_one(bool ipv6)
{
	set_flag(LLAMA, (struct sluice_model_flag){.allow = 1, .limit = 1, .limit_retry_ms = 700});
}

static void block_client(bool ipv6)
{
	set_client_flag(ipv6, SLUICE_MODEL_ALL,
			(struct sluice_client_flag){.reason = SLUICE_REASON_CLIENT_BLOCKED});
}

static void end_lease(bool ipv6)
{
	w.settings.lease_until_ns = w.settings.clock_ns;
	write_settings();
}

static void stop(bool ipv6)
{
	w.settings.stopping = 1;
	write_settings();
}

/* ---- proof ---- */

/* invariant 3 */
static void an_unproven_address_leaves_no_state(void **state)
{
	static const struct row rows[] = {
		{"the third segment of a handshake makes a connection", {HANDSHAKE}, .conns = 1},
		{"a SYN makes nothing", {{.flags = SYN, .seq = -1}}},
		{"a SYN with data loses it and makes nothing",
		 {{.flags = SYN, .seq = -1, .text = REQUEST}},
		 .counters = {{SLUICE_COUNTER_SYN_DATA_CUT, 1}}},
		{"an unanswered SYN proves no numbers: here seq is 5 and ack 1",
		 {{.flags = SYN, .seq = -1}, {FROM_CLIENT(20, -0x7ffffff8, REQUEST)}},
		 .counters = {{SLUICE_COUNTER_PASSED_UNPROVEN, 1}}},
		{"a SYN-ACK makes nothing",
		 {{.flags = SYN, .seq = -1}, {.server = true, .flags = SYN | ACK, .seq = -1}}},
		{"data without a handshake passes and is counted",
		 {{.act = shut_ttft}, {FROM_CLIENT(0, 0, REQUEST)}},
		 .counters = {{SLUICE_COUNTER_PASSED_UNPROVEN, 1}}},
		{"an acknowledgement without a handshake is nothing", {{.flags = ACK}}},
		{"a wrong acknowledgement number proves nothing, the right one does",
		 {{.act = shut_ttft},
		  {.flags = SYN, .seq = -1},
		  {.server = true, .flags = SYN | ACK, .seq = -1},
		  {.flags = ACK, .ack = 1},
		  {.flags = ACK, .ack = -1},
		  {FROM_CLIENT(0, 7, REQUEST)},
		  {FROM_CLIENT(0, 0x40000000, REQUEST)},
		  {.flags = ACK}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_UNPROVEN, 2}}},
		{"a sequence number before or far from the window proves nothing",
		 {{.flags = SYN, .seq = -1},
		  {.server = true, .flags = SYN | ACK, .seq = -1},
		  {.flags = ACK, .seq = -1},
		  {FROM_CLIENT(-2, 0, REQUEST)},
		  {FROM_CLIENT(0x50000000, 0, REQUEST)}},
		 .counters = {{SLUICE_COUNTER_PASSED_UNPROVEN, 2}}},
		{"segments without ACK, and a RST, prove nothing",
		 {{.flags = SYN, .seq = -1},
		  {.server = true, .flags = SYN | ACK, .seq = -1},
		  {.flags = PSH, .text = REQUEST},
		  {.flags = RST | ACK},
		  {.flags = NONE}}},
		{"a request in the third segment is judged",
		 {{.flags = SYN, .seq = -1},
		  {.server = true, .flags = SYN | ACK, .seq = -1},
		  {FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE},
		{"a request in the third segment is refused",
		 {{.act = shut_by_reset},
		  {.flags = SYN, .seq = -1},
		  {.server = true, .flags = SYN | ACK, .seq = -1},
		  {FROM_CLIENT(0, 0, REQUEST), .then = RESET}},
		 REFUSED(TTFT)},
		{"data lost after a lost third segment must still come first",
		 {{.flags = SYN, .seq = -1},
		  {.server = true, .flags = SYN | ACK, .seq = -1},
		  {FROM_CLIENT(10, 0, REQUEST + 10), .then = DROP},
		  {FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE,
		 .counters = {{SLUICE_COUNTER_REORDERED_DROPPED, 1}}},
		{"a repeated SYN-ACK is one handshake",
		 {{.flags = SYN, .seq = -1},
		  {.server = true, .flags = SYN | ACK, .seq = -1},
		  {.server = true, .flags = SYN | ACK, .seq = -1},
		  {FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE},
	};

	play_rows(rows);
}

static int connect_loopback(int *server, uint16_t *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_port = htons(HTTP_PORT),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(at);
	int one = 1;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&at, sizeof(at)), 0);
	*server = accept(listener, NULL, NULL);
	assert_int_equal(getsockname(client, (struct sockaddr *)&at, &len), 0);
	*port = ntohs(at.sin_port);
	close(listener);
	return client;
}

static uint32_t queue_seq(int socket_fd, int queue)
{
	socklen_t len = sizeof(uint32_t);
	uint32_t seq;

	assert_int_equal(
		setsockopt(socket_fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof(queue)), 0);
	assert_int_equal(getsockopt(socket_fd, IPPROTO_TCP, TCP_QUEUE_SEQ, &seq, &len), 0);
	return seq;
}

/*
 * invariant 3, for connections older than sluice: the socket that the segment belongs to proves it.
 */
static void an_established_socket_proves_a_connection_at_its_next_byte(void **state)
{
	static const int on = 1, off = -1 /* TCP_REPAIR_OFF_NO_WP */;
	static struct frame in, out;
	struct shape shape = {0};
	struct segment segment = {
		.flags = PSH | ACK, .window = 501, .text = REQUEST, .len = sizeof(REQUEST) - 1};
	struct sluice_service_key key = {.port = htons(HTTP_PORT)};
	struct sluice_service service = http_service();
	uint8_t loopback[4] = {127, 0, 0, 1};
	int server, client = connect_loopback(&server, &segment.client_port);
	uint8_t *ip = in.data + 14;

	key.addr[10] = key.addr[11] = 0xff;
	memcpy(key.addr + 12, loopback, 4);
	assert_int_equal(bpf_map_update_elem(fd_of(services), &key, &service, BPF_ANY), 0);
	assert_int_equal(setsockopt(server, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)), 0);
	for (int offset = 1; offset >= 0; offset--) {
		segment.seq = queue_seq(server, TCP_RECV_QUEUE) + offset;
		segment.ack = queue_seq(server, TCP_SEND_QUEUE);
		make_frame(&in, &shape, &segment);
		memcpy(ip + 12, loopback, 4);
		memcpy(ip + 16, loopback, 4);
		assert_int_equal(run_tc(w.skel->progs.requests, &in, &out), THEN_UNSPEC);
		assert_same_frame(&in, &out);
		assert_int_equal(entries(fd_of(conns)), !offset);
		assert_int_equal(counter(SLUICE_COUNTER_PASSED_UNPROVEN), 1);
		assert_int_equal(get_state(LLAMA).in_flight, !offset);
	}
	setsockopt(server, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off));
	close(server);
	close(client);
}

/* ---- putting a request together ---- */

/* invariants 7 and 8 */
static void a_request_is_judged_once_however_it_comes(void **state)
{
	static const struct row rows[] = {
		{"whole", {HANDSHAKE, {FROM_CLIENT(0, 0, REQUEST)}}, ADMITTED_ONCE},
		{"sent again whole",
		 {HANDSHAKE, {FROM_CLIENT(0, 0, REQUEST)}, {FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE},
		{"sent again after the gate has shut",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {FROM_CLIENT(40, 0, REQUEST + 40)}},
		 ADMITTED_ONCE},
		{"its parts sent again one after the other, as over two paths",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST), .len = 40},
		  {FROM_CLIENT(40, 0, REQUEST + 40)},
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, REQUEST), .len = 40},
		  {FROM_CLIENT(40, 0, REQUEST + 40)}},
		 ADMITTED_ONCE},
		{"sent again in part, with new bytes after it",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST), .len = 40},
		  {FROM_CLIENT(20, 0, REQUEST + 20)}},
		 ADMITTED_ONCE},
		{"a keep-alive probe adds no byte",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {FROM_CLIENT(WHOLE - 1, 0, "\0"), .len = 1},
		  {.flags = ACK, .seq = WHOLE - 1}},
		 ADMITTED_ONCE},
		{"its head out of order: the later segment is dropped until it comes in order",
		 {HANDSHAKE,
		  {FROM_CLIENT(20, 0, REQUEST + 20), .then = DROP},
		  {FROM_CLIENT(0, 0, REQUEST), .len = 20},
		  {FROM_CLIENT(20, 0, REQUEST + 20)}},
		 ADMITTED_ONCE,
		 .counters = {{SLUICE_COUNTER_REORDERED_DROPPED, 1}}},
		{"the next request out of order is dropped too",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST), .len = HEAD_N + 10},
		  {FROM_CLIENT(WHOLE, 0, REQUEST), .then = DROP},
		  {FROM_CLIENT(HEAD_N + 10, 0, BODY + 10)}},
		 ADMITTED_ONCE,
		 .counters = {{SLUICE_COUNTER_REORDERED_DROPPED, 1}}},
		{"a GET holds no slot and is not counted",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, "GET /health HTTP/1.1\r\nHost: a\r\n\r\n")}},
		 .conns = 1},
		{"two requests on one connection are two",
		 {HANDSHAKE, {FROM_CLIENT(0, 0, REQUEST REQUEST)}},
		 .in_flight = 2,
		 .waiting = 2,
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}}},
		{"a name that is not learned is the other model",
		 {HANDSHAKE,
		  {FROM_CLIENT(
			  0, 0,
			  "POST / HTTP/1.1\r\nContent-Length: 15\r\n\r\n{\"model\":\"phi\"}")}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{SLUICE_MODEL_OTHER, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE,
			       1}}},
		{"a body without a name is the default model's",
		 {HANDSHAKE, {FROM_CLIENT(0, 0, "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")}},
		 ADMITTED_ONCE},
		{"a chunked body",
		 {HANDSHAKE, {FROM_CLIENT(0, 0, CHUNKED)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{QWEN, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
		{"a compressed body names no model: the default's",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, COMPRESSED), .len = 60},
		  {FROM_CLIENT(60, 0, COMPRESSED + 60)}},
		 ADMITTED_ONCE},
		/* invariant 1: bytes that cannot be framed pass, and are counted. */
		{"bytes that are not HTTP pass, counted once",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, "SSH-2.0-x\r\n")},
		  {FROM_CLIENT(11, 0, REQUEST)}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_FRAMING_ERROR, 1}}},
		{"TLS is found to be opaque, and passes",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, "\x16\x03\x01\0\x05\x01\0\0\0"), .len = 10},
		  {FROM_CLIENT(10, 0, REQUEST)}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_FOUND_OPAQUE, 1}}},
		{"so is HTTP/2 by its preface",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_FOUND_OPAQUE, 1}}},
		{"a request begun in a SYN is a framing error",
		 {{.act = shut_ttft},
		  {.flags = SYN, .seq = -1, .text = REQUEST, .len = 30},
		  {.server = true, .flags = SYN | ACK, .seq = -1, .ack = 30},
		  {FROM_CLIENT(30, 0, REQUEST + 30)}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_FRAMING_ERROR, 1}}},
		{"more pipelined requests than the connection tracks pass unjudged and hold nothing",
		 {HANDSHAKE, {FROM_CLIENT(0, 0, REQUEST REQUEST REQUEST REQUEST REQUEST)}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_FRAMING_ERROR, 1}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 4}}},
	};

	play_rows(rows);
}

/* Plays `text` in two segments that meet at `at`, or in single bytes if at is 0. */
static void play_pieces(const struct shape *shape, const char *what, const char *text, size_t at,
			uint16_t model)
{
	static const struct step handshake[] = {HANDSHAKE};
	size_t len = strlen(text), n;
	struct row ends = {.what = what,
			   .in_flight = 1,
			   .waiting = 1,
			   .conns = 1,
			   .requests = {{model, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}};

	reset_world();
	row_now = what;
	shape_now = *shape;
	step_now = at;
	for (int i = 0; i < 3; i++)
		play_step(shape, &handshake[i], HTTP_PORT);
	for (size_t pos = 0; pos < len; pos += n) {
		struct step piece = {.seq = pos, .text = text + pos};

		n = !at ? 1 : pos < at ? at : len - pos;
		piece.len = n;
		assert_int_equal(get_state(LLAMA).in_flight + get_state(QWEN).in_flight, 0);
		play_step(shape, &piece, HTTP_PORT);
	}
	assert_ends(&ends);
	row_now = NULL;
}

/* invariants 7 and 8 */
static void a_request_split_at_every_byte_is_admitted_once(void **state)
{
	const char *chunked = CHUNKED;

	for (int at = 1; at < WHOLE; at++)
		play_pieces(&shapes[at % 3], "split in two", REQUEST, at, LLAMA);
	for (size_t at = 1; at < strlen(chunked); at++)
		play_pieces(&shapes[at % 3], "chunked, split in two", chunked, at, QWEN);
	for (int i = 0; i < 3; i++) {
		play_pieces(&shapes[i], "byte by byte", REQUEST, 0, LLAMA);
		play_pieces(&shapes[i], "chunked, byte by byte", chunked, 0, QWEN);
	}
}

/* invariant 4: byte by byte, the first byte that decides is the first that is refused. */
static void a_shut_gate_refuses_as_soon_as_the_model_is_known(void **state)
{
	const char *text = REQUEST;
	int32_t name_end = strstr(text, "llama\"") + 6 - text;
	struct step piece = {0};
	static const struct step handshake[] = {HANDSHAKE};

	for (int all = 0; all < 2; all++) {
		int32_t judged = all ? HEAD_N : name_end;

		reset_world();
		(all ? shut_itl_for_all : shut_ttft)(false);
		for (int i = 0; i < 3; i++)
			play_step(&shapes[0], &handshake[i], HTTP_PORT);
		for (int32_t at = 0; at < judged; at++) {
			piece = (struct step){.seq = at, .text = text + at, .len = 1};
			if (at == judged - 1) {
				piece.then = REFUSE;
				piece.out_ack = judged;
				piece.rst_seq = at;
			}
			play_step(&shapes[0], &piece, HTTP_PORT);
		}
		assert_int_equal(entries(fd_of(conns)), 0);
		assert_int_equal(entries(fd_of(tombstones)), 1);
	}
}

/* invariant 4: a compressed body names no model; its head and its end are known. */
static void a_compressed_request_is_refused_by_its_head_or_as_the_default_model(void **state)
{
	const int head = COMPRESSED_N - 16;
	const struct row rows[] = {
		{"by its head, where everything is shut",
		 {HANDSHAKE,
		  {.act = shut_itl_for_all},
		  {FROM_CLIENT(0, 0, COMPRESSED), .len = head, .then = REFUSE, .out_ack = head}},
		 .tombstones = 1,
		 .requests = {{SLUICE_MODEL_ALL, SLUICE_VERDICT_REJECTED, SLUICE_REASON_ITL, 1}}},
		{"by its last byte, where the default model is",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, COMPRESSED), .len = COMPRESSED_N - 1},
		  {FROM_CLIENT(COMPRESSED_N - 1, 0, "}"), .then = REFUSE, .out_ack = COMPRESSED_N,
		   .rst_seq = COMPRESSED_N - 1}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"and not at the name of the model in its bytes",
		 {HANDSHAKE, {.act = shut_qwen}, {FROM_CLIENT(0, 0, COMPRESSED)}},
		 ADMITTED_ONCE},
	};

	play_rows(rows);
}

static char long_request[LONG_HEAD_N + 3001];

/* A body of 3,000 bytes with its model, qwen, at its end. */
static const char *make_long_request(void)
{
	static const char start[] = "{\"prompt\":\"", name[] = "\",\"model\":\"qwen\"}";

	memset(long_request, 'x', sizeof(long_request) - 1);
	memcpy(long_request, LONG_HEAD, LONG_HEAD_N);
	memcpy(long_request + LONG_HEAD_N, start, sizeof(start) - 1);
	memcpy(long_request + LONG_HEAD_N + 3000 - (sizeof(name) - 1), name, sizeof(name) - 1);
	return long_request;
}

/* invariant 1: an unreadable model is not an unreadable request. */
static void a_body_with_a_gap_passes_and_is_judged_as_the_default_model(void **state)
{
	const char *text = make_long_request();
	const int end = LONG_HEAD_N + 3000;
	const struct row rows[] = {
		{"in order it is qwen",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, text), .len = 1000},
		  {FROM_CLIENT(1000, 0, text + 1000)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{QWEN, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
		{"with its end first it is the default model",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, text), .len = 500},
		  {FROM_CLIENT(1500, 0, text + 1500)},
		  {FROM_CLIENT(500, 0, text + 500), .len = 1000}},
		 ADMITTED_ONCE},
		{"with a gap in the middle and its end in order it is the default model",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, text), .len = 500},
		  {FROM_CLIENT(1500, 0, text + 1500), .len = 500},
		  {FROM_CLIENT(500, 0, text + 500), .len = 1000},
		  {FROM_CLIENT(2000, 0, text + 2000)}},
		 ADMITTED_ONCE},
		{"bytes in order after the gap extend it",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, text), .len = 500},
		  {FROM_CLIENT(1500, 0, text + 1500), .len = 500},
		  {FROM_CLIENT(2000, 0, text + 2000)},
		  {FROM_CLIENT(2000, 0, text + 2000)},
		  {FROM_CLIENT(500, 0, text + 500), .len = 400},
		  {FROM_CLIENT(900, 0, text + 900), .len = 600}},
		 ADMITTED_ONCE},
		{"a second gap is dropped until the first is closed",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, text), .len = 500},
		  {FROM_CLIENT(1500, 0, text + 1500), .len = 500},
		  {FROM_CLIENT(2500, 0, text + 2500), .then = DROP},
		  {FROM_CLIENT(500, 0, text + 500), .len = 1000},
		  {FROM_CLIENT(2000, 0, text + 2000)}},
		 ADMITTED_ONCE,
		 .counters = {{SLUICE_COUNTER_REORDERED_DROPPED, 1}}},
		{"a retransmission of all missing bytes closes it",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, text), .len = 500},
		  {FROM_CLIENT(1500, 0, text + 1500), .len = 500},
		  {FROM_CLIENT(500, 0, text + 500)}},
		 ADMITTED_ONCE},
		{"a shut default model refuses where the gap closes",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, text), .len = 500},
		  {FROM_CLIENT(1500, 0, text + 1500)},
		  {FROM_CLIENT(500, 0, text + 500), .len = 1000, .then = REFUSE, .out_ack = 1500,
		   .rst_seq = 500},
		  {FROM_CLIENT(1500, 0, text + 1500), .then = REPEATED,
		   .out_ack = LONG_HEAD_N + 3000}},
		 REFUSED(TTFT),
		 .tombstones = 1},
	};

	assert_int_equal(strlen(text), end);
	play_rows(rows);
}

/* invariant 8 */
static void counts_return_when_either_side_resets(void **state)
{
	static const struct row rows[] = {
		{"the client's RST at its next byte ends the connection",
		 {HANDSHAKE, {FROM_CLIENT(0, 0, REQUEST)}, {.flags = RST, .seq = WHOLE}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
		{"a RST anywhere else does not",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.flags = RST, .seq = WHOLE + 1},
		  {.flags = RST | ACK, .seq = 0}},
		 ADMITTED_ONCE},
		{"the server's RST ends the connection",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.server = true, .flags = RST | ACK, .ack = WHOLE}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
		{"a client that has closed its side still waits",
		 {HANDSHAKE, {FROM_CLIENT(0, 0, REQUEST)}, {.flags = FIN | ACK, .seq = WHOLE}},
		 ADMITTED_ONCE},
		{"FIN from both ends the connection",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST), .flags = FIN | PSH | ACK},
		  {.server = true, .flags = FIN | ACK, .ack = WHOLE + 1}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
		{"a new handshake on the same ports releases the old one's slot",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.flags = SYN, .seq = 70000},
		  {.server = true, .flags = SYN | ACK, .seq = 90000, .ack = 70001},
		  {.flags = ACK, .seq = 70001, .ack = 90001}},
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
	};

	play_rows(rows);
}

/* ---- rules and framing errors ---- */

static void set_rules(bool ipv6)
{
	put_rules((struct sluice_rules){
		.count = 2,
		.methods = 1 << HTTP1_METHOD_POST | 1 << HTTP1_METHOD_GET,
		.source = {SLUICE_SOURCE_PATH, SLUICE_SOURCE_HEADER, SLUICE_SOURCE_BODY},
		.header = "x-model",
		.rule = {{.kind = SLUICE_RULE_PASS, .len = 7, .prefix = "/health"},
			 {.kind = SLUICE_RULE_MODEL, .len = 11, .prefix = "/v2/models/"}},
	});
}

#define QWEN_ADMITTED                                                                              \
	.in_flight = 1, .waiting = 1, .conns = 1,                                                  \
	.requests = {{QWEN, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}

static void rules_select_the_judged_requests_and_the_source_of_the_model(void **state)
{
	static const char by_path[] = "POST /v2/models/qwen/infer HTTP/1.1\r\n"
				      "Content-Length: 31\r\n\r\n";
	static const struct row rows[] = {
		{"a request that a rule lets pass is neither judged nor counted",
		 {HANDSHAKE,
		  {.act = set_rules},
		  {.act = shut_itl_for_all},
		  {FROM_CLIENT(0, 0, "POST /health HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")}},
		 .conns = 1},
		{"a name in the path precedes one in the body",
		 {HANDSHAKE,
		  {.act = set_rules},
		  {FROM_CLIENT(0, 0, by_path)},
		  {FROM_CLIENT(sizeof(by_path) - 1, 0, BODY)}},
		 QWEN_ADMITTED},
		{"it is refused by its head",
		 {HANDSHAKE,
		  {.act = set_rules},
		  {.act = shut_qwen},
		  {FROM_CLIENT(0, 0, by_path), .len = 40},
		  {FROM_CLIENT(40, 0, by_path + 40), .then = REFUSE, .out_ack = sizeof(by_path) - 1,
		   .rst_seq = 40}},
		 .tombstones = 1,
		 .requests = {{QWEN, SLUICE_VERDICT_REJECTED, SLUICE_REASON_TTFT, 1}}},
		{"a name in the header precedes one in the body",
		 {HANDSHAKE,
		  {.act = set_rules},
		  {FROM_CLIENT(0, 0,
			       "POST / HTTP/1.1\r\nX-Model: qwen\r\n"
			       "Content-Length: 31\r\n\r\n" BODY)}},
		 QWEN_ADMITTED},
		{"if neither names a model, the body does",
		 {HANDSHAKE, {.act = set_rules}, {FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE},
		{"a method that is judged besides POST",
		 {HANDSHAKE,
		  {.act = set_rules},
		  {FROM_CLIENT(0, 0, "GET /v2/models/qwen HTTP/1.1\r\n\r\n")}},
		 QWEN_ADMITTED},
		{"one that is not",
		 {HANDSHAKE,
		  {.act = set_rules},
		  {.act = shut_itl_for_all},
		  {FROM_CLIENT(0, 0, "HEAD /v2/models/qwen HTTP/1.1\r\n\r\n")}},
		 .conns = 1},
	};

	play_rows(rows);
}

static void reset_framing_error(bool ipv6)
{
	struct sluice_service service = http_service();

	service.framing_error_reset = 1;
	set_both(HTTP_PORT, service);
}

static void reset_framing_error_in_shadow(bool ipv6)
{
	struct sluice_service service = http_service();

	service.framing_error_reset = 1;
	service.mode = SLUICE_MODE_SHADOW;
	set_both(HTTP_PORT, service);
}

/* invariant 1, for an operator who wants framing errors reset */
static void a_framing_error_resets_only_where_the_service_is_set_to(void **state)
{
	static const struct row rows[] = {
		{"reset",
		 {{.act = reset_framing_error},
		  HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST), .len = 20},
		  {FROM_CLIENT(20, 0, "\r\nnonsense\r\n"), .then = RESET, .rst_seq = 20}},
		 .counters = {{SLUICE_COUNTER_FRAMING_ERROR_RESET, 1}}},
		{"not in shadow mode",
		 {{.act = reset_framing_error_in_shadow},
		  HANDSHAKE,
		  {FROM_CLIENT(0, 0, "nonsense\r\n")}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_FRAMING_ERROR, 1}}},
		{"not without a lease",
		 {{.act = reset_framing_error},
		  HANDSHAKE,
		  {.act = end_lease},
		  {FROM_CLIENT(0, 0, "nonsense\r\n")}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_FRAMING_ERROR, 1}}},
		{"not while an admitted request waits",
		 {{.act = reset_framing_error},
		  HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {FROM_CLIENT(WHOLE, 0, "nonsense\r\n")}},
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_FRAMING_ERROR, 1}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
	};

	play_rows(rows);
}

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

/* Only the first fragment of a packet has ports: a request in fragments passes. */
static void a_fragmented_request_is_a_framing_error_and_passes(void **state)
{
	static const struct between first_part = {
		.n = 8, .next = 44, .bytes = {6, 0, 0, 1, 0, 0, 0, 1}};
	static const struct step handshake[] = {HANDSHAKE};
	static struct frame in, out;
	const struct row ends = {"", .conns = 1,
				 .counters = {{SLUICE_COUNTER_PASSED_FRAMING_ERROR, 1}}};
	const struct step next = {FROM_CLIENT(WHOLE, 0, REQUEST)};

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

static const struct between betweens[] = {
	{"nothing, over IPv4", false},
	{"a router alert", false, false, 4, 0, {0x94, 4}},
	{"all the options that fit", false, false, 40, 0, {7, 39, 4}},
	{"no length, over IPv4", false, true},
	{"hop-by-hop options", true, false, 8, 0, {6, 0, 1, 4}},
	{"destination options of 16 bytes", true, false, 16, 60, {6, 1, 1, 12}},
	{"a routing header", true, false, 8, 43, {6, 0, 4}},
	{"a fragment that is all there is", true, false, 8, 44, {6, 0, 0, 0, 1, 2, 3, 4}},
	{"four headers",
	 true,
	 false,
	 40,
	 0,
	 {60, 0, 1, 4, [8] = 43, 1, 1, 12, [24] = 60, 0, 4, 0, [32] = 6, 0, 1, 4}},
	{"no length, over IPv6", true, true},
	{"no length, and a jumbo payload's", true, true, 8, 0, {6, 0, 0xc2, 4}},
};

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

/* ---- what is not refused ---- */

#define OK_SHORT "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
#define OK_N     ((int)sizeof(OK_SHORT) - 1)

/* invariant 2 */
static void an_admitted_request_passes_to_its_end_after_any_change(void **state)
{
	static const struct row rows[] = {
		{"its response, its acknowledgements and its FIN pass after the flag has shut",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.act = shut_ttft},
		  {.act = block_client},
		  {FROM_SERVER(0, WHOLE, OK_SHORT), .len = 10},
		  {.flags = ACK, .seq = WHOLE, .ack = 10},
		  {FROM_SERVER(10, WHOLE, OK_SHORT + 10)},
		  {.flags = FIN | ACK, .seq = WHOLE, .ack = OK_N},
		  {.server = true, .flags = FIN | ACK, .seq = OK_N, .ack = WHOLE + 1}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
		{"a pipelined request passes, charged and counted",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.act = shut_ttft},
		  {FROM_CLIENT(WHOLE, 0, REQUEST)}},
		 .in_flight = 2,
		 .waiting = 2,
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_PIPELINED, 1}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}}},
		{"so does one over the limit, in pieces, during the first response",
		 {HANDSHAKE,
		  {.act = limit_to_one},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {FROM_SERVER(0, WHOLE, OK_SHORT), .len = OK_N - 1},
		  {FROM_CLIENT(WHOLE, 0, REQUEST), .len = HEAD_N + 20},
		  {FROM_CLIENT(WHOLE + HEAD_N + 20, 0, BODY + 20)}},
		 .in_flight = 2,
		 .waiting = 1,
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_PIPELINED, 1}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}}},
		{"both in one segment: the second may not be refused either",
		 {HANDSHAKE, {.act = limit_to_one}, {FROM_CLIENT(0, 0, REQUEST REQUEST)}},
		 .in_flight = 2,
		 .waiting = 2,
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_PIPELINED, 1}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}}},
		{"once the response has ended the next request is refused, after it",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.act = shut_ttft},
		  {FROM_SERVER(0, WHOLE, OK_SHORT)},
		  {FROM_CLIENT(WHOLE, OK_N, REQUEST), .then = REFUSE, .out_seq = OK_N,
		   .out_ack = 2 * WHOLE, .rst_seq = WHOLE}},
		 .tombstones = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1},
			      {LLAMA, SLUICE_VERDICT_REJECTED, SLUICE_REASON_TTFT, 1}}},
	};

	play_rows(rows);
}

static void know_gemma(bool ipv6)
{
	set_model("gemma", LLAMA);
}

static void gemma_is_qwen(bool ipv6)
{
	set_model("gemma", QWEN);
}

static void qwen_by_default(bool ipv6)
{
	struct sluice_service service = http_service();

	service.default_model = QWEN;
	set_both(HTTP_PORT, service);
}

static void known_as_another(bool ipv6)
{
	struct sluice_service service = http_service();

	service.id = OTHER_ID;
	set_both(HTTP_PORT, service);
}

static void known_as_before(bool ipv6)
{
	set_both(HTTP_PORT, http_service());
}

static void remove_services(bool ipv6)
{
	clear_map(fd_of(services), sizeof(struct sluice_service_key));
	names_changed();
}

/*
 * What the programs remember of services and models is the last that was written, on existing
 * connections too.
 */
static void a_name_means_the_model_that_was_last_written(void **state)
{
	static const char gemma[] =
		"POST / HTTP/1.1\r\nContent-Length: 17\r\n\r\n{\"model\":\"gemma\"}";
	static const char unnamed[] = "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
	enum { GEMMA_N = sizeof(gemma) - 1, UNNAMED_N = sizeof(unnamed) - 1 };
	static const struct row rows[] = {
		{"a model that has another id now",
		 {{.act = know_gemma},
		  HANDSHAKE,
		  {FROM_CLIENT(0, 0, gemma)},
		  {FROM_SERVER(0, GEMMA_N, OK_SHORT)},
		  {FROM_CLIENT(GEMMA_N, OK_N, gemma)},
		  {FROM_SERVER(OK_N, 2 * GEMMA_N, OK_SHORT)},
		  {.act = gemma_is_qwen},
		  {FROM_CLIENT(2 * GEMMA_N, 2 * OK_N, gemma)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2},
			      {QWEN, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
		{"a service that has another default",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, unnamed)},
		  {FROM_SERVER(0, UNNAMED_N, OK_SHORT)},
		  {.act = qwen_by_default},
		  {FROM_CLIENT(UNNAMED_N, OK_N, unnamed)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1},
			      {QWEN, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
		{"a removed service",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, unnamed)},
		  {FROM_SERVER(0, UNNAMED_N, OK_SHORT)},
		  {.act = remove_services},
		  {FROM_CLIENT(UNNAMED_N, OK_N, unnamed)}},
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
	};

	play_rows(rows);
}

static void requests_of_two_services_for_one_model_are_counted_apart(void **state)
{
	static const char send_request[] = "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
	enum { N = sizeof(send_request) - 1 };
	static const struct row rows[] = {
		{"whichever was first",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, send_request)},
		  {FROM_SERVER(0, N, OK_SHORT)},
		  {.act = known_as_another},
		  {FROM_CLIENT(N, OK_N, send_request)},
		  {FROM_SERVER(OK_N, 2 * N, OK_SHORT)},
		  {FROM_CLIENT(2 * N, 2 * OK_N, send_request)},
		  {FROM_SERVER(2 * OK_N, 3 * N, OK_SHORT)},
		  {.act = known_as_before},
		  {FROM_CLIENT(3 * N, 3 * OK_N, send_request)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2},
			      {LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2, OTHER_ID}}},
	};

	play_rows(rows);
}

/* invariant 1 */
static void without_a_lease_everything_passes_and_is_counted(void **state)
{
	static const struct row rows[] = {
		{"a lease that has run out",
		 {HANDSHAKE, {.act = shut_ttft}, {.act = end_lease}, {FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE,
		 .counters = {{SLUICE_COUNTER_PASSED_LEASE, 1}}},
		{"a daemon that stops",
		 {HANDSHAKE, {.act = shut_ttft}, {.act = stop}, {FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE,
		 .counters = {{SLUICE_COUNTER_PASSED_LEASE, 1}}},
		{"a full limit too, and slots are still counted",
		 {HANDSHAKE,
		  {.act = limit_to_one},
		  {.act = end_lease},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {FROM_CLIENT(WHOLE, 0, REQUEST)}},
		 .in_flight = 2,
		 .waiting = 2,
		 .conns = 1,
		 .counters = {{SLUICE_COUNTER_PASSED_LEASE, 1}},
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}}},
		{"the lease's last instant still enforces",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {.ms = 3599999, FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"and the next does not",
		 {HANDSHAKE, {.act = shut_ttft}, {.ms = 3600000, FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE,
		 .counters = {{SLUICE_COUNTER_PASSED_LEASE, 1}}},
		{"a tombstone runs to its end without a lease",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE},
		  {.act = end_lease},
		  {FROM_CLIENT(0, 0, REQUEST), .then = REPEATED, .out_ack = WHOLE}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"in shadow mode a request that would be refused passes without a slot, and is counted",
		 {HANDSHAKE, {.act = shut_in_shadow}, {FROM_CLIENT(0, 0, REQUEST)}},
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_SHADOW_REJECTED, SLUICE_REASON_TTFT, 1}}},
		{"another model's flag is not this one's",
		 {HANDSHAKE, {.act = shut_qwen}, {FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE},
	};

	play_rows(rows);
}

static void expire_flag(bool ipv6)
{
	set_flag(LLAMA, (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT,
						   .expires_ns = CLOCK_START + 100 * MS});
}

static void shut_and_allow_client(bool ipv6)
{
	shut_itl_for_all(ipv6);
	limit_to_one(ipv6);
	set_client_flag(ipv6, SLUICE_MODEL_ALL, (struct sluice_client_flag){.allow = 1});
}

static void shut_and_exempt(bool ipv6)
{
	shut_itl_for_all(ipv6);
	block_client(ipv6);
	set_prefix(ipv6, ipv6 ? 56 : 120, (struct sluice_prefix){.class = SLUICE_PREFIX_EXEMPT});
}

static void operator_and_allow_client(bool ipv6)
{
	set_flag(SLUICE_MODEL_ALL, (struct sluice_model_flag){.reason = SLUICE_REASON_OPERATOR});
	set_client_flag(ipv6, SLUICE_MODEL_ALL, (struct sluice_client_flag){.allow = 1});
}

static void narrow_exempts_in_blocked(bool ipv6)
{
	set_prefix(ipv6, ipv6 ? 56 : 120, (struct sluice_prefix){.class = SLUICE_PREFIX_BLOCKED});
	set_prefix(ipv6, ipv6 ? 60 : 125, (struct sluice_prefix){.class = SLUICE_PREFIX_EXEMPT});
}

static void blocked_until_later(bool ipv6)
{
	set_client_flag(ipv6, SLUICE_MODEL_ALL,
			(struct sluice_client_flag){.reason = SLUICE_REASON_CLIENT_BLOCKED,
						    .expires_ns = CLOCK_START + 50 * MS});
	set_prefix(ipv6, 128,
		   (struct sluice_prefix){.class = SLUICE_PREFIX_BLOCKED,
					  .expires_ns = CLOCK_START + 50 * MS});
}

static void allowed_and_exempt_clients_pass_limits_and_flags(void **state)
{
	static const struct row rows[] = {
		{"an allowed client passes flags and limits, and is counted",
		 {HANDSHAKE,
		  {.act = shut_and_allow_client},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {FROM_CLIENT(WHOLE, 0, REQUEST)}},
		 .in_flight = 2,
		 .waiting = 2,
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}}},
		{"an exempt prefix passes even a block of its client",
		 {HANDSHAKE, {.act = shut_and_exempt}, {FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE},
		{"the operator's rule precedes an allowed client",
		 {HANDSHAKE,
		  {.act = operator_and_allow_client},
		  {FROM_CLIENT(0, 0, REQUEST), .len = HEAD_N, .then = REFUSE, .out_ack = HEAD_N}},
		 .requests = {{SLUICE_MODEL_ALL, SLUICE_VERDICT_REJECTED, SLUICE_REASON_OPERATOR,
			       1}},
		 .tombstones = 1},
		{"the longer prefix decides",
		 {HANDSHAKE, {.act = narrow_exempts_in_blocked}, {FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE},
		{"a flag that has expired shuts nothing",
		 {HANDSHAKE, {.act = expire_flag}, {.ms = 100, FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE},
		{"a flag that has not expired shuts",
		 {HANDSHAKE,
		  {.act = expire_flag},
		  {.ms = 99, FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"blocks end at their time",
		 {HANDSHAKE, {.act = blocked_until_later}, {.ms = 50, FROM_CLIENT(0, 0, REQUEST)}},
		 ADMITTED_ONCE},
		{"a limit gives the free slot, and refuses the next request",
		 {HANDSHAKE,
		  {.act = limit_to_one},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {FROM_SERVER(0, WHOLE, OK_SHORT)},
		  {FROM_CLIENT(WHOLE, OK_N, REQUEST)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 2}}},
	};

	play_rows(rows);
}

/* ---- a refusal on the wire ---- */

/* The value of a header of the 429, without trailing spaces; NULL if it is missing. */
static const char *header(const struct seen *reply, const char *name)
{
	static char head[SLUICE_REPLY_MAX + 1], value[256];
	char *at, *end, line[64];

	memcpy(head, reply->text, reply->len);
	head[reply->len] = 0;
	end = strstr(head, "\r\n\r\n");
	assert_non_null(end);
	end[2] = 0;
	snprintf(line, sizeof(line), "\r\n%s: ", name);
	at = strstr(head, line);
	if (!at)
		return NULL;
	assert_null(strstr(at + 2, line));
	at += strlen(line);
	end = strstr(at, "\r\n");
	while (end > at && end[-1] == ' ')
		end--;
	snprintf(value, sizeof(value), "%.*s", (int)(end - at), at);
	return value;
}

/* A 429 is complete: the wait of ms in its three forms, and a body that clients can parse. */
static void assert_429(const struct seen *reply, enum sluice_reason reason, const char *model,
		       uint32_t ms)
{
	uint32_t seconds = ms ? (uint32_t)(((uint64_t)ms + 999) / 1000) : 1;
	struct sluice_reply template;
	char expected[SLUICE_REPLY_MAX], number[32], text[SLUICE_REPLY_MAX + 1];
	const char *body;
	json_t *json, *error;
	int len;

	/* The bytes are those of the reference for templates … */
	assert_int_equal(reply_text_build(&template, model, reason, ms > 60000), 0);
	len = reply_text_fill(&template, ms, expected, sizeof(expected));
	assert_int_equal(reply->len, len);
	assert_memory_equal(reply->text, expected, len);
	/* … and their meaning is right. */
	memcpy(text, reply->text, reply->len);
	text[reply->len] = 0;
	assert_memory_equal(text, "HTTP/1.1 429 Too Many Requests\r\n", 32);
	snprintf(number, sizeof(number), "%u", seconds);
	assert_string_equal(header(reply, "Retry-After"), number);
	snprintf(number, sizeof(number), "%u", ms);
	assert_string_equal(header(reply, "retry-after-ms"), number);
	assert_string_equal(header(reply, "Content-Type"), "application/json");
	assert_string_equal(header(reply, "Connection"), "close");
	if (ms > 60000)
		assert_string_equal(header(reply, "x-should-retry"), "false");
	else
		assert_null(header(reply, "x-should-retry"));
	body = strstr(text, "\r\n\r\n") + 4;
	snprintf(number, sizeof(number), "%zu", strlen(body));
	assert_string_equal(header(reply, "Content-Length"), number);
	json = json_loads(body, 0, NULL);
	assert_non_null(json);
	error = json_object_get(json, "error");
	assert_string_equal(json_string_value(json_object_get(error, "code")),
			    "rate_limit_exceeded");
	assert_string_equal(json_string_value(json_object_get(error, "type")), "requests");
	assert_true(json_is_null(json_object_get(error, "param")));
	snprintf(number, sizeof(number), " after %u second", seconds);
	assert_non_null(strstr(json_string_value(json_object_get(error, "message")), number));
	if (model)
		assert_non_null(
			strstr(json_string_value(json_object_get(error, "message")), model));
	json_decref(json);
}

struct cause {
	const char *what;
	void (*act)(bool ipv6, enum sluice_action action);
	enum sluice_reason reason;
	uint32_t ms;
	bool any; /* for all models: the text names none */
};

static void cause_flag(bool ipv6, enum sluice_action action)
{
	set_flag(LLAMA, (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT,
						   .retry_after_ms = 1001,
						   .action = action});
}

static void cause_flag_of_all(bool ipv6, enum sluice_action action)
{
	set_flag(SLUICE_MODEL_ALL, (struct sluice_model_flag){.reason = SLUICE_REASON_ITL,
							      .retry_after_ms = 59999,
							      .action = action});
}

static void cause_limit(bool ipv6, enum sluice_action action)
{
	set_flag(LLAMA, (struct sluice_model_flag){
				.allow = 1, .limit = 2, .limit_retry_ms = 250, .action = action});
	add_in_flight(LLAMA, 2);
}

static void cause_limit_of_all(bool ipv6, enum sluice_action action)
{
	set_flag(SLUICE_MODEL_ALL,
		 (struct sluice_model_flag){
			 .allow = 1, .limit = 2, .limit_retry_ms = 250, .action = action});
	add_in_flight(SLUICE_MODEL_ALL, 2);
}

static void cause_address(bool ipv6, enum sluice_action action)
{
	set_client_flag(ipv6, SLUICE_MODEL_ALL,
			(struct sluice_client_flag){.reason = SLUICE_REASON_CLIENT_BLOCKED,
						    .expires_ns = CLOCK_START + 90 * 1000 * MS - 1,
						    .action = action});
}

static void cause_client_and_model(bool ipv6, enum sluice_action action)
{
	set_client_flag(ipv6, LLAMA,
			(struct sluice_client_flag){.reason = SLUICE_REASON_CLIENT_BLOCKED,
						    .expires_ns = CLOCK_START + 1,
						    .action = action});
}

static void cause_prefix(bool ipv6, enum sluice_action action)
{
	set_prefix(ipv6, ipv6 ? 56 : 120,
		   (struct sluice_prefix){.class = SLUICE_PREFIX_BLOCKED, .action = action});
}

static void cause_operator(bool ipv6, enum sluice_action action)
{
	set_flag(LLAMA, (struct sluice_model_flag){.reason = SLUICE_REASON_OPERATOR,
						   .retry_after_ms = 7000,
						   .action = action});
}

/* The action of the service itself. */
static void cause_flag_and_service(bool ipv6, enum sluice_action action)
{
	struct sluice_service service = http_service();

	service.action = action;
	set_both(HTTP_PORT, service);
	cause_flag(ipv6, SLUICE_ACTION_DEFAULT);
}

static const struct cause causes[] = {
	{"the model's flag", cause_flag, SLUICE_REASON_TTFT, 1001, false},
	{"the flag of all", cause_flag_of_all, SLUICE_REASON_ITL, 59999, true},
	{"the model's limit", cause_limit, SLUICE_REASON_IN_FLIGHT, 250, false},
	{"the limit of all", cause_limit_of_all, SLUICE_REASON_IN_FLIGHT, 250, true},
	{"the client's address", cause_address, SLUICE_REASON_CLIENT_BLOCKED, 90000, true},
	{"client and model", cause_client_and_model, SLUICE_REASON_CLIENT_BLOCKED, 1, false},
	{"the client's prefix", cause_prefix, SLUICE_REASON_CLIENT_BLOCKED, 3600000, true},
	{"the operator", cause_operator, SLUICE_REASON_OPERATOR, 7000, false},
	{"a flag, by the service's action", cause_flag_and_service, SLUICE_REASON_TTFT, 1001,
	 false},
};

static void play_refusal(const struct shape *shape, const struct cause *cause,
			 enum sluice_action action)
{
	static const struct step handshake[] = {HANDSHAKE};
	bool reply = action == SLUICE_ACTION_REPLY;
	uint16_t model = LLAMA; /* the refused segment completes the request */
	struct sluice_client client = this_client(shape->ipv6);
	struct sluice_client_count counted;
	const struct sluice_refusal *reported = &w.refusals[0];
	struct sluice_model_state before[2];
	/* A first segment that passes, so that the server's next byte is not the first. */
	const struct step first = {FROM_CLIENT(0, 0, REQUEST), .len = 25};
	struct step rest = {FROM_CLIENT(25, 0, REQUEST + 25), .then = reply ? REFUSE : RESET,
			    .out_ack = WHOLE, .rst_seq = 25};
	struct row ends = {.what = cause->what,
			   .tombstones = reply,
			   .requests = {{model, SLUICE_VERDICT_REJECTED, cause->reason, 1}}};

	reset_world();
	row_now = cause->what;
	shape_now = *shape;
	step_now = action;
	for (int i = 0; i < 3; i++)
		play_step(shape, &handshake[i], HTTP_PORT);
	cause->act(shape->ipv6, action);
	before[0] = get_state(SLUICE_MODEL_ALL);
	before[1] = get_state(LLAMA);
	play_step(shape, &first, HTTP_PORT);
	play_step(shape, &rest, HTTP_PORT);
	if (reply)
		assert_429(&last, cause->reason, cause->any ? NULL : "llama", cause->ms);
	/* invariant 8: a refused request is charged nothing. */
	assert_int_equal(get_state(SLUICE_MODEL_ALL).in_flight, before[0].in_flight);
	assert_int_equal(get_state(LLAMA).in_flight, before[1].in_flight);
	add_in_flight(SLUICE_MODEL_ALL, -before[0].in_flight);
	add_in_flight(LLAMA, -before[1].in_flight);
	assert_ends(&ends);
	assert_int_equal(w.refusal_count, 1);
	assert_int_equal(reported->time_ns, w.settings.clock_ns);
	assert_memory_equal(&reported->client, &client, sizeof(client));
	assert_int_equal(reported->service, HTTP_ID);
	assert_int_equal(reported->retry_after_ms, cause->ms);
	assert_int_equal(reported->model, model);
	assert_int_equal(reported->reason, cause->reason);
	assert_int_equal(reported->action, action);
	assert_int_equal(reported->verdict, SLUICE_VERDICT_REJECTED);
	assert_int_equal(reported->at_syn, 0);
	assert_int_equal(bpf_map_lookup_elem(fd_of(client_counts), &client, &counted), 0);
	assert_int_equal(counted.rejected, 1);
	assert_int_equal(counted.admitted, 0);
	assert_int_equal(counted.last_reason, cause->reason);
	row_now = NULL;
}

/* invariant 4: every field of both packets, for every kind of connection. */
static void a_refusal_is_right_to_the_byte(void **state)
{
	for (int ipv6 = 0; ipv6 < 2; ipv6++)
		for (int link = LINK_ETHERNET; link <= LINK_NONE; link++)
			for (int options = OPTIONS_NONE; options <= OPTIONS_SACK; options++)
				for (int partial = 0; partial < 2; partial++)
					for (unsigned i = 0; i < sizeof(causes) / sizeof(causes[0]);
					     i++) {
						const struct shape shape = {ipv6, link, options,
									    partial};

						if (options == OPTIONS_SYN)
							continue;
						play_refusal(&shape, &causes[i],
							     SLUICE_ACTION_REPLY);
						play_refusal(&shape, &causes[i],
							     SLUICE_ACTION_RESET);
					}
}

/* invariant 4, with IP options or extension headers before TCP. */
static void a_refusal_has_no_headers_between_ip_and_tcp(void **state)
{
	static const struct step handshake[] = {HANDSHAKE};

	for (unsigned i = 0; i < sizeof(betweens) / sizeof(betweens[0]); i++) {
		for (int kind = 0; kind < 4 * 2; kind++) {
			const struct shape shape = {betweens[i].ipv6, kind / 2,
						    kind / 2 & 1 ? OPTIONS_NONE : OPTIONS_TS,
						    kind & 1};
			const struct step steps[] = {
				{FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE},
				{FROM_CLIENT(0, 0, REQUEST), .then = REPEATED, .out_ack = WHOLE},
				{FROM_CLIENT(WHOLE, 0, "more"), .then = REPEATED,
				 .out_ack = WHOLE + 4},
				{FROM_SERVER(0, WHOLE, OK_SHORT), .then = UP_RST, .out_seq = WHOLE},
			};

			reset_world();
			row_now = betweens[i].what;
			shape_now = shape;
			for (int k = 0; k < 3; k++)
				play_step(&shape, &handshake[k], HTTP_PORT);
			shut_ttft(shape.ipv6);
			for (step_now = 0; step_now < sizeof(steps) / sizeof(steps[0]);
			     step_now++) {
				struct step step = steps[step_now];

				step.between = &betweens[i];
				play_step(&shape, &step, HTTP_PORT);
				if (!step.server)
					assert_429(&last, SLUICE_REASON_TTFT, "llama", 2500);
			}
		}
	}
	row_now = NULL;
}

static void every_wait_is_stated_in_whole_seconds_rounded_up(void **state)
{
	static const uint32_t waits[] = {0,      1,       999,       1000,       1001,       9999,
					 10000,  10001,   59999,     60000,      60001,      99999,
					 100001, 3600000, 999999999, 1000000000, 4294967295u};

	for (unsigned i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
		static const struct step steps[] = {
			HANDSHAKE, {FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE}};

		reset_world();
		set_flag(LLAMA, (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT,
							   .retry_after_ms = waits[i]});
		for (int k = 0; k < 4; k++)
			play_step(&shapes[i % 3], &steps[k], HTTP_PORT);
		assert_429(&last, SLUICE_REASON_TTFT, "llama", waits[i]);
	}
}

/*
 * A block with 3 s and 1 ns left gives a wait of four seconds: a client that retries then finds no
 * block.
 */
static void a_blocks_wait_ends_after_the_block(void **state)
{
	static const struct step steps[] = {
		HANDSHAKE, {FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE}};

	for (int k = 0; k < 3; k++)
		play_step(&shapes[0], &steps[k], HTTP_PORT);
	set_client_flag(false, SLUICE_MODEL_ALL,
			(struct sluice_client_flag){.reason = SLUICE_REASON_CLIENT_BLOCKED,
						    .expires_ns = CLOCK_START + 3000 * MS + 1});
	play_step(&shapes[0], &steps[3], HTTP_PORT);
	assert_string_equal(header(&last, "Retry-After"), "4");
	assert_string_equal(header(&last, "retry-after-ms"), "3001");
}

/* ---- tombstones ---- */

#define SHUT_AND_REFUSED                                                                           \
	HANDSHAKE, {.act = shut_ttft},                                                             \
	{                                                                                          \
		FROM_CLIENT(0, 0, REQUEST), .then = REFUSE, .out_ack = WHOLE                       \
	}

/* invariant 4 */
static void a_tombstone_answers_the_client_and_resets_the_server(void **state)
{
	/* After the 429's FIN. */
	const int end = reply_len(SLUICE_REASON_TTFT) + 1;
	const struct row rows[] = {
		{"the 429 answers the request again",
		 {SHUT_AND_REFUSED,
		  {FROM_CLIENT(0, 0, REQUEST), .then = REPEATED, .out_ack = WHOLE},
		  {FROM_CLIENT(40, 0, REQUEST + 40), .then = REPEATED, .out_ack = WHOLE}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"also after the gate has opened",
		 {SHUT_AND_REFUSED,
		  {.act = open_all},
		  {FROM_CLIENT(0, 0, REQUEST), .then = REPEATED, .out_ack = WHOLE}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"the 429 acknowledges the bytes that the client still sends",
		 {SHUT_AND_REFUSED,
		  {FROM_CLIENT(WHOLE, 0, "more"), .then = REPEATED, .out_ack = WHOLE + 4},
		  {FROM_CLIENT(0, 0, REQUEST), .then = REPEATED, .out_ack = WHOLE + 4}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"a pure acknowledgement gets no answer",
		 {SHUT_AND_REFUSED,
		  {.flags = ACK, .seq = WHOLE, .ack = 0, .then = DROP},
		  {.flags = ACK, .seq = WHOLE, .ack = end, .then = DROP},
		  {.flags = ACK, .seq = WHOLE, .ack = end, .then = DROP}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"an acknowledgement of a part gets the 429 again",
		 {SHUT_AND_REFUSED,
		  {.flags = ACK, .seq = WHOLE, .ack = end - 1, .then = DROP},
		  {FROM_CLIENT(0, end - 1, REQUEST), .then = REPEATED, .out_ack = WHOLE}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"an acknowledgement of bytes never sent is ignored",
		 {SHUT_AND_REFUSED,
		  {.flags = ACK, .seq = WHOLE, .ack = end + 1, .then = DROP},
		  {FROM_CLIENT(0, end + 1, REQUEST), .then = REPEATED, .out_ack = WHOLE}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"once the 429 is acknowledged, data and FIN get a pure ACK",
		 {SHUT_AND_REFUSED,
		  {.flags = ACK, .seq = WHOLE, .ack = end, .then = DROP},
		  {FROM_CLIENT(WHOLE, end, "more"), .then = ANSWER, .out_seq = end,
		   .out_ack = WHOLE + 4},
		  {.flags = FIN | ACK,
		   .seq = WHOLE + 4,
		   .ack = end,
		   .then = ANSWER,
		   .out_seq = end,
		   .out_ack = WHOLE + 5},
		  {.flags = FIN | ACK,
		   .seq = WHOLE + 4,
		   .ack = end,
		   .then = ANSWER,
		   .out_seq = end,
		   .out_ack = WHOLE + 5}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"the client's FIN may carry the acknowledgement itself",
		 {SHUT_AND_REFUSED,
		  {.flags = FIN | ACK,
		   .seq = WHOLE,
		   .ack = end,
		   .then = ANSWER,
		   .out_seq = end,
		   .out_ack = WHOLE + 1}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"a FIN before the 429 was read gets the 429 again, its FIN acknowledged",
		 {SHUT_AND_REFUSED,
		  {.flags = FIN | ACK,
		   .seq = WHOLE,
		   .ack = 0,
		   .then = REPEATED,
		   .out_ack = WHOLE + 1},
		  {.flags = ACK, .seq = WHOLE + 1, .ack = end, .then = DROP}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"a segment that the server still sends becomes a RST at its own acknowledgement",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, REQUEST), .len = 25},
		  {FROM_CLIENT(25, 0, REQUEST + 25), .then = REFUSE, .out_ack = WHOLE,
		   .rst_seq = 25},
		  {FROM_SERVER(0, 20, "HTTP/1.1 408 Request Timeout\r\n\r\n"), .then = UP_RST,
		   .out_seq = 20},
		  {.server = true,
		   .flags = FIN | ACK,
		   .seq = 32,
		   .ack = 25,
		   .then = UP_RST,
		   .out_seq = 25},
		  {.server = true,
		   .flags = ACK,
		   .seq = 33,
		   .ack = 25,
		   .then = UP_RST,
		   .out_seq = 25},
		  {.server = true, .flags = RST, .seq = 33, .then = DROP},
		  {.server = true, .flags = RST | ACK, .seq = 33, .then = DROP}},
		 REFUSED(TTFT),
		 .tombstones = 1,
		 .counters = {{SLUICE_COUNTER_SWALLOWED, 5}}},
		{"if it begins with bytes that the server has, the RST is after those",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, REQUEST), .len = 40},
		  {FROM_CLIENT(20, 0, REQUEST + 20), .then = REFUSE, .out_ack = WHOLE,
		   .rst_seq = 40}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"the client's RST ends it, and goes up",
		 {SHUT_AND_REFUSED, {.flags = RST, .seq = WHOLE}, {FROM_CLIENT(0, 0, REQUEST)}},
		 REFUSED(TTFT),
		 .counters = {{SLUICE_COUNTER_PASSED_UNPROVEN, 1}}},
		{"a RST with ACK at the end of the 429 ends it too",
		 {SHUT_AND_REFUSED, {.flags = RST | ACK, .seq = WHOLE, .ack = end}},
		 REFUSED(TTFT)},
		{"our own RST does not",
		 {SHUT_AND_REFUSED,
		  {.flags = RST, .seq = 0},
		  {FROM_CLIENT(0, 0, REQUEST), .then = REPEATED, .out_ack = WHOLE}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"a SYN that reuses the port passes, and the SYN-ACK ends it",
		 {SHUT_AND_REFUSED,
		  {.act = open_all},
		  {.flags = SYN, .seq = 5000},
		  {.server = true, .flags = SYN | ACK, .seq = 9000, .ack = 5001},
		  {.flags = ACK, .seq = 5001, .ack = 9001},
		  {FROM_CLIENT(5001, 9001, REQUEST)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_REJECTED, SLUICE_REASON_TTFT, 1},
			      {LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
		{"so does a SYN-ACK alone, where the SYN came another way",
		 {SHUT_AND_REFUSED, {.server = true, .flags = SYN | ACK, .seq = 9000, .ack = 5001}},
		 REFUSED(TTFT)},
		{"a body that is still being sent is refused by its head, and read to its end",
		 {HANDSHAKE,
		  {.act = shut_itl_for_all},
		  {FROM_CLIENT(0, 0, LONG_HEAD), .then = REFUSE, .out_ack = LONG_HEAD_N},
		  {FROM_CLIENT(LONG_HEAD_N, 0, REQUEST), .then = REPEATED,
		   .out_ack = LONG_HEAD_N + WHOLE},
		  {FROM_CLIENT(LONG_HEAD_N + WHOLE, 0, REQUEST), .then = REPEATED,
		   .out_ack = LONG_HEAD_N + 2 * WHOLE}},
		 .tombstones = 1,
		 .requests = {{SLUICE_MODEL_ALL, SLUICE_VERDICT_REJECTED, SLUICE_REASON_ITL, 1}}},
		{"a request with FIN is refused with its FIN acknowledged",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, REQUEST), .flags = FIN | PSH | ACK, .then = REFUSE,
		   .out_ack = WHOLE + 1},
		  {FROM_CLIENT(0, 0, REQUEST), .flags = FIN | PSH | ACK, .then = REPEATED,
		   .out_ack = WHOLE + 1}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"a reset leaves no tombstone: late segments pass to the server's own RST",
		 {HANDSHAKE,
		  {.act = shut_by_reset},
		  {FROM_CLIENT(0, 0, REQUEST), .then = RESET},
		  {FROM_CLIENT(0, 0, REQUEST)},
		  {.server = true, .flags = RST, .seq = 0}},
		 REFUSED(TTFT),
		 .counters = {{SLUICE_COUNTER_PASSED_UNPROVEN, 1}}},
	};

	play_rows(rows);
}

#define CONTINUE   "HTTP/1.1 100 Continue\r\n\r\n"
#define CONTINUE_N ((int)sizeof(CONTINUE) - 1)

/* invariant 4: the 429 comes after the server's bytes, and waits until the client has those. */
static void server_bytes_in_flight_defer_the_acknowledgement(void **state)
{
	const int end = CONTINUE_N + reply_len(SLUICE_REASON_TTFT) + 1;
	const int end_reset = CONTINUE_N;
	const struct row rows[] = {
		{"the client's bytes are acknowledged once it shows that it has the server's",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, HEAD)},
		  {FROM_SERVER(0, HEAD_N, CONTINUE)},
		  {FROM_CLIENT(HEAD_N, 0, BODY), .then = REFUSE, .out_seq = CONTINUE_N,
		   .out_ack = HEAD_N, .rst_seq = HEAD_N},
		  {FROM_CLIENT(HEAD_N, 0, BODY), .then = REPEATED, .out_seq = CONTINUE_N,
		   .out_ack = HEAD_N},
		  {FROM_CLIENT(HEAD_N, CONTINUE_N, BODY), .then = REPEATED, .out_seq = CONTINUE_N,
		   .out_ack = WHOLE}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"a client that acknowledges all at once gets the acknowledgement of its own bytes",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, HEAD)},
		  {FROM_SERVER(0, HEAD_N, CONTINUE)},
		  {FROM_CLIENT(HEAD_N, 0, BODY), .then = REFUSE, .out_seq = CONTINUE_N,
		   .out_ack = HEAD_N, .rst_seq = HEAD_N},
		  {.flags = ACK,
		   .seq = WHOLE,
		   .ack = end,
		   .then = ANSWER,
		   .out_seq = end,
		   .out_ack = WHOLE},
		  {.flags = ACK, .seq = WHOLE, .ack = end, .then = DROP}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"with nothing in flight nothing is deferred",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, HEAD)},
		  {FROM_SERVER(0, HEAD_N, CONTINUE)},
		  {FROM_CLIENT(HEAD_N, CONTINUE_N, BODY), .then = REFUSE, .out_seq = CONTINUE_N,
		   .out_ack = WHOLE, .rst_seq = HEAD_N}},
		 REFUSED(TTFT),
		 .tombstones = 1},
		{"the client's third repeat still gets the 429, the fourth a reset at its number",
		 {HANDSHAKE,
		  {.act = shut_ttft},
		  {FROM_CLIENT(0, 0, HEAD)},
		  {FROM_SERVER(0, HEAD_N, CONTINUE)},
		  {FROM_CLIENT(HEAD_N, 5, BODY), .then = REFUSE, .out_seq = CONTINUE_N,
		   .out_ack = HEAD_N, .rst_seq = HEAD_N},
		  {FROM_CLIENT(HEAD_N, 5, BODY), .then = REPEATED, .out_seq = CONTINUE_N,
		   .out_ack = HEAD_N},
		  {FROM_CLIENT(HEAD_N, 5, BODY), .then = REPEATED, .out_seq = CONTINUE_N,
		   .out_ack = HEAD_N},
		  {FROM_CLIENT(HEAD_N, 5, BODY), .then = REPEATED, .out_seq = CONTINUE_N,
		   .out_ack = HEAD_N},
		  {FROM_CLIENT(HEAD_N, 5, BODY), .then = CUT, .out_seq = 5}},
		 REFUSED(TTFT),
		 .counters = {{SLUICE_COUNTER_REPLIES_LOST, 1}}},
		{"a client that goes on sending does not repeat itself",
		 {HANDSHAKE,
		  {.act = shut_itl_for_all},
		  {FROM_CLIENT(0, 0, LONG_HEAD), .len = LONG_HEAD_N - 2},
		  {FROM_SERVER(0, LONG_HEAD_N - 2, CONTINUE)},
		  {FROM_CLIENT(LONG_HEAD_N - 2, 0, "\r\n"), .then = REFUSE, .out_seq = CONTINUE_N,
		   .out_ack = LONG_HEAD_N - 2, .rst_seq = LONG_HEAD_N - 2},
		  {FROM_CLIENT(LONG_HEAD_N, 0, "aaaa"), .then = REPEATED, .out_seq = CONTINUE_N,
		   .out_ack = LONG_HEAD_N - 2},
		  {FROM_CLIENT(LONG_HEAD_N + 4, 0, "aaaa"), .then = REPEATED, .out_seq = CONTINUE_N,
		   .out_ack = LONG_HEAD_N - 2},
		  {FROM_CLIENT(LONG_HEAD_N + 8, 0, "aaaa"), .then = REPEATED, .out_seq = CONTINUE_N,
		   .out_ack = LONG_HEAD_N - 2},
		  {FROM_CLIENT(LONG_HEAD_N + 12, 0, "aaaa"), .then = REPEATED,
		   .out_seq = CONTINUE_N, .out_ack = LONG_HEAD_N - 2},
		  {FROM_CLIENT(LONG_HEAD_N + 16, CONTINUE_N, "aaaa"), .then = REPEATED,
		   .out_seq = CONTINUE_N, .out_ack = LONG_HEAD_N + 20}},
		 .tombstones = 1,
		 .requests = {{SLUICE_MODEL_ALL, SLUICE_VERDICT_REJECTED, SLUICE_REASON_ITL, 1}}},
		{"a reset of a client that lacks server bytes has the client's number",
		 {HANDSHAKE,
		  {.act = shut_by_reset},
		  {FROM_CLIENT(0, 0, HEAD)},
		  {FROM_SERVER(0, HEAD_N, CONTINUE)},
		  {FROM_CLIENT(HEAD_N, end_reset - 5, BODY), .then = RESET,
		   .out_seq = end_reset - 5, .rst_seq = HEAD_N}},
		 REFUSED(TTFT)},
	};

	play_rows(rows);
}

/* invariant 4: an answer without a tombstone must not let a server's packet pass. */
static void a_reset_without_a_tombstone_lets_no_server_packet_pass(void **state)
{
	static const struct shape shape = {0};
	static const struct step refused[] = {SHUT_AND_REFUSED};
	static struct frame in, out;
	const struct step late = {FROM_SERVER(0, 0, OK_SHORT), .then = UP_RST, .out_seq = 0};
	struct segment syn = {.flags = SYN, .client_port = CLIENT_PORT + 1};

	for (unsigned i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		play_step(&shape, &refused[i], HTTP_PORT);
	block_client(false);
	make_frame(&in, &shape, &syn);
	assert_int_equal(run_tc(w.skel->progs.requests, &in, &out), THEN_REDIRECT);
	in = out;
	assert_int_equal(run_tc(w.skel->progs.responses, &in, &out), THEN_UNSPEC);
	play_step(&shape, &late, HTTP_PORT);
}

static void with_the_tombstones_full_a_refusal_is_a_reset_and_counted(void **state)
{
	static const struct step steps[] = {
		HANDSHAKE, {.act = shut_ttft}, {FROM_CLIENT(0, 0, REQUEST), .then = RESET}};
	struct sluice_conn_key key = {0};
	struct sluice_tombstone none = {0};

	for (uint32_t i = 0; i < SLUICE_TOMBSTONES_MAX; i++) {
		memcpy(key.client_addr, &i, sizeof(i));
		assert_int_equal(bpf_map_update_elem(fd_of(tombstones), &key, &none, BPF_ANY), 0);
	}
	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		play_step(&shapes[0], &steps[i], HTTP_PORT);
	assert_int_equal(counter(SLUICE_COUNTER_TOMBSTONES_FULL), 1);
	assert_int_equal(entries(fd_of(conns)), 0);
}

/* invariants 1 and 4: a connection that finds the map full is unjudged, and counted. */
static void with_the_connections_full_requests_pass_and_are_counted(void **state)
{
	static const struct step steps[] = {
		HANDSHAKE, {.act = shut_ttft}, {FROM_CLIENT(0, 0, REQUEST)}};
	static struct sluice_conn none;
	struct sluice_conn_key key = {0};

	for (uint32_t i = 0; i < SLUICE_CONNS_MAX; i++) {
		memcpy(key.client_addr, &i, sizeof(i));
		assert_int_equal(bpf_map_update_elem(fd_of(conns), &key, &none, BPF_ANY), 0);
	}
	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		play_step(&shapes[0], &steps[i], HTTP_PORT);
	assert_int_equal(counter(SLUICE_COUNTER_CONNS_FULL), 1);
	assert_int_equal(entries(fd_of(tombstones)), 0);
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
		packets_test(an_unproven_address_leaves_no_state),
		packets_test(an_established_socket_proves_a_connection_at_its_next_byte),
		packets_test(a_request_is_judged_once_however_it_comes),
		packets_test(a_request_split_at_every_byte_is_admitted_once),
		packets_test(a_shut_gate_refuses_as_soon_as_the_model_is_known),
		packets_test(a_compressed_request_is_refused_by_its_head_or_as_the_default_model),
		packets_test(a_body_with_a_gap_passes_and_is_judged_as_the_default_model),
		packets_test(counts_return_when_either_side_resets),
		packets_test(rules_select_the_judged_requests_and_the_source_of_the_model),
		packets_test(a_name_means_the_model_that_was_last_written),
		packets_test(requests_of_two_services_for_one_model_are_counted_apart),
		packets_test(a_framing_error_resets_only_where_the_service_is_set_to),
		packets_test(a_fragmented_request_is_a_framing_error_and_passes),
		packets_test(a_fragment_is_found_among_any_headers),
		packets_test(tcp_is_found_after_any_ipv6_headers),
		packets_test(headers_between_ip_and_tcp_are_no_part_of_the_segment),
		packets_test(an_admitted_request_passes_to_its_end_after_any_change),
		packets_test(without_a_lease_everything_passes_and_is_counted),
		packets_test(allowed_and_exempt_clients_pass_limits_and_flags),
		packets_test(a_refusal_is_right_to_the_byte),
		packets_test(a_refusal_has_no_headers_between_ip_and_tcp),
		packets_test(every_wait_is_stated_in_whole_seconds_rounded_up),
		packets_test(a_blocks_wait_ends_after_the_block),
		packets_test(a_tombstone_answers_the_client_and_resets_the_server),
		packets_test(server_bytes_in_flight_defer_the_acknowledgement),
		packets_test(a_reset_without_a_tombstone_lets_no_server_packet_pass),
		packets_test(with_the_tombstones_full_a_refusal_is_a_reset_and_counted),
		packets_test(with_the_connections_full_requests_pass_and_are_counted),
		packets_test(other_packets_leave_as_they_came),
		packets_test(truncated_headers_leave_as_they_came),
		packets_test(padding_after_a_short_packet_is_no_payload),
		packets_test(a_length_of_zero_means_the_whole_packet),
	};

	return packets_main("requests", tests);
}
