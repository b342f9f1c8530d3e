/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The parts of the 429: sentences by model or quota and reason, heads by service, forms by API. The
 * one idea: a part is written before any refusal can use it. A full map of sentences is no failure:
 * the kernel then sends the one that names no model and no quota.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/quota.h"
#include "core/reply_text.h"
#include "core/service.h"
#include "map_io.h"
#include "replies.h"
#include "settings.h"

int replies_write(struct datapath *d, uint32_t model, const char *name, uint16_t reasons)
{
	struct reply_written *w = &d->replies[model];

	if (strncmp(w->name, name ? name : "", sizeof(w->name) - 1)) {
		/* The id has a new name: texts with the old name must be replaced. */
		reasons |= w->reasons;
		w->reasons = 0;
		snprintf(w->name, sizeof(w->name), "%s", name ? name : "");
	}
	for (unsigned r = 0; r < SLUICE_REASON_COUNT; r++) {
		struct sluice_reply_key key;
		struct sluice_reply reply;
		int err;

		if (!(reasons >> r & 1) || w->reasons >> r & 1)
			continue;
		key = (struct sluice_reply_key){.model = model, .reason = (__u16)r};
		err = reply_text_build(&reply, w->name, r);
		err = err ? map_write_result(d->skel->maps.replies, err)
			  : map_write(d->skel->maps.replies, &key, &reply);
		if (map_full(err) && model != SLUICE_MODEL_ALL)
			return 0;
		if (err)
			return err;
		w->reasons |= 1U << r;
	}
	return 0;
}

int replies_remove(struct datapath *d, uint32_t model)
{
	for (unsigned r = 0; r < SLUICE_REASON_COUNT; r++) {
		struct sluice_reply_key key = {.model = model, .reason = (__u16)r};
		int err;

		/* Under these reasons the key is a quota's id. */
		if (r == SLUICE_REASON_REQUEST_QUOTA || r == SLUICE_REASON_TOKEN_QUOTA)
			continue;
		err = map_delete(d->skel->maps.replies, &key);
		if (err && err != -ENOENT)
			return err;
	}
	d->replies[model] = (struct reply_written){0};
	return 0;
}

int replies_write_quota(struct datapath *d, uint32_t id, const struct sluice_quota_text *text)
{
	static const enum sluice_reason reasons[] = {SLUICE_REASON_REQUEST_QUOTA,
						     SLUICE_REASON_TOKEN_QUOTA};
	struct quota_def def;

	quota_of_text(&def, text);
	for (unsigned i = 0; i < 2; i++) {
		struct sluice_reply_key key = {.model = id, .reason = reasons[i]};
		struct sluice_reply reply;
		int err;

		if (reply_text_build_quota(&reply, &def, reasons[i])) {
			bpf_map_delete_elem(map_fd(d->skel->maps.replies), &key);
			continue;
		}
		err = map_write(d->skel->maps.replies, &key, &reply);
		if (err && !map_full(err))
			return err;
	}
	return 0;
}

int replies_write_forms(struct datapath *d)
{
	int err = 0;

	for (uint32_t i = 0; i < SLUICE_REPLY_FORMS && !err; i++) {
		struct sluice_reply_form form;

		reply_text_form(&form, i / 8, i / 4 % 2, i / 2 % 2, i % 2);
		err = map_write(d->skel->maps.reply_forms, &i, &form);
	}
	return err;
}

/* The key of a service's head for its origin number `origin`, -1: for all others. */
static int head_key(struct datapath *d, const struct service *s, int origin, bool unavailable,
		    struct sluice_reply_head_key *key)
{
	uint64_t hash = 0;
	int err = origin < 0 ? 0
			     : hash_text(d, s->reply.origin[origin],
					 strlen(s->reply.origin[origin]), &hash);

	*key = (struct sluice_reply_head_key){
		.service = s->id, .origin = hash, .unavailable = unavailable};
	return err;
}

static int write_head(struct datapath *d, const struct service *s, int origin, bool unavailable)
{
	const struct bpf_map *map = d->skel->maps.reply_heads;
	struct sluice_reply_head head, old;
	struct sluice_reply_head_key key;
	int err = head_key(d, s, origin, unavailable, &key);

	if (!err)
		err = map_write_result(
			map, reply_text_head(&head, &s->reply, origin, unavailable, NULL));
	if (err || (map_find(map, &key, &old) && !memcmp(&old, &head, sizeof(head))))
		return err;
	return map_write(map, &key, &head);
}

/* How many origins of a service have heads of their own: those of a list. */
static int listed_origins(const struct service *s)
{
	return s->reply.origin_count > 1 ? (int)s->reply.origin_count : 0;
}

int replies_write_heads(struct datapath *d, const struct service *services, size_t count)
{
	int err = 0;

	for (size_t i = 0; i < count && !err; i++)
		for (int origin = -1; origin < listed_origins(&services[i]) && !err; origin++) {
			datapath_step(d, 2);
			err = write_head(d, &services[i], origin, false);
			err = err ? err : write_head(d, &services[i], origin, true);
		}
	return err;
}

int replies_remove_heads(struct datapath *d, const struct service *services, size_t count)
{
	const struct bpf_map *map = d->skel->maps.reply_heads;
	const struct sluice_reply_head_key *old;
	size_t old_count;
	void *keys;
	int err = map_keys(d, map, &keys, &old_count);

	old = keys;
	for (size_t i = 0; i < old_count && !err; i++) {
		struct sluice_reply_head_key key;
		bool wanted = false;

		datapath_step(d, 1 + SLUICE_ORIGINS_MAX);
		for (size_t s = 0; s < count && !wanted && !err; s++)
			for (int o = -1; o < listed_origins(&services[s]) && !wanted && !err; o++) {
				if (services[s].id != old[i].service)
					break;
				err = head_key(d, &services[s], o, old[i].unavailable, &key);
				wanted = !memcmp(&key, &old[i], sizeof(key));
			}
		if (!err && !wanted)
			err = map_delete(map, &old[i]);
	}
	free(keys);
	return err;
}
