/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Everything that touches libbpf: loads the one object, attaches it to interfaces (tcx links, or
 * clsact filters if the kernel has no tcx; XDP native, generic or off), pins maps and links, adopts
 * what an earlier daemon left, reads samples and writes maps. Functions return 0 or -errno and
 * leave outputs untouched on failure. datapath_error() then returns the reason as a sentence for
 * the operator.
 */
#ifndef SLUICE_DATAPATH_H
#define SLUICE_DATAPATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>
#include <sluice/predict.h>

struct datapath;
struct service;
struct state_load;
struct trouble_look;

enum datapath_xdp {
	DATAPATH_XDP_AUTO,
	DATAPATH_XDP_NATIVE,
	DATAPATH_XDP_GENERIC,
	DATAPATH_XDP_OFF
};

/* XDP, tc ingress, tc egress. Where the interface leads to a server, both programs of tc change
 * places. */
enum hook { HOOK_GATE, HOOK_REQUESTS, HOOK_RESPONSES, HOOK_COUNT };

#define DATAPATH_NOTE_MAX       256
#define DATAPATH_INTERFACES_MAX 128 /* each takes three descriptors */

struct datapath_interface {
	char name[64];
	int ifindex;
	enum datapath_xdp xdp; /* as attached: NATIVE, GENERIC or OFF */
	bool tcx;
	bool leads; /* to a server: requests leave by it, and responses come in */
	bool attached[HOOK_COUNT];
	unsigned restored; /* how often sluice has set right what others had undone */
	/* A sentence for the operator about each hook; "": all is well. */
	char note[HOOK_COUNT][DATAPATH_NOTE_MAX];
};

enum datapath_notice {
	NOTICE_ATTACHED,
	NOTICE_NOT_ATTACHED, /* an interface has come, and attaching failed */
	NOTICE_GONE,
	NOTICE_DETACHED,  /* an interface matches no longer */
	NOTICE_TURNED,    /* it leads to a server now, or no longer */
	NOTICE_DISTURBED, /* others have detached a program, or put theirs before it */
	NOTICE_RESTORED,
	NOTICE_NETNS,
	NOTICE_PINS_MISSING,
	NOTICE_PINS_RESTORED,
	NOTICE_ADOPTED,
	NOTICE_CARRIED,
	NOTICE_REPLACED
};

struct datapath_handlers {
	void *arg;
	void (*sample)(void *arg, const struct sluice_sample *sample);
	void (*refusal)(void *arg, const struct sluice_refusal *refusal);
	void (*record)(void *arg, const struct sluice_record *record); /* see datapath_record() */
	/* Called before each step of long work, with the number of map entries that the step reads
	 * or writes: renews the lease, and may let the loop take a turn. NULL: not called. */
	void (*step)(void *arg, size_t entries);
	/* Calls f(f_arg), which takes long, and returns its result; the loop may go on meanwhile.
	 * NULL: it is called as it is. */
	int (*away)(void *arg, int (*f)(void *f_arg), void *f_arg);
	/* Reports what an operator should know and is no failure: maps adopted or replaced, an
	 * interface back. `about`: the interface, directory or namespace. NULL: not reported. */
	void (*notice)(void *arg, enum datapath_notice notice, const char *about, const char *text);
};

/* What the maps have room for. */
struct datapath_sizes {
	uint32_t connections, clients, models;
};

/*
 * Opens the pin directory (mounts bpffs there if nothing is mounted, locks it against a second
 * daemon), loads, carries over what is pinned, and pins.
 * Attaches nothing yet. Before the load it extends a lease in force, by 30 s at most, so that the
 * lease does not end meanwhile. A close before the first renewal undoes the extension. sizes NULL:
 * those of abi.h. -EBUSY: another daemon has the lock; -EPERM; -ENOTSUP: kernel too old or
 * PREEMPT_RT.
 */
#define DATAPATH_NO_PINS "none" /* a pin_dir: nothing is pinned, all goes with the daemon */
int datapath_open(struct datapath **out, const char *pin_dir, const struct datapath_sizes *sizes,
		  const struct datapath_handlers *handlers);
/*
 * Attaches to an interface, or replaces what an earlier daemon attached there, without a gap. On
 * failure it undoes its own changes. An interface that does not exist is attached to when it comes.
 * `wanted` may also be a pattern of names (fnmatch(3)), or "auto": lo, what carries a default route
 * or an address of global scope, and what leads to the server of a service. Those are followed as
 * they come and go. What fails there is in their notes.
 */
