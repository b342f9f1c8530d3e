/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The interface between the kernel programs and the daemon: every map key, map value, ring record
 * and enum, and nothing else. All fields have a fixed width, padding is written out (map keys are
 * hashed byte for byte), and sizes are asserted. Change anything here and SLUICE_ABI_VERSION goes
 * up by one. A daemon that finds pinned maps of another version carries their entries over by the
 * names of members (user/datapath/carry.c): so a member that changes its type or its meaning gets
 * another name, and numbers of enums never change.
 *
 * Times are nanoseconds of CLOCK_MONOTONIC (bpf_ktime_get_ns) unless the name says otherwise;
 * addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d; ports are in network order.
 */
#ifndef SLUICE_ABI_H
#define SLUICE_ABI_H

#include <linux/types.h>

#include "abi_held.h"
#include "abi_latency.h"
#include "abi_links.h"
#include "abi_quota.h"
#include "abi_reply.h"
#include "abi_rules.h"
#include "admission.h"
#include "ages.h"
#include "http1_types.h"
#include "kept.h"
#include "names.h"
#include "proxy.h"
#include "waits.h"

#define SLUICE_ABI_VERSION 26

#define SLUICE_MODELS_MAX        1024  /* model ids 0 … 1023 */
#define SLUICE_SERVICES_MAX      256   /* ids 0 … 255; addresses of one service share its id */
#define SLUICE_CONNS_MAX         65536 /* connections judged at once; or max-connections */
#define SLUICE_TOMBSTONES_MAX    65536
#define SLUICE_KEPT_MAX          32768 /* connections that outlived a refusal */
#define SLUICE_CONN_BUCKETS      65536 /* entries of conn_counts; 0 is the total */
#define SLUICE_HALF_OPEN_MAX     262144
#define SLUICE_QUOTAS_MAX        4096   /* quota ids 1 … 4095; 0 is none */
#define SLUICE_CLIENTS_MAX       131072 /* clients with a remembered budget (LRU) */
#define SLUICE_CLIENT_FLAGS_MAX  65536  /* rules about clients */
#define SLUICE_CLIENT_QUOTAS_MAX 65536  /* quotas of clients' own */
#define SLUICE_PREFIXES_MAX      65536  /* prefixes with a class, quota or weight */
#define SLUICE_PRIORITIES_MAX    4096   /* API keys and headers' values that have a class */
#define SLUICE_TRUSTED_MAX       16     /* prefixes of proxies that one service trusts */
#define SLUICE_ORIGINS_MAX       8      /* web origins of one service */
#define SLUICE_READINGS_MAX      4      /* models that one request may name */
#define SLUICE_READING_QUOTAS    8      /* quotas that one request is charged to, besides its own */

/* Model ids that are no model: everything together, and all names that are not (yet) learned. */
#define SLUICE_MODEL_ALL   0
#define SLUICE_MODEL_OTHER 1
#define SLUICE_MODEL_FIRST 2
/* In request_counts: the counts of all names that the daemon has forgotten. */
#define SLUICE_MODEL_FORGOTTEN SLUICE_MODELS_MAX
/* No pool: the entry of client_in_flight that counts a client's stalled responses in all pools. */
#define SLUICE_POOL_STALLED SLUICE_MODELS_MAX
/* … and the requests on which it has hung up, of all pools. */
#define SLUICE_POOL_DEPARTED (SLUICE_MODELS_MAX + 1)

/*
 * Of `max` entries of conns: from SLUICE_CONNS_CROWDED connections on, a client with
 * SLUICE_CONNS_CLIENT_MAX of them gets no further one. From SLUICE_CONNS_EVICT on, the daemon
 * removes those without a request under way. A request is not under way after SLUICE_CONNS_SLOW_NS,
 * and SLUICE_CONNS_BYTE_NS for each byte. A silent one is forgotten after SLUICE_CONNS_IDLE_NS.
 */
#define SLUICE_CONNS_CROWDED(max)    ((max) / 4 * 3)
#define SLUICE_CONNS_EVICT(max)      ((max) / 8 * 7)
#define SLUICE_CONNS_CLIENT_MAX(max) ((max) / 64)
#define SLUICE_CONNS_SLOW_NS         30000000000ULL
#define SLUICE_CONNS_BYTE_NS         4000000ULL
#define SLUICE_CONNS_IDLE_NS         3600000000000ULL

