#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Quotas are exact. Clients that send from all CPUs at once get burst + rate · T
# requests and not one more, by the server's count. A client that waits for Retry-After is served,
# every time. Spoofed packets spend nobody's budget. A gateway with a counter in Redis (a model of
# one) has two faults that sluice does not have.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/wires.sh
. "$HERE/wires.sh"

SECONDS_OF_STORM=6
WAITING=40 # clients that wait, 6 times each
THREADS=$((2 * $(nproc) > 8 ? 8 : 2 * $(nproc)))
"${CC:-cc}" -O2 -Wall -Wextra -Werror -pthread "$HERE/greedy.c" -o "$T/greedy"
"${CC:-cc}" -O2 -Wall -Wextra -Werror "$HERE/flood.c" -o "$T/flood"

# Clients: requests a second, burst. A full budget does not grow. So a burst must last
# longer than a client's longest pause on a busy machine: three seconds, since a SYN that a full
# backlog drops is retransmitted after one.
rates=(1/1s 2/1s 5/1s 20/1s 50/1s)
bursts=(3 6 15 60 150)
SEED=$((RANDOM * 32768 + RANDOM))
{
	echo "services:"
	echo "  - {listen: '$PORT=plain'}"
	echo "quotas:"
	for i in "${!rates[@]}"; do
		echo "  - {client: 10.77.0.1$i, requests: ${rates[i]}, burst: ${bursts[i]}}"
	done
	echo "  - {client: fd77:0:0:1::/64, requests: 25/1s, burst: 75}"
	"$PY" - "$SEED" "$WAITING" <<'PYTHON'
import random, sys
random.seed(int(sys.argv[1]))
for i in range(int(sys.argv[2])):
    n, ms = random.randint(1, 20), random.randint(200, 4000)
    print(f"  - {{client: 10.77.0.{100 + i}, requests: {n}/{max(ms, n * 60)}ms, burst: {random.randint(1, 5)}}}")
PYTHON
	echo "  - {client: 10.77.0.30, requests: 5/1d}"
	echo "  - {client: 10.77.0.31, requests: 100/1d}"
	echo "  - {client: 10.77.0.32, requests: 1000000/1d}"
	echo "  - {client: 10.77.0.40, requests: 4/10s}"
	echo "  - {client: 10.77.0.42, requests: 4/10s}"
	echo "  - {client: 10.77.0.41, requests: 4/2s}"
} >"$T/sluice.yaml"
FAST=prefill-ms=0,token-ms=0,tokens=1,slots=256
storming=() waiting=() models=(--model "plain,$FAST")
for i in "${!rates[@]}"; do
	on "$C" ip addr add "10.77.0.1$i/24" dev c0
	storming+=("10.77.0.1$i=storm$i")
	models+=(--model "storm$i,$FAST")
done
models+=(--model "storm6,$FAST")
for ((i = 0; i < WAITING; i++)); do
	on "$C" ip addr add "10.77.0.$((100 + i))/24" dev c0
	waiting+=("10.77.0.$((100 + i))=plain")
done
for i in 30 31 32 40 41 42; do on "$C" ip addr add "10.77.0.$i/24" dev c0; done
mock "${models[@]}"
renice -n -15 -p "$MOCK" >/dev/null # or connections wait for it to accept them
start_sluice() { sluice --config "$T/sluice.yaml"; }
start_sluice

# --- the storm ---
start storm4 "$C" "$T/greedy" storm "$S4" "$PORT" $SECONDS_OF_STORM "$THREADS" "${storming[@]}"
STORM4=$PID
start storm6 "$C" "$T/greedy" storm "$S6" "$PORT" $SECONDS_OF_STORM "$THREADS" "$C6=storm6"
wait "$STORM4" "$PID"
"$PY" - "$T" >"$T/sum.json" <<'END'
import json, math, sys
T = sys.argv[1]
rates = {"storm0": (1, 3), "storm1": (2, 6), "storm2": (5, 15), "storm3": (20, 60),
         "storm4": (50, 150), "storm6": (25, 75)}
