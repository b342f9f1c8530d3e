/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Services by name, and the client that an address is at each: prefix lengths may differ. */
#include "core/service.h"

#include <stdio.h>
#include <string.h>

#include "core/text.h"

void service_client(const struct service *s, const struct text_subject *subject,
		    struct sluice_client *client)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	uint8_t plen;

	*client = subject->client;
	if (client->kind != SLUICE_CLIENT_ADDRESS || !s->identity.plen6)
		return;
	plen = memcmp(subject->addr, mapped, sizeof(mapped)) ? s->identity.plen6
							     : (uint8_t)(96 + s->identity.plen4);
	/* A typed prefix that is shorter than a client stays as typed. */
	if (!subject->note && client->plen < plen)
		return;
	memcpy(client->addr, subject->addr, sizeof(client->addr));
	client->plen = plen;
	text_mask(client->addr, client->plen);
}

size_t service_clients(const struct service *services, size_t count,
		       const struct text_subject *subject,
		       struct sluice_client out[SLUICE_SERVICES_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < count && i < SLUICE_SERVICES_MAX; i++) {
		bool known = false;

		service_client(&services[i], subject, &out[n]);
		for (size_t k = 0; k < n && !known; k++)
			known = !memcmp(&out[k], &out[n], sizeof(out[n]));
		n += !known;
	}
	if (!n)
		out[n++] = subject->client;
	return n;
}

int service_find(const struct service *services, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		char endpoint[TEXT_SERVICE_MAX], port[8];

		text_endpoint(endpoint, services[i].addr, services[i].wildcard, services[i].port);
		snprintf(port, sizeof(port), "%u", services[i].port);
		if (!strcmp(name, endpoint) || !strcmp(name, port))
			return (int)i;
	}
	return -1;
}
