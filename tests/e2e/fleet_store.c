/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A host of a fleet, without sluice: the store's client in a loop of its own. It obeys the lines of
 * a FIFO and prints what happens, one event a line:
 *
 *   call [KEY INTERVAL-NS SPAN-US MOST-US WANT CLAIM-US CHARGE-US]…
 *   info TEXT, hosts, quit
 *
 * A line that cannot be obeyed yet (a call while the store is down, or another call is under way)
 * waits. `turns` counts the turns of the loop since the last event: a client that waits for its
 * store has few of them.
 *
 * With --arithmetic N ADDRESS PORT, it holds the script against core/fleet_budget.c on N random
 * steps.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <hiredis/hiredis.h>

#include "core/fleet_budget.h"
#include "fleet/call.h"

static struct store *store;
static uint64_t turns, number;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void answered(void *arg, const struct store_answer *a)
{
	printf("answer epoch %" PRIu64 " behind %d hosts %u lost %d", a->epoch, a->behind, a->hosts,
	       a->news_lost);
	for (size_t i = 0; i < a->count; i++)
		printf(" budget %s %" PRIu64 " %" PRIu64, a->budgets[i].key, a->budgets[i].level_us,
		       a->budgets[i].granted);
	for (size_t i = 0; i < a->news_count; i++)
		printf(" news %s %" PRIu64, a->news[i].key, a->news[i].level_us);
	printf(" turns %" PRIu64 "\n", turns);
	turns = 0;
}

static void changed(void *arg, bool up, const char *why)
{
	if (up)
		printf("up %s turns %" PRIu64 "\n", store_address(store), turns);
	else
		printf("down %s turns %" PRIu64 "\n", why, turns);
	turns = 0;
}

static void host(void *arg, const char *name, const char *info, uint64_t ms)
{
	printf("host %s %s %s\n", name, info, ms < 3000 ? "now" : "gone");
}

/* False: not yet. */
static bool obey(char *line)
{
	struct store_budget budgets[STORE_BATCH];
	size_t count = 0;
	char *rest;
	const char *word = strtok_r(line, " \n", &rest);

	if (!word)
		return true;
	if (!strcmp(word, "quit")) {
		store_free(store);
		exit(0);
	}
	if (!strcmp(word, "info"))
		store_set_info(store, strtok_r(NULL, "\n", &rest));
	else if (!strcmp(word, "hosts"))
		store_ask_hosts(store, host, NULL);
	if (strcmp(word, "call"))
		return true;
	while ((word = strtok_r(NULL, " \n", &rest))) {
		struct store_budget *b = &budgets[count++];
		char *end = rest;

		memset(b, 0, sizeof(*b));
		snprintf(b->key, sizeof(b->key), "%s", word);
		b->interval_ns = strtoull(end, &end, 10);
		b->span_us = strtoull(end, &end, 10);
		b->most_us = b->reach_us = strtoull(end, &end, 10);
		b->want = strtoull(end, &end, 10);
		b->claim_us = strtoull(end, &end, 10);
		b->charge_us = strtoll(end, &end, 10);
		rest = end;
	}
	store_call(store, ++number, budgets, count, now());
	return true;
}

static int live(const struct store_config *config, const char *fifo)
{
	const struct store_handlers handlers = {answered, changed, NULL};
	FILE *commands = fopen(fifo, "r+");
	char err[512], line[65536];
	bool has_line = false;

	if (!commands || fcntl(fileno(commands), F_SETFL, O_NONBLOCK)) {
		perror(fifo);
		return 1;
	}
	if (store_new(&store, config, &handlers, err, sizeof(err))) {
		printf("refused %s\n", err);
		return 2;
	}
	printf("ready\n");
	for (;; turns++) {
		struct pollfd fds[] = {{store_fd(store), POLLIN, 0}, {fileno(commands), POLLIN, 0}};

		poll(fds, 2, has_line ? 1 : 2);
		store_run(store, now());
		has_line = has_line || fgets(line, sizeof(line), commands);
		clearerr(commands);
		if (has_line && (strncmp(line, "call", 4) || store_idle(store)))
			has_line = !obey(line);
	}
}

