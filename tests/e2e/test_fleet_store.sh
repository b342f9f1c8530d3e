#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The store of a fleet: the client of user/fleet and its script on a real server. fleet_store.c is a
# host without sluice; its log has one event a line. All servers listen on the loopback of the
# server's namespace.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

make -s -C "$ROOT" B="$B" "$B/fleet_script.h"
"${CC:-cc}" -std=gnu11 -D_GNU_SOURCE -O1 -g -fsanitize=address,undefined \
	-fno-sanitize-recover=all -Wall -Wextra -Werror -Wno-unused-parameter -I"$ROOT/include" \
	-I"$ROOT/user" -I"$B" "$HERE/fleet_store.c" \
	"$ROOT"/user/fleet/{store,call,reply,address,tls,value}.c \
	"$ROOT"/user/core/{fleet_budget,printable,parse}.c -lhiredis -lgnutls -o "$T/fleet_store"

# redis NAME PORT OPTION…: starts a server, and waits until it answers.
redis() {
	local name=$1 port=$2

	shift 2
	mkdir -p "$T/$name.d"
	start "$name" "$S" redis-server --port "$port" --bind 127.0.0.1 --save '' \
		--dir "$T/$name.d" "$@"
	eventually 10 listens "$S" "$port"
}
cli() { on "$S" redis-cli --no-auth-warning "$@"; } # -p PORT COMMAND…

# host NAME OPTION…: starts a host with a FIFO of its own; tell NAME LINE gives it a command.
declare -A FIFO SEEN HOST
IN=() # what the next hosts run in
host() {
	local name=$1 fd

	shift
	rm -f "$T/$name.in"
	mkfifo "$T/$name.in"
	exec {fd}<>"$T/$name.in"
	FIFO[$name]=$fd
	SEEN[$name]=0
	start "$name" "$S" ${IN[@]+"${IN[@]}"} "$T/fleet_store" --host "$name" \
		--commands "$T/$name.in" "$@"
	HOST[$name]=$PID
	eventually 10 grep -qE '^(ready|refused)' "$T/$name.log"
}
tell() { echo "${*:2}" >&"${FIFO[$1]}"; }
leave() { # NAME
	tell "$1" quit
	wait "${HOST[$1]}"
}

# next NAME PATTERN: the next event of this kind is in $EVENT; later ones may follow.
next() {
	local found deadline=$((SECONDS + 100))

	until found=$(tail -n "+$((SEEN[$1] + 1))" "$T/$1.log" | grep -nE -m 1 "$2"); do
		((SECONDS < deadline)) || {
			say_not_ok "$1 has an event '$2'" "$(tail -n 3 "$T/$1.log")"
			exit 1
		}
		sleep 0.02
	done
	SEEN[$1]=$((SEEN[$1] + ${found%%:*}))
	EVENT=${found#*:}
}
# seen SENTENCE NAME PATTERN
seen() {
	next "$2" "$3"
	say_ok "$1"
}
# field WORD [N]: the Nth word (1) after it in $EVENT
field() {
	awk -v w="$1" -v n="${2:-1}" '{for (i = 1; i < NF; i++)
		if ($i == w) {print $(i + n); exit}}' <<<"$EVENT"
}
is_true() { if (($2)); then say_ok "$1"; else say_not_ok "$1" "$2, after $EVENT"; fi; }

# An hour's interval: levels hardly drain while the case runs. KEY WANT CLAIM CHARGE
HOUR=3600000000
budget() { echo "$1 3600000000000 $((10 * HOUR)) $((20 * HOUR)) $2 $3 $4"; }
# hours: the level of the answer's first budget, in intervals, rounded up
hours() { echo $((($(field budget 2) + HOUR - 1) / HOUR)); }

# The plain store.
redis store 7001 --maxmemory-policy noeviction
STORE=$PID
check "the script computes as core/fleet_budget.c does, in 20,000 random steps" \
	on "$S" "$T/fleet_store" --arithmetic 20000 127.0.0.1 7001
