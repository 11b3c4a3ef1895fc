"""Sluice for Python: a leased member of the fleet, standard library only.

    client = sluice.Client(url="https://sluice.example:8443", token=token, component="checkout")
    spend = client.flag("spend7d")

    with client.begin("account-7", {"region": "eu"}) as req:
        version = spend.string("v14")      # local; the baseline when the lease ends
        req.observe("score", 0.7)

sluice.openfeature has an OpenFeature provider; it needs the package openfeature-sdk.
"""

from .client import Client, Flag, Request, Status, current_request
from .errors import CacheError, ConfigError, ContentError, JoinError, RemoteError, SluiceError
from .flags import Context, Result, Variant
from .transport import VERSION as __version__

__all__ = [
    "CacheError", "Client", "ConfigError", "ContentError", "Context", "Flag", "JoinError", "RemoteError", "Request", "Result",
    "SluiceError", "Status", "Variant", "__version__", "current_request",
]
