/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * See store.h. One connection after another: a name is looked up, a socket connects, TLS shakes
 * hands, the server is greeted (password, role, script), and then it answers calls. Each phase has
 * one deadline. Whatever goes wrong in any phase closes the connection, states why, and tries the
 * next address a little later. The call under way is kept, and is the first on the next connection.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <hiredis/hiredis.h>

#include "fleet/call.h"

#define CONNECT_NS   1000000000ULL
#define LOOKUP_NS    5000000000ULL
#define RETRY_MIN_NS 50000000ULL
#define RETRY_MAX_NS 2000000000ULL
#define NEVER        UINT64_MAX
#define EXPECT_MAX   6

enum phase { WAITS, LOOKS_UP, CONNECTS, SHAKES_HANDS, GREETS, READY };
enum expected { PASSWORD, MASTER, ROLE, SCRIPT, CALL, REQUEST };
enum { FROM_SOCKET, FROM_LOOKUP };

struct store {
	struct store_handlers handlers;
	struct store_address *address;
	size_t address_count, address_at;
	char *sentinel_master, *user, *password;
	struct store_tls *tls;

	enum phase phase;
	uint64_t deadline_ns; /* of the phase; READY: of the call */
	unsigned failures;    /* since the last answer to a call */
	bool up;
	char why[STORE_WHY_MAX + STORE_HOST_MAX]; /* it is down; "": nothing was said yet */
	int epoll;
	uint32_t events; /* of the socket */

	struct store_address redirect; /* by a sentinel, or MOVED; host "": none */
	struct store_address current;
	char current_text[STORE_HOST_MAX + 10];
	struct store_lookup *lookup;
	struct store_endpoint endpoint[STORE_ENDPOINTS];
	size_t endpoint_count, endpoint_at;
	struct store_link link;
	redisReader *reader;
	size_t received; /* since the last whole reply */
	char *out;
	size_t out_len, out_sent;
	enum expected expected[EXPECT_MAX];
	size_t expected_count;

	struct store_call call;
	bool calling;  /* a call is under way */
	bool reloaded; /* … and for it, the script was loaded again */
	uint64_t sent_ns;
	struct store_reading reading;
	struct {
		store_replied done; /* NULL: none is under way */
		void *arg;
	} request[STORE_REQUESTS];
};

static void watch_socket(struct store *s, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.u32 = FROM_SOCKET};

	if (events == s->events || s->link.fd < 0)
		return;
	epoll_ctl(s->epoll, s->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, s->link.fd, &event);
	s->events = events;
}

static void close_connection(struct store *s)
{
	if (s->lookup)
		epoll_ctl(s->epoll, EPOLL_CTL_DEL, store_lookup_fd(s->lookup), NULL);
	store_lookup_leave(s->lookup);
	s->lookup = NULL;
	store_link_end(&s->link); /* which takes it out of the epoll set */
	s->events = 0;
	if (s->reader)
		redisReaderFree(s->reader);
	s->reader = NULL;
	if (s->out) /* it may hold the password */
		explicit_bzero(s->out, s->out_len);
	free(s->out);
	s->out = NULL;
	s->out_len = s->out_sent = s->received = s->expected_count = 0;
	s->phase = WAITS;
}

/* Each round of all addresses waits twice as long as the last one, and up to half of it less. */
static uint64_t retry_ns(const struct store *s)
{
	size_t round = s->failures / s->address_count;
	uint64_t ns = RETRY_MIN_NS << (round < 6 ? round : 6);

	if (ns > RETRY_MAX_NS)
		ns = RETRY_MAX_NS;
	return ns - store_random() % (ns / 2);
}

static void end_request(struct store *s, size_t kind, const redisReply *reply, const char *error)
{
	store_replied done = s->request[kind].done;

	s->request[kind].done = NULL;
	if (done)
		done(s->request[kind].arg, reply, error);
}

static void fail(struct store *s, const char *why, uint64_t now_ns)
{
	char text[sizeof(s->why)];
	bool told;

	snprintf(text, sizeof(text), "%s: %s", s->current_text, why);
	told = !s->up && !strcmp(text, s->why);
	close_connection(s);
	s->deadline_ns = now_ns + retry_ns(s);
	/* Also if a sentinel named the server that has failed: another one may know better. */
	s->address_at = (s->address_at + 1) % s->address_count;
	s->redirect.host[0] = 0;
	if (s->failures < UINT32_MAX)
		s->failures++;
	s->up = false;
	memcpy(s->why, text, sizeof(text));
	if (!told)
		s->handlers.changed(s->handlers.arg, false, s->why);
	for (size_t kind = 0; kind < STORE_REQUESTS; kind++)
		end_request(s, kind, NULL, s->why);
}

