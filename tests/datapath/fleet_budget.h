/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A budget of one client that a fleet of hosts shares, for tests. The test is the daemon: it reads
 * the changes, and runs fleet_sync.
 */
#ifndef SLUICE_FLEET_BUDGET_H
#define SLUICE_FLEET_BUDGET_H

#include <sys/epoll.h>

#include <sluice/gcra.h>

#include "one_client.h"

#define QUOTA 7
#define NOW   w.settings.clock_ns
static struct sluice_fleet_item *batch; /* the map itself */
static struct ring_buffer *changes;
static struct sluice_fleet_change change; /* the last one */

static inline int keep_change(void *ctx, void *data, size_t size)
{
	assert_int_equal(size, sizeof(change));
	memcpy(&change, data, sizeof(change));
	return 0;
}

/* How many changes were reported. */
static inline int read_changes(void)
{
	memset(&change, 0, sizeof(change));
	return ring_buffer__consume(changes);
}

/* Whether the ring has woken its reader. */
static inline bool woken(int timeout_ms)
{
	struct epoll_event ev;

	return epoll_wait(ring_buffer__epoll_fd(changes), &ev, 1, timeout_ms) == 1;
}

static inline void put_fleet(uint64_t fresh_ms, uint32_t hosts, uint32_t whole)
{
	struct sluice_fleet f = {
		.fresh_until_ns = NOW + fresh_ms * MS, .hosts = hosts, .whole = whole};
	uint32_t zero = 0;

	assert_int_equal(bpf_map_update_elem(fd_of(fleet), &zero, &f, BPF_ANY), 0);
}

/* The service's quota, and nobody has used it. */
static inline void begin(struct sluice_quota quota)
{
	struct sluice_service service = http_service();

	w.settings.lease_until_ns = UINT64_MAX;
	write_settings();
	quota.fleet = 1;
	put_quota(QUOTA, quota);
	clear_map(fd_of(client_state));
	service.quota = QUOTA;
	set_both(HTTP_PORT, service);
	read_changes();
	woken(0);
}

static inline struct sluice_budget_key the_key(void)
{
	return (struct sluice_budget_key){.client = this_client(false), .quota = QUOTA};
}

static inline struct sluice_budget budget(void)
{
	struct sluice_budget_key key = the_key();
	struct sluice_budget b;

	assert_int_equal(bpf_map_lookup_elem(fd_of(client_state), &key, &b), 0);
	return b;
}

static inline void put_budget(struct sluice_budget b)
{
	struct sluice_budget_key key = the_key();

	assert_int_equal(bpf_map_update_elem(fd_of(client_state), &key, &b, BPF_ANY), 0);
}

static inline void run_batch(uint32_t count)
{
	struct {
		uint32_t count;
		uint8_t pad[60];
	} packet = {.count = count};
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = &packet,
			    .data_size_in = sizeof(packet), .repeat = 1);

	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(w.skel->progs.fleet_sync), &opts),
			 0);
	assert_int_equal(opts.retval, TC_ACT_OK);
}

static inline struct sluice_fleet_item sync_one(uint32_t op,
						struct sluice_fleet_item_units requests,
						struct sluice_fleet_item_units tokens)
{
	batch[0] =
		(struct sluice_fleet_item){.key = the_key(), .op = op, .units = {requests, tokens}};
	run_batch(1);
	return batch[0];
}

#define NO_UNITS                                                                                   \
	(struct sluice_fleet_item_units)                                                           \
	{                                                                                          \
		0                                                                                  \
	}

static inline struct sluice_fleet_item collect(void)
{
	return sync_one(SLUICE_FLEET_COLLECT, NO_UNITS, NO_UNITS);
}

static inline void apply(struct sluice_fleet_item_units requests)
{
	sync_one(SLUICE_FLEET_APPLY, requests, NO_UNITS);
}

/* The store has counted all that was used, and grants so many. */
static inline void grant(uint32_t granted, uint32_t share)
{
	struct sluice_fleet_item item = collect();

	apply((struct sluice_fleet_item_units){.level_ns = item.units[0].level_ns,
					       .settled = item.units[0].used,
					       .granted = granted,
					       .share = share});
}

static inline int open_fleet(void **state)
{
	if (world_open(state))
		return -1;
	batch = mmap(NULL, SLUICE_FLEET_BATCH * sizeof(*batch), PROT_READ | PROT_WRITE, MAP_SHARED,
		     fd_of(fleet_batch), 0);
	changes = ring_buffer__new(fd_of(fleet_changes), keep_change, NULL, NULL);
	return batch == MAP_FAILED || !changes ? -1 : 0;
}

#define fleet_main(name, tests)                                                                    \
	(geteuid() ? (fprintf(stderr, "%s: needs root\n", name), 77)                               \
		   : cmocka_run_group_tests_name(name, tests, open_fleet, world_close))

#endif
