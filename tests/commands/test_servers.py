"""Commands that run until they are told to end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Folder, serving


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--store file", "cannot use spool"),
        ("--store store --spool file", "cannot use spool file"),
        ("--store s4://nowhere/x", "s4://nowhere/x"),
        ("--store store --listen nowhere", "'nowhere'"),
        ("--store store --listen 127.0.0.1:70000", "70000"),
        ("--store store --tls-cert file", "--tls-key"),
        ("--store store --listen 0.0.0.0:0", "plain text on 0.0.0.0:0 is refused"),
        ("--store store --tls-cert missing --tls-key missing", "cannot read missing"),
        ("--store store --tls-cert file --tls-key file", "certificate and key do not fit"),
    ],
)
def test_a_recorder_that_cannot_start(folder: Folder, words: str, says: str) -> None:
    Path("file").write_text("hello")
    listen = () if "--listen" in words else ("--listen", "127.0.0.1:0")
    assert says in folder.refused("record", *words.split(), *listen)
    assert Path("file").read_text() == "hello"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_servers_end_in_order_on_a_signal(
    folder: Folder, keys: Path, number: signal.Signals
) -> None:
    serve = ["serve", "--state", "cp", "--rollout-key", keys / "rollout.pem"]
    serve += ["--publisher-key", keys / "publisher.pub"]
    for words, ready in ((serve, "one"), (["record", "--store", "store"], "two")):
        file = folder.path / ready
        with serving(*words, "--listen", "127.0.0.1:0", ready=file) as (process, address):
            assert int(address.rpartition(":")[2]) > 0
            process.send_signal(number)
            _, said = process.communicate(timeout=20)
            assert process.returncode == 0
            assert "Traceback" not in said


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf"])
def test_a_demo_needs_a_rate(folder: Folder, tree: Callable[[Path], set[str]], rate: str) -> None:
    assert f"--rate {rate}" in folder.refused("demo", "--out", "run", "--rate", rate)
    assert tree(folder.path) == set()


def test_a_demo_leaves_files_of_others_alone(folder: Folder) -> None:
    Path("mine").mkdir()
    Path("mine/notes").write_text("keep")
    assert "choose another --out" in folder.refused("demo", "--quick", "--out", "mine")
    assert Path("mine/notes").read_text() == "keep"


def test_a_demo_that_is_told_to_end_takes_its_processes_with_it(folder: Folder) -> None:
    command = [sys.executable, "-m", "gnomon", "demo", "--quick", "--out", "run"]
    demo = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: _children(demo.pid) >= 7 or demo.poll() is not None)
        assert demo.poll() is None
        begun = _processes(demo.pid)
        demo.terminate()
        demo.communicate(timeout=30)
    finally:
        demo.kill()
        demo.wait()
    assert demo.returncode == 128 + signal.SIGTERM
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in begun))


def wait_for(condition: Callable[[], bool], seconds: float = 90.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def _processes(parent: int) -> list[int]:
    """Return the ids of a process's children."""
    return [
        int(pid)
        for task in Path(f"/proc/{parent}/task").glob("*/children")
        for pid in task.read_text().split()
    ]


def _children(parent: int) -> int:
    return len(_processes(parent))
