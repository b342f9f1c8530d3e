/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Bytes over a socket, plain or by GnuTLS. The server's certificate must be of a known authority
 * and have the name that the address was written with. Nothing waits: what cannot go on is tried
 * again when the socket is ready.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "fleet/internal.h"

struct store_tls {
	gnutls_certificate_credentials_t files;
};

int store_tls_new(struct store_tls **out, const char *ca, const char *cert, const char *key,
		  char *err, size_t len)
{
	struct store_tls *tls;
	int result;

	*out = NULL;
	if (!ca) {
		if (!cert && !key)
			return 0;
		snprintf(err, len, "the store's certificate and key need its ca, too");
		return -EINVAL;
	}
	if (!cert != !key) {
		snprintf(err, len,
			 "the store's certificate needs its key, and the key its certificate");
		return -EINVAL;
	}
	tls = calloc(1, sizeof(*tls));
	if (!tls || gnutls_certificate_allocate_credentials(&tls->files)) {
		free(tls);
		snprintf(err, len, "out of memory");
		return -ENOMEM;
	}
	result = !strcmp(ca, "system") ? gnutls_certificate_set_x509_system_trust(tls->files)
				       : gnutls_certificate_set_x509_trust_file(
						 tls->files, ca, GNUTLS_X509_FMT_PEM);
	if (result <= 0) {
		snprintf(err, len, "%s has no certificate of an authority: %s", ca,
			 result ? gnutls_strerror(result) : "it is empty");
		goto bad;
	}
	if (cert) {
		result = gnutls_certificate_set_x509_key_file(tls->files, cert, key,
							      GNUTLS_X509_FMT_PEM);
		if (result < 0) {
			snprintf(err, len, "%s and %s are no certificate and its key: %s", cert,
				 key, gnutls_strerror(result));
			goto bad;
		}
	}
	*out = tls;
	return 0;
bad:
	store_tls_free(tls);
	return -EINVAL;
}

void store_tls_free(struct store_tls *tls)
{
	if (!tls)
		return;
	gnutls_certificate_free_credentials(tls->files);
	free(tls);
}

static int fail(struct store_link *link, const char *what, const char *why)
{
	snprintf(link->why, sizeof(link->why), "%s%s%s", what, why[0] ? ": " : "", why);
	return -EIO;
}

int store_link_begin(struct store_link *link, struct store_tls *tls, int fd, const char *host)
{
	gnutls_session_t session;
	uint8_t addr[16];

	*link = (struct store_link){.fd = fd};
	if (!tls)
		return 0;
	if (gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL))
		return fail(link, "TLS does not start", "");
	link->session = session;
	gnutls_set_default_priority(session);
	gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, tls->files);
	/* An address is no server name in the handshake; a certificate may have one. */
	if (inet_pton(AF_INET, host, addr) != 1 && inet_pton(AF_INET6, host, addr) != 1)
		gnutls_server_name_set(session, GNUTLS_NAME_DNS, host, strlen(host));
	gnutls_session_set_verify_cert(session, host, 0);
	gnutls_transport_set_int(session, fd);
	return 0;
}

static int bad_certificate(struct store_link *link)
{
	gnutls_session_t session = link->session;
	unsigned status = gnutls_session_get_verify_cert_status(session);
	gnutls_datum_t text;

	if (gnutls_certificate_verification_status_print(
		    status, gnutls_certificate_type_get(session), &text, 0))
		return fail(link, "the store's certificate is not good", "");
	fail(link, "the store's certificate is not good", (const char *)text.data);
	gnutls_free(text.data);
	return -EIO;
}

static int tls_result(struct store_link *link, const char *what, int result)
{
	if (result == GNUTLS_E_AGAIN || result == GNUTLS_E_INTERRUPTED) {
		link->wants_write = gnutls_record_get_direction(link->session);
		return -EAGAIN;
	}
	if (result == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR)
		return bad_certificate(link);
	return fail(link, what, gnutls_strerror(result));
}

int store_link_handshake(struct store_link *link)
{
	int result;

	if (!link->session || link->secured)
		return 0;
	do { /* the server's warnings end it no more than they end the handshake */
		result = gnutls_handshake(link->session);
	} while (result < 0 && result != GNUTLS_E_AGAIN && result != GNUTLS_E_INTERRUPTED &&
		 !gnutls_error_is_fatal(result));
	if (result < 0)
		return tls_result(link, "the store's TLS handshake fails", result);
	link->secured = true;
	link->wants_write = false;
	return 0;
}

ssize_t store_link_read(struct store_link *link, void *buf, size_t len)
{
	ssize_t got;

	if (link->session) {
		got = gnutls_record_recv(link->session, buf, len);
		if (got == GNUTLS_E_PREMATURE_TERMINATION)
			return 0;
		return got >= 0 ? got : tls_result(link, "the store's connection fails", (int)got);
	}
	got = recv(link->fd, buf, len, 0);
	if (got >= 0)
		return got;
	if (errno == EAGAIN || errno == EINTR)
		return -EAGAIN;
	return fail(link, "the store's connection fails", strerror(errno));
}

ssize_t store_link_write(struct store_link *link, const void *buf, size_t len)
{
	ssize_t sent;

	link->wants_write = false;
	if (link->session) {
		sent = gnutls_record_send(link->session, buf, len);
		return sent >= 0 ? sent
				 : tls_result(link, "the store's connection fails", (int)sent);
	}
	sent = send(link->fd, buf, len, MSG_NOSIGNAL);
	if (sent >= 0)
		return sent;
	if (errno == EAGAIN || errno == EINTR) {
		link->wants_write = true;
		return -EAGAIN;
	}
	return fail(link, "the store's connection fails", strerror(errno));
}

void store_link_end(struct store_link *link)
{
	if (link->session) {
		gnutls_deinit(link->session); /* without a farewell, which might have to wait */
		link->session = NULL;
	}
	if (link->fd >= 0)
		close(link->fd);
	link->fd = -1;
}
