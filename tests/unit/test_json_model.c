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
#include "json_reference.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct row {
	const char *bytes;
	size_t len;
	const char *said;
	__u8 flags; /* at the end, FEED_PASSING aside */
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
	*flags = f.json.flags & ~FEED_PASSING;
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
		ROW("{\"models\":\"a\",\"mode\":\"b\",\"mod el\":\"c\",\"xmodel\":\"d\",\"\":\"e\",\"mode\\u0000\":\"f\"}",
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

static void a_body_asks_for_a_stream_or_not(void **state)
{
	static const struct row rows[] = {
		ROW("{\"stream\":true}", "stream=yes", 0),
		ROW("{\"stream\":false}", "stream=no", 0),
		ROW("{\"stream\":null}", "", 0),
		ROW("{\"model\":\"m\",\"stream\" : true ,\"x\":1}", "model(m) stream=yes", 0),
		ROW("{\"stream\": true, \"model\": \"m\"}", "model(m) stream=yes", 0),
		ROW("{\"stream\":true,\"stream\":false}", "stream=no", 0),
		ROW("{\"stream\":true,\"stream\":null}", "", 0),
		ROW("{\"x\":{\"stream\":true},\"y\":[\"stream\",true]}", "", 0),
		ROW("{\"x\":\"stream\",\"streams\":true,\"strea\":true,\"stream_options\":{\"stream\":true}}",
		    "", 0),
		/* as pydantic, which takes words and numbers, and Go, which folds case */
		ROW("{\"stream\":1}", "stream=yes", 0),
		ROW("{\"stream\":0}", "stream=no", 0),
		ROW("{\"stream\":\"true\"}", "stream=yes", 0),
		ROW("{\"stream\": \"False\", \"model\":\"m\"}", "model(m) stream=no", 0),
		ROW("{\"stream\":\"\"}", "stream=no", 0),
		ROW("{\"stream\":\"no\"}", "stream=no", 0),
		ROW("{\"stream\":\"\\\"t\",\"model\":\"m\"}", "model(m) stream=no", 0),
		ROW("{\"STREAM\":true}", "stream=yes", 0),
		ROW("{\"s\\u0074ream\":true}", "stream=yes", 0),
		ROW("{\"stream\\u0000x\":true}", "stream=yes", 0),
		ROW("{\"stream\"/**/:/**/true}", "stream=yes", 0),
	};

	check(rows, COUNT(rows));
}

/* Invariant 7. */
/* More members than one step takes, so that it ends in the middle of the window. */
static void a_name_after_hundreds_of_short_members_is_found(void **state)
{
	static char bytes[SCAN_BUF];
	size_t n = 1;
	__u8 flags;
	char *said;

	bytes[0] = '{';
	while (n + 64 < sizeof(bytes))
		n += sprintf(bytes + n, "\"a\":1, ");
	n += sprintf(bytes + n, "\"model\":\"m\"}");
	said = scan(bytes, n, &flags);
	assert_string_equal(said, "model(m)");
	free(said);
}

static void keys_and_names_are_compared_after_unescaping(void **state)
{
	static const struct row rows[] = {
		ROW("{\"mod\\u0065l\":\"a\"}", "model(a)", 0),
		ROW("{\"\\u006d\\u006F\\u0064\\u0065\\u006C\":\"a\"}", "model(a)", 0),
		ROW("{\"mod\\u0055l\":\"a\"}", "", 0),
		ROW("{\"mod\\u016fl\":\"a\"}", "", 0),
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

/* Go, cJSON and System.Text.Json disregard case. A C string ends at a zero; Ruby drops a backslash
 * that begins no escape; Jackson takes overlong UTF-8. */
static void a_key_that_any_reader_takes_for_model_names_it(void **state)
{
	static const struct row rows[] = {
		ROW("{\"MODEL\":\"a\"}", "model(a)", 0),
		ROW("{\"Model\" : \"a\",\"mOdEl\":\"b\"}", "model(a) model(b)", 0),
		ROW("{\"model\":\"a\",\"MODEL\":\"b\",\"x\":1}", "model(a) model(b)", 0),
		ROW("{\"\\u004dodel\":\"a\",\"mod\\u0045l\":\"b\"}", "model(a) model(b)", 0),
		ROW("{\"\\u004D\\u004f\\u0044\\u0045\\u004c\":\"a\"}", "model(a)", 0),
		ROW("{\"M\\u006FDE\\u004c\":\"a\"}", "model(a)", 0),
		ROW("{\"\\u014dodel\":\"a\",\"MODELS\":\"b\",\"MODE\":\"c\"}", "", 0),
		ROW("{\"-odel\":\"a\",\"\x0dodel\":\"b\",\"mo$el\":\"c\"}", "", 0),
		ROW("{\"model\\u0000\":\"a\",\"MODEL\\u0000x\":\"b\"}", "model(a) model(b)", 0),
		ROW("{\"model\0\":\"a\",\"mode\0l\":\"b\"}", "model(a)", 0),
		ROW("{\"\\model\":\"a\",\"\\M\\O\\d\\e\\l\":\"b\"}", "model(a) model(b)", 0),
		ROW("{\"\xc1\xadodel\":\"a\",\"MODE\xe0\x81\x8c\":\"b\"}", "model(a) model(b)", 0),
		ROW("{\"model\xc0\x80\":\"a\"}", "model(a)", 0),
		ROW("{\"\xc1\"odel\":\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{\"mod\xc3\xa9l\":\"a\",\"\xe0\xa4\xadodel\":\"b\"}", "", 0),
		ROW("{\"Model\":7,\"MODEL\":[\"a\"]}", "", JSON_MODEL_NOT_STRING),
		ROW("{\"x\":{\"MODEL\":\"a\"}}", "", 0),
	};

	check(rows, COUNT(rows));
}

/* jsoncpp, json-c and Gson accept comments, Perl and Gson those with #. */
static void comments_stand_wherever_white_space_does(void **state)
{
	static const struct row rows[] = {
		ROW("/* a */{\"model\":\"a\"}", "model(a)", 0),
		ROW("// {\n{\"model\":\"a\"}", "model(a)", 0),
		ROW("{/*x*/\"model\"/*\"*/:// \"y\"\r\n\"a\"/**/,/***/\"b\":1/*x*/}", "model(a)",
		    0),
		ROW("{\"a\":1//,\n,\"model\":\"a\"}", "model(a)", 0),
		ROW("{\"a\":1/* */2,\"model\":\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{\"a\":[1,/*\"]}*/{\"b\"://}\n2}],\"model\":\"a\"}", "model(a)", 0),
		ROW("{\"a\":[{}// the quick brown fox jumps over the lazy dog, \" and } and more \"\n],\"model\":\"a\"}",
		    "model(a)", 0),
		ROW("{\"a\":{/* the quick brown fox jumps * over ** the lazy dog, \" and } and more \"\n*/},\"model\":\"a\"}",
		    "model(a)", 0),
		ROW("{/*/ \"model\":\"a\" /*/\"model\":\"b\"}", "model(b)", 0),
		ROW("{\"a\":\"/*\",\"model\":\"a\",\"b\":\"//\"}", "model(a)", 0),
		ROW("{\"a\":[\"/*\",\"#\"],\"model\":\"a//b/*c\"}", "model(a//b/*c)", 0),
		ROW("# a\n{#\"\n\"model\":\"a\"#}\n,\"b\":[1#]\n]}", "model(a)", 0),
		ROW("{\"model\":\"a\",/*}", "model(a)", 0),
		ROW("{/\"model\":\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{\"a\":[/ /],\"model\":\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{// x\r\"model\":\"a\"}", "model(a)", JSON_MODEL_GARBAGE),
		ROW("{\"a\":[1//\r],\"model\":\"a\"}", "model(a)", JSON_MODEL_GARBAGE),
		ROW("{// x\r\n\"model\":\"a\"}", "model(a)", 0),
	};

	check(rows, COUNT(rows));
}

/* White space as in cJSON, numbers as in Python, a comma after the last member as in jsoncpp. What
 * Gson reads and nobody else is garbage, not an object without a model. */
static void what_only_some_readers_accept_hides_no_name(void **state)
{
	static const struct row rows[] = {
		ROW("{\"a\":[1,],\"model\":\"a\",}", "model(a)", 0),
		ROW("{\"a\":NaN,\"b\":-Infinity,\"c\":[NaN],\"model\":\"a\"}", "model(a)", 0),
		ROW("\x0c{\x0b\"model\"\x0c:\x01\"a\"\x1f}", "model(a)", 0),
		ROW("{\"a\":\"\n\x01\",\"model\":\"b\nc\"}", "model(b\nc)", 0),
		ROW("{\"model\":\"a\"}{\"model\":\"b\"}", "model(a)", 0),
		ROW("{\"a\":['\"'],\"model\":\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{\"a\":'}',\"model\":\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{\"a\":x'}',\"model\":\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{\"a\":1;\"model\":\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{\"a\":1,,\"model\":\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{\"model\":\"\xc1\xa1-\xe0\x81\xa2\xc0\xaf\xc0\xb1\"}", "model(a-b/1)", 0),
		ROW("{\"model\":\"\xe0\xa4\xad\xe1\x80\x80\"}", "model(\xe0\xa4\xad\xe1\x80\x80)",
		    0),
		ROW("{\"model\":\"\xc1\",\"model\":\"\xe0\xa4\"}", "model! model!",
		    JSON_MODEL_INVALID),
	};

	check(rows, COUNT(rows));
}

/* ---- UTF-16 and UTF-32 ---- */

enum { UTF16_LE, UTF16_BE, UTF32_LE, UTF32_BE, ENCODINGS };

static size_t put_unit(__u8 *out, __u32 unit, int encoding)
{
	int size = encoding < UTF32_LE ? 2 : 4;

	for (int i = 0; i < size; i++)
		out[i] = unit >> 8 * (encoding & 1 ? size - 1 - i : i);
	return size;
}

/* UTF-8, of which the text is valid, in another encoding. Returns the length in bytes. */
static size_t widen(__u8 *out, const char *text, size_t len, int encoding, bool mark)
{
	size_t n = mark ? put_unit(out, 0xfeff, encoding) : 0;
	const __u8 *p = (const __u8 *)text, *end = p + len;

	while (p < end) {
		__u32 c = *p++;
		int more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;

		c &= more ? 0x3f >> more : 0x7f;
		while (more--)
			c = c << 6 | (*p++ & 0x3f);
		if (c > 0xffff && encoding < UTF32_LE) {
			n += put_unit(out + n, 0xd800 + ((c - 0x10000) >> 10), encoding);
			c = 0xdc00 + (c & 0x3ff);
		}
		n += put_unit(out + n, c, encoding);
	}
	return n;
}

/* Invariant 7: Python's json.loads() reads these from bytes. */
static void a_wide_body_gives_what_it_gives_in_utf_8(void **state)
{
	static const struct row rows[] = {
		ROW("{\"model\":\"org/x-7B\"}", "model(org/x-7B)", 0),
		ROW(" \r\n{ \"a\" : [1,{\"model\":\"no\"}] , \"Model\" : \"x\",\"b\":\"\\\"}\"}",
		    "model(x)", 0),
		ROW("{\"a\":\"the quick brown fox jumps over the lazy dog, and \\\"model\\\" of a dog\",\"mod\\u0065l\":\"x\"}",
		    "model(x)", 0),
		ROW("{\"model\":\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\\u00e4\\ud83d\\ude00\"}",
		    "model(\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xc3\xa4\xf0\x9f\x98\x80)", 0),
		ROW("{\"a\":\"\xe2\x88\xa2\xe2\x88\xaf\xe5\xb0\xbd\",\"b\":[\"\xe2\x88\x9a\"],\"model\":\"x\"}",
		    "model(x)", 0),
		ROW("{/* \xe2\x9c\xaa */\"model\"://\xe2\xa8\x80\n\"x\",#\n\"a\":1}", "model(x)",
		    0),
		ROW("{\"mod\xe4\xb5\xacl\":\"x\",\"\xc5\xad\":1}", "", 0),
		ROW("{\"model\":\"a\",\"model\":\"b\",\"model\":\"\\ud83d\"}",
		    "model(a) model(b) model!", JSON_MODEL_INVALID),
		ROW("{\"model\":3,\"b\":[[]}", "", JSON_MODEL_NOT_STRING),
		ROW("{\"model\" \"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{\"model\":\"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123\xc3\xa4\"}",
		    "model!", JSON_MODEL_INVALID),
		ROW("[\"model\"]", "", JSON_MODEL_GARBAGE),
		ROW("{}", "", 0),
	};
	__u8 wide[1024];

	for (size_t i = 0; i < COUNT(rows); i++) {
		check(&rows[i], 1);
		for (int k = 0; k < 2 * ENCODINGS; k++) {
			struct row row = rows[i];

			row.len = widen(wide, rows[i].bytes, rows[i].len, k / 2, k % 2);
			row.bytes = (const char *)wide;
			check(&row, 1);
		}
	}
}

static void a_wide_bodys_encoding_is_known_by_its_first_bytes(void **state)
{
	static const struct row rows[] = {
		ROW("\xff\xfe{\0\"\0m\0o\0d\0e\0l\0\"\0:\0\"\0a\0\"\0}\0", "model(a)", 0),
		ROW("\0{\0\"\0m\0o\0d\0e\0l\0\"\0:\0\"\0\xe4\0\"\0}", "model(\xc3\xa4)", 0),
		ROW("{\0\"\0m\0o\0d\0e\0l\0\"\0:\0\"\0\x3d\xd8\"\0}\0", "model!",
		    JSON_MODEL_INVALID),
		ROW("{\0\"\0m\0o\0d\0e\0l\0\"\0:\0\"\0\0\xde\"\0}\0", "model!", JSON_MODEL_INVALID),
		ROW("{\0\0\0\"\0\0\0m\0\0\0", "", 0),
		ROW("{\0\0\x22m\0", "", JSON_MODEL_GARBAGE),
		ROW("{\0\x22\x22m\0", "", JSON_MODEL_GARBAGE),
		ROW("{\"\0m\0o\0d\0e\0l\0", "", 0),
		ROW("\xe4\0{\0\"\0", "", JSON_MODEL_GARBAGE),
		ROW("#\0\0\x22\n\0{\0\"\0m\0o\0d\0e\0l\0\"\0:\0\"\0a\0\"\0}\0", "model(a)", 0),
		ROW("\xff\xff{\"model\":\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("\xfe\xff{\"model\":\"a\"}", "", JSON_MODEL_GARBAGE),
		ROW("{", "", 0),
		ROW("{\0", "", 0),
		ROW("{\0\0", "", 0),
		ROW("\0", "", 0),
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

/* Invariant 7, with all that lenient readers take, in every encoding. */
static void random_bodies_give_what_the_reference_finds(void **state)
{
	static const char *const pieces[] = {
		"{",
		"}",
		"[",
		"]",
		",",
		":",
		"\"",
		"\"",
		"\\",
		"\\u004d",
		"\\u0000",
		"\\ud83d",
		"/*",
		"*/",
		"//",
		"\n",
		"\r",
		"#",
		"'",
		"NaN",
		" ",
		"model",
		"MODEL",
		"\"m\\O",
		"\"model\":",
		"\"Model\":",
		"\"a\",",
		"\"model\":\"b\",",
		"stream",
		"\xc3\xa4",
		"\xf0\x9f\x98\x80",
		"\xef\xbb\xbf",
		"\x01",
		/* members, mostly */
		"\"a\":1,",
		"\"model\":\"b\",",
		"\"c\":[",
		"],",
		"\"d\":{",
		"},",
		"/**/",
		"\"model\":\"the-quick-brown-fox/jumps-over-the-lazy-dog\",",
		"\"M\\u006fdel\":\"\\ud83d\\ude00\xc3\xa4\",",
		"//\r\n",
		"\"stream\":true,",
		"\"str\\u0045AM\": 0,",
		"\"stream\":\"false\",",
		"\"stream\":null,",
		"\"messages\":[{\"content\":[{\"image_url\":{\"url\":\"data:,AA\"}}]}],",
		"\"images\":[\"AA\",\"a b\"],",
	};
	const int members = COUNT(pieces) - 16;
	static __u8 wide[65536];
	static struct text t;
	int named = 0, asked = 0, shown = 0;

	for (int round = 0; round < 20000; round++) {
		struct reference r;
		struct feed f;
		size_t len, cut;
		char *from, *to;

		seed = round;
		t.len = 0;
		put(&t, draw(8) ? "{" : "");
		for (int i = 0, n = draw(40); i < n; i++)
			put(&t, pieces[draw(3) ? members + draw(COUNT(pieces) - members)
					       : draw(COUNT(pieces))]);
		len = t.len;
		memcpy(wide, t.bytes, len);
		if (draw(2))
			len = widen(wide, t.bytes, t.len, draw(ENCODINGS), draw(2));
		feed_begin(&f, FEED_JSON, 0, 1 + draw(80));
		cut = len ? draw(len) : 0;
		feed(&f, wide, cut);
		feed(&f, wide + cut, len - cut);
		for (from = to = f.text; *from; from++)
			if (*from == '@')
				from += strspn(from + 1, "0123456789");
			else
				*to++ = *from;
		*to = 0;
		reference_read(&r, wide, len);
		if (strcmp(f.text, r.said) || (f.json.flags & ~FEED_PASSING) != r.flags ||
		    f.json.stream != r.stream || f.json.blobs != r.blobs)
			print_error("round %d: %.*s\n", round, (int)t.len, t.bytes);
		assert_string_equal(f.text, r.said);
		assert_int_equal(f.json.flags & ~FEED_PASSING, r.flags);
		assert_int_equal(json_model_done(&f.json), r.done);
		assert_int_equal(f.json.stream, r.stream);
		assert_int_equal(f.json.blobs, r.blobs);
		assert_int_equal(f.json.blob_bytes, r.blob_bytes);
		named += *f.text != 0;
		asked += r.stream != JSON_STREAM_UNSAID;
		shown += r.blobs != 0;
		reference_end(&r);
		feed_end(&f);
	}
	assert_true(named > 4000); /* the generator still does what it is for */
	assert_true(asked > 4000 && shown > 1500);
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
		cmocka_unit_test(a_body_asks_for_a_stream_or_not),
		cmocka_unit_test(a_name_after_hundreds_of_short_members_is_found),
		cmocka_unit_test(keys_and_names_are_compared_after_unescaping),
		cmocka_unit_test(a_key_that_any_reader_takes_for_model_names_it),
		cmocka_unit_test(comments_stand_wherever_white_space_does),
		cmocka_unit_test(what_only_some_readers_accept_hides_no_name),
		cmocka_unit_test(a_wide_body_gives_what_it_gives_in_utf_8),
		cmocka_unit_test(a_wide_bodys_encoding_is_known_by_its_first_bytes),
		cmocka_unit_test(a_name_that_cannot_be_kept_whole_is_invalid),
		cmocka_unit_test(a_body_that_is_no_json_object_ends_the_scan),
		cmocka_unit_test(random_bodies_give_what_the_reference_finds),
		cmocka_unit_test(the_last_name_of_a_random_object_equals_janssons),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
