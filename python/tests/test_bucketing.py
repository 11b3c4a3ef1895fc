import unittest

from golden import load

from sluice import bucketing


class Bucketing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.golden = load("bucketing.json")

    def test_published_hashes(self):
        for data, want in [
            (b"", 0xEF46DB3751D8E999),
            (b"abc", 0x44BC2CF5AD770999),
            (b"Call me Ishmael. Some years ago--never mind how long precisely-", 0x02A2E85470D6FD96),
        ]:
            self.assertEqual(bucketing.xxhash64(data), want, data)

    def test_golden_vectors(self):
        self.assertEqual(len(self.golden["vectors"]), 1000)
        for v in self.golden["vectors"]:
            b = bucketing.bucket(v["unit"], v["salt"])
            self.assertEqual(b, v["b"], v)
            self.assertEqual(bucketing.unit_bucket(v["unit"]), v["unitBucket"], v)
            self.assertEqual([bucketing.exposed(b, e) for e in self.golden["exposures"]], v["exposed"], v)

    def test_vectors_tell_arms_apart(self):
        for i, e in enumerate(self.golden["exposures"]):
            n = sum(v["exposed"][i] for v in self.golden["vectors"])
            self.assertAlmostEqual(n / 1000, e / bucketing.FULL, delta=0.06)


if __name__ == "__main__":
    unittest.main()
