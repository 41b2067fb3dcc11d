"""The model and the evaluator that every search is timed with: both answer at once."""

from __future__ import annotations

import hashlib
import itertools
import struct
from collections.abc import Iterator

SEGMENTS = 20
#: A seed of our own; what a model answers is of this size, too.
SEED = (
    "def score(inflight, ewma_ms, weight):\n    load = inflight + 1.0\n    return load * ewma_ms\n"
)


def answers(first: int = 0) -> Iterator[str]:
    """Yield whole programs, each unlike all others."""
    for number in itertools.count(first):
        yield (
            "def score(inflight, ewma_ms, weight):\n"
            f"    load = inflight + {number}.5\n"
            "    if ewma_ms > 20.0:\n"
            f"        load = load * 1.{number}\n"
            "    return load * ewma_ms / weight\n"
        )


def segments(source: str) -> tuple[float, ...]:
    """Return what a program scores on every segment, from 0 to 1: as good as random, and the same always."""
    digest = hashlib.shake_128(source.encode()).digest(8 * SEGMENTS)
    return tuple(value / 2.0**64 for value in struct.unpack(f"<{SEGMENTS}Q", digest))


def mean(source: str) -> float:
    """Return what a program scores in all."""
    return sum(segments(source)) / SEGMENTS
