/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See reply.h. A refusal fits one packet, so all of its lines together have a limit. */
#include "reply.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/reply_text.h"

/* Headers that sluice writes by itself, and those that say how a message is framed or kept. */
static const char *const own_headers[] = {
	"connection",
	"content-encoding",
	"content-length",
	"content-type",
	"date",
	"keep-alive",
	"ratelimit",
	"ratelimit-policy",
	"retry-after",
	"retry-after-ms",
	"te",
	"trailer",
	"transfer-encoding",
	"upgrade",
	"x-should-retry",
	"access-control-allow-origin",
	"access-control-expose-headers",
};

/* A name of RFC 9110 5.6.2. */
static bool is_token(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isascii((unsigned char)text[i]) ||
		    (!isalnum((unsigned char)text[i]) && !strchr("!#$%&'*+-.^_`|~", text[i])))
			return false;
	return n;
}

/* Printable ASCII, without spaces around it. */
static bool is_value(const char *text)
{
	size_t n = strlen(text);

	if (!n || text[0] == ' ' || text[n - 1] == ' ')
		return false;
	for (size_t i = 0; i < n; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			return false;
	return true;
}

int reply_take_header(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	struct service_reply *r = to;
	const char *value = strchr(text, '=');
	size_t n = value ? (size_t)(value - text) : 0, used = strlen(r->lines);

	if (!is_token(text, n)) {
		parse_say(err, len, "\"" PARSE_QUOTE "\" does not begin with the name of a header",
			  PARSE_QUOTED(text));
		return -EINVAL;
	}
	value++;
	for (size_t i = 0; i < sizeof(own_headers) / sizeof(own_headers[0]); i++)
		if (strlen(own_headers[i]) == n && !strncasecmp(text, own_headers[i], n)) {
			parse_say(err, len, "%s is not for the operator to set", own_headers[i]);
			return -EINVAL;
		}
	if (!is_value(value)) {
		parse_say(
			err, len,
			"%.*s: \"" PARSE_QUOTE
			"\" is not a header's value: printable ASCII characters, no space around them",
			(int)n, text, PARSE_QUOTED(value));
		return -EINVAL;
	}
	if (used + n + strlen(value) + strlen(": \r\n") >= sizeof(r->lines)) {
		parse_say(err, len, "more than %d bytes of header lines", REPLY_LINES_MAX);
		return -EINVAL;
	}
	snprintf(r->lines + used, sizeof(r->lines) - used, "%.*s: %s\r\n", (int)n, text, value);
	return 0;
}

/* An origin as browsers write it (RFC 6454 6.2): SCHEME://HOST[:PORT], in lower case. */
static bool is_origin(const char *text, size_t n)
{
	const char *host = memmem(text, n, "://", 3);

	if (!host || host == text || n < (size_t)(host - text) + 4 || n >= ORIGIN_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isgraph((unsigned char)text[i]) || isupper((unsigned char)text[i]) ||
		    strchr("?#@,\"\\", text[i]) ||
		    (text[i] == '/' && (text + i < host || text + i > host + 2)))
			return false;
	return true;
}

int reply_take_cors(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	struct service_reply *r = to;
	const char *at = text;

	if (!strcmp(text, "off"))
		return 0;
	for (at += strspn(at, " "); *at; at += strspn(at, " ")) {
		size_t n = strcspn(at, " ");
		bool any = n == 1 && *at == '*';

		if ((!any && !is_origin(at, n)) || (any && strcmp(text, "*") != 0)) {
			parse_say(
				err, len,
				"\"" PARSE_QUOTE
				"\" is not off, \"*\" or origins like https://chat.example.com, in lower case and with spaces between",
				PARSE_QUOTED(text));
			return -EINVAL;
		}
		if (r->origin_count == SLUICE_ORIGINS_MAX) {
			parse_say(err, len, "more than %d origins", SLUICE_ORIGINS_MAX);
			return -EINVAL;
		}
		memcpy(r->origin[r->origin_count++], at, n);
		at += n;
	}
	if (r->origin_count)
		return 0;
	return field_wrong(err, len, text, "off, \"*\" or origins like https://chat.example.com");
}

/* Puts Origin into the headers that are read, if a refusal depends on it. */
static int want_origin(struct sluice_rules *rules, char *err, size_t len)
{
	static const char name[HTTP1_TOKEN_MAX] = "origin";
	bool other = !strcmp(rules->header, name) || !strcmp(rules->priority, name);

	for (unsigned i = 0; i < HTTP1_KEYS_MAX; i++)
		other |= !strcmp(rules->key[i], name);
	if (other) {
		parse_say(
			err, len,
			"\"origin\" is read for something else, so cors cannot have a list of origins");
		return -EINVAL;
	}
	memcpy(rules->origin, name, sizeof(name));
	return 0;
}

int reply_finish(const struct service_reply *reply, struct sluice_rules *rules, char *err,
		 size_t len)
{
	if (reply->origin_count > 1 && want_origin(rules, err, len) < 0)
		return -EINVAL;
	for (int i = 0; i < (int)reply->origin_count || !i; i++) {
		struct sluice_reply_head head;
		size_t bytes;

		if (!reply_text_head(&head, reply, i, true, &bytes))
			continue;
		parse_say(
			err, len,
			"reply-headers and cors make %zu bytes of header lines; a refusal has room for %d",
			bytes, REPLY_LINES_MAX);
		return -EINVAL;
	}
	return 0;
}
