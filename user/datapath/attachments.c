/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * All interfaces that sluice is attached to, or would be: names, patterns of names, and `auto`. It
 * follows them as they come and go. A named interface has its entry always, others while they are
 * there. An entry whose interface is gone stays while kept connections may come back with it.
 */
#include <errno.h>
#include <fnmatch.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "carry.h"
#include "hooks.h"
#include "interfaces.h"
#include "kept.h"
#include "netns.h"
#include "pins.h"
#include "server_links.h"

/* An interface that no longer matches is detached after so many checks, since an address may come
 * back at once. */
#define UNUSED_CHECKS 5

static void forget(struct datapath *d, size_t i)
{
	links_close(&d->attached[i]);
	memmove(&d->attached[i], &d->attached[i + 1],
		(--d->attached_count - i) * sizeof(*d->attached));
}

void attachments_close(struct datapath *d)
{
	while (d->attached_count)
		forget(d, d->attached_count - 1);
	netns_close(d);
	free(d->attached);
	free(d->wanted);
	free(d->server_links);
	free(d->server_others);
	d->attached = NULL;
	d->wanted = NULL;
	d->server_links = NULL;
	d->server_others = NULL;
	d->wanted_count = d->no_room = d->server_link_count = d->server_other_count = 0;
}

void attachment_say(const struct datapath *d, const struct attachment *a,
		    const struct datapath_interface *before)
{
	for (int hook = 0; hook < HOOK_COUNT; hook++)
		if (a->is.note[hook][0] && !before->note[hook][0])
			datapath_notify(&d->handlers, NOTICE_DISTURBED, a->is.name, "%s",
					a->is.note[hook]);
}

static struct attachment *add(struct datapath *d, const char *name, enum datapath_xdp xdp)
{
	struct attachment *a = realloc(d->attached, (d->attached_count + 1) * sizeof(*a));

	if (!a)
		return NULL;
	d->attached = a;
	a += d->attached_count++;
	*a = (struct attachment){.wanted = xdp, .link = {-1, -1, -1}};
	snprintf(a->is.name, sizeof(a->is.name), "%s", name);
	return a;
}

static struct attachment *named(const struct datapath *d, const char *name)
{
	for (size_t i = 0; i < d->attached_count; i++)
		if (!d->attached[i].netns && !strcmp(d->attached[i].is.name, name))
			return &d->attached[i];
	return NULL;
}

static void say_absent(struct attachment *a)
{
	snprintf(a->is.note[HOOK_REQUESTS], sizeof(a->is.note[0]),
		 "interface %s does not exist: sluice attaches to it when it comes", a->is.name);
}

/* Attaches to a named interface; an error if it is there and something fails. */
static int attach_named(struct datapath *d, const char *name, enum datapath_xdp xdp)
{
	int ifindex = if_nametoindex(name), err = server_links_refresh(d);
	struct attachment *a = named(d, name);
	struct datapath_interface before;

	if (err < 0)
		return err;
	if (!a)
		a = add(d, name, xdp);
	if (!a)
		return datapath_fail(-ENOMEM, "out of memory");
	before = a->is;
	a->named = true;
	a->wanted = xdp;
	if (!ifindex) {
		say_absent(a);
		attachment_say(d, a, &before);
		return 0;
	}
	if (a->is.ifindex != ifindex)
		links_close(a);
	a->is.ifindex = ifindex;
	a->is.leads = server_links_has(d, ifindex);
	err = attach_all(d, a);
	if (err && !a->tried)
		forget(d, (size_t)(a - d->attached));
	else
		attachment_say(d, a, &before);
	return err;
}

static bool is_pattern(const char *wanted)
{
	return !strcmp(wanted, "auto") || strpbrk(wanted, "*?[");
}

static int add_pattern(struct datapath *d, const char *pattern, enum datapath_xdp xdp)
{
	struct wanted *grown = realloc(d->wanted, (d->wanted_count + 1) * sizeof(*grown));

	if (!grown)
		return datapath_fail(-ENOMEM, "out of memory");
	d->wanted = grown;
	grown[d->wanted_count].xdp = xdp;
	strcpy(grown[d->wanted_count++].pattern, pattern);
	return attachments_refresh(d);
}

