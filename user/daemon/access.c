/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reads the files that say who may read the metrics. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/secret_file.h"
#include "daemon/daemon.h"

struct file {
	const char *setting, *path;
	bool secret;
	char *text;
};

int read_access(const struct config *c, struct metrics_access **out, char *err, size_t len)
{
	struct file files[] = {
		{"metrics-token-file", c->metrics_token_file, .secret = true},
		{"metrics-tls-cert", c->metrics_tls_cert, .secret = false},
		{"metrics-tls-key", c->metrics_tls_key, .secret = true},
		{"metrics-tls-client-ca", c->metrics_tls_client_ca, .secret = false},
	};
	enum { COUNT = sizeof(files) / sizeof(files[0]) };
	char why[512];
	int ret = 0;

	for (int i = 0; i < COUNT && !ret; i++) {
		if (!files[i].path)
			continue;
		ret = secret_file_read(files[i].path, files[i].secret, &files[i].text, why,
				       sizeof(why));
		if (ret)
			snprintf(err, len, "%s: %s", files[i].setting, why);
	}
	if (!ret) {
		const struct metrics_credentials from = {
			.token = files[0].text,
			.cert = files[1].text,
			.key = files[2].text,
			.client_ca = files[3].text,
			.hosts = c->metrics_hosts,
			.host_count = c->metrics_host_count,
		};

		ret = metrics_access_new(out, &from, err, len);
	}
	for (int i = 0; i < COUNT; i++)
		secret_file_free(files[i].text);
	return ret;
}

int start_metrics(struct daemon *d, char *err, size_t len)
{
	struct metrics_access *access = NULL;
	int ret;

	if (!d->config.metrics_addr)
		return 0;
	ret = read_access(&d->config, &access, err, len);
	if (!ret)
		ret = metrics_open(&d->metrics, d->config.metrics_addr, d->config.metrics_port,
				   access, &d->state, d->queue, refresh, d, err, len);
	metrics_access_put(access);
	return ret;
}
