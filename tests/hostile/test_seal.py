"""What stands between a compiled candidate and executable memory, and between strict and a missing layer."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from gnomon.sdk.isolation import frames, lockdown, seccomp
from gnomon.sdk.isolation.layers import Limits
from gnomon.sdk.isolation.zygote import Zygote

from .cells import INSIDE, attacked

_EXECUTABLE = (
    "import ctypes, mmap\ndef attack():\n    m = mmap.mmap(-1, 4096, flags=34)\n"
    "    a = ctypes.addressof(ctypes.c_char.from_buffer(m))\n"
    "    return 'exec' if ctypes.CDLL(None).mprotect(ctypes.c_void_p(a), 4096, 5) == 0 else ''\n"
)


@pytest.mark.parametrize(("sealed", "got"), [(True, ""), (False, "exec")])
def test_a_compiling_fork_can_make_memory_executable_until_it_is_sealed(
    sealed: bool, got: str
) -> None:
    settings = {"sealed": sealed}
    with Zygote("sealed_child", settings, limits=Limits(frame_s=2.0), paths=[INSIDE]) as zygote:
        assert attacked(zygote, _EXECUTABLE) == ("result", got)


@pytest.mark.parametrize("layer", ["rlimits", "no_new_privs", "seccomp"])
def test_strict_cannot_do_without_a_layer_that_it_needs(layer: str) -> None:
    held = tuple({"rlimits", "no_new_privs", "seccomp", "landlock"} - {layer})
    assert lockdown.missing(held, "strict") == (layer,)
    assert lockdown.missing(held, "process") == ()


def test_the_compiled_child_seals_itself_before_it_replays() -> None:
    """The order is its whole safety: compile, seal, and only then run what was compiled."""
    text = (Path(lockdown.__file__).parents[2] / "shadow/isolation/compiled_child.py").read_text()
    body = text[text.index("def serve") :]
    assert body.index("compile_score(program)") < body.index("seal(descriptor, cell)")
    assert body.index("seal(descriptor, cell)") < body.index("replays(")


def _said(program: list[tuple[int, int, int, int]], memory: dict[int, int]) -> int:
    """Interpret a filter as the kernel would, over the words of one call."""
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        if code == 0x06:
            return value
        if code == 0x20:
            accumulator = memory[value]
        elif code == 0x54:
            accumulator &= value
        else:
            test = {
                0x15: accumulator == value,
                0x35: accumulator >= value,
                0x45: accumulator & value,
            }
            at += if_true if test[code] else if_false


@pytest.mark.parametrize("architecture", [0x40000003, 0xC00000B7, 0])
def test_the_call_table_of_another_architecture_kills(architecture: int) -> None:
    """In which what is allowed here under a number is something else."""
    here, kill, allow = 0xC000003E, 0x80000000, 0x7FFF0000
    words = dict.fromkeys(range(64), 0)
    for number in (3, 11, 60):
        assert _said(seccomp.program(7), words | {0: number, 4: here}) == allow
        assert _said(seccomp.program(7), words | {0: number, 4: architecture}) == kill


@pytest.mark.parametrize("length", [frames.LONGEST + 1, 1 << 20, 0xFFFFFFFF])
def test_a_message_that_is_too_long_is_none(length: int) -> None:
    """So that nobody waits for its body, or keeps it."""
    head = struct.pack("<BI", frames.Code.READY, length)
    with pytest.raises(ValueError, match="too long"):
        frames.unpack_head(head)
    assert frames.unpack_head(struct.pack("<BI", frames.Code.READY, frames.LONGEST))
