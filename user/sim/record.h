/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Traces: that of an Azure file, as it is written, and that of a record of sluice (core/record.h).
 * A record has clients, bytes and what was measured, and its rows are in the order of their ends.
 */
#ifndef SLUICE_SIM_RECORD_H
#define SLUICE_SIM_RECORD_H

#include <stdio.h>

#include "core/adaptive.h"
#include "sim/workload.h"

/*
 * Reads the rows of a record after its header, those of one model only (NULL: of all). A refused
 * row becomes an arrival with the output of a random completed row of its model, or of any. Left
 * out, and counted, are rows that failed without output, since the server did no work for them,
 * and a last line that was cut off. 0; or -errno and one line in err.
 */
int record_read(FILE *in, const char *path, const char *model, struct trace *t, char *err,
		size_t len);

/* What a record says of the requests that a workload plays. */
struct measured {
	uint32_t admitted, refused, shadow; /* shadow: of the admitted, those that enforcing would
					       have refused */
	uint32_t timed, met;             /* admitted with a TTFT, and of them inside the target */
	double ttft_p50_ms, ttft_p95_ms; /* of the timed; negative: there are none */
	uint32_t left_out;               /* rows, of the whole record */
};

/* 0 or -ENOMEM. */
int record_measured(const struct trace *t, const struct workload *w,
		    const struct adaptive_targets *targets, struct measured *out);
/* As one line. */
void record_show(FILE *out, const struct measured *m);

#endif
