/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The N highest of many are those that a sort of all would put first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "core/highest.h"

enum { MANY = 3000 };

static int first(const void *a, const void *b)
{
	const struct highest_item *x = a, *y = b;

	if (x->rank != y->rank)
		return x->rank < y->rank ? 1 : -1;
	if (x->then != y->then)
		return x->then < y->then ? 1 : -1;
	return x->index < y->index ? -1 : 1;
}

static void the_highest_are_those_that_a_sort_puts_first(void **state)
{
	static const size_t maxima[] = {1, 2, 7, 1000, MANY, MANY + 5};
	static struct highest_item all[MANY], items[MANY + 5];

	srandom(7);
	for (unsigned round = 0; round < 20; round++)
		for (size_t m = 0; m < sizeof(maxima) / sizeof(maxima[0]); m++) {
			struct highest h = {.items = items, .max = maxima[m]};
			size_t n = (size_t)random() % MANY;

			for (size_t i = 0; i < n; i++) {
				all[i] =
					(struct highest_item){(uint64_t)random() % (round + 1) % 40,
							      (uint64_t)random() % 9, i};
				highest_add(&h, all[i]);
			}
			highest_sort(&h);
			qsort(all, n, sizeof(all[0]), first);
			assert_int_equal(h.count, n < h.max ? n : h.max);
			for (size_t i = 0; i < h.count; i++)
				assert_int_equal(items[i].index, all[i].index);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_highest_are_those_that_a_sort_puts_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
