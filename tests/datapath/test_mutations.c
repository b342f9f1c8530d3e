/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Random and mutated packets through every program: `test_mutations [PACKETS [SEED]]`. Each is made
 * of a real frame of a connection, then changed at random: headers, lengths, options, bytes, its
 * end.
 *
 * A frame in which no two bytes read as a protected port is foreign, however it is parsed: it must
 * pass with not a bit changed. Any other frame gets a verdict that the programs may give. If it
 * passes, it is no longer than it was, and has the addresses, ports and sequence numbers that it
 * had. What the programs may change of it is listed in may_change().
 */
#include "packets.h"

#include <inttypes.h>

#define REQUEST                                                                                    \
	"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"      \
	"Content-Length: 40\r\n\r\n{\"model\":\"llama\",\"stream\":true,\"n\":1234567}"
#define CHUNKED                                                                                    \
	"POST /v1/completions HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"           \
	"10\r\n{\"model\":\"qwen\"}\r\n0\r\n\r\n"
#define HEADS_ONLY "GET /health HTTP/1.1\r\nHost: h\r\n\r\nHEAD / HTTP/1.0\r\n\r\n"
#define STREAMED                                                                                   \
	"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" \
	"2e\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n\r\n0\r\n\r\n"
#define PLAIN                                                                                      \
	"HTTP/1.1 200 OK\r\nDate: Sat, 28 Nov 2026 12:00:00 GMT\r\nContent-Length: 2\r\n\r\n{}"    \
	"HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n"

static const char *const client_texts[] = {"", REQUEST, CHUNKED, HEADS_ONLY, REQUEST REQUEST};
static const char *const server_texts[] = {"", STREAMED, PLAIN, STREAMED PLAIN};
#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static uint64_t packets = 20000, seed = 1, state_now;

