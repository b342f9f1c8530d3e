/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The programs load on Linux 6.1, which allows less stack than the newer kernel that these tests
 * run on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../kernels/stack.h"
#include "sluice.skel.h"

static void each_chain_of_calls_fits_the_stack_of_linux_6_1(void **state)
{
	struct sluice_bpf *skel;
	struct bpf_map *map;
	int error;

	assert_int_equal(stack_begin(), 0);
	skel = sluice_bpf__open();
	assert_non_null(skel);
	bpf_object__for_each_map(map, skel->obj) bpf_map__set_pin_path(map, NULL);
	assert_int_equal(stack_watch(skel->obj), 0);
	error = sluice_bpf__load(skel);
	assert_int_equal(stack_refused(skel->obj, error), 0);
	assert_int_equal(error, 0);
	for (unsigned i = 0; i < stack_count; i++)
		assert_true(stacks[i].functions[0].chain > 0);
	sluice_bpf__destroy(skel);
}

#define CALL(to)                                                                                   \
	{                                                                                          \
		.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_CALL, .imm = (to)                \
	}
#define CALLBACK(to)                                                                               \
	{                                                                                          \
		.code = BPF_LD | BPF_IMM | BPF_DW, .src_reg = BPF_PSEUDO_FUNC, .imm = (to)         \
	}
#define LOOP                                                                                       \
	{                                                                                          \
		.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_loop                                   \
	}
#define EXIT                                                                                       \
	{                                                                                          \
		.code = BPF_JMP | BPF_EXIT                                                         \
	}

/* With frames rounded up to 16, as newer kernels do, the deepest chain would have 496 bytes. */
static void a_chain_is_summed_with_its_callbacks(void **state)
{
	static const struct bpf_insn insns[] = {
		[0] = CALL(2),     [1] = CALL(8), [2] = EXIT,             /* main */
		[3] = CALLBACK(3), [4] = {0},     [5] = LOOP, [6] = EXIT, /* walk */
		[7] = EXIT,                                               /* step */
		[8] = EXIT,                                               /* unused */
		[9] = EXIT,        [10] = EXIT,                           /* other */
	};
	static struct stack s = {
		.name = "main",
		.insns = insns,
		.insn_count = 11,
		.count = 5,
		.functions = {{.start = 0, .name = "main"},
			      {.start = 3, .name = "walk"},
			      {.start = 7, .name = "step"},
			      {.start = 8, .name = "unused"},
			      {.start = 10, .name = "other"}},
		.log = "verification time 1 usec\nstack depth 168+192+136+0+200\nprocessed",
	};
	char chain[256];

	assert_int_equal(stack_read(&s, true), 192 + 192 + 160);
	stack_chain(&s, chain, sizeof(chain));
	assert_string_equal(chain, "main 192 + walk 192 + step 160 = 544");
	assert_int_equal(s.functions[3].bytes, 32);

	strcpy(s.log, "stack depth 168+192+136+0");
	assert_int_equal(stack_read(&s, true), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_chain_of_calls_fits_the_stack_of_linux_6_1),
		cmocka_unit_test(a_chain_is_summed_with_its_callbacks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
