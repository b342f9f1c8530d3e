/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The commands that admit what is refused; remedy.h says what for. */
#include "core/remedy.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "core/adaptive.h"
#include "core/quota.h"

#define HEADROOM        1.2 /* of a proposed value above the least that admits */
#define PROPOSED_MS_MAX 9e6 /* `set` takes up to 1e7 */
#define PROPOSED_MODELS 3   /* of a pool, with a command each */
#define COMMAND_MAX     (4 * SLUICE_NAME_MAX + TEXT_CLIENT_MAX + QUOTA_TEXT_MAX + 64)

/* Where the sentences go. */
struct out {
	FILE *file;
	const struct remedy *r;
	void (*command)(FILE *out, const char *text);
};

/* ---- a command ---- */

__attribute__((format(printf, 2, 3))) static void extend(char out[COMMAND_MAX], const char *format,
							 ...)
{
	size_t at = strlen(out);
	va_list args;

	va_start(args, format);
	vsnprintf(out + at, COMMAND_MAX - at, format, args);
	va_end(args);
}

static void extend_by_word(char out[COMMAND_MAX], const char *word)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/:@+-";

	bool printed = true;

	if (*word && strspn(word, plain) == strlen(word)) {
		extend(out, "%s", word);
		return;
	}
	for (const char *c = word; *c; c++)
		printed &= *c >= ' ' && *c <= '~' && *c != '\\' && *c != '\'';
	if (printed) {
		extend(out, "'%s'", word);
		return;
	}
	/* Bytes, since what is printed escapes some characters, and no command reads that. */
	extend(out, "$'");
	for (; *word; word++)
		if (*word < ' ' || *word > '~' || *word == '\\' || *word == '\'')
			extend(out, "\\x%02x", (unsigned char)*word);
		else
			extend(out, "%c", *word);
	extend(out, "'");
}

static void extend_by_model(char out[COMMAND_MAX], const struct remedy *r, uint32_t model)
{
	char name[SLUICE_NAME_MAX];

	state_model_name(name, r->s, model);
	extend(out, " --model ");
	extend_by_word(out, name);
}

/* ---- what to raise ---- */

/* The entry that the refusal is about, for look-ups. */
static uint32_t entry_of(const struct remedy *r)
{
	return r->about < SLUICE_MODELS_MAX ? r->about : SLUICE_MODEL_OTHER;
}

static bool fleet_has_rule(const struct remedy *r)
{
	for (size_t i = 0; i < r->s->client_rule_count; i++) {
		const struct state_client_rule *rule = &r->s->client_rules[i];

		if (rule->flag.fleet && rule->key.model == r->about &&
		    !memcmp(&rule->key.client, r->client, sizeof(*r->client)))
			return true;
	}
	return false;
}

bool remedy_is_of_client(uint32_t reason)
{
	return reason == SLUICE_REASON_CLIENT_SHARE || reason == SLUICE_REASON_CLIENT_BLOCKED ||
	       reason == SLUICE_REASON_REQUEST_QUOTA || reason == SLUICE_REASON_TOKEN_QUOTA ||
	       reason == SLUICE_REASON_STALLED_RESPONSES;
}

bool remedy_at_ceiling(const struct remedy *r)
{
	const struct sluice_admission *a = &r->e->answer.admission;
	int64_t most = controller_targets(r->s->controller, entry_of(r)).max_in_flight;

	return a->floor && a->ceiling && (most <= 0 || state_in_flight(r->s, entry_of(r)) < most);
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

static void print_set(const struct out *o, const struct proposal *p, uint32_t model)
{
	char text[COMMAND_MAX] = "";

	extend(text, "sluicectl set %s=%.10g%s", p->key, p->value, p->unit);
	if (p->per_kib > 0)
		extend(text, "+%.10g%s/KiB", p->per_kib, p->unit);
	if (model != SLUICE_MODEL_ALL)
		extend_by_model(text, o->r, model);
	o->command(o->file, text);
}

/* The smallest value of a pool's models holds: it is raised for each that has a smaller one of its
 * own, and for all models if one has none of its own. */
static void print_pool_set(const struct out *o, const struct proposal *p, uint32_t pool)
{
	const struct controller *c = o->r->s->controller;
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
			fputs(commands++ ? ", " : "", o->file);
			print_set(o, p, id);
		} else if (own > 0 && own < p->value) {
			more++;
		}
	}
	if (global && p->of(&c->all) < p->value) {
		fputs(commands ? ", " : "", o->file);
		print_set(o, p, SLUICE_MODEL_ALL);
	}
	if (more)
		fprintf(o->file, " and so for %u more models of the pool", more);
}

