/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Commands about quotas and weights: set, show, clear. A weight is one of the words of a quota and
 * belongs to a prefix.
 */
#include "control/request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/report.h"
#include "core/parse.h"
#include "core/quota.h"

json_t *command_quota_show(struct command *c)
{
	const json_t *client = json_object_get(c->request, "client");
	bool all = !client || json_is_null(client);
	struct subject s;

	if (!all && !request_subject(c, &s))
		return NULL;
	c->ops->refresh(c->ops->arg, STATE_RULES);
	return report_quotas(c->state, all ? NULL : &s.as_typed);
}

/*
 * Sets (quota not NULL) or clears the quota of each client that the subject is. 0 if that succeeds
 * for at least one.
 */
static int each_client(struct command *c, const struct subject *s, uint32_t model,
		       const struct quota_def *quota, char *err, size_t err_len)
{
	int first = -ENOENT, ret;
	bool done = false;

	for (size_t k = 0; k < (s->one ? s->count : 1); k++) {
		struct text_subject one = s->as_typed;
		char why[400] = "";

		if (s->one)
			one.client = s->clients[k];
		ret = quota ? c->ops->set_quota(c->ops->arg, &one, model, quota, why, sizeof(why))
			    : c->ops->clear_quota(c->ops->arg, &one, model, why, sizeof(why));
		done |= !ret;
		if (ret && !err[0]) {
			first = ret;
			snprintf(err, err_len, "%s", why);
		}
	}
	return done ? 0 : first;
}

/* Reads the client and the model of a quota command. `set`: it may be a new model's. */
static bool get_quota_subject(struct command *c, struct subject *s, uint32_t *model, bool set)
{
	if (!request_subject(c, s) ||
	    !(set && s->one ? request_configured_model : request_model)(c, model))
		return false;
	if (!s->one && *model != SLUICE_MODEL_ALL) {
		command_refuse(
			c,
			"the quota of a prefix is for all models; name an address to have one for a model");
		return false;
	}
	return true;
}

json_t *command_quota_set(struct command *c)
{
	char words[QUOTA_TEXT_MAX], number[TEXT_WEIGHT_MAX], rest[1024], err[512] = "";
	struct quota_def quota;
	struct subject s;
	const char *text;
	uint16_t weight;
	uint32_t model;
	json_t *answer;
	bool fleet;
	int ret = 0;

	if (!request_fleet(c, &fleet))
		return NULL;
	if (fleet)
		return command_fleet_quota_set(c);
	if (!get_quota_subject(c, &s, &model, true) || !request_string(c, "quota", &text))
		return NULL;
	if (!text)
		return command_refuse(
			c,
			"\"quota\" is missing: \"requests=100/60s tokens=20000/60s burst=20\", \"weight=2\", or none");
	if (!request_weight(c, text, rest, sizeof(rest), &weight))
		return NULL;
	if (weight && s.client.kind == SLUICE_CLIENT_KEY)
		return command_refuse(c,
				      "a weight is of addresses: give the key a quota of its own");
	if (weight && model != SLUICE_MODEL_ALL)
		return command_refuse(c, "a weight is for all models; leave --model out");
	if ((!weight || rest[0]) && quota_parse(&quota, rest, err, sizeof(err)))
		return command_refuse(c, "%s", err);
	if ((!weight || rest[0]) && quota.fleet && !c->state->fleet)
		return command_refuse(c, "quota: fleet=on needs fleet and fleet-store, too");
	if (weight)
		ret = c->ops->set_weight(c->ops->arg, &s.prefix, weight, err, sizeof(err));
	if (!ret && rest[0])
		ret = each_client(c, &s, model, &quota, err, sizeof(err));
	if (ret)
		return command_refuse(c, "%s: %s", s.text, err[0] ? err : "the quota was refused");
	answer = command_done(c, "set", &s);
	if (rest[0]) {
		quota_words(words, &quota);
		json_object_set_new(answer, "quota", json_string(words));
	}
	text_weight(number, weight);
	if (weight)
		json_object_set_new(answer, "weight", json_real(strtod(number, NULL)));
	return answer;
}

json_t *command_quota_clear(struct command *c)
{
	char err[400] = "";
	struct subject s;
	uint32_t model;
	bool fleet;

	if (!request_fleet(c, &fleet))
		return NULL;
	if (fleet)
		return command_fleet_quota_clear(c);
	if (!get_quota_subject(c, &s, &model, false))
		return NULL;
	if (each_client(c, &s, model, NULL, err, sizeof(err)))
		return command_refuse(c, "%s: %s", s.text, err[0] ? err : "the quota stays");
	return command_done(c, "cleared the quota of", &s);
}
