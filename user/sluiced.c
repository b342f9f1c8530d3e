/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The daemon: main, start and the loop. One thread runs one epoll loop: it reads samples and writes
 * flags. Ten times a second it looks at the flags again, since averages have decayed, and renews
 * the lease that lets the kernel enforce. No client can delay that. user/daemon has what the loop
 * calls.
 *
 * SIGTERM or a crash leaves programs and maps pinned, so that the next daemon takes over without a
 * gap. If none comes, the lease ends and everything passes. `sluicectl detach` removes it all.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "control/secret.h"
#include "core/text.h"
#include "daemon/daemon.h"

#define EXIT_FAILED    1
#define EXIT_CONFIG    2 /* starting again will not help: systemd does not (sluiced.service) */
#define SHORT_LEASE_MS 400

static struct daemon daemon_;

/* ---- the loop ---- */

static void finish_detach(struct daemon *d)
{
	int ret = datapath_remove(d->datapath, d->config.pin_dir);

	if (ret)
		say(EVENT_DETACH_FAILED, NULL, "detach: %s", datapath_error());
	else
		say(EVENT_DETACHED, NULL, "detached; nothing is left in the kernel");
	control_detached(d->control, ret ? datapath_error() : NULL);
	d->running = false;
	d->status = ret ? EXIT_FAILED : 0;
}

/* Ends connections that are late. Says once that there are no descriptors for new ones, and again
 * only after a second without such a failure. */
static void expire_connections(struct daemon *d)
{
	uint64_t failures = control_accept_failures(d->control);

	expire_records(d);
	control_expire(d->control, d->state.now_ns);
	if (d->metrics) {
		metrics_expire(d->metrics, d->state.now_ns);
		failures += metrics_accept_failures(d->metrics);
	}
	if (failures > d->state.accept_failures) {
		if (d->state.now_ns - d->accept_failed_ns > 1000000000ULL)
			say(EVENT_DESCRIPTORS_EXHAUSTED,
			    LOG_FIELDS(log_count("failures", (int64_t)failures)),
			    "no descriptors for new connections to the control socket or the metrics: they wait (RLIMIT_NOFILE)");
		d->accept_failed_ns = d->state.now_ns;
	}
	d->state.accept_failures = failures;
}

static void age(struct daemon *d)
{
	d->ageing = true;
	datapath_age(d->datapath, d->state.now_ns);
	d->ageing = false;
}

static void sweep(struct daemon *d)
{
	datapath_sweep(d->datapath);
}

static void sweep_stalls(struct daemon *d)
{
	datapath_sweep_stalls(d->datapath);
}

static void upkeep(struct daemon *d)
{
	datapath_check(d->datapath, d->state.now_ns);
	expire_rules(d);
	expire_drain(d);
	forget_names(d);
}

static void follow_addresses(struct daemon *d)
{
	d->follow_failed = datapath_refresh(d->datapath);
	if (d->follow_failed)
		say(EVENT_ADDRESSES_FAILED, NULL, "cannot follow this host's addresses: %s",
		    datapath_error());
}

static void reread(struct daemon *d)
{
	char done[400] = "", err[2048] = "";

	reload(d, done, sizeof(done), err, sizeof(err));
}

static void tick(struct daemon *d)
{
	if (d->state.detaching && detach_is_due(d)) {
		if (!work_is_away(d->queue)) /* a thread uses what the end takes away */
			finish_detach(d);
		return;
	}
	if (datapath_sweep_due(d->datapath))
		start_task(&d->sweep);
	look(d);
	write_flags(d, false);
	expire_connections(d);
	if (++d->ticks % TICKS_A_SECOND)
		return;
	log_each_second();
	if (!d->ageing)
		start_task(&d->age);
	start_task(&d->stalls);
	start_task(&d->watch);
	start_task(&d->upkeep);
	if (d->ticks % (HISTORY_SECS * TICKS_A_SECOND) == 0)
		start_task(&d->note);
	if (d->follow_failed)
		start_task(&d->follow);
}

static void on_signal(struct daemon *d, int fd)
{
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP) {
		start_task(&d->reread);
		return;
	}
	notify_systemd("STOPPING=1");
	if (d->state.detaching) { /* at the next tick */
		d->drain_until_ns = d->kept_until_ns = 0;
		d->ends_kept = true;
		return;
	}
	if (d->state.unpinned) { /* nothing stays: what is refused ends whole before that */
		begin_detach(d, 0);
		return;
	}
	say(EVENT_STOPPED,
	    LOG_FIELDS(log_count("lease_ms", d->config.lease_ms),
		       log_count("up_s",
				 (int64_t)((d->state.now_ns - d->state.started_ns) / 1000000000))),
	    "stopped; programs and maps stay for the next daemon, and without one all passes in %u ms (`sluicectl detach` removes them)",
	    d->config.lease_ms);
	d->running = false;
}

