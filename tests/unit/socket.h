/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The client's end of a connection to a server under test. */
#ifndef SLUICE_TEST_SOCKET_H
#define SLUICE_TEST_SOCKET_H

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>

/* Reads what has come. Returns whether the server has closed the connection. */
static inline bool has_ended(int fd)
{
	char buffer[65536];
	ssize_t n;

	do
		n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
	while (n > 0);
	return n == 0 || errno == ECONNRESET;
}

#endif
