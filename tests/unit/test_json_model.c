/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Invariant 7, the model's name: the scanner takes "model" from the top level, in any position,
 * split anywhere. It compares keys after unescaping, and of several takes the last. Rows come
 * first, then random objects with jansson as the oracle. Their seed is fixed, so a failure can be
 * repeated.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "feed.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct row {
	const char *bytes;
	size_t len;
	const char *said;
	__u8 flags; /* at the end, IS_MODEL aside */
};

#define ROW(BYTES, SAID, FLAGS)                                                                    \
	{                                                                                          \
		.bytes = BYTES, .len = sizeof(BYTES) - 1, .said = SAID, .flags = FLAGS             \
	}

/* The scanner's output without offsets; flags as the scan left them. */
static char *scan(const char *bytes, size_t len, __u8 *flags)
{
	char *text = feed_every_way(FEED_JSON, 0, bytes, len), *from, *to;
	struct feed f;

	for (from = to = text; *from; from++) {
		if (*from == '@')
			while (from[1] >= '0' && from[1] <= '9')
				from++;
		else
			*to++ = *from;
	}
	*to = 0;
	feed_begin(&f, FEED_JSON, 0, SCAN_BUF);
	feed(&f, bytes, len);
	*flags = f.json.flags & ~JSON_MODEL_IS_MODEL;
	feed_end(&f);
	return text;
}

static void check(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		__u8 flags;
		char *said = scan(rows[i].bytes, rows[i].len, &flags);

		if (strcmp(said, rows[i].said) || flags != rows[i].flags)
			print_error("%s: flags %d\n", rows[i].bytes, flags);
		assert_string_equal(said, rows[i].said);
		assert_int_equal(flags, rows[i].flags);
		free(said);
	}
}

/* Invariant 7. */
static void the_name_is_found_anywhere_on_the_top_level(void **state)
{
	static const struct row rows[] = {
		ROW("{\"model\":\"gpt-x\"}", "model(gpt-x)", 0),
		ROW(" \r\n\t{ \"a\" : 1 , \"model\" : \"org/x-7B\" , \"b\":[]}", "model(org/x-7B)",
		    0),
		ROW("{\"messages\":[{\"role\":\"user\",\"content\":\"say \\\"model\\\": \\\"no\\\"\"}],\"model\":\"y\"}",
		    "model(y)", 0),
		ROW("{\"model\":\"a\",\"x\":{\"model\":\"b\",\"y\":[{\"model\":\"c\"}]},\"model\":\"d\"}",
		    "model(a) model(d)", 0),
		ROW("{\"x\":[\"model\",\"no\"],\"y\":{\"z\":{}}, \"model\":\"m\"}", "model(m)", 0),
		ROW("{\"x\":\"model\",\"y\":\"a\"}", "", 0),
		ROW("{\"models\":\"a\",\"mode\":\"b\",\"Model\":\"c\",\"xmodel\":\"d\",\"\":\"e\",\"model\\u0000\":\"f\"}",
		    "", 0),
		ROW("{\"x\":\"]}\\\\\",\"y\":[\"[{\\\\\\\"\",{\"z\":\"}\"}],\"model\":\"deep\"}",
		    "model(deep)", 0),
		ROW("{\"model\":\"\"}", "model()", 0),
		ROW("{\"a\":-1.5e+3,\"b\":true,\"c\":null,\"d\":false,\"model\":\"s\"}", "model(s)",
		    0),
		ROW("{ \"a\": \"b\", \"model\": \"c\",\"d\" : \"e\" ,\t\"model\":  \"f\"}",
		    "model(c) model(f)", 0),
		ROW("{\"a\": \"b\", \"c\":\"d\",\"e\": {\"model\": \"f\"}, \"model\": \"g\"}",
		    "model(g)", 0),
		ROW("{}", "", 0),
		ROW("{\"model\":\"a\"} {\"model\":\"b\"}", "model(a)", 0),
		ROW("\xef\xbb\xbf{\"model\":\"bom\"}", "model(bom)", 0),
		ROW("{\"model\":\"unfinished", "", 0),
	};

	check(rows, COUNT(rows));
}

/* Invariant 7. */
static void keys_and_names_are_compared_after_unescaping(void **state)
{
	static const struct row rows[] = {
		ROW("{\"mod\\u0065l\":\"a\"}", "model(a)", 0),
		ROW("{\"\\u006d\\u006F\\u0064\\u0065\\u006C\":\"a\"}", "model(a)", 0),
		ROW("{\"mod\\u0045l\":\"a\"}", "", 0),
		ROW("{\"mod\\u016fl\":\"a\"}", "", 0),
		ROW("{\"\\model\":\"a\"}", "", 0),
		ROW("{\"model\\\"\":\"a\"}", "", 0),
		ROW("{\"mode\\\\l\":\"a\",\"model\":\"b\"}", "model(b)", 0),
		ROW("{\"model\":\"a\\u002fb\\/c\\\\d\\\"e\"}", "model(a/b/c\\d\"e)", 0),
		ROW("{\"model\":\"\\t\\n\\r\\b\\f\"}", "model(\t\n\r\b\f)", 0),
		ROW("{\"model\":\"\\u00e4\\u20ac\\ud83d\\ude00\"}",
		    "model(\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80)", 0),
		ROW("{\"model\":\"\xc3\xa4\xf0\x9f\x98\x80 raw\"}",
		    "model(\xc3\xa4\xf0\x9f\x98\x80 raw)", 0),
		ROW("{\"model\":\"\x01\"}", "model(\x01)", 0),
	};

	check(rows, COUNT(rows));
}

