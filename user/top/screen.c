/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The terminal and the loop of `sluicectl top`. One connection serves all polls, a status and a
 * list of clients each second. Reading never waits, so that keys work while the daemon is slow or
 * gone. curses compares each screen with the last one, and sends only what differs.
 */
#include "top/top.h"

#include <curses.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "control/control.h"
#include "control/format_text.h"
#include "top/data.h"
#include "top/text.h"
#include "top/view.h"

#define POLL_MS       1000
#define ANSWER_MS     10000
#define ANSWER_MAX    (64u << 20) /* bytes; a thousand clients and models take two million */
#define PLAIN_COLUMNS 80
#define ESCAPE        27
#define FILTER_MAX    64

enum pane { PANE_MODELS, PANE_CLIENTS, PANES };

struct top {
	const struct top_options *options;
	struct top_data data;

	int fd; /* -1: not connected */
	char *heard;
	size_t heard_len, heard_size;
	json_t *status; /* has come; its clients have not */
	unsigned owed;  /* answers */
	uint64_t asked_ms, next_ms;

	enum pane focus;
	unsigned scroll[PANES], page[PANES];
	enum model_order order;
	unsigned by; /* index of orders[] */
	char filter[FILTER_MAX];
	bool typing, paused, help, quit;
	struct rows state, pane[PANES];
};

static const char *const orders[] = {"requests", "tokens", "in-flight", "rejected", "last-seen"};

#define ORDERS (sizeof(orders) / sizeof(orders[0]))

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void disconnect(struct top *t, const char *why)
{
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
	t->owed = 0;
	t->heard_len = 0;
	json_decref(t->status);
	t->status = NULL;
	snprintf(t->data.problem, sizeof(t->data.problem),
		 "No answer from %s: %s. The figures are old. Trying again every second.",
		 t->options->control, why);
}

static int say(struct top *t, json_t *request)
{
	char *line = json_dumps(request, JSON_COMPACT);
	int ret = line ? control_say(t->fd, line) : -EINVAL;

	free(line);
	json_decref(request);
	return ret;
}

static void ask(struct top *t)
{
	int ret = 0;

	t->asked_ms = now_ms();
	t->next_ms = t->asked_ms + POLL_MS;
	if (t->fd < 0) {
		ret = control_connect(t->options->control);
		if (ret >= 0)
			t->fd = ret;
	}
	if (t->fd >= 0) {
		ret = say(t, json_pack("{s:s}", "cmd", "status"));
		if (!ret)
			ret = say(t, json_pack("{s:s, s:s, s:s*}", "cmd", "clients", "by",
					       orders[t->by], "service", t->options->service));
	}
	if (ret < 0)
		disconnect(t, strerror(-ret));
	else
		t->owed = 2;
}

/* One line of the daemon. */
static void take(struct top *t, const char *line)
{
	json_t *answer = json_loads(line, 0, NULL);
	const char *error = json_string_value(json_object_get(answer, "error"));

	if (!json_is_true(json_object_get(answer, "ok"))) {
		format_printable(answer);
		disconnect(t, error ? error : "what it says is no answer");
		json_decref(answer);
		return;
	}
	format_printable(answer);
	if (t->owed == 2) {
		t->status = answer;
	} else {
		top_data_take(&t->data, t->status, answer, now_ms());
		t->status = NULL;
	}
	t->owed--;
}

/* Reads what has come, and takes each whole line. True if something has changed. */
static bool hear(struct top *t)
{
	char *newline;
	ssize_t n;

	if (t->heard_size - t->heard_len < 65536) {
		t->heard_size += 131072;
		t->heard = realloc(t->heard, t->heard_size);
		if (!t->heard)
			abort();
	}
	n = recv(t->fd, t->heard + t->heard_len, t->heard_size - t->heard_len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0 && !t->owed) { /* the daemon closes idle connections; the next poll connects */
		close(t->fd);
		t->fd = -1;
		return false;
	}
	if (n <= 0 || t->heard_len > ANSWER_MAX) {
		disconnect(t, n < 0 ? strerror(errno)
			      : n   ? "its answer is too long"
				    : "it went away");
		return true;
	}
	newline = memchr(t->heard + t->heard_len, '\n', (size_t)n);
	t->heard_len += (size_t)n;
	while (newline && t->owed) {
		size_t len = (size_t)(newline - t->heard) + 1;

		*newline = 0;
		take(t, t->heard);
		if (t->fd < 0)
			return true;
		t->heard_len -= len;
		memmove(t->heard, t->heard + len, t->heard_len);
		newline = memchr(t->heard, '\n', t->heard_len);
	}
	return !t->owed;
}

