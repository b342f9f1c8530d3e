#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Servers in other network namespaces, in which sluice attaches: one daemon for many pods. Refusals
# keep their connections there as on the host, since their sockets are found. A namespace that ends
# is let go, one that comes is attached, and one that takes an address of another is left out.
MORE_NAMESPACES="sl-netns-a sl-netns-b sl-netns-d"
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/pods.sh
. "$HERE/pods.sh"
# shellcheck source=tests/e2e/rounds.sh
. "$HERE/rounds.sh"

D=sl-netns-d
node
pod a 10
mock_in a
METRICS=127.0.0.1:9464
sluice_on_node --netns "$NS/$A" --netns "$NS/$B_POD" --listen "$PORT" --metrics "$METRICS"
capabilities() { awk '/^CapEff:/ { print $2 }' "/proc/$DAEMON/status"; }
same "the daemon keeps what it takes to enter namespaces, and no more" 0000008000281000 \
	"$(capabilities)"
holds "the namespace that is there is attached, but for lo, and no veth on the host" \
	"sorted(x['name'] for x in s['interfaces'] if x['tc']) == ['br0', 'lo', 's0', '$A/eth0']"
holds "the other is said to be missing" \
	"s['troubles'] == ['network namespace $NS/$B_POD does not exist: ' +
	 'sluice attaches to it when it comes']"
readyz() { on "$S" curl -sS -m 100 -w '%{http_code}' "http://$METRICS/readyz"; }
NOT_READY=$'not ready: 1 of the network namespaces cannot be followed\n503'
same "the daemon is not ready, then" "$NOT_READY" "$(readyz)"
load --connect "$A4:$PORT" --model slow --requests 1 >"$T/one.json"
await 3 "'slow' in m"
ctl block "$C4" --model slow >/dev/null
ctl block "$C6/64" --model slow >/dev/null
for client in 10.88.0.1 "$A4" "$B4"; do ctl block "$client" --model slow >/dev/null; done
ctl block fd88::/64 --model slow >/dev/null

# refused POD NAMESPACE TO: of both models, one is refused there, on kept connections, too.
refused() {
	local where="from $2 to $3"

	in_pod "$1" >"$T/stats0.json"
	before=$(value "[r['admitted'], r['rejected'], k['refusals-kept']]")
	on "$2" "$B/loadgen" --json --connect "$3:$PORT" --model open:1 --model slow:1 \
		--requests 24 --concurrency 2 >"$T/both.json" || true
	in_pod "$1" >"$T/stats.json"
	holds --within 3 "requests are answered or refused with a whole 429 $where" \
		"j('both')['by_model']['open']['completed'] ==
		 j('both')['by_model']['open']['sent'] > 0 and
		 j('both')['by_model']['slow']['status'] ==
		 {'429': j('both')['by_model']['slow']['sent']} and
		 j('stats')['requests_complete_by_model'].get('slow', 0) ==
		 j('stats0')['requests_complete_by_model'].get('slow', 0) and
		 [r['admitted'] - ${before}[0], r['rejected'] - ${before}[1]] ==
		 [j('both')['by_model'][x]['sent'] for x in ('open', 'slow')] and
		 s['global']['in_flight'] == 0"
	holds "some of them keep their connections $where" "k['refusals-kept'] > ${before}[2]"
}
for from in $C $S; do
	for to in "$A4" "[$A6]"; do refused a "$from" "$to"; done
done
holds --within 10 "a service with a server in another namespace is no trouble" \
	"v[$PORT] and not any('nobody listens' in x for x in s['troubles'])"

pod b 11
mock_in b
holds --within 10 "a namespace that comes is attached" \
	"'$B_POD/eth0' in [x['name'] for x in s['interfaces'] if x['tc']] and s['troubles'] == []"
same "then the daemon is ready" $'ready: mode enforce\n200' "$(readyz)"
refused b "$C" "$B4"
refused b "$A" "[$B6]"
refused a "$B_POD" "$A4"

on "$A" ip addr add "$B4/32" dev eth0
holds --within 10 "one that takes an address of another, named later, is left out, and said" \
	"s['troubles'] == ['network namespace $NS/$A has an address that $NS/$B_POD has, too: ' +
	 'it is left out'] and
	 [x['name'] for x in s['interfaces'] if '/' in x['name']] == ['$B_POD/eth0']"
same "the daemon is not ready, then" "$NOT_READY" "$(readyz)"
refused b "$C" "$B4"
on "$A" ip addr del "$B4/32" dev eth0
holds --within 10 "it is attached again without that address" \
	"'$A/eth0' in [x['name'] for x in s['interfaces'] if x['tc']] and s['troubles'] == []"

