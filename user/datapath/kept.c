/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Kept connections, seen from the daemon: those of which a request was refused, and which only the
 * programs can translate. The programs change their entries at any time; the daemon writes one only
 * where no packet of it can come. `sweep` removes those that have ended.
 */
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/inet_diag.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "kept.h"
#include "map_io.h"
#include "netlink.h"
#include "netns.h"
#include "pins.h"
#include "settings.h"

#define PINNED_LOOKS 150 /* while a connection has had no packet yet */

static const uint8_t mapped[12] = {[10] = 0xff, 0xff};

bool datapath_has_kept(struct datapath *d)
{
	return map_has_any(d->skel->maps.kept);
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

struct hook_search {
	uint32_t hook;
	bool found;
};

static void find_hook(void *arg, const void *key, const void *value)
{
	struct hook_search *s = arg;
	struct sluice_kept kept;

	memcpy(&kept, value, sizeof(kept));
	s->found |= kept.hook == s->hook;
}

bool kept_goes_by(struct datapath *d, int ifindex)
{
	struct hook_search s = {.hook = (uint32_t)ifindex};

	return map_has_any(d->skel->maps.kept) && !map_each(d, d->skel->maps.kept, find_hook, &s) &&
	       s.found;
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

/*
 * Aborts the server's socket of one connection: its TCP sends the client a RST (sock_diag(7)).
 * Where the connection has ended, the kernel finds the listening socket instead, so its state is
 * asked first, and its cookie names it then.
 */
static int destroy(int fd, const struct sluice_conn_key *k)
{
	bool ipv4 = !memcmp(k->client_addr, mapped, sizeof(mapped));
	struct {
		struct nlmsghdr head;
		struct inet_diag_req_v2 request;
	} find = {
		.head = {.nlmsg_len = sizeof(find),
			 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			 .nlmsg_flags = NLM_F_REQUEST},
		.request = {.sdiag_family = ipv4 ? AF_INET : AF_INET6,
			    .sdiag_protocol = IPPROTO_TCP,
			    .idiag_states = ~0U,
			    .id = {.idiag_sport = k->server_port,
				   .idiag_dport = k->client_port,
				   .idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}},
	};
	union {
		struct {
			struct nlmsghdr head;
			struct inet_diag_msg found;
		};
		char room[4096];
	} answer;
	unsigned from = ipv4 ? 12 : 0;
	int err;

	memcpy(find.request.id.idiag_src, k->server_addr + from, 16 - from);
	memcpy(find.request.id.idiag_dst, k->client_addr + from, 16 - from);
	err = netlink_ask(fd, &find.head, &answer, sizeof(answer));
	if (err)
		return err;
	if (answer.found.idiag_state == TCP_LISTEN)
		return -ENOENT;
	memcpy(find.request.id.idiag_cookie, answer.found.id.idiag_cookie,
	       sizeof(find.request.id.idiag_cookie));
	find.head.nlmsg_type = SOCK_DESTROY;
	find.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	return netlink_ask(fd, &find.head, &answer, sizeof(answer));
}

/* Where the sockets of a network namespace are asked for and ended; -errno. */
static int sockets_of(const struct datapath *d, unsigned which)
{
	int fd, err = netns_enter(d, which);

	if (err)
		return err;
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	err = fd < 0 ? -errno : fd;
	netns_leave(d, which);
	return err;
}

int kept_reset(const struct datapath *d, const char *pin_dir)
{
	unsigned namespaces = 1 + (d ? d->netns_count : 0);
	_cleanup_free_ int *fds = calloc(namespaces, sizeof(*fds));
	struct sluice_conn_key key, next;
	_cleanup_fd_ int map = -1;
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);
	char path[PATH_MAX + 8];
	size_t failed = 0;
	int last = 0;

	snprintf(path, sizeof(path), "%s/kept", pin_dir);
	map = bpf_obj_get(path);
	if (map < 0 || bpf_map_get_next_key(map, NULL, &next))
		return 0;
	if (!fds)
		return datapath_fail(-ENOMEM, "out of memory");
	for (unsigned n = 0; n < namespaces; n++)
		fds[n] = sockets_of(d, n);
	if (fds[0] < 0)
		return datapath_fail(fds[0], "kept connections cannot be reset: %s",
				     strerror(-fds[0]));
	bpf_obj_get_info_by_fd(map, &info, &len);
	for (uint32_t i = 0; i < info.max_entries; i++) { /* a walk may start over */
		int err = -ENOENT;

		bool more;

		key = next;
		for (unsigned n = 0; n < namespaces && err == -ENOENT; n++)
			if (fds[n] >= 0)
				err = destroy(fds[n], &key);
		if (err && err != -ENOENT) { /* ENOENT: it has ended meanwhile */
			failed++;
			last = err;
		}
		more = !bpf_map_get_next_key(map, &key, &next);
		if (!err)
			bpf_map_delete_elem(map, &key);
		if (!more)
			break;
	}
	for (unsigned n = 0; n < namespaces; n++)
		if (fds[n] >= 0)
			close(fds[n]);
	return failed ? datapath_fail(last,
				      "%zu kept connections cannot be reset, and will hang: %s",
				      failed, strerror(-last))
		      : 0;
}

/* Has the server of a connection send a packet (bpf/probe.bpf.c), at which both ends are reset. An
 * error means that there is no such interface here any more, nor such a connection. */
static void send_probe(void *program, const void *key, const void *value)
{
	struct {
		struct ethhdr link;
		union {
			struct sluice_conn_key key;
			uint8_t ipv4[sizeof(struct iphdr) + sizeof(struct tcphdr)];
			uint8_t ipv6[sizeof(struct ipv6hdr) + sizeof(struct tcphdr)];
		};
	} __attribute__((packed)) packet = {0};
	struct __sk_buff context = {0};
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = &packet, .ctx_in = &context,
			    .ctx_size_in = sizeof(context), .repeat = 1);
	struct sluice_kept kept;
	bool ipv4;

	memcpy(&kept, value, sizeof(kept));
	memcpy(&packet.key, key, sizeof(packet.key));
	ipv4 = !memcmp(packet.key.client_addr, mapped, sizeof(mapped));
	packet.link.h_proto = htons(ipv4 ? ETH_P_IP : ETH_P_IPV6);
	run.data_size_in = sizeof(packet.link) + (ipv4 ? sizeof(packet.ipv4) : sizeof(packet.ipv6));
	context.ifindex = kept.hook;
	bpf_prog_test_run_opts(*(int *)program, &run);
}

