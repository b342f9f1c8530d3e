#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A daemon ends amid its call of a fleet's store: before the store has read the call, or after it
# has charged the budgets. The next daemon makes the call again, and the store counts it once.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/fleet.sh
. "$HERE/fleet.sh"

HOSTS=(1)
HOUR=3600000000
# A unit comes back in an hour, so the store's level says how many it has counted.
relayed "requests=40/40h burst=40"

# Between daemon and store. While the file `hold` exists, no answer to a call that charges comes
# through. If `stop` does, with the store's pid, the store stands still before it has such a call.
cat >"$T/relay.py" <<'END'
import asyncio, os, signal, sys
store, store_port, port, hold, stop = *sys.argv[1:2], *map(int, sys.argv[2:4]), *sys.argv[4:]

async def calls(reader, writer, state):
    while data := await reader.read(65536):
        state["charges"] |= b"}:b:" in data
        if state["charges"] and os.path.exists(stop):
            os.kill(int(open(stop).read()), signal.SIGSTOP)
            os.unlink(stop)
            print("stopped", flush=True)
        writer.write(data)
    writer.close()

async def answers(reader, writer, state):
    while data := await reader.read(65536):
        if state["charges"] and os.path.exists(hold):
            print("held", open(hold).read(), flush=True)
            continue
        state["charges"] = False
        writer.write(data)
    writer.close()

async def serve(reader, writer):
    from_store, to_store = await asyncio.open_connection(store, store_port)
    state = {"charges": False}
    await asyncio.gather(calls(reader, to_store, state), answers(from_store, writer, state),
                         return_exceptions=True)

async def main():
    await asyncio.start_server(serve, "0.0.0.0", port)
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
END

# counted: units that the store has counted, grants among them.
counted() {
	store --raw eval "local t, key = redis.call('TIME'), redis.call('KEYS', '*:r:*')[1]
		local arrival = key and string.match(redis.call('GET', key), '^%d+') or 0
		return math.ceil((arrival - t[1] * 1000000 - t[2]) / $HOUR)" 0
}
counts() { # N: … exactly, since no grant is out
	local n

	n=$(counted)
	[[ $n == "$1" ]] || { echo "$n"; return 1; }
}
counts_more() { (($(counted) > $1)); } # N
use() { # N requests, all of which are admitted
	local i

	for ((i = 0; i < $1; i++)); do [[ $(asks 1 10.78.0.1) == 200 ]] || return 1; done
}
put() { # FILE TEXT: for the relay
	echo "$2" >"$T/$1.new"
	mv "$T/$1.new" "$T/$1"
}
waits_in_the_store() {
	on "$R" ss -Htn "sport = :$STORE_PORT" | awk '$2 > 0 {n = 1} END {exit !n}'
}

make_fleet
begin_store --loglevel warning
begin_relay "$T/hold" "$T/stop"
begin_host 1
eventually 5 fleet_is 1 "f['up']"
check "requests are admitted" use 3
check "the store counts what was used" eventually 10 counts 3
used=3
for signal in KILL TERM; do
	put hold "$signal"
	check "… and more, whose answer is held: SIG$signal" use 4
	await_line relay "held $signal"
	check "the store has charged what the daemon reported" counts_more "$used"
	finish "${DAEMONS[1]}" "$signal"
	used=$((used + 4))
	rm "$T/hold"
	begin_host 1
	check "the next daemon's report counts once" eventually 10 counts "$used"
done

put stop "$STORE_PID"
check "requests are admitted while the store stands still" use 4
await_line relay stopped
eventually 10 waits_in_the_store
finish "${DAEMONS[1]}" KILL
kill -CONT "$STORE_PID"
check "the store reads a call whose daemon has died" eventually 10 counts_more "$used"
used=$((used + 4))
begin_host 1
check "… and counts it once" eventually 10 counts "$used"
check "the client has the rest of its quota" use 5
check "… and that is counted, too" eventually 10 counts $((used + 5))
done_here
