package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// proofInput is of a log of 20 records, 7 of them of the rollout; the last one vouches for the summary.
func proofInput(t testing.TB) (ProofInput, *memLog) {
	t.Helper()
	summary := json.RawMessage(`{"digestAfter":"sha256:aa","digestBefore":"sha256:aa","proven":4,"says":"<é>"}`)
	l := logOf(t, 19)
	last := record(20)
	last.State = json.RawMessage(fmt.Sprintf(`{"phase":"rolledBack","proof":%q}`, Digest(summary)))
	l.add(t, last)
	signed, verifier := sign(t, l.head(t))
	in := ProofInput{Rollout: "delay-v2", SignedHead: signed, VerifierKey: verifier, Summary: summary, SummaryDigest: Digest(summary)}
	for _, r := range l.records {
		if r.Rollout == in.Rollout {
			in.Records = append(in.Records, r)
		}
	}
	return in, l
}

func proofDoc(t testing.TB) []byte {
	t.Helper()
	in, l := proofInput(t)
	doc, err := BuildProof(in, l)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestProofGolden(t *testing.T) { golden(t, "testdata/proof.json", proofDoc(t)) }

func TestVerifyProofReportsWhatIsProven(t *testing.T) {
	in, l := proofInput(t)
	doc := proofDoc(t)
	rep, err := VerifyProof(doc)
	if err != nil {
		t.Fatal(err)
	}
	if rep.Rollout != "delay-v2" || rep.Origin != "sluice.dev/log/test" || rep.Head != l.head(t) || rep.Trusted || rep.SummarySeq != 20 {
		t.Errorf("got %+v", rep)
	}
	if len(rep.Records) != len(in.Records) || rep.Records[3].Seq != in.Records[3].Seq || !bytes.Equal(rep.Summary, in.Summary) {
		t.Errorf("got %d records and summary %s", len(rep.Records), rep.Summary)
	}
	if rep, err := VerifyProof(doc, in.VerifierKey); err != nil || !rep.Trusted {
		t.Errorf("with its key trusted: %v, trusted %t", err, rep.Trusted)
	}
	var pe *ProofError
	if _, err := VerifyProof(doc, "other+00000000+AAAA"); !errors.As(err, &pe) || pe.Where != "key" {
		t.Errorf("with another key trusted: %v", err)
	}
}

func TestProofWithoutSummary(t *testing.T) {
	in, l := proofInput(t)
	in.Summary, in.SummaryDigest = nil, ""
	doc, err := BuildProof(in, l)
	if err != nil {
		t.Fatal(err)
	}
	if rep, err := VerifyProof(doc); err != nil || rep.SummarySeq != 0 || rep.Summary != nil {
		t.Errorf("got %+v, %v", rep, err)
	}
}

// Every single byte counts, whatever it is changed to, and the error says where.
func TestVerifyProofDetectsEveryFlippedByte(t *testing.T) {
	doc := proofDoc(t)
	for i := range doc {
		for _, bit := range []int{i % 5, 5} { // 5 changes the case of letters, which decoders are lenient about
			bad := bytes.Clone(doc)
			bad[i] ^= 1 << bit
			mustFail(t, bad, fmt.Sprintf("byte %d bit %d", i, bit))
		}
	}
}

// The checksum is for accidents. Somebody who repairs it after changing something is found all the same.
func TestVerifyProofDetectsEveryFlipWithRepairedChecksum(t *testing.T) {
	doc := proofDoc(t)
	end := len(doc) - len(proofEnd) - 2*sha256.Size
	for i := range end {
		bit := 0
		if doc[i] >= 'A' {
			bit = 5
		}
		bad := bytes.Clone(doc)
		bad[i] ^= 1 << bit
		mustFail(t, repaired(bad), fmt.Sprintf("byte %d bit %d", i, bit))
	}
}

func repaired(doc []byte) []byte {
	end := len(doc) - len(proofEnd) - 2*sha256.Size
	sum := sha256.Sum256(doc[:end])
	return fmt.Appendf(bytes.Clone(doc[:end]), "%x%s", sum, proofEnd)
}

func mustFail(t *testing.T, doc []byte, what string) {
	t.Helper()
	_, err := VerifyProof(doc)
	var pe *ProofError
	if !errors.As(err, &pe) {
		t.Fatalf("%s: got %v, want a ProofError", what, err)
	}
	if pe.Where == "" || pe.Where == "JSON" && !strings.Contains(err.Error(), "byte ") {
		t.Fatalf("%s: %v does not say where", what, err)
	}
}

func TestVerifyProofDetectsCutsAndInsertions(t *testing.T) {
	doc := proofDoc(t)
	rng := seeded(t, 7)
	for range 300 {
		n := rng.IntN(len(doc))
		mustFail(t, doc[:n], fmt.Sprintf("cut at %d", n))
		at := rng.IntN(len(doc) + 1)
		b := []byte(" \n\t{},:0a\"")[rng.IntN(10)]
		mustFail(t, slices.Insert(bytes.Clone(doc), at, b), fmt.Sprintf("%q at %d", b, at))
	}
}

func TestVerifyProofSaysWhere(t *testing.T) {
	doc := proofDoc(t)
	for _, tt := range []struct{ name, old, new, where string }{
		{"version", `"version":1`, `"version":2`, "version"},
		{"rollout", `"rollout":"delay-v2"`, `"rollout":"delay-v1"`, "records[0] (leaf 1, record 2)"},
		{"origin", `"origin":"sluice.dev/log/test"`, `"origin":"sluice.dev/log/tent"`, "origin"},
		{"size", `\n20\n`, `\n21\n`, "head"},
		{"record", `"n":8,`, `"n":9,`, "records[2] (leaf 7, record 8)"},
		{"index", `{"index":7,`, `{"index":6,`, "records[2] (leaf 6, record 7)"},
		{"summary", `"proven":4`, `"proven":5`, "summary"},
		{"white space", `"version":1,`, `"version":1 ,`, "byte 12 (line 1)"},
		{"name's case", `"rollout":"delay-v2",`, `"Rollout":"delay-v2",`, "byte 47 (line 3)"},
		{"key", `"key":"sluice.dev/log/test+`, `"key":"sluice.dev/log/tesu+`, "key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bad := bytes.Replace(doc, []byte(tt.old), []byte(tt.new), 1)
			if bytes.Equal(bad, doc) {
				t.Fatalf("%q is not in the proof", tt.old)
			}
			_, err := VerifyProof(repaired(bad))
			var pe *ProofError
			if !errors.As(err, &pe) || pe.Where != tt.where {
				t.Errorf("got %v, want an error at %s", err, tt.where)
			}
		})
	}
	bad := bytes.Clone(doc)
	bad[len(bad)-10]++
	var pe *ProofError
	if _, err := VerifyProof(bad); !errors.As(err, &pe) || pe.Where != "sha256" {
		t.Errorf("checksum altered: %v", err)
	}
}

func TestBuildProofRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		edit       func(*ProofInput)
	}{
		{"no records", "0 records", func(in *ProofInput) { in.Records = nil }},
		{"a record after the head", "covers 1 to 20", func(in *ProofInput) { in.Records = append(in.Records, record(21)) }},
		{"an altered record", "altered", func(in *ProofInput) { in.Records[2].Reason = "x" }},
		{"another rollout's record", "is of rollout", func(in *ProofInput) { in.Records[0] = record(1) }},
		{"records out of order", "log order", func(in *ProofInput) { in.Records[0], in.Records[1] = in.Records[1], in.Records[0] }},
		{"a summary nobody vouches for", "stands in none", func(in *ProofInput) {
			in.Summary = json.RawMessage(`{}`)
			in.SummaryDigest = Digest(in.Summary)
		}},
		{"a summary of another digest", "its digest is", func(in *ProofInput) { in.Summary = json.RawMessage(`{}`) }},
		{"a summary with white space", "its digest is", func(in *ProofInput) {
			in.Summary = json.RawMessage(`{ }`)
			in.SummaryDigest = Digest(in.Summary)
		}},
		{"another key", "verifier key", func(in *ProofInput) { in.VerifierKey = "x" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, l := proofInput(t)
			tt.edit(&in)
			if _, err := BuildProof(in, l); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func FuzzVerifyProof(f *testing.F) {
	doc := proofDoc(f)
	f.Add(doc)
	f.Add([]byte(`{"version":1,"records":[{}],"sha256":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		// The key in the fuzzed file is anybody's; with ours pinned only our file passes.
		_, verifier := keys(t)
		if _, err := VerifyProof(b, verifier); err == nil && !bytes.Equal(b, doc) {
			t.Fatalf("accepted %q", b)
		}
	})
}
