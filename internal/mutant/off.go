//go:build !mutant

package mutant

// Built says whether this build can switch rules off.
const Built = false

// Is is false: the compiler leaves out what depends on it.
func Is(Name) bool { return false }