/*
 * conn_counts: connections in conns, by a keyed hash of the client of their peer's address. Entry
 * SLUICE_CONNS_ALL is the total. The programs and the daemon add atomically.
 */
#define SLUICE_CONNS_ALL 0

/* What the daemon asks of `sweep`, at the begin of its packet. */
struct sluice_sweep {
	__u64 idle_ns; /* evict connections that have been idle for so long, … */
	__u32 evict;   /* … at most so many */
	__u32 pad;
};

/*
 * A response stalls when its client has kept the server from sending for STALL_NS and has taken
 * less than STALL_TAKEN_MIN bytes meanwhile. It then holds no slot. A client with STALLED_MAX of
 * them gets no further request admitted.
 */
#define SLUICE_STALL_NS        10000000000ULL
#define SLUICE_STALL_TAKEN_MIN 16384
#define SLUICE_STALLED_MAX     8

enum sluice_protocol { SLUICE_PROTOCOL_HTTP = 0, SLUICE_PROTOCOL_OPAQUE = 1 };

/* What becomes of a connection with bytes that are read as no request. AUTO: it is reset where the
 * server answers such bytes in HTTP/1.x, and passes elsewhere. */
enum sluice_on_framing_error {
	SLUICE_ON_FRAMING_ERROR_AUTO = 0,
	SLUICE_ON_FRAMING_ERROR_PASS = 1,
	SLUICE_ON_FRAMING_ERROR_RESET = 2,
};

/* How to reject. DEFAULT in a flag means: as its service says. */
enum sluice_action {
	SLUICE_ACTION_DEFAULT = 0,
	SLUICE_ACTION_REPLY = 1,
	SLUICE_ACTION_RESET = 2,
	SLUICE_ACTION_DROP = 3,
};

enum sluice_mode { SLUICE_MODE_DEFAULT = 0, SLUICE_MODE_ENFORCE = 1, SLUICE_MODE_SHADOW = 2 };

/* What became of a request (metric label `verdict`), or of a SYN that was not simply let pass. */
enum sluice_verdict {
	SLUICE_VERDICT_ADMITTED = 0,
	SLUICE_VERDICT_REJECTED = 1,
	SLUICE_VERDICT_SHADOW_REJECTED = 2,
	SLUICE_VERDICT_SYN_RESET = 3,
	SLUICE_VERDICT_SYN_DROPPED = 4,
	SLUICE_VERDICT_SYN_SHADOW = 5, /* passed, since mode is shadow */
};

/*
 * A set bit means that the map is empty: the programs skip the look-up. A clear bit is always safe.
 * The daemon clears it before it writes the first entry, and sets it after the last one is gone.
 */
enum sluice_empty {
	SLUICE_EMPTY_CLIENT_FLAGS = 1,
	SLUICE_EMPTY_CLIENT_PREFIXES = 2,
	SLUICE_EMPTY_CLIENT_QUOTAS = 4,
	/* No entry of model_flags refuses: none is shut or has a limit, a quota or a policy. */
	SLUICE_EMPTY_MODEL_FLAGS = 8,
	SLUICE_EMPTY_ALL = 15,
};

enum sluice_stopping {
	SLUICE_STOPPING = 1,      /* no new refusals */
	SLUICE_STOPPING_KEPT = 2, /* … and kept connections are reset at their next packet */
};

/*
 * settings[0]. A lease that has run out, or stopping != 0, ends all new refusals; its lowest bit
 * says that a start put it off, and no daemon that runs. generation counts daemon starts. clock_ns
 * != 0 replaces the clock (datapath tests only; the daemon writes 0). The members up to `stopping`
 * stay as they are in all versions: a start reads them, and extends the lease, before all else.
 */
struct sluice_settings {
	__u64 lease_until_ns;
	__u64 generation;
	__u64 clock_ns;
	__u32 abi_version;
	__u32 stopping; /* enum sluice_stopping */
	__u32 empty;    /* enum sluice_empty */
	__u32 names;    /* raised after every change of services and model_ids, which voids the
			   programs' cache (lookup.h); 0: nothing is cached */
	__u64 paused_until_ns; /* until then the packets of services are dropped */
};
_Static_assert(sizeof(struct sluice_settings) == 48, "settings");

