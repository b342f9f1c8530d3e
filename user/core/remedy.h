/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The commands of sluicectl that admit what is refused, with values: a target, a limit or a quota
 * somewhat above the least that admits. `explain` proposes them, and so does the page. They are for
 * pasting into a shell: clients choose the names of models, so a name is quoted.
 */
#ifndef SLUICE_REMEDY_H
#define SLUICE_REMEDY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/explain.h"

struct remedy {
	const struct daemon_state *s;
	const struct explanation *e;        /* of such a request: the numbers of a verdict on it */
	const struct sluice_client *client; /* that is refused; NULL: nobody in particular */
	uint32_t reason;                    /* enum sluice_reason */
	uint32_t about;           /* the model that it is refused for, or SLUICE_MODEL_ALL */
	const char *request;      /* for the sentences: "it" */
	const char *client_words; /* … "this client" */
};

/*
 * Writes sentences, each with its commands: "To admit it by a higher target: COMMAND. To admit this
 * client anyway: COMMAND." `command` writes a command, and marks it.
 */
void remedy_write(FILE *out, const struct remedy *r, void (*command)(FILE *out, const char *text));
/* Whether the reason is what the client itself did, or a rule about it. */
bool remedy_is_of_client(uint32_t reason);
/* Whether the ceiling of the policy refuses the request, and not max-in-flight, which comes
 * first. */
bool remedy_at_ceiling(const struct remedy *r);

#endif
