/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The desired state: what two parts come to, which map writes lead from one state to the next, and
 * what the maps hold after each of these writes, after an error and after a restart. The maps are a
 * fake that counts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "fake_maps.h"
#include "steps.h"

#define S 1000000000ULL

/* A daemon's policy without a daemon. */
struct world {
	struct controller models;
	struct desired_part file, manual;
	struct desired *state;
	struct fake_maps maps;
	char err[512];
	unsigned notices;
	char notice[512];
};

enum { LLAMA = SLUICE_MODEL_FIRST, QWEN };

static void count_notice(void *arg, const char *text)
{
	struct world *w = arg;

	w->notices++;
	snprintf(w->notice, sizeof(w->notice), "%s", text);
}

static struct world *new_world(void)
{
	static const struct controller_targets none = {.max_in_flight = -1};
	struct world *w = calloc(1, sizeof(*w));

	controller_init(&w->models, &none, true);
	assert_int_equal(controller_learn(&w->models, "llama", 0), LLAMA);
	assert_int_equal(controller_learn(&w->models, "qwen", 0), QWEN);
	desired_part_init(&w->file);
	desired_part_init(&w->manual);
	w->state = desired_new();
	fake_init(&w->maps);
	return w;
}

static void free_world(struct world *w)
{
	desired_part_free(&w->file);
	desired_part_free(&w->manual);
	desired_free(w->state);
	fake_free(&w->maps);
	free(w);
}

static struct desired_input input_of(struct world *w)
{
	return (struct desired_input){.file = &w->file,
				      .manual = &w->manual,
				      .models = &w->models,
				      .notice = count_notice,
				      .arg = w};
}

static int try_change(struct world *w)
{
	struct desired_target target = fake_target(&w->maps);
	struct desired_input in = input_of(w);
	struct desired *next;
	int ret;

	assert_int_equal(desired_part_sort(&w->file), 0);
	fake_forget_counts(&w->maps);
	w->err[0] = 0;
	ret = desired_build(&next, &in, w->state, w->err, sizeof(w->err));
	return ret ? ret : desired_put(&w->state, next, &target, w->err, sizeof(w->err));
}

static void change(struct world *w)
{
	if (try_change(w))
		fail_msg("%s", w->err);
}

/* ---- words ---- */

static struct sluice_prefix_key prefix_key(const char *text)
{
	struct sluice_prefix_key key;
	struct text_network net;

	assert_int_equal(text_parse_network(text, &net), 0);
	memset(&key, 0, sizeof(key));
	key.plen = net.plen;
	memcpy(key.addr, net.addr, sizeof(key.addr));
	return key;
}

static struct sluice_client_flag_key client_key(const char *text, uint32_t model)
{
	struct text_network net;
	struct sluice_client_flag_key key = {.model = model};

	assert_int_equal(text_parse_network(text, &net), 0);
	memcpy(key.client.addr, net.addr, sizeof(key.client.addr));
	key.client.plen = net.plen;
	return key;
}

static struct quota_def quota(const char *text)
{
	struct quota_def def;
	char err[256];

	if (quota_parse(&def, text, err, sizeof(err)))
		fail_msg("%s", err);
	return def;
}

static void set_class(struct desired_part *part, const char *prefix, uint8_t class,
		      uint64_t expires_ns)
{
	struct desired_prefix p = {.key = prefix_key(prefix),
				   .own = SLUICE_PREFIX_OWN_CLASS,
				   .class = class,
				   .expires_ns = expires_ns};

	assert_int_equal(desired_set_prefix(part, &p), 0);
}

static void set_weight(struct desired_part *part, const char *prefix, double weight)
{
	struct desired_prefix p = {.key = prefix_key(prefix),
				   .own = SLUICE_PREFIX_OWN_WEIGHT,
				   .weight = (uint16_t)(weight * SLUICE_WEIGHT_ONE)};

	assert_int_equal(desired_set_prefix(part, &p), 0);
}

static void set_priority(struct desired_part *part, const char *prefix, uint8_t priority)
{
	struct desired_prefix p = {
		.key = prefix_key(prefix), .own = SLUICE_PREFIX_OWN_PRIORITY, .priority = priority};

	assert_int_equal(desired_set_prefix(part, &p), 0);
}

static void set_prefix_quota(struct desired_part *part, const char *prefix, const char *text)
{
	struct desired_prefix p = {
		.key = prefix_key(prefix), .own = SLUICE_PREFIX_OWN_QUOTA, .quota = quota(text)};

	assert_int_equal(desired_set_prefix(part, &p), 0);
}

static void set_client_quota(struct desired_part *part, const char *client, uint32_t model,
			     const char *text)
{
	struct desired_client_quota q = {.key = client_key(client, model), .quota = quota(text)};

	assert_int_equal(table_put(&part->client_quotas, &q), 0);
}

static void set_model_quota(struct desired_part *part, uint32_t model, const char *text)
{
	struct desired_model_quota q = {.model = model, .quota = quota(text)};

	assert_int_equal(table_put(&part->model_quotas, &q), 0);
}

static void set_rule(struct desired_part *part, const char *client, uint32_t model, bool allow,
		     uint64_t expires_ns)
{
	struct state_client_rule r = {.key = client_key(client, model),
				      .flag = {.allow = allow, .expires_ns = expires_ns}};

	assert_int_equal(table_put(&part->rules, &r), 0);
}

/* quota NULL: none. */
static void add_service(struct desired_part *part, uint16_t port, const char *text)
{
	struct service s;

	memset(&s, 0, sizeof(s));
	s.wildcard = true;
	s.port = port;
	s.action = SLUICE_ACTION_REPLY;
	s.mode = SLUICE_MODE_ENFORCE;
	strcpy(s.model, "llama");
	s.has_quota = text;
	if (text)
		s.quota = quota(text);
	part->services = realloc(part->services, (part->service_count + 1) * sizeof(s));
	memcpy(&part->services[part->service_count++], &s, sizeof(s));
}

