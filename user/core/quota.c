/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One parser of quotas for the file, the command line and the control socket. Numbers stay integers
 * until they become intervals, so no precision is lost. The bounds keep every product that the
 * kernel computes within 64 bits.
 */
#include "core/quota.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/parse.h"
#include "core/text.h"

#define MOST_MAX      1000000000ULL /* requests or tokens in one period, and at once */
#define PERIOD_MAX_NS (31 * 86400000000000ULL)
#define PERIOD_MIN_NS 1000000ULL
/* A plain reply may report ten million tokens at once: interval × that must fit in 63 bits. */
#define TOKEN_MAX_NS 900000000000ULL
#define SPAN_MAX_NS  (400 * 86400000000000ULL)

#define RATE_ALLOWED "N/PERIOD, like 100/60s or 20000/1h, with a period from 1ms to 31d, nor none"

static int read_count(const char *text, size_t n, uint64_t *out)
{
	uint64_t value = 0;

	if (!n || n > 10)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		value = value * 10 + (uint64_t)(text[i] - '0');
	}
	if (!value || value > MOST_MAX)
		return -EINVAL;
	*out = value;
	return 0;
}

/* Leaves the burst: an earlier key may have set it. */
static int read_rate(const char *text, struct quota_rate *rate)
{
	const char *slash = strchr(text, '/');
	uint64_t most;
	double ms;

	if (!strcmp(text, "none")) {
		rate->most = rate->period_ns = 0;
		return 0;
	}
	if (!slash || read_count(text, (size_t)(slash - text), &most))
		return -EINVAL;
	/* "100/s" is 100 each second */
	if (slash[1] >= '0' && slash[1] <= '9') {
		if (parse_duration_ms(slash + 1, 1000, &ms))
			return -EINVAL;
	} else {
		char one[8];

		if (snprintf(one, sizeof(one), "1%s", slash + 1) >= (int)sizeof(one) || !slash[1] ||
		    parse_duration_ms(one, 1000, &ms))
			return -EINVAL;
	}
	if (!(ms * 1e6 >= PERIOD_MIN_NS && ms * 1e6 <= PERIOD_MAX_NS))
		return -EINVAL;
	rate->most = most;
	rate->period_ns = (uint64_t)(ms * 1e6 + 0.5);
	return 0;
}

int quota_take(struct quota_def *def, const char *key, const char *value, char *err, size_t len)
{
	static const char *const keys[] = {"requests", "tokens", "burst", "token-burst", "fleet"};
	struct quota_rate *rate =
		!strcmp(key, "requests") || !strcmp(key, "burst") ? &def->requests : &def->tokens;
	const char *near;

	if (!strcmp(key, "requests") || !strcmp(key, "tokens")) {
		if (!read_rate(value, rate))
			return 0;
		parse_say(err, len, "%s: \"" PARSE_QUOTE "\" is not " RATE_ALLOWED, key,
			  PARSE_QUOTED(value));
		return -EINVAL;
	}
	if (!strcmp(key, "burst") || !strcmp(key, "token-burst")) {
		if (!read_count(value, strlen(value), &rate->burst))
			return 0;
		parse_say(err, len,
			  "%s: \"" PARSE_QUOTE "\" is not a whole number from 1 to 1000000000", key,
			  PARSE_QUOTED(value));
		return -EINVAL;
	}
	if (!strcmp(key, "fleet")) {
		if (!strcmp(value, "on") || !strcmp(value, "off")) {
			def->fleet = !strcmp(value, "on");
			return 0;
		}
		parse_say(err, len, "fleet: \"" PARSE_QUOTE "\" is not on or off",
			  PARSE_QUOTED(value));
		return -EINVAL;
	}
	near = parse_nearest(key, keys, sizeof(keys) / sizeof(keys[0]));
	parse_say(err, len, "unknown key \"" PARSE_QUOTE "\"%s%s%s", PARSE_QUOTED(key),
		  near ? "; did you mean \""
		       : "; there are requests, tokens, burst, token-burst and fleet",
		  near ? near : "", near ? "\"?" : "");
	return -EINVAL;
}

static uint64_t interval(const struct quota_rate *rate)
{
	return rate->most ? (rate->period_ns + rate->most - 1) / rate->most : 0;
}

