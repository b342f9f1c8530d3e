/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * All interfaces that sluice is attached to. It follows those that go and come back, and looks once
 * a second what is attached: others may remove a program, put one of theirs before it, or remove
 * the pins. sluice sets that right, but not for ever, since two programs that both insist would
 * never end.
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "hooks.h"
#include "kept.h"
#include "pins.h"

static void forget(struct datapath *d, size_t i)
{
	links_close(&d->attached[i]);
	d->attached[i] = d->attached[--d->attached_count];
}

void attachments_close(struct datapath *d)
{
	while (d->attached_count)
		forget(d, d->attached_count - 1);
	free(d->attached);
	d->attached = NULL;
}

/* Says what is new in the notes since `before`. */
static void say_notes(const struct datapath *d, const struct attachment *a,
		      const struct datapath_interface *before)
{
	for (int hook = 0; hook < HOOK_COUNT; hook++)
		if (a->is.note[hook][0] && !before->note[hook][0])
			datapath_notify(&d->handlers, "%s", a->is.note[hook]);
}

int datapath_attach(struct datapath *d, const char *interface, enum datapath_xdp xdp)
{
	const struct attachment fresh = {.link = {-1, -1, -1}};
	int ifindex = if_nametoindex(interface), err;
	struct datapath_interface before;
	struct attachment *a;
	char links[PATH_MAX + 8];
	size_t i;

	if (!ifindex)
		return datapath_fail(-ENODEV, "interface %s does not exist", interface);
	for (i = 0; i < d->attached_count && strcmp(d->attached[i].is.name, interface); i++)
		;
	snprintf(links, sizeof(links), "%s/links", d->pin_dir);
	if (mkdir(links, 0700) && errno != EEXIST)
		return datapath_fail(-errno, "%s cannot be made: %s", links, strerror(errno));
	if (i == d->attached_count) {
		a = realloc(d->attached, (i + 1) * sizeof(*a));
		if (!a)
			return datapath_fail(-ENOMEM, "out of memory");
		d->attached = a;
		d->attached[d->attached_count++] = fresh;
	}
	a = &d->attached[i];
	before = a->is;
	snprintf(a->is.name, sizeof(a->is.name), "%s", interface);
	a->wanted = xdp;
	if (a->is.ifindex != ifindex)
		links_close(a);
	a->is.ifindex = ifindex;
	err = attach_all(d, a);
	if (err && !a->tried)
		forget(d, i);
	else
		say_notes(d, a, &before);
	return err;
}

static bool is_attached(int ifindex, void *arg)
{
	const struct datapath *d = arg;

	for (size_t i = 0; i < d->attached_count; i++)
		if (d->attached[i].is.ifindex == ifindex)
			return true;
	return false;
}

static int drop_other(const char *pin_dir, const char *name, void *arg)
{
	struct stat here = {0};
	unsigned long netns;
	int ifindex, used = 0;

	stat("/proc/self/ns/net", &here);
	if (sscanf(name, "%lu_%d_%n", &netns, &ifindex, &used) == 2 && used &&
	    netns == here.st_ino && is_attached(ifindex, arg))
		return 0;
	return link_remove(pin_dir, name, NULL);
}

int datapath_detach_others(struct datapath *d)
{
	clsact_sweep(d->pin_dir, is_attached, d);
	return pins_each_link(d->pin_dir, drop_other, d);
}

size_t datapath_interfaces(const struct datapath *d, struct datapath_interface *out, size_t max)
{
	size_t i;

	for (i = 0; i < d->attached_count && i < max; i++)
		out[i] = d->attached[i].is;
	return d->attached_count;
}

/*
 * Follows interfaces that disappeared and came back under the same name. A renamed interface stays
 * attached under its old name, until another takes that name.
 */
int attachments_refresh(struct datapath *d)
{
	bool changed = false;
	int result = 0;

	for (size_t i = 0; i < d->attached_count; i++) {
		struct attachment *a = &d->attached[i];
		int ifindex = if_nametoindex(a->is.name), was = a->is.ifindex, err;
		char name[IF_NAMESIZE];

		if (ifindex == was)
			continue;
		if (!ifindex && if_indextoname(was, name))
			continue;
		changed = true;
		if (was) {
			a->gone = was;
			attach_drop(d, a); /* it may live on in another network namespace */
		}
		if (!ifindex) {
			datapath_notify(&d->handlers, "interface %s is gone", a->is.name);
			continue;
		}
		/* Its kept connections are translated from the first packet on. */
		err = kept_moved(d, a->gone, ifindex);
		a->is.ifindex = ifindex;
		a->repairs = (struct repairs){0};
		if (!err)
			err = attach_restore(d, a);
		if (err) {
			datapath_notify(&d->handlers, "interface %s is back, but: %s", a->is.name,
					datapath_error());
			result = err;
		} else {
			datapath_notify(&d->handlers, "interface %s is back: attached", a->is.name);
		}
	}
	if (changed) /* pins of interfaces that are gone hold nothing */
		pins_each_link(d->pin_dir, drop_other, d);
	return result;
}

