/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * API keys in memory. An operator names a client by its key (key=-), which then passes through
 * sluicectl and the daemon, in texts and in JSON values.
 */
#ifndef SLUICE_SECRET_H
#define SLUICE_SECRET_H

/* First in main: the process leaves no core dump and cannot be traced by its own user, and jansson
 * wipes all memory that it frees. */
void secret_protect(void);
/* After the functions that saw a key: wipes what they left on the stack, saved registers too. */
void secret_wipe_stack(void);

#endif
