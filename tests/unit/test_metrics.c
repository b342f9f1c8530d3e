/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The exposition against a strict reader of the text format: each family is announced once before
 * its samples, no series comes twice, labels are escaped, histograms add up. Then the server of the
 * pages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/text.h"
#include "metrics/metrics.h"
#include "socket.h"
#include "state_fixture.h"

#define SERIES_MAX 20000

static struct fixture *f;

static int setup(void **state)
{
	f = fixture_new();
	return 0;
}

static int teardown(void **state)
{
	free(f);
	return 0;
}

static char *written(void (*write)(FILE *out, const struct daemon_state *s))
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	write(out, &f->state);
	fclose(out);
	assert_int_equal(strlen(text), len); /* no zero bytes */
	return text;
}

/* ---- a strict reader of the text format 0.0.4 ---- */

struct series {
	char *name, *labels; /* labels as written between the braces */
	double value;
};

struct exposition {
	struct series series[SERIES_MAX];
	size_t count;
};

static size_t name_length(const char *s, bool colon)
{
	size_t n = 0;

	while (isalpha((unsigned char)s[n]) || s[n] == '_' || (colon && s[n] == ':') ||
	       (n && isdigit((unsigned char)s[n])))
		n++;
	return n;
}

/* The length of key="value",… up to the closing brace; every label once. */
static size_t labels_length(const char *s)
{
	char seen[8][64];
	size_t n = 0, count = 0;

	for (;;) {
		size_t key = name_length(s + n, false);

		assert_in_range(key, 1, 63);
		snprintf(seen[count], sizeof(seen[0]), "%.*s", (int)key, s + n);
		for (size_t i = 0; i < count; i++)
			assert_string_not_equal(seen[i], seen[count]);
		assert_true(++count < 8);
		n += key;
		assert_memory_equal(s + n, "=\"", 2);
		for (n += 2; s[n] != '"'; n++) {
			assert_true(s[n] && s[n] != '\n');
			if (s[n] == '\\') {
				n++;
				assert_true(s[n] == '\\' || s[n] == '"' || s[n] == 'n');
			}
		}
		n++;
		if (s[n] == '}')
			return n;
		assert_true(s[n++] == ',');
	}
}

