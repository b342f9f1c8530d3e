/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Measures ns per packet of each path through the programs, by BPF_PROG_TEST_RUN, with the real
 * programs and real packets. Its own network namespace has only `lo`: a refusal sends its copies
 * there. A packet without effect on its connection runs many times in one call. Any other packet is
 * built for each call; the clock of the call adds 20 to 50 ns. Prints the number of verified
 * instructions of each program, then one line for each path: the median of several rounds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "core/reply_text.h"
#include "sluice.skel.h"
#include <sluice/abi.h>

#define ROUNDS     9
#define PORT       8000
#define PACKET_MAX 3600
#define LOG_SIZE   4096 /* of a program's verifier log: level 4 has a few lines */

static struct sluice_bpf *skel;
static uint32_t client_next, server_next;
static uint16_t client_port;

static uint16_t fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint64_t add_words(uint64_t sum, const void *data, size_t n)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < n; i += 2)
		sum += p[i] | p[i + 1] << 8;
	if (n & 1)
		sum += p[n - 1];
	return sum;
}

/* Builds Ethernet + IPv4 + TCP with timestamps. Returns the length in bytes. */
static size_t packet(uint8_t *out, bool from_client, uint16_t port, uint8_t flags, uint32_t seq,
		     uint32_t ack, const void *payload, size_t n)
{
	struct ethhdr *eth = (void *)out;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	uint8_t *opt = (void *)(tcp + 1);
	size_t tcp_len = 32 + n;

	memset(out, 0, 14 + 20 + 32);
	eth->h_proto = htons(ETH_P_IP);
	ip->version = 4;
	ip->ihl = 5;
	ip->tot_len = htons(20 + tcp_len);
	ip->ttl = 64;
	ip->protocol = IPPROTO_TCP;
	ip->saddr = htonl(from_client ? 0x0a000002 : 0x0a000001);
	ip->daddr = htonl(from_client ? 0x0a000001 : 0x0a000002);
	ip->check = ~fold(add_words(0, ip, 20));
	tcp->source = htons(from_client ? client_port : port);
	tcp->dest = htons(from_client ? port : client_port);
	tcp->seq = htonl(seq);
	tcp->ack_seq = htonl(ack);
	tcp->doff = 8;
	((uint8_t *)tcp)[13] = flags;
	tcp->window = htons(512);
	opt[0] = opt[1] = 1;
	opt[2] = 8;
	opt[3] = 10;
	memcpy(out + 66, payload, n);
	tcp->check = ~fold(add_words(add_words(htons(IPPROTO_TCP) + htons(tcp_len), &ip->saddr, 8),
				     tcp, tcp_len));
	return 66 + n;
}

/* Runs a program on a packet `repeat` times. Returns ns per run, by the kernel's measurement. */
static double run(struct bpf_program *prog, uint8_t *data, size_t n, int repeat, uint32_t *verdict)
{
	uint8_t out[8192];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = data, .data_size_in = n, .data_out = out,
		    .data_size_out = sizeof(out), .repeat = repeat);

	if (bpf_prog_test_run_opts(bpf_program__fd(prog), &opts)) {
		fprintf(stderr, "test run: %s\n", strerror(errno));
		exit(1);
	}
	if (verdict)
		*verdict = opts.retval;
	return opts.duration;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void report(const char *path, double *rounds, double bytes)
{
	qsort(rounds, ROUNDS, sizeof(*rounds), by_value);
	if (bytes)
		printf("%-44s %9.0f ns   %6.2f ns/byte\n", path, rounds[ROUNDS / 2],
		       rounds[ROUNDS / 2] / bytes);
	else
		printf("%-44s %9.1f ns\n", path, rounds[ROUNDS / 2]);
}

static void repeat_path(const char *path, struct bpf_program *prog, uint8_t *data, size_t n)
{
	double rounds[ROUNDS];

	for (int i = 0; i < ROUNDS; i++)
		rounds[i] = run(prog, data, n, 200000, NULL);
	report(path, rounds, 0);
}

