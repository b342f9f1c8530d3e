/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See fleet.h. */
#include "sim/fleet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fleet/sync.h"
#include "sim/fleet_host.h"
#include "sim/fleet_store.h"
#include "sim/random.h"

#define S  1000000000ULL
#define MS 1000000ULL

#define WAKE_NS      50000ULL  /* from a record of the ring to the daemon's turn */
#define CALL_NS      64000ULL  /* the store's time for a call, measured, … */
#define CHARGE_NS    6000ULL   /* … and for a budget in it */
#define RETRY_MIN_NS (25 * MS) /* fleet/store.c */
#define RETRY_MAX_NS (2 * S)

/* Of the patterns. */
#define BEGIN_NS      (1000 * S) /* when hosts start: clocks have run for a while */
#define RUN_S         60
#define FAULT_S       20
#define FLUSH_S       2 /* is measured after it */
#define LOST_S        2 /* by a failover, before it */
#define BURST_NS      (20 * MS)
#define HEAVY_CLIENTS 10
#define LIGHT_CLIENTS 10000
#define SERVED_NS     (50 * MS)  /* a hopping client's response; one that has tokens */
#define APART_NS      (150 * MS) /* and a period: to an obeying client's next request */
#define TOKENS        50         /* of a response, in the mean */
#define TOKENS_MOST   (2 * TOKENS - 1)

enum event_kind {
	EVENT_REQUEST, /* who: client */
	EVENT_END,     /* of its response; link: host */
	EVENT_TURN,    /* who: host, as the rest */
	EVENT_CALL,    /* has come to the store */
	EVENT_ANSWER,  /* has come to the host */
	EVENT_SILENT,  /* no answer for STORE_SILENT_NS */
	EVENT_CONNECT,
	EVENT_FAULT,
	EVENT_COPY, /* of the store's contents, for a failover */
	EVENT_BACK, /* the store */
};

struct event {
	uint64_t at_ns, order; /* order: of equal times */
	enum event_kind kind;
	uint32_t who;
	uint32_t link; /* of the host, when it was sent */
};

struct host {
	struct sim *sim;
	struct fleet_host kernel;
	struct sync *sync;
	struct fleet_call call;
	struct sluice_fleet_call kept;
	bool up, calling, dead;
	uint32_t link; /* a new number for each connection */
	uint32_t failures;
	uint64_t turn_ns; /* the armed timer */
};

struct client {
	double debt, debt_ns; /* leaky bucket of what was admitted, units; when it was right */
	double over;
	double measured; /* admitted while it is measured */
	uint32_t sent;
	uint32_t served, served_most; /* responses under way, of which tokens come */
	bool waited;                  /* as the last refusal said */
};

struct sim {
	const struct fleet_options *options;
	enum fleet_pattern pattern;
	struct sluice_quota quota;
	double burst, rate_ns; /* units, units a nanosecond */
	struct fleet_store *store, *replica;
	struct host *hosts;
	struct client *clients;
	uint32_t client_count;
	struct event *events; /* a heap */
	size_t event_count, event_capacity;
	uint64_t now, order, end_ns, from_ns, to_ns; /* from, to: is measured */
	uint64_t store_ns;                           /* it is busy until then */
	bool away, failed;
	struct chance chance;
	struct fleet_result *out;
};

