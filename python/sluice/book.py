"""What is measured and what waits to be sent: one message a second while a rollout is open."""

import json
import threading
from typing import Any, Callable, Dict, List, Optional

from . import flags
from .evidence import Accumulator

_KEEP_NS = 60 * 1_000_000_000
_MAX_BLOCKS = 1024


class Judged:
    """Measures one rollout."""

    def __init__(self, handle: flags.Handle, config: str):
        j = handle.judged or {}
        self.rollout = handle.rollout_id
        self.config = config
        self.segments = [*(j.get("segments") or []), *(j.get("sources") or [])]
        self.retired = False
        self.acc = Accumulator(self.rollout, j.get("metrics") or {}, j.get("segments") or [], j.get("sources") or [])


class _Batch:
    """One message. It gets its number at its first attempt, so that what was never tried can be dropped without a gap."""

    def __init__(self, made: int, through: int, blocks: List[Dict[str, Any]]):
        self.made, self.through, self.blocks = made, through, blocks
        self.seq = 0
        self.lost = 0


class Book:
    """The evidence of one boot. send is called by one thread only."""

    def __init__(self, log: Callable[[str, str], None]):
        self._log = log
        self._lock = threading.Lock()
        self._open: Dict[str, Judged] = {}
        self._lists: List[Judged] = []
        self._batches: List[_Batch] = []
        self._seq = 0
        self._through = 0
        self._lost = 0
        self.sent = 0
        self.dropped = 0
        self.due = False

    def judged_for(self, handle: flags.Handle) -> Optional[Judged]:
        """Return where the flag's open rollout is counted, None when nothing of it is measured."""
        if handle.judged is None:
            return None
        config = json.dumps([handle.unit, handle.judged], sort_keys=True)
        with self._lock:
            known = self._open.get(handle.rollout_id)
            if known is not None and known.config == config:
                known.retired = False
                return known
            try:
                made = Judged(handle, config)
            except (ValueError, TypeError, AttributeError) as e:
                self._log("evidence", f"rollout {handle.rollout_id} cannot be measured here: {e}")
                return None
            if known is not None:
                known.retired = True
            self._open[handle.rollout_id] = made
            self._lists.append(made)
            return made

    def keep(self, rollouts: List[str], leased: bool) -> None:
        """Retire the rollouts that are not listed; leased: send every second, also when there is nothing to say."""
        with self._lock:
            for rollout, j in self._open.items():
                j.retired = rollout not in rollouts
            self.due = leased

    def flush(self, second: int, now: int) -> None:
        """Turn what was counted into messages; second is the server's time now, 0 when it is not known."""
        with self._lock:
            lists = list(self._lists)
        if second == 0 or not self.due and not lists and not self._batches:
            return
        through, blocks, told = second - 1, [], []
        for j in lists:
            b, t = j.acc.flush(second)
            through = min(through, t)
            if j.retired and not b and t == second - 1:
                told.append(j)
            blocks += b
        with self._lock:
            for j in told:
                self._lists.remove(j)
                if self._open.get(j.rollout) is j:
                    del self._open[j.rollout]
        self._through = max(self._through, through)
        self._enqueue(blocks, now)
        self._expire(now)

    def _enqueue(self, blocks: List[Dict[str, Any]], now: int) -> None:
        before = self._batches[-1].through if self._batches else 0
        if self._batches and self._batches[-1].seq == 0 and not self._batches[-1].blocks and not blocks:
            self._batches[-1].through = self._through
            return
        while len(blocks) > _MAX_BLOCKS:
            self._batches.append(_Batch(now, before, blocks[:_MAX_BLOCKS]))
            blocks = blocks[_MAX_BLOCKS:]
        self._batches.append(_Batch(now, self._through, blocks))

    def _expire(self, now: int) -> None:
        """Drop what is too old. A message that was tried may have arrived: it keeps its number and goes empty."""
        kept = []
        for b in self._batches:
            if now - b.made < _KEEP_NS:
                kept.append(b)
                continue
            self._empty(b)
            if b.seq:
                kept.append(b)
            else:
                self._lost += b.lost
        self._batches = kept

    def _empty(self, b: _Batch) -> None:
        n = sum(block["n"] for block in b.blocks)
        b.blocks = []
        b.lost += n
        self.dropped += n

    def send(self, post: Callable[[Dict[str, Any]], Optional[int]]) -> bool:
        """Send what waits, in order, until all is accepted or one is not.

        post returns None when the message was accepted, 0 when it may be tried again, and else the status of a refusal that
        repeating cannot mend. The result says whether all was accepted.
        """
        while self._batches:
            b = self._batches[0]
            if b.seq == 0:
                self._seq += 1
                b.seq = self._seq
                b.lost, self._lost = b.lost + self._lost, 0
            body: Dict[str, Any] = {"seq": b.seq, "through": b.through}
            if b.lost:
                body["lost"] = b.lost
            if b.blocks:
                body["blocks"] = b.blocks
            refused = post(body)
            if refused == 0:
                return False
            if refused is not None and b.blocks:
                self._empty(b)  # an empty message keeps the numbers whole
                continue
            self.sent += 1
            del self._batches[0]
        return True
