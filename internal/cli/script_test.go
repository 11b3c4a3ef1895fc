package cli

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"sluice.dev/sluice/internal/app"
	"sluice.dev/sluice/internal/client"
	"sluice.dev/sluice/internal/policy"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"sluice": func() { os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs each testdata/script/*.txtar: a page of commands against a real server, with what they print.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Values[fixtureKey{}] = &fixture{}
			e.Defer(func() { e.Values[fixtureKey{}].(*fixture).close(e) })
			e.Setenv("EVIL", "a\x1b[31mred\x07b\u202ec\u009bd")
			e.Setenv("LONG", strings.Repeat("x", 1001))
			e.Setenv("NO_COLOR", "")
			e.Setenv("TERM", "xterm")
			for name, text := range commonFiles {
				if err := os.WriteFile(filepath.Join(e.WorkDir, name), []byte(text), 0o600); err != nil {
					return err
				}
			}
			return nil
		},
		Cmds: scriptCmds,
	})
}

// scriptCmds are the commands of scripts besides testscript's own.
var scriptCmds = map[string]func(*testscript.TestScript, bool, []string){
	"server": cmdServer, "token": cmdToken, "member": cmdMember, "harm": cmdHarm, "freeze": cmdFreeze, "await": cmdAwait,
	"scrub": cmdScrub, "flip": cmdFlip, "damage": cmdDamage, "code": cmdCode, "field": cmdField, "port": cmdPort, "served": cmdServed, "eventually": cmdEventually,
}

type fixtureKey struct{}

// fixture is what one script has started.
type fixture struct {
	app     *app.App
	client  *client.Client
	members map[string]*liveMember
	cancel  context.CancelFunc
	done    []<-chan struct{}
}

func (f *fixture) close(e *testscript.Env) {
	if f.cancel != nil {
		f.cancel()
	}
	for _, d := range f.done {
		<-d
	}
	if f.app != nil {
		if err := f.app.Stop(context.Background()); err != nil {
			e.T().Log("stop server: ", err)
		}
	}
}

func fixtureOf(ts *testscript.TestScript) *fixture { return ts.Value(fixtureKey{}).(*fixture) }

// cmdServer: `server [DIR]` starts a server in this process, on a free port, and points the CLI at it.
func cmdServer(ts *testscript.TestScript, neg bool, args []string) {
	f := fixtureOf(ts)
	cfg := app.Config{Listen: "127.0.0.1:0", Version: "test", Tick: 50 * time.Millisecond, Envs: []string{"production", "staging"}}
	if len(args) == 1 {
		if args[0] == "stop" {
			ts.Check(f.app.Stop(context.Background()))
			f.app = nil
			return
		}
		cfg.DataDir = ts.MkAbs(args[0])
	}
	a, err := app.Start(context.Background(), cfg)
	ts.Check(err)
	f.app = a
	f.client, err = client.New(a.URL(), a.AdminToken())
	ts.Check(err)
	ts.Setenv("SLUICE_SERVER", a.URL())
	ts.Setenv("SLUICE_TOKEN", a.AdminToken())
}

// cmdToken: `token ROLE` puts a token of the role into SLUICE_TOKEN_<ROLE>.
func cmdToken(ts *testscript.TestScript, neg bool, args []string) {
	secret, err := fixtureOf(ts).app.Token(context.Background(), args[0], policy.Role(args[0]), "")
	ts.Check(err)
	ts.Setenv("TOKEN_"+strings.ToUpper(args[0]), secret)
}

// cmdMember: `member COMPONENT CLASS` joins a member that serves 200 requests a second and reports them.
func cmdMember(ts *testscript.TestScript, neg bool, args []string) {
	f := fixtureOf(ts)
	ctx, cancel := context.WithCancel(context.Background())
	if f.members == nil {
		f.members = map[string]*liveMember{}
		f.cancel = cancel
	} else {
		prev := f.cancel
		f.cancel = func() { prev(); cancel() }
	}
	secret, err := f.app.Token(ctx, args[0], policy.Component, "production")
	ts.Check(err)
	m, done, err := startLiveMember(ctx, f.app.URL(), secret, args[0], args[1])
	ts.Check(err)
	f.members[args[0]], f.done = m, append(f.done, done)
}

// cmdHarm: `harm COMPONENT` lets every second request on the candidate end with an error from now on.
func cmdHarm(ts *testscript.TestScript, neg bool, args []string) {
	fixtureOf(ts).members[args[0]].harm.Store(!neg)
}

// cmdFreeze: `freeze COMPONENT` holds a member as a stopped process is held; `! freeze` lets it go on.
func cmdFreeze(ts *testscript.TestScript, neg bool, args []string) {
	fixtureOf(ts).members[args[0]].freeze(!neg)
}

// cmdAwait: `await NAME WHERE [STAGE]` waits until the rollout stands there.
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	var v struct{ Where, Stage, Sentence string }
	for end := time.Now().Add(180 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		ts.Check(fixtureOf(ts).client.Get(context.Background(), "/v1/rollouts/"+args[0], &v))
		if v.Where == args[1] && (len(args) < 3 || v.Stage == args[2]) {
			return
		}
	}
	ts.Fatalf("rollout %s: waited for %s, stands at %s %s: %s", args[0], args[1:], v.Where, v.Stage, v.Sentence)
}

// cmdCode: `code N sluice ...` runs a command and wants the exit code N.
func cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if x, ok := err.(interface{ ExitCode() int }); ok {
		got = x.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d\nstdout: %s\nstderr: %s", got, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// cmdEventually: `eventually REGEXP sluice ...` repeats a command until its output matches.
func cmdEventually(ts *testscript.TestScript, neg bool, args []string) {
	re, err := regexp.Compile(args[0])
	ts.Check(err)
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if re.MatchString(ts.ReadFile("stdout")) {
			return
		}
	}
	ts.Fatalf("no match for %s in\n%s", args[0], ts.ReadFile("stdout"))
}

// cmdField: `field stdout|stderr PATH WANT` reads one member of a JSON document: a.b.c; WANT is its JSON or its text.
func cmdField(ts *testscript.TestScript, neg bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	for _, name := range strings.Split(args[1], ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[name]
		case []any:
			i, err := strconv.Atoi(name)
			ts.Check(err)
			v = x[i]
		default:
			v = nil
		}
	}
	got, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		ts.Check(err)
		got = string(b)
	}
	if (got == args[2]) == neg {
		ts.Fatalf("%s is %q, want %q (negated: %v)", args[1], got, args[2], neg)
	}
}

var scrubbers = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z`), "<time>"},
	{regexp.MustCompile(`\d\d:\d\d:\d\d\.\d{3}Z`), "<clock>"},
	{regexp.MustCompile(`sha256:[0-9a-f]{64}`), "<digest>"},
	{regexp.MustCompile(`slc_[0-9a-f]+`), "<token>"},
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "<boot>"},
	{regexp.MustCompile(`\b\d+\.\d{3} s\b`), "<took>"},
	{regexp.MustCompile(`(?m)\b\d+/\d+$`), "<n>"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "<addr>"},
	{regexp.MustCompile(`"second": \d{9,}`), `"second": 0`},
	{regexp.MustCompile(`"(nBaseline|nExposed|from|to|looks|baked|observed)": \d+`), `"$1": 0`},
	{regexp.MustCompile(`"(baseline|exposed|effect)": -?[0-9.e-]+`), `"$1": 0`},
}

// cmdScrub: `scrub FILE OUT` replaces what differs from run to run.
func cmdScrub(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile(args[0])
	for _, s := range scrubbers {
		text = s.re.ReplaceAllString(text, s.with)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

// cmdFlip: `flip FILE OUT TEXT` writes FILE with one bit of the byte after TEXT's first occurrence flipped.
func cmdFlip(ts *testscript.TestScript, neg bool, args []string) {
	text := []byte(ts.ReadFile(args[0]))
	at := strings.Index(string(text), args[2])
	if at < 0 {
		ts.Fatalf("%s does not hold %q", args[0], args[2])
	}
	text[at+len(args[2])] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), text, 0o600))
}

// cmdDamage: `damage DIR SEQ` changes the actor of one record in a stopped server's database.
func cmdDamage(ts *testscript.TestScript, neg bool, args []string) {
	files, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "*.db"))
	ts.Check(err)
	if len(files) != 1 {
		ts.Fatalf("databases in %s: %v", args[0], files)
	}
	db, err := sql.Open("sqlite", files[0])
	ts.Check(err)
	_, err = db.Exec(`UPDATE records SET body = CAST(replace(CAST(body AS TEXT), '"actor":"', '"actor":"x') AS BLOB) WHERE seq = ` + args[1])
	ts.Check(errors.Join(err, db.Close()))
}

// cmdPort: `port` puts a free port into PORT.
func cmdPort(ts *testscript.TestScript, neg bool, args []string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv("PORT", strconv.Itoa(ln.Addr().(*net.TCPAddr).Port))
	ts.Check(ln.Close())
}

var adminToken = regexp.MustCompile(`slc_[0-9a-f]{64}`)

// cmdServed: `served LOG` waits until a server that writes its messages to LOG has said its address and token.
func cmdServed(ts *testscript.TestScript, neg bool, args []string) {
	for end := time.Now().Add(120 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		if err != nil {
			continue
		}
		if token := adminToken.FindString(string(b)); token != "" {
			ts.Setenv("SLUICE_SERVER", "http://127.0.0.1:"+ts.Getenv("PORT"))
			ts.Setenv("SLUICE_TOKEN", token)
			return
		}
	}
	ts.Fatalf("the server did not say that it serves")
}

// commonFiles stand in every script's directory.
var commonFiles = map[string]string{
	"flag.yaml": `apiVersion: sluice/v1
kind: Flag
metadata: {name: spend7d}
spec:
  type: string
  variants: {v14: v14, v15: v15}
  default: v14
`,
	"quick.yaml":  quickSpec("quick", "1s"),
	"slow.yaml":   quickSpec("slow", "10m"),
	"second.yaml": quickSpec("second", "10m"),
	"third.yaml":  quickSpec("third", "10m"),
}

// quickSpec is a rollout in two stages that passes within seconds, or stays in its first one.
func quickSpec(name, bake string) string {
	return fmt.Sprintf(`apiVersion: sluice/v1
kind: Rollout
metadata: {name: %s}
spec:
  environment: production
  hypothesis: {statement: "v15 serves as well as v14"}
  ownership: {owner: "user:owner-a"}
  change:
    flag: {key: spend7d, stable: v14, candidate: v15}
  audience: {unit: account_id}
  metrics:
    error: {kind: proportion, settle: 1s}
  guardrails:
    - name: errors
      signal: "sdk:errors"
      test: {kind: threshold, worseBy: 10pp, window: 1s, minN: 10}
      blips: {allow: 0, of: 1}
      perSegment: false
      onBreach: rollback
  stages:
    - {name: canary, exposure: 10%%, bake: %s}
    - {name: half, exposure: 50%%, bake: %s}
    - {name: full, exposure: 100%%, holdback: 10%%, bake: %s}
  rollback:
    signal: {leaseTTL: 2s, completeWithin: 5s, unwindWithin: 30s}
    downstream: {drain: 100ms}
`, name, bake, bake, bake)
}
