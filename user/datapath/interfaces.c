/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which interfaces there are, and which of them `auto` attaches to: those that can carry the
 * traffic of a service on this host. The one idea is that of addresses.c: a message only reports
 * that something changed, and then everything is read again.
 */
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "interfaces.h"
#include "map_io.h"
#include "netlink.h"

struct list {
	struct interface *at;
	size_t count, capacity;
};

static int add_link(void *arg, const struct nlmsghdr *message)
{
	const struct ifinfomsg *about = NLMSG_DATA(message);
	const struct rtattr *name;
	struct list *list = arg;
	struct interface *at;

	if (message->nlmsg_type != RTM_NEWLINK)
		return 0;
	name = netlink_attribute(IFLA_RTA(about), IFLA_PAYLOAD(message), IFLA_IFNAME);
	if (!name || RTA_PAYLOAD(name) > IF_NAMESIZE)
		return 0;
	at = list_grow(list->at, list->count, &list->capacity, sizeof(*at));
	if (!at)
		return -ENOMEM;
	list->at = at;
	at = &list->at[list->count++];
	*at = (struct interface){.ifindex = about->ifi_index,
				 .automatic = about->ifi_flags & IFF_LOOPBACK};
	memcpy(at->name, RTA_DATA(name), RTA_PAYLOAD(name));
	return 0;
}

static void mark(struct list *list, int ifindex)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->at[i].ifindex == ifindex)
			list->at[i].automatic = true;
}

static int mark_address(void *arg, const struct nlmsghdr *message)
{
	const struct ifaddrmsg *about = NLMSG_DATA(message);

	if (message->nlmsg_type == RTM_NEWADDR && about->ifa_scope == RT_SCOPE_UNIVERSE)
		mark(arg, (int)about->ifa_index);
	return 0;
}

static int mark_route(void *arg, const struct nlmsghdr *message)
{
	const struct rtmsg *about = NLMSG_DATA(message);
	const struct rtattr *out, *hops;
	int left;

	if (message->nlmsg_type != RTM_NEWROUTE || about->rtm_dst_len ||
	    about->rtm_type != RTN_UNICAST)
		return 0;
	out = netlink_attribute(RTM_RTA(about), RTM_PAYLOAD(message), RTA_OIF);
	if (out)
		mark(arg, *(const int *)RTA_DATA(out));
	hops = netlink_attribute(RTM_RTA(about), RTM_PAYLOAD(message), RTA_MULTIPATH);
	if (!hops)
		return 0;
	left = (int)RTA_PAYLOAD(hops);
	for (const struct rtnexthop *hop = RTA_DATA(hops);
	     left >= (int)sizeof(*hop) && RTNH_OK(hop, left); hop = RTNH_NEXT(hop)) {
		mark(arg, hop->rtnh_ifindex);
		left -= (int)RTNH_ALIGN(hop->rtnh_len);
	}
	return 0;
}

int interfaces_list(const struct datapath *d, bool automatic, struct interface **out, size_t *count)
{
	static const struct {
		uint16_t type;
		uint8_t family;
		int (*each)(void *arg, const struct nlmsghdr *message);
	} dumps[] = {
		{RTM_GETLINK, AF_UNSPEC, add_link},
		{RTM_GETADDR, AF_UNSPEC, mark_address},
		{RTM_GETROUTE, AF_INET, mark_route},
		{RTM_GETROUTE, AF_INET6, mark_route},
	};
	struct list list = {0};
	int err = 0;

	for (size_t i = 0; i < (automatic ? sizeof(dumps) / sizeof(dumps[0]) : 1) && !err; i++) {
		struct {
			struct nlmsghdr head;
			struct rtgenmsg about;
		} request = {
			.head = {.nlmsg_len = NLMSG_LENGTH(sizeof(request.about)),
				 .nlmsg_type = dumps[i].type,
				 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
			.about = {.rtgen_family = dumps[i].family},
		};

		err = netlink_dump(d, NETLINK_ROUTE, &request.head, dumps[i].each, &list);
		if (err == -EAFNOSUPPORT || err == -EOPNOTSUPP) /* a kernel without IPv6 */
			err = 0;
	}
	if (err) {
		free(list.at);
		return datapath_fail(err, "the host's interfaces cannot be listed: %s",
				     strerror(-err));
	}
	*out = list.at;
	*count = list.count;
	return 0;
}