const struct fleet_pattern_info fleet_patterns[FLEET_PATTERNS] = {
	[FLEET_SPREAD] = {"spread", "of its budget is used", 0.95},
	[FLEET_HEAVY] = {"heavy", "of its budget is used", 0.95},
	[FLEET_ONE] = {"one-host", "of its budget is used", 0.95},
	[FLEET_HOPS] = {"hopping", "of its budget is used", 0.95},
	[FLEET_LIGHT] = {"light", "of all requests are refused", .most = 0.001},
	[FLEET_BURST] = {"burst", "of its burst within 20 ms", 0.8, .hosts_most = 10},
	[FLEET_TOKENS] = {"tokens", "of its budget is used", 0.95},
	[FLEET_OBEYS] = {"obeying", "of the waits are kept", 1},
	[FLEET_OBEYS_TOKENS] = {"obeying-tokens", "of the waits are kept", 1},
	[FLEET_AWAY] = {"away", "of its rate while the store is away", 0.5},
	[FLEET_STICKY] = {"away-sticky", "of its rate while the store is away", 0.5},
	[FLEET_EMPTY] = {"away-empty", "of its rate after the store is back", 0.5},
	[FLEET_FAILOVER] = {"failover", "of its rate after the store is back", 0.5},
	[FLEET_FLUSH] = {"flush", "of its rate in the two seconds after", 0.5},
	[FLEET_DEATHS] = {"deaths", "of its rate after half of the hosts died", 0.95},
};

/* ---- events ---- */

