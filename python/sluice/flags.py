"""Flags as values: a configuration is checked and compiled once and evaluated as Go's package flag evaluates it.

api/testdata/evaluation.json holds what Go answers for thousands of configurations and contexts; the tests hold this module
to every one of them.
"""

import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from . import bucketing, canonical
from .errors import ContentError
from .logic import Logic, NoResult, js_text
from .versions import semver

# Reasons of a result, in order of precedence.
KILLED, DISABLED, EXCLUDED, EXCEPTION = "KILLED", "DISABLED", "EXCLUDED", "EXCEPTION"
RULE, TARGETING, ROLLOUT = "RULE", "TARGETING", "ROLLOUT"
DEFAULT, LAPSED, ERROR = "DEFAULT", "LEASE_LAPSED", "ERROR"

# Error codes; they are OpenFeature's.
FLAG_NOT_FOUND = "FLAG_NOT_FOUND"
TARGETING_KEY_MISSING = "TARGETING_KEY_MISSING"
INVALID_CONTEXT = "INVALID_CONTEXT"
TYPE_MISMATCH = "TYPE_MISMATCH"
GENERAL = "GENERAL"

# Arms.
NONE, BASELINE, EXPOSED = "", "baseline", "exposed"

TARGETING_KEY = "targetingKey"
"""The name under which conditions and rollouts refer to the unit itself."""

MAX_TARGETING_KEY = 4 << 10
MAX_ATTRIBUTES = 256
MAX_CONTEXT_BYTES = 256 << 10
_MAX_DEPTH = 16

_OPENFEATURE = {
    KILLED: "DISABLED", DISABLED: "DISABLED", EXCLUDED: "TARGETING_MATCH", EXCEPTION: "TARGETING_MATCH",
    RULE: "TARGETING_MATCH", TARGETING: "TARGETING_MATCH",
    ROLLOUT: "SPLIT", LAPSED: "STALE", DEFAULT: "DEFAULT", ERROR: "ERROR",
}


def openfeature_reason(reason: str) -> str:
    """Return the reason in OpenFeature's words."""
    return _OPENFEATURE.get(reason, "UNKNOWN")


class Variant(NamedTuple):
    """One value of a flag."""

    name: str
    type: str
    value: Any


class Result(NamedTuple):
    """The answer of one evaluation, with everything that evidence needs to count it.

    variant is None when there is no such flag, and where the caller's code has the default. assigned is the arm the unit was randomised into, served the one it
    got: they differ only when the lease had lapsed.
    """

    variant: Optional[Variant] = None
    reason: str = ERROR
    rule: str = ""
    cohort: str = ""
    rollout: str = ""
    scope: str = ""
    error: str = ""
    revision: int = 0
    exposure: int = 0
    assigned: str = NONE
    served: str = NONE
    closed: bool = False
    unit_bucket: int = 0

    def value(self, kind: str, default: Any) -> Any:
        """Return the value if it is of the type, else the default. There is no coercion."""
        if self.variant is None or self.variant.type != kind:
            return default
        return self.variant.value

    def check(self, kind: str) -> str:
        """Return the error code of asking for that type, "" when there is none."""
        if self.variant is None:
            return self.error
        return "" if self.variant.type == kind else TYPE_MISMATCH


MISSING = object()
"""Stands for an attribute that is not there; None is one that is, and compares with nothing."""


