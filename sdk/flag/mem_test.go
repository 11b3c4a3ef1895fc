package flag

import (
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
)

// TestSnapshotMemory holds a snapshot of 10,000 flags, every fifth with a rule, to 8 MB.
func TestSnapshotMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector changes the sizes of objects")
	}
	in := map[string]json.RawMessage{}
	for i := range MaxFlags {
		key := fmt.Sprintf("flag-%d", i)
		rules := ""
		if i%5 == 0 {
			rules = `,"rules":[{"match":{"attr":{"name":"country","op":"eq","value":"fr"}},"serve":"on"}]`
		}
		in["base/flag/"+key] = json.RawMessage(`{"key":"` + key + `","type":"boolean","variants":{"on":true,"off":false},"default":"off"` + rules + `}`)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := mustCompile(t, in, nil)
	runtime.GC()
	runtime.ReadMemStats(&after)
	size := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d flags take %.1f MB", len(s.Handles()), float64(size)/1e6)
	if size > 8e6 {
		t.Errorf("%d flags take %d bytes, want at most 8 MB", len(s.Handles()), size)
	}
	runtime.KeepAlive(in)
}
