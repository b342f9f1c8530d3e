/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The keys of `sluicectl set`: a table of name, help and parser. The one idea: a change is made on
 * a copy of the targets and stored whole, so a wrong value changes nothing.
 */
#include "controller_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "parse.h"

enum target {
	TARGET_TTFT,
	TARGET_ITL,
	TARGET_DURATION,
	TARGET_NORMALIZED,
	TARGET_TAU,
	TARGET_LIMIT,
	TARGET_FLOOR,
	TARGET_ACTION,
	TARGET_MODE,
	TARGET_POLICY
};

static const struct {
	struct controller_key key;
	enum target target;
	const struct parse_value *as;
} keys[] = {
	{{"ttft", "T[ + T/KiB]|none", "target for time to first token"},
	 TARGET_TTFT,
	 &parse_as_threshold},
	{{"itl", "T|none", "target for inter-token latency"}, TARGET_ITL, &parse_as_threshold},
	{{"duration", "T|none", "target for the duration of a reply that is not streamed"},
	 TARGET_DURATION,
	 &parse_as_threshold},
	{{"normalized-latency", "T|none", "target for that duration over its output tokens"},
	 TARGET_NORMALIZED,
	 &parse_as_threshold},
	{{"tau", "T", "time constant of the averages"}, TARGET_TAU, &parse_as_time_constant},
	{{"max-in-flight", "N|none", "most requests in flight at once"},
	 TARGET_LIMIT,
	 &parse_as_max_in_flight},
	{{"floor", "N", "fewer requests in flight than N are always admitted"},
	 TARGET_FLOOR,
	 &parse_as_floor},
	{{"action", "reply|reset|drop", "how requests are rejected"},
	 TARGET_ACTION,
	 &parse_as_action},
	{{"mode", "enforce|shadow", "refuse, or only count what would be refused"},
	 TARGET_MODE,
	 &parse_as_mode},
	{{"policy", "adaptive|ema-flag", "admission policy, of all models only"},
	 TARGET_POLICY,
	 &parse_as_policy},
};

#define KEYS (sizeof(keys) / sizeof(keys[0]))

const struct controller_key *controller_key(size_t i)
{
	return i < KEYS ? &keys[i].key : NULL;
}

static void store(struct controller_targets *t, enum target target, double value)
{
	switch (target) {
	case TARGET_TTFT:
		t->ttft_ms = value;
		t->ttft_ms_per_kib = 0;
		break;
	case TARGET_ITL:
		t->itl_ms = value;
		break;
	case TARGET_DURATION:
		t->duration_ms = value;
		break;
	case TARGET_NORMALIZED:
		t->normalized_ms = value;
		break;
	case TARGET_TAU:
		t->tau_s = value;
		break;
	case TARGET_LIMIT:
		t->max_in_flight = (int64_t)value;
		break;
	case TARGET_FLOOR:
		t->floor = (int64_t)value;
		break;
	case TARGET_ACTION:
		t->action = (uint8_t)value;
		break;
	case TARGET_MODE:
		t->mode = (uint8_t)value;
		break;
	case TARGET_POLICY:
		t->policy = (uint8_t)value;
		break;
	}
}

static double value_of(const struct controller_targets *t, enum target target)
{
	switch (target) {
	case TARGET_TTFT:
		return t->ttft_ms;
	case TARGET_ITL:
		return t->itl_ms;
	case TARGET_DURATION:
		return t->duration_ms;
	case TARGET_NORMALIZED:
		return t->normalized_ms;
	case TARGET_TAU:
		return t->tau_s;
	case TARGET_LIMIT:
		return (double)t->max_in_flight;
	case TARGET_FLOOR:
		return (double)t->floor;
	case TARGET_ACTION:
		return t->action;
	case TARGET_MODE:
		return t->mode;
	case TARGET_POLICY:
		break;
	}
	return t->policy;
}

int controller_value(const struct controller *c, uint32_t id, const char *key,
		     char out[CONTROLLER_VALUE_MAX])
{
	const struct controller_targets *t = id == SLUICE_MODEL_ALL ? &c->all : &c->model[id].own;
	const char *word;
	double value;
	size_t k = 0;

	while (k < KEYS && strcmp(keys[k].key.name, key))
		k++;
	if (k == KEYS)
		return -ENOENT;
	value = value_of(t, keys[k].target);
	word = keys[k].as->kind == PARSE_WORD ? parse_word_of(keys[k].as, (int)value) : NULL;
	if (keys[k].as->kind == PARSE_WORD)
		snprintf(out, CONTROLLER_VALUE_MAX, "%s", word ? word : "default");
	else if (value < 0 || (keys[k].target == TARGET_FLOOR && value == 0))
		snprintf(out, CONTROLLER_VALUE_MAX, id == SLUICE_MODEL_ALL ? "none" : "default");
	else if (value == 0)
		snprintf(out, CONTROLLER_VALUE_MAX, "none");
	else if (keys[k].target == TARGET_TTFT && t->ttft_ms_per_kib > 0)
		snprintf(out, CONTROLLER_VALUE_MAX, "%.10gms + %.10gms/KiB", value,
			 t->ttft_ms_per_kib);
	else
		snprintf(out, CONTROLLER_VALUE_MAX, "%.10g%s", value,
			 keys[k].as->kind == PARSE_COUNT ? ""
			 : keys[k].target == TARGET_TAU  ? "s"
							 : "ms");
	return 0;
}

