/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The commands of the control socket: a table of name and function. A line comes from whoever may
 * open the socket and is believed in nothing: every field is looked up by type, and an answer that
 * cannot be given says why. The word of an operator about a client ends up either in client_flags
 * (one client) or in client_prefixes (many).
 */
#include "control/control.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/report.h"
#include "core/parse.h"
#include "core/text.h"

struct command {
	const struct daemon_state *state;
	const struct control_ops *ops;
	const json_t *request;
	enum control_after after;
	char err[512]; /* filled: refused */
};

/* Notes why the command is refused; returns NULL, the answer of a refused command. */
__attribute__((format(printf, 2, 3))) static json_t *refuse(struct command *c, const char *format,
							    ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(c->err, sizeof(c->err), format, args);
	va_end(args);
	return NULL;
}

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

/* The string `key` of the request; *out NULL where it is absent or null. False, and an error, for
 * another type. */
static bool get_string(struct command *c, const char *key, const char **out)
{
	const json_t *value = json_object_get(c->request, key);

	*out = NULL;
	if (!value || json_is_null(value))
		return true;
	*out = json_string_value(value);
	if (!*out)
		refuse(c, "\"%s\" must be a string", key);
	return *out != NULL;
}

/* The request's "service": ADDR:PORT as `sluicectl services` prints it, or the port. Negative where
 * it has none. */
