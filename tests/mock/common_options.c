/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The command line of the mock model server and the load generator, addresses and options: see
 * mock.h.
 */
#include "mock.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- addresses ---- */

struct address parse_address(const char *text, bool need_port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *found = NULL;
	char host[256] = "";
	const char *port = "0";
	const char *colon = strrchr(text, ':');
	struct address a = {0};
	int error;

	if (strlen(text) >= sizeof(host))
		die_usage("'%.40s…' is no address", text);
	if (text[0] == '[') {
		const char *end = strchr(text, ']');

		if (!end || (end[1] && end[1] != ':') || (need_port && end[1] != ':'))
			die_usage("'%s' is no address: want [V6]:PORT", text);
		memcpy(host, text + 1, strcspn(text + 1, "]"));
		if (end[1])
			port = end + 2;
	} else if (need_port) {
		port = colon ? colon + 1 : text;
		if (colon)
			memcpy(host, text, (size_t)(colon - text));
	} else {
		strcpy(host, text);
	}
	if (need_port && (!isdigit((unsigned char)*port) || strtoul(port, NULL, 10) > 65535))
		die_usage("'%s' has no port: want ADDR:PORT or [V6]:PORT", text);
	if (!host[0])
		hints.ai_flags |= AI_PASSIVE;
	if (!host[0])
		hints.ai_family = AF_INET6;
	error = getaddrinfo(host[0] ? host : NULL, port, &hints, &found);
	if (error)
		die_usage("'%s': %s", text, gai_strerror(error));
	memcpy(&a.sa, found->ai_addr, found->ai_addrlen);
	a.len = found->ai_addrlen;
	freeaddrinfo(found);
	return a;
}

/* ---- options ---- */

bool parse_number(const char *text, double min, double max, double *out)
{
	char *end;
	double v;

	if (!isdigit((unsigned char)*text) && *text != '.' && *text != '-')
		return false;
	v = strtod(text, &end);
	if (*end || !isfinite(v) || v < min || v > max)
		return false;
	*out = v;
	return true;
}

static void print_help(const char *what, const struct option_row *rows, size_t n)
{
	printf("%s: %s\n", program_invocation_short_name, what);
	for (size_t i = 0; i < n; i++) {
		char left[64];

		snprintf(left, sizeof(left), "--%s%s%s", rows[i].name, rows[i].arg ? " " : "",
			 rows[i].arg ? rows[i].arg : "");
		printf("  %-30s %s\n", left, rows[i].help);
	}
}

static void take_option(const struct option_row *row, const char *value)
{
	if (row->on)
		*row->on = true;
	if (row->off)
		*row->off = false;
	if (row->text)
		*row->text = value;
	if (row->call)
		row->call(value);
	if (row->number && !parse_number(value, row->min, row->max, row->number))
		die_usage("--%s: '%s' is not allowed: want a number from %g to %g", row->name,
			  value, row->min, row->max);
}

void parse_options(int argc, char **argv, const char *what, const struct option_row *rows, size_t n)
{
	for (int i = 1; i < argc; i++) {
		const char *name = argv[i] + 2;
		size_t len;
		size_t r;

		if (strcmp(argv[i], "--help") == 0) {
			print_help(what, rows, n);
			exit(0);
		}
		if (strncmp(argv[i], "--", 2) != 0)
			die_usage("'%s' is no option: see --help", argv[i]);
		len = strcspn(name, "=");
		for (r = 0; r < n; r++)
			if (strlen(rows[r].name) == len && strncmp(rows[r].name, name, len) == 0)
				break;
		if (r == n)
			die_usage("there is no option '%s': see --help", argv[i]);
		if (!rows[r].arg && name[len])
			die_usage("--%s takes no value", rows[r].name);
		if (rows[r].arg && !name[len] && i + 1 == argc)
			die_usage("--%s needs a value: %s", rows[r].name, rows[r].arg);
		if (!rows[r].arg)
			take_option(&rows[r], NULL);
		else
			take_option(&rows[r], name[len] ? name + len + 1 : argv[++i]);
	}
}
