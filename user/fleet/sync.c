/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See sync.h. The one idea: a budget is collected, sent and answered before it is collected again,
 * so each unit is charged once. */
#include "sync.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/fleet.h>

#include "budgets.h"
#include "core/fleet.h"

#define SECOND_NS        1000000000ULL
#define KINDS            2 /* requests, tokens */
#define SYNC_BURST_CALLS 4 /* a whole burst takes about so many early calls */

/* A quota that is shared. */
struct shared {
	uint64_t fingerprint; /* 0: it is not shared */
	uint64_t interval_ns[KINDS], span_ns[KINDS];
	uint64_t debt_ns[KINDS]; /* besides that by unsynced shares */
};

/* A budget of the call under way. */
struct sent {
	struct sluice_budget_key key;
	struct sluice_fleet_item_units units[KINDS]; /* as collected */
	int at[KINDS];                               /* in `budgets`; -1: not sent */
	uint8_t flags;
	bool low;
};

/* Fingerprints in order, for what other hosts tell. */
struct named {
	uint64_t fingerprint;
	uint32_t id;
};

struct sync {
	struct sync_config config;
	struct sync_handlers handlers;
	struct sync_counts counts;
	struct shared quotas[SLUICE_QUOTAS_MAX];
	struct named names[SLUICE_QUOTAS_MAX];
	size_t name_count;
	struct budgets *budgets;
	struct sent sent[STORE_BATCH];
	size_t sent_count;
	struct store_budget call[STORE_BATCH];
	size_t call_count;
	struct sluice_fleet_item items[STORE_BATCH];
	bool up, under_way, more;
	bool walk, walking; /* a walk is wanted; is under way */
	bool forgot;        /* a budget, for want of memory: the kernel does not report it again */
	uint8_t walk_flags; /* enum budget_flags */
	uint64_t called_ns, answered_ns, epoch;
	uint64_t fresh_until_ns; /* as the kernel has it */
	uint64_t recovers_ns;    /* since when the store is back; 0: no budget waits for that */
	uint64_t early_ns;       /* TAT of the early calls (gcra.h) */
	uint32_t hosts;
};

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

struct sync *sync_new(const struct sync_config *config, const struct sync_handlers *handlers)
{
	struct sync *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->budgets = budgets_new();
	if (!s->budgets) {
		free(s);
		return NULL;
	}
	s->config = *config;
	s->handlers = *handlers;
	s->hosts = s->config.hosts_min = max_u64(config->hosts_min, 1);
	/* What an earlier daemon has collected and not sent, and its grants. */
	s->walk = true;
	s->walk_flags = BUDGET_RECOVER;
	return s;
}

void sync_free(struct sync *s)
{
	if (!s)
		return;
	budgets_free(s->budgets);
	free(s);
}

/* ---- names ---- */

static uint64_t mix(uint64_t hash, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * 1099511628211ULL;
	return hash;
}

uint64_t sync_fingerprint(const struct sluice_quota_text *text)
{
	const uint64_t numbers[] = {text->requests, text->request_period_ns, text->request_burst,
				    text->tokens,   text->token_period_ns,   text->token_burst};
	const char *name = fleet_quota_name(text);
	uint64_t hash = 14695981039346656037ULL;

	hash = mix(hash, numbers, sizeof(numbers));
	hash = mix(hash, &text->scope, sizeof(text->scope));
	hash = mix(hash, name, strlen(name));
	return hash ? hash : 1;
}

static const char hex[] = "0123456789abcdef";

static char *write_hex(char *out, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		*out++ = hex[bytes[i] >> 4];
		*out++ = hex[bytes[i] & 15];
	}
	return out;
}

static const char *read_hex(const char *text, uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		const char *high = *text ? strchr(hex, text[0]) : NULL;
		const char *low = high && text[1] ? strchr(hex, text[1]) : NULL;

		if (!low)
			return NULL;
		bytes[i] = (uint8_t)((high - hex) << 4 | (low - hex));
		text += 2;
	}
	return text;
}

