/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The operator's command line: translates arguments into one JSON line for the daemon, and the
 * answer into text. A table has all subcommands; the help is printed from it.
 */
#include <errno.h>
#include <jansson.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control/control.h"
#include "control/format_text.h"
#include "control/secret.h"
#include "core/controller.h"
#include "core/help.h"
#include "core/parse.h"
#include "ctl/exchange.h"
#include "ctl/fleet.h"
#include "ctl/record.h"
#include "ctl/show.h"
#include "ctl/summary.h"
#include "datapath/datapath.h"
#include "top/top.h"

#define ANSWER_SECS 10
#define DETACH_SECS 30 /* and more, if kept connections have longer than 10 s to end */
#define PIN_DIR     "/sys/fs/bpf/sluice"
#define USAGE_MAX   256

/* What an option does is in the commands that take it; a bit for each in their `options`. */
enum option {
	OPTION_MODEL,
	OPTION_BY,
	OPTION_SERVICE,
	OPTION_BYTES,
	OPTION_PRIORITY,
	OPTION_FOR,
	OPTION_MAX_SIZE,
	OPTION_FLEET,
	OPTION_STATUS,
	OPTION_KEPT_TIMEOUT,
	OPTION_PIN_DIR,
	OPTION_WATCH,
	OPTION_SUMMARY,
	OPTION_JSON,
	OPTION_COUNT
};

#define MODEL   (1u << OPTION_MODEL)
#define BY      (1u << OPTION_BY)
#define SERVICE (1u << OPTION_SERVICE)
#define REQUEST (1u << OPTION_BYTES | 1u << OPTION_PRIORITY)
#define FOR     (1u << OPTION_FOR)
#define SIZE    (1u << OPTION_MAX_SIZE)
#define FLEET   (1u << OPTION_FLEET)
#define STATUS  (1u << OPTION_STATUS)
#define PIN     (1u << OPTION_PIN_DIR | 1u << OPTION_KEPT_TIMEOUT)
#define WATCH   (1u << OPTION_WATCH)
#define SUMMARY (1u << OPTION_SUMMARY)
#define JSON    (1u << OPTION_JSON)

/* `argument` NULL: it takes no value. */
static const struct {
	const char *name, *argument, *help, *fallback;
} options[] = {
	[OPTION_MODEL] = {"--model", "M", "only for this model", NULL},
	[OPTION_BY] = {"--by", "requests|tokens|in-flight|rejected|last-seen",
		       "sort clients by this", NULL},
	[OPTION_SERVICE] = {"--service", "ADDR:PORT", "at this service; PORT alone will do", NULL},
	[OPTION_BYTES] = {"--bytes", "N", "size of the request, head and body", NULL},
	[OPTION_PRIORITY] = {"--priority", "VALUE", "value of the service's priority header", NULL},
	[OPTION_FOR] = {"--for", "TIME", "until then (30s, 10m, 2h); else without end", NULL},
	[OPTION_MAX_SIZE] = {"--max-size", "SIZE", "end the record before the file is larger",
			     "1G"},
	[OPTION_FLEET] = {"--fleet", NULL, "on all hosts of the fleet", NULL},
	[OPTION_STATUS] = {"--status", "503|429", "what new requests get while it drains", "503"},
	[OPTION_KEPT_TIMEOUT] = {"--kept-timeout", "TIME",
				 "wait so long for connections that a refusal kept", "10s"},
	[OPTION_PIN_DIR] = {"--pin-dir", "DIR", "where a daemon that has ended left its pins",
			    PIN_DIR},
	[OPTION_WATCH] = {"--watch", NULL, "print it anew every second", NULL},
	[OPTION_SUMMARY] = {"--summary", "TIME", "one summary each TIME (10s, 1m) and no events",
			    NULL},
	[OPTION_JSON] = {"--json", NULL, "print the daemon's answer as JSON", NULL},
};

