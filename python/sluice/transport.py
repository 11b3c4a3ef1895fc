"""HTTP to the server: one kept-alive connection per kind of traffic, so that none waits for another."""

import http.client
import json
import socket
import ssl
from typing import Any, Callable, Dict, Iterator, Optional, Tuple
from urllib.parse import urlsplit

from . import canonical
from .errors import ConfigError, ContentError

VERSION = "0.1.0"
MAX_ANSWER = 256 << 20
MAX_EVENT = 64 << 20
_MAX_PROBLEM = 16 << 10


class HTTPFailure(Exception):
    """An exchange that did not succeed. status 0: there was no answer. retry_after is seconds."""

    def __init__(self, status: int, code: str = "", detail: str = "", retry_after: int = 0):
        super().__init__(f"{status} {http.client.responses.get(status, '')}{f' ({code})' if code else ''}: {detail}".strip(": "))
        self.status, self.code, self.retry_after = status, code, retry_after


class Address:
    """Where the server is and what is sent with every request. The token is never shown."""

    def __init__(self, url: str, token: str, tls: Optional[ssl.SSLContext] = None):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"url {url!r} is not an http or https address")
        self.shown = f"{parts.scheme}://{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}{parts.path}"
        self._host, self._port, self._https = parts.hostname, parts.port, parts.scheme == "https"
        self.prefix = parts.path.rstrip("/")
        self._tls = (tls or ssl.create_default_context()) if self._https else None
        self.headers = {"User-Agent": "sluice-python/" + VERSION}
        if token:
            self.headers["Authorization"] = "Bearer " + token

    def connect(self, timeout: float) -> http.client.HTTPConnection:
        """Return a connection that is opened by its first request."""
        if self._https:
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)


def _problem(resp: http.client.HTTPResponse) -> HTTPFailure:
    """Read what a refusal says of itself (RFC 9457)."""
    code = detail = ""
    try:
        body = json.loads(resp.read(_MAX_PROBLEM))
        code, detail = str(body.get("code", "")), str(body.get("detail") or body.get("title") or body.get("errorDetails") or "")
    except (ValueError, AttributeError, OSError, http.client.HTTPException):
        pass  # what can be read is enough
    wait = resp.getheader("Retry-After") or ""
    return HTTPFailure(resp.status, code, detail, min(int(wait), 3600) if wait.isdecimal() else 0)


class Channel:
    """One kept-alive connection. It belongs to one thread."""

    def __init__(self, address: Address):
        self._address = address
        self._conn: Optional[http.client.HTTPConnection] = None

    def call(self, method: str, path: str, body: Any, timeout: float, headers: Optional[Dict[str, str]] = None) -> Any:
        """Do one exchange and return the decoded answer, None when there is none. Redirects are refused."""
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        reused = self._conn is not None
        try:
            return self._exchange(method, path, data, timeout, headers or {})
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as e:
            self.close()
            if not reused:
                raise HTTPFailure(0, detail=str(e)) from e
        except (OSError, http.client.HTTPException) as e:
            self.close()
            raise HTTPFailure(0, detail=str(e)) from e
        try:  # the server closed the idle connection; every request of ours may be repeated
            return self._exchange(method, path, data, timeout, headers or {})
        except (OSError, http.client.HTTPException) as e:
            self.close()
            raise HTTPFailure(0, detail=str(e)) from e

    def _exchange(self, method: str, path: str, data: Optional[bytes], timeout: float, headers: Dict[str, str]) -> Any:
        if self._conn is None:
            self._conn = self._address.connect(timeout)
        elif self._conn.sock is not None:
            self._conn.sock.settimeout(timeout)
        headers = {**self._address.headers, **headers}
        if data is not None:
            headers["Content-Type"] = "application/json"
        self._conn.request(method, self._address.prefix + path, body=data, headers=headers)
        resp = self._conn.getresponse()
        if resp.status >= 300:
            failure = _problem(resp)
            self.close()
            raise failure
        answer = resp.read(MAX_ANSWER + 1)
        if len(answer) > MAX_ANSWER:
            self.close()
            raise HTTPFailure(0, detail=f"the answer is larger than {MAX_ANSWER} bytes")
        if not answer:
            return None
        try:
            return canonical.loads(answer)
        except ContentError as e:
            raise HTTPFailure(0, detail=f"decode the answer: {e}") from e

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._conn is not None:
            self._conn.close()
            self._conn = None


class Stream:
    """A stream of server-sent events. It belongs to one thread, except for interrupt."""

    def __init__(self, address: Address, path: str, quiet: float):
        """Open the stream; raise HTTPFailure. quiet is the longest silence in seconds."""
        self._conn = address.connect(quiet)
        try:
            self._conn.request("GET", address.prefix + path, headers={**address.headers, "Accept": "text/event-stream"})
            self._sock = self._conn.sock
            self._resp = self._conn.getresponse()
        except (OSError, http.client.HTTPException) as e:
            self._conn.close()
            raise HTTPFailure(0, detail=str(e)) from e
        if self._resp.status != 200:
            failure = _problem(self._resp)
            self._conn.close()
            raise failure

    def events(self, quiet: Callable[[], float]) -> Iterator[Tuple[str, bytes]]:
        """Yield (kind, data) until the stream ends, which raises HTTPFailure, as does silence."""
        kind, data = "", []
        size = 0
        while True:
            try:
                self._sock.settimeout(quiet())
                line = self._resp.readline(MAX_EVENT + 64)
            except (OSError, ValueError, http.client.HTTPException) as e:
                raise HTTPFailure(0, detail=f"the watch stream ended: {e}") from e
            if not line.endswith(b"\n"):
                raise HTTPFailure(0, detail="the watch stream ended, or a line of it has no end")
            line = line.rstrip(b"\r\n")
            if not line:
                if data:
                    yield kind, b"\n".join(data)
                kind, data, size = "", [], 0
                continue
            name, _, value = line.partition(b":")
            value = value[1:] if value.startswith(b" ") else value
            if name == b"event":
                kind = value.decode("utf-8", "replace")
            elif name == b"data":
                size += len(value)
                if size > MAX_EVENT:
                    raise HTTPFailure(0, detail=f"watch event of more than {MAX_EVENT} bytes")
                data.append(value)

    def interrupt(self) -> None:
        """End the stream from another thread; its reader is woken."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is gone already

    def close(self) -> None:
        """Free the stream; called by its reader."""
        self._resp.close()
        self._conn.close()
