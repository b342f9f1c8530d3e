#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The daemon's log as a log shipper reads it: each line is an object, each change of state an event
# with the numbers that made it, each change by an operator has who, from what and to what. A model
# with a hostile name cannot disturb the line. What is left out or lost is counted.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

HOSTILE=$'m\xc2\x9b31m\xe2\x80\xae\xe2\x80\xa8'
KEY=sk-of-the-log-0123456789

mock --model slow,prefill-ms=200,token-ms=5,tokens=2,slots=4 \
	--model "$HOSTILE,prefill-ms=50,token-ms=5,tokens=2,slots=4" \
	--model itl,prefill-ms=5,token-ms=20,tokens=30,slots=64
ask() { # ask MODEL
	on "$C" curl -sS -m 10 -o /dev/null \
		--json "{\"model\":\"$1\",\"max_tokens\":2,\"stream\":true}" \
		"http://$S4:$PORT/v1/chat/completions"
}

write_config() { # write_config PORT…
	cat >"$T/sluice.yaml" <<-YAML
		interfaces: [s0, d0]
		listen: [$(tr ' ' , <<<"$*")]
		policy: ema-flag
		ttft-threshold-ms: 60000
		itl-threshold-ms: none
		time-constant-secs: 3600
		trouble-after-secs: 1
		fleet: prod
		fleet-store: ["127.0.0.1:9"]
		control-group: daemon
		log-format: json
	YAML
}
write_config "$PORT" 8002 # nobody listens on 8002
interfaces=()
sluice --config "$T/sluice.yaml"

holds "it is ready, with what it attached" "[x['services'] for x in said('ready')] == [2]"
holds --within 5 "a store that is away is an event" \
	"len(said('fleet-store-away')) == 1 and '127.0.0.1:9' in said('fleet-store-away')[0]['why']"
holds --within 5 "a trouble is an event with its kind and its service" \
	"[(x['kind'], x['service']) for x in said('trouble-began')] == [('not-listening', '*:8002')]"

# ---- models ----

ask slow
await 3 "m['slow']['ttft_ema_ms'] > 100"
ctl set --model slow ttft=1ms >/dev/null
holds --within 3 "a model that shuts is an event with its average, its target and its load" \
	"[(x['model'], x['pool'], x['reason'], x['ttft_ms'] > 100, x['ttft_target_ms'],
	   x['itl_target_ms'], x['in_flight'], x['limit'], x['was_s'] > 0)
	  for x in said('model-shut')] == [('slow', 'slow', 'ttft', True, 1, None, 0, None, True)]"
holds "its sentence has them, too" "said('model-shut')[0]['message'].startswith(
	'model slow shut: ttft ') and ' over 1 ms; 0 in flight, 0 waiting' in
	said('model-shut')[0]['message'] and said('model-shut')[0]['level'] == 'warning'"
ctl set --model slow ttft=none >/dev/null
holds --within 3 "a model that opens is one" \
	"[(x['model'], x['reason'], x['level']) for x in said('model-opened')] ==
	 [('slow', None, 'info')]"

ask "$HOSTILE"
await 3 "'m\x9b31m\u202e\u2028' in m"
ctl set --model "$HOSTILE" ttft=1us >/dev/null
holds --within 3 "a hostile name is in the event as it is" \
	"[x['model'] for x in said('model-shut')][1:] == ['m\x9b31m\u202e\u2028']"
check "the log has none of its characters that steer a terminal" \
	bash -c "! LC_ALL=C grep -aq -e \$'\\xc2\\x9b' -e \$'\\xe2\\x80' '$T/daemon.log'"

# ---- the daemon and its surroundings ----

write_config "$PORT"
ctl reload >/dev/null
holds "a configuration read again is an event with what has changed" \
	"[(x['services_before'], x['services'], x['models']) for x in said('config-read')] ==
	 [(2, 1, 0)]"
holds --within 3 "a trouble that ends is an event" \
	"[x['kind'] for x in said('trouble-ended')] == ['not-listening']"
