/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A PROXY header, cut at the offset in the first byte: the pieces give the same as the whole, and
 * sscanf() and inet_pton() accept every version 1 line that is accepted.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/proxy.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t scan(struct proxy *p, const uint8_t *data, size_t size, size_t cut)
{
	size_t at = 0;

	memset(p, 0, sizeof(*p));
	while (at < size && p->state < PROXY_DONE) {
		size_t stop = at < cut ? cut : size;
		__u32 n = proxy_step(p, data + at, stop - at);

		assert(n >= 1 && n <= stop - at);
		at += n;
	}
	return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char line[PROXY_V1_MAX + 1], family[8], source[48], destination[48];
	struct proxy whole, pieces;
	unsigned from, to;
	uint8_t addr[16];
	size_t n, cut;

	if (size < 2 || size > 4096)
		return 0;
	cut = data[0] * (size - 1) / 255;
	data++;
	size--;
	n = scan(&whole, data, size, 0);
	assert(scan(&pieces, data, size, cut) == n);
	assert(!memcmp(&whole, &pieces, sizeof(whole)));
	if (whole.state != PROXY_DONE)
		return 0;
	if (data[0] != 'P') {
		assert(n >= 16 && n == 16u + (data[14] << 8 | data[15]));
		if (whole.known)
			assert(!memcmp(whole.addr + (data[13] == 0x11 ? 12 : 0), data + 16,
				       data[13] == 0x11 ? 4 : 16));
		return 0;
	}
	assert(n <= PROXY_V1_MAX && data[n - 1] == '\n');
	if (!whole.known)
		return 0;
	memcpy(line, data, n);
	line[n] = '\0';
	assert(sscanf(line, "PROXY %7s %47s %47s %u %u\r\n", family, source, destination, &from,
		      &to) == 5);
	assert(from < 65536 && to < 65536);
	if (!strcmp(family, "TCP6")) {
		assert(inet_pton(AF_INET6, destination, addr) == 1);
		assert(inet_pton(AF_INET6, source, addr) == 1 && !memcmp(addr, whole.addr, 16));
	} else {
		assert(inet_pton(AF_INET, destination, addr) == 1);
		assert(inet_pton(AF_INET, source, addr) == 1 && !memcmp(addr, whole.addr + 12, 4));
	}
	return 0;
}
