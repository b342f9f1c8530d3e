/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One row for each key: its name, its parser, and the member for its value. The command line, the
 * environment, the file's schema and --help all follow from the rows, so a setting is one row and
 * the member that it fills.
 */
#ifndef SLUICE_CONFIG_FIELD_H
#define SLUICE_CONFIG_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/parse.h"

/* The type of the member. An enum is an unsigned int. */
enum field_type { FIELD_DOUBLE, FIELD_UINT, FIELD_BYTE, FIELD_BOOL };

struct field {
	const char *name;             /* NULL ends a table */
	bool list;                    /* takes any number of values, one call for each */
	bool map;                     /* holds names that the operator chooses: NAME=VALUE each */
	const struct parse_value *as; /* reads the text into the member; NULL: `take` does */
	int (*take)(void *to, const struct field *field, const char *text, char *err, size_t len);
	enum field_type type;
	size_t at; /* offset of the member, or of the argument of `take`, in the table's struct */
	size_t given; /* offset of a bool that is set if the key is present; 0: none */
	int argument; /* for `take` */
};

#define FIELD_INTO(in, member)                                                                     \
	.at = offsetof(in, member), .type = _Generic(((in *)0)->member, double                     \
						     : FIELD_DOUBLE, uint32_t                      \
						     : FIELD_UINT, uint8_t                         \
						     : FIELD_BYTE, bool                            \
						     : FIELD_BOOL)

extern const struct parse_value field_as_bool; /* true, false */

const struct field *field_find(const struct field *fields, const char *name);

/* Parses one value of one key into *of. 0; or -EINVAL with one line, without the key, in err. */
int field_take(const struct field *field, void *of, const char *text, char *err, size_t len);

/* `"text" is not …`. Returns -EINVAL. */
int field_wrong(char *err, size_t len, const char *text, const char *allowed);

/* Replaces *to by a copy of text. 0; -EINVAL: memory ran out. */
int field_copy(char **to, const char *text, char *err, size_t len);

#endif
