/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The requests that the tests of tc ingress send, and the changes of the world around them that a
 * row names as its `act`: a flag that shuts, a client that is blocked, a lease that ends.
 */
#ifndef SLUICE_REQUESTS_H
#define SLUICE_REQUESTS_H

#include "packets.h"

#define HEAD    "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 31\r\n\r\n"
#define BODY    "{\"model\":\"llama\",\"stream\":true}"
#define REQUEST HEAD BODY
#define WHOLE   ((int)sizeof(REQUEST) - 1)
#define HEAD_N  ((int)sizeof(HEAD) - 1)
_Static_assert(sizeof(BODY) - 1 == 31, "Content-Length");

#define CHUNKED                                                                                    \
	"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"           \
	"b;x=\"y\"\r\n{\"model\":\"q\r\n13\r\nwen\",\"stream\":true}\r\n0\r\nTrailer: 1\r\n\r\n"

#define COMPRESSED                                                                                 \
	"POST / HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 16\r\n\r\n{\"model\":\"qwen\"}"
#define COMPRESSED_N ((int)sizeof(COMPRESSED) - 1)

/* Two of these have 3,072 bytes: the gap and the bytes that pass after it. */
#define LONG_HEAD   "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n"
#define LONG_HEAD_N ((int)sizeof(LONG_HEAD) - 1)

#define ADMITTED_ONCE                                                                              \
	.in_flight = 1, .waiting = 1, .conns = 1,                                                  \
	.requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}
#define REFUSED(why) .requests = {{LLAMA, SLUICE_VERDICT_REJECTED, SLUICE_REASON_##why, 1}}

/* Of an exchange with a plain reply, by the clock of a row without pauses. */
#define DURATION(model)                                                                            \
	{                                                                                          \
		SLUICE_SAMPLE_DURATION, (model)                                                    \
	}
#define OK_SHORT "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
#define OK_N     ((int)sizeof(OK_SHORT) - 1)

/* ---- changes of the world ---- */

static inline void shut_ttft(bool ipv6)
{
	set_flag(LLAMA,
		 (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT, .retry_after_ms = 2500});
}

static inline void shut_itl_for_all(bool ipv6)
{
	set_flag(SLUICE_MODEL_ALL,
		 (struct sluice_model_flag){.reason = SLUICE_REASON_ITL, .retry_after_ms = 1000});
}

static inline void shut_by_reset(bool ipv6)
{
	set_flag(LLAMA, (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT,
						   .retry_after_ms = 2500,
						   .action = SLUICE_ACTION_RESET});
}

static inline void shut_qwen(bool ipv6)
{
	set_flag(QWEN,
		 (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT, .retry_after_ms = 2500});
}

static inline void shut_in_shadow(bool ipv6)
{
	set_flag(LLAMA, (struct sluice_model_flag){.reason = SLUICE_REASON_TTFT,
						   .retry_after_ms = 2500,
						   .mode = SLUICE_MODE_SHADOW});
}

static inline void open_all(bool ipv6)
{
	set_flag(LLAMA, (struct sluice_model_flag){.allow = 1});
	set_flag(SLUICE_MODEL_ALL, (struct sluice_model_flag){.allow = 1});
}

static inline void limit_to_one(bool ipv6)
{
	set_flag(LLAMA, (struct sluice_model_flag){.allow = 1, .limit = 1, .limit_retry_ms = 700});
}

static inline void block_client(bool ipv6)
{
	set_client_flag(ipv6, SLUICE_MODEL_ALL,
			(struct sluice_client_flag){.reason = SLUICE_REASON_CLIENT_BLOCKED});
}

static inline void end_lease(bool ipv6)
{
	w.settings.lease_until_ns = w.settings.clock_ns;
	write_settings();
}

static inline void pause_two_seconds(bool ipv6)
{
	w.settings.paused_until_ns = w.settings.clock_ns + 2000 * MS;
	write_settings();
}

static inline void stop(bool ipv6)
{
	w.settings.stopping = 1;
	write_settings();
}

#endif
