/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See summary.h. Counters outlive the daemon; one that has fallen belongs to new maps. */
#include "control/summary.h"

#include <stdlib.h>
#include <string.h>

#include "control/format_internal.h"

static json_int_t at(const json_t *object, const char *key, const char *member)
{
	return json_integer_value(json_object_get(json_object_get(object, key), member));
}

static json_int_t grown(json_int_t before, json_int_t now)
{
	return now >= before ? now - before : now;
}

/* The growth of each number of the object `key`. */
static json_t *growth(const json_t *before, const json_t *now, const char *key)
{
	json_t *out = json_object(), *value;
	const char *member;

	json_object_foreach(json_object_get(now, key), member, value) json_object_set_new(
		out, member,
		json_integer(grown(at(before, key, member), json_integer_value(value))));
	return out;
}

/* The objects of a list by their member `key`. */
static json_t *by(const json_t *list, const char *key)
{
	json_t *out = json_object(), *one;
	size_t i;

	json_array_foreach(list, i, one)
	{
		const char *name = json_string_value(json_object_get(one, key));

		if (name)
			json_object_set(out, name, one);
	}
	return out;
}

static json_int_t refusals(const json_t *one)
{
	return field_whole(one, "rejected") + field_whole(one, "shadow_rejected");
}

static int by_refusals(const void *a, const void *b)
{
	json_int_t left = refusals(*(json_t *const *)a), right = refusals(*(json_t *const *)b);

	return (left < right) - (left > right);
}

/* The first of the list by their refusals; those without one are left out. Takes the reference. */
static json_t *most_refused(json_t *list)
{
	size_t n = json_array_size(list), i;
	json_t **items = calloc(n + 1, sizeof(*items)), *out = json_array(), *one;

	if (!items)
		abort();
	json_array_foreach(list, i, one) items[i] = one;
	qsort(items, n, sizeof(*items), by_refusals);
	for (i = 0; i < n && i < SUMMARY_LISTED && refusals(items[i]); i++)
		json_array_append(out, items[i]);
	free(items);
	json_decref(list);
	return out;
}

static json_t *models(const json_t *before, const json_t *now)
{
	json_t *known = by(json_object_get(before, "models"), "name"), *list = json_array(), *one;
	size_t i;

	json_array_foreach(json_object_get(now, "models"), i, one)
	{
		const char *name = field_text(one, "name");
		json_t *n = growth(json_object_get(known, name), one, "requests");

		json_object_set(n, "name", json_object_get(one, "name"));
		/* A pool's requests are those of its models. */
		if (json_object_get(one, "members"))
			json_decref(n);
		else
			json_array_append_new(list, n);
	}
	json_decref(known);
	return most_refused(list);
}

static json_t *clients(const json_t *before, const json_t *now)
{
	const json_t *listed = json_object_get(before, "clients");
	size_t n = json_array_size(listed), i;
	json_t *known = by(listed, "client"), *list = json_array(), *one, *least = NULL;

	if (n && json_integer_value(json_object_get(before, "clients_known")) > (json_int_t)n)
		least = json_array_get(listed, n - 1);
	json_array_foreach(json_object_get(now, "clients"), i, one)
	{
		const char *client = field_text(one, "client");
		const json_t *was = json_object_get(known, client);

		if (!was)
			was = least;
		json_array_append_new(
			list,
			json_pack("{s:s, s:I, s:I}", "client", client, "rejected",
				  grown(field_whole(was, "rejected"), field_whole(one, "rejected")),
				  "shadow_rejected",
				  grown(field_whole(was, "shadow_rejected"),
					field_whole(one, "shadow_rejected"))));
	}
	json_decref(known);
	return most_refused(list);
}

/* ---- changes of state, a sentence each ---- */

struct line {
	FILE *out;
	char *text;
	size_t len;
};

static void begin(struct line *line)
{
	line->out = open_memstream(&line->text, &line->len);
	if (!line->out)
		abort();
}

