/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The desired state: what the kernel's policy maps should hold. Three parts make it: the file, what
 * an operator set manually, and what was set for the whole fleet. A manual entry overrides the
 * file's; of the fleet's and the host's own, the stricter holds. A command or a reload changes one
 * part and builds the next state. The difference between two states is a list of operations,
 * one map write each, which adds before it removes. So nothing unchanged is written, no entry is
 * missing on the way, and an error is found before the first write or undone. Pure: no libbpf, no
 * JSON, no clock.
 */
#ifndef SLUICE_DESIRED_H
#define SLUICE_DESIRED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>
#include "core/controller.h"
#include "core/quota.h"
#include "core/service.h"
#include "core/state.h"
#include "desired/table.h"

/* ---- parts: the entries of one origin ---- */

/* `own`: which of the fields it sets, the four OWN bits of enum sluice_prefix_own; `fleet`: which
 * of these are the fleet's. */
struct desired_prefix {
	struct sluice_prefix_key key;
	uint8_t own, fleet;
	uint8_t class, action; /* OWN_CLASS, with expires_ns (0: no end) */
	uint8_t priority;      /* OWN_PRIORITY: the class of requests + 1 */
	uint16_t weight;       /* OWN_WEIGHT */
	uint64_t expires_ns;
	struct quota_def quota; /* OWN_QUOTA */
};

struct desired_client_quota {
	struct sluice_client_flag_key key; /* SLUICE_MODEL_ALL: of all models together */
	struct quota_def quota;
	bool fleet; /* of the fleet's part, or stricter because of it */
};

/* The quota of clients without one of their own, for this model. */
struct desired_model_quota {
	uint32_t model;
	struct quota_def quota;
};

/* The class of an API key, or of a header's value (abi.h, `priorities`). */
struct desired_priority {
	struct sluice_client key;
	uint32_t class;
};

struct desired_part {
	struct table rules;         /* struct state_client_rule */
	struct table prefixes;      /* struct desired_prefix */
	struct table client_quotas; /* struct desired_client_quota */
	struct table model_quotas;  /* struct desired_model_quota */
	struct table priorities;    /* struct desired_priority */
	struct service *services;   /* by id; the manual part has none */
	size_t service_count;
	uint8_t action, mode; /* of all services; 0: as configured for each */
};

void desired_part_init(struct desired_part *part);
/* *to, not initialised, becomes a copy. 0 or -ENOMEM; it is to be freed in either case. */
int desired_part_copy(struct desired_part *to, const struct desired_part *from);
void desired_part_free(struct desired_part *part);
/* *out: a copy, NULL for none. 0 or -ENOMEM. */
int desired_copy_services(struct service **out, const struct service *services, size_t count);
/* Call it after table_add() has filled the tables. 0 or -ENOMEM. */
int desired_part_sort(struct desired_part *part);

/*
 * Sets those fields of a prefix that *prefix owns, or clears the fields `own`, in a sorted part. 0
 * or -ENOMEM; clear: -ENOENT if none of them was set.
 */
int desired_set_prefix(struct desired_part *part, const struct desired_prefix *prefix);
int desired_clear_prefix(struct desired_part *part, const struct sluice_prefix_key *key,
			 uint8_t own);
/* The entry of a prefix; NULL: the part has none. */
const struct desired_prefix *desired_find_prefix(const struct desired_part *part,
						 const struct sluice_prefix_key *key);

/* Removes client rules and prefix classes that have expired. True: there were some. */
bool desired_expire(struct desired_part *part, uint64_t now_ns);
/* Removes the rules and quotas of API keys. Returns how many there were. */
size_t desired_drop_keys(struct desired_part *part);
/* When the next one expires; 0: none does. */
uint64_t desired_next_expiry(const struct desired_part *part);

/* ---- the state: its parts as the maps hold them ---- */

struct desired_weighted {
	struct sluice_weighted_key key;
	uint32_t id;
};

struct desired_model_id {
	uint32_t model;
	uint32_t quota;
};

struct desired {
	unsigned holders;
	struct quota_book quotas;        /* unused definitions stay, so that they keep their id */
	bool used[SLUICE_QUOTAS_MAX];    /* something refers to the id */
	bool written[SLUICE_QUOTAS_MAX]; /* this daemon has written its refusal texts */
	bool any_weight;
	struct service *services; /* by id, all that the daemon resolves filled in */
	size_t service_count;
	struct table model_quotas;  /* struct desired_model_id */
	struct table weighted;      /* struct desired_weighted */
	struct table client_quotas; /* struct state_client_quota */
	struct table rules;         /* struct state_client_rule */
	struct table prefixes;      /* struct state_prefix_rule, what is inherited filled in */
	struct table priorities;    /* struct desired_priority */
	/* What is manual and overridden by the fleet, under keys of kind OVERRIDDEN. */
	struct table overridden_rules;  /* struct state_client_rule */
	struct table overridden_quotas; /* struct state_client_quota */
};

