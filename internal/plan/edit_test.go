package plan

import (
	"strings"
	"testing"
)

// TestApplyChangesNothingElse: an edit replaces one value where it stands, or adds one, and leaves all other bytes.
func TestApplyChangesNothingElse(t *testing.T) {
	const src = `# keep this
spec:
  guardrails:
    - {name: errors, signal: "sdk:errors", test: {kind: always-valid, worseBy: 2pp}}  # and this
    - name: late
      test:
        kind: threshold
        max: "5%"
  stages:
    - {name: canary, exposure: 1%, bake: 10s}
    - {name: full, exposure: 100%, bake: {min: 1m}}
`
	for _, tt := range []struct {
		edit     Edit
		old, new string
	}{
		{Edit{Guardrail: "errors", Field: "worseBy", To: "3pp"}, "worseBy: 2pp", "worseBy: 3pp"},
		{Edit{Guardrail: "errors", Field: "detect", To: "6pp"}, "kind: always-valid", "kind: always-valid, detect: 6pp"},
		{Edit{Guardrail: "late", Field: "max", To: "7%"}, `max: "5%"`, "max: 7%"},
		{Edit{Stage: "canary", Field: "bake", To: "20s"}, "bake: 10s", "bake: 20s"},
		{Edit{Stage: "full", Field: "bake", To: "2m"}, "min: 1m", "min: 2m"},
	} {
		got, err := Apply([]byte(src), []Edit{tt.edit})
		if want := strings.Replace(src, tt.old, tt.new, 1); err != nil || string(got) != want {
			t.Errorf("%+v: %v\n%s", tt.edit, err, got)
		}
	}
	for _, e := range []Edit{{Guardrail: "gone", Field: "max", To: "1%"}, {Guardrail: "late", Field: "detect", To: "1%"}, {Stage: "gone", Field: "bake", To: "1s"}} {
		if _, err := Apply([]byte(src), []Edit{e}); err == nil {
			t.Errorf("%+v was made", e)
		}
	}
}
