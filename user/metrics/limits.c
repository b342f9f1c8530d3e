/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * /v1/limits: the rest of a client's quota, in the numbers of `sluicectl explain` and `clients`. It
 * is for programs without access to the control socket, such as a dashboard or a proxy.
 */
#include "metrics/metrics.h"

#include <jansson.h>
#include <stdlib.h>

#include "core/explain.h"
#include "core/highest.h"
#include "core/printable.h"
#include "core/text.h"

static uint64_t up(uint64_t ns, uint64_t unit)
{
	return (ns + unit - 1) / unit;
}

static json_t *budget(const struct explain_budget *b)
{
	return b->limit ? json_pack("{s:I, s:I, s:I, s:I, s:I}", "limit", (json_int_t)b->limit,
				    "remaining", (json_int_t)b->left, "debt", (json_int_t)b->debt,
				    "reset_secs", (json_int_t)up(b->reset_ns, 1000000000),
				    "next_ms", (json_int_t)up(b->next_ns, 1000000))
			: json_null();
}

/* NULL: the programs gave no answer. */
static json_t *one(const struct daemon_state *s, const struct sluice_client *client,
		   const uint8_t *addr, uint32_t model, uint32_t service)
{
	char where[TEXT_SERVICE_MAX] = "";
	char text[TEXT_CLIENT_MAX], words[QUOTA_TEXT_MAX] = "";
	struct explanation e;
	struct quota_def def;

	if (!explain(s, client, addr, model, service, &e))
		return NULL;
	text_client(text, client);
	if (e.quota.id) {
		quota_of_text(&def, &s->quotas->text[e.quota.id]);
		quota_words(words, &def);
	}
	if (service < s->service_count)
		text_endpoint(where, s->services[service].addr, s->services[service].wildcard,
			      s->services[service].port);
	return json_pack(
		"{s:s, s:s, s:f, s:o, s:o, s:o, s:o, s:b, s:o, s:o}", "client", text, "service",
		where, "weight", text_weight_hundredths(e.quota.weight) / 100.0, "model",
		state_model_in_use(s, e.model) ? json_string(s->controller->model[e.model].name)
					       : json_null(),
		"quota", e.quota.id ? json_string(words) : json_null(), "requests",
		budget(&e.quota.requests), "tokens", budget(&e.quota.tokens), "admitted",
		e.admitted, "reason",
		e.admitted ? json_null() : json_string(text_reason(e.answer.reason)),
		"retry_after_ms", e.admitted ? json_null() : json_integer(e.answer.retry_after_ms));
}

/* NULL is out of memory. */
static void write_json(FILE *out, json_t *value)
{
	char *text = value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(10)) : NULL;

	json_decref(value);
	if (text)
		printable_json(out, text);
	free(text);
}

/* The clients seen last, METRICS_LIMITS_MAX at most. */
static struct highest last_seen(const struct daemon_state *s,
				struct highest_item items[METRICS_LIMITS_MAX])
{
	struct highest last = {.items = items, .max = METRICS_LIMITS_MAX};

	for (size_t i = 0; i < s->client_count; i++) {
		if (i % WORK_ENTRIES_MAX == 0)
			state_step(s, WORK_ENTRIES_MAX, 0);
		highest_add(&last, (struct highest_item){.rank = s->clients[i].count.last_seen_ns,
							 .index = i});
	}
	highest_sort(&last);
	return last;
}

bool metrics_any_quota(const struct daemon_state *s)
{
	if (!s->lookup || !s->quotas)
		return false;
	for (uint32_t id = 1; id < SLUICE_QUOTAS_MAX; id++)
		if (s->quotas->text[id].requests || s->quotas->text[id].tokens)
			return true;
	return false;
}

static void add_use(struct metrics_quota_use *use, const struct explain_budget *b)
{
	double used;

	if (!b->limit)
		return;
	use->clients++;
	use->spent += !b->left;
	used = (double)(b->limit - b->left + b->debt) / (double)b->limit;
	if (used > use->most)
		use->most = used;
}

void metrics_read_quota_use(const struct daemon_state *s, struct metrics_quota_use *requests,
			    struct metrics_quota_use *tokens)
{
	struct highest_item items[METRICS_LIMITS_MAX];
	struct highest last = last_seen(s, items);

	*requests = *tokens = (struct metrics_quota_use){0};
	for (size_t i = 0; i < last.count; i++) {
		const struct state_client *c = &s->clients[last.items[i].index];
		struct explain_quota q;

		state_step(s, 1, 0);
		if (!explain_quota(s, &c->client,
				   c->client.kind == SLUICE_CLIENT_ADDRESS ? c->client.addr : NULL,
				   c->count.last_model, c->count.last_service, &q))
			continue;
		add_use(requests, &q.requests);
		add_use(tokens, &q.tokens);
	}
}

/* Client by client, since they are many. */
static void write_everyone(FILE *out, const struct daemon_state *s)
{
	struct highest_item items[METRICS_LIMITS_MAX];
	struct highest last = last_seen(s, items);
	const char *between = "";

	fputs("{\"limits\":[", out);
	for (size_t i = 0; i < last.count; i++) {
		const struct state_client *c = &s->clients[last.items[i].index];
		json_t *row = one(s, &c->client,
				  c->client.kind == SLUICE_CLIENT_ADDRESS ? c->client.addr : NULL,
				  c->count.last_model, c->count.last_service);

		if (!row)
			continue;
		fputs(between, out);
		write_json(out, row);
		between = ",";
	}
	fprintf(out, "],\"clients_known\":%zu}\n", s->client_count);
}

static json_t *named(const struct daemon_state *s, const char *client, const char *model,
		     const char *where, unsigned *status)
{
	uint32_t service, last = SLUICE_MODEL_ALL, id = SLUICE_MODEL_OTHER;
	struct text_subject subject;
	struct sluice_client charged;
	json_t *answer;
	int found;

	*status = 400;
	/* No secrets here: URLs end up in logs. */
	if (text_parse_subject(client, &subject) || (!subject.one && subject.prefix.plen != 128))
		return json_pack("{s:s}", "error",
				 "client must be one address, an IPv6 /64, or key:ID");
	if (!explain_last(s, &subject, &service, &last))
		service = explain_service(s);
	if (where) {
		found = service_find(s->services, s->service_count, where);
		*status = 404;
		if (found < 0)
			return json_pack("{s:s}", "error", "no such service");
		service = (uint32_t)found;
	}
	if (last != SLUICE_MODEL_ALL)
		id = last;
	else if (service < s->service_count)
		id = s->services[service].model_id;
	if (model) {
		found = controller_find(s->controller, model);
		*status = 404;
		if (found < 0 || found == SLUICE_MODEL_ALL)
			return json_pack("{s:s}", "error", "no such model");
		id = (uint32_t)found;
	}
	*status = 200;
	explain_client(s, service, &subject, &charged);
	answer = one(s, &charged, charged.kind == SLUICE_CLIENT_ADDRESS ? subject.addr : NULL, id,
		     service);
	if (answer)
		return answer;
	*status = 503;
	return json_pack("{s:s}", "error", "the kernel programs gave no verdict");
}

unsigned metrics_write_limits(FILE *out, const struct daemon_state *s, const char *client,
			      const char *model, const char *service)
{
	unsigned status = 200;

	if (!s->lookup || !s->quotas) {
		fputs("{\"error\":\"not ready\"}\n", out);
		return 503;
	}
	if (client) {
		write_json(out, named(s, client, model, service, &status));
		fputc('\n', out);
	} else {
		write_everyone(out, s);
	}
	return status;
}
