/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Invariant 7, the model's name in forms: the field "model" of a multipart or urlencoded body, in
 * any position, split anywhere. Rows come first: what servers take, and where they differ. Then
 * random forms, with a parser of whole bodies as the oracle (form_reference.h). Their seed is
 * fixed, so a failure can be repeated.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "feed.h"
#include "form_reference.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define GARBAGE JSON_MODEL_GARBAGE
#define UNCLEAR (JSON_MODEL_INVALID | JSON_MODEL_GARBAGE)

#define MULTIPART  "multipart/form-data; boundary=B"
#define URLENCODED "application/x-www-form-urlencoded"

struct row {
	const char *type; /* the value of Content-Type; further lines may follow */
	const char *bytes;
	size_t len;
	const char *said; /* the names */
	__u8 flags;       /* at the end */
};

#define ROW(TYPE, BYTES, SAID, FLAGS)                                                              \
	{                                                                                          \
		.type = TYPE, .bytes = BYTES, .len = sizeof(BYTES) - 1, .said = SAID,              \
		.flags = FLAGS                                                                     \
	}

struct text {
	char bytes[65536];
	size_t len;
};

static void put_bytes(struct text *t, const char *s, size_t n)
{
	assert_true(t->len + n < sizeof(t->bytes));
	memcpy(t->bytes + t->len, s, n);
	t->len += n;
}

static void put(struct text *t, const char *s)
{
	put_bytes(t, s, strlen(s));
}

/* A request with this body; `chunk`: bytes of a chunk, 0: with Content-Length. */
static void put_request(struct text *t, const char *type, const char *body, size_t len,
			size_t chunk)
{
	char line[128];

	t->len = 0;
	put(t, "POST /v1/audio/transcriptions HTTP/1.1\r\n");
	if (type) {
		put(t, "Content-Type: ");
		put(t, type);
		put(t, "\r\n");
	}
	if (!chunk) {
		sprintf(line, "Content-Length: %zu\r\n\r\n", len);
		put(t, line);
		put_bytes(t, body, len);
		return;
	}
	put(t, "Transfer-Encoding: chunked\r\n\r\n");
	while (len) {
		size_t n = len < chunk ? len : chunk;

		sprintf(line, "%zx\r\n", n);
		put(t, line);
		put_bytes(t, body, n);
		put(t, "\r\n");
		body += n;
		len -= n;
	}
	put(t, "0\r\n\r\n");
}

struct heard {
	struct form_found found;
	__u8 flags; /* at the end, FEED_PASSING aside */
	__u64 size; /* of 1,000,000 bytes, at 10,000 a blob */
};

static void heard(struct feed *f, __u32 ev)
{
	struct heard *h = f->listener;

	f->listener = &h->found;
	form_reference_heard(f, ev);
	f->listener = h;
	if (ev & HTTP1_END) {
		h->flags = f->request.json.flags & ~FEED_PASSING;
		h->size = http1_request_size(&f->request, 1000000, 10000);
	}
}

/* What the scanner finds in a request, in two pieces through a window. */
static void scan(const struct text *t, struct heard *h, size_t cut, size_t window)
{
	struct feed f;

	memset(h, 0, sizeof(*h));
	feed_begin(&f, FEED_REQUEST, 0, window);
	f.heard = heard;
	f.listener = h;
	feed(&f, t->bytes, cut);
	feed(&f, t->bytes + cut, t->len - cut);
	assert_false(f.framing_error);
	feed_end(&f);
}

static void check(const struct row *rows, size_t n)
{
	static struct text t;

	for (size_t i = 0; i < n; i++) {
		static const size_t chunks[] = {0, 1, 7, 64};

		for (size_t k = 0; k < COUNT(chunks); k++) {
			struct heard h;

			put_request(&t, rows[i].type, rows[i].bytes, rows[i].len, chunks[k]);
			free(feed_every_way(FEED_REQUEST, 0, t.bytes, t.len));
			scan(&t, &h, 0, SCAN_BUF);
			if (strcmp(h.found.names, rows[i].said) || h.flags != rows[i].flags)
				fail_msg("%s\n%s\nin chunks of %zu: \"%s\", flags %d", rows[i].type,
					 rows[i].bytes, chunks[k], h.found.names, h.flags);
		}
	}
}