#define TEN    "0123456789"
#define NINETY TEN TEN TEN TEN TEN TEN TEN TEN TEN

/* A name that cannot be a key of a map is reported as invalid, never cut. */
static void a_name_that_cannot_be_kept_whole_is_invalid(void **state)
{
	static const struct row rows[] = {
		ROW("{\"model\":\"" NINETY "12345\"}", "model(" NINETY "12345)", 0),
		ROW("{\"model\":\"" NINETY "123456\"}", "model!", JSON_MODEL_INVALID),
		ROW("{\"model\":\"" NINETY "123\\u00e4\"}", "model(" NINETY "123\xc3\xa4)", 0),
		ROW("{\"model\":\"" NINETY "1234\\u00e4\"}", "model!", JSON_MODEL_INVALID),
		ROW("{\"model\":\"" NINETY "12\\u20ac\"}", "model(" NINETY "12\xe2\x82\xac)", 0),
		ROW("{\"model\":\"" NINETY "123\\u20ac\"}", "model!", JSON_MODEL_INVALID),
		ROW("{\"model\":\"" NINETY "1\\ud83d\\ude00\"}",
		    "model(" NINETY "1\xf0\x9f\x98\x80)", 0),
		ROW("{\"model\":\"" NINETY "12\\ud83d\\ude00\"}", "model!", JSON_MODEL_INVALID),
		ROW("{\"model\":\"" NINETY "12345\\n\"}", "model!", JSON_MODEL_INVALID),
		ROW("{\"model\":\"" NINETY NINETY NINETY NINETY "\"}", "model!",
		    JSON_MODEL_INVALID),
		ROW("{\"model\":\"a\\u0000\"}", "model!", JSON_MODEL_INVALID),
		ROW("{\"model\":\"a\0b\"}", "model!", JSON_MODEL_INVALID),
		ROW("{\"model\":\"\\ud83d\"}", "model!", JSON_MODEL_INVALID),
		ROW("{\"model\":\"\\ud83dx\"}", "model!", JSON_MODEL_INVALID),
		ROW("{\"model\":\"\\ud83d\\n\"}", "model!", JSON_MODEL_INVALID),
		ROW("{\"model\":\"\\ud83d\\ud83d\\ude00\"}", "model!", JSON_MODEL_INVALID),
		ROW("{\"model\":\"\\ude00\"}", "model!", JSON_MODEL_INVALID),
		ROW("{\"model\":\"\\x\"}", "model!", JSON_MODEL_INVALID),
		ROW("{\"model\":\"" NINETY "123456\",\"model\":\"ok\"}", "model! model(ok)", 0),
		ROW("{\"model\":\"ok\",\"model\":\"\\ude00\"}", "model(ok) model!",
		    JSON_MODEL_INVALID),
		ROW("{\"model\":7,\"a\":1}", "", JSON_MODEL_NOT_STRING),
		ROW("{\"model\":{\"model\":\"a\"}}", "", JSON_MODEL_NOT_STRING),
		ROW("{\"model\":[\"a\"],\"model\":\"b\"}", "model(b)", JSON_MODEL_NOT_STRING),
		ROW("{\"model\":null}", "", JSON_MODEL_NOT_STRING),
	};

	check(rows, COUNT(rows));
}

