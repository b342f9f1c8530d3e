/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The names that sluice counts by: reasons of refusals, and counters. Each is one line of one list;
 * enum, text, metric label, JSON field and a 429's sentence follow from it. A list is part of the
 * ABI, over versions too: a new line goes to its end, and none is removed.
 */
#ifndef SLUICE_NAMES_H
#define SLUICE_NAMES_H

/*
 * X(REASON, name, what a 429 says about a model, and about the whole server). The first sentence
 * takes the model's name for its %s.
 */
#define SLUICE_REASONS(X)                                                                          \
	X(NONE, "none", "Model '%s' cannot take this request now.",                                \
	  "This request cannot be taken now.")                                                     \
	X(TTFT, "ttft", "Model '%s' is over its time-to-first-token target.",                      \
	  "This server is over its time-to-first-token target.")                                   \
	X(ITL, "itl", "Model '%s' is over its inter-token latency target.",                        \
	  "This server is over its inter-token latency target.")                                   \
	X(IN_FLIGHT, "in-flight", "Model '%s' has as many requests in flight as it may.",          \
	  "This server has as many requests in flight as it may.")                                 \
	X(CLIENT_SHARE, "client-share", "This client is above its share of model '%s'.",           \
	  "This client is above its share.")                                                       \
	X(CLIENT_BLOCKED, "client-blocked", "This client is blocked from model '%s'.",             \
	  "This client is blocked.")                                                               \
	X(REQUEST_QUOTA, "request-quota",                                                          \
	  "This client has used up its request quota for model '%s'.",                             \
	  "This client has used up its request quota.")                                            \
	X(TOKEN_QUOTA, "token-quota", "This client has used up its token quota for model '%s'.",   \
	  "This client has used up its token quota.")                                              \
	X(OPERATOR, "operator", "The operator has closed model '%s'.",                             \
	  "The operator has closed this service.")                                                 \
	X(STALLED_RESPONSES, "stalled-responses",                                                  \
	  "This client does not read its responses of model '%s'.",                                \
	  "This client does not read its responses.")                                              \
	X(DURATION, "duration", "Model '%s' is over its request duration target.",                 \
	  "This server is over its request duration target.")                                      \
	X(NORMALIZED_LATENCY, "normalized-latency",                                                \
	  "Model '%s' is over its normalized latency target.",                                     \
	  "This server is over its normalized latency target.")

enum sluice_reason {
#define X(reason, name, of_model, of_server) SLUICE_REASON_##reason,
	SLUICE_REASONS(X)
#undef X
		SLUICE_REASON_COUNT
};

/*
 * X(API, the end of a 429's body after the seconds, and its begin; the same of a 503): the errors
 * that the clients of an API read. The sentence of the reason stands between both, as JSON text.
 */
#define SLUICE_APIS(X)                                                                             \
	X(OPENAI,                                                                                  \
	  " seconds.\",\"type\":\"requests\",\"param\":null,\"code\":\"rate_limit_exceeded\"}}",   \
	  "{\"error\":{\"message\":\"",                                                            \
	  " seconds.\",\"type\":\"server_error\",\"param\":null,\"code\":null}}",                  \
	  "{\"error\":{\"message\":\"")                                                            \
	X(OPENAI_TOKENS, /* of a quota of tokens */                                                \
	  " seconds.\",\"type\":\"tokens\",\"param\":null,\"code\":\"rate_limit_exceeded\"}}",     \
	  "{\"error\":{\"message\":\"",                                                            \
	  " seconds.\",\"type\":\"server_error\",\"param\":null,\"code\":null}}",                  \
	  "{\"error\":{\"message\":\"")                                                            \
	X(ANTHROPIC, " seconds.\"}}",                                                              \
	  "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"",           \
	  " seconds.\"}}",                                                                         \
	  "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"")           \
	X(OLLAMA, " seconds.\"}", "{\"error\":\"", " seconds.\"}",                                 \
	  "{\"error\":\"") /* and KServe v2, Triton */                                             \
	X(TGI, " seconds.\",\"error_type\":\"overloaded\"}", "{\"error\":\"",                      \
	  " seconds.\",\"error_type\":\"overloaded\"}", "{\"error\":\"")

enum sluice_api {
#define X(api, after, before, after503, before503) SLUICE_API_##api,
	SLUICE_APIS(X)
#undef X
		SLUICE_API_COUNT
};