/* Measures an empty program. Every other figure includes this time of the kernel's own loop. */
static void floor_path(const char *path, enum bpf_prog_type type, uint8_t *data, size_t n)
{
	const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 2},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(type, "floor", "GPL", pass, 2, NULL);
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = data, .data_size_in = n, .repeat = 200000);
	double rounds[ROUNDS];

	for (int i = 0; i < ROUNDS; i++) {
		if (fd < 0 || bpf_prog_test_run_opts(fd, &opts))
			exit(1);
		rounds[i] = opts.duration;
	}
	close(fd);
	report(path, rounds, 0);
}

/* Opens a new connection; its handshake proves the address. */
static void connect_anew(void)
{
	uint8_t p[PACKET_MAX];
	uint32_t verdict;

	client_port++;
	client_next = 1000;
	server_next = 5000;
	run(skel->progs.responses, p,
	    packet(p, false, PORT, TH_SYN | TH_ACK, server_next - 1, client_next, "", 0), 1,
	    &verdict);
	run(skel->progs.requests, p, packet(p, true, PORT, TH_ACK, client_next, server_next, "", 0),
	    1, &verdict);
}

static double send_client(const void *payload, size_t n)
{
	uint8_t p[PACKET_MAX];
	double ns =
		run(skel->progs.requests, p,
		    packet(p, true, PORT, TH_ACK | TH_PUSH, client_next, server_next, payload, n),
		    1, NULL);

	client_next += n;
	return ns;
}

static double send_server(const void *payload, size_t n)
{
	uint8_t p[PACKET_MAX];
	double ns =
		run(skel->progs.responses, p,
		    packet(p, false, PORT, TH_ACK | TH_PUSH, server_next, client_next, payload, n),
		    1, NULL);

	server_next += n;
	return ns;
}

static const char response_head[] =
	"HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 02:42:00 GMT\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
static const char chunk_text[] =
	"data: {\"id\":\"chatcmpl-8f4a2b\",\"object\":\"chat.completion.chunk\",\"created\":1795318566,\"model\":\"llama-3.1-8b\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n";
static const char request_head[] =
	"POST /v1/chat/completions HTTP/1.1\r\nHost: 10.0.0.1:8000\r\nAccept: application/json\r\nContent-Type: %s\r\nUser-Agent: OpenAI/Python 1.30.1\r\nX-Stainless-Lang: python\r\nX-Stainless-Package-Version: 1.30.1\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\nX-Stainless-Runtime-Version: 3.11.2\r\nAuthorization: Bearer sk-0123456789abcdef0123456789abcdef\r\nContent-Length: %zu\r\n\r\n";

/* Sends a request in segments of 3,400 bytes. Returns ns of all body segments; *head_ns is for the
 * head. */
static const char *content_type = "application/json";

static double request(const char *body, size_t n, double *head_ns)
{
	char head[1024];
	size_t head_len = snprintf(head, sizeof(head), request_head, content_type, n), at = 0;
	double ns = 0;

	*head_ns = send_client(head, head_len);
	while (at < n) {
		size_t piece = n - at < 3400 ? n - at : 3400;

		ns += send_client(body + at, piece);
		at += piece;
	}
	return ns;
}

static void response(double *chunk_ns, int chunks)
{
	char chunk[1024];
	size_t n = snprintf(chunk, sizeof(chunk), "%zx\r\n%s\r\n", strlen(chunk_text), chunk_text);

	send_server(response_head, strlen(response_head));
	send_server(chunk, n);
	*chunk_ns = 0;
	for (int i = 0; i < chunks; i++)
		*chunk_ns += send_server(chunk, n) / chunks;
	send_server("0\r\n\r\n", 5);
}

/* As the daemon does after each change of services and model_ids. */
static void names_changed(void)
{
	static struct sluice_settings set = {.lease_until_ns = UINT64_MAX,
					     .abi_version = SLUICE_ABI_VERSION,
					     .empty = SLUICE_EMPTY_CLIENT_FLAGS |
						      SLUICE_EMPTY_CLIENT_PREFIXES |
						      SLUICE_EMPTY_CLIENT_QUOTAS};
	uint32_t zero = 0;

	set.names++;
	bpf_map_update_elem(bpf_map__fd(skel->maps.settings), &zero, &set, 0);
}

