/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Text for people. A client chooses the name of its model, and a name may hold characters that
 * steer a terminal or reorder what is read: all that prints such text escapes it here.
 *
 * Escaped are control characters (C0 but the line end, DEL, C1), the line and paragraph separators,
 * the marks of bidirectional text, invisible characters, and spaces other than that of ASCII, as
 * \u202e; and bytes that are no UTF-8, as \xff. A backslash that would read as such an escape is
 * \u005c. So two names are not printed alike, but for letters that look alike.
 */
#ifndef SLUICE_PRINTABLE_H
#define SLUICE_PRINTABLE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#define PRINTABLE_CHAR_MAX 13 /* "\u202e", two of them or a character of UTF-8, and its zero */
/* Bytes that hold any text of this length, escaped, and its zero. */
#define PRINTABLE_MAX(len) (6 * (len) + 1)

/* Writes the character at *text, escaped if it has to be, and moves *text after it. Not at the end
 * of the text. */
void printable_next(const char **text, char out[PRINTABLE_CHAR_MAX]);
/* Writes the whole text; one that does not fit ends before the first character that does not. */
void printable_text(char *out, size_t size, const char *text);
/* Prints "PROGRAM: MESSAGE" and a line end; a message longer than 4 KiB is cut. */
void printable_message(FILE *out, const char *program, const char *format, va_list args);
/* Prints valid JSON. Its strings have the same escapes, so that it stays the same JSON. */
void printable_json(FILE *out, const char *json);

#endif
