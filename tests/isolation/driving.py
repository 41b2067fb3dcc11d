"""Clean processes that run any program, past the language check; needs nothing but the standard library."""

from __future__ import annotations

import struct
from pathlib import Path

from gnomon.sdk.isolation.layers import Limits
from gnomon.sdk.isolation.zygote import CandidateStopped, Zygote

INSIDE = str(Path(__file__).parent / "inside")
LENGTH = struct.Struct("<I")


def raw_zygote(mode: str, limits: Limits) -> Zygote:
    return Zygote("raw_child", {}, mode=mode, limits=limits, paths=[INSIDE])  # type: ignore[arg-type]


def attack(zygote: Zygote, source: str) -> tuple[str, str]:
    """Run a program in a fork; return (how it ended, what it got or the error)."""
    fork = zygote.fork()
    try:
        body = source.encode()
        fork.send(LENGTH.pack(len(body)) + body)
        code, answer = fork.message()
        return code.name.lower(), answer.decode()
    except CandidateStopped as stopped:
        return str(stopped.status), ""
    finally:
        fork.kill()
