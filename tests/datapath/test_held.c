/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Heads that wait for their bodies: which do, and each state in which a packet can meet one. The
 * server's socket is a real one, made with the numbers that the rows begin with, since a head waits
 * only where the socket waits for it.
 */
#include "requests.h"

#include <netinet/tcp.h>

#define SPLIT(more)                                                                                \
	"POST /v1/chat/completions HTTP/1.1\r\nHost: a" more "\r\nContent-Length: 31\r\n\r\n"
#define EVEN   SPLIT("b")
#define EVEN_N ((int)sizeof(EVEN) - 1)
_Static_assert(HEAD_N % 2 && EVEN_N % 2 == 0, "one head of each parity");

enum then {
	PASSES,  /* unchanged, but for a FIN that comes before missing bytes */
	JOINED,  /* passes, with the head before it */
	DROPPED, /* it is held, or goes */
	REFUSED, /* becomes the 429 of a connection that goes on */
};

/* One segment of the client, with numbers as in packets.h, or one change of state (act). */
struct turn {
	int32_t seq;
	const char *text;
	enum then then;
	uint32_t ms; /* before it */
	uint8_t flags;
	void (*act)(bool ipv6);
	const char *head; /* of JOINED */
};

struct held_row {
	const char *what;
	struct turn turns[9];
	/* At the end; what is not listed is 0. */
	unsigned held, unheld, kept, conns;
	int in_flight;
	struct row_counter counters[6];
};

static const struct shape held_shapes[] = {
	{.ipv6 = false, LINK_ETHERNET, OPTIONS_TS, false},
	{.ipv6 = true, LINK_ETHERNET, OPTIONS_NONE, false},
	{.ipv6 = true, LINK_ETHERNET, OPTIONS_TS, false},
	{.ipv6 = false, LINK_ETHERNET, OPTIONS_NONE, false},
};

static int socket_of_row = -1;

static void set_queue(int fd, int queue, uint32_t seq)
{
	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof(queue)), 0);
	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, &seq, sizeof(seq)), 0);
}

static void put_address(struct sockaddr_storage *out, const uint8_t addr[16], bool ipv6,
			uint16_t port)
{
	struct sockaddr_in6 *six = (void *)out;
	struct sockaddr_in *four = (void *)out;

	memset(out, 0, sizeof(*out));
	if (ipv6) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons(port);
		memcpy(&six->sin6_addr, addr, 16);
	} else {
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		memcpy(&four->sin_addr, addr + 12, 4);
	}
}

static void no_socket(bool ipv6)
{
	if (socket_of_row >= 0)
		close(socket_of_row);
	socket_of_row = -1;
}

/* The server's socket, which waits for the client's byte `at`. */
static void socket_at(bool ipv6, int32_t at)
{
	struct sockaddr_storage server, client;
	int on = 1, fd;

	no_socket(ipv6);
	fd = socket_of_row = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	put_address(&server, ipv6 ? server_v6 : server_v4, ipv6, HTTP_PORT);
	put_address(&client, ipv6 ? client_v6 : client_v4, ipv6, CLIENT_PORT);
	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	set_queue(fd, TCP_RECV_QUEUE, CLIENT_ISN + 1 + (uint32_t)at);
	set_queue(fd, TCP_SEND_QUEUE, SERVER_ISN + 1);
	assert_int_equal(bind(fd, (void *)&server, sizeof(server)), 0);
	assert_int_equal(connect(fd, (void *)&client, sizeof(client)), 0);
}

static void forget_heads(bool ipv6)
{
	clear_map(fd_of(held));
}

static void fill_held(bool ipv6)
{
	struct sluice_conn_key key = this_key(ipv6, OPAQUE_PORT);
	static const struct sluice_held head;

	for (uint32_t i = 0; i < SLUICE_HELD_MAX; i++) {
		memcpy(key.client_addr, &i, sizeof(i));
		assert_int_equal(bpf_map_update_elem(fd_of(held), &key, &head, BPF_ANY), 0);
	}
}

static void nothing_in_force(bool ipv6)
{
	w.settings.empty = SLUICE_EMPTY_ALL;
	write_settings();
}

