/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a server says. See internal.h; fleet.lua has the form of an answer. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "core/fleet_budget.h"
#include "core/printable.h"
#include "fleet/internal.h"

#define ELEMENTS_MAX (3 * STORE_HOSTS + 8)

static const redisReplyObjectFunctions *plain;

static void *bounded_string(const redisReadTask *task, char *text, size_t len)
{
	return len > STORE_REPLY_MAX ? NULL : plain->createString(task, text, len);
}

#if HIREDIS_MAJOR == 0 /* Debian 12 */
typedef int array_size;
#else
typedef size_t array_size;
#endif

static void *bounded_array(const redisReadTask *task, array_size elements)
{
	if ((size_t)elements > ELEMENTS_MAX) /* below zero, too */
		return NULL;
	return plain->createArray(task, elements);
}

redisReader *store_reader(void)
{
	static redisReplyObjectFunctions bounded;
	redisReader *reader = redisReaderCreate();

	if (!reader)
		return NULL;
	plain = plain ? plain : reader->fn;
	bounded = *plain;
	bounded.createString = bounded_string;
	bounded.createArray = bounded_array;
	reader->fn = &bounded;
	return reader;
}

/* "HOST:PORT", HOST may be "" and may have colons. */
static int read_endpoint(const char *text, size_t len, char host[STORE_HOST_MAX], uint16_t *port)
{
	const char *colon = memrchr(text, ':', len);
	unsigned long number = 0;

	if (!colon || colon == text + len - 1 || colon - text >= STORE_HOST_MAX)
		return -EINVAL;
	for (const char *at = colon + 1; at < text + len; at++) {
		if (*at < '0' || *at > '9' || number > 65535)
			return -EINVAL;
		number = number * 10 + (unsigned long)(*at - '0');
	}
	if (!number || number > 65535)
		return -EINVAL;
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = 0;
	*port = (uint16_t)number;
	return 0;
}

static bool has_word(const char *text, const char *word)
{
	const char *at = strstr(text, word);
	char after = at ? at[strlen(word)] : 0;

	return at && (at == text || at[-1] == ' ' || at[-1] == '-') && (!after || after == ' ');
}

/* An error inside a script stands in its sentence: "ERR Error running script … -READONLY You …". */
static const struct {
	const char *code, *sentence;
} faults[] = {
	{"READONLY", "the store is a read-only replica"},
	{"MASTERDOWN", "the store is a replica without its master"},
	{"LOADING", "the store loads its data"},
	{"OOM", "the store's memory is full"},
	{"NOREPLICAS", "the store has too few replicas"},
	{"CLUSTERDOWN", "the store's cluster is down"},
	{"ASK", "the cluster moves the fleet's keys to another node"},
	{"TRYAGAIN", "the cluster moves the fleet's keys to another node"},
	{"NOAUTH", "the store wants a password"},
	{"WRONGPASS", "the store refuses the user or the password"},
	{"NOPERM", "the store does not permit this user what a fleet needs"},
	{"BUSY", "the store is busy with a script"},
	{"MISCONF", "the store cannot write to its disk, and takes nothing"},
};

enum store_fault store_fault_of(const char *error, char why[STORE_WHY_MAX],
				char host[STORE_HOST_MAX], uint16_t *port)
{
	char safe[STORE_WHY_MAX - 64];

	printable_text(safe, sizeof(safe), error);
	snprintf(why, STORE_WHY_MAX, "the store answers with an error: %s", safe);
	if (has_word(error, "NOSCRIPT"))
		return STORE_FAULT_NO_SCRIPT;
	if (!strncmp(error, "MOVED ", 6)) {
		const char *at = strchr(error + 6, ' ');

		if (at && !read_endpoint(at + 1, strlen(at + 1), host, port)) {
			snprintf(why, STORE_WHY_MAX, "the fleet's keys are on another node");
			return STORE_FAULT_MOVED;
		}
	}
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		if (has_word(error, faults[i].code)) {
			snprintf(why, STORE_WHY_MAX, "%s", faults[i].sentence);
			break;
		}
	}
	return STORE_FAULT_OTHER;
}

struct cursor {
	const char *at, *end;
};

/* The next word, up to a space. 0 bytes: there is none. */
static size_t next_word(struct cursor *c, const char **word)
{
	size_t len = 0;

	*word = c->at;
	while (c->at + len < c->end && c->at[len] != ' ')
		len++;
	c->at += len;
	if (c->at < c->end)
		c->at++;
	return len;
}

static int next_number(struct cursor *c, uint64_t most, uint64_t *out)
{
	const char *word;
	size_t len = next_word(c, &word);
	uint64_t number = 0;

	if (!len)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		unsigned digit = (unsigned)word[i] - '0';

		if (digit > 9 || __builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, digit, &number))
			return -EINVAL;
	}
	if (number > most)
		return -EINVAL;
	*out = number;
	return 0;
}

/* A word of printable ASCII without spaces. */
static int next_text(struct cursor *c, char *out, size_t size)
{
	const char *word;
	size_t len = next_word(c, &word);

	if (!len || len >= size)
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		if (word[i] < '!' || word[i] > '~')
			return -EINVAL;
	memcpy(out, word, len);
	out[len] = 0;
	return 0;
}