#define PART(DISPOSITION, DATA) "--B\r\nContent-Disposition: " DISPOSITION "\r\n\r\n" DATA "\r\n"
#define FIELD(DATA)             PART("form-data; name=\"model\"", DATA)
#define FILE_PART                                                                                  \
	"--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n"             \
	"Content-Type: audio/wav\r\n\r\nRIFF\r\n--A\r\n\0\r\n-\r\n--\r\n--B\r--BB\r\n"
#define END "--B--\r\n"

/* Invariant 7. */
static void the_field_is_found_in_any_part(void **state)
{
	static const struct row rows[] = {
		ROW(MULTIPART, FIELD("whisper-1") END, "model(whisper-1)", 0),
		ROW(MULTIPART, FIELD("whisper-1") FILE_PART END, "model(whisper-1)", GARBAGE),
		ROW(MULTIPART,
		    PART("form-data; name=\"file\"; filename=\"a\"", "ab\r\ncd\r\n") FIELD("m") END,
		    "model(m)", 0),
		ROW(MULTIPART,
		    PART("form-data; name=\"a\"", "b") FIELD("m") PART("form-data; name=\"c\"", "d")
			    END,
		    "model(m)", 0),
		ROW(MULTIPART,
		    PART("form-data; name=\"a\"", "model")
			    PART("form-data; name=\"b\"", "name=\"model\"") END,
		    "", 0),
		ROW(MULTIPART, FIELD("a") FIELD("b") END, "model(a) model(b)", 0),
		ROW(MULTIPART, FIELD("") END, "model()", 0),
		ROW(MULTIPART, FIELD("org/x-7B q\xc3\xa4") END, "model(org/x-7B q\xc3\xa4)", 0),
		ROW(MULTIPART, "\r\n" FIELD("m") "--B--", "model(m)", 0),
		ROW(MULTIPART, "preamble\r\nof lines\r\n" FIELD("m") END "epilogue\r\n" FIELD("n"),
		    "model(m)", 0),
		ROW(MULTIPART, END, "", GARBAGE),
		ROW("multipart/form-data; boundary=--------------------------123",
		    "----------------------------123\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n----------------------------123--\r\n",
		    "model(m)", 0),
	};

	check(rows, COUNT(rows));
}

static void a_form_asks_for_a_stream_or_not(void **state)
{
#define STREAM(DATA) PART("form-data; name=\"stream\"", DATA)
	static const struct {
		const char *type, *bytes;
		__u8 stream;
	} rows[] = {
		{MULTIPART, FIELD("m") END, JSON_STREAM_UNSAID},
		{MULTIPART, FIELD("m") STREAM("true") END, JSON_STREAM_YES},
		{MULTIPART, STREAM("1") FIELD("m") END, JSON_STREAM_YES},
		{MULTIPART, STREAM("false") FIELD("m") END, JSON_STREAM_NO},
		{MULTIPART, STREAM("") FIELD("m") END, JSON_STREAM_NO},
		{MULTIPART, STREAM("true") STREAM("False") END, JSON_STREAM_NO},
		{MULTIPART, PART("form-data; name=stream", "true") END, JSON_STREAM_YES},
		{MULTIPART, PART("form-data; name=\"streams\"", "true") END, JSON_STREAM_UNSAID},
		{MULTIPART, PART("form-data; name=\"strea\"", "true") END, JSON_STREAM_UNSAID},
		{MULTIPART, PART("form-data; name=\"stream\"; filename=\"t\"", "true") END,
		 JSON_STREAM_UNSAID},
		{MULTIPART, PART("form-data; name=\"a\"", "name=\"stream\"\r\n\r\ntrue") END,
		 JSON_STREAM_UNSAID},
		{URLENCODED, "model=m&stream=true", JSON_STREAM_YES},
		{URLENCODED, "stream=1&model=m", JSON_STREAM_YES},
		{URLENCODED, "%73tream=on", JSON_STREAM_YES},
		{URLENCODED, "stream=&model=true", JSON_STREAM_NO},
		{URLENCODED, "model=m&stream=", JSON_STREAM_NO},
		{URLENCODED, "stream&model=true", JSON_STREAM_UNSAID},
		{URLENCODED, "stream=false&a=stream", JSON_STREAM_NO},
		{URLENCODED, "a=b;stream=true", JSON_STREAM_UNSAID},
	};
	static struct text t;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct heard h;

		put_request(&t, rows[i].type, rows[i].bytes, strlen(rows[i].bytes), i % 3 * 7);
		free(feed_every_way(FEED_REQUEST, 0, t.bytes, t.len));
		scan(&t, &h, 0, SCAN_BUF);
		if (h.found.stream != rows[i].stream)
			fail_msg("%s: %d", rows[i].bytes, h.found.stream);
	}
}