static void in_shadow(bool ipv6)
{
	set_flag(SLUICE_MODEL_ALL,
		 (struct sluice_model_flag){.allow = 1, .mode = SLUICE_MODE_SHADOW});
}

static void not_kept(bool ipv6)
{
	set_both(HTTP_PORT, http_service());
}

static void connect_client(const struct shape *shape)
{
	static const struct step handshake[] = {HANDSHAKE};

	for (step_now = 0; step_now < 3; step_now++) {
		struct shape with = *shape;

		if (handshake[step_now].flags & SYN)
			with.options = OPTIONS_SYN; /* it says how windows are scaled */
		play_step(&with, &handshake[step_now], HTTP_PORT);
	}
}

static void begin_row(const struct shape *shape)
{
	struct sluice_service service = http_service();

	reset_world();
	clear_map(fd_of(held));
	clear_map(fd_of(unheld));
	shape_now = *shape;
	service.keep = 1;
	set_both(HTTP_PORT, service);
	socket_at(shape->ipv6, 0);
	connect_client(shape);
}

static void assert_kept_429(const struct shape *shape, const struct frame *out, int32_t end)
{
	static struct frame after;
	struct seen seen;

	read_forged(out, shape, true, HTTP_PORT, &seen);
	assert_true(seen.from_server);
	assert_int_equal(seen.flags, PSH | ACK);
	assert_int_equal(client_offset(seen.ack), end);
	assert_memory_equal(seen.text, "HTTP/1.1 429 ", 13);
	assert_int_equal(run_tc(program_for(shape, true), out, &after), THEN_UNSPEC);
	assert_same_frame(&after, out);
}

static void take_turn(const struct shape *shape, const struct turn *t)
{
	size_t len = t->text ? strlen(t->text) : 0, head = t->head ? strlen(t->head) : 0;
	struct step step = {.seq = t->seq, .text = t->text, .flags = t->flags};
	struct segment segment = segment_of(&step, HTTP_PORT);
	static struct frame in, out, wanted;
	char text[1024];
	int retval;

	pass_ms(t->ms);
	if (t->act) {
		t->act(shape->ipv6);
		return;
	}
	make_frame(&in, shape, &segment);
	retval = run_tc(program_for(shape, false), &in, &out);
	switch (t->then) {
	case DROPPED:
		assert_int_equal(retval, TC_ACT_SHOT);
		break;
	case REFUSED:
		assert_int_equal(retval, THEN_REDIRECT);
		assert_kept_429(shape, &out, t->seq + (int32_t)len);
		break;
	default:
		assert_int_equal(retval, THEN_UNSPEC);
		snprintf(text, sizeof(text), "%s%s", head ? t->head : "", len ? t->text : "");
		segment.text = text;
		segment.len = head + len;
		segment.seq -= head;
		if (t->seq)
			segment.flags &= ~FIN;
		make_frame(&wanted, shape, &segment);
		assert_same_frame(&out, &wanted);
	}
}

static void play_held(const struct held_row *rows, unsigned count)
{
	for (unsigned k = 0; k < sizeof(held_shapes) / sizeof(held_shapes[0]); k++)
		for (unsigned i = 0; i < count; i++) {
			const struct held_row *row = &rows[i];
			const struct turn *t = row->turns;

			row_now = row->what;
			begin_row(&held_shapes[k]);
			row_now = row->what;
			for (step_now = 0; t->text || t->act || t->flags; step_now++, t++)
				take_turn(&held_shapes[k], t);
			assert_int_equal(entries(fd_of(held)), row->held);
			assert_int_equal(entries(fd_of(unheld)), row->unheld);
			assert_int_equal(entries(fd_of(kept)), row->kept);
			assert_int_equal(entries(fd_of(conns)), row->conns);
			assert_int_equal(get_state(LLAMA).in_flight, row->in_flight);
			assert_counters(row->counters,
					sizeof(row->counters) / sizeof(row->counters[0]));
		}
	row_now = NULL;
	no_socket(false);
}

#define play_held_rows(rows) play_held(rows, sizeof(rows) / sizeof((rows)[0]))
#define COUNTED(name, n)                                                                           \
	{                                                                                          \
		SLUICE_COUNTER_##name, (n)                                                         \
	}

