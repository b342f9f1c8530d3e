/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the path of a request says about its response: whether it is streamed, where the body does
 * not say so, or cannot. The client chooses the path, so no verdict may rest on it.
 */
#ifndef SLUICE_REQUEST_KIND_H
#define SLUICE_REQUEST_KIND_H

#include "abi.h"
#include "scan.h"

#define REQUEST_END_MAX 24 /* bytes of the longest row */

enum request_kind {
	REQUEST_ASKS,     /* streamed if the body says so */
	REQUEST_DECLINES, /* … unless the body says no */
	REQUEST_STREAMS,  /* always */
	REQUEST_ANSWERS,  /* never */
};

/* X(end, KIND): all paths that end so. Everything else is ASKS, as OpenAI's API is. */
#define SLUICE_REQUEST_KINDS(X)                                                                    \
	X("/api/chat", DECLINES)                                                                   \
	X("/api/generate", DECLINES)                                                               \
	X("/generate_stream", STREAMS)                                                             \
	X(":streamGenerateContent", STREAMS)                                                       \
	X(":generateContent", ANSWERS)                                                             \
	X(":embedContent", ANSWERS)                                                                \
	X(":batchEmbedContents", ANSWERS)                                                          \
	X(":predict", ANSWERS)                                                                     \
	X("/embeddings", ANSWERS)                                                                  \
	X("/embed", ANSWERS)                                                                       \
	X("/embed_all", ANSWERS)                                                                   \
	X("/embed_sparse", ANSWERS)                                                                \
	X("/encode", ANSWERS)                                                                      \
	X("/pooling", ANSWERS)                                                                     \
	X("/rerank", ANSWERS)                                                                      \
	X("/reranking", ANSWERS)                                                                   \
	X("/score", ANSWERS)                                                                       \
	X("/similarity", ANSWERS)                                                                  \
	X("/classify", ANSWERS)                                                                    \
	X("/predict", ANSWERS)                                                                     \
	X("/moderations", ANSWERS)                                                                 \
	X("/infer", ANSWERS)

/* How long the path of a target is, without its query: at most HTTP1_PATH_MAX. */
static __always_inline __u64 request_path_len(const char *target)
{
	__u64 n = HTTP1_PATH_MAX, w = 0, marks;

	SCAN_UNROLL
	for (int i = 0; i < HTTP1_PATH_MAX; i += 8) {
		w = scan_load(target + i);
		marks = (scan_equal(w, '?') | scan_below(w, 1)) & SCAN_HIGHS;
		if (marks) {
			n = i + scan_index(marks);
			break;
		}
	}
	return scan_forget(n, w);
}

/* The last `n` of the 8 characters that end `back` characters before the end of a row of `len`
 * bytes, as scan_load() finds them. */
static __always_inline __u64 request_row(const char *row, __u32 len, __u32 back)
{
	__u64 w = 0;

	SCAN_UNROLL
	for (__u32 i = 0; i < 8; i++)
		if (len + i >= back + 8)
			w |= (__u64)(__u8)row[len + i - back - 8] << 8 * i;
	return w;
}

/* … and a mask of the bytes that it has there. */
static __always_inline __u64 request_row_mask(__u32 len, __u32 back)
{
	return len >= back + 8 ? ~0ULL : len <= back ? 0 : ~0ULL << 8 * (8 - (len - back));
}

/* The kind of a target: `path` of a struct http1_request. What is before that is read, too. */
static __always_inline enum request_kind request_kind(const struct http1_request *r)
{
	__u64 n = request_path_len(r->path) & 127;
	const char *end = r->path + n;
	__u64 w0 = scan_load(end - 8), w1 = scan_load(end - 16), w2 = scan_load(end - 24);

	_Static_assert(__builtin_offsetof(struct http1_request, path) >= REQUEST_END_MAX,
		       "what is before the path is readable");
#define X(row, kind)                                                                               \
	if (n >= sizeof(row) - 1 &&                                                                \
	    (w0 & request_row_mask(sizeof(row) - 1, 0)) == request_row(row, sizeof(row) - 1, 0) && \
	    (w1 & request_row_mask(sizeof(row) - 1, 8)) == request_row(row, sizeof(row) - 1, 8) && \
	    (w2 & request_row_mask(sizeof(row) - 1, 16)) == request_row(row, sizeof(row) - 1, 16)) \
		return REQUEST_##kind;
	SLUICE_REQUEST_KINDS(X)
#undef X
	return REQUEST_ASKS;
}

/* Whether a request asks for a streamed response; to be called after its body. */
static __always_inline enum sluice_stream request_stream(const struct http1_request *r)
{
	enum request_kind kind = request_kind(r);

	if (kind == REQUEST_STREAMS)
		return SLUICE_STREAM_YES;
	if (kind == REQUEST_ANSWERS)
		return SLUICE_STREAM_NO;
	if (r->json.flags & (JSON_MODEL_GAP | JSON_MODEL_GARBAGE))
		return SLUICE_STREAM_UNKNOWN;
	if (r->json.stream)
		return r->json.stream == JSON_STREAM_YES ? SLUICE_STREAM_YES : SLUICE_STREAM_NO;
	return kind == REQUEST_DECLINES ? SLUICE_STREAM_YES : SLUICE_STREAM_NO;
}

#endif
