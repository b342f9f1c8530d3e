/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The state as JSON, one function for each command, in the fields of PROTOCOL.md. Numbers are
 * numbers, units are in the names, and an unknown value is null. Pure: the functions only read the
 * struct.
 */
#ifndef SLUICE_REPORT_H
#define SLUICE_REPORT_H

#include <jansson.h>

#include "core/explain.h"
#include "core/state.h"
#include "core/text.h"

#define REPORT_CLIENTS_MAX 1000 /* listed at once, the last seen first */

/* New references; NULL only if memory runs out. */
json_t *report_status(const struct daemon_state *s);
json_t *report_models(const struct daemon_state *s);
enum report_order {
	REPORT_LAST_SEEN,
	REPORT_BY_REQUESTS,
	REPORT_BY_TOKENS,
	REPORT_BY_IN_FLIGHT,
	REPORT_BY_REJECTED
};
/* service: the service that has the quotas; negative: for each client the service that saw it
 * last. */
json_t *report_clients(const struct daemon_state *s, enum report_order order, int service);
/* The verdict on the client's next request. addr: NULL for a key. */
json_t *report_explain(const struct daemon_state *s, const struct sluice_client *client,
		       const uint8_t *addr, uint32_t model, uint32_t service,
		       const struct explain_request_of *about);
/* All quotas, or (client not NULL) those of one client or prefix. */
json_t *report_quotas(const struct daemon_state *s, const struct text_subject *subject);
/* null: the host is in no fleet. */
json_t *report_fleet(const struct daemon_state *s);
json_t *report_services(const struct daemon_state *s);
json_t *report_model(const struct daemon_state *s, uint32_t id);

/* Lines of a watch stream. */
json_t *report_refusal(const struct daemon_state *s, const struct sluice_refusal *refusal);
json_t *report_change(const struct daemon_state *s, uint32_t model);
/* … of a record. */
json_t *report_record(const struct daemon_state *s, const struct sluice_record *record);

/* A service as ADDR:PORT, or "unknown-ID". */
void report_service_name(const struct daemon_state *s, uint32_t id, char *out, size_t len);

#endif
