/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See fleet.h. The daemon answers what it knows; it is sluicectl that waits. */
#include "ctl/fleet.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control/format_text.h"
#include "ctl/exchange.h"

#define WAIT_MS     2000
#define EACH_MS     50
#define GONE_MS     3000 /* without a call for so long, a host counts no more */
#define ANSWER_SECS 10

/* The hosts of `fleet`; NULL: the daemon does not say. */
static json_t *ask(const char *control)
{
	int fd = say(control, json_pack("{s:s}", "cmd", "fleet"));
	json_t *answer = NULL, *list;

	if (fd < 0)
		return NULL;
	if (hear(control, fd, ANSWER_SECS, false, &answer))
		answer = NULL;
	close(fd);
	list = json_incref(json_object_get(json_object_get(answer, "fleet"), "list"));
	json_decref(answer);
	return list;
}

/* Counts the hosts. True: all have the version. A host with another secret has no such key. */
static bool count(json_t *fleet, const json_t *list, bool of_key)
{
	json_int_t version = json_integer_value(json_object_get(fleet, "version"));
	json_t *missing = json_array();
	json_int_t hosts = 0, late = 0;
	const json_t *host;
	size_t i;

	json_array_foreach(list, i, host)
	{
		const json_t *has = json_object_get(host, "rules_version");
		bool other = of_key && json_is_false(json_object_get(host, "same_secret"));

		if (json_integer_value(json_object_get(host, "seen_ms_ago")) >= GONE_MS)
			continue;
		hosts++;
		late += json_integer_value(has) < version;
		if (other || json_integer_value(has) < version)
			json_array_append(missing, json_object_get(host, "name"));
	}
	json_object_set_new(fleet, "hosts", json_integer(hosts));
	json_object_set_new(fleet, "in_force",
			    json_integer(hosts - (json_int_t)json_array_size(missing)));
	json_object_set_new(fleet, "missing", missing);
	return hosts && !late;
}

void fleet_follow(const char *control, json_t *answer)
{
	const struct timespec pause = {.tv_nsec = EACH_MS * 1000000L};
	const char *client = json_string_value(json_object_get(answer, "client"));
	bool of_key = client && !strncmp(client, "key:", 4);
	json_t *fleet = json_object_get(answer, "fleet");
	int64_t until = now_ms() + WAIT_MS;
	bool done = false;

	while (json_is_object(fleet) && !done) {
		json_t *list = ask(control);

		done = !list || count(fleet, list, of_key) || now_ms() >= until;
		json_decref(list);
		if (!done)
			nanosleep(&pause, NULL);
	}
}
