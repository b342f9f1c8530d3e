/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Client identity, packet by packet. A request is charged to the holder of its key, to the address
 * that a trusted proxy names in a header or in a PROXY header, or to the peer's address. Every cut
 * into segments gives the same. Each request comes on a connection of its own.
 */
#include "one_client.h"

#include <arpa/inet.h>

#define QUOTA               7
#define POST                "POST /v1/chat/completions HTTP/1.1\r\n"
#define TAIL                "Content-Length: 31\r\n\r\n{\"model\":\"llama\",\"stream\":true}"
#define REQUEST_WITH(lines) POST lines TAIL
#define KEY_A               "Authorization: Bearer sk-alpha\r\n"
#define KEY_B               "X-Api-Key: sk-beta\r\n"
#define SIG                 "\r\n\r\n\0\r\nQUIT\n"

static const struct siphash_secret secret = {0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL, 0};
/*
 * One request on a new connection, in two segments. Returns the milliseconds to wait if it is
 * refused, -1 if it passes.
 */
static int64_t request_text(const char *text, size_t len, size_t cut)
{
	int ret;

	connect_anew();
	w.refusal_count = 0;
	ret = cut ? send_bytes(false, PSH | ACK, text, cut) : THEN_UNSPEC;
	if (ret == THEN_UNSPEC)
		ret = send_bytes(false, PSH | ACK, text + cut, len - cut);
	if (ret == THEN_UNSPEC)
		return -1;
	assert_int_equal(w.refusal_count, 1);
	return w.refusals[0].retry_after_ms;
}

#define send_text(text) request_text(text, sizeof(text) - 1, 0)

/* The response to the last request, which ends it. */
static void respond(void)
{
	static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

	send_bytes(true, PSH | ACK, text, sizeof(text) - 1);
}

static void set_identity(uint8_t forwarded, bool proxy)
{
	static const struct sluice_rules keys = {.key = {"authorization", "x-api-key"}};
	struct sluice_service service = http_service();
	struct sluice_rules r = keys;
	uint32_t zero = 0, id = QUOTA;

	strcpy(r.forwarded, forwarded ? "x-forwarded-for" : "");
	service.forwarded = forwarded;
	service.proxy = proxy;
	service.quota = QUOTA;
	set_both(HTTP_PORT, service);
	assert_int_equal(bpf_map_update_elem(fd_of(hash_key), &zero, &secret, BPF_ANY), 0);
	put_rules(r);
	clear_map(fd_of(trusted_proxies));
	clear_map(fd_of(client_state));
	bpf_map_update_elem(fd_of(quotas), &id, &(struct sluice_quota){0}, BPF_ANY);
}

/* One request in ten seconds. */
static void set_quota(void)
{
	struct sluice_quota quota = {.request_ns = 10000 * MS, .request_span_ns = 10000 * MS};
	uint32_t id = QUOTA;

	assert_int_equal(bpf_map_update_elem(fd_of(quotas), &id, &quota, BPF_ANY), 0);
}

/* Trusts the /24 or /56 around the peer, at this service or another. */
static void trust(uint32_t service)
{
	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		struct sluice_trusted_key key = {.plen = 32 + (ipv6 ? 56 : 120),
						 .service = service};
		uint32_t one = 1;

		memcpy(key.addr, ipv6 ? client_v6 : client_v4, 16);
		assert_int_equal(bpf_map_update_elem(fd_of(trusted_proxies), &key, &one, BPF_ANY),
				 0);
	}
}

static struct sluice_client key_client(const char *key)
{
	struct sluice_client client = {.kind = SLUICE_CLIENT_KEY};
	uint64_t hash = hash_of(&secret, key);

	memcpy(client.addr, &hash, sizeof(hash));
	return client;
}

static struct sluice_client address_client(const char *text)
{
	struct sluice_client client = {.plen = 128};

	if (strchr(text, ':')) {
		client.plen = 64;
		assert_int_equal(inet_pton(AF_INET6, text, client.addr), 1);
		memset(client.addr + 8, 0, 8);
	} else {
		client.addr[10] = client.addr[11] = 0xff;
		assert_int_equal(inet_pton(AF_INET, text, client.addr + 12), 1);
	}
	return client;
}

/*
 * These bytes are charged to this client at every cut: "key:…", an address, or NULL for the peer.
 */