static void flush(struct store *s, uint64_t now_ns)
{
	while (s->out_sent < s->out_len) {
		ssize_t sent =
			store_link_write(&s->link, s->out + s->out_sent, s->out_len - s->out_sent);

		if (sent == -EAGAIN)
			break;
		if (sent < 0) {
			char why[STORE_WHY_MAX];

			memcpy(why, s->link.why, sizeof(why));
			fail(s, why, now_ns);
			return;
		}
		s->out_sent += (size_t)sent;
	}
	if (s->out_sent == s->out_len) {
		if (s->out)
			explicit_bzero(s->out, s->out_len);
		s->out_len = s->out_sent = 0;
	}
	watch_socket(s, EPOLLIN | (s->out_len || s->link.wants_write ? EPOLLOUT : 0));
}

/* Adds a command to what is to be sent. */
static int put(struct store *s, enum expected expected, int argc, const char **argv,
	       const size_t *lens)
{
	char *command, *out;
	int len = redisFormatCommandArgv(&command, argc, argv, lens);

	if (len < 0)
		return -ENOMEM;
	out = malloc(s->out_len + (size_t)len);
	if (!out) {
		redisFreeCommand(command);
		return -ENOMEM;
	}
	if (s->out) {
		memcpy(out, s->out, s->out_len);
		explicit_bzero(s->out, s->out_len);
		free(s->out);
	}
	memcpy(out + s->out_len, command, (size_t)len);
	explicit_bzero(command, (size_t)len);
	redisFreeCommand(command);
	s->out = out;
	s->out_len += (size_t)len;
	s->expected[s->expected_count++] = expected;
	return 0;
}

static int put_words(struct store *s, enum expected expected, const char *one, const char *two,
		     const char *three)
{
	const char *argv[3] = {one, two, three};

	return put(s, expected, three ? 3 : two ? 2 : 1, argv, NULL);
}

static void send_call(struct store *s, uint64_t now_ns)
{
	const char **argv;
	const size_t *lens;
	int argc = store_call_format(&s->call, now_ns, &argv, &lens);

	s->sent_ns = now_ns;
	s->deadline_ns = now_ns + STORE_SILENT_NS;
	if (put(s, CALL, argc, argv, lens))
		fail(s, "out of memory", now_ns);
	else
		flush(s, now_ns);
}

static void become_up(struct store *s)
{
	s->up = true;
	s->why[0] = 0;
	s->handlers.changed(s->handlers.arg, true, "");
}

static void become_ready(struct store *s, uint64_t now_ns)
{
	s->phase = READY;
	s->deadline_ns = NEVER;
	if (s->calling) /* … its answer shows that it is up: a replica greets as well as a master
			 */
		send_call(s, now_ns);
	else
		become_up(s);
}

static bool asks_sentinel(const struct store *s)
{
	return s->sentinel_master && !s->redirect.host[0];
}

static void greet(struct store *s, uint64_t now_ns)
{
	int result = 0;

	s->phase = GREETS;
	s->deadline_ns = now_ns + STORE_SILENT_NS;
	s->reader = store_reader();
	if (!s->reader) {
		fail(s, "out of memory", now_ns);
		return;
	}
	if (asks_sentinel(s)) {
		result = put_words(s, MASTER, "SENTINEL", "get-master-addr-by-name",
				   s->sentinel_master);
	} else {
		if (s->password)
			result = s->user ? put_words(s, PASSWORD, "AUTH", s->user, s->password)
					 : put_words(s, PASSWORD, "AUTH", s->password, NULL);
		if (!result)
			result = put_words(s, ROLE, "ROLE", NULL, NULL);
		if (!result)
			result = put_words(s, SCRIPT, "SCRIPT", "LOAD", store_script);
	}
	if (result)
		fail(s, "out of memory", now_ns);
	else
		flush(s, now_ns);
}

