/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The pin directory: who holds it, what is pinned in it, and how all of that goes (pins.c). */
#ifndef SLUICE_DATAPATH_PINS_H
#define SLUICE_DATAPATH_PINS_H

#include "internal.h"

/* Makes the directory on a bpffs (and mounts one on /sys/fs/bpf where none is) and locks it: an fd,
 * -EBUSY, … */
int pins_open(const char *pin_dir);
/* Whether all maps of obj are pinned below pin_dir in their present shape and of this ABI version.
 */
enum pins_found { PINS_NONE, PINS_FIT, PINS_UNFIT };
enum pins_found pins_inspect(const char *pin_dir, const struct bpf_object *obj, char *why,
			     size_t size);
/* Takes every link, filter and pin away; the directory stays. */
int pins_clear(const char *pin_dir);
/* The directory too; nothing there is no error. */
int pins_remove(const char *pin_dir);
/* Locks a directory that is there: *dir_fd holds the lock until it is closed. */
int pins_lock(const char *pin_dir, int *dir_fd);
/* Calls each() for every name below links/; stops at its first error. */
int pins_each_link(const char *pin_dir,
		   int (*each)(const char *pin_dir, const char *name, void *arg), void *arg);
/* Undoes one entry of links/: a pinned link, or the mark of a qdisc. */
int link_remove(const char *pin_dir, const char *name, void *unused);

#endif
