/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See trouble.h. One table has all that the kinds differ in but their conditions. */
#include "trouble.h"

#include <stdio.h>
#include <string.h>

#include "text.h"

/*
 * `begins`: how long the condition has to hold; `ends`: how long it has to be absent, in units of
 * trouble-after-secs. Where a look shows only what is under way at that moment, the condition may
 * be absent for `ends` without beginning anew. user/docs/operations.md has this table.
 */
static const struct {
	const char *name;
	bool blind;
	uint8_t begins, ends;
} kinds[TROUBLE_KINDS] = {
	/* A server that loads a large model listens only minutes later. */
	[TROUBLE_NOT_LISTENING] = {"not-listening", true, 5, 0},
	/* A server on the way to which this host is a router may be idle as long. */
	[TROUBLE_NO_SERVER] = {"no-server", false, 5, 0},
	[TROUBLE_UNSEEN] = {"unseen", true, 1, 1},
	[TROUBLE_PARTLY_UNSEEN] = {"partly-unseen", false, 1, 1},
	[TROUBLE_OTHER_ADDRESS] = {"other-address", false, 1, 1},
	[TROUBLE_REQUESTS_UNSEEN] = {"requests-unseen", true, 1, 1},
	[TROUBLE_RESPONSES_UNSEEN] = {"responses-unseen", true, 1, 1},
	[TROUBLE_OPAQUE] = {"opaque", true, 1, 1},
	[TROUBLE_FRAMING] = {"framing", true, 1, 1},
	/* A thousand requests are enough. */
	[TROUBLE_ONE_CLIENT] = {"one-client", false, 0, 10},
	[TROUBLE_RELAYED] = {"relayed", false, 0, 10},
	[TROUBLE_MODELS] = {"models", false, 1, 1},
	[TROUBLE_TWICE] = {"judged-twice", false, 1, 1},
};

const char *trouble_name(enum trouble_kind kind)
{
	return kinds[kind].name;
}

bool trouble_is_blind(enum trouble_kind kind)
{
	return kinds[kind].blind;
}

static bool some(struct trouble_facts *facts, uint64_t n, uint64_t of, const uint8_t *addr)
{
	if (!n)
		return false;
	facts->n = n;
	facts->of = of;
	if (addr)
		memcpy(facts->addr, addr, sizeof(facts->addr));
	return true;
}

bool trouble_holds(enum trouble_kind kind, const struct trouble_look *look,
		   struct trouble_facts *facts)
{
	/* Whatever sluice sees of the service, it is not blind. */
	bool sees = look->sampled || look->active > look->unseen + look->unseen_here +
							    look->requests_unseen +
							    look->responses_unseen;

	switch (kind) {
	case TROUBLE_NOT_LISTENING:
		/* Who is answered has a server, perhaps behind an address translation. */
		return some(facts, look->own && !look->listening && !look->active && !look->sampled,
			    0, NULL);
	case TROUBLE_NO_SERVER:
		return some(facts, look->nowhere + look->past, look->answered, NULL);
	case TROUBLE_UNSEEN:
		return !sees && some(facts, look->unseen, look->active, look->unseen_client);
	case TROUBLE_PARTLY_UNSEEN:
		/* Those of this host alone, on an idle server, may be probes. */
		return (sees || !look->unseen) && some(facts, look->unseen + look->unseen_here,
						       look->active, look->unseen_client);
	case TROUBLE_OTHER_ADDRESS:
		return some(facts, look->other_address, 0, look->other_server) ||
		       some(facts, look->other_there, 1, look->other_server);
	case TROUBLE_REQUESTS_UNSEEN:
		return some(facts, look->requests_unseen, look->active, look->unseen_client);
	case TROUBLE_RESPONSES_UNSEEN:
		return some(facts, look->responses_unseen, look->active, look->unseen_client);
	case TROUBLE_OPAQUE:
		return some(facts, look->opaque, 0, NULL);
	case TROUBLE_FRAMING:
		return some(facts, look->unread, 0, NULL);
	case TROUBLE_ONE_CLIENT:
		return look->of_one * 10 > look->requests * 9 &&
		       some(facts, look->of_one, look->requests, look->one_client);
	case TROUBLE_RELAYED:
		return look->local > TROUBLE_REQUESTS_MIN / 4 &&
		       look->local * 10 > look->passed * 9 && look->passed * 10 > look->local * 9 &&
		       some(facts, look->local, look->requests, NULL);
	case TROUBLE_TWICE:
		return look->judged_twice;
	case TROUBLE_MODELS:
		return look->busy_models > 1 && some(facts, look->busy_models, 0, NULL);
	case TROUBLE_KINDS:
		break;
	}
	return false;
}

