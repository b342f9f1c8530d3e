/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Looks once a second what is attached. Others may remove a program, put one of theirs before it,
 * or remove the pins. sluice sets that right, but not for ever: two programs that both insist would
 * never end.
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "claims.h"
#include "hooks.h"
#include "kept.h"
#include "netns.h"
#include "pins.h"
#include "server_links.h"

#define REPAIR_NS 60000000000ULL   /* in this time at most … */
#define REPAIRS   3                /* … so many; else it is left … */
#define LEFT_NS   (10 * REPAIR_NS) /* … for so long */

/* Whether sluice may set something right now, which counts. */
static bool may_repair(struct repairs *r, uint64_t now_ns)
{
	if (r->left && now_ns - r->at_ns[REPAIRS - 1] >= LEFT_NS)
		*r = (struct repairs){0};
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
		"; tried 3 times in a minute, and left for 10 minutes, or until `sluicectl reload`";
	size_t n = strlen(note);

	if (n && !strstr(note, left))
		snprintf(note + n, DATAPATH_NOTE_MAX - n, "%s", left);
}

static void repair(struct datapath *d, struct attachment *a)
{
	const struct datapath_interface before = a->is;
	bool restored = false;

	if (netns_enter(d, a->netns))
		return; /* it has ended */
	attach_restore(d, a);
	netns_leave(d, a->netns);
	for (int hook = 0; hook < HOOK_COUNT; hook++) {
		if (!before.note[hook][0] || a->is.note[hook][0])
			continue;
		restored = true;
		datapath_notify(&d->handlers, NOTICE_RESTORED, a->is.name, "%s: set right",
				before.note[hook]);
	}
	a->is.restored += restored;
}

struct looking {
	const struct datapath *d;
	struct found *found; /* by place in d->attached, … */
	bool *here;          /* … if the interface is there */
};

/* In a thread. d->attached changes in the lane of changes alone, which waits for it. */
static int find_all(void *arg)
{
	const struct looking *l = arg;

	for (size_t i = 0; i < l->d->attached_count; i++) {
		const struct attachment *a = &l->d->attached[i];
		char name[IF_NAMESIZE];

		/* attachments_refresh() sees to what is gone */
		l->here[i] = false;
		if (netns_enter(l->d, a->netns))
			continue;
		l->here[i] = a->is.ifindex && !a->unread && if_indextoname(a->is.ifindex, name);
		if (l->here[i])
			attach_find(l->d, a, &l->found[i]);
		netns_leave(l->d, a->netns);
	}
	return 0;
}

static void check_interface(struct datapath *d, struct attachment *a, const struct found *found,
			    uint64_t now_ns)
{
	const struct datapath_interface before = a->is;
	bool left = a->repairs.left;

	datapath_step(d, 16);
	if (attach_judge(d, a, found)) {
		a->repairs.left = false;
	} else if (may_repair(&a->repairs, now_ns)) {
		repair(d, a);
	} else {
		for (int hook = 0; hook < HOOK_COUNT; hook++)
			leave(a->is.note[hook]);
		if (!left)
			attachment_say(d, a, &(struct datapath_interface){0});
		return;
	}
	attachment_say(d, a, &before);
}

/* Whether all pins are there; with `again`, makes those that are not. */
static int check_pins(struct datapath *d, bool again)
{
	bool all = true;
	int err;

	if (again) {
		err = pins_again(d->pin_dir, d->skel->obj, &d->dir_fd);
		if (err)
			return err;
		pins_make_links(d->pin_dir);
		kept_pin_probe(d);
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

	if (pins_none(d->pin_dir))
		return;
	if (!check_pins(d, false)) {
		d->pins_note[0] = 0;
		d->repairs.left = false;
		return;
	}
	if (may_repair(&d->repairs, now_ns) && !check_pins(d, true)) {
		d->pins_note[0] = 0;
		datapath_notify(&d->handlers, NOTICE_PINS_RESTORED, d->pin_dir,
				"pins in %s had been removed: pinned again", d->pin_dir);
		return;
	}
	if (!said)
		snprintf(d->pins_note, sizeof(d->pins_note),
			 "pins in %.80s are missing (%.40s): when the daemon ends, sluice is gone",
			 d->pin_dir, datapath_error());
	if (d->repairs.left)
		leave(d->pins_note);
	if (!said || left != d->repairs.left)
		datapath_notify(&d->handlers, NOTICE_PINS_MISSING, d->pin_dir, "%s", d->pins_note);
}

static void check_interfaces(struct datapath *d, uint64_t now_ns)
{
	size_t count = d->attached_count;
	_cleanup_free_ struct found *found = calloc(count + 1, sizeof(*found));
	_cleanup_free_ bool *here = calloc(count + 1, sizeof(*here));
	struct looking looking = {d, found, here};

	if (!found || !here)
		return; /* next time */
	datapath_away(d, find_all, &looking);
	for (size_t i = 0; i < count; i++)
		if (here[i])
			check_interface(d, &d->attached[i], &found[i], now_ns);
}

void datapath_check(struct datapath *d, uint64_t now_ns)
{
	claims_answer(d);
	check_all_pins(d, now_ns);
	check_interfaces(d, now_ns);
	attachments_tidy(d);
	/* Nobody reports that a server's address has come in another namespace. */
	if (attachments_follow_netns(d))
		datapath_refresh(d);
	else if (server_links_refresh(d) > 0)
		attachments_refresh(d);
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