/* Garbage ends the scan: no server would take a model from such a body. */
static void a_body_that_is_no_json_object_ends_the_scan(void **state)
{
	static const struct row rows[] = {
		ROW("[{\"model\":\"a\"}]", "", JSON_MODEL_GARBAGE),
		ROW("\"model\"", "", JSON_MODEL_GARBAGE),
		ROW("model=a&model=b", "", JSON_MODEL_GARBAGE),
		ROW("--x\r\n{\"model\":\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("\0{\"model\":\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{model:\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{'model':\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{\"model\" \"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{\"model\"::\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{\"model\",\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{\"model\", \"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{\"a\":\"b\": \"model\"}", "", JSON_MODEL_GARBAGE),
		ROW("{\"a\":\"b\":\"model\": \"c\"}", "", JSON_MODEL_GARBAGE),
		ROW("{\"a\":,\"model\":\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{\"a\":1 2,\"model\":\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{\"a\":1\"model\":\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{\"a\":[1]],\"model\":\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{\"model\":\"a\" \"model\":\"b\"}", "model(a)", JSON_MODEL_GARBAGE),
		ROW("{,\"model\":\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{\"model\":\"a\\u00\"}", "", JSON_MODEL_GARBAGE | JSON_MODEL_INVALID),
	};

	check(rows, COUNT(rows));
}

/* ---- random objects ---- */

struct text {
	char bytes[65536];
	size_t len;
};

static unsigned long seed;

static unsigned int draw(unsigned int n)
{
	seed = seed * 6364136223846793005UL + 1442695040888963407UL;
	return (seed >> 33) % n;
}

static void put(struct text *t, const char *s)
{
	size_t n = strlen(s);

	assert_true(t->len + n < sizeof(t->bytes));
	memcpy(t->bytes + t->len, s, n);
	t->len += n;
}

static void put_space(struct text *t)
{
	static const char *const spaces[] = {"",  "",   "",     "",
					     " ", "\n", "\t  ", "\r\n                        "};

	put(t, spaces[draw(COUNT(spaces))]);
}

static void put_string(struct text *t, int longest)
{
	static const char *const pieces[] = {
		"a",       "model",
		"\\\"",    "\\\\",
		"\\n",     "{",
		"}",       "[",
		"]",       ",",
		":",       "\\u0065",
		"\\u00e4", "\\ud83d\\ude00",
		"\\u20ac", "\xc3\xa4",
		" ",       "the quick brown fox jumps over the lazy dog",
		"\\/",     "\\u0022",
		"7",       "-",
	};

	put(t, "\"");
	for (int n = draw(longest); n > 0; n--)
		put(t, pieces[draw(COUNT(pieces))]);
	put(t, "\"");
}

static void put_key(struct text *t)
{
	static const char *const keys[] = {
		"\"model\"",      "\"model\"",      "\"m\\u006fdel\"",
		"\"mode\"",       "\"models\"",     "\"messages\"",
		"\"\"",           "\"max_tokens\"", "\"\\u006d\\u006f\\u0064\\u0065\\u006c\"",
		"\"mod\\u0065\"", "\"model \"",
	};

	put(t, keys[draw(COUNT(keys))]);
}

static void put_value(struct text *t, int depth)
{
	static const char *const scalars[] = {"0",     "-1.25e-7", "true",
					      "false", "null",     "123456789012345"};
	int kind = draw(depth > 4 ? 2 : 5), n = draw(5);

	if (kind == 0) {
		put(t, scalars[draw(COUNT(scalars))]);
	} else if (kind < 3) {
		put_string(t, depth ? 8 : 12);
	} else {
		put(t, kind == 3 ? "[" : "{");
		for (int i = 0; i < n; i++) {
			if (i)
				put(t, ",");
			put_space(t);
			if (kind == 4) {
				put_key(t);
				put_space(t);
				put(t, ":");
				put_space(t);
			}
			put_value(t, depth + 1);
			put_space(t);
		}
		put(t, kind == 3 ? "]" : "}");
	}
}

/* Invariant 7: of several names the last holds, as in jansson and in servers. */
static void the_last_name_of_a_random_object_equals_janssons(void **state)
{
	static struct text t;
	int named = 0;

	for (int round = 0; round < 3000; round++) {
		const char *want;
		json_t *root, *model;
		struct feed f;
		size_t cut;

		seed = round;
		t.len = 0;
		put_space(&t);
		put(&t, "{");
		for (int i = 0, n = draw(8); i < n; i++) {
			if (i)
				put(&t, ",");
			put_space(&t);
			put_key(&t);
			put_space(&t);
			put(&t, ":");
			put_space(&t);
			put_value(&t, 0);
			put_space(&t);
		}
		put(&t, "}");
		root = json_loadb(t.bytes, t.len, 0, NULL);
		assert_non_null(root);
		model = json_object_get(root, "model");
		want = json_string_value(model);

		feed_begin(&f, FEED_JSON, 0, 1 + draw(SCAN_BUF));
		cut = draw(t.len);
		feed(&f, t.bytes, cut);
		feed(&f, t.bytes + cut, t.len - cut);
		assert_true(json_model_done(&f.json));
		assert_false(f.json.flags & JSON_MODEL_GARBAGE);
		if (want && strlen(want) >= JSON_MODEL_NAME_MAX) {
			assert_true(f.json.flags & JSON_MODEL_INVALID);
			assert_int_equal(f.json.name_len, 0);
		} else if (want) {
			assert_string_equal(f.json.name, want);
			named++;
		} else if (!model) {
			assert_string_equal(f.text, "");
		}
		feed_end(&f);
		json_decref(root);
	}
	assert_true(named > 300); /* the generator still does what it is for */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_name_is_found_anywhere_on_the_top_level),
		cmocka_unit_test(keys_and_names_are_compared_after_unescaping),
		cmocka_unit_test(a_name_that_cannot_be_kept_whole_is_invalid),
		cmocka_unit_test(a_body_that_is_no_json_object_ends_the_scan),
		cmocka_unit_test(the_last_name_of_a_random_object_equals_janssons),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
