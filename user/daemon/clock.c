/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The clocks: the lease is by the one that the programs read, so it has to be the kernel's. */
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
