/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The addresses of the host, over which wildcard services are spread. The one idea: a netlink
 * message only reports that something changed. Then all addresses are read again, so a lost message
 * does no harm.
 */
#include <errno.h>
#include <ifaddrs.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "addresses.h"
#include "internal.h"

static void v4_mapped(uint8_t out[16], const void *v4)
{
	memset(out, 0, 10);
	memset(out + 10, 0xff, 2);
	memcpy(out + 12, v4, 4);
}

/* The list includes the addresses of lo, whether it is up or not. */
int addresses_list(uint8_t (**out)[16], size_t *count)
{
	struct ifaddrs *all, *i;
	uint8_t(*list)[16];
	size_t n = 2;

	if (getifaddrs(&all))
		return datapath_fail(-errno, "the host's addresses cannot be listed: %s",
				     strerror(errno));
	for (i = all; i; i = i->ifa_next)
		n++;
	list = calloc(n, sizeof(*list));
	if (!list) {
		freeifaddrs(all);
		return datapath_fail(-ENOMEM, "out of memory");
	}
	v4_mapped(list[0], "\x7f\0\0\1");
	list[1][15] = 1;
	n = 2;
	for (i = all; i; i = i->ifa_next) {
		if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET)
			v4_mapped(list[n++], &((struct sockaddr_in *)i->ifa_addr)->sin_addr);
		else if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET6)
			memcpy(list[n++], &((struct sockaddr_in6 *)i->ifa_addr)->sin6_addr, 16);
	}
	freeifaddrs(all);
	*out = list;
	*count = n;
	return 0;
}

int addresses_open(void)
{
	struct sockaddr_nl address = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
	};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address))) {
		int err = -errno;

		close_fd(&fd);
		return datapath_fail(err, "address changes cannot be followed: %s", strerror(-err));
	}
	return fd;
}

void addresses_drain(int fd)
{
	char buffer[8192];

	while (recv(fd, buffer, sizeof(buffer), 0) > 0 || errno == ENOBUFS || errno == EINTR)
		;
}
