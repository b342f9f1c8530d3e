/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See options.h. A stronger source that adds to a list replaces the list. */
#include "options.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clients.h"
#include "core/controller.h"
#include "fleet.h"
#include "list.h"
#include "metrics.h"
#include "services.h"

#define CONTROL_PATH_MAX 107 /* bytes of a Unix socket's path */

_Static_assert(sizeof(enum config_fallback) == sizeof(uint32_t) &&
		       sizeof(enum controller_policy) == sizeof(uint32_t) &&
		       sizeof(enum config_xdp) == sizeof(uint32_t) &&
		       sizeof(enum config_log) == sizeof(uint32_t) &&
		       sizeof(enum sluice_mode) == sizeof(uint32_t),
	       "FIELD_UINT");

static const struct parse_value as_log_format = PARSE_EITHER("text", "json");

static const struct parse_value as_xdp = {
	.kind = PARSE_WORD,
	.words =
		(const struct parse_word[]){
			{"auto", CONFIG_XDP_AUTO, NULL},
			{"native", CONFIG_XDP_NATIVE, NULL},
			{"generic", CONFIG_XDP_GENERIC, NULL},
			{"off", CONFIG_XDP_OFF, NULL},
			{NULL, 0, NULL},
		},
};

/* Whether the kernel allows the name (dev_valid_name): a typing error is found before anything is
 * attached. */
static bool is_interface_name(const char *text)
{
	size_t n = strlen(text);

	return n && n <= 15 && !strpbrk(text, "/: \t\r\n") && strcmp(text, ".") &&
	       strcmp(text, "..");
}

static int take_interface(void *to, const struct field *field, const char *text, char *err,
			  size_t len)
{
	struct loader *l = to;
	struct config *c = &l->config;

	if (!is_interface_name(text))
		return field_wrong(
			err, len, text,
			"an interface's name or a pattern of names (1 to 15 bytes, like eth0 or veth*), nor auto");
	return list_add(l, &l->interfaces_from, &c->interfaces, &c->interface_count,
			CONFIG_INTERFACES_MAX, "interfaces", text, err, len);
}

static int take_netns(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	struct loader *l = to;
	struct config *c = &l->config;

	if (text[0] != '/' || strlen(text) > 255)
		return field_wrong(err, len, text, "an absolute path of at most 255 bytes");
	return list_add(l, &l->netns_from, &c->netns, &c->netns_count, CONFIG_NETNS_MAX,
			"network namespaces", text, err, len);
}

static int take_pid(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	char path[64], *end;
	unsigned long pid = strtoul(text, &end, 10);

	if (*text < '1' || *text > '9' || *end || pid > INT_MAX)
		return field_wrong(err, len, text, "the number of a process");
	snprintf(path, sizeof(path), "/proc/%lu/ns/net", pid);
	return take_netns(to, field, path, err, len);
}

static int take_file(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	if (!*text)
		return field_wrong(err, len, text, "a path");
	return field_copy(to, text, err, len);
}

#define BPFFS "/sys/fs/bpf/"

static int take_pin_dir(void *to, const struct field *field, const char *text, char *err,
			size_t len)
{
	if (strcmp(text, CONFIG_NO_PINS) && (text[0] != '/' || strlen(text) > 255))
		return field_wrong(err, len, text,
				   "an absolute path of at most 255 bytes, or none");
	/* Names on a BPF file system have none (bpf_lookup() of Linux). */
	if (!strncmp(text, BPFFS, strlen(BPFFS)) && strchr(text, '.'))
		return field_wrong(err, len, text,
				   "a path without a dot, as names below " BPFFS " must be");
	return field_copy(to, text, err, len);
}

static int take_control(void *to, const struct field *field, const char *text, char *err,
			size_t len)
{
	if (!*text || strlen(text) > CONTROL_PATH_MAX)
		return field_wrong(err, len, text, "a path of at most 107 bytes");
	return field_copy(to, text, err, len);
}

/* Of /etc/group, not of getgrnam(): that would load libraries, which a static program cannot. */
static int find_group(const char *name, gid_t *out)
{
	FILE *groups = fopen("/etc/group", "re");
	struct group *group = NULL;

	do {
		group = groups ? fgetgrent(groups) : NULL;
	} while (group && strcmp(group->gr_name, name));
	if (group)
		*out = group->gr_gid;
	if (groups)
		fclose(groups);
	return group ? 0 : -ENOENT;
}

