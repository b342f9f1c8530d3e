/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The common code of the mock model server and the load generator: growing buffers, an epoll loop
 * with timers, HTTP/1.x heads and chunked bodies, an option table.
 *
 * It does not use the scanners of include/sluice/: the tools check the limiter, so they must not
 * share its mistakes. Both tools have one thread and one loop, so the loop has no handle.
 */
#ifndef SLUICE_TESTS_MOCK_H
#define SLUICE_TESTS_MOCK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#define NSEC_PER_SEC  1000000000ULL
#define NSEC_PER_MSEC 1000000ULL

#define ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Ends the process with exit status 1 (die) or 2 (die_usage) and one line on stderr. */
_Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void die_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Allocators that never return NULL. */
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *old, size_t size);

/* ---- buffers: bytes [off, len) of data are not consumed yet ---- */

struct buf {
	char *data;
	size_t off, len, cap;
};

static inline const char *buf_at(const struct buf *b)
{
	return b->data + b->off;
}

static inline size_t buf_left(const struct buf *b)
{
	return b->len - b->off;
}

void buf_append(struct buf *b, const void *data, size_t len);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Appends s as a JSON string, quotes included. */
void buf_json_string(struct buf *b, const char *s);
void buf_consume(struct buf *b, size_t len);
void buf_clear(struct buf *b);
void buf_free(struct buf *b);

/* ---- the loop ---- */

struct source {
	void (*ready)(struct source *s, uint32_t events);
};

struct timer {
	void (*fire)(struct timer *t);
	uint64_t due_ns;
	size_t index; /* in the heap, from 1; 0: not armed */
};

/* CLOCK_MONOTONIC, ns. */
uint64_t now_ns(void);

/* Opens the loop, directs SIGTERM and SIGINT to it, raises the descriptor limit. */
void loop_init(void);
void loop_watch(int fd, struct source *s, uint32_t events);
void loop_rewatch(int fd, struct source *s, uint32_t events);
/* Frees p when no event of the present round can point to it. */
void loop_free_later(void *p);
/* Runs until loop_stop() or a signal. */
void loop_run(void);
/* Frees the loop's memory. */
void loop_end(void);
void loop_stop(void);

void timer_set(struct timer *t, uint64_t due_ns);
void timer_cancel(struct timer *t);

/* ---- addresses ---- */

struct address {
	struct sockaddr_storage sa;
	socklen_t len;
};

/*
 * "ADDR:PORT", "[V6]:PORT" or "PORT" (the wildcard). Without need_port also a bare address.
 * Ends the process with a usage error on anything else.
 */
struct address parse_address(const char *text, bool need_port);

/* ---- HTTP/1.x ---- */

#define HTTP_HEAD_MAX 65536

struct http_head {
	char method[16];   /* requests */
	char target[1024]; /* requests, cut to fit */
	int status;        /* responses */
	int minor;         /* of HTTP/1.minor */
	bool has_length, chunked, close, expect_continue;
	uint64_t length;
	char content_type[64]; /* lower case, without parameters */
	bool has_retry_after;
	double retry_after_s;
};

/*
 * Parses the head at data (RFC 9112). Returns its length with the empty line; 0 if the empty line
 * is missing; -1 if the head is malformed: a bad line, two different lengths, both a length and a
 * transfer coding, a coding other than chunked, more than HTTP_HEAD_MAX bytes.
 */
ssize_t http_parse_head(const char *data, size_t len, bool response, struct http_head *h);

struct chunked {
	int state;
	unsigned int digits;
	uint64_t left;
	bool done;
};

/*
 * Decodes a chunked body and appends it to out. Skips extensions and trailers. Returns the consumed
 * bytes, fewer than len only if c->done is set, or -1 if the coding is broken.
 */
ssize_t chunked_decode(struct chunked *c, const char *in, size_t len, struct buf *out);

/* ---- options: one table parses the command line and prints the help ---- */

struct option_row {
	const char *name; /* without the dashes */
	const char *arg;  /* the value's name in the help; NULL: a switch */
	const char *help;
	bool *on;       /* a switch: set to true … */
	bool *off;      /* … or to false */
	double *number; /* a number from min to max */
	double min, max;
	const char **text;
	void (*call)(const char *value);
};

/* Parses a number from min to max with nothing after it. Returns false for any other text. */
bool parse_number(const char *text, double min, double max, double *out);

/* Accepts "--name value" and "--name=value". --help prints the table and exits with status 0. */
void parse_options(int argc, char **argv, const char *what, const struct option_row *rows,
		   size_t n);

#endif