echo nonsense: 1 >>"$T/sluice.yaml"
ctl reload >/dev/null 2>&1 || true
holds "a configuration that is refused is an event with the reason" \
	"['nonsense' in x['message'] for x in said('config-refused')] == [True]"
ctl drain --for 10m >/dev/null
ctl resume >/dev/null
holds "a drain is two events" \
	"[(x['status'], round(x['for_s']), x['in_flight']) for x in said('drain-began')] ==
	 [(503, 600, 0)] and len(said('drain-ended')) == 1"

holds "an interface that is missing is an event" \
	"[x['interface'] for x in said('attachment-disturbed')] == ['d0']"
ip -n "$S" link add d0 type veth peer name d1
ip -n "$S" link set d0 up
holds --within 5 "an interface that comes is an event" \
	"[x['interface'] for x in said('interface-attached')] == ['d0']"
on "$S" "$PY" "$HERE/foreign.py" detach tcx-out d0
holds --within 5 "a program that is attached again is an event" \
	"[x['interface'] for x in said('attachment-restored')] == ['d0']"
ip -n "$S" link del d0
holds --within 5 "an interface that goes is an event" \
	"[x['interface'] for x in said('interface-gone')] == ['d0']"

# ---- who did what ----

cp "$B/sluicectl" "$T/sluicectl"
chmod 711 "$T"
gid=$(getent group daemon | cut -d: -f3)
setpriv --reuid 65534 --regid "$gid" --clear-groups "$T/sluicectl" --control "$T/control.sock" \
	block 10.0.0.0/8 --for 2h >/dev/null
ctl set ttft=250ms >/dev/null
ctl quota set "$C4" requests=100/60s >/dev/null
ctl clear 10.0.0.0/8 >/dev/null
ctl clear 10.0.0.0/8 >/dev/null 2>&1 || true
ctl block "$C4" --fleet >/dev/null 2>&1 || true
ctl block "$KEY" >/dev/null 2>&1 || true
ctl allow key=- <<<"$KEY" >/dev/null
value "said('audit')[-8:]" >"$T/audit.json"
holds "each change has who gave it" \
	"[(x['uid'], x['gid']) for x in j('audit')] == [(65534, $gid)] + 7 * [(0, 0)] and
	 all(x['pid'] > 0 for x in j('audit'))"
holds "it has what it was and what it is" \
	"[(x['command'], x['scope'], x['from'], x['to']) for x in j('audit')] == [
		('block', 'host', 'none', 'blocked for 2 h'),
		('set', 'host', 'ttft=60000ms', 'ttft=250ms'),
		('quota-set', 'host', 'none', 'requests=100/60s'),
		('clear', 'host', 'blocked for 2 h', 'none'),
		('clear', 'host', 'none', 'none'), ('block', 'fleet', 'none', 'none'),
		('block', 'host', 'none', 'none'), ('allow', 'host', 'none', 'allowed')]"
holds "it has whom it is about, and whether it was done" \
	"[(x['client'] or '', x['result']) for x in j('audit')][:7] == [
		('10.0.0.0/8', 'done'), ('', 'done'), ('$C4', 'done'), ('10.0.0.0/8', 'done'),
		('10.0.0.0/8', 'refused'), ('$C4', 'refused'), ('', 'refused')] and
	 [(x['error'] or '') for x in j('audit')][4:7] == [
		'10.0.0.0/8 has no rule (\`sluicectl clients\` lists them)',
		'rules for the whole fleet are off on this host (setting \`fleet-rules\`)',
		'its client is no address, no prefix and no key']"
holds "a client by key has its ID" "j('audit')[7]['client'].startswith('key:')"
holds "the sentence says the same" "j('audit')[0]['message'] ==
	'audit: uid 65534 gid $gid pid %d: block 10.0.0.0/8: none -> blocked for 2 h: done'
	% j('audit')[0]['pid']"
check "no API key is in the log" bash -c "! grep -q '$KEY' '$T/daemon.log'"