class Context:
    """For whom or what flags are evaluated: the targeting key (the unit) and typed attributes.

    Text, bool, int, float, and lists of texts can be compared; an attribute of another type only exists. A context beyond
    the limits is refused as a whole: every flag serves its default.
    """

    __slots__ = ("key", "attrs", "hash", "bucket", "invalid", "now")

    def __init__(self, key: str = "", attrs: Optional[Dict[str, Any]] = None):
        self.key = key
        self.attrs = attrs or {}
        self.hash = 0
        self.bucket = 0
        self.now = 0  # seconds since 1970, for targeting that asks; 0 when it was not said
        try:
            raw = key.encode()
            self.invalid = len(raw) > MAX_TARGETING_KEY or len(self.attrs) > MAX_ATTRIBUTES or self._size() > MAX_CONTEXT_BYTES
        except (UnicodeEncodeError, TypeError, AttributeError):
            self.invalid = True
        if self.invalid:
            self.key = ""
        elif key:
            self.hash = bucketing.xxhash64(raw)
            self.bucket = bucketing.unit_bucket_of(self.hash)

    def _size(self) -> int:
        size = 0
        for name, value in self.attrs.items():
            size += len(name.encode())
            if isinstance(value, str):
                size += len(value.encode())
            elif isinstance(value, (list, tuple)):
                size += sum(len(s.encode()) for s in value if isinstance(s, str))
        return size

    def lookup(self, name: str) -> Any:
        """Return an attribute, MISSING when there is none; TARGETING_KEY names the unit itself."""
        if name == TARGETING_KEY:
            return self.key or MISSING
        return self.attrs.get(name, MISSING)

    def value(self, name: str) -> Any:
        """Return an attribute, None when there is none."""
        v = self.lookup(name)
        return None if v is MISSING else v

    def text(self, name: str) -> str:
        """Return an attribute as it names a segment in evidence, "" when it has no text."""
        v = self.lookup(name)
        if isinstance(v, str):
            return v
        if isinstance(v, bool):
            return "true" if v else "false"
        if isinstance(v, int):
            return str(v)
        if isinstance(v, float):
            if v != v:
                return "NaN"
            if v in (float("inf"), float("-inf")):
                return "+Inf" if v > 0 else "-Inf"
            return canonical.number(v)
        return ""


_Match = Callable[[Context], bool]

# What an operator compares with: a scalar, a number, a text, a version, a list of texts, nothing.
_OPERANDS = {
    "eq": "scalar", "ne": "scalar", "le": "number", "ge": "number", "lt": "number", "gt": "number", "in": "list",
    "not-in": "list", "starts-with": "text", "ends-with": "text", "contains": "text", "exists": "none",
    "semver-eq": "version", "semver-lt": "version", "semver-le": "version", "semver-gt": "version", "semver-ge": "version",
}


def _kind(v: Any) -> str:
    """Name the type of an attribute or operand: str, bool, num, list, or other."""
    if isinstance(v, str):
        return "str"
    if isinstance(v, bool):
        return "bool"
    if isinstance(v, int):
        return "num"
    if isinstance(v, float):
        return "num"
    if isinstance(v, (list, tuple)) and all(isinstance(s, str) for s in v):
        return "list"
    return "other"


def _finite(v: Any) -> bool:
    return not isinstance(v, float) or (v == v and v not in (float("inf"), float("-inf")))


def _same(v: Any, want: Any) -> Optional[bool]:
    """Say whether an attribute equals the operand; None when their types differ."""
    kind = _kind(v)
    if kind != _kind(want) or kind == "num" and not _finite(v):
        return None
    return v == want


def _listed(v: Any, want: frozenset) -> Optional[bool]:
    kind = _kind(v)
    if kind == "str":
        return v in want
    if kind == "list":
        return any(s in want for s in v)
    return None


_ORDER: Dict[str, Callable[[Any, Any], bool]] = {
    "lt": lambda a, b: a < b, "le": lambda a, b: a <= b, "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
}


def _comparison(c: Dict[str, Any]) -> _Match:
    """Compile the test of one attribute. A missing attribute or one of another type makes it false, for ne too."""
    name, op = c["name"], c["op"]
    test = _test(op, c)
    return lambda ctx: (v := ctx.lookup(name)) is not MISSING and test(v)


def _test(op: str, c: Dict[str, Any]) -> Callable[[Any], bool]:
    want = c.get("value")
    if op == "exists":
        return lambda v: True
    if op == "eq":
        return lambda v: _same(v, want) is True
    if op == "ne":
        return lambda v: _same(v, want) is False
    if op in ("in", "not-in"):
        values, hit = frozenset(c["values"]), op == "in"
        return lambda v: _listed(v, values) is hit
    if op.startswith("semver-"):
        version, order = semver(want), _ORDER[op[7:]]
        return lambda v: isinstance(v, str) and (got := semver(v)) is not None and order(got, version)
    if op == "starts-with":
        return lambda v: isinstance(v, str) and v.startswith(want)
    if op == "ends-with":
        return lambda v: isinstance(v, str) and v.endswith(want)
    if op == "contains":
        return lambda v: _kind(v) in ("str", "list") and want in v
    order = _ORDER[op]
    return lambda v: _kind(v) == "num" and _finite(v) and order(v, want)


class _Decision(NamedTuple):
    match: _Match
    result: Result
    lapsed: Optional[Result]


