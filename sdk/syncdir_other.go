//go:build !unix

package sluice

// syncDir does nothing where folders cannot be synced; the rename is as durable as the system makes it.
func syncDir(string) error { return nil }

// lockDir does nothing where folders cannot be locked: processes of one name need folders of their own there.
func lockDir(string) (unlock func(), err error) { return func() {}, nil }
