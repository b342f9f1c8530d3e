/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The global settings, one row each: --NAME on the command line, SLUICE_NAME in the environment, a
 * key of the file, a line of --help. A default is a text too, so all sources use the same parser.
 */
#ifndef SLUICE_CONFIG_OPTIONS_H
#define SLUICE_CONFIG_OPTIONS_H

#include "loader.h"

struct option {
	struct field field; /* of struct loader */
	const char *argument, *fallback, *help;
	bool is_word; /* takes no value: --help */
	bool not_in_file;
	bool not_in_environment;
};

#define OPTIONS_MAX 52

/* An option of the command line with its value. */
struct argument {
	const struct option *option;
	const char *value;
};

/* The i-th row; NULL after the last. */
const struct option *option_at(size_t i);
const struct option *option_find(const char *name);

/* Applies one value from the present source; `label` is its position. */
int option_apply(struct loader *l, const struct option *option, const char *label,
		 const char *text);

/* Splits argv into options and their values, at most argc. Returns how many, or -EINVAL. */
int options_read(struct loader *l, int argc, char **argv, struct argument *out);

int options_apply_defaults(struct loader *l);
int options_apply_environment(struct loader *l, char *const *env);
int options_apply_arguments(struct loader *l, const struct argument *arguments, int n);

/* A variable's value; NULL if it is not set, or empty. */
const char *options_variable(char *const *env, const char *name);

#endif
