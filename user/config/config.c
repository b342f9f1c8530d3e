/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One table of options drives everything: the command line, the environment, the file's schema, the
 * defaults and --help. A default is a text like any other, so that all of them go through the same
 * parser. Sources are applied from the weakest to the strongest; a list starts anew when a stronger
 * source first adds to it. What services take from each other's defaults is settled when all
 * sources are in.
 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/controller.h"
#include "core/help.h"
#include "core/parse.h"
#include "core/text.h"
#include "file.h"
#include "identity.h"
#include "priority.h"
#include "rules.h"

#ifndef SLUICE_VERSION
#define SLUICE_VERSION "unknown"
#endif

#define COUNT(a)         (sizeof(a) / sizeof((a)[0]))
#define MODELS_MAX       (SLUICE_MODELS_MAX - SLUICE_MODEL_FIRST)
#define PRIORITIES_MAX   4096 /* of the map */
#define CONTROL_PATH_MAX 107  /* bytes of a Unix socket's path */

enum source { SOURCE_DEFAULT, SOURCE_FILE, SOURCE_ENVIRONMENT, SOURCE_COMMAND_LINE };

/*
 * A service or model as far as it is known; where it stands, for what turns out wrong about it only
 * at the end.
 */
struct service_entry {
	struct service service;
	bool has_listen, has_model, has_protocol, has_action, has_mode, has_http;
	bool has_quota, has_feedback; /* was said, be it none or off */
	struct rules_entry rules;
	struct identity_entry identity;
	struct priority_entry priority;
	char *label, *text;
};

struct model_entry {
	struct config_model model;
	char *label;
};

struct quota_entry {
	struct config_quota quota;
	bool has_client, has_numbers;
	char *label;
};

struct class_entry {
	struct config_priority priority;
	bool has_client, has_class;
	char *label;
};

struct prefix_entry {
	struct config_prefix prefix;
	bool has_prefix, has_weight;
	char *label;
};

struct option;

struct loader {
	struct config config;
	struct service_entry *services;
	unsigned service_count;
	struct model_entry *models;
	unsigned model_count;
	struct quota_entry *quotas;
	unsigned quota_count;
	struct class_entry *priorities;
	unsigned priority_count;
	struct prefix_entry *prefixes;
	unsigned prefix_count;
	enum source source; /* being applied */
	const char *path;   /* of the file */
	char *err;          /* where the line goes that says what is wrong */
	size_t err_len;
	bool given[32];              /* by option: anywhere but in the defaults */
	enum source list_source[32]; /* by option: where its list is from */
};

/* How a value that parse_value() read lies in struct config. */
enum store { STORE_TEXT, STORE_DOUBLE, STORE_THRESHOLD, STORE_U32, STORE_ENUM, STORE_BOOL };

struct option {
	const char *name, *argument, *fallback, *help;
	const struct parse_value *as; /* NULL: `take` reads it */
	int (*take)(struct loader *l, const char *label, const char *text);
	void (*clear)(struct loader *l); /* a list: forgets what weaker sources said */
	enum store store;
	bool is_word; /* takes no value: --help */
	bool not_in_file;
	size_t at; /* in struct config */
};

static const struct parse_value as_xdp = {
	.kind = PARSE_WORD,
	.words =
		(const struct parse_word[]){
			{"auto", CONFIG_XDP_AUTO, NULL},
			{"native", CONFIG_XDP_NATIVE, NULL},
			{"generic", CONFIG_XDP_GENERIC, NULL},
			{"off", CONFIG_XDP_OFF, NULL},
			{NULL, 0, NULL},
		},
};

static const struct parse_value as_bool = {
	.kind = PARSE_WORD,
	.words =
		(const struct parse_word[]){
			{"true", 1, NULL},
			{"false", 0, NULL},
			{NULL, 0, NULL},
		},
};

_Static_assert(sizeof(enum controller_policy) == sizeof(int) &&
		       sizeof(enum config_xdp) == sizeof(int) &&
		       sizeof(enum sluice_mode) == sizeof(int),
	       "STORE_ENUM");

/* One line: where it stands, and what is the matter. Returns -EINVAL. */
__attribute__((format(printf, 3, 4))) static int complain(struct loader *l, const char *label,
							  const char *fmt, ...)
{
	char what[768];
	va_list args;

	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	parse_say(l->err, l->err_len, "%s: %s", label, what);
	return -EINVAL;
}

static int complain_value(struct loader *l, const char *label, const char *text,
			  const char *allowed)
{
	return complain(l, label, "\"" PARSE_QUOTE "\" is not %s", PARSE_QUOTED(text), allowed);
}

/* Replaces *to by a copy of text. */
static int copy_text(struct loader *l, const char *label, char **to, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return complain(l, label, "out of memory");
	free(*to);
	*to = copy;
	return 0;
}

/* A list of `count` entries with room for one more, zeroed; NULL where there is no memory. */
static void *grow(void *list, unsigned count, size_t size)
{
	char *more = realloc(list, (count + 1) * size);

	if (more)
		memset(more + count * size, 0, size);
	return more;
}

/* ADDR:PORT, [ADDR]:PORT, or PORT alone, in which case *addr is "". */
static int split_address(const char *text, char *addr, size_t addr_len, uint16_t *port)
{
	const char *colon = strrchr(text, ':'), *digits = colon ? colon + 1 : text;
	size_t n = colon ? (size_t)(colon - text) : 0;
	unsigned long value = 0;

	if (!*digits || strlen(digits) > 5 || strspn(digits, "0123456789") != strlen(digits))
		return -EINVAL;
	value = strtoul(digits, NULL, 10);
	if (value < 1 || value > 65535 || (colon && !n))
		return -EINVAL;
	if (n && text[0] == '[') {
		if (n < 3 || text[n - 1] != ']')
			return -EINVAL;
		text++;
		n -= 2;
		if (!memchr(text, ':', n))
			return -EINVAL;
	} else if (n && memchr(text, ':', n)) {
		return -EINVAL;
	}
	if (n >= addr_len)
		return -EINVAL;
	memcpy(addr, text, n);
	addr[n] = '\0';
	*port = (uint16_t)value;
	return 0;
}

