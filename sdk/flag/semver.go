package flag

import "strings"

// maxSemver is the longest version that is compared, in bytes.
const maxSemver = 256

// semver is a semantic version (semver.org, 2.0.0), as pieces of the text it was parsed from: numeric parts stay text,
// so they have no upper bound and parsing allocates nothing. Build metadata is checked and dropped.
type semver struct {
	major, minor, patch string
	pre                 string // pre-release identifiers, without the hyphen
}

// parseSemver reads MAJOR.MINOR.PATCH[-PRE][+BUILD]; "v1.2.3" and "1.2" are not versions.
func parseSemver(s string) (v semver, ok bool) {
	if len(s) > maxSemver {
		return v, false
	}
	s, build, hasBuild := strings.Cut(s, "+")
	if hasBuild && !identifiers(build, false) {
		return v, false
	}
	s, pre, hasPre := strings.Cut(s, "-")
	if hasPre && !identifiers(pre, true) {
		return v, false
	}
	v.pre = pre
	var ok1, ok2 bool
	v.major, s, ok1 = strings.Cut(s, ".")
	v.minor, v.patch, ok2 = strings.Cut(s, ".")
	return v, ok1 && ok2 && numeric(v.major) && numeric(v.minor) && numeric(v.patch)
}

// compare orders versions by precedence: -1, 0 or 1.
func (v semver) compare(w semver) int {
	if c := compareNumeric(v.major, w.major); c != 0 {
		return c
	}
	if c := compareNumeric(v.minor, w.minor); c != 0 {
		return c
	}
	if c := compareNumeric(v.patch, w.patch); c != 0 {
		return c
	}
	switch {
	case v.pre == w.pre:
		return 0
	case v.pre == "":
		return 1
	case w.pre == "":
		return -1
	}
	return comparePre(v.pre, w.pre)
}

func comparePre(a, b string) int {
	for a != "" && b != "" {
		var x, y string
		x, a, _ = strings.Cut(a, ".")
		y, b, _ = strings.Cut(b, ".")
		xNum, yNum := digitsOnly(x), digitsOnly(y)
		var c int
		switch {
		case xNum && yNum:
			c = compareNumeric(x, y)
		case xNum:
			c = -1
		case yNum:
			c = 1
		default:
			c = strings.Compare(x, y)
		}
		if c != 0 {
			return c
		}
	}
	return min(1, len(a)) - min(1, len(b)) // the one with more identifiers is later
}

// compareNumeric compares numbers without leading zeros: the longer one is greater.
func compareNumeric(a, b string) int {
	if len(a) != len(b) {
		if len(a) < len(b) {
			return -1
		}
		return 1
	}
	return strings.Compare(a, b)
}

// identifiers checks a dot-separated list; in pre-releases a number has no leading zero.
func identifiers(s string, pre bool) bool {
	for more := true; more; {
		var id string
		id, s, more = strings.Cut(s, ".")
		if id == "" || pre && digitsOnly(id) && !numeric(id) {
			return false
		}
		for i := 0; i < len(id); i++ {
			if b := id[i]; !(b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'z' || b == '-') {
				return false
			}
		}
	}
	return true
}

func numeric(s string) bool { return digitsOnly(s) && (len(s) == 1 || s[0] != '0') }

func digitsOnly(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
