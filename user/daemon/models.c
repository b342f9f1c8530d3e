/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The models of the controller: the configured ones with their targets and pools, and those that an
 * earlier daemon learned, with their flags.
 */
#include <errno.h>
#include <stdio.h>

#include "daemon/daemon.h"

struct controller_targets targets_of(const struct config *config)
{
	return (struct controller_targets){
		.ttft_ms = config->ttft_threshold_ms,
		.itl_ms = config->itl_threshold_ms,
		.duration_ms = config->duration_threshold_ms,
		.normalized_ms = config->normalized_latency_threshold_ms,
		.tau_s = config->time_constant_secs,
		.max_in_flight = -1,
		.policy = (uint8_t)config->policy,
		.ttft_ms_per_kib = config->ttft_ms_per_kib,
		.floor = config->floor,
	};
}

static int learn(struct controller *c, const char *name, uint64_t now_ns, uint32_t *id, char *err,
		 size_t len)
{
	*id = controller_learn(c, name, now_ns);
	if (*id < SLUICE_MODEL_FIRST) {
		snprintf(
			err, len,
			"model \"%s\": there is no room for its name: %d others are configured, have a rule or requests in flight (max-models, which a restart changes)",
			name, (int)c->ids_max - SLUICE_MODEL_FIRST);
		return -ENOSPC;
	}
	c->model[*id].pinned = true;
	return 0;
}

static int configure_model(struct controller *c, const struct config_model *m, uint64_t now_ns,
			   char *err, size_t len)
{
	struct controller_targets *own;
	uint32_t id;
	int ret = learn(c, m->name, now_ns, &id, err, len);

	if (ret)
		return ret;
	if (m->pool[0]) {
		int pool = controller_declare_pool(c, m->pool);

		if (pool < 0) {
			snprintf(err, len, "pool \"%s\": there is no room for its name", m->pool);
			return pool;
		}
		controller_join(c, id, (uint32_t)pool);
	}
	own = &c->model[id].own;
	own->floor = m->floor ? (int64_t)m->floor : -1;
	own->ttft_ms_per_kib = m->ttft_ms_per_kib;
	own->ttft_ms = m->ttft_threshold_ms;
	own->itl_ms = m->itl_threshold_ms;
	own->duration_ms = m->duration_threshold_ms;
	own->normalized_ms = m->normalized_latency_threshold_ms;
	own->max_in_flight = m->max_in_flight ? (int64_t)m->max_in_flight : -1;
	c->model[id].unary = m->unary;
	return 0;
}

/* The service's models are one pool, whose targets are those of the service's own model. */
static int configure_port_pool(struct controller *c, const struct service *s, uint32_t id,
			       char *err, size_t len)
{
	char endpoint[TEXT_SERVICE_MAX];
	int pool;

	if (!s->port_pool)
		return 0;
	text_endpoint(endpoint, s->addr, s->wildcard, s->port);
	pool = controller_declare_pool(c, endpoint);
	if (pool < 0) {
		snprintf(err, len, "service %s: there is no room for its pool", endpoint);
		return pool;
	}
	controller_join(c, id, (uint32_t)pool);
	return 0;
}

void each_configured_name(const struct config *config,
			  void (*each)(void *arg, const char *name, bool pool), void *arg)
{
	for (unsigned i = 0; i < config->service_count; i++) {
		const struct service *s = &config->services[i];
		char endpoint[TEXT_SERVICE_MAX];

		each(arg, s->model, false);
		text_endpoint(endpoint, s->addr, s->wildcard, s->port);
		if (s->port_pool)
			each(arg, endpoint, true);
	}
	for (unsigned i = 0; i < config->model_count; i++) {
		each(arg, config->models[i].name, false);
		if (config->models[i].pool[0])
			each(arg, config->models[i].pool, true);
	}
	for (unsigned i = 0; i < config->quota_count; i++)
		if (config->quotas[i].subject.one && config->quotas[i].model[0])
			each(arg, config->quotas[i].model, false);
}

int configure_models(struct controller *c, const struct config *config, uint64_t now_ns, char *err,
		     size_t len)
{
	uint32_t id;
	int ret = 0;

	c->all = targets_of(config);
	c->per_model = config->per_model_limits;
	for (id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX; id++) {
		struct controller_model *m = &c->model[id];

		m->own = (struct controller_targets){.ttft_ms = -1,
						     .itl_ms = -1,
						     .duration_ms = -1,
						     .normalized_ms = -1,
						     .tau_s = -1,
						     .max_in_flight = -1,
						     .floor = -1};
		controller_join(c, id, 0);
		m->pinned = m->unary = false;
	}
	for (unsigned i = 0; i < config->service_count && !ret; i++) {
		ret = learn(c, config->services[i].model, now_ns, &id, err, len);
		if (!ret)
			ret = configure_port_pool(c, &config->services[i], id, err, len);
	}
	for (unsigned i = 0; i < config->model_count && !ret; i++)
		ret = configure_model(c, &config->models[i], now_ns, err, len);
	for (unsigned i = 0; i < config->quota_count && !ret; i++)
		if (config->quotas[i].subject.one && config->quotas[i].model[0])
			ret = learn(c, config->quotas[i].model, now_ns, &id, err, len);
	return ret;
}

static void adopt_model(void *arg, const char *name, uint32_t id)
{
	struct daemon *d = arg;
	struct sluice_model_flag flag;

	if (controller_adopt(&d->controller, name, id, datapath_model_seen(d->datapath, id)))
		return;
	d->in_kernel[id] = true;
	/* It stays under its quota until the desired state says otherwise. */
	if (!datapath_get_flag(d->datapath, id, &flag) && flag.quota < SLUICE_QUOTAS_MAX)
		d->controller.model[id].quota = flag.quota;
}

void adopt_models(struct daemon *d)
{
	datapath_each_model(d->datapath, adopt_model, d);
}

/*
 * A model that is shut stays shut over a restart within the lease; after the lease no model was
 * shut. A server's measured speed and capacity stay valid longer, and a drain as long as the
 * operator said.
 */
void adopt_flags(struct daemon *d)
{
	struct sluice_model_flag flag;

	if (!datapath_get_flag(d->datapath, SLUICE_MODEL_ALL, &flag))
		controller_adopt_drain(&d->controller, &flag, d->state.now_ns);
	if (datapath_lease_until(d->datapath) <= d->state.started_ns &&
	    d->controller.all.policy != CONTROLLER_ADAPTIVE)
		return;
	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++)
		if (state_model_in_use(&d->state, id) &&
		    (d->in_kernel[id] || id == SLUICE_MODEL_ALL ||
		     d->controller.model[id].is_pool) &&
		    !datapath_get_flag(d->datapath, id, &flag))
			controller_adopt_flag(&d->controller, id, &flag, d->state.now_ns);
}
