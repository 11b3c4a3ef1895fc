"""Canonical JSON (RFC 8785), strict reading, and digests: the same as in Go (package flag and slp)."""

import hashlib
import json
import math
from typing import Any, Dict, Iterable, List, Tuple

from .errors import ContentError

MAX_DEPTH = 64
"""How deep arrays and objects may nest."""

_TAG_SCOPE = "sluice-scope-serving-v1"
_TAG_ENV = "sluice-env-v1"


def _no_constant(word: str) -> None:
    raise ContentError("json.syntax", f"{word} is not JSON")


def _pairs(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ContentError("json.key", "a key stands twice in one object")
    return out


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ContentError("json.number", f"{text[:40]} is beyond a double")
    return value


def loads(data: bytes) -> Any:
    """Read JSON as strictly as Go does: UTF-8, no key twice, no NaN. Whole numbers become int, others float."""
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_pairs, parse_constant=_no_constant, parse_float=_number)
    except UnicodeDecodeError as e:
        raise ContentError("json.utf8", "not valid UTF-8") from e
    except RecursionError as e:
        raise ContentError("json.depth", f"nested deeper than {MAX_DEPTH}") from e
    except json.JSONDecodeError as e:
        raise ContentError("json.syntax", str(e)) from e


def number(value: float) -> str:
    """Print a finite float as ECMAScript does (ECMA-262, 6.1.6.1.20)."""
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    if fraction == "0":
        fraction = ""
    point = len(whole) + int(exponent or 0)
    digits = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0")
    n = len(digits)
    if n <= point <= 21:
        return sign + digits + "0" * (point - n)
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    e = point - 1
    head = digits[0] + ("." + digits[1:] if n > 1 else "")
    return f"{sign}{head}e{'+' if e > 0 else '-'}{abs(e)}"


def _integer(value: int) -> str:
    if abs(value) < 10**15:
        return str(value)
    try:
        text = number(float(value))
    except OverflowError as e:
        raise ContentError("json.number", "a number is beyond a double") from e
    if abs(value) >= 1 << 53 and text != str(value):
        raise ContentError("json.number", f"the integer {str(value)[:40]} would be rounded: write it as a string")
    return text


def _string(value: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as e:
        raise ContentError("json.utf8", "half a surrogate pair") from e
    return json.dumps(value, ensure_ascii=False)


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be", "surrogatepass")


def _parts(value: Any, depth: int) -> Iterable[str]:
    if value is None:
        yield "null"
    elif value is True:
        yield "true"
    elif value is False:
        yield "false"
    elif isinstance(value, str):
        yield _string(value)
    elif isinstance(value, int):
        yield _integer(value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ContentError("json.number", f"{value} has no JSON form")
        yield number(value)
    elif isinstance(value, (dict, list, tuple)):
        if depth >= MAX_DEPTH:
            raise ContentError("json.depth", f"nested deeper than {MAX_DEPTH}")
        yield from _nested(value, depth + 1)
    else:
        raise ContentError("json.type", f"{type(value).__name__} has no JSON form")


def _nested(value: Any, depth: int) -> Iterable[str]:
    if isinstance(value, dict):
        yield "{"
        for i, key in enumerate(sorted(value, key=_utf16)):
            yield ("," if i else "") + _string(key) + ":"
            yield from _parts(value[key], depth)
        yield "}"
        return
    yield "["
    for i, item in enumerate(value):
        if i:
            yield ","
        yield from _parts(item, depth)
    yield "]"


def dumps(value: Any) -> str:
    """Return the one form of value over which digests are computed."""
    return "".join(_parts(value, 0))


def digest(tag: str, canonical: str) -> str:
    """Return "sha256:<hex>" over the tag, a newline and the canonical text."""
    return "sha256:" + hashlib.sha256(f"{tag}\n{canonical}".encode("utf-8")).hexdigest()


def scope_digest(objects: Dict[str, Any]) -> str:
    """Return the serving digest of a scope's objects, keyed "<kind>/<name>", without the member "meta" of each."""
    stripped = {
        path: {k: v for k, v in o.items() if k != "meta"} if isinstance(o, dict) else o for path, o in objects.items()
    }
    return digest(_TAG_SCOPE, dumps(stripped))


def env_digest(scopes: Dict[str, str]) -> str:
    """Return the digest of an environment, given the serving digest of each scope."""
    return digest(_TAG_ENV, dumps([[name, scopes[name]] for name in sorted(scopes)]))
