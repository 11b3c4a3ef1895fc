package evidence

// Second is the closed evidence of one rollout for one UTC second of request start: the blocks of all instances added up.
// Blocks are sorted by (cohort, revision, exposure, metric, assigned, served, lease); their instance cells keep the split
// by instance. It is what the server stores, judges and replays.
type Second struct {
	At      int64    `json:"at"` // unix seconds
	Blocks  []Block  `json:"blocks,omitempty"`
	Through int      `json:"through"`           // members that reported the second complete
	Members int      `json:"members"`           // members expected to report it
	Gap     bool     `json:"gap,omitempty"`     // the controller itself was away: no data for all, no verdict from it
	OffHead []string `json:"offHead,omitempty"` // instances left out of the comparison
}
