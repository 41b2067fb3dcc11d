"""A small recorded system in a trace store, and a folder to run commands in."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gnomon.cli import app
from gnomon.policies.load_balancer import load_balancer
from gnomon.recorder.sink import StoreSink
from gnomon.recorder.store import TraceStore
from gnomon.sdk.keys import Role, generate, save
from gnomon.sdk.records import Decision, Outcome, Record
from gnomon.shadow.traces.trace import DecisionTrace

from ..isolation.systems import recorded

HOOK = "router.pick"


def records(trace: DecisionTrace, process: int) -> Iterator[Record]:
    """Yield one process's part of a trace, as its hook would have recorded it."""
    for seq, index in enumerate((trace.instance == process).nonzero()[0].tolist()):
        at = trace.start_ns + round(trace.time[index] * 1e9)
        latency, items = float(trace.outcome[index]), trace.features[index]
        yield Decision(
            seq, at, 900, "", "incumbent", "static", "", "incumbent", 0, -1,
            int(trace.action[index]), len(items), tuple(items.ravel().tolist()), 1.0,
            "sampled", 0, 0,
        )  # fmt: skip
        values = (("latency_ms", latency),)
        done = at + round(latency * 1e6)
        yield Outcome(seq, done, bool(trace.ok[index]), "reported", values, "incumbent", -1, at)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace store of 40 s of traffic over four backends by two processes."""
    folder = tmp_path_factory.mktemp("recorded") / "traces"
    trace = recorded(40.0, means_ms=(20.0, 30.0, 38.0, 44.0), seed=1)  # the best one starves none
    sink = StoreSink(TraceStore(folder), "router")
    for process, name in enumerate(trace.instances):
        hook = SimpleNamespace(process_id=name, name=HOOK, kind=load_balancer)
        sink.write(hook, list(records(trace, process)))
    sink.close()
    return folder


class Folder:
    """Runs the command line in a folder of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, *words: object) -> Result:
        """Run one command."""
        return CliRunner().invoke(app, [str(word) for word in words])

    def json(self, *words: object, code: int = 0) -> Any:
        """Run one command with ``--json``; return what it printed."""
        done = self.run(*words, "--json")
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)

    def refused(self, *words: object, code: int = 2) -> str:
        """Run one command that must be refused in one line, and return the line."""
        done = self.run(*words)
        assert done.exit_code == code, done.output
        assert done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith("gnomon: "), done.stderr
        assert "Traceback" not in done.output
        return done.stderr


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """An empty folder, made the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GNOMON_CONTROL_PLANE", raising=False)
    return Folder(tmp_path)


@pytest.fixture
def tree() -> Callable[[Path], set[str]]:
    """Return a lister of all files below a folder."""
    return lambda root: {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}


@contextmanager
def serving(*words: object, ready: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a server's command until the block ends; yields the process and the bound address."""
    command = [sys.executable, "-m", "gnomon", *map(str, words), "--ready-file", str(ready)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        end = time.monotonic() + 120
        while not ready.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        assert ready.exists(), process.communicate(timeout=5)
        yield process, ready.read_text().strip()
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of keys: ``publisher``, ``other`` and ``rollout``."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("publisher", "other", "rollout"):
        role: Role = "rollout" if name == "rollout" else "publisher"
        save(generate(), folder, name, role)
    return folder


@pytest.fixture(scope="session")
def control_plane(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a control plane that runs."""
    state = tmp_path_factory.mktemp("control-plane")
    words = ["serve", "--state", state, "--listen", "127.0.0.1:0"]
    words += ["--rollout-key", keys / "rollout.pem", "--publisher-key", keys / "publisher.pub"]
    with serving(*words, ready=state / "ready") as (_, address):
        yield address
