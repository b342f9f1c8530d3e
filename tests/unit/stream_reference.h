/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the events of a stream are, by a classifier that has each event at once: jansson parses its
 * JSON, and a table says which names are what. It shares no code with the scanner. Like the scanner
 * it reads the members of an object in their order, and an event up to its first output.
 *
 * It applies up to the first event that is more than names and one object of JSON. Events of which
 * the scanner says that it does not see all (stream_json.h) are no such events.
 */
#ifndef SLUICE_TEST_STREAM_REFERENCE_H
#define SLUICE_TEST_STREAM_REFERENCE_H

#include <stdbool.h>

#include <jansson.h>

#include "feed.h"

struct stream_reference {
	bool known, guessed, failed;                         /* of the response */
	bool open, data, named, wrong, unknown, output, bad; /* of the event under way */
	bool foreign;                                        /* the reference does not apply */
	size_t len;
	char *said; /* as feed.h: "event generated event" */
};

/* Places. IN_PART: in an output value, IN_TOTAL: in an object that states usage. */
enum { IN_TOP = 1, IN_CHOICE = 2, IN_DELTA = 4, IN_TOKEN = 8, IN_PART = 16, IN_TOTAL = 32 };

enum stream_rule {
	IS_OTHER,
	IS_NONE,
	IS_TEXT,
	IS_STRING,
	IS_IMAGE,
	IS_FILLED,
	IS_LIST,
	IS_INSIDE,
	IS_USAGE,
	IS_ROLE,
	IS_BAD,
	IS_NAME,
	IS_NUMBER
};

static const struct {
	int places;
	enum stream_rule rule;
	const char *words;
} stream_rules[] = {
	{IN_TOP, IS_TEXT, " content text thinking text_output completion audio "},
	{IN_TOP, IS_STRING, " delta response "},
	{IN_TOP, IS_INSIDE, " message token result "},
	{IN_TOP, IS_USAGE, " usage timings meta_info details usage_metadata "},
	{IN_TOP, IS_IMAGE, " b64_json partial_image_b64 "},
	{IN_TOP, IS_FILLED, " arguments "},
	{IN_TOP, IS_LIST, " choices candidates "},
	{IN_TOP, IS_BAD, " error "},
	{IN_TOP, IS_NAME, " type event object "},
	{IN_TOP, IS_NUMBER, " eval_count tokens_predicted "},
	{IN_CHOICE, IS_TEXT, " text content "},
	{IN_CHOICE, IS_INSIDE, " delta message "},
	{IN_DELTA, IS_TEXT,
	 " content text reasoning_content reasoning thinking refusal partial_json tool_calls"
	 " function_call audio images "},
	{IN_DELTA, IS_ROLE, " role "},
	{IN_TOKEN | IN_PART, IS_TEXT, " text "},
	{IN_PART, IS_TEXT, " thinking value name arguments data transcript url b64_json "},
	{IN_TOTAL, IS_NUMBER,
	 " completion_tokens output_tokens predicted_n generated_tokens total_output_tokens "},
	{IN_TOP | IN_CHOICE | IN_DELTA, IS_NONE,
	 " id object created created_at model model_name model_version index role status progress"
	 " usage prompt prompt_progress prompt_filter_results content_filter_results"
	 " content_filter_offsets logprobs finish_reason stop_reason done_reason"
	 " system_fingerprint service_tier run_id request_id timestamp metadata "},
};

static inline bool stream_reference_in(const char *word, const char *words)
{
	char spaced[34];

	snprintf(spaced, sizeof(spaced), " %.31s ", word);
	return !strchr(word, ' ') && strstr(words, spaced);
}

static inline enum stream_rule stream_reference_rule(int place, const char *key)
{
	for (size_t i = 0; i < sizeof(stream_rules) / sizeof(stream_rules[0]); i++)
		if (stream_rules[i].places & place &&
		    stream_reference_in(key, stream_rules[i].words))
			return stream_rules[i].rule;
	return place == IN_TOTAL ? IS_NONE : IS_OTHER;
}

/* Takes the name of an event, from its line or from its JSON. The scanner knows its last 8 bytes.
 */
static inline void stream_reference_name(struct stream_reference *r, const char *name, bool *wrong)
{
	static const char *const words[] = {
		"done",     "ompleted", "added",    "created",  "queued",   "progress",
		"start",    "started",  "stop",     "end",      "ping",     "metadata",
		"eartbeat", "eepalive", "complete", "earching", "rpreting", "nerating"};
	size_t len = strlen(name);

	if (stream_reference_in(name, " error response.failed "))
		*wrong = true;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]) && !*wrong; i++) {
		size_t n = strlen(words[i]);
		char before = len > n && n < 8 ? name[len - n - 1] | 0x20 : 0;

		r->named |= len >= n && !strcmp(name + len - n, words[i]) &&
			    (before < 'a' || before > 'z');
	}
}

/* Whether the contents of an output value have text: in a known member, or first in an array. */
static inline bool stream_reference_contents(json_t *value, bool outermost)
{
	bool found = outermost && json_string_length(json_array_get(value, 0));
	const char *key;
	json_t *inner;
	size_t i;

	json_array_foreach(value, i, inner) found |= stream_reference_contents(inner, false);
	json_object_foreach(value, key, inner) found |=
		stream_reference_contents(inner, false) ||
		(stream_reference_rule(IN_PART, key) == IS_TEXT && json_string_length(inner));
	return found;
}