static void shake_hands(struct store *s, uint64_t now_ns)
{
	int result = store_link_handshake(&s->link);
	char why[STORE_WHY_MAX];

	if (result == -EAGAIN) {
		watch_socket(s, s->link.wants_write ? EPOLLOUT : EPOLLIN);
	} else if (result) {
		memcpy(why, s->link.why, sizeof(why));
		fail(s, why, now_ns);
	} else {
		greet(s, now_ns);
	}
}

/* Tries one endpoint after another. error: of the last one. */
static void try_endpoints(struct store *s, int error, uint64_t now_ns)
{
	int fd;

	store_link_end(&s->link);
	s->events = 0;
	for (; s->endpoint_at < s->endpoint_count; s->endpoint_at++) {
		fd = store_connect(&s->endpoint[s->endpoint_at]);
		if (fd < 0) {
			error = -fd;
			continue;
		}
		s->endpoint_at++;
		s->phase = CONNECTS;
		s->deadline_ns = now_ns + CONNECT_NS;
		/* A path leads to this host: it needs no TLS, and has no name for a certificate. */
		if (store_link_begin(&s->link, s->current.port ? s->tls : NULL, fd,
				     s->current.host)) {
			fail(s, "TLS does not start", now_ns);
			return;
		}
		watch_socket(s, EPOLLOUT);
		return;
	}
	fail(s, error == ETIMEDOUT ? "the store does not accept a connection" : strerror(error),
	     now_ns);
}

static void begin(struct store *s, uint64_t now_ns)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = FROM_LOOKUP};

	s->current = s->redirect.host[0] ? s->redirect : s->address[s->address_at];
	store_address_text(s->current_text, sizeof(s->current_text), &s->current);
	s->endpoint_at = 0;
	s->endpoint_count = store_endpoints(&s->current, s->endpoint);
	if (s->endpoint_count) {
		try_endpoints(s, 0, now_ns);
		return;
	}
	s->lookup = store_lookup_begin(&s->current);
	if (!s->lookup || epoll_ctl(s->epoll, EPOLL_CTL_ADD, store_lookup_fd(s->lookup), &event)) {
		fail(s, "no thread for the look-up of the name", now_ns);
		return;
	}
	s->phase = LOOKS_UP;
	s->deadline_ns = now_ns + LOOKUP_NS;
}

static void looked_up(struct store *s, uint64_t now_ns)
{
	struct store_lookup *lookup = s->lookup;
	char text[STORE_WHY_MAX];
	const char *why;

	epoll_ctl(s->epoll, EPOLL_CTL_DEL, store_lookup_fd(lookup), NULL);
	s->lookup = NULL;
	s->endpoint_count = store_lookup_end(lookup, s->endpoint, &why);
	if (s->endpoint_count) {
		try_endpoints(s, 0, now_ns);
		return;
	}
	snprintf(text, sizeof(text), "the name is not found: %s", why);
	fail(s, text, now_ns);
}

static void connected(struct store *s, uint64_t now_ns)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(s->link.fd, SOL_SOCKET, SO_ERROR, &error, &len))
		error = errno;
	if (error) {
		try_endpoints(s, error, now_ns);
		return;
	}
	s->phase = SHAKES_HANDS;
	shake_hands(s, now_ns);
}

/* Another server has what this one was asked for: it is the next one. */
static void redirect(struct store *s, const char *host, uint16_t port)
{
	s->redirect.port = port;
	snprintf(s->redirect.host, sizeof(s->redirect.host), "%s",
		 host[0] ? host : s->current.host);
}

static void failed_call(struct store *s, const char *error, uint64_t now_ns)
{
	char why[STORE_WHY_MAX], host[STORE_HOST_MAX];
	uint16_t port;

	switch (store_fault_of(error, why, host, &port)) {
	case STORE_FAULT_NO_SCRIPT:
		if (s->reloaded)
			break;
		s->reloaded = true;
		s->deadline_ns = now_ns + STORE_SILENT_NS;
		if (put_words(s, SCRIPT, "SCRIPT", "LOAD", store_script))
			fail(s, "out of memory", now_ns);
		else
			flush(s, now_ns);
		return;
	case STORE_FAULT_MOVED: /* no sooner than after any fault: two nodes may name each other */
		fail(s, why, now_ns);
		redirect(s, host, port);
		return;
	case STORE_FAULT_OTHER:
		break;
	}
	fail(s, why, now_ns);
}

