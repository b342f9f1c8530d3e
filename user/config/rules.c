/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See rules.h. The operator's rules override our defaults, whatever their lengths. */
#include "rules.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/parse.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/*
 * Paths in which servers put the model's name: Azure OpenAI and its imitators, KServe v2 and
 * Triton, TensorFlow Serving, TorchServe, and paths named for it.
 */
static const char *const model_paths[] = {
	"/openai/deployments/", "/v2/models/", "/v1/models/", "/predictions/", "/models/",
};

/* Paths that probes and clients GET without inference, for services that judge GET. */
static const char *const get_paths[] = {"/health", "/metrics", "/v1/models"};

static const struct {
	const char *name;
	enum http1_method method;
} methods[] = {
	{"POST", HTTP1_METHOD_POST},   {"PUT", HTTP1_METHOD_PUT},       {"GET", HTTP1_METHOD_GET},
	{"PATCH", HTTP1_METHOD_PATCH}, {"DELETE", HTTP1_METHOD_DELETE},
};

static const char *const sources[] = {
	[SLUICE_SOURCE_PATH] = "path",
	[SLUICE_SOURCE_HEADER] = "header",
	[SLUICE_SOURCE_BODY] = "body",
};

/* Headers that frame requests; the kernel reads them for that. */
static const char *const framing_headers[] = {
	"content-length", "transfer-encoding", "content-encoding",
	"connection",     "upgrade",           "expect",
};

static int twice(char *err, size_t len, const char *text)
{
	parse_say(err, len, "\"" PARSE_QUOTE "\" is given twice", PARSE_QUOTED(text));
	return -EINVAL;
}

static struct sluice_rule make_rule(enum sluice_rule_kind kind, const char *prefix)
{
	struct sluice_rule rule = {.kind = (__u8)kind, .len = (__u8)strlen(prefix)};

	memcpy(rule.prefix, prefix, rule.len);
	return rule;
}

static bool is_path(const char *text)
{
	size_t n = strlen(text);

	if (text[0] != '/' || n > SLUICE_RULE_PREFIX_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isgraph((unsigned char)text[i]) || strchr("?#%", text[i]))
			return false;
	return true;
}

int rules_take_path(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	enum sluice_rule_kind kind = (enum sluice_rule_kind)field->argument;
	struct rules_entry *e = to;
	struct sluice_rule rule;

	if (!is_path(text))
		return field_wrong(
			err, len, text,
			"the beginning of a path: / and up to 47 bytes more, none of them a space, ?, # or %");
	rule = make_rule(kind, text);
	for (unsigned i = 0; i < e->path_count; i++)
		if (!memcmp(e->path[i].prefix, rule.prefix, sizeof(rule.prefix)))
			return twice(err, len, text);
	if (e->path_count == SLUICE_RULES_MAX) {
		parse_say(err, len, "more than %u paths", SLUICE_RULES_MAX);
		return -EINVAL;
	}
	e->path[e->path_count++] = rule;
	e->judge_paths |= kind == SLUICE_RULE_JUDGE;
	e->model_paths |= kind == SLUICE_RULE_MODEL;
	return 0;
}

int rules_take_method(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	struct rules_entry *e = to;

	for (size_t i = 0; i < COUNT(methods); i++) {
		if (strcasecmp(text, methods[i].name) != 0)
			continue;
		if (e->methods & 1 << methods[i].method)
			return twice(err, len, text);
		e->methods |= (uint8_t)(1 << methods[i].method);
		return 0;
	}
	return field_wrong(err, len, text, "one of POST, PUT, GET, PATCH, DELETE");
}

int rules_take_source(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	struct rules_entry *e = to;

	for (size_t i = SLUICE_SOURCE_PATH; i < COUNT(sources); i++) {
		if (strcmp(text, sources[i]) != 0)
			continue;
		if (memchr(e->source, (int)i, e->source_count))
			return twice(err, len, text);
		e->source[e->source_count++] = (uint8_t)i;
		return 0;
	}
	return field_wrong(err, len, text, "one of path, header, body");
}

