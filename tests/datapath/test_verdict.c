/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The predicted verdict is the verdict. Every map that a verdict depends on gets random values; the
 * program `predict` answers a question, then the same request passes `requests` at the same time,
 * and both must agree. A question changes nothing. Neither of the two changes the other's scratch.
 */
#include "packets.h"

#include <time.h>

#include "core/service.h"
#define names_changed names_changed_in_datapath /* world.h has its own */
#include "datapath/internal.h"

#define TRIALS 2500
#define WHOLE_EVERY                                                                                \
	40 /* trials between two that compare every map, and not only the small ones               \
	    */
#define POOL     9
#define QUOTAS   6
#define KEY      "sk-alpha"
#define PRIORITY "batch"
#define MODEL    "gemma"

static const struct siphash_secret secret = {0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL, 0};
static const uint32_t entries_used[] = {SLUICE_MODEL_ALL, SLUICE_MODEL_OTHER, LLAMA, QWEN, POOL};

/* ---- random numbers, from a seed that a failure prints ---- */

static uint64_t seed, random_state;

static uint64_t any(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state * 0x2545f4914f6cdd1dULL;
}

/* 0 … n - 1 */
static uint64_t below(uint64_t n)
{
	return (any() >> 16) % n;
}

static bool one_in(unsigned n)
{
	return !below(n);
}

#define one_of(...)                                                                                \
	({                                                                                         \
		static const uint64_t of_[] = {__VA_ARGS__};                                       \
		of_[below(sizeof(of_) / sizeof(of_[0]))];                                          \
	})

/* Nanoseconds: no end, in the future, in the past, or exactly now. */
static uint64_t an_expiry(void)
{
	uint64_t now = w.settings.clock_ns;

	return one_of(0, 0, 1, 2, 3)
		       ? one_of(0, 1, 1, 1) ? now + below(5000 * MS) : now - below(5000 * MS)
		       : 0;
}

/* ---- the request ---- */

static struct request {
	bool ipv6, with_key, with_priority;
	uint16_t port;
	uint32_t model;
	struct sluice_service service;
	struct sluice_client client, address;
	char text[2600];
	size_t len;
	uint32_t client_at, server_at;
} r;

static const uint8_t *whole_address(void)
{
	return r.ipv6 ? client_v6 : client_v4;
}

