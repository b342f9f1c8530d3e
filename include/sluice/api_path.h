/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which API a request speaks, by its path: a refusal has the form of that API's errors. The client
 * chooses the path, so no verdict may rest on it. Only a refusal calls this.
 */
#ifndef SLUICE_API_PATH_H
#define SLUICE_API_PATH_H

#include "http1_types.h"
#include "names.h"
#include "scan.h"

#define API_PATH_MAX 32 /* bytes that the longest row needs after a target's authority */

/*
 * X(path, API): the path itself, and all paths below it. Everything else is OPENAI. Hugging Face's
 * servers of texts and of embeddings have the same errors.
 */
#define SLUICE_API_PATHS(X)                                                                        \
	X("/v1/messages", ANTHROPIC)                                                               \
	X("/api", OLLAMA)                                                                          \
	X("/v2", OLLAMA)                                                                           \
	X("/generate", TGI)                                                                        \
	X("/generate_stream", TGI)                                                                 \
	X("/embed", TGI)                                                                           \
	X("/embed_all", TGI)                                                                       \
	X("/embed_sparse", TGI)                                                                    \
	X("/predict", TGI)                                                                         \
	X("/", TGI)

/* Whether the target at p begins with the n bytes of a row, and a segment of it ends there. */
static __always_inline int api_path_fits(const char *p, const char *row, __u32 n)
{
	__u8 differ = 0, after = p[n];

	SCAN_UNROLL
	for (__u32 i = 0; i < n; i++)
		differ |= p[i] ^ row[i];
	return !differ && (!after || after == '/' || after == '?' || after == '#');
}

/*
 * Where the path of a target begins: at its first byte, or after the authority of one in absolute
 * form (RFC 9112 3.2.2).
 */
static __always_inline __u64 api_path_begin(const char *target)
{
	__u64 at = 0, w = 0, marks;

	if (target[0] == '/')
		return 0;
	SCAN_UNROLL
	for (int i = sizeof("http://"); i <= HTTP1_PATH_MAX - API_PATH_MAX - 8; i += 8) {
		w = scan_load(target + i);
		marks = scan_equal(w, '/') & SCAN_HIGHS;
		if (marks) {
			at = i + scan_index(marks);
			break;
		}
	}
	return scan_forget(at, w) & (HTTP1_PATH_MAX - API_PATH_MAX - 1);
}
_Static_assert(HTTP1_PATH_MAX - API_PATH_MAX == 64, "a power of two");

/* The API of a target: `path` of a struct http1_request. */
static __always_inline enum sluice_api api_of_path(const char *path)
{
	path += api_path_begin(path);
#define X(row, api)                                                                                \
	if (api_path_fits(path, row, sizeof(row) - 1))                                             \
		return SLUICE_API_##api;
	SLUICE_API_PATHS(X)
#undef X
	return SLUICE_API_OPENAI;
}

#endif