/* invariant 4: the server's TCP gets head and body as one segment, or nothing. */
static void a_head_waits_for_its_body_and_both_are_one_segment(void **state)
{
	static const struct held_row rows[] = {
		{"an admitted request",
		 {{0, HEAD, DROPPED}, {HEAD_N, BODY, JOINED, .head = HEAD}},
		 .conns = 1,
		 .in_flight = 1,
		 .counters = {COUNTED(HELD, 1)}},
		{"… with a head of even length",
		 {{0, EVEN, DROPPED}, {EVEN_N, BODY, JOINED, .head = EVEN}},
		 .conns = 1,
		 .in_flight = 1,
		 .counters = {COUNTED(HELD, 1)}},
		{"a refused request",
		 {{.act = shut_ttft}, {0, HEAD, DROPPED}, {HEAD_N, BODY, REFUSED}},
		 .conns = 1,
		 .kept = 1,
		 .counters = {COUNTED(HELD, 1), COUNTED(REFUSALS_KEPT, 1)}},
		{"one that its head alone refuses",
		 {{.act = shut_itl_for_all}, {0, EVEN, DROPPED}, {EVEN_N, BODY, REFUSED}},
		 .conns = 1,
		 .kept = 1,
		 .counters = {COUNTED(HELD, 1), COUNTED(REFUSALS_KEPT, 1)}},
		{"a body of two segments",
		 {{0, HEAD, DROPPED},
		  {HEAD_N, "{\"model\":", JOINED, .head = HEAD},
		  {HEAD_N + 9, "\"llama\",\"stream\":true}", PASSES}},
		 .conns = 1,
		 .in_flight = 1,
		 .counters = {COUNTED(HELD, 1)}},
		{"a body whose segments are reordered",
		 {{0, HEAD, DROPPED},
		  {HEAD_N + 9, "\"llama\",\"stream\":true}", DROPPED},
		  {HEAD_N, "{\"model\":", JOINED, .head = HEAD},
		  {HEAD_N + 9, "\"llama\",\"stream\":true}", PASSES}},
		 .conns = 1,
		 .in_flight = 1,
		 .counters = {COUNTED(HELD, 1), COUNTED(REORDERED_DROPPED, 1)}},
		{"a lease that ends meanwhile",
		 {{.act = shut_ttft},
		  {0, HEAD, DROPPED},
		  {.act = end_lease},
		  {HEAD_N, BODY, JOINED, .head = HEAD}},
		 .conns = 1,
		 .in_flight = 1,
		 .counters = {COUNTED(HELD, 1), COUNTED(PASSED_LEASE, 1)}},
	};

	play_held_rows(rows);
}

