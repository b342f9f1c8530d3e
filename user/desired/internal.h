/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the files of user/desired share: the kinds of the state's tables. */
#ifndef SLUICE_DESIRED_INTERNAL_H
#define SLUICE_DESIRED_INTERNAL_H

#include "desired/desired.h"

extern const struct table_kind desired_rules, desired_client_ids, desired_model_ids,
	desired_weighted_ids, desired_prefix_rules, desired_priorities;

/*
 * *out, not initialised, becomes what overrides the file: the manual part, and where the fleet has
 * an entry about the same client or prefix, the stricter of the two. *overridden, not initialised,
 * becomes those of the manual part that do not hold. 0 or -ENOMEM; both are to be freed in either
 * case.
 */
int desired_overrides(struct desired_part *out, struct desired_part *overridden,
		      const struct desired_input *in);
/* Sets those fields of *into, a struct desired_prefix, that *from owns. */
void desired_merge_prefix(void *into, const void *from);

#endif
