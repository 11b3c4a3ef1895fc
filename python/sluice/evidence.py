"""Evidence: counts of one second of request start, split by stratum, arm and one dimension at a time. Go: package evidence.

Histograms are base-2 exponential (OTLP layout): bin i holds values in (base^i, base^(i+1)], base = 2^(2^-scale).
"""

import bisect
import math
import threading
from typing import Any, Dict, List, Optional, Set, Tuple

UNIT_BUCKETS = 64
MIN_SCALE, MAX_SCALE = 5, 10
MAX_BINS = 2048
MIN_EXP, MAX_EXP = -30, 34
ZERO_BIN = -(1 << 31)
ERROR, ASSIGNMENT = "error", "assignment"
OTHER = "other"

_MAX_DIMS = 16
_MAX_VALUES = 256
_MAX_VALUE_NAME = 128
_MAX_CELLS = 512
_MAX_ONCE = 1 << 18
_MAX_OPEN = 900
_TABLE_SCALE = MAX_SCALE + 1
_TABLE_SIZE = 1 << _TABLE_SCALE
_table: List[float] = []


def _bounds() -> List[float]:
    """Return for each k the largest float not above 2^(k/2048), computed with 256-bit integers."""
    if not _table:
        bits = 256
        root = 2 << bits
        for _ in range(_TABLE_SCALE):
            root = math.isqrt(root << bits)
        low, exact = [], 1 << bits
        for _ in range(_TABLE_SIZE):
            low.append((exact >> (bits - 52)) / (1 << 52))
            exact = exact * root >> bits
        _table[:] = [*low, 2.0]
    return _table


def index(scale: int, v: float) -> int:
    """Return the bin of a finite value at the scale, exact at the boundaries."""
    if v <= 2.0**MIN_EXP:
        return ZERO_BIN
    if v > 2.0**MAX_EXP:
        return (MAX_EXP << scale) - 1
    mantissa, exp = math.frexp(v)
    k = bisect.bisect_left(_bounds(), 2 * mantissa) - 1
    return ((exp - 1) * _TABLE_SIZE + k) >> (_TABLE_SCALE - scale)


def score(scale: int, b: int) -> int:
    """Return the bin at MIN_SCALE, one below the lowest for the zero bin."""
    return (MIN_EXP << MIN_SCALE) - 1 if b == ZERO_BIN else b >> (scale - MIN_SCALE)


def hist_wire(bins: Dict[int, int], scale: int) -> Dict[str, Any]:
    """Return the wire form of a histogram, made coarser until it fits; in counts -k stands for k empty bins."""
    zero = bins.get(ZERO_BIN, 0)
    used = sorted(b for b in bins if b != ZERO_BIN)
    shift = 0
    while used and scale - shift > MIN_SCALE and (used[-1] >> shift) - (used[0] >> shift) >= MAX_BINS:
        shift += 1
    folded: Dict[int, int] = {}
    for b in used:
        folded[b >> shift] = folded.get(b >> shift, 0) + bins[b]
    out: Dict[str, Any] = {"scale": scale - shift}
    if folded:
        counts: List[int] = []
        at = out["offset"] = min(folded)
        for b in sorted(folded):
            if b - at >= 2:
                counts.append(at - b)
            elif b - at == 1:
                counts.append(0)
            counts.append(folded[b])
            at = b + 1
        out["counts"] = counts
    if zero:
        out["zero"] = zero
    return out


class _Cell:
    """The counts of one value of one dimension within an entry."""

    __slots__ = ("n", "bad", "total", "bins", "by_bucket")

    def __init__(self) -> None:
        self.n: Dict[int, int] = {}
        self.bad: Dict[int, int] = {}
        self.total: Dict[int, int] = {}  # sums of scores, baseline arm
        self.bins: Dict[int, int] = {}
        self.by_bucket: Dict[Tuple[int, int], int] = {}  # exposed arm

    def add(self, bucket: int, bad: bool, b: Optional[int], scale: int, exposed: bool) -> None:
        self.n[bucket] = self.n.get(bucket, 0) + 1
        if bad:
            self.bad[bucket] = self.bad.get(bucket, 0) + 1
        if b is None:
            return
        self.bins[b] = self.bins.get(b, 0) + 1
        if exposed:
            self.by_bucket[bucket, b] = self.by_bucket.get((bucket, b), 0) + 1
        else:
            self.total[bucket] = self.total.get(bucket, 0) + score(scale, b)

    def absorb(self, other: "_Cell") -> None:
        for mine, theirs in (
            (self.n, other.n), (self.bad, other.bad), (self.total, other.total), (self.bins, other.bins), (self.by_bucket, other.by_bucket)
        ):
            for k, v in theirs.items():
                mine[k] = mine.get(k, 0) + v

    def wire(self, dim: str, value: str, scale: int) -> Dict[str, Any]:
        out: Dict[str, Any] = {"dim": dim}
        if value:
            out["value"] = value
        out["n"], out["bad"] = sum(self.n.values()), sum(self.bad.values())
        if scale:
            out["hist"] = hist_wire(self.bins, scale)
        out["buckets"] = [
            {"k": k, "n": self.n[k], "bad": self.bad.get(k, 0), **({"sum": self.total[k]} if self.total.get(k) else {})}
            for k in sorted(self.n)
        ]
        if self.by_bucket:
            shift = scale - out["hist"]["scale"]
            folded: Dict[Tuple[int, int], int] = {}
            for (k, b), n in self.by_bucket.items():
                at = (k, b if b == ZERO_BIN else b >> shift)
                folded[at] = folded.get(at, 0) + n
            out["exposedHistByBucket"] = [{"k": k, "bin": b, "count": folded[k, b]} for k, b in sorted(folded)]
        return out


