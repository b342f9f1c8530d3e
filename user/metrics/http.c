/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The HTTP side of the metrics: read-only pages. libmicrohttpd runs without threads. A page is
 * written into memory at once, then sent at the reader's speed. Connections are accepted here and
 * not in libmicrohttpd, which has neither a deadline for a whole connection nor a rule by which one
 * gives way to another. A connection has one request, and METRICS_DEADLINE_NS from accept to end.
 * If there are too many, the oldest gives way.
 */
#include "metrics/metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop/listener.h"

struct connection {
	int fd; /* -1: slot is free */
	uint64_t since_ns;
};

struct metrics {
	struct MHD_Daemon *daemon;
	int fd, epoll; /* fd listens */
	struct listener listener;
	struct connection connection[METRICS_CONNECTIONS_MAX];
	struct connection *arriving; /* the slot of the connection that is handed over */
	const struct daemon_state *state;
	void (*refresh)(void *arg, unsigned parts);
	void *arg;
	uint64_t walked_ns; /* the last walk over the clients */
};

#define LIST_AGE_NS 1000000000ULL

static enum MHD_Result send_text(struct MHD_Connection *conn, unsigned status, const char *type,
				 char *text, size_t len, enum MHD_ResponseMemoryMode memory)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(len, text, memory);
	enum MHD_Result ret;

	if (!response) {
		if (memory == MHD_RESPMEM_MUST_FREE)
			free(text);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	MHD_add_response_header(response, "Content-Security-Policy",
				"default-src 'none'; style-src 'unsafe-inline'");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	ret = MHD_queue_response(conn, status, response);
	MHD_destroy_response(response);
	return ret;
}

/*
 * True if a request with this Host (NULL: none) is for us: an address, localhost or this host's
 * name. A browser that a page has led here by DNS sends the page's own name (DNS rebinding).
 */
static bool is_our_host(const char *host)
{
	char name[256], own[256] = "";
	struct in6_addr addr;
	size_t len;

	if (!host || !*host)
		return true;
	if (*host == '[') {
		len = strcspn(++host, "]");
		if (!host[len] || (host[len + 1] && host[len + 1] != ':'))
			return false;
	} else {
		len = strcspn(host, ":");
	}
	if (len >= sizeof(name))
		return false;
	memcpy(name, host, len);
	name[len] = 0;
	if (inet_pton(host[len] == ']' ? AF_INET6 : AF_INET, name, &addr) == 1)
		return true;
	gethostname(own, sizeof(own) - 1);
	return host[len] != ']' && (!strcasecmp(name, "localhost") || !strcasecmp(name, own));
}

/* True if the client is on this host, as a browser is that DNS has led to a loopback address. */
static bool from_this_host(struct MHD_Connection *conn)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const struct sockaddr *peer = info ? info->client_addr : NULL;
	const struct in6_addr *addr;

	if (!peer)
		return true;
	if (peer->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)peer)->sin_addr.s_addr) >> 24 == 127;
	addr = &((const struct sockaddr_in6 *)peer)->sin6_addr;
	return IN6_IS_ADDR_LOOPBACK(addr) ||
	       (IN6_IS_ADDR_V4MAPPED(addr) && addr->s6_addr[12] == 127);
}

static enum MHD_Result send_limits(struct metrics *m, struct MHD_Connection *conn)
{
	const char *client = MHD_lookup_connection_value(conn, MHD_GET_ARGUMENT_KIND, "client");
	const char *model = MHD_lookup_connection_value(conn, MHD_GET_ARGUMENT_KIND, "model");
	const char *service = MHD_lookup_connection_value(conn, MHD_GET_ARGUMENT_KIND, "service");
	unsigned parts = STATE_MODELS, status;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return MHD_NO;
	/* However many readers there are, the clients are walked once a second. */
	if (!client && m->state->now_ns - m->walked_ns >= LIST_AGE_NS)
		parts |= STATE_CLIENTS;
	m->refresh(m->arg, parts);
	if (parts & STATE_CLIENTS)
		m->walked_ns = m->state->now_ns;
	status = metrics_write_limits(out, m->state, client, model, service);
	if (fclose(out)) {
		free(text);
		return MHD_NO;
	}
	return send_text(conn, status, "application/json", text, len, MHD_RESPMEM_MUST_FREE);
}

