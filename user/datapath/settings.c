/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The one entry of the map `settings`. The one idea: the daemon keeps a copy and writes it whole,
 * so a program reads either all of a change or nothing of it. A set bit in `empty` means that the
 * map has no entry: the programs skip the look-up. A clear bit is always safe.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <sluice/siphash.h>

#include "map_io.h"
#include "settings.h"

#define SETTINGS_MOST 4096 /* bytes, of any version */

/* Reads the whole value; returns its size, or -errno. */
static int read_whole(int fd, uint8_t value[SETTINGS_MOST])
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info), zero = 0;

	memset(value, 0, SETTINGS_MOST);
	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	if (info.type != BPF_MAP_TYPE_ARRAY || info.value_size > SETTINGS_MOST ||
	    info.value_size < offsetof(struct sluice_settings, stopping) + sizeof(uint32_t))
		return -ENOENT;
	return bpf_map_lookup_elem(fd, &zero, value) ? -errno : (int)info.value_size;
}

int settings_pinned(const char *pin_dir, struct sluice_settings *out)
{
	uint8_t value[SETTINGS_MOST];
	char path[PATH_MAX + 16];
	int fd, size;

	snprintf(path, sizeof(path), "%s/settings", pin_dir);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return -errno;
	size = read_whole(fd, value);
	if (size < 0) {
		close(fd);
		return size;
	}
	memcpy(out, value, sizeof(*out));
	return fd;
}

/* Writes one member of the settings of any version. */
static int write_member(int fd, size_t at, const void *member, size_t n)
{
	uint8_t value[SETTINGS_MOST];
	uint32_t zero = 0;
	int size = read_whole(fd, value);

	if (size < 0)
		return size;
	memcpy(value + at, member, n);
	return bpf_map_update_elem(fd, &zero, value, BPF_ANY);
}

int settings_write_lease(int fd, uint64_t until_ns)
{
	return write_member(fd, offsetof(struct sluice_settings, lease_until_ns), &until_ns,
			    sizeof(until_ns));
}

int settings_write_stopping(int fd, uint32_t stopping)
{
	return write_member(fd, offsetof(struct sluice_settings, stopping), &stopping,
			    sizeof(stopping));
}

int settings_pause(struct datapath *d, uint64_t until_ns)
{
	struct sluice_settings now;
	uint32_t zero = 0;
	int err = map_read(d->skel->maps.settings, &zero, &now);

	if (err)
		return err;
	now.paused_until_ns = d->settings.paused_until_ns = until_ns;
	return map_write(d->skel->maps.settings, &zero, &now);
}

int settings_write(struct datapath *d)
{
	uint32_t zero = 0;

	return map_write(d->skel->maps.settings, &zero, &d->settings);
}

int names_changed(struct datapath *d)
{
	if (!++d->settings.names)
		d->settings.names = 1;
	return settings_write(d);
}

static bool policy_empty(struct datapath *d, enum sluice_empty which)
{
	const struct bpf_map *map = which == SLUICE_EMPTY_CLIENT_FLAGS ? d->skel->maps.client_flags
				    : which == SLUICE_EMPTY_CLIENT_PREFIXES
					    ? d->skel->maps.client_prefixes
					    : d->skel->maps.client_quotas;
	uint8_t first[64];

	if (which == SLUICE_EMPTY_MODEL_FLAGS)
		return !d->refusing;
	return bpf_map_get_next_key(map_fd(map), NULL, first) == -ENOENT;
}

uint32_t policies_empty(struct datapath *d)
{
	static const enum sluice_empty all[] = {
		SLUICE_EMPTY_CLIENT_FLAGS, SLUICE_EMPTY_CLIENT_PREFIXES, SLUICE_EMPTY_CLIENT_QUOTAS,
		SLUICE_EMPTY_MODEL_FLAGS};
	uint32_t empty = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (policy_empty(d, all[i]))
			empty |= all[i];
	return empty;
}

int policy_begins(struct datapath *d, enum sluice_empty which)
{
	if (!(d->settings.empty & which))
		return 0;
	d->settings.empty &= ~(uint32_t)which;
	return settings_write(d);
}

void policy_ends(struct datapath *d, enum sluice_empty which)
{
	if (!policy_empty(d, which))
		return;
	d->settings.empty |= which;
	settings_write(d); /* if that fails, the programs only look up in vain */
}

static bool may_refuse(const struct sluice_model_flag *flag)
{
	return (!flag->allow && flag->reason) || flag->limit || flag->quota ||
	       flag->admission.floor;
}

static void note_flag(struct datapath *d, uint32_t id, const struct sluice_model_flag *flag)
{
	bool refuses = may_refuse(flag);

	d->refusing += refuses - d->refuses[id];
	d->refuses[id] = refuses;
}

int flag_write(struct datapath *d, uint32_t id, const struct sluice_model_flag *flag)
{
	bool refused = d->refuses[id];
	int err = may_refuse(flag) ? policy_begins(d, SLUICE_EMPTY_MODEL_FLAGS) : 0;

	if (!err)
		err = map_write(d->skel->maps.model_flags, &id, flag);
	if (err)
		return err;
	note_flag(d, id, flag);
	if (refused && !d->refuses[id])
		policy_ends(d, SLUICE_EMPTY_MODEL_FLAGS);
	return 0;
}

int flags_adopt(struct datapath *d)
{
	struct sluice_model_flag flag;
	int err = 0;

	for (uint32_t id = 0; id < SLUICE_MODELS_MAX && !err; id++) {
		err = map_read(d->skel->maps.model_flags, &id, &flag);
		if (!err)
			note_flag(d, id, &flag);
	}
	return err;
}

int datapath_get_secret(struct datapath *d, uint8_t out[DATAPATH_SECRET_BYTES])
{
	struct siphash_secret secret;
	uint32_t zero = 0;
	int err = map_read(d->skel->maps.hash_key, &zero, &secret);

	if (!err)
		memcpy(out, &secret, DATAPATH_SECRET_BYTES);
	explicit_bzero(&secret, sizeof(secret));
	return err;
}

int datapath_set_secret(struct datapath *d, const uint8_t secret[DATAPATH_SECRET_BYTES])
{
	struct siphash_secret now;
	uint32_t zero = 0;
	bool other;
	int err = map_read(d->skel->maps.hash_key, &zero, &now);

	_Static_assert(offsetof(struct siphash_secret, mask) == DATAPATH_SECRET_BYTES, "secret");
	other = !err && memcmp(&now, secret, DATAPATH_SECRET_BYTES);
	if (other) {
		memcpy(&now, secret, DATAPATH_SECRET_BYTES);
		err = map_write(d->skel->maps.hash_key, &zero, &now);
	}
	explicit_bzero(&now, sizeof(now));
	return err ? err : other && !d->fresh;
}

int hash_text(struct datapath *d, const char *text, size_t len, uint64_t *hash)
{
	struct siphash_secret secret;
	struct siphash state;
	uint32_t zero = 0;
	int err = map_read(d->skel->maps.hash_key, &zero, &secret);

	if (err)
		return err;
	siphash_begin(&state, &secret);
	for (size_t i = 0; i < len; i++)
		siphash_byte(&state, &secret, (__u8)text[i]);
	*hash = siphash_end(&state, &secret);
	explicit_bzero(&secret, sizeof(secret));
	explicit_bzero(&state, sizeof(state));
	return 0;
}
