/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Clients that use up their quota, and clients that wait exactly for Retry-After. A client is a
 * source address with a model of its own, so that the server counts each client by itself.
 *
 * greedy storm SERVER PORT SECONDS THREADS ADDRESS=MODEL…: THREADS threads for each client, spread
 * over all CPUs. Every other thread opens a new connection for each request; the others keep
 * theirs. Prints the answers of each client. Also prints the times (ns, one clock) that bound its
 * first and last admission and its last refusal.
 *
 * greedy wait SERVER PORT ROUNDS SEED ADDRESS=MODEL…: one thread for each client. It sends requests
 * until one is refused, waits retry-after-ms from the end of that answer, and sends the next one.
 * Prints how often that next one was refused.
 *
 * `refused` counts whole refusals, with the end of their connection where they say so. All else is
 * `bad`.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX   64
#define THREADS_MAX   512
#define NSEC_PER_SEC  1000000000ULL
#define NSEC_PER_MSEC 1000000ULL

struct client {
	const char *address, *model;
	struct sockaddr_storage from;
	pthread_mutex_t lock;
	unsigned long sent, admitted, refused, bad, connections;
	uint64_t first_sent, first_read; /* of admitted requests: the earliest of each */
	uint64_t last_read;              /* of admitted requests: the latest */
	uint64_t refused_sent;           /* of refused requests: the latest */
	unsigned long trials, early;
	uint64_t most_ms;
};

struct thread {
	pthread_t id;
	struct client *client;
	unsigned int number, seed;
};

static struct client clients[CLIENTS_MAX];
static struct sockaddr_storage server;
static socklen_t address_len;
static bool waiting;
static unsigned long rounds;
static uint64_t until;
static int client_count;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static int address_of(const char *text, uint16_t port, struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (void *)out;
	struct sockaddr_in6 *v6 = (void *)out;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		address_len = sizeof(*v4);
	} else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		address_len = sizeof(*v6);
	} else {
		return -1;
	}
	return 0;
}

