/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The BPF object, and its programs beyond those that each daemon loads (programs.c). */
#ifndef SLUICE_DATAPATH_PROGRAMS_H
#define SLUICE_DATAPATH_PROGRAMS_H

#include "internal.h"

/* Opens the object. It loads all programs but those for interfaces without Ethernet headers. NULL:
 * datapath_error() says why. */
struct sluice_bpf *programs_open(const struct bpf_object_open_opts *opts);
/* What libbpf has said in this thread since programs_open(), whole; and its last relevant lines as
 * one. The latter forgets it. */
const char *programs_log(void);
const char *programs_last_words(void);
void programs_forget(void);
/* Loads d->elsewhere, and d->headerless; 0 if that is done already. The latter takes seconds, in
 * which the daemon's loop may go on. */
int programs_for_netns(struct datapath *d);
int programs_without_header(struct datapath *d);
void programs_close(struct datapath *d);

#endif
