/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The law applied: every sample goes into the average of the whole, and into its model's; every
 * verdict is a reading held against a threshold. Who carries the law is one choice: with per_model
 * each model does, by its own targets or the whole's, and the whole is only shown; without, the
 * whole does, and models are only shown. OTHER, the models whose names are not learned, never
 * shuts: else a flood of invented names would shut every model that is still to come.
 *
 * Ids are never reused: the kernel keeps them in connections and counters, where an old id under a
 * new name would charge one model for another. So a full table refuses names, and counts them;
 * names come only from 2xx responses.
 */
#include "controller.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "parse.h"

#define RETRY_MS_MIN   1000
#define RETRY_MS_MAX   60000
#define RETRY_MS_STEP  100 /* a retry-after that moved by less is no news */
#define LIMIT_RETRY_MS 1000

static const struct controller_targets unset = {
	.ttft_ms = -1,
	.itl_ms = -1,
	.tau_s = -1,
	.max_in_flight = -1,
	.action = SLUICE_ACTION_DEFAULT,
	.mode = SLUICE_MODE_DEFAULT,
};

void controller_init(struct controller *c, const struct controller_targets *all, bool per_model)
{
	memset(c, 0, sizeof(*c));
	c->all = *all;
	c->per_model = per_model;
	c->model_count = SLUICE_MODEL_FIRST;
	for (size_t id = 0; id < SLUICE_MODELS_MAX; id++)
		c->model[id].own = unset;
	strcpy(c->model[SLUICE_MODEL_ALL].name, "global");
	strcpy(c->model[SLUICE_MODEL_OTHER].name, "other");
}

int controller_find(const struct controller *c, const char *name)
{
	unsigned seen = 0;

	if (!*name)
		return -ENOENT;
	for (int id = 0; id < SLUICE_MODELS_MAX && seen < c->model_count; id++) {
		if (!c->model[id].name[0])
			continue;
		seen++;
		if (!strcmp(c->model[id].name, name))
			return id;
	}
	return -ENOENT;
}

static void take_slot(struct controller *c, uint32_t id, const char *name, uint64_t now_ns)
{
	strcpy(c->model[id].name, name);
	c->model[id].last_seen_ns = now_ns;
	c->model_count++;
}

uint32_t controller_learn(struct controller *c, const char *name, uint64_t now_ns)
{
	int id;

	if (!*name)
		return SLUICE_MODEL_OTHER;
	id = controller_find(c, name);
	if (id >= SLUICE_MODEL_FIRST) {
		if (now_ns > c->model[id].last_seen_ns)
			c->model[id].last_seen_ns = now_ns;
		return (uint32_t)id;
	}
	/* "global" and "other" are ours: a client that says them is one of the others. */
	if (id >= 0 || c->model_count >= SLUICE_MODELS_MAX ||
	    !parse_is_model_name(name, strnlen(name, SLUICE_NAME_MAX))) {
		c->names_refused++;
		return SLUICE_MODEL_OTHER;
	}
	for (uint32_t slot = SLUICE_MODEL_FIRST; slot < SLUICE_MODELS_MAX; slot++) {
		if (!c->model[slot].name[0]) {
			take_slot(c, slot, name, now_ns);
			return slot;
		}
	}
	return SLUICE_MODEL_OTHER;
}

int controller_adopt(struct controller *c, const char *name, uint32_t id, uint64_t now_ns)
{
	int known = controller_find(c, name);

	if (id < SLUICE_MODEL_FIRST || id >= SLUICE_MODELS_MAX ||
	    !parse_is_model_name(name, strnlen(name, SLUICE_NAME_MAX)))
		return -EINVAL;
	if (known == (int)id)
		return 0;
	if (known >= 0 || c->model[id].name[0])
		return -EEXIST;
	take_slot(c, id, name, now_ns);
	return 0;
}

/* Whose sample it is: by its name where it has one, else by its id, if that is anybody's. */
static uint32_t sample_model(struct controller *c, const struct sluice_sample *sample)
{
	char name[SLUICE_NAME_MAX + 1] = "";

	if (sample->name[0]) {
		memcpy(name, sample->name, sizeof(sample->name));
		return controller_learn(c, name, sample->time_ns);
	}
	if (sample->model >= SLUICE_MODELS_MAX || !c->model[sample->model].name[0])
		return SLUICE_MODEL_OTHER;
	return sample->model;
}

static void record(struct controller *c, uint32_t id, const struct sluice_sample *sample,
		   uint32_t n)
{
	struct controller_model *m = &c->model[id];
	double tau_s = controller_targets(c, id).tau_s;
	double value_ms = (double)sample->sum_ns / n / 1e6;

	if (sample->time_ns > m->last_seen_ns)
		m->last_seen_ns = sample->time_ns;
	if (sample->kind == SLUICE_SAMPLE_TTFT) {
		ema_record(&m->ttft, value_ms, n, sample->time_ns, tau_s);
		m->ttft_samples += n;
	} else {
		ema_record(&m->itl, value_ms, n, sample->time_ns, tau_s);
		m->itl_samples += n;
	}
}