rows = []
for name in "storm4", "storm6":
    for c in json.load(open(f"{T}/{name}.log")):
        rate, burst = rates[c["model"]]
        interval = 1e9 / rate
        # The client's clock alone: the kernel's time of each request lies between sending and
        # reading.
        c["most"] = burst + math.floor((c["last_read"] - c["first_sent"]) / interval)
        c["least"] = math.ceil(burst - 1 + (c["refused_sent"] - c["first_read"]) / interval)
        c["exact"] = burst + (c["last_read"] - c["first_sent"]) / interval
        c["rate"], c["burst"] = rate, burst
        rows.append(c)
print(json.dumps({"rows": rows, "sent": sum(c["sent"] for c in rows),
                  "bad": sum(c["bad"] for c in rows)}))
END
value "{x: n for x, n in k.items() if n}" | sed 's/^/# /'
"$PY" - "$T/sum.json" <<'END'
import json, sys
for c in json.load(open(sys.argv[1]))["rows"]:
    print(f"# {c['rate']}/s burst {c['burst']}: {c['sent']} sent over {c['connections']} connections, "
          f"{c['admitted']} admitted; burst + rate * T = {c['exact']:.2f}, "
          f"bounds by the client's clock {c['least']} to {c['most']}")
END
holds "every request of the storm was answered, or refused with a whole 429" \
	"j('sum')['bad'] == 0"
holds "the storm sent many times the quotas" \
	"j('sum')['sent'] > 5 * sum(c['admitted'] for c in j('sum')['rows'])"
holds "no client got more than burst + rate * T" \
	"all(c['admitted'] <= c['most'] for c in j('sum')['rows'])"
holds "no client got less" "all(c['admitted'] >= c['least'] for c in j('sum')['rows'])"
holds "for slow rates, the two bounds differ by two at most" \
	"all(c['most'] - c['least'] <= 2 for c in j('sum')['rows'] if c['rate'] == 1)"
holds --within 3 "the server counts the same for each client" \
	"all(c['admitted'] ==
	 mock['requests_complete_by_model'][c['model']] for c in j('sum')['rows'])"
holds --within 3 "sluice counts the same and refused all others" \
	"r['admitted'] == sum(c['admitted'] for c in j('sum')['rows']) ==
	 mock['requests_complete'] and
	 r['rejected'] == s['rejected_by_reason']['request-quota'] ==
	 sum(c['refused'] for c in j('sum')['rows'])"

# --- clients that wait for Retry-After, and the gateway meanwhile ---
start wait "$C" "$T/greedy" wait "$S4" "$PORT" 6 "$SEED" "${waiting[@]}"
WAIT=$PID
start gateway "$C" "$PY" "$HERE/gateway.py" "$S4" "$PORT" plain 10.77.0.40 10.77.0.42
GATEWAY=$PID
wait "$WAIT" || true
mv "$T/wait.log" "$T/wait.json"
most=$("$PY" -c 'import json,sys; print(max(c["most_ms"] for c in json.load(open(sys.argv[1]))))' \
	"$T/wait.json")
holds "a request after retry-after-ms passes: 240 times, random quotas (seed $SEED), waits up to $most ms" \
	"sum(c['trials'] for c in j('wait')) == 240 and sum(c['early'] for c in j('wait')) == 0 and
	 sum(c['bad'] for c in j('wait')) == 0"

# --- a spoofed flood against limited clients ---
# one ADDRESS: sends one request from there and prints its status.
one() { status_from "$1" plain; }

# left ADDRESS: prints the rest of its budget.
left() {
	ctl explain "$1" --json |
		"$PY" -c \
			'import json, sys; print(json.load(sys.stdin)["quota"]["requests"]["remaining"])'
}

