/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Commands with "fleet": block, allow, clear and quotas for all hosts. They change the fleet's
 * store and nothing here: this host, as every other, follows the store.
 */
#include "control/request.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/parse.h"

struct change {
	struct subject s;
	const char *model; /* NULL: all */
	uint64_t for_ns;
	struct fleet_rule_text rules[2];
	size_t count;
};

/* Hosts may know the model or not. */
static bool get_subject(struct command *c, struct change *out)
{
	if (!request_subject(c, &out->s) || !request_string(c, "model", &out->model) ||
	    !request_duration(c, "for_ms", &out->for_ns))
		return false;
	if (out->model && !parse_is_model_name(out->model, strlen(out->model))) {
		command_refuse(c, "\"%.96s\" is no name of a model", out->model);
		return false;
	}
	if (out->model && !out->s.one) {
		command_refuse(
			c, "a prefix has one rule for all models; name an address for one model");
		return false;
	}
	/* What it is at the services is each host's own matter. */
	fleet_rule_client(out->s.text, &out->s.as_typed);
	out->s.note[0] = 0;
	return true;
}

/* Adds a rule; text NULL: to be cleared. */
__attribute__((format(printf, 3, 4))) static void
add(struct change *change, enum fleet_rule_kind kind, const char *format, ...)
{
	struct fleet_rule_text *rule = &change->rules[change->count++];
	va_list args;

	fleet_rule_field(rule->field, kind, &change->s.as_typed, change->model);
	if (!format)
		return;
	va_start(args, format);
	vsnprintf(rule->text, sizeof(rule->text), format, args);
	va_end(args);
}

static json_t *make(struct command *c, const char *did, const struct change *change, bool sets)
{
	enum control_fleet_change how = sets            ? CONTROL_FLEET_SET
					: change->model ? CONTROL_FLEET_CLEAR
							: CONTROL_FLEET_CLEAR_ALL;
	uint64_t version;
	json_t *answer;
	int ret = c->ops->change_fleet(c->ops->arg, how, change->rules, change->count,
				       change->for_ns, &version, c->err, sizeof(c->err));

	if (ret == -ENOENT)
		return command_refuse(c, "the fleet has no such rule of %s", change->s.text);
	if (ret)
		return c->err[0] ? NULL : command_refuse(c, "the store refused the change");
	answer = command_done(c, did, &change->s);
	json_object_set_new(answer, "fleet", json_pack("{s:I}", "version", (json_int_t)version));
	return answer;
}

json_t *command_fleet_verdict(struct command *c, bool allow)
{
	struct change change = {0};

	if (!get_subject(c, &change))
		return NULL;
	add(&change, FLEET_RULE_VERDICT, "%s", allow ? "allow" : "block");
	return make(c, allow ? "allowed" : "blocked", &change, true);
}

json_t *command_fleet_clear(struct command *c)
{
	struct change change = {0};

	if (!get_subject(c, &change))
		return NULL;
	add(&change, FLEET_RULE_VERDICT, NULL);
	return make(c, "cleared", &change, false);
}

json_t *command_fleet_quota_set(struct command *c)
{
	char words[QUOTA_TEXT_MAX] = "", number[TEXT_WEIGHT_MAX], rest[1024], err[512];
	struct change change = {0};
	struct quota_def quota;
	const char *text;
	uint16_t weight;
	json_t *answer;

	if (!get_subject(c, &change) || !request_string(c, "quota", &text))
		return NULL;
	if (!text)
		return command_refuse(c, "\"quota\" is missing");
	if (!request_weight(c, text, rest, sizeof(rest), &weight))
		return NULL;
	if (weight && (change.model || change.s.as_typed.client.kind == SLUICE_CLIENT_KEY))
		return command_refuse(c, "a weight is of addresses, and for all models");
	text_weight(number, weight);
	if (weight)
		add(&change, FLEET_RULE_WEIGHT, "%s", number);
	if (!weight || rest[0]) {
		if (quota_parse(&quota, rest, err, sizeof(err)))
			return command_refuse(c, "%s", err);
		quota_words(words, &quota);
		add(&change, FLEET_RULE_QUOTA, "%s", words);
	}
	change.for_ns = 0;
	answer = make(c, "set", &change, true);
	if (answer && words[0])
		json_object_set_new(answer, "quota", json_string(words));
	if (answer && weight)
		json_object_set_new(answer, "weight", json_real(strtod(number, NULL)));
	return answer;
}

json_t *command_fleet_quota_clear(struct command *c)
{
	struct change change = {0};

	if (!get_subject(c, &change))
		return NULL;
	add(&change, FLEET_RULE_QUOTA, NULL);
	add(&change, FLEET_RULE_WEIGHT, NULL);
	return make(c, "cleared the quota of", &change, false);
}
