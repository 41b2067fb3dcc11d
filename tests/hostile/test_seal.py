"""What stands between a compiled candidate and executable memory, and between strict and a missing layer."""

from __future__ import annotations

from pathlib import Path

import pytest

from gnomon.sdk.isolation import lockdown
from gnomon.sdk.isolation.layers import Limits
from gnomon.sdk.isolation.zygote import Zygote

from .cells import INSIDE, attacked

_EXECUTABLE = (
    "import ctypes, mmap\ndef attack():\n    m = mmap.mmap(-1, 4096)\n"
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
    assert body.index("seal(descriptor, cell)") < body.index("_replays(")
