"""The client: one process's membership in the fleet, and the requests that evaluate flags in it."""

import contextvars
import os
import queue
import random
import re
import socket
import ssl
import threading
import time
import weakref
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from . import flags, life
from .cache import DiskCache
from .errors import CacheError, ConfigError, ContentError, JoinError, SluiceError
from .evidence import Slot
from .life import SECOND, Bound, Compiled, Life, Resident, Settings
from .machine import Cache
from .snapshot import MAX_PINS, PIN_MEMBER, Pin, split_baggage, verify_pin
from .transport import Address

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_CLASSES = ("reader", "router", "host", "store", "writer")
_MAX_BAGGAGE = 8192
_MAX_TRIES = 8
_PATIENCE = 0.5
_FINAL = (400, 401, 403, 404, 422)

_current: "contextvars.ContextVar[Optional[Request]]" = contextvars.ContextVar("sluice_request", default=None)
_clients: "weakref.WeakSet[Client]" = weakref.WeakSet()


class Status(NamedTuple):
    """A client's state for people: a health page, a log line."""

    boot: str
    env: str
    head: int
    want: int
    connected: bool
    age: float
    active: Dict[str, int]
    floors: Dict[str, int]
    leases: Dict[str, float]
    counters: Dict[str, int]
    last_error: str


