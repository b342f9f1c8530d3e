/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The three hooks of an interface: links (attach.c), or filters if there is no tcx (clsact.c). */
#ifndef SLUICE_DATAPATH_HOOKS_H
#define SLUICE_DATAPATH_HOOKS_H

#include "internal.h"

enum hook { HOOK_GATE, HOOK_REQUESTS, HOOK_RESPONSES, HOOK_COUNT };

/* attach.c */
/* Follows interfaces that disappeared and came back under the same name. */
int attachments_refresh(struct datapath *d);
/* For tests: act as on a kernel without tcx. */
extern bool datapath_without_tcx;

/* clsact.c */
int clsact_attach(struct datapath *d, int ifindex, const char *interface, enum hook hook,
		  int prog_fd);
/* Removes our filters from an interface. Removes the qdisc too, if the mark records that we made it
 * and it is empty. */
int clsact_detach(const char *pin_dir, int ifindex);
/* Does so on every interface of this network namespace for which keep() is false. */
void clsact_sweep(const char *pin_dir, bool (*keep)(int ifindex, void *arg), void *arg);
bool clsact_has(int ifindex);

#endif
