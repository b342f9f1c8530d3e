/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The page: what is shut or refused, with commands that change it, the same as those of `explain`;
 * its tables; names that are HTML stay text; and quotas in /metrics. A browser reads it in
 * tests/e2e/test_page.sh.
 */
#include "programs.h"
#include "remedy.h"

#include <string.h>

#include "core/history.h"
#include "core/remedy.h"
#include "metrics/metrics.h"

#define S       1000000000ULL
#define EXPLAIN "{\"cmd\":\"explain\",\"client\":\"192.0.2.1\",\"service\":\"8000\"}"

static struct history *h;

static int page_setup(void **state)
{
	int err = programs_setup(state);

	h = calloc(1, sizeof(*h));
	f->state.history = h;
	history_add(h, &f->state);
	return err;
}

static int page_teardown(void **state)
{
	free(h);
	return programs_teardown(state);
}

/* Without the elements around words of commands. */
static char *whole_page(void)
{
	static const char *const marks[] = {"<span>", "</span>"};
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	metrics_write_page(out, &f->state, NULL);
	fclose(out);
	assert_int_equal(strlen(text), len); /* no zero bytes */
	for (unsigned i = 0; i < 2; i++) {
		size_t n = strlen(marks[i]);

		for (char *at = text; (at = strstr(at, marks[i]));)
			memmove(at, at + n, strlen(at + n) + 1);
	}
	return text;
}

/* The page has this text. */
static void shows(const char *wanted)
{
	char *text = whole_page();

	if (!strstr(text, wanted))
		fail_msg("no %s in %s", wanted, strstr(text, "<ul>"));
	free(text);
}

static void add_point(void)
{
	f->state.now_ns += HISTORY_SECS * S;
	f->state.unix_ns += HISTORY_SECS * S;
	history_add(h, &f->state);
}

/* In the last five seconds of the history `n` requests of model llama are refused for this reason,
 * most of them of client 192.0.2.1. */
static void refuse(uint32_t reason, unsigned n)
{
	struct sluice_client_count *c = &f->clients[0].count;

	f->counts[1].key.reason = (__u8)reason;
	add_point();
	f->counts[1].n += n;
	add_point();
	c->last_reason = (__u16)reason;
	c->last_seen_ns = f->state.now_ns - S;
	memset(c->by_reason, 0, sizeof(c->by_reason));
	c->by_reason[reason] = 20;
}

static void the_page_escapes_what_requests_named(void **state)
{
	char *text;

	strcpy(f->controller.model[FIXTURE_FRESH].name,
	       "<script>alert(\"1\")</script>&\xe2\x80\xae");
	text = whole_page();
	assert_null(strstr(text, "<script>"));
	assert_non_null(
		strstr(text, "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;\\u202e"));
	free(text);
}

/* Opens llama with the first command of the sentence that has this text. */
static void the_command_of_the_page_opens(const char *sentence)
{
	char *text = whole_page(), *at = strstr(text, sentence), *end;

	assert_non_null(at);
	at = strstr(at, "<code>");
	end = strstr(at, "</code>");
	*end = 0;
	assert_int_equal(run_set_commands(&f->controller, at), 1);
	assert_true(controller_read(&f->controller, FIXTURE_LLAMA, f->state.now_ns).open);
	free(text);
}

static void the_page_says_what_is_shut_and_the_command_that_opens_it(void **state)
{
	shows("<b>llama</b> is shut: its average TTFT is 2000.0 ms, and its target is 1000 ms. "
	      "Since 22:12:38 UTC (42 s), until about 22:13:30 UTC (in 10 s) if nothing more arrives. "
	      "To admit more by a higher target: <code>sluicectl set ttft=2400ms --model llama</code>. "
	      "To refuse nothing: <code>sluicectl set mode=shadow</code>.</li>");
	shows("SHUT (ttft)");
	the_command_of_the_page_opens("<b>llama</b> is shut");
}

static void what_is_stuck_is_opened_by_no_target(void **state)
{
	programs.admission = (struct sluice_admission){.floor = 2, .stopped = 1};
	shows("in 10 s) if nothing more arrives. To refuse nothing: <code>sluicectl set mode=shadow</code>.");
}

static void a_limit_has_the_command_that_raises_it(void **state)
{
	f->state.kernel[FIXTURE_LLAMA].in_flight = 64;
	f->controller.model[FIXTURE_LLAMA].ttft.average = 0;
	shows("<b>llama</b> is at its limit: 64 of 64 in flight. One more is admitted when one ends. "
	      "To admit more by a higher limit: <code>sluicectl set max-in-flight=77 --model llama</code>.");
}