static bool starts(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

/* True if the family may have a sample of this name. */
static bool belongs(const char *name, const char *family, const char *type)
{
	const char *rest = name + strlen(family);

	if (!starts(name, family))
		return false;
	if (!strcmp(type, "histogram"))
		return !strcmp(rest, "_bucket") || !strcmp(rest, "_sum") || !strcmp(rest, "_count");
	return !*rest;
}

static struct exposition *parsed(char *text)
{
	struct exposition *e = calloc(1, sizeof(*e));
	char family[128] = "", type[32] = "", announced[64][128];
	size_t families = 0;
	bool helped = false;
	char *line, *end;

	assert_true(*text && text[strlen(text) - 1] == '\n');
	for (line = text; *line; line = end + 1) {
		end = strchr(line, '\n');
		*end = 0;
		if (starts(line, "# HELP ")) {
			assert_int_equal(sscanf(line, "# HELP %127s", family), 1);
			for (size_t i = 0; i < families; i++)
				assert_string_not_equal(announced[i], family);
			strcpy(announced[families++], family);
			assert_true(families < 64);
			assert_true(strlen(line) > strlen("# HELP  ") + strlen(family) + 5);
			helped = true;
			continue;
		}
		if (starts(line, "# TYPE ")) {
			char of[128];

			assert_true(helped);
			assert_int_equal(sscanf(line, "# TYPE %127s %31s", of, type), 2);
			assert_string_equal(of, family);
			assert_true(!strcmp(type, "counter") || !strcmp(type, "gauge") ||
				    !strcmp(type, "histogram"));
			if (!strcmp(type, "counter"))
				assert_string_equal(family + strlen(family) - 6, "_total");
			helped = false;
			continue;
		}
		size_t n = name_length(line, true);
		struct series *s = &e->series[e->count++];

		assert_true(n > 0 && e->count < SERIES_MAX);
		s->name = strndup(line, n);
		s->labels = strdup("");
		if (!belongs(s->name, family, type))
			fail_msg("%s is in the family %s", line, family);
		if (line[n] == '{') {
			size_t len = labels_length(line + n + 1);

			free(s->labels);
			s->labels = strndup(line + n + 1, len);
			n += len + 2;
		}
		assert_true(line[n] == ' ');
		s->value = strtod(line + n + 1, &line);
		if (*line)
			fail_msg("%s: after the value: %s", s->name, line);
		for (size_t i = 0; i + 1 < e->count; i++)
			if (!strcmp(e->series[i].name, s->name) &&
			    !strcmp(e->series[i].labels, s->labels))
				fail_msg("%s{%s} is there twice", s->name, s->labels);
	}
	free(text);
	return e;
}

static void forget(struct exposition *e)
{
	for (size_t i = 0; i < e->count; i++) {
		free(e->series[i].name);
		free(e->series[i].labels);
	}
	free(e);
}

/* The value of a series, NaN if it is missing. */
static double value_of(const struct exposition *e, const char *name, const char *labels)
{
	for (size_t i = 0; i < e->count; i++)
		if (!strcmp(e->series[i].name, name) && !strcmp(e->series[i].labels, labels))
			return e->series[i].value;
	return NAN;
}

/* ---- the exposition ---- */

static void the_exposition_has_the_promised_series(void **state)
{
	static const struct {
		const char *name, *labels;
		double value;
	} rows[] = {
		{"sluice_requests_total",
		 "service=\"*:8000\",model=\"llama\",verdict=\"admitted\",reason=\"none\"", 70},
		{"sluice_requests_total",
		 "service=\"*:8000\",model=\"llama\",verdict=\"rejected\",reason=\"ttft\"", 20},
		{"sluice_requests_total",
		 "service=\"[2001:db8::1]:443\",model=\"fresh\",verdict=\"shadow_rejected\",reason=\"itl\"",
		 1},
		{"sluice_refusals_total", "connection=\"kept\"",
		 100 + SLUICE_COUNTER_REFUSALS_KEPT},
		{"sluice_refusals_total", "connection=\"closed\"",
		 100 + SLUICE_COUNTER_REFUSALS_CLOSED},
		{"sluice_connections_total", "service=\"*:8000\",action=\"reset\"", 9},
		{"sluice_connections_total", "service=\"*:8000\",action=\"drop\"", 0},
		{"sluice_connections_total", "service=\"[2001:db8::1]:443\",action=\"reset\"", 0},
		{"sluice_time_to_first_token_seconds_bucket", "model=\"llama\",le=\"0.001\"", 0},
		{"sluice_time_to_first_token_seconds_bucket", "model=\"llama\",le=\"0.005\"", 1},
		{"sluice_time_to_first_token_seconds_bucket", "model=\"llama\",le=\"2560\"",
		 21 * 22 / 2},
		{"sluice_time_to_first_token_seconds_bucket", "model=\"llama\",le=\"+Inf\"",
		 22 * 23 / 2},
		{"sluice_time_to_first_token_seconds_count", "model=\"llama\"", 22 * 23 / 2},
		{"sluice_time_to_first_token_seconds_sum", "model=\"llama\"", 1.5},
		{"sluice_inter_token_latency_seconds_count", "model=\"llama\"", 0},
		{"sluice_ttft_ema_seconds", "model=\"llama\"", 2},
		{"sluice_itl_ema_seconds", "model=\"llama\"", 0.0125},
		{"sluice_ttft_ema_seconds", "model=\"global\"", 2},
		{"sluice_request_duration_seconds_count", "model=\"llama\"", 3},
		{"sluice_request_duration_seconds_sum", "model=\"llama\"", 0.25},
		{"sluice_request_duration_seconds_bucket", "model=\"llama\",le=\"0.8\"", 3},
		{"sluice_normalized_latency_seconds_count", "model=\"llama\"", 2},
		{"sluice_normalized_latency_seconds_sum", "model=\"llama\"", 0.006},
		{"sluice_duration_ema_seconds", "model=\"llama\"", 4},
		{"sluice_duration_ema_seconds", "model=\"global\"", 4},
		{"sluice_normalized_latency_ema_seconds", "model=\"llama\"", 0.08},
		{"sluice_ttft_target_seconds", "model=\"llama\"", 1},
		{"sluice_itl_target_seconds", "model=\"llama\"", 0.03},
		{"sluice_duration_target_seconds", "model=\"llama\"", 60},
		{"sluice_normalized_latency_target_seconds", "model=\"fresh\"", 0.09},
		{"sluice_in_flight", "model=\"llama\"", 5},
		{"sluice_in_flight", "model=\"fresh\"", 0},
		{"sluice_waiting", "model=\"llama\"", 2},
		{"sluice_in_flight_limit", "model=\"llama\"", 64},
		{"sluice_model_open", "model=\"llama\"", 0},
		{"sluice_model_open", "model=\"fresh\"", 1},
		{"sluice_output_tokens_total", "model=\"llama\"", 12345},
		{"sluice_output_tokens_total", "model=\"fresh\"", 0},
		{"sluice_samples_lost_total", "", 100 + SLUICE_COUNTER_SAMPLES_LOST},
		{"sluice_interface_attached", "interface=\"eth0\",hook=\"xdp\"", 0},
		{"sluice_interface_attached", "interface=\"eth0\",hook=\"tc-in\"", 1},
		{"sluice_interface_attached", "interface=\"eth0\",hook=\"tc-out\"", 0},
		{"sluice_trouble", "kind=\"opaque\",service=\"*:8000\"", 1},
		{"sluice_trouble", "kind=\"unseen\",service=\"*:8000\"", 0},
		{"sluice_trouble", "kind=\"framing\",service=\"some service\"", 0},
		{"sluice_map_full_total", "map=\"tombstones\"", 4},
		{"sluice_map_entries", "map=\"tombstones\"", 65000},
	};
	struct exposition *e;

	f->controller.all.duration_ms = 60000;
	f->controller.all.normalized_ms = 90;
	f->interfaces[0].attached[STATE_XDP] = f->interfaces[0].attached[STATE_TC_OUT] = false;
	e = parsed(written(metrics_write_exposition));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		double value = value_of(e, rows[i].name, rows[i].labels);

		if (!(fabs(value - rows[i].value) < 1e-9))
			fail_msg("%s{%s}: %g, not %g", rows[i].name, rows[i].labels, value,
				 rows[i].value);
	}
	forget(e);
}