static int take_group(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	char *end;
	unsigned long long id = strtoull(text, &end, 10);

	if (*text >= '0' && *text <= '9' && !*end && id < (gid_t)-1)
		*(gid_t *)to = (gid_t)id;
	else if (find_group(text, to))
		return field_wrong(err, len, text, "a group of /etc/group, nor a number of one");
	return 0;
}

/* parse_value() returns 0 for "none"; struct config uses a negative number. */
static double threshold(double ms)
{
	return ms > 0 ? ms : -1;
}

static int take_ttft(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	struct config *c = to;
	double ms;

	if (parse_target(text, &ms, &c->ttft_ms_per_kib, err, len) < 0)
		return -EINVAL;
	c->ttft_threshold_ms = threshold(ms);
	return 0;
}

/* A threshold of one number. */
static int take_threshold(void *to, const struct field *field, const char *text, char *err,
			  size_t len)
{
	double ms;

	if (parse_value(&parse_as_threshold, text, &ms, err, len) < 0)
		return -EINVAL;
	*(double *)to = threshold(ms);
	return 0;
}

static int take_quota(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	struct config *c = to;

	return clients_read_quota(text, &c->has_quota, &c->quota, err, len);
}

#define INTO(member) FIELD_INTO(struct loader, config.member)
#define AT(member)   .at = offsetof(struct loader, member)
#define GIVEN(flag)  .given = offsetof(struct loader, flag)

