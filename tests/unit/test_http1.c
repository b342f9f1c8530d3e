/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Invariant 7 (framing is exact), by rows: the bytes of a connection and the framer's expected
 * marks. Every row is also cut in two at each byte and fed through windows from one byte on, and
 * must give the same. Heads are those of real programs, shortened where length does not matter.
 */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "feed.h"

struct row {
	const char *what;
	const char *bytes;
	size_t len;
	const char *said;
	__u8 method; /* responses: of the request */
};

#define ROW(WHAT, BYTES, ...) ROW_TO(HTTP1_METHOD_OTHER, WHAT, BYTES, __VA_ARGS__)
#define ROW_TO(METHOD, WHAT, BYTES, SAID)                                                          \
	{                                                                                          \
		.what = WHAT, .bytes = BYTES, .len = sizeof(BYTES) - 1, .said = SAID,              \
		.method = METHOD                                                                   \
	}
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void check(enum feed_kind kind, const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char *said = feed_every_way(kind, rows[i].method, rows[i].bytes, rows[i].len);

		if (strcmp(said, rows[i].said))
			print_error("%s\n", rows[i].what);
		assert_string_equal(said, rows[i].said);
		free(said);
	}
}

#define EIGHT(line) line line line line line line line line
#define NAME_31     "x-the-longest-name-of-a-header-"
#define VALUE_95                                                                                   \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"

#define SDK_HEAD                                                                                   \
	"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:18080\r\n"                          \
	"Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n"                             \
	"Authorization: Bearer sk-test-key-0123456789\r\nAccept: application/json\r\n"             \
	"Content-Type: application/json\r\nUser-Agent: OpenAI/Python 2.41.0\r\n"                   \
	"X-Stainless-Lang: python\r\nX-Stainless-Runtime-Version: 3.11.2\r\n"                      \
	"x-stainless-retry-count: 0\r\nx-stainless-read-timeout: 600\r\n"
#define NODE_HEAD                                                                                   \
	"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:18080\r\nconnection: keep-alive\r\n" \
	"accept: application/json\r\ncontent-type: application/json\r\n"                            \
	"authorization: Bearer sk-test-key-0123456789\r\n"

/* Invariant 7. */
static void a_request_split_at_every_byte_gives_the_same_events(void **state)
{
	static const struct row rows[] = {
		ROW("the Python SDK",
		    SDK_HEAD
		    "Content-Length: 109\r\n\r\n"
		    "{\"messages\":[{\"role\":\"user\",\"content\":\"Say something please.\"}],"
		    "\"model\":\"gpt-x\",\"max_tokens\":4,\"stream\":true}",
		    "head(POST /v1/chat/completions 1.1 length=109)@398 model(gpt-x)@477 stream=yes end@507"),
		ROW("Node, two on one connection",
		    NODE_HEAD "content-length: 15\r\n\r\n{\"model\":\"a/b\"}" NODE_HEAD
			      "content-length: 15\r\n\r\n{\"model\":\"c-d\"}",
		    "head(POST /v1/chat/completions 1.1 length=15)@209 model(a/b)@223 end@224 "
		    "head(POST /v1/chat/completions 1.1 length=15)@433 model(c-d)@447 end@448"),
		ROW("no body", "GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
		    "head(GET /v1/models 1.1)@36 end@36"),
		ROW("pipelined",
		    "GET /a HTTP/1.1\r\n\r\nHEAD /b HTTP/1.1\r\n\r\nPOST /c HTTP/1.1\r\nContent-Length: 1\r\n\r\n{"
		    "GET /d HTTP/1.0\r\n\r\n",
		    "head(GET /a 1.1)@19 end@19 head(HEAD /b 1.1)@39 end@39 "
		    "head(POST /c 1.1 length=1)@78 end@79 head(GET /d 1.0)@98 end@98"),
		ROW("a body of no bytes", "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
		    "head(POST / 1.1)@38 end@38"),
		ROW("empty lines before a request",
		    "\r\n\nGET / HTTP/1.1\r\n\r\n\r\nGET / HTTP/1.1\n\n",
		    "head(GET / 1.1)@21 end@21 head(GET / 1.1 several-ends)@39 end@39"),
		ROW("100-continue",
		    "POST /u HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\nabc",
		    "head(POST /u 1.1 expects length=3)@61 end@64"),
		ROW("close", "GET / HTTP/1.1\r\nconnection: foo ,\tClose\t\r\n\r\n",
		    "head(GET / 1.1 close)@44 end@44"),
		ROW("upgrade",
		    "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
		    "head(GET / 1.1)@59 end@59"),
		ROW("CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
		    "head(CONNECT a:443 1.1)@39 end@39"),
		ROW("another method", "PROPFIND /x HTTP/1.1\r\n\r\n",
		    "head(OTHER /x 1.1)@24 end@24"),
		ROW("methods in another case",
		    "post / HTTP/1.1\r\n\r\nPost / HTTP/1.1\r\n\r\ngEt / HTTP/1.1\r\n\r\n"
		    "0OST / HTTP/1.1\r\n\r\n",
		    "head(POST / 1.1)@19 end@19 head(POST / 1.1)@38 end@38 head(GET / 1.1)@56 end@56 "
		    "head(OTHER / 1.1)@75 end@75"),
		ROW("HEAD and CONNECT frame their responses, and are exact",
		    "head / HTTP/1.1\r\n\r\nconnect / HTTP/1.1\r\n\r\n",
		    "head(OTHER / 1.1)@19 end@19 head(OTHER / 1.1)@41 end@41"),
		ROW("methods that a service may want judged",
		    "PUT / HTTP/1.1\r\n\r\nPATCH / HTTP/1.1\r\n\r\nDELETE / HTTP/1.1\r\n\r\nPUTS / HTTP/1.1\r\n\r\n",
		    "head(PUT / 1.1)@18 end@18 head(PATCH / 1.1)@38 end@38 head(DELETE / 1.1)@59 end@59 "
		    "head(OTHER / 1.1)@78 end@78"),
		ROW("a compressed body is not scanned",
		    "POST / HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 13\r\n\r\n{\"model\":\"a\"}",
		    "head(POST / 1.1 encoded length=13)@63 end@76"),
		ROW("identity is no encoding",
		    "POST / HTTP/1.1\r\nContent-Encoding: identity\r\nContent-Length: 13\r\n\r\n{\"model\":\"a\"}",
		    "head(POST / 1.1 length=13)@67 model(a)@79 end@80"),
		ROW("the same length twice",
		    "POST / HTTP/1.1\r\nContent-Length: 2\r\nCONTENT-LENGTH:\t2 \r\n\r\n{}",
		    "head(POST / 1.1 length=2)@58 end@60"),
		ROW("spaces between the parts of the request line", "GET   /a   HTTP/1.1\r\n\r\n",
		    "head(GET /a 1.1)@23 end@23"),
		ROW("names that only begin like ours",
		    "POST / HTTP/1.1\r\nContent-Lengthy: 9\r\nXContent-Length: 9\r\nContent-Lengt: 9\r\n"
		    "Transfer-Encodings: chunked\r\nContent-Length: 2\r\n\r\n{}",
		    "head(POST / 1.1 length=2)@125 end@127"),
		ROW("no space after the colon",
		    "POST / HTTP/1.1\r\ncontent-length:2\r\nx:\r\n\r\n{}",
		    "head(POST / 1.1 length=2)@41 end@43"),
		ROW("a tab and bytes above 127 in a value",
		    "GET / HTTP/1.1\r\nX: a\tb\xff\xc3\xa4\r\n\r\n", "head(GET / 1.1)@29 end@29"),
		ROW("a target longer than is kept",
		    "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		    "bbbbbcdefg HTTP/1.1\r\n\r\n",
		    "head(GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		    "bbbb 1.1 cut)@119 end@119"),
	};

	check(FEED_REQUEST, rows, COUNT(rows));
}

