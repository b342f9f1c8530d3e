/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A pass over all connections, which the daemon runs once a second by BPF_PROG_TEST_RUN: what has
 * to happen although no packet comes. The program is never attached. It runs here and not in the
 * daemon because only a program changes a connection atomically.
 */
#include "stall.h"

struct sweep {
	__u64 now;
};

static long sweep_conn(void *map, const struct sluice_conn_key *key, struct sluice_conn *conn,
		       struct sweep *s)
{
	conn_check_stall(conn, s->now);
	return 0;
}

SEC("tc")
int sweep(struct __sk_buff *skb)
{
	struct sluice_settings *set = get_settings();
	struct sweep s = {};

	if (!set)
		return TC_ACT_SHOT;
	s.now = now_ns(set);
	return bpf_for_each_map_elem(&conns, sweep_conn, &s, 0) < 0 ? TC_ACT_SHOT : TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
