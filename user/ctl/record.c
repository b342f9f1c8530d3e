/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Writes a record. The one idea: only whole lines are written, a batch at a time as the daemon
 * sends them, so that whatever ends the record leaves a file that can be read. A time without a
 * daemon is a gap, and the record goes on with the next one. Others may empty the file meanwhile
 * (logrotate's copytruncate): lines go to its end, and an empty file gets its header again.
 */
#include "ctl/record.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/record.h"
#include "ctl/exchange.h"

#define ANSWER_SECS 10
#define FOR_MAX_MS  1e15
#define AGAIN_MS    500 /* between attempts to reach a daemon */

struct recorder {
	const struct record_options *options;
	struct siphash_secret secret; /* of this run */
	int out, signals;
	uint64_t size; /* of the file */
	uint64_t requests, refused, lost, gaps;
	int64_t begun_ms, until_ms; /* CLOCK_MONOTONIC; until 0: no end */
	bool full, reached;         /* reached: some daemon has answered */
	char in[65536];
	size_t in_len;
};

int record_parse_size(const char *text, uint64_t *out)
{
	static const char units[] = "KMGT";
	size_t digits = strspn(text, "0123456789");
	const char *unit = text + digits;
	uint64_t n = strtoull(text, NULL, 10);

	if (!digits || digits > 12 || !n || (*unit && (unit[1] || !strchr(units, *unit))))
		return -1;
	*out = n << (*unit ? 10 * (strchr(units, *unit) - units + 1) : 0);
	return *out >> 50 ? -1 : 0;
}

/* What is left until the end; -1: there is none. */
static int left_ms(const struct recorder *r)
{
	int64_t now = now_ms();

	if (!r->until_ms)
		return -1;
	return now >= r->until_ms          ? 0
	       : r->until_ms - now > 60000 ? 60000
					   : (int)(r->until_ms - now);
}

static bool write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		text += n;
		len -= (size_t)n;
	}
	return true;
}

/* Notes whether --max-size leaves room for another line after `more` bytes. */
static void note_room(struct recorder *r, size_t more)
{
	r->full = r->options->size_max && r->size + more + RECORD_LINE_MAX > r->options->size_max;
}

/* Writes whole lines. On failure the file keeps what it had. 0 or an exit status. */
static int append(struct recorder *r, const char *text, size_t len)
{
	if (!write_all(r->out, text, len)) {
		complain("%s: %s", r->options->path, strerror(errno));
		if (r->out != STDOUT_FILENO && ftruncate(r->out, (off_t)r->size)) {
			/* The line that is cut off goes when the file is next opened. */
		}
		return EXIT_REFUSED;
	}
	r->size += len;
	note_room(r, 0);
	return 0;
}

/* Looks how large the file is now, and begins an empty one. 0 or an exit status. */
static int begin(struct recorder *r)
{
	struct stat st;

	if (r->out != STDOUT_FILENO && !fstat(r->out, &st))
		r->size = (uint64_t)st.st_size;
	note_room(r, 0);
	return r->size ? 0 : append(r, RECORD_HEADER "\n", strlen(RECORD_HEADER "\n"));
}

/* Takes over a file that is there: it must be a record. Cuts off a line that a crash left
 * unfinished. 0 or an exit status. */
static int take_over(struct recorder *r)
{
	char head[sizeof(RECORD_HEADER)] = "", tail[RECORD_LINE_MAX];
	const char *path = r->options->path, *end;
	struct stat st;
	ssize_t n = 0;

	if (fstat(r->out, &st) || !S_ISREG(st.st_mode))
		return complain("%s is no file", path), EXIT_REFUSED;
	if (!st.st_size)
		return 0;
	if (pread(r->out, head, sizeof(head), 0) != sizeof(head) ||
	    memcmp(head, RECORD_HEADER "\n", sizeof(head)) != 0) {
		complain("%s is there already and is no record: it is not overwritten", path);
		return EXIT_REFUSED;
	}
	r->size = (uint64_t)st.st_size;
	n = pread(r->out, tail, sizeof(tail),
		  st.st_size > (off_t)sizeof(tail) ? st.st_size - (off_t)sizeof(tail) : 0);
	end = n > 0 ? memrchr(tail, '\n', (size_t)n) : NULL;
	if (!end)
		return complain("%s is no record: its last line is too long", path), EXIT_REFUSED;
	r->size -= (uint64_t)(tail + n - (end + 1));
	if (ftruncate(r->out, (off_t)r->size))
		return complain("%s: %s", path, strerror(errno)), EXIT_REFUSED;
	return 0;
}

