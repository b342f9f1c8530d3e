/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The server's slots: how many requests it works on at once, and for how long a request keeps its
 * slot. No server says so on the wire. But most take requests up in the order of their arrival, so
 * at a first token all requests that were admitted before and are still in flight have a slot, too.
 * If that first token comes much later than queued bytes explain, it has waited for a slot, and
 * those were all. Replies that are not streamed count like others. Pure: time is a parameter.
 */
#ifndef SLUICE_SERVER_SLOTS_H
#define SLUICE_SERVER_SLOTS_H

#include <stdint.h>

struct server_slots {
	double slots;      /* 0: not known */
	double served;     /* the most that had a slot at a first token, lately */
	double service_ms; /* mean time for which a request has its slot; 0: not known */
	double taken_ms;   /* since the last mean: the times for which slots were taken, … */
	double ended;      /* … and the requests that ended */
};

/*
 * A first token after `ms`; queued bytes explain `queued_ms`, negative: that is not known. `served`
 * requests that were admitted no later are in flight, with it.
 */
void server_slots_first_token(struct server_slots *s, double ms, double queued_ms, uint32_t served);

/* For `ms`, so many were in flight; `ended` of them ended in that time. */
void server_slots_pass(struct server_slots *s, double ms, double in_flight, double ended);

#endif