# ---- what is left out ----

"$PY" - "$T/control.sock" <<'END'
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
answers = s.makefile()
for i in range(140):
    change = {"cmd": "set", "model": "slow", "values": ["ttft=none" if i % 2 else "ttft=1ms"]}
    s.sendall(json.dumps(change).encode() + b"\n")
    assert json.loads(answers.readline())["ok"]
END
finish "$DAEMON"
value "said('model-shut')" >"$T/shut.json"
holds "an event has 60 lines in a minute; the last line says how many are left out" \
	"said('left-out') and all(x['lines'] > 0 for x in said('left-out')) and
	 sum(x['lines'] for x in said('left-out') if x['of'] == 'model-shut') + len(j('shut')) ==
		72 and len(said('stopped')) == 1"
"$PY" - "$T/daemon.log" >"$T/lines" 2>&1 <<'END' || true
import datetime, json, sys
lines = open(sys.argv[1], encoding="utf-8").read().split("\n")[:-1]
objects = [json.loads(line) for line in lines if not line.startswith("ready: ")]
assert len(objects) == len(lines) - 1, "only the line on standard output is none"
last = ""
for x in objects:
    assert x["level"] in ("info", "warning", "error") and x["event"] and x["message"], x
    assert datetime.datetime.strptime(x["time"], "%Y-%m-%dT%H:%M:%S.%fZ") and len(x["time"]) == 24
    assert x["time"] >= last, (x, last)
    last = x["time"]
print("right")
END
same "every line is an object with time, level, event and message" right "$(tail -n 1 "$T/lines")"

# ---- the ceiling of policy adaptive ----

interfaces=(s0)
sluice --listen "$PORT=itl" --itl-threshold-ms 10000 --ttft-threshold-ms none --log-format json
start callers "$C" "$B/loadgen" --json --connect "$S4:$PORT" --model itl --rate 90 \
	--requests 90000 --new-connections
CALLERS=$PID
moved() { # moved EVENT CONDITION: the first such event, of a ceiling that moved `from` → `to`
	echo "[(x['pool'], x['level'], $2) for x in said('$1')][:1]"
}
holds --within 20 "a ceiling that has doubled is an event" \
	"$(moved ceiling-rose "x['to'] >= 2 * x['from'] > 0") == [('itl', 'info', True)]"
ctl set itl=1ms >/dev/null
holds --within 20 "a ceiling that has halved is an event" \
	"$(moved ceiling-fell "x['to'] * 2 <= x['from']") == [('itl', 'warning', True)]"
finish "$CALLERS"
finish "$DAEMON"

# ---- a reader that does not read ----

mkfifo "$T/pipe"
exec 7<>"$T/pipe" # a reader, which reads on request
nsenter --net="$NS/$S" "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" --metrics off \
	--interface s0 --listen "$PORT" --log-format json \
	>"$T/quiet.log" 2>&7 7>&- 9>&- </dev/null &
DAEMON=$!
PIDS+=("$DAEMON")
await_line quiet ready "$DAEMON"
"$PY" - "$T/control.sock" <<'END'
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
answers = s.makefile()
for i in range(500):
    s.sendall(b'{"cmd":"set","values":["tau=15s"]}\n')
    assert json.loads(answers.readline())["ok"]
END
holds "the daemon goes on while nobody reads its log" "s['lease_ms'] > 0"
start reader "$S" cat "$T/pipe"
heard() { cp "$T/reader.log" "$T/daemon.log" && grep -q "\"event\":\"$1\"" "$T/daemon.log"; }
check "a reader that is back reads that lines were lost" eventually 5 heard lines-lost
ctl detach >/dev/null
wait "$DAEMON" || true
check "the daemon's last line comes" eventually 5 heard detached
holds "the number of lost lines is right" \
	"sum(x['lines'] for x in said('lines-lost')) > 0 and
	 len(said('audit')) + sum(x['lines'] for x in said('lines-lost')) == 501"

done_here