static void a_fleet_shows_its_store_and_what_waits(void **state)
{
	static const struct {
		const char *name, *labels;
		double value;
	} rows[] = {
		{"sluice_fleet_up", "", 0},
		{"sluice_fleet_away_seconds_total", "", 2.5},
		{"sluice_fleet_hosts_that_differ", "", 2},
		{"sluice_fleet_store_evicts", "", 1},
		{"sluice_fleet_waiting_budgets", "", 7},
		{"sluice_fleet_waiting_seconds", "", 0.25},
		{"sluice_fleet_call_seconds_bucket", "le=\"0.0005\"", 2},
		{"sluice_fleet_call_seconds_bucket", "le=\"0.001\"", 3},
		{"sluice_fleet_call_seconds_bucket", "le=\"0.5\"", 3},
		{"sluice_fleet_call_seconds_bucket", "le=\"+Inf\"", 4},
		{"sluice_fleet_call_seconds_count", "", 4},
		{"sluice_fleet_call_seconds_sum", "", 1.0015},
	};
	struct fleet_host hosts[] = {{.differ = 3}, {.differ = 0}, {.differ = 1}};
	struct state_fleet fleet = {
		.evicts = "allkeys-lru",
		.away_ns = 2500000000,
		.waiting = 7,
		.waiting_ns = 250000000,
		.list = hosts,
		.list_count = 3,
	};
	struct exposition *e;

	fleet_call_answered(&fleet.answered, 1);
	fleet_call_answered(&fleet.answered, 500000);
	fleet_call_answered(&fleet.answered, 500001);
	fleet_call_answered(&fleet.answered, 1000499998);
	f->state.fleet = &fleet;
	e = parsed(written(metrics_write_exposition));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_true(fabs(value_of(e, rows[i].name, rows[i].labels) - rows[i].value) < 1e-9);
	forget(e);
}

static void a_series_without_a_sample_has_no_line(void **state)
{
	struct exposition *e = parsed(written(metrics_write_exposition));

	assert_true(isnan(value_of(e, "sluice_ttft_ema_seconds", "model=\"fresh\"")));
	assert_true(isnan(value_of(e, "sluice_duration_ema_seconds", "model=\"fresh\"")));
	assert_true(isnan(value_of(e, "sluice_normalized_latency_ema_seconds", "model=\"fresh\"")));
	assert_true(isnan(value_of(e, "sluice_in_flight_limit", "model=\"fresh\"")));
	assert_true(isnan(value_of(e, "sluice_in_flight", "model=\"other\"")));
	forget(e);
}

static void series_that_can_be_summed_leave_out_the_total(void **state)
{
	struct exposition *e = parsed(written(metrics_write_exposition));

	assert_true(isnan(value_of(e, "sluice_in_flight", "model=\"global\"")));
	assert_true(isnan(value_of(e, "sluice_waiting", "model=\"global\"")));
	assert_true(
		isnan(value_of(e, "sluice_time_to_first_token_seconds_count", "model=\"global\"")));
	forget(e);
}

/* The bounds, by which a query can find a bucket, and that no bucket falls. */
static void buckets_have_the_bounds_of_others_and_never_fall(void **state)
{
	static const struct {
		const char *name, *bounds;
	} rows[] = {
		{"sluice_time_to_first_token_seconds_bucket",
		 "0.001 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10 20 40 80 160 640 2560 +Inf "},
		{"sluice_inter_token_latency_seconds_bucket",
		 "0.01 0.025 0.05 0.075 0.1 0.15 0.2 0.3 0.4 0.5 0.75 1 2.5 5 7.5 10 20 40 80 +Inf "},
		{"sluice_normalized_latency_seconds_bucket",
		 "0.01 0.025 0.05 0.075 0.1 0.15 0.2 0.3 0.4 0.5 0.75 1 2.5 5 7.5 10 20 40 80 +Inf "},
		{"sluice_request_duration_seconds_bucket",
		 "0.01 0.02 0.04 0.08 0.16 0.3 0.32 0.5 0.64 0.8 1 1.28 1.5 2 2.5 2.56 5 5.12 10 10.24 15 20 20.48 30 40 40.96 50 60 81.92 120 240 480 960 1920 7680 +Inf "},
	};
	struct exposition *e = parsed(written(metrics_write_exposition));

	for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		char bounds[512] = "";
		double last = 0;

		for (size_t i = 0; i < e->count; i++) {
			const char *le = strstr(e->series[i].labels, "model=\"llama\",le=\"");

			if (strcmp(e->series[i].name, rows[r].name) || !le)
				continue;
			le += strlen("model=\"llama\",le=\"");
			strncat(bounds, le, strcspn(le, "\""));
			strcat(bounds, " ");
			assert_true(e->series[i].value >= last);
			last = e->series[i].value;
		}
		assert_string_equal(bounds, rows[r].bounds);
	}
	forget(e);
}

