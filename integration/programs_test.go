package integration

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// A program is something that people do in a directory, as a script of bash that fails
// when anything is not as it would be on a disk. It starts in the mount, where src/ and
// big.bin come from the base; $OUT is a directory elsewhere.
type aProgram struct {
	name   string
	needs  []string // commands, beside those of every system
	script string
}

// afterwards is what holds for every program: the mount can be committed, and base and
// diff together make what it shows.
func afterwards(t *testing.T, w *world) {
	t.Helper()
	mounted := tree(t, w.path("mnt"))
	w.ok("commit", "mnt", "-o", "d.json")
	w.ok("compose", "a.json", "d.json", "-o", "b.json")
	w.ok("download", "b.json", "out")
	same(t, tree(t, w.path("out")), mounted)
	if s := w.status("mnt"); len(s.Changes) > 0 {
		t.Errorf("after the commit there are still changes: %v", s.lines())
	}
	w.ok("umount", "mnt")
}

// plantSources makes the base that the programs find: a small program in Go, some data,
// links, and an executable file.
func plantSources(w *world) {
	w.t.Helper()
	for i := range 40 {
		w.write(fmt.Sprintf("project/src/data/f%02d.txt", i), strings.Repeat(fmt.Sprintf("line %d\n", i), 50*i))
	}
	w.write("project/src/go.mod", "module example.org/hello\n\ngo 1.21\n")
	w.write("project/src/main.go", "package main\n\nimport \"example.org/hello/greet\"\n\nfunc main() { println(greet.Text()) }\n")
	w.write("project/src/greet/greet.go", "package greet\n\nfunc Text() string { return \"hello\" }\n")
	w.write("project/big.bin", strings.Repeat("0123456789abcdef", 300_000))
	w.write("project/src/run.sh", "#!/bin/sh\necho ran\n")
	w.shell("chmod +x project/src/run.sh && ln -s data/f01.txt project/src/link && ln -s data project/src/dirlink")
}

// Programs that people use work in a mount as they do on a disk, and what they have done
// is what a commit publishes.
func TestPrograms(t *testing.T) {
	for _, p := range programs() {
		t.Run(p.name, func(t *testing.T) {
			for _, name := range p.needs {
				if _, err := exec.LookPath(name); err != nil {
					t.Skipf("%s is not installed", name)
				}
			}
			if testing.Short() {
				t.Skip("runs real programs")
			}
			w := newWorld(t)
			plantSources(w)
			w.mkdir("elsewhere")
			w.env = append(w.env, "OUT="+w.path("elsewhere"), "GOFLAGS=-mod=mod", "GOTOOLCHAIN=local")
			w.ok("snapshot", "project", "-o", "a.json")
			w.ok("mount", "a.json", "mnt")
			w.shell("cd mnt\n" + p.script)
			afterwards(t, w)
		})
	}
}

func programs() []aProgram {
	return append(builders(), keepers()...)
}

