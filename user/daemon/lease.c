/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The lease: how long the kernel may refuse without hearing from the daemon. The loop renews it
 * after every event, and so does each step of long work: a daemon that walks a large map does not
 * hang.
 */
#include "daemon/daemon.h"

uint64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

void look_at_the_clock(struct daemon *d)
{
	d->state.now_ns = clock_ns(CLOCK_MONOTONIC);
	d->state.unix_ns = clock_ns(CLOCK_REALTIME);
}

/* A quarter of a lease that is short, else half a tick. */
static uint64_t renew_every_ns(const struct daemon *d)
{
	uint64_t quarter = d->config.lease_ms * 1000000ULL / 4;

	return quarter < TICK_NS / 2 ? quarter : TICK_NS / 2;
}

void renew_lease(struct daemon *d)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);

	if (now - d->renewed_ns < renew_every_ns(d))
		return;
	if (datapath_renew_lease(d->datapath, now + d->config.lease_ms * 1000000ULL)) {
		if (d->log_lines++ < LOG_LINES)
			say("cannot renew the lease: %s", datapath_error());
		return;
	}
	d->renewed_ns = now;
}

/* Before the loop runs, the lease is the last daemon's, extended by datapath_open(). */
void on_alive(void *arg)
{
	struct daemon *d = arg;

	if (d->running)
		renew_lease(d);
}
