/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Fills the state that control and metrics show, the parts that a request needs. The rules come
 * from the desired state; loads, counts and clients are read from the kernel.
 */
#include <stdlib.h>
#include <string.h>

#include "core/parse.h"
#include "daemon/daemon.h"

#define MAPS_AGE_NS       1000000000ULL /* how old the fill of maps may be that is shown */
#define HISTOGRAM_ENTRIES 8 /* entries of maps that take the time of a model's histograms */

static void *append(struct list *list, size_t size)
{
	if (list->count == list->capacity) {
		size_t capacity = list->capacity ? list->capacity * 2 : 64;
		void *items = realloc(list->items, capacity * size);

		if (!items)
			return NULL;
		list->items = items;
		list->capacity = capacity;
	}
	return (char *)list->items + list->count++ * size;
}

static void collect_count(void *arg, const struct sluice_count_key *key, uint64_t n)
{
	struct state_count *item = append(arg, sizeof(*item));

	if (item)
		*item = (struct state_count){.key = *key, .n = n};
}

static void collect_client(void *arg, const struct sluice_client *client,
			   const struct sluice_client_count *count, int64_t in_flight)
{
	struct state_client *item = append(arg, sizeof(*item));

	if (item)
		*item = (struct state_client){*client, *count, in_flight};
}

/* The list goes through this state, while a command may put another in force. */
static void collect_rules(struct daemon *d)
{
	struct daemon_state *s = &d->state;

	desired_free(d->shown);
	d->shown = desired_hold(d->desired);
	s->client_quotas = d->shown->client_quotas.items;
	s->client_quota_count = d->shown->client_quotas.count;
	s->client_rules = d->shown->rules.items;
	s->client_rule_count = d->shown->rules.count;
	s->prefix_rules = d->shown->prefixes.items;
	s->prefix_rule_count = d->shown->prefixes.count;
}

static void collect_maps(struct daemon *d)
{
	static struct state_map maps[] = {
		{.name = "conns"},
		{.name = "tombstones"},
		{.name = "kept"},
		{.name = "half_open"},
		{.name = "model_ids"},
		{.name = "services"},
		{.name = "client_flags"},
		{.name = "client_prefixes"},
		{.name = "client_in_flight"},
		{.name = "client_counts"},
		{.name = "request_counts"},
		{.name = "client_quotas"},
		{.name = "client_state"},
		{.name = "replies"},
		{.name = "priorities"},
		{.name = "weighted_quotas"},
	};
	const uint64_t *n = d->state.counters;
	uint64_t kept;

	if (d->maps_ns && d->state.now_ns - d->maps_ns < MAPS_AGE_NS)
		return;
	d->maps_ns = d->state.now_ns;
	datapath_get_counters(d->datapath, d->state.counters);
	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
		datapath_map_fill(d->datapath, maps[i].name, &maps[i].entries, &maps[i].max);
	maps[0].full = n[SLUICE_COUNTER_CONNS_FULL];
	maps[1].full = n[SLUICE_COUNTER_TOMBSTONES_FULL];
	/* What an LRU map forgot by itself: put in, not taken out, and not there. */
	kept = n[SLUICE_COUNTER_HALF_OPEN_DELETES] + maps[2].entries;
	if (n[SLUICE_COUNTER_HALF_OPEN_INSERTS] > kept + maps[2].full)
		maps[2].full = n[SLUICE_COUNTER_HALF_OPEN_INSERTS] - kept;
	maps[3].full = d->controller.names_refused;
	maps[9].full = n[SLUICE_COUNTER_COUNTS_FULL];
	maps[11].full = n[SLUICE_COUNTER_BUDGETS_LOST];
	d->state.maps = maps;
	d->state.map_count = sizeof(maps) / sizeof(maps[0]);
}