static struct view view_of(const struct top *t, unsigned columns)
{
	return (struct view){
		.data = &t->data,
		.columns = columns < VIEW_COLUMNS_MAX ? columns : VIEW_COLUMNS_MAX,
		.filter = t->filter,
		.by = orders[t->by],
		.order = t->order,
	};
}

static void put(int y, const struct row *row, bool focus)
{
	static const attr_t attributes[] = {
		[ROW_PLAIN] = A_NORMAL,
		[ROW_HEADING] = A_BOLD,
		[ROW_ALERT] = A_BOLD,
		[ROW_FAINT] = A_DIM,
	};

	attrset(attributes[row->style] | (focus ? A_REVERSE : 0));
	if (row->style == ROW_ALERT && has_colors())
		attron(COLOR_PAIR(1));
	mvaddstr(y, 0, row->text);
	attrset(A_NORMAL);
}

/* The heading, and as many rows below it as fit. */
static void put_pane(struct top *t, enum pane which, int y, unsigned height)
{
	const struct rows *rows = &t->pane[which];
	unsigned body = rows->count - 1, fits = height ? height - 1 : 0, last;
	unsigned most = body > fits ? body - fits : 0;
	char range[64];

	if (!height)
		return;
	t->page[which] = fits ? fits : 1;
	if (t->scroll[which] > most)
		t->scroll[which] = most;
	last = t->scroll[which] + (body < fits ? body : fits);
	put(y, &rows->row[0], t->focus == which);
	if (most && fits) { /* over the heading's first column */
		const char *name = which == PANE_MODELS ? "MODEL" : "CLIENT";

		snprintf(range, sizeof(range), "%s %u-%u/%u ", name, t->scroll[which] + 1, last,
			 body);
		attrset(A_BOLD | (t->focus == which ? A_REVERSE : 0));
		mvaddstr(y, 0, range);
		attrset(A_NORMAL);
	}
	for (unsigned i = t->scroll[which]; i < last; i++)
		put(++y, &rows->row[i + 1], false);
}

static void put_footer(const struct top *t, int y, unsigned columns)
{
	char text[256], cell[VIEW_ROW_MAX];

	if (t->typing)
		snprintf(text, sizeof(text), "Names that contain: %s_  (Enter: keep, Esc: all)",
			 t->filter);
	else
		snprintf(text, sizeof(text),
			 "%sq quit  h help  p %s  / filter%s%s%s  s sort: %s  Tab %s",
			 t->paused ? "PAUSED  " : "", t->paused ? "go on" : "pause",
			 t->filter[0] ? ": \"" : "", t->filter, t->filter[0] ? "\"" : "",
			 t->focus == PANE_MODELS ? view_model_orders[t->order] : orders[t->by],
			 t->focus == PANE_MODELS ? "to clients" : "to models");
	text_cell(cell, sizeof(cell), text, columns, false);
	attrset(A_REVERSE);
	mvaddstr(y, 0, cell);
	attrset(A_NORMAL);
}

/* The models leave the clients half of the rows, if they need it. Blank rows come where there is
 * room for all. */
static void put_panes(struct top *t, unsigned y, unsigned height)
{
	unsigned models = t->pane[PANE_MODELS].count, clients = t->pane[PANE_CLIENTS].count;
	unsigned half = height / 2, blank = models + clients + 2 <= height;

	if (models + clients > height && models > half)
		models = clients < half ? height - clients : half;
	put_pane(t, PANE_MODELS, (int)(y + blank), models);
	put_pane(t, PANE_CLIENTS, (int)(y + models + 2 * blank), height - models - 2 * blank);
}

