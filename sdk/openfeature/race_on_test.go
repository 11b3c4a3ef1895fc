//go:build race

package sluiceof_test

const raceEnabled = true
