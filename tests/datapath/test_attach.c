/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Attaching to real interfaces and removing, with the real object: which program comes to which
 * hook, by tcx or by clsact filters, beside foreign programs, and with which capabilities; and that
 * a removal leaves nothing.
 */
#include "attached.h"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

static void auto_puts_tc_alone_on_veth_and_lo(void **state)
{
	struct datapath_interface is[4];
	struct datapath *d = opened();
	char name[BPF_OBJ_NAME_LEN];
	uint32_t id = 0;

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
	struct datapath_interface is[2];
	char name[BPF_OBJ_NAME_LEN];
	struct datapath *d;
	uint32_t id = 0;

	run("ip tuntap add t9 mode tun && ip link set t9 up");
	d = opened();
	datapath_record(d, true);
	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
	assert_null(d->headerless); /* it takes a second or two of a CPU */
	assert_int_equal(datapath_attach(d, "t9", DATAPATH_XDP_GENERIC), -EOPNOTSUPP);
	assert_done(datapath_attach(d, "t9", DATAPATH_XDP_AUTO));
	assert_non_null(d->headerless);
	assert_true(d->headerless->bss->recording);
	datapath_record(d, false);
	assert_false(d->headerless->bss->recording);
	assert_int_equal(datapath_interfaces(d, is, 2), 2);
	assert_int_equal(is[1].xdp, DATAPATH_XDP_OFF);
	if (have_tcx()) {
		assert_int_equal(tcx_programs("t9", INGRESS, &id), 1);
		program_name(id, name);
		assert_string_equal(name, "requests_l3");
	}
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
			 "XDP hook of t0 is taken by program %u; use --xdp auto",
			 xdp_program("t0"));
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

static void what_no_interface_can_be_called_is_an_error(void **state)
{
	struct datapath *d = opened();

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
	run("tc filter show dev t0 ingress | grep -q 'pref 1 .*handle 0x51ce[0-9a-f]* requests'");
	run("tc filter show dev t0 egress | grep -q 'pref 1 .*handle 0x51ce[0-9a-f]* responses'");
	closed(d);
	d = opened();
	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
	run("test $(tc filter show dev t0 ingress | grep -c 'handle 0x51ce') = 1");
	closed(d);
	assert_done(datapath_remove(NULL, PIN_DIR));
	run("test -z \"$(tc qdisc show dev t0 clsact)\"");
	assert_int_equal(access(PIN_DIR, F_OK), -1);
}

