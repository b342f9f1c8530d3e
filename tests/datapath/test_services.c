/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The map of services: it has exactly those that were set, at the addresses of this host, and the
 * programs notice every change of a name.
 */
#include "../unit/steps.h"
#include "attached.h"
#include "maps_only.h"

#include <arpa/inet.h>
#include <poll.h>

#include "core/service.h"

static bool has_service(struct datapath *d, const char *address, uint16_t port,
			struct sluice_service *out)
{
	struct sluice_service_key key = {.port = htons(port)};
	struct sluice_service unused;

	if (inet_pton(AF_INET6, address, key.addr) != 1)
		fail_msg("%s is no address", address);
	return !bpf_map_lookup_elem(map_fd(d->skel->maps.services), &key, out ? out : &unused);
}

static uint64_t services_now(struct datapath *d)
{
	uint64_t n = 0, max;

	assert_done(datapath_map_fill(d, "services", &n, &max));
	assert_int_equal(max, 8192);
	return n;
}

static bool port_bit(struct datapath *d, uint16_t port)
{
	uint32_t word = port / 64;
	uint64_t bits;

	assert_int_equal(bpf_map_lookup_elem(map_fd(d->skel->maps.ports), &word, &bits), 0);
	return bits >> (port % 64) & 1;
}

static void a_wildcard_follows_the_hosts_addresses(void **state)
{
	const struct service any = {.port = 8000, .wildcard = true, .id = 5};
	struct datapath *d = opened();
	struct pollfd poll_fd = {.fd = datapath_addresses_fd(d), .events = POLLIN};
	struct sluice_service value;

	run("ip addr add 10.9.8.7/24 dev t0");
	assert_done(datapath_set_services(d, &any, 1));
	assert_true(has_service(d, "::ffff:127.0.0.1", 8000, &value));
	assert_int_equal(value.id, 5);
	assert_int_equal(value.wildcard, 1);
	assert_true(has_service(d, "::1", 8000, NULL));
	assert_true(has_service(d, "::ffff:10.9.8.7", 8000, NULL));
	assert_false(has_service(d, "::ffff:10.9.8.9", 8000, NULL));
	datapath_addresses_drain(d);
	assert_done(datapath_refresh(d));
	run("ip addr add 10.9.8.9/24 dev t0 && ip addr add fd00::5/64 dev t0 nodad");
	assert_int_equal(poll(&poll_fd, 1, 20000), 1);
	assert_done(datapath_refresh(d));
	assert_true(has_service(d, "::ffff:10.9.8.9", 8000, NULL));
	assert_true(has_service(d, "fd00::5", 8000, NULL));
	run("ip addr del 10.9.8.7/24 dev t0 && ip addr add 10.9.8.10/24 dev t0");
	assert_done(datapath_refresh(d));
	assert_false(has_service(d, "::ffff:10.9.8.7", 8000, NULL));
	assert_true(has_service(d, "::ffff:10.9.8.10", 8000, NULL));
	closed(d);
}

static void thousands_of_addresses_are_followed_in_steps(void **state)
{
	enum { ADDRESSES = 3000 };
	const struct service any = {.port = 8000, .wildcard = true, .id = 5};
	struct datapath *d = opened();
	FILE *batch = popen("ip -batch -", "w");

	assert_non_null(batch);
	for (int i = 0; i < ADDRESSES; i++)
		fprintf(batch, "addr add 10.20.%d.%d/32 dev t0\n", i / 250, i % 250 + 1);
	assert_int_equal(pclose(batch), 0);
	d->handlers.step = note_step;
	assert_done(datapath_set_services(d, &any, 1));
	assert_in_range(steps.most, 1, BATCH);
	/* Listed, sorted, compared, written: an entry a step, at least. */
	assert_in_range(steps.all, 4 * ADDRESSES, 20 * ADDRESSES);
	assert_true(services_now(d) > ADDRESSES);
	assert_true(has_service(d, "::ffff:10.20.11.250", 8000, NULL));
	steps.all = 0;
	datapath_addresses_drain(d);
	run("ip addr del 10.20.11.250/32 dev t0");
	assert_done(datapath_refresh(d));
	assert_false(has_service(d, "::ffff:10.20.11.250", 8000, NULL));
	assert_in_range(steps.most, 1, BATCH);
	assert_in_range(steps.all, 4 * ADDRESSES, 20 * ADDRESSES);
	closed(d);
}

