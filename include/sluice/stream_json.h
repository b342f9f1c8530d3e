/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The JSON of a streamed event: is there generated output in it, an error, or the number of output
 * tokens so far? Keys count by place. Places are nodes: the event's object, the list of choices,
 * one of them, its delta, a message, a token, usage. Everything else is skipped by counting
 * brackets, but for the contents of an output value that is an array or an object. A string is a
 * key if a colon follows it. After its first output an event is read on for its usage only, and
 * only in a stream that is STREAM_WHOLE.
 *
 * What it does not see: an event's `type` after its output; a key with an escape in it; which
 * bracket closes which; anything in an event after 255 brackets that are open at once; an error
 * after the output of the same event.
 */
#ifndef SLUICE_STREAM_JSON_H
#define SLUICE_STREAM_JSON_H

#include "stream_types.h"

/* FNV-1a, 64 bits: names are compared by it, and the compiler folds the constants. */
#define STREAM_HASH_EMPTY 0xcbf29ce484222325ULL

static __always_inline __u64 stream_hash(__u64 hash, __u8 c)
{
	return (hash ^ c) * 0x100000001b3ULL;
}

#define STREAM_HASH(literal) stream_hash_literal(literal, sizeof(literal) - 1)

static __always_inline __u64 stream_hash_literal(const char *s, unsigned long len)
{
	__u64 hash = STREAM_HASH_EMPTY;

	SCAN_UNROLL
	for (unsigned long i = 0; i < 24; i++)
		if (i < len)
			hash = stream_hash(hash, s[i]);
	return hash;
}

#define STREAM_USAGE_MAX 10000000 /* tokens of a response */

/* Keys that are no output in any place. Their events count in no stream of an unknown format. */
static __always_inline int stream_metadata(__u64 hash)
{
	return hash == STREAM_HASH("id") || hash == STREAM_HASH("object") ||
	       hash == STREAM_HASH("created") || hash == STREAM_HASH("created_at") ||
	       hash == STREAM_HASH("model") || hash == STREAM_HASH("model_name") ||
	       hash == STREAM_HASH("model_version") || hash == STREAM_HASH("index") ||
	       hash == STREAM_HASH("role") || hash == STREAM_HASH("status") ||
	       hash == STREAM_HASH("progress") || hash == STREAM_HASH("usage") ||
	       hash == STREAM_HASH("prompt") || hash == STREAM_HASH("prompt_progress") ||
	       hash == STREAM_HASH("prompt_filter_results") ||
	       hash == STREAM_HASH("content_filter_results") ||
	       hash == STREAM_HASH("content_filter_offsets") || hash == STREAM_HASH("logprobs") ||
	       hash == STREAM_HASH("finish_reason") || hash == STREAM_HASH("stop_reason") ||
	       hash == STREAM_HASH("done_reason") || hash == STREAM_HASH("system_fingerprint") ||
	       hash == STREAM_HASH("service_tier") || hash == STREAM_HASH("run_id") ||
	       hash == STREAM_HASH("request_id") || hash == STREAM_HASH("timestamp") ||
	       hash == STREAM_HASH("metadata");
}

/* Text of a message or of a delta, in all APIs. */
static __always_inline int stream_message_text(__u64 hash)
{
	return hash == STREAM_HASH("content") || hash == STREAM_HASH("text") ||
	       hash == STREAM_HASH("reasoning_content") || hash == STREAM_HASH("reasoning") ||
	       hash == STREAM_HASH("thinking") || hash == STREAM_HASH("refusal") ||
	       hash == STREAM_HASH("partial_json") || hash == STREAM_HASH("tool_calls") ||
	       hash == STREAM_HASH("function_call") || hash == STREAM_HASH("audio") ||
	       hash == STREAM_HASH("images");
}

/* Text in the contents of an output value: parts of a message, tool calls, audio, images. */
static __always_inline int stream_part_text(__u64 hash)
{
	return hash == STREAM_HASH("text") || hash == STREAM_HASH("thinking") ||
	       hash == STREAM_HASH("value") || hash == STREAM_HASH("name") ||
	       hash == STREAM_HASH("arguments") || hash == STREAM_HASH("data") ||
	       hash == STREAM_HASH("transcript") || hash == STREAM_HASH("url") ||
	       hash == STREAM_HASH("b64_json");
}