static void leading_bits(uint8_t addr[16], unsigned n)
{
	for (unsigned bit = n; bit < 128; bit++)
		addr[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
}

static void choose_request(void)
{
	static const char *const names[] = {"llama", "qwen", "nobody"};
	static const uint32_t models[] = {LLAMA, QWEN, SLUICE_MODEL_OTHER};
	bool opaque = one_in(8);
	char body[64] = "{}", pad[2048];
	size_t n = below(4) ? below(400) : below(1900);
	unsigned named = (unsigned)below(4);

	memset(&r, 0, sizeof(r));
	r.ipv6 = one_in(3);
	r.port = opaque ? OPAQUE_PORT : HTTP_PORT;
	r.service = opaque ? opaque_service() : http_service();
	r.service.action = (uint8_t)one_of(SLUICE_ACTION_REPLY, SLUICE_ACTION_REPLY,
					   SLUICE_ACTION_RESET, SLUICE_ACTION_DROP);
	r.service.mode = (uint8_t)one_of(SLUICE_MODE_ENFORCE, SLUICE_MODE_ENFORCE,
					 SLUICE_MODE_ENFORCE, SLUICE_MODE_SHADOW);
	r.service.quota = (uint16_t)one_of(0, 1, 2);
	r.service.client_plen4 = (uint8_t)one_of(32, 32, 24, 16);
	r.service.client_plen6 = (uint8_t)one_of(64, 64, 48, 128);
	r.with_key = !opaque && one_in(3);
	r.with_priority = !opaque && one_in(4);
	r.model = r.service.default_model;
	if (!opaque && named < 3) {
		r.model = models[named];
		snprintf(body, sizeof(body), "{\"model\":\"%s\"}", names[named]);
	}
	memset(pad, 'x', n);
	pad[n] = 0;
	r.len = (size_t)snprintf(r.text, sizeof(r.text),
				 "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n%s%sPad: %s\r\n"
				 "Content-Length: %zu\r\n\r\n%s",
				 r.with_key ? "Authorization: Bearer " KEY "\r\n" : "",
				 r.with_priority ? "X-Priority: " PRIORITY "\r\n" : "", pad,
				 strlen(body), body);
	memcpy(r.address.addr, whole_address(), 16);
	r.address.plen = r.ipv6 ? r.service.client_plen6 : 96 + r.service.client_plen4;
	leading_bits(r.address.addr, r.address.plen);
	r.client = r.address;
	if (r.with_key) {
		uint64_t h = hash_of(&secret, KEY);

		r.client = (struct sluice_client){.kind = SLUICE_CLIENT_KEY};
		memcpy(r.client.addr, &h, sizeof(h));
	}
}

static int send_segment(bool from_server, uint8_t flags, const char *text, size_t len)
{
	struct shape shape = {.ipv6 = r.ipv6};
	struct segment s = {.from_server = from_server,
			    .flags = flags,
			    .window = 512,
			    .text = text,
			    .len = len,
			    .server_port = r.port};
	static struct frame in, out;

	s.seq = from_server ? r.server_at : r.client_at;
	s.ack = from_server ? r.client_at : r.server_at;
	make_frame(&in, &shape, &s);
	if (from_server)
		r.server_at += len + (flags & SYN ? 1 : 0);
	else
		r.client_at += len;
	return run_tc(program_for(&shape, from_server), &in, &out);
}

static void begin_connection(void)
{
	r.client_at = CLIENT_ISN;
	r.server_at = SERVER_ISN;
	send_segment(true, SYN | ACK, "", 0);
	send_segment(false, ACK, "", 0);
}

/* ---- the maps ---- */

static struct datapath target; /* what the daemon writes and asks through */

static void put(int fd, const void *key, const void *value)
{
	assert_int_equal(bpf_map_update_elem(fd, key, value, BPF_ANY), 0);
}

static struct sluice_admission an_admission(void)
{
	struct sluice_admission a = {
		.queue_budget = below(12000),
		.credit_most = below(4000),
		.queue_budget_per_kib = (uint32_t)one_of(0, 0, 512),
		.rate = (uint32_t)one_of(0, 1, 1, 1) * (uint32_t)below(40 << ADMISSION_RATE_SHIFT),
		.ceiling = (uint32_t)one_of(0, 4, 8, 16),
		.floor = (uint32_t)one_of(0, 0, 1, 2, 3),
		.fair = (uint32_t)one_of(0, 1, 1, 1) * (uint32_t)below(4 * ADMISSION_ALL),
		.interval = (uint32_t)one_of(0, 1, 1) * (uint32_t)below(8 * ADMISSION_ALL),
		.stopped = one_in(12),
	};

	for (unsigned i = 0; i < SLUICE_RANKS; i++) {
		bool above = i & 1;

		a.level[i] = (uint16_t)(above ? one_of(256, 64, 0) : one_of(256, 256, 300, 128));
		a.queue_budget_level[i] =
			(uint16_t)(above ? one_of(256, 32, 0) : one_of(256, 256, 300, 128));
	}
	return a;
}

/* Deletes the texts of a model that the trials before have written. */
static void forget_texts(uint32_t id)
{
	struct sluice_reply_key key = {.model = id};

	memset(&target.replies[id], 0, sizeof(target.replies[id]));
	for (unsigned i = 0; id != SLUICE_MODEL_ALL && i < SLUICE_REASON_COUNT; i++) {
		key.reason = i;
		bpf_map_delete_elem(fd_of(replies), &key);
	}
}

static void put_models(void)
{
	target.skel = w.skel;
	for (size_t i = 0; i < sizeof(entries_used) / sizeof(entries_used[0]); i++) {
		uint32_t id = entries_used[i];
		struct sluice_model_flag flag = {
			.expires_ns = an_expiry(),
			.limit = (uint32_t)one_of(0, 0, 0, 0, 2, 6),
			.retry_after_ms = (uint32_t)below(90000),
			.limit_retry_ms = (uint32_t)below(90000),
			.allow = !one_in(8),
			.reason = (uint8_t)one_of(
				SLUICE_REASON_TTFT, SLUICE_REASON_ITL, SLUICE_REASON_DURATION,
				SLUICE_REASON_NORMALIZED_LATENCY, SLUICE_REASON_OPERATOR),
			.action = (uint8_t)one_of(SLUICE_ACTION_DEFAULT, SLUICE_ACTION_DEFAULT,
						  SLUICE_ACTION_REPLY, SLUICE_ACTION_DROP),
			.mode = (uint8_t)one_of(SLUICE_MODE_DEFAULT, SLUICE_MODE_DEFAULT,
						SLUICE_MODE_ENFORCE, SLUICE_MODE_SHADOW),
			.quota = (uint16_t)one_of(0, 0, 3),
			.pool = (uint16_t)(one_in(3)   ? POOL
					   : one_in(3) ? SLUICE_MODEL_ALL
						       : id),
			.admission = an_admission(),
		};
		struct sluice_model_state state = {
			.in_flight = (int64_t)below(8) - 1,
			.waiting = (int64_t)below(6) - 1,
			.waiting_bytes = (int64_t)below(8000) - 500,
			.token_ns = w.settings.clock_ns - below(400 * MS),
			.waiting_ns = w.settings.clock_ns - below(400 * MS),
			.admitted = 1000 + below(1000),
			.stalled = SLUICE_STALLED_MAX - 1 + (int64_t)below(3),
		};

		put(fd_of(model_state), &id, &state);
		forget_texts(id);
		assert_int_equal(datapath_set_flag(&target, id, MODEL, &flag), 0);
	}
}

/* An operator's rules for the client, by its key or its address. */
static void put_rules_of(struct sluice_client client)
{
	const uint32_t models[] = {SLUICE_MODEL_ALL, r.model};

	for (unsigned i = 0; i < 2; i++) {
		struct sluice_client_flag_key key = {.client = client, .model = models[i]};
		struct sluice_client_flag flag = {
			.expires_ns = an_expiry(),
			.allow = one_in(2),
			.action = (uint8_t)one_of(SLUICE_ACTION_DEFAULT, SLUICE_ACTION_DROP),
			.reason = (uint8_t)one_of(SLUICE_REASON_CLIENT_BLOCKED, SLUICE_REASON_ITL),
		};

		if (one_in(9))
			put(fd_of(client_flags), &key, &flag);
	}
}

static void put_prefixes(void)
{
	static const uint8_t plens[2][4] = {{0, 96 + 8, 96 + 24, 128}, {0, 32, 64, 128}};

	for (unsigned i = 0; i < 4; i++) {
		struct sluice_prefix_key key = {.plen = plens[r.ipv6][i]};
		struct sluice_prefix prefix = {
			.expires_ns = an_expiry(),
			.class = (uint8_t)one_of(SLUICE_PREFIX_PLAIN, SLUICE_PREFIX_PLAIN,
						 SLUICE_PREFIX_EXEMPT, SLUICE_PREFIX_BLOCKED),
			.action = (uint8_t)one_of(SLUICE_ACTION_DEFAULT, SLUICE_ACTION_DROP),
			.quota = (uint16_t)one_of(0, 0, 4),
			.priority = (uint8_t)one_of(0, 1, 2, 3, 4),
			.weight = (uint16_t)one_of(0, 0, 128, 256, 512),
		};

		memcpy(key.addr, whole_address(), 16);
		leading_bits(key.addr, key.plen);
		if (one_in(6))
			put(fd_of(client_prefixes), &key, &prefix);
	}
}

/* A budget's units while a fleet shares it, near the end of what was granted. */
static struct sluice_fleet_units fleet_units(void)
{
	struct sluice_fleet_units u = {
		.used = (uint32_t)any(),
		.part = (uint32_t)one_of(0, 1, 1) * (uint32_t)below(2 * SLUICE_FLEET_PART_ONE),
	};

	u.settled = u.used - (uint32_t)below(3);
	u.limit = u.used + (uint32_t)below(4) - 1;
	return u;
}

static void put_fleet(void)
{
	struct sluice_fleet f = {
		.fresh_until_ns = w.settings.clock_ns + one_of(0, 1, 1000 * MS),
		.hosts = 1 + (uint32_t)below(5),
		.whole = one_in(4),
	};
	uint32_t zero = 0;

	put(fd_of(fleet), &zero, &f);
}

static void put_quotas(void)
{
	uint64_t now = w.settings.clock_ns;

	for (uint32_t id = 1; id <= QUOTAS; id++) {
		struct sluice_quota quota = {0};
		struct sluice_budget_key key = {.client = r.client, .quota = id};
		struct sluice_budget budget = {.last_seen_ns = now - below(1000 * MS)};

		if (!one_in(4)) {
			quota.request_ns = 1 + below(3000 * MS);
			quota.request_span_ns = quota.request_ns * (1 + below(4));
		}
		if (!one_in(3)) {
			quota.token_ns = 1 + below(100 * MS);
			quota.token_span_ns = quota.token_ns * (1 + below(20));
			quota.token_most_ns = 2 * quota.token_span_ns;
		}
		quota.fleet = one_in(2);
		put(fd_of(quotas), &id, &quota);
		budget.requests = fleet_units();
		budget.tokens = fleet_units();
		budget.answered_ns = one_of(0, 1, 1, 1) * (now - below(2000 * MS));
		budget.changed = (uint32_t)below(SLUICE_FLEET_LOW + 1);
		budget.request_tat_ns = now + below(2 * quota.request_span_ns + 2) - MS;
		budget.token_tat_ns = now + below(2 * quota.token_most_ns + 2) - MS;
		if (one_in(2))
			put(fd_of(client_state), &key, &budget);
	}
	for (uint16_t quota = 1; quota <= 3; quota++)
		for (uint16_t weight = 128; weight <= 512; weight *= 2) {
			struct sluice_weighted_key key = {weight, quota};
			uint32_t id = (uint32_t)one_of(5, 6);

			if (one_in(2))
				put(fd_of(weighted_quotas), &key, &id);
		}
	for (unsigned i = 0; i < 2; i++) {
		struct sluice_client_flag_key key = {.client = r.client, .model = i ? r.model : 0};
		uint32_t id = (uint32_t)one_of(0, 4, 5);

		if (one_in(4))
			put(fd_of(client_quotas), &key, &id);
	}
}

static void put_classes(void)
{
	struct sluice_client header = {.kind = SLUICE_CLIENT_HEADER};
	uint64_t h = hash_of(&secret, PRIORITY);
	uint32_t class = (uint32_t)below(SLUICE_CLASSES);

	memcpy(header.addr, &h, sizeof(h));
	memcpy(header.addr + 8, &r.service.id, sizeof(r.service.id));
	clear_map(fd_of(priorities));
	if (one_in(2))
		put(fd_of(priorities), &header, &class);
	class = (uint32_t)below(SLUICE_CLASSES);
	if (r.with_key && one_in(2))
		put(fd_of(priorities), &r.client, &class);
}

static void put_holdings(void)
{
	static const uint32_t pools[] = {SLUICE_MODEL_ALL, POOL, LLAMA, QWEN, SLUICE_MODEL_OTHER};
	struct sluice_client_flag_key stalled = {.client = r.client, .model = SLUICE_POOL_STALLED};
	struct sluice_holding responses = {.in_flight = SLUICE_STALLED_MAX - (int64_t)below(3)};

	if (one_in(4))
		put(fd_of(client_in_flight), &stalled, &responses);
	for (size_t i = 0; i < sizeof(pools) / sizeof(pools[0]); i++) {
		struct sluice_client_flag_key key = {.client = r.client, .model = pools[i]};
		struct sluice_holding held = {
			.in_flight = (int64_t)below(6) - 1,
			.tat = (1000 + below(1100)) * ADMISSION_ALL,
		};

		if (one_in(2))
			put(fd_of(client_in_flight), &key, &held);
	}
}

/* Bits that mark a map as empty: if it is, they may be set, and need not be. */
static uint32_t empty_bits(void)
{
	uint32_t bits = (uint32_t)below(8);

	if (entries(fd_of(client_flags)))
		bits &= ~(uint32_t)SLUICE_EMPTY_CLIENT_FLAGS;
	if (entries(fd_of(client_prefixes)))
		bits &= ~(uint32_t)SLUICE_EMPTY_CLIENT_PREFIXES;
	if (entries(fd_of(client_quotas)))
		bits &= ~(uint32_t)SLUICE_EMPTY_CLIENT_QUOTAS;
	return bits;
}

/* How many connections there are, and how many of them each client has. */
static void put_crowd(void)
{
	int64_t each = one_in(2) ? SLUICE_CONNS_CLIENT_MAX(SLUICE_CONNS_MAX)
				 : SLUICE_CONNS_CLIENT_MAX(SLUICE_CONNS_MAX) - 1;

	w.conn_counts[SLUICE_CONNS_ALL] =
		(int64_t)one_of(0, 0, SLUICE_CONNS_CROWDED(SLUICE_CONNS_MAX) - 1,
				SLUICE_CONNS_CROWDED(SLUICE_CONNS_MAX));
	for (uint32_t i = 1; i < SLUICE_CONN_BUCKETS; i++)
		w.conn_counts[i] = each;
}

static void put_random_state(void)
{
	put_models();
	put_rules_of(r.address);
	if (r.with_key)
		put_rules_of(r.client);
	put_prefixes();
	put_quotas();
	put_fleet();
	put_classes();
	put_holdings();
	put_crowd();
	w.settings.empty = empty_bits();
	w.settings.stopping = one_in(20);
	if (one_in(20))
		w.settings.lease_until_ns = w.settings.clock_ns - 1 + below(2);
	write_settings();
}

static void begin_trial(void)
{
	static const struct sluice_rules identity = {.key = {"authorization", "x-api-key"},
						     .priority = "x-priority"};
	uint32_t zero = 0;

	reset_world();
	clear_map(fd_of(client_state));
	w.settings.clock_ns += below(1ULL << 40);
	w.settings.lease_until_ns = w.settings.clock_ns + HOUR;
	write_settings();
	put(fd_of(hash_key), &zero, &secret);
	put_rules(identity);
	choose_request();
	set_service(r.ipv6, r.port, r.service);
	if (r.port == HTTP_PORT)
		begin_connection();
	put_random_state();
	w.refusal_count = 0;
}

/* ---- everything that a question must leave unchanged ---- */

struct digest {
	uint64_t sum;
	bool questions; /* of the scratch of questions, else of all else */
	const char *of; /* the map that was added last */
};

static void add_bytes(struct digest *d, const void *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		d->sum = (d->sum ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3ULL;
}

/* The entries of a scratch map that belong to packets; of every other map all do. */
static bool is_theirs(const char *map, uint32_t key)
{
	return strcmp(map, "prediction") &&
	       (key == 0 || (strcmp(map, "judging") && strcmp(map, "quota_scratch")));
}

static void add_map(struct digest *d, const struct bpf_map *map)
{
	size_t key_size = bpf_map__key_size(map), value_size = bpf_map__value_size(map);
	enum bpf_map_type type = bpf_map__type(map);
	bool per_cpu = type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH;
	size_t size = per_cpu ? (value_size + 7) / 8 * 8 * (size_t)w.cpus : value_size;
	uint8_t key[SLUICE_NAME_MAX] = {0};
	void *value = calloc(1, size);

	assert_non_null(value);
	assert_true(key_size <= sizeof(key));
	d->of = bpf_map__name(map);
	for (int err = bpf_map_get_next_key(bpf_map__fd(map), NULL, key); !err;
	     err = bpf_map_get_next_key(bpf_map__fd(map), key, key)) {
		uint32_t index;

		memcpy(&index, key, sizeof(index));
		if (key_size == 4 && is_theirs(d->of, index) == d->questions)
			continue;
		assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(map), key, value), 0);
		add_bytes(d, key, key_size);
		add_bytes(d, value, size);
	}
	free(value);
}

