/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See secret_file.h. No stdio: its buffers would keep a copy. */
#include "secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static ssize_t read_all(int fd, char *to, size_t max)
{
	size_t len = 0;
	ssize_t n = 1;

	while (n > 0 && len < max) {
		n = read(fd, to + len, max - len);
		if (n > 0)
			len += (size_t)n;
		else if (n < 0 && errno == EINTR)
			n = 1;
	}
	return n < 0 ? -errno : (ssize_t)len;
}

static int read_open(int fd, bool secret, char *to, const char **why)
{
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st))
		return -errno;
	*why = "is not a file";
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	*why = "everybody can read it: chmod o= takes that away";
	if (secret && st.st_mode & 007)
		return -EACCES;
	*why = NULL;
	n = read_all(fd, to, SECRET_FILE_MAX + 1);
	if (n < 0)
		return (int)n;
	*why = "is too long, or empty, or has a zero byte";
	if (!n || n > SECRET_FILE_MAX || memchr(to, 0, (size_t)n))
		return -EINVAL;
	to[n] = 0;
	return 0;
}

int secret_file_read(const char *path, bool secret, char **text, char *err, size_t err_len)
{
	char *to = calloc(1, SECRET_FILE_MAX + 2);
	const char *why = NULL;
	int fd = -1, ret = -ENOMEM;

	if (to) {
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		ret = fd < 0 ? -errno : read_open(fd, secret, to, &why);
	}
	if (fd >= 0)
		close(fd);
	if (!ret) {
		*text = to;
		return 0;
	}
	secret_file_free(to);
	snprintf(err, err_len, "%s: %s", path, why ? why : strerror(-ret));
	return ret;
}

void secret_file_free(char *text)
{
	if (text)
		explicit_bzero(text, SECRET_FILE_MAX + 2);
	free(text);
}
