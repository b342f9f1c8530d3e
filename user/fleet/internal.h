/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The parts of the store's client. reply.c: what a server says, which is hostile input, as facts.
 * address.c: texts, names in a thread, sockets. tls.c: bytes over a socket, plain or TLS. store.c:
 * one connection after another, and the one call that is under way.
 */
#ifndef SLUICE_FLEET_INTERNAL_H
#define SLUICE_FLEET_INTERNAL_H

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "fleet/store.h"

struct redisReader;
struct redisReply;

#define STORE_FORMAT      1 /* of the data in the store: fleet.lua */
#define STORE_REPLY_MAX   (1 << 20)
#define STORE_HOST_MAX    256
#define STORE_NEWS_ID_MAX 48
#define STORE_WHY_MAX     256

#define STORE_RULES_VERSION "rules-version" /* a key */

/* reply.c */

/* A reader that refuses arrays and strings that are too large before it has memory for them. */
struct redisReader *store_reader(void);

enum store_fault {
	STORE_FAULT_OTHER,
	STORE_FAULT_NO_SCRIPT,
	STORE_FAULT_MOVED,
};

/* What an error reply asks for. why: a sentence, printable. MOVED: host ("": the same) and port. */
enum store_fault store_fault_of(const char *error, char why[STORE_WHY_MAX],
				char host[STORE_HOST_MAX], uint16_t *port);

struct store_reading {
	struct store_answer answer;
	struct store_news news[STORE_NEWS];
	char news_id[STORE_NEWS_ID_MAX];
};

/* Reads the script's text, the answer to this call with these budgets, and fills them in. -EINVAL:
 * it is another's, or none. Budgets may be filled in part, then. */
int store_read_answer(struct store_reading *out, const char *text, size_t len, uint64_t call,
		      struct store_budget *budgets, size_t count);
/* Reads the answer to this call: what store_read_answer() and store_read_version() do, and how long
 * ago the store did it, as far as it did it for an earlier sending of the call. -EINVAL, too. */
int store_read_reply(struct store_reading *out, const struct redisReply *reply, uint64_t call,
		     struct store_budget *budgets, size_t count);
/* -EINVAL: not the list of hosts. Nothing is reported then. each NULL: checks only. */
int store_read_hosts(const struct redisReply *reply,
		     void (*each)(void *arg, const char *host, const char *info,
				  uint64_t seen_ms_ago),
		     void *arg);
/* The version of the fleet's rules. -EINVAL: it is none. */
int store_read_version(const struct redisReply *reply, uint64_t *out);
/* The answers to ROLE, SCRIPT LOAD, SENTINEL get-master-addr-by-name. */
bool store_is_master(const struct redisReply *reply);
int store_read_sha(const struct redisReply *reply, char sha[41]);
int store_read_sentinel(const struct redisReply *reply, char host[STORE_HOST_MAX], uint16_t *port);

/* address.c */

struct store_address {
	char host[STORE_HOST_MAX]; /* or the path */
	uint16_t port;             /* 0: a path */
};

struct store_endpoint {
	struct sockaddr_storage addr;
	socklen_t len;
};

#define STORE_ENDPOINTS 8

/* -EINVAL with a sentence in err. */
int store_address_read(struct store_address *out, const char *text, char *err, size_t len);
void store_address_text(char *out, size_t len, const struct store_address *address);

/* A path or a number: its endpoints. 0: a name, which has to be looked up. */
size_t store_endpoints(const struct store_address *address,
		       struct store_endpoint out[STORE_ENDPOINTS]);

/* A look-up in a thread, which may outlive its owner's interest. */
struct store_lookup;
struct store_lookup *store_lookup_begin(const struct store_address *address); /* NULL: -errno */
/* Readable when it has ended. */
int store_lookup_fd(const struct store_lookup *l);
/* After its end: how many there are; 0 with a sentence in *why. */
size_t store_lookup_end(struct store_lookup *l, struct store_endpoint out[STORE_ENDPOINTS],
			const char **why);
void store_lookup_leave(struct store_lookup *l);

/* A socket that is being connected; -errno. */
int store_connect(const struct store_endpoint *endpoint);

/* value.c */

uint64_t store_random(void);
char *store_copy(const char *text); /* of NULL: NULL */
void store_wipe(char *text);        /* … and frees it */

/* tls.c */

struct store_tls; /* the files; NULL: no TLS */
int store_tls_new(struct store_tls **out, const char *ca, const char *cert, const char *key,
		  char *err, size_t len);
void store_tls_free(struct store_tls *tls);

/* Bytes over a socket. */
struct store_link {
	int fd;           /* -1: none */
	void *session;    /* TLS; NULL: plain */
	bool secured;     /* … and the handshake is over */
	bool wants_write; /* what it did last waits for room */
	char why[STORE_WHY_MAX];
};

/* 0; -EIO with a sentence in link->why. host: the name that the certificate must have. */
int store_link_begin(struct store_link *link, struct store_tls *tls, int fd, const char *host);
/* 0: over; -EAGAIN; -EIO with a sentence. */
int store_link_handshake(struct store_link *link);
/* Bytes; 0 (read): its end; -EAGAIN; -EIO with a sentence. */
ssize_t store_link_read(struct store_link *link, void *buf, size_t len);
ssize_t store_link_write(struct store_link *link, const void *buf, size_t len);
void store_link_end(struct store_link *link);

#endif
