/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The run: when a request begins, its retries, its outcome. A request includes its retries and ends
 * with its whole answer; its connection may stay open until EOF.
 */
#include "load.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static void attempt(struct request *r);

struct results all;
struct conn *idle[ARRAY_SIZE(binds)];
struct conn *conns;
bool open_loop, ending_run;
struct arrival *arrivals;
size_t arrival_count, arrived;
struct fates fates, quartile_fates[4], *second_fates;
uint32_t quartile_ends[3]; /* tokens, inclusive */
size_t seconds_len, seconds_cap;
uint64_t endings[ENDING_COUNT];
struct series retry_after; /* in seconds */
uint64_t retry_after_values[3602], retry_after_missing;
uint64_t length_equal, length_differs, length_missing;
struct series refused_ms;
uint64_t requests_begun, retries, gave_up, connections_opened;
uint64_t in_flight, waiting, draining;
uint64_t start_ns, stop_ns, hard_stop_ns, last_end_ns;
uint64_t next_arrival_ns;
double arrivals_s; /* the schedule of the open loop, seconds from the start */
struct timer arrival_timer, stop_timer, hard_timer, progress_timer;

/* Ends the run if nothing is left to send or to wait for. */
void check_end(void)
{
	bool more = open_loop ? arrival_timer.index != 0
			      : requests_max == 0 || requests_begun < (uint64_t)requests_max;

	if (stop_ns && now_ns() >= stop_ns)
		more = false;
	if (!more && !in_flight && !waiting && !draining)
		loop_stop();
}

bool may_begin(void)
{
	if (ending_run || (requests_max > 0 && requests_begun >= (uint64_t)requests_max))
		return false;
	return !stop_ns || now_ns() < stop_ns;
}

static void on_next(struct timer *t)
{
	struct request *r = container_of(t, struct request, timer);

	loop_free_later(r);
	if (may_begin())
		begin_request(r->bind_at, NULL);
	check_end();
}

/*
 * Ends a request. In the closed loop its caller sends the next one, by a timer: connect() may fail
 * at once, and direct calls would nest one level for each request.
 */
static void end_request(struct request *r)
{
	if (!open_loop && may_begin()) {
		r->timer.fire = on_next;
		timer_set(&r->timer, now_ns());
		return;
	}
	loop_free_later(r);
	check_end();
}

static void on_retry(struct timer *t)
{
	waiting--;
	retries++;
	attempt(container_of(t, struct request, timer));
}

static bool met_targets(const struct conn *c, enum outcome o)
{
	return o == OUTCOME_OK &&
	       (ttft_target_ms == 0 ||
		(c->first_ns && ms_between(c->written_ns, c->first_ns) <= ttft_target_ms)) &&
	       (itl_target_ms == 0 || c->gap_sum_ms <= itl_target_ms * (double)c->gaps);
}

/* The outcomes of the requests that arrived in the same second. */
static struct fates *fates_at(uint64_t begun_ns)
{
	size_t second = (size_t)((begun_ns - start_ns) / NSEC_PER_SEC);

	if (second >= seconds_cap) {
		size_t cap = second * 2 + 256;

		second_fates = xrealloc(second_fates, cap * sizeof(*second_fates));
		memset(second_fates + seconds_cap, 0, (cap - seconds_cap) * sizeof(*second_fates));
		seconds_cap = cap;
	}
	if (second >= seconds_len)
		seconds_len = second + 1;
	return &second_fates[second];
}

static void add_fate(struct fates *f, bool met, bool refused)
{
	f->met += met;
	f->refused += refused;
	f->missed += !met && !refused;
}

/* Counts the outcome of a request, by its last attempt. */
static void book_fate(const struct request *r, const struct conn *c, enum outcome o)
{
	bool met = met_targets(c, o);
	bool refused = o == OUTCOME_HTTP_ERROR && (c->is_429 || c->head.status == 503);

	add_fate(&fates, met, refused);
	add_fate(fates_at(r->begun_ns), met, refused);
	if (r->arrival)
		add_fate(&quartile_fates[r->arrival->quartile], met, refused);
}

static void book(struct results *r, const struct conn *c, enum outcome o, uint64_t now)
{
	double total = ms_between(c->start_ns, now);

	r->outcomes[o]++;
	if (c->have_head && c->head.status < (int)ARRAY_SIZE(r->status))
		r->status[c->head.status]++;
	if (o == OUTCOME_HTTP_ERROR && c->is_429)
		series_add(&r->rejected, total, 1, now);
	if (o != OUTCOME_OK)
		return;
	r->completed++;
	series_add(&r->total, total, 1, now);
	if (c->gaps)
		series_add(&r->request_itl, c->gap_sum_ms / (double)c->gaps, 1, now);
	r->good += met_targets(c, o);
}

/* Ends the attempt. The caller closes, keeps or drains the connection. */
void end_attempt(struct conn *c, enum outcome o)
{
	struct request *r = c->request;
	uint64_t now = now_ns();

	if (!r)
		return;
	c->request = NULL;
	in_flight--;
	last_end_ns = now;
	book(&c->model->results, c, o, now);
	book(&all, c, o, now);
	if (c->is_429 && o != OUTCOME_HTTP_ERROR)
		length_differs++;
	if (o == OUTCOME_HTTP_ERROR && c->is_429) {
		uint64_t retry_ns = now + s_to_ns(c->head.retry_after_s);

		if (!c->head.has_length)
			length_missing++;
		else
			length_equal++;
		if (!c->head.has_retry_after) {
			retry_after_missing++;
		} else {
			double s = c->head.retry_after_s;

			series_add(&retry_after, s, 1, now);
			retry_after_values[s < 3600 ? (size_t)s : 3600]++;
		}
		if (retries_max > 0 && c->head.has_retry_after &&
		    r->attempts <= (unsigned int)retries_max && retry_ns < hard_stop_ns) {
			waiting++;
			timer_set(&r->timer, retry_ns);
			return;
		}
		if (retries_max > 0)
			gave_up++;
	}
	book_fate(r, c, o);
	end_request(r);
}