/* hash_key[0] is a struct siphash_secret: what API keys are hashed with. */

struct sluice_service_key {
	__u8 addr[16];
	__be16 port;
	__u8 pad[2];
} SLUICE_ALIGNED(4);
_Static_assert(sizeof(struct sluice_service_key) == 20, "service key");

/*
 * A service as one of its addresses sees it. A wildcard service has one entry for each address of
 * the host (the daemon follows them); 127.0.0.0/8 is looked up as 127.0.0.1 where `wildcard` is
 * set.
 */
struct sluice_service {
	__u32 id;
	__u32 default_model;
	__u8 protocol; /* enum sluice_protocol */
	__u8 action;   /* enum sluice_action, never DEFAULT */
	__u8 mode;     /* enum sluice_mode, never DEFAULT */
	__u8 wildcard;
	__u8 client_plen4; /* a client is this many leading bits of an IPv4 address, 32 by default
			    */
	__u8 client_plen6; /* … of an IPv6 address, 64 by default */
	__u8 unary;        /* replies that are not streamed feed TTFT */
	__u8 on_framing_error; /* enum sluice_on_framing_error */
	__u16 quota;           /* of clients that have none of their own, and models neither */
	__u8 feedback;  /* what is left of a quota is written over the Date of 2xx responses */
	__u8 forwarded; /* rank of rules.forwarded among the keys, 1 … HTTP1_KEYS_MAX + 1; 0: not
			   read */
	__u8 proxy;     /* connections begin with a PROXY header */
	__u8 unnamed_default; /* 1: a request whose model cannot be read counts as one for the
				 default model only; 0: for named_models, too */
	__u8 frees;           /* its server stops working on a request whose client hangs up */
	__u8 keep;            /* a refusal keeps its connection where it can */
	__u16 pool;           /* of all its models; 0: each model's own */
	__u16 pad2;
	__u32 blob_bytes; /* what an image or a file counts for in the size of a request */
};
_Static_assert(sizeof(struct sluice_service) == 32, "service");

/* named_models[0]: models that some rule or target names, and that are no service's default. A
 * request whose model cannot be read is judged for each of them. */
struct sluice_named_models {
	__u32 count;
	__u16 id[SLUICE_MODELS_MAX];
};
_Static_assert(sizeof(struct sluice_named_models) == 4 + 2048, "named models");

struct sluice_model_name {
	char name[SLUICE_NAME_MAX];
};

/*
 * model_flags[id]. `allow` 0 refuses with `reason` until expires_ns (0: no end). `limit` 0: none.
 * Entry SLUICE_MODEL_ALL applies to every request, before the model's own.
 */
struct sluice_model_flag {
	__u64 expires_ns;
	__u32 limit;          /* requests in flight at once */
	__u32 retry_after_ms; /* stated when the flag refuses */
	__u32 limit_retry_ms; /* stated when the limit refuses */
	__u8 allow;
	__u8 reason; /* enum sluice_reason */
	__u8 action; /* enum sluice_action */
	__u8 mode;   /* enum sluice_mode */
	__u8 unary;
	__u8 unavailable; /* what the operator refuses gets a 503 and loses its connection */
	__u16 quota;      /* of clients that have none of their own */
	/*
	 * The model's pool: the entry with the `admission` that applies to this model, which counts
	 * its requests. It is the model's own id, that of a configured pool, or SLUICE_MODEL_ALL.
	 */
	__u16 pool;
	__u8 pad2[2];
	struct sluice_admission admission;
	/* Its targets, for its histogram; 0: none. That of TTFT grows with the request. */
	__u32 target_us[SLUICE_LATENCIES];
	__u32 ttft_us_per_kib;
	__u32 pad3;
};
_Static_assert(sizeof(struct sluice_model_flag) == 32 + 96 + 24, "model flag");

struct sluice_client_flag_key {
	struct sluice_client client;
	__u32 model; /* SLUICE_MODEL_ALL: any */
	__u32 pad;
};
_Static_assert(sizeof(struct sluice_client_flag_key) == 32, "client flag key");

