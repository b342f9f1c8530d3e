/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Rules for all hosts of the fleet. Every answer of the store brings their version. If it is not
 * the one in force, the whole list is read, page by page, and becomes the fleet's part of the
 * desired state. While the store is away, or has lost its contents, what is in force stays.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/explain.h"
#include "core/fleet.h"
#include "daemon/daemon.h"
#include "fleet/rules.h"

#define RETRY_NS  1000000000ULL
#define CHANGE_NS 3000000000ULL /* that hosts may take for a change */
#define WRITE_MS  1500          /* that a command waits for the store */

struct entry {
	struct fleet_rule rule;
	uint64_t expires_ns; /* 0: no end */
};

struct fleet_rules {
	struct daemon *d;
	struct store *store;
	uint64_t seen;     /* the version in the store */
	uint64_t list_of;  /* the version of the list */
	uint64_t in_force; /* … and of what is in force */
	uint64_t seen_ns;  /* when `seen` changed */
	uint64_t retry_ns;
	bool reading, applying;
	struct entry *list;
	size_t count, capacity, count_in_force;
	uint64_t ignored;
	char why[512];
	struct task apply;

	/* The change under way. */
	int wakes; /* eventfd(2): the store has answered */
	bool answered;
	uint64_t version, removed;
	char error[256];
};

/* ---- from the store ---- */

static void give_up(struct fleet_rules *r, const char *why)
{
	if (strcmp(why, r->why) != 0)
		say(EVENT_FLEET_RULES_FAILED, LOG_FIELDS(log_text("why", why)),
		    "the fleet's rules: %s", why);
	snprintf(r->why, sizeof(r->why), "%s", why);
	r->reading = r->applying = false;
	r->retry_ns = clock_ns(CLOCK_MONOTONIC) + RETRY_NS;
}

static bool add_entry(struct fleet_rules *r, const struct fleet_rule *rule, uint64_t now_ns)
{
	if (r->count == r->capacity) {
		size_t capacity = r->capacity ? r->capacity * 2 : 64;
		struct entry *list = realloc(r->list, capacity * sizeof(*list));

		if (!list)
			return false;
		r->list = list;
		r->capacity = capacity;
	}
	r->list[r->count++] = (struct entry){
		.rule = *rule, .expires_ns = rule->ms ? now_ns + rule->ms * 1000000 : 0};
	return true;
}

static void on_page(void *arg, const struct redisReply *reply, const char *error);

static void read_from(struct fleet_rules *r, const char *cursor)
{
	r->reading = !store_rules_list(r->store, cursor, on_page, r);
	if (!strcmp(cursor, "0"))
		r->count = r->ignored = r->list_of = 0;
	if (!r->reading)
		r->retry_ns = clock_ns(CLOCK_MONOTONIC) + RETRY_NS;
}

static void on_page(void *arg, const struct redisReply *reply, const char *error)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	struct store_rules_page page;
	struct fleet_rules *r = arg;

	if (!reply || store_rules_page(&page, reply)) {
		give_up(r, reply ? "the store's list has another form than the script's" : error);
		return;
	}
	if (r->list_of && page.version != r->list_of) { /* a change came between two pages */
		read_from(r, "0");
		return;
	}
	r->list_of = page.version;
	r->ignored += page.ignored;
	for (size_t i = 0; i < page.count; i++) {
		struct fleet_rule rule;
		size_t len;
		const char *entry = store_rules_entry(&page, i, &len);

		if (r->count == FLEET_RULES_MAX || fleet_rule_read(&rule, entry, len))
			r->ignored++;
		else if (!add_entry(r, &rule, now)) {
			give_up(r, "out of memory");
			return;
		}
	}
	if (strcmp(page.next, "0")) {
		read_from(r, page.next);
		return;
	}
	r->reading = false;
	r->applying = true;
	start_task(&r->apply);
}

void fleet_rules_seen(struct daemon *d, uint64_t version)
{
	struct fleet_rules *r = d->fleet_rules;

	/* A store without a version has lost its contents: what is in force stays. */
	if (!r || !version || version == r->seen)
		return;
	r->seen = version;
	r->seen_ns = clock_ns(CLOCK_MONOTONIC);
	r->retry_ns = 0;
}

