package flag

import (
	"maps"
	"slices"
)

// Options say how a configuration is compiled.
type Options struct {
	// ScopeRev is the revision of each scope; results carry the one of their flag's scope. A scope that it does not name
	// has revision 0.
	ScopeRev map[string]uint64

	// AllowDangling lets references lead nowhere: a condition on a segment that does not exist matches nobody, and an
	// exception whose flag or variant does not exist does nothing. Members set it, because what the server publishes,
	// above all a rollback, must take effect even if another scope has changed under it. Where people edit it stays false.
	AllowDangling bool
}

// Snapshot is a compiled configuration. It is immutable and may be read by any number of goroutines.
type Snapshot struct {
	flags    map[string]*Handle
	rollouts map[string]*Handle
	handles  []*Handle // sorted by key
}

// Compile validates a configuration and compiles it. The error is that of Validate. cfg is not kept, but the bytes of
// its values are: they must not change any more.
func Compile(cfg Config, o Options) (*Snapshot, error) {
	if v := validate(cfg, o.AllowDangling); len(v.list) > 0 {
		return nil, v.err()
	}
	c := compiler{cfg: cfg, segments: map[string]*matcher{}}
	c.overlay()
	keys := slices.Sorted(maps.Keys(cfg.Flags))
	slab := make([]Handle, len(keys)) // one piece of memory: neighbours in a bulk evaluation are neighbours here
	s := &Snapshot{flags: make(map[string]*Handle, len(keys)), rollouts: map[string]*Handle{}, handles: make([]*Handle, len(keys))}
	for i, key := range keys {
		h := &slab[i]
		if err := c.flag(h, cfg.Flags[key], o); err != nil {
			return nil, err
		}
		s.handles[i], s.flags[key] = h, h
		if h.RolloutID != "" {
			s.rollouts[h.RolloutID] = h
		}
	}
	return s, nil
}

// Flag returns the handle of a flag, nil when there is none; a nil handle evaluates to ErrFlagNotFound.
func (s *Snapshot) Flag(key string) *Handle { return s.flags[key] }

// Rollout returns the handle of the flag that has the open rollout id, nil when there is none.
func (s *Snapshot) Rollout(id string) *Handle { return s.rollouts[id] }

// Handles returns all flags sorted by key. The slice must not be changed.
func (s *Snapshot) Handles() []*Handle { return s.handles }

// Handle is one compiled flag of one snapshot. Its fields are for reading.
type Handle struct {
	Key       string
	Type      Type
	Scope     string  // scope in which the flag lies: an exposed arm needs this scope's lease
	Revision  uint64  // of the scope
	RolloutID string  // open rollout, "" when there is none: then evaluations need no lease and leased is ignored
	Judged    *Judged // what of the open rollout's requests is measured; nil when nothing is
	Killed    bool

	variants   map[string]*Variant
	plain      bool // nothing but the default can decide
	fallback   Result
	off        Result
	invalid    Result // the context exceeds its limits
	excluded   Result
	exclusions []matcher
	exceptions []decision
	rules      []decision
	rollout    *rollout
}

// decision is a rule or an exception: the result for units that match, and the one without lease where it differs.
type decision struct {
	match  matcher
	result Result
	lapsed *Result
}

// rollout is a compiled Rollout.
type rollout struct {
	unit     string // attribute, "" for the targeting key
	saltHash uint64
	cohorts  []cohort
	outside  Result // unit in no cohort
	missing  Result // no unit
}

type cohort struct {
	match                     *matcher
	exposure                  Exposure
	baseline, exposed, lapsed Result
}

// Variant returns a variant of the flag by name, nil when there is none.
func (h *Handle) Variant(name string) *Variant { return h.variants[name] }

// compiler turns a valid configuration into handles.
type compiler struct {
	cfg        Config
	segments   map[string]*matcher
	exceptions map[string][]Exception // by flag, in order of id
	exclusions map[string][]Exclusion
}

func (c *compiler) overlay() {
	c.exceptions, c.exclusions = map[string][]Exception{}, map[string][]Exclusion{}
	for _, id := range slices.Sorted(maps.Keys(c.cfg.Exceptions)) {
		e := c.cfg.Exceptions[id]
		c.exceptions[e.Flag] = append(c.exceptions[e.Flag], e)
	}
	for _, id := range slices.Sorted(maps.Keys(c.cfg.Exclusions)) {
		x := c.cfg.Exclusions[id]
		c.exclusions[x.Flag] = append(c.exclusions[x.Flag], x)
	}
}

func (c *compiler) flag(h *Handle, f Flag, o Options) error {
	h.Key, h.Type, h.Scope = f.Key, f.Type, c.cfg.Scope(KindFlag, f.Key)
	h.Revision = o.ScopeRev[h.Scope]
	h.variants = make(map[string]*Variant, len(f.Variants))
	for name, raw := range f.Variants {
		v, err := newVariant(name, f.Type, raw)
		if err != nil {
			return err
		}
		h.variants[name] = v
	}
	if f.Rollout != nil {
		h.RolloutID = f.Rollout.ID
		if j, ok := c.cfg.Judged[h.RolloutID]; ok {
			h.Judged = &j
		}
	}
	_, h.Killed = c.cfg.Kills[f.Key]
	h.fallback = h.result(f.Default, ReasonDefault)
	h.invalid = h.failure(f.Default, ErrInvalidContext)
	h.off = h.fallback
	h.off.Reason = ReasonKilled
	if f.Off != "" {
		h.off.Variant = h.variants[f.Off]
	}
	c.decisions(h, f)
	if f.Rollout != nil {
		h.rollout = c.rollout(h, f.Rollout)
	}
	h.plain = !h.Killed && h.rollout == nil && len(h.exceptions)+len(h.rules) == 0
	return nil
}

