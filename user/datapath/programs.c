/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The BPF object, which sluiced holds, opened and loaded. The verifier needs a second or two of a
 * CPU for requests and responses, and as much for their twins that serve interfaces without
 * Ethernet headers, which few hosts have: those are loaded when such an interface comes. Programs
 * that are loaded later are of a second object, which uses the maps of the first.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "map_io.h"
#include "programs.h"

#define HOOKS_ELSEWHERE 0x80008000U /* an index has 31 bits; some fields keep the lower 16 */

/* The end of libbpf's output: the verifier's last lines are what an operator can report. */
static _Thread_local char libbpf_said[16384];
static _Thread_local size_t libbpf_used;

static int keep_print(enum libbpf_print_level level, const char *format, va_list args)
{
	size_t len, drop, capacity = sizeof(libbpf_said) - 1;
	_cleanup_free_ char *text = NULL;
	const char *end;

	if (level == LIBBPF_DEBUG || vasprintf(&text, format, args) < 0)
		return 0;
	len = strlen(text);
	end = text;
	if (len > capacity) { /* a verifier's log: its end matters */
		end += len - capacity;
		len = capacity;
	}
	drop = libbpf_used + len > capacity ? libbpf_used + len - capacity : 0;
	memmove(libbpf_said, libbpf_said + drop, libbpf_used - drop);
	libbpf_used -= drop;
	memcpy(libbpf_said + libbpf_used, end, len);
	libbpf_used += len;
	libbpf_said[libbpf_used] = 0;
	return 0;
}

void programs_forget(void)
{
	libbpf_used = 0;
	libbpf_said[0] = 0;
}

const char *programs_log(void)
{
	return libbpf_said;
}

/* Of a verifier's log, the lines before its statistics; else the first error. */
const char *programs_last_words(void)
{
	static _Thread_local char out[600];
	char *end = strstr(libbpf_said, "-- END PROG LOAD LOG"), *line, *kept[3] = {0}, *save;
	size_t used = 0;

	if (end)
		*end = 0;
	for (line = strtok_r(libbpf_said, "\n", &save); line && (end || !kept[2]);
	     line = strtok_r(NULL, "\n", &save)) {
		if (end &&
		    (!strncmp(line, "processed ", 10) || !strncmp(line, "verification time", 17) ||
		     !strncmp(line, "stack depth", 11) || !strncmp(line, "libbpf:", 7)))
			continue;
		kept[0] = kept[1];
		kept[1] = kept[2];
		kept[2] = line;
	}
	out[0] = 0;
	for (int i = 0; i < 3; i++)
		if (kept[i] && used < sizeof(out))
			used += snprintf(out + used, sizeof(out) - used, "%s%s", used ? " | " : "",
					 kept[i]);
	programs_forget();
	return out[0] ? out : "no further word";
}

/* The one place that has the object's bytes. */
struct sluice_bpf *programs_open(const struct bpf_object_open_opts *opts)
{
	struct sluice_bpf *skel;

	libbpf_set_print(keep_print);
	programs_forget();
	skel = sluice_bpf__open_opts(opts);
	if (!skel) {
		datapath_fail(-errno, "the BPF object cannot be read: %s", programs_last_words());
		return NULL;
	}
	bpf_program__set_autoload(skel->progs.requests_l3, false);
	bpf_program__set_autoload(skel->progs.responses_l3, false);
	return skel;
}

/* Another object with the maps of d->skel, of which nothing is to be loaded. NULL: an error. */
static struct sluice_bpf *open_beside(const struct datapath *d)
{
	struct sluice_bpf *skel = programs_open(NULL);
	struct bpf_program *program;
	struct bpf_map *map;
	int err = 0;

	if (!skel)
		return NULL;
	skel->rodata->conns_max = d->skel->rodata->conns_max;
	skel->rodata->judge_mark = d->skel->rodata->judge_mark;
	skel->bss->recording = d->skel->bss->recording;
	bpf_object__for_each_program(program, skel->obj)
	{
		bpf_program__set_autoload(program, false);
	}
	bpf_object__for_each_map(map, skel->obj)
	{
		const struct bpf_map *same =
			bpf_object__find_map_by_name(d->skel->obj, bpf_map__name(map));

		if (bpf_map__is_internal(map))
			continue;
		err = bpf_map__set_pin_path(map, NULL);
		if (!err)
			err = bpf_map__reuse_fd(map, map_fd(same));
		if (err)
			break;
	}
	if (!err)
		return skel;
	datapath_fail(err, "the maps cannot be used by more programs: %s", programs_last_words());
	sluice_bpf__destroy(skel);
	return NULL;
}

/* Loads the object, or destroys it. */
static int load_beside(struct sluice_bpf **out, struct sluice_bpf *skel, const char *what)
{
	int err = sluice_bpf__load(skel);

	if (!err) {
		*out = skel;
		return 0;
	}
	sluice_bpf__destroy(skel);
	return datapath_fail(err, "the programs for %s: %s", what, programs_last_words());
}

/*
 * An interface of another network namespace may have the index of one here: a packet that passes
 * both has to know the hooks apart. All are loaded at once: a thread that is in another namespace
 * must not let the loop go on.
 */
int programs_for_netns(struct datapath *d)
{
	struct sluice_bpf *skel;

	if (d->elsewhere)
		return 0;
	skel = open_beside(d);
	if (!skel)
		return -ENOEXEC;
	skel->rodata->hooks_elsewhere = HOOKS_ELSEWHERE;
	bpf_program__set_autoload(skel->progs.requests, true);
	bpf_program__set_autoload(skel->progs.responses, true);
	bpf_program__set_autoload(skel->progs.requests_l3, true);
	bpf_program__set_autoload(skel->progs.responses_l3, true);
	return load_beside(&d->elsewhere, skel, "other network namespaces");
}

static int load_headerless(void *arg)
{
	struct datapath *d = arg;
	struct sluice_bpf *skel = open_beside(d);

	if (!skel)
		return -ENOEXEC;
	bpf_program__set_autoload(skel->progs.requests_l3, true);
	bpf_program__set_autoload(skel->progs.responses_l3, true);
	return load_beside(&d->headerless, skel, "interfaces without Ethernet headers");
}

int programs_without_header(struct datapath *d)
{
	return d->headerless ? 0 : datapath_away(d, load_headerless, d);
}

void datapath_record(struct datapath *d, bool on)
{
	struct sluice_bpf *const objects[] = {d->skel, d->elsewhere, d->headerless};

	for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]); i++)
		if (objects[i] && objects[i]->bss)
			objects[i]->bss->recording = on;
}

void programs_close(struct datapath *d)
{
	sluice_bpf__destroy(d->skel);
	sluice_bpf__destroy(d->elsewhere);
	sluice_bpf__destroy(d->headerless);
}
