/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The names of the numbers in abi.h: one text for each reason, verdict, action, mode, protocol and
 * counter, and one way to write and read addresses, prefixes and clients. The control protocol, the
 * metrics and the CLI all use these, so that a thing has the same name wherever an operator meets
 * it.
 */
#ifndef SLUICE_TEXT_H
#define SLUICE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>

#define TEXT_CLIENT_MAX  64 /* "ffff:…/128" and its zero */
#define TEXT_WEIGHT_MAX  32 /* "254.75" and its zero; the rest satisfies -Wformat-truncation */
#define TEXT_SERVICE_MAX 64 /* "[ffff:…]:65535" and its zero */

/* Never NULL; a number that has no name is "unknown". */
const char *text_reason(unsigned reason);
const char *text_verdict(unsigned verdict);
const char *text_protocol(unsigned protocol);
const char *text_action(unsigned action);
const char *text_mode(unsigned mode);
const char *text_counter(unsigned counter);

/* "192.0.2.1" (also for ::ffff:192.0.2.1) or "2001:db8::1". */
void text_address(char *out, size_t len, const uint8_t addr[16]);
/* "192.0.2.1", "10.0.0.0/8", "2001:db8::/64", or "key:" and 16 hex digits. */
void text_client(char out[TEXT_CLIENT_MAX], const struct sluice_client *client);
void text_prefix(char out[TEXT_CLIENT_MAX], const struct sluice_prefix_key *prefix);
/* A weight as it was written (parse.h): "0.5", "2". Zero is the default weight: "1". */
void text_weight(char out[TEXT_WEIGHT_MAX], uint16_t weight);
/* A weight in hundredths, always a whole number of them. */
unsigned text_weight_hundredths(uint16_t weight);
/* "*:8000", "0.0.0.0:8000" (all IPv4 addresses), "192.0.2.1:8000", "[2001:db8::1]:8000"; port in
 * host order. */
void text_endpoint(char out[TEXT_SERVICE_MAX], const uint8_t addr[16], bool wildcard,
		   uint16_t port);

/* An address or a prefix as an operator typed it. Host bits after plen are zero. */
struct text_network {
	uint8_t addr[16];
	uint8_t plen; /* of the 128 bits; an IPv4 /24 is 120 */
	bool v4;
	bool has_plen; /* it was typed with a /length */
};
/* 0; -EINVAL: neither an address nor a prefix. */
int text_parse_network(const char *text, struct text_network *out);

/*
 * CLIENT as an operator typed it: an address, a prefix, or key:ID. A whole IPv4 address, an IPv6
 * /64 or a key is one client; anything else is a prefix.
 */
struct text_subject {
	bool one;
	struct sluice_client client;     /* of a prefix too, for printing */
	struct sluice_prefix_key prefix; /* all zero for a key */
	uint8_t addr[16];                /* the address as typed, not masked */
	const char *note;                /* how the text was understood, if not as typed; NULL */
};
/* 0; -EINVAL: none of them. */
int text_parse_subject(const char *text, struct text_subject *out);

/* Clears the bits of addr after the first plen (0 … 128). */
void text_mask(uint8_t addr[16], unsigned plen);

#endif
