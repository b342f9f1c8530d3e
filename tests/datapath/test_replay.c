/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Replays captures of real servers and clients (wire/: llama.cpp, uvicorn, nginx; curl, the OpenAI
 * SDKs for Python and Node, Python's HTTP clients) through the programs. It compares every request,
 * model name, response, token and time that they find with the file. Two sources state what a file
 * has: the table below, for the reader, and capture.h, which reads whole streams in the simplest
 * way.
 *
 * The captures run once cut into small segments, by BPF_PROG_TEST_RUN, and once whole, with
 * segments of 64 KiB, through a veth with the programs attached. settings.clock_ns is each packet's
 * own time, so times are exact.
 */
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
 * `tokens` are the generated ones (invariant 6). Each stream has one event more than tokens, its
 * [DONE]; uvicorn's (uv_) and the newer llama.cpp's (new_, q_18080) have two, since they open with
 * a role and no content. Status 0: the server closed instead (c_requests: after a response that was
 * to keep the connection alive). ttft_us and gaps_us are sums over the streamed responses: the
 * times from a request's last byte to its first token, and the gaps between tokens. unary_us is the
 * sum, over 2xx responses that are not streamed, of the times to the first byte of the body.
 */
static const struct row {
	const char *name;
	uint16_t port;
	unsigned conns, requests, posts;
	const char *models;   /* of the POSTs, by connection and in order */
	const char *statuses; /* of all */
	unsigned streams, events, tokens;
	uint64_t ttft_us, gaps_us, unary_us;
} rows[] = {
	/* name, port, conns, requests, POSTs, models, statuses, streams, events, tokens, µs */
	{"big", 18081, 1, 1, 1, "m", "200", 0, 0, 0, 0, 0, 71971},
	{"c_aiohttp", 18080, 1, 1, 1, "gpt-x", "200", 1, 5, 4, 341308, 636252, 0},
	{"c_http.client", 18080, 1, 1, 1, "gpt-x", "200", 1, 5, 4, 7356, 4279, 0},
	{"c_httpx", 18080, 2, 2, 2, "gpt-x gpt-x", "200 200", 2, 10, 8, 947301, 1453965, 0},
	{"c_requests", 18080, 1, 2, 2, "gpt-x gpt-x", "200 0", 1, 5, 4, 306789, 579467, 0},
	{"c_urllib", 18080, 1, 1, 1, "gpt-x", "200", 1, 5, 4, 314412, 522995, 0},
	{"expect", 18081, 1, 1, 1, "m", "200", 0, 0, 0, 0, 0, 79221},
	{"keep", 18080, 1, 3, 3, "x x x", "200 200 200", 0, 0, 0, 0, 0, 128865},
	{"new_curl_stream", 18080, 1, 1, 1, "gpt-x", "200", 1, 7, 5, 7164, 11120, 0},
	{"new_curl_unary", 18080, 1, 1, 1, "gpt-x", "200", 0, 0, 0, 0, 0, 11418},
	{"new_err", 18080, 3, 3, 1, "-", "400 200 404", 0, 0, 0, 0, 0, 0},
	{"new_node", 18080, 4, 4, 4, "gpt-x gpt-x gpt-x gpt-x", "200 200 200 200", 3, 21, 15, 26106,
	 34777, 10422},
	{"new_py", 18080, 3, 3, 3, "gpt-x gpt-x gpt-x", "200 200 200", 2, 14, 10, 20779, 11852,
	 7619},
	{"ng_proxy", 18083, 1, 1, 1, "gpt-x", "200", 1, 5, 4, 10299, 2848, 0},
	{"ng_unary", 18082, 1, 1, 1, "gpt-x", "200", 0, 0, 0, 0, 0, 80},
	{"old_curl_stream", 18080, 1, 1, 1, "gpt-x", "200", 1, 7, 6, 415468, 1493933, 0},
	{"old_curl_unary", 18080, 1, 1, 1, "gpt-x", "200", 0, 0, 0, 0, 0, 1924053},
	{"old_node", 18080, 3, 3, 3, "gpt-x gpt-x gpt-x", "200 200 200", 2, 14, 12, 369232, 64207,
	 975100},
	{"old_pysdk", 18080, 3, 3, 3, "gpt-x gpt-x gpt-x", "200 200 200", 2, 12, 10, 670742,
	 1804466, 1214106},
	{"q_18080", 18080, 2, 2, 2, "gpt-x gpt-x", "200 200", 2, 86, 82, 311522, 853450, 0},
	{"q_18090", 18090, 2, 2, 2, "gpt-x gpt-x", "200 200", 2, 84, 82, 333074, 905679, 0},
	{"uv_node", 18081, 2, 3, 3, "gpt-x gpt-x gpt-x", "200 200 200", 2, 12, 8, 106567, 122532,
	 112936},
	{"uv_py", 18081, 3, 3, 3, "gpt-x gpt-x gpt-x", "200 200 200", 2, 12, 8, 121410, 126216,
	 123281},
	{"uv_stream", 18081, 1, 1, 1, "gpt-x", "200", 1, 6, 4, 61873, 64400, 0},
};

#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

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
	unsigned ttft, itl, seen;
	uint64_t ttft_ns, itl_ns;
} found[WIRE_CONNS_MAX][WIRE_EXCHANGES_MAX];

