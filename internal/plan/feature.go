package plan

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"sluice.dev/sdk/evidence"
)

// feature declares the metrics that stand for an ML feature, one for each way in which its data can go bad.
func (c *compiler) feature(name string, m *value) {
	of := c.metric(name, m)
	if scale := m.get("scale"); scale.ok {
		of.Scale = int(scale.whole)
	}
	maxAge := 0.0
	if age := m.get("maxAge"); age.ok && c.within(age, time.Second, 366*24*time.Hour) {
		maxAge = age.dur.Seconds()
	}
	parts := evidence.FeatureMetrics(name, of, maxAge)
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		if _, taken := c.plan.Metrics[part]; taken {
			c.fail(m, "name.reserved", fmt.Sprintf("feature %s measures %s, which is a metric already", quote(name), quote(part)), "rename one of them")
			continue
		}
		c.plan.Metrics[part] = parts[part]
	}
	if c.plan.Units == nil {
		c.plan.Units = map[string]string{}
	}
	c.plan.Units[name+evidence.FeatureAge] = "s"
}
