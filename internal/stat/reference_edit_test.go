package stat

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// complaints collects what checks say.
type complaints []string

// Errorf keeps a complaint.
func (c *complaints) Errorf(format string, args ...any) {
	*c = append(*c, fmt.Sprintf(format, args...))
}

// unread are numbers that hardly any value depends on: tolerances, tuning, and what only the original's generator needs.
var unread = []string{"tol", "tol_estimate", "tolerance", "n_comparisons", "numpy_seed", "window", "stat", "min_instances", "delta", "threshold", "alpha", "alpha_opt", "seed"}

// numbersIn lists the paths of all numbers below a value.
func numbersIn(v any, at string, out *[]string) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if !slices.Contains(unread, k) {
				numbersIn(v[k], at+"\x00"+k, out)
			}
		}
	case []any:
		for i, e := range v {
			numbersIn(e, fmt.Sprint(at, "\x00", i), out)
		}
	case float64:
		*out = append(*out, at)
	}
}

// edited returns a copy of v in which the number at a path is about a third larger or smaller.
func edited(v any, path []string) any {
	switch v := v.(type) {
	case map[string]any:
		v = maps.Clone(v)
		v[path[0]] = edited(v[path[0]], path[1:])
		return v
	case []any:
		v = slices.Clone(v)
		var i int
		_, _ = fmt.Sscan(path[0], &i) // written by numbersIn
		v[i] = edited(v[i], path[1:])
		return v
	}
	x, _ := v.(float64)
	switch {
	case x >= 1 || x <= 0:
		return float64(int(x*4/3)) + 3
	case x > 0.7: // probabilities stay some
		return x * 2 / 3
	}
	return x * 4 / 3
}

// TestReferenceNoticesEdits: a number changed in a file is noticed. A few numbers of every kind are tried; in lists of
// measurements, where one more outlier changes no verdict, not each of them matters.
func TestReferenceNoticesEdits(t *testing.T) {
	base := os.Getenv("SLUICE_TESTDATA")
	if base == "" {
		t.Skip("SKIPPED: NO REFERENCE VALUES WERE EDITED: set SLUICE_TESTDATA")
	}
	files, err := filepath.Glob(filepath.Join(base, "reference", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no JSON files: %v", err)
	}
	r := rand.New(rand.NewPCG(41, 42))
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var members map[string]any
		if err := json.Unmarshal(data, &members); err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		for _, kind := range slices.Sorted(maps.Keys(members)) {
			if !slices.Contains(remarks, kind) {
				tryEdits(t, r, name, kind, members[kind])
			}
		}
	}
}

func tryEdits(t *testing.T, r *rand.Rand, file, kind string, v any) {
	var paths []string
	numbersIn(v, "", &paths)
	for range min(len(paths), 2) {
		path := paths[r.IntN(len(paths))]
		if measurements(path) {
			continue
		}
		raw, err := json.Marshal(map[string]any{kind: edited(v, strings.Split(path, "\x00")[1:])})
		if err != nil {
			t.Fatal(err)
		}
		var said complaints
		(&checker{t: &said}).file(file, raw)
		if len(said) == 0 {
			t.Errorf("%s/%s: a change at %s is not noticed", file, kind, strings.ReplaceAll(path, "\x00", "/"))
		}
	}
}

// measurements are samples, and histograms that have nothing in common wherever they lie.
func measurements(path string) bool {
	return slices.ContainsFunc([]string{"control", "experiment", "x", "y", "jsd_histograms"}, func(list string) bool {
		return strings.Contains(path, "\x00"+list+"\x00")
	})
}
