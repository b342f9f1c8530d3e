/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The daemon's answers as text: tables with units in their headers, and first the one line that
 * an operator needs at three in the morning: does sluice enforce, is any model shut, why, since
 * when, until when.
 */
#ifndef SLUICE_FORMAT_TEXT_H
#define SLUICE_FORMAT_TEXT_H

#include <jansson.h>
#include <stdio.h>

/* The columns of the screen. Wider tables come in parts, wider lines break at spaces. 0, the
 * default: tables and lines are as wide as they are. */
void format_set_columns(unsigned columns);
/* Prints a line without its end, in as many rows as it needs. A row after the first begins with
 * `indent` spaces. */
void format_wrap(FILE *out, const char *line, unsigned columns, unsigned indent);
/* Prints what one of the format functions wrote, its lines wrapped to the screen. */
void format_wrap_all(FILE *out, const char *text);

/* "850 ms", "42 s", "10 min", "3 min 20 s", "5 h 12 min", "3 d 4 h". Callers may use four results
 * at once. */
const char *format_span(double ms);
/* Escapes all texts of an answer for people (core/printable.h). Before any of the others. */
void format_printable(json_t *answer);

/* The state in sentences: what is shut and why, troubles. The first part of a status. */
void format_headline(FILE *out, const json_t *status);
void format_status(FILE *out, const json_t *status);
void format_models(FILE *out, const json_t *models);
void format_clients(FILE *out, const json_t *clients);
void format_explain(FILE *out, const json_t *answer);
void format_quotas(FILE *out, const json_t *quotas);
void format_services(FILE *out, const json_t *services);
void format_fleet(FILE *out, const json_t *answer);
/* One line of a watch stream. */
void format_event(FILE *out, const json_t *event);
/* One interval of `watch --summary`, of format_summary.c's summary_between(). */
void format_summary(FILE *out, const json_t *summary);
/* The values in force after a `set`. */
void format_set(FILE *out, const json_t *answer);
/* A sentence about the change that a command made. */
void format_done(FILE *out, const json_t *answer);

#endif
