/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The daemon: wires configuration, datapath, controller, control socket and metrics together in one
 * thread and one epoll loop. Samples come up, flags go down; ten times a second averages have
 * decayed, so flags are looked at again, and the lease by which the kernel may go on enforcing is
 * renewed. Nothing that a client does can hold that up.
 *
 * How it ends decides what stays: SIGTERM or a crash leaves programs and maps pinned, so that the
 * next daemon takes over without a gap, and if none comes the lease runs out and everything passes.
 * `sluicectl detach` removes it all.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "config/config.h"
#include "control/control.h"
#include "core/active.h"
#include "core/controller.h"
#include "core/explain.h"
#include "core/parse.h"
#include "core/state.h"
#include "core/text.h"
#include "datapath/datapath.h"
#include "metrics/metrics.h"

#define EXIT_FAILED    1
#define EXIT_USAGE     2 /* wrong configuration or environment: starting again will not help */
#define TICK_NS        100000000ULL
#define TICKS_A_SECOND 10
#define SHORT_LEASE_MS 400
#define DRAIN_NS       10000000000ULL /* tombstones after `detach` */
#define LOG_LINES      10             /* a second, of models opening and shutting */
#define INTERFACES_MAX 64
#define NO_QUOTA_LEFT  "there is no room for another quota (%d are held)"
#define MAPS_AGE_NS    1000000000ULL /* how old the fill of maps may be that is shown */

/* An array that grows; its items are handed to the state. */
struct list {
	void *items;
	size_t count, capacity;
};

struct weighted {
	struct sluice_weighted_key key;
	uint32_t id;
};

static struct daemon {
	struct config config;
	char **argv;
	int argc;
	struct controller controller;
	struct daemon_state state;
	struct datapath *datapath;
	struct control *control;
	struct metrics *metrics;
	bool placed[SLUICE_MODELS_MAX]; /* in the kernel's model_ids */
	bool dirty[SLUICE_MODELS_MAX];  /* had a sample since its flag was last looked at */
	bool shut[SLUICE_MODELS_MAX];
	bool any_weight;      /* of a prefix */
	struct active active; /* who wants something of each law */
	struct list counts, clients, client_rules, prefix_rules, client_quotas;
	struct list weights; /* uint16_t: in use */
	struct list
		weighted; /* struct weighted: what they make of the quotas that are everybody's */
	struct quota_book quotas;
	bool claimed[SLUICE_QUOTAS_MAX]; /* ids handed out, perhaps not in a map yet */
	uint64_t renewed_ns, maps_ns, drain_until_ns;
	uint64_t next_expiry_ns; /* of a client's rule; 0: none */
	unsigned ticks, log_lines;
	bool running;
	int status;
} daemon_;

/* Left out where whoever reads our log does not keep up: writing to a full pipe would hold up the
 * loop, and the lease. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	struct pollfd log = {.fd = STDERR_FILENO, .events = POLLOUT};
	va_list args;

	if (daemon_.running && poll(&log, 1, 0) == 0)
		return;
	fputs("sluiced: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static void look_at_the_clock(struct daemon *d)
{
	d->state.now_ns = clock_ns(CLOCK_MONOTONIC);
	d->state.unix_ns = clock_ns(CLOCK_REALTIME);
}

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

/* systemd, where it started us: one datagram to the socket that it named. */
static void notify(const char *what)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (!len || len >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, path, len);
	if (path[0] == '@')
		address.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	sendto(fd, what, strlen(what), MSG_NOSIGNAL, (struct sockaddr *)&address,
	       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	close(fd);
}

/* ---- the lease ---- */

/* A quarter of a lease that is short, else half a tick. */
static uint64_t renew_every_ns(const struct daemon *d)
{
	uint64_t quarter = d->config.lease_ms * 1000000ULL / 4;

	return quarter < TICK_NS / 2 ? quarter : TICK_NS / 2;
}

static void renew_lease(struct daemon *d)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);

	if (now - d->renewed_ns < renew_every_ns(d))
		return;
	if (datapath_renew_lease(d->datapath, now + d->config.lease_ms * 1000000ULL)) {
		if (d->log_lines++ < LOG_LINES)
			say("cannot renew the lease: %s", datapath_error());
		return;
	}
	d->renewed_ns = now;
}

/*
 * A daemon that walks a large map is not one that hangs: what takes long says so here in every
 * step. Before the loop runs the lease is still the last daemon's, put off by datapath_open().
 */
static void on_alive(void *arg)
{
	struct daemon *d = arg;

	if (d->running)
		renew_lease(d);
}

/* ---- the state, filled from the datapath when somebody asks ---- */

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

static void collect_client_rule(void *arg, const struct sluice_client_flag_key *key,
				const struct sluice_client_flag *flag)
{
	struct state_client_rule *item = append(arg, sizeof(*item));

	if (item)
		*item = (struct state_client_rule){*key, *flag};
}

static void collect_prefix_rule(void *arg, const struct sluice_prefix_key *key,
				const struct sluice_prefix *prefix)
{
	struct state_prefix_rule *item = append(arg, sizeof(*item));

	if (item)
		*item = (struct state_prefix_rule){*key, *prefix};
}

static void collect_client_quota(void *arg, const struct sluice_client_flag_key *key, uint32_t id)
{
	struct state_client_quota *item = append(arg, sizeof(*item));

	if (item)
		*item = (struct state_client_quota){*key, id};
}

static void collect_rules(struct daemon *d)
{
	d->client_rules.count = d->prefix_rules.count = d->client_quotas.count = 0;
	datapath_each_client_quota(d->datapath, collect_client_quota, &d->client_quotas);
	d->state.client_quotas = d->client_quotas.items;
	d->state.client_quota_count = d->client_quotas.count;
	datapath_each_client_flag(d->datapath, collect_client_rule, &d->client_rules);
	datapath_each_prefix(d->datapath, collect_prefix_rule, &d->prefix_rules);
	d->state.client_rules = d->client_rules.items;
	d->state.client_rule_count = d->client_rules.count;
	d->state.prefix_rules = d->prefix_rules.items;
	d->state.prefix_rule_count = d->prefix_rules.count;
}

