/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How the keys of a service become rules for the kernel. A row has the keys as in the file,
 * and one line of text: the rules in the order of their look-up, or the error. For default
 * rules, targets are then looked up as in the kernel.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/services.h"
#include "sluice/route.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define DEFAULTS                                                                                   \
	"model:/openai/deployments/ model:/predictions/ model:/v2/models/ model:/v1/models/ "      \
	"model:/models/"

/* "KEY=VALUE KEY=VALUE …" as rules, or as the error. */
static int read_keys(const char *keys, struct sluice_rules *out, char *err, size_t len)
{
	struct service_entry e = {0};
	char *copy = strdup(keys), *rest;
	int rc = 0;

	assert_non_null(copy);
	for (char *key = strtok_r(copy, " ", &rest); key && !rc; key = strtok_r(NULL, " ", &rest)) {
		char *value = strchr(key, '=');

		*value++ = 0;
		assert_non_null(field_find(service_fields, key));
		rc = field_take(field_find(service_fields, key), &e, value, err, len);
	}
	free(copy);
	return rc ? rc : rules_finish(&e.rules, out, err, len);
}

static const char *rule_text(const struct sluice_rules *r)
{
	static const char *const kinds[] = {"judge", "pass", "model"};
	static const char *const sources[] = {"", "path", "header", "body"};
	static char text[2048];
	size_t n = 0;

	n += (size_t)sprintf(text, "%#x", r->methods);
	for (size_t i = 0; i < COUNT(r->source) && r->source[i]; i++)
		n += (size_t)sprintf(text + n, "%c%s", i ? ',' : ' ', sources[r->source[i]]);
	if (r->header[0])
		n += (size_t)sprintf(text + n, " <%s>", r->header);
	for (unsigned i = 0; i < r->count; i++) {
		assert_int_equal(strnlen(r->rule[i].prefix, sizeof(r->rule[i].prefix)),
				 r->rule[i].len);
		n += (size_t)sprintf(text + n, " %s:%.48s", kinds[r->rule[i].kind],
				     r->rule[i].prefix);
	}
	return text;
}

/* Prefixes of equal length may come in any order; no row has any that glibc's sort would move. */
static void keys_become_rules_with_the_longest_prefix_first(void **state)
{
	static const struct {
		const char *keys, *rules;
	} rows[] = {
		{"", "0x2 path,body " DEFAULTS},
		{"judge-methods=post judge-methods=PUT", "0x22 path,body " DEFAULTS},
		{"judge-methods=GET",
		 "0x4 path,body model:/openai/deployments/ model:/predictions/ model:/v2/models/ "
		 "model:/v1/models/ pass:/v1/models model:/models/ pass:/metrics pass:/health"},
		{"model-header=X-Model", "0x2 path,header,body <x-model> " DEFAULTS},
		{"model-from=body", "0x2 body"},
		{"model-from=body model-from=path", "0x2 body,path " DEFAULTS},
		{"model-from=header model-header=X_M2", "0x2 header <x_m2>"},
		{"pass-paths=/tokenize",
		 "0x2 path,body model:/openai/deployments/ model:/predictions/ model:/v2/models/ "
		 "model:/v1/models/ pass:/tokenize model:/models/"},
		/* a default yields to a rule that covers it */
		{"pass-paths=/v2/",
		 "0x2 path,body model:/openai/deployments/ model:/predictions/ model:/v1/models/ "
		 "model:/models/ pass:/v2/"},
		{"pass-paths=/v2/ judge-paths=/v2/models",
		 "0x2 path,body model:/v2/models/ judge:/v2/models pass:/v2/ pass:/"},
		/* with paths to judge, all others pass */
		{"judge-paths=/v1/chat/", "0x2 path,body judge:/v1/chat/ pass:/"},
		{"judge-paths=/", "0x2 path,body " DEFAULTS " judge:/"},
		{"judge-paths=/v2/ judge-methods=GET",
		 "0x4 path,body model:/v2/models/ judge:/v2/ pass:/"},
		{"judge-paths=/v2/models/", "0x2 path,body model:/v2/models/ pass:/"},
		{"model-paths=/m/", "0x2 path,body model:/m/"},
		{"model-paths=/m/ judge-paths=/v1/ pass-paths=/v1/embeddings",
		 "0x2 path,body pass:/v1/embeddings judge:/v1/ model:/m/ pass:/"},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct sluice_rules r;
		char err[512] = "";

		assert_int_equal(read_keys(rows[i].keys, &r, err, sizeof(err)), 0);
		if (strcmp(rule_text(&r), rows[i].rules))
			print_error("%s\n", rows[i].keys);
		assert_string_equal(rule_text(&r), rows[i].rules);
	}
}

