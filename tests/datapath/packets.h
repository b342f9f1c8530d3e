/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Plays packets to the programs and reads the output byte by byte. A test is a row: the packets of
 * one connection in order, the outcome of each, and the maps at the end. The one idea: every packet
 * that a program sends passes the programs again, as on an interface, and must pass unchanged; and
 * a packet that passes must be the same packet.
 *
 * frames.h makes the packets. world.h has the programs, their maps and the clock, which the rows
 * move.
 */
#ifndef SLUICE_PACKETS_H
#define SLUICE_PACKETS_H

#include "world.h"

enum outcome {
	PASS,     /* TC_ACT_UNSPEC, and not a bit of it changed but `urgent`, or data in a SYN */
	HELD,     /* as PASS, but cut after `keep` bytes and without a FIN */
	DROP,     /* TC_ACT_SHOT */
	REFUSE,   /* the 429 to the client, and on a copy the RST to the server */
	RESET,    /* a RST to the client, and on a copy one to the server */
	REPEATED, /* the 429 to the client, the server left alone */
	ANSWER,   /* a pure ACK to the client */
	CUT,      /* a RST to the client, the server left alone */
	UP_RST,   /* a server's packet turned into a RST for it */
	KEPT,     /* the 429 to the client, whose connection goes on */
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
	/*
	 * Of a kept connection: so many bytes of the client and of the server only the client
	 * counts. The numbers of what passes, or answers, differ by these; but a 429 that keeps its
	 * connection has the client's.
	 */
	int32_t dc, ds;
	int32_t sack;    /* … those of its SACK blocks; 0: as its acknowledgement */
	bool ack_up;     /* of KEPT: on a copy, the acknowledgement that it carried to the server */
	bool elsewhere;  /* at another interface */
	uint8_t options; /* 1 + enum options; 0: the shape's, and of KEPT those without SACK blocks
			  */
	size_t keep;     /* of a HELD segment */
	uint16_t urgent; /* its pointer; what passes has none, and no URG */
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
	uint8_t class;    /* as in struct sluice_count_key */
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
	int in_flight, waiting, stalled;
	unsigned failed, guessed; /* of LLAMA */
	unsigned conns, tombstones, kept;
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

static uint32_t client_isn = CLIENT_ISN, server_isn = SERVER_ISN; /* of the rows */

static inline struct segment segment_of(const struct step *s, uint16_t port)
{
	struct segment out = {.from_server = s->server, .server_port = port};

	out.len = s->len ? s->len : s->text ? strlen(s->text) : 0;
	out.text = s->text;
	out.flags = s->flags == NONE ? 0 : s->flags ? s->flags : out.len ? ACK | PSH : ACK;
	out.seq = (s->server ? server_isn : client_isn) + 1 + s->seq;
	out.ack = (s->server ? client_isn : server_isn) + 1 + s->ack;
	out.urgent = s->urgent;
	out.window = s->zero_window ? 0 : s->window ? s->window : 64240;
	return out;
}

/* Offsets as the rows write them. */
static inline int32_t client_offset(uint32_t seq)
{
	return (int32_t)(seq - (client_isn + 1));
}

static inline int32_t server_offset(uint32_t seq)
{
	return (int32_t)(seq - (server_isn + 1));
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

/* The shape of one step: a request that is to keep its connection has no SACK blocks. */
static inline struct shape shape_of(const struct shape *shape, const struct step *s)
{
	struct shape out = *shape;

	if (s->options)
		out.options = s->options - 1;
	else if (s->then == KEPT &&
		 (out.options == OPTIONS_TS_SACK || out.options == OPTIONS_SACK_TS))
		out.options = OPTIONS_TS;
	else if (s->then == KEPT)
		out.options = out.options == OPTIONS_TS ? OPTIONS_TS : OPTIONS_NONE;
	return out;
}

/* Gives a packet of a kept connection the numbers that the other end counts. */
static inline void renumber_for_peer(struct frame *f, const struct shape *shape,
				     const struct step *s, bool from_server)
{
	if (!s->dc && !s->ds && !s->sack)
		return;
	if (from_server)
		renumber(f, shape, s->ds, s->dc, s->sack ? s->sack : s->dc);
	else
		renumber(f, shape, -s->dc, -s->ds, s->sack ? -s->sack : -s->ds);
}

static bool two_hooks; /* each packet passes a second interface, above the first one */

/* Runs a packet of one side: at a second hook, too, where it must pass unchanged. */
static inline int run_hooks(const struct shape *shape, bool from_server, bool elsewhere,
			    struct frame *in, struct frame *out)
{
	struct bpf_program *program = program_for(shape, from_server);
	static struct frame above;
	int retval;

	if (two_hooks && from_server) {
		retval = run_tc_at(program, w.above, in, &above);
		if (retval != THEN_UNSPEC) {
			*out = above;
			return retval;
		}
		assert_same_frame(&above, in);
	}
	retval = run_tc_at(program, elsewhere ? w.above : w.ifindex, in, out);
	if (two_hooks && !from_server && retval == THEN_UNSPEC) {
		assert_int_equal(run_tc_at(program, w.above, out, &above), THEN_UNSPEC);
		assert_same_frame(&above, out);
	}
	return retval;
}

static struct seen last; /* the last packet to the client; its text is in last_frame */
static struct frame last_frame;

/* Compares the segment that a program sends to the client with its step. */
static inline void assert_answer(const struct shape *shape, const struct step *s,
				 const struct seen *seen)
{
	bool kept = s->then == KEPT;

	assert_timestamps(seen, shape);
	assert_int_equal(server_offset(seen->seq) + (kept ? 0 : s->ds), s->out_seq);
	switch (s->then) {
	case REFUSE:
	case REPEATED:
	case KEPT:
		assert_int_equal(seen->flags, kept ? PSH | ACK : FIN | PSH | ACK);
		assert_int_equal(client_offset(seen->ack) + (kept ? 0 : s->dc), s->out_ack);
		assert_true(seen->window > 0);
		assert_true(seen->len > 100);
		assert_true(!memcmp(seen->text, "HTTP/1.1 429 ", 13) ||
			    !memcmp(seen->text, "HTTP/1.1 503 ", 13));
		break;
	case ANSWER:
		assert_int_equal(seen->flags, ACK);
		assert_int_equal(client_offset(seen->ack) + s->dc, s->out_ack);
		assert_true(seen->window > 0);
		assert_int_equal(seen->len, 0);
		break;
	default:
		assert_int_equal(seen->flags, RST);
		assert_int_equal(seen->ack, 0);
		assert_int_equal(seen->window, 0);
		assert_int_equal(seen->len, 0);
		break;
	}
}

/* Compares the copy that goes to the server with its step. It passes tc ingress again, before the
 * answer leaves. */
static inline void assert_copy(const struct shape *shape, const struct step *s, uint16_t port,
			       struct frame *copy)
{
	static struct frame after;
	struct seen seen;
	bool ack = s->then == KEPT;

	read_forged(copy, shape, false, port, &seen);
	assert_false(seen.from_server);
	assert_int_equal(seen.flags, ack ? ACK : RST);
	assert_int_equal(client_offset(seen.seq), ack ? s->seq : s->rst_seq + s->dc);
	if (ack)
		assert_int_equal(server_offset(seen.ack), s->ack);
	else
		assert_int_equal(seen.ack, 0);
	assert_int_equal(seen.window, ack ? segment_of(s, port).window : 0);
	assert_int_equal(seen.len, 0);
	assert_int_equal(seen.timestamps, ack && shape->options == OPTIONS_TS);
	if (seen.timestamps) {
		assert_int_equal(seen.ts_val, TS_VAL);
		assert_int_equal(seen.ts_ecr, TS_ECR);
	}
	assert_int_equal(run_hooks(shape, false, s->elsewhere, copy, &after), THEN_UNSPEC);
	renumber_for_peer(copy, shape, s, false);
	assert_same_frame(&after, copy);
}

/* Plays one step, and compares every packet and record with the step. */
static inline void play_step(const struct shape *of_row, const struct step *s, uint16_t port)
{
	bool copies = s->then == REFUSE || s->then == RESET || s->ack_up;
	bool above = s->elsewhere || (two_hooks && s->server);
	const struct shape step_shape = shape_of(of_row, s), *shape = &step_shape;
	struct shape forged = step_shape;
	struct segment segment = segment_of(s, port);
	static struct frame in, out, copy, after, sent;
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
	retval = run_hooks(shape, s->server, s->elsewhere, &in, &out);
	wanted = s->then == PASS || s->then == HELD ? THEN_UNSPEC
		 : s->then == DROP                  ? TC_ACT_SHOT
						    : THEN_REDIRECT;
	if (retval != wanted)
		fail_msg("%s, and not %s", outcome_text(retval), outcome_text(wanted));
	if (wanted == THEN_UNSPEC) {
		if ((segment.flags & (SYN | ACK)) == SYN && segment.len)
			segment.len = 0; /* data in a SYN is cut off */
		if (s->then == HELD) {
			segment.len = s->keep;
			segment.flags &= ~FIN;
		}
		segment.flags &= ~URG;
		segment.urgent = 0;
		sent = in;
		make_frame(&in, shape, &segment);
		if (s->between)
			put_between(&in, shape, s->between);
		else
			carry_checksum(&in, shape, &sent);
		renumber_for_peer(&in, shape, s, s->server);
		assert_same_frame(&out, &in);
	}
	if (wanted == THEN_REDIRECT) {
		/*
		 * Answers swap the link header's addresses; so does the RST that goes to the server
		 * instead of a packet.
		 */
		forged.partial = false;
		read_forged(&out, &forged, !s->server, port, &seen);
		assert_int_equal(seen.from_server, s->then != UP_RST);
		if (s->then == UP_RST) {
			assert_int_equal(seen.flags, RST);
			assert_int_equal(client_offset(seen.seq) - (above ? 0 : s->dc), s->out_seq);
			assert_int_equal(seen.ack, 0);
			assert_int_equal(seen.window, 0);
			assert_int_equal(seen.len, 0);
		} else {
			assert_answer(shape, s, &seen);
			last_frame = out;
			last = seen;
			last.text = last_frame.data + (seen.text - out.data);
		}
	}
	assert_int_equal(catch_clone(&copy, copies ? 20000 : 0), copies);
	if (copies)
		assert_copy(&forged, s, port, &copy);
	if (wanted == THEN_REDIRECT) {
		assert_int_equal(run_tc_at(program_for(shape, s->then != UP_RST),
					   above ? w.above : w.ifindex, &out, &after),
				 THEN_UNSPEC);
		if (s->then != KEPT && !above)
			renumber_for_peer(&out, &forged, s, s->then != UP_RST);
		assert_same_frame(&after, &out);
		assert_false(catch_clone(&copy, 0));
	}
}

static inline bool bookkeeping(uint32_t counter)
{
	return counter == SLUICE_COUNTER_HALF_OPEN_INSERTS ||
	       counter == SLUICE_COUNTER_HALF_OPEN_DELETES ||
	       counter == SLUICE_COUNTER_FORGED_ANSWERS ||
	       counter == SLUICE_COUNTER_REFUSALS_CLOSED || counter == SLUICE_COUNTER_SYN_DATA_CUT;
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
	assert_int_equal(all.began_ns, began_in_flight());
	assert_int_equal(all.waiting, exchanges_with(SLUICE_EXCHANGE_WAITING));
	assert_int_equal(all.waiting + exchanges_with(SLUICE_EXCHANGE_EXPECTED), row->waiting);
	for (uint32_t i = SLUICE_MODEL_OTHER; i < MODELS_USED; i++) {
		in_flight += get_state(i).in_flight;
		waiting += get_state(i).waiting;
	}
	assert_int_equal(in_flight, row->in_flight);
	assert_int_equal(waiting, all.waiting);
	assert_int_equal(client_holds(SLUICE_MODEL_ALL), row->in_flight);
	assert_int_equal(all.stalled, row->stalled);
	assert_int_equal(client_holds(SLUICE_POOL_STALLED), row->stalled);
	assert_int_equal(get_state(LLAMA).failed, row->failed);
	assert_int_equal(get_state(LLAMA).guessed, row->guessed);
	assert_int_equal(entries(fd_of(conns)), row->conns);
	assert_int_equal(entries(fd_of(tombstones)), row->tombstones);
	assert_int_equal(entries(fd_of(kept)), row->kept);
	assert_counters(row->counters, sizeof(row->counters) / sizeof(row->counters[0]));
	for (const struct row_requests *r = row->requests;
	     r < row->requests + sizeof(row->requests) / sizeof(row->requests[0]) && r->n; r++) {
		assert_int_equal(requests_of_class(r->service ? r->service : service, r->model,
						   r->verdict, r->reason, r->class),
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
	{.ipv6 = true, LINK_VLAN, OPTIONS_NONE, false},
	{.ipv6 = false, LINK_NONE, OPTIONS_TS_SACK, false},
};

#define play_rows(rows)                                                                            \
	do {                                                                                       \
		for (unsigned shape_ = 0; shape_ < sizeof(shapes) / sizeof(shapes[0]); shape_++)   \
			for (unsigned row_ = 0; row_ < sizeof(rows) / sizeof(rows[0]); row_++)     \
				play(&shapes[shape_], &rows[row_]);                                \
	} while (0)

/* ---- a program of tests ---- */

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
