/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A probe is one request of a calibration, and what came of it. A player sends probes: to a server
 * (client.h), or in a test to the simulator's engine.
 */
#ifndef SLUICE_CALIBRATE_PROBE_H
#define SLUICE_CALIBRATE_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#define PROBES_MAX         256 /* at once */
#define PROBE_TOKEN_BYTES  4   /* a prompt has as many for each wanted token */
#define PROBE_GENERATE_MAX 1024
/* Most generated events of a response. A token may come in two: a server may divide a character. */
#define PROBE_EVENTS(generate) (2 * (generate) + 8)

struct probe {
	/* What is sent. */
	uint32_t prompt;   /* wanted tokens */
	uint32_t generate; /* most tokens of the response, up to PROBE_GENERATE_MAX */
	uint32_t after;    /* sent once the first probe has had as many events; 0: at once */
	bool refusable;    /* a server that finds the prompt too long is no error */
	/* What came. */
	bool refused;
	uint32_t prompt_tokens; /* as the server states; 0: it does not */
	uint32_t tokens;        /* generated, as the server states, or the events */
	uint32_t events;        /* with generated output */
	uint64_t sent_ns;       /* the request's last byte */
	uint64_t *event_ns;     /* the time of each event, in room for PROBE_EVENTS(generate) */
};

/*
 * Sends the probes together, and waits for the end of all of them. 0; -ETIME: the calibration has
 * used up its time; another -errno: the player has kept the reason.
 */
struct player {
	int (*play)(void *context, struct probe *probes, uint32_t count);
	void *context;
};

#endif
