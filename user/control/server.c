/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The daemon's end of the control socket. A client must not be able to delay the lease. So a step
 * of control_poll() does one bounded thing for one client; the kernel's epoll list rotates among
 * clients. The server neither reads nor answers a client that has unread output. A client must not
 * be able to lock others out, either: each has a deadline, and the one that has been idle longest
 * gives way to a new one.
 */
#include "control/control.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/report.h"
#include "control/secret.h"
#include "loop/listener.h"

#define SLOTS (CONTROL_CLIENTS_MAX + 1) /* the last one is for root */

struct client {
	int fd;            /* -1: slot is free */
	struct job *job;   /* the command that is under way; NULL: none */
	struct ucred peer; /* when it connected */
	bool watching;
	bool recording;
	bool detaching; /* waits for control_detached() */
	bool closing;   /* closes once its output is written */
	size_t in_len;
	char *out;
	size_t out_len, out_at;
	uint64_t idle_ns; /* when it came, or its last output was written whole: idle since then */
	uint64_t out_ns;  /* when the present output began; of a watcher, when it last moved */
	char *in;         /* CONTROL_LINE_MAX bytes */
	uint64_t lost;    /* records that were lost and are not reported yet */
};

/* A command that runs as a work. */
struct job {
	struct work work;
	struct control *control;
	struct client *client; /* NULL: it is gone */
	struct control_call *call;
	enum control_after after;
	char *text;
};

struct control {
	const struct daemon_state *state;
	const struct control_ops *ops;
	int epoll, fd; /* fd listens */
	struct listener listener;
	unsigned watchers, recorders;
	uint64_t now_ns; /* at the last call */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	dev_t dev; /* of our socket file */
	ino_t ino;
	struct client client[SLOTS];
};

static void forget(struct job *job)
{
	control_forget(job->call);
	free(job);
}

static void drop(struct control *c, struct client *client)
{
	if (client->job)
		client->job->client = NULL;
	if (client->job && work_cancel(c->ops->queue, &client->job->work))
		forget(client->job);
	if (client->watching)
		c->watchers--;
	if (client->recording && !--c->recorders)
		c->ops->record(c->ops->arg, false);
	close(client->fd);                            /* leaves the epoll set too */
	explicit_bzero(client->in, CONTROL_LINE_MAX); /* a line may have an API key */
	free(client->in);
	free(client->out);
	*client = (struct client){.fd = -1};
}

/* Waits for the next possible step: space to write, or a command to read. A complete line that is
 * already read waits for EPOLLOUT, which comes at once. */
static void wait_for(struct control *c, struct client *client)
{
	bool line = client->in_len && memchr(client->in, '\n', client->in_len);
	bool busy = client->out_len || line;
	struct epoll_event ev = {
		.events = client->job ? 0
			  : busy      ? EPOLLOUT
				      : EPOLLIN, /* 0: its end, always */
		.data.ptr = client,
	};

	epoll_ctl(c->epoll, EPOLL_CTL_MOD, client->fd, &ev);
}

/* Writes what the socket takes, CONTROL_WRITE_MAX bytes at most. False: the client is gone. */
static bool flush(struct control *c, struct client *client, uint64_t now_ns)
{
	size_t left = client->out_len - client->out_at;
	ssize_t n = send(client->fd, client->out + client->out_at,
			 left < CONTROL_WRITE_MAX ? left : CONTROL_WRITE_MAX,
			 MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	if (n < 0) {
		drop(c, client);
		return false;
	}
	client->out_at += (size_t)n;
	if (client->watching)
		client->out_ns = now_ns;
	if (client->out_at < client->out_len)
		return true;
	client->idle_ns = now_ns;
	free(client->out);
	client->out = NULL;
	client->out_len = client->out_at = 0;
	if (client->closing) {
		drop(c, client);
		return false;
	}
	return true;
}

/* Adds text, which it frees, and a newline to the client's output. False: the client is gone. */
static bool put(struct control *c, struct client *client, char *text, uint64_t now_ns)
{
	size_t left = client->out_len - client->out_at, len = text ? strlen(text) : 0;
	char *out = NULL;

	if (text && !(client->watching && left + len + 1 > CONTROL_BACKLOG_MAX))
		out = realloc(text, left + len + 1);
	if (!out) {
		free(text);
		drop(c, client);
		return false;
	}
	if (left) {
		memmove(out + left, out, len);
		memcpy(out, client->out + client->out_at, left);
	}
	out[left + len] = '\n';
	free(client->out);
	client->out = out;
	client->out_at = 0;
	client->out_len = left + len + 1;
	if (!left)
		client->out_ns = now_ns;
	return flush(c, client, now_ns);
}

static bool say(struct control *c, struct client *client, const char *text, uint64_t now_ns)
{
	return put(c, client, strdup(text), now_ns);
}

/* The answer to the client's command; NULL: out of memory. */
static void give(struct control *c, struct client *client, char *text, enum control_after after,
		 uint64_t now_ns)
{
	if (after == CONTROL_DETACH) {
		client->detaching = true;
		return;
	}
	if (!put(c, client, text, now_ns))
		return;
	if (after == CONTROL_WATCH && !client->watching) {
		client->watching = true;
		c->watchers++;
	} else if (after == CONTROL_RECORD && !client->recording) {
		client->recording = true;
		if (!c->recorders++)
			c->ops->record(c->ops->arg, true);
	}
}

static void run_job(struct work *w)
{
	struct job *job = (struct job *)w;

	job->text = control_run(job->call, &job->after);
}

static void end_job(struct work *w)
{
	struct job *job = (struct job *)w;
	struct client *client = job->client;
	struct control *c = job->control;

	if (client) {
		client->job = NULL;
		give(c, client, job->text, job->after, c->now_ns);
		if (client->fd >= 0)
			wait_for(c, client);
	} else {
		free(job->text);
	}
	free(job);
}

static void start_job(struct control *c, struct client *client, struct control_call *call,
		      enum work_lane lane)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job) {
		control_forget(call);
		drop(c, client);
		return;
	}
	*job = (struct job){
		.work = {.run = run_job, .done = end_job, .lane = lane},
		.control = c,
		.client = client,
		.call = call,
	};
	client->job = job;
	work_start(c->ops->queue, &job->work);
}

