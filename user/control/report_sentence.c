/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The verdict on a client's next request as one sentence, for an operator with a caller on the
 * phone: what happens, why, until when, and the command that changes it. The numbers are those of
 * the programs' answer, so the sentence never disagrees with the fields beside it. The command is
 * for pasting into a shell: clients choose the names of models, so a name is quoted.
 */
#include "control/report_internal.h"

#include <stdlib.h>
#include <string.h>

#include "control/format_internal.h"
#include "core/remedy.h"

#define S_MS 1000

struct sentence {
	FILE *out;
	const struct daemon_state *s;
	const struct sluice_client *client;
	const struct explanation *e;
	bool syn; /* the verdict is on a connection */
	struct remedy remedy;
};

/* A time of day, so many ms from now. */
static const char *clock_in(const struct sentence *t, uint64_t ms)
{
	return format_clock((json_int_t)(t->s->unix_ns / MS + ms));
}

static uint64_t ms_until(const struct sentence *t, uint64_t end_ns)
{
	uint64_t now_ns = t->e->answer.now_ns;

	return end_ns > now_ns ? (end_ns - now_ns) / MS : 0;
}

/* " until 03:12:44", or " without end" */
static void print_end(const struct sentence *t, uint64_t end_ns)
{
	if (end_ns)
		fprintf(t->out, " until %s", clock_in(t, ms_until(t, end_ns)));
	else
		fputs(" without end", t->out);
}

static const char *model_name(const struct sentence *t, uint32_t id)
{
	static char name[SLUICE_NAME_MAX];

	state_model_name(name, t->s, id);
	return name;
}

/* What a refusal is about: "model 'llama'". */
static void print_about(const struct sentence *t)
{
	if (t->e->answer.about == SLUICE_MODEL_ALL)
		fputs("the whole server", t->out);
	else
		fprintf(t->out, "model '%s'", model_name(t, t->e->answer.about));
}

/* The entry that the refusal is about, for look-ups. */
static uint32_t entry_of(const struct sentence *t)
{
	uint32_t about = t->e->answer.about;

	return about < SLUICE_MODELS_MAX ? about : SLUICE_MODEL_OTHER;
}

/* ---- the way of the refusal ---- */

static void print_answer(const struct sentence *t)
{
	const struct sluice_answer *a = &t->e->answer;
	bool drained = a->reason == SLUICE_REASON_OPERATOR;
	uint64_t wait_ms = (a->retry_after_ms + S_MS - 1) / S_MS * S_MS;

	if (a->action == SLUICE_ACTION_DROP) {
		fputs("dropped without an answer", t->out);
	} else if (a->action == SLUICE_ACTION_RESET || t->syn) {
		fputs("connection reset", t->out);
	} else {
		/* A SYN is refused where every request of its connection would be. */
		if (a->reason == SLUICE_REASON_CLIENT_BLOCKED && a->about == SLUICE_MODEL_ALL &&
		    t->client->kind == SLUICE_CLIENT_ADDRESS)
			fputs("new connections reset, else ", t->out);
		fprintf(t->out, "%d, retry after %s%s",
			drained && t->s->controller->drain.unavailable ? 503 : 429,
			a->spread ? "about " : "", format_span((double)(wait_ms ? wait_ms : S_MS)));
	}
}

/* ---- why, and until when ---- */

/* Of a policy that shuts by averages. `what`: "TTFT". */
static void why_average(const struct sentence *t, const char *what, double ms, double target_ms)
{
	if (ms > target_ms && target_ms > 0) {
		fprintf(t->out, "the average %s of ", what);
		print_about(t);
		fprintf(t->out, " is %.*f ms, over its target of %.*f ms", ms < 100, ms,
			target_ms < 10, target_ms);
	} else {
		print_about(t);
		fprintf(t->out, " is over its %s target", what);
	}
	fprintf(t->out, "; it opens about %s if nothing more arrives",
		clock_in(t, t->e->answer.retry_after_ms));
}