static int finish_rate(struct quota_rate *rate, const char *what, const char *burst, char *err,
		       size_t len)
{
	if (!rate->most) {
		if (!rate->burst)
			return 0;
		parse_say(err, len, "%s is given without %s", burst, what);
		return -EINVAL;
	}
	if (!rate->burst)
		rate->burst = rate->most;
	if (rate->burst > SPAN_MAX_NS / interval(rate)) {
		parse_say(err, len,
			  "%s: %" PRIu64 " at this rate take more than 400 days to come back",
			  burst, rate->burst);
		return -EINVAL;
	}
	return 0;
}

int quota_finish(struct quota_def *def, char *err, size_t len)
{
	struct quota_def d = *def;

	if (finish_rate(&d.requests, "requests", "burst", err, len) ||
	    finish_rate(&d.tokens, "tokens", "token-burst", err, len))
		return -EINVAL;
	if (interval(&d.tokens) > TOKEN_MAX_NS) {
		parse_say(err, len, "tokens: fewer than one in 15 minutes are no rate");
		return -EINVAL;
	}
	if (d.fleet && !d.requests.most && !d.tokens.most) {
		parse_say(err, len, "fleet is given without requests or tokens");
		return -EINVAL;
	}
	*def = d;
	return 0;
}

int quota_parse(struct quota_def *out, const char *text, char *err, size_t len)
{
	static const char between[] = ", \t";
	struct quota_def def = {0};
	unsigned words = 0;
	bool none = false;

	for (const char *at = text + strspn(text, between); *at; at += strspn(at, between)) {
		size_t n = strcspn(at, between);
		char word[64], *equals;

		snprintf(word, sizeof(word), "%.*s", (int)(n < 200 ? n : 200), at);
		at += n;
		words++;
		if (!strcmp(word, "none")) {
			none = true;
			continue;
		}
		equals = strchr(word, '=');
		if (!equals || n >= sizeof(word)) {
			parse_say(
				err, len,
				"\"" PARSE_QUOTE
				"\" is not KEY=VALUE, like requests=100/60s tokens=20000/60s burst=20, nor none",
				PARSE_QUOTED(word));
			return -EINVAL;
		}
		*equals = 0;
		if (quota_take(&def, word, equals + 1, err, len))
			return -EINVAL;
	}
	if (!words || (none && words > 1)) {
		parse_say(
			err, len,
			"\"" PARSE_QUOTE
			"\" is not a quota like requests=100/60s tokens=20000/60s burst=20, nor none",
			PARSE_QUOTED(text));
		return -EINVAL;
	}
	if (quota_finish(&def, err, len))
		return -EINVAL;
	*out = def;
	return 0;
}

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

static int scale_rate(struct quota_rate *rate, unsigned hundredths, const char *what, char *err,
		      size_t len)
{
	uint64_t most = rate->most * hundredths, shared = common_divisor(most, 100);
	uint64_t burst = rate->burst * hundredths / 100;

	if (!rate->most)
		return 0;
	rate->most = most / shared;
	rate->period_ns *= 100 / shared;
	rate->burst = burst ? burst : 1;
	if (rate->most <= MOST_MAX && rate->burst <= MOST_MAX && rate->period_ns <= SPAN_MAX_NS)
		return 0;
	parse_say(err, len,
		  "its %s would be more than 1000000000, or in a period of more than 400 days",
		  what);
	return -EINVAL;
}

int quota_scale(struct quota_def *out, const struct quota_def *def, uint16_t weight, char *err,
		size_t len)
{
	unsigned hundredths = text_weight_hundredths(weight);
	struct quota_def d = *def;

	if (scale_rate(&d.requests, hundredths, "requests", err, len) ||
	    scale_rate(&d.tokens, hundredths, "tokens", err, len) || quota_finish(&d, err, len))
		return -EINVAL;
	*out = d;
	return 0;
}

void quota_value(struct sluice_quota *out, const struct quota_def *def)
{
	*out = (struct sluice_quota){
		.request_ns = interval(&def->requests),
		.request_span_ns = interval(&def->requests) * def->requests.burst,
		.token_ns = interval(&def->tokens),
		.token_span_ns = interval(&def->tokens) * def->tokens.burst,
		/* Largest debt: another whole period pays it back. */
		.token_most_ns = interval(&def->tokens) * (def->tokens.burst + def->tokens.most),
		.fleet = def->fleet,
	};
}

static const struct {
	uint64_t ns;
	const char *text;
} units[] = {
	{86400000000000ULL, "d"},
	{3600000000000ULL, "h"},
	{1000000000ULL, "s"},
	{1000000ULL, "ms"},
};

