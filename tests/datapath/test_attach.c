/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Attaching, pinning, adopting and removing, with the real object on real interfaces: the effects
 * on the kernel of a daemon that starts, dies and starts again, and that detach leaves nothing.
 */
#include "sandbox.h"

#include <arpa/inet.h>
#include <linux/capability.h>
#include <linux/if_link.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

#include "core/service.h"

/* The number of programs on a tc hook of t0 through tcx; *id: the first one's. */
static unsigned tcx_programs(const char *interface, int type, uint32_t *id)
{
	uint32_t ids[16] = {0}, count = 16;

	if (bpf_prog_query(if_nametoindex(interface), type, 0, NULL, ids, &count))
		return 0;
	if (id)
		*id = ids[0];
	return count;
}

#define INGRESS 46
#define EGRESS  47

static bool have_tcx(void)
{
	uint32_t count = 0;

	return !bpf_prog_query(if_nametoindex("lo"), INGRESS, 0, NULL, NULL, &count);
}

static void program_name(uint32_t id, char name[BPF_OBJ_NAME_LEN])
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(id);

	assert_true(fd >= 0);
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &len), 0);
	close(fd);
	memcpy(name, info.name, BPF_OBJ_NAME_LEN);
}

static uint32_t xdp_program(const char *interface)
{
	uint32_t id = 0;

	bpf_xdp_query_id(if_nametoindex(interface), 0, &id);
	return id;
}

static uint32_t pinned_map_id(const char *name)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);
	char path[128];
	int fd;

	snprintf(path, sizeof(path), PIN_DIR "/%s", name);
	fd = bpf_obj_get(path);
	assert_true(fd >= 0);
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &len), 0);
	close(fd);
	return info.id;
}

static struct sluice_settings pinned_settings(void)
{
	struct sluice_settings settings;
	uint32_t zero = 0;
	int fd = bpf_obj_get(PIN_DIR "/settings");

	assert_true(fd >= 0);
	assert_int_equal(bpf_map_lookup_elem(fd, &zero, &settings), 0);
	close(fd);
	return settings;
}

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

/* A foreign program, which passes everything. */
static int foreign_program(enum bpf_prog_type type)
{
	struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K,
		 .dst_reg = 0,
		 .imm = type == BPF_PROG_TYPE_XDP ? XDP_PASS : 0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(type, "somebody", "GPL", insns, 2, NULL);

	assert_true(fd >= 0);
	return fd;
}

static void add_foreign_filter(const char *interface, uint32_t handle, uint32_t priority)
{
	int fd = foreign_program(BPF_PROG_TYPE_SCHED_CLS);
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = if_nametoindex(interface),
			    .attach_point = BPF_TC_INGRESS);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = handle, .priority = priority,
			    .prog_fd = fd);

	assert_int_equal(bpf_tc_attach(&hook, &opts), 0);
	close(fd);
}

static void auto_puts_tc_alone_on_veth_and_lo(void **state)
{
	struct datapath_interface is[4];
	struct datapath *d = opened();
	char name[BPF_OBJ_NAME_LEN];
	uint32_t id;

	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_AUTO));
	assert_done(datapath_attach(d, "lo", DATAPATH_XDP_AUTO));
	assert_int_equal(datapath_interfaces(d, is, 4), 2);
	assert_string_equal(is[0].name, "t0");
	assert_int_equal(is[0].ifindex, if_nametoindex("t0"));
	assert_int_equal(is[0].xdp, DATAPATH_XDP_OFF);
	assert_int_equal(is[1].xdp, DATAPATH_XDP_OFF);
	assert_int_equal(is[0].tcx, have_tcx());
	assert_false(xdp_program("t0"));
	assert_false(xdp_program("lo"));
	if (have_tcx()) {
		assert_int_equal(tcx_programs("t0", INGRESS, &id), 1);
		program_name(id, name);
		assert_string_equal(name, "requests");
		assert_int_equal(tcx_programs("lo", EGRESS, &id), 1);
		program_name(id, name);
		assert_string_equal(name, "responses");
	}
	closed(d);
}