static inline void stream_reference_object(struct stream_reference *r, json_t *object, int place)
{
	const char *key;
	json_t *value, *inner;
	size_t i;

	json_object_foreach(object, key, value)
	{
		bool nested = json_is_object(value) || json_is_array(value);
		bool text = json_string_length(value), none = r->named;
		enum stream_rule rule = stream_reference_rule(place, key);

		if (r->output || r->bad)
			return;
		r->known |= rule == IS_TEXT || rule == IS_IMAGE || rule == IS_FILLED ||
			    rule == IS_ROLE || (rule == IS_STRING && json_is_string(value));
		if (json_is_object(value) &&
		    (rule == IS_STRING || rule == IS_INSIDE || rule == IS_USAGE)) {
			int inside = stream_reference_in(key, " delta message ") ? IN_DELTA
				     : !strcmp(key, "token")                     ? IN_TOKEN
										 : IN_TOTAL;

			r->unknown |= stream_reference_in(key, " response result ");
			stream_reference_object(r, value, inside);
		} else if (rule == IS_LIST && json_is_array(value)) {
			json_array_foreach(value, i, inner)
			{
				if (!r->output)
					stream_reference_object(r, inner, IN_CHOICE);
				r->unknown |= json_is_array(inner);
			}
		} else if (rule == IS_BAD) {
			r->foreign |= json_is_real(value); /* 0.5 begins as 0 does */
			r->bad = nested || text || json_is_true(value) || json_integer_value(value);
		} else if (rule == IS_NAME && json_is_string(value)) {
			/* the scanner reads escapes as they are */
			r->foreign |= strpbrk(json_string_value(value), "\"\\/\b\f\n\r\t") != NULL;
			stream_reference_name(r, json_string_value(value), &r->bad);
			if (!strcmp(key, "object"))
				r->named = none;
		} else if (rule != IS_NONE && rule != IS_USAGE) {
			r->unknown |= nested || (text && (rule == IS_OTHER || rule == IS_INSIDE ||
							  rule == IS_LIST));
			r->output =
				rule == IS_TEXT ? text || stream_reference_contents(value, true)
				: rule == IS_FILLED
					? text || json_array_size(value) || json_object_size(value)
					: text && (rule == IS_STRING || rule == IS_IMAGE);
			r->output &= !none || rule == IS_IMAGE;
		}
	}
}

/* The event under way has ended. */
static inline void stream_reference_end(struct stream_reference *r)
{
	bool guess = r->unknown && !r->known && !r->named;
	const char *what = "";

	if ((r->data || r->wrong) && !r->failed) {
		what = r->wrong || r->bad                   ? " failed"
		       : r->output || (guess && r->guessed) ? " generated"
		       : guess                              ? " generated guess"
							    : "";
		r->failed = r->wrong || r->bad;
		r->guessed |= guess && !r->output && !r->failed;
	}
	if (r->open)
		r->len += sprintf(r->said + r->len, "%sevent%s", r->len ? " " : "", what);
	r->open = r->data = r->named = r->wrong = r->unknown = r->output = r->bad = false;
}

/* The data of an event: one line of it. */
static inline void stream_reference_data(struct stream_reference *r, const char *data, size_t len)
{
	size_t depth = 0;
	json_t *root;

	for (size_t i = 0; i < len; i++)
		depth += data[i] == '[' || data[i] == '{';
	root = json_loadb(data, len, JSON_REJECT_DUPLICATES, NULL);
	r->foreign |= r->data || depth > 250 || memmem(data, len, "\\u00", 4) ||
		      memmem(data, len, "-0", 2) || !json_is_object(root);
	r->data = true;
	if (!r->foreign && !r->failed && !r->wrong)
		stream_reference_object(r, root, IN_TOP);
	json_decref(root);
}

/* A line, which has no line feed but a zero after it. */
static inline void stream_reference_line(struct stream_reference *r, __u8 kind, const char *line)
{
	size_t len = strlen(line);

	if (kind == STREAM_NDJSON && line[strspn(line, " \t")]) {
		r->open = true;
		stream_reference_data(r, line, len);
		stream_reference_end(r);
	} else if (kind == STREAM_NDJSON || !len) {
		stream_reference_end(r);
	} else if (line[0] != ':') {
		r->open = true;
		if (!strncmp(line, "event:", 6)) {
			r->foreign |= r->data;
			stream_reference_name(r, line + 6 + (line[6] == ' '), &r->wrong);
		} else if (!strncmp(line, "data:", 5)) {
			line += 5 + strspn(line + 5, " \t");
			if (strcmp(line, "[DONE]"))
				stream_reference_data(r, line, strlen(line));
		} else {
			r->foreign = true;
		}
	}
}

/* Whether the scanner says of a stream's events what the reference does, up to where it applies. */
static inline bool stream_reference_agrees(__u8 kind, const void *stream, size_t len)
{
	struct stream_reference r = {.said = malloc(16 * len + 64)};
	char *text = malloc(len + 1), *line, *end;
	size_t until = 0, said = 0;
	struct feed f;
	bool equal;

	assert(text && r.said);
	memcpy(text, stream, len);
	for (line = text; (end = memchr(line, '\n', text + len - line)); line = end + 1) {
		r.foreign |= memchr(line, '\r', end - line) || memchr(line, 0, end - line);
		*end = 0;
		stream_reference_line(&r, kind, line);
		if (r.foreign)
			break;
		if (!r.open) {
			until = end + 1 - text;
			said = r.len;
		}
	}
	r.said[said] = 0;
	feed_begin(&f, FEED_STREAM, kind, SCAN_BUF);
	feed(&f, stream, until);
	equal = !strcmp(f.text, r.said);
	if (!equal)
		fprintf(stderr, "ours: %s\nreference: %s\nof: %.*s", f.text, r.said, (int)until,
			(const char *)stream);
	feed_end(&f);
	free(r.said);
	free(text);
	return equal;
}

#endif
