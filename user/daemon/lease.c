/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The lease: how long the kernel may refuse without hearing from the daemon. The loop renews it
 * after every event, and so does each step of long work: a daemon that walks a large map does not
 * hang.
 */
#include "daemon/daemon.h"

/* A quarter of a lease that is short, else half a tick. */
static uint64_t renew_every_ns(const struct daemon *d)
{
	uint64_t quarter = d->config.lease_ms * 1000000ULL / 4;

	return quarter < TICK_NS / 2 ? quarter : TICK_NS / 2;
}

static uint64_t lease_ns(const struct daemon *d)
{
	return d->config.lease_ms * 1000000ULL;
}

void renew_lease(struct daemon *d)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC), end = d->renewed_ns + lease_ns(d);

	if (now - d->renewed_ns < renew_every_ns(d))
		return;
	if (datapath_renew_lease(d->datapath, now + lease_ns(d))) {
		if (!d->renew_failed)
			say(EVENT_LEASE_FAILED, NULL, "cannot renew the lease: %s",
			    datapath_error());
		d->renew_failed = true;
		return;
	}
	if (d->renewed_ns && now > end)
		say(EVENT_LEASE_ENDED,
		    LOG_FIELDS(log_number("ended_ms", (double)(now - end) / 1e6),
			       log_count("lease_ms", d->config.lease_ms)),
		    "the lease of %u ms had ended: everything passed for %.0f ms",
		    d->config.lease_ms, (double)(now - end) / 1e6);
	if (d->renew_failed)
		say(EVENT_LEASE_RENEWED, NULL, "the lease is renewed again");
	d->renew_failed = false;
	d->renewed_ns = now;
}

/* Before the loop runs, the lease is the last daemon's, extended by datapath_open(). */
void on_alive(void *arg)
{
	struct daemon *d = arg;

	if (d->running)
		renew_lease(d);
}

void on_step(void *arg, size_t entries)
{
	struct daemon *d = arg;

	on_alive(d);
	work_step(d->queue, entries, 0);
}

int on_away(void *arg, int (*f)(void *f_arg), void *f_arg)
{
	return work_away(((struct daemon *)arg)->queue, f, f_arg);
}