static void native_and_off_attach_as_configured(void **state)
{
	static const enum datapath_xdp modes[] = {DATAPATH_XDP_NATIVE, DATAPATH_XDP_OFF,
						  DATAPATH_XDP_NATIVE, DATAPATH_XDP_NATIVE,
						  DATAPATH_XDP_AUTO};
	struct datapath *d = opened();
	struct datapath_interface is;

	for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		assert_done(datapath_attach(d, "t0", modes[i]));
		assert_int_equal(datapath_interfaces(d, &is, 1), 1);
		assert_int_equal(is.xdp, modes[i] == DATAPATH_XDP_NATIVE ? DATAPATH_XDP_NATIVE
									 : DATAPATH_XDP_OFF);
		assert_int_equal(!!xdp_program("t0"), modes[i] == DATAPATH_XDP_NATIVE);
	}
	assert_int_equal(datapath_attach(d, "lo", DATAPATH_XDP_NATIVE), -EOPNOTSUPP);
	assert_non_null(strstr(datapath_error(), "lo has no native XDP"));
	assert_int_equal(tcx_programs("lo", INGRESS, NULL), 0);
	closed(d);
}

/*
 * From Linux 6.9 on generic XDP hides the link header from tc; a native program that is already
 * there stays.
 */
static void generic_xdp_is_used_only_if_tc_after_it_sees_the_link_header(void **state)
{
	unsigned major = 0, minor = 0;
	struct datapath *d = opened();
	struct datapath_interface is;
	struct utsname u;
	uint32_t native;
	int err;

	assert_int_equal(uname(&u), 0);
	assert_int_equal(sscanf(u.release, "%u.%u", &major, &minor), 2);
	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_NATIVE));
	native = xdp_program("t0");
	err = datapath_attach(d, "t0", DATAPATH_XDP_GENERIC);
	datapath_interfaces(d, &is, 1);
	if (major * 100 + minor >= 609) {
		assert_int_equal(err, -EOPNOTSUPP);
		assert_non_null(strstr(datapath_error(), "hide the link header from tc"));
		assert_int_equal(is.xdp, DATAPATH_XDP_NATIVE);
		assert_int_equal(xdp_program("t0"), native);
		assert_int_equal(datapath_attach(d, "lo", DATAPATH_XDP_GENERIC), -EOPNOTSUPP);
		assert_int_equal(tcx_programs("lo", INGRESS, NULL), 0);
	} else {
		char name[BPF_OBJ_NAME_LEN];

		assert_int_equal(err, 0);
		assert_int_equal(is.xdp, DATAPATH_XDP_GENERIC);
		program_name(xdp_program("t0"), name);
		assert_string_equal(name, "gate_generic");
	}
	closed(d);
}

static void an_interface_without_ethernet_headers_gets_the_l3_programs(void **state)
{
	struct datapath_interface is;
	char name[BPF_OBJ_NAME_LEN];
	struct datapath *d;
	uint32_t id;

	run("ip tuntap add t9 mode tun && ip link set t9 up");
	d = opened();
	assert_int_equal(datapath_attach(d, "t9", DATAPATH_XDP_GENERIC), -EOPNOTSUPP);
	assert_done(datapath_attach(d, "t9", DATAPATH_XDP_AUTO));
	datapath_interfaces(d, &is, 1);
	assert_int_equal(is.xdp, DATAPATH_XDP_OFF);
	if (have_tcx()) {
		assert_int_equal(tcx_programs("t9", INGRESS, &id), 1);
		program_name(id, name);
		assert_string_equal(name, "requests_l3");
	}
	closed(d);
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
	assert_done(datapath_set_model(d, "llama-70b", 7));
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
	assert_int_equal(datapath_open(&second, PIN_DIR, NULL), -EBUSY);
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
	status = datapath_open(&d, PIN_DIR, &(struct datapath_handlers){.notice = keep_notice});
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	assert_true(status < 0);
	assert_non_null(strstr(notice, "adopted"));
	put_off = pinned_settings();
	assert_memory_equal(&put_off, &was, sizeof(was));

	/*
	 * Killed during its start: the lease is longer now, but the next start does not extend it
	 * again.
	 */
	left(20 * NSEC_PER_SEC, false);
	child = fork();
	if (!child)
		_exit(datapath_open(&d, PIN_DIR, NULL) ? 1 : 0);
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

	assert_done(datapath_set_model(d, "llama-70b", 7));
	assert_done(datapath_set_flag(d, 7, "llama-70b", &flag));
	closed(d);
	d = opened();
	assert_done(datapath_each_model(d, seen_model, &seen));
	assert_int_equal(seen, 1);
	assert_done(datapath_get_flag(d, 7, &read));
	assert_memory_equal(&read, &flag, sizeof(flag));
	closed(d);
}

