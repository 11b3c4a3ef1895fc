//go:build !unix

package sluice

// syncDir does nothing where folders cannot be synced; the rename is as durable as the system makes it.
func syncDir(string) error { return nil }
