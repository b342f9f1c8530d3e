/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Kept connections, seen from the daemon: those of which a request was refused, and which only the
 * programs can translate. The programs change their entries at any time; the daemon writes one only
 * where no packet of it can come. `sweep` removes those that have ended.
 */
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "kept.h"
#include "map_io.h"

static const uint8_t mapped[12] = {[10] = 0xff, 0xff};

bool datapath_has_kept(struct datapath *d)
{
	struct sluice_conn_key first;

	return !bpf_map_get_next_key(map_fd(d->skel->maps.kept), NULL, &first);
}

struct ports {
	uint64_t *bits;
	bool any;
};

static void add_port(void *arg, const void *key, const void *value)
{
	const struct sluice_conn_key *k = key;
	uint16_t port = ntohs(k->server_port);
	struct ports *p = arg;

	if (p->bits[port / 64] >> (port % 64) & 1)
		return;
	p->bits[port / 64] |= 1ULL << (port % 64);
	p->any = true;
}

int kept_ports(struct datapath *d, uint64_t bits[], bool *any)
{
	struct ports p = {.bits = bits};
	int err = map_each(d, d->skel->maps.kept, add_port, &p);

	*any = p.any;
	return err;
}

struct moved {
	struct datapath *d;
	uint32_t was, now;
};

static void move(void *arg, const void *key, const void *value)
{
	struct sluice_kept kept;
	struct moved *m = arg;

	memcpy(&kept, value, sizeof(kept));
	if (kept.hook != m->was)
		return;
	kept.hook = m->now;
	bpf_map_update_elem(map_fd(m->d->skel->maps.kept), key, &kept, BPF_EXIST);
}

int kept_moved(struct datapath *d, int was, int now)
{
	struct moved m = {d, (uint32_t)was, (uint32_t)now};

	return map_each(d, d->skel->maps.kept, move, &m);
}

/* Aborts the server's socket of one connection: its TCP sends the client a RST (sock_diag(7)). */
static int destroy(int fd, const struct sluice_conn_key *k)
{
	bool ipv4 = !memcmp(k->client_addr, mapped, sizeof(mapped));
	struct {
		struct nlmsghdr head;
		struct inet_diag_req_v2 request;
	} ask = {
		.head = {.nlmsg_len = sizeof(ask),
			 .nlmsg_type = SOCK_DESTROY,
			 .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
		.request = {.sdiag_family = ipv4 ? AF_INET : AF_INET6,
			    .sdiag_protocol = IPPROTO_TCP,
			    .idiag_states = ~0U,
			    .id = {.idiag_sport = k->server_port,
				   .idiag_dport = k->client_port,
				   .idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}},
	};
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
	} answer;
	unsigned from = ipv4 ? 12 : 0;

	memcpy(ask.request.id.idiag_src, k->server_addr + from, 16 - from);
	memcpy(ask.request.id.idiag_dst, k->client_addr + from, 16 - from);
	if (send(fd, &ask, sizeof(ask), 0) < 0)
		return -errno;
	if (recv(fd, &answer, sizeof(answer), MSG_TRUNC) < (ssize_t)sizeof(answer) ||
	    answer.head.nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	return answer.error.error;
}

int kept_reset(const char *pin_dir)
{
	struct sluice_conn_key key, next;
	_cleanup_fd_ int map = -1, fd = -1;
	char path[PATH_MAX + 8];
	size_t failed = 0;
	int last = 0;

	snprintf(path, sizeof(path), "%s/kept", pin_dir);
	map = bpf_obj_get(path);
	if (map < 0 || bpf_map_get_next_key(map, NULL, &next))
		return 0;
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (fd < 0)
		return datapath_fail(-errno, "kept connections cannot be reset: %s",
				     strerror(errno));
	for (uint32_t i = 0; i < SLUICE_KEPT_MAX; i++) {
		int err;

		key = next;
		err = destroy(fd, &key);
		if (err && err != -ENOENT) { /* ENOENT: it has ended meanwhile */
			failed++;
			last = err;
		}
		if (bpf_map_get_next_key(map, &key, &next))
			break;
	}
	return failed ? datapath_fail(last,
				      "%zu kept connections cannot be reset, and will hang: %s",
				      failed, strerror(-last))
		      : 0;
}
