"""Processes of the demo end with it, whenever it is told to."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gnomon.demo.processes import Processes


def test_who_is_told_to_end_while_a_process_begins_forgets_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[subprocess.Popen[bytes]] = []
    honest = subprocess.Popen

    def told_meanwhile(*args: Any, **more: Any) -> Any:
        begun.append(honest(*args, **more))
        os.kill(os.getpid(), signal.SIGTERM)  # before anybody has noted what was begun
        return begun[-1]

    def end(*_: object) -> None:
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, end)
    monkeypatch.setattr(subprocess, "Popen", told_meanwhile)
    try:
        with pytest.raises(SystemExit), Processes(tmp_path) as processes:
            processes.start("web", "http.server", "0", "--bind", "127.0.0.1")
        assert begun[0].poll() is not None
        assert signal.getsignal(signal.SIGTERM) is end
    finally:
        signal.signal(signal.SIGTERM, before)
        begun[0].kill()
        begun[0].wait()
