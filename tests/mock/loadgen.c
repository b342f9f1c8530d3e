/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A load generator that measures an inference API as its clients see it: time to first token, time
 * between tokens, and the exact end of each request. It distinguishes a clean close of a refused
 * connection from a reset. With --trace, a file has the times and sizes of the requests: an open
 * loop with the trace's own bursts.
 *
 * This file has the options.
 */
#include "load.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct address server;
bool have_server;
const char *connect_to;
const char *path = "/v1/chat/completions";
struct model models[64];
size_t model_count;
struct address binds[256];
size_t bind_count;
struct buf extra_headers;
double concurrency = 1, rate, requests_max, duration_s, max_tokens, body_bytes, retries_max;
double image_bytes, timeout_s = 60, tau_s = 15, seed = 1, ttft_target_ms, itl_target_ms, max_time_s;
bool streamed = true, uniform, model_last, new_connections, split, chunked_upload, distinct,
     prompt_progress;
bool json_output, progress;
const char *trace_path, *series_path;
double trace_from, load_rate, speed;

static void set_server(const char *value)
{
	connect_to = value;
	server = parse_address(value, true);
	have_server = true;
}

/* NAME or NAME:WEIGHT. A name that ends in a colon and a number needs an explicit weight. */
static void add_model(const char *value)
{
	struct model *m = &models[model_count];
	char *name = strdup(value);
	char *colon = name ? strrchr(name, ':') : NULL;

	if (!name || model_count == ARRAY_SIZE(models))
		die_usage("--model: too many");
	m->weight = 1;
	if (colon && parse_number(colon + 1, 0, 1e9, &m->weight))
		*colon = '\0';
	m->name = name;
	model_count++;
}

static void add_header(const char *value)
{
	if (!strchr(value, ':') || strpbrk(value, "\r\n"))
		die_usage("--header: '%s' is not allowed: want 'NAME: VALUE'", value);
	buf_printf(&extra_headers, "%s\r\n", value);
}

static void add_bind(const char *value)
{
	if (bind_count == ARRAY_SIZE(binds))
		die_usage("--bind: too many");
	binds[bind_count++] = parse_address(value, false);
}