static void pins_of_another_version_are_replaced(void **state)
{
	struct datapath *d = opened();
	uint32_t before;

	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_NATIVE));
	before = pinned_map_id("conns");
	closed(d);
	write_pinned_version(42);
	d = opened();
	assert_non_null(strstr(notice, "ABI version 42"));
	assert_int_not_equal(pinned_map_id("conns"), before);
	assert_int_equal(pinned_settings().abi_version, SLUICE_ABI_VERSION);
	assert_int_equal(xdp_program("t0"), 0);
	assert_int_equal(tcx_programs("t0", INGRESS, NULL), 0);
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

static void a_map_of_another_shape_is_replaced(void **state)
{
	struct datapath *d = opened();
	int fd;

	closed(d);
	assert_int_equal(unlink(PIN_DIR "/ports"), 0);
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "ports", 4, 8, 3, NULL);
	assert_int_equal(bpf_obj_pin(fd, PIN_DIR "/ports"), 0);
	close(fd);
	d = opened();
	assert_non_null(strstr(notice, "ports had another shape"));
	closed(d);
}

static void remove_leaves_nothing(void **state)
{
	for (int by_daemon = 0; by_daemon < 2; by_daemon++) {
		struct datapath *d = opened();

		assert_done(datapath_attach(d, "t0", DATAPATH_XDP_NATIVE));
		assert_done(datapath_attach(d, "lo", DATAPATH_XDP_AUTO));
		if (!by_daemon)
			closed(d);
		assert_done(datapath_remove(by_daemon ? d : NULL, PIN_DIR));
		assert_int_equal(access(PIN_DIR, F_OK), -1);
		assert_int_equal(xdp_program("t0"), 0);
		assert_int_equal(xdp_program("lo"), 0);
		assert_int_equal(tcx_programs("t0", INGRESS, NULL), 0);
		assert_int_equal(tcx_programs("lo", EGRESS, NULL), 0);
		if (by_daemon)
			closed(d);
		/* A second removal is no error. */
		assert_done(datapath_remove(NULL, PIN_DIR));
	}
}

static void a_foreign_pin_is_left_alone(void **state)
{
	struct datapath *d = opened();
	int fd = foreign_program(BPF_PROG_TYPE_XDP);

	closed(d);
	assert_int_equal(bpf_obj_pin(fd, PIN_DIR "/foreign"), 0);
	close(fd);
	assert_int_equal(datapath_remove(NULL, PIN_DIR), -ENOTEMPTY);
	assert_int_equal(access(PIN_DIR "/foreign", F_OK), 0);
	assert_int_equal(access(PIN_DIR "/settings", F_OK), -1);
	assert_int_equal(unlink(PIN_DIR "/foreign"), 0);
}

static void a_second_daemon_is_refused(void **state)
{
	struct datapath *d = opened(), *second = NULL;

	assert_int_equal(datapath_open(&second, PIN_DIR "/", NULL), -EBUSY);
	assert_non_null(strstr(datapath_error(), "another sluiced is running"));
	assert_null(second);
	assert_int_equal(datapath_remove(NULL, PIN_DIR), -EBUSY);
	closed(d);
}

static void a_taken_xdp_hook_is_named_and_nothing_attached(void **state)
{
	static const enum datapath_xdp modes[] = {DATAPATH_XDP_NATIVE, DATAPATH_XDP_GENERIC};
	static const uint32_t flags[] = {XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE};
	struct datapath *d = opened();
	int fd = foreign_program(BPF_PROG_TYPE_XDP), ifindex = if_nametoindex("t0");
	char expected[128];

	for (unsigned f = 0; f < 2; f++) {
		assert_int_equal(bpf_xdp_attach(ifindex, fd, flags[f], NULL), 0);
		snprintf(expected, sizeof(expected),
			 "XDP hook of t0 is taken by program %u; use --xdp off", xdp_program("t0"));
		for (unsigned i = 0; i < 2; i++) {
			assert_int_equal(datapath_attach(d, "t0", modes[i]), -EBUSY);
			assert_string_equal(datapath_error(), expected);
			assert_int_equal(tcx_programs("t0", INGRESS, NULL), 0);
			assert_int_equal(datapath_interfaces(d, NULL, 0), 0);
		}
		assert_int_equal(bpf_xdp_detach(ifindex, flags[f], NULL), 0);
	}
	assert_int_equal(bpf_xdp_attach(ifindex, fd, XDP_FLAGS_SKB_MODE, NULL), 0);
	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
	close(fd);
	closed(d);
}

