#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What scripts/test-packages runs under the systemd of a suite: installs the package, starts it in
# shadow mode in its sandbox, upgrades it under load, removes and purges it. /var/tmp has the
# packages, /src the tree. All traffic is on loopback, but for a veth pair of this namespace.
set -uo pipefail

export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
work=$(mktemp -d /var/tmp/inside.XXXXXX)
config=/etc/sluice/sluice.yaml

same() { # same SENTENCE WANTED GOT
	if [[ $2 == "$3" ]]; then
		printf 'ok - %s\n' "$1"
	else
		printf 'not ok - %s: wanted %q, got %q\n' "$1" "$2" "$3"
	fi
}
check() { # check SENTENCE COMMAND…
	local sentence=$1 why

	shift
	why=$("$@" 2>&1) && printf 'ok - %s\n' "$sentence" ||
		printf 'not ok - %s: %s\n' "$sentence" "${why//$'\n'/ | }"
}
# within SECONDS COMMAND…: waits until it succeeds.
within() {
	local deadline=$((SECONDS + $1))

	shift
	until "$@"; do
		((SECONDS < deadline)) || return 1
		sleep 0.1
	done
}
state() { systemctl show -P "$2" "$1"; }
daemon() { state sluiced MainPID; }
restarted() { [[ $(daemon) != 0 && $(daemon) != "$1" && $(state sluiced ActiveState) == active ]]; }
failed_for_good() { [[ $(state sluiced ActiveState) == failed ]]; }
in_kernel() { # prints what sluice has in the kernel
	find /sys/fs/bpf -mindepth 1 -name 'sluice*'
	bpftool net show | grep -i sluice
	tc filter show dev lo ingress
}
metrics() {
	curl -fsS -m "${2:-10}" -o /dev/null -H "Authorization: Bearer $token" \
		"http://$1:9464/metrics"
}
token=0123456789abcdef
allow_all() { sed -i 's/^interfaces:.*/interfaces: [lo]/' "$config"; }

# ---- a new installation ----

check "the package installs" dpkg -i /var/tmp/first.deb
same "a new installation starts nothing" "inactive disabled" \
	"$(state sluiced ActiveState) $(systemctl is-enabled sluiced)"
same "a new installation leaves the kernel alone" "" "$(in_kernel)"
check "its configuration is good" sluiced --check "$config"
hardened() {
	local all

	all=$(readelf -W --file-header --dynamic --dyn-syms "$1")
	[[ $all == *'DYN (Position-Independent'* && $all == *BIND_NOW* &&
		$all == *__stack_chk_fail* && $all == *_chk@* ]]
}
for program in sbin/sluiced sbin/sluicectl bin/sluice-sim; do
	check "/usr/$program has the hardening of dpkg-buildflags" hardened "/usr/$program"
done
check "bash completion is there" bash -c \
	'source /usr/share/bash-completion/completions/sluicectl && complete -p sluiced'
check "the man pages are there" ls /usr/share/man/man{1/sluice-sim.1,5/sluice.yaml.5}.gz \
	/usr/share/man/man8/sluice{d,ctl}.8.gz
unit=/usr/lib/systemd/system/sluiced.service
exposure=$(systemd-analyze security --no-pager --offline=true "$unit" |
	sed -n 's/.*exposure level .*: \([0-9.]*\).*/\1/p')
check "the exposure of the unit is $exposure, below 2.5" \
	awk "BEGIN { exit !($exposure > 0 && $exposure < 2.5) }"

# ---- the sandbox ----

allow_all
groupadd operators
echo 'control-group: operators' >>"$config"
check "the service starts in its sandbox" systemctl enable --now sluiced
same "it starts in shadow mode" "shadow" \
	"$(sluicectl status | sed -n 's/^\([a-z]*\), policy.*/\1/p')"
same "it keeps two capabilities, no new privileges, and a filter of system calls" \
	"0000008000001000 1 2" "$(awk '/^(CapEff|NoNewPrivs|Seccomp):/ { printf "%s ", $2 }' \
		"/proc/$(daemon)/status" | sed 's/ $//')"
same "the control socket is of the group of the configuration" "operators 660" \
	"$(stat -c '%G %a' /run/sluice/control.sock)"
check "a reload works in the sandbox" systemctl reload sluiced
check "metrics are served on loopback" metrics 127.0.0.1
printf 'FOR=1s\nTTFT_MS=500\n' >/etc/sluice/record.conf
check "the nightly unit records and reports in its sandbox" systemctl start sluice-record
same "its record is for root alone" "600 TIMESTAMP" \
	"$(stat -c %a /var/lib/sluice-record/record.csv) $(head -c 9 /var/lib/sluice-record/record.csv)"
check "… and its report is there" grep -q "less than two" /var/lib/sluice-record/report.txt
rm -r /var/lib/sluice-record /etc/sluice/record.conf
ip link add m0 type veth peer name m1
ip addr add 10.77.9.1/24 dev m0
ip link set m0 up
ip link set m1 up
echo "$token" >/etc/sluice/token
chmod 600 /etc/sluice/token
printf 'metrics: 0.0.0.0:9464\nmetrics-token-file: /etc/sluice/token\n' >>"$config"
systemctl restart sluiced
check "the sandbox shuts them to other addresses" bash -c \
	"! curl -sS -m 2 --interface 10.77.9.1 -o /dev/null http://10.77.9.1:9464/metrics"
