# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# shellcheck shell=bash
#
# The library of the end-to-end cases. Every case sources it first. It gives the case two
# network namespaces, named after the case: sl-CASE-s for the server, with s0 (10.77.0.1,
# fd77:0:0:1::1), and sl-CASE-c for the clients, with c0 (10.77.0.2 and .3, fd77:0:0:1::2). The case
# also gets a pin directory, a control socket and a directory for logs. All of it goes when the case
# ends. A new run first removes what a killed run left.
#
# A check prints one sentence: `ok - …` or `not ok - …: why`. A case waits for events,
# never for time: `await` and `holds --within` evaluate an expression until it is true. They give up
# after ten times the stated seconds, since the machine may be busy. A case that ends before its
# last line has failed.

set -Eeuo pipefail

CASE=$(basename "$0" .sh)
CASE=${CASE#test_}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
B=${SLUICE_BUILD:-$ROOT/build}
NS=/run/netns
S=sl-$CASE-s
C=sl-$CASE-c
PIN=/sys/fs/bpf/sl-$CASE
WITNESS=/sys/fs/bpf/sl-$CASE-w
PY=/usr/bin/python3
S4=10.77.0.1 C4=10.77.0.2 C4B=10.77.0.3
S6=fd77:0:0:1::1 C6=fd77:0:0:1::2
PORT=8000
ADMIN=8001
FAILED=0
FINISHED=0
PIDS=()
export LC_ALL=C PYTHONDONTWRITEBYTECODE=1
# A busy machine may take a minute for a start, which must not end the lease. Cases about the lease
# say --lease-ms.
export SLUICE_LEASE_MS=600000
export http_proxy='' https_proxy='' all_proxy='' no_proxy='*'

say_ok() { printf 'ok - %s\n' "$1"; }

say_not_ok() {
	local why=${2//$'\n'/ | }

	printf 'not ok - %s: %s\n' "$1" "${why:0:900}"
	FAILED=$((FAILED + 1))
}

# check SENTENCE COMMAND…: the sentence holds if the command succeeds. Otherwise the command's
# output is the reason.
check() {
	local sentence=$1 why

	shift
	if why=$("$@" 2>&1); then
		say_ok "$sentence"
	else
		say_not_ok "$sentence" "${why:-$* failed}"
	fi
}

# same SENTENCE WANTED GOT
same() {
	if [[ $2 == "$3" ]]; then say_ok "$1"; else say_not_ok "$1" "wanted '$2', got '$3'"; fi
}

# holds [--within SECONDS] SENTENCE EXPRESSION: the expression is true; holds.py lists the names
# that it may use.
holds() {
	local within=0 sentence why

	if [[ $1 == --within ]]; then
		within=$2
		shift 2
	fi
	sentence=$1
	if why=$(expression "$within" "$2" 2>&1); then
		say_ok "$sentence"
	else
		say_not_ok "$sentence" "$why"
	fi
}

expression() {
	SL_TMP=$T SL_CTL=$B/sluicectl SL_CONTROL=$T/control.sock SL_SERVER=$S SL_CLIENT=$C \
		SL_WITNESS=$WITNESS SL_ADMIN=$ADMIN "$PY" "$HERE/holds.py" "$@"
}

# await SECONDS EXPRESSION: a precondition of the next checks. The case ends if it does not become
# true.
await() {
	local why

	why=$(expression "$1" "$2" 2>&1) || {
		say_not_ok "the precondition of the next checks holds within $1 s" "$why"
		exit 1
	}
}

# value EXPRESSION prints its value as JSON.
value() { expression --print "$1"; }

# on NAMESPACE COMMAND…: `ip netns exec` would hide the pins.
on() {
	local ns=$1

	shift
	nsenter --net="$NS/$ns" "$@"
}

# start NAME NAMESPACE COMMAND…: in the background, its output in $T/NAME.log, its pid in $PID.
start() {
	local name=$1 ns=$2

	shift 2
	: >"$T/$name.log" # await_line must not find a line of an earlier process
	nsenter --net="$NS/$ns" "$@" >"$T/$name.log" 2>&1 </dev/null 9>&- &
	PID=$!
	PIDS+=("$PID")
}

# Ends a process of the case and waits for its end.
finish() {
	local signal=${2:-TERM}

	kill -"$signal" "$1" 2>/dev/null || true
	wait "$1" 2>/dev/null || true
}

# await_line NAME TEXT [PID]: waits for a line of the log that begins with TEXT. The case ends if
# none comes. The bound is long: the verifier alone takes three seconds of a CPU.
await_line() {
	local deadline=$((SECONDS + 100))

	until grep -q "^$2" "$T/$1.log" 2>/dev/null; do
		if ((SECONDS > deadline)) || { [[ -n ${3:-} ]] &&
			! kill -0 "$3" 2>/dev/null; }; then
			say_not_ok "$1 says '$2'" "$(tail -n 3 "$T/$1.log" 2>/dev/null)"
			exit 1
		fi
		sleep 0.02
	done
}

# eventually SECONDS COMMAND…: repeats the command until it succeeds. If it does not in ten times
# that, prints its last output.
eventually() {
	local deadline=$((SECONDS + 10 * $1)) said

	shift
	until said=$("$@" 2>&1); do
		((SECONDS < deadline)) || { echo "$said"; return 1; }
		sleep 0.05
	done
}

listens() { on "$1" ss -Htln "sport = :$2" | grep -q .; } # NAMESPACE PORT

no_sockets_in() { # NAMESPACE PORT…: its servers have no connection left
	local ns=$1 port ports=() connected

	shift
	for port; do ports+=(or "sport = :$port"); done
	connected=$(on "$ns" ss -Htn state connected exclude time-wait "( ${ports[*]:1} )")
	[[ -z $connected ]] || { echo "$connected"; return 1; }
}

# begin_nginx NAMESPACE PORT… <TEXT: starts nginx with this text in its http section, and waits
# until it listens. Its files are in $T/nginx.
begin_nginx() {
	local ns=$1 port text

	shift
	text=$(cat)
	mkdir "$T/nginx"
	chmod 711 "$T"
	cat >"$T/nginx/nginx.conf" <<-END
		daemon off;
		pid $T/nginx/pid;
		error_log $T/nginx/error.log;
		events { worker_connections 256; }
		http {
		client_body_temp_path $T/nginx/body;
		proxy_temp_path $T/nginx/proxy;
		fastcgi_temp_path $T/nginx/fastcgi;
		uwsgi_temp_path $T/nginx/uwsgi;
		scgi_temp_path $T/nginx/scgi;
		$text
		}
	END
	start nginx "$ns" nginx -p "$T/nginx" -c "$T/nginx/nginx.conf" -e "$T/nginx/error.log"
	for port; do eventually 10 listens "$ns" "$port"; done
}

# mock OPTION…: starts the mock model server on the ports that holds.py expects.
mock() {
	start mock "$S" "$B/mock_server" --listen "$PORT" --admin "127.0.0.1:$ADMIN" "$@"
	MOCK=$PID
	await_line mock ready "$MOCK"
}

# mock_set MODEL KEY=VALUE: changes a model of the mock.
mock_set() {
	on "$S" curl -fsS -m 5 -o /dev/null -X POST "http://127.0.0.1:$ADMIN/control?model=$1&$2"
}

# sluice OPTION…: starts the daemon.
interfaces=(s0 lo)
sluice() {
	start daemon "$S" "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" --metrics off \
		"${interfaces[@]/#/--interface=}" "$@"
	DAEMON=$PID
	await_line daemon ready "$DAEMON"
}

ctl() { "$B/sluicectl" --control "$T/control.sock" "$@"; }

load() { on "$C" "$B/loadgen" --json "$@"; }

# status_from ADDRESS MODEL [SECONDS]: of a request that the clients' host sends from there.
status_from() {
	on "$C" curl -sS -m "${3:-10}" -o /dev/null -w '%{http_code}' --interface "$1" \
		--json "{\"model\":\"$2\",\"messages\":[],\"max_tokens\":1}" \
		"http://$S4:$PORT/v1/chat/completions"
}

# peer NAMESPACE COMMAND…: runs a client of peers.py.
peer() { on "$1" "$PY" "$HERE/peers.py" "${@:2}"; }

# Shuts a model for good: one slow answer and a threshold below it. A client-limited answer gives
# no sample, so it may take more than one. $SHUT_REQUESTS is the number of requests.
shut() {
	local model=$1 to=${2:-$S4:$PORT} i

	for ((i = 0; i < 10; i++)); do
		load --connect "$to" --model "$model" --requests 1 --max-tokens 2 >"$T/shut.json"
		! expression 0.5 "m['$model']['ttft_ema_ms'] > 2" >"$T/why" || break
	done
	# shellcheck disable=SC2034 # for the case that sources this
	SHUT_REQUESTS=$((i + 1))
	await 1 "m['$model']['ttft_ema_ms'] > 2"
	ctl set policy=ema-flag >/dev/null
	ctl set --model "$model" ttft=1ms tau=1h >/dev/null
	await 2 "not m['$model']['open']"
}

open_again() {
	ctl set --model "$1" ttft=none >/dev/null
	await 2 "m['$1']['open']"
}

# Attaches witness.bpf.c to c0: it counts segments, and drops the first N answers on request.
witness() {
	mkdir -p "$WITNESS"
	clang -O2 -g -target bpf -mcpu=v3 -Wall -Werror \
		-I"/usr/include/$(gcc -print-multiarch 2>/dev/null)" \
		-c "$HERE/witness.bpf.c" -o "$T/witness.o"
	bpftool prog loadall "$T/witness.o" "$WITNESS" pinmaps "$WITNESS"
	on "$C" tc qdisc add dev c0 clsact
	on "$C" tc filter add dev c0 ingress bpf da pinned "$WITNESS/to_client"
	on "$C" tc filter add dev c0 egress bpf da pinned "$WITNESS/from_client"
}

# lose N: drops the next N segments to the client that carry FIN, as a 429 does.
lose() {
	bpftool map update pinned "$WITNESS/to_lose" key hex 0 0 0 0 value hex "$1" 0 0 0
}

# lose_data N: drops the next N data segments to the client that carry no FIN.
lose_data() {
	bpftool map update pinned "$WITNESS/data_to_lose" key hex 0 0 0 0 value hex "$1" 0 0 0
}

# make_certificates NAME: in $T/tls, two authorities (ca, other), and a server and a client of the
# first, each a .pem and a .key; NAME is what the certificate is for, as "DNS:localhost".
make_certificates() (
	mkdir "$T/tls"
	cd "$T/tls" || return 1
	new_key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1)
	for ca in ca other; do
		openssl req -x509 "${new_key[@]}" -subj "/CN=$ca" -keyout $ca.key -out $ca.pem
	done
	for name in server client; do
		openssl req "${new_key[@]}" -subj "/CN=$name" -keyout $name.key -out $name.csr
		openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 \
			-extfile <(echo "subjectAltName=$1") -out $name.pem
	done
) >"$T/openssl.log" 2>&1

# Ends all processes of the case's namespaces; removes namespaces and pins.
clean() {
	local ns pid

	for pid in ${PIDS[@]+"${PIDS[@]}"}; do
		kill -KILL "$pid" 2>/dev/null || true
	done
	for ns in "$S" "$C" ${MORE_NAMESPACES:-}; do
		[[ -e $NS/$ns ]] || continue
		for pid in $(ip netns pids "$ns"); do
			kill -KILL "$pid" 2>/dev/null || true
		done
		ip netns del "$ns" || true
	done
	rm -rf "$PIN" "$WITNESS"
}

# What tells apart why a case failed: what passed that might have been refused, and what the daemon
# said last.
explain_failure() {
	printf '# counters: %s\n' "$(expression --print "{n: v for n, v in k.items() if v}" 2>&1)"
	printf '# load: %s\n' "$(cut -d ' ' -f 1-3 /proc/loadavg)"
	tail -n 5 "$T/daemon.log" | sed 's/^/# daemon: /'
}

on_exit() {
	local status=$?

	trap - EXIT
	if ((!FINISHED && !FAILED)); then
		say_not_ok "the case $CASE runs to its last line" \
			"exit status $status, line ${LINE:-?}"
	fi
	if ((FAILED)); then
		explain_failure 2>/dev/null || true
	fi
	clean 2>/dev/null || true
	if ((FAILED)) && [[ -n ${SLUICE_KEEP:-} ]]; then
		printf '# logs are in %s\n' "$T"
	else
		rm -rf "$T"
	fi
	exit $((FAILED > 0 || !FINISHED))
}

# The last line of every case.
done_here() {
	FINISHED=1
	exit 0
}

if ((EUID != 0)); then
	echo "not ok - the case $CASE runs as root: it does not"
	exit 1
fi
exec 9>"/run/sl-$CASE.lock"
flock -w 300 9 || {
	echo "not ok - the case $CASE runs once at a time: another run is active"
	exit 1
}
clean 2>/dev/null || true
T=$(mktemp -d "/tmp/sl-$CASE.XXXXXX")
trap on_exit EXIT
# The default file is the host's. User nobody, of its own group, may read this one.
export SLUICE_HASH_SECRET_FILE=$T/hash-secret
od -An -N 16 -tx1 /dev/urandom | tr -d ' \n' >"$SLUICE_HASH_SECRET_FILE"
chmod 640 "$SLUICE_HASH_SECRET_FILE"
chown 0:65534 "$SLUICE_HASH_SECRET_FILE"
trap 'LINE=$LINENO' ERR
trap 'exit 130' INT TERM HUP
grep -q ' /sys/fs/bpf bpf ' /proc/mounts || mount -t bpf bpf /sys/fs/bpf

# A case that compares times gets a higher priority than other work of the machine.
! grep -q '^# Runs alone' "$0" || renice -n -15 -p $$ >/dev/null

ip netns add "$S"
ip netns add "$C"
ip link add s0 netns "$S" type veth peer name c0 netns "$C"
on "$S" sh -c "ip addr add $S4/24 dev s0 && ip addr add $S6/64 dev s0 nodad &&
	ip link set s0 up && ip link set lo up"
on "$C" sh -c "ip addr add $C4/24 dev c0 && ip addr add $C4B/24 dev c0 &&
	ip addr add $C6/64 dev c0 nodad && ip link set c0 up && ip link set lo up"