static const struct sluice_prefix *of_prefix(const struct world *w, const char *text)
{
	struct sluice_prefix_key key = prefix_key(text);
	const struct state_prefix_rule *r = table_find(&w->maps.prefixes, &key);

	return r ? &r->prefix : NULL;
}

static uint32_t of_client(const struct world *w, const char *text, uint32_t model)
{
	struct sluice_client_flag_key key = client_key(text, model);
	const struct state_client_quota *q = table_find(&w->maps.client_quotas, &key);

	return q ? q->quota : 0;
}

static uint32_t of_weight(const struct world *w, double weight, uint32_t quota_id)
{
	struct desired_weighted key = {
		.key = {(uint16_t)(weight * SLUICE_WEIGHT_ONE), (uint16_t)quota_id}};
	const struct desired_weighted *found = table_find(&w->maps.weighted, &key);

	return found ? found->id : 0;
}

static void assert_words(const struct world *w, uint32_t id, const char *words)
{
	char text[QUOTA_TEXT_MAX];
	struct quota_def def;

	assert_true(id && w->maps.text[id].scope);
	quota_of_text(&def, &w->maps.text[id]);
	quota_words(text, &def);
	assert_string_equal(text, words);
}

static void assert_writes(const struct world *w, enum desired_kind kind, unsigned n)
{
	if (w->maps.writes[kind] != n)
		fail_msg("%u writes of kind %u instead of %u", w->maps.writes[kind], kind, n);
}

/* ---- the maps hold the state ---- */

static void assert_same_items(const struct table *a, const struct table *b, size_t value,
			      size_t value_size)
{
	assert_int_equal(a->count, b->count);
	for (size_t i = 0; i < a->count; i++) {
		const char *x = table_at(a, i), *y = table_at(b, i);

		assert_int_equal(a->kind->compare(x, y), 0);
		assert_memory_equal(x + value, y + value, value_size);
	}
}

#define assert_same_table(a, b, type, field)                                                       \
	assert_same_items(a, b, offsetof(type, field), sizeof(((type *)0)->field))

static void assert_holds(const struct fake_maps *m, const struct desired *state)
{
	assert_same_table(&m->weighted, &state->weighted, struct desired_weighted, id);
	assert_same_table(&m->model_quotas, &state->model_quotas, struct desired_model_id, quota);
	assert_same_table(&m->client_quotas, &state->client_quotas, struct state_client_quota,
			  quota);
	assert_same_table(&m->rules, &state->rules, struct state_client_rule, flag);
	assert_same_table(&m->prefixes, &state->prefixes, struct state_prefix_rule, prefix);
	assert_same_table(&m->priorities, &state->priorities, struct desired_priority, class);
	assert_int_equal(m->service_count, state->service_count);
	if (m->service_count)
		assert_memory_equal(m->services, state->services,
				    m->service_count * sizeof(*m->services));
	for (uint32_t id = 1; id < SLUICE_QUOTAS_MAX; id++)
		if (state->used[id])
			assert_memory_equal(&m->text[id], &state->quotas.text[id],
					    sizeof(m->text[id]));
}

/* ---- random parts, of few things, so that they meet ---- */

static uint64_t seed;

static unsigned any(unsigned n)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(seed >> 33) % n;
}

static const char *const some_prefixes[] = {
	"10.0.0.0/8",  "10.1.0.0/16",    "10.1.2.0/24", "10.1.2.3", "10.1.2.4",
	"10.2.0.0/16", "192.168.0.0/16", "0.0.0.0/0",   "fd00::/8", "fd00:1::/32",
};
static const char *const some_clients[] = {"10.1.2.3", "10.1.2.4", "10.1.9.9",
					   "10.2.0.1", "11.0.0.1", "192.168.3.4"};
static const char *const some_quotas[] = {
	"requests=10/1s", "requests=4/10s burst=8",    "tokens=1000/60s",
	"none",           "requests=1/1h tokens=9/1m",
};
static const double some_weights[] = {0.25, 0.5, 1, 2, 3};

#define SOME(list) ((list)[any(sizeof(list) / sizeof((list)[0]))])

static void random_rules(struct desired_part *part)
{
	for (unsigned i = any(5); i; i--)
		set_class(part, SOME(some_prefixes),
			  any(2) ? SLUICE_PREFIX_EXEMPT : SLUICE_PREFIX_BLOCKED,
			  any(2) ? 100 * S + any(5) : 0);
	for (unsigned i = any(5); i; i--)
		set_rule(part, SOME(some_clients), any(2) ? SLUICE_MODEL_ALL : LLAMA, any(2),
			 any(2) ? 100 * S + any(5) : 0);
}

static void random_quotas(struct desired_part *part)
{
	for (unsigned i = any(5); i; i--)
		set_weight(part, SOME(some_prefixes), SOME(some_weights));
	for (unsigned i = any(4); i; i--)
		set_prefix_quota(part, SOME(some_prefixes), SOME(some_quotas));
	for (unsigned i = any(5); i; i--)
		set_client_quota(part, SOME(some_clients), any(3) ? SLUICE_MODEL_ALL : LLAMA,
				 SOME(some_quotas));
}

static void random_file(struct desired_part *part)
{
	desired_part_free(part);
	desired_part_init(part);
	random_quotas(part);
	for (unsigned i = any(4); i; i--)
		set_priority(part, SOME(some_prefixes), (uint8_t)(1 + any(3)));
	for (unsigned i = any(3); i; i--) {
		struct desired_priority p = {.class = any(4)};

		p.key.kind = SLUICE_CLIENT_KEY;
		p.key.addr[0] = (uint8_t)any(4);
		assert_int_equal(table_put(&part->priorities, &p), 0);
	}
	for (unsigned i = any(3); i; i--)
		set_model_quota(part, any(2) ? LLAMA : QWEN, SOME(some_quotas));
	for (unsigned i = any(4); i; i--)
		add_service(part, (uint16_t)(8000 + i), any(2) ? SOME(some_quotas) : NULL);
}