/*
 * `default`: global values have nothing to fall back to, except action and mode, which then come
 * from the service.
 */
static int set_default(struct controller_targets *t, enum target target, bool whole, char *err,
		       size_t len)
{
	if (target == TARGET_ACTION || target == TARGET_MODE) {
		store(t, target, 0);
		return 0;
	}
	if (whole || target == TARGET_POLICY) {
		parse_say(err, len, "\"default\" is only for what a model has of its own");
		return -EINVAL;
	}
	store(t, target, -1);
	return 0;
}

static int set_target(const struct controller *c, uint32_t id, struct controller_targets *t,
		      const char *key, const char *value, char *err, size_t len)
{
	const char *names[KEYS], *near;
	char why[256];
	double number, per_kib = 0;
	size_t k = 0;

	while (k < KEYS && strcmp(keys[k].key.name, key))
		k++;
	if (k == KEYS) {
		for (k = 0; k < KEYS; k++)
			names[k] = keys[k].key.name;
		near = parse_nearest(key, names, KEYS);
		if (near)
			parse_say(err, len, "unknown key \"" PARSE_QUOTE "\"; did you mean \"%s\"?",
				  PARSE_QUOTED(key), near);
		else
			parse_say(
				err, len,
				"unknown key \"" PARSE_QUOTE
				"\"; there are ttft, itl, duration, normalized-latency, tau, max-in-flight, floor, action, mode, policy",
				PARSE_QUOTED(key));
		return -EINVAL;
	}
	if (!strcmp(value, "default")) {
		if (set_default(t, keys[k].target, id == SLUICE_MODEL_ALL, why, sizeof(why)) < 0)
			goto refuse;
		return 0;
	}
	if (keys[k].target == TARGET_TTFT
		    ? parse_target(value, &number, &per_kib, why, sizeof(why)) < 0
		    : parse_value(keys[k].as, value, &number, why, sizeof(why)) < 0)
		goto refuse;
	if (keys[k].target == TARGET_POLICY && id != SLUICE_MODEL_ALL) {
		parse_say(why, sizeof(why), "there is one for all models; leave the model out");
		goto refuse;
	}
	if (keys[k].as == &parse_as_threshold && number > 0 && id != SLUICE_MODEL_ALL &&
	    !c->per_model) {
		parse_say(why, sizeof(why), "%s",
			  "a model has no threshold of its own while per-model-limits is false");
		goto refuse;
	}
	store(t, keys[k].target, number);
	if (keys[k].target == TARGET_TTFT)
		t->ttft_ms_per_kib = per_kib;
	return 0;
refuse:
	parse_say(err, len, "%s: %s", key, why);
	return -EINVAL;
}

/* The id of the model to change, or -ENOENT with the reason in err. */
static int set_model(const struct controller *c, const char *model, char *err, size_t len)
{
	int id = model ? controller_find(c, model) : SLUICE_MODEL_ALL;

	if (id < 0)
		parse_say(err, len,
			  "no model \"" PARSE_QUOTE
			  "\" is configured or has answered a request yet",
			  PARSE_QUOTED(model));
	if (id >= 0 && c->model[id].is_pool) {
		parse_say(err, len, "%s is a pool: its models have the targets", c->model[id].name);
		return -EINVAL;
	}
	return id;
}

int controller_set(struct controller *c, const char *model, const char *key, const char *value,
		   char *err, size_t err_len)
{
	int id = set_model(c, model, err, err_len);

	if (id < 0)
		return id;
	/* set_target() changes nothing when it fails. */
	return set_target(c, (uint32_t)id, id == SLUICE_MODEL_ALL ? &c->all : &c->model[id].own,
			  key, value, err, err_len);
}

int controller_set_all(struct controller *c, const char *model, const char *const *pairs, size_t n,
		       char *err, size_t err_len)
{
	int id = set_model(c, model, err, err_len);
	struct controller_targets *target, changed;

	if (id < 0)
		return id;
	if (!n) {
		parse_say(err, err_len, "nothing to set: KEY=VALUE is missing");
		return -EINVAL;
	}
	target = id == SLUICE_MODEL_ALL ? &c->all : &c->model[id].own;
	changed = *target;
	for (size_t i = 0; i < n; i++) {
		const char *equals = strchr(pairs[i], '=');
		char key[128];

		if (!equals || equals == pairs[i] || (size_t)(equals - pairs[i]) >= sizeof(key)) {
			parse_say(err, err_len, "\"" PARSE_QUOTE "\" is not KEY=VALUE",
				  PARSE_QUOTED(pairs[i]));
			return -EINVAL;
		}
		memcpy(key, pairs[i], (size_t)(equals - pairs[i]));
		key[equals - pairs[i]] = '\0';
		if (set_target(c, (uint32_t)id, &changed, key, equals + 1, err, err_len) < 0)
			return -EINVAL;
	}
	*target = changed;
	return 0;
}