/* X(COUNTER, name): counters[i], per-CPU u64, for what is no verdict on a request. */
#define SLUICE_COUNTERS(X)                                                                           \
	X(PASSED_LEASE, "passed-lease") /* would be refused, but the lease has run out */            \
	X(PASSED_ANSWERED_EARLY,                                                                     \
	  "passed-answered-early") /* would be refused, but the server answered before its end */    \
	X(PIPELINED_HELD,                                                                            \
	  "pipelined-held") /* segments with bytes that wait for the response under way */           \
	X(URGENT_CLEARED, "urgent-cleared")             /* segments that were marked urgent */       \
	X(PASSED_FRAMING_ERROR, "passed-framing-error") /* connections that lost their framing */    \
	X(PASSED_UNPROVEN, "passed-unproven")           /* data on a connection not proven */        \
	X(PASSED_NO_ROOM, "passed-no-room")             /* refusals without a 429's text: reset */   \
	X(REORDERED_DROPPED,                                                                         \
	  "reordered-dropped") /* segments before missing bytes, or repeated too soon */             \
	X(RESPONSE_FRAMING_ERROR,                                                                    \
	  "response-framing-error")                   /* responses not framed to their end */        \
	X(UPGRADED, "upgraded")                       /* connections that left HTTP/1 */             \
	X(GAPS_CLIENT_LIMITED, "gaps-client-limited") /* gaps that the client's slowness set */      \
	X(SAMPLES_LOST, "samples-lost")               /* samples ring full */                        \
	X(VERDICTS_LOST, "verdicts-lost")             /* verdicts ring full, or over its rate */     \
	X(CONNS_FULL, "conns-full")                                                                  \
	X(TOMBSTONES_FULL, "tombstones-full")                                                        \
	X(COUNTS_FULL, "counts-full")                                                                \
	X(REPLIES_LOST, "replies-lost") /* in-flight bytes lost: reset instead of 429 */             \
	X(HALF_OPEN_INSERTS, "half-open-inserts")                                                    \
	X(HALF_OPEN_DELETES, "half-open-deletes")                                                    \
	X(FORGED_ANSWERS, "forged-answers") /* packets sent for a tombstone */                       \
	X(SWALLOWED, "swallowed")           /* server packets of refused connections */              \
	X(UNSEEN_REQUESTS,                                                                           \
	  "unseen-requests") /* connections with client packets on another interface too */          \
	X(UNSEEN_RESPONSES, "unseen-responses") /* … with server packets on another interface */   \
	X(BUDGETS_LOST, "budgets-lost") /* charges without an entry for the client's state */        \
	X(FEEDBACK_ABSENT, "feedback-absent") /* responses with a Date that was not overwritten */   \
	X(FOUND_OPAQUE, "found-opaque")       /* TLS or HTTP/2 on an http service */                 \
	X(DEPARTED, "clients-departed") /* requests held on after their client has hung up */        \
	X(STALLS_RELEASED, "stalls-released") /* slots released while a client does not read */      \
	X(SYN_DATA_CUT, "syn-data-cut")       /* SYNs with their data cut off */                     \
	X(OPTIONS_REMOVED, "options-removed") /* SYNs made plain TCP: no MPTCP, no Fast Open */      \
	X(FRAMING_ERROR_RESET, "framing-error-reset") /* connections reset for a framing error */    \
	X(HEADERS_UNREAD,                                                                            \
	  "headers-unread") /* IPv6 packets with more extension headers than are walked */           \
	X(CONNS_DROPPED, "conns-dropped") /* segments dropped: conns lacks their connection */       \
	X(CONNS_EVICTED, "conns-evicted") /* idle connections removed from conns to make room */     \
	X(REFUSALS_CLOSED, "refusals-closed") /* refusals that ended their connection */             \
	X(REFUSALS_KEPT, "refusals-kept") /* refusals after which the connection went on, … */     \
	X(KEEP_SPLIT, "keep-declined-split")   /* … or not: the request was not one segment */     \
	X(KEEP_CLOSES, "keep-declined-closes") /* … HTTP/1.0, HEAD, or the client closes anyway */ \
	X(KEEP_IN_FLIGHT,                                                                            \
	  "keep-declined-in-flight") /* … bytes before it are not acknowledged, or not answered */ \
	X(KEEP_UNHEARD, "keep-declined-unheard") /* … the server was not heard for two seconds */  \
	X(KEEP_OPTIONS, "keep-declined-options") /* … it has other TCP options */                  \
	X(KEEP_PATH, "keep-declined-path")       /* … both ways do not share their interface */    \
	X(KEEP_FULL, "keep-declined-full")       /* … kept is full */                              \
	X(HELD, "held")                          /* heads that waited for their body */              \
	X(HOLD_RELEASED, "hold-released")        /* … and came again before it */                  \
	X(HOLD_FULL, "hold-full")                /* heads that did not wait: held was full */        \
	X(RECORDS_LOST, "records-lost")          /* records ring full */

enum sluice_counter {
#define X(name, text) SLUICE_COUNTER_##name,
	SLUICE_COUNTERS(X)
#undef X
		SLUICE_COUNTER_COUNT
};

#endif
