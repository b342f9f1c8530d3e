/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A sequence of COUNT clients. Each has its own address, one connection and one small request. The
 * addresses must be local: `ip route add local PREFIX dev lo`.
 *
 * crowd FIRST COUNT SERVER4 PREFIX4 SERVER6 PREFIX6 PORT: every other client uses IPv6, in its own
 * /64. Prints as JSON how many clients got an answer that begins with HTTP/1.1 200.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static const char text[] =
	"POST / HTTP/1.1\r\nHost: crowd\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"model\":\"any\"}";

/* Sends the request of one client. Returns 1 for an answer with status 200, else 0. */
static int send_request(int family, struct sockaddr *from, struct sockaddr *to, socklen_t len)
{
	struct linger at_once = {.l_onoff = 1};
	struct timeval limit = {.tv_sec = 5};
	int fd = socket(family, SOCK_STREAM, 0), one = 1, good = 0;
	char answer[512];

	if (fd < 0)
		return 0;
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (!bind(fd, from, len) && !connect(fd, to, len) &&
	    send(fd, text, sizeof(text) - 1, 0) == sizeof(text) - 1 &&
	    recv(fd, answer, sizeof(answer), 0) > 12)
		good = !memcmp(answer, "HTTP/1.1 200", 12);
	close(fd);
	return good;
}

int main(int argc, char **argv)
{
	struct sockaddr_in from4 = {.sin_family = AF_INET}, to4 = {.sin_family = AF_INET};
	struct sockaddr_in6 from6 = {.sin6_family = AF_INET6}, to6 = {.sin6_family = AF_INET6};
	unsigned long first, count, good = 0;

	if (argc != 8 || inet_pton(AF_INET, argv[3], &to4.sin_addr) != 1 ||
	    inet_pton(AF_INET, argv[4], &from4.sin_addr) != 1 ||
	    inet_pton(AF_INET6, argv[5], &to6.sin6_addr) != 1 ||
	    inet_pton(AF_INET6, argv[6], &from6.sin6_addr) != 1) {
		fprintf(stderr, "crowd: FIRST COUNT SERVER4 PREFIX4 SERVER6 PREFIX6 PORT\n");
		return 2;
	}

	first = strtoul(argv[1], NULL, 10);
	count = strtoul(argv[2], NULL, 10);
	to4.sin_port = to6.sin6_port = htons((unsigned short)atoi(argv[7]));
	for (unsigned long i = first; i < first + count; i++) {
		if (i & 1) {
			unsigned int net = htonl((unsigned int)i);

			memcpy(&from6.sin6_addr.s6_addr[4], &net, 4);
			from6.sin6_addr.s6_addr[15] = 1;
			good += send_request(AF_INET6, (struct sockaddr *)&from6,
					     (struct sockaddr *)&to6, sizeof(to6));
		} else {
			struct sockaddr_in from = from4;

			from.sin_addr.s_addr |= htonl((unsigned int)(i / 2 + 1));
			good += send_request(AF_INET, (struct sockaddr *)&from,
					     (struct sockaddr *)&to4, sizeof(to4));
		}
	}
	printf("{\"sent\":%lu,\"answered\":%lu}\n", count, good);
	return 0;
}
