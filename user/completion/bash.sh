# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# shellcheck shell=bash
# The part of bash; words.sh comes before it.
_sluice() {
	local line=${COMP_LINE:0:COMP_POINT} words last word

	read -ra words <<<"$line"
	[[ $line != *' ' ]] || words+=('')
	last=${words[-1]#*=} # bash completes what comes after the equals sign
	COMPREPLY=()
	while read -r word; do
		if [[ $word == FILES ]]; then
			compopt -o filenames 2>/dev/null
			mapfile -t COMPREPLY < <(compgen -f -- "$last")
		elif [[ $word == "$last"* ]]; then
			COMPREPLY+=("$word")
		fi
	done < <(_sluice_words "${words[@]}")
	[[ ${#COMPREPLY[@]} != 1 || ${COMPREPLY[0]} != *= ]] || compopt -o nospace 2>/dev/null
}
complete -F _sluice sluicectl sluiced sluice-sim
