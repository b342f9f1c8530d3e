/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The keyed hash of API keys: the vectors that its authors publish, and the hash of header values
 * in pieces of any size. Invariant 9: the parser's state between two pieces shows no part of a key.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sluice/http1.h>

static const struct siphash_secret secret = {0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL,
					     0x1122334455667788ULL};

static __u64 hash_of(const void *data, size_t n)
{
	struct siphash s;

	siphash_begin(&s, &secret);
	for (size_t i = 0; i < n; i++)
		siphash_byte(&s, &secret, ((const __u8 *)data)[i]);
	return siphash_end(&s, &secret);
}

static void the_published_vectors_are_right(void **state)
{
	static const struct {
		size_t n;
		__u64 hash;
	} rows[] = {
		{0, 0x726fdb47dd0e0e31ULL},
		{1, 0x74f839c593dc67fdULL},
		{8, 0x93f5f5799a932462ULL},
		{15, 0xa129ca6149be45e5ULL},
	};
	__u8 input[16];

	for (size_t i = 0; i < sizeof(input); i++)
		input[i] = i;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(hash_of(input, rows[i].n), rows[i].hash);
}

/* Feeds a request head in two pieces; returns rank << 56 ^ hash, 0 without a key. */
static __u64 key_of(const char *head, size_t cut, struct http1_request *r)
{
	static const char names[HTTP1_WANTED][HTTP1_TOKEN_MAX] = {
		"", "authorization", "x-api-key", "x-my-key", "", "x-priority", "origin"};
	static __u8 buf[SCAN_BUF + SCAN_PAD];
	size_t n = strlen(head), at = 0;

	memset(r, 0, sizeof(*r));
	while (at < n) {
		size_t stop = at < cut ? cut : n;
		__u32 pos = 0, ev = 0;

		memset(buf, 'x', sizeof(buf));
		memcpy(buf, head + at, stop - at);
		while (pos < stop - at) {
			pos += http1_request_step(r, buf, pos, stop - at, names[0],
						  http1_names(names[0]), &secret, &ev);
			assert_false(ev & HTTP1_FRAMING_ERROR);
			if (ev & HTTP1_HEAD_END)
				return r->key.rank ? r->key.hash : 0;
		}
		at = stop;
	}
	fail_msg("the head did not end");
	return 0;
}

static void a_key_is_found_at_every_cut(void **state)
{
	static const struct {
		const char *lines, *key;
	} rows[] = {
		{"Authorization: Bearer sk-1234567890abcdef\r\n", "sk-1234567890abcdef"},
		{"authorization:bearer   k\r\n", "k"},
		{"AUTHORIZATION: BEARER sk-1 \t\r\n", "sk-1"},
		{"Authorization: Basic dXNlcjpwYXNz\r\n", NULL},
		{"Authorization: Bearersk-1\r\n", NULL},
		{"Authorization: Bear sk-1\r\n", NULL},
		{"Authorization: Bear er sk-1\r\n", NULL},
		{"Authorization: Digest username\r\n", NULL},
		{"Authorization: Bearer\r\n", NULL},
		{"Authorization:\r\n", NULL},
		{"X-Api-Key: abc\r\n", "abc"},
		{"x-api-key: \t12345678\r\n", "12345678"},
		{"X-My-Key: mine\nX-Api-Key: abc\r\n", "abc"},
		{"X-Api-Key: abc\r\nAuthorization: Bearer first\r\n", "first"},
		{"Authorization: Bearer first\r\nX-Api-Key: abc\r\n", "first"},
		{"X-Api-Key: abc\r\nX-Api-Key: again\r\n", "abc"},
		{"Authorization: Basic zzz\r\nX-Api-Key: abc\r\n", "abc"},
		{"X-Other: abc\r\n", NULL},
		{"X-Api-Keys: abc\r\n", NULL},
	};
	struct http1_request r;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char head[512];
		__u64 want = rows[i].key ? hash_of(rows[i].key, strlen(rows[i].key)) : 0;

		snprintf(head, sizeof(head),
			 "POST / HTTP/1.1\r\nHost: x\r\n%sContent-Length: 0\r\n\r\n",
			 rows[i].lines);
		for (size_t cut = 0; cut < strlen(head); cut++)
			if (key_of(head, cut, &r) != want)
				fail_msg("row %zu, cut at %zu", i, cut);
	}
}

/*
 * A zero byte anywhere in such a header is a framing error: a server may take it for the key's end,
 * or for a space.
 */
