/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A trace gives the sizes. Unless the load is synthetic it also gives the rhythm: a window of it is
 * stretched to the requested rate, bursts included. The seed chooses what a trace does not have:
 * the client, and the bytes of a prompt on the wire, about four a token. A record has both.
 */
#include "workload.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/admission.h>

#include "core/parse.h"
#include "core/record.h"
#include "random.h"
#include "sim/fields.h"
#include "sim/record.h"

#define LINE_MAX_LEN 256
#define TRACE_MAX    10000000
#define BYTES_SPREAD 0.15 /* of their logarithm */
#define MIX_SEED     0x736c75696365
#define MODEL_SEED   0x6d6f64656c
#define IMAGE_SEED   0x696d616765
#define UNARY_SEED   0x756e617279
#define VECTOR_SEED  0x766563746f72
#define IMAGE_TOKENS 1500 /* of the prompt */
#define IMAGE_BYTES  4096 /* as the kernel counts an image, whatever its size */

/* Parses one line's three fields. Returns what is wrong with it, or NULL. */
static const char *read_row(char *line, struct sim_request *r, int64_t *ns)
{
	char *context = strchr(line, ','), *generated = context ? strchr(context + 1, ',') : NULL;

	if (!generated || strchr(generated + 1, ','))
		return "is not TIMESTAMP,ContextTokens,GeneratedTokens";
	*context++ = 0;
	*generated++ = 0;
	if (!trace_time(line, ns))
		return "has no time like 2023-11-16 18:15:46.6805900";
	if (!trace_tokens(context, &r->prompt) || !trace_tokens(generated, &r->generate))
		return "has a number of tokens that is none from 0 to 1000000";
	return NULL;
}

static int grow(struct trace *t, uint32_t *capacity)
{
	struct sim_request *more;

	if (t->count < *capacity)
		return 0;
	*capacity = *capacity ? 2 * *capacity : 4096;
	more = realloc(t->requests, *capacity * sizeof(*more));
	if (!more)
		return -ENOMEM;
	t->requests = more;
	return 0;
}

static int read_lines(FILE *in, const char *path, const char *model, struct trace *t, char *err,
		      size_t len)
{
	unsigned long number = 0;
	char line[LINE_MAX_LEN];
	int64_t first = 0, last = 0, ns;
	uint32_t capacity = 0;

	while (fgets(line, sizeof(line), in)) {
		size_t end = strlen(line);
		const char *wrong = NULL;

		number++;
		if (!end || (line[end - 1] != '\n' && !feof(in))) {
			wrong = "is too long, or no text";
		} else {
			line[strcspn(line, "\r\n")] = 0;
			if (number == 1 && !strcmp(line, RECORD_HEADER))
				return record_read(in, path, model, t, err, len);
			if (number == 1 && model) {
				parse_say(err, len, PARSE_QUOTE ": line 1: it names no models",
					  PARSE_QUOTED(path));
				return -EINVAL;
			}
			if (number == 1 && !strcmp(line, RECORD_TRACE_HEADER))
				continue;
			if (!*line)
				continue;
			if (t->count == TRACE_MAX || grow(t, &capacity)) {
				parse_say(err, len, PARSE_QUOTE ": line %lu: too many requests",
					  PARSE_QUOTED(path), number);
				return -ENOMEM;
			}
			memset(&t->requests[t->count], 0, sizeof(*t->requests));
			wrong = read_row(line, &t->requests[t->count], &ns);
			if (!wrong && t->count && ns < last)
				wrong = "is earlier than the line before it";
		}
		if (wrong) {
			parse_say(err, len, PARSE_QUOTE ": line %lu %s", PARSE_QUOTED(path), number,
				  wrong);
			return -EINVAL;
		}
		if (!t->count)
			first = ns;
		last = ns;
		t->requests[t->count++].at_ns = (uint64_t)(ns - first);
	}
	if (ferror(in)) {
		parse_say(err, len, PARSE_QUOTE ": line %lu: %s", PARSE_QUOTED(path), number + 1,
			  strerror(errno));
		return -EIO;
	}
	if (t->count < 2) {
		parse_say(err, len,
			  PARSE_QUOTE ": line %lu: the file ends, and has not two requests",
			  PARSE_QUOTED(path), number + 1);
		return -EINVAL;
	}
	return 0;
}

int trace_read(const char *path, const char *model, struct trace *out, char *err, size_t len)
{
	struct trace t = {0};
	FILE *in = fopen(path, "re");
	int ret;

	if (!in) {
		ret = -errno;
		parse_say(err, len, PARSE_QUOTE ": %s", PARSE_QUOTED(path), strerror(-ret));
		return ret;
	}
	ret = read_lines(in, path, model, &t, err, len);
	fclose(in);
	if (ret) {
		trace_free(&t);
		return ret;
	}
	*out = t;
	return 0;
}

static uint32_t lognormal(struct chance *c, double median, double spread, uint32_t most)
{
	double value = median * exp(spread * chance_normal(c));

	return value < 1 ? 1 : value > most ? most : (uint32_t)value;
}

int trace_make(uint32_t count, struct trace *out)
{
	struct chance c = {MIX_SEED};
	struct trace t = {.requests = calloc(count, sizeof(*t.requests)), .count = count};

	if (!t.requests)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		t.requests[i].at_ns = i * 1000000000ULL;
		t.requests[i].prompt = lognormal(&c, 600, 1, 8000);
		t.requests[i].generate = lognormal(&c, 120, 0.8, 1000);
	}
	*out = t;
	return 0;
}

void trace_cache(struct trace *t, double share)
{
	struct chance c = {MIX_SEED};

	for (uint32_t i = 0; i < t->count; i++)
		t->requests[i].cached = chance_real(&c) < share ? t->requests[i].prompt / 5 * 4 : 0;
}

