/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Builds each text of a 429 once: a sentence for each model and reason, a head for each service, a
 * form for each API. include/sluice/reply.h joins them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "reply_text.h"

#define RESET ";r=0;t="
#define WAIT  " Please try again after "

/*
 * Bytes of a name as escaped JSON. The longest reply of all is that of such a name, with no_retry,
 * at a service with REPLY_LINES_MAX bytes of its own lines. It is shorter than SLUICE_REPLY_MAX.
 * The unit test checks that for every reason and API.
 */
#define ESCAPED_MAX 256

#define FITS(after, before)                                                                        \
	_Static_assert(sizeof(after) - 1 <= SLUICE_REPLY_TAIL_MAX, "the tail fits");               \
	_Static_assert(sizeof("x-should-retry: false\r\nConnection: close\r\n\r\n" before) - 1 <=  \
			       SLUICE_REPLY_OPEN_MAX,                                              \
		       "the form fits");
#define X(api, after, before, after503, before503)                                                 \
	FITS(after, before)                                                                        \
	FITS(after503, before503)
SLUICE_APIS(X)
#undef X

/* The sentence of a refusal; name: the model's, as escaped JSON, or NULL. */
static void say_reason(char *out, size_t size, enum sluice_reason reason, const char *name)
{
	switch (reason) {
#define X(reason, label, of_model, of_server)                                                      \
	case SLUICE_REASON_##reason:                                                               \
		if (name)                                                                          \
			snprintf(out, size, of_model, name);                                       \
		else                                                                               \
			snprintf(out, size, "%s", of_server);                                      \
		break;
		SLUICE_REASONS(X)
#undef X
	case SLUICE_REASON_COUNT:
		break;
	}
}

