/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which API a request speaks, by its path: a refusal has the form of that API's errors. Gateways
 * and servers put prefixes before an API's paths (/openai/v1, /anthropic/v1, /ollama/api), so the
 * path's end decides first. The client chooses the path, so no verdict may rest on it. Only a
 * refusal calls this.
 */
#ifndef SLUICE_API_PATH_H
#define SLUICE_API_PATH_H

#include "names.h"
#include "request_kind.h"

/*
 * X(end, API): all paths that end so, but for what a row before says; everything else is OPENAI.
 * Hugging Face's servers of texts and of embeddings have the same errors, and clients of Triton
 * read them, too.
 */
#define SLUICE_API_ENDS(X)                                                                         \
	X("/completions", OPENAI)                                                                  \
	X("/v1/messages", ANTHROPIC)                                                               \
	X("/v1/messages/count_tokens", ANTHROPIC)                                                  \
	X("/api/chat", OLLAMA)                                                                     \
	X("/api/generate", OLLAMA)                                                                 \
	X("/api/embed", OLLAMA)                                                                    \
	X("/infer", OLLAMA)                                                                        \
	X(":predict", OLLAMA)                                                                      \
	X("/generate", TGI)                                                                        \
	X("/generate_stream", TGI)                                                                 \
	X("/embed", TGI)                                                                           \
	X("/embed_all", TGI)                                                                       \
	X("/embed_sparse", TGI)                                                                    \
	X("/predict", TGI)

/* X(begin, API): all others that begin so, but for what a row before says. */
#define SLUICE_API_BEGINS(X)                                                                       \
	X("/api/v0/", OPENAI)                                                                      \
	X("/api/v1/", OPENAI)                                                                      \
	X("/api/", OLLAMA)                                                                         \
	X("/v2/models/", OLLAMA)                                                                   \
	X("/v2/repository/", OLLAMA)

/* The API of a target: `path` of a struct http1_request. */
static __always_inline enum sluice_api api_of_path(const char *path)
{
	struct request_end e;

	request_end(&e, path);
#define X(row, api)                                                                                \
	if (request_ends(&e, row, sizeof(row) - 1))                                                \
		return SLUICE_API_##api;
	SLUICE_API_ENDS(X)
#undef X
#define X(row, api)                                                                                \
	if (request_begins(path, row, sizeof(row) - 1))                                            \
		return SLUICE_API_##api;
	SLUICE_API_BEGINS(X)
#undef X
	return path[0] == '/' && e.len == 1 ? SLUICE_API_TGI : SLUICE_API_OPENAI;
}

#endif