static void propose(const struct out *o, const struct proposal *p, const char *what)
{
	uint32_t pool = o->r->e->answer.pool;

	if (pool >= SLUICE_MODELS_MAX)
		pool = SLUICE_MODEL_OTHER;
	fprintf(o->file, "To admit %s by a higher %s: ", o->r->request, what);
	if (o->r->about == SLUICE_MODEL_ALL || !o->r->s->controller->model[pool].is_pool)
		print_set(o, p, o->r->about);
	else
		print_pool_set(o, p, pool);
	fputs(". ", o->file);
}

/* Up to the next number of two digits, and then zeros. What is one but for binary fractions stays.
 */
static double round_up(double value)
{
	double unit = pow(10, floor(log10(value)) - 1);

	return ceil(value / unit - 1e-6) * unit;
}

/* The target of an entry is `factor` times too low. */
static void propose_target(const struct out *o, uint32_t entry, double factor)
{
	struct controller_targets now = controller_targets(o->r->s->controller, entry);
	struct proposal p = targets[o->r->reason];
	double ms = p.of(&now);

	factor *= HEADROOM;
	if (!(ms > 0) || !(ms * factor < PROPOSED_MS_MAX))
		return;
	p.value = round_up(ms * factor);
	if (p.of == ttft_of && now.ttft_ms_per_kib > 0)
		p.per_kib = round_up(now.ttft_ms_per_kib * factor);
	propose(o, &p, "target");
}

/* Of a policy that shuts by averages. */
static void remedy_average(const struct out *o, double average_ms)
{
	struct controller_targets now = controller_targets(o->r->s->controller, entry_of(o->r));
	double ms = targets[o->r->reason].of(&now);

	propose_target(o, entry_of(o->r), average_ms > ms ? average_ms / ms : 1);
}

static void remedy_ttft(const struct out *o, double average_ms)
{
	const struct explanation *e = o->r->e;
	const struct sluice_answer *a = &e->answer;

	if (a->admission.stopped)
		return; /* no target moves what is stuck */
	if (!a->admission.floor)
		remedy_average(o, average_ms);
	else /* in proportion to the target */
		propose_target(o,
			       o->r->about == SLUICE_MODEL_ALL || a->pool >= SLUICE_MODELS_MAX
				       ? entry_of(o->r)
				       : a->pool,
			       e->predicted_ms > 0 && e->allowed_ms > 0
				       ? fmax(e->predicted_ms / e->allowed_ms, 1)
				       : 1);
}

/* The floor, if the policy's ceiling refuses, since no command sets that. */
static void remedy_in_flight(const struct out *o)
{
	const struct remedy *r = o->r;
	const struct sluice_answer *a = &r->e->answer;
	uint64_t level = a->admission.level[a->rank % SLUICE_RANKS];
	int64_t most = controller_targets(r->s->controller, entry_of(r)).max_in_flight;
	/* Where others are refused, this request may find a free slot. */
	double slots = (fmax((double)a->load.in_flight, (double)a->slots) + 1) * ADMISSION_ALL;
	struct proposal p = {.key = "floor", .unit = "", .of = floor_of};

	if (remedy_at_ceiling(r) && level &&
	    slots / (double)level * HEADROOM < ADAPTIVE_CEILING_MAX) {
		p.value = ceil(slots / (double)level * HEADROOM);
		propose(o, &p, "floor");
	} else if (!remedy_at_ceiling(r) && most > 0) {
		p.key = "max-in-flight"; /* of the model, also in a pool */
		p.value = ceil(fmax((double)most, (double)state_in_flight(r->s, entry_of(r))) *
			       HEADROOM);
		fprintf(o->file, "To admit %s by a higher limit: ", r->request);
		print_set(o, &p, r->about);
		fputs(". ", o->file);
	}
}

