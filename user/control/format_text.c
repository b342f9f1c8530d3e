/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Answers as text. A table collects its cells and is printed once every column's width is known; a
 * field that an older or newer daemon does not send is a dash, never a crash.
 */
#include "control/format_text.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sluice/admission.h>

#define COLUMNS 16
#define DASH    "-"

struct table {
	unsigned columns, rows;
	char **cells;      /* rows * columns texts */
	const char *align; /* a letter a column: l or r */
	unsigned width[COLUMNS];
};

/* Columns on a terminal that a UTF-8 text takes (wide characters taken for one). */
static unsigned width(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += (*text & 0xc0) != 0x80;
	return n;
}

static void row(struct table *t, ...)
{
	char **cells = realloc(t->cells, (t->rows + 1) * t->columns * sizeof(*cells));
	va_list args;

	if (!cells)
		abort();
	t->cells = cells;
	cells += t->rows++ * t->columns;
	va_start(args, t);
	for (unsigned i = 0; i < t->columns; i++) {
		cells[i] = strdup(va_arg(args, const char *));
		if (!cells[i])
			abort();
		if (width(cells[i]) > t->width[i])
			t->width[i] = width(cells[i]);
	}
	va_end(args);
}

static void print_table(FILE *out, struct table *t)
{
	for (unsigned r = 0; r < t->rows; r++) {
		for (unsigned i = 0; i < t->columns; i++) {
			char *cell = t->cells[r * t->columns + i];
			int pad = (int)(t->width[i] - width(cell));
			bool last = i + 1 == t->columns;

			fputs(i ? "  " : "", out);
			if (t->align[i] == 'r')
				fprintf(out, "%*s%s", pad, "", cell);
			else
				fprintf(out, "%s%*s", cell, last ? 0 : pad, "");
			free(cell);
		}
		fputc('\n', out);
	}
	free(t->cells);
}

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : DASH;
}

/* A number with this many decimals, a dash for null. Sixteen results may be in use at once. */
static const char *number(const json_t *object, const char *key, int decimals)
{
	static char ring[16][32];
	static unsigned next;
	const json_t *value = json_object_get(object, key);
	char *out = ring[next++ % 16];

	if (!json_is_number(value))
		return DASH;
	snprintf(out, sizeof(ring[0]), "%.*f", decimals, json_number_value(value));
	return out;
}

