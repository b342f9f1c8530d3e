/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The services: --listen and the entries of `services` form one list. The global settings fill in
 * what an entry leaves out.
 */
#ifndef SLUICE_CONFIG_SERVICES_H
#define SLUICE_CONFIG_SERVICES_H

#include "identity.h"
#include "loader.h"
#include "priority.h"
#include "rules.h"

/* One service as read so far. */
struct service_entry {
	char *label;
	char listen[160]; /* as it was written */
	struct service service;
	bool has_listen, has_model, has_protocol, has_action, has_mode;
	bool has_quota, has_feedback; /* was given, even as none or off */
	bool has_blob_bytes;
	bool has_http; /* a key about requests, which only protocol http reads */
	struct rules_entry rules;
	struct identity_entry identity;
	struct priority_entry priority;
};

extern const struct field service_fields[]; /* of struct service_entry */
extern const struct section services_section;
extern const struct parse_value services_as_feedback;

/* --listen: `to` is the struct loader. */
int services_take_listen(void *to, const struct field *field, const char *text, char *err,
			 size_t len);

#endif