static void a_missing_interface_is_named(void **state)
{
	struct datapath *d = opened();

	assert_int_equal(datapath_attach(d, "eth99", DATAPATH_XDP_AUTO), -ENODEV);
	assert_string_equal(datapath_error(), "interface eth99 does not exist");
	assert_int_equal(datapath_attach(d, "", DATAPATH_XDP_AUTO), -ENODEV);
	assert_int_equal(
		datapath_attach(d, "a-name-longer-than-any-interface-has", DATAPATH_XDP_AUTO),
		-ENODEV);
	closed(d);
}

static void interfaces_no_longer_named_are_detached(void **state)
{
	struct datapath *d = opened();

	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_NATIVE));
	assert_done(datapath_attach(d, "t1", DATAPATH_XDP_NATIVE));
	closed(d);
	d = opened();
	assert_done(datapath_attach(d, "t1", DATAPATH_XDP_NATIVE));
	assert_done(datapath_detach_others(d));
	assert_int_equal(xdp_program("t0"), 0);
	assert_int_equal(tcx_programs("t0", INGRESS, NULL), 0);
	assert_true(xdp_program("t1"));
	closed(d);
}

static void an_interface_that_comes_back_is_attached_again(void **state)
{
	struct datapath *d = opened();
	struct datapath_interface is;
	struct pollfd poll_fd = {.fd = datapath_addresses_fd(d), .events = POLLIN};
	int was;

	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_NATIVE));
	datapath_interfaces(d, &is, 1);
	was = is.ifindex;
	run("ip link del t0");
	assert_int_equal(poll(&poll_fd, 1, 20000), 1);
	assert_done(datapath_refresh(d));
	assert_non_null(strstr(notice, "t0 is gone"));
	datapath_interfaces(d, &is, 1);
	assert_int_equal(is.ifindex, 0);
	assert_int_equal(poll(&poll_fd, 1, 0), 0);
	run("ip link add t0 type veth peer name t1");
	assert_int_equal(poll(&poll_fd, 1, 20000), 1);
	assert_done(datapath_refresh(d));
	datapath_interfaces(d, &is, 1);
	assert_int_equal(is.ifindex, if_nametoindex("t0"));
	assert_int_not_equal(is.ifindex, was);
	assert_true(xdp_program("t0"));
	closed(d);
}

static bool has_service(struct datapath *d, const char *address, uint16_t port,
			struct sluice_service *out)
{
	struct sluice_service_key key = {.port = htons(port)};
	struct sluice_service unused;

	if (inet_pton(AF_INET6, address, key.addr) != 1)
		fail_msg("%s is no address", address);
	return !bpf_map_lookup_elem(map_fd(d->skel->maps.services), &key, out ? out : &unused);
}

static uint64_t services_now(struct datapath *d)
{
	uint64_t n = 0, max;

	assert_done(datapath_map_fill(d, "services", &n, &max));
	assert_int_equal(max, 8192);
	return n;
}

static bool port_bit(struct datapath *d, uint16_t port)
{
	uint32_t word = port / 64;
	uint64_t bits;

	assert_int_equal(bpf_map_lookup_elem(map_fd(d->skel->maps.ports), &word, &bits), 0);
	return bits >> (port % 64) & 1;
}

