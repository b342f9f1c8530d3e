/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads a capture of real programs and finds its exchanges: the oracle of test_replay.c. It shares
 * no code with the programs under test. It first reassembles both byte streams of each connection,
 * and then reads them from beginning to end: no state between segments, JSON by jansson.
 *
 * Where the capture cut a packet short, or lost one that was acknowledged later, the bytes are
 * those of a prompt: they repeat the five before them ("word "), and at the end of a stream they
 * end its JSON.
 */
#ifndef SLUICE_CAPTURE_H
#define SLUICE_CAPTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>
#include <jansson.h>

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define PSH 0x08
#define ACK 0x10

#define WIRE_PACKETS_MAX   512
#define WIRE_CONNS_MAX     8
#define WIRE_EXCHANGES_MAX 8
#define WIRE_SEGMENT_MAX   65483 /* bytes of payload that an IPv4 packet with timestamps holds */

enum wire_side { CLIENT, SERVER };

struct wire_packet {
	uint64_t time_ns; /* from the capture's first packet */
	enum wire_side side;
	unsigned conn;
	uint32_t seq, ack;
	uint8_t flags;
	uint8_t tcp[60]; /* the header with its options */
	size_t tcp_len;
	size_t at, len; /* of its payload in the stream */
};

struct wire_stream {
	uint8_t *bytes; /* one zero byte follows */
	bool *known;
	size_t len;
	uint32_t first; /* sequence number of the first byte */
};

/* One request and its response. -1 in a packet's number: there is no such packet. */
struct wire_exchange {
	char method[16];
	char model[96];
	size_t bytes;     /* of the request, head and body */
	int requested_at; /* the packet with the request's last byte */
	int status;       /* 0: no final response */
	bool streamed;
	int body_at;     /* … with the response's first byte of body */
	int done_at;     /* … with the response's last byte, or the end of the connection */
	unsigned events; /* with data */
	unsigned generated;
	int first_at, last_at; /* … with the first and the last generated event */
};

struct wire_conn {
	uint16_t client_port;
	struct wire_stream stream[2];
	struct wire_exchange exchanges[WIRE_EXCHANGES_MAX];
	unsigned count;
	int proven_at; /* the packet that ends the handshake */
	int over_at;   /* … after which no response can go on: the server's FIN, or a RST */
	int gone_at;   /* … after which there is no connection: the second FIN, or a RST */
};

struct capture {
	struct wire_packet packets[WIRE_PACKETS_MAX];
	unsigned count;
	struct wire_conn conns[WIRE_CONNS_MAX];
	unsigned conn_count;
};

static inline uint16_t be16_at(const uint8_t *p)
{
	return p[0] << 8 | p[1];
}

static inline uint32_t be32_at(const uint8_t *p)
{
	return (uint32_t)be16_at(p) << 16 | be16_at(p + 2);
}

/* ---- from the file to packets and streams ---- */

static inline unsigned wire_conn_of(struct capture *c, uint16_t client_port, bool syn)
{
	unsigned i;

	for (i = 0; i < c->conn_count; i++)
		if (c->conns[i].client_port == client_port)
			break;
	assert_int_equal(i == c->conn_count,
			 syn); /* no port twice, no connection without its begin */
	if (syn) {
		assert_true(i < WIRE_CONNS_MAX);
		c->conns[i].client_port = client_port;
		c->conn_count++;
	}
	return i;
}

/* Copies a packet's bytes, as many as the capture has, into its stream. */
static inline void wire_keep(struct wire_stream *s, const struct wire_packet *p,
			     const uint8_t *bytes, size_t captured)
{
	size_t need = p->at + p->len;

	if (need > s->len) {
		s->bytes = realloc(s->bytes, need + 1);
		s->known = realloc(s->known, need);
		assert_non_null(s->bytes);
		assert_non_null(s->known);
		memset(s->known + s->len, 0, need - s->len);
		s->bytes[need] = 0;
		s->len = need;
	}
	if (captured > p->len)
		captured = p->len;
	memcpy(s->bytes + p->at, bytes, captured);
	memset(s->known + p->at, 1, captured);
}

static inline void wire_add(struct capture *c, const struct wire_packet *p)
{
	assert_true(c->count < WIRE_PACKETS_MAX);
	c->packets[c->count++] = *p;
}

/*
 * The bytes that `side` must have sent before the other could acknowledge stream bytes up to
 * `upto`.
 */
static inline void wire_add_lost(struct capture *c, unsigned conn, enum wire_side side, size_t upto)
{
	struct wire_stream *s = &c->conns[conn].stream[side];
	struct wire_packet *last = NULL, lost;

	for (unsigned i = 0; i < c->count; i++)
		if (c->packets[i].conn == conn && c->packets[i].side == side)
			last = &c->packets[i];
	if (!last || last->flags & FIN || upto <= s->len)
		return;
	lost = *last;
	while (s->len < upto) {
		lost.at = s->len;
		lost.len = upto - s->len < WIRE_SEGMENT_MAX ? upto - s->len : WIRE_SEGMENT_MAX;
		lost.seq = s->first + lost.at;
		wire_keep(s, &lost, NULL, 0);
		wire_add(c, &lost);
	}
}

