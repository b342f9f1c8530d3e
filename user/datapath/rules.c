/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The operator's rules in the maps: client_flags (allow or block a client) and client_prefixes
 * (exempt, blocked, weight, quota of an address prefix). The one idea: a program skips the look-up
 * in an empty map. So the first entry is announced before it is written, and the empty map after
 * its last entry is deleted (settings.c).
 */
#include <string.h>

#include "map_io.h"
#include "replies.h"
#include "settings.h"

int datapath_set_client(struct datapath *d, const struct sluice_client_flag_key *key,
			const struct sluice_client_flag *flag)
{
	int err = 0;

	/* A refusal for one model names it; its name is known since its flag was written. */
	if (!flag->allow && key->model >= SLUICE_MODEL_FIRST && key->model < SLUICE_MODELS_MAX &&
	    d->replies[key->model].name[0])
		err = replies_write(d, key->model, d->replies[key->model].name,
				    (uint16_t)(1U << flag->reason));
	if (!err)
		err = policy_begins(d, SLUICE_EMPTY_CLIENT_FLAGS);
	return err ? err : map_write(d->skel->maps.client_flags, key, flag);
}

int datapath_clear_client(struct datapath *d, const struct sluice_client_flag_key *key)
{
	int err = map_delete(d->skel->maps.client_flags, key);

	policy_ends(d, SLUICE_EMPTY_CLIENT_FLAGS);
	return err;
}

struct flag_visitor {
	void (*each)(void *, const struct sluice_client_flag_key *,
		     const struct sluice_client_flag *);
	void *arg;
};

static void visit_flag(void *arg, const void *key, const void *value)
{
	const struct flag_visitor *v = arg;

	v->each(v->arg, key, value);
}

int datapath_each_client_flag(struct datapath *d,
			      void (*each)(void *, const struct sluice_client_flag_key *,
					   const struct sluice_client_flag *),
			      void *arg)
{
	struct flag_visitor v = {each, arg};

	return map_each(d, d->skel->maps.client_flags, visit_flag, &v);
}

int datapath_set_prefix(struct datapath *d, const struct sluice_prefix_key *key,
			const struct sluice_prefix *prefix)
{
	int err = policy_begins(d, SLUICE_EMPTY_CLIENT_PREFIXES);

	return err ? err : map_write(d->skel->maps.client_prefixes, key, prefix);
}

int datapath_clear_prefix(struct datapath *d, const struct sluice_prefix_key *key)
{
	int err = map_delete(d->skel->maps.client_prefixes, key);

	policy_ends(d, SLUICE_EMPTY_CLIENT_PREFIXES);
	return err;
}

bool datapath_get_prefix(struct datapath *d, const uint8_t addr[16], struct sluice_prefix *out)
{
	struct sluice_prefix_key key = {.plen = 128};

	memcpy(key.addr, addr, sizeof(key.addr));
	return map_find(d->skel->maps.client_prefixes, &key, out);
}

struct prefix_visitor {
	void (*each)(void *, const struct sluice_prefix_key *, const struct sluice_prefix *);
	void *arg;
};

static void visit_prefix(void *arg, const void *key, const void *value)
{
	const struct prefix_visitor *v = arg;

	v->each(v->arg, key, value);
}

int datapath_each_prefix(struct datapath *d,
			 void (*each)(void *, const struct sluice_prefix_key *,
				      const struct sluice_prefix *),
			 void *arg)
{
	struct prefix_visitor v = {each, arg};

	return map_each(d, d->skel->maps.client_prefixes, visit_prefix, &v);
}