static void set_up(void)
{
	struct sluice_service_key key = {.addr = {[10] = 0xff, 0xff, 10, 0, 0, 1},
					 .port = htons(PORT)};
	struct sluice_service service = {.default_model = 2,
					 .action = SLUICE_ACTION_REPLY,
					 .mode = SLUICE_MODE_ENFORCE,
					 .client_plen4 = 32,
					 .client_plen6 = 64};
	struct sluice_model_flag open = {.allow = 1};
	uint32_t word = PORT >> 6;
	struct sluice_model_name name = {.name = "llama-3.1-8b"};
	uint32_t model = 2;
	uint64_t bits = 1ULL << (PORT & 63);
	/* The default rules of a service. */
	struct sluice_rules rules = {
		.count = 5,
		.methods = 1 << HTTP1_METHOD_POST,
		.source = {SLUICE_SOURCE_PATH, SLUICE_SOURCE_BODY},
		.rule = {{.kind = SLUICE_RULE_MODEL, .len = 20, .prefix = "/openai/deployments/"},
			 {.kind = SLUICE_RULE_MODEL, .len = 13, .prefix = "/predictions/"},
			 {.kind = SLUICE_RULE_MODEL, .len = 11, .prefix = "/v2/models/"},
			 {.kind = SLUICE_RULE_MODEL, .len = 11, .prefix = "/v1/models/"},
			 {.kind = SLUICE_RULE_MODEL, .len = 8, .prefix = "/models/"}},
	};

	bpf_map_update_elem(bpf_map__fd(skel->maps.rules), &service.id, &rules, 0);
	bpf_map_update_elem(bpf_map__fd(skel->maps.services), &key, &service, 0);
	bpf_map_update_elem(bpf_map__fd(skel->maps.ports), &word, &bits, 0);
	bpf_map_update_elem(bpf_map__fd(skel->maps.model_ids), &name, &model, 0);
	for (uint32_t i = 0; i < 8; i++)
		bpf_map_update_elem(bpf_map__fd(skel->maps.model_flags), &i, &open, 0);
	names_changed();
}

/* Moves this process into a new network namespace and sets its lo up. */
static int enter_namespace(void)
{
	struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd, err;

	if (unshare(CLONE_NEWNET))
		return -errno;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = ioctl(fd, SIOCSIFFLAGS, &ifr) ? -errno : 0;
	close(fd);
	return err;
}

/* Loads the programs and prints the number of verified instructions of each. */
static int load(void)
{
	static char logs[16][LOG_SIZE];
	struct bpf_program *prog;
	struct bpf_map *map;
	int i = 0, err;

	skel = sluice_bpf__open();
	if (!skel)
		return -ENOMEM;
	bpf_object__for_each_map(map, skel->obj) bpf_map__set_pin_path(map, NULL);
	bpf_object__for_each_program(prog, skel->obj)
	{
		if (i == 16)
			break;
		bpf_program__set_log_level(prog, 4);
		bpf_program__set_log_buf(prog, logs[i++], LOG_SIZE);
	}
	err = sluice_bpf__load(skel);
	i = 0;
	bpf_object__for_each_program(prog, skel->obj)
	{
		const char *at;

		if (i == 16)
			break;
		at = strstr(logs[i++], "processed ");
		if (at)
			printf("%-44s %9ld instructions verified\n", bpf_program__name(prog),
			       strtol(at + strlen("processed "), NULL, 10));
	}
	if (err)
		fprintf(stderr, "the programs do not load: %s\n", strerror(-err));
	return err;
}

static void block_client(bool blocked, uint8_t action)
{
	struct sluice_prefix_key key = {.plen = 128, .addr = {[10] = 0xff, 0xff, 10, 0, 0, 2}};
	struct sluice_prefix prefix = {.class = SLUICE_PREFIX_BLOCKED, .action = action};

	if (blocked)
		bpf_map_update_elem(bpf_map__fd(skel->maps.client_prefixes), &key, &prefix, 0);
	else
		bpf_map_delete_elem(bpf_map__fd(skel->maps.client_prefixes), &key);
}

