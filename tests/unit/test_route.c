/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which requests sluice judges, and how a target names a model. A row has the operator's rules, a
 * request target and the expected outcome. Rows pass the same framer and the same steps as in BPF.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "feed.h"
#include "sluice/route.h"
#include "sluice/route_resolve.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define A_80     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* The parser after a head with this target. */
static struct http1_request request_to(const char *target)
{
	char head[512];
	struct feed f;
	int n = snprintf(head, sizeof(head), "POST %s HTTP/1.1\r\nContent-Length: 1\r\n\r\n",
			 target);

	feed_begin(&f, FEED_REQUEST, 0, SCAN_BUF);
	feed(&f, head, (size_t)n);
	assert_false(f.framing_error);
	feed_end(&f);
	return f.request;
}

static void add_rule(struct sluice_rules *rules, enum sluice_rule_kind kind, const char *prefix)
{
	struct sluice_rule *rule = &rules->rule[rules->count++];

	rule->kind = kind;
	rule->len = (__u8)strlen(prefix);
	memcpy(rule->prefix, prefix, rule->len);
}

static void the_first_rule_with_a_prefix_of_the_target_decides(void **state)
{
	static const char *const prefixes[] = {
		"/v2/models/",
		"/v1/models/",
		"/v1/models",
		"/v1/models/never",
		"/12345678",
		"/1234567",
		"/a-prefix-of-exactly-forty-eight-bytes-lengthabc",
		"/x",
		"/",
	};
	static const struct {
		const char *target;
		__u32 rule;
	} rows[] = {
		{"/v2/models/m/infer", 0},
		{"/v2/models/", 0},
		{"/v2/models", 8},
		{"/v1/models/m:predict", 1},
		{"/v1/models/never", 1},
		{"/v1/models", 2},
		{"/v1/models?x=1", 2},
		{"/v1/modelsx", 2},
		{"/v1/model", 8},
		{"/12345678", 4},
		{"/1234567", 5},
		{"/1234567x", 5},
		{"/123456", 8},
		{"/a-prefix-of-exactly-forty-eight-bytes-lengthabc", 6},
		{"/a-prefix-of-exactly-forty-eight-bytes-lengthabcd/" A_80, 6},
		{"/a-prefix-of-exactly-forty-eight-bytes-lengthabd", 8},
		{"/a-prefix-of-exactly-forty-eight-bytes-lengthab", 8},
		{"/a-prefix-of-exactly-forty", 8},
		{"/x", 7},
		{"/V1/models", 8},
		{"http://host/v1/models/m", ROUTE_NONE},
		{"*", ROUTE_NONE},
	};
	struct sluice_rules rules = {0}, none = {0};

	for (size_t i = 0; i < COUNT(prefixes); i++)
		add_rule(&rules, SLUICE_RULE_JUDGE, prefixes[i]);
	/* An entry after the last rule is no rule. */
	add_rule(&rules, SLUICE_RULE_JUDGE, "http://host");
	rules.count--;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct http1_request r = request_to(rows[i].target);

		if (route_find(&rules, r.path) != rows[i].rule)
			print_error("%s\n", rows[i].target);
		assert_int_equal(route_find(&rules, r.path), rows[i].rule);
		assert_int_equal(route_find(&none, r.path), ROUTE_NONE);
	}
}

static void all_rules_of_a_full_array_are_looked_up(void **state)
{
	struct sluice_rules rules = {0};
	char prefix[32];

	for (int i = 0; i < SLUICE_RULES_MAX; i++) {
		snprintf(prefix, sizeof(prefix), "/%02d/", i);
		add_rule(&rules, SLUICE_RULE_JUDGE, prefix);
	}
	for (__u32 i = 0; i < SLUICE_RULES_MAX; i++) {
		struct http1_request r;

		snprintf(prefix, sizeof(prefix), "/%02u/x", i);
		r = request_to(prefix);
		assert_int_equal(route_find(&rules, r.path), i);
	}
	rules.count = 0xffffffff; /* a wrong count must not leave the array */
	assert_int_equal(route_find(&rules, request_to("/99").path), ROUTE_NONE);
}

