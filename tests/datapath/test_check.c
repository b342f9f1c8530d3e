/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What others undo under a live daemon: datapath_check() sees it, sets it right three times a
 * minute, and says what it leaves.
 */
#include "attached.h"

#define SECOND 1000000000ULL

static struct datapath_interface interface_of(const struct datapath *d)
{
	struct datapath_interface is;

	datapath_interfaces(d, &is, 1);
	return is;
}

/* As `bpftool link detach` does. */
static void detach(const char *hook)
{
	char command[128], path[256] = "";
	FILE *found;
	int fd;

	snprintf(command, sizeof(command), "echo -n " PIN_DIR "/links/*_%d_%s",
		 if_nametoindex("t0"), hook);
	found = popen(command, "r");
	assert_non_null(fgets(path, sizeof(path), found));
	pclose(found);
	fd = bpf_obj_get(path);
	assert_true(fd >= 0);
	assert_int_equal(bpf_link_detach(fd), 0);
	close(fd);
}

static void take_away_ingress(void)
{
	detach("requests");
}

static void take_away_egress(void)
{
	detach("responses");
}

static void take_away_xdp(void)
{
	detach("gate");
}

static void take_away_qdisc(void)
{
	run("tc qdisc del dev t0 clsact");
}

static int foreign_link = -1;

static void come_first(void)
{
	foreign_link = foreign_tcx("t0", INGRESS);
}

static void filter_comes_first(void)
{
	add_foreign_filter("t0", 1, 1);
}

static void what_somebody_undoes_is_set_right_and_said_once(void **state)
{
	static const struct {
		bool clsact;
		void (*undo)(void);
		enum hook hook;
		const char *said;
	} rows[] = {
		{false, take_away_ingress, HOOK_REQUESTS,
		 "t0: the tc ingress program is not attached: traffic passes unseen: set right"},
		{false, take_away_egress, HOOK_RESPONSES,
		 "t0: the tc egress program is not attached: traffic passes unseen: set right"},
		{false, take_away_xdp, HOOK_GATE,
		 "t0: the XDP program is not attached: tc refuses the SYNs: set right"},
		{false, come_first, HOOK_REQUESTS,
		 "comes before sluice's tc ingress program: what it accepts passes unseen: set right"},
		{true, filter_comes_first, HOOK_REQUESTS,
		 "t0: a bpf filter at priority 1 comes before sluice's tc ingress program: what it accepts passes unseen: set right"},
		{true, take_away_qdisc, HOOK_REQUESTS,
		 "t0: the tc egress program is not attached: traffic passes unseen: set right"},
	};
	struct datapath *d = opened();
	unsigned restored = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct datapath_interface is;

		if (!rows[i].clsact && !have_tcx())
			continue;
		if (rows[i].clsact && !datapath_without_tcx) {
			closed(d);
			assert_done(datapath_remove(NULL, PIN_DIR));
			datapath_without_tcx = true;
			restored = 0;
			d = opened();
		}
		assert_done(datapath_attach(d, "t0", DATAPATH_XDP_NATIVE));
		datapath_retry(d);
		datapath_check(d, SECOND);
		notice[0] = 0;
		rows[i].undo();
		datapath_check(d, 2 * SECOND);
		is = interface_of(d);
		if (!strstr(notice, rows[i].said))
			fail_msg("row %zu says \"%s\"", i, notice);
		assert_int_equal(is.restored, ++restored);
		for (int hook = 0; hook < HOOK_COUNT; hook++) {
			assert_true(is.attached[hook]);
			assert_string_equal(is.note[hook], "");
		}
		if (datapath_without_tcx) {
			run("tc filter show dev t0 ingress | grep handle | head -n 1 | grep -q requests");
			run("tc filter show dev t0 egress | grep handle | head -n 1 | grep -q responses");
		} else {
			assert_first("t0", INGRESS, "requests", foreign_link >= 0 ? 2 : 1);
			assert_first("t0", EGRESS, "responses", 1);
		}
		assert_true(xdp_program("t0"));
		notice[0] = 0;
		datapath_check(d, 3 * SECOND);
		assert_string_equal(notice, "");
		close_fd(&foreign_link);
		foreign_link = -1;
	}
	closed(d);
}

static int undo_and_go(void *arg, int (*f)(void *arg), void *of)
{
	int err;

	take_away_qdisc(); /* what only the thread can have seen */
	err = f(of);
	*(unsigned *)arg += 1;
	return err;
}

/* The kernel's lock for network devices may be held for long: the loop does not wait for it. */
static void what_is_attached_is_read_in_a_thread(void **state)
{
	unsigned threads = 0;
	const struct datapath_handlers handlers = {
		.notice = keep_notice, .away = undo_and_go, .arg = &threads};
	struct datapath *d;

	datapath_without_tcx = true;
	assert_done(datapath_open(&d, PIN_DIR, NULL, &handlers));
	open_now = d;
	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
	datapath_check(d, SECOND);
	assert_int_equal(threads, 1);
	assert_int_equal(interface_of(d).restored, 1);
	closed(d);
}

