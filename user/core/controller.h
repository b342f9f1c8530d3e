/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The controller takes samples and keeps the averages of each model and of all models together. It
 * decides which models are open and, under policy adaptive, how many requests each may have in
 * flight. Pure: no clock, no syscalls, no libbpf, no JSON. Time is a parameter. The output is a
 * flag, which the caller writes into the map. One struct holds everything that `sluicectl set` can
 * change.
 */
#ifndef SLUICE_CONTROLLER_H
#define SLUICE_CONTROLLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>
#include "adaptive.h"
#include "ema.h"

/* Thresholds and time constant of a policy that is chosen without numbers. */
#define CONTROLLER_TTFT_MS 1000
#define CONTROLLER_ITL_MS  30
#define CONTROLLER_TAU_S   15
#define CONTROLLER_FLOOR   2
#define CONTROLLER_POOL    "pool:" /* prefix of pools' names; no model's name begins with it */

#define CONTROLLER_ADOPT_MS 10000

enum controller_policy {
	CONTROLLER_EMA_FLAG =
		0, /* the reference: a model is shut while an average is over its threshold */
	CONTROLLER_ADAPTIVE = 1, /* thresholds are targets; the kernel admits what will meet them */
};

/* Values that a model takes from the global ones if it has none of its own. Negative: not set
 * here. */
struct controller_targets {
	double ttft_ms; /* threshold; 0 or less after resolution: none */
	double itl_ms;
	double duration_ms;
	double normalized_ms; /* for each output token */
	double tau_s;
	int64_t max_in_flight;
	uint8_t action;         /* enum sluice_action, DEFAULT: the service's */
	uint8_t mode;           /* enum sluice_mode, DEFAULT: the service's */
	uint8_t policy;         /* enum controller_policy; global only */
	double ttft_ms_per_kib; /* ms added to ttft_ms for each KiB of the request */
	int64_t floor; /* requests in flight that are always admitted; 0 or less: not set */
};

/* An entry of the table: a model, a pool, ALL (all models together) or OTHER. */
struct controller_model {
	char name[SLUICE_NAME_MAX]; /* "" : the slot is free */
	struct ema ttft, itl;       /* ms */
	struct ema duration;        /* ms, of replies that are not streamed */
	struct ema normalized;      /* … ms for each of their output tokens */
	uint64_t ttft_samples, itl_samples, duration_samples, normalized_samples;
	uint64_t last_seen_ns;
	struct controller_targets own; /* negative / DEFAULT fields fall back to controller.all */
	bool unary;
	uint16_t quota;   /* id, of clients without one of their own; 0: none */
	bool pinned;      /* named in the configuration or a default model: never forgotten */
	bool early;       /* one of the first names that were learned */
	bool is_pool;     /* a pool: the models that share a server */
	uint16_t in_pool; /* id of the pool that holds this model; 0: none */
	uint16_t members; /* models in this pool */
	struct adaptive adaptive;         /* its admission state under policy adaptive */
	bool adapting;                    /* the admission state is in use */
	struct sluice_model_flag written; /* as last handed out by controller_flag() */
	bool ever_written;
};

/* The operator takes the server out of service: what is new is refused. */
struct controller_drain {
	bool on;
	bool unavailable;  /* by a 503, else a 429 */
	uint64_t until_ns; /* 0: without end */
};

struct controller {
	struct controller_targets all;
	bool per_model;
	struct controller_drain drain;
	uint64_t names_refused; /* names that were too long or found the table full */
	bool names_wanted;      /* a name found the table full; the caller clears it */
	bool names_forgotten;
	unsigned model_count; /* slots in use, ALL and OTHER included */
	uint32_t ids_max;     /* names of models have lower ids; those of pools may have any */
	struct controller_model
		model[SLUICE_MODELS_MAX]; /* by id; ALL is named "global", OTHER "other" */
};

void controller_init(struct controller *c, const struct controller_targets *all, bool per_model);

/* How many more names have room. */
unsigned controller_room(const struct controller *c);
/* Whether a model may have this name: it is valid and not reserved for pools. */
bool controller_is_name(const char *name);
/*
 * Returns the id of a name and learns the name if the table has a free slot: ≥ SLUICE_MODEL_FIRST.
 * Returns SLUICE_MODEL_OTHER if the name is empty or too long, or the table is full.
 */
uint32_t controller_learn(struct controller *c, const char *name, uint64_t now_ns);
/*
 * Gives a name the id that it had under an earlier daemon (the pinned model_ids). 0; -EINVAL: no
 * such id or no valid name; -EEXIST: the id is taken, or the name has another id. Ids may then have
 * gaps: a free slot's name is "".
 */
int controller_adopt(struct controller *c, const char *name, uint32_t id, uint64_t now_ns);
/*
 * Adopts a shut flag of an earlier daemon. Its averages ended with it. The model gets an average
 * that falls to the threshold when the flag's retry-after is over, within CONTROLLER_ADOPT_MS at
 * most: the threshold may have changed, and by then samples of earlier admissions arrive. Does
 * nothing for an open flag, or if no threshold is in force. Under policy adaptive the flag's
 * admission state, if there is one, continues too.
 */
void controller_adopt_flag(struct controller *c, uint32_t id, const struct sluice_model_flag *flag,
			   uint64_t now_ns);
/* Adopts the drain of an earlier daemon from the flag of SLUICE_MODEL_ALL, if one is in force. */
void controller_adopt_drain(struct controller *c, const struct sluice_model_flag *all,
			    uint64_t now_ns);
