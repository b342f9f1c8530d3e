/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Other network namespaces, of pods and containers whose server is protected from within. A thread
 * of the daemon enters one for a moment, to attach, to look, or to list what is there. The one
 * idea: a namespace is a path, opened anew each time. So no descriptor of the daemon keeps one
 * alive, and one that has ended is let go when its path leads there no longer.
 *
 * A connection is known by its addresses and ports alone. So an address that two namespaces have
 * would mix the connections of both: the one that has it first stays, the other is left out, and a
 * note says so. Loopback addresses are in every namespace, and lo of others is not attached to.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "addresses.h"
#include "netns.h"

static uint64_t inode(int fd)
{
	struct stat st;

	return fd < 0 || fstat(fd, &st) ? 0 : st.st_ino;
}

uint64_t netns_here(void)
{
	struct stat st = {0};

	stat("/proc/thread-self/ns/net", &st);
	return st.st_ino;
}

int netns_enter(const struct datapath *d, unsigned which)
{
	_cleanup_fd_ int fd = -1;

	if (!which)
		return 0;
	fd = open(d->netns[which - 1].path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (inode(fd) != d->netns[which - 1].ino)
		return -ENOENT;
	return setns(fd, CLONE_NEWNET) ? -errno : 0;
}

void netns_leave(const struct datapath *d, unsigned which)
{
	/* Nothing after it would do what it says. */
	if (which && setns(d->own_netns, CLONE_NEWNET))
		abort();
}

static void __attribute__((format(printf, 2, 3))) note(struct netns *ns, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(ns->note, sizeof(ns->note), format, args);
	va_end(args);
	ns->unfollowed = true;
}

/* One that has ended is as it should be; one that has never been there is lacking. */
static void note_missing(struct netns *ns)
{
	if (ns->ended)
		note(ns, "network namespace %.160s has ended with its process", ns->path);
	else if (ns->seen)
		note(ns,
		     "network namespace %.140s has ended: sluice attaches to it when it comes back",
		     ns->path);
	else
		note(ns,
		     "network namespace %.140s does not exist: sluice attaches to it when it comes",
		     ns->path);
	ns->unfollowed = !ns->seen;
}

void netns_cannot(struct netns *ns, const char *be, const char *why)
{
	note(ns, "network namespace %.140s cannot be %s: %s", ns->path, be, why);
}

static const char *why_not_entered(int err)
{
	switch (err) {
	case -EPERM:
		return "it needs CAP_SYS_ADMIN";
	case -EINVAL:
		return "it is no network namespace";
	default:
		return strerror(-err);
	}
}

/* The path of another entry that is attached to this namespace; NULL. */
static const char *twin(const struct datapath *d, unsigned which, uint64_t ino)
{
	for (unsigned n = 0; n < d->netns_count; n++)
		if (n + 1 != which && d->netns[n].ino == ino)
			return d->netns[n].path;
	return NULL;
}

/* The path of another namespace that is attached to, or a few words for this one, that has an
 * address of the list. NULL: none has. */
static const char *holder(struct datapath *d, unsigned which, uint8_t (*list)[16], size_t count)
{
	_cleanup_free_ uint8_t(*own)[16] = NULL;
	size_t own_count = 0;

	addresses_here(NULL, &own, &own_count);
	for (size_t i = 0; i < count; i++) {
		if (address_is_local(list[i]))
			continue;
		if (address_in(own, own_count, list[i]))
			return "this host";
		for (unsigned n = 0; n < d->netns_count; n++)
			if (n + 1 != which &&
			    address_in(d->netns[n].addresses, d->netns[n].address_count, list[i]))
				return d->netns[n].path;
	}
	return NULL;
}

/* Whether it has an address by which another host, or this one, can reach it. */
static bool is_reachable(uint8_t (*list)[16], size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!address_is_local(list[i]))
			return true;
	return false;
}

