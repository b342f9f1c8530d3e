/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * An error is one line with its position, the key, the value and the values allowed. Each row is
 * such a case. FILE in an expected line means the path of the row's file.
 */
#include "config_case.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define NO_LEASE  " is not a number from 100 to 600000"
#define NO_LISTEN " is not [ADDR:]PORT[=MODEL], like 8000, 10.0.0.1:8000=llama or [::1]:8000"
#define NO_THRESHOLD                                                                               \
	" is not a number of milliseconds above 0 and at most 10000000 (or 1.5s, 2m), nor none"
#define NO_TAU " is not a number of seconds from 0.001 to 86400 (or 500ms, 2m)"
#define NO_CREDENTIALS                                                                             \
	": give metrics-token-file, or metrics-tls-cert, metrics-tls-key and metrics-tls-client-ca"
#define NO_STORE                                                                                   \
	" is not HOST:PORT, [ADDR]:PORT, nor the absolute path of a socket of at most 107 bytes"
#define FLEET      BASE, "--fleet=a", "--fleet-store=a:1"
#define NO_METRICS " is not ADDR:PORT, like 127.0.0.1:9464 or [::1]:9464, nor off"
#define NO_INTERFACE                                                                               \
	" is not an interface's name or a pattern of names (1 to 15 bytes, like eth0 or veth*), nor auto"

