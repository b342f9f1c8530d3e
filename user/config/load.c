/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Loads the sources from the weakest to the strongest; each value overrides the one before. Then
 * fills the entries of sections from the global settings and runs the checks that need more than
 * one value.
 */
#include "loader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clients.h"
#include "core/controller.h"
#include "file.h"
#include "fleet.h"
#include "list.h"
#include "metrics.h"
#include "models.h"
#include "options.h"
#include "services.h"
#include "usage.h"

#ifndef SLUICE_VERSION
#define SLUICE_VERSION "unknown"
#endif

/* Entries are read and finished in this order: the check of a prefix's weight needs the quotas. */
static const struct section *const sections[] = {
	&services_section, &models_section, &quotas_section, &priorities_section, &prefixes_section,
};

#define SECTIONS (sizeof(sections) / sizeof(sections[0]))

_Static_assert(OPTIONS_MAX + 1 + SECTIONS <= CONFIG_FILE_KEYS_MAX, "the file's schema");

static const struct section *find_section(const char *name)
{
	size_t i = 0;

	while (i < SECTIONS && strcmp(sections[i]->name, name))
		i++;
	return i < SECTIONS ? sections[i] : NULL;
}

/* One key of a section: begins an entry, or sets one of its fields. */
static int take_entry(struct loader *l, const struct section *section, const struct field *field,
		      const char *text)
{
	char why[LOAD_WHY_MAX];
	int rc;

	if (field)
		rc = field_take(field, section_last(l, section), text, why, sizeof(why));
	else
		rc = section_add(l, section, why, sizeof(why)) ? 0 : -EINVAL;
	return rc < 0 ? complain(l, l->label, "%s", why) : 0;
}

/* Applies a value of the file, with a label that gives its position. `interfaces` is another name
 * of `interface`. */
static int take_from_file(void *arg, const char *key, unsigned entry, const struct field *field,
			  const char *text)
{
	struct loader *l = arg;
	char *label;
	int rc;

	if (asprintf(&label, entry ? "%s: %s entry %u%s%s" : "%s: %s", l->path, key, entry,
		     field ? ": " : "", field ? field->name : "") < 0)
		return complain(l, l->path, "out of memory");
	l->label = label;
	if (entry)
		rc = take_entry(l, find_section(key), field, text);
	else
		rc = option_apply(l, option_find(strcmp(key, "interfaces") ? key : "interface"),
				  label, text);
	l->label = NULL;
	free(label);
	return rc;
}

static int apply_file(struct loader *l, const char *path)
{
	struct config_file_key keys[OPTIONS_MAX + 1 + SECTIONS];
	const struct option *option;
	char why[LOAD_WHY_MAX] = "";
	size_t n = 0;
	int rc;

	for (size_t i = 0; (option = option_at(i)); i++)
		if (!option->not_in_file)
			keys[n++] = (struct config_file_key){
				.name = option->field.name,
				.list = option->field.list,
			};
	keys[n++] = (struct config_file_key){.name = "interfaces", .list = true};
	for (size_t i = 0; i < SECTIONS; i++)
		keys[n++] = (struct config_file_key){
			.name = sections[i]->name,
			.fields = sections[i]->fields,
		};
	l->source = SOURCE_FILE;
	l->path = path;
	rc = config_file_read(path, keys, n, take_from_file, l, why, sizeof(why));
	if (rc < 0 && why[0])
		complain(l, path, "%s", why);
	return rc;
}

static int finish(struct loader *l)
{
	struct config *c = &l->config;
	bool thresholds = l->has_threshold;

	for (size_t i = 0; i < SECTIONS; i++)
		if (sections[i]->finish(l) < 0)
			return -EINVAL;
	for (unsigned i = 0; i < c->model_count; i++)
		thresholds |= c->models[i].ttft_threshold_ms >= 0 ||
			      c->models[i].itl_threshold_ms >= 0 ||
			      c->models[i].duration_threshold_ms >= 0 ||
			      c->models[i].normalized_latency_threshold_ms >= 0;
	/* The policy is named without a threshold; an explicit "none" counts as one. */
	if (l->has_policy && !thresholds) {
		c->ttft_threshold_ms = CONTROLLER_TTFT_MS;
		c->itl_threshold_ms = CONTROLLER_ITL_MS;
	}
	return metrics_finish(l) < 0 ? -EINVAL : fleet_finish(l);
}

static int load(struct loader *l, const struct argument *arguments, int n, char *const *env)
{
	const char *file = options_variable(env, "SLUICE_CONFIG");

	for (int i = 0; i < n; i++)
		if (!strcmp(arguments[i].option->field.name, "config") ||
		    !strcmp(arguments[i].option->field.name, "check"))
			file = arguments[i].value;
	if (options_apply_defaults(l) < 0)
		return -EINVAL;
	/* The option's own parser rejects an empty --config=. */
	if (file && *file && apply_file(l, file) < 0)
		return -EINVAL;
	if (options_apply_environment(l, env) < 0 || options_apply_arguments(l, arguments, n) < 0)
		return -EINVAL;
	return finish(l);
}

static void print(const struct option *word)
{
	if (strcmp(word->field.name, "help"))
		printf("sluiced %s\n", SLUICE_VERSION);
	else
		usage_print(sections, SECTIONS);
}

int config_load(struct config *out, int argc, char **argv, char *const *env, char *err,
		size_t err_len)
{
	struct argument *arguments = calloc((size_t)(argc > 0 ? argc : 1), sizeof(*arguments));
	struct loader l = {.err = err, .err_len = err_len};
	int n, rc = 0;

	if (!arguments)
		return complain(&l, "command line", "out of memory");
	n = options_read(&l, argc, argv, arguments);
	if (n < 0)
		rc = n;
	for (int i = 0; i < n && !rc; i++)
		if (arguments[i].option->is_word) {
			print(arguments[i].option);
			rc = 1;
		}
	if (!rc)
		rc = load(&l, arguments, n, env);
	if (!rc)
		*out = l.config;
	else
		config_free(&l.config);
	for (size_t i = 0; i < SECTIONS; i++)
		section_clear(&l, sections[i]);
	free(arguments);
	return rc;
}

void config_free(struct config *config)
{
	list_clear(&config->interfaces, &config->interface_count);
	list_clear(&config->netns, &config->netns_count);
	free(config->services);
	free(config->models);
	free(config->quotas);
	free(config->priorities);
	free(config->prefixes);
	free(config->pin_dir);
	free(config->hash_secret_file);
	free(config->control);
	free(config->metrics_addr);
	metrics_clear_hosts(config);
	free(config->metrics_token_file);
	free(config->metrics_tls_cert);
	free(config->metrics_tls_key);
	free(config->metrics_tls_client_ca);
	free(config->fleet);
	list_clear(&config->fleet_stores, &config->fleet_store_count);
	free(config->fleet_sentinel);
	free(config->fleet_host);
	free(config->fleet_user);
	free(config->fleet_password_file);
	free(config->fleet_tls_ca);
	free(config->fleet_tls_cert);
	free(config->fleet_tls_key);
	free(config->file);
	memset(config, 0, sizeof(*config));
}
