/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Gathers what core/trouble.h judges, and says what begins and ends: from the sockets of the
 * services' ports, the programs' counters, samples and refusals, and the models in flight.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/daemon.h"

#define NS         1000000000ULL
#define NO_SERVICE SLUICE_SERVICES_MAX /* what no service can be charged with */

/* Looks at the sockets, so many in trouble-after-secs, and at most one a second. */
#define LOOKS 6

void trouble_saw(struct daemon *d, uint32_t service, const struct sluice_client *client,
		 bool request, bool admitted)
{
	if (service >= SLUICE_SERVICES_MAX)
		return;
	d->watched[service].seen_ns = d->state.now_ns;
	if (request)
		trouble_request(&d->watched[service].share, client, admitted);
}

static uint64_t after_ns(const struct daemon *d)
{
	return d->config.trouble_after_secs * NS;
}

/* A connection that sluice reads is of one service; counters are of all. */
static void count_on(struct trouble_look *looks, const struct daemon *d, size_t at, uint64_t more)
{
	uint32_t http = NO_SERVICE;
	unsigned services = 0;

	if (!more)
		return;
	for (uint32_t id = 0; id < d->state.service_count; id++) {
		if (*(unsigned *)((char *)&looks[id] + at))
			return; /* its sockets show it */
		if (d->state.services[id].protocol == SLUICE_PROTOCOL_HTTP) {
			http = id;
			services++;
		}
	}
	*(unsigned *)((char *)&looks[services == 1 ? http : NO_SERVICE] + at) += 1;
}

static uint64_t grown(struct daemon *d, const uint64_t *now, enum sluice_counter counter)
{
	uint64_t before = d->watched_counters[counter];

	return now[counter] > before ? now[counter] - before : 0;
}

/* No connection of a service began: so sluice has not seen those that ended meanwhile. */
static void count_ended(struct trouble_look *looks)
{
	for (uint32_t id = 0; id < SLUICE_SERVICES_MAX; id++) {
		looks[id].active += looks[id].ended + looks[id].ended_here;
		looks[id].unseen += looks[id].ended;
		looks[id].unseen_here += looks[id].ended_here;
	}
}

static void look_at_counters(struct daemon *d, struct trouble_look *looks)
{
	uint64_t now[SLUICE_COUNTER_COUNT];

	if (datapath_get_counters(d->datapath, now))
		return;
	if (d->looked_ns) { /* else they are of earlier daemons */
		if (!grown(d, now, SLUICE_COUNTER_HALF_OPEN_INSERTS))
			count_ended(looks);
		if (grown(d, now, SLUICE_COUNTER_CONNS_FULL)) /* seen, and without room */
			for (uint32_t id = 0; id < SLUICE_SERVICES_MAX; id++)
				looks[id].unseen = looks[id].unseen_here =
					looks[id].requests_unseen = 0;
		if (!grown(d, now, SLUICE_COUNTER_PASSED_FRAMING_ERROR))
			for (uint32_t id = 0; id < SLUICE_SERVICES_MAX; id++)
				looks[id].unread = 0; /* upgraded, or from long ago */
		count_on(looks, d, offsetof(struct trouble_look, unread),
			 grown(d, now, SLUICE_COUNTER_PASSED_FRAMING_ERROR));
		count_on(looks, d, offsetof(struct trouble_look, opaque),
			 grown(d, now, SLUICE_COUNTER_FOUND_OPAQUE));
		count_on(looks, d, offsetof(struct trouble_look, requests_unseen),
			 grown(d, now, SLUICE_COUNTER_UNSEEN_REQUESTS));
		count_on(looks, d, offsetof(struct trouble_look, responses_unseen),
			 grown(d, now, SLUICE_COUNTER_UNSEEN_RESPONSES));
	}
	memcpy(d->watched_counters, now, sizeof(now));
}

/* Notes how many models that nobody configured have requests in flight now. */
static void look_at_models(struct daemon *d)
{
	unsigned busy[SLUICE_SERVICES_MAX] = {0};

	for (uint32_t id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX; id++) {
		uint32_t service = d->service_of_model[id];
		struct state_load load;

		if (!controller_may_forget(&d->controller, id) || !service ||
		    d->controller.model[id].is_pool ||
		    datapath_get_load(d->datapath, id, d->state.now_ns, &load))
			continue;
		busy[service - 1] += load.in_flight > 0;
	}
	for (uint32_t id = 0; id < d->state.service_count; id++)
		if (busy[id] > d->watched[id].busy_models && !d->state.services[id].port_pool)
			d->watched[id].busy_models = busy[id];
}