enum trouble_change trouble_step(struct trouble *t, enum trouble_kind kind, bool holds,
				 const struct trouble_facts *facts, uint64_t now_ns,
				 uint64_t after_ns)
{
	if (holds) {
		if (!t->since_ns)
			t->since_ns = now_ns;
		t->held_ns = now_ns;
		t->facts = *facts;
		if (t->on || now_ns - t->since_ns < kinds[kind].begins * after_ns)
			return TROUBLE_SAME;
		t->on = true;
		return TROUBLE_BEGINS;
	}
	if (!t->since_ns || now_ns - t->held_ns < kinds[kind].ends * after_ns)
		return TROUBLE_SAME;
	t->since_ns = 0;
	if (!t->on)
		return TROUBLE_SAME;
	t->on = false;
	return TROUBLE_ENDS;
}

void trouble_text(char out[TROUBLE_TEXT_MAX], enum trouble_kind kind, const char *service,
		  const struct trouble_facts *facts)
{
	unsigned long long n = facts->n, of = facts->of;
	static const uint8_t unknown[16];
	char addr[TEXT_CLIENT_MAX] = "a client";

	if (memcmp(facts->addr, unknown, sizeof(unknown)))
		text_address(addr, sizeof(addr), facts->addr);
	switch (kind) {
	case TROUBLE_NOT_LISTENING:
		snprintf(out, TROUBLE_TEXT_MAX,
			 "%s: nobody listens there: start the server, or correct the port",
			 service);
		break;
	case TROUBLE_NO_SERVER:
		snprintf(
			out, TROUBLE_TEXT_MAX,
			n > 1 ? "%s: its server has this address on an interface that has no end on this host: what reaches it past the interfaces of sluice is unseen: attach in its network namespace"
			: of  ? "%s: no server with this address is found on this host: what reaches it past the interfaces of sluice is unseen: name the server's own address, or attach in its network namespace"
			      : "%s: no server with this address is found on this host: if several backends share it, name the address of each",
			service);
		break;
	case TROUBLE_UNSEEN:
		snprintf(
			out, TROUBLE_TEXT_MAX,
			"%s: its server has busy connections, and sluice sees none of their packets: attach to the interface by which %s comes, or name the address that it uses, if that is translated",
			service, addr);
		break;
	case TROUBLE_PARTLY_UNSEEN:
		snprintf(
			out, TROUBLE_TEXT_MAX,
			"%s: %llu of %llu busy connections pass unseen: attach to the interface by which %s comes, if it is to be judged",
			service, n, of, addr);
		break;
	case TROUBLE_OTHER_ADDRESS:
		if (of)
			snprintf(
				out, TROUBLE_TEXT_MAX,
				"%s: its server has the address %s, too, which no service has: name it, if requests to it are to be judged",
				service, addr);
		else
			snprintf(
				out, TROUBLE_TEXT_MAX,
				"%s: %llu of its server's busy connections go to %s, which no service has: name it, too, if they are to be judged",
				service, n, addr);
		break;
	case TROUBLE_REQUESTS_UNSEEN:
		snprintf(
			out, TROUBLE_TEXT_MAX,
			"%s: sluice sees responses to %s and not its requests: attach to the interface by which they come",
			service, addr);
		break;
	case TROUBLE_RESPONSES_UNSEEN:
		snprintf(
			out, TROUBLE_TEXT_MAX,
			"%s: sluice sees requests of %s and not the responses: attach to the interface by which they leave",
			service, addr);
		break;
	case TROUBLE_OPAQUE:
		snprintf(
			out, TROUBLE_TEXT_MAX,
			"%s: clients speak TLS or HTTP/2, of which sluice reads no request: protect the plain port behind it, or set `protocol: opaque`",
			service);
		break;
	case TROUBLE_FRAMING:
		snprintf(
			out, TROUBLE_TEXT_MAX,
			"%s: connections pass unjudged, since they are no HTTP/1 that can be read: look which client or server speaks there",
			service);
		break;
	case TROUBLE_ONE_CLIENT:
		snprintf(
			out, TROUBLE_TEXT_MAX,
			"%s: %llu of %llu requests come from %s: if it is a proxy, set `identity: x-forwarded-for` and `trusted-proxies`",
			service, n, of, addr);
		break;
	case TROUBLE_RELAYED:
		snprintf(
			out, TROUBLE_TEXT_MAX,
			"%s: %llu of %llu requests come by lo, as many as others are admitted: if a proxy on this host sends them on, each is judged and counted twice: name the address of the proxy or of the server, not the port alone",
			service, n, of);
		break;
	case TROUBLE_MODELS:
		snprintf(
			out, TROUBLE_TEXT_MAX,
			"%s: %llu models that nobody configured are busy at once: name them under `models:`, or set `pool: port` if one server takes every name",
			service, n);
		break;
	case TROUBLE_TWICE:
		snprintf(
			out, TROUBLE_TEXT_MAX,
			"%s: another sluice, in the server's pod or on its host, judges and counts the same requests: leave the service to one of them",
			service);
		break;
	case TROUBLE_KINDS:
		*out = 0;
		break;
	}
}

