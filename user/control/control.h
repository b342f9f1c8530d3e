/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The control socket: sluicectl's way to the daemon, JSON lines over a Unix stream socket
 * (PROTOCOL.md). Whatever a client does, the daemon's loop goes on: sockets never block, one
 * command is answered per call of control_poll(), lines, clients and unread output are bounded, and
 * whoever does not read is dropped.
 */
#ifndef SLUICE_CONTROL_H
#define SLUICE_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>
#include "core/state.h"
#include "core/text.h"

#define CONTROL_DEFAULT_PATH "/run/sluice/control.sock"
#define CONTROL_LINE_MAX     65536 /* bytes of a command, its newline included */
#define CONTROL_CLIENTS_MAX  32
#define CONTROL_BACKLOG_MAX  65536 /* unread bytes of a watch stream before it is dropped */
#define CONTROL_STALL_NS     10000000000ULL /* an answer not read for so long: dropped */
#define CONTROL_VALUES_MAX   32             /* KEY=VALUE pairs of one `set` */

/*
 * What the daemon does when told to. 0, or -errno after writing the reason for the operator to err.
 * `said` is a sentence about what was done, which may stay empty.
 */
struct control_ops {
	void *arg;
	/* Brings these parts (enum state_part) of the state up to date. */
	void (*refresh)(void *arg, unsigned parts);
	/* model NULL: all. pairs are "key=value". */
	int (*set)(void *arg, const char *model, const char *const *pairs, size_t count, char *err,
		   size_t err_len);
	int (*set_client)(void *arg, const struct sluice_client_flag_key *key,
			  const struct sluice_client_flag *flag, char *err, size_t err_len);
	int (*clear_client)(void *arg, const struct sluice_client_flag_key *key, char *err,
			    size_t err_len);
	int (*set_prefix)(void *arg, const struct sluice_prefix_key *key,
			  const struct sluice_prefix *prefix, char *err, size_t err_len);
	int (*clear_prefix)(void *arg, const struct sluice_prefix_key *key, char *err,
			    size_t err_len);
	/* By hand: over what the configuration says. model: SLUICE_MODEL_ALL, or a client's for one
	 * model. */
	int (*set_quota)(void *arg, const struct text_subject *subject, uint32_t model,
			 const struct quota_def *quota, char *err, size_t err_len);
	/* The weight of each client in a prefix, likewise. */
	int (*set_weight)(void *arg, const struct sluice_prefix_key *key, uint16_t weight,
			  char *err, size_t err_len);
	/* SLUICE_MODEL_ALL: whatever was said by hand of the client. -ENOENT: nothing was. */
	int (*clear_quota)(void *arg, const struct text_subject *subject, uint32_t model, char *err,
			   size_t err_len);
	int (*reload)(void *arg, char *said, size_t said_len, char *err, size_t err_len);
	/* Begins to detach; control_detached() tells those who wait that it is done. */
	int (*detach)(void *arg, char *err, size_t err_len);
};

struct control;

/*
 * Listens on path: its directory is made (0755) where it is missing, the socket of a dead daemon is
 * replaced. -EADDRINUSE: a living daemon has it. On failure the reason is in err. state and ops
 * must outlive *out.
 */
int control_open(struct control **out, const char *path, const struct daemon_state *state,
		 const struct control_ops *ops, char *err, size_t err_len);
void control_close(struct control *c);

/* An epoll fd; when readable, control_poll() takes one step: one client accepted, read, answered or
 * written to. */
int control_fd(const struct control *c);
void control_poll(struct control *c, uint64_t now_ns);
/* Drops clients that do not read their answers. To be called every second or so. */
void control_expire(struct control *c, uint64_t now_ns);

/* Tell those who watch. Cheap when nobody does. */
void control_refusal(struct control *c, const struct sluice_refusal *refusal);
void control_model_changed(struct control *c, uint32_t model);
/* Answers those who asked for `detach`: error NULL, or why something is left. */
void control_detached(struct control *c, const char *error);

/* What a command asks of the connection it came by, beyond its answer. */
enum control_after { CONTROL_DONE, CONTROL_WATCH, CONTROL_DETACH };

/* Runs one line; returns the answer as one line without newline, to be freed; NULL: to be answered
 * later, or no memory. */
char *control_answer(const struct daemon_state *state, const struct control_ops *ops,
		     const char *line, size_t len, enum control_after *after);

/*
 * The other end. control_connect() returns an fd or -errno; control_say() writes all of line and a
 * newline. control_hear() reads one line of any length into *line (freed by the caller; its newline
 * removed): 0, or -ENODATA at the end, -EAGAIN after timeout_s seconds (0: waits for ever).
 */
int control_connect(const char *path);
int control_say(int fd, const char *line);
int control_hear(int fd, unsigned timeout_s, char **line);

#endif
