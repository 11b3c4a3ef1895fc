"""One boot: the machine, its threads, and what evaluation reads. A forked worker begins another one."""

import base64
import queue
import random
import secrets
import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from . import canonical, flags, machine
from .book import Book, Judged
from .cache import DiskCache
from .errors import CacheError, ContentError
from .machine import MS, SECOND, Cache, Failure, Machine, MachineConfig, View
from .snapshot import Snapshot, digest8
from .transport import VERSION, Address, Channel, HTTPFailure, Stream

_HELLO_TIMEOUT, _RENEW_TIMEOUT, _SNAPSHOT_TIMEOUT, _SEND_TIMEOUT = 10.0, 3.0, 30.0, 5.0
_MIN_QUIET = 10.0
_REHEARSAL = 10.0
_MAX_RESIDENTS = 64


def clock() -> int:
    """Read the clock on which leases are counted, nanoseconds.

    Where the system has it, it is the monotonic clock that goes on in suspend: a lease ends while the machine sleeps.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return time.monotonic_ns()


class Bound(NamedTuple):
    """A flag as it stands in one compiled snapshot."""

    handle: flags.Handle
    judged: Optional[Judged]
    digest8: str


class Compiled(NamedTuple):
    """A snapshot that is ready to be served."""

    wire: Snapshot
    flags: Dict[str, Bound]
    timed: bool = False  # contexts should know the time


class State(NamedTuple):
    """What evaluation reads, swapped whole: floors, leases and configuration belong together."""

    view: View
    compiled: Optional[Compiled]


class Resident(NamedTuple):
    """A scope's content that pinned requests may still need. rev 0: prepared, not yet in force."""

    scope: str
    rev: int
    digest8: str
    compiled: Compiled
    retired: int


class Settings(NamedTuple):
    """What a life needs of the client's configuration."""

    address: Address
    instance: str
    component: str
    cls: str
    drain: float
    caps: Dict[str, Any]
    disk: Optional[DiskCache]
    on_unwind: Optional[Callable[[str], None]]
    log: Callable[[str, str], None]
    early_lapse: float
    clock: Callable[[], int]
    watch_suspend: bool