/* An event's object that states usage: of most servers; llama.cpp; SGLang; TGI; LangServe. */
static __always_inline int stream_usage(__u64 hash)
{
	return hash == STREAM_HASH("usage") || hash == STREAM_HASH("timings") ||
	       hash == STREAM_HASH("meta_info") || hash == STREAM_HASH("details") ||
	       hash == STREAM_HASH("usage_metadata");
}

/* The number in it: OpenAI; Anthropic and others; llama.cpp; TGI; LM Studio. */
static __always_inline int stream_usage_number(__u64 hash)
{
	return hash == STREAM_HASH("completion_tokens") || hash == STREAM_HASH("output_tokens") ||
	       hash == STREAM_HASH("predicted_n") || hash == STREAM_HASH("generated_tokens") ||
	       hash == STREAM_HASH("total_output_tokens");
}

static __always_inline __u8 stream_top_key(__u64 hash)
{
	if (hash == STREAM_HASH("choices") || hash == STREAM_HASH("candidates"))
		return STREAM_KEY_LIST;
	if (hash == STREAM_HASH("delta"))
		return STREAM_KEY_DELTA;
	if (hash == STREAM_HASH("message"))
		return STREAM_KEY_MESSAGE;
	if (hash == STREAM_HASH("token"))
		return STREAM_KEY_TOKEN;
	if (hash == STREAM_HASH("error"))
		return STREAM_KEY_ERROR;
	if (hash == STREAM_HASH("type") || hash == STREAM_HASH("event"))
		return STREAM_KEY_TYPE;
	if (hash == STREAM_HASH("object"))
		return STREAM_KEY_OBJECT;
	if (hash == STREAM_HASH("response"))
		return STREAM_KEY_STRING;
	if (hash == STREAM_HASH("result"))
		return STREAM_KEY_RESULT;
	if (stream_usage(hash))
		return STREAM_KEY_USAGE;
	if (hash == STREAM_HASH("eval_count") || hash == STREAM_HASH("tokens_predicted"))
		return STREAM_KEY_NUMBER;
	if (hash == STREAM_HASH("arguments"))
		return STREAM_KEY_FILLED;
	if (hash == STREAM_HASH("b64_json") || hash == STREAM_HASH("partial_image_b64"))
		return STREAM_KEY_IMAGE;
	if (hash == STREAM_HASH("content") || hash == STREAM_HASH("text") ||
	    hash == STREAM_HASH("thinking") || hash == STREAM_HASH("text_output") ||
	    hash == STREAM_HASH("completion") || hash == STREAM_HASH("audio"))
		return STREAM_KEY_TEXT;
	return STREAM_KEY_OTHER;
}

/* What a string is as a key, by its hash and its place. */
SCAN_SUBPROG int stream_key(__u64 hash, __u32 node)
{
	__u8 key = STREAM_KEY_OTHER;

	switch (node) {
	case STREAM_NODE_OUTPUT:
		return stream_part_text(hash) ? STREAM_KEY_TEXT : STREAM_KEY_OTHER;
	case STREAM_NODE_TOP:
		key = stream_top_key(hash);
		break;
	case STREAM_NODE_CHOICE:
		if (hash == STREAM_HASH("delta") || hash == STREAM_HASH("message"))
			return STREAM_KEY_DELTA;
		if (hash == STREAM_HASH("text") || hash == STREAM_HASH("content"))
			return STREAM_KEY_TEXT;
		break;
	case STREAM_NODE_DELTA:
	case STREAM_NODE_MESSAGE:
		if (stream_message_text(hash))
			return STREAM_KEY_TEXT;
		if (hash == STREAM_HASH("role"))
			return STREAM_KEY_ROLE;
		break;
	case STREAM_NODE_TOKEN:
		return hash == STREAM_HASH("text") ? STREAM_KEY_TEXT : STREAM_KEY_OTHER;
	case STREAM_NODE_USAGE:
	case STREAM_NODE_TOTAL:
		return stream_usage_number(hash) ? STREAM_KEY_NUMBER : STREAM_KEY_METADATA;
	case STREAM_NODE_RESULT:
		return hash == STREAM_HASH("usage") || hash == STREAM_HASH("stats")
			       ? STREAM_KEY_USAGE
			       : STREAM_KEY_METADATA;
	}
	if (key == STREAM_KEY_OTHER && stream_metadata(hash))
		key = STREAM_KEY_METADATA;
	return key;
}

