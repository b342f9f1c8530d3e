#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A server whose socket accepts a connection only with its first data (TCP_DEFER_ACCEPT, nginx's
# `deferred`): after a refusal of that data nobody has the connection, so that it closes, and the
# client reads a whole 429 (invariant 4). A later refusal keeps it.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/storms.sh
. "$HERE/storms.sh"

begin_nginx "$S" "$PORT" <<END
access_log $T/nginx/access.log;
server {
	listen $PORT deferred;
	listen [::]:$PORT deferred;
	location / { return 200 '{}'; }
}
END
NGINX=$PID
sluice --config "$T/keep.yaml"
ctl block "$C4" --model closed >/dev/null
ctl block fd77:0:0:1::/64 --model closed >/dev/null

# asks HOST MODEL…: requests on one connection; prints the statuses and how many connections.
asks() {
	local host=$1 model words=()

	shift
	for model; do
		((!${#words[@]})) || words+=(--next)
		words+=(-sS -m 20 -o /dev/null -w '%{http_code} %{num_connects}\n'
			--json "{\"model\":\"$model\"}" "http://$host:$PORT/v1/completions")
	done
	on "$C" curl "${words[@]}" | tr '\n' ' '
}

for host in "$S4" "[$S6]"; do
	same "$host: a refusal of the first data closes, and the next request is served" \
		"429 1 200 1 200 0 " "$(asks "$host" closed open open)"
	same "$host: a later one keeps the connection" "200 1 429 0 200 0 429 0 " \
		"$(asks "$host" open closed open closed)"
done
holds --within 3 "nothing is left of the refused connections, and nothing in flight" \
	"sockets('s') == [] and all(x['in_flight'] == 0 for x in s['models'])"
holds "nothing else was counted" "k['refusals-kept'] == 4 and $CLOSED == 2"
same "nginx has logged the admitted requests, and nothing else" "8 8" \
	"$(wc -l <"$T/nginx/access.log") $(grep -c '" 200 ' "$T/nginx/access.log")"
finish "$NGINX"
done_here
