/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The verdict on a client's next request as one sentence, for an operator with a caller on the
 * phone: what happens, why, until when, and the command that changes it. The numbers are those of
 * the programs' answer, so the sentence never disagrees with the fields beside it. The command is
 * for pasting into a shell: clients choose the names of models, so a name is quoted.
 */
#include "control/report_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "control/format_internal.h"

#define S_MS            1000
#define HEADROOM        1.2 /* of a proposed value above the least that admits */
#define PROPOSED_MS_MAX 9e6 /* `set` takes up to 1e7 */
#define PROPOSED_MODELS 3   /* of a pool, with a command each */

struct sentence {
	FILE *out;
	const struct daemon_state *s;
	const struct sluice_client *client;
	const struct explanation *e;
	bool syn; /* the verdict is on a connection */
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

	report_model_name(t->s, id, name, sizeof(name));
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

/* A word of a shell's command line. */
static void print_word(FILE *out, const char *word)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/:@+-";

	bool printed = true;

	if (*word && strspn(word, plain) == strlen(word)) {
		fputs(word, out);
		return;
	}
	for (const char *c = word; *c; c++)
		printed &= *c >= ' ' && *c <= '~' && *c != '\\' && *c != '\'';
	if (printed) {
		fprintf(out, "'%s'", word);
		return;
	}
	/* Bytes, since what is printed escapes some characters, and no command reads that. */
	fputs("$'", out);
	for (; *word; word++)
		if (*word < ' ' || *word > '~' || *word == '\\' || *word == '\'')
			fprintf(out, "\\x%02x", (unsigned char)*word);
		else
			fputc(*word, out);
	fputc('\'', out);
}

/* The entry that the refusal is about, for look-ups. */
static uint32_t entry_of(const struct sentence *t)
{
	uint32_t about = t->e->answer.about;

	return about < SLUICE_MODELS_MAX ? about : SLUICE_MODEL_OTHER;
}