int datapath_attach(struct datapath *d, const char *wanted, enum datapath_xdp xdp);
/*
 * Another network namespace whose servers are protected from within: wildcard services have its
 * addresses, too. Call it before datapath_set_services(). One that is not there, or cannot be used,
 * is no error, and has a note.
 */
int datapath_add_netns(struct datapath *d, const char *path);
/* Attaches in all of them, to what `auto` would take there, but for lo. */
void datapath_attach_netns(struct datapath *d);
/* The notes, until datapath_check(). Returns how many, `max` at most. */
size_t datapath_netns_notes(const struct datapath *d, const char **out, size_t max);
/* How many of them sluice should be attached in, and is not, or cannot look at. */
size_t datapath_netns_unfollowed(const struct datapath *d);
/* How many interfaces match, and are not attached since there are DATAPATH_INTERFACES_MAX. */
size_t datapath_no_room(const struct datapath *d);
/*
 * Looks what is attached, in which order, and whether the pins are there; call it once a second.
 * Restores what somebody has removed, and goes before what has come first meanwhile: three times a
 * minute for each interface, and for the pins. Then it leaves that, and a note of the interface or
 * datapath_pins_note() says so, until datapath_retry().
 */
void datapath_check(struct datapath *d, uint64_t now_ns);
void datapath_retry(struct datapath *d);
/* What is wrong with the pins, a sentence; "": nothing. */
const char *datapath_pins_note(const struct datapath *d);
/* Detaches interfaces that an earlier daemon attached and this one has not attached. */
int datapath_detach_others(struct datapath *d);
/* Closes. What is pinned stays and continues until the lease ends; before the first renewal that is
 * the earlier daemon's lease. */
void datapath_close(struct datapath *d);
/* Removes every link, filter and pin, and the directory. With d NULL it needs no datapath_open():
 * it removes what a killed run left. */
int datapath_remove(struct datapath *d, const char *pin_dir);
const char *datapath_error(void);
/* Returns how many there are, of which out gets `max` at most. */
size_t datapath_interfaces(const struct datapath *d, struct datapath_interface *out, size_t max);

/* An epoll fd that is readable when the rings hold records. datapath_poll() hands them to the
 * handlers, DATAPATH_POLL_MAX of each ring at most, and returns how many. */
#define DATAPATH_POLL_MAX 512
int datapath_fd(const struct datapath *d);
int datapath_poll(struct datapath *d);
/* Hands on, in steps, what the rings hold now, and perhaps some that comes meanwhile. 0 or -errno.
 */
int datapath_drain(struct datapath *d);

/* Whether the programs make records, until the datapath is closed. */
void datapath_record(struct datapath *d, bool on);
/* How many records were lost since the last call. 0 or -errno. */
int datapath_records_lost(struct datapath *d, uint64_t *n);

/*
 * When the lease ends or ended. Before the first renewal: the earlier daemon's lease, extended if
 * it was in force; 0 if there was none, or that daemon had stopped refusing.
 */
uint64_t datapath_lease_until(const struct datapath *d);
/* Call it first once nothing can fail any more. */
int datapath_renew_lease(struct datapath *d, uint64_t until_ns);
int datapath_stop(struct datapath *d); /* no new refusals */
bool datapath_has_tombstones(struct datapath *d);
bool datapath_has_kept(struct datapath *d);
/*
 * Ends all kept connections: resets both ends of each that has a socket in reach, and has the
 * programs reset the others at their next packet, which it has each server send.
 * datapath_kept_open(): some of these have had none yet. datapath_remove() says which connections
 * it cannot reset.
 */
#define KEPT_PACKET_NS 3000000000ULL /* so long they have */
void datapath_end_kept(struct datapath *d);
bool datapath_kept_open(struct datapath *d);

/* Makes the services map exactly this list, each service with its `id`. Spreads wildcard services
 * over the host's present addresses. */
int datapath_set_services(struct datapath *d, const struct service *services, size_t count);
/* A netlink fd that is readable when addresses, links or default routes changed. Then call
 * datapath_addresses_drain(), which reads some of the messages, and datapath_refresh(), in steps.
 */
int datapath_addresses_fd(const struct datapath *d);
void datapath_addresses_drain(struct datapath *d);
int datapath_refresh(struct datapath *d);

/* Gives a name its id, or takes it away. An id has one name at most; now_ns counts as the time that
 * it was last seen. */