struct call {
	const struct subcommand *sub;
	const char *control;             /* path */
	const char *value[OPTION_COUNT]; /* NULL: not given */
	double for_ms;                   /* negative: no end */
	double kept_ms;                  /* 0: as the daemon has it */
	double summary_ms;               /* 0: events, no summaries */
	uint64_t size_max;               /* of a record */
	long bytes;                      /* 0: not said */
	char **args;
	int arg_count;
};

/* `name` is of one word or two. */
struct subcommand {
	const char *name, *arguments, *does;
	unsigned options; /* bits of enum option */
	int args_min, args_max;
	int (*run)(struct call *call);
	void (*show)(FILE *out, const json_t *answer); /* as text */
};

static void show(const struct call *call, enum show_mode mode, const json_t *answer)
{
	struct show show = {
		.mode = mode,
		.json = call->value[OPTION_JSON],
		.format = call->sub->show,
	};

	show_answer(&show, answer);
}

/* Sends the request and shows its answer, with --watch again every second, also when the daemon
 * has gone away and comes back. The exit status. */
static int run_request(const struct call *call, json_t *request, unsigned timeout_s)
{
	bool watch = call->value[OPTION_WATCH], begun = false;
	int ret;

	do {
		int fd = say(call->control, watch ? json_incref(request) : request);
		json_t *answer;

		ret = fd < 0 ? -fd
			     : hear(call->control, fd, timeout_s, !call->value[OPTION_JSON],
				    &answer);
		if (fd >= 0)
			close(fd);
		if (ret == EXIT_NO_DAEMON && begun) {
			await_daemon(call->control);
			continue;
		}
		if (ret)
			break;
		begun = true;
		if (call->value[OPTION_FLEET])
			fleet_follow(call->control, answer);
		show(call, watch ? SHOW_REPLACE : SHOW_ONCE, answer);
		json_decref(answer);
	} while (watch && !ferror(stdout) && !sleep(1));
	if (watch)
		json_decref(request);
	return ret;
}

/* The daemon's name of a subcommand: "quota set" is its "quota-set". */
static const char *command(const struct call *call)
{
	static char name[32];

	snprintf(name, sizeof(name), "%s", call->sub->name);
	for (char *space = strchr(name, ' '); space; space = strchr(space, ' '))
		*space = '-';
	return name;
}

static json_t *request(const struct call *call)
{
	json_t *r = json_pack("{s:s}", "cmd", command(call));

	if (call->for_ms >= 0)
		json_object_set_new(r, "for_ms", json_real(call->for_ms));
	if (call->value[OPTION_FLEET])
		json_object_set_new(r, "fleet", json_true());
	if (call->value[OPTION_STATUS])
		json_object_set_new(r, "status", json_integer(atol(call->value[OPTION_STATUS])));
	return r;
}

static int run_simple(struct call *call)
{
	return run_request(call, request(call), ANSWER_SECS);
}

/* Shows the daemon's events until it goes away. The exit status; *begun: it has answered. */
static int show_events(const struct call *call, bool *begun)
{
	int fd = say(call->control, request(call)), ret;
	json_t *event;

	if (fd < 0)
		return -fd;
	ret = hear(call->control, fd, ANSWER_SECS, !call->value[OPTION_JSON], &event);
	if (!ret) {
		json_decref(event);
		if (*begun)
			complain("a daemon answers again");
		*begun = true;
	}
	while (!ret && !(ret = hear(call->control, fd, 0, !call->value[OPTION_JSON], &event))) {
		show(call, SHOW_LINE, event);
		json_decref(event);
		if (ferror(stdout))
			break;
	}
	close(fd);
	return ret;
}

static int run_watch(struct call *call)
{
	bool begun = false;
	int ret;

	if (call->summary_ms > 0)
		return summary_watch(call->control, call->summary_ms, call->value[OPTION_JSON]);
	while ((ret = show_events(call, &begun)) == EXIT_NO_DAEMON && begun)
		await_daemon(call->control);
	return ret;
}