static inline void wire_fill(struct wire_stream *s)
{
	static const char end[] = "\"}]}";
	bool cut = s->len && !s->known[s->len - 1];

	for (size_t i = 0; i < s->len; i++) {
		if (s->known[i])
			continue;
		assert_true(i >= 5);
		s->bytes[i] = s->bytes[i - 5];
	}
	if (cut)
		memcpy(s->bytes + s->len - strlen(end), end, strlen(end));
}

/* One Ethernet frame of `captured` bytes, IPv4 as all captures are. */
static inline void wire_read(struct capture *c, const uint8_t *frame, size_t captured,
			     uint64_t time_ns, uint16_t server_port)
{
	const uint8_t *ip = frame + 14, *tcp = ip + (ip[0] & 15) * 4, *payload;
	struct wire_packet p = {.time_ns = time_ns};
	struct wire_conn *conn;

	assert_true(captured >= 54);
	assert_int_equal(be16_at(frame + 12), 0x800);
	assert_int_equal(ip[9], 6);
	p.side = be16_at(tcp) == server_port ? SERVER : CLIENT;
	assert_int_equal(be16_at(p.side == SERVER ? tcp : tcp + 2), server_port);
	p.seq = be32_at(tcp + 4);
	p.ack = be32_at(tcp + 8);
	p.flags = tcp[13];
	p.tcp_len = (tcp[12] >> 4) * 4;
	payload = tcp + p.tcp_len;
	assert_true(payload <= frame + captured);
	memcpy(p.tcp, tcp, p.tcp_len);
	p.conn = wire_conn_of(c, be16_at(p.side == SERVER ? tcp + 2 : tcp),
			      (p.flags & (SYN | ACK)) == SYN);
	conn = &c->conns[p.conn];
	p.len = be16_at(ip + 2) - (payload - ip);
	if (p.flags & SYN) {
		conn->stream[p.side].first = p.seq + 1;
		assert_int_equal(p.len, 0);
		wire_add(c, &p);
		return;
	}
	if (p.flags & ACK && p.side == SERVER && !(p.flags & FIN))
		wire_add_lost(c, p.conn, CLIENT, p.ack - conn->stream[CLIENT].first);
	p.at = p.len ? p.seq - conn->stream[p.side].first : 0;
	if (p.len)
		wire_keep(&conn->stream[p.side], &p, payload, captured - (payload - frame));
	wire_add(c, &p);
}

/* ---- from streams to exchanges ---- */

/* The packet that first brought byte `at` of a stream. */
static inline int wire_brought(const struct capture *c, unsigned conn, enum wire_side side,
			       size_t at)
{
	for (unsigned i = 0; i < c->count; i++) {
		const struct wire_packet *p = &c->packets[i];

		if (p->conn == conn && p->side == side && p->at <= at && at < p->at + p->len)
			return i;
	}
	return -1;
}

/* The value of a header in [head, end), or NULL; it ends at its line's CR. */
static inline const char *wire_header(const char *head, const char *end, const char *name)
{
	size_t len = strlen(name);

	for (const char *line = head; line < end; line = strstr(line, "\r\n") + 2)
		if (!strncasecmp(line, name, len) && line[len] == ':')
			return line + len + 1 + strspn(line + len + 1, " ");
	return NULL;
}

static inline bool wire_header_is(const char *head, const char *end, const char *name,
				  const char *value)
{
	const char *is = wire_header(head, end, name);

	return is && !strncasecmp(is, value, strlen(value));
}

/* A message's body without its framing, and the position of each byte in the stream. */
struct wire_body {
	char *bytes;
	size_t *at;
	size_t len;
	size_t end; /* of the message, in the stream */
	bool whole;
	bool to_close; /* the body ends where its stream does */
};

static inline void wire_body_take(struct wire_body *b, const char *text, size_t at, size_t n)
{
	b->bytes = realloc(b->bytes, b->len + n + 1);
	b->at = realloc(b->at, (b->len + n + 1) * sizeof(*b->at));
	assert_non_null(b->bytes);
	assert_non_null(b->at);
	memcpy(b->bytes + b->len, text + at, n);
	for (size_t i = 0; i < n; i++)
		b->at[b->len + i] = at + i;
	b->len += n;
	b->bytes[b->len] = 0;
}

/*
 * Reads the body after a head that ends at `at` (RFC 9112 6.3). With `bare` there is none, whatever
 * the head says.
 */
