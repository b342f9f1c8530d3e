/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The part of abi.h that says how a service's requests are read: struct sluice_rules. */
#ifndef SLUICE_ABI_RULES_H
#define SLUICE_ABI_RULES_H

#include <linux/types.h>

#include "http1_types.h"

/*
 * Which requests of a service are judged, and where the model's name is looked for. The first rule
 * with a prefix of the request target decides. If no rule has one, the request is judged.
 */
#define SLUICE_RULES_MAX       16
#define SLUICE_RULE_PREFIX_MAX 48

enum sluice_rule_kind {
	SLUICE_RULE_JUDGE = 0,
	SLUICE_RULE_PASS = 1, /* never judged */
	SLUICE_RULE_MODEL =
		2, /* judged; the name follows the prefix, up to one of / : ? # or the end */
};

enum sluice_model_source {
	SLUICE_SOURCE_NONE = 0,
	SLUICE_SOURCE_PATH = 1,
	SLUICE_SOURCE_HEADER = 2,
	SLUICE_SOURCE_BODY = 3,
};

struct sluice_rule {
	__u8 kind; /* enum sluice_rule_kind */
	__u8 len;  /* bytes of prefix, 1 … SLUICE_RULE_PREFIX_MAX */
	__u8 pad[6];
	char prefix[SLUICE_RULE_PREFIX_MAX]; /* padded with zeros */
};
_Static_assert(sizeof(struct sluice_rule) == 56, "rule");

/* rules[service id] */
struct sluice_rules {
	__u32 count;
	__u8 methods;   /* bit 1 << enum http1_method: which are judged */
	__u8 source[3]; /* enum sluice_model_source, in order; NONE ends it; after them the default
			   model */
	char header[HTTP1_TOKEN_MAX];              /* in lower case, padded with zeros */
	char key[HTTP1_KEYS_MAX][HTTP1_TOKEN_MAX]; /* headers that hold a client's API key, the
						      first counts first */
	char forwarded[HTTP1_TOKEN_MAX];           /* "forwarded", or "x-forwarded-for" */
	char priority[HTTP1_TOKEN_MAX]; /* the header with the name of a request's class; all zero:
					   none */
	char origin[HTTP1_TOKEN_MAX];   /* "origin", or all zero: it is not read */
	__u64 names;                    /* http1_names() of these headers */
	struct sluice_rule rule[SLUICE_RULES_MAX];
};
_Static_assert(sizeof(struct sluice_rules) == 240 + 16 * 56, "rules");

/* A scanner takes the names from `header` on as its wanted headers. */
#define SLUICE_WANTED(field, i)                                                                    \
	_Static_assert(__builtin_offsetof(struct sluice_rules, field) ==                           \
			       __builtin_offsetof(struct sluice_rules, header) +                   \
				       (i)*HTTP1_TOKEN_MAX,                                        \
		       "rules." #field " is not wanted header " #i)
SLUICE_WANTED(header, HTTP1_WANTED_MODEL);
SLUICE_WANTED(key, HTTP1_WANTED_KEY);
SLUICE_WANTED(forwarded, HTTP1_WANTED_FORWARDED);
SLUICE_WANTED(priority, HTTP1_WANTED_PRIORITY);
SLUICE_WANTED(origin, HTTP1_WANTED_ORIGIN);
SLUICE_WANTED(names, HTTP1_WANTED);
#undef SLUICE_WANTED

#endif