class Life:
    """The threads are daemons. Everything that evaluation and the loop share is guarded by lock or swapped whole."""

    def __init__(self, settings: Settings, cached: Optional[Cache]):
        self.settings = settings
        self.boot = secrets.token_hex(16)
        self.lock = threading.Lock()
        self.state = State(View(), None)
        self.book = Book(settings.log)
        self.ready = threading.Event()  # a configuration is in force
        self.fresh = threading.Event()  # it is the server's newest
        self.refused: "queue.Queue[HTTPFailure]" = queue.Queue()
        self.leaving = threading.Event()  # the evidence thread sends the last and ends
        self.ended = threading.Event()
        self.connected = False
        self.connected_at = 0
        self.heard = 0  # when the server was heard last
        self.counts: Dict[str, int] = {}
        self.residents: List[Resident] = []
        self.holds: Dict[Tuple[str, int], List[int]] = {}  # (scope, rev) -> [open, last loose evaluation]
        self._origin = settings.clock() - SECOND
        self._inbox: "queue.Queue[Optional[Tuple]]" = queue.Queue()
        self._timers: Dict[str, int] = {}
        self._compiled: Dict[int, Compiled] = {}
        self._since: Dict[str, int] = {}
        self._told: Dict[str, int] = {}
        self._stream: Optional[Stream] = None
        self._bye: "queue.Queue[Optional[HTTPFailure]]" = queue.Queue()
        caps = {**settings.caps, "impl": "python/" + VERSION, "cache": "durable" if settings.disk else "none"}
        self.machine = Machine(MachineConfig(
            settings.instance, self.boot, settings.component, settings.cls, caps, int(settings.drain * SECOND),
            random.randrange, settings.early_lapse,
        ))
        self._workers = {name: queue.Queue() for name in ("control", "content", "ack", "cache")}
        self._cached = cached

    def start(self) -> None:
        """Begin: start the threads and say hello."""
        self._spawn("loop", self._run)
        for name, jobs in self._workers.items():
            self._spawn(name, self._work, jobs)
        self._evidence = self._spawn("evidence", self._run_evidence)
        if self.settings.watch_suspend:
            self._spawn("watchdog", self._watchdog)
        self.post("start", self._cached)

    def _spawn(self, name: str, run: Callable[..., None], *args: Any) -> threading.Thread:
        thread = threading.Thread(target=run, args=args, name=f"sluice-{name}", daemon=True)
        thread.start()
        return thread

    def now(self) -> int:
        """Read the clock, nanoseconds since an origin of this boot; never 0."""
        return self.settings.clock() - self._origin

    def count(self, name: str, n: int = 1) -> None:
        """Add to a counter."""
        with self.lock:
            self.counts[name] = self.counts.get(name, 0) + n

    def post(self, *step: Any) -> None:
        """Hand an input to the loop."""
        self._inbox.put(step)

    def abandon(self) -> None:
        """Make this boot harmless in a forked child: no lease, no lock that another thread held, no evidence."""
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.ended.set()
        self.state = State(self.state.view._replace(lease_end={}), self.state.compiled)

    def child(self) -> "Life":
        """Return the life of a forked child: the configuration and floors of this boot, never a lease or a clock."""
        v = self.state.view
        made = Life(self.settings, Cache(v.snapshot, dict(v.floors), v.want.rev, {}) if v.snapshot is not None else None)
        made.state = State(View(snapshot=v.snapshot, want=v.want, floors=v.floors, pin_keys=v.pin_keys), self.state.compiled)
        return made

    # the loop

    def _run(self) -> None:
        while not self.ended.is_set():
            try:
                step = self._inbox.get(timeout=self._until_timer())
            except queue.Empty:
                step = None
            if step == ("poke",):
                self._tell_drained()
            elif step is not None:
                self._step(*step)
            for name in [n for n, due in self._timers.items() if due <= self.now()]:
                del self._timers[name]
                if name == "recheck":
                    self._tell_drained()
                else:
                    self._step("tick", name)

    def _until_timer(self) -> float:
        due = min(self._timers.values(), default=self.now() + SECOND)
        return min(max((due - self.now()) / SECOND, 0.0), 1.0)

    def _step(self, *step: Any) -> None:
        try:
            effects = self.machine.step(self.now(), *step)
        except (ContentError, KeyError, TypeError, AttributeError, ValueError) as e:
            self.settings.log("protocol", f"{step[0]}: {e!r}")
            return
        for e in effects:
            self._do(*e)

    def _do(self, name: str, *args: Any) -> None:
        jobs = {"hello": "control", "renew": "control", "fetch": "content", "load": "content", "shadow": "content", "ack": "ack", "cache": "cache"}
        if name == "swap":
            self._swap(args[0])
        elif name == "schedule":
            self._timers[args[0]] = self.now() + args[1]
        elif name == "watch":
            self._spawn("watch", self._watch, args[0])
        elif name == "unwind":
            self._spawn("unwind", self._run_unwind, *args)
        elif name == "notice":
            self.settings.log(*args)
        elif name != "cache" or self.settings.disk is not None:
            self._workers[jobs[name]].put((name, args))

    def _work(self, jobs: "queue.Queue") -> None:
        channel = Channel(self.settings.address)
        do = {
            "hello": self._send_hello, "renew": self._send_renew, "ack": self._send_ack, "fetch": self._fetch,
            "load": self._load, "shadow": self._rehearse, "cache": self._write_cache,
        }
        while True:
            job = jobs.get()
            if job is None:
                channel.close()
                return
            do[job[0]](channel, *job[1])

    # exchanges

    def _failed(self, what: str, e: HTTPFailure) -> Failure:
        if not self.ended.is_set():
            self.settings.log(what, str(e))
        return Failure(e.status, e.code, e.retry_after * SECOND)

    def _send_hello(self, channel: Channel, body: Dict[str, Any]) -> None:
        sent = self.now()
        try:
            answer = channel.call("POST", "/v1/hello", body, _HELLO_TIMEOUT)
            keys = [_key(k) for k in answer.get("pinKeys") or []]
        except (HTTPFailure, ContentError, AttributeError, KeyError, ValueError) as e:
            failure = e if isinstance(e, HTTPFailure) else HTTPFailure(0, detail=repr(e))
            self.refused.put(failure)
            self.post("hello-failed", self._failed("hello", failure))
            return
        self.heard = self.now()
        self.post("hello-answered", sent, {**answer, "pinKeys": keys})

    def _send_renew(self, channel: Channel, body: Dict[str, Any]) -> None:
        oldest = self._oldest()
        if oldest:
            body["oldestInflight"] = oldest
        if self.counts.get("panics"):
            body["crashes"] = self.counts["panics"]
        try:
            grant = machine.check_grant(channel.call("POST", "/v1/renew", body, _RENEW_TIMEOUT))
        except (HTTPFailure, ContentError, AttributeError) as e:
            failure = e if isinstance(e, HTTPFailure) else HTTPFailure(0, detail=repr(e))
            self.post("renew-failed", body["n"], self._failed("renew", failure))
            return
        self.heard = self.now()
        self.post("grant", grant)

    def _send_ack(self, channel: Channel, body: Dict[str, Any]) -> None:
        failure = None
        try:
            channel.call("POST", "/v1/ack", body, _RENEW_TIMEOUT)
        except HTTPFailure as e:
            failure = e
        if body.get("bye"):
            self._bye.put(failure)
        elif failure is not None:
            self.post("ack-failed", self._failed("ack", failure))

    def _fetch(self, channel: Channel) -> None:
        try:
            self.post("fetched", Snapshot.of(channel.call("GET", "/v1/snapshot", None, _SNAPSHOT_TIMEOUT)))
        except (HTTPFailure, ContentError) as e:
            failure = e if isinstance(e, HTTPFailure) else HTTPFailure(0, detail=str(e))
            self.post("fetch-failed", self._failed("snapshot", failure))

    def _write_cache(self, _: Channel, cache: Cache) -> None:
        failed = False
        try:
            self.settings.disk.write(cache)
        except CacheError as e:
            failed = True
            self.settings.log("cache", str(e))
        self.post("cache-written", cache, failed)

    def _run_unwind(self, scope: str, rev: int) -> None:
        failed = False
        try:
            if self.settings.on_unwind is not None:
                self.settings.on_unwind(scope)
        except Exception as e:  # the hook is the caller's: whatever it raises means not yet
            failed = True
            self.settings.log("unwind", f"{scope}: {e!r}")
        self.post("unwound", scope, rev, failed)

    # loading

    def compile(self, wire: Snapshot) -> Compiled:
        """Compile a snapshot; raise ContentError."""
        config = wire.compile()
        return Compiled(wire, {
            key: Bound(h, self.book.judged_for(h) if h.rollout_id else None, digest8(wire.scopes[h.scope].digest))
            for key, h in config.flags.items()
        }, config.timed)

    def _load(self, _: Channel, wire: Snapshot) -> None:
        try:
            ready = self.compile(wire)
        except (ContentError, RecursionError) as e:
            self.post("loaded", wire.head, str(e) or repr(e))
            return
        with self.lock:
            self._compiled[id(wire)] = ready
        self.post("loaded", wire.head, "")

    def _rehearse(self, _: Channel, scope: str, digest: str, wire: Snapshot) -> None:
        prepared: Dict[str, Any] = {"scope": scope, "digest": digest}
        begun = time.monotonic()
        try:
            shadow = self.compile(wire)
            _try_out(shadow, scope)
            if time.monotonic() - begun > _REHEARSAL:
                prepared["reject"] = {"code": "prepare.slow", "limit": f"{_REHEARSAL} s", "got": f"{time.monotonic() - begun:.1f} s"}
            else:
                with self.lock:
                    kept = [r for r in self.residents if r.scope != scope or r.rev != 0]
                    self.residents = [Resident(scope, 0, digest8(digest), shadow, 0), *kept]
        except (ContentError, RecursionError) as e:
            prepared["reject"] = {"code": "prepare.compile", "got": str(e) or repr(e)}
        self.post("shadow-loaded", prepared)

    def _swap(self, view: View) -> None:
        """Put a view in force. Once this returns no evaluation that starts sees the older one."""
        compiled, old, now = self.state.compiled, self.state.compiled, self.now()
        if view.snapshot is not None and (compiled is None or compiled.wire is not view.snapshot):
            with self.lock:
                compiled = self._compiled[id(view.snapshot)]  # the machine swaps only what was loaded
                self._compiled.clear()
                self.residents = self._ring(compiled, now)
            self.count("swaps")
        self.state = State(view, compiled)
        if compiled is not old:
            self._activated(compiled, old, now)
        if compiled is not None:
            self.ready.set()
            if view.epoch > 0 and view.snapshot.head.rev >= view.want.rev:
                self.fresh.set()
        self.post("poke")

    def _activated(self, compiled: Compiled, old: Optional[Compiled], now: int) -> None:
        for scope, meta in compiled.wire.scopes.items():
            if old is None or scope not in old.wire.scopes or old.wire.scopes[scope].rev != meta.rev:
                self._since[scope] = now
        resident = [r.compiled for r in self.residents if r.retired == 0]
        rollouts = [b.judged.rollout for c in (compiled, *resident) for b in c.flags.values() if b.judged is not None]
        self.book.keep(rollouts, any(m.leased for m in compiled.wire.scopes.values()))

    def _ring(self, compiled: Compiled, now: int) -> List[Resident]:
        """Return the resident contents after a swap; the lock is held."""
        scopes, keep = compiled.wire.scopes, int((self.settings.drain + self.quiet()) * SECOND)
        out = [Resident(s, m.rev, digest8(m.digest), compiled, 0) for s, m in scopes.items() if m.leased]
        for r in self.residents:
            meta = scopes.get(r.scope)
            if r.rev == 0:
                if meta is not None and digest8(meta.digest) != r.digest8:
                    out.append(r)  # still prepared
                continue
            if meta is not None and meta.rev == r.rev:
                continue  # it is there anew
            retired = r.retired or now
            if now - retired <= keep:
                out.append(r._replace(retired=retired))
        return out[:_MAX_RESIDENTS]

    # drained

    def release(self, hold: Optional[Tuple[str, int]]) -> None:
        """Give a hold back and wake the loop when that was the last one of an older revision."""
        if hold is None:
            return
        with self.lock:
            h = self.holds.get(hold)
            if h is None:
                return
            h[0] -= 1
            idle = h[0] <= 0
        if idle:
            self.post("poke")

    def held(self) -> bool:
        """Say whether any open request holds a decision made under a lease."""
        with self.lock:
            return any(h[0] > 0 for h in self.holds.values())

    def _oldest(self) -> Dict[str, int]:
        out: Dict[str, int] = {}
        with self.lock:
            for (scope, rev), h in self.holds.items():
                if h[0] > 0:
                    out[scope] = min(out.get(scope, rev), rev)
        return out

    def _tell_drained(self) -> None:
        compiled, now, waits = self.state.compiled, self.now(), []
        if compiled is None:
            return
        for scope in sorted(compiled.wire.scopes):
            meta = compiled.wire.scopes[scope]
            if self._told.get(scope, 0) >= meta.rev:
                continue
            wait = self._free(scope, meta.rev, meta.leased, now)
            if wait is None:
                continue  # the end of a request pokes
            if wait > 0:
                waits.append(wait)
                continue
            self._told[scope] = meta.rev
            self._step("drained", scope, meta.rev)
        if waits:
            self._timers["recheck"] = now + min(waits)
        for d in (self._told, self._since):
            for scope in [s for s in d if s not in compiled.wire.scopes]:
                del d[scope]
        with self.lock:
            drain = int(self.settings.drain * SECOND)
            for k in [k for k, h in self.holds.items() if h[0] <= 0 and now - h[1] > drain]:
                del self.holds[k]

    def _free(self, scope: str, rev: int, leased: bool, now: int) -> Optional[int]:
        """Return how long to wait until no decision older than rev is in use; None: until a request ends."""
        drain = int(self.settings.drain * SECOND)
        if not leased:
            return self._since.get(scope, 0) + drain - now
        wait = 0
        with self.lock:
            for (s, r), h in self.holds.items():
                if s != scope or r >= rev:
                    continue
                if h[0] > 0:
                    return None
                if h[1] > 0:
                    wait = max(wait, h[1] + drain - now)
        return wait

    # watch

    def quiet(self) -> float:
        """Return the longest silence that the stream may keep, seconds: the longest lease, at least ten."""
        s = self.state.view.snapshot
        return max([_MIN_QUIET, *(m.ttl_ms / 1000 for m in s.scopes.values())] if s is not None else [_MIN_QUIET])

    def _watch(self, after: int) -> None:
        if self.ended.wait(after / SECOND):
            return
        stream, failure = None, HTTPFailure(0, detail="the stream ended")
        try:
            path = f"/v1/watch?instance={self.settings.instance}&boot={self.boot}"
            stream = self._stream = Stream(self.settings.address, path, self.quiet())
            self.connected, self.connected_at = True, self.now()
            for kind, data in stream.events(self.quiet):
                self.heard = self.now()
                self.post("event", machine.check_event(canonical.loads(data)))
        except HTTPFailure as e:
            failure = e
        except ContentError as e:
            failure = HTTPFailure(0, detail=str(e))
        if stream is not None:
            stream.close()
        if self.connected:
            self.connected, self.connected_at = False, self.now()
        if not self.ended.is_set():
            self.count("reconnects")
            self.post("watch-lost", self._failed("watch", failure))

    def _watchdog(self) -> None:
        """End all leases when time passed that the clock did not count (only where no clock counts suspend)."""
        mono, wall = self.now(), time.time_ns()
        while not self.ended.wait(0.1):
            m, w = self.now(), time.time_ns()
            if (w - wall) - (m - mono) > 100 * MS:
                self.count("suspends")
                self.post("clock-jumped")
            mono, wall = m, w

    # evidence

    def _run_evidence(self) -> None:
        channel, phase = Channel(self.settings.address), random.uniform(0.02, 0.22)
        wait = 1.0
        while not self.leaving.wait(wait):
            self._send_evidence(channel)
            wait, server = 1.0, self.state.view.clock
            if server.known:
                into = server.micros(self.now()) % 1_000_000 / 1e6
                wait = max((1 - into + phase) % 1.0, 0.1)
        if not self.ended.is_set():
            self._send_evidence(channel)  # the last of it
        channel.close()

    def _send_evidence(self, channel: Channel) -> None:
        now = self.now()
        self.book.flush(self.state.view.clock.second(now), now)
        self.book.send(lambda body: self._post_evidence(channel, body))

    def _post_evidence(self, channel: Channel, body: Dict[str, Any]) -> Optional[int]:
        try:
            channel.call("POST", "/v1/evidence", {"instance": self.settings.instance, "boot": self.boot, **body}, _SEND_TIMEOUT)
        except HTTPFailure as e:
            self._failed("evidence", e)
            if e.status == 410:
                self.post("boot-unknown")
            return e.status if e.status in (400, 413, 422) else 0
        return None

    # the end

    def leave(self, patience: float) -> Optional[HTTPFailure]:
        """End the leases, wait for open requests, send the last evidence, say goodbye. Return why it was not heard."""
        end = time.monotonic() + patience
        self.post("leave")
        bound = time.monotonic() + min(self.settings.drain, patience)
        while self.held() and time.monotonic() < bound:
            time.sleep(0.01)
        self.leaving.set()
        self._evidence.join(max(end - time.monotonic(), 0.05))
        self.post("bye")
        try:
            failure = self._bye.get(timeout=max(end - time.monotonic(), 0.05))
        except queue.Empty:
            failure = HTTPFailure(0, detail="no answer in time")
        self.stop()
        return failure

    def stop(self) -> None:
        """End the threads."""
        self.ended.set()
        self.leaving.set()
        self._inbox.put(None)
        for jobs in self._workers.values():
            jobs.put(None)
        if self._stream is not None:
            self._stream.interrupt()


def _key(k: Dict[str, Any]) -> bytes:
    return base64.b64decode(k["key"], validate=True)


def _try_out(shadow: Compiled, scope: str) -> None:
    """Evaluate each flag of the scope once for some units; what cannot be evaluated is refused before it is committed."""
    for b in shadow.flags.values():
        if b.handle.scope != scope:
            continue
        for unit in ("", "unit-1", "unit-2"):
            for leased in (False, True):
                r = b.handle.eval(flags.Context(unit), leased)
                if r.variant is None and r.error:
                    raise ContentError("prepare.eval", f"flag {b.handle.key} answers {r.reason} {r.error} for unit {unit!r}")
