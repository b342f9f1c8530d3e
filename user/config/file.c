/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads the YAML file through libcyaml. The schema is built at run time from the option table, so
 * that an option is declared once; all its values are strings. libcyaml reports an error only in
 * its log, from the innermost position outwards: log_line() collects these lines, and say_why()
 * turns them into one sentence that names the key. libcyaml has no mapping with free names: it
 * rejects the first unknown name, which the reader then adds to the schema before it reads the
 * document again.
 */
#include "file.h"

#include <cyaml/cyaml.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/parse.h"

#define NAMES_MAX 64 /* names that the operator chose, in all maps together */

/*
 * The target of any value for libcyaml: a text, a list of texts or an array of mappings; a mapping
 * is an array of slots.
 */
struct slot {
	void *data;
	uint32_t count;
};

struct schema {
	cyaml_schema_field_t top_fields[CONFIG_FILE_KEYS_MAX + 1];
	cyaml_schema_field_t fields[CONFIG_FILE_KEYS_MAX][CONFIG_FILE_FIELDS_MAX + 1];
	cyaml_schema_value_t entries[CONFIG_FILE_KEYS_MAX];
	cyaml_schema_field_t map_fields[NAMES_MAX + 1];
	cyaml_schema_value_t top;
};

/* The names in all maps: each entry has a slot for each name. */
struct names {
	char text[NAMES_MAX][80];
	unsigned count;
};

/* The contents of the log. */
struct complaint {
	char unknown[80], twice[80], expected[32], got[32], yaml[160];
	char field[80];  /* innermost named position */
	char key[80];    /* outermost: the top-level key */
	unsigned entry;  /* in a list, 0: none */
	unsigned line;   /* of the innermost position; 0: unknown */
	unsigned fields; /* number of named positions */
};

static const cyaml_schema_value_t text_entry = {
	CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED),
};

static cyaml_schema_field_t text_field(const char *name, size_t at)
{
	cyaml_schema_field_t field =
		CYAML_FIELD_STRING_PTR("", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct slot,
				       data, 0, CYAML_UNLIMITED);

	field.key = name;
	field.data_offset = (uint32_t)(at * sizeof(struct slot) + offsetof(struct slot, data));
	return field;
}

static cyaml_schema_field_t list_field(const char *name, size_t at,
				       const cyaml_schema_value_t *entry)
{
	struct list {
		struct slot *data;
		uint32_t data_count;
	};
	cyaml_schema_field_t field =
		CYAML_FIELD_SEQUENCE("", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct list,
				     data, NULL, 0, CYAML_UNLIMITED);

	field.key = name;
	field.data_offset = (uint32_t)(at * sizeof(struct slot) + offsetof(struct slot, data));
	field.count_offset = (uint32_t)(at * sizeof(struct slot) + offsetof(struct slot, count));
	field.value.sequence.entry = entry;
	field.value.data_size = entry->type == CYAML_STRING ? sizeof(char *) : entry->data_size;
	return field;
}

static cyaml_schema_field_t map_field(const char *name, size_t at,
				      const cyaml_schema_field_t *fields, unsigned count)
{
	cyaml_schema_field_t field = CYAML_FIELD_MAPPING_PTR(
		"", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct slot, data, fields);

	field.key = name;
	field.data_offset = (uint32_t)(at * sizeof(struct slot) + offsetof(struct slot, data));
	field.value.data_size = (uint32_t)((count + 1) * sizeof(struct slot));
	return field;
}

_Static_assert(CONFIG_FILE_KEYS_MAX <= 64, "bits of `single`");

/* `single` has a bit for each list that the document writes as one value. */
static void build_schema(struct schema *s, const struct config_file_key *keys, size_t count,
			 uint64_t single, const struct names *names)
{
	cyaml_schema_value_t mapping = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct slot, NULL)};
	cyaml_schema_value_t top = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct slot, NULL)};

	memset(s, 0, sizeof(*s));
	for (unsigned i = 0; i < names->count; i++)
		s->map_fields[i] = text_field(names->text[i], i);
	for (size_t i = 0; i < count; i++) {
		if (keys[i].fields) {
			size_t n = 0;

			for (; keys[i].fields[n].name; n++) {
				const struct field *field = &keys[i].fields[n];

				s->fields[i][n] =
					field->map    ? map_field(field->name, n, s->map_fields,
								  names->count)
					: field->list ? list_field(field->name, n, &text_entry)
						      : text_field(field->name, n);
			}
			s->entries[i] = mapping;
			s->entries[i].mapping.fields = s->fields[i];
			s->entries[i].data_size = (uint32_t)(n * sizeof(struct slot));
			s->top_fields[i] = list_field(keys[i].name, i, &s->entries[i]);
		} else if (keys[i].list && !(single & 1ULL << i)) {
			s->top_fields[i] = list_field(keys[i].name, i, &text_entry);
		} else {
			s->top_fields[i] = text_field(keys[i].name, i);
		}
	}
	s->top = top;
	s->top.mapping.fields = s->top_fields;
	s->top.data_size = (uint32_t)(count * sizeof(struct slot));
}

