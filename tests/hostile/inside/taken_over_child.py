"""Runs inside a fork in place of what answers for a candidate: sends what an attack says, in its own time.

The source that the host hands over is Python: it runs with ``read(n)``, ``question()`` (reads the next request of a lockstep host, whole)
and ``send(bytes)``.
"""

from __future__ import annotations

import json
import math
import os
import struct
import time
from typing import Any

from gnomon.sdk.isolation import frames

LENGTH = struct.Struct("<I")
COMPILES = False


def prepare(settings: dict[str, Any]) -> None:
    """Have nothing ready."""


def serve(descriptor: int, state: object, cell: object) -> None:
    """Take the candidate's place."""
    (length,) = LENGTH.unpack(frames.read_exactly(descriptor, LENGTH.size))
    told = json.loads(frames.read_exactly(descriptor, length))
    source = told if isinstance(told, str) else told["source"]

    def read(count: int) -> bytes:
        return frames.read_exactly(descriptor, count)

    def send(data: bytes) -> None:
        frames.write_all(descriptor, data)

    def question(width: int = 5) -> tuple[int, int, int]:
        operation, k, m = struct.unpack("<BII", read(9))
        read(8 * k * m * width)
        return operation, k, m

    def asked() -> int:
        _, size = struct.unpack("<BI", read(5))
        read(size)
        return size

    space = {
        "read": read, "send": send, "question": question, "asked": asked, "pack": struct.pack,
        "os": os, "time": time, "math": math, "FD": descriptor, "READY": frames.pack(frames.Code.READY),
    }  # fmt: skip
    exec(source, space)  # noqa: S102 - the point of this file
    os._exit(0)
