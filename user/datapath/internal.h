/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the files of the datapath and tests/datapath share; no other file includes it. Calls point
 * downwards only (scripts/check-layers): datapath.c (load and close) on top; then services.c,
 * check.c; then attachments.c, age.c, models.c, names.c, rules.c, quotas.c, fleet.c, clients.c,
 * verdict.c, sockets.c; then attach.c; then links.c, lease.c; then carry.c; then pins.c, clsact.c,
 * sweep.c, ports.c, claims.c, kept.c, crowd.c, replies.c, server_links.c; then netns.c; then
 * addresses.c, programs.c; at the bottom interfaces.c, netlink.c, settings.c, sizes.c, layout.c,
 * map_io.c, error.c.
 */
#ifndef SLUICE_DATAPATH_INTERNAL_H
#define SLUICE_DATAPATH_INTERNAL_H

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <limits.h>
#include <unistd.h>

#include "datapath.h"
#include "sluice.skel.h"

#define NSEC_PER_SEC 1000000000ULL
#define PORT_WORDS   (65536 / 64) /* of the map `ports` */
#define ERROR_MAX    1024         /* bytes of datapath_error(), with its NUL */

struct age;
struct carry;
struct claim;

/* When sluice has set right what others had undone, so that it does not do so for ever. */
struct repairs {
	uint64_t at_ns[3]; /* the last ones, oldest first */
	bool left;         /* sluice does it no more */
};

/* Interfaces to attach to: a pattern of fnmatch(3), or "auto". */
struct wanted {
	char pattern[16];
	enum datapath_xdp xdp;
};

/* An interface that the programs are attached to. */
struct attachment {
	struct datapath_interface is; /* ifindex 0: the interface is gone for now */
	enum datapath_xdp wanted;
	unsigned netns;         /* d->netns[netns - 1]; 0: the daemon's own */
	uint64_t netns_ino;     /* of that, unless netns is 0 */
	bool named;             /* in the configuration; else it matches a pattern */
	bool unused;            /* it matches none any more */
	unsigned unused_checks; /* … for so many checks */
	bool unread;            /* sluice does not read its link type */
	int gone;               /* its index before it disappeared last */
	int link[HOOK_COUNT];   /* descriptors; -1: none */
	/* What matters to the programs. */
	bool ethernet; /* its packets begin with an Ethernet header */
	bool loopback;
	bool veth;
	bool tried;      /* to attach: what is missing was there, or failed */
	bool xdp_taken;  /* AUTO: by another program */
	bool qdisc_ours; /* without tcx: sluice made the qdisc */
	struct repairs repairs;
};

/* Of samples, of refusals, of records. */
#define DATAPATH_RINGS 3

/* Another network namespace (netns.c). */
struct netns {
	char *path;
	uint64_t ino;    /* of the namespace that sluice attaches to; 0: none */
	uint64_t seen;   /* of the one that could be read last, attached to or not; 0: none */
	bool ended;      /* for good */
	bool unfollowed; /* sluice should be attached there, and is not or cannot look */
	uint8_t (*addresses)[16];
	size_t address_count;
	char note[DATAPATH_NOTE_MAX]; /* why it is not attached to, or not looked at; "": it is */
};

/* An interface that leads to a server (server_links.c). */
struct server_link {
	struct sluice_server_link link;
	bool leads;   /* else it did */
	bool reaches; /* packets to the address may pass it */
	bool found;   /* scratch of a search */
};

/* A further address in the network namespace of a service's server. */
struct server_other {
	uint8_t addr[16], other[16]; /* the service's, and that */
	uint16_t port;
};

/* The sentences that this daemon has written for one model. */
struct reply_written {
	char name[SLUICE_NAME_MAX];
	uint16_t reasons; /* one bit for each reason */
};

struct datapath {
	char pin_dir[PATH_MAX];
	int dir_fd;    /* holds the lock */
	int number_fd; /* … that of a daemon without pins (claims.h); -1: it has none */
	struct sluice_bpf *skel;
	/* More programs, with the same maps (programs.c); NULL: not loaded. */
	struct sluice_bpf *elsewhere;              /* for other network namespaces */
	struct sluice_bpf *headerless;             /* for interfaces without Ethernet headers */
	struct ring_buffer *rings[DATAPATH_RINGS]; /* a flood of one leaves the others their part
						      of each turn */
	int rings_fd;                              /* the epoll fd of all */
	uint64_t records_lost;                     /* at the last call of datapath_records_lost() */
	unsigned compared;                         /* counts map_compared() */
	unsigned polled; /* records of a ring in this call of datapath_poll() */
	struct ring_buffer *fleet_ring;
	struct sluice_fleet_item *fleet_batch; /* the map itself, mapped */
	struct sluice_fleet_call *fleet_call;  /* this one, too */
	/* During datapath_fleet_changes(). */
	void (*fleet_each)(void *arg, const struct sluice_fleet_change *change);
	void *fleet_arg;
	struct datapath_handlers handlers;
	struct sluice_settings settings;  /* as last written */
	struct sluice_model_state *state; /* the map itself, mapped */
	size_t state_bytes;
	int64_t *conn_counts;    /* likewise */
	uint64_t lease_found_ns; /* end of the lease before this start extended it; 0: not extended,
				    or renewed since */
	int cpus;
	bool fresh; /* nothing was adopted */
	int addresses_fd;
	struct repairs repairs;            /* of the pins */
	char pins_note[DATAPATH_NOTE_MAX]; /* what is wrong with them; "": nothing */
	struct attachment *attached;
	size_t attached_count;
	struct netns *netns;
	unsigned netns_count;
	int own_netns; /* a descriptor, if there are others */
	struct server_link *server_links;
	size_t server_link_count;
	struct server_other *server_others;
	size_t server_other_count;
	struct wanted *wanted; /* patterns */
	size_t wanted_count;
	size_t no_room;           /* interfaces that match, beyond DATAPATH_INTERFACES_MAX; … */
	size_t no_room_there;     /* … likewise in other network namespaces */
	struct service *services; /* as configured, wildcards not spread */
	size_t service_count;
	struct claim *claims; /* on addresses and ports (claims.c) */
	size_t claim_count;
	uint64_t service_ports[PORT_WORDS]; /* a bit for each port of a service */
	bool ports_linger; /* those of kept connections are in the map `ports`, too */
	struct reply_written replies[SLUICE_MODELS_MAX];
	bool refuses[SLUICE_MODELS_MAX]; /* entries of model_flags that may refuse, … */
	unsigned refusing;               /* … and how many they are */
	struct age *age;
	struct carry *carry; /* while maps are taken over; NULL */
};

static inline void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define _cleanup_fd_ __attribute__((cleanup(close_fd)))

static inline void free_ptr(void *p)
{
	free(*(void **)p);
}
#define _cleanup_free_ __attribute__((cleanup(free_ptr)))

/* Call this before each step of long work that reads or writes so many entries of maps: the daemon
 * renews its lease there, and its loop may take a turn. */
static inline void datapath_step(const struct datapath *d, size_t entries)
{
	if (d && d->handlers.step)
		d->handlers.step(d->handlers.arg, entries);
}

static inline int datapath_away(const struct datapath *d, int (*f)(void *arg), void *arg)
{
	return d->handlers.away ? d->handlers.away(d->handlers.arg, f, arg) : f(arg);
}

/* error.c */
/* Stores the text of datapath_error() and returns err, which is 0 or less. */
int datapath_fail(int err, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Hands a notice to the daemon; without a handler it does nothing. */
void datapath_notify(const struct datapath_handlers *handlers, enum datapath_notice notice,
		     const char *about, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#endif
