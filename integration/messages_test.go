package integration

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Whoever mounts again goes on with the changes that were kept, and is told.
func TestMountSaysWhatItResumes(t *testing.T) {
	w := small(t)
	if r := w.run("mount", "a.json", "mnt"); r.code != 0 || strings.Contains(r.stderr, "resumed") {
		t.Fatalf("the first mount: %+v", r)
	}
	w.write("mnt/new", "1")
	w.write("mnt/newer", "2")
	w.run("umount", "mnt", "--no-commit")
	r := w.run("mount", "a.json", "mnt")
	if r.code != 0 || !strings.Contains(r.stderr, "resumed 2 changes kept from the mount of ") {
		t.Fatalf("the second mount: %+v", r)
	}
	w.run("umount", "mnt", "--no-commit")
	var started struct {
		Resumed struct {
			Changes int
			Since   time.Time
		}
	}
	w.decode(w.ok("mount", "a.json", "mnt", "--json"), &started)
	if started.Resumed.Changes != 2 || time.Since(started.Resumed.Since) > time.Hour {
		t.Errorf("the third mount resumed %+v", started.Resumed)
	}
	w.ok("umount", "mnt")
}

// A user may stand in the mount when he unmounts: it is his shell that is in the way
// then, not the command.
func TestUmountIsNoHolder(t *testing.T) {
	w := small(t)
	w.ok("mount", "a.json", "mnt")
	r := w.exec("sh", "-c", "cd mnt && "+program+" umount ../mnt; echo $?")
	if strings.TrimSpace(r.stdout) != "11" || !strings.Contains(r.stderr, "sh (pid ") || strings.Contains(r.stderr, "snapfs (pid ") {
		t.Errorf("with a shell in the mount: %+v", r)
	}
	r = w.exec("sh", "-c", "cd mnt && exec "+program+" umount ../mnt")
	if r.code != 0 {
		t.Errorf("with nobody else in the mount: %+v", r)
	}
}

// Each signal has its exit code.
func TestSignalsHaveTheirCodes(t *testing.T) {
	w := newHome(t)
	for sig, want := range map[syscall.Signal]int{syscall.SIGHUP: 129, syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		cmd := exec.Command(program, "manifest", "show", "-", "--json")
		cmd.Env, cmd.Dir = w.env, w.dir
		var out bytes.Buffer
		cmd.Stdout = &out
		stdin, err := cmd.StdinPipe() // on which it waits
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
		_ = cmd.Process.Signal(sig)
		time.Sleep(100 * time.Millisecond)
		stdin.Close()
		_ = cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("%v: exit code %d, want %d; %s", sig, got, want, out.String())
		}
	}
}

// Files and directories that cannot be read are all named before anything is uploaded,
// with what to do about them.
func TestUnreadableFilesAreNamed(t *testing.T) {
	w := newHome(t)
	w.write("tree/good", "good")
	w.write("tree/secret", "secret")
	w.write("tree/sub/deep", "deep")
	for _, name := range []string{"tree/secret", "tree/sub"} {
		if err := os.Chmod(w.path(name), 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(w.path("tree/sub"), 0o755) })
	as := w.asNobody()
	r := as("snapshot", "tree", "-o", "m.json", "--store", "store")
	for _, word := range []string{"tree/secret: open: permission denied", "tree/sub: open: permission denied", "--exclude"} {
		if r.code != 6 || !strings.Contains(r.stderr, word) {
			t.Errorf("exit code %d without %q: %s", r.code, word, r.stderr)
		}
	}
	if r := as("snapshot", "tree", "-o", "m.json", "--store", "store", "-e", "secret", "-e", "sub"); r.code != 0 {
		t.Errorf("without them: %+v", r)
	}
}

// asNobody returns a function that runs snapfs as a user without privileges, to whom
// everything of w belongs then.
func (w *world) asNobody() func(args ...string) result {
	if os.Geteuid() != 0 {
		return w.run
	}
	const nobody = 65534
	if out, err := exec.Command("chown", "-R", "nobody", w.dir).CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
	if err := os.Chmod(filepath.Dir(w.dir), 0o755); err != nil {
		w.t.Fatal(err)
	}
	return func(args ...string) result {
		w.t.Helper()
		self, err := os.Open(program) // it lies where only root may look
		if err != nil {
			w.t.Fatal(err)
		}
		defer self.Close()
		var stdout, stderr bytes.Buffer
		cmd := exec.Command("/proc/self/fd/3", args...)
		cmd.ExtraFiles, cmd.Dir, cmd.Stdout, cmd.Stderr = []*os.File{self}, w.dir, &stdout, &stderr
		cmd.Env = w.env
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		err = cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			w.t.Fatal(err)
		}
		return result{stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode()}
	}
}