int datapath_attach(struct datapath *d, const char *wanted, enum datapath_xdp xdp)
{
	int err;

	if (!*wanted || strlen(wanted) >= IF_NAMESIZE)
		return datapath_fail(-ENODEV, "%s is no name of an interface", wanted);
	err = carry_commit(d);
	if (err)
		return err;
	err = pins_make_links(d->pin_dir);
	if (err)
		return datapath_fail(err, "%s/links cannot be made: %s", d->pin_dir,
				     strerror(-err));
	return is_pattern(wanted) ? add_pattern(d, wanted, xdp) : attach_named(d, wanted, xdp);
}

/* The attachment to the interface of the namespace; NULL. */
static struct attachment *at(const struct datapath *d, unsigned netns, int ifindex)
{
	for (size_t i = 0; i < d->attached_count; i++)
		if (d->attached[i].netns == netns && d->attached[i].is.ifindex == ifindex)
			return &d->attached[i];
	return NULL;
}

static bool is_attached(int ifindex, void *arg)
{
	const struct datapath *d = arg;

	return at(d, 0, ifindex);
}

static int drop_other(const char *pin_dir, const char *name, void *arg)
{
	const struct datapath *d = arg;
	unsigned long netns;
	int ifindex, used = 0;

	if (sscanf(name, "%lu_%d_%n", &netns, &ifindex, &used) == 2 && used)
		for (size_t i = 0; i < d->attached_count; i++) {
			const struct attachment *a = &d->attached[i];

			if (a->is.ifindex == ifindex &&
			    netns == (a->netns ? a->netns_ino : netns_here()))
				return 0;
		}
	return link_remove(pin_dir, name, NULL);
}

int datapath_detach_others(struct datapath *d)
{
	int err;

	clsact_sweep(d->pin_dir, is_attached, d);
	err = pins_each_link(d->pin_dir, drop_other, d);
	return err ? err : kept_pin_probe(d);
}

size_t datapath_interfaces(const struct datapath *d, struct datapath_interface *out, size_t max)
{
	size_t i;

	for (i = 0; i < d->attached_count && i < max; i++)
		out[i] = d->attached[i].is;
	return d->attached_count;
}

size_t datapath_no_room(const struct datapath *d)
{
	return d->no_room + d->no_room_there;
}

static const struct interface *by_index(const struct interface *list, size_t count, int ifindex)
{
	for (size_t i = 0; i < count; i++)
		if (list[i].ifindex == ifindex)
			return &list[i];
	return NULL;
}

static const struct interface *by_name(const struct interface *list, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(list[i].name, name))
			return &list[i];
	return NULL;
}

/* The pattern that an interface matches; NULL. */
static const struct wanted *match(const struct datapath *d, const struct interface *i)
{
	for (size_t w = 0; w < d->wanted_count; w++)
		if (strcmp(d->wanted[w].pattern, "auto")
			    ? !fnmatch(d->wanted[w].pattern, i->name, 0)
			    : i->automatic || server_links_has(d, i->ifindex))
			return &d->wanted[w];
	return NULL;
}

/* The interface is gone from this network namespace; it may live on in another one. */
static void gone(struct datapath *d, struct attachment *a)
{
	a->gone = a->is.ifindex;
	attach_drop(d, a);
	if (a->named)
		say_absent(a);
	datapath_notify(&d->handlers, NOTICE_GONE, a->is.name, "interface %s is gone", a->is.name);
}

/* Attaches to an interface that has come, or come back. */
static int come(struct datapath *d, struct attachment *a, int ifindex)
{
	bool back = a->gone;
	int err = 0;

	memset(a->is.note, 0, sizeof(a->is.note));
	a->repairs = (struct repairs){0};
	/* Its kept connections are translated from the first packet on. */
	if (back)
		err = kept_moved(d, a->gone, ifindex);
	a->is.ifindex = ifindex;
	a->is.leads = server_links_has(d, ifindex);
	if (!err)
		err = attach_restore(d, a);
	if (err)
		datapath_notify(&d->handlers, NOTICE_NOT_ATTACHED, a->is.name,
				"interface %s is %s, but: %s", a->is.name, back ? "back" : "there",
				datapath_error());
	else
		datapath_notify(&d->handlers, NOTICE_ATTACHED, a->is.name,
				"interface %s is %s: attached", a->is.name,
				back ? "back" : "there");
	if (!err)
		attachment_say(d, a, &(struct datapath_interface){0});
	return err;
}

