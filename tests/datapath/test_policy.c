/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The daemon's policy in the real maps: every write to a map is counted where the library is
 * called. A command writes what it changes and nothing else; what is written survives the daemon;
 * a change that the kernel refuses half way leaves the maps as they were.
 */
#include <poll.h>

#include "maps_only.h"

#include "core/text.h"
#include "daemon/daemon.h"

#define PREFIXES 200

/* ---- every write to a map ---- */

static struct {
	int prefixes, client_flags, client_quotas; /* file descriptors; -1: not looked at */
	unsigned prefix_writes, flag_writes, quota_writes, all;
	unsigned fail_at; /* the write to any map that fails, counted from 1; 0: none */
} maps = {-1, -1, -1, 0, 0, 0, 0, 0};

int __real_bpf_map_update_elem(int fd, const void *key, const void *value, __u64 flags);
int __real_bpf_map_delete_elem(int fd, const void *key);
int __wrap_bpf_map_update_elem(int fd, const void *key, const void *value, __u64 flags);
int __wrap_bpf_map_delete_elem(int fd, const void *key);

static bool count_write(int fd)
{
	maps.prefix_writes += fd == maps.prefixes;
	maps.flag_writes += fd == maps.client_flags;
	maps.quota_writes += fd == maps.client_quotas;
	return ++maps.all == maps.fail_at;
}

int __wrap_bpf_map_update_elem(int fd, const void *key, const void *value, __u64 flags)
{
	return count_write(fd) ? -EIO : __real_bpf_map_update_elem(fd, key, value, flags);
}

int __wrap_bpf_map_delete_elem(int fd, const void *key)
{
	return count_write(fd) ? -EIO : __real_bpf_map_delete_elem(fd, key);
}

static void count_anew(void)
{
	maps.prefix_writes = maps.flag_writes = maps.quota_writes = maps.all = 0;
}

static void assert_writes(unsigned prefixes, unsigned all)
{
	assert_int_equal(maps.prefix_writes, prefixes);
	assert_int_equal(maps.all, all);
}

/* ---- a daemon as far as its policy goes ---- */

static struct daemon *daemon_;
static char err[512];

static struct sluice_prefix_key prefix_key(const char *text)
{
	struct sluice_prefix_key key = {0};
	struct text_network net;

	assert_int_equal(text_parse_network(text, &net), 0);
	key.plen = net.plen;
	memcpy(key.addr, net.addr, sizeof(key.addr));
	return key;
}

static struct quota_def quota(const char *text)
{
	struct quota_def def;

	assert_int_equal(quota_parse(&def, text, err, sizeof(err)), 0);
	return def;
}

/* The file: weights of /16s, and in each a /24 that has a class of priority. */
static struct desired_part some_file(double weight)
{
	struct service service = {.wildcard = true,
				  .port = 8000,
				  .model = "default",
				  .action = SLUICE_ACTION_REPLY,
				  .mode = SLUICE_MODE_ENFORCE,
				  .has_quota = true,
				  .quota = quota("requests=100/1s")};
	struct desired_part file;
	char text[64];

	desired_part_init(&file);
	file.services = malloc(sizeof(service));
	memcpy(file.services, &service, sizeof(service));
	file.service_count = 1;
	for (unsigned i = 0; i < PREFIXES; i++) {
		struct desired_prefix wide = {.own = SLUICE_PREFIX_OWN_WEIGHT,
					      .weight = (uint16_t)(weight * SLUICE_WEIGHT_ONE)};
		struct desired_prefix narrow = {.own = SLUICE_PREFIX_OWN_PRIORITY, .priority = 2};

		snprintf(text, sizeof(text), "10.%u.0.0/16", i);
		wide.key = prefix_key(text);
		snprintf(text, sizeof(text), "10.%u.1.0/24", i);
		narrow.key = prefix_key(text);
		assert_int_equal(table_add(&file.prefixes, &wide), 0);
		assert_int_equal(table_add(&file.prefixes, &narrow), 0);
	}
	assert_int_equal(desired_part_sort(&file), 0);
	return file;
}