static void a_wrong_argument_is_one_line_that_names_it(void **state)
{
	static const struct {
		const char *args[10], *want;
	} rows[] = {
		{{BASE, "--max-connections", "1023", NULL},
		 "--max-connections: \"1023\" is not a number from 1024 to 1048576"},
		{{BASE, "--max-clients", "1048577", NULL},
		 "--max-clients: \"1048577\" is not a number from 1024 to 1048576"},
		{{BASE, "--max-models", "15", NULL},
		 "--max-models: \"15\" is not a number from 16 to 1022"},
		{{BASE, "--lease-ms", "abc", NULL}, "--lease-ms: \"abc\"" NO_LEASE},
		{{BASE, "--lease-ms=", NULL}, "--lease-ms: \"\"" NO_LEASE},
		{{BASE, "--lease-ms", "99", NULL}, "--lease-ms: \"99\"" NO_LEASE},
		{{BASE, "--lease-ms", "600001", NULL}, "--lease-ms: \"600001\"" NO_LEASE},
		{{BASE, "--lease-ms", "100.5", NULL}, "--lease-ms: \"100.5\"" NO_LEASE},
		{{BASE, "--lease-ms", "-3000", NULL}, "--lease-ms: \"-3000\"" NO_LEASE},
		{{BASE, "--lease-ms", "4294970296", NULL}, "--lease-ms: \"4294970296\"" NO_LEASE},
		{{BASE, "--ttft-threshold-ms", "nan", NULL},
		 "--ttft-threshold-ms: \"nan\"" NO_THRESHOLD},
		{{BASE, "--itl-threshold-ms", "0", NULL}, "--itl-threshold-ms: \"0\"" NO_THRESHOLD},
		{{BASE, "--time-constant-secs", "inf", NULL},
		 "--time-constant-secs: \"inf\"" NO_TAU},
		{{BASE, "--per-model-limits", "yes", NULL},
		 "--per-model-limits: \"yes\" is not one of true, false"},
		{{BASE, "--policy", "x", NULL}, "--policy: \"x\" is not one of adaptive, ema-flag"},
		{{BASE, "--protocol", "grpc", NULL},
		 "--protocol: \"grpc\" is not one of http, opaque"},
		{{BASE, "--action", "429", NULL},
		 "--action: \"429\" is not one of reply, reset, drop"},
		{{BASE, "--mode", "on", NULL}, "--mode: \"on\" is not one of enforce, shadow"},
		{{BASE, "--log-format", "yaml", NULL},
		 "--log-format: \"yaml\" is not one of text, json"},
		{{BASE, "--xdp", "skb", NULL},
		 "--xdp: \"skb\" is not one of auto, native, generic, off"},
		{{BASE, "--metrics", "9464", NULL}, "--metrics: \"9464\"" NO_METRICS},
		{{BASE, "--metrics", "localhost:9464", NULL},
		 "--metrics: \"localhost:9464\"" NO_METRICS},
		{{BASE, "--metrics", "1.2.3.4:0", NULL}, "--metrics: \"1.2.3.4:0\"" NO_METRICS},
		{{BASE, "--metrics", "0.0.0.0:1", NULL},
		 "metrics: other hosts reach 0.0.0.0" NO_CREDENTIALS},
		{{BASE, "--metrics", "[::]:1", NULL},
		 "metrics: other hosts reach ::" NO_CREDENTIALS},
		{{BASE, "--metrics", "[::ffff:1.2.3.4]:1", NULL},
		 "metrics: other hosts reach ::ffff:1.2.3.4" NO_CREDENTIALS},
		{{BASE, "--metrics", "10.0.0.1:1", "--metrics-host", "a", NULL},
		 "metrics: other hosts reach 10.0.0.1" NO_CREDENTIALS},
		{{BASE, "--metrics-tls-cert", "a", NULL},
		 "metrics-tls-cert: needs metrics-tls-key, too"},
		{{BASE, "--metrics-tls-key", "a", NULL},
		 "metrics-tls-key: needs metrics-tls-cert, too"},
		{{BASE, "--metrics-tls-client-ca", "a", NULL},
		 "metrics-tls-client-ca: needs metrics-tls-cert and metrics-tls-key, too"},
		{{BASE, "--metrics-token-file=", NULL}, "--metrics-token-file: \"\" is not a path"},
		{{BASE, "--metrics-host", "a:1", NULL},
		 "--metrics-host: \"a:1\" is not a name or an address, without a port"},
		{{BASE, "--metrics-host=a", "--metrics-host=A", NULL},
		 "--metrics-host: \"A\" is given twice"},
		{{BASE, "--fleet", "a b", NULL},
		 "--fleet: \"a b\" is not a name of 1 to 63 letters, digits, dots, hyphens and underscores"},
		{{BASE, "--fleet", "a", NULL}, "fleet: needs fleet-store, too"},
		{{BASE, "--fleet-store", "a:1", NULL},
		 "fleet-store: needs fleet, too: the name of the fleet"},
		{{BASE, "--fleet-store", "a", NULL}, "--fleet-store: \"a\"" NO_STORE},
		{{BASE, "--fleet-store", "fd00::1:6379", NULL},
		 "--fleet-store: \"fd00::1:6379\"" NO_STORE},
		{{BASE, "--fleet-store", "redis://a:1", NULL},
		 "--fleet-store: \"redis://a:1\"" NO_STORE},
		{{BASE, "--fleet-store", "a:65536", NULL}, "--fleet-store: \"a:65536\"" NO_STORE},
		{{BASE, "--fleet-store=a:1", "--fleet-store=a:1", NULL},
		 "--fleet-store: \"a:1\" is given twice"},
		{{FLEET, "--fleet-user", "a", NULL}, "fleet-user: needs fleet-password-file, too"},
		{{FLEET, "--fleet-tls-cert", "a", NULL},
		 "fleet-tls-cert: needs fleet-tls-key, too"},
		{{FLEET, "--fleet-tls-key", "a", NULL}, "fleet-tls-key: needs fleet-tls-cert, too"},
		{{FLEET, "--fleet-tls-key=a", "--fleet-tls-cert=a", NULL},
		 "fleet-tls-cert: needs fleet-tls-ca, too"},
		{{FLEET, "--fleet-period-ms", "9", NULL},
		 "--fleet-period-ms: \"9\" is not a whole number from 10 to 1000"},
		{{FLEET, "--fleet-hosts-min", "0", NULL},
		 "--fleet-hosts-min: \"0\" is not a whole number from 1 to 1024"},
		{{FLEET, "--fleet-fallback", "none", NULL},
		 "--fleet-fallback: \"none\" is not one of share, whole"},
		{{BASE, "--quota", "requests=1/1s fleet=on", NULL},
		 "quota: fleet=on needs fleet and fleet-store, too"},
		{{FLEET, "--quota", "fleet=on", NULL},
		 "--quota: fleet is given without requests or tokens"},
		{{FLEET, "--quota", "requests=1/1s fleet=yes", NULL},
		 "--quota: fleet: \"yes\" is not on or off"},
		{{BASE, "--pin-dir", "here", NULL},
		 "--pin-dir: \"here\" is not an absolute path of at most 255 bytes, or none"},
		{{BASE, "--pin-dir", "/sys/fs/bpf/sluice.2", NULL},
		 "--pin-dir: \"/sys/fs/bpf/sluice.2\" is not a path without a dot, as names below /sys/fs/bpf/ must be"},
		{{BASE, "--control=", NULL}, "--control: \"\" is not a path of at most 107 bytes"},
		{{BASE, "--control-group", "no such group", NULL},
		 "--control-group: \"no such group\" is not a group of /etc/group, nor a number of one"},
		{{BASE, "--control-group", "4294967295", NULL},
		 "--control-group: \"4294967295\" is not a group of /etc/group, nor a number of one"},
		{{BASE, "--config=", NULL}, "--config: \"\" is not a path"},
		{{BASE, "--check=", NULL}, "--check: \"\" is not a path"},
		{{BASE, "--interface", "lo", NULL}, "--interface: \"lo\" is given twice"},
		{{BASE, "--interface", "a/b", NULL}, "--interface: \"a/b\"" NO_INTERFACE},
		{{BASE, "--interface", "a-name-too-long-", NULL},
		 "--interface: \"a-name-too-long-\"" NO_INTERFACE},
		{{BASE, "--netns", "pod1", NULL},
		 "--netns: \"pod1\" is not an absolute path of at most 255 bytes"},
		{{BASE, "--netns=/a", "--netns=/a", NULL}, "--netns: \"/a\" is given twice"},
		{{BASE, "--netns=/proc/7/ns/net", "--pid=7", NULL},
		 "--pid: \"/proc/7/ns/net\" is given twice"},
		{{BASE, "--pid", "0", NULL}, "--pid: \"0\" is not the number of a process"},
		{{BASE, "--pid", "1x", NULL}, "--pid: \"1x\" is not the number of a process"},
		{{BASE, "--pid", "2147483648", NULL},
		 "--pid: \"2147483648\" is not the number of a process"},
		{{BASE, "--listen", "8000", NULL}, "--listen: \"8000\" is given twice"},
		{{BASE, "--listen", "0.0.0.0:8000=x", NULL},
		 "--listen: \"0.0.0.0:8000=x\" is given twice"},
		{{BASE, "--listen", "", NULL}, "--listen: \"\"" NO_LISTEN},
		{{BASE, "--listen", "0", NULL}, "--listen: \"0\"" NO_LISTEN},
		{{BASE, "--listen", "65536", NULL}, "--listen: \"65536\"" NO_LISTEN},
		{{BASE, "--listen", "+80", NULL}, "--listen: \"+80\"" NO_LISTEN},
		{{BASE, "--listen", ":80", NULL}, "--listen: \":80\"" NO_LISTEN},
		{{BASE, "--listen", "::1:80", NULL}, "--listen: \"::1:80\"" NO_LISTEN},
		{{BASE, "--listen", "[1.2.3.4]:80", NULL}, "--listen: \"[1.2.3.4]:80\"" NO_LISTEN},
		{{BASE, "--listen", "[]:80", NULL}, "--listen: \"[]:80\"" NO_LISTEN},
		{{BASE, "--listen", "[::1:80", NULL}, "--listen: \"[::1:80\"" NO_LISTEN},
		{{BASE, "--listen", "[fe80::1%lo]:80", NULL},
		 "--listen: \"[fe80::1%lo]:80\"" NO_LISTEN},
		{{BASE, "--listen", "1.2.3:80", NULL}, "--listen: \"1.2.3:80\"" NO_LISTEN},
		{{BASE, "--listen", "host:80", NULL}, "--listen: \"host:80\"" NO_LISTEN},
		{{BASE, "--listen", "80\n=m", NULL}, "--listen: \"80?=m\"" NO_LISTEN},
		{{BASE, "--listen", "80=", NULL},
		 "--listen: \"\" is not a model's name: 1 to 95 bytes of text without control characters"},
		{{BASE, "--listen", "80=other", NULL},
		 "--listen: \"other\" is a name of sluice's own, not of a model"},
		{{"--interface", "lo", NULL},
		 "--listen: no service is given; name one, for example --listen 8000"},
		{{NULL}, "--listen: no service is given; name one, for example --listen 8000"},
		{{BASE, "--lease-ms", NULL}, "--lease-ms: needs a value: N"},
		{{BASE, "--trouble-after-secs", "0", NULL},
		 "--trouble-after-secs: \"0\" is not a whole number from 1 to 3600"},
		{{BASE, "--mode", "--xdp", NULL}, "--mode: needs a value: enforce|shadow"},
		{{BASE, "--lease", "5", NULL},
		 "command line: unknown option \"--lease\"; did you mean \"--lease-ms\"?"},
		{{BASE, "--lease_ms=5", NULL},
		 "command line: unknown option \"--lease_ms\"; did you mean \"--lease-ms\"?"},
		{{BASE, "--quantum-entangle", NULL},
		 "command line: unknown option \"--quantum-entangle\"; see --help"},
		{{BASE, "-v", NULL}, "command line: \"-v\" is not an option; see --help"},
		{{BASE, "8001", NULL}, "command line: \"8001\" is not an option; see --help"},
		{{BASE, "--", NULL}, "command line: \"--\" is not an option; see --help"},
		{{BASE, "--help=yes", NULL}, "--help: takes no value"},
	};

	for (size_t i = 0; i < COUNT(rows); i++)
		refuse("arguments", NULL, 0, rows[i].args, NULL, rows[i].want);
}

