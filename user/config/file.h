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

#define CONFIG_FILE_BYTES_MAX (1024 * 1024)

/* A field of a mapping: one value, or a list of values. */
struct config_file_field {
	const char *name;
	bool list;
};

/*
 * A top-level key: one value; or a list of values (one value alone will do); or a list of mappings
 * of `fields`.
 */
struct config_file_key {
	const char *name;
	bool list;
	const struct config_file_field
		*fields; /* ends with a NULL name; NULL itself: no mappings */
	const char *map; /* the field that holds a mapping, of names that are the operator's own;
			    NULL: none does */
};

/*
 * Called for each value: of a top-level key (entry 0, field NULL), or of a field in the entry'th
 * mapping (once for each value of a list; of a map the text is NAME=VALUE), counted from 1, which
 * begins with a call where text and field are NULL. Non-zero ends the reading.
 */
typedef int (*config_file_each)(void *arg, const char *key, unsigned entry, const char *field,
				const char *text);

/* 0; or what `each` returned; or -EINVAL with one line, without the path, in err. */
int config_file_read(const char *path, const struct config_file_key *keys, size_t count,
		     config_file_each each, void *arg, char *err, size_t len);

#endif
