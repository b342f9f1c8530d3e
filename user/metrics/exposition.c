/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The Prometheus text format, version 0.0.4. Families have a fixed order, HELP and TYPE; times are
 * in seconds. Per-model families that may be summed leave out the total. Averages and gates may not
 * be summed, and have the total as model="global".
 */
#include "metrics/metrics.h"

#include <inttypes.h>
#include <sluice/histogram.h>
#include <string.h>

#include "core/parse.h"
#include "core/printable.h"
#include "core/text.h"

static void family(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* key="value" with backslash, quote and line end escaped, after what is escaped for people. */
static void label(FILE *out, const char *key, const char *value)
{
	char one[PRINTABLE_CHAR_MAX];

	fprintf(out, "%s=\"", key);
	while (*value) {
		printable_next(&value, one);
		for (const char *c = one; *c; c++) {
			if (*c == '\n')
				fputs("\\n", out);
			else if (*c == '\\' || *c == '"')
				fprintf(out, "\\%c", *c);
			else
				fputc(*c, out);
		}
	}
	fputc('"', out);
}

static void model_label(FILE *out, const struct daemon_state *s, uint32_t id)
{
	char text[SLUICE_NAME_MAX];

	state_model_name(text, s, id);
	label(out, "model", text);
}

static void service_label(FILE *out, const struct daemon_state *s, uint32_t id)
{
	char text[TEXT_SERVICE_MAX];

	if (id < s->service_count)
		text_endpoint(text, s->services[id].addr, s->services[id].wildcard,
			      s->services[id].port);
	else
		snprintf(text, sizeof(text), "unknown-%u", id);
	label(out, "service", text);
}

static void write_requests(FILE *out, const struct daemon_state *s)
{
	bool classes = state_has_classes(s);

	family(out, "sluice_requests_total", "counter",
	       "Requests judged, by verdict and the reason for it.");
	for (size_t i = 0; i < s->count_count; i++) {
		const struct sluice_count_key *key = &s->counts[i].key;

		if (key->verdict > SLUICE_VERDICT_SHADOW_REJECTED)
			continue; /* a verdict on a SYN */
		if (key->model == SLUICE_MODEL_FORGOTTEN)
			continue;
		fputs("sluice_requests_total{", out);
		service_label(out, s, key->service);
		fputc(',', out);
		model_label(out, s, key->model);
		fputc(',', out);
		label(out, "verdict", text_verdict(key->verdict));
		fputc(',', out);
		label(out, "reason", text_reason(key->reason));
		if (classes) {
			fputc(',', out);
			label(out, "class", parse_word_of(&parse_as_class, state_class(key)));
		}
		fprintf(out, "} %" PRIu64 "\n", s->counts[i].n);
	}
}

static void write_refusals(FILE *out, const struct daemon_state *s)
{
	family(out, "sluice_refusals_total", "counter",
	       "Requests refused, by what became of their connection.");
	fprintf(out, "sluice_refusals_total{connection=\"kept\"} %" PRIu64 "\n",
		s->counters[SLUICE_COUNTER_REFUSALS_KEPT]);
	fprintf(out, "sluice_refusals_total{connection=\"closed\"} %" PRIu64 "\n",
		s->counters[SLUICE_COUNTER_REFUSALS_CLOSED]);
}

static void write_connections(FILE *out, const struct daemon_state *s)
{
	static const struct {
		enum sluice_verdict verdict;
		const char *action;
	} rows[] = {
		{SLUICE_VERDICT_SYN_RESET, "reset"},
		{SLUICE_VERDICT_SYN_DROPPED, "drop"},
		{SLUICE_VERDICT_SYN_SHADOW, "shadow"},
	};

	family(out, "sluice_connections_total", "counter",
	       "Connections refused at their SYN (shadow: that would have been).");
	for (uint32_t id = 0; id < s->service_count; id++) {
		state_step_counts(s);
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			fputs("sluice_connections_total{", out);
			service_label(out, s, id);
			fputc(',', out);
			label(out, "action", rows[i].action);
			fprintf(out, "} %" PRIu64 "\n",
				state_connections(s, rows[i].verdict, (int)id));
		}
	}
}

/* Whether the model has histograms of its own. */
static bool is_measured(const struct daemon_state *s, uint32_t id)
{
	return state_model_in_use(s, id) && !s->controller->model[id].is_pool &&
	       (id != SLUICE_MODEL_OTHER || state_other_seen(s));
}

