/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * See access.h. Of the token, only a hash is kept, and hashes are compared, in a time that does not
 * depend on the token. libmicrohttpd has one certificate for its whole life, so each session gets
 * ours in its place.
 */
#include "metrics/access.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define HASH       GNUTLS_DIG_SHA256
#define HASH_BYTES 32
#define TOKEN_MIN  16
#define TOKEN_MAX  512

struct metrics_access {
	unsigned refs;
	bool has_token, has_client_ca;
	uint8_t token[HASH_BYTES];
	gnutls_certificate_credentials_t tls; /* NULL: none */
	char **hosts;
	unsigned host_count;
};

/* Of RFC 6750; spaces and line ends after it do not count. Its length; 0: it is none. */
static size_t token_length(const char *text)
{
	static const char chars[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/";
	size_t n = strspn(text, chars);

	n += strspn(text + n, "=");
	return text[n + strspn(text + n, " \t\r\n")] || n < TOKEN_MIN || n > TOKEN_MAX ? 0 : n;
}

static int take_token(struct metrics_access *a, const char *text, char *err, size_t len)
{
	size_t n = token_length(text);

	if (!n || gnutls_hash_fast(HASH, text, n, a->token)) {
		snprintf(
			err, len,
			"metrics-token-file: it must hold one line of %d to %d letters, digits and -._~+/, such as `openssl rand -hex 32` prints",
			TOKEN_MIN, TOKEN_MAX);
		return -EINVAL;
	}
	a->has_token = true;
	return 0;
}

static gnutls_datum_t datum(const char *text)
{
	return (gnutls_datum_t){(unsigned char *)text, (unsigned)strlen(text)};
}

static int take_tls(struct metrics_access *a, const struct metrics_credentials *from, char *err,
		    size_t len)
{
	gnutls_datum_t cert = datum(from->cert), key = datum(from->key), ca;
	int ret = gnutls_certificate_allocate_credentials(&a->tls);

	if (!ret)
		ret = gnutls_certificate_set_x509_key_mem(a->tls, &cert, &key, GNUTLS_X509_FMT_PEM);
	if (ret < 0) {
		snprintf(err, len, "metrics-tls-cert, metrics-tls-key: %s", gnutls_strerror(ret));
		return -EINVAL;
	}
	if (!from->client_ca)
		return 0;
	ca = datum(from->client_ca);
	ret = gnutls_certificate_set_x509_trust_mem(a->tls, &ca, GNUTLS_X509_FMT_PEM);
	if (ret < 1) {
		snprintf(err, len, "metrics-tls-client-ca: %s",
			 ret ? gnutls_strerror(ret) : "there is no certificate in it");
		return -EINVAL;
	}
	a->has_client_ca = true;
	return 0;
}

static int take_hosts(struct metrics_access *a, const struct metrics_credentials *from, char *err,
		      size_t len)
{
	bool failed;

	a->hosts = calloc(from->host_count + 1, sizeof(*a->hosts));
	failed = !a->hosts;
	for (unsigned i = 0; i < from->host_count && !failed; i++) {
		a->hosts[i] = strdup(from->hosts[i]);
		a->host_count += a->hosts[i] != NULL;
		failed = !a->hosts[i];
	}
	if (failed)
		snprintf(err, len, "metrics: out of memory");
	return failed ? -ENOMEM : 0;
}

int metrics_access_new(struct metrics_access **out, const struct metrics_credentials *from,
		       char *err, size_t err_len)
{
	struct metrics_access *a = calloc(1, sizeof(*a));
	int ret = a ? take_hosts(a, from, err, err_len) : -ENOMEM;

	if (!a) {
		snprintf(err, err_len, "metrics: out of memory");
		return ret;
	}
	a->refs = 1;
	if (!ret && from->token)
		ret = take_token(a, from->token, err, err_len);
	if (!ret && from->cert)
		ret = take_tls(a, from, err, err_len);
	if (ret)
		metrics_access_put(a);
	else
		*out = a;
	return ret;
}

struct metrics_access *metrics_access_hold(struct metrics_access *a)
{
	a->refs++;
	return a;
}

void metrics_access_put(struct metrics_access *a)
{
	if (!a || --a->refs)
		return;
	if (a->tls)
		gnutls_certificate_free_credentials(a->tls);
	for (unsigned i = 0; i < a->host_count; i++)
		free(a->hosts[i]);
	free(a->hosts);
	free(a);
}

bool metrics_access_alike(const struct metrics_access *a, const struct metrics_access *b)
{
	return a->has_token == b->has_token && !a->tls == !b->tls &&
	       a->has_client_ca == b->has_client_ca;
}

bool metrics_access_tls(const struct metrics_access *a)
{
	return a->tls;
}

int metrics_access_begin(const struct metrics_access *a, void *session)
{
	gnutls_session_t s = session;

	if (gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, a->tls))
		return -EIO;
	/* Requested, not required: probes have none. */
	if (a->has_client_ca)
		gnutls_certificate_server_set_request(s, GNUTLS_CERT_REQUEST);
	return 0;
}