void sync_key(char out[STORE_KEY_MAX], uint64_t fingerprint, bool tokens,
	      const struct sluice_client *client)
{
	const uint8_t head[2] = {client->kind, client->plen};
	uint8_t bytes[8];

	for (unsigned i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(fingerprint >> (56 - 8 * i));
	out = write_hex(out, bytes, sizeof(bytes));
	*out++ = ':';
	*out++ = tokens ? 't' : 'r';
	*out++ = ':';
	out = write_hex(out, head, sizeof(head));
	out = write_hex(out, client->addr, sizeof(client->addr));
	*out = 0;
}

int sync_read_key(const char *text, uint64_t *fingerprint, bool *tokens,
		  struct sluice_client *client)
{
	uint8_t bytes[8], head[2];

	text = read_hex(text, bytes, sizeof(bytes));
	if (!text || text[0] != ':' || (text[1] != 't' && text[1] != 'r') || text[2] != ':')
		return -1;
	*tokens = text[1] == 't';
	*fingerprint = 0;
	for (unsigned i = 0; i < 8; i++)
		*fingerprint = *fingerprint << 8 | bytes[i];
	memset(client, 0, sizeof(*client));
	text = read_hex(text + 3, head, sizeof(head));
	if (text)
		text = read_hex(text, client->addr, sizeof(client->addr));
	client->kind = head[0];
	client->plen = head[1];
	return text && !*text && client->kind <= SLUICE_CLIENT_KEY && client->plen <= 128 ? 0 : -1;
}

/* ---- quotas ---- */

static int by_fingerprint(const void *a, const void *b)
{
	const struct named *x = a, *y = b;

	return x->fingerprint < y->fingerprint ? -1 : x->fingerprint > y->fingerprint;
}

void sync_quotas(struct sync *s, const struct quota_book *book)
{
	s->name_count = 0;
	for (uint32_t id = 1; id < SLUICE_QUOTAS_MAX; id++) {
		const struct sluice_quota_text *text = &book->text[id];
		struct shared *q = &s->quotas[id];
		struct sluice_quota value;
		struct quota_def def;

		*q = (struct shared){0};
		if (!text->scope || !text->fleet)
			continue;
		quota_of_text(&def, text);
		quota_value(&value, &def);
		*q = (struct shared){
			.fingerprint = sync_fingerprint(text),
			.interval_ns = {value.request_ns, value.token_ns},
			.span_ns = {value.request_span_ns, value.token_span_ns},
			.debt_ns = {0, value.token_most_ns - value.token_span_ns},
		};
		s->names[s->name_count++] = (struct named){q->fingerprint, id};
	}
	qsort(s->names, s->name_count, sizeof(s->names[0]), by_fingerprint);
}

bool sync_has_quotas(const struct sync *s)
{
	return s->name_count;
}

/* The first quota of this fingerprint; NULL: none. Others may follow it. */
static const struct named *find_named(const struct sync *s, uint64_t fingerprint)
{
	size_t low = 0, high = s->name_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (s->names[middle].fingerprint < fingerprint)
			low = middle + 1;
		else
			high = middle;
	}
	return low < s->name_count && s->names[low].fingerprint == fingerprint ? &s->names[low]
									       : NULL;
}

/* ---- what waits ---- */

static struct budget *put(struct sync *s, const struct sluice_budget_key *key,
			  enum budget_list list, uint64_t due_ns)
{
	struct budget *b = budgets_put(s->budgets, key, list, due_ns);

	if (!b) {
		s->counts.forgotten++;
		s->forgot = true;
	}
	return b;
}

void sync_changed(struct sync *s, const struct sluice_fleet_change *change, uint64_t now_ns)
{
	enum budget_list list = change->low ? BUDGETS_LOW : BUDGETS_CHANGED;
	struct budget *b = put(s, &change->key, list, now_ns);

	if (b && b->list == BUDGETS_SENT)
		b->flags |= change->low ? BUDGET_USED_UP : BUDGET_USED;
}

size_t sync_waiting(const struct sync *s)
{
	size_t n = 0;

	for (unsigned i = 0; i < BUDGETS_IDLE; i++)
		n += budgets_count(s->budgets, i);
	return n;
}

static void want_walk(struct sync *s, uint8_t flags)
{
	s->walk = true;
	s->walk_flags |= flags;
}

bool sync_walk_begins(struct sync *s)
{
	if (!s->walk || s->walking || !s->up)
		return false;
	s->walk = false;
	s->walking = true;
	return true;
}

