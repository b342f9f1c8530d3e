/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a service's keys say of who its clients are (identity, client-prefix-v4, client-prefix-v6,
 * trusted-proxies, proxy-protocol). Nothing said: a client is its address. A key that the server
 * does not check, or a header that any client could have written, would be an invitation to make up
 * clients, so neither is taken without being asked for.
 */
#ifndef SLUICE_CONFIG_IDENTITY_H
#define SLUICE_CONFIG_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>
#include "core/service.h"
#include "field.h"

/* The keys of one service as far as they are read. All zero: nothing said. */
struct identity_entry {
	struct identity said;
	char key[HTTP1_KEYS_MAX][HTTP1_TOKEN_MAX]; /* headers that may hold one */
	unsigned key_count;
	char forwarded[HTTP1_TOKEN_MAX]; /* header of forwarded addresses */
	bool address, has_plen4, has_plen6;
};

/* A header's name in lower case; false, out zeroed: it is none, or one that the kernel reads for
 * what it says itself. */
bool identity_header_name(const char *text, char out[HTTP1_TOKEN_MAX]);

extern const struct parse_value identity_as_proxy; /* on, off */

/* One value of one key; `to` is the struct identity_entry. 0; or -EINVAL with one line in err. */
int identity_take_source(void *to, const struct field *field, const char *text, char *err,
			 size_t len);
int identity_take_trusted(void *to, const struct field *field, const char *text, char *err,
			  size_t len);
/* The leading bits of an address; `to` is a uint8_t, the argument how many there are. */
int identity_take_bits(void *to, const struct field *field, const char *text, char *err,
		       size_t len);

/* Something of it stands in requests, which only protocol http sees. */
bool identity_is_of_requests(const struct identity_entry *e);

/* All keys are in: defaults are added, and `rules`, finished, gets the headers. Likewise. */
int identity_finish(const struct identity_entry *e, struct identity *out,
		    struct sluice_rules *rules, char *err, size_t len);

#endif