static void write_histogram(FILE *out, const struct daemon_state *s, enum sluice_latency kind,
			    const char *name, const char *help)
{
	const uint64_t *bounds = (const uint64_t *)histogram_bounds[kind];

	family(out, name, "histogram", help);
	for (uint32_t id = SLUICE_MODEL_OTHER; id < SLUICE_MODELS_MAX; id++) {
		const struct sluice_histogram *h = &s->histograms[id];
		uint64_t sum = 0;

		if (!is_measured(s, id))
			continue;
		for (unsigned i = 0; i < SLUICE_HISTOGRAM_BUCKETS && (!i || bounds[i - 1]); i++) {
			char le[32] = "+Inf";

			sum += h->count[kind][i];
			if (bounds[i])
				snprintf(le, sizeof(le), "%.12g", (double)bounds[i] / 1e9);
			fprintf(out, "%s_bucket{", name);
			model_label(out, s, id);
			fputc(',', out);
			label(out, "le", le);
			fprintf(out, "} %" PRIu64 "\n", sum);
		}
		fprintf(out, "%s_sum{", name);
		model_label(out, s, id);
		fprintf(out, "} %.9f\n", (double)h->sum_ns[kind] / 1e9);
		fprintf(out, "%s_count{", name);
		model_label(out, s, id);
		fprintf(out, "} %" PRIu64 "\n", sum);
	}
}

static void write_output_tokens(FILE *out, const struct daemon_state *s)
{
	family(out, "sluice_output_tokens_total", "counter",
	       "Output tokens of responses that have ended: as stated where that is read, else chunks.");
	for (uint32_t id = SLUICE_MODEL_OTHER; id < SLUICE_MODELS_MAX; id++) {
		if (!is_measured(s, id))
			continue;
		fputs("sluice_output_tokens_total{", out);
		model_label(out, s, id);
		fprintf(out, "} %" PRIu64 "\n", (uint64_t)s->histograms[id].output_tokens);
	}
}

/* A latency without a target has no line, once it never had one. */
static void write_targets(FILE *out, const struct daemon_state *s)
{
	static const enum sluice_reason names[SLUICE_LATENCIES] = {
		[SLUICE_LATENCY_TTFT] = SLUICE_REASON_TTFT,
		[SLUICE_LATENCY_ITL] = SLUICE_REASON_ITL,
		[SLUICE_LATENCY_DURATION] = SLUICE_REASON_DURATION,
		[SLUICE_LATENCY_NORMALIZED] = SLUICE_REASON_NORMALIZED_LATENCY,
	};

	family(out, "sluice_target_total", "counter",
	       "Latencies that came while their model had a target, inside it (met) or not (missed).");
	for (uint32_t id = SLUICE_MODEL_OTHER; id < SLUICE_MODELS_MAX; id++)
		for (unsigned kind = 0; is_measured(s, id) && kind < SLUICE_LATENCIES; kind++) {
			uint64_t met = s->histograms[id].met[kind];
			uint64_t missed = s->histograms[id].missed[kind];

			for (int i = 0; (met || missed) && i < 2; i++) {
				fputs("sluice_target_total{", out);
				model_label(out, s, id);
				fputc(',', out);
				label(out, "latency", text_reason(names[kind]));
				fprintf(out, ",outcome=\"%s\"} %" PRIu64 "\n", i ? "missed" : "met",
					i ? missed : met);
			}
		}
}

/* Writes the value of a gauge for a model; `at`: where it stands. False: the model has none, and
 * gets no line. */
typedef bool (*gauge_fn)(const struct daemon_state *s, uint32_t id, size_t at, double *value);

/* A decayed average: a member of struct controller_reading. */
static bool average(const struct daemon_state *s, uint32_t id, size_t at, double *value)
{
	struct controller_reading now = controller_read(s->controller, id, s->now_ns);
	const double *ms = (const void *)((const char *)&now + at);

	*value = *ms / 1e3;
	return *value >= 0;
}

/* A member of struct controller_targets. */
static bool target(const struct daemon_state *s, uint32_t id, size_t at, double *value)
{
	struct controller_targets t = controller_targets(s->controller, id);
	const double *ms = (const void *)((const char *)&t + at);

	*value = *ms / 1e3;
	return *value > 0;
}