/* It would never end if two programs insisted. */
static void a_fourth_time_in_a_minute_is_left_for_ten_minutes(void **state)
{
	struct datapath *d = opened();
	struct datapath_interface is;
	uint64_t now = 100 * SECOND;

	datapath_without_tcx = true;
	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
	assert_done(datapath_attach(d, "t1", DATAPATH_XDP_OFF));
	for (int i = 0; i < 3; i++) {
		take_away_qdisc();
		datapath_check(d, now += SECOND);
		assert_int_equal(interface_of(d).restored, i + 1);
	}
	/* The first of them was a minute ago. */
	take_away_qdisc();
	datapath_check(d, now += 58 * SECOND);
	assert_int_equal(interface_of(d).restored, 4);
	notice[0] = 0;
	take_away_qdisc();
	datapath_check(d, now + SECOND / 2);
	is = interface_of(d);
	assert_int_equal(is.restored, 4);
	assert_false(is.attached[HOOK_REQUESTS] || is.attached[HOOK_RESPONSES]);
	assert_string_equal(
		is.note[HOOK_REQUESTS],
		"t0: the tc ingress program is not attached: traffic passes unseen; tried 3 times in a minute, and left for 10 minutes, or until `sluicectl reload`");
	assert_non_null(strstr(notice, "until `sluicectl reload`"));
	notice[0] = 0;
	datapath_check(d, now += 500 * SECOND);
	assert_string_equal(notice, "");
	assert_int_equal(interface_of(d).restored, 4);
	/* Another interface has its own three times. */
	run("tc qdisc del dev t1 clsact");
	datapath_check(d, now += SECOND);
	run("tc filter show dev t1 ingress | grep -q requests");
	/* After ten minutes sluice tries again, and at once after a reload. */
	datapath_check(d, now += 600 * SECOND);
	assert_int_equal(interface_of(d).restored, 5);
	for (int i = 0; i < 3; i++) {
		take_away_qdisc();
		datapath_check(d, now += SECOND);
	}
	assert_int_equal(interface_of(d).restored, 7);
	datapath_retry(d);
	datapath_check(d, now += SECOND);
	is = interface_of(d);
	assert_int_equal(is.restored, 8);
	assert_true(is.attached[HOOK_REQUESTS] && is.attached[HOOK_RESPONSES]);
	assert_string_equal(is.note[HOOK_REQUESTS], "");
	closed(d);
}

static void removed_pins_are_made_again_and_nothing_is_detached(void **state)
{
	struct datapath *d = opened(), *second;
	uint32_t conns, id = 0, again = 0;
	struct stat st;

	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_NATIVE));
	conns = pinned_map_id("conns");
	tcx_programs("t0", INGRESS, &id);
	run("rm -r " PIN_DIR);
	datapath_check(d, SECOND);
	assert_non_null(strstr(notice, "had been removed: pinned again"));
	assert_string_equal(datapath_pins_note(d), "");
	assert_int_equal(pinned_map_id("conns"), conns);
	assert_int_equal(stat(PIN_DIR "/hash_key", &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(tcx_programs("t0", INGRESS, &again), have_tcx());
	assert_int_equal(id, again);
	assert_int_equal(interface_of(d).restored, 0);
	assert_int_equal(datapath_open(&second, PIN_DIR, NULL, NULL), -EBUSY);

	/* One pin, and those of the links. */
	run("rm " PIN_DIR "/kept; rm -r " PIN_DIR "/links");
	datapath_check(d, 2 * SECOND);
	assert_int_equal(access(PIN_DIR "/kept", F_OK), 0);
	closed(d);
	assert_int_equal(tcx_programs("t0", INGRESS, &again), have_tcx());
	assert_int_equal(id, again);
	assert_true(xdp_program("t0"));
	assert_done(datapath_remove(NULL, PIN_DIR));
	assert_false(xdp_program("t0"));
	assert_int_equal(tcx_programs("t0", INGRESS, NULL), 0);
}

static void without_tcx_the_mark_of_our_qdisc_comes_again(void **state)
{
	struct datapath *d;

	datapath_without_tcx = true;
	d = opened();
	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
	run("rm -r " PIN_DIR);
	datapath_check(d, SECOND);
	closed(d);
	assert_done(datapath_remove(NULL, PIN_DIR));
	run("test -z \"$(tc qdisc show dev t0 clsact)\"");
}

static void a_pin_directory_that_another_daemon_has_is_left(void **state)
{
	struct datapath *d = opened(), *second = NULL;

	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_OFF));
	run("rm -r " PIN_DIR);
	assert_done(datapath_open(&second, PIN_DIR, NULL, NULL));
	for (int i = 1; i < 6; i++)
		datapath_check(d, i * SECOND);
	assert_non_null(strstr(datapath_pins_note(d), "another sluiced is running"));
	assert_non_null(strstr(datapath_pins_note(d), "left for"));
	assert_int_equal(tcx_programs("t0", INGRESS, NULL), have_tcx());
	datapath_close(second);
	datapath_retry(d);
	datapath_check(d, 9 * SECOND);
	assert_string_equal(datapath_pins_note(d), "");
	closed(d);
}

