"""Processes of a small deployment: recorder, control plane, service, and commands beside them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from gnomon import api
from gnomon.sdk import keys

OUTSIDE = Path(__file__).parent / "outside"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MODULES = "lane_plugin.kind,lane_plugin.simulator"
#: States that a rollout is left in.
DECIDED = ("STABLE", "ABORTED", "HOLD")
#: Longest that anything is waited for, in seconds: of a machine with a great deal else to do.
PATIENCE_S = 600.0


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment with nothing of Gnomon's but the modules from outside."""
    ours = ("GNOMON_", "OTEL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    found = {"PYTHONPATH": f"{OUTSIDE}{os.pathsep}{EXAMPLES}", "GNOMON_MODULES": MODULES}
    return kept | found | more


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for a condition and return what it gave; fails when patience ends."""
    end = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} took longer than {PATIENCE_S:g} s"
        time.sleep(0.1)
    return found


class Stage:
    """A folder, and processes that work in it; ends those that still run.

    Attributes:
        folder: current one of every process.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack

    def deployed(self) -> tuple[dict[str, str], Path, str]:
        """Start a recorder and a control plane.

        Returns:
            what a service has in its environment, the publisher's key without its suffix, and the
            control plane's address.
        """
        recorder = self.server("record", "record", "--store", "traces", "--spool", "spool")
        folder = self.folder / ".gnomon" / "keys"
        for name in ("publisher", "rollout"):
            keys.save(keys.generate(), folder, name, name)
        publisher = folder / "publisher"
        serving = ("--rollout-key", folder / "rollout.pem", "--publisher-key", f"{publisher}.pub")
        control_plane = self.server("serve", "serve", *serving, "--state", "state")()
        found = {
            "GNOMON_CONTROL_PLANE": control_plane,
            "GNOMON_PUBLISHER_KEYS": f"{publisher}.pub",
            "GNOMON_STATE_DIR": str(self.folder / "service"),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{recorder()}",
        }
        return found, publisher, control_plane

    def run(self, *words: object, code: int = 0) -> Any:
        """Run one command with ``--json``; return what it printed."""
        command = [sys.executable, "-m", "gnomon", *map(str, words), "--json"]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == code, f"{words} gave {done.returncode}: {done.stderr[-4000:]}"
        return json.loads(done.stdout)

    def frozen(self, store: Path, event: str = "") -> Path:
        """Return a copy of a trace store, which grows while a search looks at it.

        Args:
            store: of one hook.
            event: of the workload, which most decisions have; tables are not stored in one moment.
        """
        copy = self.folder / "frozen"
        hidden = shutil.ignore_patterns(".*")  # what is still being written

        def whole() -> bool:
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(store, copy, ignore=hidden)
            if not event:
                return True
            (found,) = api.traces(copy).hooks
            return found.workload[event] >= 0.98 * found.decisions

        until(whole, "a copy with all tables")
        return copy

    def followed(self, control_plane: str) -> list[dict[str, Any]]:
        """Return the newest rollout's reports, from now until it is decided; the command's is the last."""
        seen: list[dict[str, Any]] = []

        def decided() -> bool:
            seen.append(api.rollout(control_plane=control_plane).as_json())
            return seen[-1]["state"] in DECIDED

        until(decided, "the rollout")
        return [*seen, self.run("rollout", "status", "--control-plane", control_plane)]

    def server(self, name: str, *words: object) -> Callable[[], str]:
        """Start a server's command; return what waits for its address."""
        ready = self.folder / f"{name}.ready"
        command = ("-m", "gnomon", *words, "--listen", "127.0.0.1:0", "--ready-file", ready)
        process = self.start(name, *command)

        def address() -> str:
            until(lambda: ready.exists() or process.poll() is not None, f"{name} to listen")
            assert process.poll() is None, (self.folder / f"{name}.log").read_text()
            return ready.read_text().strip()

        return address

    def start(self, name: str, *words: object, **more: str) -> subprocess.Popen[bytes]:
        """Start a Python process; what it prints goes to ``NAME.log``."""
        log = self._stack.enter_context((self.folder / f"{name}.log").open("wb"))
        process = subprocess.Popen(
            [sys.executable, *map(str, words)],
            cwd=self.folder,
            env=environment(**more),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        self._stack.callback(ended, process)
        return process


def ended(process: subprocess.Popen[bytes]) -> int:
    """Ask a process to end, then make it; return its exit status."""
    process.terminate()
    try:
        return process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Work in a folder with processes that end with the block, the last one first."""
    with ExitStack() as stack:
        yield Stage(folder, stack)