mkdir -p /etc/systemd/system/sluiced.service.d
sed 's/^IPAddressAllow=.*/IPAddressAllow=10.77.9.0\/24/' \
	/usr/share/doc/sluice/scripts/sluiced-remote.conf \
	>/etc/systemd/system/sluiced.service.d/remote.conf
systemctl daemon-reload
systemctl restart sluiced
check "the drop-in opens them" metrics 10.77.9.1
before=$(daemon)
kill -STOP "$before"
check "the watchdog ends a daemon that hangs, and systemd starts another" \
	within 120 restarted "$before"
echo 'mode: dream' >>"$config"
systemctl restart sluiced 2>/dev/null
check "a wrong configuration is not started again" within 20 failed_for_good
same "its exit status is 2" 2 "$(state sluiced ExecMainStatus)"
sed -i '/^mode: dream\|^metrics:/d' "$config"
rm -r /etc/systemd/system/sluiced.service.d
systemctl daemon-reload
systemctl restart sluiced

# ---- other network namespaces ----

for pod in named held; do
	ip netns add "$pod"
	ip link add "p-$pod" type veth peer name eth0 netns "$pod"
	ip -n "$pod" addr add "10.77.8.${#pod}/24" dev eth0
	ip -n "$pod" link set eth0 up
done
ip netns exec held sleep 1000 &
holder=$!
printf 'netns: [/run/netns/named]\npid: [%s]\n' "$holder" >>"$config"
namespaces() { # prints what is attached in others, and what is said of them
	sluicectl status --json | grep -o '"name": *"[^"]*/eth0"\|"network namespace [^"]*"' |
		sed 's/"name": *//' | sort
}
namespaces_are() { [[ $(namespaces) == "$1" ]]; }
follows() { # follows WANTED: what a restart comes to
	systemctl restart sluiced
	within 20 namespaces_are "$1" || { namespaces; journalctl -n 5 -u sluiced; false; }
}
check "the sandbox shuts other network namespaces, and status says so" follows \
	"\"network namespace /proc/$holder/ns/net cannot be opened: Permission denied\"
\"network namespace /run/netns/named cannot be entered: it needs CAP_SYS_ADMIN\""
mkdir -p /etc/systemd/system/sluiced.service.d
cp /usr/share/doc/sluice/scripts/sluiced-netns.conf \
	/etc/systemd/system/sluiced.service.d/netns.conf
systemctl daemon-reload
check "the drop-in opens them, by path and by process" follows "\"named/eth0\"
\"pid $holder/eth0\""
kill "$holder"
sed -i '/^netns:\|^pid:/d' "$config"
rm -r /etc/systemd/system/sluiced.service.d
systemctl daemon-reload
systemctl restart sluiced

# ---- an instance ----

sed 's/^  - 8000/  - 8005/; $a metrics: off' "$config" >/etc/sluice/two.yaml
check "an instance starts beside it" systemctl enable --now sluiced@two
check "the instance has its own socket, and reloads" systemctl reload sluiced@two
same "the instance has its own services" "*:8005" \
	"$(sluicectl --control /run/sluice-two/control.sock services | awk 'NR == 2 { print $1 }')"

# ---- an upgrade under load ----

/src/build/mock_server --listen 8000 --model m,prefill-ms=2,token-ms=1,tokens=5,slots=64 \
	>"$work/mock" 2>&1 &
within 30 grep -qs ready "$work/mock"
one_request() {
	curl -fsS -m 10 -o /dev/null --json '{"model":"m","max_tokens":5,"stream":true}' \
		http://127.0.0.1:8000/v1/chat/completions
}
touch "$work/served" "$work/errors"
for ((i = 0; i < 100000; i++)); do
	[[ ! -e $work/enough ]] || break
	one_request 2>>"$work/errors" && echo >>"$work/served"
done &
load=$!
served() { wc -l <"$work/served"; }
more_than() { (($(served) > $1)); }
within 60 more_than 50
before=$(daemon)
two=$(state sluiced@two MainPID)
at=$(served)
check "the next version installs" dpkg -i /var/tmp/next.deb
check "the upgrade has restarted the daemon" within 60 restarted "$before"
check "the upgrade has restarted the instance" test "$(state sluiced@two MainPID)" != "$two"
within 60 more_than $(($(served) + 50))
touch "$work/enough"
wait "$load"
check "requests were served all through the upgrade: $(served), $at of them before" \
	test "$(served)" -gt $((at + 50))
same "no request failed" "" "$(sort "$work/errors" | uniq -c | head -n 5)"
check "the daemon has counted them" bash -c "sluicectl status | grep -q '[1-9][0-9]* admitted'"

# ---- removal ----

check "the package can be removed while it runs" dpkg -r sluice
same "nothing is left in the kernel" "" "$(in_kernel)"
same "no daemon is left" "" "$(pgrep -x sluiced)"
check "the server still serves" one_request
check "the configuration is left" test -e "$config"
check "it can be installed again" dpkg -i /var/tmp/next.deb
systemctl start sluiced
kill -KILL "$(daemon)"
systemctl stop sluiced
check "a dead daemon's pins are there" test -d /sys/fs/bpf/sluice
check "it can be removed after the daemon has died" dpkg -r sluice
same "nothing is left in the kernel then" "" "$(in_kernel)"
check "the package can be purged" dpkg -P sluice
same "only the administrator's own file is left" "/etc/sluice/two.yaml" \
	"$(find /etc /run /usr /var/lib/systemd -path /var/lib/dpkg -prune -o -name '*sluice*' \
		! -type d -print -o -name two.yaml -print)"
kill %1
echo "ok - the case runs to its last line"
