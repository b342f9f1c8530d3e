/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A service, defined once. config/ fills struct service from the operator's file, the daemon
 * resolves its names into ids, datapath/ translates it into the kernel's struct sluice_service, and
 * control and metrics show it. The names of headers are in `rules`, where the kernel reads them,
 * and in no other field.
 */
#ifndef SLUICE_SERVICE_H
#define SLUICE_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/abi.h>
#include "quota.h"
#include "text.h"

#define PRIORITY_VALUES_MAX 16
#define PRIORITY_VALUE_MAX  64 /* bytes of a header's value, with its zero */

/* How a service names its clients. All zero: by their whole addresses. */
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

/* The classes of a request, by the value of its header rules.priority. */
struct priority {
	struct priority_value values[PRIORITY_VALUES_MAX];
	unsigned count;
};

#define REPLY_LINES_MAX 320 /* bytes of header lines that a service adds to its refusals */
#define ORIGIN_MAX      96  /* bytes of a web origin, with its zero */
/* The headers of a refusal that a page of another origin may read. */
#define REPLY_EXPOSED "Retry-After, retry-after-ms, RateLimit, RateLimit-Policy, x-should-retry"

/* What a service adds to its refusals. */
struct service_reply {
	char lines[REPLY_LINES_MAX + 1];             /* NAME: VALUE, each with its CRLF */
	char origin[SLUICE_ORIGINS_MAX][ORIGIN_MAX]; /* their pages may read them; "*": all */
	unsigned origin_count;
};

#define SERVICE_BLOB_BYTES 4096 /* blob_bytes, if nothing else is said */

struct service {
	uint8_t addr[16]; /* IPv4 mapped; ::ffff:0.0.0.0 with wildcard: IPv4 addresses only */
	bool wildcard;    /* all addresses of this host */
	uint16_t port;    /* host order */
	char model[SLUICE_NAME_MAX]; /* default model; "default" if none is named */
	enum sluice_protocol protocol;
	enum sluice_action action;
	enum sluice_mode mode;
	bool unary; /* responses that are not streamed feed TTFT */
	enum sluice_on_framing_error on_framing_error;
	bool frees;                /* its server stops when a client hangs up */
	bool keep;                 /* a refusal keeps its connection where it can */
	bool port_pool;            /* all its models are one pool: their names mean nothing */
	bool unnamed_default;      /* a request without a readable model is one for `model` only */
	uint32_t blob_bytes;       /* what an image or a file of a request counts for */
	struct sluice_rules rules; /* all zero on opaque services */
	struct identity identity;
	struct priority priority;
	struct service_reply reply;
	bool has_quota;
	struct quota_def quota; /* of clients without their own, for models without one */
	bool feedback;          /* 2xx replies state what is left of a quota over Date */

	/* The daemon fills these in; it also applies the global action and mode of `set`. */
	uint32_t id;       /* index of `rules` in the kernel */
	uint32_t model_id; /* of the default model */
	uint16_t pool_id;  /* with port_pool, and else 0 */
	uint16_t quota_id; /* 0: none */
};

/* The client that an address is at the service. A key is returned unchanged. */
void service_client(const struct service *service, const struct text_subject *subject,
		    struct sluice_client *client);
/*
 * Every client that an address is at any service, each once: a rule about the address names all of
 * them. At most SLUICE_SERVICES_MAX, at least one.
 */
size_t service_clients(const struct service *services, size_t count,
		       const struct text_subject *subject,
		       struct sluice_client out[SLUICE_SERVICES_MAX]);
/* The index of the service called ADDR:PORT, *:PORT or PORT; -1: none. Of several, the first. */
int service_find(const struct service *services, size_t count, const char *name);

#endif
