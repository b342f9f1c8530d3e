/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a command changes, as texts for the log (control_ops.audit). */
#ifndef SLUICE_AUDIT_H
#define SLUICE_AUDIT_H

#include "control/request.h"

#define AUDIT_TEXT_MAX 512

/* The value that a command changes. */
enum audit_value {
	AUDIT_NOTHING, /* it only reads */
	AUDIT_TARGETS,
	AUDIT_RULES, /* of a client, verdicts */
	AUDIT_QUOTAS,
	AUDIT_DRAIN,
	AUDIT_DETACH,
	AUDIT_CONFIG /* it has an event of its own, with what has changed */
};

/* The value now; "": it has no text. */
void audit_read(char out[AUDIT_TEXT_MAX], enum audit_value value, const struct command *c);
/* Reports a command that has ended. from: the value before it. */
void audit_report(const struct command *c, const char *name, enum audit_value value,
		  const char *from, bool done);

#endif
