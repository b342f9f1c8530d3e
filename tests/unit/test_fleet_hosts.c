/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What hosts of a fleet tell each other, and the names of their budgets in the store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/fleet.h"
#include "fleet/budgets.h"
#include "fleet/sync.h"

static struct quota_book ours, theirs;

static void set(struct quota_book *book, uint32_t id, const char *words, unsigned scope,
		const char *name)
{
	bool fresh, taken;
	struct quota_def def;
	char err[200];

	assert_int_equal(quota_parse(&def, words, err, sizeof(err)), 0);
	assert_int_equal(quota_book_id(book, &def, scope, name, false, NULL, &fresh, &taken), id);
}

static int begin(void **state)
{
	memset(&ours, 0, sizeof(ours));
	memset(&theirs, 0, sizeof(theirs));
	return 0;
}

static void a_quota_says_that_it_is_shared_and_reads_itself_again(void **state)
{
	struct quota_def def, again;
	char words[QUOTA_TEXT_MAX], err[200];

	assert_int_equal(quota_parse(&def, "requests=5/1s fleet=on", err, sizeof(err)), 0);
	assert_true(def.fleet);
	quota_words(words, &def);
	assert_string_equal(words, "requests=5/1s fleet=on");
	assert_int_equal(quota_parse(&again, words, err, sizeof(err)), 0);
	assert_memory_equal(&again, &def, sizeof(def));
	assert_int_equal(quota_parse(&def, "requests=5/1s fleet=off", err, sizeof(err)), 0);
	assert_false(def.fleet);
}

static void hosts_compare_the_shared_quotas_of_models_and_services(void **state)
{
	char info[FLEET_INFO_MAX];
	struct fleet_host host;

	set(&ours, 1, "requests=5/1s fleet=on", SLUICE_SCOPE_SERVICE, "10.0.0.1:8000");
	set(&ours, 2, "requests=9/1s", SLUICE_SCOPE_MODEL, "llama");
	set(&ours, 3, "tokens=10/1s fleet=on", SLUICE_SCOPE_MODEL, "qwen");
	set(&theirs, 1, "requests=5/1s fleet=on", SLUICE_SCOPE_SERVICE, "*:8000");
	set(&theirs, 2, "requests=8/1s", SLUICE_SCOPE_MODEL, "llama");
	set(&theirs, 3, "tokens=10/1s fleet=on", SLUICE_SCOPE_MODEL, "qwen");
	set(&theirs, 4, "requests=1/1s fleet=on", SLUICE_SCOPE_MODEL, "only there");
	set(&theirs, 5, "requests=2/1s fleet=on", SLUICE_SCOPE_CLIENT, NULL);
	fleet_info(info, "1.2", 7, -1, 0, &theirs);
	fleet_host_read(&host, "b", info, 7, &ours);
	assert_string_equal(host.name, "b");
	assert_string_equal(host.version, "1.2");
	assert_int_equal(host.seen_ms, 7);
	assert_int_equal(host.start, 7);
	assert_int_equal(host.differ, 0);

	set(&theirs, 6, "requests=6/1s fleet=on", SLUICE_SCOPE_SERVICE, "*:8000");
	theirs.text[1] = (struct sluice_quota_text){0};
	set(&theirs, 1, "tokens=11/1s fleet=on", SLUICE_SCOPE_MODEL, "qwen");
	theirs.text[3] = (struct sluice_quota_text){0};
	fleet_info(info, "1.2", 7, -1, 0, &theirs);
	fleet_host_read(&host, "b", info, 7, &ours);
	assert_int_equal(host.differ, 2);
	assert_string_equal(host.differs, "qwen has tokens=11/1s fleet=on, and here "
					  "tokens=10/1s fleet=on");
}

static void what_another_host_tells_is_hostile(void **state)
{
	static const char *const infos[] = {
		"",          "\n\n\n",      "version",           "version\t",
		"service",   "service\t",   "service\t:8000",    "service\t:8000\t",
		"model\t\t", "\t\t\t\t\t",  "model\tqwen\t\xff", "service\t:8000\t\x1b[2J\t\t",
		"quota\t1",  "model\tqwen", "start\t",           "start\t123456789abcdefg\n",
	};
	struct fleet_host host;
	char info[6000];

	set(&ours, 1, "requests=5/1s fleet=on", SLUICE_SCOPE_SERVICE, "10.0.0.1:8000");
	set(&ours, 2, "tokens=10/1s fleet=on", SLUICE_SCOPE_MODEL, "qwen");
	for (size_t i = 0; i < sizeof(infos) / sizeof(infos[0]); i++) {
		fleet_host_read(&host, "\x1b[31mb", infos[i], 0, &ours);
		assert_null(strchr(host.name, 0x1b));
		assert_null(strchr(host.differs, 0x1b));
		assert_true(!host.start);
	}
	memset(info, 'a', sizeof(info));
	memcpy(info, "version\t", 8);
	info[sizeof(info) - 1] = 0;
	fleet_host_read(&host, info, info, 0, &ours);
	assert_true(strlen(host.version) < sizeof(host.version));
	memcpy(info, "service\t:8000\t", 14);
	fleet_host_read(&host, "b", info, 0, &ours);
	assert_int_equal(host.differ, 1);
	assert_true(strlen(host.differs) < sizeof(host.differs));
}

