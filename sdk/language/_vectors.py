"""Golden vectors: inputs with the outputs that every place must reproduce, bit for bit."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from typing import NamedTuple

from ..kind import Feature
from ._names import WHOLE_LIMIT
from ._program import Program

Row = tuple[float, ...]


class Vectors(NamedTuple):
    """Inputs and outputs of a program.

    Attributes:
        rows: one tuple of floats per vector, in the order of the program's inputs.
        outputs: the score of each row; NaN where it faults.
    """

    rows: tuple[Row, ...]
    outputs: tuple[float, ...]


def golden_vectors(
    program: Program, features: Sequence[Feature], count: int = 256, seed: int = 0
) -> Vectors:
    """Return ``count`` rows, edges included, with their scores.

    Args:
        program: whose inputs are the features' names.
        features: in the program's order; their ranges are drawn from.
        count: number of rows.
        seed: the same seed gives the same rows on every machine.
    """
    rows = tuple(_row(features, seed, index) for index in range(count))
    score = program.bind()
    return Vectors(rows, tuple(score(*row) for row in rows))


def replay_vectors(program: Program, rows: Sequence[Row], outputs: Sequence[float]) -> str:
    """Return an empty string when a program reproduces its outputs here, else the first mismatch."""
    if len(rows) != len(outputs):
        return f"{len(rows)} rows but {len(outputs)} outputs"
    score = program.bind()
    for index, (row, expected) in enumerate(zip(rows, outputs, strict=True)):
        if len(row) != len(program.inputs):
            return f"vector {index} has {len(row)} values, not {len(program.inputs)}"
        found = score(*row)
        if not same_bits(found, expected):
            return f"vector {index}: {row} gives {found!r}, not {expected!r}"
    return ""


def same_bits(left: float, right: float) -> bool:
    """Return whether two scores are one: the same bits, or both a fault."""
    if math.isnan(left) or math.isnan(right):
        return math.isnan(left) and math.isnan(right)
    return struct.pack("<d", left) == struct.pack("<d", right)


def _row(features: Sequence[Feature], seed: int, index: int) -> Row:
    # A quarter of the rows are edges in every column, a quarter mix, the rest lie inside the ranges.
    values: list[float] = []
    for column, feature in enumerate(features):
        draw = _draw(seed, index, column)
        edge = index % 4 == 0 or (index % 4 == 1 and draw[1] % 2 == 0)
        tie = index % 8 == 2 and values
        value = values[-1] if tie else _edge(feature, draw) if edge else _inside(feature, draw)
        values.append(float(round(value)) if feature.integer else value)
    return tuple(values)


def _edge(feature: Feature, draw: tuple[int, int]) -> float:
    low, high = feature.low, feature.high
    edges = (low, high, 0.0, 1.0, (low + high) / 2, 2.0**-1060, 1e-9, WHOLE_LIMIT - 1.0)
    return edges[draw[0] % len(edges)]


def _inside(feature: Feature, draw: tuple[int, int]) -> float:
    share = draw[0] / 2.0**64
    span = feature.high - feature.low
    if draw[1] % 2:
        # Ranges span magnitudes and services live at their small end; products are exact everywhere.
        share *= share
        share *= share
        share *= share
    return feature.low + span * share


def _draw(seed: int, index: int, column: int) -> tuple[int, int]:
    text = f"gnomon golden vector {seed} {index} {column}".encode()
    first, second = struct.unpack("<QQ", hashlib.sha256(text).digest()[:16])
    return first, second
