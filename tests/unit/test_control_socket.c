/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The control socket itself: what its clients can do to the daemon, which is nothing, however they
 * write, read or hang.
 */
#include "control_fixture.h"
#include "socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static char path[96];
static struct control *control;
static uint64_t now; /* of the server */

static int setup_socket(void **state)
{
	char err[256];

	setup(state);
	now = 0;
	ops.queue = work_open();
	snprintf(path, sizeof(path), "/tmp/sluice-test-%d/control.sock", getpid());
	if (control_open(&control, path, (gid_t)-1, &f->state, &ops, err, sizeof(err)))
		fail_msg("%s", err);
	return 0;
}

static int teardown_socket(void **state)
{
	control_close(control);
	work_close(ops.queue);
	assert_int_not_equal(access(path, F_OK), 0); /* it took its socket away */
	*strrchr(path, '/') = 0;
	rmdir(path);
	return teardown(state);
}

static int connected(void)
{
	int fd = control_connect(path);

	assert_true(fd >= 0);
	control_poll(control, 0);
	return fd;
}

/* The daemon's next line; runs the loop until it is there. NULL: the connection has ended. */
static char *heard(int fd)
{
	for (int i = 0; i < 200000; i++) {
		char *line, byte;
		ssize_t n;

		control_poll(control, now);
		work_turn(ops.queue);
		n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return NULL;
		if (n > 0)
			return control_hear(fd, 1, &line) ? NULL : line;
	}
	fail_msg("no line came");
	return NULL;
}

static void heard_ok(int fd)
{
	char *line = heard(fd);

	assert_non_null(line);
	assert_memory_equal(line, "{\"ok\":true", 10);
	free(line);
}

static void the_socket_is_for_root_and_its_group(void **state)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	*strrchr(path, '/') = 0;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	path[strlen(path)] = '/';
}

static void a_living_daemons_socket_is_not_taken(void **state)
{
	struct control *second = NULL;
	char err[256];

	assert_int_equal(control_open(&second, path, (gid_t)-1, &f->state, &ops, err, sizeof(err)),
			 -EADDRINUSE);
	assert_null(second);
	assert_non_null(strstr(err, path));
	int fd = connected();

	assert_int_equal(control_say(fd, "{\"cmd\":\"status\"}"), 0);
	heard_ok(fd);
	close(fd);
}

static void a_dead_daemons_socket_is_replaced(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct control *second = NULL;
	char other[80], err[256];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(other, sizeof(other), "/tmp/sluice-test-%d/dead.sock", getpid());
	strcpy(address.sun_path, other);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_int_equal(control_open(&second, other, (gid_t)-1, &f->state, &ops, err, sizeof(err)),
			 0);
	control_close(second);
}

