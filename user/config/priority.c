/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See priority.h. */
#include "priority.h"

#include <errno.h>
#include <string.h>

#include "identity.h"

/* Whether a request's header can have this value: printable, without surrounding spaces. */
static bool is_header_value(const char *text, size_t n)
{
	if (!n || n >= PRIORITY_VALUE_MAX || text[0] == ' ' || text[n - 1] == ' ')
		return false;
	for (size_t i = 0; i < n; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			return false;
	return true;
}

int priority_take_value(void *to, const struct field *field, const char *text, char *err,
			size_t len)
{
	struct priority_entry *e = to;
	const char *equals = strrchr(text, '=');
	size_t n = equals ? (size_t)(equals - text) : 0;
	struct priority *p = &e->said;
	struct priority_value *v = &p->values[p->count];
	char why[256];
	double class;

	if (!is_header_value(text, n)) {
		parse_say(
			err, len,
			"\"" PARSE_QUOTE
			"\" is not a header's value: 1 to 63 printable ASCII characters, no space around them",
			PARSE_QUOTED(text));
		return -EINVAL;
	}
	if (parse_value(&parse_as_class, equals + 1, &class, why, sizeof(why)) < 0) {
		parse_say(err, len, "%.*s: %s", (int)n, text, why);
		return -EINVAL;
	}
	if (p->count == PRIORITY_VALUES_MAX) {
		parse_say(err, len, "more than %u values", PRIORITY_VALUES_MAX);
		return -EINVAL;
	}
	memset(v, 0, sizeof(*v));
	memcpy(v->text, text, n);
	v->class = (uint8_t) class;
	p->count++;
	return 0;
}

int priority_take_header(void *to, const struct field *field, const char *text, char *err,
			 size_t len)
{
	struct priority_entry *e = to;

	if (identity_header_name(text, e->header))
		return 0;
	parse_say(
		err, len,
		"\"" PARSE_QUOTE
		"\" is not the name of a header that may say a priority: 1 to 31 letters, digits, - and _, like x-priority",
		PARSE_QUOTED(text));
	return -EINVAL;
}

int priority_finish(const struct priority_entry *e, struct priority *out,
		    struct sluice_rules *rules, char *err, size_t len)
{
	const struct priority *p = &e->said;
	const char *header = e->header;
	bool other = !strcmp(header, rules->header) || !strcmp(header, rules->forwarded);

	if (!header[0] != !p->count) {
		parse_say(
			err, len, "%s",
			p->count
				? "priority-values needs priority-header: the header with these values"
				: "priority-header needs priority-values, like {interactive: high, batch: low}");
		return -EINVAL;
	}
	for (unsigned i = 0; i < HTTP1_KEYS_MAX; i++)
		other |= !strcmp(header, rules->key[i]);
	if (header[0] && other) {
		parse_say(err, len,
			  "\"%s\" is read for something else, so it cannot be priority-header",
			  header);
		return -EINVAL;
	}
	memcpy(rules->priority, e->header, sizeof(rules->priority));
	*out = *p;
	return 0;
}
