/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One interval of `watch --summary`: the difference of two answers of the daemon. The stream of
 * events is limited to 1000 refusals a second and CPU, so nothing is counted from it.
 */
#ifndef SLUICE_SUMMARY_H
#define SLUICE_SUMMARY_H

#include <jansson.h>

#define SUMMARY_LISTED 10 /* models and clients in an interval, the most refused first */

/*
 * `before`, `now`: answers to `status`, of times that are interval_ms apart. clients_before,
 * clients_now: answers to `clients` by `rejected`; NULL: none was asked for. A client that is not
 * in the first of the two counts from the least of it, so it may have had more refusals.
 */
json_t *summary_between(const json_t *before, const json_t *now, const json_t *clients_before,
			const json_t *clients_now, json_int_t interval_ms);
/* Whether anything was refused, or would have been in mode enforce. */
int summary_refused(const json_t *before, const json_t *now);

#endif