/* Whether a name ends in this word, of which the last eight bytes count. */
static __always_inline int stream_word(__u64 tail, const char *word, unsigned long len)
{
	__u64 want = 0, mask = len < 8 ? (1ULL << 8 * (len & 7)) - 1 : ~0ULL;
	__u8 before = len < 8 ? tail >> 8 * (len & 7) : 0;

	SCAN_UNROLL
	for (unsigned long i = 0; i < 16; i++)
		if (i < len)
			want = want << 8 | (__u8)word[i];
	return (tail & mask) == want && (__u8)((before | 0x20) - 'a') >= 26;
}

#define STREAM_WORD(tail, word) stream_word(tail, word, sizeof(word) - 1)

enum stream_name { STREAM_NAME_OTHER, STREAM_NAME_NONE, STREAM_NAME_ERROR };

/* What the name of an event says of it: nothing, that it has no output, or that it is an error. */
SCAN_SUBPROG int stream_name(__u64 hash, __u64 tail)
{
	if (hash == STREAM_HASH("error") || hash == STREAM_HASH("response.failed"))
		return STREAM_NAME_ERROR;
	if (STREAM_WORD(tail, "done") || STREAM_WORD(tail, "completed") ||
	    STREAM_WORD(tail, "added") || STREAM_WORD(tail, "created") ||
	    STREAM_WORD(tail, "queued") || STREAM_WORD(tail, "progress") ||
	    STREAM_WORD(tail, "start") || STREAM_WORD(tail, "started") ||
	    STREAM_WORD(tail, "stop") || STREAM_WORD(tail, "end") || STREAM_WORD(tail, "ping") ||
	    STREAM_WORD(tail, "metadata") || STREAM_WORD(tail, "heartbeat") ||
	    STREAM_WORD(tail, "keepalive") || STREAM_WORD(tail, "incomplete") ||
	    STREAM_WORD(tail, "searching") || STREAM_WORD(tail, "interpreting") ||
	    STREAM_WORD(tail, "generating"))
		return STREAM_NAME_NONE;
	return STREAM_NAME_OTHER;
}

static __always_inline void stream_count(struct stream *s, __u32 *ev)
{
	s->tokens++;
	if (!(s->flags & STREAM_STATED)) /* it was no total */
		s->usage = 0;
	s->flags |= STREAM_COUNTED;
	*ev |= STREAM_GENERATED;
}

/* The response has failed. Nothing in it counts any more. */
static __always_inline void stream_fail(struct stream *s, __u32 *ev)
{
	if (!(s->flags & STREAM_FAILED))
		*ev |= STREAM_ERROR;
	s->flags |= STREAM_FAILED;
	s->state = STREAM_AT_REST;
}

/* The event has output. The rest of it matters only for usage. */
static __always_inline void stream_output(struct stream *s, __u32 *ev)
{
	stream_count(s, ev);
	s->json.output = 0;
	if (!(s->flags & STREAM_WHOLE))
		s->state = STREAM_AT_REST;
}

/* The string of an output value is not empty. Its first byte follows `offset` others. */
static __always_inline void stream_found(struct stream *s, __u32 *ev)
{
	__u16 offset = s->offset;

	stream_output(s, ev);
	s->json.state = STREAM_JSON_SKIP;
	s->prefix_json = s->json;
	if (s->flags & STREAM_STATED) /* the bytes before it count in each event */
		offset = STREAM_PREFIX_MAX;
	if (offset != s->prefix_len) {
		s->prefix_len = offset < STREAM_PREFIX_MAX ? offset : 0;
		s->flags &= ~STREAM_PREFIX;
	} else if (s->flags & STREAM_TRIED) {
		s->flags |= STREAM_PREFIX;
	}
}

