/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Opens and closes the datapath: checks the kernel, locks the pin directory, loads the one object
 * with the maps that are pinned there, and hands the rings' records to the daemon. The one idea:
 * settings.abi_version is written last, so the next start recognises an unfinished set of maps that
 * a killed start left.
 */
#include <errno.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "addresses.h"
#include "age.h"
#include "carry.h"
#include "claims.h"
#include "crowd.h"
#include "fleet.h"
#include "map_io.h"
#include "kept.h"
#include "hooks.h"
#include "netns.h"
#include "pins.h"
#include "programs.h"
#include "replies.h"
#include "settings.h"
#include "sizes.h"

#define KERNEL_MAJOR 6
#define KERNEL_MINOR 1

#define UNPINNED_MAX 4 /* daemons without pins in one network namespace that have numbers */

static bool capable(const struct __user_cap_data_struct data[2], unsigned cap)
{
	return data[cap / 32].effective >> (cap % 32) & 1;
}

static int kernel_will_do(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2] = {0};
	unsigned major = 0, minor = 0;
	struct utsname uts;
	FILE *realtime;
	int is_realtime = 0;
	bool admin;

	uname(&uts);
	if (sscanf(uts.release, "%u.%u", &major, &minor) == 2 &&
	    (major < KERNEL_MAJOR || (major == KERNEL_MAJOR && minor < KERNEL_MINOR)))
		return datapath_fail(-ENOTSUP,
				     "kernel %u.%u is too old: sluice needs %u.%u or newer", major,
				     minor, KERNEL_MAJOR, KERNEL_MINOR);
	realtime = fopen("/sys/kernel/realtime", "re");
	if (realtime) {
		if (fscanf(realtime, "%d", &is_realtime) != 1)
			is_realtime = 0;
		fclose(realtime);
	}
	if (is_realtime == 1 || strstr(uts.version, "PREEMPT_RT"))
		return datapath_fail(-ENOTSUP, "PREEMPT_RT kernels are not supported yet");

	syscall(SYS_capget, &header, caps);
	admin = capable(caps, CAP_SYS_ADMIN);
	if (!capable(caps, CAP_NET_ADMIN) || !(admin || capable(caps, CAP_BPF)) ||
	    !(admin || capable(caps, CAP_PERFMON)))
		return datapath_fail(
			-EPERM,
			"not permitted: sluiced needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or root");
	return 0;
}

/* The programs may fill a ring as fast as we empty it. -EAGAIN: the rest is for the next call. */
static int enough(struct datapath *d)
{
	return ++d->polled >= DATAPATH_POLL_MAX ? -EAGAIN : 0;
}

static int on_sample(void *ctx, void *data, size_t size)
{
	struct datapath *d = ctx;

	if (size >= sizeof(struct sluice_sample) && d->handlers.sample)
		d->handlers.sample(d->handlers.arg, data);
	return enough(d);
}

static int on_refusal(void *ctx, void *data, size_t size)
{
	struct datapath *d = ctx;

	if (size >= sizeof(struct sluice_refusal) && d->handlers.refusal)
		d->handlers.refusal(d->handlers.arg, data);
	return enough(d);
}

static int on_record(void *ctx, void *data, size_t size)
{
	struct datapath *d = ctx;

	if (size >= sizeof(struct sluice_record) && d->handlers.record)
		d->handlers.record(d->handlers.arg, data);
	return enough(d);
}

static int unpin_all(struct bpf_object *obj)
{
	struct bpf_map *map;
	int err;

	bpf_object__for_each_map(map, obj)
	{
		err = bpf_map__is_internal(map) ? 0 : bpf_map__set_pin_path(map, NULL);
		if (err)
			return datapath_fail(err, "out of memory");
	}
	return 0;
}

