/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The keys of a service that identify its clients (identity, client-prefix-v4, client-prefix-v6,
 * trusted-proxies, proxy-protocol). By default a client is its address. A client could invent
 * identities through a key that the server does not check, or a header that any client may write.
 * So sluice uses neither unless the operator configures it.
 */
#ifndef SLUICE_CONFIG_IDENTITY_H
#define SLUICE_CONFIG_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>
#include "core/service.h"
#include "field.h"

/* The keys of one service that are read so far. All zero: none. */
struct identity_entry {
	struct identity said;
	char key[HTTP1_KEYS_MAX][HTTP1_TOKEN_MAX]; /* headers that may hold an API key */
	unsigned key_count;
	char forwarded[HTTP1_TOKEN_MAX]; /* header of forwarded addresses */
	bool address, has_plen4, has_plen6;
};

/* A header's name in lower case. False, with out zeroed: no valid name, or a header that the kernel
 * reads for its own meaning. */
bool identity_header_name(const char *text, char out[HTTP1_TOKEN_MAX]);

extern const struct parse_value identity_as_proxy; /* on, off */

/* Parses one value of one key; `to` is the struct identity_entry. 0; or -EINVAL with one line in
 * err. */
int identity_take_source(void *to, const struct field *field, const char *text, char *err,
			 size_t len);
int identity_take_trusted(void *to, const struct field *field, const char *text, char *err,
			  size_t len);
/* The leading bits of an address; `to` is a uint8_t, field->argument the most that are allowed. */
int identity_take_bits(void *to, const struct field *field, const char *text, char *err,
		       size_t len);

/* Whether a source is part of the request, which only protocol http reads. */
bool identity_is_of_requests(const struct identity_entry *e);

/* Call it after all keys: adds defaults and puts the headers into `rules`, which is otherwise
 * finished. Errors as above. */
int identity_finish(const struct identity_entry *e, struct identity *out,
		    struct sluice_rules *rules, char *err, size_t len);

#endif
