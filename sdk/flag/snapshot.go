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
	timed    bool
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
		s.timed = s.timed || h.targeting != nil && h.targeting.timed
	}
	return s, nil
}

// Flag returns the handle of a flag, nil when there is none; a nil handle evaluates to ErrFlagNotFound.
func (s *Snapshot) Flag(key string) *Handle { return s.flags[key] }

// Timed says whether a flag's targeting asks for the time, so that contexts should know it (Context.At).
func (s *Snapshot) Timed() bool { return s.timed }

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

	plain      bool      // nothing but the default can decide
	variants   []Variant // sorted by name
	fallback   Result
	off        *Result // nil unless killed or disabled
	exclusions []decision
	exceptions []decision
	rules      []decision
	targeting  *targeting
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
	unnamed  cohort // of a pinned request that is in none of them here
	outside  Result // unit in no cohort
	missing  Result // no unit
}

type cohort struct {
	match                     *matcher
	exposure                  Exposure
	baseline, exposed, lapsed Result
}

// Variant returns a variant of the flag by name, nil when there is none.
func (h *Handle) Variant(name string) *Variant {
	for i := range h.variants {
		if h.variants[i].Name == name {
			return &h.variants[i]
		}
	}
	return nil
}

// Static says whether nothing but the default can decide, so that the answer is the same for every context.
func (h *Handle) Static() bool { return h.plain }

// Variants returns all variants of the flag sorted by name. The slice must not be changed.
func (h *Handle) Variants() []Variant { return h.variants }

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
	h.variants = make([]Variant, 0, len(f.Variants))
	for _, name := range slices.Sorted(maps.Keys(f.Variants)) {
		v, err := newVariant(name, f.Type, f.Variants[name])
		if err != nil {
			return err
		}
		h.variants = append(h.variants, v)
	}
	if f.Rollout != nil {
		h.RolloutID = f.Rollout.ID
		if j, ok := c.cfg.Judged[h.RolloutID]; ok {
			h.Judged = &j
		}
	}
	_, h.Killed = c.cfg.Kills[f.Key]
	h.fallback = h.result(f.Default, ReasonDefault)
	if h.Killed {
		off := h.fallback
		off.Reason = ReasonKilled
		if f.Off != "" {
			off.Variant = h.Variant(f.Off)
		}
		h.off = &off
	} else if f.Disabled {
		h.off = &Result{Reason: ReasonDisabled, Revision: h.Revision, Rollout: h.RolloutID, Scope: h.Scope}
	}
	c.decisions(h, f)
	if f.Rollout != nil {
		h.rollout = c.rollout(h, f.Rollout)
	}
	if len(f.Targeting) > 0 {
		n, timed, err := compileLogic(f.Targeting)
		if err != nil {
			return err
		}
		h.targeting = newTargeting(h, n, timed)
	}
	h.plain = h.off == nil && h.rollout == nil && h.targeting == nil && len(h.exclusions)+len(h.exceptions)+len(h.rules) == 0
	return nil
}

// decisions compiles the exclusions, exceptions and rules. An exclusion that outlived a rollout serves what the unit had
// then; one that names a variant which is gone, or none while no rollout is open, does nothing.
func (c *compiler) decisions(h *Handle, f Flag) {
	for _, x := range c.exclusions[f.Key] {
		serve := x.Serve
		if f.Rollout != nil && (h.Variant(serve) == nil || serve == f.Rollout.Candidate) {
			serve = f.Rollout.Stable // the candidate is served under a lease only
		}
		if h.Variant(serve) == nil {
			continue
		}
		d := decision{match: c.matcher(&x.Match), result: h.result(serve, ReasonExcluded)}
		d.result.RuleName = x.ID
		h.exclusions = append(h.exclusions, d)
	}
	for _, e := range c.exceptions[f.Key] {
		if h.Variant(e.Serve) == nil {
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
	out := &rollout{saltHash: xxhash64(r.Salt), outside: h.result(r.Stable, ReasonRollout)}
	out.missing = h.failure(ErrTargetingKeyMissing)
	if r.Unit != TargetingKey {
		out.unit = r.Unit
	}
	out.unnamed = c.cohort(h, r, CohortExposure{})
	for _, ce := range r.Cohorts {
		out.cohorts = append(out.cohorts, c.cohort(h, r, ce))
	}
	return out
}

func (c *compiler) cohort(h *Handle, r *Rollout, ce CohortExposure) cohort {
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
	k.exposed.Variant = h.Variant(r.Candidate)
	k.lapsed.Assigned, k.lapsed.Served = ArmExposed, ArmBaseline
	k.lapsed.Reason = ReasonLapsed
	return k
}

func (h *Handle) result(variant, reason string) Result {
	return Result{Variant: h.Variant(variant), Reason: reason, Revision: h.Revision, Rollout: h.RolloutID, Scope: h.Scope}
}

// failure is the default variant with an error code.
func (h *Handle) failure(code string) Result {
	r := h.fallback
	r.Reason, r.ErrCode = ReasonError, code
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
		m.values = newValues(cmp.Values)
	default:
		m.value, _ = scalarOf(cmp.Value)
		if o.operand == operandVersion {
			v, _ := parseSemver(m.value.str)
			m.version = &v
		}
		if o.op == opEq && m.value.kind == kindStr {
			m.op = opEqText
		}
	}
	return m
}