/* The state has at most half of the screen. */
static void draw(struct top *t)
{
	int lines, columns;
	unsigned height, y;
	struct view v;

	getmaxyx(stdscr, lines, columns);
	v = view_of(t, (unsigned)columns);
	height = lines > 1 ? (unsigned)lines - 1 : 0;
	erase();
	view_state(&v, &t->state);
	for (y = 0; y < t->state.count && y < (height + 1) / 2; y++)
		put((int)y, &t->state.row[y], false);
	if (y < t->state.count && y) {
		mvaddstr((int)y - 1, 0, "... more: sluicectl status");
		clrtoeol();
	}
	height -= y;
	if (t->help) {
		view_help(&v, &t->pane[PANE_MODELS]);
		for (unsigned i = 0; i < t->pane[PANE_MODELS].count && i < height; i++)
			put((int)(y + i), &t->pane[PANE_MODELS].row[i], !i);
	} else if (t->data.status) {
		view_models(&v, &t->pane[PANE_MODELS]);
		view_clients(&v, &t->pane[PANE_CLIENTS]);
		put_panes(t, y, height);
	}
	put_footer(t, lines - 1, (unsigned)columns);
	/* Where a terminal puts its cursor is of no use here, but an operator may look for it. */
	move(lines - 1, 0);
	refresh();
}

static void type(struct top *t, int key)
{
	size_t len = strlen(t->filter);

	if (key == '\n' || key == '\r' || key == KEY_ENTER) {
		t->typing = false;
	} else if (key == ESCAPE) {
		t->typing = false;
		t->filter[0] = 0;
	} else if (key == KEY_BACKSPACE || key == 127 || key == '\b') {
		while (len && (t->filter[--len] & 0xc0) == 0x80) /* the rest of a character */
			;
		t->filter[len] = 0;
	} else if (key >= ' ' && key < 256 && len + 1 < sizeof(t->filter)) {
		t->filter[len] = (char)key;
		t->filter[len + 1] = 0;
	}
}

static void scroll_by(struct top *t, long rows)
{
	long at = (long)t->scroll[t->focus] + rows;

	t->scroll[t->focus] = at < 0         ? 0
			      : at > 1000000 ? 1000000
					     : (unsigned)at; /* draw() bounds it */
}

static void press(struct top *t, int key)
{
	if (t->typing) {
		type(t, key);
		return;
	}
	switch (key) {
	case 'q':
		t->quit = true;
		break;
	case 'h':
	case '?':
		t->help = !t->help;
		break;
	case ESCAPE:
		t->help = false;
		t->filter[0] = 0;
		break;
	case 'p':
	case ' ':
		t->paused = !t->paused;
		break;
	case '/':
		t->typing = true;
		t->help = false;
		break;
	case '\t':
		t->focus = (t->focus + 1) % PANES;
		break;
	case 's':
		if (t->focus == PANE_MODELS) {
			t->order = (t->order + 1) % MODEL_ORDERS;
		} else {
			t->by = (t->by + 1) % ORDERS;
			t->next_ms = 0;
		}
		break;
	case KEY_UP:
	case 'k':
		scroll_by(t, -1);
		break;
	case KEY_DOWN:
	case 'j':
		scroll_by(t, 1);
		break;
	case KEY_PPAGE:
		scroll_by(t, -(long)t->page[t->focus]);
		break;
	case KEY_NPAGE:
		scroll_by(t, (long)t->page[t->focus]);
		break;
	case KEY_HOME:
		scroll_by(t, -1000000);
		break;
	case KEY_END:
		scroll_by(t, 1000000);
		break;
	}
}