// builders are programs that make many files.
func builders() []aProgram {
	return []aProgram{
		{"git", []string{"git"}, `
			export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
			cd src; git init -q -b main .; git add .; git commit -qm first; cd ..
			git clone -q src clone; cd clone
			for i in 1 2 3 4 5; do echo $i >> data/f01.txt; git commit -qam "change $i"; done
			git checkout -q -b side HEAD~2; git mv data/f02.txt moved.txt; git commit -qm move; git merge -q main -m merge
			git gc -q --aggressive --prune=now
			git fsck --strict --no-progress
			git stash list; test -z "$(git status --porcelain)"
			git push -q ../src side; git -C ../src log --oneline side | wc -l | grep -qx 8
			git worktree add -q ../tree main; test -f ../tree/main.go`},
		{"go build", []string{"go"}, `
			export GOCACHE=$PWD/gocache GOPATH=$PWD/gopath GOTMPDIR=$PWD
			cd src; go build -o ../hello .; test "$(../hello 2>&1)" = hello
			sed -i s/hello/again/ greet/greet.go; go build -o ../hello .; test "$(../hello 2>&1)" = again
			go vet ./...; go list -deps . >/dev/null`},
		{"tar", []string{"tar"}, `
			tar -C src -cf $OUT/src.tar .; mkdir back; tar -C back -xpf $OUT/src.tar
			diff -r --no-dereference src back
			tar -C src -cf - . | tar -C back -xf - --overwrite
			tar -czf packed.tgz src; tar -xzf packed.tgz -C $OUT; diff -r --no-dereference src $OUT/src
			truncate -s 50M sparse; printf x | dd of=sparse bs=1 seek=30000000 conv=notrunc status=none
			tar -cSf sparse.tar sparse; test $(stat -c %s sparse.tar) -lt 1000000; tar -xOf sparse.tar | cmp - sparse`},
		{"rsync", []string{"rsync"}, `
			rsync -aH src/ copy/; rsync -aHn --itemize-changes --checksum src/ copy/ | { ! grep -v '^\.d'; }
			echo more >> src/data/f03.txt; rm src/data/f04.txt
			rsync -a --delete --inplace src/ copy/; diff -r --no-dereference src copy
			rsync -a copy/ $OUT/away/; rsync -a --delete $OUT/away/ back/; diff -r --no-dereference copy back
			test "$(stat -c %y copy/data/f03.txt)" = "$(stat -c %y back/data/f03.txt)"`},
		{"dpkg-deb", []string{"dpkg-deb"}, `
			mkdir -p pkg/DEBIAN pkg/usr/share/hello; cp src/data/*.txt pkg/usr/share/hello; chmod 755 pkg pkg/DEBIAN
			printf 'Package: hello\nVersion: 1.0\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: test\n' > pkg/DEBIAN/control
			dpkg-deb --root-owner-group -b pkg hello.deb >/dev/null; dpkg-deb -x hello.deb opened
			diff -r pkg/usr opened/usr; dpkg-deb -I hello.deb | grep 'Package: hello'`},
		{"many small files", []string{"python3"}, `
			python3 - <<-'PY'
			import os, json, shutil
			for p in range(60):
			    d = f"node_modules/@scope/pkg{p}"
			    os.makedirs(d + "/lib")
			    for i in range(25):
			        tmp = f"{d}/lib/.tmp{i}"
			        with open(tmp, "w") as f: f.write(f"module.exports = {i}\n" * (i + 1))
			        os.rename(tmp, f"{d}/lib/m{i}.js")
			    with open(d + "/package.json", "w") as f: json.dump({"name": f"pkg{p}"}, f)
			os.makedirs("node_modules/.bin")
			for p in range(60): os.symlink(f"../@scope/pkg{p}/lib/m1.js", f"node_modules/.bin/pkg{p}")
			shutil.rmtree("node_modules/@scope/pkg7"); os.unlink("node_modules/.bin/pkg7")
			os.rename("node_modules/@scope", "node_modules/@other"); os.rename("node_modules/@other", "node_modules/@scope")
			PY
			test $(find node_modules -type f | wc -l) = 1534`},
		{"npm", []string{"npm"}, `
			mkdir -p app dep/lib; cd dep; printf '{"name":"dep","version":"1.0.0","bin":{"dep":"lib/a.js"}}' > package.json
			printf '#!/usr/bin/env node\nconsole.log("dep")\n' > lib/a.js
			tgz=$PWD/$(npm pack --silent --cache=$OUT/npm); cd ../app; echo '{"name":"app","version":"1.0.0"}' > package.json
			npm install --silent --offline --no-audit --no-fund --cache=$OUT/npm "$tgz"
			test "$(node_modules/.bin/dep)" = dep`},
	}
}

