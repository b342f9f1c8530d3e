/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The law applied: every sample goes into the average of the whole, and into its model's; every
 * verdict is a reading held against a threshold. Who carries the law is one choice: with per_model
 * each model does, by its own targets or the whole's, and the whole is only shown; without, the
 * whole does, and models are only shown. OTHER, the models whose names are not learned, never
 * shuts: else a flood of invented names would shut every model that is still to come.
 *
 * Under policy adaptive the same models carry it, but for those in a group: they share one law,
 * that of the group's entry, to which each brings its samples, held against its own targets.
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
	.floor = -1,
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

static bool is_model_name(const char *name)
{
	return parse_is_model_name(name, strnlen(name, SLUICE_NAME_MAX)) &&
	       strncmp(name, CONTROLLER_POOL, strlen(CONTROLLER_POOL)) != 0;
}

uint32_t controller_learn(struct controller *c, const char *name, uint64_t now_ns)
{
	int id;

	if (!*name)
		return SLUICE_MODEL_OTHER;
	id = controller_find(c, name);
	if (id >= SLUICE_MODEL_FIRST && !c->model[id].is_pool) {
		if (now_ns > c->model[id].last_seen_ns)
			c->model[id].last_seen_ns = now_ns;
		return (uint32_t)id;
	}
	/* "global", "other" and groups are ours: a client that says them is one of the others. */
	if (id >= 0 || c->model_count >= SLUICE_MODELS_MAX || !is_model_name(name)) {
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

	if (id < SLUICE_MODEL_FIRST || id >= SLUICE_MODELS_MAX || !is_model_name(name))
		return -EINVAL;
	if (known == (int)id)
		return 0;
	if (known >= 0 || c->model[id].name[0])
		return -EEXIST;
	take_slot(c, id, name, now_ns);
	return 0;
}

int controller_declare_pool(struct controller *c, const char *name)
{
	char whole[SLUICE_NAME_MAX + 1] = CONTROLLER_POOL;
	int id;

	strncat(whole, name, sizeof(whole) - 1 - strlen(whole));
	if (!*name || !parse_is_model_name(whole, strlen(whole)))
		return -EINVAL;
	id = controller_find(c, whole);
	if (id >= 0)
		return id;
	for (id = SLUICE_MODELS_MAX - 1; id >= SLUICE_MODEL_FIRST && c->model[id].name[0];)
		id--;
	if (id < SLUICE_MODEL_FIRST)
		return -ENOSPC;
	take_slot(c, (uint32_t)id, whole, 0);
	c->model[id].is_pool = true;
	return id;
}

void controller_join(struct controller *c, uint32_t id, uint32_t group)
{
	struct controller_model *m = &c->model[id];

	if (m->in_pool)
		c->model[m->in_pool].members--;
	m->in_pool = (uint16_t)group;
	if (group)
		c->model[group].members++;
}

bool controller_in_use(const struct controller *c, uint32_t id)
{
	return id < SLUICE_MODELS_MAX && c->model[id].name[0] &&
	       (!c->model[id].is_pool || c->model[id].members);
}

uint32_t controller_pool(const struct controller *c, uint32_t id)
{
	if (id >= SLUICE_MODELS_MAX)
		id = SLUICE_MODEL_OTHER;
	if (c->all.policy != CONTROLLER_ADAPTIVE)
		return id;
	if (!c->per_model)
		return SLUICE_MODEL_ALL;
	return c->model[id].in_pool ? c->model[id].in_pool : id;
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

static struct adaptive_targets targets_of(const struct controller_targets *t)
{
	return (struct adaptive_targets){
		.ttft_ms = t->ttft_ms,
		.ttft_ms_per_kib = t->ttft_ms_per_kib,
		.itl_ms = t->itl_ms,
		.floor = (uint32_t)t->floor,
	};
}

/* The law that entry `id` carries, begun where it has not. */
static struct adaptive *pool_of(struct controller *c, uint32_t id, uint64_t now_ns)
{
	struct controller_model *m = &c->model[id];

	if (!m->adapting) {
		adaptive_init(&m->adaptive, now_ns);
		m->adapting = true;
	}
	return &m->adaptive;
}

/* A sample as the law takes it: held against the targets of its own model, whoever carries the law.
 */
static void adapt(struct controller *c, uint32_t id, const struct sluice_sample *s, uint32_t n)
{
	uint32_t pool = controller_pool(c, id);
	struct controller_targets t;
	struct adaptive_targets targets;
	struct adaptive *a;

	if (c->all.policy != CONTROLLER_ADAPTIVE ||
	    (!c->model[pool].adapting && !controller_adapts(c, pool)))
		return;
	a = pool_of(c, pool, s->time_ns);
	t = controller_targets(c, c->per_model ? id : SLUICE_MODEL_ALL);
	targets = targets_of(&t);
	if (s->kind == SLUICE_SAMPLE_TTFT &&
	    s->in_flight_at_admission) /* 0: shadow mode let it pass, it has no place */
		adaptive_ttft(a, &targets, (double)s->sum_ns / 1e6 / n, s->bytes, s->queued_bytes,
			      s->in_flight_at_admission, s->time_ns);
	if (s->kind != SLUICE_SAMPLE_ITL)
		return;
	if (n)
		adaptive_gaps(a, (double)s->sum_ns / 1e6, n, s->time_ns);
	if (s->in_flight_at_admission)
		adaptive_ended(a, &targets, s->queued_bytes / 1e3, s->time_ns);
}

uint32_t controller_sample(struct controller *c, const struct sluice_sample *sample)
{
	uint32_t id = sample_model(c, sample);
	uint32_t n = sample->n;

	if (sample->kind == SLUICE_SAMPLE_TTFT && !n)
		n = 1;
	adapt(c, id, sample, n);
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

static double smaller(double target, double than)
{
	return target > 0 && (!(than > 0) || target < than) ? target : than;
}

/* Of a group: what suits the most demanding of its members. */
static struct controller_targets pool_targets(const struct controller *c, uint32_t group)
{
	struct controller_targets t = c->all;

	t.ttft_ms = t.itl_ms = t.ttft_ms_per_kib = 0;
	t.max_in_flight = 0;
	t.floor = 0;
	for (uint32_t id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX; id++) {
		struct controller_targets m;

		if (c->model[id].in_pool != group)
			continue;
		m = controller_targets(c, id);
		if (m.ttft_ms > 0) {
			bool first = !(t.ttft_ms > 0);

			t.ttft_ms = smaller(m.ttft_ms, t.ttft_ms);
			if (first || m.ttft_ms_per_kib < t.ttft_ms_per_kib)
				t.ttft_ms_per_kib = m.ttft_ms_per_kib;
		}
		t.itl_ms = smaller(m.itl_ms, t.itl_ms);
		if (!t.floor || m.floor < t.floor)
			t.floor = m.floor;
	}
	if (!t.floor)
		t.floor = CONTROLLER_FLOOR;
	if (!(t.tau_s > 0))
		t.tau_s = CONTROLLER_TAU_S;
	return t;
}

struct controller_targets controller_targets(const struct controller *c, uint32_t id)
{
	struct controller_targets t = c->all;
	const struct controller_targets *own;

	if (id >= SLUICE_MODELS_MAX)
		id = SLUICE_MODEL_OTHER;
	if (c->model[id].is_pool)
		return pool_targets(c, id);
	own = &c->model[id].own;
	if (id != SLUICE_MODEL_ALL) {
		if (!c->per_model)
			t.max_in_flight = 0;
		if (!c->per_model || id == SLUICE_MODEL_OTHER) {
			t.ttft_ms = 0;
			t.itl_ms = 0;
		} else {
			if (own->ttft_ms >= 0) {
				t.ttft_ms = own->ttft_ms;
				t.ttft_ms_per_kib = own->ttft_ms_per_kib;
			}
			if (own->itl_ms >= 0)
				t.itl_ms = own->itl_ms;
		}
		if (own->tau_s > 0)
			t.tau_s = own->tau_s;
		if (own->max_in_flight >= 0)
			t.max_in_flight = own->max_in_flight;
		if (own->floor > 0)
			t.floor = own->floor;
		if (own->action != SLUICE_ACTION_DEFAULT)
			t.action = own->action;
		if (own->mode != SLUICE_MODE_DEFAULT)
			t.mode = own->mode;
	}
	if (!(t.ttft_ms > 0))
		t.ttft_ms = t.ttft_ms_per_kib = 0;
	if (!(t.ttft_ms_per_kib > 0))
		t.ttft_ms_per_kib = 0;
	if (t.floor <= 0)
		t.floor = CONTROLLER_FLOOR;
	if (!(t.itl_ms > 0))
		t.itl_ms = 0;
	if (!(t.tau_s > 0))
		t.tau_s = CONTROLLER_TAU_S;
	if (t.max_in_flight < 0)
		t.max_in_flight = 0;
	return t;
}

/* Whether a model's own averages decide anything; under policy adaptive: whether its own targets
 * do. */
static bool carries_pool(const struct controller *c, uint32_t id)
{
	if (id == SLUICE_MODEL_OTHER || c->model[id].is_pool)
		return false;
	return c->per_model == (id != SLUICE_MODEL_ALL);
}

bool controller_adapts(const struct controller *c, uint32_t id)
{
	struct controller_targets t;

	if (c->all.policy != CONTROLLER_ADAPTIVE || id >= SLUICE_MODELS_MAX)
		return false;
	if (c->model[id].is_pool ? !c->per_model || !c->model[id].members
				 : !carries_pool(c, id) || c->model[id].in_pool)
		return false;
	t = controller_targets(c, id);
	return t.ttft_ms > 0 || t.itl_ms > 0;
}

/* The entry whose law is to be shown as that of `id`: NULL where none is in force, or it is that of
 * everything. */
static const struct controller_model *shown_admission(const struct controller *c, uint32_t id)
{
	uint32_t pool = c->per_model ? controller_pool(c, id) : id;

	if (c->all.policy != CONTROLLER_ADAPTIVE || pool >= SLUICE_MODELS_MAX)
		return NULL;
	return c->model[pool].adapting ? &c->model[pool] : NULL;
}

void controller_look(struct controller *c, uint32_t id, const struct adaptive_view *view,
		     uint64_t now_ns)
{
	struct adaptive_targets targets;
	struct controller_targets t;
	struct adaptive *a;

	if (!controller_adapts(c, id)) {
		c->model[id].adapting = false;
		return;
	}
	a = pool_of(c, id, now_ns);
	t = controller_targets(c, id);
	targets = targets_of(&t);
	adaptive_look(a, &targets, view, now_ns);
}

bool controller_admission(const struct controller *c, uint32_t id, struct sluice_admission *out)
{
	struct adaptive_targets targets;
	struct controller_targets t;

	if (c->all.policy != CONTROLLER_ADAPTIVE || id >= SLUICE_MODELS_MAX ||
	    !c->model[id].adapting)
		return false;
	t = controller_targets(c, id);
	targets = targets_of(&t);
	adaptive_write(&c->model[id].adaptive, &targets, out);
	return true;
}

uint32_t controller_limit(const struct controller *c, uint32_t id)
{
	struct controller_targets t = controller_targets(c, id);
	uint32_t limit = t.max_in_flight > 0 ? (uint32_t)t.max_in_flight : 0;
	struct sluice_admission admission;

	if (controller_admission(c, c->per_model ? controller_pool(c, id) : id, &admission) &&
	    admission.ceiling && (!limit || admission.ceiling < limit))
		limit = admission.ceiling;
	return limit;
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
	if (c->all.policy == CONTROLLER_ADAPTIVE) {
		const struct controller_model *pool = shown_admission(c, id);

		if (pool && pool->adaptive.stopped) {
			r.open = false;
			r.reason = SLUICE_REASON_TTFT;
			r.retry_after_s = adaptive_retry_ms(&pool->adaptive) / 1e3;
		}
	} else if (carries_pool(c, id)) {
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

	if (controller_adapts(c, id)) {
		struct adaptive_targets targets = targets_of(&t);

		if (flag->pool == id && flag->admission.ceiling)
			adaptive_adopt(pool_of(c, id, now_ns), &flag->admission, &targets);
		return;
	}
	if (c->all.policy == CONTROLLER_ADAPTIVE)
		return;
	if (flag->allow || id >= SLUICE_MODELS_MAX || !carries_pool(c, id) ||
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

/* By more than `percent` of the larger. */
static bool moved(uint64_t a, uint64_t b, unsigned percent)
{
	uint64_t more = a > b ? a : b, less = a > b ? b : a;

	return (double)(more - less) * 100 > (double)more * percent;
}

/* Whether the kernel should know: what moves a little with every sample is no news. */
static bool admission_differs(const struct sluice_admission *a, const struct sluice_admission *b)
{
	for (int r = 0; r < SLUICE_RANKS; r++)
		if (moved(a->queue_budget_level[r], b->queue_budget_level[r], 2))
			return true;
	return a->ceiling != b->ceiling || a->floor != b->floor || a->stopped != b->stopped ||
	       memcmp(a->level, b->level, sizeof(a->level)) != 0 || moved(a->rate, b->rate, 2) ||
	       moved(a->queue_budget, b->queue_budget, 2) ||
	       moved(a->queue_budget_per_kib, b->queue_budget_per_kib, 2) ||
	       moved(a->credit_most, b->credit_most, 2) || moved(a->fair, b->fair, 5) ||
	       moved(a->interval, b->interval, 5);
}

static bool differs(const struct sluice_model_flag *a, const struct sluice_model_flag *b)
{
	uint32_t waits = a->retry_after_ms > b->retry_after_ms
				 ? a->retry_after_ms - b->retry_after_ms
				 : b->retry_after_ms - a->retry_after_ms;

	return a->allow != b->allow || a->reason != b->reason || a->limit != b->limit ||
	       a->action != b->action || a->mode != b->mode || a->unary != b->unary ||
	       a->quota != b->quota || a->pool != b->pool || waits > RETRY_MS_STEP ||
	       moved(a->limit_retry_ms, b->limit_retry_ms, 10) ||
	       admission_differs(&a->admission, &b->admission);
}

/* What policy adaptive says: the flag stays open, the admission beside it decides. */
static void admit_adaptively(struct controller *c, uint32_t id, const struct controller_targets *t,
			     uint64_t now_ns, struct sluice_model_flag *flag)
{
	struct adaptive_targets targets = targets_of(t);
	uint32_t pool = controller_pool(c, id);

	flag->allow = 1;
	flag->reason = SLUICE_REASON_NONE;
	flag->retry_after_ms = 0;
	flag->pool = (__u16)pool;
	if (controller_adapts(c, id))
		adaptive_write(pool_of(c, id, now_ns), &targets, &flag->admission);
	if ((pool != SLUICE_MODEL_ALL || id == SLUICE_MODEL_ALL) && c->model[pool].adapting)
		flag->limit_retry_ms = adaptive_retry_ms(&c->model[pool].adaptive);
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
	flag.pool = (__u16)id;
	flag.action = t.action;
	flag.mode = t.mode;
	flag.unary = m->unary;
	flag.quota = m->quota;
	if (c->all.policy == CONTROLLER_ADAPTIVE)
		admit_adaptively(c, id, &t, now_ns, &flag);
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
				"\"; there are ttft, itl, tau, max-in-flight, floor, action, mode, policy",
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
	    !carries_pool(c, id)) {
		parse_say(
			why, sizeof(why), "%s",
			id == SLUICE_MODEL_OTHER
				? "model other has no threshold: it never shuts"
				: "a model has no threshold of its own while per-model-limits is false");
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
		parse_say(err, len, "%s is a group: what holds for it is what its models say",
			  c->model[id].name);
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
