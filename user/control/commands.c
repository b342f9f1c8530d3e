/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The commands of the control socket: a table of name and function, and the commands that read the
 * state or change all of it. commands_*.c has the commands about clients, quotas and verdicts.
 */
#include "control/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/audit.h"
#include "control/format_text.h"
#include "control/report.h"

#define KEPT_TIMEOUT_NS 10000000000ULL /* that `detach` gives kept connections to end */

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

static json_t *do_fleet(struct command *c)
{
	c->ops->refresh(c->ops->arg, 0);
	return json_pack("{s:o}", "fleet", report_fleet(c->state));
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

static json_t *do_drain(struct command *c)
{
	const json_t *status = json_object_get(c->request, "status");
	json_int_t number = status ? json_integer_value(status) : 503;
	struct controller_drain drain = {.on = true, .unavailable = number == 503};
	char did[128], until[64] = "until `sluicectl resume`";

	if (number != 503 && number != 429)
		return command_refuse(c, "\"status\" must be 503 or 429");
	if (!request_expiry(c, &drain.until_ns))
		return NULL;
	if (c->ops->drain(c->ops->arg, &drain, c->err, sizeof(c->err)))
		return NULL;
	c->ops->refresh(c->ops->arg, STATE_MODELS);
	if (drain.until_ns)
		snprintf(until, sizeof(until), "for %s",
			 format_span((double)(drain.until_ns - c->state->now_ns) / 1e6));
	snprintf(did, sizeof(did), "draining %s: what is in flight ends, what is new gets a %d",
		 until, (int)number);
	return json_pack("{s:s, s:i, s:I}", "did", did, "status", (int)number, "in_flight",
			 (json_int_t)c->state->kernel[SLUICE_MODEL_ALL].in_flight);
}

static json_t *do_resume(struct command *c)
{
	bool was = controller_drains(c->state->controller, c->state->now_ns);

	if (c->ops->drain(c->ops->arg, &(struct controller_drain){0}, c->err, sizeof(c->err)))
		return NULL;
	return json_pack("{s:s}", "did",
			 was ? "new requests are admitted again" : "no drain was in force");
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
	uint64_t kept_ns = KEPT_TIMEOUT_NS;

	if (!request_duration(c, "kept_timeout_ms", &kept_ns))
		return NULL;
	if (c->ops->detach(c->ops->arg, kept_ns, c->err, sizeof(c->err)))
		return c->err[0] ? NULL : command_refuse(c, "cannot detach");
	c->after = CONTROL_DETACH;
	return NULL;
}

static json_t *do_watch(struct command *c)
{
	c->after = CONTROL_WATCH;
	return json_object();
}

static json_t *do_record(struct command *c)
{
	c->after = CONTROL_RECORD;
	return json_object();
}

struct known {
	const char *name;
	const char *fields; /* what it takes besides "cmd", each with a space after it */
	json_t *(*run)(struct command *c);
	/* WORK_LANES: answered at once. A verdict is among the changes: it is short, and the
	 * services stay the same meanwhile. */
	enum work_lane lane;
	enum audit_value changes;
};

static const struct known commands[] = {
	{"status", "", do_status, WORK_ANSWERS, AUDIT_NOTHING},
	{"models", "", do_models, WORK_ANSWERS, AUDIT_NOTHING},
	{"services", "", do_services, WORK_ANSWERS, AUDIT_NOTHING},
	{"fleet", "", do_fleet, WORK_ANSWERS, AUDIT_NOTHING},
	{"clients", "by service ", do_clients, WORK_ANSWERS, AUDIT_NOTHING},
	{"set", "values model ", do_set, WORK_CHANGES, AUDIT_TARGETS},
	{"allow", "client model for_ms fleet ", command_allow, WORK_CHANGES, AUDIT_RULES},
	{"block", "client model for_ms fleet ", command_block, WORK_CHANGES, AUDIT_RULES},
	{"clear", "client model fleet ", command_clear, WORK_CHANGES, AUDIT_RULES},
	{"drain", "for_ms status ", do_drain, WORK_CHANGES, AUDIT_DRAIN},
	{"resume", "", do_resume, WORK_CHANGES, AUDIT_DRAIN},
	{"reload", "", do_reload, WORK_CHANGES, AUDIT_CONFIG},
	{"detach", "kept_timeout_ms ", do_detach, WORK_LANES, AUDIT_DETACH},
	{"watch", "", do_watch, WORK_LANES, AUDIT_NOTHING},
	{"record", "", do_record, WORK_LANES, AUDIT_NOTHING},
	{"explain", "client model service bytes priority ", command_explain, WORK_CHANGES,
	 AUDIT_NOTHING},
	{"quota-set", "client model quota fleet ", command_quota_set, WORK_CHANGES, AUDIT_QUOTAS},
	{"quota-show", "client ", command_quota_show, WORK_ANSWERS, AUDIT_NOTHING},
	{"quota-clear", "client model fleet ", command_quota_clear, WORK_CHANGES, AUDIT_QUOTAS},
};

struct control_call {
	struct command command;
	json_t *request;
	const struct known *known; /* NULL: command.err says why the line is refused */
};

/* The first field that the command does not take; NULL. What is not known is refused: its sender
 * would think that it counts. */
static const char *unknown_field(const struct known *known, json_t *request)
{
	const char *key;
	json_t *value;

	json_object_foreach(request, key, value)
	{
		size_t n = strlen(key);
		const char *at = known->fields;

		if (!strcmp(key, "cmd"))
			continue;
		while (*at && (strcspn(at, " ") != n || strncmp(at, key, n)))
			at = strchr(at, ' ') + 1;
		if (!*at)
			return key;
	}
	return NULL;
}

struct control_call *control_read(const struct daemon_state *state, const struct control_ops *ops,
				  const struct ucred *peer, const char *line, size_t len)
{
	struct control_call *call = calloc(1, sizeof(*call));
	json_error_t error;
	const char *name, *field;

	if (!call)
		return NULL;
	call->request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
	call->command = (struct command){
		.state = state, .ops = ops, .request = call->request, .peer = *peer};
	name = json_string_value(json_object_get(call->request, "cmd"));
	for (size_t i = 0; name && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(name, commands[i].name))
			call->known = &commands[i];
	if (!call->request)
		command_refuse(&call->command, "not JSON: %s", error.text);
	else if (!name)
		command_refuse(&call->command, "a command is an object like {\"cmd\":\"status\"}");
	else if (!call->known)
		command_refuse(&call->command, "no command is called \"%.40s\"", name);
	field = call->known ? unknown_field(call->known, call->request) : NULL;
	if (field) {
		command_refuse(&call->command, "%s takes no field \"%.40s\"", call->known->name,
			       field);
		call->known = NULL;
	}
	return call;
}

void control_forget(struct control_call *call)
{
	json_decref(call->request);
	free(call);
}

enum work_lane control_lane(const struct control_call *call)
{
	/* A change of the fleet's rules changes the store, and the host like any other by what it
	 * reads there. So no change of this host waits for the store. */
	if (call->known && json_is_true(json_object_get(call->request, "fleet")))
		return WORK_ANSWERS;
	return call->known ? call->known->lane : WORK_LANES;
}

/* {"ok":false, …}. A quoted name may have been cut in the middle of a character. */
static json_t *refusal(const char *why)
{
	json_t *whole = json_pack("{s:b, s:s}", "ok", 0, "error", why);
	char clean[sizeof(((struct command *)0)->err)];
	size_t i;

	if (whole)
		return whole;
	for (i = 0; why[i]; i++)
		clean[i] = (unsigned char)why[i] < 0x80 ? why[i] : '?';
	clean[i] = 0;
	return json_pack("{s:b, s:s}", "ok", 0, "error", clean);
}

struct output {
	const struct daemon_state *state;
	char *text;
	size_t len, capacity;
};

static int add_text(const char *text, size_t len, void *arg)
{
	struct output *out = arg;

	state_step(out->state, 0, len);
	if (out->len + len >= out->capacity) {
		size_t capacity = 2 * (out->len + len) + 256;
		char *more = realloc(out->text, capacity);

		if (!more)
			return -1;
		out->text = more;
		out->capacity = capacity;
	}
	memcpy(out->text + out->len, text, len);
	out->len += len;
	out->text[out->len] = 0;
	return 0;
}

/* Runs a known command, and reports it if it changes something. */
static json_t *run(struct command *c, const struct known *known)
{
	char before[AUDIT_TEXT_MAX];
	json_t *answer;

	if (known->changes == AUDIT_NOTHING)
		return known->run(c);
	c->ops->refresh(c->ops->arg, 0); /* the time */
	audit_read(before, known->changes, c);
	answer = known->run(c);
	audit_report(c, known->name, known->changes, before, answer || c->after == CONTROL_DETACH);
	return answer;
}

char *control_run(struct control_call *call, enum control_after *after)
{
	struct command *c = &call->command;
	json_t *answer = call->known ? run(c, call->known) : NULL, *whole = NULL;
	struct output out = {.state = c->state};

	*after = c->after;
	if (answer) {
		whole = json_pack("{s:b}", "ok", 1);
		json_object_update(whole, answer);
		json_decref(answer);
	} else if (c->after != CONTROL_DETACH) {
		whole = refusal(c->err[0] ? c->err : "out of memory");
	}
	if (whole &&
	    json_dump_callback(whole, add_text, &out, JSON_COMPACT | JSON_REAL_PRECISION(10))) {
		free(out.text);
		out.text = NULL;
	}
	json_decref(whole);
	control_forget(call);
	return out.text;
}