/* An operator's rule about a client: allow 1 exempts it from limits and flags, allow 0 refuses. */
struct sluice_client_flag {
	__u64 expires_ns; /* 0: no end */
	__u8 allow;
	__u8 action;
	__u8 reason;
	__u8 fleet; /* of all hosts of the fleet; the programs do not read it */
	__u8 own;   /* of an OVERRIDDEN_PREFIX: enum sluice_prefix_own; allow: it is exempt */
	__u8 pad;
	__u16 weight; /* … with OWN_WEIGHT */
};
_Static_assert(sizeof(struct sluice_client_flag) == 16, "client flag");

struct sluice_prefix_key {
	__u32 plen; /* of the 128 bits; an IPv4 /24 is 120 */
	__u8 addr[16];
};
_Static_assert(sizeof(struct sluice_prefix_key) == 20, "prefix key");

/* trusted_proxies: proxies that a service trusts to state their clients' addresses; value 1. */
struct sluice_trusted_key {
	__u32 plen; /* 32 and those of the 128 bits */
	__u32 service;
	__u8 addr[16];
};
_Static_assert(sizeof(struct sluice_trusted_key) == 24, "trusted key");

enum sluice_prefix_class {
	SLUICE_PREFIX_PLAIN = 0,
	SLUICE_PREFIX_EXEMPT = 1,
	SLUICE_PREFIX_BLOCKED = 2,
};

/*
 * The programs look up only the longest prefix of an address, so its entry has to be complete. If
 * it has no class, quota or weight of its own, the daemon copies that of a shorter prefix to it.
 */
enum sluice_prefix_own {
	SLUICE_PREFIX_OWN_CLASS = 1,
	SLUICE_PREFIX_OWN_QUOTA = 2,
	SLUICE_PREFIX_OWN_WEIGHT = 4,
	SLUICE_PREFIX_WEIGHT_MANUAL = 8, /* and not by the configuration */
	SLUICE_PREFIX_OWN_PRIORITY = 16,
	SLUICE_PREFIX_CLASS_FLEET = 32, /* by the fleet, not by this host */
	SLUICE_PREFIX_WEIGHT_FLEET = 64,
};

#define SLUICE_WEIGHT_ONE 256 /* weights are in 1/256; 0: none is set, which means one */

struct sluice_prefix {
	__u64 expires_ns; /* of the class; 0: no end */
	__u8 class;       /* enum sluice_prefix_class */
	__u8 action;
	__u16 quota;
	__u8 own; /* enum sluice_prefix_own: what is set for this very prefix, not a shorter one
		   */
	__u8 priority; /* class of its clients' requests + 1; 0: not set */
	__u16 weight;  /* of each client in it: scales its fair share and its quota */
};
_Static_assert(sizeof(struct sluice_prefix) == 16, "prefix");

/*
 * priorities: an API key or a value of the priority header → u32 class, 0 … SLUICE_CLASSES - 1.
 * Keys are clients of kind KEY, and HEADER for the values of a service's priority header. The
 * header's class comes before the key's, and the key's before the prefix's. Without any the class
 * is SLUICE_CLASS_NORMAL.
 */

/*
 * model_state[id]: atomic counters; the daemon adds corrections, it never stores, but for the entry
 * of an id without a name. From `waiting_bytes` to `refused`, and of `ages` and `waits`, only the
 * entry of a request's pool keeps them.
 */
struct sluice_model_state {
	__s64 in_flight;
	__s64 waiting;
	__s64 shadow_in_flight; /* in flight without a slot: enforcing mode would have refused
				   them */
	__s64 waiting_bytes;
	__u64 began_ns;              /* sum of the times at which those in flight were admitted */
	__u64 token_ns;              /* the last first token, or … */
	__u64 waiting_ns;            /* … when a request began to wait while none did */
	__u64 admitted;              /* totals: requests that took a slot, */
	__u64 ended;                 /* … slots released, */
	__u64 refused[SLUICE_RANKS]; /* … and what `admission` refused, by rank */
	__u64 seen_ns;               /* the last request that was judged whole, or named_ns */
	__u64 named_ns; /* the id got its present name; 0: it had none yet, all ones: none now */
	__s64 stalled;  /* responses whose client does not read: they hold no slot */
	__s64 departed; /* of those in flight, of clients that have hung up */
	__u64 usual_ns; /* mean time from a request's last byte to its response's, 0: not known */
	__u64 failed;   /* totals: streams with an error in them, */
	__u64 guessed;  /* … and those of a format that is not known, as their first token is */
	struct sluice_ages ages;   /* of those that wait */
	struct sluice_waits waits; /* bytes of those that are expected to, besides waiting_bytes */
};
_Static_assert(sizeof(struct sluice_model_state) == 136 + 72 + 2048 + 2072, "model state");

