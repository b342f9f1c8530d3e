/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Bodies, as in fuzz_http1_request.c. If jansson accepts an object, the scanner must find jansson's
 * name in it. Of several "model" jansson keeps the last; if that is no string, there is no name to
 * compare.
 */
#include <jansson.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *root, *model;
	struct feed f;

	if (size < 3)
		return 0;
	fuzz_cut(FEED_JSON, 0, data, size);

	root = json_loadb((const char *)data + 3, size - 3, JSON_ALLOW_NUL, NULL);
	if (!json_is_object(root)) {
		json_decref(root);
		return 0;
	}
	feed_begin(&f, FEED_JSON, 0, SCAN_BUF);
	feed(&f, data + 3, size - 3);
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
	feed_end(&f);
	json_decref(root);
	return 0;
}
