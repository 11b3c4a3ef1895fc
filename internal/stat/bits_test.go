package stat

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden digests anew")

// TestStateDigests replays fixed lives and compares the digest of the whole state with one made on another day, and with
// -exec qemu-aarch64 on another machine: a verdict must be computable again bit for bit.
func TestStateDigests(t *testing.T) {
	var got strings.Builder
	for _, cfg := range kinds() {
		l := mustLane(t, cfg)
		// Only integers go in: no function of package math may differ between machines before the lane sees its data.
		rng := rand.New(rand.NewPCG(50, 50))
		for i := range int64(120) {
			l.Step(integerBlock(rng, i, cfg.values()))
		}
		sum := sha256.Sum256(mustJSON(t, l))
		fmt.Fprintf(&got, "%s %s\n", hex.EncodeToString(sum[:]), name(cfg))
	}
	file := filepath.Join("testdata", "digests.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("digests differ: stored verdicts would not replay. If the statistics were changed on purpose: -update\ngot\n%swant\n%s", got.String(), want)
	}
}

func integerBlock(rng *rand.Rand, at int64, values bool) Block {
	b := Block{Second: at, Stage: int(at / 50), Strata: make([]Stratum, 1+rng.IntN(2))}
	for i := range b.Strata {
		s := &b.Strata[i]
		s.Share = 0.25
		for arm, a := range []*Arm{&s.Exposed, &s.Baseline} {
			build := armBuilder{byUnit: arm == 0}
			if values {
				build.hist = histOf(5)
			}
			for range 5 + 20*arm + rng.IntN(20) {
				v := float64(1 + rng.IntN(40)*rng.IntN(40)*(2-arm))
				build.add(rng.IntN(unitBuckets), rng.IntN(20+15*arm) == 0, v)
			}
			*a = build.build()
		}
	}
	return b
}

// TestNoFusedArithmetic compiles the package for a machine with fused multiply-add and looks for one: it rounds once where
// the others round twice, so replays would differ. A division by a power of two counts too, since it becomes a product.
func TestNoFusedArithmetic(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the compiler is not run")
	}
	cmd := exec.Command("go", "build", "-gcflags=-S", "-o", os.DevNull, ".")
	cmd.Env = append(os.Environ(), "GOARCH=arm64", "GOOS=linux", "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "FMULD") {
		t.Fatal("no assembly was printed")
	}
	fused := regexp.MustCompile(`\bFN?M(ADD|SUB)[SD]\b`)
	place := regexp.MustCompile(`\(([^()]*\.go:\d+)\)`)
	seen := map[string]bool{}
	for line := range strings.SplitSeq(string(out), "\n") {
		if !fused.MatchString(line) {
			continue
		}
		if at := place.FindString(line); !seen[at] {
			seen[at] = true
			t.Errorf("fused multiply-add at %s", at)
		}
	}
}