static void a_wrong_variable_is_one_line_that_names_it(void **state)
{
	static const char *const args[] = {BASE, NULL};
	static const struct {
		const char *env[2], *want;
	} rows[] = {
		{{"SLUICE_LEASE_MS=abc", NULL}, "SLUICE_LEASE_MS: \"abc\"" NO_LEASE},
		{{"SLUICE_TTFT_THRESHOLD_MS=-1", NULL},
		 "SLUICE_TTFT_THRESHOLD_MS: \"-1\"" NO_THRESHOLD},
		{{"SLUICE_MODE=x", NULL}, "SLUICE_MODE: \"x\" is not one of enforce, shadow"},
		{{"SLUICE_LISTEN=80,x", NULL}, "SLUICE_LISTEN: \"x\"" NO_LISTEN},
		{{"SLUICE_INTERFACE=a b a", NULL}, "SLUICE_INTERFACE: \"a\" is given twice"},
		{{"SLUICE_POLICY=x", NULL},
		 "SLUICE_POLICY: \"x\" is not one of adaptive, ema-flag"},
	};

	for (size_t i = 0; i < COUNT(rows); i++)
		refuse(rows[i].env[0], NULL, 0, args, rows[i].env, rows[i].want);
}

static void a_wrong_file_is_one_line_that_names_file_and_key(void **state)
{
	static const char *const args[] = {"--interface=lo", NULL};
	static const struct {
		const char *yaml, *want;
	} rows[] = {
		{"lease-ms: \"abc\"\n", "FILE: lease-ms: \"abc\"" NO_LEASE},
		{"lease-ms:\n", "FILE: lease-ms: \"\"" NO_LEASE},
		{"lease-ms: [500]\n", "FILE: lease-ms: one value is expected, not a list"},
		{"lease-ms: {a: 1}\n", "FILE: lease-ms: one value is expected, not a mapping"},
		{"lease-ms: 500\nlease-ms: 600\n", "FILE: \"lease-ms\" is given twice"},
		{"leasems: 5\n", "FILE: unknown key \"leasems\"; did you mean \"lease-ms\"?"},
		{"ttft_threshold_ms: 5\n",
		 "FILE: unknown key \"ttft_threshold_ms\"; did you mean \"ttft-threshold-ms\"?"},
		{"service: [{listen: 1}]\n",
		 "FILE: unknown key \"service\"; did you mean \"services\"?"},
		{"qwertyuiop: 5\n", "FILE: unknown key \"qwertyuiop\""},
		{"help: true\n", "FILE: unknown key \"help\""},
		{"config: other.yaml\n", "FILE: unknown key \"config\""},
		{"policy: x\n", "FILE: policy: \"x\" is not one of adaptive, ema-flag"},
		{"ttft-threshold-ms: 800 + x/KiB\n",
		 "FILE: ttft-threshold-ms: \"800 + x/KiB\" is not a target that grows with the request, like 800 + 0.2/KiB or 1s + 0.5ms/KiB"},
		{"floor: 0\n", "FILE: floor: \"0\" is not a whole number from 1 to 4096"},
		{"listen: 80\nmodels: [{name: \"pool:a\"}]\n",
		 "FILE: models entry 1: name: \"pool:a\" is a pool's name, not a model's"},
		{"listen: 80\nmodels: [{name: a, pool: \"\"}]\n",
		 "FILE: models entry 1: pool: \"\" is not a pool's name: 1 to 90 bytes of text without control characters"},
		{"listen: 80\nmodels: [{name: a, pool: 1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901}]\n",
		 "FILE: models entry 1: pool: \"1234567890123456789012345678901234567890123456789012345678901234…\" is not a pool's name: 1 to 90 bytes of text without control characters"},
		{"listen: 80\nper-model-limits: false\nmodels: [{name: a, pool: g}]\n",
		 "FILE: models entry 1: all models are one pool while per-model-limits is false"},
		{"listen: 80\npriorities: [{client: 10.0.0.1}]\n",
		 "FILE: priorities entry 1: class is missing"},
		{"listen: 80\npriorities: [{class: low}]\n",
		 "FILE: priorities entry 1: client is missing"},
		{"listen: 80\npriorities: [{client: 10.0.0.1, class: top}]\n",
		 "FILE: priorities entry 1: class: \"top\" is not one of high, normal, low, lowest"},
		{"listen: 80\npriorities: [{client: nobody, class: low}]\n",
		 "FILE: priorities entry 1: client: \"nobody\" is not a client: an address, a prefix or key:ID (192.0.2.1, 10.0.0.0/8, 2001:db8::/48)"},
		{"listen: 80\npriorities: [{client: \"key=sk-1\", class: low}]\n",
		 "FILE: priorities entry 1: client: a secret does not belong into this file: name the key as key:ID, as `sluicectl clients` prints it"},
		{"listen: 80\npriorities: [{client: 10.1.0.0/8, class: low}, {client: 10.0.0.0/8, class: high}]\n",
		 "FILE: priorities entry 2: this client has a class already, in priorities entry 1"},
		{"services: [{listen: 80, priority-values: {a: low}}]\n",
		 "FILE: services entry 1: priority-values needs priority-header: the header with these values"},
		{"services: [{listen: 80, priority-header: x}]\n",
		 "FILE: services entry 1: priority-header needs priority-values, like {interactive: high, batch: low}"},
		{"services: [{listen: 80, priority-header: x, priority-values: {a: top}}]\n",
		 "FILE: services entry 1: priority-values: a: \"top\" is not one of high, normal, low, lowest"},
		{"services: [{listen: 80, priority-header: x, priority-values: {a: [low]}}]\n",
		 "FILE: services entry 1: a: one value is expected, not a list"},
		{"services: [{listen: 80, priority-header: x, priority-values: {a: low, a: high}}]\n",
		 "FILE: services entry 1: \"a\" is given twice"},
		{"services: [{listen: 80, priority-header: x, priority-values: [a]}]\n",
		 "FILE: services entry 1: priority-values: a mapping is expected, not a list"},
		{"services: [{listen: 80, priority-header: x, priority-values: {\" a\": low}}]\n",
		 "FILE: services entry 1: priority-values: \" a=low\" is not a header's value: 1 to 63 printable ASCII characters, no space around them"},
		{"services: [{listen: 80, priority-header: \"x y\", priority-values: {a: low}}]\n",
		 "FILE: services entry 1: priority-header: \"x y\" is not the name of a header that may say a priority: 1 to 31 letters, digits, - and _, like x-priority"},
		{"services: [{listen: 80, identity: x-api-key, priority-header: x-api-key, priority-values: {a: low}}]\n",
		 "FILE: services entry 1: identity: a list is expected, not one value"},
		{"services: [{listen: 80, identity: [x-api-key], priority-header: X-API-Key, priority-values: {a: low}}]\n",
		 "FILE: services entry 1: \"x-api-key\" is read for something else, so it cannot be priority-header"},
		{"services: [{listen: 80, protocol: opaque, priority-header: x, priority-values: {a: low}}]\n",
		 "FILE: services entry 1: methods, paths, model-from, model-header, unnamed, priorities, on-framing-error, on-disconnect, keep, pool, reply-headers and cors are of requests, which only protocol http sees"},
		{"listen: [80, http]\n", "FILE: listen: \"http\"" NO_LISTEN},
		{"listen: [80, 80]\n", "FILE: listen: \"80\" is given twice"},
		{"listen: [[80]]\n", "FILE: listen entry 1: one value is expected, not a list"},
		{"listen: {a: 80}\n", "FILE: listen: a list is expected, not a mapping"},
		{"listen:\n", "FILE: listen: \"\"" NO_LISTEN},
		{"interface:\n", "FILE: interface: \"\"" NO_INTERFACE},
		{"services: 80\n", "FILE: services: a list is expected, not one value"},
		{"services: [80]\n",
		 "FILE: services entry 1: a mapping is expected, not one value"},
		{"services: [{}]\n", "FILE: services entry 1: listen is missing"},
		{"services: [{listen: 80}, {listen: x}]\n",
		 "FILE: services entry 2: listen: \"x\"" NO_LISTEN},
		{"services: [{listen: 80, lisen: 1}]\n",
		 "FILE: services entry 1: unknown key \"lisen\"; did you mean \"listen\"?"},
		{"services: [{listen: 80, mode: [a]}]\n",
		 "FILE: services entry 1: mode: one value is expected, not a list"},
		{"services: [{listen: 80, mode: off}]\n",
		 "FILE: services entry 1: mode: \"off\" is not one of enforce, shadow"},
		{"services: [{listen: 80, unary: 1}]\n",
		 "FILE: services entry 1: unary: \"1\" is not one of true, false"},
		{"services: [{listen: 80=a, model: b}]\n",
		 "FILE: services entry 1: model: listen names a model already"},
		{"services: [{listen: 80, protocol: opaque, action: reply}]\n",
		 "FILE: services entry 1: action: \"reply\" needs protocol http; use reset or drop"},
		{"services: [{listen: 80, judge-paths: /v1/}]\n",
		 "FILE: services entry 1: judge-paths: a list is expected, not one value"},
		{"services: [{listen: 80, pass-paths: [/a, [/b]]}]\n",
		 "FILE: services entry 1: pass-paths: one value is expected, not a list"},
		{"services: [{listen: 80, pass-paths: [/a, b]}]\n",
		 "FILE: services entry 1: pass-paths: \"b\" is not the beginning of a path: / and up to 47 bytes more, none of them a space, ?, # or %"},
		{"services: [{listen: 80, model-from: [header]}]\n",
		 "FILE: services entry 1: model-from has header, so model-header must name it"},
		{"services: [{listen: 80, blob-bytes: x}]\n",
		 "FILE: services entry 1: blob-bytes: \"x\" is not a whole number from 0 to 1048576"},
		{"services: [{listen: 80, protocol: opaque, blob-bytes: 1}]\n",
		 "FILE: services entry 1: blob-bytes is of requests, which only protocol http sees"},
		{"services: [{listen: 80, on-framing-error: drop}]\n",
		 "FILE: services entry 1: on-framing-error: \"drop\" is not one of auto, pass, reset"},
		{"services: [{listen: 80, protocol: opaque, on-framing-error: reset}]\n",
		 "FILE: services entry 1: methods, paths, model-from, model-header, unnamed, priorities, on-framing-error, on-disconnect, keep, pool, reply-headers and cors are of requests, which only protocol http sees"},
		{"services: [{listen: 80, identity: [cookie]}]\n",
		 "FILE: services entry 1: identity: \"cookie\" is not one of authorization, x-api-key, header:NAME, forwarded, x-forwarded-for, address"},
		{"services: [{listen: 80, identity: [address, x-api-key]}]\n",
		 "FILE: services entry 1: identity: \"x-api-key\" comes after address, which every request has"},
		{"services: [{listen: 80, identity: [x-api-key, \"header:X-Api-Key\"]}]\n",
		 "FILE: services entry 1: identity: \"header:X-Api-Key\" is given twice"},
		{"services: [{listen: 80, identity: [\"header:a\", \"header:b\", \"header:c\", \"header:d\"]}]\n",
		 "FILE: services entry 1: identity: more than 3 headers that hold a key"},
		{"services: [{listen: 80, identity: [\"header:Content-Length\"]}]\n",
		 "FILE: services entry 1: identity: \"header:Content-Length\" is not header:NAME of a header that may hold a key: 1 to 31 letters, digits, - and _, like header:X-My-Key"},
		{"services: [{listen: 80, identity: [forwarded, x-forwarded-for]}]\n",
		 "FILE: services entry 1: identity: only one of forwarded and x-forwarded-for, the one that the proxies write: the other is any client's word"},
		{"services: [{listen: 80, identity: [forwarded]}]\n",
		 "FILE: services entry 1: forwarded needs trusted-proxies: the peers that may name a client"},
		{"services: [{listen: 80, trusted-proxies: [10.0.0.0/8]}]\n",
		 "FILE: services entry 1: trusted-proxies is given, but neither proxy-protocol nor forwarded or x-forwarded-for in identity"},
		{"services: [{listen: 80, trusted-proxies: [ten]}]\n",
		 "FILE: services entry 1: trusted-proxies: \"ten\" is not an address or a prefix, like 10.0.0.1, 10.0.0.0/8 or fd00::/8"},
		{"services: [{listen: 80, proxy-protocol: v2}]\n",
		 "FILE: services entry 1: proxy-protocol: \"v2\" is not one of on, off"},
		{"services: [{listen: 80, client-prefix-v4: 33}]\n",
		 "FILE: services entry 1: client-prefix-v4: \"33\" is not a number of bits, 1 to 32"},
		{"services: [{listen: 80, identity: [x-api-key], model-header: X-Api-Key, model-from: [header]}]\n",
		 "FILE: services entry 1: \"x-api-key\" holds a key, so it cannot be model-header"},
		{"services: [{listen: 80, protocol: opaque, identity: [x-api-key]}]\n",
		 "FILE: services entry 1: keys, forwarded addresses and proxy-protocol are read of requests, which only protocol http sees"},
		{"services: [{listen: 80}, {listen: 80}]\n",
		 "FILE: services entry 2: \"80\" is given twice"},
		{"services: [{listen: 80, quota: 100}]\n",
		 "FILE: services entry 1: quota: \"100\" is not KEY=VALUE, like requests=100/60s tokens=20000/60s burst=20, nor none"},
		{"services: [{listen: 80, feedback: on}]\n",
		 "FILE: services entry 1: feedback: \"on\" is not one of off, date"},
		{"services: [{listen: 80, protocol: opaque, quota: requests=1/1s}]\n",
		 "FILE: services entry 1: quota and feedback are of requests, which only protocol http sees"},
		{"listen: 80\nquotas: [{requests: 1/1s}]\n",
		 "FILE: quotas entry 1: client is missing"},
		{"listen: 80\nquotas: [{client: 10.0.0.1}]\n",
		 "FILE: quotas entry 1: requests or tokens is missing"},
		{"listen: 80\nquotas: [{client: 10.0.0.1, burst: 3}]\n",
		 "FILE: quotas entry 1: burst is given without requests"},
		{"listen: 80\nquotas: [{client: key=sk-secret, requests: 1/1s}]\n",
		 "FILE: quotas entry 1: client: a secret does not belong into this file: name the key as key:ID, as `sluicectl clients` prints it"},
		{"listen: 80\nquotas: [{client: 10.0.0.0/8, model: a, requests: 1/1s}]\n",
		 "FILE: quotas entry 1: the quota of a prefix is for all models; name an address to have one for a model"},
		{"listen: 80\nquotas: [{client: 10.0.0.1, requests: 1/1s}, {client: 10.0.0.2, requests: 1/1s}, {client: 10.0.0.1, requests: 2/1s}]\n",
		 "FILE: quotas entry 3: 10.0.0.1 has a quota in quotas entry 1 already"},
		{"listen: 80\nclient-prefixes: [{weight: 2}]\n",
		 "FILE: client-prefixes entry 1: prefix is missing"},
		{"listen: 80\nclient-prefixes: [{prefix: 10.0.0.0/8}]\n",
		 "FILE: client-prefixes entry 1: weight is missing"},
		{"listen: 80\nclient-prefixes: [{prefix: key:0123456789abcdef, weight: 2}]\n",
		 "FILE: client-prefixes entry 1: prefix: \"key:0123456789abcdef\" is not an address or a prefix, like 10.0.0.0/8 or 2001:db8::/48"},
		{"listen: 80\nclient-prefixes: [{prefix: 10.0.0.0/8, weight: heavy}]\n", "FILE: client-prefixes entry 1: weight: \"heavy\" is not a weight: a number from 0.01 to 255 with at most two decimals, like 0.5, 2 or 10"},
		{"listen: 80\nclient-prefixes: [{prefix: 10.0.0.0/8, weight: 2}, {prefix: 11.0.0.0/8, weight: 2}, {prefix: 10.1.2.3/8, weight: 3}]\n",
		 "FILE: client-prefixes entry 3: 10.0.0.0/8 is in client-prefixes entry 1 already"},
		{"listen: 80\nquota: tokens=1/10m\nclient-prefixes: [{prefix: 10.0.0.0/8, weight: 0.5}]\n",
		 "FILE: client-prefixes entry 1: weight 0.5 of the quota tokens=1/600s of a service: tokens: fewer than one in 15 minutes are no rate"},
		{"listen: 80\nservices: [{listen: \"*:80\"}]\n",
		 "FILE: services entry 1: \"*:80\" is given twice"},
		{"listen: 80\nmodels: [{ttft-threshold-ms: 5}]\n",
		 "FILE: models entry 1: name is missing"},
		{"listen: 80\nmodels: [{name: a}, {name: a}]\n",
		 "FILE: models entry 2: model \"a\" is given twice"},
		{"models: [{name: global}]\n",
		 "FILE: models entry 1: name: \"global\" is a name of sluice's own, not of a model"},
		{"models: [{name: a, max-in-flight: 0}]\n",
		 "FILE: models entry 1: max-in-flight: \"0\" is not a whole number from 1 to 1000000, nor none"},
		{"models: [{name: a, itl-threshold-ms: -3}]\n",
		 "FILE: models entry 1: itl-threshold-ms: \"-3\"" NO_THRESHOLD},
		{"listen: 80\nper-model-limits: false\nmodels: [{name: a, itl-threshold-ms: 3}]\n",
		 "FILE: models entry 1: a model has no threshold of its own while per-model-limits is false"},
		{"listen: 80\nper-model-limits: false\nmodels: [{name: a, duration-threshold-ms: 3}]\n",
		 "FILE: models entry 1: a model has no threshold of its own while per-model-limits is false"},
		{"listen: 80\nper-model-limits: false\nmodels: [{name: a, normalized-latency-threshold-ms: 3}]\n",
		 "FILE: models entry 1: a model has no threshold of its own while per-model-limits is false"},
		{"- 1\n", "FILE: holds a list where \"KEY: VALUE\" lines are expected"},
		{"hello\n", "FILE: holds one value where \"KEY: VALUE\" lines are expected"},
		{"lease-ms: 'x\n",
		 "FILE: is not YAML after line 1: found unexpected end of stream"},
		{"\tlease-ms: 5\n",
		 "FILE: is not YAML: found character that cannot start any token"},
		{"lease-ms: &a 500\npin-dir: *a\n",
		 "FILE: pin-dir: aliases (*name) are not supported"},
		{"lease-ms: 500\n---\nmode: shadow\n",
		 "FILE: holds a second document (---); only one is read"},
		{"---\nlease-ms: 500\n--- # again\nmode: shadow\n",
		 "FILE: holds a second document (---); only one is read"},
		{"\xff\xfe\x80", "FILE: is not YAML: incomplete UTF-16 character"},
		{"\x7f"
		 "ELF\x02\x01",
		 "FILE: is not YAML: control characters are not allowed"},
		{"? [1]\n: 2\n", "FILE: cannot be read as configuration (Internal error)"},
	};

	for (size_t i = 0; i < COUNT(rows); i++)
		refuse(rows[i].yaml, rows[i].yaml, strlen(rows[i].yaml), args, NULL, rows[i].want);
	refuse("a zero byte", "lease-ms: 5\0000", 13, args, NULL,
	       "FILE: is not text: there is a zero byte in it");
}