/* Nothing is lost whatever comes in between: the client has all bytes, and sends them again. */
static void what_comes_between_a_head_and_its_body_loses_nothing(void **state)
{
	static const struct held_row rows[] = {
		{"a copy of the head's packet",
		 {{0, HEAD, DROPPED},
		  {0, HEAD, DROPPED, .ms = 19},
		  {HEAD_N, BODY, JOINED, .head = HEAD}},
		 .conns = 1,
		 .in_flight = 1,
		 .counters = {COUNTED(HELD, 1), COUNTED(REORDERED_DROPPED, 1)}},
		{"the head again, later",
		 {{0, HEAD, DROPPED}, {0, HEAD, PASSES, .ms = 21}, {HEAD_N, BODY, PASSES}},
		 .conns = 1,
		 .in_flight = 1,
		 .unheld = 1,
		 .counters = {COUNTED(HELD, 1), COUNTED(HOLD_RELEASED, 1)}},
		{"the whole request, as one segment",
		 {{0, HEAD, DROPPED}, {0, REQUEST, PASSES, .ms = 200}},
		 .conns = 1,
		 .in_flight = 1,
		 .counters = {COUNTED(HELD, 1)}},
		{"a body that comes late",
		 {{0, HEAD, DROPPED}, {HEAD_N, BODY, JOINED, .ms = 151, .head = HEAD}},
		 .conns = 1,
		 .in_flight = 1,
		 .unheld = 1,
		 .counters = {COUNTED(HELD, 1)}},
		{"an acknowledgement",
		 {{0, HEAD, DROPPED}, {HEAD_N, .flags = ACK}, {HEAD_N, BODY, JOINED, .head = HEAD}},
		 .conns = 1,
		 .in_flight = 1,
		 .counters = {COUNTED(HELD, 1)}},
		{"a FIN, and the head again",
		 {{0, HEAD, DROPPED}, {HEAD_N, .flags = FIN | ACK}, {0, HEAD, PASSES, .ms = 200}},
		 .conns = 1,
		 .unheld = 1,
		 .counters = {COUNTED(HELD, 1), COUNTED(HOLD_RELEASED, 1)}},
		{"a reset after the head, which the server does not believe",
		 {{0, HEAD, DROPPED}, {HEAD_N, .flags = RST}},
		 .held = 1,
		 .conns = 1,
		 .counters = {COUNTED(HELD, 1)}},
		{"a reset where the server waits",
		 {{0, HEAD, DROPPED}, {0, .flags = RST}},
		 .held = 1,
		 .counters = {COUNTED(HELD, 1)}},
		{"the loss of the entry",
		 {{0, HEAD, DROPPED},
		  {.act = forget_heads},
		  {HEAD_N, BODY, DROPPED},
		  {0, HEAD, PASSES},
		  {HEAD_N, BODY, PASSES}},
		 .conns = 1,
		 .in_flight = 1,
		 .counters = {COUNTED(HELD, 1), COUNTED(REORDERED_DROPPED, 1)}},
		{"the body first",
		 {{HEAD_N, BODY, DROPPED}, {0, HEAD, PASSES}, {HEAD_N, BODY, PASSES}},
		 .conns = 1,
		 .in_flight = 1,
		 .counters = {COUNTED(REORDERED_DROPPED, 1)}},
	};

	play_held_rows(rows);
}