static inline void wire_body_read(struct wire_body *b, const char *text, size_t len, size_t head,
				  size_t at, bool response, bool bare)
{
	const char *length = wire_header(text + head, text + at - 2, "content-length");

	memset(b, 0, sizeof(*b));
	wire_body_take(b, text, at, 0);
	if (bare) {
		b->whole = true;
	} else if (wire_header_is(text + head, text + at - 2, "transfer-encoding", "chunked")) {
		while (at < len) {
			const char *line = strstr(text + at, "\r\n");
			size_t n = strtoul(text + at, NULL, 16);

			if (!line)
				break;
			at = line + 2 - text;
			if (!n) { /* no capture has trailers */
				b->whole = at + 2 <= len;
				at += 2;
				break;
			}
			wire_body_take(b, text, at, at + n <= len ? n : len - at);
			at += n + 2;
		}
	} else if (length) {
		size_t n = strtoul(length, NULL, 10);

		b->whole = at + n <= len;
		wire_body_take(b, text, at, b->whole ? n : len - at);
		at += n;
	} else {
		if (response)
			wire_body_take(b, text, at, len - at);
		at = response ? len : at;
		b->to_close = response;
		b->whole = true;
	}
	b->end = at;
}

static inline void wire_body_free(struct wire_body *b)
{
	free(b->bytes);
	free(b->at);
}

static inline bool json_says_something(const json_t *v)
{
	return json_is_string(v)   ? json_string_length(v) > 0
	       : json_is_array(v)  ? json_array_size(v) > 0
	       : json_is_object(v) ? json_object_size(v) > 0
				   : false;
}

/* Whether the data of one event is generated output: text in a delta. */
static inline bool wire_generated(const char *data)
{
	static const char *const text[] = {"content", "tool_calls", "function_call",
					   "reasoning_content", "reasoning"};
	json_t *json = json_loads(data, 0, NULL), *choice;
	bool generated = false;
	size_t i;

	json_array_foreach(json_object_get(json, "choices"), i, choice)
	{
		json_t *delta = json_object_get(choice, "delta");

		for (size_t k = 0; k < sizeof(text) / sizeof(text[0]); k++)
			generated |= json_says_something(json_object_get(delta, text[k]));
	}
	json_decref(json);
	return generated;
}

/* Server-sent events: lines that end in LF, an event that ends in an empty one. */
static inline void wire_events_read(const struct capture *c, unsigned conn, struct wire_exchange *e,
				    const struct wire_body *b)
{
	char *data = calloc(1, b->len + 1);
	size_t begin = 0;

	assert_non_null(data);
	for (size_t at = 0; at < b->len;) {
		const char *line = b->bytes + at, *lf = memchr(line, '\n', b->len - at);
		int n;

		if (!lf)
			break;
		n = lf - line;
		if (n && line[n - 1] == '\r')
			n--;
		if (!*data)
			begin = at;
		if (n > 5 && !strncmp(line, "data:", 5)) {
			snprintf(data + strlen(data), b->len + 1 - strlen(data), "%.*s",
				 n - 5 - (line[5] == ' '), line + 5 + (line[5] == ' '));
		} else if (!n) {
			e->events += !!*data;
			if (*data && wire_generated(data)) {
				int from = wire_brought(c, conn, SERVER, b->at[begin]);
				int to = wire_brought(c, conn, SERVER, b->at[at - 2]);

				/* No event is in two packets: its time is its packet's. */
				assert_int_equal(from, to);
				if (!e->generated++)
					e->first_at = from;
				e->last_at = from;
			}
			*data = 0;
		}
		at = lf + 1 - b->bytes;
	}
	free(data);
}

static inline void wire_requests_read(struct capture *c, unsigned n)
{
	struct wire_conn *conn = &c->conns[n];
	const struct wire_stream *s = &conn->stream[CLIENT];
	const char *text = (const char *)s->bytes, *end;

	for (size_t at = 0; at < s->len;) {
		struct wire_exchange *e = &conn->exchanges[conn->count];
		struct wire_body b;
		json_t *json;

		assert_true(conn->count < WIRE_EXCHANGES_MAX);
		end = strstr(text + at, "\r\n\r\n");
		if (!end)
			return;
		wire_body_read(&b, text, s->len, at, end + 4 - text, false, false);
		*e = (struct wire_exchange){
			.body_at = -1, .done_at = -1, .first_at = -1, .last_at = -1};
		sscanf(text + at, "%15s", e->method);
		json = json_loadb(b.bytes, b.len, 0, NULL);
		if (json_string_value(json_object_get(json, "model")))
			snprintf(e->model, sizeof(e->model), "%s",
				 json_string_value(json_object_get(json, "model")));
		json_decref(json);
		e->bytes = b.end - at;
		e->requested_at = wire_brought(c, n, CLIENT, b.end - 1);
		at = b.end;
		if (b.whole)
			conn->count++;
		wire_body_free(&b);
	}
}

