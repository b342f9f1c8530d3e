/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The counts of connections by client, corrected from the walks over conns (crowd.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crowd.h"
#include "map_io.h"

#define LOAD(field)   __atomic_load_n(&(field), __ATOMIC_SEQ_CST)
#define ADD(field, n) __atomic_fetch_add(&(field), n, __ATOMIC_SEQ_CST)

void crowd_start(struct datapath *d, struct crowd *c)
{
	memcpy(c->last_found, c->found, sizeof(c->found));
	memcpy(c->last_before, c->before, sizeof(c->before));
	memset(c->found, 0, sizeof(c->found));
	for (uint32_t i = 0; i < SLUICE_CONN_BUCKETS; i++)
		c->before[i] = LOAD(d->conn_counts[i]);
}

void crowd_add(struct crowd *c, const struct sluice_conn *conn)
{
	c->found[conn->bucket]++;
	if (conn->bucket != SLUICE_CONNS_ALL)
		c->found[SLUICE_CONNS_ALL]++;
}

void crowd_end(struct datapath *d, struct crowd *c)
{
	for (uint32_t i = 0; c->walked && i < SLUICE_CONN_BUCKETS; i++) {
		int64_t now = LOAD(d->conn_counts[i]);

		if (now != c->found[i] && now == c->before[i] && now == c->last_before[i] &&
		    c->found[i] == c->last_found[i])
			ADD(d->conn_counts[i], c->found[i] - now);
	}
	c->walked = true;
}

static void count_conn(void *arg, const void *key, const void *value)
{
	struct crowd *c = arg;
	struct sluice_conn conn;

	memcpy(&conn, value, sizeof(conn));
	crowd_add(c, &conn);
}

int crowd_recount(struct datapath *d)
{
	_cleanup_free_ struct crowd *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return datapath_fail(-ENOMEM, "out of memory");
	err = map_each(d, d->skel->maps.conns, count_conn, c);
	for (uint32_t i = 0; i < SLUICE_CONN_BUCKETS && !err; i++)
		ADD(d->conn_counts[i], c->found[i] - LOAD(d->conn_counts[i]));
	return err;
}

void crowd_leaves(struct datapath *d, uint32_t bucket)
{
	ADD(d->conn_counts[bucket & (SLUICE_CONN_BUCKETS - 1)], -1);
	ADD(d->conn_counts[SLUICE_CONNS_ALL], -1);
}
