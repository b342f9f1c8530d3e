/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which interfaces lead to the server of a service: the host's end of a veth (or netkit) pair whose
 * other end is in a network namespace that has the service's address, as a pod's or a container's
 * is. The kernel tells the namespace of the other end by an id, and lists the addresses there by
 * that id, so sluice enters no namespace. Nobody reports when an address comes there: the daemon
 * looks once a second.
 */
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
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
};

struct search {
	struct datapath *d;
	uint8_t (*wanted)[16]; /* addresses of services that are none of this host's */
	size_t wanted_count;
	struct end *ends;
	size_t end_count, end_capacity;
	int32_t peer; /* the namespace whose addresses come */
	struct server_link *found;
	size_t found_count, found_capacity;
};

static int add_end(void *arg, const struct nlmsghdr *message)
{
	const struct ifinfomsg *about = NLMSG_DATA(message);
	const struct rtattr *peer, *info, *kind = NULL;
	struct search *s = arg;
	struct end *ends;

	if (message->nlmsg_type != RTM_NEWLINK)
		return 0;
	peer = netlink_attribute(IFLA_RTA(about), IFLA_PAYLOAD(message), IFLA_LINK_NETNSID);
	info = netlink_attribute(IFLA_RTA(about), IFLA_PAYLOAD(message), IFLA_LINKINFO);
	if (info)
		kind = netlink_attribute(RTA_DATA(info), RTA_PAYLOAD(info), IFLA_INFO_KIND);
	if (!peer || !kind || (strcmp(RTA_DATA(kind), "veth") && strcmp(RTA_DATA(kind), "netkit")))
		return 0;
	ends = list_grow(s->ends, s->end_count, &s->end_capacity, sizeof(*ends));
	if (!ends)
		return -ENOMEM;
	s->ends = ends;
	ends[s->end_count++] = (struct end){about->ifi_index, *(const int32_t *)RTA_DATA(peer)};
	return 0;
}

/* ifindex 0: no interface here leads to the server. */
static int add_found(struct search *s, const uint8_t addr[16], uint32_t ifindex)
{
	struct server_link *found =
		list_grow(s->found, s->found_count, &s->found_capacity, sizeof(*found));

	if (!found)
		return -ENOMEM;
	s->found = found;
	found += s->found_count++;
	*found = (struct server_link){.link.ifindex = ifindex};
	memcpy(found->link.addr, addr, 16);
	return 0;
}

/* Adds the ends of pairs that lead into the namespace s->peer. */
static int add_ends(struct search *s, const uint8_t addr[16])
{
	int err = 0;

	for (size_t i = 0; i < s->end_count && !err; i++)
		if (s->ends[i].peer == s->peer)
			err = add_found(s, addr, (uint32_t)s->ends[i].ifindex);
	return err;
}

static int note_address(void *arg, const struct nlmsghdr *message)
{
	struct search *s = arg;
	uint8_t addr[16];

	if (!address_of_message(message, addr))
		return 0;
	return address_in(s->wanted, s->wanted_count, addr) ? add_ends(s, addr) : 0;
}

/* Looks for the services' addresses in the namespace s->peer. One that has gone meanwhile, or that
 * sluice may not look into, has none. */
static int look_into(struct search *s)
{
	struct {
		struct nlmsghdr head;
		struct ifaddrmsg about;
		struct rtattr attribute;
		int32_t peer;
	} request = {
		.head = {.nlmsg_len = sizeof(request),
			 .nlmsg_type = RTM_GETADDR,
			 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.about = {.ifa_family = AF_UNSPEC},
		.attribute = {.rta_len = RTA_LENGTH(sizeof(int32_t)),
			      .rta_type = IFA_TARGET_NETNSID},
		.peer = s->peer,
	};
	int err = netlink_dump(s->d, NETLINK_ROUTE, &request.head, note_address, s);

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
	_cleanup_free_ uint8_t(*own)[16] = NULL;
	size_t own_count;
	int err;

	for (size_t i = 0; i < d->service_count; i++)
		s->wanted_count += !d->services[i].wildcard;
	if (!s->wanted_count)
		return 0;
	err = addresses_list(d, &own, &own_count);
	if (err)
		return err;
	s->wanted = calloc(s->wanted_count, sizeof(*s->wanted));
	if (!s->wanted)
		return -ENOMEM;
	s->wanted_count = 0;
	for (size_t i = 0; i < d->service_count; i++)
		if (!d->services[i].wildcard && !address_in(own, own_count, d->services[i].addr))
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
				err = add_found(s, d->netns[n].addresses[i], 0);
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
		d->server_links[i].found = false;
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
	}
	for (size_t i = 0; i < d->server_link_count && !err; i++) {
		changed |= d->server_links[i].leads && !d->server_links[i].found;
		d->server_links[i].leads = d->server_links[i].found;
	}
	free(s.wanted);
	free(s.ends);
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

bool server_links_to(const struct datapath *d, const uint8_t addr[16])
{
	for (size_t i = 0; i < d->server_link_count; i++)
		if (d->server_links[i].leads && !memcmp(d->server_links[i].link.addr, addr, 16))
			return true;
	return false;
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
