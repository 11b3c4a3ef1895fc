package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Limits of a proof file.
const (
	MaxProofBytes   = 64 << 20
	MaxProofRecords = 100_000
)

// proofVersion is the format of the files BuildProof writes and the only one VerifyProof reads.
const proofVersion = 1

// proofEnd follows the checksum.
const proofEnd = "\"}\n"

// proofFile is the one JSON document of a proof. What protects each field:
//
//	records    their inclusion proofs against the head
//	head       the signature
//	key, origin   each other, and the head's signature names both
//	summary    its digest, which stands in one of the records
//	rest       the document must be byte for byte the one form that these values have
//
// The checksum at its end protects against accidents only; it lets the check say "the file was damaged" for any byte.
type proofFile struct {
	Version       int             `json:"version"`
	Origin        string          `json:"origin"`
	Rollout       string          `json:"rollout"`
	Key           string          `json:"key"`  // verifier key in the encoding of package note
	Head          string          `json:"head"` // signed note
	Records       []provenRecord  `json:"records"`
	SummaryDigest string          `json:"summaryDigest,omitempty"`
	Summary       json.RawMessage `json:"summary,omitempty"`
	SHA256        string          `json:"sha256"` // hex, over everything before the value
}

type provenRecord struct {
	Index  uint64          `json:"index"` // of the leaf, from 0; the record's seq less one
	Record json.RawMessage `json:"record"`
	Proof  []string        `json:"proof"` // base64 hashes, from the leaf up
}

// ProofInput is what BuildProof puts into a proof.
type ProofInput struct {
	Rollout     string
	Records     []Record        // all records of the rollout that the head covers, ascending; at least one
	SignedHead  []byte          // from SignHead
	VerifierKey string          // of the log
	Summary     json.RawMessage // any JSON value in canonical form; empty for none
	// SummaryDigest is "sha256:<hex>" of Summary. One of Records must hold it as a string in its event or state, which
	// is what binds the summary to the log. Empty exactly when Summary is.
	SummaryDigest string
}

// BuildProof returns the proof file of one rollout, to be checked anywhere without Sluice's server: see VerifyProof.
// r holds the stored hashes of the log. The result has been verified; input that does not prove anything is an error.
// The same input gives the same bytes.
func BuildProof(in ProofInput, r HashReader) ([]byte, error) {
	head, name, err := OpenHead(in.SignedHead, in.VerifierKey)
	if err != nil {
		return nil, fmt.Errorf("proof of rollout %s: %w", in.Rollout, err)
	}
	origin, err := Origin(name)
	if err != nil {
		return nil, fmt.Errorf("proof of rollout %s: %w", in.Rollout, err)
	}
	p := proofFile{
		Version: proofVersion, Origin: origin, Rollout: in.Rollout, Key: in.VerifierKey, Head: string(in.SignedHead),
		SummaryDigest: in.SummaryDigest, Summary: in.Summary,
	}
	for _, rec := range in.Records {
		pr, err := prove(rec, head, r)
		if err != nil {
			return nil, fmt.Errorf("proof of rollout %s: %w", in.Rollout, err)
		}
		p.Records = append(p.Records, pr)
	}
	doc, err := p.marshal()
	if err != nil {
		return nil, fmt.Errorf("proof of rollout %s: %w", in.Rollout, err)
	}
	if _, err := VerifyProof(doc); err != nil {
		return nil, fmt.Errorf("proof of rollout %s: %w", in.Rollout, err)
	}
	return doc, nil
}

func prove(rec Record, head TreeHead, r HashReader) (provenRecord, error) {
	leaf, err := Leaf(rec)
	if err != nil {
		return provenRecord{}, err
	}
	if rec.Seq == 0 || rec.Seq > head.Size {
		return provenRecord{}, fmt.Errorf("record %d: the signed head covers 1 to %d", rec.Seq, head.Size)
	}
	path, err := ProveInclusion(head.Size, rec.Seq-1, r)
	if err != nil {
		return provenRecord{}, err
	}
	out := provenRecord{Index: rec.Seq - 1, Record: leaf, Proof: make([]string, len(path))}
	for i, h := range path {
		out.Proof[i] = base64.StdEncoding.EncodeToString(h[:])
	}
	return out, nil
}

