/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Frames HTTP/1.x requests and responses (RFC 9112) as their bytes pass, in pieces of any size, and
 * keeps of them only what a limiter asks for. The driver repeats: bytes that the message lets it
 * skip are skipped unseen (…_skippable, …_skipped), of the others a step takes some and says in
 * `ev` what ended. Splits never matter: every state is reached byte by byte as well as a word at a
 * time.
 *
 * Head lines, chunk lines and trailers are the same for both directions: struct http1_frame.
 * Tolerated is what cannot shift a boundary between two honest parsers (a bare LF ends a head line,
 * empty lines before a request); all else that a server might frame differently is doubt, and doubt
 * ends the parser.
 */
#ifndef SLUICE_HTTP1_H
#define SLUICE_HTTP1_H

#include <stddef.h>

#include "forwarded.h"
#include "json_model.h"
#include "scan.h"
#include "siphash.h"
#include "stream.h"

#define HTTP1_HEAD_MAX  65536 /* bytes of a head, and of a trailer section */
#define HTTP1_PATH_MAX  96    /* bytes of the request target that are kept */
#define HTTP1_VALUE_MAX 96    /* bytes of the wanted header's value, a zero behind included */
#define HTTP1_TOKEN_MAX 32    /* bytes of a name or token that are told apart */
#define HTTP1_RUN       24    /* … of it that one step takes */
#define HTTP1_KEYS_MAX  3     /* headers that may hold a client's API key */
#define HTTP1_WANTED    (HTTP1_KEYS_MAX + 3) /* headers that a driver may ask for */
#define HTTP1_LINES     16 /* usual lines that one step takes at most: the verifier walks each */
#define HTTP1_KEY_BYTES 32 /* … and bytes of a key */
#define HTTP1_PRIORITY  (HTTP1_KEYS_MAX + 1) /* in http1_key.trying: what is hashed is no key */
#define HTTP1_UNBOUNDED (~0ULL)              /* as body length: until the connection closes */

enum http1_state {
	HTTP1_AT_START,      /* before the start line */
	HTTP1_AT_METHOD,     /* request */
	HTTP1_AT_TARGET_GAP, /* spaces before the target */
	HTTP1_AT_TARGET,
	HTTP1_AT_VERSION_GAP,
	HTTP1_AT_VERSION, /* both */
	HTTP1_AT_STATUS,  /* response */
	HTTP1_AT_BODY,    /* of a body, or of a chunk */
	HTTP1_AT_LINE,    /* at the first byte of a header or trailer line */
	HTTP1_AT_NAME,
	HTTP1_AT_TOKEN,      /* in the value of a header that matters */
	HTTP1_AT_LENGTH,     /* in the value of Content-Length */
	HTTP1_AT_VALUE,      /* request: in the value of the wanted header */
	HTTP1_AT_KEY,        /* request: in the value of a header that holds an API key */
	HTTP1_AT_FORWARDED,  /* request: in the value of the header that says whom a proxy forwards
				for */
	HTTP1_AT_REST,       /* in the rest of a line that does not matter */
	HTTP1_AT_LF,         /* behind the CR of a line */
	HTTP1_AT_HEAD_LF,    /* behind the CR of the empty line */
	HTTP1_AT_CHUNK_REST, /* in a chunk extension */
	HTTP1_AT_CHUNK_SIZE,
	HTTP1_AT_CHUNK_LF,
	HTTP1_AT_DATA_CR, /* behind a chunk's data */
	HTTP1_AT_DATA_LF,
	HTTP1_AT_END, /* behind the message: …_next() or …_begin() first */
	HTTP1_AT_FRAMING_ERROR,
	HTTP1_AT_TUNNEL,
};

enum http1_method {
	HTTP1_METHOD_OTHER,
	HTTP1_METHOD_POST,
	HTTP1_METHOD_GET,
	HTTP1_METHOD_HEAD,
	HTTP1_METHOD_CONNECT,
	HTTP1_METHOD_PUT,
	HTTP1_METHOD_PATCH,
	HTTP1_METHOD_DELETE,
};

enum http1_flag {
	HTTP1_LENGTH = 1 << 0,        /* Content-Length was there */
	HTTP1_CODING = 1 << 1,        /* Transfer-Encoding was there */
	HTTP1_CHUNKED = 1 << 2,       /* … and ended in chunked */
	HTTP1_ENCODED = 1 << 3,       /* the body is compressed or otherwise coded */
	HTTP1_TRAILER = 1 << 4,       /* the lines being read are trailers */
	HTTP1_GAP = 1 << 5,           /* white space behind the token under way */
	HTTP1_BEGUN = 1 << 6,         /* the body's first byte was seen */
	HTTP1_CHUNK_COUNTED = 1 << 7, /* of an encoded stream: this chunk was counted */
	HTTP1_PATH_CUT = 1 << 8,      /* the target is longer than `path` */
	HTTP1_VALUE = 1 << 9,         /* the wanted header was there */
	HTTP1_VALUE_BAD = 1 << 10,    /* … twice, or too long, or is no one word */
	HTTP1_DATE_UNCHECKED =
		1 << 11, /* response: set by a driver that does not want HTTP1_DATE */
};

/* Headers that matter. A new one needs a line in http1_header() and one in http1_token(). */
enum http1_header {
	HTTP1_HEADER_OTHER,
	HTTP1_HEADER_CONTENT_LENGTH,
	HTTP1_HEADER_TRANSFER_ENCODING,
	HTTP1_HEADER_CONTENT_ENCODING,
	HTTP1_HEADER_CONTENT_TYPE,
	HTTP1_HEADER_DATE,
	HTTP1_HEADER_WANTED, /* the one that the driver asks for */
};

/*
 * What requests and responses have in common. From HTTP1_HEAD_END on `left` is what of the body is
 * still to come: its Content-Length, the rest of the chunk under way, or HTTP1_UNBOUNDED.
 */
struct http1_frame {
	__u64 left;
	__u32 head_bytes; /* of this head or trailer section */
	__u16 flags;      /* enum http1_flag */
	__u16 status;     /* response: 100 … 999 */
	__u8 state;       /* enum http1_state */
	__u8 header;      /* enum http1_header: whose value is being read */
	__u8 token_len;   /* of `token`; above HTTP1_TOKEN_MAX it matches nothing */
	__u8 minor;       /* of HTTP/1.x */
	__u8 method;      /* enum http1_method; response: of the request it answers */
	__u8 path_len;    /* request: bytes of `path` */
	__u8 value_len;   /* request: bytes of `value` */
	__u8 pad;
	union {
		char token[HTTP1_TOKEN_MAX + 8]; /* name, method or element under way */
		__u64 value;                     /* a Content-Length under way */
	};
};
_Static_assert(sizeof(struct http1_frame) == 64, "frame");

enum http1_key_state {
	HTTP1_KEY_GAP,    /* before the value */
	HTTP1_KEY_SCHEME, /* in the scheme of Authorization, which has to be Bearer (RFC 6750 2.1)
			   */
	HTTP1_KEY_VALUE,
};

/* The API key of a request: only its keyed hash is ever kept. */
struct http1_key {
	struct siphash under_way;
	__u64 hash;     /* of the best key so far */
	__u64 priority; /* of the priority header's value, 0: none yet */
	__u8 rank;   /* of its header, 1 … HTTP1_KEYS_MAX, the first is the best; 0: no key yet */
	__u8 trying; /* rank of the one under way; HTTP1_PRIORITY: it is the priority header */
	__u8 state;  /* enum http1_key_state */
	__u8 matched; /* bytes of "Bearer" */
	__u8 bearer;  /* 1: the value under way has a scheme */
	__u8 pad[3];
};

