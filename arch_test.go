package sluice_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "sluice.dev/sluice/"
	sdkMod = "sluice.dev/sdk"
)

// pureTypes are the pure packages whose values adapters may use.
var pureTypes = []string{
	"internal/stat", "internal/anomaly", "internal/judge", "internal/plan", "internal/policy", "internal/revision", "internal/lineage",
	"internal/fleet", "internal/rollout", "internal/engine", "internal/audit", "sdk/flag", "sdk/evidence", "sdk/slp",
}

var adapters = []string{"internal/store", "internal/metrics", "internal/ingest", "internal/push", "internal/httpapi", "internal/ofrep", "internal/webui", "internal/integration"}

type room struct {
	pure bool     // no I/O, clock, chance, logging, context, goroutine
	may  []string // what of ours it may import, besides itself
}

// house is the import table. A package that is not here does not exist: add it with an ADR.
var house = map[string]room{
	"cmd/sluice":               {may: []string{"internal/cli"}},
	"sdk":                      {may: []string{"sdk/flag", "sdk/evidence", "sdk/slp"}},
	"sdk/openfeature":          {may: []string{"sdk", "sdk/flag", "sdk/slp"}}, // a module of its own
	"sdk/fence":                {},
	"sdk/fence/fencetest":      {may: []string{"sdk/fence"}},
	"sdk/flag":                 {pure: true},
	"sdk/evidence":             {pure: true},
	"sdk/internal/mutant":      {},
	"sdk/slp":                  {pure: true, may: []string{"sdk/flag", "sdk/evidence", "sdk/internal/mutant"}},
	"internal/stat":            {pure: true, may: []string{"sdk/evidence"}},
	"internal/anomaly":         {pure: true, may: []string{"internal/stat"}},
	"internal/judge":           {pure: true, may: []string{"internal/stat", "sdk/evidence", "sdk/flag"}},
	"internal/bench":           {pure: true, may: []string{"internal/judge", "internal/stat", "sdk/evidence"}},
	"internal/plan":            {pure: true, may: []string{"internal/judge", "internal/stat", "sdk/flag", "sdk/evidence"}},
	"internal/profile":         {pure: true, may: []string{"internal/stat"}},
	"internal/tune":            {pure: true, may: []string{"internal/plan", "internal/judge", "sdk/evidence"}},
	"internal/table":           {may: []string{"internal/profile"}},
	"internal/policy":          {pure: true, may: []string{"internal/plan", "sdk/flag"}},
	"internal/revision":        {pure: true, may: []string{"internal/mutant", "sdk/flag"}},
	"internal/lineage":         {pure: true, may: []string{"internal/revision"}},
	"internal/fleet":           {pure: true, may: []string{"internal/mutant", "internal/revision", "sdk/slp"}},
	"internal/rollout":         {pure: true, may: []string{"internal/mutant", "internal/plan", "internal/policy", "internal/judge", "internal/revision", "internal/fleet", "sdk/flag"}},
	"internal/audit":           {pure: true},
	"internal/engine":          {pure: true, may: append([]string{"internal/mutant"}, pureTypes...)},
	"internal/report":          {pure: true, may: []string{"internal/audit", "internal/rollout", "internal/judge", "internal/plan", "internal/policy", "internal/fleet", "internal/lineage", "sdk/flag"}},
	"internal/store":           {may: []string{"internal/fail", "internal/audit", "internal/revision"}},
	"internal/store/testpg":    {},
	"internal/store/storetest": {may: []string{"internal/store", "internal/audit"}},
	"internal/fail":            {},
	"internal/lead":            {may: []string{"internal/store"}},
	"internal/control":         {may: append([]string{"internal/fail", "internal/store", "internal/mutant"}, pureTypes...)},
	"api/flagd/sync/v1":        {},
	"api/flagd/evaluation/v2":  {},
	"internal/ofrep":           {may: []string{"api/flagd/sync/v1", "api/flagd/evaluation/v2", "sdk/flag"}},
	"internal/push":            {may: append([]string{"internal/fail", "internal/control", "internal/ofrep"}, pureTypes...)},
	"internal/httpapi":         {may: append([]string{"internal/control", "internal/report", "internal/store"}, pureTypes...)},
	"internal/webui":           {},
	"internal/client":          {},
	"internal/app":             {may: slices.Concat([]string{"internal/control", "internal/tune", "internal/fail", "internal/lead"}, adapters, pureTypes)},
	"internal/agent":           {may: []string{"sdk", "sdk/flag", "sdk/slp", "internal/ofrep"}},
	"internal/demo":            {may: []string{"sdk", "sdk/flag", "internal/client", "internal/demo/flights"}},
	"internal/demo/flights":    {pure: true, may: []string{"sdk/flag"}},
	"internal/mutant":          {},
	"internal/vtime":           {pure: true},
	"internal/sim":             {may: slices.Concat([]string{"internal/store", "internal/report", "internal/demo/flights", "internal/vtime"}, pureTypes)},
	"internal/dst":             {may: append([]string{"internal/control", "internal/mutant", "internal/store", "internal/vtime"}, pureTypes...)},
	"internal/cli": {may: slices.Concat([]string{"internal/app", "internal/client", "internal/agent", "internal/gateway",
		"internal/demo", "internal/sim", "internal/bench", "internal/dst", "internal/store", "internal/report", "internal/push", "internal/profile", "internal/table", "internal/tune", "sdk"}, pureTypes)},
	"sluicetest":        {may: []string{"sdk", "internal/app", "internal/client", "internal/policy"}},
	"tools/peers":       {}, // a module of its own, tests only; test/peers leads there
	"tools/flightsdata": {may: []string{"internal/demo/flights"}},
}