/* Attainment is one division: met over both. A latency that had no target has no series. */
static void what_met_its_target_is_counted_beside_what_missed_it(void **state)
{
	struct exposition *e = parsed(written(metrics_write_exposition));

	assert_true(value_of(e, "sluice_target_total",
			     "model=\"llama\",latency=\"ttft\",outcome=\"met\"") == 190);
	assert_true(value_of(e, "sluice_target_total",
			     "model=\"llama\",latency=\"ttft\",outcome=\"missed\"") == 10);
	assert_true(value_of(e, "sluice_target_total",
			     "model=\"llama\",latency=\"normalized-latency\",outcome=\"met\"") ==
		    0);
	assert_true(isnan(value_of(e, "sluice_target_total",
				   "model=\"llama\",latency=\"itl\",outcome=\"met\"")));
	forget(e);
}

static void names_are_escaped_in_labels(void **state)
{
	struct exposition *e;

	strcpy(f->controller.model[FIXTURE_FRESH].name, "a\\b\"c\nd{},=é");
	e = parsed(written(metrics_write_exposition));
	assert_true(value_of(e, "sluice_model_open", "model=\"a\\\\b\\\"c\\nd{},=é\"") == 1);
	forget(e);

	/* The names differ, so their labels do. */
	strcpy(f->controller.model[FIXTURE_FRESH].name, "a\xe2\x80\xae");
	strcpy(f->controller.model[FIXTURE_LLAMA].name, "a\\u202e");
	e = parsed(written(metrics_write_exposition));
	assert_true(value_of(e, "sluice_model_open", "model=\"a\\\\u202e\"") == 1);
	assert_true(value_of(e, "sluice_model_open", "model=\"a\\\\u005cu202e\"") == 0);
	forget(e);
}

static void counts_of_removed_services_and_models_stay_apart(void **state)
{
	struct exposition *e;

	f->counts[3].key.service = 77;
	f->counts[4].key.model = 1000;
	e = parsed(written(metrics_write_exposition));
	assert_true(
		value_of(
			e, "sluice_requests_total",
			"service=\"unknown-77\",model=\"fresh\",verdict=\"admitted\",reason=\"none\"") ==
		7);
	forget(e);
}

static void requests_have_their_class_where_classes_are_in_use(void **state)
{
	static const struct {
		const char *labels;
		double value;
	} lines[] = {
		{"service=\"*:8000\",model=\"llama\",verdict=\"admitted\",reason=\"none\",class=\"normal\"",
		 70},
		{"service=\"[2001:db8::1]:443\",model=\"fresh\",verdict=\"admitted\",reason=\"none\",class=\"high\"",
		 7},
		{"service=\"*:8000\",model=\"llama\",verdict=\"rejected\",reason=\"ttft\",class=\"normal\"",
		 20},
		{"service=\"*:8000\",model=\"llama\",verdict=\"rejected\",reason=\"client-blocked\",class=\"low\"",
		 3},
	};
	struct exposition *e;

	f->counts[2].key.class = 2 + 1;
	f->counts[3].key.class = 0 + 1;
	e = parsed(written(metrics_write_exposition));
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_true(value_of(e, "sluice_requests_total", lines[i].labels) ==
			    lines[i].value);
	forget(e);
	f->counts[2].key.class = 0; /* one admitted request of another class is enough */
	e = parsed(written(metrics_write_exposition));
	assert_true(
		value_of(
			e, "sluice_requests_total",
			"service=\"*:8000\",model=\"llama\",verdict=\"rejected\",reason=\"ttft\",class=\"normal\"") ==
		20);
	forget(e);
}

static void a_full_table_of_models_is_written_whole(void **state)
{
	struct exposition *e;

	for (int i = 0; i < 150; i++) {
		char name[32];

		snprintf(name, sizeof(name), "model-%d", i);
		controller_learn(&f->controller, name, FIXTURE_NOW_NS);
	}
	f->controller.per_model = false;
	e = parsed(written(metrics_write_exposition));
	assert_true(value_of(e, "sluice_model_open", "model=\"model-149\"") == 1);
	assert_true(value_of(e, "sluice_model_open", "model=\"global\"") == 0);
	forget(e);
}

/* ---- the server ---- */

static struct metrics *server;
static uint16_t port;
static unsigned refreshed;
static uint64_t now; /* of the server */
static struct work_queue *queue;
static struct metrics_access *nothing; /* is required */

/* A turn of the loop. */
static void turn(void)
{
	metrics_poll(server, now);
	work_turn(queue);
}

static void take_refresh(void *arg, unsigned parts)
{
	refreshed |= parts;
}

