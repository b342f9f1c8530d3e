/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Attaches the programs to interfaces: XDP and tcx as pinned links, or clsact filters if the kernel
 * has no tcx. The one idea: an existing link of ours gets the new program in one step
 * (bpf_link_update), so a daemon that takes over misses no packet. A new link is made only if there
 * is none, and is pinned at once.
 */
#include <errno.h>
#include <linux/ethtool.h>
#include <net/if.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
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

/* sluice's build headers are older than these: enum bpf_attach_type of Linux 6.6. */
#define TCX_INGRESS 46
#define TCX_EGRESS  47

bool datapath_without_tcx;

static const char *const hook_names[HOOK_COUNT] = {"gate", "requests", "responses"};

/* The properties of an interface that matter to the programs. */
struct kind {
	bool ethernet; /* its packets begin with an Ethernet header */
	bool loopback;
	bool veth;
};

static void link_path(char *path, size_t size, const char *pin_dir, int ifindex, enum hook hook)
{
	struct stat st = {0};

	stat("/proc/self/ns/net", &st);
	snprintf(path, size, "%s/links/%lu_%d_%s", pin_dir, (unsigned long)st.st_ino, ifindex,
		 hook_names[hook]);
}

/* Uses ioctl: /sys may show another network namespace. */
static int interface_kind(const char *interface, struct kind *out)
{
	_cleanup_fd_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_drvinfo driver = {.cmd = ETHTOOL_GDRVINFO};
	struct ifreq request = {0};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%.*s", IF_NAMESIZE - 1, interface);
	if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &request))
		return datapath_fail(-errno, "interface %s: %s", interface, strerror(errno));
	*out = (struct kind){0};
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

static void link_drop(struct datapath *d, int ifindex, enum hook hook)
{
	char path[PATH_MAX + 64];

	link_path(path, sizeof(path), d->pin_dir, ifindex, hook);
	link_remove(d->pin_dir, strrchr(path, '/') + 1, NULL);
}

/* Opens the pinned link of a hook if it still is on that interface: an fd; -ENOENT, with a stale
 * pin removed. */
static int link_open(struct datapath *d, int ifindex, enum hook hook, uint32_t *prog_id)
{
	struct bpf_link_info info = {0};
	uint32_t len = sizeof(info);
	char path[PATH_MAX + 64];
	int fd;

	link_path(path, sizeof(path), d->pin_dir, ifindex, hook);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return -ENOENT;
	/* A tcx link's description begins with its ifindex, as an XDP link's does; 0: the interface
	 * is gone. */
	if (!bpf_obj_get_info_by_fd(fd, &info, &len) && info.xdp.ifindex == (uint32_t)ifindex) {
		if (prog_id)
			*prog_id = info.prog_id;
		return fd;
	}
	close(fd);
	unlink(path);
	return -ENOENT;
}

/* Gives an existing link the program; -ENOENT if there is none. */
static int link_adopt(struct datapath *d, int ifindex, enum hook hook, int prog_fd)
{
	_cleanup_fd_ int fd = link_open(d, ifindex, hook, NULL);
	int err;

	if (fd < 0)
		return -ENOENT;
	err = bpf_link_update(fd, prog_fd, NULL) ? -errno : 0;
	if (err != -ENOLINK)
		return err;
	link_drop(d, ifindex, hook);
	return -ENOENT;
}

/* Makes and pins a link. Only its pin keeps it alive. */
static int link_make(struct datapath *d, int ifindex, enum hook hook, int prog_fd, int type,
		     uint32_t flags)
{
	DECLARE_LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);
	char path[PATH_MAX + 64];
	_cleanup_fd_ int fd = -1;

	snprintf(path, sizeof(path), "%s/links", d->pin_dir);
	if (mkdir(path, 0700) && errno != EEXIST)
		return -errno;
	fd = bpf_link_create(prog_fd, ifindex, type, flags ? &opts : NULL);
	if (fd < 0)
		return -errno;
	link_path(path, sizeof(path), d->pin_dir, ifindex, hook);
	return bpf_obj_pin(fd, path) ? -errno : 0;
}

static int tc_program(struct datapath *d, enum hook hook, const struct kind *kind)
{
	if (hook == HOOK_REQUESTS)
		return bpf_program__fd(kind->ethernet ? d->skel->progs.requests
						      : d->skel->progs.requests_l3);
	return bpf_program__fd(kind->ethernet ? d->skel->progs.responses
					      : d->skel->progs.responses_l3);
}

/* Attaches one side of tc. *made: it was not attached before; *tcx: through a link. */
static int attach_tc(struct datapath *d, int ifindex, const char *interface, enum hook hook,
		     const struct kind *kind, bool *made, bool *tcx)
{
	int prog_fd = tc_program(d, hook, kind);
	int err = link_adopt(d, ifindex, hook, prog_fd);

	*made = false;
	*tcx = true;
	if (err == -ENOENT) {
		*made = true;
		err = datapath_without_tcx
			      ? -EINVAL
			      : link_make(d, ifindex, hook, prog_fd,
					  hook == HOOK_REQUESTS ? TCX_INGRESS : TCX_EGRESS, 0);
		if (err == -EINVAL) {
			*tcx = false;
			*made = !clsact_has(ifindex);
			return clsact_attach(d, ifindex, interface, hook, prog_fd);
		}
	}
	if (err)
		return datapath_fail(err, "the tc %s program cannot be attached to %s: %s",
				     hook == HOOK_REQUESTS ? "ingress" : "egress", interface,
				     strerror(-err));
	return 0;
}

