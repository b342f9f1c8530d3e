/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Forms in requests. After three bytes as in fuzz.h comes one that says which form it is; the rest
 * is the body. Where all servers agree on a multipart body, and in each urlencoded one, the scanner
 * must find the names that a parser of whole bodies finds.
 */
#include "fuzz.h"

#include "../unit/form_reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *body = (const char *)data + 4;
	char *request, *cut;
	size_t n;

	if (size < 4)
		return 0;
	request = form_reference_request(data[3] % FORM_REFERENCE_TYPES, body, size - 4, &n);
	cut = malloc(n + 3);
	assert(cut);
	memcpy(cut, data, 3);
	memcpy(cut + 3, request, n);
	fuzz_cut(FEED_REQUEST, 0, (uint8_t *)cut, n + 3);
	free(cut);
	free(request);
	assert(form_reference_agrees(data[3] % FORM_REFERENCE_TYPES, body, size - 4));
	return 0;
}