/* All zero is the state before a request. */
struct http1_request {
	struct http1_frame frame;
	char path[HTTP1_PATH_MAX]; /* the request target as sent, padded with zeros */
	/* The wanted header's value, padded with zeros; meaningless with HTTP1_VALUE_BAD. */
	char value[HTTP1_VALUE_MAX];
	struct json_model json; /* its name and flags outlive the scan */
	struct http1_key key;
	struct forwarded forwarded;
};
_Static_assert(sizeof(struct http1_request) == 560, "request parser");

/* All zero is the state before the response to a request that is neither HEAD nor CONNECT. */
struct http1_response {
	struct http1_frame frame;
	struct stream stream; /* kind, and the count of generated events */
};
_Static_assert(sizeof(struct http1_response) == 88, "response parser");

static __always_inline void http1_framing_error(struct http1_frame *f, __u32 *ev)
{
	f->state = HTTP1_AT_FRAMING_ERROR;
	*ev |= HTTP1_FRAMING_ERROR;
}

/*
 * Takes bytes of a token into f->token, HTTP1_RUN at most, in lower case if fold is 0x20: until
 * white space, a control character or one of , : ; (none of which it takes). Returns how many.
 */
static __always_inline __u32 http1_run(struct http1_frame *f, const __u8 *p, __u64 left, __u8 fold)
{
	__u64 taken = 0, w = 0;

	SCAN_UNROLL
	for (__u32 k = 0; k < HTTP1_RUN; k += 8) {
		__u64 len, n, marks, word;

		if (left <= k)
			break;
		w = scan_load(p + k);
		marks = ((scan_below(w, 0x21) | scan_equal(w, ',') |
			  scan_equal(w & ~SCAN_ONES, ':')) &
			 SCAN_HIGHS) |
			scan_cut(left - k);
		/* Before the length, which must not wait on the stack between its test and its use
		 * (6.1). */
		word = scan_opaque((w | SCAN_ONES * fold) & scan_mask(marks));
		len = scan_opaque(f->token_len);
		if (len <= HTTP1_TOKEN_MAX)
			scan_store(f->token + len, word);
		n = marks ? scan_index(marks) : 8;
		taken += n;
		len += n;
		f->token_len = len > HTTP1_TOKEN_MAX ? HTTP1_TOKEN_MAX + 1 : len;
		if (marks)
			break;
	}
	return scan_forget(taken, w);
}

/* Word i of the token under way. */
static __always_inline __u64 http1_word(const struct http1_frame *f, int i)
{
	return scan_load(f->token + 8 * i);
}

static __always_inline void http1_token_begin(struct http1_frame *f)
{
	f->token_len = 0;
	f->flags &= ~HTTP1_GAP;
	SCAN_UNROLL
	for (int i = 0; i < HTTP1_TOKEN_MAX; i += 8)
		scan_store(f->token + i, 0);
}

/*
 * Whether the finished name in f->token is the wanted one: HTTP1_TOKEN_MAX bytes, zeros behind the
 * name, of which there is one at least. Both are compared as http1_run() folds names.
 */
static __always_inline int http1_wanted(const struct http1_frame *f, const char *wanted)
{
	__u64 differ;

	if (!wanted)
		return 0;
	differ = scan_fold(scan_load(wanted)) ^ http1_word(f, 0);
	if (differ || f->token_len >= HTTP1_TOKEN_MAX)
		return 0;
	SCAN_UNROLL
	for (int i = 1; i < HTTP1_TOKEN_MAX / 8; i++)
		differ |= scan_fold(scan_load(wanted + 8 * i)) ^ http1_word(f, i);
	return !differ;
}

/*
 * A header's name has one of 64 bits, which says in one test that it is none of those that matter:
 * the highest six of the sum of its words, folded, with zeros behind it, each times an odd number.
 * These are chosen so that no header that clients and servers often send has the bit of one that
 * matters; what has it is compared as before. This is the part of word i.
 */
static __always_inline __u64 http1_name_sum(__u64 word, int i)
{
	return word * (i == 0   ? 0xa1b4b4eb6ad5b539ULL
		       : i == 1 ? 0x0a46c565f490f87fULL
		       : i == 2 ? 0xef9cf37aebb20b21ULL
				: 0xa6403724cb17720dULL);
}

static __always_inline __u64 http1_name_bit(__u64 w0, __u64 w1, __u64 w2)
{
	return 1ULL << ((http1_name_sum(w0, 0) + http1_name_sum(w1, 1) + http1_name_sum(w2, 2)) >>
			58);
}

/* The bits of the headers that a driver asks for: `wanted` as http1_request_step() has it. */
static __always_inline __u64 http1_names(const char *wanted)
{
	__u64 bits = 0;

	for (int i = 0; i < HTTP1_WANTED; i++, wanted += HTTP1_TOKEN_MAX) {
		__u64 sum = 0;

		for (int k = 0; k < HTTP1_TOKEN_MAX / 8; k++)
			sum += http1_name_sum(scan_fold(scan_load(wanted + 8 * k)), k);
		if (wanted[0])
			bits |= 1ULL << (sum >> 58);
	}
	return bits;
}

/* … and of those that matter in any case. */
static __always_inline __u64 http1_own_names(const struct http1_frame *f, int response)
{
	__u64 content = scan_literal("content-"), bits;

	bits = http1_name_bit(content, scan_literal("length\0\0"), 0) |
	       http1_name_bit(content, scan_literal("encoding"), 0) |
	       http1_name_bit(scan_literal("transfer"), scan_literal("-encodin"), 'g');
	if (response)
		bits |= http1_name_bit(content, scan_literal("type\0\0\0\0"), 0);
	if (response && !(f->flags & HTTP1_DATE_UNCHECKED))
		bits |= http1_name_bit(scan_literal("date\0\0\0\0"), 0, 0);
	return bits;
}

/* Which header the finished name in f->token is. */
static __always_inline __u8 http1_header(const struct http1_frame *f, int response)
{
	__u64 w0 = http1_word(f, 0), w1 = http1_word(f, 1);

	switch (f->token_len) {
	case 4:
		if (response && w0 == scan_literal("date\0\0\0\0"))
			return HTTP1_HEADER_DATE;
		break;
	case 12:
		if (response && w0 == scan_literal("content-") &&
		    w1 == scan_literal("type\0\0\0\0"))
			return HTTP1_HEADER_CONTENT_TYPE;
		break;
	case 14:
		if (w0 == scan_literal("content-") && w1 == scan_literal("length\0\0"))
			return HTTP1_HEADER_CONTENT_LENGTH;
		break;
	case 16:
		if (w0 == scan_literal("content-") && w1 == scan_literal("encoding"))
			return HTTP1_HEADER_CONTENT_ENCODING;
		break;
	case 17:
		if (w0 == scan_literal("transfer") && w1 == scan_literal("-encodin") &&
		    f->token[16] == 'g')
			return HTTP1_HEADER_TRANSFER_ENCODING;
		break;
	}
	return HTTP1_HEADER_OTHER;
}

/* The class of a Content-Type (enum stream_kind) by its words, zeros behind it. */
static __always_inline __u8 http1_kind(__u64 w0, __u64 w1, __u64 w2, __u64 w3)
{
	if (w3)
		return STREAM_NONE;
	if (w0 == scan_literal("text/eve") && w1 == scan_literal("nt-strea") && w2 == 'm')
		return STREAM_SSE;
	if (w0 == scan_literal("applicat") &&
	    ((w1 == scan_literal("ion/x-nd") && w2 == scan_literal("json\0\0\0\0")) ||
	     (w1 == scan_literal("ion/json") && w2 == 'l')))
		return STREAM_NDJSON;
	return STREAM_NONE;
}

/*
 * An element of the list that is a header's value has ended; kind takes the class of a
 * Content-Type.
 */
