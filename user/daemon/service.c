/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The daemon as a service of systemd: notifications (sd_notify(3)), the watchdog, and the
 * privileges that remain after the start.
 */
#include <errno.h>
#include <linux/capability.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/daemon.h"

void notify_systemd(const char *what)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (!len || len >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, path, len);
	if (path[0] == '@')
		address.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	/* Nobody may read: the loop does not wait for systemd. */
	sendto(fd, what, strlen(what), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&address,
	       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	close(fd);
}

void watchdog_start(struct daemon *d)
{
	const char *pid = getenv("WATCHDOG_PID"), *usec = getenv("WATCHDOG_USEC");

	if (usec && (!pid || strtol(pid, NULL, 10) == getpid()))
		d->watchdog_ns = strtoull(usec, NULL, 10) * 1000 / 2;
}

void watchdog_turn(struct daemon *d)
{
	if (!d->watchdog_ns || d->state.now_ns - d->watched_ns < d->watchdog_ns)
		return;
	notify_systemd("WATCHDOG=1");
	d->watched_ns = d->state.now_ns;
}

static bool holds(const struct __user_cap_data_struct *caps, unsigned cap)
{
	return caps[cap / 32].permitted >> cap % 32 & 1;
}

static void keep(struct __user_cap_data_struct *caps, unsigned cap)
{
	caps[cap / 32].permitted |= 1U << cap % 32;
	caps[cap / 32].effective |= 1U << cap % 32;
}

/*
 * The programs are loaded: CAP_PERFMON was for the verifier. From now on the daemon reads and
 * writes maps, runs programs and attaches them to interfaces that come back. There is one thread
 * yet, and later ones inherit. A daemon that enters network namespaces needs CAP_SYS_ADMIN for
 * that, and CAP_SYS_PTRACE for those of a process.
 */
int drop_privileges(bool enters, char *err, size_t len)
{
	static const unsigned kept[] = {CAP_BPF, CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_SYS_PTRACE};
	size_t count = enters ? 4 : 2;
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct now[2] = {{0}}, next[2] = {{0}};
	int ret = (int)syscall(SYS_capget, &header, now);

	for (size_t i = 0; i < count; i++)
		if (holds(now, kept[i]))
			keep(next, kept[i]);
	if (!holds(now, CAP_BPF))
		keep(next, CAP_SYS_ADMIN); /* some containers have only that; it includes CAP_BPF */
	if (!ret)
		ret = (int)syscall(SYS_capset, &header, next);
	if (!ret)
		ret = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (!ret)
		return 0;
	ret = -errno;
	snprintf(err, len, "cannot drop privileges: %s", strerror(-ret));
	return ret;
}
