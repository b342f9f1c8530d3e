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
#define KINDS            SLUICE_FLEET_KINDS
#define SYNC_BURST_CALLS 4 /* a whole burst takes about so many early calls */

/* A quota that is shared. */
struct shared {
	uint64_t fingerprint; /* 0: it is not shared */
	uint64_t interval_ns[KINDS], span_ns[KINDS];
	uint64_t debt_ns[KINDS]; /* besides that by unsynced shares */
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
	struct sluice_fleet_call *call; /* the last one, and what it has of each budget */
	struct store_budget sent[STORE_BATCH];
	struct sluice_fleet_item items[STORE_BATCH];
	bool up, under_way, more;
	bool walk, walking; /* a walk is wanted; is under way */
	bool forgot;        /* a budget, for want of memory: the kernel does not report it again */
	uint8_t walk_flags; /* enum budget_flags */
	uint64_t answered_ns;
	uint64_t fresh_until_ns; /* as the kernel has it */
	uint64_t recovers_ns;    /* since when the store is back; 0: no budget waits for that */
	uint64_t early_ns;       /* TAT of the early calls (gcra.h) */
	uint32_t hosts;
};

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* A call that an earlier daemon has made. What was used since then was used without the store. */
static bool take_up(struct sync *s)
{
	if (!s->call->under_way || s->call->count > SLUICE_FLEET_CALL)
		s->call->under_way = s->call->count = 0;
	for (size_t i = 0; i < s->call->count; i++) {
		struct budget *b = budgets_put(s->budgets, &s->call->sent[i].key, BUDGETS_SENT, 0);

		if (!b)
			return false;
		b->flags = BUDGET_RECOVER;
	}
	return true;
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
	s->call = config->call;
	/* What an earlier daemon has collected and not sent, and its grants. */
	s->walk = true;
	s->walk_flags = BUDGET_RECOVER;
	if (take_up(s))
		return s;
	sync_free(s);
	return NULL;
}

