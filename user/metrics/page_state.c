/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The sentences of the page: what is shut or refused and why, since when and until when, and the
 * command that changes it.
 */
#include "metrics/page_internal.h"

#include <inttypes.h>
#include <string.h>

#include "core/history.h"
#include "core/remedy.h"
#include "core/text.h"

#define SHUT_LISTED 10

#define CLIENT_RECENT_NS 60000000000ULL /* a client that was refused is named so long */

/* Each word in an element, so that a narrow screen does not break "--model" after its hyphens. */
static void command(FILE *out, const char *text)
{
	fputs("<code>", out);
	for (size_t len; *text; text += len) {
		len = strcspn(text, " ");
		fputs("<span>", out);
		page_text(out, text, len);
		fputs("</span>", out);
		if (text[len])
			fputc(text[len++], out);
	}
	fputs("</code>", out);
}

/* The programs' verdict on a request for a model: of this client, or (NULL) of nobody in
 * particular, to the service whose pool or model it is. All 0: they gave none. */
static struct explanation verdict_on(const struct daemon_state *s, const struct state_client *c,
				     uint32_t model)
{
	static const struct sluice_client nobody = {.plen = 128};
	const uint8_t *addr = c && c->client.kind == SLUICE_CLIENT_ADDRESS ? c->client.addr : NULL;
	uint32_t service = c ? c->count.last_service : explain_service(s);
	struct explanation e = {.model = model};

	for (size_t i = 0; !c && i < s->service_count; i++)
		if (s->services[i].pool_id == model || s->services[i].model_id == model)
			service = (uint32_t)i;
	if (s->lookup && s->quotas)
		(void)explain(s, c ? &c->client : &nobody, addr, model, service, &e);
	return e;
}

/* The commands that admit what is refused for this reason. */
static void remedy(FILE *out, const struct daemon_state *s, uint32_t reason, uint32_t model,
		   const struct state_client *c)
{
	struct explanation e = verdict_on(s, c, c ? c->count.last_model : model);
	char text[TEXT_CLIENT_MAX] = "";

	if (c)
		text_client(text, &c->client);
	fputc(' ', out);
	remedy_write(out,
		     &(struct remedy){.s = s,
				      .e = &e,
				      .client = c ? &c->client : NULL,
				      .reason = reason,
				      .about = c ? e.answer.about : model,
				      .request = "more",
				      .client_words = text},
		     command);
}

/* Of those that were refused last, and for this reason, the one with most such refusals; NULL:
 * none. */
static const struct state_client *most_refused_client(const struct daemon_state *s, uint32_t reason)
{
	const struct state_client *most = NULL;

	for (size_t i = 0; i < s->client_count; i++) {
		const struct state_client *c = &s->clients[i];

		if (i % WORK_ENTRIES_MAX == 0)
			state_step(s, WORK_ENTRIES_MAX, 0);
		if (c->count.last_reason == reason && c->count.by_reason[reason] &&
		    c->count.last_seen_ns + CLIENT_RECENT_NS > s->now_ns &&
		    (!most || c->count.by_reason[reason] > most->count.by_reason[reason]))
			most = c;
	}
	return most;
}

struct why {
	double value, target;
	const char *average;
};

static struct why why(const struct controller_reading *r, const struct controller_targets *t)
{
	switch (r->reason) {
	case SLUICE_REASON_ITL:
		return (struct why){r->itl_ms, t->itl_ms, "ITL"};
	case SLUICE_REASON_DURATION:
		return (struct why){r->duration_ms, t->duration_ms, "duration"};
	case SLUICE_REASON_NORMALIZED_LATENCY:
		return (struct why){r->normalized_ms, t->normalized_ms, "normalized latency"};
	default:
		return (struct why){r->ttft_ms, t->ttft_ms, "TTFT"};
	}
}

static void shut_line(FILE *out, const struct daemon_state *s, uint32_t id,
		      const struct controller_reading *r)
{
	struct controller_targets t = controller_targets(s->controller, id);
	const char *name = s->controller->model[id].name;
	uint64_t since = s->changed_ns[id];
	struct why w = why(r, &t);

	fputs("<li class=shut><b>", out);
	page_escaped(out, id == SLUICE_MODEL_ALL ? "Everything" : name);
	fputs("</b> is shut: ", out);
	if (w.value > w.target)
		fprintf(out, "its average %s is %.1f ms, and its target is %.0f ms", w.average,
			w.value, w.target);
	else
		fprintf(out, "the reason is %s", text_reason(r->reason));
	if (since && since <= s->now_ns) {
		fputs(". Since ", out);
		page_clock(out, s->unix_ns - (s->now_ns - since));
		fputs(" (", out);
		page_span(out, (double)(s->now_ns - since) / 1e9);
		fputc(')', out);
	}
	if (w.value > w.target) {
		fputs(", until about ", out);
		page_clock(out, s->unix_ns + (uint64_t)(r->retry_after_s * 1e9));
		fputs(" (in ", out);
		page_span(out, r->retry_after_s);
		fputs(") if nothing more arrives.", out);
	} else {
		fputs(", until the next first token or end of a response.", out);
	}
	remedy(out, s, r->reason, id, NULL);
	fputs("</li>\n", out);
}