/* Appends the line to the list. */
static void end(struct line *line, json_t *list)
{
	if (fclose(line->out))
		abort();
	json_array_append_new(list, json_string(line->text));
	free(line->text);
}

static void model_change(json_t *list, const json_t *was, const json_t *is, const char *name)
{
	json_int_t n = grown(field_whole(was, "changes"), field_whole(is, "changes"));
	struct line line;

	if (!n)
		return;
	begin(&line);
	fprintf(line.out, "%s %s at %s", name, model_is_open(is) ? "opened" : "shut",
		format_clock(field_whole(is, "changed_unix_ms")));
	if (!model_is_open(is)) {
		fputs(": ", line.out);
		model_print_reason(line.out, is);
	}
	if (n > 1)
		fprintf(line.out, ", the last of %" JSON_INTEGER_FORMAT " changes", n);
	end(&line, list);
}

static void word_change(json_t *list, const json_t *before, const json_t *now, const char *key)
{
	struct line line;

	if (!strcmp(field_text(before, key), field_text(now, key)))
		return;
	begin(&line);
	fprintf(line.out, "%s is %s, was %s", key, field_text(now, key), field_text(before, key));
	end(&line, list);
}

/* What is in the list `in` and not in `not_in`. */
static void trouble_changes(json_t *list, const json_t *in, const json_t *not_in, const char *what)
{
	const json_t *one, *other;
	size_t i, k;

	json_array_foreach(json_object_get(in, "troubles"), i, one)
	{
		bool found = false;
		struct line line;

		json_array_foreach(json_object_get(not_in, "troubles"), k, other) found |=
			json_equal(one, other);
		if (found)
			continue;
		begin(&line);
		fprintf(line.out, "%s: %s", what, json_string_value(one));
		end(&line, list);
	}
}

static json_t *changes(const json_t *before, const json_t *now)
{
	json_t *known = by(json_object_get(before, "models"), "name"), *list = json_array(), *one;
	bool drained = json_is_object(json_object_get(before, "drain"));
	size_t i;

	if (field_whole(before, "pid") != field_whole(now, "pid"))
		json_array_append_new(list, json_string("a new daemon runs"));
	word_change(list, before, now, "mode");
	word_change(list, before, now, "policy");
	if (json_is_object(json_object_get(now, "drain")) != drained)
		json_array_append_new(
			list, json_string(drained ? "the drain has ended" : "a drain has begun"));
	if (json_is_true(json_object_get(now, "detaching")))
		json_array_append_new(list, json_string("sluice is detaching"));
	model_change(list, json_object_get(before, "global"), json_object_get(now, "global"),
		     "everything");
	json_array_foreach(json_object_get(now, "models"), i, one)
		model_change(list, json_object_get(known, field_text(one, "name")), one,
			     field_text(one, "name"));
	trouble_changes(list, now, before, "TROUBLE");
	trouble_changes(list, before, now, "no longer");
	json_decref(known);
	return list;
}

int summary_refused(const json_t *before, const json_t *now)
{
	return at(before, "requests", "rejected") != at(now, "requests", "rejected") ||
	       at(before, "requests", "shadow_rejected") != at(now, "requests", "shadow_rejected");
}

json_t *summary_between(const json_t *before, const json_t *now, const json_t *clients_before,
			const json_t *clients_now, json_int_t interval_ms)
{
	return json_pack(
		"{s:O, s:I, s:O, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "unix_ms",
		json_object_get(now, "now_unix_ms"), "interval_ms", interval_ms, "mode",
		json_object_get(now, "mode"), "requests", growth(before, now, "requests"),
		"rejected_by_reason", growth(before, now, "rejected_by_reason"),
		"shadow_rejected_by_reason", growth(before, now, "shadow_rejected_by_reason"),
		"connections", growth(before, now, "connections"), "models", models(before, now),
		"clients", clients(clients_before, clients_now), "changes", changes(before, now));
}
