/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Files that hold a secret, or a certificate beside it. */
#ifndef SLUICE_CONFIG_SECRET_FILE_H
#define SLUICE_CONFIG_SECRET_FILE_H

#include <stdbool.h>
#include <stddef.h>

#define SECRET_FILE_MAX 262144 /* bytes: a bundle of certificate authorities */

/*
 * Reads the whole file into *text, with a zero byte after it. If it holds a `secret`, a file that
 * everybody can read or write is an error. 0; -errno (-ENOENT: there is none) with one line, which
 * names the path, in err. secret_file_free() wipes *text.
 */
int secret_file_read(const char *path, bool secret, char **text, char *err, size_t err_len);
void secret_file_free(char *text);

#endif
