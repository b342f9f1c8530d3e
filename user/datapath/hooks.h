/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The three hooks of an interface: links on it (attach.c), or filters where there is no tcx
 * (clsact.c). */
#ifndef SLUICE_DATAPATH_HOOKS_H
#define SLUICE_DATAPATH_HOOKS_H

#include "internal.h"

enum hook { HOOK_GATE, HOOK_REQUESTS, HOOK_RESPONSES, HOOK_COUNT };

/* attach.c */
/* Follows interfaces that went away and came back under the same name. */
int attachments_refresh(struct datapath *d);
/* For tests: behave as on a kernel that has no tcx. */
extern bool datapath_without_tcx;

/* clsact.c */
int clsact_attach(struct datapath *d, int ifindex, const char *interface, enum hook hook,
		  int prog_fd);
/* Removes our filters from an interface, and the qdisc where `mark` says that we made it and it is
 * empty. */
int clsact_detach(const char *pin_dir, int ifindex);
/* … from every interface of this network namespace but those that keep() wants kept. */
void clsact_sweep(const char *pin_dir, bool (*keep)(int ifindex, void *arg), void *arg);
bool clsact_has(int ifindex);

#endif
