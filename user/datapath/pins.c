/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The pin directory: it holds maps by name, and links in links/ as <network
 * namespace>_<ifindex>_<hook>. The one idea: the pins alone record what is attached, so a daemon
 * that is killed at any point leaves a state that the next one adopts or clears. The lock is a
 * flock on the directory itself, since bpffs holds no ordinary files. A bpffs directory named
 * *_qdisc marks a clsact qdisc that sluice made and may remove.
 */
#include <bpf/btf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "hooks.h"
#include "layout.h"
#include "pins.h"

#define BPFFS "/sys/fs/bpf"

static bool on_bpffs(const char *path)
{
	struct statfs fs;

	return !statfs(path, &fs) && (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

/* Shortens path to its nearest part that exists. */
static void nearest_existing(char *path)
{
	struct stat st;

	while (strcmp(path, "/") && stat(path, &st)) {
		char *slash = strrchr(path, '/');

		if (slash == path)
			slash++;
		*slash = 0;
	}
}

bool pins_none(const char *pin_dir)
{
	return !strncmp(pin_dir, PINS_NOWHERE, strlen(PINS_NOWHERE));
}

static int find_bpffs(const char *pin_dir)
{
	char path[PATH_MAX];

	strcpy(path, pin_dir);
	nearest_existing(path);
	if (on_bpffs(path))
		return 0;
	if (strncmp(path, BPFFS, strlen(BPFFS)) ||
	    (path[strlen(BPFFS)] && path[strlen(BPFFS)] != '/')) {
		struct stat st;

		if (!strncmp(pin_dir, BPFFS "/", strlen(BPFFS "/")) && stat(BPFFS, &st))
			return datapath_fail(
				-ENOENT,
				"%s does not exist: is sysfs mounted, and has the kernel BPF?",
				BPFFS);
		return datapath_fail(
			-EINVAL,
			"pin-dir %s is not on a BPF file system: choose one below %s, or mount one there (mount -t bpf bpf DIR)",
			pin_dir, BPFFS);
	}
	if (mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RELATIME, "mode=0700"))
		return datapath_fail(
			-errno,
			"no BPF file system is mounted on %s, and mounting one fails: %s; give a container the host's, or set `pin-dir: none`",
			BPFFS, strerror(errno));
	return 0;
}

/* mkdir -p inside the BPF file system. */
static int make_directories(const char *pin_dir)
{
	char path[PATH_MAX];

	strcpy(path, pin_dir);
	for (char *at = path + 1;; at++) {
		char was = *at;

		if (was && was != '/')
			continue;
		*at = 0;
		if (mkdir(path, 0700) && errno != EEXIST) {
			int err = -errno;
			const char *name = strrchr(path, '/') + 1;

			if (err == -EPERM && strchr(name, '.'))
				return datapath_fail(
					-EINVAL,
					"pin-dir %s: a name on a BPF file system must not have a dot in it",
					pin_dir);
			return datapath_fail(err, "%s cannot be made: %s", path, strerror(-err));
		}
		if (!was)
			return 0;
		*at = was;
	}
}

/* Whether an open directory is the one at that path. */
static bool is_at(int dir_fd, const char *pin_dir)
{
	struct stat held, named;

	return !fstat(dir_fd, &held) && !stat(pin_dir, &named) && held.st_ino == named.st_ino &&
	       held.st_dev == named.st_dev;
}

int pins_lock(const char *pin_dir, int *dir_fd)
{
	for (;;) {
		int fd = open(pin_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fd < 0)
			return datapath_fail(-errno, "pin-dir %s: %s", pin_dir, strerror(errno));
		if (!on_bpffs(pin_dir)) {
			close(fd);
			return datapath_fail(-EINVAL, "pin-dir %s is not on a BPF file system",
					     pin_dir);
		}
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			int err = errno == EWOULDBLOCK ? -EBUSY : -errno;

			close(fd);
			if (err == -EBUSY)
				return datapath_fail(
					err, "another sluiced is running with pin-dir %s", pin_dir);
			return datapath_fail(err, "pin-dir %s cannot be locked: %s", pin_dir,
					     strerror(-err));
		}
		/* A last holder may have removed it between our open and our lock. */
		if (is_at(fd, pin_dir)) {
			*dir_fd = fd;
			return 0;
		}
		close(fd);
	}
}

int pins_open(const char *pin_dir)
{
	char parent[PATH_MAX + 4];
	struct stat st, up;
	int fd, err, tries = 0;

	if (pin_dir[0] != '/')
		return datapath_fail(-EINVAL, "pin-dir %s: an absolute path is needed", pin_dir);
	err = find_bpffs(pin_dir);
	if (err)
		return err;
	do {
		err = make_directories(pin_dir);
		if (err)
			return err;
		err = pins_lock(pin_dir, &fd);
	} while (err == -ENOENT && tries++ < 10);
	if (err)
		return err;
	snprintf(parent, sizeof(parent), "%s/..", pin_dir);
	if (!fstat(fd, &st) && !stat(parent, &up) && st.st_dev != up.st_dev) {
		close(fd);
		return datapath_fail(
			-EINVAL, "pin-dir %s is a whole BPF file system: name a directory in it",
			pin_dir);
	}
	return fd;
}

