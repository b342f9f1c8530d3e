/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One client that sends its requests one after the other, each on a connection of its own. */
#ifndef SLUICE_ONE_CLIENT_H
#define SLUICE_ONE_CLIENT_H

#include "packets.h"

static struct shape shape;
static uint16_t port = 20000;
static uint32_t client_at, server_at;
static struct frame out;

static inline void put_quota(uint32_t id, struct sluice_quota quota)
{
	assert_int_equal(bpf_map_update_elem(fd_of(quotas), &id, &quota, BPF_ANY), 0);
}

static inline struct sluice_quota per_period(uint64_t requests, uint64_t period_ms, uint64_t burst)
{
	uint64_t interval = period_ms * MS / requests;

	return (struct sluice_quota){.request_ns = interval, .request_span_ns = interval * burst};
}

static inline int send_bytes(bool from_server, uint8_t flags, const char *text, size_t len)
{
	struct segment s = {.from_server = from_server,
			    .flags = flags,
			    .window = 512,
			    .text = text,
			    .len = len,
			    .client_port = port};
	struct frame in;
	int retval;

	s.seq = from_server ? server_at : client_at;
	s.ack = from_server ? client_at : server_at;
	make_frame(&in, &shape, &s);
	out = in;
	retval = run_tc(program_for(&shape, from_server), &in, &out);
	if (from_server)
		server_at += s.len + (flags & (SYN | FIN) ? 1 : 0);
	else
		client_at += s.len;
	return retval;
}

static inline int send_segment(bool from_server, uint8_t flags, const char *text)
{
	return send_bytes(from_server, flags, text, strlen(text));
}

static inline void connect_anew(void)
{
	port++;
	client_at = CLIENT_ISN;
	server_at = SERVER_ISN;
	send_segment(true, SYN | ACK, "");
	send_segment(false, ACK, "");
}

#define REQUEST_TEXT                                                                               \
	"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 31\r\n\r\n"              \
	"{\"model\":\"llama\",\"stream\":true}"

/* One request on a new connection. Returns -1 if it is admitted, else the milliseconds to wait. */
static inline int64_t send_request(void)
{
	unsigned before = w.refusal_count;

	connect_anew();
	if (send_segment(false, PSH | ACK, REQUEST_TEXT) == THEN_UNSPEC)
		return -1;
	assert_int_equal(w.refusal_count, before + 1);
	w.refusal_count = 0;
	return w.refusals[before].retry_after_ms;
}

#endif
