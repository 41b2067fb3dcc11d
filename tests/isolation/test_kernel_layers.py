"""Behind the language check: what the kernel's layers stop on their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.errors import ConfigurationError, IsolationError
from gnomon.sdk.isolation import seccomp
from gnomon.sdk.isolation.layers import (
    LAYERS,
    STRICT_NEEDS,
    Limits,
    from_bits,
    known_mode,
    to_bits,
)
from gnomon.sdk.isolation.zygote import Zygote

from . import attacks
from .conftest import INSIDE, attack, raw_zygote


@pytest.mark.parametrize("name", attacks.STOPPED_BY_KERNEL)
def test_strict_layers_stop_an_unchecked_program(strict: Zygote, name: str) -> None:
    how, loot = attack(strict, attacks.STOPPED_BY_KERNEL[name])
    assert how in ("failed", "died") or (how, loot) == ("result", ""), (how, loot)


#: Not proofs of anything in mode process: refused there too, by rlimits or by the machine.
_REFUSED_ANYWAY = {"resolve a name", "make a keyring", "use io_uring", "write a file"}
_NPROC_STOPS_ALL_BUT_ROOT = {"fork", "start a thread", "run a program", "run a shell"}


@pytest.mark.parametrize("name", sorted(set(attacks.STOPPED_BY_KERNEL) - _REFUSED_ANYWAY))
def test_the_same_program_succeeds_without_the_strict_layers(process: Zygote, name: str) -> None:
    """So the test above can fail, and docs/reference/isolation.md can say what the weak mode lacks."""
    if name in _NPROC_STOPS_ALL_BUT_ROOT and os.geteuid() != 0:
        pytest.skip("the limit on processes binds everybody but root")
    how, loot = attack(process, attacks.STOPPED_BY_KERNEL[name])
    assert how == "result" and loot, (how, loot)


@pytest.mark.parametrize("mode", ["strict", "process"])
@pytest.mark.parametrize("name", attacks.STOPPED_BY_LIMITS)
def test_a_program_that_does_not_end_well_is_named(
    request: pytest.FixtureRequest, mode: str, name: str
) -> None:
    source, status = attacks.STOPPED_BY_LIMITS[name]
    assert attack(request.getfixturevalue(mode), source)[0] == status


@pytest.mark.parametrize("mode", ["strict", "process"])
def test_memory_is_bounded(request: pytest.FixtureRequest, mode: str) -> None:
    how, text = attack(request.getfixturevalue(mode), attacks.MEMORY)
    assert how == "failed" and text.startswith("MemoryError")


@pytest.mark.parametrize("mode", ["strict", "process"])
def test_the_environment_is_not_inherited(
    request: pytest.FixtureRequest, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "s3cret")
    source = "import os\ndef attack():\n    return os.environ.get('SECRET_KEY', '')\n"
    with raw_zygote(mode, Limits()) as zygote:
        assert attack(zygote, source) == ("result", "")


def test_nothing_is_inherited_but_one_descriptor(process: Zygote) -> None:
    source = "import os\ndef attack():\n    return [int(f) for f in os.listdir('/proc/self/fd')]\n"
    how, text = attack(process, source)
    listed = set(json.loads(text))
    # the standard streams, its connection, and the folder being listed
    assert how == "result" and {0, 1, 2} <= listed and len(listed) == 5


def test_a_candidate_is_not_root(strict: Zygote) -> None:
    if os.geteuid() != 0:
        pytest.skip("there is no privilege to drop")
    assert {"uid", "chroot", "namespaces"} <= set(strict.layers)


def test_forks_share_nothing(strict: Zygote) -> None:
    patch = "import math\ndef attack():\n    math.exp = None\n    return ''\n"
    look = "import math\ndef attack():\n    return 'patched' if math.exp is None else 'clean'\n"
    assert attack(strict, patch) == ("result", "")
    assert attack(strict, look) == ("result", "clean")


def test_hashes_do_not_vary(strict: Zygote) -> None:
    source = "def attack():\n    return hash('a string')\n"
    with raw_zygote("strict", Limits()) as other:
        assert attack(strict, source) == attack(other, source)


def test_a_dead_clean_process_is_our_own_fault() -> None:
    with raw_zygote("strict", Limits()) as zygote:
        zygote._process.kill()
        with pytest.raises(IsolationError, match="has ended"):
            zygote.fork()


def test_a_fork_dies_with_its_clean_process() -> None:
    with raw_zygote("strict", Limits(frame_s=20.0)) as zygote:
        fork = zygote.fork()
        zygote._process.kill()
        assert zygote.ended(5.0)
        body = b"def attack():\n    return ''\n"
        try:
            with pytest.raises(Exception, match="ended"):
                fork.send(len(body).to_bytes(4, "little") + body)
                fork.message(seconds=5.0)
        finally:
            fork.kill()


def test_what_cannot_prepare_says_so() -> None:
    with pytest.raises(IsolationError, match="could not prepare: ModuleNotFoundError"):
        Zygote("there_is_no_such_module", {})


def test_strict_reports_what_it_needs(strict: Zygote, process: Zygote) -> None:
    assert set(STRICT_NEEDS) <= set(strict.layers)
    assert process.layers == ("process", "environment", "descriptors", "rlimits")


_WITHOUT = """
import ctypes, sys
sys.path.insert(0, {inside!r})
from gnomon.sdk.isolation import seccomp
from gnomon.sdk.isolation.layers import Limits
from gnomon.sdk.isolation.zygote import Zygote
from gnomon.sdk.errors import IsolationError
I = seccomp._Instruction
lines = [(0x20, 0, 0, 0)] + {rules!r} + [(0x06, 0, 0, 0x7FFF0000)]
code = (I * len(lines))(*(I(*line) for line in lines))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(seccomp._Program(len(lines), code)), 0, 0) == 0
try:
    with Zygote("raw_child", {{}}, mode={mode!r}, limits=Limits(), paths=[{inside!r}]) as zygote:
        print(",".join(zygote.layers))
