/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tc filters on a clsact qdisc, for kernels without tcx links (before 6.6). Such filters outlive
 * the daemon without a pin. A later daemon finds them by the name of their program and a handle
 * that tells the pin directories apart, and replaces them in place. It removes the qdisc only if
 * sluice made it (a mark next to the links records that) and nothing else uses it.
 *
 * The kernel runs filters by priority until one accepts or drops the packet. Each priority belongs
 * to one kind and one protocol; of several bpf filters at a priority, the newest runs first. So
 * sluice goes to priority 1 even if another bpf filter is there, and comes first.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "hooks.h"
#include "netlink.h"

#define SLUICE_HANDLE 0x51ce0000U /* the upper half of our handles */
#define OLDER_HANDLE  0x51ceU     /* of builds that had one for all instances */

static const char *const our_names[] = {"requests", "responses", "requests_l3", "responses_l3"};

/* The lower half is a hash (FNV-1a) of the pin directory. */
uint32_t clsact_handle(const char *pin_dir)
{
	uint32_t hash = 2166136261U;

	for (const char *at = pin_dir; *at; at++)
		hash = (hash ^ (uint8_t)*at) * 16777619U;
	return SLUICE_HANDLE | ((hash >> 16) ^ (hash & 0xffff));
}

static enum bpf_tc_attach_point point_of(enum hook hook)
{
	return hook == HOOK_REQUESTS ? BPF_TC_INGRESS : BPF_TC_EGRESS;
}

static void mark_path(char *path, size_t size, const char *pin_dir, int ifindex)
{
	struct stat st = {0};

	stat("/proc/self/ns/net", &st);
	snprintf(path, size, "%s/links/%lu_%d_qdisc", pin_dir, (unsigned long)st.st_ino, ifindex);
}

/* What one side of an interface's clsact holds. */
struct side {
	uint32_t handle; /* of our filter */
	bool any;        /* any filter, ours or not */
	uint16_t ours;   /* the priority of our filter; 0: there is none */
	uint16_t older;  /* … of a filter that an older build has left; 0: there is none */
	uint16_t best;   /* the lowest priority at which ours could be */
	/* Filters that run before ours: */
	uint16_t first, last; /* priorities; 0: there is none */
	char first_kind[16];
};

/* Whether ours would pass at least one filter if it was added again. */
static bool could_rise(const struct side *side)
{
	return side->ours && side->last >= side->best;
}

/* libbpf names a filter "program:[id]". */
static bool is_our_name(const struct rtattr *name)
{
	for (size_t i = 0; name && i < sizeof(our_names) / sizeof(our_names[0]); i++) {
		size_t len = strlen(our_names[i]);

		if (RTA_PAYLOAD(name) > len && !memcmp(RTA_DATA(name), our_names[i], len) &&
		    ((const char *)RTA_DATA(name))[len] == ':')
			return true;
	}
	return false;
}

static bool is_of_sluice(const struct tcmsg *tc, const struct rtattr *options)
{
	return ((tc->tcm_handle & 0xffff0000U) == SLUICE_HANDLE ||
		tc->tcm_handle == OLDER_HANDLE) &&
	       options &&
	       is_our_name(
		       netlink_attribute(RTA_DATA(options), RTA_PAYLOAD(options), TCA_BPF_NAME));
}

/* Messages come in the order in which the filters run. The first one of a priority has no handle,
 * and describes the priority. */
static int note_filter(void *arg, const struct nlmsghdr *message)
{
	const struct tcmsg *tc = NLMSG_DATA(message);
	int len = (int)NLMSG_PAYLOAD(message, sizeof(*tc));
	uint16_t priority = tc->tcm_info >> 16;
	const struct rtattr *kind, *chain;
	struct side *side = arg;
	bool bpf, sluice;

	if (message->nlmsg_type != RTM_NEWTFILTER)
		return 0;
	side->any = true;
	chain = netlink_attribute(TCA_RTA(tc), len, TCA_CHAIN);
	if (chain && *(const uint32_t *)RTA_DATA(chain)) /* runs only where a filter goes to it */
		return 0;
	kind = netlink_attribute(TCA_RTA(tc), len, TCA_KIND);
	bpf = kind && !strcmp(RTA_DATA(kind), "bpf");
	sluice = bpf && is_of_sluice(tc, netlink_attribute(TCA_RTA(tc), len, TCA_OPTIONS));
	if (sluice && tc->tcm_handle == side->handle) {
		side->ours = priority;
		return 0;
	}
	if (sluice && tc->tcm_handle == OLDER_HANDLE) {
		side->older = priority;
		return 0;
	}
	bpf = bpf && (tc->tcm_info & 0xffff) == htons(ETH_P_ALL);
	if ((!bpf || tc->tcm_handle == side->handle) && side->best == priority)
		side->best++;
	if (!tc->tcm_handle || !kind || side->ours || sluice)
		return 0; /* another sluice lets ours see everything */
	if (!side->first) {
		side->first = priority;
		snprintf(side->first_kind, sizeof(side->first_kind), "%s",
			 (const char *)RTA_DATA(kind));
	}
	side->last = priority;
	return 0;
}

/*
 * Uses a netlink dump: a look-up of a program by its id needs CAP_SYS_ADMIN, which sluiced may
 * lack. No qdisc means no filter; -errno if the dump fails.
 */
