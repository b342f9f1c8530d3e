/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The page for a browser: what is shut and why, the figures as tables. It is whole without scripts.
 * page.js requests it again and puts the new sections in the place of the old ones, so that every
 * figure is written here alone. Names come from requests, so all are escaped. Lists are short
 * however many names there are; `filter` finds the rest.
 */
#include "metrics/page_internal.h"

#include <inttypes.h>
#include <string.h>

#include "core/explain.h"
#include "core/highest.h"
#include "core/history.h"
#include "core/parse.h"
#include "core/printable.h"
#include "core/text.h"

#define MODELS_LISTED  50
#define CLIENTS_LISTED 20

/* A cell with the heading of its column: on a narrow screen it stands beside its value. */
static void begin_cell(FILE *out, const char *heading, bool number)
{
	fprintf(out, "<td%s data-h=\"%s\">", number ? " class=n" : "", heading);
}

static void text_cell(FILE *out, const char *heading, const char *text)
{
	begin_cell(out, heading, false);
	page_escaped(out, text);
	fputs("</td>", out);
}

static void count_cell(FILE *out, const char *heading, uint64_t n)
{
	begin_cell(out, heading, true);
	fprintf(out, "%" PRIu64 "</td>", n);
}

/* "123.4 / 1000": an average and its target. */
static void against(FILE *out, const char *heading, double value, double target)
{
	bool over = target > 0 && value > target;

	begin_cell(out, heading, true);
	fputs(over ? "<b>" : "", out);
	if (value >= 0)
		fprintf(out, "%.1f", value);
	else
		fputs("–", out);
	fputs(over ? "</b>" : "", out);
	if (target > 0)
		fprintf(out, " / %.0f", target);
	fputs("</td>", out);
}

/* ---- tables ---- */

/* Whether the name, as it is printed, has this text. */
static bool contains(const char *name, const char *filter)
{
	char spelt[PRINTABLE_MAX(SLUICE_NAME_MAX)];

	if (!filter || !*filter)
		return true;
	printable_text(spelt, sizeof(spelt), name);
	return strcasestr(spelt, filter);
}

struct heading {
	const char *text;
	bool number;
};

static void begin_table(FILE *out, const struct heading *headings, size_t n, const char *caption)
{
	fprintf(out, "<table><caption>%s</caption><thead><tr>", caption);
	for (size_t i = 0; i < n; i++)
		fprintf(out, "<th scope=col%s>%s</th>", headings[i].number ? " class=n" : "",
			headings[i].text);
	fputs("</tr></thead><tbody>\n", out);
}

static void model_row(FILE *out, const struct daemon_state *s, const struct state_sums *sums,
		      uint32_t id, bool unary)
{
	const struct controller_model *m = &s->controller->model[id];
	struct controller_targets t = controller_targets(s->controller, id);
	struct controller_reading r = controller_read(s->controller, id, s->now_ns);
	int64_t flying = s->kernel[id].in_flight, waiting = s->kernel[id].waiting;
	uint32_t limit = controller_limit(s->controller, id);
	bool all = id == SLUICE_MODEL_ALL;

	fputs(r.open ? "<tr><th scope=row>" : "<tr class=shut><th scope=row>", out);
	page_escaped(out, all ? "(all together)" : m->name);
	fputs("</th>", out);
	begin_cell(out, "gate", false);
	if (r.open)
		fputs(page_is_full(s, id) ? "full</td>" : "open</td>", out);
	else
		fprintf(out, "SHUT (%s)</td>", text_reason(r.reason));
	begin_cell(out, "in flight / limit", true);
	fprintf(out, "%" PRId64, flying > 0 ? flying : 0);
	if (limit)
		fprintf(out, " / %u", limit);
	fputs("</td>", out);
	count_cell(out, "waiting", waiting > 0 ? (uint64_t)waiting : 0);
	against(out, "TTFT ms / target", r.ttft_ms, t.ttft_ms);
	against(out, "ITL ms / target", r.itl_ms, t.itl_ms);
	if (unary) {
		against(out, "duration ms / target", r.duration_ms, t.duration_ms);
		against(out, "normalized ms / target", r.normalized_ms, t.normalized_ms);
	}
	count_cell(out, "admitted", all ? sums->all_admitted : sums->admitted[id]);
	count_cell(out, "refused", all ? sums->all_rejected : sums->rejected[id]);
	fputs("</tr>\n", out);
}

/* Of responses that are not streamed. */
static bool any_unary(const struct daemon_state *s)
{
	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++)
		if (state_model_in_use(s, id) && s->controller->model[id].duration_samples)
			return true;
	return false;
}