class Client:
    """One process's membership in the fleet. All methods may be called by any thread. Make one per process.

    A forked worker (gunicorn, multiprocessing) uses the same object: its first evaluation makes it a member of its own,
    with its own boot; until the server has answered it, it serves the baseline and holds no lease.
    """

    def __init__(
        self, url: str, component: str, token: str = "", instance: str = "", cls: str = "reader", cache_dir: str = "",
        drain_bound: float = 2.0, offline: bool = False, on_unwind: Optional[Callable[[str], None]] = None,
        tls: Optional[ssl.SSLContext] = None, max_bytes: int = 0, max_objects: int = 0,
        log: Optional[Callable[[str], None]] = None, timeout: float = 10.0, _clock: Optional[Callable[[], int]] = None,
    ):
        """Join the fleet and return once flags can be evaluated; raise ConfigError or JoinError.

        url: of the server; a path in it is a prefix. component: what the process is in the pipeline. token: names the
        environment. instance: tells processes of one component apart, "" means the host's name. cls: reader, router, host,
        store or writer. cache_dir: where the last configuration and the floors are kept for a start without server.
        drain_bound: the longest time for which one request uses what it was told, seconds. offline: return at once; every
        flag serves its default until the server is there. on_unwind: called on stores and writers with the scope when it
        is their turn to take back what they did for a candidate; an exception means not yet. tls: for https, else the
        system's defaults. max_bytes, max_objects: bounds of the configuration this process takes, 0 means none. log:
        receives rare messages for people. timeout: how long to wait for the first configuration, seconds.
        """
        self._last_error = ""
        self._log = log
        instance = instance or _host_instance()
        _check_name("component", component)
        _check_name("instance", instance)
        if cls not in _CLASSES:
            raise ConfigError(f"cls {cls!r} is not reader, router, host, store or writer")
        if not 0 < drain_bound <= 600:
            raise ConfigError(f"drain_bound {drain_bound} is not within 0 and 600 seconds")
        if max_bytes < 0 or max_objects < 0:
            raise ConfigError(f"max_bytes {max_bytes} and max_objects {max_objects} must not be negative")
        address = Address(url, token, tls)
        caps = {name: n for name, n in (("maxBytes", max_bytes), ("maxObjects", max_objects)) if n}
        self._settings = Settings(
            address, instance, component, cls, drain_bound, caps, self._open_cache(cache_dir, f"{url}\n{component}\n{instance}"),
            on_unwind, self._note, random.uniform(0, 0.2), _clock or life.clock, _clock is None and not hasattr(time, "CLOCK_BOOTTIME"),
        )
        self._lock = threading.Lock()
        self._closed = False
        cached = self._read_cache()
        self._life = Life(self._settings, cached)
        self._life.start()
        _clients.add(self)
        try:
            self._join(cached is not None and cached.snapshot is not None, offline, timeout)
        except JoinError:
            self._life.stop()
            raise

    def _open_cache(self, folder: str, identity: str) -> Optional[DiskCache]:
        try:
            return DiskCache(folder, identity) if folder else None
        except CacheError as e:
            self._note("cache", str(e))
            return None

    def _read_cache(self) -> Optional[Cache]:
        try:
            return self._settings.disk.read() if self._settings.disk else None
        except CacheError as e:
            self._note("cache", str(e))
            return None

    def _note(self, what: str, text: str) -> None:
        self._last_error = f"{what}: {text}"
        if self._log is not None:
            self._log(f"sluice: {what}: {text}")

    def _join(self, cached: bool, offline: bool, timeout: float) -> None:
        """Wait until flags can be evaluated."""
        one, shown = self._life, self._settings.address.shown
        if cached or offline:
            one.fresh.wait(min(_PATIENCE, timeout))
            if not offline and not one.ready.wait(timeout):
                raise JoinError(f"join the fleet at {shown}: the cached configuration cannot be loaded and the server does not answer")
            return
        end, last = time.monotonic() + timeout, None
        while not one.ready.wait(0.02):
            try:
                last = one.refused.get_nowait()
            except queue.Empty:
                pass
            if last is not None and last.status in _FINAL or time.monotonic() > end:
                status, code = (last.status, last.code) if last is not None else (0, "")
                raise JoinError(f"join the fleet at {shown}: {last or 'no answer in time'}", status, code)

    def _alive(self) -> Life:
        """Return this process's life; a forked child begins its own here."""
        one = self._life
        if one.ended.is_set() and not self._closed:
            with self._lock:
                if self._life is one:
                    made = one.child()
                    made.start()
                    self._life = made
                one = self._life
        return one

    def _forked(self) -> None:
        self._lock = threading.Lock()
        self._life.abandon()

    def flag(self, key: str) -> "Flag":
        """Return the handle of a flag. The flag need not exist (yet)."""
        return Flag(self, key)

    def begin(self, unit: str = "", attrs: Optional[Dict[str, Any]] = None, baggage: str = "") -> "Request":
        """Begin a request of a unit: whom or what the request is for, e.g. an account. Use it with `with`.

        attrs feed rules and declared segments and must not be changed afterwards. baggage is the incoming request's header
        of that name: decisions that an earlier hop made are honoured (see Request.baggage).
        """
        return Request(self, self._alive(), flags.Context(unit, attrs), baggage)

    def evaluate(self, key: str, unit: str = "", attrs: Optional[Dict[str, Any]] = None) -> flags.Result:
        """Evaluate a flag for a unit outside a request: what comes of it is not counted as evidence."""
        return self._guarded(key, lambda: _loose(self._alive(), key, flags.Context(unit, attrs)))

    def _guarded(self, key: str, evaluate: Callable[[], flags.Result]) -> flags.Result:
        try:
            return evaluate()
        except Exception as e:  # an evaluation must never take the caller's request down
            self._life.count("panics")
            self._note("panic", f"evaluating flag {key}: {e!r}")
            return flags.Result(reason=flags.ERROR, error=flags.GENERAL)

    def age(self) -> float:
        """Return how long ago the server was heard, seconds; infinity when it never was."""
        one = self._life
        return (one.now() - one.heard) / SECOND if one.heard else float("inf")

    def unready(self) -> str:
        """Return why this process should not be called ready, "" when it is.

        It is not before the first configuration, and when the watch stream has been lost for longer than a lease.
        """
        one = self._life
        if not one.ready.is_set():
            return "no configuration yet"
        lost = (one.now() - one.connected_at) / SECOND
        if not one.connected and lost > self._lease():
            return f"the watch stream has been lost for {lost:.1f} s" if one.connected_at else "the server has not been heard"
        if self.age() > max(self._lease(), one.quiet()):
            return f"the server was heard {self.age():.1f} s ago"
        return ""

    def _lease(self) -> float:
        """Return the shortest lease there is, seconds; ten when there is none."""
        s = self._life.state.view.snapshot
        return min((m.ttl_ms / 1000 for m in s.scopes.values() if m.leased and m.ttl_ms), default=10.0) if s else 10.0

    def status(self) -> Status:
        """Return the client's state; it is a copy."""
        one = self._life
        v, now = one.state.view, one.now()
        scopes = v.snapshot.scopes if v.snapshot is not None else {}
        with one.lock:
            counters = dict(one.counts)
        counters.update(evidence_sent=one.book.sent, evidence_lost=one.book.dropped)
        return Status(
            one.boot, v.snapshot.env if v.snapshot is not None else "", v.snapshot.head.rev if v.snapshot is not None else 0,
            v.want.rev, one.connected, self.age(), {s: m.rev for s, m in scopes.items()}, dict(v.floors),
            {s: max(v.lease_end.get(s, 0) - now, 0) / SECOND for s, m in scopes.items() if m.leased}, counters, self._last_error,
        )

    def close(self, timeout: float = 5.0) -> None:
        """Leave the fleet: leases end, open requests are given the drain bound, the last evidence is sent, the server is told.

        Flags go on answering with settled values. Raise SluiceError when the server was not told.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._life.ended.is_set():
            return
        failure = self._life.leave(timeout)
        if failure is not None:
            raise SluiceError(f"say goodbye to {self._settings.address.shown}: {failure}")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class Flag:
    """A handle of one flag. It follows every change of the configuration.

    The typed methods take a default and, optionally, the request; without one the current request of the client is used
    (`with client.begin(...)`), and without that the flag is evaluated without unit and attributes. They return the default
    when there is no such flag, no value of that type, or no configuration yet. They never raise.
    """

    __slots__ = ("_client", "key")

    def __init__(self, client: Client, key: str):
        self._client = client
        self.key = key

    def boolean(self, default: bool, request: Optional["Request"] = None) -> bool:
        """Return the flag's truth value."""
        return self.detail(request).value("boolean", default)

    def string(self, default: str, request: Optional["Request"] = None) -> str:
        """Return the flag's text."""
        return self.detail(request).value("string", default)

    def integer(self, default: int, request: Optional["Request"] = None) -> int:
        """Return the flag's integer."""
        return self.detail(request).value("integer", default)

    def float(self, default: float, request: Optional["Request"] = None) -> float:
        """Return the flag's number."""
        return self.detail(request).value("float", default)

    def object(self, default: Any, request: Optional["Request"] = None) -> Any:
        """Return the flag's object or list, which must not be changed."""
        return self.detail(request).value("object", default)

    def detail(self, request: Optional["Request"] = None) -> flags.Result:
        """Return the whole answer: value, reason, rule, cohort, arm, revision."""
        request = request or current_request(self._client)
        if request is None:
            return self._client.evaluate(self.key)
        return self._client._guarded(self.key, lambda: request._eval(self.key))