/* A bracket opens. */
static __always_inline void stream_json_open(struct stream *s, __u8 c, __u32 *ev)
{
	struct stream_json *j = &s->json;
	__u8 key = j->key, node = j->node;

	j->key = j->last = STREAM_KEY_NONE;
	if (j->depth) {
		if (j->depth < 255)
			j->depth++;
	} else if (key == STREAM_KEY_ERROR) {
		stream_fail(s, ev);
	} else if (c == '{' && key == STREAM_KEY_USAGE) {
		j->node = node == STREAM_NODE_TOP ? STREAM_NODE_USAGE : STREAM_NODE_TOTAL;
	} else if (c == '{' && (key == STREAM_KEY_RESULT || key == STREAM_KEY_STRING)) {
		j->node = STREAM_NODE_RESULT;
		s->flags |= STREAM_UNKNOWN;
	} else if (c == '{' && node == STREAM_NODE_OUT) {
		j->node = STREAM_NODE_TOP;
	} else if (c == '{' && node == STREAM_NODE_LIST) {
		j->node = STREAM_NODE_CHOICE;
	} else if (c == '[' && key == STREAM_KEY_LIST) {
		j->node = STREAM_NODE_LIST;
	} else if (c == '{' && key == STREAM_KEY_DELTA) {
		j->node = node == STREAM_NODE_TOP ? STREAM_NODE_MESSAGE : STREAM_NODE_DELTA;
	} else if (c == '{' && key == STREAM_KEY_MESSAGE) {
		j->node = STREAM_NODE_MESSAGE;
	} else if (c == '{' && key == STREAM_KEY_TOKEN) {
		j->node = STREAM_NODE_TOKEN;
	} else {
		j->depth = 1;
		j->output = (key == STREAM_KEY_TEXT || key == STREAM_KEY_FILLED) &&
			    !(s->flags & STREAM_NAMED);
		if (j->output && key == STREAM_KEY_FILLED)
			j->state = STREAM_JSON_FILLED;
		else if (j->output && c == '[')
			j->state = STREAM_JSON_ELEMENT;
		if (key != STREAM_KEY_METADATA && key != STREAM_KEY_USAGE)
			s->flags |= STREAM_UNKNOWN;
	}
}

static __always_inline void stream_json_close(struct stream_json *j)
{
	j->key = j->last = STREAM_KEY_NONE;
	if (j->depth) {
		if (j->depth < 255)
			j->depth--;
	} else if (j->node >= STREAM_NODE_MESSAGE && j->node != STREAM_NODE_TOTAL) {
		j->node = STREAM_NODE_TOP;
	} else if (j->node) {
		j->node--;
	}
}

/* A string begins. */
static __always_inline void stream_json_quote(struct stream *s)
{
	struct stream_json *j = &s->json;
	__u8 key = j->key, node = j->node;
	int top = !j->depth;

	j->key = j->last = STREAM_KEY_NONE;
	s->hash = STREAM_HASH_EMPTY;
	s->tail = 0;
	j->state = STREAM_JSON_SKIP;
	if (key == STREAM_KEY_NONE) {
		if (top && node == STREAM_NODE_OUT)
			j->state = s->flags & STREAM_COUNTED ? STREAM_JSON_SKIP : STREAM_JSON_VALUE;
		else if (top || j->output)
			j->state = STREAM_JSON_KEY;
	} else if (key == STREAM_KEY_ERROR) {
		j->state = STREAM_JSON_ERROR;
	} else if (key == STREAM_KEY_TYPE) {
		j->state = STREAM_JSON_TYPE;
	} else if (key == STREAM_KEY_OBJECT) {
		j->state = STREAM_JSON_OBJECT;
	} else if (key == STREAM_KEY_IMAGE) {
		j->state = STREAM_JSON_VALUE;
	} else if (key == STREAM_KEY_TEXT || key == STREAM_KEY_STRING || key == STREAM_KEY_FILLED ||
		   (key == STREAM_KEY_DELTA && node == STREAM_NODE_TOP)) {
		s->flags |= STREAM_KNOWN;
		if (!(s->flags & STREAM_NAMED))
			j->state = STREAM_JSON_VALUE;
	} else if (top && key != STREAM_KEY_METADATA && key != STREAM_KEY_ROLE &&
		   key != STREAM_KEY_USAGE && key != STREAM_KEY_NUMBER) {
		j->state = STREAM_JSON_UNKNOWN;
	}
}

