/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Runs the program `sweep` over all connections: for responses that stall, for requests whose
 * client has gone, and when conns is nearly full, to remove idle connections. Their clients do not
 * notice: the next byte proves the connection again.
 */
#include <errno.h>
#include <linux/pkt_cls.h>
#include <string.h>

#include "map_io.h"

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

struct pass {
	int program; /* its descriptor */
	struct {
		struct sluice_sweep asked;
		uint8_t pad[48]; /* the kernel takes no frame shorter than an Ethernet header */
	} packet;
};

static int run_pass(void *arg)
{
	struct pass *p = arg;
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = &p->packet,
			    .data_size_in = sizeof(p->packet), .repeat = 1);
	int err = bpf_prog_test_run_opts(p->program, &opts);

	return !err && opts.retval != TC_ACT_OK ? -EINVAL : err;
}

static int run(struct datapath *d, uint64_t idle_ns, uint32_t evict)
{
	struct pass pass = {
		.program = bpf_program__fd(d->skel->progs.sweep),
		.packet.asked = {.idle_ns = idle_ns, .evict = evict},
	};
	int err = datapath_away(d, run_pass, &pass);

	return err ? datapath_fail(err, "conns cannot be swept: %s", strerror(-err)) : 0;
}

int datapath_sweep_stalls(struct datapath *d)
{
	const struct sluice_model_state *all = &d->state[SLUICE_MODEL_ALL];

	if (!LOAD(all->in_flight) && !LOAD(all->shadow_in_flight) && !LOAD(all->stalled) &&
	    !map_has_any(d->skel->maps.kept) && !map_has_any(d->skel->maps.held))
		return 0; /* nothing can stall, and nothing is kept or held */
	return run(d, 0, 0);
}

static int64_t conns_max(const struct datapath *d)
{
	return bpf_map__max_entries(d->skel->maps.conns);
}

static bool crowded(const struct datapath *d)
{
	return LOAD(d->conn_counts[SLUICE_CONNS_ALL]) >= SLUICE_CONNS_EVICT(conns_max(d));
}

static bool has_departed(const struct datapath *d)
{
	return LOAD(d->state[SLUICE_MODEL_ALL].departed);
}

bool datapath_sweep_due(const struct datapath *d)
{
	return crowded(d) || has_departed(d);
}

int datapath_sweep(struct datapath *d)
{
	static const uint64_t idle_ns[] = {600 * NSEC_PER_SEC, 60 * NSEC_PER_SEC, 10 * NSEC_PER_SEC,
					   NSEC_PER_SEC, 0};
	int err = 0;

	if (!crowded(d))
		return has_departed(d) ? run(d, 0, 0) : 0;
	for (size_t i = 0; i < sizeof(idle_ns) / sizeof(idle_ns[0]) && !err; i++) {
		int64_t more =
			LOAD(d->conn_counts[SLUICE_CONNS_ALL]) - SLUICE_CONNS_CROWDED(conns_max(d));

		if (more <= 0)
			break;
		err = run(d, idle_ns[i], (uint32_t)more);
	}
	return err;
}
