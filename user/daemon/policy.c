/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The daemon's desired state. At start it is read from the pinned maps, once. From then on each
 * change builds the next state and applies the difference through the datapath. Nothing else writes
 * the policy maps.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/daemon.h"

/* ---- the datapath as the target of operations ---- */

static int forget(void *arg, uint32_t id)
{
	on_step(arg, 1);
	return datapath_forget_budgets(((struct daemon *)arg)->datapath, id);
}

static int set_quota(void *arg, uint32_t id, const struct sluice_quota_text *text)
{
	struct sluice_quota value;
	struct quota_def def;

	on_step(arg, 1);
	quota_of_text(&def, text);
	quota_value(&value, &def);
	return datapath_set_quota(((struct daemon *)arg)->datapath, id, &value, text);
}

static int set_weighted(void *arg, const struct sluice_weighted_key *key, const uint32_t *id)
{
	struct datapath *dp = ((struct daemon *)arg)->datapath;

	on_step(arg, 1);
	return id ? datapath_set_weighted(dp, key, *id) : datapath_clear_weighted(dp, key);
}

/* The quota of a model is a field of its flag. */
static int set_model_quota(void *arg, uint32_t model, uint32_t id)
{
	struct daemon *d = arg;

	on_step(d, 1);
	d->controller.model[model].quota = (uint16_t)id;
	return write_flag(d, model);
}

static int set_client_quota(void *arg, const struct sluice_client_flag_key *key, const uint32_t *id)
{
	struct datapath *dp = ((struct daemon *)arg)->datapath;

	on_step(arg, 1);
	return id ? datapath_set_client_quota(dp, key, *id) : datapath_clear_client_quota(dp, key);
}

static int set_rule(void *arg, const struct sluice_client_flag_key *key,
		    const struct sluice_client_flag *flag)
{
	struct datapath *dp = ((struct daemon *)arg)->datapath;

	on_step(arg, 1);
	return flag ? datapath_set_client(dp, key, flag) : datapath_clear_client(dp, key);
}

static int set_prefix(void *arg, const struct sluice_prefix_key *key,
		      const struct sluice_prefix *prefix)
{
	struct datapath *dp = ((struct daemon *)arg)->datapath;

	on_step(arg, 1);
	return prefix ? datapath_set_prefix(dp, key, prefix) : datapath_clear_prefix(dp, key);
}

static int set_priority(void *arg, const struct sluice_client *key, const uint32_t *class)
{
	struct datapath *dp = ((struct daemon *)arg)->datapath;

	on_step(arg, 1);
	return class ? datapath_set_priority(dp, key, *class) : datapath_clear_priority(dp, key);
}

static int set_services(void *arg, const struct service *services, size_t count)
{
	on_step(arg, 1);
	return datapath_set_services(((struct daemon *)arg)->datapath, services, count);
}

static const char *why(void *arg)
{
	return datapath_error();
}

static struct desired_target target_of(struct daemon *d)
{
	return (struct desired_target){
		.arg = d,
		.forget = forget,
		.quota = set_quota,
		.weighted = set_weighted,
		.model_quota = set_model_quota,
		.client_quota = set_client_quota,
		.rule = set_rule,
		.prefix = set_prefix,
		.priority = set_priority,
		.services = set_services,
		.error = why,
	};
}

/* ---- the pinned maps of an earlier daemon ---- */

static void adopt_quota(void *arg, uint32_t id, const struct sluice_quota_text *text)
{
	((struct desired *)arg)->quotas.text[id] = *text;
}

static void adopt_weighted(void *arg, const struct sluice_weighted_key *key, uint32_t id)
{
	table_add(&((struct desired *)arg)->weighted, &(struct desired_weighted){*key, id});
}

static void adopt_client_quota(void *arg, const struct sluice_client_flag_key *key, uint32_t id)
{
	struct desired *found = arg;

	table_add(key->client.kind & SLUICE_CLIENT_OVERRIDDEN ? &found->overridden_quotas
							      : &found->client_quotas,
		  &(struct state_client_quota){*key, id});
}

static void adopt_rule(void *arg, const struct sluice_client_flag_key *key,
		       const struct sluice_client_flag *flag)
{
	struct desired *found = arg;

	table_add(key->client.kind & SLUICE_CLIENT_OVERRIDDEN ? &found->overridden_rules
							      : &found->rules,
		  &(struct state_client_rule){*key, *flag});
}

static void adopt_prefix(void *arg, const struct sluice_prefix_key *key,
			 const struct sluice_prefix *prefix)
{
	table_add(&((struct desired *)arg)->prefixes, &(struct state_prefix_rule){*key, *prefix});
}

static void adopt_priority(void *arg, const struct sluice_client *key, uint32_t class)
{
	table_add(&((struct desired *)arg)->priorities, &(struct desired_priority){*key, class});
}

static int adopt_maps(struct daemon *d, struct desired *found)
{
	int ret = datapath_each_quota(d->datapath, adopt_quota, found);

	if (!ret)
		ret = datapath_each_weighted(d->datapath, adopt_weighted, found);
	if (!ret)
		ret = datapath_each_client_quota(d->datapath, adopt_client_quota, found);
	if (!ret)
		ret = datapath_each_client_flag(d->datapath, adopt_rule, found);
	if (!ret)
		ret = datapath_each_prefix(d->datapath, adopt_prefix, found);
	if (!ret)
		ret = datapath_each_priority(d->datapath, adopt_priority, found);
	for (uint32_t id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX && !ret; id++)
		if (d->controller.model[id].quota)
			table_add(&found->model_quotas,
				  &(struct desired_model_id){id, d->controller.model[id].quota});
	return ret;
}