# starve PATH…: the daemon has no descriptor left for these namespaces, until it has said so.
starve() {
	local limit path

	limit=$(prlimit --pid "$DAEMON" --nofile --output SOFT --noheadings)
	prlimit --pid "$DAEMON" --nofile=0:
	for path; do
		await_line daemon ".*network namespace $path cannot be opened: Too many open files" \
			"$DAEMON"
	done
	prlimit --pid "$DAEMON" --nofile="${limit// /}:"
	await 10 "not any('cannot be opened' in x for x in s['troubles'])"
}
said_gone() { grep 'is gone' "$T/daemon.log"; }

gone_before=$(said_gone)
starve "$NS/$A" "$NS/$B_POD"
same "a namespace that cannot be opened for a moment stays attached" "$gone_before" "$(said_gone)"
refused a "$B_POD" "$A4"

# The name of the namespace is gone, and its last process.
kill -KILL "$MOCK"
ip netns del "$B_POD"
holds --within 10 "a namespace that ends is let go, and that is said" \
	"'$B_POD/eth0' not in [x['name'] for x in s['interfaces']] and
	 s['troubles'] == ['network namespace $NS/$B_POD has ended: ' +
	 'sluice attaches to it when it comes back']"
same "… and the daemon is ready without it" $'ready: mode enforce\n200' "$(readyz)"
holds "… it is said once in the log" \
	"log('daemon').count('network namespace $NS/$B_POD has ended') == 1"
check "its end of the veth goes with it" eventually 1 gone vb
refused a "$C" "$A4"

ip netns add "$D"
ip link add vd netns "$S" type veth peer name eth0 netns "$D"
touch "$NS/$B_POD"
mount --bind "$NS/$D" "$NS/$B_POD"
holds --within 10 "one without an address has nothing to attach to, and that is said" \
	"s['troubles'] == ['network namespace $NS/$B_POD has no address yet: nothing comes to it']"
on "$D" sh -c "ip addr add $A4/24 dev eth0 && ip link set eth0 up"
holds --within 10 "one with an address of another is left out, and said" \
	"s['troubles'] == ['network namespace $NS/$B_POD has an address that $NS/$A has, too: ' +
	 'it is left out'] and '$B_POD/eth0' not in [x['name'] for x in s['interfaces']]"
refused a "$C" "$A4"
umount "$NS/$B_POD"

# The file under it is left.
holds --within 10 "a path that leads to no network namespace is said" \
	"s['troubles'] == ['network namespace $NS/$B_POD cannot be entered: ' +
	 'it is no network namespace']"
same "the daemon is not ready with it" "$NOT_READY" "$(readyz)"
rm "$NS/$B_POD"
ln -s "$T/closed/b" "$NS/$B_POD"
mkdir -m 0 "$T/closed"
holds --within 10 "a path that may not be opened is said" \
	"s['troubles'] == ['network namespace $NS/$B_POD cannot be opened: Permission denied']"
rm "$NS/$B_POD"

# A daemon that takes over, and one that is given a process, and its namespace by a name, too.
before=$(value "r['admitted']")
finish "$DAEMON" KILL
sluice_on_node --pid "$(on "$A" sh -c 'sleep 1000 >/dev/null 2>&1 9>&- & echo $!' | tee "$T/pid")" \
	--netns "$NS/$A" --listen "$PORT" --listen "$((PORT + 2))" --metrics "$METRICS"
PIDS+=("$(<"$T/pid")")
holds "the namespace of a process is attached, once, and that is said" \
	"[x['name'] for x in s['interfaces'] if '/' in x['name'] and x['tc']] ==
	 ['pid $(<"$T/pid")/eth0'] and
	 s['troubles'] == ['network namespace $NS/$A is that of /proc/$(<"$T/pid")/ns/net: ' +
	 'it is attached to once']"
same "… and the daemon is ready" $'ready: mode enforce\n200' "$(readyz)"
refused a "$C" "$A4"
starve "/proc/$(<"$T/pid")/ns/net"
same "one of a process stays attached likewise" "" "$(said_gone)"
refused a "$C" "$A4"
kill -KILL "$(<"$T/pid")"
holds --within 10 "its process ends, and only the name is attached" \
	"s['troubles'] == ['network namespace /proc/$(<"$T/pid")/ns/net has ended with its process']
	 and [x['name'] for x in s['interfaces'] if '/' in x['name'] and x['tc']] == ['$A/eth0']"
refused a "$C" "$A4"
same "… and the daemon is ready without it, too" $'ready: mode enforce\n200' "$(readyz)"

start echo "$A" "$PY" "$HERE/echo.py" "0.0.0.0,::" "$((PORT + 2))"
await_line echo ready "$PID"
PORT=$((PORT + 2)) rounds "$A4,$A6" 8
round
ctl block "$C4" --model closed >/dev/null
ctl block "$C6/64" --model closed >/dev/null
round
round
holds "connections to a server there are kept" "j('round')['kept'] == 8"
check "detach resets them" ctl detach --kept-timeout 1s
check "… at the server" eventually 3 no_sockets_in "$A" "$((PORT + 2))"
round
holds "… and at each client" "j('round') == {'kept': 8, 'ConnectionResetError': 8}"
wait "$DAEMON" || true
done_here
