/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What Prometheus' client libraries tell of a process, under their names. A value that the system
 * does not give has no line. */
#include "metrics/process.h"

#include <dirent.h>
#include <inttypes.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static void write_value(FILE *out, const char *name, const char *type, const char *help,
			double value)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", name, help, name, type, name, value);
}

static double seconds(const struct timeval *t)
{
	return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

/* The descriptors that are open now, less that of the walk. Negative: unknown. */
static int open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = -3; /* ".", "..", and the directory */

	if (!dir)
		return -1;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void write_memory(FILE *out)
{
	unsigned long long whole, resident;
	FILE *file = fopen("/proc/self/statm", "re");
	double page = (double)sysconf(_SC_PAGESIZE);

	if (!file)
		return;
	if (fscanf(file, "%llu %llu", &whole, &resident) == 2) {
		write_value(out, "process_virtual_memory_bytes", "gauge",
			    "Virtual memory of the daemon.", (double)whole * page);
		write_value(out, "process_resident_memory_bytes", "gauge",
			    "Resident memory of the daemon; its maps are not in it.",
			    (double)resident * page);
	}
	fclose(file);
}

void process_write(FILE *out, uint64_t started_unix_ns)
{
	struct rlimit limit;
	struct rusage use;
	int open = open_descriptors();

	if (!getrusage(RUSAGE_SELF, &use))
		write_value(out, "process_cpu_seconds_total", "counter",
			    "CPU time of the daemon, in user mode and in the kernel.",
			    seconds(&use.ru_utime) + seconds(&use.ru_stime));
	write_memory(out);
	if (open >= 0)
		write_value(out, "process_open_fds", "gauge", "Descriptors that are open.", open);
	if (!getrlimit(RLIMIT_NOFILE, &limit))
		write_value(out, "process_max_fds", "gauge", "Descriptors that may be open.",
			    (double)limit.rlim_cur);
	write_value(out, "process_start_time_seconds", "gauge",
		    "When the daemon was started, in Unix time.", (double)started_unix_ns / 1e9);
}