/* With `whole` false, arrays of a thousand entries and more count only with the entries in use. */
static uint64_t digest(bool whole)
{
	struct digest d = {.sum = 0xcbf29ce484222325ULL};
	struct bpf_map *map;

	if (whole)
		add_bytes(&d, w.conn_counts, SLUICE_CONN_BUCKETS * sizeof(*w.conn_counts));
	bpf_object__for_each_map(map, w.skel->obj)
	{
		enum bpf_map_type type = bpf_map__type(map);
		bool array = type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_PERCPU_ARRAY;

		if (type != BPF_MAP_TYPE_RINGBUF && map != w.skel->maps.conn_counts &&
		    (whole || !array || bpf_map__max_entries(map) < 64))
			add_map(&d, map);
	}
	for (size_t i = 0; i < sizeof(entries_used) / sizeof(entries_used[0]); i++) {
		struct sluice_model_state state = get_state(entries_used[i]);

		add_bytes(&d, &state, sizeof(state));
	}
	return d.sum;
}

/* The scratch of questions, which a packet must leave unchanged: it may interrupt one. */
static uint64_t digest_of_questions(void)
{
	struct digest d = {.sum = 0xcbf29ce484222325ULL, .questions = true};

	add_map(&d, w.skel->maps.judging);
	add_map(&d, w.skel->maps.quota_scratch);
	add_map(&d, w.skel->maps.prediction);
	return d.sum;
}