void sync_walked(struct sync *s, const struct sluice_budget_key *key,
		 const struct sluice_budget *budget, uint64_t now_ns)
{
	const struct sluice_fleet_units *r = &budget->requests, *t = &budget->tokens;
	bool spent = budget->request_tat_ns > now_ns || budget->token_tat_ns > now_ns;
	/* `changed`: its record has gone with an earlier daemon. */
	bool open = budget->changed || r->used != r->settled || t->used != t->settled ||
		    r->granted || t->granted;
	const struct shared *q = &s->quotas[key->quota % SLUICE_QUOTAS_MAX];
	bool half = gcra_spent(budget->request_tat_ns, now_ns) > q->span_ns[0] / 2 ||
		    gcra_spent(budget->token_tat_ns, now_ns) > q->span_ns[1] / 2;
	struct budget *b;

	if (!open && !(spent && s->walk_flags & BUDGET_CLAIM))
		return;
	b = put(s, key, half ? BUDGETS_SPENT : BUDGETS_AGAIN, now_ns);
	if (b && b->list != BUDGETS_SENT)
		b->flags |= s->walk_flags;
}

void sync_walk_ends(struct sync *s, uint64_t now_ns)
{
	s->walking = false;
	if (!s->walk)
		s->walk_flags = 0;
}

void sync_up(struct sync *s, bool up, uint64_t now_ns)
{
	/* A call that was under way is made again by the store's client. */
	if (up && !s->up && s->answered_ns && now_ns - s->answered_ns > SLUICE_FLEET_STALE_NS)
		want_walk(s, BUDGET_RECOVER);
	s->up = up;
}

/* ---- a call ---- */

static uint64_t divide_up(uint64_t a, uint64_t b)
{
	return (a + b - 1) / b;
}

/* Rounded up, so that what goes back is never more than was taken. */
static int64_t us_of(int64_t ns)
{
	return ns > 0 ? (ns + 999) / 1000 : -(-ns / 1000);
}

/* The units that the store does not know of; below 0: more was given back. */
static int64_t unsettled(const struct sluice_fleet_item_units *u)
{
	return (int32_t)(u->used - u->settled);
}

/*
 * The largest debt of a budget. All hosts may have given out their unsynced shares of it at once. A
 * store that did not count them all would forgive them, time and again.
 */
static uint64_t debt_of(const struct sync *s, const struct shared *q, unsigned kind)
{
	return q->debt_ns[kind] + q->span_ns[kind] / 2 + s->hosts * q->interval_ns[kind];
}

/*
 * What the store is to charge for the use that it does not know of, ns, and in *before how far the
 * budget was spent without it. While the store was away a unit cost 1 / part of itself here. So the
 * host's share of what is spent, and one unit, is the most that is charged then.
 */
static int64_t charge_of(const struct sync *s, const struct sent *sent, unsigned kind,
			 uint64_t interval, uint64_t *before)
{
	const struct sluice_fleet fleet = {.hosts = s->hosts, .whole = s->config.whole};
	const struct sluice_fleet_item_units *u = &sent->units[kind];
	const struct sluice_fleet_units part = {.part = u->part};
	int64_t charge = unsettled(u) * (int64_t)interval;
	uint64_t cost = charge > 0 ? (uint64_t)charge : 0;

	if (sent->flags & BUDGET_RECOVER && charge > 0) {
		uint64_t most = u->level_ns / SLUICE_FLEET_PART_ONE *
					fleet_part(u->part, fleet.hosts, fleet.whole) +
				interval;

		cost = fleet_away_cost(&fleet, &part, cost);
		if ((uint64_t)charge > most)
			charge = (int64_t)most;
	}
	*before = u->level_ns > cost ? u->level_ns - cost : 0;
	return charge;
}

/* What one kind of a collected budget says to the store. False: nothing. */
static bool fill_in(struct sync *s, const struct shared *q, unsigned kind, const struct sent *sent,
		    struct store_budget *out)
{
	const struct sluice_fleet_item_units *u = &sent->units[kind];
	uint64_t interval = q->interval_ns[kind], most, before;
	int64_t units = unsettled(u), charge = charge_of(s, sent, kind, interval, &before);
	bool claim = sent->flags & BUDGET_CLAIM && u->level_ns;

