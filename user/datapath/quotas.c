/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Quotas in the maps. A quota's refusals have their texts before the quota can refuse, and what it
 * counts with is written before anybody is put under it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/siphash.h>

#include "core/quota.h"
#include "core/reply_text.h"
#include "internal.h"

static int failed(int err, const char *what)
{
	return err ? datapath_fail(err, "%s cannot be written: %s", what,
				   err == -E2BIG || err == -ENOSPC || err == -ENOMEM
					   ? "it is full"
					   : strerror(-err))
		   : 0;
}

static int unread(int err, const char *what)
{
	return err ? datapath_fail(err, "%s cannot be read: %s", what, strerror(-err)) : 0;
}

/* A full map is no failure: the kernel then takes the text that names no quota. */
static int write_texts(struct datapath *d, uint32_t id, const struct sluice_quota_text *text)
{
	static const enum sluice_reason reasons[] = {SLUICE_REASON_REQUEST_QUOTA,
						     SLUICE_REASON_TOKEN_QUOTA};
	struct quota_def def;

	quota_of_text(&def, text);
	for (unsigned i = 0; i < 4; i++) {
		struct sluice_reply_key key = {
			.model = id, .reason = reasons[i / 2], .no_retry = i % 2};
		struct sluice_reply reply;
		int err;

		if (reply_text_build_quota(&reply, &def, reasons[i / 2], i % 2)) {
			bpf_map_delete_elem(map_fd(d->skel->maps.replies), &key);
			continue;
		}
		err = bpf_map_update_elem(map_fd(d->skel->maps.replies), &key, &reply, BPF_ANY);
		if (err && err != -E2BIG && err != -ENOMEM)
			return failed(err, "replies");
	}
	return 0;
}

int datapath_set_quota(struct datapath *d, uint32_t id, const struct sluice_quota *quota,
		       const struct sluice_quota_text *text)
{
	int err = write_texts(d, id, text);

	if (!err)
		err = failed(bpf_map_update_elem(map_fd(d->skel->maps.quotas), &id, quota, BPF_ANY),
			     "quotas");
	if (!err)
		err = failed(
			bpf_map_update_elem(map_fd(d->skel->maps.quota_texts), &id, text, BPF_ANY),
			"quota_texts");
	return err;
}

int datapath_each_quota(struct datapath *d,
			void (*each)(void *arg, uint32_t id, const struct sluice_quota_text *text),
			void *arg)
{
	for (uint32_t id = 1; id < SLUICE_QUOTAS_MAX; id++) {
		struct sluice_quota_text text;
		int err = bpf_map_lookup_elem(map_fd(d->skel->maps.quota_texts), &id, &text);

		if (err)
			return unread(err, "quota_texts");
		text.name[sizeof(text.name) - 1] = 0;
		if (text.scope)
			each(arg, id, &text);
	}
	return 0;
}

struct budget_list {
	uint32_t quota;
	struct sluice_budget_key *keys;
	size_t count, capacity;
	bool no_memory;
};

static void note_budget(void *arg, const void *key, const void *value)
{
	struct budget_list *list = arg;
	const struct sluice_budget_key *k = key;

	if (k->quota != list->quota)
		return;
	if (list->count == list->capacity) {
		size_t capacity = list->capacity ? list->capacity * 2 : 256;
		void *more = realloc(list->keys, capacity * sizeof(*list->keys));

		if (!more) {
			list->no_memory = true;
			return;
		}
		list->keys = more;
		list->capacity = capacity;
	}
	list->keys[list->count++] = *k;
}

int datapath_forget_budgets(struct datapath *d, uint32_t id)
{
	struct budget_list list = {.quota = id};
	int fd = map_fd(d->skel->maps.client_state);
	int err = map_each(d, fd, sizeof(struct sluice_budget_key), sizeof(struct sluice_budget),
			   note_budget, &list);

	for (size_t i = 0; i < list.count; i++)
		bpf_map_delete_elem(fd, &list.keys[i]);
	free(list.keys);
	return unread(err ? err : list.no_memory ? -ENOMEM : 0, "client_state");
}

int datapath_set_weighted(struct datapath *d, const struct sluice_weighted_key *key, uint32_t id)
{
	return failed(bpf_map_update_elem(map_fd(d->skel->maps.weighted_quotas), key, &id, BPF_ANY),
		      "weighted_quotas");
}

int datapath_clear_weighted(struct datapath *d, const struct sluice_weighted_key *key)
{
	int err = bpf_map_delete_elem(map_fd(d->skel->maps.weighted_quotas), key);

	return err == -ENOENT ? datapath_fail(err, "weighted_quotas has no such entry")
			      : failed(err, "weighted_quotas");
}

