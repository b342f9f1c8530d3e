/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Responses to one method, which the first byte chooses: as fuzz_http1_request.c. */
#include "framing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	__u8 method;

	if (size < 4)
		return 0;
	method = data[0] % (HTTP1_METHOD_CONNECT + 1);
	fuzz_cut(FEED_RESPONSE, method, data + 1, size - 1);
	framing_compare(FEED_RESPONSE, method, data + 4, size - 4);
	return 0;
}
