/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Makes room in the table of names. Clients invent names, so a name that nobody has configured may
 * be forgotten: the one that was longest not seen first. A name that traffic brings replaces only a
 * name that was not seen for NAME_AGE_NS, so that invented names do not replace those in use. A
 * configured name takes the place of any other.
 *
 * A name goes in this order: the programs lose it, what they have reported meanwhile is read, the
 * kernel's entries of its id are cleared, and the daemon's. So the next name of the id begins with
 * nothing. All that is a change (loop/work.h), so no rule and no service takes an id meanwhile. The
 * loop goes on between its steps, and leaves the names alone that are `leaving`.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/daemon.h"

#define NAME_AGE_NS  (600 * 1000000000ULL) /* a name unseen for so long gives way to a new one */
#define AT_ONCE      64                    /* names that are forgotten for new ones … */
#define NOT_AGAIN_NS (10 * 1000000000ULL)  /* … and the time until the next ones */

static uint64_t seen_ns(const struct daemon *d, uint32_t id)
{
	uint64_t kernel = datapath_model_seen(d->datapath, id);
	uint64_t own = d->controller.model[id].last_seen_ns;

	return kernel > own ? kernel : own;
}

/* Marks the `want` names that were longest not seen, of those not seen since before_ns, without
 * those in `kept`. Returns how many. */
static unsigned choose(struct daemon *d, const bool *kept, unsigned want, uint64_t before_ns,
		       bool *chosen)
{
	unsigned n = 0;

	for (; n < want; n++) {
		uint64_t oldest = before_ns;
		uint32_t best = 0;

		on_step(d, SLUICE_MODELS_MAX);
		for (uint32_t id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX; id++) {
			if (kept[id] || chosen[id] || seen_ns(d, id) >= oldest ||
			    !controller_may_forget(&d->controller, id))
				continue;
			oldest = seen_ns(d, id);
			best = id;
		}
		if (!best)
			break;
		chosen[best] = true;
	}
	return n;
}

/* The programs lose the chosen names. The next write_flags() gives back those that stay. */
static int withdraw(struct daemon *d, const bool *chosen)
{
	int ret = 0;

	for (uint32_t id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX && !ret; id++) {
		if (!chosen[id] || !d->in_kernel[id])
			continue;
		on_step(d, 1);
		ret = datapath_unset_model(d->datapath, d->controller.model[id].name, id);
		d->in_kernel[id] = ret;
	}
	return ret ? ret : datapath_settle_names(d->datapath);
}

static void forget(struct daemon *d, uint32_t id)
{
	struct daemon_state *s = &d->state;

	controller_forget(&d->controller, id);
	d->dirty[id] = d->shut[id] = false;
	d->ceiling_said[id] = 0;
	s->changed_ns[id] = s->changes[id] = 0;
	s->kernel[id] = (struct state_load){0};
	s->histograms[id] = (struct sluice_histogram){0};
}

/* Forgets the chosen names that nothing holds. Returns how many, or -errno. */
static int forget_chosen(struct daemon *d, bool *chosen, bool *kept)
{
	int n = 0, ret = withdraw(d, chosen);

	if (!ret) /* a request may have come in between */
		ret = datapath_held_models(d->datapath, kept);
	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++)
		chosen[id] &= !kept[id];
	if (!ret)
		ret = datapath_drain(d->datapath);
	if (!ret)
		ret = datapath_clear_models(d->datapath, chosen);
	if (ret)
		return ret;
	active_forget(&d->active, chosen);
	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++) {
		if (!chosen[id])
			continue;
		forget(d, id);
		n++;
	}
	look_at_the_clock(d); /* the next name of an id is younger than its last request */
	return n;
}

/* Forgets up to `want` names. Returns how many; -errno: datapath_error() has the reason. */
static int forget_oldest(struct daemon *d, const bool *configured, unsigned want,
			 uint64_t before_ns)
{
	bool kept[SLUICE_MODELS_MAX] = {false}, chosen[SLUICE_MODELS_MAX] = {false};
	int ret;

	if (!choose(d, configured, 1, before_ns, chosen))
		return 0; /* without a walk of the maps */
	memset(chosen, 0, sizeof(chosen));
	memcpy(kept, configured, sizeof(kept));
	ret = datapath_held_models(d->datapath, kept);
	if (ret || !choose(d, kept, want, before_ns, chosen))
		return ret;
	memcpy(d->leaving, chosen, sizeof(d->leaving));
	ret = forget_chosen(d, chosen, kept);
	memset(d->leaving, 0, sizeof(d->leaving));
	return ret;
}

void forget_names(struct daemon *d)
{
	static const bool none[SLUICE_MODELS_MAX];
	uint64_t now = d->state.now_ns;
	int n;

	if (!d->controller.names_wanted || now < d->next_forget_ns || now < NAME_AGE_NS)
		return;
	d->controller.names_wanted = false;
	d->next_forget_ns = now + NOT_AGAIN_NS;
	n = forget_oldest(d, none, AT_ONCE, now - NAME_AGE_NS);
	if (n < 0)
		say(EVENT_NAMES_FAILED, NULL, "cannot forget old names of models: %s",
		    datapath_error());
	else if (n)
		say(EVENT_NAMES_FORGOTTEN, LOG_FIELDS(log_count("names", n)),
		    "forgot %d names of models that had no request for 10 minutes, for new ones",
		    n);
}

/* ---- configured names ---- */

struct wanted {
	struct daemon *d;
	bool kept[SLUICE_MODELS_MAX];
	unsigned missing;
};

static void find_name(void *arg, const char *name, bool pool)
{
	struct wanted *w = arg;
	char whole[SLUICE_NAME_MAX + sizeof(CONTROLLER_POOL)];
	int id;

	snprintf(whole, sizeof(whole), "%s%s", pool ? CONTROLLER_POOL : "", name);
	id = controller_find(&w->d->controller, whole);
	if (id < 0)
		w->missing++;
	else
		w->kept[id] = true;
}

/* Makes room for what is still missing. */
static int make_room(struct wanted *w)
{
	unsigned room = controller_room(&w->d->controller);
	int n = 1;

	while (w->missing > room && n > 0) {
		n = forget_oldest(w->d, w->kept, w->missing - room, UINT64_MAX);
		room += n > 0 ? (unsigned)n : 0;
	}
	return n < 0 ? n : 0;
}

int name_configured(struct daemon *d, const struct config *config)
{
	struct wanted w = {.d = d};

	each_configured_name(config, find_name, &w);
	return make_room(&w);
}

int name_one(struct daemon *d, const char *name)
{
	struct wanted w = {.d = d};
	uint32_t id;
	int ret;

	find_name(&w, name, false);
	ret = make_room(&w);
	if (ret)
		return ret;
	id = controller_learn(&d->controller, name, d->state.now_ns);
	return id < SLUICE_MODEL_FIRST ? -ENOSPC : (int)id;
}