static int run_record(struct call *call)
{
	return record_run(&(struct record_options){
		.control = call->control,
		.path = call->args[0],
		.for_ms = call->for_ms,
		.size_max = call->size_max,
	});
}

static int run_set(struct call *call)
{
	json_t *values = json_array();

	for (int i = 0; i < call->arg_count; i++) {
		if (!strchr(call->args[i], '=') || call->args[i][0] == '=') {
			json_decref(values);
			return complain("\"%s\" is not KEY=VALUE", call->args[i]);
		}
		if (json_array_append_new(values, json_string(call->args[i]))) {
			json_decref(values);
			return complain("the arguments are no UTF-8 text");
		}
	}
	return run_request(call,
			   json_pack("{s:s, s:s?, s:o}", "cmd", "set", "model",
				     call->value[OPTION_MODEL], "values", values),
			   ANSWER_SECS);
}

/* CLIENT for the daemon: key=- becomes key= and the first line of standard input. 0 or EXIT_USAGE.
 */
static int read_client(const char *arg, char *out, size_t size)
{
	size_t len;

	if (snprintf(out, size, "%s", arg) >= (int)size)
		return complain("CLIENT is too long");
	if (strncmp(arg, "key=", 4))
		return 0;
	/* Every user can see a secret on the command line in `ps`; the error must not repeat it. */
	if (strcmp(arg, "key=-"))
		return complain("an API key is read from standard input: write key=- for CLIENT");
	setvbuf(stdin, NULL, _IONBF, 0); /* no second copy */
	len = fgets(out + 4, (int)(size - 4), stdin) ? strcspn(out + 4, "\r\n") : 0;
	if (!len)
		return complain("key=-: there is no API key on standard input");
	out[4 + len] = 0;
	return 0;
}

/* {"cmd": …, "client": the first argument, "model": …}; NULL after a complaint. */
static json_t *about_client(const struct call *call)
{
	char client[4096];
	json_t *r = NULL;

	if (!read_client(call->args[0], client, sizeof(client))) {
		r = request(call);
		if (json_object_update_new(r, json_pack("{s:s, s:s*}", "client", client, "model",
							call->value[OPTION_MODEL]))) {
			complain("the arguments are no UTF-8 text");
			json_decref(r);
			r = NULL;
		}
	}
	explicit_bzero(client, sizeof(client));
	return r;
}

static int run_client(struct call *call)
{
	json_t *r = about_client(call);

	if (!r)
		return EXIT_USAGE;
	if (call->value[OPTION_SERVICE])
		json_object_set_new(r, "service", json_string(call->value[OPTION_SERVICE]));
	if (call->bytes)
		json_object_set_new(r, "bytes", json_integer(call->bytes));
	if (call->value[OPTION_PRIORITY])
		json_object_set_new(r, "priority", json_string(call->value[OPTION_PRIORITY]));
	return run_request(call, r, ANSWER_SECS);
}

static int run_quota_set(struct call *call)
{
	json_t *r = about_client(call);
	char words[512] = "";
	size_t at = 0;

	if (!r)
		return EXIT_USAGE;
	for (int i = 1; i < call->arg_count && at < sizeof(words); i++)
		at += (size_t)snprintf(words + at, sizeof(words) - at, "%s%s", at ? " " : "",
				       call->args[i]);
	if (at >= sizeof(words)) {
		json_decref(r);
		return complain("the quota is too long");
	}
	if (json_object_set_new(r, "quota", json_string(words))) {
		json_decref(r);
		return complain("the arguments are no UTF-8 text");
	}
	return run_request(call, r, ANSWER_SECS);
}

static int run_quota_show(struct call *call)
{
	json_t *r = call->arg_count ? about_client(call) : request(call);

	return r ? run_request(call, r, ANSWER_SECS) : EXIT_USAGE;
}

