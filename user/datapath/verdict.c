/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Requests a verdict from the programs. Nothing attaches the program `predict`; under
 * BPF_PROG_TEST_RUN it judges a question as the others judge a packet.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/pkt_cls.h>
#include <string.h>

#include "core/service.h"
#include "internal.h"
#include "map_io.h"

struct found_key {
	uint32_t service;
	struct sluice_service_key key;
	bool found;
};

static void take_key(void *arg, const void *key, const void *value)
{
	struct found_key *f = arg;

	if (f->found || ((const struct sluice_service *)value)->id != f->service)
		return;
	memcpy(&f->key, key, sizeof(f->key));
	f->found = true;
}

static bool is_key(const struct datapath *d, const struct sluice_service_key *key, uint32_t service)
{
	struct sluice_service value;

	return map_find(d->skel->maps.services, key, &value) && value.id == service;
}

/*
 * An address under which packets find the service. For a wildcard that is nearly always the
 * loopback address. If another service has that, the map is walked.
 */
static int service_key(const struct datapath *d, const struct service *service,
		       struct sluice_service_key *out)
{
	static const uint8_t loopback4[16] = {[10] = 0xff, 0xff, 127, 0, 0, 1};
	struct found_key f = {.service = service->id};
	int err;

	*out = (struct sluice_service_key){.port = htons(service->port)};
	memcpy(out->addr, service->wildcard ? loopback4 : service->addr, sizeof(out->addr));
	if (is_key(d, out, service->id))
		return 0;
	err = map_each(d, d->skel->maps.services, take_key, &f);
	if (err)
		return err;
	*out = f.key;
	return f.found ? 0 : -ENOENT;
}

int datapath_predict(struct datapath *d, uint32_t service, struct sluice_question *question,
		     struct sluice_answer *out)
{
	struct {
		struct sluice_question question;
		struct sluice_answer answer;
	} packet = {0};
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = &packet,
			    .data_size_in = sizeof(packet), .data_out = &packet,
			    .data_size_out = sizeof(packet), .repeat = 1);
	int err = -ENOENT;

	for (size_t i = 0; i < d->service_count && err == -ENOENT; i++)
		if (d->services[i].id == service)
			err = service_key(d, &d->services[i], &question->service);
	if (err)
		return datapath_fail(err, "service %u is at none of this host's addresses",
				     service);
	packet.question = *question;
	err = bpf_prog_test_run_opts(bpf_program__fd(d->skel->progs.predict), &opts);
	if (err)
		return datapath_fail(err, "the programs cannot be run for a verdict: %s",
				     strerror(-err));
	if (opts.retval != TC_ACT_OK || !packet.answer.answered)
		return datapath_fail(-EINVAL, "the programs have no verdict on model %u",
				     question->model);
	*out = packet.answer;
	return 0;
}
