/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A rule for all hosts of a fleet, as text in the store. Pure. Hosts have other services and other
 * ids, so a rule names its client as an operator does, and its model by name. What the store holds
 * is hostile: a text is a rule in every part, or none.
 *
 * The field of a rule is KIND TAB CLIENT TAB MODEL (MODEL "": all); its text "block", "allow", the
 * words of a quota, a weight, or "clear": the store remembers for a while that it was cleared. An
 * ID of a key means a key only with the secret that made it. So the text of a rule by key:ID ends
 * with " keys=" and the hash of FLEET_KEYS_TEXT with that secret, 16 digits.
 */
#ifndef SLUICE_FLEET_RULE_H
#define SLUICE_FLEET_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quota.h"
#include "text.h"

#define FLEET_RULES_MAX      10000 /* as in fleet/rules.lua */
#define FLEET_RULE_FIELD_MAX 192   /* bytes, the zero included */
#define FLEET_RULE_MS_MAX    4000000000000ULL
#define FLEET_RULE_TEXT_MAX  (QUOTA_TEXT_MAX + 24)
#define FLEET_KEYS_TEXT      "sluice: IDs of keys"
#define FLEET_VERSION_MAX    9000000000000000ULL

enum fleet_rule_kind { FLEET_RULE_VERDICT, FLEET_RULE_QUOTA, FLEET_RULE_WEIGHT };

struct fleet_rule {
	enum fleet_rule_kind kind;
	struct text_subject subject;
	char model[SLUICE_NAME_MAX]; /* "": all */
	bool cleared;                /* there is none */
	bool block;                  /* VERDICT: else allow */
	struct quota_def quota;
	uint16_t weight;
	uint64_t keys;    /* of which secret its key:ID is; 0: unknown, or of no key */
	uint64_t ms;      /* until its end; 0: it has none */
	uint64_t version; /* of the change that made it; the later one holds */
};

/* A rule on its way to the store. */
struct fleet_rule_text {
	char field[FLEET_RULE_FIELD_MAX];
	char text[FLEET_RULE_TEXT_MAX];
};

/* The client as typed, in one form. */
void fleet_rule_client(char out[TEXT_CLIENT_MAX], const struct text_subject *subject);
/* model NULL: all. The field is also the start of those of single models, then. */
void fleet_rule_field(char out[FLEET_RULE_FIELD_MAX], enum fleet_rule_kind kind,
		      const struct text_subject *subject, const char *model);
/* Copies the rules of a change, and adds the secret to the texts of those by key:ID. 0, or -EINVAL
 * with a sentence in err: there are more than `most`. */
int fleet_rules_mark(struct fleet_rule_text *out, size_t most, const struct fleet_rule_text *rules,
		     size_t count, uint64_t keys, char *err, size_t len);
/* Reads FIELD LF VERSION SPACE MS SPACE TEXT. 0, or -EINVAL: it is no rule. */
int fleet_rule_read(struct fleet_rule *out, const char *entry, size_t len);

#endif
