/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Compares what the sockets of this network namespace have received and sent with what the programs
 * have seen of the same connections. The kernel lists the sockets of the services' ports alone
 * (sock_diag(7)); at most SOCKETS_MAX of them are compared. All of it is done in a thread: a host
 * may have many sockets.
 */
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "core/service.h"
#include "core/trouble.h"
#include "addresses.h"
#include "map_io.h"
#include "netlink.h"
#include "netns.h"
#include "server_links.h"

#define SOCKETS_MAX  8192
#define SUSPECTS_MAX 256 /* connections without an entry that are looked at twice */
/* The socket may come to its data later than tc does, when its application keeps it busy. */
#define MARGIN_NS  NSEC_PER_SEC
#define NS_PER_MS  1000000ULL
#define STATE(is)  (1U << (is))
#define PORT_BYTES (3 * sizeof(struct inet_diag_bc_op)) /* of the filter, for each port */

/* Of TCP's states. The C library's header has them, but not all of struct tcp_info. */
enum { STATE_ESTABLISHED = 1, STATE_LISTEN = 10 };

struct place {
	uint8_t addr[16];
	bool wildcard, http;
	bool more4, more6; /* its server listens on all addresses */
	uint16_t port;     /* network order */
	uint32_t id;
};

/* A connection without an entry: it may have ended since the kernel listed its socket. */
struct suspect {
	struct inet_diag_msg socket;
	uint32_t service;
	bool responses; /* the programs see those */
	unsigned netns; /* of the socket */
};

struct looking {
	const struct datapath *d;
	int conns, half_open, services; /* maps */
	uint64_t began_ns;              /* this look, CLOCK_MONOTONIC; data since … */
	uint64_t since_ns;              /* … then counts */
	struct place *places;
	size_t place_count;
	struct trouble_look *found; /* by service id */
	unsigned sockets;
	unsigned netns; /* whose sockets come */
	struct suspect suspects[SUSPECTS_MAX];
	size_t suspect_count;
	struct sluice_conn conn; /* scratch */
};

static uint64_t monotonic_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

/* The service of a connection to this address; a service's own address comes before a wildcard. */
static const struct place *place_of(const struct looking *l, const uint8_t addr[16], __be16 port)
{
	const struct place *found = NULL;

	for (size_t i = 0; i < l->place_count; i++) {
		const struct place *p = &l->places[i];

		if (p->port != port || (!p->wildcard && memcmp(p->addr, addr, 16)))
			continue;
		if (!p->wildcard)
			return p;
		found = p;
	}
	return found;
}

static const uint8_t any6[16], any4[16] = {[10] = 0xff, 0xff};

static bool is_ipv4(const uint8_t addr[16])
{
	return !memcmp(addr, any4, 12);
}

static bool is_loopback4(const uint8_t addr[16])
{
	return is_ipv4(addr) && addr[12] == 127;
}

/* Whether a socket that listens on `at` gets what comes to `addr`. */
static bool listens_on(const uint8_t at[16], bool only6, const uint8_t addr[16])
{
	bool is4 = is_ipv4(addr);

	return !memcmp(at, addr, 16) || (is4 && !memcmp(at, any4, 16)) ||
	       (!(is4 && only6) && !memcmp(at, any6, 16));
}

static void note_listener(struct looking *l, const struct inet_diag_msg *m, bool only6)
{
	uint8_t addr[16];

	address_whole(addr, m->idiag_family, m->id.idiag_src);
	for (size_t i = 0; i < l->place_count; i++) {
		struct place *p = &l->places[i];

		if (p->port != m->id.idiag_sport ||
		    !(p->wildcard || listens_on(addr, only6, p->addr)))
			continue;
		l->found[p->id].listening = true;
		p->more4 |= listens_on(addr, only6, any4);
		p->more6 |= listens_on(addr, only6, any6);
	}
}