host one --address localhost:7001 --info '{"version":"1"}'
seen "a name is looked up, and the store answers" one "^up localhost:7001"
tell one call
seen "a call without budgets is a heartbeat" one "^answer .* behind 0 hosts 1 lost 0 turns"
EPOCH=$(field epoch)
tell one call "$(budget k:r:a 2 0 $HOUR)"
next one "^answer .* budget k:r:a"
same "one unit is charged, and two are granted" "3 2" "$(hours) $(field budget 3)"
tell one call "$(budget k:r:a 9 0 $((-2 * HOUR)))"
next one "^answer .* budget k:r:a"
same "a grant goes back, and half of what is left is the most that is granted" "5 4" \
	"$(hours) $(field budget 3)"
tell one call "$(budget k:r:a 0 $((7 * HOUR)) 0)"
next one "^answer .* budget k:r:a"
same "a claim raises the level" "7 0" "$(hours) $(field budget 3)"

# Two hosts.
host two --address 127.0.0.1:7001 --info '{"version":"2"}'
tell two call
next two "^answer"
same "a second host is counted" 2 "$(field hosts)"
tell one call "$(budget k:r:low 0 0 $((8 * HOUR)))"
next one "^answer"
same "a host does not get its own news" "" "$(field news)"
tell two call
next two "^answer"
same "another host hears that a budget is low" "k:r:low" "$(field news)"
tell two call
next two "^answer"
same "news comes once" "" "$(field news)"
tell two hosts
tell two call
seen "a host sees the others" two '^host one \{"version":"1"\} now'
cli -p 7001 ZADD 'sluice:{f}:hosts' 1 old >/dev/null
cli -p 7001 HSET 'sluice:{f}:infos' old old >/dev/null
tell two call
next two "^answer"
same "a host that does not call goes" "" \
	"$(cli -p 7001 ZSCORE 'sluice:{f}:hosts' old)$(cli -p 7001 HGET 'sluice:{f}:infos' old)"
without_end() {
	local key

	for key in $(cli -p 7001 --raw KEYS 'sluice:*'); do
		(($(cli -p 7001 PTTL "$key") > 0)) || echo "$key"
	done
}
same "every key has an end" "" "$(without_end)"
tell two call "$(budget k:r:low 0 0 $((-9 * HOUR)))"
next two "^answer .* budget k:r:low 0 0"
same "a budget of which nothing is spent has no key" 0 \
	"$(cli -p 7001 EXISTS 'sluice:{f}:b:k:r:low')"

# Faults of the server.
kill -STOP "$STORE"
tell one call "$(budget k:r:stop 0 0 $HOUR)"
next one "^down .*the store does not answer"
is_true "while the store hangs, the loop turns" "$(field turns) > 50"
# The call was in the server's buffer, and again in that of the next connection.
kill -CONT "$STORE"
next one "^up"
next one "^answer .* budget k:r:stop"
same "a call that a hanging store gets twice counts once" 1 "$(hours)"

cli -p 7001 SCRIPT FLUSH >/dev/null
tell one call "$(budget k:r:flush 0 0 $HOUR)"
next one "^(answer|down)"
same "after SCRIPT FLUSH the script is loaded again, and the call counts once" 1 "$(hours)"

in_an_hour=$(($(date +%s) * 1000000 + HOUR))
late=9999999999999
for news in "$late-1 $in_an_hour k:r:late" "$late-2 9999999999999999 k:r:far" "$late-3 x y" \
	"$late-4 $in_an_hour a b" "$late-5 $in_an_hour $(printf 'k%.0s' {1..96})"; do
	cli -p 7001 XADD 'sluice:{f}:news' "${news%% *}" other "${news#* }" >/dev/null