static void a_disposition_is_read_as_servers_read_it(void **state)
{
	static const struct row rows[] = {
		ROW(MULTIPART, PART("form-data; name=model", "m") END, "model(m)", 0),
		ROW(MULTIPART, PART("form-data;name=model;x=y", "m") END, "model(m)", 0),
		ROW(MULTIPART, PART("form-data; x=\"y;\"; NAME = \"model\" ", "m") END, "model(m)",
		    0),
		ROW(MULTIPART, PART("attachment; name=\"mo\\del\"", "m") END, "model(m)", 0),
		ROW(MULTIPART, PART("form-data; name=\"Model\"", "m") END, "model(m)", 0),
		ROW(MULTIPART, PART("form-data; name=\"a\"; name=\"model\"", "m") END, "model(m)",
		    0),
		ROW(MULTIPART, PART("form-data; name*=UTF-8''mod%65l", "m") END, "model(m)", 0),
		ROW(MULTIPART, PART("form-data; name*=\"utf-8'en'model\"", "m") END, "model(m)", 0),
		ROW(MULTIPART, PART("form-data; name*0=mod; name*1=el", "m") END, "model(m)", 0),
		ROW(MULTIPART, PART("form-data; a=\"; name=model; b=\"", "m") END, "model(m)", 0),
		ROW(MULTIPART,
		    PART("form-data; name=\"model\"\r\nContent-Type: text/plain", "m") END,
		    "model(m)", 0),
		ROW(MULTIPART, PART("form-data;\r\n name=\"model\"", "m") END, "model(m)", 0),
		ROW(MULTIPART,
		    "--B\r\nContent-Type: text/plain\r\ncontent-DISPOSITION :form-data; name=\"model\"\r\n\r\nm\r\n" END,
		    "model(m)", 0),
		ROW(MULTIPART, "--B\r\nX: y\r\n\r\n\r\n" FIELD("m") END, "model(m)", 0),
		ROW(MULTIPART,
		    PART("form-data; name=\"models\"", "m") PART("form-data; name=\"mode\"", "m")
			    PART("form-data; name=\"\"", "m")
				    PART("form-data; xname=\"model\"", "m")
					    PART("form-data; name= \"model \"", "m")
						    PART("name=model", "m") END,
		    "", 0),
		/* a file is no field, unless some server takes it for one */
		ROW(MULTIPART, PART("form-data; name=\"model\"; filename=\"a\"", "m") END, "", 0),
		ROW(MULTIPART, PART("form-data; filename=a; name=model", "m") END, "", 0),
		ROW(MULTIPART, PART("form-data; name=\"model\"; filename=\"\"", "m") END,
		    "model(m)", 0),
		ROW(MULTIPART, PART("form-data; name=\"model\"; filename*=UTF-8''a", "m") END,
		    "model(m)", 0),
		ROW(MULTIPART, PART("form-data; name=\"model\"; a=\"; filename=b; c=\"", "m") END,
		    "model(m)", 0),
		ROW(MULTIPART, PART("form-data; name=\"model\"; a=\"\\\\\"; filename=b", "m") END,
		    "model(m)", 0),
		ROW(MULTIPART,
		    PART("form-data; name=\"model\"\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"",
			 "m") END,
		    "model(m)", 0),
	};

	check(rows, COUNT(rows));
}

