# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# shellcheck shell=bash
#
# A next version of sluice: this tree with another ABI version, and with other structs in its maps.
# Members are added at the begin, in the middle and at the end, and change their order. A case
# sources lib.sh first.

# shellcheck disable=SC2034 # NEXT, for the case that sources this
# next_version: builds it, unless another case has. $NEXT is its build directory.
next_version() {
	local tree=$B/next of

	NEXT=$tree/build
	of=$(find "$ROOT"/{bpf,include,user} -type f | sort |
		xargs cat "$HERE/next_version.sh" "$ROOT/Makefile" | sha256sum)
	(
		flock 7
		[[ $(cat "$tree/of" 2>/dev/null) != "$of" ]] || exit 0
		rm -rf "$tree"
		build_next_version "$tree"
		echo "$of" >"$tree/of"
	) 7>"$B/next.lock" || exit 1
}

build_next_version() {
	mkdir -p "$1"
	cp -r "$ROOT"/{Makefile,bpf,include,user} "$1"
	"$PY" - "$1/include/sluice/abi.h" "$1/include/sluice/abi_quota.h" <<'END' || {
import re
import sys

BETWEEN = "\0"
text = BETWEEN.join(open(path, encoding="utf-8").read() for path in sys.argv[1:])


def change(was, now):
    global text
    assert text.count(was) == 1, was
    text = text.replace(was, now)


def grow(struct, size):
    """More bytes than asserted."""
    global text
    text, n = re.subn(rf"(_Static_assert\(sizeof\(struct {struct}\) == )", rf"\g<1>{size} + ", text)
    assert n == 1, struct


text, n = re.subn(r"#define SLUICE_ABI_VERSION (\d+)",
                  lambda m: f"#define SLUICE_ABI_VERSION {int(m[1]) + 1}", text)
assert n == 1
# Rules: a member at the begin, two that change places.
change("\t__u64 expires_ns; /* 0: no end */\n\t__u8 allow;\n\t__u8 action;\n",
       "\t__u64 next_ns;\n\t__u8 action;\n\t__u8 allow;\n")
change("OWN_WEIGHT */\n};\n_Static_assert(sizeof(struct sluice_client_flag)",
       "OWN_WEIGHT */\n\t__u64 expires_ns;\n};\n_Static_assert(sizeof(struct sluice_client_flag)")
grow("sluice_client_flag", 8)
# Budgets: another order.
change("\t__u64 token_tat_ns;\n\t__u64 last_seen_ns;\n",
       "\t__u64 last_seen_ns;\n\t__u64 token_tat_ns;\n")
# Quotas and their texts.
change("\t__u64 request_ns, request_span_ns;\n", "\t__u64 next, request_ns, request_span_ns;\n")
grow("sluice_quota", 8)
change("\t__u64 tokens, token_period_ns, token_burst;\n",
       "\t__u64 next, tokens, token_period_ns, token_burst;\n")
grow("sluice_quota_text", 8)
# Prefixes: one at the end. Models: one in the middle, before the nested struct.
change("scales its fair share and its quota */\n",
       "scales its fair share and its quota */\n\t__u64 next;\n")
grow("sluice_prefix", 8)
change("\tstruct sluice_admission admission;\n\t/* Its targets",
       "\t__u64 next;\n\tstruct sluice_admission admission;\n\t/* Its targets")
grow("sluice_model_flag", 8)
# What the programs have under way, and what they have counted.
change("struct sluice_conn {\n", "struct sluice_conn {\n\t__u64 next;\n")
change("\t__u64 rejected;\n\t__u64 last_seen_ns;\n",
       "\t__u64 next;\n\t__u64 last_seen_ns;\n\t__u64 rejected;\n")
grow("sluice_client_count", 8)
# Settings: after the head that all versions share.
change("\t__u32 empty;    /* enum sluice_empty */\n",
       "\t__u64 next;\n\t__u32 empty;    /* enum sluice_empty */\n")
grow("sluice_settings", 8)
for path, part in zip(sys.argv[1:], text.split(BETWEEN)):
    with open(path, "w", encoding="utf-8") as f:
        f.write(part)
END
		say_not_ok "the next version's ABI can be written" "a pattern above does not match"
		exit 1
	}
	sed -i '/^#endif/i MAP(BPF_MAP_TYPE_ARRAY, next_map, __u32, __u64, 1, PINNED);' \
		"$1/bpf/maps.h"
	# Another script of the same data has a hash of its own.
	sed -i '1a -- The next version of the script.' "$1/user/fleet/fleet.lua"
	make -C "$1" -j2 build/sluiced >"$1/make.log" 2>&1 || {
		say_not_ok "the next version can be built" \
			"$(grep -m 3 -E 'error|assert' "$1/make.log" | cut -c 1-300)"
		exit 1
	}
}
