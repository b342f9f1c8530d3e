/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps. Every program file includes them, and the object linker makes one of each.
 * Configuration is in maps that never evict. Only state that may be forgotten is in LRU maps:
 * budgets, half-open handshakes, the list of clients.
 */
#ifndef SLUICE_BPF_MAPS_H
#define SLUICE_BPF_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <sluice/abi.h>

#define MAP(kind, map_name, key_type, value_type, entries, ...)                                    \
	struct {                                                                                   \
		__uint(type, kind);                                                                \
		__type(key, key_type);                                                             \
		__type(value, value_type);                                                         \
		__uint(max_entries, entries);                                                      \
		__VA_ARGS__                                                                        \
	} map_name __weak SEC(".maps")
/*
 * A function that the verifier checks once by itself, without its callers' state. This keeps the
 * programs within the verifier's limits on every kernel. The verifier assumes that its pointers may
 * be NULL, so the function has to test each.
 */
#define SUBPROG __weak __attribute__((noinline))

/* A function with a stack frame of its own, off the longest chain of calls: a chain has 512 bytes
 * of stack in all. */
#define OWN_FRAME static __attribute__((noinline, unused))

/*
 * Keeps a pointer in one register from here on. Else the compiler may copy or compute the pointer
 * anew after its NULL test, and the verifier knows only of the tested register. Or it computes the
 * addresses of all members beforehand and spills them to the stack.
 */
#define KEEP(pointer) asm volatile("" : "+r"(pointer))

#define PINNED __uint(pinning, LIBBPF_PIN_BY_NAME);

MAP(BPF_MAP_TYPE_ARRAY, settings, __u32, struct sluice_settings, 1, PINNED);
MAP(BPF_MAP_TYPE_ARRAY, hash_key, __u32, struct siphash_secret, 1, PINNED);
/* A bit for each port that some service has: packets to other ports leave after this look-up. */
MAP(BPF_MAP_TYPE_ARRAY, ports, __u32, __u64, 65536 / 64, PINNED);
MAP(BPF_MAP_TYPE_HASH, services, struct sluice_service_key, struct sluice_service, 8192, PINNED);
MAP(BPF_MAP_TYPE_ARRAY, rules, __u32, struct sluice_rules, SLUICE_SERVICES_MAX, PINNED);
/* enum sluice_unread: what the service's server has answered in HTTP/1.x. Not pinned: it is soon
 * found out again. */
MAP(BPF_MAP_TYPE_ARRAY, unread_answered, __u32, __u32, SLUICE_SERVICES_MAX);
MAP(BPF_MAP_TYPE_HASH, model_ids, struct sluice_model_name, __u32, SLUICE_MODELS_MAX, PINNED);
MAP(BPF_MAP_TYPE_ARRAY, named_models, __u32, struct sluice_named_models, 1, PINNED);
MAP(BPF_MAP_TYPE_ARRAY, model_flags, __u32, struct sluice_model_flag, SLUICE_MODELS_MAX, PINNED);
/* Mapped by the daemon, so that it can add its corrections atomically. */
MAP(BPF_MAP_TYPE_ARRAY, model_state, __u32, struct sluice_model_state, SLUICE_MODELS_MAX,
    PINNED __uint(map_flags, BPF_F_MMAPABLE););
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, histograms, __u32, struct sluice_histogram, SLUICE_MODELS_MAX,
    PINNED);
MAP(BPF_MAP_TYPE_HASH, client_flags, struct sluice_client_flag_key, struct sluice_client_flag,
    SLUICE_CLIENT_FLAGS_MAX, PINNED __uint(map_flags, BPF_F_NO_PREALLOC););
MAP(BPF_MAP_TYPE_LPM_TRIE, client_prefixes, struct sluice_prefix_key, struct sluice_prefix,
    SLUICE_PREFIXES_MAX, PINNED __uint(map_flags, BPF_F_NO_PREALLOC););
MAP(BPF_MAP_TYPE_LPM_TRIE, trusted_proxies, struct sluice_trusted_key, __u32,
    SLUICE_SERVICES_MAX *SLUICE_TRUSTED_MAX, PINNED __uint(map_flags, BPF_F_NO_PREALLOC););
MAP(BPF_MAP_TYPE_ARRAY, quotas, __u32, struct sluice_quota, SLUICE_QUOTAS_MAX, PINNED);
MAP(BPF_MAP_TYPE_ARRAY, quota_texts, __u32, struct sluice_quota_text, SLUICE_QUOTAS_MAX, PINNED);
MAP(BPF_MAP_TYPE_HASH, weighted_quotas, struct sluice_weighted_key, __u32, SLUICE_QUOTAS_MAX,
    PINNED __uint(map_flags, BPF_F_NO_PREALLOC););