#define TEN    "0123456789"
#define NINETY TEN TEN TEN TEN TEN TEN TEN TEN TEN

static void a_value_that_cannot_be_kept_whole_is_invalid(void **state)
{
	static const struct row rows[] = {
		ROW(MULTIPART, FIELD(NINETY "12345") END, "model(" NINETY "12345)", 0),
		ROW(MULTIPART, FIELD(NINETY "123456") END, "model!", JSON_MODEL_INVALID),
		ROW(MULTIPART, FIELD("a\0b") END, "model!", JSON_MODEL_INVALID),
		ROW(MULTIPART, FIELD("a\tb") END, "model!", JSON_MODEL_INVALID),
		ROW(MULTIPART, FIELD("a\r\nb") END, "model!", JSON_MODEL_INVALID),
		ROW(MULTIPART, FIELD("a\r\n") END, "model!", JSON_MODEL_INVALID),
		ROW(MULTIPART, FIELD("a\r\n--") END, "model!", JSON_MODEL_INVALID),
		ROW(MULTIPART, FIELD("a\r\n--Bx") END, "model!", JSON_MODEL_INVALID),
		ROW(MULTIPART, FIELD("a\r\n--B-x") END, "model!", JSON_MODEL_INVALID),
		ROW(MULTIPART, FIELD("--B-x") END, "model!", JSON_MODEL_INVALID),
		ROW(MULTIPART, FIELD("a\r\n--x") FIELD("ok") END, "model! model(ok)", 0),
		ROW(URLENCODED, "model=" NINETY "12345", "model(" NINETY "12345)", 0),
		ROW(URLENCODED, "model=" NINETY "123456", "model!", JSON_MODEL_INVALID),
		ROW(URLENCODED, "model=a%00b", "model!", JSON_MODEL_INVALID),
		ROW(URLENCODED, "model=a%0ab&x=y", "model!", JSON_MODEL_INVALID),
		ROW(URLENCODED, "model=a\n", "model!", JSON_MODEL_INVALID),
		ROW(URLENCODED, "model=a%zz&model=b", "model! model(b)", 0),
		ROW(URLENCODED, "model=a%4", "model!", JSON_MODEL_INVALID),
		ROW(URLENCODED, "model=a%&b=c", "model!", JSON_MODEL_INVALID),
	};

	check(rows, COUNT(rows));
}

static void an_urlencoded_field_is_found_after_unescaping(void **state)
{
	static const struct row rows[] = {
		ROW(URLENCODED, "model=whisper-1", "model(whisper-1)", 0),
		ROW(URLENCODED, "a=b&model=org%2Fx+7%42%c3%a4&c=d", "model(org/x 7B\xc3\xa4)", 0),
		ROW(URLENCODED, "%6d%4Fde%6C=m", "model(m)", 0),
		ROW(URLENCODED, "model=a&model=b", "model(a) model(b)", 0),
		ROW(URLENCODED, "model=a=b%26c&", "model(a=b&c)", 0),
		ROW(URLENCODED, "model=&x", "model()", 0),
		ROW(URLENCODED, "&&a&&model=m", "model(m)", 0),
		ROW(URLENCODED,
		    "models=a&mode=b&model&xmodel=c&mod%zzel=d&mod%6=e&model%=f&a=model=g&+model=h",
		    "", 0),
		ROW(URLENCODED "; charset=utf-8", "model=m", "model(m)", 0),
		ROW("Application/X-WWW-Form-Urlencoded", "model=m", "model(m)", 0),
		ROW(URLENCODED, "", "", 0),
	};

	check(rows, COUNT(rows));
}