int store_read_answer(struct store_reading *out, const char *text, size_t len, uint64_t call,
		      struct store_budget *budgets, size_t count)
{
	struct cursor c = {text, text + len};
	struct store_answer *a = &out->answer;
	uint64_t number, behind, hosts, lost, budget_count, news_count;

	*a = (struct store_answer){.budgets = budgets, .count = count, .news = out->news};
	if (next_number(&c, UINT64_MAX, &number) || number != call ||
	    next_number(&c, UINT64_MAX, &a->epoch) || next_number(&c, 1, &behind) ||
	    next_number(&c, 1 << 24, &hosts) || next_text(&c, out->news_id, sizeof(out->news_id)) ||
	    next_number(&c, 1, &lost) || next_number(&c, STORE_BATCH, &budget_count) ||
	    budget_count != count || next_number(&c, STORE_NEWS, &news_count))
		return -EINVAL;
	for (size_t i = 0; i < count; i++) {
		struct store_budget *b = &budgets[i];

		if (next_number(&c, 2 * FLEET_BUDGET_MAX_US, &b->level_us) ||
		    next_number(&c, b->want, &b->granted))
			return -EINVAL;
	}
	for (size_t i = 0; i < news_count; i++) {
		struct store_news *n = &out->news[i];

		if (next_text(&c, n->key, sizeof(n->key)) ||
		    next_number(&c, 2 * FLEET_BUDGET_MAX_US, &n->level_us))
			return -EINVAL;
	}
	if (c.at != c.end)
		return -EINVAL;
	a->behind = behind;
	a->hosts = hosts ? (uint32_t)hosts : 1;
	a->news_count = news_count;
	a->news_lost = lost;
	return 0;
}

static bool is_text(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_STRING && !memchr(reply->str, 0, (size_t)reply->len);
}

static bool is_array(const redisReply *reply, size_t least)
{
	return reply->type == REDIS_REPLY_ARRAY && reply->elements >= least;
}

static int read_ms(const redisReply *reply, uint64_t *out)
{
	struct cursor c = {reply->str, reply->str + reply->len};

	return next_number(&c, UINT64_MAX, out);
}

int store_read_version(const redisReply *reply, uint64_t *out)
{
	return is_text(reply) && reply->len < 17 ? read_ms(reply, out) : -EINVAL;
}

int store_read_hosts(const redisReply *reply,
		     void (*each)(void *arg, const char *host, const char *info,
				  uint64_t seen_ms_ago),
		     void *arg)
{
	uint64_t ms;

	if (!is_array(reply, 0) || reply->elements % 3)
		return -EINVAL;
	for (size_t i = 0; i < reply->elements; i++)
		if (!is_text(reply->element[i]) || (i % 3 == 1 && read_ms(reply->element[i], &ms)))
			return -EINVAL;
	for (size_t i = 0; each && i < reply->elements; i += 3) {
		read_ms(reply->element[i + 1], &ms);
		each(arg, reply->element[i]->str, reply->element[i + 2]->str, ms);
	}
	return 0;
}

static uint64_t aged(uint64_t level_us, uint64_t age_us)
{
	return level_us > age_us ? level_us - age_us : 0;
}

int store_read_reply(struct store_reading *out, const redisReply *reply, uint64_t call,
		     struct store_budget *budgets, size_t count)
{
	uint64_t rules, age_us;

	if (!is_array(reply, 5) || reply->elements != 5 ||
	    reply->element[0]->type != REDIS_REPLY_STRING ||
	    store_read_hosts(reply->element[1], NULL, NULL) ||
	    store_read_version(reply->element[2], &rules) ||
	    store_read_version(reply->element[3], &age_us) || !is_text(reply->element[4]) ||
	    (size_t)reply->element[4]->len >= sizeof(out->answer.policy) ||
	    store_read_answer(out, reply->element[0]->str, (size_t)reply->element[0]->len, call,
			      budgets, count))
		return -EINVAL;
	out->answer.rules = rules;
	printable_text(out->answer.policy, sizeof(out->answer.policy), reply->element[4]->str);
	for (size_t i = 0; i < count; i++)
		budgets[i].level_us = aged(budgets[i].level_us, age_us);
	for (size_t i = 0; i < out->answer.news_count; i++)
		out->news[i].level_us = aged(out->news[i].level_us, age_us);
	return 0;
}

bool store_is_master(const redisReply *reply)
{
	return is_array(reply, 1) && is_text(reply->element[0]) &&
	       !strcmp(reply->element[0]->str, "master");
}

int store_read_sha(const redisReply *reply, char sha[41])
{
	if (!is_text(reply) || reply->len != 40 || strspn(reply->str, "0123456789abcdef") != 40)
		return -EINVAL;
	memcpy(sha, reply->str, 41);
	return 0;
}

int store_read_sentinel(const redisReply *reply, char host[STORE_HOST_MAX], uint16_t *port)
{
	char text[STORE_HOST_MAX + 8];
	int len;

	if (!is_array(reply, 2) || !is_text(reply->element[0]) || !is_text(reply->element[1]))
		return -EINVAL;
	len = snprintf(text, sizeof(text), "%s:%s", reply->element[0]->str, reply->element[1]->str);
	if (len >= (int)sizeof(text) || !reply->element[0]->len)
		return -EINVAL;
	return read_endpoint(text, (size_t)len, host, port);
}
