/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The interfaces that lead to servers in other network namespaces (server_links.c). */
#ifndef SLUICE_DATAPATH_SERVER_LINKS_H
#define SLUICE_DATAPATH_SERVER_LINKS_H

#include "internal.h"

/* Finds them, in steps, and tells the programs of new ones. 1: they are others than before; 0; or
 * -errno. Without a service at an address of its own it costs nothing. */
int server_links_refresh(struct datapath *d);
/* Whether the interface leads to a server. */
bool server_links_has(const struct datapath *d, int ifindex);
/* Whether packets to the server's address pass an interface that leads to it. */
enum server_way {
	SERVER_NOWHERE, /* no server with this address is found */
	SERVER_PAST,    /* it is, but packets come by an interface of it without an end here */
	SERVER_REACHED,
};
enum server_way server_links_to(const struct datapath *d, const uint8_t addr[16]);
/* An address in the network namespace of the service's server that no service of its port has;
 * NULL. */
const uint8_t *server_links_other(const struct datapath *d, const struct service *service);
/* Forgets those that are no longer found, unless keep() says that the programs need them. */
void server_links_tidy(struct datapath *d, bool (*keep)(const struct datapath *d, int ifindex));

#endif
