"""Semantic versions (semver.org, 2.0.0)."""

import re
from typing import List, Optional, Tuple

_IDENT = r"[0-9A-Za-z-]+"
_SEMVER = re.compile(
    r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(?:-((?:%s)(?:\.(?:%s))*))?(?:\+(?:%s)(?:\.(?:%s))*)?"
    % (_IDENT, _IDENT, _IDENT, _IDENT)
)
_MAX_SEMVER = 256


def semver(text: str) -> Optional[Tuple]:
    """Return a sort key of a semantic version (semver.org, 2.0.0), None when the text is not one."""
    if len(text) > _MAX_SEMVER:
        return None
    m = _SEMVER.fullmatch(text)
    if m is None:
        return None
    pre: List[Tuple] = []
    for ident in m.group(4).split(".") if m.group(4) is not None else ():
        if ident.isdigit():
            if len(ident) > 1 and ident[0] == "0":
                return None
            pre.append((0, int(ident), ""))
        else:
            pre.append((1, 0, ident))
    return (int(m.group(1)), int(m.group(2)), int(m.group(3)), not pre, pre)
