/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The sources of values: defaults, the file, the environment and the command line, each over the
 * one before.
 */
#include "config_case.h"
#include "core/parse.h"

static void defaults_are_as_documented(void **state)
{
	static const char *const args[] = {BASE, NULL};
	static const uint8_t any[16];

	load(NULL, args, NULL);
	assert_int_equal(config.interface_count, 1);
	assert_string_equal(config.interfaces[0], "lo");
	assert_int_equal(config.service_count, 1);
	assert_int_equal(config.services[0].port, 8000);
	assert_true(config.services[0].wildcard);
	assert_memory_equal(config.services[0].addr, any, 16);
	assert_string_equal(config.services[0].model, "default");
	assert_int_equal(config.services[0].protocol, SLUICE_PROTOCOL_HTTP);
	assert_int_equal(config.services[0].action, SLUICE_ACTION_REPLY);
	assert_int_equal(config.services[0].mode, SLUICE_MODE_ENFORCE);
	assert_false(config.services[0].unary);
	assert_int_equal(config.model_count, 0);
	assert_true(config.ttft_threshold_ms < 0);
	assert_true(config.itl_threshold_ms < 0);
	assert_true(config.duration_threshold_ms < 0);
	assert_true(config.normalized_latency_threshold_ms < 0);
	assert_true(config.time_constant_secs == 15);
	assert_true(config.per_model_limits);
	assert_int_equal(config.policy, CONTROLLER_ADAPTIVE);
	assert_int_equal(config.action, SLUICE_ACTION_REPLY);
	assert_int_equal(config.mode, SLUICE_MODE_ENFORCE);
	assert_int_equal(config.lease_ms, 3000);
	assert_int_equal(config.max_connections, 16384);
	assert_int_equal(config.max_clients, 32768);
	assert_int_equal(config.max_models, 1022);
	assert_int_equal(config.trouble_after_secs, 60);
	assert_string_equal(config.pin_dir, "/sys/fs/bpf/sluice");
	assert_string_equal(config.control, "/run/sluice/control.sock");
	assert_string_equal(config.metrics_addr, "127.0.0.1");
	assert_int_equal(config.metrics_port, 9464);
	assert_int_equal(config.xdp, CONFIG_XDP_AUTO);
	assert_int_equal(config.log_format, CONFIG_LOG_TEXT);
	assert_null(config.file);
	config_free(&config);
}

static void without_an_interface_auto_is_the_only_one(void **state)
{
	static const char *const args[] = {"--listen", "8000", NULL};
	static const char *const both[] = {"--listen",    "8000", "--interface", "auto",
					   "--interface", "lxc*", NULL};

	load(NULL, args, NULL);
	assert_int_equal(config.interface_count, 1);
	assert_string_equal(config.interfaces[0], "auto");
	config_free(&config);
	load("interfaces: []\n", args, NULL);
	assert_int_equal(config.interface_count, 1);
	assert_string_equal(config.interfaces[0], "auto");
	config_free(&config);
	load(NULL, both, NULL);
	assert_int_equal(config.interface_count, 2);
	assert_string_equal(config.interfaces[1], "lxc*");
	config_free(&config);
}

static void a_process_is_the_path_of_its_network_namespace(void **state)
{
	static const char *const args[] = {"--listen", "8000", NULL};
	static const char *const given[] = {"--listen", "8000", "--pid=7", "--netns=/run/b", NULL};

	load("netns: [/run/netns/a]\npid: [4711, 1]\n", args, NULL);
	assert_int_equal(config.netns_count, 3);
	assert_string_equal(config.netns[0], "/run/netns/a");
	assert_string_equal(config.netns[1], "/proc/4711/ns/net");
	assert_string_equal(config.netns[2], "/proc/1/ns/net");
	config_free(&config);
	load("netns: [/run/netns/a]\npid: [4711, 1]\n", given, NULL);
	assert_int_equal(config.netns_count, 2);
	assert_string_equal(config.netns[0], "/proc/7/ns/net");
	assert_string_equal(config.netns[1], "/run/b");
	config_free(&config);
	load("netns: []\npid: []\n", args, NULL);
	assert_int_equal(config.netns_count, 0);
	config_free(&config);
}

