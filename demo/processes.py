"""Starting, watching and stopping the processes of the demo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from ..sdk.errors import UnavailableError


class Processes:
    """Child processes that end with this object, whatever happens.

    Args:
        folder: for their logs and ready files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, *command: str, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start ``python -m command…``; its output goes to ``NAME.log``."""
        with (self.folder / f"{name}.log").open("wb") as log, _signals_later():
            process = self._running[name] = subprocess.Popen(
                [sys.executable, "-m", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )
        return process

    def ready(self, name: str, file: Path, timeout_s: float = 120.0) -> str:
        """Wait for a process to write its ready file and return the text.

        Raises:
            UnavailableError: it died or took too long; carries the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if file.exists() and (text := file.read_text().strip()):
                return text
            if self._running[name].poll() is not None:
                break
            time.sleep(0.02)
        tail = (self.folder / f"{name}.log").read_text(errors="replace").strip()[-400:]
        raise UnavailableError(f"process {name!r} did not start; its log ends: {tail}")

    def stop(self, name: str, timeout_s: float = 60.0) -> None:
        """Ask a process to end, and make it end."""
        process = self._running.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def check(self) -> None:
        """Raise UnavailableError when a process has died."""
        for name, process in self._running.items():
            if process.poll() is not None:
                tail = (self.folder / f"{name}.log").read_text(errors="replace").strip()[-400:]
                raise UnavailableError(f"process {name!r} died ({process.returncode}): {tail}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in reversed(list(self._running)):
            self.stop(name, timeout_s=5.0)


@contextmanager
def _signals_later() -> Iterator[None]:
    """Hold back what ends this process until a block is over, so that nothing is begun and then forgotten."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {
        each: signal.signal(each, lambda number, _: arrived.append(number)) for each in numbers
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for held_back in arrived:
        signal.raise_signal(held_back)