/* Copies the text between `prefix` and `end`; false if the line does not begin with `prefix`. */
static bool take(const char *line, const char *prefix, const char *end, char *out, size_t len)
{
	const char *from = line + strlen(prefix), *to;

	if (strncmp(line, prefix, strlen(prefix)))
		return false;
	to = strstr(from, end);
	snprintf(out, len, "%.*s", (int)(to ? (size_t)(to - from) : strlen(from)), from);
	return true;
}

static void log_line(cyaml_log_t level, void *arg, const char *fmt, va_list args)
{
	struct complaint *c = arg;
	char line[512], number[16];
	const char *at;

	vsnprintf(line, sizeof(line), fmt, args);
	if (take(line, "Load: Unexpected key: ", "\n", c->unknown, sizeof(c->unknown)) ||
	    take(line, "Load: Mapping field already seen: ", "\n", c->twice, sizeof(c->twice)) ||
	    take(line, "Load: libyaml: ", "\n", c->yaml, sizeof(c->yaml)))
		return;
	if (take(line, "Load: Expecting ", ",", c->expected, sizeof(c->expected))) {
		at = strstr(line, "got event: ");
		if (at)
			take(at, "got event: ", "\n", c->got, sizeof(c->got));
		return;
	}
	at = strstr(line, "(line: ");
	if (at && !c->line && take(at, "(line: ", ",", number, sizeof(number)))
		c->line = (unsigned)strtoul(number, NULL, 10);
	if (take(line, "  in mapping field '", "' (line", c->key, sizeof(c->key))) {
		if (!c->fields++)
			memcpy(c->field, c->key, sizeof(c->field));
	} else if (take(line, "  in sequence entry '", "'", number, sizeof(number))) {
		c->entry = (unsigned)strtoul(number, NULL, 10);
	}
}

/* Translates libcyaml's and libyaml's words for a type into ours. */
static const char *kind_of(const char *word)
{
	static const struct {
		const char *word, *kind;
	} kinds[] = {
		{"STRING", "one value"},  {"SCALAR", "one value"},
		{"SEQUENCE", "a list"},   {"SEQUENCE_START", "a list"},
		{"MAPPING", "a mapping"}, {"MAPPING_START", "a mapping"},
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(kinds[i].word, word))
			return kinds[i].kind;
	return "something else";
}

static void say_unknown(const struct complaint *c, const struct config_file_key *keys, size_t count,
			const char *where, char *err, size_t len)
{
	const char *names[CONFIG_FILE_KEYS_MAX], *near;
	const struct config_file_key *section = NULL;
	size_t n = 0;

	for (size_t i = 0; i < count; i++)
		if (keys[i].fields && !strcmp(keys[i].name, c->key))
			section = &keys[i];
	if (section)
		for (; section->fields[n].name; n++)
			names[n] = section->fields[n].name;
	else
		for (; n < count; n++)
			names[n] = keys[n].name;
	near = parse_nearest(c->unknown, names, n);
	parse_say(err, len, "%sunknown key \"" PARSE_QUOTE "\"%s%s%s", where,
		  PARSE_QUOTED(c->unknown), near ? "; did you mean \"" : "", near ? near : "",
		  near ? "\"?" : "");
}

/* Whether the unknown key is a name that the operator chose: it is in a map. */
static bool in_map(const struct complaint *c, const struct config_file_key *keys, size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (const struct field *f = keys[i].fields; f && f->name; f++)
			if (f->map && !strcmp(keys[i].name, c->key) && !strcmp(f->name, c->field))
				return c->unknown[0];
	return false;
}

