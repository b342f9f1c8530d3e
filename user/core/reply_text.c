/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Builds the text of a 429 once for each model and reason, so that the kernel only fills in
 * numbers. The body comes first: Content-Length precedes it in the reply and must be right for
 * every number.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "reply_text.h"

static const char TAIL[] =
	" seconds.\",\"type\":\"requests\",\"param\":null,\"code\":\"rate_limit_exceeded\"}}";
_Static_assert(sizeof(TAIL) - 1 <= SLUICE_REPLY_TAIL_MAX, "the tail fits");

#define BODY_START "{\"error\":{\"message\":\""
#define RESET      ";r=0;t="
#define BODY_WAIT  " Please try again after "

/*
 * Bytes of a name as escaped JSON. Head and body take less than 500 bytes around it, so the whole
 * stays below SLUICE_REPLY_MAX. The unit test checks that for every reason.
 */
#define ESCAPED_MAX 400

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

/* Joins head, the fields `more` and body. */
static int assemble(struct sluice_reply *out, const char *message, const char *more, bool no_retry)
{
	struct sluice_reply reply = {.tail_len = sizeof(TAIL) - 1};
	size_t before, body, head_len;
	const char *at;
	char head[480];

	before = strlen(BODY_START) + strlen(message) + strlen(BODY_WAIT);
	body = before + SLUICE_NUMBER_WIDTH + sizeof(reply.tail);
	head_len = snprintf(head, sizeof(head),
			    "HTTP/1.1 429 Too Many Requests\r\n"
			    "Content-Type: application/json\r\n"
			    "Content-Length: %zu\r\n"
			    "Retry-After: %*s\r\n"
			    "retry-after-ms: %*s\r\n"
			    "%s%s"
			    "Connection: close\r\n\r\n",
			    body, SLUICE_NUMBER_WIDTH, "", SLUICE_NUMBER_WIDTH, "", more,
			    no_retry ? "x-should-retry: false\r\n" : "");
	if (head_len >= sizeof(head) || head_len + body > sizeof(reply.text))
		return -EMSGSIZE;

	memset(reply.text, ' ', head_len + body);
	memcpy(reply.text, head, head_len);
	at = strstr(head, "\r\nRetry-After: ") + strlen("\r\nRetry-After: ");
	reply.seconds_at = at - head;
	at = strstr(head, "\r\nretry-after-ms: ") + strlen("\r\nretry-after-ms: ");
	reply.ms_at = at - head;
	at = strstr(head, RESET);
	reply.reset_at = at ? at + strlen(RESET) - head : 0;
	memcpy(reply.text + head_len, BODY_START, strlen(BODY_START));
	memcpy(reply.text + head_len + strlen(BODY_START), message, strlen(message));
	memcpy(reply.text + head_len + before - strlen(BODY_WAIT), BODY_WAIT, strlen(BODY_WAIT));
	reply.message_at = head_len + before;
	reply.len = head_len + body;
	memset(reply.tail, ' ', sizeof(reply.tail));
	memcpy(reply.tail, TAIL, reply.tail_len);
	*out = reply;
	return 0;
}

int reply_text_build(struct sluice_reply *out, const char *model, enum sluice_reason reason,
		     bool no_retry)
{
	char name[ESCAPED_MAX], message[ESCAPED_MAX + 128];

	if ((unsigned)reason >= SLUICE_REASON_COUNT)
		return -EINVAL;
	if (model && *model)
		escape(name, sizeof(name), model);
	say_reason(message, sizeof(message), reason, model && *model ? name : NULL);
	return assemble(out, message, "", no_retry);
}

int reply_text_build_quota(struct sluice_reply *out, const struct quota_def *quota,
			   enum sluice_reason reason, bool no_retry)
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
	return assemble(out, message, fields, no_retry);
}

/* Writes n in decimal, left-justified; returns its digits, never more than SLUICE_NUMBER_WIDTH. */
static size_t put_number(char *out, uint32_t n)
{
	char digits[SLUICE_NUMBER_WIDTH];
	size_t len = 0, i;

	do
		digits[len++] = '0' + n % 10;
	while (n /= 10);
	for (i = 0; i < len; i++)
		out[i] = digits[len - 1 - i];
	return len;
}

int reply_text_fill(const struct sluice_reply *reply, uint32_t retry_after_ms, char *out,
		    size_t size)
{
	uint32_t seconds = retry_after_ms / 1000 + !!(retry_after_ms % 1000);
	size_t at;

	if (reply->len > sizeof(reply->text) ||
	    reply->seconds_at + SLUICE_NUMBER_WIDTH > reply->len ||
	    reply->ms_at + SLUICE_NUMBER_WIDTH > reply->len ||
	    reply->reset_at + SLUICE_NUMBER_WIDTH > reply->len ||
	    reply->message_at + SLUICE_NUMBER_WIDTH + sizeof(reply->tail) != reply->len)
		return -EINVAL;
	if (size < reply->len)
		return -ENOSPC;
	if (!seconds)
		seconds = 1;
	memcpy(out, reply->text, reply->len);
	put_number(out + reply->seconds_at, seconds);
	put_number(out + reply->ms_at, retry_after_ms);
	if (reply->reset_at)
		put_number(out + reply->reset_at, seconds);
	at = reply->message_at;
	at += put_number(out + at, seconds);
	memcpy(out + at, reply->tail, sizeof(reply->tail));
	return reply->len;
}
