/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See fleet_store.h. */
#include "sim/fleet_store.h"

#include <stdlib.h>
#include <string.h>

#include "fleet/sync.h"

/* As in fleet.lua. */
#define NEWS_READ       1024
#define HOST_COUNTED_US 3000000ULL

struct announcement {
	uint32_t host, client;
	char key[STORE_KEY_MAX];
	uint64_t arrival_us;
};

struct fleet_store {
	uint32_t host_count, client_count;
	uint64_t epoch; /* 0: none */
	uint64_t epochs;
	uint64_t *called_us, *done; /* by host: its last call, and that one's number */
	struct fleet_budget *budgets;
	struct announcement news[NEWS_READ]; /* a ring */
	uint64_t news_id;                    /* of the last one */
};

struct fleet_store *fleet_store_new(uint32_t hosts, uint32_t clients)
{
	struct fleet_store *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->host_count = hosts;
	s->client_count = clients;
	s->called_us = calloc(hosts, sizeof(*s->called_us));
	s->done = calloc(hosts, sizeof(*s->done));
	s->budgets = calloc(clients, sizeof(*s->budgets));
	if (s->called_us && s->done && s->budgets)
		return s;
	fleet_store_free(s);
	return NULL;
}

void fleet_store_free(struct fleet_store *s)
{
	if (!s)
		return;
	free(s->called_us);
	free(s->done);
	free(s->budgets);
	free(s);
}

void fleet_store_flush(struct fleet_store *s)
{
	s->epoch = 0;
	s->news_id = 0;
	memset(s->called_us, 0, s->host_count * sizeof(*s->called_us));
	memset(s->done, 0, s->host_count * sizeof(*s->done));
	memset(s->budgets, 0, s->client_count * sizeof(*s->budgets));
}

void fleet_store_copy(struct fleet_store *to, const struct fleet_store *from)
{
	to->epoch = from->epoch;
	to->epochs = from->epochs;
	to->news_id = from->news_id;
	memcpy(to->news, from->news, sizeof(from->news));
	memcpy(to->called_us, from->called_us, from->host_count * sizeof(*from->called_us));
	memcpy(to->done, from->done, from->host_count * sizeof(*from->done));
	memcpy(to->budgets, from->budgets, from->client_count * sizeof(*from->budgets));
}

struct sluice_client fleet_client(uint32_t client)
{
	struct sluice_client c = {.plen = 128};

	memcpy(c.addr, &client, sizeof(client));
	return c;
}

uint32_t fleet_client_number(const struct sluice_client *client)
{
	uint32_t number;

	memcpy(&number, client->addr, sizeof(number));
	return number;
}

/* What others have announced since the host's last call, the newest of each budget. */
static void read_news(const struct fleet_store *s, uint32_t host, struct fleet_call *call,
		      uint64_t now_us)
{
	uint64_t first = s->epoch == call->epoch ? call->news_seen : 0;

	if (s->news_id - first > NEWS_READ)
		first = s->news_id - NEWS_READ;
	for (uint64_t id = s->news_id; id > first; id--) {
		const struct announcement *a = &s->news[id % NEWS_READ];
		bool known = a->host == host || a->arrival_us <= now_us;

		for (size_t i = 0; i < call->answer.news_count && !known; i++)
			known = !strcmp(call->news[i].key, a->key);
		if (known)
			continue;
		if (call->answer.news_count == STORE_NEWS) {
			call->answer.news_lost = true;
			return;
		}
		struct store_news *news = &call->news[call->answer.news_count++];

		memcpy(news->key, a->key, sizeof(news->key));
		news->level_us = a->arrival_us - now_us;
	}
}

static void charge(struct fleet_store *s, uint32_t host, struct store_budget *b, uint64_t now_us)
{
	struct fleet_budget_call call = {.interval_ns = b->interval_ns,
					 .span_us = b->span_us,
					 .most_us = b->most_us,
					 .reach_us = b->reach_us,
					 .want = b->want,
					 .claim_us = b->claim_us,
					 .charge_us = b->charge_us};
	struct fleet_budget_result result;
	struct sluice_client client;
	uint64_t fingerprint;
	uint32_t number;
	bool tokens;

	if (sync_read_key(b->key, &fingerprint, &tokens, &client))
		return;
	number = fleet_client_number(&client);
	if (number >= s->client_count)
		return;
	fleet_budget_bound(&call);
	fleet_budget_step(&s->budgets[number], &call, now_us, &result);
	b->level_us = result.level_us;
	b->granted = result.granted;
	if (!result.announce)
		return;
	struct announcement *a = &s->news[++s->news_id % NEWS_READ];

	*a = (struct announcement){
		.host = host, .client = number, .arrival_us = now_us + result.level_us};
	memcpy(a->key, b->key, sizeof(a->key));
}

/* An answer that is had again is so much older. */
static void age(struct fleet_call *call, uint64_t now_us)
{
	uint64_t us = now_us - call->answered_us;

	for (size_t i = 0; i < call->count; i++)
		call->budgets[i].level_us -=
			call->budgets[i].level_us < us ? call->budgets[i].level_us : us;
	for (size_t i = 0; i < call->answer.news_count; i++)
		call->news[i].level_us -= call->news[i].level_us < us ? call->news[i].level_us : us;
	call->answered_us = now_us;
}

void fleet_store_call(struct fleet_store *s, uint32_t host, struct fleet_call *call,
		      uint64_t now_us)
{
	uint32_t hosts = 0;

	if (s->done[host] == call->number) { /* its answer was lost */
		age(call, now_us);
		return;
	}
	call->answered_us = s->called_us[host] = now_us;
	if (!s->epoch)
		s->epoch = ++s->epochs;
	call->answer = (struct store_answer){
		.epoch = s->epoch,
		.behind = s->done[host] < call->answered,
		.budgets = call->budgets,
		.count = call->count,
		.news = call->news,
	};
	read_news(s, host, call, now_us);
	call->news_id = s->news_id;
	for (size_t i = 0; i < call->count; i++)
		charge(s, host, &call->budgets[i], now_us);
	for (uint32_t i = 0; i < s->host_count; i++)
		hosts += s->called_us[i] && now_us - s->called_us[i] <= HOST_COUNTED_US;
	call->answer.hosts = hosts;
	s->done[host] = call->number;
}
