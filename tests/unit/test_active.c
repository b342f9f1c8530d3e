/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Active clients: a pool counts each client once, by its weight, until the client has been silent
 * for ACTIVE_NS. The table keeps its size under any number of clients.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/active.h"

#define S 1000000000ULL

static struct active table;
static double sums[SLUICE_MODELS_MAX];
static unsigned requested;

static double weight(void *arg, const struct sluice_client *client)
{
	requested++;
	return client->addr[15] ? 1 : 4;
}

static void seen(uint32_t who, uint16_t pool, uint64_t at)
{
	struct sluice_client c = {.plen = 128};

	for (int i = 0; i < 4; i++)
		c.addr[15 - i] = who >> 8 * i;
	active_seen(&table, &c, pool, weight, NULL, at);
}

static double sum(uint16_t pool, uint64_t at)
{
	memset(sums, 0, sizeof(sums));
	active_weights(&table, at, sums);
	return sums[pool];
}

static int fresh(void **state)
{
	memset(&table, 0, sizeof(table));
	requested = 0;
	return 0;
}

static void a_client_counts_once_a_pool_while_it_is_active(void **state)
{
	for (int i = 0; i < 100; i++) {
		seen(1, 2, S + i);
		seen(2, 2, S + i);
		seen(1, 3, S + i);
	}
	assert_true(sum(2, S + 100) == 2);
	assert_true(sum(3, S + 100) == 1);
	assert_true(sum(4, S + 100) == 0);
	assert_int_equal(requested, 3);
	seen(2, 2, 3 * S);
	assert_true(sum(2, S + ACTIVE_NS) == 1);
	assert_true(sum(3, S + ACTIVE_NS) == 0);
	assert_true(sum(2, 3 * S + ACTIVE_NS) == 0);
}

static void weights_of_active_clients_add_up(void **state)
{
	seen(256, 2, S);
	seen(1, 2, S);
	assert_true(sum(2, S) == 5);
}

static void the_table_is_bounded_and_counts_every_client_that_fits(void **state)
{
	for (uint32_t i = 0; i < ACTIVE_SLOTS / 4; i++)
		seen(i, 2, S);
	assert_true(sum(2, S) >= ACTIVE_SLOTS / 4);
	for (uint32_t i = 0; i < 1000000; i++)
		seen(i, 2, 2 * S);
	assert_true(sum(2, 2 * S) <= 4.0 * ACTIVE_SLOTS);
	/* the full table still takes new clients */
	for (uint32_t i = 0; i < 10; i++)
		seen(i, 5, 20 * S);
	assert_true(sum(5, 20 * S) == 13);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_client_counts_once_a_pool_while_it_is_active, fresh),
		cmocka_unit_test_setup(weights_of_active_clients_add_up, fresh),
		cmocka_unit_test_setup(the_table_is_bounded_and_counts_every_client_that_fits,
				       fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
