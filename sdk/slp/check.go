package slp

import (
	"fmt"

	"sluice.dev/sdk/evidence"
)

// maxName bounds the names of instances, components and scopes on the wire, bytes.
const maxName = 128

// CheckEvidence checks what a member sent to /v1/evidence: who it is, its sequence, and every block (evidence.CheckBlocks,
// whose *evidence.Error names field and limit). The blocks' seconds are not compared with a clock.
func CheckEvidence(q EvidenceRequest) error {
	switch {
	case q.Instance == "" || len(q.Instance) > maxName:
		return fmt.Errorf("evidence: instance has %d bytes, allowed are 1 to %d", len(q.Instance), maxName)
	case !IsBoot(q.Boot):
		return fmt.Errorf("evidence: boot is not 32 hex digits")
	case q.Seq == 0 || q.Seq >= evidence.MaxCount:
		return fmt.Errorf("evidence: seq is %d, the first one is 1", q.Seq)
	case q.Through < 0 || q.Through >= 1<<40:
		return fmt.Errorf("evidence: through is %d, not a unix second", q.Through)
	case q.Lost >= evidence.MaxCount:
		return fmt.Errorf("evidence: lost is %d", q.Lost)
	}
	if err := evidence.CheckBlocks(q.Blocks, 0); err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	return nil
}

// IsBoot says whether s is a boot id: 128 bits as 32 lower-case hex digits.
func IsBoot(s string) bool { return isHex(s, 32) }
