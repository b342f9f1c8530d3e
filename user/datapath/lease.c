/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How long the kernel enforces without the daemon. The one idea: the kernel's check of the programs
 * is one call of seconds, on a busy machine longer than an earlier daemon's lease. So a start
 * extends a lease in force before the check, once. A lease that has expired stays expired until the
 * daemon is ready.
 *
 * A start that fails restores the lease that it found. A start that is killed leaves up to
 * START_LEASE_NS without renewal. The bit OF_A_START marks such a lease, and the next start does
 * not extend it again: otherwise starts that die over and over would enforce for ever.
 */
#include <stdio.h>
#include <time.h>

#include "settings.h"

#define START_LEASE_NS (30 * NSEC_PER_SEC)
#define OF_A_START     1ULL /* lowest bit of lease_until_ns */

/* Reads the pinned settings, whether they are loaded or not. Returns an fd, or less than 0. */
static int pinned_settings(const struct datapath *d, struct sluice_settings *settings)
{
	char path[PATH_MAX + 16];
	uint32_t zero = 0;
	int fd;

	snprintf(path, sizeof(path), "%s/settings", d->pin_dir);
	fd = bpf_obj_get(path);
	if (fd >= 0 && bpf_map_lookup_elem(fd, &zero, settings)) {
		close(fd);
		return -1;
	}
	return fd;
}

void lease_put_off(struct datapath *d)
{
	struct sluice_settings settings;
	_cleanup_fd_ int fd = pinned_settings(d, &settings);
	uint64_t found = fd < 0 ? 0 : settings.lease_until_ns, now;
	struct timespec t;
	uint32_t zero = 0;

	clock_gettime(CLOCK_MONOTONIC, &t);
	now = t.tv_sec * NSEC_PER_SEC + t.tv_nsec;
	if (found <= now || found >= now + START_LEASE_NS || found & OF_A_START ||
	    settings.stopping)
		return;
	settings.lease_until_ns = (now + START_LEASE_NS) | OF_A_START;
	if (!bpf_map_update_elem(fd, &zero, &settings, BPF_ANY))
		d->lease_found_ns = found;
}

void lease_restore(const struct datapath *d)
{
	struct sluice_settings settings;
	_cleanup_fd_ int fd = -1;
	uint32_t zero = 0;

	if (!d->lease_found_ns)
		return;
	fd = pinned_settings(d, &settings);
	if (fd < 0)
		return;
	settings.lease_until_ns = d->lease_found_ns;
	bpf_map_update_elem(fd, &zero, &settings, BPF_ANY);
}

uint64_t datapath_lease_until(const struct datapath *d)
{
	return d->settings.lease_until_ns;
}

int datapath_renew_lease(struct datapath *d, uint64_t until_ns)
{
	int err;

	d->settings.lease_until_ns = until_ns & ~OF_A_START;
	err = settings_write(d);
	if (!err)
		d->lease_found_ns = 0; /* the lease is this daemon's own */
	return err;
}

int datapath_stop(struct datapath *d)
{
	d->settings.stopping = 1;
	return settings_write(d);
}
