"""What the demo's service sends: four backends, two routers, open-loop load, no control plane.

The requests are kept under ``build/bench/capture/``, one file each, and not captured again while they
are there.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from results import OUT

from gnomon.demo.plan import DemoPlan
from gnomon.demo.processes import Processes
from gnomon.demo.stack import Stack
from recording.receivers import receiver

CAPTURE = OUT / "capture"
SECONDS = 40.0


class _Stack(Stack):
    """The demo without recorder and control plane of its own."""

    def __init__(self, folder: Path, processes: Processes, address: str) -> None:
        super().__init__(replace(DemoPlan(), seed=1), folder, processes)
        self._address = address

    def _start_recorder(self) -> str:
        return self._address

    def _start_control_plane(self) -> str:
        return ""


def requests() -> list[bytes]:
    """Return the requests of the capture, in order of arrival."""
    if not any(CAPTURE.glob("*.otlp")):
        _capture()
    return [path.read_bytes() for path in sorted(CAPTURE.glob("*.otlp"))]


def _capture() -> None:
    CAPTURE.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        receiver("keep", CAPTURE) as other,
        Processes(Path(folder) / "logs") as processes,
    ):
        stack = _Stack(Path(folder), processes, other.address)
        stack.start()
        stack.start_load()
        stack.wait(SECONDS, lambda share: None)
        stack.stop_load()
        stack.pause(2.0)
