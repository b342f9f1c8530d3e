/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the files of the page share. Their calls go one way: page.c has the tables and calls
 * page_state.c, the sentences about the gate; both call page_text.c.
 */
#ifndef SLUICE_PAGE_INTERNAL_H
#define SLUICE_PAGE_INTERNAL_H

#include "metrics/metrics.h"

/* Printable text as HTML. */
void page_text(FILE *out, const char *text, size_t len);
/* Text that a client may have chosen, as HTML. */
void page_escaped(FILE *out, const char *text);
/* "22:13:20 UTC" */
void page_clock(FILE *out, uint64_t unix_ns);
/* "42 s", "3 min", "2.5 h", "4.0 d" */
void page_span(FILE *out, double secs);
/* Whether as much is in flight as the limit allows. */
bool page_is_full(const struct daemon_state *s, uint32_t id);
/* The section about what is shut, since when and until when, why, and what changes it. */
void page_state(FILE *out, const struct daemon_state *s);

#endif