static void full_line(FILE *out, const struct daemon_state *s, uint32_t id)
{
	struct explanation e = verdict_on(s, NULL, id);
	const struct remedy r = {.s = s, .e = &e, .about = id};

	fputs("<li class=full><b>", out);
	page_escaped(out, id == SLUICE_MODEL_ALL ? "Everything together"
						 : s->controller->model[id].name);
	fprintf(out, "</b> is at its limit: %" PRId64 " of %u in flight. ", state_in_flight(s, id),
		controller_limit(s->controller, id));
	fputs(remedy_at_ceiling(&r)
		      ? "Policy adaptive set this limit to meet the targets, and raises it when it can."
		      : "One more is admitted when one ends.",
	      out);
	remedy(out, s, SLUICE_REASON_IN_FLIGHT, id, NULL);
	fputs("</li>\n", out);
}

static void drain_line(FILE *out, const struct daemon_state *s)
{
	const struct controller_drain *d = &s->controller->drain;

	fprintf(out,
		"<li class=shut><b>Everything new is refused</b> with a %d: the server drains, ",
		d->unavailable ? 503 : 429);
	if (d->until_ns) {
		fputs("until ", out);
		page_clock(out, s->unix_ns + (d->until_ns - s->now_ns));
		fputs(" (in ", out);
		page_span(out, (double)(d->until_ns - s->now_ns) / 1e9);
		fputs(").", out);
	} else {
		fputs("without an end.", out);
	}
	remedy(out, s, SLUICE_REASON_OPERATOR, SLUICE_MODEL_ALL, NULL);
	fputs("</li>\n", out);
}

static const struct history_series *most_refused(const struct history *h, unsigned at)
{
	const struct history_series *most = NULL;

	for (unsigned i = 0; i < HISTORY_MODELS; i++) {
		const struct history_series *one = &h->model[i];

		if (*one->name && strncmp(one->name, CONTROLLER_POOL, strlen(CONTROLLER_POOL)) &&
		    one->point[at].rejected > 0 &&
		    (!most || one->point[at].rejected > most->point[at].rejected))
			most = one;
	}
	return most;
}

/* The first point since which there is one with refusals at each: by a reason or (NONE) by any. */
static uint64_t refused_since(const struct history *h, uint32_t reason)
{
	uint64_t first = h->count - 1;

	for (; first > history_first(h); first--) {
		unsigned before = (first - 1) % HISTORY_POINTS;

		if ((reason ? h->by_reason[before][reason] : h->all.point[before].rejected) <= 0)
			break;
	}
	return h->unix_ms[first % HISTORY_POINTS] * 1000000;
}

/* The reason, of those that are a client's or those that are not, with most refusals at a point. */
static uint32_t most_reason(const struct history *h, unsigned at, bool of_client)
{
	uint32_t most = SLUICE_REASON_NONE;

	for (uint32_t r = SLUICE_REASON_NONE + 1; r < SLUICE_REASON_COUNT; r++)
		if (remedy_is_of_client(r) == of_client && h->by_reason[at][r] > 0 &&
		    (!most || h->by_reason[at][r] > h->by_reason[at][most]))
			most = r;
	return most;
}

/* Until when this client is refused. */
static void client_until(FILE *out, const struct daemon_state *s, uint32_t reason,
			 const struct state_client *c)
{
	struct explanation e = verdict_on(s, c, c->count.last_model);
	uint64_t end = e.answer.override_expires_ns;

	if (reason == SLUICE_REASON_REQUEST_QUOTA || reason == SLUICE_REASON_TOKEN_QUOTA) {
		fputs("until ", out);
		page_clock(out, s->unix_ns + e.quota.wait_ns);
		fputs(", for its next request", out);
	} else if (reason == SLUICE_REASON_CLIENT_BLOCKED && end > s->now_ns) {
		fputs("until ", out);
		page_clock(out, s->unix_ns + (end - s->now_ns));
	} else if (reason == SLUICE_REASON_CLIENT_BLOCKED) {
		fputs("without end", out);
	} else if (reason == SLUICE_REASON_STALLED_RESPONSES) {
		fputs("until it reads its responses", out);
	} else {
		fputs("until some of its requests end", out);
	}
}

/* The client that is refused most for such a reason. */
static void client_line(FILE *out, const struct daemon_state *s, unsigned at, uint32_t reason)
{
	const struct state_client *c = most_refused_client(s, reason);
	char name[TEXT_CLIENT_MAX] = "";

	fprintf(out, "<li class=full><b>%.1f a second are refused by %s</b>",
		(double)s->history->by_reason[at][reason], text_reason(reason));
	if (c) {
		text_client(name, &c->client);
		fprintf(out, ", most of them of %s", name);
	}
	fputs(". Since ", out);
	page_clock(out, refused_since(s->history, reason));
	if (c) {
		fputs(", ", out);
		client_until(out, s, reason, c);
	}
	fputc('.', out);
	remedy(out, s, reason, SLUICE_MODEL_ALL, c);
	fputs("</li>\n", out);
}

