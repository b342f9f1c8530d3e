/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Values and their limits: one table of what each value may be and one function that reads them
 * all. The parser checks a number's syntax before strtod() reads it, since strtod() accepts more
 * than an operator means: signs, spaces, hexadecimal, nan. It checks the range afterwards, so an
 * overflow is just another value out of range.
 */
#include "parse.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/abi.h>

#include "controller.h"

const struct parse_value parse_as_threshold = {
	.kind = PARSE_DURATION,
	.unit_ms = 1,
	.min = DBL_MIN,
	.max = 1e7,
	.removable = true,
	.allowed = "a number of milliseconds above 0 and at most 10000000 (or 1.5s, 2m), nor none",
};

const struct parse_value parse_as_time_constant = {
	.kind = PARSE_DURATION,
	.unit_ms = 1000,
	.min = 0.001,
	.max = 86400,
	.allowed = "a number of seconds from 0.001 to 86400 (or 500ms, 2m)",
};

const struct parse_value parse_as_lease = {
	.kind = PARSE_DURATION,
	.unit_ms = 1,
	.min = 100,
	.max = 600000,
	.whole = true,
	.allowed = "a number from 100 to 600000",
};

/* From 1,024 entries on, the kernel's per-CPU lists of free ones do not matter. */
const struct parse_value parse_as_map_size = {
	.kind = PARSE_COUNT,
	.min = 1024,
	.max = 1048576,
	.whole = true,
	.allowed = "a number from 1024 to 1048576",
};

/* abi.h has 1,024 ids, of which two are for all models and for those without a name. */
const struct parse_value parse_as_models = {
	.kind = PARSE_COUNT,
	.min = 16,
	.max = 1022,
	.whole = true,
	.allowed = "a number from 16 to 1022",
};

const struct parse_value parse_as_trouble_after = {
	.kind = PARSE_COUNT,
	.min = 1,
	.max = 3600,
	.allowed = "a whole number from 1 to 3600",
};

const struct parse_value parse_as_max_in_flight = {
	.kind = PARSE_COUNT,
	.min = 1,
	.max = 1000000,
	.removable = true,
	.allowed = "a whole number from 1 to 1000000, nor none",
};

const struct parse_value parse_as_blob_bytes = {
	.kind = PARSE_COUNT,
	.min = 0,
	.max = 1 << 20,
	.allowed = "a whole number from 0 to 1048576",
};

const struct parse_value parse_as_protocol = {
	.kind = PARSE_WORD,
	.words =
		(const struct parse_word[]){
			{"http", SLUICE_PROTOCOL_HTTP, NULL},
			{"opaque", SLUICE_PROTOCOL_OPAQUE, NULL},
			{NULL, 0, NULL},
		},
};

const struct parse_value parse_as_action = {
	.kind = PARSE_WORD,
	.words =
		(const struct parse_word[]){
			{"reply", SLUICE_ACTION_REPLY, NULL},
			{"reset", SLUICE_ACTION_RESET, NULL},
			{"drop", SLUICE_ACTION_DROP, NULL},
			{NULL, 0, NULL},
		},
};

const struct parse_value parse_as_mode = {
	.kind = PARSE_WORD,
	.words =
		(const struct parse_word[]){
			{"enforce", SLUICE_MODE_ENFORCE, NULL},
			{"shadow", SLUICE_MODE_SHADOW, NULL},
			{NULL, 0, NULL},
		},
};

const struct parse_value parse_as_floor = {
	.kind = PARSE_COUNT,
	.min = 1,
	.max = ADAPTIVE_CEILING_MAX,
	.allowed = "a whole number from 1 to 4096",
};

const struct parse_value parse_as_class = {
	.kind = PARSE_WORD,
	.words =
		(const struct parse_word[]){
			{"high", 0, NULL},
			{"normal", SLUICE_CLASS_NORMAL, NULL},
			{"low", 2, NULL},
			{"lowest", SLUICE_CLASSES - 1, NULL},
			{NULL, 0, NULL},
		},
};

const struct parse_value parse_as_policy = {
	.kind = PARSE_WORD,
	.words =
		(const struct parse_word[]){
			{"adaptive", CONTROLLER_ADAPTIVE, NULL},
			{"ema-flag", CONTROLLER_EMA_FLAG, NULL},
			{NULL, 0, NULL},
		},
};