int adopt_policy(struct daemon *d, char *err, size_t len)
{
	struct desired *found = desired_new();
	int ret = found ? adopt_maps(d, found) : -ENOMEM;

	if (ret && found)
		snprintf(err, len, "%s", datapath_error());
	if (!ret)
		ret = desired_adopt(found);
	if (!ret)
		ret = desired_adopted_part(found, SLUICE_ORIGIN_MANUAL, &d->manual);
	desired_part_init(&d->fleet_part);
	/* The fleet's rules hold until the store has answered. */
	if (!ret && d->config.fleet && d->config.fleet_rules)
		ret = desired_adopted_part(found, SLUICE_ORIGIN_FLEET, &d->fleet_part);
	if (ret == -ENOMEM)
		snprintf(err, len, "out of memory");
	if (ret) {
		desired_free(found);
		return ret;
	}
	d->desired = found;
	desired_expire(&d->manual, d->state.now_ns);
	desired_expire(&d->fleet_part, d->state.now_ns);
	return 0;
}

/* ---- changes ---- */

int build_policy(struct daemon *d, const struct desired_part *file,
		 const struct desired_part *manual, const struct controller *models,
		 struct desired **next, char *err, size_t len)
{
	const struct desired_input in = {
		.file = file,
		.manual = manual,
		.fleet = &d->fleet_part,
		.models = models,
		/* A command changes nothing that the file's notices are about, and a start repeats
		 * those of its check. */
		.notice =
			file == &d->file || (d->datapath && !d->running) ? NULL : on_config_notice,
		.arg = d,
	};

	return desired_build(next, &in, d->desired, err, len);
}

/* Before any step: the state that was shown is gone. */
static void show_policy(struct daemon *d)
{
	d->policies++;
	d->state.services = d->desired->services;
	d->state.service_count = d->desired->service_count;
	d->state.quotas = &d->desired->quotas;
}

int write_named(struct daemon *d, const struct desired *state)
{
	struct sluice_named_models named;
	int ret;

	desired_named(state, &d->controller, &named);
	if (d->named_written && !memcmp(&named, &d->named, sizeof(named)))
		return 0;
	ret = datapath_set_named(d->datapath, &named);
	d->named = named;
	d->named_written = !ret;
	return ret;
}

static uint64_t next_expiry(const struct daemon *d)
{
	uint64_t manual = desired_next_expiry(&d->manual);
	uint64_t fleet = desired_next_expiry(&d->fleet_part);

	return !manual || (fleet && fleet < manual) ? fleet : manual;
}

int put_in_force(struct daemon *d, struct desired *next, struct desired_part *file,
		 struct desired_part *manual, char *err, size_t len)
{
	const struct desired_target target = target_of(d);
	int ret = write_named(d, next);

	if (ret) {
		snprintf(err, len, "%s", datapath_error());
		desired_free(next);
		return ret;
	}
	ret = desired_put(&d->desired, next, &target, err, len);
	if (ret) {
		write_named(d, d->desired);
		return ret;
	}
	show_policy(d);
	if (file != &d->file) {
		desired_part_free(&d->file);
		d->file = *file;
	}
	if (manual != &d->manual) {
		desired_part_free(&d->manual);
		d->manual = *manual;
	}
	d->next_expiry_ns = next_expiry(d);
	return 0;
}

int change_manual(struct daemon *d, int ret, struct desired_part *manual, char *err, size_t len)
{
	struct desired *next;

	if (ret == -ENOMEM)
		snprintf(err, len, "out of memory");
	if (!ret)
		ret = build_policy(d, &d->file, manual, &d->controller, &next, err, len);
	if (!ret) {
		ret = put_in_force(d, next, &d->file, manual, err, len);
		if (ret)
			say(EVENT_POLICY_FAILED, NULL, "%s", err);
	}
	if (ret)
		desired_part_free(manual);
	return ret;
}

void expire_rules(struct daemon *d)
{
	struct desired_part manual;
	char err[512];
	int ret;

	if (!d->next_expiry_ns || d->next_expiry_ns > d->state.now_ns)
		return;
	ret = desired_part_copy(&manual, &d->manual);
	if (!ret)
		desired_expire(&manual, d->state.now_ns);
	desired_expire(&d->fleet_part, d->state.now_ns);
	change_manual(d, ret, &manual, err, sizeof(err));
}

int change_fleet_part(struct daemon *d, struct desired_part *part, char *err, size_t len)
{
	struct desired_part before = d->fleet_part;
	struct desired *next;
	int ret;

	d->fleet_part = *part;
	ret = build_policy(d, &d->file, &d->manual, &d->controller, &next, err, len);
	if (!ret)
		ret = put_in_force(d, next, &d->file, &d->manual, err, len);
	if (ret)
		d->fleet_part = before;
	desired_part_free(ret ? part : &before);
	return ret;
}