/* One line with everything that a single value can change. */
static void describe(char *out, size_t len)
{
	snprintf(out, len, "%d %g %g %g %d %d %d %u %s %s %s:%u %d", config.protocol,
		 config.ttft_threshold_ms, config.itl_threshold_ms, config.time_constant_secs,
		 config.per_model_limits, config.action, config.mode, config.lease_ms,
		 config.pin_dir, config.control, config.metrics_addr ? config.metrics_addr : "off",
		 config.metrics_port, config.xdp);
}

static const struct {
	const char *key, *variable;
	const char *value[3]; /* for file, environment, command line */
	const char *seen[3];  /* describe() writes this for each */
} every_option[] = {
#define T "0 -1 -1 15 1 1 1 3000 "
#define P "/sys/fs/bpf/sluice /run/sluice/control.sock "
#define M "127.0.0.1:9464 "
	{"protocol",
	 "SLUICE_PROTOCOL",
	 {"http", "opaque", "http"},
	 {T P M "0", "1 -1 -1 15 1 1 1 3000 " P M "0", T P M "0"}},
	{"ttft-threshold-ms",
	 "SLUICE_TTFT_THRESHOLD_MS",
	 {"1", "2.5", "none"},
	 {"0 1 -1 15 1 1 1 3000 " P M "0", "0 2.5 -1 15 1 1 1 3000 " P M "0", T P M "0"}},
	{"itl-threshold-ms",
	 "SLUICE_ITL_THRESHOLD_MS",
	 {"1s", "2", "3us"},
	 {"0 -1 1000 15 1 1 1 3000 " P M "0", "0 -1 2 15 1 1 1 3000 " P M "0",
	  "0 -1 0.003 15 1 1 1 3000 " P M "0"}},
	{"time-constant-secs",
	 "SLUICE_TIME_CONSTANT_SECS",
	 {"1", "2s", "500ms"},
	 {"0 -1 -1 1 1 1 1 3000 " P M "0", "0 -1 -1 2 1 1 1 3000 " P M "0",
	  "0 -1 -1 0.5 1 1 1 3000 " P M "0"}},
	{"per-model-limits",
	 "SLUICE_PER_MODEL_LIMITS",
	 {"true", "false", "true"},
	 {T P M "0", "0 -1 -1 15 0 1 1 3000 " P M "0", T P M "0"}},
	{"action",
	 "SLUICE_ACTION",
	 {"reset", "drop", "reply"},
	 {"0 -1 -1 15 1 2 1 3000 " P M "0", "0 -1 -1 15 1 3 1 3000 " P M "0", T P M "0"}},
	{"mode",
	 "SLUICE_MODE",
	 {"shadow", "enforce", "shadow"},
	 {"0 -1 -1 15 1 1 2 3000 " P M "0", T P M "0", "0 -1 -1 15 1 1 2 3000 " P M "0"}},
	{"lease-ms",
	 "SLUICE_LEASE_MS",
	 {"100", "200", "600000"},
	 {"0 -1 -1 15 1 1 1 100 " P M "0", "0 -1 -1 15 1 1 1 200 " P M "0",
	  "0 -1 -1 15 1 1 1 600000 " P M "0"}},
	{"pin-dir",
	 "SLUICE_PIN_DIR",
	 {"/a", "/b", "/c"},
	 {T "/a /run/sluice/control.sock " M "0", T "/b /run/sluice/control.sock " M "0",
	  T "/c /run/sluice/control.sock " M "0"}},
	{"control",
	 "SLUICE_CONTROL",
	 {"a", "b", "/c"},
	 {T "/sys/fs/bpf/sluice a " M "0", T "/sys/fs/bpf/sluice b " M "0",
	  T "/sys/fs/bpf/sluice /c " M "0"}},
	{"metrics",
	 "SLUICE_METRICS",
	 {"127.9.9.9:1", "off", "\"[::1]:65535\""},
	 {T P "127.9.9.9:1 0", T P "off:0 0", T P "::1:65535 0"}},
	{"xdp", "SLUICE_XDP", {"native", "generic", "off"}, {T P M "1", T P M "2", T P M "3"}},
};

