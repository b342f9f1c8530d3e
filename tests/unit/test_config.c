/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The configuration from the outside: a file, an environment and a command line go in, a struct or
 * one line that says what is wrong comes out. Each row is such a case. FILE in an expected line
 * stands for the path of the row's file.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/config.h"
#include "core/parse.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))
#define ARGS_MAX    10
#define BASE        "--interface", "lo", "--listen", "8000"

static char dir[] = "/tmp/sluice-test-config-XXXXXX", path[64];
static char printed[16384]; /* the last run's error, or output */
static struct config config;

static int make_dir(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/sluice.yaml", dir);
	return 0;
}

static int remove_dir(void **state)
{
	unlink(path);
	return rmdir(dir);
}

static void write_file(const char *text, size_t len)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static int load_from(const char *const *args, const char *const *env)
{
	char *argv[ARGS_MAX + 2] = {"sluiced"};
	int argc = 1;

	for (; args && args[argc - 1]; argc++)
		argv[argc] = (char *)args[argc - 1];
	printed[0] = '\0';
	return config_load(&config, argc, argv, (char *const *)env, printed, sizeof(printed));
}

/* load_from() with what it writes to standard output caught in `printed`. */
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

/* Loads what must load. */
static void load(const char *yaml, const char *const *args, const char *const *env)
{
	const char *all[ARGS_MAX + 1] = {NULL};
	size_t n = 0;

	if (yaml) {
		write_file(yaml, strlen(yaml));
		all[n++] = "--config";
		all[n++] = path;
	}
	while (args && *args)
		all[n++] = *args++;
	if (load_from(all, env))
		fail_msg("%s", printed);
	assert_string_equal(printed, "");
}

/* Loads what must not, and holds the one line against `want`, where FILE is the path. */
static void refuse(const char *what, const char *yaml, size_t yaml_len, const char *const *args,
		   const char *const *env, const char *want)
{
	const char *all[ARGS_MAX + 1] = {NULL}, *file = strstr(want, "FILE");
	char line[1024];
	struct config before;
	size_t n = 0;
	int rc;

	if (yaml) {
		write_file(yaml, yaml_len);
		all[n++] = "--config";
		all[n++] = path;
	}
	while (args && *args)
		all[n++] = *args++;
	if (file)
		snprintf(line, sizeof(line), "%.*s%s%s", (int)(file - want), want, path, file + 4);
	else
		snprintf(line, sizeof(line), "%s", want);
	memset(&config, 0xa5, sizeof(config));
	before = config;
	rc = load_from(all, env);
	if (rc != -EINVAL || strcmp(printed, line))
		fail_msg("%s: %d, \"%s\" where \"%s\" is expected", what, rc, printed, line);
	assert_memory_equal(&before, &config, sizeof(config));
}

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
	assert_true(config.time_constant_secs == 15);
	assert_true(config.per_model_limits);
	assert_int_equal(config.policy, CONTROLLER_ADAPTIVE);
	assert_int_equal(config.action, SLUICE_ACTION_REPLY);
	assert_int_equal(config.mode, SLUICE_MODE_ENFORCE);
	assert_int_equal(config.lease_ms, 3000);
	assert_string_equal(config.pin_dir, "/sys/fs/bpf/sluice");
	assert_string_equal(config.control, "/run/sluice/control.sock");
	assert_string_equal(config.metrics_addr, "127.0.0.1");
	assert_int_equal(config.metrics_port, 9464);
	assert_int_equal(config.xdp, CONFIG_XDP_AUTO);
	assert_null(config.file);
	config_free(&config);
}

/* All that a single value can be seen by, as one line. */
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
	const char *seen[3];  /* describe() says so for each */
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
	 {"0.0.0.0:1", "off", "\"[::1]:65535\""},
	 {T P "0.0.0.0:1 0", T P "off:0 0", T P "::1:65535 0"}},
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
	/* … and the option beats the variable, so that the missing file is never opened. */
	snprintf(variable, sizeof(variable), "SLUICE_CONFIG=%s/missing", dir);
	load("lease-ms: 500\n", args, env);
	assert_int_equal(config.lease_ms, 500);
	assert_string_equal(config.file, path);
	config_free(&config);
}

static void an_empty_variable_is_none_and_a_strange_one_is_not_ours(void **state)
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

static void a_listen_is_an_address_a_port_and_a_model(void **state)
{
	static const struct {
		const char *text, *addr; /* NULL: wildcard */
		uint16_t port;
		const char *model;
	} rows[] = {
		{"8000", NULL, 8000, "default"},
		{"1", NULL, 1, "default"},
		{"65535=m", NULL, 65535, "m"},
		{"*:80", NULL, 80, "default"},
		{"0.0.0.0:80", NULL, 80, "default"},
		{"[::]:80", NULL, 80, "default"},
		{"10.1.2.3:80=org/llama:8b", "::ffff:10.1.2.3", 80, "org/llama:8b"},
		{"127.0.0.1:80=a=b", "::ffff:127.0.0.1", 80, "a=b"},
		{"[::1]:8000=q", "::1", 8000, "q"},
		{"[2001:db8::7]:443", "2001:db8::7", 443, "default"},
		{"[::ffff:1.2.3.4]:443", "::ffff:1.2.3.4", 443, "default"},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *args[] = {"--interface", "lo", "--listen", rows[i].text, NULL};
		const struct service *s;
		uint8_t addr[16] = {0};

		load(NULL, args, NULL);
		s = &config.services[0];
		if (rows[i].addr)
			inet_pton(AF_INET6, rows[i].addr, addr);
		if (s->wildcard != !rows[i].addr || memcmp(s->addr, addr, 16) ||
		    s->port != rows[i].port || strcmp(s->model, rows[i].model))
			fail_msg("%s", rows[i].text);
		config_free(&config);
	}
}

