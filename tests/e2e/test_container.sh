#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The daemon as scripts/kubernetes runs it: capabilities, variables, mounts, probes and the limit of
# memory are those of the manifests. In the place of a container engine are namespaces, a root of
# its own that is read-only, and setpriv. The network is that of the case's server.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

TOKEN=a-token-for-the-scrapers
URL=http://$S4:9464
mkdir "$T/root" "$T/run" "$T/secrets"
ln -s run/control.sock "$T/control.sock"
echo "$TOKEN" >"$T/secrets/metrics-token"
openssl rand -hex 16 >"$T/secrets/hash-secret"
mock --model m,prefill-ms=1,token-ms=1,tokens=2

# manifest NAME: sets caps, limit, variables, mounts, probes from that manifest's container.
manifest() {
	"$PY" - "$ROOT/scripts/kubernetes/$1.yaml" >"$T/manifest" <<'END'
import shlex, sys, yaml

pod = yaml.safe_load(open(sys.argv[1]))["spec"]["template"]["spec"]
c = next(c for c in pod["containers"] if c["name"] == "sluice")
security, units = c["securityContext"], {"Mi": 1 << 20, "Gi": 1 << 30}
assert security["capabilities"]["drop"] == ["ALL"] and security["readOnlyRootFilesystem"]
memory = c["resources"]["limits"]["memory"]
values = {
    "caps": [",".join(["-all"] + ["+" + x.lower() for x in security["capabilities"]["add"]])],
    "limit": [str(int(memory[:-2]) * units[memory[-2:]])],
    "variables": [f"{e['name']}={e.get('value', 'a-uid')}".replace("$(POD_UID)", "a-uid")
                  for e in c["env"]],
    "mounts": [m["mountPath"] for m in c["volumeMounts"]],
    "probes": [c[p]["httpGet"]["path"]
               for p in ("startupProbe", "livenessProbe", "readinessProbe")],
    "before_stop": c.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", []),
}
for name, items in values.items():
    print(f"{name}=({' '.join(map(shlex.quote, items))})")
END
	caps=() limit=() variables=() mounts=() probes=() before_stop=()
	# shellcheck disable=SC1091 # it has just been written
	. "$T/manifest"
}

# The container, with the arguments of contain(). Its root has what the image has: libraries and the
# programs.
cat >"$T/box.sh" <<'END'
set -euo pipefail
user=$1 bpf=$2 variables=()
shift 2
while [[ $1 != -- ]]; do variables+=("$1"); shift; done
shift
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$T/root"
cd "$T/root"
mkdir usr etc proc sys bpf run run/sluice secrets
ln -s usr/bin usr/sbin usr/lib usr/lib64 .
mount --bind /usr usr
mount -o remount,bind,ro usr
cp /etc/group /etc/passwd /etc/ld.so.cache etc
install -D -m 755 -t app "$B/sluiced" "$B/sluicectl"
if [[ $user != 0 ]]; then # setcap cap_bpf,cap_net_admin,cap_perfmon=ep
	/usr/bin/python3 -c 'import os, struct, sys
os.setxattr(sys.argv[1], "security.capability",
            struct.pack("<5I", 0x02000001, 1 << 12, 0, 1 << (38 - 32) | 1 << (39 - 32), 0))' \
		app/sluiced