/* Requests that are refused while models are open: how many a second, why, since when the history
 * has some without a gap. False: none. */
static bool refusing(FILE *out, const struct daemon_state *s)
{
	const struct history *h = s->history;
	const struct history_series *most;
	const char *between = " (";
	uint32_t reason, of_client;
	const int at = history_now(h);
	int model;

	if (at < 0 || h->all.point[at].rejected <= 0)
		return false;
	fprintf(out, "<li class=full><b>%.1f requests a second are refused</b>",
		(double)h->all.point[at].rejected);
	for (unsigned r = SLUICE_REASON_NONE + 1; r < SLUICE_REASON_COUNT; r++) {
		if (h->by_reason[at][r] <= 0)
			continue;
		fprintf(out, "%s%s %.1f", between, text_reason(r), (double)h->by_reason[at][r]);
		between = ", ";
	}
	fprintf(out, "%s, and %.1f admitted", between[0] == ',' ? ")" : "",
		(double)h->all.point[at].admitted);
	most = most_refused(h, at);
	if (most) {
		fputs("; most of the refusals are of ", out);
		page_escaped(out, most->name);
	}
	fputs(". Since ", out);
	page_clock(out, refused_since(h, SLUICE_REASON_NONE));
	fputs(", until fewer come.", out);
	model = most ? controller_find(s->controller, most->name) : -1;
	reason = most_reason(h, at, false);
	if (reason)
		remedy(out, s, reason, model < 0 ? SLUICE_MODEL_ALL : (uint32_t)model, NULL);
	fputs("</li>\n", out);
	of_client = most_reason(h, at, true);
	if (of_client)
		client_line(out, s, at, of_client);
	return true;
}

/* A sentence that has settings in pairs of backquotes. */
static void marked(FILE *out, char *text)
{
	bool code = false;

	for (char *part; (part = strsep(&text, "`")); code = !code) {
		fputs(code ? "<code>" : "", out);
		page_escaped(out, part);
		fputs(code ? "</code>" : "", out);
	}
}

static void troubles(FILE *out, const struct daemon_state *s)
{
	for (uint32_t id = 0; s->troubles && id <= SLUICE_SERVICES_MAX; id++) {
		char service[TEXT_SERVICE_MAX], text[TROUBLE_TEXT_MAX];

		if (!state_service_name(service, s, id))
			continue;
		for (unsigned kind = 0; kind < TROUBLE_KINDS; kind++) {
			if (!s->troubles[id][kind].on)
				continue;
			trouble_text(text, kind, service, &s->troubles[id][kind].facts);
			fputs("<li class=trouble><b>Trouble:</b> ", out);
			marked(out, text);
			fputs("</li>\n", out);
		}
	}
}

static bool any_target(const struct daemon_state *s)
{
	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++) {
		struct controller_targets t;

		if (!state_model_in_use(s, id))
			continue;
		t = controller_targets(s->controller, id);
		if (controller_any_threshold(&t) || controller_limit(s->controller, id))
			return true;
	}
	return false;
}

void page_state(FILE *out, const struct daemon_state *s)
{
	bool drains = controller_drains(s->controller, s->now_ns), refuses;
	unsigned shut = 0, full = 0;

	fputs("<section id=state>\n<h2>State</h2>\n<ul>\n", out);
	if (s->detaching)
		fputs("<li class=shut><b>sluice detaches</b>: it refuses nothing more.</li>\n",
		      out);
	if (s->mode == SLUICE_MODE_SHADOW)
		fputs("<li class=full><b>Shadow mode</b>: everything passes, and refusals are only counted. To change this: <code>sluicectl set mode=enforce</code></li>\n",
		      out);
	if (drains)
		drain_line(out, s);
	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++) {
		struct controller_reading r;

		if (!state_model_in_use(s, id))
			continue;
		r = controller_read(s->controller, id, s->now_ns);
		if (!r.open && shut++ < SHUT_LISTED)
			shut_line(out, s, id, &r);
		else if (r.open && page_is_full(s, id) && full++ < SHUT_LISTED)
			full_line(out, s, id);
	}
	if (shut > SHUT_LISTED || full > SHUT_LISTED)
		fprintf(out, "<li>%u are shut and %u at their limits; these are the first.</li>\n",
			shut, full);
	refuses = refusing(out, s);
	if (!drains && !shut && !full && !refuses)
		fprintf(out, "<li class=open><b>Everything is open</b>%s.</li>\n",
			any_target(s) ? "" : ": no target is set, so latency is only observed");
	troubles(out, s);
	fputs("</ul>\n</section>\n", out);
}