/* --arithmetic */

static uint64_t seed = 1;

static uint64_t random_below(uint64_t bound)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return bound ? seed % bound : 0;
}

/* Of any magnitude. */
static uint64_t random_size(uint64_t bound)
{
	return random_below(1 + (bound >> random_below(24)));
}

static uint64_t random_number(void)
{
	return random_below(UINT64_MAX);
}

/* The script with another clock, and keys that outlive it. */
static char *with_clock(void)
{
	static const char *const swap[][2] = {
		{"redis.call('TIME')", "redis.call('MGET', 'clock-s', 'clock-us')"},
		{"floor(level / 1000) + 1000", "900000000"},
	};
	char *text = strdup(store_script);

	for (size_t i = 0; i < 2; i++) {
		char *at = strstr(text, swap[i][0]), *next;

		if (!at) {
			printf("the script has no %s\n", swap[i][0]);
			exit(1);
		}
		*at = 0;
		if (asprintf(&next, "%s%s%s", text, swap[i][1], at + strlen(swap[i][0])) < 0)
			exit(1);
		free(text);
		text = next;
	}
	return text;
}

static redisReply *must(redisReply *reply)
{
	if (!reply || reply->type == REDIS_REPLY_ERROR) {
		printf("the store answers %s\n", reply ? reply->str : "nothing");
		exit(1);
	}
	return reply;
}

static void run_call(redisContext *c, struct store_call *call, struct store_reading *reading)
{
	const char **argv;
	const size_t *lens;
	int argc = store_call_format(call, 0, &argv, &lens);
	redisReply *reply = must(redisCommandArgv(c, argc, argv, lens));

	if (store_read_reply(reading, reply, call->number, call->budgets, call->count)) {
		printf("not an answer: %s\n", reply->elements ? reply->element[0]->str : "");
		exit(1);
	}
	store_call_answered(call, reading, reply->element[1]);
	freeReplyObject(reply);
}

#define TOGETHER 8

static struct store_budget random_budget(unsigned group, unsigned i)
{
	struct store_budget b = {.interval_ns = 1 + random_size(2700000000000000)};

	snprintf(b.key, sizeof(b.key), "%u:r:%u", group, i);
	b.span_us = b.interval_ns / 1000 * (1 + random_size(1000000));
	if (b.span_us > 35000000000000)
		b.span_us = 35000000000000;
	b.most_us = b.span_us + random_size(b.span_us);
	b.reach_us = b.most_us;
	return b;
}

static int wrong(const struct store_budget *b, const struct fleet_budget_result *r, uint64_t told,
		 uint64_t announced)
{
	printf("%s interval %" PRIu64 " span %" PRIu64 " most %" PRIu64 " reach %" PRIu64
	       " want %" PRIu64 " claim %" PRIu64 " charge %" PRId64 ": level %" PRIu64
	       " granted %" PRIu64 " news %" PRIu64 " by the script, %" PRIu64 " %" PRIu64
	       " %" PRIu64 " by C\n",
	       b->key, b->interval_ns, b->span_us, b->most_us, b->reach_us, b->want, b->claim_us,
	       b->charge_us, b->level_us, b->granted, told, r->level_us, r->granted, announced);
	return 1;
}