// marshal writes the one form of the document: a field a line, a record a line, compact JSON in each.
func (p *proofFile) marshal() ([]byte, error) {
	var buf bytes.Buffer
	field := func(before, name string, v any) error {
		b, err := encode(v)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Fprintf(&buf, "%s%q:%s", before, name, b)
		return nil
	}
	err := errors.Join(
		field("{", "version", p.Version), field(",\n", "origin", p.Origin), field(",\n", "rollout", p.Rollout),
		field(",\n", "key", p.Key), field(",\n", "head", p.Head))
	if err != nil {
		return nil, err
	}
	buf.WriteString(",\n\"records\":[")
	for i, rec := range p.Records {
		b, err := encode(rec)
		if err != nil {
			return nil, fmt.Errorf("records[%d]: %w", i, err)
		}
		if i > 0 {
			buf.WriteByte(',')
		}
		buf.WriteByte('\n')
		buf.Write(b)
	}
	buf.WriteByte(']')
	if p.SummaryDigest != "" || len(p.Summary) != 0 {
		if err := errors.Join(field(",\n", "summaryDigest", p.SummaryDigest), field(",\n", "summary", p.Summary)); err != nil {
			return nil, err
		}
	}
	buf.WriteString(",\n\"sha256\":\"")
	sum := sha256.Sum256(buf.Bytes())
	fmt.Fprintf(&buf, "%x%s", sum, proofEnd)
	return buf.Bytes(), nil
}

// Report is what a valid proof proves.
type Report struct {
	Rollout string
	Origin  string // of the log
	Key     string // verifier key the head is signed with
	Trusted bool   // the key is one of those given to VerifyProof
	Head    TreeHead
	Records []Record // in log order
	// Summary is the canonical JSON that record SummarySeq vouches for by digest; empty if the proof has none.
	Summary       json.RawMessage
	SummaryDigest string
	SummarySeq    uint64
}

// ProofError says where a proof file is wrong.
type ProofError struct {
	Where string // "byte 812 (line 7)", "head", "records[3] (leaf 41, record 42)", "summary", "sha256", ...
	Err   error
}

func (e *ProofError) Error() string { return fmt.Sprintf("proof file, %s: %v", e.Where, e.Err) }

// Unwrap returns the cause.
func (e *ProofError) Unwrap() error { return e.Err }

func proofError(where, format string, args ...any) error {
	return &ProofError{Where: where, Err: fmt.Errorf(format, args...)}
}

// VerifyProof checks a proof file offline and returns what it proves: each record is a leaf of the log with the signed
// head, and the summary is the one whose digest was logged. Any byte that differs from what BuildProof wrote is an error
// (*ProofError) that says where.
//
// Who signed is the caller's question: with trusted keys given, the file's key must be one of them; without, the file
// proves only that the holder of its key stands by it, and Report.Trusted is false. It cannot show that a rollout has no
// further records; the log as a whole can (VerifyLog).
func VerifyProof(doc []byte, trusted ...string) (Report, error) {
	p, err := parseProof(doc)
	if err != nil {
		return Report{}, err
	}
	rep := Report{Rollout: p.Rollout, Origin: p.Origin, Key: p.Key, Trusted: slices.Contains(trusted, p.Key)}
	if err := p.checkHead(&rep); err != nil {
		return Report{}, err
	}
	if err := p.checkRecords(&rep); err != nil {
		return Report{}, err
	}
	if err := p.checkSummary(&rep); err != nil {
		return Report{}, err
	}
	if err := p.checkForm(doc); err != nil {
		return Report{}, err
	}
	if len(trusted) > 0 && !rep.Trusted {
		return Report{}, proofError("key", "%s is not one of the %d trusted keys", p.Key, len(trusted))
	}
	return rep, nil
}

func parseProof(doc []byte) (*proofFile, error) {
	if len(doc) > MaxProofBytes {
		return nil, proofError("size", "%d bytes, at most %d are allowed", len(doc), MaxProofBytes)
	}
	var p proofFile
	if err := decodeStrict(doc, &p); err != nil {
		return nil, &ProofError{Where: "JSON", Err: err}
	}
	if p.Version != proofVersion {
		return nil, proofError("version", "%d is not known; this program reads version %d", p.Version, proofVersion)
	}
	if len(p.Records) == 0 || len(p.Records) > MaxProofRecords {
		return nil, proofError("records", "%d records, want 1 to %d", len(p.Records), MaxProofRecords)
	}
	return &p, nil
}

