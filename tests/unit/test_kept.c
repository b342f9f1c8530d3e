/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Kept connections against a model of TCP: a client and a server with a stream each, a network that
 * loses, repeats, splits and reorders segments, and before the server a hook that refuses requests
 * as the programs do. Each end has to see its own consistent stream: the server the admitted
 * requests and no byte of another, the client one answer for each request, in order. Both streams'
 * numbers wrap.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sluice/kept.h>

#define STEPS       10000000
#define MESSAGE_MAX 48    /* bytes of a request or an answer */
#define ON_THE_WAY  24    /* segments in each direction */
#define CONNECTION  4000  /* requests of one connection */
#define STUCK       20000 /* steps without progress */

/* ---- messages: length, kind, number, then bytes that follow from the number ---- */

enum kind { REQUEST, ANSWERED, REFUSED };

static uint64_t random_state = 88172645463325252ULL;

static uint32_t any(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 32) % below;
}

static uint8_t byte_of(enum kind kind, uint32_t number, uint32_t at)
{
	return (uint8_t)((number * 2654435761u + at * 40503u + kind * 97u) >> 11);
}

static uint32_t make_message(uint8_t *out, enum kind kind, uint32_t number)
{
	uint32_t len = 6 + (number * 7u + kind * 13u) % (MESSAGE_MAX - 6);

	out[0] = (uint8_t)len;
	out[1] = (uint8_t)kind;
	memcpy(out + 2, &number, 4);
	for (uint32_t i = 6; i < len; i++)
		out[i] = byte_of(kind, number, i);
	return len;
}

static uint32_t number_of(const uint8_t *message)
{
	uint32_t number;

	memcpy(&number, message + 2, 4);
	return number;
}

static void assert_message(const uint8_t *message)
{
	uint8_t wanted[MESSAGE_MAX];
	uint32_t len = make_message(wanted, message[1], number_of(message));

	assert_int_equal(message[0], len);
	assert_memory_equal(message, wanted, len);
}

/* ---- TCP, as much of it as matters: one message on the way, nothing kept out of order ---- */

struct segment {
	uint32_t seq, ack, len;
	bool forged; /* the acknowledgement of a refused request */
	uint8_t data[MESSAGE_MAX];
};

struct way {
	struct segment at[ON_THE_WAY];
	unsigned count;
};

struct end {
	uint32_t una, nxt, rcv;
	uint8_t sent[MESSAGE_MAX]; /* the bytes from `una` on */
	uint8_t got[MESSAGE_MAX];  /* of the message that comes */
	uint32_t got_len;
	uint32_t number; /* of the request under way, or of the last one */
};

static struct {
	struct end client, server;
	struct way up, down; /* between the client and the hook */
	struct way in, out;  /* between the hook and the server: in order, without loss */
	/* the hook */
	struct sluice_kept kept;
	uint8_t reply[MESSAGE_MAX];
	uint32_t c_next, s_next, s_ack;
	bool under_way;       /* a response */
	uint32_t seen, whole; /* bytes of the request under way */
	uint32_t answered, refused, repeated, clamped;
	bool owes; /* the server has a request to answer */
} m;

static void put(struct way *way, struct segment s)
{
	if (!any(12) || way->count == ON_THE_WAY)
		return; /* lost */
	way->at[way->count++] = s;
	if (!any(20) && way->count < ON_THE_WAY)
		way->at[way->count++] = s;
}

static struct segment take(struct way *way)
{
	unsigned i = any(3) ? 0 : any(way->count);
	struct segment s = way->at[i];

	way->count--;
	memmove(&way->at[i], &way->at[i + 1], (way->count - i) * sizeof(s));
	if (s.len && !any(16))
		s.len = 1 + any(s.len); /* the network has split it, and lost the rest */
	return s;
}

/* On this host there is room for what the model sends. */
static void pass(struct way *way, const struct segment *s)
{
	assert_true(way->count < ON_THE_WAY);
	way->at[way->count++] = *s;
}

static struct segment next(struct way *way)
{
	struct segment s = way->at[0];

	memmove(&way->at[0], &way->at[1], --way->count * sizeof(s));
	return s;
}

static struct segment segment_of(const struct end *e, bool with_data)
{
	struct segment s = {.seq = with_data ? e->una : e->nxt, .ack = e->rcv};

	if (with_data) {
		s.len = e->nxt - e->una;
		memcpy(s.data, e->sent, s.len);
	}
	return s;
}

