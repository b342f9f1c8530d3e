/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Identity: which client a request is charged to. An address is cut to its service's prefix length.
 * A service's configuration names sources that count before the peer's address: headers that hold a
 * key, and the client address that a trusted proxy states.
 */
#ifndef SLUICE_BPF_IDENTITY_H
#define SLUICE_BPF_IDENTITY_H

#include "question.h"

/* The client of an address: cut to the service's prefix length. */
static __always_inline void client_of_address(const __u8 addr[16],
					      const struct sluice_service *service,
					      struct sluice_client *out)
{
	const __u32 *word = (const __u32 *)addr;
	bool ipv4 = !word[0] && !word[1] && word[2] == bpf_htonl(0xffff);
	__u32 plen = ipv4 ? 96 + service->client_plen4 : service->client_plen6;
	__u64 *half = (__u64 *)out->addr;

	__builtin_memset(out, 0, sizeof(*out));
	__builtin_memcpy(out->addr, addr, 16);
	out->plen = plen;
	if (plen < 64) {
		half[0] &= plen ? bpf_cpu_to_be64(~0ULL << (64 - plen)) : 0;
		half[1] = 0;
	} else if (plen < 128) {
		half[1] &= plen > 64 ? bpf_cpu_to_be64(~0ULL << (128 - plen)) : 0;
	}
}

/* Whether this address is a proxy that the service trusts to state its client's address. */
static __always_inline bool trusted(const __u8 addr[16], const struct sluice_service *service)
{
	struct sluice_trusted_key key = {.plen = 160, .service = service->id};

	if (!service->forwarded && !service->proxy)
		return false;
	__builtin_memcpy(key.addr, addr, 16);
	return bpf_map_lookup_elem(&trusted_proxies, &key) != NULL;
}

/*
 * Puts the address that a trusted proxy forwards the request for into the question. Each proxy of a
 * chain appends its peer's address. The client's is the last one that is not a trusted proxy
 * itself. If all are trusted proxies, it is the earliest one that the scanner kept.
 */
SUBPROG int forwarded_client(const struct sluice_conn *conn, const struct sluice_service *service)
{
	struct judging *a = get_judging();
	const struct forwarded *f;

	if (!a || !conn || !service)
		return 0;
	f = &conn->request.forwarded;
	__builtin_memcpy(a->question.prefix.addr, f->addr, 16);
#pragma unroll
	for (int i = 0; i < FORWARDED_HOPS - 1; i++) {
		if (f->hops < i + 2 || !trusted(a->question.prefix.addr, service))
			break;
		__builtin_memcpy(a->question.prefix.addr, f->before[i], 16);
	}
	return 0;
}

/*
 * Names the client of the request under way, from what has arrived of its head. Its address is its
 * connection's, or the one that a trusted proxy forwards it for. The request is charged to that
 * address or to the holder of its key, whichever the service names first.
 */
static __always_inline void identify_request(const struct sluice_conn *conn,
					     const struct sluice_service *service)
{
	const struct http1_request *r = &conn->request;
	struct judging *a = get_judging();
	struct question *q;
	__u64 *half;
	bool forwarded;

	if (!a)
		return;
	q = &a->question;
	half = (__u64 *)q->client.addr;
	q->prefix.plen = 128;
	__builtin_memcpy(q->prefix.addr, conn->addr, 16);
	q->address = conn->client;
	q->client = conn->client;
	q->priority = 0;
	if (conn->flags & SLUICE_CONN_PROXY)
		return;
	q->priority = r->key.priority;
	forwarded = service->forwarded && conn->flags & SLUICE_CONN_TRUSTED &&
		    r->forwarded.flags & FORWARDED_KNOWN;
	if (forwarded) {
		forwarded_client(conn, service);
		client_of_address(q->prefix.addr, service, &q->address);
		q->client = q->address;
	}
	if (!r->key.rank || (forwarded && service->forwarded <= r->key.rank))
		return;
	half[0] = r->key.hash;
	half[1] = 0;
	q->client.plen = 0;
	q->client.kind = SLUICE_CLIENT_KEY;
}

/* … in a function of its own, for a request that began in an earlier packet. */
SUBPROG int name_client(const struct sluice_conn *conn, const struct sluice_service *service)
{
	if (conn && service)
		identify_request(conn, service);
	return 0;
}

#endif
