"""flagd's targeting: JsonLogic as its own evaluator means it. Go: package flag, logic.go; api/testdata holds both to it.

Values are JavaScript's: None, bool, float, str; a tuple is an array of the expression, list and dict come from the context.
"""

import math
import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from . import canonical
from .errors import ContentError
from .versions import semver

_MAX_NODES, _MAX_DEPTH = 10_000, 64
_MAX_WEIGHT = (1 << 31) - 1

# name -> (operation, least and most arguments, depends on more than its arguments)
_OPS: Dict[str, Tuple[str, int, int, bool]] = {
    "if": ("if", 1, -1, False), "?:": ("if", 1, -1, False), "and": ("and", 1, -1, False), "or": ("or", 1, -1, False),
    "!": ("!", 1, 1, False), "!!": ("!!", 1, 1, False), "==": ("==", 2, 2, False), "!=": ("!=", 2, 2, False),
    "===": ("===", 2, 2, False), "!==": ("!==", 2, 2, False), "<": ("<", 2, 3, False), "<=": ("<=", 2, 3, False),
    ">": (">", 2, 3, False), ">=": (">=", 2, 3, False), "in": ("in", 2, 2, False), "cat": ("cat", 0, -1, False),
    "+": ("+", 1, -1, False), "-": ("-", 1, -1, False), "*": ("*", 1, -1, False), "/": ("/", 2, -1, False),
    "%": ("%", 2, -1, False), "min": ("min", 1, -1, False), "max": ("max", 1, -1, False),
    "starts_with": ("starts_with", 0, -1, True), "ends_with": ("ends_with", 0, -1, True),
    "sem_ver": ("sem_ver", 0, -1, True), "fractional": ("fractional", 0, -1, True),
}
_ARITHMETIC = ("+", "-", "*", "/", "%")
_COMPARISONS = ("==", "!=", "===", "!==", "<", "<=", ">", ">=")


class NoResult(Exception):
    """The expression has no result for this context: JavaScript would throw."""


class _Node(NamedTuple):
    op: str  # "lit", "array", "var", or an operation
    args: Tuple["_Node", ...] = ()
    value: Any = None  # of a literal
    path: Tuple[str, ...] = ()


class Logic:
    """A compiled expression. timed says whether it asks for the time."""

    def __init__(self, expression: Any):
        """Compile; raise ContentError for what no context gives a result, or is not supported."""
        self._nodes = 0
        self.timed = False
        self._root = self._node(expression, 0)

    def run(self, ctx: Any, key: str) -> Any:
        """Return the value for a context (flags.Context) and the flag's key; raise NoResult."""
        return _Run(ctx, key).eval(self._root)

    def _node(self, e: Any, depth: int) -> _Node:
        self._nodes += 1
        if self._nodes > _MAX_NODES or depth > _MAX_DEPTH:
            raise _refused(f"more than {_MAX_NODES} parts, or nested deeper than {_MAX_DEPTH}")
        if isinstance(e, dict):
            return self._operation(e, depth)
        if isinstance(e, list):
            return _folded(_Node("array", tuple(self._node(a, depth + 1) for a in e)))
        return _Node("lit", value=_norm(e))

    def _operation(self, e: Dict[str, Any], depth: int) -> _Node:
        if len(e) != 1:
            raise _refused(f"an operation has one operator, here are {len(e)}")
        ((name, raw),) = e.items()
        if name == "var":
            return self._variable(raw, depth)
        if name not in _OPS:
            raise _refused(f"operator {name[:40]} is not supported")
        op, least, most, custom = _OPS[name]
        args = tuple(self._node(a, depth + 2 if isinstance(raw, list) else depth + 1) for a in (raw if isinstance(raw, list) else [raw]))
        if len(args) < least or 0 <= most < len(args):
            raise _refused(f"operator {name} with {len(args)} arguments")
        n = _Node(op, args)
        if _hopeless(n):
            raise _refused(f"operator {name} with an argument that is never a number")
        if custom or any(a.op != "lit" for a in args):
            return n
        try:
            return _Node("lit", value=_Run(None, "").eval(n))
        except NoResult as err:
            raise _refused(f"operator {name} never has a result here") from err

    def _variable(self, raw: Any, depth: int) -> _Node:
        arg, rest = self._node(raw, depth + 1), ()
        path = arg
        if arg.op == "array" or isinstance(arg.value, tuple):
            parts = arg.args if arg.op == "array" else tuple(_Node("lit", value=v) for v in arg.value)
            if not 1 <= len(parts) <= 2 or parts[0].op != "lit":
                raise _refused("var takes a fixed path and at most one default")
            path, rest = parts[0], parts[1:]
        text = js_text(path.value)
        if arg.op not in ("lit", "array") or path.value is None or not text or "../" in text:
            raise _refused("var takes a fixed path that is not empty and does not climb")
        names = _split(text)
        self.timed = self.timed or names[:2] == ("$flagd", "timestamp")
        return _Node("var", rest, path=names)


