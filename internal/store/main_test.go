package store_test

import (
	"fmt"
	"os"
	"testing"

	"sluice.dev/sluice/internal/store/testpg"
)

// TestMain also is the program that some tests run as a child process, to be killed or to fill a disk of its own.
func TestMain(m *testing.M) {
	children := map[string]func(dir string) error{"append": appendForever, "full": fillDisk}
	if child, ok := children[os.Getenv("SLUICE_STORE_CHILD")]; ok {
		if err := child(os.Getenv("SLUICE_STORE_DIR")); err != nil {
			fmt.Println("child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(testpg.Main(m))
}
