/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Quotas that the hosts of a fleet share: joins the kernel, fleet/sync.c and the store's client.
 * All of it runs in the loop, and none of it waits.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "config/secret_file.h"
#include "core/fleet.h"
#include "daemon/daemon.h"
#include "fleet/store.h"
#include "fleet/sync.h"

#define HOSTS_EVERY_NS 2000000000ULL /* how often the hosts are asked for */
#define HOSTS_SOON_NS  50000000ULL   /* … while they take up new rules */
#define TAKEN_NS       30000000000ULL
#define TAKEN_TIMES    3 /* a name that was taken by this host's last daemon is not taken */

struct fleet {
	struct daemon *d;
	struct store *store;
	struct sync *sync;
	struct state_fleet shown;
	struct fleet_host hosts[FLEET_HOSTS_MAX];
	char name[64];
	int epoll, timer;
	uint64_t armed_ns; /* the timer's time; 0: it is not armed */
	uint64_t hosts_ns; /* when the hosts were last asked for */
	bool hosts_asked;  /* … and the answer has not come */
	uint64_t policies; /* of the daemon, as the engine knows them */
	int64_t rules;     /* the version that other hosts know */
	uint64_t away_ns;  /* of the store, until it was last up */
	uint64_t start;    /* a random number of this daemon's */
	/* Another daemon calls itself as this one: how often it was seen, and when last. */
	unsigned taken;
	uint64_t taken_ns;
	struct task walk;
};

/* ---- handlers of the engine ---- */

static int run_items(void *arg, struct sluice_fleet_item *items, size_t count)
{
	struct datapath *dp = ((struct fleet *)arg)->d->datapath;
	struct sluice_fleet_item *batch = datapath_fleet_batch(dp);
	int ret;

	memcpy(batch, items, count * sizeof(*items));
	ret = datapath_fleet_run(dp, (unsigned)count);
	if (!ret)
		memcpy(items, batch, count * sizeof(*items));
	return ret;
}

static void tell(void *arg, const struct sluice_fleet *fleet)
{
	datapath_set_fleet(((struct fleet *)arg)->d->datapath, fleet);
}

static void make_call(void *arg, uint64_t number, const struct store_budget *budgets, size_t count)
{
	struct fleet *f = arg;

	store_call(f->store, number, budgets, count, clock_ns(CLOCK_MONOTONIC));
}

/* ---- handlers of the store's client ---- */

/* A store that evicts budgets forgives what they had counted. */
static void look_at_policy(struct fleet *f, const char *policy)
{
	const char *evicts = strcmp(policy, "noeviction") != 0 ? policy : "";

	if (!policy[0] || !strcmp(evicts, f->shown.evicts))
		return;
	snprintf(f->shown.evicts, sizeof(f->shown.evicts), "%s", evicts);
	if (evicts[0])
		say(EVENT_FLEET_STORE_EVICTS,
		    LOG_FIELDS(log_text("host", f->name),
			       log_text("store", store_address(f->store)),
			       log_text("policy", evicts)),
		    "fleet %s: the store may evict budgets, which forgives what was used of them: set its maxmemory-policy, %s, to noeviction",
		    f->shown.name, evicts);
}

static void on_answer(void *arg, const struct store_answer *answer)
{
	struct fleet *f = arg;
	uint64_t now = clock_ns(CLOCK_MONOTONIC);

	f->shown.round_trip_ns = answer->round_trip_ns;
	f->shown.answered_ns = now;
	fleet_call_answered(&f->shown.answered, answer->round_trip_ns);
	look_at_policy(f, answer->policy);
	fleet_rules_seen(f->d, answer->rules, answer->epoch);
	sync_answered(f->sync, answer, now);
}

