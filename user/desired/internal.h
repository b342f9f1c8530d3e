/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the files of user/desired share: the kinds of the state's tables. */
#ifndef SLUICE_DESIRED_INTERNAL_H
#define SLUICE_DESIRED_INTERNAL_H

#include "desired/desired.h"

extern const struct table_kind desired_rules, desired_client_ids, desired_model_ids,
	desired_weighted_ids, desired_prefix_rules, desired_priorities;

/* Sets those fields of *into, a struct desired_prefix, that *from owns. */
void desired_merge_prefix(void *into, const void *from);

#endif
