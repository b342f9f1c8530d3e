/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whether a configuration can be put in force, without the kernel: builds the state that it asks
 * for, and discards it. `sluiced --check` does no more, and a start does this first. So an error of
 * the configuration is found before anything is loaded.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/daemon.h"

int check_config(const struct config *config, char *err, size_t len)
{
	const struct controller_targets all = targets_of(config);
	struct desired_part file = {0}, manual = {0};
	struct daemon *d = calloc(1, sizeof(*d)); /* one without a datapath */
	struct metrics_access *access = NULL;
	struct desired *next = NULL;
	int ret = -ENOMEM;

	snprintf(err, len, "out of memory");
	if (!d)
		return ret;
	controller_init(&d->controller, &all, config->per_model_limits);
	desired_part_init(&manual);
	d->desired = desired_new();
	if (d->desired)
		ret = configure_models(&d->controller, config, 0, err, len);
	if (!ret)
		ret = file_part(d, config, &d->controller, &file, err, len);
	if (!ret)
		ret = build_policy(d, &file, &manual, &d->controller, &next, err, len);
	if (!ret)
		ret = read_access(config, &access, err, len);
	if (!ret)
		ret = check_hash_secret(config, err, len);
	metrics_access_put(access);
	desired_free(next);
	desired_free(d->desired);
	desired_part_free(&manual);
	desired_part_free(&file);
	free(d);
	return ret;
}
