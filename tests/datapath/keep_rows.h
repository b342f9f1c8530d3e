/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the rows of kept connections share: the beginning up to the first refusal that keeps its
 * connection, and the changes of the world around it.
 *
 * A step has the numbers of its sender. The client counts W bytes of each refused request and R of
 * each 429 that the server does not: `dc` and `ds` are what it counts more by then.
 */
#ifndef SLUICE_KEEP_ROWS_H
#define SLUICE_KEEP_ROWS_H

#include "requests.h"

#include <sluice/kept.h>

#define W           WHOLE /* bytes of a request */
#define N           OK_N  /* … of a response */
#define R           kept_len()
#define CLOSING_LEN reply_len(false)

/* The length of the 429 for LLAMA's flag; every wait gives the same. */
static inline int32_t reply_len(bool kept)
{
	struct sluice_reply_key key = {.model = LLAMA, .reason = SLUICE_REASON_TTFT};
	struct sluice_reply_head_key head_key = {.service = HTTP_ID};
	uint8_t text[SLUICE_REPLY_BUFFER];
	struct sluice_reply_head head;
	struct sluice_reply_form form;
	struct sluice_reply reply;
	uint32_t index = kept;

	assert_int_equal(bpf_map_lookup_elem(fd_of(replies), &key, &reply), 0);
	assert_int_equal(bpf_map_lookup_elem(fd_of(reply_heads), &head_key, &head), 0);
	assert_int_equal(bpf_map_lookup_elem(fd_of(reply_forms), &index, &form), 0);
	return (int32_t)reply_make(text, &head, &reply, &form, 0);
}

static inline int32_t kept_len(void)
{
	return reply_len(true);
}

/* ---- changes of the world ---- */

static inline void set_keep(bool on)
{
	struct sluice_service service = http_service();

	service.keep = on;
	set_both(HTTP_PORT, service);
}

static inline void keep_and_shut(bool ipv6)
{
	set_keep(true);
	shut_ttft(ipv6);
}

static inline void keep_no_more(bool ipv6)
{
	set_keep(false);
}

static inline void remove_service(bool ipv6)
{
	clear_map(fd_of(services));
	names_changed();
}

static inline struct sluice_kept get_kept(bool ipv6)
{
	struct sluice_conn_key key = this_key(ipv6, HTTP_PORT);
	struct sluice_kept k;

	assert_int_equal(bpf_map_lookup_elem(fd_of(kept), &key, &k), 0);
	return k;
}

static inline void put_kept(bool ipv6, struct sluice_kept k)
{
	struct sluice_conn_key key = this_key(ipv6, HTTP_PORT);

	assert_int_equal(bpf_map_update_elem(fd_of(kept), &key, &k, BPF_ANY), 0);
}

/* The 429's sentence gets another length; a reload may do that. */
static inline void rename_model(bool ipv6)
{
	set_replies(LLAMA, "a-much-longer-name");
}

static inline void name_model_again(bool ipv6)
{
	set_replies(LLAMA, "llama");
}

static inline void window_was_1234(bool ipv6)
{
	assert_int_equal(last.window, 1234);
}

/* As the walk over silent connections does, and the eviction from a full map. */
static inline void forget_conn(bool ipv6)
{
	struct sluice_conn_key key = this_key(ipv6, HTTP_PORT);

	assert_int_equal(bpf_map_delete_elem(fd_of(conns), &key), 0);
}

/* ---- steps ---- */

#define EXCHANGED                                                                                  \
	HANDSHAKE, {FROM_CLIENT(0, 0, REQUEST)},                                                   \
	{                                                                                          \
		FROM_SERVER(0, W, OK_SHORT)                                                        \
	}

/* The second request is refused, and its connection kept. */
#define KEPT_ONCE                                                                                  \
	EXCHANGED, {.act = keep_and_shut},                                                         \
	{                                                                                          \
		FROM_CLIENT(W, N, REQUEST), .then = KEPT, .out_seq = N, .out_ack = 2 * W,          \
					    .ack_up = true                                         \
	}

#define ONCE  .dc = W, .ds = R
#define TWICE .dc = 2 * W, .ds = 2 * R

/* The client acknowledges the 429. */
#define KEPT_AND_READ                                                                              \
	KEPT_ONCE,                                                                                 \
	{                                                                                          \
		.flags = ACK, .seq = 2 * W, .ack = N + R, ONCE                                     \
	}

/* The pending 429 once more. */
#define AGAIN .then = KEPT, .out_seq = N, .out_ack = 2 * W

#define ADMITTED(n)                                                                                \
	{                                                                                          \
		LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, (n)                            \
	}
#define REJECTED(n)                                                                                \
	{                                                                                          \
		LLAMA, SLUICE_VERDICT_REJECTED, SLUICE_REASON_TTFT, (n)                            \
	}

/* The end of a row that kept its connection through `n` refusals. */
#define KEEPS_ITS_CONNECTION(n)                                                                    \
	.conns = 1, .kept = 1, .requests = {ADMITTED(1), REJECTED(n)},                             \
	.counters = {{SLUICE_COUNTER_REFUSALS_KEPT, (n)}}

/* … and ended. */
#define ENDED_AFTER(n)                                                                             \
	.kept = 1, .requests = {ADMITTED(1), REJECTED(n)},                                         \
	.counters = {{SLUICE_COUNTER_REFUSALS_KEPT, (n)}}

/* ---- rows in other circumstances ---- */

typedef void rows_fn(void **state);

/* A bridge and its port, a VLAN and its parent: each packet passes two hooks. */
static inline void play_with_a_second_hook(rows_fn *const *rows, unsigned n)
{
	two_hooks = true;
	for (unsigned i = 0; i < n; i++)
		rows[i](NULL);
}

/* 2^32 and 2^31 fall on the refused request and on the 429, and around them. */
static inline void play_with_wraps(rows_fn *const *rows, unsigned n)
{
	const int32_t c_at[] = {W, W + 1, 2 * W - 1, 2 * W, 2 * W + 1},
		      s_at[] = {N, N + 1, N + R - 1, N + R, N + R + 1};

	for (unsigned i = 0; i < 10; i++) {
		client_isn = (i & 1 ? 1u << 31 : 0) - 1 - c_at[i % 5];
		server_isn = (i & 2 ? 1u << 31 : 0) - 1 - s_at[i / 5 ? 4 - i % 5 : i % 5];
		for (unsigned k = 0; k < n; k++)
			rows[k](NULL);
	}
}

static inline int kept_reset(void **state)
{
	two_hooks = false;
	client_isn = CLIENT_ISN;
	server_isn = SERVER_ISN;
	set_replies(LLAMA, "llama");
	return world_reset(state);
}

#define kept_test(f) cmocka_unit_test_setup_teardown(f, kept_reset, print_row)

#endif
