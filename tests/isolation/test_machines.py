"""Machines that lack something: each starts with what it has, or says in one line what is missing."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from gnomon.sdk.isolation.layers import LAYERS, ONLY_ROOT, WEAK_LAYERS
from gnomon.sdk.isolation.seccomp import supported

from . import attacks

_MACHINE = """
import ctypes, json, os, resource, sys, types
sys.path.insert(0, {root!r})
sys.modules["gnomon"] = bare = types.ModuleType("gnomon")  # nothing is installed for some of these
bare.__path__ = [{root!r}]
from gnomon.sdk.errors import IsolationError
from gnomon.sdk.isolation import seccomp
from gnomon.sdk.isolation.layers import Limits
from gnomon.sdk.isolation.zygote import Zygote
from tests.isolation import attacks
from tests.isolation.driving import attack, raw_zygote

def lacking(rules):
    I = seccomp._Instruction
    lines = [(0x20, 0, 0, 0)] + rules + [(0x06, 0, 0, 0x7FFF0000)]
    code = (I * len(lines))(*(I(*line) for line in lines))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, ctypes.byref(seccomp._Program(len(lines), code)), 0, 0) == 0

def nobody():
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)

def without_proc():
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x00020000) == 0
    assert libc.mount(b"none", b"/", None, 0x44000, None) == 0  # private, all the way down
    assert libc.mount(b"none", b"/proc", b"tmpfs", 0, None) == 0

def layers(mode):
    try:
        with raw_zygote(mode, Limits(frame_s=1.0, memory_mb=128)) as zygote:
            return {{"layers": zygote.layers, "memory": attack(zygote, attacks.MEMORY)}}
    except IsolationError as error:
        return {{"refused": str(error)}}

