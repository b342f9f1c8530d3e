/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whether the daemon does what its configuration asks for, as one sentence, for the probes of an
 * orchestrator. They carry no credentials, so the sentence names nothing of the host.
 */
#include "metrics/metrics.h"

#define HTTP_OK          200
#define HTTP_UNAVAILABLE 503

/* XDP is "off" where tc does its work. */
static bool is_attached(const struct state_interface *i)
{
	return i->attached[STATE_TC_IN] && i->attached[STATE_TC_OUT] &&
	       (i->attached[STATE_XDP] || !strcmp(i->xdp, "off"));
}

unsigned metrics_write_ready(FILE *out, const struct daemon_state *s)
{
	size_t wanted = s->interface_count + s->interfaces_left_out, attached = 0;

	for (size_t i = 0; i < s->interface_count; i++)
		attached += is_attached(&s->interfaces[i]);
	if (s->detaching)
		fputs("not ready: the daemon detaches\n", out);
	else if (s->lease_until_ns <= s->now_ns)
		fputs("not ready: the lease has ended, so everything passes\n", out);
	else if (!wanted)
		fputs("not ready: no interface matches\n", out);
	else if (attached < wanted)
		fprintf(out, "not ready: %zu of %zu interfaces are not attached\n",
			wanted - attached, wanted);
	else if (s->netns_unfollowed)
		fprintf(out, "not ready: %zu of the network namespaces cannot be followed\n",
			s->netns_unfollowed);
	else {
		fprintf(out, "ready: mode %s\n",
			s->mode == SLUICE_MODE_SHADOW ? "shadow" : "enforce");
		return HTTP_OK;
	}
	return HTTP_UNAVAILABLE;
}