static void on_store(void *arg, bool up, const char *why)
{
	struct fleet *f = arg;
	uint64_t now = clock_ns(CLOCK_MONOTONIC);

	if (up && !f->shown.up)
		say(EVENT_FLEET_STORE_BACK,
		    LOG_FIELDS(log_text("host", f->name),
			       log_text("store", store_address(f->store)),
			       log_number("away_s", (double)(now - f->shown.since_ns) / 1e9)),
		    "fleet %s: the store %s answers", f->shown.name, store_address(f->store));
	else if (!up && (f->shown.up || !f->shown.why[0]))
		say(EVENT_FLEET_STORE_AWAY,
		    LOG_FIELDS(log_text("host", f->name),
			       log_text("store", store_address(f->store)), log_text("why", why)),
		    "fleet %s: %s; this host gives out %s", f->shown.name, why,
		    f->shown.whole ? "whole budgets" : "its share of each budget");
	if (up && !f->shown.up)
		f->away_ns += now - f->shown.since_ns;
	if (up != f->shown.up)
		f->shown.since_ns = now;
	snprintf(f->shown.why, sizeof(f->shown.why), "%s", up ? "" : why);
	f->shown.up = up;
	sync_up(f->sync, up, now);
}

/* Whether a service identifies its clients by keys. */
static bool knows_keys(const struct daemon *d)
{
	for (size_t i = 0; i < d->state.service_count; i++)
		if (d->state.services[i].rules.key[0][0])
			return true;
	return false;
}

static void report_info(struct fleet *f)
{
	char info[FLEET_INFO_MAX];

	f->shown.keys = knows_keys(f->d) ? hash_secret_mark(f->d) : 0;
	fleet_info(info, SLUICE_VERSION, f->start, f->rules, f->shown.keys, f->d->state.quotas);
	store_set_info(f->store, info);
}

/* The store has what the last of two daemons with one name reported. So each reports again. */
static void look_at_own(struct fleet *f, const struct fleet_host *own)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	bool taken = own->start && own->start != f->start;

	if (f->taken && now - f->taken_ns > TAKEN_NS) {
		f->taken = 0;
		f->shown.name_taken = false;
	}
	if (!taken)
		return;
	f->taken_ns = now;
	report_info(f);
	if (++f->taken < TAKEN_TIMES || f->shown.name_taken)
		return;
	f->shown.name_taken = true;
	say(EVENT_FLEET_NAME_TAKEN, LOG_FIELDS(log_text("host", f->name)),
	    "fleet %s: another daemon is called %s: give each host a name of its own (setting `fleet-host`)",
	    f->shown.name, f->name);
}

static void on_host(void *arg, const char *host, const char *info, uint64_t seen_ms)
{
	struct fleet_host found;
	struct fleet *f = arg;

	if (f->hosts_asked) /* the first of the new list */
		f->shown.list_count = 0;
	f->hosts_asked = false;
	fleet_host_read(&found, host, info, seen_ms, &f->d->desired->quotas);
	if (!strcmp(host, f->name))
		look_at_own(f, &found);
	if (f->shown.list_count < FLEET_HOSTS_MAX)
		f->hosts[f->shown.list_count++] = found;
}

/* ---- the loop ---- */

static void on_change(void *arg, const struct sluice_fleet_change *change)
{
	struct fleet *f = arg;

	sync_changed(f->sync, change, clock_ns(CLOCK_MONOTONIC));
}

static void walked(void *arg, const struct sluice_budget_key *key,
		   const struct sluice_budget *budget)
{
	struct fleet *f = arg;

	sync_walked(f->sync, key, budget, clock_ns(CLOCK_MONOTONIC));
}

static void walk(struct daemon *d)
{
	struct fleet *f = d->fleet;

	if (datapath_each_fleet_budget(d->datapath, walked, f))
		say(EVENT_FLEET_FAILED, NULL, "fleet %s: %s", f->shown.name, datapath_error());
	sync_walk_ends(f->sync, clock_ns(CLOCK_MONOTONIC));
}

/* The quotas or the rules may have changed: the engine and the other hosts know of it. */
static void follow_policy(struct fleet *f)
{
	int64_t rules = fleet_rules_version(f->d);

	if (f->policies == f->d->policies && f->rules == rules)
		return;
	f->rules = rules;
	f->policies = f->d->policies;
	sync_quotas(f->sync, f->d->state.quotas);
	report_info(f);
}

