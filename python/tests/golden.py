"""Where the golden vectors lie that Go and Python share."""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))


def load(name):
    """Read a file of api/testdata."""
    return json.loads((ROOT / "api" / "testdata" / name).read_text(encoding="utf-8"))