static void say_change(enum trouble_change change, enum trouble_kind kind, const char *name,
		       const struct trouble_facts *facts)
{
	char text[TROUBLE_TEXT_MAX];

	if (change == TROUBLE_SAME)
		return;
	trouble_text(text, kind, name, facts);
	say(change == TROUBLE_BEGINS ? EVENT_TROUBLE_BEGAN : EVENT_TROUBLE_ENDED,
	    LOG_FIELDS(log_text("kind", trouble_name(kind)), log_text("service", name)), "%s%s",
	    change == TROUBLE_BEGINS ? "" : "no longer: ", text);
}

/* The troubles of an id are those of its present service. */
static void follow_service(struct daemon *d, uint32_t id)
{
	struct watched *w = &d->watched[id];
	char name[TEXT_SERVICE_MAX];

	state_service_name(name, &d->state, id);
	if (!strcmp(name, w->name))
		return;
	for (unsigned kind = 0; kind < TROUBLE_KINDS; kind++)
		if (d->troubles[id][kind].on)
			say_change(TROUBLE_ENDS, kind, w->name, &d->troubles[id][kind].facts);
	memset(w, 0, sizeof(*w));
	memset(d->troubles[id], 0, sizeof(d->troubles[id]));
	strcpy(w->name, name);
}

static void judge(struct daemon *d, uint32_t id, struct trouble_look *look)
{
	struct watched *w = &d->watched[id];

	for (unsigned kind = 0; kind < TROUBLE_KINDS; kind++) {
		struct trouble *t = &d->troubles[id][kind];
		struct trouble_facts facts = {0};
		bool holds = trouble_holds(kind, look, &facts);

		if (d->sockets_note[0] && kind <= TROUBLE_LAST_OF_SOCKETS)
			continue; /* nothing is known */
		say_change(trouble_step(t, kind, holds, &facts, d->state.now_ns, after_ns(d)), kind,
			   w->name, &t->facts);
	}
}

static void look_at_sockets(struct daemon *d, struct trouble_look *looks, uint64_t period)
{
	uint64_t since = d->state.now_ns - 2 * period;

	if (since < d->watch_since_ns)
		since = d->watch_since_ns;
	if (!datapath_look_at_sockets(d->datapath, since, looks)) {
		d->sockets_note[0] = 0;
		return;
	}
	if (!d->sockets_note[0])
		say(EVENT_SOCKETS_FAILED, NULL, "%s", datapath_error());
	snprintf(d->sockets_note, sizeof(d->sockets_note),
		 "%s: traffic that passes unseen is not noticed", datapath_error());
}

void look_for_trouble(struct daemon *d)
{
	uint64_t period = after_ns(d) / LOOKS > NS ? after_ns(d) / LOOKS : NS;
	struct trouble_look *looks;

	look_at_models(d);
	if (d->state.detaching || d->state.now_ns - d->looked_ns < period)
		return;
	looks = calloc(SLUICE_SERVICES_MAX + 1, sizeof(*looks));
	if (!looks)
		return;
	for (uint32_t id = 0; id <= SLUICE_SERVICES_MAX; id++)
		follow_service(d, id);
	look_at_sockets(d, looks, period);
	look_at_counters(d, looks);
	for (uint32_t id = 0; id <= SLUICE_SERVICES_MAX; id++) {
		struct watched *w = &d->watched[id];

		if (id >= d->state.service_count && id != NO_SERVICE)
			continue;
		looks[id].answered = w->seen_ns;
		looks[id].sampled = w->seen_ns && d->state.now_ns - w->seen_ns < after_ns(d);
		trouble_find_listener(&w->listener, &looks[id], w->seen_ns, d->state.now_ns,
				      after_ns(d));
		/* A server that is out of service may be away. */
		looks[id].own &= !controller_drains(&d->controller, d->state.now_ns);
		looks[id].busy_models = w->busy_models;
		w->busy_models = 0;
		looks[id].judged_twice = w->judged_twice;
		w->judged_twice = false;
		/* Who names its clients otherwise knows that a proxy is in front. */
		if (id < d->state.service_count && !d->state.services[id].identity.forwarded_at &&
		    !d->state.services[id].identity.proxy)
			trouble_count(&w->share, &looks[id], d->state.now_ns, after_ns(d));
		judge(d, id, &looks[id]);
	}
	free(looks);
	d->looked_ns = d->state.now_ns;
}
