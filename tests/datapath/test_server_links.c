/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which interfaces lead to a server: the host's end of a pair whose other end is in a network
 * namespace with the service's address. There both tc programs change places.
 */
#include "attached.h"

#include <arpa/inet.h>
#include <signal.h>

#include "core/service.h"

#define SECOND 1000000000ULL

static pid_t pod;

/* t1 moves into a namespace of its own, which lives as long as `pod`. */
static void make_pod(void)
{
	char command[128];
	FILE *f = popen("unshare -n sleep 600 >/dev/null & echo $!", "r");

	assert_int_equal(fscanf(f, "%d", &pod), 1);
	pclose(f);
	/* Until unshare has done its work, it is in this namespace. */
	snprintf(command, sizeof(command),
		 "while ip link show t1 >/dev/null 2>&1; do ip link set t1 netns %d; done", pod);
	run(command);
}

static void in_pod(const char *command)
{
	char text[256];

	snprintf(text, sizeof(text), "nsenter -t %d -n %s", pod, command);
	run(text);
}

static int end_pod(void **state)
{
	if (pod > 0)
		kill(pod, SIGKILL);
	pod = 0;
	return sandbox_teardown(state);
}

static struct service service_at(const char *address)
{
	struct service s = {.port = 8000, .id = 1};

	assert_int_equal(inet_pton(AF_INET6, address, s.addr), 1);
	return s;
}

static const struct datapath_interface *interface(const struct datapath *d, const char *name)
{
	for (size_t i = 0; i < d->attached_count; i++)
		if (!strcmp(d->attached[i].is.name, name))
			return &d->attached[i].is;
	return NULL;
}

/* The number of such interfaces that the programs know. */
static uint64_t told_programs(struct datapath *d)
{
	uint64_t n = 0;

	assert_done(map_count(d, d->skel->maps.server_links, &n));
	return n;
}

/* The programs of both sides of tc at t0. */
static void assert_programs(const char *ingress, const char *egress)
{
	char command[256];

	if (have_tcx() && !datapath_without_tcx) {
		assert_first("t0", INGRESS, ingress, 1);
		assert_first("t0", EGRESS, egress, 1);
		return;
	}
	snprintf(command, sizeof(command),
		 "tc filter show dev t0 ingress | grep -q '%s:' && "
		 "tc filter show dev t0 egress | grep -q '%s:'",
		 ingress, egress);
	run(command);
}

static void auto_finds_the_veth_of_a_pod_with_a_services_address(void **state)
{
	static const char *const addresses[] = {"::ffff:10.1.0.7", "fd00::7"};

	make_pod();
	for (int without_tcx = 0; without_tcx < 2; without_tcx++) {
		struct datapath *d;

		datapath_without_tcx = without_tcx;
		d = opened();
		assert_done(datapath_attach(d, "auto", DATAPATH_XDP_AUTO));
		for (int i = 0; i < 2; i++) {
			struct service one = service_at(addresses[i]);

			assert_null(interface(d, "t0"));
			assert_done(datapath_set_services(d, &one, 1));
			datapath_check(d, SECOND);
			assert_null(interface(d, "t0"));
			in_pod(i ? "ip addr add fd00::7/64 dev t1 nodad"
				 : "ip addr add 10.1.0.7/24 dev t1");
			datapath_check(d, SECOND);
			assert_non_null(interface(d, "t0"));
			assert_true(interface(d, "t0")->leads);
			assert_programs("responses", "requests");
			assert_int_equal(told_programs(d), 1);
			in_pod(i ? "ip addr del fd00::7/64 dev t1"
				 : "ip addr del 10.1.0.7/24 dev t1");
			for (int n = 0; n < 6; n++)
				datapath_check(d, SECOND);
			assert_null(interface(d, "t0"));
			assert_int_equal(told_programs(d), 0);
		}
		closed(d);
		assert_done(datapath_remove(NULL, PIN_DIR));
	}
}

static void a_named_interface_turns_as_its_server_comes_and_goes(void **state)
{
	struct service one = service_at("::ffff:10.1.0.7");

	make_pod();
	for (int without_tcx = 0; without_tcx < 2; without_tcx++) {
		struct datapath *d;

		datapath_without_tcx = without_tcx;
		d = opened();
		assert_done(datapath_set_services(d, &one, 1));
		assert_done(datapath_attach(d, "t0", DATAPATH_XDP_AUTO));
		assert_programs("requests", "responses");
		in_pod("ip addr add 10.1.0.7/24 dev t1");
		datapath_check(d, SECOND);
		assert_programs("responses", "requests");
		assert_string_equal(notice, "interface t0 leads to a server");
		/* A later daemon finds it so, and one without the service turns it back. */
		closed(d);
		d = opened();
		assert_done(datapath_set_services(d, &one, 1));
		assert_done(datapath_attach(d, "t0", DATAPATH_XDP_AUTO));
		assert_programs("responses", "requests");
		closed(d);
		d = opened();
		assert_done(datapath_attach(d, "t0", DATAPATH_XDP_AUTO));
		assert_programs("requests", "responses");
		in_pod("ip addr del 10.1.0.7/24 dev t1");
		closed(d);
		assert_done(datapath_remove(NULL, PIN_DIR));
	}
}

/* The host's own address is served on the host, whatever a pod has. */
static void an_address_of_this_host_leads_nowhere(void **state)
{
	struct service one = service_at("::ffff:10.1.0.7");
	struct datapath *d;

	make_pod();
	in_pod("ip addr add 10.1.0.7/24 dev t1");
	run("ip addr add 10.1.0.7/24 dev t0");
	d = opened();
	assert_done(datapath_set_services(d, &one, 1));
	assert_done(datapath_attach(d, "auto", DATAPATH_XDP_AUTO));
	assert_false(interface(d, "t0")->leads);
	assert_programs("requests", "responses");
	closed(d);
}

#define pod_test(f) cmocka_unit_test_setup_teardown(f, sandbox_setup, end_pod)

int main(void)
{
	const struct CMUnitTest tests[] = {
		pod_test(auto_finds_the_veth_of_a_pod_with_a_services_address),
		pod_test(a_named_interface_turns_as_its_server_comes_and_goes),
		pod_test(an_address_of_this_host_leads_nowhere),
	};

	return sandbox_main("server_links", tests);
}
