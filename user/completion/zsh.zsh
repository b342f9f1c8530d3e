# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The part of zsh; words.sh comes before it.
_sluice() {
	local word
	local -a found

	for word in ${(f)"$(_sluice_words "${(@)words[1,CURRENT]}")"}; do
		if [[ $word == FILES ]]; then
			compset -P '*='
			_files
			return
		fi
		found+=("$word")
	done
	[[ $words[CURRENT] != *=* ]] || compset -P '*='
	compadd -- ${found:#*=}
	compadd -S '' -- ${(M)found:#*=}
}
_sluice "$@"
