/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Plays a capture through the programs: writes the maps, makes packets of the captured segments
 * between the test's addresses, and sends them, either cut into small segments by
 * BPF_PROG_TEST_RUN, or whole, with segments of 64 KiB, through a veth with the programs attached.
 *
 * settings.clock_ns is each packet's own time, so times are exact.
 */
#ifndef SLUICE_REPLAY_H
#define SLUICE_REPLAY_H

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "capture.h"
#include "map_access.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "sluice.skel.h"
#include <sluice/abi.h>

#define CLOCK_START (1000ULL * 1000000000)
#define HOUR        (3600ULL * 1000000000)
#define SERVICE_ID  7
#define MODEL_FIRST 3 /* the id of the first learned name; later names get the next ones */
#define MODELS_USED 8
#define NO_NAME     2 /* the service's default model */
#define HEADERS     (14 + 40 + 60)
#define FRAME_MAX   (14 + 65536)
#define SEGMENT     1448
/* The most that TCP hands to a device that segments: less than 64 KiB. */
#define WHOLE_MAX    (45 * SEGMENT)
#define VERDICT_PASS -1 /* TC_ACT_UNSPEC */

/*
 * The contents of the captures. `events` are the streamed events with data, [DONE] among them;
 * `tokens` are the generated ones (invariant 6). Each stream has two events more than tokens, the
 * finish reason and [DONE]; uvicorn's (uv_) and the newer llama.cpp's (new_, q_18080) have three,
 * since they open with a role and no content. Status 0: the server closed instead (c_requests:
 * after a response that was to keep the connection alive). ttft_us and gaps_us are sums over the
 * streamed responses: the times from a request's last byte to its first token, and the gaps between
 * tokens. unary_us is the sum, over 2xx responses that are not streamed, of the times to the first
 * byte of the body.
 */
struct row {
	const char *name;
	uint16_t port;
	unsigned conns, requests, posts;
	const char *models;   /* of the POSTs, by connection and in order */
	const char *statuses; /* of all */
	unsigned streams, events, tokens;
	uint64_t ttft_us, gaps_us, unary_us;
};

/* How a capture is played. */
struct how {
	size_t piece; /* bytes of payload in a segment at most; 0: as captured, through the veth */
	bool ipv6;
	bool learned;      /* the models' names have ids */
	bool unary;        /* the service's unary responses feed TTFT */
	bool client_twice; /* each of the client's segments passes the hooks twice */
	bool server_twice; /* the server sends each segment again */
};

static struct {
	struct sluice_bpf *skel;
	struct ring_buffer *samples;
	int cpus, client_end, server_end;
	const struct row *row;
	const struct capture *c;
	const struct how *how;
	int at; /* the packet being played */
} w;

/* What the programs reported of one exchange. */
static struct found {
	unsigned ttft, itl, seen, durations;
	uint64_t ttft_ns, itl_ns, duration_ns;
} found[WIRE_CONNS_MAX][WIRE_EXCHANGES_MAX];

/* The last segment of each side, to be sent again. */
static struct {
	uint8_t frame[HEADERS + SEGMENT];
	size_t len;
} before[WIRE_CONNS_MAX][2];

#define fd_of(map) bpf_map__fd(w.skel->maps.map)

/* ---- the maps ---- */

static inline void write_settings(uint64_t now_ns)
{
	struct sluice_settings set = {
		.lease_until_ns = CLOCK_START + HOUR,
		.clock_ns = now_ns,
		.abi_version = SLUICE_ABI_VERSION,
	};
	uint32_t zero = 0;

	assert_int_equal(bpf_map_update_elem(fd_of(settings), &zero, &set, BPF_ANY), 0);
}

static inline uint64_t counter(uint32_t which)
{
	return sum_cpus(fd_of(counters), &which);
}

static inline struct sluice_model_state model_state(uint32_t model)
{
	struct sluice_model_state state;

	assert_int_equal(bpf_map_lookup_elem(fd_of(model_state), &model, &state), 0);
	return state;
}

