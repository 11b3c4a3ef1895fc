import unittest

from golden import load

from sluice import machine
from sluice.machine import Cache, Failure, Machine, MachineConfig
from sluice.snapshot import Head, Snapshot


class Source:
    """The source of chance of a recorded run: draws as Go's rand.Int64N makes them of 64-bit numbers."""

    def __init__(self):
        self.numbers = []

    def draw(self, n):
        if n & (n - 1) == 0:
            return self.numbers.pop(0) & (n - 1)
        low = None
        while low is None or low < n and low < ((1 << 64) - n) % n:
            product = self.numbers.pop(0) * n
            low = product & ((1 << 64) - 1)
        return product >> 64


def failure(f):
    return Failure(f[0], "", f[1])


class Replay:
    """One recorded run of the Go machine."""

    def __init__(self, golden, run):
        self.snapshots = [Snapshot.of(s) for s in golden["snapshots"]]
        self.run, self.source = run, Source()
        self.machine = Machine(MachineConfig(
            run["instance"], run["boot"], run["instance"], run["class"], run["caps"], run["w"], self.source.draw, run["earlyLapse"]
        ))

    def cache(self, k):
        if k is None:
            return None
        return Cache(self.snapshots[k["snapshot"]], k["floors"] or {}, k["seen"], k["unwind"] or {})

    def input(self, name, *args):
        if name in ("start", "cache-written"):
            return name, self.cache(args[0]), *args[1:]
        if name == "hello-answered":
            sent, epoch, snapshot, now = args
            return name, sent, {"epoch": epoch, "snapshot": self.snapshots[snapshot].wire(), "serverNow": now}
        if name.endswith("-failed") or name == "watch-lost":
            return name, *args[:-1], failure(args[-1])
        if name == "fetched":
            return name, self.snapshots[args[0]]
        if name == "loaded":
            return name, Head(args[0], args[1]), args[2]
        return name, *args

    def snapshot(self, s):
        return None if s is None else self.snapshots.index(s)

    def effect(self, e):
        name = e[0]
        if name == "load":
            return [name, self.snapshot(e[1])]
        if name == "swap":
            v = e[1]
            return [name, {
                "epoch": v.epoch, "snapshot": self.snapshot(v.snapshot), "want": v.want._asdict(), "floors": v.floors,
                "leaseEnd": v.lease_end, "second": v.clock.second(1 << 40),
            }]
        if name == "cache":
            k = e[1]
            return [name, {"snapshot": self.snapshot(k.snapshot), "floors": k.floors, "seen": k.seen, "unwind": k.unwind}]
        if name == "notice":
            return [name, e[1]]
        return list(e)


class Protocol(unittest.TestCase):
    def test_recorded_runs_step_by_step(self):
        golden = load("protocol.json")
        seen = {}
        for run in golden["runs"]:
            replay = Replay(golden, run)
            for i, step in enumerate(run["steps"]):
                replay.source.numbers = list(step.get("draws", []))
                out = replay.machine.step(step["now"], *replay.input(*step["in"]))
                got = [replay.effect(e) for e in out]
                self.assertEqual(got, step.get("out", []), (run["boot"], i, step["in"]))
                self.assertEqual(replay.source.numbers, [], (run["boot"], i, step["in"]))
                for e in out:
                    seen[e[0]] = seen.get(e[0], 0) + 1
        for name in ("hello", "renew", "ack", "fetch", "load", "swap", "cache", "watch", "schedule", "unwind", "notice"):
            self.assertGreater(seen.get(name, 0), 2, f"the runs have too few effects {name}")


class Leases(unittest.TestCase):
    """The rules of the lease, shown with a machine in which they are broken."""

    def joined(self, cls=Machine):
        golden = load("protocol.json")
        s = Snapshot.of(golden["snapshots"][1])
        m = cls(MachineConfig("i", "b" * 32, "c", "reader", {"cache": "none"}, 0, lambda n: 0))
        m.step(0, "start", None)
        m.step(1, "hello-answered", 0, {"epoch": 1, "snapshot": s.wire(), "serverNow": 10**12})
        out = m.step(2, "loaded", s.head, "")
        renew = [e[1] for e in out if e[0] == "renew"][-1]
        return m, s, renew

    def grant(self, m, s, renew, now, **change):
        g = {"boot": "b" * 32, "n": renew["n"], "epoch": 1, "head": s.head._asdict(), "leases": {"r": 2000}, **change}
        return [e[1] for e in m.step(now, "grant", g) if e[0] == "swap"]

    def test_a_lease_counts_from_before_the_send(self):
        m, s, renew = self.joined()
        view = self.grant(m, s, renew, 1_500 * machine.MS)[0]
        self.assertEqual(view.lease_end["r"], 2 + 2000 * machine.MS)
        self.assertTrue(view.held("r", 2, view.lease_end["r"] - 1))
        self.assertFalse(view.held("r", 2, view.lease_end["r"]))

    def test_grants_of_others_are_ignored(self):
        for change in ({"boot": "c" * 32}, {"n": 99}, {"epoch": 0}):
            m, s, renew = self.joined()
            self.assertEqual(self.grant(m, s, renew, 100, **change), [])

    def test_a_floor_never_falls_and_stops_at_once(self):
        m, s, renew = self.joined()
        self.grant(m, s, renew, 100)
        view = [e[1] for e in m.step(200, "event", {"epoch": 1, "head": {"rev": 3, "digest": "x"}, "floors": {"r": 3}}) if e[0] == "swap"][0]
        self.assertFalse(view.held("r", 2, 201))
        m.step(300, "event", {"epoch": 1, "head": {"rev": 3, "digest": "x"}, "floors": {"r": 1}})
        self.assertEqual(m._floors["r"], 3)

    def test_a_clock_that_stood_still_ends_all_leases(self):
        m, s, renew = self.joined()
        self.grant(m, s, renew, 100)
        view = [e[1] for e in m.step(200, "clock-jumped") if e[0] == "swap"][0]
        self.assertEqual(view.lease_end, {})

    def test_static_scopes_are_acknowledged_when_durable(self):
        golden = load("protocol.json")
        s = Snapshot.of(golden["snapshots"][1])
        m = Machine(MachineConfig("i", "b" * 32, "c", "reader", {"cache": "durable"}, 0, lambda n: 0))
        m.step(0, "start", None)
        m.step(1, "hello-answered", 0, {"epoch": 1, "snapshot": s.wire(), "serverNow": 10**12})
        out = m.step(2, "loaded", s.head, "")
        acked = [a["scope"] for e in out if e[0] in ("ack", "renew") for a in e[1].get("acks") or []]
        self.assertNotIn("base", acked)
        cache = [e[1] for e in out if e[0] == "cache"][0]
        out = m.step(3, "cache-written", cache, False)
        self.assertIn("base", [a["scope"] for e in out if e[0] == "ack" for a in e[1]["acks"]])


if __name__ == "__main__":
    unittest.main()
