package plan

import "sluice.dev/sdk/evidence"

// typ says how a field's value is read.
type typ uint8

const (
	tObject    typ = iota // a mapping with the members in fields
	tList                 // a list of elem
	tMap                  // a mapping of free keys to elem
	tText                 // free text
	tSlug                 // a lower-case name
	tIdent                // a name that may have capitals
	tComponent            // "kind" or "kind/name"
	tPrincipal            // "user:ada", "oncall:sre"
	tDigest               // "sha256:<hex>"
	tCondition            // a condition over attributes
	tDuration             // "90s", "2d"
	tShare                // "5%", a share of units
	tNumber
	tWhole
	tBool
	tEnum     // one of enum
	tQuantity // "20%", "2pp", a number, a number with the metric's unit: read where the metric is known
	tLater    // known to the language, not supported by this version
)

// field is one row of the table that everything else is made from: what is accepted, what is refused as not supported
// yet, the JSON Schema and the reference.
type field struct {
	name     string
	doc      string
	typ      typ
	need     bool
	fallback string   // the default in words, "" for none
	in       span     // tNumber, tWhole
	enum     []string // tEnum: what this version does
	later    []string // tEnum: what later versions will do
	laterAs  string   // code of the refusal of such a value; "" means value.unsupported
	fields   []field  // tObject
	elem     *field   // tList, tMap
	keys     typ      // tMap: tSlug or tIdent
	most     int      // tList, tMap: largest number of elements; 0 means 100
	alts     []field  // other shapes of the same field, told apart by being a value, a list or a mapping
}

func (f field) required() field           { f.need = true; return f }
func (f field) or(alts ...field) field    { f.alts = alts; return f }
func (f field) defaults(s string) field   { f.fallback = s; return f }
func (f field) soon(vs ...string) field   { f.later = vs; return f }
func (f field) refused(code string) field { f.laterAs = code; return f }
func (f field) upTo(n int) field          { f.most = n; return f }

func obj(name, doc string, fields ...field) field {
	return field{name: name, doc: doc, typ: tObject, fields: fields}
}
func scal(t typ, name, doc string) field { return field{name: name, doc: doc, typ: t} }
func enum(name, doc string, values ...string) field {
	return field{name: name, doc: doc, typ: tEnum, enum: values}
}
func num(t typ, name, doc string, in span) field { return field{name: name, doc: doc, typ: t, in: in} }
func listOf(name, doc string, elem field) field {
	return field{name: name, doc: doc, typ: tList, elem: &elem}
}
func mapOf(name, doc string, keys typ, elem field) field {
	return field{name: name, doc: doc, typ: tMap, keys: keys, elem: &elem}
}

// notYet lists members that belong to the language and that this version refuses rather than ignores.
func notYet(names ...string) []field {
	fs := make([]field, len(names))
	for i, n := range names {
		fs[i] = field{name: n, typ: tLater}
	}
	return fs
}

func (f field) with(more []field) field { f.fields = append(f.fields, more...); return f }

const (
	apiVersion = "sluice/v1"
	kindName   = "Rollout"
)

// specification returns the table. It is built per call because it is a tree of values without mutable shares.
func specification() field {
	return obj("", "The specification of one rollout: what changes, for whom, how it is judged and how it is taken back.",
		enum("apiVersion", "Version of this language.", apiVersion).required(),
		enum("kind", "Kind of the object.", kindName).required().
			soon("RolloutTemplate", "Guardrail", "Flag", "Component", "ReleaseCalendar", "SLO", "EscalationPolicy", "Scenario", "Exception", "Environment"),
		obj("metadata", "Name and labels.",
			scal(tSlug, "name", "Name of the rollout, unique in its environment.").required(),
			scal(tSlug, "namespace", "Group of rollouts that belong together."),
			mapOf("labels", "Free labels.", tIdent, scal(tText, "", "Value of the label.")).upTo(32),
		).required(),
		specFields().required(),
	)
}