/* Measures a program that rewrites its packet: a new packet for each call, the median of many. */
static void single_path(const char *path, struct bpf_program *prog, uint8_t flags, uint32_t wanted)
{
	double rounds[ROUNDS], once[101];
	uint8_t p[PACKET_MAX];
	uint32_t verdict;

	for (int i = 0; i < ROUNDS; i++) {
		for (int k = 0; k < 101; k++) {
			size_t n = packet(p, true, PORT, flags, 1, 0, "", 0);

			once[k] = run(prog, p, n, 1, &verdict);
			if (verdict != wanted) {
				fprintf(stderr, "%s: verdict %u, not %u\n", path, verdict, wanted);
				exit(1);
			}
		}
		qsort(once, 101, sizeof(*once), by_value);
		rounds[i] = once[50];
	}
	report(path, rounds, 0);
}

/* Measures a request to a shut model: the RST, the 429 and the counters. */
static void refused_path(const char *body, size_t n)
{
	struct sluice_model_flag shut = {.reason = SLUICE_REASON_TTFT, .retry_after_ms = 1500},
				 open = {.allow = 1};
	struct sluice_reply_key key = {.reason = SLUICE_REASON_TTFT};
	double rounds[ROUNDS], once[101];
	struct sluice_reply_head_key head_key = {0};
	struct sluice_reply_head head;
	struct sluice_reply_form form;
	struct sluice_reply reply;
	uint32_t model = 2, verdict, zero = 0;
	uint8_t p[PACKET_MAX];
	char text[2048];
	size_t len;

	if (reply_text_build(&reply, NULL, SLUICE_REASON_TTFT) ||
	    reply_text_head(&head, &(struct service_reply){0}, -1, false, NULL))
		exit(1);
	reply_text_form(&form, SLUICE_API_OPENAI, false, false, false);
	bpf_map_update_elem(bpf_map__fd(skel->maps.reply_heads), &head_key, &head, 0);
	bpf_map_update_elem(bpf_map__fd(skel->maps.reply_forms), &zero, &form, 0);
	bpf_map_update_elem(bpf_map__fd(skel->maps.replies), &key, &reply, 0);
	bpf_map_update_elem(bpf_map__fd(skel->maps.model_flags), &model, &shut, 0);
	len = snprintf(text, sizeof(text), request_head, content_type, n);
	memcpy(text + len, body, n);
	for (int i = 0; i < ROUNDS; i++) {
		for (int k = 0; k < 101; k++) {
			connect_anew();
			once[k] = run(skel->progs.requests, p,
				      packet(p, true, PORT, TH_ACK | TH_PUSH, client_next,
					     server_next, text, len + n),
				      1, &verdict);
			if (verdict != 7 /* TC_ACT_REDIRECT */) {
				fprintf(stderr, "refused request: verdict %u, not 7\n", verdict);
				exit(1);
			}
		}
		qsort(once, 101, sizeof(*once), by_value);
		rounds[i] = once[50];
	}
	report("request refused: RST and forged 429", rounds, 0);
	bpf_map_update_elem(bpf_map__fd(skel->maps.model_flags), &model, &open, 0);
}

/* Returns ns of a segment with a whole small request that is admitted: one run per connection, the
 * median of many. */
static double admitted(const char *text, size_t len)
{
	double once[401];
	uint8_t p[PACKET_MAX];
	uint32_t verdict;

	for (int k = 0; k < 401; k++) {
		connect_anew();
		once[k] = run(skel->progs.requests, p,
			      packet(p, true, PORT, TH_ACK | TH_PUSH, client_next, server_next,
				     text, len),
			      1, &verdict);
		if (verdict == 7 /* TC_ACT_REDIRECT */) {
			fprintf(stderr, "admitted request: refused\n");
			exit(1);
		}
		client_next += len;
		response(&(double){0}, 1); /* or conns fills with requests in flight */
	}
	qsort(once, 401, sizeof(*once), by_value);
	return once[200];
}

