/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "core/server_slots.h"

#include <math.h>

/* A first token that comes so much later than queued bytes explain has waited for a slot. */
#define WAITED    1.3
#define WAITED_MS 100
/* Each of them moves the slots by this part of the way to those that it shows, if these are fewer.
 */
#define FEWER        (1.0 / 16)
#define SERVED_KEEPS 0.99 /* from one first token to the next */
#define ENDS         10   /* that the mean time of a slot is over, about */

void server_slots_first_token(struct server_slots *s, double ms, double queued_ms, uint32_t served)
{
	s->served = fmax(served, s->served * SERVED_KEEPS);
	if (s->slots > 0)
		s->slots = fmax(s->slots, served);
	if (queued_ms < 0 || ms <= WAITED * queued_ms + WAITED_MS)
		return;
	s->slots = s->served > s->slots ? s->served : s->slots + FEWER * (s->served - s->slots);
}

void server_slots_pass(struct server_slots *s, double ms, double in_flight, double ended)
{
	double mean;

	s->taken_ms += ms * (s->slots > 0 ? fmin(in_flight, s->slots) : in_flight);
	s->ended += ended;
	if (s->ended < 1)
		return;
	mean = s->taken_ms / s->ended; /* Little's law, on the slots */
	if (s->service_ms > 0)
		s->service_ms += (mean - s->service_ms) * (1 - exp(-s->ended / ENDS));
	else
		s->service_ms = mean;
	s->taken_ms = s->ended = 0;
}