/* A connection to an address that no service has: those of its port have the same server, if that
 * listens on all addresses. */
static void note_other(struct looking *l, const struct sluice_conn_key *key)
{
	for (size_t i = 0; i < l->place_count; i++) {
		const struct place *p = &l->places[i];
		struct trouble_look *found = &l->found[p->id];

		if (p->port != key->server_port ||
		    !(p->wildcard || (is_ipv4(key->server_addr) ? p->more4 : p->more6)))
			continue;
		found->other_address++;
		memcpy(found->other_server, key->server_addr, sizeof(found->other_server));
	}
}

/* Whether the programs judge what comes to this address: a wildcard has all of 127/8. */
static bool has_service(const struct looking *l, const struct sluice_conn_key *conn,
			const struct place *p)
{
	struct sluice_service_key key = {.port = conn->server_port};
	struct sluice_service service;

	memcpy(key.addr, conn->server_addr, sizeof(key.addr));
	return (p->wildcard && is_loopback4(key.addr)) ||
	       !bpf_map_lookup_elem(l->services, &key, &service);
}

/* `here`: those of this host count there. */
static void note_unseen(struct trouble_look *found, const struct inet_diag_msg *m, unsigned *n,
			unsigned *here)
{
	uint8_t server[16], *client = found->unseen_client;

	address_whole(client, m->idiag_family, m->id.idiag_dst);
	address_whole(server, m->idiag_family, m->id.idiag_src);
	/* From this host: its packets pass lo alone. */
	if (!memcmp(client, server, sizeof(server)) || is_loopback4(client))
		n = here;
	++*n;
}

static void key_of(struct sluice_conn_key *key, const struct inet_diag_msg *m)
{
	memset(key, 0, sizeof(*key));
	address_whole(key->client_addr, m->idiag_family, m->id.idiag_dst);
	address_whole(key->server_addr, m->idiag_family, m->id.idiag_src);
	key->client_port = m->id.idiag_dport;
	key->server_port = m->id.idiag_sport;
}

static void note_connection(struct looking *l, const struct inet_diag_msg *m,
			    const struct tcp_info *info)
{
	uint64_t received_ns = l->began_ns - info->tcpi_last_data_recv * NS_PER_MS;
	uint64_t sent_ns = l->began_ns - info->tcpi_last_data_sent * NS_PER_MS;
	struct sluice_half_open half = {0};
	struct trouble_look *found;
	struct sluice_conn_key key;
	const struct place *p;

	key_of(&key, m);
	p = place_of(l, key.server_addr, key.server_port);
	if (!info->tcpi_bytes_received || received_ns < l->since_ns)
		return;
	if (!p || !has_service(l, &key, p)) {
		note_other(l, &key);
		return;
	}
	found = &l->found[p->id];
	found->active++;
	if (bpf_map_lookup_elem(l->conns, &key, &l->conn)) {
		if (!bpf_map_lookup_elem(l->half_open, &key, &half) &&
		    half.answered >= SLUICE_ANSWERED_EVICTED)
			return; /* sluice has seen it, and forgotten */
		if (l->suspect_count < SUSPECTS_MAX)
			l->suspects[l->suspect_count++] = (struct suspect){
				*m, p->id, half.answered != SLUICE_ANSWERED_NOT, l->netns};
		return;
	}
	if (p->http && l->conn.flags & SLUICE_CONN_OPAQUE)
		found->opaque++;
	if (l->conn.flags & SLUICE_CONN_UNJUDGED)
		found->unread++;
	if (l->conn.last_seen_ns + MARGIN_NS < received_ns)
		note_unseen(found, m, &found->unseen, &found->unseen_here);
	/* A retransmission counts as sent for the socket, and not for the programs. But they give a
	 * connection up whose client acknowledges what they have not seen. */
	else if (info->tcpi_data_segs_out && !info->tcpi_unacked &&
		 (!info->tcpi_bytes_retrans || l->conn.flags & SLUICE_CONN_UNJUDGED) &&
		 sent_ns >= l->since_ns && l->conn.sent_ns + MARGIN_NS < sent_ns)
		note_unseen(found, m, &found->responses_unseen, &found->responses_unseen);
}

