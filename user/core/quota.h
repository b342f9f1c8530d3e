/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Quotas: an operator's words ("requests=100/60s tokens=20000/60s burst=20") into the nanoseconds
 * that the kernel counts in and back, and the register that gives each definition its id. Pure.
 * What is left of a budget is gcra.h's to say.
 *
 * Who shares an id shares nothing as long as no client can be charged under both of its
 * definitions, since budgets are kept by client and id. A request falls under one of its client's
 * quota for the model, its client's (or its prefix's) for all models, its model's, its service's;
 * so equal definitions share an id within one such scope: all clients and prefixes; all clients for
 * one model; one model; one service. What was said by hand and what the file says never share.
 */
#ifndef SLUICE_QUOTA_H
#define SLUICE_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>

#define QUOTA_TEXT_MAX 160 /* bytes of quota_words(), its zero included */

/* So many in so much time; `burst` of them at once. most 0: no such budget. */
struct quota_rate {
	uint64_t most, period_ns, burst;
};

/* Both without a budget: unlimited, where a wider quota would hold. */
struct quota_def {
	struct quota_rate requests, tokens;
};

/*
 * Reads one `key=value` into *def: requests and tokens (N/PERIOD, or none), burst, token-burst. To
 * be closed by quota_finish(), which fills in the defaults. -EINVAL with a sentence in err, *def
 * untouched.
 */
int quota_take(struct quota_def *def, const char *key, const char *value, char *err, size_t len);
int quota_finish(struct quota_def *def, char *err, size_t len);
/* All of them in one text, divided by spaces or commas; "none" is the quota that bounds nothing. */
int quota_parse(struct quota_def *out, const char *text, char *err, size_t len);

/*
 * *out: `weight` (abi.h) times the quota, rate and burst. The rate is exact, over a longer period
 * where it has to be; a burst is rounded down, to one at least. -EINVAL with a sentence in err: no
 * such quota can be.
 */
int quota_scale(struct quota_def *out, const struct quota_def *def, uint16_t weight, char *err,
		size_t len);

/*
 * What the kernel counts with. An interval is rounded up to a whole nanosecond: a rate is never
 * exceeded, and is missed by less than 1 ppm up to 1000 a second, by at most (rate in units a
 * second)/1e9 above.
 */
void quota_value(struct sluice_quota *out, const struct quota_def *def);

/* "requests=100/60s burst=20 tokens=20000/60s", without what is the default; "none". */
void quota_words(char out[QUOTA_TEXT_MAX], const struct quota_def *def);
/* "60 s", "1.5 s", "100 ms", "2 h" */
void quota_period(char *out, size_t len, uint64_t ns);

void quota_of_text(struct quota_def *out, const struct sluice_quota_text *text);

#define QUOTA_BUCKETS 4096

/*
 * The register: the pinned quota_texts, by id, and an index to find a definition by. Who writes
 * `text` by itself calls quota_book_index() behind it.
 */
struct quota_book {
	struct sluice_quota_text text[SLUICE_QUOTAS_MAX];
	uint16_t first[QUOTA_BUCKETS]; /* id; 0: none */
	uint16_t next[SLUICE_QUOTAS_MAX];
};

void quota_book_index(struct quota_book *book);

/*
 * The id of a definition in its scope (enum sluice_quota_scope; name NULL where it has none). Where
 * it has none yet, it takes a slot never used, else one not `used` (SLUICE_QUOTAS_MAX bits as
 * bools; NULL: none is known to be free) and sets *taken: what clients have spent under the slot's
 * former definition has to be forgotten. 0: there is no room. *fresh: the slot was written.
 */
uint32_t quota_book_id(struct quota_book *book, const struct quota_def *def, unsigned scope,
		       const char *name, bool manual, const bool *used, bool *fresh, bool *taken);

#endif
