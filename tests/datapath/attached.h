/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is attached to an interface and pinned, as the kernel says and not as the datapath under
 * test does; and a foreign program, to be in its way.
 */
#ifndef SLUICE_ATTACHED_H
#define SLUICE_ATTACHED_H

#include "sandbox.h"

#include <linux/if_link.h>

/* The number of programs on a tc hook of t0 through tcx; *id: the first one's. */
static inline unsigned tcx_programs(const char *interface, int type, uint32_t *id)
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

static inline bool have_tcx(void)
{
	uint32_t count = 0;

	return !bpf_prog_query(if_nametoindex("lo"), INGRESS, 0, NULL, NULL, &count);
}

static inline uint32_t xdp_program(const char *interface)
{
	uint32_t id = 0;

	bpf_xdp_query_id(if_nametoindex(interface), 0, &id);
	return id;
}

static inline uint32_t pinned_map_id(const char *name)
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

static inline struct sluice_settings pinned_settings(void)
{
	struct sluice_settings settings;
	uint32_t zero = 0;
	int fd = bpf_obj_get(PIN_DIR "/settings");

	assert_true(fd >= 0);
	assert_int_equal(bpf_map_lookup_elem(fd, &zero, &settings), 0);
	close(fd);
	return settings;
}

/* A foreign program, which passes everything. */
static inline int foreign_program(enum bpf_prog_type type)
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

static inline void program_name(uint32_t id, char name[BPF_OBJ_NAME_LEN])
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(id);

	assert_true(fd >= 0);
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &len), 0);
	close(fd);
	memcpy(name, info.name, BPF_OBJ_NAME_LEN);
}

static inline void add_foreign_filter(const char *interface, uint32_t handle, uint32_t priority)
{
	int fd = foreign_program(BPF_PROG_TYPE_SCHED_CLS);
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = if_nametoindex(interface),
			    .attach_point = BPF_TC_INGRESS);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = handle, .priority = priority,
			    .prog_fd = fd);

	assert_int_equal(bpf_tc_attach(&hook, &opts), 0);
	close(fd);
}

/* A program that somebody puts before all others. */
static inline int foreign_tcx(const char *interface, int type)
{
	DECLARE_LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = 1U << 3);
	int prog = foreign_program(BPF_PROG_TYPE_SCHED_CLS), fd;

	fd = bpf_link_create(prog, if_nametoindex(interface), type, &opts);
	assert_true(fd >= 0);
	close(prog);
	return fd;
}

static inline void assert_first(const char *interface, int type, const char *program,
				unsigned count)
{
	char name[BPF_OBJ_NAME_LEN];
	uint32_t id = 0;

	assert_int_equal(tcx_programs(interface, type, &id), count);
	program_name(id, name);
	assert_string_equal(name, program);
}

#endif
