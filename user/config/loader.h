/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the files of config/ share while one configuration is loaded: the values so far, the entries
 * of the file's sections, and where the error goes. Entries are kept apart from the configuration,
 * since what they leave out is known only when all sources are in.
 */
#ifndef SLUICE_CONFIG_LOADER_H
#define SLUICE_CONFIG_LOADER_H

#include "config.h"
#include "field.h"

#define LOAD_WHY_MAX 768 /* bytes of an error without where it stands */

/* From the weakest to the strongest. */
enum source { SOURCE_DEFAULT, SOURCE_FILE, SOURCE_ENVIRONMENT, SOURCE_COMMAND_LINE };

/* The entries of one section. Each begins with its `char *label`: where it stands. */
struct entries {
	void *items;
	unsigned count;
	enum source from; /* a stronger source's first entry replaces what weaker ones said */
};

struct loader {
	struct config config;
	struct entries services, models, quotas, priorities, prefixes;
	enum source interfaces_from;
	bool has_policy, has_threshold; /* one is given, if only as none */
	enum source source;             /* being applied */
	const char *label;              /* where the value stands that is being applied */
	const char *path;               /* of the file; NULL: there is none */
	char *err;
	size_t err_len;
};

/* A key of the file that holds a list of mappings. */
struct section {
	const char *name;
	const struct field *fields; /* of an entry */
	size_t at;                  /* of its struct entries in struct loader */
	size_t size;                /* of an entry */
	unsigned max;               /* entries; 0: any number */
	const void *blank;          /* an entry before its first key; NULL: zeroes */
	/* All sources are in: checks the entries and puts them into the configuration. */
	int (*finish)(struct loader *l);
};

/* Writes "label: what is wrong" to where the caller of config_load() wants it. Returns -EINVAL. */
__attribute__((format(printf, 3, 4))) int complain(struct loader *l, const char *label,
						   const char *fmt, ...);

/* A new entry at the end, labelled l->label. NULL with one line, without the label, in err. */
void *section_add(struct loader *l, const struct section *section, char *err, size_t len);
/* The entry that was added last. */
void *section_last(struct loader *l, const struct section *section);
/* Forgets all entries. */
void section_clear(struct loader *l, const struct section *section);

#endif