static double counted(const struct daemon_state *s, uint32_t id, size_t at)
{
	const int64_t *n = (const void *)((const char *)&s->kernel[id] + at);

	return *n > 0 ? (double)*n : 0;
}

/* A count of requests: a member of struct state_load. Pools and all models together have no line,
 * so that lines may be summed. */
static bool count(const struct daemon_state *s, uint32_t id, size_t at, double *value)
{
	*value = counted(s, id, at);
	return id != SLUICE_MODEL_ALL && !s->controller->model[id].is_pool;
}

/* Only the entry that carries the pool has them. */
static bool waiting_bytes(const struct daemon_state *s, uint32_t id, size_t at, double *value)
{
	*value = counted(s, id, at);
	return s->controller->model[id].adapting;
}

static bool predicted_rate(const struct daemon_state *s, uint32_t id, size_t at, double *value)
{
	struct sluice_admission a;

	if (!controller_admission(s->controller, id, &a) || !a.rate)
		return false;
	*value = (double)a.rate / (1 << ADMISSION_RATE_SHIFT) / ((1 << ADMISSION_TICK_SHIFT) / 1e9);
	return true;
}

static bool limit(const struct daemon_state *s, uint32_t id, size_t at, double *value)
{
	*value = (double)controller_limit(s->controller, id);
	return *value > 0 && (id != SLUICE_MODEL_ALL || !s->controller->per_model);
}

static bool is_open(const struct daemon_state *s, uint32_t id, size_t at, double *value)
{
	*value = controller_read(s->controller, id, s->now_ns).open;
	return true;
}

static void write_gauges(FILE *out, const struct daemon_state *s)
{
	static const struct {
		const char *name, *help;
		gauge_fn value;
		size_t at;
	} gauges[] = {
		{"sluice_ttft_ema_seconds", "Decayed average of the time to first token.", average,
		 offsetof(struct controller_reading, ttft_ms)},
		{"sluice_itl_ema_seconds", "Decayed average of the inter-token latency.", average,
		 offsetof(struct controller_reading, itl_ms)},
		{"sluice_duration_ema_seconds",
		 "Decayed average of the duration of replies that are not streamed.", average,
		 offsetof(struct controller_reading, duration_ms)},
		{"sluice_normalized_latency_ema_seconds",
		 "Decayed average of that duration over the output tokens of the reply.", average,
		 offsetof(struct controller_reading, normalized_ms)},
		{"sluice_ttft_target_seconds", "Target for the time to first token.", target,
		 offsetof(struct controller_targets, ttft_ms)},
		{"sluice_itl_target_seconds", "Target for the inter-token latency.", target,
		 offsetof(struct controller_targets, itl_ms)},
		{"sluice_duration_target_seconds",
		 "Target for the duration of replies that are not streamed.", target,
		 offsetof(struct controller_targets, duration_ms)},
		{"sluice_normalized_latency_target_seconds",
		 "Target for that duration over the output tokens of the reply.", target,
		 offsetof(struct controller_targets, normalized_ms)},
		{"sluice_in_flight", "Requests admitted whose response has not ended.", count,
		 offsetof(struct state_load, in_flight)},
		{"sluice_waiting", "Requests in flight without a first token yet.", count,
		 offsetof(struct state_load, waiting)},
		{"sluice_in_flight_limit", "Requests that may be in flight at once.", limit, 0},
		{"sluice_model_open", "1 while requests are admitted, 0 while latency shuts it.",
		 is_open, 0},
		{"sluice_shadow_in_flight", "Requests in flight that only shadow mode let pass.",
		 count, offsetof(struct state_load, shadow_in_flight)},
		{"sluice_departed",
		 "Requests in flight of clients that have hung up; they hold their slots for the usual time.",
		 count, offsetof(struct state_load, departed)},
		{"sluice_stalled", "Responses that their clients do not read; they hold no slot.",
		 count, offsetof(struct state_load, stalled)},
		{"sluice_waiting_bytes", "Bytes of the requests without a first token yet.",
		 waiting_bytes, offsetof(struct state_load, waiting_bytes)},
		{"sluice_rate_bytes_per_second",
		 "Bytes of requests that the server takes up, as policy adaptive counts on.",
		 predicted_rate, 0},
	};

	for (size_t g = 0; g < sizeof(gauges) / sizeof(gauges[0]); g++) {
		family(out, gauges[g].name, "gauge", gauges[g].help);
		for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++) {
			double value;

			if (!state_model_in_use(s, id) ||
			    (id == SLUICE_MODEL_OTHER && !state_other_seen(s)) ||
			    !gauges[g].value(s, id, gauges[g].at, &value))
				continue;
			fprintf(out, "%s{", gauges[g].name);
			model_label(out, s, id);
			fprintf(out, "} %.9g\n", value);
		}
	}
}

