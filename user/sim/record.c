/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A record as a trace; record.h says how its rows are played. */
#include "sim/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/parse.h"
#include "core/record.h"
#include "random.h"
#include "sim/fields.h"

#define DRAW_SEED 0x7265636f7264
#define MS_MAX    1e9
/* Longer gaps, as of the days between two records in one file, are played as one of this length. */
#define GAP_MAX_NS 600000000000ULL

/* Numbers of distinct names, by open addressing. */
struct names {
	char **name;
	uint32_t *number;
	uint32_t count, slots;
};

/* A row until its output is drawn. */
struct row {
	struct sim_request request;
	uint32_t model;
	bool whole; /* others may draw its output */
	bool draws;
};

struct reading {
	struct row *rows;
	uint32_t count, capacity, left_out;
	struct names models, clients;
	const char *model; /* NULL: all */
	char *written;     /* its name as records have it; it may be given so, too */
};

static uint32_t slot_of(const struct names *n, const char *name)
{
	uint32_t hash = 2166136261U;

	for (const char *c = name; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 16777619U;
	hash &= n->slots - 1;
	while (n->name[hash] && strcmp(n->name[hash], name) != 0)
		hash = (hash + 1) & (n->slots - 1);
	return hash;
}

static void names_free(struct names *n)
{
	for (uint32_t i = 0; i < n->slots; i++)
		free(n->name[i]);
	free(n->name);
	free(n->number);
}

static int names_grow(struct names *n)
{
	struct names more = {.slots = n->slots ? 2 * n->slots : 64, .count = n->count};

	more.name = calloc(more.slots, sizeof(*more.name));
	more.number = calloc(more.slots, sizeof(*more.number));
	if (!more.name || !more.number) {
		free(more.name);
		free(more.number);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < n->slots; i++) {
		uint32_t slot = n->name[i] ? slot_of(&more, n->name[i]) : 0;

		if (!n->name[i])
			continue;
		more.name[slot] = n->name[i];
		more.number[slot] = n->number[i];
	}
	free(n->name);
	free(n->number);
	*n = more;
	return 0;
}

/* The number of a name, from 0 on; or -ENOMEM. */
static int64_t number_of(struct names *n, const char *name)
{
	uint32_t slot;

	if (2 * n->count >= n->slots && names_grow(n))
		return -ENOMEM;
	slot = slot_of(n, name);
	if (!n->name[slot]) {
		n->name[slot] = strdup(name);
		if (!n->name[slot])
			return -ENOMEM;
		n->number[slot] = n->count++;
	}
	return n->number[slot];
}

/* A plain number, without a unit; or nothing. */
static bool read_ms(const char *text, float *out)
{
	double ms = 0;

	if (*text && (strspn(text, "0123456789.") != strlen(text) ||
		      parse_duration_ms(text, 1, &ms) || ms > MS_MAX))
		return false;
	*out = (float)ms;
	return true;
}

static bool read_bytes(const char *text, uint32_t *out)
{
	size_t digits = strspn(text, "0123456789");
	unsigned long long n = strtoull(text, NULL, 10);

	*out = (uint32_t)n;
	return digits && digits < 11 && !text[digits] && n <= UINT32_MAX;
}

/* Parses one line into the next row. Returns what is wrong with it, or NULL. *wanted: the row is of
 * the model. */
static const char *read_row(struct reading *r, char *line, bool *wanted)
{
	struct row *row = &r->rows[r->count];
	char *column[RECORD_COLUMNS + 1];
	uint32_t generated = 0;
	bool completed, failed;
	int64_t ns, client, of;

	memset(row, 0, sizeof(*row));
	if (record_split(line, column, RECORD_COLUMNS + 1) != RECORD_COLUMNS)
		return "is no row of a record";
	if (!trace_time(column[RECORD_TIMESTAMP], &ns))
		return "has no time like 2023-11-16 18:15:46.680";
	if (!trace_tokens(column[RECORD_CONTEXT], &row->request.prompt) ||
	    (*column[RECORD_GENERATED] && !trace_tokens(column[RECORD_GENERATED], &generated)))
		return "has a number of tokens that is none from 0 to 1000000";
	if (!read_bytes(column[RECORD_BYTES], &row->request.bytes) ||
	    !read_ms(column[RECORD_TTFT], &row->request.ttft_ms) ||
	    !read_ms(column[RECORD_DURATION], &(float){0}))
		return "has a number of bytes or milliseconds that is none";
	*wanted = !r->model || !strcmp(column[RECORD_MODEL], r->model) ||
		  !strcmp(column[RECORD_MODEL], r->written);
	client = number_of(&r->clients, column[RECORD_CLIENT]);
	of = number_of(&r->models, column[RECORD_MODEL]);
	if (client < 0 || of < 0)
		return "does not fit into memory";
	completed = !strcmp(column[RECORD_END], "completed");
	failed = !strcmp(column[RECORD_END], "failed");
	if (failed && !generated) {
		r->left_out += *wanted;
		*wanted = false;
	}
	row->model = (uint32_t)of;
	row->whole = completed;
	row->draws = !generated && !completed;
	row->request.at_ns = (uint64_t)ns;
	row->request.client = (uint32_t)client;
	row->request.generate = generated ? generated : 1;
	row->request.unary = completed && !(row->request.ttft_ms > 0);
	row->request.embedding = completed && !generated;
	row->request.refused = !strcmp(column[RECORD_VERDICT], "rejected");
	row->request.shadow = !strcmp(column[RECORD_VERDICT], "shadow_rejected");
	return NULL;
}

static int by_time(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return (x->request.at_ns > y->request.at_ns) - (x->request.at_ns < y->request.at_ns);
}

/* Gives each row without an output that of a random whole row of its model, else of any model. 0 or
 * -errno. */
static int draw(struct reading *r)
{
	/* The whole rows, model by model: those of model m are of[begin[m]] to of[begin[m + 1]]. */
	uint32_t *of = calloc(r->count + 1, sizeof(*of)), whole = 0;
	uint32_t *begin = calloc(r->models.count + 2, sizeof(*begin));
	struct chance c = {DRAW_SEED};
	int ret = of && begin ? 0 : -ENOMEM;

	for (uint32_t i = 0; !ret && i < r->count; i++)
		begin[r->rows[i].model + 2] += r->rows[i].whole;
	for (uint32_t m = 0; !ret && m < r->models.count; m++)
		begin[m + 2] += begin[m + 1];
	for (uint32_t i = 0; !ret && i < r->count; i++)
		if (r->rows[i].whole)
			of[begin[r->rows[i].model + 1]++] = i;
	whole = ret ? 0 : begin[r->models.count];
	for (uint32_t i = 0; !ret && i < r->count; i++) {
		struct row *to = &r->rows[i];
		uint32_t first = begin[to->model], n = begin[to->model + 1] - first;
		const struct sim_request *from;

		if (!to->draws)
			continue;
		if (!whole) {
			ret = -ENODATA;
			break;
		}
		from = &r->rows[n ? of[first + chance_below(&c, n)] : of[chance_below(&c, whole)]]
				.request;
		to->request.generate = from->generate;
		to->request.unary = from->unary;
		to->request.embedding = from->embedding;
	}
	free(of);
	free(begin);
	return ret;
}

/* 0; or -errno and one line in err. */
static int read_rows(FILE *in, const char *path, struct reading *r, char *err, size_t len)
{
	unsigned long number = 1;
	char *line = NULL;
	size_t size = 0;
	ssize_t n;
	int ret = 0;

	while (!ret && (n = getline(&line, &size, in)) > 0) {
		bool wanted = false;
		const char *wrong;

		number++;
		if (line[n - 1] != '\n') {
			r->left_out++; /* cut off */
			break;
		}
		line[--n] = 0;
		if (n && line[n - 1] == '\r')
			line[--n] = 0;
		if (r->count == r->capacity) {
			struct row *more;

			r->capacity = r->capacity ? 2 * r->capacity : 4096;
			more = realloc(r->rows, r->capacity * sizeof(*more));
			if (!more) {
				parse_say(err, len, PARSE_QUOTE ": line %lu: out of memory",
					  PARSE_QUOTED(path), number);
				ret = -ENOMEM;
				break;
			}
			r->rows = more;
		}
		wrong = strlen(line) == (size_t)n ? read_row(r, line, &wanted) : "is no text";
		if (wrong) {
			parse_say(err, len, PARSE_QUOTE ": line %lu %s", PARSE_QUOTED(path), number,
				  wrong);
			ret = -EINVAL;
		}
		r->count += !ret && wanted;
	}
	free(line);
	if (!ret && ferror(in)) {
		parse_say(err, len, PARSE_QUOTE ": %s", PARSE_QUOTED(path), strerror(errno));
		ret = -EIO;
	}
	return ret;
}

int record_read(FILE *in, const char *path, const char *model, struct trace *t, char *err,
		size_t len)
{
	struct reading r = {.model = model, .written = model ? record_name(model) : NULL};
	int ret = model && !r.written ? -ENOMEM : read_rows(in, path, &r, err, len);

	if (!ret && r.count < 2) {
		parse_say(err, len, PARSE_QUOTE ": the record has not two requests%s%s",
			  PARSE_QUOTED(path), model ? " of " : "", model ? model : "");
		ret = -EINVAL;
	}
	if (!ret) {
		qsort(r.rows, r.count, sizeof(*r.rows), by_time);
		ret = draw(&r);
		if (ret == -ENODATA)
			parse_say(err, len, PARSE_QUOTE ": no request of the record has completed",
				  PARSE_QUOTED(path));
	}
	if (!ret) {
		t->requests = calloc(r.count, sizeof(*t->requests));
		ret = t->requests ? 0 : -ENOMEM;
	}
	if (ret == -ENOMEM)
		parse_say(err, len, PARSE_QUOTE ": out of memory", PARSE_QUOTED(path));
	for (uint32_t i = 0; !ret && i < r.count; i++) {
		uint64_t gap = i ? r.rows[i].request.at_ns - r.rows[i - 1].request.at_ns : 0;

		t->requests[i] = r.rows[i].request;
		t->requests[i].at_ns = i ? t->requests[i - 1].at_ns : 0;
		t->requests[i].at_ns += gap < GAP_MAX_NS ? gap : GAP_MAX_NS;
	}
	t->count = ret ? 0 : r.count;
	t->clients = r.clients.count;
	t->left_out = r.left_out;
	free(r.rows);
	free(r.written);
	names_free(&r.models);
	names_free(&r.clients);
	return ret;
}

static int by_ms(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

int record_measured(const struct trace *t, const struct workload *w,
		    const struct adaptive_targets *targets, struct measured *out)
{
	float *ms = calloc(w->count + 1, sizeof(*ms));
	struct measured m = {.left_out = t->left_out, .ttft_p50_ms = -1, .ttft_p95_ms = -1};

	if (!ms)
		return -ENOMEM;
	for (uint32_t i = 0; i < w->count; i++) {
		const struct sim_request *r = &w->requests[i];
		double target = targets->ttft_ms + targets->ttft_ms_per_kib * r->bytes / 1024;

		m.refused += r->refused;
		m.admitted += !r->refused;
		m.shadow += r->shadow;
		if (r->refused || !(r->ttft_ms > 0))
			continue;
		ms[m.timed++] = r->ttft_ms;
		m.met += !(targets->ttft_ms > 0) || r->ttft_ms <= target;
	}
	if (m.timed) {
		qsort(ms, m.timed, sizeof(*ms), by_ms);
		m.ttft_p50_ms = ms[m.timed / 2];
		m.ttft_p95_ms = ms[(uint64_t)m.timed * 95 / 100];
	}
	free(ms);
	*out = m;
	return 0;
}

void record_show(FILE *out, const struct measured *m)
{
	fprintf(out, "recorded  %u admitted, %u refused, %u left out", m->admitted, m->refused,
		m->left_out);
	if (m->shadow)
		fprintf(out, ", %u refused in shadow mode", m->shadow);
	if (m->timed)
		fprintf(out, "; TTFT p50 %.0f ms, p95 %.0f ms, %.1f%% of %u inside the target",
			m->ttft_p50_ms, m->ttft_p95_ms, 100.0 * m->met / m->timed, m->timed);
	fputc('\n', out);
}
