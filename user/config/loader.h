/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the files of config/ share while they load one configuration: the values so far, the entries
 * of the file's sections, and the buffer for the error. Entries are kept apart from the
 * configuration: the values that they leave out are known only after all sources are read.
 */
#ifndef SLUICE_CONFIG_LOADER_H
#define SLUICE_CONFIG_LOADER_H

#include "config.h"
#include "field.h"

#define LOAD_WHY_MAX 768 /* bytes of an error without its position */

/* From the weakest to the strongest. */
enum source { SOURCE_DEFAULT, SOURCE_FILE, SOURCE_ENVIRONMENT, SOURCE_COMMAND_LINE };

/* The entries of one section. Each begins with its `char *label`, its position. */
struct entries {
	void *items;
	unsigned count;
	enum source from; /* a stronger source's first entry replaces all weaker ones */
};

struct loader {
	struct config config;
	struct entries services, models, quotas, priorities, prefixes;
	enum source interfaces_from, netns_from, metrics_hosts_from, fleet_stores_from;
	bool has_policy, has_threshold; /* one is given, even as none */
	enum source source;             /* being applied */
	const char *label;              /* position of the value that is being applied */
	const char *path;               /* of the file; NULL: none */
	char *err;
	size_t err_len;
};

/* A key of the file that holds a list of mappings. */
struct section {
	const char *name;
	const struct field *fields; /* of an entry */
	size_t at;                  /* offset of its struct entries in struct loader */
	size_t size;                /* of an entry */
	unsigned max;               /* entries; 0: any number */
	const void *blank;          /* an entry before its first key; NULL: zeros */
	/* Call it after all sources: checks the entries and puts them into the configuration. */
	int (*finish)(struct loader *l);
};

/* Writes "label: error" to the buffer of config_load()'s caller. Returns -EINVAL. */
__attribute__((format(printf, 3, 4))) int complain(struct loader *l, const char *label,
						   const char *fmt, ...);

/* Adds an entry at the end, labelled l->label. NULL with one line, without the label, in err. */
void *section_add(struct loader *l, const struct section *section, char *err, size_t len);
/* The entry that was added last. */
void *section_last(struct loader *l, const struct section *section);
/* Forgets all entries. */
void section_clear(struct loader *l, const struct section *section);

#endif
