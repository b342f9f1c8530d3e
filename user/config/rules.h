/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Turns a service's keys about requests (judge-methods, judge-paths, pass-paths, model-paths,
 * model-from, model-header) into the rules that the kernel reads. The kernel uses the first rule
 * that matches. So the rules are sorted here, and the longest prefix decides.
 */
#ifndef SLUICE_CONFIG_RULES_H
#define SLUICE_CONFIG_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>
#include "field.h"

/* The keys of one service that are read so far. All zero: none. */
struct rules_entry {
	struct sluice_rule path[SLUICE_RULES_MAX]; /* as written, in any order */
	unsigned path_count;
	bool judge_paths, model_paths; /* there is at least one */
	uint8_t methods;
	uint8_t source[3];
	unsigned source_count;
	char header[HTTP1_TOKEN_MAX];
};

/* Parses one value of one key; `to` is the struct rules_entry. 0; or -EINVAL with one line in
 * err. */
int rules_take_method(void *to, const struct field *field, const char *text, char *err, size_t len);
int rules_take_path(void *to, const struct field *field, const char *text, char *err,
		    size_t len); /* argument: enum sluice_rule_kind */
int rules_take_source(void *to, const struct field *field, const char *text, char *err, size_t len);
int rules_take_header(void *to, const struct field *field, const char *text, char *err, size_t len);

/* Call it after all keys: adds defaults for absent ones. Errors as above. */
int rules_finish(const struct rules_entry *e, struct sluice_rules *out, char *err, size_t len);

#endif
