/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The value of X-Forwarded-For, or of Forwarded (RFC 7239), a byte at a time: the address of its
 * last element, which the nearest proxy has appended, and the addresses in a row before it. If the
 * last one is a trusted proxy, the caller takes the next. An element that no trusted proxy has
 * appended is the client's own claim. A comma always ends an element, in quotes too, so that a
 * quote that a client left open cannot hide the elements after it. Several lines of the header are
 * one list. Where the last element is no address (unknown, obfuscated, malformed) none is known.
 */
#ifndef SLUICE_FORWARDED_H
#define SLUICE_FORWARDED_H

#include "address.h"

enum forwarded_state {
	FORWARDED_BEGIN, /* before an element, or one of its pairs */
	FORWARDED_NAME,  /* in the name of a pair */
	FORWARDED_OTHER, /* in the value of a pair that is not `for` */
	FORWARDED_OPEN,  /* before the address */
	FORWARDED_NODE,
	FORWARDED_PORT,
	FORWARDED_AFTER, /* the address and its port */
	FORWARDED_BAD,   /* to the element's end */
};

enum forwarded_flag {
	FORWARDED_PAIRS =
		1, /* Forwarded: elements are pairs, `for` is the one; else X-Forwarded-For */
	FORWARDED_KNOWN = 2, /* addr is the last element's */
	FORWARDED_ANY = 4,   /* the element under way is not empty … */
	FORWARDED_FOR = 8,   /* … and has had its address */
	FORWARDED_QUOTED = 16,
	FORWARDED_BRACKET = 32,
	FORWARDED_ESCAPED = 64,
};

#define FORWARDED_HOPS 4 /* addresses that are kept */

#define FORWARDED_OF_LIST (FORWARDED_PAIRS | FORWARDED_KNOWN)

/* All zero is the state before a request. */
struct forwarded {
	struct address_text text;
	__u8 addr[16];
	__u8 state;   /* enum forwarded_state */
	__u8 flags;   /* enum forwarded_flag */
	__u8 matched; /* letters of "for"; 4: another name */
	__u8 hops; /* addresses known in a row, the last element's included: 0 … FORWARDED_HOPS */
	__u8 pad[4];
	__u8 before[FORWARDED_HOPS - 1][16]; /* those in front of addr, the nearest first */
};
_Static_assert(sizeof(struct forwarded) == 120, "forwarded");

/* Before each line of the header. */
static __always_inline void forwarded_begin(struct forwarded *f, int pairs)
{
	f->state = FORWARDED_BEGIN;
	f->flags = (f->flags & FORWARDED_KNOWN) | (pairs ? FORWARDED_PAIRS : 0);
}

/* The address has ended; `state` is the next state if it is valid. */
static __always_inline void forwarded_node_end(struct forwarded *f, __u8 state)
{
	int good = address_end(&f->text, f->addr);

	if (f->flags & FORWARDED_BRACKET && !(f->text.flags & ADDRESS_V6))
		good = 0;
	f->state = good ? state : FORWARDED_BAD;
	if (good)
		f->flags |= FORWARDED_FOR;
}

/* The first byte of an element: the addresses before it move back by one. */
static __always_inline void forwarded_element_begin(struct forwarded *f)
{
	if (f->flags & FORWARDED_ANY)
		return;
	f->flags |= FORWARDED_ANY;
	__builtin_memcpy(f->before[2], f->before[1], 16);
	__builtin_memcpy(f->before[1], f->before[0], 16);
	__builtin_memcpy(f->before[0], f->addr, 16);
}

/* The end of an element, by a comma or the end of the line. */
static __always_inline void forwarded_element_end(struct forwarded *f)
{
	if (f->state == FORWARDED_NODE && !(f->flags & FORWARDED_BRACKET))
		forwarded_node_end(f, FORWARDED_AFTER);
	else if (f->state == FORWARDED_NODE || f->state == FORWARDED_OPEN)
		f->state = FORWARDED_BAD;
	if (f->flags & FORWARDED_ANY) {
		f->flags &= ~FORWARDED_KNOWN;
		if (f->flags & FORWARDED_FOR && f->state != FORWARDED_BAD &&
		    !(f->flags & FORWARDED_QUOTED)) {
			f->flags |= FORWARDED_KNOWN;
			f->hops += f->hops < FORWARDED_HOPS;
		} else {
			f->hops = 0;
		}
	}
	f->flags &= FORWARDED_OF_LIST;
	f->state = FORWARDED_BEGIN;
}

