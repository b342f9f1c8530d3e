/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One load of a configuration: a file, an environment and a command line go in, a struct or one
 * line with the error comes out. Each test program has its own directory for its file.
 */
#ifndef SLUICE_TESTS_CONFIG_CASE_H
#define SLUICE_TESTS_CONFIG_CASE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/config.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))
#define ARGS_MAX    10
#define BASE        "--interface", "lo", "--listen", "8000"

static char dir[] = "/tmp/sluice-test-config-XXXXXX", path[64];
static char printed[16384]; /* the last run's error, or output */
static struct config config;

static inline int make_dir(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/sluice.yaml", dir);
	return 0;
}

static inline int remove_dir(void **state)
{
	unlink(path);
	return rmdir(dir);
}

static inline void write_file(const char *text, size_t len)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static inline int load_from(const char *const *args, const char *const *env)
{
	char *argv[ARGS_MAX + 2] = {"sluiced"};
	int argc = 1;

	for (; args && args[argc - 1]; argc++)
		argv[argc] = (char *)args[argc - 1];
	printed[0] = '\0';
	return config_load(&config, argc, argv, (char *const *)env, printed, sizeof(printed));
}

/* Loads a valid configuration. */
static inline void load(const char *yaml, const char *const *args, const char *const *env)
{
	const char *all[ARGS_MAX + 1] = {NULL};
	size_t n = 0;

	if (yaml) {
		write_file(yaml, strlen(yaml));
		all[n++] = "--config";
		all[n++] = path;
	}
	while (args && *args)
		all[n++] = *args++;
	if (load_from(all, env))
		fail_msg("%s", printed);
	assert_string_equal(printed, "");
}

/* Loads a wrong configuration, and compares the one line with `want`, where FILE is the path. */
static inline void refuse(const char *what, const char *yaml, size_t yaml_len,
			  const char *const *args, const char *const *env, const char *want)
{
	const char *all[ARGS_MAX + 1] = {NULL}, *file = strstr(want, "FILE");
	char line[1024];
	struct config before;
	size_t n = 0;
	int rc;

	if (yaml) {
		write_file(yaml, yaml_len);
		all[n++] = "--config";
		all[n++] = path;
	}
	while (args && *args)
		all[n++] = *args++;
	if (file)
		snprintf(line, sizeof(line), "%.*s%s%s", (int)(file - want), want, path, file + 4);
	else
		snprintf(line, sizeof(line), "%s", want);
	memset(&config, 0xa5, sizeof(config));
	before = config;
	rc = load_from(all, env);
	if (rc != -EINVAL || strcmp(printed, line))
		fail_msg("%s: %d, \"%s\" where \"%s\" is expected", what, rc, printed, line);
	assert_memory_equal(&before, &config, sizeof(config));
}

#endif