static void metrics_have_the_use_of_quotas(void **state)
{
	char *text = NULL;
	size_t len;
	FILE *out;

	programs.budget.request_tat_ns = FIXTURE_NOW_NS + 12 * S;
	programs.budget.token_tat_ns = FIXTURE_NOW_NS + 11 * S;
	for (unsigned quotas = 0; quotas < 2; quotas++) {
		f->state.quotas = quotas ? book : NULL;
		out = open_memstream(&text, &len);
		metrics_write_exposition(out, &f->state);
		fclose(out);
		assert_true(quotas ==
			    !!strstr(text, "\nsluice_quota_clients{budget=\"requests\"} 2\n"));
		assert_true(quotas ==
			    !!strstr(text, "\nsluice_quota_spent_clients{budget=\"tokens\"} 2\n"));
		assert_true(quotas ==
			    !!strstr(text, "\nsluice_quota_used_ratio{budget=\"requests\"} 1\n"));
		assert_true(quotas ==
			    !!strstr(text, "\nsluice_quota_used_ratio{budget=\"tokens\"} 1.1\n"));
		free(text);
	}
}

/* Whoever looks may find a free slot, where lower classes are refused. */
static void the_floor_that_is_proposed_is_above_the_slots(void **state)
{
	programs.admission =
		(struct sluice_admission){.floor = 2, .ceiling = 20, .level = {ADMISSION_ALL}};
	programs.slots = 20;
	programs.load.in_flight = 3;
	refuse(SLUICE_REASON_IN_FLIGHT, 10);
	shows("To admit more by a higher floor: <code>sluicectl set floor=26 --model llama</code>.");
}