func specFields() field {
	return obj("spec", "What the rollout does.",
		scal(tSlug, "environment", "Environment it runs in.").required(),
		hypothesisFields().required(),
		ownershipFields().required(),
		docsFields(),
		changeFields().required(),
		audienceFields(),
		analysisFields(),
		mapOf("metrics", "What is measured, by name; the signals sdk:NAME, gateway:NAME and event:NAME refer to it. The metric error is built in.",
			tSlug, metricFields()).upTo(50),
		listOf("guardrails", "What must not get worse.", guardrailFields()).required().upTo(50),
		listOf("stages", "Steps of exposure, in order.", stageFields()).required().upTo(maxStages),
		rollbackFields(),
	).with(notYet("templateRef", "escalation", "baseline", "capacity", "slo", "calendar", "governance", "dryRun", "notify"))
}

func hypothesisFields() field {
	return obj("hypothesis", "What the change is expected to do, locked at the start.",
		scal(tText, "statement", "The expectation in one sentence.").required(),
		listOf("expect", "Expected changes.", obj("", "One expected change.",
			scal(tSlug, "metric", "Name of a metric or guardrail of this specification.").required(),
			scal(tText, "change", "Expected change, such as \">= +2%\".").required(),
			scal(tDuration, "within", "Time until it should show."),
		)).upTo(20),
		scal(tText, "falsifiedBy", "What would prove the hypothesis wrong."),
	)
}

func ownershipFields() field {
	return obj("ownership", "Who answers for the rollout.",
		scal(tPrincipal, "owner", "Who owns definitions, enrollment and rollback, such as user:ada.").required(),
		listOf("deputies", "Who may act for the owner.", scal(tPrincipal, "", "A person or role.")).upTo(10),
		listOf("decides", "Duties of the owner.", enum("", "One duty.", "definitions", "enrollment", "rollback")).upTo(3),
		mapOf("teams", "Teams by role.", tIdent, scal(tPrincipal, "", "Name of the team.")).upTo(20),
	)
}

func docsFields() field {
	return obj("docs", "Documents that are part of the plan.",
		listOf("assumptions", "What must hold for the change to be safe.", scal(tText, "", "One assumption.")).upTo(50),
		listOf("dataDependencies", "Datasets that the change reads.", obj("", "One dataset.",
			scal(tText, "dataset", "Name of the dataset.").required(),
			scal(tDuration, "freshness", "How old it may be."),
			scal(tDigest, "schema", "Digest of the schema it is expected to have."),
		)).upTo(50),
		listOf("criticalPaths", "Paths from source to user that must work.", scal(tText, "", "One path.")).upTo(50),
		listOf("failureModes", "How the change may fail, each with guardrails that would notice.", obj("", "One failure mode.",
			scal(tIdent, "id", "Short name.").required(),
			scal(tText, "text", "What goes wrong.").required(),
			listOf("guards", "Names of guardrails.", scal(tSlug, "", "A guardrail.")).upTo(20),
		)).upTo(50),
	)
}

func changeFields() field {
	return obj("change", "What changes.",
		obj("flag", "The feature flag and its two variants.",
			scal(tIdent, "key", "Key of the flag.").required(),
			scal(tIdent, "stable", "Variant served before, and after a rollback.").required(),
			scal(tIdent, "candidate", "Variant that is rolled out.").required(),
		).required().with(notYet("levels")),
		listOf("bundle", "Artifacts that move together: writers, stores, hosts, readers, in this order.", obj("", "One component.",
			scal(tComponent, "component", "Component, such as feature-store/online.").required(),
			scal(tText, "artifact", "What it loads, such as view:spend.").required(),
			scal(tDigest, "from", "Digest of the artifact before.").required(),
			scal(tDigest, "to", "Digest of the artifact after.").required(),
		)).upTo(50),
	).with(notYet("state"))
}

func audienceFields() field {
	return obj("audience", "Who is exposed and how it is looked at.",
		scal(tIdent, "unit", "Attribute that is hashed into buckets.").defaults("the targeting key"),
		obj("bucketing", "How units are assigned.",
			scal(tIdent, "salt", "Salt of the hash; the same salt keeps the same units.").defaults("the flag's key"),
			scal(tBool, "nested", "A wider stage only adds units. Always true.").defaults("true"),
		),
		mapOf("cohorts", "Named groups of units, as conditions over attributes; \"true\" is everybody.", tSlug,
			scal(tCondition, "", "Condition, such as account.type == 'employee'.")).defaults("general: everybody").upTo(20),
		listOf("segments", "Attributes whose values are judged one by one.", scal(tIdent, "", "An attribute.").or(
			obj("", "An attribute that names a data source.", scal(tIdent, "source", "The attribute.").required()))).upTo(20),
	).with(notYet("consistency", "exclude", "exceptions", "minimumViableExposure", "holdback"))
}

