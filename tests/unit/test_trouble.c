/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Troubles of a service: what one look shows, how long it has to hold, and what is none: a start,
 * an idle port, a stray packet.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/trouble.h"

#define S     1000000000ULL
#define AFTER (60 * S)
#define LOOK  (10 * S)
#define ADDR                                                                                       \
	{                                                                                          \
		[10] = 0xff, [11] = 0xff, [12] = 192, 0, 2, 7                                      \
	}

static void one_look_shows_each_kind(void **state)
{
	static const struct {
		const char *what;
		struct trouble_look look;
		unsigned kinds; /* a bit for each that holds */
		const char *text;
	} rows[] = {
		{"an idle port", {.own = true, .listening = true}, 0, ""},
		{"traffic that is seen", {.own = true, .listening = true, .active = 9}, 0, ""},
		{"no listener",
		 {.own = true},
		 1 << TROUBLE_NOT_LISTENING,
		 "*:1: nobody listens there: start the server, or correct the port"},
		{"no listener, on another host's address", {0}, 0, ""},
		{"an address that is found nowhere",
		 {.nowhere = true},
		 1 << TROUBLE_NO_SERVER,
		 "*:1: no server with this address is found on this host: if several backends share it, name the address of each"},
		{"… but traffic passes on the way there",
		 {.nowhere = true, .answered = true},
		 1 << TROUBLE_NO_SERVER,
		 "*:1: no server with this address is found on this host: what reaches it past the interfaces of sluice is unseen: name the server's own address, or attach in its network namespace"},
		{"an address on an interface without an end here",
		 {.nowhere = true, .past = true, .answered = true},
		 1 << TROUBLE_NO_SERVER,
		 "*:1: its server has this address on an interface that has no end on this host: what reaches it past the interfaces of sluice is unseen: attach in its network namespace"},
		{"no listener, yet answers: an address translation",
		 {.own = true, .sampled = true},
		 0,
		 ""},
		{"a listener that is gone, while connections go on",
		 {.own = true, .active = 1},
		 0,
		 ""},
		{"nothing is seen",
		 {.listening = true, .active = 3, .unseen = 3, .unseen_client = ADDR},
		 1 << TROUBLE_UNSEEN,
		 "*:1: its server has busy connections, and sluice sees none of their packets: attach to the interface by which 192.0.2.7 comes, or name the address that it uses, if that is translated"},
		{"some are not seen",
		 {.listening = true, .active = 3, .unseen = 1, .unseen_client = ADDR},
		 1 << TROUBLE_PARTLY_UNSEEN,
		 "*:1: 1 of 3 busy connections pass unseen: attach to the interface by which 192.0.2.7 comes, if it is to be judged"},
		{"a client on this host alone, which may be a probe",
		 {.listening = true, .active = 1, .unseen_here = 1, .unseen_client = ADDR},
		 1 << TROUBLE_PARTLY_UNSEEN,
		 "*:1: 1 of 1 busy connections pass unseen: attach to the interface by which 192.0.2.7 comes, if it is to be judged"},
		{"… beside traffic that is seen",
		 {.listening = true, .active = 3, .unseen_here = 1, .unseen_client = ADDR},
		 1 << TROUBLE_PARTLY_UNSEEN,
		 "*:1: 1 of 3 busy connections pass unseen: attach to the interface by which 192.0.2.7 comes, if it is to be judged"},
		{"those that live longest are not seen",
		 {.listening = true,
		  .sampled = true,
		  .active = 1,
		  .unseen = 1,
		  .unseen_client = ADDR},
		 1 << TROUBLE_PARTLY_UNSEEN,
		 "*:1: 1 of 1 busy connections pass unseen: attach to the interface by which 192.0.2.7 comes, if it is to be judged"},
		{"another address of the server",
		 {.listening = true, .active = 1, .other_address = 2, .other_server = ADDR},
		 1 << TROUBLE_OTHER_ADDRESS,
		 "*:1: 2 of its server's busy connections go to 192.0.2.7, which no service has: name it, too, if they are to be judged"},
		{"another address in the server's network namespace",
		 {.other_there = true, .other_server = ADDR},
		 1 << TROUBLE_OTHER_ADDRESS,
		 "*:1: its server has the address 192.0.2.7, too, which no service has: name it, if requests to it are to be judged"},
		{"responses alone",
		 {.listening = true, .active = 1, .requests_unseen = 1, .unseen_client = ADDR},
		 1 << TROUBLE_REQUESTS_UNSEEN,
		 "*:1: sluice sees responses to 192.0.2.7 and not its requests: attach to the interface by which they come"},
		{"requests alone",
		 {.listening = true, .active = 1, .responses_unseen = 1, .unseen_client = ADDR},
		 1 << TROUBLE_RESPONSES_UNSEEN,
		 "*:1: sluice sees requests of 192.0.2.7 and not the responses: attach to the interface by which they leave"},
		{"TLS",
		 {.listening = true, .opaque = 1},
		 1 << TROUBLE_OPAQUE,
		 "*:1: clients speak TLS or HTTP/2, of which sluice reads no request: protect the plain port behind it, or set `protocol: opaque`"},
		{"no HTTP",
		 {.listening = true, .unread = 1},
		 1 << TROUBLE_FRAMING,
		 "*:1: connections pass unjudged, since they are no HTTP/1 that can be read: look which client or server speaks there"},
		{"one client with nearly all",
		 {.listening = true, .requests = 1000, .of_one = 901, .one_client = ADDR},
		 1 << TROUBLE_ONE_CLIENT,
		 "*:1: 901 of 1000 requests come from 192.0.2.7: if it is a proxy, set `identity: x-forwarded-for` and `trusted-proxies`"},
		{"one client with many",
		 {.listening = true, .requests = 1000, .of_one = 900},
		 0,
		 ""},
		{"as many by lo as others are admitted",
		 {.listening = true, .requests = 1000, .local = 480, .passed = 500},
		 1 << TROUBLE_RELAYED,
		 "*:1: 480 of 1000 requests come by lo, as many as others are admitted: if a proxy on this host sends them on, each is judged and counted twice: name the address of the proxy or of the server, not the port alone"},
		{"others, and fewer by lo",
		 {.listening = true, .requests = 1000, .local = 400, .passed = 500},
		 0,
		 ""},
		{"one model", {.listening = true, .busy_models = 1}, 0, ""},
		{"two models",
		 {.listening = true, .busy_models = 2},
		 1 << TROUBLE_MODELS,
		 "*:1: 2 models that nobody configured are busy at once: name them under `models:`, or set `pool: port` if one server takes every name"},
		{"another sluice",
		 {.listening = true, .judged_twice = true},
		 1 << TROUBLE_TWICE,
		 "*:1: another sluice, in the server's pod or on its host, judges and counts the same requests: leave the service to one of them"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[TROUBLE_TEXT_MAX] = "";
		unsigned kinds = 0;

		for (unsigned kind = 0; kind < TROUBLE_KINDS; kind++) {
			struct trouble_facts facts = {0};

			if (!trouble_holds(kind, &rows[i].look, &facts))
				continue;
			kinds |= 1U << kind;
			trouble_text(text, kind, "*:1", &facts);
		}
		if (kinds != rows[i].kinds || strcmp(text, rows[i].text))
			fail_msg("%s: kinds %x, \"%s\"", rows[i].what, kinds, text);
	}
}

static void a_sentence_without_an_address_names_none(void **state)
{
	const struct trouble_facts facts = {.n = 1};
	char text[TROUBLE_TEXT_MAX];

	for (unsigned kind = 0; kind < TROUBLE_KINDS; kind++) {
		trouble_text(text, kind, "*:1", &facts);
		assert_null(strstr(text, "::"));
		assert_true(strlen(text) < TROUBLE_TEXT_MAX - 1);
	}
}

/* Looks every LOOK; `holds` has a character for each, '#' where the condition holds. The result has
 * 'B' where the trouble begins, 'E' where it ends. */
static void looks(char *out, enum trouble_kind kind, const char *holds)
{
	const struct trouble_facts facts = {.n = 1};
	struct trouble t = {0};
	uint64_t now = 1000 * S;

	for (; *holds; holds++, out++, now += LOOK)
		*out = "-BE"[trouble_step(&t, kind, *holds == '#', &facts, now, AFTER)];
	*out = 0;
}

static void a_trouble_begins_and_ends_when_its_condition_has_for_long_enough(void **state)
{
	static const struct {
		enum trouble_kind kind;
		const char *holds, *changes;
	} rows[] = {
		{TROUBLE_UNSEEN, "#######......#", "------B-----E-"},
		/* Once, and once more long after: strays. */
		{TROUBLE_UNSEEN, "#......#......#.....", "--------------------"},
		/* It comes back within the time, again and again. */
		{TROUBLE_UNSEEN, "#....#....#....", "----------B----"},
		/* Five minutes for a server that starts; it ends at once. */
		{TROUBLE_NOT_LISTENING, "##############################.#",
		 "--------------------------------"},
		{TROUBLE_NOT_LISTENING, "###############################.#",
		 "------------------------------BE-"},
		/* A count of a thousand requests is enough, and the next one may take long. */
		{TROUBLE_ONE_CLIENT,
		 "#..........................................................#.",
		 "B------------------------------------------------------------"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char changes[128];

		looks(changes, rows[i].kind, rows[i].holds);
		assert_string_equal(changes, rows[i].changes);
	}
}

static bool own(struct trouble_listener *l, bool listening, uint64_t answered, uint64_t now)
{
	struct trouble_look look = {.own = true, .listening = listening}, pod = {0};
	struct trouble_listener of_pod = *l;

	trouble_find_listener(l, &look, answered, now, AFTER);
	assert_int_equal(look.nowhere, !look.own);
	trouble_find_listener(&of_pod, &pod, answered, now, AFTER);
	assert_false(pod.nowhere);
	return look.own;
}

static void a_port_that_answers_without_a_listener_is_served_elsewhere(void **state)
{
	struct trouble_listener l = {0};

	/* The last response of a server that has gone. */
	assert_true(own(&l, true, 1000 * S, 1000 * S));
	assert_true(own(&l, false, 1009 * S, 1010 * S));
	assert_true(own(&l, false, 1030 * S, 1200 * S));
	/* One that can only be another server's, and then nobody asks for long. */
	assert_false(own(&l, false, 1210 * S, 1210 * S));
	assert_false(own(&l, false, 1210 * S, 9999 * S));
	/* Somebody listens again, and goes. */
	assert_true(own(&l, true, 10000 * S, 10000 * S));
	assert_true(own(&l, false, 10000 * S, 10010 * S));
}

static void request_of(struct trouble_share *share, unsigned kind, unsigned who)
{
	struct sluice_client client = {.plen = 128, .kind = (uint8_t)kind};

	client.addr[14] = (uint8_t)(who >> 8);
	client.addr[15] = (uint8_t)who;
	trouble_request(share, &client, true);
}

/* Two counts of n requests, of which the client 1 has part/n in each run of n. */
static struct trouble_look counted(unsigned kind, unsigned n, unsigned part)
{
	struct trouble_share share = {.since_ns = 1000 * S};
	struct trouble_look look = {0};

	for (unsigned count = 0; count < 2; count++) {
		for (unsigned i = 0; i < n; i++)
			request_of(&share, kind, i % 100 < part ? 1 : 1000 + i);
		memset(&look, 0, sizeof(look));
		trouble_count(&share, &look, 1000 * S + (count + 1) * 5 * AFTER, AFTER);
	}
	return look;
}

static void the_address_with_nearly_all_requests_is_found_and_counted(void **state)
{
	struct trouble_look look = counted(SLUICE_CLIENT_ADDRESS, 1000, 95);

	assert_int_equal(look.requests, 1000);
	assert_int_equal(look.of_one, 950);
	assert_int_equal(look.one_client[15], 1);
	look = counted(SLUICE_CLIENT_ADDRESS, 1000, 60);
	assert_int_equal(look.of_one, 600);
	/* A key is a client of its own, and no proxy. */
	assert_int_equal(counted(SLUICE_CLIENT_KEY, 1000, 95).of_one, 0);
	/* Too few, however long it takes. */
	assert_int_equal(counted(SLUICE_CLIENT_ADDRESS, 999, 95).requests, 0);
}

static void a_count_goes_on_until_it_is_enough(void **state)
{
	struct trouble_share share = {.since_ns = 1000 * S};
	struct trouble_look look = {0};

	for (unsigned i = 0; i < 999; i++)
		request_of(&share, SLUICE_CLIENT_ADDRESS, 1);
	trouble_count(&share, &look, 1001 * S, AFTER);
	assert_int_equal(look.requests, 0);
	request_of(&share, SLUICE_CLIENT_ADDRESS, 1);
	trouble_count(&share, &look, 1002 * S, AFTER);
	assert_int_equal(look.requests, 1000);
}

static void requests_by_lo_and_admitted_ones_of_others_are_counted(void **state)
{
	static const struct sluice_client clients[] = {
		{.addr = ADDR},       {.addr = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}},
		{.addr = {[15] = 1}}, /* ::1 */
		{.addr = {0}},        /* … /64 */
		{.addr = {[15] = 2}},
	};
	struct trouble_share share = {.since_ns = 1000 * S};
	struct trouble_look look = {0};

	for (unsigned i = 0; i < 1000; i++) {
		struct sluice_client client = clients[i % 5];

		client.kind = SLUICE_CLIENT_ADDRESS;
		trouble_request(&share, &client, i < 900);
	}
	trouble_count(&share, &look, 1001 * S, AFTER);
	assert_int_equal(look.local, 600);
	assert_int_equal(look.passed, 2 * 180);
	assert_int_equal(share.local + share.passed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_look_shows_each_kind),
		cmocka_unit_test(a_sentence_without_an_address_names_none),
		cmocka_unit_test(a_trouble_begins_and_ends_when_its_condition_has_for_long_enough),
		cmocka_unit_test(a_port_that_answers_without_a_listener_is_served_elsewhere),
		cmocka_unit_test(the_address_with_nearly_all_requests_is_found_and_counted),
		cmocka_unit_test(a_count_goes_on_until_it_is_enough),
		cmocka_unit_test(requests_by_lo_and_admitted_ones_of_others_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
