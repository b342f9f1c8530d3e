/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which interfaces sluice attaches to: names, patterns and `auto`, as they come, go and come back.
 */
#include "attached.h"

#include <arpa/inet.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define SECOND 1000000000ULL

/* Runs a command, after which the kernel reports a change; then follows it. */
static void change(struct datapath *d, const char *command)
{
	struct pollfd change = {.fd = datapath_addresses_fd(d), .events = POLLIN};

	datapath_addresses_drain(d);
	run(command);
	assert_int_equal(poll(&change, 1, 20000), 1);
	datapath_addresses_drain(d);
	assert_done(datapath_refresh(d));
}

/* The names of the interfaces with both programs, then in brackets those without: "lo t0 (t1)". */
static const char *attached(const struct datapath *d)
{
	static char text[512];
	struct datapath_interface is[16];
	size_t n = datapath_interfaces(d, is, 16);

	text[0] = 0;
	for (size_t i = 0; i < n; i++) {
		bool both = is[i].attached[HOOK_REQUESTS] && is[i].attached[HOOK_RESPONSES];

		/* As the kernel says it. */
		if (have_tcx() && is[i].ifindex && !datapath_without_tcx)
			assert_int_equal(tcx_programs(is[i].name, INGRESS, NULL), both);
		snprintf(text + strlen(text), sizeof(text) - strlen(text), both ? "%s%s" : "%s(%s)",
			 *text ? " " : "", is[i].name);
	}
	return text;
}

static void checks(struct datapath *d, int n)
{
	while (n--)
		datapath_check(d, SECOND);
}

static size_t pinned_links(void)
{
	size_t n;
	FILE *f = popen("ls " PIN_DIR "/links | wc -l", "r");

	assert_int_equal(fscanf(f, "%zu", &n), 1);
	pclose(f);
	return n;
}

static void auto_is_lo_and_what_carries_a_global_address_or_a_default_route(void **state)
{
	static const struct {
		const char *command, *attached;
	} rows[] = {
		{"ip addr add 169.254.7.7/16 dev t1 scope link", "lo"},
		{"ip addr add 10.1.0.1/24 dev t0", "lo t0"},
		{"ip addr add 2001:db8::1/64 dev t1", "lo t0 t1"},
		{"ip link add t2 type veth peer name t3 && ip link set t2 up && ip link set t3 up",
		 "lo t0 t1"},
		{"ip route add default dev t2", "lo t0 t1 t2"},
		{"ip -6 route add default dev t3 metric 5", "lo t0 t1 t2 t3"},
		{"ip link del t0", "lo (t0) (t1) t2 t3"}, /* and its peer */
	};
	struct datapath *d = opened();

	run("ip link set lo up");
	assert_done(datapath_attach(d, "auto", DATAPATH_XDP_AUTO));
	assert_string_equal(attached(d), "lo");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		change(d, rows[i].command);
		if (strcmp(attached(d), rows[i].attached))
			fail_msg("%s: %s, not %s", rows[i].command, attached(d), rows[i].attached);
	}
	checks(d, 1);
	assert_string_equal(attached(d), "lo t2 t3");
	closed(d);
}

static void auto_finds_a_default_route_over_several_hops(void **state)
{
	struct datapath *d;

	run("ip addr add 10.1.0.1/24 dev t0 scope link && ip addr add 10.2.0.1/24 dev t1 scope link");
	run("ip route add default nexthop via 10.1.0.2 dev t0 nexthop via 10.2.0.2 dev t1");
	d = opened();
	assert_done(datapath_attach(d, "auto", DATAPATH_XDP_AUTO));
	assert_string_equal(attached(d), "lo t1 t0");
	closed(d);
}

static void auto_detaches_what_no_longer_matches_after_a_while(void **state)
{
	struct datapath *d = opened();

	run("ip addr add 10.1.0.1/24 dev t0");
	assert_done(datapath_attach(d, "auto", DATAPATH_XDP_AUTO));
	assert_string_equal(attached(d), "lo t0");
	change(d, "ip addr del 10.1.0.1/24 dev t0");
	checks(d, 4);
	assert_string_equal(attached(d), "lo t0"); /* the address may come back at once */
	change(d, "ip addr add 10.1.0.1/24 dev t0");
	checks(d, 4);
	change(d, "ip addr del 10.1.0.1/24 dev t0");
	checks(d, 4);
	assert_string_equal(attached(d), "lo t0");
	checks(d, 1);
	assert_string_equal(attached(d), "lo");
	assert_string_equal(notice, "interface t0 is detached: it matches no longer");
	assert_int_equal(tcx_programs("t0", INGRESS, NULL), 0);
	assert_int_equal(pinned_links(), have_tcx() ? 2 : 1);
	closed(d);
}

