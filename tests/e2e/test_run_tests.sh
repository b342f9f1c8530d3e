#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# scripts/run-tests in a tree of small programs: its last lines and its status say what happened,
# and a run that is interrupted leaves nothing running.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

TREE=$T/tree
mkdir -p "$TREE"/{scripts,build,tests/{check,unit,datapath,e2e}}
cp "$HERE/../../scripts/run-tests" "$TREE/scripts/"
cd "$TREE"
touch tests/unit/test_pure.c tests/datapath/test_{packets,frames}.c
echo 'build-check build-unit build-datapath build-e2e: ; @test ! -e no-$@' >Makefile
# Each program notes that it has begun, waits while there is a file hold-NAME, and notes its end.
for program in scripts/check tests/check/test_check.sh build/test_{pure,packets,frames} \
	tests/e2e/test_{case,alone}.sh; do
	name=${program##*/}
	cat >"$program" <<-END
		#!/bin/bash
		: >began-$name
		while [[ -e hold-$name ]]; do sleep 0.1; done
		[[ ! -e dies-$name ]] || kill -9 \$\$
		[[ ! -e fails-$name ]] || { echo "not ok - $name"; exit 1; }
		: >ended-$name
		echo "ok - $name"
	END
done
echo '# Runs alone' >>tests/e2e/test_alone.sh
echo '#!/bin/bash' >scripts/install-deps
chmod +x scripts/* tests/*/*.sh build/*

# says SENTENCE LINES [FILE]: how a run ends in a tree with FILE; "0:" or "1:" is its status.
says() {
	local status=0

	[[ -z ${3:-} ]] || touch "$3"
	scripts/run-tests >out 2>&1 </dev/null || status=$?
	same "$1" "$2" "$status: $(grep -E '^run-tests: failed|^[0-9]+ passed' out | tail -n 2 |
		grep -v ' 0 failed$' | tr '\n' ';')$(tail -n 1 out | grep ' 0 failed$' || true)"
	[[ -z ${3:-} ]] || rm "$3"
}
says "all that pass are counted" "0: 7 passed, 0 failed"
says "a unit test that fails is named" \
	"1: run-tests: failed: test_pure;6 passed, 1 failed;" fails-test_pure
says "so is one that is killed" \
	"1: run-tests: failed: test_pure;6 passed, 1 failed;" dies-test_pure
says "so is a case" "1: run-tests: failed: test_case.sh;6 passed, 1 failed;" fails-test_case.sh
says "so is a layer that cannot be built" \
	"1: run-tests: failed: unit;6 passed, 1 failed;" no-build-unit

# Two programs of datapath, each held until the other has begun.
if (($(nproc) > 1)); then
	rm -f began-*
	touch hold-test_packets hold-test_frames
	scripts/run-tests datapath e2e >out 2>&1 </dev/null &
	PID=$!
	check "programs of datapath run beside each other" \
		eventually 30 test -e began-test_packets -a -e began-test_frames
	rm hold-*
	wait "$PID" || true
else
	scripts/run-tests datapath e2e >out 2>&1 </dev/null || true
fi
check "a case that runs alone waits for all" \
	test ! began-test_alone.sh -ot ended-test_packets -a \
	! began-test_alone.sh -ot ended-test_case.sh
same "the lines of a program follow its name" "ok - test_packets" \
	"$(grep -A 1 '^run-tests: test_packets: [0-9]* s$' out | tail -n 1)"
same "and all four are counted" "4 passed, 0 failed" "$(tail -n 1 out)"

none_runs() { ! grep -qsz "^$TREE/" /proc/[0-9]*/cmdline; }
# ends SIGNAL TARGET PROGRAM: the run, or its group, gets SIGNAL while PROGRAM and check run
ends() {
	rm -f began-*
	touch hold-check "hold-$3"
	env --default-signal=INT setsid "$TREE/scripts/run-tests" >out 2>&1 </dev/null &
	PID=$!
	eventually 30 test -e began-check -a -e "began-$3"
	kill -s "$1" -- "$2$PID"
	wait "$PID" || true
	check "$1 while $3 runs leaves nothing running" eventually 10 none_runs
	rm hold-*
}
ends INT - test_case.sh
ends TERM "" test_case.sh
ends INT - test_packets
ends TERM "" test_packets
done_here