/* The last segment of each side, to be sent again. */
static struct {
	uint8_t frame[HEADERS + SEGMENT];
	size_t len;
} before[WIRE_CONNS_MAX][2];

#define fd_of(map) bpf_map__fd(w.skel->maps.map)

/* ---- the maps ---- */

static void write_settings(uint64_t now_ns)
{
	struct sluice_settings set = {
		.lease_until_ns = CLOCK_START + HOUR,
		.clock_ns = now_ns,
		.abi_version = SLUICE_ABI_VERSION,
	};
	uint32_t zero = 0;

	assert_int_equal(bpf_map_update_elem(fd_of(settings), &zero, &set, BPF_ANY), 0);
}

static void clear_map(int fd)
{
	uint8_t key[256];

	while (!bpf_map_get_next_key(fd, NULL, key))
		assert_int_equal(bpf_map_delete_elem(fd, key), 0);
}

static unsigned entries(int fd)
{
	uint8_t key[256];
	unsigned n = 0;

	for (int end = bpf_map_get_next_key(fd, NULL, key); !end;
	     end = bpf_map_get_next_key(fd, key, key))
		n++;
	return n;
}

static uint64_t sum_cpus(int fd, const void *key)
{
	uint64_t values[w.cpus], sum = 0;

	if (bpf_map_lookup_elem(fd, key, values))
		return 0;
	for (int i = 0; i < w.cpus; i++)
		sum += values[i];
	return sum;
}

static uint64_t counter(uint32_t which)
{
	return sum_cpus(fd_of(counters), &which);
}

static struct sluice_model_state model_state(uint32_t model)
{
	struct sluice_model_state state;

	assert_int_equal(bpf_map_lookup_elem(fd_of(model_state), &model, &state), 0);
	return state;
}

static void address_of(enum wire_side side, uint8_t out[16])
{
	static const uint8_t v4[2][16] = {{[10] = 0xff, 0xff, 198, 51, 100, 7},
					  {[10] = 0xff, 0xff, 192, 0, 2, 1}};
	static const uint8_t v6[2][16] = {{0x20, 0x01, 0x0d, 0xb8, 0, 0x77, [15] = 7},
					  {0x20, 0x01, 0x0d, 0xb8, [15] = 1}};

	memcpy(out, w.how->ipv6 ? v6[side] : v4[side], 16);
}

/* The id that a model's name has, or would get: by its first appearance in the capture. */
static uint32_t id_of(const char *name)
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
static uint32_t charged_to(const struct wire_exchange *e)
{
	return !*e->model || w.how->learned ? id_of(e->model) : SLUICE_MODEL_OTHER;
}

/* The maps as a daemon with this one service writes them at its start. */
static void begin(void)
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

static uint64_t add_words(uint64_t sum, const void *data, size_t n)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < n; i++)
		sum += i & 1 ? p[i] : p[i] << 8;
	return sum;
}

static uint16_t fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = v >> 8;
	p[1] = v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

/*
 * `n` bytes of packet p's payload from `from` on, as a packet of its own between the test's
 * addresses. `partial`: the checksum is left to the device. Returns the frame's length.
 */
