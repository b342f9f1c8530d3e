/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The commands of the control socket. A command about a client or a prefix copies the manual part,
 * changes one entry of the copy, and puts the state that follows in force. So a command writes only
 * what it changes, and a command that fails changes nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/daemon.h"

#define DRAIN_NS 10000000000ULL /* tombstones after `detach` */

static int refused(int ret, char *err, size_t err_len)
{
	if (ret)
		snprintf(err, err_len, "%s", datapath_error());
	return ret;
}

static int op_name_model(void *arg, const char *name, char *err, size_t err_len)
{
	struct daemon *d = arg;
	int id, ret;

	look_at_the_clock(d);
	id = name_one(d, name);
	if (id == -ENOSPC)
		snprintf(
			err, err_len,
			"there is no room for the name \"%s\": all others are configured, have a rule or requests in flight (max-models, which a restart changes)",
			name);
	if (id < 0)
		return id == -ENOSPC ? id : refused(id, err, err_len);
	ret = write_flags(d, false);
	return ret ? refused(ret, err, err_len) : id;
}

static int op_set(void *arg, const char *model, const char *const *pairs, size_t count, char *err,
		  size_t err_len)
{
	struct daemon *d = arg;
	struct controller_targets before = d->controller.all;
	int ret = controller_set_all(&d->controller, model, pairs, count, err, err_len);

	if (ret)
		return ret;
	if (before.action != d->controller.all.action || before.mode != d->controller.all.mode) {
		struct desired_part manual;

		ret = desired_part_copy(&manual, &d->manual);
		manual.action = d->controller.all.action;
		manual.mode = d->controller.all.mode;
		ret = change_manual(d, ret, &manual, err, err_len);
		if (ret) {
			d->controller.all = before;
			return ret;
		}
	}
	show_config(d);
	look_at_the_clock(d);
	look(d);
	ret = write_named(d, d->desired);
	return refused(ret ? ret : write_flags(d, false), err, err_len);
}

/* ---- rules about clients and prefixes ---- */

static int op_set_client(void *arg, const struct sluice_client_flag_key *key,
			 const struct sluice_client_flag *flag, char *err, size_t err_len)
{
	const struct state_client_rule rule = {*key, *flag};
	struct daemon *d = arg;
	struct desired_part manual;
	int ret = desired_part_copy(&manual, &d->manual);

	if (!ret)
		ret = table_put(&manual.rules, &rule);
	return change_manual(d, ret, &manual, err, err_len);
}

struct clients {
	const struct sluice_client *list;
	size_t count;
	uint32_t model; /* SLUICE_MODEL_ALL: whatever the model */
};

static bool rule_is_about_others(const void *item, const void *arg)
{
	const struct sluice_client_flag_key *key = &((const struct state_client_rule *)item)->key;
	const struct clients *about = arg;

	if (about->model != SLUICE_MODEL_ALL && key->model != about->model)
		return true;
	for (size_t i = 0; i < about->count; i++)
		if (!memcmp(&about->list[i], &key->client, sizeof(key->client)))
			return false;
	return true;
}

static int op_clear_clients(void *arg, const struct sluice_client *clients, size_t count,
			    uint32_t model, char *err, size_t err_len)
{
	const struct clients about = {clients, count, model};
	struct daemon *d = arg;
	struct desired_part manual;
	int ret = desired_part_copy(&manual, &d->manual);

	if (!ret)
		table_filter(&manual.rules, rule_is_about_others, &about);
	if (!ret && manual.rules.count == d->manual.rules.count) {
		snprintf(err, err_len, "client_flags has no such entry");
		ret = -ENOENT;
	}
	return change_manual(d, ret, &manual, err, err_len);
}

static int op_set_prefix(void *arg, const struct sluice_prefix_key *key,
			 const struct sluice_prefix *prefix, char *err, size_t err_len)
{
	const struct desired_prefix class = {
		.key = *key,
		.own = SLUICE_PREFIX_OWN_CLASS,
		.class = prefix->class,
		.action = prefix->action,
		.expires_ns = prefix->expires_ns,
	};
	struct daemon *d = arg;
	struct desired_part manual;
	int ret = desired_part_copy(&manual, &d->manual);

	if (!ret)
		ret = desired_set_prefix(&manual, &class);
	return change_manual(d, ret, &manual, err, err_len);
}

static int op_clear_prefix(void *arg, const struct sluice_prefix_key *key, char *err,
			   size_t err_len)
{
	struct daemon *d = arg;
	struct desired_part manual;
	int ret = desired_part_copy(&manual, &d->manual);

	if (!ret)
		ret = desired_clear_prefix(&manual, key, SLUICE_PREFIX_OWN_CLASS);
	if (ret == -ENOENT)
		snprintf(err, err_len, "client_prefixes has no such entry");
	return change_manual(d, ret, &manual, err, err_len);
}

