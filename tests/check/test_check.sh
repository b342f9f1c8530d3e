#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Each check of scripts/check finds what it is there for: in a copy of the tree it is green, and red
# as soon as an example of its fault is planted. Tools that read C one file after the other are
# tried on a copy of a few files, so that this takes seconds. Needs what `make build-check` builds.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d /tmp/sluice-check.XXXXXX)
trap 'rm -rf "$work"' EXIT
whole=$work/whole
small=$work/small
failed=0

# What is built is that of the tree; the man pages are built anew.
copy() { # copy DIRECTORY FILE…
	local to=$1 entry

	mkdir -p "$to/build"
	tar -C "$root" -cf - "${@:2}" | tar -C "$to" -xf -
	for entry in "$root"/build/*; do
		case ${entry##*/} in
		check | man) ;;
		*) ln -s "$entry" "$to/build/" ;;
		esac
	done
}

# expect STATUS SENTENCE NAME [TEXT]: how the check NAME ends in $here, and a text that it prints.
expect() {
	local status=0 out

	out=$("$here/scripts/check" "$3" 2>&1 </dev/null) || status=$?
	if [[ $status == "$1" && $out == *"${4:-}"* ]]; then
		printf 'ok - %s\n' "$2"
	else
		printf 'not ok - %s: status %s: %s\n' "$2" "$status" "${out//$'\n'/ | }"
		failed=1
	fi
}

green() { expect 0 "$1 is green without a fault" "$1"; }

# red NAME FAULT FILE:LINE COMMAND…: after COMMAND, run in $here, the check finds the fault there.
red() {
	local name=$1 fault=$2 place=$3 file=${3%%:*}

	shift 3
	[[ ! -e $here/$file ]] || cp -p "$here/$file" "$work/before"
	(cd "$here" && "$@")
	expect 1 "$name is red for $fault" "$name" "$place"
	if [[ -e $work/before ]]; then mv "$work/before" "$here/$file"; else rm -f "$here/$file"; fi
}

append() { printf '%b\n' "$2" >>"$1"; }

mapfile -t ours < <(cd "$root" && find . -mindepth 1 -maxdepth 1 ! -name .git ! -name build)
copy "$whole" "${ours[@]}"
mapfile -t few < <(cd "$root" && find include scripts/check scripts/check-tree Makefile \
	.clang-format .clang-tidy .shellcheckrc user/core/ema.[ch] -type f)
copy "$small" "${few[@]}"
mkdir -p "$small/tests/mock"

here=$small
ema=user/core/ema.c
fuzzer=tests/fuzz/fuzz_http1_request.c
lines=$(wc -l <"$root/$ema")
green format
red format "a line that is not formatted" "$ema:$((lines + 1))" append $ema 'int  x;'
green tidy
red tidy "what clang-tidy finds" "$ema:$((lines + 2))" append $ema \
	'int same(int a);\nint same(int a) { return a == a; }'
green cppcheck
red cppcheck "what cppcheck finds" "$ema:$((lines + 1))" append $ema \
	'int beyond(void) { int a[2] = {0}; return a[2]; }'
green shellcheck
red shellcheck "what shellcheck finds" scripts/new:2: append scripts/new '#!/bin/bash\ncd /tmp'
green python
red python "a module that is not used" scripts/new:2: append scripts/new \
	'#!/usr/bin/python3\nimport os'

here=$whole
green lines
red lines "a comment of 101 columns" "$ema:$((lines + 1))" append $ema \
	"/* $(printf 'x%.0s' {1..95}) */"
red lines "a script's line of 101 columns" "scripts/new:2:" append scripts/new \
	"#!/bin/bash\n# $(printf 'x%.0s' {1..99})"
green license
red license "a file without its SPDX line" $ema:1: sed -i 1d $ema
red license "a script without its SPDX line" scripts/new:2: append scripts/new '#!/bin/bash\n:'
green modes
red modes "a script that is not executable" scripts/demo:1: chmod -x scripts/demo
green fuzzers
red fuzzers "a fuzzer that does not compile" "$fuzzer:$(($(wc -l <"$root/$fuzzer") + 1)):" \
	append $fuzzer 'int LLVMFuzzerTestOneInput(void);'
green links
red links "a link to a file that is not there" new.md:1: append new.md '[a](user/nothing.md)'
red links "a link to a heading that is not there" new.md:1: append new.md '[a](README.md#nothing)'
red links "a link to a heading of its own page that is not there" new.md:3: append new.md \
	'# One two\n[good](#one-two)\n[bad](#one-three)'
green rows
red rows "a row that is there twice" new.md:4: append new.md \
	'| a | b |\n|-|-|\n| 1 | 2 |\n| 1 | 3 |'
red rows "a name that is in a C table twice" user/new.c:3: append user/new.c \
	'static const struct {\n} rows[] = {{"one", 1},\n{"one", 2}};'
red rows "a name that is in an X-macro twice" user/new.h:3: append user/new.h \
	'#define LIST(X) \\\n X(A, "one") \\\n X(B, "one")'
green references
red references "a comment that names a file which is not there" "$ema:$((lines + 1))" append $ema \
	'/* See tests/unit/test_nothing.c. */'
red references "a page that names a file which is not there" new.md:1: append new.md 'see core/no.c'
green man
red man "a page that is missing" user/man/sluiced.8.scd:1: bash -c \
	'rm user/man/sluiced.8.scd && rm -f build/man/sluiced.8'
red man "what mandoc finds" build/man/sluiced.8:2: bash -c \
	'make -s man && printf ".TH sluiced 8\n.BX\n" >build/man/sluiced.8'
rm -f "$here/build/man/sluiced.8"
green docs
red docs "an option that is missing in its man page" user/man/sluiced.8.scd \
	sed -i 's/--lease-ms/--lese-ms/g' user/man/sluiced.8.scd
green manifests
red manifests "a manifest that does not parse" scripts/kubernetes/new.yaml: append \
	scripts/kubernetes/new.yaml 'a: [1'
red manifests "a variable that is no setting" scripts/kubernetes/sidecar.yaml: \
	sed -i 's/SLUICE_LISTEN/SLUICE_LISTENS/' scripts/kubernetes/sidecar.yaml
red manifests "a volume that is not there" scripts/kubernetes/daemonset.yaml: \
	sed -i 's/- name: bpf$/- name: bpffs/' scripts/kubernetes/daemonset.yaml
red manifests "more rights" scripts/kubernetes/daemonset.yaml: \
	sed -i 's/readOnlyRootFilesystem: true/readOnlyRootFilesystem: false/' \
	scripts/kubernetes/daemonset.yaml
green layers
red layers "the core that includes a library" $ema \
	sed -i '/^#include/i #include <jansson.h>' $ema
exit "$failed"