static void random_manual(struct desired_part *part)
{
	desired_part_free(part);
	desired_part_init(part);
	random_rules(part);
	random_quotas(part);
	part->action = (uint8_t)any(3);
}

static void random_parts(struct world *w)
{
	random_file(&w->file);
	random_manual(&w->manual);
}

/* ---- tests ---- */

static void what_is_set_manually_goes_over_the_file_and_leaves_it_there(void **state)
{
	struct world *w = new_world();
	struct sluice_client_flag_key key = client_key("10.1.2.3", SLUICE_MODEL_ALL);
	struct sluice_prefix_key wide = prefix_key("10.0.0.0/8");
	uint32_t of_file;

	set_client_quota(&w->file, "10.1.2.3", SLUICE_MODEL_ALL, "requests=2/1h");
	set_prefix_quota(&w->file, "10.0.0.0/8", "requests=9/1h");
	set_weight(&w->file, "10.0.0.0/8", 2);
	set_priority(&w->file, "10.0.0.0/8", 3);
	change(w);
	of_file = of_client(w, "10.1.2.3", SLUICE_MODEL_ALL);
	assert_words(w, of_file, "requests=2/1h");

	set_client_quota(&w->manual, "10.1.2.3", SLUICE_MODEL_ALL, "requests=2/1h");
	set_prefix_quota(&w->manual, "10.0.0.0/8", "requests=1/1h");
	set_weight(&w->manual, "10.0.0.0/8", 0.5);
	set_class(&w->manual, "10.0.0.0/8", SLUICE_PREFIX_BLOCKED, 0);
	change(w);
	assert_int_not_equal(of_client(w, "10.1.2.3", SLUICE_MODEL_ALL), of_file);
	assert_true(w->maps.text[of_client(w, "10.1.2.3", SLUICE_MODEL_ALL)].origin);
	assert_words(w, of_prefix(w, "10.0.0.0/8")->quota, "requests=1/1h");
	assert_int_equal(of_prefix(w, "10.0.0.0/8")->weight, SLUICE_WEIGHT_ONE / 2);
	assert_int_equal(of_prefix(w, "10.0.0.0/8")->priority, 3);
	assert_int_equal(of_prefix(w, "10.0.0.0/8")->own,
			 SLUICE_PREFIX_OWN_CLASS | SLUICE_PREFIX_OWN_QUOTA |
				 SLUICE_PREFIX_OWN_WEIGHT | SLUICE_PREFIX_WEIGHT_MANUAL |
				 SLUICE_PREFIX_OWN_PRIORITY);

	/* A reload replaces the file's part only. */
	desired_part_free(&w->file);
	desired_part_init(&w->file);
	set_weight(&w->file, "10.0.0.0/8", 3);
	change(w);
	assert_words(w, of_client(w, "10.1.2.3", SLUICE_MODEL_ALL), "requests=2/1h");
	assert_words(w, of_prefix(w, "10.0.0.0/8")->quota, "requests=1/1h");
	assert_int_equal(of_prefix(w, "10.0.0.0/8")->weight, SLUICE_WEIGHT_ONE / 2);
	assert_int_equal(of_prefix(w, "10.0.0.0/8")->class, SLUICE_PREFIX_BLOCKED);

	/* Cleared, the file's holds. */
	assert_true(table_drop(&w->manual.client_quotas, &key));
	assert_int_equal(desired_clear_prefix(&w->manual, &wide,
					      SLUICE_PREFIX_OWN_WEIGHT | SLUICE_PREFIX_OWN_QUOTA),
			 0);
	change(w);
	assert_int_equal(of_client(w, "10.1.2.3", SLUICE_MODEL_ALL), 0);
	assert_int_equal(of_prefix(w, "10.0.0.0/8")->weight, 3 * SLUICE_WEIGHT_ONE);
	assert_int_equal(of_prefix(w, "10.0.0.0/8")->quota, 0);
	assert_int_equal(desired_clear_prefix(&w->manual, &wide, SLUICE_PREFIX_OWN_QUOTA), -ENOENT);
	assert_int_equal(desired_clear_prefix(&w->manual, &wide, SLUICE_PREFIX_OWN_CLASS), 0);
	assert_null(desired_find_prefix(&w->manual, &wide));
	change(w);
	assert_int_equal(of_prefix(w, "10.0.0.0/8")->own, SLUICE_PREFIX_OWN_WEIGHT);
	free_world(w);
}