static void a_service_takes_from_the_defaults_what_it_does_not_say(void **state)
{
	static const char yaml[] = "interface: lo\n"
				   "listen: 1\n"
				   "services:\n"
				   "- listen: 2\n"
				   "- {listen: 3, protocol: opaque, mode: enforce}\n"
				   "- {listen: 4=x, protocol: opaque, action: drop, unary: true}\n"
				   "- {listen: 5, model: y, action: reply, mode: shadow}\n"
				   "action: reset\n";
	static const char *const args[] = {"--mode", "shadow", NULL};
	static const struct {
		enum sluice_protocol protocol;
		enum sluice_action action;
		enum sluice_mode mode;
		bool unary;
		const char *model;
	} want[] = {
		{SLUICE_PROTOCOL_HTTP, SLUICE_ACTION_RESET, SLUICE_MODE_SHADOW, false, "default"},
		{SLUICE_PROTOCOL_HTTP, SLUICE_ACTION_RESET, SLUICE_MODE_SHADOW, false, "default"},
		{SLUICE_PROTOCOL_OPAQUE, SLUICE_ACTION_RESET, SLUICE_MODE_ENFORCE, false,
		 "default"},
		{SLUICE_PROTOCOL_OPAQUE, SLUICE_ACTION_DROP, SLUICE_MODE_SHADOW, true, "x"},
		{SLUICE_PROTOCOL_HTTP, SLUICE_ACTION_REPLY, SLUICE_MODE_SHADOW, false, "y"},
	};

	load(yaml, args, NULL);
	assert_int_equal(config.service_count, COUNT(want));
	for (unsigned i = 0; i < COUNT(want); i++) {
		const struct service *s = &config.services[i];

		if (s->port != i + 1 || s->protocol != want[i].protocol ||
		    s->action != want[i].action || s->mode != want[i].mode ||
		    s->unary != want[i].unary || strcmp(s->model, want[i].model))
			fail_msg("service %u", i + 1);
	}
	config_free(&config);
}

static void a_service_says_which_requests_are_judged(void **state)
{
	static const char yaml[] = "interface: lo\n"
				   "services:\n"
				   "- listen: 1\n"
				   "- listen: 2\n"
				   "  judge-methods: [POST, PUT]\n"
				   "  judge-paths: [/v1/]\n"
				   "  pass-paths:\n"
				   "  - /v1/tokenize\n"
				   "  - /v1/audio/\n"
				   "  model-paths: [/v1/m/]\n"
				   "  model-from: [header, path]\n"
				   "  model-header: X-Model\n"
				   "  on-framing-error: reset\n"
				   "- {listen: 3, protocol: opaque}\n";
	static const char *const prefixes[] = {"/v1/tokenize", "/v1/audio/", "/v1/m/", "/v1/", "/"};
	const struct sluice_rules *r;

	load(yaml, NULL, NULL);
	r = &config.services[0].rules;
	assert_false(config.services[0].framing_error_reset);
	assert_int_equal(r->methods, 1 << HTTP1_METHOD_POST);
	assert_int_equal(r->count, 5);
	assert_int_equal(r->source[0], SLUICE_SOURCE_PATH);
	assert_int_equal(r->source[1], SLUICE_SOURCE_BODY);
	r = &config.services[1].rules;
	assert_true(config.services[1].framing_error_reset);
	assert_int_equal(r->methods, 1 << HTTP1_METHOD_POST | 1 << HTTP1_METHOD_PUT);
	assert_int_equal(r->source[0], SLUICE_SOURCE_HEADER);
	assert_int_equal(r->source[1], SLUICE_SOURCE_PATH);
	assert_int_equal(r->source[2], SLUICE_SOURCE_NONE);
	assert_string_equal(r->header, "x-model");
	assert_int_equal(r->count, COUNT(prefixes));
	for (unsigned i = 0; i < r->count; i++)
		assert_string_equal(r->rule[i].prefix, prefixes[i]);
	assert_int_equal(config.services[2].rules.methods, 0);
	config_free(&config);
}

static void a_service_says_who_its_clients_are(void **state)
{
	static const char good[] =
		"interface: lo\n"
		"services:\n"
		"- listen: 1\n"
		"- listen: 2\n"
		"  identity: [authorization, \"header:X-My-Key\", forwarded, x-api-key, address]\n"
		"  trusted-proxies: [10.0.0.0/8, fd00::1]\n"
		"  proxy-protocol: on\n"
		"  client-prefix-v4: 24\n"
		"  client-prefix-v6: 56\n"
		"- {listen: 3, protocol: opaque, client-prefix-v6: 48}\n";
	const struct service *s;

	load(good, NULL, NULL);
	s = &config.services[0];
	assert_int_equal(s->identity.plen4, 32);
	assert_int_equal(s->identity.plen6, 64);
	assert_int_equal(s->identity.forwarded_at, 0);
	assert_int_equal(s->rules.key[0][0], 0);
	s = &config.services[1];
	assert_string_equal(s->rules.key[0], "authorization");
	assert_string_equal(s->rules.key[1], "x-my-key");
	assert_string_equal(s->rules.key[2], "x-api-key");
	assert_string_equal(s->rules.forwarded, "forwarded");
	assert_int_equal(s->identity.forwarded_at, 3);
	assert_true(s->identity.proxy);
	assert_int_equal(s->identity.plen4, 24);
	assert_int_equal(s->identity.plen6, 56);
	assert_int_equal(s->identity.trusted_count, 2);
	assert_int_equal(s->identity.trusted[0].plen, 104);
	assert_int_equal(s->identity.trusted[1].plen, 128);
	assert_int_equal(config.services[2].identity.plen6, 48);
	config_free(&config);
}

static void an_opaque_service_resets_where_a_reply_is_only_the_default(void **state)
{
	static const char *const args[] = {BASE, "--protocol", "opaque", NULL};

	load(NULL, args, NULL);
	assert_int_equal(config.services[0].action, SLUICE_ACTION_RESET);
	config_free(&config);
}

static void models_have_targets_of_their_own(void **state)
{
	static const char yaml[] = "models:\n"
				   "- {name: a, ttft-threshold-ms: 800ms, itl-threshold-ms: 25,"
				   " max-in-flight: 64, unary: true}\n"
				   "- {name: b, itl-threshold-ms: none, max-in-flight: off}\n";
	static const char *const args[] = {BASE, NULL};
	const struct config_model *m;

	load(yaml, args, NULL);
	assert_int_equal(config.model_count, 2);
	m = &config.models[0];
	assert_string_equal(m->name, "a");
	assert_true(m->ttft_threshold_ms == 800 && m->itl_threshold_ms == 25);
	assert_int_equal(m->max_in_flight, 64);
	assert_true(m->unary);
	m = &config.models[1];
	assert_string_equal(m->name, "b");
	assert_true(m->ttft_threshold_ms < 0 && m->itl_threshold_ms == 0);
	assert_int_equal(m->max_in_flight, 0);
	assert_false(m->unary);
	config_free(&config);
}

