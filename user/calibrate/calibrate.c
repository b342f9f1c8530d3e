/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "calibrate/calibrate.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "calibrate/client.h"
#include "core/parse.h"

#define NS_PER_S 1000000000ULL

/* By enum fit_beside_kind. */
static const char *const beside_names[] = {"unseen", "chunks", "step", "first"};

static double rounded(double value)
{
	return round(value * 1000) / 1000;
}

void calibrate_options(const struct engine_shape *shape, char *out, size_t len)
{
	snprintf(
		out, len,
		"--slots %u --prefill-tokens-per-s %.0f --step-ms %.10g --step-ms-per-seq %.10g --chunk %u%s",
		shape->slots, shape->prefill_tokens_per_s, rounded(shape->step_ms),
		rounded(shape->step_ms_per_seq), shape->chunk,
		shape->prefill_first ? " --prefill-first" : "");
}

static void show_prompts(const struct calibration *c)
{
	const struct fit_beside *b = &c->fit.beside;
	double longest = c->fit.prompts[c->fit.prompt_count - 1].x;

	switch (b->kind) {
	case FIT_CHUNKS:
		printf("prompts   in chunks of %u tokens: each makes a gap of %.1f ms in a stream, not %.1f ms\n",
		       c->shape.chunk, b->gap_ms, b->usual_ms);
		break;
	case FIT_STEP:
		printf("prompts   %.0f tokens in one step with the streams, a gap of %.1f ms, not %.1f ms: a chunk has as many, or more\n",
		       longest, b->gap_ms, b->usual_ms);
		break;
	case FIT_FIRST:
		printf("prompts   %.0f tokens while the streams stand still, a gap of %.1f ms, not %.1f ms\n",
		       longest, b->gap_ms, b->usual_ms);
		break;
	case FIT_UNSEEN:
		printf("prompts   no effect of %.0f tokens on a stream was seen: --chunk is a guess\n",
		       longest);
		break;
	}
	printf("          %.1f ms of TTFT do not depend on the prompt%s\n", c->fit.fixed_ms,
	       c->stated ? ""
			 : "; the server does not state a prompt's tokens: 4 bytes count as one");
}

static void show(const struct calibration *c)
{
	char options[256];

	calibrate_options(&c->shape, options, sizeof(options));
	printf("%s\n\nPROMPT, tokens    TTFT, ms\n", options);
	for (uint32_t i = 0; i < c->fit.prompt_count; i++)
		printf("%14.0f  %10.1f\n", c->fit.prompts[i].x, c->fit.prompts[i].ms);
	puts("\nSTREAMS AT ONCE    ITL, ms  TOKENS/S");
	for (uint32_t i = 0; i < c->fit.batch_count; i++)
		printf("%15.0f  %9.2f  %8.1f\n", c->fit.batches[i].x, c->fit.batches[i].ms,
		       1000 * c->fit.batches[i].x / c->fit.batches[i].ms);
	if (c->slots_at_least)
		printf("\nslots     %u at least\n", c->shape.slots);
	else
		printf("\nslots     %u: of %u streams at once, the others waited for an end\n",
		       c->shape.slots, c->asked);
	show_prompts(c);
	puts("memory    not measured: --kv-tokens is in the server's log");
	printf("measured  %u requests in %.0f s\n", c->requests, c->seconds);
}

static json_t *points(const struct fit_point *all, uint32_t count, const char *x, const char *y)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < count; i++)
		json_array_append_new(
			list, json_pack("{s:I, s:f}", x, (json_int_t)all[i].x, y, all[i].ms));
	return list;
}

static int show_json(const struct calibration *c)
{
	const struct engine_shape *s = &c->shape;
	const struct fit *f = &c->fit;
	char options[256];
	json_t *whole;

	calibrate_options(s, options, sizeof(options));
	whole = json_pack(
		"{s:s, s:I, s:b, s:f, s:f, s:f, s:I, s:b, s:s, s:f, s:f, s:b, s:f, s:o, s:o, s:I, s:f}",
		"options", options, "slots", (json_int_t)s->slots, "slots_at_least",
		c->slots_at_least, "prefill_tokens_per_s", s->prefill_tokens_per_s, "step_ms",
		s->step_ms, "step_ms_per_seq", s->step_ms_per_seq, "chunk", (json_int_t)s->chunk,
		"prefill_first", s->prefill_first, "prompt_beside_stream",
		beside_names[f->beside.kind], "gap_ms", f->beside.gap_ms, "usual_gap_ms",
		f->beside.usual_ms, "prompt_tokens_stated", c->stated, "ttft_fixed_ms", f->fixed_ms,
		"prompts", points(f->prompts, f->prompt_count, "tokens", "ttft_ms"), "batches",
		points(f->batches, f->batch_count, "streams", "itl_ms"), "requests",
		(json_int_t)c->requests, "seconds", c->seconds);
	if (!whole)
		return -ENOMEM;
	json_dumpf(whole, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
	putchar('\n');
	json_decref(whole);
	return 0;
}

int calibrate_run(const char *server, const char *model, bool json, char *err, size_t len)
{
	struct client c = {.idle_ns = CALIBRATE_IDLE_S * NS_PER_S};
	const struct player player = {client_play, &c};
	struct calibration found;
	struct timespec now;
	int ret;

	if (!parse_is_model_name(model, strlen(model))) {
		parse_say(err, len, "--model: \"" PARSE_QUOTE "\" is no model's name",
			  PARSE_QUOTED(model));
		return -EINVAL;
	}
	ret = client_open(&c, server, model);
	if (ret) {
		parse_say(err, len, "--calibrate: \"" PARSE_QUOTE "\": %s", PARSE_QUOTED(server),
			  c.error);
		return ret;
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	c.until_ns = ((uint64_t)now.tv_sec + CALIBRATE_MAX_S) * NS_PER_S + (uint64_t)now.tv_nsec;
	clock_gettime(CLOCK_REALTIME, &now); /* no prompt is that of an earlier calibration */
	c.words.state = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
	ret = calibrate(&player, &found);
	if (!ret)
		ret = json ? show_json(&found) : (show(&found), 0);
	else if (ret == -EPROTO && !c.error[0])
		snprintf(c.error, sizeof(c.error), "sends its responses in one piece each");
	if (ret == -ENOMEM)
		parse_say(err, len, "out of memory");
	else if (ret)
		parse_say(err, len, "--calibrate: " PARSE_QUOTE " %s", PARSE_QUOTED(server),
			  c.error);
	return ret;
}
