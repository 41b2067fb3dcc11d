"""Runs inside a fork: a program past the language check, with only some of the layers in force.

``settings["only"]`` names the layers of the kernel that are left; None leaves all of them.
"""

from __future__ import annotations

# for the attacks: the file system is gone when they import
import array  # noqa: F401
import asyncio  # noqa: F401
import mmap  # noqa: F401
import random  # noqa: F401
import struct
import subprocess  # noqa: F401
import unicodedata  # noqa: F401
from typing import Any

from gnomon.sdk.isolation import frames, lockdown

LENGTH = struct.Struct("<I")
_TAKEN_AWAY: dict[str, tuple[Any, str, Any]] = {
    "seccomp": (lockdown.seccomp, "install", lambda *_a, **_k: None),
    "landlock": (lockdown, "deny_files_and_network", lambda *_a: True),
    "chroot": (lockdown, "change_root", lambda *_a: True),
    "uid": (lockdown, "drop_user", lambda *_a: True),
    "namespaces": (lockdown, "separate", lambda *_a: True),
    "capabilities": (lockdown, "drop_capabilities", lambda *_a: True),
    "no_dump": (lockdown, "forbid_dumps", lambda *_a: True),
    "rlimits": (lockdown, "limit", lambda *_a: None),
}


def prepare(settings: dict[str, Any]) -> None:
    """Take away the layers that are not to be there, before any fork."""
    only = settings.get("only")
    for layer, (module, name, nothing) in _TAKEN_AWAY.items():
        assert hasattr(module, name), f"{module.__name__} has no {name}"
        if only is not None and layer not in only:
            setattr(module, name, nothing)


def serve(descriptor: int, state: object, cell: object) -> None:
    """Run one program and say what it got."""
    (length,) = LENGTH.unpack(frames.read_exactly(descriptor, LENGTH.size))
    source = frames.read_exactly(descriptor, length).decode("utf-8", "surrogatepass")
    space: dict[str, Any] = {"FD": descriptor, "__name__": "attack"}
    try:
        exec(source, space)  # noqa: S102 - the point of this file
        loot = str(space["attack"]())
        frames.write_all(descriptor, frames.pack(frames.Code.RESULT, loot.encode()[:200]))
    except BaseException as error:  # noqa: BLE001 - whatever an attack raises
        text = f"{type(error).__name__}: {error}".encode("ascii", "replace")[:200]
        frames.write_all(descriptor, frames.pack(frames.Code.FAILED, text))