/* A TCP connection seen from its client. */
struct sluice_conn_key {
	__u8 client_addr[16];
	__u8 server_addr[16];
	__be16 client_port;
	__be16 server_port;
} SLUICE_ALIGNED(4);
_Static_assert(sizeof(struct sluice_conn_key) == 36, "connection key");

#define SLUICE_WSCALE_UNKNOWN 255

/*
 * What the server has sent to an address that is not proven yet: nothing (then only the window
 * scale of the client's SYN is known), its SYN-ACK, or data of a connection that is not in conns.
 * Or the connection was removed from conns: where a request may begin, or amid one, whose rest
 * nobody can judge.
 */
enum sluice_answered {
	SLUICE_ANSWERED_NOT = 0,
	SLUICE_ANSWERED_SYN = 1,
	SLUICE_ANSWERED_DATA = 2,
	SLUICE_ANSWERED_EVICTED = 3,
	SLUICE_ANSWERED_CUT = 4,
};

/* half_open */
struct sluice_half_open {
	__u32 server_seq; /* of the last that the server sent: its SYN-ACK, or its last byte */
	__u32 client_seq; /* the next byte that it expects, or after the client's SYN will */
	__u8 answered;    /* enum sluice_answered */
	__u8 wscale;      /* by which the client's windows are shifted, or SLUICE_WSCALE_UNKNOWN */
	__u16 s_window;   /* the server's, as its next segment would state it; 0: not known */
	__u32 s_hook;     /* the last interface that the server's SYN-ACK passed */
};
_Static_assert(sizeof(struct sluice_half_open) == 16, "half open");

enum sluice_exchange_flag {
	SLUICE_EXCHANGE_IN_FLIGHT = 1, /* counted in model_state.in_flight */
	SLUICE_EXCHANGE_WAITING = 2,   /* … and in .waiting */
	SLUICE_EXCHANGE_JUDGED = 4,    /* until its end is accounted for */
	SLUICE_EXCHANGE_NAMED = 8,     /* conn.name holds its model's name, not learned yet */
	SLUICE_EXCHANGE_SHADOW = 16,   /* counted in model_state.shadow_in_flight */
	SLUICE_EXCHANGE_READINGS = 32, /* charged to conn.reading_quota, too */
	/* Counted in model_state.stalled, and for its client, instead of IN_FLIGHT. */
	SLUICE_EXCHANGE_STALLED = 64,
	SLUICE_EXCHANGE_EXPECTED = 128, /* its bytes are in model_state.waits */
	SLUICE_EXCHANGE_DEPARTED = 256, /* counted in model_state.departed, and for its client */
};

/* The highest byte of an exchange's flags: why shadow mode would have refused it, enum
 * sluice_reason. */
#define SLUICE_EXCHANGE_REASON_SHIFT 24

/* Whether a request asks for a streamed response. */
enum sluice_stream {
	SLUICE_STREAM_UNKNOWN = 0, /* its body could not be read */
	SLUICE_STREAM_NO = 1,
	SLUICE_STREAM_YES = 2,
};

/* One request between its last byte and its response's last. */
struct sluice_exchange {
	__u64 admitted_ns;
	__u32 bytes; /* of the request, head and body, as http1_request_size() counts them */
	__u32 flags; /* enum sluice_exchange_flag, changed by atomic or/and */
	__u16 model;
	__u16 quota;                  /* charged with the response's tokens */
	__u8 method;                  /* enum http1_method */
	__u8 stream;                  /* enum sluice_stream */
	__u16 pool;                   /* model_flags[model].pool when it was admitted */
	__u32 queued_bytes;           /* admission_queued_bytes() then; */
	__u32 in_flight_at_admission; /* … and how many were in flight with it, itself included */
	__u32 wait_end;               /* the predicted end of its wait: time of a slot of waits */
	__u32 turn; /* the pool's admissions until it, itself included, modulo 2^32 */
	struct sluice_client
		client; /* charged with it: the connection's address, or the request's key */
};
_Static_assert(sizeof(struct sluice_exchange) == 64, "exchange");

