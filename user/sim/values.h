/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the values of sluice-sim's options may be. */
#ifndef SLUICE_SIM_VALUES_H
#define SLUICE_SIM_VALUES_H

#include "core/parse.h"
#include "sim/fleet.h"
#include "sim/run.h"
#include "sim/workload.h"

static const struct parse_value as_factor = {
	.kind = PARSE_DURATION,
	.unit_ms = 1,
	.min = 0.01,
	.max = 1000,
	.allowed = "a number from 0.01 to 1000",
};
static const struct parse_value as_rate = {
	.kind = PARSE_DURATION,
	.unit_ms = 1,
	.min = 1,
	.max = 1e9,
	.allowed = "a number from 1 to 1000000000",
};
static const struct parse_value as_step = {
	.kind = PARSE_DURATION,
	.unit_ms = 1,
	.min = 0.001,
	.max = 10000,
	.allowed = "a number of milliseconds from 0.001 to 10000",
};
static const struct parse_value as_some = {
	.kind = PARSE_DURATION,
	.unit_ms = 1,
	.min = 0,
	.max = 1000,
	.allowed = "a number of milliseconds from 0 to 1000",
};
static const struct parse_value as_share = {
	.kind = PARSE_DURATION,
	.unit_ms = 1,
	.min = 0,
	.max = 1,
	.allowed = "a number from 0 to 1",
};
static const struct parse_value as_count = {
	.kind = PARSE_COUNT,
	.min = 1,
	.max = 1e6,
	.allowed = "a whole number from 1 to 1000000",
};
static const struct parse_value as_retries = {
	.kind = PARSE_COUNT,
	.min = 0,
	.max = 100,
	.allowed = "a whole number from 0 to 100",
};
static const struct parse_value as_patience = {
	.kind = PARSE_DURATION,
	.unit_ms = 1000,
	.min = 0.001,
	.max = 1e6,
	.allowed = "a number of seconds from 0.001 to 1000000 (or 800ms, 2m)",
};
static const struct parse_value as_models = {
	.kind = PARSE_COUNT,
	.min = 1,
	.max = RUN_MODELS_MAX,
	.allowed = "a whole number from 1 to 16",
};
static const struct parse_value as_tokens = {
	.kind = PARSE_COUNT,
	.min = 1,
	.max = 1e9,
	.allowed = "a whole number from 1 to 1000000000",
};
static const struct parse_value as_slots = {
	.kind = PARSE_COUNT,
	.min = 1,
	.max = 4096,
	.allowed = "a whole number from 1 to 4096",
};
static const struct parse_value as_seed = {
	.kind = PARSE_COUNT,
	.min = 0,
	.max = 1e15,
	.allowed = "a whole number from 0 to 1000000000000000",
};
static const struct parse_value as_synthetic = {
	.kind = PARSE_WORD,
	.words =
		(const struct parse_word[]){
			{"poisson", SYNTHETIC_POISSON, NULL},
			{"step", SYNTHETIC_STEP, NULL},
			{"flood", SYNTHETIC_FLOOD, NULL},
			{"abuser", SYNTHETIC_ABUSER, NULL},
			{NULL, 0, NULL},
		},
};

static const struct parse_value as_hosts = {
	.kind = PARSE_COUNT,
	.min = 1,
	.max = FLEET_SIM_HOSTS_MAX,
	.allowed = "a whole number from 1 to 1000",
};
static const struct parse_value as_period = {
	.kind = PARSE_COUNT,
	.min = 10,
	.max = 10000,
	.allowed = "a whole number of milliseconds from 10 to 10000",
};
static const struct parse_value as_away = {
	.kind = PARSE_COUNT,
	.min = 2,
	.max = 3600,
	.allowed = "a whole number of seconds from 2 to 3600",
};
static const struct parse_value as_fallback = PARSE_EITHER("share", "whole");

#endif