static uint64_t changes(const struct daemon_state *s, uint32_t id)
{
	return s->changes[id];
}

static uint64_t failed(const struct daemon_state *s, uint32_t id)
{
	return s->kernel[id].failed;
}

static uint64_t guessed(const struct daemon_state *s, uint32_t id)
{
	return s->kernel[id].guessed;
}

static void write_model_counters(FILE *out, const struct daemon_state *s)
{
	static const struct {
		const char *name, *help;
		uint64_t (*value)(const struct daemon_state *s, uint32_t id);
		bool of_models; /* there is no line for a pool or for all models together */
	} counters[] = {
		{"sluice_model_changes_total", "Times that a model opened or shut.", changes,
		 false},
		{"sluice_responses_failed_total", "Streamed 2xx responses with an error in them.",
		 failed, true},
		{"sluice_responses_guessed_total",
		 "Streamed responses of an unknown format, whose first token is a guess.", guessed,
		 true},
	};

	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
		family(out, counters[i].name, "counter", counters[i].help);
		for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++) {
			if (!state_model_in_use(s, id) ||
			    (id == SLUICE_MODEL_OTHER && !state_other_seen(s)) ||
			    (counters[i].of_models &&
			     (id == SLUICE_MODEL_ALL || s->controller->model[id].is_pool)))
				continue;
			fprintf(out, "%s{", counters[i].name);
			model_label(out, s, id);
			fprintf(out, "} %" PRIu64 "\n", counters[i].value(s, id));
		}
	}
}

static void write_maps(FILE *out, const struct daemon_state *s)
{
	static const char *const names[] = {"sluice_map_full_total", "sluice_map_entries",
					    "sluice_map_max_entries"};

	family(out, names[0], "counter",
	       "Times that a map was full (of an LRU map: entries that it evicted).");
	for (size_t i = 0; i < s->map_count; i++)
		fprintf(out, "%s{map=\"%s\"} %" PRIu64 "\n", names[0], s->maps[i].name,
			s->maps[i].full);
	family(out, names[1], "gauge", "Entries in a map now.");
	for (size_t i = 0; i < s->map_count; i++)
		fprintf(out, "%s{map=\"%s\"} %" PRIu64 "\n", names[1], s->maps[i].name,
			s->maps[i].entries);
	family(out, names[2], "gauge", "Entries that fit into a map.");
	for (size_t i = 0; i < s->map_count; i++)
		fprintf(out, "%s{map=\"%s\"} %" PRIu64 "\n", names[2], s->maps[i].name,
			s->maps[i].max);
}

static void write_interfaces(FILE *out, const struct daemon_state *s)
{
	static const char *const hooks[STATE_HOOKS] = {
		[STATE_XDP] = "xdp",
		[STATE_TC_IN] = "tc-in",
		[STATE_TC_OUT] = "tc-out",
	};

	family(out, "sluice_interface_attached", "gauge",
	       "1 where sluice's program is attached to a hook of an interface, else 0.");
	for (size_t i = 0; i < s->interface_count; i++)
		for (unsigned hook = 0; hook < STATE_HOOKS; hook++) {
			fputs("sluice_interface_attached{", out);
			label(out, "interface", s->interfaces[i].name);
			fprintf(out, ",hook=\"%s\"} %d\n", hooks[hook],
				s->interfaces[i].attached[hook]);
		}
}

static void write_troubles(FILE *out, const struct daemon_state *s)
{
	family(out, "sluice_trouble", "gauge",
	       "1 while a service has this trouble, else 0; sluicectl status says what it is.");
	for (uint32_t id = 0; s->troubles && id <= SLUICE_SERVICES_MAX; id++) {
		char service[TEXT_SERVICE_MAX];

		if (!state_service_name(service, s, id))
			continue;
		for (unsigned kind = 0; kind < TROUBLE_KINDS; kind++) {
			fprintf(out, "sluice_trouble{kind=\"%s\",", trouble_name(kind));
			label(out, "service", service);
			fprintf(out, "} %d\n", s->troubles[id][kind].on);
		}
	}
}