static int note_socket(void *arg, const struct nlmsghdr *message)
{
	const struct inet_diag_msg *m = NLMSG_DATA(message);
	struct looking *l = arg;
	struct tcp_info info = {0};
	size_t left = message->nlmsg_len - NLMSG_LENGTH(sizeof(*m));
	bool only6 = false;

	for (const struct rtattr *a = (const void *)(m + 1); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == INET_DIAG_INFO)
			memcpy(&info, RTA_DATA(a),
			       RTA_PAYLOAD(a) < sizeof(info) ? RTA_PAYLOAD(a) : sizeof(info));
		else if (a->rta_type == INET_DIAG_SKV6ONLY)
			only6 = *(const uint8_t *)RTA_DATA(a);
	if (m->idiag_state == STATE_LISTEN) {
		note_listener(l, m, only6);
		return 0;
	}
	note_connection(l, m, &info);
	return ++l->sockets >= SOCKETS_MAX;
}

struct request {
	struct nlmsghdr head;
	struct inet_diag_req_v2 about;
};

static struct request request_of(uint8_t family, uint32_t states)
{
	return (struct request){
		.head = {.nlmsg_len = sizeof(struct request),
			 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			 .nlmsg_flags = NLM_F_REQUEST},
		.about = {.sdiag_family = family,
			  .sdiag_protocol = IPPROTO_TCP,
			  .idiag_states = states},
	};
}

/*
 * The kernel's filter: for each port, where it is not the socket's own, go on behind the jump;
 * where it is, the jump leads to the end, which accepts. Past the end is a refusal.
 */
static size_t write_filter(struct inet_diag_bc_op *op, const struct place *places, size_t count)
{
	size_t bytes = count * PORT_BYTES;

	for (size_t i = 0; i < count; i++, op += 3) {
		size_t left = bytes - i * PORT_BYTES;

		op[0] = (struct inet_diag_bc_op){
			.code = INET_DIAG_BC_S_EQ, .yes = 2 * sizeof(*op), .no = PORT_BYTES};
		if (i + 1 == count)
			op[0].no += sizeof(*op);
		op[1] = (struct inet_diag_bc_op){.no = ntohs(places[i].port)};
		op[2] = (struct inet_diag_bc_op){
			.code = INET_DIAG_BC_JMP, .yes = sizeof(*op), .no = left - 2 * sizeof(*op)};
	}
	return bytes;
}

/* Calls note_socket() with the sockets of a family that have a service's port. */
static int list_sockets(struct looking *l, uint8_t family, uint32_t states)
{
	struct {
		struct request request;
		struct rtattr attribute;
		struct inet_diag_bc_op filter[3 * SLUICE_SERVICES_MAX];
	} dump = {.request = request_of(family, states)};
	size_t bytes = write_filter(dump.filter, l->places, l->place_count);

	dump.attribute = (struct rtattr){RTA_LENGTH(bytes), INET_DIAG_REQ_BYTECODE};
	dump.request.head.nlmsg_len += RTA_LENGTH(bytes);
	dump.request.head.nlmsg_flags |= NLM_F_DUMP;
	dump.request.about.idiag_ext = 1 << (INET_DIAG_INFO - 1);
	return netlink_dump(NULL, NETLINK_SOCK_DIAG, &dump.request.head, note_socket, l);
}

/* Counts the suspects of this namespace, and apart those whose sockets are gone: tc sees the end of
 * a connection first. */
