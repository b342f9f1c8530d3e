/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Attaches the programs to one interface: XDP and tcx as links (links.c), or clsact filters if the
 * kernel has no tcx (clsact.c). The tc programs come before those of others: a program that accepts
 * a packet ends the chain, and what comes after it is blind. attachments.c has all interfaces.
 */
#include <errno.h>
#include <linux/ethtool.h>
#include <net/if.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "hooks.h"
#include "kept.h"
#include "pins.h"
#include "programs.h"

bool datapath_without_tcx;

/* Loads the programs of that kind, too. Uses ioctl: /sys may show another network namespace. */
static int interface_kind(struct datapath *d, struct attachment *out)
{
	_cleanup_fd_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_drvinfo driver = {.cmd = ETHTOOL_GDRVINFO};
	const char *interface = out->is.name;
	struct ifreq request = {0};

	/* Under its present name, if somebody has renamed it. */
	if (!if_indextoname(out->is.ifindex, request.ifr_name))
		return datapath_fail(-errno, "interface %s does not exist", interface);
	if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &request))
		return datapath_fail(-errno, "interface %s: %s", interface, strerror(errno));
	out->ethernet = out->loopback = out->veth = false;
	switch (request.ifr_hwaddr.sa_family) {
	case ARPHRD_LOOPBACK: /* has an Ethernet header of zeros */
		out->loopback = true;
		out->ethernet = true;
		break;
	case ARPHRD_ETHER:
		out->ethernet = true;
		break;
	case ARPHRD_NONE:
	case ARPHRD_PPP:
	case ARPHRD_RAWIP:
	case ARPHRD_TUNNEL:
	case ARPHRD_TUNNEL6:
	case ARPHRD_SIT:
	case ARPHRD_IPGRE:
	case ARPHRD_IP6GRE:
		break;
	default:
		return datapath_fail(
			-EOPNOTSUPP,
			"interface %s is of a link type (%u) that sluice does not read", interface,
			request.ifr_hwaddr.sa_family);
	}
	request.ifr_data = (void *)&driver;
	if (!ioctl(fd, SIOCETHTOOL, &request))
		out->veth = !strcmp(driver.driver, "veth");
	return out->ethernet || out->netns ? 0 : programs_without_header(d);
}

/* HOOK_REQUESTS is tc ingress, and HOOK_RESPONSES egress. Where the interface leads to the server,
 * responses come in, and requests leave. -1: the program could not be loaded. */
static int tc_program(const struct datapath *d, const struct attachment *a, enum hook hook)
{
	const struct sluice_bpf *skel = a->netns      ? d->elsewhere
					: a->ethernet ? d->skel
						      : d->headerless;

	if (!skel)
		return -1;
	if ((hook == HOOK_REQUESTS) != a->is.leads)
		return bpf_program__fd(a->ethernet ? skel->progs.requests
						   : skel->progs.requests_l3);
	return bpf_program__fd(a->ethernet ? skel->progs.responses : skel->progs.responses_l3);
}

static const char *direction(enum hook hook)
{
	return hook == HOOK_REQUESTS ? "ingress" : "egress";
}

static void find_tc(const struct datapath *d, const struct attachment *a, enum hook hook,
		    struct found_tc *out)
{
	size_t size = sizeof(out->ahead);

	out->place = a->is.tcx ? tcx_place(d, a->is.ifindex, hook, tc_program(d, a, hook),
					   out->ahead, size)
			       : clsact_place(d->pin_dir, a->is.ifindex, hook, out->ahead, size);
}

