/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which interfaces lead to the server of a service: the host's end of a veth (or netkit) pair whose
 * other end is in a network namespace that has the service's address, as a pod's or a container's
 * is. The kernel tells the namespace of the other end by an id, and lists the addresses and links
 * there by that id, so sluice enters no namespace. Nobody reports when an address comes there: the
 * daemon looks once a second.
 *
 * A namespace may have more interfaces, as those of Multus. All of its pairs lead to the server,
 * since responses may leave by any of them. But packets to an address come by the interface that
 * has it, and that may have no end here.
 */
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/service.h"
#include "addresses.h"
#include "map_io.h"
#include "netlink.h"
#include "server_links.h"

/* The host's end of a pair. */
struct end {
	int ifindex;
	int32_t peer; /* id of the other end's network namespace */
	int there;    /* index of the other end in it */
};

/* An address in the namespace that is looked into, and the index of the interface that has it. */
struct there {
	uint8_t addr[16];
	int ifindex;
};

struct search {
	struct datapath *d;
	uint8_t (*own)[16],
		(*wanted)[16]; /* this host's addresses; those of services that are none */
	size_t own_count, wanted_count;
	struct end *ends;
	size_t end_count, end_capacity;
	int32_t peer; /* the namespace whose addresses and links come */
	struct there *there;
	size_t there_count, there_capacity;
	int *reached; /* those of its interfaces to which packets may pass an end here */
	size_t reached_count, reached_capacity;
	struct server_link *found;
	size_t found_count, found_capacity;
	struct server_other *others;
	size_t other_count, other_capacity;
};

/* The kind of a link, as `ip link add type` has it; "": a device of a driver, or lo. */
static const char *kind_of(const struct nlmsghdr *message)
{
	const struct rtattr *kind = NULL, *info;

	info = netlink_attribute(IFLA_RTA(NLMSG_DATA(message)), IFLA_PAYLOAD(message),
				 IFLA_LINKINFO);
	if (info)
		kind = netlink_attribute(RTA_DATA(info), RTA_PAYLOAD(info), IFLA_INFO_KIND);
	return kind ? RTA_DATA(kind) : "";
}

static int add_end(void *arg, const struct nlmsghdr *message)
{
	const struct ifinfomsg *about = NLMSG_DATA(message);
	const struct rtattr *peer, *link;
	const char *kind = kind_of(message);
	struct search *s = arg;
	struct end *ends;

	if (message->nlmsg_type != RTM_NEWLINK)
		return 0;
	peer = netlink_attribute(IFLA_RTA(about), IFLA_PAYLOAD(message), IFLA_LINK_NETNSID);
	link = netlink_attribute(IFLA_RTA(about), IFLA_PAYLOAD(message), IFLA_LINK);
	if (!peer || !link || (strcmp(kind, "veth") && strcmp(kind, "netkit")))
		return 0;
	ends = list_grow(s->ends, s->end_count, &s->end_capacity, sizeof(*ends));
	if (!ends)
		return -ENOMEM;
	s->ends = ends;
	ends[s->end_count++] = (struct end){about->ifi_index, *(const int32_t *)RTA_DATA(peer),
					    *(const int *)RTA_DATA(link)};
	return 0;
}

/* ifindex 0: no interface here leads to the server. */
static int add_found(struct search *s, const uint8_t addr[16], uint32_t ifindex, bool reaches)
{
	struct server_link *found =
		list_grow(s->found, s->found_count, &s->found_capacity, sizeof(*found));

	if (!found)
		return -ENOMEM;
	s->found = found;
	found += s->found_count++;
	*found = (struct server_link){.link.ifindex = ifindex, .reaches = reaches};
	memcpy(found->link.addr, addr, 16);
	return 0;
}

static int note_address(void *arg, const struct nlmsghdr *message)
{
	const struct ifaddrmsg *about = NLMSG_DATA(message);
	struct search *s = arg;
	struct there *there;
	uint8_t addr[16];

	if (!address_of_message(message, addr) || address_is_local(addr))
		return 0;
	there = list_grow(s->there, s->there_count, &s->there_capacity, sizeof(*there));
	if (!there)
		return -ENOMEM;
	s->there = there;
	there += s->there_count++;
	there->ifindex = (int)about->ifa_index;
	memcpy(there->addr, addr, 16);
	return 0;
}

/* Whether packets to an address of this interface of the namespace may pass an end here: its own
 * one, or, where it has others below it or none at all, that of another interface. */
static bool may_reach(const struct search *s, const struct nlmsghdr *message)
{
	static const char *const above[] = {"bond",    "bridge", "dummy", "ipvlan",
					    "macvlan", "team",   "vlan",  "vrf"};
	const struct ifinfomsg *about = NLMSG_DATA(message);
	const char *kind = kind_of(message);

	for (size_t i = 0; i < s->end_count; i++)
		if (s->ends[i].peer == s->peer && s->ends[i].there == about->ifi_index)
			return true;
	if (netlink_attribute(IFLA_RTA(about), IFLA_PAYLOAD(message), IFLA_LINK_NETNSID))
		return false; /* on a link of another namespace */
	for (size_t i = 0; i < sizeof(above) / sizeof(above[0]); i++)
		if (!strcmp(kind, above[i]))
			return true;
	return about->ifi_flags & IFF_LOOPBACK;
}