static int judge_suspects(struct looking *l)
{
	_cleanup_fd_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	if (fd < 0)
		return -errno;
	for (size_t i = 0; i < l->suspect_count; i++) {
		const struct suspect *suspect = &l->suspects[i];
		const struct inet_diag_msg *m = &suspect->socket;
		struct trouble_look *found = &l->found[suspect->service];
		struct request request = request_of(m->idiag_family, ~0U);
		union {
			struct {
				struct nlmsghdr head;
				struct inet_diag_msg socket;
			};
			char bytes[4096];
		} answer;
		struct sluice_conn_key key;

		if (suspect->netns != l->netns)
			continue;
		request.about.id = m->id;
		key_of(&key, m);
		if (!bpf_map_lookup_elem(l->conns, &key, &l->conn))
			continue;
		if (netlink_ask(fd, &request.head, &answer, sizeof(answer)) ||
		    answer.socket.idiag_state != STATE_ESTABLISHED) {
			found->active--;
			note_unseen(found, m, &found->ended, &found->ended_here);
		} else if (suspect->responses) {
			note_unseen(found, m, &found->requests_unseen, &found->requests_unseen);
		} else {
			note_unseen(found, m, &found->unseen, &found->unseen_here);
		}
	}
	return 0;
}

static int look_here(struct looking *l)
{
	int err = 0;

	/* Listeners first, all of them: the others may be too many. */
	for (unsigned i = 0; i < 4 && !err; i++)
		err = list_sockets(l, i % 2 ? AF_INET6 : AF_INET,
				   STATE(i < 2 ? STATE_LISTEN : STATE_ESTABLISHED));
	return err ? err : judge_suspects(l);
}

static int look(void *arg)
{
	struct looking *l = arg;
	int err = 0;

	for (l->netns = 0; l->netns <= l->d->netns_count && !err; l->netns++) {
		if (netns_enter(l->d, l->netns))
			continue; /* it has ended */
		err = look_here(l);
		netns_leave(l->d, l->netns);
	}
	return err;
}

int datapath_look_at_sockets(struct datapath *d, uint64_t since_ns, struct trouble_look *found)
{
	_cleanup_free_ struct place *places = calloc(d->service_count + 1, sizeof(*places));
	_cleanup_free_ struct looking *l = calloc(1, sizeof(*l));
	_cleanup_free_ uint8_t(*own)[16] = NULL;
	size_t own_count = 0;
	int err;

	if (!l || !places)
		return datapath_fail(-ENOMEM, "out of memory");
	err = addresses_list(d, &own, &own_count);
	if (err)
		return err;
	for (size_t i = 0; i < d->service_count && i < SLUICE_SERVICES_MAX; i++) {
		const struct service *v = &d->services[i];
		const uint8_t *other;
		enum server_way way;

		places[l->place_count] = (struct place){.wildcard = v->wildcard,
							.http = v->protocol == SLUICE_PROTOCOL_HTTP,
							.port = htons(v->port),
							.id = v->id};
		memcpy(places[l->place_count++].addr, v->addr, 16);
		/* Only an address of this host has sockets here. */
		found[v->id].own = v->wildcard || address_in(own, own_count, v->addr);
		way = found[v->id].own ? SERVER_REACHED : server_links_to(d, v->addr);
		found[v->id].nowhere = way != SERVER_REACHED;
		found[v->id].past = way == SERVER_PAST;
		other = v->wildcard ? NULL : server_links_other(d, v);
		found[v->id].other_there = other;
		if (other)
			memcpy(found[v->id].other_server, other, 16);
	}
	if (!l->place_count)
		return 0;
	l->d = d;
	l->conns = map_fd(d->skel->maps.conns);
	l->half_open = map_fd(d->skel->maps.half_open);
	l->services = map_fd(d->skel->maps.services);
	l->began_ns = monotonic_ns();
	l->since_ns = since_ns;
	l->places = places;
	l->found = found;
	err = datapath_away(d, look, l);
	return err ? datapath_fail(err, "the sockets cannot be listed: %s", strerror(-err)) : 0;
}
