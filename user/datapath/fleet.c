/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Budgets that a fleet of hosts shares. The one idea: the daemon never writes a budget, since that
 * would replace the entry and lose what is charged meanwhile. It fills in a batch in mapped memory,
 * and the program fleet_sync does the rest.
 */
#include <errno.h>
#include <linux/pkt_cls.h>
#include <string.h>
#include <sys/mman.h>

#include "fleet.h"
#include "map_io.h"

#define BATCH_BYTES (SLUICE_FLEET_BATCH * sizeof(struct sluice_fleet_item))

static int on_change(void *arg, void *data, size_t size)
{
	struct datapath *d = arg;

	if (d->fleet_each && size >= sizeof(struct sluice_fleet_change))
		d->fleet_each(d->fleet_arg, data);
	return 0;
}

/* NULL: it fails. */
static void *map_memory(const struct bpf_map *map, size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd(map), 0);

	if (at != MAP_FAILED)
		return at;
	datapath_fail(-errno, "%s cannot be mapped: %s", bpf_map__name(map), strerror(errno));
	return NULL;
}

int fleet_open(struct datapath *d)
{
	d->fleet_batch = map_memory(d->skel->maps.fleet_batch, BATCH_BYTES);
	d->fleet_call = map_memory(d->skel->maps.fleet_call, sizeof(*d->fleet_call));
	if (!d->fleet_batch || !d->fleet_call)
		return -errno;
	d->fleet_ring = ring_buffer__new(map_fd(d->skel->maps.fleet_changes), on_change, d, NULL);
	if (!d->fleet_ring)
		return datapath_fail(-errno, "the fleet_changes ring cannot be opened: %s",
				     strerror(errno));
	return 0;
}

void fleet_close(struct datapath *d)
{
	ring_buffer__free(d->fleet_ring);
	if (d->fleet_batch)
		munmap(d->fleet_batch, BATCH_BYTES);
	if (d->fleet_call)
		munmap(d->fleet_call, sizeof(*d->fleet_call));
}

int datapath_get_fleet(const struct datapath *d, struct sluice_fleet *out)
{
	uint32_t zero = 0;

	return map_read(d->skel->maps.fleet, &zero, out);
}

int datapath_set_fleet(struct datapath *d, const struct sluice_fleet *fleet)
{
	uint32_t zero = 0;

	return map_write(d->skel->maps.fleet, &zero, fleet);
}

int datapath_fleet_changes(struct datapath *d,
			   void (*each)(void *arg, const struct sluice_fleet_change *change),
			   void *arg)
{
	int n;

	d->fleet_each = each;
	d->fleet_arg = arg;
	n = ring_buffer__consume(d->fleet_ring);
	d->fleet_each = NULL;
	return n >= 0 ? n
		      : datapath_fail(n, "the fleet_changes ring cannot be read: %s", strerror(-n));
}

int datapath_fleet_fd(const struct datapath *d)
{
	return ring_buffer__epoll_fd(d->fleet_ring);
}

struct sluice_fleet_item *datapath_fleet_batch(struct datapath *d)
{
	return d->fleet_batch;
}

struct sluice_fleet_call *datapath_fleet_call(struct datapath *d)
{
	return d->fleet_call;
}

int datapath_fleet_run(struct datapath *d, unsigned count)
{
	struct {
		uint32_t count;
		uint8_t pad[60]; /* the kernel takes no frame shorter than an Ethernet header */
	} packet = {.count = count};
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = &packet,
			    .data_size_in = sizeof(packet), .repeat = 1);
	int err = count > SLUICE_FLEET_BATCH ? -EINVAL : 0;

	if (!err)
		err = bpf_prog_test_run_opts(bpf_program__fd(d->skel->progs.fleet_sync), &opts);
	if (!err && opts.retval != TC_ACT_OK)
		err = -EINVAL;
	return err ? datapath_fail(err, "fleet_sync cannot be run: %s", strerror(-err)) : 0;
}

enum { UNKNOWN, SHARED, OWN };

struct budget_visitor {
	struct datapath *d;
	void (*each)(void *, const struct sluice_budget_key *, const struct sluice_budget *);
	void *arg;
	uint8_t quota[SLUICE_QUOTAS_MAX]; /* UNKNOWN, SHARED or OWN */
};

static void visit_budget(void *arg, const void *key, const void *value)
{
	struct budget_visitor *v = arg;
	const struct sluice_budget_key *k = key;
	struct sluice_quota quota;

	if (k->quota >= SLUICE_QUOTAS_MAX)
		return;
	if (v->quota[k->quota] == UNKNOWN)
		v->quota[k->quota] =
			map_find(v->d->skel->maps.quotas, &k->quota, &quota) && quota.fleet ? SHARED
											    : OWN;
	if (v->quota[k->quota] == SHARED)
		v->each(v->arg, k, value);
}

int datapath_each_fleet_budget(struct datapath *d,
			       void (*each)(void *arg, const struct sluice_budget_key *key,
					    const struct sluice_budget *budget),
			       void *arg)
{
	struct budget_visitor v = {.d = d, .each = each, .arg = arg};

	return map_each(d, d->skel->maps.client_state, visit_budget, &v);
}
