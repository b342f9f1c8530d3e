/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A command on its way through commands*.c, and the fields of its request (request.c). A function
 * that returns false has refused the command.
 */
#ifndef SLUICE_REQUEST_H
#define SLUICE_REQUEST_H

#include <jansson.h>

#include "control/control.h"

struct command {
	const struct daemon_state *state;
	const struct control_ops *ops;
	const json_t *request;
	struct ucred peer; /* who gave it */
	enum control_after after;
	char note[160]; /* what the answer says besides; "" */
	char err[512];  /* filled: refused */
	bool secret;    /* err quotes what may be an API key: it is for the client alone */
};

/* Stores why the command is refused; returns NULL, the answer of a refused command. */
json_t *command_refuse(struct command *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The client or prefix of a command, and its text. */
struct subject {
	bool one;
	struct sluice_client client;
	struct sluice_prefix_key prefix;
	struct text_subject as_typed;
	struct sluice_client
		clients[SLUICE_SERVICES_MAX]; /* every client that the address is at any service */
	size_t count;
	char note[512]; /* how the text was understood, if not as typed; "" */
	char text[TEXT_CLIENT_MAX];
};

/* The string `key`; *out NULL if it is absent or null. */
bool request_string(struct command *c, const char *key, const char **out);
/* "service": ADDR:PORT as `sluicectl services` prints it, or the port; negative if it is absent. */
bool request_service(struct command *c, int *out);
/* "model": its id; SLUICE_MODEL_ALL if it is absent. */
bool request_model(struct command *c, uint32_t *id);
/* The same for a command that configures something for the model: a name that is not known gets an
 * id if the table of names was or is full. The answer's note says so. */
bool request_configured_model(struct command *c, uint32_t *id);
/* "client", which must be present. */
bool request_subject(struct command *c, struct subject *out);
/* A number of milliseconds, in ns; *out stays as it is without one. */
bool request_duration(struct command *c, const char *name, uint64_t *out);
/* "for_ms", as the end time on CLOCK_MONOTONIC; 0: no end. */
bool request_expiry(struct command *c, uint64_t *out);

/* "fleet": whether the command is for all hosts of the fleet. */
bool request_fleet(struct command *c, bool *out);
/* Takes `weight=W` out of the words of a quota and copies the others to `rest`. *weight 0: there is
 * no weight. */
bool request_weight(struct command *c, const char *text, char *rest, size_t len, uint16_t *weight);
/* The answer of a command that changed something about a subject. */
json_t *command_done(const struct command *c, const char *did, const struct subject *s);

/* commands_fleet.c */
json_t *command_fleet_verdict(struct command *c, bool allow);
json_t *command_fleet_clear(struct command *c);
json_t *command_fleet_quota_set(struct command *c);
json_t *command_fleet_quota_clear(struct command *c);

json_t *command_allow(struct command *c);
json_t *command_block(struct command *c);
json_t *command_clear(struct command *c);
json_t *command_explain(struct command *c);
json_t *command_quota_show(struct command *c);
json_t *command_quota_set(struct command *c);
json_t *command_quota_clear(struct command *c);

#endif