/* Invariant 7. */
static void a_chunked_request_ends_after_its_trailers(void **state)
{
#define HEAD "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
	static const struct row rows[] = {
		ROW("a name over three chunks",
		    HEAD
		    "5\r\n{\"mod\r\n6;x=\"y\"\r\nel\":\"a\r\n004\r\nbc\"}\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
		    "head(POST / 1.1 chunked)@47 model(abc)@82 end@90 head(GET / 1.1)@108 end@108"),
		ROW("trailers",
		    HEAD
		    "2\r\n{}\r\n0\r\nContent-Length: 5\r\nX-Sum: abc\r\n\r\nGET / HTTP/1.1\r\n\r\n",
		    "head(POST / 1.1 chunked)@47 end@90 head(GET / 1.1)@108 end@108"),
		ROW("upper-case digits, extensions, zeros",
		    HEAD "0000A ; a=b;c\r\n          \r\n00000;last\r\n\r\n",
		    "head(POST / 1.1 chunked)@47 end@88"),
		ROW("another coding before chunked",
		    "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\nTransfer-encoding:   chunked\r\n\r\n1\r\n{\r\n0\r\n\r\n",
		    "head(POST / 1.1 chunked encoded)@74 end@85"),
		ROW("a size that is no number", HEAD "x\r\n",
		    "head(POST / 1.1 chunked)@47 framing-error"),
		ROW("no size", HEAD "\r\n", "head(POST / 1.1 chunked)@47 framing-error"),
		ROW("a sign", HEAD "+2\r\n{}\r\n0\r\n\r\n",
		    "head(POST / 1.1 chunked)@47 framing-error"),
		ROW("0x", HEAD "0x2\r\n{}\r\n0\r\n\r\n",
		    "head(POST / 1.1 chunked)@47 framing-error"),
		ROW("a size of 16 digits", HEAD "fffffffffffffffff\r\n",
		    "head(POST / 1.1 chunked)@47 framing-error"),
		ROW("bare LF after an extension", HEAD "2;a\n{}\r\n0\r\n\r\n",
		    "head(POST / 1.1 chunked)@47 framing-error"),
		ROW("bare CR in an extension", HEAD "2;a\rb\r\n{}",
		    "head(POST / 1.1 chunked)@47 framing-error"),
		ROW("data longer than its chunk", HEAD "2\r\n{}}\r\n",
		    "head(POST / 1.1 chunked)@47 framing-error"),
	};
#undef HEAD
	check(FEED_REQUEST, rows, COUNT(rows));
}

