/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Runs the program `sweep` over all connections. It changes connections, which only a program does
 * atomically.
 */
#include <errno.h>
#include <linux/pkt_cls.h>
#include <string.h>

#include "sweep.h"

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

int sweep_conns(struct datapath *d)
{
	const struct sluice_model_state *all = &d->state[SLUICE_MODEL_ALL];
	uint8_t packet[64] = {0}; /* the kernel takes none shorter than an Ethernet header */
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet,
			    .data_size_in = sizeof(packet), .repeat = 1);
	int err;

	if (!LOAD(all->in_flight) && !LOAD(all->shadow_in_flight) && !LOAD(all->stalled))
		return 0; /* nothing can stall */
	err = bpf_prog_test_run_opts(bpf_program__fd(d->skel->progs.sweep), &opts);
	if (!err && opts.retval != TC_ACT_OK)
		err = -EINVAL;
	return err ? datapath_fail(err, "conns cannot be swept: %s", strerror(-err)) : 0;
}
