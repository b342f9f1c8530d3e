/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The daemon's answers for people: tables with their units in the header, and first of all the one
 * line that somebody woken at three in the morning needs: is it enforcing, is anything shut, why,
 * since when, until when.
 */
#ifndef SLUICE_PEOPLE_H
#define SLUICE_PEOPLE_H

#include <jansson.h>
#include <stdio.h>

void people_status(FILE *out, const json_t *status);
void people_models(FILE *out, const json_t *models);
void people_clients(FILE *out, const json_t *clients);
void people_explain(FILE *out, const json_t *answer);
void people_quotas(FILE *out, const json_t *quotas);
void people_services(FILE *out, const json_t *services);
/* One line of a watch stream. */
void people_event(FILE *out, const json_t *event);
/* What holds after a `set`. */
void people_set(FILE *out, const json_t *answer);
/* A sentence about what a command that changes something did. */
void people_done(FILE *out, const json_t *answer);

#endif
