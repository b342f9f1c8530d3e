/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The state of the HTTP/1.x scanners, as a connection keeps it between two packets: what both
 * directions share (struct http1_frame), and what a limiter keeps of a request and of a response.
 * Types and limits only, so that abi.h need not include the scanners. They are in http1.h.
 */
#ifndef SLUICE_HTTP1_TYPES_H
#define SLUICE_HTTP1_TYPES_H

#include "form_types.h"
#include "forwarded.h"
#include "http1_key.h"
#include "json_model.h"
#include "scan.h"
#include "stream_types.h"

#define HTTP1_HEAD_MAX  65536   /* bytes of a head, and of a trailer section */
#define HTTP1_PATH_MAX  96      /* bytes of the request target that are kept */
#define HTTP1_VALUE_MAX 96      /* bytes of the wanted header's value, its final zero included */
#define HTTP1_TOKEN_MAX 32      /* bytes of a name or token that are compared */
#define HTTP1_UNBOUNDED (~0ULL) /* as body length: until the connection closes */

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
	HTTP1_AT_KEY,        /* request: in a value that is hashed: an API key, a priority */
	HTTP1_AT_TYPE,       /* request: in the value of Content-Type */
	HTTP1_AT_FORWARDED,  /* request: in the value of X-Forwarded-For or Forwarded */
	HTTP1_AT_REST,       /* in the rest of a line that does not matter */
	HTTP1_AT_LF,         /* after the CR of a line */
	HTTP1_AT_HEAD_LF,    /* after the CR of the empty line */
	HTTP1_AT_CHUNK_REST, /* in a chunk extension */
	HTTP1_AT_CHUNK_SIZE,
	HTTP1_AT_CHUNK_LF,
	HTTP1_AT_DATA_CR, /* after a chunk's data */
	HTTP1_AT_DATA_LF,
	HTTP1_AT_END, /* after the message: …_next() or …_begin() first */
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
	HTTP1_GAP = 1 << 5,           /* white space after the token under way */
	HTTP1_BEGUN = 1 << 6,         /* the body's first byte was seen */
	HTTP1_CHUNK_COUNTED = 1 << 7, /* of an encoded stream: this chunk was counted */
	HTTP1_PATH_CUT = 1 << 8,      /* the target is longer than `path` */
	HTTP1_VALUE = 1 << 9,         /* the wanted header was there */
	HTTP1_VALUE_BAD = 1 << 10,    /* … twice, or too long, or of several words */
	HTTP1_DATE_UNCHECKED =
		1 << 11,          /* response: set by a driver that does not want HTTP1_DATE */
	HTTP1_TYPE = 1 << 12,     /* request: a Content-Type was there */
	HTTP1_READABLE = 1 << 13, /* request: from here on, some server reads what others reject */
	HTTP1_SEVERAL_ENDS = 1 << 14, /* request: servers differ in where it ends */
	HTTP1_CLOSE = 1 << 15,        /* request: Connection has close */
};

/* The headers that a service wants, in the order in which a driver names them (http1_wanted.h). */
enum http1_wanted_header {
	HTTP1_WANTED_MODEL = 0,
	HTTP1_WANTED_KEY = 1,
	HTTP1_WANTED_FORWARDED = HTTP1_WANTED_KEY + HTTP1_KEYS_MAX,
	HTTP1_WANTED_PRIORITY,
	HTTP1_WANTED_ORIGIN,
	HTTP1_WANTED, /* how many there are */
};

/*
 * What requests and responses have in common. From HTTP1_HEAD_END on, `left` is what is still to
 * come of the body: its Content-Length, the rest of the chunk under way, or HTTP1_UNBOUNDED.
 */
struct http1_frame {
	__u64 left;
	__u32 head_bytes; /* of this head or trailer section */
	__u16 flags;      /* enum http1_flag */
	__u16 status;     /* response: 100 … 999 */
	__u8 state;       /* enum http1_state */
	__u8 header;      /* enum http1_header: the header that is being read */
	__u8 token_len;   /* of `token`; above HTTP1_TOKEN_MAX it matches nothing */
	__u8 minor;       /* of HTTP/1.x */
	__u8 method;      /* enum http1_method; response: of the request it answers */
	__u8 path_len;    /* request: bytes of `path` */
	__u8 value_len;   /* request: bytes of `value` */
	__u8 expects;     /* request: 1: Expect was there */
	union {
		char token[HTTP1_TOKEN_MAX + 8]; /* name, method or element under way */
		__u64 value;                     /* a Content-Length under way */
	};
};
_Static_assert(sizeof(struct http1_frame) == 64, "frame");

/* All zero is the state before a request. */
struct http1_request {
	struct http1_frame frame;
	char path[HTTP1_PATH_MAX]; /* the request target as sent, padded with zeros */
	/* The wanted header's value, padded with zeros; meaningless with HTTP1_VALUE_BAD. */
	char value[HTTP1_VALUE_MAX];
	struct json_model json; /* its name and flags outlive the scan */
	struct form_model form; /* finds the name if the body is a form */
	struct http1_key key;
	struct forwarded forwarded;
};
_Static_assert(sizeof(struct http1_request) == 712, "request parser");

/* All zero is the state before the response to a request that is neither HEAD nor CONNECT. */
struct http1_response {
	struct http1_frame frame;
	struct stream stream; /* kind, and what of it was generated */
};
_Static_assert(sizeof(struct http1_response) == 136, "response parser");

#endif