void fail(struct conn *c, enum outcome o)
{
	if (c->state == STATE_DRAIN)
		endings[o == OUTCOME_TIMEOUT ? ENDING_NONE : ENDING_RESET]++;
	if (c->state == STATE_CONNECTING && o == OUTCOME_TIMEOUT)
		endings[ENDING_CONNECT_TIMEOUT]++;
	close_conn(c);
	end_attempt(c, o);
	check_end();
}

void on_timeout(struct timer *t)
{
	fail(container_of(t, struct conn, timer), OUTCOME_TIMEOUT);
}

/* Starts one attempt of a request, on a kept connection or a new one. */
static void attempt(struct request *r)
{
	struct conn *c = take_idle(r->bind_at);
	bool fresh = !c;

	if (fresh)
		c = open_conn(r);
	r->attempts++;
	c->request = r;
	c->model = r->model;
	c->sent = 0;
	c->start_ns = now_ns();
	c->written_ns = 0;
	c->have_head = false;
	c->is_429 = false;
	memset(&c->head, 0, sizeof(c->head));
	memset(&c->chunked, 0, sizeof(c->chunked));
	c->body_left = 0;
	c->body_bytes = 0;
	buf_clear(&c->line);
	buf_clear(&c->event_data);
	c->event_name[0] = '\0';
	c->after_cr = false;
	c->generated = 0;
	c->first_ns = 0;
	c->last_ns = 0;
	c->gap_sum_ms = 0;
	c->gaps = 0;
	if (r->arrival || distinct) {
		build_json(&c->own_body, r->model,
			   r->arrival ? (size_t)r->arrival->prompt * BYTES_A_TOKEN : r->model->text,
			   r->arrival ? r->arrival->generate : max_tokens);
		build_request(&c->own_head, &c->own_body);
	}
	in_flight++;
	all.sent++;
	r->model->results.sent++;
	timer_set(&c->timer, c->start_ns + s_to_ns(timeout_s));
	if (!fresh) {
		send_request(c);
		update_events(c);
		return;
	}
	if (c->fd < 0) {
		fail(c, OUTCOME_LOCAL_ERROR);
		return;
	}
	if (connect(c->fd, (const struct sockaddr *)&server.sa, server.len) < 0 &&
	    errno != EINPROGRESS) {
		bool refused = errno == ECONNREFUSED;

		if (refused)
			series_add(&refused_ms, ms_between(c->start_ns, now_ns()), 1, now_ns());
		fail(c, refused                  ? OUTCOME_CONNECT_REFUSED
			: errno == EADDRNOTAVAIL ? OUTCOME_LOCAL_ERROR
						 : OUTCOME_CONNECT_FAILED);
		return;
	}
	c->events = EPOLLOUT | EPOLLIN;
	c->wants_write = true;
	loop_watch(c->fd, &c->source, c->events);
}

static struct model *pick_model(void)
{
	double sum = 0, at;

	for (size_t i = 0; i < model_count; i++)
		sum += models[i].weight;
	at = random_unit() * sum;
	for (size_t i = 0; i < model_count; i++) {
		at -= models[i].weight;
		if (at < 0)
			return &models[i];
	}
	return &models[model_count - 1];
}

void begin_request(size_t bind_at, const struct arrival *a)
{
	struct request *r = xcalloc(1, sizeof(*r));

	r->arrival = a;
	r->begun_ns = now_ns();
	fates.arrived++;
	fates_at(r->begun_ns)->arrived++;
	if (a)
		quartile_fates[a->quartile].arrived++;
	r->timer.fire = on_retry;
	r->model = pick_model();
	r->bind_at = bind_at;
	requests_begun++;
	attempt(r);
}

void schedule_arrival(void)
{
	if (trace_path) {
		if (arrived == arrival_count)
			return;
		timer_set(&arrival_timer, start_ns + s_to_ns(arrivals[arrived].at_s));
		return;
	}
	arrivals_s += uniform ? 1 / rate : -log(1 - random_unit()) / rate;
	next_arrival_ns = start_ns + s_to_ns(arrivals_s);
	if (may_begin() && (!stop_ns || next_arrival_ns < stop_ns))
		timer_set(&arrival_timer, next_arrival_ns);
}

void on_arrival(struct timer *t)
{
	size_t bind_at = bind_count ? requests_begun % bind_count : 0;

	(void)t;
	if (!may_begin()) {
		check_end();
		return;
	}
	/* The clock alone schedules: a late loop catches up, and a slow server has no influence. */
	begin_request(bind_at, trace_path ? &arrivals[arrived++] : NULL);
	schedule_arrival();
	check_end();
}

void on_stop(struct timer *t)
{
	(void)t;
	check_end();
}

void on_hard_stop(struct timer *t)
{
	(void)t;
	loop_stop();
}