/* The name after the first `len` bytes, as BPF takes it. */
static int take_name(const struct http1_request *r, __u32 len, char name[SLUICE_NAME_MAX])
{
	struct route_name n;
	int steps = 0;

	memset(name, 0, SLUICE_NAME_MAX);
	route_name_begin(&n, len);
	for (; !n.done; steps++)
		route_name_step(&n, r, name);
	assert_true(steps <= HTTP1_PATH_MAX + 1);
	assert_int_equal(n.len, strnlen(name, SLUICE_NAME_MAX));
	assert_true(n.len < SLUICE_NAME_MAX);
	for (size_t i = n.len; i < SLUICE_NAME_MAX; i++)
		assert_false(name[i]);
	return n.invalid ? -1 : (int)n.len;
}

static void a_model_is_named_after_the_prefix(void **state)
{
	static const struct {
		const char *prefix, *target, *name; /* NULL: invalid */
	} rows[] = {
		{"/openai/deployments/",
		 "/openai/deployments/gpt-4o/chat/completions?api-version=1", "gpt-4o"},
		{"/v2/models/", "/v2/models/resnet50/versions/3/infer", "resnet50"},
		{"/v1/models/", "/v1/models/half_plus_two:predict", "half_plus_two"},
		{"/predictions/", "/predictions/densenet161", "densenet161"},
		{"/predictions/", "/predictions/densenet161?x=/y", "densenet161"},
		{"/models/", "/models/a#b", "a"},
		{"/models/", "/models/", ""},
		{"/models/", "/models//x", ""},
		{"/models/", "/models/?x", ""},
		{"/", "/a", "a"},
		{"/m/", "/m/12345678", "12345678"},
		{"/m/", "/m/12345678/", "12345678"},
		{"/m/", "/m/1234567/", "1234567"},
		{"/m/", "/m/123456789012345/x", "123456789012345"},
		/* escapes */
		{"/m/", "/m/my%20model/infer", "my model"},
		{"/m/", "/m/org%2Fname:x", "org/name"},
		{"/m/", "/m/org%2fname", "org/name"},
		{"/m/", "/m/%41%42%43", "ABC"},
		{"/m/", "/m/%c3%A4", "\xc3\xa4"},
		{"/m/", "/m/1234567%388", "123456788"},
		{"/m/", "/m/%", NULL},
		{"/m/", "/m/%4", NULL},
		{"/m/", "/m/a%4/b", NULL},
		{"/m/", "/m/a%zz", NULL},
		{"/m/", "/m/a%00b", NULL},
		{"/m/", "/m/a%0ab", NULL},
		/* bytes and length */
		{"/m/", "/m/\xc3\xa4\xff", "\xc3\xa4\xff"},
		{"/m/", "/m/" A_80 "123456789012/x", A_80 "123456789012"},
		{"/m/", "/m/" A_80 "1234567890123", A_80 "1234567890123"}, /* 96 in all */
		{"/m/", "/m/" A_80 "12345678901234", NULL}, /* cut: its end is not seen */
		{"/m/", "/m/" A_80 "1234567890123/x", NULL},
		{"/m/", "/m/" A_80 "1234567890%41", A_80 "1234567890A"},
		{"/m/", "/m/" A_80 "12345678901%41", NULL},
		{"/m/", "/m/" A_80 "123456789012%41", NULL},
		{"/m/", "/m/a/" A_80 A_80, "a"},
		{"/", "/" A_80 "123456789012345", A_80 "123456789012345"}, /* 95 bytes */
	};
	char name[SLUICE_NAME_MAX];

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct http1_request r = request_to(rows[i].target);
		int len = take_name(&r, (__u32)strlen(rows[i].prefix), name);

		if (!rows[i].name ? len != -1 : strcmp(name, rows[i].name))
			print_error("%s: %s\n", rows[i].target, len < 0 ? "invalid" : name);
		if (rows[i].name)
			assert_string_equal(name, rows[i].name);
		assert_int_equal(len, rows[i].name ? (int)strlen(rows[i].name) : -1);
	}
}

static int hex_at(const char *s)
{
	char digits[3] = {s[0], s[0] ? s[1] : 0}, *end;
	long value = strtol(digits, &end, 16);

	return end == digits + 2 && digits[0] != '+' && digits[0] != '-' && digits[0] != ' '
		       ? (int)value
		       : -1;
}

/* The same outcome, one byte at a time. */
static int plain_name(const char *path, size_t prefix, char name[SLUICE_NAME_MAX])
{
	size_t len = 0;

	memset(name, 0, SLUICE_NAME_MAX);
	for (const char *p = path + prefix; *p && !strchr("/:?#", *p); p++) {
		int c = (__u8)*p;

		if (c == '%') {
			c = hex_at(p + 1);
			p += 2;
		}
		if (c < 0x20 || len == SLUICE_NAME_MAX - 1) {
			memset(name, 0, SLUICE_NAME_MAX);
			return -1;
		}
		name[len++] = (char)c;
	}
	return (int)len;
}

