#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The command line. A wrong value gives one clear line, exit status 2, and nothing attached. A
# start that fails is exit status 1. A failure names its cause. Every --json parses. A changed value
# acts at once.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

nothing_attached() {
	[[ ! -e $PIN ]] || { echo "the pin directory is there"; return 1; }
	on "$S" bpftool -j net show | "$PY" -c 'import json, sys
left = [x for part in json.load(sys.stdin) for x in part.values() if x]
sys.exit(f"attached: {left}" if left else 0)' || return 1
	! on "$S" tc qdisc show | grep clsact
}

# fails STATUS TEXT ARGUMENT…: sluiced ends with that status and one line that contains TEXT, and
# attaches nothing.
fails() {
	local want=$1 text=$2 status=0 output

	shift 2
	output=$(on "$S" timeout 100 "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" \
		--metrics off "$@" \
		2>&1 </dev/null 9>&-) || status=$?
	[[ $status == "$want" ]] || { echo "exit status $status, not $want: $output"; return 1; }
	[[ $(wc -l <<<"$output") == 1 ]] || { echo "more than a line: $output"; return 1; }
	[[ $output == *"$text"* ]] || { echo "no '$text' in: $output"; return 1; }
	nothing_attached
}

good=(--interface s0 --listen 8000)
check "a call without a service is an error" fails 2 service
check "an unknown option is named" fails 2 --nonsense "${good[@]}" --nonsense 1
check "a port out of range is named" fails 2 70000 --interface s0 --listen 70000
check "a malformed address is named" fails 2 10.0.0.300 --interface s0 --listen 10.0.0.300:8000
check "an unknown protocol is named" fails 2 gopher "${good[@]}" --protocol gopher
check "a threshold that is not a number is named" fails 2 ttft-threshold-ms "${good[@]}" \
	--ttft-threshold-ms fast
check "a negative threshold is refused" fails 2 itl-threshold-ms "${good[@]}" --itl-threshold-ms -3
check "a time constant of zero is refused" fails 2 time-constant-secs "${good[@]}" \
	--time-constant-secs 0
check "a wrong truth value is named" fails 2 maybe "${good[@]}" --per-model-limits maybe
check "an unknown policy is named" fails 2 hope "${good[@]}" --policy hope
check "an unknown action is named" fails 2 shout "${good[@]}" --action shout
check "an unknown mode is named" fails 2 dream "${good[@]}" --mode dream
check "a malformed lease is refused" fails 2 lease-ms "${good[@]}" --lease-ms x
check "an unknown XDP mode is named" fails 2 hardware "${good[@]}" --xdp hardware
check "an option without its value is named" fails 2 listen --interface s0 --listen
mkfifo "$T/fifo.yaml"
check "a FIFO is refused at once and named" fails 2 "fifo.yaml: is a FIFO" --config "$T/fifo.yaml"
check "a missing file is named" fails 2 "$T/none.yaml" --config "$T/none.yaml"
printf 'interfaces: [s0]\nlisten: [8000]\nttft-treshold-ms: 5\n' >"$T/typo.yaml"
check "a misspelt key of the file is named" fails 2 ttft-treshold-ms --config "$T/typo.yaml"
printf 'interfaces: [s0]\nlisten: [8000]\nmode: sleepy\n' >"$T/value.yaml"
check "a wrong value in the file is named" fails 2 sleepy --config "$T/value.yaml"
printf 'interfaces: [s0\n' >"$T/broken.yaml"
check "a file that is not YAML is named" fails 2 broken.yaml --config "$T/broken.yaml"
check "a wrong value in the environment is named by its variable" \
	env SLUICE_LEASE_MS=soon bash -c "$(declare -f fails nothing_attached on);
		$(declare -p NS S B PIN T PY good); fails 2 soon \"\${good[@]}\""
check "an interface that cannot be attached to as told is named" \
	fails 1 'lo has no native XDP' --interface lo --xdp native --listen 8000
same "--help is no error" 0 "$("$B/sluiced" --help >"$T/help"; echo $?)"
check "--help names every option" \
	bash -c "for o in config interface listen protocol ttft-threshold-ms itl-threshold-ms \
	time-constant-secs per-model-limits policy action mode lease-ms pin-dir control metrics \
	xdp; do
	grep -q -- \"--\$o\" '$T/help' || exit 1; done"

