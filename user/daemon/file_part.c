/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The configuration as the file's part of the desired state. Names become ids, values of priority
 * headers become hashes, and an address becomes the client that it is at each service.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/service.h"
#include "daemon/daemon.h"

static uint32_t model_id(const struct controller *models, const char *name)
{
	int id = name[0] ? controller_find(models, name) : SLUICE_MODEL_ALL;

	return id < 0 ? SLUICE_MODEL_OTHER : (uint32_t)id;
}

static int add_model_quotas(const struct config *config, const struct controller *models,
			    struct desired_part *part)
{
	int ret = 0;

	for (unsigned i = 0; i < config->model_count && !ret; i++) {
		const struct config_model *m = &config->models[i];
		const struct desired_model_quota q = {.model = model_id(models, m->name),
						      .quota = m->quota};

		if (m->has_quota)
			ret = table_add(&part->model_quotas, &q);
	}
	return ret;
}

static int add_quota(const struct config *config, const struct controller *models,
		     const struct config_quota *q, struct desired_part *part)
{
	struct sluice_client clients[SLUICE_SERVICES_MAX];
	const struct desired_prefix prefix = {
		.key = q->subject.prefix, .own = SLUICE_PREFIX_OWN_QUOTA, .quota = q->quota};
	size_t n;
	int ret = 0;

	if (!q->subject.one)
		return table_add(&part->prefixes, &prefix);
	n = service_clients(config->services, config->service_count, &q->subject, clients);
	for (size_t i = 0; i < n && !ret; i++) {
		const struct desired_client_quota item = {
			.key = {.client = clients[i], .model = model_id(models, q->model)},
			.quota = q->quota};

		ret = table_add(&part->client_quotas, &item);
	}
	return ret;
}

static int add_priority(const struct config_priority *p, struct desired_part *part)
{
	const struct desired_priority key = {p->client, p->class};
	const struct desired_prefix prefix = {.key = p->prefix,
					      .own = SLUICE_PREFIX_OWN_PRIORITY,
					      .priority = (uint8_t)(p->class + 1)};

	return p->key ? table_add(&part->priorities, &key) : table_add(&part->prefixes, &prefix);
}

/* The key of a value of a priority header. Without a datapath nothing is hashed: any key that no
 * other value has serves check_config(). */
static int header_key(struct daemon *d, uint32_t service, unsigned value, const char *text,
		      struct sluice_client *out, char *err, size_t len)
{
	int ret = d->datapath ? datapath_header_key(d->datapath, service, text, out) : 0;

	if (ret)
		snprintf(err, len, "%s", datapath_error());
	if (d->datapath)
		return ret;
	out->kind = SLUICE_CLIENT_HEADER;
	memcpy(out->addr, &value, sizeof(value));
	memcpy(out->addr + 8, &service, sizeof(service));
	return 0;
}

/* The classes by the values of each service's priority header. */
static int add_header_values(struct daemon *d, const struct config *config,
			     struct desired_part *part, char *err, size_t len)
{
	int ret = 0;

	for (unsigned i = 0; i < config->service_count && !ret; i++) {
		const struct priority *p = &config->services[i].priority;

		for (unsigned v = 0; v < p->count && !ret; v++) {
			struct desired_priority item = {.class = p->values[v].class};

			on_step(d, 1);
			ret = header_key(d, i, v, p->values[v].text, &item.key, err, len);
			if (!ret)
				ret = table_add(&part->priorities, &item);
		}
	}
	return ret;
}

int file_part(struct daemon *d, const struct config *config, const struct controller *models,
	      struct desired_part *part, char *err, size_t len)
{
	int ret;

	snprintf(err, len, "out of memory");
	desired_part_init(part);
	ret = desired_copy_services(&part->services, config->services, config->service_count);
	part->service_count = ret ? 0 : config->service_count;
	/* A kept connection ends with the programs, and they with such a daemon. */
	for (size_t i = 0; d->state.unpinned && i < part->service_count; i++)
		part->services[i].keep = false;
	if (!ret)
		ret = add_model_quotas(config, models, part);
	for (unsigned i = 0; i < config->quota_count && !ret; i++) {
		on_step(d, 1);
		ret = add_quota(config, models, &config->quotas[i], part);
	}
	for (unsigned i = 0; i < config->prefix_count && !ret; i++) {
		const struct desired_prefix prefix = {.key = config->prefixes[i].prefix,
						      .own = SLUICE_PREFIX_OWN_WEIGHT,
						      .weight = config->prefixes[i].weight};

		on_step(d, 1);
		ret = table_add(&part->prefixes, &prefix);
	}
	for (unsigned i = 0; i < config->priority_count && !ret; i++) {
		on_step(d, 1);
		ret = add_priority(&config->priorities[i], part);
	}
	if (!ret)
		ret = add_header_values(d, config, part, err, len);
	return ret ? ret : desired_part_sort(part);
}