func actionField(name, doc string) field { return enum(name, doc, "rollback", "pause", "hold") }

func noDataField() field {
	f := actionField("onNoData", "What missing data does.")
	return f.or(obj("", "What missing data does, and after how long.",
		scal(tDuration, "after", "How long data may be missing.").defaults("10m"),
		actionField("do", "What happens then.").required(),
	))
}

func analysisFields() field {
	return obj("analysisDefaults", "Judgement of the whole rollout, and what guardrails inherit.",
		num(tNumber, "alpha", "Probability that a harmless rollout is ever rolled back by an always-valid guardrail.", span{0, 0.05, true}).defaults("0.01"),
		enum("onInconclusive", "What happens when a bake ends without enough evidence: approve asks a person, hold waits.", "hold", "approve").defaults("approve"),
		actionField("onError", "What an error of a provider does.").defaults("pause"),
		actionField("onSRM", "What units on an arm that their hash does not give do.").defaults("pause"),
		noDataField().defaults("{after: 10m, do: pause}"),
	).with(notYet("initialDelay", "failureLimit", "inconclusiveLimit", "consecutiveErrorLimit", "powerFrom"))
}

func metricFields() field {
	return obj("", "One metric.",
		enum("kind", "proportion: each observation is good or bad. value: each observation is a number, kept as a histogram. feature: an ML feature's values as NAME, and NAME-nulls, NAME-schema, NAME-duplicates, NAME-age (s) and NAME-drift.", "proportion", "value", evidence.KindFeature).required(),
		scal(tText, "unit", "Unit of the values, such as ms or minutes; shown, and understood in limits."),
		num(tNumber, "badAbove", "An observation above it counts as bad.", span{-1e15, 1e15, false}),
		num(tNumber, "badBelow", "An observation below it counts as bad; without badAbove lower values are the worse ones.", span{-1e15, 1e15, false}),
		num(tWhole, "scale", "Resolution of the histogram: neighbouring bounds differ by the factor 2^(2^-scale).", span{5, 10, false}).defaults("5"),
		scal(tDuration, "settle", "How long after its start a second stays open for its last observations.").defaults("3s"),
		scal(tBool, "scoredOnce", "One observation per unit and rollout is kept.").defaults("false"),
		scal(tDuration, "maxAge", "Of a feature: an older value counts as bad in NAME-age."),
	)
}

func guardrailFields() field {
	return obj("", "One guardrail.",
		scal(tSlug, "name", "Name of the guardrail.").required(),
		enum("role", "guardrail: a breach takes the rollout back. signal: a breach pauses at most.", "guardrail", "signal").soon("success").defaults("guardrail"),
		scal(tText, "signal", "What is judged: sdk:NAME, gateway:NAME or event:NAME of a metric; sdk:errors is built in.").required().
			or(field{typ: tLater}),
		enum("stat", "What of the metric is judged; flips: how often two versions disagree about the same input, in any arm, against max alone.", "proportion", "mean", "distribution", "p50", "p90", "p95", "p99", statFlips).
			soon("p75", "p999", "max", "min", "sum", "count").
			defaults("proportion, or mean of a value under a threshold and distribution under always-valid"),
		enum("compare", "What the exposed arm is compared with.", "concurrent").soon("baseline", "previous-version", "previous-period").
			or(field{typ: tLater}).defaults("concurrent"),
		num(tNumber, "weight", "Share of alpha among the guardrails.", span{0, 100, true}).defaults("1"),
		testFields().required(),
		obj("hard", "A trip that needs no comparison.",
			scal(tQuantity, "above", "Limit of the exposed arm.").required(),
			scal(tDuration, "for", "How long it must be exceeded.").required(),
		),
		obj("blips", "How many bad looks are tolerated.",
			num(tWhole, "allow", "Bad looks tolerated.", span{0, 99, false}).required(),
			num(tWhole, "of", "Among the last so many.", span{1, 100, false}).required(),
		).defaults("{allow: 2, of: 3}"),
		scal(tBool, "perSegment", "Also judged for each value of each declared segment and source.").defaults("true"),
		enum("onBreach", "What a breach does.", "rollback", "pause", "hold").defaults("rollback, or pause of a signal"),
		noDataField().defaults("that of analysisDefaults"),
		actionField("onError", "What an error of a provider does.").defaults("that of analysisDefaults"),
	).with(notYet("window", "dryRun"))
}