/* Quotes belong to YAML only. */
static const char *unquoted(const char *value, char *out, size_t len)
{
	size_t n = strlen(value);

	snprintf(out, len, "%s", *value == '"' ? value + 1 : value);
	if (*value == '"')
		out[n - 2] = '\0';
	return out;
}

static void the_command_line_beats_the_environment_beats_the_file(void **state)
{
	for (size_t i = 0; i < COUNT(every_option); i++) {
		/*
		 * Each source alone, then over the weaker ones; bit 0 file, 1 environment, 2
		 * command line.
		 */
		for (int sources = 1; sources < 8; sources++) {
			char yaml[128], variable[128], argument[128], value[64], got[256];
			const char *args[] = {BASE, argument, NULL}, *env[] = {variable, NULL};
			int strongest = sources & 4 ? 2 : sources & 2 ? 1 : 0;

			snprintf(yaml, sizeof(yaml), "%s: %s\n", every_option[i].key,
				 every_option[i].value[0]);
			snprintf(variable, sizeof(variable), "%s=%s", every_option[i].variable,
				 unquoted(every_option[i].value[1], value, sizeof(value)));
			snprintf(argument, sizeof(argument), "--%s=%s", every_option[i].key,
				 unquoted(every_option[i].value[2], value, sizeof(value)));
			if (!(sources & 4))
				args[4] = NULL;
			load(sources & 1 ? yaml : NULL, args, sources & 2 ? env : NULL);
			describe(got, sizeof(got));
			if (strcmp(got, every_option[i].seen[strongest]))
				fail_msg("%s, sources %d: %s", every_option[i].key, sources, got);
			config_free(&config);
		}
	}
}

static void the_file_is_found_by_option_or_variable(void **state)
{
	static const char *const args[] = {BASE, NULL};
	char variable[128];
	const char *env[] = {variable, NULL};

	write_file("lease-ms: 400\n", 14);
	snprintf(variable, sizeof(variable), "SLUICE_CONFIG=%s", path);
	load(NULL, args, env);
	assert_int_equal(config.lease_ms, 400);
	assert_string_equal(config.file, path);
	config_free(&config);
	/*
	 * … and the option has precedence over the variable, so that the missing file is never
	 * opened.
	 */
	snprintf(variable, sizeof(variable), "SLUICE_CONFIG=%s/missing", dir);
	load("lease-ms: 500\n", args, env);
	assert_int_equal(config.lease_ms, 500);
	assert_string_equal(config.file, path);
	config_free(&config);
}

static void the_sizes_of_the_maps_are_settings(void **state)
{
	static const char *const args[] = {BASE, "--max-clients", "1048576", NULL};
	static const char *const env[] = {"SLUICE_MAX_CONNECTIONS=1024", NULL};

	load("max-connections: 2000\nmax-clients: 3000\n", args, NULL);
	assert_int_equal(config.max_connections, 2000);
	assert_int_equal(config.max_clients, 1048576);
	config_free(&config);
	load("interfaces: [lo]\nlisten: [8000]\nmax-connections: 2000\nmax-clients: 3000\n", NULL,
	     env);
	assert_int_equal(config.max_connections, 1024);
	assert_int_equal(config.max_clients, 3000);
	config_free(&config);
}

static void check_reads_a_file_like_config_and_is_no_variable(void **state)
{
	const char *args[] = {"--check", path, NULL};
	static const char *const env[] = {"SLUICE_CHECK=/nonexistent", "SLUICE_LEASE_MS=200", NULL};

	load("interfaces: [lo]\nlisten: [8000]\nlease-ms: 100\n", NULL, env);
	assert_false(config.check);
	config_free(&config);
	if (load_from(args, env))
		fail_msg("%s", printed);
	assert_true(config.check);
	assert_string_equal(config.file, path);
	assert_int_equal(config.lease_ms, 200);
	config_free(&config);
}

static void a_control_group_is_a_name_or_a_number(void **state)
{
	static const struct {
		const char *yaml, *args[6], *env[2];
		gid_t want;
	} rows[] = {
		{NULL, {BASE, NULL}, {NULL}, (gid_t)-1},
		{NULL, {BASE, "--control-group=7", NULL}, {"SLUICE_CONTROL_GROUP=8"}, 7},
		{NULL, {BASE, NULL}, {"SLUICE_CONTROL_GROUP=root"}, 0},
		{"control-group: root\n", {BASE, NULL}, {NULL}, 0},
		{"control-group: 4294967294\n", {BASE, NULL}, {NULL}, 4294967294},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		load(rows[i].yaml, rows[i].args, rows[i].env);
		assert_int_equal(config.control_group, rows[i].want);
		config_free(&config);
	}
}