/* An empty state with one holder; NULL without memory. */
struct desired *desired_new(void);
/* One holder more, or fewer: the last one's desired_free() frees it. */
struct desired *desired_hold(struct desired *state);
void desired_free(struct desired *state);

/*
 * Completes a state. The caller has filled its tables and quotas.text from the pinned maps of an
 * earlier daemon. 0 or -ENOMEM.
 */
int desired_adopt(struct desired *state);
/* Fills *part, not initialised, with the entries of an adopted state that are manual, also those
 * that the fleet's override, or of the fleet (enum sluice_origin). 0 or -ENOMEM. */
int desired_adopted_part(const struct desired *state, unsigned origin, struct desired_part *part);

struct desired_input {
	const struct desired_part *file, *manual; /* sorted */
	const struct desired_part *fleet;         /* NULL: none */
	const struct controller *models;          /* the names of model ids */
	/* Reports a part of the file that has no effect and is no error. NULL: not called. */
	void (*notice)(void *arg, const char *text);
	void *arg;
};

/*
 * Builds the state that follows `before`. A definition that `before` knows keeps its id. A new one
 * takes an id that neither state uses. 0; -ENOSPC or -ENOMEM with a sentence in err: a map cannot
 * hold that many entries, or memory ran out.
 */
int desired_build(struct desired **out, const struct desired_input *in,
		  const struct desired *before, char *err, size_t len);

/*
 * The models that a rule, a quota or a target of `models` names, by id, without the services' own
 * models: those count for their services' requests anyhow.
 */
void desired_named(const struct desired *state, const struct controller *models,
		   struct sluice_named_models *out);

/* 0 if the quota of every service and model can be scaled by this weight; else -EINVAL, with the
 * reason in err. */
int desired_check_weight(const struct desired *state, uint16_t weight, char *err, size_t len);

/* ---- the difference, and how it is applied ---- */

enum desired_kind {
	DESIRED_FORGET, /* delete the budgets of an id that a new definition takes over */
	DESIRED_QUOTA,
	DESIRED_WEIGHTED,
	DESIRED_MODEL_QUOTA,
	DESIRED_CLIENT_QUOTA,
	DESIRED_RULE,
	DESIRED_PREFIX,
	DESIRED_PRIORITY,
	DESIRED_SERVICES,
};

/* The item in the old state and in the new one; NULL: absent. FORGET and QUOTA have an id. */
struct desired_op {
	enum desired_kind kind;
	uint32_t id;
	const void *before, *after;
};

/* Points into the two states, which must outlive it. */
struct desired_ops {
	struct desired_op *list;
	size_t count, capacity;
};

/*
 * The operations from `old` to `new`, which was built to follow it. Definitions come before the
 * entries that use them, weighted quotas before the prefixes that have the weight, and every
 * addition before every removal, with the services between. If a map cannot hold the old and the
 * new entries together, its removals come first. 0 or -ENOMEM; *out, all zero, is to be freed in
 * either case.
 */
int desired_diff(const struct desired *old, const struct desired *new, struct desired_ops *out);
void desired_ops_free(struct desired_ops *ops);

/* Writes the maps: one callback for each kind. 0 or -errno. A NULL value deletes the entry. */
struct desired_target {
	void *arg;
	int (*forget)(void *arg, uint32_t id);
	int (*quota)(void *arg, uint32_t id, const struct sluice_quota_text *text);
	int (*weighted)(void *arg, const struct sluice_weighted_key *key, const uint32_t *id);
	int (*model_quota)(void *arg, uint32_t model, uint32_t id);
	int (*client_quota)(void *arg, const struct sluice_client_flag_key *key,
			    const uint32_t *id);
	int (*rule)(void *arg, const struct sluice_client_flag_key *key,
		    const struct sluice_client_flag *flag);
	int (*prefix)(void *arg, const struct sluice_prefix_key *key,
		      const struct sluice_prefix *prefix);
	int (*priority)(void *arg, const struct sluice_client *key, const uint32_t *class);
	int (*services)(void *arg, const struct service *services, size_t count);
	const char *(*error)(void *arg); /* why the last callback failed */
};

/*
 * Applies all operations in order. If one fails, undoes it and those before it, last first, and
 * returns its error with the reason in err.
 */
int desired_apply(const struct desired_ops *ops, const struct desired_target *target, char *err,
		  size_t len);

/*
 * Applies the difference between *state and `next`, which was built to follow it, and replaces
 * *state by it. On an error *state and the maps stay as they were, the reason is in err, and `next`
 * is freed.
 */
int desired_put(struct desired **state, struct desired *next, const struct desired_target *target,
		char *err, size_t len);

/*
 * Copies class, quota, weight and priority from each prefix to the longer prefixes inside it that
 * have none of their own. `rules` are sorted by desired_by_prefix().
 */
void desired_inherit(struct state_prefix_rule *rules, size_t count);

/* The order of the state's prefixes: by address, then by length. A prefix comes after the prefixes
 * that contain it. */
int desired_by_prefix(const void *a, const void *b);

#endif