static void answer(struct control *c, struct client *client, char *newline, uint64_t now_ns)
{
	size_t len = (size_t)(newline - client->in), rest = client->in_len - len - 1;
	struct control_call *call = control_read(c->state, c->ops, &client->peer, client->in, len);
	enum work_lane lane = call ? control_lane(call) : WORK_LANES;
	enum control_after after = CONTROL_DONE;
	char *text = call && lane == WORK_LANES ? control_run(call, &after) : NULL;

	secret_wipe_stack();
	memmove(client->in, newline + 1, rest);
	explicit_bzero(client->in + rest, len + 1);
	client->in_len = rest;
	if (lane != WORK_LANES)
		start_job(c, client, call, lane);
	else
		give(c, client, text, after, now_ns);
}

/* One step for one client. */
static void step(struct control *c, struct client *client, uint32_t events, uint64_t now_ns)
{
	char *newline;
	ssize_t n;

	if (client->job) { /* nothing but its end is waited for */
		drop(c, client);
		return;
	}
	if (client->out_len && !flush(c, client, now_ns))
		return;
	if (client->out_len) {
		if (events & (EPOLLERR | EPOLLHUP))
			drop(c, client);
		return;
	}
	newline = client->in_len ? memchr(client->in, '\n', client->in_len) : NULL;
	if (!newline) {
		n = recv(client->fd, client->in + client->in_len, CONTROL_LINE_MAX - client->in_len,
			 MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			wait_for(c, client);
			return;
		}
		if (n <= 0) {
			drop(c, client);
			return;
		}
		client->in_len += (size_t)n;
		newline = memchr(client->in, '\n', client->in_len);
	}
	if (newline) {
		answer(c, client, newline, now_ns);
	} else if (client->in_len == CONTROL_LINE_MAX) {
		explicit_bzero(client->in, CONTROL_LINE_MAX);
		client->in_len = 0;
		client->closing = true;
		say(c, client, "{\"ok\":false,\"error\":\"a line holds at most 65536 bytes\"}",
		    now_ns);
	}
	if (client->fd >= 0)
		wait_for(c, client);
}

static struct ucred peer_of(int fd)
{
	struct ucred peer, nobody = {.uid = (uid_t)-1, .gid = (gid_t)-1};
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) ? nobody : peer;
}

static bool is_root(const struct client *client)
{
	return !client->peer.uid;
}

/* Of two clients that may give way (NULL: none), the one that does. Root's gives way last. */
static struct client *rather(struct client *a, struct client *b)
{
	if (!a || is_root(a) != is_root(b))
		return !a || is_root(a) ? b : a;
	return b->idle_ns < a->idle_ns ? b : a;
}

/*
 * A free slot, or that of the client that has been idle longest. Others than root have
 * CONTROL_CLIENTS_MAX slots, and take none of root's. NULL: there is none.
 */
static struct client *make_slot(struct control *c, bool root)
{
	struct client *empty = NULL, *last = NULL;
	unsigned others = 0;