static json_t *clients_request(const struct call *call)
{
	return json_pack("{s:s, s:s*, s:s*}", "cmd", "clients", "by", call->value[OPTION_BY],
			 "service", call->value[OPTION_SERVICE]);
}

static int run_clients(struct call *call)
{
	return run_request(call, clients_request(call), ANSWER_SECS);
}

/* The first answer shows that a daemon is there, and that it takes the options. */
static int run_top(struct call *call)
{
	struct top_options top = {.control = call->control};
	json_t *answer;
	int fd, ret;

	if (!call->value[OPTION_BY])
		call->value[OPTION_BY] = "requests";
	top.by = call->value[OPTION_BY];
	top.service = call->value[OPTION_SERVICE];
	fd = say(call->control, clients_request(call));
	if (fd < 0)
		return -fd;
	ret = hear(call->control, fd, ANSWER_SECS, !call->value[OPTION_JSON], &answer);
	if (ret) {
		close(fd);
		return ret;
	}
	json_decref(answer);
	switch (top_run(&top, fd)) {
	case TOP_NO_TERMINAL:
		complain(
			"the variable TERM names no known terminal: set it, or use status --watch");
		return EXIT_REFUSED;
	case TOP_NO_ANSWER:
		return EXIT_NO_DAEMON;
	case TOP_QUIT:
		break;
	}
	return 0;
}

/* With a daemon: it detaches and ends. Without one: sluicectl removes what a stopped daemon left
 * pinned. */
static int run_detach(struct call *call)
{
	const char *given = call->value[OPTION_PIN_DIR], *pin_dir = given ? given : PIN_DIR;
	int missing = look_for_daemon(call->control), ret;

	if (!missing) {
		json_t *r = request(call);

		if (r && call->kept_ms > 0)
			json_object_set_new(r, "kept_timeout_ms", json_real(call->kept_ms));
		return run_request(call, r, DETACH_SECS + (int)(call->kept_ms / 1000));
	}
	if (missing == -EACCES || missing == -EPERM)
		return no_daemon(call->control, missing);
	/* A kernel before 6.6 keeps the filters of a killed daemon that had no pins. */
	if (strcmp(pin_dir, DATAPATH_NO_PINS) && access(pin_dir, F_OK)) {
		complain("no daemon answers at %s; %s: %s", call->control, pin_dir,
			 errno == ENOENT ? "nothing is attached or pinned" : strerror(errno));
		return EXIT_NO_DAEMON;
	}
	ret = datapath_remove(NULL, pin_dir);
	if (ret) {
		complain("no daemon answers at %s, and what an earlier one left at %s stays: %s",
			 call->control, pin_dir, datapath_error());
		return ret == -EPERM || ret == -EACCES || ret == -EBUSY ? EXIT_NO_DAEMON
									: EXIT_REFUSED;
	}
	show(call, SHOW_ONCE,
	     json_pack("{s:s}", "did",
		       "no daemon runs; removed what an earlier one left attached and pinned"));
	return 0;
}