/* A router's table changes all the time. */
static void only_default_routes_are_reported(void **state)
{
	struct datapath *d = opened();
	struct pollfd change = {.fd = datapath_addresses_fd(d), .events = POLLIN};

	while (poll(&change, 1, 0) == 1)
		datapath_addresses_drain(d);
	run("for i in $(seq 100); do ip route add 10.9.$i.0/24 dev t0; done");
	run("ip -6 route add 2001:db8:1::/64 dev t0 && ip route del 10.9.7.0/24 dev t0");
	assert_int_equal(poll(&change, 1, 0), 0);
	run("ip -6 route add default dev t0");
	assert_int_equal(poll(&change, 1, 20000), 1);
	closed(d);
}

static void a_pattern_follows_what_comes_and_goes_and_keeps_nothing(void **state)
{
	for (int clsact = 0; clsact < 2; clsact++) {
		struct datapath *d;

		datapath_without_tcx = clsact;
		d = opened();
		assert_done(datapath_attach(d, "lxc*", DATAPATH_XDP_AUTO));
		assert_string_equal(attached(d), "");
		change(d, "ip link add lxc1 type veth peer name p1");
		assert_string_equal(notice, "interface lxc1 is there: attached");
		assert_string_equal(attached(d), "lxc1");
		change(d, "ip link add lxc2 type veth peer name p2");
		assert_string_equal(attached(d), "lxc1 lxc2");
		change(d, "ip link set lxc2 name other2");
		checks(d, 5);
		assert_string_equal(attached(d), "lxc1");
		change(d, "ip link del lxc1");
		assert_string_equal(notice, "interface lxc1 is gone");
		checks(d, 1);
		assert_string_equal(attached(d), "");
		assert_int_equal(pinned_links(), 0);
		assert_int_equal(d->attached_count, 0);
		closed(d);
		assert_done(datapath_remove(NULL, PIN_DIR));
		run("ip link del other2");
	}
}

static void a_missing_interface_is_said_and_attached_when_it_comes(void **state)
{
	static const char said[] =
		"interface eth7 does not exist: sluice attaches to it when it comes";
	struct datapath_interface is;
	struct datapath *d = opened();

	assert_done(datapath_attach(d, "eth7", DATAPATH_XDP_NATIVE));
	assert_string_equal(notice, said);
	datapath_interfaces(d, &is, 1);
	assert_string_equal(is.note[HOOK_REQUESTS], said);
	assert_string_equal(attached(d), "(eth7)");
	checks(d, 9);
	assert_string_equal(attached(d), "(eth7)");
	change(d, "ip link add eth7 type veth peer name p7");
	assert_string_equal(notice, "interface eth7 is there: attached");
	datapath_interfaces(d, &is, 1);
	assert_string_equal(is.note[HOOK_REQUESTS], "");
	assert_int_equal(is.xdp, DATAPATH_XDP_NATIVE);
	assert_string_equal(attached(d), "eth7");
	closed(d);
}

static void an_interface_that_comes_back_is_attached_again_with_its_kept_connections(void **state)
{
	static const char *const wanted[] = {"t0", "t*", "t[0]"};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		struct sluice_conn_key key = {.server_port = htons(80)};
		struct datapath *d = opened();
		struct sluice_kept kept = {.hook = if_nametoindex("t0")};

		assert_done(datapath_attach(d, wanted[i], DATAPATH_XDP_NATIVE));
		assert_done(map_write(d->skel->maps.kept, &key, &kept));
		change(d, "ip link del t0");
		assert_non_null(strstr(attached(d), "(t0)"));
		checks(d, 9); /* the entry waits for its connections */
		assert_non_null(strstr(attached(d), "(t0)"));
		assert_int_equal(pinned_links(), 0);
		change(d, "ip link add t0 type veth peer name t1");
		assert_true(xdp_program("t0"));
		assert_int_equal(tcx_programs("t0", INGRESS, NULL), have_tcx());
		assert_int_not_equal(kept.hook, if_nametoindex("t0"));
		assert_done(map_read(d->skel->maps.kept, &key, &kept));
		assert_int_equal(kept.hook, if_nametoindex("t0"));
		run("ip link set t0 up && ip link set t1 up");
		closed(d);
		assert_done(datapath_remove(NULL, PIN_DIR));
	}
}

