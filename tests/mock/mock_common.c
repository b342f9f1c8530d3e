/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The common code of the mock model server and the load generator: see mock.h.
 *
 * Timers are in a binary heap. epoll_pwait2() sleeps until the first one, with a resolution of ns:
 * a token is late by microseconds, not by the millisecond of epoll_wait().
 */
#include "mock.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

static _Noreturn void vdie(int status, const char *fmt, va_list ap)
{
	fprintf(stderr, "%s: ", program_invocation_short_name);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	exit(status);
}

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vdie(1, fmt, ap);
}

void die_usage(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vdie(2, fmt, ap);
}

void *xcalloc(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p)
		die("out of memory");
	return p;
}

void *xrealloc(void *old, size_t size)
{
	void *p = realloc(old, size);

	if (!p)
		die("out of memory");
	return p;
}

/* ---- buffers ---- */

/* Reserves len more bytes and a NUL. Moves the rest to the front if that suffices. */
static void buf_reserve(struct buf *b, size_t len)
{
	if (b->off && b->off >= b->len / 2) {
		memmove(b->data, b->data + b->off, b->len - b->off);
		b->len -= b->off;
		b->off = 0;
	}
	if (b->len + len + 1 <= b->cap)
		return;
	while (b->cap < b->len + len + 1)
		b->cap = b->cap ? b->cap * 2 : 256;
	b->data = xrealloc(b->data, b->cap);
}

void buf_append(struct buf *b, const void *data, size_t len)
{
	if (!len)
		return;
	buf_reserve(b, len);
	memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		die("cannot format '%s'", fmt);
	buf_reserve(b, (size_t)n);
	va_start(ap, fmt);
	vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

void buf_json_string(struct buf *b, const char *s)
{
	buf_append(b, "\"", 1);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			buf_printf(b, "\\%c", *s);
		else if ((unsigned char)*s < 0x20)
			buf_printf(b, "\\u%04x", (unsigned char)*s);
		else
			buf_append(b, s, 1);
	}
	buf_append(b, "\"", 1);
}

void buf_consume(struct buf *b, size_t len)
{
	b->off += len;
	if (b->off == b->len)
		buf_clear(b);
}

void buf_clear(struct buf *b)
{
	b->off = 0;
	b->len = 0;
}

void buf_free(struct buf *b)
{
	free(b->data);
	memset(b, 0, sizeof(*b));
}

/* ---- the loop ---- */

static int epoll_fd = -1;
static bool stopping;
static struct timer **heap; /* heap[0] is unused */
static size_t heap_len, heap_cap;
static void **dead;
static size_t dead_len, dead_cap;

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static void control_epoll(int op, int fd, struct source *s, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = s};

	if (epoll_ctl(epoll_fd, op, fd, &event) < 0)
		die("epoll_ctl: %s", strerror(errno));
}

void loop_watch(int fd, struct source *s, uint32_t events)
{
	control_epoll(EPOLL_CTL_ADD, fd, s, events);
}

void loop_rewatch(int fd, struct source *s, uint32_t events)
{
	control_epoll(EPOLL_CTL_MOD, fd, s, events);
}

static void on_signal(struct source *s, uint32_t events)
{
	(void)s;
	(void)events;
	stopping = true;
}

