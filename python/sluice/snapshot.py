"""What travels on the wire of the lease protocol: snapshots, deltas, pins, the server's clock (Go: package slp)."""

import hashlib
import hmac
import re
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

from . import canonical, flags
from .errors import ContentError

MAX_REV = 1 << 53
MAX_SCOPES = 1024
MAX_OBJECTS = 200_000


class Head(NamedTuple):
    """A revision of the environment and its digest."""

    rev: int = 0
    digest: str = ""


class Meta(NamedTuple):
    """What a snapshot says of one scope besides its objects."""

    rev: int = 0
    digest: str = ""
    leased: bool = False
    ttl_ms: int = 0


def _count(o: Any, name: str) -> int:
    v = o.get(name, 0) if isinstance(o, dict) else None
    if not isinstance(v, int) or isinstance(v, bool) or v < 0:
        raise ContentError("wire.number", f"{name} is not a whole number of at least 0")
    return v


def _text(o: Any, name: str) -> str:
    v = o.get(name, "") if isinstance(o, dict) else None
    if not isinstance(v, str):
        raise ContentError("wire.text", f"{name} is not a text")
    return v


def head_of(o: Any) -> Head:
    """Read a head as it stands on the wire."""
    return Head(_count(o, "rev"), _text(o, "digest"))


def revs_of(o: Any, head: int) -> Dict[str, int]:
    """Read revisions or floors by scope; none may lie above the head it is told with."""
    if o is None:
        return {}
    if not isinstance(o, dict) or len(o) > MAX_SCOPES:
        raise ContentError("wire.scopes", f"not an object of at most {MAX_SCOPES} scopes")
    for scope in o:
        if _count(o, scope) > head:
            raise ContentError("wire.number", f"scope {scope[:64]} stands at {o[scope]}, the head at {head}")
    return o


def _scopes_of(o: Any) -> Dict[str, Meta]:
    if not isinstance(o, dict):
        raise ContentError("wire.scopes", "scopes is not an object")
    return {
        name: Meta(_count(m, "rev"), _text(m, "digest"), m.get("leased") is True, _count(m, "ttlMs")) for name, m in o.items()
    }


class Snapshot(NamedTuple):
    """An environment's whole configuration at one revision; objects are keyed "<scope>/<kind>/<name>"."""

    env: str
    head: Head
    scopes: Dict[str, Meta]
    objects: Dict[str, Any]

    @staticmethod
    def of(o: Any) -> "Snapshot":
        """Read a snapshot as it stands on the wire, without checking its digests."""
        objects = o.get("objects") or {} if isinstance(o, dict) else None
        if not isinstance(objects, dict):
            raise ContentError("wire.objects", "objects is not an object")
        return Snapshot(_text(o, "env"), head_of(o.get("head", {})), _scopes_of(o.get("scopes") or {}), objects)

    def wire(self) -> Dict[str, Any]:
        """Return the wire form."""
        scopes: Dict[str, Any] = {}
        for name, m in self.scopes.items():
            scopes[name] = {"rev": m.rev, "digest": m.digest, **({"leased": True} if m.leased else {})}
            if m.ttl_ms:
                scopes[name]["ttlMs"] = m.ttl_ms
        return {"env": self.env, "head": self.head._asdict(), "scopes": scopes, "objects": self.objects}

    def verify(self, touched: Optional[Set[str]] = None) -> None:
        """Compute the digests of the touched scopes (all for None) and of the environment again; raise ContentError."""
        rev = self.head.rev
        if len(self.scopes) > MAX_SCOPES or len(self.objects) > MAX_OBJECTS or rev >= MAX_REV:
            raise ContentError("snapshot.limit", f"snapshot {rev} has {len(self.scopes)} scopes, {len(self.objects)} objects")
        parts: Dict[str, Dict[str, Any]] = {name: {} for name in self.scopes}
        for path, o in self.objects.items():
            scope, slash, rest = path.partition("/")
            if not slash or scope not in parts:
                raise ContentError("snapshot.scope", f"snapshot {rev}: object {path[:80]} is in no listed scope")
            parts[scope][rest] = o
        for name, meta in self.scopes.items():
            if meta.rev > rev:
                raise ContentError("snapshot.rev", f"snapshot {rev}: scope {name} has revision {meta.rev}, above the head")
            if touched is None or name in touched:
                got = canonical.scope_digest(parts[name])
                if got != meta.digest:
                    raise ContentError("digest", f"snapshot {rev}: scope {name} has digest {got}, announced was {meta.digest}")
        got = canonical.env_digest({name: m.digest for name, m in self.scopes.items()})
        if got != self.head.digest:
            raise ContentError("digest", f"snapshot {rev} has digest {got}, announced was {self.head.digest}")

    def apply(self, delta: Any, head: Head) -> "Snapshot":
        """Return the snapshot that a delta makes of this one, with the digests of all it touches verified."""
        if _text(delta, "base") != self.head.digest:
            raise ContentError("delta.base", f"delta to {head.rev} starts from {delta['base'][:20]}, held is {self.head.digest[:20]}")
        objects, touched = dict(self.objects), set()
        for path, o in (delta.get("upsert") or {}).items():
            objects[path] = o
            touched.add(path.partition("/")[0])
        for path in delta.get("delete") or []:
            objects.pop(path, None)
            touched.add(path.partition("/")[0])
        scopes = _scopes_of(delta.get("scopes") or {})
        touched |= {n for n, m in scopes.items() if n not in self.scopes or self.scopes[n].digest != m.digest}
        made = Snapshot(self.env, head, scopes, objects)
        made.verify(touched)
        return made

    def with_scope(self, scope: str, digest: str, objects: Dict[str, Any]) -> "Snapshot":
        """Return a copy in which one scope's objects are replaced, under its old number."""
        kept = {path: o for path, o in self.objects.items() if not path.startswith(scope + "/")}
        kept.update({f"{scope}/{path}": o for path, o in objects.items()})
        scopes = {**self.scopes, scope: self.scopes.get(scope, Meta())._replace(digest=digest)}
        return Snapshot(self.env, self.head, scopes, kept)

    def compile(self) -> flags.Config:
        """Compile the flags for a member."""
        return flags.Config(self.objects, {name: m.rev for name, m in self.scopes.items()})


