/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The status as JSON: everything at a glance. PROTOCOL.md fixes its fields: a version may add one,
 * but renames none.
 */
#include <math.h>

#include "control/report_internal.h"
#include "core/history.h"

#include "core/parse.h"

static json_t *interfaces(const struct daemon_state *s)
{
	json_t *list = json_array();

	for (size_t n = 0; n < s->interface_count; n++) {
		const struct state_interface *i = &s->interfaces[n];

		json_array_append_new(
			list,
			json_pack("{s:s, s:s, s:b, s:s, s:b, s:s?, s:i}", "name", i->name, "xdp",
				  i->xdp, "tc",
				  i->attached[STATE_TC_IN] && i->attached[STATE_TC_OUT], "tc_kind",
				  i->tcx ? "tcx" : "clsact", "leads_to_server", i->leads,
				  "xdp_note", i->note[STATE_XDP][0] ? i->note[STATE_XDP] : NULL,
				  "restored", (int)i->restored));
	}
	return list;
}

/* What sluice does not see though it should, a sentence each. */
static json_t *troubles(const struct daemon_state *s)
{
	json_t *list = json_array();
	bool attached = false;

	if (s->pins_note && *s->pins_note)
		json_array_append_new(list, json_string(s->pins_note));
	for (size_t n = 0; n < s->netns_note_count; n++)
		json_array_append_new(list, json_string(s->netns_notes[n]));
	if (s->interfaces_left_out)
		json_array_append_new(
			list,
			json_sprintf(
				"%zu more interfaces match than sluice has room for: traffic by them passes unseen",
				s->interfaces_left_out));
	for (size_t n = 0; n < s->interface_count; n++)
		attached |= s->interfaces[n].attached[STATE_TC_IN];
	if (!attached)
		json_array_append_new(
			list,
			json_string(
				"sluice is attached to no interface: all traffic passes unseen"));
	if (s->sockets_note && *s->sockets_note)
		json_array_append_new(list, json_string(s->sockets_note));
	for (size_t n = 0; n < s->interface_count; n++)
		for (int hook = STATE_TC_IN; hook <= STATE_TC_OUT; hook++)
			if (s->interfaces[n].note[hook][0])
				json_array_append_new(list,
						      json_string(s->interfaces[n].note[hook]));
	return list;
}

/* Troubles of services, each with its kind. Those that leave sluice blind join `troubles`. */
static json_t *trouble_details(const struct daemon_state *s, json_t *troubles)
{
	json_t *list = json_array();

	for (uint32_t id = 0; s->troubles && id <= SLUICE_SERVICES_MAX; id++) {
		char service[TEXT_SERVICE_MAX], text[TROUBLE_TEXT_MAX];

		if (!state_service_name(service, s, id))
			continue;
		for (unsigned kind = 0; kind < TROUBLE_KINDS; kind++) {
			const struct trouble *t = &s->troubles[id][kind];

			if (!t->on)
				continue;
			trouble_text(text, kind, service, &t->facts);
			if (trouble_is_blind(kind))
				json_array_append_new(troubles, json_string(text));
			json_array_append_new(
				list,
				json_pack("{s:s, s:s, s:s, s:b, s:o}", "kind", trouble_name(kind),
					  "service", service, "text", text, "blind",
					  trouble_is_blind(kind), "since_unix_ms",
					  value_count((s->unix_ns - (s->now_ns - t->since_ns)) /
						      MS)));
		}
	}
	return list;
}

/* null, or how the server is taken out of service, and for how long; that null: without end. */
static json_t *drain(const struct daemon_state *s)
{
	const struct controller_drain *d = &s->controller->drain;

	if (!controller_drains(s->controller, s->now_ns))
		return json_null();
	return json_pack("{s:i, s:o}", "status", d->unavailable ? 503 : 429, "ends_in_ms",
			 d->until_ns
				 ? json_integer((json_int_t)((d->until_ns - s->now_ns) / 1000000))
				 : json_null());
}

/* The requests with this verdict (enum sluice_verdict). */
static json_t *requests_by_reason(const struct daemon_state *s, unsigned verdict)
{
	uint64_t sum[SLUICE_REASON_COUNT] = {0};

	for (size_t i = 0; i < s->count_count; i++)
		if (s->counts[i].key.verdict == verdict &&
		    s->counts[i].key.reason < SLUICE_REASON_COUNT)
			sum[s->counts[i].key.reason] += s->counts[i].n;
	return value_by_reason(sum);
}

/* The admitted requests of each class; null while all requests are of class normal. */
static json_t *admitted_by_class(const struct daemon_state *s)
{
	uint64_t sum[SLUICE_CLASSES] = {0};
	json_t *all;

	if (!state_has_classes(s))
		return json_null();
	for (size_t i = 0; i < s->count_count; i++)
		if (s->counts[i].key.verdict == SLUICE_VERDICT_ADMITTED)
			sum[state_class(&s->counts[i].key)] += s->counts[i].n;
	all = json_object();
	for (unsigned c = 0; c < SLUICE_CLASSES; c++)
		json_object_set_new(all, parse_word_of(&parse_as_class, c), value_count(sum[c]));
	return all;
}

