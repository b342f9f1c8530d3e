/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See identity.h. The kernel tries the sources in the order of the list; `address` always
 * matches. */
#include "identity.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/text.h"

const struct parse_value identity_as_proxy = {
	.kind = PARSE_WORD,
	.words =
		(const struct parse_word[]){
			{"on", 1, NULL},
			{"off", 0, NULL},
			{NULL, 0, NULL},
		},
};

/* Headers that the kernel reads for their own meaning. */
static const char *const other_headers[] = {
	"content-length", "transfer-encoding", "content-encoding", "connection", "upgrade",
	"expect",         "forwarded",         "x-forwarded-for",
};

bool identity_header_name(const char *text, char out[HTTP1_TOKEN_MAX])
{
	char name[HTTP1_TOKEN_MAX] = "";
	size_t n = strlen(text);

	memset(out, 0, HTTP1_TOKEN_MAX);
	if (!n || n >= HTTP1_TOKEN_MAX)
		return false;
	for (size_t i = 0; i < sizeof(other_headers) / sizeof(other_headers[0]); i++)
		if (!strcasecmp(text, other_headers[i]))
			return false;
	for (size_t i = 0; i < n; i++) {
		if (!isascii((unsigned char)text[i]) ||
		    (!isalnum((unsigned char)text[i]) && !strchr("-_", text[i])))
			return false;
		name[i] = (char)tolower((unsigned char)text[i]);
	}
	memcpy(out, name, sizeof(name));
	return true;
}

static int take_key(struct identity_entry *e, const char *name, const char *text, char *err,
		    size_t len)
{
	char header[HTTP1_TOKEN_MAX];

	if (!identity_header_name(name, header))
		return field_wrong(
			err, len, text,
			"header:NAME of a header that may hold a key: 1 to 31 letters, digits, - and _, like header:X-My-Key");
	for (unsigned i = 0; i < e->key_count; i++)
		if (!strcmp(e->key[i], header)) {
			parse_say(err, len, "\"%s\" is given twice", text);
			return -EINVAL;
		}
	if (e->key_count == HTTP1_KEYS_MAX) {
		parse_say(err, len, "more than %u headers that hold a key", HTTP1_KEYS_MAX);
		return -EINVAL;
	}
	memcpy(e->key[e->key_count++], header, sizeof(header));
	return 0;
}

int identity_take_source(void *to, const struct field *field, const char *text, char *err,
			 size_t len)
{
	struct identity_entry *e = to;

	if (e->address) {
		parse_say(err, len,
			  "\"" PARSE_QUOTE "\" comes after address, which every request has",
			  PARSE_QUOTED(text));
		return -EINVAL;
	}
	if (!strcmp(text, "address")) {
		e->address = true;
		return 0;
	}
	if (!strcmp(text, "forwarded") || !strcmp(text, "x-forwarded-for")) {
		if (e->said.forwarded_at) {
			parse_say(
				err, len,
				"only one of forwarded and x-forwarded-for, the one that the proxies write: the other is any client's word");
			return -EINVAL;
		}
		strcpy(e->forwarded, text);
		e->said.forwarded_at = (uint8_t)(e->key_count + 1);
		return 0;
	}
	if (!strcmp(text, "authorization") || !strcmp(text, "x-api-key"))
		return take_key(e, text, text, err, len);
	if (!strncmp(text, "header:", 7))
		return take_key(e, text + 7, text, err, len);
	return field_wrong(
		err, len, text,
		"one of authorization, x-api-key, header:NAME, forwarded, x-forwarded-for, address");
}

int identity_take_bits(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	unsigned most = (unsigned)field->argument;
	unsigned long n = strlen(text) <= 3 ? strtoul(text, NULL, 10) : 0;

	if (!*text || strspn(text, "0123456789") != strlen(text) || n < 1 || n > most) {
		parse_say(err, len, "\"" PARSE_QUOTE "\" is not a number of bits, 1 to %u",
			  PARSE_QUOTED(text), most);
		return -EINVAL;
	}
	*(uint8_t *)to = (uint8_t)n;
	return 0;
}

int identity_take_trusted(void *to, const struct field *field, const char *text, char *err,
			  size_t len)
{
	struct identity_entry *e = to;
	struct text_network network;
	struct sluice_prefix_key key = {0};

	if (text_parse_network(text, &network))
		return field_wrong(err, len, text,
				   "an address or a prefix, like 10.0.0.1, 10.0.0.0/8 or fd00::/8");
	key.plen = network.plen;
	memcpy(key.addr, network.addr, sizeof(key.addr));
	for (unsigned i = 0; i < e->said.trusted_count; i++)
		if (!memcmp(&e->said.trusted[i], &key, sizeof(key))) {
			parse_say(err, len, "\"%s\" is given twice", text);
			return -EINVAL;
		}
	if (e->said.trusted_count == SLUICE_TRUSTED_MAX) {
		parse_say(err, len, "more than %u prefixes", SLUICE_TRUSTED_MAX);
		return -EINVAL;
	}
	e->said.trusted[e->said.trusted_count++] = key;
	return 0;
}

bool identity_is_of_requests(const struct identity_entry *e)
{
	return e->key_count || e->said.forwarded_at || e->said.proxy;
}

int identity_finish(const struct identity_entry *e, struct identity *out,
		    struct sluice_rules *rules, char *err, size_t len)
{
	struct identity id = e->said;
	bool requests_of = id.forwarded_at || id.proxy;

	if (requests_of && !id.trusted_count) {
		parse_say(err, len, "%s needs trusted-proxies: the peers that may name a client",
			  id.proxy ? "proxy-protocol" : e->forwarded);
		return -EINVAL;
	}
	if (!requests_of && id.trusted_count) {
		parse_say(
			err, len,
			"trusted-proxies is given, but neither proxy-protocol nor forwarded or x-forwarded-for in identity");
		return -EINVAL;
	}
	for (unsigned i = 0; i < e->key_count; i++)
		if (!strcmp(e->key[i], rules->header)) {
			parse_say(err, len, "\"%s\" holds a key, so it cannot be model-header",
				  e->key[i]);
			return -EINVAL;
		}
	if (id.forwarded_at && !strcmp(e->forwarded, rules->header)) {
		parse_say(err, len, "\"%s\" is in identity, so it cannot be model-header",
			  e->forwarded);
		return -EINVAL;
	}
	if (!e->has_plen4)
		id.plen4 = 32;
	if (!e->has_plen6)
		id.plen6 = 64;
	memcpy(rules->key, e->key, sizeof(rules->key));
	memcpy(rules->forwarded, e->forwarded, sizeof(rules->forwarded));
	*out = id;
	return 0;
}
