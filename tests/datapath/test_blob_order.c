/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Segments of a request with images or files that come out of order. Those inside a blob pass, and
 * the request counts as it does in order. A client that hides something in the bytes that are
 * missing gains nothing.
 */
#include "blobs.h"

#define PIECES 6
#define SENT   9   /* pieces that are sent, with copies */
#define FILE_N 700 /* bytes of a blob, in a few segments */
#define NAME   BEGIN "\"model\"\r\n\r\n"

enum bytes { ANY, BASE64, ESCAPES, DASHES };

static uint64_t drawn = 1;

static uint32_t draw(uint32_t below)
{
	drawn = drawn * 6364136223846793005ULL + 1442695040888963407ULL;
	return (drawn >> 33) % below;
}

static void fill(char *at, size_t n, enum bytes kind)
{
	static const char base64[] = "ABCDEFGHabcdefgh01234567+/+/+/+/";
	static const char *const escapes[] = {"\\/", "\\u002b", "\\u002B", "A"};
	static const char dashes[] = "\r\n\r\n----7d9A";

	for (size_t i = 0; i < n;) {
		const char *e = kind == ESCAPES ? escapes[draw(4)] : "A";

		if (kind == ESCAPES && strlen(e) <= n - i) {
			memcpy(at + i, e, strlen(e));
			i += strlen(e);
			continue;
		}
		at[i++] = kind == ANY      ? (char)draw(256)
			  : kind == BASE64 ? base64[draw(32)]
			  : kind == DASHES ? dashes[draw(sizeof(dashes) - 1)]
					   : 'A';
	}
}

/* Models that a rule names, so that a request without a readable name is judged for each. */
static void begin_strict(void)
{
	begin(0);
	set_named((struct sluice_named_models){.count = 2, .id = {LLAMA, QWEN}});
	set_flag(QWEN, (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT});
}

static struct sluice_conn conn_of(const struct client *c)
{
	struct sluice_conn_key key = this_key(false, HTTP_PORT);
	struct sluice_conn conn;

	key.client_port = htons(c->port);
	assert_int_equal(bpf_map_lookup_elem(fd_of(conns), &key, &conn), 0);
	return conn;
}

/* Sends request[at[i]] to request[at[i + 1]] for each i, in this order; what is dropped comes
 * again, as TCP sends it. */
static void send_pieces(const struct client *c, const char *request, const size_t *at,
			const unsigned *order, unsigned n)
{
	unsigned left[SENT], again = 0;

	for (unsigned i = 0; i < n; i++) {
		size_t from = at[order[i]];

		if (send_at(c, c->at + from, PSH | ACK, request + from, at[order[i] + 1] - from) !=
		    THEN_UNSPEC)
			left[again++] = order[i];
	}
	assert_true(again < n);
	if (again) {
		for (unsigned i = 1; i < again; i++)
			for (unsigned k = i; k && left[k] < left[k - 1]; k--) {
				unsigned x = left[k];

				left[k] = left[k - 1];
				left[k - 1] = x;
			}
		send_pieces(c, request, at, left, again);
	}
}

static bool next_order(unsigned *order, unsigned n)
{
	unsigned i = n - 1, k = n - 1, x;

	while (i && order[i - 1] > order[i])
		i--;
	if (!i)
		return false;
	while (order[k] < order[i - 1])
		k--;
	x = order[i - 1], order[i - 1] = order[k], order[k] = x;
	for (k = n - 1; i < k; i++, k--)
		x = order[i], order[i] = order[k], order[k] = x;
	return true;
}

/* What was read of two requests. */
static bool same(const struct sluice_conn *a, const struct sluice_conn *b)
{
	const struct http1_request *r = &a->request, *q = &b->request;

	return a->request_bytes == b->request_bytes && r->frame.left == q->frame.left &&
	       !memcmp(r->json.name, q->json.name, sizeof(r->json.name)) &&
	       r->json.flags == q->json.flags && r->json.state == q->json.state &&
	       r->json.stream == q->json.stream && r->json.blob == q->json.blob &&
	       r->json.blobs == q->json.blobs && r->json.blob_bytes == q->json.blob_bytes &&
	       r->form.state == q->form.state && r->form.matched == q->form.matched &&
	       r->form.last == q->form.last && r->form.flags == q->form.flags &&
	       !memcmp(a->reading, b->reading, sizeof(a->reading));
}

