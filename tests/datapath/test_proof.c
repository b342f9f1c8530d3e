/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tc ingress, how a connection is proven: by the third segment of its handshake, or, if it is older
 * than sluice, by the socket that its next byte belongs to. Nothing else makes state.
 */
#include "requests.h"

#include <netinet/tcp.h>

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
		{"nor is one of data that left, maybe in the middle of a response",
		 {{FROM_SERVER(0, WHOLE, OK_SHORT)}, {.flags = ACK, .seq = WHOLE, .ack = OK_N}}},
		{"but with data of its own it makes a connection, and that is judged",
		 {{FROM_CLIENT(0, 0, REQUEST)},
		  {FROM_SERVER(0, WHOLE, OK_SHORT)},
		  {.act = shut_by_reset},
		  {FROM_CLIENT(WHOLE, OK_N, REQUEST), .then = RESET, .out_seq = OK_N,
		   .rst_seq = WHOLE}},
		 .counters = {{SLUICE_COUNTER_PASSED_UNPROVEN, 1}},
		 REFUSED(TTFT)},
		{"one of other data, or with another sequence number, proves nothing",
		 {{FROM_SERVER(0, WHOLE, OK_SHORT)},
		  {.flags = ACK, .seq = WHOLE, .ack = OK_N - 1},
		  {.flags = ACK, .seq = WHOLE, .ack = OK_N + 1},
		  {.flags = ACK, .seq = WHOLE + 1, .ack = OK_N},
		  {.flags = ACK, .seq = WHOLE - 1, .ack = OK_N},
		  {FROM_CLIENT(WHOLE, 0, REQUEST)}},
		 .counters = {{SLUICE_COUNTER_PASSED_UNPROVEN, 1}}},
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(an_unproven_address_leaves_no_state),
		packets_test(an_established_socket_proves_a_connection_at_its_next_byte),
	};

	return packets_main("proof", tests);
}