static void without_pins_nothing_is_left(void **state)
{
	bool tcx = have_tcx();
	struct datapath *d;

	for (int closes = 0; closes < 2; closes++) {
		assert_done(datapath_open(&d, DATAPATH_NO_PINS, NULL, NULL));
		assert_done(datapath_attach(d, "t0", DATAPATH_XDP_NATIVE));
		run("test -z \"$(ls /sys/fs/bpf | grep -v debug)\"");
		for (uint64_t i = 1; i < 3; i++)
			datapath_check(d, i * 1000000000ULL);
		assert_string_equal(datapath_pins_note(d), "");
		assert_int_equal(tcx_programs("t0", INGRESS, NULL), tcx);
		assert_true(xdp_program("t0"));
		if (!closes)
			assert_done(datapath_remove(d, DATAPATH_NO_PINS));
		datapath_close(d);
		/* clsact keeps the filters of a daemon that was killed. */
		if (closes && !tcx) {
			run("tc filter show dev t0 ingress | grep -q requests");
			assert_done(datapath_remove(NULL, DATAPATH_NO_PINS));
		}
		assert_int_equal(tcx_programs("t0", INGRESS, NULL), 0);
		assert_false(xdp_program("t0"));
		run("test -z \"$(tc filter show dev t0 ingress)$(tc filter show dev t0 egress)\"");
	}
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

#define ADD "tc filter add dev t0 ingress "
#define U32 "u32 match u32 0 0 flowid 1:1" /* accepts everything */

/* What is on clsact already, and where our filter goes. */
static const struct filters {
	const char *name;
	const char *commands;
	struct {
		uint32_t handle, priority; /* handle 0: ours */
	} foreign;                         /* a bpf filter */
	int priority;                      /* ours */
	const char *say;                   /* NULL: ours comes first */
} filters[] = {
	{.name = "nothing", .priority = 1},
	{.name = "a bpf filter at priority 7", .foreign = {1, 7}, .priority = 1},
	{.name = "a bpf filter at priority 1", .foreign = {1, 1}, .priority = 1},
	{.name = "a filter of another kind at priority 7",
	 .commands = ADD "prio 7 " U32,
	 .priority = 1},
	{.name = "a filter of another kind at priority 1",
	 .commands = ADD "prio 1 " U32,
	 .priority = 2,
	 .say = "t0: a u32 filter at priority 1 comes before sluice's tc ingress program: what it accepts passes unseen"},
	{.name = "a filter of one protocol at priority 1",
	 .commands = ADD "prio 1 protocol ip " U32,
	 .priority = 2,
	 .say = "t0: a u32 filter at priority 1 comes before sluice's tc ingress program: what it accepts passes unseen"},
	{.name = "filters of other kinds at priorities 1, 2 and 4",
	 .commands = "for p in 1 2 4; do " ADD "prio $p " U32 "; done",
	 .priority = 3,
	 .say = "t0: a u32 filter at priority 1 comes before sluice's tc ingress program: what it accepts passes unseen"},
	{.name = "a filter in a chain that nothing goes to",
	 .commands = ADD "prio 1 chain 5 " U32,
	 .priority = 1},
	{.name = "a bpf filter with our handle at priority 1",
	 .foreign = {0, 1},
	 .priority = 2,
	 .say = "t0: a bpf filter at priority 1 comes before sluice's tc ingress program: what it accepts passes unseen"},
};

/* Whether the kernel runs our ingress filter at this priority, and how many of ours there are. */
static void assert_filter(const char *of, int priority, bool first)
{
	char command[256];

	snprintf(command, sizeof(command),
		 "tc filter show dev t0 ingress chain 0 | grep handle | %s | "
		 "grep -q 'pref %d .*handle 0x51ce[0-9a-f]* requests'",
		 first ? "head -n 1" : "cat", priority);
	if (system(command))
		fail_msg("%s: our filter is not %s at priority %d", of, first ? "first" : "there",
			 priority);
	run("test $(tc filter show dev t0 ingress | grep -c 'handle 0x51ce[0-9a-f]* requests') = 1");
}

/* Each row with our filter added after the foreign one, and before it. */
static void filters_come_first_or_status_says_which_does(void **state)
{
	struct datapath_interface is;
	struct datapath *d;

	datapath_without_tcx = true;
	d = opened();
	for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
		const struct filters *f = &filters[i];

		for (int before = 0; before < (f->say ? 1 : 2); before++) {
			run("tc qdisc add dev t0 clsact");
			if (before)
				assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
			if (f->commands)
				run(f->commands);
			if (f->foreign.priority)
				add_foreign_filter("t0",
						   f->foreign.handle ? f->foreign.handle
								     : clsact_handle(PIN_DIR),
						   f->foreign.priority);
			assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
			datapath_interfaces(d, &is, 1);
			assert_filter(f->name, f->priority, !f->say);
			assert_string_equal(is.note[HOOK_REQUESTS], f->say ? f->say : "");
			assert_string_equal(is.note[HOOK_RESPONSES], "");
			assert_true(is.attached[HOOK_REQUESTS] && is.attached[HOOK_RESPONSES]);
			run("tc qdisc del dev t0 clsact");
		}
	}
	closed(d);
}