bool datapath_get_weighted(struct datapath *d, const struct sluice_weighted_key *key, uint32_t *id)
{
	return !bpf_map_lookup_elem(map_fd(d->skel->maps.weighted_quotas), key, id);
}

struct weighted_visitor {
	void (*each)(void *, const struct sluice_weighted_key *, uint32_t);
	void *arg;
};

static void visit_weighted(void *arg, const void *key, const void *value)
{
	const struct weighted_visitor *v = arg;
	uint32_t id;

	memcpy(&id, value, sizeof(id));
	v->each(v->arg, key, id);
}

int datapath_each_weighted(struct datapath *d,
			   void (*each)(void *, const struct sluice_weighted_key *, uint32_t id),
			   void *arg)
{
	struct weighted_visitor v = {each, arg};

	return unread(map_each(d, map_fd(d->skel->maps.weighted_quotas),
			       sizeof(struct sluice_weighted_key), sizeof(uint32_t), visit_weighted,
			       &v),
		      "weighted_quotas");
}

int datapath_set_client_quota(struct datapath *d, const struct sluice_client_flag_key *key,
			      uint32_t id)
{
	int err = policy_begins(d, SLUICE_EMPTY_CLIENT_QUOTAS);

	if (err)
		return err;
	return failed(bpf_map_update_elem(map_fd(d->skel->maps.client_quotas), key, &id, BPF_ANY),
		      "client_quotas");
}

int datapath_clear_client_quota(struct datapath *d, const struct sluice_client_flag_key *key)
{
	int err = bpf_map_delete_elem(map_fd(d->skel->maps.client_quotas), key);

	policy_ends(d, SLUICE_EMPTY_CLIENT_QUOTAS);
	return err == -ENOENT ? datapath_fail(err, "client_quotas has no such entry")
			      : failed(err, "client_quotas");
}

bool datapath_get_client_quota(struct datapath *d, const struct sluice_client_flag_key *key,
			       uint32_t *id)
{
	return !bpf_map_lookup_elem(map_fd(d->skel->maps.client_quotas), key, id);
}

struct quota_visitor {
	void (*each)(void *, const struct sluice_client_flag_key *, uint32_t);
	void *arg;
};

static void visit_quota(void *arg, const void *key, const void *value)
{
	const struct quota_visitor *v = arg;
	uint32_t id;

	memcpy(&id, value, sizeof(id));
	v->each(v->arg, key, id);
}

int datapath_each_client_quota(struct datapath *d,
			       void (*each)(void *, const struct sluice_client_flag_key *,
					    uint32_t id),
			       void *arg)
{
	struct quota_visitor v = {each, arg};

	return unread(map_each(d, map_fd(d->skel->maps.client_quotas),
			       sizeof(struct sluice_client_flag_key), sizeof(uint32_t), visit_quota,
			       &v),
		      "client_quotas");
}

bool datapath_get_budget(struct datapath *d, const struct sluice_client *client, uint32_t quota,
			 struct sluice_budget *out)
{
	struct sluice_budget_key key = {.client = *client, .quota = quota};

	return !bpf_map_lookup_elem(map_fd(d->skel->maps.client_state), &key, out);
}

bool datapath_get_client_flag(struct datapath *d, const struct sluice_client_flag_key *key,
			      struct sluice_client_flag *out)
{
	return !bpf_map_lookup_elem(map_fd(d->skel->maps.client_flags), key, out);
}

bool datapath_get_prefix(struct datapath *d, const uint8_t addr[16], struct sluice_prefix *out)
{
	struct sluice_prefix_key key = {.plen = 128};

	memcpy(key.addr, addr, sizeof(key.addr));
	return !bpf_map_lookup_elem(map_fd(d->skel->maps.client_prefixes), &key, out);
}

int datapath_key_client(struct datapath *d, const char *secret, size_t len,
			struct sluice_client *out)
{
	struct siphash_secret hash_key;
	struct siphash state;
	uint32_t zero = 0;
	uint64_t hash;
	int err = unread(bpf_map_lookup_elem(map_fd(d->skel->maps.hash_key), &zero, &hash_key),
			 "hash_key");

	if (err)
		return err;
	siphash_begin(&state, &hash_key);
	for (size_t i = 0; i < len; i++)
		siphash_byte(&state, &hash_key, (__u8)secret[i]);
	hash = siphash_end(&state, &hash_key);
	explicit_bzero(&hash_key, sizeof(hash_key));
	explicit_bzero(&state, sizeof(state));
	memset(out, 0, sizeof(*out));
	memcpy(out->addr, &hash, sizeof(hash));
	out->kind = SLUICE_CLIENT_KEY;
	return 0;
}
