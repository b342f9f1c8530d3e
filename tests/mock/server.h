/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the files of the mock model server share.
 */
#ifndef SLUICE_MOCK_SERVER_H
#define SLUICE_MOCK_SERVER_H

#include "mock.h"

#include <stddef.h>

#include "sim/engine.h"

#define BODY_MAX      ((size_t)8 << 20)
#define TOKENS_MAX    1000000
#define LINGER_NS     (2 * NSEC_PER_SEC)
#define STUCK_POLL_NS (5 * NSEC_PER_MSEC)
#define ENGINE_SLOTS  16384 /* concurrent requests of the engine */
#define BYTES_A_TOKEN 4

struct conn;

struct model {
	const char *name;
	double slots, queue_max, prefill_ms, prefill_us_per_byte, token_ms, tokens, finish_ms;
	double stuck;              /* 1: accepts requests and answers none */
	struct conn *first, *last; /* the queue */
	uint64_t queued, in_service, requests_complete, answers_complete;
};

enum api {
	API_CHAT,
	API_COMPLETIONS,
	API_ANTHROPIC,
	API_OLLAMA,
	API_EMBEDDINGS,
};

enum state {
	STATE_HEAD,   /* reading a request's head, or idle */
	STATE_BODY,   /* reading its body */
	STATE_ANSWER, /* a model processes it */
	STATE_LINGER, /* the last answer is sent; waits for the client's FIN */
	STATE_CLOSED,
};

enum phase {
	PHASE_NONE,
	PHASE_QUEUED,
	PHASE_PREFILL,
	PHASE_TOKENS,
};

struct conn {
	struct source source;
	struct timer timer;
	int fd;
	bool admin; /* a connection to --admin: not counted */
	bool closing;
	bool wants_write;
	bool eof;
	uint32_t events; /* the present epoll events */
	enum state state;
	struct conn *next, *prev; /* all connections */
	struct buf in, out, body;
	struct http_head head;
	struct chunked chunked;
	uint64_t body_left;

	/* the request at its model */
	struct model *model;
	enum phase phase;
	enum api api;
	bool stream, head_sent;
	bool progress; /* it wants events of prompt processing */
	bool usage;    /* … the usage of its stream */
	uint64_t id, tokens, produced, prompt_bytes, prompt_tokens;
	uint32_t index;   /* in the engine */
	uint64_t read_ns; /* when its last bytes were read */
	struct conn *queue_next, *queue_prev;
};

struct listener {
	struct source source;
	const char *at;
	bool admin;
	int fd;
};

/* An event of the engine that has not been sent yet. */
struct engine_event {
	uint32_t index;
	uint64_t id; /* of the request: another one may have its slot by now */
	bool ended;  /* else a token */
};

struct server_stats {
	uint64_t connections_accepted, connections_open, heads_seen, requests_complete;
	uint64_t answers_complete, cancelled, queue_full, resets_seen, fins_seen, malformed;
};

struct engine_batch {
	bool on;
	struct engine e;
	struct timer timer;
	struct {
		struct conn *conn; /* NULL: free */
		bool ended;
	} slots[ENGINE_SLOTS];
	uint32_t free[ENGINE_SLOTS], free_count;
	struct engine_event *events;
	size_t event_count, event_cap;
	bool delivering;
	uint64_t stopped_ns, lost_ns; /* start of the present stop; sum of all earlier ones */
};

extern struct model models[64];
extern size_t model_count;
extern struct listener listeners[32];
extern size_t listener_count;
extern struct conn *conns;
extern bool late_head;
extern struct server_stats stats;
extern struct engine_batch batch;

/* server_conn.c */
void update_events(struct conn *c);
void drop(struct conn *c);
bool send_bytes(struct conn *c, const void *data, size_t len);
void answered(struct conn *c);
void on_ready(struct source *s, uint32_t events);

/* server_answer.c */
void respond(struct conn *c, int status, const char *type, const struct buf *body);
void respond_error(struct conn *c, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void respond_malformed(struct conn *c, int status, const char *why);
void send_stream_head(struct conn *c);
void send_progress(struct conn *c);
void send_opening(struct conn *c);
void send_token(struct conn *c);
void send_ending(struct conn *c);
void plain_body(const struct conn *c, struct buf *b);

/* server_model.c */
void leave_queue(struct conn *c);
void release_model(struct conn *c);
void start_waiting(struct model *m);
void finish_service(struct conn *c);
void on_timer(struct timer *t);
struct model *find_model(const char *name, size_t len);
struct model *model_in_path(const char *path);
void enqueue(struct conn *c, struct model *m);
bool set_model_key(struct model *m, const char *key, const char *value);
void print_model(struct buf *b, const struct model *m);

/* server_engine.c */
void batch_release(struct conn *c);
void batch_run(void);
bool batch_submit(struct conn *c);
void batch_stop_or_go(void);
void set_engine(const char *value);

/* server_request.c */
void process(struct conn *c);

/* server_control.c */
void control(struct conn *c);
bool path_is(const char *target, const char *path);
bool is_own(const struct conn *c);
void get(struct conn *c);

#endif