/* What sluice reads no request in, although a server may: bits of unread_answered[service], too. */
enum sluice_unread {
	SLUICE_UNREAD_BYTES = 1,
	SLUICE_UNREAD_FRAGMENT = 2,
	SLUICE_UNREAD_TLS = 4,
	SLUICE_UNREAD_HTTP2 = 8,
};

enum sluice_conn_flag {
	SLUICE_CONN_UNJUDGED = 1, /* framing lost, upgraded or not understood: passes to its end */
	SLUICE_CONN_NO_RESPONSES = 2, /* the response side is no longer framed */
	SLUICE_CONN_CLIENT_FIN = 4,
	SLUICE_CONN_SERVER_FIN = 8,
	SLUICE_CONN_STALLED = 16, /* the client's window is full now */
	SLUICE_CONN_CLIENT_LIMITED =
		32, /* … or was at some time since the last chunk: that gap is no sample */
	SLUICE_CONN_FIRST_TOKEN = 64, /* the current response has had its first token */
	SLUICE_CONN_HOLE = 128,       /* bytes from c_next to c_hole_end are still to come */
	SLUICE_CONN_UNCLEAR = 256,    /* the request may be read in ways that `reading` lacks */
	SLUICE_CONN_REQUEST = 512,    /* in the middle of a request */
	SLUICE_CONN_ANSWERED_EARLY = 1024, /* … which the server has answered before its end */
	SLUICE_CONN_RESPONSE = 2048,       /* in the middle of a response */
	SLUICE_CONN_ADOPTED = 4096,    /* found in mid-life; no request of it has been framed yet */
	SLUICE_CONN_OPAQUE = 8192,     /* of an opaque service: nothing in it is read */
	SLUICE_CONN_UNARY = 16384,     /* of a service that streams no replies */
	SLUICE_CONN_JUDGE = 32768,     /* the request under way is one that is judged */
	SLUICE_CONN_FEEDBACK = 65536,  /* of a service that writes feedback over Date */
	SLUICE_CONN_PROXY = 131072,    /* its PROXY header is still to come, or to end */
	SLUICE_CONN_TRUSTED = 262144,  /* its peer is a trusted proxy */
	SLUICE_CONN_FREES = 1048576,   /* of a service whose server stops when a client hangs up */
	SLUICE_CONN_ADMITTED = 524288, /* the request under way has its verdict and its exchange,
					  although bytes of it are still to come */
	SLUICE_CONN_LAST =
		2097152, /* servers differ in where a request of it ended: no further one */
	SLUICE_CONN_KEPT = 4194304,       /* it has an entry in kept */
	SLUICE_CONN_HELD = 8388608,       /* … and in held */
	SLUICE_CONN_REORDERED = 16777216, /* bytes of the request under way came before missing
					     ones, and were dropped */
	SLUICE_CONN_GAP = 33554432,       /* so did bytes of the server, at sent_ns first */
	SLUICE_CONN_TWICE = 67108864,     /* another sluice judges the request under way, too */
};

/*
 * conns: a connection with a proven handshake. Client-side fields are written at tc ingress,
 * server-side fields at tc egress, the exchange by both. Ingress begins it and advances
 * exchange_tail; egress ends it and advances exchange_head.
 */
