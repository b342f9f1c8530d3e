/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The services map with the rules and the reply heads of each service; a wildcard service has an
 * entry for each address of the host. The one idea: the difference to the present contents is
 * written, additions before removals, so that a service that stays is never missing. A port's bit
 * is set before its first entry and cleared after its last.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <sluice/http1_wanted.h>

#include "core/service.h"
#include "addresses.h"
#include "claims.h"
#include "hooks.h"
#include "map_io.h"
#include "ports.h"
#include "replies.h"
#include "settings.h"

struct entry {
	struct sluice_service_key key;
	struct sluice_service value;
};

struct entries {
	struct entry *at;
	size_t count, capacity;
	int err;
};

static int by_key(const void *a, const void *b)
{
	return memcmp(a, b,
		      sizeof(struct sluice_service_key)); /* the key is an entry's first member */
}

static int by_key_in_steps(const void *a, const void *b, void *d)
{
	return map_compared(d, by_key(a, b));
}

static void sort(struct datapath *d, struct entries *e)
{
	if (e->count)
		qsort_r(e->at, e->count, sizeof(*e->at), by_key_in_steps, d);
}

static void add(struct entries *e, const uint8_t addr[16], uint16_t port,
		const struct sluice_service *value)
{
	struct entry *entry, *at = list_grow(e->at, e->count, &e->capacity, sizeof(*at));

	if (!at) {
		e->err = -ENOMEM;
		return;
	}
	e->at = at;
	entry = &e->at[e->count++];
	memset(entry, 0, sizeof(*entry));
	memcpy(entry->key.addr, addr, 16);
	entry->key.port = htons(port);
	entry->value = *value;
}

static void add_present(void *arg, const void *key, const void *value)
{
	const struct sluice_service_key *k = key;

	add(arg, k->addr, ntohs(k->port), value);
}

/* Translates a service into the programs' form. */
static struct sluice_service kernel_service(const struct service *s)
{
	return (struct sluice_service){
		.id = s->id,
		.default_model = s->model_id,
		.protocol = (__u8)s->protocol,
		.action = (__u8)s->action,
		.mode = (__u8)s->mode,
		.wildcard = s->wildcard,
		.client_plen4 = s->identity.plen4,
		.client_plen6 = s->identity.plen6,
		.unary = s->unary,
		.on_framing_error = (__u8)s->on_framing_error,
		.frees = s->frees,
		.keep = s->keep,
		.pool = s->pool_id,
		.blob_bytes = s->blob_bytes,
		.unnamed_default = s->unnamed_default,
		.quota = s->quota_id,
		.feedback = s->feedback,
		.forwarded = s->identity.forwarded_at,
		.proxy = s->identity.proxy,
	};
}

/* Sorts by key and keeps each key once: a service with an address wins over a wildcard, then the
 * first in the list wins. */
static int wanted_entries(struct datapath *d, const struct service *services, size_t count,
			  struct entries *out)
{
	static const uint8_t any4[16] = {[10] = 0xff, [11] = 0xff};
	_cleanup_free_ uint8_t(*addresses)[16] = NULL;
	size_t address_count = 0, kept = 0;
	int err;

	err = addresses_list(d, &addresses, &address_count);
	if (err)
		return err;
	for (int wildcard = 0; wildcard < 2; wildcard++) {
		size_t named = out->count;

		if (wildcard)
			sort(d, out);
		for (size_t s = 0; s < count; s++) {
			struct sluice_service value = kernel_service(&services[s]);
			bool only4 = !memcmp(services[s].addr, any4, 16);

			if (services[s].wildcard != !!wildcard)
				continue;
			if (!wildcard)
				add(out, services[s].addr, services[s].port, &value);
			for (size_t a = 0; wildcard && a < address_count; a++) {
				struct sluice_service_key key = {.port = htons(services[s].port)};

				datapath_step(d, 1);
				memcpy(key.addr, addresses[a], 16);
				if (only4 && memcmp(key.addr, any4, 12))
					continue;
				if (!named ||
				    !bsearch(&key, out->at, named, sizeof(*out->at), by_key))
					add(out, addresses[a], services[s].port, &value);
			}
			if (out->err)
				return datapath_fail(out->err, "out of memory");
		}
	}
	sort(d, out);
	for (size_t i = 0; i < out->count; i++) {
		datapath_step(d, 1);
		if (!kept || by_key(&out->at[kept - 1], &out->at[i]))
			out->at[kept++] = out->at[i];
	}
	out->count = kept;
	return 0;
}

static void port_bits(const struct datapath *d, const struct entries *e, uint64_t bits[PORT_WORDS])
{
	memset(bits, 0, PORT_WORDS * sizeof(*bits));
	for (size_t i = 0; i < e->count; i++) {
		uint16_t port = ntohs(e->at[i].key.port);

		datapath_step(d, 1);
		bits[port / 64] |= 1ULL << (port % 64);
	}
}

static int remove_others(const struct datapath *d, const struct entries *present,
			 const struct entries *wanted)
{
	const struct bpf_map *map = d->skel->maps.services;

	for (size_t i = 0; i < present->count; i++) {
		int err;

		datapath_step(d, 1);
		if (wanted->count && bsearch(&present->at[i].key, wanted->at, wanted->count,
					     sizeof(*wanted->at), by_key))
			continue;
		err = map_delete(map, &present->at[i].key);
		if (err && err != -ENOENT)
			return err;
	}
	return 0;
}