/* Prints the period in the largest unit that makes it a whole number. */
static void period(char *out, size_t len, uint64_t ns, const char *space)
{
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (ns >= units[i].ns && !(ns % units[i].ns)) {
			snprintf(out, len, "%" PRIu64 "%s%s", ns / units[i].ns, space,
				 units[i].text);
			return;
		}
	snprintf(out, len, "%.10g%sms", (double)ns / 1e6, space);
}

void quota_period(char *out, size_t len, uint64_t ns)
{
	period(out, len, ns, " ");
}

void quota_words(char out[QUOTA_TEXT_MAX], const struct quota_def *def)
{
	const struct {
		const char *name, *burst;
		const struct quota_rate *rate;
	} both[] = {{"requests", "burst", &def->requests}, {"tokens", "token-burst", &def->tokens}};
	size_t at = 0;

	for (size_t i = 0; i < 2; i++) {
		const struct quota_rate *rate = both[i].rate;
		char time[32];

		if (!rate->most)
			continue;
		period(time, sizeof(time), rate->period_ns, "");
		at += (size_t)snprintf(out + at, QUOTA_TEXT_MAX - at, "%s%s=%" PRIu64 "/%s",
				       at ? " " : "", both[i].name, rate->most, time);
		if (rate->burst != rate->most)
			at += (size_t)snprintf(out + at, QUOTA_TEXT_MAX - at, " %s=%" PRIu64,
					       both[i].burst, rate->burst);
	}
	if (!at)
		snprintf(out, QUOTA_TEXT_MAX, "none");
	else if (def->fleet)
		snprintf(out + at, QUOTA_TEXT_MAX - at, " fleet=on");
}

void quota_of_text(struct quota_def *out, const struct sluice_quota_text *text)
{
	*out = (struct quota_def){
		.requests = {text->requests, text->request_period_ns, text->request_burst},
		.tokens = {text->tokens, text->token_period_ns, text->token_burst},
		.fleet = text->fleet,
	};
}

/* FNV-1a. */
static uint32_t bucket_of(const struct sluice_quota_text *text)
{
	const uint8_t *bytes = (const uint8_t *)text;
	uint32_t hash = 2166136261U;

	for (size_t i = 0; i < sizeof(*text); i++)
		hash = (hash ^ bytes[i]) * 16777619U;
	return hash % QUOTA_BUCKETS;
}

static void link_id(struct quota_book *book, uint32_t id)
{
	uint32_t bucket = bucket_of(&book->text[id]);

	book->next[id] = book->first[bucket];
	book->first[bucket] = (uint16_t)id;
}

static void unlink_id(struct quota_book *book, uint32_t id)
{
	uint16_t *at = &book->first[bucket_of(&book->text[id])];

	while (*at && *at != id)
		at = &book->next[*at];
	if (*at)
		*at = book->next[id];
}

void quota_book_index(struct quota_book *book)
{
	memset(book->first, 0, sizeof(book->first));
	for (uint32_t id = 1; id < SLUICE_QUOTAS_MAX; id++)
		if (book->text[id].scope)
			link_id(book, id);
}

/* A slot that was never used, else one that is not `used`; 0: there is none. */
static uint32_t free_slot(const struct quota_book *book, const bool *used)
{
	for (uint32_t id = 1; id < SLUICE_QUOTAS_MAX; id++)
		if (!book->text[id].scope)
			return id;
	for (uint32_t id = 1; used && id < SLUICE_QUOTAS_MAX; id++)
		if (!used[id])
			return id;
	return 0;
}

uint32_t quota_book_id(struct quota_book *book, const struct quota_def *def, unsigned scope,
		       const char *name, unsigned origin, const bool *used, bool *fresh,
		       bool *taken)
{
	struct sluice_quota_text text = {
		.requests = def->requests.most,
		.request_period_ns = def->requests.period_ns,
		.request_burst = def->requests.burst,
		.tokens = def->tokens.most,
		.token_period_ns = def->tokens.period_ns,
		.token_burst = def->tokens.burst,
		.scope = (__u8)scope,
		.origin = (__u8)origin,
		.fleet = def->fleet,
	};
	uint32_t id;

	*fresh = *taken = false;
	snprintf(text.name, sizeof(text.name), "%s", name ? name : "");
	for (id = book->first[bucket_of(&text)]; id; id = book->next[id])
		if (!memcmp(&book->text[id], &text, sizeof(text)))
			return id;
	id = free_slot(book, used);
	if (!id)
		return 0;
	*fresh = true;
	*taken = book->text[id].scope;
	if (*taken)
		unlink_id(book, id);
	book->text[id] = text;
	link_id(book, id);
	return id;
}
