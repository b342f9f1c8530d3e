/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel looks up only the longest prefix of an address. So each prefix must hold everything
 * for its addresses: it inherits the fields that it does not set from the next shorter prefix
 * around it.
 */
#include <string.h>

#include "core/text.h"
#include "desired/internal.h"

static bool covers(const struct sluice_prefix_key *wide, const struct sluice_prefix_key *narrow)
{
	uint8_t addr[16];

	if (wide->plen > narrow->plen)
		return false;
	memcpy(addr, narrow->addr, sizeof(addr));
	text_mask(addr, wide->plen);
	return !memcmp(addr, wide->addr, sizeof(addr));
}

void desired_inherit(struct state_prefix_rule *rules, size_t count)
{
	size_t around[129]; /* the prefixes that hold the current one, each within the one before */
	size_t depth = 0;

	for (size_t i = 0; i < count; i++) {
		struct sluice_prefix *p = &rules[i].prefix, *wide = NULL;

		if (i % TABLE_STEP == 0)
			table_step(TABLE_STEP);
		while (depth && !covers(&rules[around[depth - 1]].key, &rules[i].key))
			depth--;
		if (depth)
			wide = &rules[around[depth - 1]].prefix;
		if (!(p->own & SLUICE_PREFIX_OWN_CLASS)) {
			p->class = wide ? wide->class : SLUICE_PREFIX_PLAIN;
			p->action = wide ? wide->action : 0;
			p->expires_ns = wide ? wide->expires_ns : 0;
		}
		if (!(p->own & SLUICE_PREFIX_OWN_QUOTA))
			p->quota = wide ? wide->quota : 0;
		if (!(p->own & SLUICE_PREFIX_OWN_PRIORITY))
			p->priority = wide ? wide->priority : 0;
		if (!(p->own & SLUICE_PREFIX_OWN_WEIGHT))
			p->weight = wide ? wide->weight : 0;
		if (depth < sizeof(around) / sizeof(around[0]))
			around[depth++] = i;
	}
}
