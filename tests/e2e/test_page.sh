#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The page at / in a real browser: its figures are those of /metrics, a refusal is seen within two
# seconds, the history comes from the daemon, names stay text, no policy of the page is broken, and
# it is whole without scripts.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

AT=http://127.0.0.1:9464
# As a server knows it; its name alone is HTML, and a shell would run it.
HOSTILE='<img src=x onerror=alert(1)>'
mock --model m,prefill-ms=30,token-ms=5,tokens=10,slots=64 \
	--model "$HOSTILE,prefill-ms=5,token-ms=1,tokens=4,slots=64"
cat >"$T/sluice.yaml" <<END
services: [{listen: $PORT}]
priorities: [{client: $C4B, class: low}]
END
start daemon "$S" "$B/sluiced" --config "$T/sluice.yaml" --pin-dir "$PIN" \
	--control "$T/control.sock" --metrics "${AT#http://}" --interface s0 --interface lo
await_line daemon ready "$PID"
load --connect "$S4:$PORT" --model m --requests 1 >"$T/learned.json"
await 3 "'m' in m"
load --connect "$S4:$PORT" --model m --requests 12 --concurrency 3 >"$T/m.json"
for _ in 1 2; do
	load --connect "$S4:$PORT" --model "$HOSTILE" --requests 2 >"$T/hostile.json"
	await 3 "'$HOSTILE' in m"
done
ctl set --model m max-in-flight=9 >/dev/null

mkfifo "$T/do"
HOME=$T start browser "$S" bash -c \
	"exec '$PY' '$HERE/browser.py' '$T/profile' <'$T/do'"
BROWSER=$PID
exec 7>"$T/do"
await_line browser ready "$BROWSER"
STEP=1
# browser COMMAND: one command, as JSON; its answer goes to $T/answer.json.
browser() {
	local deadline=$((SECONDS + 100))

	STEP=$((STEP + 1))
	printf '%s\n' "$1" >&7
	until (($(wc -l <"$T/browser.log") >= STEP)); do
		if ((SECONDS > deadline)) || ! kill -0 "$BROWSER"; then
			say_not_ok "the browser answers" "$1: $(tail -n 3 "$T/browser.log")"
			exit 1
		fi
		read -rt .02 <> <(:) || true
	done
	sed -n "${STEP}p" "$T/browser.log" >"$T/answer.json"
}
quoted() { "$PY" -c 'import json, sys; print(json.dumps(sys.argv[1]))' "$1"; }
js() { browser "[\"eval\", $(quoted "$1")]"; }            # EXPRESSION: its value
shown() { browser "[\"await\", 3, $(quoted "$1")]"; }     # … once it is true
visit() { browser "[\"open\", $(quoted "$AT$1")]"; }      # PATH

visit /
shown "document.documentElement.dataset.turns > 2"
on "$S" curl -sS "$AT/metrics" >"$T/metrics"
js "Object.fromEntries([...document.querySelectorAll('#models tbody tr')].map((tr) =>
	[tr.querySelector('th').textContent, Object.fromEntries(
		[...tr.querySelectorAll('td')].map((td) => [td.dataset.h, td.textContent]))]))"
cp "$T/answer.json" "$T/rows.json"
"$PY" - "$T/metrics" >"$T/metrics.json" <<'PY'
import json, re, sys
rows = []
for line in open(sys.argv[1], encoding="utf-8"):
    found = re.match(r'([a-z_:]\w*)\{(.*)\} (\S+)$', line)
    if found:
        labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[2]))
        rows.append([found[1], labels, float(found[3])])
print(json.dumps(rows))
PY
# sum_of METRIC CONDITION: an expression for the sum of the metric's rows of model m.
sum_of() {
	echo "sum(x[2] for x in j('metrics') if x[0] == '$1' and x[1].get('model') == 'm' and $2)"
}
row="j('rows')['is']['m']"
holds "admitted and refused are those of /metrics" \
	"int(${row}['admitted']) > 0 == int(${row}['refused']) and
	 int(${row}['admitted']) ==
	 $(sum_of sluice_requests_total "x[1]['verdict'] == 'admitted'") and
	 int(${row}['refused']) ==
	 $(sum_of sluice_requests_total "x[1]['verdict'] == 'rejected'")"
holds "in flight and limit are those of /metrics" \
	"[float(x) for x in ${row}['in flight / limit'].split(' / ')] ==
	 [$(sum_of sluice_in_flight True), $(sum_of sluice_in_flight_limit True)] == [0, 9]"
holds "the gate is that of /metrics" \
	"${row}['gate'] == 'open' and $(sum_of sluice_model_open True) == 1"
holds "averages are those of /metrics, as they fall" \
	"close(float(${row}['TTFT ms / target'].split(' / ')[0]),
	       $(sum_of sluice_ttft_ema_seconds True) * 1000, .5) and
	 close(float(${row}['ITL ms / target'].split(' / ')[0]),
	       $(sum_of sluice_itl_ema_seconds True) * 1000, .5)"

holds "a name that is HTML is text" "'$HOSTILE' in j('rows')['is']"
js "document.querySelectorAll('main img').length"
holds "… and makes no element" "j('answer') == {'is': 0}"

shown "document.querySelectorAll('canvas').length === 4"
holds "while all requests are normal, no plot is by class" "j('answer')['is']['value'] is True"

# A refusal, from its answer to the screen.
ctl block "$C4B" --model m >/dev/null
same "a blocked client is refused" 429 "$(status_from "$C4B" m)"
shown "document.querySelector('#refused').textContent === '1' &&
	document.querySelector('#requests').textContent.includes('client-blocked')"
holds "a refusal is on the screen within two seconds, with its reason" \
	"j('answer')['is']['seconds'] < 2"