static void collect_maps(struct daemon *d)
{
	static struct state_map maps[] = {
		{.name = "conns"},           {.name = "tombstones"},
		{.name = "half_open"},       {.name = "model_ids"},
		{.name = "services"},        {.name = "client_flags"},
		{.name = "client_prefixes"}, {.name = "client_in_flight"},
		{.name = "client_counts"},   {.name = "request_counts"},
		{.name = "client_quotas"},   {.name = "client_state"},
		{.name = "replies"},         {.name = "priorities"},
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

static int write_flags(struct daemon *d, bool dirty_only);

static void refresh(void *arg, unsigned parts)
{
	struct daemon *d = arg;
	struct daemon_state *s = &d->state;

	on_alive(d);
	look_at_the_clock(d);
	if (parts & STATE_MODELS)
		write_flags(d, false); /* what is shown is what the kernel does, not what it will do
					  at the next tick */
	for (uint32_t id = 0; parts & (STATE_MODELS | STATE_HISTOGRAMS) && id < SLUICE_MODELS_MAX;
	     id++) {
		if (!state_model_in_use(s, id))
			continue;
		datapath_get_load(d->datapath, id, s->now_ns, &s->kernel[id]);
		if (parts & STATE_HISTOGRAMS)
			datapath_get_histogram(d->datapath, id, &s->histograms[id]);
	}
	if (parts & STATE_COUNTS) {
		d->counts.count = 0;
		datapath_each_count(d->datapath, collect_count, &d->counts);
		s->counts = d->counts.items;
		s->count_count = d->counts.count;
		datapath_get_counters(d->datapath, s->counters);
	}
	if (parts & STATE_MAPS)
		collect_maps(d);
	if (parts & STATE_CLIENTS) {
		d->clients.count = 0;
		datapath_each_client(d->datapath, collect_client, &d->clients);
		s->clients = d->clients.items;
		s->client_count = d->clients.count;
	}
	if (parts & STATE_RULES)
		collect_rules(d);
}

/* ---- flags: what the controller says, into the kernel ---- */

static bool publish_model(struct daemon *d, uint32_t id)
{
	if (id < SLUICE_MODEL_FIRST || d->placed[id] || d->controller.model[id].is_pool)
		return true;
	d->placed[id] = !datapath_set_model(d->datapath, d->controller.model[id].name, id);
	return d->placed[id];
}

static void model_changed(struct daemon *d, uint32_t id, bool shut)
{
	const struct controller_model *m = &d->controller.model[id];
	struct controller_targets t = controller_targets(&d->controller, id);
	struct controller_reading r = controller_read(&d->controller, id, d->state.now_ns);

	d->shut[id] = shut;
	d->state.changed_ns[id] = d->state.now_ns;
	d->state.changes[id]++;
	control_model_changed(d->control, id);
	if (d->log_lines++ >= LOG_LINES)
		return;
	if (!shut)
		say("model %s opened", m->name);
	else if (d->controller.all.policy == CONTROLLER_ADAPTIVE)
		say("model %s stopped: what waits for a first token moves no more", m->name);
	else if (r.reason == SLUICE_REASON_ITL)
		say("model %s shut: itl %.1f ms over %.1f ms", m->name, r.itl_ms, t.itl_ms);
	else
		say("model %s shut: ttft %.0f ms over %.0f ms", m->name, r.ttft_ms, t.ttft_ms);
}

static int write_flag(struct daemon *d, uint32_t id)
{
	struct sluice_model_flag flag;
	bool open;
	int ret = 0;

	d->dirty[id] = false;
	if (controller_flag(&d->controller, id, d->state.now_ns, &flag))
		ret = datapath_set_flag(d->datapath, id, d->controller.model[id].name, &flag);
	if (ret) {
		d->controller.model[id].ever_written = false; /* so it is tried again */
		if (d->log_lines++ < LOG_LINES)
			say("cannot write the flag of model %s: %s", d->controller.model[id].name,
			    datapath_error());
		return ret;
	}
	/* Under policy adaptive a model may be shut by its admission, or its group's, while its
	 * flag is open. */
	open = controller_read(&d->controller, id, d->state.now_ns).open;
	if (open == d->shut[id])
		model_changed(d, id, !open);
	return 0;
}

static int write_flags(struct daemon *d, bool dirty_only)
{
	int ret = 0, first = 0;

	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++) {
		if (!state_model_in_use(&d->state, id) || (dirty_only && !d->dirty[id]))
			continue;
		publish_model(d, id);
		ret = write_flag(d, id);
		first = first ? first : ret;
	}
	return first;
}

/* What a client counts for where a law's places are shared out. The holder of a key is in no
 * prefix. */
static double weight_of(void *arg, const struct sluice_client *client)
{
	struct daemon *d = arg;
	struct sluice_prefix prefix;

	if (!d->any_weight || client->kind != SLUICE_CLIENT_ADDRESS ||
	    !datapath_get_prefix(d->datapath, client->addr, &prefix) || !prefix.weight)
		return 1;
	return (double)prefix.weight / SLUICE_WEIGHT_ONE;
}

/* The client came to the model's law, whatever became of it. */
static void note_client(struct daemon *d, const struct sluice_client *client, uint32_t model,
			uint64_t at_ns)
{
	uint32_t pool = controller_pool(&d->controller, model);

	if (d->controller.model[pool].adapting)
		active_seen(&d->active, client, (uint16_t)pool, weight_of, d, at_ns);
}

static void on_sample(void *arg, const struct sluice_sample *sample)
{
	struct daemon *d = arg;
	uint32_t id = controller_sample(&d->controller, sample);

	d->dirty[id] = d->dirty[SLUICE_MODEL_ALL] = true;
	d->dirty[controller_pool(&d->controller, id)] = true;
	note_client(d, &sample->client, id, sample->time_ns);
}

/* ---- policy adaptive: what the kernel holds, into the controller ---- */

static void look(struct daemon *d)
{
	static double active[SLUICE_MODELS_MAX];

	memset(active, 0, sizeof(active));
	active_weights(&d->active, d->state.now_ns, active);
	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++) {
		struct adaptive_view view = {0};
		struct state_load load;

		if (!d->controller.model[id].name[0])
			continue;
		if (controller_adapts(&d->controller, id) &&
		    !datapath_get_load(d->datapath, id, d->state.now_ns, &load)) {
			view = (struct adaptive_view){
				.in_flight = load.in_flight,
				.waiting = load.waiting,
				.waiting_bytes = load.waiting_bytes,
				.shadow_in_flight = load.shadow_in_flight,
				.oldest_ns = load.oldest_ns,
				.active_weight = active[id],
				.admitted = load.admitted,
				.ended = load.ended,
			};
			memcpy(view.refused, load.refused, sizeof(view.refused));
		}
		controller_look(&d->controller, id, &view, d->state.now_ns);
	}
}

static void on_refusal(void *arg, const struct sluice_refusal *refusal)
{
	struct daemon *d = arg;

	if (!refusal->at_syn && refusal->model < SLUICE_MODELS_MAX)
		note_client(d, &refusal->client, refusal->model, refusal->time_ns);
	if (d->control)
		control_refusal(d->control, refusal);
}

static void on_notice(void *arg, const char *text)
{
	say("%s", text);
}

/* ---- quotas: definitions into ids, ids to clients and prefixes ---- */

static void mark_client_quota(void *arg, const struct sluice_client_flag_key *key, uint32_t id)
{
	((bool *)arg)[id % SLUICE_QUOTAS_MAX] = true;
}

static void mark_prefix(void *arg, const struct sluice_prefix_key *key,
			const struct sluice_prefix *prefix)
{
	((bool *)arg)[prefix->quota % SLUICE_QUOTAS_MAX] = true;
}

static void mark_weighted(void *arg, const struct sluice_weighted_key *key, uint32_t id)
{
	((bool *)arg)[id % SLUICE_QUOTAS_MAX] = true;
}

static bool *used_quotas(struct daemon *d)
{
	static bool used[SLUICE_QUOTAS_MAX];

	memcpy(used, d->claimed, sizeof(used));
	for (size_t i = 0; i < d->state.service_count; i++)
		used[d->state.services[i].quota_id] = true;
	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++)
		used[d->controller.model[id].quota] = true;
	for (size_t i = 0; i < d->weighted.count; i++)
		used[((struct weighted *)d->weighted.items)[i].id] = true;
	datapath_each_weighted(d->datapath, mark_weighted, used);
	datapath_each_client_quota(d->datapath, mark_client_quota, used);
	datapath_each_prefix(d->datapath, mark_prefix, used);
	return used;
}