static int look(const char *pin_dir, int ifindex, enum hook hook, struct side *out)
{
	struct {
		struct nlmsghdr header;
		struct tcmsg tc;
	} request = {
		.header = {.nlmsg_len = sizeof(request),
			   .nlmsg_type = RTM_GETTFILTER,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.tc = {.tcm_family = AF_UNSPEC,
		       .tcm_ifindex = ifindex,
		       .tcm_parent =
			       TC_H_MAKE(TC_H_CLSACT, hook == HOOK_REQUESTS ? TC_H_MIN_INGRESS
									    : TC_H_MIN_EGRESS)},
	};

	*out = (struct side){.handle = clsact_handle(pin_dir), .best = 1};
	return netlink_dump(NULL, NETLINK_ROUTE, &request.header, note_filter, out);
}

static int remove_filter(int ifindex, enum hook hook, uint32_t handle, uint16_t priority)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, where, .ifindex = ifindex, .attach_point = point_of(hook));
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = handle, .priority = priority);
	int err = priority ? bpf_tc_detach(&where, &opts) : 0;

	return err == -ENOENT ? 0 : err;
}

int clsact_attach(struct datapath *d, int ifindex, const char *interface, enum hook hook,
		  int prog_fd)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, where, .ifindex = ifindex, .attach_point = point_of(hook));
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = prog_fd, .flags = BPF_TC_F_REPLACE);
	char mark[PATH_MAX + 64];
	struct side side;
	bool marked;
	int err;

	/* The mark comes first: if the daemon dies in between, a mark without a qdisc is
	 * harmless. */
	mark_path(mark, sizeof(mark), d->pin_dir, ifindex);
	marked = !mkdir(mark, 0700);
	err = bpf_tc_hook_create(&where);
	if (err == -EEXIST && marked)
		rmdir(mark);
	if (err && err != -EEXIST) {
		if (marked)
			rmdir(mark);
		return datapath_fail(err, "the clsact qdisc cannot be added to %s: %s", interface,
				     strerror(-err));
	}
	err = look(d->pin_dir, ifindex, hook, &side);
	if (!err) {
		opts.handle = side.handle;
		opts.priority = side.ours ? side.ours : side.best;
		/* Both at once would translate kept connections twice, so ours goes before it
		 * comes again, and so does one of an older build. */
		remove_filter(ifindex, hook, OLDER_HANDLE, side.older);
		if (could_rise(&side)) {
			remove_filter(ifindex, hook, side.handle, side.ours);
			opts.priority = side.best;
		}
		err = bpf_tc_attach(&where, &opts);
	}
	if (err)
		return datapath_fail(err, "the tc %s filter cannot be attached to %s: %s",
				     hook == HOOK_REQUESTS ? "ingress" : "egress", interface,
				     strerror(-err));
	return 0;
}

int clsact_place(const char *pin_dir, int ifindex, enum hook hook, char *ahead, size_t size)
{
	struct side side;
	int err = look(pin_dir, ifindex, hook, &side);

	if (err || !side.ours)
		return err ? err : -ENOENT;
	if (!side.first)
		return PLACE_FIRST;
	snprintf(ahead, size, "a %s filter at priority %u", side.first_kind, side.first);
	return could_rise(&side) ? PLACE_AFTER : PLACE_FIXED;
}

bool clsact_marked(const char *pin_dir, int ifindex)
{
	char mark[PATH_MAX + 64];

	mark_path(mark, sizeof(mark), pin_dir, ifindex);
	return !access(mark, F_OK);
}

void clsact_mark(const char *pin_dir, int ifindex)
{
	char mark[PATH_MAX + 64];

	mark_path(mark, sizeof(mark), pin_dir, ifindex);
	mkdir(mark, 0700);
}

bool clsact_has(const char *pin_dir, int ifindex)
{
	struct side in, out;

	return (!look(pin_dir, ifindex, HOOK_REQUESTS, &in) && (in.ours || in.older)) ||
	       (!look(pin_dir, ifindex, HOOK_RESPONSES, &out) && (out.ours || out.older));
}

int clsact_detach(const char *pin_dir, int ifindex)
{
	static const enum hook hooks[] = {HOOK_REQUESTS, HOOK_RESPONSES};
	char mark[PATH_MAX + 64];
	struct side in, out;
	struct stat st;
	int result = 0;

	for (int i = 0; i < 2; i++) {
		struct side side;
		int err;

		if (look(pin_dir, ifindex, hooks[i], &side))
			continue;
		remove_filter(ifindex, hooks[i], OLDER_HANDLE, side.older);
		err = remove_filter(ifindex, hooks[i], side.handle, side.ours);
		if (err)
			result = datapath_fail(
				err, "the tc filter of interface %d cannot be removed: %s", ifindex,
				strerror(-err));
	}
	mark_path(mark, sizeof(mark), pin_dir, ifindex);
	if (stat(mark, &st))
		return result;
	if (!look(pin_dir, ifindex, HOOK_REQUESTS, &in) && !in.any &&
	    !look(pin_dir, ifindex, HOOK_RESPONSES, &out) && !out.any) {
		DECLARE_LIBBPF_OPTS(bpf_tc_hook, both, .ifindex = ifindex,
				    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);

		bpf_tc_hook_destroy(&both);
	}
	rmdir(mark);
	return result;
}

void clsact_sweep(const char *pin_dir, bool (*keep)(int ifindex, void *arg), void *arg)
{
	struct if_nameindex *all = if_nameindex();

	for (struct if_nameindex *i = all; i && i->if_index; i++)
		if (!keep || !keep(i->if_index, arg))
			clsact_detach(pin_dir, i->if_index);
	if (all)
		if_freenameindex(all);
}