class _Entry:
    """One (second, key): the open requests and, per metric, the cells counted since the last flush."""

    __slots__ = ("open", "reported", "metrics", "alive")

    def __init__(self) -> None:
        self.open = 0
        self.reported = 0
        self.alive = True
        self.metrics: Dict[str, Dict[Tuple[int, str], _Cell]] = {}


class Slot:
    """One open request."""

    __slots__ = ("_acc", "_entry", "_exposed", "_bucket", "_unit", "_values", "_ended")

    def __init__(self, acc: "Accumulator", entry: _Entry, exposed: bool, bucket: int, unit: str, values: List[Tuple[int, str]]):
        self._acc, self._entry, self._exposed = acc, entry, exposed
        self._bucket, self._unit, self._values, self._ended = bucket, unit, values, False

    def observe(self, metric: str, value: float) -> None:
        """Count a value of a declared metric; NaN and infinities count as bad and enter no histogram."""
        self._acc.count(self, metric, value)

    def end(self, failed: bool) -> None:
        """Close the request; only the first call counts."""
        self._acc.end(self, failed)


def _good_name(s: str, limit: int) -> bool:
    try:
        return len(s.encode()) <= limit and all(c >= " " and c != "\x7f" for c in s)
    except UnicodeEncodeError:
        return False


