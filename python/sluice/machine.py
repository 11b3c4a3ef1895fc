"""The client's half of the lease protocol as a pure machine: (state, input) -> (state, effects). Go: slp.Client.

It does no I/O and reads no clock. api/testdata/protocol.json holds runs of the Go machine against a faulty network; the
tests replay them here, effect by effect.

Times are nanoseconds of the process's monotonic clock. Inputs and effects are tuples whose first element is their name:

    start(cache) hello-answered(sent, answer) hello-failed(failure) event(event) watch-lost(failure) tick(timer)
    grant(grant) renew-failed(n, failure) ack-failed(failure) fetched(snapshot) fetch-failed(failure) loaded(head, error)
    shadow-loaded(prepared) drained(scope, rev) unwound(scope, rev, failed) cache-written(cache, failed) clock-jumped()
    boot-unknown() leave() bye()

    hello(body) renew(body) ack(body) fetch() load(snapshot) shadow(scope, digest, snapshot) swap(view) cache(cache)
    watch(after) schedule(timer, after) unwind(scope, rev) notice(code, text)
"""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set, Tuple

from . import canonical
from .errors import ContentError
from .snapshot import MAX_REV, Head, ServerClock, Snapshot, head_of, revs_of

MS = 1_000_000
SECOND = 1000 * MS

_MIN_TTL_MS = 100
_MAX_TTL_MS = 60_000
_IDLE_RENEW = 5 * SECOND
_MIN_RENEW = 100 * MS
_MAX_SENT = 16
_MAX_ENDED = 256
_MAX_PREPARED = 64
_BACKOFF_BASE = 100 * MS
_BACKOFF_CAP = 5 * SECOND
_SLOW_RETRY = 30 * SECOND
_ALL_HEADS = (1 << 64) - 1

CACHE_FORMAT = 1


class Failure(NamedTuple):
    """How a request to the server failed. Status 0: there was no answer. retry_after is nanoseconds."""

    status: int = 0
    code: str = ""
    retry_after: int = 0


class View(NamedTuple):
    """What evaluation needs. It is immutable: floors and lease ends of one view belong together."""

    epoch: int = 0
    snapshot: Optional[Snapshot] = None
    want: Head = Head()
    floors: Dict[str, int] = {}
    lease_end: Dict[str, int] = {}
    pin_keys: List[bytes] = []
    clock: ServerClock = ServerClock()

    def held(self, scope: str, rev: int, now: int) -> bool:
        """Say whether an exposed arm of the scope at rev may be served at now. Ask with a fresh reading each time."""
        return rev >= self.floors.get(scope, 0) and now < self.lease_end.get(scope, 0)


class Cache(NamedTuple):
    """What a member keeps on disk: the last snapshot in force, floors, the highest head heard of. Never a lease."""

    snapshot: Optional[Snapshot]
    floors: Dict[str, int]
    seen: int
    unwind: Dict[str, int]


