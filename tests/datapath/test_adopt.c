/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A daemon that finds the pins of another: it adopts the programs and maps of one that died, or
 * replaces what it cannot use, and leaves alone what is foreign or in use.
 */
#include "attached.h"
#include "maps_only.h"

#include "datapath/pins.h"

#include <arpa/inet.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

static void write_pinned_settings(struct sluice_settings settings)
{
	uint32_t zero = 0;
	int fd = bpf_obj_get(PIN_DIR "/settings");

	assert_int_equal(bpf_map_update_elem(fd, &zero, &settings, BPF_ANY), 0);
	close(fd);
}

static void write_pinned_version(uint32_t version)
{
	struct sluice_settings settings = pinned_settings();

	settings.abi_version = version;
	write_pinned_settings(settings);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NSEC_PER_SEC + t.tv_nsec;
}

/* The settings of a daemon that died with so much of its lease left, or while it stopped. */
static struct sluice_settings left(uint64_t lease_ns, bool stopping)
{
	struct sluice_settings settings = pinned_settings();

	settings.lease_until_ns = (now_ns() + lease_ns) & ~1ULL;
	settings.stopping = stopping;
	write_pinned_settings(settings);
	return settings;
}

static void a_killed_daemons_programs_and_maps_are_adopted_without_a_gap(void **state)
{
	uint32_t map_before, xdp_before, xdp_after, in_before = 0, in_after = 0;
	struct siphash_secret key[2];
	struct sluice_settings was;
	struct datapath *d = opened();
	uint32_t zero = 0;
	struct stat st;

	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_NATIVE));
	assert_done(datapath_set_model(d, "llama-70b", 7, 1));
	assert_done(datapath_renew_lease(d, 12344));
	assert_int_equal(bpf_map_lookup_elem(map_fd(d->skel->maps.hash_key), &zero, &key[0]), 0);
	assert_true(key[0].k0 || key[0].k1);
	assert_int_equal(stat(PIN_DIR "/hash_key", &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	map_before = pinned_map_id("conns");
	xdp_before = xdp_program("t0");
	tcx_programs("t0", INGRESS, &in_before);
	closed(d);
	was = pinned_settings();
	assert_int_equal(xdp_program("t0"), xdp_before);

	d = opened();
	assert_non_null(strstr(notice, "adopted"));
	assert_int_equal(pinned_map_id("conns"), map_before);
	assert_int_equal(pinned_settings().lease_until_ns, 12344);
	assert_int_equal(pinned_settings().generation, was.generation + 1);
	assert_int_equal(bpf_map_lookup_elem(map_fd(d->skel->maps.hash_key), &zero, &key[1]), 0);
	assert_memory_equal(&key[0], &key[1], sizeof(key[0]));
	/* The old programs run until the new ones are attached. */
	assert_int_equal(xdp_program("t0"), xdp_before);
	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_NATIVE));
	xdp_after = xdp_program("t0");
	assert_true(xdp_after && xdp_after != xdp_before);
	if (have_tcx()) {
		assert_int_equal(tcx_programs("t0", INGRESS, &in_after), 1);
		assert_int_equal(tcx_programs("t0", EGRESS, NULL), 1);
		assert_int_not_equal(in_after, in_before);
	}
	closed(d);
}

