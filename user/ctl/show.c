/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Answers on the screen; show.h says what for. */
#include "ctl/show.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "control/format_text.h"
#include "core/printable.h"

#define HOME           "\033[H"
#define REST_OF_LINE   "\033[K"
#define REST_OF_SCREEN "\033[J"

static struct winsize terminal(void)
{
	struct winsize size = {0};

	if (isatty(STDOUT_FILENO))
		ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	return size;
}

unsigned show_columns(void)
{
	const char *given = getenv("COLUMNS");
	int columns = given ? atoi(given) : 0;

	return columns > 0 ? (unsigned)columns : terminal().ws_col;
}

static void show_json(const json_t *answer, size_t flags)
{
	char *text = json_dumps(answer, flags | JSON_REAL_PRECISION(10));

	if (!text)
		return;
	printable_json(stdout, text);
	putchar('\n');
	free(text);
}

/* In the place of the text before. What is below the last row is not shown. */
static void replace(char *text)
{
	unsigned rows = terminal().ws_row, row = 0;

	fputs(HOME, stdout);
	for (char *line = text; (line = strsep(&text, "\n")) && (*line || text); row++) {
		if (row + 2 >= rows) {
			fputs("..." REST_OF_LINE "\n", stdout);
			break;
		}
		printf("%s" REST_OF_LINE "\n", line);
	}
	fputs(REST_OF_SCREEN, stdout);
}

static void show_text(const struct show *show, const json_t *answer)
{
	char *text = NULL, *wrapped = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		abort();
	format_set_columns(show_columns());
	show->format(out, answer);
	if (fclose(out) || !(out = open_memstream(&wrapped, &size)))
		abort();
	format_wrap_all(out, text);
	if (fclose(out))
		abort();
	if (show->mode == SHOW_REPLACE && terminal().ws_row)
		replace(wrapped);
	else
		printf("%s%s", wrapped, show->mode == SHOW_REPLACE ? "\n" : "");
	free(text);
	free(wrapped);
}

void show_answer(const struct show *show, const json_t *answer)
{
	if (show->json)
		show_json(answer, show->mode == SHOW_ONCE ? JSON_INDENT(2) : JSON_COMPACT);
	else
		show_text(show, answer);
	fflush(stdout);
}