static const struct {
	const char *text;
	double ms;
} units[] = {
	{"us", 1e-3}, {"ms", 1}, {"s", 1e3}, {"m", 60e3}, {"h", 3600e3}, {"d", 86400e3},
};

void parse_say(char *err, size_t len, const char *fmt, ...)
{
	va_list args;

	if (!len)
		return;
	va_start(args, fmt);
	vsnprintf(err, len, fmt, args);
	va_end(args);
	for (char *p = err; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Digits, or digits.digits, and then *end. */
static int scan_number(const char *text, double *out, const char **end)
{
	const char *p = text;
	char *stop;
	double value;

	if (!is_digit(*p))
		return -EINVAL;
	while (is_digit(*p))
		p++;
	if (*p == '.') {
		if (!is_digit(*++p))
			return -EINVAL;
		while (is_digit(*p))
			p++;
	}
	/* strtod() would read on: an exponent, or the x of 0x */
	if (*p == 'e' || *p == 'E' || *p == 'x' || *p == 'X' || *p == 'p')
		return -EINVAL;
	value = strtod(text, &stop);
	if (stop != p || !isfinite(value))
		return -EINVAL;
	*out = value;
	*end = p;
	return 0;
}

/* A number and its unit in ms; 0 ms if it has no unit. */
static int scan_duration(const char *text, double *number, double *suffix_ms)
{
	const char *end;
	double value;

	if (scan_number(text, &value, &end) < 0)
		return -EINVAL;
	if (!*end) {
		*number = value;
		*suffix_ms = 0;
		return 0;
	}
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (!strcmp(end, units[i].text)) {
			*number = value;
			*suffix_ms = units[i].ms;
			return 0;
		}
	}
	return -EINVAL;
}

int parse_duration_ms(const char *text, double unit_ms, double *out_ms)
{
	double number, suffix_ms, ms;

	if (scan_duration(text, &number, &suffix_ms) < 0)
		return -EINVAL;
	ms = number * (suffix_ms > 0 ? suffix_ms : unit_ms);
	if (!isfinite(ms))
		return -EINVAL;
	*out_ms = ms;
	return 0;
}

static int read_number(const struct parse_value *as, const char *text, double *out)
{
	double value, suffix_ms = 0;
	const char *end;

	if (as->removable && (!strcmp(text, "none") || !strcmp(text, "off"))) {
		*out = 0;
		return 0;
	}
	if (as->kind == PARSE_DURATION) {
		if (scan_duration(text, &value, &suffix_ms) < 0)
			return -EINVAL;
		/* A number in the base unit is not scaled: multiplying and dividing would round
		 * it. */
		if (suffix_ms > 0 && suffix_ms != as->unit_ms)
			value = value * suffix_ms / as->unit_ms;
	} else {
		if (scan_number(text, &value, &end) < 0 || *end)
			return -EINVAL;
	}
	if (!(value >= as->min && value <= as->max))
		return -EINVAL;
	if ((as->whole || as->kind == PARSE_COUNT) && value != floor(value))
		return -EINVAL;
	if (as->kind == PARSE_COUNT && strchr(text, '.'))
		return -EINVAL;
	*out = value;
	return 0;
}

static int read_word(const struct parse_value *as, const char *text, double *out, char *err,
		     size_t len)
{
	char list[256] = "";
	size_t at = 0;

	for (const struct parse_word *w = as->words; w->text; w++) {
		if (!strcmp(text, w->text)) {
			if (w->refusal) {
				parse_say(err, len, "%s", w->refusal);
				return -EINVAL;
			}
			*out = w->value;
			return 0;
		}
		if (!w->refusal && at < sizeof(list))
			at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", at ? ", " : "",
					       w->text);
	}
	parse_say(err, len, "\"" PARSE_QUOTE "\" is not %s%s", PARSE_QUOTED(text),
		  strchr(list, ',') ? "one of " : "", list);
	return -EINVAL;
}

int parse_value(const struct parse_value *as, const char *text, double *out, char *err, size_t len)
{
	if (as->kind == PARSE_WORD)
		return read_word(as, text, out, err, len);
	if (read_number(as, text, out) < 0) {
		parse_say(err, len, "\"" PARSE_QUOTE "\" is not %s", PARSE_QUOTED(text),
			  as->allowed);
		return -EINVAL;
	}
	return 0;
}

