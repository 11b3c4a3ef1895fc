"""A small server that speaks the member's half of the lease protocol over loopback."""

import base64
import http.server
import json
import threading
import time
from urllib.parse import parse_qs, urlsplit

import golden  # noqa: F401  (the path)

from sluice import canonical

PIN_KEY = b"0123456789abcdef"
FLAG = {
    "key": "spend7d", "type": "string", "variants": {"v14": "v14", "v15": "v15"}, "default": "v14",
    "rollout": {
        "id": "roll", "stable": "v14", "candidate": "v15", "salt": "s",
        "cohorts": [{"cohort": "general", "exposure": 100_000}],
    },
}
JUDGE = {
    "rollout": "roll", "segments": ["region"],
    "metrics": {"score": {"kind": "value", "badAbove": 0.5}, "assignment": {"kind": "proportion"}},
}
PLAIN = {"key": "limit", "type": "integer", "variants": {"low": 5, "high": 9}, "default": "low"}


class Fake:
    """Holds one environment with scope base and, leased, scope roll."""

    def __init__(self, ttl_ms=60_000):
        self.ttl_ms = ttl_ms
        self.lock = threading.Condition()
        self.rev, self.floor, self.granting, self.up = 1, 0, True, True
        self.members, self.acks, self.evidence, self.byes, self.hellos = {}, {}, [], [], []
        self.refuse = None  # (status, code) for hello
        self.snapshot = {}
        self.publish(FLAG)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.get(self)

            def do_POST(self):
                outer.post(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        """Stop serving; streams end."""
        with self.lock:
            self.up = False
            self.lock.notify_all()
        self.server.shutdown()
        self.server.server_close()

    def publish(self, flag, leased=True):
        """Put another content of the scope in force, under the next revision."""
        with self.lock:
            self.rev += 1
            objects = {"roll/flag/spend7d": flag, "roll/judge/roll": JUDGE, "base/flag/limit": PLAIN}
            scopes = {}
            for name in ("base", "roll"):
                own = {p.partition("/")[2]: o for p, o in objects.items() if p.startswith(name + "/")}
                scopes[name] = {"rev": self.rev if name == "roll" else 1, "digest": canonical.scope_digest(own)}
            if leased:
                scopes["roll"].update(leased=True, ttlMs=self.ttl_ms)
            digest = canonical.env_digest({n: m["digest"] for n, m in scopes.items()})
            self.snapshot = {"env": "test", "head": {"rev": self.rev, "digest": digest}, "scopes": scopes, "objects": objects}
            self.lock.notify_all()

    def revoke(self):
        """Roll back: stop granting, publish the stable side only, raise the floor."""
        with self.lock:
            self.granting = False
            self.floor = self.rev + 1
        self.publish({**FLAG, "rollout": {**FLAG["rollout"], "cohorts": []}})

    def wait(self, what, condition, seconds=20):
        """Wait until a condition holds; fail with its name otherwise."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"not reached in {seconds} s: {what}")
            time.sleep(0.01)

    def level(self):
        """Return what every event carries."""
        e = {"epoch": 1, "head": self.snapshot["head"], "committed": {"roll": self.rev}}
        if self.floor:
            e["floors"] = {"roll": self.floor}
        return e

    def get(self, h):
        if urlsplit(h.path).path == "/v1/snapshot":
            return self.answer(h, 200, self.snapshot)
        boot = parse_qs(urlsplit(h.path).query)["boot"][0]
        h.send_response(200)
        h.send_header("Content-Type", "text/event-stream")
        h.end_headers()
        h.close_connection = True
        told = None
        while self.up and boot in self.members:
            with self.lock:
                now = json.dumps(self.level())
                if now == told:
                    self.lock.wait(0.5)
                    if self.up and json.dumps(self.level()) == told:
                        continue
                    now = json.dumps(self.level())
            told = now
            try:
                h.wfile.write(f"event: state\nid: 1.1\ndata: {now}\n\n".encode())
                h.wfile.flush()
            except OSError:
                return None

    def post(self, h):
        body = json.loads(h.rfile.read(int(h.headers["Content-Length"])))
        with self.lock:
            status, answer = {
                "/v1/hello": self.hello, "/v1/renew": self.renew, "/v1/ack": self.ack, "/v1/evidence": self.take
            }[h.path](body)
            self.lock.notify_all()
        self.answer(h, status, answer)

    def answer(self, h, status, body):
        data = json.dumps(body).encode() if body is not None else b""
        h.send_response(status)
        h.send_header("Content-Length", str(len(data)))
        h.end_headers()
        h.wfile.write(data)

    def hello(self, body):
        self.hellos.append(body)
        if self.refuse:
            return self.refuse[0], {"code": self.refuse[1], "detail": "refused"}
        self.members[body["boot"]] = body
        return 200, {
            "epoch": 1, "snapshot": self.snapshot, "serverNow": time.time_ns() // 1000,
            "pinKeys": [{"id": "1", "key": base64.b64encode(PIN_KEY).decode()}],
        }

    def renew(self, body):
        if body["boot"] not in self.members:
            return 410, {"code": "boot_unknown"}
        self.ack(body)
        g = {**self.level(), "boot": body["boot"], "n": body["n"], "serverNow": time.time_ns() // 1000}
        if self.granting:
            g["leases"] = {"roll": self.ttl_ms}
        return 200, g

    def ack(self, body):
        for a in body.get("acks") or []:
            key = (body["boot"], a["scope"], a["stage"])
            self.acks[key] = max(self.acks.get(key, 0), a["rev"])
        if body.get("bye"):
            self.byes.append(body["boot"])
        return 204, None

    def take(self, body):
        self.evidence.append(body)
        return 200, {"accepted": body["seq"], "serverNow": time.time_ns() // 1000}
