/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The verdict that a client's next request would get now, and why: the numbers that decide it.
 * Pure: struct state_lookup requests the verdict from the programs. A prediction takes no slot and
 * charges nothing.
 */
#ifndef SLUICE_EXPLAIN_H
#define SLUICE_EXPLAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/state.h"
#include "core/text.h"

/* What is left of one budget. limit 0: there is none. */
struct explain_budget {
	/* Of a quota that a fleet shares: units that this host may give out before the store's next
	 * answer, units that the store does not know of yet, and the part of the budget that this
	 * host gives out while the store is away. */
	uint32_t granted, unsynced;
	double part;
	uint64_t limit; /* when full */
	uint64_t left;
	uint64_t debt;     /* units over the limit: tokens only */
	uint64_t next_ns;  /* until one unit passes; 0: now */
	uint64_t reset_ns; /* until it is full again */
};

struct explain_quota {
	uint32_t id;    /* 0: none */
	uint32_t whole; /* id of the model's or service's quota that the client's weight scales; 0:
			   not scaled */
	enum sluice_quota_from from;
	bool fleet;
	uint64_t answered_ns, now_ns; /* of a fleet: the store's last answer (0: none), and now */
	struct explain_budget requests, tokens;
	uint64_t wait_ns; /* until the quota admits a request */
	uint16_t weight;  /* of the client; 0: one */
};

struct explanation {
	bool admitted; /* true also if an expired lease lets it pass */
	bool shadow;   /* refused, but only counted */
	struct sluice_answer answer;
	struct explain_quota quota;
	double share;         /* the client's slots of the pool; 0: no shares */
	double client_excess; /* fair-share intervals by which the client is over its share; limit:
				 ADMISSION_TOLERANCE */
	double predicted_ms;  /* expected wait of the request; negative: not known */
	double allowed_ms;    /* longest wait allowed at its rank; negative: not known */
	double target_ms;     /* 0: none */
	int64_t client_in_flight; /* in all pools */
	uint32_t model, service;
};

/* "client-model", "client", "prefix", "model", "service"; NULL for NONE. */
const char *explain_quota_text(enum sluice_quota_from from);
/* "header", "key", "prefix", "default" */
const char *explain_class_text(enum sluice_class_from from);
/* The default service, if none is named and the client has used none: the first with a quota, else
 * the first that reads HTTP, else 0. */
uint32_t explain_service(const struct daemon_state *s);
/* The service that the client used last, and its model then, or ALL if that is forgotten. False:
 * none of the present services. */
bool explain_last(const struct daemon_state *s, const struct text_subject *subject,
		  uint32_t *service, uint32_t *model);
/* The client that an address is at that service. A key is returned unchanged. */
void explain_client(const struct daemon_state *s, uint32_t service,
		    const struct text_subject *subject, struct sluice_client *client);
/*
 * Every client that an address is at any service, each once: a rule about the address names all of
 * them. At most SLUICE_SERVICES_MAX, at least one.
 */
size_t explain_clients(const struct daemon_state *s, const struct text_subject *subject,
		       struct sluice_client out[SLUICE_SERVICES_MAX]);
/* Whether a typed /64 is a prefix: it is one client only if every service uses that length. */
bool explain_is_prefix(const struct daemon_state *state, const struct text_subject *subject);

/*
 * explain_quota() finds only the quota that holds for a client's request; explain_request() its
 * whole verdict. addr: the client's whole address; NULL for a key. service: index in s->services.
 * False: the programs gave no answer, and *out is untouched.
 */
bool explain_quota(const struct daemon_state *s, const struct sluice_client *client,
		   const uint8_t *addr, uint32_t model, uint32_t service,
		   struct explain_quota *out);
bool explain(const struct daemon_state *s, const struct sluice_client *client, const uint8_t *addr,
	     uint32_t model, uint32_t service, struct explanation *out);
/* Known properties of the request. explain() assumes none, and leaves client_in_flight 0. */
struct explain_request_of {
	uint32_t bytes;       /* 0: the average size of those that wait */
	const char *priority; /* the value of the service's priority header; NULL: none */
};
/* The model that decides on the client's next request if its model cannot be read: the first that
 * refuses it of its service's own and, unless the service says otherwise, of those that a rule or
 * target names (bpf/readings.h); the service's own, if none does. */
uint32_t explain_unnamed(const struct daemon_state *s, const struct sluice_client *client,
			 const uint8_t *addr, uint32_t service,
			 const struct explain_request_of *about);
bool explain_request(const struct daemon_state *s, const struct sluice_client *client,
		     const uint8_t *addr, uint32_t model, uint32_t service,
		     const struct explain_request_of *about, struct explanation *out);

#endif
