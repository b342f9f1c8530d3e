/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The control socket itself: what its clients can do to the daemon, which is nothing, however they
 * write, read or hang.
 */
#include "control_fixture.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static char path[96];
static struct control *control;

static int setup_socket(void **state)
{
	char err[256];

	setup(state);
	snprintf(path, sizeof(path), "/tmp/sluice-test-%d/control.sock", getpid());
	if (control_open(&control, path, &f->state, &ops, err, sizeof(err)))
		fail_msg("%s", err);
	return 0;
}

static int teardown_socket(void **state)
{
	control_close(control);
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

		control_poll(control, 0);
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

	assert_int_equal(control_open(&second, path, &f->state, &ops, err, sizeof(err)),
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
	assert_int_equal(control_open(&second, other, &f->state, &ops, err, sizeof(err)), 0);
	control_close(second);
}

static void a_file_that_is_no_socket_is_left_alone(void **state)
{
	struct control *second = NULL;
	char other[80], err[256];

	snprintf(other, sizeof(other), "/tmp/sluice-test-%d/file", getpid());
	close(open(other, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(control_open(&second, other, &f->state, &ops, err, sizeof(err)), -EEXIST);
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
	assert_int_equal(notes.refreshed & STATE_HISTOGRAMS, 0);
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

static void one_client_too_many_gets_an_error(void **state)
{
	int fds[CONTROL_CLIENTS_MAX + 1];
	char *line;

	for (int i = 0; i <= CONTROL_CLIENTS_MAX; i++)
		fds[i] = connected();
	line = heard(fds[CONTROL_CLIENTS_MAX]);
	assert_non_null(line);
	assert_non_null(strstr(line, "too many"));
	free(line);
	for (int i = 0; i <= CONTROL_CLIENTS_MAX; i++)
		close(fds[i]);
	for (int i = 0; i <= CONTROL_CLIENTS_MAX; i++)
		control_poll(control, 0);
	fds[0] = connected();
	assert_int_equal(control_say(fds[0], "{\"cmd\":\"status\"}"), 0);
	heard_ok(fds[0]);
	close(fds[0]);
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

static void a_client_that_leaves_its_answer_unread_is_dropped_in_time(void **state)
{
	int fd = connected(), n = 0;

	/*
	 * Sends requests until an answer does not fit the socket any more: then the daemon reads no
	 * command.
	 */
	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (send(fd, "{\"cmd\":\"status\"}\n", 17, 0) == 17 && n++ < 100000)
		for (int i = 0; i < 4; i++)
			control_poll(control, 1);
	for (int i = 0; i < 1000; i++)
		control_poll(control, 1);
	control_expire(control, CONTROL_STALL_NS);
	control_expire(control, CONTROL_STALL_NS + 2);
	for (;;) {
		char buffer[65536];
		ssize_t got = recv(fd, buffer, sizeof(buffer), 0);

		if (got <= 0) {
			/* The connection has ended, not only run empty. */
			assert_true(got == 0 || errno == ECONNRESET);
			break;
		}
	}
	close(fd);
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

	assert_int_equal(control_say(fd, "{\"cmd\":\"detach\"}"), 0);
	for (int i = 0; i < 10; i++)
		control_poll(control, 0);
	assert_int_equal(notes.detaches, 1);
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
		SOCKET(one_client_too_many_gets_an_error),
		SOCKET(a_watcher_sees_refusals_and_models),
		SOCKET(a_watcher_that_does_not_read_is_dropped_and_delays_no_other),
		SOCKET(a_client_that_leaves_its_answer_unread_is_dropped_in_time),
		SOCKET(a_client_gone_in_mid_answer_does_no_harm),
		SOCKET(detach_is_answered_when_it_is_done),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
