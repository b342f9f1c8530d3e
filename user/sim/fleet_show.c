/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See fleet_show.h. */
#include "sim/fleet_show.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TABLE_SEEDS 3

int fleet_options_read(struct fleet_options *out, const char *quota, const char *pattern, char *why,
		       size_t len)
{
	char err[256];
	unsigned i;

	if (quota_parse(&out->quota, quota, err, sizeof(err))) {
		snprintf(why, len, "--quota: %.200s", err);
		return -EINVAL;
	}
	if (!out->quota.requests.most || out->quota.tokens.most) {
		snprintf(why, len, "--quota: give a quota of requests alone");
		return -EINVAL;
	}
	if (!pattern)
		return 0;
	out->only = true;
	for (i = 0; i < FLEET_PATTERNS && strcmp(pattern, fleet_patterns[i].name); i++)
		;
	out->pattern = (enum fleet_pattern)i;
	if (i < FLEET_PATTERNS)
		return 0;
	snprintf(why, len, "--fleet-pattern: \"%.64s\" is none; --help lists them", pattern);
	return -EINVAL;
}

static void show_row(enum fleet_pattern pattern, const struct fleet_result *r)
{
	printf("%-14s %6.1f%%  %6.1f%%  %6.1f  %6.0f  %8" PRIu64 "  %8" PRIu64 "  %6" PRIu64
	       "  %8.0f  %s\n",
	       fleet_patterns[pattern].name, 100 * r->value, 100 * r->lowest, r->over, r->bound,
	       r->offered, r->admitted, r->lacked, (double)r->calls / r->run_seconds,
	       fleet_patterns[pattern].measure);
}

static void show_json_row(enum fleet_pattern pattern, const struct fleet_result *r, bool first)
{
	printf("%s\n    {\"pattern\": \"%s\", \"value\": %.6g, \"lowest\": %.6g, \"over\": %.6g, "
	       "\"bound\": %.6g, \"offered\": %" PRIu64 ", \"admitted\": %" PRIu64
	       ", \"lacked\": %" PRIu64 ", \"waits\": %" PRIu64 ", \"waits_broken\": %" PRIu64
	       ", \"calls\": %" PRIu64 ", \"charges\": %" PRIu64 ", \"seconds\": %.6g}",
	       first ? "" : ",", fleet_patterns[pattern].name, r->value, r->lowest, r->over,
	       r->bound, r->offered, r->admitted, r->lacked, r->waits, r->broken, r->calls,
	       r->charges, r->run_seconds);
}

static void show_head(const struct fleet_options *o, bool json)
{
	double period = (double)o->period_ns / 1e6, round_trip = (double)o->round_trip_ns / 1e6;
	char words[QUOTA_TEXT_MAX];

	quota_words(words, &o->quota);
	if (json) {
		printf("{\n  \"hosts\": %u, \"quota\": \"%s\", \"period_ms\": %g, "
		       "\"round_trip_ms\": %g, \"whole\": %s, \"seed\": %" PRIu64
		       ",\n  \"patterns\": [",
		       o->hosts, words, period, round_trip, o->whole ? "true" : "false", o->seed);
		return;
	}
	printf("fleet     %u hosts, %s; a call each %g ms, a round trip of %g ms\n\n", o->hosts,
	       words, period, round_trip);
	printf("PATTERN         VALUE   LOWEST    OVER   BOUND   REQUESTS  ADMITTED  LACKED   CALLS/S  VALUE IS THE SHARE\n");
}

int fleet_show(const struct fleet_options *options, bool json, char *why, size_t len)
{
	int ret = 0;

	show_head(options, json);
	for (unsigned i = 0, shown = 0; i < FLEET_PATTERNS; i++) {
		struct fleet_result r;
		const char *broken;

		if (options->only && i != options->pattern)
			continue;
		if (fleet_simulate(options, i, &r)) {
			snprintf(why, len, "out of memory");
			return -ENOMEM;
		}
		if (json)
			show_json_row(i, &r, !shown++);
		else
			show_row(i, &r);
		broken = fleet_broken(options, i, &r);
		if (broken) {
			size_t used = ret ? strlen(why) : 0;

			snprintf(why + used, len - used, "%s%s: %s", used ? "; " : "",
				 fleet_patterns[i].name, broken);
			ret = -EDOM;
		}
	}
	if (json)
		puts("\n  ]\n}");
	return ret;
}