static long long in_flight_of(const struct sentence *t, uint32_t model)
{
	int64_t n = t->s->kernel[model].in_flight;

	return n > 0 ? n : 0; /* read between the updates of two CPUs */
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

/* Whether the ceiling of the policy refuses the request, and not max-in-flight, which comes
 * first. */
static bool at_ceiling(const struct sentence *t)
{
	const struct sluice_answer *a = &t->e->answer;
	int64_t most = controller_targets(t->s->controller, entry_of(t)).max_in_flight;

	return a->admission.floor && a->admission.ceiling &&
	       (most <= 0 || in_flight_of(t, entry_of(t)) < most);
}

static void why_in_flight(const struct sentence *t)
{
	const struct sluice_answer *a = &t->e->answer;
	uint32_t limit = controller_limit(t->s->controller, entry_of(t));

	print_about(t);
	if (at_ceiling(t))
		fprintf(t->out, " has %lld requests in flight, of %llu that this rank may use",
			(long long)a->load.in_flight, (unsigned long long)a->slots);
	else if (limit)
		fprintf(t->out, " has %lld requests in flight, and its limit is %u",
			in_flight_of(t, a->about), limit);
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

/* ---- the commands that admit the request ---- */

static void print_model_option(const struct sentence *t, uint32_t model)
{
	fputs(" --model ", t->out);
	print_word(t->out, model_name(t, model));
}

static bool fleet_has_rule(const struct sentence *t)
{
	for (size_t i = 0; i < t->s->client_rule_count; i++) {
		const struct state_client_rule *r = &t->s->client_rules[i];

		if (r->flag.fleet && r->key.model == t->e->answer.about &&
		    !memcmp(&r->key.client, t->client, sizeof(*t->client)))
			return true;
	}
	return false;
}

/* A key of `set`, and the value that a remedy raises it to. */
struct proposal {
	const char *key, *unit;
	double (*of)(const struct controller_targets *t); /* its value there; negative: not set */
	double value;
	double per_kib; /* of a ttft that grows with the request */
};

static double ttft_of(const struct controller_targets *t)
{
	return t->ttft_ms;
}

static double itl_of(const struct controller_targets *t)
{
	return t->itl_ms;
}

static double duration_of(const struct controller_targets *t)
{
	return t->duration_ms;
}

static double normalized_of(const struct controller_targets *t)
{
	return t->normalized_ms;
}

static double floor_of(const struct controller_targets *t)
{
	return (double)t->floor;
}

/* By the reason of the refusal. */
static const struct proposal targets[] = {
	[SLUICE_REASON_TTFT] = {.key = "ttft", .unit = "ms", .of = ttft_of},
	[SLUICE_REASON_ITL] = {.key = "itl", .unit = "ms", .of = itl_of},
	[SLUICE_REASON_DURATION] = {.key = "duration", .unit = "ms", .of = duration_of},
	[SLUICE_REASON_NORMALIZED_LATENCY] = {.key = "normalized-latency",
					      .unit = "ms",
					      .of = normalized_of},
};

static void print_set(const struct sentence *t, const struct proposal *p, uint32_t model)
{
	fprintf(t->out, "`sluicectl set %s=%.10g%s", p->key, p->value, p->unit);
	if (p->per_kib > 0)
		fprintf(t->out, "+%.10g%s/KiB", p->per_kib, p->unit);
	if (model != SLUICE_MODEL_ALL)
		print_model_option(t, model);
	fputc('`', t->out);
}

/* The smallest value of a pool's models holds: it is raised for each that has a smaller one of its
 * own, and for all models if one has none of its own. */
static void print_pool_set(const struct sentence *t, const struct proposal *p, uint32_t pool)
{
	const struct controller *c = t->s->controller;
	unsigned commands = 0, more = 0;
	bool global = false;
	double own;

	for (uint32_t id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX; id++) {
		if (c->model[id].in_pool != pool)
			continue;
		own = p->of(&c->model[id].own);
		if (own < 0) {
			global = true;
		} else if (own > 0 && own < p->value && commands < PROPOSED_MODELS) {
			fputs(commands++ ? ", " : "", t->out);
			print_set(t, p, id);
		} else if (own > 0 && own < p->value) {
			more++;
		}
	}
	if (global && p->of(&c->all) < p->value) {
		fputs(commands ? ", " : "", t->out);
		print_set(t, p, SLUICE_MODEL_ALL);
	}
	if (more)
		fprintf(t->out, " and so for %u more models of the pool", more);
}

static void propose(const struct sentence *t, const struct proposal *p, const char *what)
{
	const struct sluice_answer *a = &t->e->answer;
	uint32_t pool = a->pool < SLUICE_MODELS_MAX ? a->pool : SLUICE_MODEL_OTHER;

	fprintf(t->out, "To admit it by a higher %s: ", what);
	if (a->about == SLUICE_MODEL_ALL || !t->s->controller->model[pool].is_pool)
		print_set(t, p, a->about);
	else
		print_pool_set(t, p, pool);
	fputs(". ", t->out);
}

/* Up to the next number of two digits, and then zeros. What is one but for binary fractions stays.
 */
static double round_up(double value)
{
	double unit = pow(10, floor(log10(value)) - 1);

	return ceil(value / unit - 1e-6) * unit;
}

/* The target of an entry is `factor` times too low. */
static void propose_target(const struct sentence *t, uint32_t entry, double factor)
{
	struct controller_targets now = controller_targets(t->s->controller, entry);
	struct proposal p = targets[t->e->answer.reason];
	double ms = p.of(&now);

	factor *= HEADROOM;
	if (!(ms > 0) || !(ms * factor < PROPOSED_MS_MAX))
		return;
	p.value = round_up(ms * factor);
	if (p.of == ttft_of && now.ttft_ms_per_kib > 0)
		p.per_kib = round_up(now.ttft_ms_per_kib * factor);
	propose(t, &p, "target");
}

/* Of a policy that shuts by averages. */
static void remedy_average(const struct sentence *t, double average_ms)
{
	struct controller_targets now = controller_targets(t->s->controller, entry_of(t));
	double ms = targets[t->e->answer.reason].of(&now);

	propose_target(t, entry_of(t), average_ms > ms ? average_ms / ms : 1);
}

static void remedy_ttft(const struct sentence *t, double average_ms)
{
	const struct explanation *e = t->e;
	const struct sluice_answer *a = &e->answer;

	if (a->admission.stopped)
		return; /* no target moves what is stuck */
	if (!a->admission.floor)
		remedy_average(t, average_ms);
	else if (e->predicted_ms > 0 && e->allowed_ms > 0) /* in proportion to the target */
		propose_target(t,
			       a->about == SLUICE_MODEL_ALL || a->pool >= SLUICE_MODELS_MAX
				       ? entry_of(t)
				       : a->pool,
			       fmax(e->predicted_ms / e->allowed_ms, 1));
}

/* The floor, if the policy's ceiling refuses, since no command sets that. */
static void remedy_in_flight(const struct sentence *t)
{
	const struct sluice_answer *a = &t->e->answer;
	uint64_t level = a->admission.level[a->rank % SLUICE_RANKS];
	int64_t most = controller_targets(t->s->controller, entry_of(t)).max_in_flight;
	double slots = (double)(a->load.in_flight + 1) * ADMISSION_ALL;
	struct proposal p = {.key = "floor", .unit = "", .of = floor_of};

	if (at_ceiling(t) && level && slots / (double)level * HEADROOM < ADAPTIVE_CEILING_MAX) {
		p.value = ceil(slots / (double)level * HEADROOM);
		propose(t, &p, "floor");
	} else if (!at_ceiling(t) && most > 0) {
		p.key = "max-in-flight"; /* of the model, also in a pool */
		p.value = ceil(fmax((double)most, (double)in_flight_of(t, entry_of(t))) * HEADROOM);
		fputs("To admit it by a higher limit: ", t->out);
		print_set(t, &p, a->about);
		fputs(". ", t->out);
	}
}

/* The quota in force with twice the budget that is used up. */
static void remedy_quota(const struct sentence *t, const char *client)
{
	const struct explain_quota *q = &t->e->quota;
	char words[QUOTA_TEXT_MAX];
	struct quota_rate *rate;
	struct quota_def def;
	char why[256];

	quota_of_text(&def, &t->s->quotas->text[q->id]);
	rate = t->e->answer.reason == SLUICE_REASON_REQUEST_QUOTA ? &def.requests : &def.tokens;
	rate->most *= 2;
	rate->burst *= 2;
	quota_words(words, &def);
	if (quota_parse(&def, words, why, sizeof(why))) /* above the most that there is */
		return;
	fprintf(t->out, "To give it more: `sluicectl quota set %s", client);
	if (q->from == SLUICE_QUOTA_FROM_CLIENT_MODEL || q->from == SLUICE_QUOTA_FROM_MODEL)
		print_model_option(t, t->e->model);
	fprintf(t->out, " %s`. ", words);
}

/* The command that changes what refuses, and the one that admits this client whatever refuses. */
static void print_remedy(const struct sentence *t)
{
	const struct sluice_answer *a = &t->e->answer;
	struct controller_reading now =
		controller_read(t->s->controller, entry_of(t), t->s->now_ns);
	char client[TEXT_CLIENT_MAX];

	text_client(client, t->client);
	switch (a->reason) {
	case SLUICE_REASON_OPERATOR:
		fputs("To end the drain: `sluicectl resume`.", t->out);
		return;
	case SLUICE_REASON_CLIENT_BLOCKED:
		/* Its prefix may be in the configuration; a rule about the client precedes that. */
		if (a->override == SLUICE_OVERRIDE_PREFIX_BLOCKED) {
			fprintf(t->out, "To admit this client alone: `sluicectl allow %s`.",
				client);
			return;
		}
		fprintf(t->out, "To lift it: `sluicectl clear %s", client);
		if (a->about != SLUICE_MODEL_ALL)
			print_model_option(t, a->about);
		fprintf(t->out, "%s`.", fleet_has_rule(t) ? " --fleet" : "");
		return;
	case SLUICE_REASON_REQUEST_QUOTA:
	case SLUICE_REASON_TOKEN_QUOTA:
		remedy_quota(t, client);
		break; /* the client may have spent that quota before */
	case SLUICE_REASON_TTFT:
		remedy_ttft(t, now.ttft_ms);
		break;
	case SLUICE_REASON_ITL:
		remedy_average(t, now.itl_ms);
		break;
	case SLUICE_REASON_DURATION:
		remedy_average(t, now.duration_ms);
		break;
	case SLUICE_REASON_NORMALIZED_LATENCY:
		remedy_average(t, now.normalized_ms);
		break;
	case SLUICE_REASON_IN_FLIGHT:
		remedy_in_flight(t);
		break;
	}
	fprintf(t->out, "To admit this client anyway: `sluicectl allow %s --for 10m`.", client);
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
			in_flight_of(t, e->model));
	} else {
		print_budget(t->out, &e->quota.requests, "requests");
		print_budget(t->out, &e->quota.tokens, "tokens");
		if (!e->quota.id)
			fputs("no quota, ", t->out);
		if (a->admission.floor && a->admission.ceiling)
			fprintf(t->out, "%lld in flight of %llu.", (long long)a->load.in_flight,
				(unsigned long long)a->slots);
		else if (limit)
			fprintf(t->out, "%lld in flight of %u.", in_flight_of(t, e->model), limit);
		else
			fprintf(t->out, "%lld in flight.", in_flight_of(t, e->model));
	}
}

json_t *report_sentence(const struct daemon_state *s, const struct sluice_client *client, bool syn,
			const struct explanation *e)
{
	struct sentence t = {.s = s, .client = client, .e = e, .syn = syn};
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
		print_remedy(&t);
	}
	fclose(t.out);
	sentence = json_stringn(text, len);
	free(text);
	return sentence ? sentence : json_null();
}
