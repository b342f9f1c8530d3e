/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The value of X-Forwarded-For (the first byte odd) or of Forwarded. The client is the address that
 * inet_pton() finds in the last element, whatever a client has written before it. The earlier
 * elements give the same as without the last one.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/forwarded.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct forwarded scan(int pairs, const uint8_t *data, size_t size)
{
	struct forwarded f = {0};

	forwarded_begin(&f, pairs);
	for (size_t i = 0; i < size; i++)
		forwarded_byte(&f, data[i]);
	forwarded_element_end(&f);
	return f;
}

/* The offset of the last element that is not blank. */
static size_t last_element(const uint8_t *data, size_t *size)
{
	size_t end = *size, from;

	for (;;) {
		int blank = 1;

		for (from = end; from && data[from - 1] != ','; from--)
			blank &= data[from - 1] == ' ' || data[from - 1] == '\t';
		if (!blank || !from)
			break;
		end = from - 1;
	}
	*size = end - from;
	return from;
}

/* True if some part of the text is this address in text form. */
static int names(const char *text, size_t size, const uint8_t addr[16])
{
	for (size_t from = 0; from < size; from++)
		for (size_t n = 2; n < 46 && from + n <= size; n++) {
			char copy[48];
			uint8_t out[16] = {[10] = 0xff, 0xff};

			memcpy(copy, text + from, n);
			copy[n] = '\0';
			if ((inet_pton(AF_INET6, copy, out) == 1 && !memcmp(out, addr, 16)))
				return 1;
			memset(out, 0, 16);
			out[10] = out[11] = 0xff;
			if (inet_pton(AF_INET, copy, out + 12) == 1 && !memcmp(out, addr, 16))
				return 1;
		}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct forwarded all, last, earlier;
	size_t n, at;
	int pairs;

	if (size < 1 || size > 512)
		return 0;
	pairs = !(data[0] & 1);
	data++;
	n = --size;
	at = last_element(data, &n);
	all = scan(pairs, data, size);
	last = scan(pairs, data + at, n);
	assert((all.flags & FORWARDED_KNOWN) == (last.flags & FORWARDED_KNOWN));
	if (!(all.flags & FORWARDED_KNOWN))
		return 0;
	assert(!memcmp(all.addr, last.addr, 16));
	earlier = scan(pairs, data, at ? at - 1 : 0);
	assert(all.hops == (earlier.hops < FORWARDED_HOPS ? earlier.hops + 1 : FORWARDED_HOPS));
	assert(!(earlier.flags & FORWARDED_KNOWN) == !earlier.hops);
	if (all.hops > 1)
		assert(!memcmp(all.before[0], earlier.addr, 16));
	for (int i = 2; i < all.hops; i++)
		assert(!memcmp(all.before[i - 1], earlier.before[i - 2], 16));
	assert(names((const char *)data + at, n, all.addr));
	return 0;
}