/* ---- quotas and weights ---- */

static int op_set_quota(void *arg, const struct text_subject *subject, uint32_t model,
			const struct quota_def *def, char *err, size_t err_len)
{
	const struct desired_client_quota quota = {
		.key = {.client = subject->client, .model = model}, .quota = *def};
	const struct desired_prefix prefix = {
		.key = subject->prefix, .own = SLUICE_PREFIX_OWN_QUOTA, .quota = *def};
	struct daemon *d = arg;
	struct desired_part manual;
	int ret = desired_part_copy(&manual, &d->manual);

	if (!ret)
		ret = subject->one ? table_put(&manual.client_quotas, &quota)
				   : desired_set_prefix(&manual, &prefix);
	return change_manual(d, ret, &manual, err, err_len);
}

static int op_set_weight(void *arg, const struct sluice_prefix_key *key, uint16_t weight, char *err,
			 size_t err_len)
{
	const struct desired_prefix prefix = {
		.key = *key, .own = SLUICE_PREFIX_OWN_WEIGHT, .weight = weight};
	struct daemon *d = arg;
	struct desired_part manual;
	int ret = desired_check_weight(d->desired, weight, err, err_len);

	if (ret)
		return ret;
	ret = desired_part_copy(&manual, &d->manual);
	if (!ret)
		ret = desired_set_prefix(&manual, &prefix);
	return change_manual(d, ret, &manual, err, err_len);
}

struct subject {
	const struct sluice_client *client;
	uint32_t model; /* SLUICE_MODEL_ALL: whatever the model */
};

static bool is_about(const struct desired_client_quota *q, const struct subject *subject)
{
	return !memcmp(&q->key.client, subject->client, sizeof(q->key.client)) &&
	       (subject->model == SLUICE_MODEL_ALL || q->key.model == subject->model);
}

static bool is_about_others(const void *item, const void *arg)
{
	return !is_about(item, arg);
}

static bool has_client_quota(const struct desired_part *part, const struct subject *subject)
{
	for (size_t i = 0; i < part->client_quotas.count; i++)
		if (is_about(table_visit(&part->client_quotas, i), subject))
			return true;
	return false;
}

static bool has_prefix_field(const struct desired_part *part, const struct sluice_prefix_key *key,
			     uint8_t what)
{
	const struct desired_prefix *p = desired_find_prefix(part, key);

	return p && p->own & what;
}

/* The file's quota and weight hold again. */
static int op_clear_quota(void *arg, const struct text_subject *subject, uint32_t model, char *err,
			  size_t err_len)
{
	const uint8_t what = SLUICE_PREFIX_OWN_QUOTA | SLUICE_PREFIX_OWN_WEIGHT;
	const struct subject client = {&subject->client, model};
	bool prefix = subject->client.kind == SLUICE_CLIENT_ADDRESS && model == SLUICE_MODEL_ALL;
	struct daemon *d = arg;
	struct desired_part manual;
	bool of_file, cleared = false;
	int ret = desired_part_copy(&manual, &d->manual);

	of_file = (subject->one && has_client_quota(&d->file, &client)) ||
		  (prefix && has_prefix_field(&d->file, &subject->prefix, what));
	if (!ret && subject->one && has_client_quota(&manual, &client)) {
		table_filter(&manual.client_quotas, is_about_others, &client);
		cleared = true;
	}
	if (!ret && prefix && !desired_clear_prefix(&manual, &subject->prefix, what))
		cleared = true;
	if (!ret && !cleared) {
		snprintf(
			err, err_len,
			of_file ? "its quota is the configuration's: change it there, or set another over it"
				: "no quota was set for it manually (`sluicectl quota show` lists them)");
		ret = -ENOENT;
	}
	return change_manual(d, ret, &manual, err, err_len);
}

/* ---- the daemon itself ---- */

static void say_drain(const struct daemon *d, const struct controller_drain *drain)
{
	int status = drain->unavailable ? 503 : 429;
	struct state_load load = {0};
	double left_s = -1; /* without end */

	if (drain->until_ns)
		left_s = (double)(drain->until_ns - d->state.now_ns) / 1e9;
	datapath_get_load(d->datapath, SLUICE_MODEL_ALL, d->state.now_ns, &load);
	if (drain->on)
		say(EVENT_DRAIN_BEGAN,
		    LOG_FIELDS(log_count("status", status), log_number("for_s", left_s),
			       log_count("in_flight", load.in_flight)),
		    "draining: new requests get a %d, %lld are in flight", status,
		    (long long)load.in_flight);
	else
		say(EVENT_DRAIN_ENDED, LOG_FIELDS(log_count("in_flight", load.in_flight)),
		    "the drain is over, %lld are in flight", (long long)load.in_flight);
}