uint32_t controller_sample(struct controller *c, const struct sluice_sample *sample)
{
	uint32_t id = sample_model(c, sample);
	uint32_t n = sample->n;

	if (sample->kind == SLUICE_SAMPLE_TTFT && !n)
		n = 1;
	if (sample->kind > SLUICE_SAMPLE_ITL || !n) {
		if (sample->time_ns > c->model[id].last_seen_ns)
			c->model[id].last_seen_ns = sample->time_ns;
		return id;
	}
	record(c, SLUICE_MODEL_ALL, sample, n);
	if (id != SLUICE_MODEL_ALL)
		record(c, id, sample, n);
	return id;
}

struct controller_targets controller_targets(const struct controller *c, uint32_t id)
{
	struct controller_targets t = c->all;
	const struct controller_targets *own;

	if (id >= SLUICE_MODELS_MAX)
		id = SLUICE_MODEL_OTHER;
	own = &c->model[id].own;
	if (id != SLUICE_MODEL_ALL) {
		if (!c->per_model)
			t.max_in_flight = 0;
		if (!c->per_model || id == SLUICE_MODEL_OTHER) {
			t.ttft_ms = 0;
			t.itl_ms = 0;
		} else {
			if (own->ttft_ms >= 0)
				t.ttft_ms = own->ttft_ms;
			if (own->itl_ms >= 0)
				t.itl_ms = own->itl_ms;
		}
		if (own->tau_s > 0)
			t.tau_s = own->tau_s;
		if (own->max_in_flight >= 0)
			t.max_in_flight = own->max_in_flight;
		if (own->action != SLUICE_ACTION_DEFAULT)
			t.action = own->action;
		if (own->mode != SLUICE_MODE_DEFAULT)
			t.mode = own->mode;
	}
	if (!(t.ttft_ms > 0))
		t.ttft_ms = 0;
	if (!(t.itl_ms > 0))
		t.itl_ms = 0;
	if (!(t.tau_s > 0))
		t.tau_s = CONTROLLER_TAU_S;
	if (t.max_in_flight < 0)
		t.max_in_flight = 0;
	return t;
}

/* Whether a model's own averages decide anything. */
static bool carries_the_law(const struct controller *c, uint32_t id)
{
	if (id == SLUICE_MODEL_OTHER)
		return false;
	return c->per_model == (id != SLUICE_MODEL_ALL);
}

/*
 * Holds one signal against its threshold (0: none). TTFT is asked first, so it is the reason where
 * both are over.
 */
static void judge(struct controller_reading *r, enum sluice_reason reason, const struct ema *ema,
		  double threshold_ms, uint64_t now_ns, double tau_s)
{
	double wait_s;

	if (!(threshold_ms > 0) || !(ema_read(ema, now_ns, tau_s) > threshold_ms))
		return;
	wait_s = ema_seconds_until(ema, threshold_ms, now_ns, tau_s);
	if (r->open)
		r->reason = reason;
	r->open = false;
	if (wait_s > r->retry_after_s)
		r->retry_after_s = wait_s;
}

struct controller_reading controller_read(const struct controller *c, uint32_t id, uint64_t now_ns)
{
	struct controller_targets t = controller_targets(c, id);
	struct controller_reading r = {.open = true, .reason = SLUICE_REASON_NONE};
	const struct controller_model *m;

	if (id >= SLUICE_MODELS_MAX)
		id = SLUICE_MODEL_OTHER;
	m = &c->model[id];
	r.ttft_ms = m->ttft.weight > 0 ? ema_read(&m->ttft, now_ns, t.tau_s) : -1;
	r.itl_ms = m->itl.weight > 0 ? ema_read(&m->itl, now_ns, t.tau_s) : -1;
	if (carries_the_law(c, id)) {
		judge(&r, SLUICE_REASON_TTFT, &m->ttft, t.ttft_ms, now_ns, t.tau_s);
		judge(&r, SLUICE_REASON_ITL, &m->itl, t.itl_ms, now_ns, t.tau_s);
	}
	return r;
}

void controller_adopt_flag(struct controller *c, uint32_t id, const struct sluice_model_flag *flag,
			   uint64_t now_ns)
{
	struct controller_targets t = controller_targets(c, id);
	bool ttft = flag->reason == SLUICE_REASON_TTFT;
	double threshold_ms = ttft ? t.ttft_ms : t.itl_ms;
	double wait_ms = fmin(flag->retry_after_ms, CONTROLLER_ADOPT_MS);
	struct ema *ema;

	if (flag->allow || id >= SLUICE_MODELS_MAX || !carries_the_law(c, id) ||
	    !(ttft || flag->reason == SLUICE_REASON_ITL) || !(threshold_ms > 0))
		return;
	ema = ttft ? &c->model[id].ttft : &c->model[id].itl;
	if (ema->weight > 0)
		return;
	ema->average = threshold_ms * exp(wait_ms / 1000 / t.tau_s);
	ema->weight = 1;
	ema->last_ns = now_ns;
}