static const struct {
	struct body body;
	enum bytes kind;
} bodies[] = {
	{{MODEL WAV, "\r\n" WAV "RIFF\r\n" LAST, true, FORM}, ANY},
	{{WAV, "\r\n" MODEL LAST, true, FORM}, ANY},
	{{MESSAGES "\"image_url\":{\"url\":\"data:image/png;base64,", "\"}}]}]}", true}, BASE64},
	{{"{\"images\":[\"", "\",\"AAAA\"],\"stream\":true,\"model\":\"llama\"}", true}, BASE64},
	{{MESSAGES "\"source\":{\"data\":\"", "\"}}]}]}", true}, ESCAPES},
};

static const unsigned straight[PIECES] = {0, 1, 2, 3, 4, 5};

struct play {
	struct sluice_conn read; /* before the last piece */
	int64_t waiting;         /* bytes, at the end */
};

/* Plays a request in pieces that begin at at[]: `n` of them in this order, among which are all but
 * the last one, and then that one. It is admitted. */
static struct play play_order(const char *request, const size_t *at, const unsigned *order,
			      unsigned n)
{
	struct client c;
	struct play p;

	begin_strict();
	c = connect_anew();
	send_pieces(&c, request, at, order, n);
	p.read = conn_of(&c);
	if (p.read.request.json.flags & JSON_MODEL_GAP) /* else it would be refused */
		set_flag(QWEN, (struct sluice_model_flag){.allow = 1});
	send_pieces(&c, request, at, straight + PIECES - 1, 1);
	p.waiting = get_state(LLAMA).waiting_bytes;
	assert_int_equal(requests_of(HTTP_ID, LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE),
			 1);
	return p;
}

/* invariant 7 */
static void pieces_of_a_blob_in_any_order_are_read_as_in_order(void **state)
{
	for (size_t b = 0; b < sizeof(bodies) / sizeof(bodies[0]); b++) {
		const struct body *body = &bodies[b].body;
		size_t total, end, at[PIECES + 1];
		char *request = make_request(body, FILE_N, &total);

		end = total - strlen(body->end);
		for (size_t cut = 0; cut < 12; cut += 3) {
			unsigned order[PIECES] = {0, 1, 2, 3, 4, 5};
			struct play in_order, p;

			fill(request + end - FILE_N, FILE_N, bodies[b].kind);
			at[0] = 0;
			for (size_t i = 1; i < PIECES; i++)
				at[i] = end - FILE_N - 6 + cut + (i - 1) * 170;
			at[PIECES - 1] = end + 1 + cut;
			at[PIECES] = total;
			in_order = play_order(request, at, straight, PIECES - 1);
			do {
				p = play_order(request, at, order, PIECES - 1);
				if (!same(&p.read, &in_order.read) || p.waiting != in_order.waiting)
					fail_msg("body %zu, cut %zu, order %u %u %u %u", b, cut,
						 order[1], order[2], order[3], order[4]);
			} while (next_order(order + 1, PIECES - 2));
		}
		free(request);
	}
}

/*
 * Pieces of any length in any order, some more than once, and a file that is full of beginnings of
 * delimiters. If missing bytes end in one that the early ones may go on with, the request is
 * unreadable. Else it is read as in order.
 */