static void a_wildcard_follows_the_hosts_addresses(void **state)
{
	const struct service any = {.port = 8000, .wildcard = true, .id = 5};
	struct datapath *d = opened();
	struct pollfd poll_fd = {.fd = datapath_addresses_fd(d), .events = POLLIN};
	struct sluice_service value;

	run("ip addr add 10.9.8.7/24 dev t0");
	assert_done(datapath_set_services(d, &any, 1));
	assert_true(has_service(d, "::ffff:127.0.0.1", 8000, &value));
	assert_int_equal(value.id, 5);
	assert_int_equal(value.wildcard, 1);
	assert_true(has_service(d, "::1", 8000, NULL));
	assert_true(has_service(d, "::ffff:10.9.8.7", 8000, NULL));
	assert_false(has_service(d, "::ffff:10.9.8.9", 8000, NULL));
	assert_done(datapath_refresh(d));
	run("ip addr add 10.9.8.9/24 dev t0 && ip addr add fd00::5/64 dev t0 nodad");
	assert_int_equal(poll(&poll_fd, 1, 20000), 1);
	assert_done(datapath_refresh(d));
	assert_true(has_service(d, "::ffff:10.9.8.9", 8000, NULL));
	assert_true(has_service(d, "fd00::5", 8000, NULL));
	run("ip addr del 10.9.8.7/24 dev t0 && ip addr add 10.9.8.10/24 dev t0");
	assert_done(datapath_refresh(d));
	assert_false(has_service(d, "::ffff:10.9.8.7", 8000, NULL));
	assert_true(has_service(d, "::ffff:10.9.8.10", 8000, NULL));
	closed(d);
}

static void the_services_are_exactly_those_set(void **state)
{
	struct service two[] = {
		{.port = 8000, .wildcard = true, .id = 1},
		{.port = 8000, .id = 2},
		{.port = 9000, .id = 3},
	};
	struct datapath *d = opened();
	struct sluice_service value;
	uint64_t with;

	inet_pton(AF_INET6, "::ffff:127.0.0.1", two[1].addr);
	inet_pton(AF_INET6, "::ffff:203.0.113.9", two[2].addr);
	assert_done(datapath_set_services(d, two, 3));
	with = services_now(d);
	assert_true(with >= 3);
	assert_true(has_service(d, "::ffff:127.0.0.1", 8000, &value));
	assert_int_equal(value.id, 2); /* a service with an address precedes a wildcard */
	assert_int_equal(value.wildcard, 0);
	assert_true(port_bit(d, 8000) && port_bit(d, 9000));
	assert_false(port_bit(d, 8001));
	assert_done(datapath_set_services(d, two, 2));
	assert_int_equal(services_now(d), with - 1);
	assert_false(port_bit(d, 9000));
	/* A daemon that adopts the map removes the services that it did not set. */
	closed(d);
	d = opened();
	assert_int_equal(services_now(d), with - 1);
	assert_done(datapath_set_services(d, two + 2, 1));
	assert_int_equal(services_now(d), 1);
	assert_false(port_bit(d, 8000));
	assert_done(datapath_set_services(d, NULL, 0));
	assert_int_equal(services_now(d), 0);
	/* 0.0.0.0 means this host's IPv4 addresses only. */
	inet_pton(AF_INET6, "::ffff:0.0.0.0", two[0].addr);
	assert_done(datapath_set_services(d, two, 1));
	assert_true(has_service(d, "::ffff:127.0.0.1", 8000, NULL));
	assert_false(has_service(d, "::1", 8000, NULL));
	closed(d);
}

/* Every change of services voids what the programs remember of names. */
static void the_programs_notice_every_change_of_a_name(void **state)
{
	struct service one = {.port = 8000, .wildcard = true, .id = 1};
	struct datapath *d = opened();
	uint32_t before = pinned_settings().names;

	assert_done(datapath_set_services(d, &one, 1));
	assert_int_equal(pinned_settings().names, before + 1);
	assert_done(datapath_set_model(d, "llama-70b", 7));
	assert_int_equal(pinned_settings().names, before + 2);
	assert_int_equal(datapath_set_model(d, "llama-70b", SLUICE_MODELS_MAX), -EINVAL);
	assert_int_equal(pinned_settings().names, before + 2);
	/* A daemon that adopts the maps continues from there. */
	closed(d);
	d = opened();
	assert_done(datapath_set_services(d, NULL, 0));
	assert_int_equal(pinned_settings().names, before + 3);
	closed(d);
}

