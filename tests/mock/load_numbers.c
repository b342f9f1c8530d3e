/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Random numbers and series of samples for the load generator.
 */
#include "load.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t rng_state;

/* splitmix64 */
static uint64_t random_u64(void)
{
	uint64_t z = (rng_state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* In [0, 1). */
double random_unit(void)
{
	return (double)(random_u64() >> 11) * 0x1.0p-53;
}

/* Adds n equal samples of v at now. */
void series_add(struct series *s, double v, unsigned int n, uint64_t now)
{
	double decay;

	if (!n)
		return;
	while (s->len + n > s->cap) {
		s->cap = s->cap ? s->cap * 2 : 1024;
		s->values = xrealloc(s->values, s->cap * sizeof(*s->values));
	}
	for (unsigned int i = 0; i < n; i++)
		s->values[s->len++] = v;
	decay = s->weight > 0 ? exp(-(double)(now - s->last_ns) / 1e9 / tau_s) : 0;
	s->weight = n + s->weight * decay;
	s->average = s->weight > n ? s->average + n * (v - s->average) / s->weight : v;
	s->last_ns = now;
}

double series_mean(const struct series *s, size_t from)
{
	double sum = 0;

	for (size_t i = from; i < s->len; i++)
		sum += s->values[i];
	return s->len > from ? sum / (double)(s->len - from) : 0;
}

int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Nearest rank; the series is sorted. */
double series_quantile(const struct series *s, double q)
{
	size_t rank = (size_t)ceil(q * (double)s->len);

	return s->values[rank ? rank - 1 : 0];
}

double ms_between(uint64_t from, uint64_t to)
{
	return to > from ? (double)(to - from) / (double)NSEC_PER_MSEC : 0;
}

uint64_t s_to_ns(double s)
{
	return (uint64_t)(s * (double)NSEC_PER_SEC);
}
