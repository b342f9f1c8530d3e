/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The sentence for the operator when a call of the datapath fails, and notices. The one idea: a
 * function returns -errno and stores its sentence here, where the cause is known. The caller needs
 * no buffer and adds no second explanation.
 */
#include <stdarg.h>
#include <stdio.h>

#include "internal.h"

static _Thread_local char error[ERROR_MAX];

int datapath_fail(int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, sizeof(error), format, args);
	va_end(args);
	return err;
}

const char *datapath_error(void)
{
	return error;
}

void datapath_notify(const struct datapath_handlers *handlers, enum datapath_notice notice,
		     const char *about, const char *format, ...)
{
	char text[512];
	va_list args;

	if (!handlers->notice)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	handlers->notice(handlers->arg, notice, about, text);
}
