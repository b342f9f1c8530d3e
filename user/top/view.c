/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Rows of the screen; view.h says what for. What matters most has its place at 80 columns: wider
 * screens get longer plots and names, and more columns.
 */
#include "top/view.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/format_internal.h"
#include "control/format_text.h"
#include "core/columns.h"
#include "top/text.h"

#define NAME_MIN  8
#define NAME_WIDE 30

const char *const view_model_orders[MODEL_ORDERS] = {
	[MODELS_LISTED] = "as listed",
	[MODELS_IN_FLIGHT] = "in flight",
	[MODELS_TTFT] = "TTFT/target",
	[MODELS_ITL] = "ITL/target",
};

static void add(struct rows *rows, const struct view *v, enum row_style style, const char *text)
{
	char cell[VIEW_ROW_MAX];
	struct row *more = realloc(rows->row, (rows->count + 1) * sizeof(*more));

	if (!more)
		abort();
	rows->row = more;
	text_cell(cell, sizeof(cell), text, v->columns, false);
	more += rows->count++;
	more->style = style;
	more->text = strdup(cell);
	if (!more->text)
		abort();
}

void view_free(struct rows *rows)
{
	for (unsigned i = 0; i < rows->count; i++)
		free(rows->row[i].text);
	free(rows->row);
	*rows = (struct rows){0};
}

/* Adds a text in as many rows as it needs, each but the first indented. */
static void add_wrapped(struct rows *rows, const struct view *v, enum row_style style,
			const char *text, unsigned indent)
{
	char *wrapped = NULL, *save = NULL;
	size_t size;
	FILE *out = open_memstream(&wrapped, &size);

	if (!out)
		abort();
	format_wrap(out, text, v->columns, indent);
	if (fclose(out))
		abort();
	for (char *row = strtok_r(wrapped, "\n", &save); row; row = strtok_r(NULL, "\n", &save))
		add(rows, v, style, row);
	free(wrapped);
}

static bool contains(const struct view *v, const char *name)
{
	return !*v->filter || strcasestr(name, v->filter);
}

__attribute__((format(printf, 3, 4))) static void extend(char *out, size_t size, const char *format,
							 ...)
{
	size_t at = strlen(out);
	va_list args;

	va_start(args, format);
	vsnprintf(out + at, size - at, format, args);
	va_end(args);
}

/* "8.1", "123", or "-" if it is not known. */
static const char *rate_text(double rate, char out[16])
{
	if (rate < 0)
		return DASH;
	snprintf(out, 16, rate < 9.95 ? "%.1f" : rate < 1e9 ? "%.0f" : "%.1e", rate);
	return out;
}

/* A whole number in nine columns. */
static const char *count_text(const json_t *object, const char *key, char out[16])
{
	const json_t *value = json_object_get(object, key);
	double n = json_number_value(value);

	if (!json_is_number(value))
		return DASH;
	snprintf(out, 16, fabs(n) < 1e8 ? "%.0f" : "%.2e", n);
	return out;
}

/* "refused 12.0/s: ttft 8.0, request-quota 4.0" */
static void refusals(struct rows *rows, const struct view *v, const char *label,
		     enum top_total reasons, const char *key)
{
	const json_t *status = v->data->status;
	const char *object =
		reasons == TOP_REJECTED ? "rejected_by_reason" : "shadow_rejected_by_reason";
	const char *reason, *sep = ": ";
	char text[VIEW_ROW_MAX] = "", r[16];
	json_t *n;

	extend(text, sizeof(text), "%-12s %s/s", label,
	       rate_text(top_rate(v->data, TOP_REQUESTS, key), r));
	json_object_foreach(json_object_get(status, object), reason, n)
	{
		double rate = top_rate(v->data, reasons, reason);

		if (rate <= 0)
			continue;
		extend(text, sizeof(text), "%s%s %s", sep, reason, rate_text(rate, r));
		sep = ", ";
	}
	extend(text, sizeof(text), " (%s in all)",
	       field_number(json_object_get(status, "requests"), key, 0));
	add_wrapped(rows, v, ROW_PLAIN, text, 13);
}

