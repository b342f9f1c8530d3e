# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# shellcheck shell=sh
# What may come next on a command line, for bash and zsh. The one idea: --help has it all, so no
# list here can be out of date.
#
# _sluice_words PROGRAM WORD...: the last word, which may be empty, is the one to complete. Prints
# candidates, one a line; FILES for the name of a file. After KEY= they are values alone.
_sluice_words() {
	GIVEN=$(printf '%s\n' "$@" .) awk '
		BEGIN {
			n = split(ENVIRON["GIVEN"], word, "\n") - 1
			last = word[n]
			before = word[n - 1]
			if (last ~ /=/) {
				before = substr(last, 1, index(last, "=") - 1)
				last = ""
				value = 1
			}
		}
		/^[A-Z]/ { block = $1 }
		block == "Commands:" && /^  [a-z]/ {
			command = $1
			commands[++c] = command
			if ($2 ~ /^[a-z]/) { # quota set
				under[command] = under[command] "\n" $2
				command = command " " $2
			}
		}
		block == "Commands:" {
			for (s = $0; match(s, /\[--[a-z-]+/); s = substr(s, RSTART + RLENGTH))
				of[command] = of[command] "\n" substr(s, RSTART + 1, RLENGTH - 1)
		}
		/^  --[a-z]/ {
			options[++o] = $1
			if ($0 ~ /^  --[a-z-]+ [^ ]/)
				takes[$1] = $2
		}
		block == "Keys" && /^  [a-z-]+=/ {
			i = index($1, "=")
			keys = keys "\n" substr($1, 1, i)
			takes[substr($1, 1, i - 1)] = substr($1, i + 1)
		}
		function say(words,  i, k, w) {
			k = split(words, w, /[\n|]/)
			for (i = 1; i <= k; i++)
				if (w[i] != "" && !said[w[i]]++)
					print w[i]
		}
		END {
			if (value || before in takes) {
				if (takes[before] ~ /^(FILE|DIR|PATH)$/)
					print "FILES"
				else if (takes[before] ~ /^[a-z0-9-]+(\|[a-z0-9-]+)+$/)
					say(takes[before])
				exit
			}
			for (i = 2; i < n; i++) {
				if (word[i] in takes && word[i] ~ /^--/)
					i++
				else if (word[i] !~ /^-/ && !given)
					given = word[i]
				else if (given in under && word[i] !~ /^-/ && !second)
					second = word[i]
			}
			if (c && given) {
				if (given in under && !second)
					say(under[given])
				if (given == "set")
					say(keys)
				say(of[second ? given " " second : given])
				exit
			}
			for (i = 1; i <= c; i++)
				say(commands[i])
			for (i = 1; i <= o; i++)
				if (!c || options[i] ~ /^--(control|help|version)$/)
					say(options[i])
		}' <<HELP
$("$1" --help 2>/dev/null)
HELP
}