static void models(FILE *out, const struct daemon_state *s, const struct state_sums *sums,
		   const char *filter)
{
	static const struct heading headings[] = {
		{"model", false},
		{"gate", false},
		{"in flight / limit", true},
		{"waiting", true},
		{"TTFT ms / target", true},
		{"ITL ms / target", true},
		{"duration ms / target", true},
		{"normalized ms / target", true},
		{"admitted", true},
		{"refused", true},
	};
	struct heading shown[10];
	struct highest_item items[MODELS_LISTED];
	struct highest busiest = {.items = items, .max = MODELS_LISTED};
	bool unary = any_unary(s), other = state_other_seen(s);
	size_t known = 0, n = 0;

	for (uint32_t id = SLUICE_MODEL_OTHER; id < SLUICE_MODELS_MAX; id++) {
		bool open = true;
		int64_t flying = s->kernel[id].in_flight;

		if (!state_model_in_use(s, id) || (id == SLUICE_MODEL_OTHER && !other))
			continue;
		if (!contains(s->controller->model[id].name, filter))
			continue;
		known++;
		open = controller_read(s->controller, id, s->now_ns).open;
		highest_add(&busiest,
			    (struct highest_item){.rank = (open ? 0 : 1ULL << 62) +
							  (flying > 0 ? flying : 0),
						  .then = sums->admitted[id] + sums->rejected[id],
						  .index = id});
	}
	highest_sort(&busiest);
	for (size_t i = 0; i < 10; i++)
		if (unary || (i != 6 && i != 7))
			shown[n++] = headings[i];
	fputs("<section id=models>\n<h2>Models</h2>\n", out);
	begin_table(out, shown, n, "Averages against their targets; shut and busy ones first");
	for (size_t i = 0; i < busiest.count; i++)
		model_row(out, s, sums, (uint32_t)busiest.items[i].index, unary);
	model_row(out, s, sums, SLUICE_MODEL_ALL, unary);
	fputs("</tbody></table>\n", out);
	if (known > busiest.count)
		fprintf(out,
			"<p class=note>%zu of %zu models are listed: filter to find another.</p>\n",
			busiest.count, known);
	else if (!known)
		fputs(filter && *filter
			      ? "<p class=note>No model has this text in its name.</p>\n"
			      : "<p class=note>No model has answered a request yet.</p>\n",
		      out);
	fputs("</section>\n", out);
}

/* A rate of the last point of the history. */
static void rate_cell(FILE *out, const char *heading, double rate)
{
	begin_cell(out, heading, true);
	if (rate >= 0)
		fprintf(out, "%.1f", rate);
	else
		fputs("–", out);
	fputs("</td>", out);
}

/* " (3.2 a second)", if it is known. */
static void in_brackets(FILE *out, double rate)
{
	if (rate >= 0)
		fprintf(out, " (%.1f a second)", rate);
}

static void by_reason(FILE *out, const struct state_sums *sums, const float *rates)
{
	static const struct heading headings[] = {{"reason", false},
						  {"refused a second", true},
						  {"refused", true},
						  {"counted only (shadow)", true}};
	unsigned columns = sums->all_shadow ? 4 : 3;

	begin_table(out, headings, columns, "Refusals by reason");
	for (unsigned r = SLUICE_REASON_NONE + 1; r < SLUICE_REASON_COUNT; r++) {
		if (!sums->by_reason[r] && !sums->shadow_by_reason[r])
			continue;
		fprintf(out, "<tr><th scope=row>%s</th>", text_reason(r));
		rate_cell(out, headings[1].text, rates ? rates[r] : -1);
		count_cell(out, headings[2].text, sums->by_reason[r]);
		if (columns == 4)
			count_cell(out, headings[3].text, sums->shadow_by_reason[r]);
		fputs("</tr>\n", out);
	}
	fputs("</tbody></table>\n", out);
}

static void by_class(FILE *out, const struct state_sums *sums, const float *admitted,
		     const float *rejected)
{
	static const struct heading headings[] = {{"class", false},
						  {"admitted a second", true},
						  {"refused a second", true},
						  {"admitted", true},
						  {"refused", true}};

	begin_table(out, headings, 5, "Requests by priority class");
	for (unsigned c = 0; c < SLUICE_CLASSES; c++) {
		fprintf(out, "<tr><th scope=row>%s</th>", parse_word_of(&parse_as_class, c));
		rate_cell(out, headings[1].text, admitted ? admitted[c] : -1);
		rate_cell(out, headings[2].text, rejected ? rejected[c] : -1);
		count_cell(out, headings[3].text, sums->admitted_by_class[c]);
		count_cell(out, headings[4].text, sums->rejected_by_class[c]);
		fputs("</tr>\n", out);
	}
	fputs("</tbody></table>\n", out);
}

