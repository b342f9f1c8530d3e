/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See netlink.h. A request has a socket of its own, so that answers cannot mix. */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "netlink.h"

#define DUMP_BYTES    16384
#define MESSAGE_BYTES 64 /* of a message, at least */

/* 1: these messages were the last; or -errno. */
static int read_messages(const void *buffer, size_t len,
			 int (*each)(void *arg, const struct nlmsghdr *message), void *arg)
{
	int err = 0;

	for (const struct nlmsghdr *m = buffer; NLMSG_OK(m, len) && !err; m = NLMSG_NEXT(m, len)) {
		if (m->nlmsg_type == NLMSG_DONE)
			return 1;
		if (m->nlmsg_type == NLMSG_ERROR)
			return ((const struct nlmsgerr *)NLMSG_DATA(m))->error;
		err = each(arg, m);
	}
	return err;
}

int netlink_dump(const struct datapath *d, int family, const struct nlmsghdr *request,
		 int (*each)(void *arg, const struct nlmsghdr *message), void *arg)
{
	_cleanup_fd_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, family);
	char buffer[DUMP_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
	int ret = 0, on = 1;

	/* Else the kernel ignores what IFA_TARGET_NETNSID asks for. */
	if (fd >= 0 && request->nlmsg_type == RTM_GETADDR &&
	    request->nlmsg_len > NLMSG_LENGTH(sizeof(struct ifaddrmsg)))
		setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	if (fd < 0 || send(fd, request, request->nlmsg_len, 0) < 0)
		return -errno;
	while (!ret) {
		ssize_t n;

		if (d)
			datapath_step(d, DUMP_BYTES / MESSAGE_BYTES);
		n = recv(fd, buffer, sizeof(buffer), 0);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -EIO;
		if (n > 0)
			ret = read_messages(buffer, (size_t)n, each, arg);
	}
	return ret < 0 ? ret : 0;
}

const struct rtattr *netlink_attribute(const void *first, size_t len, unsigned short type)
{
	for (const struct rtattr *a = first; RTA_OK(a, len); a = RTA_NEXT(a, len))
		if (a->rta_type == type)
			return a;
	return NULL;
}

int netlink_ask(int fd, const struct nlmsghdr *request, void *answer, size_t size)
{
	struct nlmsghdr *said = answer;
	ssize_t n;

	if (send(fd, request, request->nlmsg_len, 0) < 0)
		return -errno;
	n = recv(fd, answer, size, 0);
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)))
		return n < 0 ? -errno : -EPROTO;
	return said->nlmsg_type == NLMSG_ERROR ? ((struct nlmsgerr *)NLMSG_DATA(said))->error : 0;
}