static void a_change_writes_one_prefix_and_those_that_inherit_from_it(void **state)
{
	struct world *w = new_world();
	struct sluice_prefix_key wide = prefix_key("10.7.0.0/16");
	char text[64];

	add_service(&w->file, 8000, "requests=100/1s");
	for (unsigned i = 0; i < 250; i++) {
		snprintf(text, sizeof(text), "10.%u.0.0/16", i);
		set_weight(&w->file, text, 2);
		snprintf(text, sizeof(text), "10.%u.1.0/24", i);
		set_priority(&w->file, text, 2);
		snprintf(text, sizeof(text), "10.%u.2.0/24", i);
		set_weight(&w->file, text, 3);
		snprintf(text, sizeof(text), "10.%u.1.7", i);
		set_client_quota(&w->file, text, SLUICE_MODEL_ALL, "requests=5/1s");
	}
	change(w);
	assert_writes(w, DESIRED_PREFIX, 750);
	change(w);
	assert_int_equal(w->maps.all, 0);

	/* The class is inherited by both, the weight by the one that has none. */
	set_class(&w->manual, "10.7.0.0/16", SLUICE_PREFIX_BLOCKED, 0);
	change(w);
	assert_writes(w, DESIRED_PREFIX, 3);
	assert_int_equal(w->maps.all, 3);
	assert_int_equal(of_prefix(w, "10.7.2.0/24")->class, SLUICE_PREFIX_BLOCKED);
	assert_int_equal(of_prefix(w, "10.8.2.0/24")->class, SLUICE_PREFIX_PLAIN);

	/* A weight that is known already, … */
	set_weight(&w->manual, "10.7.0.0/16", 3);
	change(w);
	assert_writes(w, DESIRED_PREFIX, 2);
	assert_int_equal(w->maps.all, 2);
	/* … and one that makes a quota of the service's first. */
	set_weight(&w->manual, "10.7.0.0/16", 5);
	change(w);
	assert_writes(w, DESIRED_PREFIX, 2);
	assert_writes(w, DESIRED_QUOTA, 1);
	assert_writes(w, DESIRED_WEIGHTED, 1);
	assert_int_equal(w->maps.all, 4);

	/* One that no other inherits from, and one that is new. */
	set_prefix_quota(&w->manual, "10.7.1.0/24", "requests=5/1s");
	change(w);
	assert_writes(w, DESIRED_PREFIX, 1);
	assert_writes(w, DESIRED_QUOTA, 1);
	assert_int_equal(w->maps.all, 2);
	set_class(&w->manual, "10.7.1.128/25", SLUICE_PREFIX_EXEMPT, 0);
	change(w);
	assert_int_equal(w->maps.all, 1);
	assert_int_equal(of_prefix(w, "10.7.1.128/25")->weight, 5 * SLUICE_WEIGHT_ONE);

	/* Taking back costs as little; the quota that is left keeps its id. */
	assert_int_equal(desired_clear_prefix(&w->manual, &wide, SLUICE_PREFIX_OWN_WEIGHT), 0);
	change(w);
	assert_writes(w, DESIRED_PREFIX, 3);
	assert_writes(w, DESIRED_WEIGHTED, 1);
	assert_int_equal(w->maps.all, 4);

	/* A client's rule and quota are one write each. */
	set_rule(&w->manual, "10.7.1.7", SLUICE_MODEL_ALL, false, 0);
	change(w);
	assert_int_equal(w->maps.all, 1);
	assert_writes(w, DESIRED_RULE, 1);
	set_client_quota(&w->manual, "10.7.1.7", SLUICE_MODEL_ALL, "requests=5/1s");
	change(w);
	assert_int_equal(w->maps.all, 1);
	assert_writes(w, DESIRED_CLIENT_QUOTA, 1);
	free_world(w);
}

static void the_difference_leads_from_any_state_to_any_other(void **state)
{
	struct world *w = new_world();

	seed = 1;
	for (unsigned i = 0; i < 300; i++) {
		random_parts(w);
		change(w);
		assert_holds(&w->maps, w->state);
		change(w);
		assert_int_equal(w->maps.all, 0);
	}
	free_world(w);
}

/* The two states between which look_for_gaps() is called. */
static const struct desired *look_old, *look_new;

static bool same_fields(const struct sluice_prefix *a, const struct sluice_prefix *b)
{
	static const struct sluice_prefix none;

	a = a ? a : &none;
	b = b ? b : &none;
	return a->class == b->class && a->quota == b->quota && a->weight == b->weight &&
	       a->priority == b->priority && a->expires_ns == b->expires_ns;
}

/* Each address is under its old policy or its new one, never under a third. */
static void look_at_addresses(struct fake_maps *m)
{
	for (size_t i = 0; i < sizeof(some_clients) / sizeof(some_clients[0]); i++) {
		struct sluice_client_flag_key key = client_key(some_clients[i], SLUICE_MODEL_ALL);
		const struct sluice_prefix *is = fake_longest(&m->prefixes, key.client.addr);

		if (!same_fields(is, fake_longest(&look_old->prefixes, key.client.addr)) &&
		    !same_fields(is, fake_longest(&look_new->prefixes, key.client.addr)))
			fail_msg("%s falls under what neither state says", some_clients[i]);
	}
}

static void assert_defined(const struct fake_maps *m, uint32_t id)
{
	if (id && !m->text[id].scope)
		fail_msg("quota %u is referred to and not defined", id);
}

static bool is_of_both(const struct table *old, const struct table *new, const void *item)
{
	return table_find(old, item) && table_find(new, item);
}

static bool is_everybodys(const struct fake_maps *m, uint32_t id)
{
	bool is = false;

	for (size_t i = 0; i < m->service_count; i++)
		is |= m->services[i].quota_id == id;
	for (size_t i = 0; i < m->model_quotas.count; i++)
		is |= ((struct desired_model_id *)table_at(&m->model_quotas, i))->quota == id;
	return is;
}

static bool some_prefix_weighs(const struct fake_maps *m, uint16_t weight)
{
	for (size_t i = 0; i < m->prefixes.count; i++)
		if (((struct state_prefix_rule *)table_at(&m->prefixes, i))->prefix.weight ==
		    weight)
			return true;
	return false;
}

/* What a weight makes of a quota is there as long as some prefix has the one and some service or
 * model the other. */
static void look_at_weights(const struct fake_maps *m, const struct table *weighted)
{
	for (size_t i = 0; i < weighted->count; i++) {
		const struct desired_weighted *item = table_at(weighted, i);

		if (is_everybodys(m, item->key.quota) && some_prefix_weighs(m, item->key.weight))
			assert_non_null(table_find(&m->weighted, item));
	}
}