struct sluice_conn {
	__u64 last_seen_ns;
	__u64 since_ns; /* its request began, its response ended, or it began: whichever is last */
	__u64 unacked_since_ns; /* the oldest server byte not acknowledged left then; 0: none */
	__u64 limited_since_ns; /* the client keeps the server from sending since then; 0: it does
				  not … */
	__u64 caught_up_ns;     /* … or has taken everything and left room then; 0: it has not */
	__u64 chunk_ns;         /* when the last generated chunk left */
	__u64 sent_ns;          /* when the newest of the server's bytes left */
	__u64 event_ns;         /* when the first byte of the event under way left */
	__u64 fold_since_ns;    /* the ITL record being folded */
	__u64 fold_sum_ns;
	__u64 departed_until_ns; /* its client has hung up: its slot is held until then */
	__u64 gaps_ns;           /* of the response under way, all together … */
	__u64 request_bytes;     /* of the request under way */
	__u64 c_first;           /* with c_blob: the first bytes from c_hole_end on */
	__u32 fold_n;
	__u32 gaps_n;      /* … and how many */
	__u32 c_next;      /* client's next byte in order: framed and passed up to here */
	__u32 c_hole_end;  /* with HOLE: bytes from here … */
	__u32 c_max;       /* … to here were passed out of order, see c_blob */
	__u32 c_ack;       /* the server's bytes acknowledged by the client */
	__u32 limited_ack; /* c_ack at limited_since_ns */
	__u32 window_max;  /* the client's widest window, bytes */
	__u32 s_next;      /* end of everything that the server sent */
	__u32 flags;       /* enum sluice_conn_flag, changed by atomic or/and */
	__u32 service;
	__u32 exchange_tail; /* exchanges begun, … */
	__u32 exchange_head; /* … and ended: as many, or one less */
	__u32 busy;          /* 1 while a CPU works on the client side */
	__u8 wscale;         /* of the client's windows, or SLUICE_WSCALE_UNKNOWN */
	__u8 s_shut;         /* 1: the server's window is closed */
	__u16 bucket;        /* of conn_counts, which counts it */
	__u8 c_blob;  /* with HOLE: 0: those bytes passed unread; else they are of a blob: 1 + the
			 enum form_break that ends them */
	__u8 unread;  /* enum sluice_unread: why it passes, until its server has shown what it reads
			 in that */
	__u16 c_hook; /* interface at which bytes were framed last, its lowest bits, … */
	__u32 date_seq;  /* where a Date was last overwritten: what is sent again is overwritten
			    again */
	__u32 date_left; /* … with this many units left … */
	__u32 date_secs; /* … and this many seconds until the budget is full; 0: none was */
	__u32 date_tokens;
	__u32 s_ack;    /* the client's bytes acknowledged by the server */
	__u32 c_begin;  /* first byte of the request under way, or else of the last one */
	__u32 c_when;   /* … and when, ns / 1024 */
	__u32 s_hook;   /* the last interface that the server's segments passed */
	__u16 s_window; /* the server's, as its last segment states it; 0: not known, or shut */
	__u16 pad2;
	__u32 ttft_us; /* of the response under way; 0: none was measured yet */
	/* Models that the request under way names, each once; 0: no more. */
	__u16 reading[SLUICE_READINGS_MAX] SLUICE_ALIGNED(8);
	/* Quotas of its readings, charged besides the exchange's; 0: no more. */
	__u16 reading_quota[SLUICE_READING_QUOTAS] SLUICE_ALIGNED(8);
	__u8 addr[16]; /* its client: the peer, or the one that its PROXY header names */
	__u8 link[12]; /* of a kept connection: both link addresses of its client's packets */
	__u8 pad3[4];
	struct sluice_client client;
	struct sluice_exchange exchange; /* the last one begun */
	union {
		struct proxy proxy; /* until it has ended */
		struct http1_request request;
	};
	struct http1_response response;
	char name[SLUICE_NAME_MAX]; /* of the exchange flagged NAMED */
};

enum sluice_tombstone_flag {
	SLUICE_TOMBSTONE_ACKED = 1, /* the client has the whole answer */
	SLUICE_TOMBSTONE_DEFERRED =
		4, /* the client's bytes are not acknowledged yet: server bytes are in flight */
};

/* tombstones: a refused connection until both ends have forgotten it. */
struct sluice_tombstone {
	__u64 born_ns;
	__u64 last_seen_ns;
	struct sluice_reply_parts parts;
	__u32 retry_after_ms;
	__u32 reply_seq; /* sequence of the answer's first byte */
	__u32 reply_end; /* … and after its FIN */
	__u32 c_ack;     /* what the client has acknowledged */
	__u32 c_end;     /* end of what the client has sent */
	__u32 rst_seq;   /* the server's next expected byte */
	__u32 flags;     /* enum sluice_tombstone_flag */
	__u32 retries;   /* times the client sent again while server bytes were missing */
};
_Static_assert(sizeof(struct sluice_tombstone) == 80, "tombstone");

enum sluice_sample_kind {
	SLUICE_SAMPLE_TTFT = 0,
	SLUICE_SAMPLE_ITL = 1,      /* n gaps that add up to sum_ns */
	SLUICE_SAMPLE_SEEN = 2,     /* no time: a 2xx to a model not learned yet */
	SLUICE_SAMPLE_DURATION = 3, /* a whole reply that is not streamed; n: its output tokens, 0:
				       it states none */
};