# The command line overrides the environment, which overrides the file.
cat >"$T/sluice.yaml" <<CONF
interfaces: [s0]
listen: [8000]
ttft-threshold-ms: 100
itl-threshold-ms: 100
lease-ms: 1000
CONF
interfaces=()
SLUICE_ITL_THRESHOLD_MS=200 SLUICE_LEASE_MS=2000 sluice --config "$T/sluice.yaml" --lease-ms 4000
holds "the command line overrides the environment, which overrides the file" \
	"[s['global']['ttft_threshold_ms'], s['global']['itl_threshold_ms'], s['lease_ms']] ==
	 [100, 200, 4000]"
mv "$T/sluice.yaml" "$T/away.yaml"
mkfifo "$T/sluice.yaml"
check "a reload refuses a FIFO at once and names it" \
	bash -c "'$B/sluicectl' --control '$T/control.sock' reload 2>&1 | grep -q 'sluice.yaml: is a FIFO'"
holds "the old configuration stays in force" "s['global']['ttft_threshold_ms'] == 100"
rm "$T/sluice.yaml"
mv "$T/away.yaml" "$T/sluice.yaml"
echo 'max-clients: 2048' >>"$T/sluice.yaml"
ctl set mode=shadow ttft=500ms >/dev/null
waits="a restart is needed for the new max-clients"
same "a reload says what it has changed, and what waits for a restart" \
	"configuration read again, mode shadow -> enforce, ttft 500ms -> 100ms; $waits" \
	"$(ctl reload)"
ctl detach >/dev/null
wait "$DAEMON" || true

# The XDP hook is taken by another program. A required XDP mode is an error with its cause, and
# the other program stays.
clang -O2 -target bpf -x c -c - -o "$T/theirs.o" <<<'
	__attribute__((section("xdp"), used)) int theirs(void *packet) { return 2; }
	char terms[] __attribute__((section("license"), used)) = "Dual BSD/GPL";'
on "$S" ip link set dev s0 xdp obj "$T/theirs.o" sec xdp
status=0
output=$(on "$S" timeout 100 "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" --metrics \
	off \
	"${good[@]}" --xdp native 2>&1 9>&-) || status=$?
same "a taken XDP hook is an error if XDP is required" 1 "$status"
# shellcheck disable=SC2016 # the inner shell expands it
check "the error is one line and names the interface" \
	bash -c '[[ $1 == *s0* && $(wc -l <<<"$1") == 1 ]]' - "$output"
check "the other program stays" bash -c "nsenter --net=$NS/$S ip link show s0 | grep -q 'prog/xdp'"
check "nothing of sluice stays" test ! -e "$PIN"
interfaces=(s0)
sluice --listen "$PORT"
holds "by default, sluice then does without XDP" \
	"s['interfaces'][0]['xdp'] == 'off' and s['interfaces'][0]['tc']"
ctl detach >/dev/null
wait "$DAEMON" || true
check "the other program has survived that, too" \
	bash -c "nsenter --net=$NS/$S ip link show s0 | grep -q 'prog/xdp'"
on "$S" ip link set dev s0 xdp off

# An unprivileged user.
chmod 711 "$T"
status=0
cp "$B/sluiced" "$B/sluicectl" "$T/" # nobody may not be able to read the checkout
output=$(on "$S" setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all \
	--bounding-set=-all timeout 100 "$T/sluiced" --pin-dir "$PIN" \
	--control "$T/control.sock" --metrics off "${good[@]}" 2>&1 9>&-) || status=$?
same "without privilege the daemon fails" 1 "$status"
# shellcheck disable=SC2016 # the inner shell expands it
check "it names the missing privilege, in one line" bash -c \
	'[[ $(wc -l <<<"$1") == 1 && $1 =~ (root|rivilege|CAP_|ermi) ]]' - "$output"

