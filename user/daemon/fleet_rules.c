/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Rules for all hosts of the fleet. Every answer of the store brings their version. If it is not
 * the one in force, the whole list is read, page by page, and becomes the fleet's part of the
 * desired state. While the store is away, what is in force stays.
 *
 * A store with another epoch, or with a lower version, has lost rules. Then the list is
 * compared with the one in force, rule by rule, and what it lacks is put back before it is
 * followed.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "core/explain.h"
#include "core/fleet.h"
#include "daemon/daemon.h"
#include "fleet/rule_list.h"
#include "fleet/rules.h"

#define RETRY_NS  1000000000ULL
#define SPREAD_NS 300000000ULL  /* hosts see at once that rules are lost, and one is enough */
#define CHANGE_NS 3000000000ULL /* that hosts may take for a change */
#define WRITE_MS  1500          /* that a command waits for the store */

struct fleet_rules {
	struct daemon *d;
	struct store *store;
	uint64_t seen, epoch;       /* in the store: version, and epoch of its contents */
	uint64_t list_of, in_force; /* the version of `list`, and of `known` */
	uint64_t list_epoch, known_epoch;
	uint64_t seen_ns; /* when `seen` changed */
	uint64_t retry_ns;
	bool reading, applying;   /* reading: or putting back */
	bool put_any;             /* since the list was read */
	bool put_back;            /* all that this epoch lacked */
	struct rule_list list;    /* as it is read */
	struct rule_list known;   /* … and in force */
	size_t put_at, put_count; /* in `known`: the next one to be put back; how many were lost */
	size_t count_in_force, of_other_secret;
	uint64_t keys; /* of which secret this host's key:IDs are */
	uint64_t ignored;
	char why[512];
	struct task apply;

	/* The change under way. */
	int wakes; /* eventfd(2): the store has answered */
	bool answered;
	uint64_t version, removed;
	char error[256];
};

static const char other_form[] = "the store's answer has another form than the script's";
static const char no_list[] =
	"the store has no list; the rules of before this start stay in force, and hosts that join have none";

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

/* ---- what the store has lost ---- */

/* Whether the store may lack rules that are in force here. */
static bool has_lost(const struct fleet_rules *r)
{
	return r->known_epoch && !r->put_back &&
	       (r->epoch != r->known_epoch || r->seen < r->in_force);
}

static void after_list(struct fleet_rules *r);

static void on_put(void *arg, const struct redisReply *reply, const char *error)
{
	struct fleet_rules *r = arg;
	uint64_t version, lost;

	if (!reply || store_rules_changed(reply, &version, &lost)) {
		give_up(r, reply ? other_form : error);
		return;
	}
	r->put_count += lost;
	fleet_rules_seen(r->d, version, r->epoch);
	after_list(r);
}

/* Puts the next ones back. False: the list has them all. */
static bool put_back(struct fleet_rules *r)
{
	struct store_rule_put rules[STORE_PUT_MAX];
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	size_t n = 0;

	for (; r->put_at < r->known.count && n < STORE_PUT_MAX; r->put_at++) {
		const struct rule_entry *e = &r->known.at[r->put_at];

		if (rule_list_lacks(&r->list, e, now))
			rules[n++] = (struct store_rule_put){
				.field = e->field,
				.text = e->text,
				.version = e->rule.version,
				.ms = e->expires_ns ? (e->expires_ns - now + 999999) / 1000000 : 0,
			};
	}
	if (!n)
		return false;
	r->put_any = true;
	r->reading = !store_rules_put(r->store, rules, n, on_put, r);
	if (!r->reading)
		r->retry_ns = now + RETRY_NS;
	return true;
}

/* The list is read. If rules were put back, it is read again. */
static void after_list(struct fleet_rules *r)
{
	if (has_lost(r) && put_back(r))
		return;
	r->reading = false;
	if (!r->put_any) {
		r->applying = true;
		start_task(&r->apply);
		return;
	}
	r->put_back = true;
	if (r->put_count)
		say(EVENT_FLEET_RULES, LOG_FIELDS(log_count("put_back", (int64_t)r->put_count)),
		    "the store has lost rules of the fleet: this host has put %zu of them back",
		    r->put_count);
}

/* ---- the list ---- */

static void on_page(void *arg, const struct redisReply *reply, const char *error);

static void read_from(struct fleet_rules *r, const char *cursor)
{
	r->reading = !store_rules_list(r->store, cursor, on_page, r);
	if (!strcmp(cursor, "0")) {
		rule_list_free(&r->list);
		r->ignored = r->list_of = 0;
		r->list_epoch = r->epoch;
	}
	if (!r->reading)
		r->retry_ns = clock_ns(CLOCK_MONOTONIC) + RETRY_NS;
}

static void on_page(void *arg, const struct redisReply *reply, const char *error)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	struct store_rules_page page;
	struct fleet_rules *r = arg;

	if (!reply || store_rules_page(&page, reply)) {
		give_up(r, reply ? other_form : error);
		return;
	}
	if (r->list_of && page.version != r->list_of) { /* a change came between two pages */
		read_from(r, "0");
		return;
	}
	r->list_of = page.version;
	r->ignored += page.ignored;
	for (size_t i = 0; i < page.count; i++) {
		size_t len;
		const char *entry = store_rules_entry(&page, i, &len);
		int ret = rule_list_add(&r->list, entry, len, now);

		if (ret == -ENOMEM) {
			give_up(r, "out of memory");
			return;
		}
		r->ignored += !!ret;
	}
	if (strcmp(page.next, "0")) {
		read_from(r, page.next);
		return;
	}
	rule_list_sort(&r->list);
	r->put_at = r->put_count = 0;
	r->put_any = false;
	after_list(r);
}

