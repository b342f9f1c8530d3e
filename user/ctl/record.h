/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* `sluicectl record`: what passes, into a file (core/record.h), until a signal. */
#ifndef SLUICE_CTL_RECORD_H
#define SLUICE_CTL_RECORD_H

#include <stdint.h>

struct record_options {
	const char *control, *path; /* path "-": standard output */
	double for_ms;              /* negative: until a signal */
	uint64_t size_max;          /* bytes of the file; 0: no limit */
};

/* "1G", "500M", "64K" or bytes. 0 or -1. */
int record_parse_size(const char *text, uint64_t *out);
/* Returns the exit status. */
int record_run(const struct record_options *options);

#endif