static void assert_client(const char *text, size_t len, const char *who)
{
	struct sluice_client want = !who                       ? this_client(shape.ipv6)
				    : !strncmp(who, "key:", 4) ? key_client(who + 4)
							       : address_client(who);

	for (size_t cut = 0; cut < len; cut++) {
		struct sluice_client got = {0};

		clear_map(fd_of(client_counts));
		clear_map(fd_of(conns));
		assert_int_equal(request_text(text, len, cut), -1);
		assert_int_equal(entries(fd_of(client_counts)), 1);
		bpf_map_get_next_key(fd_of(client_counts), NULL, &got);
		if (memcmp(&got, &want, sizeof(got)))
			fail_msg("%.60s… cut at %zu is not %s's", text, cut,
				 who ? who : "the peer");
	}
}

#define assert_client_is(text, who) assert_client(text, sizeof(text) - 1, who)

static void each_key_has_its_own_budget_from_any_address(void **state)
{
	set_identity(0, false);
	set_quota();
	assert_int_equal(send_text(REQUEST_WITH(KEY_A)), -1);
	assert_int_equal(send_text(REQUEST_WITH(KEY_B)), -1);
	assert_int_equal(send_text(REQUEST_WITH("")), -1);
	assert_int_equal(send_text(REQUEST_WITH(KEY_A)), 10000);
	assert_int_equal(send_text(REQUEST_WITH(KEY_B)), 10000);
	assert_int_equal(send_text(REQUEST_WITH("")), 10000);
	assert_int_equal(send_text(REQUEST_WITH("X-Api-Key: sk-alpha\r\n")), 10000);
	shape.ipv6 = true; /* another address */
	assert_int_equal(send_text(REQUEST_WITH(KEY_A)), 10000);
	assert_int_equal(send_text(REQUEST_WITH("")), -1);
	pass_ms(10000);
	assert_int_equal(send_text(REQUEST_WITH(KEY_A)), -1);
	shape.ipv6 = false;
	assert_int_equal(send_text(REQUEST_WITH(KEY_A)), 10000);
}

static void each_request_of_a_connection_is_charged_to_its_own_key(void **state)
{
	static const char keyless[] = REQUEST_WITH(""), other[] = REQUEST_WITH(KEY_B);
	struct sluice_client_count count;
	struct sluice_client client;

	set_identity(0, false);
	assert_int_equal(send_text(REQUEST_WITH(KEY_A)), -1);
	respond();
	send_bytes(false, PSH | ACK, keyless, sizeof(keyless) - 1);
	respond();
	send_bytes(false, PSH | ACK, other, sizeof(other) - 1);
	assert_int_equal(entries(fd_of(client_counts)), 3);
	client = key_client("sk-alpha");
	assert_int_equal(bpf_map_lookup_elem(fd_of(client_counts), &client, &count), 0);
	client = key_client("sk-beta");
	assert_int_equal(bpf_map_lookup_elem(fd_of(client_counts), &client, &count), 0);
	client = this_client(false);
	assert_int_equal(bpf_map_lookup_elem(fd_of(client_counts), &client, &count), 0);
	assert_int_equal(count.admitted, 1);
}

static void set_override(struct sluice_client client, uint8_t allow)
{
	struct sluice_client_flag_key key = {.client = client};
	struct sluice_client_flag flag = {.allow = allow, .reason = SLUICE_REASON_CLIENT_BLOCKED};

	assert_int_equal(bpf_map_update_elem(fd_of(client_flags), &key, &flag, BPF_ANY), 0);
}

static void set_mode(uint8_t mode)
{
	struct sluice_model_flag all = {.allow = 1, .mode = mode};
	uint32_t id = SLUICE_MODEL_ALL;

	assert_int_equal(bpf_map_update_elem(fd_of(model_flags), &id, &all, BPF_ANY), 0);
}

