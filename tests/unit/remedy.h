/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Runs the `sluicectl set` commands of a sentence, as an operator who pastes them. */
#ifndef SLUICE_TESTS_REMEDY_H
#define SLUICE_TESTS_REMEDY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "core/controller.h"

/* How many there were. */
static inline unsigned run_set_commands(struct controller *c, const char *sentence)
{
	static const char begin[] = "sluicectl set ";
	unsigned n = 0;

	for (const char *at = sentence; (at = strstr(at, begin)); n++) {
		char pair[64], model[64], err[256];
		const char *const pairs[] = {pair};
		int words;

		at += strlen(begin);
		words = sscanf(at, "%63[^ `<] --model %63[^ `<]", pair, model);
		if (controller_set_all(c, words == 2 ? model : NULL, pairs, 1, err, sizeof(err)))
			fail_msg("%s: %s", at, err);
	}
	return n;
}

#endif