/* ---- Host ---- */

struct host {
	char name[256];
	bool brackets;
};

static bool read_host(struct host *out, const char *text)
{
	size_t len;

	out->brackets = *text == '[';
	if (out->brackets) {
		len = strcspn(++text, "]");
		if (!text[len] || (text[len + 1] && text[len + 1] != ':'))
			return false;
	} else {
		len = strcspn(text, ":");
	}
	if (len >= sizeof(out->name))
		return false;
	memcpy(out->name, text, len);
	out->name[len] = 0;
	return true;
}

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

/* An address as 16 bytes, IPv4 mapped. False: there is none. */
static bool of_socket(const struct sockaddr *from, uint8_t out[16])
{
	if (from && from->sa_family == AF_INET) {
		memcpy(out, mapped, sizeof(mapped));
		memcpy(out + 12, &((const struct sockaddr_in *)from)->sin_addr, 4);
		return true;
	}
	if (from && from->sa_family == AF_INET6) {
		memcpy(out, &((const struct sockaddr_in6 *)from)->sin6_addr, 16);
		return true;
	}
	return false;
}

static bool of_text(const struct host *host, uint8_t out[16])
{
	if (host->brackets)
		return inet_pton(AF_INET6, host->name, out) == 1;
	memcpy(out, mapped, sizeof(mapped));
	return inet_pton(AF_INET, host->name, out + 12) == 1;
}

/* True if the client is on this host, as a browser is that DNS has led to a loopback address. */
static bool is_this_host(const struct sockaddr *peer)
{
	uint8_t addr[16];

	if (!of_socket(peer, addr))
		return true;
	return IN6_IS_ADDR_LOOPBACK((struct in6_addr *)addr) ||
	       (IN6_IS_ADDR_V4MAPPED((struct in6_addr *)addr) && addr[12] == 127);
}

bool metrics_access_host(const struct metrics_access *a, const char *text,
			 const struct sockaddr *peer, const struct sockaddr *local)
{
	uint8_t given[16], own_addr[16];
	char own[256] = "";
	struct host host;

	if (!text || !*text)
		return true;
	if (!read_host(&host, text))
		return false;
	for (unsigned i = 0; i < a->host_count; i++)
		if (!strcasecmp(host.name, a->hosts[i]))
			return true;
	if (of_text(&host, given))
		return is_this_host(peer) ||
		       (of_socket(local, own_addr) && !memcmp(given, own_addr, 16));
	if (host.brackets || !is_this_host(peer))
		return false;
	gethostname(own, sizeof(own) - 1);
	return !strcasecmp(host.name, "localhost") || !strcasecmp(host.name, own);
}

/* ---- credentials ---- */

bool metrics_access_certificate(const struct metrics_access *a, void *session)
{
	gnutls_typed_vdata_st purpose = {
		.type = GNUTLS_DT_KEY_PURPOSE_OID,
		.data = (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT,
	};
	unsigned status = 1;

	if (!a->has_client_ca)
		return true;
	return session && !gnutls_certificate_verify_peers(session, &purpose, 1, &status) &&
	       !status;
}

bool metrics_access_token(const struct metrics_access *a, const char *authorization)
{
	static const char scheme[] = "Bearer ";
	uint8_t given[HASH_BYTES];
	const char *token;

	if (!a->has_token)
		return true;
	if (!authorization || strncasecmp(authorization, scheme, strlen(scheme)))
		return false;
	token = authorization + strlen(scheme);
	token += strspn(token, " ");
	return !gnutls_hash_fast(HASH, token, strlen(token), given) &&
	       !gnutls_memcmp(given, a->token, sizeof(given));
}
