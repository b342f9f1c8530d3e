/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the report_*.c files share; no other file includes it: one value as JSON (report.c), and the
 * parts that several answers hold.
 */
#ifndef SLUICE_REPORT_INTERNAL_H
#define SLUICE_REPORT_INTERNAL_H

#include "control/report.h"
#include "core/quota.h"

#define MS 1000000ULL

/* Converts ns of CLOCK_MONOTONIC to ms of Unix time. */
static inline uint64_t unix_ms(const struct daemon_state *s, uint64_t monotonic_ns)
{
	return (s->unix_ns - (s->now_ns - monotonic_ns)) / MS;
}

/* A wait in ms, rounded up, so that it is over after that. */
static inline uint64_t ms_up(uint64_t ns)
{
	return (ns + MS - 1) / MS;
}

/* Null for a negative number, which means unknown. JSON has no NaN. */
json_t *value_number(double value);
/* Null for 0: no threshold. */
json_t *value_threshold(double ms);
json_t *value_count(uint64_t n);
/* Several CPUs add to such a count, and the daemon corrects it. A negative one is shown as 0. */
json_t *value_gauge(int64_t n);
json_t *value_model(const struct daemon_state *s, uint32_t id);
json_t *value_service(const struct daemon_state *s, uint32_t id);
/* A client's weight; 0 is one. */
json_t *value_weight(uint16_t weight);
/* An object with a count for every reason, zeros included. */
json_t *value_by_reason(const uint64_t n[SLUICE_REASON_COUNT]);

/* report_models.c */
json_t *report_model_list(const struct daemon_state *s);
/* Bytes a second that a pool's server processes; negative: unknown. */
double admission_rate(const struct sluice_admission *a);

/* report_services.c */
json_t *report_service_list(const struct daemon_state *s);
/* Adds how a service identifies its clients. */
void report_identity(json_t *to, const struct service *v);

/* report_sentence.c */
/* The verdict as a sentence, in local time. syn: it is on a connection. */
json_t *report_sentence(const struct daemon_state *s, const struct sluice_client *client, bool syn,
			const struct explanation *e);

/* report_quotas.c */
/* A quota with what is left of it; null if there is none. */
json_t *report_quota_left(const struct daemon_state *s, const struct explain_quota *q);

#endif
