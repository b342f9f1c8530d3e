/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The state of the classifier of streamed responses, as a connection keeps it between two packets.
 * stream.h reads the lines, stream_json.h the JSON in them.
 */
#ifndef SLUICE_STREAM_TYPES_H
#define SLUICE_STREAM_TYPES_H

#include "scan.h"

#define STREAM_PREFIX_MAX 512 /* bytes of an event before its output that are remembered */
#define STREAM_LAST       40  /* … of a plain reply, which may be a number with its name */

enum stream_kind {
	STREAM_NONE,    /* not a streamed reply */
	STREAM_SSE,     /* text/event-stream */
	STREAM_NDJSON,  /* application/x-ndjson, application/jsonl */
	STREAM_ENCODED, /* either, compressed: each chunk of HTTP counts as one generated event */
};

enum stream_state {
	STREAM_AT_LINE,  /* at the first byte of a line */
	STREAM_AT_LF,    /* after a CR: an LF belongs to it */
	STREAM_AT_FIELD, /* in a field's name */
	STREAM_AT_NAME,  /* in the value of `event` */
	STREAM_AT_VALUE, /* after the colon of `data` */
	STREAM_AT_MARK,  /* in what may become [DONE] */
	STREAM_AT_JSON,  /* in data that is read byte by byte */
	STREAM_AT_REST,  /* in the rest of a line that does not matter */
};

enum stream_flag {
	/* Of the response. */
	STREAM_KNOWN = 1,    /* it has had a place of output, empty or not */
	STREAM_GUESSED = 2,  /* … or none when its first event counted */
	STREAM_FAILED = 4,   /* it has had an error: nothing counts any more */
	STREAM_PREFIX = 8,   /* output follows the bytes whose hash is `prefix` */
	STREAM_WHOLE = 4096, /* set by the driver: usage is wanted, also after output */
	/* Of the event under way. */
	STREAM_OPEN = 16,     /* it has begun */
	STREAM_COUNTED = 32,  /* … and was counted */
	STREAM_DATA = 64,     /* … has data other than [DONE] */
	STREAM_NAMED = 128,   /* … has a name of events without output */
	STREAM_WRONG = 256,   /* … has the name of an error */
	STREAM_UNKNOWN = 512, /* … has a value in no known place that may be output */
	STREAM_TRIED = 1024,  /* `prefix` is the hash of its bytes */
	STREAM_SPACE = 2048,  /* the one space after a field's colon may follow */
	STREAM_STATED = 8192, /* … states its usage */
};

#define STREAM_OF_RESPONSE                                                                         \
	(STREAM_KNOWN | STREAM_GUESSED | STREAM_FAILED | STREAM_PREFIX | STREAM_WHOLE)

/* Where the JSON is. The node of CHOICE is in LIST, that of DELTA in CHOICE, and so on. */
enum stream_node {
	STREAM_NODE_OUT,     /* outside the event's object */
	STREAM_NODE_TOP,     /* in it */
	STREAM_NODE_LIST,    /* in its list of choices */
	STREAM_NODE_CHOICE,  /* in one of them */
	STREAM_NODE_DELTA,   /* in the delta or message of one */
	STREAM_NODE_MESSAGE, /* in the object's own delta or message */
	STREAM_NODE_TOKEN,   /* in its token */
	STREAM_NODE_USAGE,   /* in its usage */
	STREAM_NODE_RESULT,  /* in its whole response or result */
	STREAM_NODE_TOTAL,   /* in the usage of that */
	STREAM_NODE_OUTPUT,  /* stream_key() only: in the contents of an output value */
};

enum stream_json_state {
	STREAM_JSON_BETWEEN, /* between strings */
	STREAM_JSON_ELEMENT, /* after the bracket of an output array: a string is output */
	STREAM_JSON_FILLED,  /* after the bracket of a value that is output unless it is empty */
	STREAM_JSON_VALUE,   /* in a string from here on: at the first byte of output */
	STREAM_JSON_ERROR,   /* … of an error */
	STREAM_JSON_UNKNOWN, /* … of a value that may be output */
	STREAM_JSON_SKIP,    /* in a string that does not matter */
	STREAM_JSON_KEY,     /* in a string that is hashed from here on: it may be a key */
	STREAM_JSON_TYPE,    /* … in the event's `type` */
	STREAM_JSON_OBJECT,  /* … in its `object` */
};

enum stream_key {
	STREAM_KEY_NONE, /* no colon came: the next string is a key or an element */
	STREAM_KEY_OTHER,
	STREAM_KEY_METADATA,
	STREAM_KEY_ROLE,   /* no output, but of a known place */
	STREAM_KEY_TEXT,   /* a string that is not empty is output; so is one in its contents */
	STREAM_KEY_STRING, /* a string that is not empty is */
	STREAM_KEY_FILLED, /* so is any array or object that is not empty */
	STREAM_KEY_IMAGE,  /* a string that is not empty is, whatever the event's name */
	STREAM_KEY_LIST,
	STREAM_KEY_DELTA,
	STREAM_KEY_MESSAGE,
	STREAM_KEY_TOKEN,
	STREAM_KEY_ERROR,
	STREAM_KEY_TYPE,
	STREAM_KEY_OBJECT,
	STREAM_KEY_USAGE,  /* an object that states usage */
	STREAM_KEY_RESULT, /* an object that has one */
	STREAM_KEY_NUMBER, /* the output tokens of the response so far */
	STREAM_KEY_DIGITS, /* … of which one digit has come, or more */
};

/* All zero at an event's begin. */
struct stream_json {
	__u8 state;  /* enum stream_json_state */
	__u8 escape; /* 1: after a backslash */
	__u8 node;   /* enum stream_node */
	__u8 depth;  /* brackets open in it that are no node; 255: too many to read on */
	__u8 output; /* 1: … the outermost of them is an output value */
	__u8 key;    /* enum stream_key: of the value to come */
	__u8 last;   /* enum stream_key: of the string that ended last */
	__u8 pad;
} __attribute__((aligned(8)));

struct stream {
	union {
		struct {
			__u64 hash;   /* of the field name, event name or JSON string under way */
			__u64 tail;   /* … and its last eight bytes */
			__u64 prefix; /* hash of the first prefix_len bytes of an event's data */
			struct stream_json json;
			struct stream_json prefix_json; /* … after them */
		};
		__u8 last[STREAM_LAST]; /* STREAM_NONE: the last bytes of the segment before */
	};
	__u32 tokens;     /* of the response: its generated events, or more if it states more */
	__u32 usage;      /* … as it stated last, and generated nothing since; 0: it did not */
	__u32 charged;    /* … that the driver has charged */
	__u16 flags;      /* enum stream_flag */
	__u16 offset;     /* bytes of the event's data that were read, at most STREAM_PREFIX_MAX */
	__u16 prefix_len; /* where the last output was found; 0: not near enough to remember */
	__u8 kind;        /* enum stream_kind */
	__u8 state;       /* enum stream_state */
	__u8 matched;     /* bytes of [DONE] */
	__u8 bounded;     /* 1: a charge has reached the bound of a debt */
	__u8 pad[6];
};
_Static_assert(sizeof(struct stream) == 72, "stream classifier");

#endif
