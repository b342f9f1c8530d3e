/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A streamed response and the request before it, in the pieces in which servers send them: what the
 * tests of tc egress play.
 */
#ifndef SLUICE_RESPONSES_H
#define SLUICE_RESPONSES_H

#include "packets.h"

#define BODY    "{\"model\":\"llama\",\"stream\":true}"
#define REQUEST "POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 31\r\n\r\n" BODY
#define WHOLE   ((int)sizeof(REQUEST) - 1)
_Static_assert(sizeof(BODY) - 1 == 31, "Content-Length");
#define GET   "GET /v1/models HTTP/1.1\r\n\r\n"
#define GET_N ((int)sizeof(GET) - 1)

#define N(text) ((int)sizeof(text) - 1)
#define SHORT   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
#define FAR     (1 << 19) /* bytes, from any that a client may have sent */

/*
 * A stream in the pieces in which servers send it. The sizes of chunks are those of their events.
 */
#define STREAM_HEAD                                                                                \
	"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"                    \
	"Transfer-Encoding: chunked\r\n\r\n"
#define ROLE    "39\r\ndata: {\"choices\":[{\"delta\":{\"role\":\"a\",\"content\":\"\"}}]}\n\n\r\n"
#define COMMENT "8\r\n: ping\n\n\r\n"
#define TOKEN   "2f\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n\r\n"
#define PROGRESS                                                                                   \
	"40\r\ndata: {\"choices\":[{\"delta\":{}}],\"prompt_progress\":{\"total\":9}}\n\n\r\n"
#define FINISH "39\r\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\r\n"
#define EMPTY                                                                                      \
	"47\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"length\"}]}\n\n\r\n"
#define USAGE   "36\r\ndata: {\"choices\":[],\"usage\":{\"completion_tokens\":2}}\n\n\r\n"
#define FAILURE "21\r\ndata: {\"error\":{\"message\":\"x\"}}\n\n\r\n"
#define STRANGE "16\r\ndata: {\"answer\":\"x\"}\n\n\r\n"
#define DONE    "e\r\ndata: [DONE]\n\n\r\n"
#define CLOSING "0\r\n\r\n"

#define REQUESTED                                                                                  \
	HANDSHAKE,                                                                                 \
	{                                                                                          \
		FROM_CLIENT(0, 0, REQUEST)                                                         \
	}

/* The server's bytes at an offset, with all of the request acknowledged. */
#define SENT(at, bytes) FROM_SERVER(at, WHOLE, bytes)
#define ACKED(upto)                                                                                \
	{                                                                                          \
		.flags = ACK, .seq = WHOLE, .ack = (upto)                                          \
	}

#define ADMITTED .requests = {{LLAMA, SLUICE_VERDICT_ADMITTED, SLUICE_REASON_NONE, 1}}
#define TTFT(ms)                                                                                   \
	{                                                                                          \
		SLUICE_SAMPLE_TTFT, LLAMA, 1, (ms)                                                 \
	}
#define ITL(gaps, ms)                                                                              \
	{                                                                                          \
		SLUICE_SAMPLE_ITL, LLAMA, (gaps), (ms)                                             \
	}

/* The offsets of the parts of a usual stream. */
enum {
	AT_FIRST = N(STREAM_HEAD),
	AT_SECOND = AT_FIRST + N(TOKEN),
	AT_THIRD = AT_SECOND + N(TOKEN),
	AT_FOURTH = AT_THIRD + N(TOKEN),
};

#endif
