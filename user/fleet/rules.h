/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The fleet's rules in the store: rules.lua lists and changes them. A list comes in pages; a change
 * between two pages shows in their versions. Nothing is kept here.
 */
#ifndef SLUICE_FLEET_RULES_H
#define SLUICE_FLEET_RULES_H

#include <stddef.h>
#include <stdint.h>

#include "core/fleet_rule.h"
#include "fleet/store.h"

#define STORE_CURSOR_MAX 24
#define STORE_SET_MAX    2 /* rules of one change */
#define STORE_PUT_MAX    64

struct store_rules_page {
	uint64_t version;
	char next[STORE_CURSOR_MAX]; /* "0": this was the last one */
	uint64_t ignored;            /* what the script left out */
	const struct redisReply *reply;
	size_t count;
};

/* cursor "0": from the start. As store_request(); store_rules_page() takes the reply. */
int store_rules_list(struct store *s, const char *cursor, store_replied done, void *arg);
/* -EINVAL: it has another form. */
int store_rules_page(struct store_rules_page *out, const struct redisReply *reply);
/* An entry of the page, for fleet_rule_read(). */
const char *store_rules_entry(const struct store_rules_page *page, size_t i, size_t *len);

enum store_rules_change { STORE_RULES_SET, STORE_RULES_CLEAR, STORE_RULES_CLEAR_ALL };

/* ms: until they end; 0: never. CLEAR_ALL: `field` is the start of those to be removed. */
int store_rules_change(struct store *s, enum store_rules_change change,
		       const struct fleet_rule_text *rules, size_t count, uint64_t ms,
		       store_replied done, void *arg);
/* A rule that the store may have lost. The texts need not outlive the call. */
struct store_rule_put {
	const char *field, *text;
	uint64_t version, ms;
};

/* Puts back what the store has lost: a later rule of the same field stays. Count: at most PUT_MAX.
 * It goes as a reading does, so a command has not to wait for it. */
int store_rules_put(struct store *s, const struct store_rule_put *rules, size_t count,
		    store_replied done, void *arg);
/* The answer to a change: the version, and how many were removed, or had been lost. -EINVAL: it has
 * another form. */
int store_rules_changed(const struct redisReply *reply, uint64_t *version, uint64_t *removed);

#endif