static void set_quota(uint16_t quota)
{
	struct sluice_service_key key = {.addr = {[10] = 0xff, 0xff, 10, 0, 0, 1},
					 .port = htons(PORT)};
	struct sluice_service service;

	bpf_map_lookup_elem(bpf_map__fd(skel->maps.services), &key, &service);
	service.quota = quota;
	bpf_map_update_elem(bpf_map__fd(skel->maps.services), &key, &service, 0);
	names_changed();
}

/*
 * Measures an acknowledgement of a connection, and of the same once it is kept. Both its numbers
 * stay as they are, so that the same packet can run again; to write them takes as long.
 */
static void kept_paths(void)
{
	struct sluice_conn_key key = {.client_addr = {[10] = 0xff, 0xff, 10, 0, 0, 2},
				      .server_addr = {[10] = 0xff, 0xff, 10, 0, 0, 1},
				      .server_port = htons(PORT)};
	struct sluice_kept kept = {.hook = 1};
	double ns[2][2][ROUNDS];
	uint8_t p[2][PACKET_MAX];
	struct sluice_conn conn;
	size_t n[2];

	connect_anew();
	key.client_port = htons(client_port);
	for (int i = 0; i < ROUNDS; i++)
		for (int is_kept = 0; is_kept < 2; is_kept++) {
			if (bpf_map_lookup_elem(bpf_map__fd(skel->maps.conns), &key, &conn)) {
				fprintf(stderr, "a known connection is not in conns\n");
				exit(1);
			}
			if (is_kept) {
				conn.flags |= SLUICE_CONN_KEPT;
				bpf_map_update_elem(bpf_map__fd(skel->maps.kept), &key, &kept, 0);
			} else {
				conn.flags &= ~SLUICE_CONN_KEPT;
				bpf_map_delete_elem(bpf_map__fd(skel->maps.kept), &key);
			}
			bpf_map_update_elem(bpf_map__fd(skel->maps.conns), &key, &conn, 0);
			for (int out = 0; out < 2; out++) {
				n[out] = packet(p[out], !out, PORT, TH_ACK,
						out ? server_next : client_next,
						out ? client_next : server_next, "", 0);
				ns[out][is_kept][i] =
					run(out ? skel->progs.responses : skel->progs.requests,
					    p[out], n[out], 200000, NULL);
			}
		}
	for (int out = 0; out < 2; out++) {
		for (int i = 0; i < ROUNDS; i++)
			ns[out][0][i] = ns[out][1][i] - ns[out][0][i];
		report(out ? "ACK of a kept connection, tc egress"
			   : "ACK of a kept connection, tc ingress",
		       ns[out][1], 0);
		report("… the difference: its translation", ns[out][0], 0);
	}
}

/* Measures a chunk of the response to a request with this body. */
static void chunk_path(const char *what, const char *body, size_t n)
{
	double rounds[ROUNDS], head;

	for (int i = 0; i < ROUNDS; i++) {
		connect_anew();
		request(body, n, &head);
		response(&rounds[i], 200);
	}
	report(what, rounds, 0);
}

/* Measures a packet of a plain reply to a request with this body. */
static void plain_path(const char *body, size_t n)
{
	char head[256], piece[200] = "";
	double rounds[ROUNDS], ns;

	snprintf(head, sizeof(head),
		 "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
		 "content-length: %zu\r\n\r\n",
		 201 * sizeof(piece));
	for (int i = 0; i < ROUNDS; i++) {
		connect_anew();
		request(body, n, &ns);
		send_server(head, strlen(head));
		rounds[i] = 0;
		for (int k = 0; k < 200; k++)
			rounds[i] += send_server(piece, sizeof(piece)) / 200;
		send_server(piece, sizeof(piece));
	}
	report("a packet of a plain reply, not its last", rounds, 0);
}

/* Measures a request with an inexhaustible quota (of requests; of requests and tokens; those of a
 * fleet with a store that answers) and one without quota, alternately. */
