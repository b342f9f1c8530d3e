#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# `sluicectl top` in a terminal, which tmux plays. What it shows is what `status --json` has. It
# fits its terminal at any size, obeys its keys, prints no control characters of a name, and goes on
# when the daemon comes back.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

shape=token-ms=2,tokens=20,slots=64
mock --model "llama-3-8b,prefill-ms=20,$shape" --model "talk,prefill-ms=20,$shape"
cat >"$T/sluice.yaml" <<END
services:
  - listen: $PORT=llama-3-8b
ttft-threshold-ms: 5000
itl-threshold-ms: 1000
models:
  - name: llama-3-8b
    max-in-flight: 16
  - name: talk
  - name: "evil\u202emodel-with-a-very-long-name-that-no-screen-of-eighty-columns-has-room-for"
quotas:
  - {client: $C4B, requests: 5/1h}
END
sluice --config "$T/sluice.yaml"

# A server of tmux in the namespace, so that it ends with the case.
term() { tmux -S "$T/tmux" "$@"; }
echo 'set -g status off' >"$T/tmux.conf"
start tmux "$S" env LC_ALL=C.UTF-8 tmux -D -S "$T/tmux" -f "$T/tmux.conf"
eventually 5 test -S "$T/tmux"

# top NAME COLUMNS ROWS [VARIABLE=VALUE…]: starts it in a terminal.
top() {
	term new-session -d -s "$1" -x "$2" -y "$3" env "${@:4}" "$B/sluicectl" \
		--control "$T/control.sock" top
}
screen() { term capture-pane -p -t "${1:-main}" >"$T/screen"; }
keys() { term send-keys -t main "$@"; }
# shows PATTERN [NAME]: the screen has it, now.
shows() {
	screen "${2:-main}" || return 1
	grep -qE -- "$1" "$T/screen" || { cat "$T/screen"; return 1; }
}
lacks() {
	screen || return 1
	! grep -E -- "$1" "$T/screen"
}
# soon SENTENCE COMMAND…: the sentence holds, in a while.
soon() { check "$1" eventually 5 "${@:2}"; }

LOAD="$B/loadgen --json --connect $S4:$PORT --model llama-3-8b:3 --model talk:1 --concurrency 6"
start load "$C" bash -c "$LOAD --bind $C4 --requests 100000"
LOADER=$PID
on "$C" "$B/loadgen" --json --connect "$S4:$PORT" --model talk --bind "$C4B" --requests 8 \
	--retry 0 >"$T/quota.json"
top main 80 24
soon "the first line says what holds, in words" \
	shows '^enforce, policy adaptive: no model is shut'
soon "it shows admitted requests a second" shows '^admitted +[1-9][0-9.]*/s \([0-9]+ in all\)'
soon "it shows refused requests by reason" shows '^refused .*\(3 in all\)'
soon "a model has its gate, its averages and its targets" \
	shows '^llama-3-8b +open +[0-9]+/[0-9]+ +[0-9.]+/5000 ms +[▁▂▃▄▅▆▇█ ]+ +[0-9.]+/1000 ms'
soon "a client has its rates and what is left of its quota" \
	shows "^$C4B +[0-9.-]+ +[0-9.-]+ +0 +0 +-\$"
check "the last row has the keys" bash -c "tail -n 1 '$T/screen' | grep -q '^q quit  h help  p pause'"
[[ -z ${SHOW_SCREEN:-} ]] || cat "$T/screen"
same "it has 24 rows, and no more" 24 "$(wc -l <"$T/screen")"
check "a name keeps its marks of direction to itself" shows '^evil.u202emo.*…  open'
check "no mark of direction is printed" bash -c "! grep -q \$'\xe2\x80\xae' '$T/screen'"

keys Tab s
soon "s sorts the clients, after Tab" shows '^CLIENT by tokens.*'
keys Tab s
soon "s sorts the models" shows 's sort: in flight'
keys s s s

# A wider terminal has longer names and more columns.
term resize-window -t main -x 120 -y 40
soon "a new size is used at once" shows '^MODEL .* WAITING +TTFT/target last .*'
soon "a wide screen has the totals of clients" shows '^CLIENT .* ADMITTED +REFUSED'
check "it fills 40 rows" bash -c "[[ \$(wc -l <'$T/screen') == 40 ]] &&
	tail -n 1 '$T/screen' | grep -q '^q quit'"
[[ -z ${SHOW_SCREEN:-} ]] || cat "$T/screen"
term resize-window -t main -x 80 -y 11
soon "a small screen has a part of the models" shows '^MODEL 1-2/4 '
keys Down
soon "they scroll" shows '^MODEL 2-3/4 '
keys End
soon "End goes to the last one" shows '^MODEL 3-4/4 '
check "all together come last" shows '^\(all together\)'
term resize-window -t main -x 80 -y 24
soon "a larger screen has all again" shows '^llama-3-8b'

keys / talk Enter
soon "a filter leaves the models that it names" lacks '^(llama-3-8b|evil)'
check "the others stay" shows '^talk '
check "the filter is shown" shows '/ filter: "talk"'
keys Escape
soon "Esc ends it" shows '^llama-3-8b'
keys h
soon "h explains the keys and the columns" shows '^TTFT/target +average time to first token'
check "the help fits" shows '^TOK. LEFT +tokens left'
keys h
soon "h leads back" shows '^llama-3-8b'