static void the_boundary_is_read_as_servers_read_it(void **state)
{
	static const struct row rows[] = {
		ROW("multipart/form-data; boundary=\"B\"", FIELD("m") END, "model(m)", 0),
		ROW("Multipart/Form-Data;BOUNDARY=B", FIELD("m") END, "model(m)", 0),
		ROW("multipart/form-data; charset=\"utf-8\"; x=y ;boundary = B ; z=1",
		    FIELD("m") END, "model(m)", 0),
		ROW("multipart/mixed; boundary=B", FIELD("m") END, "model(m)", 0),
		ROW("multipart/form-data; boundary=" TEN TEN TEN TEN TEN TEN TEN,
		    "--" TEN TEN TEN TEN TEN TEN TEN
		    "\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--" TEN TEN TEN
			    TEN TEN TEN TEN "--",
		    "model(m)", 0),
		/* nobody can read these */
		ROW("multipart/form-data", FIELD("m") END, "", GARBAGE),
		ROW("multipart/form-data; xboundary=B; boundary x=B", FIELD("m") END, "", GARBAGE),
		ROW("text/plain; boundary=B", FIELD("m") END, "", GARBAGE),
		/* servers differ, or sluice cannot keep it: there may be a name */
		ROW("multipart/form-data; boundary=" TEN TEN TEN TEN TEN TEN TEN "1",
		    FIELD("m") END, "", UNCLEAR),
		ROW("multipart/form-data; boundary=A; boundary=B", FIELD("m") END, "", UNCLEAR),
		ROW("multipart/form-data; boundary*=utf-8''B", FIELD("m") END, "", UNCLEAR),
		ROW("multipart/form-data; boundary=B x", FIELD("m") END, "", UNCLEAR),
		ROW("multipart/form-data; boundary=\"B\\\"\"", FIELD("m") END, "", UNCLEAR),
		ROW("multipart/form-data; x=\"; boundary=A; y=\"; boundary=B", FIELD("m") END, "",
		    UNCLEAR),
		ROW(MULTIPART "\r\nContent-Type: " MULTIPART, FIELD("m") END, "", UNCLEAR),
		ROW("application/json\r\nContent-Type: " MULTIPART, FIELD("m") END, "", UNCLEAR),
		ROW(URLENCODED "\r\nContent-Type: application/json", "model=m", "", UNCLEAR),
		ROW("application/json\r\nContent-Type: " MULTIPART, "{\"model\":\"m\"}", "model(m)",
		    0),
		ROW("application/json\r\nContent-Type: " MULTIPART, "{\"x\":\"m\"}  ", "", UNCLEAR),
		ROW("application/json\r\nContent-Type: text/plain", "{\"x\":\"m\"}", "", 0),
	};

	check(rows, COUNT(rows));
}

/* Some servers read JSON whatever the type says. */
static void an_object_is_read_whatever_the_type_says(void **state)
{
	static const struct row rows[] = {
		ROW("application/json", "{\"model\":\"m\"}", "model(m)", 0),
		ROW("application/json; charset=utf-8", "{\"model\":\"m\"}", "model(m)", 0),
		ROW("text/plain", "{\"model\":\"m\"}", "model(m)", 0),
		ROW(NULL, "{\"model\":\"m\"}", "model(m)", 0),
		ROW(MULTIPART, " \r\n{\"model\":\"m\", \"a\": \"--B--\"}\r\n", "model(m)", 0),
		ROW(MULTIPART, "\xef\xbb\xbf{\"a\":[1,{\"b\":\"-\"}],\"model\":\"m\"}", "model(m)",
		    0),
		ROW(MULTIPART, "{\"model\":\"a\"}\r\n" FIELD("b") END, "model(a) model(b)", 0),
		ROW(MULTIPART, "{\"model\":\"a\r\n" FIELD("b") END, "model(b)", 0),
		ROW(MULTIPART, "{\"model\":\"a\r\n" PART("form-data; name=b", "c") END, "", 0),
		ROW(MULTIPART, "{x}", "", GARBAGE),
		ROW(URLENCODED, " {\"model\":\"m\"}", "model(m)", 0),
		ROW(URLENCODED, "\xef\xbb\xbf{\"a\":1}", "", UNCLEAR),
		ROW(URLENCODED, "{&model=m", "", UNCLEAR),
		ROW("application/json", "model=m", "", GARBAGE),
		ROW("application/json", FIELD("m") END, "", GARBAGE),
	};

	check(rows, COUNT(rows));
}

