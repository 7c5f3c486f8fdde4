#!/bin/bash
# The main job on real input: a snapshot of the Go source tree is mounted, worked in,
# committed, composed and downloaded; first with a directory store, then with S3.
# Every command is printed before it runs, and every claim is checked.
#
# usage: integration/demo.sh [dir] [s3]     (both when none is named)
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
PATH=$here/bin:$here/.cache/bin:$PATH
work=$(mktemp -d "${TMPDIR:-/tmp}/snapfs-demo.XXXXXX")
gateway=

cleanup() {
	status=$?
	cd /
	for m in "$work"/*/mnt*; do
		if [ -d "$m" ]; then snapfs umount --lazy --no-commit -q "$m" >/dev/null 2>&1 || true; fi
	done
	if [ -n "$gateway" ]; then kill "$gateway" 2>/dev/null || true; fi
	chmod -R u+w "$work" 2>/dev/null || true
	rm -rf "$work"
	if [ $status != 0 ]; then echo "demo FAILED (exit $status)"; fi
}
trap cleanup EXIT

say() { printf '\n== %s\n' "$*"; }
run() { printf '$ %s\n' "$*" >&3; "$@"; } # the command goes to the terminal even when its output does not
exec 3>&1
proves() { printf '   -> %s\n' "$*"; }
fail() { printf '   FAILED: %s\n' "$*"; exit 1; }

# field FILE KEY prints one field of a JSON object.
field() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"; }

# entries DIR [links] prints every entry: of files the execute bits, size and time (in
# microseconds), of links where they lead, or with "links" their text.
entries() {
	python3 - "$1" "${2:-times}" <<'PY'
import os, stat, sys
root, mode = sys.argv[1], sys.argv[2]
for d, dirs, files in os.walk(root):
    dirs.sort()
    for n in sorted(dirs + files):
        p = os.path.join(d, n); s = os.lstat(p); r = os.path.relpath(p, root)
        if stat.S_ISLNK(s.st_mode): print(r, "->", os.readlink(p) if mode == "links" else os.path.realpath(p).replace(os.path.realpath(root), "ROOT"))
        elif stat.S_ISDIR(s.st_mode): print(r, "dir")
        else: print(r, oct(s.st_mode & 0o111), s.st_size, s.st_mtime_ns // 1000)
PY
}

make_input() {
	say "The input: the Go source tree, and everything that is hard about names and sizes"
	mkdir -p "$work/dir"
	run cp -r "$(go env GOROOT)/src" "$work/dir/go"
	find "$work/dir" -type f -perm /111 -exec chmod 755 {} + -o -type f -exec chmod 644 {} +
	(
		cd "$work/dir"
		mkdir -p "empty/nested" "odd names"
		printf 'x' >"odd names/with space"
		printf 'x' >"odd names/Ünïcødé 日本語"
		printf 'x' >"odd names/quote\"and\\backslash"
		: >"odd names/empty file"
		printf '#!/bin/sh\necho hello\n' >run.sh && chmod 755 run.sh
		ln -s go/fmt/print.go relative-link
		ln -s "$work/dir/run.sh" absolute-link
		ln -s ../run.sh "odd names/up-link"
		python3 - <<'PY'
import random
r = random.Random(1)
with open("big.bin", "wb") as f:
    for i in range(600): f.write(r.randbytes(1 << 20))
PY
	)
	echo "$(find "$work/dir" -type f | wc -l) files, $(du -sh "$work/dir" | cut -f1)"
}

# story NAME STORE-ARGUMENTS… runs the whole job in a directory of its own.
story() {
	local name=$1
	shift
	local here=$work/$name
	mkdir -p "$here/mnt" "$here/home"
	export HOME=$here/home SNAPFS_CACHE_DIR=$here/cache
	unset XDG_CACHE_HOME XDG_DATA_HOME XDG_STATE_HOME XDG_RUNTIME_DIR 2>/dev/null || true
	export SNAPFS_STORE=$1
	cd "$here"

	say "$name 1: snapshot"
	run snapfs snapshot "$work/dir" -o a.json
	proves "$(grep -o '"mtime"' a.json | wc -l) files in a manifest of $(wc -c <a.json) bytes"

	say "$name 2: mount"
	local before=$(date +%s%N)
	run snapfs mount a.json mnt
	local ms=$((($(date +%s%N) - before) / 1000000))
	[ $ms -lt 1000 ] || fail "mounting took $ms ms"
	run ls mnt
	proves "the mount answered after $ms ms"

	say "$name 3: lazy reading"
	run dd if=mnt/big.bin of=/dev/null bs=64K skip=4800 count=1 status=none
	snapfs status mnt --json >status.json
	local fetched=$(field status.json fetched_bytes)
	[ "$fetched" -lt 9437184 ] || fail "64 KiB of 600 MiB made snapfs fetch $fetched bytes"
	proves "64 KiB in the middle of 600 MiB fetched $fetched bytes"
	run cmp "$work/dir/big.bin" mnt/big.bin
	snapfs status mnt --json >status.json
	fetched=$(field status.json fetched_bytes)
	echo 3 2>/dev/null >/proc/sys/vm/drop_caches || true
	run cmp "$work/dir/big.bin" mnt/big.bin
	snapfs status mnt --json >status.json
	[ "$(field status.json fetched_bytes)" = "$fetched" ] || fail "reading it again fetched more"
	proves "reading all of it, twice, fetched each byte once: $fetched"
	run diff -r "$work/dir" mnt
	diff <(entries "$work/dir") <(entries mnt) || fail "modes or times differ"
	proves "contents, execute bits, times (in microseconds) and links are equal"

	say "$name 4: work in it as programs do"
	work_in_it
	diff <(entries "$work/dir") <(cat "$work/dir.entries") || fail "the base directory was changed"
	run snapfs manifest verify a.json --deep
	proves "the directory that was snapshotted is untouched, and so is every blob"

	say "$name 5: status and commit"
	snapfs status mnt >status.txt
	run head -n 25 status.txt
	grep -q '^R go/net/ -> network/' status.txt || fail "the rename is not in status"
	grep -q '^D go/bytes/bytes.go' status.txt || fail "the deletion is not in status"
	grep -q '^M go/fmt/print.go' status.txt || fail "the edit is not in status"
	run snapfs commit mnt -o d1.json --json >commit.json
	proves "$(field commit.json uploaded_blobs) blobs uploaded, $(field commit.json hashed_bytes) bytes hashed"
	echo "after the first commit" >mnt/after.txt
	rm mnt/run.sh
	cp -a mnt final.expected
	run snapfs umount mnt --diff-out d2.json
	[ -s d2.json ] || fail "unmounting wrote no diff"

	say "$name 6: compose, download, mount again"
	run snapfs compose a.json d1.json d2.json -o b.json
	run snapfs download b.json out
	run diff -r --no-dereference final.expected out
	diff <(entries final.expected links) <(entries out links) || fail "the download differs"
	proves "the download equals the tree that was worked in, file by file, mode by mode, link by link"
	run snapfs mount a.json --diff d1.json --diff d2.json mnt
	run diff -r --no-dereference out mnt
	diff <(entries out links) <(entries mnt links) || fail "the mount differs"
	run snapfs umount mnt
	proves "so does a mount of the base with both diffs"
	run snapfs diff a.json b.json --stat

	say "$name 7: kill -9 in the middle of writing"
	run snapfs mount a.json mnt --overlay overlay
	python3 - mnt/survivors "$here/acknowledged" 2>/dev/null <<'PY' &
import os, sys
os.mkdir(sys.argv[1])
with open(sys.argv[2], "w") as ack:
    for i in range(100000):
        p = f"{sys.argv[1]}/f{i:06}"
        fd = os.open(p, os.O_CREAT | os.O_WRONLY)
        os.write(fd, (f"content {i} " * 100).encode()); os.fsync(fd); os.close(fd)
        ack.write(f"{i}\n"); ack.flush()
PY
	local writer=$!
	sleep 1
	snapfs status mnt --json >status.json
	run kill -9 "$(field status.json pid)"
	wait $writer 2>/dev/null || true
	run snapfs mount a.json mnt --overlay overlay
	python3 - mnt/survivors "$here/acknowledged" <<'PY'
import sys
done = [int(l) for l in open(sys.argv[2]) if l.endswith("\n")]
for i in done:
    want = (f"content {i} " * 100)
    got = open(f"{sys.argv[1]}/f{i:06}").read()
    assert got == want, f"file {i} was lost"
print(f"   -> all {len(done)} files whose fsync had returned are there")
assert len(done) > 10
PY
	run snapfs umount mnt --no-commit || [ $? = 4 ]
	run snapfs commit --overlay overlay -o recovered.json
	proves "and an overlay can be committed without a mount"
	cd "$work"
	chmod -R u+w "$here" && rm -rf "$here"
}

work_in_it() {
	mkdir -p mnt/hello
	cat >mnt/hello/main.go <<'GO'
package main

import "fmt"

func main() { fmt.Println("hello from inside the mount") }
GO
	printf 'module hello\n\ngo 1.21\n' >mnt/hello/go.mod
	(cd mnt/hello && run env GOFLAGS=-mod=mod GOCACHE="$PWD/.gocache" go build -o hello . && run ./hello)
	run sh -c 'echo "// edited" >> mnt/go/fmt/print.go'
	run truncate -s 1000 mnt/go/fmt/scan.go
	run sh -c 'printf new | dd of=mnt/big.bin bs=1 seek=300000000 conv=notrunc status=none'
	run rm mnt/go/bytes/bytes.go
	run chmod +x mnt/go/README.vendor
	run ln -s go/fmt mnt/fmt-link
	run mv mnt/go/net mnt/network
	(cd mnt/go/encoding && run git init -q . && run git add . && run git -c user.name=demo -c user.email=demo@example.com commit -qm first && run git fsck --no-progress)
	run sqlite3 mnt/data.db 'create table t(a); with recursive n(i) as (select 1 union all select i+1 from n where i<5000) insert into t select i from n; select count(*), sum(a) from t;'
	(cd "$work/dir/go" && tar cf - strings) | run tar xf - -C mnt/empty
	run python3 -c 'import mmap
with open("mnt/odd names/mapped", "wb+") as f:
    f.truncate(1 << 20); m = mmap.mmap(f.fileno(), 1 << 20); m[12345:12350] = b"hello"; m.flush(); m.close()
assert open("mnt/odd names/mapped", "rb").read()[12345:12350] == b"hello"'
}

start_s3() {
	say "An S3 server on loopback"
	mkdir -p "$work/s3/data" "$work/s3/iam"
	export AWS_ACCESS_KEY_ID=demo AWS_SECRET_ACCESS_KEY=demo-secret AWS_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true
	port=$(python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])')
	mkdir "$work/s3/data/bucket"
	ROOT_ACCESS_KEY=$AWS_ACCESS_KEY_ID ROOT_SECRET_KEY=$AWS_SECRET_ACCESS_KEY \
		versitygw --port "127.0.0.1:$port" --region us-east-1 posix "$work/s3/data" >"$work/s3/log" 2>&1 &
	gateway=$!
	for _ in $(seq 100); do
		if python3 -c "import socket; socket.create_connection(('127.0.0.1',$port))" 2>/dev/null; then return; fi
		sleep 0.1
	done
	cat "$work/s3/log"
	fail "the S3 server does not answer"
}

make_input
entries "$work/dir" >"$work/dir.entries"
for kind in "${@:-dir s3}"; do
	for k in $kind; do
		case $k in
		dir) mkdir "$work/store" && story dir-store "$work/store" && rm -rf "$work/store" ;;
		s3) start_s3 && story s3-store "s3://bucket/demo?endpoint=http://127.0.0.1:$port&path-style=1" ;;
		*) echo "usage: demo.sh [dir] [s3]" >&2 && exit 2 ;;
		esac
	done
done
say "Everything above was checked. Done."
