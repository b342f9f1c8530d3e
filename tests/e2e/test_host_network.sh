#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A server in the namespace of its node, as with `hostNetwork` and `network_mode: host`. sluice is
# there, too, or in a namespace of its own. Clients are outside, on the node by lo and by the node's
# address, in pods at a bridge and on a route, and behind a socket load balancer, which rewrites the
# address in connect(). Each request is judged, or status says which pass unseen.
MORE_NAMESPACES="sl-host_network-a sl-host_network-b"
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/pods.sh
. "$HERE/pods.sh"

VIP=10.96.0.10
busy() { # NAMESPACE TO: until it is ended
	start load "$1" "$B/loadgen" --connect "$2" --model open --concurrency 2 --duration 3000 \
		--new-connections
	LOAD=$PID
}
ended() {
	finish "$LOAD"
	holds --within 20 "it ends with them" "$kinds == []"
}
all_judged() { # SENTENCE NAMESPACE TO CLIENT
	block_slow "$2" "$3" "$4"
	judged "$1" "$2" "$3" "$kinds == []" --requests 40 --concurrency 8
}

node
pod a 10
pod b 11
on "$S" sh -c "ip link set vb nomaster && ip route add $B4/32 dev vb &&
	sysctl -qw net.ipv4.conf.vb.proxy_arp=1 net.ipv4.conf.all.rp_filter=0 \
		net.ipv4.conf.vb.rp_filter=0"
start mock "$S" "$B/mock_server" --listen "0.0.0.0:$PORT" --listen "[::]:$PORT" \
	--model open,prefill-ms=2,token-ms=1,tokens=3,slots=64 \
	--model slow,prefill-ms=2,token-ms=1,tokens=3,slots=64
MOCK=$PID
await_line mock ready "$MOCK"

# ---- sluice in the node's namespace ----

sluice_on_node --trouble-after-secs 1 --listen "$PORT"
all_judged "from outside" "$C" "$S4:$PORT" "$C4"
all_judged "… by IPv6" "$C" "[$S6]:$PORT" "$C6/64"
all_judged "from the node, by lo" "$S" "127.0.0.1:$PORT" 127.0.0.1
all_judged "… by the node's address" "$S" "$S4:$PORT" "$S4"
all_judged "… by lo over IPv6" "$S" "[::1]:$PORT" ::1/64
all_judged "from a pod at a bridge, by the bridge's address" "$A" "10.88.0.1:$PORT" "$A4"
all_judged "… by the node's address" "$A" "$S4:$PORT" "$A4"
busy "$B_POD" "$S4:$PORT"
says unseen "attach to the interface by which $B4 comes"
ended
sluice_off
sluice_on_node --trouble-after-secs 1 --listen "$PORT" --interface auto --interface vb
all_judged "from a pod on a route, by its veth" "$B_POD" "$S4:$PORT" "$B4"
sluice_off

# ---- a socket load balancer ----

cat >"$T/connect.c" <<'END'
	#include <linux/bpf.h>
	#include <bpf/bpf_endian.h>
	#include <bpf/bpf_helpers.h>
	__attribute__((section("cgroup/connect4"), used)) int rewrite(struct bpf_sock_addr *to)
	{
		if (to->user_ip4 == bpf_htonl(0x0a60000a) && to->user_port == bpf_htons(80)) {
			to->user_ip4 = bpf_htonl(0x0a4d0001);
			to->user_port = bpf_htons(8000);
		}
		return 1;
	}
	char name[] __attribute__((section("license"), used)) = "GPL";
END
clang -O2 -g -target bpf -I"/usr/include/$(gcc -print-multiarch)" -c "$T/connect.c" \
	-o "$T/connect.o"
mkdir "$T/cgroup" "$WITNESS"
mount -t cgroup2 none "$T/cgroup"
GROUP=$T/cgroup/sl-$CASE
mkdir -p "$GROUP"
end_cgroup() {
	local pid

	while read -r pid; do
		echo "$pid" >"$T/cgroup/cgroup.procs" || true
	done <"$GROUP/cgroup.procs"
	rmdir "$GROUP" || true
	umount -l "$T/cgroup"
} 2>/dev/null
trap 'end_cgroup; on_exit' EXIT
bpftool prog load "$T/connect.o" "$WITNESS/connect" type cgroup/connect4
bpftool cgroup attach "$GROUP" connect4 pinned "$WITNESS/connect"
echo $$ >"$GROUP/cgroup.procs"

sluice_on_node --trouble-after-secs 1 --listen "$PORT"
all_judged "a virtual address that connect() rewrites, at the server's own" "$S" "$VIP:80" "$S4"
sluice_off
sluice_on_node --trouble-after-secs 1 --listen "$VIP:80"
busy "$S" "$VIP:80"
says no-server "no server with this address is found on this host"
finish "$LOAD"
sluice_off

finish "$MOCK"
end_cgroup
trap on_exit EXIT
start mock "$S" "$B/mock_server" --listen "0.0.0.0:$PORT" \
	--model open,prefill-ms=2,token-ms=1,tokens=3,slots=64 \
	--model slow,prefill-ms=2,token-ms=1,tokens=3,slots=64
await_line mock ready "$PID"

# ---- sluice in a namespace of its own ----

start daemon "$A" "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" --metrics off \
	--netns "$NS/$S" --trouble-after-secs 1 --listen "$PORT"
DAEMON=$PID
await_line daemon ready "$DAEMON"
all_judged "from there, sluice judges what comes from outside" "$C" "$S4:$PORT" "$C4"
all_judged "… and from the pod that it is in" "$A" "$S4:$PORT" "$A4"
for to in 127.0.0.1 "$S4"; do
	busy "$S" "$to:$PORT"
	says partly-unseen "attach to the interface by which $to comes"
	ended
done

# With lo and eth0 of the daemon's own namespace, s0 and br0 there.
for ((i = 0; i < 130; i++)); do
	echo "link add d$i type veth peer name e$i"
	echo "addr add 10.99.$i.1/32 dev d$i"
done | ip -n "$S" -batch -
more="[x for x in s['troubles'] if 'more interfaces match than sluice has room for' in x]"
holds --within 20 "more interfaces than sluice has room for are said" \
	"len(s['interfaces']) == 128 and [x.split()[0] for x in $more] == ['6']"
ip -n "$S" -batch - <<<$'link add d130 type veth peer name e130\naddr add 10.99.130.1/32 dev d130'
holds --within 5 "… and counted anew at each look" "[x.split()[0] for x in $more] == ['7']"
finish "$DAEMON" KILL
rm -rf "$PIN"
start daemon "$A" "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" --metrics off \
	--trouble-after-secs 1 --listen "$PORT"
DAEMON=$PID
await_line daemon ready "$DAEMON"
says not-listening "nobody listens there"
done_here