static void write_fleet_calls(FILE *out, const struct fleet_calls *c)
{
	uint64_t sum = 0;

	family(out, "sluice_fleet_call_seconds", "histogram", "Round trips of calls to the store.");
	for (unsigned i = 0; i <= FLEET_CALL_BOUNDS; i++) {
		char le[32] = "+Inf";

		sum += c->count[i];
		if (i < FLEET_CALL_BOUNDS)
			snprintf(le, sizeof(le), "%.12g", (double)fleet_call_bounds_us[i] / 1e6);
		fprintf(out, "sluice_fleet_call_seconds_bucket{le=\"%s\"} %" PRIu64 "\n", le, sum);
	}
	fprintf(out, "sluice_fleet_call_seconds_sum %.9f\n", (double)c->sum_ns / 1e9);
	fprintf(out, "sluice_fleet_call_seconds_count %" PRIu64 "\n", sum);
}

static void write_fleet(FILE *out, const struct state_fleet *f, uint64_t now_ns)
{
	const struct {
		const char *what;
		uint64_t n;
	} budgets[] = {
		{"charged", f->budgets},     {"lowered", f->raised},      {"claimed", f->claimed},
		{"recovered", f->recovered}, {"forgotten", f->forgotten},
	};

	family(out, "sluice_fleet_up", "gauge",
	       "1 while the store answers: quotas hold over the whole fleet.");
	fprintf(out, "sluice_fleet_up %d\n", f->up);
	family(out, "sluice_fleet_hosts", "gauge", "Hosts that share quotas, this one included.");
	fprintf(out, "sluice_fleet_hosts %u\n", f->hosts);
	family(out, "sluice_fleet_hosts_that_differ", "gauge",
	       "Hosts with other numbers of a shared quota: they do not share it.");
	fprintf(out, "sluice_fleet_hosts_that_differ %u\n", fleet_hosts_that_differ(f));
	family(out, "sluice_fleet_away_seconds_total", "counter",
	       "Time for which the store was away.");
	fprintf(out, "sluice_fleet_away_seconds_total %.3f\n", (double)f->away_ns / 1e9);
	family(out, "sluice_fleet_store_evicts", "gauge",
	       "1 if the store may evict budgets, and forgives what was used of them.");
	fprintf(out, "sluice_fleet_store_evicts %d\n", f->evicts[0] != 0);
	write_fleet_calls(out, &f->answered);
	if (f->answered_ns) {
		family(out, "sluice_fleet_round_trip_seconds", "gauge",
		       "Of the last call to the store.");
		fprintf(out, "sluice_fleet_round_trip_seconds %.6f\n",
			(double)f->round_trip_ns / 1e9);
		family(out, "sluice_fleet_answer_age_seconds", "gauge",
		       "Since the store's last answer.");
		fprintf(out, "sluice_fleet_answer_age_seconds %.3f\n",
			now_ns > f->answered_ns ? (double)(now_ns - f->answered_ns) / 1e9 : 0);
	}
	family(out, "sluice_fleet_calls_total", "counter", "Calls to the store.");
	fprintf(out, "sluice_fleet_calls_total %" PRIu64 "\n", f->calls);
	family(out, "sluice_fleet_budgets_total", "counter",
	       "Budgets that were charged in the store, lowered by other hosts, or claimed or recovered after the store was away.");
	for (size_t i = 0; i < sizeof(budgets) / sizeof(budgets[0]); i++)
		fprintf(out, "sluice_fleet_budgets_total{result=\"%s\"} %" PRIu64 "\n",
			budgets[i].what, budgets[i].n);
	family(out, "sluice_fleet_lacked_total", "counter",
	       "Requests that were refused because this host had no grant, of budgets that had some left.");
	fprintf(out, "sluice_fleet_lacked_total %" PRIu64 "\n", f->lacked);
	family(out, "sluice_fleet_waiting_budgets", "gauge",
	       "Budgets that wait for the next call.");
	fprintf(out, "sluice_fleet_waiting_budgets %zu\n", f->waiting);
	family(out, "sluice_fleet_waiting_seconds", "gauge", "Since the first of them waits.");
	fprintf(out, "sluice_fleet_waiting_seconds %.3f\n", (double)f->waiting_ns / 1e9);
	family(out, "sluice_fleet_epoch_changes_total", "counter",
	       "Times that the store had lost its contents.");
	fprintf(out, "sluice_fleet_epoch_changes_total %" PRIu64 "\n", f->epochs);
}

