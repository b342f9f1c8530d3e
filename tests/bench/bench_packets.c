/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Nanoseconds per packet of each path through the programs, by BPF_PROG_TEST_RUN: the real programs, real packets, no
 * network. A packet that changes nothing is run many times in one call; one that moves a connection on is
 * made anew for every call, and the kernel's own timing of each call is taken. Prints one line a path: the
 * median of several rounds, and how many instructions the verifier walked.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "sluice.skel.h"
#include <sluice/abi.h>

#define ROUNDS 9
#define PORT 8000
#define PACKET_MAX 3600

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

/* Builds Ethernet + IPv4 + TCP with timestamps; returns its length in bytes. */
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
	tcp->check = ~fold(add_words(add_words(htons(IPPROTO_TCP) + htons(tcp_len), &ip->saddr, 8), tcp,
				     tcp_len));
	return 66 + n;
}

/* Runs a program on a packet `repeat` times; nanoseconds each, as the kernel measured. */
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

/* A new connection, proven by its handshake. */
static void connect_anew(void)
{
	uint8_t p[PACKET_MAX];
	uint32_t verdict;

	client_port++;
	client_next = 1000;
	server_next = 5000;
	run(skel->progs.responses, p,
	    packet(p, false, PORT, TH_SYN | TH_ACK, server_next - 1, client_next, "", 0), 1, &verdict);
	run(skel->progs.requests, p, packet(p, true, PORT, TH_ACK, client_next, server_next, "", 0), 1,
	    &verdict);
}

static double send_client(const void *payload, size_t n)
{
	uint8_t p[PACKET_MAX];
	double ns = run(skel->progs.requests, p,
			packet(p, true, PORT, TH_ACK | TH_PUSH, client_next, server_next, payload, n),
			1, NULL);

	client_next += n;
	return ns;
}

static double send_server(const void *payload, size_t n)
{
	uint8_t p[PACKET_MAX];
	double ns = run(skel->progs.responses, p,
			packet(p, false, PORT, TH_ACK | TH_PUSH, server_next, client_next, payload, n),
			1, NULL);

	server_next += n;
	return ns;
}

static const char response_head[] = "HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 02:42:00 GMT\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
static const char chunk_text[] = "data: {\"id\":\"chatcmpl-8f4a2b\",\"object\":\"chat.completion.chunk\",\"created\":1795318566,\"model\":\"llama-3.1-8b\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n";
static const char request_head[] = "POST /v1/chat/completions HTTP/1.1\r\nHost: 10.0.0.1:8000\r\nAccept: application/json\r\nContent-Type: application/json\r\nUser-Agent: OpenAI/Python 1.30.1\r\nX-Stainless-Lang: python\r\nX-Stainless-Package-Version: 1.30.1\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\nX-Stainless-Runtime-Version: 3.11.2\r\nAuthorization: Bearer sk-0123456789abcdef0123456789abcdef\r\nContent-Length: %zu\r\n\r\n";

/* A request in segments of 3,400 bytes; the body is prose or dense JSON. Returns ns of all its segments. */
static double request(const char *body, size_t n, double *head_ns)
{
	char head[1024];
	size_t head_len = snprintf(head, sizeof(head), request_head, n), at = 0;
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

static void set_up(void)
{
	struct sluice_settings set = { .lease_until_ns = UINT64_MAX, .abi_version = SLUICE_ABI_VERSION };
	struct sluice_service_key key = { .addr = { [10] = 0xff, 0xff, 10, 0, 0, 1 }, .port = htons(PORT) };
	struct sluice_service service = { .default_model = 2, .action = SLUICE_ACTION_REPLY,
					  .mode = SLUICE_MODE_ENFORCE, .client_plen4 = 32,
					  .client_plen6 = 64 };
	struct sluice_model_flag open = { .allow = 1 };
	uint32_t zero = 0, word = PORT >> 6;
	uint64_t bits = 1ULL << (PORT & 63);

	bpf_map_update_elem(bpf_map__fd(skel->maps.settings), &zero, &set, 0);
	bpf_map_update_elem(bpf_map__fd(skel->maps.services), &key, &service, 0);
	bpf_map_update_elem(bpf_map__fd(skel->maps.ports), &word, &bits, 0);
	for (uint32_t i = 0; i < 8; i++)
		bpf_map_update_elem(bpf_map__fd(skel->maps.model_flags), &i, &open, 0);
}

int main(void)
{
	double rounds[ROUNDS], heads[ROUNDS];
	uint8_t p[PACKET_MAX];
	struct bpf_map *map;
	static char body[65536];
	size_t n;

	skel = sluice_bpf__open();
	if (!skel)
		return 1;
	bpf_object__for_each_map(map, skel->obj)
		bpf_map__set_pin_path(map, NULL);
	if (sluice_bpf__load(skel)) {
		fprintf(stderr, "the programs do not load (root?)\n");
		return 1;
	}
	set_up();
	client_port = 20000;

	n = packet(p, true, 9999, TH_ACK, 1, 1, "", 0);
	repeat_path("foreign port, tc ingress", skel->progs.requests, p, n);
	repeat_path("foreign port, tc egress", skel->progs.responses, p, n);
	repeat_path("foreign port, XDP", skel->progs.gate, p, n);
	n = packet(p, true, PORT, TH_SYN, 1, 0, "", 0);
	repeat_path("SYN admitted, XDP", skel->progs.gate, p, n);
	repeat_path("SYN admitted, tc", skel->progs.requests, p, n);
	connect_anew();
	n = packet(p, true, PORT, TH_ACK, client_next, server_next, "", 0);
	repeat_path("pure ACK of a known connection, tc ingress", skel->progs.requests, p, n);
	n = packet(p, false, PORT, TH_ACK, server_next, client_next, "", 0);
	repeat_path("pure ACK of a known connection, tc egress", skel->progs.responses, p, n);

	n = snprintf(body, sizeof(body), "{\"model\":\"llama-3.1-8b\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"");
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
	for (int i = 0; i < ROUNDS; i++) {
		double head;

		connect_anew();
		request(body, n + 404, &head);
		response(&rounds[i], 200);
	}
	report("response chunk (one event)", rounds, 0);

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
	sluice_bpf__destroy(skel);
	return 0;
}
