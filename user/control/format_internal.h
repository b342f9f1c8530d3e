/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the format_*.c files and top/view.c share: cells and tables (format_text.c), and the parts
 * of models and services that several answers show.
 */
#ifndef SLUICE_FORMAT_INTERNAL_H
#define SLUICE_FORMAT_INTERNAL_H

#include <stdbool.h>

#include "control/format_text.h"

#define COLUMNS 16 /* most columns of a table */
#define DASH    "-"

struct table {
	unsigned columns, rows;
	char **cells;      /* rows * columns texts */
	const char *align; /* a letter for each column: l or r */
	unsigned width[COLUMNS];
};

/* Adds a row and copies its texts, one for each column of the table. */
void table_row(struct table *t, ...);
/* Prints the table and frees its cells. */
void table_print(FILE *out, struct table *t);

/* Prints a text, cut where it has more columns. Columns used. */
unsigned format_cut(FILE *out, const char *text, unsigned columns);

/* A field of an object; DASH if it is empty, null, of another type or missing. */
const char *field_text(const json_t *object, const char *key);
/* A number with this many decimals. Callers may use sixteen results at once. */
const char *field_number(const json_t *object, const char *key, int decimals);
/* An integer; 0 if it is null or missing. */
json_int_t field_whole(const json_t *object, const char *key);
/* The field `weight`, "0.5"; "1" if it is missing. Callers may use four results at once. */
const char *field_weight(const json_t *object);

/* "14:03:20", local time. Callers may use four results at once. */
const char *format_clock(json_int_t unix_ms);

/* format_models.c */
bool model_is_open(const json_t *model);
/* Whether an average shuts the model. Under policy adaptive no average does: a model shuts only if
 * nothing in its queue moves. */
bool model_shut_by_average(const json_t *model);
/* "ttft 1840 ms over 1000 ms": why a model is shut. */
void model_print_reason(FILE *out, const json_t *model);
/* Whether it has samples or targets of replies that are not streamed. */
bool model_has_durations(const json_t *model);
/* "800", or "800 + 0.2/KiB". Callers may use two results at once. */
const char *model_ttft_target(const json_t *model);

/* format_fleet.c */
/* Whether one quota holds over all hosts now. */
void format_fleet_line(FILE *out, const json_t *fleet);
/* Where a change of the fleet's rules is in force. */
void format_fleet_change(FILE *out, const json_t *fleet);

/* format_services.c */
/* The table of services; `counts` adds the requests of each. */
void service_print_list(FILE *out, const json_t *list, bool counts);
/* "authorization, address (IPv4 /24, IPv6 /64), trusted proxies 10.0.0.0/8" */
void service_print_identity(FILE *out, const json_t *service);

#endif