class _Cohort(NamedTuple):
    match: Optional[_Match]
    exposure: int
    baseline: Result
    exposed: Result
    lapsed: Result

    def result(self, exposed: bool, leased: bool) -> Result:
        if not exposed:
            return self.baseline
        return self.exposed if leased else self.lapsed


class _Rollout(NamedTuple):
    unit: str
    salt_hash: int
    cohorts: List[_Cohort]
    unnamed: _Cohort
    outside: Result
    missing: Result

    def unit_of(self, ctx: Context) -> Tuple[int, int, bool]:
        """Return the hash and unit bucket of the rollout's unit, and whether the context has one."""
        if not self.unit:
            return ctx.hash, ctx.bucket, ctx.key != ""
        v = ctx.lookup(self.unit)
        if not isinstance(v, str) or not v:
            return 0, ctx.bucket, False
        h = bucketing.xxhash64(v.encode())
        return h, bucketing.unit_bucket_of(h), True

    def cohort_of(self, ctx: Context) -> Optional[_Cohort]:
        for c in self.cohorts:
            if c.match is None or c.match(ctx):
                return c
        return None


class Handle:
    """One compiled flag. Its public attributes are for reading."""

    def __init__(self, flag: Dict[str, Any], scope: str, revision: int):
        self.key: str = flag["key"]
        self.type: str = flag["type"]
        self.scope = scope
        self.revision = revision
        self.rollout_id: str = (flag.get("rollout") or {}).get("id", "")
        self.judged: Optional[Dict[str, Any]] = None
        self.unit = ""
        self.killed = False
        self.disabled = bool(flag.get("disabled"))
        self.variants = {name: Variant(name, self.type, value) for name, value in flag["variants"].items()}
        self._fallback = self._result(flag["default"], DEFAULT)
        self._off = self._fallback
        self._exclusions: List[_Decision] = []
        self._exceptions: List[_Decision] = []
        self._rules: List[_Decision] = []
        self._logic: Optional[Logic] = None
        self._rollout: Optional[_Rollout] = None

    def _result(self, variant: str, reason: str) -> Result:
        return Result(
            variant=self.variants.get(variant), reason=reason, rollout=self.rollout_id, scope=self.scope, revision=self.revision
        )

    def _failure(self, code: str) -> Result:
        return self._fallback._replace(reason=ERROR, error=code)

    def eval(self, ctx: Context, leased: bool) -> Result:
        """Evaluate for a context. leased says whether the flag's scope holds a valid lease at this very moment.

        The first of these decides: kill switch, exclusion, exception, rule, targeting, rollout, default.
        """
        if ctx.invalid and not (self.killed or self.disabled):
            return self._failure(INVALID_CONTEXT)
        decided = self._first(ctx, leased)
        if decided is not None:
            return decided._replace(unit_bucket=ctx.bucket)
        r = self._rollout
        if r is None:
            return self._fallback._replace(unit_bucket=ctx.bucket)
        unit, bucket, ok = r.unit_of(ctx)
        if not ok:
            return r.missing._replace(unit_bucket=bucket)
        c = r.cohort_of(ctx)
        if c is None:
            return r.outside._replace(unit_bucket=bucket)
        drawn = bucketing.exposed(bucketing.bucket_of(unit, r.salt_hash), c.exposure)
        return c.result(drawn, leased)._replace(unit_bucket=bucket)

    def eval_pinned(self, ctx: Context, arm: str, leased: bool) -> Result:
        """Evaluate for a request whose arm was decided at an earlier hop: it is not assigned again. NONE: in no cohort."""
        r = self._rollout
        if r is None or ctx.invalid:
            return self.eval(ctx, leased)
        decided, bucket = self._first(ctx, leased), ctx.bucket
        if decided is None:
            _, bucket, _ = r.unit_of(ctx)
            decided = r.outside if arm == NONE else (r.cohort_of(ctx) or r.unnamed).result(arm == EXPOSED, leased)
        return decided._replace(unit_bucket=bucket)

    def drawn(self, ctx: Context, exposure: int) -> str:
        """Return the arm that the unit's hash gives at an exposure, whatever decided."""
        if self._rollout is None:
            return NONE
        unit, _, ok = self._rollout.unit_of(ctx)
        if not ok:
            return NONE
        return EXPOSED if bucketing.exposed(bucketing.bucket_of(unit, self._rollout.salt_hash), exposure) else BASELINE

    def _first(self, ctx: Context, leased: bool) -> Optional[Result]:
        if self.killed or self.disabled:
            return self._off
        for d in self._exclusions:
            if d.match(ctx):
                return d.result
        for d in self._exceptions:
            if d.match(ctx):
                return d.lapsed if d.lapsed is not None and not leased else d.result
        for d in self._rules:
            if d.match(ctx):
                return d.result
        return self._targeted(ctx) if self._logic is not None else None

    def _targeted(self, ctx: Context) -> Optional[Result]:
        """Return what the targeting names; None when it leaves the unit to the rollout."""
        try:
            v = self._logic.run(ctx, self.key)
        except (NoResult, RecursionError):
            return self._failure(GENERAL)
        if v is None:
            return None if self._rollout is not None else self._fallback
        name = js_text(v)
        return self._result(name, TARGETING) if name in self.variants else self._failure(GENERAL)


