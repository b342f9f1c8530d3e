/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who may read the metrics: the token, its file, and the names that a Host may have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/secret_file.h"
#include "metrics/access.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))
#define TOKEN       "0123456789abcdef-._~+/=="

static struct metrics_access *access_with(const char *token, char *const *hosts, unsigned n)
{
	struct metrics_access *a = NULL;
	char err[256] = "";

	if (metrics_access_new(
		    &a,
		    &(struct metrics_credentials){.token = token, .hosts = hosts, .host_count = n},
		    err, sizeof(err)))
		fail_msg("%s", err);
	return a;
}

static void a_token_is_one_line_of_some_length(void **state)
{
	static const struct {
		const char *text;
		bool good;
	} rows[] = {
		{TOKEN, true},
		{TOKEN "\n", true},
		{TOKEN " \r\n\n", true},
		{"0123456789abcdef", true},
		{"0123456789abcde", false},
		{"", false},
		{"\n", false},
		{" " TOKEN, false},
		{TOKEN "\n" TOKEN, false},
		{"0123456789abcdef 0123456789abcdef", false},
		{"0123456789abcdef\xc3\xa9", false},
		{"0123456789=abcdef", false},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct metrics_access *a = NULL;
		char err[256] = "";
		int ret = metrics_access_new(
			&a, &(struct metrics_credentials){.token = rows[i].text}, err, sizeof(err));

		if (rows[i].good ? ret : ret != -EINVAL || !strstr(err, "metrics-token-file: "))
			fail_msg("\"%s\": %d, %s", rows[i].text, ret, err);
		if (*rows[i].text && strstr(err, rows[i].text))
			fail_msg("the error has the token: %s", err);
		metrics_access_put(a);
	}
}

static void the_token_and_nothing_else_is_let_in(void **state)
{
	static const struct {
		const char *given;
		bool in;
	} rows[] = {
		{"Bearer " TOKEN, true},
		{"bearer " TOKEN, true},
		{"BEARER   " TOKEN, true},
		{NULL, false},
		{"", false},
		{"Bearer", false},
		{"Bearer ", false},
		{TOKEN, false},
		{"Basic " TOKEN, false},
		{"Bearer " TOKEN "=", false},
		{"Bearer 0123456789abcdef-._~+/=", false},
		{"Bearer 1123456789abcdef-._~+/==", false},
		{"Bearer 0123456789abcdef-._~+/=+", false},
		{"Bearer 0123456789ABCDEF-._~+/==", false},
		{"Bearer " TOKEN " ", false},
		{"Bearer " TOKEN ", Bearer " TOKEN, false},
	};
	struct metrics_access *a = access_with(TOKEN "\n", NULL, 0);
	struct metrics_access *open = access_with(NULL, NULL, 0);

	for (size_t i = 0; i < COUNT(rows); i++) {
		if (metrics_access_token(a, rows[i].given) != rows[i].in)
			fail_msg("%s", rows[i].given);
		assert_true(metrics_access_token(open, rows[i].given));
	}
	assert_false(metrics_access_alike(a, open));
	metrics_access_put(a);
	metrics_access_put(open);
}

static struct sockaddr_storage address(const char *text)
{
	struct sockaddr_storage out = {0};
	struct sockaddr_in *v4 = (struct sockaddr_in *)&out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out;

	out.ss_family = strchr(text, ':') ? AF_INET6 : AF_INET;
	assert_int_equal(inet_pton(out.ss_family, text,
				   strchr(text, ':') ? (void *)&v6->sin6_addr : &v4->sin_addr),
			 1);
	return out;
}