int rules_take_header(void *to, const struct field *field, const char *text, char *err, size_t len)
{
	struct rules_entry *e = to;

	size_t n = strlen(text);

	for (size_t i = 0; i < COUNT(framing_headers); i++)
		if (!strcasecmp(text, framing_headers[i])) {
			parse_say(err, len, "\"%s\" says how requests are framed, not their model",
				  text);
			return -EINVAL;
		}
	for (size_t i = 0; i < n; i++)
		if (!isascii((unsigned char)text[i]) ||
		    (!isalnum((unsigned char)text[i]) && !strchr("-_", text[i])))
			n = 0;
	if (!n || n >= sizeof(e->header))
		return field_wrong(
			err, len, text,
			"a header's name: 1 to 31 letters, digits, - and _, like X-Model");
	memset(e->header, 0, sizeof(e->header));
	for (size_t i = 0; i < n; i++)
		e->header[i] = (char)tolower((unsigned char)text[i]);
	return 0;
}

/* The operator's rule with the longest prefix of this path; NULL: none. */
static const struct sluice_rule *covering(const struct rules_entry *e, const char *path)
{
	const struct sluice_rule *longest = NULL;

	for (unsigned i = 0; i < e->path_count; i++) {
		const struct sluice_rule *rule = &e->path[i];

		if (!strncmp(path, rule->prefix, rule->len) &&
		    (!longest || rule->len > longest->len))
			longest = rule;
	}
	return longest;
}

static int by_length(const void *a, const void *b)
{
	const struct sluice_rule *x = a, *y = b;

	return (int)y->len - (int)x->len;
}

static int finish_sources(const struct rules_entry *e, struct sluice_rules *r, char *err,
			  size_t len)
{
	size_t n = 0;

	if (e->source_count) {
		memcpy(r->source, e->source, sizeof(r->source));
	} else {
		r->source[n++] = SLUICE_SOURCE_PATH;
		if (e->header[0])
			r->source[n++] = SLUICE_SOURCE_HEADER;
		r->source[n] = SLUICE_SOURCE_BODY;
	}
	if (!memchr(r->source, SLUICE_SOURCE_HEADER, sizeof(r->source)) != !e->header[0]) {
		parse_say(err, len, "%s",
			  e->header[0]
				  ? "model-header is given, but model-from does not have header"
				  : "model-from has header, so model-header must name it");
		return -EINVAL;
	}
	if (e->model_paths && !memchr(r->source, SLUICE_SOURCE_PATH, sizeof(r->source))) {
		parse_say(err, len, "model-paths is given, but model-from does not have path");
		return -EINVAL;
	}
	return 0;
}

int rules_finish(const struct rules_entry *e, struct sluice_rules *out, char *err, size_t len)
{
	struct sluice_rule rule[SLUICE_RULES_MAX + COUNT(model_paths) + COUNT(get_paths) + 1];
	struct sluice_rules r = {0};
	unsigned n = e->path_count;

	if (finish_sources(e, &r, err, len) < 0)
		return -EINVAL;
	r.methods = e->methods ? e->methods : 1 << HTTP1_METHOD_POST;
	memcpy(r.header, e->header, sizeof(r.header));
	memcpy(rule, e->path, n * sizeof(*rule));
	for (size_t i = 0; i < COUNT(model_paths); i++) {
		const struct sluice_rule *cover = covering(e, model_paths[i]);

		if (e->model_paths || !memchr(r.source, SLUICE_SOURCE_PATH, sizeof(r.source)) ||
		    (cover ? cover->kind == SLUICE_RULE_PASS : e->judge_paths))
			continue;
		/* A judge-path that equals our own prefix takes the model's name from the path. */
		if (cover && cover->len == strlen(model_paths[i]))
			rule[cover - e->path].kind = SLUICE_RULE_MODEL;
		else
			rule[n++] = make_rule(SLUICE_RULE_MODEL, model_paths[i]);
	}
	for (size_t i = 0; i < COUNT(get_paths); i++)
		if (r.methods & 1 << HTTP1_METHOD_GET && !e->judge_paths &&
		    !covering(e, get_paths[i]))
			rule[n++] = make_rule(SLUICE_RULE_PASS, get_paths[i]);
	/* If judge-paths are given, all other paths pass. */
	if (e->judge_paths && !covering(e, "/"))
		rule[n++] = make_rule(SLUICE_RULE_PASS, "/");
	if (n > SLUICE_RULES_MAX) {
		parse_say(
			err, len,
			"its paths are %u, those that sluice adds included; at most %u are possible",
			n, SLUICE_RULES_MAX);
		return -EINVAL;
	}
	/* All are different, so the order of equal lengths does not matter. */
	if (n)
		qsort(rule, n, sizeof(*rule), by_length);
	memcpy(r.rule, rule, n * sizeof(*rule));
	r.count = n;
	*out = r;
	return 0;
}
