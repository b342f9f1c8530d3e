/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The part of abi.h about the latencies that are measured. histogram.h has the bounds. */
#ifndef SLUICE_ABI_LATENCY_H
#define SLUICE_ABI_LATENCY_H

#include <linux/types.h>

enum sluice_latency {
	SLUICE_LATENCY_TTFT,
	SLUICE_LATENCY_ITL,
	SLUICE_LATENCY_DURATION, /* of a reply that is not streamed, from its request's last byte */
	SLUICE_LATENCY_NORMALIZED, /* … over its output tokens (Orca, OSDI 2022) */
	SLUICE_LATENCIES
};

#define SLUICE_HISTOGRAM_BUCKETS 36 /* of each latency, at most */

/* histograms[model], for each CPU */
struct sluice_histogram {
	__u64 count[SLUICE_LATENCIES][SLUICE_HISTOGRAM_BUCKETS];
	__u64 sum_ns[SLUICE_LATENCIES];
	/* Of those that came while the model had a target: */
	__u64 met[SLUICE_LATENCIES], missed[SLUICE_LATENCIES];
	__u64 output_tokens; /* of requests that have ended */
};
_Static_assert(sizeof(struct sluice_histogram) == 4 * (36 + 3) * 8 + 8, "histogram");

#endif
