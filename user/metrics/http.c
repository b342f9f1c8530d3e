/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The HTTP side of the metrics: read-only pages. libmicrohttpd runs without threads. A page is
 * written into memory as a work, in slices, and then sent at the reader's speed. Connections are
 * accepted here and not in libmicrohttpd, which has neither a deadline for a whole connection nor a
 * rule by which one gives way to another. A connection has one request, and METRICS_DEADLINE_NS
 * from accept to end. If there are too many, the oldest gives way whose page is not being written;
 * METRICS_PAGES_MAX keeps some of that kind, for the probes.
 */
#include "metrics/metrics.h"

#include <errno.h>
#include <gnutls/abstract.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop/listener.h"
#include "metrics/openmetrics.h"
#include "metrics/process.h"

struct connection {
	int fd; /* -1: slot is free */
	uint64_t since_ns;
	struct page *page;             /* while it is being written, and libmicrohttpd waits */
	struct metrics_access *access; /* of its TLS session */
};

struct page_kind {
	const char *url, *type;
	/* The HTTP status. */
	unsigned (*write)(FILE *out, struct page *page);
};

/* One request. It lives until libmicrohttpd has done with it. */
struct page {
	struct work work;
	struct metrics *metrics;
	struct MHD_Connection *conn;
	struct connection *slot;
	const struct page_kind *kind; /* NULL: nothing is to be written */
	bool written;
	unsigned status;
	char *text;
	size_t len, capacity;
};

struct metrics {
	struct MHD_Daemon *daemon;
	int fd, epoll; /* fd listens */
	int more;      /* readable: run() stopped amid its work */
	struct listener listener;
	struct connection connection[METRICS_CONNECTIONS_MAX];
	struct connection *arriving; /* the slot of the connection that is handed over */
	struct metrics_access *access;
	const struct daemon_state *state;
	struct work_queue *queue;
	void (*refresh)(void *arg, unsigned parts);
	void *arg;
	uint64_t walked_ns; /* the last walk over the clients */
};

#define LIST_AGE_NS    1000000000ULL
#define CLIENTS_AGE_NS 5000000000ULL /* of the page, and of quota use */
#define CONTENT_POLICY                                                                             \
	"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "            \
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
#define TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

/* `asset`: what the response is of; NULL: it is of this moment, and nobody keeps it. */
static enum MHD_Result send_response(struct MHD_Connection *conn, unsigned status, const char *type,
				     const struct metrics_asset *asset,
				     struct MHD_Response *response)
{
	enum MHD_Result ret;

	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL,
				asset ? "no-cache" : "no-store");
	if (asset)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ETAG, asset->etag);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	MHD_add_response_header(response, "Content-Security-Policy", CONTENT_POLICY);
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	if (status == MHD_HTTP_UNAUTHORIZED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	ret = MHD_queue_response(conn, status, response);
	MHD_destroy_response(response);
	return ret;
}

static enum MHD_Result send_line(struct MHD_Connection *conn, unsigned status, char *line)
{
	return send_response(
		conn, status, "text/plain", NULL,
		MHD_create_response_from_buffer(strlen(line), line, MHD_RESPMEM_PERSISTENT));
}

/* Gives libmicrohttpd the next bytes, WORK_BYTES_MAX of them at most. */
static ssize_t give_text(void *text, uint64_t at, char *out, size_t max)
{
	memcpy(out, (char *)text + at, max);
	return (ssize_t)max;
}

static enum MHD_Result send_page(struct page *page)
{
	char *text = page->text;
	struct MHD_Response *response;

	if (!text)
		return MHD_NO;
	page->text = NULL;
	response =
		MHD_create_response_from_callback(page->len, WORK_BYTES_MAX, give_text, text, free);
	if (!response)
		free(text);
	return send_response(page->conn, page->status, page->kind->type, NULL, response);
}

/* ---- pages ---- */

static const char *argument(const struct page *page, const char *name)
{
	return MHD_lookup_connection_value(page->conn, MHD_GET_ARGUMENT_KIND, name);
}

