/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The readings of a request. Servers may take one request for different models: its body names two,
 * or its path is spelled so that some servers find a model in it and others do not. Such a request
 * is judged for each model, and the strictest verdict holds. If its model cannot be read, each of
 * named_models counts, unless its service says `unnamed: default`.
 *
 * An admitted request takes its slots where the least room is left. It is charged to every quota
 * that one of its readings falls under. Else a client could choose the budget that it spends.
 *
 * One reading is judged in one step of framing: so the verifier walks the verdict once.
 */
#ifndef SLUICE_BPF_READINGS_H
#define SLUICE_BPF_READINGS_H

#include "conn.h"
#include "request.h"
#include "verdict.h"

#define ROOM_UNLIMITED ((__s64)1 << 62)

static __always_inline struct sluice_named_models *named(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&named_models, &zero);
}

/* Whether a request without a readable model is judged for named_models. */
static __always_inline bool unnamed_is_strict(const struct sluice_service *service)
{
	struct sluice_named_models *list = named();

	return list && list->count && !service->unnamed_default;
}

/* A new request begins. */
static __always_inline void readings_reset(struct sluice_conn *conn)
{
	*(__u64 *)conn->reading = 0;
	conn_clear(conn, SLUICE_CONN_UNCLEAR);
}

/* The request names this model. More than SLUICE_READINGS_MAX of them are unclear. */
static __always_inline void reading_add(struct sluice_conn *conn, __u32 model)
{
#pragma unroll
	for (int i = 0; i < SLUICE_READINGS_MAX; i++) {
		if (conn->reading[i] == model)
			return;
		if (!conn->reading[i]) {
			conn->reading[i] = model;
			return;
		}
	}
	conn_set(conn, SLUICE_CONN_UNCLEAR);
}

/* Whether a server might find another model in the request than the scanners did. */
static __always_inline bool body_unclear(const struct http1_request *r)
{
	const struct json_model *j = &r->json;
	const __u8 body = JSON_MODEL_GARBAGE | JSON_MODEL_GAP | JSON_MODEL_NOT_STRING;

	return !j->name_len || j->flags & JSON_MODEL_INVALID ||
	       (!(j->flags & JSON_MODEL_UNREAD) && (j->flags & body || r->form.unclear));
}

/* How many requests may join those in flight of a model, by its limit and the pool's ceiling. */
static __always_inline __s64 room_of(__u32 model, __u32 in_pool)
{
	struct sluice_model_state *state = model_counts(model);
	struct sluice_model_flag *flag = model_flag(model), *pool;
	__s64 room = ROOM_UNLIMITED, left;

	if (!state || !flag)
		return room;
	if (flag->limit)
		room = (__s64)flag->limit - state->in_flight;
	pool = model_flag(in_pool);
	state = model_counts(in_pool);
	if (!pool || !state || !pool->admission.floor)
		return room;
	left = (__s64)pool->admission.ceiling - state->in_flight;
	return left < room ? left : room;
}

/*
 * A request for `model` has ended. True if it has other readings, too: then next_reading() is to be
 * called. More names than fit are judged for named_models whatever the service says.
 */
static __always_inline bool readings_begin(struct request_scratch *s, struct sluice_conn *conn,
					   const struct sluice_service *service, __u32 model)
{
	bool all = conn->flags & SLUICE_CONN_UNCLEAR;

	if (!all && body_unclear(&conn->request))
		all = unnamed_is_strict(service);
	if (!all && !conn->reading[1] && (!conn->reading[0] || conn->reading[0] == model))
		return false;
	s->reading = 1;
	s->all = all;
	s->least = model;
	s->room = ROOM_UNLIMITED;
	s->refused = s->shadow = s->quotas = 0;
	return true;
}

/* The request falls under this quota in one of its readings. */
static __always_inline void reading_quota_add(struct request_scratch *s, struct sluice_conn *conn,
					      __u32 quota)
{
	__u64 at = scan_opaque(s->quotas);

	if (!quota)
		return;
#pragma unroll
	for (__u64 i = 0; i < SLUICE_READING_QUOTAS; i++)
		if (i < at && conn->reading_quota[i] == quota)
			return;
	if (at >= SLUICE_READING_QUOTAS)
		return;
	conn->reading_quota[at] = quota;
	s->quotas = at + 1;
}

/* The model of the reading at s->reading, and moves on: first the one that the request counts for
 * by itself, then its service's own. SLUICE_MODEL_ALL: none; *more: whether others follow. */
static __always_inline __u32 reading_at(struct request_scratch *s, const struct sluice_conn *conn,
					const struct sluice_service *service, bool *more)
{
	__u64 at = scan_opaque(s->reading) - 1;
	struct sluice_named_models *list = named();

	s->reading++;
	*more = true;
	if (!at)
		return s->least;
	if (at == 1)
		return s->all ? service->default_model : SLUICE_MODEL_ALL;
	at -= 2;
	if (at < SLUICE_READINGS_MAX)
		return conn->reading[at];
	at -= SLUICE_READINGS_MAX;
	if (s->all && list && at < list->count) {
		at = scan_opaque(at);
		if (at < SLUICE_MODELS_MAX)
			return list->id[at];
	}
	*more = false;
	return SLUICE_MODEL_ALL;
}

/*
 * Judges one more reading. Returns SLUICE_MODEL_ALL while there are others. At last it returns the
 * model that the request counts for: the refused one, or the one with the least room.
 */
SUBPROG int next_reading(struct request_scratch *s, struct sluice_conn *conn,
			 const struct sluice_service *service)
{
	struct judging *a = get_judging();
	__u32 model;
	__s64 room;
	bool more;

	if (!s || !conn || !service || !a)
		return SLUICE_MODEL_OTHER;
	model = reading_at(s, conn, service, &more);
	if (!more || s->refused)
		return s->refused ? s->refused : s->shadow ? s->shadow : s->least;
	if (!model)
		return SLUICE_MODEL_ALL;
	a->question.model = model;
	a->question.take = 0;
	a->question.bytes = a->question.bytes_most = admission_bytes(request_size(conn, service));
	judge_request(service, JUDGING_PACKET, 0);
	reading_quota_add(s, conn, a->judgement.quota);
	if (a->judgement.reason) {
		if (!a->judgement.shadow)
			s->refused = model;
		else if (!s->shadow)
			s->shadow = model;
		return SLUICE_MODEL_ALL;
	}
	room = room_of(model, a->question.pool);
	if (room < s->room) {
		s->room = room;
		s->least = model;
	}
	return SLUICE_MODEL_ALL;
}

/* The request has passed: charges the quotas of its readings but the one that judging has
 * charged. */
SUBPROG int charge_readings(struct request_scratch *s, struct sluice_conn *conn)
{
	struct judging *a = get_judging();

	if (!s || !conn || !a)
		return 0;
#pragma clang loop unroll(disable)
	for (__u64 i = 0; i < SLUICE_READING_QUOTAS; i++) {
		if (i >= s->quotas || conn->reading_quota[i] == a->judgement.quota)
			conn->reading_quota[i] = 0;
		charge_passing(&a->question, conn->reading_quota[i]);
	}
	return 0;
}

#endif
