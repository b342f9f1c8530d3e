/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Requests of one connection: no input may break the framer, and no cut change what it says. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size >= 3)
		fuzz_cut(FEED_REQUEST, 0, data, size);
	return 0;
}