#define REPAIR_NS 60000000000ULL /* in this time at most … */
#define REPAIRS   3              /* … so many */

/* Whether sluice may set something right now, which counts. */
static bool may_repair(struct repairs *r, uint64_t now_ns)
{
	if (r->at_ns[0] && now_ns - r->at_ns[0] < REPAIR_NS)
		r->left = true;
	if (r->left)
		return false;
	memmove(r->at_ns, r->at_ns + 1, (REPAIRS - 1) * sizeof(r->at_ns[0]));
	r->at_ns[REPAIRS - 1] = now_ns;
	return true;
}

static void leave(char note[DATAPATH_NOTE_MAX])
{
	static const char left[] =
		"; set right 3 times in a minute, and left until `sluicectl reload`";
	size_t n = strlen(note);

	if (n && !strstr(note, left))
		snprintf(note + n, DATAPATH_NOTE_MAX - n, "%s", left);
}

static void repair(struct datapath *d, struct attachment *a)
{
	const struct datapath_interface before = a->is;
	bool restored = false;

	attach_restore(d, a);
	for (int hook = 0; hook < HOOK_COUNT; hook++) {
		if (!before.note[hook][0] || a->is.note[hook][0])
			continue;
		restored = true;
		datapath_notify(&d->handlers, "%s: set right", before.note[hook]);
	}
	a->is.restored += restored;
}

static void check_interface(struct datapath *d, struct attachment *a, uint64_t now_ns)
{
	const struct datapath_interface before = a->is;
	bool left = a->repairs.left;
	char name[IF_NAMESIZE];

	if (!a->is.ifindex || !if_indextoname(a->is.ifindex, name))
		return; /* attachments_refresh() sees to it */
	datapath_step(d, 16);
	if (attach_look(d, a)) {
		a->repairs.left = false;
	} else if (may_repair(&a->repairs, now_ns)) {
		repair(d, a);
	} else {
		for (int hook = 0; hook < HOOK_COUNT; hook++)
			leave(a->is.note[hook]);
		if (!left)
			say_notes(d, a, &(struct datapath_interface){0});
		return;
	}
	say_notes(d, a, &before);
}

/* Whether all pins are there; with `again`, makes those that are not. */
static int check_pins(struct datapath *d, bool again)
{
	bool all = true;
	int err;

	if (again) {
		char links[PATH_MAX + 8];

		err = pins_again(d->pin_dir, d->skel->obj, &d->dir_fd);
		if (err)
			return err;
		snprintf(links, sizeof(links), "%s/links", d->pin_dir);
		mkdir(links, 0700);
	} else if (!pins_present(d->pin_dir, d->skel->obj, d->dir_fd)) {
		return datapath_fail(-ENOENT, "removed by somebody");
	}
	for (size_t i = 0; i < d->attached_count; i++) {
		struct attachment *a = &d->attached[i];

		datapath_step(d, 4);
		all &= links_pinned(d, a, again);
		if (a->qdisc_ours && !clsact_marked(d->pin_dir, a->is.ifindex)) {
			all = false;
			if (again)
				clsact_mark(d->pin_dir, a->is.ifindex);
		}
	}
	return all || again ? 0 : datapath_fail(-ENOENT, "removed by somebody");
}

static void check_all_pins(struct datapath *d, uint64_t now_ns)
{
	bool left = d->repairs.left, said = d->pins_note[0];

	if (!check_pins(d, false)) {
		d->pins_note[0] = 0;
		d->repairs.left = false;
		return;
	}
	if (may_repair(&d->repairs, now_ns) && !check_pins(d, true)) {
		d->pins_note[0] = 0;
		datapath_notify(&d->handlers, "pins in %s had been removed: pinned again",
				d->pin_dir);
		return;
	}
	if (!said)
		snprintf(d->pins_note, sizeof(d->pins_note),
			 "pins in %.80s are missing (%.40s): when the daemon ends, sluice is gone",
			 d->pin_dir, datapath_error());
	if (d->repairs.left)
		leave(d->pins_note);
	if (!said || left != d->repairs.left)
		datapath_notify(&d->handlers, "%s", d->pins_note);
}

void datapath_check(struct datapath *d, uint64_t now_ns)
{
	check_all_pins(d, now_ns);
	for (size_t i = 0; i < d->attached_count; i++)
		check_interface(d, &d->attached[i], now_ns);
}

void datapath_retry(struct datapath *d)
{
	d->repairs = (struct repairs){0};
	for (size_t i = 0; i < d->attached_count; i++)
		d->attached[i].repairs = (struct repairs){0};
}

const char *datapath_pins_note(const struct datapath *d)
{
	return d->pins_note;
}
