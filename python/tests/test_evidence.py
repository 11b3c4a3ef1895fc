import json
import unittest

from golden import load

from sluice import evidence


class Vectors(unittest.TestCase):
    def test_bins_are_exact(self):
        for v in load("evidence.json")["index"]:
            self.assertEqual(evidence.index(v["scale"], v["value"]), v["bin"], v)

    def test_histograms(self):
        for h in load("evidence.json")["hists"]:
            bins = {}
            for v in h["values"]:
                b = evidence.index(h["scale"], v)
                bins[b] = bins.get(b, 0) + 1
            self.assertEqual(evidence.hist_wire(bins, h["scale"]), h["json"])

    def test_a_run_of_the_accumulator_flushes_the_same_blocks(self):
        golden = load("accumulator.json")
        acc = evidence.Accumulator("spend", golden["metrics"], golden["segments"], golden["sources"])
        slots, flushed = [], 0
        for name, *args in golden["steps"]:
            if name == "begin":
                second, key, bucket, values = args
                slots.append(acc.begin(second, tuple(key), bucket, str(len(slots)), values))
            elif name == "observe":
                slots[args[0]].observe(args[1], float(args[2]))
            elif name == "end":
                slots[args[0]].end(args[1])
            else:
                now, blocks, through = args
                got, reached = acc.flush(now)
                self.assertEqual(reached, through)
                self.assertEqual(sorted(map(order, got)), sorted(map(order, blocks or [])))
                flushed += len(got)
        self.assertGreater(flushed, 100)

    def test_a_unit_counts_once_where_that_is_declared(self):
        acc = evidence.Accumulator("r", {"score": {"kind": "value", "once": True}}, [], [])
        key = ("general", 7, 5000, "held", "exposed", "exposed")
        for unit in ("a", "a", "b"):
            slot = acc.begin(100, key, 1, unit, [])
            slot.observe("score", 1.0)
            slot.end(False)
        blocks, _ = acc.flush(101)
        self.assertEqual({b["metric"]: b["n"] for b in blocks}, {"error": 3, "score": 2})
        self.assertEqual(acc.once_dropped, 1)

    def test_many_values_go_to_other(self):
        acc = evidence.Accumulator("r", {}, ["shop"], [])
        key = ("general", 7, 5000, "held", "baseline", "baseline")
        for i in range(400):
            acc.begin(100, key, i % 64, "u", [f"s{i}"]).end(False)
        (block,), through = acc.flush(101)
        other = next(c for c in block["cells"] if c.get("value") == "shop=other")
        self.assertEqual((other["n"], len(block["cells"]), through), (400 - 256, 258, 100))

    def test_settings_that_cannot_be_measured_are_refused(self):
        for metrics in ({"m": {"kind": "sum"}}, {"m": {"kind": "value", "scale": 3}}):
            with self.assertRaises(ValueError):
                evidence.Accumulator("r", metrics, [], [])
        with self.assertRaises(ValueError):
            evidence.Accumulator("r", {}, ["a"] * 17, [])


def order(block):
    """Return the block as text: members in one order."""
    return json.dumps(block, sort_keys=True)


if __name__ == "__main__":
    unittest.main()
