#!/usr/bin/env bash
# Measures what docs/benchmarks.md says of a built binary: its size, the time to the first HTTP 200 on a new and on an
# existing data directory, and the resident memory of an idle server. Usage: test/measure.sh [BINARY] [RUNS]
set -euo pipefail
bin=${1:-bin/sluice}
runs=${2:-10}
[ -x "$bin" ] || { echo "no binary $bin: make build" >&2; exit 1; }
command -v python3 >/dev/null || { echo "python3 is missing (it times the first answer): apt-get install python3" >&2; exit 1; }
exec python3 - "$bin" "$runs" <<'PY'
import http.client, os, pathlib, shutil, signal, socket, statistics, subprocess, sys, tempfile, time

binary, runs = sys.argv[1], int(sys.argv[2])

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]

def start(data):
    """Starts a server on data; returns it, its port and the milliseconds to its first 200."""
    port = free_port()
    begin = time.perf_counter()
    p = subprocess.Popen([binary, "serve", "--listen", f"127.0.0.1:{port}", "--data", data], stderr=subprocess.DEVNULL)
    while True:
        try:
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            c.request("GET", "/healthz")
            if c.getresponse().status == 200:
                return p, port, 1000 * (time.perf_counter() - begin)
        except OSError:
            if p.poll() is not None:
                sys.exit(f"the server ended with {p.returncode}")
            time.sleep(0.001)

def rss_mb(p):
    for line in pathlib.Path(f"/proc/{p.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0

def stop(p):
    p.send_signal(signal.SIGTERM)
    begin = time.perf_counter()
    p.wait(timeout=20)
    return 1000 * (time.perf_counter() - begin)

def row(name, values, unit):
    values = sorted(values)
    print(f"{name:<32} median {statistics.median(values):8.1f} {unit}   min {values[0]:8.1f}   max {values[-1]:8.1f}   ({len(values)} runs)")

fresh, again, idle, ends = [], [], [], []
for _ in range(runs):
    data = tempfile.mkdtemp(prefix="sluice-measure-")
    p, _, ms = start(data)
    fresh.append(ms)
    ends.append(stop(p))
    p, _, ms = start(data)
    again.append(ms)
    time.sleep(1)
    idle.append(rss_mb(p))
    ends.append(stop(p))
    shutil.rmtree(data)
print(f"binary {binary}: {os.path.getsize(binary) / 1e6:.1f} MB")
row("first 200, new data directory", fresh, "ms")
row("first 200, existing directory", again, "ms")
row("RSS idle after 1 s", idle, "MB")
row("time to end on SIGTERM", ends, "ms")
PY