void fleet_rules_turn(struct daemon *d)
{
	struct fleet_rules *r = d->fleet_rules;

	if (r && r->seen != r->in_force && !r->reading && !r->applying &&
	    clock_ns(CLOCK_MONOTONIC) >= r->retry_ns)
		read_from(r, "0");
}

/* ---- as the fleet's part ---- */

static int model_of(struct fleet_rules *r, const struct fleet_rule *rule)
{
	int known =
		rule->model[0] ? controller_find(&r->d->controller, rule->model) : SLUICE_MODEL_ALL;

	return known < 0 ? name_one(r->d, rule->model) : known;
}

static int add_prefix(const struct entry *entry, struct desired_part *part)
{
	const struct fleet_rule *rule = &entry->rule;
	struct desired_prefix p = {.key = rule->subject.prefix};

	switch (rule->kind) {
	case FLEET_RULE_VERDICT:
		p.own = SLUICE_PREFIX_OWN_CLASS;
		p.class = rule->block ? SLUICE_PREFIX_BLOCKED : SLUICE_PREFIX_EXEMPT;
		p.expires_ns = entry->expires_ns;
		break;
	case FLEET_RULE_QUOTA:
		p.own = SLUICE_PREFIX_OWN_QUOTA;
		p.quota = rule->quota;
		break;
	case FLEET_RULE_WEIGHT:
		p.own = SLUICE_PREFIX_OWN_WEIGHT;
		p.weight = rule->weight;
		break;
	}
	return table_add(&part->prefixes, &p);
}

static int add_client(const struct entry *entry, const struct sluice_client *client, uint32_t model,
		      struct desired_part *part)
{
	const struct fleet_rule *rule = &entry->rule;
	struct sluice_client_flag_key key = {.client = *client, .model = model};

	if (rule->kind == FLEET_RULE_QUOTA)
		return table_add(&part->client_quotas,
				 &(struct desired_client_quota){.key = key, .quota = rule->quota});
	return table_add(&part->rules,
			 &(struct state_client_rule){
				 .key = key,
				 .flag = {.expires_ns = entry->expires_ns,
					  .allow = !rule->block,
					  .reason = rule->block ? SLUICE_REASON_CLIENT_BLOCKED
								: SLUICE_REASON_NONE,
					  .fleet = 1}});
}

static int add_rule(struct fleet_rules *r, const struct entry *entry, struct desired_part *part)
{
	const struct daemon_state *s = &r->d->state;
	struct sluice_client clients[SLUICE_SERVICES_MAX];
	struct text_subject subject = entry->rule.subject;
	int model, ret = 0;
	size_t n;

	/* A weight belongs to a prefix, and a /64 is one where services have other lengths. */
	if (!subject.one || entry->rule.kind == FLEET_RULE_WEIGHT || explain_is_prefix(s, &subject))
		return add_prefix(entry, part);
	model = model_of(r, &entry->rule);
	if (model < 0) {
		r->ignored++; /* there is no room for its name */
		return 0;
	}
	n = explain_clients(s, &subject, clients);
	for (size_t k = 0; k < n && !ret; k++)
		ret = add_client(entry, &clients[k], (uint32_t)model, part);
	return ret;
}

/* Of two addresses that are one client here, the one that is blocked counts: it comes last. */
static int make_part(struct fleet_rules *r, struct desired_part *part)
{
	int ret = 0;

	desired_part_init(part);
	for (unsigned blocks = 0; blocks < 2; blocks++)
		for (size_t i = 0; i < r->count && !ret; i++) {
			on_step(r->d, 1);
			if (r->list[i].rule.block == blocks)
				ret = add_rule(r, &r->list[i], part);
		}
	if (!ret)
		ret = desired_part_sort(part);
	desired_expire(part, r->d->state.now_ns);
	return ret;
}

static void apply(struct daemon *d)
{
	struct fleet_rules *r = d->fleet_rules;
	struct desired_part part;
	char err[512] = "out of memory";
	int ret = make_part(r, &part);

	if (ret)
		desired_part_free(&part);
	else
		ret = change_fleet_part(d, &part, err, sizeof(err));
	if (!ret)
		ret = write_flags(d, false); /* of models that have a name now */
	if (ret) {
		give_up(r, err);
		return;
	}
	r->in_force = r->list_of;
	r->count_in_force = r->count;
	r->why[0] = 0;
	r->applying = false;
	say(EVENT_FLEET_RULES,
	    LOG_FIELDS(log_count("rules", (int64_t)r->count),
		       log_count("ignored", (int64_t)r->ignored),
		       log_count("version", (int64_t)r->in_force)),
	    "the fleet has %zu rules, which are in force here; %llu texts were ignored", r->count,
	    (unsigned long long)r->ignored);
}

