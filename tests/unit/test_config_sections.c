/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The sections of the file: services, models and clients. */
#include "config_case.h"

#include <arpa/inet.h>

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

static void a_service_takes_missing_keys_from_the_defaults(void **state)
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

static void a_service_states_which_requests_are_judged(void **state)
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
				   "  unnamed: default\n"
				   "- {listen: 3, protocol: opaque}\n";
	static const char *const prefixes[] = {"/v1/tokenize", "/v1/audio/", "/v1/m/", "/v1/", "/"};
	const struct sluice_rules *r;

	load(yaml, NULL, NULL);
	r = &config.services[0].rules;
	assert_int_equal(config.services[0].on_framing_error, SLUICE_ON_FRAMING_ERROR_AUTO);
	assert_false(config.services[0].unnamed_default);
	assert_int_equal(r->methods, 1 << HTTP1_METHOD_POST);
	assert_int_equal(r->count, 5);
	assert_int_equal(r->source[0], SLUICE_SOURCE_PATH);
	assert_int_equal(r->source[1], SLUICE_SOURCE_BODY);
	r = &config.services[1].rules;
	assert_int_equal(config.services[1].on_framing_error, SLUICE_ON_FRAMING_ERROR_RESET);
	assert_true(config.services[1].unnamed_default);
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

static void a_service_states_how_clients_are_identified(void **state)
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

static void an_opaque_service_resets_if_reply_is_only_the_default(void **state)
{
	static const char *const args[] = {BASE, "--protocol", "opaque", NULL};

	load(NULL, args, NULL);
	assert_int_equal(config.services[0].action, SLUICE_ACTION_RESET);
	config_free(&config);
}

static void models_have_their_own_targets(void **state)
{
	static const char yaml[] = "models:\n"
				   "- {name: a, ttft-threshold-ms: 800ms, itl-threshold-ms: 25,"
				   " max-in-flight: 64, unary: true, duration-threshold-ms: 9s,"
				   " normalized-latency-threshold-ms: 90}\n"
				   "- {name: b, itl-threshold-ms: none, max-in-flight: off,"
				   " duration-threshold-ms: none}\n";
	static const char *const args[] = {BASE, NULL};
	const struct config_model *m;

	load(yaml, args, NULL);
	assert_int_equal(config.model_count, 2);
	m = &config.models[0];
	assert_string_equal(m->name, "a");
	assert_true(m->ttft_threshold_ms == 800 && m->itl_threshold_ms == 25);
	assert_true(m->duration_threshold_ms == 9000 && m->normalized_latency_threshold_ms == 90);
	assert_int_equal(m->max_in_flight, 64);
	assert_true(m->unary);
	m = &config.models[1];
	assert_string_equal(m->name, "b");
	assert_true(m->ttft_threshold_ms < 0 && m->itl_threshold_ms == 0);
	assert_true(m->duration_threshold_ms == 0 && m->normalized_latency_threshold_ms < 0);
	assert_int_equal(m->max_in_flight, 0);
	assert_false(m->unary);
	config_free(&config);
}

static void targets_may_grow_and_models_may_share_a_pool(void **state)
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

static void clients_and_header_values_have_priorities(void **state)
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

static void a_blob_counts_for_4096_bytes_unless_its_service_says_otherwise(void **state)
{
	static const char yaml[] = "services:\n"
				   "- {listen: 80}\n"
				   "- {listen: 81, blob-bytes: 0}\n"
				   "- {listen: 82, blob-bytes: 1048576}\n"
				   "- {listen: 83, protocol: opaque, action: reset}\n";
	static const uint32_t want[] = {4096, 0, 1048576, 0};
	static const char *const args[] = {"--interface=lo", NULL};

	load(yaml, args, NULL);
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		assert_int_equal(config.services[i].blob_bytes, want[i]);
	config_free(&config);
}

static void a_service_adds_headers_to_its_refusals(void **state)
{
	static const char yaml[] =
		"services:\n"
		"- listen: 80\n"
		"  reply-headers: {X-Served-By: gpu-7, cache-control: \"no-store, max-age=0\"}\n"
		"  cors: \"*\"\n"
		"- {listen: 81, cors: https://chat.example.com}\n"
		"- {listen: 82, cors: \"https://a.example  http://localhost:3000\"}\n"
		"- {listen: 83, cors: off}\n"
		"- {listen: 84}\n";
	static const char *const args[] = {"--interface=lo", NULL};
	static const struct {
		const char *origin[2];
		unsigned count;
	} want[] = {{{"*"}, 1},
		    {{"https://chat.example.com"}, 1},
		    {{"https://a.example", "http://localhost:3000"}, 2},
		    {{NULL}, 0},
		    {{NULL}, 0}};

	load(yaml, args, NULL);
	assert_int_equal(config.service_count, COUNT(want));
	assert_string_equal(config.services[0].reply.lines,
			    "X-Served-By: gpu-7\r\ncache-control: no-store, max-age=0\r\n");
	for (unsigned i = 0; i < COUNT(want); i++) {
		const struct service *s = &config.services[i];

		assert_int_equal(s->reply.origin_count, want[i].count);
		for (unsigned o = 0; o < want[i].count; o++)
			assert_string_equal(s->reply.origin[o], want[i].origin[o]);
		/* Only a list of origins needs the request's. */
		assert_string_equal(s->rules.origin, want[i].count > 1 ? "origin" : "");
		if (i)
			assert_string_equal(s->reply.lines, "");
	}
	config_free(&config);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_listen_is_an_address_a_port_and_a_model),
		cmocka_unit_test(a_blob_counts_for_4096_bytes_unless_its_service_says_otherwise),
		cmocka_unit_test(a_service_adds_headers_to_its_refusals),
		cmocka_unit_test(a_service_takes_missing_keys_from_the_defaults),
		cmocka_unit_test(a_service_states_which_requests_are_judged),
		cmocka_unit_test(a_service_states_how_clients_are_identified),
		cmocka_unit_test(an_opaque_service_resets_if_reply_is_only_the_default),
		cmocka_unit_test(models_have_their_own_targets),
		cmocka_unit_test(targets_may_grow_and_models_may_share_a_pool),
		cmocka_unit_test(a_model_name_of_95_bytes_is_the_longest),
		cmocka_unit_test(clients_and_header_values_have_priorities),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