static bool get_service(struct command *c, int *out)
{
	const struct daemon_state *s = c->state;
	char where[TEXT_SERVICE_MAX], port[8];
	const char *name;

	*out = -1;
	if (!get_string(c, "service", &name))
		return false;
	for (uint32_t i = 0; name && i < s->service_count; i++) {
		report_service_name(s, i, where, sizeof(where));
		snprintf(port, sizeof(port), "%u", s->services[i].port);
		if (!strcmp(name, where) || !strcmp(name, port)) {
			*out = (int)i;
			return true;
		}
	}
	if (name)
		refuse(c, "no service is \"%.64s\" (`sluicectl services` lists them)", name);
	return !name;
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

	if (!get_string(c, "by", &by) || !get_service(c, &service))
		return NULL;
	for (size_t i = 0; by; i++) {
		if (i == sizeof(orders) / sizeof(orders[0]))
			return refuse(
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

/* *id of the request's "model", SLUICE_MODEL_ALL where it has none. */
static bool get_model(struct command *c, uint32_t *id)
{
	const char *name;
	int found;

	*id = SLUICE_MODEL_ALL;
	if (!get_string(c, "model", &name))
		return false;
	if (!name)
		return true;
	found = controller_find(c->state->controller, name);
	if (found < 0) {
		refuse(c, "no model is called \"%.96s\" (`sluicectl models` lists them)", name);
		return false;
	}
	*id = (uint32_t)found;
	return true;
}

static json_t *do_set(struct command *c)
{
	const json_t *values = json_object_get(c->request, "values");
	const char *pairs[CONTROL_VALUES_MAX], *model;
	size_t n = json_array_size(values);
	char err[400] = "";
	uint32_t id;

	if (!n || n > CONTROL_VALUES_MAX)
		return refuse(c, "\"values\" must be an array of 1 to %d strings KEY=VALUE",
			      CONTROL_VALUES_MAX);
	for (size_t i = 0; i < n; i++) {
		pairs[i] = json_string_value(json_array_get(values, i));
		if (!pairs[i])
			return refuse(c, "\"values\" must hold strings KEY=VALUE only");
	}
	if (!get_string(c, "model", &model) || !get_model(c, &id))
		return NULL;
	if (c->ops->set(c->ops->arg, model, pairs, n, err, sizeof(err)))
		return refuse(c, "%s", err[0] ? err : "the value was refused");
	c->ops->refresh(c->ops->arg, STATE_MODELS);
	return json_pack("{s:o, s:s}", model ? "model" : "global", report_model(c->state, id),
			 "policy", c->state->policy);
}

/* Whom a command is about, and how it is printed. */
struct subject {
	bool one;
	struct sluice_client client;
	struct sluice_prefix_key prefix;
	struct text_subject as_typed;
	struct sluice_client clients[SLUICE_SERVICES_MAX]; /* that an address is, here or there */
	size_t count;
	char note[512]; /* what was understood otherwise than typed; "" */
	char text[TEXT_CLIENT_MAX];
};

/* Finds the clients that the subject is, and says of those that are not the usual ones where they
 * are. */
static void find_clients(const struct daemon_state *state, struct subject *s)
{
	char where[TEXT_SERVICE_MAX], text[TEXT_CLIENT_MAX];
	const struct sluice_client *usual = &s->as_typed.client;
	bool is_usual = false;
	size_t at = 0;

	s->count = explain_clients(state, &s->as_typed, s->clients);
	for (size_t k = 0; k < s->count; k++)
		is_usual |= !memcmp(&s->clients[k], usual, sizeof(*usual));
	if (s->as_typed.note && is_usual)
		at = (size_t)snprintf(s->note, sizeof(s->note), "%s", s->as_typed.note);
	for (size_t k = 0; k < s->count && at < sizeof(s->note); k++) {
		struct sluice_client there;
		uint32_t i = 0;

		if (!memcmp(&s->clients[k], usual, sizeof(*usual)))
			continue;
		do
			explain_client(state, i, &s->as_typed, &there);
		while (memcmp(&there, &s->clients[k], sizeof(there)) && ++i < state->service_count);
		report_service_name(state, i, where, sizeof(where));
		text_client(text, &s->clients[k]);
		at += (size_t)snprintf(s->note + at, sizeof(s->note) - at,
				       "%sat %s its client is %s", at ? "; " : "", where, text);
	}
	/* Where it is no such client anywhere it is called what it is. */
	if (!is_usual)
		s->client = s->clients[0];
}

/* A /64 as somebody typed it is one client only where clients are that long everywhere. */
static bool is_prefix(const struct daemon_state *state, const struct text_subject *subject)
{
	if (subject->client.kind != SLUICE_CLIENT_ADDRESS || subject->note ||
	    subject->client.plen != 64)
		return false;
	for (size_t i = 0; i < state->service_count; i++)
		if (state->services[i].identity.plen6 && state->services[i].identity.plen6 != 64)
			return true;
	return false;
}

static bool get_subject(struct command *c, struct subject *out)
{
	struct subject s = {0};
	const char *text;

	if (!get_string(c, "client", &text))
		return false;
	if (!text) {
		refuse(c, "\"client\" is missing: an address, a prefix or a key");
		return false;
	}
	if (!strncmp(text, "key=", 4)) {
		/* What stands behind it is a secret: only its hash goes on from here, and it is not
		 * repeated. */
		if (!text[4] || !c->state->lookup ||
		    !c->state->lookup->key(c->state->lookup->arg, text + 4, strlen(text + 4),
					   &s.as_typed.client)) {
			refuse(c, "the API key is empty, or cannot be hashed");
			return false;
		}
		s.as_typed.one = true;
	} else if (text_parse_subject(text, &s.as_typed)) {
		refuse(c,
		       "\"%.64s\" is no address, no prefix and no key (192.0.2.1, 10.0.0.0/8, 2001:db8::1, 2001:db8::/32, key:0123456789abcdef)",
		       text);
		return false;
	}
	if (is_prefix(c->state, &s.as_typed))
		s.as_typed.one = false;
	s.one = s.as_typed.one;
	s.client = s.as_typed.client;
	s.prefix = s.as_typed.prefix;
	if (s.one)
		find_clients(c->state, &s);
	text_client(s.text, &s.client);
	*out = s;
	return true;
}

/* expires_ns of the request's "for_ms"; 0: no end. */
static bool get_expiry(struct command *c, uint64_t *out)
{
	const json_t *value = json_object_get(c->request, "for_ms");
	double ms = json_number_value(value);

	*out = 0;
	if (!value || json_is_null(value))
		return true;
	/* A hundred years; more is a slip of the finger, and would leave the clock's range. */
	if (!json_is_number(value) || !(ms >= 1) || ms > 100 * 366 * 86400e3) {
		refuse(c, "\"for_ms\" must be a number of milliseconds, at least 1");
		return false;
	}
	c->ops->refresh(c->ops->arg, 0);
	*out = c->state->now_ns + (uint64_t)(ms * 1e6);
	return true;
}

static json_t *said(const struct command *c, const char *did, const struct subject *s)
{
	return json_pack("{s:s, s:s, s:O?, s:O?, s:s*}", "did", did, "client", s->text, "model",
			 json_object_get(c->request, "model"), "for_ms",
			 json_object_get(c->request, "for_ms"), "note",
			 s->note[0] ? s->note : NULL);
}

static json_t *judge(struct command *c, bool allow)
{
	struct subject s;
	uint64_t expires;
	uint32_t model;
	int err;

	if (!get_subject(c, &s) || !get_model(c, &model) || !get_expiry(c, &expires))
		return NULL;
	if (!s.one && model != SLUICE_MODEL_ALL)
		return refuse(
			c, "a prefix is %s for all models; name an address to %s it for one model",
			allow ? "allowed" : "blocked", allow ? "allow" : "block");
	if (s.one) {
		struct sluice_client_flag flag = {
			.expires_ns = expires,
			.allow = allow,
			.reason = allow ? SLUICE_REASON_NONE : SLUICE_REASON_CLIENT_BLOCKED,
		};

		err = 0;
		for (size_t k = 0; k < s.count && !err; k++) {
			struct sluice_client_flag_key key = {.client = s.clients[k],
							     .model = model};

			err = c->ops->set_client(c->ops->arg, &key, &flag, c->err, sizeof(c->err));
		}
	} else {
		struct sluice_prefix prefix = {
			.expires_ns = expires,
			.class = allow ? SLUICE_PREFIX_EXEMPT : SLUICE_PREFIX_BLOCKED,
		};

		err = c->ops->set_prefix(c->ops->arg, &s.prefix, &prefix, c->err, sizeof(c->err));
	}
	if (err)
		return c->err[0] ? NULL : refuse(c, "%s: %s", s.text, strerror(-err));
	return said(c, allow ? "allowed" : "blocked", &s);
}

static json_t *do_allow(struct command *c)
{
	return judge(c, true);
}

static json_t *do_block(struct command *c)
{
	return judge(c, false);
}

static bool is_about(const struct subject *s, const struct sluice_client *client)
{
	for (size_t k = 0; k < s->count; k++)
		if (!memcmp(&s->clients[k], client, sizeof(*client)))
			return true;
	/* Also what was said of it before the services' prefixes were what they are now. */
	return !memcmp(&s->as_typed.client, client, sizeof(*client));
}

/* Takes back what was said of this client: for one model, or (no model named) everything. */
static json_t *do_clear(struct command *c)
{
	const struct daemon_state *state = c->state;
	struct subject s;
	uint32_t model;
	unsigned cleared = 0;
	char err[256] = "";
	int ret = 0;

	if (!get_subject(c, &s) || !get_model(c, &model))
		return NULL;
	if (!s.one && model != SLUICE_MODEL_ALL)
		return refuse(c, "a prefix has one rule for all models; leave --model out");
	c->ops->refresh(c->ops->arg, STATE_RULES);
	for (size_t i = 0; i < state->client_rule_count && !ret; i++) {
		const struct sluice_client_flag_key *key = &state->client_rules[i].key;

		if (!is_about(&s, &key->client) ||
		    (model != SLUICE_MODEL_ALL && key->model != model))
			continue;
		ret = c->ops->clear_client(c->ops->arg, key, err, sizeof(err));
		cleared += !ret;
	}
	if (!ret && model == SLUICE_MODEL_ALL && s.client.kind == SLUICE_CLIENT_ADDRESS) {
		ret = c->ops->clear_prefix(c->ops->arg, &s.prefix, err, sizeof(err));
		cleared += !ret;
		if (ret == -ENOENT)
			ret = 0;
	}
	if (ret && ret != -ENOENT)
		return refuse(c, "%s: %s", s.text, err[0] ? err : strerror(-ret));
	if (!cleared && model != SLUICE_MODEL_ALL)
		return refuse(c, "%s has no rule for this model", s.text);
	if (!cleared)
		return refuse(c, "%s has no rule (`sluicectl clients` lists them)", s.text);
	return said(c, "cleared", &s);
}

/* What would become of the subject's next request at this service. */
static json_t *explain_at(struct command *c, const struct subject *s, uint32_t model,
			  uint32_t service, const struct explain_request_of *ask)
{
	struct sluice_client client;
	json_t *answer;

	if (model == SLUICE_MODEL_ALL)
		model = service < c->state->service_count ? c->state->services[service].model_id
							  : SLUICE_MODEL_OTHER;
	explain_client(c->state, service, &s->as_typed, &client);
	answer = report_explain(c->state, &client,
				client.kind == SLUICE_CLIENT_ADDRESS ? s->as_typed.addr : NULL,
				model, service, ask);
	if (answer && s->as_typed.note && client.plen == 64)
		json_object_set_new(answer, "note", json_string("an IPv6 client is its /64"));
	return answer;
}

static json_t *do_explain(struct command *c)
{
	const json_t *bytes = json_object_get(c->request, "bytes");
	struct explain_request_of ask = {0};
	json_t *answer, *each;
	struct subject s;
	uint32_t model;
	int service;

	if (!get_subject(c, &s) || !get_model(c, &model) || !get_service(c, &service) ||
	    !get_string(c, "priority", &ask.priority))
		return NULL;
	if (bytes && !json_is_null(bytes) &&
	    (!json_is_integer(bytes) || json_integer_value(bytes) < 1 ||
	     json_integer_value(bytes) > ADMISSION_BYTES_MAX))
		return refuse(c, "\"bytes\" must be a whole number from 1 to %u",
			      ADMISSION_BYTES_MAX);
	ask.bytes = (uint32_t)json_integer_value(bytes);
	if (!s.one && s.as_typed.prefix.plen != 128 && s.as_typed.client.plen != 64)
		return refuse(c, "%s is many clients: name one", s.text);
	c->ops->refresh(c->ops->arg, STATE_MODELS);
	if (service >= 0)
		return explain_at(c, &s, model, (uint32_t)service, &ask);
	answer = explain_at(c, &s, model, explain_service(c->state), &ask);
	if (!c->state->service_count || !explain_each(c->state, explain_service(c->state)))
		return answer;
	each = json_array();
	for (uint32_t i = 0; i < c->state->service_count; i++)
		if (explain_each(c->state, i))
			json_array_append_new(each, explain_at(c, &s, model, i, &ask));
	json_object_set_new(answer, "services", each);
	return answer;
}

static json_t *do_quota_show(struct command *c)
{
	const json_t *client = json_object_get(c->request, "client");
	bool all = !client || json_is_null(client);
	struct subject s;

	if (!all && !get_subject(c, &s))
		return NULL;
	c->ops->refresh(c->ops->arg, STATE_RULES);
	return report_quotas(c->state, all ? NULL : &s.as_typed);
}

/*
 * Sets (quota not NULL) or clears the quota of each client that the subject is. 0 where that could
 * be done of one at least.
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

/* Client and model of what is said about a quota. */
static bool get_quota_subject(struct command *c, struct subject *s, uint32_t *model)
{
	if (!get_subject(c, s) || !get_model(c, model))
		return false;
	if (!s->one && *model != SLUICE_MODEL_ALL) {
		refuse(c,
		       "the quota of a prefix is for all models; name an address to have one for a model");
		return false;
	}
	return true;
}

/* Takes `weight=W` out of the words of a quota; the others go to `rest`. *weight 0: it is not
 * there. */
static bool take_weight(struct command *c, const char *text, char *rest, size_t len,
			uint16_t *weight)
{
	static const char between[] = ", \t", key[] = "weight=";
	char word[64], err[256];
	size_t at = 0;

	*weight = 0;
	rest[0] = 0;
	for (text += strspn(text, between); *text; text += strspn(text, between)) {
		size_t n = strcspn(text, between);

		if (!strncmp(text, key, sizeof(key) - 1)) {
			snprintf(word, sizeof(word), "%.*s", (int)(n < 60 ? n : 60),
				 text + sizeof(key) - 1);
			word[n < 60 ? n - (sizeof(key) - 1) : 60 - (sizeof(key) - 1)] = 0;
			if (parse_weight(word, weight, err, sizeof(err))) {
				refuse(c, "weight: %s", err);
				return false;
			}
		} else if (at < len) {
			at += (size_t)snprintf(rest + at, len - at, "%s%.*s", at ? " " : "",
					       (int)(n < 1000 ? n : 1000), text);
		}
		text += n;
	}
	return true;
}

static json_t *do_quota_set(struct command *c)
{
	char words[QUOTA_TEXT_MAX], number[TEXT_WEIGHT_MAX], rest[1024], err[512] = "";
	struct quota_def quota;
	struct subject s;
	const char *text;
	uint16_t weight;
	uint32_t model;
	json_t *answer;
	int ret = 0;

	if (!get_quota_subject(c, &s, &model) || !get_string(c, "quota", &text))
		return NULL;
	if (!text)
		return refuse(
			c,
			"\"quota\" is missing: \"requests=100/60s tokens=20000/60s burst=20\", \"weight=2\", or none");
	if (!take_weight(c, text, rest, sizeof(rest), &weight))
		return NULL;
	if (weight && s.client.kind == SLUICE_CLIENT_KEY)
		return refuse(c, "a weight is of addresses: give the key a quota of its own");
	if (weight && model != SLUICE_MODEL_ALL)
		return refuse(c, "a weight is for all models; leave --model out");
	if ((!weight || rest[0]) && quota_parse(&quota, rest, err, sizeof(err)))
		return refuse(c, "%s", err);
	if (weight)
		ret = c->ops->set_weight(c->ops->arg, &s.prefix, weight, err, sizeof(err));
	if (!ret && rest[0])
		ret = each_client(c, &s, model, &quota, err, sizeof(err));
	if (ret)
		return refuse(c, "%s: %s", s.text, err[0] ? err : "the quota was refused");
	answer = said(c, "set", &s);
	if (rest[0]) {
		quota_words(words, &quota);
		json_object_set_new(answer, "quota", json_string(words));
	}
	text_weight(number, weight);
	if (weight)
		json_object_set_new(answer, "weight", json_real(strtod(number, NULL)));
	return answer;
}

static json_t *do_quota_clear(struct command *c)
{
	char err[400] = "";
	struct subject s;
	uint32_t model;

	if (!get_quota_subject(c, &s, &model))
		return NULL;
	if (each_client(c, &s, model, NULL, err, sizeof(err)))
		return refuse(c, "%s: %s", s.text, err[0] ? err : "the quota stays");
	return said(c, "cleared the quota of", &s);
}

static json_t *do_reload(struct command *c)
{
	char done[400] = "";

	if (c->ops->reload(c->ops->arg, done, sizeof(done), c->err, sizeof(c->err)))
		return c->err[0] ? NULL : refuse(c, "the configuration was refused");
	return json_pack("{s:s}", "did", done);
}

static json_t *do_detach(struct command *c)
{
	if (c->ops->detach(c->ops->arg, c->err, sizeof(c->err)))
		return c->err[0] ? NULL : refuse(c, "cannot detach");
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
	{"allow", do_allow},
	{"block", do_block},
	{"clear", do_clear},
	{"reload", do_reload},
	{"detach", do_detach},
	{"watch", do_watch},
	{"explain", do_explain},
	{"quota-set", do_quota_set},
	{"quota-show", do_quota_show},
	{"quota-clear", do_quota_clear},
};

static json_t *run(struct command *c, const char *line, size_t len)
{
	json_error_t error;
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error), *answer = NULL;
	const char *name = json_string_value(json_object_get(request, "cmd"));

	c->request = request;
	if (!request)
		refuse(c, "not JSON: %s", error.text);
	else if (!json_is_object(request) || !name)
		refuse(c, "a command is an object like {\"cmd\":\"status\"}");
	else
		refuse(c, "no command is called \"%.40s\"", name);
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
