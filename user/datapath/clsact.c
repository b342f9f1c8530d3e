/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tc filters on a clsact qdisc, for kernels that have no tcx links (before 6.6). Such filters outlive their maker
 * by themselves, so they are found again by a fixed handle and priority and the name of their program, and replaced
 * in place. The qdisc is removed only if we made it (a mark beside the links says so) and nothing else uses it.
 */
#include <errno.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "internal.h"

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

/* The program of the filter at our place: its id, 0 if there is none. *ours: it bears one of our names. */
static uint32_t filter_program(int ifindex, enum hook hook, bool *ours)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, where, .ifindex = ifindex, .attach_point = point_of(hook));
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = FILTER_HANDLE,
			    .priority = FILTER_PRIORITY);
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);
	_cleanup_fd_ int fd = -1;

	*ours = false;
	if (bpf_tc_query(&where, &opts) || !opts.prog_id)
		return 0;
	fd = bpf_prog_get_fd_by_id(opts.prog_id);
	if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len))
		for (size_t i = 0; i < sizeof(our_names) / sizeof(our_names[0]); i++)
			if (!strcmp(info.name, our_names[i]))
				*ours = true;
	return opts.prog_id;
}

int clsact_attach(struct datapath *d, int ifindex, const char *interface, enum hook hook,
		  int prog_fd)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, where, .ifindex = ifindex, .attach_point = point_of(hook));
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = FILTER_HANDLE, .priority = FILTER_PRIORITY,
			    .prog_fd = prog_fd, .flags = BPF_TC_F_REPLACE);
	char mark[PATH_MAX + 64];
	uint32_t there;
	bool ours, marked;
	int err;

	there = filter_program(ifindex, hook, &ours);
	if (there && !ours)
		return datapath_fail(-EBUSY,
				     "tc filter 0x%x at priority %d of %s is taken by program %u",
				     FILTER_HANDLE, FILTER_PRIORITY, interface, there);
	/* The mark first: if we die in between, a mark without a qdisc harms nothing. */
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

/* Whether the ingress or egress side of an interface's clsact has any filter; true where that cannot be told. */
static bool any_filter(int ifindex, uint32_t side)
{
	struct {
		struct nlmsghdr header;
		struct tcmsg tc;
	} request = {
		.header = {.nlmsg_len = sizeof(request),
			   .nlmsg_type = RTM_GETTFILTER,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
			   .nlmsg_seq = 1},
		.tc = {.tcm_family = AF_UNSPEC,
		       .tcm_ifindex = ifindex,
		       .tcm_parent = TC_H_MAKE(TC_H_CLSACT, side)},
	};
	_cleanup_fd_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	char buffer[32768];

	if (fd < 0 || send(fd, &request, sizeof(request), 0) < 0)
		return true;
	for (;;) {
		int len = recv(fd, buffer, sizeof(buffer), 0);
		struct nlmsghdr *message = (struct nlmsghdr *)buffer;

		if (len <= 0)
			return true;
		for (; NLMSG_OK(message, (unsigned)len); message = NLMSG_NEXT(message, len)) {
			if (message->nlmsg_type == NLMSG_DONE)
				return false;
			if (message->nlmsg_type == NLMSG_ERROR ||
			    message->nlmsg_type == RTM_NEWTFILTER)
				return true;
		}
	}
}

bool clsact_has(int ifindex)
{
	bool requests, responses;

	filter_program(ifindex, HOOK_REQUESTS, &requests);
	filter_program(ifindex, HOOK_RESPONSES, &responses);
	return requests || responses;
}

int clsact_detach(const char *pin_dir, int ifindex)
{
	static const enum hook hooks[] = {HOOK_REQUESTS, HOOK_RESPONSES};
	char mark[PATH_MAX + 64];
	struct stat st;
	int result = 0;

	for (int i = 0; i < 2; i++) {
		DECLARE_LIBBPF_OPTS(bpf_tc_hook, where, .ifindex = ifindex,
				    .attach_point = point_of(hooks[i]));
		DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = FILTER_HANDLE,
				    .priority = FILTER_PRIORITY);
		bool ours;
		int err;

		if (!filter_program(ifindex, hooks[i], &ours) || !ours)
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
	if (!any_filter(ifindex, TC_H_MIN_INGRESS) && !any_filter(ifindex, TC_H_MIN_EGRESS)) {
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
