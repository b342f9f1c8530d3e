/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The YAML file as a stream of texts: libcyaml checks the document against a schema made from the
 * caller's names, and every value comes out as the text that stands there, to be read by the parser
 * that reads the command line too.
 */
#ifndef SLUICE_CONFIG_FILE_H
#define SLUICE_CONFIG_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "field.h"

#define CONFIG_FILE_BYTES_MAX  (1024 * 1024)
#define CONFIG_FILE_KEYS_MAX   32
#define CONFIG_FILE_FIELDS_MAX 32 /* of a mapping */

/*
 * A top-level key: one value; or a list of values (one value alone will do); or a list of mappings
 * of `fields`.
 */
struct config_file_key {
	const char *name;
	bool list;
	const struct field *fields; /* NULL: no mappings */
};

/*
 * Called for each value: of a top-level key (entry 0, field NULL), or of a field in the entry'th
 * mapping, counted from 1, which begins with a call where field and text are NULL. A list has a
 * call for each value, a map for each NAME=VALUE. Non-zero ends the reading.
 */
typedef int (*config_file_each)(void *arg, const char *key, unsigned entry,
				const struct field *field, const char *text);

/* 0; or what `each` returned; or -EINVAL with one line, without the path, in err. */
int config_file_read(const char *path, const struct config_file_key *keys, size_t count,
		     config_file_each each, void *arg, char *err, size_t len);

#endif