/* Where servers differ, what any of them takes for the name is reported; without one, there may
 * still be one. */
static void what_any_server_takes_for_a_part_is_read(void **state)
{
	static const struct row rows[] = {
		/* only LF */
		ROW(MULTIPART, "--B\nContent-Disposition: form-data; name=\"model\"\n\nm\n--B--\n",
		    "model(m)", 0),
		ROW(MULTIPART,
		    "--B\nContent-Disposition: form-data; name=\"a\"\n\nb\n--B\nContent-Disposition: form-data; name=\"model\"\n\nm\n--B--\n",
		    "model(m)", 0),
		/* both */
		ROW(MULTIPART,
		    "--B\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--B--\n",
		    "model(m)", GARBAGE),
		ROW(MULTIPART,
		    "--B\r\nContent-Disposition: form-data; name=\"model\"\n\nm\r\n--B--\n",
		    "model(m)", GARBAGE),
		ROW(MULTIPART,
		    "--B\r\nContent-Disposition: form-data; a=b\n; name=\"model\"\r\n\r\nm\r\n--B--\n",
		    "model(m)", GARBAGE),
		ROW(MULTIPART,
		    "--B\r\nContent-Disposition: form-data; a=b\n\n; name=\"model\"\r\n\r\nm\r\n--B--\n",
		    "model(m)", GARBAGE),
		ROW(MULTIPART,
		    "--B\r\nX: a\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--B--\n",
		    "model(m)", GARBAGE),
		ROW(MULTIPART,
		    PART("form-data; name=a",
			 "b\n--B\nContent-Disposition: form-data; name=model\n\nm") END,
		    "model(m)", GARBAGE),
		ROW(MULTIPART,
		    PART("form-data; name=a",
			 "b\n--B\r\nContent-Disposition: form-data; name=b\r\n\r\nm") END,
		    "", UNCLEAR),
		/* only CR */
		ROW(MULTIPART, "--B\rContent-Disposition: form-data; name=\"model\"\r\rm\r--B--\r",
		    "model(m)", GARBAGE),
		/* a delimiter within a line, before all others */
		ROW(MULTIPART,
		    "x--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--B--\n",
		    "model(m)", GARBAGE),
		ROW(MULTIPART, "-" FIELD("m") END, "model(m)", GARBAGE),
		ROW(MULTIPART, "--B--" FIELD("m") END, "model(m)", GARBAGE),
		ROW("multipart/form-data; boundary=-a-b",
		    "---a---a-b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n---a-b--\n",
		    "model(m)", GARBAGE),
		ROW("multipart/form-data; boundary=a--b",
		    "--a--a--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--a--b--\n",
		    "", UNCLEAR),
		/* white space after a delimiter; an empty part without a break; a delimiter in a
		   header */
		ROW(MULTIPART,
		    "--B \t\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--B--\n",
		    "model(m)", GARBAGE),
		ROW(MULTIPART,
		    "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n" FIELD("m") END,
		    "model(m)", GARBAGE),
		ROW(MULTIPART,
		    "--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n" FIELD("m") END,
		    "model() model(m)", GARBAGE),
		ROW(MULTIPART, "--B\r\nX: y\r\n" FIELD("m") END, "model(m)", GARBAGE),
	};

	check(rows, COUNT(rows));
}