static void an_empty_variable_counts_as_unset_and_an_unknown_one_is_ignored(void **state)
{
	static const char *const args[] = {BASE, NULL};
	static const char *const env[] = {"SLUICE_LEASE_MS=",
					  "SLUICE_LISTEN=",
					  "SLUICE_PORT=x",
					  "SLUICE_HELP=1",
					  "SLUICE_LEASE_MSS=x",
					  "PATH=/",
					  NULL};

	load(NULL, args, env);
	assert_int_equal(config.lease_ms, 3000);
	config_free(&config);
}

static void a_list_from_a_stronger_source_replaces_the_weaker_one(void **state)
{
	static const struct {
		const char *what, *yaml, *env[3], *args[9], *interfaces, *ports;
	} rows[] = {
		{"file alone",
		 "interface: [a, b]\nlisten: [1, 2]\n",
		 {NULL},
		 {NULL},
		 "a b ",
		 "1 2 "},
		{"one value for a list of one",
		 "interface: a\nlisten: 1\n",
		 {NULL},
		 {NULL},
		 "a ",
		 "1 "},
		{"interfaces, too",
		 "interfaces: [a, b]\nlisten: 1\n",
		 {NULL},
		 {NULL},
		 "a b ",
		 "1 "},
		{"one of many", "interfaces: a\nlisten:\n- 1\n- 2\n", {NULL}, {NULL}, "a ", "1 2 "},
		{"both spellings",
		 "interface: a\ninterfaces: [b]\nlisten: 1\n",
		 {NULL},
		 {NULL},
		 "a b ",
		 "1 "},
		{"listen and services",
		 "interface: a\nlisten: 1\nservices: [{listen: 2}]\n",
		 {NULL},
		 {NULL},
		 "a ",
		 "1 2 "},
		{"environment over file",
		 "interface: [a, b]\nlisten: [1, 2]\n",
		 {"SLUICE_INTERFACE=c,d", "SLUICE_LISTEN=3 4", NULL},
		 {NULL},
		 "c d ",
		 "3 4 "},
		{"command line over file",
		 "interface: [a, b]\nlisten: 1\nservices: [{listen: 2}]\n",
		 {NULL},
		 {"--interface", "e", "--listen", "5", "--listen", "6", NULL},
		 "e ",
		 "5 6 "},
		{"command line over both",
		 "interface: [a, b]\nlisten: [1, 2]\n",
		 {"SLUICE_INTERFACE=c", "SLUICE_LISTEN=3", NULL},
		 {"--interface=e", "--interface=f", "--listen=5", NULL},
		 "e f ",
		 "5 "},
		{"each list by itself",
		 "interface: [a, b]\nlisten: [1, 2]\n",
		 {"SLUICE_LISTEN=3", NULL},
		 {"--interface=e", NULL},
		 "e ",
		 "3 "},
		{"services over nothing",
		 "services: [{listen: 2}, {listen: 7}]\n",
		 {"SLUICE_INTERFACE=c", NULL},
		 {NULL},
		 "c ",
		 "2 7 "},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		char interfaces[64] = "", ports[64] = "";

		load(rows[i].yaml, rows[i].args, rows[i].env);
		for (unsigned j = 0; j < config.interface_count; j++)
			strcat(strcat(interfaces, config.interfaces[j]), " ");
		for (unsigned j = 0; j < config.service_count; j++)
			sprintf(ports + strlen(ports), "%u ", config.services[j].port);
		if (strcmp(interfaces, rows[i].interfaces) || strcmp(ports, rows[i].ports))
			fail_msg("%s: %s/ %s", rows[i].what, interfaces, ports);
		config_free(&config);
	}
}