static void why_ttft(const struct sentence *t, double ms, double target_ms)
{
	const struct explanation *e = t->e;

	if (e->answer.admission.stopped) {
		print_about(t);
		fputs(" is stuck: what waits for a first token moves no more; it opens with the next first token or end of a response",
		      t->out);
	} else if (e->answer.admission.floor && e->predicted_ms >= 0) {
		fprintf(t->out, "the request would wait %s for its first token, and may wait %s",
			format_span(e->predicted_ms), format_span(e->allowed_ms));
		if (e->target_ms > 0)
			fprintf(t->out, " (target %s)", format_span(e->target_ms));
		fprintf(t->out, "; by estimate until %s", clock_in(t, e->answer.retry_after_ms));
	} else {
		why_average(t, "TTFT", ms, target_ms);
	}
}

static void why_in_flight(const struct sentence *t)
{
	const struct sluice_answer *a = &t->e->answer;
	uint32_t limit = controller_limit(t->s->controller, entry_of(t));

	print_about(t);
	if (remedy_at_ceiling(&t->remedy))
		fprintf(t->out, " has %lld requests in flight, of %llu that this rank may use",
			(long long)a->load.in_flight, (unsigned long long)a->slots);
	else if (limit)
		fprintf(t->out, " has %lld requests in flight, and its limit is %u",
			(long long)state_in_flight(t->s, a->about), limit);
	else
		fputs(" has as many requests in flight as it may", t->out);
	fputs("; a slot is free when one ends", t->out);
}

static void why_client_share(const struct sentence *t)
{
	const struct explanation *e = t->e;

	if (t->syn)
		fputs("its connections crowd out those of others, until it closes some", t->out);
	else if (e->answer.rank & 1)
		fprintf(t->out,
			"this client has %lld in flight, above its share of %.1f slots, and the rest is for others until some of its own end",
			(long long)e->answer.held.in_flight, e->share);
	else
		fputs("requests that this client has hung up on still hold half of the slots, until their answers end",
		      t->out);
}

static void why_client_blocked(const struct sentence *t)
{
	const struct sluice_answer *a = &t->e->answer;

	if (a->override == SLUICE_OVERRIDE_PREFIX_BLOCKED)
		fputs("a prefix of this client is blocked", t->out);
	else
		fputs("this client is blocked", t->out);
	if (a->about != SLUICE_MODEL_ALL)
		fprintf(t->out, " from model '%s'", model_name(t, a->about));
	print_end(t, a->override_expires_ns);
}

/* `of`: the budget that is used up, "request" or "token". */
static void why_quota(const struct sentence *t, const char *of)
{
	struct quota_def def;
	const struct quota_rate *rate;
	char period[32];

	quota_of_text(&def, &t->s->quotas->text[t->e->quota.id]);
	rate = *of == 'r' ? &def.requests : &def.tokens;
	quota_period(period, sizeof(period), rate->period_ns);
	fprintf(t->out, "this client has used up its %s quota of %llu in %s", of,
		(unsigned long long)rate->most, period);
	fprintf(t->out, "; its next request is admitted at %s",
		clock_in(t, t->e->answer.retry_after_ms + S_MS - 1));
}

static void why_operator(const struct sentence *t)
{
	const struct controller_drain *drain = &t->s->controller->drain;

	fputs("an operator drains this server", t->out);
	print_end(t, drain->on ? drain->until_ns : 0);
}

/* A new reason does not compile without its sentence. */
static void print_why(const struct sentence *t)
{
	const struct sluice_answer *a = &t->e->answer;
	uint32_t about = entry_of(t);
	struct controller_reading now = controller_read(t->s->controller, about, t->s->now_ns);
	struct controller_targets target = controller_targets(t->s->controller, about);

	switch ((enum sluice_reason)a->reason) {
	case SLUICE_REASON_TTFT:
		why_ttft(t, now.ttft_ms, target.ttft_ms);
		break;
	case SLUICE_REASON_ITL:
		why_average(t, "ITL", now.itl_ms, target.itl_ms);
		break;
	case SLUICE_REASON_DURATION:
		why_average(t, "duration", now.duration_ms, target.duration_ms);
		break;
	case SLUICE_REASON_NORMALIZED_LATENCY:
		why_average(t, "normalized latency", now.normalized_ms, target.normalized_ms);
		break;
	case SLUICE_REASON_IN_FLIGHT:
		why_in_flight(t);
		break;
	case SLUICE_REASON_CLIENT_SHARE:
		why_client_share(t);
		break;
	case SLUICE_REASON_CLIENT_BLOCKED:
		why_client_blocked(t);
		break;
	case SLUICE_REASON_REQUEST_QUOTA:
		why_quota(t, "request");
		break;
	case SLUICE_REASON_TOKEN_QUOTA:
		why_quota(t, "token");
		break;
	case SLUICE_REASON_OPERATOR:
		why_operator(t);
		break;
	case SLUICE_REASON_STALLED_RESPONSES:
		fprintf(t->out, "this client does not read %d of its responses, until it does",
			SLUICE_STALLED_MAX);
		break;
	case SLUICE_REASON_NONE:
	case SLUICE_REASON_COUNT:
		break;
	}
}

