/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Keeps the counts that the kernel keeps, in the same way, and passes them to admission_judge() and
 * adaptive_look().
 */
#include "policy.h"

#include "core/active.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define AGE_STEP_NS  50000000ULL /* the resolution of ages in the kernel */
#define RETRY_MS     1000        /* the least Retry-After, and that of a fixed limit */
#define RETRY_MS_MAX 60000

int policy_init(struct policy *p, const struct policy_rule *rule, const struct workload *work)
{
	memset(p, 0, sizeof(*p));
	p->rule = *rule;
	p->work = work;
	p->requests = calloc(work->count + 1, sizeof(*p->requests));
	p->order = calloc(work->count + 1, sizeof(*p->order));
	p->held = calloc(work->clients + 1, sizeof(*p->held));
	p->client_seen_ns = calloc(work->clients + 1, sizeof(*p->client_seen_ns));
	if (!p->requests || !p->order || !p->held || !p->client_seen_ns) {
		policy_free(p);
		return -ENOMEM;
	}
	adaptive_init(&p->adaptive, 0);
	adaptive_write(&p->adaptive, &p->rule.targets, &p->written);
	return 0;
}

void policy_free(struct policy *p)
{
	free(p->requests);
	free(p->order);
	free(p->held);
	free(p->client_seen_ns);
	p->requests = NULL;
	p->order = NULL;
	p->held = NULL;
	p->client_seen_ns = NULL;
}

double policy_ttft_ms(const struct adaptive_targets *t, uint32_t bytes)
{
	return t->ttft_ms + t->ttft_ms_per_kib * bytes / 1024;
}

/* The waits that are predicted to end by slot time `until` are over. */
static void pass_waits(struct policy *p, uint32_t until, uint64_t now_ns)
{
	int left = 0;

	for (uint32_t i = 0; i < WAITS_SLOTS; i++)
		left |= waits_pass_slot(&p->waits, i, until);
	if (left)
		p->waits.left_ns = now_ns;
}

/* The load that a request of so many bytes finds, as join_pool() of bpf/slots.h measures it. */
static struct admission_load load_now(struct policy *p, uint32_t bytes, uint64_t now_ns)
{
	struct admission_load load = p->load;

	if (p->waits.bytes > 0)
		pass_waits(p, (uint32_t)ages_time(now_ns), now_ns);
	load.waiting_bytes += p->waits.bytes;
	load.since_ns =
		p->first_token_ns > p->began_waiting_ns ? p->first_token_ns : p->began_waiting_ns;
	if (p->waits.left_ns > load.since_ns)
		load.since_ns = p->waits.left_ns;
	load.slot_wait = admission_slot_wait(&p->written, &load, bytes,
					     (uint64_t)load.in_flight * now_ns - p->began_ns);
	return load;
}

static bool judge(struct policy *p, const struct sim_request *r, const struct admission_load *load,
		  uint64_t now_ns)
{
	uint32_t rank;

	switch (p->rule.kind) {
	case POLICY_FIXED:
		return p->load.in_flight < p->rule.limit;
	case POLICY_EMA_FLAG:
		return !p->shut;
	case POLICY_ADAPTIVE:
		rank = admission_rank(r->class,
				      admission_above_share(&p->written, &p->held[r->client],
							    ADMISSION_ALL, p->view.admitted));
		if (admission_judge(&p->written, load, admission_bytes(r->bytes), rank, now_ns) ==
		    ADMISSION_ADMIT)
			return true;
		p->view.refused[rank]++;
		return false;
	case POLICY_NONE:
		break;
	}
	return true;
}

static void note_admission(struct policy_shown *s, uint32_t in_flight, uint32_t ceiling)
{
	if (in_flight > s->in_flight)
		s->in_flight = in_flight;
	if (ceiling > s->ceiling)
		s->ceiling = ceiling;
	s->above_ceiling += ceiling && in_flight > ceiling;
}

