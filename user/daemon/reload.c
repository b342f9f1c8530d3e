/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reloads the configuration. Everything is worked out before the first write: the controller learns
 * the names, and the next state is built and checked. If a map refuses a write nevertheless, the
 * old state and the old targets come back. Samples go on meanwhile: a reload is a work, in slices.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/daemon.h"

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static bool same_list(char **a, unsigned a_count, char **b, unsigned b_count)
{
	bool same = a_count == b_count;

	for (unsigned i = 0; same && i < a_count; i++)
		same = !strcmp(a[i], b[i]);
	return same;
}

/* Prints the changed settings that wait for a restart. Of files, only whether there is one waits
 * (metrics_access_alike()). */
static void print_waiting(FILE *out, const struct config *a, const struct config *b)
{
	const struct {
		bool waits;
		const char *setting;
	} rows[] = {
		{!same_list(a->interfaces, a->interface_count, b->interfaces, b->interface_count),
		 "interfaces"},
		{!same_list(a->netns, a->netns_count, b->netns, b->netns_count), "netns"},
		{a->xdp != b->xdp, "xdp"},
		{!same_text(a->pin_dir, b->pin_dir), "pin-dir"},
		{!same_text(a->control, b->control), "control"},
		{a->control_group != b->control_group, "control-group"},
		{!same_text(a->metrics_addr, b->metrics_addr) || a->metrics_port != b->metrics_port,
		 "metrics"},
		{!a->metrics_token_file != !b->metrics_token_file, "metrics-token-file"},
		{!a->metrics_tls_cert != !b->metrics_tls_cert, "metrics-tls-cert"},
		{!a->metrics_tls_client_ca != !b->metrics_tls_client_ca, "metrics-tls-client-ca"},
		{a->max_connections != b->max_connections, "max-connections"},
		{a->max_clients != b->max_clients, "max-clients"},
		{a->max_models != b->max_models, "max-models"},
		{!same_text(a->fleet, b->fleet), "fleet"},
		{!same_list(a->fleet_stores, a->fleet_store_count, b->fleet_stores,
			    b->fleet_store_count),
		 "fleet-store"},
		{!same_text(a->fleet_sentinel, b->fleet_sentinel), "fleet-sentinel"},
		{!same_text(a->fleet_host, b->fleet_host), "fleet-host"},
		{!same_text(a->fleet_user, b->fleet_user), "fleet-user"},
		{!same_text(a->fleet_password_file, b->fleet_password_file), "fleet-password-file"},
		{!same_text(a->fleet_tls_ca, b->fleet_tls_ca), "fleet-tls-ca"},
		{!same_text(a->fleet_tls_cert, b->fleet_tls_cert), "fleet-tls-cert"},
		{!same_text(a->fleet_tls_key, b->fleet_tls_key), "fleet-tls-key"},
		{a->fleet_period_ms != b->fleet_period_ms, "fleet-period-ms"},
		{a->fleet_hosts_min != b->fleet_hosts_min, "fleet-hosts-min"},
		{a->fleet_fallback != b->fleet_fallback, "fleet-fallback"},
		{a->fleet_rules != b->fleet_rules, "fleet-rules"},
	};
	const char *before = "; a restart is needed for the new ";

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (!rows[i].waits)
			continue;
		fprintf(out, "%s%s", before, rows[i].setting);
		before = ", ";
	}
}

/* Restores the targets. Flags of the new configuration may be in the maps, so all flags are
 * written.
 */
static void restore(struct daemon *d, const struct controller *before)
{
	controller_restore(&d->controller, before);
	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++)
		d->controller.model[id].ever_written = false;
	write_flags(d, false);
	write_named(d, d->desired);
}

/* What the new configuration makes of everything; none of it is in force. */
struct plan {
	struct config config;
	struct controller before;
	struct desired_part file, manual;
	struct desired *next;
};

/* Gives every configured name an id; the targets stay. */
static int learn_names(struct daemon *d, struct plan *p, char *err, size_t len)
{
	int ret = name_configured(d, &p->config);

	if (ret) {
		snprintf(err, len, "%s", datapath_error());
		return ret;
	}
	p->before = d->controller;
	ret = configure_models(&d->controller, &p->config, d->state.now_ns, err, len);
	controller_restore(&d->controller, &p->before);
	return ret;
}

static int make_plan(struct daemon *d, struct plan *p, char *err, size_t len)
{
	int ret = learn_names(d, p, err, len);

	if (!ret)
		ret = file_part(d, &p->config, &d->controller, &p->file, err, len);
	if (!ret)
		ret = desired_part_copy(&p->manual, &d->manual);
	/* A reload discards what `set` has changed, and so its action and mode. */
	p->manual.action = p->manual.mode = 0;
	if (!ret)
		ret = build_policy(d, &p->file, &p->manual, &d->controller, &p->next, err, len);
	return ret;
}

