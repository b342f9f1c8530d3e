/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The fields of a command. The one idea: a client of the socket may send any line. So every field
 * is looked up by type, and a wrong one is refused with its reason.
 */
#include "control/request.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "control/report.h"
#include "core/explain.h"
#include "core/parse.h"

json_t *command_refuse(struct command *c, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(c->err, sizeof(c->err), format, args);
	va_end(args);
	return NULL;
}

bool request_string(struct command *c, const char *key, const char **out)
{
	const json_t *value = json_object_get(c->request, key);

	*out = NULL;
	if (!value || json_is_null(value))
		return true;
	*out = json_string_value(value);
	if (!*out)
		command_refuse(c, "\"%s\" must be a string", key);
	return *out != NULL;
}

bool request_fleet(struct command *c, bool *out)
{
	const json_t *value = json_object_get(c->request, "fleet");

	*out = json_is_true(value);
	if (!value || json_is_boolean(value))
		return true;
	command_refuse(c, "\"fleet\" must be true or false");
	return false;
}

bool request_service(struct command *c, int *out)
{
	const char *name;

	*out = -1;
	if (!request_string(c, "service", &name))
		return false;
	if (!name)
		return true;
	*out = service_find(c->state->services, c->state->service_count, name);
	if (*out < 0)
		command_refuse(c, "no service is \"%.64s\" (`sluicectl services` lists them)",
			       name);
	return *out >= 0;
}

/*
 * The id of a model's name, SLUICE_MODEL_ALL without one; -errno: it is refused. `make`: a new name
 * gets an id, if the table of names is too small for all. Else it is misspelt: names of models that
 * have answered are known.
 */
static int find_model(struct command *c, bool make)
{
	const char *name;
	int id;

	if (!request_string(c, "model", &name))
		return -EINVAL;
	id = name ? controller_find(c->state->controller, name) : SLUICE_MODEL_ALL;
	if (id >= 0)
		return id;
	if (!make || !controller_is_name(name) || !controller_may_miss(c->state->controller)) {
		command_refuse(c, "no model is called \"%.96s\" (`sluicectl models` lists them)",
			       name);
		return id;
	}
	id = c->ops->name_model(c->ops->arg, name, c->err, sizeof(c->err));
	if (id >= 0)
		snprintf(c->note, sizeof(c->note),
			 "model %s had no entry: no request has named it since", name);
	return id;
}

bool request_model(struct command *c, uint32_t *id)
{
	int found = find_model(c, false);

	*id = found < 0 ? SLUICE_MODEL_ALL : (uint32_t)found;
	return found >= 0;
}

bool request_configured_model(struct command *c, uint32_t *id)
{
	int found = find_model(c, true);

	*id = found < 0 ? SLUICE_MODEL_ALL : (uint32_t)found;
	return found >= 0;
}

/* Finds the clients that the subject is. The note names the services where it is not its usual
 * client. */
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
	/* If it is its usual client at no service, it is printed as the first that it is. */
	if (!is_usual)
		s->client = s->clients[0];
}

bool request_subject(struct command *c, struct subject *out)
{
	struct subject s = {0};
	const char *text;

	if (!request_string(c, "client", &text))
		return false;
	if (!text) {
		command_refuse(c, "\"client\" is missing: an address, a prefix or a key");
		return false;
	}
	if (!strncmp(text, "key=", 4)) {
		/* The rest is a secret: only its hash is used from here on, and no answer repeats
		 * it. */
		if (!text[4] || !c->state->lookup ||
		    !c->state->lookup->key(c->state->lookup->arg, text + 4, strlen(text + 4),
					   &s.as_typed.client)) {
			command_refuse(c, "the API key is empty, or cannot be hashed");
			return false;
		}
		s.as_typed.one = true;
	} else if (text_parse_subject(text, &s.as_typed)) {
		c->secret = true;
		command_refuse(
			c,
			"\"%.64s\" is no address, no prefix and no key (192.0.2.1, 10.0.0.0/8, 2001:db8::1, 2001:db8::/32, key:0123456789abcdef)",
			text);
		return false;
	}
	if (explain_is_prefix(c->state, &s.as_typed))
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

bool request_duration(struct command *c, const char *name, uint64_t *out)
{
	const json_t *value = json_object_get(c->request, name);
	double ms = json_number_value(value);

	if (!value || json_is_null(value))
		return true;
	/* A hundred years: more is a typing error, and would exceed the clock's range. */
	if (!json_is_number(value) || !(ms >= 1) || ms > 100 * 366 * 86400e3) {
		command_refuse(c, "\"%s\" must be a number of milliseconds, at least 1", name);
		return false;
	}
	*out = (uint64_t)(ms * 1e6);
	return true;
}

bool request_expiry(struct command *c, uint64_t *out)
{
	uint64_t ns = 0;

	*out = 0;
	if (!request_duration(c, "for_ms", &ns))
		return false;
	if (ns) {
		c->ops->refresh(c->ops->arg, 0);
		*out = c->state->now_ns + ns;
	}
	return true;
}

bool request_weight(struct command *c, const char *text, char *rest, size_t len, uint16_t *weight)
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
				command_refuse(c, "weight: %s", err);
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

json_t *command_done(const struct command *c, const char *did, const struct subject *s)
{
	char note[sizeof(s->note) + sizeof(c->note) + 2];

	snprintf(note, sizeof(note), "%s%s%s", s->note, s->note[0] && c->note[0] ? "; " : "",
		 c->note);
	return json_pack("{s:s, s:s, s:O?, s:O?, s:s*}", "did", did, "client", s->text, "model",
			 json_object_get(c->request, "model"), "for_ms",
			 json_object_get(c->request, "for_ms"), "note", note[0] ? note : NULL);
}