/* *id of a definition, which the kernel knows from then on. */
static int quota_id(struct daemon *d, const struct quota_def *def, unsigned scope, const char *name,
		    bool manual, uint32_t *out)
{
	struct sluice_quota value;
	bool fresh, taken;
	uint32_t id = quota_book_id(&d->quotas, def, scope, name, manual, NULL, &fresh, &taken);
	int ret = 0;

	if (!id)
		id = quota_book_id(&d->quotas, def, scope, name, manual, used_quotas(d), &fresh,
				   &taken);
	if (!id) {
		say(NO_QUOTA_LEFT, SLUICE_QUOTAS_MAX - 1);
		return -ENOSPC;
	}
	if (taken)
		ret = datapath_forget_budgets(d->datapath, id);
	quota_value(&value, def);
	/* The texts again even of one that is known: a daemon of another version may word them
	 * otherwise. */
	if (!ret && (fresh || !d->claimed[id]))
		ret = datapath_set_quota(d->datapath, id, &value, &d->quotas.text[id]);
	if (ret) {
		if (fresh)
			memset(&d->quotas.text[id], 0, sizeof(d->quotas.text[id]));
		say("%s", datapath_error());
		return ret;
	}
	d->claimed[id] = true;
	*out = id;
	return 0;
}

static bool manual(const struct daemon *d, uint32_t id)
{
	return id && id < SLUICE_QUOTAS_MAX && d->quotas.text[id].manual;
}

/* ---- weights: each times each quota that is everybody's is a quota, too ---- */

static int add_weight(struct daemon *d, uint16_t weight)
{
	uint16_t *weights = d->weights.items, *more;

	if (!weight || weight == SLUICE_WEIGHT_ONE)
		return 0;
	for (size_t i = 0; i < d->weights.count; i++)
		if (weights[i] == weight)
			return 0;
	more = append(&d->weights, sizeof(*more));
	if (!more)
		return -ENOMEM;
	*more = weight;
	return 0;
}

/* Those of the file's prefixes, and those said by hand. What they make of quotas is forgotten, to
 * be made anew. */
static int collect_weights(struct daemon *d, const struct config *config)
{
	int ret = 0;

	d->weights.count = d->weighted.count = 0;
	for (unsigned i = 0; i < config->prefix_count && !ret; i++)
		ret = add_weight(d, config->prefixes[i].weight);
	collect_rules(d);
	for (size_t i = 0; i < d->state.prefix_rule_count && !ret; i++)
		if (d->state.prefix_rules[i].prefix.own & SLUICE_PREFIX_WEIGHT_MANUAL)
			ret = add_weight(d, d->state.prefix_rules[i].prefix.weight);
	return ret;
}

static struct weighted *find_weighted(struct daemon *d, const struct sluice_weighted_key *key)
{
	struct weighted *weighted = d->weighted.items;

	for (size_t i = 0; i < d->weighted.count; i++)
		if (!memcmp(&weighted[i].key, key, sizeof(*key)))
			return &weighted[i];
	return NULL;
}

/* Puts what this weight makes of the quota `id`, which is everybody's, into *out. -EINVAL with the
 * reason. */
static int weigh(struct daemon *d, uint32_t id, uint16_t weight, struct quota_def *out, char *err,
		 size_t err_len)
{
	char why[256], words[QUOTA_TEXT_MAX], number[TEXT_WEIGHT_MAX];
	struct quota_def def;

	quota_of_text(&def, &d->quotas.text[id]);
	if (!quota_scale(out, &def, weight, why, sizeof(why)))
		return 0;
	quota_words(words, &def);
	text_weight(number, weight);
	snprintf(err, err_len, "weight %s of the quota %s: %s", number, words, why);
	return -EINVAL;
}

static int check_weight(struct daemon *d, uint32_t id, uint16_t weight, char *err, size_t err_len)
{
	struct quota_def unused;

	return weigh(d, id, weight, &unused, err, err_len);
}

/* Where no such quota can be, the quota itself holds. */
static int scale_quota(struct daemon *d, uint32_t id, uint16_t weight, char *err, size_t err_len)
{
	const struct sluice_quota_text text = d->quotas.text[id];
	struct weighted w = {.key = {weight, (__u16)id}}, *more;
	struct quota_def scaled;
	int ret;

	if (find_weighted(d, &w.key))
		return 0;
	if (weigh(d, id, weight, &scaled, err, err_len)) {
		say("%s; it counts as 1", err);
		return 0;
	}
	ret = quota_id(d, &scaled, text.scope, text.name, false, &w.id);
	if (ret == -ENOSPC)
		snprintf(err, err_len, NO_QUOTA_LEFT, SLUICE_QUOTAS_MAX - 1);
	else if (ret)
		snprintf(err, err_len, "%s", datapath_error());
	if (ret)
		return ret;
	more = append(&d->weighted, sizeof(*more));
	if (!more)
		return -ENOMEM;
	*more = w;
	ret = datapath_set_weighted(d->datapath, &w.key, w.id);
	if (ret)
		snprintf(err, err_len, "%s", datapath_error());
	return ret;
}

/* *id of a quota that is everybody's, and of its part for each weight. */
static int everybodys_quota_id(struct daemon *d, const struct quota_def *def, unsigned scope,
			       const char *name, uint32_t *out)
{
	int ret = quota_id(d, def, scope, name, false, out);
	char err[512];

	for (size_t i = 0; i < d->weights.count && !ret; i++)
		ret = scale_quota(d, *out, ((uint16_t *)d->weights.items)[i], err, sizeof(err));
	return ret;
}

/* Calls each() with the quotas that are everybody's now. Stops at its first error. */
static int each_everybodys_quota(struct daemon *d, uint16_t weight, char *err, size_t err_len,
				 int (*each)(struct daemon *d, uint32_t id, uint16_t weight,
					     char *err, size_t err_len))
{
	int ret = 0;

	for (size_t i = 0; i < d->state.service_count && !ret; i++)
		if (d->state.services[i].quota_id)
			ret = each(d, d->state.services[i].quota_id, weight, err, err_len);
	for (uint32_t id = 0; id < SLUICE_MODELS_MAX && !ret; id++)
		if (d->controller.model[id].quota)
			ret = each(d, d->controller.model[id].quota, weight, err, err_len);
	return ret;
}

/* What the weights make of everybody's quotas, from the start: what only a former weight made is
 * left out. */
static int rebuild_weights(struct daemon *d, char *err, size_t err_len)
{
	int ret = collect_weights(d, &d->config);

	for (size_t i = 0; i < d->weights.count && !ret; i++)
		ret = each_everybodys_quota(d, ((uint16_t *)d->weights.items)[i], err, err_len,
					    scale_quota);
	return ret;
}

static void collect_weighted(void *arg, const struct sluice_weighted_key *key, uint32_t id)
{
	struct weighted *item = append(arg, sizeof(*item));

	if (item)
		*item = (struct weighted){*key, id};
}

/* Takes out of the map what no weight and no quota stands for any more. */
static void drop_weighted(struct daemon *d)
{
	struct list found = {0};
	struct weighted *items;

	datapath_each_weighted(d->datapath, collect_weighted, &found);
	items = found.items;
	for (size_t i = 0; i < found.count; i++)
		if (!find_weighted(d, &items[i].key))
			datapath_clear_weighted(d->datapath, &items[i].key);
	free(found.items);
}

/* Makes client_prefixes say what `rules` does of itself, and what follows from that. Takes out what
 * says nothing. */