static const struct subcommand subcommands[] = {
	{"status", NULL, "what is open or shut, and what was refused", WATCH | JSON, 0, 0,
	 run_simple, format_status},
	{"models", NULL, "averages and targets of each model", WATCH | JSON, 0, 0, run_simple,
	 format_models},
	{"clients", NULL, "requests, refusals, quotas and rules of each client",
	 BY | SERVICE | WATCH | JSON, 0, 0, run_clients, format_clients},
	{"top", NULL, "one screen: the state, models against their targets, the heaviest clients",
	 BY | SERVICE, 0, 0, run_top, NULL},
	{"explain", "CLIENT", "the verdict on the client's next request, and its reasons",
	 MODEL | SERVICE | REQUEST | JSON, 1, 1, run_client, format_explain},
	{"services", NULL, "protected services and their settings", WATCH | JSON, 0, 0, run_simple,
	 format_services},
	{"fleet", NULL, "the hosts that share quotas, and their store", WATCH | JSON, 0, 0,
	 run_simple, format_fleet},
	{"watch", NULL, "refusals, and models that open or shut, as they happen", SUMMARY | JSON, 0,
	 0, run_watch, format_event},
	{"record", "FILE", "sizes, times and verdict of each request, as CSV for sluice-sim",
	 FOR | SIZE, 1, 1, run_record, NULL},
	{"set", "KEY=VALUE...", "change targets and limits until the next reload", MODEL | JSON, 1,
	 CONTROL_VALUES_MAX, run_set, format_set},
	{"allow", "CLIENT", "admit a client whatever quotas, limits and targets say",
	 MODEL | FOR | FLEET | JSON, 1, 1, run_client, format_done},
	{"block", "CLIENT", "refuse all requests of a client", MODEL | FOR | FLEET | JSON, 1, 1,
	 run_client, format_done},
	{"clear", "CLIENT", "remove a client's allow and block rules", MODEL | FLEET | JSON, 1, 1,
	 run_client, format_done},
	{"quota set", "CLIENT QUOTA...", "give a client a quota of its own", MODEL | FLEET | JSON,
	 2, 8, run_quota_set, format_done},
	{"quota show", "[CLIENT]", "quotas and weights, and their origin", JSON, 0, 1,
	 run_quota_show, format_quotas},
	{"quota clear", "CLIENT", "take back what quota set gave", MODEL | FLEET | JSON, 1, 1,
	 run_client, format_done},
	{"drain", NULL, "let what is in flight end, and refuse what is new", FOR | STATUS | JSON, 0,
	 0, run_simple, format_done},
	{"resume", NULL, "end a drain", JSON, 0, 0, run_simple, format_done},
	{"reload", NULL, "read the configuration file again", JSON, 0, 0, run_simple, format_done},
	{"detach", NULL, "stop refusing, end the daemon, leave nothing in the kernel", PIN | JSON,
	 0, 0, run_detach, format_done},
};

#define SUBCOMMANDS (sizeof(subcommands) / sizeof(subcommands[0]))

/* "explain CLIENT [--model M] … [--json]" */
static void usage_of(const struct subcommand *sub, char *out, size_t size)
{
	size_t at = (size_t)snprintf(out, size, "%s%s%s", sub->name, sub->arguments ? " " : "",
				     sub->arguments ? sub->arguments : "");

	for (unsigned i = 0; i < OPTION_COUNT && at < size; i++)
		if (sub->options & 1u << i)
			at += (size_t)snprintf(out + at, size - at, " [%s%s%s]", options[i].name,
					       options[i].argument ? " " : "",
					       options[i].argument ? options[i].argument : "");
}

static int wrong_usage(const struct subcommand *sub)
{
	char usage[USAGE_MAX];

	usage_of(sub, usage, sizeof(usage));
	return complain("usage: sluicectl %s", usage);
}