static void each_clients_refusals_are_counted_by_reason(void **state)
{
	struct sluice_client client = this_client(false), key = key_client("sk-alpha");
	struct sluice_client_count count;

	set_identity(0, false);
	set_quota();
	assert_int_equal(send_text(REQUEST_WITH("")), -1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(send_text(REQUEST_WITH("")), 10000);
	set_mode(SLUICE_MODE_SHADOW);
	for (int i = 0; i < 2; i++)
		assert_int_equal(send_text(REQUEST_WITH("")), -1);
	set_mode(SLUICE_MODE_ENFORCE);
	set_override(client, 0);
	assert_true(send_text(REQUEST_WITH("")) > 0);
	assert_true(send_text(REQUEST_WITH(KEY_A)) > 0);
	assert_int_equal(bpf_map_lookup_elem(fd_of(client_counts), &client, &count), 0);
	assert_int_equal(count.admitted, 3);
	assert_int_equal(count.rejected, 4);
	assert_int_equal(count.by_reason[SLUICE_REASON_REQUEST_QUOTA], 3);
	assert_int_equal(count.by_reason[SLUICE_REASON_CLIENT_BLOCKED], 1);
	assert_int_equal(count.shadow_by_reason[SLUICE_REASON_REQUEST_QUOTA], 2);
	assert_int_equal(count.shadow_by_reason[SLUICE_REASON_CLIENT_BLOCKED], 0);
	assert_int_equal(count.last_reason, SLUICE_REASON_CLIENT_BLOCKED);
	assert_int_equal(count.last_service, HTTP_ID);
	assert_int_equal(count.last_model, LLAMA);
	/* every new client begins at 0 */
	assert_int_equal(bpf_map_lookup_elem(fd_of(client_counts), &key, &count), 0);
	assert_int_equal(count.admitted, 0);
	assert_int_equal(count.rejected, 1);
	assert_int_equal(count.by_reason[SLUICE_REASON_CLIENT_BLOCKED], 1);
	assert_int_equal(count.by_reason[SLUICE_REASON_REQUEST_QUOTA], 0);
}

/* A key identifies its holder at any address: the quota itself and one budget. */
static void the_holder_of_a_key_has_no_prefixs_weight(void **state)
{
	const struct sluice_weighted_key weighted = {3 * SLUICE_WEIGHT_ONE, QUOTA};
	struct sluice_quota thrice = {.request_ns = 10000 * MS / 3, .request_span_ns = 10000 * MS};
	uint32_t id = QUOTA + 1;

	set_identity(0, false);
	set_quota();
	assert_int_equal(bpf_map_update_elem(fd_of(quotas), &id, &thrice, BPF_ANY), 0);
	assert_int_equal(bpf_map_update_elem(fd_of(weighted_quotas), &weighted, &id, BPF_ANY), 0);
	set_prefix(false, 128, (struct sluice_prefix){.weight = weighted.weight});
	for (int i = 0; i < 3; i++)
		assert_int_equal(send_text(REQUEST_WITH("")), -1);
	assert_true(send_text(REQUEST_WITH("")) > 0);
	assert_int_equal(send_text(REQUEST_WITH(KEY_A)), -1);
	assert_int_equal(send_text(REQUEST_WITH(KEY_A)), 10000);
}

static void of_a_key_and_its_address_the_strictest_rule_holds(void **state)
{
	set_identity(0, false);
	set_quota();
	set_override(key_client("sk-alpha"), 0);
	assert_true(send_text(REQUEST_WITH(KEY_A)) > 0);
	assert_int_equal(w.refusals[0].reason, SLUICE_REASON_CLIENT_BLOCKED);
	assert_int_equal(w.refusals[0].client.kind, SLUICE_CLIENT_KEY);
	assert_int_equal(send_text(REQUEST_WITH(KEY_B)), -1);
	set_override(key_client("sk-alpha"), 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(send_text(REQUEST_WITH(KEY_A)), -1);
	set_override(this_client(false), 0);
	assert_true(send_text(REQUEST_WITH(KEY_A)) > 0);
	assert_true(send_text(REQUEST_WITH("")) > 0);
	set_override(this_client(false), 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(send_text(REQUEST_WITH(KEY_B)), -1);
	set_override(key_client("sk-beta"), 0);
	assert_true(send_text(REQUEST_WITH(KEY_B)) > 0);
}

static void only_a_trusted_proxys_header_counts(void **state)
{
	static const bool both[] = {false, true};

	for (int i = 0; i < 2; i++) {
		shape.ipv6 = both[i];
		set_identity(3, false);
		assert_client_is(REQUEST_WITH("X-Forwarded-For: 203.0.113.9\r\n"), NULL);
		trust(OPAQUE_ID);
		assert_client_is(REQUEST_WITH("X-Forwarded-For: 203.0.113.9\r\n"), NULL);
		trust(HTTP_ID);
		assert_client_is(REQUEST_WITH("X-Forwarded-For: 6.6.6.6, 203.0.113.9\r\n"),
				 "203.0.113.9");
		assert_client_is(REQUEST_WITH("X-Forwarded-For: 2001:db8:1:2::9\r\n"),
				 "2001:db8:1:2::");
		assert_client_is(REQUEST_WITH("X-Forwarded-For: 203.0.113.9, unknown\r\n"), NULL);
		assert_client_is(REQUEST_WITH("Forwarded: for=203.0.113.9\r\n"), NULL);
		assert_client_is(REQUEST_WITH(""), NULL);
		assert_client_is(REQUEST_WITH("X-Forwarded-For: 203.0.113.9\r\n" KEY_B),
				 "key:sk-beta");
		set_identity(1, false);
		trust(HTTP_ID);
		assert_client_is(REQUEST_WITH("X-Forwarded-For: 203.0.113.9\r\n" KEY_A),
				 "203.0.113.9");
		assert_client_is(REQUEST_WITH(KEY_A), "key:sk-alpha");
		set_identity(2, false);
		trust(HTTP_ID);
		assert_client_is(REQUEST_WITH(KEY_A "X-Forwarded-For: 203.0.113.9\r\n"),
				 "key:sk-alpha");
		assert_client_is(REQUEST_WITH(KEY_B "X-Forwarded-For: 203.0.113.9\r\n"),
				 "203.0.113.9");
	}
}

/* Trusts one address at this service. */
static void trust_address(const char *text)
{
	struct sluice_trusted_key key = {.plen = 160, .service = HTTP_ID};
	struct sluice_client client = address_client(text);
	uint32_t one = 1;

	memcpy(key.addr, client.addr, 16);
	if (strchr(text, ':'))
		key.plen = 96; /* the /64 */
	assert_int_equal(bpf_map_update_elem(fd_of(trusted_proxies), &key, &one, BPF_ANY), 0);
}

static void in_a_chain_of_proxies_the_last_untrusted_address_is_the_client(void **state)
{
	set_identity(1, false);
	trust(HTTP_ID);
	trust_address("10.0.0.1");
	trust_address("10.0.0.2");
	trust_address("2001:db8:5:5::");
	assert_client_is(REQUEST_WITH("X-Forwarded-For: 203.0.113.9, 10.0.0.1\r\n"), "203.0.113.9");
	assert_client_is(
		REQUEST_WITH("X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.0.0.1, 10.0.0.2\r\n"),
		"203.0.113.9");
	assert_client_is(
		REQUEST_WITH(
			"X-Forwarded-For: 6.6.6.6, 203.0.113.9\r\nX-Forwarded-For: 10.0.0.1,2001:db8:5:5::7, 10.0.0.2\r\n"),
		"203.0.113.9");
	assert_client_is(REQUEST_WITH("X-Forwarded-For: 203.0.113.9, 10.0.0.3\r\n"),
			 "10.0.0.3"); /* an untrusted proxy */
	assert_client_is(REQUEST_WITH("X-Forwarded-For: 203.0.113.9, 10.0.0.3, 10.0.0.1\r\n"),
			 "10.0.0.3");
	assert_client_is(REQUEST_WITH("X-Forwarded-For: 10.0.0.1, 10.0.0.2\r\n"), "10.0.0.1");
	/* an element that is no address ends the chain; so does a fifth */
	assert_client_is(REQUEST_WITH("X-Forwarded-For: 203.0.113.9, unknown, 10.0.0.1\r\n"),
			 "10.0.0.1");
	assert_client_is(
		REQUEST_WITH(
			"X-Forwarded-For: 203.0.113.9, 10.0.0.2, 10.0.0.1, 10.0.0.2, 10.0.0.1\r\n"),
		"10.0.0.2");
	assert_client_is(REQUEST_WITH("X-Forwarded-For: 203.0.113.9, 10.0.0.1, unknown\r\n"), NULL);
}

static void set_class(const char *text, uint8_t class)
{
	struct sluice_client client = address_client(text);
	struct sluice_prefix_key key = {.plen = 128};
	struct sluice_prefix prefix = {.class = class};

	memcpy(key.addr, client.addr, 16);
	assert_int_equal(bpf_map_update_elem(fd_of(client_prefixes), &key, &prefix, BPF_ANY), 0);
}

static void a_forwarded_address_is_blocked_and_exempt_as_any_other(void **state)
{
	set_identity(1, false);
	trust(HTTP_ID);
	set_quota();
	set_class("203.0.113.9", SLUICE_PREFIX_BLOCKED);
	assert_true(send_text(REQUEST_WITH("X-Forwarded-For: 203.0.113.9\r\n")) > 0);
	assert_int_equal(w.refusals[0].reason, SLUICE_REASON_CLIENT_BLOCKED);
	assert_int_equal(send_text(REQUEST_WITH("X-Forwarded-For: 203.0.113.10\r\n")), -1);
	assert_int_equal(send_text(REQUEST_WITH("X-Forwarded-For: 203.0.113.10\r\n")), 10000);
	set_class("203.0.113.10", SLUICE_PREFIX_EXEMPT);
	assert_int_equal(send_text(REQUEST_WITH("X-Forwarded-For: 203.0.113.10\r\n")), -1);
	/* The proxy's own address is blocked: not the clients behind it, and so not its SYN. */
	set_prefix(false, 128, (struct sluice_prefix){.class = SLUICE_PREFIX_BLOCKED});
	set_override(this_client(false), 0);
	assert_int_equal(send_text(REQUEST_WITH("X-Forwarded-For: 203.0.113.11\r\n")), -1);
	port++;
	assert_int_equal(send_bytes(false, SYN, "", 0), THEN_UNSPEC);
	assert_true(send_text(REQUEST_WITH("")) > 0);
	clear_map(fd_of(trusted_proxies));
	port++;
	assert_int_not_equal(send_bytes(false, SYN, "", 0), THEN_UNSPEC);
}

#define V1 "PROXY TCP4 203.0.113.9 192.0.2.1 40000 8000\r\n"
#define V2 SIG "\x21\x11\0\x0c\xcb\0\x71\x09\xc0\0\x02\x01\x9c\x40\x1f\x40"
#define V2_6                                                                                       \
	SIG "\x21\x21\0\x29"                                                                       \
	    " \x01\x0d\xb8\0\x01\0\x02\0\0\0\0\0\0\0\x09"                                          \
	    " \x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"                                              \
	    "\x12\x34\x01\xbb\x04\0\x02hi"

static void a_proxy_header_names_a_connections_client(void **state)
{
	static const char again[] = REQUEST_WITH("X-Forwarded-For: 6.6.6.6\r\n");

	set_identity(0, true);
	assert_client_is(V1 REQUEST_WITH(""), NULL); /* not trusted: framed, and not believed */
	assert_client_is(V1 REQUEST_WITH(KEY_A), "key:sk-alpha");
	trust(HTTP_ID);
	assert_client_is(V1 REQUEST_WITH(""), "203.0.113.9");
	respond();
	send_bytes(false, PSH | ACK, again, sizeof(again) - 1);
	assert_int_equal(entries(fd_of(client_counts)), 1);
	assert_client_is(V2 REQUEST_WITH(""), "203.0.113.9");
	assert_client_is(V2_6 REQUEST_WITH(""), "2001:db8:1:2::");
	assert_client_is(V2 REQUEST_WITH(KEY_A), "key:sk-alpha");
	assert_client_is(SIG "\x20\0\0\0" REQUEST_WITH(""), NULL);
	assert_client_is("PROXY UNKNOWN\r\n" REQUEST_WITH(""), NULL);
	assert_int_equal(counter(SLUICE_COUNTER_PASSED_FRAMING_ERROR), 0);
	/* a proxy named in a PROXY header may be trusted with X-Forwarded-For */
	set_identity(1, true);
	trust(HTTP_ID);
	assert_client_is(V1 REQUEST_WITH("X-Forwarded-For: 6.6.6.6\r\n"), "203.0.113.9");
	assert_client_is("PROXY TCP4 198.51.100.9 192.0.2.1 40000 8000\r\n" REQUEST_WITH(
				 "X-Forwarded-For: 203.0.113.7\r\n"),
			 "203.0.113.7");
}

static void a_request_after_a_proxy_header_is_refused_as_any_other(void **state)
{
	static const char text[] = V2 REQUEST_WITH("");

	set_identity(0, true);
	trust(HTTP_ID);
	set_quota();
	set_class("203.0.113.8", SLUICE_PREFIX_BLOCKED);
	assert_int_equal(request_text(text, sizeof(text) - 1, 0), -1);
	for (size_t cut = 0; cut < sizeof(text) - 1; cut++)
		assert_int_equal(request_text(text, sizeof(text) - 1, cut), 10000);
	assert_int_equal(send_text("PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\n" REQUEST_WITH("")),
			 -1);
	assert_int_equal(send_text("PROXY TCP4 203.0.113.8 192.0.2.1 1 2\r\n" REQUEST_WITH("")),
			 3600000);
}

static void a_missing_proxy_header_is_a_framing_error(void **state)
{
	struct sluice_conn conn;
	struct sluice_conn_key key;

	set_identity(0, true);
	trust(HTTP_ID);
	assert_int_equal(send_text(REQUEST_WITH("")), -1);
	assert_int_equal(send_text("PROXY TCP4 203.0.113.9\r\n" REQUEST_WITH("")), -1);
	assert_int_equal(send_text("GET / HTTP/1.1\r\n\r\n"), -1);
	assert_int_equal(counter(SLUICE_COUNTER_PASSED_FRAMING_ERROR), 3);
	assert_int_equal(entries(fd_of(client_counts)), 0);
	key = this_key(false, HTTP_PORT);
	key.client_port = htons(port);
	assert_int_equal(bpf_map_lookup_elem(fd_of(conns), &key, &conn), 0);
	assert_true(conn.flags & SLUICE_CONN_UNJUDGED);
}

static void a_refused_syn_is_counted_only_for_a_client_with_a_rule(void **state)
{
	set_identity(0, false);
	set_prefix(false, 120, (struct sluice_prefix){.class = SLUICE_PREFIX_BLOCKED});
	port++;
	assert_int_not_equal(send_bytes(false, SYN, "", 0), THEN_UNSPEC);
	assert_int_equal(entries(fd_of(client_counts)), 0);
	set_override(this_client(false), 0);
	port++;
	assert_int_not_equal(send_bytes(false, SYN, "", 0), THEN_UNSPEC);
	assert_int_equal(entries(fd_of(client_counts)), 1);
}

/* Bytes of all maps, as the kernel accounts for them. */
static uint64_t memory_of_maps(void)
{
	const struct bpf_map *map;
	uint64_t sum = 0;

	bpf_object__for_each_map(map, w.skel->obj)
	{
		char path[64], line[128];
		FILE *info;

		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", bpf_map__fd(map));
		info = fopen(path, "re");
		assert_non_null(info);
		while (fgets(line, sizeof(line), info))
			if (!strncmp(line, "memlock:", 8))
				sum += strtoull(line + 8, NULL, 10);
		fclose(info);
	}
	return sum;
}

/* A SYN, or a whole request, from an address that no host has: the i-th of 2001:db8:f00::/48. */
static void spoof(uint32_t i)
{
	static const struct shape over_ipv6 = {.ipv6 = true};
	struct segment s = {.flags = i % 2 ? SYN : PSH | ACK,
			    .seq = i * 2654435761U,
			    .ack = i * 40503U,
			    .window = 512,
			    .text = i % 2 ? "" : REQUEST_WITH(""),
			    .len = i % 2 ? 0 : sizeof(REQUEST_WITH("")) - 1,
			    .client_port = (uint16_t)(1024 + i % 60000)};
	static struct frame in;

	make_frame(&in, &over_ipv6, &s);
	memcpy(in.data + 14 + 8, "\x20\x01\x0d\xb8\x0f\0", 6);
	put32(in.data + 14 + 14, i);
	put32(in.data + 14 + 18, i * 2246822519U);
	assert_int_equal(run_tc(program_for(&over_ipv6, false), &in, &out), THEN_UNSPEC);
}

/* Empties client_in_flight, many entries at a time. */
static void forget_in_flight(void)
{
	static struct sluice_client_flag_key keys[16384];
	static struct sluice_holding values[16384];
	uint64_t at, next;
	uint32_t count;
	int err;

	for (bool first = true;; first = false) {
		count = 16384;
		err = bpf_map_lookup_and_delete_batch(fd_of(client_in_flight), first ? NULL : &at,
						      &next, keys, values, &count, NULL);
		at = next;
		if (err)
			break;
	}
	assert_int_equal(err, -ENOENT);
}

#define MILLION 1000000

/*
 * A million clients send one request each, through a proxy's one connection. A million addresses
 * that no host has send a SYN or a request each. All clients are served, a client without a budget
 * is refused to the end, and the maps keep their size.
 */
static void a_million_clients_cost_no_memory_and_no_spent_budget_is_forgotten(void **state)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	uint32_t proxy_client_at, proxy_server_at;
	uint16_t proxy_port;
	char text[256];
	uint64_t memory;

	set_identity(1, false);
	trust(HTTP_ID);
	set_quota();
	assert_int_equal(send_text(REQUEST_WITH("")), -1); /* the proxy itself, its one request */
	assert_int_equal(send_text(REQUEST_WITH("")), 10000);
	memory = memory_of_maps();
	assert_true(memory > 0);
	connect_anew();
	proxy_port = port;
	for (uint32_t i = 0; i < MILLION; i++) {
		int len = snprintf(text, sizeof(text),
				   REQUEST_WITH("X-Forwarded-For: 2001:db8:%x:%x::1\r\n"),
				   1 + (i >> 16), i & 0xffff);

		if (send_bytes(false, PSH | ACK, text, (size_t)len) != THEN_UNSPEC)
			fail_msg("client %u is refused", i);
		send_bytes(true, PSH | ACK, ok, sizeof(ok) - 1);
		spoof(i);
		if (i % 5000)
			continue;
		proxy_client_at = client_at;
		proxy_server_at = server_at;
		if (send_text(REQUEST_WITH("")) != 10000)
			fail_msg("after %u others a client without a budget is served", i);
		client_at = proxy_client_at;
		server_at = proxy_server_at;
		port = proxy_port;
		/* as the daemon does once a second */
		forget_in_flight();
	}
	assert_true(entries(fd_of(client_state)) > SLUICE_CLIENTS_MAX / 2);
	assert_true(entries(fd_of(client_state)) <= SLUICE_CLIENTS_MAX);
	assert_int_equal(counter(SLUICE_COUNTER_BUDGETS_LOST), 0);
	assert_int_equal(counter(SLUICE_COUNTER_PASSED_UNPROVEN), MILLION / 2);
	assert_int_equal(counter(SLUICE_COUNTER_CONNS_FULL), 0);
	assert_int_equal(requests_of(HTTP_ID, LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE),
			 MILLION + 1);
	assert_int_equal(entries(fd_of(conns)), 2); /* the proxy's first, and the million's */
	forget_in_flight();
	assert_in_range(memory_of_maps(), memory - 65536, memory + 65536);
}

static int shape_reset(void **state)
{
	memset(&shape, 0, sizeof(shape));
	return world_reset(state);
}

#define identity_test(f) cmocka_unit_test_setup_teardown(f, shape_reset, print_row)

int main(void)
{
	const struct CMUnitTest tests[] = {
		identity_test(each_key_has_its_own_budget_from_any_address),
		identity_test(each_request_of_a_connection_is_charged_to_its_own_key),
		identity_test(each_clients_refusals_are_counted_by_reason),
		identity_test(the_holder_of_a_key_has_no_prefixs_weight),
		identity_test(of_a_key_and_its_address_the_strictest_rule_holds),
		identity_test(only_a_trusted_proxys_header_counts),
		identity_test(in_a_chain_of_proxies_the_last_untrusted_address_is_the_client),
		identity_test(a_forwarded_address_is_blocked_and_exempt_as_any_other),
		identity_test(a_proxy_header_names_a_connections_client),
		identity_test(a_request_after_a_proxy_header_is_refused_as_any_other),
		identity_test(a_missing_proxy_header_is_a_framing_error),
		identity_test(a_refused_syn_is_counted_only_for_a_client_with_a_rule),
		identity_test(a_million_clients_cost_no_memory_and_no_spent_budget_is_forgotten),
	};

	return packets_main("clients", tests);
}