static void say_why(const struct complaint *c, cyaml_err_t error,
		    const struct config_file_key *keys, size_t count, char *err, size_t len)
{
	char where[256] = "";
	size_t at = 0;

	/* "services entry 2: protocol: ", in the format of load.c. */
	if (c->key[0])
		at = (size_t)snprintf(where, sizeof(where), "%s", c->key);
	if (c->entry)
		at += (size_t)snprintf(where + at, sizeof(where) - at, " entry %u", c->entry);
	if (at)
		at += (size_t)snprintf(where + at, sizeof(where) - at, ": ");
	if (c->fields > 1 && !c->twice[0])
		snprintf(where + at, sizeof(where) - at, "%s: ", c->field);

	if (c->unknown[0] && in_map(c, keys, count))
		parse_say(err, len, "%stoo many names of your own, or one of more than 63 bytes",
			  where);
	else if (c->unknown[0])
		say_unknown(c, keys, count, where, err, len);
	else if (c->twice[0])
		parse_say(err, len, "%s\"%s\" is given twice", c->fields > 1 ? where : "",
			  c->twice);
	else if (c->yaml[0] && c->line)
		parse_say(err, len, "is not YAML after line %u: %s", c->line, c->yaml);
	else if (c->yaml[0])
		parse_say(err, len, "is not YAML: %s", c->yaml);
	else if (error == CYAML_ERR_ALIAS)
		parse_say(err, len, "%saliases (*name) are not supported", where);
	else if (c->expected[0] && !c->key[0])
		parse_say(err, len, "holds %s where \"KEY: VALUE\" lines are expected",
			  kind_of(c->got));
	else if (c->expected[0])
		parse_say(err, len, "%s%s is expected, not %s", where, kind_of(c->expected),
			  kind_of(c->got));
	else
		parse_say(err, len, "cannot be read as configuration (%s)", cyaml_strerror(error));
}

/*
 * Loads into *top (NULL: an empty document). If a list turns out to be one value, it tries again
 * with one value.
 */
static int load(const char *text, size_t size, const struct config_file_key *keys, size_t count,
		struct schema *schema, const cyaml_config_t *base, struct slot **top,
		uint64_t *single, struct names *names, char *err, size_t len)
{
	for (;;) {
		struct complaint complaint = {0};
		cyaml_config_t config = *base;
		cyaml_err_t error;
		uint64_t retry = 0;

		config.log_ctx = &complaint;
		build_schema(schema, keys, count, *single, names);
		error = cyaml_load_data((const uint8_t *)text, size, &config, &schema->top,
					(cyaml_data_t **)top, NULL);
		if (error == CYAML_OK)
			return 0;
		if (complaint.fields == 1 && !strcmp(complaint.expected, "SEQUENCE") &&
		    !strcmp(complaint.got, "SCALAR"))
			for (size_t i = 0; i < count; i++)
				if (keys[i].list && !strcmp(keys[i].name, complaint.key))
					retry = 1ULL << i;
		if (retry & ~*single) {
			*single |= retry;
			continue;
		}
		if (in_map(&complaint, keys, count) && names->count < NAMES_MAX &&
		    strlen(complaint.unknown) < 64) {
			strcpy(names->text[names->count++], complaint.unknown);
			continue;
		}
		say_why(&complaint, error, keys, count, err, len);
		return -EINVAL;
	}
}

/* Hands out the values of one field. */
static int hand_out_field(const struct slot *slot, const struct config_file_key *key,
			  unsigned entry, const struct field *field, const struct names *names,
			  config_file_each each, void *arg)
{
	const struct slot *mapped = slot->data;
	bool map = field->map;
	char *const *list = slot->data;
	int rc = 0;

	if (!slot->data)
		return 0;
	for (unsigned i = 0; map && i < names->count && !rc; i++) {
		char text[1024];

		if (!mapped[i].data)
			continue;
		snprintf(text, sizeof(text), "%s=%s", names->text[i], (const char *)mapped[i].data);
		rc = each(arg, key->name, entry, field, text);
	}
	if (map)
		return rc;
	if (!field->list)
		return each(arg, key->name, entry, field, slot->data);
	for (unsigned i = 0; i < slot->count && !rc; i++)
		rc = each(arg, key->name, entry, field, list[i]);
	return rc;
}