static void quota_paths(const char *body, size_t n)
{
	struct sluice_quota quotas[4] = {
		{},
		{.request_ns = 1, .request_span_ns = 1000000000},
		{.request_ns = 1,
		 .request_span_ns = 1000000000,
		 .token_ns = 1,
		 .token_span_ns = 1000000000,
		 .token_most_ns = 2000000000},
	};
	struct sluice_fleet fleet = {.fresh_until_ns = UINT64_MAX, .hosts = 1};
	double ns[4][2 * ROUNDS], added[4][ROUNDS];
	uint32_t zero = 0;
	char text[2048];
	size_t len = snprintf(text, sizeof(text), request_head, content_type, n);

	memcpy(text + len, body, n);
	len += n;
	quotas[3] = quotas[2];
	quotas[3].fleet = 1;
	bpf_map_update_elem(bpf_map__fd(skel->maps.fleet), &zero, &fleet, 0);
	for (uint32_t id = 1; id < 4; id++)
		bpf_map_update_elem(bpf_map__fd(skel->maps.quotas), &id, &quotas[id], 0);
	for (int i = 0; i < ROUNDS; i++) {
		for (int half = 0; half < 2; half++) /* forth and back, so that drift cancels out */
			for (int j = 0; j < 4; j++) {
				int which = half ? 3 - j : j;

				set_quota(which);
				ns[which][2 * i + half] = admitted(text, len);
			}
		for (int j = 1; j < 4; j++) {
			const double *base = ns[j == 3 ? 2 : 0]; /* the same quota without fleet */

			added[j][i] =
				(ns[j][2 * i] + ns[j][2 * i + 1] - base[2 * i] - base[2 * i + 1]) /
				2;
		}
	}
	set_quota(0);
	for (int j = 0; j < 4; j++)
		for (int i = 0; i < ROUNDS; i++)
			ns[j][i] = (ns[j][2 * i] + ns[j][2 * i + 1]) / 2;
	report("a whole request admitted, no quota", ns[0], 0);
	report("… under a quota of requests", ns[1], 0);
	report("… the difference: the quota's verdict", added[1], 0);
	printf("%-44s %9.1f to %.1f ns\n", "… least and most of the rounds", added[1][0],
	       added[1][ROUNDS - 1]);
	report("… under a quota of requests and tokens", ns[2], 0);
	report("… the difference", added[2], 0);
	report("… that a fleet shares", ns[3], 0);
	report("… the difference to the same without fleet", added[3], 0);
	printf("%-44s %9.1f to %.1f ns\n", "… least and most of the rounds", added[3][0],
	       added[3][ROUNDS - 1]);
}

/* Uploads: a file of arbitrary bytes, and one that is full of almost-delimiters. */
static void form_paths(char *body)
{
	static const char part[] = "--b0b1b2b3\r\nContent-Disposition: form-data; name=\"file\"; "
				   "filename=\"a\"\r\n\r\n";
	static double rounds[ROUNDS];

	content_type = "multipart/form-data; boundary=b0b1b2b3";
	for (int dense = 0; dense < 2; dense++) {
		for (int i = 0; i < ROUNDS; i++) {
			double head;

			memcpy(body, part, sizeof(part) - 1);
			for (size_t at = sizeof(part) - 1; at < 16384; at++)
				body[at] = dense ? "\r\n--b0b1b2b_"[at % 12] : (char)rand();
			connect_anew();
			rounds[i] = request(body, 16384, &head);
			response(&head, 1);
		}
		report(dense ? "… full of almost-delimiters" : "16 KiB of a file in a form", rounds,
		       16384);
	}
}