static void too_many_services_change_nothing(void **state)
{
	static struct service many[8193];
	struct datapath *d = opened();

	for (unsigned i = 0; i < 8193; i++) {
		many[i] = (struct service){.port = 1 + i};
		many[i].addr[15] = 9;
	}
	assert_done(datapath_set_services(d, many, 8192));
	assert_int_equal(services_now(d), 8192);
	/* All old services give way, although both sets do not fit at once. */
	for (unsigned i = 0; i < 8193; i++)
		many[i].addr[15] = 10;
	assert_done(datapath_set_services(d, many, 8192));
	assert_int_equal(services_now(d), 8192);
	assert_int_equal(datapath_set_services(d, many, 8193), -E2BIG);
	assert_int_equal(services_now(d), 8192);
	assert_true(port_bit(d, 8192));
	assert_false(port_bit(d, 8193));
	closed(d);
}

static void without_tcx_clsact_filters_do_the_same(void **state)
{
	struct datapath_interface is;
	struct datapath *d;

	datapath_without_tcx = true;
	d = opened();
	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
	datapath_interfaces(d, &is, 1);
	assert_false(is.tcx);
	assert_int_equal(tcx_programs("t0", INGRESS, NULL), 0);
	run("tc filter show dev t0 ingress | grep -q 'pref 1308.*handle 0x51ce.*requests'");
	run("tc filter show dev t0 egress | grep -q 'pref 1308.*handle 0x51ce.*responses'");
	closed(d);
	d = opened();
	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
	run("test $(tc filter show dev t0 ingress | grep -c 'handle 0x51ce') = 1");
	closed(d);
	assert_done(datapath_remove(NULL, PIN_DIR));
	run("test -z \"$(tc qdisc show dev t0 clsact)\"");
	assert_int_equal(access(PIN_DIR, F_OK), -1);
}

static void a_clsact_qdisc_with_foreign_filters_stays(void **state)
{
	struct datapath *d;

	datapath_without_tcx = true;
	/* Our qdisc, with a foreign filter on it. */
	d = opened();
	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
	add_foreign_filter("t0", 1, 7);
	/* A foreign qdisc, empty but for our filters. */
	run("tc qdisc add dev t1 clsact");
	assert_done(datapath_attach(d, "t1", DATAPATH_XDP_OFF));
	closed(d);
	assert_done(datapath_remove(NULL, PIN_DIR));
	run("tc filter show dev t0 ingress | grep -q 'pref 7'");
	run("test -z \"$(tc filter show dev t0 ingress | grep 51ce)\"");
	run("test -z \"$(tc filter show dev t0 egress | grep 51ce)\"");
	run("tc qdisc show dev t1 | grep -q clsact");
	run("test -z \"$(tc filter show dev t1 ingress)\"");
}

static void a_foreign_filter_with_our_handle_is_named(void **state)
{
	struct datapath *d;

	datapath_without_tcx = true;
	d = opened();
	run("tc qdisc add dev t0 clsact");
	add_foreign_filter("t0", 0x51ce, 1308);
	assert_int_equal(datapath_attach(d, "t0", DATAPATH_XDP_NATIVE), -EBUSY);
	assert_non_null(strstr(datapath_error(), "of t0 is taken by program"));
	assert_int_equal(xdp_program("t0"), 0);
	run("tc filter show dev t0 ingress | grep -q somebody");
	run("test -z \"$(tc filter show dev t0 egress)\"");
	closed(d);
}

static void a_kernel_that_gained_tcx_sheds_the_filters(void **state)
{
	struct datapath *d;

	if (!have_tcx())
		return;
	datapath_without_tcx = true;
	d = opened();
	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
	closed(d);
	datapath_without_tcx = false;
	d = opened();
	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
	assert_int_equal(tcx_programs("t0", INGRESS, NULL), 1);
	run("test -z \"$(tc qdisc show dev t0 clsact)\"");
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
		assert_int_equal(datapath_open(&d, rows[i].dir, NULL), rows[i].err);
		assert_non_null(strstr(datapath_error(), rows[i].text));
	}
	assert_int_equal(access("/tmp/t-attach", F_OK), -1);
	assert_int_equal(datapath_remove(NULL, "/tmp"), -EINVAL);
	assert_done(datapath_open(&d, "/sys/fs/bpf/t-attach/deeper/", NULL));
	assert_done(datapath_remove(d, NULL));
	closed(d);
	assert_int_equal(access("/sys/fs/bpf/t-attach/deeper", F_OK), -1);
	rmdir("/sys/fs/bpf/t-attach");
}