static void wrong_lines_of_a_refusal_are_named(void **state)
{
	static const char *const args[] = {"--interface=lo", NULL};
	static const struct {
		const char *yaml, *want;
	} rows[] =
		{
			{"services: [{listen: 80, reply-headers: {\"a b\": c}}]\n",
			 "FILE: services entry 1: reply-headers: \"a b=c\" does not begin with the name of a header"},
			{"services: [{listen: 80, reply-headers: {\"a:\": c}}]\n",
			 "FILE: services entry 1: reply-headers: \"a:=c\" does not begin with the name of a header"},
			{"services: [{listen: 80, reply-headers: {A: \" c\"}}]\n",
			 "FILE: services entry 1: reply-headers: A: \" c\" is not a header's value: printable ASCII characters, no space around them"},
			{"services: [{listen: 80, reply-headers: {A: \"b\\r\\nC: d\"}}]\n",
			 "FILE: services entry 1: reply-headers: A: \"b??C: d\" is not a header's value: printable ASCII characters, no space around them"},
			{"services: [{listen: 80, reply-headers: {A: \"\"}}]\n",
			 "FILE: services entry 1: reply-headers: A: \"\" is not a header's value: printable ASCII characters, no space around them"},
			{"services: [{listen: 80, reply-headers: {Content-length: 1}}]\n",
			 "FILE: services entry 1: reply-headers: content-length is not for the operator to set"},
			{"services: [{listen: 80, reply-headers: {RETRY-AFTER: 1}}]\n",
			 "FILE: services entry 1: reply-headers: retry-after is not for the operator to set"},
			{"services: [{listen: 80, reply-headers: {Date: now}}]\n",
			 "FILE: services entry 1: reply-headers: date is not for the operator to set"},
			{"services: [{listen: 80, reply-headers: {Access-Control-Allow-Origin: x}}]\n",
			 "FILE: services entry 1: reply-headers: access-control-allow-origin is not for the operator to set"},
			{"services: [{listen: 80, reply-headers: [A]}]\n",
			 "FILE: services entry 1: reply-headers: a mapping is expected, not a list"},
			{"services: [{listen: 80, protocol: opaque, reply-headers: {A: b}}]\n",
			 "FILE: services entry 1: methods, paths, model-from, model-header, unnamed, priorities, on-framing-error, on-disconnect, keep, pool, reply-headers and cors are of requests, which only protocol http sees"},
			{"services: [{listen: 80, protocol: opaque, cors: \"*\"}]\n",
			 "FILE: services entry 1: methods, paths, model-from, model-header, unnamed, priorities, on-framing-error, on-disconnect, keep, pool, reply-headers and cors are of requests, which only protocol http sees"},
			{"services: [{listen: 80, cors: \"on\"}]\n",
			 "FILE: services entry 1: cors: \"on\" is not off, \"*\" or origins like https://chat.example.com, in lower case and with spaces between"},
			{"services: [{listen: 80, cors: \"https://a/\"}]\n",
			 "FILE: services entry 1: cors: \"https://a/\" is not off, \"*\" or origins like https://chat.example.com, in lower case and with spaces between"},
			{"services: [{listen: 80, cors: \"HTTPS://a\"}]\n",
			 "FILE: services entry 1: cors: \"HTTPS://a\" is not off, \"*\" or origins like https://chat.example.com, in lower case and with spaces between"},
			{"services: [{listen: 80, cors: \"https://\"}]\n",
			 "FILE: services entry 1: cors: \"https://\" is not off, \"*\" or origins like https://chat.example.com, in lower case and with spaces between"},
			{"services: [{listen: 80, cors: \"://a\"}]\n",
			 "FILE: services entry 1: cors: \"://a\" is not off, \"*\" or origins like https://chat.example.com, in lower case and with spaces between"},
			{"services: [{listen: 80, cors: \"a.example\"}]\n",
			 "FILE: services entry 1: cors: \"a.example\" is not off, \"*\" or origins like https://chat.example.com, in lower case and with spaces between"},
			{"services: [{listen: 80, cors: \"https://a, https://b\"}]\n",
			 "FILE: services entry 1: cors: \"https://a, https://b\" is not off, \"*\" or origins like https://chat.example.com, in lower case and with spaces between"},
			{"services: [{listen: 80, cors: \"* https://a\"}]\n",
			 "FILE: services entry 1: cors: \"* https://a\" is not off, \"*\" or origins like https://chat.example.com, in lower case and with spaces between"},
			{"services: [{listen: 80, cors: \"https://a?b\"}]\n",
			 "FILE: services entry 1: cors: \"https://a?b\" is not off, \"*\" or origins like https://chat.example.com, in lower case and with spaces between"},
			{"services: [{listen: 80, cors: [https://a]}]\n",
			 "FILE: services entry 1: cors: one value is expected, not a list"},
			{"services: [{listen: 80, cors: \"\"}]\n",
			 "FILE: services entry 1: cors: \"\" is not off, \"*\" or origins like https://chat.example.com"},
			{"services: [{listen: 80, cors: \"h://1 h://2 h://3 h://4 h://5 h://6 h://7 h://8 h://9\"}]\n",
			 "FILE: services entry 1: cors: more than 8 origins"},
			{"services: [{listen: 80, cors: \"h://1 h://2\", identity: [\"header:Origin\"]}]\n",
			 "FILE: services entry 1: \"origin\" is read for something else, so cors cannot have a list of origins"},
			{"services: [{listen: 80, cors: \"*\", reply-headers: {a: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx, b: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}}]\n",
			 "FILE: services entry 1: reply-headers and cors make 327 bytes of header lines; a refusal has room for 320"},
			{"services: [{listen: 80, reply-headers: {a: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx, b: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx, c: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx, d: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}}]\n",
			 "FILE: services entry 1: reply-headers: more than 320 bytes of header lines"},
		};

	for (size_t i = 0; i < COUNT(rows); i++)
		refuse(rows[i].yaml, rows[i].yaml, strlen(rows[i].yaml), args, NULL, rows[i].want);
}

