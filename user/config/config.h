/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The operator's configuration: defaults, then the YAML file, then SLUICE_… variables, then the
 * command line. Each source overrides the ones before it, through one table of options with one
 * parser for each type. An error is one line that names the place, the key, the value and what is
 * allowed.
 */
#ifndef SLUICE_CONFIG_H
#define SLUICE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <sluice/abi.h>
#include "core/controller.h"
#include "core/quota.h"
#include "core/service.h"
#include "core/text.h"

#define CONFIG_INTERFACES_MAX    64
#define CONFIG_NETNS_MAX         64
#define CONFIG_METRICS_HOSTS_MAX 16
#define CONFIG_STORES_MAX        8

#define CONFIG_HASH_SECRET_FILE "/var/lib/sluice/hash-secret" /* is made if it is missing */

/* What a host gives out of a shared budget while the store is away. */
enum config_fallback { CONFIG_FALLBACK_SHARE, CONFIG_FALLBACK_WHOLE };

enum config_xdp { CONFIG_XDP_AUTO, CONFIG_XDP_NATIVE, CONFIG_XDP_GENERIC, CONFIG_XDP_OFF };

/*
 * Threshold negative: not set, so the global one holds; 0: explicitly none, whatever the global
 * one. max_in_flight 0: none. struct controller_targets uses the same signs.
 */
struct config_model {
	char name[SLUICE_NAME_MAX];
	double ttft_threshold_ms;
	double ttft_ms_per_kib; /* added for each KiB of the request */
	double itl_threshold_ms;
	double duration_threshold_ms;
	double normalized_latency_threshold_ms;
	uint32_t max_in_flight;
	uint32_t floor;             /* 0: the global one */
	char pool[SLUICE_NAME_MAX]; /* "": none */
	bool unary;
	bool has_quota;
	struct quota_def quota; /* of clients without one of their own */
};

/* A client's own quota, or that of all clients in a prefix. */
struct config_quota {
	struct text_subject subject;
	char model[SLUICE_NAME_MAX]; /* "": all */
	struct quota_def quota;
};

/* The class of a client's requests, or of those of all clients in a prefix. */
struct config_priority {
	bool key; /* client, an API key; else prefix */
	struct sluice_client client;
	struct sluice_prefix_key prefix;
	uint8_t class;
};

/* Holds for each client in a prefix separately. */
struct config_prefix {
	struct sluice_prefix_key prefix;
	uint16_t weight; /* in 1/SLUICE_WEIGHT_ONE */
};

enum config_log { CONFIG_LOG_TEXT, CONFIG_LOG_JSON };

#define CONFIG_NO_PINS "none" /* as datapath_open() takes it */

struct config {
	char **interfaces; /* names, patterns of names, "auto" */
	unsigned interface_count;
	char **netns; /* paths of other network namespaces */
	unsigned netns_count;
	struct service *services; /* names are not resolved yet */
	unsigned service_count;
	struct config_model *models; /* from the file only */
	unsigned model_count;
	struct config_quota *quotas; /* from the file only */
	unsigned quota_count;
	struct config_priority *priorities; /* from the file only */
	unsigned priority_count;
	struct config_prefix *prefixes; /* from the file only */
	unsigned prefix_count;
	bool has_quota;
	struct quota_def quota; /* of services without one of their own */
	bool feedback;
	double ttft_threshold_ms; /* negative: none; 1000 if a policy is named without thresholds */
	double ttft_ms_per_kib;   /* added for each KiB of the request */
	double itl_threshold_ms;  /* negative: none; 30 under the same condition */
	double duration_threshold_ms;           /* negative: none */
	double normalized_latency_threshold_ms; /* negative: none */
	double time_constant_secs;
	uint32_t floor;
	bool per_model_limits;
	enum controller_policy policy;
	enum sluice_protocol protocol;
	enum sluice_action action;
	enum sluice_mode mode;
	uint32_t lease_ms;
	uint32_t trouble_after_secs; /* how long a trouble holds before it is reported */
	uint32_t max_connections, max_clients, max_models; /* that the maps have room for */
	char *pin_dir;                                     /* CONFIG_NO_PINS: nothing is pinned */
	char *hash_secret_file;
	char *control;
	gid_t control_group; /* -1: that of the daemon */
	char *metrics_addr;  /* NULL: off */
	uint16_t metrics_port;
	char *metrics_hosts[CONFIG_METRICS_HOSTS_MAX]; /* beside its addresses */
	unsigned metrics_host_count;
	char *metrics_token_file; /* paths; NULL: none */
	char *metrics_tls_cert, *metrics_tls_key, *metrics_tls_client_ca;
	char *fleet; /* the fleet's name; NULL: none */
	char **fleet_stores;
	unsigned fleet_store_count;
	char *fleet_sentinel; /* the name of its master; NULL: the stores are no sentinels */
	char *fleet_host;     /* NULL: the host's name */
	char *fleet_user, *fleet_password_file;
	char *fleet_tls_ca, *fleet_tls_cert, *fleet_tls_key;
	uint32_t fleet_period_ms, fleet_hosts_min;
	enum config_fallback fleet_fallback;
	bool fleet_rules;
	enum config_xdp xdp;
	enum config_log log_format;
	char *file; /* the path of --config or --check; NULL: none */
	bool check; /* --check: start nothing */
};

/*
 * Fills *out from argv, environ-style `env` and the file that they name. 0; or -EINVAL with one
 * line, without a line end, in err; or 1 after --help or --version was printed. *out is untouched
 * unless 0. config_free() releases it.
 */
int config_load(struct config *out, int argc, char **argv, char *const *env, char *err,
		size_t err_len);
void config_free(struct config *config);

#endif
