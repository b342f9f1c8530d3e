/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sends probes to a server with an OpenAI-compatible chat API, and times what comes. The scanners
 * of include/sluice frame and classify the responses, so a token here is a token of sluiced.
 * Nothing that the server sends is trusted: bytes, events and times are bounded.
 */
#ifndef SLUICE_CALIBRATE_CLIENT_H
#define SLUICE_CALIBRATE_CLIENT_H

#include <stdint.h>
#include <sys/socket.h>

#include "calibrate/probe.h"
#include "sim/random.h"

struct client {
	const char *server, *model; /* not copied */
	struct sockaddr_storage address;
	socklen_t address_len;
	uint64_t idle_ns;  /* an error if the server sends nothing for as long */
	uint64_t until_ns; /* CLOCK_MONOTONIC: no probe goes on after it */
	struct chance words;
	char error[512]; /* the reason of the last error, one line, printable */
};

/* Finds the address of "HOST:PORT" or "[V6]:PORT". 0; or -EINVAL and the reason in c->error. */
int client_open(struct client *c, const char *server, const char *model);
/* A player: struct player says what it returns. -EPROTO: the server did something else. */
int client_play(void *client, struct probe *probes, uint32_t count);

#endif