{does}
"""
ROOT = str(Path(__file__).resolve().parents[2])


def on(does: str, python: str = sys.executable) -> Any:
    """Return what a process on a machine of our making prints, as JSON."""
    script = _MACHINE.format(root=ROOT, does=textwrap.dedent(does))
    done = subprocess.run(
        [python, "-B", "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _fails(number: int, error: int) -> list[tuple[int, int, int, int]]:
    """Return the lines of a filter under which a system call fails."""
    return [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | error)]


def _prctl_fails(option: int) -> list[tuple[int, int, int, int]]:
    return [(0x15, 0, 3, 157), (0x20, 0, 0, 16), (0x15, 0, 1, option), (0x06, 0, 0, 0x00050016)]


NO_SECCOMP = [*_prctl_fails(22), (0x20, 0, 0, 0)]  # as on a kernel without it
NO_LANDLOCK = _fails(444, 38)
NEITHER = [*NO_SECCOMP, *NO_LANDLOCK]
NO_PRIVILEGES_BAN = _prctl_fails(38)
NO_PIDFD_OPEN, NO_PIDFD_SIGNAL = _fails(434, 1), _fails(424, 38)


def lacking(rules: list[tuple[int, int, int, int]], mode: str = "strict") -> Any:
    return on(f"lacking({rules!r})\nprint(json.dumps(layers({mode!r})))")


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (NO_SECCOMP, "seccomp"),
        (NEITHER, "seccomp"),
        (NO_PRIVILEGES_BAN, "no_new_privs"),
    ],
    ids=["seccomp", "seccomp and Landlock", "no_new_privs"],
)
def test_strict_refuses_without_what_it_needs_and_names_the_remedy(rules: Any, says: str) -> None:
    refused = lacking(rules)["refused"]
    assert refused.startswith("strict isolation cannot be had here")
    assert says in refused and "--isolation process" in refused


@pytest.mark.parametrize(
    "rules", [NEITHER, NO_PRIVILEGES_BAN], ids=["seccomp and Landlock", "no_new_privs"]
)
def test_process_mode_starts_without_them_and_bounds_memory(rules: Any) -> None:
    found = lacking(rules, "process")
    assert tuple(found["layers"]) == WEAK_LAYERS
    assert found["memory"] == ["failed", "MemoryError: "]


def test_strict_starts_without_landlock_and_does_not_claim_it() -> None:
    layers = lacking(NO_LANDLOCK)["layers"]
    assert "seccomp" in layers and "landlock" not in layers


@pytest.mark.parametrize(
    ("rules", "call"), [(NO_PIDFD_OPEN, "pidfd_open"), (NO_PIDFD_SIGNAL, "pidfd_send_signal")]
)
@pytest.mark.parametrize("mode", ["strict", "process"])
def test_a_container_that_forbids_handles_on_processes_is_told_in_one_line(
    rules: Any, call: str, mode: str
) -> None:
    refused = lacking(rules, mode)["refused"]
    assert refused.startswith(f"isolation needs {call}, which this kernel or container refuses")
    assert "\n" not in refused and "a container that allows it" in refused


def _needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")


def _runs_as_nobody(python: str) -> bool:
    reads = f"import json; open({ROOT + '/tests/isolation/attacks.py'!r}).close()"
    try:
        done = subprocess.run(
            [python, "-B", "-c", reads],
            user=65534,
            group=65534,
            extra_groups=[],
            capture_output=True,
            check=False,
        )
    except OSError:  # not there, or behind a folder that is closed to others
        return False
    return done.returncode == 0


@pytest.fixture(scope="module")
def for_all() -> str:
    """An interpreter that another user can run, with sources that he can read."""
    _needs_root()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        if _runs_as_nobody(python):
            return python
    pytest.skip("no interpreter, or these sources, can be read by another user")


def test_nobody_has_every_layer_but_those_of_root(for_all: str) -> None:
    found = on('nobody()\nprint(json.dumps(layers("strict")))', for_all)
    assert set(found["layers"]) == set(LAYERS) - set(ONLY_ROOT)
    assert found["memory"] == ["failed", "MemoryError: "]


def test_what_nobody_runs_gets_as_little(for_all: str) -> None:
    got = on(
        """
        nobody()
        with raw_zygote("strict", Limits(frame_s=0.5, memory_mb=128)) as zygote:
            got = {n: attack(zygote, s) for n, s in attacks.STOPPED_BY_KERNEL.items()}
            ends = {n: attack(zygote, s)[0] for n, (s, _) in attacks.STOPPED_BY_LIMITS.items()}
        print(json.dumps([got, ends]))
    """,
        for_all,
    )
    loot, ends = got
    assert set(loot) == set(attacks.STOPPED_BY_KERNEL)
    assert [name for name, (how, what) in loot.items() if how == "result" and what] == []
    assert ends == {name: status for name, (_, status) in attacks.STOPPED_BY_LIMITS.items()}


def test_nobody_without_landlock_still_gets_nothing(for_all: str) -> None:
    loot = on(
        f"""
        nobody()
        lacking({NO_LANDLOCK!r})
        with raw_zygote("strict", Limits(frame_s=0.5, memory_mb=128)) as zygote:
            print(json.dumps({{n: attack(zygote, s) for n, s in attacks.STOPPED_BY_KERNEL.items()}}))
    """,
        for_all,
    )
    assert [name for name, (how, what) in loot.items() if how == "result" and what] == []


def test_a_clean_process_that_cannot_fork_says_why_and_goes_on(for_all: str) -> None:
    said = on(
        """
        nobody()
        zygote = raw_zygote("strict", Limits())
        before = resource.prlimit(zygote.pid, resource.RLIMIT_NPROC, (0, 1 << 16))
        try:
            zygote.fork()
        except IsolationError as error:
            said = str(error)
        resource.prlimit(zygote.pid, resource.RLIMIT_NPROC, (1 << 16, 1 << 16))
        print(json.dumps([said, attack(zygote, "def attack():\\n    return ''\\n")]))
        zygote.close()
    """,
        for_all,
    )
    assert said[0].startswith(
        "the isolation process cannot fork (Resource temporarily unavailable)"
    )
    assert said[1] == ["result", ""]


def test_memory_is_bounded_where_there_is_no_proc() -> None:
    _needs_root()
    if ctypes.CDLL(None).unshare(0x00020000 & 0) != 0:
        pytest.skip("this machine allows no mount of its own")
    found = on(
        'without_proc()\nassert not os.path.exists("/proc/self")\nprint(json.dumps(layers("strict")))'
    )
    assert found["memory"] == ["failed", "MemoryError: "]
    assert "rlimits" in found["layers"] and "seccomp" in found["layers"]


def test_this_machine_is_the_one_that_the_filter_knows() -> None:
    """The tests above say nothing elsewhere."""
    assert supported()
