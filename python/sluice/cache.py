"""The file that holds the last configuration and the floors, for a cold start. It never holds a lease."""

import contextlib
import hashlib
import json
import os
import tempfile
from typing import Iterator, Optional

from . import canonical
from .errors import CacheError, ContentError
from .machine import CACHE_FORMAT, Cache
from .snapshot import MAX_REV, Snapshot, revs_of

try:
    import fcntl
except ImportError:  # no file locks on this platform: workers of one name should use folders of their own
    fcntl = None

_MAX_CACHE = 512 << 20


class DiskCache:
    """One file per server, component and instance. Workers of one name share it: what one knows is never forgotten by another."""

    def __init__(self, folder: str, identity: str):
        """Prepare the folder and try to write in it; raise CacheError."""
        self._folder = folder
        name = "sluice-py-" + hashlib.sha256(identity.encode()).hexdigest()[:12]
        self.path = os.path.join(folder, name + ".json")
        self._lock = os.path.join(folder, name + ".lock")
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as e:
            raise CacheError(f"cache folder {folder}: {e}") from e

    def read(self) -> Optional[Cache]:
        """Return what was written last, None if there is nothing; raise CacheError for what cannot be understood."""
        try:
            with open(self.path, "rb") as f:
                data = f.read(_MAX_CACHE + 1)
        except FileNotFoundError:
            return None
        except OSError as e:
            raise CacheError(f"read the cache {self.path}: {e}") from e
        try:
            if len(data) > _MAX_CACHE:
                raise ContentError("cache.size", f"more than {_MAX_CACHE} bytes")
            return _decode(data)
        except ContentError as e:
            raise CacheError(f"read the cache {self.path}: {e}") from e

    def write(self, new: Cache) -> None:
        """Make the content durable: whole or not at all, also if the power fails. Floors and the head seen never fall."""
        try:
            with self._locked():
                self._replace(self._merged(new))
        except OSError as e:
            raise CacheError(f"write the cache {self.path}: {e}") from e

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if fcntl is None:
            yield
            return
        with open(self._lock, "a", encoding="ascii") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            yield

    def _merged(self, new: Cache) -> Cache:
        try:
            old = self.read()
        except CacheError:
            old = None  # it is replaced by one that can be understood
        if old is None:
            return new
        floors = {s: max(old.floors.get(s, 0), new.floors.get(s, 0)) for s in {*old.floors, *new.floors}}
        snapshot = new.snapshot
        if old.snapshot is not None and (snapshot is None or snapshot.head.rev < old.snapshot.head.rev):
            snapshot = old.snapshot
        return Cache(snapshot, floors, max(old.seen, new.seen), new.unwind)

    def _replace(self, cache: Cache) -> None:
        body = {"format": CACHE_FORMAT, "floors": cache.floors, "seen": cache.seen, "unwind": cache.unwind}
        if cache.snapshot is not None:
            body["snapshot"] = cache.snapshot.wire()
        fd, path = tempfile.mkstemp(dir=self._folder, prefix=".sluice-")
        try:
            with os.fdopen(fd, "wb") as f:
                f.write(json.dumps(body).encode())
                f.flush()
                os.fsync(f.fileno())
            os.replace(path, self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _decode(data: bytes) -> Cache:
    o = canonical.loads(data)
    if not isinstance(o, dict) or o.get("format") != CACHE_FORMAT:
        raise ContentError("cache.format", f"not of format {CACHE_FORMAT}")
    seen = o.get("seen", 0)
    if not isinstance(seen, int) or isinstance(seen, bool) or not 0 <= seen < MAX_REV:
        raise ContentError("cache.seen", "the head seen is out of range")
    snapshot = None
    if o.get("snapshot") is not None:
        snapshot = Snapshot.of(o["snapshot"])
        snapshot.verify()
    return Cache(snapshot, revs_of(o.get("floors"), MAX_REV), seen, revs_of(o.get("unwind"), MAX_REV))