static int note_link(void *arg, const struct nlmsghdr *message)
{
	const struct ifinfomsg *about = NLMSG_DATA(message);
	struct search *s = arg;
	int *reached;

	if (message->nlmsg_type != RTM_NEWLINK || !may_reach(s, message))
		return 0;
	reached = list_grow(s->reached, s->reached_count, &s->reached_capacity, sizeof(*reached));
	if (!reached)
		return -ENOMEM;
	s->reached = reached;
	reached[s->reached_count++] = about->ifi_index;
	return 0;
}

/* Adds the ends of pairs that lead into the namespace s->peer. */
static int add_ends(struct search *s, const struct there *there)
{
	bool reaches = false;
	int err = 0;

	for (size_t i = 0; i < s->reached_count; i++)
		reaches |= s->reached[i] == there->ifindex;
	for (size_t i = 0; i < s->end_count && !err; i++)
		if (s->ends[i].peer == s->peer)
			err = add_found(s, there->addr, (uint32_t)s->ends[i].ifindex, reaches);
	return err;
}

static bool has_service(const struct search *s, const uint8_t addr[16], uint16_t port)
{
	for (size_t i = 0; i < s->d->service_count; i++)
		if (s->d->services[i].port == port && !memcmp(s->d->services[i].addr, addr, 16))
			return true;
	return address_in(s->own, s->own_count, addr);
}

static bool is_there(const struct search *s, const uint8_t addr[16])
{
	for (size_t i = 0; i < s->there_count; i++)
		if (!memcmp(s->there[i].addr, addr, 16))
			return true;
	return false;
}

/* Notes, for each port with a service in the namespace, an address there that none of them has. */
static int add_others(struct search *s)
{
	size_t first = s->other_count;

	for (size_t i = 0; i < s->d->service_count; i++) {
		const struct service *v = &s->d->services[i];
		struct server_other *others;
		size_t n = 0, noted = first;

		while (noted < s->other_count && s->others[noted].port != v->port)
			noted++;
		if (v->wildcard || noted < s->other_count || !is_there(s, v->addr))
			continue;
		while (n < s->there_count && has_service(s, s->there[n].addr, v->port))
			n++;
		if (n == s->there_count)
			continue;
		others = list_grow(s->others, s->other_count, &s->other_capacity, sizeof(*others));
		if (!others)
			return -ENOMEM;
		s->others = others;
		others += s->other_count++;
		others->port = v->port;
		memcpy(others->addr, v->addr, 16);
		memcpy(others->other, s->there[n].addr, 16);
	}
	return 0;
}

/* Calls each() for what the namespace s->peer has of a kind. The question is `about` bytes of
 * zeros, and the attribute that names the namespace. */
static int dump_there(struct search *s, uint16_t type, size_t about, uint16_t names_netns,
		      int (*each)(void *arg, const struct nlmsghdr *message))
{
	struct {
		struct nlmsghdr head;
		uint8_t rest[64];
	} request = {
		.head = {.nlmsg_len = (uint32_t)(NLMSG_LENGTH(about) + RTA_LENGTH(sizeof(s->peer))),
			 .nlmsg_type = type,
			 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
	};
	const struct rtattr attribute = {.rta_len = RTA_LENGTH(sizeof(s->peer)),
					 .rta_type = names_netns};

	memcpy(request.rest + about, &attribute, sizeof(attribute));
	memcpy(request.rest + about + sizeof(attribute), &s->peer, sizeof(s->peer));
	return netlink_dump(s->d, NETLINK_ROUTE, &request.head, each, s);
}

/* Looks for the services' addresses in the namespace s->peer. One that has gone meanwhile, or that
 * sluice may not look into, has none. */
static int look_into(struct search *s)
{
	bool any = false;
	int err;

	s->there_count = s->reached_count = 0;
	err = dump_there(s, RTM_GETADDR, sizeof(struct ifaddrmsg), IFA_TARGET_NETNSID,
			 note_address);
	for (size_t i = 0; i < s->there_count && !any; i++)
		any = address_in(s->wanted, s->wanted_count, s->there[i].addr);
	if (any && !err)
		err = dump_there(s, RTM_GETLINK, sizeof(struct ifinfomsg), IFLA_TARGET_NETNSID,
				 note_link);
	for (size_t i = 0; i < s->there_count && any && !err; i++)
		if (address_in(s->wanted, s->wanted_count, s->there[i].addr))
			err = add_ends(s, &s->there[i]);
	if (any && !err)
		err = add_others(s);
	return err == -ENOMEM ? err : 0;
}

static int by_peer(const void *a, const void *b)
{
	const struct end *x = a, *y = b;

	return x->peer < y->peer ? -1 : x->peer > y->peer;
}

/* The addresses of services that are none of this host's. */
static int find_wanted(struct datapath *d, struct search *s)
{
	int err;

	for (size_t i = 0; i < d->service_count; i++)
		s->wanted_count += !d->services[i].wildcard;
	if (!s->wanted_count)
		return 0;
	err = addresses_list(d, &s->own, &s->own_count);
	if (err)
		return err;
	s->wanted = calloc(s->wanted_count, sizeof(*s->wanted));
	if (!s->wanted)
		return -ENOMEM;
	s->wanted_count = 0;
	for (size_t i = 0; i < d->service_count; i++)
		if (!d->services[i].wildcard &&
		    !address_in(s->own, s->own_count, d->services[i].addr))
			memcpy(s->wanted[s->wanted_count++], d->services[i].addr, 16);
	return 0;
}

static int find(struct search *s)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg about;
	} request = {
		.head = {.nlmsg_len = sizeof(request),
			 .nlmsg_type = RTM_GETLINK,
			 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
	};
	int err = find_wanted(s->d, s);

	if (err || !s->wanted_count)
		return err;
	err = netlink_dump(s->d, NETLINK_ROUTE, &request.head, add_end, s);
	if (err || !s->end_count)
		return err;
	qsort(s->ends, s->end_count, sizeof(*s->ends), by_peer);
	for (size_t i = 0; i < s->end_count && !err; i++) {
		if (i && s->ends[i].peer == s->peer)
			continue;
		s->peer = s->ends[i].peer;
		err = look_into(s);
	}
	return err;
}

