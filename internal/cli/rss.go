package cli

import (
	"bytes"
	"os"
	"strconv"
)

// rssMB is the resident memory of this process in MB (10^6 bytes), 0 where the system does not tell it in /proc.
func rssMB() float64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(b, []byte("VmRSS:"))
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kb, err := strconv.ParseFloat(string(fields[0]), 64)
	if err != nil {
		return 0
	}
	return kb * 1024 / 1e6
}
