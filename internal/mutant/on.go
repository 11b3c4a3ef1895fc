//go:build mutant

package mutant

import "os"

// Built says whether this build can switch rules off.
const Built = true

// Is reports whether the environment variable SLUICE_MUTANT names the mutant.
func Is(n Name) bool { return os.Getenv("SLUICE_MUTANT") == string(n) }
