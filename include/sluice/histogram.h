/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The bounds of the latency histograms. They are those of OpenTelemetry's GenAI conventions and of
 * vLLM, so that the figures of a server and of sluice can be laid over each other. Of a duration
 * the two have different bounds, and the histogram has both.
 */
#ifndef SLUICE_HISTOGRAM_H
#define SLUICE_HISTOGRAM_H

#include "abi.h"

#define MS(n) ((n)*1000000ULL)

/* Upper bounds in ns, inclusive; 0: no more. */
static const __u64 histogram_bounds[SLUICE_LATENCIES][SLUICE_HISTOGRAM_BUCKETS] = {
	[SLUICE_LATENCY_TTFT] = {MS(1),      MS(5),      MS(10),    MS(20),    MS(40),
				 MS(60),     MS(80),     MS(100),   MS(250),   MS(500),
				 MS(750),    MS(1000),   MS(2500),  MS(5000),  MS(7500),
				 MS(10000),  MS(20000),  MS(40000), MS(80000), MS(160000),
				 MS(640000), MS(2560000)},
	[SLUICE_LATENCY_ITL] = {MS(10), MS(25), MS(50), MS(75), MS(100), MS(150), MS(200), MS(300),
				MS(400), MS(500), MS(750), MS(1000), MS(2500), MS(5000), MS(7500),
				MS(10000), MS(20000), MS(40000), MS(80000)},
	[SLUICE_LATENCY_DURATION] = {MS(10),     MS(20),     MS(40),     MS(80),      MS(160),
				     MS(300),    MS(320),    MS(500),    MS(640),     MS(800),
				     MS(1000),   MS(1280),   MS(1500),   MS(2000),    MS(2500),
				     MS(2560),   MS(5000),   MS(5120),   MS(10000),   MS(10240),
				     MS(15000),  MS(20000),  MS(20480),  MS(30000),   MS(40000),
				     MS(40960),  MS(50000),  MS(60000),  MS(81920),   MS(120000),
				     MS(240000), MS(480000), MS(960000), MS(1920000), MS(7680000)},
	[SLUICE_LATENCY_NORMALIZED] = {MS(10), MS(25), MS(50), MS(75), MS(100), MS(150), MS(200),
				       MS(300), MS(400), MS(500), MS(750), MS(1000), MS(2500),
				       MS(5000), MS(7500), MS(10000), MS(20000), MS(40000),
				       MS(80000)},
};

#undef MS

/* The bucket that counts v (ns): how many bounds are below it. */
static __always_inline __u32 histogram_bucket(__u32 which, __u64 v)
{
	__u32 at = 0;

	for (__u32 step = 32; step; step /= 2) {
		__u32 next = at + step;
		__u64 bound;

		if (which >= SLUICE_LATENCIES || next >= SLUICE_HISTOGRAM_BUCKETS)
			continue;
		bound = histogram_bounds[which][next - 1];
		if (bound && bound < v)
			at = next;
	}
	return at;
}

#endif