# Prints the kernel's state of the two clients with an unchanged budget: last byte and
# theoretical arrival time.
budgets() {
	bpftool -j map dump pinned "$PIN/client_state" | "$PY" -c '
import json, sys
for e in json.load(sys.stdin):
    address = e["formatted"]["key"]["client"]["addr"]
    a = bytes(int(x, 16) if isinstance(x, str) else x for x in address)
    if a[12:15] == bytes([10, 77, 0]) and a[15] in (30, 31):
        print(a[15], e["formatted"]["value"]["request_tat_ns"])' | sort
}
on "$S" ip route add 10.77.128.0/17 via "$C4"
on "$S" ip route add fd77:0:0:2::/64 via "$C6"
on "$C" sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
statuses=
for _ in 1 2 3 4 5 6; do statuses+=" $(one 10.77.0.30)"; done
same "a client uses up its five requests a day" " 200 200 200 200 200 429" "$statuses"
for _ in 1 2 3; do one 10.77.0.31 >/dev/null; done
known=$(budgets)
# Half of the IPv4 segments with data have the source address of the client with 97 requests left.
start flood "$C" "$T/flood" c0 "$(mac "$S" s0)" 400000 "$S4" 10.77.128.0 "$S6" fd77:0:0:2:: \
	10.77.0.31
FLOOD=$PID
rounds=0 good=0 tight=0
while kill -0 "$FLOOD" 2>/dev/null; do
	rounds=$((rounds + 1))
	[[ $(one 10.77.0.32) != 200 ]] || good=$((good + 1))
	[[ $(one 10.77.0.30) != 429 ]] || tight=$((tight + 1))
done
wait "$FLOOD" || true
mv "$T/flood.log" "$T/flood.json"
holds "400,000 spoofed packets were sent" "j('flood')['sent'] >= 400000"
check "a client with budget was served during the flood ($rounds requests)" \
	test "$rounds" -gt 0 -a "$good" = "$rounds"
same "a client without budget stayed refused" "$rounds" "$tight"
same "spoofed packets changed no client's budget" "$known 97" \
	"$(budgets) $(left 10.77.0.31)"
holds "only real clients have a budget" \
	"s['maps']['client_state']['entries'] <= ${#rates[@]} + 1 + $WAITING + 5"

# --- the gateway ---
wait "$GATEWAY" || true
mv "$T/gateway.log" "$T/gateway.json"
"$PY" - "$T/gateway.json" <<'END'
import json, sys
g = json.load(open(sys.argv[1]))
def cell(r):
    return f"{r[0]:8.3f}   {r[1]}   {r[2]:7.3f}" if r else " " * 24
print("# 20 requests in sequence, at 4 per 10 s, each refusal waited out: at s, status, wait s")
print(f"# {'sluice':^24}   {'fixed window (a model)':^24}")
for i in range(max(len(g[x]["rows"]) for x in ("sluice", "model"))):
    a, b = (g[x]["rows"][i] if i < len(g[x]["rows"]) else None for x in ("sluice", "model"))
    print(f"# {cell(a)}   {cell(b)}".rstrip())
END
holds "both serve twenty sequential requests in the end; sluice refuses none after its Retry-After" \
	"j('gateway')['sluice']['served'] == 20 == j('gateway')['model']['served'] and
	 j('gateway')['sluice']['refused_again'] == 0"
holds "in the model, 7 requests pass within 0.35 s at the window's edge, at a limit of 4" \
	"j('gateway')['model_edge'] == 7"
holds "sluice admits 4 requests in the same pattern" \
	"j('gateway')['sluice_edge']['first'] == 200 and
	 j('gateway')['sluice_edge']['admitted'] == 4 and
	 j('gateway')['sluice_edge']['sent'] > 4 and
	 j('gateway')['sluice']['most_in_a_second'] <= 4"
holds "in the model, a process that dies between INCR and EXPIRE locks its client out for ever" \
	"j('gateway')['model_lock_out']['admitted'] == 3 and
	 j('gateway')['model_lock_out']['last'] == [429, -1]"

# The daemon is killed after each request. The budget is one number, and time alone refills it.
statuses=
for _ in 1 2 3 4 5; do
	statuses+=" $(one 10.77.0.41)"
	finish "$DAEMON" KILL
	start_sluice
done
check "in sluice, a daemon killed after every request costs the client nothing:$statuses" \
	grep -q '^ 200 200 200 200' <<<"$statuses"
ok=0
for _ in 1 2 3 4; do
	sleep 0.5
	[[ $(one 10.77.0.41) != 200 ]] || ok=$((ok + 1))
done
same "each interval admits one more request" 4 "$ok"

done_here
