/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The file's sections about clients and address prefixes: `quotas`, `priorities` and
 * `client-prefixes`. Each section names a client at most once, since no rule would decide between
 * two entries.
 */
#ifndef SLUICE_CONFIG_CLIENTS_H
#define SLUICE_CONFIG_CLIENTS_H

#include "loader.h"

extern const struct section quotas_section, priorities_section, prefixes_section;

/*
 * The quota of each client of a service, or of all services. "none" means no quota: a service uses
 * it to override the quota of all. 0; or -EINVAL with one line in err.
 */
int clients_read_quota(const char *text, bool *has, struct quota_def *out, char *err, size_t len);

#endif