	for (unsigned i = 0; i < SLOTS; i++) {
		struct client *client = &c->client[i];

		if (client->fd < 0)
			empty = client;
		else if ((root || !is_root(client)) && !client->detaching && !client->job)
			last = rather(last, client);
		others += client->fd >= 0 && !is_root(client);
	}
	if (empty && (root || others < CONTROL_CLIENTS_MAX))
		return empty;
	if (last)
		drop(c, last);
	return last;
}

static void welcome(struct control *c, uint64_t now_ns)
{
	static const char full[] =
		"{\"ok\":false,\"error\":\"too many control clients at once\"}\n";
	int fd = listener_accept(&c->listener, NULL, NULL);
	struct ucred peer = peer_of(fd);
	struct client *client = fd >= 0 ? make_slot(c, !peer.uid) : NULL;
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = client};

	if (fd < 0)
		return;
	if (client)
		client->in = malloc(CONTROL_LINE_MAX);
	if (!client || !client->in || epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &ev)) {
		if (client) {
			free(client->in);
			client->in = NULL;
		}
		send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
		close(fd);
		return;
	}
	client->fd = fd;
	client->peer = peer;
	client->idle_ns = now_ns;
}

void control_poll(struct control *c, uint64_t now_ns)
{
	struct epoll_event ev;

	c->now_ns = now_ns;
	if (epoll_wait(c->epoll, &ev, 1, 0) != 1)
		return;
	if (!ev.data.ptr)
		welcome(c, now_ns);
	else
		step(c, ev.data.ptr, ev.events, now_ns);
}

static bool is_late(const struct client *client, uint64_t now_ns)
{
	if (client->out_len)
		return !client->recording && now_ns - client->out_ns > CONTROL_READ_NS;
	return !client->watching && !client->recording && !client->detaching && !client->job &&
	       now_ns - client->idle_ns > CONTROL_COMMAND_NS;
}

void control_expire(struct control *c, uint64_t now_ns)
{
	c->now_ns = now_ns;
	listener_resume(&c->listener);
	for (unsigned i = 0; i < SLOTS; i++)
		if (c->client[i].fd >= 0 && is_late(&c->client[i], now_ns))
			drop(c, &c->client[i]);
}

uint64_t control_accept_failures(const struct control *c)
{
	return c->listener.failures;
}

static void report(struct control *c, json_t *event)
{
	char *text = event ? json_dumps(event, JSON_COMPACT | JSON_REAL_PRECISION(10)) : NULL;

	json_decref(event);
	for (unsigned i = 0; text && i < SLOTS; i++) {
		struct client *client = &c->client[i];

		if (client->fd >= 0 && client->watching && say(c, client, text, c->state->now_ns))
			wait_for(c, client);
	}
	free(text);
}

void control_refusal(struct control *c, const struct sluice_refusal *refusal)
{
	if (c->watchers)
		report(c, report_refusal(c->state, refusal));
}

void control_model_changed(struct control *c, uint32_t model)
{
	if (c->watchers)
		report(c, report_change(c->state, model));
}

bool control_records(const struct control *c)
{
	return c->recorders;
}

/* Whether the client has room for a text of this length. */
static bool has_room(const struct client *client, size_t len)
{
	return client->out_len - client->out_at + len < CONTROL_BACKLOG_MAX;
}

/* Tells a client that records what it has lost. False: it has no room, or it is gone. */
static bool tell_lost(struct control *c, struct client *client)
{
	char text[64];

	if (!client->lost)
		return true;
	snprintf(text, sizeof(text), "{\"event\":\"lost\",\"records\":%" PRIu64 "}", client->lost);
	if (!has_room(client, sizeof(text)))
		return false;
	client->lost = 0;
	if (!say(c, client, text, c->state->now_ns))
		return false;
	wait_for(c, client);
	return true;
}

