/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reproducible random numbers (splitmix64): a seed means the same run on every machine and with
 * every C library.
 */
#ifndef SLUICE_SIM_RANDOM_H
#define SLUICE_SIM_RANDOM_H

#include <math.h>
#include <stdint.h>

struct chance {
	uint64_t state;
};

static inline uint64_t chance_next(struct chance *c)
{
	uint64_t z = c->state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* In (0, 1). */
static inline double chance_real(struct chance *c)
{
	return ((double)(chance_next(c) >> 12) + 0.5) / 4503599627370496.0;
}

/* Below n > 0. */
static inline uint32_t chance_below(struct chance *c, uint32_t n)
{
	return (uint32_t)(((chance_next(c) >> 32) * n) >> 32);
}

static inline double chance_normal(struct chance *c)
{
	double radius = sqrt(-2 * log(chance_real(c)));

	return radius * cos(6.283185307179586 * chance_real(c));
}

static inline double chance_exponential(struct chance *c, double mean)
{
	return -mean * log(chance_real(c));
}

#endif