/* An IPv4 or IPv6 address in numbers as 16 bytes, IPv4 mapped. */
static int parse_address(const char *text, uint8_t out[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (strchr(text, ':'))
		return inet_pton(AF_INET6, text, out) == 1 ? 0 : -EINVAL;
	if (inet_pton(AF_INET, text, out + 12) != 1)
		return -EINVAL;
	memcpy(out, mapped, sizeof(mapped));
	return 0;
}

static bool is_any(const uint8_t addr[16])
{
	static const uint8_t any6[16], any4[16] = {[10] = 0xff, [11] = 0xff};

	return !memcmp(addr, any6, 16) || !memcmp(addr, any4, 16);
}

static int take_model_name(struct loader *l, const char *label, const char *text,
			   char out[SLUICE_NAME_MAX])
{
	if (!strcmp(text, "global") || !strcmp(text, "other"))
		return complain(l, label, "\"%s\" is a name of sluice's own, not of a model", text);
	if (!strncmp(text, CONTROLLER_POOL, strlen(CONTROLLER_POOL)))
		return complain(l, label, "\"" PARSE_QUOTE "\" is a pool's name, not a model's",
				PARSE_QUOTED(text));
	if (!parse_is_model_name(text, strlen(text)))
		return complain_value(
			l, label, text,
			"a model's name: 1 to 95 bytes of text without control characters");
	memset(out, 0, SLUICE_NAME_MAX);
	strcpy(out, text);
	return 0;
}

static int take_pool(struct loader *l, const char *label, const char *text,
		     char out[SLUICE_NAME_MAX])
{
	if (!parse_is_model_name(text, strlen(text)) ||
	    strlen(text) + strlen(CONTROLLER_POOL) >= SLUICE_NAME_MAX)
		return complain_value(
			l, label, text,
			"a pool's name: 1 to 90 bytes of text without control characters");
	memset(out, 0, SLUICE_NAME_MAX);
	strcpy(out, text);
	return 0;
}

/* [ADDR:]PORT[=MODEL] into an entry. */
static int take_listen(struct loader *l, const char *label, const char *text,
		       struct service_entry *e)
{
	const char *equals = strchr(text, '=');
	char where[64], addr[INET6_ADDRSTRLEN + 1];
	size_t n = equals ? (size_t)(equals - text) : strlen(text);

	if (n < sizeof(where)) {
		memcpy(where, text, n);
		where[n] = '\0';
	}
	if (n >= sizeof(where) || split_address(where, addr, sizeof(addr), &e->service.port) < 0 ||
	    (*addr && strcmp(addr, "*") && parse_address(addr, e->service.addr) < 0))
		return complain_value(
			l, label, text,
			"[ADDR:]PORT[=MODEL], like 8000, 10.0.0.1:8000=llama or [::1]:8000");
	if (!*addr || !strcmp(addr, "*") || is_any(e->service.addr)) {
		e->service.wildcard = true;
		memset(e->service.addr, 0, sizeof(e->service.addr));
	}
	e->has_listen = true;
	if (!equals)
		return 0;
	if (e->has_model)
		return complain(l, label, "\"" PARSE_QUOTE "\" names a model, and so does model",
				PARSE_QUOTED(text));
	e->has_model = true;
	return take_model_name(l, label, equals + 1, e->service.model);
}

static struct service_entry *add_service(struct loader *l, const char *label)
{
	struct service_entry *more;

	if (l->service_count == SLUICE_SERVICES_MAX) {
		complain(l, label, "more than %u services", SLUICE_SERVICES_MAX);
		return NULL;
	}
	more = grow(l->services, l->service_count, sizeof(*more));
	if (!more) {
		complain(l, label, "out of memory");
		return NULL;
	}
	l->services = more;
	more += l->service_count++;
	return copy_text(l, label, &more->label, label) < 0 ? NULL : more;
}

static int take_service(struct loader *l, const char *label, const char *text)
{
	struct service_entry *e = add_service(l, label);

	if (!e || copy_text(l, label, &e->text, text) < 0)
		return -EINVAL;
	return take_listen(l, label, text, e);
}

static void clear_services(struct loader *l)
{
	for (unsigned i = 0; i < l->service_count; i++) {
		free(l->services[i].label);
		free(l->services[i].text);
	}
	free(l->services);
	l->services = NULL;
	l->service_count = 0;
}

static int take_interface(struct loader *l, const char *label, const char *text)
{
	struct config *c = &l->config;
	size_t n = strlen(text);
	char **more;

	/*
	 * What the kernel takes for one (dev_valid_name), so that a typing error is found before
	 * anything is attached.
	 */
	if (!n || n > 15 || strpbrk(text, "/: \t\r\n") || !strcmp(text, ".") || !strcmp(text, ".."))
		return complain_value(l, label, text,
				      "an interface's name (1 to 15 bytes, like eth0)");
	for (unsigned i = 0; i < c->interface_count; i++)
		if (!strcmp(c->interfaces[i], text))
			return complain(l, label, "\"%s\" is given twice", text);
	if (c->interface_count == CONFIG_INTERFACES_MAX)
		return complain(l, label, "more than %u interfaces", CONFIG_INTERFACES_MAX);
	more = grow(c->interfaces, c->interface_count, sizeof(*more));
	if (!more)
		return complain(l, label, "out of memory");
	c->interfaces = more;
	if (copy_text(l, label, &more[c->interface_count], text) < 0)
		return -EINVAL;
	c->interface_count++;
	return 0;
}

static void clear_interfaces(struct loader *l)
{
	for (unsigned i = 0; i < l->config.interface_count; i++)
		free(l->config.interfaces[i]);
	free(l->config.interfaces);
	l->config.interfaces = NULL;
	l->config.interface_count = 0;
}

static int take_file(struct loader *l, const char *label, const char *text)
{
	if (!*text)
		return complain_value(l, label, text, "a path");
	return copy_text(l, label, &l->config.file, text);
}

static int take_pin_dir(struct loader *l, const char *label, const char *text)
{
	if (text[0] != '/' || strlen(text) > 255)
		return complain_value(l, label, text, "an absolute path of at most 255 bytes");
	return copy_text(l, label, &l->config.pin_dir, text);
}

static int take_control(struct loader *l, const char *label, const char *text)
{
	if (!*text || strlen(text) > CONTROL_PATH_MAX)
		return complain_value(l, label, text, "a path of at most 107 bytes");
	return copy_text(l, label, &l->config.control, text);
}

static int take_metrics(struct loader *l, const char *label, const char *text)
{
	char addr[INET6_ADDRSTRLEN + 1];
	uint8_t bytes[16];
	uint16_t port;

	if (!strcmp(text, "off")) {
		free(l->config.metrics_addr);
		l->config.metrics_addr = NULL;
		l->config.metrics_port = 0;
		return 0;
	}
	if (split_address(text, addr, sizeof(addr), &port) < 0 || parse_address(addr, bytes) < 0)
		return complain_value(l, label, text,
				      "ADDR:PORT, like 127.0.0.1:9464 or [::1]:9464, nor off");
	l->config.metrics_port = port;
	return copy_text(l, label, &l->config.metrics_addr, addr);
}

static const struct parse_value as_feedback = {
	.kind = PARSE_WORD,
	.words =
		(const struct parse_word[]){
			{"off", 0, NULL},
			{"date", 1, NULL},
			{NULL, 0, NULL},
		},
};

/* "none" for a service is no quota, so that one may say it against the quota of all. */
static int read_quota(struct loader *l, const char *label, const char *text, bool *has,
		      struct quota_def *out)
{
	char why[512];

	if (!strcmp(text, "none")) {
		*has = false;
		return 0;
	}
	if (quota_parse(out, text, why, sizeof(why)) < 0)
		return complain(l, label, "%s", why);
	*has = true;
	return 0;
}

static int take_ttft(struct loader *l, const char *label, const char *text)
{
	double value, per_kib;
	char why[512];

	if (parse_target(text, &value, &per_kib, why, sizeof(why)) < 0)
		return complain(l, label, "%s", why);
	/* "none" reads as 0; struct config says it as a negative number */
	l->config.ttft_threshold_ms = value > 0 ? value : -1;
	l->config.ttft_ms_per_kib = per_kib;
	return 0;
}

static int take_quota(struct loader *l, const char *label, const char *text)
{
	return read_quota(l, label, text, &l->config.has_quota, &l->config.quota);
}

#define AT(member) .at = offsetof(struct config, member)

static const struct option options[] = {
	{"config", "FILE", NULL, "read this YAML file", .take = take_file, .not_in_file = true},
	{"interface", "IF", NULL, "attach to this interface (repeatable)", .take = take_interface,
	 .clear = clear_interfaces},
	{"listen", "[ADDR:]PORT[=MODEL]", NULL, "protect this service (repeatable)",
	 .take = take_service, .clear = clear_services},
	{"protocol", "http|opaque", "http", "protocol of the services", .as = &parse_as_protocol,
	 .store = STORE_ENUM, AT(protocol)},
	{"ttft-threshold-ms", "N[ + N/KiB]", NULL, "target for time to first token, or none",
	 .take = take_ttft},
	{"itl-threshold-ms", "N", NULL, "target for inter-token latency, or none",
	 .as = &parse_as_threshold, .store = STORE_THRESHOLD, AT(itl_threshold_ms)},
	{"time-constant-secs", "N", "15", "how fast averages forget", .as = &parse_as_time_constant,
	 .store = STORE_DOUBLE, AT(time_constant_secs)},
	{"per-model-limits", "true|false", "true", "targets and limits for each model by itself",
	 .as = &as_bool, .store = STORE_BOOL, AT(per_model_limits)},
	{"policy", "adaptive|ema-flag", "adaptive",
	 "admission policy; named without targets, it has 1000 ms TTFT and 30 ms ITL",
	 .as = &parse_as_policy, .store = STORE_ENUM, AT(policy)},
	{"floor", "N", "2", "adaptive: fewer in flight than N are always admitted",
	 .as = &parse_as_floor, .store = STORE_U32, AT(floor)},
	{"action", "reply|reset|drop", "reply", "how services reject", .as = &parse_as_action,
	 .store = STORE_ENUM, AT(action)},
	{"mode", "enforce|shadow", "enforce", "shadow: judge and count, admit everything",
	 .as = &parse_as_mode, .store = STORE_ENUM, AT(mode)},
	{"quota", "QUOTA", "none", "quota of each client, such as requests=100/60s",
	 .take = take_quota},
	{"feedback", "date|off", "off",
	 "date: state what is left of a quota in place of the Date header", .as = &as_feedback,
	 .store = STORE_BOOL, AT(feedback)},
	{"lease-ms", "N", "3000", "how long the kernel refuses without the daemon",
	 .as = &parse_as_lease, .store = STORE_U32, AT(lease_ms)},
	{"pin-dir", "DIR", "/sys/fs/bpf/sluice", "where maps and attachments are pinned",
	 .take = take_pin_dir},
	{"control", "PATH", "/run/sluice/control.sock", "socket for sluicectl",
	 .take = take_control},
	{"metrics", "ADDR:PORT|off", "127.0.0.1:9464", "address of the HTTP server for /metrics",
	 .take = take_metrics},
	{"xdp", "auto|native|generic|off", "auto", "how the XDP program is attached", .as = &as_xdp,
	 .store = STORE_ENUM, AT(xdp)},
	{"help", NULL, NULL, "print this and exit", .is_word = true, .not_in_file = true},
	{"version", NULL, NULL, "print the version and exit", .is_word = true, .not_in_file = true},
};

#define OPTIONS COUNT(options)

_Static_assert(OPTIONS <= COUNT(((struct loader *)0)->given), "given");

static size_t find_option(const char *name)
{
	size_t i = 0;

	while (i < OPTIONS && strcmp(options[i].name, name))
		i++;
	return i;
}

static void store(struct config *config, const struct option *option, double value)
{
	char *at = (char *)config + option->at;
	int word = (int)value;

	switch (option->store) {
	case STORE_TEXT:
		break;
	case STORE_THRESHOLD: /* "none" reads as 0; struct config says it as a negative number */
		value = value > 0 ? value : -1;
		memcpy(at, &value, sizeof(value));
		break;
	case STORE_DOUBLE:
		memcpy(at, &value, sizeof(value));
		break;
	case STORE_U32:
		memcpy(at, &(uint32_t){(uint32_t)value}, sizeof(uint32_t));
		break;
	case STORE_ENUM:
		memcpy(at, &word, sizeof(word));
		break;
	case STORE_BOOL:
		*(bool *)at = value != 0;
		break;
	}
}

/* parse_value() with its reason printed. */
static int read_value(struct loader *l, const char *label, const struct parse_value *as,
		      const char *text, double *value)
{
	char why[512];

	if (parse_value(as, text, value, why, sizeof(why)) < 0)
		return complain(l, label, "%s", why);
	return 0;
}

/* A list that the source being applied has not said anything to yet starts anew. */
static void begin_list(struct loader *l, size_t i)
{
	if (l->list_source[i] == l->source)
		return;
	options[i].clear(l);
	l->list_source[i] = l->source;
}

/* One value of one option from the source being applied. */
static int apply(struct loader *l, size_t i, const char *label, const char *text)
{
	const struct option *option = &options[i];
	double value;

	if (l->source != SOURCE_DEFAULT)
		l->given[i] = true;
	if (option->clear)
		begin_list(l, i);
	if (option->take)
		return option->take(l, label, text);
	if (read_value(l, label, option->as, text, &value) < 0)
		return -EINVAL;
	store(&l->config, option, value);
	return 0;
}

static const struct config_file_field service_fields[] = {
	{"listen", false},
	{"model", false},
	{"protocol", false},
	{"action", false},
	{"mode", false},
	{"unary", false},
	{"judge-methods", true},
	{"judge-paths", true},
	{"pass-paths", true},
	{"model-paths", true},
	{"model-from", true},
	{"model-header", false},
	{"on-framing-error", false},
	{"quota", false},
	{"feedback", false},
	{"identity", true},
	{"trusted-proxies", true},
	{"proxy-protocol", false},
	{"client-prefix-v4", false},
	{"client-prefix-v6", false},
	{"priority-header", false},
	{"priority-values", false},
	{NULL, false},
};
static const struct config_file_field model_fields[] = {
	{"name", false},
	{"ttft-threshold-ms", false},
	{"itl-threshold-ms", false},
	{"max-in-flight", false},
	{"unary", false},
	{"quota", false},
	{"floor", false},
	{"pool", false},
	{NULL, false},
};

static const struct config_file_field quota_fields[] = {
	{"client", false}, {"model", false},       {"requests", false}, {"tokens", false},
	{"burst", false},  {"token-burst", false}, {NULL, false},
};

static const struct config_file_field priority_fields[] = {
	{"client", false},
	{"class", false},
	{NULL, false},
};

static const struct config_file_field prefix_fields[] = {
	{"prefix", false},
	{"weight", false},
	{NULL, false},
};

/* What the file has beyond the options. */
static const struct config_file_key lists[] = {
	{"services", false, service_fields, "priority-values"},
	{"models", false, model_fields, NULL},
	{"quotas", false, quota_fields, NULL},
	{"priorities", false, priority_fields, NULL},
	{"client-prefixes", false, prefix_fields, NULL},
};

static const struct parse_value as_framing_error = {
	.kind = PARSE_WORD,
	.words =
		(const struct parse_word[]){
			{"pass", 0, NULL},
			{"reset", 1, NULL},
			{NULL, 0, NULL},
		},
};

static int service_field(struct loader *l, const char *label, const char *field, const char *text)
{
	struct service_entry *e = &l->services[l->service_count - 1];
	struct service *s = &e->service;
	double value;

	if (!strcmp(field, "listen"))
		return copy_text(l, label, &e->text, text) < 0 ? -EINVAL
							       : take_listen(l, label, text, e);
	if (!strcmp(field, "model")) {
		if (e->has_model)
			return complain(l, label, "listen names a model already");
		e->has_model = true;
		return take_model_name(l, label, text, s->model);
	}
	if (!strcmp(field, "protocol")) {
		if (read_value(l, label, &parse_as_protocol, text, &value) < 0)
			return -EINVAL;
		s->protocol = (enum sluice_protocol)value;
		e->has_protocol = true;
	} else if (!strcmp(field, "action")) {
		if (read_value(l, label, &parse_as_action, text, &value) < 0)
			return -EINVAL;
		s->action = (enum sluice_action)value;
		e->has_action = true;
	} else if (!strcmp(field, "mode")) {
		if (read_value(l, label, &parse_as_mode, text, &value) < 0)
			return -EINVAL;
		s->mode = (enum sluice_mode)value;
		e->has_mode = true;
	} else if (!strcmp(field, "quota")) {
		if (read_quota(l, label, text, &s->has_quota, &s->quota) < 0)
			return -EINVAL;
		e->has_quota = true;
	} else if (!strcmp(field, "feedback")) {
		if (read_value(l, label, &as_feedback, text, &value) < 0)
			return -EINVAL;
		s->feedback = value != 0;
		e->has_feedback = true;
	} else if (!strcmp(field, "on-framing-error")) {
		if (read_value(l, label, &as_framing_error, text, &value) < 0)
			return -EINVAL;
		s->framing_error_reset = value != 0;
		e->has_http = true;
	} else if (identity_is_field(field)) {
		char why[512];

		if (identity_take(&e->identity, field, text, why, sizeof(why)) < 0)
			return complain(l, label, "%s", why);
	} else if (priority_is_field(field)) {
		char why[512];

		e->has_http = true;
		if (priority_take(&e->priority, field, text, why, sizeof(why)) < 0)
			return complain(l, label, "%s", why);
	} else if (rules_is_field(field)) {
		char why[512];

		e->has_http = true;
		if (rules_take(&e->rules, field, text, why, sizeof(why)) < 0)
			return complain(l, label, "%s", why);
	} else {
		if (read_value(l, label, &as_bool, text, &value) < 0)
			return -EINVAL;
		s->unary = value != 0;
	}
	return 0;
}

static int add_model(struct loader *l, const char *label)
{
	struct model_entry *more;

	if (l->model_count == MODELS_MAX)
		return complain(l, label, "more than %u models", MODELS_MAX);
	more = grow(l->models, l->model_count, sizeof(*more));
	if (!more)
		return complain(l, label, "out of memory");
	l->models = more;
	more += l->model_count++;
	more->model.ttft_threshold_ms = -1;
	more->model.itl_threshold_ms = -1;
	return copy_text(l, label, &more->label, label);
}

static int model_field(struct loader *l, const char *label, const char *field, const char *text)
{
	struct config_model *m = &l->models[l->model_count - 1].model;
	bool unary = !strcmp(field, "unary"), limit = !strcmp(field, "max-in-flight");
	bool least = !strcmp(field, "floor");
	double value;

	if (!strcmp(field, "name"))
		return take_model_name(l, label, text, m->name);
	if (!strcmp(field, "pool"))
		return take_pool(l, label, text, m->pool);
	if (!strcmp(field, "ttft-threshold-ms")) {
		char why[512];

		if (parse_target(text, &m->ttft_threshold_ms, &m->ttft_ms_per_kib, why,
				 sizeof(why)) < 0)
			return complain(l, label, "%s", why);
		return 0;
	}
	if (!strcmp(field, "quota")) {
		char why[512];

		/* Here "none" is a quota: it goes over the service's. */
		if (quota_parse(&m->quota, text, why, sizeof(why)) < 0)
			return complain(l, label, "%s", why);
		m->has_quota = true;
		return 0;
	}
	if (read_value(l, label,
		       unary   ? &as_bool
		       : limit ? &parse_as_max_in_flight
		       : least ? &parse_as_floor
			       : &parse_as_threshold,
		       text, &value) < 0)
		return -EINVAL;
	if (unary)
		m->unary = value != 0;
	else if (limit)
		m->max_in_flight = (uint32_t)value;
	else if (least)
		m->floor = (uint32_t)value;
	else
		m->itl_threshold_ms = value;
	return 0;
}

/* A client as the file names it: whatever `sluicectl` takes, but no secret. */
static int take_client(struct loader *l, const char *label, const char *text,
		       struct text_subject *out)
{
	if (!strncmp(text, "key=", 4)) /* and its secret is not repeated */
		return complain(
			l, label,
			"a secret does not belong into this file: name the key as key:ID, as `sluicectl clients` prints it");
	if (text_parse_subject(text, out))
		return complain_value(
			l, label, text,
			"a client: an address, a prefix or key:ID (192.0.2.1, 10.0.0.0/8, 2001:db8::/48)");
	return 0;
}

static int add_quota(struct loader *l, const char *label)
{
	struct quota_entry *more = grow(l->quotas, l->quota_count, sizeof(*more));

	if (!more)
		return complain(l, label, "out of memory");
	l->quotas = more;
	return copy_text(l, label, &more[l->quota_count++].label, label);
}

static int quota_field(struct loader *l, const char *label, const char *field, const char *text)
{
	struct quota_entry *e = &l->quotas[l->quota_count - 1];
	struct config_quota *q = &e->quota;
	struct text_subject subject;
	char why[512];

	if (!strcmp(field, "model"))
		return take_model_name(l, label, text, q->model);
	if (strcmp(field, "client")) {
		e->has_numbers = true;
		if (quota_take(&q->quota, field, text, why, sizeof(why)) < 0)
			return complain(l, label, "%s", why);
		return 0;
	}
	if (take_client(l, label, text, &subject) < 0)
		return -EINVAL;
	q->subject = subject;
	e->has_client = true;
	return 0;
}

static int add_priority(struct loader *l, const char *label)
{
	struct class_entry *more = grow(l->priorities, l->priority_count, sizeof(*more));

	if (!more)
		return complain(l, label, "out of memory");
	l->priorities = more;
	return copy_text(l, label, &more[l->priority_count++].label, label);
}

static int priority_field(struct loader *l, const char *label, const char *field, const char *text)
{
	struct class_entry *e = &l->priorities[l->priority_count - 1];
	struct text_subject subject;
	double class;

	if (!strcmp(field, "class")) {
		if (read_value(l, label, &parse_as_class, text, &class) < 0)
			return -EINVAL;
		e->priority.class = (uint8_t) class;
		e->has_class = true;
		return 0;
	}
	if (take_client(l, label, text, &subject) < 0)
		return -EINVAL;
	e->priority.key = subject.one && subject.client.kind == SLUICE_CLIENT_KEY;
	e->priority.client = subject.client;
	e->priority.prefix = subject.prefix;
	e->has_client = true;
	return 0;
}

static int add_prefix(struct loader *l, const char *label)
{
	struct prefix_entry *more = grow(l->prefixes, l->prefix_count, sizeof(*more));

	if (!more)
		return complain(l, label, "out of memory");
	l->prefixes = more;
	return copy_text(l, label, &more[l->prefix_count++].label, label);
}

static int prefix_field(struct loader *l, const char *label, const char *field, const char *text)
{
	struct prefix_entry *e = &l->prefixes[l->prefix_count - 1];
	struct text_subject subject;
	char why[512];

	if (!strcmp(field, "weight")) {
		e->has_weight = true;
		return parse_weight(text, &e->prefix.weight, why, sizeof(why)) < 0
			       ? complain(l, label, "%s", why)
			       : 0;
	}
	if (!strncmp(text, "key", 3) || text_parse_subject(text, &subject))
		return complain_value(l, label, text,
				      "an address or a prefix, like 10.0.0.0/8 or 2001:db8::/48");
	e->has_prefix = true;
	e->prefix.prefix = subject.prefix;
	return 0;
}

/* A value of the file, with the label that says where it stands. */
static int take_from_file(void *arg, const char *key, unsigned entry, const char *field,
			  const char *text)
{
	struct loader *l = arg;
	bool models = !strcmp(key, "models");
	char *label;
	int rc;

	if (asprintf(&label, entry ? "%s: %s entry %u%s%s" : "%s: %s", l->path, key, entry,
		     field ? ": " : "", field ? field : "") < 0)
		return complain(l, l->path, "out of memory");
	if (!entry) {
		rc = apply(l, find_option(strcmp(key, "interfaces") ? key : "interface"), label,
			   text);
	} else if (!strcmp(key, "quotas")) {
		rc = field ? quota_field(l, label, field, text) : add_quota(l, label);
	} else if (!strcmp(key, "priorities")) {
		rc = field ? priority_field(l, label, field, text) : add_priority(l, label);
	} else if (!strcmp(key, "client-prefixes")) {
		rc = field ? prefix_field(l, label, field, text) : add_prefix(l, label);
	} else if (models) {
		rc = field ? model_field(l, label, field, text) : add_model(l, label);
	} else if (field) {
		rc = service_field(l, label, field, text);
	} else {
		/*
		 * Services are --listen by another name: one list, which a stronger source
		 * replaces.
		 */
		begin_list(l, find_option("listen"));
		rc = add_service(l, label) ? 0 : -EINVAL;
	}
	free(label);
	return rc;
}

static int apply_file(struct loader *l, const char *path)
{
	struct config_file_key keys[OPTIONS + 1 + COUNT(lists)];
	char why[768] = "";
	size_t n = 0;
	int rc;

	for (size_t i = 0; i < OPTIONS; i++)
		if (!options[i].not_in_file)
			keys[n++] = (struct config_file_key){options[i].name, options[i].clear,
							     NULL, NULL};
	keys[n++] = (struct config_file_key){"interfaces", true, NULL, NULL};
	memcpy(&keys[n], lists, sizeof(lists));
	n += COUNT(lists);
	l->source = SOURCE_FILE;
	l->path = path;
	rc = config_file_read(path, keys, n, take_from_file, l, why, sizeof(why));
	if (rc < 0 && why[0])
		complain(l, path, "%s", why);
	return rc;
}

/* lease-ms → SLUICE_LEASE_MS */
static void variable_name(const struct option *option, char out[64])
{
	snprintf(out, 64, "SLUICE_%s", option->name);
	for (char *p = out; *p; p++) {
		if (*p >= 'a' && *p <= 'z')
			*p = (char)(*p - 'a' + 'A');
		else if (*p == '-')
			*p = '_';
	}
}

/* A variable's value; NULL where it is not set, or empty. */
static const char *variable(char *const *env, const char *name)
{
	size_t n = strlen(name);

	for (; env && *env; env++)
		if (!strncmp(*env, name, n) && (*env)[n] == '=')
			return (*env)[n + 1] ? *env + n + 1 : NULL;
	return NULL;
}

/*
 * Variables of other names are not ours to judge: Kubernetes sets SLUICE_PORT… for a service called
 * sluice.
 */
static int apply_environment(struct loader *l, char *const *env)
{
	static const char separators[] = ", \t\n";

	l->source = SOURCE_ENVIRONMENT;
	for (size_t i = 0; i < OPTIONS; i++) {
		char name[64], *copy, *rest;
		const char *value;
		int rc = 0;

		variable_name(&options[i], name);
		value = options[i].is_word ? NULL : variable(env, name);
		if (!value)
			continue;
		if (!options[i].clear) {
			if (apply(l, i, name, value) < 0)
				return -EINVAL;
			continue;
		}
		copy = strdup(value);
		if (!copy)
			return complain(l, name, "out of memory");
		for (char *item = strtok_r(copy, separators, &rest); item && !rc;
		     item = strtok_r(NULL, separators, &rest))
			rc = apply(l, i, name, item);
		free(copy);
		if (rc < 0)
			return rc;
	}
	return 0;
}

struct argument {
	size_t option;
	const char *value;
};

static int unknown_option(struct loader *l, const char *text, size_t len)
{
	const char *names[OPTIONS], *near;
	char name[64];

	for (size_t i = 0; i < OPTIONS; i++)
		names[i] = options[i].name;
	snprintf(name, sizeof(name), "%.*s", (int)len, text);
	near = parse_nearest(name, names, OPTIONS);
	if (near)
		return complain(l, "command line",
				"unknown option \"--%s\"; did you mean \"--%s\"?", name, near);
	return complain(l, "command line", "unknown option \"--%s\"; see --help", name);
}

/* Splits argv into options and their values; returns how many, or -EINVAL. */
static int read_arguments(struct loader *l, int argc, char **argv, struct argument *out)
{
	int n = 0;

	for (int i = 1; i < argc; i++) {
		const char *text = argv[i], *equals, *value = NULL;
		char name[64], label[80];
		size_t len, option;

		if (strncmp(text, "--", 2) || !text[2])
			return complain(l, "command line",
					"\"" PARSE_QUOTE "\" is not an option; see --help",
					PARSE_QUOTED(text));
		text += 2;
		equals = strchr(text, '=');
		len = equals ? (size_t)(equals - text) : strlen(text);
		snprintf(name, sizeof(name), "%.*s", (int)len, text);
		option = len < sizeof(name) ? find_option(name) : OPTIONS;
		if (option == OPTIONS)
			return unknown_option(l, text, len);
		snprintf(label, sizeof(label), "--%s", name);
		if (options[option].is_word) {
			if (equals)
				return complain(l, label, "takes no value");
		} else if (equals) {
			value = equals + 1;
		} else {
			if (i + 1 == argc || !strncmp(argv[i + 1], "--", 2))
				return complain(l, label, "needs a value: %s",
						options[option].argument);
			value = argv[++i];
		}
		out[n++] = (struct argument){option, value};
	}
	return n;
}

static int apply_arguments(struct loader *l, const struct argument *arguments, int n)
{
	char label[80];

	l->source = SOURCE_COMMAND_LINE;
	for (int i = 0; i < n; i++) {
		snprintf(label, sizeof(label), "--%s", options[arguments[i].option].name);
		if (apply(l, arguments[i].option, label, arguments[i].value) < 0)
			return -EINVAL;
	}
	return 0;
}

static int apply_defaults(struct loader *l)
{
	l->source = SOURCE_DEFAULT;
	l->config.ttft_threshold_ms = -1;
	l->config.itl_threshold_ms = -1;
	for (size_t i = 0; i < OPTIONS; i++)
		if (options[i].fallback && apply(l, i, options[i].name, options[i].fallback) < 0)
			return -EINVAL;
	return 0;
}

static bool same_service(const struct service *a, const struct service *b)
{
	return a->port == b->port && a->wildcard == b->wildcard &&
	       !memcmp(a->addr, b->addr, sizeof(a->addr));
}

static int finish_services(struct loader *l)
{
	struct config *c = &l->config;

	if (!l->service_count)
		return complain(l, "--listen",
				"no service is given; name one, for example --listen 8000");
	c->services = calloc(l->service_count, sizeof(*c->services));
	if (!c->services)
		return complain(l, "--listen", "out of memory");
	for (unsigned i = 0; i < l->service_count; i++) {
		struct service_entry *e = &l->services[i];
		struct service *s = &e->service;
		char why[512];

		if (!e->has_listen)
			return complain(l, e->label, "listen is missing");
		for (unsigned j = 0; j < i; j++)
			if (same_service(s, &c->services[j]))
				return complain(l, e->label, "\"" PARSE_QUOTE "\" is given twice",
						PARSE_QUOTED(e->text));
		if (!e->has_model)
			strcpy(s->model, "default");
		if (!e->has_protocol)
			s->protocol = c->protocol;
		if (!e->has_mode)
			s->mode = c->mode;
		if (!e->has_action)
			s->action = c->action;
		if (s->protocol == SLUICE_PROTOCOL_OPAQUE && s->action == SLUICE_ACTION_REPLY) {
			/* Nobody would understand a 429 there. */
			if (e->has_action)
				return complain(
					l, e->label,
					"action: \"reply\" needs protocol http; use reset or drop");
			s->action = SLUICE_ACTION_RESET;
		}
		if (!e->has_quota && s->protocol == SLUICE_PROTOCOL_HTTP) {
			s->has_quota = c->has_quota;
			s->quota = c->quota;
		}
		if (!e->has_feedback && s->protocol == SLUICE_PROTOCOL_HTTP)
			s->feedback = c->feedback;
		if (s->protocol == SLUICE_PROTOCOL_OPAQUE && (s->has_quota || s->feedback))
			return complain(
				l, e->label,
				"quota and feedback are of requests, which only protocol http sees");
		if (s->protocol == SLUICE_PROTOCOL_OPAQUE && e->has_http)
			return complain(
				l, e->label,
				"methods, paths, model-from, model-header, priorities and on-framing-error are of requests, which only protocol http sees");
		if (s->protocol == SLUICE_PROTOCOL_HTTP &&
		    rules_finish(&e->rules, &s->rules, why, sizeof(why)) < 0)
			return complain(l, e->label, "%s", why);
		if (s->protocol == SLUICE_PROTOCOL_OPAQUE && e->identity.http)
			return complain(
				l, e->label,
				"keys, forwarded addresses and proxy-protocol are read of requests, which only protocol http sees");
		if (identity_finish(&e->identity, &s->identity, &s->rules, why, sizeof(why)) < 0)
			return complain(l, e->label, "%s", why);
		if (priority_finish(&e->priority, &s->priority, &s->rules, why, sizeof(why)) < 0)
			return complain(l, e->label, "%s", why);
		c->services[c->service_count++] = *s;
	}
	return 0;
}

/* How many ids the models, their groups and the services' default models take. */
static unsigned count_names(const struct config *c)
{
	unsigned n = c->model_count;

	for (unsigned i = 0; i < c->service_count; i++) {
		bool known = false;

		for (unsigned j = 0; j < c->model_count && !known; j++)
			known = !strcmp(c->models[j].name, c->services[i].model);
		for (unsigned j = 0; j < i && !known; j++)
			known = !strcmp(c->services[j].model, c->services[i].model);
		n += !known;
	}
	for (unsigned i = 0; i < c->model_count; i++) {
		bool known = !c->models[i].pool[0];

		for (unsigned j = 0; j < i && !known; j++)
			known = !strcmp(c->models[j].pool, c->models[i].pool);
		n += !known;
	}
	return n;
}

static int finish_models(struct loader *l)
{
	struct config *c = &l->config;

	if (l->model_count) {
		c->models = calloc(l->model_count, sizeof(*c->models));
		if (!c->models)
			return complain(l, l->path, "out of memory");
	}
	for (unsigned i = 0; i < l->model_count; i++) {
		const struct config_model *m = &l->models[i].model;

		if (!m->name[0])
			return complain(l, l->models[i].label, "name is missing");
		for (unsigned j = 0; j < i; j++)
			if (!strcmp(m->name, c->models[j].name))
				return complain(l, l->models[i].label,
						"model \"%s\" is given twice", m->name);
		if (!c->per_model_limits && (m->ttft_threshold_ms > 0 || m->itl_threshold_ms > 0))
			return complain(
				l, l->models[i].label,
				"a model has no threshold of its own while per-model-limits is false");
		if (!c->per_model_limits && m->pool[0])
			return complain(l, l->models[i].label,
					"all models are one pool while per-model-limits is false");
		c->models[c->model_count++] = *m;
	}
	if (count_names(c) > MODELS_MAX)
		return complain(
			l, l->path ? l->path : "--listen",
			"more than %u models, pools and default models of services included",
			MODELS_MAX);
	return 0;
}

static int same_quota(const struct config_quota *a, const struct config_quota *b)
{
	return a->subject.one == b->subject.one && !strcmp(a->model, b->model) &&
	       (a->subject.one
			? !memcmp(&a->subject.client, &b->subject.client, sizeof(a->subject.client))
			: !memcmp(&a->subject.prefix, &b->subject.prefix,
				  sizeof(a->subject.prefix)));
}

static int by_quota(const void *a, const void *b)
{
	const struct quota_entry *const *x = a, *const *y = b;
	int order = memcmp(&(*x)->quota.subject.client, &(*y)->quota.subject.client,
			   sizeof((*x)->quota.subject.client));

	return order ? order : strcmp((*x)->quota.model, (*y)->quota.model);
}

/* A client or prefix named twice: found by sorting, as there may be thousands. */
static int find_twins(struct loader *l)
{
	const struct quota_entry **order = calloc(l->quota_count + 1, sizeof(*order));
	char text[TEXT_CLIENT_MAX];
	int rc = 0;

	if (!order)
		return complain(l, l->path, "out of memory");
	for (unsigned i = 0; i < l->quota_count; i++)
		order[i] = &l->quotas[i];
	qsort(order, l->quota_count, sizeof(*order), by_quota);
	for (unsigned i = 1; i < l->quota_count && !rc; i++) {
		if (!same_quota(&order[i - 1]->quota, &order[i]->quota))
			continue;
		text_client(text, &order[i]->quota.subject.client);
		rc = complain(l, order[i]->label, "%s has a quota%s in %s already", text,
			      order[i]->quota.model[0] ? " for this model" : "",
			      strstr(order[i - 1]->label, "quotas entry"));
	}
	free(order);
	return rc;
}

static int finish_quotas(struct loader *l)
{
	struct config *c = &l->config;
	char why[512];

	if (!l->quota_count)
		return 0;
	c->quotas = calloc(l->quota_count, sizeof(*c->quotas));
	if (!c->quotas)
		return complain(l, l->path, "out of memory");
	for (unsigned i = 0; i < l->quota_count; i++) {
		struct quota_entry *e = &l->quotas[i];

		if (!e->has_client)
			return complain(l, e->label, "client is missing");
		if (!e->has_numbers)
			return complain(l, e->label, "requests or tokens is missing");
		if (!e->quota.subject.one && e->quota.model[0])
			return complain(
				l, e->label,
				"the quota of a prefix is for all models; name an address to have one for a model");
		if (quota_finish(&e->quota.quota, why, sizeof(why)) < 0)
			return complain(l, e->label, "%s", why);
		c->quotas[c->quota_count++] = e->quota;
	}
	return find_twins(l);
}

static int finish_priorities(struct loader *l)
{
	struct config *c = &l->config;
	unsigned capacity = PRIORITIES_MAX;

	for (unsigned i = 0; i < c->service_count; i++)
		capacity -= c->services[i].priority.count; /* 256 services of 16 values fit */
	if (!l->priority_count)
		return 0;
	if (l->priority_count > PRIORITIES_MAX)
		return complain(l, l->path, "more than %u priorities", PRIORITIES_MAX);
	c->priorities = calloc(l->priority_count, sizeof(*c->priorities));
	if (!c->priorities)
		return complain(l, l->path, "out of memory");
	for (unsigned i = 0; i < l->priority_count; i++) {
		struct class_entry *e = &l->priorities[i];

		if (!e->has_client || !e->has_class)
			return complain(l, e->label, "%s is missing",
					e->has_client ? "class" : "client");
		if (e->priority.key && !capacity--)
			return complain(l, e->label, "more than %u keys and header values",
					PRIORITIES_MAX);
		for (unsigned j = 0; j < i; j++)
			if (c->priorities[j].key == e->priority.key &&
			    !memcmp(&c->priorities[j].client, &e->priority.client,
				    sizeof(e->priority.client)) &&
			    !memcmp(&c->priorities[j].prefix, &e->priority.prefix,
				    sizeof(e->priority.prefix)))
				return complain(l, e->label,
						"this client has a class already, in %s",
						strstr(l->priorities[j].label, "priorities entry"));
		c->priorities[c->priority_count++] = e->priority;
	}
	return 0;
}

/* Weight times a quota that is everybody's has to be a quota. */
static int check_weight(struct loader *l, const struct prefix_entry *e, const char *of,
			const struct quota_def *quota)
{
	char why[512], words[QUOTA_TEXT_MAX], weight[TEXT_WEIGHT_MAX];
	struct quota_def scaled;

	if (!quota_scale(&scaled, quota, e->prefix.weight, why, sizeof(why)))
		return 0;
	quota_words(words, quota);
	text_weight(weight, e->prefix.weight);
	return complain(l, e->label, "weight %s of the quota %s of %s: %s", weight, words, of, why);
}

static int by_prefix(const void *a, const void *b)
{
	const struct prefix_entry *const *x = a, *const *y = b;

	return memcmp(&(*x)->prefix.prefix, &(*y)->prefix.prefix, sizeof((*x)->prefix.prefix));
}

static int find_twin_prefixes(struct loader *l)
{
	const struct prefix_entry **order = calloc(l->prefix_count, sizeof(*order));
	char text[TEXT_CLIENT_MAX];
	int rc = 0;

	if (!order)
		return complain(l, l->path, "out of memory");
	for (unsigned i = 0; i < l->prefix_count; i++)
		order[i] = &l->prefixes[i];
	qsort(order, l->prefix_count, sizeof(*order), by_prefix);
	for (unsigned i = 1; i < l->prefix_count && !rc; i++) {
		if (by_prefix(&order[i - 1], &order[i]))
			continue;
		text_prefix(text, &order[i]->prefix.prefix);
		rc = complain(l, order[i]->label, "%s is in %s already", text,
			      strstr(order[i - 1]->label, "client-prefixes"));
	}
	free(order);
	return rc;
}

static int finish_prefixes(struct loader *l)
{
	static bool checked[UINT16_MAX + 1]; /* weights */
	struct config *c = &l->config;

	if (!l->prefix_count)
		return 0;
	c->prefixes = calloc(l->prefix_count, sizeof(*c->prefixes));
	if (!c->prefixes)
		return complain(l, l->path, "out of memory");
	memset(checked, 0, sizeof(checked));
	for (unsigned i = 0; i < l->prefix_count; i++) {
		struct prefix_entry *e = &l->prefixes[i];
		bool check = !checked[e->prefix.weight];

		if (!e->has_prefix)
			return complain(l, e->label, "prefix is missing");
		if (!e->has_weight)
			return complain(l, e->label, "weight is missing");
		checked[e->prefix.weight] = true;
		for (unsigned k = 0; check && k < c->service_count; k++)
			if (c->services[k].has_quota &&
			    check_weight(l, e, "a service", &c->services[k].quota) < 0)
				return -EINVAL;
		for (unsigned k = 0; check && k < c->model_count; k++)
			if (c->models[k].has_quota &&
			    check_weight(l, e, c->models[k].name, &c->models[k].quota) < 0)
				return -EINVAL;
		c->prefixes[c->prefix_count++] = e->prefix;
	}
	return find_twin_prefixes(l);
}

static int finish(struct loader *l)
{
	struct config *c = &l->config;
	bool thresholds = l->given[find_option("ttft-threshold-ms")] ||
			  l->given[find_option("itl-threshold-ms")];

	if (!c->interface_count)
		return complain(l, "--interface",
				"no interface is given; name one, for example --interface eth0");
	if (finish_services(l) < 0 || finish_models(l) < 0 || finish_quotas(l) < 0 ||
	    finish_priorities(l) < 0 || finish_prefixes(l) < 0)
		return -EINVAL;
	for (unsigned i = 0; i < c->model_count; i++)
		if (c->models[i].ttft_threshold_ms >= 0 || c->models[i].itl_threshold_ms >= 0)
			thresholds = true;
	/* The law asked for by name and without numbers; an explicit "none" is a number, too. */
	if (l->given[find_option("policy")] && !thresholds) {
		c->ttft_threshold_ms = CONTROLLER_TTFT_MS;
		c->itl_threshold_ms = CONTROLLER_ITL_MS;
	}
	return 0;
}

static void print_help(void)
{
	printf("Usage: sluiced --interface IF... --listen [ADDR:]PORT[=MODEL]... [OPTION]...\n"
	       "       sluiced --config FILE [OPTION]...\n"
	       "Keeps an inference API on this host inside its latency targets.\n\n");
	for (size_t i = 0; i < OPTIONS; i++) {
		char name[32];

		snprintf(name, sizeof(name), "--%s", options[i].name);
		help_option(stdout, name, options[i].argument, options[i].help,
			    options[i].fallback);
	}
	printf("\nEach option is a key of the same name in the file, and a variable: --lease-ms is\n"
	       "lease-ms and SLUICE_LEASE_MS. The command line overrides the environment, which\n"
	       "overrides the file. The file may also call the list of interfaces interfaces.\n"
	       "\nKeys of the file's lists:\n");
	for (size_t i = 0; i < COUNT(lists); i++) {
		char text[512];
		size_t at = (size_t)snprintf(text, sizeof(text), "%s: ", lists[i].name);

		for (const struct config_file_field *f = lists[i].fields; f->name; f++)
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", f->name,
					       f[1].name ? ", " : "");
		printf("  ");
		help_wrap(stdout, 2, 6, text);
	}
	printf("\nExit status: 0 ended by a signal or `sluicectl detach`, 1 failed while running,\n"
	       "2 wrong configuration, or could not start.\n");
}