/* In all, not by client: clients are many, and come and go. */
static void write_quota_use(FILE *out, const struct daemon_state *s)
{
	static const char *const budgets[] = {"requests", "tokens"};
	struct metrics_quota_use use[2];

	metrics_read_quota_use(s, &use[0], &use[1]);
	family(out, "sluice_quota_clients", "gauge",
	       "Clients with such a budget, of the 1000 seen last.");
	for (unsigned b = 0; b < 2; b++)
		fprintf(out, "sluice_quota_clients{budget=\"%s\"} %u\n", budgets[b],
			use[b].clients);
	family(out, "sluice_quota_spent_clients", "gauge", "Of those, with nothing left of it.");
	for (unsigned b = 0; b < 2; b++)
		fprintf(out, "sluice_quota_spent_clients{budget=\"%s\"} %u\n", budgets[b],
			use[b].spent);
	family(out, "sluice_quota_used_ratio", "gauge",
	       "The largest used part of a budget, of those; above 1: in debt.");
	for (unsigned b = 0; b < 2; b++)
		fprintf(out, "sluice_quota_used_ratio{budget=\"%s\"} %.6g\n", budgets[b],
			use[b].most);
}

void metrics_write_exposition(FILE *out, const struct daemon_state *s)
{
	write_requests(out, s);
	write_refusals(out, s);
	write_connections(out, s);
	write_histogram(out, s, SLUICE_LATENCY_TTFT, "sluice_time_to_first_token_seconds",
			"From a request's last byte to its response's first generated byte.");
	write_histogram(out, s, SLUICE_LATENCY_ITL, "sluice_inter_token_latency_seconds",
			"Between successive chunks of one streamed response.");
	write_histogram(
		out, s, SLUICE_LATENCY_DURATION, "sluice_request_duration_seconds",
		"From a request's last byte to the last one of a reply that is not streamed.");
	write_histogram(out, s, SLUICE_LATENCY_NORMALIZED, "sluice_normalized_latency_seconds",
			"That duration over the output tokens that the reply states.");
	write_output_tokens(out, s);
	write_targets(out, s);
	write_gauges(out, s);
	write_model_counters(out, s);
	family(out, "sluice_samples_lost_total", "counter",
	       "Latency samples that found their ring full.");
	fprintf(out, "sluice_samples_lost_total %" PRIu64 "\n",
		s->counters[SLUICE_COUNTER_SAMPLES_LOST]);
	write_maps(out, s);
	write_interfaces(out, s);
	write_troubles(out, s);
	if (metrics_any_quota(s))
		write_quota_use(out, s);
	if (s->fleet)
		write_fleet(out, s->fleet, s->now_ns);
	family(out, "sluice_events_total", "counter",
	       "What the kernel side counts that is no verdict on a request.");
	for (unsigned i = 0; i < SLUICE_COUNTER_COUNT; i++) {
		fputs("sluice_events_total{", out);
		label(out, "event", text_counter(i));
		fprintf(out, "} %" PRIu64 "\n", s->counters[i]);
	}
	family(out, "sluice_names_refused_total", "counter",
	       "Model names not learned: the table was full, or they were no names.");
	fprintf(out, "sluice_names_refused_total %" PRIu64 "\n", s->controller->names_refused);
	family(out, "sluice_accept_failures_total", "counter",
	       "Connections to the daemon that had to wait for a descriptor or memory.");
	fprintf(out, "sluice_accept_failures_total %" PRIu64 "\n", s->accept_failures);
	family(out, "sluice_enforcing", "gauge", "1 in mode enforce, 0 in mode shadow.");
	fprintf(out, "sluice_enforcing %d\n", s->mode == SLUICE_MODE_ENFORCE && !s->detaching);
	family(out, "sluice_draining", "gauge", "1 while new requests are refused for a drain.");
	fprintf(out, "sluice_draining %d\n", controller_drains(s->controller, s->now_ns));
	family(out, "sluice_build_info", "gauge", "Always 1; the version is in the label.");
	fputs("sluice_build_info{", out);
	label(out, "version", SLUICE_VERSION);
	fputs("} 1\n", out);
}