static void look_for_gaps(struct fake_maps *m)
{
	look_at_addresses(m);
	for (size_t i = 0; i < m->service_count; i++)
		assert_defined(m, m->services[i].quota_id);
	for (size_t i = 0; i < m->model_quotas.count; i++)
		assert_defined(m,
			       ((struct desired_model_id *)table_at(&m->model_quotas, i))->quota);
	for (size_t i = 0; i < m->weighted.count; i++)
		assert_defined(m, ((struct desired_weighted *)table_at(&m->weighted, i))->id);
	for (size_t i = 0; i < m->client_quotas.count; i++)
		assert_defined(
			m, ((struct state_client_quota *)table_at(&m->client_quotas, i))->quota);
	for (size_t i = 0; i < m->prefixes.count; i++)
		assert_defined(
			m, ((struct state_prefix_rule *)table_at(&m->prefixes, i))->prefix.quota);
	for (size_t i = 0; i < look_old->client_quotas.count; i++) {
		const void *item = table_at(&look_old->client_quotas, i);

		if (is_of_both(&look_old->client_quotas, &look_new->client_quotas, item))
			assert_non_null(table_find(&m->client_quotas, item));
	}
	for (size_t i = 0; i < look_old->rules.count; i++) {
		const void *item = table_at(&look_old->rules, i);

		if (is_of_both(&look_old->rules, &look_new->rules, item))
			assert_non_null(table_find(&m->rules, item));
	}
	look_at_weights(m, &look_old->weighted);
	look_at_weights(m, &look_new->weighted);
}

/* There, or up to a write that fails, and back. */
static void nothing_is_missing_after_any_write_on_the_way(void **state)
{
	struct world *w = new_world();

	seed = 2;
	for (unsigned i = 0; i < 200; i++) {
		struct desired_target target = fake_target(&w->maps);
		struct desired_input in = input_of(w);
		struct desired_ops ops = {0};
		struct desired *next;

		random_parts(w);
		assert_int_equal(desired_build(&next, &in, w->state, w->err, sizeof(w->err)), 0);
		assert_int_equal(desired_diff(w->state, next, &ops), 0);
		look_old = w->state;
		look_new = next;
		w->maps.look = look_for_gaps;
		if (ops.count) {
			fake_forget_counts(&w->maps);
			w->maps.only_once = true;
			w->maps.fail_at = 1 + any((unsigned)ops.count);
			assert_int_equal(desired_apply(&ops, &target, w->err, sizeof(w->err)),
					 -ENOMEM);
			w->maps.fail_at = 0;
			assert_holds(&w->maps, w->state);
		}
		assert_int_equal(desired_apply(&ops, &target, w->err, sizeof(w->err)), 0);
		w->maps.look = NULL;
		assert_holds(&w->maps, next);
		desired_ops_free(&ops);
		desired_free(w->state);
		w->state = next;
	}
	free_world(w);
}

static void whatever_write_fails_everything_is_as_it_was(void **state)
{
	struct world *w = new_world();

	seed = 3;
	for (unsigned i = 0; i < 20; i++) {
		struct desired *before;
		unsigned writes;

		random_parts(w);
		change(w);
		before = w->state;
		random_parts(w);
		w->maps.only_once = true;
		for (w->maps.fail_at = 1;; w->maps.fail_at++) {
			w->maps.failures = 0;
			if (!try_change(w))
				break;
			assert_int_equal(w->maps.failures, 1);
			assert_ptr_equal(w->state, before);
			assert_holds(&w->maps, before);
			assert_string_equal(w->err, "the map is full");
		}
		writes = w->maps.all;
		assert_true(w->maps.fail_at > writes);
		w->maps.fail_at = 0;
		assert_holds(&w->maps, w->state);
	}
	free_world(w);
}

static void what_cannot_be_taken_back_is_said(void **state)
{
	struct world *w = new_world();

	set_class(&w->manual, "10.0.0.0/8", SLUICE_PREFIX_BLOCKED, 0);
	set_class(&w->manual, "11.0.0.0/8", SLUICE_PREFIX_BLOCKED, 0);
	w->maps.fail_at = 2;
	assert_int_equal(try_change(w), -ENOMEM);
	assert_non_null(strstr(w->err, "the map is full; not all could be taken back"));
	free_world(w);
}

static void a_definition_keeps_its_id_for_when_it_comes_again(void **state)
{
	struct world *w = new_world();
	uint32_t id, scaled;

	add_service(&w->file, 8000, "requests=100/1s");
	set_weight(&w->file, "10.0.0.0/8", 2);
	set_client_quota(&w->file, "11.0.0.1", SLUICE_MODEL_ALL, "requests=2/1h");
	set_client_quota(&w->manual, "11.0.0.1", LLAMA, "requests=2/1h");
	change(w);
	id = w->maps.services[0].quota_id;
	scaled = of_weight(w, 2, id);
	assert_words(w, scaled, "requests=200/1s");
	assert_true(id && scaled && id != scaled);
	assert_int_not_equal(of_client(w, "11.0.0.1", LLAMA),
			     of_client(w, "11.0.0.1", SLUICE_MODEL_ALL));

	w->file.services[0].quota = quota("requests=7/1s");
	change(w);
	assert_int_not_equal(w->maps.services[0].quota_id, id);
	assert_int_equal(of_weight(w, 2, id), 0);
	w->file.services[0].quota = quota("requests=100/1s");
	change(w);
	assert_int_equal(w->maps.services[0].quota_id, id);
	assert_int_equal(of_weight(w, 2, id), scaled);
	assert_writes(w, DESIRED_QUOTA, 0);
	assert_writes(w, DESIRED_FORGET, 0);
	free_world(w);
}

