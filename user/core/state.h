/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Everything that the control socket and the metrics page can show, as one plain struct. The daemon
 * fills it from the datapath on request (a `refresh` of the parts that an answer needs); control
 * and metrics only read it. So they need neither libbpf nor a kernel, and a test supplies a state
 * of its own.
 */
#ifndef SLUICE_STATE_H
#define SLUICE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <sluice/abi.h>
#include <sluice/predict.h>
#include "controller.h"
#include "fleet.h"
#include "quota.h"
#include "service.h"
#include "trouble.h"

/* The parts that a refresh updates. It always updates time, services and interfaces. Only a work
 * (loop/work.h) may refresh those that are long: COUNTS, HISTOGRAMS, MAPS, CLIENTS. */
enum state_part {
	STATE_MODELS = 1,     /* kernel[] */
	STATE_COUNTS = 2,     /* counts, counters */
	STATE_HISTOGRAMS = 4, /* histograms[] of the models in use */
	STATE_MAPS = 8,       /* maps */
	STATE_CLIENTS = 16,   /* clients: a walk, long if there are many */
	STATE_RULES = 32,     /* client_rules, prefix_rules, client_quotas */
};

/* struct sluice_model_state with the age of the oldest request instead of all ages. */
struct state_load {
	int64_t in_flight, waiting, shadow_in_flight, waiting_bytes, stalled, departed;
	uint64_t token_ns, waiting_ns;
	uint64_t failed, guessed; /* streams: with an error, of an unknown format */
	uint64_t admitted, ended, refused[SLUICE_RANKS];
	uint64_t oldest_ns; /* wait of the oldest; 0: none waits, or not for long */
};

/* The hooks of an interface: XDP, tc ingress, tc egress. */
enum { STATE_XDP, STATE_TC_IN, STATE_TC_OUT, STATE_HOOKS };

#define STATE_NOTE_MAX 256

struct state_interface {
	char name[64];
	const char *xdp; /* "native", "generic", "off" */
	bool tcx;        /* false: clsact */
	bool leads;      /* to a server: requests leave by it, and responses come in */
	bool attached[STATE_HOOKS];
	unsigned restored; /* how often sluice has set right what others had undone */
	char note[STATE_HOOKS][STATE_NOTE_MAX]; /* a sentence for the operator; "": all is well */
};

struct state_count {
	struct sluice_count_key key;
	uint64_t n;
};

struct state_client {
	struct sluice_client client;
	struct sluice_client_count count;
	int64_t in_flight;
};

struct state_client_rule {
	struct sluice_client_flag_key key;
	struct sluice_client_flag flag;
};

struct state_prefix_rule {
	struct sluice_prefix_key key;
	struct sluice_prefix prefix;
};

struct state_client_quota {
	struct sluice_client_flag_key key;
	uint32_t quota;
};

/* Single look-ups in the kernel, for answers that do not need a whole map. True: *out is filled. */
struct state_lookup {
	void *arg;
	/* The programs' verdict on a request to the service with this index. */
	bool (*verdict)(void *arg, uint32_t service, struct sluice_question *question,
			struct sluice_answer *out);
	bool (*counts)(void *arg, const struct sluice_client *client,
		       struct sluice_client_count *out);
	int64_t (*in_flight)(void *arg, const struct sluice_client *client);
	/* The client that an API key names: its keyed hash. */
	bool (*key)(void *arg, const char *secret, size_t len, struct sluice_client *out);
};

struct state_map {
	const char *name;
	uint64_t entries, max;
	uint64_t full; /* failed inserts; LRU map: entries that it evicted */
};

struct daemon_state {
	uint64_t now_ns;  /* CLOCK_MONOTONIC at the last refresh, and … */
	uint64_t unix_ns; /* … the wall clock at that moment */
	uint64_t started_ns;
	int pid;
	enum sluice_mode mode;
	const char *policy;
	uint32_t lease_ms;
	bool unpinned;           /* all goes with the daemon */
	uint64_t lease_until_ns; /* renewed up to this time */
	bool detaching;
	uint64_t accept_failures; /* control and metrics: want of descriptors or memory */