static void refusals_of_one_client_name_it_and_what_it_lacks(void **state)
{
	static const struct {
		uint32_t reason;
		const char *until;
	} rows[] = {
		{SLUICE_REASON_REQUEST_QUOTA, "until 22:13:36 UTC, for its next request. To give"},
		{SLUICE_REASON_CLIENT_BLOCKED, "until 22:14:40 UTC. To lift"},
		{SLUICE_REASON_CLIENT_SHARE, "until some of its requests end. To admit"},
		{SLUICE_REASON_STALLED_RESPONSES, "until it reads its responses. To admit"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char line[256];

		refuse(rows[i].reason, 15);
		programs.now_ns = f->state.now_ns;
		programs.budget.request_tat_ns = f->state.now_ns + 17 * S; /* 12 s are the burst */
		programs.override_expires_ns = f->state.now_ns + 60 * S;
		snprintf(
			line, sizeof(line),
			"<b>3.0 a second are refused by %s</b>, most of them of 192.0.2.1. Since 22:13:",
			text_reason(rows[i].reason));
		shows(line);
		shows(rows[i].until);
	}
	refuse(SLUICE_REASON_REQUEST_QUOTA, 15);
	shows("To give 192.0.2.1 more: "
	      "<code>sluicectl quota set 192.0.2.1 requests=120/60s burst=24 tokens=500/10s</code>. "
	      "To admit 192.0.2.1 anyway: <code>sluicectl allow 192.0.2.1 --for 10m</code>.");
	f->state.now_ns += 61 * S; /* whoever it was, it has gone */
	shows("request-quota</b>. Since 22:14:05 UTC. To see whose they are: <code>sluicectl clients --by rejected</code>.");
}

/* The next command of a text, between these marks. */
static bool next_command(const char **at, const char *begin, const char *end, char out[256])
{
	const char *from = strstr(*at, begin),
		   *to = from ? strstr(from + strlen(begin), end) : NULL;

	if (!to)
		return false;
	from += strlen(begin);
	snprintf(out, 256, "%.*s", (int)(to - from), from);
	*at = to + strlen(end);
	return true;
}

static void the_page_and_explain_propose_the_same_commands(void **state)
{
	const char *pairs[] = {"duration=7", "normalized-latency=7"};
	char err[128];

	assert_false(controller_set_all(&f->controller, "llama", pairs, 2, err, sizeof(err)));
	for (uint32_t reason = 1; reason < SLUICE_REASON_COUNT; reason++) {
		char of_page[256], of_explain[256];
		const char *sentence, *line;
		json_t *answer;
		char *text;

		refuse(reason, 10);
		programs.reason = (__u8)reason;
		programs.now_ns = f->state.now_ns;
		answer = run(EXPLAIN);
		sentence = json_string_value(json_object_get(answer, "sentence"));
		text = whole_page();
		line = strstr(text, "requests a second are refused");
		if (remedy_is_of_client(reason))
			line = strstr(text, "a second are refused by");
		assert_non_null(line);
		for (unsigned n = 0; next_command(&sentence, "`", "`", of_explain); n++) {
			assert_true(next_command(&line, "<code>", "</code>", of_page));
			/* The last resort of a model is no client. */
			if (strcmp(of_explain, of_page) &&
			    (!n || strcmp(of_page, "sluicectl set mode=shadow")))
				fail_msg("%s: %s, and %s", text_reason(reason), of_explain,
					 of_page);
		}
		free(text);
		json_decref(answer);
	}
}

static void clients_have_what_is_left_of_their_quotas(void **state)
{
	shows("<td class=n data-h=\"requests left\">12 of 12</td>"
	      "<td class=n data-h=\"tokens left\">500 of 500</td>");
	programs.budget.request_tat_ns = FIXTURE_NOW_NS + 12 * S;
	programs.budget.token_tat_ns = FIXTURE_NOW_NS + 11 * S; /* a long answer */
	shows("<td class=n data-h=\"requests left\">0 of 12</td>"
	      "<td class=n data-h=\"tokens left\">-50 of 500</td>");
	programs.override = SLUICE_OVERRIDE_PREFIX_BLOCKED;
	shows("<td class=n data-h=\"requests left\">blocked</td>");
	programs.override = SLUICE_OVERRIDE_ALLOWED;
	shows("<td class=n data-h=\"requests left\">exempt</td>");
}

static void requests_have_rates_by_reason_and_class(void **state)
{
	char *text;

	refuse(SLUICE_REASON_TTFT, 15);
	shows("<b id=admitted>77</b> admitted (0.0 a second), <b id=refused>38</b> refused (3.0 a second)");
	shows("<th scope=row>ttft</th><td class=n data-h=\"refused a second\">3.0</td>"
	      "<td class=n data-h=\"refused\">35</td>");
	text = whole_page();
	assert_null(strstr(text, "class</th>"));
	free(text);
	f->counts[3].key.class = 0 + 1;
	shows("<th scope=row>high</th><td class=n data-h=\"admitted a second\">0.0</td>"
	      "<td class=n data-h=\"refused a second\">0.0</td>"
	      "<td class=n data-h=\"admitted\">7</td><td class=n data-h=\"refused\">0</td>");
	shows("<th scope=row>normal</th><td class=n data-h=\"admitted a second\">0.0</td>"
	      "<td class=n data-h=\"refused a second\">3.0</td>"
	      "<td class=n data-h=\"admitted\">70</td><td class=n data-h=\"refused\">38</td>");
}

static void the_lists_of_the_page_are_short_and_a_filter_finds_the_rest(void **state)
{
	char *text = whole_page();
	size_t len;
	FILE *out;

	free(text);
	for (int i = 0; i < 900; i++) {
		char name[32];

		snprintf(name, sizeof(name), "model-%d", i);
		controller_learn(&f->controller, name, FIXTURE_NOW_NS);
	}
	text = whole_page();
	assert_true(strlen(text) < 40000);
	assert_non_null(strstr(text, "50 of 902 models are listed"));
	assert_null(strstr(text, "model-899"));
	free(text);
	out = open_memstream(&text, &len);
	metrics_write_page(out, &f->state, "DEL-899");
	fclose(out);
	assert_non_null(strstr(text, "<th scope=row>model-899</th>"));
	assert_null(strstr(text, "<th scope=row>model-898</th>"));
	assert_non_null(strstr(text, "value=\"DEL-899\""));
	free(text);
}
/* The shell's own reading of such a word is in tests/e2e/test_page.sh. */
static void a_command_quotes_a_name_for_the_shell(void **state)
{
	strcpy(f->controller.model[FIXTURE_LLAMA].name, "it's <$(x)>");
	shows("ttft=2400ms --model $'it\\x27s &lt;$(x)&gt;'</code>");
}

#define PAGE(test) cmocka_unit_test_setup_teardown(test, page_setup, page_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PAGE(the_page_escapes_what_requests_named),
		PAGE(the_page_says_what_is_shut_and_the_command_that_opens_it),
		PAGE(what_is_stuck_is_opened_by_no_target),
		PAGE(a_limit_has_the_command_that_raises_it),
		PAGE(metrics_have_the_use_of_quotas),
		PAGE(the_floor_that_is_proposed_is_above_the_slots),
		PAGE(refusals_of_one_client_name_it_and_what_it_lacks),
		PAGE(the_page_and_explain_propose_the_same_commands),
		PAGE(clients_have_what_is_left_of_their_quotas),
		PAGE(requests_have_rates_by_reason_and_class),
		PAGE(the_lists_of_the_page_are_short_and_a_filter_finds_the_rest),
		PAGE(a_command_quotes_a_name_for_the_shell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
