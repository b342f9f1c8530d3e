/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The controller: takes samples, keeps the averages of every model and of all together, and says
 * which models are open, and under policy adaptive how many requests each may have in flight. Pure:
 * no clock, no syscalls, no libbpf, no JSON; time is a parameter and its output is the flag that
 * somebody else writes into the map. One struct holds everything that `sluicectl set` can change.
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
#define CONTROLLER_POOL    "pool:" /* begins the names of pools, and of no model */

#define CONTROLLER_ADOPT_MS 10000

enum controller_policy {
	CONTROLLER_EMA_FLAG =
		0, /* the reference: a model is shut while an average is over its threshold */
	CONTROLLER_ADAPTIVE = 1, /* thresholds are targets; the kernel admits what will meet them */
};

/* Values that a model takes from the whole where it has none of its own. Negative: not set here. */
struct controller_targets {
	double ttft_ms; /* threshold; 0 or less after resolution: none */
	double itl_ms;
	double tau_s;
	int64_t max_in_flight;
	uint8_t action;         /* enum sluice_action, DEFAULT: as the service says */
	uint8_t mode;           /* enum sluice_mode, DEFAULT: as the service says */
	uint8_t policy;         /* enum controller_policy, of the whole only */
	double ttft_ms_per_kib; /* goes with ttft_ms: the more of it for each KiB of the request */
	int64_t floor; /* requests in flight that are always admitted; 0 or less: not set */
};

/* An entry of the table: a model, a pool, all together or the others. */
struct controller_model {
	char name[SLUICE_NAME_MAX]; /* "" : the slot is free */
	struct ema ttft, itl;       /* ms */
	uint64_t ttft_samples, itl_samples;
	uint64_t last_seen_ns;
	struct controller_targets own; /* negative / DEFAULT fields fall back to controller.all */
	bool unary;
	uint16_t quota;   /* id, of clients that have none of their own; 0: none */
	bool pinned;      /* named in the configuration or a default model: never forgotten */
	bool is_pool;     /* no model: what models that share a server have in common */
	uint16_t in_pool; /* id of the pool that it is in; 0: none */
	uint16_t members; /* of the pool */
	struct adaptive adaptive;         /* its admission state under policy adaptive */
	bool adapting;                    /* … is in use */
	struct sluice_model_flag written; /* as last handed out by controller_flag() */
	bool ever_written;
};

struct controller {
	struct controller_targets all;
	bool per_model;
	uint64_t names_refused; /* names that found the table full, or too long */
	unsigned model_count;   /* slots in use, ALL and OTHER included */
	struct controller_model
		model[SLUICE_MODELS_MAX]; /* by id; ALL is named "global", OTHER "other" */
};

void controller_init(struct controller *c, const struct controller_targets *all, bool per_model);

/*
 * The id of a name, learned where the table has a free slot: ≥ SLUICE_MODEL_FIRST; or
 * SLUICE_MODEL_OTHER (empty, too long, table full).
 */
uint32_t controller_learn(struct controller *c, const char *name, uint64_t now_ns);
/*
 * Puts a name at the id that an earlier daemon gave it (the pinned model_ids). 0; -EINVAL: no such
 * id or no such name; -EEXIST: the id, or the name elsewhere, is taken. Ids may then have gaps: a
 * free slot's name is "".
 */
int controller_adopt(struct controller *c, const char *name, uint32_t id, uint64_t now_ns);
/*
 * Takes over a flag that shuts, written by an earlier daemon whose averages died with it: gives
 * the model an average that falls to the threshold when that flag's retry-after is over, but within
 * CONTROLLER_ADOPT_MS: the threshold may be another now, and by then samples of what was admitted
 * before will tell. Does nothing for an open flag, or where no threshold is in force. Under policy
 * adaptive it goes on from the flag's admission, where that entry had one before, too.
 */
void controller_adopt_flag(struct controller *c, uint32_t id, const struct sluice_model_flag *flag,
			   uint64_t now_ns);
/* The id of a known name, or -ENOENT. "global" is SLUICE_MODEL_ALL, "other" SLUICE_MODEL_OTHER. */
int controller_find(const struct controller *c, const char *name);

/*
 * The id of the pool of that name (without CONTROLLER_POOL), made where there is none. It is from
 * the end of the table and in no map of names, so that no request can name it. -EINVAL: no such
 * name; -ENOSPC.
 */
int controller_declare_pool(struct controller *c, const char *name);
/* Puts a model into a pool, and out of the one that it was in; 0: into none. */
void controller_join(struct controller *c, uint32_t id, uint32_t pool);
/* Whether the entry is shown: a pool without members is not. */
bool controller_in_use(const struct controller *c, uint32_t id);

/*
 * The entry that decides for a model and counts its requests: itself, its pool, or
 * SLUICE_MODEL_ALL. Under policy ema-flag it is itself.
 */
uint32_t controller_pool(const struct controller *c, uint32_t id);
/* Whether entry `id` has an admission state of policy adaptive, with a target in force. */
bool controller_adapts(const struct controller *c, uint32_t id);
/*
 * What the kernel holds of entry `id`. Call it about every 100 ms for every entry: one without an
 * admission state only forgets the one that it had.
 */
void controller_look(struct controller *c, uint32_t id, const struct adaptive_view *view,
		     uint64_t now_ns);
/* The admission state of entry `id` now; false: it has none. */
bool controller_admission(const struct controller *c, uint32_t id, struct sluice_admission *out);
/* Requests that may be in flight at once now: the least of max-in-flight and the ceiling in force;
 * 0: no limit. */
uint32_t controller_limit(const struct controller *c, uint32_t id);

/*
 * Takes one record. Its model is sample->name learned, where that is not empty. Returns the id it
 * was counted for.
 */
uint32_t controller_sample(struct controller *c, const struct sluice_sample *sample);

/*
 * Own targets with the gaps filled from the whole. With per_model false every model but ALL has no
 * thresholds, and only a limit of its own; OTHER never has thresholds. For ALL it is what the whole
 * says, in force or not. For a pool the smallest of its members'.
 */
struct controller_targets controller_targets(const struct controller *c, uint32_t id);

struct controller_reading {
	bool open;
	enum sluice_reason reason; /* NONE while open */
	double ttft_ms, itl_ms;    /* decayed; negative: no sample yet */
	double retry_after_s;      /* until it reopens if nothing more arrives; 0 while open */
};
struct controller_reading controller_read(const struct controller *c, uint32_t id, uint64_t now_ns);

/*
 * The flag that model `id` should have now; true if it differs from what was last handed out (then
 * it counts as handed out).
 */
bool controller_flag(struct controller *c, uint32_t id, uint64_t now_ns,
		     struct sluice_model_flag *out);

/* A key of `sluicectl set`, for its help. */
struct controller_key {
	const char *name, *argument, *help;
};
/* The i-th of them; NULL after the last. */
const struct controller_key *controller_key(size_t i);

/*
 * Changes one target of a model (NULL or "global": of the whole) as `sluicectl set` words it.
 * `none` or `off` removes a threshold or a limit, `default` lets a model take the whole's again. 0;
 * -ENOENT: no such model; -EINVAL; then one line without a line end is in err and nothing changed.
 */
int controller_set(struct controller *c, const char *model, const char *key, const char *value,
		   char *err, size_t err_len);
/* The same for n texts KEY=VALUE, in order: all of them or none. */
int controller_set_all(struct controller *c, const char *model, const char *const *pairs, size_t n,
		       char *err, size_t err_len);

#endif
