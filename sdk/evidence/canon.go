package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"unicode/utf8"
)

// SecondDigest returns "sha256:" and the hex SHA-256 of the second's canonical JSON (RFC 8785: members sorted by name, no
// spaces, integers only). Blocks are taken in the order they stand in; sort them first. Histograms are taken trimmed.
func SecondDigest(s *Second) string {
	sum := sha256.Sum256(AppendCanonical(nil, s))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// AppendCanonical appends the canonical JSON of the second to b. It holds the same members as json.Marshal's.
func AppendCanonical(b []byte, s *Second) []byte {
	b = append(b, `{"at":`...)
	b = strconv.AppendInt(b, s.At, 10)
	if len(s.Blocks) > 0 {
		b = appendList(append(b, `,"blocks":`...), s.Blocks, appendBlock)
	}
	if s.Gap {
		b = append(b, `,"gap":true`...)
	}
	b = strconv.AppendInt(append(b, `,"members":`...), int64(s.Members), 10)
	if len(s.OffHead) > 0 {
		b = appendList(append(b, `,"offHead":`...), s.OffHead, func(b []byte, s *string) []byte { return appendString(b, *s) })
	}
	b = strconv.AppendInt(append(b, `,"through":`...), int64(s.Through), 10)
	return append(b, '}')
}

func appendBlock(b []byte, k *Block) []byte {
	b = appendString(append(b, `{"assigned":`...), k.Assigned)
	b = appendCount(b, `,"bad":`, k.Bad)
	if len(k.Cells) > 0 {
		b = appendList(append(b, `,"cells":`...), k.Cells, appendCell)
	}
	b = appendString(append(b, `,"cohort":`...), k.Cohort)
	b = appendCount(b, `,"exposure":`, uint64(k.Exposure))
	b = appendHist(b, k.Hist)
	b = appendString(append(b, `,"lease":`...), k.Lease)
	b = appendString(append(b, `,"metric":`...), k.Metric)
	b = appendCount(b, `,"n":`, k.N)
	b = appendCount(b, `,"open":`, k.Open)
	b = appendCount(b, `,"revision":`, k.Revision)
	b = appendString(append(b, `,"rollout":`...), k.Rollout)
	b = strconv.AppendInt(append(b, `,"second":`...), k.Second, 10)
	b = appendString(append(b, `,"served":`...), k.Served)
	return append(b, '}')
}

func appendCell(b []byte, c *Cell) []byte {
	b = appendCount(b, `{"bad":`, c.Bad)
	if len(c.Buckets) > 0 {
		b = appendList(append(b, `,"buckets":`...), c.Buckets, func(b []byte, u *UnitBucket) []byte {
			b = appendCount(b, `{"bad":`, u.Bad)
			b = appendCount(b, `,"k":`, uint64(u.K))
			b = appendCount(b, `,"n":`, u.N)
			if u.Sum != 0 {
				b = strconv.AppendInt(append(b, `,"sum":`...), u.Sum, 10)
			}
			return append(b, '}')
		})
	}
	b = appendString(append(b, `,"dim":`...), c.Dim)
	if len(c.ExposedHistByBucket) > 0 {
		b = appendList(append(b, `,"exposedHistByBucket":`...), c.ExposedHistByBucket, func(b []byte, u *BucketBin) []byte {
			b = strconv.AppendInt(append(b, `{"bin":`...), int64(u.Bin), 10)
			b = appendCount(b, `,"count":`, u.Count)
			return append(appendCount(b, `,"k":`, uint64(u.K)), '}')
		})
	}
	b = appendHist(b, c.Hist)
	b = appendCount(b, `,"n":`, c.N)
	if c.Value != "" {
		b = appendString(append(b, `,"value":`...), c.Value)
	}
	return append(b, '}')
}

func appendHist(b []byte, h *Hist) []byte {
	if h == nil {
		return b
	}
	t := *h
	t.Trim()
	b = append(b, `,"hist":{`...)
	if len(t.Counts) > 0 {
		b = append(appendCounts(append(b, `"counts":`...), t.Counts), ',')
		b = append(strconv.AppendInt(append(b, `"offset":`...), int64(t.Offset), 10), ',')
	}
	b = strconv.AppendInt(append(b, `"scale":`...), int64(t.Scale), 10)
	if t.Zero > 0 {
		b = appendCount(b, `,"zero":`, t.Zero)
	}
	return append(b, '}')
}

func appendList[T any](b []byte, list []T, one func([]byte, *T) []byte) []byte {
	b = append(b, '[')
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = one(b, &list[i])
	}
	return append(b, ']')
}

func appendCount(b []byte, name string, n uint64) []byte {
	return strconv.AppendUint(append(b, name...), n, 10)
}

// appendString writes a JSON string as RFC 8785 section 3.2.2.2 has it.
func appendString(b []byte, s string) []byte {
	const short = "btn_fr" // \b \t \n, and \f \r after a gap
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r >= '\b' && r <= '\r' && r != '\v':
			b = append(b, '\\', short[r-'\b'])
		case r < ' ':
			const digits = "0123456789abcdef"
			b = append(b, '\\', 'u', '0', '0', digits[r>>4], digits[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