def _refused(text: str) -> ContentError:
    return ContentError("targeting.form", "targeting: " + text)


def _norm(v: Any) -> Any:
    """Return a JSON value as JavaScript holds it: every number a double."""
    if isinstance(v, int) and not isinstance(v, bool):
        try:
            return float(v)
        except OverflowError:
            return math.inf if v > 0 else -math.inf
    return v


def _folded(n: _Node) -> _Node:
    if any(a.op != "lit" for a in n.args):
        return n
    return _Node("lit", value=tuple(a.value for a in n.args))


def _hopeless(n: _Node) -> bool:
    """Say whether arithmetic has a literal argument that makes it fail for every context."""
    if n.op not in _ARITHMETIC:
        return False
    for i, a in enumerate(n.args):
        if a.op == "array" or a.op == "lit" and (_is_object(a.value) or math.isnan(_number(a.value))):
            return True
        if n.op == "/" and i > 0 and a.op == "lit" and _number(a.value) == 0:
            return True
    return False


def _split(s: str) -> Tuple[str, ...]:
    """Split a path at dots; a backslash keeps the dot, slash or backslash that follows."""
    parts, part, i = [], "", 0
    while i < len(s):
        if s[i] == "\\" and s[i + 1 : i + 2] in (".", "/", "\\"):
            i += 1
            part += s[i]
        elif s[i] == ".":
            parts.append(part)
            part = ""
        else:
            part += s[i]
        i += 1
    if len(parts) != len(s):
        parts.append(part)
    return tuple(parts)


# values


def _is_array(v: Any) -> bool:
    return isinstance(v, (list, tuple))


def _is_object(v: Any) -> bool:
    return isinstance(v, (list, tuple, dict))


def _truthy(v: Any) -> bool:
    if isinstance(v, float):
        return v != 0 and not math.isnan(v)
    if isinstance(v, list) and not all(isinstance(s, str) for s in v):
        return not (len(v) == 1 and isinstance(v[0], (list, dict)) and not _nested(v[0]))
    return bool(v)


def _nested(v: Any) -> bool:
    """Say whether JSON of the context is more than empty brackets in brackets."""
    if isinstance(v, list) and len(v) == 1 and isinstance(v[0], (list, dict)):
        return _nested(v[0])
    return bool(v)


def _js_true(v: Any) -> bool:
    return _is_object(v) or _truthy(v)


_SPACE = "\t\n\v\f\r \u00a0\ufeff\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(chr(c) for c in range(0x2000, 0x200B))


def _text_number(s: str) -> float:
    s = s.strip(_SPACE)
    if not s:
        return 0.0
    if len(s) > 2 and s[0] == "0" and s[1] in "xXoObB":
        try:
            n = int(s, 0)
        except ValueError:
            return math.nan
        return float(n) if n < 1 << 64 and "_" not in s else math.nan
    if s in ("Infinity", "+Infinity"):
        return math.inf
    if s == "-Infinity":
        return -math.inf
    if any(c not in "0123456789+-.eE" for c in s):
        return math.nan
    try:
        return float(s)
    except ValueError:
        return math.nan


def _number(v: Any) -> float:
    if v is None:
        return 0.0
    if isinstance(v, bool):
        return 1.0 if v else 0.0
    if isinstance(v, float):
        return v
    return _text_number(js_text(v))


def js_text(v: Any) -> str:
    """Return JavaScript's String(v)."""
    if v is None:
        return "null"
    if isinstance(v, str):
        return v
    if isinstance(v, bool):
        return "true" if v else "false"
    if isinstance(v, float):
        if math.isnan(v):
            return "NaN"
        return ("Infinity" if v > 0 else "-Infinity") if math.isinf(v) else canonical.number(v)
    if isinstance(v, dict):
        return "[object Object]"
    return ",".join("" if e is None else js_text(_norm(e)) for e in v)


def _kind(v: Any) -> str:
    if v is None:
        return "null"
    if isinstance(v, bool):
        return "bool"
    if isinstance(v, float):
        return "num"
    return "str" if isinstance(v, str) else "object"


def _same(a: Any, b: Any) -> bool:
    """Return JavaScript's ===, but that two arrays or objects are never the same."""
    return _kind(a) == _kind(b) != "object" and a == b


def _loosely_equal(a: Any, b: Any) -> bool:
    x, y = _is_object(a), _is_object(b)
    if _kind(a) == _kind(b) and not x:
        return _same(a, b)
    if a is None or b is None:
        return a is b
    if x and y:
        return False
    if (x or y) and (isinstance(a, str) or isinstance(b, str)):
        return js_text(a) == js_text(b)
    return _number(a) == _number(b)


