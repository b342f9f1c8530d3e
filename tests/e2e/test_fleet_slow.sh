#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Three hosts share a quota by a store that is 300 ms away, on a network that loses packets; and the
# store's clock is set a second forward and back. The bound and the use of the budget stay.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/fleet.sh
. "$HERE/fleet.sh"

relayed "requests=20/10s burst=20"

# 150 ms each way; of twenty pieces one is lost, and comes 300 ms later, as do those after it.
cat >"$T/relay.py" <<'END'
import asyncio, random, sys
store, store_port, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
random.seed(1)

async def carry(reader, writer):
    loop, due, way = asyncio.get_running_loop(), 0, asyncio.Queue()

    async def arrive():
        while (piece := await way.get())[1]:
            await asyncio.sleep(max(0, piece[0] - loop.time()))
            writer.write(piece[1])
        writer.close()

    arrivals = asyncio.create_task(arrive())
    data = b"-"
    while data:
        data = await reader.read(65536)
        due = max(due, loop.time() + 0.15 + 0.3 * (random.random() < 0.05))
        way.put_nowait((due, data))
    await arrivals

async def serve(reader, writer):
    from_store, to_store = await asyncio.open_connection(store, store_port)
    await asyncio.gather(carry(reader, to_store), carry(from_store, writer),
                         return_exceptions=True)

async def main():
    await asyncio.start_server(serve, "0.0.0.0", port)
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
END

"${CC:-cc}" -shared -fPIC -O1 -Wall -Wextra -Werror -Wno-unused-parameter "$HERE/step_clock.c" \
	-o "$T/step_clock.so"
# step SECONDS: the store's clock is so many off.
step() {
	"$PY" -c "import struct; f = open('$T/step', 'r+b')
f.write(struct.pack('q', $1 * 1000000))"
}
store_is_off() { # SECONDS
	local own theirs

	own=$(date +%s)
	theirs=$(store --raw time | head -n 1)
	((theirs - own >= $1 - 1 && theirs - own <= $1 + 1)) || { echo "$theirs, $own"; return 1; }
}
# Three shares of 20 / 6 may be used before the store knows of them.
within="within(20, 2, 10)"
# The last grant comes a round trip late.
uses="r['admitted'] >= 0.95 * could(20, 2) - 1 and r['failed'] == 0"

head -c 8 /dev/zero >"$T/step"
make_fleet
LD_PRELOAD=$T/step_clock.so STEP_FILE=$T/step begin_store --loglevel warning
step 100
check "the store's clock can be set" store_is_off 100
step 0
# shellcheck disable=SC2119 # this relay takes no arguments of its own
begin_relay
for i in "${HOSTS[@]}"; do start_host "$i"; done
await_hosts "${HOSTS[@]}"
for i in "${HOSTS[@]}"; do
	check "host $i sees three hosts, far away" eventually 10 fleet_is "$i" \
		"f['up'] and f['hosts'] == 3 and f['round_trip_ms'] >= 300"
done

for i in 5 6 7; do on "$C" ip addr add "10.78.0.$i/24" dev br0; done
DRIVES=
for drive in "one one 20 8 10.78.0.5" "all all 20 8 10.78.0.6" "hopping hopping 20 8 10.78.0.7"; do
	# shellcheck disable=SC2086
	drive $drive &
	DRIVES="$DRIVES $!"
done
# shellcheck disable=SC2086
wait $DRIVES
for pattern in one all hopping; do
	check "with a store that is far away, no more is admitted than is stated: $pattern" \
		drove "$pattern" "$within"
	check "… and no less: $pattern" drove "$pattern" "$uses"
done

spent() { store --scan --pattern '*:r:*0a4e0001' | grep -q .; }
drive stepped all 20 8 10.78.0.1 &
DRIVE=$!
eventually 10 spent
for _ in 1 2 3; do
	sleep 1 # which the store does not know of, or knows twice
	step 1
	sleep 1
	step 0
done
wait "$DRIVE"
check "each second that the store's clock goes forward gives a second's units at most" \
	drove stepped "within(20, 2, 10 + 3 * 2)"
check "… and a second back takes no more" drove stepped \
	"r['admitted'] >= 0.95 * could(20, 2) - 3 * 2 and r['failed'] == 0"
done_here