static void answered(struct store *s, const redisReply *reply, uint64_t now_ns)
{
	struct store_call *call = &s->call;

	if (store_read_reply(&s->reading, reply, call->number, call->budgets, call->count)) {
		fail(s, "the answer to a call has another form than the script's", now_ns);
		return;
	}
	s->failures = 0;
	s->reloaded = false;
	s->deadline_ns = NEVER;
	s->reading.answer.round_trip_ns = now_ns - s->sent_ns;
	store_call_answered(call, &s->reading, reply->element[1]);
	if (!s->up)
		become_up(s); /* not idle yet: no call may take the place of this answer */
	s->calling = false;
	s->handlers.answered(s->handlers.arg, &s->reading.answer);
}

static void take(struct store *s, const redisReply *reply, uint64_t now_ns)
{
	char host[STORE_HOST_MAX], why[STORE_WHY_MAX];
	enum expected expected = s->expected[0];
	bool error = reply->type == REDIS_REPLY_ERROR;
	uint16_t port;

	s->expected_count--;
	memmove(s->expected, s->expected + 1, s->expected_count * sizeof(s->expected[0]));
	if (expected >= REQUEST) { /* its error is of its own, not the connection's */
		if (error)
			store_fault_of(reply->str, why, host, &port);
		end_request(s, expected - REQUEST, error ? NULL : reply, error ? why : "");
		return;
	}
	if (error && expected == CALL) {
		failed_call(s, reply->str, now_ns);
		return;
	}
	/* A user may lack the permission for ROLE. A call to a replica says so, too. */
	if (error && (expected != ROLE || !strstr(reply->str, "NOPERM"))) {
		store_fault_of(reply->str, why, host, &port);
		fail(s, why, now_ns);
		return;
	}
	switch (expected) {
	case PASSWORD:
		break;
	case MASTER:
		if (store_read_sentinel(reply, host, &port)) {
			fail(s, "the sentinel knows no such master", now_ns);
			return;
		}
		close_connection(s);
		redirect(s, host, port);
		s->deadline_ns = now_ns;
		break;
	case ROLE:
		if (!error && !store_is_master(reply))
			fail(s, "the server is a replica", now_ns);
		break;
	case SCRIPT:
		if (store_read_sha(reply, s->call.sha))
			fail(s, "the answer to SCRIPT LOAD is no hash", now_ns);
		else
			become_ready(s, now_ns);
		break;
	case CALL:
		answered(s, reply, now_ns);
		break;
	case REQUEST:
		break;
	}
}

/* Takes the whole replies that have been read. */
static void take_replies(struct store *s, uint64_t now_ns)
{
	char why[STORE_WHY_MAX];
	void *reply;

	while (s->reader) {
		if (redisReaderGetReply(s->reader, &reply)) {
			snprintf(why, sizeof(why), "what the store sends is no reply of Redis: %s",
				 s->reader->errstr);
			fail(s, why, now_ns);
			return;
		}
		if (!reply)
			return;
		s->received = 0;
		if (s->expected_count)
			take(s, reply, now_ns);
		else
			fail(s, "the store sends what it was not asked for", now_ns);
		freeReplyObject(reply);
	}
}

static void receive(struct store *s, uint64_t now_ns)
{
	char buf[16384], why[STORE_WHY_MAX];

	while (s->link.fd >= 0) {
		ssize_t got = store_link_read(&s->link, buf, sizeof(buf));

		if (got == -EAGAIN) {
			flush(s, now_ns); /* TLS may have to write before it reads */
			return;
		}
		if (got <= 0) {
			snprintf(why, sizeof(why), "%s",
				 got ? s->link.why : "the store has closed the connection");
			fail(s, why, now_ns);
			return;
		}
		s->received += (size_t)got;
		if (s->received > STORE_REPLY_MAX || redisReaderFeed(s->reader, buf, (size_t)got)) {
			fail(s, "the store's reply is too long", now_ns);
			return;
		}
		take_replies(s, now_ns);
		if (s->phase == WAITS)
			return;
	}
}

static void deadline(struct store *s, uint64_t now_ns)
{
	switch (s->phase) {
	case WAITS:
		begin(s, now_ns);
		break;
	case LOOKS_UP:
		fail(s, "the look-up of the name takes too long", now_ns);
		break;
	case CONNECTS:
		try_endpoints(s, ETIMEDOUT, now_ns);
		break;
	case SHAKES_HANDS:
	case GREETS:
	case READY:
		fail(s, "the store does not answer", now_ns);
		break;
	}
}