static void the_services_are_exactly_those_set(void **state)
{
	struct service two[] = {
		{.port = 8000, .wildcard = true, .id = 1},
		{.port = 8000, .id = 2},
		{.port = 9000, .id = 3},
	};
	struct datapath *d = opened();
	struct sluice_service value;
	uint64_t with;

	inet_pton(AF_INET6, "::ffff:127.0.0.1", two[1].addr);
	inet_pton(AF_INET6, "::ffff:203.0.113.9", two[2].addr);
	assert_done(datapath_set_services(d, two, 3));
	with = services_now(d);
	assert_true(with >= 3);
	assert_true(has_service(d, "::ffff:127.0.0.1", 8000, &value));
	assert_int_equal(value.id, 2); /* a service with an address precedes a wildcard */
	assert_int_equal(value.wildcard, 0);
	assert_true(port_bit(d, 8000) && port_bit(d, 9000));
	assert_false(port_bit(d, 8001));
	assert_done(datapath_set_services(d, two, 2));
	assert_int_equal(services_now(d), with - 1);
	assert_false(port_bit(d, 9000));
	/* A daemon that adopts the map removes the services that it did not set. */
	closed(d);
	d = opened();
	assert_int_equal(services_now(d), with - 1);
	assert_done(datapath_set_services(d, two + 2, 1));
	assert_int_equal(services_now(d), 1);
	assert_false(port_bit(d, 8000));
	assert_done(datapath_set_services(d, NULL, 0));
	assert_int_equal(services_now(d), 0);
	/* 0.0.0.0 means this host's IPv4 addresses only. */
	inet_pton(AF_INET6, "::ffff:0.0.0.0", two[0].addr);
	assert_done(datapath_set_services(d, two, 1));
	assert_true(has_service(d, "::ffff:127.0.0.1", 8000, NULL));
	assert_false(has_service(d, "::1", 8000, NULL));
	closed(d);
}

/* Every change of services voids what the programs remember of names. */
static void the_programs_notice_every_change_of_a_name(void **state)
{
	struct service one = {.port = 8000, .wildcard = true, .id = 1};
	struct datapath *d = opened();
	uint32_t before = pinned_settings().names;

	assert_done(datapath_set_services(d, &one, 1));
	assert_int_equal(pinned_settings().names, before + 1);
	assert_done(datapath_set_model(d, "llama-70b", 7, 1));
	assert_int_equal(pinned_settings().names, before + 2);
	assert_int_equal(datapath_set_model(d, "llama-70b", SLUICE_MODELS_MAX, 1), -EINVAL);
	assert_int_equal(pinned_settings().names, before + 2);
	/* A daemon that adopts the maps continues from there. */
	closed(d);
	d = opened();
	assert_done(datapath_set_services(d, NULL, 0));
	assert_int_equal(pinned_settings().names, before + 3);
	closed(d);
}

static void too_many_services_change_nothing(void **state)
{
	static struct service many[8193];
	struct datapath *d = opened();

	for (unsigned i = 0; i < 8193; i++) {
		many[i] = (struct service){.port = 1 + i};
		many[i].addr[15] = 9;
	}
	assert_done(datapath_set_services(d, many, 8192));
	assert_int_equal(services_now(d), 8192);
	/* All old services give way, although both sets do not fit at once. */
	for (unsigned i = 0; i < 8193; i++)
		many[i].addr[15] = 10;
	assert_done(datapath_set_services(d, many, 8192));
	assert_int_equal(services_now(d), 8192);
	assert_int_equal(datapath_set_services(d, many, 8193), -E2BIG);
	assert_int_equal(services_now(d), 8192);
	assert_true(port_bit(d, 8192));
	assert_false(port_bit(d, 8193));
	closed(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		maps_test(a_wildcard_follows_the_hosts_addresses),
		maps_test(thousands_of_addresses_are_followed_in_steps),
		maps_test(the_services_are_exactly_those_set),
		maps_test(the_programs_notice_every_change_of_a_name),
		maps_test(too_many_services_change_nothing),
	};

	return sandbox_main("services", tests);
}
