/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Parses an operator's texts: numbers, durations, counts, choices and model names, with their
 * limits and the sentence that states what is allowed. The file, the environment, the command line
 * and `sluicectl set` all use these parsers. So a text means the same, and is refused in the same
 * words, wherever an operator writes it.
 */
#ifndef SLUICE_PARSE_H
#define SLUICE_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum parse_kind {
	PARSE_DURATION, /* decimal number with or without a unit (us, ms, s, m, h, d) */
	PARSE_COUNT,    /* whole number, no unit */
	PARSE_WORD,     /* one of `words` */
};

struct parse_word {
	const char *text; /* NULL ends the table */
	int value;
	const char *refusal; /* known, but refused with this sentence */
};

/*
 * What a key's value may be. A result is a double: in the unit of a bare number, or a word's value.
 */
struct parse_value {
	enum parse_kind kind;
	double unit_ms;      /* DURATION: the unit of a bare number, in ms */
	double min, max;     /* of the result, both allowed */
	bool whole;          /* DURATION: no fraction in the result */
	bool removable;      /* "none" and "off" are allowed, and give 0 */
	const char *allowed; /* ends the sentence `"x" is not …`; a WORD lists its words */
	const struct parse_word *words;
};

/* One of two words, with the values 0 and 1. */
#define PARSE_EITHER(zero, one)                                                                    \
	{                                                                                          \
		.kind = PARSE_WORD, .words = (const struct parse_word[])                           \
		{                                                                                  \
			{(zero), 0, NULL}, {(one), 1, NULL},                                       \
			{                                                                          \
				NULL, 0, NULL                                                      \
			}                                                                          \
		}                                                                                  \
	}

extern const struct parse_value parse_as_threshold;     /* ms, removable */
extern const struct parse_value parse_as_time_constant; /* s */
extern const struct parse_value parse_as_lease;         /* whole ms */
extern const struct parse_value parse_as_trouble_after; /* seconds */
extern const struct parse_value parse_as_map_size;      /* entries */
extern const struct parse_value parse_as_models;        /* names */
extern const struct parse_value parse_as_max_in_flight; /* requests, removable */
extern const struct parse_value parse_as_blob_bytes;    /* bytes */
extern const struct parse_value parse_as_protocol;      /* enum sluice_protocol */
extern const struct parse_value parse_as_action;        /* enum sluice_action */
extern const struct parse_value parse_as_mode;          /* enum sluice_mode */
extern const struct parse_value parse_as_floor;         /* requests */
extern const struct parse_value parse_as_class;         /* 0 … SLUICE_CLASSES - 1 */
extern const struct parse_value parse_as_policy;        /* enum controller_policy */

/* 0 and *out; or -EINVAL, one line without a line end in err (`"abc" is not …`), *out untouched. */
int parse_value(const struct parse_value *as, const char *text, double *out, char *err, size_t len);

/*
 * A TTFT target: a threshold as above, alone or with its growth for each KiB of the request ("800 +
 * 0.2/KiB", "1s + 0.5ms/KiB"). Errors as above.
 */
int parse_target(const char *text, double *ms, double *ms_per_kib, char *err, size_t len);

/* The word for a value (SLUICE_ACTION_REPLY → "reply"); NULL where there is none. */
const char *parse_word_of(const struct parse_value *as, int value);

/*
 * A non-negative decimal number and at most one unit; a bare number is in units of unit_ms
 * milliseconds. No sign, space, exponent, hexadecimal, inf or nan. 0 and milliseconds in *out_ms;
 * or -EINVAL, *out_ms untouched.
 */
int parse_duration_ms(const char *text, double unit_ms, double *out_ms);

/*
 * A client's weight relative to others, in 1/256 (SLUICE_WEIGHT_ONE is one): a number from 0.01 to
 * 255 with at most two decimals, which text_weight() prints again exactly. -EINVAL with a sentence
 * in err, *out untouched.
 */
int parse_weight(const char *text, uint16_t *out, char *err, size_t len);

/* Whether this may be a model's name: 1 … SLUICE_NAME_MAX-1 bytes of UTF-8, no control
 * characters. */
bool parse_is_model_name(const char *name, size_t len);

/* The nearest of n names to a mistyped one, NULL if none is near. */
const char *parse_nearest(const char *text, const char *const *names, size_t n);

/* Formats a sentence into err. Control characters become '?', so that it stays one line. */
__attribute__((format(printf, 3, 4))) void parse_say(char *err, size_t len, const char *fmt, ...);

/* Quotes a value of any length in a sentence: printf("\"" PARSE_QUOTE "\"", PARSE_QUOTED(text)). */
#define PARSE_QUOTE        "%.64s%s"
#define PARSE_QUOTED(text) (text), __builtin_strlen(text) > 64 ? "…" : ""

/*
 * The bytes of the UTF-8 character at s, of which `left` bytes (at least 1) can be read (RFC 3629:
 * shortest form, no surrogates, up to U+10FFFF); 0 if it is none.
 */
size_t parse_utf8_length(const unsigned char *s, size_t left);

#endif