static void a_filter_of_an_earlier_version_is_replaced_where_it_is_and_moves_up(void **state)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = if_nametoindex("t0"),
			    .attach_point = BPF_TC_INGRESS);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = clsact_handle(PIN_DIR), .priority = 1308);
	struct datapath *d;

	datapath_without_tcx = true;
	d = opened();
	run("tc qdisc add dev t0 clsact");
	opts.prog_fd = bpf_program__fd(d->skel->progs.requests);
	assert_int_equal(bpf_tc_attach(&hook, &opts), 0);
	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
	assert_filter("alone", 1308, true);
	add_foreign_filter("t0", 1, 1307);
	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
	assert_filter("after another", 1, true);
	closed(d);
}

/* The first one's filters stay, and neither wants to be before the other. */
static void two_instances_share_a_clsact_qdisc(void **state)
{
	const struct datapath_handlers none = {0};
	struct datapath *first, *second;

	datapath_without_tcx = true;
	first = opened();
	assert_done(datapath_attach(first, "t0", DATAPATH_XDP_OFF));
	assert_done(datapath_open(&second, PIN_DIR "-second", NULL, &none));
	assert_done(datapath_attach(second, "t0", DATAPATH_XDP_OFF));
	assert_done(datapath_detach_others(second));
	for (int i = 0; i < 3; i++) {
		struct datapath *d = i % 2 ? second : first;
		struct datapath_interface is;

		datapath_check(d, i * NSEC_PER_SEC);
		datapath_interfaces(d, &is, 1);
		assert_true(is.attached[HOOK_REQUESTS] && is.attached[HOOK_RESPONSES]);
		assert_string_equal(is.note[HOOK_REQUESTS], "");
		assert_int_equal(is.restored, 0);
	}
	run("test $(tc filter show dev t0 ingress | grep -c 'handle 0x51ce[0-9a-f]* requests') = 2");
	assert_done(datapath_remove(second, PIN_DIR "-second"));
	datapath_close(second);
	run("test $(tc filter show dev t0 ingress | grep -c 'handle 0x51ce[0-9a-f]* requests') = 1");
	closed(first);
	assert_done(datapath_remove(NULL, PIN_DIR));
	run("test -z \"$(tc filter show dev t0 ingress)\"");
}

static void assert_filters(int requests)
{
	char command[128];

	snprintf(
		command, sizeof(command),
		"test $(tc filter show dev t0 ingress | grep -c 'handle 0x51ce[0-9a-f]* requests') = %d",
		requests);
	run(command);
}

/* None takes the other's filters for its own, and those of a killed one go with the next start. */
static void two_instances_without_pins_share_a_clsact_qdisc(void **state)
{
	struct datapath *first, *second, *third;

	datapath_without_tcx = true;
	assert_done(datapath_open(&first, DATAPATH_NO_PINS, NULL, NULL));
	assert_done(datapath_attach(first, "t0", DATAPATH_XDP_OFF));
	assert_done(datapath_open(&second, DATAPATH_NO_PINS, NULL, NULL));
	assert_done(datapath_attach(second, "t0", DATAPATH_XDP_OFF));
	assert_filters(2);
	assert_done(datapath_remove(NULL, DATAPATH_NO_PINS)); /* as detach without a daemon */
	assert_filters(2);
	datapath_close(second); /* killed */
	assert_filters(2);
	datapath_close(first);
	assert_done(datapath_open(&third, DATAPATH_NO_PINS, NULL, NULL));
	assert_done(datapath_attach(third, "t0", DATAPATH_XDP_OFF));
	assert_filters(1);
	assert_done(datapath_remove(third, DATAPATH_NO_PINS));
	datapath_close(third);
	assert_filters(0);
}

