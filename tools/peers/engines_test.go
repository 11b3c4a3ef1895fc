package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/growthbook/growthbook-golang"
	"github.com/launchdarkly/go-sdk-common/v3/ldcontext"
	"github.com/launchdarkly/go-sdk-common/v3/ldlog"
	"github.com/launchdarkly/go-sdk-common/v3/ldvalue"
	"github.com/launchdarkly/go-server-sdk-evaluation/v3/ldbuilders"
	"github.com/launchdarkly/go-server-sdk-evaluation/v3/ldmodel"
	ld "github.com/launchdarkly/go-server-sdk/v7"
	"github.com/launchdarkly/go-server-sdk/v7/ldcomponents"
	"github.com/launchdarkly/go-server-sdk/v7/testhelpers/ldtestdata"
	"github.com/open-feature/go-sdk/openfeature"
	statsig "github.com/statsig-io/go-sdk"

	sluice "sluice.dev/sdk"
	"sluice.dev/sdk/flag"
	sluiceof "sluice.dev/sdk/openfeature"
)

// engine makes an evaluation of a flag, checked once to do what its scenario says.
type engine struct {
	name string
	peer bool
	make func(tb testing.TB, key string) func() bool
	rule bool // has the Rule scenario
}

func engines() []engine {
	return []engine{
		{"Sluice", false, sluiceEval, true},
		{"LaunchDarkly", true, launchDarkly, true},
		{"GrowthBook", true, growthBook, true},
		{"Statsig", true, statsigEval, true},
		{"OpenFeatureNoop", false, openFeatureNoop, false},
		{"OpenFeatureSluice", false, openFeatureSluice, false},
	}
}

func fillers(put func(key string)) {
	for i := range flags - 2 {
		put(fmt.Sprintf("filler-%d", i))
	}
}

// sluiceEval: Static is a flag handle of the client, within a request; Rule is the same evaluator on a rollout whose cohort
// is country FR, under a lease, with version, arm and unit bucket in its answer.
func sluiceEval(tb testing.TB, key string) func() bool {
	if key == keyStatic {
		values := map[string]any{keyStatic: true}
		fillers(func(key string) { values[key] = true })
		c, err := sluice.Fixed(values)
		if err != nil {
			tb.Fatal(err)
		}
		ctx, _ := c.Begin(context.Background(), unit, attrs()...)
		f := c.Flag(keyStatic)
		return func() bool { return f.Bool(ctx, false) }
	}
	objects := map[string]json.RawMessage{"base/flag/" + keyRule: json.RawMessage(`{"key":"` + keyRule + `","type":"boolean","variants":{"on":true,"off":false},"default":"off",
		"rollout":{"id":"r","stable":"off","candidate":"on","salt":"s","cohorts":[{"cohort":"fr","match":{"attr":{"name":"country","op":"eq","value":"FR"}},"exposure":50000}]}}`)}
	fillers(func(key string) {
		objects["base/flag/"+key] = json.RawMessage(`{"key":"` + key + `","type":"boolean","variants":{"on":true,"off":false},"default":"on"}`)
	})
	cfg, err := flag.ParseObjects(objects)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := flag.Compile(cfg, flag.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	h, ctx := s.Flag(keyRule), flag.NewContext(unit, attrs()...)
	if r := h.Eval(ctx, true); r.Cohort != "fr" || r.Assigned == flag.ArmNone {
		tb.Fatalf("sluice: %+v", r)
	}
	return func() bool { r := h.Eval(ctx, true); return r.Variant.Bool }
}

func attrs() []flag.Attr {
	return []flag.Attr{flag.Str("email", email), flag.Str("plan", "pro"), flag.Str(attribute, country), flag.Str("version", "1.2.3")}
}

func launchDarkly(tb testing.TB, key string) func() bool {
	data := ldtestdata.DataSource()
	fillers(func(key string) { data.Update(data.Flag(key).VariationForAll(true)) })
	onOff := func(key string) *ldbuilders.FlagBuilder {
		return ldbuilders.NewFlagBuilder(key).Version(1).On(true).Salt("s").Variations(ldvalue.Bool(true), ldvalue.Bool(false)).OffVariation(1)
	}
	data.UsePreconfiguredFlag(onOff(keyStatic).FallthroughVariation(0).Build())
	data.UsePreconfiguredFlag(onOff(keyRule).FallthroughVariation(1).AddRule(ldbuilders.NewRuleBuilder().ID("r1").
		Clauses(ldbuilders.Clause(attribute, ldmodel.OperatorIn, ldvalue.String(country))).
		VariationOrRollout(ldbuilders.Rollout(ldbuilders.Bucket(0, 50000), ldbuilders.Bucket(1, 50000)))).Build())
	c, err := ld.MakeCustomClient("sdk", ld.Config{
		DataSource: data, Events: ldcomponents.NoEvents(), Logging: ldcomponents.Logging().MinLevel(ldlog.None),
	}, 5*time.Second)
	if err != nil {
		tb.Fatal(err)
	}
	ctx := ldcontext.NewBuilder(unit).SetString("email", email).SetString("plan", "pro").SetString(attribute, country).SetString("version", "1.2.3").Build()
	v, detail, err := c.BoolVariationDetail(key, ctx, false)
	if err != nil || key == keyStatic && !v || key == keyRule && detail.Reason.GetRuleID() != "r1" {
		tb.Fatalf("LaunchDarkly: %v %v %v", v, detail, err)
	}
	return func() bool { v, _ := c.BoolVariation(key, ctx, false); return v }
}

func growthBook(tb testing.TB, key string) func() bool {
	features := map[string]any{
		keyStatic: map[string]any{"defaultValue": true},
		keyRule: map[string]any{"defaultValue": false, "rules": []any{map[string]any{
			"id": "r1", "condition": map[string]any{attribute: country}, "force": true, "coverage": 0.5, "hashAttribute": "id",
		}}},
	}
	fillers(func(key string) { features[key] = map[string]any{"defaultValue": true} })
	raw, err := json.Marshal(features)
	if err != nil {
		tb.Fatal(err)
	}
	ctx := context.Background()
	c, err := growthbook.NewClient(ctx, growthbook.WithJsonFeatures(string(raw)), growthbook.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))),
		growthbook.WithAttributes(growthbook.Attributes{"id": unit, "email": email, "plan": "pro", attribute: country, "version": "1.2.3"}))
	if err != nil {
		tb.Fatal(err)
	}
	if r := c.EvalFeature(ctx, key); key == keyStatic && !r.On {
		tb.Fatalf("GrowthBook: %+v", r)
	}
	return func() bool { return c.EvalFeature(ctx, key).On }
}