except IsolationError as error:
    print("refused:", error)
"""
# prctl(PR_SET_SECCOMP) fails with EINVAL, as on a kernel without it
_NO_SECCOMP = [
    (0x15, 0, 3, 157),
    (0x20, 0, 0, 16),
    (0x15, 0, 1, 22),
    (0x06, 0, 0, 0x00050016),
]
# landlock_create_ruleset does not exist
_NO_LANDLOCK = [(0x15, 0, 1, 444), (0x06, 0, 0, 0x00050026)]


def _on_a_machine_without(rules: list[tuple[int, int, int, int]], mode: str) -> str:
    script = textwrap.dedent(_WITHOUT).format(rules=rules, mode=mode, inside=INSIDE)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_strict_refuses_without_seccomp_and_names_the_remedy() -> None:
    said = _on_a_machine_without(_NO_SECCOMP, "strict")
    assert said.startswith("refused: strict isolation cannot be had here")
    assert "seccomp" in said and "--isolation process" in said


def test_process_mode_starts_without_seccomp() -> None:
    assert _on_a_machine_without(_NO_SECCOMP, "process").startswith("process,")


def test_strict_starts_without_landlock_and_does_not_claim_it() -> None:
    layers = _on_a_machine_without(_NO_LANDLOCK, "strict").split(",")
    assert "seccomp" in layers and "landlock" not in layers


@given(st.sets(st.sampled_from(LAYERS)))
def test_layers_cross_the_wire(layers: set[str]) -> None:
    assert set(from_bits(to_bits(layers))) == layers


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'jail' is unknown"):
        known_mode("jail")


def _decide(program: list[tuple[int, int, int, int]], number: int, first: int, third: int) -> int:
    """Interpret a filter as the kernel would, for a call with two arguments that matter."""
    memory = {0: number, 4: 0xC000003E, 16: first, 32: third}
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        if code == 0x06:
            return value
        if code == 0x20:
            accumulator = memory[value]
            continue
        test = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: accumulator & value}
        at += if_true if test[code] else if_false


@given(st.integers(0, 600), st.integers(0, 64), st.integers(0, 7))
def test_the_filter_is_the_allow_list(number: int, first: int, third: int) -> None:
    computing = {3, 11, 12, 15, 24, 25, 28, 60, 202, 228, 231}
    allowed = (
        number in computing
        or (number in (0, 1) and first == 7)
        or (number in (9, 10) and not third & 4)
    )
    said = _decide(seccomp.program(7), number, first, third)
    assert (said == 0x7FFF0000) == allowed
    compiling = _decide(seccomp.program(7, executable_memory=True), number, first, third)
    seals = number == 157 and first == 22  # prctl, to install the filter above
    assert (compiling == 0x7FFF0000) == (allowed or seals or number in (9, 10))


@given(st.integers(0x40000000, 0x7FFFFFFF))
def test_the_other_system_call_table_kills(number: int) -> None:
    assert _decide(seccomp.program(7), number, 7, 0) == 0x80000000
