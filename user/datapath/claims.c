/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One daemon for each address and port of a network namespace: two would judge each request twice,
 * count it twice and refuse it twice, since neither looks into the other's maps. The one idea: a
 * claim is an abstract Unix socket with the name of the service. It belongs to the network
 * namespace, so daemons in different containers meet there, with pins or without. It needs no
 * capability, and it ends with its process.
 *
 * Any process of the namespace can take such a name. So a claim counts if its holder is root or the
 * daemon's own user, which the kernel tells who connects. Someone else's stops no daemon: then a
 * second daemon is not noticed.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "addresses.h"
#include "claims.h"
#include "core/service.h"
#include "core/text.h"
#include "map_io.h"

#define WAITING_MAX 128 /* daemons that look at a claim within a second */

/* A claim, by address and port; all addresses: zeros. */
struct claim {
	uint8_t addr[16];
	uint16_t port;
	int fd; /* -1: the name is someone else's */
};

static const uint8_t all_addresses[16];
static const uint8_t any4[16] = {[10] = 0xff, [11] = 0xff};

static const uint8_t *claimed(const struct service *s)
{
	return s->wildcard ? all_addresses : s->addr;
}

static struct claim *find(const struct datapath *d, const uint8_t addr[16], uint16_t port)
{
	for (size_t i = 0; i < d->claim_count; i++)
		if (d->claims[i].port == port && !memcmp(d->claims[i].addr, addr, 16))
			return &d->claims[i];
	return NULL;
}

static void endpoint(char out[TEXT_SERVICE_MAX], const uint8_t addr[16], uint16_t port)
{
	text_endpoint(out, addr, !memcmp(addr, all_addresses, 16), port);
}

/* Returns the length of the name. */
static socklen_t name_of(struct sockaddr_un *out, const uint8_t addr[16], uint16_t port)
{
	char text[TEXT_SERVICE_MAX];

	endpoint(text, addr, port);
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			   snprintf(out->sun_path + 1, sizeof(out->sun_path) - 1, "sluiced %s",
				    text));
}

static int unix_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* -EADDRINUSE if another sluiced has the claim. */
static int look(const uint8_t addr[16], uint16_t port)
{
	_cleanup_fd_ int fd = unix_socket();
	char text[TEXT_SERVICE_MAX];
	struct sockaddr_un name;
	socklen_t len = name_of(&name, addr, port), size = sizeof(struct ucred);
	struct ucred holder;

	if (fd < 0 || connect(fd, (struct sockaddr *)&name, len) ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &holder, &size) ||
	    (holder.uid && holder.uid != geteuid()))
		return 0;
	endpoint(text, addr, port);
	return datapath_fail(
		-EADDRINUSE,
		"another sluiced (process %d) judges requests to %s: one daemon for each address and port",
		holder.pid, text);
}

static int take(struct datapath *d, const uint8_t addr[16], uint16_t port)
{
	struct claim *grown = realloc(d->claims, (d->claim_count + 1) * sizeof(*grown));
	struct sockaddr_un name;
	socklen_t len = name_of(&name, addr, port);
	int fd, err = 0;

	if (!grown)
		return datapath_fail(-ENOMEM, "out of memory");
	d->claims = grown;
	fd = unix_socket();
	if (fd >= 0 && (bind(fd, (struct sockaddr *)&name, len) || listen(fd, WAITING_MAX))) {
		if (errno == EADDRINUSE)
			err = look(addr, port);
		close(fd);
		fd = -1;
	}
	if (err)
		return err;
	grown += d->claim_count++;
	memcpy(grown->addr, addr, 16);
	grown->port = port;
	grown->fd = fd;
	return 0;
}

/* Looks for claims of others that overlap with one of ours: all addresses with each single one. */
static int look_across(const struct datapath *d, const struct service *s, uint8_t (*host)[16],
		       size_t host_count)
{
	bool only4 = !memcmp(s->addr, any4, 16);
	int err = 0;

	if (!s->wildcard)
		return find(d, all_addresses, s->port) ? 0 : look(all_addresses, s->port);
	for (size_t i = 0; i < host_count && !err; i++) {
		datapath_step(d, 1);
		if ((!only4 || !memcmp(host[i], any4, 12)) && !find(d, host[i], s->port))
			err = look(host[i], s->port);
	}
	return err;
}

int claims_take(struct datapath *d, const struct service *services, size_t count)
{
	_cleanup_free_ uint8_t(*host)[16] = NULL;
	size_t host_count = 0;
	int err = 0;

	for (size_t s = 0; s < count && !err; s++)
		if (!find(d, claimed(&services[s]), services[s].port))
			err = take(d, claimed(&services[s]), services[s].port);
	/* After the claims: of two daemons that start at once, one at least sees the other. */
	if (!err)
		err = addresses_list(d, &host, &host_count);
	for (size_t s = 0; s < count && !err; s++)
		err = look_across(d, &services[s], host, host_count);
	return err;
}

static bool used(const struct claim *c, const struct service *services, size_t count)
{
	for (size_t s = 0; s < count; s++)
		if (c->port == services[s].port && !memcmp(c->addr, claimed(&services[s]), 16))
			return true;
	return false;
}

void claims_keep(struct datapath *d, const struct service *services, size_t count)
{
	for (size_t i = d->claim_count; i--;) {
		if (used(&d->claims[i], services, count))
			continue;
		close_fd(&d->claims[i].fd);
		d->claims[i] = d->claims[--d->claim_count];
	}
	if (d->claim_count)
		return;
	free(d->claims);
	d->claims = NULL;
}

int claims_number(unsigned number)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	size_t len = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "sluiced unpinned %u",
			      number);
	int fd = unix_socket();

	if (fd < 0 || !bind(fd, (struct sockaddr *)&name,
			    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len)))
		return fd;
	close(fd);
	return -1;
}

void claims_answer(struct datapath *d)
{
	for (size_t i = 0; i < d->claim_count; i++) {
		int fd;

		while (d->claims[i].fd >= 0 &&
		       (fd = accept4(d->claims[i].fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
			close(fd);
	}
}