class Accumulator:
    """Collects the evidence of one rollout in one process. All methods may be called by any thread."""

    def __init__(self, rollout: str, metrics: Dict[str, Dict[str, Any]], segments: List[str], sources: List[str]):
        if len(segments) + len(sources) > _MAX_DIMS:
            raise ValueError(f"{len(segments) + len(sources)} segments and sources, at most {_MAX_DIMS} are kept apart")
        self.rollout = rollout
        self._metrics = {name: m for name, m in metrics.items() if name != ERROR}
        for name, m in self._metrics.items():
            scale = m.get("scale", 0)
            if m.get("kind") not in ("proportion", "value") or scale != 0 and not MIN_SCALE <= scale <= MAX_SCALE:
                raise ValueError(f"metric {name} has kind {m.get('kind')!r} and scale {scale}")
        self.dims = [("segment", a) for a in segments] + [("source", a) for a in sources]
        self._known: List[Set[str]] = [{OTHER} for _ in self.dims]
        self._lock = threading.Lock()
        self._entries: Dict[Tuple[int, Tuple], _Entry] = {}
        self._seen: Set[str] = {ERROR}
        self._once: Dict[str, Set[str]] = {}
        self._closed = 0
        self.overflow = 0
        self.abandoned = 0
        self.once_dropped = 0

    def begin(self, second: int, key: Tuple, bucket: int, unit: str, values: List[str]) -> Slot:
        """Open a request in the second in which it started.

        key is (cohort, revision, exposure, lease, assigned, served); values holds the text of each dimension, "" for none.
        """
        with self._lock:
            second = max(second, self._closed + 1)
            entry = self._entries.get((second, key))
            if entry is None:
                entry = self._entries[second, key] = _Entry()
            entry.open += 1
            cells = [(i, self._value(i, v)) for i, v in enumerate(values) if v]
        return Slot(self, entry, key[4] == "exposed", bucket, unit, cells)

    def _value(self, dim: int, value: str) -> str:
        known = self._known[dim]
        if value not in known:
            if len(known) > _MAX_VALUES or not _good_name(value, _MAX_VALUE_NAME):
                return OTHER
            known.add(value)
        return value

    def count(self, slot: Slot, metric: str, value: float) -> None:
        """Count one observation of a slot; undeclared metrics are ignored."""
        m = self._metrics.get(metric)
        if m is not None:
            with self._lock:
                if not slot._ended and slot._entry.alive:
                    self._count(slot, metric, value, _is_bad(m, value))

    def _count(self, slot: Slot, metric: str, value: float, bad: bool) -> None:
        m = self._metrics.get(metric, {})
        if m.get("once") and not self._first(metric, slot._unit):
            self.once_dropped += 1
            return
        self._seen.add(metric)
        cells = slot._entry.metrics.setdefault(metric, {})
        scale = _scale(m)
        b = index(scale, value) if scale and math.isfinite(value) else None
        for at in [(-1, ""), *slot._values]:
            if at[1] == OTHER:
                self.overflow += 1
            cell = cells.get(at)
            if cell is None:
                cell = cells[at] = _Cell()
            cell.add(slot._bucket, bad, b, scale, slot._exposed)

    def _first(self, metric: str, unit: str) -> bool:
        units = self._once.setdefault(metric, set())
        if unit in units or len(units) >= _MAX_ONCE:
            return False
        units.add(unit)
        return True

    def end(self, slot: Slot, failed: bool) -> None:
        """Close a slot and count the error metric."""
        with self._lock:
            if slot._ended:
                return
            slot._ended = True
            if slot._entry.alive:
                self._count(slot, ERROR, 0.0, failed)
                slot._entry.open -= 1

    def flush(self, now: int) -> Tuple[List[Dict[str, Any]], int]:
        """Return what was counted since the last flush, and the last second through which everything is told."""
        with self._lock:
            self._closed = max(self._closed, now - 1)
            oldest, blocks = self._closed + 1, []
            for (second, key), entry in sorted(self._entries.items()):
                if entry.open > 0 and second < now - _MAX_OPEN:
                    self.abandoned += entry.open
                    entry.open, entry.alive = 0, False
                blocks += self._blocks(second, key, entry)
                entry.reported = entry.open
                entry.metrics = {}
                if entry.open > 0:
                    oldest = min(oldest, second)
                elif second <= self._closed:
                    del self._entries[second, key]
            return blocks, oldest - 1

    def _blocks(self, second: int, key: Tuple, entry: _Entry) -> List[Dict[str, Any]]:
        out = []
        for metric in sorted({ERROR, *self._metrics}):
            cells = entry.metrics.get(metric)
            if not cells and (entry.open == entry.reported or metric not in self._seen):
                continue
            cohort, revision, exposure, lease, assigned, served = key
            block: Dict[str, Any] = {
                "second": second, "rollout": self.rollout, "cohort": cohort, "revision": revision, "exposure": exposure,
                "lease": lease, "assigned": assigned, "served": served, "metric": metric, "n": 0, "bad": 0, "open": entry.open,
            }
            wired = self._cells(cells or {}, _scale(self._metrics.get(metric, {})))
            if wired:
                total = wired[0]
                block["n"], block["bad"] = total["n"], total["bad"]
                if "hist" in total:
                    block["hist"] = total.pop("hist")
                block["cells"] = wired
            out.append(block)
        return out

    def _cells(self, cells: Dict[Tuple[int, str], _Cell], scale: int) -> List[Dict[str, Any]]:
        if len(cells) > _MAX_CELLS:
            cells = self._limit(cells)
        order = sorted(cells, key=lambda at: (at[0] >= 0, at[0] >= 0 and self.dims[at[0]][0] == "source", self._name(at)))
        return [cells[at].wire(self.dims[at[0]][0] if at[0] >= 0 else "total", self._name(at), scale) for at in order]

    def _limit(self, cells: Dict[Tuple[int, str], _Cell]) -> Dict[Tuple[int, str], _Cell]:
        """Add the values with the fewest observations to "other" of their dimension."""
        keep = _MAX_CELLS - len(self.dims)
        order = sorted(cells, key=lambda at: (at[0] >= 0 and at[1] != OTHER, -sum(cells[at].n.values())))
        kept = {at: cells[at] for at in order[:keep]}
        for at in order[keep:]:
            self.overflow += sum(cells[at].n.values())
            kept.setdefault((at[0], OTHER), _Cell()).absorb(cells[at])
        return kept

    def _name(self, at: Tuple[int, str]) -> str:
        return f"{self.dims[at[0]][1]}={at[1]}" if at[0] >= 0 else ""


def _scale(m: Dict[str, Any]) -> int:
    """Return the scale of a metric's histograms, 0 when it has none."""
    return max(m.get("scale", 0), MIN_SCALE) if m.get("kind") == "value" else 0


def _is_bad(m: Dict[str, Any], v: float) -> bool:
    if not math.isfinite(v):
        return True
    above, below = m.get("badAbove"), m.get("badBelow")
    if above is not None and v > above or below is not None and v < below:
        return True
    return m.get("kind") == "proportion" and above is None and below is None and v != 0
