/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A time and a number of tokens, as traces have them. */
#include "sim/fields.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#define TOKENS_MAX 1000000

/* Digits, exactly `n` of them. */
static bool digits(const char **p, int n, int *out)
{
	int value = 0;

	for (int i = 0; i < n; i++, (*p)++) {
		if (!isdigit((unsigned char)**p))
			return false;
		value = value * 10 + (**p - '0');
	}
	*out = value;
	return true;
}

/* Days since 1970-01-01, by the proleptic Gregorian calendar. */
static int64_t days_of(int year, int month, int day)
{
	int64_t y = year - (month <= 2), era = y / 400, of_era = y - era * 400;
	int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* YYYY-MM-DD HH:MM:SS, with or without a fraction. An offset is ignored: it is the same in a whole
 * file. */
bool trace_time(const char *text, int64_t *ns)
{
	int year, month, day, hour, minute, second, ignored;
	int64_t fraction = 0, scale = 1000000000;

	if (!digits(&text, 4, &year) || *text++ != '-' || !digits(&text, 2, &month) ||
	    *text++ != '-' || !digits(&text, 2, &day) || (*text != ' ' && *text != 'T') ||
	    !text++ || !digits(&text, 2, &hour) || *text++ != ':' || !digits(&text, 2, &minute) ||
	    *text++ != ':' || !digits(&text, 2, &second))
		return false;
	if (year < 1970 || year > 2261 || month < 1 || month > 12 || day < 1 || day > 31 ||
	    hour > 23 || minute > 59 || second > 60)
		return false;
	if (*text == '.') {
		if (!isdigit((unsigned char)*++text))
			return false;
		for (; isdigit((unsigned char)*text); text++) {
			scale /= 10;
			fraction += scale * (*text - '0');
		}
	}
	if (*text == '+' || *text == '-') {
		text++;
		if (!digits(&text, 2, &ignored))
			return false;
		text += *text == ':';
		if (!digits(&text, 2, &ignored))
			return false;
	} else if (*text == 'Z') {
		text++;
	}
	*ns = ((days_of(year, month, day) * 24 + hour) * 60 + minute) * 60000000000LL +
	      second * 1000000000LL + fraction;
	return !*text;
}

bool trace_tokens(const char *text, uint32_t *out)
{
	char *end;
	unsigned long value;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (*end || errno || value > TOKENS_MAX)
		return false;
	*out = (uint32_t)value;
	return true;
}
