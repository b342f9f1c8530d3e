/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The client of the store, a Redis or Valkey server of version 6.2 or later. It never waits: its
 * socket is non-blocking and belongs to the daemon's loop, which calls store_run() when the socket
 * is ready or store_timeout_ns() has passed. One call is under way at a time. Names are resolved in
 * a thread.
 *
 * What crosses the wire are durations (µs) and units, never a host's time. A batch has a number,
 * and counts once: after a lost connection the same batch is sent again, and the store answers it
 * as it did before.
 */
#ifndef SLUICE_FLEET_STORE_H
#define SLUICE_FLEET_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>

#define STORE_BATCH    (SLUICE_FLEET_KINDS * SLUICE_FLEET_CALL) /* budgets in one call */
#define STORE_NEWS     256                                      /* of other hosts, in one answer */
#define STORE_KEY_MAX  96
#define STORE_HOSTS    1024
#define STORE_INFO_MAX 4096 /* bytes of what a host says of itself; a longer text is not sent */
#define STORE_SILENT_NS                                                                            \
	1000000000ULL /* a call without an answer for so long: the store is away                   \
		       */

/* One budget of requests or tokens in a call. */
struct store_budget {
	char key[STORE_KEY_MAX]; /* printable: FINGERPRINT:r|t:CLIENT */
	uint64_t interval_ns;    /* of a unit */
	uint64_t span_us;        /* burst × interval: the budget is empty */
	uint64_t most_us;        /* … and its largest debt */
	uint64_t reach_us;       /* … to which this charge may bring it */
	uint64_t want;           /* units asked for in advance */
	uint64_t claim_us;       /* it is spent at least so far; 0: no claim */
	int64_t charge_us;       /* used since the last call, less what is given back */
	/* Answer: */
	uint64_t level_us; /* how far it is spent, with the grant */
	uint64_t granted;  /* units */
};

/* A budget that another host has brought low. */
struct store_news {
	char key[STORE_KEY_MAX];
	uint64_t level_us;
};

struct store_answer {
	uint64_t epoch; /* of the store's contents; another one: they are lost */
	bool behind;    /* the store has forgotten calls that it had answered (a failover) */
	uint32_t hosts; /* that have called in the last seconds, this one included */
	uint64_t round_trip_ns;
	struct store_budget *budgets; /* those of the call, in their order */
	size_t count;
	struct store_news *news;
	size_t news_count;
	bool news_lost;  /* there was more, which does not come again */
	uint64_t rules;  /* the version of the fleet's rules; 0: none */
	char policy[32]; /* the server's maxmemory-policy, printable; "": as before */
};

struct store_config {
	const char *const
		*addresses; /* HOST:PORT, [HOST]:PORT or a path; a list is tried in turn */
	size_t address_count;
	const char *sentinel_master; /* NULL: the addresses are servers, else sentinels */
	const char *user, *password; /* NULL: none */
	const char *fleet;           /* the prefix of all keys is sluice:{FLEET}: */
	const char *host;            /* this host's name in the fleet */
	const char *info;            /* JSON, shown by other hosts; store_set_info() */
	uint64_t incarnation;        /* a random number: whose calls they are */
	/* TLS; ca NULL: no TLS, "system": the system's authorities. */
	const char *ca, *cert, *key;
};

struct store;

/* Handlers run inside store_run(). */
struct store_handlers {
	/* The answer is good until the next store_call(). */
	void (*answered)(void *arg, const struct store_answer *answer);
	/* up: the store answers. Down: `why` is a sentence, and another one later if the reason
	 * changes; the call under way is kept, and made again. */
	void (*changed)(void *arg, bool up, const char *why);
	void *arg;
};

/* Opens nothing yet. -EINVAL with a sentence in err: a file or an address is not good. */
int store_new(struct store **out, const struct store_config *config,
	      const struct store_handlers *handlers, char *err, size_t len);
void store_free(struct store *s);
/* An epoll descriptor, readable when store_run() has something to do. */
int store_fd(const struct store *s);
/* Nanoseconds of CLOCK_MONOTONIC when store_run() has to be called at the latest. */
uint64_t store_timeout_ns(const struct store *s);
void store_run(struct store *s, uint64_t now_ns);
/* Whether a call can be made: the store is up, and no call is under way. */
bool store_idle(const struct store *s);
/* Sends a call with these budgets (at most STORE_BATCH, each once; 0 is a heartbeat). Copies them.
 * `number`: above that of the last call; a number counts once in an incarnation. Not idle, or a key
 * is not one: does nothing. */
void store_call(struct store *s, uint64_t number, const struct store_budget *budgets, size_t count,
		uint64_t now_ns);
/* What other hosts see of this one, by the next call. */
void store_set_info(struct store *s, const char *info);
/* The next answer after this brings what the hosts say of themselves, to each(). The texts
 * are those of the store: any bytes but zero. */
void store_ask_hosts(struct store *s,
		     void (*each)(void *arg, const char *host, const char *info,
				  uint64_t seen_ms_ago),
		     void *arg);
/*
 * A command beside the calls; one of each kind may be under way. reply NULL: it failed, and error
 * says why, printable. -EBUSY, -ENOTCONN: it is not sent, and done() is not called.
 */
struct redisReply;
enum store_request { STORE_READ, STORE_WRITE, STORE_REQUESTS };
typedef void (*store_replied)(void *arg, const struct redisReply *reply, const char *error);
int store_request(struct store *s, enum store_request kind, int argc, const char **argv,
		  const size_t *lens, store_replied done, void *arg);
const char *store_fleet(const struct store *s);
/* The address in use, for status. "": none. */
const char *store_address(const struct store *s);

#endif