done
tell two call
next two "^answer"
same "of news, what is none is passed over" "k:r:late turns" "$(field news) $(field news 3)"
cli -p 7001 FLUSHALL >/dev/null
tell one call
next one "^answer"
check "after FLUSHALL the epoch is another one" test "$(field epoch)" != "$EPOCH"
same "… and the host knows that its calls are forgotten" 1 "$(field behind)"
tell one call "$(budget k:r:low 0 0 $((9 * HOUR)))"
next one "^answer"
tell two call
next two "^answer"
same "… and news begins anew" "k:r:low" "$(field news)"
leave two

cli -p 7001 CONFIG SET maxmemory 1 >/dev/null
tell one call "$(budget k:r:oom 0 0 $HOUR)"
seen "a full store is down, and the reason is given" one "^down .*the store's memory is full"
cli -p 7001 CONFIG SET maxmemory 0 >/dev/null
next one "^answer .* budget k:r:oom"
same "the call that the full store refused counts once" 1 "$(hours)"

cli -p 7001 SET 'sluice:{f}:epoch' '2 77' >/dev/null
tell one call
seen "data of another format is refused" one \
	"^down .*the store has data of format 2, this host has 1"
cli -p 7001 FLUSHALL >/dev/null
next one "^answer"

finish "$STORE" KILL
tell one call "$(budget k:r:kill 0 0 $HOUR)"
seen "a server that is killed is away" one "^down localhost:7001: Connection refused"
redis store 7001 --maxmemory-policy noeviction
STORE=$PID
next one "^answer .* budget k:r:kill"
same "the call is made when it is back" 1 "$(hours)"
leave one

# A relay that cuts each connection between the execution of a call and its answer, on request.
cat >"$T/cut.py" <<'END'
import os, select, socket, sys
listener = socket.create_server(("127.0.0.1", 7009))
print("ready", flush=True)
while True:
    near, _ = listener.accept()
    far = socket.create_connection(("127.0.0.1", 7001))
    while True:
        ready, _, _ = select.select([near, far], [], [])
        data = ready[0].recv(65536)
        cut = ready[0] is far and data.startswith(b"*5") and os.path.exists(sys.argv[1])
        if cut:
            os.unlink(sys.argv[1])
        if cut or not data:
            break
        (far if ready[0] is near else near).sendall(data)
    near.close()
    far.close()
END
start cut "$S" "$PY" "$T/cut.py" "$T/cut"
await_line cut ready "$PID"
host cutoff --address 127.0.0.1:7009
next cutoff "^up"
tell cutoff call "$(budget k:r:cut 1 0 $HOUR)"
next cutoff "^answer"
same "through the relay, a call is answered" "2 1" "$(hours) $(field budget 3)"
touch "$T/cut"
tell cutoff call "$(budget k:r:cut 1 0 $HOUR)"
next cutoff "^down .*closed"
next cutoff "^answer .* budget k:r:cut"
same "a batch that was executed before the connection broke counts once" "4 1" \
	"$(hours) $(field budget 3)"
leave cutoff

# A server that ends each connection: 50 ms after the first one, then twice as long each time, up to
# 2 s; or up to half of it less, so that hosts do not come all at once.
cat >"$T/shut.py" <<'END'
import socket, time
listener, last = socket.create_server(("127.0.0.1", 7098)), None
print("ready", flush=True)
waits = []
while len(waits) < 9:
    listener.accept()[0].close()
    now = time.monotonic()
    if last:
        waits.append(now - last)
    last = now
most = [min(0.05 * 2 ** i, 2) for i in range(len(waits))]
early = [w for w, m in zip(waits, most) if w < m / 2]
less = [w for w, m in zip(waits, most) if w < m]
print("waits", "well" if less and not early else waits, flush=True)
END
start shut "$S" "$PY" "$T/shut.py"
await_line shut ready "$PID"
host shut_out --address 127.0.0.1:7098
eventually 60 grep -q '^waits' "$T/shut.log"
same "a host waits longer after each failure, and not as long as others" "waits well" \
	"$(tail -n 1 "$T/shut.log")"
leave shut_out

