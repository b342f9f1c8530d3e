/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Single look-ups in the kernel, for answers that do not need a whole map. */
#include "daemon/daemon.h"

static bool look_verdict(void *arg, uint32_t service, struct sluice_question *question,
			 struct sluice_answer *out)
{
	on_alive(arg); /* called for every client in a list */
	return !datapath_predict(((struct daemon *)arg)->datapath, service, question, out);
}

static bool look_counts(void *arg, const struct sluice_client *client,
			struct sluice_client_count *out, int64_t *in_flight)
{
	return datapath_get_client(((struct daemon *)arg)->datapath, client, out, in_flight);
}

static bool look_key(void *arg, const char *secret, size_t len, struct sluice_client *out)
{
	return !datapath_key_client(((struct daemon *)arg)->datapath, secret, len, out);
}

struct state_lookup lookup = {
	.verdict = look_verdict,
	.counts = look_counts,
	.key = look_key,
};
