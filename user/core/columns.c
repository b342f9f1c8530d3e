/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Columns of characters; columns.h says what for. */
#include "core/columns.h"

#include <langinfo.h>
#include <string.h>
#include <wchar.h>

bool columns_are_utf8(void)
{
	return !strcmp(nl_langinfo(CODESET), "UTF-8");
}

size_t columns_next(const char *text, int *columns)
{
	size_t bytes = strlen(text), len;
	mbstate_t state = {0};
	wchar_t c;

	if (!columns_are_utf8()) { /* a whole character of the daemon's UTF-8 is one */
		*columns = *text >= ' ' && *text < 127 ? 1 : -1;
		for (len = 1; *columns < 0 && (text[len] & 0xc0) == 0x80;)
			len++;
		return len;
	}
	len = mbrtowc(&c, text, bytes, &state);
	if (!len || len > bytes) {
		*columns = -1;
		return 1;
	}
	*columns = wcwidth(c);
	return len;
}

unsigned columns_of(const char *text)
{
	unsigned all = 0;
	int columns;

	for (; *text; all += columns < 0 ? 1 : (unsigned)columns)
		text += columns_next(text, &columns);
	return all;
}