static int setup_server(void **state)
{
	char err[256] = "";

	setup(state);
	refreshed = 0;
	queue = work_open();
	assert_int_equal(
		metrics_access_new(&nothing, &(struct metrics_credentials){0}, err, sizeof(err)),
		0);
	for (port = 20000 + getpid() % 10000; port < 40000; port++)
		if (!metrics_open(&server, "127.0.0.1", port, nothing, &f->state, queue,
				  take_refresh, NULL, err, sizeof(err)))
			return 0;
	fail_msg("%s", err);
	return -1;
}

static int teardown_server(void **state)
{
	metrics_close(server);
	metrics_access_put(nothing);
	work_close(queue);
	return teardown(state);
}

static int dial(void)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

/* Without a turn of the queue: no page is written. */
static void poll_only(void)
{
	metrics_poll(server, now);
}

/* The server's answer to this request, up to its close; the caller frees it. */
static char *answer_of(const char *request, void (*run)(void))
{
	size_t len = 0, size = 1 << 20;
	char *text = calloc(1, size);
	int fd = dial();

	assert_int_equal(send(fd, request, strlen(request), 0), strlen(request));
	for (int i = 0; i < 20000 && len + 1 < size; i++) {
		ssize_t n;

		run();
		n = recv(fd, text + len, size - len - 1, MSG_DONTWAIT);
		if (n == 0)
			break;
		if (n > 0)
			len += (size_t)n;
		else
			usleep(100);
	}
	close(fd);
	return text;
}

static char *answer_to(const char *request)
{
	return answer_of(request, turn);
}

static void pages_have_their_status_and_type(void **state)
{
	static const struct {
		const char *request, *status, *holds;
	} rows[] = {
		{"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
		 "HTTP/1.1 200 ", "text/plain; version=0.0.4; charset=utf-8"},
		{"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 ",
		 "text/html; charset=utf-8"},
		{"GET /metrics?x=1 HTTP/1.0\r\n\r\n", "HTTP/1.0 200 ", "sluice_model_open"},
		{"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
		 "HTTP/1.1 200 ", "\r\n\r\nalive\n"},
		{"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
		 "HTTP/1.1 200 ", "\r\n\r\nready: mode enforce\n"},
		{"GET /static/page.js HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 200 ",
		 "text/javascript; charset=utf-8"},
		{"GET /static/page.css HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 200 ",
		 "Cache-Control: no-cache"},
		{"GET /static/chart.js HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 200 ",
		 "Chart.js v"},
		{"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 200 ",
		 "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "},
		{"GET /v1/history HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 503 ",
		 "no history is kept"},
		{"GET /static/ HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 404 ", "/metrics"},
		{"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
		 "HTTP/1.1 404 ", "/metrics"},
		{"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
		 "HTTP/1.1 405 ", "Allow: GET, HEAD"},
		{"DELETE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
		 "HTTP/1.1 405 ", "Read only"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = answer_to(rows[i].request);

		if (!strstr(text, rows[i].holds) || strncmp(text + 9, rows[i].status + 9, 4))
			fail_msg("%s\n%s", rows[i].request, text);
		free(text);
	}
	assert_int_equal(refreshed, STATE_MODELS | STATE_COUNTS | STATE_HISTOGRAMS | STATE_MAPS |
					    STATE_CLIENTS | STATE_RULES);
}

static void a_page_led_here_by_dns_reads_nothing(void **state)
{
	static const struct {
		const char *host, *status;
	} rows[] = {
		{"Host: 127.0.0.1:9464", "200"},
		{"Host: localhost", "200"},
		{"host: LocalHost:9464", "200"},
		{"Host: 192.0.2.1", "200"},
		{"Host: [::1]:9464", "200"},
		{"Host: [2001:db8::1]", "200"},
		{"Host: evil.example", "403"},
		{"Host: evil.example:9464", "403"},
		{"Host: localhost.evil.example", "403"},
		{"Host: 127.0.0.1.evil.example:9464", "403"},
		{"Host: [evil.example]", "403"},
		{"Host: [::1", "403"},
		{"Host: [::1]evil.example", "403"},
		{"Host: [127.0.0.1]", "403"},
	};
	static const char *const paths[] = {"/",           "/metrics",        "/v1/limits",
					    "/v1/history", "/static/page.js", "/nothing"};
	char request[256], own[128] = "", *text;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t p = 0; p < sizeof(paths) / sizeof(paths[0]); p++) {
			bool ours = rows[i].status[0] == '2';

			if (ours && p != 1)
				continue;
			snprintf(request, sizeof(request),
				 "GET %s HTTP/1.1\r\n%s\r\nConnection: close\r\n\r\n", paths[p],
				 rows[i].host);
			text = answer_to(request);
			if (strncmp(text + 9, rows[i].status, 3) || ours != !!strstr(text, "llama"))
				fail_msg("%s\n%.500s", request, text);
			free(text);
		}
	gethostname(own, sizeof(own) - 1);
	snprintf(request, sizeof(request),
		 "GET /metrics HTTP/1.1\r\nHost: %s:9464\r\nConnection: close\r\n\r\n", own);
	text = answer_to(request);
	assert_memory_equal(text, "HTTP/1.1 200", 12);
	free(text);
}

