/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The stack of a program's chains of calls, as Linux 6.1 sums it: each frame is rounded up to 32
 * bytes and is 32 at least, a callback counts as called by the function that names it, and a chain
 * has 512 bytes. Newer kernels round up to 16 where they compile programs, so they load chains that
 * 6.1 refuses.
 *
 * The bytes of each frame are the verifier's own: its log has them in the order of the functions.
 * libbpf has the functions and their instructions. stack_watch() comes before bpf_object__load(),
 * stack_read() after it, whether it has failed or not.
 */
#ifndef SLUICE_TEST_STACK_H
#define SLUICE_TEST_STACK_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#define STACK_MOST      512
#define STACK_PROGRAMS  16
#define STACK_FUNCTIONS 256
#define STACK_LOG       4096
/* The verifier puts a call of bpf_loop() with a known callback in line, and saves three registers
 * for it. It adds them to the frame after it has summed the chains. */
#define STACK_INLINED 24

struct stack {
	const char *name; /* of the program; NULL: it was not loaded */
	const struct bpf_insn *insns;
	unsigned insn_count;
	unsigned count; /* of functions, in the order of their instructions */
	struct stack_function {
		unsigned start, type;
		char name[64];
		unsigned bytes; /* of its frame, rounded up */
		unsigned chain; /* … and of the deepest chain that it begins */
		int next;       /* in that chain, or -1 */
	} functions[STACK_FUNCTIONS];
	char log[STACK_LOG];
};

static struct stack stacks[STACK_PROGRAMS];
static unsigned stack_count;

/* Before a program is loaded: notes its functions. */
static int stack_note(struct bpf_program *program, struct bpf_prog_load_opts *opts, long cookie)
{
	const char *info = opts->func_info;

	for (unsigned i = 0; i < stack_count; i++) {
		struct stack *s = &stacks[i];

		if (strcmp(s->name, bpf_program__name(program)) != 0 ||
		    opts->func_info_cnt > STACK_FUNCTIONS)
			continue;
		s->insns = bpf_program__insns(program);
		s->insn_count = bpf_program__insn_cnt(program);
		s->count = opts->func_info_cnt;
		for (unsigned k = 0; k < s->count; k++) {
			struct bpf_func_info f;

			memcpy(&f, info + (size_t)k * opts->func_info_rec_size, sizeof(f));
			s->functions[k].start = f.insn_off;
			s->functions[k].type = f.type_id;
		}
		return 0;
	}
	return -1;
}

/* Before bpf_object__open(). Returns 0 or an error. */
static inline int stack_begin(void)
{
	LIBBPF_OPTS(libbpf_prog_handler_opts, opts, .prog_prepare_load_fn = stack_note);
	int tc = libbpf_register_prog_handler("tc", BPF_PROG_TYPE_SCHED_CLS, 0, &opts);

	if (tc < 0)
		return tc;
	tc = libbpf_register_prog_handler("xdp.frags", BPF_PROG_TYPE_XDP, BPF_XDP, &opts);
	return tc < 0 ? tc : 0;
}

static inline int stack_watch(struct bpf_object *object)
{
	struct bpf_program *program;

	stack_count = 0;
	bpf_object__for_each_program(program, object)
	{
		struct stack *s = &stacks[stack_count];

		if (stack_count == STACK_PROGRAMS)
			return -1;
		memset(s, 0, sizeof(*s));
		s->name = bpf_program__name(program);
		bpf_program__set_log_level(program, 4);
		if (bpf_program__set_log_buf(program, s->log, sizeof(s->log)))
			return -1;
		stack_count++;
	}
	return 0;
}

/* The function that begins at `insn`, or -1. */
static inline int stack_function(const struct stack *s, unsigned insn)
{
	for (unsigned k = 0; k < s->count; k++)
		if (s->functions[k].start == insn)
			return k;
	return -1;
}

/* The function that instruction i calls, or names for a helper to call, or -1. */
static inline int stack_called(const struct stack *s, unsigned i)
{
	const struct bpf_insn *n = &s->insns[i];

	if ((n->code == (BPF_JMP | BPF_CALL) && n->src_reg == BPF_PSEUDO_CALL) ||
	    (n->code == (BPF_LD | BPF_IMM | BPF_DW) && n->src_reg == BPF_PSEUDO_FUNC))
		return stack_function(s, i + n->imm + 1);
	return -1;
}

