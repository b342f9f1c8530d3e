/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the load generator has measured, as JSON, as text and second by second.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct last_second last_second;

/* Every attempt has exactly one outcome. */
static const char *const outcome_names[OUTCOME_COUNT] = {
	[OUTCOME_OK] = "ok",
	[OUTCOME_HTTP_ERROR] = "http_error",
	[OUTCOME_CONNECT_REFUSED] = "connect_refused",
	[OUTCOME_CONNECT_FAILED] = "connect_failed",
	[OUTCOME_RESET] = "reset",
	[OUTCOME_TIMEOUT] = "timeout",
	[OUTCOME_EOF_EARLY] = "eof_early",
	[OUTCOME_MALFORMED] = "malformed",
	[OUTCOME_LOCAL_ERROR] = "local_error",
};

static const char *const ending_names[ENDING_COUNT] = {
	[ENDING_CLEAN] = "clean_eof_after_close",     [ENDING_RESET] = "reset_after_close",
	[ENDING_NONE] = "no_eof_after_close",         [ENDING_BYTES_AFTER] = "bytes_after_response",
	[ENDING_CONNECT_TIMEOUT] = "connect_timeout", /* also counted as a timeout */
};

void on_progress(struct timer *t)
{
	uint64_t completed = all.completed - last_second.completed;
	uint64_t status_429 = all.status[429] - last_second.status_429;
	bool any = all.ttft.len > last_second.ttft_at;
	FILE *to = json_output ? stderr : stdout;

	fprintf(to, "%6.0f s  in flight %5llu  completed %5llu  429 %5llu  ttft ",
		(double)(now_ns() - start_ns) / 1e9, (unsigned long long)in_flight,
		(unsigned long long)completed, (unsigned long long)status_429);
	if (any)
		fprintf(to, "%8.1f ms\n", series_mean(&all.ttft, last_second.ttft_at));
	else
		fprintf(to, "%8s\n", "-");
	fflush(to);
	last_second.completed = all.completed;
	last_second.status_429 = all.status[429];
	last_second.ttft_at = all.ttft.len;
	timer_set(t, t->due_ns + NSEC_PER_SEC);
}

static void print_series(const char *name, struct series *s, const char *after)
{
	if (!s->len) {
		printf("\"%s\":{\"n\":0,\"mean\":null,\"p50\":null,\"p90\":null,\"p95\":null,"
		       "\"p99\":null,\"min\":null,\"max\":null,\"ema\":null}%s",
		       name, after);
		return;
	}
	qsort(s->values, s->len, sizeof(*s->values), by_value);
	printf("\"%s\":{\"n\":%zu,\"mean\":%.4f,\"p50\":%.4f,\"p90\":%.4f,\"p95\":%.4f,"
	       "\"p99\":%.4f,\"min\":%.4f,\"max\":%.4f,\"ema\":%.6f}%s",
	       name, s->len, series_mean(s, 0), series_quantile(s, 0.5), series_quantile(s, 0.9),
	       series_quantile(s, 0.95), series_quantile(s, 0.99), s->values[0],
	       s->values[s->len - 1], s->average, after);
}

static void print_results(struct results *r, double seconds)
{
	const char *comma = "";

	printf("\"sent\":%llu,\"completed\":%llu,\"status\":{", (unsigned long long)r->sent,
	       (unsigned long long)r->completed);
	for (size_t i = 0; i < ARRAY_SIZE(r->status); i++) {
		if (r->status[i]) {
			printf("%s\"%zu\":%llu", comma, i, (unsigned long long)r->status[i]);
			comma = ",";
		}
	}
	printf("},\"outcomes\":{");
	for (size_t i = 0; i < OUTCOME_COUNT; i++)
		printf("%s\"%s\":%llu", i ? "," : "", outcome_names[i],
		       (unsigned long long)r->outcomes[i]);
	if (r == &all)
		for (size_t i = 0; i < ENDING_COUNT; i++)
			printf(",\"%s\":%llu", ending_names[i], (unsigned long long)endings[i]);
	printf("},");
	print_series("ttft_ms", &r->ttft, ",");
	print_series("itl_ms", &r->itl, ",");
	print_series("total_ms", &r->total, ",");
	print_series("rejected_ms", &r->rejected, ",");
	print_series("request_itl_ms", &r->request_itl, ",");
	if (ttft_target_ms > 0 || itl_target_ms > 0)
		printf("\"good\":%llu,\"goodput_rps\":%.4f,", (unsigned long long)r->good,
		       seconds > 0 ? (double)r->good / seconds : 0);
	else
		printf("\"good\":null,\"goodput_rps\":null,");
}