static int arithmetic(uint64_t steps, const char *address, int port)
{
	static struct store_call call, other;
	static struct store_reading reading;
	redisContext *c = redisConnect(address, port);
	uint64_t done = 0, announced = 0, granted = 0, now_us = 1800000000000000;
	char *script = with_clock(), err[256];
	redisReply *reply;

	if (!c || c->err) {
		printf("no connection\n");
		return 1;
	}
	if (store_call_new(&call, "arithmetic", "one", random_number, err, sizeof(err)) ||
	    store_call_new(&other, "arithmetic", "two", random_number, err, sizeof(err)))
		return 1;
	call.incarnation = 1;
	other.incarnation = 2;
	reply = must(redisCommand(c, "SCRIPT LOAD %s", script));
	store_read_sha(reply, call.sha);
	store_read_sha(reply, other.sha);
	freeReplyObject(reply);
	for (unsigned group = 0; done < steps; group++) {
		struct fleet_budget state[TOGETHER] = {0};
		struct store_budget budgets[TOGETHER];

		for (unsigned i = 0; i < TOGETHER; i++)
			budgets[i] = random_budget(group, i);
		for (unsigned step = 0; step < 25; step++) {
			now_us += random_size(2 * budgets[random_below(TOGETHER)].span_us) %
				  1000000000000;
			freeReplyObject(must(redisCommand(c, "MSET clock-s %llu clock-us %llu",
							  now_us / 1000000, now_us % 1000000)));
			for (unsigned i = 0; i < TOGETHER; i++) {
				struct store_budget *b = &budgets[i];

				b->want = random_size(2 * b->span_us * 1000 / b->interval_ns);
				b->reach_us = random_below(4) ? b->most_us : b->span_us;
				b->claim_us = random_below(4) ? 0 : random_size(b->most_us);
				b->charge_us =
					(int64_t)random_size(b->span_us / (1 + random_below(9)));
				if (!random_below(4))
					b->charge_us = -b->charge_us;
			}
			store_call_begin(&call, call.number + 1, budgets, TOGETHER);
			run_call(c, &call, &reading);
			store_call_begin(&other, other.number + 1, NULL, 0);
			run_call(c, &other, &reading);
			for (unsigned i = 0; i < TOGETHER; i++, done++) {
				const struct store_budget *b = &call.budgets[i];
				struct fleet_budget_call s = {.interval_ns = b->interval_ns,
							      .span_us = b->span_us,
							      .most_us = b->most_us,
							      .reach_us = b->reach_us,
							      .want = b->want,
							      .claim_us = b->claim_us,
							      .charge_us = b->charge_us};
				struct fleet_budget_result r;
				uint64_t told = 0, expected;

				fleet_budget_bound(&s);
				fleet_budget_step(&state[i], &s, now_us, &r);
				for (size_t n = 0; n < reading.answer.news_count; n++)
					if (!strcmp(reading.news[n].key, b->key))
						told = reading.news[n].level_us;
				expected = r.announce ? r.level_us : 0;
				if (b->level_us != r.level_us || b->granted != r.granted ||
				    told != expected)
					return wrong(b, &r, told, expected);
				announced += r.announce;
				granted += !!r.granted;
			}
		}
	}
	printf("%" PRIu64 " steps, %" PRIu64 " grants, %" PRIu64 " announced\n", done, granted,
	       announced);
	free(script);
	redisFree(c);
	return announced > steps / 100 && granted > steps / 10 ? 0 : 1;
}

int main(int argc, char **argv)
{
	const char *addresses[16], *fifo = NULL;
	struct store_config config = {
		.addresses = addresses, .fleet = "f", .host = "one", .incarnation = store_random()};
	const struct {
		const char *name, **value;
	} options[] = {
		{"--sentinel", &config.sentinel_master},
		{"--user", &config.user},
		{"--password", &config.password},
		{"--fleet", &config.fleet},
		{"--host", &config.host},
		{"--info", &config.info},
		{"--ca", &config.ca},
		{"--cert", &config.cert},
		{"--key", &config.key},
		{"--commands", &fifo},
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 5 && !strcmp(argv[1], "--arithmetic"))
		return arithmetic(strtoull(argv[2], NULL, 10), argv[3], atoi(argv[4]));
	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--address") && config.address_count < 16)
			addresses[config.address_count++] = argv[i + 1];
		for (size_t o = 0; o < sizeof(options) / sizeof(options[0]); o++)
			if (!strcmp(argv[i], options[o].name))
				*options[o].value = argv[i + 1];
	}
	return live(&config, fifo);
}