/* ---- questions ---- */

static struct sluice_question the_question(uint32_t flags)
{
	struct sluice_question q = {
		.client = r.client,
		.model = r.model,
		.bytes = (uint32_t)r.len,
		.flags = flags,
		.now_ns = w.settings.clock_ns,
	};

	memcpy(q.addr, whole_address(), 16);
	if (r.with_priority)
		q.priority = hash_of(&secret, PRIORITY);
	return q;
}

static struct sluice_answer predict_answer(struct sluice_question q)
{
	struct service service = {.id = r.service.id, .port = r.port};
	struct sluice_answer a;

	memcpy(service.addr, r.ipv6 ? server_v6 : server_v4, 16);
	target.skel = w.skel;
	target.services = &service;
	target.service_count = 1;
	if (datapath_predict(&target, r.service.id, &q, &a))
		fail_msg("%s", datapath_error());
	assert_true(a.answered);
	assert_int_equal(a.now_ns, w.settings.clock_ns);
	ring_buffer__consume(w.rings);
	return a;
}

static void assert_reported_as(const struct sluice_answer *a, const struct sluice_refusal *reported)
{
	assert_int_equal(reported->reason, a->reason);
	assert_int_equal(reported->action, a->action);
	if (a->spread)
		assert_in_range(reported->retry_after_ms, a->retry_after_ms,
				a->retry_after_ms + ((uint64_t)a->retry_after_ms * 127 >> 8));
	else
		assert_int_equal(reported->retry_after_ms, a->retry_after_ms);
}

