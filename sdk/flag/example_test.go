package flag_test

import (
	"encoding/json"
	"fmt"

	"sluice.dev/sdk/flag"
)

// A configuration is parsed and compiled once; evaluations then only read.
func Example() {
	cfg, err := flag.ParseObjects(map[string]json.RawMessage{
		"base/flag/eta": json.RawMessage(`{"key": "eta", "type": "string", "variants": {"v11": "mean", "v12": "median"}, "default": "v11",
			"rules": [{"name": "staff", "match": {"attr": {"name": "staff", "op": "eq", "value": true}}, "serve": "v12"}]}`),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	snapshot, err := flag.Compile(cfg, flag.Options{ScopeRev: map[string]uint64{"base": 7}})
	if err != nil {
		fmt.Println(err)
		return
	}
	eta := snapshot.Flag("eta")
	for _, staff := range []bool{true, false} {
		r := eta.Eval(flag.NewContext("user-1", flag.BoolAttr("staff", staff)), false)
		fmt.Println(r.String("mean"), r.Reason, r.RuleName, r.Revision)
	}
	// Output:
	// median RULE staff 7
	// mean DEFAULT  7
}

func ExampleParseCondition() {
	c, err := flag.ParseCondition(`account.type == 'employee' || segment:beta && !(region in ["eu", "ch"])`)
	fmt.Println(c, err)
	_, err = flag.ParseCondition(`age >= '18'`)
	fmt.Println(err)
	// Output:
	// account.type == 'employee' || (segment:beta && !(region in ['eu', 'ch'])) <nil>
	// condition at byte 7: operator ge compares numbers only
}

// Raising the exposure only adds units.
func ExampleExposed() {
	b := flag.Bucket("user-42", "eta-12")
	for _, e := range []flag.Exposure{1_000, 25_000, 50_000, flag.Full} {
		fmt.Println(e, flag.Exposed(b, e))
	}
	// Output:
	// 1000 false
	// 25000 false
	// 50000 true
	// 100000 true
}