static int load(struct datapath *d, const struct datapath_sizes *sizes)
{
	DECLARE_LIBBPF_OPTS(bpf_object_open_opts, opts, .pin_root_path = d->pin_dir);
	enum carry_found found;
	int err;

	d->skel = programs_open(&opts);
	if (!d->skel)
		return -ENOEXEC;
	err = pins_none(d->pin_dir) ? unpin_all(d->skel->obj) : 0;
	if (err)
		return err;

	d->skel->rodata->judge_mark = sluice_mark(netns_here());
	err = sizes_set(d, sizes);
	if (!err)
		err = carry_find(d, &found);
	if (err)
		return err;
	d->fresh = found != CARRY_PINNED;
	switch (found) {
	case CARRY_UNFINISHED:
		err = pins_hold_kept(d->pin_dir, d->skel->obj)
			      ? pins_supersede(d->pin_dir, d->skel->obj)
			      : pins_clear(d->pin_dir, d->skel->obj);
		if (err)
			return err;
		datapath_notify(
			&d->handlers, NOTICE_REPLACED, d->pin_dir,
			"replaced what was pinned in %s: an earlier start had left it unfinished",
			d->pin_dir);
		break;
	case CARRY_PINNED:
		lease_put_off(d);
		break;
	case CARRY_NOTHING:
		break;
	}

	err = sluice_bpf__load(d->skel);
	if (err == -EPERM)
		return datapath_fail(
			err,
			"the kernel does not permit sluiced to load BPF programs (lockdown, or a missing capability): %s",
			programs_last_words());
	if (err == -ENOMEM)
		return sizes_no_memory(d, err, programs_log());
	if (err)
		return datapath_fail(err,
				     "the kernel does not accept the BPF programs (error %d): %s",
				     -err, programs_last_words());
	programs_forget();
	return carry_load(d);
}

int datapath_add_netns(struct datapath *d, const char *path)
{
	int err = programs_for_netns(d);

	return err ? err : netns_add(d, path);
}

/* The key that hashes API keys: made once, kept as long as the pins are. */
static int make_hash_key(struct datapath *d)
{
	const struct bpf_map *map = d->skel->maps.hash_key;
	struct siphash_secret key;
	char path[PATH_MAX + 16];
	uint32_t zero = 0;
	int err;

	err = map_read(map, &zero, &key);
	if (!err && !key.k0 && !key.k1) {
		if (getrandom(&key, sizeof(key), 0) != sizeof(key))
			return datapath_fail(-errno, "no random numbers: %s", strerror(errno));
		err = map_write(map, &zero, &key);
	}
	explicit_bzero(&key, sizeof(key));
	if (err)
		return err;
	snprintf(path, sizeof(path), "%s/hash_key", d->pin_dir);
	if (chmod(path, 0600) && errno != ENOENT) /* it is pinned later, see carry.c */
		return datapath_fail(-errno, "%s: %s", path, strerror(errno));
	return 0;
}

static int map_state(struct datapath *d)
{
	size_t page = sysconf(_SC_PAGESIZE);
	void *at;

	d->state_bytes = (SLUICE_MODELS_MAX * sizeof(*d->state) + page - 1) / page * page;
	at = mmap(NULL, d->state_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		  map_fd(d->skel->maps.model_state), 0);
	if (at == MAP_FAILED)
		return datapath_fail(-errno, "model_state cannot be mapped: %s", strerror(errno));
	d->state = at;
	at = mmap(NULL, SLUICE_CONN_BUCKETS * sizeof(*d->conn_counts), PROT_READ | PROT_WRITE,
		  MAP_SHARED, map_fd(d->skel->maps.conn_counts), 0);
	if (at == MAP_FAILED)
		return datapath_fail(-errno, "conn_counts cannot be mapped: %s", strerror(errno));
	d->conn_counts = at;
	return 0;
}

static int open_ring(struct datapath *d, unsigned i, const struct bpf_map *map,
		     ring_buffer_sample_fn on_entry)
{
	struct epoll_event ev = {.events = EPOLLIN};

	d->rings[i] = ring_buffer__new(map_fd(map), on_entry, d, NULL);
	if (!d->rings[i] ||
	    epoll_ctl(d->rings_fd, EPOLL_CTL_ADD, ring_buffer__epoll_fd(d->rings[i]), &ev))
		return datapath_fail(-errno, "the %s ring cannot be opened: %s", bpf_map__name(map),
				     strerror(errno));
	return 0;
}