static uint64_t spread(void)
{
	uint32_t random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		return 0;
	return random % SPREAD_NS;
}

void fleet_rules_seen(struct daemon *d, uint64_t version, uint64_t epoch)
{
	struct fleet_rules *r = d->fleet_rules;
	uint64_t now = clock_ns(CLOCK_MONOTONIC);

	if (!r)
		return;
	if (!version && !r->known.count && r->count_in_force)
		give_up(r, no_list);
	if (version == r->seen && epoch == r->epoch)
		return;
	r->retry_ns = 0;
	if (epoch != r->epoch || version < r->seen) {
		r->put_back = false;
		if (r->known.count)
			r->retry_ns = now + spread();
	}
	r->seen = version;
	r->epoch = epoch;
	r->seen_ns = now;
}

void fleet_rules_turn(struct daemon *d)
{
	struct fleet_rules *r = d->fleet_rules;

	if (!r || r->reading || r->applying || clock_ns(CLOCK_MONOTONIC) < r->retry_ns)
		return;
	/* A store without a version has no list, so there is none to follow. */
	if (r->seen ? r->seen != r->in_force || has_lost(r) : has_lost(r) && r->known.count)
		read_from(r, "0");
}

/* ---- as the fleet's part ---- */

static int model_of(struct fleet_rules *r, const struct fleet_rule *rule)
{
	int known =
		rule->model[0] ? controller_find(&r->d->controller, rule->model) : SLUICE_MODEL_ALL;

	return known < 0 ? name_one(r->d, rule->model) : known;
}

static int add_prefix(const struct rule_entry *entry, struct desired_part *part)
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

static int add_client(const struct rule_entry *entry, const struct sluice_client *client,
		      uint32_t model, struct desired_part *part)
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

static int add_rule(struct fleet_rules *r, const struct rule_entry *entry,
		    struct desired_part *part)
{
	const struct daemon_state *s = &r->d->state;
	struct sluice_client clients[SLUICE_SERVICES_MAX];
	struct text_subject subject = entry->rule.subject;
	int model, ret = 0;
	size_t n;

	if (entry->rule.keys && entry->rule.keys != r->keys) {
		r->of_other_secret++;
		return 0;
	}
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

	r->of_other_secret = 0;
	desired_part_init(part);
	for (unsigned blocks = 0; blocks < 2; blocks++)
		for (size_t i = 0; i < r->list.count && !ret; i++) {
			const struct rule_entry *e = &r->list.at[i];

			on_step(r->d, 1);
			if (!e->rule.cleared && e->rule.block == blocks)
				ret = add_rule(r, e, part);
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
	rule_list_free(&r->known);
	r->known = r->list;
	r->list = (struct rule_list){0};
	r->in_force = r->list_of;
	r->known_epoch = r->list_epoch;
	r->count_in_force = r->known.rules - r->of_other_secret;
	r->why[0] = 0;
	r->applying = false;
	say(EVENT_FLEET_RULES,
	    LOG_FIELDS(log_count("rules", (int64_t)r->count_in_force),
		       log_count("ignored", (int64_t)r->ignored),
		       log_count("version", (int64_t)r->in_force)),
	    "the fleet has %zu rules, which are in force here; %llu texts were ignored",
	    r->count_in_force, (unsigned long long)r->ignored);
	if (r->of_other_secret)
		say(EVENT_FLEET_RULES,
		    LOG_FIELDS(log_count("other_secret", (int64_t)r->of_other_secret)),
		    "%zu of the fleet's rules by key:ID are of another secret than this host's, and match no key here",
		    r->of_other_secret);
}

/* ---- to the store ---- */

static void on_changed(void *arg, const struct redisReply *reply, const char *error)
{
	struct fleet_rules *r = arg;

	r->error[0] = 0;
	if (!reply)
		snprintf(r->error, sizeof(r->error), "%s", error);
	else if (store_rules_changed(reply, &r->version, &r->removed))
		snprintf(r->error, sizeof(r->error), "%s", other_form);
	else
		fleet_rules_seen(r->d, r->version, r->epoch);
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
	struct fleet_rule_text marked[STORE_SET_MAX];
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
	if (fleet_rules_mark(marked, STORE_SET_MAX, rules, count, r->keys, err, err_len))
		return -EINVAL;
	ret = store_rules_change(r->store, changes[change], marked, count, for_ns / 1000000,
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
	shown->rules_of_other_secret = r->of_other_secret;
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
	r->keys = hash_secret_mark(d);
	r->d = d;
	r->store = store;
	/* Those of the daemon before this one. */
	r->count_in_force = d->fleet_part.rules.count + d->fleet_part.prefixes.count +
			    d->fleet_part.client_quotas.count;
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
	rule_list_free(&r->list);
	rule_list_free(&r->known);
	free(r);
}