static void a_file_that_a_browser_has_is_not_sent_again(void **state)
{
	const struct metrics_asset *asset = metrics_asset("/static/page.js");
	char request[256], *text;

	snprintf(request, sizeof(request),
		 "GET /static/page.js HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: %s\r\n\r\n",
		 asset->etag);
	text = answer_to(request);
	assert_memory_equal(text, "HTTP/1.1 304", 12);
	assert_null(strstr(text, "strict"));
	free(text);
	text = answer_to("GET /static/page.js HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: "
			 "\"0\"\r\n\r\n");
	assert_memory_equal(text, "HTTP/1.1 200", 12);
	assert_non_null(strstr(text, asset->etag));
	free(text);
}

static void head_has_no_body(void **state)
{
	char *text =
		answer_to("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");

	assert_non_null(strstr(text, "Content-Length: "));
	assert_string_equal(strstr(text, "\r\n\r\n"), "\r\n\r\n");
	free(text);
}

static const char scrape[] = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

static void a_scrape_is_served_whatever_hangs_or_drips(void **state)
{
	enum { HANGING = 3 * METRICS_CONNECTIONS_MAX };
	int hanging[HANGING];
	char *text;

	for (int i = 0; i < HANGING; i++) {
		const char *part = i & 1 ? "GET /metr" : scrape;

		hanging[i] = dial();
		assert_int_equal(send(hanging[i], part, strlen(part), 0), strlen(part));
		now++;
		turn();
		if (i < METRICS_CONNECTIONS_MAX)
			continue;
		text = answer_to(scrape);
		assert_non_null(strstr(text, "sluice_build_info"));
		free(text);
	}
	assert_true(has_ended(hanging[1])); /* the oldest gave way */
	assert_false(has_ended(hanging[HANGING - 1]));
	for (int i = 0; i < HANGING; i++)
		close(hanging[i]);
}