/* 0 or an exit status. */
static int open_output(struct recorder *r)
{
	const char *path = r->options->path;
	int ret;

	if (!strcmp(path, "-")) {
		r->out = STDOUT_FILENO;
		return 0;
	}
	r->out =
		open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (r->out < 0)
		return complain("%s: %s", path, strerror(errno)), EXIT_REFUSED;
	if (flock(r->out, LOCK_EX | LOCK_NB))
		return complain("%s: another record writes it", path), EXIT_REFUSED;
	ret = take_over(r);
	if (!ret && r->size)
		fprintf(stderr, "sluicectl: adds to %s, of %llu bytes\n", path,
			(unsigned long long)r->size);
	return ret;
}

static double number(const json_t *event, const char *key)
{
	const json_t *value = json_object_get(event, key);

	return json_is_number(value) ? json_number_value(value) : -1;
}

static const char *text(const json_t *event, const char *key)
{
	const char *value = json_string_value(json_object_get(event, key));

	return value ? value : "";
}

/* Takes one line of the stream, and prints its row. */
static void take_event(struct recorder *r, FILE *out, const char *line, size_t len)
{
	json_t *event = json_loadb(line, len, 0, NULL);
	struct record_row row = {
		.unix_ms = (uint64_t)json_integer_value(json_object_get(event, "unix_ms")),
		.bytes = (uint32_t)json_integer_value(json_object_get(event, "bytes")),
		.tokens = (uint32_t)json_integer_value(json_object_get(event, "tokens")),
		.ttft_ms = number(event, "ttft_ms"),
		.duration_ms = number(event, "duration_ms"),
		.model = text(event, "model"),
		.client = text(event, "client"),
		.verdict = text(event, "verdict"),
		.reason = text(event, "reason"),
		.end = json_string_value(json_object_get(event, "end")),
	};

	if (!strcmp(text(event, "event"), "lost")) {
		r->lost += (uint64_t)json_integer_value(json_object_get(event, "records"));
	} else if (!strcmp(text(event, "event"), "request")) {
		if (!strcmp(row.reason, "none"))
			row.reason = "";
		record_write(out, &row, &r->secret);
		r->requests++;
		r->refused += !row.end;
	}
	json_decref(event);
}

/* Takes the lines that have come whole. 0 or an exit status. */
static int take_lines(struct recorder *r)
{
	char *from = r->in, *newline, *rows = NULL;
	size_t left = r->in_len, size = 0;
	FILE *out = open_memstream(&rows, &size);
	int ret = begin(r);

	if (!out)
		abort();
	while (!ret && !r->full && (newline = memchr(from, '\n', left))) {
		take_event(r, out, from, (size_t)(newline - from));
		left -= (size_t)(newline + 1 - from);
		from = newline + 1;
		fflush(out);
		note_room(r, size);
	}
	memmove(r->in, from, left);
	r->in_len = left;
	if (fclose(out))
		abort();
	if (!ret && size)
		ret = begin(r); /* emptied meanwhile: a row before the header would end it all */
	if (!ret && size)
		ret = append(r, rows, size);
	free(rows);
	return ret;
}

/* Waits for a signal or the end; the time in ms is the most. True: the record is to end. */
static bool ended(const struct recorder *r, int ms)
{
	struct pollfd p = {.fd = r->signals, .events = POLLIN};
	int left = left_ms(r);

	return poll(&p, 1, left >= 0 && left < ms ? left : ms) == 1 || !left_ms(r);
}

