/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What would become of a client's next request now, and why: the order of bpf/verdict.h over the
 * same maps, with the numbers behind each step. Pure: the maps are asked through struct
 * state_lookup, and nothing is charged.
 */
#ifndef SLUICE_EXPLAIN_H
#define SLUICE_EXPLAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/state.h"
#include "core/text.h"

/* Where the quota is said that a request falls under. */
enum explain_from {
	EXPLAIN_FROM_NOWHERE,
	EXPLAIN_FROM_CLIENT_MODEL,
	EXPLAIN_FROM_CLIENT,
	EXPLAIN_FROM_PREFIX,
	EXPLAIN_FROM_MODEL,
	EXPLAIN_FROM_SERVICE,
};

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
	enum explain_from from;
	struct explain_budget requests, tokens;
	uint64_t wait_ns; /* until a request passes it */
	bool by_tokens;   /* … for want of tokens */
};

enum explain_rule { EXPLAIN_NO_RULE, EXPLAIN_ALLOWED, EXPLAIN_BLOCKED };

/* Where a request's class is said. */
enum explain_class {
	EXPLAIN_CLASS_DEFAULT,
	EXPLAIN_CLASS_KEY,
	EXPLAIN_CLASS_PREFIX,
	EXPLAIN_CLASS_HEADER
};

/* The request before the law of policy adaptive. */
struct explain_admission {
	bool in_force;
	uint32_t id; /* of the entry that carries it */
	uint32_t class;
	enum explain_class class_from;
	uint32_t rank;
	bool above_share;
	double share;             /* places that are the client's; 0: there are no shares */
	int64_t client_in_flight; /* under this law */
	double queued_bytes;      /* requests that it was let in ahead of its share, of
				     ADMISSION_TOLERANCE */
	uint32_t bytes;           /* what the request is taken to be long */
	double predicted_ms;      /* how long it would wait; negative: not known */
	double allowed_ms;        /* … and may, at its rank; negative: not known */
	double target_ms;         /* 0: none */
	uint32_t slots;           /* that its rank may take of the ceiling; 0: no limit */
	struct sluice_admission admission;
	struct admission_load load;
};

struct explanation {
	bool admitted;
	bool shadow; /* refused, but only counted so */
	enum sluice_reason reason;
	uint8_t action;   /* enum sluice_action */
	uint64_t wait_ns; /* what a refusal would tell, before it is rounded up */
	bool exempt;      /* by its prefix: nothing else is asked */
	enum explain_rule rule;
	bool rule_of_prefix;
	uint64_t rule_expires_ns;
	bool whole; /* the deciding limit or flag is that of everything, not the model's */
	struct explain_quota quota;
	struct explain_admission pool;
	int64_t client_in_flight;
	uint16_t weight; /* of the client; 0: one */
	uint32_t model, service;
};

/* "client-model", "client", "prefix", "model", "service"; NULL for NOWHERE. */
const char *explain_from_text(enum explain_from from);
/* The service that is meant where none is named: the first with a quota, else the first that reads
 * HTTP, else 0. */
uint32_t explain_service(const struct daemon_state *s);
/* Whether what holds at this service differs from others: it is one of several that have a quota.
 */
bool explain_each(const struct daemon_state *s, uint32_t service);
/* The client that an address is at that service. A key stays. */
void explain_client(const struct daemon_state *s, uint32_t service,
		    const struct text_subject *subject, struct sluice_client *client);
/*
 * All clients that an address is, at one service or another, each once: those that a word about it
 * has to name. At most SLUICE_SERVICES_MAX, at least one.
 */
size_t explain_clients(const struct daemon_state *s, const struct text_subject *subject,
		       struct sluice_client out[SLUICE_SERVICES_MAX]);
/* The weight of the client, 0 where it has none. addr as in explain(). */
uint16_t explain_weight(const struct daemon_state *s, const struct sluice_client *client,
			const uint8_t *addr);

/* The quota alone. addr: all of the client's address; NULL for a key. service: index in
 * s->services. */
void explain_quota(const struct daemon_state *s, const struct sluice_client *client,
		   const uint8_t *addr, uint32_t model, uint32_t service,
		   struct explain_quota *out);
void explain(const struct daemon_state *s, const struct sluice_client *client, const uint8_t *addr,
	     uint32_t model, uint32_t service, struct explanation *out);
/* What may be said of the request besides. explain() says nothing. */
struct explain_request_of {
	uint32_t bytes;       /* 0: as long as those that wait are on average */
	const char *priority; /* the value of its service's priority header; NULL: it has none */
};
void explain_request(const struct daemon_state *s, const struct sluice_client *client,
		     const uint8_t *addr, uint32_t model, uint32_t service,
		     const struct explain_request_of *ask, struct explanation *out);
/* "header", "key", "prefix", "default" */
const char *explain_class_text(enum explain_class from);

#endif
