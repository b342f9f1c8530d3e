/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A cache, one a CPU, of the services and models that it has found. A look-up in a hash costs
 * several calls, and most packets of a CPU are for few services and models. A few bits of the key
 * choose an entry of the array. Each entry keeps the value of settings.names that it was found
 * under. The daemon raises that number after every change, and an entry with another number is
 * looked up again.
 */
#ifndef SLUICE_BPF_LOOKUP_H
#define SLUICE_BPF_LOOKUP_H

#include "packet.h"

#define SERVICES_KNOWN 16
#define MODELS_KNOWN   64

struct known_service {
	struct sluice_service_key key; /* as in the packet */
	__u32 names;
	struct sluice_service service;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct known_service);
	__uint(max_entries, SERVICES_KNOWN);
} known_services __weak SEC(".maps");

/* As packet_service(), from the cache if it can. */
static __always_inline struct sluice_service *packet_known_service(const struct packet *p,
								   __u32 names)
{
	const __u32 *addr = (const __u32 *)p->key.server_addr;
	__u32 at = (addr[3] ^ addr[3] >> 24 ^ p->key.server_port >> 8) % SERVICES_KNOWN;
	struct known_service *known = bpf_map_lookup_elem(&known_services, &at);
	struct sluice_service *found;
	__u32 *key;

	if (!known)
		return NULL;
	key = (__u32 *)known->key.addr;
	if (names && known->names == names && known->key.port == p->key.server_port &&
	    key[0] == addr[0] && key[1] == addr[1] && key[2] == addr[2] && key[3] == addr[3])
		return &known->service;
	__sync_fetch_and_and(&known->names,
			     0); /* a full barrier: what is found is no older than `names` */
	found = packet_service(p);
	if (!found)
		return NULL;
	known->names = names;
	__builtin_memcpy(known->key.addr, p->key.server_addr, 16);
	known->key.port = p->key.server_port;
	known->service = *found;
	return &known->service; /* always of this map: else the verifier would walk all that follows
				   twice */
}

struct known_model {
	char name[SLUICE_NAME_MAX] SLUICE_ALIGNED(8);
	__u32 names;
	__u32 id;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct known_model);
	__uint(max_entries, MODELS_KNOWN);
} known_models SEC(".maps");

/* The id of the request's model, from the cache if it can. */
static __always_inline __u32 id_of_name(const struct http1_request *r)
{
	const __u64 *name = (const __u64 *)r->json.name;
	struct sluice_settings *set = get_settings();
	struct known_model *known;
	__u64 *kept, differ = 0;
	__u32 names, at, *id;

	at = (name[0] + 3 * name[1] + 5 * name[2] + 7 * name[3]) * 0x9e3779b97f4a7c15ULL >> 58;
	known = bpf_map_lookup_elem(&known_models, &at);
	if (!known || !set)
		return SLUICE_MODEL_OTHER;
	names = set->names;
	kept = (__u64 *)known->name;
#pragma unroll
	for (int i = 0; i < SLUICE_NAME_MAX / 8; i++)
		differ |= kept[i] ^ name[i];
	if (!differ && known->names == names && names)
		return known->id;
	__sync_fetch_and_and(&known->names, 0);
	id = bpf_map_lookup_elem(&model_ids, r->json.name);
	if (!id || *id >= SLUICE_MODELS_MAX)
		return SLUICE_MODEL_OTHER;
	__builtin_memcpy(known->name, r->json.name, SLUICE_NAME_MAX);
	known->names = names;
	known->id = *id;
	return *id;
}

static __always_inline __u32 model_of_name(const struct http1_request *r,
					   const struct sluice_service *service)
{
	if (r->json.flags & JSON_MODEL_INVALID)
		return SLUICE_MODEL_OTHER;
	return r->json.name_len ? id_of_name(r) : service->default_model;
}

#endif