/* Compares the exchange of a request that passes with the numbers of the answer. */
static void assert_exchange(const struct sluice_answer *a, bool shadow)
{
	struct sluice_exchange e;
	struct sluice_conn conn;

	assert_true(get_conn(r.ipv6, r.port, &conn));
	e = conn.exchange;
	assert_true(e.flags & SLUICE_EXCHANGE_JUDGED);
	assert_int_equal(!!(e.flags & SLUICE_EXCHANGE_IN_FLIGHT), !shadow);
	assert_memory_equal(&e.client, &r.client, sizeof(e.client));
	assert_int_equal(e.model, r.model);
	assert_int_equal(e.pool, a->pool);
	if (!a->reason && a->override == SLUICE_OVERRIDE_NONE)
		assert_int_equal(e.quota, a->quota);
	if (shadow)
		return;
	assert_int_equal(e.in_flight_at_admission,
			 (a->load.in_flight > 0 ? a->load.in_flight : 0) + 1);
	assert_int_equal(e.queued_bytes,
			 admission_queued_bytes(&a->admission, &a->load, a->bytes, a->now_ns));
}

/* Sends the request of the question, and compares its outcome with the answer. */
static void send_request(const struct sluice_answer *a)
{
	struct sluice_conn_key key = this_key(r.ipv6, r.port);
	uint64_t refused = get_state(a->pool).refused[a->rank];
	bool rejected = a->reason && !a->shadow && a->enforced;
	bool shadow = a->reason && a->shadow;
	struct sluice_tombstone tombstone;
	struct sluice_reply reply;
	int retval;

	assert_int_equal(a->bytes, r.len);
	retval = send_segment(false, PSH | ACK, r.text, r.len);
	assert_int_equal(retval, rejected ? THEN_REDIRECT : THEN_UNSPEC);
	assert_int_equal(w.refusal_count, rejected || shadow);
	assert_int_equal(get_state(a->pool).refused[a->rank] - refused, a->spread);
	assert_int_equal(counter(SLUICE_COUNTER_PASSED_LEASE), a->reason && !rejected && !shadow);
	if (rejected || shadow) {
		assert_int_equal(w.refusals[0].verdict,
				 shadow ? SLUICE_VERDICT_SHADOW_REJECTED : SLUICE_VERDICT_REJECTED);
		assert_memory_equal(&w.refusals[0].client, &r.client, sizeof(r.client));
		assert_reported_as(a, &w.refusals[0]);
	}
	if (!rejected) {
		assert_exchange(a, shadow);
	} else if (a->action == SLUICE_ACTION_REPLY) {
		bool quota = a->reason == SLUICE_REASON_REQUEST_QUOTA ||
			     a->reason == SLUICE_REASON_TOKEN_QUOTA;

		assert_int_equal(bpf_map_lookup_elem(fd_of(tombstones), &key, &tombstone), 0);
		assert_int_equal(tombstone.parts.reply.model, quota ? a->quota : a->about);
		/* The daemon has written the model's text of whatever may refuse for the model. */
		if (!quota && a->override == SLUICE_OVERRIDE_NONE)
			assert_int_equal(
				bpf_map_lookup_elem(fd_of(replies), &tombstone.parts.reply, &reply),
				0);
	}
}