static __always_inline void http1_token(struct http1_frame *f, __u8 *kind, __u32 *ev)
{
	__u64 w0 = http1_word(f, 0), w1 = http1_word(f, 1), w2 = http1_word(f, 2);
	__u8 len = f->token_len;

	if (!len) {
		if (f->header == HTTP1_HEADER_TRANSFER_ENCODING)
			http1_framing_error(
				f, ev); /* others take ", chunked" for no coding they know */
		return;
	}
	switch (f->header) {
	case HTTP1_HEADER_TRANSFER_ENCODING:
		if (f->flags & HTTP1_CHUNKED)
			http1_framing_error(f, ev); /* chunked must be the last, and once */
		else if (len == 7 && w0 == scan_literal("chunked\0"))
			f->flags |= HTTP1_CHUNKED;
		else
			f->flags |= HTTP1_ENCODED;
		break;
	case HTTP1_HEADER_CONTENT_ENCODING:
		if (len != 8 || w0 != scan_literal("identity"))
			f->flags |= HTTP1_ENCODED;
		break;
	case HTTP1_HEADER_CONTENT_TYPE:
		*kind = len <= HTTP1_TOKEN_MAX ? http1_kind(w0, w1, w2, http1_word(f, 3))
					       : STREAM_NONE;
		break;
	}
}

/*
 * Whether the finished name is one of the headers that may hold an API key, and none that comes
 * before it in their order has been seen. Then its value is hashed as it comes.
 */
static __always_inline int http1_key_begin(struct http1_frame *f, const char *names)
{
	struct http1_key *key = &((struct http1_request *)f)->key;
	__u8 rank = 0;

	SCAN_UNROLL
	for (int i = HTTP1_KEYS_MAX - 1; i >= 0; i--)
		if (http1_wanted(f, names + i * HTTP1_TOKEN_MAX))
			rank = i + 1;
	if (!rank && !key->priority &&
	    http1_wanted(f, names + (1 + HTTP1_KEYS_MAX) * HTTP1_TOKEN_MAX))
		rank = HTTP1_PRIORITY;
	if (!rank || (rank != HTTP1_PRIORITY && key->rank && key->rank <= rank))
		return 0;
	key->trying = rank;
	key->state = HTTP1_KEY_GAP;
	key->matched = 0;
	key->bearer = f->token_len == 13 && http1_word(f, 0) == scan_literal("authoriz");
	f->state = HTTP1_AT_KEY;
	return 1;
}

/* Whether the finished name is the header that says whom a proxy forwards for: then its value is
 * read. */
static __always_inline int http1_forwarded_begin(struct http1_frame *f, const char *name)
{
	if (!http1_wanted(f, name))
		return 0;
	forwarded_begin(&((struct http1_request *)f)->forwarded,
			f->token_len == 9 && http1_word(f, 0) == scan_literal("forwarde"));
	f->state = HTTP1_AT_FORWARDED;
	return 1;
}

/* The colon behind a header's name: where its value goes. `wanted` as http1_request_step() has it.
 */
static __always_inline void http1_name_end(struct http1_frame *f, int response, const char *wanted,
					   __u32 *ev)
{
	if (!f->token_len) {
		http1_framing_error(f, ev);
		return;
	}
	f->header = f->flags & HTTP1_TRAILER ? HTTP1_HEADER_OTHER : http1_header(f, response);
	if (!response && wanted && f->header == HTTP1_HEADER_OTHER && !(f->flags & HTTP1_TRAILER) &&
	    (http1_key_begin(f, wanted + HTTP1_TOKEN_MAX) ||
	     http1_forwarded_begin(f, wanted + (1 + HTTP1_KEYS_MAX) * HTTP1_TOKEN_MAX)))
		return;
	if (f->header == HTTP1_HEADER_DATE) {
		f->state = HTTP1_AT_REST;
		if (!(f->flags & HTTP1_DATE_UNCHECKED))
			*ev |= HTTP1_DATE;
		return;
	}
	if (f->header == HTTP1_HEADER_OTHER) {
		f->state = HTTP1_AT_REST;
		if (f->flags & HTTP1_TRAILER || !http1_wanted(f, wanted))
			return;
		if (f->flags & HTTP1_VALUE) {
			f->flags |= HTTP1_VALUE_BAD;
			return;
		}
		f->flags |= HTTP1_VALUE;
		f->header = HTTP1_HEADER_WANTED;
		f->state = HTTP1_AT_VALUE;
		return;
	}
	http1_token_begin(f);
	f->state = HTTP1_AT_TOKEN;
	if (f->header == HTTP1_HEADER_CONTENT_LENGTH)
		f->state = HTTP1_AT_LENGTH;
	else if (f->header == HTTP1_HEADER_TRANSFER_ENCODING)
		f->flags |= HTTP1_CODING;
}

/* A Content-Length has ended: a number, and the same as any before it (RFC 9112 6.3). */
static __always_inline void http1_length_end(struct http1_frame *f, __u32 *ev)
{
	__u64 value = f->value;

	if (!f->token_len || ((f->flags & HTTP1_LENGTH) && f->left != value)) {
		http1_framing_error(f, ev);
		return;
	}
	f->left = value;
	f->flags |= HTTP1_LENGTH;
}

/* The end of a head line: c is its CR or LF. A parser in doubt stays in doubt. */
static __always_inline void http1_line_end(struct http1_frame *f, __u8 c)
{
	if (f->state != HTTP1_AT_FRAMING_ERROR)
		f->state = c == '\r' ? HTTP1_AT_LF : HTTP1_AT_LINE;
}

/* One byte of the lines around chunks. */
static __always_inline void http1_chunk_byte(struct http1_frame *f, __u8 c, __u32 *ev)
{
	__u8 d;

	switch (f->state) {
	case HTTP1_AT_CHUNK_SIZE:
		d = scan_hex(c);
		if (d < 16 && !(f->left >> 59)) {
			f->left = f->left << 4 | d;
			f->token_len = 1;
			return;
		}
		if (!f->token_len)
			break;
		if (c == '\r') {
			f->state = HTTP1_AT_CHUNK_LF;
			return;
		}
		if (c == ';' || c == ' ' || c == '\t') {
			f->state = HTTP1_AT_CHUNK_REST;
			return;
		}
		break;
	case HTTP1_AT_CHUNK_LF:
		if (c != '\n')
			break;
		f->state = HTTP1_AT_BODY;
		f->flags &= ~HTTP1_CHUNK_COUNTED;
		if (!f->left) {
			f->state = HTTP1_AT_LINE;
			f->flags |= HTTP1_TRAILER;
			f->head_bytes = 0;
		}
		return;
	case HTTP1_AT_DATA_CR:
		if (c != '\r')
			break;
		f->state = HTTP1_AT_DATA_LF;
		return;
	case HTTP1_AT_DATA_LF:
		if (c != '\n')
			break;
		f->state = HTTP1_AT_CHUNK_SIZE;
		f->token_len = 0;
		return;
	}
	http1_framing_error(f, ev); /* or stepped although the message had ended */
}