void sync_free(struct sync *s)
{
	if (!s)
		return;
	budgets_free(s->budgets);
	free(s);
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

uint64_t sync_waiting_ns(const struct sync *s, uint64_t now_ns)
{
	uint64_t longest = 0;

	for (unsigned i = 0; i < BUDGETS_IDLE; i++) {
		const struct budget *b = budgets_first(s->budgets, i);

		if (b && b->due_ns < now_ns && now_ns - b->due_ns > longest)
			longest = now_ns - b->due_ns;
	}
	return longest;
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
static int64_t charge_of(const struct sync *s, const struct sluice_fleet_sent *sent, unsigned kind,
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

/*
 * How far a charge may bring a budget, µs. What was used without the store may empty it, and no
 * more. Many hosts give out one unit each then, and a debt of them all would lock the client out
 * for as long as its rate takes for so many.
 */
static uint64_t reach_us(const struct sync *s, const struct sluice_fleet_sent *sent, unsigned kind)
{
	const struct sluice_fleet_said *said = &sent->said[kind];
	const struct shared *q = &s->quotas[sent->key.quota % SLUICE_QUOTAS_MAX];

	return sent->flags & BUDGET_RECOVER ? said->span_us + q->debt_ns[kind] / 1000
					    : said->most_us;
}

/* What one kind of a collected budget says to the store. False: nothing. */
static bool fill_in(const struct sync *s, const struct shared *q, unsigned kind,
		    struct sluice_fleet_sent *sent)
{
	struct sluice_fleet_said *out = &sent->said[kind];
	const struct sluice_fleet_item_units *u = &sent->units[kind];
	uint64_t interval = q->interval_ns[kind], most, before;
	int64_t units = unsettled(u), charge = charge_of(s, sent, kind, interval, &before);
	bool claim = sent->flags & BUDGET_CLAIM && u->level_ns, low = sent->flags & BUDGET_USED_UP;

	*out = (struct sluice_fleet_said){0};
	if (!interval || (!units && !u->granted && !u->wanted && !claim))
		return false;
	*out = (struct sluice_fleet_said){
		.interval_ns = interval,
		.span_us = divide_up(q->span_ns[kind], 1000),
		.most_us = divide_up(q->span_ns[kind] + debt_of(s, q, kind), 1000),
	};
	/* A client that uses one unit now and then needs no grant, which would go back unused. */
	if (low || u->wanted || units > 1)
		out->want = 2 * (uint64_t)(units > 0 ? units : 0) + 2ULL * u->wanted;
	most = q->span_ns[kind] / interval;
	/* A burst must not wait for a call after every few units. */
	if (low && out->want < most / SYNC_BURST_CALLS)
		out->want = most / SYNC_BURST_CALLS;
	if (out->want > most)
		out->want = most;
	if (claim)
		out->claim_us = before / 1000;
	/* A store that has lost the budget has lost the grant with it. */
	if (!(sent->flags & BUDGET_CLAIM))
		charge -= (int64_t)u->granted * (int64_t)interval;
	out->charge_us = us_of(charge);
	return true;
}

/* The budgets of the next call, from the lists in their order. Some come before a walk has seen
 * them: what it is for holds for them, too. */
static size_t choose(struct sync *s, uint64_t now_ns)
{
	size_t n = 0;

	for (unsigned list = 0; list < BUDGETS_IDLE; list++) {
		struct budget *b;

		while (n < SLUICE_FLEET_CALL && (b = budgets_first(s->budgets, list)) &&
		       b->due_ns <= now_ns) {
			s->call->sent[n] = (struct sluice_fleet_sent){
				.key = b->key,
				.flags = b->flags | s->walk_flags |
					 (list == BUDGETS_LOW ? BUDGET_USED_UP : 0)};
			s->items[n] = (struct sluice_fleet_item){.key = b->key,
								 .op = SLUICE_FLEET_COLLECT};
			b->flags = 0;
			budgets_move(s->budgets, b, BUDGETS_SENT, 0);
			n++;
		}
	}
	s->more = n == SLUICE_FLEET_CALL;
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

/* Sends the call as it is kept. */
static void send_call(struct sync *s)
{
	const struct sluice_fleet_call *c = s->call;
	size_t n = 0;

	for (size_t i = 0; i < c->count; i++) {
		const struct sluice_fleet_sent *sent = &c->sent[i];

		for (unsigned k = 0; k < KINDS; k++) {
			const struct sluice_fleet_said *said = &sent->said[k];

			if (!said->interval_ns)
				continue;
			s->sent[n] = (struct store_budget){
				.interval_ns = said->interval_ns,
				.span_us = said->span_us,
				.most_us = said->most_us,
				.reach_us = reach_us(s, sent, k),
				.want = said->want,
				.claim_us = said->claim_us,
				.charge_us = said->charge_us,
			};
			sync_key(s->sent[n++].key, sent->fingerprint, k, &sent->key.client);
		}
	}
	s->counts.calls++;
	s->counts.charged += n;
	s->under_way = true;
	s->handlers.call(s->handlers.arg, c->number, s->sent, n);
}

static void call(struct sync *s, uint64_t now_ns)
{
	struct sluice_fleet_call *c = s->call;
	size_t n = choose(s, now_ns), kept = 0;

	if (n && s->handlers.run(s->handlers.arg, s->items, n))
		n = 0; /* they stay in SENT, and go on as unanswered ones */
	for (size_t i = 0; i < n; i++) {
		struct sluice_fleet_sent sent = c->sent[i];
		const struct shared *q = &s->quotas[sent.key.quota % SLUICE_QUOTAS_MAX];
		bool any = false;

		memcpy(sent.units, s->items[i].units, sizeof(sent.units));
		s->counts.lacked += (uint64_t)sent.units[0].wanted + sent.units[1].wanted;
		sent.fingerprint = q->fingerprint;
		for (unsigned k = 0; k < KINDS; k++)
			any |= s->items[i].found && q->fingerprint && fill_in(s, q, k, &sent);
		if (any) {
			s->counts.claimed += !!(sent.flags & BUDGET_CLAIM);
			s->counts.recovered += !!(sent.flags & BUDGET_RECOVER);
			c->sent[kept++] = sent;
		} else {
			after_call(s, put(s, &sent.key, BUDGETS_SENT, 0), false, now_ns);
		}
	}
	c->count = (__u32)kept;
	c->called_ns = now_ns;
	c->number++;
	__atomic_store_n(&c->under_way, kept > 0, __ATOMIC_RELEASE);
	send_call(s);
}

uint64_t sync_turn(struct sync *s, bool idle, uint64_t now_ns)
{
	uint64_t due = s->call->called_ns + s->config.period_ns, early;
	struct budget *b;

	while ((b = budgets_first(s->budgets, BUDGETS_IDLE)) && b->due_ns <= now_ns)
		budgets_drop(s->budgets, b);
	if (!s->up || !idle || s->under_way)
		return UINT64_MAX;
	if (s->call->under_way) {
		send_call(s);
		return UINT64_MAX;
	}
	if (!s->name_count && !s->config.calls_anyhow)
		return UINT64_MAX;
	if (budgets_count(s->budgets, BUDGETS_LOW) || s->more) {
		const uint64_t interval = SECOND_NS / SYNC_EARLY_RATE;
		uint64_t wait =
			gcra_wait(s->early_ns, now_ns, interval, interval * SYNC_EARLY_MOST);

		/* What did not fit into the last call goes on at once. */
		early = s->more ? s->call->called_ns
				: max_u64(s->call->called_ns + SYNC_EARLY_NS, now_ns + wait);
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

/* Makes the item that puts an answer into the kernel. `from`: the first that it says of this
 * budget. Returns whether there is a grant. */
static bool apply(struct sync *s, struct budget *b, const struct sluice_fleet_sent *sent,
		  const struct store_budget *from, bool lost, uint64_t now_ns,
		  struct sluice_fleet_item *item)
{
	const struct shared *q = &s->quotas[sent->key.quota % SLUICE_QUOTAS_MAX];
	uint64_t age = now_ns - s->call->called_ns;
	bool granted = false;

	*item = (struct sluice_fleet_item){.key = sent->key, .op = SLUICE_FLEET_APPLY};
	for (unsigned k = 0; k < KINDS; k++) {
		const struct sluice_fleet_item_units *u = &sent->units[k];
		uint64_t level = u->level_ns > age ? u->level_ns - age : 0, left, grant = 0;
		uint64_t interval = q->interval_ns[k];
		struct sluice_fleet_item_units *to = &item->units[k];
		uint64_t before, known = level;
		int64_t charge = charge_of(s, sent, k, interval, &before);

		if (sent->flags & BUDGET_RECOVER && charge > 0) {
			uint64_t most = max_u64(before, 1000 * reach_us(s, sent, k));

			known = before + (uint64_t)charge;
			known = known < most ? known : most;
		}

		if (sent->said[k].interval_ns) {
			const struct store_budget *a = from++;

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
			.settled = sent->said[k].interval_ns ? u->used : u->settled,
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
	struct sluice_fleet_call *c = s->call;
	bool lost = (c->epoch && answer->epoch != c->epoch) || answer->behind;
	struct sluice_fleet fleet = {
		.fresh_until_ns = s->fresh_until_ns,
		.hosts = max_u64(answer->hosts, s->config.hosts_min),
		.whole = s->config.whole,
	};
	size_t n = 0, at = 0;
	struct budget *b;

	s->hosts = fleet.hosts;
	s->under_way = false;
	s->answered_ns = now_ns;
	if (lost) {
		s->counts.epochs++;
		want_walk(s, BUDGET_CLAIM);
	}
	c->epoch = answer->epoch;
	for (size_t i = 0; i < c->count; i++) {
		const struct sluice_fleet_sent *sent = &c->sent[i];
		bool granted;

		b = put(s, &sent->key, BUDGETS_SENT, 0);
		if (lost)
			b->flags |= BUDGET_CLAIM;
		granted = apply(s, b, sent, &answer->budgets[at], lost, now_ns, &s->items[n]);
		after_call(s, b, granted, now_ns);
		for (unsigned k = 0; k < KINDS; k++)
			at += sent->said[k].interval_ns > 0;
		/* Else the quota is another one by now, and so is its budget in the store. */
		n += s->quotas[sent->key.quota % SLUICE_QUOTAS_MAX].fingerprint ==
		     sent->fingerprint;
	}
	if (n)
		s->handlers.run(s->handlers.arg, s->items, n);
	__atomic_store_n(&c->under_way, 0, __ATOMIC_RELEASE);
	c->count = 0;
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
	return s->call->epoch;
}