static inline void address_of(enum wire_side side, uint8_t out[16])
{
	static const uint8_t v4[2][16] = {{[10] = 0xff, 0xff, 198, 51, 100, 7},
					  {[10] = 0xff, 0xff, 192, 0, 2, 1}};
	static const uint8_t v6[2][16] = {{0x20, 0x01, 0x0d, 0xb8, 0, 0x77, [15] = 7},
					  {0x20, 0x01, 0x0d, 0xb8, [15] = 1}};

	memcpy(out, w.how->ipv6 ? v6[side] : v4[side], 16);
}

/* The id that a model's name has, or would get: by its first appearance in the capture. */
static inline uint32_t id_of(const char *name)
{
	char seen[MODELS_USED][96];
	unsigned n = 0, i;

	if (!*name)
		return NO_NAME;
	for (unsigned k = 0; k < w.c->conn_count; k++) {
		for (unsigned e = 0; e < w.c->conns[k].count; e++) {
			const char *model = w.c->conns[k].exchanges[e].model;

			for (i = 0; i < n && strcmp(seen[i], model); i++)
				;
			if (*model && i == n) {
				assert_true(MODEL_FIRST + n < MODELS_USED);
				strcpy(seen[n++], model);
			}
		}
	}
	for (i = 0; i < n && strcmp(seen[i], name); i++)
		;
	assert_true(i < n);
	return MODEL_FIRST + i;
}

/* … and the id that the programs must charge. */
static inline uint32_t charged_to(const struct wire_exchange *e)
{
	return !*e->model || w.how->learned ? id_of(e->model) : SLUICE_MODEL_OTHER;
}

/* The maps as a daemon with this one service writes them at its start. */
static inline void begin(void)
{
	uint8_t none[w.cpus * sizeof(struct sluice_histogram)];
	struct sluice_service_key key = {.port = htons(w.row->port)};
	struct sluice_service service = {
		.id = SERVICE_ID,
		.default_model = NO_NAME,
		.action = SLUICE_ACTION_REPLY,
		.mode = SLUICE_MODE_ENFORCE,
		.client_plen4 = 32,
		.client_plen6 = 64,
		.unary = w.how->unary,
		.frees = 1,
	};
	struct sluice_rules rules = {.methods = 1 << HTTP1_METHOD_POST,
				     .source = {SLUICE_SOURCE_BODY}};
	uint32_t id = SERVICE_ID, word = w.row->port >> 6;
	uint64_t bit = 1ULL << (w.row->port & 63);

	memset(none, 0, sizeof(none));
	memset(found, 0, sizeof(found));
	memset(before, 0, sizeof(before));
	write_settings(CLOCK_START);
	clear_map(fd_of(services));
	clear_map(fd_of(model_ids));
	clear_map(fd_of(request_counts));
	for (uint32_t i = 0; i < MODELS_USED; i++)
		bpf_map_update_elem(fd_of(admitted_counts), &i, none, BPF_ANY);
	clear_map(fd_of(client_in_flight));
	clear_map(fd_of(half_open));
	address_of(SERVER, key.addr);
	assert_int_equal(bpf_map_update_elem(fd_of(services), &key, &service, 0), 0);
	assert_int_equal(bpf_map_update_elem(fd_of(rules), &id, &rules, 0), 0);
	assert_int_equal(bpf_map_update_elem(fd_of(ports), &word, &bit, 0), 0);
	for (uint32_t i = 0; i < MODELS_USED; i++) {
		struct sluice_model_flag flag = {.allow = 1};

		assert_int_equal(bpf_map_update_elem(fd_of(model_flags), &i, &flag, 0), 0);
		assert_int_equal(bpf_map_update_elem(fd_of(histograms), &i, none, 0), 0);
	}
	for (uint32_t i = 0; i < SLUICE_COUNTER_COUNT; i++)
		assert_int_equal(bpf_map_update_elem(fd_of(counters), &i, none, 0), 0);
	for (unsigned k = 0; w.how->learned && k < w.c->conn_count; k++) {
		for (unsigned e = 0; e < w.c->conns[k].count; e++) {
			struct sluice_model_name name = {0};

			strcpy(name.name, w.c->conns[k].exchanges[e].model);
			id = id_of(name.name);
			if (*name.name)
				assert_int_equal(
					bpf_map_update_elem(fd_of(model_ids), &name, &id, 0), 0);
		}
	}
}

