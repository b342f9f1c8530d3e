/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The parts of a 429, as the daemon writes them and the programs join them (reply.h). Part of the
 * interface that abi.h describes.
 */
#ifndef SLUICE_ABI_REPLY_H
#define SLUICE_ABI_REPLY_H

#include <linux/types.h>

/* Of what would otherwise be aligned as bytes are, and copied so: clang copies for BPF by what it
 * knows of alignment. */
#define SLUICE_ALIGNED(bytes) __attribute__((aligned(bytes)))

#define SLUICE_REPLY_MAX        1024 /* bytes of one 429, head and body */
#define SLUICE_REPLY_TAIL_MAX   96   /* bytes of its text after the number of seconds */
#define SLUICE_REPLY_HEAD_MAX   480  /* bytes of its head that are the service's */
#define SLUICE_REPLY_FIELDS_MAX 160  /* … and the quota's */
#define SLUICE_REPLY_OPEN_MAX   112  /* bytes of the rest of its head and of its body's begin */
#define SLUICE_SENTENCE_MAX     352  /* bytes of its sentence */
#define SLUICE_REPLY_AFTER      16   /* > a number's width: spaces after the tail */
#define SLUICE_NUMBER_WIDTH     10   /* a number in a reply, left-justified, padded with spaces */

/*
 * A 429 is made of three parts, each in a map: the head of a service, the sentence of a reason, the
 * form of an API. reply.h joins them and fills in the numbers.
 *
 * reply_heads: lines of the head, the status first. Content-Length has three digits, at length_at;
 * seconds and milliseconds have fields of SLUICE_NUMBER_WIDTH spaces.
 */
struct sluice_reply_head_key {
	__u64 origin; /* hash of the web origin that the head allows; 0: that of all others */
	__u32 service;
	__u32 unavailable; /* 1: a 503, not a 429 */
};
_Static_assert(sizeof(struct sluice_reply_head_key) == 16, "reply head key");

struct sluice_reply_head {
	__u16 len;
	__u16 length_at;
	__u16 seconds_at;
	__u16 ms_at;
	char text[SLUICE_REPLY_HEAD_MAX];
} SLUICE_ALIGNED(8);
_Static_assert(sizeof(struct sluice_reply_head) == 8 + 480, "reply head");

/* replies: the sentence of a reason, up to the number of seconds, and the lines of a quota. */
struct sluice_reply_key {
	__u32 model; /* SLUICE_MODEL_ALL: the text that names no model, always there; of quotas: the
			quota's id */
	__u16 reason;
	__u16 pad;
};
_Static_assert(sizeof(struct sluice_reply_key) == 8, "reply key");

struct sluice_reply {
	__u16 fields_len;
	__u16 reset_at; /* in fields: RateLimit's t, the seconds once more; 0: none */
	__u16 len;
	__u16 pad;
	char fields[SLUICE_REPLY_FIELDS_MAX];
	char sentence[SLUICE_SENTENCE_MAX];
} SLUICE_ALIGNED(8);
_Static_assert(sizeof(struct sluice_reply) == 8 + 160 + 352, "reply");

/*
 * reply_forms[((api * 2 + unavailable) * 2 + no_retry) * 2 + kept]: the last lines of the head and
 * the body up to the sentence, and the body after the seconds, up to the same length for every
 * number.
 */
#define SLUICE_REPLY_FORMS (8 * SLUICE_API_COUNT)

struct sluice_reply_form {
	__u16 len; /* of `open` */
	__u16 body_at;
	__u32 pad;
	char open[SLUICE_REPLY_OPEN_MAX];
	char tail[SLUICE_REPLY_TAIL_MAX + SLUICE_REPLY_AFTER]; /* padded with spaces */
} SLUICE_ALIGNED(8);
_Static_assert(sizeof(struct sluice_reply_form) == 8 + 112 + 112, "reply form");

/* The parts of one 429: with the wait, the same bytes for every retransmission. */
struct sluice_reply_parts {
	struct sluice_reply_head_key head;
	struct sluice_reply_key reply;
	__u8 api;      /* enum sluice_api */
	__u8 no_retry; /* 1: with x-should-retry: false */
	__u8 kept;     /* 1: the connection goes on */
	__u8 pad[5];
};
_Static_assert(sizeof(struct sluice_reply_parts) == 32, "reply parts");

#endif