static void targets_may_grow_and_models_share_a_server(void **state)
{
	static const char yaml[] =
		"ttft-threshold-ms: 800 + 0.2/KiB\n"
		"floor: 3\n"
		"models:\n"
		"- {name: a, ttft-threshold-ms: 1s + 0.5ms/KiB, floor: 5, pool: gpu0}\n"
		"- {name: b, pool: gpu0}\n";
	static const char *const args[] = {BASE, NULL};
	static const char *const over[] = {BASE,        "--ttft-threshold-ms", "none",
					   "--floor=4", "--policy=adaptive",   NULL};

	load(yaml, args, NULL);
	assert_true(config.ttft_threshold_ms == 800 && config.ttft_ms_per_kib == 0.2);
	assert_int_equal(config.floor, 3);
	assert_int_equal(config.policy, CONTROLLER_ADAPTIVE);
	assert_true(config.models[0].ttft_threshold_ms == 1000 &&
		    config.models[0].ttft_ms_per_kib == 0.5);
	assert_int_equal(config.models[0].floor, 5);
	assert_string_equal(config.models[0].pool, "gpu0");
	assert_true(config.models[1].ttft_threshold_ms < 0);
	assert_int_equal(config.models[1].floor, 0);
	assert_string_equal(config.models[1].pool, "gpu0");
	config_free(&config);
	load(yaml, over, NULL);
	assert_true(config.ttft_threshold_ms < 0 && config.ttft_ms_per_kib == 0);
	assert_int_equal(config.floor, 4);
	config_free(&config);
}

static void priorities_are_of_clients_and_of_a_headers_values(void **state)
{
	static const char yaml[] =
		"services:\n"
		"- listen: 80\n"
		"  priority-header: X-Priority\n"
		"  priority-values: {interactive: high, batch: low, \"a = b\": lowest}\n"
		"- listen: 81\n"
		"  priority-header: x-stainless-retry-count\n"
		"  priority-values: {\"1\": low, 2: low}\n"
		"- listen: 82\n"
		"priorities:\n"
		"- {client: 10.0.0.0/8, class: low}\n"
		"- {client: 192.0.2.7, class: high}\n"
		"- {class: lowest, client: \"key:0123456789abcdef\"}\n"
		"- {client: \"2001:db8::5\", class: normal}\n";
	static const char *const args[] = {"--interface=lo", NULL};
	const struct priority *p;

	load(yaml, args, NULL);
	p = &config.services[0].priority;
	assert_string_equal(config.services[0].rules.priority, "x-priority");
	assert_int_equal(p->count, 3);
	for (unsigned i = 0; i < 3; i++) {
		static const struct {
			const char *text;
			unsigned class;
		} want[] = {{"interactive", 0}, {"batch", 2}, {"a = b", 3}};

		assert_string_equal(p->values[i].text, want[i].text);
		assert_int_equal(p->values[i].class, want[i].class);
	}
	p = &config.services[1].priority;
	assert_string_equal(config.services[1].rules.priority, "x-stainless-retry-count");
	assert_int_equal(p->count, 2);
	assert_string_equal(p->values[0].text, "1");
	assert_string_equal(p->values[1].text, "2");
	assert_int_equal(config.services[2].rules.priority[0], 0);
	assert_int_equal(config.services[2].priority.count, 0);
	assert_int_equal(config.priority_count, 4);
	assert_false(config.priorities[0].key);
	assert_int_equal(config.priorities[0].prefix.plen, 104);
	assert_int_equal(config.priorities[0].class, 2);
	assert_int_equal(config.priorities[1].prefix.plen, 128);
	assert_int_equal(config.priorities[1].class, 0);
	assert_true(config.priorities[2].key);
	assert_int_equal(config.priorities[2].client.kind, SLUICE_CLIENT_KEY);
	assert_int_equal(config.priorities[2].class, 3);
	assert_int_equal(config.priorities[3].prefix.plen, 64);
	config_free(&config);
}