static void print_command(FILE *out, const char *text)
{
	fprintf(out, "`%s`", text);
}

/* ---- a request that passes ---- */

static void print_budget(FILE *out, const struct explain_budget *b, const char *what)
{
	if (b->limit)
		fprintf(out, "%llu of %llu %s left, ", (unsigned long long)b->left,
			(unsigned long long)b->limit, what);
}

static void print_admitted(const struct sentence *t)
{
	const struct explanation *e = t->e;
	const struct sluice_answer *a = &e->answer;
	uint32_t limit = controller_limit(t->s->controller, e->model);

	if (a->override == SLUICE_OVERRIDE_PREFIX_EXEMPT) {
		fputs("a prefix of this client is exempt", t->out);
		print_end(t, a->override_expires_ns);
		fputs(": no drain, quota, limit or target refuses it.", t->out);
	} else if (a->override == SLUICE_OVERRIDE_ALLOWED) {
		fputs("a rule allows this client", t->out);
		print_end(t, a->override_expires_ns);
		fputs(": no quota, limit or target refuses it.", t->out);
	} else if (t->syn) {
		fprintf(t->out,
			"no rule and no shut model refuses its connections; %lld in flight.",
			(long long)state_in_flight(t->s, e->model));
	} else {
		print_budget(t->out, &e->quota.requests, "requests");
		print_budget(t->out, &e->quota.tokens, "tokens");
		if (!e->quota.id)
			fputs("no quota, ", t->out);
		if (a->admission.floor && a->admission.ceiling)
			fprintf(t->out, "%lld in flight of %llu.", (long long)a->load.in_flight,
				(unsigned long long)a->slots);
		else if (limit)
			fprintf(t->out, "%lld in flight of %u.",
				(long long)state_in_flight(t->s, e->model), limit);
		else
			fprintf(t->out, "%lld in flight.",
				(long long)state_in_flight(t->s, e->model));
	}
}

json_t *report_sentence(const struct daemon_state *s, const struct sluice_client *client, bool syn,
			const struct explanation *e)
{
	struct sentence t = {.s = s,
			     .client = client,
			     .e = e,
			     .syn = syn,
			     .remedy = {.s = s,
					.e = e,
					.client = client,
					.reason = e->answer.reason,
					.about = e->answer.about,
					.request = "it",
					.client_words = "this client"}};
	json_t *sentence;
	char *text = NULL;
	size_t len;

	t.out = open_memstream(&text, &len);
	if (!t.out)
		return json_null();
	if (!e->answer.reason) {
		fputs("Admitted: ", t.out);
		print_admitted(&t);
	} else {
		if (e->shadow)
			fputs("Admitted, since sluice only watches (mode shadow). Enforced, it would be refused (",
			      t.out);
		else if (e->admitted)
			fprintf(t.out, "Admitted, since %s. Enforced, it would be refused (",
				s->detaching ? "sluice is detaching"
					     : "the lease has ended and nothing is enforced");
		else
			fputs("Refused (", t.out);
		print_answer(&t);
		fputs("): ", t.out);
		print_why(&t);
		fputs(". ", t.out);
		remedy_write(t.out, &t.remedy, print_command);
	}
	fclose(t.out);
	sentence = json_stringn(text, len);
	free(text);
	return sentence ? sentence : json_null();
}
