/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Quotas: translates an operator's text ("requests=100/60s tokens=20000/60s burst=20") into the
 * kernel's nanoseconds and back, and keeps the register of ids. Pure. gcra.h computes what is left
 * of a budget.
 *
 * Budgets are kept by client and id. Equal definitions may share an id if no client can be charged
 * under both. A request falls under one quota: its client's for the model, its client's (or its
 * prefix's) for all models, its model's, or its service's. So equal definitions share an id within
 * one scope: all clients and prefixes; all clients for one model; one model; one service.
 * Definitions of different origin never share.
 */
#ifndef SLUICE_QUOTA_H
#define SLUICE_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>

#define QUOTA_TEXT_MAX 160 /* bytes of quota_words(), its zero included */

/* `most` units in a period, `burst` of them at once. most 0: no such budget. */
struct quota_rate {
	uint64_t most, period_ns, burst;
};

/* Both without a budget: unlimited, even where a wider quota would hold. */
struct quota_def {
	struct quota_rate requests, tokens;
	bool fleet; /* one budget for all hosts of the fleet */
};

/*
 * Reads one `key=value` into *def: requests and tokens (N/PERIOD, or none), burst, token-burst,
 * fleet (on, off).
 * quota_finish() must follow; it fills in the defaults. -EINVAL with a sentence in err, *def
 * untouched.
 */
int quota_take(struct quota_def *def, const char *key, const char *value, char *err, size_t len);
int quota_finish(struct quota_def *def, char *err, size_t len);
/* Reads a whole quota, divided by spaces or commas; "none" is the quota without limits. */
int quota_parse(struct quota_def *out, const char *text, char *err, size_t len);

/*
 * *out: `weight` (abi.h) times the quota, rate and burst. The rate is exact, over a longer period
 * if necessary. The burst is rounded down, to at least one. -EINVAL with a sentence in err: the
 * result would be out of range.
 */
int quota_scale(struct quota_def *out, const struct quota_def *def, uint16_t weight, char *err,
		size_t len);

/*
 * Translates a definition into the kernel's units. An interval is rounded up to a whole nanosecond.
 * So a client never exceeds the rate, and loses less than 1 ppm of it up to 1000 units a second,
 * and at most (rate in units a second)/1e9 above that.
 */
void quota_value(struct sluice_quota *out, const struct quota_def *def);

/* "requests=100/60s burst=20 tokens=20000/60s", without defaults; "none". */
void quota_words(char out[QUOTA_TEXT_MAX], const struct quota_def *def);
/* "60 s", "1.5 s", "100 ms", "2 h" */
void quota_period(char *out, size_t len, uint64_t ns);

void quota_of_text(struct quota_def *out, const struct sluice_quota_text *text);

#define QUOTA_BUCKETS 4096

/*
 * The register: the pinned quota_texts, by id, and an index that finds a definition. A caller that
 * writes `text` itself calls quota_book_index() afterwards.
 */
struct quota_book {
	struct sluice_quota_text text[SLUICE_QUOTAS_MAX];
	uint16_t first[QUOTA_BUCKETS]; /* id; 0: none */
	uint16_t next[SLUICE_QUOTAS_MAX];
};

void quota_book_index(struct quota_book *book);

/*
 * Returns the id of a definition in its scope (enum sluice_quota_scope; name NULL if it has none)
 * and of its origin (enum sluice_origin).
 * A new definition takes a slot that was never used, else one that is not `used` (SLUICE_QUOTAS_MAX
 * bools; NULL: no slot is known to be free). The latter sets *taken: the caller must delete what
 * clients have spent under the slot's former definition. 0: no slot is free. *fresh: the slot was
 * written.
 */
uint32_t quota_book_id(struct quota_book *book, const struct quota_def *def, unsigned scope,
		       const char *name, unsigned origin, const bool *used, bool *fresh,
		       bool *taken);

#endif
