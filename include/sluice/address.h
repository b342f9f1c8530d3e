/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * An IPv4 or IPv6 address written out (RFC 4291 2.2), a byte at a time, into 16 bytes in network
 * order with IPv4 as
 * ::ffff:a.b.c.d. Groups are shifted into a 128-bit number, so that nothing is indexed and a "::"
 * is one shift. What inet_pton() takes is taken, and nothing else.
 */
#ifndef SLUICE_ADDRESS_H
#define SLUICE_ADDRESS_H

#include "scan.h"

enum address_flag {
	ADDRESS_V6 = 1,    /* there was a colon */
	ADDRESS_COLON = 2, /* the last byte was one that may begin a "::" */
	ADDRESS_GAP = 4,   /* there was a "::" */
	ADDRESS_BAD = 8,
};

/* All zero is the state before an address. */
struct address_text {
	__u64 high, low;             /* groups since the "::", the newest lowest */
	__u64 front_high, front_low; /* those in front of it, where they belong */
	__u32 v4;
	__u16 hex, dec; /* the group or octet under way */
	__u8 digits;    /* of it */
	__u8 dots;
	__u8 groups; /* finished ones */
	__u8 flags;  /* enum address_flag */
	__u8 pad[4];
};
_Static_assert(sizeof(struct address_text) == 48, "address text");

#define ADDRESS_NO_OCTET 0xffff

static __always_inline void address_begin(struct address_text *a)
{
	__builtin_memset(a, 0, sizeof(*a));
}

static __always_inline void address_group(struct address_text *a, __u16 group)
{
	a->high = a->high << 16 | a->low >> 48;
	a->low = a->low << 16 | group;
	a->groups++;
	if (a->groups > 8)
		a->flags |= ADDRESS_BAD;
}

static __always_inline void address_octet(struct address_text *a)
{
	if (!a->digits || a->digits > 3 || a->dec > 255 || (a->digits > 1 && a->dec < 10) ||
	    (a->digits > 2 && a->dec < 100) || a->dots > 3)
		a->flags |= ADDRESS_BAD;
	a->v4 = a->v4 << 8 | (a->dec & 255);
	a->digits = 0;
	a->hex = a->dec = 0;
}

/* The second colon of "::": the groups so far go to the front. */
static __always_inline void address_gap(struct address_text *a)
{
	__u32 shift = 16 * (8 - (a->groups & 7));

	if (a->flags & ADDRESS_GAP || a->groups > 7)
		a->flags |= ADDRESS_BAD;
	a->flags = (a->flags | ADDRESS_GAP) & ~ADDRESS_COLON;
	if (shift >= 128) {
		a->front_high = a->front_low = 0;
	} else if (shift >= 64) {
		a->front_high = a->low << (shift & 63);
		a->front_low = 0;
	} else {
		a->front_high = a->high << shift | a->low >> (64 - shift);
		a->front_low = a->low << shift;
	}
	a->high = a->low = 0;
}

/* One byte. A byte that no address can have sets ADDRESS_BAD. */
static __always_inline void address_byte(struct address_text *a, __u8 c)
{
	__u8 d = scan_hex(c);

	if (d < 16) {
		if (++a->digits > 4 ||
		    (a->flags & ADDRESS_COLON && !a->groups && !(a->flags & ADDRESS_GAP)))
			a->flags |= ADDRESS_BAD;
		a->flags &= ~ADDRESS_COLON;
		a->hex = a->hex << 4 | d;
		a->dec = d > 9 || a->dec > 255 ? ADDRESS_NO_OCTET : a->dec * 10 + d;
	} else if (c == '.') {
		address_octet(a);
		a->dots++;
		if (a->dots > 3)
			a->flags |= ADDRESS_BAD;
	} else if (c == ':' && !a->dots) {
		a->flags |= ADDRESS_V6;
		if (a->digits) {
			address_group(a, a->hex);
			a->digits = 0;
			a->hex = a->dec = 0;
			a->flags |= ADDRESS_COLON;
		} else if (a->flags & ADDRESS_COLON) {
			address_gap(a);
		} else if (!a->groups && !(a->flags & ADDRESS_GAP)) {
			a->flags |= ADDRESS_COLON;
		} else {
			a->flags |= ADDRESS_BAD;
		}
	} else {
		a->flags |= ADDRESS_BAD;
	}
}

/* The end of it: whether it was an address, then in `out`. */
static __always_inline int address_end(struct address_text *a, __u8 out[16])
{
	__u64 high, low;

	if (a->dots) {
		address_octet(a);
		if (a->dots != 3)
			a->flags |= ADDRESS_BAD;
		if (a->flags & ADDRESS_V6) {
			address_group(a, a->v4 >> 16);
			address_group(a, a->v4);
		}
	} else if (a->digits) {
		address_group(a, a->hex);
	} else if (a->flags & ADDRESS_COLON) {
		a->flags |= ADDRESS_BAD;
	}
	if (a->flags & ADDRESS_V6) {
		if (a->flags & ADDRESS_GAP ? a->groups > 7 : a->groups != 8)
			a->flags |= ADDRESS_BAD;
		high = a->high | a->front_high;
		low = a->low | a->front_low;
	} else {
		if (!a->dots)
			a->flags |= ADDRESS_BAD;
		high = 0;
		low = 0xffff00000000ULL | a->v4;
	}
	if (a->flags & ADDRESS_BAD)
		return 0;
	scan_store(out, __builtin_bswap64(high));
	scan_store(out + 8, __builtin_bswap64(low));
	return 1;
}

#endif