	struct state_interface *interfaces;
	size_t interface_count;
	size_t interfaces_left_out;     /* they match, and there is no room for them */
	const char *const *netns_notes; /* of network namespaces that are not attached to */
	size_t netns_note_count;
	size_t netns_unfollowed;  /* of those that should be */
	const char *pins_note;    /* what is wrong with the pins, a sentence; NULL or "": nothing */
	const char *sockets_note; /* likewise, why sockets cannot be looked at */
	struct service *services; /* by service id */
	size_t service_count;
	/* By service id; the entry SLUICE_SERVICES_MAX is of no service in particular. NULL: none.
	 */
	const struct trouble (*troubles)[TROUBLE_KINDS];

	const struct controller *controller;
	uint64_t changed_ns[SLUICE_MODELS_MAX]; /* when the model last opened or shut; 0: never */
	uint64_t changes[SLUICE_MODELS_MAX];    /* how often it has */
	struct state_load kernel[SLUICE_MODELS_MAX];
	struct sluice_histogram histograms[SLUICE_MODELS_MAX];

	uint64_t counters[SLUICE_COUNTER_COUNT];
	struct state_count *counts;
	size_t count_count;
	struct state_map *maps;
	size_t map_count;
	struct state_client *clients;
	size_t client_count;
	struct state_client_rule *client_rules;
	size_t client_rule_count;
	struct state_prefix_rule *prefix_rules;
	size_t prefix_rule_count;
	struct state_client_quota *client_quotas;
	size_t client_quota_count;
	const struct quota_book *quotas; /* by id */
	const struct state_fleet *fleet; /* NULL: the host is in none */
	const struct state_lookup *lookup;
	const struct sluice_named_models *named; /* in force; NULL: none */
	const struct history *history;           /* the last hour; NULL: none is kept */
	/* See state_step(). NULL: not called. */
	void (*step)(void *arg, size_t entries, size_t bytes);
	void *step_arg;
};

/*
 * Announces a step of a long answer, as work_step() does: so many entries of maps, or so many bytes
 * of output. What a command or a reload may change is read again after it.
 */
static inline void state_step(const struct daemon_state *s, size_t entries, size_t bytes)
{
	if (s->step)
		s->step(s->step_arg, entries, bytes);
}

/* A step that goes through all counts, which takes a small part of the time of a map's entries. */
static inline void state_step_counts(const struct daemon_state *s)
{
	state_step(s, 16 + s->count_count / 64, 0);
}

/* True for ids that hold a model, or a pool of them, now; ALL and OTHER always do. */
static inline bool state_model_in_use(const struct daemon_state *s, uint32_t id)
{
	return controller_in_use(s->controller, id);
}

/* The number of requests with this verdict (enum sluice_verdict), for one model or (model < 0) for
 * all. */
static inline uint64_t state_requests(const struct daemon_state *s, unsigned verdict, int model)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->count_count; i++)
		if (s->counts[i].key.verdict == verdict &&
		    (model < 0 || s->counts[i].key.model == model))
			sum += s->counts[i].n;
	return sum;
}

/* The sums of the counts, from one pass over them. */
struct state_sums {
	/* By model; a pool: its members'. */
	uint64_t admitted[SLUICE_MODELS_MAX], rejected[SLUICE_MODELS_MAX],
		shadow[SLUICE_MODELS_MAX];
	uint64_t all_admitted, all_rejected, all_shadow;
	uint64_t by_reason[SLUICE_REASON_COUNT], shadow_by_reason[SLUICE_REASON_COUNT];
	uint64_t admitted_by_class[SLUICE_CLASSES], rejected_by_class[SLUICE_CLASSES];
};

/* The class of the requests that a key counts. */
static inline unsigned state_class(const struct sluice_count_key *key)
{
	return key->class && key->class <= SLUICE_CLASSES ? key->class - 1U : SLUICE_CLASS_NORMAL;
}

