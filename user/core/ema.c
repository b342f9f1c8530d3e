/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The average of the reference policy. Average and weight belong together: the weight is the sum of
 * what every sample so far still counts for. So the newest n samples take n/weight of the average,
 * whatever the gap before them was. Plain double arithmetic on time differences; the caller has the
 * clock.
 */
#include "ema.h"

#include <math.h>

/* Seconds since the last sample; a time before it counts as it. */
static double age_s(const struct ema *ema, uint64_t now_ns)
{
	return now_ns > ema->last_ns ? (double)(now_ns - ema->last_ns) / 1e9 : 0;
}

void ema_record(struct ema *ema, double value, uint32_t n, uint64_t now_ns, double tau_s)
{
	if (!n)
		return;
	if (!(ema->weight > 0)) {
		ema->average = value;
		ema->weight = n;
		ema->last_ns = now_ns;
		return;
	}
	ema->weight = n + ema->weight * exp(-age_s(ema, now_ns) / tau_s);
	ema->average += n * (value - ema->average) / ema->weight;
	if (now_ns > ema->last_ns)
		ema->last_ns = now_ns;
}

double ema_read(const struct ema *ema, uint64_t now_ns, double tau_s)
{
	if (!(ema->weight > 0))
		return 0;
	return ema->average * exp(-age_s(ema, now_ns) / tau_s);
}

double ema_seconds_until(const struct ema *ema, double threshold, uint64_t now_ns, double tau_s)
{
	double now = ema_read(ema, now_ns, tau_s);

	return now > threshold ? tau_s * log(now / threshold) : 0;
}
