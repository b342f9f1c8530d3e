/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Services as text: what sluice protects and how, and how each service identifies its clients.
 */
#include "control/format_internal.h"

#include <string.h>

static void endpoint(const json_t *service, char *out, size_t len)
{
	const char *address = field_text(service, "address");

	snprintf(out, len,
		 strchr(address, ':') ? "[%s]:%" JSON_INTEGER_FORMAT : "%s:%" JSON_INTEGER_FORMAT,
		 address, field_whole(service, "port"));
}

void service_print_list(FILE *out, const json_t *list, bool counts)
{
	struct table t = {.columns = counts ? 8 : 5, .align = "lllllrrr"};
	const json_t *one;
	size_t i;

	table_row(&t, "SERVICE", "PROTOCOL", "ACTION", "MODE", "DEFAULT MODEL", "ADMITTED",
		  "REJECTED", "SHADOW");
	json_array_foreach(list, i, one)
	{
		char where[96];

		endpoint(one, where, sizeof(where));
		table_row(&t, where, field_text(one, "protocol"), field_text(one, "action"),
			  field_text(one, "mode"), field_text(one, "default_model"),
			  field_number(one, "admitted", 0), field_number(one, "rejected", 0),
			  field_number(one, "shadow_rejected", 0));
	}
	table_print(out, &t);
}

void service_print_identity(FILE *out, const json_t *service)
{
	const json_t *trusted = json_object_get(service, "trusted_proxies"), *one;
	size_t i;

	json_array_foreach(json_object_get(service, "identity"), i, one)
		fprintf(out, "%s%s", i ? ", " : "", json_string_value(one));
	fprintf(out, " (IPv4 /%s, IPv6 /%s)", field_number(service, "client_prefix_v4", 0),
		field_number(service, "client_prefix_v6", 0));
	if (json_is_true(json_object_get(service, "proxy_protocol")))
		fputs(", PROXY header", out);
	json_array_foreach(trusted, i, one)
		fprintf(out, "%s%s", i ? ", " : "; trusted proxies ", json_string_value(one));
	fputc('\n', out);
}

void format_services(FILE *out, const json_t *services)
{
	const json_t *list = json_object_get(services, "services"), *one;
	size_t i, printed = 0;

	service_print_list(out, list, true);
	json_array_foreach(list, i, one)
	{
		char where[96];

		if (!json_array_size(json_object_get(one, "identity")))
			continue;
		endpoint(one, where, sizeof(where));
		fprintf(out, "%s%s: clients are ", printed++ ? "" : "\n", where);
		service_print_identity(out, one);
	}
}