/* One byte of the value of a header that matters, or a run of a token in it. */
static __always_inline __u32 http1_value_step(struct http1_frame *f, const __u8 *p, __u64 left,
					      __u8 *kind, __u32 *ev)
{
	__u8 c = p[0], d;
	__u32 n;

	if (f->state == HTTP1_AT_LENGTH) {
		d = c - '0';
		if (d <= 9 && !(f->flags & HTTP1_GAP) && !(f->value >> 59)) {
			f->value = f->value * 10 + d;
			f->token_len = 1;
		} else if (c == ' ' || c == '\t') {
			if (f->token_len)
				f->flags |= HTTP1_GAP;
		} else if (c == '\r' || c == '\n') {
			http1_length_end(f, ev);
			http1_line_end(f, c);
		} else {
			http1_framing_error(f, ev);
		}
		return 1;
	}
	n = f->flags & HTTP1_GAP ? 0 : http1_run(f, p, left, 0x20);
	if (n)
		return n;
	if (c == ' ' || (c == '\t' && f->header != HTTP1_HEADER_TRANSFER_ENCODING)) {
		if (f->token_len)
			f->flags |= HTTP1_GAP;
		return 1;
	}
	if (c == ',' || c == '\r' || c == '\n' ||
	    (c == ';' && f->header == HTTP1_HEADER_CONTENT_TYPE)) {
		http1_token(f, kind, ev);
		http1_token_begin(f);
		if (c == ';')
			f->state = HTTP1_AT_REST;
		else if (c != ',')
			http1_line_end(f, c);
		return 1;
	}
	if (!c || c == '\t') /* a tab in a coding: white space by the RFC, part of it to others */
		http1_framing_error(f, ev);
	f->token_len = HTTP1_TOKEN_MAX + 1; /* parameters, two words: no token that we know */
	f->flags &= ~HTTP1_GAP;
	return 1;
}

/*
 * The usual Content-Length: a space, one to seven digits, the end of the line. Returns how many
 * bytes it took of `left`, up to the line's end, with its *value; 0 if it is anything else.
 */
static __always_inline __u64 http1_usual_length(const __u8 *p, __u64 left, __u64 *value)
{
	__u64 w = scan_load(p + 1) ^ SCAN_ONES * '0', digits;

	/* what is above 9 gets its high bit by adding 0x76 or has it already */
	digits = ((w & ~SCAN_HIGHS) + SCAN_ONES * 0x76) | w;
	digits = scan_index((digits & SCAN_HIGHS) | 1ULL << 63);
	if (left < 10 || p[0] != ' ' || !digits || (w >> 8 * digits & 0xff) != ('\r' ^ '0'))
		return 0;
	/* pairs, fours and eights of digits, the first in the lowest byte */
	w <<= 64 - 8 * digits;
	w = (w * 10 + (w >> 8)) & 0x00ff00ff00ff00ffULL;
	w = (w * 100 + (w >> 16)) & 0x0000ffff0000ffffULL;
	*value = (__u32)(w * 10000 + (w >> 32));
	return 1 + digits;
}

/*
 * The usual value that matters: a space and one short token. Returns how many bytes it took of
 * `left`; f->state says whether more of the value is to be read.
 */
static __always_inline __u64 http1_token_line(struct http1_frame *f, const __u8 *p, __u64 left,
					      __u8 *kind, __u32 *ev)
{
	__u64 n;
	__u8 c;

	if (left < SCAN_PAD - 8 || p[0] != ' ')
		return 0;
	n = 1 + http1_run(f, p + 1, left - 1, 0x20);
	n = n > 1 + HTTP1_RUN ? 1 + HTTP1_RUN : n;
	c = p[n];
	if (n > 1 && (c == '\r' || (c == ';' && f->header == HTTP1_HEADER_CONTENT_TYPE))) {
		http1_token(f, kind, ev);
		if (f->state != HTTP1_AT_FRAMING_ERROR)
			f->state = HTTP1_AT_REST;
	}
	return n;
}

/*
 * The words of the token at p, as http1_run() takes it, zeros behind them. Returns its length, and
 * in *end the byte behind it; 32 and 0 if it is no shorter.
 */
static __always_inline __u64 http1_words(const __u8 *p, __u64 w[4], __u8 *end)
{
	__u64 word = 0, marks = 0, n = 32;

	*end = 0;
	w[0] = w[1] = w[2] = w[3] = 0;
	SCAN_UNROLL
	for (int k = 0; k < 4; k++) {
		word = scan_load(p + 8 * k);
		marks = (scan_below(word, 0x21) | scan_equal(word, ',') |
			 scan_equal(word & ~SCAN_ONES, ':')) &
			SCAN_HIGHS;
		w[k] = (word | SCAN_ONES * 0x20) & scan_mask(marks);
		if (marks) {
			n = scan_index(marks);
			*end = word >> 8 * n;
			n += 8 * k;
			break;
		}
	}
	return scan_forget(n, word);
}

/*
 * Lines of a head with nothing unusual about them, which the state machine need not see byte by
 * byte: those that do not matter, by the bits of their names (`names`, and our own); a
 * Content-Length; a response's Content-Type; and the empty line, behind which *head_end is set.
 * Returns where it came to: at `stop`, at a line that http1_line_step() has to read from its
 * beginning, or in the rest of one.
 */
static __always_inline __u64 http1_usual_lines(struct http1_frame *f, const __u8 *buf, __u64 p,
					       __u64 stop, int response, __u64 names, __u8 *kind,
					       int *head_end)
{
	__u64 at, n, value, w[4];
	__u8 end;

	names |= http1_own_names(f, response);
	SCAN_STEPS
	for (int i = 0; i < HTTP1_LINES; i++) {
		p = scan_clamp(p);
		n = http1_words(buf + p, w, &end);
		if (p + n >= stop)
			break;
		if (!n && end == '\r' && p + 1 < stop && buf[p + 1] == '\n') {
			*head_end = 1;
			p += 2;
			break;
		}
		if (!n || end != ':')
			break;
		at = scan_clamp(p + n + 1);
		if (names >> ((http1_name_sum(w[0], 0) + http1_name_sum(w[1], 1) +
			       http1_name_sum(w[2], 2) + http1_name_sum(w[3], 3)) >>
			      58) &
		    1) {
			if (w[0] != scan_literal("content-"))
				break;
			if (w[1] == scan_literal("length\0\0")) {
				n = http1_usual_length(buf + at, stop - at, &value);
				if (!n || f->flags & HTTP1_LENGTH)
					break;
				f->left = value;
				f->flags |= HTTP1_LENGTH;
			} else if (response && w[1] == scan_literal("type\0\0\0\0")) {
				n = http1_words(buf + at + 1, w, &end);
				if (buf[at] != ' ' || at + n + 1 >= stop || !n ||
				    (end != '\r' && end != ';'))
					break;
				*kind = http1_kind(w[0], w[1], w[2], w[3]);
			} else {
				break;
			}
		}
		p = scan_clamp(at + scan_control(buf + at));
		if (p + 1 >= stop || buf[p] != '\r' || buf[p + 1] != '\n') {
			f->state = HTTP1_AT_REST;
			break;
		}
		p = scan_forget(p + 2, stop);
		SCAN_FENCE();
	}
	return p > stop ? stop : p;
}

/*
 * The verifier need not know which step it was that took n bytes and raised ev: without this it
 * would explore the driver once for every pair of them.
 */
static __always_inline void http1_forget(__u32 *n, __u32 *ev, __u64 unknown)
{
	*n = scan_forget(*n, unknown);
	*ev = scan_forget(*ev, unknown);
}

/* One step within the lines around chunks, but for their extensions. Returns how many bytes it
 * took. */
static __always_inline __u32 http1_chunk_step(struct http1_frame *f, const __u8 *buf, __u64 pos,
					      __u64 stop, __u32 *ev)
{
	__u64 p = pos;
	__u32 n;

	SCAN_UNROLL
	for (int k = 0; k < 8; k++) {
		http1_chunk_byte(f, buf[pos + k], ev);
		if (++p >= stop || f->state < HTTP1_AT_CHUNK_SIZE || f->state > HTTP1_AT_DATA_LF)
			break;
	}
	n = p - pos;
	http1_forget(&n, ev, scan_load(buf + pos));
	return n;
}

/*
 * One step within head lines, chunk extensions or trailers: a whole line, if it is not long and has
 * nothing unusual, and the empty line behind it. Sets *head_end at the end of the empty line.
 * Returns how many bytes it took.
 */
