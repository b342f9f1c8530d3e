/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The lease: how long the kernel may refuse without hearing from the daemon. The loop renews it
 * after every event, and so does each step of long work: a daemon that walks a large map does not
 * hang.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/daemon.h"

#define INITIAL_TIME_NAMESPACE 0xEFFFFFFAUL /* PROC_TIME_INIT_INO of the kernel */

/* The monotonic offset in the text of /proc/self/timens_offsets; false: it has none that is not 0.
 */
static bool monotonic_offset(FILE *offsets, char *out, size_t len)
{
	long long secs, ns;
	char clock[32];

	while (fscanf(offsets, "%31s %lld %lld", clock, &secs, &ns) == 3)
		if (!strcmp(clock, "monotonic") && (secs || ns)) {
			snprintf(out, len, "%.3f s", (double)secs + (double)ns / 1e9);
			return true;
		}
	return false;
}

int check_clock(char *err, size_t len)
{
	struct stat own, children;
	char offset[32] = "an unknown time";
	bool other = false;
	FILE *offsets;

	/* Without the file, the kernel has no time namespaces. */
	if (stat("/proc/self/ns/time", &own) || own.st_ino == INITIAL_TIME_NAMESPACE)
		return 0;
	/* The offsets are those of the children's namespace, usually the same. */
	offsets = fopen("/proc/self/timens_offsets", "re");
	if (!offsets || stat("/proc/self/ns/time_for_children", &children) ||
	    children.st_ino != own.st_ino)
		other = true;
	else
		other = monotonic_offset(offsets, offset, sizeof(offset));
	if (offsets)
		fclose(offsets);
	if (!other)
		return 0;
	snprintf(
		err, len,
		"sluiced runs in a time namespace whose monotonic clock differs from the host's by %s: its lease would never agree with the kernel's clock. Start it in the host's time namespace (`nsenter --time=/proc/1/ns/time`, or a container without time offsets)",
		offset);
	return -EINVAL;
}

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