static void tcx_programs_come_before_those_of_others(void **state)
{
	struct datapath_interface is;
	struct datapath *d;
	int links[3];

	if (!have_tcx())
		return;
	links[0] = foreign_tcx("t0", INGRESS);
	d = opened();
	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
	assert_first("t0", INGRESS, "requests", 2);
	assert_first("t0", EGRESS, "responses", 1);
	closed(d);
	/* A new daemon finds others before what the last one attached. */
	links[1] = foreign_tcx("t0", INGRESS);
	links[2] = foreign_tcx("t0", EGRESS);
	assert_first("t0", INGRESS, "somebody", 3);
	d = opened();
	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
	assert_first("t0", INGRESS, "requests", 3);
	assert_first("t0", EGRESS, "responses", 2);
	datapath_interfaces(d, &is, 1);
	assert_string_equal(is.note[HOOK_REQUESTS], "");
	closed(d);
	for (int i = 0; i < 3; i++)
		close(links[i]);
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

/* Their instances had one handle in common. They would judge each request once more. */
static void filters_of_an_older_build_go_before_ours_come(void **state)
{
	static const enum bpf_tc_attach_point points[] = {BPF_TC_INGRESS, BPF_TC_EGRESS};

	for (int tcx = 0; tcx < 2; tcx++) {
		struct datapath *d;

		datapath_without_tcx = !tcx;
		if (tcx && !have_tcx())
			continue;
		d = opened();
		run("tc qdisc add dev t0 clsact");
		for (int i = 0; i < 2; i++) {
			DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = if_nametoindex("t0"),
					    .attach_point = points[i]);
			DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 0x51ce, .priority = 1);

			opts.prog_fd = bpf_program__fd(i ? d->skel->progs.responses
							 : d->skel->progs.requests);
			assert_int_equal(bpf_tc_attach(&hook, &opts), 0);
		}
		add_foreign_filter("t0", 0x51ce, 7);
		assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
		run("! tc filter show dev t0 ingress | grep -q 'handle 0x51ce requests'");
		run("! tc filter show dev t0 egress | grep -q 'handle 0x51ce responses'");
		run("tc filter show dev t0 ingress | grep -q 'pref 7 bpf.* handle 0x51ce '");
		run("tc qdisc del dev t0 clsact");
		closed(d);
		assert_done(datapath_remove(NULL, PIN_DIR));
	}
}

static void missing_capabilities_are_named(void **state)
{
	int status;
	pid_t child = fork();

	if (!child) {
		struct datapath *d;

		if (setresuid(65534, 65534, 65534))
			_exit(1);
		_exit(datapath_open(&d, PIN_DIR, NULL, NULL) == -EPERM &&
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
				err = datapath_open(&d, PIN_DIR, NULL, NULL);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		sandbox_test(auto_puts_tc_alone_on_veth_and_lo),
		sandbox_test(native_and_off_attach_as_configured),
		sandbox_test(generic_xdp_is_used_only_if_tc_after_it_sees_the_link_header),
		sandbox_test(an_interface_without_ethernet_headers_gets_the_l3_programs),
		sandbox_test(remove_leaves_nothing),
		sandbox_test(a_taken_xdp_hook_is_named_and_nothing_attached),
		sandbox_test(what_no_interface_can_be_called_is_an_error),
		sandbox_test(interfaces_no_longer_named_are_detached),
		sandbox_test(without_tcx_clsact_filters_do_the_same),
		sandbox_test(without_pins_nothing_is_left),
		sandbox_test(a_clsact_qdisc_with_foreign_filters_stays),
		sandbox_test(filters_come_first_or_status_says_which_does),
		sandbox_test(a_filter_of_an_earlier_version_is_replaced_where_it_is_and_moves_up),
		sandbox_test(two_instances_share_a_clsact_qdisc),
		sandbox_test(two_instances_without_pins_share_a_clsact_qdisc),
		sandbox_test(filters_of_an_older_build_go_before_ours_come),
		sandbox_test(tcx_programs_come_before_those_of_others),
		sandbox_test(a_kernel_that_gained_tcx_sheds_the_filters),
		sandbox_test(missing_capabilities_are_named),
		sandbox_test(cap_bpf_net_admin_and_perfmon_are_enough),
	};

	return sandbox_main("attach", tests);
}