func testFields() field {
	return obj("test", "The rule.",
		enum("kind", "threshold: looks of a fixed length. always-valid: bounded by alpha however often one looks. psi: the same for drift of values either way, of a size that matters.", "threshold", "always-valid", kindPSI).required().
			soon("equals", "ks", "anomaly", "cusum").refused("test.unsupported"),
		scal(tQuantity, "worseBy", "Margin against the baseline arm: 20% relative, 2pp in percentage points, or a number in the metric's unit."),
		scal(tQuantity, "max", "Limit of the exposed arm alone; of psi the largest index that is tolerated, 0.25 by default."),
		scal(tQuantity, "detect", "Smallest harm that a pass must have been able to see; always-valid and psi.").defaults("three times worseBy, or max of psi"),
		scal(tDuration, "window", "Length of one look; threshold only.").defaults("5s"),
		num(tWhole, "minN", "Observations per arm that one look needs; threshold only.", span{1, 1e9, false}).defaults("20; 30 for p90, 60 for p95, 300 for p99"),
	).with(notYet("value", "minSamples", "pairedBy", "method", "z", "betterBy", "blips"))
}

func stageFields() field {
	share := scal(tShare, "", "Share of the cohort.")
	return obj("", "One stage.",
		scal(tSlug, "name", "Name of the stage.").required(),
		enum("mode", "shadow: everything is loaded and nobody is exposed.", "shadow").soon("mirror", "soak"),
		scal(tSlug, "cohort", "Cohort that is exposed.").defaults("general"),
		scal(tShare, "exposure", "Share of the cohort; a list makes one stage of each.").or(listOf("", "Shares, rising.", share).upTo(maxStages)),
		scal(tShare, "holdback", "Share kept on the baseline at full exposure, released at the end.").defaults("1% at 100%"),
		scal(tDuration, "bake", "Observed time before the stage may pass.").required().or(obj("", "Observed time before the stage may pass.",
			scal(tDuration, "min", "Shortest observed time.").required(),
		).with(notYet("until", "max"))),
		scal(tText, "rollback", "The documented way back of this stage where it differs from spec.rollback.").or(field{typ: tLater}),
	).with(notYet("traffic", "require", "approvals", "checkIn", "compareAtFull"))
}

func rollbackFields() field {
	return obj("rollback", "How the rollout is taken back; every stage inherits it as its plan.",
		listOf("on", "What takes it back.", enum("", "One cause.", causeGuardrail, causeLost, causeOperator).soon("budget-exhausted")).
			defaults("[guardrail:rollback, component-lost, operator]").upTo(10),
		obj("signal", "How the way back is proven.",
			enum("mode", "barrier: every member acknowledges, or its lease ends.", "barrier").defaults("barrier"),
			scal(tDuration, "ackDeadline", "A member silent for longer is shown as late.").defaults("2s"),
			scal(tDuration, "leaseTTL", "How long a member may serve the candidate without hearing from the server; 2s to 60s.").defaults("10s"),
			scal(tDuration, "completeWithin", "Time until exposure is proven to be off.").defaults("the time the leases need, at least 15s"),
			scal(tDuration, "unwindWithin", "Time until stores and writers are back.").defaults("10m"),
		).with(notYet("onMissingAck")),
		obj("downstream", "What may still be under way.",
			scal(tDuration, "drain", "How long one request may use a decision taken earlier.").defaults("2s"),
		).with(notYet("checks")),
	).with(notYet("restore", "data", "after"))
}

// Causes that rollback.on may name.
const (
	causeGuardrail = "guardrail:rollback"
	causeLost      = "component-lost"
	causeOperator  = "operator"
)

// maxStages bounds the stages of a plan, lists written out.
const maxStages = 100
