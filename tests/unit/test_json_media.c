/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Blobs in JSON (json_media.h): the shapes in which known APIs send images, sound and files, and
 * what is none, since a server may read it as text. Each row is cut everywhere, and compared with
 * the reference, which has all of the body at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "feed.h"
#include "json_reference.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct row {
	const char *body;
	unsigned blobs;
	__u64 bytes; /* of them */
};

static void check(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(rows[i].body);
		struct reference r;
		struct feed f;

		free(feed_every_way(FEED_JSON, 0, rows[i].body, len));
		feed_begin(&f, FEED_JSON, 0, SCAN_BUF);
		feed(&f, rows[i].body, len);
		if (f.json.blobs != rows[i].blobs || f.json.blob_bytes != rows[i].bytes)
			print_error("%s\n", rows[i].body);
		assert_int_equal(f.json.blobs, rows[i].blobs);
		assert_int_equal(f.json.blob_bytes, rows[i].bytes);
		feed_end(&f);
		reference_read(&r, rows[i].body, len);
		assert_int_equal(r.blobs, rows[i].blobs);
		assert_int_equal(r.blob_bytes, rows[i].bytes);
		reference_end(&r);
	}
}

#define PART(part) "{\"messages\":[{\"role\":\"user\",\"content\":[{" part "}]}],\"model\":\"m\"}"

static void media_of_known_apis_are_blobs(void **state)
{
	static const struct row rows[] = {
		/* OpenAI chat, vLLM */
		{PART("\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,iVBORw0KGgo=\"}"),
		 1, 34},
		{PART("\"type\":\"image_url\",\"image_url\":{\"detail\":\"low\",\"url\":\"data:,AAAA\"}"),
		 1, 10},
		{PART("\"type\": \"text\", \"text\": \"What is it?\"}, {\"type\": \"image_url\", \"image_url\" : \n{\"url\" : \"data:,AA\" } "),
		 1, 8},
		{PART("\"type\":\"video_url\",\"video_url\":{\"url\":\"data:video/mp4;base64,AAAA\"}"),
		 1, 26},
		{PART("\"type\":\"audio_url\",\"audio_url\":{\"url\":\"data:audio/ogg;base64,T2dn\"}"),
		 1, 26},
		{PART("\"type\":\"input_audio\",\"input_audio\":{\"data\":\"UklGRg==\",\"format\":\"wav\"}"),
		 1, 8},
		{PART("\"type\":\"file\",\"file\":{\"filename\":\"a.pdf\",\"file_data\":\"data:application/pdf;base64,JVBE\"}"),
		 1, 32},
		{PART("\"image_url\":{\"url\":\"http://x/y.png\"}},{\"image_url\":{\"url\":\"AAAA\"}"),
		 2, 18},
		/* OpenAI responses */
		{"{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_image\",\"image_url\":\"data:image/png;base64,AAAA\"}]}]}",
		 1, 26},
		{"{\"input\":[{\"content\":[{\"type\":\"input_file\",\"file_data\":\"data:,AA==\"}]}]}",
		 1, 10},
		{"{\"input\":[{\"type\":\"function_call_output\",\"output\":[{\"image_url\":\"data:,AA\"}]}]}",
		 1, 8},
		/* Anthropic */
		{PART("\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/png\",\"data\":\"iVBO\"}"),
		 1, 4},
		{PART("\"type\":\"tool_result\",\"content\":[{\"type\":\"image\",\"source\":{\"data\":\"iVBO\"}}]"),
		 1, 4},
		/* Ollama */
		{"{\"model\":\"llava\",\"prompt\":\"What?\",\"images\":[\"iVBORw0KGgo=\",\"AAAA\"]}",
		 2, 16},
		{"{\"IMAGES\" : [ \"AA\" ],\"im\\u0061ges\":[\"AAAA\"]}", 2, 6},
		{"{\"messages\":[{\"role\":\"user\",\"content\":\"What?\",\"images\":[\"iVBO\",\"\"]}]}",
		 2, 4},
		/* as PHP and .NET escape base64 */
		{PART("\"image_url\":{\"url\":\"data:image\\/png;base64,A\\u002BB\\u002b\"}"), 1,
		 37},
	};

	(void)state;
	check(rows, COUNT(rows));
}

