"""The messages between a host and a fork: a code, a length, bytes; never an object.

A fork's text is untrusted: it is cut to 200 printable ASCII characters before anybody reads it.
"""

from __future__ import annotations

import os
import struct
from enum import IntEnum

_HEAD = struct.Struct("<BI")
HEAD_SIZE = _HEAD.size
LONGEST = 1 << 16  # bytes of a message's body
LONGEST_TEXT = 200


class Code(IntEnum):
    """What a message says."""

    LOCKED = 1  # body: the layers in force, as bits
    READY = 2  # the candidate is checked and waits for frames
    REJECTED = 3  # body: why the candidate lies outside the policy language
    FAILED = 4  # body: what went wrong on our own side
    RESULT = 5  # body: numbers


def pack(code: Code, body: bytes = b"") -> bytes:
    """Return one message."""
    return _HEAD.pack(code, len(body)) + body


def unpack_head(head: bytes) -> tuple[Code, int]:
    """Return the code and the length of the body.

    Raises:
        ValueError: no such code, or a body that is too long.
    """
    code, length = _HEAD.unpack(head)
    if length > LONGEST:
        raise ValueError(f"message of {length} bytes is too long")
    return Code(code), length


def plain(text: str) -> str:
    """Return the first 200 characters of a text, with ``?`` for whatever is not printable ASCII."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:LONGEST_TEXT])


def read_exactly(descriptor: int, count: int) -> bytes:
    """Read ``count`` bytes; leave the process when the other side has gone."""
    data = os.read(descriptor, count)
    while len(data) < count:
        more = os.read(descriptor, count - len(data))
        if not more:
            os._exit(0)
        data += more
    return data


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
