/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Attaches the programs to interfaces: XDP and tcx as links (links.c), or clsact filters if the
 * kernel has no tcx (clsact.c). The tc programs come before those of others: a program that accepts
 * a packet ends the chain, and what comes after it is blind.
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

bool datapath_without_tcx;

/* Uses ioctl: /sys may show another network namespace. */
static int interface_kind(const char *interface, struct attachment *out)
{
	_cleanup_fd_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_drvinfo driver = {.cmd = ETHTOOL_GDRVINFO};
	struct ifreq request = {0};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%.*s", IF_NAMESIZE - 1, interface);
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
	return 0;
}

static int tc_program(const struct datapath *d, const struct attachment *a, enum hook hook)
{
	if (hook == HOOK_REQUESTS)
		return bpf_program__fd(a->ethernet ? d->skel->progs.requests
						   : d->skel->progs.requests_l3);
	return bpf_program__fd(a->ethernet ? d->skel->progs.responses
					   : d->skel->progs.responses_l3);
}

static const char *direction(enum hook hook)
{
	return hook == HOOK_REQUESTS ? "ingress" : "egress";
}

/* The place (enum place) of our program at a tc hook; -ENOENT. */
static int tc_place(const struct datapath *d, const struct attachment *a, enum hook hook,
		    char *ahead, size_t size)
{
	return a->is.tcx ? tcx_place(a->is.ifindex, hook, tc_program(d, a, hook), ahead, size)
			 : clsact_place(a->is.ifindex, hook, ahead, size);
}

/* Attaches one side of tc, before all others. *made: it was not attached before. */
static int attach_tc(struct datapath *d, struct attachment *a, enum hook hook, bool *made)
{
	int prog_fd = tc_program(d, a, hook);
	int err = link_adopt(d, a, hook, prog_fd);
	char ahead[64];

	a->is.tcx = true;
	*made = false;
	/* A program can be at a hook only once, and two of ours would translate kept connections
	 * twice: so it goes before it comes again. */
	if (!err && tc_place(d, a, hook, ahead, sizeof(ahead)) == PLACE_AFTER) {
		link_drop(d, a, hook);
		err = link_make(d, a, hook, prog_fd, 0);
	}
	if (err == -ENOENT) {
		*made = true;
		err = datapath_without_tcx ? -EINVAL : link_make(d, a, hook, prog_fd, 0);
		if (err == -EINVAL) {
			a->is.tcx = false;
			*made = !clsact_has(a->is.ifindex);
			return clsact_attach(d, a->is.ifindex, a->is.name, hook, prog_fd);
		}
	}
	if (err)
		return datapath_fail(err, "the tc %s program cannot be attached to %s: %s",
				     direction(hook), a->is.name, strerror(-err));
	return 0;
}

static void __attribute__((format(printf, 3, 4)))
remark(struct attachment *a, enum hook hook, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(a->is.note[hook], sizeof(a->is.note[hook]), format, args);
	va_end(args);
}