static int load(struct desired_part file)
{
	struct daemon *d = daemon_;
	struct desired *next;
	int ret = build_policy(d, &file, &d->manual, &d->controller, &next, err, sizeof(err));

	if (!ret)
		ret = put_in_force(d, next, &file, &d->manual, err, sizeof(err));
	if (ret)
		desired_part_free(&file);
	return ret;
}

static struct daemon *started(double weight)
{
	static const struct controller_targets none = {.max_in_flight = -1};
	struct daemon *d = calloc(1, sizeof(*d));

	daemon_ = d;
	commands.arg = d;
	d->datapath = opened();
	d->state.controller = &d->controller;
	controller_init(&d->controller, &none, true);
	controller_learn(&d->controller, "default", 0);
	adopt_models(d);
	assert_int_equal(adopt_policy(d, err, sizeof(err)), 0);
	maps.prefixes = map_fd(d->datapath->skel->maps.client_prefixes);
	maps.client_flags = map_fd(d->datapath->skel->maps.client_flags);
	maps.client_quotas = map_fd(d->datapath->skel->maps.client_quotas);
	count_anew();
	if (load(some_file(weight)))
		fail_msg("%s", err);
	return d;
}

/* As one that was killed. */
static void killed(struct daemon *d)
{
	closed(d->datapath);
	desired_part_free(&d->file);
	desired_part_free(&d->manual);
	desired_free(d->desired);
	free(d);
}

static struct sluice_prefix held(const char *text)
{
	const struct sluice_prefix_key key = prefix_key(text);
	struct sluice_prefix value = {0};

	/* A trie gives the longest that it has; asked for a prefix that it holds, that one. */
	assert_int_equal(bpf_map_lookup_elem(maps.prefixes, &key, &value), 0);
	return value;
}

static int block(const char *text)
{
	const struct sluice_prefix_key key = prefix_key(text);
	const struct sluice_prefix prefix = {.class = SLUICE_PREFIX_BLOCKED};

	count_anew();
	return commands.set_prefix(daemon_, &key, &prefix, err, sizeof(err));
}

static int weigh(const char *text, double weight)
{
	const struct sluice_prefix_key key = prefix_key(text);

	count_anew();
	return commands.set_weight(daemon_, &key, (uint16_t)(weight * SLUICE_WEIGHT_ONE), err,
				   sizeof(err));
}

static struct text_subject subject_of(const char *text)
{
	struct text_subject subject;

	assert_int_equal(text_parse_subject(text, &subject), 0);
	return subject;
}

static int give_quota(const char *text, const char *words)
{
	const struct text_subject subject = subject_of(text);
	const struct quota_def def = quota(words);

	count_anew();
	return commands.set_quota(daemon_, &subject, SLUICE_MODEL_ALL, &def, err, sizeof(err));
}

/* ---- tests ---- */