fi
mount -t proc proc proc
mount --bind /sys sys
mount -o remount,bind,ro sys
mount --bind "$bpf" bpf
chown "$user" "$T/run"
mount --bind "$T/run" run/sluice
mount -t tmpfs tmpfs secrets
cp "$T"/secrets/* secrets
chown "$user" secrets/*
chmod 400 secrets/*
mount -o remount,ro tmpfs secrets
mount -o remount,ro "$T/root"
exec env -i PATH=/usr/sbin:/usr/bin "${variables[@]}" chroot . setpriv --reuid "$user" \
	--regid "$user" --clear-groups "$@"
END
export T B

# contain USER BPF-DIRECTORY VARIABLE… -- SETPRIV-OPTION… COMMAND…
contain() {
	start daemon "$S" unshare --mount --pid --fork --kill-child bash "$T/box.sh" "$@"
	OUTER=$PID
}
inner() { DAEMON=$(<"/proc/$OUTER/task/$OUTER/children"); DAEMON=${DAEMON% }; }
# Prints CapBnd, CapEff, NoNewPrivs of the daemon.
rights() { awk '/^(CapBnd|CapEff|NoNewPrivs):/ { printf "%s ", $2 }' "/proc/$DAEMON/status"; }
# answer PATH [CURL-OPTION…]: prints the status, from another host.
answer() { on "$C" curl -sS -m 100 -o "$T/body" -w '%{http_code}' "${@:2}" "$URL$1"; }
ready() { [[ $(answer /readyz) == 200 ]] || { cat "$T/body"; return 1; }; }
# memory: the most that the daemon and its maps have taken, in bytes.
memory() {
	local map

	{
		awk '/^VmHWM:/ { print $2 * 1024 }' "/proc/$DAEMON/status"
		for map in "$1"/*; do
			[[ ! -f $map ]] || bpftool -j map show pinned "$map"
		done | grep -o '"bytes_memlock":[0-9]*' | cut -d: -f2
	} | awk '{ sum += $1 } END { printf "%d", sum }'
}

three=000000c000001000 # CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF
two=0000008000001000   # CAP_NET_ADMIN, CAP_BPF

for name in daemonset sidecar; do
	manifest "$name"
	same "$name: the volumes are mounted where the container has directories" \
		"/bpf /run/sluice /secrets" "${mounts[*]}"
	pins=$(printf '%s\n' "${variables[@]}" | sed -n 's,^SLUICE_PIN_DIR=/bpf/,,p')
	# The pins of this case, in the place of the node's; a busy machine must not end the lease.
	mkdir -p "$PIN"
	box=(0 "$PIN" "${variables[@]}" SLUICE_LEASE_MS=60000 -- --inh-caps=-all
		--no-new-privs --bounding-set="${caps[0]}" /app/sluiced)
	contain "${box[@]}"
	await_line daemon ready "$OUTER"
	inner
	check "$name: a probe without credentials finds it ready" eventually 30 ready
	for path in "${probes[@]}"; do
		same "$name: the probe of $path is answered" 200 "$(answer "$path")"
	done
	same "$name: metrics need the token" "401 200" \
		"$(answer /metrics) $(answer /metrics -H "Authorization: Bearer $TOKEN")"
	same "$name: it has no capability but those of the manifest, and keeps two" \
		"$two $three 1 " "$(rights)"
	check "$name: its root is read-only" bash -c "! touch /proc/$DAEMON/root/file"
	check "$name: it pins on the node's BPF file system" test -e "$PIN/$pins/settings"
	ctl quota set "$C4B" requests=1/1h >/dev/null
	same "$name: as in the manifest, it only observes" "200 200" \
		"$(status_from "$C4B" m) $(status_from "$C4B" m)"
	ctl set mode=enforce >/dev/null
	same "$name: it refuses" 429 "$(status_from "$C4B" m)"
	same "$name: it lets others pass" 200 "$(status_from "$C4" m)"
	used=$(memory "$PIN/$pins")
	check "$name: half of the limit of memory holds it: ${limit[0]}" \
		test "$used" -gt 40000000 -a "$used" -lt $((limit[0] / 2))
	finish "$OUTER" KILL
	contain "${box[@]}"
	await_line daemon ready "$OUTER"
	inner
	check "$name: the next container takes over" \
		grep -q "^sluiced: adopted the maps pinned in /bpf/$pins" "$T/daemon.log"
	ctl set mode=enforce >/dev/null
	same "$name: the quota is there yet" 429 "$(status_from "$C4B" m)"
	if [[ $name == sidecar ]]; then
		same "the sidecar detaches before it stops" "/usr/sbin/sluicectl detach" \
			"${before_stop[*]}"
		ctl "${before_stop[@]:1}" >/dev/null
	else
		finish "$DAEMON" # no child of this shell
		wait "$OUTER" || true
		"$B/sluicectl" --control "$T/control.sock" detach --pin-dir "$PIN/$pins" >/dev/null
	fi
	wait "$OUTER" || true
	check "$name: nothing is left" rmdir "$PIN"
done

# ---- another user ----

manifest daemonset
mkdir "$PIN"
chown 65534 "$PIN"
user=(65534 "$PIN" "${variables[@]}" SLUICE_LEASE_MS=60000 --)
# The inner setpriv begins without a capability, as what an engine starts.
contain "${user[@]}" --inh-caps=-all --bounding-set="${caps[0]}" \
	setpriv --no-new-privs /app/sluiced
await_line daemon \
	"sluiced: not permitted: sluiced needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or root"
wait "$OUTER" || true
say_ok "with allowPrivilegeEscalation off, file capabilities give another user nothing"
for way in "file capabilities" "ambient capabilities"; do
	options=(--bounding-set="${caps[0]}" --inh-caps=-all)
	[[ $way == file* ]] || options[1]=--inh-caps=${caps[0]}
	[[ $way == file* ]] || options+=(--ambient-caps="${caps[0]}")
	contain "${user[@]}" "${options[@]}" env /app/sluiced
	await_line daemon ready "$OUTER"
	inner
	same "with $way, another user runs it, on a directory of the BPF file system of its own" \
		"65534 $two $three 1 " \
		"$(awk '/^Uid:/ { print $2 }' "/proc/$DAEMON/status") $(rights)"
	ctl set mode=enforce >/dev/null
	ctl quota set "$C4B" requests=1/1h >/dev/null
	same "with $way, it refuses" "200 429" \
		"$(status_from "$C4B" m) $(status_from "$C4B" m)"
	ctl detach >/dev/null
	wait "$OUTER" || true
done
check "it leaves nothing" rmdir "$PIN"

# ---- the image ----

if command -v dpkg >/dev/null; then
	libraries=$(ldd "$B/sluiced" "$B/sluicectl" | awk '/=> \// { print $3 }' | sort -u)
	direct=$(objdump -p "$B/sluiced" "$B/sluicectl" | awk '/NEEDED/ { print $2 }' | sort -u)
	for library in $direct; do
		file=$(grep -m 1 "/$library$" <<<"$libraries") || continue
		package=$(dpkg -S "$file" 2>/dev/null || dpkg -S "/usr$file" 2>/dev/null ||
			dpkg -S "${file#/usr}")
		package=${package%%:*}
		[[ $package == libc6 ]] || check "the image has $package" \
			grep -qw "$package" "$ROOT/scripts/Containerfile"
	done
fi

done_here