static inline void state_sum(struct state_sums *sums, const struct daemon_state *s)
{
	memset(sums, 0, sizeof(*sums));
	for (size_t i = 0; i < s->count_count; i++) {
		const struct sluice_count_key *key = &s->counts[i].key;
		unsigned reason = key->reason < SLUICE_REASON_COUNT ? key->reason : 0;
		uint64_t n = s->counts[i].n;

		if (key->verdict == SLUICE_VERDICT_ADMITTED) {
			sums->all_admitted += n;
			sums->admitted_by_class[state_class(key)] += n;
			if (key->model < SLUICE_MODELS_MAX)
				sums->admitted[key->model] += n;
		} else if (key->verdict == SLUICE_VERDICT_REJECTED) {
			sums->all_rejected += n;
			sums->rejected_by_class[state_class(key)] += n;
			sums->by_reason[reason] += n;
			if (key->model < SLUICE_MODELS_MAX)
				sums->rejected[key->model] += n;
		} else if (key->verdict == SLUICE_VERDICT_SHADOW_REJECTED) {
			sums->all_shadow += n;
			sums->shadow_by_reason[reason] += n;
			if (key->model < SLUICE_MODELS_MAX)
				sums->shadow[key->model] += n;
		}
	}
	for (uint32_t id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX; id++) {
		uint32_t pool = s->controller->model[id].in_pool;

		sums->admitted[pool] += pool ? sums->admitted[id] : 0;
		sums->rejected[pool] += pool ? sums->rejected[id] : 0;
		sums->shadow[pool] += pool ? sums->shadow[id] : 0;
	}
}

/* Whether a request of another class than normal has been judged: counts are shown by class. */
static inline bool state_has_classes(const struct daemon_state *s)
{
	for (size_t i = 0; i < s->count_count; i++)
		if (state_class(&s->counts[i].key) != SLUICE_CLASS_NORMAL)
			return true;
	return false;
}

/* SYNs by verdict, of one service or (negative) of all. */
static inline uint64_t state_connections(const struct daemon_state *s, unsigned verdict,
					 int service)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->count_count; i++)
		if (s->counts[i].key.verdict == verdict &&
		    (service < 0 || s->counts[i].key.service == service))
			sum += s->counts[i].n;
	return sum;
}

/* The name of a model; of an id without one "unknown-7". */
static inline void state_model_name(char out[SLUICE_NAME_MAX], const struct daemon_state *s,
				    uint32_t id)
{
	if (state_model_in_use(s, id))
		snprintf(out, SLUICE_NAME_MAX, "%s", s->controller->model[id].name);
	else
		snprintf(out, SLUICE_NAME_MAX, "unknown-%u", id);
}

/* Requests in flight. The kernel's figure may be negative: it is read between the updates of two
 * CPUs. */
static inline int64_t state_in_flight(const struct daemon_state *s, uint32_t id)
{
	int64_t n = s->kernel[id].in_flight;

	return n > 0 ? n : 0;
}

/* The name of a service; of no service in particular (SLUICE_SERVICES_MAX): "some service". False
 * and "": there is no such service. */
static inline bool state_service_name(char out[TEXT_SERVICE_MAX], const struct daemon_state *s,
				      uint32_t id)
{
	if (id < s->service_count)
		text_endpoint(out, s->services[id].addr, s->services[id].wildcard,
			      s->services[id].port);
	else
		strcpy(out, id == SLUICE_SERVICES_MAX ? "some service" : "");
	return *out;
}

/* OTHER is shown only after a request was charged to it. */
static inline bool state_other_seen(const struct daemon_state *s)
{
	const struct controller_model *other = &s->controller->model[SLUICE_MODEL_OTHER];

	for (size_t i = 0; i < s->count_count; i++)
		if (s->counts[i].key.model == SLUICE_MODEL_OTHER && s->counts[i].n)
			return true;
	return other->ttft_samples || other->itl_samples || other->duration_samples ||
	       s->kernel[SLUICE_MODEL_OTHER].in_flight;
}

#endif
