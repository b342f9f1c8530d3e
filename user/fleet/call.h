/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One call as a command, with what a host knows from earlier answers. It is formatted anew whenever
 * it is sent, with the same number, and so counts once.
 */
#ifndef SLUICE_FLEET_CALL_H
#define SLUICE_FLEET_CALL_H

#include "fleet/internal.h"

#define STORE_FLEET_MAX 64 /* bytes of the fleet's name, and of a host's */
#define STORE_CALL_ARGS (3 + 6 + STORE_BATCH + 10 + 7 * STORE_BATCH)
#define STORE_CALL_TEXT (STORE_BATCH * (STORE_FLEET_MAX + STORE_KEY_MAX + 180) + 4096)

extern const char *const store_script;

struct store_call {
	char fleet[STORE_FLEET_MAX], host[STORE_FLEET_MAX];
	char sha[41];
	uint64_t (*random)(void);
	uint64_t incarnation; /* whose calls they are */
	uint64_t number;      /* of the call under way, else of the last one */
	uint64_t answered;    /* the last one that was */
	uint64_t epoch;       /* of the last answer; 0: none */
	char news_id[STORE_NEWS_ID_MAX];
	char info[STORE_INFO_MAX];
	bool info_new;
	uint64_t info_ns; /* when it is due again */
	struct store_budget budgets[STORE_BATCH];
	size_t count;
	/* Who has asked for the hosts; NULL: nobody. */
	void (*each)(void *arg, const char *host, const char *info, uint64_t seen_ms_ago);
	void *each_arg;
	bool asks_hosts; /* by this call */
	/* The command. */
	const char *argv[STORE_CALL_ARGS];
	size_t lens[STORE_CALL_ARGS];
	char text[STORE_CALL_TEXT];
	size_t used;
	int argc;
};

/* -EINVAL with a sentence in err: a name is not good. */
int store_call_new(struct store_call *call, const char *fleet, const char *host,
		   uint64_t (*random)(void), char *err, size_t len);
void store_call_info(struct store_call *call, const char *info);
/* -EINVAL: too many budgets, or a key that is not one. */
int store_call_begin(struct store_call *call, uint64_t number, const struct store_budget *budgets,
		     size_t count);
/* The command's words; how many. */
int store_call_format(struct store_call *call, uint64_t now_ns, const char ***argv,
		      const size_t **lens);
void store_call_answered(struct store_call *call, const struct store_reading *reading,
			 const struct redisReply *hosts);

#endif