# Without load the figures stand still: they equal those of the daemon.
ctl set tau=1h >/dev/null
finish "$LOADER"
await 5 "all(x['in_flight'] == 0 for x in s['models'])"
admitted=$(value "r['admitted']")
soon "it shows as many admitted requests as status --json" shows "^admitted .*\($admitted in all\)"
average=$(value "'%.1f' % m['talk']['ttft_ema_ms']")
soon "it shows the average of status --json" shows "^talk .* ${average//\"/}/5000 ms"
keys p
soon "p pauses" shows '^PAUSED '
top other 80 24
once() { load --connect "$S4:$PORT" --model talk --requests 1 >/dev/null; }
for i in 1 2; do # the other's second figure is a second younger than its first
	once
	soon "another screen goes on ($i)" shows "^admitted .*\($((admitted + i)) in all\)" other
done
check "the paused screen has not changed" shows "^admitted .*\($admitted in all\)"
keys p
soon "p goes on" shows "^admitted .*\($((admitted + 2)) in all\)"

# Only what changes is sent: a second's worth is far from the 1920 characters of a screen.
term pipe-pane -t main "cat >'$T/sent'"
clock() { screen && sed -nE 's/^admitted .*at ([0-9:]+),.*/\1/p' "$T/screen"; }
moves_on() { [[ $(clock) != "$1" ]]; }
for i in 1 2; do
	eventually 5 moves_on "$(clock)"
done
term pipe-pane -t main
holds "two polls send a few bytes" "0 < __import__('os').path.getsize('$T/sent') < 800"

# A model that is shut.
ctl set policy=ema-flag >/dev/null
ctl set --model talk ttft=1ms tau=1h >/dev/null
soon "a shut model is said in words, with since when and until when" \
	shows '^enforce, policy ema-flag: SHUT: talk \(ttft [0-9]+ ms over 1 ms\) since [0-9:]+'
check "until when" grep -q 'opens about [0-9:]* (in ' "$T/screen"
check "its row says so" shows '^talk +SHUT '
ctl set mode=shadow >/dev/null
once
soon "in shadow mode, it shows what would be refused" shows '^shadow .*/s.*\(1 in all\)'

# Other locales and no terminal.
top ascii 80 24 LC_ALL=C
soon "in another locale, plots are ASCII" shows '^llama-3-8b .* ms [.:=+*%@ -]+ ' ascii
check "and so is all the rest" bash -c "! LC_ALL=C grep -q '[^ -~]' '$T/screen'"
term new-session -d -s unknown "TERM=nonsense '$B/sluicectl' --control '$T/control.sock' top \
	2>'$T/unknown'; echo \$? >'$T/unknown.code'"
soon "an unknown terminal is an error that names another command" \
	bash -c "grep -q 1 '$T/unknown.code' && grep -q 'status --watch' '$T/unknown'"
ctl top </dev/null >"$T/plain"
check "without a terminal, it prints one plain frame" \
	bash -c "grep -q '^llama-3-8b ' '$T/plain' && grep -q '^$C4B ' '$T/plain' &&
	! grep -q \$'\e' '$T/plain'"

# The other commands: no line is wider than the screen, and --watch goes on.
fits() { # fits COLUMNS COMMAND…
	COLUMNS=$1 LC_ALL=C.UTF-8 ctl "${@:2}" >"$T/fits"
	! LC_ALL=C.UTF-8 grep -E ".{$(($1 + 1))}" "$T/fits"
}
for command in status models clients services "quota show" "explain $C4B"; do
	# shellcheck disable=SC2086 # words
	check "$command fits 80 columns" fits 80 $command
	# shellcheck disable=SC2086 # words
	check "$command fits 50 columns" fits 50 $command
done
check "without a screen, a table is in one part" \
	bash -c "[[ \$('$B/sluicectl' --control '$T/control.sock' models | grep -c '^MODEL ') == 1 ]]"
for what in status models clients services; do
	term new-session -d -s "$what" -x 80 -y 60 \
		"'$B/sluicectl' --control '$T/control.sock' $what --watch"
done
watches() { screen status && sed -nE 's/.*, up ([^,]+),.*/\1/p' "$T/screen" | grep .; }
check "status --watch shows the state" eventually 5 watches
first=$(watches)
later() { [[ $(watches) != "$first" ]]; }
check "it goes on" eventually 5 later
for what in models clients services; do
	soon "$what --watch begins with its table, in place of the one before" \
		bash -c "tmux -S '$T/tmux' capture-pane -p -t $what | head -n 1 |
			grep -qE '^(MODEL|CLIENT|SERVICE) '"
done
[[ -z ${SHOW_SCREEN:-} ]] || for what in status clients services "explain $C4B"; do
	# shellcheck disable=SC2086 # words
	COLUMNS=80 ctl $what
done
start watch "$S" "$B/sluicectl" --control "$T/control.sock" status --watch --json
two() { [[ $(wc -l <"$T/watch.log") -ge 2 ]]; }
check "status --watch --json goes on" eventually 5 two
holds "each line is the status" "all(x['policy'] == 'ema-flag' for x in events('watch'))"

finish "$DAEMON" KILL
soon "it says that the daemon is gone" shows "^No answer from $T/control.sock: "
check "the last figures stay" shows '^llama-3-8b'
sluice --config "$T/sluice.yaml"
soon "it goes on when the daemon is back" lacks '^No answer'
soon "with new figures" shows '^enforce, policy adaptive: '
seen=$(wc -l <"$T/watch.log")
more() { [[ $(grep -c '"policy"' "$T/watch.log") -gt $seen ]]; }
check "so does status --watch --json" eventually 5 more
keys q
soon "q ends it" bash -c "! tmux -S '$T/tmux' has-session -t main 2>/dev/null"
ctl detach >/dev/null
same "without a daemon it is exit status 3" 3 "$(ctl top >"$T/none" 2>&1; echo $?)"

done_here