static void print_fates(const struct fates *f)
{
	printf("\"arrived\":%llu,\"met\":%llu,\"missed\":%llu,\"refused\":%llu",
	       (unsigned long long)f->arrived, (unsigned long long)f->met,
	       (unsigned long long)f->missed, (unsigned long long)f->refused);
}

/* The length of the load: its schedule in the open loop, else the time until the last answer. */
static double load_seconds(double seconds)
{
	if (trace_path && load_rate > 0)
		return (double)arrival_count / load_rate;
	if (open_loop && duration_s > 0)
		return duration_s;
	return trace_path ? arrivals[arrival_count - 1].at_s : seconds;
}

/* Prints the load by requests. Goodput is the number of met targets over the length of the load. */
static void print_load(double seconds)
{
	printf("\"load\":{\"seconds\":%.4f,", seconds);
	print_fates(&fates);
	printf(",\"goodput_rps\":%.4f,\"by_prompt\":[",
	       seconds > 0 ? (double)fates.met / seconds : 0);
	for (size_t q = 0; trace_path && q < 4; q++) {
		printf("%s{\"tokens_up_to\":", q ? "," : "");
		if (q < 3)
			printf("%u,", quartile_ends[q]);
		else
			printf("null,");
		print_fates(&quartile_fates[q]);
		printf("}");
	}
	printf("]},");
}

/* Prints a line for each second: the outcomes of the requests that arrived in it. */
void write_series(void)
{
	FILE *f = fopen(series_path, "we");

	if (!f)
		die("cannot write %s: %s", series_path, strerror(errno));
	fprintf(f, "second,arrived,met,missed,refused\n");
	for (size_t i = 0; i < seconds_len; i++)
		fprintf(f, "%zu,%llu,%llu,%llu,%llu\n", i,
			(unsigned long long)second_fates[i].arrived,
			(unsigned long long)second_fates[i].met,
			(unsigned long long)second_fates[i].missed,
			(unsigned long long)second_fates[i].refused);
	if (fclose(f))
		die("cannot write %s: %s", series_path, strerror(errno));
}

void print_json(double seconds)
{
	const char *comma = "";

	printf("{");
	print_results(&all, seconds);
	printf("\"requests\":%llu,\"retries\":%llu,\"gave_up\":%llu,\"connections\":%llu,",
	       (unsigned long long)requests_begun, (unsigned long long)retries,
	       (unsigned long long)gave_up, (unsigned long long)connections_opened);
	print_series("refused_ms", &refused_ms, ",");
	if (retry_after.len)
		qsort(retry_after.values, retry_after.len, sizeof(double), by_value);
	printf("\"retry_after_s\":{\"n\":%zu,\"missing\":%llu,", retry_after.len,
	       (unsigned long long)retry_after_missing);
	if (retry_after.len)
		printf("\"min\":%g,\"mean\":%.4f,\"max\":%g,\"values\":{", retry_after.values[0],
		       series_mean(&retry_after, 0), retry_after.values[retry_after.len - 1]);
	else
		printf("\"min\":null,\"mean\":null,\"max\":null,\"values\":{");
	for (size_t i = 0; i <= 3600; i++) {
		if (retry_after_values[i]) {
			printf("%s\"%zu\":%llu", comma, i,
			       (unsigned long long)retry_after_values[i]);
			comma = ",";
		}
	}
	printf("}},\"body_length_429\":{\"equal\":%llu,\"differs\":%llu,\"missing\":%llu},",
	       (unsigned long long)length_equal, (unsigned long long)length_differs,
	       (unsigned long long)length_missing);
	print_load(load_seconds(seconds));
	printf("\"by_model\":{");
	for (size_t i = 0; i < model_count; i++) {
		struct buf name = {0};

		buf_json_string(&name, models[i].name);
		printf("%s%s:{", i ? "," : "", buf_at(&name));
		buf_free(&name);
		print_results(&models[i].results, seconds);
		printf("\"weight\":%g}", models[i].weight);
	}
	printf("},\"duration_s\":%.4f}\n", seconds);
}

