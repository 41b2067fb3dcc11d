"""Inside a fork: check one candidate, then answer frames of feature rows for ever.

A request is ``operation, K, m`` and ``K x m x F`` doubles; the answer is ``K`` int32 (``decide``) or
``K`` doubles (``score``, ``reference``; there m is 1).
"""

from __future__ import annotations

import json
import struct
from enum import IntEnum
from functools import lru_cache
from typing import Any

from ...sdk.errors import LanguageError
from ...sdk.isolation import frames
from ...sdk.isolation.lockdown import Cell
from ...sdk.kind import Feature, Kind, Metric
from ...sdk.language import Program, check, chooser

REQUEST = struct.Struct("<BII")
LENGTH = struct.Struct("<I")


class Operation(IntEnum):
    """What is asked of a candidate."""

    DECIDE = 1
    SCORE = 2
    REFERENCE = 3


def prepare(settings: dict[str, Any]) -> None:
    """Warm what the first candidate would otherwise import after its files are gone."""
    kind = _kind({"inputs": ["x", "since_picked", "noise"], "order": "lowest", **_ANY_LIMITS})
    program = check("def score(x):\n    return x + 1.0\n", kind.input_names)
    chooser(program, kind)([[1.0, 1.0, 0.5]])
    program.interpret(1.0, 1.0, 0.5)


_ANY_LIMITS = {"max_nodes": 400, "max_fuel": 2000}


def serve(descriptor: int, state: None, cell: Cell) -> None:
    """Receive one candidate and answer frames until the host closes the connection."""
    spec = _receive(descriptor)
    kind = _kind(spec)
    try:
        program = check(
            spec["source"], kind.input_names, max_nodes=kind.max_nodes, max_fuel=kind.max_fuel
        )
    except LanguageError as error:
        _tell(descriptor, frames.Code.REJECTED, str(error))
        return
    frames.write_all(descriptor, frames.pack(frames.Code.READY))
    _answer_for_ever(descriptor, program, kind)


def _answer_for_ever(descriptor: int, program: Program, kind: Kind) -> None:
    decide = chooser(program, kind)
    tiers = {Operation.SCORE: program.bind(), Operation.REFERENCE: program.interpret}
    width = len(kind.inputs)
    row = struct.Struct(f"<{width}d")
    while True:
        operation, k, m = REQUEST.unpack(frames.read_exactly(descriptor, REQUEST.size))
        rows = row.iter_unpack(frames.read_exactly(descriptor, 8 * k * m * width))
        if operation == Operation.DECIDE:
            picks = [decide(items) for items in zip(*[rows] * m, strict=True)]
            frames.write_all(descriptor, _packer(k, "i").pack(*picks))
        else:
            tier = tiers[Operation(operation)]
            frames.write_all(descriptor, _packer(k, "d").pack(*[tier(*items) for items in rows]))


@lru_cache(maxsize=16)
def _packer(count: int, letter: str) -> struct.Struct:
    return struct.Struct(f"<{count}{letter}")


def _receive(descriptor: int) -> dict[str, Any]:
    (length,) = LENGTH.unpack(frames.read_exactly(descriptor, LENGTH.size))
    spec: dict[str, Any] = json.loads(frames.read_exactly(descriptor, length))
    return spec


def _kind(spec: dict[str, Any]) -> Kind:
    """Return as much of a kind as a decision needs: names, order and limits."""
    own = spec["inputs"][:-2]  # the host's two are added by Kind itself
    return Kind(
        name="candidate",
        version=1,
        description="",
        features=tuple(Feature(name, "1", "", 0.0, 1.0) for name in own),
        objective=Metric("objective", "1", 1.0),
        order=spec["order"],
        max_nodes=spec["max_nodes"],
        max_fuel=spec["max_fuel"],
    )


def _tell(descriptor: int, code: frames.Code, text: str) -> None:
    frames.write_all(descriptor, frames.pack(code, frames.plain(text).encode("ascii")))