static void missing_capabilities_are_named(void **state)
{
	int status;
	pid_t child = fork();

	if (!child) {
		struct datapath *d;

		if (setresuid(65534, 65534, 65534))
			_exit(1);
		_exit(datapath_open(&d, PIN_DIR, NULL) == -EPERM &&
				      strstr(datapath_error(), "CAP_BPF")
			      ? 0
			      : 2);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* With exactly the capabilities of the systemd unit everything works, except mounting. */
static void cap_bpf_net_admin_and_perfmon_are_enough(void **state)
{
	for (int clsact = 0; clsact < 2; clsact++) {
		int status;
		pid_t child;

		closed(opened()); /* mounts bpffs, which the host does */
		child = fork();
		if (!child) {
			struct __user_cap_header_struct header = {
				.version = _LINUX_CAPABILITY_VERSION_3};
			struct __user_cap_data_struct caps[2] = {0};
			struct datapath *d = NULL;
			int err;

			caps[0].effective = caps[0].permitted = 1U << CAP_NET_ADMIN;
			caps[1].effective = caps[1].permitted =
				1U << (CAP_BPF - 32) | 1U << (CAP_PERFMON - 32);
			if (syscall(SYS_capset, &header, caps))
				_exit(1);
			datapath_without_tcx = clsact;
			for (int start = 0; start < 2; start++) {
				err = datapath_open(&d, PIN_DIR, NULL);
				if (!err)
					err = datapath_attach(d, "t0", DATAPATH_XDP_NATIVE);
				if (!err)
					err = datapath_age(d, 1);
				if (err) {
					fprintf(stderr, "start %d: %s\n", start, datapath_error());
					_exit(2);
				}
				datapath_close(d);
			}
			_exit(datapath_remove(NULL, PIN_DIR) ? 3 : 0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
		assert_int_equal(access(PIN_DIR, F_OK), -1);
		run("test -z \"$(tc qdisc show dev t0 clsact)\"");
	}
}

/* The maps that the programs skip. */
static uint32_t empty_maps(const struct datapath *d)
{
	struct sluice_settings set;
	uint32_t zero = 0;

	assert_done(bpf_map_lookup_elem(map_fd(d->skel->maps.settings), &zero, &set));
	return set.empty;
}

static void maps_are_skipped_only_while_they_are_empty(void **state)
{
	const uint32_t all = SLUICE_EMPTY_CLIENT_FLAGS | SLUICE_EMPTY_CLIENT_PREFIXES |
			     SLUICE_EMPTY_CLIENT_QUOTAS;
	struct sluice_client_flag_key first = {.model = 0}, second = {.model = 2};
	struct sluice_prefix_key prefix = {.plen = 8};
	struct sluice_client_flag block = {.reason = SLUICE_REASON_CLIENT_BLOCKED};
	struct datapath *d = opened();

	assert_int_equal(empty_maps(d), all);
	assert_done(datapath_set_client(d, &first, &block));
	assert_done(datapath_set_client(d, &second, &block));
	assert_int_equal(empty_maps(d), all & ~SLUICE_EMPTY_CLIENT_FLAGS);
	assert_done(datapath_clear_client(d, &first));
	assert_int_equal(empty_maps(d), all & ~SLUICE_EMPTY_CLIENT_FLAGS);
	assert_done(datapath_set_prefix(d, &prefix, &(struct sluice_prefix){0}));
	assert_done(datapath_set_client_quota(d, &first, 1));
	assert_int_equal(empty_maps(d), 0);
	/* A daemon that adopts the maps, or renews the lease, leaves these bits. */
	assert_done(datapath_renew_lease(d, 1));
	closed(d);
	d = opened();
	assert_int_equal(empty_maps(d), 0);
	assert_done(datapath_clear_client(d, &second));
	assert_int_equal(empty_maps(d), SLUICE_EMPTY_CLIENT_FLAGS);
	assert_done(datapath_clear_prefix(d, &prefix));
	assert_done(datapath_clear_client_quota(d, &first));
	assert_int_equal(empty_maps(d), all);
	closed(d);
}

static void a_flag_is_written_after_its_texts(void **state)
{
	struct sluice_model_flag flag = {.reason = SLUICE_REASON_TTFT, .limit = 4};
	struct datapath *d = opened();
	struct sluice_reply reply;
	int fd = map_fd(d->skel->maps.replies);

	assert_done(datapath_set_flag(d, 9, "phi-4", &flag));
	for (unsigned no_retry = 0; no_retry < 2; no_retry++) {
		struct sluice_reply_key key = {.model = 9, .no_retry = no_retry};

		for (unsigned r = 0; r < SLUICE_REASON_COUNT; r++) {
			bool wanted = r == SLUICE_REASON_TTFT || r == SLUICE_REASON_IN_FLIGHT;

			key.model = 9;
			key.reason = r;
			assert_int_equal(!bpf_map_lookup_elem(fd, &key, &reply), wanted);
			assert_true(!wanted || strstr(reply.text, "phi-4"));
			key.model = SLUICE_MODEL_ALL;
			assert_int_equal(bpf_map_lookup_elem(fd, &key, &reply), 0);
			assert_null(strstr(reply.text, "phi-4"));
		}
	}
	/* The id belongs to another model now: no text has the old name. */
	assert_done(datapath_set_flag(d, 9, "qwen",
				      &(struct sluice_model_flag){.allow = 1, .limit = 1}));
	{
		struct sluice_reply_key key = {.model = 9, .reason = SLUICE_REASON_TTFT};

		assert_int_equal(bpf_map_lookup_elem(fd, &key, &reply), 0);
		assert_non_null(strstr(reply.text, "qwen"));
		/*
		 * A client that is blocked for one model gets that model's name, though the model
		 * was never shut.
		 */
		assert_done(
			datapath_set_flag(d, 10, "gemma", &(struct sluice_model_flag){.allow = 1}));
		assert_done(datapath_set_client(
			d, &(struct sluice_client_flag_key){.model = 10},
			&(struct sluice_client_flag){.reason = SLUICE_REASON_CLIENT_BLOCKED}));
		key.model = 10;
		key.reason = SLUICE_REASON_CLIENT_BLOCKED;
		assert_int_equal(bpf_map_lookup_elem(fd, &key, &reply), 0);
		assert_non_null(strstr(reply.text, "gemma"));
	}
	closed(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sandbox_test(auto_puts_tc_alone_on_veth_and_lo),
		sandbox_test(native_and_off_attach_as_configured),
		sandbox_test(generic_xdp_is_used_only_if_tc_after_it_sees_the_link_header),
		sandbox_test(an_interface_without_ethernet_headers_gets_the_l3_programs),
		sandbox_test(a_killed_daemons_programs_and_maps_are_adopted_without_a_gap),
		sandbox_test(a_lease_in_force_outlasts_a_start_and_a_failed_start_restores_it),
		sandbox_test(an_expired_lease_stays_expired_until_the_daemon_is_ready),
		sandbox_test(learned_names_outlive_the_daemon),
		sandbox_test(pins_of_another_version_are_replaced),
		sandbox_test(an_unfinished_start_is_cleared),
		sandbox_test(a_map_of_another_shape_is_replaced),
		sandbox_test(remove_leaves_nothing),
		sandbox_test(a_foreign_pin_is_left_alone),
		sandbox_test(a_second_daemon_is_refused),
		sandbox_test(a_taken_xdp_hook_is_named_and_nothing_attached),
		sandbox_test(a_missing_interface_is_named),
		sandbox_test(interfaces_no_longer_named_are_detached),
		sandbox_test(an_interface_that_comes_back_is_attached_again),
		sandbox_test(a_wildcard_follows_the_hosts_addresses),
		sandbox_test(the_services_are_exactly_those_set),
		sandbox_test(the_programs_notice_every_change_of_a_name),
		sandbox_test(too_many_services_change_nothing),
		sandbox_test(without_tcx_clsact_filters_do_the_same),
		sandbox_test(a_clsact_qdisc_with_foreign_filters_stays),
		sandbox_test(a_foreign_filter_with_our_handle_is_named),
		sandbox_test(a_kernel_that_gained_tcx_sheds_the_filters),
		sandbox_test(an_unusable_pin_directory_is_explained),
		sandbox_test(missing_capabilities_are_named),
		sandbox_test(cap_bpf_net_admin_and_perfmon_are_enough),
		sandbox_test(a_flag_is_written_after_its_texts),
		sandbox_test(maps_are_skipped_only_while_they_are_empty),
	};

	return sandbox_main("attach", tests);
}