static void a_command_writes_the_prefix_and_what_inherits_from_it(void **state)
{
	struct daemon *d = started(2);
	const struct sluice_prefix_key key = prefix_key("10.7.0.0/16");
	const struct text_subject subject = subject_of("10.7.0.0/16");

	assert_int_equal(maps.prefix_writes, 2 * PREFIXES);
	count_anew();
	assert_int_equal(load(some_file(2)), 0);
	assert_writes(0, 0);

	assert_int_equal(block("10.7.0.0/16"), 0);
	assert_writes(2, 2);
	assert_int_equal(held("10.7.1.0/24").class, SLUICE_PREFIX_BLOCKED);
	assert_int_equal(held("10.8.1.0/24").class, SLUICE_PREFIX_PLAIN);
	assert_int_equal(block("10.7.0.0/16"), 0);
	assert_writes(0, 0);
	assert_int_equal(block("10.7.1.0/24"), 0);
	assert_writes(1, 1);
	assert_int_equal(block("10.7.1.128/25"), 0);
	assert_writes(1, 1);
	assert_int_equal(held("10.7.1.128/25").weight, 2 * SLUICE_WEIGHT_ONE);

	/* A weight that there is already; one that is new makes a quota: four texts of refusals
	 * at most, what is counted with, what is known of it, and where it is found. */
	assert_int_equal(weigh("10.9.0.0/16", 2), 0);
	assert_writes(1, 1);
	assert_int_equal(weigh("10.9.0.0/16", 3), 0);
	assert_int_equal(maps.prefix_writes, 2);
	assert_in_range(maps.all, 2, 2 + 7);
	assert_int_equal(weigh("10.8.0.0/16", 3), 0);
	assert_writes(2, 2);

	assert_int_equal(give_quota("10.8.0.0/16", "requests=5/1s"), 0);
	assert_int_equal(maps.prefix_writes, 2);
	assert_int_equal(give_quota("10.10.0.0/16", "requests=5/1s"), 0);
	assert_writes(2, 2);
	assert_int_equal(give_quota("10.10.1.77", "requests=5/1s"), 0);
	assert_int_equal(maps.quota_writes, 1);
	assert_int_equal(maps.prefix_writes, 0);

	/* And back. */
	count_anew();
	assert_int_equal(commands.clear_prefix(d, &key, err, sizeof(err)), 0);
	assert_writes(1, 1);
	assert_int_equal(held("10.7.0.0/16").class, SLUICE_PREFIX_PLAIN);
	assert_int_equal(held("10.7.1.0/24").class, SLUICE_PREFIX_BLOCKED);
	count_anew();
	assert_int_equal(commands.clear_quota(d, &subject, SLUICE_MODEL_ALL, err, sizeof(err)),
			 -ENOENT);
	assert_string_equal(
		err, "its quota is the configuration's: change it there, or set another over it");
	assert_writes(0, 0);
	killed(d);
}

static void what_was_set_manually_is_read_from_the_pins_and_outlives_a_reload(void **state)
{
	struct daemon *d = started(2);
	const struct text_subject subject = subject_of("10.9.0.0/16");
	const struct sluice_client_flag_key client = {.client = subject_of("11.0.0.1").client};
	const struct sluice_client_flag flag = {.reason = SLUICE_REASON_CLIENT_BLOCKED};

	assert_int_equal(block("10.7.0.0/16"), 0);
	assert_int_equal(weigh("10.9.0.0/16", 3), 0);
	assert_int_equal(give_quota("10.9.0.0/16", "requests=5/1s"), 0);
	assert_int_equal(give_quota("10.9.3.3", "requests=5/1s"), 0);
	assert_int_equal(commands.set_client(d, &client, &flag, err, sizeof(err)), 0);
	killed(d);

	d = started(2);
	/* Only texts, which another version may word otherwise, and no entry. */
	assert_int_equal(maps.prefix_writes + maps.flag_writes + maps.quota_writes, 0);
	assert_int_equal(d->manual.prefixes.count, 2);
	assert_int_equal(d->manual.client_quotas.count, 1);
	assert_int_equal(d->manual.rules.count, 1);

	count_anew();
	assert_int_equal(load(some_file(4)), 0);
	assert_int_equal(maps.prefix_writes, 2 * (PREFIXES - 1));
	assert_int_equal(held("10.9.1.0/24").weight, 3 * SLUICE_WEIGHT_ONE);
	assert_int_equal(held("10.7.1.0/24").weight, 4 * SLUICE_WEIGHT_ONE);
	assert_int_equal(held("10.7.1.0/24").class, SLUICE_PREFIX_BLOCKED);

	/* Cleared, the file's holds again. */
	count_anew();
	assert_int_equal(commands.clear_quota(d, &subject, SLUICE_MODEL_ALL, err, sizeof(err)), 0);
	assert_int_equal(maps.prefix_writes, 2);
	assert_int_equal(held("10.9.1.0/24").weight, 4 * SLUICE_WEIGHT_ONE);
	assert_int_equal(held("10.9.1.0/24").quota, 0);
	killed(d);
}