void trouble_find_listener(struct trouble_listener *l, struct trouble_look *look,
			   uint64_t answered_ns, uint64_t now_ns, uint64_t after_ns)
{
	if (look->listening)
		l->gone_ns = 0;
	else if (!l->gone_ns)
		l->gone_ns = now_ns;
	l->elsewhere = !look->listening && (l->elsewhere || answered_ns > l->gone_ns + after_ns);
	look->nowhere |= look->own && l->elsewhere;
	look->own &= !l->elsewhere;
}

static bool same(const struct sluice_client *a, const struct sluice_client *b)
{
	return !memcmp(a, b, sizeof(*a));
}

/* As a prefix, ::1 is zero at the end. */
static bool is_local(const struct sluice_client *client)
{
	static const uint8_t loopback4[13] = {[10] = 0xff, [11] = 0xff, [12] = 127};
	static const uint8_t loopback6[15];

	return client->kind == SLUICE_CLIENT_ADDRESS &&
	       (!memcmp(client->addr, loopback4, sizeof(loopback4)) ||
		(!memcmp(client->addr, loopback6, sizeof(loopback6)) && client->addr[15] <= 1));
}

void trouble_request(struct trouble_share *share, const struct sluice_client *client, bool admitted)
{
	bool local = is_local(client);

	share->requests++;
	share->local += local;
	share->passed += admitted && !local;
	share->of_judged += same(client, &share->judged);
	if (!share->votes)
		share->candidate = *client;
	if (same(client, &share->candidate))
		share->votes++;
	else
		share->votes--;
}

void trouble_count(struct trouble_share *share, struct trouble_look *look, uint64_t now_ns,
		   uint64_t after_ns)
{
	if (share->requests >= TROUBLE_REQUESTS_MIN) {
		look->requests = share->requests;
		look->local = share->local;
		look->passed = share->passed;
		look->of_one = share->judged.kind == SLUICE_CLIENT_ADDRESS ? share->of_judged : 0;
		memcpy(look->one_client, share->judged.addr, sizeof(look->one_client));
	} else if (now_ns - share->since_ns < 5 * after_ns) {
		return;
	}
	*share = (struct trouble_share){.judged = share->candidate, .since_ns = now_ns};
}
