import json
import os
import pathlib
import tempfile
import threading
import traceback
import unittest

from fake import FLAG, PIN_KEY, Fake

import sluice
from sluice import life
from sluice.snapshot import Pin


class Clock:
    """The real clock and a jump that a test can make."""

    def __init__(self):
        self.jump = 0

    def __call__(self):
        return life.clock() + self.jump


class Base(unittest.TestCase):
    def setUp(self):
        self.fake = Fake()
        self.addCleanup(self.fake.close)
        self.clock = Clock()

    def join(self, **settings):
        settings = {"component": "checkout", "instance": "i1", "timeout": 30, "_clock": self.clock, **settings}
        c = sluice.Client(self.fake.url, **settings)
        self.addCleanup(c._life.stop)
        return c

    def leased(self, **settings):
        c = self.join(**settings)
        self.fake.wait("a lease", lambda: c.status().leases.get("roll", 0) > 0)
        return c


class Membership(Base):
    def test_a_leased_flag_serves_the_candidate_until_the_lease_ends(self):
        c = self.leased()
        flag = c.flag("spend7d")
        with c.begin("u1") as req:
            self.assertEqual(flag.string("x"), "v15")
            self.assertEqual(flag.detail(req).reason, "ROLLOUT")
            self.clock.jump += 61 * 10**9  # as long as the lease; nothing else happens
            self.assertEqual(flag.string("x"), "v14")
            self.assertEqual(flag.detail().reason, "LEASE_LAPSED")
        self.assertEqual(c.flag("limit").integer(0), 5)  # settled values need no lease
        self.assertEqual(c.status().counters["lease_ended"], 1)

    def test_a_revoke_is_obeyed_and_acknowledged(self):
        c = self.leased()
        flag, boot = c.flag("spend7d"), c.status().boot
        with c.begin("u1"):
            self.assertEqual(flag.string("x"), "v15")
            self.fake.revoke()
            self.fake.wait("the floor here", lambda: flag.string("x") == "v14")
            self.fake.wait("activated", lambda: self.fake.acks.get((boot, "roll", "activated")) == self.fake.rev)
            drained = self.fake.acks.get((boot, "roll", "drained"), 0)
            self.assertLess(drained, self.fake.rev, "the request still holds the candidate")
        self.fake.wait("drained", lambda: self.fake.acks.get((boot, "roll", "drained")) == self.fake.rev)

    def test_typed_answers_never_raise(self):
        c = self.leased()
        flag = c.flag("spend7d")
        self.assertEqual((flag.boolean(True), flag.integer(3), flag.float(1.5), flag.object({"a": 1})), (True, 3, 1.5, {"a": 1}))
        self.assertEqual(c.flag("none").detail().error, "FLAG_NOT_FOUND")
        with c.begin(12) as req:
            self.assertEqual(flag.detail(req).error, "INVALID_CONTEXT")

    def test_evidence_counts_requests_by_arm(self):
        c = self.leased()
        flag = c.flag("spend7d")
        for i in range(20):
            with c.begin(f"u{i}", {"region": "eu"}) as req:
                flag.string("x")
                req.observe("score", 0.4 if i else 0.9)
                req.observe("unknown", 1)
        try:
            with c.begin("u0"):
                flag.string("x")
                raise ValueError("the request failed")
        except ValueError:
            pass

        def counted(metric, what):
            blocks = [b for m in self.fake.evidence for b in m.get("blocks") or [] if b["metric"] == metric]
            return sum(b[what] for b in blocks)

        self.fake.wait("the requests", lambda: counted("error", "n") == 21)
        self.fake.wait("the scores", lambda: counted("score", "n") == 20)
        self.assertEqual((counted("error", "bad"), counted("score", "bad")), (1, 1))
        block = next(b for m in self.fake.evidence for b in m.get("blocks") or [] if b["metric"] == "score")
        self.assertEqual((block["assigned"], block["served"], block["lease"], block["cohort"]), ("exposed", "exposed", "held", "general"))
        self.assertIn("region=eu", [cell.get("value") for cell in block["cells"]])
        self.assertEqual([m["seq"] for m in self.fake.evidence], list(range(1, len(self.fake.evidence) + 1)))

    def test_leaving_says_goodbye_and_keeps_settled_values(self):
        c = self.leased()
        boot = c.status().boot
        c.close()
        self.assertEqual(self.fake.byes, [boot])
        self.assertEqual(c.flag("limit").integer(0), 5)
        with c.begin("u1"):
            self.assertEqual(c.flag("spend7d").string("x"), "v14")

    def test_readiness_turns_red_within_a_lease_of_a_lost_stream(self):
        c = self.leased()
        self.fake.wait("ready", lambda: c.unready() == "")
        self.assertLess(c.age(), 30)
        self.fake.close()
        self.fake.wait("the stream lost", lambda: not c.status().connected)
        self.clock.jump += 61 * 10**9
        self.assertIn("lost", c.unready())
        self.assertGreater(c.age(), 60)

    def test_refusals_are_typed(self):
        self.fake.refuse = (401, "token.unknown")
        with self.assertRaises(sluice.JoinError) as e:
            self.join()
        self.assertEqual((e.exception.status, e.exception.code), (401, "token.unknown"))
        for bad in ({"component": "a b"}, {"cls": "boss"}, {"drain_bound": 0}, {"instance": "-"}, {"max_bytes": -1}):
            with self.assertRaises(sluice.ConfigError):
                self.join(**bad)
        with self.assertRaises(sluice.ConfigError):
            sluice.Client("ftp://x", component="c")


