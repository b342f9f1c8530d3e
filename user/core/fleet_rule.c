/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See fleet_rule.h. */
#include "fleet_rule.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parse.h"

#define ENTRY_MAX (FLEET_RULE_FIELD_MAX + 48 + FLEET_RULE_TEXT_MAX)

static const char mark[] = " keys=";

static const char *const kinds[] = {
	[FLEET_RULE_VERDICT] = "rule",
	[FLEET_RULE_QUOTA] = "quota",
	[FLEET_RULE_WEIGHT] = "weight",
};

void fleet_rule_client(char out[TEXT_CLIENT_MAX], const struct text_subject *subject)
{
	/* An IPv6 address without a length is what each service takes it for: not always its /64.
	 */
	if (!subject->note || !inet_ntop(AF_INET6, subject->addr, out, TEXT_CLIENT_MAX))
		text_client(out, &subject->client);
}

void fleet_rule_field(char out[FLEET_RULE_FIELD_MAX], enum fleet_rule_kind kind,
		      const struct text_subject *subject, const char *model)
{
	char client[TEXT_CLIENT_MAX];

	fleet_rule_client(client, subject);
	snprintf(out, FLEET_RULE_FIELD_MAX, "%s\t%s\t%s", kinds[kind], client, model ? model : "");
}

static void add_mark(struct fleet_rule_text *rule, uint64_t keys)
{
	const char *client = strchr(rule->field, '\t');
	size_t len = strlen(rule->text);

	if (keys && client && !strncmp(client + 1, "key:", 4))
		snprintf(rule->text + len, sizeof(rule->text) - len, "%s%016" PRIx64, mark, keys);
}

int fleet_rules_mark(struct fleet_rule_text *out, size_t most, const struct fleet_rule_text *rules,
		     size_t count, uint64_t keys, char *err, size_t len)
{
	if (count > most) {
		snprintf(err, len, "one command changes up to %zu rules of the fleet, not %zu",
			 most, count);
		return -EINVAL;
	}
	for (size_t i = 0; i < count; i++) {
		out[i] = rules[i];
		add_mark(&out[i], keys);
	}
	return 0;
}

/* Digits only, no more than `most`. Moves *at after them. */
static int read_number(char **at, uint64_t most, uint64_t *out)
{
	uint64_t number = 0;
	char *c = *at;

	for (; *c >= '0' && *c <= '9'; c++) {
		number = number * 10 + (uint64_t)(*c - '0');
		if (number > most)
			return -EINVAL;
	}
	if (c == *at)
		return -EINVAL;
	*at = c;
	*out = number;
	return 0;
}

static int read_field(struct fleet_rule *out, char *field)
{
	char *client = strchr(field, '\t'), *model = client ? strchr(client + 1, '\t') : NULL;
	size_t k = 0, len;

	if (!model)
		return -EINVAL;
	*client++ = 0;
	*model++ = 0;
	while (k < sizeof(kinds) / sizeof(kinds[0]) && strcmp(kinds[k], field))
		k++;
	if (k == sizeof(kinds) / sizeof(kinds[0]) || text_parse_subject(client, &out->subject))
		return -EINVAL;
	out->kind = (enum fleet_rule_kind)k;
	len = strlen(model);
	if (len && (len >= sizeof(out->model) || !parse_is_model_name(model, len)))
		return -EINVAL;
	memcpy(out->model, model, len + 1);
	/* A prefix has what it has for all models, and a weight is of addresses. */
	if (len && (!out->subject.one || out->kind == FLEET_RULE_WEIGHT))
		return -EINVAL;
	if (out->kind == FLEET_RULE_WEIGHT && out->subject.client.kind == SLUICE_CLIENT_KEY)
		return -EINVAL;
	return 0;
}

/* Cuts the mark off. Without one the secret is unknown. */
static int read_mark(struct fleet_rule *out, char *text)
{
	char *at = strstr(text, mark);
	const char *digits;

	if (!at || !out->subject.one || out->subject.client.kind != SLUICE_CLIENT_KEY)
		return 0;
	digits = at + sizeof(mark) - 1;
	if (strlen(digits) != 16 || strspn(digits, "0123456789abcdef") != 16)
		return -EINVAL;
	out->keys = strtoull(digits, NULL, 16);
	*at = 0;
	return 0;
}

static int read_text(struct fleet_rule *out, char *text)
{
	char err[256];

	if (read_mark(out, text))
		return -EINVAL;
	out->cleared = !strcmp(text, "clear");
	if (out->cleared)
		return 0;
	switch (out->kind) {
	case FLEET_RULE_VERDICT:
		out->block = !strcmp(text, "block");
		return out->block || !strcmp(text, "allow") ? 0 : -EINVAL;
	case FLEET_RULE_QUOTA:
		return quota_parse(&out->quota, text, err, sizeof(err));
	case FLEET_RULE_WEIGHT:
		return parse_weight(text, &out->weight, err, sizeof(err));
	}
	return -EINVAL;
}

int fleet_rule_read(struct fleet_rule *out, const char *entry, size_t len)
{
	struct fleet_rule rule = {0};
	char copy[ENTRY_MAX], *line;
	char *at;

	if (len >= sizeof(copy) || memchr(entry, 0, len))
		return -EINVAL;
	memcpy(copy, entry, len);
	copy[len] = 0;
	line = strchr(copy, '\n');
	if (!line || line - copy >= FLEET_RULE_FIELD_MAX)
		return -EINVAL;
	*line++ = 0;
	at = line;
	if (read_number(&at, FLEET_VERSION_MAX, &rule.version) || *at++ != ' ' ||
	    read_number(&at, FLEET_RULE_MS_MAX, &rule.ms) || *at++ != ' ' ||
	    read_field(&rule, copy) || read_text(&rule, at))
		return -EINVAL;
	*out = rule;
	return 0;
}
