import json
import unittest

from golden import load

from sluice import canonical, flags
from sluice.errors import ContentError

CAST = {"text": str, "integer": int, "number": float, "truth": bool, "list": list}


def answer(r):
    name, value = ("", None) if r.variant is None else (r.variant.name, r.variant.value)
    return [
        name, canonical.dumps(value), r.reason, r.rule, r.cohort, r.rollout, r.scope, r.error, r.revision, r.exposure,
        r.assigned, r.served, r.closed, r.unit_bucket, flags.openfeature_reason(r.reason),
    ]


class Vectors(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.golden = load("evaluation.json")

    def test_canonical_forms(self):
        for text, want in self.golden["canonical"]:
            with self.subTest(text):
                try:
                    got = canonical.dumps(canonical.loads(text.encode("utf-8", "surrogatepass")))
                except ContentError:
                    got = ""
                self.assertEqual(got, want)

    def test_every_flag_and_unit_answers_as_in_go(self):
        n = 0
        for world in self.golden["worlds"]:
            config = flags.Config(world["objects"], {"roll": 9, "base": 4})
            for case in world["cases"]:
                attrs = {name: CAST[kind](v) for name, (kind, v) in case.get("attrs", {}).items()}
                ctx = flags.Context(case["unit"], attrs)
                self.assertEqual(sorted(config.flags), sorted(case["answers"]))
                for key, want in case["answers"].items():
                    h = config.flags[key]
                    got = [h.eval(ctx, False), h.eval(ctx, True)]
                    if h.rollout_id:
                        got += [
                            h.eval_pinned(ctx, arm, leased)
                            for arm, leased in ((flags.EXPOSED, False), (flags.EXPOSED, True), (flags.BASELINE, True), (flags.NONE, True))
                        ]
                        drawn = [h.drawn(ctx, e) for e in (0, 1_000, 50_000, 100_000)]
                        self.assertEqual(drawn, case["drawn"][key])
                    want = [[a[0], canonical.dumps(a[1]), *a[2:]] for a in want]
                    self.assertEqual([answer(r) for r in got], want, (world["objects"], case["unit"], attrs))
                    n += len(got)
        self.assertGreater(n, 2000)

    def test_targeting_answers_as_in_go(self):
        seen = {}
        for t in self.golden["targeting"]:
            flag = t["flag"]
            h = flags.Config({"roll/flag/" + flag["key"]: flag}, {"roll": 9}).flags[flag["key"]]
            for attrs, want in zip(t["contexts"], t["answers"]):
                unit = attrs.get("targetingKey", "")
                ctx = flags.Context(unit, {k: v for k, v in attrs.items() if k != "targetingKey"})
                ctx.now = self.golden["now"]
                got = answer(h.eval(ctx, True))
                self.assertEqual(got, [want[0], canonical.dumps(want[1]), *want[2:]], (flag["targeting"], attrs))
                seen[got[2] + got[0]] = seen.get(got[2] + got[0], 0) + 1
        for what in ("TARGETINGa", "TARGETINGb", "TARGETINGtrue", "TARGETING10", "ERRORa", "DEFAULTa", "DEFAULT", "ROLLOUTb", "DISABLED"):
            self.assertGreater(seen.get(what, 0), 1, what)


class Refusals(unittest.TestCase):
    FLAG = {"key": "f", "type": "string", "variants": {"a": "x", "b": "y"}, "default": "a"}

    def refused(self, code, **change):
        flag = {**self.FLAG, **change}
        with self.assertRaises(ContentError) as e:
            flags.Config({"base/flag/f": flag}, {})
        self.assertEqual(e.exception.code, code)

    def test_what_could_change_the_answer_is_refused(self):
        flags.Config({"base/flag/f": self.FLAG}, {})
        self.refused("field.unknown", prerequisite="other")
        self.refused("field.type", rules="none")
        self.refused("ref.variant", default="c")
        self.refused("variant.type", variants={"a": 1})
        self.refused("attr.op", rules=[{"match": {"attr": {"name": "n", "op": "like", "value": "x"}}, "serve": "b"}])
        self.refused("attr.value", rules=[{"match": {"attr": {"name": "n", "op": "lt", "value": "x"}}, "serve": "b"}])
        self.refused("condition", rules=[{"match": {"always": True, "segment": "s"}, "serve": "b"}])
        deep = {"always": True}
        for _ in range(20):
            deep = {"not": deep}
        self.refused("limit.depth", rules=[{"match": deep, "serve": "b"}])

    def test_segments_in_a_circle(self):
        circle = {
            "base/segment/a": {"name": "a", "match": {"segment": "b"}},
            "base/segment/b": {"name": "b", "match": {"not": {"segment": "a"}}},
        }
        with self.assertRaises(ContentError) as e:
            flags.Config(circle, {})
        self.assertEqual(e.exception.code, "ref.cycle")

    def test_a_context_beyond_the_limits_serves_the_default(self):
        h = flags.Config({"base/flag/f": {**self.FLAG, "rules": [{"match": {"always": True}, "serve": "b"}]}}, {}).flags["f"]
        self.assertEqual(h.eval(flags.Context("u"), False).variant.value, "y")
        for ctx in (
            flags.Context("k" * 5000), flags.Context("u", {f"a{i}": i for i in range(257)}), flags.Context("u", {"a": "x" * (1 << 19)}),
            flags.Context("\ud800"), flags.Context(7), flags.Context("u", {3: "x"}),
        ):
            r = h.eval(ctx, True)
            self.assertEqual((r.variant.value, r.reason, r.error), ("x", "ERROR", "INVALID_CONTEXT"))

    def test_values_of_other_types_only_exist(self):
        for op, want in (("exists", True), ("ne", False), ("eq", False)):
            attr = {"name": "a", "op": op, **({} if op == "exists" else {"value": "x"})}
            h = flags.Config({"base/flag/f": {**self.FLAG, "rules": [{"match": {"attr": attr}, "serve": "b"}]}}, {}).flags["f"]
            for value in ({"k": 1}, [1, "x"], object()):
                self.assertEqual(h.eval(flags.Context("u", {"a": value}), False).reason == "RULE", want, (op, value))


class Numbers(unittest.TestCase):
    def test_shortest_digits_read_back(self):
        for text in ("0.1", "1e23", "5e-324", "123456.789", "1e21", "-1.5e-9"):
            self.assertEqual(float(canonical.number(float(text))), float(text))
            self.assertEqual(json.loads(canonical.number(float(text))), float(text))


if __name__ == "__main__":
    unittest.main()