bool pins_present(const char *pin_dir, const struct bpf_object *obj, int dir_fd)
{
	const struct bpf_map *map;

	if (!is_at(dir_fd, pin_dir))
		return false;
	bpf_object__for_each_map(map, obj)
	{
		const char *path = bpf_map__pin_path(map);

		if (path && access(path, F_OK))
			return false;
	}
	return true;
}

int pins_again(const char *pin_dir, const struct bpf_object *obj, int *dir_fd)
{
	const struct bpf_map *map;

	if (!is_at(*dir_fd, pin_dir)) {
		int fd = pins_open(pin_dir);

		if (fd < 0)
			return fd;
		close(*dir_fd);
		*dir_fd = fd;
	}
	bpf_object__for_each_map(map, obj)
	{
		const char *path = bpf_map__pin_path(map);

		if (!path || !access(path, F_OK))
			continue;
		if (bpf_obj_pin(bpf_map__fd(map), path))
			return datapath_fail(-errno, "%s: %s", path, strerror(errno));
	}
	return 0;
}

/* The kind of object pinned at path: "map", "prog" or "link", read from an fd that is closed again;
 * -errno. */
static int pin_get(const char *path, char kind[8])
{
	char proc[64], target[64] = "";
	int fd = bpf_obj_get(path);
	const char *dash;

	if (fd < 0)
		return -errno;
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	if (readlink(proc, target, sizeof(target) - 1) < 0)
		target[0] = 0;
	dash = strrchr(target, '-');
	if (!dash)
		dash = strrchr(target, '_'); /* "anon_inode:bpf_link" */
	snprintf(kind, 8, "%s", dash ? dash + 1 : "");
	if (!strncmp(kind, "link", 4) || strstr(target, "bpf_link") || strstr(target, "bpf-link"))
		strcpy(kind, "link");
	return fd;
}

bool pins_fit(int fd, const struct bpf_map *map)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);

	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len) &&
	       info.type == bpf_map__type(map) && info.key_size == bpf_map__key_size(map) &&
	       info.value_size == bpf_map__value_size(map) &&
	       info.max_entries == bpf_map__max_entries(map) &&
	       info.map_flags == bpf_map__map_flags(map);
}

bool pins_any(const char *pin_dir, const struct bpf_object *obj)
{
	const struct bpf_map *map;
	char links[PATH_MAX + 8];

	bpf_object__for_each_map(map, obj)
	{
		const char *path = bpf_map__pin_path(map);

		if (path && !access(path, F_OK))
			return true;
	}
	snprintf(links, sizeof(links), "%s/links", pin_dir);
	return !access(links, F_OK);
}

int pins_layout(const char *pin_dir, struct btf **out)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info), zero = 0;
	_cleanup_free_ void *data = NULL;
	_cleanup_fd_ int fd = -1;
	char path[PATH_MAX + 8];
	struct btf *btf;

	snprintf(path, sizeof(path), "%s/layout", pin_dir);
	fd = bpf_obj_get(path);
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	data = malloc(info.value_size);
	if (!data)
		return -ENOMEM;
	if (bpf_map_lookup_elem(fd, &zero, data))
		return -errno;
	btf = btf__new(data, info.value_size);
	if (libbpf_get_error(btf))
		return -ENOENT;
	*out = btf;
	return 0;
}

/* Reads all names of a directory before anything is removed; the caller frees *names as a whole. */
static int list(const char *path, char (**names)[NAME_MAX + 1], size_t *count)
{
	struct dirent *entry;
	DIR *dir = opendir(path);

	*names = NULL;
	*count = 0;
	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		void *grown;

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		grown = realloc(*names, (*count + 1) * sizeof(**names));
		if (!grown) {
			closedir(dir);
			return -ENOMEM;
		}
		*names = grown;
		strcpy((*names)[(*count)++], entry->d_name);
	}
	closedir(dir);
	return 0;
}

int pins_make_links(const char *pin_dir)
{
	char path[PATH_MAX + 8];

	snprintf(path, sizeof(path), "%s/links", pin_dir);
	return pins_none(pin_dir) || !mkdir(path, 0700) || errno == EEXIST ? 0 : -errno;
}

int pins_each_link(const char *pin_dir,
		   int (*each)(const char *pin_dir, const char *name, void *arg), void *arg)
{
	_cleanup_free_ char(*names)[NAME_MAX + 1] = NULL;
	char path[PATH_MAX + 8];
	size_t count;
	int err;

	snprintf(path, sizeof(path), "%s/links", pin_dir);
	err = list(path, &names, &count);
	if (err)
		return err == -ENOENT ? 0 : datapath_fail(err, "%s: %s", path, strerror(-err));
	for (size_t i = 0; !err && i < count; i++)
		err = each(pin_dir, names[i], arg);
	return err;
}

