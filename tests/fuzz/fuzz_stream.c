/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Body bytes of SSE or NDJSON, which the first byte chooses, read for their usage or not: the same
 * events count, and they are those of the reference. What a response has cost is its events or
 * more, and nothing counts after an error.
 */
#include "../unit/stream_reference.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	__u32 generated = 0;
	struct feed f, whole;
	__u8 kind;

	if (size < 4)
		return 0;
	kind = data[0] & 1 ? STREAM_NDJSON : STREAM_SSE;
	fuzz_cut(FEED_STREAM, kind | (data[0] & 2 ? FEED_USAGE : 0), data + 1, size - 1);

	assert(stream_reference_agrees(kind, data + 4, size - 4));
	feed_begin(&f, FEED_STREAM, kind, SCAN_BUF);
	feed(&f, data + 4, size - 4);
	for (const char *at = f.text; (at = strstr(at, "generated")); at++)
		generated++;
	assert(generated <= f.stream.tokens);
	assert(!strstr(f.text, "failed") || !strstr(strstr(f.text, "failed"), "generated"));
	feed_begin(&whole, FEED_STREAM, kind | FEED_USAGE, SCAN_BUF);
	feed(&whole, data + 4, size - 4);
	assert(!strcmp(f.text, whole.text));
	assert(whole.stream.tokens >= generated && whole.stream.usage <= STREAM_USAGE_MAX);
	feed_end(&whole);
	feed_end(&f);
	return 0;
}