/* However many readers there are, clients and rules are not walked before they are this old. */
static void refresh_clients(struct metrics *m, unsigned parts, uint64_t age_ns)
{
	if (m->state->now_ns - m->walked_ns >= age_ns)
		parts |= STATE_CLIENTS | STATE_RULES;
	m->refresh(m->arg, parts);
	if (parts & STATE_CLIENTS)
		m->walked_ns = m->state->now_ns;
}

static unsigned write_limits(FILE *out, struct page *page)
{
	const char *client = argument(page, "client");
	struct metrics *m = page->metrics;

	if (client)
		m->refresh(m->arg, STATE_MODELS);
	else
		refresh_clients(m, STATE_MODELS, LIST_AGE_NS);
	return metrics_write_limits(out, m->state, client, argument(page, "model"),
				    argument(page, "service"));
}

static unsigned write_exposition(FILE *out, struct page *page)
{
	struct metrics *m = page->metrics;
	const struct daemon_state *s = m->state;

	if (metrics_any_quota(s))
		refresh_clients(m, 0, CLIENTS_AGE_NS);
	m->refresh(m->arg, STATE_MODELS | STATE_COUNTS | STATE_HISTOGRAMS | STATE_MAPS);
	metrics_write_exposition(out, s);
	process_write(out, s->unix_ns - (s->now_ns - s->started_ns));
	return MHD_HTTP_OK;
}

static unsigned write_openmetrics(FILE *out, struct page *page)
{
	FILE *converted = openmetrics_open(out);

	if (converted) {
		write_exposition(converted, page);
		fclose(converted);
	}
	return MHD_HTTP_OK;
}

static unsigned write_page(FILE *out, struct page *page)
{
	struct metrics *m = page->metrics;

	refresh_clients(m, STATE_MODELS | STATE_COUNTS, CLIENTS_AGE_NS);
	metrics_write_page(out, m->state, argument(page, "filter"));
	return MHD_HTTP_OK;
}

static unsigned write_history(FILE *out, struct page *page)
{
	const char *after = argument(page, "after");
	struct metrics *m = page->metrics;

	m->refresh(m->arg, 0);
	return metrics_write_history(out, m->state, argument(page, "model"),
				     after ? strtoull(after, NULL, 10) : 0);
}

static enum MHD_Result send_asset(struct MHD_Connection *conn, const struct metrics_asset *asset)
{
	const char *known =
		MHD_lookup_connection_value(conn, MHD_HEADER_KIND, MHD_HTTP_HEADER_IF_NONE_MATCH);
	bool same = known && !strcmp(known, asset->etag);

	return send_response(conn, same ? MHD_HTTP_NOT_MODIFIED : MHD_HTTP_OK, asset->type, asset,
			     MHD_create_response_from_buffer(same ? 0 : asset->len,
							     (void *)asset->text,
							     MHD_RESPMEM_PERSISTENT));
}

/* A probe waits for no page: these are answered at once. */
static enum MHD_Result send_health(struct MHD_Connection *conn, struct metrics *m, const char *url)
{
	unsigned status = MHD_HTTP_OK;
	struct MHD_Response *response;
	char text[128] = "alive\n";
	FILE *out;

	if (!strcmp(url, "/readyz")) {
		out = fmemopen(text, sizeof(text), "w");
		if (!out)
			return MHD_NO;
		m->refresh(m->arg, 0);
		status = metrics_write_ready(out, m->state);
		fclose(out);
	}
	response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_COPY);
	return send_response(conn, status, "text/plain", NULL, response);
}

static const struct page_kind kinds[] = {
	{"/metrics", "text/plain; version=0.0.4; charset=utf-8", write_exposition},
	{"/", "text/html; charset=utf-8", write_page},
	{"/v1/limits", "application/json", write_limits},
	{"/v1/history", "application/json", write_history},
};
static const struct page_kind openmetrics = {
	"/metrics", "application/openmetrics-text; version=1.0.0; charset=utf-8",
	write_openmetrics};