/* "high 3.2/s, normal 0.0/s, …" of the row above. which: 0 admitted, 1 rejected. */
static void classes(struct rows *rows, const struct view *v, unsigned which)
{
	static const char *const names[] = {"high", "normal", "low", "lowest"};
	char text[256] = "", r[16];

	if (!json_is_object(json_object_get(v->data->status, "admitted_by_class")))
		return;
	extend(text, sizeof(text), "%-12s ", "  by class");
	for (unsigned i = 0; i < 4; i++)
		extend(text, sizeof(text), "%s%s %s/s", i ? ", " : "", names[i],
		       rate_text(top_class_rate(v->data, names[i], which), r));
	add(rows, v, ROW_PLAIN, text);
}

static void connections(struct rows *rows, const struct view *v)
{
	const json_t *c = json_object_get(v->data->status, "connections");
	char text[256] = "", reset[16], dropped[16];

	if (!field_whole(c, "reset") && !field_whole(c, "dropped"))
		return;
	extend(text, sizeof(text), "%-12s %s/s reset, %s/s dropped (%s and %s in all)",
	       "connections", rate_text(top_rate(v->data, TOP_CONNECTIONS, "reset"), reset),
	       rate_text(top_rate(v->data, TOP_CONNECTIONS, "dropped"), dropped),
	       field_number(c, "reset", 0), field_number(c, "dropped", 0));
	add_wrapped(rows, v, ROW_PLAIN, text, 13);
}

/* The sentences of `sluicectl status` about the state, and its troubles. */
static void sentences(struct rows *rows, const struct view *v)
{
	char *text = NULL, *save = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		abort();
	format_headline(out, v->data->status);
	if (fclose(out))
		abort();
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		bool alert = strstr(line, "SHUT: ") || strstr(line, "DRAINING: ") ||
			     strstr(line, "TROUBLE: ");

		add_wrapped(rows, v, alert ? ROW_ALERT : ROW_PLAIN, line + strspn(line, " "), 2);
	}
	free(text);
}

void view_state(const struct view *v, struct rows *out)
{
	const json_t *status = v->data->status;
	char text[VIEW_ROW_MAX] = "", r[16];

	view_free(out);
	if (v->data->problem[0])
		add_wrapped(out, v, ROW_ALERT, v->data->problem, 2);
	if (!status)
		return;
	sentences(out, v);
	extend(text, sizeof(text), "%-12s %s/s (%s in all), %s in flight, at %s, up %s", "admitted",
	       rate_text(top_rate(v->data, TOP_REQUESTS, "admitted"), r),
	       field_number(json_object_get(status, "requests"), "admitted", 0),
	       field_number(json_object_get(status, "global"), "in_flight", 0),
	       format_clock(field_whole(status, "now_unix_ms")),
	       format_span((double)field_whole(status, "uptime_ms")));
	add_wrapped(out, v, ROW_PLAIN, text, 13);
	classes(out, v, 0);
	refusals(out, v, "refused", TOP_REJECTED, "rejected");
	classes(out, v, 1);
	if (field_whole(json_object_get(status, "requests"), "shadow_rejected"))
		refusals(out, v, "shadow", TOP_SHADOW_REJECTED, "shadow_rejected");
	connections(out, v);
}

/* "412/800 ms", "12.3/1 s", "21.7 ms": an average and its target. */
static void against(const json_t *model, const char *ema, const char *target, bool grows,
		    char out[32])
{
	const json_t *a = json_object_get(model, ema), *t = json_object_get(model, target);
	double value = json_number_value(a), goal = json_number_value(t);
	bool seconds = value >= 9999.5 || goal >= 9999.5;
	double unit = seconds ? 1000 : 1;

	out[0] = 0;
	if (!json_is_number(a))
		extend(out, 32, DASH);
	else
		extend(out, 32, value / unit < 99.95 ? "%.1f" : "%.0f", value / unit);
	if (json_is_number(t))
		extend(out, 32, "/%.4g%s", goal / unit, grows ? "+" : "");
	if (strcmp(out, DASH))
		extend(out, 32, seconds ? " s" : " ms");
}

/* Widths of a model's columns. The name has what the longest one needs, and the plots the rest; a
 * longer name is cut before they become too short to show anything. */