static __always_inline __u32 http1_line_step(struct http1_frame *f, const __u8 *buf, __u64 pos,
					     __u64 stop, int response, const char *wanted,
					     __u8 *kind, int *head_end, __u32 *ev)
{
	__u64 p = pos, n;
	__u8 c;

	if (f->state == HTTP1_AT_TOKEN || f->state == HTTP1_AT_LENGTH)
		return http1_value_step(f, buf + p, stop - p, kind, ev);
	c = buf[p];
	if (f->state == HTTP1_AT_LF || f->state == HTTP1_AT_HEAD_LF) {
		if (c != '\n')
			http1_framing_error(f, ev);
		else if (f->state == HTTP1_AT_HEAD_LF)
			*head_end = 1;
		else
			f->state = HTTP1_AT_LINE;
		return 1;
	}
	if (f->state == HTTP1_AT_LINE) {
		if (c == '\r') {
			if (p + 1 < stop && buf[p + 1] == '\n') {
				*head_end = 1;
				return 2;
			}
			f->state = HTTP1_AT_HEAD_LF;
			return 1;
		}
		if (c == '\n') {
			*head_end = 1;
			return 1;
		}
		http1_token_begin(f);
		f->state = HTTP1_AT_NAME;
	}
	if (f->state == HTTP1_AT_NAME) {
		n = http1_run(f, buf + p, stop - p, 0x20);
		p = scan_clamp(p + n);
		if (p >= stop)
			return p - pos;
		c = buf[p];
		if (c != ':') {
			if (!n) /* a space before the colon, a folded line, no header */
				http1_framing_error(f, ev);
			return n ? n : 1;
		}
		http1_name_end(f, response, wanted, ev);
		p++;
		if (p >= stop || *ev)
			return p - pos; /* whoever was told wants to know where */
		if (f->state == HTTP1_AT_TOKEN)
			p += http1_token_line(f, buf + p, stop - p, kind, ev);
		if (f->state != HTTP1_AT_REST)
			return p - pos;
	}
	/* in the rest of a line, or in a chunk extension */
	p = scan_clamp(p);
	n = scan_control(buf + p);
	p += n;
	if (p >= stop)
		return stop - pos;
	if (n >= SCAN_PAD)
		return p - pos;
	p = scan_clamp(p);
	c = buf[p++];
	if (c == '\r') {
		if (f->state == HTTP1_AT_CHUNK_REST) {
			f->state = HTTP1_AT_CHUNK_LF;
			return p - pos;
		}
		f->state = HTTP1_AT_LF;
		if (p < stop && buf[p] == '\n') {
			f->state = HTTP1_AT_LINE;
			p++;
			if (p + 1 < stop && buf[p] == '\r' && buf[p + 1] == '\n') {
				*head_end = 1;
				p += 2;
			}
		}
	} else if (!c || (c == '\n' && f->state == HTTP1_AT_CHUNK_REST)) {
		http1_framing_error(f, ev);
	} else if (c == '\n') {
		f->state = HTTP1_AT_LINE;
	}
	return p - pos;
}

/* Counts the bytes of heads and trailers. */
static __always_inline void http1_head_bytes(struct http1_frame *f, __u32 n, __u32 *ev)
{
	f->head_bytes += n;
	if (f->head_bytes > HTTP1_HEAD_MAX)
		http1_framing_error(f, ev);
}

/* n bytes of the body were consumed. Returns 1 if it has ended with them. */
static __always_inline int http1_body_taken(struct http1_frame *f, __u64 n)
{
	if (f->left == HTTP1_UNBOUNDED)
		return 0;
	f->left = n < f->left ? f->left - n : 0;
	if (f->left)
		return 0;
	if (!(f->flags & HTTP1_CHUNKED))
		return 1;
	f->state = HTTP1_AT_DATA_CR;
	return 0;
}

/* A finished version token, "HTTP/1.x", goes to f->minor. */
static __always_inline void http1_version_end(struct http1_frame *f, __u32 *ev)
{
	__u8 digit = f->token[7] - '0';

	f->minor = digit;
	if (f->token_len != 8 ||
	    (http1_word(f, 0) & 0xffffffffffffffULL) != scan_literal("HTTP/1.\0") || digit > 9)
		http1_framing_error(f, ev);
}

/* ---- requests ---- */

/* Makes ready for the next request of the connection (after HTTP1_END), or for the first. */
static __always_inline void http1_request_next(struct http1_request *r)
{
	__builtin_memset(r, 0, sizeof(*r));
}

/*
 * How many bytes from here on need not be looked at, 0 if the next one must. After
 * HTTP1_FRAMING_ERROR that is all of them.
 */
static __always_inline __u64 http1_request_skippable(const struct http1_request *r)
{
	if (r->frame.state == HTTP1_AT_BODY && r->json.state == JSON_MODEL_DONE)
		return r->frame.left;
	return r->frame.state == HTTP1_AT_FRAMING_ERROR ? HTTP1_UNBOUNDED : 0;
}

/*
 * n bytes have passed unseen: at most what was skippable; or bytes of a body that were lost, at
 * most frame.left of them, and then its scan for the model is over.
 */
static __always_inline void http1_request_skipped(struct http1_request *r, __u64 n, __u32 *ev)
{
	if (r->frame.state != HTTP1_AT_BODY || !n)
		return;
	json_model_gap(&r->json);
	if (http1_body_taken(&r->frame, n)) {
		r->frame.state = HTTP1_AT_END;
		*ev |= HTTP1_END;
	}
}

static __always_inline void http1_method_end(struct http1_frame *f)
{
	__u64 w = http1_word(f, 0);

	f->method = HTTP1_METHOD_OTHER;
	if (f->token_len > 7)
		return;
	if (w == scan_literal("POST\0\0\0\0"))
		f->method = HTTP1_METHOD_POST;
	else if (w == scan_literal("GET\0\0\0\0\0"))
		f->method = HTTP1_METHOD_GET;
	else if (w == scan_literal("HEAD\0\0\0\0"))
		f->method = HTTP1_METHOD_HEAD;
	else if (w == scan_literal("CONNECT\0"))
		f->method = HTTP1_METHOD_CONNECT;
	else if (w == scan_literal("PUT\0\0\0\0\0"))
		f->method = HTTP1_METHOD_PUT;
	else if (w == scan_literal("PATCH\0\0\0"))
		f->method = HTTP1_METHOD_PATCH;
	else if (w == scan_literal("DELETE\0\0"))
		f->method = HTTP1_METHOD_DELETE;
}

/* The request's head, or its trailer section, has ended: what follows (RFC 9112 6.3). */
static __always_inline void http1_request_head_end(struct http1_request *r, __u32 *ev)
{
	struct http1_frame *f = &r->frame;

	if (f->flags & HTTP1_TRAILER) {
		f->state = HTTP1_AT_END;
		*ev |= HTTP1_END;
		return;
	}
	if (f->flags & HTTP1_CODING) {
		if (!(f->flags & HTTP1_CHUNKED) || (f->flags & HTTP1_LENGTH) || !f->minor ||
		    f->method == HTTP1_METHOD_CONNECT) {
			http1_framing_error(f, ev);
			return;
		}
		f->state = HTTP1_AT_CHUNK_SIZE;
		f->left = 0;
		f->token_len = 0;
	} else if (f->left) {
		if (f->method == HTTP1_METHOD_CONNECT) {
			http1_framing_error(f, ev);
			return;
		}
		f->state = HTTP1_AT_BODY;
	} else {
		f->state = HTTP1_AT_END;
		*ev |= HTTP1_END;
	}
	if (f->flags & HTTP1_ENCODED)
		json_model_gap(&r->json);
	*ev |= HTTP1_HEAD_END;
}