/* A write() of the stream that a page is written to. */
static ssize_t add_text(void *arg, const char *text, size_t len)
{
	struct page *page = arg;

	state_step(page->metrics->state, 0, len);
	if (page->len + len > page->capacity) {
		size_t capacity = 2 * (page->len + len);
		char *more = realloc(page->text, capacity);

		if (!more)
			return 0;
		page->text = more;
		page->capacity = capacity;
	}
	memcpy(page->text + page->len, text, len);
	page->len += len;
	return (ssize_t)len;
}

static void run_page(struct work *w)
{
	struct page *page = (struct page *)w;
	FILE *out = fopencookie(page, "w", (cookie_io_functions_t){.write = add_text});
	bool failed;

	if (!out)
		return;
	page->status = page->kind->write(out, page);
	failed = ferror(out);
	if (fclose(out) || failed) {
		free(page->text);
		page->text = NULL;
	}
}

static void run(struct metrics *m)
{
	unsigned long long timeout;
	eventfd_t before;

	/* Again while MHD did not finish, but a few times only: the loop has other work. */
	eventfd_read(m->more, &before);
	for (unsigned i = 0; i < 8; i++) {
		MHD_run(m->daemon);
		if (MHD_get_timeout(m->daemon, &timeout) != MHD_YES || timeout)
			return;
	}
	eventfd_write(m->more, 1); /* no descriptor of MHD's says so */
}

static void page_written(struct work *w)
{
	struct page *page = (struct page *)w;
	struct metrics *m = page->metrics;

	page->written = true;
	page->slot->page = NULL;
	MHD_resume_connection(page->conn);
	run(m);
}

/* libmicrohttpd has done with a request. */
static void on_completed(void *arg, struct MHD_Connection *conn, void **seen,
			 enum MHD_RequestTerminationCode why)
{
	struct page *page = *seen;

	*seen = NULL;
	if (page)
		free(page->text);
	free(page);
}

static enum MHD_Result begin_page(struct page *page, const struct page_kind *kind)
{
	static char busy[] = "Too many pages are being written: try again.\n";
	unsigned pages = 0;

	for (unsigned i = 0; i < METRICS_CONNECTIONS_MAX; i++)
		pages += page->metrics->connection[i].page != NULL;
	if (pages >= METRICS_PAGES_MAX)
		return send_line(page->conn, MHD_HTTP_SERVICE_UNAVAILABLE, busy);
	page->kind = kind;
	page->work = (struct work){.run = run_page, .done = page_written};
	page->slot->page = page;
	MHD_suspend_connection(page->conn);
	work_start(page->metrics->queue, &page->work);
	return MHD_YES;
}

/* ---- requests ---- */

static const struct sockaddr *peer_of(struct MHD_Connection *conn)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

	return info ? info->client_addr : NULL;
}

static void *session_of(struct MHD_Connection *conn)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(conn, MHD_CONNECTION_INFO_GNUTLS_SESSION);

	return info ? info->tls_session : NULL;
}

static bool is_for_us(const struct page *page)
{
	const char *host =
		MHD_lookup_connection_value(page->conn, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
	struct sockaddr_storage local = {0};
	socklen_t len = sizeof(local);

	getsockname(page->slot->fd, (struct sockaddr *)&local, &len);
	return metrics_access_host(page->metrics->access, host, peer_of(page->conn),
				   (struct sockaddr *)&local);
}

/* The status for a client that may not read the pages; 200: it may. */
static unsigned judge_client(const struct page *page)
{
	const struct metrics_access *a = page->metrics->access;
	const char *given = MHD_lookup_connection_value(page->conn, MHD_HEADER_KIND,
							MHD_HTTP_HEADER_AUTHORIZATION);
	bool known = metrics_access_token(a, given);

	/* libmicrohttpd keeps the head in memory of its own until the connection has ended. */
	if (given)
		explicit_bzero((char *)given, strlen(given));
	if (!metrics_access_certificate(page->slot->access ? page->slot->access : a,
					session_of(page->conn)))
		return MHD_HTTP_FORBIDDEN;
	return known ? MHD_HTTP_OK : MHD_HTTP_UNAUTHORIZED;
}

/* The page at a URL, in the form that the client asks for; NULL: there is none. */
static const struct page_kind *kind_of(struct MHD_Connection *conn, const char *url)
{
	const char *accept =
		MHD_lookup_connection_value(conn, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);

	if (!strcmp(url, openmetrics.url) && openmetrics_is_asked_for(accept))
		return &openmetrics;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(url, kinds[i].url))
			return &kinds[i];
	return NULL;
}

