/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the files of the load generator share.
 */
#ifndef SLUICE_MOCK_LOAD_H
#define SLUICE_MOCK_LOAD_H

#include "mock.h"

#define UPLOAD_CHUNK    16384
#define DRAIN_MAX_S     10.0
#define UNBOUNDED_RUN_S 600.0
#define LINE_MAX_BYTES  ((size_t)4 << 20)
#define BYTES_A_TOKEN   4
#define TRACE_TOKENS    1000000

/* Samples in ms, and their time-decayed average, as policy ema-flag computes it. */
struct series {
	double *values;
	size_t len, cap;
	double average, weight;
	uint64_t last_ns;
};

enum outcome {
	OUTCOME_OK,
	OUTCOME_HTTP_ERROR,
	OUTCOME_CONNECT_REFUSED,
	OUTCOME_CONNECT_FAILED,
	OUTCOME_RESET,
	OUTCOME_TIMEOUT,
	OUTCOME_EOF_EARLY,
	OUTCOME_MALFORMED,
	OUTCOME_LOCAL_ERROR,
	OUTCOME_COUNT,
};

/* The end of a connection after a response with "Connection: close"; independent of the outcome. */
enum ending {
	ENDING_CLEAN,
	ENDING_RESET,
	ENDING_NONE,
	ENDING_BYTES_AFTER,
	ENDING_CONNECT_TIMEOUT,
	ENDING_COUNT,
};

struct results {
	uint64_t sent, completed, good;
	uint64_t status[600]; /* of every response with a head, whole or not */
	uint64_t outcomes[OUTCOME_COUNT];
	struct series ttft, itl, total, rejected;
	struct series request_itl; /* the mean of each answered request */
};

/* The final outcomes of requests, after their retries. */
struct fates {
	uint64_t arrived;
	uint64_t met;     /* answered within both targets */
	uint64_t refused; /* by a 429 or 503 */
	uint64_t missed;  /* every other end */
};

/* A request of a trace. */
struct arrival {
	double at_s; /* from the start */
	uint32_t prompt, generate;
	unsigned int quartile; /* of the run's prompts, by length */
};

struct model {
	const char *name;
	double weight;
	struct buf head, body; /* the bytes on the wire */
	size_t text;           /* bytes of the prompt */
	struct results results;
};

/* A request with its retries. */
struct request {
	struct timer timer; /* until its retry */
	struct model *model;
	const struct arrival *arrival; /* NULL: not from a trace */
	uint64_t begun_ns;
	size_t bind_at;
	unsigned int attempts;
};

enum state {
	STATE_CONNECTING,
	STATE_ACTIVE, /* has a request */
	STATE_IDLE,   /* kept alive */
	STATE_DRAIN,  /* answered with "Connection: close": reads until EOF */
	STATE_CLOSED,
};

struct conn {
	struct source source;
	struct timer timer;
	int fd;
	enum state state;
	bool wants_write, send_failed;
	uint32_t events;
	size_t bind_at;
	struct conn *next, *prev;         /* the idle ones of a client address */
	struct conn *all_next, *all_prev; /* all that are open */

	/* the attempt */
	struct request *request;
	struct model *model;
	struct buf own_head, own_body; /* of a request of a trace */
	size_t sent;                   /* bytes of head and body written */
	uint64_t start_ns, written_ns;

	/* its response */
	struct buf in;
	bool have_head, is_429;
	struct http_head head;
	struct chunked chunked;
	uint64_t body_left, body_bytes;
	bool events_sse, events_lines;
	struct buf line;
	bool after_cr;
	char event_name[64];
	struct buf event_data;
	unsigned int generated; /* in the present read */
	uint64_t first_ns, last_ns;
	double gap_sum_ms;
	uint64_t gaps;
};

struct last_second {
	uint64_t completed, status_429;
	size_t ttft_at;
};

extern struct address server;
extern bool have_server;
extern const char *connect_to;
extern const char *path;
extern struct model models[64];
extern size_t model_count;
extern struct address binds[256];
extern size_t bind_count;
extern struct buf extra_headers;
extern double concurrency, rate, requests_max, duration_s, max_tokens, body_bytes, retries_max;
extern double image_bytes, timeout_s, tau_s, seed, ttft_target_ms, itl_target_ms, max_time_s;
extern bool streamed, uniform, model_last, new_connections, split, chunked_upload, distinct,
	prompt_progress;
extern bool json_output, progress;
extern const char *trace_path, *series_path;
extern double trace_from, load_rate, speed;
extern struct results all;
extern struct conn *idle[ARRAY_SIZE(binds)];
extern struct conn *conns;
extern bool open_loop, ending_run;
extern struct arrival *arrivals;
extern size_t arrival_count, arrived;
extern struct fates fates, quartile_fates[4], *second_fates;
extern uint32_t quartile_ends[3]; /* tokens, inclusive */
extern size_t seconds_len, seconds_cap;
extern uint64_t endings[ENDING_COUNT];
extern struct series retry_after; /* in seconds */
extern uint64_t retry_after_values[3602], retry_after_missing;
extern uint64_t length_equal, length_differs, length_missing;
extern struct series refused_ms;
extern uint64_t requests_begun, retries, gave_up, connections_opened;
extern uint64_t in_flight, waiting, draining;
extern uint64_t start_ns, stop_ns, hard_stop_ns, last_end_ns;
extern uint64_t next_arrival_ns;
extern double arrivals_s; /* the schedule of the open loop, seconds from the start */
extern struct timer arrival_timer, stop_timer, hard_timer, progress_timer;
extern struct last_second last_second;
extern uint64_t rng_state;

/* load_numbers.c */
double random_unit(void);
void series_add(struct series *s, double v, unsigned int n, uint64_t now);
double series_mean(const struct series *s, size_t from);
int by_value(const void *a, const void *b);
double series_quantile(const struct series *s, double q);
double ms_between(uint64_t from, uint64_t to);
uint64_t s_to_ns(double s);

/* load_request.c */
void build_json(struct buf *b, const struct model *m, size_t text, double tokens);
void build_request(struct buf *head, struct buf *body);
void build_model(struct model *m);

/* load_conn.c */
void close_conn(struct conn *c);
void make_idle(struct conn *c);
struct conn *take_idle(size_t bind_at);
void update_events(struct conn *c);
void send_request(struct conn *c);
struct conn *open_conn(struct request *r);

/* load_response.c */
bool take_response(struct conn *c, uint64_t now);

/* load_run.c */
void check_end(void);
bool may_begin(void);
void end_attempt(struct conn *c, enum outcome o);
void fail(struct conn *c, enum outcome o);
void on_timeout(struct timer *t);
void begin_request(size_t bind_at, const struct arrival *a);
void schedule_arrival(void);
void on_arrival(struct timer *t);
void on_stop(struct timer *t);
void on_hard_stop(struct timer *t);

/* load_trace.c */
void read_trace(void);

/* load_report.c */
void on_progress(struct timer *t);
void write_series(void);
void print_json(double seconds);
void say_all(double seconds);

#endif