struct model_columns {
	unsigned name, plot;
	bool waiting;
};

#define PLOT_MIN  6
#define PLOT_MAX  60
#define TOGETHER  "(all together)"
#define GATE      4
#define IN_FLIGHT 9
#define WAITING   7
#define TTFT      13
#define ITL       11

static struct model_columns model_columns(const struct view *v)
{
	struct model_columns c = {.waiting = v->columns >= 100, .name = columns_of(TOGETHER)};
	unsigned fixed = GATE + IN_FLIGHT + TTFT + ITL + 4 * 2 + 2 + (c.waiting ? WAITING + 2 : 0);
	unsigned left = v->columns > fixed + NAME_MIN ? v->columns - fixed : NAME_MIN;
	const json_t *model;
	unsigned most;
	size_t i;

	json_array_foreach(json_object_get(v->data->status, "models"), i, model)
	{
		unsigned columns = columns_of(field_text(model, "name"));

		if (columns > c.name)
			c.name = columns;
	}
	if (left < NAME_MIN + 2 * PLOT_MIN) {
		c.name = left;
		return c;
	}
	most = left - 2 * PLOT_MIN;
	if (most > NAME_WIDE) /* then the plots have as much */
		most = left / 2 > NAME_WIDE ? left / 2 : NAME_WIDE;
	if (c.name > most)
		c.name = most;
	c.plot = (left - c.name) / 2;
	if (c.plot > PLOT_MAX)
		c.plot = PLOT_MAX;
	return c;
}

/* One row of text from its cells; the plots are as wide as they are. */
static void model_line(const struct model_columns *c, char out[VIEW_ROW_MAX],
		       const char *const t[8])
{
	const unsigned widths[8] = {c->name, GATE,    IN_FLIGHT, c->waiting ? WAITING : 0,
				    TTFT,    c->plot, ITL,       c->plot};
	char cell[VIEW_ROW_MAX];

	out[0] = 0;
	for (unsigned i = 0; i < 8; i++) {
		bool plot = i == 5 || i == 7;

		if (!widths[i])
			continue;
		text_cell(cell, sizeof(cell), t[i], widths[i], i > 1 && !plot);
		extend(out, VIEW_ROW_MAX, "%s%s", !i ? "" : plot ? " " : "  ", cell);
	}
}

static void model_row(const struct view *v, const struct model_columns *c, const json_t *model,
		      size_t i, const char *name, struct rows *out)
{
	const struct history *h = &v->data->histories[i];
	const json_t *target = json_object_get(model, "ttft_threshold_ms");
	const json_t *itl_target = json_object_get(model, "itl_threshold_ms");
	char text[VIEW_ROW_MAX], flight[32] = "", ttft[32], itl[32], plots[2][1024];

	extend(flight, sizeof(flight), "%s", field_number(model, "in_flight", 0));
	if (json_is_number(json_object_get(model, "limit")))
		extend(flight, sizeof(flight), "/%s", field_number(model, "limit", 0));
	against(model, "ttft_ema_ms", "ttft_threshold_ms",
		json_is_number(json_object_get(model, "ttft_threshold_ms_per_kib")), ttft);
	against(model, "itl_ema_ms", "itl_threshold_ms", false, itl);
	text_plot(plots[0], sizeof(plots[0]), v->data, h->ttft_ms,
		  json_is_number(target) ? json_number_value(target) : NAN, c->plot);
	text_plot(plots[1], sizeof(plots[1]), v->data, h->itl_ms,
		  json_is_number(itl_target) ? json_number_value(itl_target) : NAN, c->plot);
	model_line(c, text,
		   (const char *const[]){name, model_is_open(model) ? "open" : "SHUT", flight,
					 field_number(model, "waiting", 0), ttft, plots[0], itl,
					 plots[1]});
	add(out, v, model_is_open(model) ? ROW_PLAIN : ROW_ALERT, text);
}

struct sorted {
	size_t i;
	double key;
};

static int larger(const void *a, const void *b)
{
	const struct sorted *x = a, *y = b;

	if (x->key < y->key || x->key > y->key)
		return x->key < y->key ? 1 : -1;
	return x->i < y->i ? -1 : x->i > y->i;
}