static enum MHD_Result handle(void *arg, struct MHD_Connection *conn, const char *url,
			      const char *method, const char *version, const char *upload,
			      size_t *upload_len, void **seen)
{
	static char not_found[] =
		"There are /, /metrics, /v1/limits, /v1/history, /healthz and /readyz.\n",
		    not_allowed[] = "Read only.\n",
		    not_ours[] = "Host is no address or name of this server.\n",
		    no_token[] = "The bearer token is missing or wrong.\n",
		    no_certificate[] = "A valid client certificate is missing.\n";
	const struct metrics_asset *asset = metrics_asset(url);
	const struct page_kind *kind;
	struct page *page = *seen;
	unsigned status;

	if (!page) { /* MHD calls again after the head */
		*seen = page = calloc(1, sizeof(*page));
		if (!page)
			return MHD_NO;
		page->metrics = arg;
		page->conn = conn;
		page->slot = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT)
				     ->socket_context;
		return MHD_YES;
	}
	if (*upload_len) { /* discard a body */
		*upload_len = 0;
		return MHD_YES;
	}
	if (page->written)
		return send_page(page);
	if (!is_for_us(page))
		return send_line(conn, MHD_HTTP_FORBIDDEN, not_ours);
	if (strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD))
		return send_line(conn, MHD_HTTP_METHOD_NOT_ALLOWED, not_allowed);
	if (!strcmp(url, "/healthz") || !strcmp(url, "/readyz"))
		return send_health(conn, arg, url);
	status = judge_client(page);
	if (status != MHD_HTTP_OK)
		return send_line(conn, status,
				 status == MHD_HTTP_FORBIDDEN ? no_certificate : no_token);
	if (asset)
		return send_asset(conn, asset);
	kind = kind_of(conn, url);
	if (kind)
		return begin_page(page, kind);
	return send_line(conn, MHD_HTTP_NOT_FOUND, not_found);
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

static void release(struct connection *conn)
{
	metrics_access_put(conn->access);
	*conn = (struct connection){.fd = -1};
}

/* libmicrohttpd has to be given a certificate; metrics_access_begin() sets ours. */
static int no_certificate(gnutls_session_t session, const gnutls_datum_t *authorities, int count,
			  const gnutls_pk_algorithm_t *algorithms, int algorithm_count,
			  gnutls_pcert_st **certificate, unsigned *length, gnutls_privkey_t *key)
{
	return -1;
}

static void on_connection(void *arg, struct MHD_Connection *conn, void **slot,
			  enum MHD_ConnectionNotificationCode what)
{
	struct metrics *m = arg;

	if (what == MHD_CONNECTION_NOTIFY_CLOSED && *slot) {
		release(*slot);
		*slot = NULL;
	} else if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		struct connection *c = m->arriving;

		*slot = c;
		if (!metrics_access_tls(m->access))
			return;
		c->access = metrics_access_hold(m->access);
		if (metrics_access_begin(c->access, session_of(conn)))
			end(c);
	}
}

static struct MHD_Daemon *start_server(struct metrics *m)
{
	const struct MHD_OptionItem tls[] = {
		{MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)no_certificate},
		{MHD_OPTION_HTTPS_PRIORITIES, 0, TLS_PRIORITIES},
		{MHD_OPTION_END, 0, NULL},
	};
	bool with_tls = metrics_access_tls(m->access);

	return MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET |
					MHD_ALLOW_SUSPEND_RESUME | (with_tls ? MHD_USE_TLS : 0),
				0, NULL, NULL, handle, m, MHD_OPTION_NOTIFY_CONNECTION,
				on_connection, m, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
				MHD_OPTION_CONNECTION_LIMIT, (unsigned)METRICS_CONNECTIONS_MAX,
				MHD_OPTION_ARRAY, tls + (with_tls ? 0 : 2), MHD_OPTION_END);
}

