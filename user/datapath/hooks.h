/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The hooks of an interface: links (links.c), or filters if there is no tcx (clsact.c). attach.c
 * has all hooks of one interface, and attachments.c all interfaces.
 */
#ifndef SLUICE_DATAPATH_HOOKS_H
#define SLUICE_DATAPATH_HOOKS_H

#include "internal.h"

/* Where a program of ours runs at a tc hook: before all others, or after one. In the last case a
 * new attachment would come no sooner. */
enum place { PLACE_FIRST, PLACE_AFTER, PLACE_FIXED };

struct found_tc {
	int place;      /* enum place; -ENOENT: our program is not there */
	char ahead[64]; /* a few words for what comes first, unless that is another sluice's */
};

struct found_xdp {
	int err;         /* the hook cannot be read */
	uint32_t holder; /* the program there; 0: none */
	enum datapath_xdp mode;
};

/* What is at the hooks of an interface. */
struct found {
	struct found_tc tc[HOOK_COUNT]; /* of HOOK_REQUESTS and HOOK_RESPONSES */
	struct found_xdp xdp;
};

/* attachments.c */
/* Follows interfaces that have come or gone. An error is that of a named one. */
int attachments_refresh(struct datapath *d);
/* Follows the interfaces of other network namespaces. 1: their addresses are others than before. */
int attachments_follow_netns(struct datapath *d);
/* Forgets entries whose interface is gone or matches no longer. Call it once a second. */
void attachments_tidy(struct datapath *d);
/* Says what is new in the notes since `before`. */
void attachment_say(const struct datapath *d, const struct attachment *a,
		    const struct datapath_interface *before);
/* Forgets all of them; what is pinned stays attached. */
void attachments_close(struct datapath *d);

/* attach.c. The interface is a->is.ifindex. */
/* Attaches everything; on failure undoes its own changes. */
int attach_all(struct datapath *d, struct attachment *a);
/* Reads what is attached. The kernel answers under its lock for network devices (RTNL), which
 * others may hold for long. */
void attach_find(const struct datapath *d, const struct attachment *a, struct found *out);
/* Writes it to a->is. True if nothing can be made better. */
bool attach_judge(const struct datapath *d, struct attachment *a, const struct found *found);
/* Attaches what can be made better, each hook for itself; notes say what failed. The first error.
 */
int attach_restore(struct datapath *d, struct attachment *a);
/* Detaches everything; the interface may be gone. */
void attach_drop(struct datapath *d, struct attachment *a);
/* For tests: act as on a kernel without tcx. */
extern bool datapath_without_tcx;

/* links.c. The interface is a->is.ifindex. */
/* Opens the link of a hook if it still is on the interface. *prog_id, unless NULL: its program.
 * -ENOENT, with a stale pin removed. */
int link_open(struct datapath *d, struct attachment *a, enum hook hook, uint32_t *prog_id);
/* Gives an existing link the program; -ENOENT if there is none. */
int link_adopt(struct datapath *d, struct attachment *a, enum hook hook, int prog_fd);
/* Makes and pins a link; a tcx link comes before all others. flags: XDP_FLAGS_… of HOOK_GATE. */
int link_make(struct datapath *d, struct attachment *a, enum hook hook, int prog_fd,
	      uint32_t flags);
void link_drop(struct datapath *d, struct attachment *a, enum hook hook);
/* Forgets the links without detaching them. */
void links_close(struct attachment *a);
/* Whether each link that the daemon holds is pinned; with `again`, it pins them. */
bool links_pinned(struct datapath *d, struct attachment *a, bool again);
/* struct found_tc of the tcx program at a hook: returns the place, writes `ahead`. */
int tcx_place(const struct datapath *d, int ifindex, enum hook hook, int prog_fd, char *ahead,
	      size_t size);

/* clsact.c */
/* The handle of our filters, by which instances leave each other's alone. */
uint32_t clsact_handle(const char *pin_dir);
int clsact_attach(struct datapath *d, int ifindex, const char *interface, enum hook hook,
		  int prog_fd);
/* As tcx_place(), for our filter. */
int clsact_place(const char *pin_dir, int ifindex, enum hook hook, char *ahead, size_t size);
/* Removes our filters from an interface, those of older builds, too. Removes the qdisc too, if the
 * mark records that we made it and it is empty. */
int clsact_detach(const char *pin_dir, int ifindex);
/* Does so on every interface of this network namespace for which keep() is false. */
void clsact_sweep(const char *pin_dir, bool (*keep)(int ifindex, void *arg), void *arg);
bool clsact_has(const char *pin_dir, int ifindex);
/* The mark that sluice made the qdisc: whether it is there; makes it. */
bool clsact_marked(const char *pin_dir, int ifindex);
void clsact_mark(const char *pin_dir, int ifindex);

#endif
