/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Cells and plots; text.h says what for. */
#include "top/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/columns.h"

#define LEVELS 8

static void append(char *out, size_t size, size_t *at, const char *text, size_t len)
{
	if (*at + len >= size)
		return;
	memcpy(out + *at, text, len);
	*at += len;
	out[*at] = 0;
}

void text_cell(char *out, size_t size, const char *text, unsigned width, bool right)
{
	const char *mark = columns_are_utf8() ? "…" : "~";
	unsigned whole = columns_of(text), used = 0;
	bool cut = whole > width;
	size_t at = 0;
	int columns;

	out[0] = 0;
	for (; right && used + whole < width; used++)
		append(out, size, &at, " ", 1);
	if (right)
		used = 0;
	while (*text) {
		size_t len = columns_next(text, &columns);
		unsigned wide = columns < 0 ? 1 : (unsigned)columns;

		if (used + wide > width - cut)
			break;
		append(out, size, &at, columns < 0 ? "?" : text, columns < 0 ? 1 : len);
		used += wide;
		text += len;
	}
	if (cut && width) {
		append(out, size, &at, mark, strlen(mark));
		used++;
	}
	for (; !right && used < width; used++)
		append(out, size, &at, " ", 1);
}

/* Seconds of one cell: the plot has all that is known. */
static unsigned step(const struct top_data *d, unsigned cells)
{
	return (top_history_secs(d) + cells - 1) / cells;
}

unsigned text_plot_secs(const struct top_data *d, unsigned cells)
{
	unsigned secs = cells ? step(d, cells) * cells : 0;

	return secs < HISTORY_SECS ? secs : HISTORY_SECS;
}

void text_plot(char *out, size_t size, const struct top_data *d, const float *values, double target,
	       unsigned cells)
{
	static const char *const blocks[LEVELS] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	static const char *const ascii[LEVELS] = {".", ":", "-", "=", "+", "*", "%", "@"};
	const char *const *mark = columns_are_utf8() ? blocks : ascii;
	double highest[256], peak = isnan(target) ? 0 : target;
	unsigned secs = top_history_secs(d), wide;
	size_t at = 0;

	out[0] = 0;
	if (!cells || cells > sizeof(highest) / sizeof(highest[0]))
		return;
	wide = step(d, cells);
	for (unsigned c = 0; c < cells; c++)
		highest[c] = -1;
	/* Cells begin at multiples of their length: a plot moves only when a cell is full. */
	for (unsigned ago = 0; ago < secs; ago++) {
		uint64_t second = d->second - ago;
		uint64_t back = d->second / wide - second / wide;
		float value = values[second % HISTORY_SECS];

		if (isnan(value) || back >= cells)
			continue;
		if (value > highest[cells - 1 - back])
			highest[cells - 1 - back] = value;
		if (value > peak)
			peak = value;
	}
	for (unsigned c = 0; c < cells; c++) {
		unsigned level;

		if (highest[c] < 0) {
			append(out, size, &at, " ", 1);
			continue;
		}
		level = peak > 0 ? (unsigned)(highest[c] / peak * LEVELS) : 0;
		if (level >= LEVELS)
			level = LEVELS - 1;
		append(out, size, &at, mark[level], strlen(mark[level]));
	}
}