void kept_probe(const struct datapath *d, const struct sluice_conn_key *key)
{
	int program = bpf_program__fd(d->skel->progs.probe);
	struct sluice_kept kept;

	if (!bpf_map_lookup_elem(map_fd(d->skel->maps.kept), key, &kept) &&
	    !(kept.flags & SLUICE_KEPT_LOCAL))
		send_probe(&program, key, &kept);
}

void datapath_end_kept(struct datapath *d)
{
	int program = bpf_program__fd(d->skel->progs.probe);

	d->settings.stopping = SLUICE_STOPPING_KEPT;
	settings_write(d);
	kept_reset(d, d->pin_dir);
	map_each(d, d->skel->maps.kept, send_probe, &program);
}

struct open_kept {
	int conns;
	bool any;
};

/* An entry without a connection in `conns` has ended, or was silent for long. */
static void find_open(void *arg, const void *key, const void *value)
{
	struct open_kept *o = arg;
	struct sluice_kept kept;
	struct sluice_conn conn;

	memcpy(&kept, value, sizeof(kept));
	if (!o->any && !(kept.flags & SLUICE_KEPT_ENDED))
		o->any = !bpf_map_lookup_elem(o->conns, key, &conn);
}

bool datapath_kept_open(struct datapath *d)
{
	struct open_kept o = {.conns = map_fd(d->skel->maps.conns)};

	return !map_each(d, d->skel->maps.kept, find_open, &o) && o.any;
}

static void probe_path(char path[PATH_MAX + 16], const char *pin_dir)
{
	snprintf(path, PATH_MAX + 16, "%s/links/probe", pin_dir);
}

/* In links/, since every version removes whatever is there. */
int kept_pin_probe(const struct datapath *d)
{
	char path[PATH_MAX + 16];

	if (pins_none(d->pin_dir))
		return 0;
	probe_path(path, d->pin_dir);
	if (!bpf_obj_pin(bpf_program__fd(d->skel->progs.probe), path) || errno == EEXIST)
		return 0;
	return datapath_fail(-errno, "%s: %s", path, strerror(errno));
}

static void walk(int map, void (*each)(void *arg, const void *key, const void *value), void *arg)
{
	map_walk(NULL, map, sizeof(struct sluice_conn_key), sizeof(struct sluice_kept), each, arg);
}

static void find_not_ended(void *any, const void *key, const void *value)
{
	struct sluice_kept kept;

	memcpy(&kept, value, sizeof(kept));
	*(bool *)any |= !(kept.flags & SLUICE_KEPT_ENDED);
}

int kept_end_pinned(const char *pin_dir)
{
	const struct timespec pause = {.tv_nsec = KEPT_PACKET_NS / PINNED_LOOKS};
	_cleanup_fd_ int map = -1, settings = -1, program = -1;
	struct sluice_settings unused;
	char path[PATH_MAX + 16];
	bool open = true;
	int err;

	probe_path(path, pin_dir);
	program = bpf_obj_get(path);
	snprintf(path, sizeof(path), "%s/kept", pin_dir);
	map = bpf_obj_get(path);
	settings = settings_pinned(pin_dir, &unused);
	if (settings >= 0)
		settings_write_stopping(settings, SLUICE_STOPPING_KEPT);
	err = kept_reset(NULL, pin_dir);
	if (program < 0 || map < 0 || settings < 0)
		return err;
	walk(map, send_probe, &program);
	for (unsigned i = 0; open && i < PINNED_LOOKS; i++) {
		open = false;
		walk(map, find_not_ended, &open);
		if (open)
			nanosleep(&pause, NULL);
	}
	return err;
}
