/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The sentences of the page: what is shut or refused and why, since when and until when, and the
 * command that changes it.
 */
#include "metrics/page_internal.h"

#include <inttypes.h>
#include <string.h>

#include "core/history.h"
#include "core/text.h"

#define SHUT_LISTED 10

/* The command that changes it that requests are refused for this reason. */
static void remedy(FILE *out, unsigned reason, const char *model)
{
	static const struct {
		const char *command, *key;
	} of[SLUICE_REASON_COUNT] = {
		[SLUICE_REASON_TTFT] = {"set", "ttft=MS"},
		[SLUICE_REASON_ITL] = {"set", "itl=MS"},
		[SLUICE_REASON_DURATION] = {"set", "duration=MS"},
		[SLUICE_REASON_NORMALIZED_LATENCY] = {"set", "normalized-latency=MS"},
		[SLUICE_REASON_IN_FLIGHT] = {"set", "max-in-flight=N"},
		[SLUICE_REASON_CLIENT_BLOCKED] = {"clear CLIENT", NULL},
		[SLUICE_REASON_REQUEST_QUOTA] = {"quota show", NULL},
		[SLUICE_REASON_TOKEN_QUOTA] = {"quota show", NULL},
		[SLUICE_REASON_OPERATOR] = {"resume", NULL},
	};

	fprintf(out, " To change this: <code>sluicectl %s",
		of[reason].command ? of[reason].command : "clients");
	if (of[reason].key) {
		fputc(' ', out);
		if (model) {
			fputs("--model ", out);
			page_word(out, model);
			fputc(' ', out);
		}
		fputs(of[reason].key, out);
	}
	fputs("</code>", out);
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
	remedy(out, r->reason, id == SLUICE_MODEL_ALL ? NULL : name);
	fputs("</li>\n", out);
}

static void full_line(FILE *out, const struct daemon_state *s, uint32_t id)
{
	const struct controller_model *m = &s->controller->model[id];
	struct controller_targets t = controller_targets(s->controller, id);
	uint32_t limit = controller_limit(s->controller, id);
	bool own = t.max_in_flight > 0 && (int64_t)limit >= t.max_in_flight;

	fputs("<li class=full><b>", out);
	page_escaped(out, id == SLUICE_MODEL_ALL ? "Everything together" : m->name);
	fprintf(out, "</b> is at its limit: %" PRId64 " of %u in flight. ", s->kernel[id].in_flight,
		limit);
	fputs(own ? "One more is admitted when one ends."
		  : "Policy adaptive set this limit to meet the targets, and raises it when it can.",
	      out);
	remedy(out, own ? SLUICE_REASON_IN_FLIGHT : SLUICE_REASON_TTFT,
	       id == SLUICE_MODEL_ALL ? NULL : m->name);
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
	fputs(" To change this: <code>sluicectl resume</code></li>\n", out);
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

/* Requests that are refused while models are open: since when the history has some without a gap,
 * how many a second and why. False: none. */
static bool refusing(FILE *out, const struct daemon_state *s)
{
	const struct history *h = s->history;
	const struct history_series *most;
	unsigned at, most_reason = SLUICE_REASON_NONE;
	const char *between = " (";
	uint64_t first;

	if (!h || h->count < 2)
		return false;
	at = (h->count - 1) % HISTORY_POINTS;
	if (h->all.point[at].rejected <= 0)
		return false;
	for (first = h->count - 1; first > history_first(h); first--)
		if (h->all.point[(first - 1) % HISTORY_POINTS].rejected <= 0)
			break;
	fprintf(out, "<li class=full><b>%.1f requests a second are refused</b>",
		(double)h->all.point[at].rejected);
	for (unsigned r = SLUICE_REASON_NONE + 1; r < SLUICE_REASON_COUNT; r++) {
		if (h->by_reason[at][r] <= 0)
			continue;
		fprintf(out, "%s%s %.1f", between, text_reason(r), (double)h->by_reason[at][r]);
		between = ", ";
		if (most_reason == SLUICE_REASON_NONE ||
		    h->by_reason[at][r] > h->by_reason[at][most_reason])
			most_reason = r;
	}
	fprintf(out, "%s, and %.1f admitted", between[0] == ',' ? ")" : "",
		(double)h->all.point[at].admitted);
	most = most_refused(h, at);
	if (most) {
		fputs("; most of the refusals are of ", out);
		page_escaped(out, most->name);
	}
	fputs(". Since ", out);
	page_clock(out, h->unix_ms[first % HISTORY_POINTS] * 1000000);
	fputs(", until fewer come.", out);
	remedy(out, most_reason, most ? most->name : NULL);
	fputs("</li>\n", out);
	return true;
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
			page_escaped(out, text);
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
