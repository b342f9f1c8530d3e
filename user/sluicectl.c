/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The operator's command line: turns words into one JSON line for the daemon and its answer into
 * text. main is a table of subcommand, arguments, what it does; the help prints itself from it.
 * Exit status: 0 done, 1 refused by the daemon with its reason, 2 usage, 3 no daemon.
 */
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "control/control.h"
#include "control/people.h"
#include "datapath/datapath.h"

#define EXIT_REFUSED   1
#define EXIT_USAGE     2
#define EXIT_NO_DAEMON 3

#define ANSWER_SECS 10
#define DETACH_SECS 30 /* tombstones drain for 10 s at most */
#define PIN_DIR     "/sys/fs/bpf/sluice"

struct call {
	const struct subcommand *sub;
	const char *control; /* path */
	bool json;
	const char *model;   /* NULL: all */
	const char *pin_dir; /* of detach without a daemon */
	double for_ms;       /* negative: no end */
	const char *by, *service, *priority;
	long bytes; /* 0: not said */
	char **args;
	int arg_count;
};

enum option {
	OPTION_JSON = 1,
	OPTION_MODEL = 2,
	OPTION_FOR = 4,
	OPTION_PIN_DIR = 8,
	OPTION_BY = 16,
	OPTION_SERVICE = 32,
	OPTION_REQUEST = 64 /* --bytes, --priority */
};

struct subcommand {
	const char *name, *usage, *does;
	unsigned options; /* enum option */
	int args_min, args_max;
	int (*run)(struct call *call);
	void (*show)(FILE *out, const json_t *answer); /* for people */
};