static enum MHD_Result handle(void *arg, struct MHD_Connection *conn, const char *url,
			      const char *method, const char *version, const char *upload,
			      size_t *upload_len, void **seen)
{
	static const struct {
		const char *url, *type;
		void (*write)(FILE *out, const struct daemon_state *s);
	} pages[] = {
		{"/metrics", "text/plain; version=0.0.4; charset=utf-8", metrics_write_exposition},
		{"/", "text/html; charset=utf-8", metrics_write_page},
	};
	static char not_found[] = "There are /, /metrics and /v1/limits.\n",
		    not_allowed[] = "Read only.\n",
		    not_ours[] = "Host is no address, localhost or name of this host.\n";
	struct metrics *m = arg;

	if (!*seen) { /* MHD calls again after the head */
		*seen = m;
		return MHD_YES;
	}
	if (*upload_len) { /* discard a body */
		*upload_len = 0;
		return MHD_YES;
	}
	if (from_this_host(conn) &&
	    !is_our_host(MHD_lookup_connection_value(conn, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST)))
		return send_text(conn, MHD_HTTP_FORBIDDEN, "text/plain", not_ours, strlen(not_ours),
				 MHD_RESPMEM_PERSISTENT);
	if (strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD))
		return send_text(conn, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", not_allowed,
				 strlen(not_allowed), MHD_RESPMEM_PERSISTENT);
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		char *text = NULL;
		size_t len = 0;
		FILE *out;

		if (strcmp(url, pages[i].url))
			continue;
		out = open_memstream(&text, &len);
		if (!out)
			return MHD_NO;
		m->refresh(m->arg, STATE_MODELS | STATE_COUNTS | STATE_HISTOGRAMS | STATE_MAPS);
		pages[i].write(out, m->state);
		if (fclose(out)) {
			free(text);
			return MHD_NO;
		}
		return send_text(conn, MHD_HTTP_OK, pages[i].type, text, len,
				 MHD_RESPMEM_MUST_FREE);
	}
	if (!strcmp(url, "/v1/limits"))
		return send_limits(m, conn);
	return send_text(conn, MHD_HTTP_NOT_FOUND, "text/plain", not_found, strlen(not_found),
			 MHD_RESPMEM_PERSISTENT);
}

/* A socket of our own, so that an error has its errno and its text. */
static int listen_at(const char *addr, uint16_t port, char *err, size_t err_len)
{
	struct addrinfo hints = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
		.ai_socktype = SOCK_STREAM,
	};
	struct addrinfo *info = NULL;
	char service[8], host[64];
	size_t len = strlen(addr);
	int fd, ret, on = 1;
	bool brackets = len > 2 && addr[0] == '[' && addr[len - 1] == ']';

	snprintf(service, sizeof(service), "%u", port);
	snprintf(host, sizeof(host), "%.*s", (int)(brackets ? len - 2 : len), addr + brackets);
	ret = getaddrinfo(host, service, &hints, &info);
	if (ret) {
		snprintf(err, err_len, "metrics: \"%s\" is no address: %s", addr,
			 gai_strerror(ret));
		return -EINVAL;
	}
	fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ret = fd < 0 ? -errno : 0;
	if (!ret && info->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (!ret)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (!ret && (bind(fd, info->ai_addr, info->ai_addrlen) || listen(fd, 64)))
		ret = -errno;
	freeaddrinfo(info);
	if (ret) {
		snprintf(err, err_len,
			 ret == -EADDRINUSE ? "metrics: port %u of %s is taken by another program"
					    : "metrics: cannot listen at port %u of %s: %s",
			 port, addr, strerror(-ret));
		if (fd >= 0)
			close(fd);
		return ret;
	}
	return fd;
}

/* ---- connections ---- */

/* libmicrohttpd closes a connection that has ended, at its next run. The kernel keeps nothing of
 * what its client has not read. */
static void end(const struct connection *conn)
{
	const struct linger none = {.l_onoff = 1};

	setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	shutdown(conn->fd, SHUT_RDWR);
}

static void on_connection(void *arg, struct MHD_Connection *conn, void **slot,
			  enum MHD_ConnectionNotificationCode what)
{
	if (what == MHD_CONNECTION_NOTIFY_CLOSED && *slot) {
		((struct connection *)*slot)->fd = -1;
		*slot = NULL;
	} else if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		struct metrics *m = arg;

		*slot = m->arriving;
	}
}