void trace_images(struct trace *t, double share)
{
	struct chance c = {IMAGE_SEED};

	for (uint32_t i = 0; i < t->count; i++) {
		t->requests[i].image = chance_real(&c) < share ? IMAGE_TOKENS : 0;
		t->requests[i].prompt += t->requests[i].image;
	}
}

void trace_unary(struct trace *t, double share)
{
	struct chance c = {UNARY_SEED};

	for (uint32_t i = 0; i < t->count; i++)
		t->requests[i].unary |= chance_real(&c) < share;
}

void trace_embeddings(struct trace *t, double share)
{
	struct chance c = {VECTOR_SEED};

	for (uint32_t i = 0; i < t->count; i++) {
		struct sim_request *r = &t->requests[i];

		if (chance_real(&c) >= share)
			continue;
		r->embedding = r->unary = true;
		r->generate = 1;
	}
}

void trace_free(struct trace *t)
{
	free(t->requests);
	*t = (struct trace){0};
}

static uint32_t bytes_of(struct chance *c, uint32_t prompt)
{
	return (uint32_t)(prompt * RECORD_BYTES_A_TOKEN * exp(BYTES_SPREAD * chance_normal(c))) +
	       RECORD_BYTES_HEAD;
}

static void dress(struct chance *c, const struct trace *t, struct sim_request *r,
		  const struct arrivals *how)
{
	r->class = SLUICE_CLASS_NORMAL;
	if (t->clients) {
		r->bytes += r->image ? IMAGE_BYTES : 0;
		return;
	}
	r->bytes = bytes_of(c, r->prompt - r->image) + (r->image ? IMAGE_BYTES : 0);
	if (how->synthetic == SYNTHETIC_ABUSER && how->clients > 1) {
		uint32_t light = how->clients - 1, of = chance_below(c, light + SYNTHETIC_ABUSE);

		r->client = of < light ? of : light;
	} else {
		r->client = chance_below(c, how->clients);
	}
}

/* A window of the trace, with its own rhythm. */
static void follow(const struct trace *t, const struct arrivals *how, struct chance *c,
		   struct workload *w)
{
	uint32_t start = how->count < t->count ? chance_below(c, t->count - how->count + 1) : 0;
	uint64_t first = t->requests[start].at_ns, last;
	double scale, span;

	w->first = start;
	w->count = how->count < t->count ? how->count : t->count;
	last = t->requests[start + w->count - 1].at_ns;
	span = last > first ? (double)(last - first) : 1;
	scale = how->rate > 0 ? w->count * 1e9 / how->rate / span : 1 / how->speed;
	for (uint32_t i = 0; i < w->count; i++) {
		w->requests[i] = t->requests[start + i];
		w->requests[i].at_ns = (uint64_t)((double)(w->requests[i].at_ns - first) * scale);
		dress(c, t, &w->requests[i], how);
	}
	w->span_s = span * scale / 1e9;
}

/* The rate at a time, as a share of the mean rate. */
static double part_at(const struct arrivals *how, double at_s)
{
	if (how->synthetic == SYNTHETIC_STEP &&
	    (at_s < SYNTHETIC_PHASE_S || at_s >= 2 * SYNTHETIC_PHASE_S))
		return 1.0 / 6;
	return 1;
}

/* Sizes of the trace in random order; random times. */
static void make_up(const struct trace *t, const struct arrivals *how, struct chance *c,
		    struct workload *w)
{
	double at_s = 0, end_s = how->count / how->rate;

	if (how->seconds > 0)
		end_s = how->seconds;
	if (how->synthetic == SYNTHETIC_STEP)
		end_s = 3 * SYNTHETIC_PHASE_S;
	while (w->count < how->count) {
		struct sim_request *r = &w->requests[w->count];

		at_s += chance_exponential(c, 1 / how->rate);
		if (at_s >= end_s)
			break;
		if (chance_real(c) >= part_at(how, at_s))
			continue;
		*r = t->requests[chance_below(c, t->count)];
		if (how->synthetic == SYNTHETIC_FLOOD && at_s >= end_s / 3 &&
		    at_s < 2 * end_s / 3 && chance_real(c) < 0.3)
			*r = (struct sim_request){.prompt = SYNTHETIC_FLOOD_TOKENS,
						  .generate = r->generate,
						  .unary = r->unary};
		r->at_ns = (uint64_t)(at_s * 1e9);
		dress(c, t, r, how);
		w->count++;
	}
	w->span_s = w->count < how->count ? end_s : at_s;
}

/* A random stream of its own, so that the load does not depend on the number of models. */
static void spread_over_models(struct workload *w, uint64_t seed)
{
	struct chance c = {seed ^ MODEL_SEED};

	for (uint32_t i = 0; i < w->count; i++) {
		uint32_t at = chance_below(&c, w->models * (w->models + 1) / 2), model = 0;

		for (; at >= w->models - model; model++)
			at -= w->models - model;
		w->requests[i].model = model;
	}
}

int workload_make(const struct trace *t, const struct arrivals *how, struct workload *out)
{
	struct chance c = {how->seed * 0x2545f4914f6cdd1dULL + 1};
	struct workload w = {.clients = t->clients ? t->clients : how->clients,
			     .models = how->models ? how->models : 1};

	w.requests = calloc(how->count, sizeof(*w.requests));
	if (!w.requests)
		return -ENOMEM;
	if (how->synthetic == SYNTHETIC_NONE)
		follow(t, how, &c, &w);
	else
		make_up(t, how, &c, &w);
	spread_over_models(&w, how->seed);
	*out = w;
	return 0;
}

void workload_free(struct workload *w)
{
	free(w->requests);
	*w = (struct workload){0};
}