/* As a daemon does that finds these maps. */
static void restart(struct world *w)
{
	const struct fake_maps *m = &w->maps;
	struct desired *found = desired_new();
	uint8_t action = w->manual.action, mode = w->manual.mode;
	struct desired_part manual;

	memcpy(found->quotas.text, m->text, sizeof(m->text));
	assert_int_equal(table_copy(&found->weighted, &m->weighted), 0);
	assert_int_equal(table_copy(&found->model_quotas, &m->model_quotas), 0);
	assert_int_equal(table_copy(&found->client_quotas, &m->client_quotas), 0);
	assert_int_equal(table_copy(&found->rules, &m->rules), 0);
	assert_int_equal(table_copy(&found->prefixes, &m->prefixes), 0);
	assert_int_equal(table_copy(&found->priorities, &m->priorities), 0);
	assert_int_equal(desired_adopt(found), 0);
	assert_int_equal(desired_adopted_part(found, SLUICE_ORIGIN_MANUAL, &manual), 0);
	assert_same_table(&manual.rules, &w->manual.rules, struct state_client_rule, flag);
	assert_same_table(&manual.client_quotas, &w->manual.client_quotas,
			  struct desired_client_quota, quota);
	assert_int_equal(manual.prefixes.count, w->manual.prefixes.count);
	manual.action = action;
	manual.mode = mode;
	desired_part_free(&w->manual);
	w->manual = manual;
	desired_free(w->state);
	w->state = found;
}

static void a_restart_finds_what_was_set_manually_and_writes_only_texts(void **state)
{
	struct world *w = new_world();

	seed = 4;
	for (unsigned i = 0; i < 150; i++) {
		unsigned used = 0;

		random_parts(w);
		change(w);
		restart(w);
		change(w);
		assert_holds(&w->maps, w->state);
		for (uint32_t id = 1; id < SLUICE_QUOTAS_MAX; id++)
			used += w->state->used[id];
		/* Another version may word them otherwise. */
		assert_writes(w, DESIRED_QUOTA, used);
		assert_writes(w, DESIRED_SERVICES, w->file.service_count ? 1 : 0);
		assert_int_equal(w->maps.all, used + w->maps.writes[DESIRED_SERVICES]);
	}
	free_world(w);
}

static void an_id_is_taken_over_only_where_nothing_refers_to_it(void **state)
{
	struct world *w = new_world();
	struct desired_client_quota q = {.key = client_key("10.0.0.1", SLUICE_MODEL_ALL)};
	uint32_t taken;

	for (unsigned i = 1; i < SLUICE_QUOTAS_MAX; i++) {
		q.key.client.addr[13] = (uint8_t)(i >> 8);
		q.key.client.addr[14] = (uint8_t)i;
		q.quota.requests = (struct quota_rate){i, 60 * S, i};
		assert_int_equal(table_put(&w->file.client_quotas, &q), 0);
	}
	change(w);
	assert_writes(w, DESIRED_QUOTA, SLUICE_QUOTAS_MAX - 1);

	/* All are in use: another finds no room, and nothing is written. */
	set_client_quota(&w->manual, "11.0.0.1", SLUICE_MODEL_ALL, "requests=1/1h");
	assert_int_equal(try_change(w), -ENOSPC);
	assert_string_equal(w->err, "there is no room for another quota (4095 are held)");
	assert_int_equal(w->maps.all, 0);
	/* Also where one goes that is still in force. */
	q.key.client.addr[13] = 0;
	q.key.client.addr[14] = 77;
	taken = ((struct state_client_quota *)table_find(&w->maps.client_quotas, &q))->quota;
	assert_true(table_drop(&w->file.client_quotas, &q));
	assert_int_equal(try_change(w), -ENOSPC);
	assert_int_equal(w->maps.all, 0);

	/* Once it has gone its id is free, and what was spent under it is forgotten first. */
	assert_true(table_drop(
		&w->manual.client_quotas,
		&(struct desired_client_quota){.key = client_key("11.0.0.1", SLUICE_MODEL_ALL)}));
	change(w);
	set_client_quota(&w->manual, "11.0.0.1", SLUICE_MODEL_ALL, "requests=1/1h");
	change(w);
	assert_writes(w, DESIRED_FORGET, 1);
	assert_writes(w, DESIRED_QUOTA, 1);
	assert_int_equal(of_client(w, "11.0.0.1", SLUICE_MODEL_ALL), taken);
	assert_words(w, taken, "requests=1/1h");
	free_world(w);
}

static void a_map_that_would_be_too_small_is_refused_before_anything_is_written(void **state)
{
	struct world *w = new_world();
	struct desired_priority p = {.key = {.kind = SLUICE_CLIENT_KEY}};

	set_weight(&w->file, "10.0.0.0/8", 2);
	for (unsigned i = 0; i <= SLUICE_PRIORITIES_MAX; i++) {
		memcpy(p.key.addr, &i, sizeof(i));
		assert_int_equal(table_add(&w->file.priorities, &p), 0);
	}
	assert_int_equal(try_change(w), -ENOSPC);
	assert_string_equal(w->err, "priorities would need 4097 entries and has room for 4096");
	assert_int_equal(w->maps.all, 0);
	free_world(w);
}

static void only_where_both_do_not_fit_removals_are_first(void **state)
{
	struct world *w = new_world();
	struct desired_priority p = {.key = {.kind = SLUICE_CLIENT_KEY}};
	unsigned n = SLUICE_PRIORITIES_MAX;

	for (unsigned i = 0; i < n; i++) {
		memcpy(p.key.addr, &i, sizeof(i));
		assert_int_equal(table_add(&w->file.priorities, &p), 0);
	}
	change(w);
	w->file.priorities.count = 0;
	for (unsigned i = n / 2; i < n + n / 2; i++) {
		memcpy(p.key.addr, &i, sizeof(i));
		assert_int_equal(table_add(&w->file.priorities, &p), 0);
	}
	change(w);
	assert_int_equal(w->maps.all, n);
	assert_holds(&w->maps, w->state);
	assert_int_equal(w->maps.priorities_most, n);

	w->file.priorities.count = n / 2;
	change(w);
	for (unsigned i = 0; i < n / 4; i++) {
		((struct desired_priority *)table_at(&w->file.priorities, i))->key.addr[7] = 1;
	}
	w->maps.priorities_most = 0;
	change(w);
	assert_holds(&w->maps, w->state);
	assert_int_equal(w->maps.priorities_most, n / 2 + n / 4);
	free_world(w);
}

