/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The header that a proxy puts before a connection's bytes to name its client: HAProxy's PROXY
 * protocol, version 1 (a line of text) and version 2 (binary), a byte at a time. Strict, as its
 * specification wants it: what is not exactly such a header ends in PROXY_BAD. A header that names
 * no TCP address (LOCAL, UNKNOWN, other families) is one without PROXY_KNOWN: then the peer's own
 * address counts.
 */
#ifndef SLUICE_PROXY_H
#define SLUICE_PROXY_H

#include "address.h"

#define PROXY_V1_MAX 107 /* bytes of a line, CR LF included */

enum proxy_state {
	PROXY_BEGIN,
	PROXY_SIGNATURE, /* version 1: "PROXY " */
	PROXY_FAMILY,    /* "TCP4 ", "TCP6 " or "UNKNOWN" */
	PROXY_SOURCE,
	PROXY_DESTINATION,
	PROXY_SOURCE_PORT,
	PROXY_DESTINATION_PORT,
	PROXY_REST, /* of a line that says UNKNOWN */
	PROXY_LF,
	PROXY_SIGNATURE2, /* version 2: its 12 bytes */
	PROXY_HEAD2,      /* the 4 after them */
	PROXY_ADDRESS2,   /* the source's address */
	PROXY_REST2,      /* what is left of the header */
	PROXY_DONE,
	PROXY_BAD,
};

/* All zero is the state before the header. */
struct proxy {
	struct address_text text;
	__u8 addr[16];
	__u32 left;   /* version 2: bytes of the header still to come */
	__u32 port;   /* under way */
	__u8 state;   /* enum proxy_state */
	__u8 at;      /* bytes of the part under way */
	__u8 bytes;   /* of the line, version 1 */
	__u8 known;   /* addr is the client's */
	__u8 command; /* version 2: 1: PROXY, 0: LOCAL */
	__u8 family;  /* version 2: its byte; version 1: '4', '6' or 'U' */
	__u8 pad[2];
};
_Static_assert(sizeof(struct proxy) == 80, "proxy");

/* A decimal port and the byte after it. */
static __always_inline void proxy_port(struct proxy *p, __u8 c, __u8 end, __u8 next)
{
	__u8 d = c - '0';

	if (d <= 9) {
		p->port = p->port * 10 + d;
		if ((p->at && p->port < 10) || p->port > 65535)
			p->state = PROXY_BAD;
		p->at++;
	} else {
		p->state = c == end && p->at ? next : PROXY_BAD;
		p->at = 0;
		p->port = 0;
	}
}

/* An address and the space after it; the destination's has to be valid, too. */
static __always_inline void proxy_address(struct proxy *p, __u8 c)
{
	__u8 scratch[16] __attribute__((aligned(8)));
	int good;

	if (c != ' ') {
		address_byte(&p->text, c);
		if (p->text.flags & ADDRESS_BAD)
			p->state = PROXY_BAD;
		return;
	}
	good = address_end(&p->text, p->state == PROXY_SOURCE ? p->addr : scratch);
	if (!good || !(p->text.flags & ADDRESS_V6) != (p->family == '4'))
		p->state = PROXY_BAD;
	else
		p->state = p->state == PROXY_SOURCE ? PROXY_DESTINATION : PROXY_SOURCE_PORT;
	address_begin(&p->text);
}

static __always_inline void proxy_family(struct proxy *p, __u8 c)
{
	__u64 word = p->family == 'U' ? scan_literal("UNKNOWN\0") : scan_literal("TCP\0 \0\0\0");
	__u8 want;

	if (!p->at)
		p->family = c == 'U' ? 'U' : 'T';
	if (!p->at && c == 'U')
		word = scan_literal("UNKNOWN\0");
	want = word >> (8 * (p->at & 7));
	if (p->at == 3 && p->family == 'T' && (c == '4' || c == '6'))
		p->family = want = c;
	if (p->at == 7 && p->family == 'U' && (c == ' ' || c == '\r')) {
		p->state = c == '\r' ? PROXY_LF : PROXY_REST;
		return;
	}
	if (c != want || !want) {
		p->state = PROXY_BAD;
		return;
	}
	p->at++;
	if (p->family != 'U' && p->at == 5) {
		p->state = PROXY_SOURCE;
		p->at = 0;
	}
}

