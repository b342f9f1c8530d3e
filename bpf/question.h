/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The judging under way: the question (client, model, length of the request), the judgement so far,
 * and their working memory. It lives in a per-CPU map and not on the stack: the longest chain of
 * calls leaves no space there. So every function that judges looks it up itself. Keys of other
 * look-ups are in it, too, since Linux 6.1 takes parts of a map's value as keys.
 */
#ifndef SLUICE_BPF_QUESTION_H
#define SLUICE_BPF_QUESTION_H

#include <sluice/predict.h>

#include "count.h"

struct question {
	struct sluice_client client; /* the client that the request is charged to */
	struct sluice_client
		address; /* the client of its address: the same, unless it shows a key */
	struct sluice_prefix_key prefix; /* the request's whole address */
	__u32 model;
	__u64 now;
	__u32 take;  /* 1: the final judging: an admitted request takes its slots and is charged */
	__u32 bytes; /* of the request, the least that it may count for; */
	__u32 bytes_most; /* … and the most */
	__u64 priority;   /* the hash of its priority header's value, 0: none */
	/* set while judging */
	__u32 override;     /* enum sluice_override */
	__u32 prefix_quota; /* of the address's prefix */
	__u32 weight;       /* of the client, ×256 */
	__u32 class;
	__u32 class_from; /* enum sluice_class_from */
	__u32 rank;       /* by its class and its share */
	__u32 judged;     /* of `bytes` to `bytes_most`, what the policy judges it by; with `take`
			     the caller sets it to `bytes` */
	__u32 service;
	__u32 pool; /* the entry that carries the model's admission state */
	__u32 queued_bytes, in_flight_at_admission, wait_end, turn; /* copied into its exchange */
	__u32 unstreamed; /* 1: its reply is not streamed */
	__u32 holds;      /* what an admitted request holds: enum sluice_exchange_flag */
};

struct judgement {
	__u32 retry_after_ms;
	__u32 quota; /* under which the request falls, 0: none */
	__u32 about; /* the model that it is refused for; SLUICE_MODEL_ALL: any would be refused */
	__u8 reason; /* NONE: admit */
	__u8 action;
	__u8 shadow;
	__u8 named; /* a rule that names this very client decided */
};

struct judging {
	struct question question;
	struct judgement judgement;
	struct sluice_client_flag_key key; /* scratch: key of look-ups by client and model */
	struct admission_load load;
	struct sluice_holding held; /* the client's holding in the pool before the request, and … */
	__u64 admitted;             /* … the pool's admissions by then */
	__u64 override_expires_ns; /* of the rule in question.override; 0: no end */
	__u32 refused_by_policy;   /* 1: the policy refuses the question's request; its wait is not
				      spread */
	struct sluice_refusal refusal;
};

/*
 * The daemon's questions have an entry of their own: 6.1 leaves softirqs on in BPF_PROG_TEST_RUN,
 * so a packet may be judged in the middle of a question on the same CPU.
 */
enum judging_which { JUDGING_PACKET, JUDGING_QUESTION, JUDGINGS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct judging);
	__uint(max_entries, JUDGINGS);
} judging __weak SEC(".maps");

static __always_inline struct judging *judging_for(__u32 which)
{
	return bpf_map_lookup_elem(&judging, &which);
}

/* The packet's. */
static __always_inline struct judging *get_judging(void)
{
	return judging_for(JUDGING_PACKET);
}

#endif
