package control

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"sluice.dev/sdk/evidence"
	"sluice.dev/sluice/internal/engine"
	"sluice.dev/sluice/internal/fail"
	"sluice.dev/sluice/internal/fleet"
	"sluice.dev/sluice/internal/plan"
	"sluice.dev/sluice/internal/revision"
	"sluice.dev/sluice/internal/store"
)

// batch turns an output into what the store writes in one transaction.
func (c *Controller) batch(out engine.Output) (store.Batch, error) {
	b := store.Batch{Epoch: c.eng.Epoch(), Vital: out.Vital(), Records: out.Records}
	for _, a := range out.Artifacts {
		b.Artifacts = append(b.Artifacts, store.Artifact{Digest: a.Digest, Kind: a.Kind, Body: a.Body})
	}
	for _, r := range out.Revisions {
		m, err := r.Manifest()
		if err != nil {
			return b, err
		}
		b.Revisions = append(b.Revisions, store.Revision{Env: r.Name, Number: r.Number, Digest: r.Digest, Body: m, At: r.At})
	}
	for _, e := range out.Evidence {
		digest, body, err := packSecond(e)
		if err != nil {
			return b, fmt.Errorf("evidence of %s second %d: %w", e.Rollout, e.Second.At, err)
		}
		b.Evidence = append(b.Evidence, store.Evidence{Rollout: e.Rollout, Second: e.Second.At, Digest: digest, Body: body})
	}
	for _, k := range out.Checkpoints {
		b.Checkpoints = append(b.Checkpoints, store.Checkpoint{Rollout: k.Rollout, Second: k.Second, Body: k.Body})
	}
	for _, m := range out.Members {
		body, err := json.Marshal(m.Member)
		if err != nil {
			return b, fmt.Errorf("member %s: %w", m.Member.Boot, err)
		}
		b.Members = append(b.Members, store.Member{Env: m.Env, Instance: m.Member.Instance, Boot: m.Member.Boot, Body: body, Gone: m.Gone})
	}
	return b, nil
}

// packSecond returns the digest of the second and the compressed JSON of all that is stored with it.
func packSecond(e engine.Evidence) (digest string, body []byte, err error) {
	raw, err := json.Marshal(e)
	if err != nil {
		return "", nil, err
	}
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	if _, err := zw.Write(raw); err != nil {
		return "", nil, err
	}
	if err := zw.Close(); err != nil {
		return "", nil, err
	}
	return evidence.SecondDigest(&e.Second), buf.Bytes(), nil
}

// Second reads the stored form of one second of evidence, with what reached the judge before it.
func Second(body []byte) (engine.Evidence, error) { return unpackSecond(body) }

func unpackSecond(body []byte) (engine.Evidence, error) {
	zr, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return engine.Evidence{}, err
	}
	raw, err := io.ReadAll(io.LimitReader(zr, maxSecondBytes))
	if err != nil {
		return engine.Evidence{}, err
	}
	var e engine.Evidence
	return e, json.Unmarshal(raw, &e)
}

// maxSecondBytes bounds one stored second after decompression.
const maxSecondBytes = 64 << 20

// recover takes leadership and rebuilds the engine from the store.
func (c *Controller) recover(ctx context.Context) error {
	epoch, err := c.cfg.Lead(ctx)
	if err != nil {
		return fmt.Errorf("take leadership: %w", err)
	}
	fail.At(fail.RecoverLed)
	st, err := load(ctx, c.cfg.Store)
	if err != nil {
		return err
	}
	fail.At(fail.RecoverLoaded)
	c.cfg.Clock.notBefore(st.At)
	eng, out, err := engine.Recover(c.cfg.Version, epoch, c.cfg.Clock.Now(), st)
	if err != nil {
		return err
	}
	fail.At(fail.RecoverBuilt)
	c.eng, c.ahead = eng, true
	if err := c.append(ctx, out); err != nil {
		return fmt.Errorf("append after recovery: %w", err)
	}
	c.ahead = false
	fail.At(fail.RecoverStored)
	for _, env := range eng.Envs() {
		c.publish(env)
	}
	for _, s := range out.Stop {
		c.cfg.Grants.Stop(s.Env, s.Scope)
	}
	fail.At(fail.RecoverShown)
	c.act(out)
	fail.At(fail.Recovered)
	return nil
}

