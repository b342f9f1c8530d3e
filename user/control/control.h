/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The control socket: sluicectl's way to the daemon, JSON lines over a Unix stream socket
 * (PROTOCOL.md). No client can stop the daemon's loop: sockets never block, one call of
 * control_poll() takes at most one command, which runs in slices; lines, clients and unread output
 * are bounded, and each command and each answer has a deadline.
 */
#ifndef SLUICE_CONTROL_H
#define SLUICE_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <sluice/abi.h>
#include "core/fleet_rule.h"
#include "core/state.h"
#include "core/text.h"
#include "loop/work.h"

#define CONTROL_DEFAULT_PATH "/run/sluice/control.sock"
#define CONTROL_LINE_MAX     65536 /* bytes of a command, with its newline */
#define CONTROL_CLIENTS_MAX  32    /* one more is root's alone */
#define CONTROL_BACKLOG_MAX                                                                        \
	65536 /* unread bytes of a watch stream before it is dropped, of a record before it loses  \
		 events */
#define CONTROL_WRITE_MAX  65536          /* bytes that one step writes */
#define CONTROL_COMMAND_NS 60000000000ULL /* for a whole command, since the last answer */
#define CONTROL_READ_NS    10000000000ULL /* for a client to read its whole answer */
#define CONTROL_VALUES_MAX 32             /* KEY=VALUE pairs of one `set` */

/* CLEAR_ALL: `field` is the start of those to be removed. */
enum control_fleet_change { CONTROL_FLEET_SET, CONTROL_FLEET_CLEAR, CONTROL_FLEET_CLEAR_ALL };

/* A command that changes something, when it has ended. */
struct control_audit {
	struct ucred peer;
	const char *command;
	bool fleet;
	const char *client; /* as text_client() writes it; NULL: it is about none */
	const char *model;  /* NULL: all */
	const char *from, *to;
	const char *error; /* NULL: it was done */
};

/* The rules that are in force, sorted by their keys; valid until the caller's next step. */
struct control_rules {
	const struct state_client_rule *clients;
	const struct state_prefix_rule *prefixes;
	const struct state_client_quota *quotas;
	size_t client_count, prefix_count, quota_count;
};

/*
 * The daemon's part of each command. 0, or -errno with the reason for the operator in err. `said`
 * is a sentence about what the command did; it may stay empty.
 */
struct control_ops {
	void *arg;
	struct work_queue *queue; /* runs the commands */
	/* Brings these parts (enum state_part) of the state up to date. */
	void (*refresh)(void *arg, unsigned parts);
	void (*rules)(void *arg, struct control_rules *out);
	/* Reports to the log. */
	void (*audit)(void *arg, const struct control_audit *audit);
	/* The id of a model by its name, which gets one if it has none yet; or -errno. */
	int (*name_model)(void *arg, const char *name, char *err, size_t err_len);
	/* model NULL: all. pairs are "key=value". */
	int (*set)(void *arg, const char *model, const char *const *pairs, size_t count, char *err,
		   size_t err_len);
	int (*set_client)(void *arg, const struct sluice_client_flag_key *key,
			  const struct sluice_client_flag *flag, char *err, size_t err_len);
	/* Deletes the rules about any of these clients, for one model or (SLUICE_MODEL_ALL) all.
	 * -ENOENT: there are none. */
	int (*clear_clients)(void *arg, const struct sluice_client *clients, size_t count,
			     uint32_t model, char *err, size_t err_len);
	int (*set_prefix)(void *arg, const struct sluice_prefix_key *key,
			  const struct sluice_prefix *prefix, char *err, size_t err_len);
	int (*clear_prefix)(void *arg, const struct sluice_prefix_key *key, char *err,
			    size_t err_len);
	/* Manual quotas override the file's. model: SLUICE_MODEL_ALL, or one model's id. */
	int (*set_quota)(void *arg, const struct text_subject *subject, uint32_t model,
			 const struct quota_def *quota, char *err, size_t err_len);
	/* The manual weight of each client in a prefix. */
	int (*set_weight)(void *arg, const struct sluice_prefix_key *key, uint16_t weight,
			  char *err, size_t err_len);
	/* SLUICE_MODEL_ALL: all manual quotas of the client. -ENOENT: there are none. */
	int (*clear_quota)(void *arg, const struct text_subject *subject, uint32_t model, char *err,
			   size_t err_len);
	/* Changes rules of the whole fleet in its store. for_ns: until they end; 0: never.
	 * *version: of all rules, with this change. -ENOENT: there was nothing to clear. */
	int (*change_fleet)(void *arg, enum control_fleet_change change,
			    const struct fleet_rule_text *rules, size_t count, uint64_t for_ns,
			    uint64_t *version, char *err, size_t err_len);
	/* Takes the server out of service, or (drain->on false) back into it. */
	int (*drain)(void *arg, const struct controller_drain *drain, char *err, size_t err_len);
	int (*reload)(void *arg, char *said, size_t said_len, char *err, size_t err_len);
	/* Begins to detach, and waits for kept connections for kept_ns at most; control_detached()
	 * reports the end to the waiting clients. */
	int (*detach)(void *arg, uint64_t kept_ns, char *err, size_t err_len);
	/* The first client begins to record, or the last one ends. */
	void (*record)(void *arg, bool on);
};