static bool before(const struct event *a, const struct event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void post(struct sim *s, uint64_t at_ns, enum event_kind kind, uint32_t who, uint32_t link)
{
	struct event e = {at_ns, s->order++, kind, who, link};
	size_t i;

	if (at_ns > s->end_ns)
		return;
	if (s->event_count == s->event_capacity) {
		size_t capacity = 2 * s->event_capacity + 1024;
		struct event *events = realloc(s->events, capacity * sizeof(*events));

		if (!events) {
			s->failed = true;
			return;
		}
		s->events = events;
		s->event_capacity = capacity;
	}
	for (i = s->event_count++; i && before(&e, &s->events[(i - 1) / 2]); i = (i - 1) / 2)
		s->events[i] = s->events[(i - 1) / 2];
	s->events[i] = e;
}

static struct event next_event(struct sim *s)
{
	struct event first = s->events[0], e = s->events[--s->event_count];
	size_t i = 0;

	for (size_t child = 1; child < s->event_count; child = 2 * i + 1) {
		if (child + 1 < s->event_count && before(&s->events[child + 1], &s->events[child]))
			child++;
		if (!before(&s->events[child], &e))
			break;
		s->events[i] = s->events[child];
		i = child;
	}
	s->events[i] = e;
	return first;
}

/* ---- a host ---- */

static uint32_t number_of(const struct host *h)
{
	return (uint32_t)(h - h->sim->hosts);
}

static int run_items(void *arg, struct sluice_fleet_item *items, size_t count)
{
	struct host *h = arg;

	fleet_host_run(&h->kernel, items, count, h->sim->now);
	return 0;
}

static void tell(void *arg, const struct sluice_fleet *fleet)
{
	((struct host *)arg)->kernel.fleet = *fleet;
}

/* One way: half of the round trip, and up to a half of it more or less. */
static uint64_t one_way_ns(struct sim *s)
{
	return (uint64_t)((double)s->options->round_trip_ns / 2 * (0.5 + chance_real(&s->chance)));
}

static void send_call(struct host *h)
{
	struct sim *s = h->sim;

	post(s, s->now + one_way_ns(s), EVENT_CALL, number_of(h), h->link);
	post(s, s->now + STORE_SILENT_NS, EVENT_SILENT, number_of(h), h->link);
}

static void make_call(void *arg, uint64_t number, const struct store_budget *budgets, size_t count)
{
	struct host *h = arg;

	memcpy(h->call.budgets, budgets, count * sizeof(*budgets));
	h->call.count = count;
	h->call.number = number;
	h->calling = true;
	h->sim->out->calls++;
	h->sim->out->charges += count;
	send_call(h);
}

static void arm(struct host *h, uint64_t at_ns)
{
	if (at_ns == h->turn_ns)
		return;
	h->turn_ns = at_ns;
	post(h->sim, at_ns, EVENT_TURN, number_of(h), 0);
}

/* A turn of the daemon's loop. */
static void turn(struct host *h)
{
	struct sim *s = h->sim;

	h->turn_ns = 0;
	fleet_host_changes(&h->kernel, h->sync, s->now);
	if (sync_walk_begins(h->sync))
		fleet_host_walk(&h->kernel, h->sync, s->now);
	arm(h, sync_turn(h->sync, h->up && !h->calling, s->now));
}

static void wake(struct host *h)
{
	uint64_t at_ns = h->sim->now + WAKE_NS;

	if (!h->turn_ns || h->turn_ns > at_ns)
		arm(h, at_ns);
}

static void come_up(struct host *h)
{
	h->up = true;
	h->failures = 0;
	sync_up(h->sync, true, h->sim->now);
}

static void call_comes(struct sim *s, struct host *h, uint32_t link)
{
	if (s->away)
		return;
	if (s->store_ns < s->now)
		s->store_ns = s->now;
	s->store_ns += CALL_NS + h->call.count * CHARGE_NS;
	fleet_store_call(s->store, number_of(h), &h->call, s->store_ns / 1000);
	post(s, s->store_ns + one_way_ns(s), EVENT_ANSWER, number_of(h), link);
}

static void answer_comes(struct host *h)
{
	h->link++; /* the deadline of this call is over */
	h->call.answered = h->call.number;
	h->call.epoch = h->call.answer.epoch;
	h->call.news_seen = h->call.news_id;
	if (!h->up)
		come_up(h);
	h->calling = false;
	sync_answered(h->sync, &h->call.answer, h->sim->now);
	turn(h);
}

static void fail(struct sim *s, struct host *h)
{
	uint64_t wait = RETRY_MIN_NS << (h->failures < 7 ? h->failures : 7);

	h->link++;
	h->up = false;
	h->failures++;
	sync_up(h->sync, false, s->now);
	if (wait > RETRY_MAX_NS)
		wait = RETRY_MAX_NS;
	post(s, s->now + (uint64_t)((double)wait * (0.5 + chance_real(&s->chance) / 2)),
	     EVENT_CONNECT, number_of(h), h->link);
}

static void connect_store(struct sim *s, struct host *h)
{
	if (s->away)
		fail(s, h);
	else if (h->calling)
		send_call(h); /* its answer shows that it is up */
	else
		come_up(h);
}

/* ---- clients ---- */

static bool of_tokens(const struct sim *s)
{
	return s->pattern == FLEET_TOKENS || s->pattern == FLEET_OBEYS_TOKENS;
}

static bool obeys(const struct sim *s)
{
	return s->pattern == FLEET_HOPS || s->pattern == FLEET_OBEYS ||
	       s->pattern == FLEET_OBEYS_TOKENS;
}

/* When the client's next request comes; `wait_ns`: as the refusal said. */
static void request_again(struct sim *s, uint32_t client, uint64_t wait_ns)
{
	double rate = 2 * s->rate_ns;

	if (obeys(s)) {
		/* To the client and back takes as long as to the store; a wait is said in ms. */
		uint64_t trip = one_way_ns(s) + one_way_ns(s);
		uint64_t told = (wait_ns + MS - 1) / MS * MS;
		uint64_t served = SERVED_NS;

		if (s->pattern != FLEET_HOPS)
			served += s->options->period_ns + APART_NS;
		post(s, s->now + trip + (wait_ns ? told : served), EVENT_REQUEST, client, 0);
		return;
	}
	switch (s->pattern) {
	case FLEET_BURST:
		if (s->clients[client].sent < s->burst)
			post(s, s->now + (uint64_t)((double)BURST_NS / s->burst), EVENT_REQUEST,
			     client, 0);
		return;
	case FLEET_HEAVY:
		rate = 1.2 * s->rate_ns * (s->options->hosts + 1);
		break;
	case FLEET_LIGHT:
		rate = s->rate_ns / 10;
		break;
	default:
		break;
	}
	post(s, s->now + (uint64_t)chance_exponential(&s->chance, 1 / rate), EVENT_REQUEST, client,
	     0);
}

static struct host *host_for(struct sim *s, uint32_t client)
{
	uint32_t n = s->options->hosts;

	if (s->pattern == FLEET_ONE || s->pattern == FLEET_STICKY || s->pattern == FLEET_BURST)
		return &s->hosts[client % n];
	for (;;) {
		struct host *h = &s->hosts[chance_below(&s->chance, n)];

		if (!h->dead)
			return h;
	}
}

/* A leaky bucket that holds what is above the rate, over any time. */
static void note_used(struct sim *s, struct client *c, double units)
{
	double drained = ((double)s->now - c->debt_ns) * s->rate_ns;

	c->debt = (c->debt > drained ? c->debt - drained : 0) + units;
	c->debt_ns = (double)s->now;
	if (c->debt - s->burst > c->over)
		c->over = c->debt - s->burst;
	if (s->now >= s->from_ns && s->now < s->to_ns)
		c->measured += units;
}

static void request(struct sim *s, uint32_t client)
{
	struct client *c = &s->clients[client];
	struct host *h = host_for(s, client);
	bool lacks, wakes;
	uint64_t wait = fleet_host_request(&h->kernel, client, s->now, &lacks, &wakes);

	s->out->offered++;
	s->out->lacked += lacks;
	s->failed |= h->kernel.failed;
	c->sent++;
	if (wakes)
		wake(h);
	if (c->waited) {
		s->out->waits++;
		s->out->broken += wait > 0;
	}
	c->waited = wait && obeys(s);
	if (!wait) {
		s->out->admitted++;
		if (!of_tokens(s)) {
			note_used(s, c, 1);
		} else {
			post(s, s->now + SERVED_NS, EVENT_END, client, number_of(h));
			if (++c->served > c->served_most)
				c->served_most = c->served;
		}
	}
	request_again(s, client, wait);
}

static void response_ends(struct sim *s, uint32_t client, struct host *h)
{
	uint32_t tokens = 1 + (uint32_t)chance_below(&s->chance, TOKENS_MOST);

	s->clients[client].served--;
	note_used(s, &s->clients[client], (double)tokens / TOKENS);
	if (!h->dead && fleet_host_tokens(&h->kernel, client, tokens, s->now))
		wake(h);
}

/* ---- a run ---- */

static bool store_goes(const struct sim *s)
{
	return s->pattern >= FLEET_AWAY && s->pattern <= FLEET_FAILOVER;
}

static void fault(struct sim *s)
{
	if (s->pattern == FLEET_FLUSH)
		fleet_store_flush(s->store);
	s->away = store_goes(s);
	if (s->pattern == FLEET_DEATHS)
		for (uint32_t i = 0; i < s->options->hosts / 2; i++)
			s->hosts[i].dead = true;
}

static void come_back(struct sim *s)
{
	if (s->pattern == FLEET_EMPTY)
		fleet_store_flush(s->store);
	if (s->pattern == FLEET_FAILOVER)
		fleet_store_copy(s->store, s->replica);
	s->away = false;
}

static void happen(struct sim *s, const struct event *e)
{
	struct host *h = &s->hosts[e->who % s->options->hosts];

	if (e->kind == EVENT_REQUEST) {
		request(s, e->who);
		return;
	}
	if (e->kind == EVENT_END) {
		response_ends(s, e->who, &s->hosts[e->link]);
		return;
	}
	if (e->kind == EVENT_FAULT) {
		fault(s);
		return;
	}
	if (e->kind == EVENT_COPY) {
		fleet_store_copy(s->replica, s->store);
		return;
	}
	if (e->kind == EVENT_BACK) {
		come_back(s);
		return;
	}
	if (h->dead)
		return;
	if (e->kind == EVENT_TURN) {
		if (e->at_ns == h->turn_ns)
			turn(h);
		return;
	}
	if (e->link != h->link)
		return;
	if (e->kind == EVENT_CALL)
		call_comes(s, h, e->link);
	else if (e->kind == EVENT_ANSWER)
		answer_comes(h);
	else if (e->kind == EVENT_SILENT && h->calling)
		fail(s, h);
	else if (e->kind == EVENT_CONNECT)
		connect_store(s, h);
}

/* Which time is measured. */
static void plan(struct sim *s)
{
	s->from_ns = BEGIN_NS;
	s->to_ns = s->end_ns = BEGIN_NS + RUN_S * S;
	if (s->pattern < FLEET_AWAY)
		return;
	s->from_ns += FAULT_S * S;
	post(s, s->from_ns, EVENT_FAULT, 0, 0);
	if (s->pattern == FLEET_FLUSH)
		s->to_ns = s->from_ns + FLUSH_S * S;
	if (s->pattern == FLEET_FAILOVER)
		post(s, s->from_ns - LOST_S * S, EVENT_COPY, 0, 0);
	if (store_goes(s)) {
		uint64_t back_ns = s->from_ns + s->options->away_ns;

		s->to_ns = s->end_ns += s->options->away_ns;
		post(s, back_ns, EVENT_BACK, 0, 0);
		if (s->pattern == FLEET_EMPTY || s->pattern == FLEET_FAILOVER)
			s->from_ns = back_ns;
		else
			s->to_ns = back_ns;
	}
}

static int start_hosts(struct sim *s, struct quota_book *book)
{
	struct sync_config config = {.period_ns = s->options->period_ns,
				     .hosts_min = s->options->hosts,
				     .whole = s->options->whole};

	for (uint32_t i = 0; i < s->options->hosts; i++) {
		struct host *h = &s->hosts[i];

		h->sim = s;
		h->kernel.quota = &s->quota;
		config.call = &h->kept;
		h->sync = sync_new(&config, &(struct sync_handlers){run_items, tell, make_call, h});
		if (!h->sync)
			return -ENOMEM;
		sync_quotas(h->sync, book);
		come_up(h);
		arm(h, BEGIN_NS + (uint64_t)((double)config.period_ns * chance_real(&s->chance)));
	}
	return 0;
}

static void start_clients(struct sim *s)
{
	for (uint32_t i = 0; i < s->client_count; i++) {
		uint64_t at_ns = BEGIN_NS + S + (uint64_t)((double)S * chance_real(&s->chance));

		if (s->pattern == FLEET_BURST)
			at_ns += i * S;
		post(s, at_ns, EVENT_REQUEST, i, 0);
	}
}

/* As the options say, or so many requests' tokens. */
static struct quota_def quota_of(const struct sim *s)
{
	struct quota_def quota = s->options->quota;

	if (!of_tokens(s))
		return quota;
	quota.tokens = quota.requests;
	quota.tokens.most *= TOKENS;
	quota.tokens.burst *= TOKENS;
	quota.requests = (struct quota_rate){0};
	return quota;
}

static int start(struct sim *s)
{
	struct quota_book *book = calloc(1, sizeof(*book));
	struct quota_def quota = quota_of(s);
	int ret = -ENOMEM;

	s->client_count = s->pattern == FLEET_LIGHT ? LIGHT_CLIENTS : HEAVY_CLIENTS;
	s->store = fleet_store_new(s->options->hosts, s->client_count);
	s->replica = fleet_store_new(s->options->hosts, s->client_count);
	s->hosts = calloc(s->options->hosts, sizeof(*s->hosts));
	s->clients = calloc(s->client_count, sizeof(*s->clients));
	if (book && s->store && s->replica && s->hosts && s->clients) {
		book->text[FLEET_QUOTA] = (struct sluice_quota_text){
			.requests = quota.requests.most,
			.request_period_ns = quota.requests.period_ns,
			.request_burst = quota.requests.burst,
			.tokens = quota.tokens.most,
			.token_period_ns = quota.tokens.period_ns,
			.token_burst = quota.tokens.burst,
			.scope = SLUICE_SCOPE_SERVICE,
			.fleet = 1,
			.name = ":8000",
		};
		plan(s);
		ret = start_hosts(s, book);
		start_clients(s);
	}
	free(book);
	return ret;
}

static void measure(struct sim *s)
{
	struct fleet_result *out = s->out;
	double sum = 0, least = -1, hosts = s->options->hosts;
	double unit = of_tokens(s) ? 1.0 / TOKENS : 1;
	uint32_t served = 0;
	double due = s->rate_ns * (double)(s->to_ns - s->from_ns);

	/* The first request comes a second or two after the start. */
	if (s->from_ns == BEGIN_NS)
		due += s->burst - s->rate_ns * 2 * (double)S;
	if (s->pattern == FLEET_BURST)
		due = s->burst;
	out->run_seconds = (double)(s->end_ns - BEGIN_NS) / (double)S;
	for (uint32_t i = 0; i < s->client_count; i++) {
		const struct client *c = &s->clients[i];

		sum += c->measured;
		if (least < 0 || c->measured < least)
			least = c->measured;
		if (c->over > out->over)
			out->over = c->over;
		if (c->served_most > served)
			served = c->served_most;
	}
	out->value = sum / s->client_count / due;
	out->lowest = least / due;
	if (s->pattern == FLEET_LIGHT)
		out->value = out->lowest =
			(double)(out->offered - out->admitted) / (double)out->offered;
	if (s->pattern == FLEET_OBEYS || s->pattern == FLEET_OBEYS_TOKENS)
		out->value = out->lowest =
			out->waits ? 1 - (double)out->broken / (double)out->waits : 1;
	out->bound = s->burst / 2;
	if (out->bound < hosts * unit)
		out->bound = hosts * unit;
	/* What responses will use is not known: those under way, and the last one on each host. */
	if (of_tokens(s))
		out->bound += (served + hosts) * TOKENS_MOST / TOKENS;
	/* All hosts together give out twice the budget at most. */
	if (store_goes(s))
		out->bound += s->burst + s->rate_ns * (double)s->options->away_ns;
}

static void stop(struct sim *s)
{
	for (uint32_t i = 0; s->hosts && i < s->options->hosts; i++) {
		sync_free(s->hosts[i].sync);
		fleet_host_free(&s->hosts[i].kernel);
	}
	fleet_store_free(s->store);
	fleet_store_free(s->replica);
	free(s->hosts);
	free(s->clients);
	free(s->events);
}

int fleet_simulate(const struct fleet_options *options, enum fleet_pattern pattern,
		   struct fleet_result *out)
{
	struct sim s = {
		.options = options,
		.pattern = pattern,
		.chance = {options->seed},
		.now = BEGIN_NS,
		.out = out,
	};
	struct quota_def quota;
	int ret;

	*out = (struct fleet_result){0};
	quota = quota_of(&s);
	quota_value(&s.quota, &quota);
	s.quota.fleet = 1;
	s.burst = (double)options->quota.requests.burst;
	s.rate_ns = 1 / (double)(of_tokens(&s) ? s.quota.token_ns * TOKENS : s.quota.request_ns);
	ret = start(&s);
	while (!ret && !s.failed && s.event_count) {
		struct event e = next_event(&s);

		s.now = e.at_ns;
		happen(&s, &e);
	}
	if (s.failed)
		ret = -ENOMEM;
	if (!ret)
		measure(&s);
	stop(&s);
	return ret;
}

const char *fleet_broken(const struct fleet_options *options, enum fleet_pattern pattern,
			 const struct fleet_result *result)
{
	const struct fleet_pattern_info *p = &fleet_patterns[pattern];

	if (result->over > result->bound + 1e-6)
		return "more was admitted than burst + rate x T + E";
	if (p->least == 1 && result->broken)
		return "a client waited as it was told, and was refused again";
	if (p->most > 0 && result->value > p->most)
		return "too much is refused";
	if (result->value < p->least && (!p->hosts_most || options->hosts <= p->hosts_most))
		return "too little is admitted";
	return NULL;
}