/* Looks whether a tc hook has our program, and whether another comes first. */
static void look_at_tc(const struct datapath *d, struct attachment *a, enum hook hook)
{
	char ahead[64];
	int place = tc_place(d, a, hook, ahead, sizeof(ahead));

	a->is.attached[hook] = place >= 0;
	a->is.note[hook][0] = 0;
	if (place > PLACE_FIRST)
		remark(a, hook,
		       "%s: %s comes before sluice's tc %s program: what it accepts passes unseen",
		       a->is.name, ahead, direction(hook));
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

/*
 * Attaches XDP as wanted. AUTO is native, else off: generic XDP copies every packet, and tc does
 * the same work with the same code. AUTO is off on veth too, where a native program's answer waits
 * for other traffic unless the peer has a program. *made: it was not attached before.
 */
static int attach_xdp(struct datapath *d, struct attachment *a, bool *made)
{
	DECLARE_LIBBPF_OPTS(bpf_xdp_query_opts, query);
	enum datapath_xdp wanted = a->wanted, now = DATAPATH_XDP_OFF;
	bool automatic = wanted == DATAPATH_XDP_AUTO;
	const char *interface = a->is.name;
	int ifindex = a->is.ifindex, err;
	uint32_t ours = 0;

	*made = false;
	err = link_open(d, a, HOOK_GATE, &ours);
	if (automatic && (a->loopback || a->veth || !a->ethernet))
		wanted = DATAPATH_XDP_OFF;
	if (wanted == DATAPATH_XDP_OFF) {
		if (!err)
			link_drop(d, a, HOOK_GATE);
		a->is.xdp = DATAPATH_XDP_OFF;
		return 0;
	}
	if (!a->ethernet)
		return datapath_fail(-EOPNOTSUPP,
				     "XDP needs Ethernet headers, which %s has not; use --xdp off",
				     interface);
	err = bpf_xdp_query(ifindex, 0, &query);
	if (!err && query.attach_mode != XDP_ATTACHED_NONE) {
		if (query.attach_mode != XDP_ATTACHED_DRV && query.attach_mode != XDP_ATTACHED_SKB)
			query.prog_id = query.drv_prog_id  ? query.drv_prog_id
					: query.hw_prog_id ? query.hw_prog_id
							   : query.skb_prog_id;
		if (!ours || query.prog_id != ours)
			return datapath_fail(-EBUSY,
					     "XDP hook of %s is taken by program %u; use --xdp off",
					     interface, query.prog_id);
		now = query.attach_mode == XDP_ATTACHED_DRV ? DATAPATH_XDP_NATIVE
							    : DATAPATH_XDP_GENERIC;
	}
	if (automatic)
		wanted = DATAPATH_XDP_NATIVE;
	if (wanted == DATAPATH_XDP_GENERIC && generic_breaks_tc())
		return datapath_fail(
			-EOPNOTSUPP,
			"generic XDP on %s: kernels from 6.9 on then hide the link header from tc; use --xdp off, tc refuses the same SYNs",
			interface);
	if (now == wanted) {
		err = link_adopt(d, a, HOOK_GATE, gate_program(d, now));
		if (err)
			return datapath_fail(err, "the XDP program of %s cannot be replaced: %s",
					     interface, strerror(-err));
		a->is.xdp = now;
		return 0;
	}
	/* Both modes cannot be on at once. tc does the same work in the meantime. */
	link_drop(d, a, HOOK_GATE);
	a->is.xdp = DATAPATH_XDP_OFF;
	*made = now == DATAPATH_XDP_OFF;
	err = make_xdp(d, a, wanted);
	if (!err) {
		a->is.xdp = wanted;
		return 0;
	}
	*made = false;
	if (err == -EBUSY || err == -EEXIST) {
		uint32_t id = 0;

		bpf_xdp_query_id(ifindex, 0, &id);
		return datapath_fail(-EBUSY, "XDP hook of %s is taken by program %u; use --xdp off",
				     interface, id);
	}
	if (automatic)
		return 0;
	if (now != DATAPATH_XDP_OFF && !make_xdp(d, a, now))
		a->is.xdp = now; /* the mode from before this call */
	return datapath_fail(err, "%s has no %s XDP (%s); use --xdp %s", interface,
			     wanted == DATAPATH_XDP_NATIVE ? "native" : "generic", strerror(-err),
			     wanted == DATAPATH_XDP_NATIVE ? "auto" : "off");
}

/* Attaches everything to one interface as it is now; on failure undoes its own changes. */
static int attach_all(struct datapath *d, struct attachment *a)
{
	bool made[HOOK_COUNT] = {0};
	int ifindex = if_nametoindex(a->is.name), err;

	if (!ifindex)
		return datapath_fail(-ENODEV, "interface %s does not exist", a->is.name);
	err = interface_kind(a->is.name, a);
	if (err)
		return err;
	if (ifindex != a->is.ifindex)
		links_close(a);
	a->is.ifindex = ifindex;
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
			clsact_detach(d->pin_dir, ifindex);
		return datapath_fail(err, "%s", said);
	}
	if (a->is.tcx && clsact_has(ifindex)) /* left by a daemon without tcx */
		clsact_detach(d->pin_dir, ifindex);
	a->is.attached[HOOK_GATE] = a->is.xdp != DATAPATH_XDP_OFF;
	look_at_tc(d, a, HOOK_REQUESTS);
	look_at_tc(d, a, HOOK_RESPONSES);
	return 0;
}

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

int datapath_attach(struct datapath *d, const char *interface, enum datapath_xdp xdp)
{
	const struct attachment fresh = {.link = {-1, -1, -1}};
	struct attachment *grown;
	char links[PATH_MAX + 8];
	size_t i;
	int err;

	if (!*interface || strlen(interface) >= IF_NAMESIZE)
		return datapath_fail(-ENODEV, "interface %s does not exist", interface);
	for (i = 0; i < d->attached_count && strcmp(d->attached[i].is.name, interface); i++)
		;
	snprintf(links, sizeof(links), "%s/links", d->pin_dir);
	if (mkdir(links, 0700) && errno != EEXIST)
		return datapath_fail(-errno, "%s cannot be made: %s", links, strerror(errno));
	if (i < d->attached_count) {
		d->attached[i].wanted = xdp;
		return attach_all(d, &d->attached[i]);
	}
	grown = realloc(d->attached, (i + 1) * sizeof(*grown));
	if (!grown)
		return datapath_fail(-ENOMEM, "out of memory");
	d->attached = grown;
	d->attached[i] = fresh;
	strcpy(d->attached[i].is.name, interface);
	d->attached[i].wanted = xdp;
	d->attached_count++;
	err = attach_all(d, &d->attached[i]);
	if (err)
		forget(d, i);
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
		changed = true;
		if (!ifindex) {
			if (!if_indextoname(was, name)) {
				a->gone = was;
				links_close(a);
				a->is.ifindex = 0;
				a->is.xdp = DATAPATH_XDP_OFF;
				memset(a->is.attached, 0, sizeof(a->is.attached));
				datapath_notify(&d->handlers, "interface %s is gone", a->is.name);
			}
			continue;
		}
		err = attach_all(d, a);
		if (!err)
			err = kept_moved(d, was ? was : a->gone, a->is.ifindex);
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