static void a_policy_without_numbers_has_the_reference_ones(void **state)
{
	static const struct {
		const char *what, *yaml, *args[7];
		double ttft, itl;
	} rows[] = {
		{"nothing asked", NULL, {BASE, NULL}, -1, -1},
		{"policy", NULL, {BASE, "--policy", "ema-flag", NULL}, 1000, 30},
		{"policy in the file", "policy: ema-flag\n", {BASE, NULL}, 1000, 30},
		{"one number",
		 "policy: ema-flag\n",
		 {BASE, "--ttft-threshold-ms", "5", NULL},
		 5,
		 -1},
		{"the other", "itl-threshold-ms: 7\n", {BASE, "--policy=ema-flag", NULL}, -1, 7},
		{"told to have none",
		 "ttft-threshold-ms: none\n",
		 {BASE, "--policy=ema-flag", NULL},
		 -1,
		 -1},
		{"a model's number",
		 "models: [{name: a, ttft-threshold-ms: 9}]\n",
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

#define NO_LEASE  " is not a number from 100 to 600000"
#define NO_LISTEN " is not [ADDR:]PORT[=MODEL], like 8000, 10.0.0.1:8000=llama or [::1]:8000"
#define NO_THRESHOLD                                                                               \
	" is not a number of milliseconds above 0 and at most 10000000 (or 1.5s, 2m), nor none"
#define NO_TAU       " is not a number of seconds from 0.001 to 86400 (or 500ms, 2m)"
#define NO_METRICS   " is not ADDR:PORT, like 127.0.0.1:9464 or [::1]:9464, nor off"
#define NO_INTERFACE " is not an interface's name (1 to 15 bytes, like eth0)"

static void a_wrong_argument_is_one_line_that_names_it(void **state)
{
	static const struct {
		const char *args[7], *want;
	} rows[] = {
		{{BASE, "--lease-ms", "abc", NULL}, "--lease-ms: \"abc\"" NO_LEASE},
		{{BASE, "--lease-ms=", NULL}, "--lease-ms: \"\"" NO_LEASE},
		{{BASE, "--lease-ms", "99", NULL}, "--lease-ms: \"99\"" NO_LEASE},
		{{BASE, "--lease-ms", "600001", NULL}, "--lease-ms: \"600001\"" NO_LEASE},
		{{BASE, "--lease-ms", "100.5", NULL}, "--lease-ms: \"100.5\"" NO_LEASE},
		{{BASE, "--lease-ms", "-3000", NULL}, "--lease-ms: \"-3000\"" NO_LEASE},
		{{BASE, "--lease-ms", "4294970296", NULL}, "--lease-ms: \"4294970296\"" NO_LEASE},
		{{BASE, "--ttft-threshold-ms", "nan", NULL},
		 "--ttft-threshold-ms: \"nan\"" NO_THRESHOLD},
		{{BASE, "--itl-threshold-ms", "0", NULL}, "--itl-threshold-ms: \"0\"" NO_THRESHOLD},
		{{BASE, "--time-constant-secs", "inf", NULL},
		 "--time-constant-secs: \"inf\"" NO_TAU},
		{{BASE, "--per-model-limits", "yes", NULL},
		 "--per-model-limits: \"yes\" is not one of true, false"},
		{{BASE, "--policy", "x", NULL}, "--policy: \"x\" is not one of adaptive, ema-flag"},
		{{BASE, "--protocol", "grpc", NULL},
		 "--protocol: \"grpc\" is not one of http, opaque"},
		{{BASE, "--action", "429", NULL},
		 "--action: \"429\" is not one of reply, reset, drop"},
		{{BASE, "--mode", "on", NULL}, "--mode: \"on\" is not one of enforce, shadow"},
		{{BASE, "--xdp", "skb", NULL},
		 "--xdp: \"skb\" is not one of auto, native, generic, off"},
		{{BASE, "--metrics", "9464", NULL}, "--metrics: \"9464\"" NO_METRICS},
		{{BASE, "--metrics", "localhost:9464", NULL},
		 "--metrics: \"localhost:9464\"" NO_METRICS},
		{{BASE, "--metrics", "1.2.3.4:0", NULL}, "--metrics: \"1.2.3.4:0\"" NO_METRICS},
		{{BASE, "--pin-dir", "here", NULL},
		 "--pin-dir: \"here\" is not an absolute path of at most 255 bytes"},
		{{BASE, "--control=", NULL}, "--control: \"\" is not a path of at most 107 bytes"},
		{{BASE, "--config=", NULL}, "--config: \"\" is not a path"},
		{{BASE, "--interface", "lo", NULL}, "--interface: \"lo\" is given twice"},
		{{BASE, "--interface", "a/b", NULL}, "--interface: \"a/b\"" NO_INTERFACE},
		{{BASE, "--interface", "a-name-too-long-", NULL},
		 "--interface: \"a-name-too-long-\"" NO_INTERFACE},
		{{BASE, "--listen", "8000", NULL}, "--listen: \"8000\" is given twice"},
		{{BASE, "--listen", "0.0.0.0:8000=x", NULL},
		 "--listen: \"0.0.0.0:8000=x\" is given twice"},
		{{BASE, "--listen", "", NULL}, "--listen: \"\"" NO_LISTEN},
		{{BASE, "--listen", "0", NULL}, "--listen: \"0\"" NO_LISTEN},
		{{BASE, "--listen", "65536", NULL}, "--listen: \"65536\"" NO_LISTEN},
		{{BASE, "--listen", "+80", NULL}, "--listen: \"+80\"" NO_LISTEN},
		{{BASE, "--listen", ":80", NULL}, "--listen: \":80\"" NO_LISTEN},
		{{BASE, "--listen", "::1:80", NULL}, "--listen: \"::1:80\"" NO_LISTEN},
		{{BASE, "--listen", "[1.2.3.4]:80", NULL}, "--listen: \"[1.2.3.4]:80\"" NO_LISTEN},
		{{BASE, "--listen", "[]:80", NULL}, "--listen: \"[]:80\"" NO_LISTEN},
		{{BASE, "--listen", "[::1:80", NULL}, "--listen: \"[::1:80\"" NO_LISTEN},
		{{BASE, "--listen", "[fe80::1%lo]:80", NULL},
		 "--listen: \"[fe80::1%lo]:80\"" NO_LISTEN},
		{{BASE, "--listen", "1.2.3:80", NULL}, "--listen: \"1.2.3:80\"" NO_LISTEN},
		{{BASE, "--listen", "host:80", NULL}, "--listen: \"host:80\"" NO_LISTEN},
		{{BASE, "--listen", "80\n=m", NULL}, "--listen: \"80?=m\"" NO_LISTEN},
		{{BASE, "--listen", "80=", NULL},
		 "--listen: \"\" is not a model's name: 1 to 95 bytes of text without control characters"},
		{{BASE, "--listen", "80=other", NULL},
		 "--listen: \"other\" is a name of sluice's own, not of a model"},
		{{"--listen", "80", NULL},
		 "--interface: no interface is given; name one, for example --interface eth0"},
		{{"--interface", "lo", NULL},
		 "--listen: no service is given; name one, for example --listen 8000"},
		{{NULL},
		 "--interface: no interface is given; name one, for example --interface eth0"},
		{{BASE, "--lease-ms", NULL}, "--lease-ms: needs a value: N"},
		{{BASE, "--mode", "--xdp", NULL}, "--mode: needs a value: enforce|shadow"},
		{{BASE, "--lease", "5", NULL},
		 "command line: unknown option \"--lease\"; did you mean \"--lease-ms\"?"},
		{{BASE, "--lease_ms=5", NULL},
		 "command line: unknown option \"--lease_ms\"; did you mean \"--lease-ms\"?"},
		{{BASE, "--quantum-entangle", NULL},
		 "command line: unknown option \"--quantum-entangle\"; see --help"},
		{{BASE, "-v", NULL}, "command line: \"-v\" is not an option; see --help"},
		{{BASE, "8001", NULL}, "command line: \"8001\" is not an option; see --help"},
		{{BASE, "--", NULL}, "command line: \"--\" is not an option; see --help"},
		{{BASE, "--help=yes", NULL}, "--help: takes no value"},
	};

	for (size_t i = 0; i < COUNT(rows); i++)
		refuse("arguments", NULL, 0, rows[i].args, NULL, rows[i].want);
}

static void a_wrong_variable_is_one_line_that_names_it(void **state)
{
	static const char *const args[] = {BASE, NULL};
	static const struct {
		const char *env[2], *want;
	} rows[] = {
		{{"SLUICE_LEASE_MS=abc", NULL}, "SLUICE_LEASE_MS: \"abc\"" NO_LEASE},
		{{"SLUICE_TTFT_THRESHOLD_MS=-1", NULL},
		 "SLUICE_TTFT_THRESHOLD_MS: \"-1\"" NO_THRESHOLD},
		{{"SLUICE_MODE=x", NULL}, "SLUICE_MODE: \"x\" is not one of enforce, shadow"},
		{{"SLUICE_LISTEN=80,x", NULL}, "SLUICE_LISTEN: \"x\"" NO_LISTEN},
		{{"SLUICE_INTERFACE=a b a", NULL}, "SLUICE_INTERFACE: \"a\" is given twice"},
		{{"SLUICE_POLICY=x", NULL},
		 "SLUICE_POLICY: \"x\" is not one of adaptive, ema-flag"},
	};

	for (size_t i = 0; i < COUNT(rows); i++)
		refuse(rows[i].env[0], NULL, 0, args, rows[i].env, rows[i].want);
}

static void a_wrong_file_is_one_line_that_names_file_and_key(void **state)
{
	static const char *const args[] = {"--interface=lo", NULL};
	static const struct {
		const char *yaml, *want;
	} rows[] = {
		{"lease-ms: \"abc\"\n", "FILE: lease-ms: \"abc\"" NO_LEASE},
		{"lease-ms:\n", "FILE: lease-ms: \"\"" NO_LEASE},
		{"lease-ms: [500]\n", "FILE: lease-ms: one value is expected, not a list"},
		{"lease-ms: {a: 1}\n", "FILE: lease-ms: one value is expected, not a mapping"},
		{"lease-ms: 500\nlease-ms: 600\n", "FILE: \"lease-ms\" stands there twice"},
		{"leasems: 5\n", "FILE: unknown key \"leasems\"; did you mean \"lease-ms\"?"},
		{"ttft_threshold_ms: 5\n",
		 "FILE: unknown key \"ttft_threshold_ms\"; did you mean \"ttft-threshold-ms\"?"},
		{"service: [{listen: 1}]\n",
		 "FILE: unknown key \"service\"; did you mean \"services\"?"},
		{"qwertyuiop: 5\n", "FILE: unknown key \"qwertyuiop\""},
		{"help: true\n", "FILE: unknown key \"help\""},
		{"config: other.yaml\n", "FILE: unknown key \"config\""},
		{"policy: x\n", "FILE: policy: \"x\" is not one of adaptive, ema-flag"},
		{"ttft-threshold-ms: 800 + x/KiB\n",
		 "FILE: ttft-threshold-ms: \"800 + x/KiB\" is not a target that grows with the request, like 800 + 0.2/KiB or 1s + 0.5ms/KiB"},
		{"floor: 0\n", "FILE: floor: \"0\" is not a whole number from 1 to 4096"},
		{"listen: 80\nmodels: [{name: \"pool:a\"}]\n",
		 "FILE: models entry 1: name: \"pool:a\" is a pool's name, not a model's"},
		{"listen: 80\nmodels: [{name: a, pool: \"\"}]\n",
		 "FILE: models entry 1: pool: \"\" is not a pool's name: 1 to 90 bytes of text without control characters"},
		{"listen: 80\nmodels: [{name: a, pool: 1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901}]\n",
		 "FILE: models entry 1: pool: \"1234567890123456789012345678901234567890123456789012345678901234…\" is not a pool's name: 1 to 90 bytes of text without control characters"},
		{"listen: 80\nper-model-limits: false\nmodels: [{name: a, pool: g}]\n",
		 "FILE: models entry 1: all models are one pool while per-model-limits is false"},
		{"listen: 80\npriorities: [{client: 10.0.0.1}]\n",
		 "FILE: priorities entry 1: class is missing"},
		{"listen: 80\npriorities: [{class: low}]\n",
		 "FILE: priorities entry 1: client is missing"},
		{"listen: 80\npriorities: [{client: 10.0.0.1, class: top}]\n",
		 "FILE: priorities entry 1: class: \"top\" is not one of high, normal, low, lowest"},
		{"listen: 80\npriorities: [{client: nobody, class: low}]\n",
		 "FILE: priorities entry 1: client: \"nobody\" is not a client: an address, a prefix or key:ID (192.0.2.1, 10.0.0.0/8, 2001:db8::/48)"},
		{"listen: 80\npriorities: [{client: \"key=sk-1\", class: low}]\n",
		 "FILE: priorities entry 1: client: a secret does not belong into this file: name the key as key:ID, as `sluicectl clients` prints it"},
		{"listen: 80\npriorities: [{client: 10.1.0.0/8, class: low}, {client: 10.0.0.0/8, class: high}]\n",
		 "FILE: priorities entry 2: this client has a class already, in priorities entry 1"},
		{"services: [{listen: 80, priority-values: {a: low}}]\n",
		 "FILE: services entry 1: priority-values needs priority-header: whose values these are"},
		{"services: [{listen: 80, priority-header: x}]\n",
		 "FILE: services entry 1: priority-header needs priority-values, like {interactive: high, batch: low}"},
		{"services: [{listen: 80, priority-header: x, priority-values: {a: top}}]\n",
		 "FILE: services entry 1: priority-values: a: \"top\" is not one of high, normal, low, lowest"},
		{"services: [{listen: 80, priority-header: x, priority-values: {a: [low]}}]\n",
		 "FILE: services entry 1: a: one value is expected, not a list"},
		{"services: [{listen: 80, priority-header: x, priority-values: {a: low, a: high}}]\n",
		 "FILE: services entry 1: \"a\" stands there twice"},
		{"services: [{listen: 80, priority-header: x, priority-values: [a]}]\n",
		 "FILE: services entry 1: priority-values: a mapping is expected, not a list"},
		{"services: [{listen: 80, priority-header: x, priority-values: {\" a\": low}}]\n",
		 "FILE: services entry 1: priority-values: \" a=low\" is not a header's value: 1 to 63 printable ASCII characters, no space around them"},
		{"services: [{listen: 80, priority-header: \"x y\", priority-values: {a: low}}]\n",
		 "FILE: services entry 1: priority-header: \"x y\" is not the name of a header that may say a priority: 1 to 31 letters, digits, - and _, like x-priority"},
		{"services: [{listen: 80, identity: x-api-key, priority-header: x-api-key, priority-values: {a: low}}]\n",
		 "FILE: services entry 1: identity: a list is expected, not one value"},
		{"services: [{listen: 80, identity: [x-api-key], priority-header: X-API-Key, priority-values: {a: low}}]\n",
		 "FILE: services entry 1: \"x-api-key\" is read for something else, so it cannot be priority-header"},
		{"services: [{listen: 80, protocol: opaque, priority-header: x, priority-values: {a: low}}]\n",
		 "FILE: services entry 1: methods, paths, model-from, model-header, priorities and on-framing-error are of requests, which only protocol http sees"},
		{"listen: [80, http]\n", "FILE: listen: \"http\"" NO_LISTEN},
		{"listen: [80, 80]\n", "FILE: listen: \"80\" is given twice"},
		{"listen: [[80]]\n", "FILE: listen entry 1: one value is expected, not a list"},
		{"listen: {a: 80}\n", "FILE: listen: a list is expected, not a mapping"},
		{"listen:\n", "FILE: listen: \"\"" NO_LISTEN},
		{"interface:\n", "FILE: interface: \"\"" NO_INTERFACE},
		{"services: 80\n", "FILE: services: a list is expected, not one value"},
		{"services: [80]\n",
		 "FILE: services entry 1: a mapping is expected, not one value"},
		{"services: [{}]\n", "FILE: services entry 1: listen is missing"},
		{"services: [{listen: 80}, {listen: x}]\n",
		 "FILE: services entry 2: listen: \"x\"" NO_LISTEN},
		{"services: [{listen: 80, lisen: 1}]\n",
		 "FILE: services entry 1: unknown key \"lisen\"; did you mean \"listen\"?"},
		{"services: [{listen: 80, mode: [a]}]\n",
		 "FILE: services entry 1: mode: one value is expected, not a list"},
		{"services: [{listen: 80, mode: off}]\n",
		 "FILE: services entry 1: mode: \"off\" is not one of enforce, shadow"},
		{"services: [{listen: 80, unary: 1}]\n",
		 "FILE: services entry 1: unary: \"1\" is not one of true, false"},
		{"services: [{listen: 80=a, model: b}]\n",
		 "FILE: services entry 1: model: listen names a model already"},
		{"services: [{listen: 80, protocol: opaque, action: reply}]\n",
		 "FILE: services entry 1: action: \"reply\" needs protocol http; use reset or drop"},
		{"services: [{listen: 80, judge-paths: /v1/}]\n",
		 "FILE: services entry 1: judge-paths: a list is expected, not one value"},
		{"services: [{listen: 80, pass-paths: [/a, [/b]]}]\n",
		 "FILE: services entry 1: pass-paths: one value is expected, not a list"},
		{"services: [{listen: 80, pass-paths: [/a, b]}]\n",
		 "FILE: services entry 1: pass-paths: \"b\" is not the beginning of a path: / and up to 47 bytes more, none of them a space, ?, # or %"},
		{"services: [{listen: 80, model-from: [header]}]\n",
		 "FILE: services entry 1: model-from has header, so model-header must name it"},
		{"services: [{listen: 80, on-framing-error: drop}]\n",
		 "FILE: services entry 1: on-framing-error: \"drop\" is not one of pass, reset"},
		{"services: [{listen: 80, protocol: opaque, on-framing-error: reset}]\n",
		 "FILE: services entry 1: methods, paths, model-from, model-header, priorities and on-framing-error are of requests, which only protocol http sees"},
		{"services: [{listen: 80, identity: [cookie]}]\n",
		 "FILE: services entry 1: identity: \"cookie\" is not one of authorization, x-api-key, header:NAME, forwarded, x-forwarded-for, address"},
		{"services: [{listen: 80, identity: [address, x-api-key]}]\n",
		 "FILE: services entry 1: identity: \"x-api-key\" stands behind address, which every request has"},
		{"services: [{listen: 80, identity: [x-api-key, \"header:X-Api-Key\"]}]\n",
		 "FILE: services entry 1: identity: \"header:X-Api-Key\" is given twice"},
		{"services: [{listen: 80, identity: [\"header:a\", \"header:b\", \"header:c\", \"header:d\"]}]\n",
		 "FILE: services entry 1: identity: more than 3 headers that hold a key"},
		{"services: [{listen: 80, identity: [\"header:Content-Length\"]}]\n",
		 "FILE: services entry 1: identity: \"header:Content-Length\" is not header:NAME of a header that may hold a key: 1 to 31 letters, digits, - and _, like header:X-My-Key"},
		{"services: [{listen: 80, identity: [forwarded, x-forwarded-for]}]\n",
		 "FILE: services entry 1: identity: only one of forwarded and x-forwarded-for, the one that the proxies write: the other is any client's word"},
		{"services: [{listen: 80, identity: [forwarded]}]\n",
		 "FILE: services entry 1: forwarded needs trusted-proxies: who may say whose requests these are"},
		{"services: [{listen: 80, trusted-proxies: [10.0.0.0/8]}]\n",
		 "FILE: services entry 1: trusted-proxies is given, but neither proxy-protocol nor forwarded or x-forwarded-for in identity"},
		{"services: [{listen: 80, trusted-proxies: [ten]}]\n",
		 "FILE: services entry 1: trusted-proxies: \"ten\" is not an address or a prefix, like 10.0.0.1, 10.0.0.0/8 or fd00::/8"},
		{"services: [{listen: 80, proxy-protocol: v2}]\n",
		 "FILE: services entry 1: proxy-protocol: \"v2\" is not one of on, off"},
		{"services: [{listen: 80, client-prefix-v4: 33}]\n",
		 "FILE: services entry 1: client-prefix-v4: \"33\" is not a number of bits, 1 to 32"},
		{"services: [{listen: 80, identity: [x-api-key], model-header: X-Api-Key, model-from: [header]}]\n",
		 "FILE: services entry 1: \"x-api-key\" holds a key, so it cannot be model-header"},
		{"services: [{listen: 80, protocol: opaque, identity: [x-api-key]}]\n",
		 "FILE: services entry 1: keys, forwarded addresses and proxy-protocol are read of requests, which only protocol http sees"},
		{"services: [{listen: 80}, {listen: 80}]\n",
		 "FILE: services entry 2: \"80\" is given twice"},
		{"services: [{listen: 80, quota: 100}]\n",
		 "FILE: services entry 1: quota: \"100\" is not KEY=VALUE, like requests=100/60s tokens=20000/60s burst=20, nor none"},
		{"services: [{listen: 80, feedback: on}]\n",
		 "FILE: services entry 1: feedback: \"on\" is not one of off, date"},
		{"services: [{listen: 80, protocol: opaque, quota: requests=1/1s}]\n",
		 "FILE: services entry 1: quota and feedback are of requests, which only protocol http sees"},
		{"listen: 80\nquotas: [{requests: 1/1s}]\n",
		 "FILE: quotas entry 1: client is missing"},
		{"listen: 80\nquotas: [{client: 10.0.0.1}]\n",
		 "FILE: quotas entry 1: requests or tokens is missing"},
		{"listen: 80\nquotas: [{client: 10.0.0.1, burst: 3}]\n",
		 "FILE: quotas entry 1: burst is given without requests"},
		{"listen: 80\nquotas: [{client: key=sk-secret, requests: 1/1s}]\n",
		 "FILE: quotas entry 1: client: a secret does not belong into this file: name the key as key:ID, as `sluicectl clients` prints it"},
		{"listen: 80\nquotas: [{client: 10.0.0.0/8, model: a, requests: 1/1s}]\n",
		 "FILE: quotas entry 1: the quota of a prefix is for all models; name an address to have one for a model"},
		{"listen: 80\nquotas: [{client: 10.0.0.1, requests: 1/1s}, {client: 10.0.0.2, requests: 1/1s}, {client: 10.0.0.1, requests: 2/1s}]\n",
		 "FILE: quotas entry 3: 10.0.0.1 has a quota in quotas entry 1 already"},
		{"listen: 80\nclient-prefixes: [{weight: 2}]\n",
		 "FILE: client-prefixes entry 1: prefix is missing"},
		{"listen: 80\nclient-prefixes: [{prefix: 10.0.0.0/8}]\n",
		 "FILE: client-prefixes entry 1: weight is missing"},
		{"listen: 80\nclient-prefixes: [{prefix: key:0123456789abcdef, weight: 2}]\n",
		 "FILE: client-prefixes entry 1: prefix: \"key:0123456789abcdef\" is not an address or a prefix, like 10.0.0.0/8 or 2001:db8::/48"},
		{"listen: 80\nclient-prefixes: [{prefix: 10.0.0.0/8, weight: heavy}]\n",
		 "FILE: client-prefixes entry 1: weight: \"heavy\" is not a weight: a number from 0.01 to 255 with at most two decimals, like 0.5, 2 or 10"},
		{"listen: 80\nclient-prefixes: [{prefix: 10.0.0.0/8, weight: 2}, {prefix: 11.0.0.0/8, weight: 2}, {prefix: 10.1.2.3/8, weight: 3}]\n",
		 "FILE: client-prefixes entry 3: 10.0.0.0/8 is in client-prefixes entry 1 already"},
		{"listen: 80\nquota: tokens=1/10m\nclient-prefixes: [{prefix: 10.0.0.0/8, weight: 0.5}]\n", "FILE: client-prefixes entry 1: weight 0.5 of the quota tokens=1/600s of a service: tokens: fewer than one in 15 minutes are no rate"},
		{"listen: 80\nservices: [{listen: \"*:80\"}]\n",
		 "FILE: services entry 1: \"*:80\" is given twice"},
		{"listen: 80\nmodels: [{ttft-threshold-ms: 5}]\n",
		 "FILE: models entry 1: name is missing"},
		{"listen: 80\nmodels: [{name: a}, {name: a}]\n",
		 "FILE: models entry 2: model \"a\" is given twice"},
		{"models: [{name: global}]\n",
		 "FILE: models entry 1: name: \"global\" is a name of sluice's own, not of a model"},
		{"models: [{name: a, max-in-flight: 0}]\n",
		 "FILE: models entry 1: max-in-flight: \"0\" is not a whole number from 1 to 1000000, nor none"},
		{"models: [{name: a, itl-threshold-ms: -3}]\n",
		 "FILE: models entry 1: itl-threshold-ms: \"-3\"" NO_THRESHOLD},
		{"listen: 80\nper-model-limits: false\nmodels: [{name: a, itl-threshold-ms: 3}]\n",
		 "FILE: models entry 1: a model has no threshold of its own while per-model-limits is false"},
		{"- 1\n", "FILE: holds a list where \"KEY: VALUE\" lines are expected"},
		{"hello\n", "FILE: holds one value where \"KEY: VALUE\" lines are expected"},
		{"lease-ms: 'x\n",
		 "FILE: is not YAML after line 1: found unexpected end of stream"},
		{"\tlease-ms: 5\n",
		 "FILE: is not YAML: found character that cannot start any token"},
		{"lease-ms: &a 500\npin-dir: *a\n",
		 "FILE: pin-dir: aliases (*name) are not supported"},
		{"lease-ms: 500\n---\nmode: shadow\n",
		 "FILE: holds a second document (---); only one is read"},
		{"---\nlease-ms: 500\n--- # again\nmode: shadow\n",
		 "FILE: holds a second document (---); only one is read"},
		{"\xff\xfe\x80", "FILE: is not YAML: incomplete UTF-16 character"},
		{"\x7f"
		 "ELF\x02\x01",
		 "FILE: is not YAML: control characters are not allowed"},
		{"? [1]\n: 2\n", "FILE: cannot be read as configuration (Internal error)"},
	};

	for (size_t i = 0; i < COUNT(rows); i++)
		refuse(rows[i].yaml, rows[i].yaml, strlen(rows[i].yaml), args, NULL, rows[i].want);
	refuse("a zero byte", "lease-ms: 5\0000", 13, args, NULL,
	       "FILE: is not text: there is a zero byte in it");
}

static void a_file_that_cannot_be_read_is_one_line(void **state)
{
	const char *args[] = {"--config", dir, NULL};
	char missing[64], want[128], *huge = calloc(1, 1024 * 1024 + 1);

	snprintf(want, sizeof(want), "%s: is a directory, not a file", dir);
	refuse("directory", NULL, 0, args, NULL, want);
	snprintf(missing, sizeof(missing), "%s/missing", dir);
	args[1] = missing;
	snprintf(want, sizeof(want), "%s: cannot be opened: No such file or directory", missing);
	refuse("missing", NULL, 0, args, NULL, want);
	memset(huge, '#', 1024 * 1024 + 1);
	refuse("huge", huge, 1024 * 1024 + 1, NULL, NULL, "FILE: is larger than 1 MiB");
	free(huge);
}

static void a_mebibyte_of_comment_is_still_read(void **state)
{
	static const char *const args[] = {BASE, NULL};
	char *most = calloc(1, 1024 * 1024 + 1);

	memset(most, '#', 1024 * 1024);
	load(most, args, NULL);
	config_free(&config);
	free(most);
}

static void an_empty_file_says_nothing(void **state)
{
	static const char *const args[] = {BASE, NULL};
	static const char *const rows[] = {"", "\n", "# only a comment\n", "---\nlease-ms: 3000\n",
					   "%YAML 1.1\n---\nlease-ms: 3000\n"};

	for (size_t i = 0; i < COUNT(rows); i++) {
		load(rows[i], args, NULL);
		assert_int_equal(config.lease_ms, 3000);
		config_free(&config);
	}
}

static void too_many_of_anything_is_refused(void **state)
{
	static const struct {
		const char *head, *each; /* %d */
		int most;
		const char *want;
	} rows[] = {
		{"listen:\n", "- %d\n", 256, "FILE: listen: more than 256 services"},
		{"services:\n", "- listen: %d\n", 256,
		 "FILE: services entry 257: more than 256 services"},
		{"listen: 80\ninterfaces:\n", "- if%d\n", 63,
		 "FILE: interfaces: more than 64 interfaces"},
		{"listen: 80\nmodels:\n", "- name: m%d\n", 1021,
		 "FILE: more than 1022 models, pools and default models of services included"},
		{"listen: 80=m7\nmodels:\n", "- name: m%d\n", 1022,
		 "FILE: models entry 1023: more than 1022 models"},
	};
	static char yaml[40000];

	for (size_t i = 0; i < COUNT(rows); i++) {
		static const char *const env[] = {"SLUICE_PIN_DIR=/x", NULL};
		char *at = yaml + sprintf(yaml, "interface: lo\n%s", rows[i].head);

		for (int n = 1; n <= rows[i].most; n++)
			at += sprintf(at, rows[i].each, n);
		load(yaml, NULL, env);
		config_free(&config);
		sprintf(at, rows[i].each, rows[i].most + 1);
		refuse(rows[i].head, yaml, strlen(yaml), NULL, env, rows[i].want);
	}
}

static void a_model_name_of_95_bytes_is_the_longest(void **state)
{
	char text[128] = "80=", want[256];
	const char *args[] = {"--interface", "lo", "--listen", text, NULL};

	memset(text + 3, 'x', 95);
	load(NULL, args, NULL);
	assert_int_equal(strlen(config.services[0].model), 95);
	config_free(&config);
	text[98] = 'x';
	snprintf(
		want, sizeof(want),
		"--listen: \"%.64s…\" is not a model's name: 1 to 95 bytes of text without control characters",
		text + 3);
	refuse("96 bytes", NULL, 0, args, NULL, want);
}

static void of_a_single_option_given_twice_the_last_counts(void **state)
{
	static const char *const args[] = {BASE, "--lease-ms", "200", "--lease-ms=300", NULL};

	load(NULL, args, NULL);
	assert_int_equal(config.lease_ms, 300);
	config_free(&config);
}

static void help_and_version_print_themselves_and_need_nothing(void **state)
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

static void the_duration_parser_is_the_cores(void **state)
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
		cmocka_unit_test(the_command_line_beats_the_environment_beats_the_file),
		cmocka_unit_test(the_file_is_found_by_option_or_variable),
		cmocka_unit_test(an_empty_variable_is_none_and_a_strange_one_is_not_ours),
		cmocka_unit_test(a_list_from_a_stronger_source_replaces_the_weaker_one),
		cmocka_unit_test(a_listen_is_an_address_a_port_and_a_model),
		cmocka_unit_test(a_service_takes_from_the_defaults_what_it_does_not_say),
		cmocka_unit_test(a_service_says_which_requests_are_judged),
		cmocka_unit_test(a_service_says_who_its_clients_are),
		cmocka_unit_test(an_opaque_service_resets_where_a_reply_is_only_the_default),
		cmocka_unit_test(models_have_targets_of_their_own),
		cmocka_unit_test(targets_may_grow_and_models_share_a_server),
		cmocka_unit_test(priorities_are_of_clients_and_of_a_headers_values),
		cmocka_unit_test(a_policy_without_numbers_has_the_reference_ones),
		cmocka_unit_test(a_wrong_argument_is_one_line_that_names_it),
		cmocka_unit_test(a_wrong_variable_is_one_line_that_names_it),
		cmocka_unit_test(a_wrong_file_is_one_line_that_names_file_and_key),
		cmocka_unit_test(a_file_that_cannot_be_read_is_one_line),
		cmocka_unit_test(a_mebibyte_of_comment_is_still_read),
		cmocka_unit_test(an_empty_file_says_nothing),
		cmocka_unit_test(too_many_of_anything_is_refused),
		cmocka_unit_test(a_model_name_of_95_bytes_is_the_longest),
		cmocka_unit_test(of_a_single_option_given_twice_the_last_counts),
		cmocka_unit_test(help_and_version_print_themselves_and_need_nothing),
		cmocka_unit_test(the_example_file_is_valid),
		cmocka_unit_test(the_duration_parser_is_the_cores),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