static void random_pieces_of_a_blob_are_read_as_in_order_or_are_unreadable(void **state)
{
	static const struct body file = {WAV, "\r\n" MODEL LAST, true, FORM};
	size_t total, at[PIECES + 1];
	unsigned unreadable = 0;
	char *request = make_request(&file, FILE_N, &total);
	size_t end = total - strlen(file.end);
	const unsigned plays = 1000;

	for (unsigned i = 0; i < plays; i++) {
		unsigned order[SENT] = {0, 1, 2, 3, 4};
		struct play in_order, p;

		fill(request + end - FILE_N, FILE_N, DASHES);
		at[0] = 0;
		at[1] = end - FILE_N + draw(3);
		for (size_t k = 2; k < PIECES; k++)
			at[k] = at[k - 1] + 1 + draw((end + 9 - at[k - 1]) / (PIECES - k));
		at[PIECES] = total;
		for (unsigned k = PIECES - 1; k < SENT; k++)
			order[k] = draw(PIECES - 1);
		for (unsigned k = SENT - 1; k > 1; k--) {
			unsigned other = 1 + draw(k), x = order[k];

			order[k] = order[other];
			order[other] = x;
		}
		in_order = play_order(request, at, straight, PIECES - 1);
		p = play_order(request, at, order, SENT);
		if (p.read.request.json.flags & JSON_MODEL_GAP) {
			unreadable++;
			assert_int_equal(p.waiting, (int64_t)(WAITING + total));
		} else if (!same(&p.read, &in_order.read) || p.waiting != in_order.waiting) {
			fail_msg("play %u of these draws", i);
		}
	}
	assert_true(unreadable < plays / 10);
	free(request);
}

/* A request in four parts, of which the third one comes before the second one. */
struct hiding {
	const char *what, *begin, *hole, *early, *end, *type;
	bool drops; /* the early part is sent again after the second one */
};

#define IMAGE MESSAGES "\"image_url\":{\"url\":\"AAAAAAAA"
#define FILE_ MODEL WAV "RIFFRIFF"
#define TAIL  "\r\n" LAST
#define X8    "AAAAAAAA"

/* Sends it, and its early part once more if that is dropped. Returns whether its end passed. */
static bool send_hiding(const struct hiding *h, size_t *total)
{
	const size_t begin_n = strlen(h->begin), hole = strlen(h->hole), early = strlen(h->early),
		     end = strlen(h->end);
	static char request[4000];
	struct client c = connect_anew();
	size_t head =
		sprintf(request, HEAD "Content-Type: %s\r\nContent-Length: %zu\r\n\r\n%s%s%s%s",
			h->type ? h->type : FORM, begin_n + hole + early + end, h->begin, h->hole,
			h->early, h->end) -
		hole - early - end;
	int then;

	*total = head + hole + early + end;
	assert_int_equal(send_at(&c, c.at, PSH | ACK, request, head), THEN_UNSPEC);
	then = send_at(&c, c.at + head + hole, PSH | ACK, request + head + hole, early);
	if (then != (h->drops ? TC_ACT_SHOT : THEN_UNSPEC))
		fail_msg("%s: its early part %s", h->what, outcome_text(then));
	if (send_at(&c, c.at + head, PSH | ACK, request + head, hole) != THEN_UNSPEC)
		return false;
	if (h->drops &&
	    send_at(&c, c.at + head + hole, PSH | ACK, request + head + hole, early) != THEN_UNSPEC)
		return false;
	return !end || send_at(&c, c.at + *total - end, PSH | ACK, request + *total - end, end) ==
			       THEN_UNSPEC;
}

/* invariants 1 and 7 */
static void what_missing_bytes_hide_makes_a_request_unreadable(void **state)
{
	static const struct hiding rows[] = {
		{"another model", FILE_, "RIFF\r\n" NAME, "qwen-or-any", TAIL, .type = FORM},
		{"the rest of a delimiter", FILE_, "RIFF\r\n-----",
		 "--7d9\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nqwen", TAIL},
		{"all but its first dash", FILE_, "RIFF\r\n-",
		 "------7d9\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nqwen", TAIL},
		{"text in a field", FILE_, "RIFF\r\n" BEGIN "\"prompt\"\r\n\r\n",
		 "a long prompt, which is no file", TAIL},
		{"a header", FILE_, "RIFF\r\n-------7d9\r\n",
		 "Content-Disposition: form-data; name=\"model\"\r\n\r\nqwen", TAIL},
		{"text in an object", IMAGE, "A\"}},{\"text\":\"", X8 X8, "\"}]}]}", JSON},
		{"a model in an object", IMAGE, "A\"}}]}],\"model\":\"", "qwen" X8, "\"}", JSON},
		{"a letter of an escape", IMAGE, "A\\", "n" X8, "\"}}]}]}", JSON},
		{"digits of an escape", IMAGE, "A\\u00", "41" X8, "\"}}]}]}", JSON},
		{"a character of no blob", IMAGE, "A A", X8, "\"}}]}]}", JSON},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sluice_service service;
		size_t total;

		/* It is judged for the models that rules name … */
		begin_strict();
		if (send_hiding(&rows[i], &total))
			fail_msg("%s passed", rows[i].what);
		assert_int_equal(w.refusal_count, 1);
		assert_int_equal(w.refusals[0].reason, SLUICE_REASON_TTFT);

		/* … and counts for all of its bytes. */
		begin_strict();
		service = http_service();
		service.blob_bytes = 4096;
		service.unnamed_default = 1;
		set_both(HTTP_PORT, service);
		if (!send_hiding(&rows[i], &total))
			fail_msg("%s is refused", rows[i].what);
		if (get_state(LLAMA).waiting_bytes != (int64_t)(WAITING + total))
			fail_msg("%s counts for %lld of %zu bytes", rows[i].what,
				 (long long)get_state(LLAMA).waiting_bytes - WAITING, total);
	}
}