int link_remove(const char *pin_dir, const char *name, void *unused)
{
	char path[PATH_MAX + NAME_MAX + 16];
	struct stat st;
	int fd, err;

	snprintf(path, sizeof(path), "%s/links/%s", pin_dir, name);
	if (!stat(path, &st) && S_ISDIR(st.st_mode)) {
		if (rmdir(path) && errno != ENOENT)
			return datapath_fail(-errno, "%s cannot be removed: %s", path,
					     strerror(errno));
		return 0;
	}
	fd = bpf_obj_get(path);
	if (fd >= 0) {
		bpf_link_detach(fd); /* at once, even if another process holds it */
		close(fd);
	}
	err = unlink(path) ? -errno : 0;
	if (err && err != -ENOENT)
		return datapath_fail(err, "%s cannot be removed: %s", path, strerror(-err));
	return 0;
}

static int remove_link(const char *pin_dir, const char *name, void *unused)
{
	return strstr(name, "_qdisc") ? 0 : link_remove(pin_dir, name, NULL);
}

/* Removes the pins of the maps of obj and of the version that pinned them, but for the map `but` if
 * that is not NULL. */
static int clear_maps(const char *pin_dir, const struct bpf_object *obj, const char *but)
{
	struct btf *layout = NULL;
	struct layout_map map;
	_cleanup_free_ char(*names)[NAME_MAX + 1] = NULL;
	char path[PATH_MAX + NAME_MAX + 8];
	size_t count;
	int err;

	err = list(pin_dir, &names, &count);
	if (err)
		return err == -ENOENT ? 0 : datapath_fail(err, "%s: %s", pin_dir, strerror(-err));
	pins_layout(pin_dir, &layout);
	for (size_t i = 0; i < count; i++) {
		struct bpf_map_info info = {0};
		uint32_t len = sizeof(info);
		char kind[8];
		int fd;

		if (but && !strcmp(names[i], but))
			continue;
		snprintf(path, sizeof(path), "%s/%s", pin_dir, names[i]);
		fd = pin_get(path, kind);
		if (fd < 0)
			continue;
		/* Removes only pins with our names: a pin that another program put here is not
		 * ours. */
		if (!strcmp(kind, "map") &&
		    (bpf_object__find_map_by_name(obj, names[i]) ||
		     (layout && layout_find(layout, names[i], &map))) &&
		    !bpf_obj_get_info_by_fd(fd, &info, &len) &&
		    !strncmp(info.name, names[i], sizeof(info.name) - 1) && unlink(path))
			err = datapath_fail(-errno, "%s cannot be removed: %s", path,
					    strerror(errno));
		close(fd);
	}
	btf__free(layout);
	return err;
}

bool pins_hold_kept(const char *pin_dir, const struct bpf_object *obj)
{
	struct sluice_conn_key first;
	char path[PATH_MAX + 8];
	_cleanup_fd_ int fd = -1;

	snprintf(path, sizeof(path), "%s/kept", pin_dir);
	fd = bpf_obj_get(path);
	return pins_fit(fd, bpf_object__find_map_by_name(obj, "kept")) &&
	       !bpf_map_get_next_key(fd, NULL, &first);
}

int pins_supersede(const char *pin_dir, const struct bpf_object *obj)
{
	return clear_maps(pin_dir, obj, "kept");
}

int pins_clear(const char *pin_dir, const struct bpf_object *obj)
{
	char path[PATH_MAX + 8];
	int err;

	/* First the objects that act on traffic, then the marks that find them, then the maps. */
	err = pins_each_link(pin_dir, remove_link, NULL);
	clsact_sweep(pin_dir, NULL, NULL);
	if (!err)
		err = pins_each_link(pin_dir, link_remove, NULL);
	if (err)
		return err;
	snprintf(path, sizeof(path), "%s/links", pin_dir);
	if (rmdir(path) && errno != ENOENT)
		return datapath_fail(-errno, "%s cannot be removed: %s", path, strerror(errno));

	return clear_maps(pin_dir, obj, NULL);
}

int pins_remove(const char *pin_dir, const struct bpf_object *obj)
{
	_cleanup_free_ char(*names)[NAME_MAX + 1] = NULL;
	int err = pins_clear(pin_dir, obj);
	size_t count;

	if (err)
		return err;
	if (!rmdir(pin_dir) || errno == ENOENT)
		return 0;
	err = -errno;
	if (!list(pin_dir, &names, &count) && count)
		return datapath_fail(err,
				     "%s cannot be removed: it holds \"%s\", which is not sluice's",
				     pin_dir, names[0]);
	return datapath_fail(err, "%s cannot be removed: %s", pin_dir, strerror(-err));
}
