/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The daemon's one struct, and what its files offer each other. Everything runs in one thread, the
 * loop of sluiced.c. Samples, flags and the lease are the loop's own. All else is a work
 * (loop/work.h), in slices: in the lane of answers what only reads, in the lane of changes what
 * changes policy, services or names, so that one change at a time is under way. A few system calls
 * and the parser of the configuration have no slices, and run in a thread of their own.
 */
#ifndef SLUICE_DAEMON_H
#define SLUICE_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "config/config.h"
#include "control/control.h"
#include "core/active.h"
#include "core/controller.h"
#include "core/history.h"
#include "core/state.h"
#include "core/trouble.h"
#include "datapath/datapath.h"
#include "desired/desired.h"
#include "log/log.h"
#include "loop/work.h"
#include "metrics/metrics.h"

#define TICK_NS        100000000ULL
#define TICKS_A_SECOND 10

/* An array that grows; its items are handed to the state. */
struct list {
	void *items;
	size_t count, capacity;
};

struct daemon;
struct fleet;
struct fleet_rules;
struct store;

/* What the daemon does by itself, as a work. */
struct task {
	struct work work;
	void (*run)(struct daemon *d);
	struct daemon *d;
	bool waits; /* has started, and has not begun */
};

/* What is watched of a service, besides its troubles. */
struct watched {
	char name[64];    /* as text_endpoint() writes it */
	uint64_t seen_ns; /* the last sample or refused request */
	struct trouble_listener listener;
	unsigned busy_models; /* the most at once since the last look */
	bool judged_twice;    /* a request since then was another sluice's, too */
	struct trouble_share share;
};

struct daemon {
	struct config config;
	char **argv;
	int argc;
	struct controller controller;
	struct daemon_state state; /* what is shown */
	struct datapath *datapath;
	struct control *control;
	struct metrics *metrics;
	struct fleet *fleet;             /* NULL: the host is in none */
	struct fleet_rules *fleet_rules; /* NULL: off */
	struct history history;

	/* Policy: the three parts, and the state that the maps hold because of them. */
	struct desired_part file, manual, fleet_part;
	uint64_t policies; /* that have been in force so far */
	struct desired *desired;
	struct desired
		*shown; /* whose rules are shown: an earlier one, while a list is under way */
	struct sluice_named_models named; /* as written last, … */
	bool named_written;               /* … if it was */
	uint64_t next_expiry_ns;          /* of a manual entry; 0: none expires */
	bool secret_changed;              /* the adopted maps had another one */

	/* Flags. */
	bool in_kernel[SLUICE_MODELS_MAX]; /* the map model_ids has it */
	bool dirty[SLUICE_MODELS_MAX];     /* had a sample since its flag was last looked at */
	bool shut[SLUICE_MODELS_MAX];
	uint32_t ceiling_said[SLUICE_MODELS_MAX]; /* of a pool, in the log; 0: none yet */
	bool leaving[SLUICE_MODELS_MAX];          /* its name is being forgotten: it gets no flag */
	uint64_t next_forget_ns;                  /* old names are forgotten no sooner */
	struct active active;                     /* the active clients of each pool */

	/* Troubles, by service id; one more for what no service can be charged with. */
	struct trouble troubles[SLUICE_SERVICES_MAX + 1][TROUBLE_KINDS];
	struct watched watched[SLUICE_SERVICES_MAX + 1];
	uint16_t service_of_model[SLUICE_MODELS_MAX]; /* of its last sample, plus 1; 0: none */
	uint64_t watched_counters[SLUICE_COUNTER_COUNT];
	uint64_t watch_since_ns, looked_ns;
	char sockets_note[256]; /* why the sockets cannot be looked at; "": they can */

	struct list counts, clients; /* of a snapshot */
	uint64_t renewed_ns, maps_ns, accept_failed_ns;
	bool renew_failed;                /* the lease, at the last try */
	uint64_t watchdog_ns, watched_ns; /* how often, and when last, systemd hears; 0: never */
	uint64_t drain_until_ns, kept_until_ns; /* how long `detach` waits */
	bool ends_kept;                         /* … now for a packet of each that it resets */
	unsigned ticks;
	struct work_queue *queue;
	struct task sweep;  /* connections that give way, departed requests */
	struct task stalls; /* once a second … */
	struct task watch;  /* … the look for troubles … */
	struct task age;    /* … and the walk that corrects counts … */
	struct task upkeep; /* … what is attached, rules that have expired, old names */
	struct task note;   /* every HISTORY_SECS: a point of the history */
	struct task follow; /* the host's addresses have changed */
	bool follow_failed; /* … and could not be read: again */
	struct task reread; /* SIGHUP */
	bool ageing;        /* age has begun */
	bool running;
	int status;
};

