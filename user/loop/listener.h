/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A listening socket in an epoll set. Without descriptors or memory for a connection, the socket
 * would stay readable and keep the loop busy. So it then leaves the set until listener_resume(),
 * and its connections wait in the kernel.
 */
#ifndef SLUICE_LISTENER_H
#define SLUICE_LISTENER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct listener {
	int fd, epoll;
	bool paused;
	uint64_t failures; /* accepts that failed for want of descriptors or memory */
};

/* Watches fd, which listens and never blocks, in an epoll set; its events have data.ptr NULL. 0 or
 * -errno. */
int listener_start(struct listener *l, int epoll, int fd);
/* The next connection: a descriptor that never blocks, or -errno. With addr NULL its address is not
 * wanted. */
int listener_accept(struct listener *l, struct sockaddr *addr, socklen_t *addr_len);
/* Tries again. Call it at each tick. */
void listener_resume(struct listener *l);

#endif