int datapath_set_model(struct datapath *d, const char *name, uint32_t id, uint64_t now_ns);
int datapath_unset_model(struct datapath *d, const char *name, uint32_t id);
/* Waits, some 10 ms, until no program uses a name any more that was taken away. */
int datapath_settle_names(struct datapath *d);
/* Marks the ids that the kernel's maps refer to: of requests in flight, refusals under way, rules,
 * quotas, and services' default models. */
int datapath_held_models(struct datapath *d, bool held[SLUICE_MODELS_MAX]);
/*
 * Clears all that the maps hold of these ids, which must have no name and not be held: flags,
 * counts, histograms, texts of replies. The requests stay in the sums of SLUICE_MODEL_FORGOTTEN.
 */
int datapath_clear_models(struct datapath *d, const bool ids[SLUICE_MODELS_MAX]);
/* When a request for the model was last judged whole, ns; at least when it got its name. 0: never.
 */
uint64_t datapath_model_seen(const struct datapath *d, uint32_t id);
/* Calls each(arg, name, id) for the names that an earlier daemon's model_ids hold. */
int datapath_each_model(struct datapath *d, void (*each)(void *arg, const char *name, uint32_t id),
			void *arg);
int datapath_set_named(struct datapath *d, const struct sluice_named_models *named);
/* Writes the reply texts that the flag needs, then the flag. */
int datapath_set_flag(struct datapath *d, uint32_t id, const char *name,
		      const struct sluice_model_flag *flag);
int datapath_get_flag(struct datapath *d, uint32_t id, struct sluice_model_flag *out);
/* The load of entry `id` of model_state at now_ns. */
int datapath_get_load(struct datapath *d, uint32_t id, uint64_t now_ns, struct state_load *out);
/* Models have lower ids: there is room for their histograms. */
uint32_t datapath_ids_max(const struct datapath *d);
int datapath_get_histogram(struct datapath *d, uint32_t id,
			   struct sluice_histogram *out); /* summed over CPUs */
int datapath_get_counters(struct datapath *d, uint64_t out[SLUICE_COUNTER_COUNT]);
int datapath_each_count(struct datapath *d,
			void (*each)(void *arg, const struct sluice_count_key *key, uint64_t n),
			void *arg);

int datapath_set_client(struct datapath *d, const struct sluice_client_flag_key *key,
			const struct sluice_client_flag *flag);
int datapath_clear_client(struct datapath *d,
			  const struct sluice_client_flag_key *key); /* -ENOENT */
int datapath_set_prefix(struct datapath *d, const struct sluice_prefix_key *key,
			const struct sluice_prefix *prefix);
int datapath_clear_prefix(struct datapath *d, const struct sluice_prefix_key *key); /* -ENOENT */
int datapath_each_client_flag(struct datapath *d,
			      void (*each)(void *, const struct sluice_client_flag_key *,
					   const struct sluice_client_flag *),
			      void *arg);
int datapath_each_prefix(struct datapath *d,
			 void (*each)(void *, const struct sluice_prefix_key *,
				      const struct sluice_prefix *),
			 void *arg);
/* False: no rule. The longest prefix that contains the address. */
bool datapath_get_prefix(struct datapath *d, const uint8_t addr[16], struct sluice_prefix *out);
/* False: the client has no counts. */
bool datapath_get_client(struct datapath *d, const struct sluice_client *client,
			 struct sluice_client_count *out);
/* The client's requests in flight, added up over all pools. */
int64_t datapath_client_in_flight(struct datapath *d, const struct sluice_client *client);
/* The secret of the keyed hash. Set: 1 if the maps were adopted and had another one, else 0; what
 * they hold of API keys then matches no key any more. */
#define DATAPATH_SECRET_BYTES 16
int datapath_get_secret(struct datapath *d, uint8_t out[DATAPATH_SECRET_BYTES]);
int datapath_set_secret(struct datapath *d, const uint8_t secret[DATAPATH_SECRET_BYTES]);
/* The client that an API key identifies. */
int datapath_key_client(struct datapath *d, const char *secret, size_t len,
			struct sluice_client *out);

/* Writes a quota: first the texts of its refusals, then the kernel's numbers, then the definition
 * for a later daemon. */
int datapath_set_quota(struct datapath *d, uint32_t id, const struct sluice_quota *quota,
		       const struct sluice_quota_text *text);
int datapath_each_quota(struct datapath *d,
			void (*each)(void *arg, uint32_t id, const struct sluice_quota_text *text),
			void *arg);