/* Up to eight bytes of the request target. */
static __always_inline __u32 http1_target(struct http1_request *r, const __u8 *p, __u64 left)
{
	__u64 w = scan_load(p), len = scan_opaque(r->frame.path_len);
	__u64 marks = (scan_below(w, 0x21) & SCAN_HIGHS) | scan_cut(left);
	__u64 n = marks ? scan_index(marks) : 8;

	if (len <= HTTP1_PATH_MAX - 8) {
		scan_store(r->path + len, w & scan_mask(marks));
		r->frame.path_len = len + n;
	} else if (n) {
		n = 1;
		if (len < HTTP1_PATH_MAX) {
			r->path[len] = p[0];
			r->frame.path_len = len + 1;
		} else {
			r->frame.flags |= HTTP1_PATH_CUT;
		}
	}
	return n;
}

/* The wanted header's value cannot be told: what is left of it is skipped as any other's. */
static __always_inline void http1_value_bad(struct http1_frame *f)
{
	f->flags |= HTTP1_VALUE_BAD;
	f->state = HTTP1_AT_REST;
}

/* Up to eight bytes of the wanted header's value, or one around it. */
static __always_inline __u32 http1_wanted_step(struct http1_request *r, const __u8 *p, __u64 left,
					       __u32 *ev)
{
	__u64 w = scan_load(p), len = scan_opaque(r->frame.value_len);
	__u64 marks = (scan_below(w, 0x21) & SCAN_HIGHS) | scan_cut(left);
	__u64 n = marks ? scan_index(marks) : 8;
	struct http1_frame *f = &r->frame;
	__u8 c = p[0];

	if (!n) {
		if (c == '\r' || c == '\n')
			http1_line_end(f, c);
		else if (!c)
			http1_framing_error(f, ev);
		else if (c != ' ' && c != '\t')
			http1_value_bad(f);
		else if (len)
			f->flags |= HTTP1_GAP;
		return 1;
	}
	if (f->flags & HTTP1_GAP || len >= HTTP1_VALUE_MAX - 1) {
		http1_value_bad(f);
		return 1;
	}
	if (len > HTTP1_VALUE_MAX - 9) {
		r->value[len] = c;
		f->value_len = len + 1;
		return 1;
	}
	scan_store(r->value + len, w & scan_mask(marks));
	f->value_len = len + n;
	return n;
}

/* One byte of a header's value that holds an API key. */
static __always_inline void http1_key_step(struct http1_request *r, __u8 c,
					   const struct siphash_secret *secret, __u32 *ev)
{
	struct http1_key *key = &r->key;
	struct http1_frame *f = &r->frame;

	if (!c || !secret) {
		http1_framing_error(f, ev);
		return;
	}
	if (c > ' ') {
		if (key->state == HTTP1_KEY_GAP) {
			key->state = key->bearer && key->matched < 6 ? HTTP1_KEY_SCHEME
								     : HTTP1_KEY_VALUE;
			siphash_begin(&key->under_way, secret);
		}
		if (key->state == HTTP1_KEY_VALUE) {
			siphash_byte(&key->under_way, secret, c);
		} else {
			/* the scheme's letters, at places 0 … 5 of a word */
			__u8 want = scan_literal("bearer\0\0") >> (8 * (key->matched & 7));

			if (key->matched >= 6 || (c | 0x20) != want)
				f->state = HTTP1_AT_REST; /* some other scheme: no key */
			key->matched++;
		}
		return;
	}
	if (key->state == HTTP1_KEY_SCHEME) {
		key->state = HTTP1_KEY_GAP;
		if (key->matched != 6)
			f->state = HTTP1_AT_REST;
	} else if (key->state == HTTP1_KEY_VALUE) {
		if (key->trying == HTTP1_PRIORITY) {
			key->priority = siphash_end(&key->under_way, secret);
		} else {
			key->hash = siphash_end(&key->under_way, secret);
			key->rank = key->trying;
		}
		f->state = HTTP1_AT_REST;
	}
	if (c == '\r' || c == '\n')
		http1_line_end(f, c);
}

/*
 * Some of the value of a header that holds an API key, as it usually is: " Bearer " where that is
 * wanted, or bytes of the key itself. Returns how many.
 */
static __always_inline __u64 http1_key_run(struct http1_request *r, const __u8 *buf, __u64 pos,
					   __u64 stop, const struct siphash_secret *secret)
{
	struct http1_key *key = &r->key;
	__u64 p = pos, w = scan_load(buf + p);

	if (key->state == HTTP1_KEY_GAP && key->bearer && !key->matched && stop - p >= 8 &&
	    buf[p] == ' ' && buf[p + 7] == ' ' &&
	    (w | SCAN_ONES * 0x20) == scan_literal(" bearer ")) {
		key->matched = 6;
		return 8;
	}
	if (key->state != HTTP1_KEY_VALUE || !secret)
		return 0;
	SCAN_STEPS
	for (int i = 0; i < HTTP1_KEY_BYTES; i++) {
		p = scan_clamp(p);
		if (p >= stop || buf[p] <= ' ')
			break;
		siphash_byte(&key->under_way, secret, buf[p]);
		p = scan_forget(p + 1, w);
		SCAN_FENCE();
	}
	return scan_forget(p - pos, w);
}

/* One byte of the value of the header that says whom a proxy forwards for. */
static __always_inline void http1_forwarded_step(struct http1_request *r, __u8 c, __u32 *ev)
{
	if (!c) {
		http1_framing_error(&r->frame, ev);
	} else if (c == '\r' || c == '\n') {
		forwarded_element_end(&r->forwarded);
		http1_line_end(&r->frame, c);
	} else {
		forwarded_byte(&r->forwarded, c);
	}
}

/*
 * The usual request line, with a target of up to 40 bytes, where the window has it whole. Returns
 * how many bytes it took; 0 if it is anything else, of which nothing is known then but bytes of its
 * target.
 */
static __always_inline __u64 http1_request_line(struct http1_request *r, const __u8 *buf, __u64 pos,
						__u64 left)
{
	struct http1_frame *f = &r->frame;
	__u64 p = pos, w = scan_load(buf + p), marks = 0, n = 0;
	__u8 method;

	if (left < SCAN_PAD)
		return 0;
	if ((w & 0xffffffffffULL) == scan_literal("POST \0\0\0")) {
		method = HTTP1_METHOD_POST;
		p += 5;
	} else if ((w & 0xffffffffULL) == scan_literal("GET \0\0\0\0")) {
		method = HTTP1_METHOD_GET;
		p += 4;
	} else {
		return 0;
	}
	p = scan_clamp(p);
	SCAN_UNROLL
	for (int k = 0; k < 40; k += 8) {
		w = scan_load(buf + p + k);
		marks = scan_below(w, 0x21) & SCAN_HIGHS;
		scan_store(r->path + k, w & scan_mask(marks));
		if (marks) {
			n = k + scan_index(marks);
			break;
		}
	}
	n = scan_forget(n, w);
	p = scan_clamp(p + n);
	if (!marks || !n || buf[p] != ' ' || scan_load(buf + p + 1) != scan_literal("HTTP/1.1") ||
	    buf[p + 9] != '\r' || buf[p + 10] != '\n')
		return 0;
	f->method = method;
	f->path_len = n;
	f->minor = 1;
	f->state = HTTP1_AT_LINE;
	return p + 11 - pos;
}