/* ---- packets ---- */

static inline uint64_t add_words(uint64_t sum, const void *data, size_t n)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < n; i++)
		sum += i & 1 ? p[i] : p[i] << 8;
	return sum;
}

static inline uint16_t fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static inline void put16(uint8_t *p, uint16_t v)
{
	p[0] = v >> 8;
	p[1] = v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

/*
 * `n` bytes of packet p's payload from `from` on, as a packet of its own between the test's
 * addresses. `partial`: the checksum is left to the device. Returns the frame's length.
 */
static inline size_t make_frame(uint8_t *f, const struct wire_packet *p, size_t from, size_t n,
				bool partial)
{
	uint8_t src[16], dst[16], *ip = f + 14, *tcp;
	size_t tcp_len = p->tcp_len + n;
	uint64_t sum;

	address_of(p->side, src);
	address_of(!p->side, dst);
	memset(f, 0, HEADERS);
	f[0] = f[6] = 2;
	f[5] = p->side;
	f[11] = !p->side;
	put16(f + 12, w.how->ipv6 ? ETH_P_IPV6 : ETH_P_IP);
	if (w.how->ipv6) {
		ip[0] = 0x60;
		put16(ip + 4, tcp_len);
		ip[6] = IPPROTO_TCP;
		ip[7] = 64;
		memcpy(ip + 8, src, 16);
		memcpy(ip + 24, dst, 16);
		tcp = ip + 40;
	} else {
		ip[0] = 0x45;
		put16(ip + 2, 20 + tcp_len);
		ip[6] = 0x40;
		ip[8] = 64;
		ip[9] = IPPROTO_TCP;
		memcpy(ip + 12, src + 12, 4);
		memcpy(ip + 16, dst + 12, 4);
		put16(ip + 10, ~fold(add_words(0, ip, 20)));
		tcp = ip + 20;
	}
	memcpy(tcp, p->tcp, p->tcp_len);
	put32(tcp + 4, p->seq + from);
	if (from + n < p->len)
		tcp[13] &= ~(FIN | PSH);
	memcpy(tcp + p->tcp_len, w.c->conns[p->conn].stream[p->side].bytes + p->at + from, n);
	put16(tcp + 16, 0);
	sum = IPPROTO_TCP + tcp_len;
	sum = w.how->ipv6 ? add_words(sum, src, 16) : add_words(sum, src + 12, 4);
	sum = w.how->ipv6 ? add_words(sum, dst, 16) : add_words(sum, dst + 12, 4);
	put16(tcp + 16, partial ? fold(sum) : (uint16_t)~fold(add_words(sum, tcp, tcp_len)));
	return tcp + tcp_len - f;
}

/* ---- through BPF_PROG_TEST_RUN ---- */

static inline void run_and_pass(const struct bpf_program *program, const uint8_t *frame, size_t len,
				int pass)
{
	static uint8_t out[4096];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = len, .data_out = out,
		    .data_size_out = sizeof(out), .repeat = 1);

	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(program), &opts), 0);
	assert_int_equal((int)opts.retval, pass);
	assert_int_equal(opts.data_size_out, len);
	assert_memory_equal(out, frame, len);
}

static inline void run_once(const struct wire_packet *p, const uint8_t *frame, size_t len)
{
	if (p->side == CLIENT) {
		run_and_pass(w.skel->progs.gate, frame, len, XDP_PASS);
		run_and_pass(w.skel->progs.requests, frame, len, VERDICT_PASS);
	} else {
		run_and_pass(w.skel->progs.responses, frame, len, VERDICT_PASS);
	}
}

/*
 * Sends a segment; if everything is sent twice, first the previous segment and then itself again.
 */
static inline void run_segment(const struct wire_packet *p, const uint8_t *frame, size_t len)
{
	bool twice = p->side == CLIENT ? w.how->client_twice : w.how->server_twice;

	run_once(p, frame, len);
	if (!twice || p->flags & (SYN | FIN | RST) || w.at > w.c->conns[p->conn].gone_at)
		return;
	if (before[p->conn][p->side].len)
		run_once(p, before[p->conn][p->side].frame, before[p->conn][p->side].len);
	run_once(p, frame, len);
	memcpy(before[p->conn][p->side].frame, frame, len);
	before[p->conn][p->side].len = len;
}

