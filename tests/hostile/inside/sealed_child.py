"""Runs inside a fork that may compile: seals it, if it is told so, and runs a program past the check."""

from __future__ import annotations

# for the attacks: the file system is gone when they import
import ctypes  # noqa: F401
import mmap  # noqa: F401
import struct
from typing import Any

from gnomon.sdk.isolation import frames
from gnomon.sdk.isolation.lockdown import Cell, seal

COMPILES = True
LENGTH = struct.Struct("<I")


def prepare(settings: dict[str, Any]) -> bool:
    """Return whether forks are to be sealed."""
    return bool(settings["sealed"])


def serve(descriptor: int, state: bool, cell: Cell) -> None:
    """Run one program and say what it got."""
    (length,) = LENGTH.unpack(frames.read_exactly(descriptor, LENGTH.size))
    source = frames.read_exactly(descriptor, length).decode()
    if state:
        seal(descriptor, cell)
    space: dict[str, Any] = {}
    exec(source, space)  # noqa: S102 - the point of this file
    frames.write_all(descriptor, frames.pack(frames.Code.RESULT, space["attack"]().encode()))
