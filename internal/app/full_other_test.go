//go:build !linux

package app_test

func serveOnSmallDisk() {}