/* A free slot, or that of the oldest connection, which ends. NULL: libmicrohttpd keeps them all. */
static struct connection *make_slot(struct metrics *m)
{
	struct connection *oldest = m->connection;

	for (unsigned i = 0; i < METRICS_CONNECTIONS_MAX; i++) {
		struct connection *conn = &m->connection[i];

		if (conn->fd < 0)
			return conn;
		if (conn->since_ns < oldest->since_ns)
			oldest = conn;
	}
	end(oldest);
	MHD_run(m->daemon);
	return oldest->fd < 0 ? oldest : NULL;
}

/* Hands one new connection to libmicrohttpd. False: there is none. */
static bool welcome(struct metrics *m, uint64_t now_ns)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	int fd = listener_accept(&m->listener, (struct sockaddr *)&addr, &len);

	if (fd < 0)
		return false;
	m->arriving = make_slot(m);
	if (!m->arriving) {
		close(fd);
		return true;
	}
	*m->arriving = (struct connection){fd, now_ns};
	if (MHD_add_connection(m->daemon, fd, (struct sockaddr *)&addr, len) != MHD_YES)
		m->arriving->fd = -1; /* libmicrohttpd has closed it */
	return true;
}

int metrics_open(struct metrics **out, const char *addr, uint16_t port,
		 const struct daemon_state *state, void (*refresh)(void *arg, unsigned parts),
		 void *arg, char *err, size_t err_len)
{
	struct metrics *m = calloc(1, sizeof(*m));
	const union MHD_DaemonInfo *info;
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = m};
	int ret = -EIO;

	if (!m) {
		snprintf(err, err_len, "metrics: out of memory");
		return -ENOMEM;
	}
	m->state = state;
	m->refresh = refresh;
	m->arg = arg;
	for (unsigned i = 0; i < METRICS_CONNECTIONS_MAX; i++)
		m->connection[i].fd = -1;
	m->epoll = -1;
	m->fd = listen_at(addr, port, err, err_len);
	if (m->fd < 0) {
		ret = m->fd;
		goto fail;
	}
	m->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL,
				     handle, m, MHD_OPTION_NOTIFY_CONNECTION, on_connection, m,
				     MHD_OPTION_CONNECTION_LIMIT, (unsigned)METRICS_CONNECTIONS_MAX,
				     MHD_OPTION_END);
	info = m->daemon ? MHD_get_daemon_info(m->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info) {
		snprintf(err, err_len, "metrics: libmicrohttpd does not start");
		goto fail;
	}
	m->epoll = epoll_create1(EPOLL_CLOEXEC);
	ret = m->epoll < 0 ? -errno : listener_start(&m->listener, m->epoll, m->fd);
	if (!ret && epoll_ctl(m->epoll, EPOLL_CTL_ADD, info->epoll_fd, &ev))
		ret = -errno;
	if (ret) {
		snprintf(err, err_len, "metrics: epoll: %s", strerror(-ret));
		goto fail;
	}
	*out = m;
	return 0;
fail:
	metrics_close(m);
	return ret;
}

void metrics_close(struct metrics *m)
{
	if (!m)
		return;
	if (m->daemon)
		MHD_stop_daemon(m->daemon);
	if (m->epoll >= 0)
		close(m->epoll);
	if (m->fd >= 0)
		close(m->fd);
	free(m);
}

int metrics_fd(const struct metrics *m)
{
	return m->epoll;
}

void metrics_poll(struct metrics *m, uint64_t now_ns)
{
	unsigned long long timeout;

	for (unsigned i = 0; i < METRICS_ACCEPTS_MAX && welcome(m, now_ns); i++)
		;
	/* Again while MHD did not finish, but a few times only: the loop has other work. */
	for (unsigned i = 0; i < 8; i++) {
		MHD_run(m->daemon);
		if (MHD_get_timeout(m->daemon, &timeout) != MHD_YES || timeout)
			break;
	}
}

void metrics_expire(struct metrics *m, uint64_t now_ns)
{
	listener_resume(&m->listener);
	for (unsigned i = 0; i < METRICS_CONNECTIONS_MAX; i++)
		if (m->connection[i].fd >= 0 &&
		    now_ns - m->connection[i].since_ns > METRICS_DEADLINE_NS)
			end(&m->connection[i]);
	metrics_poll(m, now_ns);
}

uint64_t metrics_accept_failures(const struct metrics *m)
{
	return m->listener.failures;
}