static void a_head_passes_where_it_may_not_wait(void **state)
{
#define LONGER(header, length)                                                                     \
	"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n" header "Content-Length: " length       \
	"\r\n\r\n"
	static const struct held_row rows[] = {
		{"nothing is in force", {{.act = nothing_in_force}, {0, HEAD, PASSES}}, .conns = 1},
		{"in mode shadow", {{.act = in_shadow}, {0, HEAD, PASSES}}, .conns = 1},
		{"without a lease", {{.act = end_lease}, {0, HEAD, PASSES}}, .conns = 1},
		{"without keep", {{.act = not_kept}, {0, HEAD, PASSES}}, .conns = 1},
		{"the socket is not here", {{.act = no_socket}, {0, HEAD, PASSES}}, .conns = 1},
		{"the map is full",
		 {{.act = fill_held}, {0, HEAD, PASSES}},
		 .conns = 1,
		 .held = SLUICE_HELD_MAX,
		 .counters = {COUNTED(HOLD_FULL, 1)}},
		{"it expects an answer",
		 {{0, LONGER("Expect: 100-continue\r\n", "31"), PASSES}},
		 .conns = 1},
		{"it closes the connection",
		 {{0, LONGER("Connection: close\r\n", "31"), PASSES}},
		 .conns = 1},
		{"the body is chunked",
		 {{0, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", PASSES}},
		 .conns = 1},
		{"the body is long", {{0, LONGER("", "65000"), PASSES}}, .conns = 1},
		{"a part of the body is there", {{0, HEAD "{", PASSES}}, .conns = 1},
		{"a part of the head is missing", {{0, "POST / HTTP/1.1\r\n", PASSES}}, .conns = 1},
		{"its client has waited before",
		 {{0, HEAD, DROPPED}, {0, HEAD, PASSES, .ms = 200}, {0, HEAD, PASSES, .ms = 100}},
		 .conns = 1,
		 .unheld = 1,
		 .counters = {COUNTED(HELD, 1), COUNTED(HOLD_RELEASED, 1)}},
	};

	play_held_rows(rows);
}

/* A body that was late once says little. A client that waits each time is found out each time. */
static void heads_wait_again_after_a_while(void **state)
{
	/* How long no head waits, after so many seconds of silence. */
	static const struct {
		unsigned silence, seconds;
	} times[] = {{0, 10}, {70, 10}, {0, 40}, {0, 160}, {0, 600}, {0, 600}};
	const struct shape *shape = &held_shapes[0];
	const struct turn dropped = {0, HEAD, DROPPED}, passes = {0, HEAD, PASSES},
			  again = {0, HEAD, PASSES, .ms = 200}, ends = {HEAD_N, .flags = RST};

	row_now = "a client that waits";
	begin_row(shape);
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		pass_ms(times[i].silence * 1000);
		connect_client(shape);
		take_turn(shape, &dropped);
		take_turn(shape, &again);
		take_turn(shape, &ends);
		pass_ms(times[i].seconds * 1000 - 1);
		connect_client(shape);
		take_turn(shape, &passes);
		take_turn(shape, &ends);
		pass_ms(1);
	}
	row_now = NULL;
	no_socket(false);
}

/* On a kept connection the client's numbers differ from those that the server gets. */
static void a_head_waits_on_a_kept_connection(void **state)
{
	for (unsigned k = 0; k < sizeof(held_shapes) / sizeof(held_shapes[0]); k++) {
		const struct shape *shape = &held_shapes[k];
		struct segment segment = {.flags = ACK | PSH, .window = 64240};
		static struct frame in, out, wanted;
		struct turn turn = {0, HEAD, DROPPED};
		struct seen seen;

		begin_row(shape);
		shut_ttft(shape->ipv6);
		take_turn(shape, &turn);
		segment.text = BODY;
		segment.len = strlen(BODY);
		segment.seq = CLIENT_ISN + 1 + HEAD_N;
		segment.ack = SERVER_ISN + 1;
		make_frame(&in, shape, &segment);
		assert_int_equal(run_tc(program_for(shape, false), &in, &out), THEN_REDIRECT);
		assert_kept_429(shape, &out, WHOLE);
		read_forged(&out, shape, true, HTTP_PORT, &seen);
		open_all(shape->ipv6);
		segment.ack += seen.len;
		segment.seq = CLIENT_ISN + 1 + WHOLE;
		segment.text = HEAD;
		segment.len = HEAD_N;
		make_frame(&in, shape, &segment);
		assert_int_equal(run_tc(program_for(shape, false), &in, &out), TC_ACT_SHOT);
		segment.seq += HEAD_N;
		segment.text = BODY;
		segment.len = strlen(BODY);
		make_frame(&in, shape, &segment);
		assert_int_equal(run_tc(program_for(shape, false), &in, &out), THEN_UNSPEC);
		segment.seq = CLIENT_ISN + 1;
		segment.ack = SERVER_ISN + 1;
		segment.text = REQUEST;
		segment.len = strlen(REQUEST);
		make_frame(&wanted, shape, &segment);
		assert_same_frame(&out, &wanted);
		assert_int_equal(get_state(LLAMA).in_flight, 1);
	}
	no_socket(false);
}

/* invariant 1: what is wrong stays wrong, so that the server drops it. */
static void a_wrong_checksum_is_not_made_right(void **state)
{
	const struct shape *shape = &held_shapes[0];
	struct segment segment = {.flags = ACK | PSH,
				  .seq = CLIENT_ISN + 1,
				  .ack = SERVER_ISN + 1,
				  .window = 64240,
				  .text = HEAD,
				  .len = HEAD_N};
	static struct frame in, out, wanted;
	struct shape pseudo = *shape;

	pseudo.partial = true;
	begin_row(shape);
	make_frame(&in, shape, &segment);
	in.data[in.len - 5] ^= 1;
	assert_int_equal(run_tc(program_for(shape, false), &in, &out), THEN_UNSPEC);
	assert_int_equal(entries(fd_of(held)), 0);
	begin_row(shape);
	make_frame(&in, &pseudo, &segment); /* as if it were left to a device */
	assert_int_equal(run_tc(program_for(shape, false), &in, &out), THEN_UNSPEC);
	assert_int_equal(entries(fd_of(held)), 0);
	for (int wrong = 0; wrong < 2; wrong++) {
		begin_row(shape);
		segment.seq = CLIENT_ISN + 1;
		segment.text = HEAD;
		segment.len = HEAD_N;
		make_frame(&in, shape, &segment);
		assert_int_equal(run_tc(program_for(shape, false), &in, &out), TC_ACT_SHOT);
		segment.seq += HEAD_N;
		segment.text = BODY;
		segment.len = strlen(BODY);
		make_frame(&in, shape, &segment);
		in.data[in.len - 2] ^= wrong;
		assert_int_equal(run_tc(program_for(shape, false), &in, &out), THEN_UNSPEC);
		segment.seq = CLIENT_ISN + 1;
		segment.text = REQUEST;
		segment.len = strlen(REQUEST);
		make_frame(&wanted, shape, &segment);
		wanted.data[wanted.len - 2] ^= wrong; /* and its checksum is that of right bytes */
		assert_same_frame(&out, &wanted);
	}
	no_socket(false);
}

/* The request is refused in a packet that acknowledges nothing new: the head's has. */
static void the_server_gets_the_acknowledgement_that_a_held_head_carried(void **state)
{
	static const struct step answered[] = {
		{FROM_CLIENT(0, 0, REQUEST)},
		{FROM_SERVER(0, WHOLE, OK_SHORT)},
	};
	const struct shape *shape = &held_shapes[0];
	struct segment segment = {.flags = ACK | PSH,
				  .seq = CLIENT_ISN + 1 + WHOLE,
				  .ack = SERVER_ISN + 1 + OK_N,
				  .window = 64240,
				  .text = HEAD,
				  .len = HEAD_N};
	static struct frame in, out, clone;

	begin_row(shape);
	for (step_now = 0; step_now < 2; step_now++)
		play_step(shape, &answered[step_now], HTTP_PORT);
	socket_at(shape->ipv6, WHOLE);
	shut_ttft(shape->ipv6);
	make_frame(&in, shape, &segment);
	assert_int_equal(run_tc(program_for(shape, false), &in, &out), TC_ACT_SHOT);
	segment.seq += HEAD_N;
	segment.text = BODY;
	segment.len = strlen(BODY);
	make_frame(&in, shape, &segment);
	assert_int_equal(run_tc(program_for(shape, false), &in, &out), THEN_REDIRECT);
	assert_true(catch_clone(&clone, 20000));
	assert_true(clone.len < in.len);
	no_socket(false);
}

/* A head whose body never comes leaves with the pass over all connections. */
static void a_head_whose_body_never_comes_is_forgotten(void **state)
{
	const struct shape *shape = &held_shapes[0];
	static const struct turn head = {0, HEAD, DROPPED}, again = {0, HEAD, DROPPED};
	static struct frame in = {.len = 64}, out;

	begin_row(shape);
	take_turn(shape, &head);
	pass_ms(999);
	assert_int_equal(run_tc(w.skel->progs.sweep, &in, &out), TC_ACT_OK);
	assert_int_equal(entries(fd_of(held)), 1);
	pass_ms(1);
	assert_int_equal(run_tc(w.skel->progs.sweep, &in, &out), TC_ACT_OK);
	assert_int_equal(entries(fd_of(held)), 0);
	take_turn(shape, &again); /* it is held anew, as the first time */
	assert_int_equal(counter(SLUICE_COUNTER_HELD), 2);
	no_socket(false);
}

static int open_world(void **state)
{
	int err = world_open(state);

	if (err)
		return err;
	return system("sysctl -qw net.ipv6.conf.lo.disable_ipv6=0 && "
		      "ip addr add 192.0.2.1/32 dev lo && ip route add 198.51.100.0/24 dev lo && "
		      "ip addr add 2001:db8::1/128 dev lo nodad && "
		      "ip -6 route add 2001:db8:77::/64 dev lo");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(a_head_waits_for_its_body_and_both_are_one_segment),
		packets_test(what_comes_between_a_head_and_its_body_loses_nothing),
		packets_test(a_head_passes_where_it_may_not_wait),
		packets_test(heads_wait_again_after_a_while),
		packets_test(a_head_waits_on_a_kept_connection),
		packets_test(a_wrong_checksum_is_not_made_right),
		packets_test(the_server_gets_the_acknowledgement_that_a_held_head_carried),
		packets_test(a_head_whose_body_never_comes_is_forgotten),
	};

	if (geteuid()) {
		fprintf(stderr, "held: needs root\n");
		return 77;
	}
	return cmocka_run_group_tests_name("held", tests, open_world, world_close);
}