# Users and passwords, and a socket in the file system.
redis secured 7002 --requirepass secret --unixsocket "$T/store.sock" --unixsocketperm 700
host anonymous --address 127.0.0.1:7002
seen "without a password, the reason is given" anonymous "^down .*the store wants a password"
host wrong --address 127.0.0.1:7002 --password other
seen "with a wrong password, the reason is given" wrong \
	"^down .*the store refuses the user or the password"
host right --address "$T/store.sock" --password secret
tell right call
seen "with the password and by a path, calls are answered" right "^answer"
cli -p 7002 -a secret ACL SETUSER sluice on '>pw' '~sluice:{f}:*' +evalsha '+script|load' +role \
	+time +get +mget +set +del +xadd +xrevrange +zadd +zrem +zrange +zrangebyscore +zcount \
	+hset +hdel +hmget +pexpire >/dev/null
host user --address 127.0.0.1:7002 --user sluice --password pw
tell user hosts
tell user call "$(budget k:r:acl 1 0 $((8 * HOUR)))"
seen "a user with the prefix and few commands is enough" user "^answer .* budget k:r:acl"
host stranger --address 127.0.0.1:7002 --user sluice --password pw --fleet g
tell stranger call
seen "… and it cannot touch another fleet" stranger "^down .*(does not permit|can.t access)"

# TLS.
make_certificates DNS:localhost
tls=(--tls-cert-file "$T/tls/server.pem" --tls-key-file "$T/tls/server.key" --tls-ca-cert-file
	"$T/tls/ca.pem")
redis tls 7003 --port 0 --tls-port 7003 --tls-auth-clients optional "${tls[@]}"
host tls --address localhost:7003 --ca "$T/tls/ca.pem"
tell tls call "$(budget k:r:tls 1 0 $HOUR)"
seen "over TLS, calls are answered" tls "^answer .* budget k:r:tls"
host tls_other --address localhost:7003 --ca "$T/tls/other.pem"
seen "a certificate of another authority is refused" tls_other \
	"^down .*the store's certificate is not good: .*issuer is unknown"
host tls_name --address 127.0.0.1:7003 --ca "$T/tls/ca.pem"
seen "a certificate with another name is refused" tls_name \
	"^down .*the store's certificate is not good: .*name.* does not match"
host tls_plain --address 127.0.0.1:7001 --ca "$T/tls/ca.pem"
seen "a server without TLS gets no call" tls_plain "^down"
host tls_file --address localhost:7003 --ca "$T/tls/server.key"
check "a file without a certificate is refused at once" grep -q \
	"^refused $T/tls/server.key has no certificate of an authority" "$T/tls_file.log"
redis tls_both 7004 --port 0 --tls-port 7004 --tls-auth-clients yes "${tls[@]}"
host tls_none --address localhost:7004 --ca "$T/tls/ca.pem"
seen "a server that wants a certificate refuses a host without one" tls_none "^down"
host tls_cert --address localhost:7004 --ca "$T/tls/ca.pem" --cert "$T/tls/client.pem" \
	--key "$T/tls/client.key"
tell tls_cert call
seen "… and takes one with a certificate" tls_cert "^answer"

# Replicas, by hand: the role changes while the connection stands.
redis first 7005
redis second 7006 --replicaof '127.0.0.1 7005'
is_replica() { cli -p "$1" INFO replication | grep -q master_link_status:up; }
eventually 10 is_replica 7006 || exit 1
host listed --address 127.0.0.1:7006 --address 127.0.0.1:7005
seen "of a list, a replica is passed over" listed "^down .*the server is a replica"
seen "… and its master is found" listed "^up 127.0.0.1:7005"
tell listed call "$(budget k:r:role 1 0 $HOUR)"
next listed "^answer"
replicated() { cli -p 7006 EXISTS 'sluice:{f}:b:k:r:role' | grep -q 1; }
eventually 10 replicated || exit 1
cli -p 7006 REPLICAOF NO ONE >/dev/null
cli -p 7005 REPLICAOF 127.0.0.1 7006 >/dev/null
tell listed call "$(budget k:r:role 1 0 $HOUR)"
seen "a master that became a replica is left" listed \
	"^down 127.0.0.1:7005: the store is a read-only replica"