static inline void play_cut(const struct wire_packet *p)
{
	static uint8_t frame[HEADERS + SEGMENT];
	size_t from = 0, n, len;

	assert_true(w.how->piece <= SEGMENT);
	do {
		n = p->len - from < w.how->piece ? p->len - from : w.how->piece;
		len = make_frame(frame, p, from, n, false);
		run_segment(p, frame, len);
		from += n;
	} while (from < p->len);
}

/* ---- through the veth ---- */

static inline uint64_t runs(void)
{
	struct bpf_program *const programs[] = {w.skel->progs.requests, w.skel->progs.responses};
	uint64_t n = 0;

	for (unsigned i = 0; i < 2; i++) {
		struct bpf_prog_info info = {};
		uint32_t size = sizeof(info);

		assert_int_equal(bpf_obj_get_info_by_fd(bpf_program__fd(programs[i]), &info, &size),
				 0);
		n += info.run_cnt;
	}
	return n;
}

/*
 * Sends a packet into the veth: a client's packet enters at tc ingress of the other end, a server's
 * leaves through tc egress. A packet larger than a segment goes like the kernel's own: segmentation
 * and checksum are left to the device, the payload is in pages. A server's packet arrives as it was
 * sent.
 */
static inline void play_through(const struct wire_packet *p, size_t from, size_t piece)
{
	static struct {
		struct virtio_net_hdr head;
		uint8_t frame[FRAME_MAX];
	} out, in;
	size_t payload_at = 14 + (w.how->ipv6 ? 40 : 20) + p->tcp_len, len;
	uint64_t runs_before = runs();
	ssize_t n;

	len = make_frame(out.frame, p, from, piece, true);
	out.head = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.hdr_len = payload_at,
		.csum_start = payload_at - p->tcp_len,
		.csum_offset = 16,
	};
	if (piece > SEGMENT) {
		out.head.gso_type =
			w.how->ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
		out.head.gso_size = SEGMENT;
	}
	n = send(p->side == CLIENT ? w.client_end : w.server_end, &out, sizeof(out.head) + len, 0);
	if (n != (ssize_t)(sizeof(out.head) + len))
		fail_msg("sending %zu bytes: %s", len, strerror(errno));
	for (int ms = 0; runs() == runs_before && ms < 20000; ms++)
		usleep(1000);
	assert_int_equal(runs(), runs_before + 1); /* this packet, and no other */
	if (p->side == CLIENT)
		return;
	n = recv(w.client_end, &in, sizeof(in), 0);
	assert_int_equal(n, sizeof(in.head) + len);
	assert_memory_equal(in.frame, out.frame, len);
}

static inline void play_whole(const struct wire_packet *p)
{
	size_t from = 0, n;

	do {
		n = p->len - from < WHOLE_MAX ? p->len - from : WHOLE_MAX;
		play_through(p, from, n);
		from += n;
	} while (from < p->len);
}

/* ---- the veth itself ---- */

static inline int end_of_veth(const char *name)
{
	struct sockaddr_ll here = {.sll_family = AF_PACKET,
				   .sll_protocol = htons(ETH_P_ALL),
				   .sll_ifindex = if_nametoindex(name)};
	struct timeval patience = {.tv_sec = 20};
	int s = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), one = 1;

	if (s < 0 || setsockopt(s, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) ||
	    setsockopt(s, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) ||
	    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    bind(s, (struct sockaddr *)&here, sizeof(here)))
		return -1;
	return s;
}

static inline int attached(void)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = if_nametoindex("t0"),
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, in, .prog_fd = bpf_program__fd(w.skel->progs.requests));
	LIBBPF_OPTS(bpf_tc_opts, out, .prog_fd = bpf_program__fd(w.skel->progs.responses));

	if (bpf_tc_hook_create(&hook))
		return -1;
	hook.attach_point = BPF_TC_INGRESS;
	if (bpf_tc_attach(&hook, &in))
		return -1;
	hook.attach_point = BPF_TC_EGRESS;
	return bpf_tc_attach(&hook, &out);
}

#endif