/* Whether a drain is in force. */
bool controller_drains(const struct controller *c, uint64_t now_ns);
/* Whether the model has a target, limit, action or mode of its own; only `sluicectl set` gives one
 * to a model that is not in the configuration. */
bool controller_has_targets(const struct controller_model *m);
/*
 * Whether the name may be forgotten: a model that nobody has configured, or a pool without members.
 * The caller knows if rules and quotas name it, and if requests hold it.
 */
bool controller_may_forget(const struct controller *c, uint32_t id);
/* Whether a model without an entry may have answered requests: the table was or is full. */
bool controller_may_miss(const struct controller *c);
/* Frees the slot of a name, with all that it held. */
void controller_forget(struct controller *c, uint32_t id);
/*
 * Restores all targets, the pools' members and which names are configured from an earlier copy. It
 * keeps samples and names that have come since. No name may have been forgotten in between.
 */
void controller_restore(struct controller *c, const struct controller *before);
/* The id of a known name, or -ENOENT. "global" is SLUICE_MODEL_ALL, "other" SLUICE_MODEL_OTHER. */
int controller_find(const struct controller *c, const char *name);

/*
 * Returns the id of the pool with that name (without CONTROLLER_POOL) and makes the pool if there
 * is none. Its id is from the end of the table and in no map of names, so no request can name it.
 * -EINVAL: no valid name; -ENOSPC.
 */
int controller_declare_pool(struct controller *c, const char *name);
/* Moves a model from its pool, if it has one, into another; 0: into none. */
void controller_join(struct controller *c, uint32_t id, uint32_t pool);
/* Whether the entry is shown: a pool without members is not. */
bool controller_in_use(const struct controller *c, uint32_t id);

/* Names that nobody configured share OTHER's averages and admission state, but for so many: else
 * each invented name would be a model of its own. */
#define CONTROLLER_EARLY 4
bool controller_is_stranger(const struct controller *c, uint32_t id);
/*
 * The entry that decides for a model and counts its requests: the model, its pool, OTHER for a
 * stranger, or SLUICE_MODEL_ALL. Under policy ema-flag it is the model. A service may have one pool
 * for all its models (struct sluice_service); that is not known here.
 */
uint32_t controller_pool(const struct controller *c, uint32_t id);
/* The pool of a sample or refusal of model `id`: the one that the kernel counted it in, if that has
 * an admission state. */
uint32_t controller_admitted_to(const struct controller *c, uint32_t pool, uint32_t id);
/* Whether entry `id` has an admission state of policy adaptive, with a target in force. */
bool controller_adapts(const struct controller *c, uint32_t id);
/*
 * Reports the load that the kernel holds of entry `id`. Call it about every 100 ms for every entry:
 * an entry that carries no admission state any more then drops its old one.
 */
void controller_look(struct controller *c, uint32_t id, const struct adaptive_view *view,
		     uint64_t now_ns);
/* The admission state of entry `id` now; false: it has none. */
bool controller_admission(const struct controller *c, uint32_t id, struct sluice_admission *out);
/* Requests that may be in flight at once now: the smaller of max-in-flight and the ceiling in
 * force; 0: no limit. */
uint32_t controller_limit(const struct controller *c, uint32_t id);

/*
 * Takes one record. Its model is sample->name, which it learns, unless that is empty. Returns the
 * id that it counted the sample for.
 */
uint32_t controller_sample(struct controller *c, const struct sluice_sample *sample);

/*
 * A model's own targets, completed from the global ones. If per_model is false, a model has no
 * thresholds and only its own limit. OTHER never has thresholds. For ALL: the global targets, in
 * force or not. For a pool: the smallest of its members' targets.
 */
struct controller_targets controller_targets(const struct controller *c, uint32_t id);
/* Whether any latency has a target among these, after resolution. */
bool controller_any_threshold(const struct controller_targets *t);

struct controller_reading {
	bool open;
	enum sluice_reason reason; /* NONE while open */
	/* Decayed; negative: no sample yet. */
	double ttft_ms, itl_ms, duration_ms, normalized_ms;
	double retry_after_s; /* until it reopens without new samples; 0 while open */
};
struct controller_reading controller_read(const struct controller *c, uint32_t id, uint64_t now_ns);

/*
 * The flag that model `id` should have now. True if it differs from the last one handed out; this
 * one then counts as handed out.
 */
bool controller_flag(struct controller *c, uint32_t id, uint64_t now_ns,
		     struct sluice_model_flag *out);

#define CONTROLLER_VALUE_MAX 64 /* bytes of a value of `set` as text, with its zero */
/* What entry `id` has of its own for a key of `sluicectl set`, as that takes it: "250ms", "none",
 * "default". -ENOENT: there is no such key. */
int controller_value(const struct controller *c, uint32_t id, const char *key,
		     char out[CONTROLLER_VALUE_MAX]);

/* A key of `sluicectl set`, for its help. */
struct controller_key {
	const char *name, *argument, *help;
};
/* The i-th of them; NULL after the last. */
const struct controller_key *controller_key(size_t i);

/*
 * Changes one target of a model (NULL or "global": the global one), in the syntax of `sluicectl
 * set`. `none` or `off` removes a threshold or a limit; `default` makes a model use the global
 * value again. 0; -ENOENT: no such model; -EINVAL. On an error nothing changes and err holds one
 * line without a line end.
 */
int controller_set(struct controller *c, const char *model, const char *key, const char *value,
		   char *err, size_t err_len);
/* Does the same for n texts KEY=VALUE, in order: all of them or none. */
int controller_set_all(struct controller *c, const char *model, const char *const *pairs, size_t n,
		       char *err, size_t err_len);

#endif