static int write_prefixes(struct daemon *d, struct list *list)
{
	struct state_prefix_rule *rules = list->items;
	size_t kept = 0;
	int ret = 0, first = 0;

	for (size_t i = 0; i < list->count; i++) {
		if (rules[i].prefix.own) {
			rules[kept++] = rules[i];
			continue;
		}
		ret = datapath_clear_prefix(d->datapath, &rules[i].key);
		first = first || ret == -ENOENT ? first : ret;
	}
	list->count = kept;
	quota_inherit(rules, kept);
	d->any_weight = false;
	for (size_t i = 0; i < kept; i++)
		d->any_weight |= rules[i].prefix.weight != 0;
	for (size_t i = 0; i < kept; i++) {
		on_alive(d);
		ret = datapath_set_prefix(d->datapath, &rules[i].key, &rules[i].prefix);
		first = first ? first : ret;
	}
	return first;
}

/* The entry of a prefix in the list just collected, made where there is none. */
static struct sluice_prefix *prefix_of(struct daemon *d, const struct sluice_prefix_key *key)
{
	struct state_prefix_rule *rules = d->prefix_rules.items, *more;

	for (size_t i = 0; i < d->prefix_rules.count; i++)
		if (!memcmp(&rules[i].key, key, sizeof(*key)))
			return &rules[i].prefix;
	more = append(&d->prefix_rules, sizeof(*more));
	if (!more)
		return NULL;
	*more = (struct state_prefix_rule){.key = *key};
	return &more->prefix;
}

static int compare_keys(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct sluice_client_flag_key));
}

static int learn(struct daemon *d, const char *name, uint32_t *id)
{
	*id = controller_learn(&d->controller, name, d->state.now_ns);
	if (*id < SLUICE_MODEL_FIRST) {
		say("model \"%s\": there is no room for its name (%d are held)", name,
		    SLUICE_MODELS_MAX - SLUICE_MODEL_FIRST);
		return -ENOSPC;
	}
	d->controller.model[*id].pinned = true;
	return 0;
}

static int apply_client_quota(struct daemon *d, const struct config_quota *q,
			      const struct sluice_client_flag_key *key)
{
	uint32_t id, now;
	int ret;

	if (!datapath_get_client_quota(d->datapath, key, &now))
		now = 0;
	if (manual(d, now))
		return 0;
	ret = quota_id(d, &q->quota, q->model[0] ? SLUICE_SCOPE_CLIENT_MODEL : SLUICE_SCOPE_CLIENT,
		       q->model, false, &id);
	return ret || id == now ? ret : datapath_set_client_quota(d->datapath, key, id);
}

/* Clients' own quotas as the file has them, but for what was said by hand; `keys` is filled with
 * all it names. */
static int apply_client_quotas(struct daemon *d, const struct config *config, struct list *keys)
{
	int ret = 0;

	for (unsigned i = 0; i < config->quota_count && !ret; i++) {
		const struct config_quota *q = &config->quotas[i];
		struct sluice_client clients[SLUICE_SERVICES_MAX];
		uint32_t model = SLUICE_MODEL_ALL;
		size_t n;

		on_alive(d);
		if (!q->subject.one)
			continue;
		if (q->model[0])
			ret = learn(d, q->model, &model);
		n = explain_clients(&d->state, &q->subject, clients);
		for (size_t k = 0; k < n && !ret; k++) {
			struct sluice_client_flag_key *key = append(keys, sizeof(*key));

			if (!key)
				return -ENOMEM;
			*key = (struct sluice_client_flag_key){.client = clients[k],
							       .model = model};
			ret = apply_client_quota(d, q, key);
		}
	}
	return ret;
}

static int apply_prefixes(struct daemon *d, const struct config *config)
{
	struct state_prefix_rule *rules = d->prefix_rules.items;
	int ret = 0;

	for (size_t i = 0; i < d->prefix_rules.count; i++) {
		if (!manual(d, rules[i].prefix.quota))
			rules[i].prefix.own &= (__u8)~SLUICE_PREFIX_OWN_QUOTA;
		if (!(rules[i].prefix.own & SLUICE_PREFIX_WEIGHT_MANUAL))
			rules[i].prefix.own &= (__u8)~SLUICE_PREFIX_OWN_WEIGHT;
	}
	for (unsigned i = 0; i < config->quota_count && !ret; i++) {
		const struct config_quota *q = &config->quotas[i];
		struct sluice_prefix *prefix;
		uint32_t id;

		on_alive(d);
		if (q->subject.one)
			continue;
		prefix = prefix_of(d, &q->subject.prefix);
		if (!prefix)
			return -ENOMEM;
		if (prefix->own & SLUICE_PREFIX_OWN_QUOTA && manual(d, prefix->quota))
			continue;
		ret = quota_id(d, &q->quota, SLUICE_SCOPE_CLIENT, NULL, false, &id);
		if (!ret) {
			prefix->own |= SLUICE_PREFIX_OWN_QUOTA;
			prefix->quota = (__u16)id;
		}
	}
	for (unsigned i = 0; i < config->prefix_count && !ret; i++) {
		struct sluice_prefix *prefix = prefix_of(d, &config->prefixes[i].prefix);

		on_alive(d);
		if (!prefix)
			return -ENOMEM;
		if (prefix->own & SLUICE_PREFIX_WEIGHT_MANUAL)
			continue;
		prefix->own |= SLUICE_PREFIX_OWN_WEIGHT;
		prefix->weight = config->prefixes[i].weight;
	}
	return ret ? ret : write_prefixes(d, &d->prefix_rules);
}

/* Makes clients' and prefixes' quotas those of the file; what was said by hand goes over it. */
static int apply_quotas(struct daemon *d, const struct config *config)
{
	struct list keys = {0};
	int ret = apply_client_quotas(d, config, &keys);

	collect_rules(d);
	if (keys.count)
		qsort(keys.items, keys.count, sizeof(struct sluice_client_flag_key), compare_keys);
	for (size_t i = 0; i < d->state.client_quota_count && !ret; i++) {
		const struct state_client_quota *q = &d->state.client_quotas[i];

		if (!manual(d, q->quota) &&
		    (!keys.count ||
		     !bsearch(&q->key, keys.items, keys.count, sizeof(q->key), compare_keys)))
			datapath_clear_client_quota(d->datapath, &q->key);
	}
	free(keys.items);
	if (!ret)
		ret = apply_prefixes(d, config);
	if (!ret)
		drop_weighted(d);
	return ret;
}

/* ---- priority classes ---- */