static void a_file_that_is_no_socket_is_left_alone(void **state)
{
	struct control *second = NULL;
	char other[80], err[256];

	snprintf(other, sizeof(other), "/tmp/sluice-test-%d/file", getpid());
	close(open(other, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(control_open(&second, other, (gid_t)-1, &f->state, &ops, err, sizeof(err)),
			 -EEXIST);
	assert_int_equal(unlink(other), 0);
}

static void a_line_written_byte_by_byte_is_answered_once(void **state)
{
	static const char line[] = "{\"cmd\":\"status\"}\n";
	int fd = connected();
	char byte;

	for (size_t i = 0; i < sizeof(line) - 1; i++) {
		assert_int_equal(send(fd, line + i, 1, 0), 1);
		control_poll(control, 0);
	}
	heard_ok(fd);
	control_poll(control, 0);
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	close(fd);
}

static void many_lines_at_once_are_answered_in_order_one_each_loop(void **state)
{
	int fd = connected(), other = connected();

	assert_int_equal(
		control_say(fd, "{\"cmd\":\"status\"}\n{\"cmd\":\"nope\"}\n{\"cmd\":\"models\"}"),
		0);
	assert_int_equal(control_say(other, "{\"cmd\":\"clients\"}"), 0);
	control_poll(control, 0);
	control_poll(control, 0);
	work_turn(ops.queue);
	work_turn(ops.queue);
	assert_true(
		notes.refreshed &
		STATE_CLIENTS); /* the second client did not wait for all of the first's answers */
	heard_ok(fd);
	char *line = heard(fd);

	assert_memory_equal(line, "{\"ok\":false", 11);
	free(line);
	heard_ok(fd);
	heard_ok(other);
	close(fd);
	close(other);
}

static void a_client_that_has_shut_its_writing_side_still_gets_its_answer(void **state)
{
	int fd = connected();

	assert_int_equal(control_say(fd, "{\"cmd\":\"status\"}"), 0);
	shutdown(fd, SHUT_WR);
	heard_ok(fd);
	assert_null(heard(fd));
	close(fd);
}

static void a_line_too_long_is_refused_and_ends_the_connection(void **state)
{
	int fd = connected();
	char *line = malloc(CONTROL_LINE_MAX + 1);

	memset(line, 'x', CONTROL_LINE_MAX);
	line[CONTROL_LINE_MAX] = 0;
	for (size_t at = 0; at < CONTROL_LINE_MAX;) {
		ssize_t n = send(fd, line + at, CONTROL_LINE_MAX - at, MSG_DONTWAIT);

		at += n > 0 ? (size_t)n : 0;
		control_poll(control, 0);
	}
	free(line);
	line = heard(fd);
	assert_non_null(line);
	assert_memory_equal(line, "{\"ok\":false", 11);
	free(line);
	assert_null(heard(fd));
	close(fd);
}

/* Runs the server until nothing is left to do. */
static void settle(uint64_t now_ns)
{
	now = now_ns;
	for (int i = 0; i < 1000; i++) {
		control_poll(control, now);
		work_turn(ops.queue);
	}
}

static void the_client_that_has_been_idle_longest_gives_way(void **state)
{
	int fds[2 * CONTROL_CLIENTS_MAX];

	for (int i = 0; i < 2 * CONTROL_CLIENTS_MAX; i++) {
		fds[i] = control_connect(path);
		assert_true(fds[i] >= 0);
		settle((uint64_t)i + 1);
		if (i < CONTROL_CLIENTS_MAX - 1)
			continue;
		/* The first one stays busy, and so it stays. */
		assert_int_equal(control_say(fds[0], "{\"cmd\":\"status\"}"), 0);
		settle(now);
		assert_false(has_ended(fds[0]));
		assert_int_equal(control_say(fds[i], "{\"cmd\":\"models\"}"), 0);
		heard_ok(fds[i]);
	}
	assert_true(has_ended(fds[1]));
	assert_false(has_ended(fds[2 * CONTROL_CLIENTS_MAX - 2]));
	for (int i = 0; i < 2 * CONTROL_CLIENTS_MAX; i++)
		close(fds[i]);
}

static void a_command_has_a_deadline_however_often_bytes_come(void **state)
{
	int dripping = connected(), watcher = connected(), good = connected();

	assert_int_equal(control_say(watcher, "{\"cmd\":\"watch\"}"), 0);
	heard_ok(watcher);
	for (uint64_t at = 0; at <= CONTROL_COMMAND_NS; at += CONTROL_COMMAND_NS / 10) {
		send(dripping, " ", 1, MSG_NOSIGNAL);
		assert_int_equal(control_say(good, "{\"cmd\":\"status\"}"), 0);
		settle(at);
		control_expire(control, at);
		assert_false(has_ended(dripping));
	}
	control_expire(control, CONTROL_COMMAND_NS + 1);
	assert_true(has_ended(dripping));
	assert_false(has_ended(good));
	assert_false(has_ended(watcher));
	close(dripping);
	close(watcher);
	close(good);
}

static void without_descriptors_the_loop_is_quiet_and_connections_wait(void **state)
{
	struct pollfd p = {.fd = control_fd(control), .events = POLLIN};
	struct rlimit old, none;
	int fd;

	fd = control_connect(path);
	assert_true(fd >= 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){3, old.rlim_max};
	assert_int_equal(poll(&p, 1, 0), 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	control_poll(control, 0);
	assert_int_equal(control_accept_failures(control), 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(poll(&p, 1, 0), 0); /* it does not spin */
	control_expire(control, 0);          /* the next tick */
	assert_int_equal(control_say(fd, "{\"cmd\":\"status\"}"), 0);
	heard_ok(fd);
	close(fd);
}

static void a_watcher_sees_refusals_and_models(void **state)
{
	struct sluice_refusal refusal = {
		.time_ns = FIXTURE_NOW_NS,
		.client = f->clients[0].client,
		.model = FIXTURE_LLAMA,
		.reason = SLUICE_REASON_TTFT,
		.action = SLUICE_ACTION_REPLY,
		.verdict = SLUICE_VERDICT_REJECTED,
		.retry_after_ms = 1500,
	};
	int fd = connected(), idle = connected();
	char *line, byte;

	assert_int_equal(control_say(fd, "{\"cmd\":\"watch\"}"), 0);
	heard_ok(fd);
	control_refusal(control, &refusal);
	control_model_changed(control, FIXTURE_LLAMA);
	line = heard(fd);
	assert_non_null(strstr(line, "\"event\":\"refusal\""));
	assert_non_null(strstr(line, "\"client\":\"192.0.2.1\""));
	assert_non_null(strstr(line, "\"service\":\"*:8000\""));
	assert_non_null(strstr(line, "\"unix_ms\":1700000000000"));
	free(line);
	line = heard(fd);
	assert_non_null(strstr(line, "\"event\":\"model\""));
	assert_non_null(strstr(line, "\"open\":false"));
	free(line);
	assert_int_equal(recv(idle, &byte, 1, MSG_DONTWAIT), -1);
	close(fd);
	close(idle);
}

static void a_watcher_that_does_not_read_is_dropped_and_delays_no_other(void **state)
{
	struct sluice_refusal refusal = {.client = f->clients[0].client,
					 .reason = SLUICE_REASON_TTFT};
	int slow = connected(), other = connected();

	assert_int_equal(control_say(slow, "{\"cmd\":\"watch\"}"), 0);
	heard_ok(slow);
	for (int i = 0; i < 20000; i++)
		control_refusal(control, &refusal);
	assert_int_equal(control_say(other, "{\"cmd\":\"status\"}"), 0);
	heard_ok(other);
	for (;;) {
		char *line = heard(slow);

		if (!line)
			break;
		free(line);
	}
	close(slow);
	close(other);
}

static const struct sluice_record record = {
	.time_ns = FIXTURE_NOW_NS,
	.duration_ns = 1234567890,
	.ttft_us = 250500,
	.bytes = 4300,
	.tokens = 77,
	.model = FIXTURE_LLAMA,
	.end = SLUICE_END_COMPLETED,
};

static void records_are_made_while_somebody_reads_them(void **state)
{
	struct sluice_record refused = {.time_ns = FIXTURE_NOW_NS,
					.client = f->clients[0].client,
					.model = FIXTURE_LLAMA,
					.verdict = SLUICE_VERDICT_REJECTED,
					.reason = SLUICE_REASON_TTFT,
					.retry_after_ms = 1500};
	int first = connected(), second = connected();
	char *line;

	control_record(control, &record);
	assert_false(notes.recording);
	assert_int_equal(control_say(first, "{\"cmd\":\"record\"}"), 0);
	heard_ok(first);
	assert_true(notes.recording);
	assert_int_equal(control_say(second, "{\"cmd\":\"record\"}\n{\"cmd\":\"record\"}"), 0);
	heard_ok(second);
	heard_ok(second);
	control_record(control, &record);
	control_record(control, &refused);
	for (int i = 0; i < 2; i++) {
		line = heard(i ? second : first);
		assert_non_null(strstr(line, "\"event\":\"request\""));
		assert_non_null(strstr(line, "\"unix_ms\":1700000000000"));
		assert_non_null(strstr(line, "\"model\":\"llama\""));
		assert_non_null(strstr(line, "\"bytes\":4300,\"tokens\":77,\"ttft_ms\":250.5"));
		assert_non_null(strstr(line, "\"verdict\":\"admitted\""));
		assert_non_null(strstr(line, "\"end\":\"completed\""));
		free(line);
		line = heard(i ? second : first);
		assert_non_null(strstr(line, "\"client\":\"192.0.2.1\""));
		assert_non_null(strstr(line, "\"ttft_ms\":null,\"duration_ms\":null"));
		assert_non_null(strstr(line, "\"reason\":\"ttft\",\"retry_after_ms\":1500"));
		assert_non_null(strstr(line, "\"end\":null"));
		free(line);
	}
	close(first);
	settle(now);
	assert_true(notes.recording);
	close(second);
	settle(now);
	assert_false(notes.recording);
	assert_int_equal(notes.records, 1);
}

/* It stays, its output stays small, and it learns exactly what it has lost. */
static void a_recorder_that_does_not_read_loses_records_and_is_told(void **state)
{
	enum { RECORDS = 20000, LOST_BY_KERNEL = 5 };
	int slow = connected(), other = connected();
	unsigned records = 0, lost = 0;

	assert_int_equal(control_say(slow, "{\"cmd\":\"record\"}"), 0);
	heard_ok(slow);
	for (int i = 0; i < RECORDS; i++)
		control_record(control, &record);
	control_records_lost(control, LOST_BY_KERNEL);
	assert_int_equal(control_say(other, "{\"cmd\":\"status\"}"), 0);
	heard_ok(other);
	settle(10 * CONTROL_READ_NS);
	control_expire(control, now);
	while (records + lost < RECORDS + LOST_BY_KERNEL) {
		char *line;

		control_records_lost(control, 0); /* the next tick */
		line = heard(slow);
		assert_non_null(line);
		records += !!strstr(line, "\"event\":\"request\"");
		if (strstr(line, "\"event\":\"lost\""))
			lost += (unsigned)atoi(strstr(line, "\"records\":") + 10);
		free(line);
	}
	assert_int_equal(records + lost, RECORDS + LOST_BY_KERNEL);
	assert_true(notes.recording);
	assert_true(lost > RECORDS / 2 && records > 100);
	close(slow);
	close(other);
}

static void an_answer_has_a_deadline_however_often_bytes_are_read(void **state)
{
	static char part[25000];
	int fd = connected();

	for (int i = 0; i < 900; i++) {
		char name[90];

		snprintf(name, sizeof(name), "a-model-with-a-name-that-makes-the-answer-long-%d",
			 i);
		controller_learn(&f->controller, name, FIXTURE_NOW_NS);
	}
	assert_int_equal(control_say(fd, "{\"cmd\":\"models\"}"), 0);
	for (uint64_t at = 1; at <= CONTROL_READ_NS + 1; at += CONTROL_READ_NS / 10) {
		settle(at);
		control_expire(control, at);
		assert_true(recv(fd, part, sizeof(part), MSG_DONTWAIT) > 0);
	}
	control_expire(control, CONTROL_READ_NS + 2);
	assert_true(has_ended(fd));
	close(fd);
}

/* What the turns of the loop do of a work. */
static struct {
	size_t entries, bytes, most_entries, most_bytes;
	unsigned turns;
} slices;

static void count_step(void *arg, size_t entries, size_t bytes)
{
	work_step(ops.queue, entries, bytes); /* the next turn may begin here */
	slices.entries += entries;
	slices.bytes += bytes;
}

static bool take_verdict(void *arg, uint32_t service, struct sluice_question *question,
			 struct sluice_answer *out)
{
	state_step(&f->state, 16, 0);
	*out = (struct sluice_answer){0};
	return true;
}

/* The answer to a command, turn by turn. Longer than a socket's buffer, so nothing waits for it. */
static char *answer_in_slices(int fd, const char *command)
{
	size_t len = 0, size = 0;
	char *text = NULL, byte;
	ssize_t n;

	memset(&slices, 0, sizeof(slices));
	assert_int_equal(control_say(fd, command), 0);
	control_poll(control, now);
	for (; work_pending(ops.queue); slices.turns++) {
		slices.entries = slices.bytes = 0;
		assert_true(recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0);
		work_turn(ops.queue);
		if (slices.entries > slices.most_entries)
			slices.most_entries = slices.entries;
		if (slices.bytes > slices.most_bytes)
			slices.most_bytes = slices.bytes;
	}
	do {
		if (len + 100000 > size)
			text = realloc(text, size = 2 * size + 200000);
		control_poll(control, now);
		n = recv(fd, text + len, size - len - 1, MSG_DONTWAIT);
		len += n > 0 ? (size_t)n : 0;
		assert_int_not_equal(n, 0);
	} while (!len || text[len - 1] != '\n');
	text[len] = 0;
	return text;
}

static void a_long_answer_is_written_in_slices(void **state)
{
	enum { MANY = 65536 };
	static const struct {
		const char *command;
		unsigned turns; /* at least: entries over 1024, or bytes over 64 KiB */
		size_t bytes;
	} rows[] = {
		{"{\"cmd\":\"clients\"}", 64 + 15 + MANY * 8 / 1024 + 7000000 / 65536, 7000000},
		{"{\"cmd\":\"clients\",\"by\":\"tokens\"}", MANY * 16 / 1024 + MANY * 8 / 1024,
		 7000000},
		{"{\"cmd\":\"models\"}", 10, 300000},
		{"{\"cmd\":\"status\"}", 10, 300000},
		{"{\"cmd\":\"quota-show\"}", MANY / 1024, 200000},
	};
	static const struct state_lookup look = {.verdict = take_verdict};
	struct state_client *clients = calloc(MANY, sizeof(*clients));
	struct state_client_rule *rules = calloc(MANY, sizeof(*rules));
	struct state_client_quota *quotas = calloc(MANY, sizeof(*quotas));
	struct quota_book *book = calloc(1, sizeof(*book));
	int fd = connected();

	for (uint32_t i = 0; i < MANY; i++) {
		clients[i] = f->clients[0];
		memcpy(clients[i].client.addr + 12, &i, sizeof(i));
		clients[i].count.last_seen_ns -= i;
		rules[i].key.client = clients[i].client;
		quotas[i].key.client = clients[i].client;
	}
	for (int i = 0; i < 900; i++) {
		char name[32];

		snprintf(name, sizeof(name), "model-%d", i);
		controller_learn(&f->controller, name, FIXTURE_NOW_NS);
	}
	f->state.clients = clients;
	f->state.client_count = MANY;
	f->state.client_rules = rules;
	f->state.client_rule_count = MANY;
	f->state.client_quotas = quotas;
	f->state.client_quota_count = MANY;
	f->state.lookup = &look;
	f->state.quotas = book;
	f->state.step = count_step;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *line = answer_in_slices(fd, rows[i].command);

		assert_non_null(line);
		assert_memory_equal(line, "{\"ok\":true", 10);
		if (slices.turns < rows[i].turns || strlen(line) < rows[i].bytes ||
		    slices.most_entries > WORK_ENTRIES_MAX || slices.most_bytes > WORK_BYTES_MAX)
			fail_msg("%s: %zu bytes in %u turns, of %zu entries and %zu bytes at most",
				 rows[i].command, strlen(line), slices.turns, slices.most_entries,
				 slices.most_bytes);
		free(line);
	}
	close(fd);
	free(clients);
	free(rules);
	free(quotas);
	free(book);
}

static void a_client_gone_before_its_answer_costs_no_work(void **state)
{
	int first = connected(), second = connected(), third = connected();

	assert_int_equal(control_say(first, "{\"cmd\":\"models\"}"), 0);
	assert_int_equal(control_say(second, "{\"cmd\":\"clients\"}"), 0);
	for (int i = 0; i < 2; i++)
		control_poll(control, 0);
	close(second);
	for (int i = 0; i < 10; i++)
		control_poll(control, 0);
	assert_int_equal(control_say(third, "{\"cmd\":\"models\"}"), 0);
	heard_ok(first);
	heard_ok(third);
	assert_int_equal(notes.refreshed & STATE_CLIENTS, 0);
	close(first);
	close(third);
}

static void a_client_gone_in_mid_answer_does_no_harm(void **state)
{
	for (int i = 0; i < 50; i++) {
		int fd = connected();

		assert_int_equal(
			control_say(fd, i & 1 ? "{\"cmd\":\"watch\"}" : "{\"cmd\":\"status\"}"), 0);
		if (i & 2)
			control_poll(control, 0);
		close(fd);
		control_model_changed(control, FIXTURE_LLAMA);
		control_poll(control, 0);
	}
	int fd = connected();

	assert_int_equal(control_say(fd, "{\"cmd\":\"status\"}"), 0);
	heard_ok(fd);
	close(fd);
}

static void detach_is_answered_when_it_is_done(void **state)
{
	int fd = connected();
	char byte;

	assert_int_equal(control_say(fd, "{\"cmd\":\"detach\",\"kept_timeout_ms\":1500}"), 0);
	for (int i = 0; i < 10; i++)
		control_poll(control, 0);
	assert_int_equal(notes.detaches, 1);
	assert_int_equal(notes.kept_ns, 1500000000);
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	control_detached(control, NULL);
	heard_ok(fd);
	close(fd);
}

#define SOCKET(test) cmocka_unit_test_setup_teardown(test, setup_socket, teardown_socket)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SOCKET(the_socket_is_for_root_and_its_group),
		SOCKET(a_living_daemons_socket_is_not_taken),
		SOCKET(a_dead_daemons_socket_is_replaced),
		SOCKET(a_file_that_is_no_socket_is_left_alone),
		SOCKET(a_line_written_byte_by_byte_is_answered_once),
		SOCKET(many_lines_at_once_are_answered_in_order_one_each_loop),
		SOCKET(a_client_that_has_shut_its_writing_side_still_gets_its_answer),
		SOCKET(a_line_too_long_is_refused_and_ends_the_connection),
		SOCKET(the_client_that_has_been_idle_longest_gives_way),
		SOCKET(a_command_has_a_deadline_however_often_bytes_come),
		SOCKET(without_descriptors_the_loop_is_quiet_and_connections_wait),
		SOCKET(a_watcher_sees_refusals_and_models),
		SOCKET(a_watcher_that_does_not_read_is_dropped_and_delays_no_other),
		SOCKET(records_are_made_while_somebody_reads_them),
		SOCKET(a_recorder_that_does_not_read_loses_records_and_is_told),
		SOCKET(an_answer_has_a_deadline_however_often_bytes_are_read),
		SOCKET(a_long_answer_is_written_in_slices),
		SOCKET(a_client_gone_before_its_answer_costs_no_work),
		SOCKET(a_client_gone_in_mid_answer_does_no_harm),
		SOCKET(detach_is_answered_when_it_is_done),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
