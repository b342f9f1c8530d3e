#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The secret of the keyed hash is in a file: key:ID means the same key after a detach, and on each
# host with that file. Without a file the daemon makes one; where it cannot, the secret is in the
# map alone. With another secret, rules by key go, and the log says so.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

KEY=sk-Tezcatlipoca-5d1f0b7c9e3a
LIB=$T/lib # /var/lib of the daemons that make a file
unset SLUICE_HASH_SECRET_FILE
mkdir "$LIB"
mock --model m,prefill-ms=1,token-ms=1,tokens=2
cat >"$T/sluice.yaml" <<END
interfaces: [s0]
services:
  - listen: $PORT
    identity: [x-api-key, address]
END

# daemon OPTION…: starts it with $LIB in the place of /var/lib, which may be a mount of its own.
daemon() {
	start daemon "$S" unshare --mount bash -c "mount --make-rprivate / &&
		mount --rbind '$LIB' /var/lib && exec '$B/sluiced' \"\$@\"" sluiced \
		--config "$T/sluice.yaml" --pin-dir "$PIN" --control "$T/control.sock" \
		--metrics off "$@"
	DAEMON=$PID
	await_line daemon ready "$DAEMON"
}
detach() {
	ctl detach >/dev/null
	wait "$DAEMON" || true
}
# Prints the status of a request with the key.
send() {
	on "$C" curl -sS -m 50 -o /dev/null -w '%{http_code}' -H "x-api-key: $KEY" \
		--json '{"model":"m","max_tokens":2}' "http://$S4:$PORT/v1/chat/completions"
}
# id_of_key: sends a request and prints the ID that sluice gives the key.
id_of_key() {
	send >/dev/null
	ctl clients --json | grep -o 'key:[0-9a-f]*' | sort -u | tr '\n' ' '
}
secret=$LIB/sluice/hash-secret

# ---- a file is made ----

daemon
same "a file is made, for root alone" "600 0 700" \
	"$(stat -c '%a %u' "$secret") $(stat -c %a "$LIB/sluice")"
check "it holds 32 digits" grep -qxE '[0-9a-f]{32}' "$secret"
same "and nothing else is left beside it" hash-secret "$(ls -A "$LIB/sluice")"
first=$(id_of_key)
ctl block "${first% }" >/dev/null
same "a rule by key:ID holds" 429 "$(send)"
detach
daemon
same "after a detach the key has the same ID" "$first" "$(id_of_key)"
ctl block "${first% }" >/dev/null
finish "$DAEMON"
daemon
same "a restart keeps the rule" 429 "$(send)"
check "and says nothing of the secret" bash -c "! grep 'another secret' '$T/daemon.log'"

# ---- another secret ----

ctl quota set "${first% }" requests=5/1m >/dev/null
ctl block "$C4B" >/dev/null
finish "$DAEMON"
cp "$secret" "$T/kept"
openssl rand -hex 16 >"$secret"
daemon
check "another secret than that of the maps is said, with what goes" grep -qx \
	"sluiced: /var/lib/sluice/hash-secret has another secret than the adopted maps: 2 rules and quotas by key:ID match no key any more, and are removed; those of the configuration need new IDs" \
	"$T/daemon.log"
same "the rule no longer matches the key" 200 "$(send)"
second=$(id_of_key)
check "the key has another ID" [ "$first" != "$second" ]
check "no rule and no quota by key is left" bash -c "! '$B/sluicectl' --control '$T/control.sock' \
	clients --json | grep -q '\"${first% }\".*\"rule\"' &&
	! bpftool map dump pinned '$PIN/client_flags' | grep -q '\"kind\": 1' &&
	! bpftool map dump pinned '$PIN/client_quotas' | grep -q '\"kind\": 1'"
same "a rule by address stays: its SYN is refused" 000 "$(status_from "$C4B" m 2>/dev/null || true)"
for text in "$(<"$secret")" "$(<"$T/kept")"; do
	check "no secret is in the log" bash -c "! grep -i '$text' '$T/daemon.log'"
done
detach

# ---- the operator's file ----

cp "$T/kept" "$T/shared"
daemon --hash-secret-file "$T/shared"
same "the same file gives the same IDs, on any host" "$first" "$(id_of_key)"
detach
# refuses TEXT FILE: a start with that file fails as a wrong configuration, with this line.
refuses() {
	local status=0 output

	output=$(on "$S" timeout 100 "$B/sluiced" --config "$T/sluice.yaml" --pin-dir "$PIN" \
		--control "$T/control.sock" --metrics off --hash-secret-file "$2" 2>&1 \
		</dev/null 9>&-) || status=$?
	[[ $status == 2 && $output == "sluiced: hash-secret-file: $2: $1" ]] ||
		{ echo "$status, $output"; return 1; }
}
digits="it must hold 32 hexadecimal digits, not all 0, such as \`openssl rand -hex 16\` prints"
for content in xyz 0123456789abcdef0123456789abcde 0123456789abcdef0123456789abcdef0 \
	0123456789abcdef0123456789abcdeg 00000000000000000000000000000000; do
	echo "$content" >"$T/shared"
	check "$content is no secret" refuses "$digits" "$T/shared"
done
check "a file that is missing is not made" refuses "No such file or directory" "$T/none"
cp "$T/kept" "$T/shared"
chmod 644 "$T/shared"
check "a secret that everybody can read is none" refuses \
	"everybody can read it: chmod o= takes that away" "$T/shared"

# ---- nowhere to write ----

mkdir "$T/readonly"
mount --bind "$T/readonly" "$T/readonly"
mount -o remount,bind,ro "$T/readonly"
LIB=$T/readonly
daemon
check "a place that is read-only is said once" [ "$(grep -c \
	'^sluiced: hash-secret-file: /var/lib/sluice/hash-secret cannot be made: Read-only file system; key:ID means other keys after a detach or a reboot$' \
	"$T/daemon.log")" = 1 ]
third=$(id_of_key)
check "keys have IDs nevertheless, of a secret of its own" [ -n "$third" -a "$third" != "$first" ]
finish "$DAEMON"
umount "$T/readonly"
daemon
same "maps that hold a secret give it to the file" "$third" "$(id_of_key)"
check "the file is there" grep -qxE '[0-9a-f]{32}' "$T/readonly/sluice/hash-secret"
check "and no rule had to go" bash -c "! grep 'match no key' '$T/daemon.log'"
detach

done_here