/* Invariants 1 and 7: where servers differ on a request, its framing error says so. */
static void an_ambiguous_request_is_a_framing_error(void **state)
{
	static const struct row rows[] = {
		ROW("chunked twice",
		    "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
		    "framing-error"),
		ROW("chunked not last",
		    "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", "framing-error"),
		ROW("not chunked", "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
		    "framing-error"),
		ROW("nearly chunked", "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
		    "framing-error"),
		ROW("chunked and a word", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked x\r\n\r\n",
		    "framing-error"),
		ROW("chunked with a parameter",
		    "POST / HTTP/1.1\r\nTransfer-Encoding: chunked;q=1\r\n\r\n", "framing-error"),
		ROW("no coding named", "POST / HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n",
		    "framing-error"),
		ROW("vertical tab before chunked",
		    "POST / HTTP/1.1\r\nTransfer-Encoding: \x0b"
		    "chunked\r\n\r\n",
		    "framing-error"),
		ROW("a tab after chunked",
		    "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\t\r\n\r\n", "framing-error"),
		ROW("an empty coding before chunked",
		    "POST / HTTP/1.1\r\nTransfer-Encoding: , chunked\r\n\r\n", "framing-error"),
		ROW("an empty coding after chunked",
		    "POST / HTTP/1.1\r\nTransfer-Encoding: chunked,\r\n\r\n", "framing-error"),
		ROW("chunked in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
		    "framing-error"),
		ROW("two lengths",
		    "POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
		    "framing-error"),
		ROW("two lengths, the first zero",
		    "POST / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 3\r\n\r\n",
		    "framing-error"),
		ROW("no length", "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", "framing-error"),
		ROW("a hexadecimal length", "POST / HTTP/1.1\r\nContent-Length: 0x2\r\n\r\n",
		    "framing-error"),
		ROW("a length in two parts", "POST / HTTP/1.1\r\nContent-Length: 2 2\r\n\r\n",
		    "framing-error"),
		ROW("a length over 64 bits",
		    "POST / HTTP/1.1\r\nContent-Length: 18446744073709551617\r\n\r\n",
		    "framing-error"),
		ROW("a space before the colon", "POST / HTTP/1.1\r\nContent-Length : 2\r\n\r\n",
		    "framing-error"),
		ROW("a fold in a length", "POST / HTTP/1.1\r\nContent-Length: 2\r\n 2\r\n\r\n",
		    "framing-error"),
		ROW("a fold in a content type",
		    "POST / HTTP/1.1\r\nContent-Type: application/json\r\n ;a\r\n\r\n",
		    "framing-error"),
		ROW("two lengths in a list", "POST / HTTP/1.1\r\nContent-Length: 2, 3\r\n\r\n",
		    "framing-error"),
		ROW("an underscore in a length", "POST / HTTP/1.1\r\nContent-Length: 1_6\r\n\r\n",
		    "framing-error"),
		ROW("two signs", "POST / HTTP/1.1\r\nContent-Length: ++2\r\n\r\n", "framing-error"),
		ROW("a space after a sign", "POST / HTTP/1.1\r\nContent-Length: + 2\r\n\r\n",
		    "framing-error"),
		ROW("a control character in the target", "POST /a\x01 HTTP/1.1\r\n",
		    "framing-error"),
		ROW("a tab in the target", "POST /a\tb HTTP/1.1\r\n", "framing-error"),
		ROW("a version in lower case", "POST / http/1.1\r\n\r\n", "framing-error"),
		ROW("RTSP, as llhttp serves it", "POST / RTSP/1.0\r\n", "framing-error"),
		ROW("ICE, as llhttp serves it", "SOURCE / ICE/1.0\r\n", "framing-error"),
		ROW("a space of Unicode", "POST\xa0/\xa0HTTP/1.1\r\n", "framing-error"),
		ROW("a line without a colon", "POST / HTTP/1.1\r\nhello\r\n\r\n", "framing-error"),
		ROW("a control character in a name", "POST / HTTP/1.1\r\nA\x01: b\r\n\r\n",
		    "framing-error"),
		ROW("bare CR in a value", "POST / HTTP/1.1\r\nA: b\rContent-Length: 2\r\n\r\n",
		    "framing-error"),
		ROW("bare CR in a value that matters",
		    "POST / HTTP/1.1\r\nConnection: b\rc\r\n\r\n", "framing-error"),
		ROW("bare CR at the end", "POST / HTTP/1.1\r\nA: b\r\n\rGET", "framing-error"),
		ROW("a body after CONNECT", "CONNECT a HTTP/1.1\r\nContent-Length: 2\r\n\r\n",
		    "framing-error"),
		ROW("a body that may be a request: with GET",
		    "GET / HTTP/1.1\r\nContent-Length: 16\r\n\r\n", "framing-error"),
		ROW("… with another method",
		    "OPTIONS / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "framing-error"),
		ROW("… with DELETE, in chunks",
		    "DELETE / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "framing-error"),
		ROW("… after a request line that is not exact: its case",
		    "put / HTTP/1.1\r\nContent-Length: 16\r\n\r\n", "framing-error"),
		ROW("… its spaces", "DELETE  / HTTP/1.1\r\nContent-Length: 16\r\n\r\n",
		    "framing-error"),
		ROW("… its version", "PATCH / HTTP/1.2\r\nContent-Length: 16\r\n\r\n",
		    "framing-error"),
		ROW("HTTP/0.9", "GET /\r\n", "framing-error"),
		ROW("no version", "GET / \r\n\r\n", "framing-error"),
		ROW("no target", "GET  \r\n", "framing-error"),
	};

	check(FEED_REQUEST, rows, COUNT(rows));
}

/* Invariant 7: what most servers read alike has no framing error. */
static void what_servers_read_alike_is_framed_so(void **state)
{
#define HEAD "POST / HTTP/1.1\r\n"
#define TAIL "Content-Length: 2\r\n\r\n{}"
	static const struct row rows[] = {
		ROW("a folded line", HEAD "A: b\r\n c\r\n" TAIL,
		    "head(POST / 1.1 length=2)@48 end@50"),
		ROW("a line folded by a tab, twice",
		    HEAD "A: b\r\n\tContent-Length: 9\r\n\t\r\n" TAIL,
		    "head(POST / 1.1 length=2)@67 end@69"),
		ROW("a folded line first", HEAD " A: b\r\n" TAIL,
		    "head(POST / 1.1 length=2)@45 end@47"),
		ROW("the same length in a list", HEAD "Content-Length: 2 ,2, 2\r\n\r\n{}",
		    "head(POST / 1.1 length=2)@44 end@46"),
		ROW("the same length twice", HEAD "Content-Length: 2\r\n" TAIL,
		    "head(POST / 1.1 length=2)@57 end@59"),
		ROW("a plus before a length", HEAD "Content-Length: +2\r\n\r\n{}",
		    "head(POST / 1.1 length=2)@39 end@41"),
		ROW("no name", HEAD ": b\r\n" TAIL, "head(POST / 1.1 length=2)@43 end@45"),
		ROW("a comma in the name", HEAD "X,content-length: 9\r\n" TAIL,
		    "head(POST / 1.1 length=2)@59 end@61"),
		ROW("NUL in a value", HEAD "A: b\0c\r\n" TAIL,
		    "head(POST / 1.1 length=2)@46 end@48"),
		ROW("NUL in a long value", HEAD "Xyz: " VALUE_95 "\0\r\n" TAIL,
		    "head(POST / 1.1 length=2)@141 end@143"),
		ROW("HTTP/1.2", "POST / HTTP/1.2\r\n" TAIL, "head(POST / 1.1 length=2)@38 end@40"),
		ROW("HTTP/2.0", "POST / HTTP/2.0\r\n" TAIL, "head(POST / 1.1 length=2)@38 end@40"),
		ROW("a short body with GET",
		    "GET / HTTP/1.1\r\nContent-Length: 15\r\n\r\n0123456789abcde",
		    "head(GET / 1.1 length=15)@38 end@53"),
		ROW("a body with DELETE",
		    "DELETE / HTTP/1.1\r\nContent-Length: 16\r\n\r\n0123456789abcdef",
		    "head(DELETE / 1.1 length=16)@41 end@57"),
		ROW("any character in a method", "\x16\x03\x01:,;\0P / HTTP/1.1\r\n" TAIL,
		    "head(OTHER / 1.1 length=2)@42 end@44"),
		ROW("HTTP/0.9 with a head", "POST / HTTP/0.9\r\n" TAIL,
		    "head(POST / 1.0 length=2)@38 end@40"),
		ROW("a version of two digits", "POST / HTTP/1.10\r\n" TAIL,
		    "head(POST / 1.1 length=2)@39 end@41"),
		ROW("spaces of all kinds", " \tPOST\t\x0b/ \x0c \x1cHTTP/1.1 \x1f\r\n" TAIL,
		    "head(POST / 1.1 length=2)@46 end@48"),
		ROW("bare LF around a chunk",
		    HEAD "Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\r\n\r\n",
		    "head(POST / 1.1 chunked)@47 end@57"),
		ROW("a space before a chunk's size",
		    HEAD "Transfer-Encoding: chunked\r\n\r\n \t2\r\n{}\r\n0\r\n\r\n",
		    "head(POST / 1.1 chunked)@47 end@61"),
		ROW("a folded trailer",
		    HEAD "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n c\r\n\r\n",
		    "head(POST / 1.1 chunked)@47 end@62"),
	};

	check(FEED_REQUEST, rows, COUNT(rows));
}

/* Invariant 7: one of its readings frames the request, and a mark says that there are others. */
static void a_request_with_several_ends_is_marked(void **state)
{
	static const struct row rows[] = {
		ROW("both framings",
		    HEAD "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		    "head(POST / 1.1 chunked several-ends)@66 end@71"),
		ROW("both framings, the length last",
		    HEAD "Transfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n0\r\n\r\n",
		    "head(POST / 1.1 chunked several-ends)@66 end@71"),
		ROW("bare LF after the request line", "POST / HTTP/1.1\n" TAIL,
		    "head(POST / 1.1 several-ends length=2)@37 end@39"),
		ROW("bare LF after a line", HEAD "A: b\n" TAIL,
		    "head(POST / 1.1 several-ends length=2)@43 end@45"),
		ROW("bare LF after a length", HEAD "Content-Length: 2\n\r\n{}",
		    "head(POST / 1.1 several-ends length=2)@37 end@39"),
		ROW("bare LF at the end", HEAD "Content-Length: 2\r\n\n{}",
		    "head(POST / 1.1 several-ends length=2)@37 end@39"),
	};

	check(FEED_REQUEST, rows, COUNT(rows));
}

/* Invariant 1: what no server reads is no request. */
static void what_no_server_reads_is_no_request(void **state)
{
	static const struct row rows[] = {
		ROW("the preface of HTTP/2, from its second line on",
		    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "head(OTHER * 1.1)@18 end@18 no-request"),
		ROW("a space in the target", "POST /a b HTTP/1.1\r\n\r\n", "no-request"),
		ROW("a word after the version", "POST / HTTP/1.1 x\r\n\r\n", "no-request"),
		ROW("no target", "POST\r\n", "no-request"),
		ROW("SMTP", "EHLO example.org\r\n", "no-request"),
		ROW("TLS, from a line end on", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
		    "no-request"),
		ROW("a second request that is none", "GET / HTTP/1.1\r\n\r\nnonsense\r\n\r\n",
		    "head(GET / 1.1)@18 end@18 no-request"),
	};

	check(FEED_REQUEST, rows, COUNT(rows));
}
#undef HEAD
#undef TAIL

/* Lines that are passed without a look at their value still pass the checks of framing. */
static void a_line_that_does_not_matter_can_be_a_framing_error(void **state)
{
#define HEAD "POST / HTTP/1.1\r\nHost: a\r\n"
#define TAIL "Content-Length: 2\r\n\r\n{}"
	static const struct row rows[] = {
		ROW("a space before the colon", HEAD "Xyz : b\r\n" TAIL, "framing-error"),
		ROW("a tab before the colon", HEAD "Xyz\t: b\r\n" TAIL, "framing-error"),
		ROW("a control character in the name", HEAD "X\x01yz: b\r\n" TAIL, "framing-error"),
		ROW("NUL in the name", HEAD "X\0yz: b\r\n" TAIL, "framing-error"),
		ROW("a semicolon for the colon", HEAD "Xyz; b\r\n" TAIL, "framing-error"),
		ROW("no colon", HEAD "Xyz\r\n" TAIL, "framing-error"),
		ROW("bare CR in the value", HEAD "Xyz: b\rc\r\n" TAIL, "framing-error"),
		ROW("CR twice", HEAD "Xyz: b\r\r\n" TAIL, "framing-error"),
		ROW("a space after a name of 31 bytes", HEAD NAME_31 " : b\r\n" TAIL,
		    "framing-error"),
		ROW("a space after a name of 32 bytes", HEAD NAME_31 "x : b\r\n" TAIL,
		    "framing-error"),
		ROW("CR alone after the last line", HEAD "Xyz: b\r\n\rx", "framing-error"),
		ROW("two lengths, and more after them",
		    HEAD "Content-Length: 3\r\nContent-Length: 2\r\nXyz: bcdefgh\r\n\r\n{}",
		    "framing-error"),
		ROW("a length after sixteen lines, then another",
		    HEAD EIGHT("A: b\r\n") EIGHT("C-D: e\r\n") "Content-Length: 3\r\n" TAIL,
		    "framing-error"),
	};

	check(FEED_REQUEST, rows, COUNT(rows));
}

static void lines_that_do_not_matter_are_passed(void **state)
{
	static const struct row rows[] = {
		ROW("an empty value", HEAD "Xyz:\r\n" TAIL, "head(POST / 1.1 length=2)@53 end@55"),
		ROW("a tab and a control character in the value", HEAD "Xyz:\tb\x01c\r\n" TAIL,
		    "head(POST / 1.1 length=2)@56 end@58"),
		ROW("bytes above 127 in the name", HEAD "X\xff\xba: b\r\n" TAIL,
		    "head(POST / 1.1 length=2)@55 end@57"),
		ROW("a bare LF", HEAD "Xyz: b\nYz: c\n" TAIL,
		    "head(POST / 1.1 several-ends length=2)@60 end@62"),
		ROW("a value longer than is looked at", HEAD "Xyz: " VALUE_95 VALUE_95 "\r\n" TAIL,
		    "head(POST / 1.1 length=2)@244 end@246"),
		ROW("names of 31, 32 and 33 bytes",
		    HEAD NAME_31 ": b\r\n" NAME_31 "x: b\r\n" NAME_31 "xy: b\r\n" TAIL,
		    "head(POST / 1.1 length=2)@158 end@160"),
		ROW("names that begin or end as ours do",
		    HEAD
		    "C: 1\r\nContent-: 1\r\nContent-Length-: 9\r\nContent-Type: a\r\nTransfer: chunked\r\n"
		    "-Content-Length: 9\r\nContent_Length: 9\r\nTransfer-Encodinh: chunked\r\n"
		    "Date: x\r\nAuthorization: x\r\n" TAIL,
		    "head(POST / 1.1 length=2)@216 end@218"),
		ROW("names with the bit of Content-Length, found by trying",
		    HEAD "Cont-adi: 9\r\ncontahfslength: 9\r\n" TAIL,
		    "head(POST / 1.1 length=2)@79 end@81"),
		ROW("more of them than one step takes", HEAD EIGHT(EIGHT("Ab-C: d\r\n")) TAIL,
		    "head(POST / 1.1 length=2)@623 end@625"),
		ROW("a length first",
		    "POST / HTTP/1.1\r\nContent-Length: 2\r\nA: b\r\nC: d\r\n\r\n{}",
		    "head(POST / 1.1 length=2)@50 end@52"),
		ROW("lengths of seven and eight digits",
		    "POST / HTTP/1.1\r\nContent-Length: 0000002\r\nContent-Length: 00000002\r\nA: b\r\n\r\n{}",
		    "head(POST / 1.1 length=2)@76 end@78"),
		ROW("a length that ends in a space, or in LF",
		    "POST / HTTP/1.1\r\nContent-Length: 2 \r\nContent-Length: 2\nA: b\r\n\r\n{}",
		    "head(POST / 1.1 several-ends length=2)@63 end@65"),
		ROW("a length among trailers",
		    "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 7\r\nA: b\r\n\r\n",
		    "head(POST / 1.1 chunked)@47 end@77"),
	};

	check(FEED_REQUEST, rows, COUNT(rows));
}

/*
 * The bit of a name that selects lines misses no wanted one, and slows none that many clients send.
 */
static void names_are_distinguished_by_their_bits(void **state)
{
	static const char *const usual[] = {
		"host",
		"accept",
		"accept-encoding",
		"accept-language",
		"user-agent",
		"cookie",
		"origin",
		"x-stainless-lang",
		"x-stainless-package-version",
		"x-stainless-os",
		"x-stainless-arch",
		"x-stainless-runtime",
		"x-stainless-runtime-version",
		"x-stainless-async",
		"x-stainless-retry-count",
		"x-stainless-read-timeout",
		"openai-organization",
		"x-request-id",
		"x-forwarded-proto",
		"x-real-ip",
		"traceparent",
		"anthropic-version",
		"server",
		"vary",
		"cache-control",
		"keep-alive",
	};
	static const char alphabet[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
	char wanted[HTTP1_WANTED][HTTP1_TOKEN_MAX] = {"", "authorization", "x-api-key", "",
						      "x-forwarded-for"};
	__u64 bits = http1_names(wanted[0]) | http1_own_names(&(struct http1_frame){0}, 0) |
		     http1_own_names(&(struct http1_frame){0}, 1);
	unsigned seed = 1;

	for (size_t i = 0; i < COUNT(usual); i++) {
		char name[HTTP1_TOKEN_MAX] = "";

		strcpy(name, usual[i]);
		memset(wanted, 0, sizeof(wanted));
		strcpy(wanted[0], name);
		if (http1_names(wanted[0]) & bits)
			fail_msg("%s", name);
	}
	for (int i = 0; i < 2000; i++) {
		char head[128], name[HTTP1_TOKEN_MAX] = "", lower[HTTP1_TOKEN_MAX] = "", *said;
		size_t len = 1 + rand_r(&seed) % (HTTP1_TOKEN_MAX - 1);

		for (size_t k = 0; k < len; k++) {
			name[k] = alphabet[rand_r(&seed) % (sizeof(alphabet) - 1)];
			lower[k] = (char)tolower(name[k]);
		}
		snprintf(head, sizeof(head),
			 "GET / HTTP/1.1\r\nOne-Line: b\r\n%s: kept\r\nAnd-Another: d\r\n\r\n",
			 name);
		feed_wanted = lower;
		said = feed_cut(FEED_REQUEST, 0, head, strlen(head), 0, SCAN_BUF, 0);
		assert_non_null(strstr(said, "<kept>"));
		free(said);
	}
	feed_wanted = "";
}

/* True if a header is read in a message of this kind, at every position and split. */
static bool reads(enum feed_kind kind, const char *name, const char *value, const char *said)
{
	static const char *const around[] = {"", "One-Line: b\r\n",
					     "One-Line: b\r\nAnd-Another: c\r\n"};
	int found = 0;

	for (size_t i = 0; i < COUNT(around); i++) {
		char head[256], *text;

		snprintf(head, sizeof(head), "%s\r\n%s%s: %s\r\n%s\r\n",
			 kind == FEED_REQUEST ? "POST / HTTP/1.1" : "HTTP/1.1 200 OK", around[i],
			 name, value, around[COUNT(around) - 1 - i]);
		text = feed_every_way(kind, HTTP1_METHOD_POST, head, strlen(head));
		found += !!strstr(text, said);
		free(text);
	}
	if (found && found != COUNT(around))
		fail_msg("%s is read in %d of %zu positions", name, found, COUNT(around));
	return found;
}

/* A header is in the table exactly if the scanner reads it. */
static void every_header_of_the_table_is_read_as_its_example_says(void **state)
{
	static const struct {
		const char *name;
		enum http1_message messages;
	} table[HTTP1_HEADER_COUNT] = {
#define X(header, name, messages, begin, element) [HTTP1_HEADER_##header] = {name, messages},
		HTTP1_HEADERS(X)
#undef X
	};
	static const struct {
		const char *value, *said;
		const char *in_requests[2]; /* if it means something else there */
	} examples[HTTP1_HEADER_COUNT] = {
		[HTTP1_HEADER_CONTENT_LENGTH] = {"3", "length=3"},
		[HTTP1_HEADER_TRANSFER_ENCODING] = {"chunked", "chunked"},
		[HTTP1_HEADER_CONTENT_ENCODING] = {"gzip", "encoded"},
		[HTTP1_HEADER_CONTENT_TYPE] = {"text/event-stream",
					       "sse",
					       {"multipart/form-data; boundary=b",
						"multipart=--b"}},
		[HTTP1_HEADER_CONNECTION] = {"Upgrade, close", "close"},
		[HTTP1_HEADER_EXPECT] = {"100-continue", "expects"},
		[HTTP1_HEADER_DATE] = {"Sun, 22 Nov 2026 02:42:00 GMT", "date@"},
	};

	for (int i = HTTP1_HEADER_OTHER + 1; i < HTTP1_HEADER_COUNT; i++) {
		char other[HTTP1_TOKEN_MAX];

		if (!examples[i].said)
			fail_msg("no example says what %s changes", table[i].name);
		for (int k = HTTP1_HEADER_OTHER + 1; k < i; k++)
			assert_string_not_equal(table[i].name, table[k].name);
		for (enum feed_kind kind = FEED_REQUEST; kind <= FEED_RESPONSE; kind++) {
			enum http1_message message =
				kind == FEED_REQUEST ? HTTP1_REQUESTS : HTTP1_RESPONSES;
			bool want = table[i].messages & message;
			const char *value = examples[i].value, *said = examples[i].said;

			if (kind == FEED_REQUEST && examples[i].in_requests[0]) {
				value = examples[i].in_requests[0];
				said = examples[i].in_requests[1];
			}
			if (reads(kind, table[i].name, value, said) != want)
				fail_msg("%s: %s", table[i].name, want ? "not read" : "read");
		}
		snprintf(other, sizeof(other), "x%s", table[i].name + 1);
		assert_false(reads(FEED_RESPONSE, other, examples[i].value, examples[i].said));
	}
}

static void the_wanted_header_is_kept_at_every_split(void **state)
{
	static const struct row rows[] = {
		ROW("a value", "POST / HTTP/1.1\r\nA: b\r\nX-Model: llama-3.1-8b\r\nC: d\r\n\r\n",
		    "head(POST / 1.1 <llama-3.1-8b>)@54 end@54"),
		ROW("white space around it", "GET / HTTP/1.1\r\nx-model:\t  a/b \t \r\n\r\n",
		    "head(GET / 1.1 <a/b>)@37 end@37"),
		ROW("none around it, and a bare LF", "GET / HTTP/1.1\r\nX-MODEL:m\n\n",
		    "head(GET / 1.1 <m> several-ends)@27 end@27"),
		ROW("no value", "GET / HTTP/1.1\r\nX-Model:  \r\n\r\n",
		    "head(GET / 1.1 <>)@30 end@30"),
		ROW("each of its own request",
		    "GET /a HTTP/1.1\r\nX-Model: a-long-one\r\n\r\nGET /b HTTP/1.1\r\nX-Model: b\r\n\r\n"
		    "GET /c HTTP/1.1\r\n\r\n",
		    "head(GET /a 1.1 <a-long-one>)@40 end@40 head(GET /b 1.1 <b>)@71 end@71 "
		    "head(GET /c 1.1)@90 end@90"),
		ROW("names that only begin or end like it",
		    "GET / HTTP/1.1\r\nX-Models: a\r\nX-Mode: b\r\nXX-Model: c\r\n\r\n",
		    "head(GET / 1.1)@55 end@55"),
		ROW("bytes above 127", "GET / HTTP/1.1\r\nX-Model: \xc3\xa4\xff\r\n\r\n",
		    "head(GET / 1.1 <\xc3\xa4\xff>)@32 end@32"),
		ROW("of 95 bytes", "GET / HTTP/1.1\r\nX-Model: " VALUE_95 " \r\n\r\n",
		    "head(GET / 1.1 <" VALUE_95 ">)@125 end@125"),
		ROW("of 96 bytes", "GET / HTTP/1.1\r\nX-Model: " VALUE_95 "c\r\nA: b\r\n\r\n",
		    "head(GET / 1.1 value!)@131 end@131"),
		ROW("of 300 bytes",
		    "GET / HTTP/1.1\r\nX-Model: " VALUE_95 VALUE_95 VALUE_95 "\r\n\r\n",
		    "head(GET / 1.1 value!)@314 end@314"),
		ROW("two words", "GET / HTTP/1.1\r\nX-Model: a b\r\n\r\n",
		    "head(GET / 1.1 value!)@32 end@32"),
		ROW("a control character", "GET / HTTP/1.1\r\nX-Model: a\x01\r\n\r\n",
		    "head(GET / 1.1 value!)@31 end@31"),
		ROW("twice", "GET / HTTP/1.1\r\nX-Model: a\r\nA: b\r\nx-model: a\r\n\r\n",
		    "head(GET / 1.1 value!)@48 end@48"),
		ROW("a zero", "GET / HTTP/1.1\r\nX-Model: a\0b\r\n\r\n", "framing-error"),
		ROW("in a trailer",
		    "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Model: a\r\n\r\n",
		    "head(POST / 1.1 chunked)@47 end@64"),
		ROW("in front of a header that matters",
		    "POST / HTTP/1.1\r\nX-Model: a\r\nContent-Length: 2\r\n\r\n{}",
		    "head(POST / 1.1 <a> length=2)@50 end@52"),
	};
	static const struct row longest[] = {
		ROW("a name of 31 bytes",
		    "GET / HTTP/1.1\r\nX-The-Longest-Name-Of-A-Header-: a\r\n\r\n",
		    "head(GET / 1.1 <a>)@54 end@54"),
		ROW("a longer one", "GET / HTTP/1.1\r\n" NAME_31 "b: a\r\n\r\n",
		    "head(GET / 1.1)@55 end@55"),
		ROW("a much longer one", "GET / HTTP/1.1\r\n" NAME_31 NAME_31 ": a\r\n\r\n",
		    "head(GET / 1.1)@85 end@85"),
		ROW("one with another 25th byte",
		    "GET / HTTP/1.1\r\nx-the-longest-name-of-a-_eader-: a\r\n\r\n",
		    "head(GET / 1.1)@54 end@54"),
	};
	static const struct row underscore[] = {
		ROW("an underscore", "GET / HTTP/1.1\r\nX_Model2: a\r\n\r\n",
		    "head(GET / 1.1 <a>)@31 end@31"),
	};
	static const struct row known[] = {
		ROW("a header that matters anyway stays what it is",
		    "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
		    "head(POST / 1.1 length=2)@38 end@40"),
	};

	feed_wanted = "x-model";
	check(FEED_REQUEST, rows, COUNT(rows));
	feed_wanted = NAME_31;
	check(FEED_REQUEST, longest, COUNT(longest));
	feed_wanted = "x_model2";
	check(FEED_REQUEST, underscore, COUNT(underscore));
	feed_wanted = "content-length";
	check(FEED_REQUEST, known, COUNT(known));
	feed_wanted = "";
	check(FEED_REQUEST, known, COUNT(known));
}

static void a_head_over_64_kib_is_a_framing_error(void **state)
{
	static char head[HTTP1_HEAD_MAX + 64];
	static const char start[] = "GET / HTTP/1.1\r\nX: ";
	size_t len = sizeof(start) - 1;
	char *said;

	memset(head, 'a', sizeof(head));
	memcpy(head, start, len);
	memcpy(head + HTTP1_HEAD_MAX - 4, "\r\n\r\n", 4);
	said = feed_cut(FEED_REQUEST, 0, head, HTTP1_HEAD_MAX, 0, SCAN_BUF, 0);
	assert_string_equal(said, "head(GET / 1.1)@65536 end@65536");
	free(said);
	for (size_t window = 1; window <= SCAN_BUF; window += 89) {
		memset(head + len, 'a', sizeof(head) - len);
		memcpy(head + HTTP1_HEAD_MAX - 3, "\r\n\r\n", 4);
		said = feed_cut(FEED_REQUEST, 0, head, HTTP1_HEAD_MAX + 1, 0, window, 0);
		assert_string_equal(said, "framing-error");
		free(said);
	}
}

/*
 * Invariant 7, and the cost of a long prompt: the scanner reads only bytes that may name the model.
 */
static void a_body_is_skipped_unseen_once_it_can_name_no_model(void **state)
{
	static const struct {
		const char *head, *begin;
		int fill;
		size_t seen_at_most;
	} rows[] = {
		{"Content-Length: 100000\r\n\r\n", "{\"model\":\"m\"}", ' ', 4000},
		{"Content-Length: 100000\r\n\r\n", "[1,2", ',', 4000},
		{"Content-Encoding: gzip\r\nContent-Length: 100000\r\n\r\n", "", 'x', 4000},
		{"Content-Length: 100000\r\n\r\n", "{\"a\":\"", 'x', 200000},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct feed f;
		char *bytes = malloc(200000);
		int head = sprintf(bytes, "POST / HTTP/1.1\r\n%s", rows[i].head);

		assert_non_null(bytes);
		memset(bytes + head, rows[i].fill, 100000);
		memcpy(bytes + head, rows[i].begin, strlen(rows[i].begin));
		feed_begin(&f, FEED_REQUEST, 0, SCAN_BUF);
		feed(&f, bytes, head + 100000);
		assert_int_equal(f.offset, head + 100000);
		assert_true(f.offset - f.skipped <= rows[i].seen_at_most);
		assert_non_null(strstr(f.text, "end@"));
		feed_end(&f);
		free(bytes);
	}
}

/* Invariant 1: a body with a gap keeps its framing and loses only its model. */
static void a_gap_in_a_body_ends_the_scan_and_not_the_framing(void **state)
{
	static const char head[] =
		"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n{\"model\":\"a\",\"x";
	struct feed f;
	__u32 ev = 0;

	feed_begin(&f, FEED_REQUEST, 0, SCAN_BUF);
	feed(&f, head, sizeof(head) - 1);
	http1_request_skipped(&f.request, 40, &ev);
	assert_int_equal(ev, 0);
	assert_int_equal(http1_request_skippable(&f.request), 45);
	assert_true(f.request.json.flags & JSON_MODEL_GAP);
	http1_request_skipped(&f.request, 45, &ev);
	assert_int_equal(ev, HTTP1_END);
	feed_end(&f);
}

#define SSE_HEAD                                                                                   \
	"HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nAccess-Control-Allow-Origin: \r\n"                \
	"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"                        \
	"Keep-Alive: timeout=5, max=100\r\n\r\n"

/* Invariant 7. */
static void a_response_split_at_every_byte_gives_the_same_events(void **state)
{
	static const struct row rows[] = {
		ROW("a plain reply",
		    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
		    "head(200 length=2)@70 body end@72"),
		ROW("blank lines before a body",
		    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n0\r\n\r\n",
		    "head(200 chunked)@47 end@58"),
		ROW("the version of its request", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		    "head(200 length=2)@38 body end@40"),
		ROW("llama.cpp's stream",
		    SSE_HEAD "15\r\ndata: {\"content\":\"a\"}\r\n3\r\n\n\n \r\n"
			     "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n",
		    "head(200 sse chunked)@162 body event generated event end@221"),
		ROW("uvicorn's stream type",
		    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
		    "0\r\n\r\n",
		    "head(200 sse chunked)@95 end@100"),
		ROW("Ollama's stream type",
		    "HTTP/1.1 200 OK\r\nContent-Type: Application/X-NDJSON\r\nContent-Length: 3\r\n\r\n{}\n",
		    "head(200 ndjson length=3)@74 body event end@77"),
		ROW("jsonl",
		    "HTTP/1.1 200 OK\r\nContent-Type:application/jsonl;a\r\nContent-Length: 2\r\n\r\n{}",
		    "head(200 ndjson length=2)@72 body event end@74"),
		ROW("nginx's plain reply",
		    "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 22 Nov 2026 02:42:00 GMT\r\n"
		    "Content-Type: text/plain\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}",
		    "date@44 head(200 length=2)@147 body end@149"),
		ROW("types of 31, 32 and 33 bytes, then a stream",
		    "HTTP/1.1 200 OK\r\nContent-Type: application/jsonl-seventeen-and-\r\n"
		    "Content-Type: text/event-stream-seventeen-and-\r\n"
		    "Content-Type: text/event-stream-seventeen-and-a;b\r\nContent-Type: text/event-stream\r\n"
		    "Content-Length: 1\r\n\r\n\n",
		    "head(200 sse length=1)@218 body end@219"),
		ROW("a stream's type, then another",
		    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Type:text/plain\r\n"
		    "Content-Length: 1\r\n\r\n\n",
		    "head(200 length=1)@96 body end@97"),
		ROW("an empty type, one of two words, and one after a tab",
		    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Type: \r\n"
		    "Content-Length: 1\r\n\r\n\n"
		    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream x\r\nContent-Length: 1\r\n\r\n\n"
		    "HTTP/1.1 200 OK\r\nContent-Type:\ttext/event-stream\r\nContent-Length: 1\r\n\r\n\n",
		    "head(200 sse length=1)@87 body end@88 head(200 length=1)@161 body end@162 "
		    "head(200 sse length=1)@233 body end@234"),
		ROW("reasons of every length, and line ends",
		    "HTTP/1.1 204 \r\n\r\nHTTP/1.1 204 N\r\n\r\nHTTP/1.1 204 123456\r\n\r\n"
		    "HTTP/1.1 204 1234567\r\n\r\nHTTP/1.1 204 12345678\r\n\r\nHTTP/1.1 204 N\nA: b\n\n",
		    "head(204)@17 end@17 head(204)@35 end@35 head(204)@58 end@58 head(204)@82 end@82 "
		    "head(204)@107 end@107 head(204 several-ends)@128 end@128"),
		ROW("a type that only begins like a stream",
		    "HTTP/1.1 200 OK\r\nContent-Type: text/event-streams\r\nContent-Length: 2\r\n\r\n{}",
		    "head(200 length=2)@72 body end@74"),
		ROW("interim heads",
		    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: a\r\nContent-Length: 9\r\n\r\n"
		    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
		    "interim@25 interim@75 head(200 length=1)@113 body end@114"),
		ROW("no reason, no body",
		    "HTTP/1.1 204\r\nContent-Length: 5\r\n\r\nHTTP/1.1 304 \r\n\r\nHTTP/1.0 200 OK\r\n\r\nx",
		    "head(204)@35 end@35 head(304)@52 end@52 head(200 unbounded)@71 body"),
		ROW_TO(HTTP1_METHOD_HEAD, "HEAD",
		       "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		       "head(200)@38 end@38 head(200 chunked)@85 end@85"),
		ROW_TO(HTTP1_METHOD_CONNECT, "CONNECT", "HTTP/1.1 200 OK\r\n\r\nHTTP",
		       "head(200)@19 upgraded"),
		ROW_TO(HTTP1_METHOD_CONNECT, "CONNECT refused",
		       "HTTP/1.1 403 No\r\nContent-Length: 1\r\n\r\nx",
		       "head(403 length=1)@38 body end@39"),
		ROW("101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x05",
		    "head(101)@56 upgraded"),
		ROW("until it closes",
		    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\r\n"
		    "data: x\n\ndata: y\n\n",
		    "head(200 sse unbounded)@71 body event generated guess event generated"),
		ROW("a coding that is not chunked",
		    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
		    "head(200 encoded unbounded)@44 body"),
		ROW("an empty chunked body",
		    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		    "head(200 chunked)@47 end@52"),
		ROW("a chunked plain reply and the next one",
		    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\nA: b\r\n\r\n"
		    "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
		    "head(200 chunked)@47 body end@72 head(404)@117 end@117"),
		ROW("a compressed stream counts its chunks",
		    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: br\r\n"
		    "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
		    "head(200 encoded-stream chunked encoded)@102 body event generated event generated end@122"),
	};

	check(FEED_RESPONSE, rows, COUNT(rows));
}

/* Invariants 1 and 7. */
static void an_ambiguous_response_is_a_framing_error(void **state)
{
	static const struct row rows[] = {
		ROW("both framings",
		    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
		    "framing-error"),
		ROW("two lengths",
		    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 1\r\n\r\n",
		    "framing-error"),
		ROW("a tab after chunked",
		    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\t\r\n\r\n", "framing-error"),
		ROW("an empty coding before chunked",
		    "HTTP/1.1 200 OK\r\nTransfer-Encoding: , chunked\r\n\r\n", "framing-error"),
		ROW("chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		    "framing-error"),
		ROW("bare CR in the reason", "HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\n",
		    "framing-error"),
		ROW("CR at the end of the reason", "HTTP/1.1 200 OK\rContent-Length: 2\r\n\r\n",
		    "framing-error"),
		ROW("a space before a colon", "HTTP/1.1 200 OK\r\nServer : a\r\n\r\n",
		    "framing-error"),
		ROW("NUL in a type", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\0\r\n\r\n",
		    "framing-error"),
		ROW("a status of two digits", "HTTP/1.1 20 OK\r\n", "framing-error"),
		ROW("a status of four digits", "HTTP/1.1 2000 OK\r\n", "framing-error"),
		ROW("a status below 100", "HTTP/1.1 099 OK\r\n", "framing-error"),
		ROW("no status", "HTTP/1.1 OK\r\n", "framing-error"),
		ROW("no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", "framing-error"),
		ROW("a folded line", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "framing-error"),
		ROW("a bad chunk size",
		    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
		    "head(200 chunked)@47 framing-error"),
	};

	check(FEED_RESPONSE, rows, COUNT(rows));
}

static void a_close_ends_an_unbounded_response_and_cuts_any_other(void **state)
{
	static const struct {
		const char *bytes;
		__u32 ev;
	} rows[] = {
		{"HTTP/1.1 200 OK\r\n\r\nabc", HTTP1_END},
		{"HTTP/1.0 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n{\"x\":1}",
		 HTTP1_END},
		{"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", HTTP1_FRAMING_ERROR},
		{"HTTP/1.1 200 OK\r\nContent-Le", HTTP1_FRAMING_ERROR},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct feed f;
		__u32 ev = 0;

		feed_begin(&f, FEED_RESPONSE, 0, SCAN_BUF);
		feed(&f, rows[i].bytes, strlen(rows[i].bytes));
		http1_response_closed(&f.response, &ev);
		assert_int_equal(ev, rows[i].ev);
		feed_end(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_split_at_every_byte_gives_the_same_events),
		cmocka_unit_test(a_chunked_request_ends_after_its_trailers),
		cmocka_unit_test(an_ambiguous_request_is_a_framing_error),
		cmocka_unit_test(what_servers_read_alike_is_framed_so),
		cmocka_unit_test(a_request_with_several_ends_is_marked),
		cmocka_unit_test(what_no_server_reads_is_no_request),
		cmocka_unit_test(a_line_that_does_not_matter_can_be_a_framing_error),
		cmocka_unit_test(lines_that_do_not_matter_are_passed),
		cmocka_unit_test(names_are_distinguished_by_their_bits),
		cmocka_unit_test(every_header_of_the_table_is_read_as_its_example_says),
		cmocka_unit_test(the_wanted_header_is_kept_at_every_split),
		cmocka_unit_test(a_head_over_64_kib_is_a_framing_error),
		cmocka_unit_test(a_body_is_skipped_unseen_once_it_can_name_no_model),
		cmocka_unit_test(a_gap_in_a_body_ends_the_scan_and_not_the_framing),
		cmocka_unit_test(a_response_split_at_every_byte_gives_the_same_events),
		cmocka_unit_test(an_ambiguous_response_is_a_framing_error),
		cmocka_unit_test(a_close_ends_an_unbounded_response_and_cuts_any_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
