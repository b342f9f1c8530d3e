#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Invariant 6: time is honest. Errors, refusals and retransmissions give no samples. A client that
# reads or sends slowly does not make a model look slow.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mock --model m,prefill-ms=20,token-ms=5,tokens=10,slots=64 \
	--model other,prefill-ms=20,token-ms=5,tokens=10,slots=64 \
	--model reader,prefill-ms=20,token-ms=1,tokens=400,slots=64 \
	--model uploader,prefill-ms=50,token-ms=5,tokens=10,slots=64 \
	--model lossy,prefill-ms=20,token-ms=5,tokens=20,slots=64 \
	--model full,slots=0,queue=0 --model unary,prefill-ms=20,tokens=4,token-ms=5 \
	--model plain,prefill-ms=50,tokens=4,token-ms=5
printf 'models:\n  - name: full\n    unary: true\n  - name: unary\n    unary: true\n' \
	>"$T/sluice.yaml"
sluice --config "$T/sluice.yaml" --listen "$PORT=unnamed" --time-constant-secs 86400
witness

load --connect "$S4:$PORT" --model missing --requests 5 >"$T/missing.json"
holds "an error gives no sample" \
	"'200' not in j('missing')['status'] and j('missing')['sent'] == 5 and
	 s['global']['ttft_samples'] == 0 and s['global']['itl_samples'] == 0"
holds "a model that only answers errors is not learned" "'missing' not in m"

load --connect "$S4:$PORT" --model full --plain --requests 5 >"$T/full.json"
load --connect "$S4:$PORT" --model unary --plain --requests 5 >"$T/unary.json"
holds --within 3 "a reply of a unary model gives a sample" \
	"j('unary')['completed'] == m['unary']['ttft_samples'] == 5"
holds "an error of a unary model gives no sample" \
	"'200' not in j('full')['status'] and m['full']['ttft_samples'] == 0"

limited=$(value "k['gaps-client-limited']")
load --connect "$S4:$PORT" --model m --requests 3 >"$T/m.json"
await 3 "m['m']['ttft_samples'] > 0"
shut m
# The daemon has read every record: ten tokens, or two.
await 3 "m['m']['ttft_samples'] + m['m']['itl_samples'] + k['gaps-client-limited'] - $limited ==
	3 * 10 + $SHUT_REQUESTS * 2"
known=$(value "m['m']['ttft_samples']")
load --connect "$S4:$PORT" --model m --requests 20 >"$T/refused.json"
load --connect "$S4:$PORT" --model other --requests 1 >"$T/other.json"
await 3 "m['other']['ttft_samples'] + k['gaps-client-limited'] > 0"
holds "a refusal gives no sample" \
	"j('refused')['status'] == {'429': 20} and m['m']['ttft_samples'] == $known"
before=$(value "s['global']['ttft_samples']")

load --connect "$S4:$PORT" --model plain --plain --requests 3 >"$T/plain.json"
holds "an unstreamed reply of an undeclared model gives no sample" \
	"j('plain')['completed'] == 3 and s['global']['ttft_samples'] == $before"

# A client stops reading for 2 s. The server's bytes wait; the model does not.
start reader "$C" "$PY" "$HERE/peers.py" slow-reader "$S4" "$PORT" --model reader --stream \
	--max-tokens 400 --rcvbuf 4096 --pause 2
await 10 "m['reader']['itl_samples'] > 10"
wait "$PID"
check "a slow reader gets its whole stream" grep -q '"end": "whole"' "$T/reader.log"
# The two seconds alone would add 5 ms to each of 400 gaps.
holds --within 3 "a slow reader does not raise the model's ITL" "m['reader']['itl_ema_ms'] < 5"
holds "a slow reader does not raise the model's TTFT" "m['reader']['ttft_ema_ms'] < 1000"
holds "its client-limited gaps are counted" "k['gaps-client-limited'] > 0"

start uploader "$C" "$PY" "$HERE/peers.py" slow-uploader "$S4" "$PORT" --model uploader --stream \
	--body-bytes 50000 --pause 1.5
wait "$PID"
check "a slow uploader is answered" grep -q '"end": "whole"' "$T/uploader.log"
cp "$T/uploader.log" "$T/uploader.json"
holds --within 3 "its time is not the model's: TTFT begins with the request's last byte" \
	"m['uploader']['ttft_samples'] == 1 and
	 50 <= m['uploader']['ttft_ema_ms'] <= j('uploader')['ms']"

# Retransmissions: the client's interface drops data segments for a while.
limited=$(value "k['gaps-client-limited']")
load --connect "$S4:$PORT" --model lossy --requests 1 >"$T/whole.json"
await 3 "m['lossy']['ttft_samples'] + m['lossy']['itl_samples'] + k['gaps-client-limited'] ==
	20 + $limited"
retransmitted() {
	on "$S" nstat -asz TcpRetransSegs | awk '/TcpRetransSegs/ { print $2 }'
}
retransmissions=$(retransmitted)
lose_data 6
load --connect "$S4:$PORT" --model lossy --requests 1 >"$T/lossy.json"
holds --within 3 \
	"a stream with retransmissions is whole, and each event is one sample or counted as client-limited" \
	"j('lossy')['completed'] == 1 and m['lossy']['ttft_samples'] <= 2 and
	 m['lossy']['ttft_samples'] + m['lossy']['itl_samples'] + k['gaps-client-limited'] ==
	 2 * 20 + $limited"
holds "the server did retransmit" "$(retransmitted) > $retransmissions"
holds "retransmissions do not raise ITL (one gap of 200 ms would make it 10)" \
	"m['lossy']['itl_ema_ms'] < 9"

done_here