/* Hears the stream until something ends the record, or the daemon goes away (-ENODATA). */
static int hear_stream(struct recorder *r, int fd)
{
	r->in_len = 0;
	for (;;) {
		struct pollfd p[] = {{.fd = r->signals, .events = POLLIN},
				     {.fd = fd, .events = POLLIN}};
		ssize_t n;
		int ret;

		if (poll(p, 2, left_ms(r)) < 0 && errno != EINTR)
			return complain("poll: %s", strerror(errno)), EXIT_REFUSED;
		if (p[0].revents || !left_ms(r))
			return 0;
		if (!p[1].revents)
			continue;
		n = read(fd, r->in + r->in_len, sizeof(r->in) - r->in_len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -ENODATA;
		r->in_len += (size_t)n;
		ret = take_lines(r);
		if (ret || r->full)
			return ret;
		if (r->in_len == sizeof(r->in)) /* no daemon sends such a line */
			return complain("%s sends what is no record", r->options->control),
			       EXIT_NO_DAEMON;
	}
}

/* Asks the daemon for its stream. Returns its fd, or a negative exit status. */
static int ask(const struct recorder *r)
{
	int fd = say(r->options->control, json_pack("{s:s}", "cmd", "record")), ret;
	json_t *answer;

	if (fd < 0)
		return fd;
	ret = hear(r->options->control, fd, ANSWER_SECS, true, &answer);
	if (!ret) {
		json_decref(answer);
		return fd;
	}
	close(fd);
	return -ret;
}

/* Waits for a daemon. Returns the fd of its stream; -EXIT_REFUSED, or -EXIT_NO_DAEMON: the record
 * is to end. */
static int find_daemon(struct recorder *r)
{
	int fd = -EXIT_NO_DAEMON;

	r->gaps++;
	while (fd < 0 && fd != -EXIT_REFUSED && !ended(r, AGAIN_MS)) {
		if (!look_for_daemon(r->options->control))
			fd = ask(r);
	}
	if (fd >= 0)
		complain("a daemon answers%s", r->reached ? " again" : "");
	return fd;
}

/* Records until something ends that. 0 or an exit status. */
static int record(struct recorder *r, int fd)
{
	int ret;

	for (;;) {
		if (fd < 0)
			fd = find_daemon(r);
		if (fd < 0)
			return fd == -EXIT_REFUSED || !r->reached ? -fd : 0;
		r->reached = true;
		ret = hear_stream(r, fd);
		close(fd);
		fd = -1;
		if (ret != -ENODATA)
			return ret;
		complain("the daemon at %s went away; the record goes on when one answers",
			 r->options->control);
	}
}

static void tell(const struct recorder *r)
{
	uint64_t seconds = (uint64_t)(now_ms() - r->begun_ms + 500) / 1000;
	FILE *to = r->out == STDOUT_FILENO ? stderr : stdout;

	fprintf(to, "%llu requests, %llu of them refused, in %lluh%02llum%02llus; %llu lost",
		(unsigned long long)r->requests, (unsigned long long)r->refused,
		(unsigned long long)(seconds / 3600), (unsigned long long)(seconds / 60 % 60),
		(unsigned long long)(seconds % 60), (unsigned long long)r->lost);
	if (r->gaps)
		fprintf(to, ", and what came in %llu gaps without a daemon",
			(unsigned long long)r->gaps);
	fprintf(to, "%s\n", r->full ? "; ended at --max-size" : "");
	fflush(to);
}

int record_run(const struct record_options *options)
{
	static struct recorder r;
	sigset_t set;
	int missing, fd, unopened, ret;

	r = (struct recorder){.options = options, .out = -1, .begun_ms = now_ms()};
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	r.signals = signalfd(-1, &set, SFD_CLOEXEC);
	if (r.signals < 0 || getrandom(&r.secret, sizeof(r.secret), 0) != sizeof(r.secret))
		return complain("no random numbers, or no signals: %s", strerror(errno)),
		       EXIT_REFUSED;
	if (options->for_ms >= 0)
		r.until_ms = r.begun_ms +
			     (int64_t)(options->for_ms < FOR_MAX_MS ? options->for_ms : FOR_MAX_MS);
	missing = look_for_daemon(options->control);
	if (missing == -EACCES || missing == -EPERM)
		return no_daemon(options->control, missing);
	fd = missing ? -EXIT_NO_DAEMON : ask(&r);
	if (!missing && fd < 0)
		return -fd;
	if (missing)
		complain("no daemon answers at %s: %s; the record begins when one does",
			 options->control, strerror(-missing));
	unopened = open_output(&r);
	ret = unopened ? unopened : begin(&r);
	if (!ret && !r.full)
		ret = record(&r, fd);
	else if (fd >= 0)
		close(fd);
	if (!unopened)
		tell(&r);
	explicit_bzero(&r.secret, sizeof(r.secret));
	return ret;
}
