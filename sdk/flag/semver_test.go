package flag

import (
	"strings"
	"testing"
)

// Ascending precedence; the middle is the example of semver.org, section 11.
var versions = []string{
	"0.0.0-0", "0.0.0", "0.0.4", "0.1.0", "1.0.0-0A", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2",
	"1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0--", "2.0.0", "2.1.1", "10.0.0", "99999999999999999999.0.0",
}

func TestSemverOrder(t *testing.T) {
	for i, a := range versions {
		for j, b := range versions {
			v, ok1 := parseSemver(a)
			w, ok2 := parseSemver(b + "+build.007")
			if !ok1 || !ok2 {
				t.Fatalf("%s or %s was refused", a, b)
			}
			if got, want := v.compare(w), orderOf(int64(i), int64(j)); got != want {
				t.Errorf("compare %s and %s: got %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestSemverRefuses(t *testing.T) {
	for _, s := range []string{
		"", "1", "1.0", "1.0.0.0", "v1.2.3", "01.0.0", "1.02.0", "1.0.03", "1.0.0-", "1.0.0+", "1.0.0-a..b", "1.0.0-01", "1.0.0-a_b", "1.0.0+a+b",
		"1.0.0+ä", "-1.0.0", "1.-1.0", " 1.0.0", "1.0.0 ", "1..0", "1.0.", "a.b.c", "1.0.0-" + strings.Repeat("9", 4096),
	} {
		if v, ok := parseSemver(s); ok {
			t.Errorf("%.40q was read as %+v", s, v)
		}
	}
}
