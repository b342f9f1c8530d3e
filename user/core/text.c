/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The names of abi.h's numbers. The list that defines an enum also fills its table of texts, so a
 * new reason cannot lack its text.
 */
#include "core/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t v4_mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static const char *word(const char *const *words, size_t count, unsigned i)
{
	return i < count ? words[i] : "unknown";
}
#define WORD(words, i) word(words, sizeof(words) / sizeof((words)[0]), i)

const char *text_reason(unsigned reason)
{
	static const char *const words[] = {
#define X(reason, name, of_model, of_server) name,
		SLUICE_REASONS(X)
#undef X
	};

	return WORD(words, reason);
}

const char *text_counter(unsigned counter)
{
	static const char *const words[] = {
#define X(name, text) text,
		SLUICE_COUNTERS(X)
#undef X
	};

	return WORD(words, counter);
}

const char *text_verdict(unsigned verdict)
{
	static const char *const words[] = {"admitted", "rejected", "shadow_rejected"};

	return WORD(words, verdict);
}

const char *text_protocol(unsigned protocol)
{
	static const char *const words[] = {"http", "opaque"};

	return WORD(words, protocol);
}

const char *text_action(unsigned action)
{
	static const char *const words[] = {"default", "reply", "reset", "drop"};

	return WORD(words, action);
}

const char *text_mode(unsigned mode)
{
	static const char *const words[] = {"default", "enforce", "shadow"};

	return WORD(words, mode);
}

void text_address(char *out, size_t len, const uint8_t addr[16])
{
	char text[INET6_ADDRSTRLEN];

	if (!memcmp(addr, v4_mapped, sizeof(v4_mapped)))
		inet_ntop(AF_INET, addr + 12, text, sizeof(text));
	else
		inet_ntop(AF_INET6, addr, text, sizeof(text));
	snprintf(out, len, "%s", text);
}

static void network(char out[TEXT_CLIENT_MAX], const uint8_t addr[16], unsigned plen)
{
	bool v4 = plen >= 96 && !memcmp(addr, v4_mapped, sizeof(v4_mapped));
	char text[INET6_ADDRSTRLEN];

	if (v4)
		text_address(text, sizeof(text), addr);
	else
		inet_ntop(AF_INET6, addr, text, sizeof(text));
	if (plen >= 128)
		snprintf(out, TEXT_CLIENT_MAX, v4 ? "%s" : "%s/128", text);
	else
		snprintf(out, TEXT_CLIENT_MAX, "%s/%u", text, v4 ? plen - 96 : plen);
}

void text_client(char out[TEXT_CLIENT_MAX], const struct sluice_client *client)
{
	const uint8_t *a = client->addr;

	if (client->kind == SLUICE_CLIENT_KEY)
		snprintf(out, TEXT_CLIENT_MAX, "key:%02x%02x%02x%02x%02x%02x%02x%02x", a[0], a[1],
			 a[2], a[3], a[4], a[5], a[6], a[7]);
	else
		network(out, a, client->plen);
}

void text_prefix(char out[TEXT_CLIENT_MAX], const struct sluice_prefix_key *prefix)
{
	network(out, prefix->addr, prefix->plen);
}

unsigned text_weight_hundredths(uint16_t weight)
{
	return weight ? (weight * 100U + SLUICE_WEIGHT_ONE / 2) / SLUICE_WEIGHT_ONE : 100;
}

void text_weight(char out[TEXT_WEIGHT_MAX], uint16_t weight)
{
	snprintf(out, TEXT_WEIGHT_MAX, "%.5g", text_weight_hundredths(weight) / 100.0);
}

void text_endpoint(char out[TEXT_SERVICE_MAX], const uint8_t addr[16], bool wildcard, uint16_t port)
{
	char text[INET6_ADDRSTRLEN];

	if (wildcard && memcmp(addr, v4_mapped, sizeof(v4_mapped))) {
		snprintf(out, TEXT_SERVICE_MAX, "*:%u", port);
		return;
	}
	text_address(text, sizeof(text), addr);
	snprintf(out, TEXT_SERVICE_MAX, strchr(text, ':') ? "[%s]:%u" : "%s:%u", text, port);
}

void text_mask(uint8_t addr[16], unsigned plen)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned keep = plen > i * 8 ? plen - i * 8 : 0;

		if (keep < 8)
			addr[i] &= (uint8_t)(0xff00 >> keep);
	}
}

int text_parse_network(const char *text, struct text_network *out)
{
	struct text_network net = {.plen = 128};
	const char *slash = strchr(text, '/');
	char host[INET6_ADDRSTRLEN + 1];
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	unsigned typed = 0;

	if (!len || len >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = 0;
	if (slash) {
		const char *p = slash + 1;

		for (; *p >= '0' && *p <= '9' && p - slash <= 3; p++)
			typed = typed * 10 + (unsigned)(*p - '0');
		if (*p || p == slash + 1)
			return -EINVAL;
		net.has_plen = true;
	}
	if (inet_pton(AF_INET, host, net.addr + 12) == 1) {
		memcpy(net.addr, v4_mapped, sizeof(v4_mapped));
		if (typed > 32)
			return -EINVAL;
		net.v4 = true;
		if (slash)
			net.plen = (uint8_t)(96 + typed);
	} else if (inet_pton(AF_INET6, host, net.addr) == 1) {
		if (typed > 128)
			return -EINVAL;
		if (slash)
			net.plen = (uint8_t)typed;
		net.v4 = net.plen >= 96 && !memcmp(net.addr, v4_mapped, sizeof(v4_mapped));
	} else {
		return -EINVAL;
	}
	text_mask(net.addr, net.plen);
	*out = net;
	return 0;
}

static int parse_key(const char *hex, struct sluice_client *out)
{
	struct sluice_client key = {.kind = SLUICE_CLIENT_KEY};

	if (strlen(hex) != 16)
		return -EINVAL;
	for (unsigned i = 0; i < 16; i++) {
		char c = hex[i];
		unsigned digit;

		if (c >= '0' && c <= '9')
			digit = (unsigned)(c - '0');
		else if (c >= 'a' && c <= 'f')
			digit = (unsigned)(c - 'a') + 10;
		else if (c >= 'A' && c <= 'F')
			digit = (unsigned)(c - 'A') + 10;
		else
			return -EINVAL;
		key.addr[i / 2] = (uint8_t)(key.addr[i / 2] << 4 | digit);
	}
	*out = key;
	return 0;
}

int text_parse_subject(const char *text, struct text_subject *out)
{
	struct text_subject s = {0};
	struct text_network net;

	if (!strncmp(text, "key:", 4)) {
		if (parse_key(text + 4, &s.client))
			return -EINVAL;
		s.one = true;
		*out = s;
		return 0;
	}
	if (text_parse_network(text, &net))
		return -EINVAL;
	memcpy(s.addr, net.addr, sizeof(s.addr));
	s.one = net.v4 ? net.plen == 128 : !net.has_plen || net.plen == 64;
	if (!net.v4 && !net.has_plen) {
		net.plen = 64;
		text_mask(net.addr, net.plen);
		s.note = "an IPv6 client is its /64; name a /128 for the one address";
	}
	memcpy(s.client.addr, net.addr, sizeof(s.client.addr));
	s.client.plen = net.plen;
	memcpy(s.prefix.addr, net.addr, sizeof(s.prefix.addr));
	s.prefix.plen = net.plen;
	*out = s;
	return 0;
}
