/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What `sluicectl top` knows: the last answers, the averages of each model for the last five
 * minutes, and the totals of the last seconds, from which rates follow. All of it is bounded: a
 * model that the daemon no longer lists is forgotten. Time is a parameter.
 */
#ifndef SLUICE_TOP_DATA_H
#define SLUICE_TOP_DATA_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define HISTORY_SECS 300
#define RATE_POLLS   6 /* rates are over the last five seconds */

/* A second without a sample is NAN. */
struct history {
	char *name;
	float ttft_ms[HISTORY_SECS], itl_ms[HISTORY_SECS]; /* at second % HISTORY_SECS */
};

struct totals {
	double ms; /* when they were polled */
	json_t *requests, *rejected, *shadow_rejected, *connections;
	json_t *clients;                               /* {client: [admitted, rejected]} */
	json_t *admitted_by_class, *rejected_by_class; /* no object: all are of class normal */
};

struct top_data {
	json_t *status, *clients;  /* as the daemon sent them, escaped; NULL: not yet */
	struct history *histories; /* one for each of status.models, in its order; then global */
	size_t history_count;
	uint64_t first_second, second;    /* of the histories; second 0: none */
	struct totals totals[RATE_POLLS]; /* the newest first */
	unsigned polls;
	char problem[256]; /* why there are no new figures; empty: there are */
};

/* Takes a poll's answers and their references. ms: monotonic. */
void top_data_take(struct top_data *d, json_t *status, json_t *clients, uint64_t ms);
void top_data_free(struct top_data *d);

/* Seconds that the histories cover, at most HISTORY_SECS. */
unsigned top_history_secs(const struct top_data *d);

enum top_total { TOP_REQUESTS, TOP_REJECTED, TOP_SHADOW_REJECTED, TOP_CONNECTIONS };

/* The rise of a total a second. Negative: not known yet. */
double top_rate(const struct top_data *d, enum top_total of, const char *key);
/* which: 0 admitted, 1 rejected. */
double top_class_rate(const struct top_data *d, const char *class, unsigned which);
double top_client_rate(const struct top_data *d, const char *client, unsigned which);

#endif