# A client over its quota, with the command that gives it more.
ctl clear "$C4B" --model m >/dev/null
ctl quota set "$C4B" requests=1/1h >/dev/null
same "a client has its quota" 200 "$(status_from "$C4B" m)"
start over "$C" "$B/loadgen" --json --connect "$S4:$PORT" --bind "$C4B" --model m --rate 10 \
	--duration 600 --retry 0
OVER=$PID
shown "[...document.querySelectorAll('#clients tbody tr')].some((row) =>
	row.textContent.startsWith('$C4B') && row.textContent.includes('0 of 1'))"
holds "a client has what is left of its quota" "j('answer')['is']['value'] is True"
shown "[...document.querySelectorAll('#state code')].map((x) => x.textContent).find((x) =>
	x.includes('quota set'))"
holds "refusals by quota name the client, and the quota that gives it more" \
	"j('answer')['is']['value'] == 'sluicectl quota set $C4B requests=2/1h'"
# pasted SENTENCE: the command of the last answer, pasted into a shell, is done.
pasted() {
	local command

	command=$("$PY" -c 'import json, sys; print(json.load(open(sys.argv[1]))["is"]["value"])' \
		"$T/answer.json")
	check "$1" bash -c "sluicectl() { '$B/sluicectl' --control '$T/control.sock' \"\$@\"; }
		$command"
}
pasted "that command is taken"
holds --within 3 "… and the client has more" \
	"[x['quota']['quota'] for x in ctl('clients')['clients'] if x['client'] == '$C4B'] == ['requests=2/1h']"

# Shut by its average, with the words of the command that changes it.
shut "$HOSTILE"
shown "document.querySelector('#state').textContent.includes('is shut: its average TTFT')"
shown "document.querySelector('#state li.shut code').textContent"
holds "what is shut is said, with a command that a shell reads as one name" \
	"(w := __import__('shlex').split(j('answer')['is']['value'])) and
	 w[:2] + w[3:] == ['sluicectl', 'set', '--model', '$HOSTILE'] and w[2].startswith('ttft=')"
pasted "the command is taken"
holds --within 3 "… and opens the model" "m['$HOSTILE']['open']"
shut "$HOSTILE"
shown "document.querySelector('#state').textContent.includes('is shut: its average TTFT')"

# The history is the daemon's.
shown "document.documentElement.dataset.points >= 2"
js "Number(document.documentElement.dataset.points)"
before=$(value "j('answer')['is']")
visit /
shown "document.documentElement.dataset.points >= $before"
holds "the history survives a reload of the page" "j('answer')['is']['value'] is True"
shown "document.querySelectorAll('canvas').length === 6 &&
	[...document.querySelectorAll('canvas')].every((c) => c.height > 50 &&
		c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((x) => x))"
holds "six plots are drawn" "j('answer')['is']['value'] is True"
shown "document.querySelectorAll('canvas')[4].ariaLabel.startsWith('admitted a second, by class') &&
	/^refused a second, by class, .* low [0-9.]+,/.test(
		document.querySelectorAll('canvas')[5].ariaLabel)"
holds "… two of them by class" "j('answer')['is']['value'] is True"
shown "[...document.querySelector('#which').options].some((o) => o.value === '$HOSTILE')"
js "document.querySelector('#which').value = '$HOSTILE';
	document.querySelector('#which').dispatchEvent(new Event('change'))"
shown "document.querySelectorAll('canvas')[3].ariaLabel.includes('refused ') &&
	!document.querySelectorAll('canvas')[3].ariaLabel.includes('client-blocked') &&
	document.querySelectorAll('canvas').length === 4"
holds "a model's own history is plotted" "j('answer')['is']['value'] is True"

# Keys alone: from the link to the filter, which the server answers.
js "document.querySelector('#which').focus()"
browser '["key", "Tab"]'
js "document.activeElement.name"
holds "Tab goes on to the filter" "j('answer')['is'] == 'filter'"
visit '/?filter=IMG'
js "[...document.querySelectorAll('#models tbody th')].map((x) => x.textContent)"
holds "the filter finds names by a part of them" \
	"j('answer')['is'] == ['$HOSTILE', '(all together)']"

# … while a model is shut and a client is over its quota.
shown "['shut', 'full'].every((x) => document.querySelector('#state li.' + x + ' code'))"
for size in 1280,800 390,844; do
	browser "[\"size\", $size]"
	js "[document.documentElement.scrollWidth,
		[...document.querySelectorAll('main *')].filter((x) =>
			x.offsetParent && x.getBoundingClientRect().right > innerWidth + 1).length,
		innerWidth]"
	holds "nothing is wider than a screen of $size" \
		"j('answer')['is'][:2] == [${size%,*}, 0] and j('answer')['is'][2] == ${size%,*}"
done

finish "$OVER"

browser '["complaints"]'
holds "the browser has no complaint, of scripts or of the policy" "j('answer') == {'is': []}"
js "new Promise((done) => {
	document.addEventListener('securitypolicyviolation', (e) => done(e.effectiveDirective));
	document.head.append(Object.assign(document.createElement('script'), { text: '1' }));
})"
holds "… which forbids scripts in the page" "j('answer')['is'].startswith('script-src')"

browser '["scripts", false]'
visit /
browser '["scripts", true]'
js "[document.querySelector('#state').innerText.includes('is shut: its average TTFT'),
	document.querySelectorAll('#models tbody tr').length > 2,
	document.querySelector('#history').hidden,
	document.documentElement.dataset.turns === undefined]"
holds "without scripts the page says what is shut, and has its tables" \
	"j('answer')['is'] == [True, True, True, True]"

done_here
