/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The fleet's rules as a host has read them, with those that were cleared of late. After the store
 * has lost its contents, a list says what the store lacks. Pure.
 */
#ifndef SLUICE_FLEET_RULE_LIST_H
#define SLUICE_FLEET_RULE_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/fleet_rule.h"

struct rule_entry {
	struct fleet_rule rule;
	uint64_t expires_ns; /* 0: no end */
	char *field;         /* as in the store; owned */
	const char *text;    /* … in the same memory */
};

struct rule_list {
	struct rule_entry *at;
	size_t count, capacity;
	size_t rules; /* without those that are cleared */
};

/* An entry of the store (fleet_rule_read()). -EINVAL: it is none; -ENOSPC: there are too many;
 * -ENOMEM. */
int rule_list_add(struct rule_list *list, const char *entry, size_t len, uint64_t now_ns);
/* Once all are added. */
void rule_list_sort(struct rule_list *list);
/* Whether the sorted list has neither this entry nor a later one of its field. Not of one that has
 * ended. */
bool rule_list_lacks(const struct rule_list *list, const struct rule_entry *entry, uint64_t now_ns);
/* Empties it. */
void rule_list_free(struct rule_list *list);

#endif