/* Bytes of the UTF-8 sequence at s (RFC 3629: shortest form, no surrogates), 0 if there is none. */
static size_t utf8_length(const unsigned char *s)
{
	size_t n, i;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	for (i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80) /* stops at the terminating zero, too */
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

/* JSON-escapes name into out. A name that does not fit is cut between characters and ends in
 * "...". */
static void escape(char *out, size_t size, const char *name)
{
	const unsigned char *s = (const unsigned char *)name;
	size_t used = 0;

	while (*s) {
		char piece[8];
		size_t n = utf8_length(s), len;

		if (!n)
			len = snprintf(piece, sizeof(piece), "\\ufffd");
		else if (*s == '"' || *s == '\\')
			len = snprintf(piece, sizeof(piece), "\\%c", *s);
		else if (*s < 0x20 || *s == 0x7f)
			len = snprintf(piece, sizeof(piece), "\\u%04x", *s);
		else
			len = snprintf(piece, sizeof(piece), "%.*s", (int)n, (const char *)s);
		if (used + len + sizeof("...") > size) {
			memcpy(out + used, "...", sizeof("..."));
			return;
		}
		memcpy(out + used, piece, len);
		used += len;
		s += n ? n : 1;
	}
	out[used] = 0;
}

/* Puts the sentence and the header lines `fields` into a reply. */
static int assemble(struct sluice_reply *out, const char *message, const char *fields)
{
	struct sluice_reply reply = {0};
	const char *reset = strstr(fields, RESET);
	size_t fields_len = strlen(fields);
	size_t len = strlen(message) + strlen(WAIT);

	if (len > sizeof(reply.sentence) || fields_len > sizeof(reply.fields))
		return -EMSGSIZE;
	memcpy(reply.fields, fields, fields_len);
	memcpy(reply.sentence, message, strlen(message));
	memcpy(reply.sentence + strlen(message), WAIT, strlen(WAIT));
	reply.fields_len = (__u16)fields_len;
	reply.reset_at = (__u16)(reset ? reset + strlen(RESET) - fields : 0);
	reply.len = (__u16)len;
	*out = reply;
	return 0;
}

int reply_text_build(struct sluice_reply *out, const char *model, enum sluice_reason reason)
{
	char name[ESCAPED_MAX], message[ESCAPED_MAX + 128];

	if ((unsigned)reason >= SLUICE_REASON_COUNT)
		return -EINVAL;
	if (model && *model)
		escape(name, sizeof(name), model);
	say_reason(message, sizeof(message), reason, model && *model ? name : NULL);
	return assemble(out, message, "");
}

int reply_text_build_quota(struct sluice_reply *out, const struct quota_def *quota,
			   enum sluice_reason reason)
{
	bool tokens = reason == SLUICE_REASON_TOKEN_QUOTA;
	const struct quota_rate *rate = tokens ? &quota->tokens : &quota->requests;
	const char *what = tokens ? "tokens" : "requests";
	char message[160], fields[160], period[32];
	uint64_t window_s, most;

	if ((!tokens && reason != SLUICE_REASON_REQUEST_QUOTA) || !rate->most)
		return -EINVAL;
	quota_period(period, sizeof(period), rate->period_ns);
	snprintf(message, sizeof(message),
		 "This client has used up its quota of %" PRIu64 " %s per %s.", rate->most, what,
		 period);
	/* The window is in whole seconds; scale `most` to it. */
	window_s = (rate->period_ns + 999999999) / 1000000000;
	most = (uint64_t)((double)rate->most * (double)(window_s * 1000000000) /
			  (double)rate->period_ns);
	snprintf(fields, sizeof(fields),
		 "RateLimit-Policy: \"%s\";q=%" PRIu64 ";w=%" PRIu64 "\r\n"
		 "RateLimit: \"%s\"" RESET "%*s\r\n",
		 what, most, window_s, what, SLUICE_NUMBER_WIDTH, "");
	return assemble(out, message, fields);
}

/* The lines for pages of another origin (Fetch, CORS protocol). */
static void say_origin(char *out, size_t size, const struct service_reply *reply, int origin)
{
	bool list = reply->origin_count > 1;

	out[0] = '\0';
	if (!reply->origin_count)
		return;
	if (!list)
		origin = 0;
	snprintf(out, size, "%s%s%s%s%s", list ? "Vary: Origin\r\n" : "",
		 origin < 0 ? "" : "Access-Control-Allow-Origin: ",
		 origin < 0 ? "" : reply->origin[origin], origin < 0 ? "" : "\r\n",
		 origin < 0 ? "" : "Access-Control-Expose-Headers: " REPLY_EXPOSED "\r\n");
}

int reply_text_head(struct sluice_reply_head *out, const struct service_reply *reply, int origin,
		    bool unavailable, size_t *bytes)
{
	struct sluice_reply_head head = {0};
	char text[sizeof(head.text) + 1], cors[REPLY_LINES_MAX + 1];
	size_t lines;
	int len;

	say_origin(cors, sizeof(cors), reply, origin);
	lines = strlen(cors) + strlen(reply->lines);
	if (bytes)
		*bytes = lines;
	if (lines > REPLY_LINES_MAX)
		return -EMSGSIZE;
	len = snprintf(text, sizeof(text),
		       "HTTP/1.1 %s\r\n"
		       "Content-Type: application/json\r\n"
		       "Content-Length: 000\r\n"
		       "Retry-After: %*s\r\n"
		       "retry-after-ms: %*s\r\n"
		       "%s%s",
		       unavailable ? "503 Service Unavailable" : "429 Too Many Requests",
		       SLUICE_NUMBER_WIDTH, "", SLUICE_NUMBER_WIDTH, "", cors, reply->lines);
	if ((size_t)len > sizeof(head.text))
		return -EMSGSIZE;
	memcpy(head.text, text, (size_t)len);
	head.len = (__u16)len;
#define AFTER(name) (__u16)(strstr(text, "\r\n" name ": ") + strlen("\r\n" name ": ") - text)
	head.length_at = AFTER("Content-Length");
	head.seconds_at = AFTER("Retry-After");
	head.ms_at = AFTER("retry-after-ms");
#undef AFTER
	*out = head;
	return 0;
}

void reply_text_form(struct sluice_reply_form *out, enum sluice_api api, bool unavailable,
		     bool no_retry, bool kept)
{
	static const struct {
		const char *before, *after;
	} texts[][2] = {
#define X(api, after, before, after503, before503)                                                 \
	[SLUICE_API_##api] = {{before, after}, {before503, after503}},
		SLUICE_APIS(X)
#undef X
	};
	const char *before = texts[api][unavailable].before;
	const char *after = texts[api][unavailable].after;
	const char *retry = no_retry ? "x-should-retry: false\r\n" : "";
	const char *connection = kept ? "" : "Connection: close\r\n";
	char open[sizeof(out->open) + 1];
	size_t len;

	len = (size_t)snprintf(open, sizeof(open), "%s%s\r\n%s", retry, connection, before);
	memset(out, 0, sizeof(*out));
	memcpy(out->open, open, len);
	out->len = (__u16)len;
	out->body_at = (__u16)(strlen(retry) + strlen(connection) + 2);
	memset(out->tail, ' ', sizeof(out->tail));
	memcpy(out->tail, after, strlen(after));
}
