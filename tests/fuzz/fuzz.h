/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Shared by the fuzzers of scanners. An input begins with three bytes of parameters (where to cut,
 * how wide the window is, which bytes follow it); the rest is the data. The pieces must give the
 * same marks as the whole.
 */
#ifndef SLUICE_FUZZ_H
#define SLUICE_FUZZ_H

#include <stdint.h>

#include "../unit/feed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void fuzz_cut(enum feed_kind kind, __u8 detail, const uint8_t *data, size_t size)
{
	size_t len = size - 3;
	size_t cut = len ? data[0] * len / 255 : 0, window = data[1] % 70 ? data[1] % 70 : SCAN_BUF;
	char *whole = feed_cut(kind, detail, data + 3, len, 0, SCAN_BUF, 0);
	char *pieces = feed_cut(kind, detail, data + 3, len, cut, window, data[2]);

	if (strcmp(whole, pieces)) {
		fprintf(stderr, "whole: %s\ncut at %zu by %zu: %s\n", whole, cut, window, pieces);
		abort();
	}
	free(whole);
	free(pieces);
}

#endif
