/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Bodies, as in fuzz_http1_request.c. The scanner must find what the reference finds, which has all
 * of the body at once. If jansson accepts an object without other forms of the key, the scanner
 * must find jansson's name in it. Of several "model" jansson keeps the last; if that is no string,
 * there is no name to compare.
 */
#include <strings.h>

#include <jansson.h>

#include "../unit/json_reference.h"
#include "fuzz.h"

static void compare(const struct feed *f, const uint8_t *data, size_t size)
{
	__u8 flags = f->json.flags & ~FEED_PASSING;
	struct reference r;
	char *from, *to;

	for (from = to = f->text; *from; from++)
		if (*from == '@' && from[1] >= '0' && from[1] <= '9')
			from += strspn(from + 1, "0123456789");
		else
			*to++ = *from;
	*to = 0;
	reference_read(&r, data, size);
	for (from = to = r.said; *from; from++)
		if (*from == '@' && from[1] >= '0' && from[1] <= '9')
			from += strspn(from + 1, "0123456789");
		else
			*to++ = *from;
	*to = 0;
	if (strcmp(f->text, r.said) || flags != r.flags || json_model_done(&f->json) != r.done ||
	    f->json.stream != r.stream || f->json.blobs != r.blobs ||
	    f->json.blob_bytes != r.blob_bytes) {
		fprintf(stderr,
			"ours: %s flags %d stream %d blobs %d/%llu\n"
			"reference: %s flags %d stream %d blobs %u/%zu\n",
			f->text, flags, f->json.stream, f->json.blobs,
			(unsigned long long)f->json.blob_bytes, r.said, r.flags, r.stream, r.blobs,
			r.blob_bytes);
		abort();
	}
	reference_end(&r);
}

/* Whether an object has a key that only some readers take for "model" or "stream". */
static int has_other_form(json_t *root)
{
	const char *key;
	json_t *value;

	json_object_foreach(root, key, value)
	{
		if ((strcmp(key, "model") && !strcasecmp(key, "model")) ||
		    (strcmp(key, "stream") && !strcasecmp(key, "stream")))
			return 1;
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *root, *model, *stream;
	struct feed f;

	if (size < 3)
		return 0;
	fuzz_cut(FEED_JSON, 0, data, size);

	feed_begin(&f, FEED_JSON, 0, SCAN_BUF);
	feed(&f, data + 3, size - 3);
	compare(&f, data + 3, size - 3);
	root = json_loadb((const char *)data + 3, size - 3, JSON_ALLOW_NUL, NULL);
	if (!json_is_object(root) || has_other_form(root)) {
		json_decref(root);
		feed_end(&f);
		return 0;
	}
	assert(json_model_done(&f.json));
	assert(!(f.json.flags & JSON_MODEL_GARBAGE));
	model = json_object_get(root, "model");
	if (json_is_string(model)) {
		const char *name = json_string_value(model);
		size_t len = json_string_length(model);

		if (len >= JSON_MODEL_NAME_MAX || memchr(name, 0, len)) {
			assert(f.json.flags & JSON_MODEL_INVALID);
			assert(!f.json.name_len);
		} else {
			assert(!(f.json.flags & JSON_MODEL_INVALID));
			assert(f.json.name_len == len && !memcmp(f.json.name, name, len));
		}
	} else if (!model) {
		assert(!f.text_len);
	}
	stream = json_object_get(root, "stream");
	if (!stream || json_is_null(stream))
		assert(f.json.stream == JSON_STREAM_UNSAID);
	else if (json_is_boolean(stream))
		assert(f.json.stream == (json_is_true(stream) ? JSON_STREAM_YES : JSON_STREAM_NO));
	feed_end(&f);
	json_decref(root);
	return 0;
}