static void an_interface_that_moves_to_another_namespace_is_detached(void **state)
{
	struct datapath *d = opened();
	int link;

	run("ip link add lxc1 type veth peer name p1");
	assert_done(datapath_attach(d, "lxc*", DATAPATH_XDP_NATIVE));
	link = dup(d->attached[0].link[HOOK_REQUESTS]);
	change(d, "unshare -n sleep 60 & while ip link show lxc1 >/dev/null 2>&1; do "
		  "ip link set lxc1 netns $! 2>/dev/null; done; kill $!");
	if (have_tcx()) {
		struct bpf_link_info info = {0};
		uint32_t len = sizeof(info);

		assert_int_equal(bpf_obj_get_info_by_fd(link, &info, &len), 0);
		assert_int_equal(info.xdp.ifindex, 0);
	}
	close_fd(&link);
	checks(d, 1);
	assert_int_equal(d->attached_count, 0);
	closed(d);
}

static void more_interfaces_than_there_is_room_for_are_counted(void **state)
{
	struct datapath *d = opened();

	datapath_without_tcx = true; /* faster */
	run("seq 65 | sed 's/.*/link add m& type veth peer name m&p/' | ip -batch -");
	assert_done(datapath_attach(d, "m*", DATAPATH_XDP_OFF));
	assert_int_equal(d->attached_count, DATAPATH_INTERFACES_MAX);
	assert_int_equal(datapath_no_room(d), 2 * 65 - DATAPATH_INTERFACES_MAX);
	closed(d);
}

/* With exactly the capabilities that the daemon keeps once it is ready. */
static void cap_bpf_and_net_admin_are_enough_to_follow_and_to_set_right(void **state)
{
	for (int clsact = 0; clsact < 2; clsact++) {
		struct datapath *d;
		int status;
		pid_t child;

		datapath_without_tcx = clsact;
		d = opened();
		assert_done(datapath_attach(d, "auto", DATAPATH_XDP_AUTO));
		assert_done(datapath_attach(d, "lxc*", DATAPATH_XDP_NATIVE));
		run("ip addr add 10.1.0.1/24 dev t0; ip link add lxc1 type veth peer name p1");
		run("tc qdisc del dev lo clsact 2>/dev/null; rm -r " PIN_DIR);
		child = fork();
		if (!child) {
			struct __user_cap_header_struct header = {
				.version = _LINUX_CAPABILITY_VERSION_3};
			struct __user_cap_data_struct caps[2] = {0};

			caps[0].effective = caps[0].permitted = 1U << CAP_NET_ADMIN;
			caps[1].effective = caps[1].permitted = 1U << (CAP_BPF - 32);
			if (syscall(SYS_capset, &header, caps))
				_exit(1);
			datapath_check(d, SECOND);
			if (datapath_refresh(d)) {
				fprintf(stderr, "%s\n", datapath_error());
				_exit(2);
			}
			if (*datapath_pins_note(d))
				fprintf(stderr, "%s\n", datapath_pins_note(d));
			if (strcmp(attached(d), "lo t0 lxc1"))
				fprintf(stderr, "%s\n", attached(d));
			_exit(*datapath_pins_note(d) || strcmp(attached(d), "lo t0 lxc1"));
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
		closed(d);
		assert_done(datapath_remove(NULL, PIN_DIR));
		run("ip link del lxc1; ip addr del 10.1.0.1/24 dev t0");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sandbox_test(auto_is_lo_and_what_carries_a_global_address_or_a_default_route),
		sandbox_test(auto_finds_a_default_route_over_several_hops),
		sandbox_test(auto_detaches_what_no_longer_matches_after_a_while),
		sandbox_test(only_default_routes_are_reported),
		sandbox_test(a_pattern_follows_what_comes_and_goes_and_keeps_nothing),
		sandbox_test(a_missing_interface_is_said_and_attached_when_it_comes),
		sandbox_test(
			an_interface_that_comes_back_is_attached_again_with_its_kept_connections),
		sandbox_test(an_interface_that_moves_to_another_namespace_is_detached),
		sandbox_test(more_interfaces_than_there_is_room_for_are_counted),
		sandbox_test(cap_bpf_and_net_admin_are_enough_to_follow_and_to_set_right),
	};

	return sandbox_main("interfaces", tests);
}