static void read_options(int argc, char **argv)
{
	const struct option_row rows[] = {
		{"connect", "ADDR:PORT", "the server", .call = set_server},
		{"model", "NAME[:WEIGHT]", "repeatable; requests are spread by weight",
		 .call = add_model},
		{"path", "PATH", "default /v1/chat/completions", .text = &path},
		{"concurrency", "N", "closed loop of N callers (default 1)", .number = &concurrency,
		 .min = 1, .max = 100000},
		{"rate", "R", "open loop: R requests a second, whatever the server does",
		 .number = &rate, .min = 0.001, .max = 1e6},
		{"uniform", NULL, "with --rate: evenly spaced, not Poisson", .on = &uniform},
		{"trace", "FILE",
		 "open loop: times and tokens from a CSV, TIMESTAMP,ContextTokens,GeneratedTokens",
		 .text = &trace_path},
		{"trace-from", "N", "leave out the first N requests of the trace",
		 .number = &trace_from, .min = 0, .max = 1e9},
		{"load-rate", "R", "stretch the trace to a mean of R requests a second",
		 .number = &load_rate, .min = 0.001, .max = 1e6},
		{"speed", "X", "replay the trace X times as fast", .number = &speed, .min = 0.001,
		 .max = 1e6},
		{"series", "FILE",
		 "write a CSV: second, and of the requests that arrived in it the arrived, met, missed, "
		 "refused",
		 .text = &series_path},
		{"requests", "N", "end after N requests (without --duration: --concurrency)",
		 .number = &requests_max, .min = 1, .max = 1e9},
		{"duration", "S", "begin no request after S seconds", .number = &duration_s,
		 .min = 0.01, .max = 86400},
		{"max-time", "S", "end after S seconds at the latest (duration+timeout, or 600)",
		 .number = &max_time_s, .min = 0.01, .max = 172800},
		{"stream", NULL, "request a stream (default)", .on = &streamed},
		{"plain", NULL, "request no stream; TTFT is then the first body byte",
		 .off = &streamed},
		{"max-tokens", "N", "max_tokens of the request (default: none)",
		 .number = &max_tokens, .min = 1, .max = 1e6},
		{"body-bytes", "N", "pad the prompt until the JSON has N bytes",
		 .number = &body_bytes, .min = 1, .max = 1 << 26},
		{"distinct", NULL, "begin each prompt with a number, so that no cache has it",
		 .on = &distinct},
		{"image-bytes", "N", "add an image of N bytes of base64 to each chat",
		 .number = &image_bytes, .min = 4, .max = 1 << 26},
		{"prompt-progress", NULL, "request llama.cpp's progress of prompt processing",
		 .on = &prompt_progress},
		{"model-last", NULL, "put \"model\" after the messages", .on = &model_last},
		{"new-connections", NULL, "one connection a request", .on = &new_connections},
		{"split", NULL, "head and body in two sends", .on = &split},
		{"chunked-upload", NULL, "send the body chunked", .on = &chunked_upload},
		{"header", "'NAME: VALUE'", "repeatable", .call = add_header},
		{"bind", "ADDR", "source address; repeatable: requests use them alternately",
		 .call = add_bind},
		{"retry", "N", "after a 429, wait for Retry-After and retry, N times at most",
		 .number = &retries_max, .min = 0, .max = 1000},
		{"timeout", "S", "for one attempt, from connect to the last byte (default 60)",
		 .number = &timeout_s, .min = 0.01, .max = 86400},
		{"tau", "S", "time constant of \"ema\" (default 15)", .number = &tau_s, .min = 1e-6,
		 .max = 1e6},
		{"ttft-target-ms", "MS", "for goodput", .number = &ttft_target_ms, .min = 0.001,
		 .max = 1e9},
		{"itl-target-ms", "MS", "for goodput: the mean of a request", .min = 0.001,
		 .number = &itl_target_ms, .max = 1e9},
		{"seed", "N", "of arrivals and models (default 1)", .number = &seed, .min = 0,
		 .max = 9e15},
		{"progress", NULL, "a line a second (on stderr with --json)", .on = &progress},
		{"json", NULL, "one JSON object instead of the summary", .on = &json_output},
	};

	parse_options(argc, argv, "load on an inference API, measured as its clients see it", rows,
		      ARRAY_SIZE(rows));
	if (!have_server)
		die_usage("--connect is missing");
	if (!model_count)
		die_usage("--model is missing");
	for (size_t i = 0; i < bind_count; i++)
		if (binds[i].sa.ss_family != server.sa.ss_family)
			die_usage("--bind: not of the family of --connect");
	if (!trace_path && (trace_from > 0 || load_rate > 0 || speed > 0))
		die_usage("--trace-from, --load-rate and --speed need --trace");
	if (trace_path && (rate > 0 || (load_rate > 0) == (speed > 0)))
		die_usage("--trace needs --load-rate or --speed, and no --rate");
	if (load_rate > 0 && (requests_max > 0) == (duration_s > 0))
		die_usage("--load-rate needs --duration or --requests, one of them");
	open_loop = rate > 0 || trace_path;
	if (!open_loop && requests_max == 0 && duration_s == 0)
		requests_max = concurrency;
	if (rate > 0 && requests_max == 0 && duration_s == 0)
		die_usage("--rate needs --requests or --duration");
	if (trace_path)
		read_trace();
	if (max_time_s == 0)
		max_time_s = trace_path       ? arrivals[arrival_count - 1].at_s + timeout_s
			     : duration_s > 0 ? duration_s + timeout_s
					      : UNBOUNDED_RUN_S;
}

static void start(void)
{
	start_ns = now_ns();
	last_end_ns = start_ns;
	hard_stop_ns = start_ns + s_to_ns(max_time_s);
	hard_timer.fire = on_hard_stop;
	timer_set(&hard_timer, hard_stop_ns);
	if (duration_s > 0 && !trace_path) {
		stop_ns = start_ns + s_to_ns(duration_s);
		stop_timer.fire = on_stop;
		timer_set(&stop_timer, stop_ns);
	}
	if (progress) {
		progress_timer.fire = on_progress;
		timer_set(&progress_timer, start_ns + NSEC_PER_SEC);
	}
	if (open_loop) {
		arrival_timer.fire = on_arrival;
		schedule_arrival();
		check_end();
		return;
	}
	for (uint64_t i = 0; i < (uint64_t)concurrency && may_begin(); i++)
		begin_request(bind_count ? i % bind_count : 0, NULL);
}

int main(int argc, char **argv)
{
	double seconds;

	read_options(argc, argv);
	rng_state = (uint64_t)seed;
	for (size_t i = 0; i < model_count; i++)
		build_model(&models[i]);
	loop_init();
	start();
	loop_run();
	/* The attempts that the hard stop ends are timeouts. */
	ending_run = true;
	while (conns) {
		if (conns->state == STATE_IDLE)
			close_conn(conns);
		else
			fail(conns, OUTCOME_TIMEOUT);
	}
	seconds = (double)(last_end_ns - start_ns) / 1e9;
	if (series_path)
		write_series();
	if (json_output)
		print_json(seconds);
	else
		say_all(seconds);
	return 0;
}