/* What the maps of policy hold, for comparing. */
static struct desired *picture_of(struct daemon *d)
{
	struct daemon copy = {.datapath = d->datapath};

	assert_int_equal(adopt_policy(&copy, err, sizeof(err)), 0);
	desired_part_free(&copy.manual);
	return copy.desired;
}

static void assert_same_entries(const struct table *a, const struct table *b, size_t size)
{
	assert_int_equal(a->count, b->count);
	for (size_t i = 0; i < a->count; i++)
		assert_memory_equal(table_at(a, i), table_at(b, i), size);
}

static void a_change_that_fails_at_any_write_leaves_the_maps_as_they_were(void **state)
{
	struct daemon *d = started(2);
	const struct sluice_prefix_key key = prefix_key("10.11.0.0/16");
	struct desired *before, *now;
	unsigned writes, failed = 0, at;

	assert_int_equal(weigh("10.9.0.0/16", 3), 0);
	before = picture_of(d);
	count_anew();
	assert_int_equal(load(some_file(5)), 0);
	writes = maps.all;
	assert_in_range(writes, 2 * (PREFIXES - 1), 3 * PREFIXES);
	assert_int_equal(load(some_file(2)), 0);

	/* The quota of weight 5 is known by now: what is left to write are entries. */
	for (at = 1; at < writes - 8; at += 1 + at / 8) {
		count_anew();
		maps.fail_at = at;
		assert_int_equal(load(some_file(5)), -EIO);
		assert_non_null(strstr(err, "cannot be written"));
		assert_null(strstr(err, "taken back"));
		maps.fail_at = 0;
		failed++;
		now = picture_of(d);
		assert_same_entries(&now->prefixes, &before->prefixes,
				    sizeof(struct state_prefix_rule));
		assert_same_entries(&now->weighted, &before->weighted,
				    sizeof(struct desired_weighted));
		desired_free(now);
		/* The state is that of the maps, so the next command is as small as ever. */
		assert_int_equal(block("10.11.0.0/16"), 0);
		assert_writes(2, 2);
		assert_int_equal(commands.clear_prefix(d, &key, err, sizeof(err)), 0);
	}
	assert_in_range(failed, 20, writes);
	desired_free(before);
	killed(d);
}

static char path[64];
static char *arguments[] = {"sluiced", "--config", path,         "--interface",
			    "lo",      "--listen", "8000=llama", NULL};