static void names_taken_by_words_equal_names_taken_by_bytes(void **state)
{
	static const char bytes[] = "aaaaabcdeXYZ0123-._~%%%2f4a/:?#\xc3\x7f";
	char target[HTTP1_PATH_MAX + 1], got[SLUICE_NAME_MAX], want[SLUICE_NAME_MAX];

	srand(7);
	for (int i = 0; i < 20000; i++) {
		size_t n = 2 + (size_t)rand() % (HTTP1_PATH_MAX - 2),
		       prefix = 1 + (size_t)rand() % 48;
		size_t kinds = i & 1 ? sizeof(bytes) - 1 : 18;
		struct http1_request r;
		int len;

		if (prefix > n)
			prefix = n;
		target[0] = '/';
		for (size_t k = 1; k < n; k++)
			target[k] = bytes[(size_t)rand() % kinds];
		target[n] = 0;
		r = request_to(target);
		len = take_name(&r, (__u32)prefix, got);
		if (len != plain_name(target, prefix, want) || memcmp(got, want, sizeof(got)))
			print_error("%s from %zu\n", target, prefix);
		assert_int_equal(len, plain_name(target, prefix, want));
		assert_memory_equal(got, want, sizeof(got));
	}
}

static void a_path_that_servers_may_read_differently_is_not_plain(void **state)
{
	static const struct {
		const char *target;
		int plain;
	} rows[] = {
		{"/health", 1},
		{"/", 1},
		{"/v1/tokenize?q=a%20b/../c//d", 1},
		{"/v1.2/a.b/c.", 1},
		{"/a./b", 0}, /* of '.' and '/' two in a row might mean another path */
		{"/a%2fb", 0},
		{"/a;b", 0},
		{"/a#b", 0}, /* Go takes it for a part of the path */
		{"/a?b#c", 1},
		{"/a\\b", 0},
		{"a/b", 0},
		{"http://a/b", 0},
		{"/health/../v1/chat/completions", 0},
		{"/health/%2e%2e/v1", 0},
		{"/./v1", 0},
		{"//v1", 0},
		{"/12345//8", 0},
		{"/123456//8", 0},
		{"/1234567//", 0},
		{"/12345678//", 0},
		{"/123456789012/..", 0},
		{"/x?" A_80 A_80, 1},
		{"/" A_80, 1},
		{"/" A_80 A_80, 0}, /* cut */
		{"/" A_80 "1234567890/..", 0},
		{"/" A_80 "1234567890123//", 0},
		{"/" A_80 "12345678901234", 1},
		{"/" A_80 "1234567890123%", 0},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct http1_request r = request_to(rows[i].target);

		if (route_plain(&r) != rows[i].plain)
			print_error("%s\n", rows[i].target);
		assert_int_equal(route_plain(&r), rows[i].plain);
	}
}

/* The resolved path, as BPF takes it. */
static struct route_resolve resolve(const struct http1_request *r, char path[HTTP1_PATH_MAX + 1])
{
	struct route_resolve v;
	int steps = 0;

	memset(path, 0, HTTP1_PATH_MAX + 1);
	route_resolve_begin(&v, r);
	for (; v.state != ROUTE_RESOLVED; steps++)
		route_resolve_step(&v, r, path);
	assert_true(steps <= ROUTE_RESOLVE_STEPS);
	assert_int_equal(v.len, strlen(path));
	for (size_t i = v.len; i <= HTTP1_PATH_MAX; i++)
		assert_false(path[i]);
	return v;
}

