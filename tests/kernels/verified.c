/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * verified OBJECT: loads the programs of a BPF object into the kernel, and prints for each how many
 * instructions the verifier has walked, and the bytes of stack as Linux 6.1 sums them. Fails if one
 * does not load, or would not on 6.1 because of its stack. Needs root.
 */
#include "stack.h"

int main(int argc, char **argv)
{
	struct bpf_program *program;
	struct bpf_object *object;
	struct bpf_map *map;
	unsigned refused, i = 0;
	int error;

	if (argc != 2) {
		fprintf(stderr, "usage: verified OBJECT\n");
		return 2;
	}
	object = stack_begin() ? NULL : bpf_object__open_file(argv[1], NULL);
	if (!object || stack_watch(object)) {
		fprintf(stderr, "%s does not open\n", argv[1]);
		return 1;
	}
	bpf_object__for_each_map(map, object) bpf_map__set_pin_path(map, NULL);
	error = bpf_object__load(object);
	refused = stack_refused(object, error);
	if (error) {
		fprintf(stderr, "%s does not load\n", argv[1]);
		return 1;
	}
	bpf_object__for_each_program(program, object)
	{
		struct bpf_prog_info info = {};
		__u32 len = sizeof(info);

		if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &len)) {
			perror("bpf_obj_get_info_by_fd");
			return 1;
		}
		printf("%s %u %u\n", bpf_program__name(program), info.verified_insns,
		       stacks[i++].functions[0].chain);
	}
	bpf_object__close(object);
	return refused ? 1 : 0;
}