/* The quota in force with twice the budget that is used up. */
static void remedy_quota(const struct out *o, const char *client)
{
	const struct remedy *r = o->r;
	const struct explain_quota *q = &r->e->quota;
	char words[QUOTA_TEXT_MAX], text[COMMAND_MAX] = "";
	struct quota_rate *rate;
	struct quota_def def;
	char why[256];

	if (!q->id)
		return;
	quota_of_text(&def, &r->s->quotas->text[q->id]);
	rate = r->reason == SLUICE_REASON_REQUEST_QUOTA ? &def.requests : &def.tokens;
	rate->most *= 2;
	rate->burst *= 2;
	quota_words(words, &def);
	if (quota_parse(&def, words, why, sizeof(why))) /* above the most that there is */
		return;
	extend(text, "sluicectl quota set %s", client);
	if (q->from == SLUICE_QUOTA_FROM_CLIENT_MODEL || q->from == SLUICE_QUOTA_FROM_MODEL)
		extend_by_model(text, r, r->e->model);
	extend(text, " %s", words);
	fprintf(o->file, "To give %s more: ", r->client_words);
	o->command(o->file, text);
	fputs(". ", o->file);
}

/* Its prefix may be in the configuration; a rule about the client precedes that. */
static void remedy_block(const struct out *o, const char *client)
{
	const struct remedy *r = o->r;
	bool prefix = r->e->answer.override == SLUICE_OVERRIDE_PREFIX_BLOCKED;
	char text[COMMAND_MAX] = "";

	extend(text, "sluicectl %s %s", prefix ? "allow" : "clear", client);
	if (!prefix && r->about != SLUICE_MODEL_ALL)
		extend_by_model(text, r, r->about);
	extend(text, "%s", !prefix && fleet_has_rule(r) ? " --fleet" : "");
	if (prefix)
		fprintf(o->file, "To admit %s alone: ", r->client_words);
	else
		fputs("To lift it: ", o->file);
	o->command(o->file, text);
	fputc('.', o->file);
}

void remedy_write(FILE *out, const struct remedy *r, void (*command)(FILE *out, const char *text))
{
	const struct out o = {out, r, command};
	struct controller_reading now =
		controller_read(r->s->controller, entry_of(r), r->s->now_ns);
	char client[TEXT_CLIENT_MAX] = "", text[COMMAND_MAX] = "";

	if (r->client)
		text_client(client, r->client);
	switch (r->reason) {
	case SLUICE_REASON_OPERATOR:
		fputs("To end the drain: ", out);
		command(out, "sluicectl resume");
		fputc('.', out);
		return;
	case SLUICE_REASON_CLIENT_BLOCKED:
		if (!r->client)
			break;
		remedy_block(&o, client);
		return;
	case SLUICE_REASON_REQUEST_QUOTA:
	case SLUICE_REASON_TOKEN_QUOTA:
		if (r->client)
			remedy_quota(&o, client);
		break; /* the client may have spent that quota before */
	case SLUICE_REASON_TTFT:
		remedy_ttft(&o, now.ttft_ms);
		break;
	case SLUICE_REASON_ITL:
		remedy_average(&o, now.itl_ms);
		break;
	case SLUICE_REASON_DURATION:
		remedy_average(&o, now.duration_ms);
		break;
	case SLUICE_REASON_NORMALIZED_LATENCY:
		remedy_average(&o, now.normalized_ms);
		break;
	case SLUICE_REASON_IN_FLIGHT:
		remedy_in_flight(&o);
		break;
	}
	if (r->client) {
		extend(text, "sluicectl allow %s --for 10m", client);
		fprintf(out, "To admit %s anyway: ", r->client_words);
	} else if (remedy_is_of_client(r->reason)) {
		extend(text, "sluicectl clients --by rejected");
		fputs("To see whose they are: ", out);
	} else {
		extend(text, "sluicectl set mode=shadow");
		fputs("To refuse nothing: ", out);
	}
	command(out, text);
	fputc('.', out);
}
