/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Commands about one client or prefix: allow, block, clear. The one idea: a rule is stored in
 * client_flags (one client) or in client_prefixes (many).
 */
#include "control/request.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The model of an override. */
static bool override_model(struct command *c, const struct subject *s, uint32_t *model)
{
	return s->one ? request_configured_model(c, model) : request_model(c, model);
}

static json_t *judge(struct command *c, bool allow)
{
	struct subject s;
	uint64_t expires;
	uint32_t model;
	bool fleet;
	int err;

	if (!request_fleet(c, &fleet))
		return NULL;
	if (fleet)
		return command_fleet_verdict(c, allow);
	if (!request_subject(c, &s) || !request_expiry(c, &expires) ||
	    !override_model(c, &s, &model))
		return NULL;
	if (!s.one && model != SLUICE_MODEL_ALL)
		return command_refuse(
			c, "a prefix is %s for all models; name an address to %s it for one model",
			allow ? "allowed" : "blocked", allow ? "allow" : "block");
	if (s.one) {
		struct sluice_client_flag flag = {
			.expires_ns = expires,
			.allow = allow,
			.reason = allow ? SLUICE_REASON_NONE : SLUICE_REASON_CLIENT_BLOCKED,
		};

		err = 0;
		for (size_t k = 0; k < s.count && !err; k++) {
			struct sluice_client_flag_key key = {.client = s.clients[k],
							     .model = model};

			err = c->ops->set_client(c->ops->arg, &key, &flag, c->err, sizeof(c->err));
		}
	} else {
		struct sluice_prefix prefix = {
			.expires_ns = expires,
			.class = allow ? SLUICE_PREFIX_EXEMPT : SLUICE_PREFIX_BLOCKED,
		};

		err = c->ops->set_prefix(c->ops->arg, &s.prefix, &prefix, c->err, sizeof(c->err));
	}
	if (err)
		return c->err[0] ? NULL : command_refuse(c, "%s: %s", s.text, strerror(-err));
	return command_done(c, allow ? "allowed" : "blocked", &s);
}

json_t *command_allow(struct command *c)
{
	return judge(c, true);
}

json_t *command_block(struct command *c)
{
	return judge(c, false);
}

/* Deletes the rules about a client: those for one model, or without a model all of them. */
json_t *command_clear(struct command *c)
{
	struct sluice_client clients[SLUICE_SERVICES_MAX + 1];
	char err[256] = "";
	bool cleared, fleet;
	struct subject s;
	uint32_t model;
	int ret;

	if (!request_fleet(c, &fleet))
		return NULL;
	if (fleet)
		return command_fleet_clear(c);
	if (!request_subject(c, &s) || !request_model(c, &model))
		return NULL;
	if (!s.one && model != SLUICE_MODEL_ALL)
		return command_refuse(c, "a prefix has one rule for all models; leave --model out");
	memcpy(clients, s.clients, s.count * sizeof(clients[0]));
	clients[s.count] =
		s.as_typed.client; /* a rule may be older than the services' prefix lengths */
	ret = c->ops->clear_clients(c->ops->arg, clients, s.count + 1, model, err, sizeof(err));
	cleared = !ret;
	if ((!ret || ret == -ENOENT) && model == SLUICE_MODEL_ALL &&
	    s.client.kind == SLUICE_CLIENT_ADDRESS) {
		ret = c->ops->clear_prefix(c->ops->arg, &s.prefix, err, sizeof(err));
		cleared |= !ret;
	}
	if (ret && ret != -ENOENT)
		return command_refuse(c, "%s: %s", s.text, err[0] ? err : strerror(-ret));
	if (!cleared && model != SLUICE_MODEL_ALL)
		return command_refuse(c, "%s has no rule for this model", s.text);
	if (!cleared)
		return command_refuse(c, "%s has no rule (`sluicectl clients` lists them)", s.text);
	return command_done(c, "cleared", &s);
}