/* Those of keys and of headers' values. */
static int apply_priority_keys(struct daemon *d, const struct config *config)
{
	size_t capacity = config->priority_count, n = 0;
	struct datapath_priority *list;
	int ret = 0;

	for (unsigned i = 0; i < config->service_count; i++)
		capacity += config->services[i].priority.count;
	list = calloc(capacity + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	for (unsigned i = 0; i < config->priority_count; i++)
		if (config->priorities[i].key)
			list[n++] = (struct datapath_priority){config->priorities[i].client,
							       config->priorities[i].class};
	for (unsigned i = 0; i < config->service_count && !ret; i++) {
		const struct priority *p = &config->services[i].priority;

		for (unsigned v = 0; v < p->count && !ret; v++) {
			ret = datapath_header_key(d->datapath, i, p->values[v].text, &list[n].key);
			list[n++].class = p->values[v].class;
		}
	}
	if (!ret)
		ret = datapath_set_priorities(d->datapath, list, n);
	free(list);
	return ret;
}

static int apply_priorities(struct daemon *d, const struct config *config)
{
	struct state_prefix_rule *rules;
	int ret = apply_priority_keys(d, config);

	if (ret)
		return ret;
	collect_rules(d);
	rules = d->prefix_rules.items;
	for (size_t i = 0; i < d->prefix_rules.count; i++)
		rules[i].prefix.own &= (__u8)~SLUICE_PREFIX_OWN_PRIORITY;
	for (unsigned i = 0; i < config->priority_count; i++) {
		const struct config_priority *p = &config->priorities[i];
		struct sluice_prefix *prefix;

		if (p->key)
			continue;
		prefix = prefix_of(d, &p->prefix);
		if (!prefix)
			return -ENOMEM;
		prefix->own |= SLUICE_PREFIX_OWN_PRIORITY;
		prefix->priority = (__u8)(p->class + 1);
	}
	return write_prefixes(d, &d->prefix_rules);
}

static void adopt_quota(void *arg, uint32_t id, const struct sluice_quota_text *text)
{
	((struct daemon *)arg)->quotas.text[id] = *text;
}

/* ---- what is asked of the kernel one at a time ---- */

static bool look_verdict(void *arg, uint32_t service, struct sluice_question *question,
			 struct sluice_answer *out)
{
	on_alive(arg); /* asked of every client in a list */
	return !datapath_predict(((struct daemon *)arg)->datapath, service, question, out);
}

static bool look_counts(void *arg, const struct sluice_client *client,
			struct sluice_client_count *out, int64_t *in_flight)
{
	return datapath_get_client(((struct daemon *)arg)->datapath, client, out, in_flight);
}

static bool look_key(void *arg, const char *secret, size_t len, struct sluice_client *out)
{
	return !datapath_key_client(((struct daemon *)arg)->datapath, secret, len, out);
}

static const struct state_lookup lookup = {
	.arg = &daemon_,
	.verdict = look_verdict,
	.counts = look_counts,
	.key = look_key,
};

/* ---- the configuration, into controller and services ---- */

static enum sluice_mode mode_now(const struct daemon *d)
{
	return d->controller.all.mode != SLUICE_MODE_DEFAULT ? d->controller.all.mode
							     : d->config.mode;
}

static struct controller_targets targets_of(const struct config *config)
{
	return (struct controller_targets){
		.ttft_ms = config->ttft_threshold_ms,
		.itl_ms = config->itl_threshold_ms,
		.tau_s = config->time_constant_secs,
		.max_in_flight = -1,
		.policy = (uint8_t)config->policy,
		.ttft_ms_per_kib = config->ttft_ms_per_kib,
		.floor = config->floor,
	};
}

static int learn_configured(struct daemon *d, const struct config *config)
{
	uint32_t id;
	int ret = collect_weights(d, config);

	if (ret)
		return ret;
	for (unsigned i = 0; i < config->service_count; i++) {
		ret = learn(d, config->services[i].model, &id);
		if (ret)
			return ret;
	}
	for (unsigned i = 0; i < config->model_count; i++) {
		const struct config_model *m = &config->models[i];

		ret = learn(d, m->name, &id);
		if (ret)
			return ret;
		if (m->pool[0]) {
			int group = controller_declare_pool(&d->controller, m->pool);

			if (group < 0) {
				say("pool \"%s\": there is no room for its name", m->pool);
				return group;
			}
			controller_join(&d->controller, id, (uint32_t)group);
		}
		d->controller.model[id].own.floor = m->floor ? (int64_t)m->floor : -1;
		d->controller.model[id].own.ttft_ms_per_kib = m->ttft_ms_per_kib;
		d->controller.model[id].own.ttft_ms = m->ttft_threshold_ms;
		d->controller.model[id].own.itl_ms = m->itl_threshold_ms;
		d->controller.model[id].own.max_in_flight =
			m->max_in_flight ? (int64_t)m->max_in_flight : -1;
		d->controller.model[id].unary = m->unary;
		if (m->has_quota) {
			uint32_t quota;

			ret = everybodys_quota_id(d, &m->quota, SLUICE_SCOPE_MODEL, m->name,
						  &quota);
			if (ret)
				return ret;
			d->controller.model[id].quota = (uint16_t)quota;
		}
	}
	return 0;
}

/* What the configuration says of a service, with its names resolved. What `set` said of all goes
 * over what the file says of each. */
static int resolve_service(struct daemon *d, struct service *s, uint32_t id)
{
	const struct controller_targets *all = &d->controller.all;
	int model = controller_find(&d->controller, s->model), ret = 0;
	char endpoint[TEXT_SERVICE_MAX];
	uint32_t quota = 0;

	text_endpoint(endpoint, s->addr, s->wildcard, s->port);
	if (s->has_quota)
		ret = everybodys_quota_id(d, &s->quota, SLUICE_SCOPE_SERVICE, endpoint, &quota);
	s->id = id;
	s->model_id = model < 0 ? SLUICE_MODEL_OTHER : (uint32_t)model;
	s->quota_id = (uint16_t)quota;
	if (all->action)
		s->action = all->action;
	if (all->mode)
		s->mode = all->mode;
	return ret;
}

static int write_services(struct daemon *d, const struct config *config)
{
	size_t n = config->service_count;
	struct service *services = calloc(n + 1, sizeof(*services));
	int ret = services ? 0 : -ENOMEM;

	for (size_t i = 0; i < n && !ret; i++) {
		services[i] = config->services[i];
		ret = resolve_service(d, &services[i], (uint32_t)i);
	}
	if (!ret)
		ret = datapath_set_services(d->datapath, services, n);
	if (ret) {
		free(services);
		return ret;
	}
	free(d->state.services);
	d->state.services = services;
	d->state.service_count = n;
	return 0;
}

static void show_config(struct daemon *d)
{
	d->state.mode = mode_now(d);
	d->state.policy = parse_word_of(&parse_as_policy, d->controller.all.policy);
	d->state.lease_ms = d->config.lease_ms;
}

/* ---- what the control socket may ask for ---- */

static int refused(int ret, char *err, size_t err_len)
{
	if (ret)
		snprintf(err, err_len, "%s", datapath_error());
	return ret;
}

static int op_set(void *arg, const char *model, const char *const *pairs, size_t count, char *err,
		  size_t err_len)
{
	struct daemon *d = arg;
	struct controller_targets before = d->controller.all;
	int ret = controller_set_all(&d->controller, model, pairs, count, err, err_len);

	if (ret)
		return ret;
	if (before.action != d->controller.all.action || before.mode != d->controller.all.mode) {
		ret = write_services(d, &d->config);
		if (ret) {
			d->controller.all = before;
			return refused(ret, err, err_len);
		}
	}
	show_config(d);
	look_at_the_clock(d);
	look(d);
	return refused(write_flags(d, false), err, err_len);
}

static void expires(struct daemon *d, uint64_t expires_ns)
{
	if (expires_ns && (!d->next_expiry_ns || expires_ns < d->next_expiry_ns))
		d->next_expiry_ns = expires_ns;
}

static int op_set_client(void *arg, const struct sluice_client_flag_key *key,
			 const struct sluice_client_flag *flag, char *err, size_t err_len)
{
	struct daemon *d = arg;

	expires(d, flag->expires_ns);
	return refused(datapath_set_client(d->datapath, key, flag), err, err_len);
}

static int op_clear_client(void *arg, const struct sluice_client_flag_key *key, char *err,
			   size_t err_len)
{
	struct daemon *d = arg;

	return refused(datapath_clear_client(d->datapath, key), err, err_len);
}

static int op_set_prefix(void *arg, const struct sluice_prefix_key *key,
			 const struct sluice_prefix *prefix, char *err, size_t err_len)
{
	struct daemon *d = arg;

	struct sluice_prefix *now;

	expires(d, prefix->expires_ns);
	collect_rules(d);
	now = prefix_of(d, key);
	if (!now)
		return -ENOMEM;
	now->class = prefix->class;
	now->action = prefix->action;
	now->expires_ns = prefix->expires_ns;
	now->own |= SLUICE_PREFIX_OWN_CLASS;
	return refused(write_prefixes(d, &d->prefix_rules), err, err_len);
}

static int op_clear_prefix(void *arg, const struct sluice_prefix_key *key, char *err,
			   size_t err_len)
{
	struct daemon *d = arg;
	struct sluice_prefix *now;

	collect_rules(d);
	now = prefix_of(d, key);
	if (!now)
		return -ENOMEM;
	if (!(now->own & SLUICE_PREFIX_OWN_CLASS)) {
		snprintf(err, err_len, "client_prefixes has no such entry");
		return -ENOENT;
	}
	now->own &= (__u8)~SLUICE_PREFIX_OWN_CLASS;
	return refused(write_prefixes(d, &d->prefix_rules), err, err_len);
}

static int op_set_quota(void *arg, const struct text_subject *subject, uint32_t model,
			const struct quota_def *def, char *err, size_t err_len)
{
	struct daemon *d = arg;
	struct sluice_client_flag_key key = {.client = subject->client, .model = model};
	bool all = model == SLUICE_MODEL_ALL;
	struct sluice_prefix *prefix;
	uint32_t id;
	int ret;

	memset(d->claimed, 0, sizeof(d->claimed));
	ret = quota_id(d, def, all ? SLUICE_SCOPE_CLIENT : SLUICE_SCOPE_CLIENT_MODEL,
		       all ? NULL : d->controller.model[model].name, true, &id);
	if (ret == -ENOSPC)
		snprintf(err, err_len, NO_QUOTA_LEFT, SLUICE_QUOTAS_MAX - 1);
	if (ret)
		return ret == -ENOSPC ? ret : refused(ret, err, err_len);
	if (subject->one)
		return refused(datapath_set_client_quota(d->datapath, &key, id), err, err_len);
	collect_rules(d);
	prefix = prefix_of(d, &subject->prefix);
	if (!prefix)
		return -ENOMEM;
	prefix->own |= SLUICE_PREFIX_OWN_QUOTA;
	prefix->quota = (__u16)id;
	return refused(write_prefixes(d, &d->prefix_rules), err, err_len);
}

static int op_set_weight(void *arg, const struct sluice_prefix_key *key, uint16_t weight, char *err,
			 size_t err_len)
{
	struct daemon *d = arg;
	struct sluice_prefix *prefix;
	int ret;

	memset(d->claimed, 0, sizeof(d->claimed));
	ret = each_everybodys_quota(d, weight, err, err_len, check_weight);
	if (!ret)
		ret = add_weight(d, weight);
	if (!ret && weight != SLUICE_WEIGHT_ONE)
		ret = each_everybodys_quota(d, weight, err, err_len, scale_quota);
	if (ret)
		return ret;
	collect_rules(d);
	prefix = prefix_of(d, key);
	if (!prefix)
		return -ENOMEM;
	prefix->own |= SLUICE_PREFIX_OWN_WEIGHT | SLUICE_PREFIX_WEIGHT_MANUAL;
	prefix->weight = weight;
	return refused(write_prefixes(d, &d->prefix_rules), err, err_len);
}

/* What the file says of the client holds again. */
static int op_clear_quota(void *arg, const struct text_subject *subject, uint32_t model, char *err,
			  size_t err_len)
{
	struct daemon *d = arg;
	unsigned cleared = 0, of_file = 0;
	struct sluice_prefix *prefix;
	int ret = 0;

	collect_rules(d);
	for (size_t i = 0; subject->one && i < d->state.client_quota_count && !ret; i++) {
		const struct state_client_quota *q = &d->state.client_quotas[i];

		if (memcmp(&q->key.client, &subject->client, sizeof(subject->client)) ||
		    (model != SLUICE_MODEL_ALL && q->key.model != model))
			continue;
		if (!manual(d, q->quota)) {
			of_file++;
			continue;
		}
		ret = datapath_clear_client_quota(d->datapath, &q->key);
		cleared += !ret;
	}
	if (subject->client.kind == SLUICE_CLIENT_ADDRESS && model == SLUICE_MODEL_ALL) {
		prefix = prefix_of(d, &subject->prefix);
		if (!prefix)
			return -ENOMEM;
		if (prefix->own & SLUICE_PREFIX_OWN_QUOTA) {
			if (manual(d, prefix->quota)) {
				prefix->own &= (__u8)~SLUICE_PREFIX_OWN_QUOTA;
				cleared++;
			} else {
				of_file++;
			}
		}
		if (prefix->own & SLUICE_PREFIX_WEIGHT_MANUAL) {
			prefix->own &=
				(__u8) ~(SLUICE_PREFIX_OWN_WEIGHT | SLUICE_PREFIX_WEIGHT_MANUAL);
			cleared++;
		} else if (prefix->own & SLUICE_PREFIX_OWN_WEIGHT) {
			of_file++;
		}
		if (cleared && !ret)
			ret = write_prefixes(d, &d->prefix_rules);
	}
	if (ret)
		return refused(ret, err, err_len);
	if (!cleared) {
		snprintf(
			err, err_len,
			of_file ? "its quota is the configuration's: change it there, or set another over it"
				: "no quota was set for it by hand (`sluicectl quota show` lists them)");
		return -ENOENT;
	}
	ret = rebuild_weights(d, err, err_len);
	return ret ? ret : refused(apply_quotas(d, &d->config), err, err_len);
}

/* The kernel heeds expiry by itself; this only takes away what has ended, and finds the next that
 * will. */
static void expire_rules(struct daemon *d)
{
	uint64_t now = d->state.now_ns;
	bool ended = false;

	if (!d->next_expiry_ns || d->next_expiry_ns > now)
		return;
	d->next_expiry_ns = 0;
	collect_rules(d);
	for (size_t i = 0; i < d->state.client_rule_count; i++) {
		const struct state_client_rule *r = &d->state.client_rules[i];

		if (r->flag.expires_ns && r->flag.expires_ns <= now)
			datapath_clear_client(d->datapath, &r->key);
		else
			expires(d, r->flag.expires_ns);
	}
	for (size_t i = 0; i < d->state.prefix_rule_count; i++) {
		struct state_prefix_rule *r = &d->state.prefix_rules[i];

		if (r->prefix.expires_ns && r->prefix.expires_ns <= now) {
			ended |= !!(r->prefix.own & SLUICE_PREFIX_OWN_CLASS);
			r->prefix.own &= (__u8)~SLUICE_PREFIX_OWN_CLASS;
		} else {
			expires(d, r->prefix.expires_ns);
		}
	}
	if (ended)
		write_prefixes(d, &d->prefix_rules);
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static bool same_interfaces(const struct config *a, const struct config *b)
{
	bool same = a->interface_count == b->interface_count && a->xdp == b->xdp;

	for (unsigned i = 0; same && i < a->interface_count; i++)
		same = !strcmp(a->interfaces[i], b->interfaces[i]);
	return same;
}

static int op_reload(void *arg, char *said, size_t said_len, char *err, size_t err_len)
{
	struct daemon *d = arg;
	struct controller_targets all = d->controller.all;
	struct config config;
	int ret;

	if (config_load(&config, d->argc, d->argv, environ, err, err_len)) {
		say("%s", err);
		return -EINVAL;
	}
	look_at_the_clock(d);
	memset(d->claimed, 0, sizeof(d->claimed));
	d->controller.all = targets_of(&config);
	for (uint32_t id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX; id++) {
		struct controller_model *m = &d->controller.model[id];

		m->own = (struct controller_targets){
			.ttft_ms = -1, .itl_ms = -1, .tau_s = -1, .max_in_flight = -1, .floor = -1};
		controller_join(&d->controller, id, 0);
		m->pinned = m->unary = false;
		m->quota = 0;
	}
	d->controller.per_model = config.per_model_limits;
	ret = learn_configured(d, &config);
	if (!ret)
		ret = write_flags(d, false); /* a default model exists before a service names it */
	if (!ret)
		ret = write_services(d, &config);
	if (!ret)
		ret = apply_quotas(d, &config);
	if (!ret)
		ret = apply_priorities(d, &config);
	if (ret) {
		d->controller.all = all;
		for (uint32_t id = SLUICE_MODEL_FIRST; id < SLUICE_MODELS_MAX; id++)
			controller_join(&d->controller, id, 0);
		learn_configured(d, &d->config);
		write_services(d, &d->config);
		apply_quotas(d, &d->config);
		apply_priorities(d, &d->config);
		d->controller.per_model = d->config.per_model_limits;
		config_free(&config);
		snprintf(err, err_len, "the configuration could not be put in force: %s",
			 ret == -ENOSPC ? "too many model names or quotas" : datapath_error());
		say("%s", err);
		return ret;
	}
	snprintf(said, said_len, "%s%s",
		 config.file ? "configuration read again"
			     : "there is no configuration file: back to the values of the start",
		 !same_interfaces(&config, &d->config) ||
				 !same_text(config.pin_dir, d->config.pin_dir) ||
				 !same_text(config.control, d->config.control) ||
				 !same_text(config.metrics_addr, d->config.metrics_addr) ||
				 config.metrics_port != d->config.metrics_port
			 ? "; changed interfaces, XDP mode, paths and ports wait for a restart"
			 : "");
	config_free(&d->config);
	d->config = config;
	show_config(d);
	say("%s", said);
	return 0;
}

static int op_detach(void *arg, char *err, size_t err_len)
{
	struct daemon *d = arg;
	int ret = d->state.detaching ? 0 : datapath_stop(d->datapath);

	if (ret)
		return refused(ret, err, err_len);
	if (!d->state.detaching) {
		look_at_the_clock(d);
		d->drain_until_ns = d->state.now_ns + DRAIN_NS;
		d->state.detaching = true;
		say("detaching: no new refusals, waiting for the open ones to end");
	}
	return 0;
}

static const struct control_ops ops = {
	.arg = &daemon_,
	.refresh = refresh,
	.set = op_set,
	.set_client = op_set_client,
	.clear_client = op_clear_client,
	.set_prefix = op_set_prefix,
	.clear_prefix = op_clear_prefix,
	.set_quota = op_set_quota,
	.set_weight = op_set_weight,
	.clear_quota = op_clear_quota,
	.reload = op_reload,
	.detach = op_detach,
};

/* ---- the loop ---- */

static void finish_detach(struct daemon *d)
{
	int ret = datapath_remove(d->datapath, d->config.pin_dir);

	if (ret)
		say("detach: %s", datapath_error());
	else
		say("detached; nothing is left in the kernel");
	control_detached(d->control, ret ? datapath_error() : NULL);
	d->running = false;
	d->status = ret ? EXIT_FAILED : 0;
}

static void tick(struct daemon *d)
{
	if (d->state.detaching &&
	    (d->state.now_ns >= d->drain_until_ns || !datapath_tombstones(d->datapath))) {
		finish_detach(d);
		return;
	}
	look(d);
	write_flags(d, false);
	if (++d->ticks % TICKS_A_SECOND)
		return;
	d->log_lines = 0;
	datapath_age(d->datapath, d->state.now_ns);
	expire_rules(d);
	control_expire(d->control, d->state.now_ns);
}

static void on_signal(struct daemon *d, int fd)
{
	struct signalfd_siginfo info;
	char said[400] = "", err[400] = "";

	if (read(fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP) {
		op_reload(d, said, sizeof(said), err, sizeof(err));
		return;
	}
	notify("STOPPING=1");
	if (d->state.detaching) { /* told to go before the last answer was through */
		finish_detach(d);
		return;
	}
	say("stopped; programs and maps stay for the next daemon, and without one all passes in %u ms (`sluicectl detach` removes them)",
	    d->config.lease_ms);
	d->running = false;
}

enum source {
	SOURCE_TICK,
	SOURCE_SIGNAL,
	SOURCE_SAMPLES,
	SOURCE_ADDRESSES,
	SOURCE_CONTROL,
	SOURCE_METRICS
};

static int add_source(int epoll, enum source source, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = source};

	return fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

static void dispatch(struct daemon *d, enum source source, int timer, int signals)
{
	uint64_t expirations;

	switch (source) {
	case SOURCE_TICK:
		if (read(timer, &expirations, sizeof(expirations)) == sizeof(expirations)) {
			datapath_poll(d->datapath); /* not every record wakes us */
			look_at_the_clock(d);
			tick(d);
		}
		if (d->metrics)
			metrics_poll(d->metrics);
		break;
	case SOURCE_SIGNAL:
		on_signal(d, signals);
		break;
	case SOURCE_SAMPLES:
		datapath_poll(d->datapath);
		look_at_the_clock(d);
		write_flags(d, true);
		break;
	case SOURCE_ADDRESSES:
		if (datapath_refresh(d->datapath) && d->log_lines++ < LOG_LINES)
			say("cannot follow this host's addresses: %s", datapath_error());
		break;
	case SOURCE_CONTROL:
		control_poll(d->control, d->state.now_ns);
		break;
	case SOURCE_METRICS:
		metrics_poll(d->metrics);
		break;
	}
}

static int run(struct daemon *d, int signals)
{
	const struct itimerspec every = {
		.it_interval = {.tv_nsec = TICK_NS},
		.it_value = {.tv_nsec = TICK_NS},
	};
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	struct epoll_event events[8];

	if (epoll < 0 || timer < 0 || timerfd_settime(timer, 0, &every, NULL) ||
	    add_source(epoll, SOURCE_TICK, timer) || add_source(epoll, SOURCE_SIGNAL, signals) ||
	    add_source(epoll, SOURCE_SAMPLES, datapath_fd(d->datapath)) ||
	    add_source(epoll, SOURCE_ADDRESSES, datapath_addresses_fd(d->datapath)) ||
	    add_source(epoll, SOURCE_CONTROL, control_fd(d->control)) ||
	    (d->metrics && add_source(epoll, SOURCE_METRICS, metrics_fd(d->metrics)))) {
		say("event loop: %s", strerror(errno));
		return EXIT_FAILED;
	}
	d->running = true;
	while (d->running) {
		/* The tick is soon enough but for a very short lease. */
		int n = epoll_wait(epoll, events, sizeof(events) / sizeof(events[0]),
				   d->config.lease_ms < SHORT_LEASE_MS ? (int)d->config.lease_ms / 4
								       : -1);

		if (n < 0 && errno != EINTR) {
			say("event loop: %s", strerror(errno));
			return EXIT_FAILED;
		}
		renew_lease(d);
		look_at_the_clock(d);
		for (int i = 0; i < n && d->running; i++) {
			dispatch(d, events[i].data.u32, timer, signals);
			on_alive(d);
		}
	}
	close(timer);
	close(epoll);
	return d->status;
}

/* ---- start ---- */

static void adopt_model(void *arg, const char *name, uint32_t id)
{
	struct daemon *d = arg;

	if (!controller_adopt(&d->controller, name, id, d->state.now_ns))
		d->placed[id] = true;
}

/*
 * What is shut stays shut over a restart that began within the lease; after the lease nothing was.
 * But what is known of a server's speed and of how much it takes at once holds longer.
 */
static void adopt_flags(struct daemon *d)
{
	struct sluice_model_flag flag;

	if (datapath_lease_until(d->datapath) <= d->state.started_ns &&
	    d->controller.all.policy != CONTROLLER_ADAPTIVE)
		return;
	for (uint32_t id = 0; id < SLUICE_MODELS_MAX; id++)
		if (state_model_in_use(&d->state, id) &&
		    (d->placed[id] || id == SLUICE_MODEL_ALL || d->controller.model[id].is_pool) &&
		    !datapath_get_flag(d->datapath, id, &flag))
			controller_adopt_flag(&d->controller, id, &flag, d->state.now_ns);
}

static enum datapath_xdp xdp_of(enum config_xdp xdp)
{
	static const enum datapath_xdp of[] = {
		[CONFIG_XDP_AUTO] = DATAPATH_XDP_AUTO,
		[CONFIG_XDP_NATIVE] = DATAPATH_XDP_NATIVE,
		[CONFIG_XDP_GENERIC] = DATAPATH_XDP_GENERIC,
		[CONFIG_XDP_OFF] = DATAPATH_XDP_OFF,
	};

	return of[xdp];
}

static void show_interfaces(struct daemon *d)
{
	static struct datapath_interface found[INTERFACES_MAX];
	static struct state_interface shown[INTERFACES_MAX];
	size_t n = datapath_interfaces(d->datapath, found, INTERFACES_MAX);

	for (size_t i = 0; i < n && i < INTERFACES_MAX; i++) {
		memcpy(shown[i].name, found[i].name, sizeof(shown[i].name));
		shown[i].xdp = found[i].xdp == DATAPATH_XDP_NATIVE    ? "native"
			       : found[i].xdp == DATAPATH_XDP_GENERIC ? "generic"
								      : "off";
		shown[i].tcx = found[i].tcx;
	}
	d->state.interfaces = shown;
	d->state.interface_count = n < INTERFACES_MAX ? n : INTERFACES_MAX;
}

static void print_ready(const struct daemon *d)
{
	const struct daemon_state *s = &d->state;

	fputs("ready: ", stdout);
	for (size_t i = 0; i < s->interface_count; i++)
		printf("%s%s (xdp %s, tc)", i ? ", " : "", s->interfaces[i].name,
		       s->interfaces[i].xdp);
	fputs(", services", stdout);
	for (size_t i = 0; i < s->service_count; i++) {
		const struct service *v = &s->services[i];
		char text[TEXT_SERVICE_MAX];

		text_endpoint(text, v->addr, v->wildcard, v->port);
		printf("%s %s (%s, %s, %s)", i ? "," : "", text, text_protocol(v->protocol),
		       text_action(v->action), text_mode(v->mode));
	}
	putchar('\n');
	fflush(stdout);
	notify("READY=1");
}

/* Everything up to the first refusal, in the order in which it can fail without a trace. */
static int start(struct daemon *d)
{
	const struct datapath_handlers handlers = {
		.arg = d,
		.sample = on_sample,
		.refusal = on_refusal,
		.notice = on_notice,
		.alive = on_alive,
	};
	const struct controller_targets all = targets_of(&d->config);
	char err[512] = "";

	look_at_the_clock(d);
	d->state.started_ns = d->state.now_ns;
	d->state.pid = getpid();
	d->state.controller = &d->controller;
	d->state.quotas = &d->quotas;
	d->state.lookup = &lookup;
	controller_init(&d->controller, &all, d->config.per_model_limits);
	show_config(d);
	if (datapath_open(&d->datapath, d->config.pin_dir, &handlers)) {
		say("%s", datapath_error());
		return -1;
	}
	if (control_open(&d->control, d->config.control, &d->state, &ops, err, sizeof(err)) ||
	    (d->config.metrics_addr &&
	     metrics_open(&d->metrics, d->config.metrics_addr, d->config.metrics_port, &d->state,
			  refresh, d, err, sizeof(err)))) {
		say("%s", err);
		return -1;
	}
	look_at_the_clock(d); /* the kernel's check of the programs takes seconds: what is adopted
				 counts from now */
	datapath_each_model(d->datapath, adopt_model, d);
	datapath_each_quota(d->datapath, adopt_quota, d);
	if (learn_configured(d, &d->config))
		return -1;
	adopt_flags(d);
	if (write_flags(d, false) || write_services(d, &d->config) || apply_quotas(d, &d->config) ||
	    apply_priorities(d, &d->config)) {
		say("%s", datapath_error());
		return -1;
	}
	for (unsigned i = 0; i < d->config.interface_count; i++)
		if (datapath_attach(d->datapath, d->config.interfaces[i], xdp_of(d->config.xdp))) {
			say("%s", datapath_error());
			return -1;
		}
	/* Last of what can fail: a start that does leaves the lease as it was. */
	if (datapath_renew_lease(d->datapath,
				 clock_ns(CLOCK_MONOTONIC) + d->config.lease_ms * 1000000ULL)) {
		say("%s", datapath_error());
		return -1;
	}
	if (datapath_detach_others(d->datapath))
		say("%s", datapath_error());
	d->next_expiry_ns = 1; /* an earlier daemon's rules: look at them in the first second */
	show_interfaces(d);
	print_ready(d);
	return 0;
}

static int block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* True if an earlier daemon's maps are pinned there: then a failed start leaves them be. */
static bool pinned_before(const char *pin_dir)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/settings", pin_dir);
	return !access(path, F_OK);
}

int main(int argc, char **argv)
{
	struct daemon *d = &daemon_;
	int signals, status = EXIT_USAGE;
	char err[2048];
	bool before;
	int ret;

	ret = config_load(&d->config, argc, argv, environ, err, sizeof(err));
	if (ret < 0)
		say("%s", err);
	if (ret)
		return ret > 0 ? 0 : EXIT_USAGE;
	d->argc = argc;
	d->argv = argv;
	signals = block_signals();
	before = pinned_before(d->config.pin_dir);
	if (!start(d))
		status = run(d, signals);
	else if (!before)
		datapath_remove(d->datapath, d->config.pin_dir);
	metrics_close(d->metrics);
	control_close(d->control);
	if (d->datapath)
		datapath_close(d->datapath);
	config_free(&d->config);
	return status;
}
