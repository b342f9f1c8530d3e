/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The load: requests with times, sizes and clients, from a trace or synthetic.
 */
#ifndef SLUICE_SIM_WORKLOAD_H
#define SLUICE_SIM_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_request {
	uint64_t at_ns;
	uint32_t prompt, generate; /* tokens */
	uint32_t cached;           /* prompt tokens in the engine's prefix cache */
	uint32_t image;            /* prompt tokens of an image */
	bool unary;                /* the response is not streamed */
	bool embedding;            /* … and is a vector, which has no output tokens */
	uint32_t bytes;            /* on the wire */
	uint32_t client;           /* below workload.clients */
	uint32_t class;            /* of priority */
	uint32_t model;            /* below workload.models */
	/* In a record of sluice: */
	bool refused, shadow; /* shadow: enforcing mode would have refused it */
	float ttft_ms;        /* measured; 0: none */
};

struct workload {
	struct sim_request *requests; /* by time */
	uint32_t count;
	uint32_t first; /* index in the trace of the first request */
	uint32_t clients, models;
	uint32_t retries;  /* attempts after a refusal, each at its Retry-After */
	double patience_s; /* a client without a first token hangs up then; 0: never */
	double span_s;     /* the time in which requests arrive */
};

/* A trace as written; times count from its first request. */
struct trace {
	struct sim_request *requests;
	uint32_t count;
	uint32_t clients;  /* of a record of sluice, which has bytes and clients; 0: it is none */
	uint32_t left_out; /* rows of a record (sim/record.h) */
};

enum synthetic {
	SYNTHETIC_NONE,
	SYNTHETIC_POISSON, /* at a constant mean rate */
	SYNTHETIC_STEP,    /* a sixth of the load, the load, a sixth again, 300 s each */
	SYNTHETIC_FLOOD,   /* in the middle third, three prompts in ten have 7,000 tokens */
	SYNTHETIC_ABUSER,  /* the last client sends SYNTHETIC_ABUSE times as much as each other */
};

#define SYNTHETIC_PHASE_S      300
#define SYNTHETIC_ABUSE        50
#define SYNTHETIC_FLOOD_TOKENS 7000

/*
 * Reads TIMESTAMP,ContextTokens,GeneratedTokens, or a record of sluice, and of that one model only
 * (NULL: all). 0; or -errno and one line without a line end in err, which names the file and the
 * line.
 */
int trace_read(const char *path, const char *model, struct trace *out, char *err, size_t len);
/* A synthetic mix of chats: the median prompt has 600 tokens, the median answer 120; both are wide
 * lognormals. */
int trace_make(uint32_t count, struct trace *out);
/* A random share (0 … 1) of the requests has four fifths of its prompt in the prefix cache. */
void trace_cache(struct trace *t, double share);
/* A random share (0 … 1) of the requests carries an image, besides its prompt. */
void trace_images(struct trace *t, double share);
/* A random share (0 … 1) of the responses is not streamed. */
void trace_unary(struct trace *t, double share);
/* A random share (0 … 1) of the requests asks for the embedding of its prompt. */
void trace_embeddings(struct trace *t, double share);
void trace_free(struct trace *t);

/* How requests arrive. rate > 0: mean requests/s; else the trace's own times, `speed` times as
 * fast. */
struct arrivals {
	enum synthetic synthetic;
	uint32_t count; /* at most; of a trace, from an index that the seed chooses */
	uint32_t clients;
	uint32_t models; /* the first of N gets N times as many requests as the last; 0: one */
	double rate, speed;
	double seconds; /* of a synthetic load; 0: as long as `count` requests take */
	uint64_t seed;
};

/* 0 or -ENOMEM. */
int workload_make(const struct trace *t, const struct arrivals *how, struct workload *out);
void workload_free(struct workload *w);

#endif