/* A string that was hashed has ended. */
static __always_inline void stream_json_name(struct stream *s, __u8 state, __u32 *ev)
{
	struct stream_json *j = &s->json;
	int name;

	if (state == STREAM_JSON_KEY) {
		j->last = stream_key(s->hash, j->depth ? STREAM_NODE_OUTPUT : j->node);
		if (s->flags & STREAM_COUNTED && j->last < STREAM_KEY_USAGE)
			j->last = STREAM_KEY_METADATA;
		return;
	}
	name = stream_name(s->hash, s->tail);
	if (name == STREAM_NAME_ERROR)
		stream_fail(s, ev);
	else if (name == STREAM_NAME_NONE && state == STREAM_JSON_TYPE)
		s->flags |= STREAM_NAMED;
}

/* The value of a number of tokens: true if c is a digit of it. Zero states nothing. */
static __always_inline int stream_digit(struct stream *s, __u8 c)
{
	__u8 digit = c - '0', key = s->json.key;

	if (digit > 9 || (!digit && key == STREAM_KEY_NUMBER))
		return 0;
	if (key == STREAM_KEY_NUMBER)
		s->usage = 0;
	s->usage = s->usage < STREAM_USAGE_MAX / 10 ? s->usage * 10 + digit : STREAM_USAGE_MAX;
	s->json.key = STREAM_KEY_DIGITS;
	s->flags |= STREAM_STATED;
	return 1;
}

/* A byte between strings. */
static __always_inline void stream_json_byte(struct stream *s, __u8 c, __u32 *ev)
{
	struct stream_json *j = &s->json;
	__u8 key = j->key, folded = c | 0x20; /* [ and { are alike, and ] and } */

	if (c == ' ' || c == '\t')
		return;
	if (j->state != STREAM_JSON_BETWEEN) {
		__u8 state = j->state;

		j->state = STREAM_JSON_BETWEEN;
		if (state == STREAM_JSON_FILLED && folded != '}')
			stream_output(s, ev);
		if (state == STREAM_JSON_ELEMENT && c == '"') {
			j->state = STREAM_JSON_VALUE;
			return;
		}
	}
	if (key >= STREAM_KEY_NUMBER && stream_digit(s, c))
		return;
	if (c == '"') {
		stream_json_quote(s);
	} else if (c == ':') {
		key = j->last ? j->last : STREAM_KEY_OTHER;
		if (key == STREAM_KEY_TEXT || key == STREAM_KEY_FILLED || key == STREAM_KEY_IMAGE ||
		    key == STREAM_KEY_ROLE)
			s->flags |= STREAM_KNOWN;
		j->key = key;
		j->last = STREAM_KEY_NONE;
	} else if (folded == '{') {
		stream_json_open(s, c, ev);
	} else if (folded == '}') {
		stream_json_close(j);
	} else {
		j->key = j->last = STREAM_KEY_NONE;
		if (key == STREAM_KEY_ERROR && c != 'n' && c != 'f' && c != '0' && c != ',')
			stream_fail(s, ev);
		if (!j->depth && j->node == STREAM_NODE_OUT) { /* plain text */
			s->flags |= STREAM_UNKNOWN;
			s->state = STREAM_AT_REST;
		}
	}
}

