import importlib.util
import unittest

from fake import Fake

import sluice

INSTALLED = importlib.util.find_spec("openfeature") is not None


@unittest.skipUnless(INSTALLED, "openfeature-sdk is not installed: make test-peers runs these")
class Provider(unittest.TestCase):
    def setUp(self):
        from openfeature import api

        from sluice.openfeature import SluiceProvider

        self.fake = Fake()
        self.addCleanup(self.fake.close)
        self.client = sluice.Client(self.fake.url, "checkout", timeout=30)
        self.addCleanup(self.client._life.stop)
        self.fake.wait("a lease", lambda: self.client.status().leases.get("roll", 0) > 0)
        api.set_provider_and_wait(SluiceProvider(self.client))
        self.addCleanup(api.shutdown)
        self.of = api.get_client()

    def test_values_reasons_and_errors(self):
        from openfeature.evaluation_context import EvaluationContext

        ctx = EvaluationContext(targeting_key="u1", attributes={"region": "eu"})
        d = self.of.get_string_details("spend7d", "none", ctx)
        self.assertEqual((d.value, d.variant, d.reason), ("v15", "v15", "SPLIT"))
        self.assertEqual((d.flag_metadata["version"], d.flag_metadata["sluice.arm"]), (str(self.fake.rev), "exposed"))
        self.assertLess(d.flag_metadata["sluice.age"], 60)
        self.assertEqual(self.of.get_integer_value("limit", 1), 5)
        for key, want in (("none", "FLAG_NOT_FOUND"), ("limit", "TYPE_MISMATCH")):
            d = self.of.get_boolean_details(key, True, ctx)
            self.assertEqual((d.value, d.reason, d.error_code.value), (True, "ERROR", want))
        self.assertEqual(self.of.get_string_details("spend7d", "none").error_code.value, "TARGETING_KEY_MISSING")

    def test_evaluations_and_tracking_belong_to_the_request(self):
        from openfeature.track import TrackingEventDetails

        with self.client.begin("u1") as req:
            self.assertEqual(self.of.get_string_value("spend7d", "none"), "v15")
            self.of.track("score", tracking_event_details=TrackingEventDetails(0.9))
            self.assertIn("spend7d", req._decisions)
        self.fake.wait("the score", lambda: any(b["metric"] == "score" and b["bad"] == 1 for m in self.fake.evidence for b in m.get("blocks") or []))

    def test_changes_are_told(self):
        from openfeature.event import ProviderEvent

        told = []
        self.of.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, lambda d: told.append(d.message))
        self.fake.revoke()
        self.fake.wait("the change", lambda: f"revision {self.fake.rev}" in told)


if __name__ == "__main__":
    unittest.main()