static void a_lease_in_force_outlasts_a_start_and_a_failed_start_restores_it(void **state)
{
	struct datapath *d = opened(), *second = NULL;
	struct sluice_settings was, put_off;
	uint64_t began = now_ns();
	struct rlimit files, few;
	int status, fd;
	pid_t child;

	closed(d);
	was = left(20 * NSEC_PER_SEC, false);
	d = opened();
	put_off = pinned_settings();
	assert_in_range(put_off.lease_until_ns, began + 30 * NSEC_PER_SEC,
			now_ns() + 30 * NSEC_PER_SEC + 1);
	assert_int_equal(datapath_lease_until(d), put_off.lease_until_ns);
	/* A start without the lock touches nothing. */
	assert_int_equal(datapath_open(&second, PIN_DIR, NULL, NULL), -EBUSY);
	assert_int_equal(pinned_settings().lease_until_ns, put_off.lease_until_ns);
	closed(d); /* before it was ready */
	assert_int_equal(pinned_settings().lease_until_ns, was.lease_until_ns);

	/* The load itself fails, for lack of file descriptors: nothing else has changed either. */
	was = left(20 * NSEC_PER_SEC, false);
	notice[0] = 0;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	few = files;
	fd = dup(0);
	few.rlim_cur = fd + 8;
	close(fd);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	status = datapath_open(&d, PIN_DIR, NULL,
			       &(struct datapath_handlers){.notice = keep_notice});
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	assert_true(status < 0);
	put_off = pinned_settings();
	assert_memory_equal(&put_off, &was, sizeof(was));

	/*
	 * Killed during its start: the lease is longer now, but the next start does not extend it
	 * again.
	 */
	left(20 * NSEC_PER_SEC, false);
	child = fork();
	if (!child)
		_exit(datapath_open(&d, PIN_DIR, NULL, NULL) ? 1 : 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	put_off = pinned_settings();
	d = opened();
	assert_int_equal(pinned_settings().lease_until_ns, put_off.lease_until_ns);

	/* A renewed lease is the daemon's own, and stays when the daemon goes. */
	began = now_ns() | 1;
	assert_done(datapath_renew_lease(d, began));
	closed(d);
	assert_int_equal(pinned_settings().lease_until_ns, began & ~1ULL);
}

static void an_expired_lease_stays_expired_until_the_daemon_is_ready(void **state)
{
	const struct {
		uint64_t left;
		bool stopping;
	} rows[] = {
		{.left = -1 * NSEC_PER_SEC},
		{.left = 600 * NSEC_PER_SEC}, /* longer than any start's */
		{.left = 20 * NSEC_PER_SEC, .stopping = true},
	};

	closed(opened());
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sluice_settings was = left(rows[i].left, rows[i].stopping);
		struct datapath *d = opened();

		/*
		 * A daemon that was stopping refuses nothing, so the next one starts as without a
		 * lease.
		 */
		if (rows[i].stopping)
			was.lease_until_ns = 0;
		assert_int_equal(pinned_settings().lease_until_ns, was.lease_until_ns);
		assert_int_equal(pinned_settings().stopping, 0);
		closed(d);
		assert_int_equal(pinned_settings().lease_until_ns, was.lease_until_ns);
	}
}

static void seen_model(void *arg, const char *name, uint32_t id)
{
	assert_string_equal(name, "llama-70b");
	assert_int_equal(id, 7);
	++*(int *)arg;
}

static void learned_names_outlive_the_daemon(void **state)
{
	const struct sluice_model_flag flag = {.limit = 3, .allow = 1};
	struct sluice_model_flag read;
	struct datapath *d = opened();
	int seen = 0;

	assert_done(datapath_set_model(d, "llama-70b", 7, 1));
	assert_done(datapath_set_flag(d, 7, "llama-70b", &flag));
	closed(d);
	d = opened();
	assert_done(datapath_each_model(d, seen_model, &seen));
	assert_int_equal(seen, 1);
	assert_done(datapath_get_flag(d, 7, &read));
	assert_memory_equal(&read, &flag, sizeof(flag));
	closed(d);
}