bool policy_judge(struct policy *p, uint32_t id, uint64_t now_ns)
{
	const struct sim_request *r = &p->work->requests[id];
	struct policy_request *mine = &p->requests[id];
	struct sluice_holding *held = &p->held[r->client];
	struct admission_load load = load_now(p, admission_bytes(r->bytes), now_ns);

	p->client_seen_ns[r->client] = now_ns + 1;
	if (!judge(p, r, &load, now_ns))
		return false;
	mine->queued_bytes =
		admission_queued_bytes(&p->written, &load, admission_bytes(r->bytes), now_ns);
	mine->wait_end = waits_end(now_ns, admission_wait_ns(&p->written, mine->queued_bytes));
	if (load.waiting_bytes <= 0)
		p->began_waiting_ns = now_ns;
	p->load.in_flight++;
	p->began_ns += now_ns;
	if (r->unary) {
		p->waits.bytes += (int64_t)(waits_units(r->bytes) * WAITS_UNIT);
		mine->expected = waits_put(&p->waits, mine->wait_end, waits_units(r->bytes));
	} else {
		p->load.waiting++;
		p->load.waiting_bytes += r->bytes;
	}
	mine->in_flight_at_admission = (uint32_t)p->load.in_flight;
	note_admission(&p->shown, mine->in_flight_at_admission, p->written.ceiling);
	mine->admitted_ns = now_ns;
	mine->waiting = !r->unary;
	held->in_flight++;
	p->view.admitted++;
	mine->turn = p->view.admitted;
	held->tat = admission_next_tat(&p->written, held->tat, ADMISSION_ALL, p->view.admitted);
	p->order[p->order_count++] = id;
	return true;
}

uint32_t policy_retry_s(struct policy *p, uint64_t now_ns)
{
	const struct adaptive_targets *t = &p->rule.targets;
	double ms = RETRY_MS;

	if (p->rule.kind == POLICY_ADAPTIVE) {
		ms = adaptive_retry_ms(&p->adaptive);
		ms += floor(ms * chance_below(&p->spread, 128) / 256);
	} else if (p->rule.kind == POLICY_EMA_FLAG) {
		if (t->ttft_ms > 0)
			ms = fmax(ms, 1000 * ema_seconds_until(&p->ttft, t->ttft_ms, now_ns,
							       p->rule.tau_s));
		if (t->itl_ms > 0)
			ms = fmax(ms, 1000 * ema_seconds_until(&p->itl, t->itl_ms, now_ns,
							       p->rule.tau_s));
		ms = fmin(ms, RETRY_MS_MAX);
	}
	return (uint32_t)ceil(ms / 1000);
}

/* The server has worked the request off, by its first token or the end of its reply. */
static void worked_off(struct policy *p, struct policy_request *mine, uint64_t now_ns)
{
	p->first_token_ns = now_ns;
	if (p->waits.bytes > 0)
		pass_waits(p, mine->wait_end, now_ns);
}

/* All requests of a batch have the same gaps; those of a stream show. */
static void note_streamed(struct policy *p)
{
	p->streamed = (double)p->decoding[0] / (p->decoding[0] + p->decoding[1]);
}

/* Of those in flight, how many were admitted no later than this one. */
static uint32_t admitted_no_later(const struct policy *p, const struct policy_request *mine)
{
	int64_t n = p->load.in_flight - (int64_t)(p->view.admitted - mine->turn);

	return n > 0 ? (uint32_t)n : 0;
}

void policy_first_token(struct policy *p, uint32_t id, uint64_t now_ns)
{
	const struct sim_request *r = &p->work->requests[id];
	struct policy_request *mine = &p->requests[id];
	double ms = (double)(now_ns - mine->admitted_ns) / 1e6;

	mine->first_ns = now_ns;
	p->decoding[r->unary]++;
	note_streamed(p);
	if (r->unary)
		return; /* nobody sees it */
	mine->waiting = false;
	p->load.waiting--;
	p->load.waiting_bytes -= r->bytes;
	worked_off(p, mine, now_ns);
	if (p->rule.kind == POLICY_EMA_FLAG)
		ema_record(&p->ttft, ms, 1, now_ns, p->rule.tau_s);
	if (p->rule.kind == POLICY_ADAPTIVE)
		adaptive_ttft(&p->adaptive, &p->rule.targets, ms, r->bytes, mine->queued_bytes,
			      mine->in_flight_at_admission, admitted_no_later(p, mine), now_ns);
}