// decisions compiles what comes before the rollout, in order of precedence.
func (c *compiler) decisions(h *Handle, f Flag) {
	if f.Rollout != nil {
		h.excluded = h.result(f.Rollout.Stable, ReasonExcluded)
		for _, x := range c.exclusions[f.Key] {
			h.exclusions = append(h.exclusions, c.matcher(&x.Match))
		}
	}
	for _, e := range c.exceptions[f.Key] {
		if h.variants[e.Serve] == nil {
			continue // AllowDangling
		}
		d := decision{match: c.matcher(&e.Match), result: h.result(e.Serve, ReasonException)}
		d.result.RuleName = e.ID
		if f.Rollout != nil && e.Serve == f.Rollout.Candidate {
			lapsed := h.result(f.Rollout.Stable, ReasonLapsed)
			lapsed.RuleName = e.ID
			d.lapsed = &lapsed
		}
		h.exceptions = append(h.exceptions, d)
	}
	for _, r := range f.Rules {
		d := decision{match: c.matcher(&r.Match), result: h.result(r.Serve, ReasonRule)}
		d.result.RuleName = r.Name
		h.rules = append(h.rules, d)
	}
}

func (c *compiler) rollout(h *Handle, r *Rollout) *rollout {
	out := &rollout{saltHash: xxhash64(r.Salt), outside: h.result(r.Stable, ReasonRollout), missing: h.failure("", ErrTargetingKeyMissing)}
	out.missing.Variant = h.fallback.Variant
	if r.Unit != TargetingKey {
		out.unit = r.Unit
	}
	for _, ce := range r.Cohorts {
		k := cohort{exposure: ce.Exposure}
		if ce.Match != nil {
			m := c.matcher(ce.Match)
			k.match = &m
		}
		base := h.result(r.Stable, ReasonRollout)
		base.Cohort, base.Exposure, base.Closed = ce.Cohort, ce.Exposure, ce.Closed
		k.baseline, k.exposed, k.lapsed = base, base, base
		k.baseline.Assigned, k.baseline.Served = ArmBaseline, ArmBaseline
		k.exposed.Assigned, k.exposed.Served = ArmExposed, ArmExposed
		k.exposed.Variant = h.variants[r.Candidate]
		k.lapsed.Assigned, k.lapsed.Served = ArmExposed, ArmBaseline
		k.lapsed.Reason = ReasonLapsed
		out.cohorts = append(out.cohorts, k)
	}
	return out
}

func (h *Handle) result(variant, reason string) Result {
	return Result{Variant: h.variants[variant], Reason: reason, Revision: h.Revision, Rollout: h.RolloutID, Scope: h.Scope}
}

func (h *Handle) failure(variant, code string) Result {
	r := h.result(variant, ReasonError)
	r.ErrCode = code
	return r
}

// matcher compiles a condition that validate has accepted.
func (c *compiler) matcher(cond *Condition) matcher {
	switch {
	case len(cond.All) > 0:
		return matcher{op: opAll, kids: c.matchers(cond.All)}
	case len(cond.Any) > 0:
		return matcher{op: opAny, kids: c.matchers(cond.Any)}
	case cond.Not != nil:
		return matcher{op: opNot, kids: []matcher{c.matcher(cond.Not)}}
	case cond.Segment != "":
		return c.reference(cond.Segment)
	case cond.Attr != nil:
		return comparison(cond.Attr)
	}
	return matcher{op: opAlways}
}

func (c *compiler) matchers(list []Condition) []matcher {
	out := make([]matcher, len(list))
	for i := range list {
		out[i] = c.matcher(&list[i])
	}
	return out
}

func (c *compiler) reference(name string) matcher {
	m, ok := c.segments[name]
	if !ok {
		s, exists := c.cfg.Segments[name]
		if !exists {
			return matcher{op: opNever} // AllowDangling
		}
		compiled := c.matcher(&s.Match)
		m = &compiled
		c.segments[name] = m
	}
	return matcher{op: opSegment, segment: m}
}

func comparison(cmp *Compare) matcher {
	o, _ := operatorNamed(cmp.Op)
	m := matcher{op: o.op, name: cmp.Name}
	switch o.operand {
	case operandNone:
	case operandList:
		if m.list = cmp.Values; len(m.list) > shortList {
			m.set = make(map[string]struct{}, len(m.list))
			for _, s := range m.list {
				m.set[s] = struct{}{}
			}
		}
	default:
		m.value, _ = scalarOf(cmp.Value)
		if o.operand == operandVersion {
			m.version, _ = parseSemver(m.value.str)
		}
	}
	return m
}