def current_request(client: Client) -> Optional["Request"]:
    """Return the innermost request of the client that is under way here (`with client.begin(...)`), None when there is none."""
    request = _current.get()
    while request is not None and request._client is not client:
        request = request._outer
    return request


class _Pinned(NamedTuple):
    pin: Pin
    text: str
    compiled: Optional[Compiled]  # None: the content is not resident here


class _Decision:
    """What was decided for a flag with an open rollout."""

    __slots__ = ("bound", "pin", "rev", "hold", "leased", "fell", "slot", "result", "digest8")

    def __init__(self, bound: Bound, pin: Optional[_Pinned], rev: int, d8: str):
        self.bound, self.pin, self.rev, self.digest8 = bound, pin, rev, d8
        self.hold: Optional[Tuple[str, int]] = None
        self.leased = self.fell = False
        self.slot: Optional[Slot] = None
        self.result = flags.Result()


def _loose(one: Life, key: str, ctx: flags.Context) -> flags.Result:
    """Evaluate outside a request: noted before the lease is looked at, so a revoke waits for the drain bound."""
    compiled = one.state.compiled
    b = compiled.flags.get(key) if compiled is not None else None
    if b is None:
        return flags.Result(reason=flags.ERROR, error=flags.FLAG_NOT_FOUND)
    ctx.now = int(time.time()) if compiled.timed else 0
    h = b.handle
    if not h.rollout_id:
        return h.eval(ctx, False)
    with one.lock:
        now = one.now()
        one.holds.setdefault((h.scope, h.revision), [0, 0])[1] = now
        leased = one.state.view.held(h.scope, h.revision, now)
    return h.eval(ctx, leased)


