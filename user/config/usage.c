/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See usage.h. Each row of a table prints a line here, so every setting has one. */
#include "usage.h"

#include <stdio.h>

#include "core/help.h"
#include "options.h"

/* The keys of a section's entries, on one line or more. */
static void print_section(const struct section *section)
{
	char text[512];
	size_t at = (size_t)snprintf(text, sizeof(text), "%s: ", section->name);

	for (const struct field *f = section->fields; f->name; f++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", f->name,
				       f[1].name ? ", " : "");
	printf("  ");
	help_wrap(stdout, 2, 6, text);
}

void usage_print(const struct section *const *sections, size_t count)
{
	const struct option *o;

	printf("Usage: sluiced --listen [ADDR:]PORT[=MODEL]... [OPTION]...\n"
	       "       sluiced --config FILE [OPTION]...\n"
	       "       sluiced --check FILE [OPTION]...\n"
	       "Keeps an inference API on this host inside its latency targets.\n\n");
	for (size_t i = 0; (o = option_at(i)); i++) {
		char name[64];

		snprintf(name, sizeof(name), "--%s", o->field.name);
		help_option(stdout, name, o->argument, o->help, o->fallback);
	}
	printf("\nEach option is a key of the same name in the file, and a variable: --lease-ms is\n"
	       "lease-ms and SLUICE_LEASE_MS. The command line overrides the environment, which\n"
	       "overrides the file. The file may also call the list of interfaces interfaces.\n"
	       "\nKeys of the file's lists:\n");
	for (size_t i = 0; i < count; i++)
		print_section(sections[i]);
	printf("\nExit status: 0 ended by a signal or `sluicectl detach`, 1 could not start, or\n"
	       "failed while running, 2 wrong configuration.\n");
}
