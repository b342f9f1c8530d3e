/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Single look-ups in the kernel, for answers that do not need a whole map. */
#include "daemon/daemon.h"

#define VERDICT_ENTRIES 16 /* entries of maps that take the time of a verdict */

static bool look_verdict(void *arg, uint32_t service, struct sluice_question *question,
			 struct sluice_answer *out)
{
	on_step(arg, VERDICT_ENTRIES); /* called for every client in a list */
	return !datapath_predict(((struct daemon *)arg)->datapath, service, question, out);
}

static bool look_counts(void *arg, const struct sluice_client *client,
			struct sluice_client_count *out)
{
	return datapath_get_client(((struct daemon *)arg)->datapath, client, out);
}

static int64_t look_in_flight(void *arg, const struct sluice_client *client)
{
	return datapath_client_in_flight(((struct daemon *)arg)->datapath, client);
}

static bool look_key(void *arg, const char *secret, size_t len, struct sluice_client *out)
{
	return !datapath_key_client(((struct daemon *)arg)->datapath, secret, len, out);
}

struct state_lookup lookup = {
	.verdict = look_verdict,
	.counts = look_counts,
	.in_flight = look_in_flight,
	.key = look_key,
};