/* A byte in a string. */
static __always_inline void stream_json_in_string(struct stream *s, __u8 c, __u32 *ev)
{
	struct stream_json *j = &s->json;
	__u8 state = j->state;

	if (j->escape) {
		j->escape = 0;
		return;
	}
	if (c == '"') {
		j->state = STREAM_JSON_BETWEEN;
		if (state >= STREAM_JSON_KEY)
			stream_json_name(s, state, ev);
		return;
	}
	if (state == STREAM_JSON_VALUE) {
		stream_found(s, ev);
		j->escape = c == '\\';
	} else if (state == STREAM_JSON_ERROR) {
		stream_fail(s, ev);
	} else {
		if (state == STREAM_JSON_UNKNOWN) {
			s->flags |= STREAM_UNKNOWN;
			j->state = STREAM_JSON_SKIP;
		}
		s->hash = stream_hash(s->hash, c); /* a backslash: no name that is known has one */
		j->escape = c == '\\';
	}
}

/* Index of the first control character, quote or backslash in 32 bytes; 32 if there is none. */
static __always_inline __u64 stream_skip(const __u8 *p)
{
	__u64 n = 32, w = 0, marks;

	SCAN_UNROLL
	for (int k = 0; k < 32; k += 8) {
		w = scan_load(p + k);
		marks = (scan_below(w, 0x20) | scan_equal(w, '"') | scan_equal(w, '\\')) &
			SCAN_HIGHS;
		if (marks) {
			n = k + scan_index(marks);
			break;
		}
	}
	return scan_forget(n, w);
}

/* Hashes up to 16 bytes of a name: until a control character, a or b. Returns how many. */
static __always_inline __u64 stream_run(struct stream *s, const __u8 *p, __u64 left, __u8 a, __u8 b)
{
	__u64 hash = s->hash, tail = s->tail, n = 0;

	SCAN_UNROLL
	for (int k = 0; k < 16; k++) {
		__u8 c = p[k];

		if (n >= left || c < 0x20 || c == a || c == b)
			break;
		hash = stream_hash(hash, c);
		tail = tail << 8 | c;
		n++;
	}
	s->hash = hash;
	s->tail = tail;
	return scan_forget(n, hash);
}

/* One step in an event's JSON at p, which has a byte. Returns how many bytes it took, 1 … left. */
static __always_inline __u64 stream_json_step(struct stream *s, const __u8 *p, __u64 left,
					      __u32 *ev)
{
	struct stream_json *j = &s->json;
	__u8 state = j->state;
	__u64 n = 0;

	if (state >= STREAM_JSON_SKIP && !j->escape) {
		n = state == STREAM_JSON_SKIP ? stream_skip(p) : stream_run(s, p, left, '"', '\\');
		n = n < left ? n : left;
		n = scan_forget(n, left);
	}
	if (!n) {
		n = 1;
		if (state < STREAM_JSON_VALUE)
			stream_json_byte(s, p[0], ev);
		else
			stream_json_in_string(s, p[0], ev);
	}
	if (s->offset < STREAM_PREFIX_MAX)
		s->offset += n;
	return n;
}

struct stream_window {
	__u8 byte[SCAN_CAPACITY + SCAN_PAD];
};

#define STREAM_JSON_STEPS 8

/*
 * Up to STREAM_JSON_STEPS steps from byte `pos` of the window on, where no line ends. Stops where
 * one does, or nothing more has to be read. Returns the byte after them.
 */
SCAN_SUBPROG int stream_json_steps(struct stream *s, const struct stream_window *window, __u32 pos,
				   __u32 end, __u32 *ev)
{
	__u64 p = pos, stop = end;
	__u8 c;

	if (!s || !window || !ev)
		return 0;
	SCAN_STEPS
	for (int i = 0; i < STREAM_JSON_STEPS; i++) {
		p = scan_clamp(p);
		p += stream_json_step(s, window->byte + p, stop - p, ev);
		p = scan_forget(p, stop);
		if (p >= stop || s->state != STREAM_AT_JSON)
			break;
		c = window->byte[scan_clamp(p)];
		if (c == '\n' || c == '\r')
			break;
		SCAN_FENCE();
	}
	return p;
}

#endif