static void durations_have_targets_from_every_source(void **state)
{
	static const struct {
		const char *yaml, *args[7], *env[2];
		double duration, normalized;
	} rows[] = {
		{"duration-threshold-ms: 2s\nnormalized-latency-threshold-ms: 80\n",
		 {BASE, NULL},
		 {NULL},
		 2000,
		 80},
		{"duration-threshold-ms: 2s\n",
		 {BASE, "--duration-threshold-ms=none", NULL},
		 {"SLUICE_NORMALIZED_LATENCY_THRESHOLD_MS=1.5", NULL},
		 -1,
		 1.5},
		{NULL,
		 {BASE, "--normalized-latency-threshold-ms=7", NULL},
		 {"SLUICE_DURATION_THRESHOLD_MS=900", NULL},
		 900,
		 7},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		load(rows[i].yaml, rows[i].args, rows[i].env);
		assert_true(config.duration_threshold_ms == rows[i].duration);
		assert_true(config.normalized_latency_threshold_ms == rows[i].normalized);
		config_free(&config);
	}
}

static void a_policy_without_numbers_has_the_defaults(void **state)
{
	static const struct {
		const char *what, *yaml, *args[7];
		double ttft, itl;
	} rows[] = {
		{"no policy given", NULL, {BASE, NULL}, -1, -1},
		{"policy", NULL, {BASE, "--policy", "ema-flag", NULL}, 1000, 30},
		{"policy in the file", "policy: ema-flag\n", {BASE, NULL}, 1000, 30},
		{"one number",
		 "policy: ema-flag\n",
		 {BASE, "--ttft-threshold-ms", "5", NULL},
		 5,
		 -1},
		{"the other", "itl-threshold-ms: 7\n", {BASE, "--policy=ema-flag", NULL}, -1, 7},
		{"set to none",
		 "ttft-threshold-ms: none\n",
		 {BASE, "--policy=ema-flag", NULL},
		 -1,
		 -1},
		{"a model's number",
		 "models: [{name: a, ttft-threshold-ms: 9}]\n",
		 {BASE, "--policy=ema-flag", NULL},
		 -1,
		 -1},
		{"a duration's",
		 "duration-threshold-ms: 9\n",
		 {BASE, "--policy=ema-flag", NULL},
		 -1,
		 -1},
		{"numbers without policy", NULL, {BASE, "--itl-threshold-ms=20", NULL}, -1, 20},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		load(rows[i].yaml, rows[i].args, NULL);
		if (config.ttft_threshold_ms != rows[i].ttft ||
		    config.itl_threshold_ms != rows[i].itl)
			fail_msg("%s: %g %g", rows[i].what, config.ttft_threshold_ms,
				 config.itl_threshold_ms);
		config_free(&config);
	}
}

static void other_hosts_reach_the_metrics_with_credentials_only(void **state)
{
	static const char *const token[] = {BASE, "--metrics=[::]:9", "--metrics-token-file=/t",
					    NULL};
	static const char *const tls[] = {BASE,
					  "--metrics=10.0.0.1:9",
					  "--metrics-tls-cert=/c",
					  "--metrics-tls-key=/k",
					  "--metrics-tls-client-ca=/a",
					  NULL};
	static const char *const env[] = {"SLUICE_METRICS_HOST=a.example, fd00::1", NULL};

	load("metrics-host: [other]\n", token, env);
	assert_string_equal(config.metrics_token_file, "/t");
	assert_int_equal(config.metrics_host_count, 2);
	assert_string_equal(config.metrics_hosts[0], "a.example");
	assert_string_equal(config.metrics_hosts[1], "fd00::1");
	config_free(&config);
	load(NULL, tls, NULL);
	assert_string_equal(config.metrics_tls_cert, "/c");
	assert_string_equal(config.metrics_tls_key, "/k");
	assert_string_equal(config.metrics_tls_client_ca, "/a");
	config_free(&config);
}

static void the_last_of_a_repeated_single_option_counts(void **state)
{
	static const char *const args[] = {BASE, "--lease-ms", "200", "--lease-ms=300", NULL};

	load(NULL, args, NULL);
	assert_int_equal(config.lease_ms, 300);
	config_free(&config);
}