/* The servers in other namespaces that sluice is attached to: no interface here leads there. */
static int add_elsewhere(struct search *s)
{
	const struct datapath *d = s->d;
	int err = 0;

	for (unsigned n = 0; n < d->netns_count; n++)
		for (size_t i = 0; i < d->netns[n].address_count && !err; i++)
			if (!address_is_local(d->netns[n].addresses[i]))
				err = add_found(s, d->netns[n].addresses[i], 0, true);
	return err;
}

static struct server_link *known(const struct datapath *d, const struct sluice_server_link *link)
{
	for (size_t i = 0; i < d->server_link_count; i++)
		if (!memcmp(&d->server_links[i].link, link, sizeof(*link)))
			return &d->server_links[i];
	return NULL;
}

int server_links_refresh(struct datapath *d)
{
	struct search s = {.d = d};
	uint32_t one = 1;
	int err = find(&s), changed = 0;

	if (!err)
		err = add_elsewhere(&s);
	for (size_t i = 0; i < d->server_link_count && !err; i++)
		d->server_links[i].found = d->server_links[i].reaches = false;
	for (size_t i = 0; i < s.found_count && !err; i++) {
		struct server_link *link = known(d, &s.found[i].link);

		if (!link) {
			link = realloc(d->server_links, (d->server_link_count + 1) * sizeof(*link));
			err = link ? map_write(d->skel->maps.server_links, &s.found[i].link, &one)
				   : -ENOMEM;
			if (link)
				d->server_links = link;
			if (err)
				break;
			link += d->server_link_count++;
			*link = (struct server_link){.link = s.found[i].link};
		}
		changed |= !link->leads;
		link->found = link->leads = true;
		link->reaches |= s.found[i].reaches;
	}
	for (size_t i = 0; i < d->server_link_count && !err; i++) {
		changed |= d->server_links[i].leads && !d->server_links[i].found;
		d->server_links[i].leads = d->server_links[i].found;
	}
	if (!err) {
		free(d->server_others);
		d->server_others = s.others;
		d->server_other_count = s.other_count;
	} else {
		free(s.others);
	}
	free(s.own);
	free(s.wanted);
	free(s.ends);
	free(s.there);
	free(s.reached);
	free(s.found);
	if (!err)
		return changed;
	return err == -ENOMEM ? datapath_fail(err, "out of memory") : err;
}

bool server_links_has(const struct datapath *d, int ifindex)
{
	for (size_t i = 0; i < d->server_link_count; i++)
		if (d->server_links[i].leads &&
		    d->server_links[i].link.ifindex == (uint32_t)ifindex)
			return true;
	return false;
}

enum server_way server_links_to(const struct datapath *d, const uint8_t addr[16])
{
	enum server_way way = SERVER_NOWHERE;

	for (size_t i = 0; i < d->server_link_count && way != SERVER_REACHED; i++)
		if (d->server_links[i].leads && !memcmp(d->server_links[i].link.addr, addr, 16))
			way = d->server_links[i].reaches ? SERVER_REACHED : SERVER_PAST;
	return way;
}

const uint8_t *server_links_other(const struct datapath *d, const struct service *service)
{
	for (size_t i = 0; i < d->server_other_count; i++)
		if (d->server_others[i].port == service->port &&
		    !memcmp(d->server_others[i].addr, service->addr, 16))
			return d->server_others[i].other;
	return NULL;
}

void server_links_tidy(struct datapath *d, bool (*keep)(const struct datapath *d, int ifindex))
{
	for (size_t i = d->server_link_count; i--;) {
		struct server_link *link = &d->server_links[i];

		if (link->leads || keep(d, (int)link->link.ifindex))
			continue;
		map_delete(d->skel->maps.server_links, &link->link);
		*link = d->server_links[--d->server_link_count];
	}
}