static void a_file_that_cannot_be_read_is_one_line(void **state)
{
	const char *args[] = {"--config", dir, NULL};
	char missing[64], want[128], *huge = calloc(1, 1024 * 1024 + 1);

	snprintf(want, sizeof(want), "%s: is a directory, not a file", dir);
	refuse("directory", NULL, 0, args, NULL, want);
	snprintf(missing, sizeof(missing), "%s/missing", dir);
	args[1] = missing;
	snprintf(want, sizeof(want), "%s: cannot be opened: No such file or directory", missing);
	refuse("missing", NULL, 0, args, NULL, want);
	memset(huge, '#', 1024 * 1024 + 1);
	refuse("huge", huge, 1024 * 1024 + 1, NULL, NULL, "FILE: is larger than 1 MiB");
	free(huge);
}

static void a_file_that_is_not_regular_is_refused_at_once(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char fifo[64], sock_path[64], want[128];
	int sock = socket(AF_UNIX, SOCK_STREAM, 0);
	const struct {
		const char *path, *kind;
	} rows[] = {
		{fifo, "FIFO"},
		{sock_path, "socket"},
		{"/dev/zero", "device"},
	};

	snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	snprintf(sock_path, sizeof(sock_path), "%s/socket", dir);
	strcpy(address.sun_path, sock_path);
	assert_int_equal(bind(sock, (struct sockaddr *)&address, sizeof(address)), 0);
	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *args[] = {"--config", rows[i].path, NULL};

		snprintf(want, sizeof(want), "%s: is a %s, not a file", rows[i].path, rows[i].kind);
		refuse(rows[i].kind, NULL, 0, args, NULL, want);
	}
	close(sock);
	unlink(fifo);
	unlink(sock_path);
}