/* log.c */
/* One line on standard error. After log_never_wait() a line without a reader is lost. fields: NULL
 * for none. */
void say(enum log_event event, const struct log_field *fields, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void log_never_wait(void);
/* Takes the format of a configuration. */
void log_follow(const struct config *config);
/* Say what was left out. */
void log_each_second(void);
void log_last(void);
/* say() as a handler of notices; arg is not used. */
void on_notice(void *arg, enum datapath_notice notice, const char *about, const char *text);
void on_config_notice(void *arg, const char *text);
/* The line `ready` on standard output. */
void print_ready(const struct daemon *d);

/* service.c */
/* Sends one datagram to the socket that systemd named, if it started us. */
void notify_systemd(const char *what);
/* Reads how often systemd wants to hear from the loop; watchdog_turn() sends it, each turn of the
 * loop calls it. */
void watchdog_start(struct daemon *d);
void watchdog_turn(struct daemon *d);
/* Keeps the capabilities that the loop needs. -errno with a sentence in err. */
int drop_privileges(bool enters, char *err, size_t len);

/* fleet.c */
/* Joins the fleet of the configuration, if there is one. -1 with a sentence in err. */
int start_fleet(struct daemon *d, char *err, size_t len);
void stop_fleet(struct daemon *d);
/* Readable when fleet_turn() has something to do; -1: no fleet. */
int fleet_fd(const struct daemon *d);
void fleet_turn(struct daemon *d);
void show_fleet(struct daemon *d);

/* fleet_rules.c */
/* Follows the rules of the fleet, by its store. -1 with a sentence in err. */
int start_fleet_rules(struct daemon *d, struct store *store, char *err, size_t len);
void stop_fleet_rules(struct daemon *d);
/* The store has this version of them (0: none), in contents of this epoch. */
void fleet_rules_seen(struct daemon *d, uint64_t version, uint64_t epoch);
void fleet_rules_turn(struct daemon *d);
void show_fleet_rules(const struct daemon *d, struct state_fleet *shown);
/* The version that is in force here; negative: the rules are off. */
int64_t fleet_rules_version(const struct daemon *d);
/* Whether hosts take up a change now. */
bool fleet_rules_change(const struct daemon *d, uint64_t now_ns);
/* See control.h; arg: the daemon. */
int op_change_fleet(void *arg, enum control_fleet_change change,
		    const struct fleet_rule_text *rules, size_t count, uint64_t for_ns,
		    uint64_t *version, char *err, size_t err_len);

/* task.c */
struct task task_of(struct daemon *d, void (*run)(struct daemon *d), enum work_lane lane);
/* Does nothing if the task has not begun since its last start. */
void start_task(struct task *task);

/* clock.c */
/* -EINVAL and a sentence in err if CLOCK_MONOTONIC is not the clock of bpf_ktime_get_ns(), by which
 * the programs read the lease: a time namespace has offsets. */
int check_clock(char *err, size_t len);
uint64_t clock_ns(clockid_t id);
void look_at_the_clock(struct daemon *d);

/* lease.c */
void renew_lease(struct daemon *d);
/* Renews the lease if it is time. arg: the daemon. */
void on_alive(void *arg);
/* on_alive() before a step that reads or writes so many entries of maps or tables: in a work, the
 * loop may take a turn here. */
void on_step(void *arg, size_t entries);
/* work_away() of the daemon's queue; arg: the daemon. */
int on_away(void *arg, int (*f)(void *f_arg), void *f_arg);

/* snapshot.c */
/* Brings parts (enum state_part) of the state up to date; arg: the daemon. */
void refresh(void *arg, unsigned parts);
/* Adds a point to the history. */
void note_history(struct daemon *d);
/* Copies the global values to the state that is shown. */
void show_config(struct daemon *d);
/* … and the interfaces that are attached. */
void show_interfaces(struct daemon *d);

/* lookup.c */
/* Single look-ups in the kernel; start() sets its arg, the daemon. */
extern struct state_lookup lookup;

/* flags.c */
/* Writes the flags that have changed, of all models or of those with a new sample. Returns the
 * first error, after the other flags are written. */
int write_flags(struct daemon *d, bool dirty_only);
/* Writes one flag if it has changed. */
int write_flag(struct daemon *d, uint32_t id);
/* Policy adaptive: reports the load that the kernel holds to the controller. */
void look(struct daemon *d);
/* Handlers of the datapath; arg: the daemon. */
void on_sample(void *arg, const struct sluice_sample *sample);
void on_refusal(void *arg, const struct sluice_refusal *refusal);
void on_record(void *arg, const struct sluice_record *record);
/* Tells the clients that record what was lost. Call it at each tick. */
void expire_records(struct daemon *d);

/* trouble.c */
/* Call it once a second, in a work. */
void look_for_trouble(struct daemon *d);
/* Notes a sample or a refusal; `request`: it stands for one request of the client. */
void trouble_saw(struct daemon *d, uint32_t service, const struct sluice_client *client,
		 bool request, bool admitted);

/* models.c */
struct controller_targets targets_of(const struct config *config);
/* Sets the targets and pools of all models as configured, and learns the names; quotas stay. 0, or
 * -ENOSPC with a sentence in err: the table of names is full (name_configured()). */
int configure_models(struct controller *c, const struct config *config, uint64_t now_ns, char *err,
		     size_t len);
/* Calls each() with the names of models and pools in a configuration; some come twice. */
void each_configured_name(const struct config *config,
			  void (*each)(void *arg, const char *name, bool pool), void *arg);
/* Adopt the models and the flags of an earlier daemon. */
void adopt_models(struct daemon *d);
void adopt_flags(struct daemon *d);

/* names.c */
/* Call it once a second: forgets old names, if new ones have found the table full. */
void forget_names(struct daemon *d);
/* Makes room for the names of a configuration. 0 or -errno, with the reason in datapath_error();
 * too little room is no error. */
int name_configured(struct daemon *d, const struct config *config);
/* The id of a model that an operator names, which gets one if it has none. -ENOSPC: all others are
 * configured or have requests in flight, or it is no name of a model. -errno: datapath_error(). */
int name_one(struct daemon *d, const char *name);

/* access.c */
/* What clients of the metrics must show, from the files of a configuration. -errno with a sentence
 * in err. */
int read_access(const struct config *config, struct metrics_access **out, char *err, size_t len);
/* Opens the metrics, if they are not off. */
int start_metrics(struct daemon *d, char *err, size_t len);

/* hash_secret.c */
/* Whether the file of the keyed hash's secret is good. -errno with a sentence in err. */
int check_hash_secret(const struct config *config, char *err, size_t len);
/* Gives the programs the secret, before anything is hashed; makes the default file. */
int start_hash_secret(struct daemon *d, char *err, size_t len);
/* After adopt_policy(): drops what another secret has made meaningless. */
void forget_keys(struct daemon *d);
/* Which secret it is, without the secret: its hash of FLEET_KEYS_TEXT. 0: it cannot be read. */
uint64_t hash_secret_mark(struct daemon *d);

/* file_part.c */
/* Fills *part, not initialised, from the configuration, with the model ids of `models`. 0 or -errno
 * with a sentence in err. *part is to be freed in either case. */
int file_part(struct daemon *d, const struct config *config, const struct controller *models,
	      struct desired_part *part, char *err, size_t len);

/* check.c */
/* Whether a configuration can be put in force. 0 or -errno with a sentence in err. */
int check_config(const struct config *config, char *err, size_t len);

/* policy.c */
/* Reads the state and its manual part from the pinned maps. 0 or -errno with a sentence in err. */
int adopt_policy(struct daemon *d, char *err, size_t len);
/*
 * Puts the state that follows from another manual part in force, and keeps the part. On an error
 * everything stays as it was, the reason is in err, and the part is freed. ret: an earlier error of
 * the caller; then the part is freed and ret returned.
 */
int change_manual(struct daemon *d, int ret, struct desired_part *manual, char *err, size_t len);
/* Writes named_models, if they have changed, as this state and the controller have them. */
int write_named(struct daemon *d, const struct desired *state);
/* Puts `next`, built from these parts, in force. 0: the daemon owns all three. On an error `next`
 * is freed, and the parts are still the caller's. */
int put_in_force(struct daemon *d, struct desired *next, struct desired_part *file,
		 struct desired_part *manual, char *err, size_t len);
/* Builds the state that follows from two parts; writes nothing. */
int build_policy(struct daemon *d, const struct desired_part *file,
		 const struct desired_part *manual, const struct controller *models,
		 struct desired **next, char *err, size_t len);
/* The same for the fleet's part; *part is no longer the caller's. */
int change_fleet_part(struct daemon *d, struct desired_part *part, char *err, size_t len);
/* Removes manual entries, and the fleet's, that have expired. The kernel ignores them already. */
void expire_rules(struct daemon *d);
void expire_drain(struct daemon *d);
/* Refuses nothing new, and ends the daemon once what is refused has ended; -errno. */
int begin_detach(struct daemon *d, uint64_t kept_ns);
/* Whether it has nothing more to wait for. Kept connections that have not ended in time are reset,
 * some of them at their next packet. */
bool detach_is_due(struct daemon *d);

/* commands.c */
extern struct control_ops commands; /* their arg is the daemon */

/* reload.c */
/* Loads the configuration again; arg: the daemon. `done` is a sentence for the operator. On an
 * error everything stays as it was, and the reason is in err. */
int reload(void *arg, char *done, size_t done_len, char *err, size_t err_len);

#endif
