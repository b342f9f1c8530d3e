/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A record: one CSV line for each judged request, which sluicectl writes and sluice-sim reads. Its
 * first three columns are those of the Azure LLM traces. It holds no content, no address and no
 * key; models' names are in it. A name comes from the network, so a field is escaped for terminals,
 * for CSV and for spreadsheets.
 */
#ifndef SLUICE_CORE_RECORD_H
#define SLUICE_CORE_RECORD_H

#include <stdint.h>
#include <stdio.h>

#include <sluice/siphash.h>

#define RECORD_TRACE_HEADER "TIMESTAMP,ContextTokens,GeneratedTokens"
#define RECORD_HEADER                                                                              \
	RECORD_TRACE_HEADER ",Model,Client,RequestBytes,TtftMs,DurationMs,Verdict,Reason,End"
#define RECORD_LINE_MAX 2048 /* bytes of a line, with its newline and a zero */

/* The bytes of a request with a prompt of n tokens: about n * A_TOKEN + HEAD. */
#define RECORD_BYTES_A_TOKEN 4
#define RECORD_BYTES_HEAD    300

enum record_column {
	RECORD_TIMESTAMP, /* the request's last byte, or its refusal; UTC */
	RECORD_CONTEXT,   /* prompt tokens, estimated from the bytes */
	RECORD_GENERATED, /* output tokens; empty: refused */
	RECORD_MODEL,
	RECORD_CLIENT, /* a pseudonym */
	RECORD_BYTES,
	RECORD_TTFT,     /* ms; empty: none was measured */
	RECORD_DURATION, /* ms; empty: refused */
	RECORD_VERDICT,
	RECORD_REASON, /* empty: admitted */
	RECORD_END,    /* completed, failed or departed; empty: refused */
	RECORD_COLUMNS
};

struct record_row {
	uint64_t unix_ms;
	uint32_t bytes, tokens;
	double ttft_ms, duration_ms; /* negative: none */
	const char *model, *client;  /* as the daemon names them; the client becomes a pseudonym */
	const char *verdict, *reason, *end; /* `end` NULL: refused */
};

/* Prompt tokens of a request of so many bytes, at least 1. */
uint32_t record_context_tokens(uint32_t bytes);
/* Prints one line. The secret gives the client its pseudonym. */
void record_write(FILE *out, const struct record_row *row, const struct siphash_secret *secret);
/* The text that record_split() gives for a model of this name, to be freed; NULL: out of memory. */
char *record_name(const char *name);
/* Splits a line, without its newline, in place. Returns how many columns it has, `max` at most; 0:
 * its quotes do not match. */
unsigned record_split(char *line, char **column, unsigned max);

#endif