static void send_syn(const struct sluice_answer *a)
{
	bool rejected = a->reason && !a->shadow && a->enforced;
	bool shadow = a->reason && a->shadow;
	int retval;

	clear_map(fd_of(conns));
	r.client_at = CLIENT_ISN;
	retval = send_segment(false, SYN, "", 0);
	assert_int_equal(retval, !rejected                         ? THEN_UNSPEC
				 : a->action == SLUICE_ACTION_DROP ? TC_ACT_SHOT
								   : THEN_REDIRECT);
	assert_int_equal(w.refusal_count, rejected || shadow);
	if (!w.refusal_count)
		return;
	assert_true(w.refusals[0].at_syn);
	assert_int_equal(w.refusals[0].reason, a->reason);
	assert_int_equal(w.refusals[0].action, a->action);
	if (a->override == SLUICE_OVERRIDE_NONE)
		assert_int_equal(w.refusals[0].retry_after_ms, a->retry_after_ms);
}

static unsigned trial_now;
static unsigned seen_reason[SLUICE_REASON_COUNT], seen_override[8], seen_from[8];

static void play_trial(void)
{
	uint32_t syn = r.port == OPAQUE_PORT || one_in(8) ? SLUICE_QUESTION_SYN : 0;
	struct sluice_question q = the_question(SLUICE_QUESTION_ADDRESS | syn);
	bool whole = trial_now % WHOLE_EVERY == 0;
	uint64_t before = digest(whole), questions;
	struct sluice_answer a = predict_answer(q), again;

	q.now_ns = 0; /* the same time, by the programs' own clock */
	again = predict_answer(q);
	assert_memory_equal(&again, &a, sizeof(a));
	assert_int_equal(w.refusal_count, 0);
	if (digest(whole) != before)
		fail_msg("a question changed a map");
	questions = digest_of_questions();
	seen_reason[a.reason]++;
	seen_override[a.override]++;
	seen_from[a.quota_from]++;
	if (syn)
		send_syn(&a);
	else
		send_request(&a);
	if (digest_of_questions() != questions)
		fail_msg("a packet changed the scratch of questions");
}