next listed "^answer"
same "… and the new master knows what was spent, and lacks no call" "4 1 0" \
	"$(hours) $(field budget 3) $(field behind)"

# A sentinel.
redis master 7007
MASTER=$PID
redis replica 7008 --replicaof '127.0.0.1 7007'
eventually 10 is_replica 7008 || exit 1
cat >"$T/sentinel.conf" <<-END
	port 7010
	bind 127.0.0.1
	dir $T
	sentinel monitor fleet 127.0.0.1 7007 1
	sentinel down-after-milliseconds fleet 500
	sentinel failover-timeout fleet 2000
END
start sentinel "$S" redis-sentinel "$T/sentinel.conf"
eventually 10 listens "$S" 7010
knows_replica() { cli -p 7010 SENTINEL replicas fleet | grep -q 7008; }
eventually 20 knows_replica || exit 1
host unknown --address 127.0.0.1:7010 --sentinel nobody
seen "a master that the sentinel does not know is reported" unknown \
	"^down .*the sentinel knows no such master"
host watched --address 127.0.0.1:7099 --address 127.0.0.1:7010 --sentinel fleet
seen "of several sentinels, one that answers names the master" watched \
	"^up 127.0.0.1:7007"
tell watched call "$(budget k:r:sentinel 1 0 $HOUR)"
next watched "^answer"
finish "$MASTER" KILL
next watched "^down"
tell watched call "$(budget k:r:sentinel 1 0 $HOUR)"
seen "after the failover, the new master is found" watched "^up 127.0.0.1:7008"
next watched "^answer"
same "… and answers the call" "4 1" "$(hours) $(field budget 3)"

# A cluster: the fleet's hash tag is on one node.
for port in 7021 7022; do
	redis "node$port" $port --cluster-enabled yes --cluster-node-timeout 5000
done
cli -p 7021 CLUSTER ADDSLOTSRANGE 0 8191 >/dev/null
cli -p 7022 CLUSTER ADDSLOTSRANGE 8192 16383 >/dev/null
cli -p 7021 CLUSTER MEET 127.0.0.1 7022 >/dev/null
is_cluster() { cli -p "$1" CLUSTER INFO | grep -q cluster_state:ok; }
for port in 7021 7022; do eventually 20 is_cluster $port || exit 1; done
there=7021
away=7022
(($(cli -p 7021 CLUSTER KEYSLOT '{f}') < 8192)) || { there=7022 away=7021; }
host clustered --address "127.0.0.1:$away"
tell clustered call "$(budget k:r:cluster 1 0 $HOUR)"
seen "of a cluster, another node says where the fleet is" clustered \
	"^down .*the fleet's keys are on another node"
seen "… and that one answers" clustered "^up 127.0.0.1:$there"
next clustered "^answer"
same "… once" "2 1" "$(hours) $(field budget 3)"

# A name that takes long, and one that does not exist, cost the loop nothing.
host nameless --address no.such.host.invalid:7001 --address 127.0.0.1:7001
seen "after a name that is not found comes the next address" nameless "^up 127.0.0.1:7001"
cat >"$T/silent.py" <<'END'
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 53))
print("ready", flush=True)
while True:
    s.recv(1)
END
start silent "$S" "$PY" "$T/silent.py"
await_line silent ready "$PID"
echo "nameserver 127.0.0.1" >"$T/resolv.conf"
# shellcheck disable=SC2016 # for the inner shell
IN=(unshare --mount bash -c 'mount --bind "$0" /etc/resolv.conf && exec "$@"' "$T/resolv.conf")
host patient --address a.name.example:7001 --address 127.0.0.1:7001
next patient "^down .*the look-up of the name takes too long"
is_true "while a name server is silent, the loop turns" "$(field turns) > 50"
seen "… and the next address is tried" patient "^up 127.0.0.1:7001"
done_here
