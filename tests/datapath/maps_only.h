/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Tests of what the daemon does with the maps, through which no packet goes: a datapath that such a
 * test opens is without the two programs that the kernel verifies for seconds. Whatever would
 * attach them fails. The Makefile lists the test programs that include this.
 */
#ifndef SLUICE_MAPS_ONLY_H
#define SLUICE_MAPS_ONLY_H

#include "sandbox.h"

#include "datapath/programs.h"

static bool maps_only;

struct sluice_bpf *__real_programs_open(const struct bpf_object_open_opts *opts);
struct sluice_bpf *__wrap_programs_open(const struct bpf_object_open_opts *opts);

struct sluice_bpf *__wrap_programs_open(const struct bpf_object_open_opts *opts)
{
	struct sluice_bpf *skel = __real_programs_open(opts);

	if (skel && maps_only) {
		bpf_program__set_autoload(skel->progs.requests, false);
		bpf_program__set_autoload(skel->progs.responses, false);
	}
	return skel;
}

static inline int maps_setup(void **state)
{
	maps_only = true;
	return sandbox_setup(state);
}

static inline int maps_teardown(void **state)
{
	maps_only = false;
	return sandbox_teardown(state);
}

#define maps_test(f) cmocka_unit_test_setup_teardown(f, maps_setup, maps_teardown)

#endif