MAP(BPF_MAP_TYPE_HASH, client_quotas, struct sluice_client_flag_key, __u32,
    SLUICE_CLIENT_QUOTAS_MAX, PINNED __uint(map_flags, BPF_F_NO_PREALLOC););
MAP(BPF_MAP_TYPE_HASH, priorities, struct sluice_client, __u32, SLUICE_PRIORITIES_MAX,
    PINNED __uint(map_flags, BPF_F_NO_PREALLOC););
MAP(BPF_MAP_TYPE_LRU_HASH, client_state, struct sluice_budget_key, struct sluice_budget,
    SLUICE_CLIENTS_MAX, PINNED);
MAP(BPF_MAP_TYPE_ARRAY, fleet, __u32, struct sluice_fleet, 1, PINNED);
/* Mapped by the daemon; the input and output of fleet_sync. */
MAP(BPF_MAP_TYPE_ARRAY, fleet_batch, __u32, struct sluice_fleet_item, SLUICE_FLEET_BATCH,
    __uint(map_flags, BPF_F_MMAPABLE););
/* Mapped by the daemon, for itself and the next one. */
MAP(BPF_MAP_TYPE_ARRAY, fleet_call, __u32, struct sluice_fleet_call, 1,
    PINNED __uint(map_flags, BPF_F_MMAPABLE););
MAP(BPF_MAP_TYPE_HASH, client_in_flight, struct sluice_client_flag_key, struct sluice_holding,
    65536, PINNED __uint(map_flags, BPF_F_NO_PREALLOC););
MAP(BPF_MAP_TYPE_LRU_HASH, client_counts, struct sluice_client, struct sluice_client_count, 65536,
    PINNED);
MAP(BPF_MAP_TYPE_LRU_HASH, half_open, struct sluice_conn_key, struct sluice_half_open,
    SLUICE_HALF_OPEN_MAX, PINNED);
MAP(BPF_MAP_TYPE_HASH, conns, struct sluice_conn_key, struct sluice_conn, SLUICE_CONNS_MAX, PINNED);
/* Its entries, as the daemon sets them before the load. */
const volatile __u32 conns_max __weak = SLUICE_CONNS_MAX;
/* Mapped by the daemon, too. */
MAP(BPF_MAP_TYPE_ARRAY, conn_counts, __u32, __s64, SLUICE_CONN_BUCKETS,
    PINNED __uint(map_flags, BPF_F_MMAPABLE););
MAP(BPF_MAP_TYPE_HASH, tombstones, struct sluice_conn_key, struct sluice_tombstone,
    SLUICE_TOMBSTONES_MAX, PINNED);
MAP(BPF_MAP_TYPE_HASH, kept, struct sluice_conn_key, struct sluice_kept, SLUICE_KEPT_MAX, PINNED);
/* Not pinned: a head that is lost with the programs is sent again. */
MAP(BPF_MAP_TYPE_HASH, held, struct sluice_conn_key, struct sluice_held, SLUICE_HELD_MAX);
MAP(BPF_MAP_TYPE_LRU_HASH, unheld, struct sluice_address, struct sluice_unheld, SLUICE_UNHELD_MAX);
/* Not pinned: a daemon writes it before it attaches. */
MAP(BPF_MAP_TYPE_HASH, server_links, struct sluice_server_link, __u32, SLUICE_SERVER_LINKS_MAX);
MAP(BPF_MAP_TYPE_HASH, reply_heads, struct sluice_reply_head_key, struct sluice_reply_head,
    SLUICE_SERVICES_MAX * 2 * (SLUICE_ORIGINS_MAX + 1),
    PINNED __uint(map_flags, BPF_F_NO_PREALLOC););
MAP(BPF_MAP_TYPE_ARRAY, reply_forms, __u32, struct sluice_reply_form, SLUICE_REPLY_FORMS, PINNED);
MAP(BPF_MAP_TYPE_HASH, replies, struct sluice_reply_key, struct sluice_reply, 4096,
    PINNED __uint(map_flags, BPF_F_NO_PREALLOC););
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, counters, __u32, __u64, SLUICE_COUNTER_COUNT, PINNED);
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, admitted_counts, __u32, struct sluice_admitted_count,
    SLUICE_MODELS_MAX, PINNED);
MAP(BPF_MAP_TYPE_PERCPU_HASH, request_counts, struct sluice_count_key, __u64, 16384,
    PINNED __uint(map_flags, BPF_F_NO_PREALLOC););

/* The BTF of these maps, for a daemon of another version (user/datapath/carry.c), which sets the
 * size. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, 1);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} layout __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} samples __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} verdicts __weak SEC(".maps");

/* Not pinned, like the flag: a record ends with the daemon that reads it. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 19);
} records __weak SEC(".maps");

/* 1: the daemon reads `records`. */
volatile __u32 recording __weak;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fleet_changes __weak SEC(".maps");

#endif