static json_int_t whole(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static bool is_open(const json_t *model)
{
	return !json_is_false(json_object_get(model, "open"));
}

/* "850 ms", "42 s", "10 min", "3 min 20 s", "5 h 12 min", "3 d 4 h" */
static const char *span(double ms)
{
	static const struct {
		long long s;
		const char *name;
	} units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
	static char ring[4][48];
	static unsigned next;
	char *out = ring[next++ % 4];
	long long s = (long long)(ms / 1000 + 0.5), rest;
	unsigned u = 0;

	if (ms < 1000) {
		snprintf(out, sizeof(ring[0]), "%.0f ms", ms);
		return out;
	}
	while (s < units[u].s)
		u++;
	rest = units[u].s > 1 ? s % units[u].s / units[u + 1].s : 0;
	if (rest)
		snprintf(out, sizeof(ring[0]), "%lld %s %lld %s", s / units[u].s, units[u].name,
			 rest, units[u + 1].name);
	else
		snprintf(out, sizeof(ring[0]), "%lld %s", s / units[u].s, units[u].name);
	return out;
}

static const char *clock_time(json_int_t unix_ms)
{
	static char ring[4][16];
	static unsigned next;
	char *out = ring[next++ % 4];
	time_t t = (time_t)(unix_ms / 1000);
	struct tm tm;

	localtime_r(&t, &tm);
	strftime(out, sizeof(ring[0]), "%H:%M:%S", &tm);
	return out;
}

/* Whether an average is what shuts a model: not under policy adaptive, where only one that stands
 * still is shut. */
static bool averages_shut(const json_t *model)
{
	const json_t *ema = json_object_get(model, "ttft_ema_ms");
	const json_t *threshold = json_object_get(model, "ttft_threshold_ms");

	if (json_is_object(json_object_get(model, "admission")))
		return false;
	return strcmp(text(model, "reason"), "ttft") || !json_is_number(ema) ||
	       json_number_value(ema) > json_number_value(threshold);
}

/* "ttft 1840 ms over 1000 ms": why a model is shut. */
static void why(FILE *out, const json_t *model)
{
	const char *reason = text(model, "reason");
	char ema[32], threshold[32];

	snprintf(ema, sizeof(ema), "%s_ema_ms", reason);
	snprintf(threshold, sizeof(threshold), "%s_threshold_ms", reason);
	if (!averages_shut(model))
		fprintf(out, "%s: what waits for a first token moves no more", reason);
	else if (json_is_number(json_object_get(model, ema)))
		fprintf(out, "%s %s ms over %s ms", reason, number(model, ema, 0),
			number(model, threshold, 0));
	else
		fputs(reason, out);
}

/* Says of a shut model: since when, until when. */
static void shut_line(FILE *out, const json_t *model, const char *name, json_int_t now_ms)
{
	const json_t *since = json_object_get(model, "changed_unix_ms");
	double retry_ms = json_number_value(json_object_get(model, "retry_after_ms"));

	fprintf(out, "SHUT: %s (", name);
	why(out, model);
	fputs(")", out);
	if (json_is_integer(since))
		fprintf(out, " since %s (%s)", clock_time(json_integer_value(since)),
			span((double)(now_ms - json_integer_value(since))));
	if (averages_shut(model))
		fprintf(out, ", opens about %s (in %s) if nothing more arrives\n",
			clock_time(now_ms + (json_int_t)retry_ms), span(retry_ms));
	else
		fputs(", opens with the next first token\n", out);
}

/* "800", or "800 + 0.2/KiB". Two results may be in use at once. */
static const char *ttft_target(const json_t *model)
{
	static char ring[2][64];
	static unsigned next;
	const json_t *growth = json_object_get(model, "ttft_threshold_ms_per_kib");
	char *out = ring[next++ % 2];

	if (!json_is_number(growth))
		return number(model, "ttft_threshold_ms", 0);
	snprintf(out, sizeof(ring[0]), "%s + %.4g/KiB", number(model, "ttft_threshold_ms", 0),
		 json_number_value(growth));
	return out;
}

static void model_row(struct table *t, const json_t *model, const char *name)
{
	row(t, name, is_open(model) ? "open" : "SHUT", number(model, "ttft_ema_ms", 1),
	    ttft_target(model), number(model, "itl_ema_ms", 1),
	    number(model, "itl_threshold_ms", 0), number(model, "in_flight", 0),
	    number(model, "waiting", 0), number(model, "limit", 0),
	    number(model, "ttft_samples", 0), number(model, "itl_samples", 0));
}

static void print_models(FILE *out, const json_t *answer)
{
	struct table t = {.columns = 11, .align = "llrrrrrrrrr"};
	const json_t *list = json_object_get(answer, "models"), *model;
	size_t i;

	row(&t, "MODEL", "GATE", "TTFT ms", "TARGET ms", "ITL ms", "TARGET ms", "IN FLIGHT",
	    "WAITING", "LIMIT", "TTFT SAMPLES", "ITL SAMPLES");
	json_array_foreach(list, i, model) model_row(&t, model, text(model, "name"));
	if (json_object_get(answer, "global"))
		model_row(&t, json_object_get(answer, "global"), "(all together)");
	print_table(out, &t);
	if (!json_array_size(list))
		fputs("No model has answered a request yet.\n", out);
}

void format_models(FILE *out, const json_t *models)
{
	print_models(out, models);
}

static bool has_target(const json_t *model)
{
	return json_is_number(json_object_get(model, "ttft_threshold_ms")) ||
	       json_is_number(json_object_get(model, "itl_threshold_ms")) ||
	       json_is_number(json_object_get(model, "limit"));
}

static bool any_target(const json_t *models)
{
	const json_t *model;
	size_t i;

	json_array_foreach(models, i, model) if (has_target(model)) return true;
	return false;
}

static void headline(FILE *out, const json_t *status)
{
	const json_t *list = json_object_get(status, "models"), *model;
	const json_t *all = json_object_get(status, "global");
	json_int_t now_ms = whole(status, "now_unix_ms");
	unsigned shut = 0;
	size_t i;

	fprintf(out, "%s, policy %s: ",
		json_is_true(json_object_get(status, "detaching")) ? "detaching"
								   : text(status, "mode"),
		text(status, "policy"));
	json_array_foreach(list, i, model) shut += !is_open(model);
	if (all && !is_open(all)) {
		shut_line(out, all, "everything", now_ms);
	} else if (!shut) {
		fputs(has_target(all) || any_target(list)
			      ? "everything is open\n"
			      : "everything is open (no target is set: latency is only observed)\n",
		      out);
	} else {
		bool first = true;

		if (shut > 1)
			fprintf(out, "%u of %zu models are shut\n", shut, json_array_size(list));
		json_array_foreach(list, i, model) if (!is_open(model))
		{
			fputs(shut > 1 || !first ? "  " : "", out);
			shut_line(out, model, text(model, "name"), now_ms);
			first = false;
		}
	}
}

static void endpoint(const json_t *service, char *out, size_t len)
{
	const char *address = text(service, "address");

	snprintf(out, len,
		 strchr(address, ':') ? "[%s]:%" JSON_INTEGER_FORMAT : "%s:%" JSON_INTEGER_FORMAT,
		 address, whole(service, "port"));
}

static void print_services(FILE *out, const json_t *list, bool counts)
{
	struct table t = {.columns = counts ? 8 : 5, .align = "lllllrrr"};
	const json_t *one;
	size_t i;

	row(&t, "SERVICE", "PROTOCOL", "ACTION", "MODE", "DEFAULT MODEL", "ADMITTED", "REJECTED",
	    "SHADOW REJECTED");
	json_array_foreach(list, i, one)
	{
		char where[96];

		endpoint(one, where, sizeof(where));
		row(&t, where, text(one, "protocol"), text(one, "action"), text(one, "mode"),
		    text(one, "default_model"), number(one, "admitted", 0),
		    number(one, "rejected", 0), number(one, "shadow_rejected", 0));
	}
	print_table(out, &t);
}

/* "authorization, address (IPv4 /24, IPv6 /64), trusted proxies 10.0.0.0/8" */
static void print_identity(FILE *out, const json_t *service)
{
	const json_t *trusted = json_object_get(service, "trusted_proxies"), *one;
	size_t i;

	json_array_foreach(json_object_get(service, "identity"), i, one)
		fprintf(out, "%s%s", i ? ", " : "", json_string_value(one));
	fprintf(out, " (IPv4 /%s, IPv6 /%s)", number(service, "client_prefix_v4", 0),
		number(service, "client_prefix_v6", 0));
	if (json_is_true(json_object_get(service, "proxy_protocol")))
		fputs(", PROXY header", out);
	json_array_foreach(trusted, i, one)
		fprintf(out, "%s%s", i ? ", " : "; trusted proxies ", json_string_value(one));
	fputc('\n', out);
}

void format_services(FILE *out, const json_t *services)
{
	const json_t *list = json_object_get(services, "services"), *one;
	size_t i, said = 0;

	print_services(out, list, true);
	json_array_foreach(list, i, one)
	{
		char where[96];

		if (!json_array_size(json_object_get(one, "identity")))
			continue;
		endpoint(one, where, sizeof(where));
		fprintf(out, "%s%s: clients are ", said++ ? "" : "\n", where);
		print_identity(out, one);
	}
}

static void print_counts(FILE *out, const json_t *status)
{
	const json_t *requests = json_object_get(status, "requests"), *n;
	const json_t *connections = json_object_get(status, "connections");
	const char *key, *sep = " (";

	fprintf(out, "requests     %s admitted, %s rejected", number(requests, "admitted", 0),
		number(requests, "rejected", 0));
	json_object_foreach((json_t *)json_object_get(status, "rejected_by_reason"), key,
			    n) if (json_integer_value(n) > 0)
	{
		fprintf(out, "%s%s %" JSON_INTEGER_FORMAT, sep, key, json_integer_value(n));
		sep = ", ";
	}
	if (sep[0] == ',')
		fputc(')', out);
	if (whole(requests, "shadow_rejected"))
		fprintf(out, ", %s would have been (shadow)",
			number(requests, "shadow_rejected", 0));
	fprintf(out, "\nconnections  %s reset, %s dropped at their SYN\n",
		number(connections, "reset", 0), number(connections, "dropped", 0));
}

/* What an operator should know of but did not ask for: losses, doubts, full maps. */
static void print_warnings(FILE *out, const json_t *status)
{
	static const struct {
		const char *counter, *means;
	} rows[] = {
		{"passed-lease", "passed although refused: the lease had run out"},
		{"passed-framing-error", "connections passed unjudged: their framing was lost"},
		{"headers-unread",
		 "packets passed unread: more IPv6 extension headers than are walked"},
		{"passed-no-room", "refusals that became a reset: their text was missing"},
		{"conns-full", "connections passed unjudged: the map conns was full"},
		{"tombstones-full", "refusals that became a reset: the map tombstones was full"},
		{"unseen-responses",
		 "connections unjudged: the server's packets leave by an interface that sluice is not attached to"},
		{"unseen-requests",
		 "connections unjudged: clients come by an interface that sluice is not attached to"},
		{"budgets-lost", "charges lost: the map client_state had no room"},
		{"feedback-absent", "answers whose Date could not carry what is left"},
		{"counts-full", "requests not counted: the map request_counts was full"},
		{"budgets-lost", "charges not made: the map client_state had no room"},
		{"samples-lost", "latency samples lost: their ring was full"},
		{"verdicts-lost", "refusals not shown by `watch` (all are counted)"},
		{"replies-lost", "refusals that became a reset: bytes in flight were lost"},
	};
	const json_t *counters = json_object_get(status, "counters"), *map;
	const char *name;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (whole(counters, rows[i].counter))
			fprintf(out, "note: %" JSON_INTEGER_FORMAT " %s\n",
				whole(counters, rows[i].counter), rows[i].means);
	if (whole(status, "names_refused"))
		fprintf(out,
			"note: %" JSON_INTEGER_FORMAT
			" samples of names not learned (table full, or reserved)\n",
			whole(status, "names_refused"));
	json_object_foreach((json_t *)json_object_get(status, "maps"), name,
			    map) if (whole(map, "entries") * 10 >= whole(map, "max") * 9 &&
				     whole(map, "max") > 1)
		fprintf(out,
			"note: map %s is at %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT
			" entries\n",
			name, whole(map, "entries"), whole(map, "max"));
}

void format_status(FILE *out, const json_t *status)
{
	const json_t *one;
	size_t i;

	headline(out, status);
	fputc('\n', out);
	print_models(out, status);
	fputc('\n', out);
	print_counts(out, status);
	fputc('\n', out);
	print_services(out, json_object_get(status, "services"), false);
	fputs("\ninterfaces   ", out);
	json_array_foreach(json_object_get(status, "interfaces"), i, one)
		fprintf(out, "%s%s (xdp %s, %s)", i ? ", " : "", text(one, "name"),
			text(one, "xdp"), text(one, "tc_kind"));
	fprintf(out, "\ndaemon       %s, pid %s, up %s, lease %s ms\n", text(status, "version"),
		number(status, "pid", 0), span((double)whole(status, "uptime_ms")),
		number(status, "lease_ms", 0));
	print_warnings(out, status);
}

/* When a client's next request passes its quota. */
static const char *next_time(const json_t *client)
{
	const json_t *ms = json_object_get(client, "next_ms");

	return !json_is_integer(ms)     ? DASH
	       : json_integer_value(ms) ? span((double)json_integer_value(ms))
					: "now";
}

/* "requests  3 of 20 left, full again in 12 s" */
static void budget_line(FILE *out, const json_t *quota, const char *what)
{
	const json_t *b = json_object_get(quota, what);

	if (!json_is_object(b))
		return;
	fprintf(out, "             %s: %s of %s left", what, number(b, "remaining", 0),
		number(b, "limit", 0));
	if (whole(b, "debt"))
		fprintf(out, ", %s in debt", number(b, "debt", 0));
	if (whole(b, "next_ms"))
		fprintf(out, ", the next in %s", span((double)whole(b, "next_ms")));
	if (whole(b, "reset_ms"))
		fprintf(out, ", full again in %s", span((double)whole(b, "reset_ms")));
	fputc('\n', out);
}

/* "0.5"; "1" where nothing is said of it. */
static const char *weight_of(const json_t *object)
{
	const json_t *value = json_object_get(object, "weight");
	static char ring[4][32];
	static unsigned next;
	char *out = ring[next++ % 4];

	snprintf(out, sizeof(ring[0]), "%.10g",
		 json_is_number(value) ? json_number_value(value) : 1);
	return out;
}

static void explain_model(FILE *out, const char *label, const json_t *m)
{
	fprintf(out, "%-13s%s in flight", label, number(m, "in_flight", 0));
	if (json_is_number(json_object_get(m, "limit")))
		fprintf(out, " of %s", number(m, "limit", 0));
	fprintf(out, ", %s waiting; %s", number(m, "waiting", 0), is_open(m) ? "open" : "SHUT");
	fprintf(out, ": ttft %s ms (target %s), itl %s ms (target %s)\n",
		number(m, "ttft_ema_ms", 1), ttft_target(m), number(m, "itl_ema_ms", 1),
		number(m, "itl_threshold_ms", 0));
}

/* The request before the law of policy adaptive, with the numbers that decide. */
static void explain_admission(FILE *out, const json_t *e)
{
	const json_t *pool = json_object_get(e, "admission");
	double level = json_number_value(json_object_get(pool, "level"));
	double queue_budget = json_number_value(json_object_get(pool, "queue_budget_level"));

	fprintf(out, "class        %s (%s), rank %s of 0 to 7", text(e, "class"),
		!strcmp(text(e, "class_from"), "default")  ? "nothing is said of it"
		: !strcmp(text(e, "class_from"), "header") ? "by its header"
		: !strcmp(text(e, "class_from"), "key")    ? "of its key"
							   : "of its prefix",
		number(e, "rank", 0));
	if (!json_is_object(pool)) {
		fputc('\n', out);
		return;
	}
	if (level < 1 || level > 1 || queue_budget < 1)
		fprintf(out, ": has %.0f %% of the places and %.0f %% of the room", 100 * level,
			100 * queue_budget);
	fputc('\n', out);
	if (strcmp(text(pool, "pool"), text(e, "model")))
		fprintf(out, "law          that of %s\n", text(pool, "pool"));
	fprintf(out, "places       %s in flight", number(pool, "in_flight", 0));
	if (json_is_number(json_object_get(pool, "ceiling"))) {
		fprintf(out, " of %s", number(pool, "ceiling", 0));
		if (level < 1 || level > 1)
			fprintf(out, ", %s for this rank", number(pool, "slots", 0));
	}
	fprintf(out, "; below %s all are admitted%s\n", number(pool, "floor", 0),
		json_is_true(json_object_get(pool, "stopped"))
			? ", above none: nothing that waits moves"
			: "");
	fprintf(out, "wait         %s waiting with %s bytes; a request of %s bytes ",
		number(pool, "waiting", 0), number(pool, "waiting_bytes", 0),
		number(pool, "request_bytes", 0));
	if (json_is_number(json_object_get(pool, "predicted_wait_ms")))
		fprintf(out, "is expected to wait %s ms, and may %s ms (target %s ms)\n",
			number(pool, "predicted_wait_ms", 0), number(pool, "allowed_wait_ms", 0),
			number(pool, "target_ms", 0));
	else
		fputs("waits for what nobody knows yet: too few first tokens were seen\n", out);
	fprintf(out, "share        %s in flight of the client",
		number(pool, "client_in_flight", 0));
	if (json_is_number(json_object_get(pool, "client_share")))
		fprintf(out,
			", of %s places that are its share, and %s requests ahead of it, of %d: %s\n",
			number(pool, "client_share", 1), number(pool, "client_excess", 1),
			ADMISSION_TOLERANCE,
			json_is_true(json_object_get(pool, "above_share"))
				? "above it, and so behind those within theirs"
				: "within it");
	else
		fputs("; it has the places for itself\n", out);
}

static void explain_one(FILE *out, const json_t *e)
{
	const json_t *quota = json_object_get(e, "quota"), *rule = json_object_get(e, "rule");
	const char *verdict = text(e, "verdict");

	fprintf(out, "%s, model %s, service %s: the next request ", text(e, "client"),
		text(e, "model"), text(e, "service"));
	if (!strcmp(verdict, "admitted"))
		fputs("is admitted\n", out);
	else
		fprintf(out, "%s: %s, %s, retry after %s\n",
			!strcmp(verdict, "rejected") ? "is REFUSED"
						     : "would be refused (shadow: it passes)",
			text(e, "reason"), text(e, "action"),
			span((double)whole(e, "retry_after_ms")));
	if (json_object_get(e, "note"))
		fprintf(out, "             %s\n", text(e, "note"));
	fputs("rule         ", out);
	if (json_is_object(rule))
		fprintf(out, "%s, of %s, %s%s\n", text(rule, "verdict"),
			!strcmp(text(rule, "kind"), "prefix") ? "its prefix" : "the client",
			json_is_integer(json_object_get(rule, "expires_in_ms")) ? "for another "
										: "without end",
			json_is_integer(json_object_get(rule, "expires_in_ms"))
				? span((double)whole(rule, "expires_in_ms"))
				: "");
	else
		fputs("none\n", out);
	if (json_is_object(quota)) {
		fprintf(out, "quota        %s (of its %s, %s)\n", text(quota, "quota"),
			text(quota, "from"),
			!strcmp(text(quota, "by"), "hand") ? "set by hand"
							   : "from the configuration");
		if (json_is_string(json_object_get(quota, "weight_of")))
			fprintf(out,
				"             which is %s times %s: the weight of its prefix\n",
				weight_of(e), text(quota, "weight_of"));
		budget_line(out, quota, "requests");
		budget_line(out, quota, "tokens");
	} else {
		fputs("quota        none\n", out);
	}
	explain_model(out, "model", json_object_get(e, "model_now"));
	explain_model(out, "all models", json_object_get(e, "global_now"));
	explain_admission(out, e);
	fprintf(out, "client       %s in flight", number(e, "client_in_flight", 0));
	if (strcmp(weight_of(e), "1"))
		fprintf(out, ", weight %s", weight_of(e));
	fputc('\n', out);
	if (json_array_size(json_object_get(e, "identity"))) {
		fputs("identity     ", out);
		print_identity(out, e);
	}
}

void format_explain(FILE *out, const json_t *e)
{
	const json_t *services = json_object_get(e, "services"), *one;
	size_t i;

	if (!json_array_size(services)) {
		explain_one(out, e);
		return;
	}
	json_array_foreach(services, i, one)
	{
		fputs(i ? "\n" : "", out);
		explain_one(out, one);
	}
}

void format_quotas(FILE *out, const json_t *answer)
{
	struct table t = {.columns = 5, .align = "lllll"};
	const json_t *list = json_object_get(answer, "quotas"), *one;
	const json_t *weights = json_object_get(answer, "weights");
	size_t i;

	row(&t, "QUOTA OF", "KIND", "MODEL", "QUOTA", "BY");
	json_array_foreach(list, i, one)
	{
		const char *kind = text(one, "kind");

		row(&t,
		    !strcmp(kind, "service") ? text(one, "service")
		    : !strcmp(kind, "model") ? "each client"
					     : text(one, "client"),
		    !strcmp(kind, "service") ? "each client of the service" : kind,
		    json_is_string(json_object_get(one, "model")) ? text(one, "model") : "all",
		    text(one, "quota"), text(one, "by"));
	}
	json_array_foreach(weights, i, one)
	{
		char words[32];

		snprintf(words, sizeof(words), "weight=%s", weight_of(one));
		row(&t, text(one, "client"), "prefix", "all", words, text(one, "by"));
	}
	if (t.rows > 1)
		print_table(out, &t);
	else {
		for (unsigned k = 0; k < t.rows * t.columns; k++)
			free(t.cells[k]);
		free(t.cells);
		fputs("No quota is set.\n", out);
	}
	if (whole(answer, "clients_with_quota") > (json_int_t)json_array_size(list))
		fprintf(out, "… of %" JSON_INTEGER_FORMAT " clients and prefixes with a quota\n",
			whole(answer, "clients_with_quota"));
}

/* "ttft 18, request-quota 2; shadow: itl 6" */
static const char *reasons(const json_t *client, char *buf, size_t len)
{
	static const char *const keys[] = {"rejected_by_reason", "shadow_rejected_by_reason"};
	const char *name;
	size_t at = 0;
	json_t *n;

	for (unsigned k = 0; k < 2; k++) {
		const char *sep = !k ? "" : at ? "; shadow: " : "shadow: ";

		json_object_foreach(json_object_get(client, keys[k]), name, n)
		{
			if (json_integer_value(n) <= 0 || at >= len)
				continue;
			at += (size_t)snprintf(buf + at, len - at, "%s%s %" JSON_INTEGER_FORMAT,
					       sep, name, json_integer_value(n));
			sep = ", ";
		}
	}
	return at ? buf : DASH;
}

/* "block", "allow, weight 2" */
static const char *standing(const json_t *client, char *buf, size_t len)
{
	const char *rule = text(client, "rule"), *weight = weight_of(client);

	if (!strcmp(weight, "1"))
		return rule;
	if (!strcmp(rule, DASH))
		snprintf(buf, len, "weight %s", weight);
	else
		snprintf(buf, len, "%s, weight %s", rule, weight);
	return buf;
}

void format_clients(FILE *out, const json_t *clients)
{
	struct table seen = {.columns = 11, .align = "lrrrrrrrlll"};
	struct table rules = {.columns = 5, .align = "lllll"};
	const json_t *list = json_object_get(clients, "clients");
	const json_t *said = json_object_get(clients, "rules"), *one;
	size_t i;

	row(&seen, "CLIENT", "ADMITTED", "REJECTED", "IN FLIGHT", "REQUESTS LEFT", "TOKENS LEFT",
	    "NEXT", "LAST SEEN", "REASONS", "LAST MODEL", "RULE");
	json_array_foreach(list, i, one)
	{
		char ago[64] = DASH, why[400], rule[64];

		if (json_is_integer(json_object_get(one, "last_seen_ms_ago")))
			snprintf(ago, sizeof(ago), "%s ago",
				 span((double)whole(one, "last_seen_ms_ago")));
		row(&seen, text(one, "client"), number(one, "admitted", 0),
		    number(one, "rejected", 0), number(one, "in_flight", 0),
		    number(one, "requests_left", 0), number(one, "tokens_left", 0), next_time(one),
		    ago, reasons(one, why, sizeof(why)), text(one, "last_model"),
		    standing(one, rule, sizeof(rule)));
	}
	print_table(out, &seen);
	if (!json_array_size(list))
		fputs("No client has sent a request yet.\n", out);
	else if (whole(clients, "clients_known") > (json_int_t)json_array_size(list))
		fprintf(out, "… the %zu last seen of %" JSON_INTEGER_FORMAT " known\n",
			json_array_size(list), whole(clients, "clients_known"));
	if (!json_array_size(said))
		return;
	fputc('\n', out);
	row(&rules, "RULE FOR", "KIND", "SAYS", "MODEL", "ENDS IN");
	json_array_foreach(said, i, one)
		row(&rules, text(one, "client"), text(one, "kind"), text(one, "verdict"),
		    json_is_string(json_object_get(one, "model")) ? text(one, "model") : "all",
		    json_is_integer(json_object_get(one, "expires_in_ms"))
			    ? span((double)whole(one, "expires_in_ms"))
			    : "never");
	print_table(out, &rules);
}

void format_event(FILE *out, const json_t *event)
{
	const char *kind = text(event, "event");

	if (!strcmp(kind, "refusal")) {
		const char *verdict = text(event, "verdict");
		bool named = json_is_string(json_object_get(event, "model"));

		fprintf(out, "%s  %s  %s", clock_time(whole(event, "unix_ms")),
			!strcmp(verdict, "rejected") ? "rejected" : "would reject (shadow)",
			text(event, "client"));
		fprintf(out,
			json_is_true(json_object_get(event, "connection")) ? "  connection to %s"
									   : "  request to %s",
			text(event, "service"));
		if (named)
			fprintf(out, " for %s", text(event, "model"));
		fprintf(out, ": %s, %s", text(event, "reason"), text(event, "action"));
		if (whole(event, "retry_after_ms"))
			fprintf(out, ", retry after %s",
				span((double)whole(event, "retry_after_ms")));
		fputc('\n', out);
	} else if (!strcmp(kind, "model")) {
		fprintf(out, "%s  model %s ", clock_time(whole(event, "unix_ms")),
			text(event, "name"));
		if (is_open(event)) {
			fputs("opened\n", out);
			return;
		}
		fputs("shut: ", out);
		why(out, event);
		if (averages_shut(event))
			fprintf(out, ", opens in about %s if nothing more arrives\n",
				span(json_number_value(json_object_get(event, "retry_after_ms"))));
		else
			fputs(", opens with the next first token\n", out);
	}
}

static void target(FILE *out, const json_t *model, const char *name, const char *key,
		   const char *unit)
{
	const char *value = number(model, key, 3);
	size_t len = strlen(value);

	if (!strcmp(value, DASH)) {
		fprintf(out, ", %s none", name);
		return;
	}
	while (len && value[len - 1] == '0')
		len--;
	len -= len && value[len - 1] == '.';
	fprintf(out, ", %s %.*s%s", name, (int)len, value, unit);
}

/* "llama: open, ttft 800 ms, itl none, …": what holds now. */
void format_set(FILE *out, const json_t *answer)
{
	const json_t *model = json_object_get(answer, "model");
	bool all = !json_is_object(model);

	if (all)
		model = json_object_get(answer, "global");
	fprintf(out, "%s: %s", all ? "all models" : text(model, "name"),
		is_open(model) ? "open" : "SHUT");
	target(out, model, "ttft", "ttft_threshold_ms", " ms");
	if (json_is_number(json_object_get(model, "ttft_threshold_ms_per_kib")))
		fprintf(out, " + %.4g ms/KiB",
			json_number_value(json_object_get(model, "ttft_threshold_ms_per_kib")));
	target(out, model, "itl", "itl_threshold_ms", " ms");
	target(out, model, "tau", "time_constant_secs", " s");
	target(out, model, "max-in-flight", "max_in_flight", "");
	if (json_is_number(json_object_get(model, "floor")))
		target(out, model, "floor", "floor", "");
	if (strcmp(text(model, "action"), "default"))
		fprintf(out, ", action %s", text(model, "action"));
	if (strcmp(text(model, "mode"), "default"))
		fprintf(out, ", mode %s", text(model, "mode"));
	if (all)
		fprintf(out, ", policy %s", text(answer, "policy"));
	fputc('\n', out);
}

void format_done(FILE *out, const json_t *answer)
{
	const json_t *model = json_object_get(answer, "model");
	const json_t *for_ms = json_object_get(answer, "for_ms");

	if (json_object_get(answer, "client")) {
		fprintf(out, "%s %s", text(answer, "did"), text(answer, "client"));
		if (json_object_get(answer, "quota"))
			fprintf(out, " to %s", text(answer, "quota"));
		if (json_object_get(answer, "weight"))
			fprintf(out, "%sweight=%s", json_object_get(answer, "quota") ? " " : " to ",
				weight_of(answer));
		if (json_is_string(model))
			fprintf(out, " for model %s", json_string_value(model));
		if (json_is_number(for_ms))
			fprintf(out, ", for %s", span(json_number_value(for_ms)));
		if (json_object_get(answer, "note"))
			fprintf(out, " (%s)", text(answer, "note"));
	} else {
		fputs(text(answer, "did"), out);
	}
	fputc('\n', out);
}