void loop_init(void)
{
	static struct source signals = {.ready = on_signal};
	struct rlimit files;
	sigset_t mask;
	int fd;

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		die("epoll_create1: %s", strerror(errno));
	/* A descriptor: with a mask, epoll_pwait2() would see signals only while it sleeps. */
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		die("signalfd: %s", strerror(errno));
	loop_watch(fd, &signals, EPOLLIN);
	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

void loop_free_later(void *p)
{
	if (dead_len == dead_cap) {
		dead_cap = dead_cap ? dead_cap * 2 : 64;
		dead = xrealloc(dead, dead_cap * sizeof(*dead));
	}
	dead[dead_len++] = p;
}

void loop_stop(void)
{
	stopping = true;
}

static void heap_put(size_t index, struct timer *t)
{
	heap[index] = t;
	t->index = index;
}

/* Moves t towards the root or the leaves until the heap is ordered. */
static void heap_settle(size_t index, struct timer *t)
{
	while (index > 1 && heap[index / 2]->due_ns > t->due_ns) {
		heap_put(index, heap[index / 2]);
		index /= 2;
	}
	for (;;) {
		size_t child = index * 2;

		if (child < heap_len && heap[child + 1]->due_ns < heap[child]->due_ns)
			child++;
		if (child > heap_len || heap[child]->due_ns >= t->due_ns)
			break;
		heap_put(index, heap[child]);
		index = child;
	}
	heap_put(index, t);
}

void timer_cancel(struct timer *t)
{
	size_t index = t->index;
	struct timer *last;

	if (!index)
		return;
	t->index = 0;
	last = heap[heap_len--];
	if (last != t)
		heap_settle(index, last);
}

void timer_set(struct timer *t, uint64_t due_ns)
{
	timer_cancel(t);
	t->due_ns = due_ns;
	if (heap_len + 2 > heap_cap) {
		heap_cap = heap_cap ? heap_cap * 2 : 64;
		heap = xrealloc(heap, heap_cap * sizeof(*heap));
	}
	heap_settle(++heap_len, t);
}

static void fire_timers(void)
{
	uint64_t now = now_ns();

	while (heap_len && heap[1]->due_ns <= now && !stopping) {
		struct timer *t = heap[1];

		timer_cancel(t);
		t->fire(t);
	}
}

static void free_dead(void)
{
	while (dead_len)
		free(dead[--dead_len]);
}

void loop_run(void)
{
	struct epoll_event events[256];

	while (!stopping) {
		struct timespec wait = {0};
		int n;

		if (heap_len) {
			uint64_t now = now_ns();
			uint64_t left = heap[1]->due_ns > now ? heap[1]->due_ns - now : 0;

			wait.tv_sec = (time_t)(left / NSEC_PER_SEC);
			wait.tv_nsec = (long)(left % NSEC_PER_SEC);
		}
		n = epoll_pwait2(epoll_fd, events, ARRAY_SIZE(events), heap_len ? &wait : NULL,
				 NULL);
		if (n < 0 && errno != EINTR)
			die("epoll_pwait2: %s", strerror(errno));
		for (int i = 0; i < n && !stopping; i++) {
			struct source *s = events[i].data.ptr;

			s->ready(s, events[i].events);
		}
		fire_timers();
		free_dead();
	}
}

void loop_end(void)
{
	free_dead();
	close(epoll_fd);
	free(heap);
	free(dead);
	heap = NULL;
	dead = NULL;
	heap_len = heap_cap = dead_cap = 0;
}

/* ---- addresses ---- */

struct address parse_address(const char *text, bool need_port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *found = NULL;
	char host[256] = "";
	const char *port = "0";
	const char *colon = strrchr(text, ':');
	struct address a = {0};
	int error;

	if (strlen(text) >= sizeof(host))
		die_usage("'%.40s…' is no address", text);
	if (text[0] == '[') {
		const char *end = strchr(text, ']');

		if (!end || (end[1] && end[1] != ':') || (need_port && end[1] != ':'))
			die_usage("'%s' is no address: want [V6]:PORT", text);
		memcpy(host, text + 1, (size_t)(end - text - 1));
		if (end[1])
			port = end + 2;
	} else if (need_port) {
		port = colon ? colon + 1 : text;
		if (colon)
			memcpy(host, text, (size_t)(colon - text));
	} else {
		strcpy(host, text);
	}
	if (need_port && (!isdigit((unsigned char)*port) || strtoul(port, NULL, 10) > 65535))
		die_usage("'%s' has no port: want ADDR:PORT or [V6]:PORT", text);
	if (!host[0])
		hints.ai_flags |= AI_PASSIVE;
	if (!host[0])
		hints.ai_family = AF_INET6;
	error = getaddrinfo(host[0] ? host : NULL, port, &hints, &found);
	if (error)
		die_usage("'%s': %s", text, gai_strerror(error));
	memcpy(&a.sa, found->ai_addr, found->ai_addrlen);
	a.len = found->ai_addrlen;
	freeaddrinfo(found);
	return a;
}

/* ---- HTTP/1.x ---- */

/* A line without its CRLF. */
struct line {
	const char *at;
	size_t len;
};

static bool token_char(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static struct line trim(const char *at, size_t len)
{
	while (len && (*at == ' ' || *at == '\t')) {
		at++;
		len--;
	}
	while (len && (at[len - 1] == ' ' || at[len - 1] == '\t'))
		len--;
	return (struct line){at, len};
}

static bool line_is(struct line l, const char *word)
{
	return l.len == strlen(word) && strncasecmp(l.at, word, l.len) == 0;
}

/* Returns true if the comma-separated list has the word. */
static bool list_has(struct line list, const char *word)
{
	while (list.len) {
		const char *comma = memchr(list.at, ',', list.len);
		size_t len = comma ? (size_t)(comma - list.at) : list.len;

		if (line_is(trim(list.at, len), word))
			return true;
		list.at += len + (comma ? 1 : 0);
		list.len -= len + (comma ? 1 : 0);
	}
	return false;
}

static bool parse_length(struct line v, uint64_t *out)
{
	uint64_t n = 0;

	if (!v.len || v.len > 18)
		return false;
	for (size_t i = 0; i < v.len; i++) {
		if (!isdigit((unsigned char)v.at[i]))
			return false;
		n = n * 10 + (uint64_t)(v.at[i] - '0');
	}
	*out = n;
	return true;
}

static bool parse_version(struct line v, int *minor)
{
	if (v.len != 8 || memcmp(v.at, "HTTP/1.", 7) != 0 || (v.at[7] != '0' && v.at[7] != '1'))
		return false;
	*minor = v.at[7] - '0';
	return true;
}

static bool parse_request_line(struct line l, struct http_head *h)
{
	const char *first = memchr(l.at, ' ', l.len);
	const char *second =
		first ? memchr(first + 1, ' ', (size_t)(l.at + l.len - first - 1)) : NULL;
	size_t method, target;

	if (!second)
		return false;
	method = (size_t)(first - l.at);
	target = (size_t)(second - first - 1);
	if (!method || method >= sizeof(h->method) || !target)
		return false;
	for (size_t i = 0; i < method; i++)
		if (!token_char(l.at[i]))
			return false;
	memcpy(h->method, l.at, method);
	memcpy(h->target, first + 1, target < sizeof(h->target) ? target : sizeof(h->target) - 1);
	return parse_version((struct line){second + 1, (size_t)(l.at + l.len - second - 1)},
			     &h->minor);
}

static bool parse_status_line(struct line l, struct http_head *h)
{
	if (l.len < 12 || l.at[8] != ' ' || !parse_version((struct line){l.at, 8}, &h->minor))
		return false;
	for (int i = 9; i < 12; i++) {
		if (!isdigit((unsigned char)l.at[i]))
			return false;
		h->status = h->status * 10 + (l.at[i] - '0');
	}
	return h->status >= 100 && (l.len == 12 || l.at[12] == ' ');
}

static bool parse_field(struct line l, struct http_head *h, bool *keep_alive)
{
	const char *colon = memchr(l.at, ':', l.len);
	struct line name, v;
	uint64_t length;

	if (!colon || colon == l.at)
		return false;
	name = (struct line){l.at, (size_t)(colon - l.at)};
	for (size_t i = 0; i < name.len; i++)
		if (!token_char(name.at[i]))
			return false;
	v = trim(colon + 1, l.len - name.len - 1);
	if (line_is(name, "content-length")) {
		if (!parse_length(v, &length) || (h->has_length && h->length != length))
			return false;
		h->has_length = true;
		h->length = length;
	} else if (line_is(name, "transfer-encoding")) {
		if (!line_is(v, "chunked") || h->chunked)
			return false;
		h->chunked = true;
	} else if (line_is(name, "connection")) {
		h->close |= list_has(v, "close");
		*keep_alive |= list_has(v, "keep-alive");
	} else if (line_is(name, "expect")) {
		h->expect_continue = line_is(v, "100-continue");
	} else if (line_is(name, "content-type")) {
		const char *semicolon = memchr(v.at, ';', v.len);
		struct line type = trim(v.at, semicolon ? (size_t)(semicolon - v.at) : v.len);

		for (size_t i = 0; i < type.len && i + 1 < sizeof(h->content_type); i++)
			h->content_type[i] = (char)tolower((unsigned char)type.at[i]);
	} else if (line_is(name, "retry-after")) {
		char text[32] = "";

		memcpy(text, v.at, v.len < sizeof(text) ? v.len : sizeof(text) - 1);
		h->has_retry_after = parse_number(text, 0, 1e9, &h->retry_after_s);
	}
	return true;
}

ssize_t http_parse_head(const char *data, size_t len, bool response, struct http_head *h)
{
	const char *end = memmem(data, len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX, "\r\n\r\n", 4);
	bool keep_alive = false;
	bool first = true;

	if (!end)
		return len >= HTTP_HEAD_MAX ? -1 : 0;
	memset(h, 0, sizeof(*h));
	for (const char *at = data; at < end + 2;) {
		const char *crlf = memmem(at, (size_t)(end + 2 - at), "\r\n", 2);
		struct line l = {at, (size_t)(crlf - at)};

		if (memchr(l.at, '\n', l.len) || memchr(l.at, '\0', l.len))
			return -1;
		if (first && !(response ? parse_status_line(l, h) : parse_request_line(l, h)))
			return -1;
		if (!first && !parse_field(l, h, &keep_alive))
			return -1;
		first = false;
		at = crlf + 2;
	}
	if (h->chunked && h->has_length)
		return -1;
	if (h->minor == 0 && !(response && keep_alive))
		h->close = true;
	return end + 4 - data;
}

enum chunk_state {
	CHUNK_SIZE,
	CHUNK_EXTENSION,
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	CHUNK_TRAILER,
	CHUNK_TRAILER_LINE,
	CHUNK_END_LF,
};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Parses one byte outside chunk data. Returns false if it is not allowed. */
static bool chunked_step(struct chunked *c, char byte)
{
	int digit;

	switch ((enum chunk_state)c->state) {
	case CHUNK_SIZE:
		digit = hex_digit(byte);
		if (digit >= 0) {
			c->left = c->left * 16 + (uint64_t)digit;
			return ++c->digits <= 15;
		}
		if (!c->digits || !(byte == '\r' || byte == ';' || byte == ' ' || byte == '\t'))
			return false;
		c->state = byte == '\r' ? CHUNK_SIZE_LF : CHUNK_EXTENSION;
		return true;
	case CHUNK_EXTENSION:
		if (byte == '\r')
			c->state = CHUNK_SIZE_LF;
		return byte != '\n';
	case CHUNK_SIZE_LF:
		c->state = c->left ? CHUNK_DATA : CHUNK_TRAILER;
		return byte == '\n';
	case CHUNK_DATA_CR:
		c->state = CHUNK_DATA_LF;
		return byte == '\r';
	case CHUNK_DATA_LF:
		c->state = CHUNK_SIZE;
		c->digits = 0;
		return byte == '\n';
	case CHUNK_TRAILER:
		c->state = byte == '\r' ? CHUNK_END_LF : CHUNK_TRAILER_LINE;
		return true;
	case CHUNK_TRAILER_LINE:
		if (byte == '\n')
			c->state = CHUNK_TRAILER;
		return true;
	case CHUNK_END_LF:
		c->done = true;
		return byte == '\n';
	case CHUNK_DATA:
		break;
	}
	return false;
}

ssize_t chunked_decode(struct chunked *c, const char *in, size_t len, struct buf *out)
{
	size_t at = 0;

	while (at < len && !c->done) {
		if (c->state == CHUNK_DATA) {
			size_t n = len - at < c->left ? len - at : (size_t)c->left;

			buf_append(out, in + at, n);
			at += n;
			c->left -= n;
			if (!c->left)
				c->state = CHUNK_DATA_CR;
		} else if (!chunked_step(c, in[at++])) {
			return -1;
		}
	}
	return (ssize_t)at;
}

/* ---- options ---- */

bool parse_number(const char *text, double min, double max, double *out)
{
	char *end;
	double v;

	if (!isdigit((unsigned char)*text) && *text != '.' && *text != '-')
		return false;
	v = strtod(text, &end);
	if (*end || !isfinite(v) || v < min || v > max)
		return false;
	*out = v;
	return true;
}

static void print_help(const char *what, const struct option_row *rows, size_t n)
{
	printf("%s: %s\n", program_invocation_short_name, what);
	for (size_t i = 0; i < n; i++) {
		char left[64];

		snprintf(left, sizeof(left), "--%s%s%s", rows[i].name, rows[i].arg ? " " : "",
			 rows[i].arg ? rows[i].arg : "");
		printf("  %-30s %s\n", left, rows[i].help);
	}
}

static void take_option(const struct option_row *row, const char *value)
{
	if (row->on)
		*row->on = true;
	if (row->off)
		*row->off = false;
	if (row->text)
		*row->text = value;
	if (row->call)
		row->call(value);
	if (row->number && !parse_number(value, row->min, row->max, row->number))
		die_usage("--%s: '%s' is not allowed: want a number from %g to %g", row->name,
			  value, row->min, row->max);
}

void parse_options(int argc, char **argv, const char *what, const struct option_row *rows, size_t n)
{
	for (int i = 1; i < argc; i++) {
		const char *name = argv[i] + 2;
		size_t len;
		size_t r;

		if (strcmp(argv[i], "--help") == 0) {
			print_help(what, rows, n);
			exit(0);
		}
		if (strncmp(argv[i], "--", 2) != 0)
			die_usage("'%s' is no option: see --help", argv[i]);
		len = strcspn(name, "=");
		for (r = 0; r < n; r++)
			if (strlen(rows[r].name) == len && strncmp(rows[r].name, name, len) == 0)
				break;
		if (r == n)
			die_usage("there is no option '%s': see --help", argv[i]);
		if (!rows[r].arg && name[len])
			die_usage("--%s takes no value", rows[r].name);
		if (rows[r].arg && !name[len] && i + 1 == argc)
			die_usage("--%s needs a value: %s", rows[r].name, rows[r].arg);
		if (!rows[r].arg)
			take_option(&rows[r], NULL);
		else
			take_option(&rows[r], name[len] ? name + len + 1 : argv[++i]);
	}
}