	if (!interval || (!units && !u->granted && !u->wanted && !claim))
		return false;
	*out = (struct store_budget){
		.interval_ns = interval,
		.span_us = divide_up(q->span_ns[kind], 1000),
		.most_us = divide_up(q->span_ns[kind] + debt_of(s, q, kind), 1000),
	};
	/* A client that uses one unit now and then needs no grant, which would go back unused. */
	if (sent->low || u->wanted || units > 1)
		out->want = 2 * (uint64_t)(units > 0 ? units : 0) + 2ULL * u->wanted;
	most = q->span_ns[kind] / interval;
	/* A burst must not wait for a call after every few units. */
	if (sent->low && out->want < most / SYNC_BURST_CALLS)
		out->want = most / SYNC_BURST_CALLS;
	if (out->want > most)
		out->want = most;
	if (claim)
		out->claim_us = before / 1000;
	/* A store that has lost the budget has lost the grant with it. */
	if (!(sent->flags & BUDGET_CLAIM))
		charge -= (int64_t)u->granted * (int64_t)interval;
	out->charge_us = us_of(charge);
	sync_key(out->key, q->fingerprint, kind, &sent->key.client);
	return true;
}

/* The budgets of the next call, from the lists in their order. */
static size_t choose(struct sync *s, uint64_t now_ns)
{
	size_t n = 0;

	for (unsigned list = 0; list < BUDGETS_IDLE; list++) {
		struct budget *b;

		while (n < STORE_BATCH / KINDS && (b = budgets_first(s->budgets, list)) &&
		       b->due_ns <= now_ns) {
			s->sent[n] = (struct sent){
				.key = b->key, .flags = b->flags, .low = list == BUDGETS_LOW};
			s->items[n] = (struct sluice_fleet_item){.key = b->key,
								 .op = SLUICE_FLEET_COLLECT};
			b->flags = 0;
			budgets_move(s->budgets, b, BUDGETS_SENT, 0);
			n++;
		}
	}
	s->more = n == STORE_BATCH / KINDS;
	return n;
}

/* After the answer about a budget, or if it had nothing to say. */
static void after_call(struct sync *s, struct budget *b, bool granted, uint64_t now_ns)
{
	uint8_t flags = b->flags;

	b->flags &= BUDGET_CLAIM | BUDGET_RECOVER;
	if (flags & BUDGET_USED_UP)
		budgets_move(s->budgets, b, BUDGETS_LOW, now_ns);
	else if (b->flags)
		budgets_move(s->budgets, b, BUDGETS_AGAIN, now_ns);
	else if (flags & BUDGET_USED)
		budgets_move(s->budgets, b, BUDGETS_CHANGED, now_ns);
	else if (granted)
		budgets_move(s->budgets, b, BUDGETS_GRANTED, now_ns + s->config.period_ns);
	else
		budgets_move(s->budgets, b, BUDGETS_IDLE, now_ns + SYNC_USE_NS);
}

static void call(struct sync *s, uint64_t now_ns)
{
	size_t n = choose(s, now_ns), kept = 0;

	if (n && s->handlers.run(s->handlers.arg, s->items, n))
		n = 0; /* they stay in SENT, and go on as unanswered ones */
	s->call_count = 0;
	for (size_t i = 0; i < n; i++) {
		struct sent sent = s->sent[i];
		bool any = false;

		memcpy(sent.units, s->items[i].units, sizeof(sent.units));
		for (unsigned k = 0; k < KINDS; k++) {
			const struct shared *q = &s->quotas[sent.key.quota % SLUICE_QUOTAS_MAX];
			bool says = s->items[i].found && q->fingerprint &&
				    fill_in(s, q, k, &sent, &s->call[s->call_count]);

			sent.at[k] = says ? (int)s->call_count++ : -1;
			any |= says;
		}
		if (any) {
			s->counts.claimed += !!(sent.flags & BUDGET_CLAIM);
			s->counts.recovered += !!(sent.flags & BUDGET_RECOVER);
			s->sent[kept++] = sent;
		} else {
			after_call(s, put(s, &sent.key, BUDGETS_SENT, 0), false, now_ns);
		}
	}
	s->sent_count = kept;
	s->counts.calls++;
	s->counts.charged += s->call_count;
	s->called_ns = now_ns;
	s->under_way = true;
	s->handlers.call(s->handlers.arg, s->call, s->call_count);
}