/*
 * A free slot, or that of the oldest connection, which ends. One whose page is being written stays.
 * NULL: there is none.
 */
static struct connection *make_slot(struct metrics *m)
{
	struct connection *oldest = NULL;

	for (unsigned i = 0; i < METRICS_CONNECTIONS_MAX; i++) {
		struct connection *conn = &m->connection[i];

		if (conn->fd < 0)
			return conn;
		if (!conn->page && (!oldest || conn->since_ns < oldest->since_ns))
			oldest = conn;
	}
	if (!oldest)
		return NULL;
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
	*m->arriving = (struct connection){.fd = fd, .since_ns = now_ns};
	if (MHD_add_connection(m->daemon, fd, (struct sockaddr *)&addr, len) != MHD_YES)
		release(m->arriving); /* libmicrohttpd has closed it */
	return true;
}

int metrics_open(struct metrics **out, const char *addr, uint16_t port,
		 struct metrics_access *access, const struct daemon_state *state,
		 struct work_queue *queue, void (*refresh)(void *arg, unsigned parts), void *arg,
		 char *err, size_t err_len)
{
	struct metrics *m = calloc(1, sizeof(*m));
	const union MHD_DaemonInfo *info;
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = m};
	int ret = -EIO;

	if (!m) {
		snprintf(err, err_len, "metrics: out of memory");
		return -ENOMEM;
	}
	m->access = metrics_access_hold(access);
	m->state = state;
	m->queue = queue;
	m->refresh = refresh;
	m->arg = arg;
	for (unsigned i = 0; i < METRICS_CONNECTIONS_MAX; i++)
		m->connection[i].fd = -1;
	m->epoll = m->more = -1;
	m->fd = listen_at(addr, port, err, err_len);
	if (m->fd < 0) {
		ret = m->fd;
		goto fail;
	}
	m->daemon = start_server(m);
	info = m->daemon ? MHD_get_daemon_info(m->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info) {
		snprintf(err, err_len, "metrics: libmicrohttpd does not start");
		goto fail;
	}
	m->epoll = epoll_create1(EPOLL_CLOEXEC);
	m->more = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ret = m->epoll < 0 || m->more < 0 ? -errno : listener_start(&m->listener, m->epoll, m->fd);
	if (!ret && (epoll_ctl(m->epoll, EPOLL_CTL_ADD, info->epoll_fd, &ev) ||
		     epoll_ctl(m->epoll, EPOLL_CTL_ADD, m->more, &ev)))
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
	/* libmicrohttpd ends none that waits. */
	for (unsigned i = 0; i < METRICS_CONNECTIONS_MAX; i++)
		if (m->connection[i].page) {
			work_cancel(m->queue, &m->connection[i].page->work);
			MHD_resume_connection(m->connection[i].page->conn);
		}
	if (m->daemon)
		MHD_stop_daemon(m->daemon);
	if (m->epoll >= 0)
		close(m->epoll);
	if (m->more >= 0)
		close(m->more);
	if (m->fd >= 0)
		close(m->fd);
	metrics_access_put(m->access);
	free(m);
}

bool metrics_set_access(struct metrics *m, struct metrics_access *access)
{
	if (!metrics_access_alike(m->access, access))
		return false;
	metrics_access_put(m->access);
	m->access = metrics_access_hold(access);
	return true;
}

int metrics_fd(const struct metrics *m)
{
	return m->epoll;
}

void metrics_poll(struct metrics *m, uint64_t now_ns)
{
	for (unsigned i = 0; i < METRICS_ACCEPTS_MAX && welcome(m, now_ns); i++)
		;
	run(m);
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
