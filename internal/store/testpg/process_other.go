//go:build !linux

package testpg

import "os/exec"

func pin() {}

func giveAway(string) error { return nil }

// as makes cmd run in dir.
func as(cmd *exec.Cmd, dir string) *exec.Cmd {
	cmd.Dir = dir
	return cmd
}