void policy_gaps(struct policy *p, uint64_t sum_ns, uint64_t count, uint64_t now_ns)
{
	sum_ns = (uint64_t)((double)sum_ns * p->streamed);
	count = (uint64_t)round((double)count * p->streamed);
	if (!count)
		return;
	if (p->rule.kind == POLICY_EMA_FLAG)
		ema_record(&p->itl, (double)sum_ns / 1e6 / (double)count, (uint32_t)count, now_ns,
			   p->rule.tau_s);
	if (p->rule.kind == POLICY_ADAPTIVE)
		adaptive_gaps(&p->adaptive, (double)sum_ns / 1e6, (uint32_t)count, now_ns);
}

/* The end of a reply that is not streamed; without a first token it is an error, or the client hung
 * up. */
static void reply_ended(struct policy *p, const struct sim_request *r, struct policy_request *mine,
			uint64_t now_ns)
{
	if (mine->expected) {
		worked_off(p, mine, now_ns);
		waits_take(&p->waits, mine->wait_end, waits_units(r->bytes));
	}
	if (mine->first_ns && p->rule.kind == POLICY_ADAPTIVE)
		adaptive_duration(&p->adaptive, &p->rule.targets,
				  (double)(now_ns - mine->admitted_ns) / 1e6, r->bytes,
				  r->embedding ? 0 : r->generate, mine->in_flight_at_admission,
				  now_ns);
}

void policy_ended(struct policy *p, uint32_t id, uint64_t now_ns)
{
	const struct sim_request *r = &p->work->requests[id];
	struct policy_request *mine = &p->requests[id];

	if (mine->first_ns) {
		note_streamed(p);
		p->decoding[r->unary]--;
	}
	if (mine->waiting) { /* an error */
		mine->waiting = false;
		p->load.waiting--;
		p->load.waiting_bytes -= r->bytes;
	} else if (r->unary) {
		reply_ended(p, r, mine, now_ns);
	} else if (r->generate > 1 && p->rule.kind == POLICY_ADAPTIVE) {
		adaptive_ended(&p->adaptive, &p->rule.targets,
			       (double)(now_ns - mine->first_ns) / 1e6 / (r->generate - 1), now_ns);
	}
	p->load.in_flight--;
	p->began_ns -= mine->admitted_ns;
	p->held[r->client].in_flight--;
	p->view.ended++;
}

bool policy_ticks(const struct policy *p)
{
	return p->rule.kind == POLICY_EMA_FLAG || p->rule.kind == POLICY_ADAPTIVE;
}

/* Clients that the daemon would count as active, whatever became of their requests. */
static uint32_t active_clients(const struct policy *p, uint64_t now_ns)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < p->work->clients; i++)
		n += p->client_seen_ns[i] && now_ns < p->client_seen_ns[i] + ACTIVE_NS;
	return n;
}

static void look(struct policy *p, uint64_t now_ns)
{
	uint64_t age;

	while (p->oldest < p->order_count && !p->requests[p->order[p->oldest]].waiting)
		p->oldest++;
	age = p->oldest < p->order_count ? now_ns - p->requests[p->order[p->oldest]].admitted_ns
					 : 0;
	p->view.in_flight = p->load.in_flight;
	p->view.waiting = p->load.waiting;
	p->view.waiting_bytes = p->load.waiting_bytes + waits_bytes(&p->waits, now_ns);
	p->view.oldest_ns = age - age % AGE_STEP_NS;
	p->view.active_weight = active_clients(p, now_ns);
	adaptive_look(&p->adaptive, &p->rule.targets, &p->view, now_ns);
	adaptive_write(&p->adaptive, &p->rule.targets, &p->written);
}

static bool shows_shut(const struct policy *p)
{
	return p->shut || p->written.stopped;
}

static void note_state(struct policy *p, bool was_shut)
{
	p->shown.changes += shows_shut(p) != was_shut;
	p->shown.shut_while_replies += shows_shut(p) && p->view.ended != p->ended_at_tick;
	p->ended_at_tick = p->view.ended;
}

void policy_tick(struct policy *p, uint64_t now_ns)
{
	const struct adaptive_targets *t = &p->rule.targets;
	bool was_shut = shows_shut(p);

	if (p->rule.kind == POLICY_ADAPTIVE)
		look(p, now_ns);
	else
		p->shut = (t->ttft_ms > 0 &&
			   ema_read(&p->ttft, now_ns, p->rule.tau_s) > t->ttft_ms) ||
			  (t->itl_ms > 0 && ema_read(&p->itl, now_ns, p->rule.tau_s) > t->itl_ms);
	note_state(p, was_shut);
}