static const struct option options[] = {
	{.field = {"config", .take = take_file, AT(config.file)},
	 .argument = "FILE",
	 .help = "read this YAML file",
	 .not_in_file = true},
	{.field = {"check", .take = take_file, AT(config.file), GIVEN(config.check)},
	 .argument = "FILE",
	 .help = "only check this YAML file, and exit",
	 .not_in_file = true,
	 .not_in_environment = true},
	{.field = {"interface", .list = true, .take = take_interface},
	 .argument = "IF",
	 .fallback = "auto",
	 .help = "attach to this interface, these (veth*), or those that serve clients (auto); repeatable"},
	{.field = {"netns", .list = true, .take = take_netns},
	 .argument = "PATH",
	 .help = "attach in this network namespace, too (repeatable)"},
	{.field = {"pid", .list = true, .take = take_pid},
	 .argument = "N",
	 .help = "attach in the network namespace of this process, too (repeatable)"},
	{.field = {"listen", .list = true, .take = services_take_listen},
	 .argument = "[ADDR:]PORT[=MODEL]",
	 .help = "protect this service (repeatable)"},
	{.field = {"protocol", .as = &parse_as_protocol, INTO(protocol)},
	 .argument = "http|opaque",
	 .fallback = "http",
	 .help = "protocol of the services"},
	{.field = {"ttft-threshold-ms", .take = take_ttft, AT(config), GIVEN(has_threshold)},
	 .argument = "N[ + N/KiB]",
	 .help = "target for time to first token, or none"},
	{.field = {"itl-threshold-ms", .take = take_threshold, AT(config.itl_threshold_ms),
		   GIVEN(has_threshold)},
	 .argument = "N",
	 .help = "target for inter-token latency, or none"},
	{.field = {"duration-threshold-ms", .take = take_threshold,
		   AT(config.duration_threshold_ms), GIVEN(has_threshold)},
	 .argument = "N",
	 .help = "target for the duration of a reply that is not streamed, or none"},
	{.field = {"normalized-latency-threshold-ms", .take = take_threshold,
		   AT(config.normalized_latency_threshold_ms), GIVEN(has_threshold)},
	 .argument = "N",
	 .help = "target for that duration over its output tokens, or none"},
	{.field = {"time-constant-secs", .as = &parse_as_time_constant, INTO(time_constant_secs)},
	 .argument = "N",
	 .fallback = "15",
	 .help = "how fast averages forget"},
	{.field = {"per-model-limits", .as = &field_as_bool, INTO(per_model_limits)},
	 .argument = "true|false",
	 .fallback = "true",
	 .help = "targets and limits for each model by itself"},
	{.field = {"policy", .as = &parse_as_policy, INTO(policy), GIVEN(has_policy)},
	 .argument = "adaptive|ema-flag",
	 .fallback = "adaptive",
	 .help = "admission policy; named without targets, it has 1000 ms TTFT and 30 ms ITL"},
	{.field = {"floor", .as = &parse_as_floor, INTO(floor)},
	 .argument = "N",
	 .fallback = "2",
	 .help = "adaptive: fewer in flight than N are always admitted"},
	{.field = {"action", .as = &parse_as_action, INTO(action)},
	 .argument = "reply|reset|drop",
	 .fallback = "reply",
	 .help = "how services reject"},
	{.field = {"mode", .as = &parse_as_mode, INTO(mode)},
	 .argument = "enforce|shadow",
	 .fallback = "enforce",
	 .help = "shadow: judge and count, admit everything"},
	{.field = {"quota", .take = take_quota, AT(config)},
	 .argument = "QUOTA",
	 .fallback = "none",
	 .help = "quota of each client, such as requests=100/60s"},
	{.field = {"feedback", .as = &services_as_feedback, INTO(feedback)},
	 .argument = "date|off",
	 .fallback = "off",
	 .help = "date: state what is left of a quota in place of the Date header"},
	{.field = {"lease-ms", .as = &parse_as_lease, INTO(lease_ms)},
	 .argument = "N",
	 .fallback = "3000",
	 .help = "how long the kernel refuses without the daemon"},
	{.field = {"trouble-after-secs", .as = &parse_as_trouble_after, INTO(trouble_after_secs)},
	 .argument = "N",
	 .fallback = "60",
	 .help = "how long traffic passes unseen before status says so"},
	{.field = {"max-connections", .as = &parse_as_map_size, INTO(max_connections)},
	 .argument = "N",
	 .fallback = "16384",
	 .help = "how many connections are judged at once"},
	{.field = {"max-clients", .as = &parse_as_map_size, INTO(max_clients)},
	 .argument = "N",
	 .fallback = "32768",
	 .help = "how many clients' budgets and counts are remembered"},
	{.field = {"max-models", .as = &parse_as_models, INTO(max_models)},
	 .argument = "N",
	 .fallback = "1022",
	 .help = "how many names of models are known at once"},
	{.field = {"pin-dir", .take = take_pin_dir, AT(config.pin_dir)},
	 .argument = "DIR",
	 .fallback = "/sys/fs/bpf/sluice",
	 .help = "where maps and attachments are pinned; none: nowhere"},
	{.field = {"hash-secret-file", .take = take_file, AT(config.hash_secret_file)},
	 .argument = "FILE",
	 .fallback = CONFIG_HASH_SECRET_FILE,
	 .help = "secret under which API keys are hashed"},
	{.field = {"control", .take = take_control, AT(config.control)},
	 .argument = "PATH",
	 .fallback = "/run/sluice/control.sock",
	 .help = "socket for sluicectl"},
	{.field = {"control-group", .take = take_group, AT(config.control_group)},
	 .argument = "GROUP",
	 .help = "group that may use that socket"},
	{.field = {"metrics", .take = metrics_take_address, AT(config)},
	 .argument = "ADDR:PORT|off",
	 .fallback = "127.0.0.1:9464",
	 .help = "address of the HTTP server for /metrics"},
	{.field = {"metrics-host", .list = true, .take = metrics_take_host},
	 .argument = "NAME",
	 .help = "another name by which clients call that server (repeatable)"},
	{.field = {"metrics-token-file", .take = take_file, AT(config.metrics_token_file)},
	 .argument = "FILE",
	 .help = "bearer token that its clients must send"},
	{.field = {"metrics-tls-cert", .take = take_file, AT(config.metrics_tls_cert)},
	 .argument = "FILE",
	 .help = "its certificate, PEM: it then speaks TLS only"},
	{.field = {"metrics-tls-key", .take = take_file, AT(config.metrics_tls_key)},
	 .argument = "FILE",
	 .help = "the key of that certificate, PEM"},
	{.field = {"metrics-tls-client-ca", .take = take_file, AT(config.metrics_tls_client_ca)},
	 .argument = "FILE",
	 .help = "authorities, PEM, of the certificates that its clients must show"},
	{.field = {"fleet", .take = fleet_take_name, AT(config.fleet)},
	 .argument = "NAME",
	 .help = "share quotas with the other hosts of this name"},
	{.field = {"fleet-store", .list = true, .take = fleet_take_store},
	 .argument = "HOST:PORT|PATH",
	 .help = "Redis or Valkey server that keeps them (repeatable: tried in turn)"},
	{.field = {"fleet-sentinel", .take = fleet_take_name, AT(config.fleet_sentinel)},
	 .argument = "MASTER",
	 .help = "the stores are sentinels, which name the server of this master"},
	{.field = {"fleet-host", .take = fleet_take_name, AT(config.fleet_host)},
	 .argument = "NAME",
	 .help = "this host's name among them; by default the name of the host"},
	{.field = {"fleet-user", .take = fleet_take_name, AT(config.fleet_user)},
	 .argument = "NAME",
	 .help = "user of the store"},
	{.field = {"fleet-password-file", .take = take_file, AT(config.fleet_password_file)},
	 .argument = "FILE",
	 .help = "password for the store"},
	{.field = {"fleet-tls-ca", .take = take_file, AT(config.fleet_tls_ca)},
	 .argument = "FILE|system",
	 .help = "speak TLS; authorities, PEM, of the store's certificate"},
	{.field = {"fleet-tls-cert", .take = take_file, AT(config.fleet_tls_cert)},
	 .argument = "FILE",
	 .help = "certificate to show to the store, PEM"},
	{.field = {"fleet-tls-key", .take = take_file, AT(config.fleet_tls_key)},
	 .argument = "FILE",
	 .help = "the key of that certificate, PEM"},
	{.field = {"fleet-period-ms", .as = &fleet_as_period, INTO(fleet_period_ms)},
	 .argument = "N",
	 .fallback = "100",
	 .help = "how often used budgets are reported"},
	{.field = {"fleet-hosts-min", .as = &fleet_as_hosts, INTO(fleet_hosts_min)},
	 .argument = "N",
	 .fallback = "1",
	 .help = "count at least so many hosts"},
	{.field = {"fleet-fallback", .as = &fleet_as_fallback, INTO(fleet_fallback)},
	 .argument = "share|whole",
	 .fallback = "share",
	 .help = "what this host gives out of a budget while the store is away"},
	{.field = {"fleet-rules", .as = &fleet_as_rules, INTO(fleet_rules)},
	 .argument = "on|off",
	 .fallback = "off",
	 .help = "put the fleet's rules and quotas of clients in force"},
	{.field = {"xdp", .as = &as_xdp, INTO(xdp)},
	 .argument = "auto|native|generic|off",
	 .fallback = "auto",
	 .help = "how the XDP program is attached"},
	{.field = {"log-format", .as = &as_log_format, INTO(log_format)},
	 .argument = "text|json",
	 .fallback = "text",
	 .help = "one event a line on standard error, as a sentence or as an object"},
	{.field = {.name = "help"},
	 .help = "print this and exit",
	 .is_word = true,
	 .not_in_file = true,
	 .not_in_environment = true},
	{.field = {.name = "version"},
	 .help = "print the version and exit",
	 .is_word = true,
	 .not_in_file = true,
	 .not_in_environment = true},
};