/* Attaches one side of tc, before all others. *made: it was not attached before. */
static int attach_tc(struct datapath *d, struct attachment *a, enum hook hook, bool *made)
{
	int prog_fd = tc_program(d, a, hook);
	int err = link_adopt(d, a, hook, prog_fd);
	struct found_tc found = {.place = PLACE_FIRST};

	a->is.tcx = true;
	*made = false;
	if (!err)
		find_tc(d, a, hook, &found);
	/* A program can be at a hook only once, and two of ours would translate kept connections
	 * twice: so it goes before it comes again. */
	if (found.place == PLACE_AFTER) {
		link_drop(d, a, hook);
		err = link_make(d, a, hook, prog_fd, 0);
	}
	if (err == -ENOENT) {
		*made = true;
		err = datapath_without_tcx ? -EINVAL : link_make(d, a, hook, prog_fd, 0);
		if (err == -EINVAL && a->netns)
			return datapath_fail(
				-EOPNOTSUPP,
				"%s is in another network namespace, where sluice attaches on Linux 6.6 or newer",
				a->is.name);
		if (err == -EINVAL) {
			a->is.tcx = false;
			*made = !clsact_has(d->pin_dir, a->is.ifindex);
			return clsact_attach(d, a->is.ifindex, a->is.name, hook, prog_fd);
		}
	}
	if (err)
		return datapath_fail(err, "the tc %s program cannot be attached to %s: %s",
				     direction(hook), a->is.name, strerror(-err));
	return 0;
}

/* Sets the note about a hook. */
static void __attribute__((format(printf, 3, 4)))
remark(struct attachment *a, enum hook hook, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(a->is.note[hook], sizeof(a->is.note[hook]), format, args);
	va_end(args);
}

static uint32_t program_id(int fd)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.id;
}

static int gate_program(const struct datapath *d, enum datapath_xdp mode)
{
	return bpf_program__fd(mode == DATAPATH_XDP_NATIVE ? d->skel->progs.gate
							   : d->skel->progs.gate_generic);
}

static int make_xdp(struct datapath *d, struct attachment *a, enum datapath_xdp mode)
{
	return link_make(d, a, HOOK_GATE, gate_program(d, mode),
			 mode == DATAPATH_XDP_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);
}

/*
 * From Linux 6.9 on, generic XDP copies a packet without its link header's length. tc, which runs
 * after it, then sees a packet without link header and cannot answer it (seen on 6.18).
 */
static bool generic_breaks_tc(void)
{
	struct utsname u;
	unsigned major = 0, minor = 0;

	return !uname(&u) && sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 9));
}

static void find_xdp(int ifindex, struct found_xdp *out)
{
	DECLARE_LIBBPF_OPTS(bpf_xdp_query_opts, query);

	*out = (struct found_xdp){.mode = DATAPATH_XDP_OFF};
	out->err = bpf_xdp_query(ifindex, 0, &query);
	if (out->err || query.attach_mode == XDP_ATTACHED_NONE)
		return;
	out->mode =
		query.attach_mode == XDP_ATTACHED_DRV ? DATAPATH_XDP_NATIVE : DATAPATH_XDP_GENERIC;
	out->holder = query.attach_mode == XDP_ATTACHED_DRV || query.attach_mode == XDP_ATTACHED_SKB
			      ? query.prog_id
		      : query.drv_prog_id ? query.drv_prog_id
		      : query.hw_prog_id  ? query.hw_prog_id
					  : query.skb_prog_id;
}

void attach_find(const struct datapath *d, const struct attachment *a, struct found *out)
{
	find_tc(d, a, HOOK_RESPONSES, &out->tc[HOOK_RESPONSES]);
	find_tc(d, a, HOOK_REQUESTS, &out->tc[HOOK_REQUESTS]);
	out->xdp = (struct found_xdp){0};
	if (a->is.xdp != DATAPATH_XDP_OFF || a->xdp_taken)
		find_xdp(a->is.ifindex, &out->xdp);
}

/* Another program has the hook: AUTO leaves it there. */
static int xdp_taken(struct attachment *a, uint32_t by)
{
	a->xdp_taken = a->wanted == DATAPATH_XDP_AUTO;
	if (!a->xdp_taken)
		return datapath_fail(-EBUSY,
				     "XDP hook of %s is taken by program %u; use --xdp auto",
				     a->is.name, by);
	remark(a, HOOK_GATE, "%s: the XDP hook is taken by program %u: tc refuses the SYNs",
	       a->is.name, by);
	return 0;
}

/* Replaces the program of a mode that stays, or makes the link of another mode. */
static int put_xdp(struct datapath *d, struct attachment *a, enum datapath_xdp mode,
		   enum datapath_xdp now, bool *made)
{
	struct found_xdp found;
	int err;