static void what_may_be_text_is_no_blob(void **state)
{
	static const struct row rows[] = {
		/* a space, a control character, an escape, a byte that is not ASCII */
		{PART("\"image_url\":{\"url\":\"Once upon a time\"}"), 0, 0},
		{PART("\"image_url\":{\"url\":\"AAAA\\nAAAA\"}"), 0, 0},
		{PART("\"image_url\":{\"url\":\"AAAA\\u0020AAAA\"}"), 0, 0},
		{PART("\"image_url\":{\"url\":\"AA\\u00\"}"), 0, 0},
		{PART("\"image_url\":{\"url\":\"AA\\\\\"}"), 0, 0},
		{PART("\"image_url\":{\"url\":\"AA\\\"AA\"}"), 0, 0},
		{PART("\"image_url\":{\"url\":\"\xe4\xbd\xa0\xe5\xa5\xbd\"}"), 0, 0},
		{PART("\"image_url\":{\"url\":\"AA~AA\"}"), 0, 0},
		{PART("\"source\":{\"type\":\"text\",\"data\":\"a prompt\"}"), 0, 0},
		/* another key, or none */
		{PART("\"type\":\"text\",\"text\":\"AAAA\""), 0, 0},
		{PART("\"text\":\"image_url\",\"url\":\"AAAA\""), 0, 0},
		{PART("\"image_urls\":\"AAAA\",\"mage_url\":\"AAAA\",\"Image_url\":\"AAAA\""), 0,
		 0},
		{PART("\"image_url\",\"AAAA\""), 0, 0},
		{PART("\"image_url\":[\"AAAA\"],\"source\":\"AAAA\",\"images\":\"AAAA\""), 0, 0},
		{PART("\"image_url\":{\"text\":\"AAAA\",\"urls\":\"AAAA\",\"x\":{\"url\":\"AAAA\"}}"),
		 0, 0},
		{PART("\"images\":[[\"AAAA\"],{\"url\":\"AAAA\"}]"), 0, 0},
		/* tools, their calls, and other places that a server may write into its prompt */
		{"{\"tools\":[{\"image_url\":\"AAAA\",\"x\":[{\"image_url\":\"AAAA\"}]}]}", 0, 0},
		{"{\"documents\":[{\"images\":[\"AAAA\"]}],\"functions\":[{\"image_url\":\"AAAA\"}]}",
		 0, 0},
		{PART("\"type\":\"tool_use\",\"input\":{\"image_url\":\"AAAA\",\"x\":[{\"images\":[\"AAAA\"]}]}"),
		 0, 0},
		{"{\"messages\":[{\"tool_calls\":[{\"function\":{\"arguments\":{\"images\":[\"AAAA\"]}}}]}]}",
		 0, 0},
		{"{\"messages\":{\"image_url\":\"AAAA\"},\"input\":[\"AAAA\",[\"AAAA\"]],\"image_url\":\"AAAA\"}",
		 0, 0},
		{"{\"image\":[\"AAAA\"],\"imagesx\":[\"AAAA\"],\"prompt\":[\"AAAA\"]}", 0, 0},
		{"{\"messages\":[[{\"image_url\":\"AAAA\"}],{\"image_url\":\"AA\"}]}", 1, 2},
		/* behind another place it is none, and after that it is one again */
		{PART("\"x\":{\"image_url\":\"AAAA\"},\"image_url\":\"AA\""), 1, 2},
		{PART("\"x\":[{\"y\":[1]}],\"image_url\":{\"x\":[\"A\"],\"url\":\"AA\"}"), 1, 2},
		/* whether a key is read at once or byte by byte, its first letter makes a place */
		{"{\"model\":[{\"images\":[\"AAAA\"]}]}", 1, 4},
		{"{\"mod\\u0065l\":[{\"images\":[\"AAAA\"]}]}", 1, 4},
		{"{\"stream\":[{\"images\":[\"AAAA\"]}]}", 0, 0},
		/* a blob that does not end */
		{"{\"messages\":[{\"images\":[\"AAAA\",\"AAAAAA", 1, 4},
	};

	(void)state;
	check(rows, COUNT(rows));
}

/* Blobs beyond the bound count by their length, so that a request of tiny ones is not counted for
 * many times its length, nor one of many large ones for little. */
static void the_blobs_of_a_request_are_bounded(void **state)
{
	char body[4096] = "{\"images\":[\"AAAA\"";
	size_t at = strlen(body);
	struct feed f;

	(void)state;
	for (int i = 0; i < 300; i++)
		at += sprintf(body + at, ",\"AAAA\"");
	at += sprintf(body + at, "]}");
	feed_begin(&f, FEED_JSON, 0, SCAN_BUF);
	feed(&f, body, at);
	assert_int_equal(f.json.blobs, JSON_MODEL_BLOBS);
	assert_int_equal(f.json.blob_bytes, 4 * JSON_MODEL_BLOBS);
	feed_end(&f);
}

static void a_large_blob_is_one_however_it_is_cut(void **state)
{
	static const char begin[] = "{\"messages\":[{\"images\":[\"", end[] = "\"]}]}";
	static const size_t pieces[] = {1, 63, 64, 65, 1023, 1024, 1025, 1448, SCAN_BUF, 65483};
	size_t len = 200000, total = len + sizeof(begin) + sizeof(end) - 2;
	char *body = malloc(total + 1);

	(void)state;
	assert_non_null(body);
	strcpy(body, begin);
	memset(body + strlen(begin), 'A', len);
	strcpy(body + strlen(begin) + len, end);
	for (size_t i = 0; i < COUNT(pieces); i++) {
		struct feed f;

		feed_begin(&f, FEED_JSON, 0, SCAN_BUF);
		for (size_t at = 0; at < total; at += pieces[i])
			feed(&f, body + at, total - at < pieces[i] ? total - at : pieces[i]);
		assert_int_equal(f.json.blobs, 1);
		assert_int_equal(f.json.blob_bytes, len);
		assert_true(json_model_done(&f.json));
		feed_end(&f);
	}
	free(body);
}

/* What was counted cannot be relied on if the server may have read other bytes. */
static void a_roll_back_forgets_the_blobs(void **state)
{
	static const char body[] = "{\"images\":[\"AAAA\",\"AA";
	struct feed f;

	(void)state;
	feed_begin(&f, FEED_JSON, 0, SCAN_BUF);
	feed(&f, body, strlen(body));
	assert_int_equal(f.json.blobs, 1);
	json_model_rollback(&f.json);
	assert_int_equal(f.json.blobs, 0);
	assert_int_equal(f.json.blob_bytes, 0);
	feed_end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(media_of_known_apis_are_blobs),
		cmocka_unit_test(what_may_be_text_is_no_blob),
		cmocka_unit_test(the_blobs_of_a_request_are_bounded),
		cmocka_unit_test(a_large_blob_is_one_however_it_is_cut),
		cmocka_unit_test(a_roll_back_forgets_the_blobs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
