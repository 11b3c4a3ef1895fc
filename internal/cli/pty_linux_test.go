package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func init() { scriptCmds["onterminal"] = cmdOnTerminal }

// cmdOnTerminal: `onterminal WIDTH INPUT sluice ...` runs a command on a pseudo terminal. INPUT is typed, its "~" being a
// pause of 300 ms. The file "screen" gets everything that was written, and "status" the exit code.
func cmdOnTerminal(ts *testscript.TestScript, neg bool, args []string) {
	control, tty, err := openPTY(args[0])
	ts.Check(err)
	defer control.Close()
	cmd := exec.Command(lookPath(ts, args[2]), args[3:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "SLUICE_SERVER", "SLUICE_TOKEN", "NO_COLOR", "TERM"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	ts.Check(cmd.Start())
	ts.Check(tty.Close())
	var screen bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&screen, control) // ends with an error when the last writer has closed
	}()
	for i, keys := range strings.Split(args[1], "~") {
		if i > 0 {
			time.Sleep(300 * time.Millisecond)
		}
		_, err := control.WriteString(strings.NewReplacer(`\n`, "\n", `\r`, "\r", "^C", "\x03").Replace(keys))
		ts.Check(err)
	}
	err = cmd.Wait()
	<-read
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Check(err)
	}
	ts.Check(os.WriteFile(ts.MkAbs("screen"), screen.Bytes(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("status"), fmt.Appendf(nil, "%d\n", cmd.ProcessState.ExitCode()), 0o600))
}

func lookPath(ts *testscript.TestScript, name string) string {
	for _, dir := range strings.Split(ts.Getenv("PATH"), ":") {
		if p := dir + "/" + name; fileExists(p) {
			return p
		}
	}
	ts.Fatalf("no %s in %s", name, ts.Getenv("PATH"))
	return ""
}

func fileExists(p string) bool {
	_, err := os.Stat(p)
	return err == nil
}

// openPTY opens a pseudo terminal of 40 lines.
func openPTY(width string) (control, tty *os.File, err error) {
	var cols uint16
	if _, err := fmt.Sscan(width, &cols); err != nil {
		return nil, nil, err
	}
	if control, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		return nil, nil, err
	}
	fd := int(control.Fd())
	n, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: cols})
	}
	if err == nil {
		tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, control.Close())
	}
	return control, tty, nil
}