static __always_inline void proxy_line_byte(struct proxy *p, __u8 c)
{
	__u8 want;

	if (++p->bytes > PROXY_V1_MAX || !c) {
		p->state = PROXY_BAD;
		return;
	}
	switch (p->state) {
	case PROXY_SIGNATURE:
		want = scan_literal("PROXY \0\0") >> (8 * (p->at & 7));
		p->at++;
		if (c != want)
			p->state = PROXY_BAD;
		else if (p->at == 6) {
			p->state = PROXY_FAMILY;
			p->at = 0;
		}
		break;
	case PROXY_FAMILY:
		proxy_family(p, c);
		break;
	case PROXY_SOURCE:
	case PROXY_DESTINATION:
		proxy_address(p, c);
		break;
	case PROXY_SOURCE_PORT:
		proxy_port(p, c, ' ', PROXY_DESTINATION_PORT);
		break;
	case PROXY_DESTINATION_PORT:
		proxy_port(p, c, '\r', PROXY_LF);
		break;
	case PROXY_REST:
		if (c == '\r')
			p->state = PROXY_LF;
		break;
	case PROXY_LF:
		p->state = c == '\n' ? PROXY_DONE : PROXY_BAD;
		p->known = p->family != 'U';
		break;
	}
}

/* The four bytes after the signature: version and command, family, length. */
static __always_inline void proxy_head_byte(struct proxy *p, __u8 c)
{
	__u32 need;

	if (!p->at) {
		p->command = c & 15;
		if (c >> 4 != 2 || p->command > 1)
			p->state = PROXY_BAD;
	} else if (p->at == 1) {
		p->family = c;
		if (c >> 4 > 3 || (c & 15) > 2)
			p->state = PROXY_BAD;
	} else {
		p->left = p->left << 8 | c;
	}
	if (++p->at < 4 || p->state == PROXY_BAD)
		return;
	p->at = 0;
	p->state = p->left ? PROXY_REST2 : PROXY_DONE;
	need = p->family == 0x11 ? 12 : 36;
	if (!p->command || (p->family != 0x11 && p->family != 0x21))
		return;
	p->state = p->left < need ? PROXY_BAD : PROXY_ADDRESS2;
	if (p->family == 0x11) {
		p->addr[10] = p->addr[11] = 0xff;
		p->at = 12;
	}
}

/*
 * Takes some of the `left` bytes at b (one at least) and returns how many. At PROXY_DONE the header
 * has ended with them; at PROXY_BAD it was none.
 */
static __always_inline __u32 proxy_step(struct proxy *p, const __u8 *b, __u32 left)
{
	__u64 sig = scan_literal("\r\n\r\n\0\r\nQ"), sig2 = scan_literal("UIT\n\0\0\0\0");
	__u8 c = b[0], want;
	__u32 n;

	if (p->state == PROXY_BEGIN)
		p->state = c == 'P' ? PROXY_SIGNATURE : PROXY_SIGNATURE2;
	if (p->state < PROXY_SIGNATURE2) {
		proxy_line_byte(p, c);
		return 1;
	}
	switch (p->state) {
	case PROXY_SIGNATURE2:
		want = (p->at < 8 ? sig : sig2) >> (8 * (p->at & 7));
		p->at++;
		if (c != want) {
			p->state = PROXY_BAD;
		} else if (p->at == 12) {
			p->state = PROXY_HEAD2;
			p->at = 0;
		}
		return 1;
	case PROXY_HEAD2:
		proxy_head_byte(p, c);
		return 1;
	case PROXY_ADDRESS2:
		p->addr[p->at & 15] = c;
		p->left--;
		if (++p->at >= 16) {
			p->known = 1;
			p->state = PROXY_REST2;
		}
		return 1;
	case PROXY_REST2:
		n = left < p->left ? left : p->left;
		p->left -= n;
		if (!p->left)
			p->state = PROXY_DONE;
		return n;
	}
	return 1;
}

#endif