void show_interfaces(struct daemon *d)
{
	static const char *const xdp[] = {
		[DATAPATH_XDP_NATIVE] = "native",
		[DATAPATH_XDP_GENERIC] = "generic",
		[DATAPATH_XDP_OFF] = "off",
	};
	static struct datapath_interface found[DATAPATH_INTERFACES_MAX];
	static struct state_interface shown[DATAPATH_INTERFACES_MAX];
	static const char *notes[CONFIG_NETNS_MAX];
	size_t n = datapath_interfaces(d->datapath, found, DATAPATH_INTERFACES_MAX);

	_Static_assert((int)STATE_HOOKS == HOOK_COUNT &&
			       sizeof(shown[0].note) == sizeof(found[0].note),
		       "hooks");
	if (n > DATAPATH_INTERFACES_MAX)
		n = DATAPATH_INTERFACES_MAX;
	for (size_t i = 0; i < n; i++) {
		memcpy(shown[i].name, found[i].name, sizeof(shown[i].name));
		shown[i].xdp = xdp[found[i].xdp];
		shown[i].tcx = found[i].tcx;
		shown[i].leads = found[i].leads;
		shown[i].restored = found[i].restored;
		memcpy(shown[i].attached, found[i].attached, sizeof(shown[i].attached));
		memcpy(shown[i].note, found[i].note, sizeof(shown[i].note));
	}
	d->state.interfaces = shown;
	d->state.interface_count = n;
	d->state.interfaces_left_out = datapath_no_room(d->datapath);
	d->state.netns_notes = notes;
	d->state.netns_note_count = datapath_netns_notes(d->datapath, notes, CONFIG_NETNS_MAX);
	d->state.netns_unfollowed = datapath_netns_unfollowed(d->datapath);
	d->state.pins_note = datapath_pins_note(d->datapath);
	d->state.sockets_note = d->sockets_note;
	d->state.troubles = (const struct trouble(*)[TROUBLE_KINDS])d->troubles;
}

void refresh(void *arg, unsigned parts)
{
	struct daemon *d = arg;
	struct daemon_state *s = &d->state;

	look_at_the_clock(d);
	s->lease_until_ns = datapath_lease_until(d->datapath);
	show_interfaces(d);
	show_fleet(d);
	if (parts & STATE_MODELS)
		write_flags(d, false); /* what is shown is what the kernel does, not what it will do
					  at the next tick */
	for (uint32_t id = 0; parts & (STATE_MODELS | STATE_HISTOGRAMS) && id < SLUICE_MODELS_MAX;
	     id++) {
		if (!state_model_in_use(s, id))
			continue;
		datapath_get_load(d->datapath, id, s->now_ns, &s->kernel[id]);
		if (!(parts & STATE_HISTOGRAMS))
			continue;
		on_step(d, HISTOGRAM_ENTRIES);
		datapath_get_histogram(d->datapath, id, &s->histograms[id]);
	}
	if (parts & STATE_COUNTS) {
		struct list whole = {0};

		/* The walk may pause, and commands show counts: these stay until it has ended. */
		datapath_each_count(d->datapath, collect_count, &whole);
		free(d->counts.items);
		d->counts = whole;
		s->counts = d->counts.items;
		s->count_count = d->counts.count;
		datapath_get_counters(d->datapath, s->counters);
	}
	if (parts & STATE_MAPS)
		collect_maps(d);
	if (parts & STATE_CLIENTS) {
		s->client_count = d->clients.count = 0;
		datapath_each_client(d->datapath, collect_client, &d->clients);
		s->clients = d->clients.items;
		s->client_count = d->clients.count;
	}
	if (parts & STATE_RULES)
		collect_rules(d);
}

void note_history(struct daemon *d)
{
	refresh(d, STATE_MODELS | STATE_COUNTS);
	history_add(&d->history, &d->state);
}

static enum sluice_mode mode_now(const struct daemon *d)
{
	return d->controller.all.mode != SLUICE_MODE_DEFAULT ? d->controller.all.mode
							     : d->config.mode;
}

void show_config(struct daemon *d)
{
	d->state.mode = mode_now(d);
	d->state.policy = parse_word_of(&parse_as_policy, d->controller.all.policy);
	d->state.lease_ms = d->config.lease_ms;
}
