/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who may read the pages: what a client must show, and by which names it may call the server. A
 * connection holds a reference, so that a reload takes nothing away under it.
 */
#ifndef SLUICE_METRICS_ACCESS_H
#define SLUICE_METRICS_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

struct metrics_access;

/* Contents of files, NULL: not required. What is given is required, all of it. */
struct metrics_credentials {
	const char *token;      /* one line */
	const char *cert, *key; /* PEM, both or none: TLS */
	const char *client_ca;  /* PEM, with TLS only */
	char *const *hosts;     /* names and addresses */
	unsigned host_count;
};

/* -EINVAL with a sentence in err that begins with the setting. */
int metrics_access_new(struct metrics_access **out, const struct metrics_credentials *from,
		       char *err, size_t err_len);
struct metrics_access *metrics_access_hold(struct metrics_access *a);
void metrics_access_put(struct metrics_access *a);
/* Whether both require the same things, whatever their values. */
bool metrics_access_alike(const struct metrics_access *a, const struct metrics_access *b);

bool metrics_access_tls(const struct metrics_access *a);
/* Prepares a session of TLS (gnutls_session_t) before its handshake. -EIO: it cannot. */
int metrics_access_begin(const struct metrics_access *a, void *session);

/*
 * True if a request with this Host (NULL: none) is for us. From this host to itself: any address,
 * localhost and this host's name. Else: the address that the connection came to. Always: the
 * configured names. A browser that a page has led here by DNS sends the page's own name.
 */
bool metrics_access_host(const struct metrics_access *a, const char *host,
			 const struct sockaddr *peer, const struct sockaddr *local);
/* True if a session (NULL: no TLS) has shown a certificate, if one is required, … */
bool metrics_access_certificate(const struct metrics_access *a, void *session);
/* … and the value of Authorization (NULL: none) the token, if one is required. */
bool metrics_access_token(const struct metrics_access *a, const char *authorization);

#endif