static void a_zero_in_a_header_with_a_key_is_a_framing_error(void **state)
{
	static const char names[HTTP1_WANTED][HTTP1_TOKEN_MAX] = {"", "authorization", "x-api-key"};
	static const char *const heads[] = {
		"POST / HTTP/1.1\r\nAuthorization: Bearer sk-123456789\r\n\r\n",
		"POST / HTTP/1.1\r\nX-Api-Key: 123456789\r\n\r\n"};
	static __u8 buf[SCAN_BUF + SCAN_PAD];

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		size_t from = strchr(heads[i], ':') + 1 - heads[i], n = strlen(heads[i]);

		for (size_t zero = from; zero < n - 4; zero++) {
			for (size_t cut = from; cut < n; cut++) {
				struct http1_request r = {0};
				__u32 pos = 0, ev = 0, end = cut;

				memcpy(buf, heads[i], n);
				buf[zero] = 0;
				while (!(ev & (HTTP1_FRAMING_ERROR | HTTP1_HEAD_END))) {
					if (pos == end)
						end = n;
					pos += http1_request_step(&r, buf, pos, end, names[0],
								  http1_names(names[0]), &secret,
								  &ev);
				}
				if (!(ev & HTTP1_FRAMING_ERROR))
					fail_msg("head %zu, zero at %zu, cut at %zu", i, zero, cut);
			}
		}
	}
}

static void a_priority_an_origin_and_a_key_are_found_at_every_cut(void **state)
{
	static const struct {
		const char *lines, *key, *priority, *origin;
	} rows[] = {
		{"X-Priority: batch\r\n", NULL, "batch", NULL},
		{"x-priority:batch \t\r\nX-Api-Key: abc\r\n", "abc", "batch", NULL},
		{"X-Api-Key: abc\r\nX-PRIORITY: 2\r\n", "abc", "2", NULL},
		{"X-Priority: first\r\nX-Priority: again\r\n", NULL, "first", NULL},
		{"X-Priority:\r\nX-Api-Key: abc\r\n", "abc", NULL, NULL},
		{"X-Prioritys: batch\r\nX-Api-Key: abc\r\n", "abc", NULL, NULL},
		{"Origin: https://a.example\r\n", NULL, NULL, "https://a.example"},
		{"origin:null\r\nX-Priority: 1\r\nx-api-key: abc\r\n", "abc", "1", "null"},
		{"X-Api-Key: abc\r\nORIGIN: a\r\nOrigin: b\r\n", "abc", NULL, "a"},
		{"Origins: a\r\nX-Priority: 1\r\n", NULL, "1", NULL},
		{"Origin: \r\nX-Priority: 1\r\n", NULL, "1", NULL},
	};
	struct http1_request r;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char head[512];
		const char *key = rows[i].key, *priority = rows[i].priority;
		const char *origin = rows[i].origin;

		snprintf(head, sizeof(head),
			 "POST / HTTP/1.1\r\nHost: x\r\n%sContent-Length: 0\r\n\r\n",
			 rows[i].lines);
		for (size_t cut = 0; cut < strlen(head); cut++) {
			assert_int_equal(key_of(head, cut, &r),
					 key ? hash_of(key, strlen(key)) : 0);
			assert_int_equal(r.key.priority,
					 priority ? hash_of(priority, strlen(priority)) : 0);
			assert_int_equal(r.key.origin,
					 origin ? hash_of(origin, strlen(origin)) : 0);
		}
	}
}

/*
 * Invariant 9: at no byte of the head does the parser's state hold three consecutive bytes of the
 * key.
 */
static void no_part_of_a_key_is_kept(void **state)
{
	static const char names[HTTP1_WANTED][HTTP1_TOKEN_MAX] = {"", "authorization"};
	static const char head[] =
		"POST / HTTP/1.1\r\nAuthorization: Bearer QWXZJKVPYBGQWXZJKVPYBG\r\n\r\n";
	static const char key[] = "QWXZJKVPYBG";
	static __u8 buf[SCAN_BUF + SCAN_PAD];
	struct http1_request r = {0};

	for (size_t at = 0; at < sizeof(head) - 1; at++) {
		__u32 ev = 0;

		buf[0] = head[at];
		http1_request_step(&r, buf, 0, 1, names[0], http1_names(names[0]), &secret, &ev);
		for (size_t k = 0; k + 3 <= sizeof(key) - 1; k++)
			assert_null(memmem(&r, sizeof(r), key + k, 3));
	}
	assert_int_equal(r.key.rank, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_published_vectors_are_right),
		cmocka_unit_test(a_key_is_found_at_every_cut),
		cmocka_unit_test(a_zero_in_a_header_with_a_key_is_a_framing_error),
		cmocka_unit_test(a_priority_an_origin_and_a_key_are_found_at_every_cut),
		cmocka_unit_test(no_part_of_a_key_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