/* One step within the request line. */
static __always_inline __u32 http1_request_line_step(struct http1_request *r, const __u8 *p,
						     __u64 left, __u32 *ev)
{
	struct http1_frame *f = &r->frame;
	__u8 c = p[0];
	__u32 n;

	switch (f->state) {
	case HTTP1_AT_START:
		if (c == '\r' || c == '\n')
			return 1;
		f->state = HTTP1_AT_METHOD;
		/* fall through */
	case HTTP1_AT_METHOD:
		n = http1_run(f, p, left, 0);
		if (n)
			return n;
		if (c != ' ' || !f->token_len)
			break;
		http1_method_end(f);
		f->state = HTTP1_AT_TARGET_GAP;
		return 1;
	case HTTP1_AT_TARGET_GAP:
		if (c == ' ')
			return 1;
		f->state = HTTP1_AT_TARGET;
		/* fall through */
	case HTTP1_AT_TARGET:
		n = http1_target(r, p, left);
		if (n)
			return n;
		if (c != ' ')
			break;
		f->state = HTTP1_AT_VERSION_GAP;
		return 1;
	case HTTP1_AT_VERSION_GAP:
		if (c == ' ')
			return 1;
		http1_token_begin(f);
		f->state = HTTP1_AT_VERSION;
		/* fall through */
	case HTTP1_AT_VERSION:
		n = http1_run(f, p, left, 0);
		if (n)
			return n;
		if (c != '\r' && c != '\n')
			break;
		http1_version_end(f, ev);
		http1_line_end(f, c);
		return 1;
	}
	http1_framing_error(f, ev);
	return 1;
}

/* One step within the head, or within what frames the chunks of a body. */
static __always_inline __u32 http1_request_head_step(struct http1_request *r, const __u8 *buf,
						     __u32 pos, __u32 end, const char *wanted,
						     __u64 names,
						     const struct siphash_secret *secret, __u32 *ev)
{
	struct http1_frame *f = &r->frame;
	__u64 p = scan_clamp(pos), left;
	int head_end = 0;
	__u32 n, line = 0;
	__u8 kind;

	left = end - p;
	if (f->state >= HTTP1_AT_CHUNK_SIZE)
		return http1_chunk_step(f, buf, p, end, ev);
	if (f->state == HTTP1_AT_START) {
		line = http1_request_line(r, buf, p, left);
		p = scan_clamp(p + line);
		if (p >= end) {
			http1_head_bytes(f, line, ev);
			return line;
		}
	}
	line = scan_forget(line, left);
	if (f->state < HTTP1_AT_BODY) {
		n = http1_request_line_step(r, buf + p, left, ev);
		http1_head_bytes(f, n, ev);
		return n;
	}
	if (f->state == HTTP1_AT_LINE && !(f->flags & HTTP1_TRAILER)) {
		n = line + http1_usual_lines(f, buf, p, end, 0, names, &kind, &head_end) - p;
		if (n)
			goto taken;
	}
	if (f->state == HTTP1_AT_VALUE) {
		n = http1_wanted_step(r, buf + p, left, ev);
		http1_forget(&n, ev, left);
		http1_head_bytes(f, n, ev);
		return n;
	}
	if (f->state == HTTP1_AT_KEY) {
		p = scan_clamp(p + http1_key_run(r, buf, p, end, secret));
		n = p - pos;
		if (p < end) {
			http1_key_step(r, buf[p], secret, ev);
			n++;
		}
		http1_forget(&n, ev, left);
		http1_head_bytes(f, n, ev);
		return n;
	}
	if (f->state == HTTP1_AT_FORWARDED) {
		http1_forwarded_step(r, buf[p], ev);
		http1_head_bytes(f, 1, ev);
		return 1;
	}
	n = line + http1_line_step(f, buf, p, end, 0, wanted, &kind, &head_end, ev);
taken:
	http1_forget(&n, ev, left);
	if (f->state < HTTP1_AT_CHUNK_REST)
		http1_head_bytes(f, n, ev);
	if (head_end && f->state != HTTP1_AT_FRAMING_ERROR)
		http1_request_head_end(r, ev);
	return n;
}

/* One step within the body, or a chunk of it. */
static __always_inline __u32 http1_request_body_step(struct http1_request *r, const __u8 *buf,
						     __u32 pos, __u32 end, __u32 *ev)
{
	struct http1_frame *f = &r->frame;
	__u64 left = end - pos;
	__u32 n;

	if (left > f->left)
		left = f->left;
	n = json_model_step(&r->json, buf, pos, pos + left, ev);
	http1_forget(&n, ev, left);
	if (http1_body_taken(f, n)) {
		f->state = HTTP1_AT_END;
		*ev |= HTTP1_END;
	}
	return n;
}

/*
 * One step from buf[pos] on, pos < end <= SCAN_BUF, where nothing is skippable. Returns how many
 * bytes were consumed, 1 … end - pos, never beyond the request's end; raises HTTP1_HEAD_END,
 * HTTP1_MODEL, HTTP1_END (then call http1_request_next) and HTTP1_FRAMING_ERROR. `wanted` is the
 * name of the header whose value is kept, behind it those of HTTP1_KEYS_MAX headers that may hold
 * an API key, of the one that says whom a proxy forwards for, and of the one that names a request's
 * class, HTTP1_TOKEN_MAX bytes each with zeros behind it; all zero: none. `names` is http1_names()
 * of them; `secret` keys the keys' hash. A driver may also choose between the two halves itself.
 */
static __always_inline __u32 http1_request_step(struct http1_request *r, const __u8 *buf, __u32 pos,
						__u32 end, const char *wanted, __u64 names,
						const struct siphash_secret *secret, __u32 *ev)
{
	return r->frame.state == HTTP1_AT_BODY
		       ? http1_request_body_step(r, buf, pos, end, ev)
		       : http1_request_head_step(r, buf, pos, end, wanted, names, secret, ev);
}

/* ---- responses ---- */

/* Makes ready for the response to a request of this method. */
static __always_inline void http1_response_begin(struct http1_response *r, __u8 method)
{
	__builtin_memset(r, 0, sizeof(*r));
	r->frame.method = method;
}

/* As http1_request_skippable. */
static __always_inline __u64 http1_response_skippable(const struct http1_response *r)
{
	const struct http1_frame *f = &r->frame;

	if (f->state == HTTP1_AT_BODY && (f->flags & HTTP1_BEGUN) &&
	    (r->stream.kind == STREAM_NONE ||
	     (r->stream.kind == STREAM_ENCODED && (f->flags & HTTP1_CHUNK_COUNTED))))
		return f->left;
	return f->state >= HTTP1_AT_FRAMING_ERROR ? HTTP1_UNBOUNDED : 0;
}

static __always_inline void http1_response_end(struct http1_response *r, __u32 *ev)
{
	r->frame.state = HTTP1_AT_END;
	stream_end(&r->stream, ev);
	*ev |= HTTP1_END;
}

/* As http1_request_skipped. Bytes of a stream that were lost may leave an event uncounted. */
static __always_inline void http1_response_skipped(struct http1_response *r, __u64 n, __u32 *ev)
{
	if (r->frame.state == HTTP1_AT_BODY && http1_body_taken(&r->frame, n))
		http1_response_end(r, ev);
}

/*
 * The server has closed its side: HTTP1_END if that ends the response, HTTP1_FRAMING_ERROR if it
 * breaks it off.
 */
static __always_inline void http1_response_closed(struct http1_response *r, __u32 *ev)
{
	if (r->frame.state == HTTP1_AT_BODY && r->frame.left == HTTP1_UNBOUNDED)
		http1_response_end(r, ev);
	else if (r->frame.state != HTTP1_AT_END && r->frame.state < HTTP1_AT_FRAMING_ERROR)
		http1_framing_error(&r->frame, ev);
}