static int start(struct datapath *d)
{
	uint32_t zero = 0;
	int err;

	err = map_state(d);
	if (!err && d->carry)
		err = crowd_recount(d);
	if (err)
		return err;
	err = make_hash_key(d);
	if (err)
		return err;
	err = replies_write_forms(d);
	if (!err)
		err = replies_write(d, SLUICE_MODEL_ALL, NULL, (1U << SLUICE_REASON_COUNT) - 1);
	if (err)
		return err;
	d->rings_fd = epoll_create1(EPOLL_CLOEXEC);
	err = open_ring(d, 0, d->skel->maps.samples, on_sample);
	if (!err)
		err = open_ring(d, 1, d->skel->maps.verdicts, on_refusal);
	if (!err)
		err = open_ring(d, 2, d->skel->maps.records, on_record);
	if (!err)
		err = fleet_open(d);
	if (err)
		return err;
	d->addresses_fd = addresses_open();
	if (d->addresses_fd < 0)
		return d->addresses_fd;

	/*
	 * Last, since the version vouches for all of the above. An earlier daemon's lease
	 * continues, unless that daemon had stopped refusing.
	 */
	err = map_read(d->skel->maps.settings, &zero, &d->settings);
	if (err)
		return err;
	d->settings.generation++;
	d->settings.clock_ns = 0;
	if (d->settings.stopping)
		d->settings.lease_until_ns = 0;
	d->settings.stopping = 0;
	d->settings.abi_version = SLUICE_ABI_VERSION;
	err = flags_adopt(d);
	if (err)
		return err;
	d->settings.empty = policies_empty(d);
	return settings_write(d);
}

/* Removes the pins of a failed start, and keeps the start's error. */
static void undo(struct datapath *d, int err)
{
	char why[ERROR_MAX];

	snprintf(why, sizeof(why), "%s", datapath_error());
	if (d->skel)
		pins_remove(d->pin_dir, d->skel->obj);
	datapath_fail(err, "%s", why);
}

/* Copies a path without its trailing slashes. */
static int copy_pin_dir(char out[PATH_MAX], const char *pin_dir)
{
	size_t n;

	if (!strcmp(pin_dir, DATAPATH_NO_PINS))
		pin_dir = PINS_NOWHERE;
	else if (!strncmp(pin_dir, PINS_NOWHERE, strlen(PINS_NOWHERE)))
		return datapath_fail(-EINVAL, "pin-dir %s is not on a BPF file system", pin_dir);
	n = strlen(pin_dir);
	if (n >= PATH_MAX - 64)
		return datapath_fail(-ENAMETOOLONG, "pin-dir is too long");
	strcpy(out, pin_dir);
	for (; n > 1 && out[n - 1] == '/'; n--)
		out[n - 1] = 0;
	return 0;
}

/*
 * Filters of clsact are found by the pin directory, and outlive a daemon without one that is
 * killed. So such a daemon takes a number, the lowest that none has that lives; what there is under
 * other free numbers goes. With every number taken, that of its process is as good.
 */
static void number_unpinned(struct datapath *d)
{
	for (unsigned n = 0; n < UNPINNED_MAX; n++) {
		int fd = claims_number(n);
		char name[sizeof(PINS_NOWHERE) + 12];

		if (fd < 0)
			continue;
		snprintf(name, sizeof(name), "%s%u", PINS_NOWHERE, n);
		if (d && d->number_fd < 0) {
			d->number_fd = fd;
			strcpy(d->pin_dir, name);
			continue;
		}
		clsact_sweep(name, NULL, NULL);
		close(fd);
	}
	if (d && d->number_fd < 0)
		snprintf(d->pin_dir, sizeof(d->pin_dir), "%s-%d", PINS_NOWHERE, getpid());
}

