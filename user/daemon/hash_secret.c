/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The secret under which API keys are hashed. It is in a file, so that key:ID means the same key
 * after a detach and a reboot, and on each host that has the same file. Only the default file is
 * made if it is missing: one that the operator names is to be the same elsewhere.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/secret_file.h"
#include "core/fleet_rule.h"
#include "daemon/daemon.h"

#define BYTES DATAPATH_SECRET_BYTES

static bool is_default(const char *path)
{
	return !strcmp(path, CONFIG_HASH_SECRET_FILE);
}

static int digit(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* 32 hexadecimal digits; spaces and line ends after them do not count. */
static bool parse(const char *text, uint8_t out[BYTES])
{
	uint8_t any = 0;

	if (strspn(text, "0123456789abcdefABCDEF") != (size_t)2 * BYTES ||
	    text[2 * BYTES + strspn(text + (size_t)2 * BYTES, " \t\r\n")])
		return false;
	for (int i = 0; i < BYTES; i++) {
		out[i] = (uint8_t)(digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
		any |= out[i];
	}
	return any; /* zeros stand for no secret */
}

static int read_file(const char *path, uint8_t out[BYTES], char *err, size_t len)
{
	char why[512], *text = NULL;
	int ret = secret_file_read(path, true, &text, why, sizeof(why));

	if (!ret && !parse(text, out)) {
		ret = -EINVAL;
		snprintf(
			why, sizeof(why),
			"%s: it must hold 32 hexadecimal digits, not all 0, such as `openssl rand -hex 16` prints",
			path);
	}
	if (ret)
		snprintf(err, len, "hash-secret-file: %s", why);
	secret_file_free(text);
	return ret;
}

/* Without privileges, and before the first start, the default file cannot be read. */
int check_hash_secret(const struct config *c, char *err, size_t len)
{
	uint8_t secret[BYTES];
	int ret = read_file(c->hash_secret_file, secret, err, len);

	explicit_bzero(secret, sizeof(secret));
	return ret == -EINVAL || !is_default(c->hash_secret_file) ? ret : 0;
}

/* The file appears whole, and the first of two daemons makes it. */
static int make_file(const char *path, const uint8_t secret[BYTES])
{
	char dir[] = CONFIG_HASH_SECRET_FILE, temp[sizeof(dir) + 16], text[2 * BYTES + 2];
	int fd, ret = 0;

	*strrchr(dir, '/') = 0;
	if (mkdir(dir, 0700) && errno != EEXIST)
		return -errno;
	snprintf(temp, sizeof(temp), "%s.%d", path, getpid());
	unlink(temp);
	fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	for (int i = 0; i < BYTES; i++)
		snprintf(text + (size_t)2 * i, 3, "%02x", secret[i]);
	text[2 * BYTES] = '\n';
	errno = EIO; /* of a short write */
	if (write(fd, text, sizeof(text) - 1) != sizeof(text) - 1 || fsync(fd) || link(temp, path))
		ret = -errno;
	explicit_bzero(text, sizeof(text));
	close(fd);
	unlink(temp);
	return ret == -EEXIST ? 0 : ret;
}

int start_hash_secret(struct daemon *d, char *err, size_t len)
{
	const char *path = d->config.hash_secret_file;
	uint8_t secret[BYTES];
	int ret = read_file(path, secret, err, len);

	/* Maps that were adopted keep their secret: it becomes the file's. */
	if (ret == -ENOENT && is_default(path)) {
		ret = datapath_get_secret(d->datapath, secret);
		if (!ret)
			ret = make_file(path, secret);
		if (!ret)
			ret = read_file(path, secret, err, len);
		else
			snprintf(err, len, "hash-secret-file: %s cannot be made: %s", path,
				 strerror(-ret));
	}
	if (!ret) {
		ret = datapath_set_secret(d->datapath, secret);
		if (ret < 0)
			snprintf(err, len, "%s", datapath_error());
		d->secret_changed = ret == 1;
	} else if (ret != -EINVAL && is_default(path)) {
		say(EVENT_HASH_SECRET, NULL,
		    "%s; key:ID means other keys after a detach or a reboot", err);
		ret = 0;
	}
	explicit_bzero(secret, sizeof(secret));
	return ret < 0 ? ret : 0;
}

void forget_keys(struct daemon *d)
{
	size_t n;

	if (!d->secret_changed)
		return;
	n = desired_drop_keys(&d->manual) + desired_drop_keys(&d->fleet_part);
	say(EVENT_KEYS_DROPPED,
	    LOG_FIELDS(log_text("file", d->config.hash_secret_file),
		       log_count("rules", (int64_t)n)),
	    "%s has another secret than the adopted maps: %zu rules and quotas by key:ID match no key any more, and are removed; those of the configuration need new IDs",
	    d->config.hash_secret_file, n);
}

uint64_t hash_secret_mark(struct daemon *d)
{
	struct sluice_client hashed;
	uint64_t mark;

	if (datapath_key_client(d->datapath, FLEET_KEYS_TEXT, strlen(FLEET_KEYS_TEXT), &hashed))
		return 0;
	memcpy(&mark, hashed.addr, sizeof(mark));
	return mark;
}