static void a_mebibyte_of_comment_is_still_read(void **state)
{
	static const char *const args[] = {BASE, NULL};
	char *most = calloc(1, 1024 * 1024 + 1);

	memset(most, '#', 1024 * 1024);
	load(most, args, NULL);
	config_free(&config);
	free(most);
}

static void an_empty_file_changes_nothing(void **state)
{
	static const char *const args[] = {BASE, NULL};
	static const char *const rows[] = {"", "\n", "# only a comment\n", "---\nlease-ms: 3000\n",
					   "%YAML 1.1\n---\nlease-ms: 3000\n"};

	for (size_t i = 0; i < COUNT(rows); i++) {
		load(rows[i], args, NULL);
		assert_int_equal(config.lease_ms, 3000);
		config_free(&config);
	}
}

static void too_many_of_anything_is_refused(void **state)
{
	static const struct {
		const char *head, *each; /* %d */
		int most;
		const char *want;
	} rows[] = {
		{"listen:\n", "- %d\n", 256, "FILE: listen: more than 256 services"},
		{"services:\n", "- listen: %d\n", 256,
		 "FILE: services entry 257: more than 256 services"},
		{"listen: 80\nnetns:\n", "- /run/netns/%d\n", 64,
		 "FILE: netns: more than 64 network namespaces"},
		{"listen: 80\ninterfaces:\n", "- if%d\n", 63,
		 "FILE: interfaces: more than 64 interfaces"},
		{"listen: 80\nmodels:\n", "- name: m%d\n", 1021,
		 "FILE: more than 1022 models (max-models), pools and default models of services included"},
		{"listen: 80\nmax-models: 40\nmodels:\n", "- name: m%d\n", 39,
		 "FILE: more than 40 models (max-models), pools and default models of services included"},
		{"listen: 80=m7\nmodels:\n", "- name: m%d\n", 1022,
		 "FILE: models entry 1023: more than 1022 models"},
	};
	static char yaml[40000];

	for (size_t i = 0; i < COUNT(rows); i++) {
		static const char *const env[] = {"SLUICE_PIN_DIR=/x", NULL};
		char *at = yaml + sprintf(yaml, "interface: lo\n%s", rows[i].head);

		for (int n = 1; n <= rows[i].most; n++)
			at += sprintf(at, rows[i].each, n);
		load(yaml, NULL, env);
		config_free(&config);
		sprintf(at, rows[i].each, rows[i].most + 1);
		refuse(rows[i].head, yaml, strlen(yaml), NULL, env, rows[i].want);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_wrong_argument_is_one_line_that_names_it),
		cmocka_unit_test(a_wrong_variable_is_one_line_that_names_it),
		cmocka_unit_test(a_wrong_file_is_one_line_that_names_file_and_key),
		cmocka_unit_test(wrong_lines_of_a_refusal_are_named),
		cmocka_unit_test(a_file_that_cannot_be_read_is_one_line),
		cmocka_unit_test(a_file_that_is_not_regular_is_refused_at_once),
		cmocka_unit_test(a_mebibyte_of_comment_is_still_read),
		cmocka_unit_test(an_empty_file_changes_nothing),
		cmocka_unit_test(too_many_of_anything_is_refused),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
