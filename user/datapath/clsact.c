/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tc filters on a clsact qdisc, for kernels without tcx links (before 6.6). Such filters outlive
 * the daemon without a pin. A later daemon finds them by a fixed handle, a fixed priority and the
 * name of their program, and replaces them in place. It removes the qdisc only if sluice made it (a
 * mark next to the links records that) and nothing else uses it.
 */
#include <errno.h>
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

/* Fixed: `tc filter show dev IF ingress` prints them as "pref 1308 … handle 0x51ce". */
#define FILTER_HANDLE   0x51ce
#define FILTER_PRIORITY 1308

static const char *const our_names[] = {"requests", "responses", "requests_l3", "responses_l3"};

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
	bool any;         /* any filter, ours or not */
	bool ours;        /* the filter at our handle has a program of our name */
	uint32_t prog_id; /* of the filter at our handle; 0: there is none */
};

static const struct rtattr *attribute(const void *first, int len, unsigned short type)
{
	for (const struct rtattr *a = first; RTA_OK(a, len); a = RTA_NEXT(a, len))
		if (a->rta_type == type)
			return a;
	return NULL;
}

static void note_filter(const struct nlmsghdr *message, struct side *out)
{
	const struct tcmsg *tc = NLMSG_DATA(message);
	const struct rtattr *options, *id, *name;

	out->any = true;
	if (tc->tcm_handle != FILTER_HANDLE || tc->tcm_info >> 16 != FILTER_PRIORITY)
		return;
	options = attribute(TCA_RTA(tc), NLMSG_PAYLOAD(message, sizeof(*tc)), TCA_OPTIONS);
	if (!options)
		return;
	id = attribute(RTA_DATA(options), RTA_PAYLOAD(options), TCA_BPF_ID);
	name = attribute(RTA_DATA(options), RTA_PAYLOAD(options), TCA_BPF_NAME);
	if (id)
		memcpy(&out->prog_id, RTA_DATA(id), sizeof(out->prog_id));
	for (size_t i = 0; name && i < sizeof(our_names) / sizeof(our_names[0]); i++) {
		size_t len = strlen(our_names[i]);

		/* libbpf names a filter "program:[id]". */
		if (RTA_PAYLOAD(name) > len && !memcmp(RTA_DATA(name), our_names[i], len) &&
		    ((const char *)RTA_DATA(name))[len] == ':')
			out->ours = true;
	}
}

/*
 * Uses a netlink dump: a look-up of a program by its id needs CAP_SYS_ADMIN, which sluiced may
 * lack. No qdisc means no filter; -errno if the dump fails.
 */
static int look(int ifindex, enum hook hook, struct side *out)
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
	_cleanup_fd_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	char buffer[32768] __attribute__((aligned(NLMSG_ALIGNTO)));

	*out = (struct side){0};
	if (fd < 0 || send(fd, &request, sizeof(request), 0) < 0)
		return -errno;
	for (;;) {
		int len = recv(fd, buffer, sizeof(buffer), 0);

		if (len <= 0)
			return len ? -errno : -EIO;
		for (const struct nlmsghdr *m = (void *)buffer; NLMSG_OK(m, (unsigned)len);
		     m = NLMSG_NEXT(m, len)) {
			if (m->nlmsg_type == NLMSG_DONE)
				return 0;
			if (m->nlmsg_type == NLMSG_ERROR)
				return ((const struct nlmsgerr *)NLMSG_DATA(m))->error;
			if (m->nlmsg_type == RTM_NEWTFILTER)
				note_filter(m, out);
		}
	}
}

int clsact_attach(struct datapath *d, int ifindex, const char *interface, enum hook hook,
		  int prog_fd)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, where, .ifindex = ifindex, .attach_point = point_of(hook));
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = FILTER_HANDLE, .priority = FILTER_PRIORITY,
			    .prog_fd = prog_fd, .flags = BPF_TC_F_REPLACE);
	char mark[PATH_MAX + 64];
	struct side side;
	bool marked;
	int err;

	if (!look(ifindex, hook, &side) && side.prog_id && !side.ours)
		return datapath_fail(-EBUSY,
				     "tc filter 0x%x at priority %d of %s is taken by program %u",
				     FILTER_HANDLE, FILTER_PRIORITY, interface, side.prog_id);
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
	err = bpf_tc_attach(&where, &opts);
	if (err)
		return datapath_fail(err, "the tc %s filter cannot be attached to %s: %s",
				     hook == HOOK_REQUESTS ? "ingress" : "egress", interface,
				     strerror(-err));
	return 0;
}

bool clsact_has(int ifindex)
{
	struct side in, out;

	return (!look(ifindex, HOOK_REQUESTS, &in) && in.ours) ||
	       (!look(ifindex, HOOK_RESPONSES, &out) && out.ours);
}

int clsact_detach(const char *pin_dir, int ifindex)
{
	static const enum hook hooks[] = {HOOK_REQUESTS, HOOK_RESPONSES};
	char mark[PATH_MAX + 64];
	struct side in, out;
	struct stat st;
	int result = 0;

	for (int i = 0; i < 2; i++) {
		DECLARE_LIBBPF_OPTS(bpf_tc_hook, where, .ifindex = ifindex,
				    .attach_point = point_of(hooks[i]));
		DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = FILTER_HANDLE,
				    .priority = FILTER_PRIORITY);
		struct side side;
		int err;

		if (look(ifindex, hooks[i], &side) || !side.ours)
			continue;
		err = bpf_tc_detach(&where, &opts);
		if (err && err != -ENOENT)
			result = datapath_fail(
				err, "the tc filter of interface %d cannot be removed: %s", ifindex,
				strerror(-err));
	}
	mark_path(mark, sizeof(mark), pin_dir, ifindex);
	if (stat(mark, &st))
		return result;
	if (!look(ifindex, HOOK_REQUESTS, &in) && !in.any && !look(ifindex, HOOK_RESPONSES, &out) &&
	    !out.any) {
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