class Request:
    """One unit of work, from begin to end: a call answered, a message handled. It may be used by several threads.

    Use it with `with`, which makes it the current request and ends it; an exception counts as a failed request. Or call
    end. A request that is never ended counts as failed for the arm it was in.
    """

    def __init__(self, client: Client, one: Life, ctx: flags.Context, baggage: str):
        self._client, self._life, self._ctx = client, one, ctx
        self._compiled = one.state.compiled
        if self._compiled is not None and self._compiled.timed:
            ctx.now = int(time.time())
        self._start = one.now()
        self._lock = threading.RLock()
        self._decisions: Dict[str, _Decision] = {}
        self._ended = False
        self._outer: Optional[Request] = None
        self._token: Any = None
        self._pins = _pins_of(one, baggage) if baggage else []

    @property
    def unit(self) -> str:
        """Return the unit that the request was begun for."""
        return self._ctx.key

    def __enter__(self) -> "Request":
        self._outer = _current.get()
        self._token = _current.set(self)
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        _current.reset(self._token)
        self.end(failed=error is not None)

    def observe(self, metric: str, value: float) -> None:
        """Count a value of a metric for every open rollout that has been evaluated in this request so far."""
        with self._lock:
            if not self._ended and not self._abandoned():
                for d in self._decisions.values():
                    if d.slot is not None:
                        d.slot.observe(metric, value)

    def end(self, failed: bool = False) -> None:
        """End the request. Only the first call counts."""
        with self._lock:
            if self._ended or self._abandoned():
                return
            self._ended = True
            for d in self._decisions.values():
                if d.slot is not None:
                    d.slot.end(failed)
                self._life.release(d.hold)

    def _abandoned(self) -> bool:
        """Say whether a fork has taken the request out of the boot that began it."""
        return self._life.ended.is_set() and not self._client._closed

    def _eval(self, key: str) -> flags.Result:
        b = self._compiled.flags.get(key) if self._compiled is not None else None
        if b is None and not self._pins:
            return flags.Result(reason=flags.ERROR, error=flags.FLAG_NOT_FOUND)
        if b is not None and not b.handle.rollout_id and not self._pins:
            return b.handle.eval(self._ctx, False)
        with self._lock:
            known = self._decisions.get(key)
            if known is not None:
                return self._again(known)
            pin = self._pin_of(key, b)
            if pin is None and (b is None or not b.handle.rollout_id):
                return b.handle.eval(self._ctx, False) if b is not None else flags.Result(reason=flags.ERROR, error=flags.FLAG_NOT_FOUND)
            if self._ended or self._abandoned():
                return _loose(self._client._alive(), key, self._ctx)
            return self._decide(key, b, pin)

    def _decide(self, key: str, b: Optional[Bound], pin: Optional[_Pinned]) -> flags.Result:
        if pin is not None and pin.compiled is not None:
            b = pin.compiled.flags[key]
        rev, d8 = (pin.pin.rev, pin.pin.digest8) if pin is not None else (b.handle.revision, b.digest8)
        d = self._decisions[key] = _Decision(b, pin, rev, d8)
        one, scope = self._life, b.handle.scope
        if pin is None or pin.compiled is not None:
            with one.lock:
                d.hold = (scope, rev)
                one.holds.setdefault(d.hold, [0, 0])[0] += 1  # before the lease is looked at
                d.leased = one.state.view.held(scope, rev, one.now())
        d.result = self._run(d, d.leased)
        exposing = d.result.served == flags.EXPOSED or d.result.reason == flags.EXCEPTION
        if d.hold is not None and not (d.leased and exposing):
            one.release(d.hold)  # nothing that a revoke would take back
            d.hold = None
        self._count(d)
        return d.result

    def _run(self, d: _Decision, leased: bool) -> flags.Result:
        if d.pin is None:
            return d.bound.handle.eval(self._ctx, leased)
        arm = {"baseline": flags.BASELINE, "exposed": flags.EXPOSED, "lapsed": flags.EXPOSED}.get(d.pin.pin.arm, flags.NONE)
        r = d.bound.handle.eval_pinned(self._ctx, arm, leased and d.pin.pin.arm != "lapsed")
        return r._replace(revision=d.rev)

    def _again(self, d: _Decision) -> flags.Result:
        """Answer as the first time, unless that needed a lease which has ended since."""
        one = self._life
        if d.hold is None or one.state.view.held(d.bound.handle.scope, d.rev, one.now()):
            return d.result
        if not d.fell:
            d.fell = True
            one.count("lease_ended")
        return self._run(d, False)

    def _count(self, d: _Decision) -> None:
        """Open the request's place in the evidence. What no randomisation decided, and closed cohorts, are not counted."""
        r, judged = d.result, d.bound.judged if d.pin is None or d.pin.compiled is not None else None
        second = self._life.state.view.clock.second(self._start)
        if judged is None or r.assigned == flags.NONE or r.closed or not r.cohort or second == 0:
            return
        held = d.leased and (d.pin is None or d.pin.pin.arm != "lapsed")
        key = (r.cohort, d.rev, r.exposure, "held" if held else "lapsed", r.assigned, r.served)
        unit = self._ctx.key if not d.bound.handle.unit else self._ctx.text(d.bound.handle.unit)
        d.slot = judged.acc.begin(second, key, r.unit_bucket, unit, [self._ctx.text(name) for name in judged.segments])
        drawn = d.bound.handle.drawn(self._ctx, r.exposure)
        if drawn not in (flags.NONE, r.assigned):
            d.slot.observe("assignment", 1.0)

    # pins

    def _pin_of(self, key: str, b: Optional[Bound]) -> Optional[_Pinned]:
        if b is not None and b.handle.killed:
            return None  # a kill switch of today comes before a decision of before
        for p in self._pins:
            if p.compiled is None:
                if b is not None and b.handle.rollout_id and b.handle.scope == p.pin.scope:
                    return p
            elif key in p.compiled.flags and p.compiled.flags[key].handle.scope == p.pin.scope:
                return p
        return None

    def baggage(self, header: str = "") -> str:
        """Return a baggage header that carries this request's decisions to the next hop, beside what header holds.

        One signed member per scope and at most four. Evaluate the flags of open rollouts before calling on: what was not
        decided here, the next hop decides.
        """
        _, members = split_baggage(header)
        keys, done = self._life.state.view.pin_keys, {}
        with self._lock:
            for d in self._decisions.values():
                pin = _outgoing(d)
                if pin is not None and pin.scope not in done and keys and len(done) < MAX_PINS:
                    done[pin.scope] = pin.sign(keys[0])
            for p in self._pins:
                if p.pin.scope not in done and len(done) < MAX_PINS:
                    done[p.pin.scope] = p.text
        return ",".join([*members, *(f"{PIN_MEMBER}={text}" for text in done.values())])