def _holds(op: str, a: Any, b: Any) -> bool:
    if op in ("==", "!="):
        return _loosely_equal(a, b) == (op == "==")
    if op in ("===", "!=="):
        return _same(a, b) == (op == "===")
    if (isinstance(a, str) or _is_object(a)) and (isinstance(b, str) or _is_object(b)):
        x, y = (js_text(v).encode("utf-16-be", "surrogatepass") for v in (a, b))
    else:
        x, y = _number(a), _number(b)
    return {"<": x < y, "<=": x <= y, ">": x > y, ">=": x >= y}[op]


_INDEX = re.compile(r"0|[1-9][0-9]*")


def _member(v: Any, name: str) -> Any:
    """Descend one step of a path; None where there is nothing."""
    if isinstance(v, dict):
        return _norm(v.get(name))
    if _is_array(v):
        if name == "length":
            return float(len(v))
        return _norm(v[int(name)]) if _INDEX.fullmatch(name) and int(name) < len(v) else None
    if isinstance(v, str):
        units = v.encode("utf-16-le")
        if name == "length":
            return float(len(units) // 2)
        if _INDEX.fullmatch(name) and int(name) < len(units) // 2:
            return units[2 * int(name) : 2 * int(name) + 2].decode("utf-16-le", "replace")
    return None


class _Run:
    """One evaluation. prev is the value that a compiled expression of json-logic-engine noted last."""

    def __init__(self, ctx: Any, key: str):
        self._ctx, self._key, self._prev = ctx, key, None

    def eval(self, n: _Node) -> Any:
        """Return the value; raise NoResult."""
        if n.op == "lit":
            return n.value
        if n.op in _COMPARISONS:
            return self._compare(n)
        if n.op == "if":
            return self._choose(n)
        if n.op in ("and", "or"):
            return self._connect(n)
        if n.op == "in":
            return self._in(n)
        if n.op == "var":
            return self._variable(n)
        if n.op == "fractional":
            return self._fractional(n)
        args = [self.eval(a) for a in n.args]
        if n.op == "array":
            return tuple(args)
        if n.op in ("!", "!!"):
            return _truthy(args[0]) == (n.op == "!!")
        if n.op == "cat":
            return "".join(js_text(a) for a in args)
        if n.op in ("starts_with", "ends_with"):
            if len(args) != 2 or not all(isinstance(a, str) for a in args):
                return None
            return args[0].startswith(args[1]) if n.op == "starts_with" else args[0].endswith(args[1])
        if n.op == "sem_ver":
            return _sem_ver(args)
        return _calculate(n.op, args)

    def _variable(self, n: _Node) -> Any:
        if n.path[0] == "$flagd":
            v = self._injected(n.path[1:])
        else:
            v = self._ctx.value(n.path[0])
            v = _norm(list(v) if isinstance(v, tuple) else v)
            for name in n.path[1:]:
                v = _member(v, name)
        if v is None and n.args:
            v = self.eval(n.args[0])
        self._prev = v
        return v

    def _injected(self, path: Tuple[str, ...]) -> Any:
        if path == ("flagKey",):
            return self._key
        return float(self._ctx.now) if path == ("timestamp",) and self._ctx.now else None

    def _choose(self, n: _Node) -> Any:
        i = 0
        while i + 1 < len(n.args):
            if _truthy(self.eval(n.args[i])):
                return self.eval(n.args[i + 1])
            i += 2
        return self.eval(n.args[i]) if i < len(n.args) else None

    def _connect(self, n: _Node) -> Any:
        v = None
        for a in n.args:
            v = self._prev = self.eval(a)
            if _truthy(v) == (n.op == "or"):
                break
        return v

    def _compare(self, n: _Node) -> bool:
        left = self._prev = self.eval(n.args[0])
        if n.op == "==" and n.args[1].op == "lit" and isinstance(left, str) and isinstance(n.args[1].value, str):
            return left == n.args[1].value
        for a in n.args[1:]:
            right = self.eval(a)
            if n.op not in ("===", "!=="):
                right = self._checked(right)
            held = _holds(n.op, left, right)
            if len(n.args) > 2:
                self._prev = right
            if not held:
                return False
            left = right
        return True

    def _checked(self, item: Any) -> Any:
        """Return the right operand as it is compared; raise NoResult for operands that cannot be."""
        prev = self._prev
        if (item is None or isinstance(item, str)) and (prev is None or isinstance(prev, str)):
            return item
        if _is_object(item) or math.isnan(_number(item)) and prev is not None or _is_object(prev) or math.isnan(_number(prev)):
            raise NoResult
        if prev is None and not _js_true(item):
            return None
        return 0.0 if item is None and not _js_true(prev) else item

    def _in(self, n: _Node) -> bool:
        container, item = self.eval(n.args[1]), self.eval(n.args[0])
        if not _js_true(container):
            return False
        if isinstance(container, str):
            return js_text(item) in container
        if not _is_array(container):
            raise NoResult
        return any(_same(item, _norm(e)) for e in container)

    def _fractional(self, n: _Node) -> Any:
        """Return flagd's fractional, version 2: murmur3 of the text, times the sum of the weights, shifted right by 32."""
        if not n.args:
            return None
        args, by = n.args, None
        if args[0].op != "array":
            first = self.eval(args[0])
            if isinstance(first, str):
                by, args = first, args[1:]
        buckets = [self._bucket(a) for a in args]
        if by is None:
            if not self._ctx.key:
                return None
            by = self._key + self._ctx.key
        if any(b is None for b in buckets) or sum(b[1] for b in buckets) > _MAX_WEIGHT:
            return None
        at, total = murmur3(by.encode()) * int(sum(b[1] for b in buckets)) >> 32, 0
        for variant, weight in buckets:
            total += int(weight)
            if total > at:
                return variant
        return None

    def _bucket(self, n: _Node) -> Optional[Tuple[Any, float]]:
        """Evaluate a bucket; None when it has not the form [variant] or [variant, weight]."""
        if n.op == "array":
            parts: List[Any] = [self.eval(a) for a in n.args[:2]]
            size = len(n.args)
        elif n.op == "lit" and isinstance(n.value, tuple):
            parts, size = list(n.value[:2]), len(n.value)
        else:
            return None
        if not 1 <= size <= 2 or _is_object(parts[0]):
            return None
        weight = parts[1] if size == 2 else 1.0
        if not isinstance(weight, float) or not math.isfinite(weight) or weight != math.trunc(weight):
            return None
        return parts[0], max(0.0, weight)


def _calculate(op: str, args: List[Any]) -> float:
    res = 0.0
    for i, v in enumerate(args):
        f = math.nan if _is_object(v) or op in ("min", "max") and not isinstance(v, float) else _number(v)
        if math.isnan(f) or op == "/" and i > 0 and f == 0:
            raise NoResult
        res = f if i == 0 else _apply(op, res, f)
    if op == "-" and len(args) == 1:
        res = -res
    if math.isnan(res):
        raise NoResult
    return res


def _apply(op: str, a: float, b: float) -> float:
    if op == "%":
        try:
            return math.fmod(a, b)
        except ValueError:
            return math.nan
    if op in ("min", "max"):
        return math.nan if math.isnan(a) else (min(a, b) if op == "min" else max(a, b))
    return {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / b}[op]()


_PLAIN = re.compile(r"(0|[1-9][0-9]{0,15})(?:\.(0|[1-9][0-9]{0,15}))?")
_LARGEST = 9007199254740991


def _lenient(v: Any) -> Optional[Tuple]:
    """Read a version as flagd does: one "v" before it may stand, and "1" and "1.2" are versions."""
    s = js_text(v)
    if s[:1] in ("v", "V"):
        s = s[1:]
    m = _PLAIN.fullmatch(s)
    if m is not None:
        key: Optional[Tuple] = (int(m[1]), int(m[2] or 0), 0, True, [])
    else:
        s = s.strip(_SPACE)
        key = semver(s[1:] if s.startswith("v") else s)
    return key if key is not None and max(key[:3]) <= _LARGEST else None


def _sem_ver(args: List[Any]) -> Optional[bool]:
    if len(args) != 3:
        return None
    a, b = _lenient(args[0]), _lenient(args[2])
    if a is None or b is None:
        return None
    order = {"=": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b, "^": a[0] == b[0], "~": a[:2] == b[:2]}
    return order.get(js_text(args[1]))


def murmur3(data: bytes) -> int:
    """Return MurmurHash3_x86_32 of data with seed 0."""
    h, n = 0, len(data) & ~3
    for i in range(0, n, 4):
        h = _rotl(h ^ _scramble(int.from_bytes(data[i : i + 4], "little")), 13) * 5 + 0xE6546B64 & 0xFFFFFFFF
    h ^= _scramble(int.from_bytes(data[n:], "little"))
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    h = (h ^ h >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return h ^ h >> 16


def _rotl(x: int, bits: int) -> int:
    return (x << bits | x >> 32 - bits) & 0xFFFFFFFF


def _scramble(k: int) -> int:
    return _rotl(k * 0xCC9E2D51 & 0xFFFFFFFF, 15) * 0x1B873593 & 0xFFFFFFFF