static void a_wrong_key_is_refused_in_one_sentence(void **state)
{
	static const struct {
		const char *keys, *said;
	} rows[] = {
		{"judge-methods=HEAD", "\"HEAD\" is not one of POST, PUT, GET, PATCH, DELETE"},
		{"judge-methods=PUT judge-methods=put", "\"put\" is given twice"},
		{"model-from=url", "\"url\" is not one of path, header, body"},
		{"model-from=body model-from=body", "\"body\" is given twice"},
		{"model-from=header", "model-from has header, so model-header must name it"},
		{"model-from=body model-header=X-M",
		 "model-header is given, but model-from does not have header"},
		{"model-from=body model-paths=/m/",
		 "model-paths is given, but model-from does not have path"},
		{"model-header=Content-Length",
		 "\"Content-Length\" says how requests are framed, not their model"},
		{"model-header=X:M",
		 "\"X:M\" is not a header's name: 1 to 31 letters, digits, - and _, like X-Model"},
		{"model-header=x1234567890123456789012345678901",
		 "\"x1234567890123456789012345678901\" is not a header's name: 1 to 31 letters, digits, - and _, like X-Model"},
		{"pass-paths=health",
		 "\"health\" is not the beginning of a path: / and up to 47 bytes more, none of them a space, ?, # or %"},
		{"pass-paths=/a?b",
		 "\"/a?b\" is not the beginning of a path: / and up to 47 bytes more, none of them a space, ?, # or %"},
		{"pass-paths=/123456789012345678901234567890123456789012345678",
		 "\"/123456789012345678901234567890123456789012345678\" is not the beginning of a path: / and up to 47 bytes more, none of them a space, ?, # or %"},
		{"pass-paths=/a judge-paths=/a", "\"/a\" is given twice"},
		{"pass-paths=/1 pass-paths=/2 pass-paths=/3 pass-paths=/4 pass-paths=/5 pass-paths=/6 "
		 "pass-paths=/7 pass-paths=/8 pass-paths=/9 pass-paths=/a pass-paths=/b pass-paths=/c",
		 "its paths are 17, those that sluice adds included; at most 16 are possible"},
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct sluice_rules r = {.count = 77};
		char err[512] = "";

		assert_int_not_equal(read_keys(rows[i].keys, &r, err, sizeof(err)), 0);
		assert_string_equal(err, rows[i].said);
		assert_int_equal(r.count, 77);
	}
}

static void the_defaults_name_models_where_servers_have_them(void **state)
{
	static const struct {
		const char *target;
		int rule; /* 1: the path names the model */
	} rows[] = {
		{"/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21", 1},
		{"/v2/models/resnet/infer", 1},
		{"/v1/models/half:predict", 1},
		{"/predictions/densenet", 1},
		{"/models/bert", 1},
		{"/v1/chat/completions", 0},
		{"/v1/models", 0},
		{"/v2/repository/models/x/load", 0},
	};
	char path[HTTP1_PATH_MAX], err[512];
	struct sluice_rules r;

	assert_int_equal(read_keys("", &r, err, sizeof(err)), 0);
	for (size_t i = 0; i < COUNT(rows); i++) {
		__u32 found;

		memset(path, 0, sizeof(path));
		memcpy(path, rows[i].target, strlen(rows[i].target));
		found = route_find(&r, path);
		assert_int_equal(found != ROUTE_NONE && r.rule[found].kind == SLUICE_RULE_MODEL,
				 rows[i].rule);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_become_rules_with_the_longest_prefix_first),
		cmocka_unit_test(a_wrong_key_is_refused_in_one_sentence),
		cmocka_unit_test(the_defaults_name_models_where_servers_have_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