class _Backoff:
    """Decorrelated jitter: each wait is drawn from base to three times the last one, up to a cap."""

    def __init__(self, draw: Callable[[int], int]):
        self._draw = draw
        self._last = 0

    def next(self, retry_after: int) -> int:
        span = min(_BACKOFF_CAP, max(3 * self._last, 2 * _BACKOFF_BASE)) - _BACKOFF_BASE
        self._last = _BACKOFF_BASE + self._draw(span)
        if retry_after > 0:
            retry_after = min(retry_after, _SLOW_RETRY)
            return max(self._last, retry_after + self._draw(retry_after // 4 + 1))
        return self._last

    def reset(self) -> None:
        self._last = 0


class MachineConfig(NamedTuple):
    """Who the member is. draw(n) gives a number of 0..n-1 for waiting times; early_lapse is 0 to 0.2."""

    instance: str
    boot: str
    component: str
    cls: str
    caps: Dict[str, Any]
    w: int
    draw: Callable[[int], int]
    early_lapse: float = 0.0


_TURN = {"store": 1, "writer": 2}


class Machine:
    """One boot's half of the protocol. It belongs to one thread; step is the only way in.

    Kept as in Go: the time of a renew is stored before it is handed out and its lease counts from there; floors never fall;
    a scope whose floor is above the revision held serves its baseline; `activated` is acknowledged only for what a swap
    has put in force and whose floors are known; floors are durable before an ack of a static scope.
    """

    def __init__(self, cfg: MachineConfig):
        self._cfg = cfg
        self._now = 0
        self._out: List[Tuple] = []
        self._phase = "idle"  # idle, joining, joined, leaving, gone
        self._epoch = 0
        self._active: Optional[Snapshot] = None
        self._loading: Optional[Snapshot] = None
        self._queued: Optional[Snapshot] = None
        self._want = Head()
        self._floors: Dict[str, int] = {}
        self._floors_at = 0
        self._lease_end: Dict[str, int] = {}
        self._ttl: Dict[str, int] = {}
        self._pin_keys: List[bytes] = []
        self._clock = ServerClock()
        self._dirty = False
        self._n = 0
        self._sent: Dict[int, int] = {}
        self._retry = 0
        self._granted = 0
        self._renew_due = 0
        self._backing_off = False
        self._need_lease = False
        self._hello_out = False
        self._watching = False
        self._fetching = False
        self._fetch_hold = 0
        self._prepared: Dict[str, Dict[str, Any]] = {}
        self._shadow: Dict[str, str] = {}
        self._pending: Dict[str, Tuple[Dict[str, Any], int]] = {}
        self._drained: Dict[str, int] = {}
        self._acked_at: Dict[Tuple[str, str], Tuple[int, int]] = {}
        self._told: Tuple[List, List] = ([], [])
        self._durable: Dict[str, int] = {}
        self._cache_ok = cfg.caps.get("cache") == "durable"
        self._cached: Optional[Tuple] = None
        self._unwind_due: Dict[str, int] = {}
        self._unwinding: Set[str] = set()
        self._unwind_at: Dict[str, int] = {}
        self._turn: Dict[str, int] = {}
        self._active_at: Dict[str, int] = {}
        waits = ("hello", "renew", "fetch", "watch", "ack", "unwind")
        self._wait = {name: _Backoff(cfg.draw) for name in waits}
        self._inputs: Dict[str, Callable[..., None]] = {
            "start": self._start, "hello-answered": self._hello_answered, "hello-failed": self._hello_failed,
            "event": self._event, "watch-lost": self._watch_lost, "tick": self._tick, "grant": self._grant,
            "renew-failed": self._renew_failed, "ack-failed": self._ack_failed, "fetched": self._fetched,
            "fetch-failed": self._fetch_failed, "loaded": self._loaded, "shadow-loaded": self._shadow_loaded,
            "drained": self._requests_drained, "unwound": self._unwound, "cache-written": self._cache_written,
            "clock-jumped": self._clock_jumped, "boot-unknown": self._boot_unknown,
            "leave": lambda: self._leave("leaving"), "bye": lambda: self._leave("gone"),
        }

    def step(self, now: int, name: str, *args: Any) -> List[Tuple]:
        """Take one input at a reading of the clock and return what is to be done, in order."""
        self._now, self._out = max(self._now, now), []
        if self._phase == "gone":
            return []
        self._inputs[name](*args)
        if self._phase != "gone":
            self._catch_up()
            self._unwind()
            if self._need_lease and self._phase == "joined":
                self._renew()
            self._hasten()
        self._finish()
        return self._out

    def _emit(self, *effect: Any) -> None:
        self._out.append(effect)

    def _notice(self, code: str, text: str) -> None:
        self._emit("notice", code, text)

    def _finish(self) -> None:
        if self._dirty:
            self._dirty = False
            self._out.insert(0, ("swap", self._view()))
        self._write_cache()
        self._tell()

    def _view(self) -> View:
        return View(
            self._epoch, self._active, self._want, dict(self._floors), dict(self._lease_end), self._pin_keys, self._clock
        )

    # start

    def _start(self, cache: Optional[Cache]) -> None:
        if self._phase != "idle":
            return
        if cache is not None:
            for scope, f in cache.floors.items():
                self._floors[scope] = max(self._floors.get(scope, 0), f)
            self._unwind_due.update(cache.unwind)
            self._hear(Head(cache.seen))
            if cache.snapshot is not None:
                self._hear(cache.snapshot.head)
                self._loading = cache.snapshot
                self._note_durable(cache)
                self._emit("load", cache.snapshot)
        self._dirty = True
        self._hello()

    def _hello(self) -> None:
        self._phase = "joining"
        if self._hello_out:
            return
        self._hello_out = True
        caps = dict(self._cfg.caps)
        if not self._cache_ok:
            caps["cache"] = "none"
        seen: Dict[str, Any] = {"rev": self._want.rev}
        if self._floors:
            seen["floors"] = dict(self._floors)
        self._emit("hello", {
            "instance": self._cfg.instance, "boot": self._cfg.boot, "component": self._cfg.component,
            "class": self._cfg.cls, "caps": caps, "w": self._cfg.w // MS, "seen": seen,
        })

    def _hello_answered(self, sent: int, answer: Dict[str, Any]) -> None:
        self._hello_out = False
        if self._phase != "joining":
            return
        if self._stale(answer.get("epoch", 0)):
            self._schedule("hello", self._wait["hello"].next(0))
            return
        snapshot = Snapshot.of(answer["snapshot"])
        if snapshot.head.rev < self._want.rev:
            self._notice("amnesia", f"the server stands at revision {snapshot.head.rev}, this member has seen {self._want.rev}")
            self._schedule("hello", self._wait["hello"].next(0))
            return
        self._phase = "joined"
        self._wait["hello"].reset()
        self._wait["renew"].reset()
        self._clock = self._clock.observe(sent, self._now, answer.get("serverNow", 0))
        self._pin_keys, self._dirty = answer.get("pinKeys") or [], True
        self._offer(snapshot)
        if not self._watching:
            self._watching = True
            self._emit("watch", 0)
        self._renew()

    def _hello_failed(self, f: Failure) -> None:
        self._hello_out = False
        if self._phase != "joining":
            return
        wait = self._wait["hello"].next(f.retry_after)
        if f.status == 409:
            self._notice("amnesia", f"the server refuses this member: it knows less than revision {self._want.rev}, which was seen here")
        if 400 <= f.status < 500 and f.status not in (408, 429):
            wait = max(wait, _SLOW_RETRY // 2 + self._cfg.draw(_SLOW_RETRY // 2))
        self._schedule("hello", wait)

    def _boot_unknown(self) -> None:
        if self._phase == "joined":
            self._hello()

    def _stale(self, epoch: int) -> bool:
        if epoch < self._epoch:
            self._notice("epoch", f"a message of epoch {epoch}, the leader is that of {self._epoch}")
            return True
        self._epoch = max(self._epoch, epoch)
        return False

    def _schedule(self, timer: str, after: int) -> None:
        self._emit("schedule", timer, after)

    # watch

    def _event(self, e: Dict[str, Any]) -> None:
        if self._phase not in ("joined", "joining"):
            return
        self._wait["watch"].reset()
        if self._stale(e.get("epoch", 0)):
            return
        head = head_of(e.get("head", {}))
        self._raise(e.get("floors") or {}, head.rev)
        self._hear(head)
        for scope, cls in (e.get("unwind") or {}).items():
            self._turn[scope] = max(self._turn.get(scope, 0), _TURN.get(cls, 0))
        self._delta(e, head)
        if e.get("prepare"):
            self._prepare(e["prepare"], head.rev)

    def _watch_lost(self, f: Failure) -> None:
        if self._phase != "leaving":
            self._emit("watch", self._wait["watch"].next(f.retry_after))

    def _tick(self, timer: str) -> None:
        if timer == "hello" and self._phase == "joining":
            self._hello()
        elif timer == "renew" and self._phase == "joined":
            self._renew()
        elif timer == "fetch":
            self._fetch_hold = 0
        elif timer == "ack":
            self._told = ([], [])

    def _hear(self, h: Head) -> None:
        if h.rev > self._want.rev:
            self._want = h
        elif h.rev == self._want.rev and not self._want.digest:
            self._want = self._want._replace(digest=h.digest)
        elif h.rev == self._want.rev and h.digest and h.digest != self._want.digest:
            self._notice("diverged", f"revision {h.rev} has digest {h.digest[:20]}, heard before was {self._want.digest[:20]}")

    def _raise(self, floors: Dict[str, int], at: int) -> None:
        for scope, f in floors.items():
            if f > self._floors.get(scope, 0):
                self._floors[scope] = f
                self._dirty = True
                if self._unwinds():
                    self._unwind_due[scope] = max(self._unwind_due.get(scope, 0), f)
        self._floors_at = max(self._floors_at, at)

    # leases

    def _renew_every(self) -> int:
        every = _IDLE_RENEW
        for name, meta in (self._active.scopes if self._active else {}).items():
            for ttl in (meta.ttl_ms * MS, self._ttl.get(name, 0)) if meta.leased else ():
                if ttl > 0:
                    every = min(every, max(ttl // 5, _MIN_RENEW))
        return every

    def _renew(self) -> None:
        self._need_lease = False
        every, n = self._renew_every(), self._retry
        self._retry = 0
        if n == 0 or n not in self._sent or self._now - self._sent[n] >= every:
            self._n += 1
            n = self._n
            self._sent[n] = self._now  # before the send: the lease counts from here
            self._sent.pop(n - _MAX_SENT, None)
        acks, prepared = self._told = self._report()
        body: Dict[str, Any] = {"instance": self._cfg.instance, "boot": self._cfg.boot, "n": n}
        for name, value in (
            ("active", self._active_revs()), ("prepared", prepared), ("floors", self._present_floors()), ("acks", acks)
        ):
            if value:
                body[name] = value
        self._emit("renew", body)
        self._renew_in(every)

    def _renew_in(self, every: int) -> None:
        after = every - self._cfg.draw(every // 8 + 1)
        self._backing_off, self._renew_due = False, self._now + after
        self._schedule("renew", after)

    def _hasten(self) -> None:
        every = self._renew_every()
        if self._phase == "joined" and not self._backing_off and self._renew_due - self._now > every:
            self._renew_in(every)

    def _grant(self, g: Dict[str, Any]) -> None:
        ts = self._sent.get(g.get("n", 0))
        if g.get("boot") != self._cfg.boot or ts is None or self._phase not in ("joined", "joining"):
            return
        if self._stale(g.get("epoch", 0)):
            return
        head = head_of(g.get("head", {}))
        self._raise(g.get("floors") or {}, head.rev)
        self._hear(head)
        self._clock = self._clock.observe(ts, self._now, g.get("serverNow", 0))
        for scope, ms in (g.get("leases") or {}).items():
            ttl = min(ms, _MAX_TTL_MS) * MS
            if ttl < _MIN_TTL_MS * MS:
                continue
            self._ttl[scope] = ttl
            end = ts + ttl - int(self._cfg.early_lapse * ttl)
            self._lease_end[scope] = max(self._lease_end.get(scope, 0), end)
        self._dirty = True
        self._wait["renew"].reset()
        self._granted = max(self._granted, g["n"])
        if self._retry <= self._granted:
            self._retry = 0

    def _renew_failed(self, n: int, f: Failure) -> None:
        if self._phase != "joined" or n <= self._granted:
            return
        if f.status == 410:
            self._hello()
        elif f.status == 409:
            self._phase = "joining"
            self._notice("amnesia", f"the server refuses to renew: it knows less than revision {self._want.rev}, which was seen here")
            self._schedule("hello", _SLOW_RETRY // 2 + self._cfg.draw(_SLOW_RETRY // 2))
        else:
            self._retry = n
            wait = self._wait["renew"].next(f.retry_after)
            if f.retry_after == 0:
                wait = min(wait, max(self._renew_every() * 5 // 3, 2 * _BACKOFF_BASE))
            self._backing_off, self._renew_due = True, self._now + wait
            self._schedule("renew", wait)

    def _ack_failed(self, f: Failure) -> None:
        self._schedule("ack", self._wait["ack"].next(f.retry_after))

    def _clock_jumped(self) -> None:
        self._notice("clock", "the monotonic clock stood still: all leases end")
        self._lease_end.clear()
        self._sent.clear()
        self._retry, self._dirty = 0, True
        if self._phase == "joined":
            self._renew()

    def _leave(self, phase: str) -> None:
        self._phase = phase
        self._lease_end.clear()
        self._sent.clear()
        self._dirty = True
        if phase == "gone":
            acks = self._report()[0] or None
            self._emit("ack", {"instance": self._cfg.instance, "boot": self._cfg.boot, "acks": acks, "bye": True})

    def _active_revs(self) -> Dict[str, int]:
        return {name: m.rev for name, m in self._active.scopes.items()} if self._active else {}

    def _present_floors(self) -> Dict[str, int]:
        return {scope: f for scope, f in self._floors.items() if self._active is None or self._has(scope)}

    def _has(self, scope: str) -> bool:
        return self._active is not None and scope in self._active.scopes

    # loading

    def _tip(self) -> Optional[Snapshot]:
        return self._queued or self._loading or self._active

    def _delta(self, e: Dict[str, Any], head: Head) -> None:
        tip, delta = self._tip(), e.get("delta")
        if not delta or tip is None or head.rev <= tip.head.rev or delta.get("base") != tip.head.digest:
            return
        try:
            self._line(tip.apply(delta, head))
        except ContentError as err:
            self._notice("digest", str(err))

    def _offer(self, s: Snapshot) -> None:
        if self._phase not in ("joined", "joining"):
            return
        tip = self._tip()
        if tip is not None and s.head.rev <= tip.head.rev:
            if tip.head.rev < self._want.rev:
                self._fetch_later(0)
            return
        try:
            s.verify()
        except ContentError as err:
            self._notice("digest", str(err))
            self._fetch_later(0)
            return
        self._wait["fetch"].reset()
        self._hear(s.head)
        self._line(s)

    def _line(self, s: Snapshot) -> None:
        for scope in sorted(s.scopes):
            meta, floor = s.scopes[scope], self._floors.get(scope, 0)
            if meta.leased and meta.rev < floor:
                self._notice("below", f"snapshot {s.head.rev} holds revision {meta.rev} of scope {scope}, the floor is {floor}")
                self._fetch_later(0)
                return
        over = self._exceeded(s.objects)
        if over is not None:
            self._notice("too-large", f"snapshot {s.head.rev}: {over['code']} {over['got']}, declared was {over['limit']}")
            self._refuse(s.head)
        elif self._loading is not None:
            self._queued = s
        else:
            self._loading = s
            self._emit("load", s)

    def _exceeded(self, objects: Dict[str, Any]) -> Optional[Dict[str, str]]:
        limit = self._cfg.caps.get("maxObjects", 0)
        if limit and len(objects) > limit:
            return {"code": "caps.objects", "limit": str(limit), "got": str(len(objects))}
        limit = self._cfg.caps.get("maxBytes", 0)
        if limit:
            size = sum(len(path.encode()) + len(canonical.dumps(o).encode()) for path, o in objects.items())
            if size > limit:
                return {"code": "caps.bytes", "limit": str(limit), "got": str(size)}
        return None

    def _refuse(self, h: Head) -> None:
        self._fetch_hold = h.rev
        self._schedule("fetch", _SLOW_RETRY)

    def _fetch_later(self, retry_after: int) -> None:
        if self._fetch_hold != _ALL_HEADS:
            self._fetch_hold = _ALL_HEADS
            self._schedule("fetch", self._wait["fetch"].next(retry_after))

    def _catch_up(self) -> None:
        tip = self._tip()
        if self._phase != "joined" or self._fetching or tip is not None and tip.head.rev >= self._want.rev:
            return
        if self._want.rev > self._fetch_hold:
            self._fetching = True
            self._emit("fetch")

    def _fetched(self, s: Snapshot) -> None:
        self._fetching = False
        self._offer(s)

    def _fetch_failed(self, f: Failure) -> None:
        self._fetching = False
        self._fetch_later(f.retry_after)

    def _loaded(self, h: Head, error: str) -> None:
        s = self._loading
        if s is None or s.head != h:
            return
        self._loading = None
        if error:
            self._notice("refused", f"snapshot {h.rev} cannot be served: {error}")
            self._refuse(h)
        elif self._phase in ("joined", "joining"):
            self._swap(s)
        if self._queued is not None:
            self._loading, self._queued = self._queued, None
            self._emit("load", self._loading)

    def _swap(self, s: Snapshot) -> None:
        old = self._active
        if old is not None and s.head.rev <= old.head.rev:
            return
        self._active, self._dirty = s, True
        for scope, meta in s.scopes.items():
            if old is not None and scope in old.scopes and old.scopes[scope].rev == meta.rev:
                continue
            self._active_at[scope] = self._now
            if meta.leased and meta.rev != self._floors.get(scope, 0) and self._lease_end.get(scope, 0) <= self._now:
                self._need_lease = True
        for scope, meta in (old.scopes if old is not None else {}).items():
            if meta.leased and not self._has(scope):
                self._ended(scope, old, s)
        self._forget()
        self._next_prepares()

    def _next_prepares(self) -> None:
        scopes = self._active.scopes
        for scope in [s for s, p in self._prepared.items() if s not in scopes or scopes[s].digest == p["digest"]]:
            del self._prepared[scope]
        for scope in sorted(self._pending):
            p, head = self._pending[scope]
            if head <= self._active.head.rev:
                del self._pending[scope]
                self._prepare(p, head)

    def _ended(self, scope: str, old: Snapshot, new: Snapshot) -> None:
        if self._unwinds() and not self._unwind_due.get(scope) and _took_back(scope, old, new):
            self._unwind_due[scope] = new.head.rev

    def _forget(self) -> None:
        gone = sorted((f, s) for s, f in self._floors.items() if not self._has(s))
        excess = len(gone) - _MAX_ENDED
        for f, scope in gone:
            if excess > 0 and f <= self._active.head.rev and self._lease_end.get(scope, 0) <= self._now:
                del self._floors[scope]
                excess -= 1
        _drop(self._lease_end, lambda s: self._lease_end[s] <= self._now and not self._has(s))
        _drop(self._ttl, lambda s: not self._has(s))
        for d in (self._active_at, self._drained, self._turn):
            _drop(d, lambda s: not self._has(s) and not self._unwind_due.get(s))
        _drop(self._acked_at, lambda k: not self._has(k[0]))
        _drop(self._durable, lambda s: not self._has(s))

    def _prepare(self, p: Dict[str, Any], head: int) -> None:
        scope, digest = p["scope"], p["digest"]
        if self._active is None or self._active.head.rev < head:
            if len(self._pending) < _MAX_PREPARED:
                self._pending[scope] = (p, head)
            return
        if scope in self._prepared and self._prepared[scope]["digest"] == digest:
            self._told = ([], [])  # asked again: the answer was lost
            return
        if self._shadow.get(scope) == digest or len(self._shadow) >= _MAX_PREPARED:
            return
        shadow, reject = self._check_prepare(scope, digest, p.get("objects") or {})
        if reject is not None:
            self._prepared[scope] = {"scope": scope, "digest": digest, "reject": reject}
            return
        self._shadow[scope] = digest
        self._emit("shadow", scope, digest, shadow)

    def _check_prepare(self, scope: str, digest: str, objects: Dict[str, Any]) -> Tuple[Any, Optional[Dict[str, str]]]:
        if not self._has(scope):
            return None, {"code": "scope.unknown", "got": scope}
        try:
            got = canonical.scope_digest(objects)
        except ContentError as err:
            return None, {"code": "content.invalid", "got": str(err)}
        if got != digest:
            return None, {"code": "digest", "limit": digest, "got": got}
        shadow = self._active.with_scope(scope, digest, objects)
        over = self._exceeded(shadow.objects)
        return (None, over) if over is not None else (shadow, None)

    def _shadow_loaded(self, p: Dict[str, Any]) -> None:
        if self._shadow.get(p["scope"]) != p["digest"]:
            return
        del self._shadow[p["scope"]]
        if self._has(p["scope"]):
            self._prepared[p["scope"]] = p

    # acknowledging

    def _requests_drained(self, scope: str, rev: int) -> None:
        self._drained[scope] = max(self._drained.get(scope, 0), rev)

    def _tell(self) -> None:
        if self._phase != "joined" or self._active is None:
            return
        report = self._report()
        if report == self._told:
            return
        self._told = report
        acks, prepared = report
        if acks or prepared:
            body: Dict[str, Any] = {"instance": self._cfg.instance, "boot": self._cfg.boot, "acks": acks or None}
            if prepared:
                body["prepared"] = prepared
            self._emit("ack", body)

    def _report(self) -> Tuple[List, List]:
        acks = []
        for scope in sorted(self._active.scopes) if self._active else ():
            rev = self._ackable(scope)
            if rev == 0:
                continue
            acks.append(self._mark(scope, "activated", rev))
            drained = min(self._drained.get(scope, 0), rev)
            if drained > 0 and not self._unwind_due.get(scope):
                acks.append(self._mark(scope, "drained", drained))
        return acks, [self._prepared[s] for s in sorted(self._prepared)]

    def _ackable(self, scope: str) -> int:
        meta = self._active.scopes[scope]
        if meta.leased:
            return 0 if meta.rev > self._floors_at else meta.rev
        return min(meta.rev, self._durable.get(scope, 0)) if self._cache_ok else meta.rev

    def _mark(self, scope: str, stage: str, rev: int) -> Dict[str, Any]:
        known = self._acked_at.get((scope, stage))
        if known is None or known[0] != rev:
            known = self._acked_at[scope, stage] = (rev, self._clock.micros(self._now))
        return {"scope": scope, "rev": rev, "stage": stage, "at": known[1]}

    # cache

    def _write_cache(self) -> None:
        if not self._cache_ok or self._active is None or self._phase == "idle":
            return
        mark = (self._active.head.rev, self._want.rev, dict(self._floors), dict(self._unwind_due))
        if mark == self._cached:
            return
        self._cached = mark
        self._emit("cache", Cache(self._active, mark[2], mark[1], mark[3]))

    def _cache_written(self, cache: Optional[Cache], failed: bool) -> None:
        if not failed:
            self._note_durable(cache)
        elif self._cache_ok:
            self._cache_ok = False
            self._notice("cache", "the cache cannot be written: floors no longer survive a restart")
            if self._phase == "joined":
                self._hello()

    def _note_durable(self, cache: Optional[Cache]) -> None:
        if cache is not None and cache.snapshot is not None:
            for scope, meta in cache.snapshot.scopes.items():
                self._durable[scope] = max(self._durable.get(scope, 0), meta.rev)

    # unwinding

    def _unwinds(self) -> bool:
        return self._cfg.cls in _TURN

    def _unwind(self) -> None:
        if self._active is None or self._phase == "leaving":
            return
        for scope in sorted(self._unwind_due):
            due = self._unwind_due[scope]
            if scope in self._unwinding or self._now < self._unwind_at.get(scope, 0) or not self._may_unwind(scope, due):
                continue
            wait = self._active_at.get(scope, 0) + self._cfg.w - self._now
            if self._has(scope) and self._drained.get(scope, 0) < due and wait > 0:
                self._schedule("unwind", wait)
                continue
            self._unwinding.add(scope)
            self._emit("unwind", scope, due)

    def _may_unwind(self, scope: str, due: int) -> bool:
        if not self._has(scope):
            return self._active.head.rev >= due
        return self._active.scopes[scope].rev >= due and self._turn.get(scope, 0) >= _TURN[self._cfg.cls]

    def _unwound(self, scope: str, rev: int, failed: bool) -> None:
        self._unwinding.discard(scope)
        if failed:
            wait = self._wait["unwind"].next(0)
            self._notice("unwind", f"unwinding scope {scope} did not succeed, again in {wait / SECOND:.3f} s")
            self._unwind_at[scope] = self._now + wait
            self._schedule("unwind", wait)
            return
        self._wait["unwind"].reset()
        self._unwind_at.pop(scope, None)
        if rev >= self._unwind_due.get(scope, 0):
            self._unwind_due.pop(scope, None)


def _drop(d: Dict, gone: Callable[[Any], bool]) -> None:
    for k in [k for k in d if gone(k)]:
        del d[k]


def _took_back(scope: str, old: Snapshot, new: Snapshot) -> bool:
    """Say whether a flag with an open rollout in the old scope serves something else than its candidate now."""
    now = {}
    for path, o in new.objects.items():
        rest = path.partition("/")[2]
        if rest.startswith("flag/") and isinstance(o, dict):
            now[rest] = o.get("default", "")
    for path, o in old.objects.items():
        inside, _, rest = path.partition("/")
        if inside == scope and rest.startswith("flag/") and isinstance(o, dict) and o.get("rollout"):
            if now.get(rest, "") != o["rollout"].get("candidate", ""):
                return True
    return False


def check_event(e: Any) -> Dict[str, Any]:
    """Refuse an event that no server of ours sends."""
    head = head_of(e.get("head", {}) if isinstance(e, dict) else None)
    if head.rev >= MAX_REV or not isinstance(e.get("epoch", 0), int) or e.get("epoch", 0) >= MAX_REV:
        raise ContentError("wire.number", f"revision {head.rev} or its epoch is out of range")
    revs_of(e.get("committed"), head.rev)
    revs_of(e.get("floors"), head.rev)
    return e


def check_grant(g: Any) -> Dict[str, Any]:
    """Refuse a grant that no server of ours sends."""
    check_event(g)
    for scope, ms in (g.get("leases") or {}).items():
        if not isinstance(ms, int) or isinstance(ms, bool):
            raise ContentError("wire.number", f"the lease of scope {scope[:64]} is not a number")
    return g
