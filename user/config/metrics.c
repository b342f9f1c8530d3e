/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See metrics.h. */
#include "metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "endpoint.h"

int metrics_take_address(void *to, const struct field *field, const char *text, char *err,
			 size_t len)
{
	struct config *c = to;
	char addr[INET6_ADDRSTRLEN + 1];
	uint8_t bytes[16];
	uint16_t port;

	if (!strcmp(text, "off")) {
		free(c->metrics_addr);
		c->metrics_addr = NULL;
		c->metrics_port = 0;
		return 0;
	}
	if (endpoint_split(text, addr, sizeof(addr), &port) < 0 ||
	    endpoint_address(addr, bytes) < 0)
		return field_wrong(err, len, text,
				   "ADDR:PORT, like 127.0.0.1:9464 or [::1]:9464, nor off");
	c->metrics_port = port;
	return field_copy(&c->metrics_addr, addr, err, len);
}

void metrics_clear_hosts(struct config *config)
{
	for (unsigned i = 0; i < config->metrics_host_count; i++)
		free(config->metrics_hosts[i]);
	memset(config->metrics_hosts, 0, sizeof(config->metrics_hosts));
	config->metrics_host_count = 0;
}

static bool is_host(const char *text)
{
	static const char chars[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_";
	uint8_t addr[16];
	size_t n = strlen(text);

	return (n && n <= 253 && strspn(text, chars) == n) || !endpoint_address(text, addr);
}

int metrics_take_host(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	struct loader *l = to;
	struct config *c = &l->config;

	if (l->metrics_hosts_from != l->source)
		metrics_clear_hosts(c);
	l->metrics_hosts_from = l->source;
	if (!is_host(text))
		return field_wrong(err, len, text, "a name or an address, without a port");
	for (unsigned i = 0; i < c->metrics_host_count; i++)
		if (!strcasecmp(c->metrics_hosts[i], text)) {
			parse_say(err, len, "\"%s\" is given twice", text);
			return -EINVAL;
		}
	if (c->metrics_host_count == CONFIG_METRICS_HOSTS_MAX) {
		parse_say(err, len, "more than %u hosts", CONFIG_METRICS_HOSTS_MAX);
		return -EINVAL;
	}
	if (field_copy(&c->metrics_hosts[c->metrics_host_count], text, err, len) < 0)
		return -EINVAL;
	c->metrics_host_count++;
	return 0;
}

/* True if no other host reaches the address. */
static bool is_loopback(const char *text)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}, one[16] = {[15] = 1};
	uint8_t addr[16];

	return !endpoint_address(text, addr) &&
	       (!memcmp(addr, one, 16) || (!memcmp(addr, mapped, 12) && addr[12] == 127));
}

int metrics_finish(struct loader *l)
{
	const struct config *c = &l->config;
	bool tls = c->metrics_tls_cert && c->metrics_tls_key;

	if (!tls && (c->metrics_tls_cert || c->metrics_tls_key))
		return complain(l, c->metrics_tls_cert ? "metrics-tls-cert" : "metrics-tls-key",
				"needs %s, too",
				c->metrics_tls_cert ? "metrics-tls-key" : "metrics-tls-cert");
	if (!tls && c->metrics_tls_client_ca)
		return complain(l, "metrics-tls-client-ca",
				"needs metrics-tls-cert and metrics-tls-key, too");
	if (c->metrics_addr && !is_loopback(c->metrics_addr) && !c->metrics_token_file &&
	    !c->metrics_tls_client_ca)
		return complain(
			l, "metrics",
			"other hosts reach %s: give metrics-token-file, or metrics-tls-cert, metrics-tls-key and metrics-tls-client-ca",
			c->metrics_addr);
	return 0;
}