static const struct parse_value as_growth = {
	.kind = PARSE_DURATION,
	.unit_ms = 1,
	.min = DBL_MIN,
	.max = 1e4,
	.allowed = "",
};

/* Copies the bytes from `from` to `to` without surrounding spaces; false: too many. */
static bool cut_out(const char *from, const char *to, char *out, size_t len)
{
	while (from < to && *from == ' ')
		from++;
	while (from < to && to[-1] == ' ')
		to--;
	if ((size_t)(to - from) >= len)
		return false;
	memcpy(out, from, (size_t)(to - from));
	out[to - from] = '\0';
	return true;
}

int parse_target(const char *text, double *ms, double *ms_per_kib, char *err, size_t len)
{
	const char *plus = strchr(text, '+'), *slash = plus ? strchr(plus, '/') : NULL;
	char base[64], growth[64], unit[8];
	double value, each = 0;

	if (!slash) {
		if (parse_value(&parse_as_threshold, text, &value, err, len) < 0)
			return -EINVAL;
	} else if (!cut_out(text, plus, base, sizeof(base)) ||
		   !cut_out(plus + 1, slash, growth, sizeof(growth)) ||
		   !cut_out(slash + 1, slash + strlen(slash), unit, sizeof(unit)) ||
		   strcmp(unit, "KiB") || read_number(&parse_as_threshold, base, &value) < 0 ||
		   !(value > 0) || read_number(&as_growth, growth, &each) < 0) {
		parse_say(
			err, len,
			"\"" PARSE_QUOTE
			"\" is not a target that grows with the request, like 800 + 0.2/KiB or 1s + 0.5ms/KiB",
			PARSE_QUOTED(text));
		return -EINVAL;
	}
	*ms = value;
	*ms_per_kib = each;
	return 0;
}

const char *parse_word_of(const struct parse_value *as, int value)
{
	for (const struct parse_word *w = as->words; w && w->text; w++)
		if (w->value == value && !w->refusal)
			return w->text;
	return NULL;
}

size_t parse_utf8_length(const unsigned char *s, size_t left)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t n;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		n = 2;
	else if ((s[0] & 0xf0) == 0xe0)
		n = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		n = 4;
	else
		return 0;
	if (left < n)
		return 0;
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

int parse_weight(const char *text, uint16_t *out, char *err, size_t len)
{
	unsigned hundredths = 0, digits = 0;
	const char *at = text;

	for (; *at >= '0' && *at <= '9' && digits < 3; at++, digits++)
		hundredths = hundredths * 10 + (unsigned)(*at - '0') * 100;
	if (digits && *at == '.' && at[1] >= '0' && at[1] <= '9') {
		hundredths += (unsigned)(*++at - '0') * 10;
		if (*++at >= '0' && *at <= '9')
			hundredths += (unsigned)(*at++ - '0');
	}
	if (!digits || *at || !hundredths || hundredths > 25500) {
		parse_say(
			err, len,
			"\"" PARSE_QUOTE
			"\" is not a weight: a number from 0.01 to 255 with at most two decimals, like 0.5, 2 or 10",
			PARSE_QUOTED(text));
		return -EINVAL;
	}
	*out = (uint16_t)((hundredths * SLUICE_WEIGHT_ONE + 50) / 100);
	return 0;
}

bool parse_is_model_name(const char *name, size_t len)
{
	const unsigned char *s = (const unsigned char *)name;

	if (!len || len >= SLUICE_NAME_MAX)
		return false;
	for (size_t i = 0; i < len;) {
		size_t n = parse_utf8_length(s + i, len - i);

		if (!n || s[i] < 0x20 || s[i] == 0x7f)
			return false;
		i += n;
	}
	return true;
}

/* Levenshtein's distance, one row at a time; both texts are short. */
static size_t distance(const char *a, const char *b)
{
	size_t row[64], n = strlen(b);

	if (n >= 64 || strlen(a) >= 64)
		return 64;
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[n];
}

const char *parse_nearest(const char *text, const char *const *names, size_t n)
{
	size_t best = (strlen(text) + 3) / 2;
	const char *found = NULL;

	for (size_t i = 0; i < n; i++) {
		size_t d = distance(text, names[i]);

		if (d < best) {
			best = d;
			found = names[i];
		}
	}
	return found;
}
