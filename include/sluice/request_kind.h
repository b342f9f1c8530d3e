/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the path of a request says about it: whether its response is streamed, where the body does
 * not say so, or cannot; and whether it is a known request for something else than inference. The
 * client chooses the path. So the second rests on the whole of a path that every server reads alike
 * (route_plain()), and no verdict rests on the first.
 */
#ifndef SLUICE_REQUEST_KIND_H
#define SLUICE_REQUEST_KIND_H

#include "abi.h"
#include "scan.h"

#define REQUEST_END_MAX 32 /* bytes of a path that rows are compared with: its last ones */

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

/*
 * X(path): POSTs that servers answer without inference: vLLM, SGLang, llama.cpp, TGI and TEI,
 * Ollama, Triton, Anthropic's API. They are not judged, unless a rule of the service fits them.
 */
#define SLUICE_REQUEST_PASSES(X)                                                                   \
	X("/tokenize")                                                                             \
	X("/detokenize")                                                                           \
	X("/v1/tokenize")                                                                          \
	X("/v1/detokenize")                                                                        \
	X("/chat_tokenize")                                                                        \
	X("/apply-template")                                                                       \
	X("/v1/messages/count_tokens")                                                             \
	X("/api/pull")                                                                             \
	X("/api/push")                                                                             \
	X("/api/create")                                                                           \
	X("/api/copy")                                                                             \
	X("/api/delete")                                                                           \
	X("/api/show")                                                                             \
	X("/slots")                                                                                \
	X("/props")                                                                                \
	X("/lora-adapters")                                                                        \
	X("/v1/load_lora_adapter")                                                                 \
	X("/v1/unload_lora_adapter")                                                               \
	X("/load_lora_adapter")                                                                    \
	X("/unload_lora_adapter")                                                                  \
	X("/sleep")                                                                                \
	X("/wake_up")                                                                              \
	X("/is_sleeping")                                                                          \
	X("/reset_prefix_cache")                                                                   \
	X("/reset_mm_cache")                                                                       \
	X("/flush_cache")                                                                          \
	X("/start_profile")                                                                        \
	X("/stop_profile")                                                                         \
	X("/pause_generation")                                                                     \
	X("/continue_generation")                                                                  \
	X("/abort_request")                                                                        \
	X("/release_memory_occupation")                                                            \
	X("/resume_memory_occupation")

/* X(path): … and all paths below these. */
#define SLUICE_REQUEST_PASSES_BELOW(X)                                                             \
	X("/api/blobs/")                                                                           \
	X("/slots/")                                                                               \
	X("/v2/repository/")                                                                       \
	X("/v2/systemsharedmemory/")                                                               \
	X("/v2/cudasharedmemory/")

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

/* The end of a path, by words; what is before a shorter one is in them, too. */
struct request_end {
	__u64 len;                       /* of the path */
	__u64 word[REQUEST_END_MAX / 8]; /* the last first */
};
_Static_assert(__builtin_offsetof(struct http1_request, path) >= REQUEST_END_MAX,
	       "what is before the path is readable");

/* `path` is that of a struct http1_request. */
static __always_inline void request_end(struct request_end *e, const char *path)
{
	const char *end;

	e->len = request_path_len(path) & 127;
	end = path + e->len;
	SCAN_UNROLL
	for (int i = 0; i < REQUEST_END_MAX / 8; i++)
		e->word[i] = scan_load(end - 8 * i - 8);
}

/* Whether the path ends in a row of `len` bytes. */
static __always_inline int request_ends(const struct request_end *e, const char *row, __u32 len)
{
	SCAN_UNROLL
	for (__u32 i = 0; i < REQUEST_END_MAX / 8; i++)
		if ((e->word[i] & request_row_mask(len, 8 * i)) != request_row(row, len, 8 * i))
			return 0;
	return e->len >= len;
}

static __always_inline enum request_kind request_kind(const struct http1_request *r)
{
	struct request_end e;

	request_end(&e, r->path);
#define X(row, kind)                                                                               \
	if (request_ends(&e, row, sizeof(row) - 1))                                                \
		return REQUEST_##kind;
	SLUICE_REQUEST_KINDS(X)
#undef X
	return REQUEST_ASKS;
}

/* Whether the path begins with a row of `len` bytes. */
static __always_inline int request_begins(const char *path, const char *row, __u32 len)
{
	SCAN_UNROLL
	for (__u32 i = 0; i < len; i += 8) {
		__u64 want = 0, mask = len - i < 8 ? (1ULL << 8 * (len - i)) - 1 : ~0ULL;

		SCAN_UNROLL
		for (__u32 k = 0; k < 8; k++)
			if (i + k < len)
				want |= (__u64)(__u8)row[i + k] << 8 * k;
		if ((scan_load(path + i) & mask) != want)
			return 0;
	}
	return 1;
}

/* Whether a request whose path is plain is one of SLUICE_REQUEST_PASSES. */
static __always_inline int request_passes(const struct http1_request *r)
{
	struct request_end e;

	request_end(&e, r->path);
#define X(row)                                                                                     \
	if (e.len == sizeof(row) - 1 && request_ends(&e, row, sizeof(row) - 1))                    \
		return 1;
	SLUICE_REQUEST_PASSES(X)
#undef X
#define X(row)                                                                                     \
	if (e.len >= sizeof(row) && request_begins(r->path, row, sizeof(row) - 1))                 \
		return 1;
	SLUICE_REQUEST_PASSES_BELOW(X)
#undef X
	return 0;
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