/* A segment reaches an end. Returns whether it wants an acknowledgement; *message: one is whole. */
static bool receive(struct end *e, const struct segment *s, bool *message)
{
	uint32_t skip = e->rcv - s->seq;

	/* Nobody acknowledges what was not sent, or sends what is far from what is expected. */
	assert_true((int32_t)(s->ack - e->nxt) <= 0);
	assert_true(skip + 4 * MESSAGE_MAX * ON_THE_WAY < 8 * MESSAGE_MAX * ON_THE_WAY);
	*message = false;
	if (!s->len && (int32_t)skip > 0)
		return (int32_t)skip == 1; /* RFC 9293 3.10.7.4; a probe wants an answer */
	if ((int32_t)(s->ack - e->una) > 0) {
		memmove(e->sent, e->sent + (s->ack - e->una), e->nxt - s->ack);
		e->una = s->ack;
	}
	if (!s->len)
		return false;
	if (skip < s->len) {
		assert_true(e->got_len + s->len - skip <= sizeof(e->got));
		memcpy(e->got + e->got_len, s->data + skip, s->len - skip);
		e->got_len += s->len - skip;
		e->rcv += s->len - skip;
		*message = e->got_len >= 6 && e->got_len == e->got[0];
	}
	return true;
}

static void send_message(struct end *e, enum kind kind)
{
	e->nxt = e->una + make_message(e->sent, kind, e->number);
}

/* ---- the hook ---- */

static void leave(const struct segment *from)
{
	struct segment s = *from;
	struct kept_numbers n = kept_to_client(&m.kept, s.seq, s.ack);

	if ((int32_t)(s.ack - m.s_ack) > 0)
		m.s_ack = s.ack;
	if ((int32_t)(s.seq + s.len - m.s_next) > 0) {
		m.s_next = s.seq + s.len;
		m.under_way = false; /* an answer is one segment */
	}
	s.seq = n.seq;
	s.ack = n.ack;
	put(&m.down, s);
}

static void answer_again(void)
{
	struct segment s = {.seq = m.kept.reply_at, .ack = kept_request_end(&m.kept)};

	s.len = m.reply[0];
	memcpy(s.data, m.reply, s.len);
	put(&m.down, s);
}

static void arrive(struct segment s)
{
	bool forged = s.forged;

	struct kept_numbers n;
	uint32_t client_seq = s.seq, client_ack = s.ack;

	if (m.kept.flags & SLUICE_KEPT_PENDING) {
		if (!kept_acknowledge(&m.kept, m.kept.flags, s.ack) &&
		    kept_repeats(&m.kept, s.ack, s.len)) {
			m.repeated++;
			answer_again();
			return;
		}
	}
	n = kept_to_server(&m.kept, s.seq, s.ack);
	m.clamped += m.kept.flags & SLUICE_KEPT_PENDING && n.seq == m.c_next && n.ack == m.s_next;
	s.seq = n.seq;
	s.ack = n.ack;
	if (s.len && s.seq == m.c_next && !m.seen && s.len == s.data[0] && !m.under_way &&
	    s.ack == m.s_next && m.s_ack == m.c_next && any(2)) {
		struct segment ack = {.seq = client_seq, .ack = client_ack, .forged = true};

		assert_message(s.data);
		make_message(m.reply, REFUSED, number_of(s.data));
		kept_refuse(&m.kept, client_seq, s.len, client_ack, m.reply[0]);
		answer_again();
		arrive(ack);
		return;
	}
	if ((s.len && (int32_t)(s.seq - m.c_next) > 0) || m.in.count > ON_THE_WAY / 2)
		return; /* before missing bytes, or too much */
	if (s.len && (int32_t)(s.seq + s.len - m.c_next) > 0) {
		if (!m.seen)
			m.whole = s.data[m.c_next - s.seq];
		m.seen += s.seq + s.len - m.c_next;
		m.c_next = s.seq + s.len;
		if (m.seen == m.whole) {
			m.under_way = true;
			m.seen = 0;
		}
	}
	s.forged = forged;
	pass(&m.in, &s);
}

/* ---- the ends ---- */

