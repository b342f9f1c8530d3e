/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The keys of a service that add header lines to its refusals: reply-headers, whatever the operator
 * wants, and cors, by which pages of other origins may read a refusal.
 */
#ifndef SLUICE_CONFIG_REPLY_H
#define SLUICE_CONFIG_REPLY_H

#include <stddef.h>

#include "core/service.h"
#include "field.h"

/* Parses one value of one key; `to` is the struct service_reply. 0; or -EINVAL with one line in
 * err. */
int reply_take_header(void *to, const struct field *field, const char *text, char *err,
		      size_t len); /* NAME=VALUE */
int reply_take_cors(void *to, const struct field *field, const char *text, char *err, size_t len);

/* Call it after all keys: checks that all lines fit into a refusal, and puts Origin into `rules`,
 * which is otherwise finished, if it is needed. Errors as above. */
int reply_finish(const struct service_reply *reply, struct sluice_rules *rules, char *err,
		 size_t len);

#endif
