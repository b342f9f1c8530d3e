/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Isolation for a test of user/datapath: a mount namespace with an empty /sys/fs/bpf, and for each
 * test a network namespace with a veth pair t0–t1. Neither has a name and both die with the
 * process, so a test that crashes leaves nothing on the host.
 */
#ifndef SLUICE_SANDBOX_H
#define SLUICE_SANDBOX_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "datapath/hooks.h"
#include "datapath/map_io.h"
#include "datapath/settings.h"

#define PIN_DIR "/sys/fs/bpf/sluice"

#define assert_done(call)                                                                          \
	do {                                                                                       \
		int done_ = (call);                                                                \
		if (done_)                                                                         \
			fail_msg("%s: %d (%s)", #call, done_, datapath_error());                   \
	} while (0)

static inline void run(const char *command)
{
	int status = system(command);

	if (status)
		fail_msg("%s: exit status %d", command, status);
}

static char notice[512];
static struct datapath *open_now; /* closed at teardown where a test has failed */

static inline void keep_notice(void *arg, enum datapath_notice kind, const char *about,
			       const char *text)
{
	snprintf(notice, sizeof(notice), "%s", text);
}

static inline struct datapath *opened(void)
{
	const struct datapath_handlers handlers = {.notice = keep_notice};
	struct datapath *d = NULL;

	assert_done(datapath_open(&d, PIN_DIR, NULL, &handlers));
	open_now = d;
	return d;
}

/* As a killed daemon: the pins stay. */
static inline void closed(struct datapath *d)
{
	open_now = NULL;
	datapath_close(d);
}

static inline int sandbox_enter(void **state)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -1;
	while (!umount2("/sys/fs/bpf", MNT_DETACH))
		;
	return 0;
}

static inline int sandbox_setup(void **state)
{
	notice[0] = 0;
	datapath_without_tcx = false;
	if (unshare(CLONE_NEWNET))
		return -1;
	/* An address that is checked for duplicates changes a second later, in mid-test. */
	return system("sysctl -qw net.ipv6.conf.default.accept_dad=0 && "
		      "ip link set lo up && ip link add t0 type veth peer name t1 && "
		      "ip link set t0 up && ip link set t1 up");
}

static inline int sandbox_teardown(void **state)
{
	datapath_close(open_now);
	open_now = NULL;
	return datapath_remove(NULL, PIN_DIR);
}

#define sandbox_test(f) cmocka_unit_test_setup_teardown(f, sandbox_setup, sandbox_teardown)

/* Everything here needs root. Without it, the test program fails: nothing counts as passed. */
#define sandbox_main(name, tests)                                                                  \
	(geteuid() ? (fprintf(stderr, "%s: needs root\n", name), 77)                               \
		   : cmocka_run_group_tests_name(name, tests, sandbox_enter, NULL))

#endif
