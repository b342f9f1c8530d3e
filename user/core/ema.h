/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Time-weighted moving average, for the reference policy ema-flag: each sample's weight decays as
 * exp(-age/tau), and a reading decays toward zero while nothing arrives, so that an idle model
 * reopens after tau·ln(average/threshold).
 */
#ifndef SLUICE_EMA_H
#define SLUICE_EMA_H

#include <stdint.h>

struct ema {
	double average; /* of the samples, in their unit (ms) */
	double weight;  /* 0: no sample yet */
	uint64_t last_ns;
};

/* Takes n equal samples of `value` at now_ns. tau_s > 0 in seconds. A time before the last one
 * counts as the last one. */
void ema_record(struct ema *ema, double value, uint32_t n, uint64_t now_ns, double tau_s);

/* The decayed average at now_ns; 0 where there is no sample. */
double ema_read(const struct ema *ema, uint64_t now_ns, double tau_s);

/* Seconds from now_ns until a reading is no longer above threshold; 0 if it is not; threshold > 0.
 */
double ema_seconds_until(const struct ema *ema, double threshold, uint64_t now_ns, double tau_s);

#endif
