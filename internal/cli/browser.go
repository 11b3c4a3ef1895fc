package cli

import (
	"os"
	"os/exec"
	"runtime"
)

// browserCommand is the command that opens an address: the one named in BROWSER, else the system's own.
func browserCommand(goos, browser, address string) []string {
	switch {
	case browser != "":
		return []string{browser, address}
	case goos == "darwin":
		return []string{"open", address}
	case goos == "windows":
		return []string{"rundll32", "url.dll,FileProtocolHandler", address}
	}
	return []string{"xdg-open", address}
}

// openBrowser starts the reader's browser at an address and does not wait for it. It fails when the command is missing.
func openBrowser(address string) error {
	args := browserCommand(runtime.GOOS, os.Getenv("BROWSER"), address)
	cmd := exec.Command(args[0], args[1:]...)
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // ends the child's entry in the process table
	return nil
}
