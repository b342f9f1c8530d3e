/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Clients that connect and send nothing. idlers SERVER PORT COUNT FIRST4 ADDRESSES: COUNT
 * connections, from ADDRESSES addresses in turn, the first of which is FIRST4. Prints as JSON how
 * many were opened, refused by a reset, and failed otherwise. Then it keeps them until it is
 * killed; they end by a reset each.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PART 900 /* connections of a process, which may have 1,024 files */

struct result {
	unsigned long opened, refused, failed;
};

/* Returns a connected socket, or -errno. */
static int open_idle(const struct sockaddr_in *from, const struct sockaddr_in *to)
{
	struct linger at_once = {.l_onoff = 1};
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1, err;

	if (fd < 0)
		return -errno;
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	if (!bind(fd, (const struct sockaddr *)from, sizeof(*from)) &&
	    !connect(fd, (const struct sockaddr *)to, sizeof(*to)))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* Opens `count` connections, adds up what becomes of them, and keeps them. */
static void keep_idle(unsigned long count, const struct sockaddr_in *first, unsigned long addresses,
		      const struct sockaddr_in *to, int results)
{
	struct result r = {0};

	for (unsigned long i = 0; i < count; i++) {
		struct sockaddr_in from = *first;
		int fd;

		from.sin_addr.s_addr =
			htonl(ntohl(first->sin_addr.s_addr) + (unsigned int)(i % addresses));
		fd = open_idle(&from, to);
		if (fd >= 0)
			r.opened++;
		else if (fd == -ECONNREFUSED)
			r.refused++;
		else
			r.failed++;
	}
	if (write(results, &r, sizeof(r)) == sizeof(r))
		pause();
	_exit(1);
}

int main(int argc, char **argv)
{
	struct sockaddr_in first = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
	unsigned long count, addresses;
	struct result all = {0}, one;
	int results[2];

	if (argc != 6 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 ||
	    inet_pton(AF_INET, argv[4], &first.sin_addr) != 1 || pipe(results)) {
		fprintf(stderr, "idlers: SERVER PORT COUNT FIRST4 ADDRESSES\n");
		return 2;
	}
	to.sin_port = htons((unsigned short)atoi(argv[2]));
	count = strtoul(argv[3], NULL, 10);
	addresses = strtoul(argv[5], NULL, 10);
	while (count) {
		unsigned long part = count < PART ? count : PART;
		pid_t child = fork();

		if (child < 0) {
			perror("idlers: fork");
			return 1;
		}
		if (!child) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			keep_idle(part, &first, addresses, &to, results[1]);
		}
		count -= part;
		if (read(results[0], &one, sizeof(one)) != sizeof(one))
			return 1;
		all.opened += one.opened;
		all.refused += one.refused;
		all.failed += one.failed;
	}
	printf("{\"opened\":%lu,\"refused\":%lu,\"failed\":%lu}\n", all.opened, all.refused,
	       all.failed);
	fflush(stdout);
	pause();
	return 0;
}