/* load_from(), with its standard output kept in `printed`. */
static int load_catching_output(const char *const *args)
{
	int saved = dup(STDOUT_FILENO), rc;
	FILE *tmp = tmpfile();
	size_t n;

	assert_non_null(tmp);
	fflush(NULL);
	dup2(fileno(tmp), STDOUT_FILENO);
	rc = load_from(args, NULL);
	fflush(NULL);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	rewind(tmp);
	n = fread(printed, 1, sizeof(printed) - 1, tmp);
	printed[n] = '\0';
	fclose(tmp);
	return rc;
}

static void help_and_version_need_no_other_option(void **state)
{
	static const char *const help[] = {"--help", NULL}, *const version[] = {"--version", NULL};
	char option[64];

	assert_int_equal(load_catching_output(help), 1);
	for (size_t i = 0; i < COUNT(every_option); i++) {
		snprintf(option, sizeof(option), "  --%s ", every_option[i].key);
		assert_non_null(strstr(printed, option));
	}
	assert_non_null(strstr(printed, "  --interface IF "));
	assert_non_null(strstr(printed, "  --listen [ADDR:]PORT[=MODEL] "));
	assert_non_null(strstr(printed, "[3000]"));
	for (char *line = strtok(printed, "\n"); line; line = strtok(NULL, "\n"))
		assert_true(strlen(line) <= 100);
	assert_int_equal(load_catching_output(version), 1);
	assert_int_equal(strncmp(printed, "sluiced ", 8), 0);
}

static void the_example_file_is_valid(void **state)
{
	static const char *const args[] = {"--config", "user/config/sluice.example.yaml", NULL};

	if (access(args[1], R_OK))
		skip(); /* not started from the top of the tree */
	if (load_from(args, NULL))
		fail_msg("%s", printed);
	assert_int_equal(config.service_count, 5);
	assert_int_equal(config.model_count, 3);
	assert_int_equal(config.quota_count, 2);
	assert_int_equal(config.priority_count, 2);
	assert_true(config.ttft_ms_per_kib == 0.2);
	assert_false(config.quotas[0].subject.one);
	assert_int_equal(config.quotas[0].quota.requests.burst, 50);
	assert_true(config.quotas[1].subject.one);
	assert_string_equal(config.quotas[1].model, "llama-3-70b");
	assert_true(config.models[0].has_quota);
	assert_int_equal(config.models[0].quota.tokens.most, 5000);
	assert_int_equal(config.prefix_count, 2);
	assert_int_equal(config.prefixes[0].prefix.plen, 96 + 16);
	assert_int_equal(config.prefixes[0].weight, 4 * SLUICE_WEIGHT_ONE);
	config_free(&config);
}

static void durations_are_read_by_the_cores_parser(void **state)
{
	double ms = 0;

	assert_int_equal(parse_duration_ms("15s", 1, &ms), 0);
	assert_true(ms == 15000);
	assert_int_equal(parse_duration_ms("10", 60000, &ms), 0);
	assert_true(ms == 600000);
	assert_int_equal(parse_duration_ms("ten", 1, &ms), -EINVAL);
	assert_true(ms == 600000);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_as_documented),
		cmocka_unit_test(without_an_interface_auto_is_the_only_one),
		cmocka_unit_test(a_process_is_the_path_of_its_network_namespace),
		cmocka_unit_test(the_command_line_beats_the_environment_beats_the_file),
		cmocka_unit_test(the_file_is_found_by_option_or_variable),
		cmocka_unit_test(the_sizes_of_the_maps_are_settings),
		cmocka_unit_test(check_reads_a_file_like_config_and_is_no_variable),
		cmocka_unit_test(a_control_group_is_a_name_or_a_number),
		cmocka_unit_test(an_empty_variable_counts_as_unset_and_an_unknown_one_is_ignored),
		cmocka_unit_test(a_list_from_a_stronger_source_replaces_the_weaker_one),
		cmocka_unit_test(durations_have_targets_from_every_source),
		cmocka_unit_test(a_policy_without_numbers_has_the_defaults),
		cmocka_unit_test(other_hosts_reach_the_metrics_with_credentials_only),
		cmocka_unit_test(the_last_of_a_repeated_single_option_counts),
		cmocka_unit_test(help_and_version_need_no_other_option),
		cmocka_unit_test(the_example_file_is_valid),
		cmocka_unit_test(durations_are_read_by_the_cores_parser),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
