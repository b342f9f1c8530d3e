/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Body bytes of SSE or NDJSON, which the first byte chooses. The event count equals the number of
 * reported events, and nothing is generated after an error.
 */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	__u32 generated = 0;
	struct feed f;

	if (size < 4)
		return 0;
	fuzz_cut(FEED_STREAM, data[0] & 1 ? STREAM_NDJSON : STREAM_SSE, data + 1, size - 1);

	feed_begin(&f, FEED_STREAM, data[0] & 1 ? STREAM_NDJSON : STREAM_SSE, SCAN_BUF);
	feed(&f, data + 4, size - 4);
	for (const char *at = f.text; (at = strstr(at, "generated")); at++)
		generated++;
	assert(generated == f.stream.events);
	assert(!strstr(f.text, "failed") || !strstr(strstr(f.text, "failed"), "generated"));
	feed_end(&f);
	return 0;
}