static void a_host_is_the_address_that_it_came_to_or_a_configured_name(void **state)
{
	static const struct {
		const char *host, *peer, *local;
		bool ours;
	} rows[] = {
		{NULL, "10.0.0.2", "10.0.0.1", true},
		{"10.0.0.1", "10.0.0.2", "10.0.0.1", true},
		{"10.0.0.1:9464", "10.0.0.2", "10.0.0.1", true},
		{"10.0.0.1:9464", "::ffff:10.0.0.2", "::ffff:10.0.0.1", true},
		{"[fd00::1]:9464", "fd00::2", "fd00::1", true},
		{"[FD00:0::1]", "fd00::2", "fd00::1", true},
		{"10.0.0.9", "10.0.0.2", "10.0.0.1", false},
		{"[fd00::9]:9464", "fd00::2", "fd00::1", false},
		{"fd00::1", "fd00::2", "fd00::1", false},
		{"127.0.0.1", "10.0.0.2", "10.0.0.1", false},
		{"localhost", "10.0.0.2", "10.0.0.1", false},
		{"evil.example", "10.0.0.2", "10.0.0.1", false},
		{"gpu7.example", "10.0.0.2", "10.0.0.1", true},
		{"GPU7.example:9464", "10.0.0.2", "10.0.0.1", true},
		{"gpu7.example.evil.example", "10.0.0.2", "10.0.0.1", false},
		{"gpu7", "10.0.0.2", "10.0.0.1", false},
		{"192.0.2.9:80", "10.0.0.2", "10.0.0.1", true},
		{"[2001:db8::9]", "10.0.0.2", "10.0.0.1", true},
		{"localhost", "127.0.0.1", "127.0.0.1", true},
		{"203.0.113.1", "127.0.0.1", "127.0.0.1", true},
		{"[::1]:1", "::1", "::1", true},
		{"gpu7.example", "127.0.0.1", "127.0.0.1", true},
		{"evil.example", "127.0.0.1", "127.0.0.1", false},
		{"[localhost]", "127.0.0.1", "127.0.0.1", false},
	};
	static char *const hosts[] = {"gpu7.example", "192.0.2.9", "2001:db8::9"};
	struct metrics_access *a = access_with(NULL, hosts, COUNT(hosts));
	char own[256] = "", *long_name;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct sockaddr_storage peer = address(rows[i].peer),
					local = address(rows[i].local);

		if (metrics_access_host(a, rows[i].host, (struct sockaddr *)&peer,
					(struct sockaddr *)&local) != rows[i].ours)
			fail_msg("%s from %s to %s", rows[i].host, rows[i].peer, rows[i].local);
	}
	gethostname(own, sizeof(own) - 1);
	for (int remote = 0; remote < 2; remote++) {
		struct sockaddr_storage peer = address(remote ? "10.0.0.2" : "127.0.0.1"),
					local = address(remote ? "10.0.0.1" : "127.0.0.1");

		assert_int_equal(metrics_access_host(a, own, (struct sockaddr *)&peer,
						     (struct sockaddr *)&local),
				 !remote);
		long_name = calloc(1, 70000);
		memset(long_name, 'a', 69999);
		assert_false(metrics_access_host(a, long_name, (struct sockaddr *)&peer,
						 (struct sockaddr *)&local));
		free(long_name);
	}
	metrics_access_put(a);
}

static void wrong_certificates_are_a_line_that_names_the_setting(void **state)
{
	struct metrics_access *a = NULL;
	char err[256] = "";

	assert_int_equal(metrics_access_new(&a,
					    &(struct metrics_credentials){.cert = "x", .key = "y"},
					    err, sizeof(err)),
			 -EINVAL);
	assert_null(a);
	assert_memory_equal(err, "metrics-tls-cert, metrics-tls-key: ", 35);
}

static void a_secret_that_others_can_read_is_refused(void **state)
{
	char dir[] = "/tmp/sluice-test-access-XXXXXX", path[64], err[256], *text;
	static const struct {
		const char *content;
		mode_t mode;
		bool secret;
		int ret;
		const char *why;
	} rows[] = {
		{"one\n", 0600, true, 0, ""},
		{"one\n", 0440, true, 0, ""},
		{"one\n", 0644, true, -EACCES, ": everybody can read it"},
		{"one\n", 0602, true, -EACCES, ": everybody can read it"},
		{"one\n", 0644, false, 0, ""},
		{"", 0600, true, -EINVAL, ": is too long, or empty"},
	};

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/secret", dir);
	assert_int_equal(secret_file_read(path, true, &text, err, sizeof(err)), -ENOENT);
	for (size_t i = 0; i < COUNT(rows); i++) {
		FILE *f = fopen(path, "w");

		assert_non_null(f);
		fputs(rows[i].content, f);
		fclose(f);
		assert_int_equal(chmod(path, rows[i].mode), 0);
		err[0] = 0;
		assert_int_equal(secret_file_read(path, rows[i].secret, &text, err, sizeof(err)),
				 rows[i].ret);
		if (rows[i].ret) {
			assert_memory_equal(err, path, strlen(path));
			assert_non_null(strstr(err, rows[i].why));
		} else {
			assert_string_equal(text, rows[i].content);
			secret_file_free(text);
		}
		unlink(path);
	}
	assert_int_equal(secret_file_read(dir, false, &text, err, sizeof(err)), -EINVAL);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_token_is_one_line_of_some_length),
		cmocka_unit_test(the_token_and_nothing_else_is_let_in),
		cmocka_unit_test(a_host_is_the_address_that_it_came_to_or_a_configured_name),
		cmocka_unit_test(wrong_certificates_are_a_line_that_names_the_setting),
		cmocka_unit_test(a_secret_that_others_can_read_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