// keepers are programs that change files in place, lock them, or depend on what the
// system tells about them.
func keepers() []aProgram {
	return []aProgram{
		{"sqlite in WAL mode with two processes", []string{"sqlite3"}, `
			sqlite3 t.db 'pragma journal_mode=wal; create table t(who, n);' | grep -qx wal
			work() { for i in $(seq 40); do sqlite3 -cmd '.timeout 20000' t.db "begin immediate; insert into t values('$1', $i); commit;"; done; }
			work a & one=$!; work b & two=$!; wait $one; wait $two
			test "$(sqlite3 t.db 'select count(*), sum(n) from t')" = "80|1640"
			test "$(sqlite3 t.db 'pragma integrity_check')" = ok
			sqlite3 t.db 'pragma wal_checkpoint(truncate); vacuum;' >/dev/null; sqlite3 t.db .dump > dump.sql`},
		{"python with __pycache__", []string{"python3"}, `
			mkdir -p lib/pkg; echo 'from .b import x' > lib/pkg/__init__.py; echo 'x = 1' > lib/pkg/b.py
			export PYTHONPATH=lib; unset PYTHONDONTWRITEBYTECODE; test "$(python3 -c 'import pkg; print(pkg.x)')" = 1
			ls lib/pkg/__pycache__/b.*.pyc; sleep 1.1
			echo 'x = 22' > lib/pkg/b.py; test "$(python3 -c 'import pkg; print(pkg.x)')" = 22
			python3 -m compileall -q -f lib; python3 -m zipfile -c lib.zip lib/`},
		{"saving as editors do", []string{"python3"}, `
			ino=$(stat -c %i src/main.go); cp -p src/main.go src/.main.go.swp
			{ cat src/main.go; echo '// edited'; } > src/main.go~; sync src/main.go~; chmod --reference=src/main.go src/main.go~; mv src/main.go~ src/main.go; rm src/.main.go.swp
			grep -q edited src/main.go; test $(stat -c %i src/main.go) != $ino; ! ls src/*~ 2>/dev/null
			mv src/data/f05.txt src/data/f05.txt~; printf new > src/data/f05.txt; rm src/data/f05.txt~
			sed -i s/new/newer/ src/data/f05.txt; test "$(cat src/data/f05.txt)" = newer
			python3 - <<-'PY'
			import os
			fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o644)
			os.write(fd, b"atomic")
			os.link(f"/proc/self/fd/{fd}", "linked", src_dir_fd=fd)
			PY
			test "$(cat linked)" = atomic`},
		{"vim", []string{"vim"}, `
			vim -u NONE -es -c 'set nocompatible backup writebackup backupcopy=no backupskip= backupdir=.' -c '%s/line/LINE/' -c wq src/data/f09.txt </dev/null
			grep -q LINE src/data/f09.txt; grep -q line src/data/f09.txt~; ! ls -a src/data | grep -q swp`},
		{"a file locked by two processes", []string{"flock", "python3"}, `
			echo 0 > n
			count() { for i in $(seq 30); do flock lock -c 'read v < n; echo $((v + 1)) > n'; done; }
			count & one=$!; count & two=$!; wait $one; wait $two; test "$(cat n)" = 60
			python3 - <<-'PY'
			import fcntl, os, subprocess, sys
			child = """import fcntl, sys
			f = open("records", "r+b")
			try: fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, %d)
			except OSError: sys.exit(9)"""
			open("records", "wb").write(bytes(100))
			f = open("records", "r+b")
			fcntl.lockf(f, fcntl.LOCK_EX, 10, 20)
			run = lambda at: subprocess.run([sys.executable, "-c", child.replace("\t", "") % at]).returncode
			assert run(25) == 9, "another process got a range that is locked"
			assert run(0) == 0, "another process did not get a range that is free"
			fcntl.lockf(f, fcntl.LOCK_UN, 10, 20)
			assert run(25) == 0, "another process did not get a range that was unlocked"
			PY`},
		{"cp --reflink=auto", nil, `
			cp --reflink=auto big.bin copy.bin; cmp big.bin copy.bin; cp --reflink=auto -a src src2; diff -r --no-dereference src src2
			! cp --reflink=always big.bin never.bin 2>/dev/null; rm -f never.bin
			cp --sparse=always big.bin sparse.bin; cmp big.bin sparse.bin
			cp $OUT/../a.json in.json; cp --reflink=auto big.bin $OUT/big.bin; cmp big.bin $OUT/big.bin; cp --reflink=auto $OUT/big.bin again.bin; cmp again.bin big.bin`},
		{"find, du and ls", nil, `
			cp -a src $OUT/plain
			list() { (cd $1; find . -printf '%P %y %m %l %T@ ' -type f -printf '%s %n' -o -printf '\n' | sed 's/\.\([0-9]\{6\}\)[0-9]* /.\1 /' | sort); }
			kinds() { (cd $1; find . -printf '%P %y %l\n' | sort); }
			diff <(kinds src) <(kinds $OUT/plain)
			files() { (cd $1; find . -type f -printf '%P %m %s %n %U %G %TY-%Tm-%Td %TH:%TM\n' | sort); }
			diff <(files src) <(files $OUT/plain)
			diff <(cd src; ls -lR --time-style=+ | grep -v '^total\|^d') <(cd $OUT/plain; ls -lR --time-style=+ | grep -v '^total\|^d')
			diff <(cd src; du -ab --exclude=. | grep txt | sort) <(cd $OUT/plain; du -ab --exclude=. | grep txt | sort)
			test $(du -sm big.bin | cut -f1) -le 5; test $(find . -links 1 -name f01.txt | wc -l) = 1
			find src -name '*.txt' -size +1k -delete; find src -type d -empty`},
		{"mapped writes", []string{"python3"}, `
			python3 - <<-'PY'
			import mmap
			with open("big.bin", "r+b") as f:
			    m = mmap.mmap(f.fileno(), 0)
			    m[5000:5005] = b"HELLO"
			    m[4700000:4700003] = b"END"
			    m.flush()
			with open("fresh.bin", "w+b") as f:
			    f.truncate(1 << 20)
			    m = mmap.mmap(f.fileno(), 0)
			    for i in range(0, 1 << 20, 4099): m[i] = 7
			    private = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY)
			    private[0:3] = b"not"
			data = open("fresh.bin", "rb").read()
			assert data[0] == 7 and data[4099] == 7 and data.count(7) == 256, data.count(7)
			assert open("big.bin", "rb").read()[5000:5005] == b"HELLO"
			PY`},
	}
}
