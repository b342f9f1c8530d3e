/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Packets as bytes: makes those of a connection between one client and one server, and reads those
 * that the programs forge. The one idea: these bytes are computed here, with none of the code that
 * is tested.
 *
 * A shape is everything that a packet may have around the same segment: the IP version, the link
 * header, the TCP options, and a checksum that is left to the device.
 */
#ifndef SLUICE_FRAMES_H
#define SLUICE_FRAMES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/if_ether.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

#define FIN  0x01
#define SYN  0x02
#define RST  0x04
#define PSH  0x08
#define ACK  0x10
#define URG  0x20
#define NONE 0x80 /* as a row's flags: none at all */

#define HTTP_PORT   8000
#define OPAQUE_PORT 9000
#define CLIENT_PORT 40001
#define CLIENT_ISN  0xfffffff0u /* both sides' numbers wrap soon */
#define SERVER_ISN  0x7ffffff8u
#define TS_VAL      0x01020304u
#define TS_ECR      0xa1b2c3d4u

static const uint8_t client_v4[16] = {[10] = 0xff, 0xff, 198, 51, 100, 7};
static const uint8_t server_v4[16] = {[10] = 0xff, 0xff, 192, 0, 2, 1};
static const uint8_t client_v6[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 0x77, 0, 0, [15] = 7};
static const uint8_t server_v6[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, [15] = 1};
static const uint8_t client_mac[6] = {2, 0, 0, 0, 0, 0xc};
static const uint8_t server_mac[6] = {2, 0, 0, 0, 0, 0x5};

enum link { LINK_ETHERNET, LINK_VLAN, LINK_QINQ, LINK_NONE };

enum options {
	OPTIONS_NONE,
	OPTIONS_TS,       /* NOP NOP TS: what stacks send */
	OPTIONS_TS_SACK,  /* … and a SACK block after it */
	OPTIONS_SACK_TS,  /* … or before it */
	OPTIONS_TS_BARE,  /* TS first, padded after it */
	OPTIONS_SYN,      /* MSS, SACK permitted, TS, NOP, window scale */
	OPTIONS_SACK,     /* no timestamps */
	OPTIONS_SACK_ODD, /* … and the block's numbers at no multiple of four */
};

struct shape {
	bool ipv6;
	enum link link;
	enum options options;
	bool partial; /* the TCP checksum is the pseudo-header's sum. To BPF_PROG_TEST_RUN that is a
		       * complete one; e2e tests have packets that leave it to the device. */
};

struct segment {
	bool from_server;
	uint8_t flags;
	uint32_t seq, ack;
	uint16_t window;
	const void *text;
	size_t len;
	uint16_t client_port, server_port; /* 0: the usual */
	uint16_t urgent;                   /* pointer */
	uint32_t sack;                     /* added to the numbers of its SACK block, 1 and 9 */
};

#define FRAME_MAX 3600

struct frame {
	size_t len;
	uint8_t data[FRAME_MAX + 512];
};

static inline void put16(uint8_t *at, uint16_t v)
{
	at[0] = v >> 8;
	at[1] = v;
}

static inline void put32(uint8_t *at, uint32_t v)
{
	put16(at, v >> 16);
	put16(at + 2, v);
}

static inline uint16_t get16(const uint8_t *at)
{
	return at[0] << 8 | at[1];
}

static inline uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

