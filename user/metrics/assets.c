/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The files of the page, as they were at the build: the daemon needs no file at run time, and a
 * browser needs no other host.
 */
#include "metrics/metrics.h"

#include <inttypes.h>
#include <string.h>

#ifndef CHART_JS
#define CHART_JS "/usr/share/javascript/chart.js/chart.min.js"
#endif

#define FILE_AT(name, path)                                                                        \
	__asm__(".pushsection .rodata\n" name ": .incbin \"" path "\"\n" name                      \
		"_end: .byte 0\n.popsection\n")

extern const char asset_chart_js[], asset_chart_js_end[];
extern const char asset_page_js[], asset_page_js_end[];
extern const char asset_page_css[], asset_page_css_end[];
FILE_AT("asset_chart_js", CHART_JS);
FILE_AT("asset_page_js", "user/metrics/page.js");
FILE_AT("asset_page_css", "user/metrics/page.css");

static struct metrics_asset assets[] = {
	{.url = "/static/chart.js", .type = "text/javascript; charset=utf-8"},
	{.url = "/static/page.js", .type = "text/javascript; charset=utf-8"},
	{.url = "/static/page.css", .type = "text/css; charset=utf-8"},
};

/* FNV-1a: a browser asks again with the mark of what it has. */
static uint64_t hash(const char *text, size_t len)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)text[i]) * 0x100000001b3;
	return h;
}

const struct metrics_asset *metrics_asset(const char *url)
{
	const char *const texts[][2] = {
		{asset_chart_js, asset_chart_js_end},
		{asset_page_js, asset_page_js_end},
		{asset_page_css, asset_page_css_end},
	};

	for (size_t i = 0; i < sizeof(assets) / sizeof(assets[0]); i++) {
		struct metrics_asset *a = &assets[i];

		if (strcmp(url, a->url))
			continue;
		if (!a->text) {
			a->text = texts[i][0];
			a->len = (size_t)(texts[i][1] - texts[i][0]);
			snprintf(a->etag, sizeof(a->etag), "\"%016" PRIx64 "\"",
				 hash(a->text, a->len));
		}
		return a;
	}
	return NULL;
}
