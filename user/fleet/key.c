/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The store's keys of budgets, which hosts share if they have the same quota: sync.h. */
#include <string.h>

#include "core/fleet.h"
#include "fleet/sync.h"

static uint64_t mix(uint64_t hash, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * 1099511628211ULL;
	return hash;
}

uint64_t sync_fingerprint(const struct sluice_quota_text *text)
{
	const uint64_t numbers[] = {text->requests, text->request_period_ns, text->request_burst,
				    text->tokens,   text->token_period_ns,   text->token_burst};
	const char *name = fleet_quota_name(text);
	uint64_t hash = 14695981039346656037ULL;

	hash = mix(hash, numbers, sizeof(numbers));
	hash = mix(hash, &text->scope, sizeof(text->scope));
	hash = mix(hash, name, strlen(name));
	return hash ? hash : 1;
}

static const char hex[] = "0123456789abcdef";

static char *write_hex(char *out, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		*out++ = hex[bytes[i] >> 4];
		*out++ = hex[bytes[i] & 15];
	}
	return out;
}

static const char *read_hex(const char *text, uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		const char *high = *text ? strchr(hex, text[0]) : NULL;
		const char *low = high && text[1] ? strchr(hex, text[1]) : NULL;

		if (!low)
			return NULL;
		bytes[i] = (uint8_t)((high - hex) << 4 | (low - hex));
		text += 2;
	}
	return text;
}

void sync_key(char out[STORE_KEY_MAX], uint64_t fingerprint, bool tokens,
	      const struct sluice_client *client)
{
	const uint8_t head[2] = {client->kind, client->plen};
	uint8_t bytes[8];

	for (unsigned i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(fingerprint >> (56 - 8 * i));
	out = write_hex(out, bytes, sizeof(bytes));
	*out++ = ':';
	*out++ = tokens ? 't' : 'r';
	*out++ = ':';
	out = write_hex(out, head, sizeof(head));
	out = write_hex(out, client->addr, sizeof(client->addr));
	*out = 0;
}

int sync_read_key(const char *text, uint64_t *fingerprint, bool *tokens,
		  struct sluice_client *client)
{
	uint8_t bytes[8], head[2];

	text = read_hex(text, bytes, sizeof(bytes));
	if (!text || text[0] != ':' || (text[1] != 't' && text[1] != 'r') || text[2] != ':')
		return -1;
	*tokens = text[1] == 't';
	*fingerprint = 0;
	for (unsigned i = 0; i < 8; i++)
		*fingerprint = *fingerprint << 8 | bytes[i];
	memset(client, 0, sizeof(*client));
	text = read_hex(text + 3, head, sizeof(head));
	if (text)
		text = read_hex(text, client->addr, sizeof(client->addr));
	client->kind = head[0];
	client->plen = head[1];
	return text && !*text && client->kind <= SLUICE_CLIENT_KEY && client->plen <= 128 ? 0 : -1;
}
