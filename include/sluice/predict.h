/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The daemon's question to the program `predict`, and its answer. Both are one packet that never
 * leaves the machine: BPF_PROG_TEST_RUN hands it in with the question, and gets it back with the
 * answer after it. The question is judged as `requests` judges a request that comes in one packet
 * or, with SLUICE_QUESTION_SYN, as the gate judges a SYN. Nothing is taken, charged or counted.
 */
#ifndef SLUICE_PREDICT_H
#define SLUICE_PREDICT_H

#include "abi.h"

enum sluice_question_flag {
	SLUICE_QUESTION_ADDRESS = 1, /* addr is known; without it no prefix is looked up */
	SLUICE_QUESTION_SYN = 2,
};

struct sluice_question {
	struct sluice_client client;       /* that the request is charged to */
	__u8 addr[16];                     /* its whole address */
	struct sluice_service_key service; /* where it arrives */
	__u32 model;
	__u64 priority; /* the hash of its priority header's value, 0: none */
	__u64 now_ns;   /* 0: now */
	__u32 bytes;    /* of the request; 0: the mean of those that wait */
	__u32 flags;    /* enum sluice_question_flag */
};
_Static_assert(sizeof(struct sluice_question) == 88, "question");

/* A rule about a client or its prefix, which decides before quotas and load. From ALLOWED on it
 * lets the request pass. */
enum sluice_override {
	SLUICE_OVERRIDE_NONE = 0,
	SLUICE_OVERRIDE_BLOCKED = 1,
	SLUICE_OVERRIDE_PREFIX_BLOCKED = 2,
	SLUICE_OVERRIDE_ALLOWED = 3,
	SLUICE_OVERRIDE_PREFIX_EXEMPT = 4,
};

/* Where the quota is set that holds for a request. */
enum sluice_quota_from {
	SLUICE_QUOTA_FROM_NONE = 0,
	SLUICE_QUOTA_FROM_CLIENT_MODEL = 1,
	SLUICE_QUOTA_FROM_CLIENT = 2,
	SLUICE_QUOTA_FROM_PREFIX = 3,
	SLUICE_QUOTA_FROM_MODEL = 4,
	SLUICE_QUOTA_FROM_SERVICE = 5,
};

/* Where the class of a request is set. */
enum sluice_class_from {
	SLUICE_CLASS_FROM_DEFAULT = 0,
	SLUICE_CLASS_FROM_KEY = 1,
	SLUICE_CLASS_FROM_PREFIX = 2,
	SLUICE_CLASS_FROM_HEADER = 3,
};

/*
 * The verdict, then the numbers that it rests on. Those of the quota and of the pool are there
 * whatever decides. The pool's rest on `admission`, which is in force where its floor is not 0. Of
 * a SYN there are only the verdict and the rule.
 */
struct sluice_answer {
	__u64 now_ns; /* at which the question was judged */
	__u32 retry_after_ms;
	__u32 about;   /* the model that it is refused for; SLUICE_MODEL_ALL: it would be for any */
	__u8 answered; /* 0: there is no such service or model, and nothing below holds */
	__u8 reason;   /* enum sluice_reason; NONE: admitted */
	__u8 action;   /* enum sluice_action */
	__u8 shadow;   /* 1: it passes, and only counts as refused */
	__u8 enforced; /* 0: it passes, since the lease has run out or the daemon stops */
	__u8 spread;   /* 1: a packet's wait is up to half longer than retry_after_ms */
	__u8 override; /* enum sluice_override */
	__u8 quota_from; /* enum sluice_quota_from */
	__u8 class;      /* 0 … SLUICE_CLASSES - 1 */
	__u8 class_from; /* enum sluice_class_from */
	__u8 rank;
	__u8 pad;
	__u16 weight; /* of the client, ×256; 0: none is set */
	__u16 pad2;
	__u64 override_expires_ns; /* 0: no end */
	__u32 quota;               /* 0: none */
	__u32 whole_quota; /* the quota of which the client has its weighted part; 0: it has no part
			    */
	struct sluice_budget budget; /* that the client has spent of the quota */
	__u32 pool;                  /* the entry that carries the model's admission state */
	__u32 bytes;                 /* that the request is taken to have */
	struct sluice_admission admission;
	struct admission_load load;
	struct sluice_holding held; /* what the client holds in the pool */
	__u64 admitted;             /* the pool's total of admissions */
	__u64 share;                /* admission_share() of the client */
	__u64 interval;             /* admission_interval() of the client */
	__u64 slots;                /* admission_slots() of the rank */
	__u64 expected_bytes;       /* admission_expected() */
	__u64 allowed_bytes;        /* admission_allowed() */
};
_Static_assert(sizeof(struct sluice_answer) == 344, "answer");

#endif