static double order_key(const struct view *v, const json_t *model)
{
	const char *of[MODEL_ORDERS][2] = {
		[MODELS_TTFT] = {"ttft_ema_ms", "ttft_threshold_ms"},
		[MODELS_ITL] = {"itl_ema_ms", "itl_threshold_ms"},
	};
	double ema, target;

	if (v->order == MODELS_LISTED)
		return 0;
	if (v->order == MODELS_IN_FLIGHT)
		return (double)field_whole(model, "in_flight");
	ema = json_number_value(json_object_get(model, of[v->order][0]));
	target = json_number_value(json_object_get(model, of[v->order][1]));
	/* Those without a target come after all that have one, by their averages. */
	return target > 0 ? 1 + ema / target : ema / (ema + 1);
}

static void heading(const struct view *v, const struct model_columns *c, struct rows *out)
{
	unsigned secs = text_plot_secs(v->data, c->plot);
	char text[VIEW_ROW_MAX], last[32];

	snprintf(last, sizeof(last), "%s%u%s", c->plot < 9 ? "" : "last ",
		 secs < 120 ? secs : secs / 60, secs < 120 ? "s" : "min");
	model_line(c, text,
		   (const char *const[]){"MODEL", "GATE", "IN FLIGHT", "WAITING", "TTFT/target",
					 last, "ITL/target", last});
	add(out, v, ROW_HEADING, text);
}

void view_models(const struct view *v, struct rows *out)
{
	const json_t *list = json_object_get(v->data->status, "models"), *model;
	const json_t *all = json_object_get(v->data->status, "global");
	struct model_columns c = model_columns(v);
	struct sorted *sorted = calloc(json_array_size(list) + 1, sizeof(*sorted));
	size_t count = 0, i;

	if (!sorted)
		abort();
	view_free(out);
	heading(v, &c, out);
	json_array_foreach(list, i, model) if (contains(v, field_text(model, "name")))
		sorted[count++] = (struct sorted){i, order_key(v, model)};
	qsort(sorted, count, sizeof(*sorted), larger);
	for (i = 0; i < count; i++) {
		model = json_array_get(list, sorted[i].i);
		model_row(v, &c, model, sorted[i].i, field_text(model, "name"), out);
	}
	free(sorted);
	if (!json_array_size(list))
		add(out, v, ROW_FAINT, "No model has answered a request yet.");
	else if (!count)
		add(out, v, ROW_FAINT, "No name of a model has this text.");
	if (all && count > 1 && !*v->filter)
		model_row(v, &c, all, v->data->history_count - 1, TOGETHER, out);
}

/* Columns of clients after the name, the most important first. */
static const struct {
	const char *heading;
	unsigned width;
	unsigned from; /* columns of the screen that it needs */
} client_columns[] = {
	{"ADMITTED/s", 10, 0}, {"REFUSED/s", 9, 0},  {"IN FLIGHT", 9, 0},
	{"REQ. LEFT", 9, 0},   {"TOK. LEFT", 9, 0},  {"ADMITTED", 9, 100},
	{"REFUSED", 9, 100},   {"NEXT IN", 11, 116}, {"LAST REFUSAL", 17, 136},
};

#define CLIENT_COLUMNS (sizeof(client_columns) / sizeof(client_columns[0]))

/* Columns of the longest name, or of the heading. */
static unsigned client_name_columns(const struct view *v, const char *heading)
{
	const json_t *list = json_object_get(v->data->clients, "clients"), *one;
	unsigned most = columns_of(heading), columns;
	size_t i;

	json_array_foreach(list, i, one)
	{
		columns = columns_of(field_text(one, "client"));
		if (columns > most)
			most = columns;
	}
	return most;
}