/* Sums the chains from function k. The verifier allows eight frames, and no recursion. */
static inline void stack_sum(struct stack *s, int k, int frames)
{
	struct stack_function *f = &s->functions[k];
	unsigned end = k + 1 < (int)s->count ? f[1].start : s->insn_count;

	if (f->chain || frames > 8)
		return;
	f->next = -1;
	for (unsigned i = f->start; i < end; i++) {
		int called = stack_called(s, i);

		if (called < 0)
			continue;
		stack_sum(s, called, frames + 1);
		if (f->next < 0 || s->functions[called].chain > s->functions[f->next].chain)
			f->next = called;
	}
	f->chain = f->bytes + (f->next < 0 ? 0 : s->functions[f->next].chain);
}

static inline bool stack_loops(const struct stack *s, unsigned k)
{
	unsigned end = k + 1 < s->count ? s->functions[k + 1].start : s->insn_count;

	for (unsigned i = s->functions[k].start; i < end; i++)
		if (s->insns[i].code == (BPF_JMP | BPF_CALL) && !s->insns[i].src_reg &&
		    s->insns[i].imm == BPF_FUNC_loop)
			return true;
	return false;
}

/*
 * Reads the frames from the log of a program that was `loaded` or refused, and sums its chains.
 * Returns the bytes of the deepest one, or -1: the log does not have a frame for each function.
 */
static inline int stack_read(struct stack *s, bool loaded)
{
	const char *at = strstr(s->log, "stack depth ");
	char *end;

	if (!at || !s->count)
		return -1;
	at += strlen("stack depth ") - 1;
	for (unsigned k = 0; k < s->count; k++) {
		struct stack_function *f = &s->functions[k];
		unsigned bytes = strtoul(at + 1, &end, 10);

		if (end == at + 1 || (*end == '+') != (k + 1 < s->count))
			return -1;
		at = end;
		if (loaded && stack_loops(s, k))
			bytes -= STACK_INLINED;
		f->bytes = ((bytes ? bytes : 1) + 31) / 32 * 32;
	}
	stack_sum(s, 0, 1);
	return s->functions[0].chain;
}

static inline void stack_names(struct stack *s, const struct btf *btf)
{
	for (unsigned k = 0; k < s->count; k++) {
		const struct btf_type *type = btf__type_by_id(btf, s->functions[k].type);

		snprintf(s->functions[k].name, sizeof(s->functions[k].name), "%s",
			 type ? btf__name_by_offset(btf, type->name_off) : "?");
	}
}

/* The deepest chain as text: "requests 160 + request_step 224 = 384". */
static inline void stack_chain(const struct stack *s, char *text, size_t size)
{
	size_t len = 0;

	for (int k = 0; k >= 0 && len < size; k = s->functions[k].next)
		len += snprintf(text + len, size - len, "%s%s %u", k ? " + " : "",
				s->functions[k].name, s->functions[k].bytes);
	if (len < size)
		snprintf(text + len, size - len, " = %u", s->functions[0].chain);
}

/*
 * After bpf_object__load(), which may have failed: sums the chains of all programs, and prints each
 * deepest one that 6.1 refuses, and what the verifier says of a program that it has refused.
 * Returns the number of the former.
 */
static inline unsigned stack_refused(struct bpf_object *object, int error)
{
	unsigned refused = 0;

	for (unsigned i = 0; i < stack_count && stacks[i].count; i++) {
		struct stack *s = &stacks[i];
		bool loaded = !error || (i + 1 < stack_count && stacks[i + 1].count);
		char text[1024] = "the verifier's log does not have its frames";
		int bytes;

		if (!loaded)
			fputs(s->log, stderr);
		stack_names(s, bpf_object__btf(object));
		bytes = stack_read(s, loaded);
		if (bytes >= 0)
			stack_chain(s, text, sizeof(text));
		if (bytes < 0 || bytes > STACK_MOST) {
			fprintf(stderr, "the stack of %s, of %d bytes: %s\n", s->name, STACK_MOST,
				text);
			refused++;
		}
	}
	return refused;
}

#endif
