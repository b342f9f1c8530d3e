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
#include <time.h>

#include "carry.h"
#include "settings.h"

#define START_LEASE_NS (30 * NSEC_PER_SEC)
#define OF_A_START     1ULL /* lowest bit of lease_until_ns */

void lease_put_off(struct datapath *d)
{
	struct sluice_settings settings;
	_cleanup_fd_ int fd = settings_pinned(d->pin_dir, &settings);
	uint64_t found = fd < 0 ? 0 : settings.lease_until_ns, now;
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	now = t.tv_sec * NSEC_PER_SEC + t.tv_nsec;
	if (found <= now || found >= now + START_LEASE_NS || found & OF_A_START ||
	    settings.stopping)
		return;
	if (!settings_write_lease(fd, (now + START_LEASE_NS) | OF_A_START))
		d->lease_found_ns = found;
}

void lease_restore(const struct datapath *d)
{
	struct sluice_settings settings;
	_cleanup_fd_ int fd = -1;

	if (!d->lease_found_ns)
		return;
	fd = settings_pinned(d->pin_dir, &settings);
	if (fd >= 0)
		settings_write_lease(fd, d->lease_found_ns);
}

uint64_t datapath_lease_until(const struct datapath *d)
{
	return d->settings.lease_until_ns;
}

int datapath_renew_lease(struct datapath *d, uint64_t until_ns)
{
	int err = carry_commit(d);

	if (!err)
		err = carry_finish(d);
	if (err)
		return err;
	d->settings.lease_until_ns = until_ns & ~OF_A_START;
	err = settings_write(d);
	if (!err)
		d->lease_found_ns = 0; /* the lease is this daemon's own */
	return err;
}

int datapath_stop(struct datapath *d)
{
	d->settings.stopping = SLUICE_STOPPING;
	return settings_write(d);
}