/* splitmix64 */
static uint64_t draw(void)
{
	uint64_t z = state_now += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static uint32_t below(uint32_t n)
{
	return (uint32_t)(draw() % n);
}

static bool one_in(uint32_t n)
{
	return !below(n);
}

/* ---- making a packet ---- */

/* How far each connection is. Its number gives its client's port, IP version and service. */
static struct {
	uint32_t client, server; /* sequence numbers that each side has used */
} progress[16];

/* The flags of the next packet of one side. */
static uint8_t draw_flags(unsigned conn, bool server)
{
	static const uint8_t any[] = {SYN,       SYN | ACK, ACK,       URG | PSH | ACK,
				      FIN | ACK, RST,       FIN | SYN, 0};

	if (one_in(12))
		return any[below(sizeof(any))];
	if (!progress[conn].client || !progress[conn].server)
		return server ? SYN | ACK : SYN;
	return one_in(6) ? ACK : ACK | PSH;
}

/* `arrives`: else it is lost or changed on its way, and comes again. */
static void draw_frame(struct frame *f, struct shape *shape, bool server, bool ethernet,
		       bool arrives)
{
	unsigned conn = below(COUNT(progress));
	const char *text = server ? server_texts[below(COUNT(server_texts))]
				  : client_texts[below(COUNT(client_texts))];
	struct segment s = {.from_server = server,
			    .flags = draw_flags(conn, server),
			    .seq = server ? SERVER_ISN + progress[conn].server
					  : CLIENT_ISN + progress[conn].client,
			    .ack = server ? CLIENT_ISN + progress[conn].client
					  : SERVER_ISN + progress[conn].server,
			    .window = one_in(8) ? 0 : 64240,
			    .text = text,
			    .len = one_in(3) ? below((uint32_t)strlen(text) + 1) : strlen(text),
			    .client_port = (uint16_t)(CLIENT_PORT + conn),
			    .server_port = conn & 6 ? HTTP_PORT : OPAQUE_PORT,
			    .urgent = one_in(8) ? (uint16_t)draw() : 0};

	*shape = (struct shape){.ipv6 = conn & 1,
				.link = ethernet ? below(LINK_NONE) : LINK_NONE,
				.options = below(OPTIONS_SACK + 1),
				.partial = one_in(4)};
	if (one_in(3))
		s.server_port = (uint16_t)(1 + below(7000));
	if (s.flags & SYN) {
		s.len = one_in(8) ? s.len : 0;
		s.seq = server ? SERVER_ISN : CLIENT_ISN;
	}
	if (s.server_port >= HTTP_PORT && arrives) {
		if (s.flags & (RST | FIN) || (s.flags & SYN && !server))
			progress[conn].client = progress[conn].server = 0;
		if (s.flags & SYN)
			*(server ? &progress[conn].server : &progress[conn].client) = 1;
		else if (s.flags & ACK && !(s.flags & FIN))
			*(server ? &progress[conn].server : &progress[conn].client) +=
				(uint32_t)s.len;
	}
	make_frame(f, shape, &s);
	if (one_in(4)) {
		const struct between *b = &betweens[below(COUNT(betweens))];

		if (b->ipv6 == shape->ipv6)
			put_between(f, shape, b);
	}
}

static void mutate(struct frame *f, const struct shape *shape)
{
	uint8_t link[32];
	uint32_t l2 = (uint32_t)put_link(link, shape, false), head = l2 + (shape->ipv6 ? 60 : 40);
	uint32_t at = below((uint32_t)f->len), more;

	switch (below(10)) {
	case 0: /* a byte of the headers */
		at = below(head < f->len ? head : (uint32_t)f->len);
		f->data[at] = (uint8_t)draw();
		break;
	case 1: /* a bit anywhere */
		f->data[at] ^= (uint8_t)(1 << below(8));
		break;
	case 2: /* cut short */
		f->len = 14 + below((uint32_t)f->len);
		break;
	case 3: /* padded */
		more = below(64);
		memset(f->data + f->len, (int)draw(), more);
		f->len += more;
		break;
	case 4: /* another length in the IP header */
		put16(f->data + l2 + (shape->ipv6 ? 4 : 2),
		      one_in(2) ? (uint16_t)draw() : (uint16_t)below(100));
		break;
	case 5: /* a fragment */
		if (!shape->ipv6)
			put16(f->data + l2 + 6, (uint16_t)draw());
		break;
	case 6: /* TCP's header length and flags */
		f->data[head - 8] = (uint8_t)draw();
		f->data[head - 7] = (uint8_t)draw();
		break;
	case 7: /* options */
		for (int i = 0; i < 20; i++)
			f->data[head + i] = (uint8_t)below(10);
		break;
	case 8: /* random bytes to the end */
		for (; at < f->len; at++)
			f->data[at] = (uint8_t)draw();
		break;
	default: /* another type of packet */
		f->data[shape->ipv6 ? l2 + 6 : l2 + 9] = (uint8_t)draw();
		break;
	}
	if (f->len > FRAME_MAX)
		f->len = FRAME_MAX;
	if (f->len < 14)
		f->len = 14;
}

/* ---- what may have become of it ---- */

static bool reads_as_port(const struct frame *f)
{
	for (size_t i = 0; i + 1 < f->len; i++)
		if (get16(f->data + i) == HTTP_PORT || get16(f->data + i) == OPAQUE_PORT)
			return true;
	return false;
}

struct headers {
	size_t ip, tcp; /* offsets */
	bool ipv6, syn;
};

/* Finds the headers of a TCP packet by itself. False: it is none. */
static bool find_headers(const struct frame *f, bool ethernet, struct headers *h)
{
	size_t at = ethernet ? 12 : 0;
	uint8_t next = 0;

	if (ethernet) {
		while (at + 2 <= f->len &&
		       (get16(f->data + at) == ETH_P_8021Q || get16(f->data + at) == ETH_P_8021AD))
			at += 4;
		at += 2;
	}
	if (at + 40 > f->len)
		return false;
	h->ip = at;
	h->ipv6 = f->data[at] >> 4 == 6;
	if (h->ipv6) {
		next = f->data[at + 6];
		at += 40;
		while (next != 6 && at + 8 <= f->len &&
		       (next == 0 || next == 43 || next == 44 || next == 60)) {
			size_t n = next == 44 ? 8 : 8 + 8 * (size_t)f->data[at + 1];

			next = f->data[at];
			at += n;
		}
	} else {
		next = f->data[at + 9];
		at += (size_t)(f->data[at] & 15) * 4;
	}
	h->tcp = at;
	if (next != 6 || at + 20 > f->len)
		return false;
	h->syn = f->data[at + 13] & SYN;
	return true;
}

/*
 * Whether a program may change this byte of a packet that passes. A segment that is held is cut,
 * and loses its FIN; urgent data becomes usual; a SYN becomes plain.
 */
static bool may_change(const struct headers *h, size_t at)
{
	size_t length = h->ip + (h->ipv6 ? 4 : 2);

	if (at == length || at == length + 1)
		return true;
	if (!h->ipv6 && (at == h->ip + 10 || at == h->ip + 11))
		return true;
	return at == h->tcp + 13 || (at >= h->tcp + 16 && at < h->tcp + 20) ||
	       (h->syn && at >= h->tcp + 20);
}

/* Whether the kernel runs no tc program on it: newer kernels want a whole IP header. */
static bool too_short(const struct frame *f, bool xdp)
{
	uint16_t type = get16(f->data + 12);

	return !xdp &&
	       ((type == ETH_P_IP && f->len < 14 + 20) || (type == ETH_P_IPV6 && f->len < 14 + 40));
}

enum result { SHORT, FOREIGN, SAME, CHANGED, SHORTER, DROPPED, ANSWERED, RESULTS };

static struct frame in, out;
static const char *program_name;

#define bad(...)                                                                                   \
	do {                                                                                       \
		fprintf(stderr, "seed %" PRIu64 ", %s, in:", seed, program_name);                  \
		for (size_t i_ = 0; i_ < in.len; i_++)                                             \
			fprintf(stderr, " %02x", in.data[i_]);                                     \
		fputc('\n', stderr);                                                               \
		fail_msg(__VA_ARGS__);                                                             \
	} while (0)

static enum result check_passed(bool ethernet)
{
	struct headers h = {0};

	if (out.len == in.len && !memcmp(out.data, in.data, in.len))
		return SAME;
	if (out.len > in.len)
		bad("%zu bytes became %zu", in.len, out.len);
	if (!find_headers(&in, ethernet, &h))
		bad("a packet that is not TCP was changed");
	for (size_t i = 0; i < out.len; i++)
		if (out.data[i] != in.data[i] && !may_change(&h, i))
			bad("byte %zu became %02x", i, out.data[i]);
	return out.len < in.len ? SHORTER : CHANGED;
}

static enum result run_once(struct bpf_program *program, bool xdp, bool ethernet)
{
	int pass = xdp ? XDP_PASS : THEN_UNSPEC, drop = xdp ? XDP_DROP : TC_ACT_SHOT, verdict;

	program_name = bpf_program__name(program);
	if (too_short(&in, xdp))
		return SHORT;
	verdict = xdp ? run_xdp(program, &in, &out) : run_tc(program, &in, &out);
	if (!reads_as_port(&in)) {
		if (verdict != pass || out.len != in.len || memcmp(out.data, in.data, in.len))
			bad("a foreign packet: verdict %d", verdict);
		return FOREIGN;
	}
	if (verdict == pass)
		return check_passed(ethernet);
	if (verdict == drop)
		return DROPPED;
	if (verdict != (xdp ? XDP_TX : THEN_REDIRECT))
		bad("verdict %d", verdict);
	return ANSWERED;
}

/* A daemon's changes in between, so that some requests are refused. */
static void change_policy(void)
{
	struct sluice_model_flag shut = {.reason = SLUICE_REASON_ITL, .retry_after_ms = 3000};
	uint32_t models[] = {SLUICE_MODEL_OTHER, LLAMA, QWEN, OPAQUE_MODEL};

	for (size_t i = 0; i < COUNT(models); i++) {
		shut.allow = one_in(2);
		shut.action = (uint8_t)below(4);
		shut.mode = one_in(4) ? SLUICE_MODE_SHADOW : SLUICE_MODE_ENFORCE;
		set_flag(models[i], shut);
	}
	w.settings.lease_until_ns = w.settings.clock_ns + (one_in(8) ? 0 : HOUR);
	pass_ms(below(1000));
}

static void no_packet_fails_a_program_and_none_that_passes_is_rewritten(void **state)
{
	static const char *const words[RESULTS] = {
		"too short for the kernel",
		"foreign and untouched",
		"passed unchanged",
		"passed with a changed header",
		"passed cut",
		"dropped",
		"answered",
	};
	const struct {
		struct bpf_program *program;
		bool xdp, server, ethernet;
	} programs[] = {
		{w.skel->progs.gate, true, false, true},
		{w.skel->progs.gate_generic, true, false, true},
		{w.skel->progs.requests, false, false, true},
		{w.skel->progs.requests_l3, false, false, false},
		{w.skel->progs.responses, false, true, true},
		{w.skel->progs.responses_l3, false, true, false},
	};
	uint64_t count[RESULTS] = {0};
	struct shape shape;

	printf("%" PRIu64 " packets, seed %" PRIu64 "\n", packets, seed);
	state_now = seed;
	reset_world();
	w.unread = true;
	for (uint64_t i = 0; i < packets; i++) {
		unsigned p = below(COUNT(programs)), changes;

		if (i % 256 == 0)
			change_policy();
		changes = one_in(2) ? 0 : 1 + below(4);
		draw_frame(&in, &shape, programs[p].server != one_in(32),
			   programs[p].ethernet != one_in(32), !changes && !programs[p].xdp);
		for (; changes; changes--)
			mutate(&in, &shape);
		count[run_once(programs[p].program, programs[p].xdp, programs[p].ethernet)]++;
	}
	printf("%10" PRIu64 " requests judged\n", requests_in_all());
	for (int r = 0; r < RESULTS; r++) {
		printf("%10" PRIu64 " %s\n", count[r], words[r]);
		if (packets >= 20000) /* the draws reach each of them */
			assert_true(count[r] > 0);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		packets_test(no_packet_fails_a_program_and_none_that_passes_is_rewritten),
	};

	if (argc > 1)
		packets = strtoull(argv[1], NULL, 10);
	if (argc > 2)
		seed = strtoull(argv[2], NULL, 10);
	return packets_main("mutations", tests);
}