enum source {
	SOURCE_TICK,
	SOURCE_SIGNAL,
	SOURCE_SAMPLES,
	SOURCE_ADDRESSES,
	SOURCE_WORK,
	SOURCE_CONTROL,
	SOURCE_METRICS,
	SOURCE_FLEET
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
		datapath_addresses_drain(d->datapath);
		start_task(&d->follow);
		break;
	case SOURCE_WORK: /* a thread has ended: work_turn() follows */
		break;
	case SOURCE_CONTROL:
		control_poll(d->control, d->state.now_ns);
		break;
	case SOURCE_METRICS:
		metrics_poll(d->metrics, d->state.now_ns);
		break;
	case SOURCE_FLEET: /* fleet_turn() follows */
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
	    add_source(epoll, SOURCE_WORK, work_fd(d->queue)) ||
	    add_source(epoll, SOURCE_CONTROL, control_fd(d->control)) ||
	    (d->metrics && add_source(epoll, SOURCE_METRICS, metrics_fd(d->metrics))) ||
	    (d->fleet && add_source(epoll, SOURCE_FLEET, fleet_fd(d)))) {
		say(EVENT_LOOP_FAILED, NULL, "event loop: %s", strerror(errno));
		return EXIT_FAILED;
	}
	d->running = true;
	log_never_wait();
	while (d->running) {
		/* The tick is soon enough but for a very short lease. */
		int wait = d->config.lease_ms < SHORT_LEASE_MS ? (int)d->config.lease_ms / 4 : -1;
		int n = epoll_wait(epoll, events, sizeof(events) / sizeof(events[0]),
				   work_pending(d->queue) ? 0 : wait);

		if (n < 0 && errno != EINTR) {
			say(EVENT_LOOP_FAILED, NULL, "event loop: %s", strerror(errno));
			return EXIT_FAILED;
		}
		renew_lease(d);
		look_at_the_clock(d);
		watchdog_turn(d);
		for (int i = 0; i < n && d->running; i++) {
			dispatch(d, events[i].data.u32, timer, signals);
			on_alive(d);
		}
		if (d->running)
			fleet_turn(d);
		if (d->running)
			work_turn(d->queue);
	}
	close(timer);
	close(epoll);
	return d->status;
}

/* ---- start ---- */

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

/* Policy: reads an earlier daemon's maps, then applies the configuration. */
static int start_policy(struct daemon *d, char *err, size_t len)
{
	struct desired_part file = {0};
	struct desired *next;
	int ret = 0;

	adopt_models(d);
	ret = adopt_policy(d, err, len);
	if (!ret)
		forget_keys(d);
	if (!ret && name_configured(d, &d->config)) {
		snprintf(err, len, "%s", datapath_error());
		ret = -EIO;
	}
	if (!ret)
		ret = configure_models(&d->controller, &d->config, d->state.now_ns, err, len);
	if (ret)
		return ret;
	adopt_flags(d);
	ret = file_part(d, &d->config, &d->controller, &file, err, len);
	if (!ret)
		ret = build_policy(d, &file, &d->manual, &d->controller, &next, err, len);
	/* A default model exists before a service names it. */
	if (!ret && write_flags(d, false)) {
		snprintf(err, len, "%s", datapath_error());
		desired_free(next);
		ret = -EIO;
	}
	if (!ret)
		ret = put_in_force(d, next, &file, &d->manual, err, len);
	if (ret)
		desired_part_free(&file);
	return ret;
}

static int attach(struct daemon *d)
{
	for (unsigned i = 0; i < d->config.interface_count; i++)
		if (datapath_attach(d->datapath, d->config.interfaces[i], xdp_of(d->config.xdp)))
			return -1;
	datapath_attach_netns(d->datapath);
	/* The last step that can fail: a failed start leaves the lease as it was. */
	return datapath_renew_lease(d->datapath,
				    clock_ns(CLOCK_MONOTONIC) + d->config.lease_ms * 1000000ULL);
}

/* state_step() */
static void step(void *arg, size_t entries, size_t bytes)
{
	on_alive(arg);
	work_step(((struct daemon *)arg)->queue, entries, bytes);
}