def _outgoing(d: _Decision) -> Optional[Pin]:
    """Return the pin of a decision; None when something else than the rollout decided."""
    r = d.result
    if r.assigned == flags.EXPOSED:
        arm = "exposed" if r.served == flags.EXPOSED and not d.fell else "lapsed"
    elif r.assigned == flags.BASELINE:
        arm = "baseline"
    elif r.reason == flags.ROLLOUT:
        arm = "none"
    else:
        return None
    return Pin(d.rev, r.scope, d.digest8, arm) if d.digest8 else None


def _pins_of(one: Life, baggage: str) -> List[_Pinned]:
    pins: List[_Pinned] = []
    view = one.state.view
    texts, _ = split_baggage(baggage[:_MAX_BAGGAGE])
    for text in texts[:_MAX_TRIES]:
        if len(pins) == MAX_PINS:
            break
        try:
            pin = verify_pin(text, view.pin_keys)
        except ContentError:
            one.count("pin_forged")
            continue
        if any(p.pin.scope == pin.scope for p in pins):
            continue
        if pin.rev < view.floors.get(pin.scope, 0):
            one.count("pin_revoked")
            continue
        found: List[Resident] = [r for r in one.residents if r.scope == pin.scope and r.digest8 == pin.digest8]
        found.sort(key=lambda r: r.rev != pin.rev)
        if not found:
            one.count("pin_missed")
        pins.append(_Pinned(pin, text, found[0].compiled if found else None))
    return pins


def _check_name(what: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{what} {name!r} is no name ({_NAME.pattern})")


def _host_instance() -> str:
    name = re.sub(r"[^A-Za-z0-9._:-]", "-", socket.gethostname()).lstrip("._:-")
    return name[:128] or "instance"


def _forked() -> None:
    for client in list(_clients):
        client._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