	if (now == mode) {
		err = link_adopt(d, a, HOOK_GATE, gate_program(d, now));
		if (err)
			return datapath_fail(err, "the XDP program of %s cannot be replaced: %s",
					     a->is.name, strerror(-err));
		a->is.xdp = now;
		return 0;
	}
	/* Both modes cannot be on at once. tc does the same work in the meantime. */
	link_drop(d, a, HOOK_GATE);
	a->is.xdp = DATAPATH_XDP_OFF;
	err = make_xdp(d, a, mode);
	*made = !err && now == DATAPATH_XDP_OFF;
	if (!err) {
		a->is.xdp = mode;
		return 0;
	}
	if (err == -EBUSY || err == -EEXIST) {
		find_xdp(a->is.ifindex, &found);
		return xdp_taken(a, found.holder);
	}
	if (a->wanted == DATAPATH_XDP_AUTO) {
		remark(a, HOOK_GATE, "%s has no native XDP (%s): tc refuses the SYNs", a->is.name,
		       strerror(-err));
		return 0;
	}
	if (now != DATAPATH_XDP_OFF && !make_xdp(d, a, now))
		a->is.xdp = now; /* the mode from before this call */
	return datapath_fail(err, "%s has no %s XDP (%s); use --xdp %s", a->is.name,
			     mode == DATAPATH_XDP_NATIVE ? "native" : "generic", strerror(-err),
			     mode == DATAPATH_XDP_NATIVE ? "auto" : "off");
}

/*
 * Attaches XDP as wanted. AUTO is native, else off: generic XDP copies every packet, and tc does
 * the same work with the same code. AUTO is off on veth too, where a native program's answer waits
 * for other traffic unless the peer has a program. *made: it was not attached before.
 */
static int attach_xdp(struct datapath *d, struct attachment *a, bool *made)
{
	bool automatic = a->wanted == DATAPATH_XDP_AUTO;
	enum datapath_xdp wanted = automatic ? DATAPATH_XDP_NATIVE : a->wanted;
	struct found_xdp found = {0};
	uint32_t ours = 0;
	int err;

	*made = false;
	err = link_open(d, a, HOOK_GATE, &ours);
	if (a->wanted == DATAPATH_XDP_OFF || a->is.leads ||
	    (automatic && (a->loopback || a->veth || !a->ethernet))) {
		if (!err)
			link_drop(d, a, HOOK_GATE);
		wanted = DATAPATH_XDP_OFF;
	} else if (!a->ethernet) {
		return datapath_fail(-EOPNOTSUPP,
				     "XDP needs Ethernet headers, which %s has not; use --xdp off",
				     a->is.name);
	}
	if (wanted != DATAPATH_XDP_OFF)
		find_xdp(a->is.ifindex, &found);
	if (!found.holder || found.holder != ours)
		a->is.xdp = DATAPATH_XDP_OFF;
	a->is.note[HOOK_GATE][0] = 0;
	a->xdp_taken = false;
	if (wanted == DATAPATH_XDP_OFF)
		return 0;
	if (found.err)
		return datapath_fail(found.err, "the XDP hook of %s cannot be read: %s", a->is.name,
				     strerror(-found.err));
	if (found.holder && found.holder != ours)
		return xdp_taken(a, found.holder);
	if (wanted == DATAPATH_XDP_GENERIC && generic_breaks_tc())
		return datapath_fail(
			-EOPNOTSUPP,
			"generic XDP on %s: kernels from 6.9 on then hide the link header from tc; use --xdp off, tc refuses the same SYNs",
			a->is.name);
	return put_xdp(d, a, wanted, found.mode, made);
}

static bool judge_xdp(const struct datapath *d, struct attachment *a, const struct found_xdp *found)
{
	if (found->err)
		return true; /* next time */
	a->is.attached[HOOK_GATE] = false;
	if (a->is.xdp == DATAPATH_XDP_OFF && !a->xdp_taken)
		return true;
	if (a->xdp_taken)
		return found->holder;
	a->is.attached[HOOK_GATE] = found->holder == program_id(gate_program(d, a->is.xdp));
	if (a->is.attached[HOOK_GATE])
		return true;
	remark(a, HOOK_GATE, "%s: the XDP program is not attached: tc refuses the SYNs",
	       a->is.name);
	return false;
}

