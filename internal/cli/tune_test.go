package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnifiedIsADiff: what is printed turns the old text into the new one when patch applies it.
func TestUnifiedIsADiff(t *testing.T) {
	before := strings.Repeat("a\nb\nc\nd\ne\n", 6)
	lines := strings.Split(before, "\n")
	for _, i := range []int{0, 4, 5, 17, 29} {
		lines[i] += "!"
	}
	after := strings.Join(lines, "\n")
	diff := unified("spec.yaml", before, after)
	if n := strings.Count(diff, "@@ -"); n != 3 || unified("spec.yaml", before, before) != "" {
		t.Errorf("%d hunks:\n%s", n, diff)
	}
	patch, err := exec.LookPath("patch")
	if err != nil {
		t.Skip("SKIPPED: patch is not installed; only the number of hunks was checked")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "spec.yaml")
	if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(patch, "-p1", "-d", dir)
	cmd.Stdin = strings.NewReader(diff)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("patch: %v\n%s\n%s", err, out, diff)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != after {
		t.Errorf("patched to %q (%v)", got, err)
	}
}
