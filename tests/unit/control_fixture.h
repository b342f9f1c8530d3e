/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A fixed state, and operations that only record their calls, for the tests of the control socket.
 */
#ifndef SLUICE_TESTS_CONTROL_FIXTURE_H
#define SLUICE_TESTS_CONTROL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdio.h>

#include "control/control.h"
#include "control/format_text.h"
#include "control/report.h"
#include "core/text.h"
#include "state_fixture.h"
#include "written.h"

/* The arguments of the last operation. */
static struct notes {
	unsigned refreshed;
	int client_sets, client_clears, prefix_sets, prefix_clears, sets, reloads, detaches;
	int records; /* times that recording began */
	bool recording;
	uint64_t kept_ns;
	struct sluice_client_flag_key client_key;
	struct sluice_client_flag client_flag;
	struct sluice_prefix_key prefix_key;
	struct sluice_prefix prefix;
	char set_model[128], set_first[128];
	size_t set_count;
	bool rule_known, prefix_known;
	int names, quota_sets, weight_sets;
	uint16_t weight;
	struct text_subject quota_subject;
	uint32_t quota_model;
	struct quota_def quota;
	char audit[1024]; /* the last report, one text; "": none */
	int fail;         /* the -errno that the next operation returns, without a message */
} notes;

static const struct ucred peer = {.uid = 1000, .gid = 100, .pid = 4242};
static struct control_rules rules_in_force;

static inline void take_rules(void *arg, struct control_rules *out)
{
	*out = rules_in_force;
}

static inline void take_audit(void *arg, const struct control_audit *a)
{
	snprintf(notes.audit, sizeof(notes.audit), "%u %u %d %s%s|%s|%s|%s|%s|%s", a->peer.uid,
		 a->peer.gid, a->peer.pid, a->command, a->fleet ? " fleet" : "",
		 a->client ? a->client : "-", a->model ? a->model : "-", a->from, a->to,
		 a->error ? a->error : "done");
}

static inline void take_refresh(void *arg, unsigned parts)
{
	notes.refreshed |= parts;
}

static inline int take_name_model(void *arg, const char *name, char *err, size_t err_len)
{
	struct fixture *f = arg;

	notes.names++;
	return notes.fail ? notes.fail
			  : (int)controller_learn(&f->controller, name, FIXTURE_NOW_NS);
}

static inline int take_set(void *arg, const char *model, const char *const *pairs, size_t count,
			   char *err, size_t err_len)
{
	struct fixture *f = arg;

	notes.sets++;
	notes.set_count = count;
	snprintf(notes.set_model, sizeof(notes.set_model), "%s", model ? model : "(all)");
	snprintf(notes.set_first, sizeof(notes.set_first), "%s", pairs[0]);
	return controller_set_all(&f->controller, model, pairs, count, err, err_len);
}

static inline int take_set_client(void *arg, const struct sluice_client_flag_key *key,
				  const struct sluice_client_flag *flag, char *err, size_t err_len)
{
	notes.client_sets++;
	notes.client_key = *key;
	notes.client_flag = *flag;
	return notes.fail;
}

static inline int take_clear_clients(void *arg, const struct sluice_client *clients, size_t count,
				     uint32_t model, char *err, size_t err_len)
{
	notes.client_clears++;
	notes.client_key = (struct sluice_client_flag_key){.client = clients[0], .model = model};
	return notes.rule_known ? 0 : -ENOENT;
}

static inline int take_set_prefix(void *arg, const struct sluice_prefix_key *key,
				  const struct sluice_prefix *prefix, char *err, size_t err_len)
{
	notes.prefix_sets++;
	notes.prefix_key = *key;
	notes.prefix = *prefix;
	return notes.fail;
}

static inline int take_clear_prefix(void *arg, const struct sluice_prefix_key *key, char *err,
				    size_t err_len)
{
	notes.prefix_clears++;
	notes.prefix_key = *key;
	return notes.prefix_known ? 0 : -ENOENT;
}

static inline int take_set_quota(void *arg, const struct text_subject *subject, uint32_t model,
				 const struct quota_def *quota, char *err, size_t err_len)
{
	notes.quota_sets++;
	notes.quota_subject = *subject;
	notes.quota_model = model;
	notes.quota = *quota;
	return notes.fail;
}

static inline int take_set_weight(void *arg, const struct sluice_prefix_key *key, uint16_t weight,
				  char *err, size_t err_len)
{
	notes.weight_sets++;
	notes.prefix_key = *key;
	notes.weight = weight;
	return notes.fail;
}

static inline int take_clear_quota(void *arg, const struct text_subject *subject, uint32_t model,
				   char *err, size_t err_len)
{
	snprintf(err, err_len, "nothing was set by an operator");
	return -ENOENT;
}

static inline int take_drain(void *arg, const struct controller_drain *drain, char *err,
			     size_t err_len)
{
	return notes.fail;
}

static inline int take_reload(void *arg, char *said, size_t said_len, char *err, size_t err_len)
{
	notes.reloads++;
	snprintf(err, err_len, "the file says nonsense");
	return -EINVAL;
}

static inline int take_detach(void *arg, uint64_t kept_ns, char *err, size_t err_len)
{
	notes.kept_ns = kept_ns;
	notes.detaches++;
	return 0;
}

static inline void take_record(void *arg, bool on)
{
	assert_int_not_equal(notes.recording, on);
	notes.recording = on;
	notes.records += on;
}

static struct fixture *f;
static struct control_ops ops = {
	.refresh = take_refresh,
	.rules = take_rules,
	.audit = take_audit,
	.name_model = take_name_model,
	.set = take_set,
	.set_client = take_set_client,
	.clear_clients = take_clear_clients,
	.set_prefix = take_set_prefix,
	.clear_prefix = take_clear_prefix,
	.set_quota = take_set_quota,
	.set_weight = take_set_weight,
	.clear_quota = take_clear_quota,
	.drain = take_drain,
	.reload = take_reload,
	.detach = take_detach,
	.record = take_record,
};

static inline int setup(void **state)
{
	f = fixture_new();
	ops.arg = f;
	memset(&notes, 0, sizeof(notes));
	rules_in_force = (struct control_rules){0};
	return 0;
}

static inline int teardown(void **state)
{
	free(f);
	return 0;
}

static inline json_t *run(const char *line)
{
	enum control_after after;
	char *text = control_run(control_read(&f->state, &ops, &peer, line, strlen(line)), &after);
	json_t *answer;

	assert_non_null(text);
	assert_null(strchr(text, '\n'));
	answer = json_loads(text, 0, NULL);
	free(text);
	assert_true(json_is_object(answer));
	assert_true(json_is_boolean(json_object_get(answer, "ok")));
	return answer;
}

static inline void accepted(const char *line)
{
	json_t *answer = run(line);

	if (!json_is_true(json_object_get(answer, "ok")))
		fail_msg("%s: %s", line, json_string_value(json_object_get(answer, "error")));
	json_decref(answer);
}

static inline void refused_with(const char *line, const char *part)
{
	json_t *answer = run(line);
	const char *error = json_string_value(json_object_get(answer, "error"));

	assert_true(json_is_false(json_object_get(answer, "ok")));
	assert_non_null(error);
	if (!strstr(error, part))
		fail_msg("%s\n\"%s\" does not say \"%s\"", line, error, part);
	json_decref(answer);
}

/* A test of answers alone. */
#define PURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