static void an_early_segment_passes_if_all_of_it_is_of_a_blob(void **state)
{
	static const struct hiding rows[] = {
		{"all of it", FILE_, "RIFF", "RIFF\r\n-------7d8\r\n", TAIL},
		{"after a break", FILE_, "RIFF\r\n", "--------", TAIL},
		{"and after a dash", FILE_, "RIFF\r\n-", "\r\n-RIFF-", TAIL},
		{"after the end of the form", FILE_, "RIFF" TAIL, X8, "RIFF"},
		{"of an object", IMAGE, "A", X8 "\\/A", "\"}}]}]}", JSON},
		{"in an escape", IMAGE, "A\\", "/" X8, "\"}}]}]}", JSON},
		{"in a long one", IMAGE, "A\\u0", "02B" X8, "\"}}]}]}", JSON},
		{"not a delimiter", FILE_, "RIFF", "RIFF" TAIL "RIFF", TAIL, .drops = true},
		{"nor the beginning of one", FILE_, "RIFF", X8 "\r\n-", TAIL, .drops = true},
		{"not its rest", FILE_, "RIFF\r\n", LAST "RIFF", TAIL, .drops = true},
		{"not the quote", IMAGE, "A", X8 "\"", "}}]}]}", JSON, .drops = true},
		{"not half an escape", IMAGE, "A", X8 "\\u0", "02b\"}}]}]}", JSON, .drops = true},
		{"not text", IMAGE, "A", X8 " ", "\"}}]}]}", JSON, .drops = true},
		{"not a few bytes", IMAGE, "A", "AAAAAAA", "\"}}]}]}", JSON, .drops = true},
		{"not the last byte of a body", FILE_, "RIFF", X8, "", .drops = true},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t total;

		begin_strict();
		if (!*rows[i].end) /* a form without its end is unreadable */
			set_flag(QWEN, (struct sluice_model_flag){.allow = 1});
		if (!send_hiding(&rows[i], &total))
			fail_msg("%s: it is refused", rows[i].what);
	}
}

static void a_delimiter_in_two_early_segments_is_none_of_a_file(void **state)
{
	static const char head[] =
		HEAD "Content-Type: " FORM "\r\nContent-Length: 3000\r\n\r\n" FILE_;
	static const char *const breaks[] = {"\r\n", "\n", "\r"};

	for (size_t i = 0; i < sizeof(breaks) / sizeof(breaks[0]); i++) {
		struct client c;
		char early[20];
		size_t n = sprintf(early, "RIFFRIFF%s", breaks[i]);

		begin_strict();
		c = connect_anew();
		assert_int_equal(send_at(&c, c.at, PSH | ACK, head, strlen(head)), THEN_UNSPEC);
		c.at += strlen(head) + 8;
		assert_int_equal(send_at(&c, c.at, PSH | ACK, early, n), THEN_UNSPEC);
		assert_int_equal(send_at(&c, c.at + n, PSH | ACK, LAST, strlen(LAST)), TC_ACT_SHOT);
		assert_int_equal(send_at(&c, c.at + n, PSH | ACK, X8, strlen(X8)), THEN_UNSPEC);
	}
}

