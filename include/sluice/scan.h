/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What all scanners share: the window that their driver fills, the bits by which they report events
 * to it, and searches eight bytes to the word. A scanner is a state (in a map value) and a step;
 * one step looks at no more than SCAN_PAD bytes past its cursor, holds no loop but short ones
 * (SCAN_UNROLL, SCAN_STEPS), and consumes at least one byte, so that `bpf_loop` can run it and the
 * verifier sees it once. Bytes after the window's end are readable and meaningless: a hit there
 * is no hit (scan_cut).
 *
 * A search marks a byte by its high bit. Borrows can mark bytes above a true hit, never below: only
 * the lowest mark of a word counts.
 */
#ifndef SLUICE_SCAN_H
#define SLUICE_SCAN_H

#include <linux/types.h>

#define SCAN_BUF      2048 /* bytes of the window that are ever valid */
#define SCAN_PAD      64   /* … and readable after them */
#define SCAN_CAPACITY 4096 /* … for all that the verifier knows of a cursor (scan_clamp) */

/* What a step reports to its driver; a step raises each bit at most once. */
enum scan_event {
	HTTP1_HEAD_END = 1,       /* the head is complete: all of the frame is known */
	HTTP1_MODEL = 2,          /* a name of the model ended: json.name, json.flags */
	HTTP1_BODY_BEGIN = 4,     /* the first byte of a response's body */
	HTTP1_END = 8,            /* the last byte of the message was consumed */
	HTTP1_FRAMING_ERROR = 16, /* framing cannot be trusted from here on */
	HTTP1_INTERIM = 32,       /* a 1xx head ended, another head follows */
	HTTP1_UPGRADED = 64,      /* what follows on this connection is not HTTP/1 */
	STREAM_EVENT_BEGIN = 128, /* the first byte of a streamed event */
	STREAM_GENERATED = 256,   /* the event begun last turned out to be generated */
	HTTP1_DATE = 512,         /* the colon after a response's Date was consumed */
	HTTP1_CLOSED = 1024,      /* the body's JSON object has ended, and the body has not */
	STREAM_ERROR = 2048,      /* the streamed response has failed */
	STREAM_GUESS = 4096,      /* STREAM_GENERATED is a guess, for the first time */
};

#define SCAN_ONES  0x0101010101010101ULL
#define SCAN_HIGHS 0x8080808080808080ULL

#ifdef __clang__
#define SCAN_UNROLL _Pragma("unroll")
#define SCAN_STEPS  _Pragma("clang loop unroll(disable)")
#else
#define SCAN_STEPS
#define SCAN_UNROLL _Pragma("GCC unroll 32")
#endif

/* A function that the verifier walks once, not at each call: see SUBPROG in bpf/maps.h. */
#ifdef __bpf__
#define SCAN_SUBPROG __attribute__((weak, noinline))
#else
#define SCAN_SUBPROG static __attribute__((noinline, unused))
#endif

/* Memory is read again after this: the verifier's paths that differ in it become one. */
#define SCAN_FENCE() asm volatile("" ::: "memory")

#undef __always_inline /* the one of linux/stddef.h only hints */
#define __always_inline inline __attribute__((always_inline))

/*
 * Eight bytes at p, the first one lowest. BPF loads them unaligned, which is what clang would not
 * do.
 */
static __always_inline __u64 scan_load(const void *p)
{
	__u64 w;

#ifdef __bpf__
	w = *(const __u64 *)p;
#else
	__builtin_memcpy(&w, p, sizeof(w));
#endif
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	w = __builtin_bswap64(w);
#endif
	return w;
}

static __always_inline void scan_store(void *p, __u64 w)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	w = __builtin_bswap64(w);
#endif
#ifdef __bpf__
	*(__u64 *)p = w;
#else
	__builtin_memcpy(p, &w, sizeof(w));
#endif
}

/* The word that scan_load finds where these eight characters lie; a constant for a literal. */
static __always_inline __u64 scan_literal(const char *s)
{
	return (__u64)(__u8)s[0] | (__u64)(__u8)s[1] << 8 | (__u64)(__u8)s[2] << 16 |
	       (__u64)(__u8)s[3] << 24 | (__u64)(__u8)s[4] << 32 | (__u64)(__u8)s[5] << 40 |
	       (__u64)(__u8)s[6] << 48 | (__u64)(__u8)s[7] << 56;
}

/* Marks bytes equal to c; to be masked with SCAN_HIGHS, as the next one. */
static __always_inline __u64 scan_equal(__u64 w, __u8 c)
{
	__u64 z = w ^ (SCAN_ONES * c);

	return (z - SCAN_ONES) & ~z;
}

/* Marks bytes below c (1 … 128). */
static __always_inline __u64 scan_below(__u64 w, __u8 c)
{
	return (w - SCAN_ONES * c) & ~w;
}

/* Marks the first byte of a word of which only `left` bytes are valid. */
static __always_inline __u64 scan_cut(__u64 left)
{
	return left < 8 ? 0x80ULL << (8 * left) : 0;
}

/* The index of the lowest mark, 0 … 7; marks != 0. */
static __always_inline __u64 scan_index(__u64 marks)
{
	return (((marks & -marks) >> 7) * 0x0001020304050607ULL) >> 56;
}

/* All bits of the bytes below the lowest mark; all of the word if there is none. */
static __always_inline __u64 scan_mask(__u64 marks)
{
	return ((marks & -marks) >> 7) - 1;
}

/* Letters in lower case, as `| 0x20` makes them, and zeros left alone. */
static __always_inline __u64 scan_fold(__u64 w)
{
	return w | (w >> 1 & SCAN_ONES * 0x20);
}

/*
 * A number that the compiler knows nothing of and keeps in one register: so a test of it stays
 * where it is written, on the register that is used after it, where the verifier can see both.
 */
static __always_inline __u64 scan_opaque(__u64 n)
{
	asm volatile("" : "+r"(n));
	return n;
}

/*
 * n itself, of which the verifier forgets the bounds (w is any loaded word): the nine ends of a
 * search become one state to explore from, not nine.
 */
static __always_inline __u64 scan_forget(__u64 n, __u64 w)
{
	return scan_opaque(n ^ w) ^ w;
}

/*
 * A cursor that the verifier can trust. It is within SCAN_BUF, or as little past it as one search
 * goes, so that nothing is cut off; a test against SCAN_BUF would be two states to explore from,
 * and this is one.
 */
static __always_inline __u64 scan_clamp(__u64 p)
{
	return scan_opaque(p) & (SCAN_CAPACITY - 1);
}

/*
 * How many of `left` bytes (not 0) fit the window, as a length that every verifier takes for 1 …
 * SCAN_BUF (6.1 learns no minimum from a test against zero).
 */
static __always_inline __u64 scan_fit(__u64 left)
{
	return (scan_opaque((left > SCAN_BUF ? SCAN_BUF : left) - 1) & (SCAN_BUF - 1)) + 1;
}

/* Index of the first control character (below 0x20) in the 64 bytes at p, 64 if there is none. */
static __always_inline __u64 scan_control(const __u8 *p)
{
	__u64 n = SCAN_PAD, w = 0, marks;

	SCAN_UNROLL
	for (int k = 0; k < SCAN_PAD; k += 8) {
		w = scan_load(p + k);
		marks = scan_below(w, 0x20) & SCAN_HIGHS;
		if (marks) {
			n = k + scan_index(marks);
			break;
		}
	}
	return scan_forget(n, w);
}

/* The value of a hexadecimal digit, 16 for anything else. */
static __always_inline __u8 scan_hex(__u8 c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
}

#endif
