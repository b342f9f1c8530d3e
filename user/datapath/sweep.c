/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Runs the program `sweep` over all connections: once a second for responses that stall, and when
 * conns is nearly full, to remove idle connections. Their clients do not notice: the next byte
 * proves the connection again.
 */
#include <errno.h>
#include <linux/pkt_cls.h>
#include <string.h>

#include "sweep.h"

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

static int run(struct datapath *d, uint64_t idle_ns, uint32_t evict)
{
	struct {
		struct sluice_sweep asked;
		uint8_t pad[48]; /* the kernel takes no frame shorter than an Ethernet header */
	} packet = {.asked = {.idle_ns = idle_ns, .evict = evict}};
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = &packet,
			    .data_size_in = sizeof(packet), .repeat = 1);
	int err = bpf_prog_test_run_opts(bpf_program__fd(d->skel->progs.sweep), &opts);

	if (!err && opts.retval != TC_ACT_OK)
		err = -EINVAL;
	return err ? datapath_fail(err, "conns cannot be swept: %s", strerror(-err)) : 0;
}

int sweep_conns(struct datapath *d)
{
	const struct sluice_model_state *all = &d->state[SLUICE_MODEL_ALL];

	if (!LOAD(all->in_flight) && !LOAD(all->shadow_in_flight) && !LOAD(all->stalled))
		return 0; /* nothing can stall */
	return run(d, 0, 0);
}

int datapath_free_departed(struct datapath *d)
{
	return LOAD(d->state[SLUICE_MODEL_ALL].departed) ? run(d, 0, 0) : 0;
}

int datapath_make_room(struct datapath *d)
{
	static const uint64_t idle_ns[] = {600 * NSEC_PER_SEC, 60 * NSEC_PER_SEC, 10 * NSEC_PER_SEC,
					   NSEC_PER_SEC, 0};
	int err = 0;

	if (LOAD(d->conn_counts[SLUICE_CONNS_ALL]) < SLUICE_CONNS_EVICT)
		return 0;
	for (size_t i = 0; i < sizeof(idle_ns) / sizeof(idle_ns[0]) && !err; i++) {
		int64_t more = LOAD(d->conn_counts[SLUICE_CONNS_ALL]) - SLUICE_CONNS_CROWDED;

		if (more <= 0)
			break;
		err = run(d, idle_ns[i], (uint32_t)more);
	}
	return err;
}
