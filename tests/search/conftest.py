"""Engines that answer at once, from an analytic objective over what a program computes."""

from __future__ import annotations

import math
import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import LanguageError
from gnomon.sdk.language import check
from gnomon.shadow.evaluation import Evaluation, Split, Status, Trial

SEGMENTS = 4


def _rows(seed: int) -> list[tuple[float, ...]]:
    rng = random.Random(seed)
    return [
        (float(rng.randint(0, 20)), rng.uniform(1, 100), rng.choice((1.0, 2.0, 4.0)))
        + (float(rng.randint(1, 50)), rng.random())
        for _ in range(24)
    ]


ROWS: dict[Split, list[tuple[float, ...]]] = {"train": _rows(1), "validation": _rows(2)}


def ideal(row: tuple[float, ...]) -> float:
    """The hidden order; no published policy has it."""
    return 1.7 * math.log1p(row[0]) + 0.6 * math.log(row[1]) - 0.3 * math.log(row[2])


class RankEngine:
    """Scores a program by the share of pairs that it orders unlike the hidden order, plus one.

    Attributes:
        calls: evaluations by (source, split).
        layers: that it claims for every evaluation.
        before: called with a source and how often it was submitted; may give another result.
    """

    def __init__(
        self,
        workers: int = 1,
        before: Callable[[str, int], Evaluation | None] = lambda source, time: None,
    ) -> None:
        self.calls: Counter[tuple[str, Split]] = Counter()
        self.before = before
        self.layers: tuple[str, ...] = ()
        self._pool = ThreadPoolExecutor(workers)
        self._lock = threading.Lock()

    def submit(self, source: str, split: Split, trial: Trial | None = None) -> Future[Evaluation]:
        with self._lock:
            self.calls[source, split] += 1
            time = self.calls[source, split]
        return self._pool.submit(lambda: self.before(source, time) or rank(source, split))

    def close(self) -> None:
        self._pool.shutdown()


def rank(source: str, split: Split) -> Evaluation:
    try:
        score = check(source, load_balancer.input_names).bind()
    except LanguageError as error:
        return Evaluation(Status.REJECTED, detail=str(error))
    values = [score(*row) for row in ROWS[split]]
    if any(math.isnan(value) for value in values):
        return Evaluation(Status.FAULT, detail="a score faulted")
    wanted = [ideal(row) for row in ROWS[split]]
    wrong = [
        sum((a < b) != (c < d) for b, d in zip(values[:i], wanted[:i], strict=True))
        for i, (a, c) in enumerate(zip(values, wanted, strict=True))
    ]
    segments = tuple(sum(wrong[part::SEGMENTS]) / 69 for part in range(SEGMENTS))
    return Evaluation(Status.OK, 1.0 + sum(segments) / SEGMENTS, segments)


@pytest.fixture(scope="session")
def rank_engine() -> type[RankEngine]:
    """The engine's class; a test closes what it makes."""
    return RankEngine
