"""Behind the language check: what the kernel's layers stop on their own."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.errors import ConfigurationError, IsolationError
from gnomon.sdk.isolation import seccomp
from gnomon.sdk.isolation.layers import (
    LAYERS,
    STRICT_NEEDS,
    WEAK_LAYERS,
    Limits,
    from_bits,
    known_mode,
    to_bits,
)
from gnomon.sdk.isolation.zygote import Zygote

from . import attacks
from .driving import attack, raw_zygote


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


def test_what_cannot_prepare_says_so() -> None:
    with pytest.raises(IsolationError, match="could not prepare: ModuleNotFoundError"):
        Zygote("there_is_no_such_module", {})


def test_strict_reports_what_it_needs(strict: Zygote, process: Zygote) -> None:
    assert set(STRICT_NEEDS) <= set(strict.layers)
    assert process.layers == WEAK_LAYERS


@given(st.sets(st.sampled_from(LAYERS)))
def test_layers_cross_the_wire(layers: set[str]) -> None:
    assert set(from_bits(to_bits(layers))) == layers


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'jail' is unknown"):
        known_mode("jail")


def _decide(program: list[tuple[int, int, int, int]], number: int, arguments: list[int]) -> int:
    """Interpret a filter as the kernel would; arguments by their low words."""
    memory = {0: number, 4: 0xC000003E} | {16 + 8 * i: value for i, value in enumerate(arguments)}
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        if code == 0x06:
            return value
        if code in (0x20, 0x54):
            accumulator = memory[value] if code == 0x20 else accumulator & value
            continue
        test = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: accumulator & value}
        at += if_true if test[code] else if_false


#: By number: whether a call with these arguments is one that a process that computes makes.
_COMPUTES = {
    **dict.fromkeys((3, 11, 12, 24, 25, 60, 228, 231), lambda _: True),
    **dict.fromkeys((0, 1), lambda a: a[0] == 7),
    9: lambda a: not a[2] & 4 and not a[3] & 0x42101,
    10: lambda a: not a[2] & 4,
    28: lambda a: a[2] in (4, 8),
    202: lambda a: a[1] & 0x7F in (0, 1, 9, 10),
}
_numbers = st.one_of(st.sampled_from(sorted(_COMPUTES)), st.integers(0, 600))
_words = st.one_of(
    st.integers(0, 160), st.sampled_from([0x22, 0x2022, 0x40022, 0x121, 0xFFFFFFFF]), st.just(7)
)


@given(_numbers, st.lists(_words, min_size=4, max_size=4))
def test_the_filter_is_the_allow_list(number: int, arguments: list[int]) -> None:
    allowed = number in _COMPUTES and _COMPUTES[number](arguments)
    said = _decide(seccomp.program(7), number, arguments)
    assert said == (0x7FFF0000 if allowed else 0x00050001)
    seals = number == 157 and arguments[0] == 22  # prctl, to install the filter above
    executable = number == 10 or (number == 9 and not arguments[3] & 0x42101)
    compiling = _decide(seccomp.program(7, compiles=True), number, arguments)
    assert (compiling == 0x7FFF0000) == (allowed or seals or executable)


@given(st.integers(0x40000000, 0x7FFFFFFF))
def test_the_other_system_call_table_kills(number: int) -> None:
    assert _decide(seccomp.program(7), number, [7, 0, 0, 0]) == 0x80000000


#: Each is let through by a list of numbers alone; the arguments are what refuses it.
_NARROWED = {
    "huge pages": "mmap.mmap(-1, 1 << 21, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)",
    "shared memory": "mmap.mmap(-1, 4096, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)",
    "locked memory": "mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x2000)",
    "merging pages": "mmap.mmap(-1, 4096, flags=34).madvise(12)",
    "passing a descriptor": "libc.sendmsg(FD, None, 0)",
    "a lock of the kernel's": "libc.syscall(202, ctypes.byref(ctypes.c_int()), 6, 0, None) or 'locked'",
}


@pytest.mark.parametrize("what", _NARROWED)
def test_arguments_are_looked_at(strict: Zygote, process: Zygote, what: str) -> None:
    source = (
        "import ctypes, mmap\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"def attack():\n    got = {_NARROWED[what]}\n"
        "    return '' if got == -1 and ctypes.get_errno() == 1 else str(got)\n"
    )
    how, loot = attack(strict, source)
    assert (how, loot) == ("result", "") or "Operation not permitted" in loot
    how, loot = attack(process, source)
    assert "Operation not permitted" not in loot and loot
