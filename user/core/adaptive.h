/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Adaptive admission, the daemon's half: moves the numbers of struct sluice_admission by what the
 * wire shows. There is one struct adaptive for each entry that carries a pool. Pure: time is a
 * parameter, and the same input gives the same output. user/docs/simulation.md says which choices
 * were made, and why.
 */
#ifndef SLUICE_ADAPTIVE_H
#define SLUICE_ADAPTIVE_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/admission.h>

#include "core/recent_load.h"
#include "core/server_slots.h"

#define ADAPTIVE_LOOK_MS     500 /* the ceiling moves once in so long */
#define ADAPTIVE_CEILING_MAX 4096

struct adaptive_targets {
	double ttft_ms;         /* 0: none; nothing is predicted, and age stops nothing */
	double ttft_ms_per_kib; /* of the request, on top */
	double itl_ms;          /* 0: none */
	double duration_ms;     /* of a reply that is not streamed; 0: none */
	double normalized_ms;   /* … for each of its output tokens; 0: none */
	uint32_t floor;         /* at least 1 */
};

/* A sum in which old parts decay. */
struct fading {
	double sum, weight;
	uint64_t last_ns;
};

/* What the kernel holds now, and its totals. */
struct adaptive_view {
	int64_t in_flight, waiting, waiting_bytes;
	int64_t shadow_in_flight;       /* refused, but in flight: shadow mode */
	uint64_t oldest_ns;             /* the longest wait for a first token now; 0: none */
	double active_weight;           /* sum over the active clients; 0: not known */
	uint64_t admitted;              /* total of requests */
	uint64_t refused[SLUICE_RANKS]; /* totals of requests, by this pool */
	uint64_t ended;                 /* total of responses */
};

struct adaptive {
	double ceiling;
	double rate;                /* bytes that the server takes up per ms; 0: not known */
	struct fading queued_bytes; /* of TTFT samples: bytes over ms is the rate */
	unsigned rate_samples;
	struct server_slots server;
	struct recent_load load;
	double failed_at;    /* in flight at the last cut */
	double failed_level; /* the level that commonly fails; 0: none has */
	unsigned on_time;    /* first tokens on time since the last late one */
	uint64_t failed_ns;
	uint64_t look_ns;     /* the last move of the ceiling */
	struct fading ttft;   /* wait over target, in this look */
	struct fading whole;  /* of a reply that is not streamed: time over target, in this look */
	struct fading gap;    /* ms, token by token */
	struct fading missed; /* share of responses over the ITL target */
	double missed_whole;  /* share of such replies over their target */
	double aim; /* the wait for a slot that a request may be expected to have, of the target */
	double reply_ms; /* mean time of such replies; 0: none has ended */
	double refused_share;
	double arrivals, arrivals_refused, ended; /* decaying counts of the last seconds */
	double active_weight;
	struct fading above;                /* share of the refused that were above their share */
	double class_level[SLUICE_CLASSES]; /* how much a class may use of everything */
	struct adaptive_view seen;          /* at the last call of adaptive_look() */
	uint64_t seen_ns;
	bool looked;
	struct adaptive_view moved; /* when the ceiling last could move */
	unsigned fresh;             /* samples since then; without one the ceiling stays */
	bool bound;                 /* since then the ceiling was reached, or a request refused */
	uint64_t last_token_ns;     /* the last sample of TTFT or of a duration; 0: never */
	uint64_t cold_until_ns;     /* a request admitted before waited for the model to load */
	int64_t due_bytes;          /* those that the server takes up before it shows progress */
	bool stopped;
	uint32_t floor;          /* now, with the probe of a stopped pool */
	bool probing;            /* a probe is allowed */
	uint64_t probe_ns;       /* when the last one was allowed; 0: none since the stop */
	uint64_t probe_admitted; /* view.admitted then */
	uint64_t probe_ended;    /* view.ended then */
	uint64_t opened_ns;      /* when the pool last left the stopped state; 0: never */
};

void adaptive_init(struct adaptive *a, uint64_t now_ns);
/* Continues from the admission that an earlier daemon wrote. */
void adaptive_adopt(struct adaptive *a, const struct sluice_admission *was,
		    const struct adaptive_targets *t);

/*
 * A first token after `ms`, for a request of `bytes`. At its admission queued_bytes
 * (admission_queued_bytes()) waited and in_flight_at_admission requests were in flight; both
 * include the request itself. `served` of those in flight now were admitted no later than it.
 */
void adaptive_ttft(struct adaptive *a, const struct adaptive_targets *t, double ms, uint32_t bytes,
		   uint32_t queued_bytes, uint32_t in_flight_at_admission, uint32_t served,
		   uint64_t now_ns);
/* n gaps between tokens, sum_ms in total. */
void adaptive_gaps(struct adaptive *a, double sum_ms, uint32_t n, uint64_t now_ns);
/* The end of a streamed response; mean_ms is the mean of its gaps. */
void adaptive_ended(struct adaptive *a, const struct adaptive_targets *t, double mean_ms,
		    uint64_t now_ns);

/* The end of a reply that is not streamed, `ms` after its request's last byte. It stated so many
 * output tokens; 0: none. */
void adaptive_duration(struct adaptive *a, const struct adaptive_targets *t, double ms,
		       uint32_t bytes, uint32_t tokens, uint32_t in_flight_at_admission,
		       uint64_t now_ns);

/* Call it about every 100 ms. */
void adaptive_look(struct adaptive *a, const struct adaptive_targets *t,
		   const struct adaptive_view *view, uint64_t now_ns);

void adaptive_write(const struct adaptive *a, const struct adaptive_targets *t,
		    struct sluice_admission *out);
/* Estimated wait in ms until a refused client may find a slot: 1000 … 60000. */
uint32_t adaptive_retry_ms(const struct adaptive *a);

#endif
