/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One value as JSON, for the report_*.c files. The one idea: an unknown value is null and never 0,
 * so that an operator sees the difference between "fast" and "no sample yet".
 */
#include "control/report_internal.h"

#include <math.h>
#include <stdio.h>

json_t *value_number(double value)
{
	return value >= 0 && isfinite(value) ? json_real(value) : json_null();
}

json_t *value_threshold(double ms)
{
	return ms > 0 ? value_number(ms) : json_null();
}

json_t *value_count(uint64_t n)
{
	return json_integer((json_int_t)n);
}

json_t *value_gauge(int64_t n)
{
	return json_integer(n > 0 ? n : 0);
}

void report_service_name(const struct daemon_state *s, uint32_t id, char *out, size_t len)
{
	char text[TEXT_SERVICE_MAX];

	if (id >= s->service_count) {
		snprintf(out, len, "unknown-%u", id);
		return;
	}
	text_endpoint(text, s->services[id].addr, s->services[id].wildcard, s->services[id].port);
	snprintf(out, len, "%s", text);
}

json_t *value_model(const struct daemon_state *s, uint32_t id)
{
	char text[SLUICE_NAME_MAX];

	state_model_name(text, s, id);
	return json_string(text);
}

json_t *value_service(const struct daemon_state *s, uint32_t id)
{
	char text[TEXT_SERVICE_MAX];

	report_service_name(s, id, text, sizeof(text));
	return json_string(text);
}

json_t *value_weight(uint16_t weight)
{
	return json_real(text_weight_hundredths(weight) / 100.0);
}

json_t *value_by_reason(const uint64_t n[SLUICE_REASON_COUNT])
{
	json_t *all = json_object();

	for (unsigned r = SLUICE_REASON_NONE + 1; r < SLUICE_REASON_COUNT; r++)
		json_object_set_new(all, text_reason(r), value_count(n[r]));
	return all;
}