#define CUT_BODY IMAGE "BBBBBBBBCCCCCCCCDDDDDDDD\"}}]}]}"
#define CUT_HEAD HEAD "Content-Type: " JSON "\r\nContent-Length: 129\r\n\r\n"
_Static_assert(sizeof(CUT_BODY) - 1 == 129, "Content-Length");

/* Servers differ in which of two copies they take. */
static void early_bytes_of_a_blob_pass_once(void **state)
{
	enum { B = sizeof(CUT_HEAD IMAGE) - 1, C = B + 8, D = C + 8, E = D + 8 };
	static const char text[] = CUT_HEAD CUT_BODY;
	static const char other[] = "XXXXXXXXXXXXXXXX";
	static const struct row rows[] = {
		{"a copy is dropped, and missing bytes are cut off where they end",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, text), .len = B},
		  {FROM_CLIENT(C, 0, text + C), .len = 8},
		  {FROM_CLIENT(C, 0, other), .len = 8, .then = DROP},
		  {FROM_CLIENT(C + 4, 0, other), .len = 12, .then = DROP},
		  {FROM_CLIENT(B + 4, 0, other), .len = 12, .then = DROP},
		  {FROM_CLIENT(D, 0, text + D), .len = 8},
		  {FROM_CLIENT(B, 0, text + B), .len = 4},
		  {FROM_CLIENT(B + 4, 0, text + B + 4), .then = HELD, .keep = 4},
		  {FROM_CLIENT(E, 0, text + E)}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}},
		 .counters = {{SLUICE_COUNTER_REORDERED_DROPPED, 3}}},
		{"a FIN waits for its turn",
		 {HANDSHAKE,
		  {FROM_CLIENT(0, 0, text), .len = B},
		  {FROM_CLIENT(C, 0, text + C), .len = 8},
		  {FROM_CLIENT(B, 0, text + B), .flags = FIN | PSH | ACK, .then = HELD, .keep = 8},
		  {FROM_CLIENT(D, 0, text + D), .flags = FIN | PSH | ACK}},
		 .in_flight = 1,
		 .waiting = 1,
		 .conns = 1,
		 .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}},
	};

	play_rows(rows);
}

/* A VLAN and its parent, a bridge and its port: each packet comes twice. */
static void early_bytes_of_a_blob_pass_at_a_second_hook(void **state)
{
	static const char text[] = CUT_HEAD CUT_BODY;
	static const size_t at[] = {0, sizeof(CUT_HEAD IMAGE) - 1, sizeof(CUT_HEAD IMAGE) + 7,
				    sizeof(CUT_HEAD IMAGE) + 15, sizeof(text) - 1};
	static const unsigned order[] = {0, 2, 1, 3};
	struct __sk_buff second = {.ifindex = 1};
	static struct frame in, out;
	struct client c;

	begin_strict();
	c = connect_anew();
	for (unsigned i = 0; i < 4; i++) {
		struct segment s = {.flags = PSH | ACK,
				    .window = 512,
				    .text = text + at[order[i]],
				    .len = at[order[i] + 1] - at[order[i]],
				    .client_port = c.port,
				    .seq = c.at + at[order[i]],
				    .ack = SERVER_ISN + 1};

		pass_ms(60); /* more than a packet takes from hook to hook, … */
		make_frame(&in, &shape, &s);
		assert_int_equal(run_tc(w.skel->progs.requests, &in, &out), THEN_UNSPEC);
		pass_ms(20); /* … which is long on a machine that is held up */
		assert_int_equal(
			run_program(w.skel->progs.requests, &in, &out, &second, sizeof(second)),
			THEN_UNSPEC);
	}
	assert_int_equal(requests_of(HTTP_ID, LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE),
			 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(pieces_of_a_blob_in_any_order_are_read_as_in_order),
		packets_test(random_pieces_of_a_blob_are_read_as_in_order_or_are_unreadable),
		packets_test(what_missing_bytes_hide_makes_a_request_unreadable),
		packets_test(an_early_segment_passes_if_all_of_it_is_of_a_blob),
		packets_test(a_delimiter_in_two_early_segments_is_none_of_a_file),
		packets_test(early_bytes_of_a_blob_pass_once),
		packets_test(early_bytes_of_a_blob_pass_at_a_second_hook),
	};

	return packets_main("blob_order", tests);
}