static void ask_hosts(struct fleet *f, uint64_t now)
{
	uint64_t every = fleet_rules_change(f->d, now) ? HOSTS_SOON_NS : HOSTS_EVERY_NS;

	if (!f->shown.up || (f->hosts_ns && now - f->hosts_ns < every))
		return;
	f->hosts_ns = now;
	f->hosts_asked = true;
	store_ask_hosts(f->store, on_host, f);
}

static void arm(struct fleet *f, uint64_t at_ns)
{
	struct itimerspec when = {0};

	if (at_ns == f->armed_ns)
		return;
	f->armed_ns = at_ns;
	if (at_ns != UINT64_MAX) {
		when.it_value.tv_sec = (time_t)(at_ns / 1000000000);
		when.it_value.tv_nsec = (long)(at_ns % 1000000000);
	}
	timerfd_settime(f->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

void fleet_turn(struct daemon *d)
{
	struct fleet *f = d->fleet;
	uint64_t now = clock_ns(CLOCK_MONOTONIC), due, other;
	uint64_t expirations;

	if (!f)
		return;
	if (read(f->timer, &expirations, sizeof(expirations)) == sizeof(expirations))
		f->armed_ns = 0;
	follow_policy(f);
	datapath_fleet_changes(d->datapath, on_change, f);
	store_run(f->store, now);
	fleet_rules_turn(d);
	ask_hosts(f, now);
	if (sync_walk_begins(f->sync))
		start_task(&f->walk);
	due = sync_turn(f->sync, store_idle(f->store), now);
	other = store_timeout_ns(f->store);
	arm(f, due < other ? due : other);
}

int fleet_fd(const struct daemon *d)
{
	return d->fleet ? d->fleet->epoll : -1;
}

/* ---- what is shown ---- */

void show_fleet(struct daemon *d)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	struct fleet *f = d->fleet;
	const struct sync_counts *n;

	if (!f)
		return;
	n = sync_counts(f->sync);
	f->shown.store = store_address(f->store);
	f->shown.hosts = sync_hosts(f->sync);
	show_fleet_rules(d, &f->shown);
	f->shown.epoch = sync_epoch(f->sync);
	f->shown.waiting = sync_waiting(f->sync);
	f->shown.waiting_ns = sync_waiting_ns(f->sync, now);
	f->shown.away_ns = f->away_ns + (f->shown.up ? 0 : now - f->shown.since_ns);
	f->shown.calls = n->calls;
	f->shown.budgets = n->charged;
	f->shown.raised = n->raised;
	f->shown.claimed = n->claimed;
	f->shown.recovered = n->recovered;
	f->shown.lacked = n->lacked;
	f->shown.epochs = n->epochs;
	f->shown.forgotten = n->forgotten;
}

/* ---- start ---- */

static int open_store(struct fleet *f, char *err, size_t len)
{
	const struct config *c = &f->d->config;
	const struct store_handlers handlers = {
		.answered = on_answer, .changed = on_store, .arg = f};
	struct store_config config = {
		.addresses = (const char *const *)c->fleet_stores,
		.address_count = c->fleet_store_count,
		.sentinel_master = c->fleet_sentinel,
		.user = c->fleet_user,
		.fleet = c->fleet,
		.host = f->name,
		.ca = c->fleet_tls_ca,
		.cert = c->fleet_tls_cert,
		.key = c->fleet_tls_key,
		.info = "",
		.incarnation = datapath_fleet_call(f->d->datapath)->incarnation,
	};
	char *password = NULL, why[512];
	int ret = 0;

	if (c->fleet_password_file) {
		ret = secret_file_read(c->fleet_password_file, true, &password, why, sizeof(why));
		if (ret)
			snprintf(err, len, "fleet-password-file: %s", why);
		else
			password[strcspn(password, "\r\n")] = 0;
	}
	config.password = password;
	if (!ret)
		ret = store_new(&f->store, &config, &handlers, err, len);
	secret_file_free(password);
	return ret;
}

/* The last call of this host. Another fleet has none. */
static struct sluice_fleet_call *last_call(const struct fleet *f)
{
	struct sluice_fleet_call *call = datapath_fleet_call(f->d->datapath);

	if (!call->incarnation || strncmp(call->fleet, f->d->config.fleet, sizeof(call->fleet))) {
		*call = (struct sluice_fleet_call){.incarnation = f->start};
		snprintf(call->fleet, sizeof(call->fleet), "%s", f->d->config.fleet);
	}
	return call;
}

static int watch_fds(struct fleet *f)
{
	const int fds[] = {f->timer, store_fd(f->store), datapath_fleet_fd(f->d->datapath)};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		struct epoll_event ev = {.events = EPOLLIN, .data.fd = fds[i]};

		if (fds[i] < 0 || epoll_ctl(f->epoll, EPOLL_CTL_ADD, fds[i], &ev))
			return -1;
	}
	return 0;
}

