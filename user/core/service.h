/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A service, once: config/ fills struct service from the operator's words, the daemon resolves its
 * names into ids, datapath/ makes the kernel's struct sluice_service of it, and control and metrics
 * show it. A header's name stands in `rules`, where the kernel reads it, and nowhere else.
 */
#ifndef SLUICE_SERVICE_H
#define SLUICE_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/abi.h>
#include "quota.h"
#include "text.h"

#define PRIORITY_VALUES_MAX 16
#define PRIORITY_VALUE_MAX  64 /* bytes of a header's value, its zero included */

/* Who a service's clients are. All zero: addresses, as long as they come. */
struct identity {
	uint8_t plen4, plen6; /* leading bits of an address that make one client */
	uint8_t forwarded_at; /* as sluice_service.forwarded */
	bool proxy;           /* connections begin with a PROXY header */
	struct sluice_prefix_key trusted[SLUICE_TRUSTED_MAX]; /* proxies that may name a client */
	unsigned trusted_count;
};

struct priority_value {
	char text[PRIORITY_VALUE_MAX];
	uint8_t class;
};

/* The classes of a request by the value of its header rules.priority. */
struct priority {
	struct priority_value values[PRIORITY_VALUES_MAX];
	unsigned count;
};

struct service {
	uint8_t addr[16]; /* IPv4 mapped; ::ffff:0.0.0.0 with wildcard: IPv4 addresses only */
	bool wildcard;    /* all of this host's addresses */
	uint16_t port;    /* host order */
	char model[SLUICE_NAME_MAX]; /* default model; "default" where none is given */
	enum sluice_protocol protocol;
	enum sluice_action action;
	enum sluice_mode mode;
	bool unary;                /* responses that are not streamed feed TTFT */
	bool framing_error_reset;  /* a request that cannot be framed is reset, not passed */
	struct sluice_rules rules; /* all zero on opaque services */
	struct identity identity;
	struct priority priority;
	bool has_quota;
	struct quota_def quota; /* of clients without their own, on models without one */
	bool feedback;          /* what is left of a quota is written over Date */

	/* Resolved by the daemon, which also puts what `set` said of all over action and mode. */
	uint32_t id;       /* index of `rules` in the kernel */
	uint32_t model_id; /* of the default model */
	uint16_t quota_id; /* 0: none */
};

/* The client that an address is at the service. A key stays. */
void service_client(const struct service *service, const struct text_subject *subject,
		    struct sluice_client *client);
/*
 * All clients that an address is, at one service or another, each once: those that a word about it
 * has to name. At most SLUICE_SERVICES_MAX, at least one.
 */
size_t service_clients(const struct service *services, size_t count,
		       const struct text_subject *subject,
		       struct sluice_client out[SLUICE_SERVICES_MAX]);

#endif