class ServerClock(NamedTuple):
    """The server's time on the member's monotonic clock (Cristian's rule). Nanoseconds, except offset: microseconds."""

    offset: int = 0
    bound: int = 0
    at: int = 0
    known: bool = False

    def observe(self, sent: int, received: int, server_now: int) -> "ServerClock":
        """Return the clock after a server time (unix microseconds) that was read between sent and received."""
        if server_now <= 0 or received < sent:
            return self
        bound = (received - sent) // 2
        if self.known and bound > self.bound + int(0.02 * max(received - self.at, 0)):
            return self
        return ServerClock(server_now - (sent + bound) // 1000, bound, received, True)

    def micros(self, now: int) -> int:
        """Return the server's unix microseconds at now, 0 when they are not known."""
        return now // 1000 + self.offset if self.known else 0

    def second(self, now: int) -> int:
        """Return the server's unix second at now, 0 when it is not known."""
        return self.micros(now) // 1_000_000


PIN_MEMBER = "slc"
"""The baggage key under which a request's pins travel."""

MAX_PINS = 4
PIN_ARMS = ("baseline", "exposed", "lapsed", "none")
_PIN = re.compile(r"1\.(0|[1-9][0-9]{0,15})\.([a-z0-9][a-z0-9._-]{0,127})\.([0-9a-f]{8})\.([a-z]+)\.([0-9a-f]{16})")


class Pin(NamedTuple):
    """A request's decision about one scope, carried to every later hop, which does not decide again."""

    rev: int
    scope: str
    digest8: str
    arm: str

    def sign(self, key: bytes) -> str:
        """Return the pin's wire form."""
        body = f"1.{self.rev}.{self.scope}.{self.digest8}.{self.arm}"
        return f"{body}.{_mac(key, body)}"


def _mac(key: bytes, body: str) -> str:
    return hmac.new(key, body.encode(), hashlib.sha256).digest()[:8].hex()


def verify_pin(text: str, keys: List[bytes]) -> Pin:
    """Read a pin and check it against the environment's keys; raise ContentError."""
    m = _PIN.fullmatch(text) if len(text) <= 256 else None
    if m is None or int(m[1]) >= MAX_REV or m[4] not in PIN_ARMS:
        raise ContentError("pin.form", f"pin {text[:40]!r} is malformed")
    if not any(hmac.compare_digest(_mac(k, text[:-17]), m[5]) for k in keys):
        raise ContentError("pin.mac", f"pin of scope {m[2]} is not signed by a key of this environment")
    return Pin(int(m[1]), m[2], m[3], m[4])


def digest8(digest: str) -> str:
    """Return the part of a digest that a pin carries, "" if it is none."""
    return digest[7:15] if digest.startswith("sha256:") and len(digest) >= 15 else ""


def split_baggage(baggage: str) -> Tuple[List[str], List[str]]:
    """Split a baggage header into the pins in it and all other members."""
    pins, others = [], []
    for member in baggage.split(","):
        name, eq, value = member.partition("=")
        if eq and name.strip(" \t") == PIN_MEMBER:
            pins.append(value.partition(";")[0].strip(" \t"))
        elif member.strip(" \t"):
            others.append(member.strip(" \t"))
    return pins, others