func (p *proofFile) checkHead(rep *Report) error {
	if _, _, err := parseKey(p.Key); err != nil {
		return &ProofError{Where: "key", Err: err}
	}
	head, name, err := OpenHead([]byte(p.Head), p.Key)
	if err != nil {
		return &ProofError{Where: "head", Err: err}
	}
	if p.Origin != originPrefix+name {
		return proofError("origin", "%q, the head is of %q", p.Origin, originPrefix+name)
	}
	rep.Head = head
	return nil
}

func (p *proofFile) checkRecords(rep *Report) error {
	for i, pr := range p.Records {
		where := fmt.Sprintf("records[%d] (leaf %d, record %d)", i, pr.Index, pr.Index+1)
		rec, err := pr.check(rep.Head)
		if err != nil {
			return &ProofError{Where: where, Err: err}
		}
		if i > 0 && pr.Index <= p.Records[i-1].Index {
			return proofError(where, "it follows leaf %d; records are in log order", p.Records[i-1].Index)
		}
		if rec.Rollout != p.Rollout {
			return proofError(where, "it is of rollout %q, the proof is of %q", rec.Rollout, p.Rollout)
		}
		rep.Records = append(rep.Records, rec)
	}
	return nil
}

func (pr *provenRecord) check(head TreeHead) (Record, error) {
	path := make([][32]byte, len(pr.Proof))
	for i, s := range pr.Proof {
		b, err := base64.StdEncoding.Strict().DecodeString(s)
		if err != nil || len(b) != 32 {
			return Record{}, fmt.Errorf("proof[%d] %q is not the base64 of a hash", i, s)
		}
		path[i] = [32]byte(b)
	}
	// The hash first: it covers every byte of the record, so whatever differs in there is found here.
	if err := VerifyInclusion(path, head, pr.Index, pr.Record); err != nil {
		return Record{}, fmt.Errorf("the record or its proof was altered: %w", err)
	}
	rec, err := ParseLeaf(pr.Record)
	if err != nil {
		return Record{}, err
	}
	if rec.Seq != pr.Index+1 {
		return Record{}, fmt.Errorf("the record's sequence number is %d", rec.Seq)
	}
	return rec, nil
}

func (p *proofFile) checkSummary(rep *Report) error {
	if p.SummaryDigest == "" && len(p.Summary) == 0 {
		return nil
	}
	if got := Digest(p.Summary); p.SummaryDigest != got {
		return proofError("summary", "its digest is %s, summaryDigest says %s", got, p.SummaryDigest)
	}
	quoted := []byte(`"` + p.SummaryDigest + `"`)
	for _, rec := range rep.Records {
		if bytes.Contains(rec.Event, quoted) || bytes.Contains(rec.State, quoted) {
			rep.Summary, rep.SummaryDigest, rep.SummarySeq = p.Summary, p.SummaryDigest, rec.Seq
			return nil
		}
	}
	return proofError("summaryDigest", "%s stands in none of the %d records", p.SummaryDigest, len(rep.Records))
}

// checkForm compares the document with the one form its values have. All values are checked by now, so what can differ is
// the checksum, and spelling that JSON decoders accept: white space, order, escapes, repeated or differently cased names.
func (p *proofFile) checkForm(doc []byte) error {
	again, err := p.marshal()
	if err != nil {
		return &ProofError{Where: "JSON", Err: err}
	}
	at := firstDifference(doc, again)
	switch {
	case bytes.Equal(doc, again):
		return nil
	case at < len(again)-len(proofEnd)-2*sha256.Size || at >= len(again)-len(proofEnd):
		line := 1 + bytes.Count(doc[:at], []byte("\n"))
		return proofError(fmt.Sprintf("byte %d (line %d)", at, line), "the file was not written like this; its values are intact")
	}
	return proofError("sha256", "the checksum is not that of the file; its values are intact")
}

// Digest returns "sha256:" and the hex SHA-256 of b.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
