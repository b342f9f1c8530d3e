#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The completions of bash and zsh. Both find commands, options, keys and values in --help.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

export PATH=$B:$PATH
mkdir "$T/files"
touch "$T/files/a.yaml" "$T/files/b c.yaml"
cd "$T/files"

# in_bash LINE, in_zsh LINE: the candidates at its end, in one line.
in_bash() {
	# shellcheck disable=SC2016 # the inner shell expands it
	bash -c 'source "$1"; COMP_LINE=$2 COMP_POINT=${#2}; _sluice; echo "${COMPREPLY[*]}"' - \
		"$B/completion/bash" "$1"
}
# In zsh, compadd and _files are of the completion system. These print what they are given.
in_zsh() {
	# shellcheck disable=SC2016 # the inner shell expands it
	zsh -fc 'compset() { :; }
		_files() { print -l -- * }
		compadd() { print -l -- ${@[$@[(i)--]+1,-1]}; }
		words=(${=2}); [[ $2 != *" " ]] || words+=("")
		CURRENT=${#words}
		last=${words[CURRENT]#*=}
		source $1 | while read -r word; do
			[[ -z $word || $word != $last* ]] || print -r -- $word
		done' - "$B/completion/_sluice" "$1" | paste -sd ' '
}

while IFS='|' read -r line want; do
	for shell in bash zsh; do
		same "$shell completes '$line'" "$want" "$("in_$shell" "$line")"
	done
done <<'LINES'
sluicectl sta|status
sluicectl cle|clear
sluicectl --control /x cl|clients clear
sluicectl --ve|--version
sluicectl quota |set show clear
sluicectl quota set 10.0.0.1 --|--model --fleet --json
sluicectl clients --by |requests tokens in-flight rejected last-seen
sluicectl clients --by last|last-seen
sluicectl clients --s|--service
sluicectl explain 10.0.0.1 --b|--bytes
sluicectl set mode=|enforce shadow
sluicectl set mode=s|shadow
sluicectl set tt|ttft=
sluicectl set ttft=|
sluicectl set --model m po|policy=
sluiced --ch|--check
sluiced --xdp |auto native generic off
sluiced --mode=sh|shadow
sluiced --lease-ms |
sluiced --config b|b c.yaml
sluiced --check a|a.yaml
sluice-sim --tr|--trace --trace-model
LINES

# Nothing of --help is missing.
for program in sluicectl sluiced sluice-sim; do
	options=$("$program" --help | sed -nE 's/^  (--[a-z-]+)( .*)?$/\1/p' | sort)
	[[ $program != sluicectl ]] || options=$(printf -- '--control\n--help\n--version')
	same "the completion of $program has each of its options" "$options" \
		"$(in_bash "$program --" | tr ' ' '\n' | sort)"
done
commands=$(sluicectl --help | sed -n '/^Commands:/,/^Options:/s/^  \([a-z][a-z]*\) .*/\1/p' |
	sort -u)
same "the completion of sluicectl has each command" "$commands" \
	"$(in_bash 'sluicectl ' | tr ' ' '\n' | grep -v '^--' | sort)"

done_here
