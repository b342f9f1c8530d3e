/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The addresses of the host, over which wildcard services are spread. The one idea: a netlink
 * message only reports that something changed. Then all addresses are read again, so a lost message
 * does no harm. interfaces.c rests on the same messages.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "addresses.h"
#include "map_io.h"
#include "netlink.h"

#define DRAIN_MAX 8 /* buffers of messages that one call discards */

void address_whole(uint8_t out[16], int family, const void *address)
{
	static const uint8_t mapped[12] = {[10] = 0xff, 0xff};

	if (family == AF_INET6) {
		memcpy(out, address, 16);
		return;
	}
	memcpy(out, mapped, sizeof(mapped));
	memcpy(out + sizeof(mapped), address, 4);
}

bool address_in(uint8_t (*list)[16], size_t count, const uint8_t addr[16])
{
	for (size_t i = 0; i < count; i++)
		if (!memcmp(list[i], addr, 16))
			return true;
	return false;
}

struct list {
	uint8_t (*at)[16];
	size_t count, capacity;
};

static int add(struct list *list, const uint8_t addr[16])
{
	uint8_t(*at)[16] = list_grow(list->at, list->count, &list->capacity, sizeof(*at));

	if (!at)
		return -ENOMEM;
	list->at = at;
	memcpy(list->at[list->count++], addr, 16);
	return 0;
}

bool address_of_message(const struct nlmsghdr *message, uint8_t out[16])
{
	const struct ifaddrmsg *about = NLMSG_DATA(message);
	size_t size = about->ifa_family == AF_INET ? 4 : 16;
	const void *address = NULL, *local = NULL;
	size_t left = IFA_PAYLOAD(message);

	if (message->nlmsg_type != RTM_NEWADDR ||
	    (about->ifa_family != AF_INET && about->ifa_family != AF_INET6))
		return false;
	for (const struct rtattr *a = IFA_RTA(about); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (RTA_PAYLOAD(a) != size)
			continue;
		if (a->rta_type == IFA_ADDRESS)
			address = RTA_DATA(a);
		else if (a->rta_type == IFA_LOCAL)
			local = RTA_DATA(a);
	}
	if (local || address)
		address_whole(out, about->ifa_family, local ? local : address);
	return local || address;
}

static int add_message(void *arg, const struct nlmsghdr *message)
{
	uint8_t addr[16];

	return address_of_message(message, addr) ? add(arg, addr) : 0;
}

static const uint8_t loopback4[16] = {[10] = 0xff, 0xff, 127, [15] = 1};
static const uint8_t loopback6[16] = {[15] = 1};

bool address_is_local(const uint8_t addr[16])
{
	return !memcmp(addr, loopback4, 13) || !memcmp(addr, loopback6, 16) ||
	       (addr[0] == 0xfe && (addr[1] & 0xc0) == 0x80);
}

static int list_here(const struct datapath *d, struct list *list)
{
	struct {
		struct nlmsghdr head;
		struct ifaddrmsg about;
	} request = {
		.head = {.nlmsg_len = sizeof(request),
			 .nlmsg_type = RTM_GETADDR,
			 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.about = {.ifa_family = AF_UNSPEC},
	};

	return netlink_dump(d, NETLINK_ROUTE, &request.head, add_message, list);
}

int addresses_here(const struct datapath *d, uint8_t (**out)[16], size_t *count)
{
	struct list list = {0};
	int err = list_here(d, &list);

	if (err) {
		free(list.at);
		return err;
	}
	*out = list.at;
	*count = list.count;
	return 0;
}

/* The list includes the addresses of lo, whether it is up or not. Those of other namespaces' lo
 * are no place where sluice sees a packet. */
int addresses_list(const struct datapath *d, uint8_t (**out)[16], size_t *count)
{
	struct list list = {0};
	int err = add(&list, loopback4);

	if (!err)
		err = add(&list, loopback6);
	if (!err)
		err = list_here(d, &list);
	for (unsigned n = 0; n < d->netns_count; n++)
		for (size_t i = 0; i < d->netns[n].address_count && !err; i++)
			if (!address_is_local(d->netns[n].addresses[i]))
				err = add(&list, d->netns[n].addresses[i]);
	if (err) {
		free(list.at);
		return datapath_fail(err, "the host's addresses cannot be listed: %s",
				     strerror(-err));
	}
	*out = list.at;
	*count = list.count;
	return 0;
}

/*
 * Lets no message about a route pass that is no default route: a router's table changes all the
 * time. Offsets are those of struct nlmsghdr and struct rtmsg; the filter reads big-endian numbers.
 */
static int ignore_other_routes(int fd)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_NEWROUTE), 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_DELROUTE), 0, 2),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS,
			 NLMSG_HDRLEN + offsetof(struct rtmsg, rtm_dst_len)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, ~0U),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog filter = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter));
}

int addresses_open(void)
{
	struct sockaddr_nl address = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
			     RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE,
	};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0 || ignore_other_routes(fd) ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address))) {
		int err = -errno;

		close_fd(&fd);
		return datapath_fail(err, "address changes cannot be followed: %s", strerror(-err));
	}
	return fd;
}

void addresses_drain(int fd)
{
	char buffer[8192];

	for (int i = 0; i < DRAIN_MAX; i++)
		if (recv(fd, buffer, sizeof(buffer), 0) <= 0 && errno != ENOBUFS && errno != EINTR)
			break;
}
