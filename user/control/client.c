/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The client's end of the control socket, for sluicectl: connects, writes a line, reads a line. It
 * blocks, with a timeout: sluicectl has nothing else to do meanwhile.
 */
#include "control/control.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int control_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, ret;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

bool control_is_trusted(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) &&
	       (!peer.uid || peer.uid == geteuid());
}

int control_say(int fd, const char *line)
{
	size_t len = strlen(line), at = 0;

	while (at <= len) {
		ssize_t n = at < len ? send(fd, line + at, len - at, MSG_NOSIGNAL)
				     : send(fd, "\n", 1, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += (size_t)n;
	}
	return 0;
}

int control_hear(int fd, unsigned timeout_s, char **line)
{
	size_t len = 0, size = 4096;
	char *text = malloc(size);
	int ret = -ENOMEM;

	while (text) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		char *newline;
		ssize_t n, at;

		n = poll(&p, 1, timeout_s ? (int)timeout_s * 1000 : -1);
		if (!n) {
			ret = -EAGAIN;
			break;
		}
		/* Peek first: the bytes after the newline belong to the next line. */
		at = n < 0 ? -1 : recv(fd, text + len, size - len - 1, MSG_PEEK);
		if (at < 0 && errno == EINTR)
			continue;
		if (at <= 0) {
			ret = at ? -errno : -ENODATA;
			break;
		}
		newline = memchr(text + len, '\n', (size_t)at);
		n = recv(fd, text + len, newline ? (size_t)(newline - text) - len + 1 : (size_t)at,
			 0);
		if (n < 0) {
			ret = -errno;
			break;
		}
		len += (size_t)n;
		if (newline) {
			text[len - 1] = 0;
			*line = text;
			return 0;
		}
		if (len + 1 == size) {
			char *more = realloc(text, size *= 2);

			if (!more) {
				ret = -ENOMEM;
				break;
			}
			text = more;
		}
	}
	free(text);
	return ret;
}