/* The name has what the longest one needs; on a narrow screen it is cut. */
static void client_line(const struct view *v, enum row_style style, const char *name, unsigned most,
			const char *const cells[CLIENT_COLUMNS], struct rows *out)
{
	unsigned left = v->columns;
	char text[VIEW_ROW_MAX], cell[VIEW_ROW_MAX];

	for (unsigned i = 0; i < CLIENT_COLUMNS; i++)
		if (v->columns >= client_columns[i].from)
			left -= left > client_columns[i].width + 2 + NAME_MIN
					? client_columns[i].width + 2
					: 0;
	text_cell(text, sizeof(text), name, left < most ? left : most, false);
	for (unsigned i = 0; i < CLIENT_COLUMNS; i++) {
		if (v->columns < client_columns[i].from)
			continue;
		text_cell(cell, sizeof(cell), cells[i], client_columns[i].width, true);
		extend(text, sizeof(text), "  %s", cell);
	}
	add(out, v, style, text);
}

/* What is left of a quota; or the rule that holds whatever the quota says. */
static void client_row(const struct view *v, const json_t *client, unsigned most, struct rows *out)
{
	const char *name = field_text(client, "client"), *rule = field_text(client, "rule");
	const json_t *next = json_object_get(client, "next_ms");
	char text[6][16];

	client_line(v, ROW_PLAIN, name, most,
		    (const char *const[]){
			    rate_text(top_client_rate(v->data, name, 0), text[0]),
			    rate_text(top_client_rate(v->data, name, 1), text[1]),
			    field_number(client, "in_flight", 0),
			    !strcmp(rule, "block")   ? "blocked"
			    : !strcmp(rule, "allow") ? "exempt"
						     : count_text(client, "requests_left", text[2]),
			    count_text(client, "tokens_left", text[3]),
			    count_text(client, "admitted", text[4]),
			    count_text(client, "rejected", text[5]),
			    !json_is_integer(next) ? DASH
			    : json_integer_value(next)
				    ? format_span((double)json_integer_value(next))
				    : "now",
			    field_text(client, "last_reason"),
		    },
		    out);
}

void view_clients(const struct view *v, struct rows *out)
{
	const json_t *list = json_object_get(v->data->clients, "clients"), *one;
	const char *headings[CLIENT_COLUMNS];
	char text[128];
	size_t i, shown = 0;
	unsigned most;

	view_free(out);
	for (i = 0; i < CLIENT_COLUMNS; i++)
		headings[i] = client_columns[i].heading;
	snprintf(text, sizeof(text), "CLIENT by %s", v->by);
	most = client_name_columns(v, text);
	client_line(v, ROW_HEADING, text, most, headings, out);
	json_array_foreach(list, i, one) if (contains(v, field_text(one, "client")))
	{
		client_row(v, one, most, out);
		shown++;
	}
	if (!json_array_size(list))
		add(out, v, ROW_FAINT, "No client has sent a request yet.");
	else if (!shown)
		add(out, v, ROW_FAINT, "No client listed has this text.");
	if (field_whole(v->data->clients, "clients_known") > (json_int_t)json_array_size(list)) {
		snprintf(text, sizeof(text), "%zu of %" JSON_INTEGER_FORMAT " clients are listed.",
			 json_array_size(list), field_whole(v->data->clients, "clients_known"));
		add(out, v, ROW_FAINT, text);
	}
}

void view_help(const struct view *v, struct rows *out)
{
	static const char *const lines[] = {
		"Tab          choose models or clients: keys below act on these",
		"Up, Down     scroll by a row; also k and j",
		"PgUp, PgDn   scroll by a page; Home and End: to the first and last row",
		"s            sort: models as listed, by requests in flight, TTFT or ITL over",
		"             target; clients by requests, tokens, in flight, rejected, last seen",
		"/            show only names that contain a text; Enter keeps it, Esc ends it",
		"p            pause, and go on",
		"h, ?         this help, and back",
		"q            quit",
		"",
		"TTFT/target  average time to first token; +: the target grows with the request",
		"ITL/target   average inter-token latency",
		"plots        averages of that time; full height is the target or what exceeds it",
		"by class     refusals by the class of the request, where not all are normal",
		"IN FLIGHT    requests admitted and not ended, and their limit",
		"/s           a second, over the last five",
		"REQ. LEFT    requests left in the quota, or the rule: blocked, exempt",
		"TOK. LEFT    tokens left in the quota; negative: debt",
	};

	view_free(out);
	add(out, v, ROW_HEADING, "HELP");
	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		add(out, v, ROW_PLAIN, lines[i]);
}