/* Everything up to the first refusal. Steps that can fail without a trace come first. */
static int start(struct daemon *d)
{
	const struct datapath_handlers handlers = {
		.arg = d,
		.sample = on_sample,
		.refusal = on_refusal,
		.record = on_record,
		.notice = on_notice,
		.step = on_step,
		.away = on_away,
	};
	const struct controller_targets all = targets_of(&d->config);
	const struct datapath_sizes sizes = {d->config.max_connections, d->config.max_clients,
					     d->config.max_models};
	char err[512] = "";

	commands.arg = lookup.arg = d->state.step_arg = d;
	d->state.step = step;
	d->state.history = &d->history;
	d->age = task_of(d, age, WORK_ANSWERS);
	d->watch = task_of(d, look_for_trouble, WORK_ANSWERS);
	d->note = task_of(d, note_history, WORK_ANSWERS);
	d->sweep = task_of(d, sweep, WORK_SWEEPS);
	d->stalls = task_of(d, sweep_stalls, WORK_SWEEPS);
	d->upkeep = task_of(d, upkeep, WORK_CHANGES);
	d->follow = task_of(d, follow_addresses, WORK_CHANGES);
	d->reread = task_of(d, reread, WORK_CHANGES);
	table_on_step(on_step, d);
	d->queue = commands.queue = work_open();
	if (!d->queue) {
		say(EVENT_START_FAILED, NULL, "out of memory");
		return -1;
	}
	look_at_the_clock(d);
	d->state.started_ns = d->state.now_ns;
	d->state.pid = getpid();
	d->state.controller = &d->controller;
	d->state.lookup = &lookup;
	d->state.named = &d->named;
	controller_init(&d->controller, &all, d->config.per_model_limits);
	show_config(d);
	d->state.unpinned = !strcmp(d->config.pin_dir, CONFIG_NO_PINS); /* to its end */
	if (datapath_open(&d->datapath, d->config.pin_dir, &sizes, &handlers)) {
		say(EVENT_START_FAILED, NULL, "%s", datapath_error());
		return -1;
	}
	d->controller.ids_max = datapath_ids_max(d->datapath);
	if (control_open(&d->control, d->config.control, d->config.control_group, &d->state,
			 &commands, err, sizeof(err)) ||
	    start_metrics(d, err, sizeof(err))) {
		say(EVENT_START_FAILED, NULL, "%s", err);
		return -1;
	}
	look_at_the_clock(d); /* the kernel's check of the programs takes seconds: what is adopted
				 counts from now */
	for (unsigned i = 0; i < d->config.netns_count; i++)
		if (datapath_add_netns(d->datapath, d->config.netns[i])) {
			say(EVENT_START_FAILED, NULL, "%s", datapath_error());
			return -1;
		}
	/* The secret goes at once to the programs of an earlier daemon, so its rules by key have to
	 * go next. */
	if (start_hash_secret(d, err, sizeof(err)) || start_policy(d, err, sizeof(err)) ||
	    start_fleet(d, err, sizeof(err))) {
		say(EVENT_START_FAILED, NULL, "%s", err);
		return -1;
	}
	if (attach(d)) {
		say(EVENT_START_FAILED, NULL, "%s", datapath_error());
		return -1;
	}
	if (datapath_detach_others(d->datapath))
		say(EVENT_INTERFACE_FAILED, NULL, "%s", datapath_error());
	if (drop_privileges(d->config.netns_count, err, sizeof(err))) {
		say(EVENT_START_FAILED, NULL, "%s", err);
		return -1;
	}
	look_at_the_clock(d);
	d->watch_since_ns = d->state.now_ns;
	show_interfaces(d);
	if (d->state.unpinned)
		say(EVENT_UNPINNED, NULL,
		    "nothing is pinned (pin-dir: none): when this daemon ends, also by a crash, sluice is gone, and all requests pass; refusals close their connections");
	print_ready(d);
	notify_systemd("READY=1");
	watchdog_start(d);
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

/* True if an earlier daemon's maps are pinned there: then a failed start leaves them. */
static bool pinned_before(const char *pin_dir)
{
	char path[4096];

	if (!strcmp(pin_dir, CONFIG_NO_PINS))
		return false;
	snprintf(path, sizeof(path), "%s/settings", pin_dir);
	return !access(path, F_OK);
}

/* Serves until a signal or `detach`. Returns the exit status. */
static int serve(struct daemon *d)
{
	int signals = block_signals();
	int status = EXIT_FAILED;
	bool before = pinned_before(d->config.pin_dir);

	if (!start(d))
		status = run(d, signals);
	else if (!before)
		datapath_remove(d->datapath, d->config.pin_dir);
	log_last();
	metrics_close(d->metrics);
	control_close(d->control);
	stop_fleet(d);
	work_close(d->queue);
	if (d->datapath)
		datapath_close(d->datapath);
	return status;
}

int main(int argc, char **argv)
{
	struct daemon *d = &daemon_;
	int status = EXIT_CONFIG;
	char err[2048];
	int ret;

	secret_protect();
	ret = config_load(&d->config, argc, argv, environ, err, sizeof(err));
	if (ret > 0)
		return 0;
	if (!ret)
		log_follow(&d->config);
	if (!ret)
		ret = check_config(&d->config, err, sizeof(err));
	if (!ret && !d->config.check)
		ret = check_clock(err, sizeof(err));
	d->argc = argc;
	d->argv = argv;
	if (ret)
		say(EVENT_CONFIG_REFUSED, NULL, "%s", err);
	else
		status = d->config.check ? 0 : serve(d);
	config_free(&d->config);
	return status;
}
