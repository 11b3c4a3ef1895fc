"""Bucketing: which units a rollout exposes.

The same fixed function as in Go (package flag): every implementation passes api/testdata/bucketing.json, so a unit has
the same arm in every component, whatever its language, and keeps it over restarts.
"""

FULL = 100_000
"""Exposure of everybody; exposures are parts of 100,000."""

_UNIT_SALT = "sluice/unit-bucket/1"
_MASK = (1 << 64) - 1
_P1 = 0x9E3779B185EBCA87
_P2 = 0xC2B2AE3D27D4EB4F
_P3 = 0x165667B19E3779F9
_P4 = 0x85EBCA77C2B2AE63
_P5 = 0x27D4EB2F165667C5


def _rotl(x: int, bits: int) -> int:
    return ((x << bits) | (x >> (64 - bits))) & _MASK


def _round(acc: int, lane: int) -> int:
    return _rotl((acc + lane * _P2) & _MASK, 31) * _P1 & _MASK


def xxhash64(data: bytes) -> int:
    """Return XXH64 of data with seed 0."""
    n, pos = len(data), 0
    if n >= 32:
        acc = [(_P1 + _P2) & _MASK, _P2, 0, -_P1 & _MASK]
        while n - pos >= 32:
            for i in range(4):
                acc[i] = _round(acc[i], int.from_bytes(data[pos + 8 * i : pos + 8 * i + 8], "little"))
            pos += 32
        h = sum(_rotl(a, r) for a, r in zip(acc, (1, 7, 12, 18))) & _MASK
        for a in acc:
            h = ((h ^ _round(0, a)) * _P1 + _P4) & _MASK
    else:
        h = _P5
    h = (h + n) & _MASK
    while n - pos >= 8:
        h ^= _round(0, int.from_bytes(data[pos : pos + 8], "little"))
        h = (_rotl(h, 27) * _P1 + _P4) & _MASK
        pos += 8
    if n - pos >= 4:
        h ^= int.from_bytes(data[pos : pos + 4], "little") * _P1 & _MASK
        h = (_rotl(h, 23) * _P2 + _P3) & _MASK
        pos += 4
    for byte in data[pos:]:
        h = _rotl(h ^ byte * _P5 & _MASK, 11) * _P1 & _MASK
    h = (h ^ h >> 33) * _P2 & _MASK
    h = (h ^ h >> 29) * _P3 & _MASK
    return h ^ h >> 32


def _mix64(z: int) -> int:
    """The finaliser of splitmix64, without the addition of the golden gamma."""
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & _MASK
    return z ^ z >> 31


def bucket_of(unit_hash: int, salt_hash: int) -> int:
    """Return the bucket, given xxhash64 of the unit and of the salt."""
    return _mix64(unit_hash ^ salt_hash) >> 32


def bucket(unit: str, salt: str) -> int:
    """Return the bucket of a unit, 0 to 2**32-1, for one salt."""
    return bucket_of(xxhash64(unit.encode()), xxhash64(salt.encode()))


def exposed(b: int, exposure: int) -> bool:
    """Say whether a unit with bucket b is exposed at an exposure of 0 to FULL; raising it never takes a unit back."""
    return (b * FULL) >> 32 < exposure


_UNIT_SALT_HASH = xxhash64(_UNIT_SALT.encode())


def unit_bucket_of(unit_hash: int) -> int:
    """Return the unit bucket, given xxhash64 of the unit."""
    return bucket_of(unit_hash, _UNIT_SALT_HASH) >> 26


def unit_bucket(unit: str) -> int:
    """Return the unit bucket, 0 to 63, under which evidence of the unit is counted."""
    return unit_bucket_of(xxhash64(unit.encode()))
