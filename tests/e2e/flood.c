/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A flood of packets with spoofed sources: SYNs, and segments that carry a whole request. Checksums
 * are right. One packet in four is IPv4, the others are IPv6. The caller routes the answers to a
 * host that drops them.
 *
 * flood INTERFACE MAC COUNT SERVER4 PREFIX4 SERVER6 PREFIX6 [CLIENT4]: sources are a million
 * addresses of PREFIX6/64, in a cycle, and random ones of PREFIX4/17. With CLIENT4, half of the
 * IPv4 segments with data have that source address, and random ports. Prints as JSON what it has
 * sent.
 */
#define _GNU_SOURCE /* sendmmsg */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define PORT      8000
#define BATCH     64
#define ADDRESSES 1000000

static const char text[] =
	"POST /v1/chat/completions HTTP/1.1\r\nHost: flood\r\nContent-Type: application/json\r\n"
	"Content-Length: 30\r\n\r\n{\"model\":\"slow\",\"prompt\":\"xyz\"}";

struct frame {
	uint8_t bytes[14 + 40 + 24 + sizeof(text)];
	size_t len;
};

static uint64_t state = 88172645463325252ULL;

/* Xorshift (Marsaglia 2003): cheap, and the same in every run. */
static uint64_t draw(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static uint64_t add(uint64_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (; len > 1; len -= 2, p += 2)
		sum += (uint32_t)(p[0] << 8 | p[1]);
	return len ? sum + (uint32_t)(p[0] << 8) : sum;
}

static uint16_t fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void make(struct frame *f, const uint8_t mac[12], bool ipv6, bool syn, const void *source,
		 const void *server)
{
	size_t data_len = syn ? 0 : sizeof(text) - 1, tcp_len = 20 + (syn ? 4 : 0) + data_len;
	uint8_t *at = f->bytes + 14;
	struct tcphdr tcp = {
		.source = htons((uint16_t)(1024 + draw() % 60000)),
		.dest = htons(PORT),
		.seq = (uint32_t)draw(),
		.ack_seq = syn ? 0 : (uint32_t)draw(),
		.doff = syn ? 6 : 5,
		.syn = syn,
		.ack = !syn,
		.psh = !syn,
		.window = htons(64240),
	};
	uint64_t sum = 6 + tcp_len;
	uint16_t check;

	memcpy(f->bytes, mac, 12);
	f->bytes[12] = ipv6 ? 0x86 : 0x08;
	f->bytes[13] = ipv6 ? 0xdd : 0x00;
	if (ipv6) {
		struct ip6_hdr ip = {.ip6_flow = htonl(6U << 28),
				     .ip6_plen = htons((uint16_t)tcp_len),
				     .ip6_nxt = 6,
				     .ip6_hlim = 64};

		memcpy(&ip.ip6_src, source, 16);
		memcpy(&ip.ip6_dst, server, 16);
		memcpy(at, &ip, sizeof(ip));
		sum = add(add(sum, source, 16), server, 16);
		at += sizeof(ip);
	} else {
		struct iphdr ip = {.version = 4,
				   .ihl = 5,
				   .tot_len = htons((uint16_t)(20 + tcp_len)),
				   .ttl = 64,
				   .protocol = 6};

		memcpy(&ip.saddr, source, 4);
		memcpy(&ip.daddr, server, 4);
		ip.check = fold(add(0, &ip, sizeof(ip)));
		memcpy(at, &ip, sizeof(ip));
		sum = add(add(sum, source, 4), server, 4);
		at += sizeof(ip);
	}
	memcpy(at, &tcp, 20);
	if (syn)
		memcpy(at + 20, "\x02\x04\x05\xb4", 4);
	else
		memcpy(at + 20, text, data_len);
	check = fold(add(sum, at, tcp_len));
	memcpy(at + 16, &check, 2);
	f->len = (size_t)(at - f->bytes) + tcp_len;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

int main(int argc, char **argv)
{
	static struct frame frames[BATCH];
	static struct mmsghdr messages[BATCH];
	static struct iovec parts[BATCH];
	uint8_t mac[12] = {0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 7}, server4[4], prefix4[4], client4[4];
	uint8_t server6[16], prefix6[16];
	unsigned long count, sent = 0, syns = 0, busy = 0, over_ipv6 = 0;
	int fd, one = 1;

	if (argc < 8 ||
	    sscanf(argv[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3],
		   &mac[4], &mac[5]) != 6 ||
	    inet_pton(AF_INET, argv[4], server4) != 1 ||
	    inet_pton(AF_INET, argv[5], prefix4) != 1 ||
	    inet_pton(AF_INET6, argv[6], server6) != 1 ||
	    inet_pton(AF_INET6, argv[7], prefix6) != 1 ||
	    (argc > 8 && inet_pton(AF_INET, argv[8], client4) != 1)) {
		fprintf(stderr,
			"flood: INTERFACE MAC COUNT SERVER4 PREFIX4 SERVER6 PREFIX6 [CLIENT4]\n");
		return 2;
	}
	count = strtoul(argv[3], NULL, 10);
	fd = socket(AF_PACKET, SOCK_RAW, 0);
	if (fd < 0)
		die("flood: socket");
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_ifindex = (int)if_nametoindex(argv[1])};
	if (bind(fd, (struct sockaddr *)&to, sizeof(to)))
		die("flood: bind");
	setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one));
	while (sent < count) {
		for (int i = 0; i < BATCH; i++) {
			bool ipv6 = i & 3, syn = (sent + (unsigned long)i) % 5 < 3;
			uint64_t random = draw();
			uint8_t source[16];

			if (ipv6) {
				/* An odd factor: all products differ. */
				random = (1 + over_ipv6++ % ADDRESSES) * 0x9e3779b97f4a7c15ULL;
				memcpy(source, prefix6, 8);
				memcpy(source + 8, &random, 8);
			} else if (!syn && argc > 8 && i & 4) {
				memcpy(source, client4, 4);
			} else {
				memcpy(source, prefix4, 4);
				source[2] = prefix4[2] | (random >> 8 & 127);
				source[3] = random & 255;
			}
			make(&frames[i], mac, ipv6, syn, source, ipv6 ? server6 : server4);
			parts[i] = (struct iovec){frames[i].bytes, frames[i].len};
			messages[i].msg_hdr =
				(struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
			syns += syn;
		}
		for (int done = 0; done < BATCH;) {
			int n = sendmmsg(fd, messages + done, (unsigned)(BATCH - done), 0);

			/* A busy device takes the rest in the next call. */
			if (n < 0 && (errno != ENOBUFS || ++busy > count))
				die("flood: sendmmsg");
			done += n > 0 ? n : 0;
		}
		sent += BATCH;
	}
	printf("{\"sent\":%lu,\"syns\":%lu,\"busy\":%lu,\"addresses6\":%lu}\n", sent, syns, busy,
	       over_ipv6 < ADDRESSES ? over_ipv6 : ADDRESSES);
	return 0;
}
