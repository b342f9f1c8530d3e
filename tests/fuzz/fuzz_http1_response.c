/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Responses to one method, as chosen by the first byte: as fuzz_http1_request.c. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size >= 4)
		fuzz_cut(FEED_RESPONSE, data[0] % (HTTP1_METHOD_CONNECT + 1), data + 1, size - 1);
	return 0;
}
