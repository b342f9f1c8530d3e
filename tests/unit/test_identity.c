/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Client identity: addresses as text against inet_pton(), headers of forwarded addresses through
 * the request scanner, and PROXY headers. Every header is also cut at every byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include <sluice/http1.h>
#include <sluice/proxy.h>

static bool pton(const char *text, __u8 out[16])
{
	static const __u8 mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (strchr(text, ':'))
		return inet_pton(AF_INET6, text, out) == 1;
	memcpy(out, mapped, sizeof(mapped));
	return inet_pton(AF_INET, text, out + 12) == 1;
}

static bool scanned(const char *text, __u8 out[16])
{
	struct address_text a = {0};

	for (; *text; text++)
		address_byte(&a, (__u8)*text);
	return address_end(&a, out);
}

static void same_as_pton(const char *text)
{
	__u8 want[16], got[16];
	bool good = pton(text, want);

	if (scanned(text, got) != good || (good && memcmp(want, got, 16)))
		fail_msg("\"%s\" is %san address to inet_pton()", text, good ? "" : "not ");
}

static void rows_of_text_are_addresses_exactly_as_for_inet_pton(void **state)
{
	static const char *const rows[] = {
		"1.2.3.4",
		"0.0.0.0",
		"255.255.255.255",
		"256.1.1.1",
		"1.2.3",
		"1.2.3.4.5",
		"01.2.3.4",
		"1.2.3.04",
		"1.2.3.004",
		"1..2.3",
		".1.2.3",
		"1.2.3.",
		"a.1.2.3",
		"1.2.3.a",
		"1.2.3.1234",
		"1.2.3.0123",
		"::1.2.3.0123",
		"",
		"1",
		"1234",
		"abcd",
		"::",
		"::1",
		"1::",
		"1::8",
		"1:2:3:4:5:6:7:8",
		"1:2:3:4:5:6:7",
		"1:2:3:4:5:6:7:8:9",
		"1:2:3:4:5:6:7::",
		"::2:3:4:5:6:7:8",
		"1::3:4:5:6:7:8",
		"1::2:3:4:5:6:7:8",
		":::",
		"1:::2",
		"1::2::3",
		":1",
		"1:",
		":",
		"12345::",
		"fffff::1",
		"2001:db8::a:b",
		"2001:DB8::A:B",
		"::ffff:1.2.3.4",
		"::1.2.3.4",
		"1::1.2.3.4",
		"1:2:3:4:5:6:1.2.3.4",
		"1:2:3:4:5:6:7:1.2.3.4",
		"1:2:3:4:5:1.2.3.4",
		"::1.2.3",
		"::1.2.3.4:5",
		"::1.2.3.256",
		"g::",
		"fe80::1%eth0",
		"1.2.3.4:80",
		"::ffff:a.2.3.4",
		"::1:2:3:4:5:6:7:8",
		"1:2.3.4.5",
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		same_as_pton(rows[i]);
}

static void random_text_is_an_address_exactly_as_for_inet_pton(void **state)
{
	static const char letters[] = "::::::....0012af";

	srand(1);
	for (int i = 0; i < 400000; i++) {
		char text[24];
		int n = rand() % 20;

		for (int k = 0; k < n; k++)
			text[k] = letters[rand() % 16];
		text[n] = '\0';
		same_as_pton(text);
	}
	for (int i = 0; i < 100000; i++) {
		char text[64];
		__u8 addr[16];

		for (int k = 0; k < 16; k++)
			addr[k] = rand() % 3 ? 0 : rand();
		same_as_pton(inet_ntop(AF_INET6, addr, text, sizeof(text)));
		same_as_pton(inet_ntop(AF_INET, addr, text, sizeof(text)));
	}
}

/* The addresses that the header in these lines gives, with the request fed in two pieces. */
static struct forwarded forwarded_whole(const char *name, const char *lines, size_t cut)
{
	static const struct siphash_secret secret;
	char names[HTTP1_WANTED][HTTP1_TOKEN_MAX] = {"", "authorization"};
	static __u8 buf[SCAN_BUF + SCAN_PAD];
	struct http1_request r = {0};
	char head[512];
	size_t n, at = 0;

	strcpy(names[1 + HTTP1_KEYS_MAX], name);
	n = snprintf(head, sizeof(head), "GET / HTTP/1.1\r\n%s\r\n", lines);
	while (at < n) {
		size_t stop = at < cut ? cut : n;
		__u32 pos = 0, ev = 0;

		memset(buf, '1', sizeof(buf));
		memcpy(buf, head + at, stop - at);
		while (pos < stop - at) {
			pos += http1_request_step(&r, buf, pos, stop - at, names[0],
						  http1_names(names[0]), &secret, &ev);
			assert_false(ev & HTTP1_FRAMING_ERROR);
		}
		at = stop;
	}
	assert_int_equal(r.frame.state, HTTP1_AT_END);
	return r.forwarded;
}

static bool forwarded_by(const char *name, const char *lines, size_t cut, __u8 out[16])
{
	struct forwarded f = forwarded_whole(name, lines, cut);

	memcpy(out, f.addr, 16);
	return f.flags & FORWARDED_KNOWN;
}

static void earlier_addresses_are_kept_up_to_the_first_that_is_none(void **state)
{
	static const struct {
		const char *lines;
		unsigned hops;
		const char *addr[FORWARDED_HOPS]; /* the last first */
	} rows[] = {
		{"X-Forwarded-For: 1.1.1.1\r\n", 1, {"1.1.1.1"}},
		{"X-Forwarded-For: 1.1.1.1, 2.2.2.2,2001:db8::3\r\n",
		 3,
		 {"2001:db8::3", "2.2.2.2", "1.1.1.1"}},
		{"X-Forwarded-For: 1.1.1.1\r\nHost: x\r\nX-Forwarded-For: , 2.2.2.2 ,\r\n",
		 2,
		 {"2.2.2.2", "1.1.1.1"}},
		{"X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 4.4.4.4, 5.5.5.5, 6.6.6.6\r\n",
		 4,
		 {"6.6.6.6", "5.5.5.5", "4.4.4.4", "3.3.3.3"}},
		{"X-Forwarded-For: 1.1.1.1, unknown, 2.2.2.2\r\n", 1, {"2.2.2.2"}},
		{"X-Forwarded-For: 1.1.1.1, 2.2.2.2, unknown\r\n", 0, {NULL}},
		{"X-Forwarded-For: 1.1.1.1, 999.1.1.1, 2.2.2.2, 3.3.3.3\r\n",
		 2,
		 {"3.3.3.3", "2.2.2.2"}},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t n = strlen("GET / HTTP/1.1\r\n") + strlen(rows[i].lines) + 2;

		for (size_t cut = 0; cut < n; cut++) {
			struct forwarded f = forwarded_whole("x-forwarded-for", rows[i].lines, cut);

			if (f.hops != rows[i].hops || !(f.flags & FORWARDED_KNOWN) != !f.hops)
				fail_msg("%s cut at %zu: %u addresses", rows[i].lines, cut, f.hops);
			for (unsigned k = 0; k < rows[i].hops; k++) {
				__u8 want[16];

				assert_true(pton(rows[i].addr[k], want));
				assert_memory_equal(k ? f.before[k - 1] : f.addr, want, 16);
			}
		}
	}
}

static void the_last_forwarded_address_is_found_at_every_cut(void **state)
{
	static const struct {
		const char *name, *lines, *addr;
	} rows[] = {
#define XFF(value, addr) {"x-forwarded-for", "Host: x\r\nX-Forwarded-For: " value "\r\n", addr}
#define FWD(value, addr)                                                                           \
	{                                                                                          \
		"forwarded", "Host: x\r\nForwarded: " value "\r\n", addr                           \
	}
		XFF("192.0.2.1", "192.0.2.1"),
		XFF("192.0.2.1 \t", "192.0.2.1"),
		XFF("6.6.6.6, 192.0.2.1", "192.0.2.1"),
		XFF("6.6.6.6,192.0.2.1,", "192.0.2.1"),
		XFF("garbage, \"open, 192.0.2.1", "192.0.2.1"),
		XFF("192.0.2.1:4711", "192.0.2.1"),
		XFF("2001:db8::1", "2001:db8::1"),
		XFF("[2001:db8::1]", "2001:db8::1"),
		XFF("[2001:db8::1]:4711", "2001:db8::1"),
		XFF("\"[2001:db8::1]:4711\"", "2001:db8::1"),
		XFF("::ffff:192.0.2.1", "192.0.2.1"),
		XFF("192.0.2.1, unknown", NULL),
		XFF("192.0.2.1, _hidden", NULL),
		XFF("192.0.2.1, 1.2.3", NULL),
		XFF("192.0.2.1 6.6.6.6", NULL),
		XFF("192.0.2.1:http", NULL),
		XFF("[192.0.2.1]", NULL),
		XFF("[2001:db8::1", NULL),
		XFF("[2001:db8::1]x", NULL),
		XFF("2001:db8::1]", NULL),
		XFF("\"192.0.2.1", NULL),
		XFF("", NULL),
		XFF(", ,", NULL),
		XFF("for=192.0.2.1", NULL),
		XFF("fe80::1%eth0", NULL),
		XFF("192.0.2.7\r\nX-Forwarded-For: 192.0.2.1", "192.0.2.1"),
		XFF("192.0.2.1\r\nX-Forwarded-For:", "192.0.2.1"),
		XFF("192.0.2.1\r\nX-Forwarded-For: unknown", NULL),
		XFF("192.0.2.1\r\nForwarded: for=6.6.6.6", "192.0.2.1"),
		{"x-forwarded-for", "Forwarded: for=6.6.6.6\r\n", NULL},
		{"x-forwarded-for", "x-FORWARDED-for:192.0.2.1\n", "192.0.2.1"},
		{"", "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n", NULL},
		FWD("for=192.0.2.1", "192.0.2.1"),
		FWD("For=\"192.0.2.1\"", "192.0.2.1"),
		FWD("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
		FWD("proto=http;by=203.0.113.43;FOR=192.0.2.60", "192.0.2.60"),
		FWD("by=\"a;for=6.6.6.6\\\";for=6.6.6.6\";for=192.0.2.1", "192.0.2.1"),
		FWD("for=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
		FWD("for=\"[2001:db8:cafe::17]:4711\";proto=https", "2001:db8:cafe::17"),
		FWD("for=\"192.0.2.1:4711\"", "192.0.2.1"),
		FWD("for=6.6.6.6, for=192.0.2.1", "192.0.2.1"),
		FWD("for=\"6.6.6.6, for=192.0.2.1", "192.0.2.1"),
		FWD("x=\"\\, for=192.0.2.1;proto=http", "192.0.2.1"),
		FWD("for=6.6.6.6, proto=http", NULL),
		FWD("for=6.6.6.6, for=unknown", NULL),
		FWD("for=6.6.6.6, for=_gazonk", NULL),
		FWD("for=6.6.6.6;for=192.0.2.1", NULL),
		FWD("fort=6.6.6.6", NULL),
		FWD("fo=6.6.6.6", NULL),
		FWD("xfor=6.6.6.6", NULL),
		FWD("6.6.6.6", NULL),
		FWD("for=", NULL),
		FWD("for=\"192.0.2.1\"x", NULL),
		FWD("for=6.6.6.6\r\nForwarded: for=192.0.2.1;by=_x", "192.0.2.1"),
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t n = strlen("GET / HTTP/1.1\r\n") + strlen(rows[i].lines) + 2;
		__u8 want[16], got[16];

		if (rows[i].addr)
			assert_true(pton(rows[i].addr, want));
		for (size_t cut = 0; cut < n; cut++)
			if (forwarded_by(rows[i].name, rows[i].lines, cut, got) != !!rows[i].addr ||
			    (rows[i].addr && memcmp(got, want, 16)))
				fail_msg("%s: %s, cut at %zu", rows[i].name, rows[i].lines, cut);
	}
}

/* Feeds a header in two pieces. Returns the state at its end, and in *used its length. */
static int proxy_by(const char *data, size_t n, size_t cut, struct proxy *p, size_t *used)
{
	size_t at = 0;

	memset(p, 0, sizeof(*p));
	while (at < n && p->state < PROXY_DONE) {
		__u32 stop = at < cut ? cut : n, took;

		took = proxy_step(p, (const __u8 *)data + at, stop - at);
		assert_true(took >= 1 && took <= stop - at);
		at += took;
	}
	*used = at;
	return p->state;
}

#define SIG "\r\n\r\n\0\r\nQUIT\n"

static void a_proxy_header_is_read_exactly_at_every_cut(void **state)
{
	static const struct {
		const char *data;
		size_t n;
		int state;
		const char *addr;
	} rows[] = {
#define ROW(data, state, addr) {data, sizeof(data) - 1, state, addr}
		ROW("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", PROXY_DONE, "192.0.2.1"),
		ROW("PROXY TCP6 2001:db8::1 2001:db8::2 65535 1\r\n", PROXY_DONE, "2001:db8::1"),
		ROW("PROXY TCP6 ffff:f:f:f:f:f:f:ffff ffff:f:f:f:f:f:f:ffff 65535 65535\r\n",
		    PROXY_DONE, "ffff:f:f:f:f:f:f:ffff"),
		ROW("PROXY UNKNOWN\r\n", PROXY_DONE, NULL),
		ROW("PROXY UNKNOWN ffff::1 what ever 1 2\r\n", PROXY_DONE, NULL),
		ROW("PROXY UNKNOWNX\r\n", PROXY_BAD, NULL),
		ROW("PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", PROXY_BAD, NULL),
		ROW("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", PROXY_BAD, NULL),
		ROW("PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n", PROXY_BAD, NULL),
		ROW("PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n", PROXY_BAD, NULL),
		ROW("PROXY TCP4 192.0.2.1 192.0.2 1 2\r\n", PROXY_BAD, NULL),
		ROW("PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n", PROXY_BAD, NULL),
		ROW("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", PROXY_BAD, NULL),
		ROW("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", PROXY_BAD, NULL),
		ROW("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", PROXY_BAD, NULL),
		ROW("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", PROXY_BAD, NULL),
		ROW("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rx", PROXY_BAD, NULL),
		ROW("proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n", PROXY_BAD, NULL),
		ROW("POST / HTTP/1.1\r\n", PROXY_BAD, NULL),
		ROW("GET / HTTP/1.1\r\n", PROXY_BAD, NULL),
		ROW("PROXY UNKNOWN 456789012345678901234567890123456789012345678901234567890"
		    "123456789012345678901234567890123456789012\r\n",
		    PROXY_BAD, NULL),
		ROW(SIG "\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\x12\x34\x01\xbb", PROXY_DONE,
		    "192.0.2.1"),
		ROW(SIG "\x21\x11\0\x11\xc0\0\x02\x01\xc6\x33\x64\x01\x12\x34\x01\xbb\x04\0\x02hi",
		    PROXY_DONE, "192.0.2.1"),
		ROW(SIG
		    "\x21\x21\0\x24 \x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01 \x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"
		    "\x12\x34\x01\xbb",
		    PROXY_DONE, "2001:db8::1"),
		ROW(SIG "\x20\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\x12\x34\x01\xbb", PROXY_DONE,
		    NULL),
		ROW(SIG "\x20\0\0\0", PROXY_DONE, NULL),
		ROW(SIG "\x21\0\0\0", PROXY_DONE, NULL),
		ROW(SIG "\x21\x31\0\x04path", PROXY_DONE, NULL),
		ROW(SIG "\x21\x12\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\x12\x34\x01\xbb", PROXY_DONE,
		    NULL),
		ROW(SIG "\x21\x11\0\x0b\xc0\0\x02\x01\xc6\x33\x64\x01\x12\x34\x01", PROXY_BAD,
		    NULL),
		ROW(SIG "\x21\x21\0\x0c", PROXY_BAD, NULL),
		ROW(SIG "\x11\x11\0\x0c", PROXY_BAD, NULL),
		ROW(SIG "\x22\x11\0\x0c", PROXY_BAD, NULL),
		ROW(SIG "\x21\x41\0\x0c", PROXY_BAD, NULL),
		ROW("\r\n\r\n\0\r\nQUIT\r", PROXY_BAD, NULL),
		ROW("\r\n\r\nGET / HTTP/1.1\r\n", PROXY_BAD, NULL),
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[256];
		__u8 want[16];
		struct proxy p;
		size_t used;

		/* the bytes after it are not the header's */
		memcpy(text, rows[i].data, rows[i].n);
		memcpy(text + rows[i].n, "POST / HTTP/1.1\r\n", 17);
		if (rows[i].addr)
			assert_true(pton(rows[i].addr, want));
		for (size_t cut = 0; cut < rows[i].n + 17; cut++) {
			if (proxy_by(text, rows[i].n + 17, cut, &p, &used) != rows[i].state)
				fail_msg("row %zu, cut at %zu: state %u", i, cut, p.state);
			if (rows[i].state == PROXY_BAD)
				continue;
			assert_int_equal(used, rows[i].n);
			assert_int_equal(p.known, !!rows[i].addr);
			if (rows[i].addr)
				assert_memory_equal(p.addr, want, 16);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_of_text_are_addresses_exactly_as_for_inet_pton),
		cmocka_unit_test(random_text_is_an_address_exactly_as_for_inet_pton),
		cmocka_unit_test(earlier_addresses_are_kept_up_to_the_first_that_is_none),
		cmocka_unit_test(the_last_forwarded_address_is_found_at_every_cut),
		cmocka_unit_test(a_proxy_header_is_read_exactly_at_every_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