uint64_t sync_turn(struct sync *s, bool idle, uint64_t now_ns)
{
	uint64_t due = s->called_ns + s->config.period_ns, early;
	struct budget *b;

	while ((b = budgets_first(s->budgets, BUDGETS_IDLE)) && b->due_ns <= now_ns)
		budgets_drop(s->budgets, b);
	if (!s->up || !idle || s->under_way || (!s->name_count && !s->config.calls_anyhow))
		return UINT64_MAX;
	if (budgets_count(s->budgets, BUDGETS_LOW) || s->more) {
		const uint64_t interval = SECOND_NS / SYNC_EARLY_RATE;
		uint64_t wait =
			gcra_wait(s->early_ns, now_ns, interval, interval * SYNC_EARLY_MOST);

		/* What did not fit into the last call goes on at once. */
		early = s->more ? s->called_ns
				: max_u64(s->called_ns + SYNC_EARLY_NS, now_ns + wait);
		if (early <= now_ns && due > now_ns && !s->more)
			s->early_ns = gcra_charge(s->early_ns, now_ns, interval, 1,
						  interval * SYNC_EARLY_MOST);
		if (early < due)
			due = early;
	}
	if (due > now_ns)
		return due;
	call(s, now_ns);
	return UINT64_MAX;
}

/* ---- an answer ---- */

/*
 * What this host and the others have used since the budget was last answered. The others' part
 * follows from the store's levels: news of their use raised this host's own one.
 */
static void note_use(struct budget *b, unsigned kind, int64_t units, uint64_t interval,
		     uint64_t level, uint64_t elapsed)
{
	double fade = b->seen_ns ? exp(-(double)elapsed / SYNC_USE_NS) : 0;
	double own = units > 0 ? (double)units * (double)interval : 0;
	double before = b->level_ns[kind] > elapsed ? (double)(b->level_ns[kind] - elapsed) : 0;

	b->own[kind] = b->own[kind] * fade + own;
	b->others[kind] = b->others[kind] * fade + (double)level - before - own;
}

static uint32_t part_for(const struct sync *s, const struct budget *b, unsigned kind)
{
	double others = b->others[kind] > 0 ? b->others[kind] : 0;
	double part = b->own[kind] > 0 ? b->own[kind] / (b->own[kind] + others) : 0;

	if (part < 1.0 / s->hosts)
		part = 1.0 / s->hosts;
	return (uint32_t)(part * SLUICE_FLEET_PART_ONE);
}

/* Makes the item that puts an answer into the kernel. Returns whether there is a grant. */
static bool apply(struct sync *s, struct budget *b, const struct sent *sent,
		  const struct store_answer *answer, bool lost, uint64_t now_ns,
		  struct sluice_fleet_item *item)
{
	const struct shared *q = &s->quotas[sent->key.quota % SLUICE_QUOTAS_MAX];
	bool granted = false;

	*item = (struct sluice_fleet_item){.key = sent->key, .op = SLUICE_FLEET_APPLY};
	for (unsigned k = 0; k < KINDS; k++) {
		const struct sluice_fleet_item_units *u = &sent->units[k];
		uint64_t interval = q->interval_ns[k], level = u->level_ns, left, grant = 0;
		struct sluice_fleet_item_units *to = &item->units[k];
		uint64_t before, known = level;
		int64_t charge = charge_of(s, sent, k, interval, &before);

		if (sent->flags & BUDGET_RECOVER && charge > 0)
			known = before + (uint64_t)charge;

		if (sent->at[k] >= 0 && (size_t)sent->at[k] < answer->count) {
			const struct store_budget *a = &answer->budgets[sent->at[k]];

			grant = a->granted;
			level = a->level_us * 1000;
			level = level > grant * interval ? level - grant * interval : 0;
			/* A store that has lost it says less than is known. */
			if (lost && level < known)
				level = known;
			else if (!lost)
				note_use(b, k, unsettled(u), interval, level, now_ns - b->seen_ns);
			b->level_ns[k] = level;
		}
		left = interval ? gcra_left(level, 0, interval, q->span_ns[k]) : 0;
		*to = (struct sluice_fleet_item_units){
			.level_ns = level,
			.settled = sent->at[k] >= 0 ? u->used : u->settled,
			.granted = (uint32_t)grant,
			.share = fleet_share(left, s->hosts),
			.part = part_for(s, b, k),
		};
		granted |= grant > 0;
	}
	b->seen_ns = now_ns;
	return granted;
}

