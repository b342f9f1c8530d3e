/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where the store is. getaddrinfo(3) may take half a minute, and cannot be broken off; so it runs
 * in a thread that holds all it needs. Its result may go unread.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fleet/internal.h"

#define STACK_BYTES (256 * 1024)

int store_address_read(struct store_address *out, const char *text, char *err, size_t len)
{
	const char *colon = strrchr(text, ':'), *host = text;
	size_t host_len;
	unsigned long port;
	char *end;

	if (strchr(text, '/')) {
		if (text[0] != '/' || strlen(text) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
			snprintf(
				err, len,
				"\"%s\" is not the path of a socket: it begins with / and has at most 107 bytes",
				text);
			return -EINVAL;
		}
		*out = (struct store_address){0};
		snprintf(out->host, sizeof(out->host), "%s", text);
		return 0;
	}
	if (!colon)
		goto bad;
	host_len = (size_t)(colon - text);
	if (host[0] == '[') {
		if (host_len < 3 || host[host_len - 1] != ']')
			goto bad;
		host++;
		host_len -= 2;
	} else if (memchr(host, ':', host_len)) {
		goto bad;
	}
	port = strtoul(colon + 1, &end, 10);
	if (colon[1] < '0' || colon[1] > '9' || *end || !port || port > 65535 || !host_len ||
	    host_len >= sizeof(out->host))
		goto bad;
	*out = (struct store_address){.port = (uint16_t)port};
	memcpy(out->host, host, host_len);
	return 0;
bad:
	snprintf(err, len,
		 "\"%s\" is not the address of a store: use HOST:PORT, [HOST]:PORT or a path",
		 text);
	return -EINVAL;
}

void store_address_text(char *out, size_t len, const struct store_address *address)
{
	if (!address->port)
		snprintf(out, len, "%s", address->host);
	else if (strchr(address->host, ':'))
		snprintf(out, len, "[%s]:%u", address->host, address->port);
	else
		snprintf(out, len, "%s:%u", address->host, address->port);
}

static int look_up(const char *host, uint16_t port, int flags,
		   struct store_endpoint out[STORE_ENDPOINTS], size_t *count)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
	struct addrinfo *list = NULL;
	char service[8];
	int result;

	*count = 0;
	snprintf(service, sizeof(service), "%u", port);
	result = getaddrinfo(host, service, &hints, &list);
	if (result)
		return result;
	for (struct addrinfo *at = list; at && *count < STORE_ENDPOINTS; at = at->ai_next) {
		if (at->ai_addrlen > sizeof(out->addr))
			continue;
		memcpy(&out[*count].addr, at->ai_addr, at->ai_addrlen);
		out[(*count)++].len = at->ai_addrlen;
	}
	freeaddrinfo(list);
	return *count ? 0 : EAI_NONAME;
}

size_t store_endpoints(const struct store_address *address,
		       struct store_endpoint out[STORE_ENDPOINTS])
{
	struct sockaddr_un *path = (struct sockaddr_un *)&out[0].addr;
	size_t count;

	if (address->port) {
		look_up(address->host, address->port, AI_NUMERICHOST, out, &count);
		return count;
	}
	memset(path, 0, sizeof(*path));
	path->sun_family = AF_UNIX;
	memcpy(path->sun_path, address->host, strnlen(address->host, sizeof(path->sun_path) - 1));
	out[0].len = sizeof(*path);
	return 1;
}

struct store_lookup {
	struct store_address address;
	struct store_endpoint endpoint[STORE_ENDPOINTS];
	size_t count;
	int result; /* of getaddrinfo(3) */
	int fd;     /* eventfd(2) */
	int users;  /* the thread, the owner */
};

void store_lookup_leave(struct store_lookup *l)
{
	if (!l || __atomic_sub_fetch(&l->users, 1, __ATOMIC_ACQ_REL))
		return;
	close(l->fd);
	free(l);
}

static void *run(void *arg)
{
	struct store_lookup *l = arg;

	l->result = look_up(l->address.host, l->address.port, 0, l->endpoint, &l->count);
	eventfd_write(l->fd, 1);
	store_lookup_leave(l);
	return NULL;
}

struct store_lookup *store_lookup_begin(const struct store_address *address)
{
	struct store_lookup *l = calloc(1, sizeof(*l));
	pthread_attr_t attr;
	pthread_t thread;
	int result;

	if (!l)
		return NULL;
	l->address = *address;
	l->users = 2;
	l->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->fd < 0) {
		free(l);
		return NULL;
	}
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	result = pthread_create(&thread, &attr, run, l);
	pthread_attr_destroy(&attr);
	if (result) {
		close(l->fd);
		free(l);
		return NULL;
	}
	return l;
}

int store_lookup_fd(const struct store_lookup *l)
{
	return l->fd;
}

size_t store_lookup_end(struct store_lookup *l, struct store_endpoint out[STORE_ENDPOINTS],
			const char **why)
{
	eventfd_t ended;
	size_t count = 0;

	if (!eventfd_read(l->fd, &ended)) { /* all that the thread wrote is seen after it */
		count = l->count;
		memcpy(out, l->endpoint, sizeof(l->endpoint));
		*why = l->result ? gai_strerror(l->result) : "";
	} else {
		*why = "it takes too long";
	}
	store_lookup_leave(l);
	return count;
}

int store_connect(const struct store_endpoint *endpoint)
{
	int family = endpoint->addr.ss_family, one = 1, error;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (!connect(fd, (const struct sockaddr *)&endpoint->addr, endpoint->len) ||
	    errno == EINPROGRESS)
		return fd;
	error = errno;
	close(fd);
	return -error;
}