/* Waits for a key, an answer or the next poll. True if the screen has to be drawn. */
static bool turn(struct top *t)
{
	struct pollfd wait[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
				 {.fd = t->fd, .events = POLLIN}};
	uint64_t now = now_ms(), until;
	bool changed = false;
	int key, n;

	if (t->owed && now - t->asked_ms >= ANSWER_MS) {
		disconnect(t, "it does not answer");
		changed = true;
	}
	if (!t->owed && !t->paused && now >= t->next_ms) {
		ask(t);
		wait[1].fd = t->fd;
		changed = t->fd < 0;
	}
	until = t->owed ? t->asked_ms + ANSWER_MS : t->next_ms;
	n = poll(wait, 2,
		 changed                 ? 0
		 : t->paused && !t->owed ? -1
		 : until > now           ? (int)(until - now)
					 : 0);
	if (n > 0 && wait[0].revents & (POLLHUP | POLLERR | POLLNVAL) &&
	    !(wait[0].revents & POLLIN)) {
		t->quit = true; /* the terminal is gone */
		return false;
	}
	/* Also after a signal: curses tells a new size of the terminal as a key. */
	while ((key = getch()) != ERR) {
		press(t, key);
		changed = true;
	}
	if (n > 0 && wait[0].revents & POLLIN && !changed) {
		t->quit = true; /* the end of its input */
		return false;
	}
	if (n > 0 && t->fd >= 0 && wait[1].revents)
		changed |= hear(t);
	return changed;
}

static enum top_end run_screen(struct top *t)
{
	SCREEN *screen = newterm(NULL, stdout, stdin);

	if (!screen)
		return TOP_NO_TERMINAL;
	set_escdelay(25);
	cbreak();
	noecho();
	nonl();
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	curs_set(0);
	if (!getenv("NO_COLOR") && has_colors()) {
		start_color();
		use_default_colors();
		init_pair(1, COLOR_RED, -1);
	}
	while (!t->quit)
		if (turn(t))
			draw(t);
	endwin();
	delscreen(screen);
	return TOP_QUIT;
}

static void print(struct rows *rows)
{
	for (unsigned i = 0; i < rows->count; i++) {
		size_t len = strlen(rows->row[i].text);

		while (len && rows->row[i].text[len - 1] == ' ')
			len--;
		printf("%.*s\n", (int)len, rows->row[i].text);
	}
	view_free(rows);
}

/* Two polls, since rates need two; then one frame of any height. */
static enum top_end run_plain(struct top *t)
{
	const char *given = getenv("COLUMNS");
	int columns = given ? atoi(given) : 0;
	struct view v = view_of(t, columns > 0 ? (unsigned)columns : PLAIN_COLUMNS);

	while (t->data.polls < 2) {
		struct pollfd wait = {.fd = t->fd, .events = POLLIN};
		uint64_t now = now_ms();

		if (!t->owed && now >= t->next_ms)
			ask(t);
		if (t->fd >= 0 && poll(&wait, 1, t->owed ? ANSWER_MS : (int)(t->next_ms - now)) > 0)
			hear(t);
		else if (t->owed)
			disconnect(t, "it does not answer");
		if (t->fd < 0) {
			fprintf(stderr, "sluicectl: %s\n", t->data.problem);
			return TOP_NO_ANSWER;
		}
	}
	view_state(&v, &t->state);
	print(&t->state);
	view_models(&v, &t->pane[PANE_MODELS]);
	putchar('\n');
	print(&t->pane[PANE_MODELS]);
	view_clients(&v, &t->pane[PANE_CLIENTS]);
	putchar('\n');
	print(&t->pane[PANE_CLIENTS]);
	return TOP_QUIT;
}

enum top_end top_run(const struct top_options *options, int fd)
{
	struct top t = {.options = options, .fd = fd};
	enum top_end end;

	for (unsigned i = 0; i < ORDERS; i++)
		if (options->by && !strcmp(options->by, orders[i]))
			t.by = i;
	end = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) ? run_screen(&t) : run_plain(&t);
	if (t.fd >= 0)
		close(t.fd);
	json_decref(t.status);
	free(t.heard);
	view_free(&t.state);
	view_free(&t.pane[PANE_MODELS]);
	view_free(&t.pane[PANE_CLIENTS]);
	top_data_free(&t.data);
	return end;
}
