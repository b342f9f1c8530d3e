/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Invariant 6, the histograms: each latency falls into one bucket, exactly at its bounds, and meets
 * its target or misses it.
 */
#include "responses.h"

/* Sums over CPUs. */
static struct sluice_histogram histogram_of(uint32_t model)
{
	struct sluice_histogram cpus[w.cpus], all = {0};

	assert_int_equal(bpf_map_lookup_elem(fd_of(histograms), &model, cpus), 0);
	for (int c = 0; c < w.cpus; c++)
		for (int which = 0; which < SLUICE_LATENCIES; which++) {
			for (int b = 0; b < SLUICE_HISTOGRAM_BUCKETS; b++)
				all.count[which][b] += cpus[c].count[which][b];
			all.sum_ns[which] += cpus[c].sum_ns[which];
			all.met[which] += cpus[c].met[which];
			all.missed[which] += cpus[c].missed[which];
		}
	return all;
}

static uint64_t in_buckets(const struct sluice_histogram *h, enum sluice_latency which)
{
	uint64_t n = 0;

	for (int b = 0; b < SLUICE_HISTOGRAM_BUCKETS; b++)
		n += h->count[which][b];
	return n;
}

/* A bound belongs to the bucket below it. */
static void first_tokens_and_gaps_fall_into_the_right_buckets(void **state)
{
	static const struct row row = {"one of each",
				       {REQUESTED,
					{SENT(0, STREAM_HEAD)},
					{SENT(AT_FIRST, TOKEN)},
					{SENT(AT_SECOND, TOKEN CLOSING)}}};
	static const struct {
		uint32_t ms, ttft, itl; /* buckets */
	} waits[] = {{0, 0, 0},      {1, 0, 0},       {2, 1, 0},       {10, 2, 0},
		     {11, 3, 1},     {250, 8, 7},     {500, 9, 9},     {501, 10, 10},
		     {9000, 15, 15}, {80000, 18, 18}, {80001, 19, 19}, {2560001, 22, 19}};

	for (unsigned i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
		struct sluice_histogram h;

		reset_world();
		w.settings.lease_until_ns = 1ULL << 62;
		write_settings();
		for (int k = 0; k < 7; k++) {
			struct step s = row.steps[k];

			s.ms = k >= 5 ? waits[i].ms : 0;
			play_step(&shapes[0], &s, HTTP_PORT);
		}
		h = histogram_of(LLAMA);
		for (int which = 0; which <= SLUICE_LATENCY_ITL; which++) {
			uint32_t bucket = which ? waits[i].itl : waits[i].ttft;

			assert_int_equal(h.count[which][bucket], 1);
			assert_int_equal(in_buckets(&h, which), 1);
			assert_int_equal(h.sum_ns[which], waits[i].ms * MS);
			assert_int_equal(h.met[which] + h.missed[which], 0);
		}
	}
}

/* Gaps that are reported to the daemon together are counted one by one. */
static void each_gap_is_counted_for_itself(void **state)
{
	static const struct step steps[] = {
		REQUESTED, {SENT(0, STREAM_HEAD)}, {SENT(AT_FIRST, TOKEN), .ms = 100}};
	static const uint32_t gaps[] = {5, 40, 5, 30};
	struct sluice_model_flag flag;
	struct sluice_histogram h;

	flag = get_flag(LLAMA);
	flag.target_us[SLUICE_LATENCY_ITL] = 30 * 1000;
	set_flag(LLAMA, flag);
	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		play_step(&shapes[0], &steps[i], HTTP_PORT);
	for (unsigned i = 0; i < sizeof(gaps) / sizeof(gaps[0]); i++) {
		struct step s = {SENT(AT_SECOND, TOKEN), .ms = gaps[i]};

		s.seq += i * N(TOKEN);
		play_step(&shapes[0], &s, HTTP_PORT);
	}
	h = histogram_of(LLAMA);
	assert_int_equal(h.count[SLUICE_LATENCY_ITL][0], 2); /* up to 10 ms */
	assert_int_equal(h.count[SLUICE_LATENCY_ITL][2], 2); /* 25 to 50 ms */
	assert_int_equal(in_buckets(&h, SLUICE_LATENCY_ITL), 4);
	assert_int_equal(h.met[SLUICE_LATENCY_ITL], 3);
	assert_int_equal(h.missed[SLUICE_LATENCY_ITL], 1);
}

/* The target of TTFT grows with the request's bytes, as it does for the policy. */
static void a_first_token_meets_its_target_or_misses_it(void **state)
{
	static const struct step steps[] = {REQUESTED, {SENT(0, STREAM_HEAD)}};
	static const struct {
		uint32_t ms, target_us, us_per_kib;
		int met; /* -1: nothing is counted */
	} rows[] = {
		{100, 0, 0, -1},     {100, 100000, 0, 1},       {101, 100000, 0, 0},
		{101, 100000, 1, 0}, {101, 100000, 1000000, 1}, {100, 0, 1000000, -1},
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct step token = {SENT(AT_FIRST, TOKEN), .ms = rows[i].ms};
		struct sluice_model_flag flag;
		struct sluice_histogram h;

		reset_world();
		flag = get_flag(LLAMA);
		flag.target_us[SLUICE_LATENCY_TTFT] = rows[i].target_us;
		flag.ttft_us_per_kib = rows[i].us_per_kib;
		set_flag(LLAMA, flag);
		for (unsigned k = 0; k < sizeof(steps) / sizeof(steps[0]); k++)
			play_step(&shapes[0], &steps[k], HTTP_PORT);
		play_step(&shapes[0], &token, HTTP_PORT);
		h = histogram_of(LLAMA);
		assert_int_equal(in_buckets(&h, SLUICE_LATENCY_TTFT), 1);
		assert_int_equal(h.met[SLUICE_LATENCY_TTFT], rows[i].met == 1);
		assert_int_equal(h.missed[SLUICE_LATENCY_TTFT], rows[i].met == 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		packets_test(first_tokens_and_gaps_fall_into_the_right_buckets),
		packets_test(each_gap_is_counted_for_itself),
		packets_test(a_first_token_meets_its_target_or_misses_it),
	};

	return packets_main("histograms", tests);
}
