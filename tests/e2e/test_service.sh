#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The daemon as a service. --check needs no privileges, and finds what a start finds. A wrong
# configuration has an exit status of its own, after which systemd does not restart the daemon.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

chmod 711 "$T"
cp "$B/sluiced" "$T/" # nobody may not be able to read the checkout
nobody() {
	setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all "$@"
}
# says STATUS TEXT COMMAND…: it ends with that status, and prints TEXT alone.
says() {
	local want=$1 text=$2 status=0 output

	shift 2
	output=$("$@" 2>&1 </dev/null 9>&-) || status=$?
	[[ $status == "$want" && $output == "$text" ]] ||
		{ echo "exit status $status, not $want, and: $output"; return 1; }
	[[ ! -e $PIN && ! -e $T/control.sock ]] || { echo "it left a pin or a socket"; return 1; }
}
at=(--pin-dir "$PIN" --control "$T/control.sock" --metrics off)

# ---- --check ----

printf 'interfaces: [nosuch0]\nlisten: [8000]\n' >"$T/good.yaml"
check "--check finds nothing in a good file, and needs no privileges" \
	says 0 "" nobody "$T/sluiced" --check "$T/good.yaml" "${at[@]}"
check "--check reads the other options, too" \
	says 2 'sluiced: --listen: "8000" is given twice' \
	nobody "$T/sluiced" --check "$T/good.yaml" "${at[@]}" --listen 8000 --listen 8000
check "--check reads the environment, too" \
	says 2 'sluiced: SLUICE_MODE: "dream" is not one of enforce, shadow' \
	nobody env SLUICE_MODE=dream "$T/sluiced" --check "$T/good.yaml" "${at[@]}"
printf 'interfaces: [nosuch0]\nlisten: [8000]\nmode: dream\n' >"$T/wrong.yaml"
{
	printf 'interfaces: [nosuch0]\nlisten: [8000]\nquotas:\n'
	for ((i = 1; i <= 4096; i++)); do
		printf -- '- {client: 10.1.%d.%d, requests: %d/60s}\n' \
			$((i / 256)) $((i % 256)) "$i"
	done
} >"$T/many.yaml"
for row in "wrong|$T/wrong.yaml: mode: \"dream\" is not one of enforce, shadow" \
	"many|there is no room for another quota (4095 are held)" \
	"none|$T/none.yaml: cannot be opened: No such file or directory"; do
	file=$T/${row%%|*}.yaml
	check "--check says what is wrong with ${row%%|*}.yaml" \
		says 2 "sluiced: ${row#*|}" nobody "$T/sluiced" --check "$file" "${at[@]}"
	check "a start says the same" \
		says 2 "sluiced: ${row#*|}" on "$S" "$T/sluiced" --config "$file" "${at[@]}"
done

# ---- exit statuses ----

check "a start that may succeed later has another status than a wrong configuration" \
	says 1 "sluiced: interface nosuch0 does not exist" \
	on "$S" "$T/sluiced" --config "$T/good.yaml" "${at[@]}"
same "systemd does not restart the daemon after a wrong configuration" 2 \
	"$(sed -n 's/^RestartPreventExitStatus=//p' "$ROOT/scripts/sluiced.service")"

done_here