static void write_file(const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static struct sluice_model_flag flag_of(struct daemon *d, const char *model)
{
	struct sluice_model_flag flag;
	int id = controller_find(&d->controller, model);

	assert_true(id >= SLUICE_MODEL_FIRST);
	assert_done(datapath_get_flag(d->datapath, (uint32_t)id, &flag));
	return flag;
}

#define FILE_A                                                                                     \
	"ttft-threshold-ms: 800\n"                                                                 \
	"models:\n  - {name: llama, pool: gpu0, floor: 3, quota: requests=5/1s}\n"                 \
	"client-prefixes:\n  - {prefix: 10.0.0.0/8, weight: 2}\n"                                  \
	"quotas:\n  - {client: 10.1.1.1, requests: 7/1h}\n"
#define FILE_B                                                                                     \
	"ttft-threshold-ms: 500\n"                                                                 \
	"models:\n  - {name: llama, floor: 9, quota: requests=6/1s}\n"                             \
	"  - {name: qwen, pool: gpu1}\n"                                                           \
	"client-prefixes:\n  - {prefix: 10.0.0.0/8, weight: 3}\n"                                  \
	"  - {prefix: 10.1.0.0/16, weight: 2}\n"                                                   \
	"quotas:\n  - {client: 10.2.2.2, requests: 8/1h}\n"

/* A write that may fail without harm does not end the reload: that of a model's refusal text. */
static void a_reload_that_fails_leaves_controller_and_maps_as_they_were(void **state)
{
	struct daemon *d = started(2);
	struct sluice_model_flag flag;
	struct controller_targets own;
	struct desired *before, *now;
	unsigned writes, failed = 0;
	char done[400];
	uint32_t llama;

	d->argv = arguments;
	d->argc = 7;
	snprintf(path, sizeof(path), "/tmp/sluice-policy-%d.yaml", (int)getpid());
	write_file(FILE_A);
	if (reload(d, done, sizeof(done), err, sizeof(err)))
		fail_msg("%s", err);
	assert_int_equal(weigh("10.9.0.0/16", 3), 0);
	llama = (uint32_t)controller_find(&d->controller, "llama");
	flag = flag_of(d, "llama");
	own = d->controller.model[llama].own;
	assert_int_equal(own.floor, 3);
	before = picture_of(d);

	/* A wrong file writes nothing. */
	write_file("client-prefixes:\n  - {prefix: 10.0.0.0/8, weight: heavy}\n");
	count_anew();
	assert_int_equal(reload(d, done, sizeof(done), err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, "\"heavy\" is not a weight"));
	assert_int_equal(maps.all, 0);

	write_file(FILE_B);
	for (maps.fail_at = 1; maps.fail_at < 200; maps.fail_at++) {
		count_anew();
		if (!reload(d, done, sizeof(done), err, sizeof(err))) {
			writes = maps.all;
			if (writes < maps.fail_at)
				break;
			write_file(FILE_A);
			maps.all = 1000;
			assert_int_equal(reload(d, done, sizeof(done), err, sizeof(err)), 0);
			write_file(FILE_B);
			continue;
		}
		failed++;
		maps.all = 1000;
		assert_non_null(strstr(err, "could not be put in force: "));
		assert_non_null(strstr(err, "cannot be written"));
		assert_int_equal(controller_find(&d->controller, "llama"), llama);
		assert_int_equal(d->controller.all.ttft_ms, 800);
		assert_memory_equal(&d->controller.model[llama].own, &own, sizeof(own));
		assert_string_equal(d->controller.model[d->controller.model[llama].in_pool].name,
				    "pool:gpu0");
		assert_int_equal(flag_of(d, "llama").quota, flag.quota);
		assert_int_equal(flag_of(d, "llama").pool, flag.pool);
		now = picture_of(d);
		assert_same_entries(&now->prefixes, &before->prefixes,
				    sizeof(struct state_prefix_rule));
		assert_same_entries(&now->weighted, &before->weighted,
				    sizeof(struct desired_weighted));
		assert_same_entries(&now->client_quotas, &before->client_quotas,
				    sizeof(struct sluice_client_flag_key));
		desired_free(now);
	}
	assert_in_range(failed, 8, 200);
	assert_int_equal(d->controller.all.ttft_ms, 500);
	assert_int_equal(d->controller.model[llama].in_pool, 0);
	/* What was set manually is there still. */
	assert_int_equal(held("10.9.0.0/16").weight, 3 * SLUICE_WEIGHT_ONE);
	maps.fail_at = 0;
	desired_free(before);
	config_free(&d->config);
	unlink(path);
	killed(d);
}

/* ---- in slices ---- */

#define MANY 5000

struct job {
	struct work work;
	int (*change)(void);
	int ret;
};

static char ended[8]; /* the jobs in the order of their end */

static void run_job(struct work *w)
{
	struct job *job = (struct job *)w;

	job->ret = job->change();
}

static void job_ended(struct work *w)
{
	strcat(ended, ((struct job *)w)->ret ? "x" : "!");
}

static void start_job(struct daemon *d, struct job *job)
{
	job->work = (struct work){.run = run_job, .done = job_ended, .lane = WORK_CHANGES};
	work_start(d->queue, &job->work);
}

/* As sluiced.c: changes run in slices. */
static void slice_changes(struct daemon *d)
{
	ended[0] = 0;
	d->queue = work_open();
	d->datapath->handlers.step = on_step;
	d->datapath->handlers.arg = d;
	table_on_step(on_step, d);
}

static void end_slices(struct daemon *d)
{
	table_on_step(NULL, NULL);
	work_close(d->queue);
	d->queue = NULL;
	desired_free(d->shown);
}

static int load_many(void)
{
	struct desired_part file = some_file(5);

	for (unsigned i = 0; i < MANY; i++) {
		struct desired_prefix one = {.own = SLUICE_PREFIX_OWN_PRIORITY, .priority = 2};
		char text[32];

		snprintf(text, sizeof(text), "11.0.%u.%u/32", i / 256, i % 256);
		one.key = prefix_key(text);
		assert_int_equal(table_add(&file.prefixes, &one), 0);
	}
	assert_int_equal(desired_part_sort(&file), 0);
	return load(file);
}

static int block_one(void)
{
	return block("10.7.0.0/16");
}

static int unblock_one(void)
{
	const struct sluice_prefix_key key = prefix_key("10.7.0.0/16");

	return commands.clear_prefix(daemon_, &key, err, sizeof(err));
}

static void a_change_of_many_entries_goes_in_slices_and_the_next_one_waits(void **state)
{
	struct daemon *d = started(2);
	struct job many = {.change = load_many}, block_it = {.change = block_one},
		   and_back = {.change = unblock_one};
	unsigned turns = 0, most = 0;

	slice_changes(d);
	start_job(d, &many);
	start_job(d, &block_it);
	start_job(d, &and_back);
	count_anew();
	for (; !ended[0]; turns++) {
		unsigned before = maps.prefix_writes;

		work_turn(d->queue);
		most = maps.prefix_writes - before > most ? maps.prefix_writes - before : most;
		if (ended[0])
			break;
		/* A list meanwhile shows the state in force. */
		refresh(d, STATE_RULES);
		assert_int_equal(d->state.prefix_rule_count, 2 * PREFIXES);
		assert_int_equal(d->state.prefix_rules[0].prefix.weight, 2 * SLUICE_WEIGHT_ONE);
	}
	assert_int_equal(maps.prefix_writes, 2 * PREFIXES + MANY);
	assert_in_range(most, 512, WORK_ENTRIES_MAX);
	/* Merged, compared twice, written. */
	assert_in_range(turns, 4 * MANY / WORK_ENTRIES_MAX, 20 * MANY / WORK_ENTRIES_MAX);
	assert_int_equal(held("10.7.1.0/24").class, SLUICE_PREFIX_PLAIN);
	/* What a list goes through outlives the state. */
	assert_int_equal(d->state.prefix_rules[0].prefix.weight, 2 * SLUICE_WEIGHT_ONE);
	while (!ended[1])
		work_turn(d->queue);
	assert_int_equal(held("10.7.1.0/24").class, SLUICE_PREFIX_BLOCKED);
	assert_int_equal(held("10.7.1.0/24").weight, 5 * SLUICE_WEIGHT_ONE);
	while (work_pending(d->queue))
		work_turn(d->queue);
	assert_int_equal(held("10.7.1.0/24").class, SLUICE_PREFIX_PLAIN);
	assert_string_equal(ended, "!!!");
	end_slices(d);
	killed(d);
}

static int reload_one(void)
{
	char done[400];

	return reload(daemon_, done, sizeof(done), err, sizeof(err));
}

/* Names and samples come between the slices of a reload, and flags are written. */
static void what_the_loop_learns_amid_a_reload_stays(void **state)
{
	for (unsigned fail_at = 0; fail_at <= 40; fail_at += 40) {
		struct daemon *d = started(2);
		struct job job = {.change = reload_one};
		struct pollfd thread = {.events = POLLIN};
		unsigned turns = 0;
		char name[32];

		d->argv = arguments;
		d->argc = 7;
		snprintf(path, sizeof(path), "/tmp/sluice-policy-%d.yaml", (int)getpid());
		write_file(FILE_A);
		slice_changes(d);
		thread.fd = work_fd(d->queue);
		start_job(d, &job);
		count_anew();
		for (; !ended[0]; turns++) {
			struct sluice_sample sample = {
				.model = SLUICE_MODEL_OTHER, .time_ns = 1, .sum_ns = 1000, .n = 1};

			snprintf(sample.name, sizeof(sample.name), "fresh-%u", turns);
			on_sample(d, &sample);
			assert_int_equal(write_flags(d, false), 0);
			if (fail_at && turns == 1)
				maps.fail_at = maps.all + 5;
			work_turn(d->queue);
			if (maps.all >= maps.fail_at)
				maps.fail_at = 0;
			if (!ended[0] && !work_pending(d->queue)) /* a thread reads the file */
				assert_int_equal(poll(&thread, 1, -1), 1);
		}
		assert_string_equal(ended, fail_at ? "x" : "!");
		assert_true(turns >= 2);
		for (unsigned i = 0; i < turns; i++) {
			struct sluice_model_name key = {0};
			uint32_t id = 0;

			snprintf(name, sizeof(name), "fresh-%u", i);
			strcpy(key.name, name);
			assert_true(map_find(d->datapath->skel->maps.model_ids, &key, &id));
			assert_int_equal(controller_find(&d->controller, name), id);
		}
		assert_int_equal(d->controller.all.ttft_ms, fail_at ? 0 : 800);
		end_slices(d);
		config_free(&d->config);
		unlink(path);
		killed(d);
	}
}

static void clear_removes_the_rules_about_a_client_in_one_change(void **state)
{
	struct daemon *d = started(2);
	const struct sluice_client_flag flag = {.reason = SLUICE_REASON_CLIENT_BLOCKED};
	const struct sluice_client clients[] = {subject_of("11.0.0.1").client,
						subject_of("11.0.0.2").client};
	struct sluice_client_flag_key key = {.client = clients[0]};

	for (unsigned i = 0; i < 3; i++) {
		key.client = clients[i / 2];
		key.model = i == 1 ? SLUICE_MODEL_FIRST : SLUICE_MODEL_ALL;
		assert_int_equal(commands.set_client(d, &key, &flag, err, sizeof(err)), 0);
	}
	count_anew();
	assert_int_equal(
		commands.clear_clients(d, clients, 1, SLUICE_MODEL_FIRST + 1, err, sizeof(err)),
		-ENOENT);
	assert_writes(0, 0);
	assert_int_equal(
		commands.clear_clients(d, clients, 1, SLUICE_MODEL_FIRST, err, sizeof(err)), 0);
	assert_int_equal(maps.flag_writes, 1);
	assert_int_equal(d->manual.rules.count, 2);
	assert_int_equal(commands.clear_clients(d, clients, 2, SLUICE_MODEL_ALL, err, sizeof(err)),
			 0);
	assert_int_equal(maps.flag_writes, 3);
	assert_int_equal(d->manual.rules.count, 0);
	killed(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		maps_test(a_command_writes_the_prefix_and_what_inherits_from_it),
		maps_test(what_was_set_manually_is_read_from_the_pins_and_outlives_a_reload),
		maps_test(a_change_that_fails_at_any_write_leaves_the_maps_as_they_were),
		maps_test(a_reload_that_fails_leaves_controller_and_maps_as_they_were),
		maps_test(a_change_of_many_entries_goes_in_slices_and_the_next_one_waits),
		maps_test(what_the_loop_learns_amid_a_reload_stays),
		maps_test(clear_removes_the_rules_about_a_client_in_one_change),
	};

	return sandbox_main("policy", tests);
}