int main(void)
{
	double rounds[ROUNDS], heads[ROUNDS];
	uint8_t p[PACKET_MAX];
	static char body[65536], wide[8192 + 16];
	size_t n;

	int err = enter_namespace();

	if (err) {
		fprintf(stderr, "cannot create a network namespace: %s (root?)\n", strerror(-err));
		return 1;
	}
	if (load())
		return 1;
	set_up();
	client_port = 20000;

	n = packet(p, true, 9999, TH_ACK, 1, 1, "", 0);
	floor_path("(an empty program, tc)", BPF_PROG_TYPE_SCHED_CLS, p, n);
	floor_path("(an empty program, XDP)", BPF_PROG_TYPE_XDP, p, n);
	repeat_path("foreign port, tc ingress", skel->progs.requests, p, n);
	repeat_path("foreign port, tc egress", skel->progs.responses, p, n);
	repeat_path("foreign port, XDP", skel->progs.gate, p, n);
	n = packet(p, true, PORT, TH_SYN, 1, 0, "", 0);
	repeat_path("SYN admitted, XDP", skel->progs.gate, p, n);
	repeat_path("SYN admitted, tc", skel->progs.requests, p, n);
	block_client(true, SLUICE_ACTION_DROP);
	n = packet(p, true, PORT, TH_SYN, 1, 0, "", 0);
	repeat_path("SYN dropped, XDP", skel->progs.gate, p, n);
	repeat_path("SYN dropped, tc", skel->progs.requests, p, n);
	block_client(true, SLUICE_ACTION_RESET);
	single_path("SYN answered by a RST, XDP", skel->progs.gate, TH_SYN, 3 /* XDP_TX */);
	single_path("SYN answered by a RST, tc", skel->progs.requests, TH_SYN,
		    7 /* TC_ACT_REDIRECT */);
	block_client(false, 0);
	connect_anew();
	n = packet(p, true, PORT, TH_ACK, client_next, server_next, "", 0);
	repeat_path("pure ACK of a known connection, tc ingress", skel->progs.requests, p, n);
	n = packet(p, false, PORT, TH_ACK, server_next, client_next, "", 0);
	repeat_path("pure ACK of a known connection, tc egress", skel->progs.responses, p, n);

	n = snprintf(
		body, sizeof(body),
		"{\"model\":\"llama-3.1-8b\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"");
	for (int i = 0; i < ROUNDS; i++) {
		double chunk;

		connect_anew();
		memset(body + n, 'a', 400);
		memcpy(body + n + 400, "\"}]}", 4);
		rounds[i] = request(body, n + 404, &heads[i]);
		response(&chunk, 200);
	}
	report("request head admitted (~480 bytes)", heads, 0);
	report("… and its body of ~480 bytes", rounds, 0);
	chunk_path("response chunk (one event)", body, n + 404);
	plain_path(body, n + 404);
	kept_paths();
	refused_path(body, n + 404);
	quota_paths(body, n + 404);
	set_quota(2); /* of quota_paths() */
	chunk_path("response chunk under a quota of tokens", body, n + 404);
	set_quota(3);
	chunk_path("… that a fleet shares", body, n + 404);
	set_quota(0);

	for (int i = 0; i < ROUNDS; i++) {
		double head;

		connect_anew();
		memset(body + n, 'a', 16384 - n - 4);
		memcpy(body + 16384 - 4, "\"}]}", 4);
		rounds[i] = request(body, 16384, &head);
		response(&head, 1);
	}
	report("body of 16 KiB, prose, five segments", rounds, 16384);
	for (int i = 0; i < ROUNDS; i++) {
		size_t at = snprintf(body, sizeof(body), "{\"model\":\"m\",\"input\":[");
		double head;

		while (at < 16370)
			at += snprintf(body + at, 16, "[%zu,%zu],", at % 97, at % 31);
		at += snprintf(body + at, 16, "0]}");
		connect_anew();
		rounds[i] = request(body, at, &head);
		response(&head, 1);
	}
	report("body of 16 KiB, dense JSON, five segments", rounds, 16384);
	for (int dense = 0; dense < 2; dense++) {
		for (int i = 0; i < ROUNDS; i++) {
			size_t at = snprintf(wide, sizeof(wide), "{\"model\":\"m\",\"input\":[\"");
			double head;

			while (at < 8180 && dense)
				at += snprintf(wide + at, 16, "\",\"%zu", at % 97);
			memset(wide + at, 'a', 8190 - at);
			memcpy(wide + 8189, "\"]}", 3);
			for (at = 0; at < 8192; at++) {
				body[2 * at] = wide[at];
				body[2 * at + 1] = 0;
			}
			connect_anew();
			rounds[i] = request(body, 16384, &head);
			response(&head, 1);
		}
		report(dense ? "… in UTF-16, many short strings" : "… in UTF-16, prose", rounds,
		       16384);
	}
	form_paths(body);
	sluice_bpf__destroy(skel);
	return 0;
}