/* Returns a connected socket with the client's address, or -1. */
static int open_connection(struct client *c)
{
	bool ipv6 = c->from.ss_family == AF_INET6;
	socklen_t len = ipv6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	struct linger at_once = {.l_onoff = 1};
	struct timeval limit = {.tv_sec = 5};
	struct sockaddr_storage to = server;
	int fd, one = 1;

	fd = socket(c->from.ss_family, SOCK_STREAM, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (bind(fd, (struct sockaddr *)&c->from, len) ||
	    connect(fd, (struct sockaddr *)&to, len)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Reads one answer. Returns 200 or 429 if it is whole, and FIN follows if it says so, else 0. */
static int read_answer(int fd, uint64_t *wait_ms, bool *closes)
{
	char text[4096];
	size_t have = 0, want = 0;

	for (;;) {
		ssize_t n = recv(fd, text + have, sizeof(text) - 1 - have, 0);
		const char *end, *at;

		if (n <= 0)
			return 0;
		have += (size_t)n;
		text[have] = 0;
		end = strstr(text, "\r\n\r\n");
		if (!end)
			continue;
		at = strcasestr(text, "content-length:");
		if (!at || at > end)
			return 0;
		want = (size_t)(end + 4 - text) + strtoul(at + 15, NULL, 10);
		if (want >= sizeof(text))
			return 0;
		if (have >= want)
			break;
	}
	if (have != want)
		return 0;
	if (!strncmp(text, "HTTP/1.1 200", 12))
		return 200;
	*closes = strcasestr(text, "connection: close");
	if (strncmp(text, "HTTP/1.1 429", 12) || (*closes && recv(fd, text + have, 1, 0)))
		return 0;
	const char *wait = strcasestr(text, "retry-after-ms:");

	*wait_ms = wait ? strtoul(wait + 15, NULL, 10) : 0;
	return wait ? 429 : 0;
}

/* Sends one request on *fd, or on a new connection if *fd is -1. Closes the connection after an
 * answer that says so. Returns the status as read_answer(). */
static int send_request(struct client *c, int *fd, uint64_t *wait_ms)
{
	char text[512], body[256];
	int body_len, len, status;
	uint64_t sent, read;
	bool opened = *fd < 0, closes = false;

	if (opened)
		*fd = open_connection(c);
	body_len = snprintf(body, sizeof(body),
			    "{\"model\":\"%s\",\"messages\":[],\"max_tokens\":1}", c->model);
	len = snprintf(text, sizeof(text),
		       "POST /v1/chat/completions HTTP/1.1\r\nHost: greedy\r\n"
		       "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		       body_len, body);
	sent = now_ns();
	status = *fd >= 0 && send(*fd, text, (size_t)len, MSG_NOSIGNAL) == len
			 ? read_answer(*fd, wait_ms, &closes)
			 : 0;
	read = now_ns();
	pthread_mutex_lock(&c->lock);
	c->sent++;
	c->connections += opened;
	if (status == 200) {
		c->admitted++;
		if (!c->first_sent || sent < c->first_sent)
			c->first_sent = sent;
		if (!c->first_read || read < c->first_read)
			c->first_read = read;
		if (read > c->last_read)
			c->last_read = read;
	} else if (status == 429) {
		c->refused++;
		if (sent > c->refused_sent)
			c->refused_sent = sent;
	} else {
		c->bad++;
	}
	pthread_mutex_unlock(&c->lock);
	if ((!status || closes) && *fd >= 0) {
		close(*fd);
		*fd = -1;
	}
	return status;
}

static void storm(struct thread *t)
{
	bool anew = t->number & 1;
	uint64_t wait_ms;
	int fd = -1;

	while (now_ns() < until) {
		send_request(t->client, &fd, &wait_ms);
		if (anew && fd >= 0) {
			close(fd);
			fd = -1;
		}
	}
	if (fd >= 0)
		close(fd);
}

static void wait_as_stated(struct thread *t)
{
	struct client *c = t->client;
	int fd = -1;

	for (unsigned long i = 0; i < rounds;) {
		uint64_t wait_ms = 0, at;
		int status = send_request(c, &fd, &wait_ms);
		struct timespec when;

		if (!status)
			return; /* counted as bad */
		if (status == 200)
			continue;
		at = now_ns() + wait_ms * NSEC_PER_MSEC;
		when.tv_sec = (time_t)(at / NSEC_PER_SEC);
		when.tv_nsec = (long)(at % NSEC_PER_SEC);
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL))
			;
		i++;
		c->trials++;
		if (wait_ms > c->most_ms)
			c->most_ms = wait_ms;
		status = send_request(c, &fd, &wait_ms);
		if (status == 429)
			c->early++;
		if (rand_r(&t->seed) & 1 && fd >= 0) { /* the next request uses a new connection */
			close(fd);
			fd = -1;
		}
	}
	if (fd >= 0)
		close(fd);
}

static void *run(void *arg)
{
	struct thread *t = arg;
	cpu_set_t cpus;

	if (waiting) {
		wait_as_stated(t);
		return NULL;
	}
	CPU_ZERO(&cpus);
	CPU_SET(t->number / 2 % (unsigned)sysconf(_SC_NPROCESSORS_ONLN), &cpus);
	pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
	storm(t);
	return NULL;
}

int main(int argc, char **argv)
{
	static struct thread threads[THREADS_MAX];
	unsigned int each, seed, count = 0;
	unsigned long port;

	if (argc < 7 || (strcmp(argv[1], "storm") && strcmp(argv[1], "wait")) ||
	    argc - 6 > CLIENTS_MAX) {
		fprintf(stderr, "greedy: storm SERVER PORT SECONDS THREADS ADDRESS=MODEL...\n"
				"greedy: wait SERVER PORT ROUNDS SEED ADDRESS=MODEL...\n");
		return 2;
	}
	waiting = !strcmp(argv[1], "wait");
	port = strtoul(argv[3], NULL, 10);
	if (address_of(argv[2], (uint16_t)port, &server))
		return 2;
	rounds = strtoul(argv[4], NULL, 10);
	until = now_ns() + rounds * NSEC_PER_SEC;
	seed = (unsigned)strtoul(argv[5], NULL, 10);
	each = waiting ? 1 : seed;
	for (int i = 6; i < argc; i++) {
		struct client *c = &clients[client_count++];
		char *equals = strchr(argv[i], '=');

		if (!equals)
			return 2;
		*equals = 0;
		c->address = argv[i];
		c->model = equals + 1;
		pthread_mutex_init(&c->lock, NULL);
		if (address_of(c->address, 0, &c->from) || c->from.ss_family != server.ss_family)
			return 2;
	}
	for (unsigned int k = 0; k < each; k++)
		for (int i = 0; i < client_count && count < THREADS_MAX; i++, count++) {
			struct thread *t = &threads[count];

			/* Each client has both kinds of connections on every CPU. */
			*t = (struct thread){
				.client = &clients[i], .number = k, .seed = seed + count};
			if (pthread_create(&t->id, NULL, run, t))
				return 1;
		}
	for (unsigned int i = 0; i < count; i++)
		pthread_join(threads[i].id, NULL);
	printf("[");
	for (int i = 0; i < client_count; i++) {
		struct client *c = &clients[i];

		printf("%s\n{\"client\":\"%s\",\"model\":\"%s\",\"sent\":%lu,\"admitted\":%lu,\"refused\":%lu,"
		       "\"bad\":%lu,\"connections\":%lu,\"first_sent\":%llu,\"first_read\":%llu,"
		       "\"last_read\":%llu,\"refused_sent\":%llu,\"trials\":%lu,\"early\":%lu,\"most_ms\":%llu}",
		       i ? "," : "", c->address, c->model, c->sent, c->admitted, c->refused, c->bad,
		       c->connections, (unsigned long long)c->first_sent,
		       (unsigned long long)c->first_read, (unsigned long long)c->last_read,
		       (unsigned long long)c->refused_sent, c->trials, c->early,
		       (unsigned long long)c->most_ms);
	}
	printf("]\n");
	return 0;
}