static void server_receives(const struct segment *s)
{
	bool message;
	bool wants = receive(&m.server, s, &message);

	if (s->forged) /* the request was refused since nothing else was on the way */
		assert_int_equal(m.server.una, m.server.nxt);
	if (message) {
		assert_message(m.server.got);
		assert_int_equal(m.server.got[1], REQUEST);
		/* Each request reaches the server once. */
		assert_true((int32_t)(number_of(m.server.got) - m.server.number) > 0);
		m.server.number = number_of(m.server.got);
		m.server.got_len = 0;
		m.owes = true;
	}
	if (wants) {
		struct segment ack = segment_of(&m.server, false);

		pass(&m.out, &ack);
	}
}

static void client_receives(const struct segment *s)
{
	bool message;
	bool wants = receive(&m.client, s, &message);

	if (message) {
		assert_message(m.client.got);
		assert_true(m.client.got[1] == ANSWERED || m.client.got[1] == REFUSED);
		assert_int_equal(number_of(m.client.got), m.client.number);
		if (m.client.got[1] == ANSWERED)
			m.answered++;
		else
			m.refused++;
		m.client.got_len = 0;
		assert_int_equal(m.client.una, m.client.nxt);
		m.client.number++;
		send_message(&m.client, REQUEST);
		put(&m.up, segment_of(&m.client, true));
	} else if (wants) {
		put(&m.up, segment_of(&m.client, false));
	}
}

static void connect_anew(void)
{
	uint32_t client = any(2) ? 0xffffff00u + any(0x200) : any(0xffffffffu),
		 server = any(2) ? 0xffffff00u + any(0x200) : any(0xffffffffu);

	memset(&m.client, 0, sizeof(m.client));
	memset(&m.server, 0, sizeof(m.server));
	memset(&m.kept, 0, sizeof(m.kept));
	m.up.count = m.down.count = m.in.count = m.out.count = 0;
	m.client.una = m.client.nxt = m.server.rcv = m.c_next = m.s_ack = client;
	m.server.una = m.server.nxt = m.client.rcv = m.s_next = server;
	m.under_way = m.owes = false;
	m.seen = m.whole = 0;
	m.client.number = 1;
	send_message(&m.client, REQUEST);
	put(&m.up, segment_of(&m.client, true));
}

/* A segment without data; a probe is one before the next byte (RFC 9293 3.8.4). */
static struct segment bare(const struct end *e)
{
	struct segment s = segment_of(e, false);

	if (e->una == e->nxt && !any(2))
		s.seq--;
	return s;
}

static void both_ends_see_their_own_stream(void **state)
{
	uint32_t connections = 0, number = 0;
	int progress = 0;
	struct segment s;

	for (int i = 0; i < STEPS; i++) {
		if (!connections || m.client.number > CONNECTION) {
			connect_anew();
			connections++;
		}
		if (m.client.number != number) {
			number = m.client.number;
			progress = i;
		}
		assert_true(i - progress < STUCK);
		switch (any(12)) {
		case 0:
		case 1:
		case 2:
			if (m.up.count)
				arrive(take(&m.up));
			break;
		case 3:
		case 4:
		case 5:
			if (m.down.count) {
				s = take(&m.down);
				client_receives(&s);
			}
			break;
		case 6:
		case 7:
			if (m.in.count && m.out.count < ON_THE_WAY / 2) {
				s = next(&m.in);
				server_receives(&s);
			}
			break;
		case 8:
		case 9:
			if (m.out.count) {
				s = next(&m.out);
				leave(&s);
			}
			break;
		case 10: /* the server answers, repeats its answer, or says nothing new */
			if (m.out.count > ON_THE_WAY / 2)
				break;
			if (m.owes && m.server.una == m.server.nxt) {
				send_message(&m.server, ANSWERED);
				m.owes = false;
			} else if (any(4)) {
				break;
			}
			s = m.server.una == m.server.nxt ? bare(&m.server)
							 : segment_of(&m.server, true);
			pass(&m.out, &s);
			break;
		case 11: /* the client repeats its request, or says nothing new */
			if (!any(4))
				put(&m.up, m.client.una == m.client.nxt
						   ? bare(&m.client)
						   : segment_of(&m.client, true));
			else if (!any(4))
				put(&m.up, bare(&m.client));
			break;
		}
	}
	/* All that can happen has happened often. */
	assert_true(connections > 10);
	assert_true(m.answered > 100000);
	assert_true(m.refused > 100000);
	assert_true(m.repeated > 10000);
	assert_true(m.clamped > 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ends_see_their_own_stream),
	};

	return cmocka_run_group_tests_name("kept", tests, NULL, NULL);
}
