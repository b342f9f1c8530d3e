/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See fleet.h. Lines are KEY TAB …, so that no parser of a format is needed for hostile text. */
#include "fleet.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "printable.h"

const uint64_t fleet_call_bounds_us[FLEET_CALL_BOUNDS] = {
	500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 250000, 500000,
};

void fleet_call_answered(struct fleet_calls *calls, uint64_t ns)
{
	unsigned i = 0;

	while (i < FLEET_CALL_BOUNDS && ns > fleet_call_bounds_us[i] * 1000)
		i++;
	calls->count[i]++;
	calls->sum_ns += ns;
}

unsigned fleet_hosts_that_differ(const struct state_fleet *f)
{
	unsigned n = 0;

	for (size_t i = 0; i < f->list_count; i++)
		n += f->list[i].differ > 0;
	return n;
}

const char *fleet_quota_name(const struct sluice_quota_text *text)
{
	const char *colon = text->scope == SLUICE_SCOPE_SERVICE ? strrchr(text->name, ':') : NULL;

	return colon ? colon : text->name;
}

/* A quota that all hosts should have alike; those of clients may differ. */
static bool is_told(const struct sluice_quota_text *text)
{
	return text->fleet &&
	       (text->scope == SLUICE_SCOPE_SERVICE || text->scope == SLUICE_SCOPE_MODEL);
}

static void write_line(char *out, size_t len, const struct sluice_quota_text *text)
{
	char words[QUOTA_TEXT_MAX];
	struct quota_def def;

	quota_of_text(&def, text);
	quota_words(words, &def);
	snprintf(out, len, "%s\t%s\t%s\n",
		 text->scope == SLUICE_SCOPE_SERVICE ? "service" : "model", fleet_quota_name(text),
		 words);
}

void fleet_info(char out[FLEET_INFO_MAX], const char *version, uint64_t start, int64_t rules,
		uint64_t keys, const struct quota_book *book)
{
	size_t at = (size_t)snprintf(out, FLEET_INFO_MAX, "version\t%s\nstart\t%016" PRIx64 "\n",
				     version, start);

	if (rules >= 0)
		at += (size_t)snprintf(out + at, FLEET_INFO_MAX - at, "rules\t%" PRId64 "\n",
				       rules);
	if (keys)
		at += (size_t)snprintf(out + at, FLEET_INFO_MAX - at, "keys\t%016" PRIx64 "\n",
				       keys);

	for (uint32_t id = 1; id < SLUICE_QUOTAS_MAX; id++) {
		char line[SLUICE_NAME_MAX + QUOTA_TEXT_MAX + 16];
		size_t n;

		if (!is_told(&book->text[id]))
			continue;
		write_line(line, sizeof(line), &book->text[id]);
		n = strlen(line);
		if (at + n >= FLEET_INFO_MAX)
			return;
		memcpy(out + at, line, n + 1);
		at += n;
	}
}

/* Whether our quota of the line's scope and name has its numbers. True: we have none. */
static bool is_ours(const char *line, size_t len, const struct quota_book *ours, char *other,
		    size_t other_len)
{
	bool named = false;

	for (uint32_t id = 1; id < SLUICE_QUOTAS_MAX; id++) {
		char own[SLUICE_NAME_MAX + QUOTA_TEXT_MAX + 16];
		size_t head, n;

		if (!is_told(&ours->text[id]))
			continue;
		write_line(own, sizeof(own), &ours->text[id]);
		n = strlen(own) - 1; /* without its end */
		if (n == len && !memcmp(own, line, len))
			return true;
		head = (size_t)(strrchr(own, '\t') - own) + 1;
		if (len < head || memcmp(own, line, head))
			continue;
		named = true;
		own[n] = 0;
		snprintf(other, other_len, "%s", own + head);
	}
	return !named;
}

static int64_t read_version(const char *text, size_t len)
{
	char copy[17];

	if (!len || len >= sizeof(copy) || strspn(text, "0123456789") < len)
		return -1;
	memcpy(copy, text, len);
	copy[len] = 0;
	return strtoll(copy, NULL, 10);
}

static uint64_t read_hex(const char *text, size_t len)
{
	char copy[17];

	if (len != 16 || strspn(text, "0123456789abcdef") < len)
		return 0;
	memcpy(copy, text, len);
	copy[len] = 0;
	return strtoull(copy, NULL, 16);
}

/* Copies text from the store, printable. */
static void copy(char *out, size_t len, const char *from, size_t n)
{
	char raw[512];

	snprintf(raw, sizeof(raw), "%.*s", (int)(n < sizeof(raw) ? n : sizeof(raw) - 1), from);
	printable_text(out, len, raw);
}

static void note_difference(struct fleet_host *out, const char *line, size_t len, const char *other)
{
	const char *tab = memchr(line, '\t', len);
	const char *name = tab ? tab + 1 : line;
	const char *end = memchr(name, '\t', len - (size_t)(name - line));
	char label[SLUICE_NAME_MAX + 8], theirs[QUOTA_TEXT_MAX];

	out->differ++;
	if (out->differ > 1 || !end)
		return;
	copy(label, sizeof(label), name, (size_t)(end - name));
	copy(theirs, sizeof(theirs), end + 1, len - (size_t)(end + 1 - line));
	snprintf(out->differs, sizeof(out->differs), "%.90s has %.70s, and here %.70s", label,
		 theirs, other);
}

void fleet_host_read(struct fleet_host *out, const char *name, const char *info, uint64_t seen_ms,
		     const struct quota_book *ours)
{
	static const char version[] = "version\t", start[] = "start\t", rules[] = "rules\t",
			  keys[] = "keys\t";

	*out = (struct fleet_host){.seen_ms = seen_ms, .rules = -1};
	copy(out->name, sizeof(out->name), name, strlen(name));
	for (const char *line = info; *line;) {
		size_t len = strcspn(line, "\n");
		char other[QUOTA_TEXT_MAX] = "";

		if (!strncmp(line, version, sizeof(version) - 1))
			copy(out->version, sizeof(out->version), line + sizeof(version) - 1,
			     len - (sizeof(version) - 1));
		else if (!strncmp(line, start, sizeof(start) - 1))
			out->start = read_hex(line + sizeof(start) - 1, len - (sizeof(start) - 1));
		else if (!strncmp(line, keys, sizeof(keys) - 1))
			out->keys = read_hex(line + sizeof(keys) - 1, len - (sizeof(keys) - 1));
		else if (!strncmp(line, rules, sizeof(rules) - 1))
			out->rules =
				read_version(line + sizeof(rules) - 1, len - (sizeof(rules) - 1));
		else if (!is_ours(line, len, ours, other, sizeof(other)))
			note_difference(out, line, len, other);
		line += len + (line[len] == '\n');
	}
}