# The fields of each object: name -> (JSON type, required).
_FIELDS: Dict[str, Dict[str, Tuple[Any, bool]]] = {
    "flag": {
        "key": (str, True), "type": (str, True), "variants": (dict, True), "default": (str, True), "off": (str, False),
        "disabled": (bool, False), "rules": (list, False), "targeting": (object, False), "rollout": (dict, False),
        "meta": (object, False),
    },
    "segment": {"name": (str, True), "match": (dict, True)},
    "kill": {"flag": (str, True), "reason": (str, False)},
    "exception": {
        "id": (str, True), "flag": (str, True), "match": (dict, True), "serve": (str, True), "reason": (str, False),
        "approvedBy": (str, False), "expires": (str, False),
    },
    "exclude": {"id": (str, True), "flag": (str, True), "match": (dict, True), "serve": (str, False)},
    "judge": {"rollout": (str, True), "segments": (list, False), "sources": (list, False), "metrics": (dict, True)},
    "rule": {"name": (str, False), "match": (dict, True), "serve": (str, True)},
    "rollout": {
        "id": (str, True), "stable": (str, True), "candidate": (str, True), "unit": (str, False), "salt": (str, True),
        "cohorts": (list, True),
    },
    "cohort": {"cohort": (str, True), "match": (dict, False), "exposure": (int, True), "closed": (bool, False)},
    "condition": {
        "all": (list, False), "any": (list, False), "not": (dict, False), "segment": (str, False), "attr": (dict, False),
        "always": (bool, False),
    },
    "compare": {"name": (str, True), "op": (str, True), "value": (object, False), "values": (list, False)},
}
_NAMED = {"flag": "key", "segment": "name", "kill": "flag", "exception": "id", "exclude": "id", "judge": "rollout"}
_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def _check(kind: str, at: str, o: Any) -> Dict[str, Any]:
    """Check an object's fields; what this release does not know is refused, because it could change what is served."""
    fields = _FIELDS[kind]
    if not isinstance(o, dict):
        raise ContentError("field.type", f"{at}: must be an object")
    for name, value in o.items():
        if name not in fields:
            raise ContentError("field.unknown", f"{at}.{name}: there is no such field here")
        want = fields[name][0]
        if want is int and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise ContentError("field.type", f"{at}.{name}: must be a whole number of at least 0")
        if want not in (object, int) and not isinstance(value, want) and not (value is None and want in (list, dict)):
            raise ContentError("field.type", f"{at}.{name}: must be {want.__name__}")
    for name, (_, required) in fields.items():
        if required and name not in o:
            raise ContentError("field.missing", f"{at}.{name}: is missing")
    return o


def _check_value(at: str, kind: str, v: Any) -> Any:
    if kind == "float" and isinstance(v, int) and not isinstance(v, bool):
        return float(v)
    if kind == "integer" and isinstance(v, float) and v.is_integer():
        v = int(v)
    fits = {
        "boolean": isinstance(v, bool), "string": isinstance(v, str), "float": isinstance(v, float),
        "integer": isinstance(v, int) and not isinstance(v, bool) and -(1 << 63) <= v < 1 << 63,
        "object": isinstance(v, (dict, list)),
    }
    if kind not in fits:
        raise ContentError("flag.type", f"{at}: {kind} is none of boolean, string, integer, float, object")
    if not fits[kind]:
        raise ContentError("variant.type", f"{at}: the value is not of type {kind}")
    return v


