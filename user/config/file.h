/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The YAML file as a stream of texts. libcyaml checks the document against a schema made from the
 * caller's names. Every value comes out as the text in the file, so that the parsers of the command
 * line can read it too.
 */
#ifndef SLUICE_CONFIG_FILE_H
#define SLUICE_CONFIG_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "field.h"

#define CONFIG_FILE_BYTES_MAX  (1024 * 1024)
#define CONFIG_FILE_KEYS_MAX   64
#define CONFIG_FILE_FIELDS_MAX 32 /* keys of a mapping */

/*
 * A top-level key: one value; or a list of values (a single value is accepted); or a list of
 * mappings of `fields`.
 */
struct config_file_key {
	const char *name;
	bool list;
	const struct field *fields; /* NULL: no mappings */
};

/*
 * Called for each value: of a top-level key (entry 0, field NULL), or of a field in the entry'th
 * mapping, counted from 1. A mapping begins with a call in which field and text are NULL. A list
 * has a call for each value, a map for each NAME=VALUE. A non-zero result ends the reading.
 */
typedef int (*config_file_each)(void *arg, const char *key, unsigned entry,
				const struct field *field, const char *text);

/* 0; or the result of `each`; or -EINVAL with one line, without the path, in err. */
int config_file_read(const char *path, const struct config_file_key *keys, size_t count,
		     config_file_each each, void *arg, char *err, size_t len);

#endif
