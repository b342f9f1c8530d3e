/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Adaptive admission, the daemon's half: moves the numbers of struct sluice_admission by what the
 * wire shows. One struct for each model, group or whole that carries the law. Pure: time is a
 * parameter, the same input gives the same output. user/docs/simulation.md says what was
 * chosen and why.
 */
#ifndef SLUICE_ADAPTIVE_H
#define SLUICE_ADAPTIVE_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/admission.h>

#define ADAPTIVE_LOOK_MS     500 /* the ceiling moves once in so long */
#define ADAPTIVE_CEILING_MAX 4096

struct adaptive_targets {
	double ttft_ms;         /* 0: none; nothing is predicted, and age stops nothing */
	double ttft_ms_per_kib; /* of the request, on top */
	double itl_ms;          /* 0: none */
	uint32_t floor;         /* at least 1 */
};

/* A sum whose old part fades. */
struct fading {
	double sum, weight;
	uint64_t last_ns;
};

/* What the kernel holds and has counted: totals only grow. */
struct adaptive_view {
	int64_t in_flight, waiting, waiting_bytes;
	int64_t shadow_in_flight; /* in flight although refused: shadow mode */
	uint64_t oldest_ns;       /* how long the oldest that waits has waited; 0: none does */
	double active_weight;     /* of the clients of the last minutes together; 0: not known */
	uint64_t admitted;        /* requests, in total */
	uint64_t refused[SLUICE_RANKS]; /* by this law, in total */
	uint64_t ended;                 /* responses, in total */
};

struct adaptive {
	double ceiling;
	double rate;                /* bytes a ms that the server takes up; 0: not known */
	struct fading queued_bytes; /* of TTFT samples: bytes over ms is the rate */
	unsigned rate_samples;
	double failed_at;    /* in flight at which a cut was last needed … */
	double failed_level; /* … and commonly is; 0: never was */
	unsigned on_time;    /* first tokens since one failed */
	uint64_t failed_ns;
	uint64_t look_ns;     /* the last move of the ceiling */
	struct fading ttft;   /* wait/target of this window */
	struct fading gap;    /* ms, token by token */
	struct fading missed; /* share of responses over the ITL target */
	double refused_share;
	double arrivals, arrivals_refused, ended; /* fading, of the last seconds */
	double active_weight;
	struct fading above;                /* share of the refused who were above theirs */
	double class_level[SLUICE_CLASSES]; /* how much of all a class may use */
	struct adaptive_view seen;          /* at the last call of adaptive_look() … */
	uint64_t seen_ns;
	bool looked;
	struct adaptive_view moved; /* … and when the ceiling was last asked to move: */
	unsigned fresh;             /* samples since, without which it does not */
	bool bound;                 /* it was reached since, or somebody was refused */
	uint64_t last_token_ns;     /* the last TTFT sample; 0: never */
	uint64_t cold_until_ns;     /* requests that came before it waited for the model to load */
	bool stopped;
	uint32_t floor;     /* now */
	uint64_t probe_ns;  /* the last probe */
	uint64_t opened_ns; /* when it was last stopped no more; 0: never */
};

void adaptive_init(struct adaptive *a, uint64_t now_ns);
/* Goes on from what an earlier daemon had written. */
void adaptive_adopt(struct adaptive *a, const struct sluice_admission *was,
		    const struct adaptive_targets *t);

/*
 * A first token: waited `ms`, of a request of `bytes` that had `ahead` bytes before it
 * (admission_queued_bytes()) and `beside` requests in flight, itself included, when it was
 * admitted.
 */
void adaptive_ttft(struct adaptive *a, const struct adaptive_targets *t, double ms, uint32_t bytes,
		   uint32_t queued_bytes, uint32_t in_flight_at_admission, uint64_t now_ns);
/* n gaps between tokens that add up to sum_ms. */
void adaptive_gaps(struct adaptive *a, double sum_ms, uint32_t n, uint64_t now_ns);
/* The end of a streamed response whose gaps were mean_ms long. */
void adaptive_ended(struct adaptive *a, const struct adaptive_targets *t, double mean_ms,
		    uint64_t now_ns);

/* To be called about every 100 ms. */
void adaptive_look(struct adaptive *a, const struct adaptive_targets *t,
		   const struct adaptive_view *view, uint64_t now_ns);

void adaptive_write(const struct adaptive *a, const struct adaptive_targets *t,
		    struct sluice_admission *out);
/* Milliseconds after which a refused client may find a place: an estimate, 1000 … 60000. */
uint32_t adaptive_retry_ms(const struct adaptive *a);

#endif
