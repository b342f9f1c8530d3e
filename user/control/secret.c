/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Keeps API keys out of what is left in memory. The one idea: jansson copies a text several times
 * while it reads or writes it, so not single values are wiped but all memory that it gives back.
 */
#include "control/secret.h"

#include <jansson.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#define STACK_WIPED 32768 /* deeper than jansson goes with a line of ours */

static void wipe_and_free(void *memory)
{
	if (memory)
		explicit_bzero(memory, malloc_usable_size(memory));
	free(memory);
}

__attribute__((noinline)) void secret_wipe_stack(void)
{
	char below[STACK_WIPED];

	explicit_bzero(below, sizeof(below));
}

void secret_protect(void)
{
	prctl(PR_SET_DUMPABLE, 0);
	json_set_alloc_funcs(malloc, wipe_and_free);
}
