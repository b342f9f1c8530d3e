/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The keys of a service that set the class of its requests (priority-header, priority-values). The
 * client writes the header, so a header that gives a class above normal is for services with
 * trusted clients. A class below normal, like that of retries, is safe for all.
 */
#ifndef SLUICE_CONFIG_PRIORITY_H
#define SLUICE_CONFIG_PRIORITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>
#include "core/service.h"
#include "field.h"

/* The keys of one service that are read so far. All zero: none. */
struct priority_entry {
	struct priority said;
	char header[HTTP1_TOKEN_MAX]; /* in lower case; "": none */
};

/* Parses one value of one key; `to` is the struct priority_entry. 0; or -EINVAL with one line in
 * err. */
int priority_take_header(void *to, const struct field *field, const char *text, char *err,
			 size_t len);
int priority_take_value(void *to, const struct field *field, const char *text, char *err,
			size_t len); /* VALUE=CLASS */

/* Call it after all keys: puts the header into `rules`, which is otherwise finished. Errors as
 * above. */
int priority_finish(const struct priority_entry *e, struct priority *out,
		    struct sluice_rules *rules, char *err, size_t len);

#endif