void store_run(struct store *s, uint64_t now_ns)
{
	struct epoll_event event[2];
	int count = epoll_wait(s->epoll, event, 2, 0);

	/* First what has come: it counts, even if the loop is late. */
	for (int i = 0; i < count; i++) {
		if (event[i].data.u32 == FROM_LOOKUP) {
			if (s->lookup)
				looked_up(s, now_ns);
			continue;
		}
		if (s->phase == CONNECTS)
			connected(s, now_ns);
		else if (s->phase == SHAKES_HANDS)
			shake_hands(s, now_ns);
		if (s->phase == GREETS || s->phase == READY)
			receive(s, now_ns);
	}
	if (now_ns >= s->deadline_ns)
		deadline(s, now_ns);
}

bool store_idle(const struct store *s)
{
	return s->phase == READY && s->up && !s->calling;
}

void store_call(struct store *s, uint64_t number, const struct store_budget *budgets, size_t count,
		uint64_t now_ns)
{
	if (!store_idle(s) || store_call_begin(&s->call, number, budgets, count))
		return;
	s->calling = true;
	send_call(s, now_ns);
}

int store_request(struct store *s, enum store_request kind, int argc, const char **argv,
		  const size_t *lens, store_replied done, void *arg)
{
	if (s->phase != READY || !s->up)
		return -ENOTCONN;
	if (s->request[kind].done || s->expected_count == EXPECT_MAX)
		return -EBUSY;
	if (put(s, REQUEST + kind, argc, argv, lens))
		return -ENOMEM;
	s->request[kind].done = done;
	s->request[kind].arg = arg;
	/* What cannot be sent is seen by the next call, which has a deadline. */
	watch_socket(s, EPOLLIN | EPOLLOUT);
	return 0;
}

const char *store_fleet(const struct store *s)
{
	return s->call.fleet;
}

void store_set_info(struct store *s, const char *info)
{
	store_call_info(&s->call, info);
}

void store_ask_hosts(struct store *s,
		     void (*each)(void *arg, const char *host, const char *info,
				  uint64_t seen_ms_ago),
		     void *arg)
{
	s->call.each = each;
	s->call.each_arg = arg;
}

int store_fd(const struct store *s)
{
	return s->epoll;
}

uint64_t store_timeout_ns(const struct store *s)
{
	return s->deadline_ns;
}

const char *store_address(const struct store *s)
{
	return s->up ? s->current_text : "";
}

int store_new(struct store **out, const struct store_config *config,
	      const struct store_handlers *handlers, char *err, size_t len)
{
	struct store *s;
	int result;

	if (!config->address_count) {
		snprintf(err, len, "a fleet needs the address of a store");
		return -EINVAL;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		snprintf(err, len, "out of memory");
		return -ENOMEM;
	}
	s->handlers = *handlers;
	s->link.fd = -1;
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->address = calloc(config->address_count, sizeof(s->address[0]));
	s->address_count = config->address_count;
	s->sentinel_master = store_copy(config->sentinel_master);
	s->user = store_copy(config->user);
	s->password = store_copy(config->password);
	if (s->epoll < 0 || !s->address || (config->sentinel_master && !s->sentinel_master) ||
	    (config->user && !s->user) || (config->password && !s->password)) {
		snprintf(err, len, "out of memory or descriptors");
		result = -ENOMEM;
		goto bad;
	}
	for (size_t i = 0; i < config->address_count; i++) {
		result = store_address_read(&s->address[i], config->addresses[i], err, len);
		if (result)
			goto bad;
	}
	result = store_call_new(&s->call, config->fleet, config->host, store_random, err, len);
	s->call.incarnation = config->incarnation;
	if (!result)
		result = store_tls_new(&s->tls, config->ca, config->cert, config->key, err, len);
	if (result)
		goto bad;
	store_call_info(&s->call, config->info ? config->info : "");
	*out = s;
	return 0;
bad:
	store_free(s);
	return result;
}

void store_free(struct store *s)
{
	if (!s)
		return;
	close_connection(s);
	store_tls_free(s->tls);
	store_wipe(s->password);
	free(s->user);
	free(s->sentinel_master);
	free(s->address);
	if (s->epoll >= 0)
		close(s->epoll);
	free(s);
}