// notPure are imports that a pure package cannot have.
var notPure = []string{"os", "os/exec", "io/ioutil", "net", "net/http", "log", "log/slog", "context", "syscall", "database/sql", "crypto/rand", "runtime", "testing"}

// notPureCalls are calls that a pure package cannot make: clocks, chance of its own, waiting.
var notPureCalls = map[string][]string{
	"time":         {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"},
	"math/rand":    {"Int", "Intn", "Float64", "Perm", "Shuffle", "Seed"},
	"math/rand/v2": {"Int", "IntN", "N", "Float64", "Perm", "Shuffle", "Uint32", "Uint64"},
	"fmt":          {"Print", "Println", "Printf"},
}

// TestHouse checks every import of ours against the table.
func TestHouse(t *testing.T) {
	for dir, files := range packages(t) {
		r, ok := house[dir]
		if !ok {
			t.Errorf("package %s is not in the house: add it to the table with an ADR", dir)
			continue
		}
		for name, f := range files {
			for _, imp := range f.Imports {
				checkImport(t, dir, name, r, imp)
			}
			if r.pure {
				checkPure(t, name, f)
			}
		}
	}
}

func checkImport(t *testing.T, dir, file string, r room, imp *ast.ImportSpec) {
	t.Helper()
	p, err := strconv.Unquote(imp.Path.Value)
	if err != nil {
		t.Fatalf("%s: import %s: %v", file, imp.Path.Value, err)
	}
	ours, isOurs := strings.CutPrefix(p, module)
	if rest, ok := strings.CutPrefix(p, sdkMod); ok {
		ours, isOurs = "sdk"+rest, true
	}
	switch {
	case isOurs && !slices.Contains(r.may, ours):
		t.Errorf("%s imports %s: the house does not let %s do that", file, ours, dir)
	case !isOurs && r.pure && slices.Contains(notPure, p):
		t.Errorf("%s imports %s: %s is pure", file, p, dir)
	case !isOurs && strings.HasPrefix(dir, "sdk") && dir != "sdk/openfeature" && strings.Contains(strings.Split(p, "/")[0], "."):
		t.Errorf("%s imports %s: the SDK has no dependencies", file, p)
	}
}

func checkPure(t *testing.T, file string, f *ast.File) {
	t.Helper()
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			t.Errorf("%s starts a goroutine: the package is pure", file)
		case *ast.CallExpr:
			sel, ok := n.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if !ok || x.Obj != nil {
				return true
			}
			for imp, calls := range notPureCalls {
				base := strings.TrimSuffix(imp, "/v2")
				if path.Base(base) == x.Name && imports(f, imp) && slices.Contains(calls, sel.Sel.Name) {
					t.Errorf("%s calls %s.%s: the package is pure", file, x.Name, sel.Sel.Name)
				}
			}
		}
		return true
	})
}

func imports(f *ast.File, p string) bool {
	return slices.ContainsFunc(f.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == strconv.Quote(p) })
}

// packages parses every Go file that is not a test, by folder.
func packages(t *testing.T) map[string]map[string]*ast.File {
	t.Helper()
	out := map[string]map[string]*ast.File{}
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && p != "." || d.Name() == "node_modules" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(fset, p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(p))
		if out[dir] == nil {
			out[dir] = map[string]*ast.File{}
		}
		out[dir][p] = f
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 10 {
		t.Fatalf("found %d packages: the test looks in the wrong place", len(out))
	}
	return out
}

// TestHouseHasNoEmptyRooms keeps the table honest: rooms planned for later are listed here by name.
func TestHouseHasNoEmptyRooms(t *testing.T) {
	later := []string{"internal/lineage", "internal/stat", "internal/sim"}
	have := packages(t)
	for dir := range house {
		if _, ok := have[dir]; !ok && !slices.Contains(later, dir) {
			t.Errorf("the table has %s, the tree has not", dir)
		}
	}
}