class Pins(Base):
    def test_a_decision_travels_and_is_not_made_again(self):
        c = self.leased()
        flag = c.flag("spend7d")
        with c.begin("u1") as req:
            flag.string("x")
            header = req.baggage("team=7")
        self.assertTrue(header.startswith("team=7,slc=1."))
        self.assertIn(".exposed.", header)
        meta = c._life.state.compiled.wire.scopes["roll"]
        pin = Pin(meta.rev, "roll", meta.digest[7:15], "baseline").sign(PIN_KEY)
        with c.begin("u1", baggage=f"a=b, slc={pin};ttl=1") as req:
            self.assertEqual(flag.string("x"), "v14")
            self.assertEqual(flag.detail(req).assigned, "baseline")
            self.assertEqual(req.baggage(), f"slc={pin}")

    def test_a_forged_pin_is_ignored_and_a_missed_one_serves_the_baseline(self):
        c = self.leased()
        flag = c.flag("spend7d")
        meta = c._life.state.compiled.wire.scopes["roll"]
        with c.begin("u1", baggage="slc=" + Pin(meta.rev, "roll", meta.digest[7:15], "baseline").sign(b"another key here")):
            self.assertEqual(flag.string("x"), "v15")
        with c.begin("u1", baggage="slc=" + Pin(99, "roll", "deadbeef", "exposed").sign(PIN_KEY)):
            self.assertEqual(flag.string("x"), "v14")
        self.assertEqual((c.status().counters["pin_forged"], c.status().counters["pin_missed"]), (1, 1))


class ColdStart(Base):
    def test_the_disk_has_configuration_and_floors_but_no_lease(self):
        with tempfile.TemporaryDirectory() as folder:
            c = self.leased(cache_dir=folder)
            self.fake.wait("base is durable", lambda: (c.status().boot, "base", "activated") in self.fake.acks)
            self.fake.revoke()
            self.fake.wait("the floor is on disk", lambda: c._settings.disk.read().floors.get("roll") == self.fake.rev)
            c._life.stop()
            text = pathlib.Path(c._settings.disk.path).read_text(encoding="utf-8")
            self.assertNotIn("lease", json.loads(text))
            self.fake.close()
            again = sluice.Client(self.fake.url, component="checkout", instance="i1", cache_dir=folder, timeout=30)
            self.addCleanup(again._life.stop)
            self.assertEqual(again.flag("limit").integer(0), 5)
            self.assertEqual(again.status().floors["roll"], self.fake.rev)
            with again.begin("u1"):
                self.assertEqual(again.flag("spend7d").string("x"), "v14")

    def test_workers_of_one_name_never_take_a_floor_back(self):
        from sluice.cache import DiskCache
        from sluice.machine import Cache

        with tempfile.TemporaryDirectory() as folder:
            disk = DiskCache(folder, "x")
            disk.write(Cache(None, {"roll": 7}, 9, {}))
            disk.write(Cache(None, {"roll": 5, "other": 1}, 8, {}))
            self.assertEqual(disk.read(), Cache(None, {"roll": 7, "other": 1}, 9, {}))
            pathlib.Path(disk.path).write_text('{"format":1,"seen":"x"}', encoding="utf-8")
            with self.assertRaises(sluice.CacheError):
                disk.read()

    def test_offline(self):
        self.fake.close()
        c = sluice.Client(self.fake.url, component="checkout", offline=True)
        self.addCleanup(c._life.stop)
        self.assertEqual(c.flag("limit").integer(3), 3)
        self.assertEqual(c.unready(), "no configuration yet")


@unittest.skipUnless(hasattr(os, "fork"), "no fork on this platform")
class Fork(Base):
    def test_each_forked_worker_is_a_member_of_its_own(self):
        c = self.leased()
        request = c.begin("u1")
        self.assertEqual(c.flag("spend7d").string("x", request), "v15")
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                # The parent's lease is not the child's: neither in a request that was open nor in a new one.
                first = [c.flag("spend7d").string("x", request)]
                with c.begin("u1"):
                    first.append(c.flag("spend7d").string("x"))
                self.fake.wait("a lease of its own", lambda: c.flag("spend7d").string("x", c.begin("u1")) == "v15")
                os.write(w, json.dumps({"first": first, "boot": c.status().boot}).encode())
                request.end()
                c.close()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(w)
        with os.fdopen(r) as f:
            told = json.loads(f.read() or "null")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        self.assertEqual(told["first"], ["v14", "v14"])
        self.assertNotEqual(told["boot"], c.status().boot)
        self.assertEqual(len(self.fake.members), 2)
        self.assertEqual(self.fake.byes, [told["boot"]])
        self.assertEqual(c.flag("spend7d").string("x", request), "v15")  # the parent goes on
        request.end()


class Threads(Base):
    def test_a_request_of_many_threads_decides_once(self):
        c = self.leased()
        flag, seen = c.flag("spend7d"), []
        with c.begin("u1") as req:
            threads = [threading.Thread(target=lambda: seen.append(flag.detail(req))) for _ in range(16)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            self.assertEqual(len(set(seen)), 1)
            self.assertEqual(c._life.holds[("roll", self.fake.rev)][0], 1)
        self.assertEqual(c._life.holds[("roll", self.fake.rev)][0], 0)


class Hostile(Base):
    def test_content_that_is_not_what_was_announced_is_not_served(self):
        c = self.leased()
        with self.fake.lock:
            self.fake.publish(FLAG)
            self.fake.snapshot["objects"]["base/flag/limit"] = {**self.fake.snapshot["objects"]["base/flag/limit"], "default": "high"}
        self.fake.wait("it was looked at", lambda: "digest" in c.status().last_error)
        self.assertEqual(c.flag("limit").integer(0), 5)


if __name__ == "__main__":
    unittest.main()