static void help(FILE *out)
{
	const struct controller_key *key;

	fputs("Usage: sluicectl [--control PATH] [COMMAND [ARGUMENT]... [OPTION]...]\n"
	      "Controls sluiced. Without a command: status.\n\nCommands:\n",
	      out);
	for (size_t i = 0; i < SUBCOMMANDS; i++) {
		char usage[USAGE_MAX];

		usage_of(&subcommands[i], usage, sizeof(usage));
		fputs("  ", out);
		help_wrap(out, 2, 10, usage);
		fputs("      ", out);
		help_wrap(out, 6, 6, subcommands[i].does);
	}
	fputs("\nOptions:\n", out);
	help_option(out, "--control", "PATH", "socket of the daemon", CONTROL_DEFAULT_PATH);
	for (unsigned i = 0; i < OPTION_COUNT; i++)
		help_option(out, options[i].name, options[i].argument, options[i].help,
			    options[i].fallback);
	help_option(out, "--help", NULL, "print this and exit", NULL);
	help_option(out, "--version", NULL, "print the version and exit", NULL);
	fputs("\nKeys of set (for one model also KEY=default: what holds for all):\n", out);
	for (size_t i = 0; (key = controller_key(i)); i++) {
		char usage[64];

		snprintf(usage, sizeof(usage), "%s=%s", key->name, key->argument);
		help_option(out, usage, NULL, key->help, NULL);
	}
	fputs("\nCLIENT is an address, a prefix, key:ID as the command clients prints it, or\n"
	      "key=-: then the API key is read from standard input.\n"
	      "QUOTA is requests=N/PERIOD, tokens=N/PERIOD, burst=N, token-burst=N, weight=W\n"
	      "or none.\n"
	      "The variable SLUICE_CONTROL is --control, COLUMNS the width of the output,\n"
	      "else that of the terminal; NO_COLOR turns the colours of top off.\n"
	      "Exit status: 0 done, 1 refused by the daemon, 2 wrong usage, 3 no daemon.\n",
	      out);
}

/* The value of an option: after '=', or the next argument. NULL after a complaint. */
static const char *value_of(const char *option, const char *arg, int *i, int argc, char **argv)
{
	size_t len = strlen(option);

	if (arg[len] == '=')
		return arg + len + 1;
	if (++*i < argc)
		return argv[*i];
	complain("%s needs a value", option);
	return NULL;
}

static bool is_option(const char *arg, const char *option)
{
	size_t len = strlen(option);

	return !strncmp(arg, option, len) && (!arg[len] || arg[len] == '=');
}

/* Reads one option of the subcommand at argv[*i]. 0 or EXIT_USAGE. */
static int read_option(struct call *call, int *i, int argc, char **argv)
{
	const struct subcommand *sub = call->sub;
	char usage[USAGE_MAX];

	for (unsigned k = 0; k < OPTION_COUNT; k++) {
		if (!(sub->options & 1u << k) || !is_option(argv[*i], options[k].name))
			continue;
		if (options[k].argument)
			call->value[k] = value_of(options[k].name, argv[*i], i, argc, argv);
		else if (!strcmp(argv[*i], options[k].name))
			call->value[k] = options[k].name;
		else
			return complain("%s takes no value", options[k].name);
		return call->value[k] ? 0 : EXIT_USAGE;
	}
	usage_of(sub, usage, sizeof(usage));
	return complain("%s: no option %s; usage: sluicectl %s", sub->name, argv[*i], usage);
}

/* The values that are numbers. 0 or EXIT_USAGE. */
static int check_values(struct call *call)
{
	const char *bytes = call->value[OPTION_BYTES], *length = call->value[OPTION_FOR];
	const char *kept = call->value[OPTION_KEPT_TIMEOUT];
	const char *summary = call->value[OPTION_SUMMARY];
	const char *size = call->value[OPTION_MAX_SIZE];
	const char *status = call->value[OPTION_STATUS];

	if (bytes) {
		if (strlen(bytes) < 11 && strspn(bytes, "0123456789") == strlen(bytes))
			call->bytes = strtol(bytes, NULL, 10);
		if (!call->bytes)
			return complain("--bytes: \"%s\" is no number of bytes", bytes);
	}
	if (length && (parse_duration_ms(length, 1000, &call->for_ms) || call->for_ms < 1))
		return complain("--for: \"%s\" is no duration (30s, 10m, 2h)", length);
	if (summary && (parse_duration_ms(summary, 1000, &call->summary_ms) ||
			call->summary_ms < 1000 || call->summary_ms > 86400e3))
		return complain("--summary: \"%s\" is no duration from 1s to 24h (10s, 1m)",
				summary);
	if (status && strcmp(status, "503") && strcmp(status, "429"))
		return complain("--status: \"%s\" is not 503 or 429", status);
	if (record_parse_size(size ? size : options[OPTION_MAX_SIZE].fallback, &call->size_max))
		return complain("--max-size: \"%s\" is no size (1G, 500M)", size);
	if (kept && (parse_duration_ms(kept, 1000, &call->kept_ms) || call->kept_ms < 1 ||
		     call->kept_ms > 3600e3))
		return complain("--kept-timeout: \"%s\" is no duration of up to 1h (30s, 10m)",
				kept);
	return 0;
}

