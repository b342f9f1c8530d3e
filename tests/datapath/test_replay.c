/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Replays captures of real servers and clients (wire/: llama.cpp, uvicorn, nginx; curl, the OpenAI
 * SDKs for Python and Node, Python's HTTP clients) through the programs. It compares every request,
 * model name, response, token and time that they find with the file. Two sources state what a file
 * has: the table below, for the reader, and capture.h, which reads whole streams in the simplest
 * way. replay.h plays the packets.
 */
#include "replay.h"

/* What is in each capture; replay.h says what the columns mean. */
static const struct row rows[] = {
	/* name, port, conns, requests, POSTs, models, statuses, streams, events, tokens, µs */
	{"big", 18081, 1, 1, 1, "m", "200", 0, 0, 0, 0, 0, 71971},
	{"c_aiohttp", 18080, 1, 1, 1, "gpt-x", "200", 1, 5, 3, 341308, 636190, 0},
	{"c_http.client", 18080, 1, 1, 1, "gpt-x", "200", 1, 5, 3, 7356, 4087, 0},
	{"c_httpx", 18080, 2, 2, 2, "gpt-x gpt-x", "200 200", 2, 10, 6, 947301, 1453554, 0},
	{"c_requests", 18080, 1, 2, 2, "gpt-x gpt-x", "200 0", 1, 5, 3, 306789, 578613, 0},
	{"c_urllib", 18080, 1, 1, 1, "gpt-x", "200", 1, 5, 3, 314412, 522735, 0},
	{"expect", 18081, 1, 1, 1, "m", "200", 0, 0, 0, 0, 0, 79221},
	{"keep", 18080, 1, 3, 3, "x x x", "200 200 200", 0, 0, 0, 0, 0, 128865},
	{"new_curl_stream", 18080, 1, 1, 1, "gpt-x", "200", 1, 7, 4, 7164, 10941, 0},
	{"new_curl_unary", 18080, 1, 1, 1, "gpt-x", "200", 0, 0, 0, 0, 0, 11418},
	{"new_err", 18080, 3, 3, 1, "-", "400 200 404", 0, 0, 0, 0, 0, 0},
	{"new_node", 18080, 4, 4, 4, "gpt-x gpt-x gpt-x gpt-x", "200 200 200 200", 3, 21, 12, 26106,
	 34002, 10422},
	{"new_py", 18080, 3, 3, 3, "gpt-x gpt-x gpt-x", "200 200 200", 2, 14, 8, 20779, 11625,
	 7619},
	{"ng_proxy", 18083, 1, 1, 1, "gpt-x", "200", 1, 5, 3, 10299, 2770, 0},
	{"ng_unary", 18082, 1, 1, 1, "gpt-x", "200", 0, 0, 0, 0, 0, 80},
	{"old_curl_stream", 18080, 1, 1, 1, "gpt-x", "200", 1, 7, 5, 415468, 1493737, 0},
	{"old_curl_unary", 18080, 1, 1, 1, "gpt-x", "200", 0, 0, 0, 0, 0, 1924053},
	{"old_node", 18080, 3, 3, 3, "gpt-x gpt-x gpt-x", "200 200 200", 2, 14, 10, 369232, 64025,
	 975100},
	{"old_pysdk", 18080, 3, 3, 3, "gpt-x gpt-x gpt-x", "200 200 200", 2, 12, 8, 670742, 1801834,
	 1214106},
	{"q_18080", 18080, 2, 2, 2, "gpt-x gpt-x", "200 200", 2, 86, 80, 311522, 853326, 0},
	{"q_18090", 18090, 2, 2, 2, "gpt-x gpt-x", "200 200", 2, 84, 80, 333074, 905419, 0},
	{"uv_node", 18081, 2, 3, 3, "gpt-x gpt-x gpt-x", "200 200 200", 2, 12, 6, 106567, 81298,
	 112936},
	{"uv_py", 18081, 3, 3, 3, "gpt-x gpt-x gpt-x", "200 200 200", 2, 12, 6, 121410, 85034,
	 123281},
	{"uv_stream", 18081, 1, 1, 1, "gpt-x", "200", 1, 6, 3, 61873, 43993, 0},
};

#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

/* ---- results of the programs ---- */

/* The exchange that a connection was busy with at the packet being played. */
static unsigned exchange_now(unsigned conn)
{
	const struct wire_conn *k = &w.c->conns[conn];
	unsigned n = 0;

	while (n < k->count && k->exchanges[n].requested_at <= w.at)
		n++;
	assert_true(n > 0);
	return n - 1;
}

static int keep_sample(void *ctx, void *data, size_t size)
{
	const struct sluice_sample *s = data;
	unsigned conn = w.c->packets[w.at].conn, n = exchange_now(conn);
	const struct wire_exchange *e = &w.c->conns[conn].exchanges[n];
	struct found *f = &found[conn][n];
	uint8_t client[16];

	assert_int_equal(size, sizeof(*s));
	assert_int_equal(s->time_ns, CLOCK_START + w.c->packets[w.at].time_ns);
	assert_int_equal(s->service, SERVICE_ID);
	assert_int_equal(s->bytes, e->bytes);
	assert_int_equal(s->model, charged_to(e));
	assert_string_equal(s->name, w.how->learned ? "" : e->model);
	address_of(CLIENT, client);
	if (w.how->ipv6)
		memset(client + 8, 0, 8);
	assert_memory_equal(s->client.addr, client, 16);
	assert_int_equal(s->client.plen, w.how->ipv6 ? 64 : 128);
	assert_int_equal(s->client.kind, SLUICE_CLIENT_ADDRESS);
	switch (s->kind) {
	case SLUICE_SAMPLE_TTFT:
		assert_int_equal(s->n, 1);
		f->ttft++;
		f->ttft_ns += s->sum_ns;
		break;
	case SLUICE_SAMPLE_ITL:
		f->itl += s->n;
		f->itl_ns += s->sum_ns;
		break;
	case SLUICE_SAMPLE_SEEN:
		f->seen++;
		break;
	case SLUICE_SAMPLE_DURATION:
		f->durations++;
		f->duration_ns += s->sum_ns;
		break;
	default:
		fail_msg("a sample of kind %u", s->kind);
	}
	return 0;
}

static bool judged(const struct wire_exchange *e)
{
	return !strcmp(e->method, "POST");
}

/* True if an exchange still waits for its first token after the packet being played. */
static bool waits(const struct wire_exchange *e)
{
	bool ok = e->status >= 200 && e->status < 300;
	int until = e->done_at;

	if (ok && e->streamed && e->first_at >= 0 && e->first_at < until)
		until = e->first_at;
	if (ok && !e->streamed && e->body_at >= 0 && e->body_at < until)
		until = e->body_at;
	return w.at < until;
}

static enum http1_method method_of(const struct wire_exchange *e)
{
	return !strcmp(e->method, "POST")   ? HTTP1_METHOD_POST
	       : !strcmp(e->method, "GET")  ? HTTP1_METHOD_GET
	       : !strcmp(e->method, "HEAD") ? HTTP1_METHOD_HEAD
					    : HTTP1_METHOD_OTHER;
}

/*
 * Invariant 7: at every packet, each connection has had as many requests and responses as in the
 * file.
 */
static void framing_is_exact(unsigned conn)
{
	const struct wire_conn *k = &w.c->conns[conn];
	struct sluice_conn_key key = {.client_port = htons(k->client_port),
				      .server_port = htons(w.row->port)};
	const struct wire_exchange *last = NULL;
	unsigned requested = 0, done = 0;
	struct sluice_conn seen;
	bool there;

	address_of(CLIENT, key.client_addr);
	address_of(SERVER, key.server_addr);
	there = !bpf_map_lookup_elem(fd_of(conns), &key, &seen);
	assert_int_equal(there, w.at >= k->proven_at && w.at < k->gone_at);
	if (!there)
		return;
	for (unsigned i = 0; i < k->count; i++) {
		const struct wire_exchange *e = &k->exchanges[i];

		if (e->requested_at <= w.at) {
			last = e;
			requested++;
			done += e->done_at <= w.at;
		}
	}
	assert_false(seen.flags & (SLUICE_CONN_UNJUDGED | SLUICE_CONN_NO_RESPONSES));
	assert_int_equal(seen.exchange_tail, requested);
	assert_int_equal(seen.exchange_head, done);
	if (!last)
		return;
	assert_int_equal(seen.exchange.method, method_of(last));
	assert_int_equal(seen.exchange.bytes, last->bytes);
	if (done == requested && last->status)
		assert_int_equal(seen.response.frame.status, last->status);
}

/* How many exchanges of a model have bytes that are expected to wait: a reply that is not streamed
 * is not among those that wait. */
static int64_t expected(uint32_t model)
{
	struct sluice_conn_key key;
	struct sluice_conn conn;
	int64_t n = 0;

	for (int err = bpf_map_get_next_key(fd_of(conns), NULL, &key); !err;
	     err = bpf_map_get_next_key(fd_of(conns), &key, &key))
		if (!bpf_map_lookup_elem(fd_of(conns), &key, &conn) &&
		    conn.exchange.flags & SLUICE_EXCHANGE_EXPECTED)
			n += model == SLUICE_MODEL_ALL || conn.exchange.model == model;
	return n;
}

/* Invariant 8: at every packet, the counts in flight and waiting are those of the file. */
static void slots_are_right(void)
{
	struct sluice_model_state want[MODELS_USED] = {0}, is;
	struct sluice_client_flag_key client = {.client.plen = w.how->ipv6 ? 64 : 128};
	uint8_t address[16];
	struct sluice_holding held = {0};
	int64_t sum = 0;

	for (unsigned k = 0; k < w.c->conn_count; k++) {
		for (unsigned i = 0; i < w.c->conns[k].count; i++) {
			const struct wire_exchange *e = &w.c->conns[k].exchanges[i];

			if (!judged(e) || e->requested_at > w.at || e->done_at <= w.at)
				continue;
			want[SLUICE_MODEL_ALL].in_flight++;
			want[charged_to(e)].in_flight++;
			want[SLUICE_MODEL_ALL].waiting += waits(e);
			want[charged_to(e)].waiting += waits(e);
		}
	}
	for (uint32_t i = 0; i < MODELS_USED; i++) {
		is = model_state(i);
		assert_int_equal(is.in_flight, want[i].in_flight);
		assert_int_equal(is.waiting + expected(i), want[i].waiting);
	}
	address_of(CLIENT, address);
	memcpy(client.client.addr, address, w.how->ipv6 ? 8 : 16);
	for (client.model = 0; client.model < MODELS_USED; client.model++)
		if (!bpf_map_lookup_elem(fd_of(client_in_flight), &client, &held))
			sum += held.in_flight;
	assert_int_equal(sum, want[SLUICE_MODEL_ALL].in_flight);
}

/* Plays packets [0, end) of the capture, and compares each with the file as it passes. */
static void play(const struct row *row, const struct capture *c, const struct how *how, int end)
{
	w.row = row;
	w.c = c;
	w.how = how;
	begin();
	for (w.at = 0; w.at < end; w.at++) {
		write_settings(CLOCK_START + c->packets[w.at].time_ns);
		if (how->piece)
			play_cut(&c->packets[w.at]);
		else
			play_whole(&c->packets[w.at]);
		ring_buffer__consume(w.samples);
		framing_is_exact(c->packets[w.at].conn);
		slots_are_right();
	}
}

/* Nothing failed open, was lost, was refused, or is left. */
static void nothing_went_wrong(void)
{
	static const char *const names[] = {
#define X(name, text) text,
		SLUICE_COUNTERS(X)
#undef X
	};

	for (uint32_t i = 0; i < SLUICE_COUNTER_COUNT; i++) {
		if (i == SLUICE_COUNTER_HALF_OPEN_INSERTS || i == SLUICE_COUNTER_HALF_OPEN_DELETES)
			assert_int_equal(counter(i), w.c->conn_count);
		else if (counter(i) &&
			 !(i == SLUICE_COUNTER_GAPS_CLIENT_LIMITED && w.how->server_twice))
			fail_msg("counter %s is %llu", names[i], (unsigned long long)counter(i));
	}
	assert_int_equal(entries(fd_of(conns)), 0);
	assert_int_equal(entries(fd_of(half_open)), 0);
	assert_int_equal(entries(fd_of(tombstones)), 0);
}

/* Every judged request is counted once, under its model. */
static void requests_are_counted(void)
{
	uint64_t want[MODELS_USED] = {0};

	for (unsigned k = 0; k < w.c->conn_count; k++)
		for (unsigned i = 0; i < w.c->conns[k].count; i++)
			if (judged(&w.c->conns[k].exchanges[i]))
				want[charged_to(&w.c->conns[k].exchanges[i])]++;
	for (uint32_t i = 0; i < MODELS_USED; i++) {
		struct sluice_admitted_count each[w.cpus];
		uint64_t sum = 0;

		assert_int_equal(bpf_map_lookup_elem(fd_of(admitted_counts), &i, each), 0);
		for (int cpu = 0; cpu < w.cpus; cpu++) {
			assert_true(!each[cpu].n || each[cpu].service == SERVICE_ID);
			sum += each[cpu].n;
		}
		assert_int_equal(sum, want[i]);
	}
	assert_int_equal(entries(fd_of(request_counts)), 0);
}

/*
 * Invariant 6: the times of every response are those of the packets in the file, to the nanosecond.
 */
static void times_are_honest(void)
{
	struct {
		uint64_t n, ns;
	} want[MODELS_USED][SLUICE_LATENCY_NORMALIZED] = {0};

	for (unsigned k = 0; k < w.c->conn_count; k++) {
		for (unsigned i = 0; i < w.c->conns[k].count; i++) {
			const struct wire_exchange *e = &w.c->conns[k].exchanges[i];
			bool ok = judged(e) && e->status >= 200 && e->status < 300;
			const struct found *f = &found[k][i];
			uint64_t ttft = 0, n = 0, gaps = 0, whole = 0;

			if (ok && e->streamed && e->generated) {
				ttft = wire_between(w.c, e->requested_at, e->first_at);
				gaps = wire_between(w.c, e->first_at, e->last_at);
				n = e->generated - 1;
			} else if (ok && !e->streamed && w.how->unary) {
				ttft = wire_between(w.c, e->requested_at, e->body_at);
			}
			assert_int_equal(f->ttft,
					 ok && (e->streamed ? e->generated > 0 : w.how->unary));
			assert_int_equal(f->ttft_ns, ttft);
			assert_int_equal(f->itl, n);
			assert_int_equal(f->itl_ns, gaps);
			if (ok && !e->streamed && charged_to(e) != SLUICE_MODEL_OTHER)
				whole = wire_between(w.c, e->requested_at, e->done_at);
			assert_int_equal(f->durations, whole > 0);
			assert_int_equal(f->duration_ns, whole);
			assert_int_equal(f->seen, ok && charged_to(e) == SLUICE_MODEL_OTHER);
			want[charged_to(e)][0].n += f->ttft;
			want[charged_to(e)][0].ns += ttft;
			want[charged_to(e)][1].n += n;
			want[charged_to(e)][1].ns += gaps;
			want[charged_to(e)][SLUICE_LATENCY_DURATION].n += f->durations;
			want[charged_to(e)][SLUICE_LATENCY_DURATION].ns += whole;
		}
	}
	for (uint32_t i = 0; i < MODELS_USED; i++) {
		struct sluice_histogram h[w.cpus];

		assert_int_equal(bpf_map_lookup_elem(fd_of(histograms), &i, h), 0);
		for (int which = 0; which < SLUICE_LATENCY_NORMALIZED; which++) {
			uint64_t n = 0, ns = 0;

			for (int cpu = 0; cpu < w.cpus; cpu++) {
				ns += h[cpu].sum_ns[which];
				for (int b = 0; b < SLUICE_HISTOGRAM_BUCKETS; b++)
					n += h[cpu].count[which][b];
			}
			assert_int_equal(n, want[i][which].n);
			assert_int_equal(ns, want[i][which].ns);
		}
	}
}

static struct capture *opened(const struct row *row)
{
	char path[128];

	snprintf(path, sizeof(path), "tests/datapath/wire/%s.pcap", row->name);
	return capture_open(path, row->port);
}

static void play_all(const struct how *how)
{
	for (unsigned i = 0; i < ROW_COUNT; i++) {
		struct capture *c = opened(&rows[i]);

		play(&rows[i], c, how, c->count);
		nothing_went_wrong();
		requests_are_counted();
		times_are_honest();
		capture_close(c);
	}
	w.row = NULL;
}

/* ---- tests ---- */

static void the_table_and_the_captures_agree(void **state)
{
	for (unsigned i = 0; i < ROW_COUNT; i++) {
		struct capture *c = opened(&rows[i]);
		struct row is = {
			.name = rows[i].name, .port = rows[i].port, .conns = c->conn_count};
		char models[512] = "", statuses[512] = "";

		w.row = &rows[i];
		for (unsigned k = 0; k < c->conn_count; k++) {
			for (unsigned n = 0; n < c->conns[k].count; n++) {
				const struct wire_exchange *e = &c->conns[k].exchanges[n];
				bool ok = judged(e) && e->status >= 200 && e->status < 300;

				is.requests++;
				is.posts += judged(e);
				if (judged(e))
					sprintf(models + strlen(models), "%s%s", *models ? " " : "",
						*e->model ? e->model : "-");
				sprintf(statuses + strlen(statuses), "%s%d", *statuses ? " " : "",
					e->status);
				is.streams += e->streamed;
				is.events += e->events;
				is.tokens += e->generated;
				if (ok && e->streamed) {
					is.ttft_us +=
						wire_between(c, e->requested_at, e->first_at) /
						1000;
					is.gaps_us +=
						wire_between(c, e->first_at, e->last_at) / 1000;
				} else if (ok) {
					is.unary_us +=
						wire_between(c, e->requested_at, e->body_at) / 1000;
				}
			}
		}
		assert_int_equal(is.conns, rows[i].conns);
		assert_int_equal(is.requests, rows[i].requests);
		assert_int_equal(is.posts, rows[i].posts);
		assert_string_equal(models, rows[i].models);
		assert_string_equal(statuses, rows[i].statuses);
		assert_int_equal(is.streams, rows[i].streams);
		assert_int_equal(is.events, rows[i].events);
		assert_int_equal(is.tokens, rows[i].tokens);
		assert_int_equal(is.ttft_us, rows[i].ttft_us);
		assert_int_equal(is.gaps_us, rows[i].gaps_us);
		assert_int_equal(is.unary_us, rows[i].unary_us);
		capture_close(c);
	}
	w.row = NULL;
}

/* Invariants 6, 7 and 8, on segments of Ethernet's usual size. */
static void captures_in_segments_of_1448_bytes_give_the_files_values(void **state)
{
	play_all(&(struct how){.piece = SEGMENT});
	play_all(&(struct how){.piece = SEGMENT, .learned = true, .unary = true});
}

/* Invariant 7: the ends of segments make no difference. */
static void captures_cut_anywhere_give_the_files_values(void **state)
{
	static const size_t pieces[] = {1, 2, 3, 7, 16, 61, 64, 65, 536};

	for (unsigned i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		struct how how = {
			.piece = pieces[i], .ipv6 = i & 1, .learned = i & 2, .unary = i & 4};

		for (unsigned k = 0; k < ROW_COUNT; k++) {
			struct capture *c = opened(&rows[k]);

			if (c->conns[0].stream[CLIENT].len < 100000 || how.piece >= 61) {
				play(&rows[k], c, &how, c->count);
				nothing_went_wrong();
				requests_are_counted();
				times_are_honest();
			}
			capture_close(c);
		}
	}
	w.row = NULL;
}

/* Invariants 6, 7 and 8, on whole large packets, with real hooks on a real device. */
static void captures_whole_on_a_veth_give_the_files_values(void **state)
{
	play_all(&(struct how){.piece = 0});
	play_all(&(struct how){.piece = 0, .ipv6 = true, .learned = true, .unary = true});
}

/* Invariant 8: a segment that passes two hooks, or is retransmitted, is judged once. */
static void a_client_that_sends_everything_twice_is_counted_once(void **state)
{
	play_all(&(struct how){.piece = SEGMENT, .client_twice = true, .unary = true});
}

/*
 * Invariant 6: a retransmission is no sample, and its gap is client-limited. Each token is a sample
 * or in such a gap.
 */
static void a_server_that_sends_everything_twice_adds_no_sample(void **state)
{
	const struct how how = {.piece = SEGMENT, .server_twice = true};

	for (unsigned i = 0; i < ROW_COUNT; i++) {
		struct capture *c = opened(&rows[i]);
		unsigned samples = 0;

		play(&rows[i], c, &how, c->count);
		nothing_went_wrong();
		requests_are_counted();
		for (unsigned k = 0; k < c->conn_count; k++)
			for (unsigned n = 0; n < c->conns[k].count; n++)
				samples += found[k][n].ttft + found[k][n].itl;
		assert_int_equal(samples + counter(SLUICE_COUNTER_GAPS_CLIENT_LIMITED),
				 rows[i].tokens);
		assert_true(samples <= rows[i].streams);
		capture_close(c);
	}
	w.row = NULL;
}

/* Invariant 8: whenever the clients go away, nothing stays in flight. */
static void nothing_stays_in_flight_when_clients_reset_at_any_packet(void **state)
{
	const struct how how = {.piece = SEGMENT};

	for (unsigned i = 0; i < ROW_COUNT; i++) {
		struct capture *c = opened(&rows[i]);

		for (unsigned end = 1; end < c->count; end++) {
			uint32_t next[WIRE_CONNS_MAX] = {0};

			play(&rows[i], c, &how, end);
			for (unsigned n = 0; n < end; n++) {
				const struct wire_packet *p = &c->packets[n];

				if (p->side == CLIENT && !(p->flags & RST))
					next[p->conn] =
						p->seq + p->len + !!(p->flags & (SYN | FIN));
			}
			for (unsigned k = 0; k < c->conn_count; k++) {
				struct wire_packet reset = {.side = CLIENT,
							    .conn = k,
							    .flags = RST,
							    .tcp_len = 20,
							    .seq = next[k]};

				put16(reset.tcp, c->conns[k].client_port);
				put16(reset.tcp + 2, rows[i].port);
				put16(reset.tcp + 12, 0x5000 | RST);
				if (next[k])
					play_cut(&reset);
			}
			assert_int_equal(entries(fd_of(conns)), 0);
			w.at = c->count; /* after everything in flight */
			slots_are_right();
		}
		capture_close(c);
	}
	w.row = NULL;
}

/* A veth without an address: no stack at either end accepts or answers anything. */
static int world_open(void **state)
{
	struct bpf_map *map;

	if (unshare(CLONE_NEWNET) || system("sysctl -qw net.ipv6.conf.default.disable_ipv6=1 && "
					    "ip link add t0 type veth peer name t1 && "
					    "ip link set t0 up && ip link set t1 up"))
		return -1;
	w.cpus = libbpf_num_possible_cpus();
	w.skel = sluice_bpf__open();
	if (!w.skel)
		return -1;
	bpf_object__for_each_map(map, w.skel->obj) bpf_map__set_pin_path(map, NULL);
	if (sluice_bpf__load(w.skel) || attached() || bpf_enable_stats(BPF_STATS_RUN_TIME) < 0)
		return -1;
	w.samples = ring_buffer__new(fd_of(samples), keep_sample, NULL, NULL);
	w.server_end = end_of_veth("t0");
	w.client_end = end_of_veth("t1");
	return w.samples && w.server_end >= 0 && w.client_end >= 0 ? 0 : -1;
}

static int world_close(void **state)
{
	ring_buffer__free(w.samples);
	sluice_bpf__destroy(w.skel);
	return 0;
}

/* Prints the position of a failure, and sets counts that it left back to 0. */
static int print_position(void **state)
{
	struct sluice_model_state none = {0};

	if (w.row)
		fprintf(stderr, "        in %s, packet %d\n", w.row->name, w.at + 1);
	w.row = NULL;
	clear_map(fd_of(conns));
	for (uint32_t i = 0; i < MODELS_USED; i++)
		bpf_map_update_elem(fd_of(model_state), &i, &none, 0);
	return 0;
}

#define replay_test(f) cmocka_unit_test_teardown(f, print_position)

int main(void)
{
	const struct CMUnitTest tests[] = {
		replay_test(the_table_and_the_captures_agree),
		replay_test(captures_in_segments_of_1448_bytes_give_the_files_values),
		replay_test(captures_cut_anywhere_give_the_files_values),
		replay_test(captures_whole_on_a_veth_give_the_files_values),
		replay_test(a_client_that_sends_everything_twice_is_counted_once),
		replay_test(a_server_that_sends_everything_twice_adds_no_sample),
		replay_test(nothing_stays_in_flight_when_clients_reset_at_any_packet),
	};

	if (geteuid()) {
		fprintf(stderr, "replay: needs root\n");
		return 77;
	}
	return cmocka_run_group_tests_name("replay", tests, world_open, world_close);
}