/* A byte after the address: of its port, or what may close it. */
static __always_inline void forwarded_after(struct forwarded *f, __u8 c)
{
	if (c == '"' && f->flags & FORWARDED_QUOTED) {
		f->flags &= ~(FORWARDED_QUOTED | FORWARDED_BRACKET);
		f->state = FORWARDED_AFTER;
	} else if (c == ';' && f->flags & FORWARDED_PAIRS && !(f->flags & FORWARDED_QUOTED)) {
		f->state = FORWARDED_BEGIN;
	} else if (c == ' ' || c == '\t') {
		f->flags &= ~FORWARDED_BRACKET;
		f->state = FORWARDED_AFTER;
	} else if (f->state == FORWARDED_PORT) {
		if ((__u8)(c - '0') > 9)
			f->state = FORWARDED_BAD;
	} else if (c == ':' && f->flags & FORWARDED_BRACKET) {
		f->state = FORWARDED_PORT;
	} else {
		f->state = FORWARDED_BAD;
	}
}

/* One byte of the value; for the CR or LF after it call forwarded_element_end(). */
static __always_inline void forwarded_byte(struct forwarded *f, __u8 c)
{
	__u8 want;

	if (c == ',') {
		forwarded_element_end(f);
		return;
	}
	if (f->state == FORWARDED_BEGIN) {
		if (c == ' ' || c == '\t')
			return;
		forwarded_element_begin(f);
		if (c == ';' && f->flags & FORWARDED_PAIRS)
			return;
		f->state = f->flags & FORWARDED_PAIRS ? FORWARDED_NAME : FORWARDED_OPEN;
		f->matched = 0;
		address_begin(&f->text);
	}
	switch (f->state) {
	case FORWARDED_NAME:
		want = scan_literal("for\0\0\0\0\0") >> (8 * (f->matched & 7));
		if (c != '=') {
			f->matched = f->matched < 3 && (c | 0x20) == want ? f->matched + 1 : 4;
			break;
		}
		f->state = f->matched != 3            ? FORWARDED_OTHER
			   : f->flags & FORWARDED_FOR ? FORWARDED_BAD
						      : FORWARDED_OPEN;
		f->flags &= ~(FORWARDED_BRACKET | FORWARDED_ESCAPED);
		break;
	case FORWARDED_OTHER:
		if (f->flags & FORWARDED_ESCAPED)
			f->flags &= ~FORWARDED_ESCAPED;
		else if (c == '\\' && f->flags & FORWARDED_QUOTED)
			f->flags |= FORWARDED_ESCAPED;
		else if (c == '"')
			f->flags ^= FORWARDED_QUOTED;
		else if (c == ';' && !(f->flags & FORWARDED_QUOTED))
			f->state = FORWARDED_BEGIN;
		break;
	case FORWARDED_OPEN:
		if (c == '"' && !(f->flags & FORWARDED_QUOTED)) {
			f->flags |= FORWARDED_QUOTED;
			break;
		}
		f->state = FORWARDED_NODE;
		if (c == '[') {
			f->flags |= FORWARDED_BRACKET;
			break;
		}
		/* fall through */
	case FORWARDED_NODE:
		if (c == ']' && f->flags & FORWARDED_BRACKET) {
			forwarded_node_end(f, FORWARDED_AFTER);
		} else if (!(f->flags & FORWARDED_BRACKET) &&
			   ((c == ':' && f->text.dots) || c == '"' || c == ';' || c == ' ' ||
			    c == '\t')) {
			forwarded_node_end(f, c == ':' ? FORWARDED_PORT : FORWARDED_AFTER);
			if (f->state == FORWARDED_AFTER)
				forwarded_after(f, c);
		} else {
			address_byte(&f->text, c);
			if (f->text.flags & ADDRESS_BAD)
				f->state = FORWARDED_BAD;
		}
		break;
	case FORWARDED_PORT:
	case FORWARDED_AFTER:
		forwarded_after(f, c);
		break;
	}
}

#endif
