"""GNOMON_DISABLED: nothing of Gnomon runs, listens, connects or writes, whatever else is set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gnomon
from gnomon.sdk.config import from_environment

#: A service that uses everything there is, and an audit hook that notes what leaves a trace.
SERVICE = """
import asyncio, json, os, sys, threading

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
noted = []

def watch(event, args):
    if event == "open":
        path, mode, flags = args
        if isinstance(mode, str) and set(mode) & set("wax+") or (flags or 0) & WRITING:
            noted.append(f"open {path}")
    elif event.startswith(("socket.", "_thread.start", "subprocess.", "os.mkdir", "os.fork")):
        noted.append(event)

sys.addaudithook(watch)
import gnomon

class Backend:
    inflight, ewma_ms, weight = 1, 2.0, 1.0

features = dict(kind=gnomon.load_balancer, items="backends",
                item_features=lambda b: (b.inflight, b.ewma_ms, b.weight))

@gnomon.hook("x.pick", **features)
def pick(backends):
    return backends[0]

@gnomon.hook("x.later", **features)
async def later(backends):
    return backends[1]

backends = [Backend(), Backend()]
settings = gnomon.configure(service="x", store="traces")
running = {thread.name for thread in threading.enumerate()}
for _ in range(100):
    assert pick(backends) is backends[0]
    with pick.decide(backends) as decision:
        decision.outcome(latency_ms=1.0, ok=True)
cache = gnomon.PolicyCache(3, name="x.cache")
for key in range(10):
    cache[key] = key
    assert cache.get(key) == key
assert len(cache) == 3
running |= {thread.name for thread in threading.enumerate()}
gnomon.flush()
gnomon.shutdown()
found = {"threads": sorted(running), "noted": noted[:], "disabled": settings.disabled,
         "grpc": "grpc" in sys.modules, "pyarrow": "pyarrow" in sys.modules}
assert asyncio.run(later(backends)) is backends[1]  # its loop has sockets of its own
sys.stdout.write(json.dumps(found))
"""


def served(folder: Path, **variables: str) -> Any:
    """Run the service in a process of its own; return what was noted."""
    environ = {n: v for n, v in os.environ.items() if not n.startswith(("GNOMON_", "OTEL_"))}
    environ |= variables | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SERVICE],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environ,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


EVERYTHING = {
    "GNOMON_CONTROL_PLANE": "127.0.0.1:1",
    "GNOMON_PUBLISHER_KEYS": "missing.pub",
    "GNOMON_STATE_DIR": "state",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
}


def test_disabled_leaves_no_trace(tmp_path: Path) -> None:
    found = served(tmp_path, GNOMON_DISABLED="1", **EVERYTHING)
    assert found == {
        "threads": ["MainThread"],
        "noted": [],
        "disabled": True,
        "grpc": False,
        "pyarrow": False,
    }
    assert not list(tmp_path.iterdir())


def test_enabled_the_same_service_is_seen_to_work(tmp_path: Path) -> None:
    found = served(tmp_path, GNOMON_DISABLED="0")
    assert "gnomon" in found["threads"] and found["pyarrow"] and not found["disabled"]
    assert any("traces" in event or event.startswith("os.mkdir") for event in found["noted"])
    assert any("parquet" in str(path) for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("text", ["1", "true", "Yes", "ON", " on "])
def test_on(text: str) -> None:
    assert from_environment({"GNOMON_DISABLED": text}) == {"disabled": True}


@pytest.mark.parametrize("text", ["0", "False", "no", "off"])
def test_off(text: str) -> None:
    assert from_environment({"GNOMON_DISABLED": text}) == {"disabled": False}


@pytest.mark.parametrize("text", ["", "  "])
def test_empty_is_not_set(text: str) -> None:
    assert from_environment({"GNOMON_DISABLED": text}) == {}


def test_anything_else_is_refused_when_configured_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GNOMON_DISABLED", "maybe")
    subprocess.run([sys.executable, "-c", "import gnomon"], check=True)
    with pytest.raises(gnomon.ConfigurationError, match="GNOMON_DISABLED is 'maybe': not one of 1"):
        gnomon.configure()