static void another_version_takes_over_without_a_gap(void **state)
{
	const struct sluice_client_flag_key key = {.client = {.plen = 128}};
	const struct sluice_client_flag flag = {.allow = 1};
	struct datapath *d = opened();
	uint32_t conns, rules, gate, requests, now;
	struct sluice_client_flag read;
	struct siphash_secret secret[2];
	uint32_t zero = 0;

	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_NATIVE));
	assert_done(datapath_set_client(d, &key, &flag));
	assert_done(map_read(d->skel->maps.hash_key, &zero, &secret[0]));
	conns = pinned_map_id("conns");
	rules = pinned_map_id("client_flags");
	gate = xdp_program("t0");
	tcx_programs("t0", INGRESS, &requests);
	closed(d);
	write_pinned_version(42);

	/* A start that fails before it attaches leaves everything as it was. */
	d = opened();
	assert_non_null(strstr(notice, "ABI version 42"));
	closed(d);
	assert_int_equal(pinned_settings().abi_version, 42);
	assert_int_equal(pinned_map_id("conns"), conns);

	d = opened();
	assert_int_equal(xdp_program("t0"), gate);
	assert_int_equal(tcx_programs("t0", INGRESS, &now), 1);
	assert_int_equal(now, requests);
	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_NATIVE));
	assert_int_equal(pinned_settings().abi_version, SLUICE_ABI_VERSION);
	/* What is under way is of one version; what somebody has said is in the same map. */
	assert_int_not_equal(pinned_map_id("conns"), conns);
	assert_int_equal(pinned_map_id("client_flags"), rules);
	assert_true(xdp_program("t0") && xdp_program("t0") != gate);
	assert_int_equal(tcx_programs("t0", INGRESS, &now), 1);
	assert_int_not_equal(now, requests);
	assert_done(map_read(d->skel->maps.client_flags, &key, &read));
	assert_int_equal(read.allow, 1);
	assert_done(map_read(d->skel->maps.hash_key, &zero, &secret[1]));
	assert_memory_equal(&secret[0], &secret[1], sizeof(secret[0]));
	closed(d);
}

static void kept_connections_outlive_a_change_of_version(void **state)
{
	const struct sluice_conn_key key = {.server_port = htons(8000)};
	const struct sluice_kept kept = {.more = 7};
	struct datapath *d = opened();
	uint32_t before, conns, requests;

	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
	assert_int_equal(tcx_programs("t0", INGRESS, &requests), 1);
	assert_done(map_write(d->skel->maps.kept, &key, &kept));
	before = pinned_map_id("kept");
	closed(d);
	write_pinned_version(42);
	d = opened();
	/* The program of the other version translates until its successor takes its place. */
	assert_int_equal(tcx_programs("t0", INGRESS, &conns), 1);
	assert_int_equal(conns, requests);
	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
	assert_int_equal(tcx_programs("t0", INGRESS, &conns), 1);
	assert_int_not_equal(conns, requests);
	assert_int_equal(pinned_map_id("kept"), before);
	assert_true(datapath_has_kept(d));
	closed(d);
}

static void an_unfinished_start_is_cleared(void **state)
{
	static const char *const remains[] = {"settings", "conns", "verdicts"};

	for (unsigned i = 0; i < sizeof(remains) / sizeof(remains[0]); i++) {
		struct datapath *d = opened();
		uint32_t before = pinned_map_id("services");
		char path[64];

		closed(d);
		snprintf(path, sizeof(path), PIN_DIR "/%s", remains[i]);
		assert_int_equal(unlink(path), 0);
		d = opened();
		assert_non_null(strstr(notice, "unfinished"));
		assert_int_not_equal(pinned_map_id("services"), before);
		closed(d);
	}
	{
		struct datapath *d = opened();

		closed(d);
		write_pinned_version(0);
		d = opened();
		assert_non_null(strstr(notice, "unfinished"));
		closed(d);
	}
}

static void a_map_of_another_size_is_replaced(void **state)
{
	struct datapath *d = opened();
	int fd;

	closed(d);
	assert_int_equal(unlink(PIN_DIR "/ports"), 0);
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "ports", 4, 8, 3, NULL);
	assert_int_equal(bpf_obj_pin(fd, PIN_DIR "/ports"), 0);
	close(fd);
	d = opened();
	assert_non_null(strstr(notice, "new maps for ports"));
	assert_done(datapath_renew_lease(d, 1));
	assert_true(pins_present(PIN_DIR, d->skel->obj, d->dir_fd));
	closed(d);
}