static void requests(FILE *out, const struct daemon_state *s, const struct state_sums *sums)
{
	const int at = history_now(s->history);
	const struct history *h = at < 0 ? NULL : s->history;

	fprintf(out,
		"<section id=requests>\n<h2>Requests</h2>\n<p><b id=admitted>%" PRIu64
		"</b> admitted",
		sums->all_admitted);
	in_brackets(out, h ? h->all.point[at].admitted : -1);
	fprintf(out, ", <b id=refused>%" PRIu64 "</b> refused", sums->all_rejected);
	in_brackets(out, h ? h->all.point[at].rejected : -1);
	if (sums->all_shadow)
		fprintf(out, ", %" PRIu64 " would have been refused (shadow)", sums->all_shadow);
	fprintf(out, ". Connections: %" PRIu64 " reset, %" PRIu64 " dropped at their SYN.</p>\n",
		state_connections(s, SLUICE_VERDICT_SYN_RESET, -1),
		state_connections(s, SLUICE_VERDICT_SYN_DROPPED, -1));
	if (sums->all_rejected || sums->all_shadow)
		by_reason(out, sums, h ? h->by_reason[at] : NULL);
	if (state_has_classes(s))
		by_class(out, sums, h ? h->admitted_by_class[at] : NULL,
			 h ? h->rejected_by_class[at] : NULL);
	fputs("</section>\n", out);
}

/* "3 of 12": what is left of a budget, in debt below 0; or the rule that precedes it. */
static void budget_cell(FILE *out, const char *heading, const struct explain_budget *b,
			const char *rule)
{
	begin_cell(out, heading, true);
	if (rule)
		fputs(rule, out);
	else if (b->limit)
		fprintf(out, "%" PRId64 " of %" PRIu64, (int64_t)(b->left - b->debt), b->limit);
	else
		fputs("–", out);
	fputs("</td>", out);
}

static const struct heading client_headings[] = {
	{"client", false},  {"in flight", true}, {"requests left", true}, {"tokens left", true},
	{"admitted", true}, {"refused", true},   {"last refusal", false}, {"last seen", true},
};

#define CLIENT_COLUMNS (sizeof(client_headings) / sizeof(client_headings[0]))

/* The quota is that of its next request for the model that it requested last. */
static void client_row(FILE *out, const struct daemon_state *s, const struct state_client *c)
{
	const uint8_t *addr = c->client.kind == SLUICE_CLIENT_ADDRESS ? c->client.addr : NULL;
	const struct heading *of = client_headings;
	const struct sluice_client_count *n = &c->count;
	char text[TEXT_CLIENT_MAX];
	struct explanation e = {0};
	const char *rule;

	if (s->lookup && s->quotas)
		(void)explain(s, &c->client, addr, n->last_model, n->last_service, &e);
	rule = e.answer.override == SLUICE_OVERRIDE_NONE      ? NULL
	       : e.answer.override >= SLUICE_OVERRIDE_ALLOWED ? "exempt"
							      : "blocked";
	text_client(text, &c->client);
	fputs("<tr><th scope=row>", out);
	page_escaped(out, text);
	fputs("</th>", out);
	count_cell(out, of[1].text, c->in_flight > 0 ? (uint64_t)c->in_flight : 0);
	budget_cell(out, of[2].text, &e.quota.requests, rule);
	budget_cell(out, of[3].text, &e.quota.tokens, rule);
	count_cell(out, of[4].text, n->admitted);
	count_cell(out, of[5].text, n->rejected);
	text_cell(out, of[6].text,
		  n->last_reason != SLUICE_REASON_NONE ? text_reason(n->last_reason) : "–");
	begin_cell(out, of[7].text, true);
	if (n->last_seen_ns <= s->now_ns) {
		page_span(out, (double)(s->now_ns - n->last_seen_ns) / 1e9);
		fputs(" ago", out);
	} else {
		fputs("now", out);
	}
	fputs("</td></tr>\n", out);
}

static void clients(FILE *out, const struct daemon_state *s, const char *filter)
{
	struct highest_item items[CLIENTS_LISTED];
	struct highest most = {.items = items, .max = CLIENTS_LISTED};
	char text[TEXT_CLIENT_MAX];

	for (size_t i = 0; i < s->client_count; i++) {
		const struct state_client *c = &s->clients[i];

		if (i % WORK_ENTRIES_MAX == 0)
			state_step(s, WORK_ENTRIES_MAX, 0);
		if (filter && *filter) {
			text_client(text, &c->client);
			if (!contains(text, filter))
				continue;
		}
		highest_add(&most,
			    (struct highest_item){.rank = c->count.admitted + c->count.rejected,
						  .then = c->count.last_seen_ns,
						  .index = i});
	}
	highest_sort(&most);
	fputs("<section id=clients>\n<h2>Clients</h2>\n", out);
	if (most.count) {
		begin_table(out, client_headings, CLIENT_COLUMNS, "Those with the most requests");
		for (size_t i = 0; i < most.count; i++)
			client_row(out, s, &s->clients[most.items[i].index]);
		fputs("</tbody></table>\n", out);
	}
	fprintf(out, "<p class=note>%zu of %zu clients are listed, up to five seconds old.</p>\n",
		most.count, s->client_count);
	fputs("</section>\n", out);
}