int datapath_open(struct datapath **out, const char *pin_dir, const struct datapath_sizes *sizes,
		  const struct datapath_handlers *handlers)
{
	struct datapath *d;
	int err;

	err = kernel_will_do();
	if (err)
		return err;
	d = calloc(1, sizeof(*d));
	if (!d)
		return datapath_fail(-ENOMEM, "out of memory");
	err = copy_pin_dir(d->pin_dir, pin_dir);
	if (err) {
		free(d);
		return err;
	}
	d->addresses_fd = d->rings_fd = -1;
	if (handlers)
		d->handlers = *handlers;
	d->cpus = libbpf_num_possible_cpus();
	d->dir_fd = d->number_fd = -1;
	if (pins_none(d->pin_dir)) {
		number_unpinned(d);
	} else {
		d->dir_fd = pins_open(d->pin_dir);
		err = d->dir_fd < 0 ? d->dir_fd : 0;
	}
	if (!err && d->cpus < 0)
		err = datapath_fail(d->cpus, "the number of CPUs is not known: %s",
				    strerror(-d->cpus));
	if (!err)
		err = load(d, sizes);
	if (!err)
		err = start(d);
	if (err) {
		if (d->fresh)
			undo(d, err);
		datapath_close(d);
		return err;
	}
	*out = d;
	return 0;
}

void datapath_close(struct datapath *d)
{
	if (!d)
		return;
	datapath_record(d, false);
	for (unsigned i = 0; i < DATAPATH_RINGS; i++)
		ring_buffer__free(d->rings[i]);
	close_fd(&d->rings_fd);
	fleet_close(d);
	if (d->state)
		munmap(d->state, d->state_bytes);
	if (d->conn_counts)
		munmap(d->conn_counts, SLUICE_CONN_BUCKETS * sizeof(*d->conn_counts));
	carry_free(d);
	programs_close(d);
	lease_restore(d); /* while the lock is held */
	close_fd(&d->addresses_fd);
	close_fd(&d->dir_fd);
	close_fd(&d->number_fd);
	age_free(d->age);
	attachments_close(d);
	claims_keep(d, NULL, 0);
	free(d->services);
	free(d);
}

int datapath_remove(struct datapath *d, const char *pin_dir)
{
	_cleanup_fd_ int dir_fd = -1;
	struct sluice_bpf *skel;
	char path[PATH_MAX];
	int err, reset;

	if (d) {
		reset = kept_reset(d, d->pin_dir);
		attachments_close(d);
		err = pins_remove(d->pin_dir, d->skel->obj);
		return err ? err : reset;
	}
	err = copy_pin_dir(path, pin_dir);
	if (err)
		return err;
	if (pins_none(path)) {
		number_unpinned(NULL);
		return 0;
	}
	err = pins_lock(path, &dir_fd);
	if (err && err != -ENOENT)
		return err;
	skel = programs_open(NULL);
	if (!skel)
		return -ENOEXEC;
	reset = kept_end_pinned(path);
	err = pins_remove(path, skel->obj);
	sluice_bpf__destroy(skel);
	return err ? err : reset;
}

int datapath_fd(const struct datapath *d)
{
	return d->rings_fd;
}

int datapath_poll(struct datapath *d)
{
	int all = 0;

	for (unsigned i = 0; i < DATAPATH_RINGS; i++) {
		int n;

		d->polled = 0;
		n = ring_buffer__consume(d->rings[i]);
		if (n < 0 && n != -EAGAIN)
			return datapath_fail(n, "the rings cannot be read: %s", strerror(-n));
		all += (int)d->polled;
	}
	return all;
}

/* The samples ring is the one that holds more calls' records. */
int datapath_drain(struct datapath *d)
{
	uint32_t bytes = bpf_map__max_entries(d->skel->maps.samples);
	size_t calls = bytes / sizeof(struct sluice_sample) / DATAPATH_POLL_MAX + 1;
	int n = 1;

	for (size_t i = 0; i < calls && n > 0; i++) {
		datapath_step(d, DATAPATH_RINGS * DATAPATH_POLL_MAX);
		n = datapath_poll(d);
	}
	return n < 0 ? n : 0;
}