/* RFC 1071, over bytes in memory order; not complemented. */
static inline uint16_t sum_bytes(uint32_t sum, const uint8_t *at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? at[i] : at[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static inline uint16_t sum_pseudo(const uint8_t *src, const uint8_t *dst, size_t addr, size_t len)
{
	return sum_bytes(
		sum_bytes(sum_bytes(6 + (len >> 16) + (len & 0xffff), src, addr), dst, addr), NULL,
		0);
}

static inline size_t put_options(uint8_t *at, enum options options)
{
	static const uint8_t ts[] = {1, 1, 8, 10, 1, 2, 3, 4, 0xa1, 0xb2, 0xc3, 0xd4};
	static const uint8_t sack[] = {1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 9};
	static const uint8_t odd[] = {1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 9, 0};
	static const uint8_t syn[] = {2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2,
				      3, 4, 0, 0,    0, 0, 1, 3,  3, 7};
	size_t n = 0;

	if (options == OPTIONS_SACK_TS || options == OPTIONS_SACK)
		n = sizeof(sack), memcpy(at, sack, n);
	if (options == OPTIONS_TS || options == OPTIONS_TS_SACK || options == OPTIONS_SACK_TS)
		memcpy(at + n, ts, sizeof(ts)), n += sizeof(ts);
	if (options == OPTIONS_TS_SACK)
		memcpy(at + n, sack, sizeof(sack)), n += sizeof(sack);
	if (options == OPTIONS_TS_BARE) {
		memcpy(at, ts + 2, 10);
		memset(at + 10, 0, 2);
		n = 12;
	}
	if (options == OPTIONS_SYN)
		n = sizeof(syn), memcpy(at, syn, n);
	if (options == OPTIONS_SACK_ODD)
		n = sizeof(odd), memcpy(at, odd, n);
	return n;
}

/* Adds to the numbers of the SACK block among `n` bytes of options. */
static inline void add_to_sack(uint8_t *at, size_t n, uint32_t add)
{
	for (size_t i = 0; i < n && at[i]; i += at[i] == 1 ? 1 : at[i + 1]) {
		if (at[i] != 5)
			continue;
		put32(at + i + 2, get32(at + i + 2) + add);
		put32(at + i + 6, get32(at + i + 6) + add);
	}
}

static inline size_t put_link(uint8_t *at, const struct shape *shape, bool from_server)
{
	size_t n = 12;

	if (shape->link == LINK_NONE)
		return 0;
	memcpy(at, from_server ? client_mac : server_mac, 6);
	memcpy(at + 6, from_server ? server_mac : client_mac, 6);
	if (shape->link == LINK_QINQ) {
		put16(at + n, ETH_P_8021AD);
		put16(at + n + 2, 0x2007);
		n += 4;
	}
	if (shape->link != LINK_ETHERNET) {
		put16(at + n, ETH_P_8021Q);
		put16(at + n + 2, 0x6123);
		n += 4;
	}
	put16(at + n, shape->ipv6 ? ETH_P_IPV6 : ETH_P_IP);
	return n + 2;
}

static inline void make_frame(struct frame *f, const struct shape *shape, const struct segment *s)
{
	const uint8_t *client = shape->ipv6 ? client_v6 : client_v4 + 12;
	const uint8_t *server = shape->ipv6 ? server_v6 : server_v4 + 12;
	const uint8_t *src = s->from_server ? server : client,
		      *dst = s->from_server ? client : server;
	uint16_t cport = s->client_port ? s->client_port : CLIENT_PORT;
	uint16_t sport = s->server_port ? s->server_port : HTTP_PORT;
	uint8_t *ip, *tcp;
	size_t tcp_len;
	uint16_t sum;

	memset(f, 0, sizeof(*f));
	ip = f->data + put_link(f->data, shape, s->from_server);
	tcp = ip + (shape->ipv6 ? 40 : 20);
	tcp_len = 20 + put_options(tcp + 20, shape->options);
	add_to_sack(tcp + 20, tcp_len - 20, s->sack);
	put16(tcp, s->from_server ? sport : cport);
	put16(tcp + 2, s->from_server ? cport : sport);
	put32(tcp + 4, s->seq);
	put32(tcp + 8, s->flags & ACK ? s->ack : 0);
	tcp[12] = tcp_len / 4 << 4;
	tcp[13] = s->flags;
	put16(tcp + 14, s->window);
	put16(tcp + 18, s->urgent);
	assert_true(tcp_len + s->len < FRAME_MAX - 80);
	memcpy(tcp + tcp_len, s->text, s->len);
	tcp_len += s->len;
	if (shape->ipv6) {
		ip[0] = 0x60;
		put16(ip + 4, tcp_len);
		ip[6] = 6;
		ip[7] = 61;
		memcpy(ip + 8, src, 16);
		memcpy(ip + 24, dst, 16);
	} else {
		ip[0] = 0x45;
		put16(ip + 2, 20 + tcp_len);
		put16(ip + 4, 0x1d1d);
		put16(ip + 6, 0x4000);
		ip[8] = 61;
		ip[9] = 6;
		memcpy(ip + 12, src, 4);
		memcpy(ip + 16, dst, 4);
		put16(ip + 10, ~sum_bytes(0, ip, 20));
	}
	sum = sum_pseudo(src, dst, shape->ipv6 ? 16 : 4, tcp_len);
	put16(tcp + 16, shape->partial ? sum : (uint16_t)~sum_bytes(sum, tcp, tcp_len));
	f->len = tcp + tcp_len - f->data;
}

/* The sum of the segment and its pseudo-header, without its checksum. */
static inline uint16_t segment_sum(const struct frame *f, const struct shape *shape)
{
	uint8_t link[32];
	const uint8_t *ip = f->data + put_link(link, shape, false);
	const uint8_t *tcp = ip + (shape->ipv6 ? 40 : 20), *src = ip + (shape->ipv6 ? 8 : 12);
	size_t addr = shape->ipv6 ? 16 : 4, len = f->data + f->len - tcp;

	return sum_bytes(sum_pseudo(src, src + addr, addr, len) + (0xffff & ~get16(tcp + 16)), tcp,
			 len);
}

/* Gives the segment the checksum of `was`, changed by the difference of both. */
static inline void carry_checksum(struct frame *f, const struct shape *shape,
				  const struct frame *was)
{
	uint8_t link[32];
	size_t at = put_link(link, shape, false) + (shape->ipv6 ? 40 : 20) + 16;
	uint32_t sum = (0xffff & ~get16(was->data + at)) + (0xffff & ~segment_sum(was, shape)) +
		       segment_sum(f, shape);

	put16(f->data + at, ~sum_bytes(sum, NULL, 0));
}

/* Gives a packet other numbers, by so many. */
static inline void renumber(struct frame *f, const struct shape *shape, uint32_t seq, uint32_t ack,
			    uint32_t sack)
{
	static struct frame was;
	uint8_t link[32], *tcp;

	was = *f;
	tcp = f->data + put_link(link, shape, false) + (shape->ipv6 ? 40 : 20);
	put32(tcp + 4, get32(tcp + 4) + seq);
	if (tcp[13] & ACK)
		put32(tcp + 8, get32(tcp + 8) + ack);
	add_to_sack(tcp + 20, (tcp[12] >> 4) * 4 - 20, sack);
	carry_checksum(f, shape, &was);
}

/* A packet that came out. */
struct seen {
	bool from_server; /* by its addresses and ports */
	uint32_t seq, ack;
	uint8_t flags;
	uint16_t window;
	bool timestamps;
	uint32_t ts_val, ts_ecr;
	const uint8_t *text;
	size_t len;
};

/*
 * The bytes between IP and TCP: options, or extension headers of which `next` gives the first one's
 * type. `big`: IP states no length.
 */
struct between {
	const char *what;
	bool ipv6, big;
	uint8_t n, next, bytes[40];
};

static inline void put_between(struct frame *f, const struct shape *shape, const struct between *b)
{
	uint8_t link[32], *ip = f->data + put_link(link, shape, false);
	size_t fixed = shape->ipv6 ? 40 : 20, length_at = shape->ipv6 ? 4 : 2;

	memmove(ip + fixed + b->n, ip + fixed, f->data + f->len - ip - fixed);
	memcpy(ip + fixed, b->bytes, b->n);
	f->len += b->n;
	put16(ip + length_at, b->big ? 0 : get16(ip + length_at) + b->n);
	if (shape->ipv6) {
		if (b->n)
			ip[6] = b->next;
		return;
	}
	ip[0] += b->n / 4;
	put16(ip + 10, 0);
	put16(ip + 10, ~sum_bytes(0, ip, 20 + b->n));
}

/* A row states only the values that are not zero. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

static const struct between betweens[] = {
	{"nothing, over IPv4", false},
	{"a router alert", false, false, 4, 0, {0x94, 4}},
	{"all the options that fit", false, false, 40, 0, {7, 39, 4}},
	{"no length, over IPv4", false, true},
	{"hop-by-hop options", true, false, 8, 0, {6, 0, 1, 4}},
	{"destination options of 16 bytes", true, false, 16, 60, {6, 1, 1, 12}},
	{"a routing header", true, false, 8, 43, {6, 0, 4}},
	{"a fragment that is all there is", true, false, 8, 44, {6, 0, 0, 0, 1, 2, 3, 4}},
	{"four headers",
	 true,
	 false,
	 40,
	 0,
	 {60, 0, 1, 4, [8] = 43, 1, 1, 12, [24] = 60, 0, 4, 0, [32] = 6, 0, 1, 4}},
	{"no length, over IPv6", true, true},
	{"no length, and a jumbo payload's", true, true, 8, 0, {6, 0, 0xc2, 4}},
};

/*
 * Reads a forged packet and checks everything that holds for each of them: the link header is that
 * of a packet of the client, or of the server (link_from_server), lengths are exact, checksums
 * right, and no other options are present.
 */
static inline void read_forged(const struct frame *f, const struct shape *shape,
			       bool link_from_server, uint16_t server_port, struct seen *out)
{
	const uint8_t *client = shape->ipv6 ? client_v6 : client_v4 + 12;
	const uint8_t *server = shape->ipv6 ? server_v6 : server_v4 + 12;
	size_t addr = shape->ipv6 ? 16 : 4, ip_len = shape->ipv6 ? 40 : 20, head, tcp_len;
	uint8_t link[32];
	size_t l2 = put_link(link, shape, link_from_server);
	const uint8_t *ip = f->data + l2, *tcp = ip + ip_len, *src, *dst;
	uint16_t sum;

	assert_true(f->len >= l2 + ip_len + 20);
	assert_memory_equal(f->data, link, l2);
	if (shape->ipv6) {
		assert_int_equal(get32(ip), 0x60000000);
		assert_int_equal(get16(ip + 4), f->len - l2 - 40);
		assert_int_equal(ip[6], 6);
		assert_int_equal(ip[7], 64);
		src = ip + 8;
		dst = ip + 24;
	} else {
		assert_int_equal(get16(ip), 0x4500);
		assert_int_equal(get16(ip + 2), f->len - l2);
		assert_int_equal(get16(ip + 4), 0);
		assert_int_equal(get16(ip + 6), 0x4000);
		assert_int_equal(ip[8], 64);
		assert_int_equal(ip[9], 6);
		assert_int_equal(sum_bytes(0, ip, 20), 0xffff);
		src = ip + 12;
		dst = ip + 16;
	}
	memset(out, 0, sizeof(*out));
	out->from_server = !memcmp(src, server, addr);
	assert_memory_equal(src, out->from_server ? server : client, addr);
	assert_memory_equal(dst, out->from_server ? client : server, addr);
	assert_int_equal(get16(tcp), out->from_server ? server_port : CLIENT_PORT);
	assert_int_equal(get16(tcp + 2), out->from_server ? CLIENT_PORT : server_port);
	out->seq = get32(tcp + 4);
	out->ack = get32(tcp + 8);
	out->flags = tcp[13];
	out->window = get16(tcp + 14);
	head = (tcp[12] >> 4) * 4;
	assert_int_equal(tcp[12] & 15, 0);
	assert_int_equal(get16(tcp + 18), 0);
	assert_true(head == 20 || head == 32);
	if (head == 32) {
		assert_int_equal(get32(tcp + 20), 0x0101080a);
		out->timestamps = true;
		out->ts_val = get32(tcp + 24);
		out->ts_ecr = get32(tcp + 28);
	}
	tcp_len = f->len - l2 - ip_len;
	sum = sum_pseudo(src, dst, addr, tcp_len);
	if (shape->partial)
		assert_int_equal(get16(tcp + 16), sum);
	else
		assert_int_equal(sum_bytes(sum, tcp, tcp_len), 0xffff);
	out->text = tcp + head;
	out->len = tcp_len - head;
}

#endif