/* ---- the table ---- */

static const uint32_t table_hosts[] = {2, 10, 100, 500};
#define TABLE_COLUMNS (sizeof(table_hosts) / sizeof(table_hosts[0]))

/* What a row has of a pattern. */
static const struct {
	enum fleet_pattern pattern;
	const char *what;
	bool over; /* units, not a share */
} table_rows[] = {
	{FLEET_SPREAD, "twice the quota, spread over all hosts: units over (permitted)", true},
	{FLEET_SPREAD, "… share of the budget used", false},
	{FLEET_HEAVY, "more than the quota on each host: units over", true},
	{FLEET_ONE, "one host: share used", false},
	{FLEET_HOPS, "another host for each request: share used", false},
	{FLEET_LIGHT, "10,000 clients that use a tenth: refused", false},
	{FLEET_BURST, "a burst on one host within 20 ms: admitted", false},
	{FLEET_TOKENS, "twice a quota of tokens: responses' worth over (permitted)", true},
	{FLEET_TOKENS, "… share of that budget used", false},
	{FLEET_OBEYS, "clients that wait as told: served at once then", false},
	{FLEET_OBEYS_TOKENS, "… with a quota of tokens", false},
	{FLEET_AWAY, "store away for 5 s: rate meanwhile", false},
	{FLEET_STICKY, "… each client on one host", false},
	{FLEET_AWAY, "store away for 5 s: units over", true},
	{FLEET_EMPTY, "… and back with nothing: units over", true},
	{FLEET_FAILOVER, "… and back without its last 2 s: units over", true},
	{FLEET_FLUSH, "store flushed: rate in the 2 s after", false},
	{FLEET_DEATHS, "half of the hosts die: rate after", false},
};

/* The mean over the seeds; of units, the most. An exit status. */
static int write_cell(const struct fleet_options *options, size_t row)
{
	double sum = 0, most = 0, bound = 0;

	for (uint64_t seed = 1; seed <= TABLE_SEEDS; seed++) {
		struct fleet_options o = *options;
		struct fleet_result r;
		const char *broken;

		o.seed = seed;
		if (fleet_simulate(&o, table_rows[row].pattern, &r)) {
			fputs("sluice-sim: out of memory\n", stderr);
			return 1;
		}
		broken = fleet_broken(&o, table_rows[row].pattern, &r);
		if (broken) {
			fprintf(stderr, "sluice-sim: %u hosts, %s: %s\n", o.hosts,
				fleet_patterns[table_rows[row].pattern].name, broken);
			return 1;
		}
		sum += r.value;
		most = r.over > most ? r.over : most;
		bound = seed == 1 || r.bound < bound ? r.bound : bound;
	}
	if (table_rows[row].over)
		printf(" %.1f (%.0f) |", most, bound);
	else
		printf(" %.2f |", sum / TABLE_SEEDS);
	return 0;
}

int fleet_table_write(void)
{
	struct fleet_options options = {.round_trip_ns = 1000000, .away_ns = 5000000000};
	char why[256];

	if (fleet_options_read(&options, FLEET_QUOTA_TEXT, NULL, why, sizeof(why)))
		return 1;
	printf("| |");
	for (size_t i = 0; i < TABLE_COLUMNS; i++)
		printf(" %u hosts |", table_hosts[i]);
	printf("\n|---|---|---|---|---|\n");
	for (size_t row = 0; row < sizeof(table_rows) / sizeof(table_rows[0]); row++) {
		printf("| %s |", table_rows[row].what);
		for (size_t i = 0; i < TABLE_COLUMNS; i++) {
			options.hosts = table_hosts[i];
			options.period_ns = options.hosts > 200 ? 250000000 : 100000000;
			if (write_cell(&options, row))
				return 1;
		}
		printf("\n");
	}
	return 0;
}
