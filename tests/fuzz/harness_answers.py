"""What comes back over the border from a candidate's process: an answer, or the end of that candidate.

The first byte chooses who listens: the lockstep host, the host of a program, or the compiled engine. The rest is all
that the process ever says. The host must neither crash nor take nonsense for an answer.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import IsolationError
from gnomon.sdk.isolation.frames import Code, pack
from gnomon.sdk.isolation.layers import Limits
from gnomon.sdk.isolation.program import ProgramProcess
from gnomon.sdk.isolation.program_wire import ANSWER
from gnomon.sdk.isolation.zygote import CandidateStopped, Fork
from gnomon.shadow.evaluation import Evaluation, Status
from gnomon.shadow.isolation.compiled import CompiledEngine
from gnomon.shadow.isolation.lockstep import LockstepCandidate

from .harness_program import CONTRACT

ITEMS = 3
PROGRAM_KIND: Any = SimpleNamespace(program=CONTRACT, deadline_s=5.0)
CALL = ([1.0, 2.0, 0.0], 2, [[1.0, 2.0], [0.5, 0.0], [3.0, -1.0]], [0.0, 1.0], [[0, 1]] * 3)


class Said:
    """Stands in for a clean process: its one fork has said everything already."""

    layers: tuple[str, ...] = ()

    def __init__(self, data: bytes) -> None:
        ours, theirs = socket.socketpair()
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        self._ends = (ours, theirs)
        self._fork = Fork(ours, -1, Limits())
        self._fork.start(())

    def fork(self) -> Fork:
        return self._fork

    def ended(self, seconds: float) -> bool:
        return False

    def close(self) -> None:
        for end in self._ends:
            end.close()


def TestOneInput(data: bytes) -> None:
    said = Said(data[1:])
    try:
        _LISTENERS[data[0] % len(_LISTENERS) if data else 0](said)
    except (CandidateStopped, IsolationError) as error:
        assert "\n" not in str(error), error
    finally:
        said.close()


def _lockstep(zygote: Any) -> None:
    candidate = LockstepCandidate(zygote, "", load_balancer)
    rows = np.zeros((2, ITEMS, len(load_balancer.inputs)))
    picks = candidate.choose(rows)
    assert picks.shape == (2,) and ((picks >= -1) & (picks < ITEMS)).all(), picks
    assert candidate.scores(rows[0]).shape == (ITEMS,)


def _program(zygote: Any) -> None:
    answer = ProgramProcess(zygote, "", PROGRAM_KIND).ask(CALL)
    if answer.ok:
        assert np.isfinite(answer.outputs["out"]).all()
        assert all(type(each) is int for row in answer.outputs["put"] for each in row)
        assert np.shape(answer.outputs["put"]) == (3, 2)
        assert answer.value is not None and np.isfinite(answer.value)


def _compiled(zygote: Any) -> None:
    answer = _engine()._ask(zygote, {"source": ""})
    assert isinstance(answer, Evaluation)
    if answer.status is Status.OK:
        assert np.isfinite(answer.score) and np.isfinite(answer.segments).all()


def _compiled_rows(zygote: Any) -> None:
    answer = _engine()._ask(zygote, {"source": "", "rows": [[0.0]] * ITEMS})
    assert isinstance(answer, Evaluation) or answer.shape == (ITEMS,)


def _engine() -> Any:
    """Return what listens in an engine, without its processes."""
    engine: Any = CompiledEngine.__new__(CompiledEngine)
    engine._kind, engine.layers, engine._running = load_balancer, (), set()
    engine._lock, engine._closed = threading.Lock(), False
    return engine


_LISTENERS = (_lockstep, _program, _compiled, _compiled_rows)


def seeds() -> Iterator[bytes]:
    ready = pack(Code.READY)
    yield b"\0" + ready + struct.pack("<2i", 1, -1) + struct.pack("<3d", 1.0, 2.0, float("nan"))
    yield b"\0" + pack(Code.REJECTED, b"line 1: no")
    outputs = struct.pack("<8d", 0.0, 1.0, *range(6))
    body = ANSWER.pack(1, 7, 1, 2.5) + outputs
    yield b"\1" + ready + pack(Code.RESULT, body)
    yield b"\1" + ready + pack(Code.RESULT, ANSWER.pack(0, 0, 0, 0.0))
    yield b"\1" + ready + pack(Code.FAILED, b"ValueError: host")
    yield b"\2" + ready + pack(Code.RESULT, struct.pack("<idI2d", -1, 1.5, 2, 1.0, 2.0))
    yield b"\2" + ready + pack(Code.RESULT, struct.pack("<idI", 12, 0.0, 0))
    yield b"\2" + ready + pack(Code.RESULT, struct.pack("<idI", -2, 0.0, 0))
    yield b"\3" + ready + pack(Code.RESULT, struct.pack("<3d", 1.0, 2.0, 3.0))


def mutate(data: bytes, random: Random) -> bytes:
    """Change bytes, or a message's length together with its body."""
    changed = bytearray(data)
    if random.random() < 0.6 and len(changed) > 1:
        for _ in range(random.choice((1, 2, 4))):
            changed[random.randrange(len(changed))] = random.choice((0, 1, 5, 127, 128, 255))
        return bytes(changed)
    body = changed[11:] if len(changed) > 11 else bytearray()
    cut = bytes(body[: random.randrange(len(body) + 1)]) + random.randbytes(
        random.choice((0, 1, 8))
    )
    return bytes(data[:1]) + pack(Code.READY) + pack(Code(random.randint(1, 5)), cut)
