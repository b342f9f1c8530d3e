/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Answers the daemon's questions: what verdict would a request get, and why. The functions that
 * judge packets judge the question, in a scratch of its own. Nothing is taken, charged or counted.
 * The program is never attached. BPF_PROG_TEST_RUN runs it on a packet that holds a struct
 * sluice_question and space for the struct sluice_answer.
 */
#include "verdict.h"

#define BYTES_UNKNOWN 2048 /* of a request without a stated length, if none waits */

struct prediction {
	struct sluice_question question;
	struct sluice_answer answer;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct prediction);
	__uint(max_entries, 1);
} prediction SEC(".maps");

static __always_inline void put_question(struct judging *a, const struct sluice_question *input,
					 const struct sluice_service *service, __u64 now)
{
	struct question *q = &a->question;

	__builtin_memset(a, 0, sizeof(*a));
	q->client = q->address = input->client;
	q->prefix.plen = 128;
	__builtin_memcpy(q->prefix.addr, input->addr, 16);
	if (input->flags & SLUICE_QUESTION_ADDRESS && input->client.kind == SLUICE_CLIENT_KEY)
		client_of_address(input->addr, service, &q->address);
	q->model = input->model;
	q->service = service->id;
	q->priority = input->priority;
	q->now = now;
}

/* The length in bytes of a request that states none: the mean of the waiting requests. */
static __always_inline __u32 mean_bytes(const struct sluice_model_state *pool)
{
	__s64 waiting = pool->waiting, bytes = pool->waiting_bytes;

	return waiting > 0 && bytes > 0 ? (__u64)bytes / (__u64)waiting : BYTES_UNKNOWN;
}

static __always_inline void answer_verdict(struct sluice_answer *out, const struct judging *a)
{
	const struct judgement *j = &a->judgement;

	out->answered = 1;
	out->reason = j->reason;
	out->action = j->action;
	out->shadow = j->shadow;
	out->about = j->about;
	out->retry_after_ms = j->retry_after_ms;
	out->spread = a->refused_by_policy;
	out->override = a->question.override;
	out->override_expires_ns = a->override_expires_ns;
}

static __always_inline void answer_quota(struct sluice_answer *out, struct judging *a,
					 const struct sluice_service *service,
					 const struct sluice_model_flag *own, __u32 empty)
{
	struct sluice_budget *budget;
	struct quota_source source;

	out->quota = quota_of_request(a, service, own, empty, &source);
	out->whole_quota = source.whole;
	out->quota_from = source.from;
	if (!out->quota)
		return;
	budget = budget_of(&a->question.client, out->quota, false, a->question.now,
			   JUDGING_QUESTION);
	if (budget)
		out->budget = *budget;
}

/* The numbers of the pool: those that the verdict used, or the current ones if it used none. */
static __always_inline void answer_pool(struct sluice_answer *out, struct judging *a,
					const struct sluice_model_flag *pool,
					struct sluice_model_state *state)
{
	const struct sluice_admission *admission = &pool->admission;
	struct question *q = &a->question;

	if (!admission->floor || q->override >= SLUICE_OVERRIDE_ALLOWED)
		measure_pool(a, pool, state);
	out->class = q->class;
	out->class_from = q->class_from;
	out->rank = q->rank;
	out->pool = q->pool;
	out->bytes = q->bytes;
	out->admission = *admission;
	out->load = a->load;
	out->held = a->held;
	out->admitted = a->admitted;
	out->share = admission_share(admission, share_weight(q));
	out->interval = admission_interval(admission, share_weight(q));
	out->slots = admission_slots(admission, q->rank);
	out->expected_bytes = admission_expected(admission, &a->load, q->bytes, q->rank, q->now);
	out->allowed_bytes = admission_allowed(admission, q->bytes, q->rank);
}

/* The verdict on a request that ends now. */
static __always_inline void answer_request(struct prediction *x, struct judging *a,
					   const struct sluice_service *service,
					   const struct sluice_settings *set)
{
	__u32 skipped =
		x->question.flags & SLUICE_QUESTION_ADDRESS ? 0 : SLUICE_EMPTY_CLIENT_PREFIXES;
	struct sluice_model_flag *own = model_flag(x->question.model), *pool;
	struct question *q = &a->question;
	struct sluice_model_state *state;

	if (!own)
		return;
	pool = model_flag(own->pool);
	state = model_counts(own->pool);
	if (!pool || !state)
		return;
	q->bytes = admission_bytes(x->question.bytes ? x->question.bytes : mean_bytes(state));
	q->bytes_most = q->bytes;
	judge_request(service, JUDGING_QUESTION, skipped);
	answer_verdict(&x->answer, a);
	x->answer.weight = q->client.kind == SLUICE_CLIENT_ADDRESS ? q->weight : 0;
	answer_quota(&x->answer, a, service, own, set->empty | skipped);
	answer_pool(&x->answer, a, pool, state);
}

/* The verdict on a SYN. */
static __always_inline void answer_syn(struct prediction *x, struct judging *a,
				       const struct sluice_service *service)
{
	struct sluice_conn_key conn = {};

	__builtin_memcpy(conn.client_addr, x->question.addr, 16);
	judge_syn(service, &conn, a->question.now, JUDGING_QUESTION);
	answer_verdict(&x->answer, a);
	x->answer.class = SLUICE_CLASS_NORMAL;
	x->answer.rank = admission_rank(SLUICE_CLASS_NORMAL, 0);
	if (a->question.override)
		x->answer.retry_after_ms = ms_until(a->override_expires_ns, a->question.now);
	if (x->answer.action == SLUICE_ACTION_REPLY)
		x->answer.action = SLUICE_ACTION_RESET; /* a SYN cannot get a 429 */
}

SEC("tc")
int predict(struct __sk_buff *skb)
{
	struct sluice_service *service;
	struct sluice_settings *set = get_settings();
	struct judging *a = judging_for(JUDGING_QUESTION);
	struct packet p = {};
	struct prediction *x;
	__u32 zero = 0;
	__u64 now;

	x = bpf_map_lookup_elem(&prediction, &zero);
	if (!x || !a || !set || bpf_skb_load_bytes(skb, 0, &x->question, sizeof(x->question)))
		return TC_ACT_SHOT;
	__builtin_memset(&x->answer, 0, sizeof(x->answer));
	__builtin_memcpy(p.key.server_addr, x->question.service.addr, 16);
	p.key.server_port = x->question.service.port;
	p.ipv6 = 1; /* packet_service() looks the address up as it is */
	service = packet_service(&p);
	now = x->question.now_ns ? x->question.now_ns : now_ns(set);
	x->answer.now_ns = now;
	if (service) {
		put_question(a, &x->question, service, now);
		if (x->question.flags & SLUICE_QUESTION_SYN)
			answer_syn(x, a, service);
		else
			answer_request(x, a, service, set);
		x->answer.enforced = may_refuse(set, now);
	}
	if (bpf_skb_store_bytes(skb, sizeof(x->question), &x->answer, sizeof(x->answer), 0))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
