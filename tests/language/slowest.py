"""The slowest policies that can be found: hill climbing on CPU time of a call, from generated and known ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from gnomon.sdk.errors import LanguageError
from gnomon.sdk.language import check

from ..fuzz import mutate
from .test_tiers import INPUTS

#: What is known to be slow: remainders of numbers far apart, rounding, powers, calls, loops that hold little.
KNOWN = (
    "def score(a, b, c):\n    for i in range(285):\n        c = a % b\n    return c\n",
    "def score(a, b, c):\n    while a == a:\n        c = a % b + a // 3\n    return c\n",
    "import math\ndef score(a, b, c):\n    return sum(math.sin(a) for i in range(600))\n",
    "def score(a, b, c):\n    return sum(round(c) % b ** 3 for i in range(230))\n",
    "def f(x):\n    return x % 1e-300\ndef score(a, b, c):\n    return sum(f(a) for i in range(200))\n",
    "def score(a, b, c):\n    return max(a % b, b // c, a ** 2, min(a, b, c), round(a), int(b))\n",
)
ROWS = ((1.7e308, 1.5e-323, 1.0), (1e300, 1e-300, 3.0), (0.5, 0.25, 7.0), (-3.0, 5.0, 2.0**52))


@dataclass(frozen=True)
class Slow:
    """A policy with its time.

    Attributes:
        source: of it.
        row: on which it is slow.
        seconds: CPU time of one call, the least of a few.
        fuel: the most that a call can use.
    """

    source: str
    row: tuple[float, ...]
    seconds: float
    fuel: int


def timed(source: str) -> Slow | None:
    """Return how slow a source is at its worst row; None for one that is refused."""
    try:
        program = check(source, INPUTS)
    except LanguageError:
        return None
    score = program.bind()
    worst = max(((_seconds(score, row), row) for row in ROWS), key=lambda found: found[0])
    return Slow(source, worst[1], worst[0], program.fuel_bound)


def _seconds(score: Callable[..., float], row: tuple[float, ...]) -> float:
    least = float("inf")
    for _ in range(3):
        begun = time.process_time()
        score(*row)
        least = min(least, time.process_time() - begun)
    return least


def climb(seconds: float, seed: int, start: Iterable[str] = KNOWN) -> list[Slow]:
    """Return the slowest found in so many seconds, the slowest first."""
    random = Random(seed)
    best = [found for found in map(timed, start) if found]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        base = random.choice(best).source
        for _ in range(random.choice((1, 1, 2))):
            base = mutate.source(base, random)
        found = timed(base)
        if found is not None and all(found.source != each.source for each in best):
            best = sorted([*best, found], key=lambda each: -each.seconds)[:12]
    return sorted(best, key=lambda each: -each.seconds)
