/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The templates of the 429 in the map `replies`, by model or quota and reason. The one idea: a
 * template is written before any refusal can use it. A full map is no failure: the kernel then
 * sends the text that names no model and no quota.
 */
#include <stdio.h>
#include <string.h>

#include "core/quota.h"
#include "core/reply_text.h"
#include "map_io.h"
#include "replies.h"

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
		if (!(reasons >> r & 1) || w->reasons >> r & 1)
			continue;
		for (unsigned no_retry = 0; no_retry < 2; no_retry++) {
			struct sluice_reply_key key = {
				.model = model, .reason = r, .no_retry = no_retry};
			struct sluice_reply reply;
			int err = reply_text_build(&reply, w->name, r, no_retry);

			err = err ? map_write_result(d->skel->maps.replies, err)
				  : map_write(d->skel->maps.replies, &key, &reply);
			if (map_full(err) && model != SLUICE_MODEL_ALL)
				return 0;
			if (err)
				return err;
		}
		w->reasons |= 1U << r;
	}
	return 0;
}

int replies_write_quota(struct datapath *d, uint32_t id, const struct sluice_quota_text *text)
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
		err = map_write(d->skel->maps.replies, &key, &reply);
		if (err && !map_full(err))
			return err;
	}
	return 0;
}
