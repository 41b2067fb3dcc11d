"""Runs inside a fork: executes a program as it is, past the language check, to try the kernel's layers.

The program's function ``attack()`` returns a string: what it got hold of, or an empty string.
"""

from __future__ import annotations

# for the attacks: the file system is gone when they import
import array  # noqa: F401
import struct

from gnomon.sdk.isolation import frames

LENGTH = struct.Struct("<I")


def prepare(settings: dict) -> str:
    return settings.get("secret", "")


def serve(descriptor: int, state: str, cell: object) -> None:
    (length,) = LENGTH.unpack(frames.read_exactly(descriptor, LENGTH.size))
    source = frames.read_exactly(descriptor, length).decode()
    space: dict = {"FD": descriptor}
    try:
        exec(source, space)  # noqa: S102 - the point of this file
        loot = str(space["attack"]())
        frames.write_all(descriptor, frames.pack(frames.Code.RESULT, loot.encode()[:200]))
    except Exception as error:  # noqa: BLE001 - whatever an attack raises
        text = f"{type(error).__name__}: {error}".encode()[:200]
        frames.write_all(descriptor, frames.pack(frames.Code.FAILED, text))