/* The interface leads to a server now, or no longer: both programs change places. */
static int turn(struct datapath *d, struct attachment *a)
{
	a->is.leads = !a->is.leads;
	a->tried = false;
	datapath_notify(&d->handlers, NOTICE_TURNED, a->is.name,
			a->is.leads ? "interface %s leads to a server"
				    : "interface %s leads to no server any more",
			a->is.name);
	return attach_restore(d, a);
}

/*
 * Follows the entries that there are. A named interface that is renamed stays attached under its
 * old name, until another takes that name.
 */
static int follow_attached(struct datapath *d, const struct interface *list, size_t count)
{
	int result = 0;

	for (size_t i = 0; i < d->attached_count; i++) {
		struct attachment *a = &d->attached[i];
		const struct interface *now = by_index(list, count, a->is.ifindex);
		const struct interface *next = by_name(list, count, a->is.name);
		int err;

		if (a->netns)
			continue; /* follow_netns() sees to it */
		datapath_step(d, 1);
		if (now && a->is.leads != server_links_has(d, now->ifindex) &&
		    (!a->is.leads || a->named || match(d, now))) {
			err = turn(d, a);
			if (err)
				result = err;
		}
		if (!a->named) {
			if (a->is.ifindex && !now)
				gone(d, a);
			if (now) {
				snprintf(a->is.name, sizeof(a->is.name), "%s", now->name);
				a->unused = !match(d, now);
			}
			continue; /* what comes back is new to follow_others() */
		}
		if (now && (!next || next == now))
			continue;
		if (a->is.ifindex)
			gone(d, a);
		err = next ? come(d, a, next->ifindex) : 0;
		if (err)
			result = err;
	}
	return result;
}

/* Attaches to those that match a pattern and have no entry, or one from before they were gone. What
 * fails is in the notes of its entry. */
static int follow_others(struct datapath *d, const struct interface *list, size_t count)
{
	d->no_room = 0;
	for (size_t i = 0; i < count; i++) {
		const struct wanted *wanted = match(d, &list[i]);
		struct attachment *a;

		datapath_step(d, 1);
		if (!wanted || is_attached(list[i].ifindex, d))
			continue;
		a = named(d, list[i].name);
		if (!a && d->attached_count >= DATAPATH_INTERFACES_MAX) {
			d->no_room++;
			continue;
		}
		if (!a)
			a = add(d, list[i].name, wanted->xdp);
		if (!a)
			return datapath_fail(-ENOMEM, "out of memory");
		a->unused = false;
		come(d, a, list[i].ifindex);
	}
	return 0;
}