// load reads what a new leadership starts from.
func load(ctx context.Context, s store.Store) (engine.Stored, error) {
	st := engine.Stored{Members: map[string][]*fleet.Member{}}
	last, err := s.LastRecord(ctx, "")
	switch {
	case err == nil:
		st.Seq, st.At = last.Seq, last.At
	case !errors.Is(err, store.ErrNotFound):
		return st, fmt.Errorf("read the last record: %w", err)
	}
	envs, err := s.Envs(ctx)
	if err != nil {
		return st, fmt.Errorf("list environments: %w", err)
	}
	for _, name := range envs {
		env, err := LoadEnv(ctx, s, name, 0)
		if err != nil {
			return st, err
		}
		st.Envs = append(st.Envs, env)
		members, err := s.Members(ctx, name)
		if err != nil {
			return st, fmt.Errorf("read the members of %s: %w", name, err)
		}
		for _, m := range members {
			var fm fleet.Member
			if err := json.Unmarshal(m.Body, &fm); err != nil {
				return st, fmt.Errorf("member %s: %w", m.Boot, err)
			}
			st.Members[name] = append(st.Members[name], &fm)
		}
	}
	st.Runs, err = loadRuns(ctx, s)
	return st, err
}

// LoadEnv reads an environment at a revision; 0 means the newest. Digests are checked.
func LoadEnv(ctx context.Context, s store.Store, name string, number uint64) (revision.Env, error) {
	rev, err := s.Revision(ctx, name, number)
	if err != nil {
		return revision.Env{}, fmt.Errorf("read revision %d of %s: %w", number, name, err)
	}
	return revision.Load(rev.Body, func(full string) ([]byte, error) {
		a, err := s.Artifact(ctx, full)
		return a.Body, err
	})
}

func loadRuns(ctx context.Context, s store.Store) ([]engine.StoredRun, error) {
	names, err := s.Rollouts(ctx)
	if err != nil {
		return nil, fmt.Errorf("list rollouts: %w", err)
	}
	var runs []engine.StoredRun
	for _, name := range names {
		r, err := loadRun(ctx, s, name)
		if err != nil {
			return nil, fmt.Errorf("rollout %s: %w", name, err)
		}
		runs = append(runs, r)
	}
	return runs, nil
}

func loadRun(ctx context.Context, s store.Store, name string) (engine.StoredRun, error) {
	var r engine.StoredRun
	cp, err := s.Checkpoint(ctx, name)
	if err != nil {
		return r, fmt.Errorf("read checkpoint: %w", err)
	}
	r.Checkpoint = cp.Body
	state, err := engine.CheckpointState(cp.Body)
	if err != nil {
		return r, err
	}
	a, err := s.Artifact(ctx, state.Plan)
	if err != nil {
		return r, fmt.Errorf("read plan %s: %w", state.Plan, err)
	}
	if r.Plan, err = plan.Load(state.Plan, a.Body); err != nil {
		return r, err
	}
	if state.DigestBefore != "" {
		a, err := s.Artifact(ctx, state.DigestBefore)
		if err != nil {
			return r, fmt.Errorf("read content before the start: %w", err)
		}
		if err := json.Unmarshal(a.Body, &r.Before); err != nil {
			return r, fmt.Errorf("content before the start: %w", err)
		}
	}
	if state.Proof != "" {
		a, err := s.Artifact(ctx, state.Proof)
		if err != nil {
			return r, fmt.Errorf("read the proof %s: %w", state.Proof, err)
		}
		r.Barrier = a.Body
	}
	if state.Phase.Terminal() {
		return r, nil
	}
	if r.Evidence, err = readEvidence(ctx, s, name, cp.Second-engine.KeptSeconds); err != nil {
		return r, err
	}
	return r, nil
}

// readEvidence reads the stored seconds after a second, a page at a time.
func readEvidence(ctx context.Context, s store.Store, name string, after int64) ([]engine.Evidence, error) {
	var out []engine.Evidence
	for {
		rows, err := s.EvidenceAfter(ctx, name, after, 1000)
		if err != nil {
			return nil, fmt.Errorf("read evidence: %w", err)
		}
		for _, row := range rows {
			ev, err := unpackSecond(row.Body)
			if err != nil {
				return nil, fmt.Errorf("evidence of second %d: %w", row.Second, err)
			}
			ev.Rollout = name
			out, after = append(out, ev), row.Second
		}
		if len(rows) < 1000 {
			return out, nil
		}
	}
}
