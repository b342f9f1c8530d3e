/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The state as JSON, one function a command, in the fields of PROTOCOL.md: numbers are numbers,
 * units are in the names, null is what is not known. Pure: they read the struct that they are
 * given.
 */
#ifndef SLUICE_REPORT_H
#define SLUICE_REPORT_H

#include <jansson.h>

#include "core/explain.h"
#include "core/state.h"
#include "core/text.h"

#define REPORT_CLIENTS_MAX 1000 /* listed at once, the last seen first */

/* New references; NULL only without memory. */
json_t *report_status(const struct daemon_state *s);
json_t *report_models(const struct daemon_state *s);
enum report_order {
	REPORT_LAST_SEEN,
	REPORT_BY_REQUESTS,
	REPORT_BY_TOKENS,
	REPORT_BY_IN_FLIGHT,
	REPORT_BY_REJECTED
};
/* service: whose quotas are meant; negative: for each client those of the service that it was last
 * seen at. */
json_t *report_clients(const struct daemon_state *s, enum report_order order, int service);
/* What would become of the client's next request. addr: NULL for a key. */
json_t *report_explain(const struct daemon_state *s, const struct sluice_client *client,
		       const uint8_t *addr, uint32_t model, uint32_t service,
		       const struct explain_request_of *ask);
/* All quotas, or (client not NULL) those of one client or prefix. */
json_t *report_quotas(const struct daemon_state *s, const struct text_subject *subject);
json_t *report_services(const struct daemon_state *s);
json_t *report_model(const struct daemon_state *s, uint32_t id);

/* Lines of a watch stream. */
json_t *report_refusal(const struct daemon_state *s, const struct sluice_refusal *refusal);
json_t *report_change(const struct daemon_state *s, uint32_t model);

/* A model's name for people and programs: its own, or "unknown-ID" for an id that has none. */
void report_model_name(const struct daemon_state *s, uint32_t id, char *out, size_t len);
/* A service as ADDR:PORT, or "unknown-ID". */
void report_service_name(const struct daemon_state *s, uint32_t id, char *out, size_t len);

#endif