static void a_form_that_does_not_end_is_garbage(void **state)
{
	static const struct row rows[] = {
		ROW(MULTIPART,
		    "--A\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--A--", "",
		    GARBAGE),
		ROW(MULTIPART, "just text", "", GARBAGE),
		ROW(MULTIPART, FIELD("m"), "model!", UNCLEAR),
		ROW(MULTIPART, FIELD("m") "--B", "model!", UNCLEAR),
		ROW(MULTIPART, FIELD("m") "--B\r\n", "model(m)", GARBAGE),
		ROW(MULTIPART, FIELD("m") PART("form-data; name=\"file\"; filename=\"a\"", "b"),
		    "model(m)", GARBAGE),
		ROW(MULTIPART, FIELD("m") FIELD("n") "--B-", "model(m) model!", UNCLEAR),
	};

	check(rows, COUNT(rows));
}

/* Losing bytes ends the search; half a name is none. */
static void a_gap_in_a_form_ends_the_search(void **state)
{
	static const char body[] = FIELD("whisper-1") "--B\r\nX: y\r\n\r\nabc\r\n" END;
	static struct text t;
	size_t head;

	put_request(&t, MULTIPART, body, sizeof(body) - 1, 0);
	head = t.len - (sizeof(body) - 1);
	for (size_t cut = head; cut < t.len - 2; cut++) {
		struct feed f;
		__u32 ev = 0;
		int whole = cut >= head + (size_t)(strstr(body, "--B\r\nX") + 5 - body);

		feed_begin(&f, FEED_REQUEST, 0, SCAN_BUF);
		feed(&f, t.bytes, cut);
		http1_request_skipped(&f.request, 1, &ev);
		assert_true(f.request.json.flags & JSON_MODEL_GAP);
		assert_int_equal(f.request.json.name_len, whole ? 9 : 0);
		assert_int_equal(http1_request_skippable(&f.request), t.len - cut - 1);
		feed_end(&f);
	}
}

/* ---- random forms ---- */

static unsigned long seed;

static unsigned int draw(unsigned int n)
{
	seed = seed * 6364136223846793005UL + 1442695040888963407UL;
	return (seed >> 33) % n;
}

static void put_one(struct text *t, const char *const *pieces, size_t n)
{
	put(t, pieces[draw(n)]);
}

static void put_part(struct text *t, const char *delimiter)
{
	static const char *const names[] = {"model", "model",  "file",   "prompt",
					    "mode",  "models", "stream", "streams"};
	static const char *const data[] = {"a",    "gpt-x", "\r\n",   "\n",  "\r",         "-",
					   "--",   "---",   "\r\n-",  " ",   "0123456789", "model",
					   "\xff", "=",     "\r\n--", "true"};
	static const char *const lines[] = {"Content-Type: audio/wav\r\n", "X: y\r\n", "", ""};

	put(t, delimiter);
	put(t, "\r\n");
	put_one(t, lines, COUNT(lines));
	put(t, draw(2) ? "Content-Disposition: form-data; name=\""
		       : "content-disposition: form-data; name=\"");
	put_one(t, names, COUNT(names));
	put(t, "\"");
	if (!draw(4))
		put(t, "; filename=\"a.wav\"");
	put(t, "\r\n");
	put_one(t, lines, COUNT(lines));
	put(t, "\r\n");
	if (draw(2))
		put(t, draw(2) ? "whisper-1" : "true");
	else
		for (int n = draw(draw(4) ? 4 : 60); n; n--) {
			put_one(t, data, COUNT(data));
			if (!draw(10)) /* the beginning of a delimiter */
				put_bytes(t, delimiter, 1 + draw(strlen(delimiter) - 1));
		}
	put(t, "\r\n");
}