static void a_connection_has_a_deadline_however_often_bytes_move(void **state)
{
	int dripping = dial(), slow = dial(), window = 1;
	uint64_t begin = now;

	for (int i = 0; i < 900; i++) {
		char name[90];

		snprintf(name, sizeof(name), "a-model-with-a-name-that-makes-the-answer-long-%d",
			 i);
		controller_learn(&f->controller, name, FIXTURE_NOW_NS);
	}
	setsockopt(slow, SOL_SOCKET, SO_RCVBUF, &window, sizeof(window));
	assert_int_equal(send(slow, scrape, strlen(scrape), 0), strlen(scrape));
	for (; now <= begin + METRICS_DEADLINE_NS; now += METRICS_DEADLINE_NS / 10) {
		char byte;

		assert_int_equal(send(dripping, "G", 1, MSG_NOSIGNAL), 1);
		turn();
		assert_int_equal(recv(slow, &byte, 1, 0), 1);
		metrics_expire(server, now);
		assert_true(recv(dripping, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
	}
	now = begin + METRICS_DEADLINE_NS + 1;
	metrics_expire(server, now);
	assert_true(has_ended(dripping));
	for (int i = 0; i < 20000 && !has_ended(slow); i++) /* the kernel still has some to send */
		usleep(100);
	assert_true(has_ended(slow));
	close(dripping);
	close(slow);
}

static void without_descriptors_the_loop_is_quiet_and_connections_wait(void **state)
{
	struct pollfd p = {.fd = metrics_fd(server), .events = POLLIN};
	struct rlimit old, none;
	int fd = dial();
	char byte;

	assert_int_equal(poll(&p, 1, 1000), 1);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){3, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	metrics_poll(server, now);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(metrics_accept_failures(server), 1);
	assert_int_equal(poll(&p, 1, 0), 0); /* it does not spin */
	metrics_expire(server, now);         /* the next tick */
	assert_int_equal(send(fd, scrape, strlen(scrape), 0), strlen(scrape));
	for (int i = 0; i < 20000 && recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0; i++) {
		turn();
		usleep(100);
	}
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 1);
	close(fd);
}

/* What the turns of the loop do of a page. */
static struct {
	size_t entries, bytes, most_entries, most_bytes, all_bytes;
	unsigned turns;
} slices;

static void count_step(void *arg, size_t entries, size_t bytes)
{
	work_step(queue, entries, bytes); /* the next turn may begin here */
	slices.entries += entries;
	slices.bytes += bytes;
	slices.all_bytes += bytes;
	if (slices.entries > slices.most_entries)
		slices.most_entries = slices.entries;
	if (slices.bytes > slices.most_bytes)
		slices.most_bytes = slices.bytes;
}

static bool take_verdict(void *arg, uint32_t service, struct sluice_question *question,
			 struct sluice_answer *out)
{
	state_step(&f->state, 16, 0);
	*out = (struct sluice_answer){0};
	return true;
}

static void a_page_is_written_in_slices(void **state)
{
	enum { MANY = 100000 };
	static const struct {
		const char *request;
		unsigned turns; /* at least */
		size_t bytes;
	} rows[] = {
		{"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 50, 3000000},
		{"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 97, 20000}, /* its lists are short */
		{"GET /v1/limits HTTP/1.1\r\nHost: localhost\r\n\r\n", 97 + 15, 100000},
	};
	static const struct state_lookup look = {.verdict = take_verdict};
	struct state_client *clients = calloc(MANY, sizeof(*clients));
	struct quota_book *book = calloc(1, sizeof(*book));

	for (uint32_t i = 0; i < MANY; i++) {
		clients[i] = f->clients[0];
		memcpy(clients[i].client.addr + 12, &i, sizeof(i));
	}
	for (int i = 0; i < 900; i++) {
		char name[32];

		snprintf(name, sizeof(name), "model-%d", i);
		controller_learn(&f->controller, name, FIXTURE_NOW_NS);
	}
	f->state.clients = clients;
	f->state.client_count = MANY;
	f->state.lookup = &look;
	f->state.quotas = book;
	f->state.step = count_step;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int fd = dial();
		char byte;

		memset(&slices, 0, sizeof(slices));
		assert_int_equal(send(fd, rows[i].request, strlen(rows[i].request), 0),
				 strlen(rows[i].request));
		for (int k = 0; k < 20000 && !work_pending(queue); k++)
			metrics_poll(server, now);
		for (; work_pending(queue); slices.turns++) {
			slices.entries = slices.bytes = 0;
			assert_true(recv(fd, &byte, 1, MSG_DONTWAIT) < 0);
			metrics_poll(server, now);
			work_turn(queue);
		}
		if (slices.turns < rows[i].turns || slices.all_bytes < rows[i].bytes ||
		    slices.most_entries > WORK_ENTRIES_MAX || slices.most_bytes > WORK_BYTES_MAX)
			fail_msg("%zu: %zu bytes in %u turns, of %zu entries and %zu bytes at most",
				 i, slices.all_bytes, slices.turns, slices.most_entries,
				 slices.most_bytes);
		close(fd);
	}
	free(clients);
	free(book);
}

/* The loop calls metrics_poll() where metrics_fd() is readable, and else at its next tick. */
static void a_large_page_is_sent_without_waiting_for_a_tick(void **state)
{
	char request[] = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
	int fd = dial();
	struct pollfd ready[] = {{.fd = metrics_fd(server), .events = POLLIN},
				 {.fd = fd, .events = POLLIN}};
	static char text[1 << 16];
	size_t received = 0;
	ssize_t n = -1;

	for (int i = 0; i < 900; i++) {
		char name[32];

		snprintf(name, sizeof(name), "model-%d", i);
		controller_learn(&f->controller, name, FIXTURE_NOW_NS);
	}
	assert_int_equal(send(fd, request, strlen(request), 0), strlen(request));
	while (n) {
		/* A kernel that is busy takes its time to deliver. */
		if (!poll(ready, 2, work_pending(queue) ? 0 : 10000) && !work_pending(queue))
			fail_msg("nothing happens after %zu bytes", received);
		if (ready[0].revents)
			metrics_poll(server, now);
		work_turn(queue);
		n = recv(fd, text, sizeof(text), MSG_DONTWAIT);
		received += n > 0 ? (size_t)n : 0;
	}
	assert_true(received > 3000000);
	close(fd);
}

static void a_server_that_ends_forgets_the_pages_under_way(void **state)
{
	int fds[3];

	for (int i = 0; i < 3; i++) {
		fds[i] = dial();
		assert_int_equal(send(fds[i], scrape, strlen(scrape), 0), strlen(scrape));
	}
	for (int i = 0; i < 20000 && !work_pending(queue); i++)
		metrics_poll(server, now);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
}

static void a_taken_port_is_named_in_the_error(void **state)
{
	struct metrics *second = NULL;
	char err[256] = "";

	assert_int_equal(metrics_open(&second, "127.0.0.1", port, nothing, &f->state, queue,
				      take_refresh, NULL, err, sizeof(err)),
			 -EADDRINUSE);
	assert_null(second);
	assert_non_null(strstr(err, "is taken"));
	assert_int_equal(metrics_open(&second, "nowhere", port, nothing, &f->state, queue,
				      take_refresh, NULL, err, sizeof(err)),
			 -EINVAL);
	assert_non_null(strstr(err, "nowhere"));
}

static void a_probe_is_answered_while_pages_wait(void **state)
{
	int fds[METRICS_CONNECTIONS_MAX];
	char *text;

	for (int i = 0; i < METRICS_CONNECTIONS_MAX; i++) {
		fds[i] = dial();
		now++;
		assert_int_equal(send(fds[i], scrape, strlen(scrape), 0), strlen(scrape));
		for (int k = 0; k < 50; k++) /* and no turn of the queue: no page is written */
			metrics_poll(server, now);
	}
	for (int i = 0; i < 2; i++) {
		text = answer_of(i ? "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"
				   : "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
				 poll_only);
		assert_memory_equal(text, "HTTP/1.1 200", 12);
		assert_non_null(strstr(text, i ? "ready: mode enforce\n" : "alive\n"));
		free(text);
	}
	assert_false(has_ended(fds[0])); /* its page is under way */
	text = answer_of(scrape, poll_only);
	assert_memory_equal(text, "HTTP/1.1 503", 12);
	free(text);
	for (int i = 0; i < METRICS_CONNECTIONS_MAX; i++)
		close(fds[i]);
}

static void readiness_is_what_the_configuration_asks_for(void **state)
{
	static struct state_interface two[2];
	static const struct {
		const char *text;
		unsigned status;
		bool detaching, shadow;
		uint64_t lease; /* from now on */
		size_t interfaces, left_out, netns_unfollowed;
		bool lost[2][STATE_HOOKS];
		const char *xdp;
	} rows[] = {
		{"ready: mode enforce\n", 200, .lease = 1, .interfaces = 2, .xdp = "native"},
		{"ready: mode shadow\n", 200, .shadow = true, .lease = 1, .interfaces = 1,
		 .xdp = "native"},
		{"ready: mode enforce\n", 200, .lease = 1, .interfaces = 1, .lost = {{true}},
		 .xdp = "off"},
		{"not ready: 1 of 2 interfaces are not attached\n", 503, .lease = 1,
		 .interfaces = 2, .lost = {{true}}, .xdp = "native"},
		{"not ready: 1 of 2 interfaces are not attached\n", 503, .lease = 1,
		 .interfaces = 2, .lost = {{0}, {false, true}}, .xdp = "off"},
		{"not ready: 2 of 2 interfaces are not attached\n", 503, .lease = 1,
		 .interfaces = 2, .lost = {{false, false, true}, {false, true}}, .xdp = "off"},
		{"not ready: 3 of 5 interfaces are not attached\n", 503, .lease = 1,
		 .interfaces = 2, .left_out = 3, .xdp = "off"},
		{"not ready: no interface matches\n", 503, .lease = 1, .xdp = "off"},
		{"not ready: 1 of the network namespaces cannot be followed\n", 503, .lease = 1,
		 .interfaces = 1, .netns_unfollowed = 1, .xdp = "off"},
		{"not ready: the lease has ended, so everything passes\n", 503, .interfaces = 1,
		 .xdp = "off"},
		{"not ready: the daemon detaches\n", 503, .detaching = true, .interfaces = 1,
		 .xdp = "off"},
	};
	struct daemon_state *s = &f->state;

	s->interfaces = two;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[128] = "";
		FILE *out = fmemopen(text, sizeof(text), "w");

		s->interface_count = rows[i].interfaces;
		s->interfaces_left_out = rows[i].left_out;
		s->netns_unfollowed = rows[i].netns_unfollowed;
		s->detaching = rows[i].detaching;
		s->mode = rows[i].shadow ? SLUICE_MODE_SHADOW : SLUICE_MODE_ENFORCE;
		s->lease_until_ns = s->now_ns + rows[i].lease;
		for (int k = 0; k < 2; k++) {
			two[k] = (struct state_interface){.name = "eth", .xdp = rows[i].xdp};
			for (int hook = 0; hook < STATE_HOOKS; hook++)
				two[k].attached[hook] = !rows[i].lost[k][hook];
		}
		assert_int_equal(metrics_write_ready(out, s), rows[i].status);
		fclose(out);
		assert_string_equal(text, rows[i].text);
	}
}

#define PURE(test)   cmocka_unit_test_setup_teardown(test, setup, teardown)
#define SERVER(test) cmocka_unit_test_setup_teardown(test, setup_server, teardown_server)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PURE(the_exposition_has_the_promised_series),
		PURE(a_fleet_shows_its_store_and_what_waits),
		PURE(a_series_without_a_sample_has_no_line),
		PURE(series_that_can_be_summed_leave_out_the_total),
		PURE(buckets_have_the_bounds_of_others_and_never_fall),
		PURE(what_met_its_target_is_counted_beside_what_missed_it),
		PURE(names_are_escaped_in_labels),
		PURE(counts_of_removed_services_and_models_stay_apart),
		PURE(requests_have_their_class_where_classes_are_in_use),
		PURE(a_full_table_of_models_is_written_whole),
		PURE(readiness_is_what_the_configuration_asks_for),
		SERVER(pages_have_their_status_and_type),
		SERVER(a_page_led_here_by_dns_reads_nothing),
		SERVER(a_file_that_a_browser_has_is_not_sent_again),
		SERVER(head_has_no_body),
		SERVER(a_scrape_is_served_whatever_hangs_or_drips),
		SERVER(a_probe_is_answered_while_pages_wait),
		SERVER(a_connection_has_a_deadline_however_often_bytes_move),
		SERVER(without_descriptors_the_loop_is_quiet_and_connections_wait),
		SERVER(a_page_is_written_in_slices),
		SERVER(a_large_page_is_sent_without_waiting_for_a_tick),
		SERVER(a_server_that_ends_forgets_the_pages_under_way),
		SERVER(a_taken_port_is_named_in_the_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