/* Models and their flags come first: services and quotas refer to them. */
static int carry_out(struct daemon *d, struct plan *p, char *err, size_t len)
{
	int ret;

	p->before = d->controller;
	ret = configure_models(&d->controller, &p->config, d->state.now_ns, err, len);
	if (!ret) {
		ret = write_flags(d, false);
		if (ret)
			snprintf(err, len, "%s", datapath_error());
	}
	if (ret)
		desired_free(p->next);
	else
		ret = put_in_force(d, p->next, &p->file, &p->manual, err, len);
	if (ret)
		restore(d, &p->before);
	return ret;
}

static int plan_and_carry_out(struct daemon *d, struct plan *p, char *err, size_t len)
{
	char why[512] = "out of memory";
	/* Names that it learns or forgets stay so if the rest fails. */
	int ret = make_plan(d, p, why, sizeof(why));

	if (!ret)
		ret = carry_out(d, p, why, sizeof(why));
	if (!ret)
		return 0;
	desired_part_free(&p->file);
	desired_part_free(&p->manual);
	config_free(&p->config);
	snprintf(err, len, "the configuration could not be put in force: %s", why);
	return ret;
}

/* config_load() in a thread, which may outlive whoever asked for the reload. */
struct reading {
	struct daemon *d;
	struct config config;
	struct metrics_access *access;
	char err[2048];
};

static int read_config(void *arg)
{
	struct reading *r = arg;

	int ret = config_load(&r->config, r->d->argc, r->d->argv, environ, r->err, sizeof(r->err));

	if (!ret)
		ret = read_access(&r->config, &r->access, r->err, sizeof(r->err));
	return ret;
}

static void say_change(const struct config *was, const struct config *is, const char *done)
{
	say(EVENT_CONFIG_READ,
	    LOG_FIELDS(log_text("file", is->file), log_count("services", is->service_count),
		       log_count("services_before", was->service_count),
		       log_count("models", is->model_count),
		       log_count("models_before", was->model_count),
		       log_count("quotas", is->quota_count),
		       log_count("quotas_before", was->quota_count)),
	    "%s: services %u -> %u, models %u -> %u, quotas %u -> %u", done, was->service_count,
	    is->service_count, was->model_count, is->model_count, was->quota_count,
	    is->quota_count);
}

/* What else than the configuration a reload has changed: `set` may have changed it before. */
struct in_force {
	enum sluice_mode mode;
	struct controller_targets all;
};

static struct in_force in_force(const struct daemon *d)
{
	return (struct in_force){d->state.mode, d->controller.all};
}

static void print_target(FILE *out, const char *name, double was, double is)
{
	if (fmax(was, 0) == fmax(is, 0))
		return;
	fprintf(out, ", %s ", name);
	fprintf(out, was > 0 ? "%.10gms -> " : "none -> ", was);
	fprintf(out, is > 0 ? "%.10gms" : "none", is);
}

static void print_changes(FILE *out, const struct in_force *was, const struct in_force *is)
{
	if (was->mode != is->mode)
		fprintf(out, ", mode %s -> %s", text_mode(was->mode), text_mode(is->mode));
	print_target(out, "ttft", was->all.ttft_ms, is->all.ttft_ms);
	print_target(out, "itl", was->all.itl_ms, is->all.itl_ms);
	print_target(out, "duration", was->all.duration_ms, is->all.duration_ms);
	print_target(out, "normalized-latency", was->all.normalized_ms, is->all.normalized_ms);
}

/* What a reload answers, cut off at `len`. */
static void print_done(char *done, size_t len, const struct daemon *d, const struct in_force *was,
		       const struct config *old)
{
	const struct in_force is = in_force(d);
	FILE *out = fmemopen(done, len, "w");

	if (!out)
		return;
	fputs(d->config.file ? "configuration read again"
			     : "there is no configuration file: back to the values of the start",
	      out);
	print_changes(out, was, &is);
	print_waiting(out, old, &d->config);
	fclose(out);
}

int reload(void *arg, char *done, size_t done_len, char *err, size_t err_len)
{
	struct daemon *d = arg;
	struct plan *p = calloc(1, sizeof(*p));
	struct reading reading = {.d = d, .err = "out of memory"};
	const struct in_force was = in_force(d);
	int ret = p ? 0 : -ENOMEM;
	struct config old;

	if (!ret && on_away(d, read_config, &reading)) {
		config_free(&reading.config);
		ret = -EINVAL;
	}
	if (ret)
		snprintf(err, err_len, "%s", reading.err);
	else
		p->config = reading.config;
	look_at_the_clock(d);
	datapath_retry(d->datapath);
	if (!ret)
		ret = plan_and_carry_out(d, p, err, err_len);
	if (ret) {
		say(EVENT_CONFIG_REFUSED, NULL, "%s", err);
		metrics_access_put(reading.access);
		free(p);
		return ret;
	}
	if (d->metrics)
		metrics_set_access(d->metrics, reading.access);
	metrics_access_put(reading.access);
	log_follow(&p->config);
	old = d->config;
	d->config = p->config;
	free(p);
	show_config(d);
	print_done(done, done_len, d, &was, &old);
	say_change(&old, &d->config, done);
	config_free(&old);
	return 0;
}
