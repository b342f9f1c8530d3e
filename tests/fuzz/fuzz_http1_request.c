/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Requests of one connection: no input may break the framer, no cut may change its marks, and where
 * it is sure, http_parser agrees. The wanted headers have names that the fuzzer finds soon.
 */
#include "framing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 3)
		return 0;
	feed_wanted = "x";
	feed_keys[0] = "authorization";
	feed_keys[1] = "k";
	feed_forwarded = "forwarded";
	fuzz_cut(FEED_REQUEST, 0, data, size);
	framing_compare(FEED_REQUEST, 0, data + 3, size - 3);
	return 0;
}