static void what_has_ended_goes_and_what_lies_in_it_follows(void **state)
{
	struct world *w = new_world();

	set_class(&w->manual, "10.0.0.0/8", SLUICE_PREFIX_BLOCKED, 0);
	set_class(&w->manual, "10.1.0.0/16", SLUICE_PREFIX_EXEMPT, 20 * S);
	set_class(&w->manual, "10.1.2.0/24", SLUICE_PREFIX_EXEMPT, 10 * S);
	set_weight(&w->manual, "10.1.2.0/24", 2);
	set_rule(&w->manual, "10.1.2.3", LLAMA, false, 15 * S);
	set_rule(&w->manual, "10.1.2.4", LLAMA, false, 0);
	change(w);
	assert_int_equal(desired_next_expiry(&w->manual), 10 * S);
	assert_false(desired_expire(&w->manual, 10 * S - 1));
	assert_true(desired_expire(&w->manual, 10 * S));
	assert_int_equal(desired_next_expiry(&w->manual), 15 * S);
	change(w);
	assert_int_equal(w->maps.all, 1);
	assert_int_equal(of_prefix(w, "10.1.2.0/24")->class, SLUICE_PREFIX_EXEMPT);
	assert_int_equal(of_prefix(w, "10.1.2.0/24")->expires_ns, 20 * S);
	assert_true(desired_expire(&w->manual, 20 * S));
	change(w);
	assert_writes(w, DESIRED_RULE, 1);
	assert_writes(w, DESIRED_PREFIX, 2);
	assert_int_equal(w->maps.all, 3);
	assert_null(of_prefix(w, "10.1.0.0/16"));
	assert_int_equal(of_prefix(w, "10.1.2.0/24")->class, SLUICE_PREFIX_BLOCKED);
	assert_int_equal(w->maps.rules.count, 1);
	assert_int_equal(desired_next_expiry(&w->manual), 0);
	assert_false(desired_expire(&w->manual, UINT64_MAX));
	free_world(w);
}

static void a_word_about_all_services_goes_over_what_each_says(void **state)
{
	struct world *w = new_world();

	add_service(&w->file, 8000, "requests=100/1s");
	add_service(&w->file, 8001, NULL);
	strcpy(w->file.services[1].model, "nobody");
	change(w);
	assert_int_equal(w->maps.services[0].model_id, LLAMA);
	assert_int_equal(w->maps.services[1].model_id, SLUICE_MODEL_OTHER);
	assert_int_equal(w->maps.services[1].id, 1);
	assert_int_equal(w->maps.services[1].quota_id, 0);
	w->manual.mode = SLUICE_MODE_SHADOW;
	change(w);
	assert_int_equal(w->maps.all, 1);
	assert_writes(w, DESIRED_SERVICES, 1);
	assert_int_equal(w->maps.services[0].mode, SLUICE_MODE_SHADOW);
	assert_int_equal(w->maps.services[0].action, SLUICE_ACTION_REPLY);
	w->manual.mode = 0;
	change(w);
	assert_int_equal(w->maps.services[0].mode, SLUICE_MODE_ENFORCE);
	free_world(w);
}

static void an_impossible_weight_is_refused_manually_and_counts_as_one_in_the_file(void **state)
{
	struct world *w = new_world();

	set_model_quota(&w->file, LLAMA, "tokens=900000000/1s");
	change(w);
	assert_int_equal(desired_check_weight(w->state, SLUICE_WEIGHT_ONE, w->err, sizeof(w->err)),
			 0);
	assert_int_equal(
		desired_check_weight(w->state, 2 * SLUICE_WEIGHT_ONE, w->err, sizeof(w->err)),
		-EINVAL);
	assert_non_null(strstr(w->err, "weight 2 of the quota tokens=900000000/1s: "));
	set_weight(&w->file, "10.0.0.0/8", 2);
	change(w);
	assert_int_equal(w->notices, 1);
	assert_non_null(strstr(w->notice, "it counts as 1"));
	assert_int_equal(w->maps.weighted.count, 0);
	assert_int_equal(of_prefix(w, "10.0.0.0/8")->weight, 2 * SLUICE_WEIGHT_ONE);
	free_world(w);
}

static void of_two_words_about_one_thing_in_a_part_the_last_holds(void **state)
{
	struct world *w = new_world();
	struct desired_client_quota q = {.key = client_key("10.1.2.3", SLUICE_MODEL_ALL)};

	for (unsigned i = 0; i < 100; i++) {
		q.key.client.addr[15] = (uint8_t)(i % 10);
		q.quota.requests = (struct quota_rate){i + 1, S, i + 1};
		assert_int_equal(table_add(&w->file.client_quotas, &q), 0);
	}
	change(w);
	assert_int_equal(w->maps.client_quotas.count, 10);
	assert_words(w, of_client(w, "10.1.2.3", SLUICE_MODEL_ALL), "requests=94/1s");
	assert_writes(w, DESIRED_QUOTA, 10);
	free_world(w);
}

static void assert_named(struct world *w, unsigned count, uint32_t first, uint32_t second)
{
	struct sluice_named_models named;

	change(w);
	desired_named(w->state, &w->models, &named);
	assert_int_equal(named.count, count);
	assert_int_equal(named.id[0], first);
	assert_int_equal(named.id[1], second);
}

