package sluiceof

import (
	"sync"
	"time"

	"github.com/open-feature/go-sdk/openfeature"

	"sluice.dev/sdk/flag"
)

// unitContext is a context with the memory of its attributes, to be used again.
type unitContext struct {
	context flag.Context
	attrs   []flag.Attr
}

var units = sync.Pool{New: func() any { return new(unitContext) }}

// reset makes u the context that flat describes. Values that no condition compares (nested ones, nil) are left out; a time
// is its RFC 3339 text.
func (u *unitContext) reset(unit string, flat openfeature.FlattenedContext) {
	u.attrs = u.attrs[:0]
	for name, value := range flat {
		if name == openfeature.TargetingKey {
			continue
		}
		if a, ok := attrOf(name, value); ok {
			u.attrs = append(u.attrs, a)
		}
	}
	u.context.Reset(unit, u.attrs...)
}

func attrOf(name string, value any) (flag.Attr, bool) {
	switch v := value.(type) {
	case string:
		return flag.Str(name, v), true
	case bool:
		return flag.BoolAttr(name, v), true
	case int:
		return flag.IntNum(name, int64(v)), true
	case int64:
		return flag.IntNum(name, v), true
	case int32:
		return flag.IntNum(name, int64(v)), true
	case uint32:
		return flag.IntNum(name, int64(v)), true
	case float64:
		return flag.Num(name, v), true
	case float32:
		return flag.Num(name, float64(v)), true
	case []string:
		return flag.List(name, v...), true
	case time.Time:
		return flag.Str(name, v.Format(time.RFC3339Nano)), true
	case []any:
		return listOf(name, v)
	}
	return flag.Attr{}, false
}

func listOf(name string, values []any) (flag.Attr, bool) {
	texts := make([]string, len(values))
	for i, v := range values {
		s, ok := v.(string)
		if !ok {
			return flag.Attr{}, false
		}
		texts[i] = s
	}
	return flag.List(name, texts...), true
}
