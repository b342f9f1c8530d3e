#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What others see of the daemon over HTTP: probes; pages, for those with a token or a certificate.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

METRICS=127.0.0.1:9464
mock --model m,prefill-ms=1,token-ms=1,tokens=2

# becomes TEXT PATH: waits for this answer.
becomes() { eventually 10 answers "$@"; }
answers() { # TEXT PATH
	local got

	got=$(on "$S" curl -sS -m 100 -w '%{http_code}' "http://$METRICS$2")
	[[ $got == "$1" ]] || { echo "it answers $got"; return 1; }
}

# ---- health ----

start daemon "$S" "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" --metrics "$METRICS" \
	--interface s0 --interface late0 --listen "$PORT"
DAEMON=$PID
await_line daemon ready "$DAEMON"
check "a daemon is alive as soon as it is there" becomes $'alive\n200' /healthz
check "a wanted interface that is missing makes it not ready" \
	becomes $'not ready: 1 of 2 interfaces are not attached\n503' /readyz
on "$S" ip link add late0 type veth peer name late1
check "it is ready once that interface is attached" becomes $'ready: mode enforce\n200' /readyz
ctl set mode=shadow >/dev/null
check "it says that it only observes" becomes $'ready: mode shadow\n200' /readyz
on "$S" ip link del late0
check "it is not ready when the interface is gone" \
	becomes $'not ready: 1 of 2 interfaces are not attached\n503' /readyz
check "it is alive nevertheless" becomes $'alive\n200' /healthz
ctl detach >/dev/null
wait "$DAEMON" || true

# ---- other hosts ----

# refuses TEXT OPTION…: a start with these options fails as a wrong configuration, with this line.
refuses() {
	local text=$1 status=0 output

	shift
	output=$(on "$S" timeout 100 "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" \
		--interface s0 --listen "$PORT" "$@" 2>&1 </dev/null 9>&-) || status=$?
	[[ $status == 2 && $output == "sluiced: $text" ]] || { echo "$status, $output"; return 1; }
}

# answer NAMESPACE [CURL-OPTION…] URL: prints the status.
answer() {
	on "$1" curl -sS -m 100 -o "$T/body" -w '%{http_code}' "${@:2}" 2>"$T/curl.log" || true
}

FIRST=first-token-0123456789 SECOND=second-token-0123456789
printf '%s\n' "$FIRST" >"$T/token"
chmod 600 "$T/token"
remote=(--metrics "0.0.0.0:9464")
check "other hosts reach no metrics without credentials" refuses \
	"metrics: other hosts reach 0.0.0.0: give metrics-token-file, or metrics-tls-cert, metrics-tls-key and metrics-tls-client-ca" \
	"${remote[@]}"
chmod 604 "$T/token"
check "a token that everybody can read is refused" refuses \
	"metrics-token-file: $T/token: everybody can read it: chmod o= takes that away" \
	"${remote[@]}" --metrics-token-file "$T/token"
chmod 600 "$T/token"
echo short >"$T/short"
chmod 600 "$T/short"
check "a short token is refused, and not printed" refuses \
	"metrics-token-file: it must hold one line of 16 to 512 letters, digits and -._~+/, such as \`openssl rand -hex 32\` prints" \
	"${remote[@]}" --metrics-token-file "$T/short"

printf 'interfaces: [s0]\nlisten: [%d]\n%s\n' "$PORT" \
	"metrics-host: [gpu.example]" >"$T/sluice.yaml"
start daemon "$S" "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" \
	--config "$T/sluice.yaml" "${remote[@]}" --metrics-token-file "$T/token"
DAEMON=$PID
await_line daemon ready "$DAEMON"
bearer=(-H "Authorization: Bearer $FIRST")
for path in / /metrics /v1/limits /nothing; do
	for from in "$C" "$S"; do
		same "$path needs the token, from $from" 401 \
			"$(answer "$from" "http://$S4:9464$path")"
	done
	same "the refusal has nothing of the page" 'The bearer token is missing or wrong.' \
		"$(<"$T/body")"
done
for path in / /metrics /v1/limits; do
	same "$path is there with the token" 200 \
		"$(answer "$C" "${bearer[@]}" "http://$S4:9464$path")"
done
same "another token is none" 401 "$(answer "$C" -H "Authorization: Bearer $SECOND" \
	"http://$S4:9464/metrics")"
for path in /healthz /readyz; do
	same "$path needs no token" 200 "$(answer "$C" "http://$S4:9464$path")"
done
same "a page that DNS leads here reads nothing" 403 \
	"$(answer "$C" "${bearer[@]}" -H 'Host: evil.example' "http://$S4:9464/metrics")"
same "nor by another address" 403 \
	"$(answer "$C" "${bearer[@]}" -H "Host: $C4" "http://$S4:9464/metrics")"
same "a configured name is this server's" 200 \
	"$(answer "$C" "${bearer[@]}" -H 'Host: gpu.example:9464' "http://$S4:9464/metrics")"

# ---- reload ----

printf '%s\n' "$SECOND" >"$T/token"
same "a new token counts from the reload on" 401 \
	"$(answer "$C" -H "Authorization: Bearer $SECOND" "http://$S4:9464/metrics")"
ctl reload >/dev/null
same "the new token is let in" 200 \
	"$(answer "$C" -H "Authorization: Bearer $SECOND" "http://$S4:9464/metrics")"
