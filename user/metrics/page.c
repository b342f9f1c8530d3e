/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The page at /: `sluicectl status` for a browser. One file, without scripts and without anything
 * fetched from elsewhere; it reloads itself every few seconds. Names come from requests, so all are
 * escaped.
 */
#include "metrics/metrics.h"

#include <inttypes.h>

#include "core/printable.h"
#include "core/text.h"

static void escaped(FILE *out, const char *text)
{
	char one[PRINTABLE_CHAR_MAX];

	while (*text) {
		printable_next(&text, one);
		switch (one[0]) {
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '&':
			fputs("&amp;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		default:
			fputs(one, out);
		}
	}
}

static void text_cell(FILE *out, const char *text)
{
	fputs("<td>", out);
	escaped(out, text);
	fputs("</td>", out);
}

/* "123.4 / 1000": an average and its threshold; a dash where there is none. */
static void against(FILE *out, double value, double threshold)
{
	fputs("<td class=n>", out);
	if (value >= 0)
		fprintf(out, "%.1f", value);
	else
		fputs("–", out);
	fputs("</td><td class=n>", out);
	if (threshold > 0)
		fprintf(out, "%.0f", threshold);
	else
		fputs("–", out);
	fputs("</td>", out);
}

static void model_row(FILE *out, const struct daemon_state *s, uint32_t id)
{
	const struct controller_model *m = &s->controller->model[id];
	struct controller_targets t = controller_targets(s->controller, id);
	struct controller_reading r = controller_read(s->controller, id, s->now_ns);
	int64_t flying = s->kernel[id].in_flight, waiting = s->kernel[id].waiting;

	fputs(r.open ? "<tr>" : "<tr class=shut>", out);
	text_cell(out, id == SLUICE_MODEL_ALL ? "all together" : m->name);
	if (r.open)
		fputs("<td>open</td>", out);
	else
		fprintf(out, "<td>SHUT (%s), opens in about %.0f s if nothing more comes</td>",
			text_reason(r.reason), r.retry_after_s);
	against(out, r.ttft_ms, t.ttft_ms);
	against(out, r.itl_ms, t.itl_ms);
	against(out, r.duration_ms, t.duration_ms);
	against(out, r.normalized_ms, t.normalized_ms);
	fprintf(out, "<td class=n>%" PRId64 "</td><td class=n>%" PRId64 "</td>",
		flying > 0 ? flying : 0, waiting > 0 ? waiting : 0);
	if (t.max_in_flight > 0)
		fprintf(out, "<td class=n>%" PRId64 "</td>", t.max_in_flight);
	else
		fputs("<td class=n>–</td>", out);
	if (id == SLUICE_MODEL_ALL)
		fputs("<td></td><td></td>", out);
	else
		fprintf(out, "<td class=n>%" PRIu64 "</td><td class=n>%" PRIu64 "</td>",
			state_requests(s, SLUICE_VERDICT_ADMITTED, (int)id),
			state_requests(s, SLUICE_VERDICT_REJECTED, (int)id));
	fputs("</tr>\n", out);
}

static void models(FILE *out, const struct daemon_state *s)
{
	unsigned listed = 0;

	fputs("<h2>Models</h2>\n<table><tr><th>model<th>gate<th>TTFT ms<th>target<th>ITL ms<th>target"
	      "<th>duration ms<th>target<th>normalized ms<th>target"
	      "<th>in flight<th>waiting<th>limit<th>admitted<th>rejected</tr>\n",
	      out);
	for (uint32_t id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX; id++)
		if (state_model_in_use(s, id)) {
			model_row(out, s, id);
			listed++;
			state_step_counts(s);
		}
	if (state_other_seen(s))
		model_row(out, s, SLUICE_MODEL_OTHER);
	model_row(out, s, SLUICE_MODEL_ALL);
	fputs("</table>\n", out);
	if (!listed)
		fputs("<p>No model has answered a request yet.</p>\n", out);
}

static void reasons(FILE *out, const struct daemon_state *s)
{
	uint64_t sum[SLUICE_REASON_COUNT] = {0}, shadow[SLUICE_REASON_COUNT] = {0};

	for (size_t i = 0; i < s->count_count; i++) {
		const struct sluice_count_key *key = &s->counts[i].key;

		if (key->reason >= SLUICE_REASON_COUNT)
			continue;
		if (key->verdict == SLUICE_VERDICT_REJECTED)
			sum[key->reason] += s->counts[i].n;
		else if (key->verdict == SLUICE_VERDICT_SHADOW_REJECTED)
			shadow[key->reason] += s->counts[i].n;
	}
	fprintf(out,
		"<h2>Requests</h2>\n<p>%" PRIu64 " admitted, %" PRIu64 " rejected, %" PRIu64
		" would have been rejected (shadow). Connections: %" PRIu64 " reset, %" PRIu64
		" dropped.</p>\n",
		state_requests(s, SLUICE_VERDICT_ADMITTED, -1),
		state_requests(s, SLUICE_VERDICT_REJECTED, -1),
		state_requests(s, SLUICE_VERDICT_SHADOW_REJECTED, -1),
		state_connections(s, SLUICE_VERDICT_SYN_RESET, -1),
		state_connections(s, SLUICE_VERDICT_SYN_DROPPED, -1));
	fputs("<table><tr><th>reason<th>rejected<th>shadow</tr>\n", out);
	for (unsigned r = SLUICE_REASON_NONE + 1; r < SLUICE_REASON_COUNT; r++)
		if (sum[r] || shadow[r])
			fprintf(out,
				"<tr><td>%s</td><td class=n>%" PRIu64 "</td><td class=n>%" PRIu64
				"</td></tr>\n",
				text_reason(r), sum[r], shadow[r]);
	fputs("</table>\n", out);
}

static void slots(FILE *out, const struct daemon_state *s)
{
	fputs("<h2>Services and interfaces</h2>\n<table><tr><th>service<th>protocol<th>action<th>mode"
	      "<th>default model</tr>\n",
	      out);
	for (size_t i = 0; i < s->service_count; i++) {
		const struct service *v = &s->services[i];
		unsigned protocol = v->protocol, action = v->action, mode = v->mode;
		uint32_t model = v->model_id;
		char text[TEXT_SERVICE_MAX];

		/* While a page is being written, a reload may replace the services. */
		text_endpoint(text, v->addr, v->wildcard, v->port);
		fputs("<tr>", out);
		text_cell(out, text);
		text_cell(out, text_protocol(protocol));
		text_cell(out, text_action(action));
		text_cell(out, text_mode(mode));
		text_cell(out,
			  state_model_in_use(s, model) ? s->controller->model[model].name : "–");
		fputs("</tr>\n", out);
	}
	fputs("</table>\n<table><tr><th>interface<th>XDP<th>tc</tr>\n", out);
	for (size_t i = 0; i < s->interface_count; i++) {
		fputs("<tr>", out);
		text_cell(out, s->interfaces[i].name);
		text_cell(out, s->interfaces[i].xdp);
		text_cell(out, !s->interfaces[i].attached[STATE_TC_IN] ||
					       !s->interfaces[i].attached[STATE_TC_OUT]
				       ? "not attached"
			       : s->interfaces[i].tcx ? "tcx"
						      : "clsact");
		fputs("</tr>\n", out);
	}
	fputs("</table>\n", out);
}

void metrics_write_page(FILE *out, const struct daemon_state *s)
{
	unsigned shut = 0;

	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++)
		if (state_model_in_use(s, id))
			shut += !controller_read(s->controller, id, s->now_ns).open;
	fputs("<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8>"
	      "<meta http-equiv=refresh content=5>"
	      "<meta name=viewport content=\"width=device-width\"><title>sluice</title><style>\n"
	      "body{font:15px/1.4 system-ui,sans-serif;margin:1.5em;color-scheme:light dark}"
	      "table{border-collapse:collapse;margin:.5em 0}"
	      "td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #8885}"
	      ".n{text-align:right;font-variant-numeric:tabular-nums}"
	      ".shut{background:#d3302f33;font-weight:600}h2{font-size:1.05em;margin-top:1.4em}"
	      "\n</style></head><body>\n<h1>sluice</h1>\n",
	      out);
	fprintf(out, "<p%s>Mode <b>%s</b>, policy %s, lease %u ms. %s</p>\n",
		shut ? " class=shut" : "", s->detaching ? "detaching" : text_mode(s->mode),
		s->policy, s->lease_ms,
		controller_drains(s->controller, s->now_ns) ? "It drains: what is new is refused."
		: shut                                      ? "Something is shut."
							    : "Everything is open.");
	models(out, s);
	reasons(out, s);
	slots(out, s);
	fputs("<p><a href=/metrics>/metrics</a></p>\n</body></html>\n", out);
}