#define OPTIONS (sizeof(options) / sizeof(options[0]))

_Static_assert(OPTIONS <= OPTIONS_MAX, "OPTIONS_MAX");

const struct option *option_at(size_t i)
{
	return i < OPTIONS ? &options[i] : NULL;
}

const struct option *option_find(const char *name)
{
	for (size_t i = 0; i < OPTIONS; i++)
		if (!strcmp(options[i].field.name, name))
			return &options[i];
	return NULL;
}

int option_apply(struct loader *l, const struct option *option, const char *label, const char *text)
{
	char why[LOAD_WHY_MAX];

	l->label = label;
	if (field_take(&option->field, l, text, why, sizeof(why)) < 0)
		return complain(l, label, "%s", why);
	return 0;
}

int options_apply_defaults(struct loader *l)
{
	l->source = SOURCE_DEFAULT;
	l->config.ttft_threshold_ms = -1;
	l->config.itl_threshold_ms = -1;
	l->config.duration_threshold_ms = -1;
	l->config.normalized_latency_threshold_ms = -1;
	l->config.control_group = (gid_t)-1;
	for (size_t i = 0; i < OPTIONS; i++)
		if (options[i].fallback &&
		    option_apply(l, &options[i], options[i].field.name, options[i].fallback) < 0)
			return -EINVAL;
	l->has_policy = false; /* the default policy is not an explicit choice */
	return 0;
}