/* Invariant 7. */
static void what_a_random_form_says_equals_the_references(void **state)
{
	static const char *const delimiters[] = {"--B", "------WebKitFormBoundary7MA4YWxk",
						 "--" TEN TEN TEN TEN TEN TEN TEN, "--=_a",
						 "---------"};
	static struct text body, t;
	int named = 0, streams = 0, files = 0;

	for (int round = 0; round < 4000; round++) {
		const char *delimiter;
		struct form_reference want;
		struct heard h;
		char type[128];

		seed = round;
		delimiter = delimiters[draw(COUNT(delimiters))];
		body.len = 0;
		if (!draw(4))
			put(&body, "\r\n");
		for (int n = draw(5); n >= 0; n--)
			put_part(&body, delimiter);
		put(&body, delimiter);
		put(&body, "--\r\n");
		form_reference_multipart(&want, body.bytes, body.len, delimiter + 2);
		sprintf(type, "multipart/form-data; boundary=%s", delimiter + 2);
		put_request(&t, type, body.bytes, body.len, draw(2) ? 0 : 1 + draw(200));
		scan(&t, &h, draw(t.len), 1 + draw(SCAN_BUF));
		if (want.strict && !form_found_equal(&h.found, &want.found))
			fail_msg("round %d: %.*s", round, (int)body.len, body.bytes);
		named += want.strict && want.found.names[0];
		streams += want.strict && want.found.stream == JSON_STREAM_YES;
		files += want.strict && want.found.blobs;
	}
	/* the generator still does what it is for */
	assert_true(named > 1500 && streams > 200 && files > 1500);
}

#define NAMED(DISPOSITION) PART("form-data; name=\"file\"; " DISPOSITION, "12345678")

/* A file counts for a fixed number of bytes, with the delimiter after it. */
static void a_file_is_a_blob(void **state)
{
	static const struct {
		const char *body;
		__u8 blobs;
		__u64 size;
	} rows[] = {
		{FIELD("m") NAMED("filename=\"a.wav\"") END, 1, 1010000 - 15},
		{NAMED("filename=\"a.wav\"") FIELD("m") END, 1, 1010000 - 15},
		{NAMED("filename=a") NAMED("filename=b") FIELD("m") END, 2, 1020000 - 30},
		{FIELD("m") PART("form-data; name=\"prompt\"", "12345678") END, 0, 1000000},
		{FIELD("m") NAMED("filename=\"\"") END, 0, 1000000},
		{FIELD("m") NAMED("filename*=UTF-8''a.wav") END, 0, 1000000},
		/* the end is missing, or servers differ in where the file ends */
		{FIELD("m") NAMED("filename=a"), 0, 1000000},
		{FIELD("m") NAMED("filename=a") "--B \r\n\r\n\r\n" END, 1, 1000000},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		static const size_t chunks[] = {0, 1, 7};

		for (size_t k = 0; k < COUNT(chunks); k++) {
			static struct text t;
			struct heard h;

			put_request(&t, MULTIPART, rows[i].body, strlen(rows[i].body), chunks[k]);
			free(feed_every_way(FEED_REQUEST, 0, t.bytes, t.len));
			scan(&t, &h, 0, SCAN_BUF);
			if (h.found.blobs != rows[i].blobs || h.size != rows[i].size)
				fail_msg("%s: %u blobs, size %llu", rows[i].body, h.found.blobs,
					 (unsigned long long)h.size);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_is_a_blob),
		cmocka_unit_test(the_field_is_found_in_any_part),
		cmocka_unit_test(a_form_asks_for_a_stream_or_not),
		cmocka_unit_test(a_disposition_is_read_as_servers_read_it),
		cmocka_unit_test(a_value_that_cannot_be_kept_whole_is_invalid),
		cmocka_unit_test(an_urlencoded_field_is_found_after_unescaping),
		cmocka_unit_test(the_boundary_is_read_as_servers_read_it),
		cmocka_unit_test(an_object_is_read_whatever_the_type_says),
		cmocka_unit_test(what_any_server_takes_for_a_part_is_read),
		cmocka_unit_test(a_form_that_does_not_end_is_garbage),
		cmocka_unit_test(a_gap_in_a_form_ends_the_search),
		cmocka_unit_test(what_a_random_form_says_equals_the_references),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
