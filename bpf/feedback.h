/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Feedback on success: the 35 bytes of a response's `Date: Sun, 06 Nov 1994 08:49:37 GMT` become
 * `RateLimit: "requests";r=4;t=20`, padded with spaces. No length changes, so nothing of TCP
 * shifts, and a client copes without a Date (RFC 9110 6.6.1). A retransmission gets the same
 * bytes again. A Date of another form, or one that a segment cuts, stays as it is.
 */
#ifndef SLUICE_BPF_FEEDBACK_H
#define SLUICE_BPF_FEEDBACK_H

#include "quota.h"
#include "reply.h"

#define DATE_LEN 35 /* "Date: " and an IMF-fixdate */
#define DATE_WINDOW                                                                                \
	40 /* bytes around it, so that they begin and end at even offsets of the segment */
#define DATE_DIGITS 8 /* both numbers have at most so many together */

struct feedback_scratch {
	__u8 before[DATE_WINDOW + 8];
	__u8 after[DATE_WINDOW + 24];
} SLUICE_ALIGNED(8);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct feedback_scratch);
	__uint(max_entries, 1);
} feedback_scratch SEC(".maps");

/* Puts into conn what is left of the quota, by requests if it limits them, else by tokens, and the
 * seconds until it is full again. False: no quota, or no state. */
static __always_inline bool feedback_numbers(const struct sluice_client *client, __u32 id,
					     __u64 now, struct sluice_conn *conn)
{
	struct sluice_quota *q = quota_by_id(id);
	struct sluice_budget *b = q ? budget_of(client, id, false, now, JUDGING_PACKET) : NULL;
	__u64 left = 0, secs;

	if (!b)
		return false;
	conn->date_tokens = !q->request_ns;
	if (q->request_ns) {
		left = gcra_left(b->request_tat_ns, now, q->request_ns, q->request_span_ns);
		secs = gcra_spent(b->request_tat_ns, now);
	} else {
		if (!q->token_ns)
			return false;
		left = gcra_left(b->token_tat_ns, now, q->token_ns, q->token_span_ns);
		secs = gcra_spent(b->token_tat_ns, now);
	}
	secs = (secs + NSEC_PER_SEC - 1) / NSEC_PER_SEC;
	conn->date_left = left > 99999 ? 99999 : left;
	conn->date_secs = secs > 999 ? 999 : secs ? secs : 1;
	return true;
}

/*
 * Overwrites the Date header at offset `at` of the packet with conn's numbers. `end` is the offset
 * after the packet's last byte. Returns 0, or an error if the Date stays as it is.
 */
SUBPROG int feedback_write(struct __sk_buff *skb, struct sluice_conn *conn, __u32 tcp_at, __u32 at,
			   __u32 end)
{
	__u32 zero = 0, odd = (at - tcp_at) & 1, i;
	struct feedback_scratch *s = bpf_map_lookup_elem(&feedback_scratch, &zero);
	__s64 diff;

	if (!s || !conn || at + DATE_LEN + 1 > end || at - odd + DATE_WINDOW > end ||
	    bpf_skb_load_bytes(skb, at - odd, s->before, DATE_WINDOW))
		return -1;
	__builtin_memcpy(s->after, s->before, DATE_WINDOW);
	i = odd;
	/* On the first write these bytes have to be a Date of the usual length. */
	if ((s->before[i] | 0x20) == 'd' &&
	    (s->before[i + 4] != ':' || s->before[i + 5] != ' ' ||
	     s->before[i + DATE_LEN - 1] != 'T' || s->before[i + DATE_LEN] != '\r'))
		return -1;
	__builtin_memset(s->after + i, ' ', DATE_LEN);
	if (conn->date_tokens) {
		__builtin_memcpy(s->after + i, "RateLimit: \"tokens\";r=", 22);
		i += 22;
	} else {
		__builtin_memcpy(s->after + i, "RateLimit: \"requests\";r=", 24);
		i += 24;
	}
	i += write_number(s->after + i, conn->date_left > 99999 ? 99999 : conn->date_left);
	if (i > odd + 29)
		return -1;
	s->after[i++] = ';';
	s->after[i++] = 't';
	s->after[i++] = '=';
	write_number(s->after + i, conn->date_secs > 999 ? 999 : conn->date_secs);
	diff = bpf_csum_diff((void *)s->before, DATE_WINDOW, (void *)s->after, DATE_WINDOW, 0);
	bpf_l4_csum_replace(skb, tcp_at + 16, 0, diff, 0);
	return bpf_skb_store_bytes(skb, at - odd, s->after, DATE_WINDOW, BPF_F_RECOMPUTE_CSUM);
}

#endif
