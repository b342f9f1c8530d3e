#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Kept connections on a wire that loses, doubles, reorders and delays: the 429s above all, and
# everything. Every byte is as it was sent, and no connection ends (invariant 4).
MORE_NAMESPACES=sl-keep_rough-r
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/wires.sh
. "$HERE/wires.sh"
# shellcheck source=tests/e2e/storms.sh
. "$HERE/storms.sh"

relay_between
begin
for host in "$S4" "$S6"; do
	[[ $host == *:* ]] && over="over IPv6" || over="over IPv4"
	storm "each byte is as sent on a wire that is rough with 429s $over" \
		"$PY" "$HERE/rough.py" "$C" "$S" "$R" replies "$host" "$PORT" 10 20 400 2000
	storm "each byte is as sent on a wire that is rough with everything $over" \
		"$PY" "$HERE/rough.py" "$C" "$S" "$R" all "$host" "$PORT" 10 20 400 2000
	holds "… which did all of it" "all(n > 10 for n in j('storm')['did'].values())"
done
nothing_is_left
same "no checksum was wrong" "0 0" "$(bad_checksums | xargs)"
done_here