/*
 * What this host gives out until the store answers: its share among as many hosts as an earlier
 * daemon knew of, or at least as are configured. Without a fleet nobody shares: all of a budget is
 * this host's.
 */
static int begin_share(struct datapath *d, const struct sync_config *config, bool alone)
{
	struct sluice_fleet fleet;
	int err = datapath_get_fleet(d, &fleet);

	if (err)
		return err;
	if (fleet.hosts < config->hosts_min)
		fleet.hosts = config->hosts_min;
	fleet.whole = config->whole;
	if (alone)
		fleet = (struct sluice_fleet){.hosts = 1, .whole = 1};
	return datapath_set_fleet(d, &fleet);
}

int start_fleet(struct daemon *d, char *err, size_t len)
{
	const struct config *c = &d->config;
	struct sync_config config = {
		.period_ns = c->fleet_period_ms * 1000000ULL,
		.hosts_min = c->fleet_hosts_min,
		.calls_anyhow = c->fleet_rules,
		.whole = c->fleet_fallback == CONFIG_FALLBACK_WHOLE,
	};
	struct fleet *f;

	if (begin_share(d->datapath, &config, !c->fleet)) {
		snprintf(err, len, "%s", datapath_error());
		return -1;
	}
	if (!c->fleet)
		return 0;
	f = d->fleet = calloc(1, sizeof(*f));
	if (!f) {
		snprintf(err, len, "out of memory");
		return -1;
	}
	f->d = d;
	f->epoll = epoll_create1(EPOLL_CLOEXEC);
	f->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	f->walk = task_of(d, walk, WORK_SWEEPS);
	if (getrandom(&f->start, sizeof(f->start), 0) != sizeof(f->start) || !f->start)
		f->start = 1;
	if (c->fleet_host)
		snprintf(f->name, sizeof(f->name), "%s", c->fleet_host);
	else
		gethostname(f->name, sizeof(f->name) - 1);
	f->shown = (struct state_fleet){
		.host = f->name,
		.store = "",
		.since_ns = d->state.now_ns,
		.period_ms = c->fleet_period_ms,
		.whole = config.whole,
		.list = f->hosts,
	};
	config.call = last_call(f);
	f->sync = sync_new(&config, &(struct sync_handlers){run_items, tell, make_call, f});
	if (!f->sync) {
		snprintf(err, len, "out of memory");
		return -1;
	}
	if (open_store(f, err, len))
		return -1;
	f->shown.name = store_fleet(f->store);
	if (watch_fds(f)) {
		snprintf(err, len, "fleet: no descriptors for the store");
		return -1;
	}
	d->state.fleet = &f->shown;
	return c->fleet_rules ? start_fleet_rules(d, f->store, err, len) : 0;
}

void stop_fleet(struct daemon *d)
{
	struct fleet *f = d->fleet;

	if (!f)
		return;
	stop_fleet_rules(d);
	store_free(f->store);
	sync_free(f->sync);
	close(f->timer);
	close(f->epoll);
	free(f);
	d->fleet = NULL;
}