static uint32_t retry_after_ms(double seconds)
{
	double ms = ceil(seconds * 1000);

	if (!(ms > RETRY_MS_MIN))
		return RETRY_MS_MIN;
	return ms < RETRY_MS_MAX ? (uint32_t)ms : RETRY_MS_MAX;
}

static bool differs(const struct sluice_model_flag *a, const struct sluice_model_flag *b)
{
	uint32_t moved = a->retry_after_ms > b->retry_after_ms
				 ? a->retry_after_ms - b->retry_after_ms
				 : b->retry_after_ms - a->retry_after_ms;

	return a->allow != b->allow || a->reason != b->reason || a->limit != b->limit ||
	       a->action != b->action || a->mode != b->mode || a->unary != b->unary ||
	       a->quota != b->quota ||
	       moved > RETRY_MS_STEP;
}

bool controller_flag(struct controller *c, uint32_t id, uint64_t now_ns,
		     struct sluice_model_flag *out)
{
	struct controller_targets t = controller_targets(c, id);
	struct controller_reading r = controller_read(c, id, now_ns);
	struct controller_model *m;
	struct sluice_model_flag flag;

	if (id >= SLUICE_MODELS_MAX)
		id = SLUICE_MODEL_OTHER;
	m = &c->model[id];
	memset(&flag, 0, sizeof(flag));
	flag.allow = r.open;
	flag.reason = (__u8)r.reason;
	flag.retry_after_ms = r.open ? 0 : retry_after_ms(r.retry_after_s);
	/*
	 * The whole's limit is each model's where the law is per model, and one for all together
	 * where it is not.
	 */
	if (id != SLUICE_MODEL_ALL || !c->per_model)
		flag.limit = (__u32)t.max_in_flight;
	flag.limit_retry_ms = LIMIT_RETRY_MS;
	flag.action = t.action;
	flag.mode = t.mode;
	flag.unary = m->unary;
	flag.quota = m->quota;
	*out = flag;
	if (m->ever_written && !differs(&flag, &m->written))
		return false;
	m->written = flag;
	m->ever_written = true;
	return true;
}

enum target {
	TARGET_TTFT,
	TARGET_ITL,
	TARGET_TAU,
	TARGET_LIMIT,
	TARGET_ACTION,
	TARGET_MODE,
	TARGET_POLICY
};

static const struct {
	const char *name;
	enum target target;
	const struct parse_value *as;
} keys[] = {
	{"ttft", TARGET_TTFT, &parse_as_threshold},
	{"itl", TARGET_ITL, &parse_as_threshold},
	{"tau", TARGET_TAU, &parse_as_time_constant},
	{"max-in-flight", TARGET_LIMIT, &parse_as_max_in_flight},
	{"action", TARGET_ACTION, &parse_as_action},
	{"mode", TARGET_MODE, &parse_as_mode},
	{"policy", TARGET_POLICY, &parse_as_policy},
};

#define KEYS (sizeof(keys) / sizeof(keys[0]))

static void store(struct controller_targets *t, enum target target, double value)
{
	switch (target) {
	case TARGET_TTFT:
		t->ttft_ms = value;
		break;
	case TARGET_ITL:
		t->itl_ms = value;
		break;
	case TARGET_TAU:
		t->tau_s = value;
		break;
	case TARGET_LIMIT:
		t->max_in_flight = (int64_t)value;
		break;
	case TARGET_ACTION:
		t->action = (uint8_t)value;
		break;
	case TARGET_MODE:
		t->mode = (uint8_t)value;
		break;
	case TARGET_POLICY: /* one policy so far: nothing to remember */
		break;
	}
}

/*
 * `default`: the whole has nothing to fall back to, save that action and mode come from the
 * service.
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
	double number;
	size_t k = 0;

	while (k < KEYS && strcmp(keys[k].name, key))
		k++;
	if (k == KEYS) {
		for (k = 0; k < KEYS; k++)
			names[k] = keys[k].name;
		near = parse_nearest(key, names, KEYS);
		if (near)
			parse_say(err, len, "unknown key \"" PARSE_QUOTE "\"; did you mean \"%s\"?",
				  PARSE_QUOTED(key), near);
		else
			parse_say(
				err, len,
				"unknown key \"" PARSE_QUOTE
				"\"; there are ttft, itl, tau, max-in-flight, action, mode, policy",
				PARSE_QUOTED(key));
		return -EINVAL;
	}
	if (!strcmp(value, "default")) {
		if (set_default(t, keys[k].target, id == SLUICE_MODEL_ALL, why, sizeof(why)) < 0)
			goto refuse;
		return 0;
	}
	if (parse_value(keys[k].as, value, &number, why, sizeof(why)) < 0)
		goto refuse;
	if (keys[k].as == &parse_as_threshold && number > 0 && id != SLUICE_MODEL_ALL &&
	    !carries_the_law(c, id)) {
		parse_say(
			why, sizeof(why), "%s",
			id == SLUICE_MODEL_OTHER
				? "model other has no threshold: it never shuts"
				: "a model has no threshold of its own while per-model-limits is false");
		goto refuse;
	}
	store(t, keys[k].target, number);
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
