"""The unmodified OFREP provider of openfeature-sdk against a real server and a real agent.

make test-peers runs it with both installed from PyPI; SLUICE_BIN names the binary.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import unittest

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

BIN = os.environ["SLUICE_BIN"]
FLAGS = """apiVersion: sluice/v1
kind: Flag
metadata: {name: spend7d}
spec:
  type: string
  variants: {v14: v14, v15: v15}
  default: v14
  rules:
    - {name: french, match: "country == 'FR'", serve: v15}
"""


class Process:
    """A command whose standard error says when it is ready."""

    def __init__(self, *args, env=None):
        self.process = subprocess.Popen([BIN, *args], stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
        self.reader = threading.Thread(target=self.process.stderr.read, daemon=True)
        self.said = []

    def wait_for(self, pattern):
        """Return the first group of the line that matches."""
        for line in self.process.stderr:
            self.said.append(line)
            found = re.search(pattern, line)
            if found:
                return found.group(1)
        raise AssertionError(f"it never said {pattern!r}: {self.said}")

    def drain(self):
        """Read on, so that the process never waits for a reader."""
        self.reader.start()

    def stop(self):
        """End the process."""
        self.process.terminate()
        self.process.wait(60)
        self.reader.join(60)
        self.process.stderr.close()


class OFREP(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        server = Process("serve", "--data", os.path.join(folder.name, "data"), "--listen", "127.0.0.1:0")
        cls.addClassCleanup(server.stop)
        cls.url = server.wait_for(r"serves on (http://\S+?),")
        cls.admin = server.wait_for(r"shown this once: (\S+)")
        server.drain()
        cls.cli("apply", "-f", "-", input=FLAGS)
        cls.token = json.loads(cls.cli("token", "create", "peers", "--role", "component", "-o", "json"))["secret"]
        agent = Process("agent", "--component", "shop", "--listen", "127.0.0.1:0", env={"SLUICE_SERVER": cls.url, "SLUICE_TOKEN": cls.token})
        cls.addClassCleanup(agent.stop)
        cls.agent = agent.wait_for(r"answers OFREP on (http://\S+?),")
        agent.drain()

    @classmethod
    def cli(cls, *args, input=None):
        env = {**os.environ, "SLUICE_SERVER": cls.url, "SLUICE_TOKEN": cls.admin}
        return subprocess.run([BIN, *args], input=input, env=env, capture_output=True, text=True, check=True).stdout

    def check(self, provider):
        api.set_provider_and_wait(provider)
        self.addCleanup(api.shutdown)
        of = api.get_client()
        unit = EvaluationContext(targeting_key="account-7", attributes={"country": "FR", "age": 41, "vip": True, "tags": ["a"]})
        d = of.get_string_details("spend7d", "none", unit)
        self.assertEqual((d.value, d.variant, d.reason), ("v15", "v15", "TARGETING_MATCH"))
        self.assertEqual(of.get_string_value("spend7d", "none", EvaluationContext("account-7", {"country": "DE"})), "v14")
        d = of.get_boolean_details("none", True, unit)
        self.assertEqual((d.value, d.error_code.value), (True, "FLAG_NOT_FOUND"))
        d = of.get_integer_details("spend7d", 3, unit)
        self.assertEqual((d.value, d.error_code.value), (3, "TYPE_MISMATCH"))

    def test_against_the_server(self):
        self.check(OFREPProvider(self.url, headers_factory=lambda: {"Authorization": "Bearer " + self.token}))

    def test_against_the_agent(self):
        self.check(OFREPProvider(self.agent))

    def test_our_provider_answers_the_same(self):
        sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "python"))
        import sluice
        from sluice.openfeature import SluiceProvider

        client = sluice.Client(self.url, "shop", token=self.token, instance="py", timeout=60)
        self.addCleanup(client.close)
        self.check(SluiceProvider(client))


if __name__ == "__main__":
    unittest.main()
