"""Our search on the stub model and evaluator: CPU milliseconds of a proposal, and of replaying a log."""

from __future__ import annotations

import math
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
from gnomon.shadow.models.breaker import Breaker
from gnomon.shadow.search.authors import edits
from gnomon.shadow.search.authors.prompts import statement, templates
from gnomon.shadow.search.authors.prompts.builder import Prompts
from gnomon.shadow.search.authors.writers import Authors
from gnomon.shadow.search.authors.writing import Arm, Written
from gnomon.shadow.search.bandit import Bandit
from gnomon.shadow.search.driver import Options, evolve
from gnomon.shadow.search.progress import Progress
from gnomon.shadow.search.records import Assignment, Budget, Reply
from gnomon.shadow.search.space import Space
from gnomon.shadow.search.strategies import Makers

#: Programs that one figure is the mean of, and how many figures there are.
BLOCK, BLOCKS = 100, 3


@dataclass(frozen=True)
class Timed:
    """What a search took.

    Attributes:
        marks: (proposals so far, CPU seconds) after every evaluation.
        resumed_s: CPU seconds of reading the log and of replaying it to its end; NaN where nobody asked.
    """

    marks: Sequence[tuple[int, float]]
    resumed_s: float = math.nan

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
            answer = f"Here it is.\n```python\n{next(self._answers)}```"
            source, error = edits.read(answer, work)
            future.set_result(Reply(source, error, cost=0.001, tokens_in=999, tokens_out=99))
        else:
            found = segments(work)
            future.set_result(Evaluation(Status.OK, 1.0 + sum(found) / len(found), found))
        return future

    def close(self) -> None:
        """Nothing to free."""


def asking() -> Makers:
    """Return the one proposer that has the stub model write, as a user's models do: prompt, bandit, breaker."""
    prompts = Prompts(templates.load(), statement.of_space(Space(load_balancer)))
    return [(1.0, Written((Arm("stub"),), prompts, Bandit(["stub"]), Breaker(["stub"])))]


def searched(name: str, model: bool, programs: int, resume: bool = True) -> Timed:
    """Search until there are so many programs and a few blocks more, and go on with the log.

    Args:
        name: of the strategy.
        model: whether the stub model makes all programs but the seeds.
        programs: that there are to be.
        resume: whether to go on with the log.
    """
    marks: list[tuple[int, float]] = []
    most = programs + BLOCK * BLOCKS + 1
    options = Options(budget=Budget(most, 3 * most), strategy=name)

    def note(glance: Progress) -> None:
        if glance.phase == "search":
            marks.append((glance.search.steps, time.process_time()))

    with tempfile.TemporaryDirectory() as folder:
        _evolved(options, Path(folder), model, note)
        if not resume:
            return Timed(marks)
        begin = time.process_time()
        _evolved(replace(options, resume=True), Path(folder), model)
        return Timed(marks, time.process_time() - begin)


def _evolved(options: Options, out: Path, model: bool, note: Any = lambda _: None) -> None:
    instant = Instant()
    authors = Authors(asking(), instant) if model else None
    evolve(load_balancer, instant, options, out, progress=note, authors=authors)
