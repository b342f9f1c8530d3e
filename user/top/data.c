/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Histories and rates; data.h says what for. */
#include "top/data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static float number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return json_is_number(value) ? (float)json_number_value(value) : NAN;
}

static const char *name_of(const json_t *model)
{
	const char *name = json_string_value(json_object_get(model, "name"));

	return name ? name : "";
}

/* Moves the history of this name out of the old ones. The order seldom changes: at i first. */
static struct history find(struct top_data *d, size_t i, const char *name)
{
	struct history h;

	for (size_t k = 0; k < d->history_count; k++) {
		struct history *old = &d->histories[(i + k) % d->history_count];

		if (old->name && !strcmp(old->name, name)) {
			h = *old;
			old->name = NULL;
			return h;
		}
	}
	h.name = strdup(name);
	if (!h.name)
		abort();
	for (unsigned s = 0; s < HISTORY_SECS; s++)
		h.ttft_ms[s] = h.itl_ms[s] = NAN;
	return h;
}

static void free_histories(struct top_data *d)
{
	for (size_t i = 0; i < d->history_count; i++)
		free(d->histories[i].name);
	free(d->histories);
}

static void add_samples(struct top_data *d, uint64_t second)
{
	const json_t *models = json_object_get(d->status, "models");
	size_t count = json_array_size(models) + 1;
	struct history *fresh = calloc(count, sizeof(*fresh));

	if (!fresh)
		abort();
	if (!d->second)
		d->first_second = d->second = second;
	for (size_t i = 0; i < count; i++) {
		const json_t *model = i + 1 < count ? json_array_get(models, i)
						    : json_object_get(d->status, "global");
		/* No model has an empty name. */
		struct history *h = &fresh[i];

		*h = find(d, i, i + 1 < count ? name_of(model) : "");
		for (uint64_t s = d->second + 1; s < second && s <= d->second + HISTORY_SECS; s++)
			h->ttft_ms[s % HISTORY_SECS] = h->itl_ms[s % HISTORY_SECS] = NAN;
		h->ttft_ms[second % HISTORY_SECS] = number(model, "ttft_ema_ms");
		h->itl_ms[second % HISTORY_SECS] = number(model, "itl_ema_ms");
	}
	free_histories(d);
	d->histories = fresh;
	d->history_count = count;
	d->second = second;
}

static void free_totals(struct totals *t)
{
	json_decref(t->requests);
	json_decref(t->rejected);
	json_decref(t->shadow_rejected);
	json_decref(t->connections);
	json_decref(t->clients);
	json_decref(t->admitted_by_class);
	json_decref(t->rejected_by_class);
}

static json_t *totals_of_clients(const json_t *list)
{
	json_t *all = json_object();
	const json_t *one;
	size_t i;

	json_array_foreach(list, i, one)
	{
		const char *client = json_string_value(json_object_get(one, "client"));

		if (client)
			json_object_set_new(
				all, client,
				json_pack("[I, I]",
					  json_integer_value(json_object_get(one, "admitted")),
					  json_integer_value(json_object_get(one, "rejected"))));
	}
	return all;
}

static void add_totals(struct top_data *d, uint64_t ms)
{
	struct totals t = {.ms = (double)ms};

	t.requests = json_incref(json_object_get(d->status, "requests"));
	t.rejected = json_incref(json_object_get(d->status, "rejected_by_reason"));
	t.shadow_rejected = json_incref(json_object_get(d->status, "shadow_rejected_by_reason"));
	t.connections = json_incref(json_object_get(d->status, "connections"));
	t.clients = totals_of_clients(json_object_get(d->clients, "clients"));
	t.admitted_by_class = json_incref(json_object_get(d->status, "admitted_by_class"));
	t.rejected_by_class = json_incref(json_object_get(d->status, "rejected_by_class"));
	if (d->polls == RATE_POLLS)
		free_totals(&d->totals[--d->polls]);
	memmove(d->totals + 1, d->totals, d->polls * sizeof(t));
	d->totals[0] = t;
	d->polls++;
}

void top_data_take(struct top_data *d, json_t *status, json_t *clients, uint64_t ms)
{
	json_decref(d->status);
	json_decref(d->clients);
	d->status = status;
	d->clients = clients;
	d->problem[0] = 0;
	add_samples(d, ms / 1000);
	add_totals(d, ms);
}

void top_data_free(struct top_data *d)
{
	free_histories(d);
	while (d->polls)
		free_totals(&d->totals[--d->polls]);
	json_decref(d->status);
	json_decref(d->clients);
}

unsigned top_history_secs(const struct top_data *d)
{
	uint64_t secs = d->second - d->first_second + 1;

	return secs < HISTORY_SECS ? (unsigned)secs : HISTORY_SECS;
}

static double rate(const struct top_data *d, double now, double then)
{
	double ms = d->totals[0].ms - d->totals[d->polls - 1].ms;

	/* Totals fall if another daemon has begun anew. */
	return ms <= 0 || now < then ? -1 : (now - then) * 1000 / ms;
}

static double total(const struct totals *t, enum top_total of, const char *key)
{
	const json_t *const objects[] = {t->requests, t->rejected, t->shadow_rejected,
					 t->connections};

	return (double)json_integer_value(json_object_get(objects[of], key));
}

double top_rate(const struct top_data *d, enum top_total of, const char *key)
{
	if (d->polls < 2)
		return -1;
	return rate(d, total(&d->totals[0], of, key), total(&d->totals[d->polls - 1], of, key));
}

/* A count, or the sum of an object's counts. */
static double sum_of(const json_t *counts)
{
	double sum = (double)json_integer_value(counts);
	const char *key;
	json_t *n;

	json_object_foreach((json_t *)counts, key, n) sum += (double)json_integer_value(n);
	return sum;
}

/* Without classes all requests are of class normal. */
static double class_total(const struct totals *t, const char *class, unsigned which)
{
	const json_t *classes = which ? t->rejected_by_class : t->admitted_by_class;

	if (json_is_object(classes))
		return sum_of(json_object_get(classes, class));
	if (strcmp(class, "normal"))
		return 0;
	return sum_of(which ? t->rejected : json_object_get(t->requests, "admitted"));
}

double top_class_rate(const struct top_data *d, const char *class, unsigned which)
{
	if (d->polls < 2)
		return -1;
	return rate(d, class_total(&d->totals[0], class, which),
		    class_total(&d->totals[d->polls - 1], class, which));
}

double top_client_rate(const struct top_data *d, const char *client, unsigned which)
{
	const json_t *now, *then = NULL;

	if (d->polls < 2)
		return -1;
	/* A client that was not listed then may have sent everything before. */
	now = json_object_get(d->totals[0].clients, client);
	then = json_object_get(d->totals[d->polls - 1].clients, client);
	if (!then)
		return -1;
	return rate(d, (double)json_integer_value(json_array_get(now, which)),
		    (double)json_integer_value(json_array_get(then, which)));
}