void control_record(struct control *c, const struct sluice_record *record)
{
	json_t *event = c->recorders ? report_record(c->state, record) : NULL;
	char *text = event ? json_dumps(event, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;

	json_decref(event);
	for (unsigned i = 0; c->recorders && i < SLOTS; i++) {
		struct client *client = &c->client[i];

		if (client->fd < 0 || !client->recording)
			continue;
		if (!tell_lost(c, client)) {
			client->lost += client->fd >= 0;
		} else if (!text || !has_room(client, len + 1)) {
			client->lost++;
		} else if (say(c, client, text, c->state->now_ns)) {
			wait_for(c, client);
		}
	}
	free(text);
}

void control_records_lost(struct control *c, uint64_t n)
{
	for (unsigned i = 0; c->recorders && i < SLOTS; i++) {
		struct client *client = &c->client[i];

		if (client->fd < 0 || !client->recording)
			continue;
		client->lost += n;
		tell_lost(c, client);
	}
}

void control_detached(struct control *c, const char *error)
{
	json_t *last = error ? json_pack("{s:b, s:s}", "ok", 0, "error", error)
			     : json_pack("{s:b, s:s}", "ok", 1, "did", "detached");
	char *text = last ? json_dumps(last, JSON_COMPACT) : NULL;

	json_decref(last);
	for (unsigned i = 0; text && i < SLOTS; i++) {
		struct client *client = &c->client[i];

		if (client->fd >= 0 && client->detaching && say(c, client, text, c->state->now_ns))
			client->detaching = false;
	}
	free(text);
}

/* True if a daemon accepts connections at path. */
static bool alive(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool yes = fd >= 0 && (!connect(fd, (const struct sockaddr *)address, sizeof(*address)) ||
			       errno == EAGAIN);

	if (fd >= 0)
		close(fd);
	return yes;
}

/* Makes the directory of path if it is missing (one level: /run exists). */
static int make_directory(const char *path)
{
	char dir[sizeof(((struct control *)0)->path)];
	char *slash;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return 0;
	*slash = 0;
	if (!mkdir(dir, 0755)) /* umask may remove bits that others need to reach the socket */
		return chmod(dir, 0755) ? -errno : 0;
	return errno == EEXIST ? 0 : -errno;
}

static int listen_at(struct control *c, gid_t group, char *err, size_t err_len)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat st;
	mode_t mask;
	int ret;

	memcpy(address.sun_path, c->path, sizeof(address.sun_path));
	ret = make_directory(c->path);
	if (ret) {
		snprintf(err, err_len, "cannot make the directory of the control socket %s: %s",
			 c->path, strerror(-ret));
		return ret;
	}
	if (!lstat(c->path, &st)) {
		if (!S_ISSOCK(st.st_mode)) {
			snprintf(err, err_len, "%s is there already and is no socket", c->path);
			return -EEXIST;
		}
		if (alive(&address)) {
			snprintf(err, err_len, "another sluiced answers at the control socket %s",
				 c->path);
			return -EADDRINUSE;
		}
		unlink(c->path);
	}
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -errno;
	mask = umask(0117); /* created 0660, so that no other user can connect at any time */
	ret = bind(c->fd, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
	umask(mask);
	if (!ret && lchown(c->path, (uid_t)-1, group)) {
		ret = -errno;
		snprintf(err, err_len, "cannot give the control socket %s to the group %u: %s",
			 c->path, group, strerror(-ret));
		unlink(c->path);
		return ret;
	}
	if (!ret && (listen(c->fd, CONTROL_CLIENTS_MAX) || lstat(c->path, &st)))
		ret = -errno;
	if (ret) {
		snprintf(err, err_len, "cannot listen at the control socket %s: %s", c->path,
			 strerror(-ret));
		return ret;
	}
	c->dev = st.st_dev;
	c->ino = st.st_ino;
	return 0;
}

int control_open(struct control **out, const char *path, gid_t group,
		 const struct daemon_state *state, const struct control_ops *ops, char *err,
		 size_t err_len)
{
	struct control *c = calloc(1, sizeof(*c));
	int ret;

	snprintf(err, err_len, "out of memory");
	if (!c)
		return -ENOMEM;
	c->epoll = c->fd = -1;
	c->state = state;
	c->ops = ops;
	for (unsigned i = 0; i < SLOTS; i++)
		c->client[i].fd = -1;
	ret = -ENAMETOOLONG;
	if (strlen(path) >= sizeof(c->path)) {
		snprintf(err, err_len, "the control socket's path is longer than %zu bytes: %s",
			 sizeof(c->path) - 1, path);
		goto fail;
	}
	snprintf(c->path, sizeof(c->path), "%s", path);
	ret = listen_at(c, group, err, err_len);
	if (ret)
		goto fail;
	c->epoll = epoll_create1(EPOLL_CLOEXEC);
	ret = c->epoll < 0 ? -errno : listener_start(&c->listener, c->epoll, c->fd);
	if (ret) {
		snprintf(err, err_len, "epoll: %s", strerror(-ret));
		goto fail;
	}
	*out = c;
	return 0;
fail:
	control_close(c);
	return ret;
}

void control_close(struct control *c)
{
	struct stat st;

	if (!c)
		return;
	for (unsigned i = 0; i < SLOTS; i++)
		if (c->client[i].fd >= 0)
			drop(c, &c->client[i]);
	if (c->ino && !lstat(c->path, &st) && st.st_ino == c->ino && st.st_dev == c->dev)
		unlink(c->path);
	if (c->fd >= 0)
		close(c->fd);
	if (c->epoll >= 0)
		close(c->epoll);
	free(c);
}

int control_fd(const struct control *c)
{
	return c->epoll;
}
