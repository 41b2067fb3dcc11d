"""Our search on the stub model and evaluator: CPU milliseconds of a proposal, and of replaying a log."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from _search_stub import answers, segments

from gnomon.policies.load_balancer import load_balancer
from gnomon.shadow.evaluation import Evaluation, Split, Status
from gnomon.shadow.search.context import Choice, Context
from gnomon.shadow.search.driver import Options, Progress, evolve
from gnomon.shadow.search.proposers import Proposer
from gnomon.shadow.search.records import Assignment, Brief, Budget, Prompt, Record, Reply
from gnomon.shadow.search.writers import Authors

#: Programs that one figure is the mean of, and how many figures there are.
BLOCK, BLOCKS = 100, 3


@dataclass(frozen=True)
class Timed:
    """What a search took.

    Attributes:
        marks: (proposals so far, CPU seconds) after every evaluation.
        resumed_s: CPU seconds of reading the log and of replaying it to its end.
    """

    marks: Sequence[tuple[int, float]]
    resumed_s: float

    def at(self, population: int) -> list[float]:
        """Return ms of CPU for one proposal from a population on, one figure per block."""
        found = []
        for at in range(population, population + BLOCK * BLOCKS, BLOCK):
            if at + BLOCK < len(self.marks):
                (steps, begin), (more, end) = self.marks[at], self.marks[at + BLOCK]
                found.append(1e3 * (end - begin) / (more - steps))
        return found


class Instant:
    """An engine and a writer that answer at once."""

    layers: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._answers = answers()

    def submit(self, work: Any, split: Split = "train", trial: Any = None) -> Future[Any]:
        """Return a future that is done: of a brief's program, or of a source's scores."""
        future: Future[Any] = Future()
        if isinstance(work, Assignment):
            future.set_result(Reply(next(self._answers), cost=0.0))
        else:
            found = segments(work)
            future.set_result(Evaluation(Status.OK, 1.0 + sum(found) / len(found), found))
        return future

    def close(self) -> None:
        """Nothing to free."""


class Asked(Proposer):
    """Asks the stub model to rewrite the chosen parent."""

    def propose(self, choice: Choice, context: Context, rng: random.Random) -> Brief | None:
        """Return a brief; None while there is no parent."""
        if choice.parent is None:
            return None
        prompt = Prompt.of(("user", f"{choice.parent.source}\n{choice.note}"))
        return Brief(
            "rewrite", prompt, "stub", parents=(choice.parent.program,), place=choice.place
        )

    def learn(self, record: Record) -> None:
        """Learn nothing."""


def searched(name: str, model: bool, programs: int) -> Timed:
    """Search until there are so many programs and a few blocks more, and go on with the log.

    Args:
        name: of the strategy.
        model: whether the stub model makes all programs but the seeds.
        programs: that there are to be.
    """
    marks: list[tuple[int, float]] = []
    options = Options(budget=Budget(programs + BLOCK * BLOCKS + 1, 3 * programs), strategy=name)

    def note(glance: Progress) -> None:
        if glance.phase == "search":
            marks.append((glance.search.steps, time.process_time()))

    with tempfile.TemporaryDirectory() as folder:
        _evolved(options, Path(folder), model, note)
        begin = time.process_time()
        _evolved(replace(options, resume=True), Path(folder), model)
        return Timed(marks, time.process_time() - begin)


def _evolved(options: Options, out: Path, model: bool, note: Any = lambda _: None) -> None:
    instant = Instant()
    authors = Authors([(1.0, Asked())], instant) if model else None
    evolve(load_balancer, instant, options, out, progress=note, authors=authors)
