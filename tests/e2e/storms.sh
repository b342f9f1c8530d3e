# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# shellcheck shell=bash
#
# Clients that keep their connections through refusals (storm.py), and what has to hold of them. A
# case sources lib.sh first.

# The refusals that closed their connection, whatever the cause.
# shellcheck disable=SC2034 # for the case that sources this
CLOSED="sum(n for name, n in k.items() if name.startswith('keep-declined'))"

cat >"$T/keep.yaml" <<END
services:
  - listen: $PORT
models:
  - name: closed
END

# begin: server ($ECHO) and daemon, on the wire as it is now.
begin() {
	start echo "$S" "$PY" "$HERE/echo.py" "0.0.0.0,::" "$PORT"
	ECHO=$PID
	await_line echo ready "$ECHO"
	sluice --config "$T/keep.yaml"
	ctl block "$C4" --model closed >/dev/null
	ctl block fd77:0:0:1::/64 --model closed >/dev/null
}

# storm SENTENCE COMMAND…: runs clients, whose findings are those of storm.py. A refusal may close
# its connection, and says so; some have to keep it.
storm() {
	local sentence=$1 before

	shift
	before=$(value "[r['admitted'], r['rejected'], k['refusals-kept']]")
	"$@" >"$T/storm.json" 2>"$T/storm.log" || cat "$T/storm.log"
	holds "$sentence" "j('storm')['errors'] == [] and
		j('storm')['admitted'] > 0 and j('storm')['refused'] > j('storm')['said_close']"
	holds --within 3 "… and all is counted" \
		"[r['admitted'], r['rejected'], k['refusals-kept']] ==
		 [${before}[0] + j('storm')['admitted'], ${before}[1] + j('storm')['refused'],
		  ${before}[2] + j('storm')['refused'] - j('storm')['said_close']]"
}

nothing_is_left() {
	holds --within 10 "nothing is left at the end" \
		"s['global']['in_flight'] == 0 and s['maps']['conns']['entries'] == 0 and
		 s['maps']['kept']['entries'] == 0"
}

bad_checksums() {
	local ns

	for ns in "$S" "$C"; do
		on "$ns" nstat -asz TcpInCsumErrors | awk '/Csum/ { print $2 }'
	done
}
