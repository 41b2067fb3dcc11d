"""Evaluations in flight, and what of their results is believed."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from ....sdk.errors import SearchError
from ...evaluation import Engine, Evaluation, Split, Status, Trial
from ...gates.evaluator import beyond

_ERRORS_IN_A_ROW = 5


@dataclass(frozen=True)
class Bounds:
    """Holds scores to the proven limit of their window.

    Attributes:
        of: returns the limit of a window, ``-inf`` where none is proven; asked once for each.
        caught: is told source, window, score and limit of every score beyond it; the program counts as one
            that the evaluator failed on.
    """

    of: Callable[[Split], float] = lambda _: -math.inf
    caught: Callable[[str, Split, float, float], None] = lambda *_: None
    _known: dict[Split, float] = field(default_factory=dict)

    def held(self, source: str, split: Split, found: Evaluation) -> Evaluation:
        """Return an evaluation, or what the evaluator's own failure is where its score is beyond the limit."""
        if found.status is not Status.OK:
            return found
        if split not in self._known:
            self._known[split] = self.of(split)
        limit = self._known[split]
        if not beyond(found.score, limit):
            return found
        self.caught(source, split, found.score, limit)
        detail = f"a score of {found.score:.6g} beyond the proven bound of {limit:.6g}"
        return Evaluation(Status.EVALUATOR_ERROR, detail=detail, layers=found.layers)


class Pool:
    """Evaluations in flight, each submitted once more when the evaluator itself failed.

    Attributes:
        layers: of isolation, that every evaluation must have run under.
        flying: by future.
    """

    def __init__(self, engine: Engine, bounds: Bounds | None = None) -> None:
        self._engine = engine
        self._bounds = bounds or Bounds()
        self.layers = engine.layers
        self.flying: dict[Future[Evaluation], _Flight] = {}
        self._errors = 0

    def submit(self, ticket: Any, source: str, split: Split, trial: Trial | None = None) -> None:
        """Start an evaluation."""
        self._start(_Flight(ticket, source, split, trial))

    def _start(self, flight: _Flight) -> None:
        future = self._engine.submit(flight.source, flight.split, flight.trial)
        self.flying[future] = flight

    def finished(self) -> list[tuple[Any, Evaluation]]:
        """Return the tickets of what has ended, with results, oldest first.

        Raises:
            SearchError: the evaluator has failed too many times in a row.
        """
        ended = [future for future in self.flying if future.done()]
        results = []
        for future in ended:
            flight = self.flying.pop(future)
            believed = _believed(_evaluation(future), self.layers)
            evaluation = self._bounds.held(flight.source, flight.split, believed)
            if evaluation.status is Status.EVALUATOR_ERROR and not flight.again:
                self._start(replace(flight, again=True))
            else:
                self._watch(evaluation)
                results.append((flight.ticket, evaluation))
        return results

    def _watch(self, evaluation: Evaluation) -> None:
        failed = evaluation.status is Status.EVALUATOR_ERROR
        self._errors = self._errors + 1 if failed else 0
        if self._errors >= _ERRORS_IN_A_ROW:
            raise SearchError(
                f"the evaluator failed {self._errors} times in a row ({evaluation.detail or 'no detail'}); "
                "what was found is in the log: repair it and continue with --resume"
            )


@dataclass(frozen=True, slots=True)
class _Flight:
    ticket: Any
    source: str
    split: Split
    trial: Trial | None = None
    again: bool = False


def _evaluation(future: Future[Evaluation]) -> Evaluation:
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001 - an engine's own failure must not end the search
        return Evaluation(Status.EVALUATOR_ERROR, detail=f"{type(error).__name__}: {error}"[:200])


def _believed(evaluation: Evaluation, layers: tuple[str, ...]) -> Evaluation:
    """Return an evaluation, or an error in the place of one that was less isolated than the run's header says."""
    lost = [layer for layer in layers if layer not in evaluation.layers]
    if not lost or evaluation.status is Status.EVALUATOR_ERROR:
        return evaluation
    detail = f"it ran without {', '.join(lost)}, which the run began with"
    return Evaluation(Status.EVALUATOR_ERROR, detail=detail, layers=evaluation.layers)