static int op_drain(void *arg, const struct controller_drain *drain, char *err, size_t err_len)
{
	struct daemon *d = arg;
	struct controller_drain before = d->controller.drain;
	int ret;

	look_at_the_clock(d);
	d->controller.drain = *drain;
	ret = write_flag(d, SLUICE_MODEL_ALL);
	if (ret) {
		d->controller.drain = before;
		return refused(ret, err, err_len);
	}
	if (drain->on || before.on)
		say_drain(d, drain);
	return 0;
}

void expire_drain(struct daemon *d)
{
	char err[200];

	if (d->controller.drain.on && !controller_drains(&d->controller, d->state.now_ns))
		op_drain(d, &(struct controller_drain){0}, err, sizeof(err));
}

int begin_detach(struct daemon *d, uint64_t kept_ns)
{
	int ret = d->state.detaching ? 0 : datapath_stop(d->datapath);

	if (!ret && !d->state.detaching) {
		look_at_the_clock(d);
		d->drain_until_ns = d->state.now_ns + DRAIN_NS;
		d->kept_until_ns = d->state.now_ns + kept_ns;
		d->state.detaching = true;
		say(EVENT_DETACH_BEGAN,
		    LOG_FIELDS(log_number("kept_timeout_ms", (double)kept_ns / 1e6)),
		    "detaching: no new refusals, waiting for the open ones to end");
	}
	return ret;
}

bool detach_is_due(struct daemon *d)
{
	if (d->state.now_ns < d->drain_until_ns && datapath_has_tombstones(d->datapath))
		return false;
	if (!datapath_has_kept(d->datapath))
		return true;
	if (d->state.now_ns < d->kept_until_ns)
		return false;
	if (!d->ends_kept) {
		d->ends_kept = true;
		d->kept_until_ns = d->state.now_ns + KEPT_PACKET_NS;
		datapath_end_kept(d->datapath);
	}
	return d->state.now_ns >= d->kept_until_ns || !datapath_kept_open(d->datapath);
}

static int op_detach(void *arg, uint64_t kept_ns, char *err, size_t err_len)
{
	int ret = begin_detach(arg, kept_ns);

	return ret ? refused(ret, err, err_len) : 0;
}

/* ---- for the log ---- */

/* Not those that are shown: a list may be on its way through them. */
static void op_rules(void *arg, struct control_rules *out)
{
	const struct desired *now = ((struct daemon *)arg)->desired;

	*out = (struct control_rules){
		.clients = now->rules.items,
		.client_count = now->rules.count,
		.prefixes = now->prefixes.items,
		.prefix_count = now->prefixes.count,
		.quotas = now->client_quotas.items,
		.quota_count = now->client_quotas.count,
	};
}

static void op_audit(void *arg, const struct control_audit *a)
{
	bool change = a->from[0] && (!a->error || strcmp(a->from, a->to) != 0);

	say(EVENT_AUDIT,
	    LOG_FIELDS(
		    log_count("uid", a->peer.uid), log_count("gid", a->peer.gid),
		    log_count("pid", a->peer.pid), log_text("command", a->command),
		    log_text("scope", a->fleet ? "fleet" : "host"), log_text("client", a->client),
		    log_text("model", a->model), log_text("from", a->from[0] ? a->from : NULL),
		    log_text("to", a->to[0] ? a->to : NULL),
		    log_text("result", a->error ? "refused" : "done"), log_text("error", a->error)),
	    "audit: uid %u gid %u pid %d: %s%s%s%s%s%s%s%s%s%s: %s%s", a->peer.uid, a->peer.gid,
	    a->peer.pid, a->command, a->fleet ? " for the fleet" : "", a->client ? " " : "",
	    a->client ? a->client : "", a->model ? " for model " : "", a->model ? a->model : "",
	    change ? ": " : "", change ? a->from : "", change ? " -> " : "", change ? a->to : "",
	    a->error ? "refused: " : "done", a->error ? a->error : "");
}

static void op_record(void *arg, bool on)
{
	struct daemon *d = arg;
	uint64_t before;

	if (on)
		datapath_records_lost(d->datapath, &before);
	datapath_record(d->datapath, on);
}

void expire_records(struct daemon *d)
{
	uint64_t lost = 0;

	if (!control_records(d->control))
		return;
	datapath_records_lost(d->datapath, &lost);
	control_records_lost(d->control, lost);
}

struct control_ops commands = {
	.refresh = refresh,
	.rules = op_rules,
	.audit = op_audit,
	.name_model = op_name_model,
	.set = op_set,
	.set_client = op_set_client,
	.clear_clients = op_clear_clients,
	.set_prefix = op_set_prefix,
	.clear_prefix = op_clear_prefix,
	.set_quota = op_set_quota,
	.set_weight = op_set_weight,
	.clear_quota = op_clear_quota,
	.change_fleet = op_change_fleet,
	.drain = op_drain,
	.reload = reload,
	.detach = op_detach,
	.record = op_record,
};