func statsigEval(tb testing.TB, key string) func() bool {
	gate := func(name string, share float64, condition map[string]any) map[string]any {
		return map[string]any{
			"name": name, "type": "feature_gate", "salt": "s" + name, "enabled": true, "defaultValue": false, "idType": "userID", "entity": "feature_gate",
			"rules": []any{map[string]any{
				"name": "r1", "id": "r1", "salt": "rs", "passPercentage": share, "conditions": []any{condition}, "returnValue": true, "idType": "userID",
			}},
		}
	}
	public := map[string]any{"type": "public", "operator": "", "field": "", "idType": "userID"}
	gates := []any{gate(keyStatic, 100, public), gate(keyRule, 50, map[string]any{
		"type": "user_field", "operator": "any", "field": attribute, "targetValue": []any{country}, "additionalValues": map[string]any{}, "idType": "userID",
	})}
	fillers(func(key string) { gates = append(gates, gate(key, 100, public)) })
	raw, err := json.Marshal(map[string]any{"has_updates": true, "time": 1, "feature_gates": gates, "dynamic_configs": []any{}, "layer_configs": []any{}})
	if err != nil {
		tb.Fatal(err)
	}
	c := statsig.NewClientWithOptions("secret-local", &statsig.Options{
		LocalMode: true, BootstrapValues: string(raw), IPCountryOptions: statsig.IPCountryOptions{Disabled: true}, UAParserOptions: statsig.UAParserOptions{Disabled: true},
		OutputLoggerOptions: statsig.OutputLoggerOptions{LogCallback: func(string, error) {}},
	})
	u := statsig.User{UserID: unit, Email: email, Country: country, Custom: map[string]any{"plan": "pro", "version": "1.2.3"}}
	if g := c.GetGateWithExposureLoggingDisabled(u, key); key == keyStatic && g.RuleID != "r1" {
		tb.Fatalf("Statsig: %+v", g)
	}
	return func() bool { return c.CheckGateWithExposureLoggingDisabled(u, key) }
}

func openFeatureNoop(tb testing.TB, key string) func() bool {
	return openFeature(tb, "noop", openfeature.NoopProvider{}, key)
}

func openFeatureSluice(tb testing.TB, key string) func() bool {
	c, err := sluice.Fixed(map[string]any{keyStatic: true})
	if err != nil {
		tb.Fatal(err)
	}
	return openFeature(tb, "sluice", sluiceof.New(c), key)
}

func openFeature(tb testing.TB, domain string, p openfeature.FeatureProvider, key string) func() bool {
	if err := openfeature.SetNamedProviderAndWait(domain, p); err != nil {
		tb.Fatal(err)
	}
	c, ctx := openfeature.NewClient(domain), context.Background()
	of := openfeature.NewEvaluationContext(unit, map[string]any{"email": email, "plan": "pro", attribute: country, "version": "1.2.3"})
	return func() bool { v, _ := c.BooleanValue(ctx, key, false, of); return v }
}