static int gate_program(const struct datapath *d, enum datapath_xdp mode)
{
	return bpf_program__fd(mode == DATAPATH_XDP_NATIVE ? d->skel->progs.gate
							   : d->skel->progs.gate_generic);
}

static int make_xdp(struct datapath *d, int ifindex, enum datapath_xdp mode)
{
	return link_make(d, ifindex, HOOK_GATE, gate_program(d, mode), BPF_XDP,
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
 * for other traffic unless the peer has a program. *mode: as it is now; *made: it was not attached
 * before.
 */
static int attach_xdp(struct datapath *d, int ifindex, const char *interface,
		      enum datapath_xdp wanted, const struct kind *kind, enum datapath_xdp *mode,
		      bool *made)
{
	DECLARE_LIBBPF_OPTS(bpf_xdp_query_opts, query);
	bool automatic = wanted == DATAPATH_XDP_AUTO;
	enum datapath_xdp now = DATAPATH_XDP_OFF;
	uint32_t ours = 0;
	int fd, err;

	*made = false;
	*mode = DATAPATH_XDP_OFF;
	fd = link_open(d, ifindex, HOOK_GATE, &ours);
	if (automatic && (kind->loopback || kind->veth || !kind->ethernet))
		wanted = DATAPATH_XDP_OFF;
	if (wanted == DATAPATH_XDP_OFF) {
		if (fd >= 0) {
			close(fd);
			link_drop(d, ifindex, HOOK_GATE);
		}
		return 0;
	}
	close_fd(&fd);
	if (!kind->ethernet)
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
		err = link_adopt(d, ifindex, HOOK_GATE, gate_program(d, now));
		if (err)
			return datapath_fail(err, "the XDP program of %s cannot be replaced: %s",
					     interface, strerror(-err));
		*mode = now;
		return 0;
	}
	/* Both modes cannot be on at once. tc does the same work in the meantime. */
	link_drop(d, ifindex, HOOK_GATE);
	*made = now == DATAPATH_XDP_OFF;
	err = make_xdp(d, ifindex, wanted);
	if (!err) {
		*mode = wanted;
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
	if (now != DATAPATH_XDP_OFF)
		make_xdp(d, ifindex, now); /* the mode from before this call */
	return datapath_fail(err, "%s has no %s XDP (%s); use --xdp %s", interface,
			     wanted == DATAPATH_XDP_NATIVE ? "native" : "generic", strerror(-err),
			     wanted == DATAPATH_XDP_NATIVE ? "auto" : "off");
}

/* Attaches everything to one interface as it is now; on failure undoes its own changes. */
static int attach_all(struct datapath *d, struct attachment *a)
{
	bool made[HOOK_COUNT] = {0}, tcx = true, egress_tcx = true;
	enum datapath_xdp mode = DATAPATH_XDP_OFF;
	int ifindex = if_nametoindex(a->is.name), err;
	struct kind kind;

	if (!ifindex)
		return datapath_fail(-ENODEV, "interface %s does not exist", a->is.name);
	err = interface_kind(a->is.name, &kind);
	if (err)
		return err;
	/* XDP first, since another program may hold it; egress before ingress, which depends on
	 * what egress has seen. */
	err = attach_xdp(d, ifindex, a->is.name, a->wanted, &kind, &mode, &made[HOOK_GATE]);
	if (!err)
		err = attach_tc(d, ifindex, a->is.name, HOOK_RESPONSES, &kind,
				&made[HOOK_RESPONSES], &egress_tcx);
	if (!err)
		err = attach_tc(d, ifindex, a->is.name, HOOK_REQUESTS, &kind, &made[HOOK_REQUESTS],
				&tcx);
	if (err) {
		for (int hook = 0; hook < HOOK_COUNT; hook++)
			if (made[hook])
				link_drop(d, ifindex, hook);
		if (made[HOOK_RESPONSES] && !egress_tcx) {
			char said[512];

			snprintf(said, sizeof(said), "%s", datapath_error());
			clsact_detach(d->pin_dir, ifindex);
			datapath_fail(err, "%s", said);
		}
		return err;
	}
	if (tcx && egress_tcx && clsact_has(ifindex)) /* left by a daemon without tcx */
		clsact_detach(d->pin_dir, ifindex);
	a->is.ifindex = ifindex;
	a->is.xdp = mode;
	a->is.tcx = tcx;
	return 0;
}

int datapath_attach(struct datapath *d, const char *interface, enum datapath_xdp xdp)
{
	struct attachment a = {.wanted = xdp}, *grown;
	char links[PATH_MAX + 8];
	size_t i;
	int err;

	if (!*interface || strlen(interface) >= IF_NAMESIZE)
		return datapath_fail(-ENODEV, "interface %s does not exist", interface);
	strcpy(a.is.name, interface);
	for (i = 0; i < d->attached_count && strcmp(d->attached[i].is.name, interface); i++)
		;
	grown = i < d->attached_count ? d->attached : realloc(d->attached, (i + 1) * sizeof(a));
	if (!grown)
		return datapath_fail(-ENOMEM, "out of memory");
	d->attached = grown;
	snprintf(links, sizeof(links), "%s/links", d->pin_dir);
	if (mkdir(links, 0700) && errno != EEXIST)
		return datapath_fail(-errno, "%s cannot be made: %s", links, strerror(errno));
	err = attach_all(d, &a);
	if (err)
		return err;
	d->attached[i] = a;
	if (i == d->attached_count)
		d->attached_count++;
	return 0;
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
				a->is.ifindex = 0;
				a->is.xdp = DATAPATH_XDP_OFF;
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
