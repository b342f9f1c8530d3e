/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See endpoint.h. The parser checks the digits of a port itself, since strtoul() accepts signs and
 * spaces. */
#include "endpoint.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int endpoint_split(const char *text, char *addr, size_t addr_len, uint16_t *port)
{
	const char *colon = strrchr(text, ':'), *digits = colon ? colon + 1 : text;
	size_t n = colon ? (size_t)(colon - text) : 0;
	unsigned long value = 0;

	if (!*digits || strlen(digits) > 5 || strspn(digits, "0123456789") != strlen(digits))
		return -EINVAL;
	value = strtoul(digits, NULL, 10);
	if (value < 1 || value > 65535 || (colon && !n))
		return -EINVAL;
	if (n && text[0] == '[') {
		if (n < 3 || text[n - 1] != ']')
			return -EINVAL;
		text++;
		n -= 2;
		if (!memchr(text, ':', n))
			return -EINVAL;
	} else if (n && memchr(text, ':', n)) {
		return -EINVAL;
	}
	if (n >= addr_len)
		return -EINVAL;
	memcpy(addr, text, n);
	addr[n] = '\0';
	*port = (uint16_t)value;
	return 0;
}

int endpoint_address(const char *text, uint8_t out[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (strchr(text, ':'))
		return inet_pton(AF_INET6, text, out) == 1 ? 0 : -EINVAL;
	if (inet_pton(AF_INET, text, out + 12) != 1)
		return -EINVAL;
	memcpy(out, mapped, sizeof(mapped));
	return 0;
}

bool endpoint_is_any(const uint8_t addr[16])
{
	static const uint8_t any6[16], any4[16] = {[10] = 0xff, [11] = 0xff};

	return !memcmp(addr, any6, 16) || !memcmp(addr, any4, 16);
}
