/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the file says of clients and of prefixes of addresses: the sections `quotas`, `priorities`
 * and `client-prefixes`. A client is named at most once in each, since nothing would say which
 * entry holds.
 */
#ifndef SLUICE_CONFIG_CLIENTS_H
#define SLUICE_CONFIG_CLIENTS_H

#include "loader.h"

extern const struct section quotas_section, priorities_section, prefixes_section;

/*
 * The quota of each client of a service, or of all services. "none" is no quota there, so that a
 * service may say it against the quota of all. 0; or -EINVAL with one line in err.
 */
int clients_read_quota(const char *text, bool *has, struct quota_def *out, char *err, size_t len);

#endif