static void say_series(const char *name, struct series *s)
{
	if (!s->len)
		return;
	qsort(s->values, s->len, sizeof(*s->values), by_value);
	printf("  %-9s n %-7zu mean %9.2f  p50 %9.2f  p90 %9.2f  p99 %9.2f  max %9.2f  "
	       "ema %9.2f ms\n",
	       name, s->len, series_mean(s, 0), series_quantile(s, 0.5), series_quantile(s, 0.9),
	       series_quantile(s, 0.99), s->values[s->len - 1], s->average);
}

static void say_results(const char *name, struct results *r, double seconds)
{
	printf("%s: %llu sent, %llu completed in %.2f s", name, (unsigned long long)r->sent,
	       (unsigned long long)r->completed, seconds);
	if (ttft_target_ms > 0 || itl_target_ms > 0)
		printf(", %.2f/s within the targets", seconds > 0 ? (double)r->good / seconds : 0);
	printf("\n ");
	for (size_t i = 0; i < ARRAY_SIZE(r->status); i++)
		if (r->status[i])
			printf(" %zu: %llu", i, (unsigned long long)r->status[i]);
	for (size_t i = OUTCOME_CONNECT_REFUSED; i < OUTCOME_COUNT; i++)
		if (r->outcomes[i])
			printf(" %s: %llu", outcome_names[i], (unsigned long long)r->outcomes[i]);
	printf("\n");
	say_series("ttft", &r->ttft);
	say_series("itl", &r->itl);
	say_series("total", &r->total);
	say_series("rejected", &r->rejected);
}

static void say_fates(double seconds)
{
	printf("  requests: %llu in %.2f s, %llu met the targets (%.3f/s), %llu missed, %llu refused\n",
	       (unsigned long long)fates.arrived, seconds, (unsigned long long)fates.met,
	       seconds > 0 ? (double)fates.met / seconds : 0, (unsigned long long)fates.missed,
	       (unsigned long long)fates.refused);
	for (size_t q = 0; trace_path && q < 4; q++) {
		const struct fates *f = &quartile_fates[q];

		if (q < 3)
			printf("  prompts up to %7u tokens:", quartile_ends[q]);
		else
			printf("  longer prompts             :");
		printf(" %llu, %llu met, %llu missed, %llu refused\n",
		       (unsigned long long)f->arrived, (unsigned long long)f->met,
		       (unsigned long long)f->missed, (unsigned long long)f->refused);
	}
}

void say_all(double seconds)
{
	if (model_count > 1)
		for (size_t i = 0; i < model_count; i++)
			say_results(models[i].name, &models[i].results, seconds);
	say_results("all", &all, seconds);
	if (trace_path)
		say_fates(load_seconds(seconds));
	for (size_t i = 0; i < ENDING_COUNT; i++)
		if (endings[i])
			printf("  %s: %llu\n", ending_names[i], (unsigned long long)endings[i]);
	if (retry_after.len) {
		qsort(retry_after.values, retry_after.len, sizeof(double), by_value);
		printf("  Retry-After: min %g mean %.2f max %g s, %llu retries, %llu gave up\n",
		       retry_after.values[0], series_mean(&retry_after, 0),
		       retry_after.values[retry_after.len - 1], (unsigned long long)retries,
		       (unsigned long long)gave_up);
	}
}