/* A note that says why the hook has no program stays. */
static bool judge_tc(struct attachment *a, enum hook hook, const struct found_tc *found)
{
	bool was = a->is.attached[hook];

	a->is.attached[hook] = found->place >= 0;
	if (found->place > PLACE_FIRST)
		remark(a, hook,
		       "%s: %s comes before sluice's tc %s program: what it accepts passes unseen",
		       a->is.name, found->ahead, direction(hook));
	else if (found->place == PLACE_FIRST)
		a->is.note[hook][0] = 0;
	else if (was || !a->is.note[hook][0])
		remark(a, hook, "%s: the tc %s program is not attached: traffic passes unseen",
		       a->is.name, direction(hook));
	return found->place == PLACE_FIRST || found->place == PLACE_FIXED;
}

/* True if nothing about the hook can be made better. */
static bool judge_hook(const struct datapath *d, struct attachment *a, enum hook hook,
		       const struct found *found)
{
	return hook == HOOK_GATE ? judge_xdp(d, a, &found->xdp)
				 : judge_tc(a, hook, &found->tc[hook]);
}

int attach_all(struct datapath *d, struct attachment *a)
{
	bool made[HOOK_COUNT] = {0};
	int err = interface_kind(d, a);
	struct found found;

	if (err)
		return err;
	/* XDP first, since another program may hold it; egress before ingress, which depends on
	 * what egress has seen. */
	err = attach_xdp(d, a, &made[HOOK_GATE]);
	if (!err)
		err = attach_tc(d, a, HOOK_RESPONSES, &made[HOOK_RESPONSES]);
	if (!err)
		err = attach_tc(d, a, HOOK_REQUESTS, &made[HOOK_REQUESTS]);
	if (err) {
		char said[ERROR_MAX];

		snprintf(said, sizeof(said), "%s", datapath_error());
		for (int hook = 0; hook < HOOK_COUNT; hook++)
			if (made[hook])
				link_drop(d, a, hook);
		if (made[HOOK_RESPONSES] && !a->is.tcx)
			clsact_detach(d->pin_dir, a->is.ifindex);
		return datapath_fail(err, "%s", said);
	}
	if (a->is.tcx && clsact_has(d->pin_dir, a->is.ifindex)) /* left by a daemon without tcx */
		clsact_detach(d->pin_dir, a->is.ifindex);
	a->tried = true;
	a->qdisc_ours = !a->is.tcx && clsact_marked(d->pin_dir, a->is.ifindex);
	attach_find(d, a, &found);
	attach_judge(d, a, &found);
	return 0;
}

bool attach_judge(const struct datapath *d, struct attachment *a, const struct found *found)
{
	bool good = true;

	for (int hook = 0; hook < HOOK_COUNT; hook++)
		good &= judge_hook(d, a, hook, found);
	return good;
}

int attach_restore(struct datapath *d, struct attachment *a)
{
	static const enum hook order[] = {HOOK_RESPONSES, HOOK_REQUESTS, HOOK_GATE};
	bool made, first = !a->tried;
	int result = interface_kind(d, a);
	struct found found;

	if (result) {
		a->unread = result == -EOPNOTSUPP;
		remark(a, HOOK_REQUESTS, "%s", datapath_error());
		return result;
	}
	a->tried = true;
	attach_find(d, a, &found);
	for (int i = 0; i < HOOK_COUNT; i++) {
		enum hook hook = order[i];
		int err;

		if (!first && judge_hook(d, a, hook, &found))
			continue;
		err = hook == HOOK_GATE ? attach_xdp(d, a, &made) : attach_tc(d, a, hook, &made);
		if (err) {
			remark(a, hook, "%s", datapath_error());
			result = err;
		}
		attach_find(d, a, &found);
		if (!err)
			judge_hook(d, a, hook, &found);
	}
	a->qdisc_ours = !a->is.tcx && clsact_marked(d->pin_dir, a->is.ifindex);
	return result;
}

void attach_drop(struct datapath *d, struct attachment *a)
{
	for (int hook = 0; hook < HOOK_COUNT; hook++) {
		link_drop(d, a, hook);
		a->is.attached[hook] = false;
		a->is.note[hook][0] = 0;
	}
	if (!a->is.tcx)
		clsact_detach(d->pin_dir, a->is.ifindex);
	a->is.xdp = DATAPATH_XDP_OFF;
	a->is.ifindex = 0;
	a->tried = a->unread = a->qdisc_ours = false;
}