static void a_foreign_pin_is_left_alone(void **state)
{
	struct datapath *d = opened();
	int fd = foreign_program(BPF_PROG_TYPE_XDP);
	int map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "their_map", 4, 4, 1, NULL);

	closed(d);
	assert_int_equal(bpf_obj_pin(fd, PIN_DIR "/foreign"), 0);
	assert_int_equal(bpf_obj_pin(map, PIN_DIR "/their_map"), 0);
	close(fd);
	close(map);
	closed(opened());
	assert_int_equal(access(PIN_DIR "/their_map", F_OK), 0);
	assert_int_equal(datapath_remove(NULL, PIN_DIR), -ENOTEMPTY);
	assert_non_null(strstr(datapath_error(), "which is not sluice's"));
	assert_int_equal(access(PIN_DIR "/foreign", F_OK), 0);
	assert_int_equal(access(PIN_DIR "/their_map", F_OK), 0);
	assert_int_equal(unlink(PIN_DIR "/their_map"), 0);
	assert_int_equal(access(PIN_DIR "/settings", F_OK), -1);
	assert_int_equal(unlink(PIN_DIR "/foreign"), 0);
}

static void a_foreign_pin_in_place_of_the_links_is_named(void **state)
{
	int map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "their_map", 4, 4, 1, NULL);

	assert_int_equal(mkdir(PIN_DIR, 0700), 0);
	assert_int_equal(bpf_obj_pin(map, PIN_DIR "/links"), 0);
	close(map);
	datapath_fail(0, "an earlier error");
	assert_int_equal(datapath_remove(NULL, PIN_DIR), -ENOTDIR);
	assert_string_equal(datapath_error(), PIN_DIR "/links: Not a directory");
	assert_int_equal(unlink(PIN_DIR "/links"), 0);
}

static void a_second_daemon_is_refused(void **state)
{
	struct datapath *d = opened(), *second = NULL;

	assert_int_equal(datapath_open(&second, PIN_DIR "/", NULL, NULL), -EBUSY);
	assert_non_null(strstr(datapath_error(), "another sluiced is running"));
	assert_null(second);
	assert_int_equal(datapath_remove(NULL, PIN_DIR), -EBUSY);
	closed(d);
}

static void an_unusable_pin_directory_is_explained(void **state)
{
	static const struct {
		const char *dir;
		int err;
		const char *text;
	} rows[] = {
		{"/tmp/t-attach", -EINVAL, "not on a BPF file system"},
		{"sluice", -EINVAL, "absolute path"},
		{"/sys/fs/bpf", -EINVAL, "whole BPF file system"},
		{"/sys/fs/bpf/a.b", -EINVAL, "dot"},
		{"/sys/fs/bpf2/x", -EINVAL, "not on a BPF file system"},
	};
	struct datapath *d;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(datapath_open(&d, rows[i].dir, NULL, NULL), rows[i].err);
		assert_non_null(strstr(datapath_error(), rows[i].text));
	}
	assert_int_equal(access("/tmp/t-attach", F_OK), -1);
	assert_int_equal(datapath_remove(NULL, "/tmp"), -EINVAL);
	assert_done(datapath_open(&d, "/sys/fs/bpf/t-attach/deeper/", NULL, NULL));
	assert_done(datapath_remove(d, NULL));
	closed(d);
	assert_int_equal(access("/sys/fs/bpf/t-attach/deeper", F_OK), -1);
	rmdir("/sys/fs/bpf/t-attach");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sandbox_test(a_killed_daemons_programs_and_maps_are_adopted_without_a_gap),
		maps_test(a_lease_in_force_outlasts_a_start_and_a_failed_start_restores_it),
		maps_test(an_expired_lease_stays_expired_until_the_daemon_is_ready),
		maps_test(learned_names_outlive_the_daemon),
		sandbox_test(another_version_takes_over_without_a_gap),
		sandbox_test(kept_connections_outlive_a_change_of_version),
		maps_test(an_unfinished_start_is_cleared),
		maps_test(a_map_of_another_size_is_replaced),
		maps_test(a_foreign_pin_is_left_alone),
		maps_test(a_foreign_pin_in_place_of_the_links_is_named),
		maps_test(a_second_daemon_is_refused),
		maps_test(an_unusable_pin_directory_is_explained),
	};

	return sandbox_main("adopt", tests);
}