/* Deletes what clients have spent of a quota. */
int datapath_forget_budgets(struct datapath *d, uint32_t id);
/* The quota that replaces a model's or service's quota for clients of a weight. */
int datapath_set_weighted(struct datapath *d, const struct sluice_weighted_key *key, uint32_t id);
int datapath_clear_weighted(struct datapath *d,
			    const struct sluice_weighted_key *key); /* -ENOENT */
int datapath_each_weighted(struct datapath *d,
			   void (*each)(void *, const struct sluice_weighted_key *, uint32_t id),
			   void *arg);
int datapath_set_client_quota(struct datapath *d, const struct sluice_client_flag_key *key,
			      uint32_t id);
int datapath_clear_client_quota(struct datapath *d,
				const struct sluice_client_flag_key *key); /* -ENOENT */
int datapath_each_client_quota(struct datapath *d,
			       void (*each)(void *, const struct sluice_client_flag_key *,
					    uint32_t id),
			       void *arg);

/* A client's requests in flight are added up over all pools. */
int datapath_each_client(struct datapath *d,
			 void (*each)(void *, const struct sluice_client *,
				      const struct sluice_client_count *, int64_t in_flight),
			 void *arg);

/* The class of an API key, or of a header's value. */
int datapath_set_priority(struct datapath *d, const struct sluice_client *key, uint32_t class);
int datapath_clear_priority(struct datapath *d, const struct sluice_client *key); /* -ENOENT */
int datapath_each_priority(struct datapath *d,
			   void (*each)(void *arg, const struct sluice_client *key, uint32_t class),
			   void *arg);
/* The key of a value of a service's priority header. */
int datapath_header_key(struct datapath *d, uint32_t service, const char *value,
			struct sluice_client *out);

/* Fill of the maps that can be full: entries now and at most. name is the map's. */
int datapath_map_fill(struct datapath *d, const char *name, uint64_t *entries, uint64_t *max);

/*
 * The programs' verdict on a request to the service with this id; sets question->service to an
 * address of it. Takes no slot, charges nothing and counts nothing. -ENOENT: the service has no
 * address now; -EINVAL: there is no such model.
 */
int datapath_predict(struct datapath *d, uint32_t service, struct sluice_question *question,
		     struct sluice_answer *out);

/*
 * One step of the walk that keeps counts correct; call it once a second. Deletes connections and
 * tombstones that have been silent for long. Corrects the drift of model_state that the walk finds,
 * judging only entries that two walks saw unchanged.
 */
int datapath_age(struct datapath *d, uint64_t now_ns);

/* Passes of the programs over all connections, one at a time: a pass takes milliseconds when conns
 * is full. 0 or -errno. */
/* Whether datapath_sweep() has something to do: conns is nearly full, or a request has departed. */
bool datapath_sweep_due(const struct datapath *d);
/* Removes idle connections while conns is nearly full. Releases what requests of departed clients
 * hold, if they have usually ended by now. */
int datapath_sweep(struct datapath *d);
/* Releases the slots of responses that have stalled, and takes them for those that no longer are.
 * Call it once a second; cheap while nothing is in flight. */
int datapath_sweep_stalls(struct datapath *d);

/*
 * Compares the sockets on the services' ports with what the programs have seen of their
 * connections, in a thread: fills what concerns that in found[], by service id. A connection is
 * active if it got data since since_ns.
 */
int datapath_look_at_sockets(struct datapath *d, uint64_t since_ns, struct trouble_look *found);

/* ---- quotas that a fleet shares (abi_fleet.h) ---- */

/* Reads and writes fleet[0]. */
int datapath_get_fleet(const struct datapath *d, struct sluice_fleet *out);
int datapath_set_fleet(struct datapath *d, const struct sluice_fleet *fleet);
/* Calls each() with the records of fleet_changes so far. The ring's descriptor is readable if a
 * budget is low. */
int datapath_fleet_changes(struct datapath *d,
			   void (*each)(void *arg, const struct sluice_fleet_change *change),
			   void *arg);
int datapath_fleet_fd(const struct datapath *d);
/* The first SLUICE_FLEET_BATCH items of fleet_batch, mapped: fill in `count` of them, and run. */
struct sluice_fleet_item *datapath_fleet_batch(struct datapath *d);
int datapath_fleet_run(struct datapath *d, unsigned count);
/* fleet_call[0], mapped. */
struct sluice_fleet_call *datapath_fleet_call(struct datapath *d);
/* Calls each() with every budget of a quota with `fleet`. In slices, as map_each(). */
int datapath_each_fleet_budget(struct datapath *d,
			       void (*each)(void *arg, const struct sluice_budget_key *key,
					    const struct sluice_budget *budget),
			       void *arg);

#endif
