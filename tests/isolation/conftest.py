"""Clean processes shared by the tests of a module: one per mode."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from gnomon.sdk.isolation import frames
from gnomon.sdk.isolation.layers import Limits
from gnomon.sdk.isolation.zygote import CandidateStopped, Zygote

INSIDE = str(Path(__file__).parent / "inside")
LENGTH = struct.Struct("<I")


def raw_zygote(mode: str, limits: Limits) -> Zygote:
    return Zygote("raw_child", {}, mode=mode, limits=limits, paths=[INSIDE])  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def strict() -> Iterator[Zygote]:
    with raw_zygote("strict", Limits(frame_s=0.5, memory_mb=128)) as zygote:
        yield zygote


@pytest.fixture(scope="session")
def process() -> Iterator[Zygote]:
    with raw_zygote("process", Limits(frame_s=0.5, memory_mb=128)) as zygote:
        yield zygote


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


__all__ = ["frames"]