struct control;

/*
 * Listens on path, for the daemon's user and the group (-1: the daemon's). Makes its directory
 * (0755) if it is missing, and replaces the socket of a dead daemon. -EADDRINUSE: a living daemon
 * listens there. On failure the reason is in err. state and ops must outlive *out.
 */
int control_open(struct control **out, const char *path, gid_t group,
		 const struct daemon_state *state, const struct control_ops *ops, char *err,
		 size_t err_len);
void control_close(struct control *c);

/* An epoll fd. When it is readable, control_poll() takes one step: it accepts, reads, answers or
 * writes to one client. */
int control_fd(const struct control *c);
void control_poll(struct control *c, uint64_t now_ns);
/* Drops clients that are late, and accepts again after a want of descriptors. Call it at each tick.
 */
void control_expire(struct control *c, uint64_t now_ns);
/* Accepts that failed for want of descriptors or memory. */
uint64_t control_accept_failures(const struct control *c);

/* Notify the clients that watch. Cheap without any. */
void control_refusal(struct control *c, const struct sluice_refusal *refusal);
void control_model_changed(struct control *c, uint32_t model);
/* Whether a client records. */
bool control_records(const struct control *c);
/* Gives the record to the clients that record. One with too much unread output loses it, and is
 * told how many it has lost as soon as there is room. */
void control_record(struct control *c, const struct sluice_record *record);
/* The daemon has lost so many for all of them. Call it at each tick, with 0 too. */
void control_records_lost(struct control *c, uint64_t n);
/* Answers the clients that requested `detach`. error: why something is left; NULL: nothing is. */
void control_detached(struct control *c, const char *error);

/* What happens to the connection after a command's answer. */
enum control_after { CONTROL_DONE, CONTROL_WATCH, CONTROL_RECORD, CONTROL_DETACH };

/* One line of a client, read. NULL: out of memory. */
struct control_call *control_read(const struct daemon_state *state, const struct control_ops *ops,
				  const struct ucred *peer, const char *line, size_t len);
/* The lane of the work (loop/work.h) that runs the command; WORK_LANES: it is answered at once. */
enum work_lane control_lane(const struct control_call *call);
void control_forget(struct control_call *call);
/* Runs the command, and frees the call. Returns the answer as one line without newline, which the
 * caller frees. NULL: the answer follows later, or memory ran out. */
char *control_run(struct control_call *call, enum control_after *after);

/*
 * The client's end. control_connect() returns an fd or -errno; control_say() writes all of line and
 * a newline. control_hear() reads one line of any length, without its newline, into *line, which
 * the caller frees. 0; -ENODATA at the end of the stream; -EAGAIN after timeout_s seconds (0: it
 * waits without limit).
 */
int control_connect(const char *path);
/* True if root or the caller's own user listens at the other end: it may be sent a secret. */
bool control_is_trusted(int fd);
int control_say(int fd, const char *line);
int control_hear(int fd, unsigned timeout_s, char **line);

#endif