/* Reads what follows the subcommand. 0 or EXIT_USAGE. */
static int read_arguments(struct call *call, int argc, char **argv)
{
	bool only_args = false;
	int ret;

	call->args = argv; /* options are skipped, arguments move to the front */
	for (int i = 0; i < argc; i++) {
		if (only_args || argv[i][0] != '-' || !argv[i][1]) {
			call->args[call->arg_count++] = argv[i];
		} else if (!strcmp(argv[i], "--")) {
			only_args = true;
		} else {
			ret = read_option(call, &i, argc, argv);
			if (ret)
				return ret;
		}
	}
	if (call->arg_count < call->sub->args_min || call->arg_count > call->sub->args_max)
		return wrong_usage(call->sub);
	return check_values(call);
}

/* The subcommand at the start of argv, and how many words it has; NULL after a complaint. */
static const struct subcommand *find_subcommand(int argc, char **argv, int *words)
{
	const char *name = argv[0];
	size_t len = strlen(name);
	char second[64] = "";
	size_t at = 0;

	for (size_t k = 0; k < SUBCOMMANDS; k++) {
		const char *rest = subcommands[k].name + len;

		if (strncmp(subcommands[k].name, name, len) || (*rest && *rest != ' '))
			continue;
		*words = *rest ? 2 : 1;
		if (!*rest || (argc > 1 && !strcmp(rest + 1, argv[1])))
			return &subcommands[k];
		at += (size_t)snprintf(second + at, sizeof(second) - at, "%s%s", at ? "," : "",
				       rest);
	}
	if (at)
		complain("%s needs one of%s", name, second);
	else
		complain("no command \"%s\"; `sluicectl --help` lists what there is", name);
	return NULL;
}

int main(int argc, char **argv)
{
	static char status[] = "status";
	const char *env = getenv("SLUICE_CONTROL");
	struct call call = {
		.control = env && *env ? env : CONTROL_DEFAULT_PATH,
		.for_ms = -1,
	};
	char *bare[] = {status, NULL};
	int i = 1, words = 0, ret;

	secret_protect();
	setlocale(LC_CTYPE, "");
	for (; i < argc && argv[i][0] == '-' && strcmp(argv[i], "--json"); i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			help(stdout);
			return 0;
		}
		if (!strcmp(argv[i], "--version")) {
			puts("sluicectl " SLUICE_VERSION);
			return 0;
		}
		if (!is_option(argv[i], "--control"))
			return complain("no option %s; `sluicectl --help` lists what there is",
					argv[i]);
		call.control = value_of("--control", argv[i], &i, argc, argv);
		if (!call.control)
			return EXIT_USAGE;
	}
	if (i < argc && !strcmp(argv[i], "help")) {
		help(stdout);
		return 0;
	}
	if (i < argc && argv[i][0] != '-') {
		call.sub = find_subcommand(argc - i, argv + i, &words);
		i += words;
	} else {
		call.sub = find_subcommand(1, bare, &words);
	}
	if (!call.sub)
		return EXIT_USAGE;
	ret = read_arguments(&call, argc - i, argv + i);
	if (!ret)
		ret = call.sub->run(&call);
	if (fflush(stdout) && !ret) {
		complain("standard output: %s", strerror(errno));
		return EXIT_REFUSED;
	}
	return ret;
}