static size_t make_frame(uint8_t *f, const struct wire_packet *p, size_t from, size_t n,
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

static void run_and_pass(const struct bpf_program *program, const uint8_t *frame, size_t len,
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

static void run_once(const struct wire_packet *p, const uint8_t *frame, size_t len)
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
static void run_segment(const struct wire_packet *p, const uint8_t *frame, size_t len)
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

static void play_cut(const struct wire_packet *p)
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

static uint64_t runs(void)
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
static void play_through(const struct wire_packet *p, size_t from, size_t piece)
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

static void play_whole(const struct wire_packet *p)
{
	size_t from = 0, n;

	do {
		n = p->len - from < WHOLE_MAX ? p->len - from : WHOLE_MAX;
		play_through(p, from, n);
		from += n;
	} while (from < p->len);
}

/* ---- results of the programs ---- */

/* The exchange that a connection was busy with at the packet being played. */
static unsigned exchange_now(unsigned conn)
{
	const struct wire_conn *k = &w.c->conns[conn];
	unsigned n = 0;

	while (n < k->count && k->exchanges[n].requested_at <= w.at)
		n++;
	assert_true(n > 0);
	return n - 1;
}

static int keep_sample(void *ctx, void *data, size_t size)
{
	const struct sluice_sample *s = data;
	unsigned conn = w.c->packets[w.at].conn, n = exchange_now(conn);
	const struct wire_exchange *e = &w.c->conns[conn].exchanges[n];
	struct found *f = &found[conn][n];
	uint8_t client[16];

	assert_int_equal(size, sizeof(*s));
	assert_int_equal(s->time_ns, CLOCK_START + w.c->packets[w.at].time_ns);
	assert_int_equal(s->service, SERVICE_ID);
	assert_int_equal(s->bytes, e->bytes);
	assert_int_equal(s->model, charged_to(e));
	assert_string_equal(s->name, w.how->learned ? "" : e->model);
	address_of(CLIENT, client);
	if (w.how->ipv6)
		memset(client + 8, 0, 8);
	assert_memory_equal(s->client.addr, client, 16);
	assert_int_equal(s->client.plen, w.how->ipv6 ? 64 : 128);
	assert_int_equal(s->client.kind, SLUICE_CLIENT_ADDRESS);
	switch (s->kind) {
	case SLUICE_SAMPLE_TTFT:
		assert_int_equal(s->n, 1);
		f->ttft++;
		f->ttft_ns += s->sum_ns;
		break;
	case SLUICE_SAMPLE_ITL:
		f->itl += s->n;
		f->itl_ns += s->sum_ns;
		break;
	case SLUICE_SAMPLE_SEEN:
		f->seen++;
		break;
	default:
		fail_msg("a sample of kind %u", s->kind);
	}
	return 0;
}

static bool judged(const struct wire_exchange *e)
{
	return !strcmp(e->method, "POST");
}

/* True if an exchange still waits for its first token after the packet being played. */
static bool waits(const struct wire_exchange *e)
{
	bool ok = e->status >= 200 && e->status < 300;
	int until = e->done_at;

	if (ok && e->streamed && e->first_at >= 0 && e->first_at < until)
		until = e->first_at;
	if (ok && !e->streamed && e->body_at >= 0 && e->body_at < until)
		until = e->body_at;
	return w.at < until;
}

static enum http1_method method_of(const struct wire_exchange *e)
{
	return !strcmp(e->method, "POST")   ? HTTP1_METHOD_POST
	       : !strcmp(e->method, "GET")  ? HTTP1_METHOD_GET
	       : !strcmp(e->method, "HEAD") ? HTTP1_METHOD_HEAD
					    : HTTP1_METHOD_OTHER;
}

/*
 * Invariant 7: at every packet, each connection has had as many requests and responses as in the
 * file.
 */
static void framing_is_exact(unsigned conn)
{
	const struct wire_conn *k = &w.c->conns[conn];
	struct sluice_conn_key key = {.client_port = htons(k->client_port),
				      .server_port = htons(w.row->port)};
	const struct wire_exchange *last = NULL;
	unsigned requested = 0, done = 0;
	struct sluice_conn seen;
	bool there;

	address_of(CLIENT, key.client_addr);
	address_of(SERVER, key.server_addr);
	there = !bpf_map_lookup_elem(fd_of(conns), &key, &seen);
	assert_int_equal(there, w.at >= k->proven_at && w.at < k->gone_at);
	if (!there)
		return;
	for (unsigned i = 0; i < k->count; i++) {
		const struct wire_exchange *e = &k->exchanges[i];

		if (e->requested_at <= w.at) {
			last = e;
			requested++;
			done += e->done_at <= w.at;
		}
	}
	assert_false(seen.flags & (SLUICE_CONN_UNJUDGED | SLUICE_CONN_NO_RESPONSES));
	assert_int_equal(seen.exchange_tail, requested);
	assert_int_equal(seen.exchange_head, done);
	if (!last)
		return;
	assert_int_equal(seen.exchange[(requested - 1) % SLUICE_EXCHANGES_MAX].method,
			 method_of(last));
	assert_int_equal(seen.exchange[(requested - 1) % SLUICE_EXCHANGES_MAX].bytes, last->bytes);
	if (done == requested && last->status)
		assert_int_equal(seen.response.frame.status, last->status);
}

/* Invariant 8: at every packet, the counts in flight and waiting are those of the file. */
static void slots_are_right(void)
{
	struct sluice_model_state want[MODELS_USED] = {0}, is;
	struct sluice_client_flag_key client = {.client.plen = w.how->ipv6 ? 64 : 128};
	uint8_t address[16];
	struct sluice_holding held = {0};
	int64_t sum = 0;

	for (unsigned k = 0; k < w.c->conn_count; k++) {
		for (unsigned i = 0; i < w.c->conns[k].count; i++) {
			const struct wire_exchange *e = &w.c->conns[k].exchanges[i];

			if (!judged(e) || e->requested_at > w.at || e->done_at <= w.at)
				continue;
			want[SLUICE_MODEL_ALL].in_flight++;
			want[charged_to(e)].in_flight++;
			want[SLUICE_MODEL_ALL].waiting += waits(e);
			want[charged_to(e)].waiting += waits(e);
		}
	}
	for (uint32_t i = 0; i < MODELS_USED; i++) {
		is = model_state(i);
		assert_int_equal(is.in_flight, want[i].in_flight);
		assert_int_equal(is.waiting, want[i].waiting);
	}
	address_of(CLIENT, address);
	memcpy(client.client.addr, address, w.how->ipv6 ? 8 : 16);
	for (client.model = 0; client.model < MODELS_USED; client.model++)
		if (!bpf_map_lookup_elem(fd_of(client_in_flight), &client, &held))
			sum += held.in_flight;
	assert_int_equal(sum, want[SLUICE_MODEL_ALL].in_flight);
}

/* Plays packets [0, end) of the capture, and compares each with the file as it passes. */
static void play(const struct row *row, const struct capture *c, const struct how *how, int end)
{
	w.row = row;
	w.c = c;
	w.how = how;
	begin();
	for (w.at = 0; w.at < end; w.at++) {
		write_settings(CLOCK_START + c->packets[w.at].time_ns);
		if (how->piece)
			play_cut(&c->packets[w.at]);
		else
			play_whole(&c->packets[w.at]);
		ring_buffer__consume(w.samples);
		framing_is_exact(c->packets[w.at].conn);
		slots_are_right();
	}
}

/* Nothing failed open, was lost, was refused, or is left. */
static void nothing_went_wrong(void)
{
	static const char *const names[] = {
#define X(name, text) text,
		SLUICE_COUNTERS(X)
#undef X
	};

	for (uint32_t i = 0; i < SLUICE_COUNTER_COUNT; i++) {
		if (i == SLUICE_COUNTER_HALF_OPEN_INSERTS || i == SLUICE_COUNTER_HALF_OPEN_DELETES)
			assert_int_equal(counter(i), w.c->conn_count);
		else if (counter(i) &&
			 !(i == SLUICE_COUNTER_GAPS_CLIENT_LIMITED && w.how->server_twice))
			fail_msg("counter %s is %llu", names[i], (unsigned long long)counter(i));
	}
	assert_int_equal(entries(fd_of(conns)), 0);
	assert_int_equal(entries(fd_of(half_open)), 0);
	assert_int_equal(entries(fd_of(tombstones)), 0);
}

/* Every judged request is counted once, under its model. */
static void requests_are_counted(void)
{
	uint64_t want[MODELS_USED] = {0};

	for (unsigned k = 0; k < w.c->conn_count; k++)
		for (unsigned i = 0; i < w.c->conns[k].count; i++)
			if (judged(&w.c->conns[k].exchanges[i]))
				want[charged_to(&w.c->conns[k].exchanges[i])]++;
	for (uint32_t i = 0; i < MODELS_USED; i++) {
		struct sluice_admitted_count each[w.cpus];
		uint64_t sum = 0;

		assert_int_equal(bpf_map_lookup_elem(fd_of(admitted_counts), &i, each), 0);
		for (int cpu = 0; cpu < w.cpus; cpu++) {
			assert_true(!each[cpu].n || each[cpu].service == SERVICE_ID);
			sum += each[cpu].n;
		}
		assert_int_equal(sum, want[i]);
	}
	assert_int_equal(entries(fd_of(request_counts)), 0);
}

/*
 * Invariant 6: the times of every response are those of the packets in the file, to the nanosecond.
 */
static void times_are_honest(void)
{
	struct {
		uint64_t n, ns;
	} want[MODELS_USED][2] = {0};

	for (unsigned k = 0; k < w.c->conn_count; k++) {
		for (unsigned i = 0; i < w.c->conns[k].count; i++) {
			const struct wire_exchange *e = &w.c->conns[k].exchanges[i];
			bool ok = judged(e) && e->status >= 200 && e->status < 300;
			const struct found *f = &found[k][i];
			uint64_t ttft = 0, n = 0, gaps = 0;

			if (ok && e->streamed && e->generated) {
				ttft = wire_between(w.c, e->requested_at, e->first_at);
				gaps = wire_between(w.c, e->first_at, e->last_at);
				n = e->generated - 1;
			} else if (ok && !e->streamed && w.how->unary) {
				ttft = wire_between(w.c, e->requested_at, e->body_at);
			}
			assert_int_equal(f->ttft,
					 ok && (e->streamed ? e->generated > 0 : w.how->unary));
			assert_int_equal(f->ttft_ns, ttft);
			assert_int_equal(f->itl, n);
			assert_int_equal(f->itl_ns, gaps);
			assert_int_equal(f->seen, ok && charged_to(e) == SLUICE_MODEL_OTHER);
			want[charged_to(e)][0].n += f->ttft;
			want[charged_to(e)][0].ns += ttft;
			want[charged_to(e)][1].n += n;
			want[charged_to(e)][1].ns += gaps;
		}
	}
	for (uint32_t i = 0; i < MODELS_USED; i++) {
		struct sluice_histogram h[w.cpus];

		assert_int_equal(bpf_map_lookup_elem(fd_of(histograms), &i, h), 0);
		for (int which = 0; which < 2; which++) {
			uint64_t n = 0, ns = 0;

			for (int cpu = 0; cpu < w.cpus; cpu++) {
				ns += h[cpu].sum_ns[which];
				for (int b = 0; b < SLUICE_HISTOGRAM_BUCKETS; b++)
					n += h[cpu].count[which][b];
			}
			assert_int_equal(n, want[i][which].n);
			assert_int_equal(ns, want[i][which].ns);
		}
	}
}

static struct capture *opened(const struct row *row)
{
	char path[128];

	snprintf(path, sizeof(path), "tests/datapath/wire/%s.pcap", row->name);
	return capture_open(path, row->port);
}

static void play_all(const struct how *how)
{
	for (unsigned i = 0; i < ROW_COUNT; i++) {
		struct capture *c = opened(&rows[i]);

		play(&rows[i], c, how, c->count);
		nothing_went_wrong();
		requests_are_counted();
		times_are_honest();
		capture_close(c);
	}
	w.row = NULL;
}

/* ---- tests ---- */

static void the_table_and_the_captures_agree(void **state)
{
	for (unsigned i = 0; i < ROW_COUNT; i++) {
		struct capture *c = opened(&rows[i]);
		struct row is = {
			.name = rows[i].name, .port = rows[i].port, .conns = c->conn_count};
		char models[512] = "", statuses[512] = "";

		w.row = &rows[i];
		for (unsigned k = 0; k < c->conn_count; k++) {
			for (unsigned n = 0; n < c->conns[k].count; n++) {
				const struct wire_exchange *e = &c->conns[k].exchanges[n];
				bool ok = judged(e) && e->status >= 200 && e->status < 300;

				is.requests++;
				is.posts += judged(e);
				if (judged(e))
					sprintf(models + strlen(models), "%s%s", *models ? " " : "",
						*e->model ? e->model : "-");
				sprintf(statuses + strlen(statuses), "%s%d", *statuses ? " " : "",
					e->status);
				is.streams += e->streamed;
				is.events += e->events;
				is.tokens += e->generated;
				if (ok && e->streamed) {
					is.ttft_us +=
						wire_between(c, e->requested_at, e->first_at) /
						1000;
					is.gaps_us +=
						wire_between(c, e->first_at, e->last_at) / 1000;
				} else if (ok) {
					is.unary_us +=
						wire_between(c, e->requested_at, e->body_at) / 1000;
				}
			}
		}
		assert_int_equal(is.conns, rows[i].conns);
		assert_int_equal(is.requests, rows[i].requests);
		assert_int_equal(is.posts, rows[i].posts);
		assert_string_equal(models, rows[i].models);
		assert_string_equal(statuses, rows[i].statuses);
		assert_int_equal(is.streams, rows[i].streams);
		assert_int_equal(is.events, rows[i].events);
		assert_int_equal(is.tokens, rows[i].tokens);
		assert_int_equal(is.ttft_us, rows[i].ttft_us);
		assert_int_equal(is.gaps_us, rows[i].gaps_us);
		assert_int_equal(is.unary_us, rows[i].unary_us);
		capture_close(c);
	}
	w.row = NULL;
}

/* Invariants 6, 7 and 8, on segments of Ethernet's usual size. */
static void captures_in_segments_of_1448_bytes_give_the_files_values(void **state)
{
	play_all(&(struct how){.piece = SEGMENT});
	play_all(&(struct how){.piece = SEGMENT, .learned = true, .unary = true});
}

/* Invariant 7: the ends of segments make no difference. */
static void captures_cut_anywhere_give_the_files_values(void **state)
{
	static const size_t pieces[] = {1, 2, 3, 7, 16, 61, 64, 65, 536};

	for (unsigned i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		struct how how = {
			.piece = pieces[i], .ipv6 = i & 1, .learned = i & 2, .unary = i & 4};

		for (unsigned k = 0; k < ROW_COUNT; k++) {
			struct capture *c = opened(&rows[k]);

			if (c->conns[0].stream[CLIENT].len < 100000 || how.piece >= 61) {
				play(&rows[k], c, &how, c->count);
				nothing_went_wrong();
				requests_are_counted();
				times_are_honest();
			}
			capture_close(c);
		}
	}
	w.row = NULL;
}

/* Invariants 6, 7 and 8, on whole large packets, with real hooks on a real device. */
static void captures_whole_on_a_veth_give_the_files_values(void **state)
{
	play_all(&(struct how){.piece = 0});
	play_all(&(struct how){.piece = 0, .ipv6 = true, .learned = true, .unary = true});
}

/* Invariant 8: a segment that passes two hooks, or is retransmitted, is judged once. */
static void a_client_that_sends_everything_twice_is_counted_once(void **state)
{
	play_all(&(struct how){.piece = SEGMENT, .client_twice = true, .unary = true});
}

/*
 * Invariant 6: a retransmission is no sample, and its gap is client-limited. Each token is a sample
 * or in such a gap.
 */
static void a_server_that_sends_everything_twice_adds_no_sample(void **state)
{
	const struct how how = {.piece = SEGMENT, .server_twice = true};

	for (unsigned i = 0; i < ROW_COUNT; i++) {
		struct capture *c = opened(&rows[i]);
		unsigned samples = 0;

		play(&rows[i], c, &how, c->count);
		nothing_went_wrong();
		requests_are_counted();
		for (unsigned k = 0; k < c->conn_count; k++)
			for (unsigned n = 0; n < c->conns[k].count; n++)
				samples += found[k][n].ttft + found[k][n].itl;
		assert_int_equal(samples + counter(SLUICE_COUNTER_GAPS_CLIENT_LIMITED),
				 rows[i].tokens);
		assert_true(samples <= rows[i].streams);
		capture_close(c);
	}
	w.row = NULL;
}

/* Invariant 8: whenever the clients go away, nothing stays in flight. */
static void nothing_stays_in_flight_when_clients_reset_at_any_packet(void **state)
{
	const struct how how = {.piece = SEGMENT};

	for (unsigned i = 0; i < ROW_COUNT; i++) {
		struct capture *c = opened(&rows[i]);

		for (unsigned end = 1; end < c->count; end++) {
			uint32_t next[WIRE_CONNS_MAX] = {0};

			play(&rows[i], c, &how, end);
			for (unsigned n = 0; n < end; n++) {
				const struct wire_packet *p = &c->packets[n];

				if (p->side == CLIENT && !(p->flags & RST))
					next[p->conn] =
						p->seq + p->len + !!(p->flags & (SYN | FIN));
			}
			for (unsigned k = 0; k < c->conn_count; k++) {
				struct wire_packet reset = {.side = CLIENT,
							    .conn = k,
							    .flags = RST,
							    .tcp_len = 20,
							    .seq = next[k]};

				put16(reset.tcp, c->conns[k].client_port);
				put16(reset.tcp + 2, rows[i].port);
				put16(reset.tcp + 12, 0x5000 | RST);
				if (next[k])
					play_cut(&reset);
			}
			assert_int_equal(entries(fd_of(conns)), 0);
			w.at = c->count; /* after everything in flight */
			slots_are_right();
		}
		capture_close(c);
	}
	w.row = NULL;
}

/* ---- the world ---- */

static int end_of_veth(const char *name)
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

static int attached(void)
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

/* A veth without an address: no stack at either end accepts or answers anything. */
static int world_open(void **state)
{
	struct bpf_map *map;

	if (unshare(CLONE_NEWNET) || system("sysctl -qw net.ipv6.conf.default.disable_ipv6=1 && "
					    "ip link add t0 type veth peer name t1 && "
					    "ip link set t0 up && ip link set t1 up"))
		return -1;
	w.cpus = libbpf_num_possible_cpus();
	w.skel = sluice_bpf__open();
	if (!w.skel)
		return -1;
	bpf_object__for_each_map(map, w.skel->obj) bpf_map__set_pin_path(map, NULL);
	if (sluice_bpf__load(w.skel) || attached() || bpf_enable_stats(BPF_STATS_RUN_TIME) < 0)
		return -1;
	w.samples = ring_buffer__new(fd_of(samples), keep_sample, NULL, NULL);
	w.server_end = end_of_veth("t0");
	w.client_end = end_of_veth("t1");
	return w.samples && w.server_end >= 0 && w.client_end >= 0 ? 0 : -1;
}

static int world_close(void **state)
{
	ring_buffer__free(w.samples);
	sluice_bpf__destroy(w.skel);
	return 0;
}

/* Prints the position of a failure, and sets counts that it left back to 0. */
static int print_position(void **state)
{
	struct sluice_model_state none = {0};

	if (w.row)
		fprintf(stderr, "        in %s, packet %d\n", w.row->name, w.at + 1);
	w.row = NULL;
	clear_map(fd_of(conns));
	for (uint32_t i = 0; i < MODELS_USED; i++)
		bpf_map_update_elem(fd_of(model_state), &i, &none, 0);
	return 0;
}

#define replay_test(f) cmocka_unit_test_teardown(f, print_position)

int main(void)
{
	const struct CMUnitTest tests[] = {
		replay_test(the_table_and_the_captures_agree),
		replay_test(captures_in_segments_of_1448_bytes_give_the_files_values),
		replay_test(captures_cut_anywhere_give_the_files_values),
		replay_test(captures_whole_on_a_veth_give_the_files_values),
		replay_test(a_client_that_sends_everything_twice_is_counted_once),
		replay_test(a_server_that_sends_everything_twice_adds_no_sample),
		replay_test(nothing_stays_in_flight_when_clients_reset_at_any_packet),
	};

	if (geteuid()) {
		fprintf(stderr, "replay: needs root\n");
		return 77;
	}
	return cmocka_run_group_tests_name("replay", tests, world_open, world_close);
}