class Config:
    """An environment's compiled flags, by key. It is immutable."""

    def __init__(self, objects: Dict[str, Any], revisions: Dict[str, int]):
        """Check and compile objects keyed "<scope>/<kind>/<name>"; raise ContentError for what cannot be served.

        References that lead nowhere do nothing: what the server publishes, above all a rollback, must take effect.
        """
        self.flags: Dict[str, Handle] = {}
        self.timed = False  # some targeting asks for the time: contexts should know it
        self._objects: Dict[str, Dict[str, Dict[str, Any]]] = {kind: {} for kind in _NAMED}
        self._scopes: Dict[Tuple[str, str], str] = {}
        self._segments: Dict[str, _Match] = {}
        self._open: List[str] = []
        for path in sorted(objects):
            self._parse(path, objects[path])
        for name in sorted(self._objects["segment"]):
            self._segment(name)
        rollouts: Dict[str, str] = {}
        for key in sorted(self._objects["flag"]):
            h = self._flag(self._objects["flag"][key], self._scopes["flag", key], revisions)
            if h.rollout_id and rollouts.setdefault(h.rollout_id, key) != key:
                raise ContentError("rollout", f"flag {rollouts[h.rollout_id]} has rollout {h.rollout_id} too")
            self.flags[key] = h

    def _parse(self, path: str, o: Any) -> None:
        scope, _, rest = path.partition("/")
        kind, slash, name = rest.partition("/")
        if not scope or not slash:
            raise ContentError("path", f"{path}: the path is not <scope>/<kind>/<name>")
        if kind not in _NAMED:
            return
        if not (_KEY if kind in ("flag", "kill") else _SLUG).fullmatch(name):
            raise ContentError("name", f"{path}: not a name")
        if (kind, name) in self._scopes:
            raise ContentError("duplicate", f"{path}: scope {self._scopes[kind, name]} has this object too")
        _check(kind, path, o)
        if o[_NAMED[kind]] != name:
            raise ContentError("name.mismatch", f"{path}: the object calls itself {o[_NAMED[kind]]}")
        self._scopes[kind, name] = scope
        self._objects[kind][name] = o

    def _segment(self, name: str) -> _Match:
        if name in self._open:
            raise ContentError("ref.cycle", "segments refer to each other: " + " -> ".join([*self._open, name]))
        if name not in self._segments:
            self._open.append(name)
            self._segments[name] = self._condition(f"segment/{name}: match", self._objects["segment"][name]["match"], 1)
            self._open.pop()
        return self._segments[name]

    def _condition(self, at: str, c: Any, depth: int) -> _Match:
        _check("condition", at, c)
        if depth > _MAX_DEPTH:
            raise ContentError("limit.depth", f"{at}: nested deeper than {_MAX_DEPTH}")
        set_ = [k for k in c if c[k] is not None and c[k] is not False and c[k] != ""]
        if len(set_) != 1:
            raise ContentError("condition", f"{at}: exactly one of all, any, not, segment, attr and always must be set")
        what = set_[0]
        if what in ("all", "any"):
            kids = [self._condition(f"{at}.{what}[{i}]", k, depth + 1) for i, k in enumerate(c[what])]
            if not kids:
                raise ContentError("condition", f"{at}.{what}: there are no conditions in it")
            every = all if what == "all" else any
            return lambda ctx: every(k(ctx) for k in kids)
        if what == "not":
            kid = self._condition(at + ".not", c["not"], depth + 1)
            return lambda ctx: not kid(ctx)
        if what == "segment":
            return self._segment(c["segment"]) if c["segment"] in self._objects["segment"] else lambda ctx: False
        if what == "attr":
            return self._compare(at + ".attr", c["attr"])
        return lambda ctx: True

    def _compare(self, at: str, c: Any) -> _Match:
        _check("compare", at, c)
        operand = _OPERANDS.get(c["op"])
        if operand is None:
            raise ContentError("attr.op", f"{at}: there is no operator {c['op'][:40]}")
        value, values = c.get("value"), c.get("values") or []
        kind = _kind(value) if value is not None else "none"
        if operand == "list":
            fits = kind == "none" and bool(values) and _kind(values) == "list"
        else:
            allowed = {"scalar": ("str", "num", "bool"), "number": ("num",), "none": ("none",)}.get(operand, ("str",))
            fits = not values and kind in allowed
        if not fits or operand == "version" and semver(value) is None:
            raise ContentError("attr.value", f"{at}: operator {c['op']} does not take this value")
        return _comparison(c)

    def _flag(self, f: Dict[str, Any], scope: str, revisions: Dict[str, int]) -> Handle:
        at = f"{scope}/flag/{f['key']}"
        if not f["variants"]:
            raise ContentError("variants", f"{at}: there are no variants")
        f = {**f, "variants": {n: _check_value(f"{at}: variants[{n}]", f["type"], v) for n, v in f["variants"].items()}}
        h = Handle(f, scope, revisions.get(scope, 0))
        for name in (f["default"], f.get("off", "")):
            if name and name not in h.variants:
                raise ContentError("ref.variant", f"{at}: there is no variant {name[:40]}")
        h.killed = f["key"] in self._objects["kill"]
        h._off = h._result(f.get("off") or f["default"], KILLED) if h.killed else h._result("", DISABLED)
        if f.get("targeting") is not None:
            h._logic = Logic(f["targeting"])
            self.timed = self.timed or h._logic.timed
        self._overlay(h, f.get("rollout"))
        for i, rule in enumerate(f.get("rules") or []):
            _check("rule", f"{at}: rules[{i}]", rule)
            match = self._condition(f"{at}: rules[{i}].match", rule["match"], 1)
            if rule["serve"] not in h.variants:
                raise ContentError("ref.variant", f"{at}: rules[{i}]: there is no variant {rule['serve'][:40]}")
            h._rules.append(_Decision(match, h._result(rule["serve"], RULE)._replace(rule=rule.get("name", "")), None))
        if f.get("rollout"):
            self._compile_rollout(h, at + ": rollout", f["rollout"])
        return h

    def _overlay(self, h: Handle, rollout: Optional[Dict[str, Any]]) -> None:
        stable = rollout["stable"] if rollout else ""
        candidate = rollout["candidate"] if rollout else ""
        for xid in sorted(self._objects["exclude"]):
            x = self._objects["exclude"][xid]
            if x["flag"] != h.key:
                continue
            match, serve = self._condition(f"exclude/{xid}: match", x["match"], 1), x.get("serve", "")
            if rollout and (serve not in h.variants or serve == candidate):
                serve = stable  # the candidate is served under a lease only
            if serve in h.variants:
                h._exclusions.append(_Decision(match, h._result(serve, EXCLUDED)._replace(rule=xid), None))
        for eid in sorted(self._objects["exception"]):
            e = self._objects["exception"][eid]
            if e["flag"] != h.key:
                continue
            match = self._condition(f"exception/{eid}: match", e["match"], 1)
            if e["serve"] not in h.variants:
                continue
            lapsed = None
            if rollout and e["serve"] == candidate:
                lapsed = h._result(stable, LAPSED)._replace(rule=eid)
            h._exceptions.append(_Decision(match, h._result(e["serve"], EXCEPTION)._replace(rule=eid), lapsed))

    def _compile_rollout(self, h: Handle, at: str, r: Dict[str, Any]) -> None:
        _check("rollout", at, r)
        for name in (r["stable"], r["candidate"]):
            if name not in h.variants:
                raise ContentError("ref.variant", f"{at}: there is no variant {name[:40]}")
        h.unit = "" if r.get("unit", "") == TARGETING_KEY else r.get("unit", "")
        h.judged = self._objects["judge"].get(h.rollout_id)
        cohorts = []
        for i, ce in enumerate(r["cohorts"] or []):
            _check("cohort", f"{at}.cohorts[{i}]", ce)
            match = self._condition(f"{at}.cohorts[{i}].match", ce["match"], 1) if ce.get("match") is not None else None
            cohorts.append(_cohort(h, r, ce, match))
        h._rollout = _Rollout(
            unit=h.unit, salt_hash=bucketing.xxhash64(r["salt"].encode()), cohorts=cohorts,
            unnamed=_cohort(h, r, {"cohort": "", "exposure": 0}, None),
            outside=h._result(r["stable"], ROLLOUT), missing=h._failure(TARGETING_KEY_MISSING),
        )


def _cohort(h: Handle, r: Dict[str, Any], ce: Dict[str, Any], match: Optional[_Match]) -> _Cohort:
    base = h._result(r["stable"], ROLLOUT)._replace(
        cohort=ce["cohort"], exposure=ce["exposure"], closed=bool(ce.get("closed"))
    )
    return _Cohort(
        match=match, exposure=ce["exposure"], baseline=base._replace(assigned=BASELINE, served=BASELINE),
        exposed=base._replace(assigned=EXPOSED, served=EXPOSED, variant=h.variants.get(r["candidate"])),
        lapsed=base._replace(assigned=EXPOSED, served=BASELINE, reason=LAPSED),
    )
