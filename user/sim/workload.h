/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What comes in: requests with their times, sizes and clients, from a trace or made up.
 */
#ifndef SLUICE_SIM_WORKLOAD_H
#define SLUICE_SIM_WORKLOAD_H

#include <stddef.h>
#include <stdint.h>

struct sim_request {
	uint64_t at_ns;
	uint32_t prompt, generate; /* tokens */
	uint32_t cached;           /* of the prompt, what the engine has in its prefix cache */
	uint32_t bytes;            /* on the wire */
	uint32_t client;           /* below workload.clients */
	uint32_t class;            /* of priority */
	uint32_t model;            /* below workload.models */
};

struct workload {
	struct sim_request *requests; /* by time */
	uint32_t count;
	uint32_t first; /* of the trace, that it begins with */
	uint32_t clients, models;
	uint32_t retries;  /* who is refused comes again when it was told to, so often at most */
	double patience_s; /* who has no first token by then hangs up; 0: never */
	double span_s;     /* the time in which they come */
};

/* A trace as it is written: times from its first request on. */
struct trace {
	struct sim_request *requests;
	uint32_t count;
};

enum synthetic {
	SYNTHETIC_NONE,
	SYNTHETIC_POISSON, /* at an even rate */
	SYNTHETIC_STEP,    /* a sixth of the load, the load, a sixth again, 300 s each */
	SYNTHETIC_FLOOD, /* in the middle third of the time three in ten are prompts of 7,000 tokens
			  */
	SYNTHETIC_ABUSER, /* the last client sends SYNTHETIC_ABUSE times what each of the others
			     does */
};

#define SYNTHETIC_PHASE_S      300
#define SYNTHETIC_ABUSE        50
#define SYNTHETIC_FLOOD_TOKENS 7000

/*
 * Reads TIMESTAMP,ContextTokens,GeneratedTokens. 0; or -errno and one line without a line end in
 * err, which names the file and the line.
 */
int trace_read(const char *path, struct trace *out, char *err, size_t len);
/* Sizes of a made-up mix of chats: prompts of 600 tokens, answers of 120, both in the middle of a
 * wide lognormal. */
int trace_make(uint32_t count, struct trace *out);
/* Four fifths of the prompt are in the engine's prefix cache, for that share of the requests (0 …
 * 1), by chance. */
void trace_cache(struct trace *t, double share);
void trace_free(struct trace *t);

/* How `count` of them are to come. rate > 0: requests/s, on the mean; else the trace's own times,
 * `speed` times as fast. */
struct arrivals {
	enum synthetic synthetic;
	uint32_t count; /* at most; of a trace: those that follow a place that the seed chooses */
	uint32_t clients;
	uint32_t models; /* on the engine, the first of N with N times the requests of the last; 0:
			    one */
	double rate, speed;
	double seconds; /* of a synthetic load that has no length of its own; 0: as long as count
			   requests take */
	uint64_t seed;
};

/* 0 or -ENOMEM. */
int workload_make(const struct trace *t, const struct arrivals *how, struct workload *out);
void workload_free(struct workload *w);

#endif
