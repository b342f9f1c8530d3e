/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The links by which XDP and tcx programs are attached. The one idea: an existing link of ours gets
 * the new program in one step (bpf_link_update), so a daemon that takes over misses no packet. A
 * link is pinned as links/<network namespace>_<ifindex>_<hook>: the pin outlives the daemon, and
 * the daemon's own descriptor outlives the pin.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "hooks.h"
#include "netns.h"
#include "pins.h"

/* sluice's build headers are older than these, of Linux 6.6. */
#define TCX_INGRESS 46
#define TCX_EGRESS  47
#define TCX_BEFORE  (1U << 3) /* BPF_F_BEFORE; without a relative program: before all others */
#define TCX_MAX     64        /* programs at one hook */

static const char *const hook_names[HOOK_COUNT] = {"gate", "requests", "responses"};

static int type_of(enum hook hook)
{
	static const int types[HOOK_COUNT] = {BPF_XDP, TCX_INGRESS, TCX_EGRESS};

	return types[hook];
}

static void link_path(char *path, size_t size, const char *pin_dir, uint64_t netns, int ifindex,
		      enum hook hook)
{
	snprintf(path, size, "%s/links/%llu_%d_%s", pin_dir,
		 (unsigned long long)(netns ? netns : netns_here()), ifindex, hook_names[hook]);
}

void links_close(struct attachment *a)
{
	for (int hook = 0; hook < HOOK_COUNT; hook++) {
		close_fd(&a->link[hook]);
		a->link[hook] = -1;
	}
}

void link_drop(struct datapath *d, struct attachment *a, enum hook hook)
{
	char path[PATH_MAX + 64];

	if (a->link[hook] >= 0) {
		bpf_link_detach(a->link[hook]);
		close(a->link[hook]);
		a->link[hook] = -1;
	}
	link_path(path, sizeof(path), d->pin_dir, a->netns_ino, a->is.ifindex, hook);
	link_remove(d->pin_dir, strrchr(path, '/') + 1, NULL);
}

int link_open(struct datapath *d, struct attachment *a, enum hook hook, uint32_t *prog_id)
{
	struct bpf_link_info info = {0};
	uint32_t len = sizeof(info);
	char path[PATH_MAX + 64];

	link_path(path, sizeof(path), d->pin_dir, a->netns_ino, a->is.ifindex, hook);
	if (a->link[hook] < 0)
		a->link[hook] = bpf_obj_get(path);
	if (a->link[hook] < 0)
		return -ENOENT;
	/* A tcx link's description begins with its ifindex, as an XDP link's does; 0: it is
	 * detached, or the interface is gone. */
	if (!bpf_obj_get_info_by_fd(a->link[hook], &info, &len) &&
	    info.xdp.ifindex == (uint32_t)a->is.ifindex) {
		if (prog_id)
			*prog_id = info.prog_id;
		return 0;
	}
	close_fd(&a->link[hook]);
	a->link[hook] = -1;
	unlink(path);
	return -ENOENT;
}

int link_adopt(struct datapath *d, struct attachment *a, enum hook hook, int prog_fd)
{
	int err = link_open(d, a, hook, NULL);

	if (err)
		return err;
	err = bpf_link_update(a->link[hook], prog_fd, NULL) ? -errno : 0;
	if (err != -ENOLINK)
		return err;
	link_drop(d, a, hook);
	return -ENOENT;
}

int link_make(struct datapath *d, struct attachment *a, enum hook hook, int prog_fd, uint32_t flags)
{
	DECLARE_LIBBPF_OPTS(bpf_link_create_opts, opts,
			    .flags = hook == HOOK_GATE ? flags : TCX_BEFORE);
	char path[PATH_MAX + 64];
	int err = pins_make_links(d->pin_dir);

	if (err)
		return err;
	a->link[hook] = bpf_link_create(prog_fd, a->is.ifindex, type_of(hook), &opts);
	if (a->link[hook] < 0)
		return -errno;
	if (pins_none(d->pin_dir))
		return 0;
	link_path(path, sizeof(path), d->pin_dir, a->netns_ino, a->is.ifindex, hook);
	if (!bpf_obj_pin(a->link[hook], path))
		return 0;
	err = -errno;
	link_drop(d, a, hook);
	return err;
}

bool links_pinned(struct datapath *d, struct attachment *a, bool again)
{
	char path[PATH_MAX + 64];
	bool all = true;

	for (int hook = 0; hook < HOOK_COUNT; hook++) {
		if (a->link[hook] < 0)
			continue;
		link_path(path, sizeof(path), d->pin_dir, a->netns_ino, a->is.ifindex, hook);
		if (access(path, F_OK) && !(again && !bpf_obj_pin(a->link[hook], path)))
			all = false;
	}
	return all;
}

/*
 * Whether another sluice has pinned a link with this program, in a directory beside pin_dir: such a
 * program lets ours see everything, and two that each wanted to be first would never end. The pin
 * tells, since a look-up of a program by its id needs CAP_SYS_ADMIN.
 */
static bool is_of_sluice(const char *pin_dir, int ifindex, enum hook hook, uint32_t prog_id)
{
	char parent[PATH_MAX], beside[PATH_MAX + NAME_MAX + 2], path[PATH_MAX + NAME_MAX + 66];
	const struct dirent *entry;
	bool found = false;
	DIR *dir;

	if (pins_none(pin_dir))
		return false;
	snprintf(parent, sizeof(parent), "%s", pin_dir);
	*strrchr(parent, '/') = 0;
	dir = opendir(parent);
	while (dir && !found && (entry = readdir(dir))) {
		struct bpf_link_info info = {0};
		uint32_t len = sizeof(info);
		_cleanup_fd_ int fd = -1;

		snprintf(beside, sizeof(beside), "%s/%s", parent, entry->d_name);
		if (entry->d_name[0] == '.' || !strcmp(beside, pin_dir))
			continue;
		link_path(path, sizeof(path), beside, 0, ifindex, hook);
		fd = bpf_obj_get(path);
		found = fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len) &&
			info.prog_id == prog_id;
	}
	if (dir)
		closedir(dir);
	return found;
}

int tcx_place(const struct datapath *d, int ifindex, enum hook hook, int prog_fd, char *ahead,
	      size_t size)
{
	uint32_t ids[TCX_MAX], count = TCX_MAX, len = sizeof(struct bpf_prog_info);
	struct bpf_prog_info ours = {0};
	uint32_t at = 0;

	if (bpf_obj_get_info_by_fd(prog_fd, &ours, &len) ||
	    bpf_prog_query(ifindex, type_of(hook), 0, NULL, ids, &count))
		return -errno;
	while (at < count && ids[at] != ours.id)
		at++;
	if (at == count)
		return -ENOENT;
	for (uint32_t i = 0; i < at; i++) {
		if (is_of_sluice(d->pin_dir, ifindex, hook, ids[i]))
			continue;
		snprintf(ahead, size, "program %u", ids[i]);
		return PLACE_AFTER;
	}
	return PLACE_FIRST;
}
