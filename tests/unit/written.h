/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The text output of an answer. Include it after cmocka.h. */
#ifndef SLUICE_WRITTEN_H
#define SLUICE_WRITTEN_H

#include <stdio.h>

#include <jansson.h>

/* The text of `answer`. Takes the reference; the caller frees the text. */
static inline char *written(void (*show)(FILE *out, const json_t *answer), json_t *answer)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(answer);
	show(out, answer);
	fclose(out);
	json_decref(answer);
	return text;
}

#endif
