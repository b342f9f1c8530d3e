/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Escapes text for people: character by character, by one list of ranges.
 */
#include "core/printable.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/parse.h"

/* Controls, separators, marks of bidirectional text, and what has no ink: Unicode's
 * Default_Ignorable_Code_Point, and spaces other than that of ASCII. */
static const struct {
	uint32_t first, last;
} escaped[] = {
	{0x00, 0x09},       {0x0b, 0x1f},       {0x7f, 0xa0},       {0xad, 0xad},
	{0x034f, 0x034f},   {0x061c, 0x061c},   {0x115f, 0x1160},   {0x1680, 0x1680},
	{0x17b4, 0x17b5},   {0x180b, 0x180f},   {0x2000, 0x200f},   {0x2028, 0x202f},
	{0x205f, 0x206f},   {0x2800, 0x2800},   {0x3000, 0x3000},   {0x3164, 0x3164},
	{0xfe00, 0xfe0f},   {0xfeff, 0xfeff},   {0xffa0, 0xffa0},   {0xfff0, 0xfffb},
	{0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff},
};

/* The code point of n bytes that are one character. */
static uint32_t code_of(const unsigned char *s, size_t n)
{
	uint32_t code = n == 1 ? s[0] : s[0] & (0xffU >> (n + 1));

	for (size_t i = 1; i < n; i++)
		code = code << 6 | (s[i] & 0x3f);
	return code;
}

static bool is_escaped(uint32_t code)
{
	for (size_t i = 0; i < sizeof(escaped) / sizeof(escaped[0]); i++)
		if (code >= escaped[i].first && code <= escaped[i].last)
			return true;
	return false;
}

/* True if the text after a backslash makes it read as an escape of ours. */
static bool reads_as_escape(const char *text)
{
	static const char digits[] = "0123456789abcdef";

	return (text[0] == 'u' && strspn(text + 1, digits) >= 4) ||
	       (text[0] == 'x' && strspn(text + 1, digits) >= 2);
}

static void next(const char **text, bool json, char out[PRINTABLE_CHAR_MAX])
{
	const unsigned char *s = (const unsigned char *)*text;
	uint32_t code;
	size_t n;

	if (s[0] >= ' ' && s[0] < 0x7f && s[0] != '\\') { /* most of all text */
		out[0] = (char)s[0];
		out[1] = 0;
		(*text)++;
		return;
	}
	n = parse_utf8_length(s, strnlen(*text, 4));
	code = n ? code_of(s, n) : 0;
	*text += n ? n : 1;
	if (!n) {
		snprintf(out, PRINTABLE_CHAR_MAX, "\\x%02x", s[0]);
	} else if (is_escaped(code) || (!json && code == '\\' && reads_as_escape(*text))) {
		if (code > 0xffff) /* as JSON has it: two surrogates */
			snprintf(out, PRINTABLE_CHAR_MAX, "\\u%04x\\u%04x",
				 (0xd7c0 + (code >> 10)) & 0xffff, 0xdc00 | (code & 0x3ff));
		else
			snprintf(out, PRINTABLE_CHAR_MAX, "\\u%04x", code & 0xffff);
	} else {
		memcpy(out, s, n);
		out[n] = 0;
	}
}

void printable_next(const char **text, char out[PRINTABLE_CHAR_MAX])
{
	next(text, false, out);
}

void printable_text(char *out, size_t size, const char *text)
{
	char one[PRINTABLE_CHAR_MAX];
	size_t at = 0, len;

	while (*text) {
		next(&text, false, one);
		len = strlen(one);
		if (at + len >= size)
			break;
		memcpy(out + at, one, len);
		at += len;
	}
	if (size)
		out[at] = 0;
}

void printable_message(FILE *out, const char *program, const char *format, va_list args)
{
	static char text[4096], printable[PRINTABLE_MAX(sizeof(text))];

	vsnprintf(text, sizeof(text), format, args);
	printable_text(printable, sizeof(printable), text);
	fprintf(out, "%s: %s\n", program, printable);
}

void printable_json(FILE *out, const char *json)
{
	char one[PRINTABLE_CHAR_MAX];

	while (*json) {
		next(&json, true, one);
		fputs(one, out);
	}
}