static void a_budgets_key_reads_itself_again_and_nothing_else_reads(void **state)
{
	static const char *const wrong[] = {
		"",
		"0123456789abcde:r:008000000000000000000000ffff0a4e0002",
		"0123456789abcdef:x:008000000000000000000000ffff0a4e0002",
		"0123456789abcdef:r:008000000000000000000000ffff0a4e00",
		"0123456789abcdef:r:008000000000000000000000ffff0a4e000203",
		"0123456789abcdef:r:038000000000000000000000ffff0a4e0002",
		"0123456789abcdef:r:008100000000000000000000ffff0a4e0002",
		"0123456789ABCDEF:r:008000000000000000000000ffff0a4e0002",
	};
	struct sluice_client client = {.plen = 64, .kind = SLUICE_CLIENT_KEY}, read;
	char key[STORE_KEY_MAX];
	uint64_t fingerprint;
	bool tokens;

	for (unsigned i = 0; i < 16; i++)
		client.addr[i] = (uint8_t)(17 * i + 5);
	sync_key(key, 0xfedcba9876543210, true, &client);
	assert_int_equal(sync_read_key(key, &fingerprint, &tokens, &read), 0);
	assert_true(fingerprint == 0xfedcba9876543210);
	assert_true(tokens);
	assert_memory_equal(&read, &client, sizeof(client));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_not_equal(sync_read_key(wrong[i], &fingerprint, &tokens, &read), 0);
}

static void the_fingerprint_is_of_scope_name_and_numbers(void **state)
{
	set(&ours, 1, "requests=5/1s fleet=on", SLUICE_SCOPE_SERVICE, "10.0.0.1:8000");
	set(&ours, 2, "requests=5/1s fleet=on", SLUICE_SCOPE_SERVICE, "*:8000");
	set(&ours, 3, "requests=5/1s fleet=on", SLUICE_SCOPE_SERVICE, "*:8001");
	set(&ours, 4, "requests=5/1s burst=4 fleet=on", SLUICE_SCOPE_SERVICE, "*:8000");
	set(&ours, 5, "requests=5/1s fleet=on", SLUICE_SCOPE_MODEL, ":8000");
	assert_true(sync_fingerprint(&ours.text[1]) == sync_fingerprint(&ours.text[2]));
	for (unsigned i = 3; i <= 5; i++)
		assert_true(sync_fingerprint(&ours.text[1]) != sync_fingerprint(&ours.text[i]));
}

static struct sluice_budget_key key_of(uint32_t n)
{
	struct sluice_budget_key key = {.quota = 1};

	memcpy(key.client.addr, &n, sizeof(n));
	return key;
}

static void budgets_are_in_one_list_each_in_their_order(void **state)
{
	struct budgets *b = budgets_new();
	struct sluice_budget_key key;
	struct budget *budget;

	for (uint32_t i = 0; i < 5000; i++) {
		key = key_of(i);
		budgets_put(b, &key, BUDGETS_CHANGED, i);
	}
	for (uint32_t i = 0; i < 5000; i += 2) {
		key = key_of(i);
		/* A more urgent list takes it; a less urgent one does not. */
		assert_int_equal(budgets_put(b, &key, BUDGETS_LOW, 0)->list, BUDGETS_LOW);
		assert_int_equal(budgets_put(b, &key, BUDGETS_IDLE, 0)->list, BUDGETS_LOW);
	}
	assert_int_equal(budgets_count(b, BUDGETS_LOW), 2500);
	assert_int_equal(budgets_count(b, BUDGETS_CHANGED), 2500);
	for (uint32_t i = 0; i < 2500; i++) {
		key = key_of(2 * i);
		budget = budgets_first(b, BUDGETS_LOW);
		assert_memory_equal(&budget->key, &key, sizeof(key));
		budgets_move(b, budget, BUDGETS_SENT, 0);
		/* What is in a call stays there. */
		assert_int_equal(budgets_put(b, &key, BUDGETS_LOW, 0)->list, BUDGETS_SENT);
		budgets_drop(b, budget);
		key = key_of(2 * i + 1);
		budget = budgets_first(b, BUDGETS_CHANGED);
		assert_memory_equal(&budget->key, &key, sizeof(key));
		budgets_drop(b, budget);
	}
	for (unsigned list = 0; list < BUDGETS_LISTS; list++)
		assert_null(budgets_first(b, list));
	key = key_of(7);
	assert_int_equal(budgets_put(b, &key, BUDGETS_LOW, 0)->flags, 0);
	budgets_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_quota_says_that_it_is_shared_and_reads_itself_again,
				       begin),
		cmocka_unit_test_setup(hosts_compare_the_shared_quotas_of_models_and_services,
				       begin),
		cmocka_unit_test_setup(what_another_host_tells_is_hostile, begin),
		cmocka_unit_test_setup(a_budgets_key_reads_itself_again_and_nothing_else_reads,
				       begin),
		cmocka_unit_test_setup(the_fingerprint_is_of_scope_name_and_numbers, begin),
		cmocka_unit_test_setup(budgets_are_in_one_list_each_in_their_order, begin),
	};

	return cmocka_run_group_tests_name("fleet", tests, NULL, NULL);
}