static void a_path_is_resolved_as_servers_do(void **state)
{
	static const struct {
		const char *target, *path;
		__u32 unclear;
	} rows[] = {
		{"/a/b", "/a/b", 0},
		{"/", "/", 0},
		{"/?x=/../y", "/", 0},
		{"/a#/b", "/a", 1},
		{"/a?#/b", "/a", 0},
		{"//a///b//", "/a/b/", 0},
		{"/./a/././b/.", "/a/b/", 0},
		{"/.a/..b/c../...", "/.a/..b/c../...", 0},
		{"/a/../b", "/b", 1},
		{"/a/b/..", "/a/", 1},
		{"/a/b/../../c", "/c", 1},
		{"/..", "/", 1},
		{"/../../a", "/a", 1},
		{"/a//../b", "/b", 1},
		{"/%61/%2E/b%2fc", "/a/b/c", 0},
		{"/a/%2e%2E/b", "/b", 1},
		{"/a%2f..%5Cb", "/b", 1},
		{"\\a\\b", "/a/b", 0},
		{"/a;x=1;y/b;c", "/a/b", 0},
		{"/a;x/../b", "/b", 1},
		{"/a/.;x/b", "/a/b", 0},
		{"/a/..;x/b", "/b", 1},
		{"/a%3b/b%3f%23", "/a;/b?#", 0},
		{"/%2541", "/%41", 1},
		{"/a%", "/a%", 1},
		{"/a%4", "/a%4", 1},
		{"/a%zz/b", "/a%zz/b", 1},
		{"/a%00b%1f", "/ab", 1},
		{"http://host/a/b", "/a/b", 0},
		{"http://user@host:80//a/./b?c", "/a/b", 0},
		{"HTTP://[::1]:80", "", 0},
		{"http://host?x=/a", "", 0},
		{"http:/a", "/http:/a", 1},
		{"http:a", "/http:a", 1},
		{"a/b", "/a/b", 1},
		{"*", "/*", 1},
		{"?x", "/", 1},
		{"/" A_80 "123456789012345", "/" A_80 "123456789012345", 0},
		{"/" A_80 "1234567890123456", "/" A_80 "123456789012345", 1},
		{"/" A_80 "?23456789012345678", "/" A_80, 0},
		{A_80 "1234567890123456", "/" A_80 "123456789012345", 1},
		{"/" A_80 "/../1234567890123", "/12345678901", 1},
	};
	char path[HTTP1_PATH_MAX + 1];

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct http1_request r = request_to(rows[i].target);
		struct route_resolve v = resolve(&r, path);

		if (strcmp(path, rows[i].path) || v.unclear != rows[i].unclear)
			print_error("%s: %s, %u\n", rows[i].target, path, v.unclear);
		assert_string_equal(path, rows[i].path);
		assert_int_equal(v.unclear, rows[i].unclear);
	}
}

/* A resolved path resolves to itself, whatever the target. */
static void a_resolved_path_is_plain(void **state)
{
	static const char bytes[] = "ab..//;:\\?#%%2ef5c";
	char target[HTTP1_PATH_MAX + 1], path[HTTP1_PATH_MAX + 1], again[HTTP1_PATH_MAX + 1];

	srand(11);
	for (int i = 0; i < 20000; i++) {
		size_t n = 1 + (size_t)rand() % HTTP1_PATH_MAX;
		struct http1_request r;
		struct route_resolve v;

		for (size_t k = 0; k < n; k++)
			target[k] = bytes[(size_t)rand() % (sizeof(bytes) - 1)];
		target[n] = 0;
		r = request_to(target);
		v = resolve(&r, path);
		assert_true(!v.len || path[0] == '/');
		assert_null(strstr(path, "//"));
		assert_null(strstr(path, "/./"));
		assert_null(strstr(path, "/../"));
		if (!v.len || strpbrk(path, "%;\\?#"))
			continue;
		r = request_to(path);
		resolve(&r, again);
		assert_string_equal(again, path);
		assert_true(route_plain(&r) || strstr(path, "..") || strstr(path, "./") ||
			    strstr(path, "/."));
	}
}

static void by_default_only_post_is_judged(void **state)
{
	struct sluice_rules rules = {0};

	for (__u8 m = 0; m <= HTTP1_METHOD_DELETE; m++)
		assert_int_equal(route_method(&rules, m), m == HTTP1_METHOD_POST);
	rules.methods = 1 << HTTP1_METHOD_PUT | 1 << HTTP1_METHOD_DELETE;
	for (__u8 m = 0; m <= HTTP1_METHOD_DELETE; m++)
		assert_int_equal(route_method(&rules, m),
				 m == HTTP1_METHOD_PUT || m == HTTP1_METHOD_DELETE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_rule_with_a_prefix_of_the_target_decides),
		cmocka_unit_test(all_rules_of_a_full_array_are_looked_up),
		cmocka_unit_test(a_model_is_named_after_the_prefix),
		cmocka_unit_test(names_taken_by_words_equal_names_taken_by_bytes),
		cmocka_unit_test(a_path_that_servers_may_read_differently_is_not_plain),
		cmocka_unit_test(a_path_is_resolved_as_servers_do),
		cmocka_unit_test(a_resolved_path_is_plain),
		cmocka_unit_test(by_default_only_post_is_judged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
