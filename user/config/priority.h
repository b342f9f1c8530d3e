/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a service's keys say of whose requests go first (priority-header, priority-values). The
 * header is the client's word, so a class above normal by it is for services whose clients are
 * trusted; one below, like that of retries, is for all.
 */
#ifndef SLUICE_CONFIG_PRIORITY_H
#define SLUICE_CONFIG_PRIORITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>
#include "core/service.h"
#include "field.h"

/* The keys of one service as far as they are read. All zero: nothing said. */
struct priority_entry {
	struct priority said;
	char header[HTTP1_TOKEN_MAX]; /* in lower case; "": none */
};

/* One value of one key; `to` is the struct priority_entry. 0; or -EINVAL with one line in err. */
int priority_take_header(void *to, const struct field *field, const char *text, char *err,
			 size_t len);
int priority_take_value(void *to, const struct field *field, const char *text, char *err,
			size_t len); /* VALUE=CLASS */

/* All keys are in: `rules`, finished but for this, gets the header. Likewise. */
int priority_finish(const struct priority_entry *e, struct priority *out,
		    struct sluice_rules *rules, char *err, size_t len);

#endif
