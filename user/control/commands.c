/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The commands of the control socket: a table of name and function, and the commands that read the
 * state or change all of it. commands_*.c has the commands about clients, quotas and verdicts.
 */
#include "control/request.h"

#include <stdlib.h>
#include <string.h>

#include "control/report.h"

static json_t *do_status(struct command *c)
{
	c->ops->refresh(c->ops->arg, STATE_MODELS | STATE_COUNTS | STATE_MAPS);
	return report_status(c->state);
}

static json_t *do_models(struct command *c)
{
	c->ops->refresh(c->ops->arg, STATE_MODELS | STATE_COUNTS);
	return report_models(c->state);
}

static json_t *do_services(struct command *c)
{
	c->ops->refresh(c->ops->arg, STATE_COUNTS);
	return report_services(c->state);
}

static json_t *do_clients(struct command *c)
{
	static const struct {
		const char *word;
		enum report_order order;
	} orders[] = {
		{"requests", REPORT_BY_REQUESTS},   {"tokens", REPORT_BY_TOKENS},
		{"in-flight", REPORT_BY_IN_FLIGHT}, {"rejected", REPORT_BY_REJECTED},
		{"last-seen", REPORT_LAST_SEEN},
	};
	enum report_order order = REPORT_LAST_SEEN;
	int service;
	const char *by;

	if (!request_string(c, "by", &by) || !request_service(c, &service))
		return NULL;
	for (size_t i = 0; by; i++) {
		if (i == sizeof(orders) / sizeof(orders[0]))
			return command_refuse(
				c,
				"by: \"%.40s\" is not one of requests, tokens, in-flight, rejected, last-seen",
				by);
		if (!strcmp(by, orders[i].word)) {
			order = orders[i].order;
			break;
		}
	}
	c->ops->refresh(c->ops->arg, STATE_CLIENTS | STATE_RULES);
	return report_clients(c->state, order, service);
}

static json_t *do_set(struct command *c)
{
	const json_t *values = json_object_get(c->request, "values");
	const char *pairs[CONTROL_VALUES_MAX], *model;
	size_t n = json_array_size(values);
	char err[400] = "";
	uint32_t id;

	if (!n || n > CONTROL_VALUES_MAX)
		return command_refuse(c, "\"values\" must be an array of 1 to %d strings KEY=VALUE",
				      CONTROL_VALUES_MAX);
	for (size_t i = 0; i < n; i++) {
		pairs[i] = json_string_value(json_array_get(values, i));
		if (!pairs[i])
			return command_refuse(c, "\"values\" must hold strings KEY=VALUE only");
	}
	if (!request_string(c, "model", &model) || !request_configured_model(c, &id))
		return NULL;
	if (c->ops->set(c->ops->arg, model, pairs, n, err, sizeof(err)))
		return command_refuse(c, "%s", err[0] ? err : "the value was refused");
	c->ops->refresh(c->ops->arg, STATE_MODELS);
	return json_pack("{s:o, s:s, s:s*}", model ? "model" : "global", report_model(c->state, id),
			 "policy", c->state->policy, "note", c->note[0] ? c->note : NULL);
}

static json_t *do_reload(struct command *c)
{
	char done[400] = "";

	if (c->ops->reload(c->ops->arg, done, sizeof(done), c->err, sizeof(c->err)))
		return c->err[0] ? NULL : command_refuse(c, "the configuration was refused");
	return json_pack("{s:s}", "did", done);
}

static json_t *do_detach(struct command *c)
{
	if (c->ops->detach(c->ops->arg, c->err, sizeof(c->err)))
		return c->err[0] ? NULL : command_refuse(c, "cannot detach");
	c->after = CONTROL_DETACH;
	return NULL;
}

static json_t *do_watch(struct command *c)
{
	c->after = CONTROL_WATCH;
	return json_object();
}

static const struct {
	const char *name;
	json_t *(*run)(struct command *c);
} commands[] = {
	{"status", do_status},
	{"models", do_models},
	{"services", do_services},
	{"clients", do_clients},
	{"set", do_set},
	{"allow", command_allow},
	{"block", command_block},
	{"clear", command_clear},
	{"reload", do_reload},
	{"detach", do_detach},
	{"watch", do_watch},
	{"explain", command_explain},
	{"quota-set", command_quota_set},
	{"quota-show", command_quota_show},
	{"quota-clear", command_quota_clear},
};

static json_t *run(struct command *c, const char *line, size_t len)
{
	json_error_t error;
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error), *answer = NULL;
	const char *name = json_string_value(json_object_get(request, "cmd"));

	c->request = request;
	if (!request)
		command_refuse(c, "not JSON: %s", error.text);
	else if (!json_is_object(request) || !name)
		command_refuse(c, "a command is an object like {\"cmd\":\"status\"}");
	else
		command_refuse(c, "no command is called \"%.40s\"", name);
	for (size_t i = 0; name && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(name, commands[i].name)) {
			c->err[0] = 0;
			answer = commands[i].run(c);
		}
	json_decref(request);
	return answer;
}

char *control_answer(const struct daemon_state *state, const struct control_ops *ops,
		     const char *line, size_t len, enum control_after *after)
{
	struct command c = {.state = state, .ops = ops};
	json_t *answer = run(&c, line, len), *whole;
	char *text;

	*after = c.after;
	if (c.after == CONTROL_DETACH)
		return NULL;
	if (answer) {
		whole = json_pack("{s:b}", "ok", 1);
		json_object_update(whole, answer);
		json_decref(answer);
	} else {
		char clean[sizeof(c.err)];
		const char *why = c.err[0] ? c.err : "out of memory";

		/* A quoted name may have been cut in the middle of a character. */
		whole = json_pack("{s:b, s:s}", "ok", 0, "error", why);
		if (!whole) {
			size_t i;

			for (i = 0; why[i]; i++)
				clean[i] = (unsigned char)why[i] < 0x80 ? why[i] : '?';
			clean[i] = 0;
			whole = json_pack("{s:b, s:s}", "ok", 0, "error", clean);
		}
	}
	text = json_dumps(whole, JSON_COMPACT | JSON_REAL_PRECISION(10));
	json_decref(whole);
	return text;
}
