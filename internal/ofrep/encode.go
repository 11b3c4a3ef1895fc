package ofrep

import (
	"encoding/json"
	"strconv"

	"sluice.dev/sdk/flag"
)

// reasonOf returns OFREP's reason, one of STATIC, TARGETING_MATCH, SPLIT, DISABLED, DEFAULT and UNKNOWN. A candidate that
// was due without a lease is UNKNOWN: the value is safe, but not the one that was decided.
func reasonOf(h *flag.Handle, res flag.Result) string {
	if res.Reason == flag.ReasonDefault && h.Static() && res.Variant != nil {
		return "STATIC"
	}
	if reason := flag.OpenFeatureReason(res.Reason); reason != "STALE" {
		return reason
	}
	return "UNKNOWN"
}

// appendSuccess appends the answer for one flag. Keys and names of variants are slugs and values canonical JSON: nothing
// needs escaping. Without a variant there is no value: the client serves its code's default.
func appendSuccess(b []byte, h *flag.Handle, res flag.Result, full bool) []byte {
	b = append(b, `{"key":"`...)
	b = append(b, h.Key...)
	b = append(b, `","reason":"`...)
	b = append(b, reasonOf(h, res)...)
	b = append(b, '"')
	if v := res.Variant; v != nil {
		b = append(b, `,"variant":"`...)
		b = append(b, v.Name...)
		b = append(b, `","value":`...)
		b = append(b, v.Raw...)
	}
	b = appendMetadata(b, res, full)
	return append(b, '}')
}

// appendMetadata says what decided. full adds the revision of the flag's scope; in a bulk answer it would make every flag
// of the scope look changed whenever one is.
func appendMetadata(b []byte, res flag.Result, full bool) []byte {
	start := len(b)
	if full {
		b = append(b, `,"revision":`...)
		b = strconv.AppendUint(b, res.Revision, 10)
	}
	b = appendText(b, "rollout", res.Rollout)
	b = appendText(b, "cohort", res.Cohort)
	b = appendText(b, "rule", res.RuleName)
	switch {
	case res.Reason == flag.ReasonLapsed:
		b = append(b, `,"lease":"lapsed"`...)
	case res.Served == flag.ArmExposed:
		b = append(b, `,"arm":"exposed"`...)
	case res.Served == flag.ArmBaseline:
		b = append(b, `,"arm":"baseline"`...)
	}
	if len(b) == start {
		return b
	}
	members := string(b[start+1:])
	b = append(b[:start], `,"metadata":{`...)
	b = append(b, members...)
	return append(b, '}')
}

func appendText(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return appendQuoted(b, value)
}

// appendQuoted appends a JSON string of any text.
func appendQuoted(b []byte, s string) []byte {
	q, err := json.Marshal(s)
	if err != nil {
		panic("ofrep: text has no JSON: " + err.Error()) // strings always have
	}
	return append(b, q...)
}

// appendFailure appends an error, of one flag when key is not "".
func appendFailure(b []byte, key, code, text string) []byte {
	b = append(b, '{')
	if key != "" {
		b = append(b, `"key":`...)
		b = append(appendQuoted(b, key), ',')
	}
	b = append(b, `"errorCode":"`...)
	b = append(b, code...)
	b = append(b, `","errorDetails":`...)
	b = appendQuoted(b, text)
	return append(b, '}')
}

// appendBulk returns the answer for every flag.
func appendBulk(q request, ctx *flag.Context) []byte {
	handles := q.conf.snap.Handles()
	b := append(make([]byte, 0, 512+96*len(handles)), `{"flags":[`...)
	for i, h := range handles {
		if i > 0 {
			b = append(b, ',')
		}
		if res := q.eval(h, ctx); res.Reason != flag.ReasonError {
			b = appendSuccess(b, h, res, false)
		} else {
			b = appendFailure(b, h.Key, res.ErrCode, errorText(res, h.Key))
		}
	}
	b = append(b, `],"metadata":{"environment":`...)
	b = appendQuoted(b, q.state.env.name)
	b = append(b, `,"revision":`...)
	b = strconv.AppendUint(b, q.state.Rev, 10)
	b = append(b, `,"digest":`...)
	b = appendQuoted(b, q.state.Digest)
	b = append(b, `},"eventStreams":[{"type":"sse","endpoint":{"requestUri":`...)
	b = appendQuoted(b, q.state.env.uri)
	return append(b, `},"inactivityDelaySec":120}]}`...)
}