/* The random values must have reached every verdict. */
static void assert_seen(const unsigned *times, unsigned n, const char *what)
{
	for (unsigned i = 0; i < n; i++)
		if (times[i] < 10)
			fail_msg("%s %u was decided only %u times", what, i, times[i]);
}

static void a_question_is_answered_as_its_request_is_judged(void **state)
{
	seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 0) : 20261128;
	random_state = seed | 1;
	for (trial_now = 0; trial_now < TRIALS; trial_now++) {
		begin_trial();
		play_trial();
	}
	assert_seen(seen_reason, SLUICE_REASON_COUNT, "reason");
	assert_seen(seen_override, SLUICE_OVERRIDE_PREFIX_EXEMPT + 1, "override");
	assert_seen(seen_from, SLUICE_QUOTA_FROM_SERVICE + 1, "origin of a quota");
	seed = 0;
}

/* Prints the trial of a failure. */
static int say_trial(void **state)
{
	if (seed)
		fprintf(stderr, "        SEED=%llu, trial %u (IPv%d, port %u, model %u)\n",
			(unsigned long long)seed, trial_now, r.ipv6 ? 6 : 4, r.port, r.model);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_question_is_answered_as_its_request_is_judged,
						world_reset, say_trial),
	};

	return packets_main("test_verdict", tests);
}
