/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What would become of a client's next request now, and why: the verdict of the programs, with the
 * numbers behind it. Pure: the programs are asked through struct state_lookup. They take no slot
 * and charge nothing.
 */
#ifndef SLUICE_EXPLAIN_H
#define SLUICE_EXPLAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/state.h"
#include "core/text.h"

/* What is left of one budget. limit 0: there is none. */
struct explain_budget {
	uint64_t limit; /* when full */
	uint64_t left;
	uint64_t debt;     /* units beyond the limit: tokens only */
	uint64_t next_ns;  /* until one unit passes; 0: now */
	uint64_t reset_ns; /* until it is full again */
};

struct explain_quota {
	uint32_t id;    /* 0: none */
	uint32_t whole; /* the model's or service's, of which `id` is the client's weighted part; 0:
			   it is not */
	enum sluice_quota_from from;
	struct explain_budget requests, tokens;
	uint64_t wait_ns; /* until a request passes it */
	uint16_t weight;  /* of the client; 0: one */
};

struct explanation {
	bool admitted; /* also where a lease that has run out lets it pass */
	bool shadow;   /* refused, but only counted so */
	struct sluice_answer answer;
	struct explain_quota quota;
	double share;         /* slots of the pool that are the client's; 0: there are no shares */
	double client_excess; /* fair-share intervals that the client is ahead, of
				 ADMISSION_TOLERANCE */
	double predicted_ms;  /* how long the request is expected to wait; negative: not known */
	double allowed_ms;    /* how long it may, at its rank; negative: not known */
	double target_ms;     /* 0: none */
	int64_t client_in_flight; /* in all pools */
	uint32_t model, service;
};

/* "client-model", "client", "prefix", "model", "service"; NULL for NONE. */
const char *explain_quota_text(enum sluice_quota_from from);
/* "header", "key", "prefix", "default" */
const char *explain_class_text(enum sluice_class_from from);
/* The service that is meant where none is named and the client has used none: the first with a
 * quota, else the first that reads HTTP, else 0. */
uint32_t explain_service(const struct daemon_state *s);
/* The service that the client used last. False: none that there is now. */
bool explain_last_service(const struct daemon_state *s, const struct text_subject *subject,
			  uint32_t *service);
/* The client that an address is at that service. A key stays. */
void explain_client(const struct daemon_state *s, uint32_t service,
		    const struct text_subject *subject, struct sluice_client *client);
/*
 * All clients that an address is, at one service or another, each once: those that a rule about it
 * has to name. At most SLUICE_SERVICES_MAX, at least one.
 */
size_t explain_clients(const struct daemon_state *s, const struct text_subject *subject,
		       struct sluice_client out[SLUICE_SERVICES_MAX]);

/*
 * The quota that holds for a client's request, alone; and all of its verdict. addr: the client's
 * whole address; NULL for a key. service: index in s->services. False, and *out as it was: the
 * programs gave no answer.
 */
bool explain_quota(const struct daemon_state *s, const struct sluice_client *client,
		   const uint8_t *addr, uint32_t model, uint32_t service,
		   struct explain_quota *out);
bool explain(const struct daemon_state *s, const struct sluice_client *client, const uint8_t *addr,
	     uint32_t model, uint32_t service, struct explanation *out);
/* What may be known of the request besides. explain() knows nothing. */
struct explain_request_of {
	uint32_t bytes;       /* 0: as long as those that wait are on average */
	const char *priority; /* the value of its service's priority header; NULL: it has none */
};
bool explain_request(const struct daemon_state *s, const struct sluice_client *client,
		     const uint8_t *addr, uint32_t model, uint32_t service,
		     const struct explain_request_of *about, struct explanation *out);

#endif
