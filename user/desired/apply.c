/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Carries operations out through a table of callbacks: the datapath writes the kernel's maps, a
 * test counts. An operation has the item before and after it; exchanged, they undo it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "desired/internal.h"

static int write_quota(const struct desired_target *t, uint32_t id, const void *item)
{
	static const struct sluice_quota_text none;

	return t->quota(t->arg, id, item ? item : &none);
}

static int write_weighted(const struct desired_target *t, const struct desired_weighted *before,
			  const struct desired_weighted *after)
{
	return after ? t->weighted(t->arg, &after->key, &after->id)
		     : t->weighted(t->arg, &before->key, NULL);
}

static int write_model_quota(const struct desired_target *t, const struct desired_model_id *before,
			     const struct desired_model_id *after)
{
	return after ? t->model_quota(t->arg, after->model, after->quota)
		     : t->model_quota(t->arg, before->model, 0);
}

static int write_client_quota(const struct desired_target *t,
			      const struct state_client_quota *before,
			      const struct state_client_quota *after)
{
	return after ? t->client_quota(t->arg, &after->key, &after->quota)
		     : t->client_quota(t->arg, &before->key, NULL);
}

static int write_rule(const struct desired_target *t, const struct state_client_rule *before,
		      const struct state_client_rule *after)
{
	return after ? t->rule(t->arg, &after->key, &after->flag)
		     : t->rule(t->arg, &before->key, NULL);
}

static int write_prefix(const struct desired_target *t, const struct state_prefix_rule *before,
			const struct state_prefix_rule *after)
{
	return after ? t->prefix(t->arg, &after->key, &after->prefix)
		     : t->prefix(t->arg, &before->key, NULL);
}

static int write_priority(const struct desired_target *t, const struct desired_priority *before,
			  const struct desired_priority *after)
{
	return after ? t->priority(t->arg, &after->key, &after->class)
		     : t->priority(t->arg, &before->key, NULL);
}

static int write_op(const struct desired_target *t, const struct desired_op *op, const void *before,
		    const void *after)
{
	const struct desired *state = after;

	switch (op->kind) {
	case DESIRED_FORGET:
		return t->forget(t->arg, op->id);
	case DESIRED_QUOTA:
		return write_quota(t, op->id, after);
	case DESIRED_WEIGHTED:
		return write_weighted(t, before, after);
	case DESIRED_MODEL_QUOTA:
		return write_model_quota(t, before, after);
	case DESIRED_CLIENT_QUOTA:
		return write_client_quota(t, before, after);
	case DESIRED_RULE:
		return write_rule(t, before, after);
	case DESIRED_PREFIX:
		return write_prefix(t, before, after);
	case DESIRED_PRIORITY:
		return write_priority(t, before, after);
	case DESIRED_SERVICES:
		return t->services(t->arg, state->services, state->service_count);
	}
	return -EINVAL;
}

/* Undoes the first `count` operations. Deleted budgets do not come back; they were of an id that
 * nothing uses. */
static int undo(const struct desired_ops *ops, size_t count, const struct desired_target *t)
{
	int first = 0;

	for (size_t i = count; i-- > 0;) {
		const struct desired_op *op = &ops->list[i];
		int ret;

		if (op->kind == DESIRED_FORGET)
			continue;
		ret = write_op(t, op, op->after, op->before);
		/* The operation that failed may not have made its entry. */
		if (ret && ret != -ENOENT && !first)
			first = ret;
	}
	return first;
}

int desired_apply(const struct desired_ops *ops, const struct desired_target *target, char *err,
		  size_t len)
{
	for (size_t i = 0; i < ops->count; i++) {
		const struct desired_op *op = &ops->list[i];
		int ret = write_op(target, op, op->before, op->after);
		int at;

		/* Another program may have deleted the entry already. */
		if (!ret || (ret == -ENOENT && !op->after && op->kind != DESIRED_FORGET))
			continue;
		at = snprintf(err, len, "%s", target->error(target->arg));
		if (undo(ops, i + 1, target) && at >= 0 && (size_t)at < len)
			snprintf(err + at, len - (size_t)at,
				 "; not all could be taken back (%s): restart sluiced",
				 target->error(target->arg));
		return ret;
	}
	return 0;
}

int desired_put(struct desired **state, struct desired *next, const struct desired_target *target,
		char *err, size_t len)
{
	struct desired_ops ops = {0};
	int ret = desired_diff(*state, next, &ops);

	if (ret)
		snprintf(err, len, "out of memory");
	else
		ret = desired_apply(&ops, target, err, len);
	desired_ops_free(&ops);
	if (ret) {
		desired_free(next);
		return ret;
	}
	desired_free(*state);
	*state = next;
	return 0;
}