static void what_names_a_model_counts_for_requests_without_a_name(void **state)
{
	struct world *w = new_world();
	struct controller_targets *own = &w->models.model[QWEN].own;
	const struct controller_targets unset = *own;
	const char *const pairs[] = {"ttft=1s", "itl=30ms",    "max-in-flight=none",
				     "floor=3", "action=drop", "mode=shadow"};
	uint32_t pool;

	set_rule(&w->file, "10.1.2.3", SLUICE_MODEL_ALL, false, 0);
	set_client_quota(&w->file, "10.1.2.3", SLUICE_MODEL_ALL, "requests=1/1s");
	assert_named(w, 0, 0, 0);
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		assert_int_equal(controller_set_all(&w->models, "qwen", &pairs[i], 1, w->err,
						    sizeof(w->err)),
				 0);
		assert_named(w, 1, QWEN, 0);
		*own = unset;
		assert_named(w, 0, 0, 0);
	}
	pool = (uint32_t)controller_declare_pool(&w->models, "gpu");
	controller_join(&w->models, LLAMA, pool);
	assert_named(w, 1, LLAMA, 0);
	set_rule(&w->manual, "10.1.2.4", QWEN, false, 0);
	assert_named(w, 2, LLAMA, QWEN);
	controller_join(&w->models, LLAMA, 0);
	set_client_quota(&w->manual, "10.1.2.4", LLAMA, "requests=1/1s");
	assert_named(w, 2, LLAMA, QWEN);
	/* the default model of a service counts there anyhow */
	add_service(&w->file, 8000, "requests=1/1s");
	assert_named(w, 1, QWEN, 0);
	free_world(w);

	w = new_world();
	set_model_quota(&w->file, QWEN, "requests=1/1s");
	assert_named(w, 1, QWEN, 0);
	free_world(w);
}

/* ---- in steps ---- */

/* Runs `call`, and counts the items that it announces. */
#define STEPS(call) (steps.all = 0, (void)(call), steps.all)

static void what_goes_through_many_entries_announces_them(void **state)
{
	enum { MANY = 3000 };
	struct world *w = new_world();
	struct desired_input in = input_of(w);
	struct sluice_named_models named;
	struct desired_ops ops = {0};
	struct desired_part copy;
	struct desired *next = NULL;

	for (uint32_t i = MANY; i-- > 0;) {
		struct desired_prefix prefix = {.own = SLUICE_PREFIX_OWN_PRIORITY,
						.priority = 2,
						.key = prefix_key("10.0.0.0/32")};
		struct state_client_rule rule = {.key = client_key("10.0.0.1", LLAMA),
						 .flag.expires_ns = 7};

		prefix.key.addr[13] = rule.key.client.addr[13] = (uint8_t)(i >> 16);
		prefix.key.addr[14] = rule.key.client.addr[14] = (uint8_t)(i >> 8);
		prefix.key.addr[15] = rule.key.client.addr[15] = (uint8_t)i;
		assert_int_equal(table_add(&w->file.prefixes, &prefix), 0);
		assert_int_equal(table_add(&w->manual.rules, &rule), 0);
	}
	table_on_step(note_step, NULL);
	assert_true(STEPS(desired_part_sort(&w->file)) >= MANY);
	assert_true(STEPS(desired_part_sort(&w->manual)) >= MANY);
	assert_true(STEPS(desired_part_copy(&copy, &w->manual)) >= MANY);
	assert_true(STEPS(desired_next_expiry(&copy)) >= MANY);
	assert_true(STEPS(desired_expire(&copy, 8)) >= MANY);
	assert_int_equal(copy.rules.count, 0);
	/* Merged, inherited, and looked through for weights and quotas. */
	assert_true(STEPS(desired_build(&next, &in, w->state, w->err, sizeof(w->err))) >= 5 * MANY);
	assert_true(STEPS(desired_named(next, &w->models, &named)) >= MANY);
	/* Each table: whether both fit, what is new, and what goes. */
	assert_true(STEPS(desired_diff(w->state, next, &ops)) >= 3 * 2 * MANY);
	assert_int_equal(ops.count, 2 * MANY);
	assert_int_equal(steps.most, TABLE_STEP);
	table_on_step(NULL, NULL);
	desired_ops_free(&ops);
	desired_free(next);
	desired_part_free(&copy);
	free_world(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_set_manually_goes_over_the_file_and_leaves_it_there),
		cmocka_unit_test(a_change_writes_one_prefix_and_those_that_inherit_from_it),
		cmocka_unit_test(the_difference_leads_from_any_state_to_any_other),
		cmocka_unit_test(nothing_is_missing_after_any_write_on_the_way),
		cmocka_unit_test(whatever_write_fails_everything_is_as_it_was),
		cmocka_unit_test(what_cannot_be_taken_back_is_said),
		cmocka_unit_test(a_definition_keeps_its_id_for_when_it_comes_again),
		cmocka_unit_test(a_restart_finds_what_was_set_manually_and_writes_only_texts),
		cmocka_unit_test(an_id_is_taken_over_only_where_nothing_refers_to_it),
		cmocka_unit_test(
			a_map_that_would_be_too_small_is_refused_before_anything_is_written),
		cmocka_unit_test(only_where_both_do_not_fit_removals_are_first),
		cmocka_unit_test(what_has_ended_goes_and_what_lies_in_it_follows),
		cmocka_unit_test(a_word_about_all_services_goes_over_what_each_says),
		cmocka_unit_test(
			an_impossible_weight_is_refused_manually_and_counts_as_one_in_the_file),
		cmocka_unit_test(what_names_a_model_counts_for_requests_without_a_name),
		cmocka_unit_test(of_two_words_about_one_thing_in_a_part_the_last_holds),
		cmocka_unit_test(what_goes_through_many_entries_announces_them),
	};

	return cmocka_run_group_tests_name("desired", tests, NULL, NULL);
}