same "the old one no longer is" 401 "$(answer "$C" "${bearer[@]}" "http://$S4:9464/metrics")"
echo >"$T/token"
check "a reload with a wrong token fails" bash -c \
	"! '$B/sluicectl' --control '$T/control.sock' reload"
same "and the token stays" 200 \
	"$(answer "$C" -H "Authorization: Bearer $SECOND" "http://$S4:9464/metrics")"
check "no token is in the log" bash -c "! grep -e '$FIRST' -e '$SECOND' '$T/daemon.log'"
ctl detach >/dev/null
wait "$DAEMON" || true

# ---- TLS ----

# pki NAME: makes an authority, $T/NAME-ca.pem, and a certificate of its own for server and client.
pki() {
	local name=$1 of

	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
		-subj "/CN=$name" -keyout "$T/$name-ca.key" -out "$T/$name-ca.pem" 2>/dev/null
	for of in server client; do
		openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
			-subj "/CN=$name-$of" -keyout "$T/$name-$of.key" \
			-out "$T/$name-$of.csr" 2>/dev/null
		openssl x509 -req -in "$T/$name-$of.csr" -CA "$T/$name-ca.pem" \
			-CAkey "$T/$name-ca.key" -CAcreateserial -days 2 -out "$T/$name-$of.pem" \
			-extfile <(printf 'subjectAltName=IP:%s\nextendedKeyUsage=%sAuth\n' \
				"$S4" "$of") 2>/dev/null
	done
}
pki old
pki new
use() { # use NAME: the files that the daemon reads
	cp "$T/$1-server.pem" "$T/cert"
	cp "$T/$1-server.key" "$T/key"
	cp "$T/$1-ca.pem" "$T/ca"
	chmod 600 "$T/key"
}
# by NAME OF: curl's options for a client that trusts NAME, with the certificate OF.
by() { echo --cacert "$T/$1-ca.pem" --cert "$T/$2.pem" --key "$T/$2.key"; }

use old
cp "$T/new-server.key" "$T/key"
tls=(--metrics-tls-cert "$T/cert" --metrics-tls-key "$T/key")
check "a key of another certificate is refused" refuses \
	"metrics-tls-cert, metrics-tls-key: The certificate and the given key do not match." \
	--metrics off "${tls[@]}"
check "TLS without client certificates opens nothing to other hosts" refuses \
	"metrics: other hosts reach 0.0.0.0: give metrics-token-file, or metrics-tls-cert, metrics-tls-key and metrics-tls-client-ca" \
	"${remote[@]}" "${tls[@]}"
use old
start daemon "$S" "$B/sluiced" --pin-dir "$PIN" --control "$T/control.sock" --interface s0 \
	--listen "$PORT" "${remote[@]}" "${tls[@]}" --metrics-tls-client-ca "$T/ca"
DAEMON=$PID
await_line daemon ready "$DAEMON"
url=https://$S4:9464
# shellcheck disable=SC2046 # options of curl
{
	for path in / /metrics /v1/limits; do
		same "$path is there with a client certificate" 200 \
			"$(answer "$C" $(by old old-client) "$url$path")"
		same "$path is not there without one" 403 \
			"$(answer "$C" --cacert "$T/old-ca.pem" "$url$path")"
	done
	same "a certificate of another authority is none" 403 \
		"$(answer "$C" $(by old new-client) "$url/metrics")"
	same "a server's certificate is no client's" 403 \
		"$(answer "$C" $(by old old-server) "$url/metrics")"
	for path in /healthz /readyz; do
		same "$path needs no certificate" 200 \
			"$(answer "$C" --cacert "$T/old-ca.pem" "$url$path")"
	done
	start hangs "$C" "$PY" -u -c '
import signal, socket, sys
kept = [socket.create_connection((sys.argv[1], 9464)) for _ in range(50)]
print("ready")
signal.pause()' "$S4"
	HANGS=$PID
	await_line hangs ready "$HANGS"
	same "clients that begin no TLS hold up no probe" 200 \
		"$(answer "$C" --cacert "$T/old-ca.pem" "$url/readyz")"
	finish "$HANGS"
	same "there is no answer without TLS" 000 "$(answer "$C" "http://$S4:9464/healthz")"
	same "nor with TLS 1.1" 000 \
		"$(answer "$C" -k --tls-max 1.1 --ciphers DEFAULT@SECLEVEL=0 "$url/healthz")"
	use new
	ctl reload >/dev/null
	same "new files count from the reload on" 200 \
		"$(answer "$C" $(by new new-client) "$url/metrics")"
	same "old certificates no longer do" 403 \
		"$(answer "$C" $(by new old-client) "$url/metrics")"
	same "the server shows the new certificate alone" 000 \
		"$(answer "$C" $(by old new-client) "$url/metrics")"
	rm "$T/ca"
	check "a reload without a file fails, and says which" bash -c \
		"! '$B/sluicectl' --control '$T/control.sock' reload >'$T/out' 2>&1 &&
		grep -q 'metrics-tls-client-ca: $T/ca: No such file' '$T/out'"
	same "and what was read stays" 200 "$(answer "$C" $(by new new-client) "$url/metrics")"
}
ctl detach >/dev/null
wait "$DAEMON" || true

done_here
