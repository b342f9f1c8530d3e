/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See fleet.h. */
#include "fleet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "list.h"

#define STORE_PATH_MAX 107 /* bytes of a Unix socket's path */

const struct parse_value fleet_as_period = {
	.kind = PARSE_COUNT,
	.min = 10,
	.max = 1000,
	.allowed = "a whole number from 10 to 1000",
};
const struct parse_value fleet_as_hosts = {
	.kind = PARSE_COUNT,
	.min = 1,
	.max = 1024,
	.allowed = "a whole number from 1 to 1024",
};
const struct parse_value fleet_as_fallback = {
	.kind = PARSE_WORD,
	.words =
		(const struct parse_word[]){
			{"share", CONFIG_FALLBACK_SHARE, NULL},
			{"whole", CONFIG_FALLBACK_WHOLE, NULL},
			{NULL, 0, NULL},
		},
};

const struct parse_value fleet_as_rules = {
	.kind = PARSE_WORD,
	.words =
		(const struct parse_word[]){
			{"on", true, NULL},
			{"off", false, NULL},
			{NULL, 0, NULL},
		},
};

int fleet_take_name(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	static const char chars[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_";
	size_t n = strlen(text);

	if (!n || n > 63 || strspn(text, chars) != n)
		return field_wrong(
			err, len, text,
			"a name of 1 to 63 letters, digits, dots, hyphens and underscores");
	return field_copy(to, text, err, len);
}

/* HOST:PORT, [ADDR]:PORT */
static bool is_address(const char *text)
{
	const char *colon = strrchr(text, ':');
	unsigned long port;
	char *end;

	if (!colon || colon == text || strlen(text) > 300 || strpbrk(text, " \t/@"))
		return false;
	if (text[0] == '[' ? colon[-1] != ']' : strchr(text, ':') != colon)
		return false;
	port = strtoul(colon + 1, &end, 10);
	return colon[1] >= '1' && colon[1] <= '9' && !*end && port <= 65535;
}

int fleet_take_store(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	struct loader *l = to;
	struct config *c = &l->config;

	if (text[0] == '/' ? strlen(text) > STORE_PATH_MAX : !is_address(text))
		return field_wrong(
			err, len, text,
			"HOST:PORT, [ADDR]:PORT, nor the absolute path of a socket of at most 107 bytes");
	return list_add(l, &l->fleet_stores_from, &c->fleet_stores, &c->fleet_store_count,
			CONFIG_STORES_MAX, "stores", text, err, len);
}

/* The first quota with `fleet`; NULL: there is none. */
static const char *shared_quota(const struct loader *l)
{
	const struct config *c = &l->config;

	if (c->quota.fleet)
		return "quota";
	for (unsigned i = 0; i < c->service_count; i++)
		if (c->services[i].quota.fleet)
			return "services: quota";
	for (unsigned i = 0; i < c->model_count; i++)
		if (c->models[i].quota.fleet)
			return "models: quota";
	for (unsigned i = 0; i < c->quota_count; i++)
		if (c->quotas[i].quota.fleet)
			return "quotas";
	return NULL;
}

int fleet_finish(struct loader *l)
{
	const struct config *c = &l->config;
	const char *shared = shared_quota(l);

	if (c->fleet && !c->fleet_store_count)
		return complain(l, "fleet", "needs fleet-store, too");
	if (!c->fleet && c->fleet_store_count)
		return complain(l, "fleet-store", "needs fleet, too: the name of the fleet");
	if (!c->fleet && c->fleet_rules)
		return complain(l, "fleet-rules", "needs fleet and fleet-store, too");
	if (shared && !c->fleet)
		return complain(l, shared, "fleet=on needs fleet and fleet-store, too");
	if (c->fleet_user && !c->fleet_password_file)
		return complain(l, "fleet-user", "needs fleet-password-file, too");
	if (!c->fleet_tls_cert != !c->fleet_tls_key)
		return complain(l, c->fleet_tls_cert ? "fleet-tls-cert" : "fleet-tls-key",
				"needs %s, too",
				c->fleet_tls_cert ? "fleet-tls-key" : "fleet-tls-cert");
	if (c->fleet_tls_cert && !c->fleet_tls_ca)
		return complain(l, "fleet-tls-cert", "needs fleet-tls-ca, too");
	return 0;
}