/* lease-ms → SLUICE_LEASE_MS */
static void variable_name(const struct option *option, char out[64])
{
	snprintf(out, 64, "SLUICE_%s", option->field.name);
	for (char *p = out; *p; p++) {
		if (*p >= 'a' && *p <= 'z')
			*p = (char)(*p - 'a' + 'A');
		else if (*p == '-')
			*p = '_';
	}
}

const char *options_variable(char *const *env, const char *name)
{
	size_t n = strlen(name);

	for (; env && *env; env++)
		if (!strncmp(*env, name, n) && (*env)[n] == '=')
			return (*env)[n + 1] ? *env + n + 1 : NULL;
	return NULL;
}

static int apply_variable_list(struct loader *l, const struct option *option, const char *name,
			       const char *value)
{
	static const char separators[] = ", \t\n";
	char *copy = strdup(value), *rest;
	int rc = 0;

	if (!copy)
		return complain(l, name, "out of memory");
	for (char *item = strtok_r(copy, separators, &rest); item && !rc;
	     item = strtok_r(NULL, separators, &rest))
		rc = option_apply(l, option, name, item);
	free(copy);
	return rc;
}

/* Ignores other variables with the prefix: Kubernetes sets SLUICE_PORT… for a service called
 * sluice. */
int options_apply_environment(struct loader *l, char *const *env)
{
	l->source = SOURCE_ENVIRONMENT;
	for (size_t i = 0; i < OPTIONS; i++) {
		const struct option *option = &options[i];
		char name[64];
		const char *value;
		int rc;

		variable_name(option, name);
		value = option->not_in_environment ? NULL : options_variable(env, name);
		if (!value)
			continue;
		rc = option->field.list ? apply_variable_list(l, option, name, value)
					: option_apply(l, option, name, value);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int unknown_option(struct loader *l, const char *text, size_t len)
{
	const char *names[OPTIONS], *near;
	char name[64];

	for (size_t i = 0; i < OPTIONS; i++)
		names[i] = options[i].field.name;
	snprintf(name, sizeof(name), "%.*s", (int)len, text);
	near = parse_nearest(name, names, OPTIONS);
	if (near)
		return complain(l, "command line",
				"unknown option \"--%s\"; did you mean \"--%s\"?", name, near);
	return complain(l, "command line", "unknown option \"--%s\"; see --help", name);
}

int options_read(struct loader *l, int argc, char **argv, struct argument *out)
{
	int n = 0;

	for (int i = 1; i < argc; i++) {
		const char *text = argv[i], *equals, *value = NULL;
		const struct option *option;
		char name[64], label[80];
		size_t len;

		if (strncmp(text, "--", 2) || !text[2])
			return complain(l, "command line",
					"\"" PARSE_QUOTE "\" is not an option; see --help",
					PARSE_QUOTED(text));
		text += 2;
		equals = strchr(text, '=');
		len = equals ? (size_t)(equals - text) : strlen(text);
		snprintf(name, sizeof(name), "%.*s", (int)len, text);
		option = len < sizeof(name) ? option_find(name) : NULL;
		if (!option)
			return unknown_option(l, text, len);
		snprintf(label, sizeof(label), "--%s", name);
		if (option->is_word) {
			if (equals)
				return complain(l, label, "takes no value");
		} else if (equals) {
			value = equals + 1;
		} else {
			if (i + 1 == argc || !strncmp(argv[i + 1], "--", 2))
				return complain(l, label, "needs a value: %s", option->argument);
			value = argv[++i];
		}
		out[n++] = (struct argument){option, value};
	}
	return n;
}

int options_apply_arguments(struct loader *l, const struct argument *arguments, int n)
{
	char label[80];

	l->source = SOURCE_COMMAND_LINE;
	for (int i = 0; i < n; i++) {
		snprintf(label, sizeof(label), "--%s", arguments[i].option->field.name);
		if (option_apply(l, arguments[i].option, label, arguments[i].value) < 0)
			return -EINVAL;
	}
	return 0;
}
