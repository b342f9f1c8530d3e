/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Finds the simulator's engine (sim/engine.h) in the times of probes. Pure arithmetic: what that
 * engine does is found exactly; noise is left to means, medians and a line through several points.
 */
#ifndef SLUICE_CALIBRATE_FIT_H
#define SLUICE_CALIBRATE_FIT_H

#include "calibrate/probe.h"
#include "sim/engine.h"

#define FIT_PROMPTS 6  /* most lengths of prompts */
#define FIT_BATCHES 10 /* most numbers of streams */

struct fit_point {
	double x;  /* tokens of a prompt, or streams at once */
	double ms; /* TTFT, or ITL */
};

enum fit_beside_kind {
	FIT_UNSEEN, /* the prompt waited for the stream's end, or was too short to show */
	FIT_CHUNKS, /* it came in several steps, each with a token of the stream */
	FIT_STEP,   /* in one step with a token of the stream: a chunk is as long, or longer */
	FIT_FIRST,  /* in one step of its own */
};

/* What a long prompt does to a stream that runs. */
struct fit_beside {
	enum fit_beside_kind kind;
	double usual_ms; /* the stream's gap before the prompt came */
	double gap_ms;   /* … in a step with a full chunk of it */
};

/* What was measured. */
struct fit {
	struct fit_point prompts[FIT_PROMPTS]; /* TTFT on an idle server, the shortest first */
	uint32_t prompt_count;
	struct fit_point batches[FIT_BATCHES]; /* ITL, the fewest streams first */
	uint32_t batch_count;
	uint32_t slots;
	struct fit_beside beside; /* of the longest prompt */
	double fixed_ms;          /* the part of TTFT that no prompt changes */
};

/* Sorts, the least first. */
void fit_sort(double *values, uint32_t count);
/*
 * How many of the probes ran at once: those that had a first token before any had its last one.
 * All were sent at once, and all have events. *settled is false if the next first token might still
 * have come: none did for less than twice the longest of the times between them, and ttft_ms.
 */
uint32_t fit_running(const struct probe *probes, uint32_t count, double ttft_ms, bool *settled);
/* The mean time of a token, ms, while all of them ran; 0: there was no such time. */
double fit_itl(const struct probe *probes, uint32_t count);
/* The effect of a probe with a long prompt on another one, which streams. */
struct fit_beside fit_beside(const struct probe *stream, const struct probe *prompt);
/* The one with the median gap of `count` measurements, at least 1; of the kind that most have. */
struct fit_beside fit_median_beside(struct fit_beside *all, uint32_t count);
/*
 * The engine. There is a prompt and a batch. Sets fit->fixed_ms. kv_tokens stays 0: no probe shows
 * it. Every number is one that sluice-sim takes.
 */
struct engine_shape fit_engine(struct fit *fit);

#endif