static inline void wire_responses_read(struct capture *c, unsigned n)
{
	struct wire_conn *conn = &c->conns[n];
	const struct wire_stream *s = &conn->stream[SERVER];
	const char *text = (const char *)s->bytes, *end;
	unsigned i = 0;

	for (size_t at = 0; at < s->len;) {
		struct wire_exchange *e = &conn->exchanges[i];
		struct wire_body b;
		int status;

		end = strstr(text + at, "\r\n\r\n");
		assert_non_null(end);
		assert_int_equal(sscanf(text + at, "HTTP/1.%*1u %d", &status), 1);
		if (status < 200) { /* 100 Continue: the response is still to come */
			at = end + 4 - text;
			continue;
		}
		assert_true(i < conn->count);
		wire_body_read(&b, text, s->len, at, end + 4 - text, true,
			       status == 204 || status == 304 || !strcmp(e->method, "HEAD"));
		e->status = status;
		e->streamed =
			wire_header_is(text + at, end + 2, "content-type", "text/event-stream");
		if (b.len)
			e->body_at = wire_brought(c, n, SERVER, b.at[0]);
		if (b.whole && !b.to_close)
			e->done_at = wire_brought(c, n, SERVER, b.end - 1);
		if (e->streamed)
			wire_events_read(c, n, e, &b);
		at = b.end;
		wire_body_free(&b);
		i++;
	}
}

static inline void wire_lives_read(struct capture *c, unsigned n)
{
	struct wire_conn *conn = &c->conns[n];
	bool fin[2] = {false, false};

	conn->proven_at = conn->over_at = conn->gone_at = -1;
	for (unsigned i = 0; i < c->count; i++) {
		const struct wire_packet *p = &c->packets[i];

		if (p->conn != n || conn->gone_at >= 0)
			continue;
		if (conn->proven_at < 0 && p->side == CLIENT && p->flags & ACK)
			conn->proven_at = i;
		fin[p->side] |= p->flags & FIN;
		if (conn->over_at < 0 && (fin[SERVER] || p->flags & RST))
			conn->over_at = i;
		if ((fin[CLIENT] && fin[SERVER]) || p->flags & RST)
			conn->gone_at = i;
	}
	assert_true(conn->proven_at >= 0 && conn->over_at >= 0 && conn->gone_at >= 0);
	for (unsigned i = 0; i < conn->count; i++) {
		struct wire_exchange *e = &conn->exchanges[i];

		if (e->done_at < 0 || e->done_at > conn->over_at)
			e->done_at = conn->over_at;
	}
}

/*
 * Reads the capture in a file: the exchanges of the service at `server_port`. Free with
 * capture_close().
 */
static inline struct capture *capture_open(const char *path, uint16_t server_port)
{
	struct capture *c = calloc(1, sizeof(*c));
	uint8_t *frame = malloc(1 << 18);
	FILE *f = fopen(path, "rb");
	uint32_t file[6], record[4];
	uint64_t begin = 0, time_ns;

	if (!f)
		fail_msg("%s: cannot be opened (run from the top of the tree)", path);
	assert_non_null(c);
	assert_non_null(frame);
	assert_int_equal(fread(file, sizeof(file), 1, f), 1);
	assert_int_equal(file[0], 0xa1b2c3d4); /* microseconds, in host order */
	assert_int_equal(file[5], 1);          /* Ethernet, as loopback says it is */
	while (fread(record, sizeof(record), 1, f) == 1) {
		assert_true(record[2] <= 1 << 18);
		assert_int_equal(fread(frame, record[2], 1, f), 1);
		time_ns = (record[0] * 1000000ULL + record[1]) * 1000;
		if (!begin)
			begin = time_ns;
		wire_read(c, frame, record[2], time_ns - begin, server_port);
	}
	fclose(f);
	free(frame);
	for (unsigned i = 0; i < c->conn_count; i++) {
		wire_fill(&c->conns[i].stream[CLIENT]);
		wire_fill(&c->conns[i].stream[SERVER]);
		wire_requests_read(c, i);
		wire_responses_read(c, i);
		wire_lives_read(c, i);
	}
	return c;
}

static inline void capture_close(struct capture *c)
{
	for (unsigned i = 0; i < c->conn_count; i++) {
		for (int side = CLIENT; side <= SERVER; side++) {
			free(c->conns[i].stream[side].bytes);
			free(c->conns[i].stream[side].known);
		}
	}
	free(c);
}

/* Nanoseconds from packet a to packet b. */
static inline uint64_t wire_between(const struct capture *c, int a, int b)
{
	assert_true(a >= 0 && b >= 0);
	return c->packets[b].time_ns - c->packets[a].time_ns;
}

#endif