/* samples ring */
struct sluice_sample {
	__u64 time_ns;
	__u64 sum_ns;
	__u32 n;
	__u16 model;
	__u8 kind;  /* enum sluice_sample_kind */
	__u8 twice; /* another sluice has judged the request, too */
	__u32 service;
	__u32 bytes;        /* of the request */
	__u32 queued_bytes; /* TTFT: as in the exchange. ITL: the mean of the whole response's gaps
			in µs, where it has ended … */
	__u32 in_flight_at_admission; /* … and how many they were; 0: it has not */
	__u16 pool;                   /* that the request was admitted to */
	__u16 served; /* TTFT: of those in flight there, how many were admitted no later than it */
	__u16 pad2[2];
	struct sluice_client client;
	char name[SLUICE_NAME_MAX]; /* all zero unless model is SLUICE_MODEL_OTHER */
};
_Static_assert(sizeof(struct sluice_sample) == 48 + 24 + 96, "sample");

/* verdicts ring: one refusal, or what shadow mode would have refused */
struct sluice_refusal {
	__u64 time_ns;
	struct sluice_client client;
	__u32 service;
	__u32 retry_after_ms;
	__u16 model;
	__u8 reason;
	__u8 action;
	__u8 verdict; /* enum sluice_verdict */
	__u8 at_syn;  /* 1: a connection was refused, not a request */
	__u16 pool;   /* that a request was refused from */
};
_Static_assert(sizeof(struct sluice_refusal) == 48, "refusal");

enum sluice_end {
	SLUICE_END_NONE = 0,      /* refused */
	SLUICE_END_COMPLETED = 1, /* a 2xx to its end */
	SLUICE_END_FAILED = 2,    /* another status, an error in the stream, or cut by the server */
	SLUICE_END_DEPARTED = 3,  /* its client hung up first */
};

/* records ring: one judged request, at its end or refusal, while somebody records. Times and sizes
 * only. */
struct sluice_record {
	__u64 time_ns;     /* its last byte came, or it was refused */
	__u64 duration_ns; /* from then to its response's end */
	__u32 ttft_us;     /* 0: none was measured */
	__u32 bytes;       /* of the request; of one refused before its end, at least */
	__u32 tokens;      /* of the output */
	__u32 service;
	__u32 retry_after_ms;
	__u16 model;
	__u8 verdict; /* enum sluice_verdict: ADMITTED, REJECTED or SHADOW_REJECTED */
	__u8 reason;  /* enum sluice_reason */
	__u8 end;     /* enum sluice_end */
	__u8 pad[7];
	struct sluice_client client;
};
_Static_assert(sizeof(struct sluice_record) == 72, "record");

/* request_counts: per-CPU; key → u64. */
struct sluice_count_key {
	__u16 service;
	__u16 model;
	__u8 verdict;
	__u8 reason;
	__u8 class; /* of a request, + 1; 0: normal, of a SYN, and of an opaque service */
	__u8 pad;
};
_Static_assert(sizeof(struct sluice_count_key) == 8, "count key");

/*
 * admitted_counts[model], per-CPU: requests of class normal admitted, of the first service that
 * this CPU has counted one of; those of other services and classes are in request_counts.
 */
struct sluice_admitted_count {
	__u64 n; /* 0: no service yet */
	__u32 service;
	__u32 pad;
};
_Static_assert(sizeof(struct sluice_admitted_count) == 16, "admitted count");

/* client_counts: LRU; for `sluicectl clients` only, no verdict rests on it. */
#define SLUICE_REASONS_MAX 12 /* spare entries, so that a new reason changes no map */
_Static_assert(SLUICE_REASON_COUNT <= SLUICE_REASONS_MAX, "reasons");

struct sluice_client_count {
	__u64 admitted; /* those that only shadow mode let pass are among them */
	__u64 rejected;
	__u64 last_seen_ns;
	__u16 last_reason;
	__u16 last_model;
	__u16 last_service;
	__u16 pad;
	__u32 by_reason[SLUICE_REASONS_MAX];        /* rejected, by enum sluice_reason */
	__u32 shadow_by_reason[SLUICE_REASONS_MAX]; /* would have been */
};
_Static_assert(sizeof(struct sluice_client_count) == 128, "client count");

#endif