/* ---- to the store ---- */

static void on_changed(void *arg, const struct redisReply *reply, const char *error)
{
	struct fleet_rules *r = arg;

	r->error[0] = 0;
	if (!reply)
		snprintf(r->error, sizeof(r->error), "%s", error);
	else if (store_rules_changed(reply, &r->version, &r->removed))
		snprintf(r->error, sizeof(r->error),
			 "the answer has another form than the script's");
	else
		fleet_rules_seen(r->d, r->version);
	r->answered = true;
	eventfd_write(r->wakes, 1);
}

static int await_answer(void *arg)
{
	struct pollfd wakes = {.fd = *(const int *)arg, .events = POLLIN};

	return poll(&wakes, 1, WRITE_MS);
}

int op_change_fleet(void *arg, enum control_fleet_change change,
		    const struct fleet_rule_text *rules, size_t count, uint64_t for_ns,
		    uint64_t *version, char *err, size_t err_len)
{
	static const enum store_rules_change changes[] = {
		[CONTROL_FLEET_SET] = STORE_RULES_SET,
		[CONTROL_FLEET_CLEAR] = STORE_RULES_CLEAR,
		[CONTROL_FLEET_CLEAR_ALL] = STORE_RULES_CLEAR_ALL,
	};
	struct daemon *d = arg;
	struct fleet_rules *r = d->fleet_rules;
	eventfd_t drained;
	int fd, ret;

	if (!r) {
		snprintf(
			err, err_len, "%s",
			d->fleet
				? "rules for the whole fleet are off on this host (setting `fleet-rules`)"
				: "this host is in no fleet (setting `fleet`)");
		return -EINVAL;
	}
	eventfd_read(r->wakes, &drained);
	r->answered = false;
	ret = store_rules_change(r->store, changes[change], rules, count, for_ns / 1000000,
				 on_changed, r);
	if (ret) {
		snprintf(err, err_len,
			 ret == -EBUSY ? "the store has not answered the last change yet"
				       : "the store is away: `sluicectl fleet` says why");
		return ret;
	}
	fd = r->wakes;
	on_away(d, await_answer, &fd);
	if (!r->answered)
		snprintf(
			r->error, sizeof(r->error),
			"the store does not answer; `sluicectl fleet` shows whether it took the change");
	if (!r->answered || r->error[0]) {
		snprintf(err, err_len, "%s", r->error);
		return -EIO;
	}
	if (change != CONTROL_FLEET_SET && !r->removed)
		return -ENOENT;
	*version = r->version;
	return 0;
}

/* ---- what is shown ---- */

int64_t fleet_rules_version(const struct daemon *d)
{
	return d->fleet_rules ? (int64_t)d->fleet_rules->in_force : -1;
}

bool fleet_rules_change(const struct daemon *d, uint64_t now_ns)
{
	const struct fleet_rules *r = d->fleet_rules;

	return r && r->seen_ns && now_ns - r->seen_ns < CHANGE_NS;
}

void show_fleet_rules(const struct daemon *d, struct state_fleet *shown)
{
	const struct fleet_rules *r = d->fleet_rules;

	shown->rules = fleet_rules_version(d);
	shown->rules_why = r ? r->why : "";
	if (!r)
		return;
	shown->rule_count = r->count_in_force;
	shown->rules_ignored = r->ignored;
}

/* ---- start ---- */

int start_fleet_rules(struct daemon *d, struct store *store, char *err, size_t len)
{
	struct fleet_rules *r = calloc(1, sizeof(*r));

	if (r)
		r->wakes = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!r || r->wakes < 0) {
		free(r);
		snprintf(err, len, "fleet-rules: out of memory or descriptors");
		return -1;
	}
	r->d = d;
	r->store = store;
	r->apply = task_of(d, apply, WORK_CHANGES);
	d->fleet_rules = r;
	return 0;
}

void stop_fleet_rules(struct daemon *d)
{
	struct fleet_rules *r = d->fleet_rules;

	if (!r)
		return;
	d->fleet_rules = NULL;
	close(r->wakes);
	free(r->list);
	free(r);
}