/* The first words for a namespace: of /run/netns/NAME and /proc/PID/ns/net the part in capitals. */
static void netns_label(char *out, size_t size, const char *path)
{
	unsigned pid;

	if (sscanf(path, "/proc/%u/ns/net", &pid) == 1)
		snprintf(out, size, "pid %u", pid);
	else
		snprintf(out, size, "%s", strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
}

/* Attaches to an interface of another namespace, in which the thread is. */
static int come_there(struct datapath *d, unsigned which, const struct interface *i)
{
	char label[40], name[sizeof(d->attached->is.name)];
	struct attachment *a;

	if (d->attached_count >= DATAPATH_INTERFACES_MAX) {
		d->no_room_there++;
		return 0;
	}
	netns_label(label, sizeof(label), d->netns[which - 1].path);
	snprintf(name, sizeof(name), "%s/%s", label, i->name);
	a = add(d, name, DATAPATH_XDP_OFF);
	if (!a)
		return -ENOMEM;
	a->netns = which;
	a->netns_ino = d->netns[which - 1].ino;
	a->is.ifindex = i->ifindex;
	return attach_restore(d, a);
}

/* Lets go of what is attached in another namespace, but for `count` interfaces of it. */
static void leave_others(struct datapath *d, unsigned which, const struct interface *list,
			 size_t count)
{
	for (size_t i = d->attached_count; i--;) {
		struct attachment *a = &d->attached[i];

		if (a->netns != which || (a->netns_ino == d->netns[which - 1].ino &&
					  by_index(list, count, a->is.ifindex)))
			continue;
		datapath_notify(&d->handlers, NOTICE_GONE, a->is.name, "interface %s is gone",
				a->is.name);
		attach_drop(d, a);
		forget(d, i);
	}
}

/*
 * Follows the interfaces of another namespace: those that `auto` would take there, but for lo.
 * Nobody reports what changes there.
 */
static int follow_netns(struct datapath *d, unsigned which)
{
	_cleanup_free_ struct interface *list = NULL;
	size_t count = 0, before = d->attached_count;
	struct netns *ns = &d->netns[which - 1];
	char before_note[sizeof(ns->note)];
	int changed, err = 0;

	memcpy(before_note, ns->note, sizeof(before_note));
	datapath_step(d, 64); /* not later: others would see it without its note */
	changed = netns_read(d, which);
	if (ns->ino) {
		err = netns_enter(d, which);
		if (!err) {
			err = interfaces_list(NULL, true, &list, &count);
			for (size_t i = 0; i < count && !err; i++)
				if (list[i].automatic && strcmp(list[i].name, "lo") &&
				    !at(d, which, list[i].ifindex))
					come_there(d, which, &list[i]);
			netns_leave(d, which);
		}
	}
	if (!err)
		leave_others(d, which, list, count);
	else if (!ns->note[0])
		netns_cannot(ns, "read", strerror(-err));
	for (size_t i = before; i < d->attached_count && !err; i++) {
		struct attachment *a = &d->attached[i];

		datapath_notify(&d->handlers, NOTICE_ATTACHED, a->is.name, "interface %s is there",
				a->is.name);
		attachment_say(d, a, &(struct datapath_interface){0});
	}
	if (ns->note[0] && strcmp(ns->note, before_note))
		datapath_notify(&d->handlers, NOTICE_NETNS, ns->path, "%s", ns->note);
	return changed;
}

int attachments_follow_netns(struct datapath *d)
{
	int changed = 0;

	d->no_room_there = 0;
	for (unsigned which = 1; which <= d->netns_count; which++)
		changed |= follow_netns(d, which);
	return changed;
}

void datapath_attach_netns(struct datapath *d)
{
	attachments_follow_netns(d);
	for (unsigned i = 0; i < d->netns_count; i++)
		if (d->netns[i].note[0])
			datapath_notify(&d->handlers, NOTICE_NETNS, d->netns[i].path, "%s",
					d->netns[i].note);
}

size_t datapath_netns_notes(const struct datapath *d, const char **out, size_t max)
{
	size_t n = 0;

	for (unsigned i = 0; i < d->netns_count && n < max; i++)
		if (d->netns[i].note[0])
			out[n++] = d->netns[i].note;
	return n;
}

size_t datapath_netns_unfollowed(const struct datapath *d)
{
	size_t n = 0;

	for (unsigned i = 0; i < d->netns_count; i++)
		n += d->netns[i].unfollowed;
	return n;
}

int attachments_refresh(struct datapath *d)
{
	_cleanup_free_ struct interface *list = NULL;
	bool automatic = false;
	size_t count;
	int err, result;

	for (size_t i = 0; i < d->wanted_count; i++)
		automatic |= !strcmp(d->wanted[i].pattern, "auto");
	err = server_links_refresh(d);
	if (err >= 0)
		err = interfaces_list(d, automatic, &list, &count);
	if (err)
		return err;
	result = follow_attached(d, list, count);
	err = follow_others(d, list, count);
	return err ? err : result;
}

/* Whether programs at the interface answer in that direction. */
static bool attached_as_leading(const struct datapath *d, int ifindex)
{
	const struct attachment *a = at(d, 0, ifindex);

	return a && a->is.leads;
}

void attachments_tidy(struct datapath *d)
{
	for (size_t i = d->attached_count; i--;) {
		struct attachment *a = &d->attached[i];
		int ifindex = a->is.ifindex ? a->is.ifindex : a->gone;

		a->unused_checks = a->unused ? a->unused_checks + 1 : 0;
		if (a->named || a->netns || (a->is.ifindex && a->unused_checks < UNUSED_CHECKS) ||
		    kept_goes_by(d, ifindex))
			continue;
		if (a->is.ifindex) {
			attach_drop(d, a);
			datapath_notify(&d->handlers, NOTICE_DETACHED, a->is.name,
					"interface %s is detached: it matches no longer",
					a->is.name);
		}
		forget(d, i);
	}
	server_links_tidy(d, attached_as_leading);
}