static void services(FILE *out, const struct daemon_state *s)
{
	static const struct heading headings[] = {{"service", false},
						  {"protocol", false},
						  {"action", false},
						  {"mode", false},
						  {"default model", false}};
	static const struct heading hooks[] = {{"interface", false}, {"XDP", false}, {"tc", false}};

	fputs("<section id=services>\n<h2>Services and interfaces</h2>\n", out);
	begin_table(out, headings, 5, "What is protected");
	for (size_t i = 0; i < s->service_count; i++) {
		const struct service *v = &s->services[i];
		unsigned protocol = v->protocol, action = v->action, mode = v->mode;
		uint32_t model = v->model_id;
		char text[TEXT_SERVICE_MAX];

		/* While a page is being written, a reload may replace the services. */
		text_endpoint(text, v->addr, v->wildcard, v->port);
		fputs("<tr><th scope=row>", out);
		page_escaped(out, text);
		fputs("</th>", out);
		text_cell(out, "protocol", text_protocol(protocol));
		text_cell(out, "action", text_action(action));
		text_cell(out, "mode", text_mode(mode));
		text_cell(out, "default model",
			  state_model_in_use(s, model) ? s->controller->model[model].name : "–");
		fputs("</tr>\n", out);
	}
	fputs("</tbody></table>\n", out);
	begin_table(out, hooks, 3, "Where sluice is attached");
	for (size_t i = 0; i < s->interface_count; i++) {
		fputs("<tr><th scope=row>", out);
		page_escaped(out, s->interfaces[i].name);
		fputs("</th>", out);
		text_cell(out, "XDP", s->interfaces[i].xdp);
		text_cell(out, "tc",
			  !s->interfaces[i].attached[STATE_TC_IN] ||
					  !s->interfaces[i].attached[STATE_TC_OUT]
				  ? "not attached"
			  : s->interfaces[i].tcx ? "tcx"
						 : "clsact");
		fputs("</tr>\n", out);
	}
	fputs("</tbody></table>\n</section>\n", out);
}

void metrics_write_page(FILE *out, const struct daemon_state *s, const char *filter)
{
	struct state_sums sums;

	state_sum(&sums, s);
	fputs("<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8>"
	      "<meta name=viewport content=\"width=device-width, initial-scale=1\">"
	      "<meta name=color-scheme content=\"light dark\"><title>sluice</title>\n"
	      "<noscript><meta http-equiv=refresh content=5></noscript>"
	      "<link rel=stylesheet href=/static/page.css>"
	      "<script defer src=/static/chart.js></script>"
	      "<script defer src=/static/page.js></script></head>\n<body>\n<header><h1>sluice</h1>\n"
	      "<p id=mode>",
	      out);
	fprintf(out, "Mode <b>%s</b>, policy %s, up ",
		s->detaching ? "detaching" : text_mode(s->mode), s->policy);
	page_span(out, (double)(s->now_ns - s->started_ns) / 1e9);
	fputs(", at ", out);
	page_clock(out, s->unix_ns);
	fputs(".</p>\n<p id=problem role=alert hidden></p></header>\n<main>\n", out);
	page_state(out, s);
	fputs("<section id=history hidden>\n<h2>The last hour</h2>\n<p class=note>Times are UTC.</p>\n"
	      "<p><label>of <select id=which><option value=\"\">all together</option></select></label></p>\n"
	      "<div class=plots></div>\n</section>\n"
	      "<form method=get action=/ role=search><label>Names with <input name=filter type=search "
	      "maxlength=95 value=\"",
	      out);
	page_escaped(out, filter ? filter : "");
	fputs("\"></label> <button>Filter</button></form>\n", out);
	models(out, s, &sums, filter);
	requests(out, s, &sums);
	clients(out, s, filter);
	services(out, s);
	fputs("</main>\n<footer><p>As data: <a href=/metrics>/metrics</a>, "
	      "<a href=/v1/history>/v1/history</a>, <a href=/v1/limits>/v1/limits</a>. sluice " SLUICE_VERSION
	      ".</p></footer>\n</body></html>\n",
	      out);
}
