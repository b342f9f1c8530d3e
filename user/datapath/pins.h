/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The pin directory: its lock, the objects pinned in it, and their removal (pins.c). */
#ifndef SLUICE_DATAPATH_PINS_H
#define SLUICE_DATAPATH_PINS_H

#include "internal.h"

struct btf;

/*
 * The directory of a daemon that pins nothing (`pin-dir: none`): nothing is there, and nothing can
 * be made there, so each look-up ends with ENOENT, and each removal has nothing to do. Only what
 * makes a pin asks pins_none().
 */
#define PINS_NOWHERE "/proc/none" /* and with a number after it */
bool pins_none(const char *pin_dir);

/* Makes the directory on a bpffs (mounts one on /sys/fs/bpf if there is none) and locks it. An fd;
 * -EBUSY, … */
int pins_open(const char *pin_dir);
/* Whether a map or a link of sluice is pinned there. */
bool pins_any(const char *pin_dir, const struct bpf_object *obj);
/* What the maps that are pinned there look like, to be freed by btf__free(); -ENOENT: that is not
 * pinned. */
int pins_layout(const char *pin_dir, struct btf **out);
/* Whether a pinned map has the type, the sizes and the flags of `map`. */
bool pins_fit(int fd, const struct bpf_map *map);
/* Whether connections depend on the programs that are attached: the map `kept` is pinned in its
 * present shape, and holds some. */
bool pins_hold_kept(const char *pin_dir, const struct bpf_object *obj);
/* Removes the pins of sluice's maps, but for `kept`. The links stay, and translate on with their
 * own maps until each gets a new program. */
int pins_supersede(const char *pin_dir, const struct bpf_object *obj);
/* Removes every link and filter, and the pins of sluice's maps; the directory stays. */
int pins_clear(const char *pin_dir, const struct bpf_object *obj);
/* Removes the directory too. An absent directory is no error. An error names what is not ours. */
int pins_remove(const char *pin_dir, const struct bpf_object *obj);
/* Whether the directory that dir_fd locks is there, with the pins of all maps of obj. */
bool pins_present(const char *pin_dir, const struct bpf_object *obj, int dir_fd);
/* Makes and locks the directory again if it is gone, and pins the maps again that are not pinned.
 * *dir_fd holds the lock. */
int pins_again(const char *pin_dir, const struct bpf_object *obj, int *dir_fd);
/* Locks an existing directory: *dir_fd holds the lock until it is closed. */
int pins_lock(const char *pin_dir, int *dir_fd);
/* Makes links/; one that is there, or PINS_NOWHERE, is no error. 0 or -errno. */
int pins_make_links(const char *pin_dir);
/* Calls each() for every name in links/; stops at its first error. */
int pins_each_link(const char *pin_dir,
		   int (*each)(const char *pin_dir, const char *name, void *arg), void *arg);
/* Removes one entry of links/: a pinned link, or a mark with its qdisc. */
int link_remove(const char *pin_dir, const char *name, void *unused);

#endif
