/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See field.h. A member is written only after its text has passed every check. */
#include "field.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct parse_value field_as_bool = {
	.kind = PARSE_WORD,
	.words =
		(const struct parse_word[]){
			{"true", 1, NULL},
			{"false", 0, NULL},
			{NULL, 0, NULL},
		},
};

const struct field *field_find(const struct field *fields, const char *name)
{
	for (; fields->name; fields++)
		if (!strcmp(fields->name, name))
			return fields;
	return NULL;
}

static void store(void *to, enum field_type type, double value)
{
	switch (type) {
	case FIELD_DOUBLE:
		*(double *)to = value;
		break;
	case FIELD_UINT:
		*(uint32_t *)to = (uint32_t)value;
		break;
	case FIELD_BYTE:
		*(uint8_t *)to = (uint8_t)value;
		break;
	case FIELD_BOOL:
		*(bool *)to = value != 0;
		break;
	}
}

int field_take(const struct field *field, void *of, const char *text, char *err, size_t len)
{
	char *base = of;
	double value;

	if (field->take) {
		if (field->take(base + field->at, field, text, err, len) < 0)
			return -EINVAL;
	} else {
		if (parse_value(field->as, text, &value, err, len) < 0)
			return -EINVAL;
		store(base + field->at, field->type, value);
	}
	if (field->given)
		*(bool *)(base + field->given) = true;
	return 0;
}

int field_wrong(char *err, size_t len, const char *text, const char *allowed)
{
	parse_say(err, len, "\"" PARSE_QUOTE "\" is not %s", PARSE_QUOTED(text), allowed);
	return -EINVAL;
}

int field_copy(char **to, const char *text, char *err, size_t len)
{
	char *copy = strdup(text);

	if (!copy) {
		parse_say(err, len, "out of memory");
		return -EINVAL;
	}
	free(*to);
	*to = copy;
	return 0;
}