/* Reads the addresses of the namespace with inode ->ino. On an error, ->note says which. */
static int read_addresses(struct datapath *d, unsigned which, uint8_t (**out)[16], size_t *count)
{
	struct netns *ns = &d->netns[which - 1];
	int err = netns_enter(d, which);

	if (err) {
		netns_cannot(ns, "entered", why_not_entered(err));
		return err;
	}
	err = addresses_here(NULL, out, count);
	netns_leave(d, which);
	if (err)
		netns_cannot(ns, "read", strerror(-err));
	return err;
}

static void let_go(struct netns *ns)
{
	free(ns->addresses);
	ns->addresses = NULL;
	ns->address_count = 0;
	ns->ino = 0;
}

int netns_read(struct datapath *d, unsigned which)
{
	struct netns *ns = &d->netns[which - 1];
	_cleanup_fd_ int fd = open(ns->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int err = fd < 0 ? -errno : 0;
	uint64_t was = ns->ino, ino = inode(fd);
	uint8_t(*list)[16] = NULL;
	size_t count = 0;
	const char *by;
	bool same;

	ns->note[0] = 0;
	ns->unfollowed = false;
	/* It may be there nevertheless, so what is attached stays. */
	if (err && err != -ENOENT && err != -ESRCH) {
		netns_cannot(ns, "opened", strerror(-err));
		return 0;
	}
	/* A later process with the number of one that has ended is another one. */
	ns->ended |= ns->seen && ns->seen != ino && !strncmp(ns->path, "/proc/", 6);
	if (ns->ended)
		ino = 0;
	if (!ino) {
		note_missing(ns);
	} else if (ino == netns_here()) {
		note(ns, "network namespace %.160s is that of sluiced itself", ns->path);
		ino = 0;
	}
	ns->ino = ino;
	err = ino ? read_addresses(d, which, &list, &count) : 0;
	if (err && was == ino)
		return 0; /* likewise */
	if (err)
		ns->ino = 0;
	else if (ino)
		ns->seen = ino;
	by = ns->ino ? twin(d, which, ino) : NULL;
	if (by) {
		note(ns, "network namespace %.100s is that of %.100s: it is attached to once",
		     ns->path, by);
		ns->unfollowed = false;
		ns->ino = 0;
	}
	by = ns->ino ? holder(d, which, list, count) : NULL;
	if (by) {
		note(ns,
		     "network namespace %.80s has an address that %.80s has, too: it is left out",
		     ns->path, by);
		ns->ino = 0;
	}
	if (ns->ino && !is_reachable(list, count)) {
		note(ns, "network namespace %.140s has no address yet: nothing comes to it",
		     ns->path);
		ns->unfollowed = false;
	}
	if (!ns->ino) {
		free(list);
		let_go(ns);
		return was != 0;
	}
	same = was == ino && ns->address_count == count &&
	       (!count || !memcmp(ns->addresses, list, count * sizeof(*list)));
	free(ns->addresses);
	ns->addresses = list;
	ns->address_count = count;
	return !same;
}

int netns_add(struct datapath *d, const char *path)
{
	struct netns *grown = realloc(d->netns, (d->netns_count + 1) * sizeof(*grown));

	if (!grown)
		return datapath_fail(-ENOMEM, "out of memory");
	d->netns = grown;
	grown[d->netns_count] = (struct netns){.path = strdup(path)};
	if (!grown[d->netns_count].path)
		return datapath_fail(-ENOMEM, "out of memory");
	d->netns_count++;
	if (!d->own_netns)
		d->own_netns = open("/proc/self/ns/net", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (d->own_netns < 0)
		return datapath_fail(-errno, "the daemon's own network namespace: %s",
				     strerror(errno));
	netns_read(d, d->netns_count);
	return 0;
}

void netns_close(struct datapath *d)
{
	for (unsigned i = 0; i < d->netns_count; i++) {
		let_go(&d->netns[i]);
		free(d->netns[i].path);
	}
	free(d->netns);
	d->netns = NULL;
	d->netns_count = 0;
	if (d->own_netns > 0)
		close(d->own_netns);
	d->own_netns = 0;
}
