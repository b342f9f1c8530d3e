#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# `make STATIC=1`: sluicectl and sluice-sim need no shared library, sluiced those of C, HTTP and
# TLS. All three run.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

LOADGEN=$B/loadgen
# The objects are those of the build that is there; only the programs are linked anew.
mkdir "$T/static"
cp -a "$B/user" "$B"/*.a "$B"/*.o "$B"/*.h "$T/static/"
check "it links" make -C "$ROOT" --no-print-directory STATIC=1 B="$T/static" \
	"$T/static/sluiced" "$T/static/sluicectl" "$T/static/sluice-sim"

needed() {
	readelf -d "$T/static/$1" | sed -n 's/.*(NEEDED).*\[\(lib[a-z]*\).*/\1/p' | sort | xargs
}
same "sluicectl needs no shared library" "" "$(needed sluicectl)"
same "sluice-sim needs none" "" "$(needed sluice-sim)"
same "sluiced needs those of C, HTTP and TLS" "libc libgnutls libm libmicrohttpd" \
	"$(needed sluiced)"

mock --model m,prefill-ms=5,token-ms=1,tokens=2
B=$T/static
sluice --listen "$PORT"
on "$C" "$LOADGEN" --json --connect "$S4:$PORT" --model m --requests 8 >"$T/load.json"
holds "requests pass" "j('load')['completed'] == 8"
holds --within 5 "sluicectl shows them" "m['m']['ttft_samples'] == 8"
check "the simulator runs" "$B/sluice-sim" --synthetic poisson --requests 100 --policy fixed=4
done_here