static int hand_out(const struct slot *top, uint64_t single, const struct names *names,
		    const struct config_file_key *keys, size_t count, config_file_each each,
		    void *arg)
{
	int rc = 0;

	for (size_t i = 0; i < count && !rc; i++) {
		const struct slot *slot = &top[i], *entry = slot->data;
		char *const *list = slot->data;
		size_t n = 0;

		if (!slot->data)
			continue;
		if (keys[i].fields) {
			while (keys[i].fields[n].name)
				n++;
			for (unsigned e = 0; e < slot->count && !rc; e++, entry += n) {
				rc = each(arg, keys[i].name, e + 1, NULL, NULL);
				for (size_t f = 0; f < n && !rc; f++)
					rc = hand_out_field(&entry[f], &keys[i], e + 1,
							    &keys[i].fields[f], names, each, arg);
			}
		} else if (keys[i].list && !(single & 1ULL << i)) {
			for (unsigned e = 0; e < slot->count && !rc; e++)
				rc = each(arg, keys[i].name, 0, NULL, list[e]);
		} else {
			rc = each(arg, keys[i].name, 0, NULL, slot->data);
		}
	}
	return rc;
}

/* libcyaml would ignore a second document silently. */
static bool has_second_document(const char *text)
{
	bool content = false;

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, "---", 3) && strchr(" \t\r\n", line[3])) {
			if (content)
				return true;
			content = true;
		} else if (line[strspn(line, " \t\r")] &&
			   !strchr("#%\n", line[strspn(line, " \t\r")])) {
			content = true;
		}
	}
	return false;
}

/* What is at a path that is no regular file. */
static const char *file_kind(mode_t mode)
{
	return S_ISDIR(mode)    ? "directory"
	       : S_ISFIFO(mode) ? "FIFO"
	       : S_ISSOCK(mode) ? "socket"
				: "device";
}

/* A file of another kind may give nothing for ever, and a reload runs in the daemon's loop. */
static int open_regular(const char *path, char *err, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), why = errno;
	struct stat st;

	if (fd < 0 && (why != ENXIO || stat(path, &st))) { /* ENXIO: a socket */
		parse_say(err, len, "cannot be opened: %s", strerror(why));
		return -1;
	}
	if (fd >= 0 && fstat(fd, &st))
		parse_say(err, len, "cannot be read: %s", strerror(errno));
	else if (fd < 0 || !S_ISREG(st.st_mode))
		parse_say(err, len, "is a %s, not a file", file_kind(st.st_mode));
	else
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* The whole file, followed by a zero; the caller frees it. NULL with the reason in err. */
static char *read_whole(const char *path, size_t *size, char *err, size_t len)
{
	int fd = open_regular(path, err, len);
	char *text = NULL;
	size_t n = 0;
	ssize_t got;

	if (fd < 0)
		return NULL;
	text = malloc(CONFIG_FILE_BYTES_MAX + 2);
	if (!text) {
		parse_say(err, len, "out of memory");
		goto fail;
	}
	while (n <= CONFIG_FILE_BYTES_MAX) {
		got = read(fd, text + n, CONFIG_FILE_BYTES_MAX + 1 - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			parse_say(err, len, "cannot be read: %s", strerror(errno));
			goto fail;
		}
		if (!got)
			break;
		n += (size_t)got;
	}
	if (n > CONFIG_FILE_BYTES_MAX) {
		parse_say(err, len, "is larger than 1 MiB");
		goto fail;
	}
	text[n] = '\0';
	if (strlen(text) != n) {
		parse_say(err, len, "is not text: there is a zero byte in it");
		goto fail;
	}
	close(fd);
	*size = n;
	return text;
fail:
	free(text);
	close(fd);
	return NULL;
}

int config_file_read(const char *path, const struct config_file_key *keys, size_t count,
		     config_file_each each, void *arg, char *err, size_t len)
{
	static struct schema schema;
	static struct names names;
	const cyaml_config_t base = {
		.log_fn = log_line,
		.mem_fn = cyaml_mem,
		.log_level = CYAML_LOG_ERROR,
		.flags = CYAML_CFG_NO_ALIAS,
	};
	struct slot *top = NULL;
	uint64_t single = 0;
	size_t size = 0;
	char *text;
	int rc;

	text = read_whole(path, &size, err, len);
	if (!text)
		return -EINVAL;
	if (has_second_document(text)) {
		parse_say(err, len, "holds a second document (---); only one is read");
		rc = -EINVAL;
	} else {
		names.count = 0;
		rc = load(text, size, keys, count, &schema, &base, &top, &single, &names, err, len);
	}
	if (!rc && top) {
		rc = hand_out(top, single, &names, keys, count, each, arg);
		cyaml_free(&base, &schema.top, top, 0);
	}
	free(text);
	return rc;
}
