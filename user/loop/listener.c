/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See listener.h. */
#include "loop/listener.h"

#include <errno.h>
#include <sys/epoll.h>

static int watch(struct listener *l, int operation, bool paused)
{
	struct epoll_event ev = {.events = paused ? 0 : EPOLLIN};

	l->paused = paused;
	return epoll_ctl(l->epoll, operation, l->fd, &ev) ? -errno : 0;
}

int listener_start(struct listener *l, int epoll, int fd)
{
	*l = (struct listener){.fd = fd, .epoll = epoll};
	return watch(l, EPOLL_CTL_ADD, false);
}

int listener_accept(struct listener *l, struct sockaddr *addr, socklen_t *addr_len)
{
	int fd = accept4(l->fd, addr, addr_len, SOCK_NONBLOCK | SOCK_CLOEXEC), err = errno;

	if (fd >= 0)
		return fd;
	if (err == EMFILE || err == ENFILE || err == ENOMEM || err == ENOBUFS) {
		l->failures++;
		watch(l, EPOLL_CTL_MOD, true);
	}
	return -err;
}

void listener_resume(struct listener *l)
{
	if (l->paused)
		watch(l, EPOLL_CTL_MOD, false);
}