static int write_rules(struct datapath *d, const struct service *services, size_t count)
{
	uint32_t none = 0;
	int err = 0;

	for (size_t i = 0; i < count && !err; i++) {
		struct sluice_rules rules = services[i].rules;

		datapath_step(d, 1);
		rules.names = http1_names(rules.header);
		err = map_write(d->skel->maps.rules, &services[i].id, &rules);
		if (!err)
			err = map_write(d->skel->maps.unread_answered, &services[i].id, &none);
	}
	return err;
}

static struct sluice_trusted_key trusted_key(const struct service *s, unsigned i)
{
	struct sluice_trusted_key key = {.plen = 32 + s->identity.trusted[i].plen,
					 .service = s->id};

	memcpy(key.addr, s->identity.trusted[i].addr, sizeof(key.addr));
	return key;
}

static bool trusted_by(const struct service *services, size_t count,
		       const struct sluice_trusted_key *proxy)
{
	for (size_t s = 0; s < count; s++)
		for (unsigned t = 0; t < services[s].identity.trusted_count; t++) {
			struct sluice_trusted_key key = trusted_key(&services[s], t);

			if (!memcmp(&key, proxy, sizeof(key)))
				return true;
		}
	return false;
}

/* Makes trusted_proxies exactly the services' list. */
static int write_trusted(struct datapath *d, const struct service *services, size_t count)
{
	const struct bpf_map *map = d->skel->maps.trusted_proxies;
	const struct sluice_trusted_key *old;
	size_t old_count;
	uint32_t one = 1;
	void *keys;
	int err = map_keys(d, map, &keys, &old_count);

	old = keys;
	for (size_t i = 0; i < old_count && !err; i++) {
		datapath_step(d, BATCH); /* thousands of comparisons */
		if (!trusted_by(services, count, &old[i]))
			err = map_delete(map, &old[i]);
	}
	for (size_t s = 0; s < count && !err; s++)
		for (unsigned t = 0; t < services[s].identity.trusted_count && !err; t++) {
			struct sluice_trusted_key key = trusted_key(&services[s], t);

			datapath_step(d, 1);
			err = map_write(map, &key, &one);
		}
	free(keys);
	return err;
}

static int write_services(struct datapath *d, const struct service *services, size_t count)
{
	struct entries present = {0}, wanted = {0};
	_cleanup_free_ void *free_present = NULL, *free_wanted = NULL;
	const struct bpf_map *map = d->skel->maps.services;
	uint32_t max = bpf_map__max_entries(map);
	uint64_t bits[PORT_WORDS];
	int err, changed;

	err = wanted_entries(d, services, count, &wanted);
	free_wanted = wanted.at;
	if (err)
		return err;
	if (wanted.count > max)
		return datapath_fail(
			-E2BIG,
			"%zu services (wildcards counted on each address) are more than the %u that sluice has room for",
			wanted.count, max);
	err = map_each(d, map, add_present, &present);
	free_present = present.at;
	if (!err)
		err = map_read_result(map, present.err);
	if (err)
		return err;
	sort(d, &present);

	port_bits(d, &wanted, bits);
	err = ports_add(d, bits);
	/* If both sets do not fit at once, removals come first, but nothing that stays is
	 * removed. */
	if (!err && present.count + wanted.count > max)
		err = remove_others(d, &present, &wanted);
	for (size_t i = 0; !err && i < wanted.count; i++) {
		const struct entry *w = &wanted.at[i], *p = NULL;

		datapath_step(d, 1);
		if (present.count)
			p = bsearch(&w->key, present.at, present.count, sizeof(*w), by_key);
		if (p && !memcmp(&p->value, &w->value, sizeof(w->value)))
			continue;
		err = map_write(map, &w->key, &w->value);
	}
	if (!err)
		err = remove_others(d, &present, &wanted);
	changed = names_changed(d); /* even after a failure, for what was written */
	if (!err)
		err = changed;
	if (err)
		return err;
	memcpy(d->service_ports, bits, sizeof(d->service_ports));
	return ports_settle(d);
}

int datapath_set_services(struct datapath *d, const struct service *services, size_t count)
{
	struct service *copy = NULL;
	int err;

	if (count) {
		copy = malloc(count * sizeof(*copy));
		if (!copy)
			return datapath_fail(-ENOMEM, "out of memory");
		memcpy(copy, services, count * sizeof(*copy));
	}
	err = claims_take(d, services, count);
	if (!err)
		err = write_rules(d, services, count);
	if (!err)
		err = replies_write_heads(d, services, count);
	if (!err)
		err = write_trusted(d, services, count);
	if (!err)
		err = write_services(d, services, count);
	if (!err)
		err = replies_remove_heads(d, services, count);
	if (err) {
		claims_keep(d, d->services, d->service_count);
		free(copy);
		return err;
	}
	free(d->services);
	d->services = copy;
	d->service_count = count;
	claims_keep(d, services, count);
	return 0;
}

int datapath_addresses_fd(const struct datapath *d)
{
	return d->addresses_fd;
}

void datapath_addresses_drain(struct datapath *d)
{
	addresses_drain(d->addresses_fd);
}

int datapath_refresh(struct datapath *d)
{
	int attached, written;

	attached = attachments_refresh(d);
	written = write_services(d, d->services, d->service_count);
	return attached ? attached : written;
}
