/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the files of the datapath share among themselves and with tests/datapath; nobody else
 * includes it. One file per concern: pins.c (the directory), attach.c (hooks), clsact.c (filters
 * where there is no tcx), services.c (addresses), maps.c (reading and writing), clients.c (what
 * they hold, their classes), age.c (the walk), datapath.c (load and close).
 */
#ifndef SLUICE_DATAPATH_INTERNAL_H
#define SLUICE_DATAPATH_INTERNAL_H

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <limits.h>
#include <unistd.h>

#include "datapath.h"
#include "sluice.skel.h"

#define BATCH        256  /* entries of one map that are copied at once */
#define POLL_MAX     4096 /* records that one call of datapath_poll() hands on */
#define NSEC_PER_SEC 1000000000ULL

struct age;

struct attachment {
	struct datapath_interface is; /* ifindex 0: the interface is gone for now */
	enum datapath_xdp wanted;
};

/* The templates that this daemon has written of one model. */
struct reply_written {
	char name[SLUICE_NAME_MAX];
	uint16_t reasons; /* a bit each */
};

struct datapath {
	char pin_dir[PATH_MAX];
	int dir_fd; /* holds the lock */
	struct sluice_bpf *skel;
	struct ring_buffer *rings;
	unsigned polled; /* records, in this call of datapath_poll() */
	struct datapath_handlers handlers;
	struct sluice_settings settings;  /* as last written */
	struct sluice_model_state *state; /* the map itself, mapped */
	size_t state_bytes;
	uint64_t lease_found_ns; /* put off by this start, and not renewed yet; 0: none */
	int cpus;
	bool fresh; /* nothing was adopted */
	int addresses_fd;
	struct attachment *attached;
	size_t attached_count;
	struct service *services; /* as asked for, wildcards not spread */
	size_t service_count;
	struct reply_written replies[SLUICE_MODELS_MAX];
	struct age *age;
};

static inline void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define _cleanup_fd_ __attribute__((cleanup(close_fd)))

static inline void free_ptr(void *p)
{
	free(*(void **)p);
}
#define _cleanup_free_ __attribute__((cleanup(free_ptr)))

/* Remembers what datapath_error() says and returns err, which is 0 or less. */
int datapath_fail(int err, const char *format, ...) __attribute__((format(printf, 2, 3)));
void datapath_notify(const struct datapath_handlers *handlers, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* To be called in every step of what may take long. */
static inline void datapath_alive(const struct datapath *d)
{
	if (d->handlers.alive)
		d->handlers.alive(d->handlers.arg);
}
int map_fd(const struct bpf_map *map);

/* pins.c */
/* Creates the directory on a bpffs (mounting one where DESIGN says) and locks it: an fd, -EBUSY, …
 */
int pins_open(const char *pin_dir);
/* Whether all maps of obj are pinned below pin_dir in their present shape and of this ABI version.
 */
enum pins_found { PINS_NONE, PINS_FIT, PINS_UNFIT };
enum pins_found pins_inspect(const char *pin_dir, const struct bpf_object *obj, char *why,
			     size_t size);
/* Takes every link, filter and pin away; the directory stays. */
int pins_clear(const char *pin_dir);
/* The directory too; nothing there is no error. Keeps the lock: *dir_fd is closed only at the end.
 */
int pins_remove(const char *pin_dir);
int pins_lock(const char *pin_dir, int *dir_fd);
/* Calls each() for every name below links/; stops at its first error. */
int pins_each_link(const char *pin_dir,
		   int (*each)(const char *pin_dir, const char *name, void *arg), void *arg);

/* attach.c */
enum hook { HOOK_GATE, HOOK_REQUESTS, HOOK_RESPONSES, HOOK_COUNT };
/* Undoes one entry of links/: a pinned link, or the mark of a qdisc. */
int link_remove(const char *pin_dir, const char *name, void *unused);
int attachments_refresh(struct datapath *d);

/* clsact.c */
int clsact_attach(struct datapath *d, int ifindex, const char *interface, enum hook hook,
		  int prog_fd);
/* Removes our filters from an interface, and the qdisc where `mark` says that we made it and it is
 * empty. */
int clsact_detach(const char *pin_dir, int ifindex);
/* … from every interface of this network namespace but those that keep() wants kept. */
void clsact_sweep(const char *pin_dir, bool (*keep)(int ifindex, void *arg), void *arg);
bool clsact_has(int ifindex);

/* services.c */
int addresses_open(void);

/* datapath.c */
int settings_write(struct datapath *d);
int names_changed(struct datapath *d); /* behind every change of services and model_ids */

/* maps.c */
/* The maps of policy that have no entry: bits of enum sluice_empty. */
uint32_t policies_empty(struct datapath *d);
/* Before an entry is written: from now on the programs ask that map. */
int policy_begins(struct datapath *d, enum sluice_empty which);
/* After one is deleted: where that was the last, they need not ask it any longer. */
void policy_ends(struct datapath *d, enum sluice_empty which);
int replies_write(struct datapath *d, uint32_t model, const char *name, uint16_t reasons);
/* Calls each() with every entry of a hash or trie, which may change meanwhile. values may be
 * per-CPU. */
int map_each(const struct datapath *d, int fd, uint32_t key_size, uint32_t value_size,
	     void (*each)(void *arg, const void *key, const void *value), void *arg);

/* age.c */
void age_free(struct age *age);

/* Test hook: behave as on a kernel that has no tcx. */
extern bool datapath_without_tcx;

#endif
