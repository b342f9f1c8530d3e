/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One daemon for each address and port of a network namespace (claims.c). */
#ifndef SLUICE_DATAPATH_CLAIMS_H
#define SLUICE_DATAPATH_CLAIMS_H

#include "internal.h"

/* Claims the addresses and ports of the services, beside those that the daemon has. -EADDRINUSE:
 * another sluiced has one. On an error claims_keep() gives back what was claimed. */
int claims_take(struct datapath *d, const struct service *services, size_t count);
/* Gives back all claims but those of the services. */
void claims_keep(struct datapath *d, const struct service *services, size_t count);
/* Answers those who look who has a claim. Call it once a second. */
void claims_answer(struct datapath *d);

/* Takes a number that no other living daemon of this network namespace has: the descriptor that
 * holds it; -1: another has it, or a stranger. */
int claims_number(unsigned number);

#endif