__attribute__((format(printf, 1, 2))) static int complain(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fputs("sluicectl: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return EXIT_USAGE;
}

static int no_daemon(const struct call *call, int error)
{
	if (error == -EACCES || error == -EPERM)
		complain("%s: %s (try as root)", call->control, strerror(-error));
	else
		complain("no daemon answers at %s: %s", call->control, strerror(-error));
	return EXIT_NO_DAEMON;
}

/* Sends a request (its reference is taken). The connection's fd, or a negative exit status. */
static int say(const struct call *call, json_t *request)
{
	char *line = json_dumps(request, JSON_COMPACT);
	int fd = control_connect(call->control), ret;

	json_decref(request);
	if (!line) {
		if (fd >= 0)
			close(fd);
		return -complain("the arguments are no UTF-8 text");
	}
	ret = fd < 0 ? fd : control_say(fd, line);
	free(line);
	if (ret < 0) {
		if (fd >= 0)
			close(fd);
		return -no_daemon(call, ret);
	}
	return fd;
}

/* Hears one line and takes it apart. 0 and *answer without its "ok", or an exit status. */
static int hear(const struct call *call, int fd, unsigned timeout_s, json_t **answer)
{
	char *line;
	int ret = control_hear(fd, timeout_s, &line);
	json_error_t error;
	json_t *whole;

	if (ret == -EAGAIN) {
		complain("the daemon at %s does not answer", call->control);
		return EXIT_NO_DAEMON;
	}
	if (ret) {
		complain("the daemon at %s went away", call->control);
		return EXIT_NO_DAEMON;
	}
	whole = json_loads(line, 0, &error);
	free(line);
	if (!json_is_object(whole)) {
		json_decref(whole);
		complain("the daemon's answer is no JSON object: another program at %s?",
			 call->control);
		return EXIT_NO_DAEMON;
	}
	if (json_is_false(json_object_get(whole, "ok"))) {
		const char *reason = json_string_value(json_object_get(whole, "error"));

		complain("%s", reason ? reason : "refused");
		json_decref(whole);
		return EXIT_REFUSED;
	}
	json_object_del(whole, "ok");
	*answer = whole;
	return 0;
}

static void show(const struct call *call, const json_t *answer)
{
	if (call->json) {
		json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
		putchar('\n');
	} else {
		call->sub->show(stdout, answer);
	}
}

/* What a `quota` command shows depends on its first word. */
static void (*quota_shows)(FILE *out, const json_t *answer);

static void show_quota(FILE *out, const json_t *answer)
{
	quota_shows(out, answer);
}

static int ask(const struct call *call, json_t *request, unsigned timeout_s)
{
	json_t *answer;
	int fd = say(call, request), ret;

	if (fd < 0)
		return -fd;
	ret = hear(call, fd, timeout_s, &answer);
	close(fd);
	if (ret)
		return ret;
	show(call, answer);
	json_decref(answer);
	return 0;
}

static json_t *request(const struct call *call)
{
	return json_pack("{s:s}", "cmd", call->sub->name);
}

static int run_simple(struct call *call)
{
	return ask(call, request(call), ANSWER_SECS);
}

static int run_watch(struct call *call)
{
	json_t *event;
	int fd = say(call, request(call)), ret;

	if (fd < 0)
		return -fd;
	ret = hear(call, fd, ANSWER_SECS, &event);
	if (!ret)
		json_decref(event);
	while (!ret && !(ret = hear(call, fd, 0, &event))) {
		if (call->json) {
			json_dumpf(event, stdout, JSON_COMPACT | JSON_REAL_PRECISION(10));
			putchar('\n');
		} else {
			people_event(stdout, event);
		}
		json_decref(event);
		if (fflush(stdout))
			break;
	}
	close(fd);
	return ret;
}

static int run_set(struct call *call)
{
	json_t *values = json_array();

	for (int i = 0; i < call->arg_count; i++) {
		if (!strchr(call->args[i], '=') || call->args[i][0] == '=') {
			json_decref(values);
			return complain("\"%s\" is not KEY=VALUE: %s", call->args[i],
					call->sub->usage);
		}
		if (json_array_append_new(values, json_string(call->args[i]))) {
			json_decref(values);
			return complain("the arguments are no UTF-8 text");
		}
	}
	return ask(
		call,
		json_pack("{s:s, s:s?, s:o}", "cmd", "set", "model", call->model, "values", values),
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
	/* A secret on the command line is in `ps` for all to see, and must not be repeated by us.
	 */
	if (strcmp(arg, "key=-"))
		return complain("an API key is read from standard input: write key=- for CLIENT");
	if (!fgets(out + 4, (int)(size - 4), stdin))
		return complain("key=-: there is no API key on standard input");
	len = strcspn(out + 4, "\r\n");
	if (!len)
		return complain("key=-: there is no API key on standard input");
	out[4 + len] = 0;
	return 0;
}

/* {"cmd": name, "client": …, "model": …}; NULL after a complaint. */
static json_t *about_client(const struct call *call, const char *name, const char *arg)
{
	char client[4096];
	json_t *r = NULL;

	if (!read_client(arg, client, sizeof(client))) {
		r = json_pack("{s:s, s:s, s:s*}", "cmd", name, "client", client, "model",
			      call->model);
		if (!r)
			complain("the arguments are no UTF-8 text");
	}
	explicit_bzero(client, sizeof(client));
	return r;
}

static int run_judge(struct call *call)
{
	json_t *r = about_client(call, call->sub->name, call->args[0]);

	if (!r)
		return EXIT_USAGE;
	if (call->service)
		json_object_set_new(r, "service", json_string(call->service));
	if (call->bytes)
		json_object_set_new(r, "bytes", json_integer(call->bytes));
	if (call->priority)
		json_object_set_new(r, "priority", json_string(call->priority));
	if (call->for_ms >= 0)
		json_object_set_new(r, "for_ms", json_real(call->for_ms));
	return ask(call, r, ANSWER_SECS);
}

static int run_quota(struct call *call)
{
	static const char usage[] =
		"usage: sluicectl quota set CLIENT [--model M] requests=100/60s tokens=20000/60s burst=20 weight=2 | show [CLIENT] | clear CLIENT [--model M]";
	const char *what = call->args[0];
	char name[16], words[512] = "";
	bool set = !strcmp(what, "set"), show = !strcmp(what, "show");
	size_t at = 0;
	json_t *r;

	if ((!set && !show && strcmp(what, "clear")) || (set && call->arg_count < 3) ||
	    (show && call->arg_count > 2) || (!set && !show && call->arg_count != 2))
		return complain("%s", usage);
	snprintf(name, sizeof(name), "quota-%s", what);
	if (call->arg_count > 1)
		r = about_client(call, name, call->args[1]);
	else
		r = json_pack("{s:s}", "cmd", name);
	if (!r)
		return EXIT_USAGE;
	for (int i = 2; i < call->arg_count; i++) {
		at += (size_t)snprintf(words + at, sizeof(words) - at, "%s%s", at ? " " : "",
				       call->args[i]);
		if (at >= sizeof(words)) {
			json_decref(r);
			return complain("%s", usage);
		}
	}
	if (set && json_object_set_new(r, "quota", json_string(words))) {
		json_decref(r);
		return complain("the arguments are no UTF-8 text");
	}
	quota_shows = show ? people_quotas : people_done;
	return ask(call, r, ANSWER_SECS);
}

static json_t *clients_request(const struct call *call)
{
	return json_pack("{s:s, s:s*, s:s*}", "cmd", "clients", "by", call->by, "service",
			 call->service);
}

static int run_clients(struct call *call)
{
	return ask(call, clients_request(call), ANSWER_SECS);
}

/* On a terminal every second anew, until it is interrupted. */
static int run_top(struct call *call)
{
	int ret;

	if (!call->by)
		call->by = "requests";
	if (call->json || !isatty(STDOUT_FILENO))
		return run_clients(call);
	do {
		fputs("\033[H\033[2J", stdout);
		ret = ask(call, clients_request(call), ANSWER_SECS);
		fflush(stdout);
	} while (!ret && !sleep(1));
	return ret;
}

/* With a daemon: it detaches and ends. Without: what a stopped one left pinned is taken away from
 * here. */
static int run_detach(struct call *call)
{
	int fd = control_connect(call->control), ret;

	if (fd >= 0) {
		close(fd);
		return ask(call, request(call), DETACH_SECS);
	}
	if (access(call->pin_dir, F_OK))
		return no_daemon(call, fd);
	ret = datapath_remove(NULL, call->pin_dir);
	if (ret) {
		complain("no daemon answers at %s, and what an earlier one left at %s stays: %s",
			 call->control, call->pin_dir, datapath_error());
		return ret == -EPERM || ret == -EACCES || ret == -EBUSY ? EXIT_NO_DAEMON
									: EXIT_REFUSED;
	}
	show(call,
	     json_pack("{s:s}", "did",
		       "no daemon runs; removed what an earlier one left attached and pinned"));
	return 0;
}

static const struct subcommand subcommands[] = {
	{"status", "status [--json]", "what is open and shut, and what was refused", OPTION_JSON, 0,
	 0, run_simple, people_status},
	{"models", "models [--json]", "the averages and targets of every model", OPTION_JSON, 0, 0,
	 run_simple, people_models},
	{"clients",
	 "clients [--by requests|tokens|in-flight|rejected] [--service ADDR:PORT] [--json]",
	 "who sent requests, why they were refused, what is left of their quotas, and what was said of them",
	 OPTION_JSON | OPTION_BY | OPTION_SERVICE, 0, 0, run_clients, people_clients},
	{"top", "top [--by requests|tokens|in-flight|rejected] [--service ADDR:PORT]",
	 "clients, the busiest first, every second anew", OPTION_JSON | OPTION_BY | OPTION_SERVICE,
	 0, 0, run_top, people_clients},
	{"explain",
	 "explain CLIENT [--model M] [--service ADDR:PORT] [--bytes N] [--priority VALUE] [--json]",
	 "what would become of the client's next request now, and why",
	 OPTION_JSON | OPTION_MODEL | OPTION_SERVICE | OPTION_REQUEST, 1, 1, run_judge,
	 people_explain},
	{"services", "services [--json]", "the protected ports", OPTION_JSON, 0, 0, run_simple,
	 people_services},
	{"watch", "watch [--json]", "refusals and models opening or shutting, as they happen",
	 OPTION_JSON, 0, 0, run_watch, people_event},
	{"set", "set [--model M] KEY=VALUE…",
	 "change a target: ttft=800ms ttft='800ms + 0.2ms/KiB' itl=30ms tau=15s max-in-flight=64 floor=2 action=… mode=… policy=adaptive|ema-flag",
	 OPTION_MODEL | OPTION_JSON, 1, CONTROL_VALUES_MAX, run_set, people_set},
	{"allow", "allow CLIENT [--model M] [--for 10m]",
	 "let a client past limits and shut models", OPTION_MODEL | OPTION_FOR | OPTION_JSON, 1, 1,
	 run_judge, people_done},
	{"block", "block CLIENT [--model M] [--for 10m]", "refuse all that a client sends",
	 OPTION_MODEL | OPTION_FOR | OPTION_JSON, 1, 1, run_judge, people_done},
	{"clear", "clear CLIENT [--model M]", "take back what was said of a client",
	 OPTION_MODEL | OPTION_JSON, 1, 1, run_judge, people_done},
	{"quota",
	 "quota set CLIENT [--model M] requests=100/60s tokens=20000/60s burst=20 weight=2 | show [CLIENT] | clear CLIENT [--model M]",
	 "a client's budget, over what the configuration says; `none`: it has none to heed",
	 OPTION_MODEL | OPTION_JSON, 1, 8, run_quota, show_quota},
	{"reload", "reload", "read the configuration file again (what `set` changed is lost)",
	 OPTION_JSON, 0, 0, run_simple, people_done},
	{"detach", "detach [--pin-dir DIR]",
	 "stop refusing, end the daemon, leave nothing in the kernel", OPTION_JSON | OPTION_PIN_DIR,
	 0, 0, run_detach, people_done},
};

#define SUBCOMMANDS (sizeof(subcommands) / sizeof(subcommands[0]))

static void help(FILE *out)
{
	fputs("usage: sluicectl [--control PATH] COMMAND …   (no command: status)\n\n", out);
	for (size_t i = 0; i < SUBCOMMANDS; i++)
		fprintf(out, "  %s\n      %s\n", subcommands[i].usage, subcommands[i].does);
	fprintf(out,
		"\nCLIENT is an address or a prefix (192.0.2.1, 10.0.0.0/8, 2001:db8::1, 2001:db8::/32), key:ID as\n"
		"`clients` prints it, or key=-: the API key is then read from standard input.\n"
		"PATH is " CONTROL_DEFAULT_PATH " unless given, here or in SLUICE_CONTROL.\n"
		"Exit status: 0 done, 1 refused by the daemon, 2 wrong usage, 3 no daemon.\n");
}

/* The value of an option: behind '=', or the next argument. NULL after a complaint. */
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

/* Reads what follows the subcommand. 0 or EXIT_USAGE. */
static int read_arguments(struct call *call, int argc, char **argv)
{
	const struct subcommand *sub = call->sub;
	const char *value;
	bool only_args = false;

	call->args = argv; /* moved to the front as they are found */
	for (int i = 0; i < argc; i++) {
		char *arg = argv[i];

		if (only_args || arg[0] != '-' || !arg[1]) {
			call->args[call->arg_count++] = arg;
		} else if (!strcmp(arg, "--")) {
			only_args = true;
		} else if (!strcmp(arg, "--json") && sub->options & OPTION_JSON) {
			call->json = true;
		} else if (is_option(arg, "--model") && sub->options & OPTION_MODEL) {
			call->model = value_of("--model", arg, &i, argc, argv);
			if (!call->model)
				return EXIT_USAGE;
		} else if (is_option(arg, "--by") && sub->options & OPTION_BY) {
			call->by = value_of("--by", arg, &i, argc, argv);
			if (!call->by)
				return EXIT_USAGE;
		} else if (is_option(arg, "--service") && sub->options & OPTION_SERVICE) {
			call->service = value_of("--service", arg, &i, argc, argv);
			if (!call->service)
				return EXIT_USAGE;
		} else if (is_option(arg, "--priority") && sub->options & OPTION_REQUEST) {
			call->priority = value_of("--priority", arg, &i, argc, argv);
			if (!call->priority)
				return EXIT_USAGE;
		} else if (is_option(arg, "--bytes") && sub->options & OPTION_REQUEST) {
			value = value_of("--bytes", arg, &i, argc, argv);
			if (!value)
				return EXIT_USAGE;
			call->bytes = strlen(value) < 11 && value[0] &&
						      strspn(value, "0123456789") == strlen(value)
					      ? strtol(value, NULL, 10)
					      : 0;
			if (!call->bytes)
				return complain("--bytes: \"%s\" is no number of bytes", value);
		} else if (is_option(arg, "--pin-dir") && sub->options & OPTION_PIN_DIR) {
			call->pin_dir = value_of("--pin-dir", arg, &i, argc, argv);
			if (!call->pin_dir)
				return EXIT_USAGE;
		} else if (is_option(arg, "--for") && sub->options & OPTION_FOR) {
			value = value_of("--for", arg, &i, argc, argv);
			if (!value)
				return EXIT_USAGE;
			if (config_parse_duration_ms(value, 1000, &call->for_ms) ||
			    call->for_ms < 1)
				return complain("--for: \"%s\" is no duration (30s, 10m, 2h)",
						value);
		} else {
			return complain("%s: no option %s; usage: sluicectl %s", sub->name, arg,
					sub->usage);
		}
	}
	if (call->arg_count < sub->args_min || call->arg_count > sub->args_max)
		return complain("usage: sluicectl %s", sub->usage);
	return 0;
}

int main(int argc, char **argv)
{
	const char *env = getenv("SLUICE_CONTROL");
	struct call call = {
		.control = env && *env ? env : CONTROL_DEFAULT_PATH,
		.pin_dir = PIN_DIR,
		.for_ms = -1,
	};
	const char *name = "status";
	int i = 1, ret;

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
	if (i < argc && argv[i][0] != '-')
		name = argv[i++];
	if (!strcmp(name, "help")) {
		help(stdout);
		return 0;
	}
	for (size_t k = 0; k < SUBCOMMANDS && !call.sub; k++)
		if (!strcmp(subcommands[k].name, name))
			call.sub = &subcommands[k];
	if (!call.sub)
		return complain("no command \"%s\"; `sluicectl --help` lists what there is", name);
	ret = read_arguments(&call, argc - i, argv + i);
	if (!ret)
		ret = call.sub->run(&call);
	if (fflush(stdout) && !ret) {
		complain("standard output: %s", strerror(errno));
		return EXIT_REFUSED;
	}
	return ret;
}
