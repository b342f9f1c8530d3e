/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Both HTTP/1.x scanners (RFC 9112). They frame requests and responses as their bytes pass, in
 * pieces of any size, and keep only what a limiter needs. The driver repeats two things: it skips
 * the bytes that the message lets it skip (…_skippable, …_skipped), and it calls a step on the
 * others. A step takes some bytes and reports in `ev` what ended with them.
 *
 * Where the pieces are cut never matters: a step reaches every state byte by byte as well as a word
 * at a time. The scanners accept what cannot shift a boundary between two honest parsers (a bare LF
 * ends a head line, empty lines before a request). Everything else that a server might frame in
 * another way is a framing error, and it ends the scan.
 *
 *	http1_types.h     state, and limits
 *	http1_token.h     names and tokens, eight bytes at a time
 *	http1_headers.h   the headers that the scanners read by themselves: one table
 *	http1_wanted.h    the headers that a service wants; with http1_key.h, http1_priority.h
 *	http1_line.h      head lines and trailers, whatever they hold
 *	form_type.h       the Content-Type of a request; form_model.h reads forms
 *	http1_usual.h     the fast path: head lines with nothing unusual
 *	http1_chunk.h     the lines around chunks
 *	http1_request.h, http1_response.h
 */
#ifndef SLUICE_HTTP1_H
#define SLUICE_HTTP1_H

#include "http1_request.h"
#include "http1_response.h"

#endif