/* The rejected requests of each class, by reason; null as above. */
static json_t *rejected_by_class(const struct daemon_state *s)
{
	uint64_t sum[SLUICE_CLASSES][SLUICE_REASON_COUNT] = {{0}};
	json_t *all;

	if (!state_has_classes(s))
		return json_null();
	for (size_t i = 0; i < s->count_count; i++) {
		const struct sluice_count_key *key = &s->counts[i].key;

		if (key->verdict == SLUICE_VERDICT_REJECTED && key->reason < SLUICE_REASON_COUNT)
			sum[state_class(key)][key->reason] += s->counts[i].n;
	}
	all = json_object();
	for (unsigned c = 0; c < SLUICE_CLASSES; c++)
		json_object_set_new(all, parse_word_of(&parse_as_class, c),
				    value_by_reason(sum[c]));
	return all;
}

static json_t *counters(const struct daemon_state *s)
{
	json_t *all = json_object();

	for (unsigned i = 0; i < SLUICE_COUNTER_COUNT; i++)
		json_object_set_new(all, text_counter(i), value_count(s->counters[i]));
	return all;
}

static json_t *maps(const struct daemon_state *s)
{
	json_t *all = json_object();

	for (size_t i = 0; i < s->map_count; i++)
		json_object_set_new(all, s->maps[i].name,
				    json_pack("{s:I, s:I, s:I}", "entries",
					      (json_int_t)s->maps[i].entries, "max",
					      (json_int_t)s->maps[i].max, "full",
					      (json_int_t)s->maps[i].full));
	return all;
}

/* Models that nobody configured and that have requests in flight now; 0 where each port is one
 * pool: there the names mean nothing. */
static uint64_t learned_busy(const struct daemon_state *s)
{
	const struct controller *c = s->controller;
	bool by_name = false;
	uint64_t n = 0;

	for (size_t i = 0; i < s->service_count; i++)
		by_name |= !s->services[i].port_pool;
	for (uint32_t id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX && by_name; id++)
		n += controller_may_forget(c, id) && !c->model[id].is_pool &&
		     s->kernel[id].in_flight > 0;
	return n;
}

/* Requests a second, by the last point of the history. */
static json_t *rates(const struct daemon_state *s)
{
	static const struct history_point none;
	const struct history *h = s->history;
	const int at = history_now(h);
	const struct history_point *now = at < 0 ? &none : &h->all.point[at];
	json_t *by = json_object();

	for (unsigned r = SLUICE_REASON_NONE + 1; r < SLUICE_REASON_COUNT; r++)
		json_object_set_new(by, text_reason(r),
				    json_real(at < 0 ? 0 : fmaxf(h->by_reason[at][r], 0)));
	return json_pack("{s:f, s:f, s:o}", "admitted_per_s", fmaxf(now->admitted, 0),
			 "rejected_per_s", fmaxf(now->rejected, 0), "rejected_per_s_by_reason", by);
}

json_t *report_status(const struct daemon_state *s)
{
	const uint64_t *n = s->counters;
	json_t *list = troubles(s);
	json_t *status = json_pack(
		"{s:s, s:s, s:i, s:b, s:o, s:o, s:o, s:o, s:{s:o, s:o, s:o}, s:o, "
		"s:{s:o, s:o, s:o}, s:o}",
		"mode", text_mode(s->mode), "policy", s->policy, "lease_ms", (int)s->lease_ms,
		"pinned", !s->unpinned, "interfaces", interfaces(s), "services",
		report_service_list(s), "models", report_model_list(s), "global",
		report_model(s, SLUICE_MODEL_ALL), "requests", "admitted",
		value_count(state_requests(s, SLUICE_VERDICT_ADMITTED, -1)), "rejected",
		value_count(state_requests(s, SLUICE_VERDICT_REJECTED, -1)), "shadow_rejected",
		value_count(state_requests(s, SLUICE_VERDICT_SHADOW_REJECTED, -1)),
		"rejected_by_reason", requests_by_reason(s, SLUICE_VERDICT_REJECTED), "connections",
		"reset", value_count(state_connections(s, SLUICE_VERDICT_SYN_RESET, -1)), "dropped",
		value_count(state_connections(s, SLUICE_VERDICT_SYN_DROPPED, -1)), "shadow",
		value_count(state_connections(s, SLUICE_VERDICT_SYN_SHADOW, -1)), "lost_samples",
		value_count(n[SLUICE_COUNTER_SAMPLES_LOST]));

	json_object_set_new(status, "troubles", list);
	json_object_set_new(status, "trouble_details", trouble_details(s, list));
	json_object_set_new(status, "shadow_rejected_by_reason",
			    requests_by_reason(s, SLUICE_VERDICT_SHADOW_REJECTED));
	json_object_set_new(status, "admitted_by_class", admitted_by_class(s));
	json_object_set_new(status, "rejected_by_class", rejected_by_class(s));
	json_object_set_new(status, "counters", counters(s));
	json_object_set_new(status, "maps", maps(s));
	json_object_set_new(status, "per_model_limits", json_boolean(s->controller->per_model));
	json_object_set_new(status, "names_refused", value_count(s->controller->names_refused));
	json_object_set_new(status, "learned_busy", value_count(learned_busy(s)));
	json_object_set_new(status, "accept_failures", value_count(s->accept_failures));
	json_object_set_new(status, "version", json_string(SLUICE_VERSION));
	json_object_set_new(status, "pid", json_integer(s->pid));
	json_object_set_new(status, "uptime_ms", value_count((s->now_ns - s->started_ns) / MS));
	json_object_set_new(status, "now_unix_ms", value_count(s->unix_ns / MS));
	json_object_set_new(status, "rates", rates(s));
	json_object_set_new(status, "detaching", json_boolean(s->detaching));
	json_object_set_new(status, "drain", drain(s));
	json_object_set_new(status, "fleet", report_fleet(s));
	return status;
}