void config_free(struct config *config)
{
	for (unsigned i = 0; i < config->interface_count; i++)
		free(config->interfaces[i]);
	free(config->interfaces);
	free(config->services);
	free(config->models);
	free(config->quotas);
	free(config->priorities);
	free(config->prefixes);
	free(config->pin_dir);
	free(config->control);
	free(config->metrics_addr);
	free(config->file);
	memset(config, 0, sizeof(*config));
}

static int load(struct loader *l, const struct argument *arguments, int n, char *const *env)
{
	const char *file = variable(env, "SLUICE_CONFIG");

	for (int i = 0; i < n; i++)
		if (!strcmp(options[arguments[i].option].name, "config"))
			file = arguments[i].value;
	if (apply_defaults(l) < 0)
		return -EINVAL;
	/* An empty --config= is told by take_file(). */
	if (file && *file && apply_file(l, file) < 0)
		return -EINVAL;
	if (apply_environment(l, env) < 0 || apply_arguments(l, arguments, n) < 0)
		return -EINVAL;
	return finish(l);
}

int config_load(struct config *out, int argc, char **argv, char *const *env, char *err,
		size_t err_len)
{
	struct argument *arguments = calloc((size_t)(argc > 0 ? argc : 1), sizeof(*arguments));
	struct loader l = {.err = err, .err_len = err_len};
	int n, rc = 0;

	if (!arguments)
		return complain(&l, "command line", "out of memory");
	n = read_arguments(&l, argc, argv, arguments);
	if (n < 0)
		rc = n;
	for (int i = 0; i < n && !rc; i++) {
		if (!options[arguments[i].option].is_word)
			continue;
		if (!strcmp(options[arguments[i].option].name, "help"))
			print_help();
		else
			printf("sluiced %s\n", SLUICE_VERSION);
		rc = 1;
	}
	if (!rc) {
		rc = load(&l, arguments, n, env);
		if (!rc)
			*out = l.config;
		else
			config_free(&l.config);
	}
	clear_services(&l);
	for (unsigned i = 0; i < l.model_count; i++)
		free(l.models[i].label);
	free(l.models);
	for (unsigned i = 0; i < l.quota_count; i++)
		free(l.quotas[i].label);
	free(l.quotas);
	for (unsigned i = 0; i < l.priority_count; i++)
		free(l.priorities[i].label);
	free(l.priorities);
	for (unsigned i = 0; i < l.prefix_count; i++)
		free(l.prefixes[i].label);
	free(l.prefixes);
	free(arguments);
	return rc;
}