/* Brings down what other hosts have brought down. */
static void raise_news(struct sync *s, const struct store_answer *answer)
{
	size_t n = 0;

	for (size_t i = 0; i < answer->news_count; i++) {
		struct sluice_client client;
		const struct named *name;
		uint64_t fingerprint;
		bool tokens;

		if (sync_read_key(answer->news[i].key, &fingerprint, &tokens, &client))
			continue;
		name = find_named(s, fingerprint);
		for (; name && name < s->names + s->name_count && name->fingerprint == fingerprint;
		     name++) {
			struct sluice_fleet_item *item = &s->items[n++];

			*item = (struct sluice_fleet_item){
				.key = {.client = client, .quota = name->id},
				.op = SLUICE_FLEET_RAISE,
			};
			item->units[tokens].level_ns = answer->news[i].level_us * 1000;
			s->counts.raised++;
			if (n == STORE_BATCH) {
				s->handlers.run(s->handlers.arg, s->items, n);
				n = 0;
			}
		}
	}
	if (n)
		s->handlers.run(s->handlers.arg, s->items, n);
}

/*
 * Whether the store is back, and has not yet heard of what was used without it. Until then hosts go
 * on to give out their shares: a budget without an answer would give out nothing.
 */
static bool recovers(struct sync *s, uint64_t now_ns)
{
	if (!s->walk && !s->walking && !budgets_count(s->budgets, BUDGETS_SPENT) &&
	    !budgets_count(s->budgets, BUDGETS_AGAIN)) {
		s->recovers_ns = 0;
		return false;
	}
	if (!s->recovers_ns)
		s->recovers_ns = now_ns;
	return now_ns - s->recovers_ns < SYNC_RECOVER_NS;
}

void sync_answered(struct sync *s, const struct store_answer *answer, uint64_t now_ns)
{
	bool lost = (s->epoch && answer->epoch != s->epoch) || answer->behind;
	struct sluice_fleet fleet = {
		.fresh_until_ns = s->fresh_until_ns,
		.hosts = max_u64(answer->hosts, s->config.hosts_min),
		.whole = s->config.whole,
	};
	struct budget *b;

	s->hosts = fleet.hosts;
	s->under_way = false;
	s->answered_ns = now_ns;
	if (lost) {
		s->counts.epochs++;
		want_walk(s, BUDGET_CLAIM);
	}
	s->epoch = answer->epoch;
	for (size_t i = 0; i < s->sent_count; i++) {
		b = put(s, &s->sent[i].key, BUDGETS_SENT, 0);
		if (lost)
			b->flags |= BUDGET_CLAIM;
		after_call(s, b, apply(s, b, &s->sent[i], answer, lost, now_ns, &s->items[i]),
			   now_ns);
	}
	if (s->sent_count)
		s->handlers.run(s->handlers.arg, s->items, s->sent_count);
	s->sent_count = 0;
	/* Those that could not be collected. */
	while ((b = budgets_first(s->budgets, BUDGETS_SENT)))
		after_call(s, b, true, now_ns);
	raise_news(s, answer);
	if (s->forgot && !sync_waiting(s)) {
		s->forgot = false;
		want_walk(s, 0);
	}
	if (s->fresh_until_ns > now_ns || !recovers(s, now_ns))
		fleet.fresh_until_ns = s->fresh_until_ns = now_ns + SLUICE_FLEET_STALE_NS;
	s->handlers.tell(s->handlers.arg, &fleet);
}

const struct sync_counts *sync_counts(const struct sync *s)
{
	return &s->counts;
}

uint32_t sync_hosts(const struct sync *s)
{
	return s->hosts;
}

uint64_t sync_epoch(const struct sync *s)
{
	return s->epoch;
}