# sluicectl.
code() { # code ARGUMENT…: prints its exit status; its output is in $T/output
	local status=0

	"$B/sluicectl" --control "$T/control.sock" "$@" >"$T/output" 2>&1 </dev/null || status=$?
	echo $status
}
same "sluicectl without a daemon is exit status 3" 3 "$(code status)"
check "its error is one line" bash -c "[[ \$(wc -l <'$T/output') == 1 ]]"
same "detach without a daemon and pins is exit status 3" 3 "$(code detach --pin-dir "$PIN")"
same "… and says that there is nothing" \
	"sluicectl: no daemon answers at $T/control.sock; $PIN: nothing is attached or pinned" \
	"$(<"$T/output")"
mock --model m,prefill-ms=30,token-ms=1,tokens=2,slots=64
interfaces=(s0 lo)
sluice --listen "$PORT"
load --connect "$S4:$PORT" --model m --requests 2 >"$T/m.json"
await 3 "m['m']['ttft_samples'] > 0"
same "an unknown command is exit status 2" 2 "$(code frobnicate)"
same "set without a value is exit status 2" 2 "$(code set)"
same "block without a client is exit status 2" 2 "$(code block)"
same "drain with another status is exit status 2" 2 "$(code drain --status 500)"
check "the error names the option" grep -qx 'sluicectl: --status: "500" is not 503 or 429' \
	"$T/output"
same "a malformed client is an error" 1 \
	"$([[ $(code block nobody) =~ ^[12]$ ]] && echo 1)"
same "set policy=fastest is refused by the daemon" 1 "$(code set policy=fastest)"
check "the error lists the policies" grep -q "adaptive, ema-flag" "$T/output"
same "an unknown key is refused" 1 "$(code set colour=blue)"
same "a wrong value is refused" 1 "$(code set ttft=quick)"
same "set with one wrong value of several fails" 1 "$(code set tau=9s ttft=quick)"
holds "the failed command has changed nothing" \
	"s['global']['time_constant_secs'] == 15 and m['m']['open']"
for what in status models clients services; do
	check "$what --json is JSON" \
		bash -c "'$B/sluicectl' --control '$T/control.sock' $what --json | $PY -m json.tool"
	check "$what prints text" \
		bash -c "[[ \$('$B/sluicectl' --control '$T/control.sock' $what | wc -l) -gt 0 ]]"
done
check "the socket has mode 660" bash -c "[[ \$(stat -c %a '$T/control.sock') == 660 ]]"
unprivileged() { # like code, by a user who may not open the socket
	local status=0

	setpriv --reuid 65534 --regid 65534 --clear-groups "$T/sluicectl" \
		--control "$T/control.sock" "$@" >"$T/output" 2>&1 || status=$?
	echo $status
}
denied="sluicectl: $T/control.sock: Permission denied (try as root)"
same "a user without access to the socket gets exit status 3" 3 "$(unprivileged status)"
same "the error names the permission" "$denied" "$(<"$T/output")"
same "… of detach, too, which looks for no pins" 3 "$(unprivileged detach --pin-dir "$T")"
same "… and says the same" "$denied" "$(<"$T/output")"

# A change acts on the very next request.
ctl set policy=ema-flag >/dev/null
ctl set --model m ttft=1ms tau=1h >/dev/null
same "set acts on the next request" 429 \
	"$(on "$C" curl -sS -m 5 -o /dev/null -w '%{http_code}' --json \
	'{"model":"m"}' "http://$S4:$PORT/v1/chat/completions")"
ctl set mode=shadow >/dev/null
load --connect "$S4:$PORT" --model m --requests 3 >"$T/shadow.json"
holds "in shadow mode all pass, and sluice counts shadow refusals" \
	"j('shadow')['completed'] == 3 and r['shadow_rejected'] == 3 and s['mode'] == 'shadow'"
ctl set mode=enforce >/dev/null
ctl set --model m ttft=none >/dev/null
same "set opens the model for the next request" 200 \
	"$(on "$C" curl -sS -m 5 -o /dev/null -w '%{http_code}' --json \
	'{"model":"m"}' "http://$S4:$PORT/v1/chat/completions")"

# A second daemon at the same pins.
status=0
output=$(on "$S" timeout 100 "$B/sluiced" --pin-dir "$PIN" --control "$T/second.sock" --metrics \
	off \
	"${good[@]}" \
	2>&1 9>&-) || status=$?
same "a second daemon at the same pins is refused" 1 "$status"
holds "the first daemon continues" "s['interfaces'][0]['tc']"

done_here