static void auto_leaves_a_taken_xdp_hook_until_it_is_free(void **state)
{
	static const uint32_t flags[] = {XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE};
	int fd = foreign_program(BPF_PROG_TYPE_XDP), tap;
	struct datapath *d = opened();
	struct datapath_interface is;
	char expected[128];

	run("ip tuntap add tap0 mode tap && ip link set tap0 up");
	tap = if_nametoindex("tap0");
	for (unsigned f = 0; f < 2; f++) {
		assert_int_equal(bpf_xdp_attach(tap, fd, flags[f], NULL), 0);
		assert_done(datapath_attach(d, "tap0", DATAPATH_XDP_AUTO));
		is = interface_of(d);
		snprintf(expected, sizeof(expected),
			 "tap0: the XDP hook is taken by program %u: tc refuses the SYNs",
			 xdp_program("tap0"));
		assert_string_equal(is.note[HOOK_GATE], expected);
		assert_string_equal(notice, expected);
		assert_int_equal(is.xdp, DATAPATH_XDP_OFF);
		assert_false(is.attached[HOOK_GATE]);
		assert_true(is.attached[HOOK_REQUESTS] && is.attached[HOOK_RESPONSES]);
		datapath_check(d, SECOND);
		assert_int_equal(interface_of(d).xdp, DATAPATH_XDP_OFF);

		assert_int_equal(bpf_xdp_detach(tap, flags[f], NULL), 0);
		datapath_check(d, 2 * SECOND);
		is = interface_of(d);
		assert_int_equal(is.xdp, DATAPATH_XDP_NATIVE);
		assert_true(is.attached[HOOK_GATE] && xdp_program("tap0"));
		assert_string_equal(is.note[HOOK_GATE], "");
		assert_done(datapath_attach(d, "tap0", DATAPATH_XDP_OFF));
		notice[0] = 0;
	}
	close(fd);
	closed(d);
}

static void auto_says_where_there_is_no_native_xdp(void **state)
{
	struct datapath_interface is[3];
	struct datapath *d = opened();

	run("ip link add b0 type bridge && ip link set b0 up");
	assert_done(datapath_attach(d, "b0", DATAPATH_XDP_AUTO));
	assert_string_equal(notice,
			    "b0 has no native XDP (Operation not supported): tc refuses the SYNs");
	notice[0] = 0;
	/* By design, and nothing to say. */
	assert_done(datapath_attach(d, "t0", DATAPATH_XDP_AUTO));
	assert_done(datapath_attach(d, "lo", DATAPATH_XDP_AUTO));
	datapath_check(d, SECOND);
	assert_string_equal(notice, "");
	datapath_interfaces(d, is, 3);
	assert_string_equal(is[0].note[HOOK_GATE],
			    "b0 has no native XDP (Operation not supported): tc refuses the SYNs");
	assert_string_equal(is[1].note[HOOK_GATE], "");
	assert_string_equal(is[2].note[HOOK_GATE], "");
	closed(d);
}

/* Each would go before the other for ever. */
static void two_instances_at_one_interface_do_not_fight(void **state)
{
	struct datapath *first, *second;

	if (!have_tcx())
		return;
	first = opened();
	assert_done(datapath_attach(first, "t0", DATAPATH_XDP_OFF));
	assert_done(datapath_open(&second, PIN_DIR "2", NULL, NULL));
	assert_done(datapath_attach(second, "t0", DATAPATH_XDP_OFF));
	foreign_link = foreign_tcx("t0", INGRESS);
	for (int i = 1; i < 9; i++) {
		datapath_check(first, i * SECOND);
		datapath_check(second, i * SECOND);
	}
	/* Both have gone before the foreign program, once. */
	assert_int_equal(interface_of(first).restored, 1);
	assert_int_equal(interface_of(second).restored, 1);
	assert_string_equal(interface_of(first).note[HOOK_REQUESTS], "");
	assert_string_equal(interface_of(second).note[HOOK_REQUESTS], "");
	close_fd(&foreign_link);
	foreign_link = -1;
	closed(first);
	datapath_close(second);
	assert_done(datapath_remove(NULL, PIN_DIR "2"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sandbox_test(what_somebody_undoes_is_set_right_and_said_once),
		sandbox_test(what_is_attached_is_read_in_a_thread),
		sandbox_test(a_fourth_time_in_a_minute_is_left_for_ten_minutes),
		sandbox_test(removed_pins_are_made_again_and_nothing_is_detached),
		sandbox_test(without_tcx_the_mark_of_our_qdisc_comes_again),
		sandbox_test(a_pin_directory_that_another_daemon_has_is_left),
		sandbox_test(two_instances_at_one_interface_do_not_fight),
		sandbox_test(auto_leaves_a_taken_xdp_hook_until_it_is_free),
		sandbox_test(auto_says_where_there_is_no_native_xdp),
	};

	return sandbox_main("check", tests);
}
