/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reloads the configuration. Everything is worked out before the first write: a copy of the
 * controller learns the models, and the next state is built and checked. If a map refuses a write
 * nevertheless, the old state and the old controller come back.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/daemon.h"

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static bool same_interfaces(const struct config *a, const struct config *b)
{
	bool same = a->interface_count == b->interface_count && a->xdp == b->xdp;

	for (unsigned i = 0; same && i < a->interface_count; i++)
		same = !strcmp(a->interfaces[i], b->interfaces[i]);
	return same;
}

static bool waits_for_restart(const struct config *a, const struct config *b)
{
	return !same_interfaces(a, b) || !same_text(a->pin_dir, b->pin_dir) ||
	       !same_text(a->control, b->control) || !same_text(a->metrics_addr, b->metrics_addr) ||
	       a->metrics_port != b->metrics_port;
}

/* Restores the controller. Names that are in the kernel's model_ids by now keep their ids. Flags of
 * the new configuration may be in the maps, so all flags are written. */
static void restore(struct daemon *d, const struct controller *before)
{
	struct controller *c = &d->controller;
	char(*names)[SLUICE_NAME_MAX] = calloc(SLUICE_MODELS_MAX, sizeof(*names));

	for (uint32_t id = SLUICE_MODEL_FIRST; names && id < SLUICE_MODELS_MAX; id++)
		if (d->in_kernel[id])
			memcpy(names[id], c->model[id].name, sizeof(names[id]));
	*c = *before;
	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++) {
		if (names && names[id][0])
			controller_adopt(c, names[id], id, d->state.now_ns);
		c->model[id].ever_written = false;
	}
	free(names);
	write_flags(d, false);
	write_named(d, d->desired);
}

/* What the new configuration makes of everything; none of it is in force. */
struct plan {
	struct config config;
	struct controller controller;
	struct desired_part file, manual;
	struct desired *next;
};

static int make_plan(struct daemon *d, struct plan *p, char *err, size_t len)
{
	int ret = configure_models(&p->controller, &p->config, d->state.now_ns, err, len);

	if (!ret)
		ret = file_part(d, &p->config, &p->controller, &p->file, err, len);
	if (!ret)
		ret = desired_part_copy(&p->manual, &d->manual);
	/* A reload discards what `set` has changed, and so its action and mode. */
	p->manual.action = p->manual.mode = 0;
	if (!ret)
		ret = build_policy(d, &p->file, &p->manual, &p->controller, &p->next, err, len);
	return ret;
}

/* Models and their flags come first: services and quotas refer to them. */
static int carry_out(struct daemon *d, struct plan *p, char *err, size_t len)
{
	struct controller *before = malloc(sizeof(*before));
	int ret;

	if (!before) {
		desired_free(p->next);
		return -ENOMEM;
	}
	*before = d->controller;
	d->controller = p->controller;
	ret = write_flags(d, false);
	if (ret) {
		snprintf(err, len, "%s", datapath_error());
		desired_free(p->next);
	} else {
		ret = put_in_force(d, p->next, &p->file, &p->manual, err, len);
	}
	if (ret)
		restore(d, before);
	free(before);
	return ret;
}

static int plan_and_carry_out(struct daemon *d, struct plan *p, char *err, size_t len)
{
	char why[512] = "out of memory";
	int ret;

	/* Names that it forgets stay forgotten if the rest fails: nobody has configured them. */
	ret = name_configured(d, &p->config);
	if (ret)
		snprintf(why, sizeof(why), "%s", datapath_error());
	p->controller = d->controller;
	if (!ret)
		ret = make_plan(d, p, why, sizeof(why));
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

int reload(void *arg, char *done, size_t done_len, char *err, size_t err_len)
{
	struct daemon *d = arg;
	struct plan *p = calloc(1, sizeof(*p));
	int ret = p ? 0 : -ENOMEM;

	if (ret)
		snprintf(err, err_len, "out of memory");
	if (!ret && config_load(&p->config, d->argc, d->argv, environ, err, err_len))
		ret = -EINVAL;
	look_at_the_clock(d);
	if (!ret)
		ret = plan_and_carry_out(d, p, err, err_len);
	if (ret) {
		say("%s", err);
		free(p);
		return ret;
	}
	snprintf(done, done_len, "%s%s",
		 p->config.file ? "configuration read again"
				: "there is no configuration file: back to the values of the start",
		 waits_for_restart(&p->config, &d->config)
			 ? "; changed interfaces, XDP mode, paths and ports wait for a restart"
			 : "");
	config_free(&d->config);
	d->config = p->config;
	free(p);
	show_config(d);
	say("%s", done);
	return 0;
}