/* The response's head, or its trailer section, has ended: what follows (RFC 9112 6.3). */
static __always_inline void http1_response_head_end(struct http1_response *r, __u32 *ev)
{
	struct http1_frame *f = &r->frame;
	__u16 status = f->status;

	if (f->flags & HTTP1_TRAILER) {
		http1_response_end(r, ev);
		return;
	}
	if (status == 101 || (f->method == HTTP1_METHOD_CONNECT && status >= 200 && status < 300)) {
		f->state = HTTP1_AT_TUNNEL;
		*ev |= HTTP1_HEAD_END | HTTP1_UPGRADED;
		return;
	}
	if (status < 200) {
		f->state = HTTP1_AT_START;
		f->flags = 0;
		f->left = 0;
		f->head_bytes = 0;
		r->stream.kind = STREAM_NONE;
		*ev |= HTTP1_INTERIM;
		return;
	}
	if (f->method == HTTP1_METHOD_HEAD || status == 204 || status == 304) {
		f->left = 0;
		f->state = HTTP1_AT_END;
		*ev |= HTTP1_HEAD_END | HTTP1_END;
		return;
	}
	if ((f->flags & HTTP1_CODING) && ((f->flags & HTTP1_LENGTH) || !f->minor)) {
		http1_framing_error(f, ev);
		return;
	}
	*ev |= HTTP1_HEAD_END;
	if ((f->flags & HTTP1_ENCODED) && r->stream.kind)
		r->stream.kind = STREAM_ENCODED;
	if (f->flags & HTTP1_CHUNKED) {
		f->state = HTTP1_AT_CHUNK_SIZE;
		f->left = 0;
		f->token_len = 0;
	} else if (f->flags & HTTP1_LENGTH) {
		f->state = HTTP1_AT_BODY;
		if (!f->left) {
			f->state = HTTP1_AT_END;
			*ev |= HTTP1_END;
		}
	} else {
		f->state = HTTP1_AT_BODY;
		f->left = HTTP1_UNBOUNDED;
	}
}

/*
 * The usual status line, "HTTP/1.1 200 OK", or if its reason is not as short, up to that. Returns
 * its length, with its end; 0 if it is anything else.
 */
static __always_inline __u64 http1_status_line(struct http1_frame *f, const __u8 *p, __u64 left)
{
	__u8 hundreds = p[9] - '0', tens = p[10] - '0', ones = p[11] - '0';
	__u64 reason = scan_load(p + 13), n = 0;

	if (left < 24 || scan_load(p) != scan_literal("HTTP/1.1") || p[8] != ' ' || p[12] != ' ' ||
	    !hundreds || hundreds > 9 || tens > 9 || ones > 9)
		return 0;
	f->minor = 1;
	f->status = hundreds * 100 + tens * 10 + ones;
	f->state = HTTP1_AT_REST;
	n = scan_below(reason, 0x20) & SCAN_HIGHS;
	n = n ? scan_index(n) : 7;
	if ((reason >> 8 * n & 0xffff) != ('\r' | '\n' << 8))
		return 13;
	f->state = HTTP1_AT_LINE;
	return 13 + n + 2;
}

/* One step within the status line. */
static __always_inline __u32 http1_status_line_step(struct http1_frame *f, const __u8 *p,
						    __u64 left, __u32 *ev)
{
	__u8 c = p[0], d;
	__u32 n;

	switch (f->state) {
	case HTTP1_AT_START:
		http1_token_begin(f);
		f->state = HTTP1_AT_VERSION;
		f->status = 0;
		/* fall through */
	case HTTP1_AT_VERSION:
		n = http1_run(f, p, left, 0);
		if (n)
			return n;
		if (c != ' ')
			break;
		f->state = HTTP1_AT_STATUS;
		http1_version_end(f, ev);
		f->token_len = 0;
		return 1;
	case HTTP1_AT_STATUS:
		d = c - '0';
		if (d <= 9 && f->token_len < 3) {
			f->status = f->status * 10 + d;
			f->token_len++;
			return 1;
		}
		if (f->token_len != 3 || f->status < 100)
			break;
		if (c == ' ')
			f->state = HTTP1_AT_REST;
		else if (c == '\r' || c == '\n')
			http1_line_end(f, c);
		else
			break;
		return 1;
	}
	http1_framing_error(f, ev);
	return 1;
}

/* The first byte of a response's body. */
static __always_inline void http1_response_body_begin(struct http1_frame *f, __u32 *ev)
{
	if (!(f->flags & HTTP1_BEGUN)) {
		f->flags |= HTTP1_BEGUN;
		*ev |= HTTP1_BODY_BEGIN;
	}
}

/* At a body of which nothing is read: `left` bytes of it, not 0, or as many as it has, are passed.
 * Returns how many. */
static __always_inline __u32 http1_response_unread(struct http1_response *r, __u32 left, __u32 *ev)
{
	if (left > r->frame.left)
		left = r->frame.left;
	http1_response_body_begin(&r->frame, ev);
	http1_response_skipped(r, left, ev);
	return left;
}

/* One step within the body, or a chunk of it; as http1_response_step. */
static __always_inline __u32 http1_response_body_step(struct http1_response *r, const __u8 *buf,
						      __u32 pos, __u32 end, __u32 *ev)
{
	struct http1_frame *f = &r->frame;
	struct stream *s = &r->stream;
	__u64 p = scan_clamp(pos), left = end - p;
	__u32 n;

	if (left > f->left)
		left = f->left;
	n = left;
	http1_response_body_begin(f, ev);
	*ev = scan_forget(*ev, left); /* see http1_forget */
	if (s->kind == STREAM_SSE || s->kind == STREAM_NDJSON) {
		n = stream_step(s, buf, p, p + left, ev);
	} else if (s->kind == STREAM_ENCODED && !(f->flags & HTTP1_CHUNK_COUNTED)) {
		f->flags |= HTTP1_CHUNK_COUNTED;
		*ev |= STREAM_EVENT_BEGIN;
		stream_count(s, ev);
	}
	http1_forget(&n, ev, left);
	if (http1_body_taken(f, n))
		http1_response_end(r, ev);
	return n;
}

/* One step within the head, a chunk's extension or the trailers; as http1_response_step. */
static __always_inline __u32 http1_response_head_step(struct http1_response *r, const __u8 *buf,
						      __u32 pos, __u32 end, __u32 *ev)
{
	struct http1_frame *f = &r->frame;
	__u64 p = scan_clamp(pos), left = end - p;
	int head_end = 0;
	__u32 n, line = 0;

	if (f->state == HTTP1_AT_START) {
		line = http1_status_line(f, buf + p, left);
		p = scan_clamp(p + line);
	}
	line = scan_forget(line, left);
	if (f->state < HTTP1_AT_BODY) {
		n = http1_status_line_step(f, buf + p, left, ev);
		http1_head_bytes(f, n, ev);
		return n;
	}
	if (f->state == HTTP1_AT_LINE && !(f->flags & HTTP1_TRAILER)) {
		n = line + http1_usual_lines(f, buf, p, end, 1, 0, &r->stream.kind, &head_end) - p;
		if (n)
			goto taken;
	}
	n = line + http1_line_step(f, buf, p, end, 1, NULL, &r->stream.kind, &head_end, ev);
taken:
	http1_forget(&n, ev, left);
	if (f->state < HTTP1_AT_CHUNK_REST)
		http1_head_bytes(f, n, ev);
	if (head_end && f->state != HTTP1_AT_FRAMING_ERROR)
		http1_response_head_end(r, ev);
	return n;
}

/*
 * As http1_request_step. Raises HTTP1_HEAD_END, HTTP1_INTERIM, HTTP1_UPGRADED (with
 * HTTP1_HEAD_END), HTTP1_BODY_BEGIN, STREAM_EVENT_BEGIN, STREAM_GENERATED, HTTP1_END and
 * HTTP1_FRAMING_ERROR.
 */
static __always_inline __u32 http1_response_step(struct http1_response *r, const __u8 *buf,
						 __u32 pos, __u32 end, __u32 *ev)
{
	if (r->frame.state == HTTP1_AT_BODY)
		return http1_response_body_step(r, buf, pos, end, ev);
	return r->frame.state >= HTTP1_AT_CHUNK_SIZE
		       ? http1_chunk_step(&r->frame, buf, scan_clamp(pos), end, ev)
		       : http1_response_head_step(r, buf, pos, end, ev);
}

#endif
