"""Other published strategies fit the seam as it is: FunSearch, AdaEvolve (its defects mended) and EvoX.

Each is a small class here; none needs more of the search than ``draft``, ``learn`` and what a context holds.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.shadow.evaluation import Evaluation, Status
from gnomon.shadow.search.archive import Archive
from gnomon.shadow.search.context import Choice, Context
from gnomon.shadow.search.core import Search
from gnomon.shadow.search.log import RunLog
from gnomon.shadow.search.proposers import Crossover, Mutation, Probes, Seeds
from gnomon.shadow.search.records import Brief, Budget, Draft, Outcome, Proposal, Record
from gnomon.shadow.search.space import Space, seeds
from gnomon.shadow.search.strategies import InTurn, Makers, Mixed, Strategy
from gnomon.shadow.search.strategies.stagnation import Stagnation

SPACE = Space(load_balancer)
SEEDS = seeds(SPACE, "library")


def judged(proposal: Proposal) -> Evaluation:
    """Give a score that is better the more of a program is about latency, and some failures."""
    luck = random.Random(proposal.key)
    if luck.random() < 0.1:
        return Evaluation(luck.choice((Status.FAULT, Status.VIOLATION)))
    segments = tuple(float(luck.randint(1, 3)) for _ in range(3))
    return Evaluation(Status.OK, sum(segments) - proposal.draft.source.count("ewma_ms"), segments)


def searched(chosen: Strategy, folder: Path, evaluations: int, seed: int = 0) -> Search:
    with RunLog(folder / f"run{seed}-{random.random()}", {}) as log:
        search = Search(SPACE, chosen, log, budget=Budget(evaluations), seed=seed)
        while (proposal := search.ask()) is not None:
            assert isinstance(proposal, Proposal)
            search.tell(proposal, judged(proposal))
    search.finish()
    return search


class FunSearch(Strategy):
    """Islands of clusters that do the same on all segments (Romera-Paredes et al., Nature 2024)."""

    def __init__(
        self, known: Mapping[str, str], makers: Makers, *, islands: int = 4, reset: int = 60
    ):
        self._first = (Seeds(known), Probes())
        self._mixed = Mixed(makers)
        self._reset = reset
        self.islands: list[dict[tuple[float, ...], list[Record]]] = [{} for _ in range(islands)]
        self.resets = self._heard = 0

    def draft(self, context: Context, rng: random.Random) -> Draft | Brief | None:
        if self._heard >= self._reset:  # by proposals, not by the clock: a run must repeat
            self._heard = 0
            self._restart(rng)
        place = rng.randrange(len(self.islands))
        shown = sorted(self._drawn(self.islands[place], rng), key=lambda r: -r.score)
        choice = Choice(place=str(place))
        if shown:  # the best one last, as version 1 of two
            choice = Choice(shown[-1], tuple(shown[:-1]), place=str(place))
        for proposer in (*self._first, self._mixed):
            made = proposer.propose(choice, context, rng)
            if made is not None:
                return made
        return None

    def _drawn(
        self, island: dict[tuple[float, ...], list[Record]], rng: random.Random
    ) -> list[Record]:
        clusters = list(island.values())
        if not clusters:
            return []
        programs = sum(map(len, clusters))
        temperature = 0.1 * (1 - programs % 30_000 / 30_000)
        best = min(cluster[0].score for cluster in clusters)
        scores = [math.exp((best - cluster[0].score) / temperature) for cluster in clusters]
        return [self._short(cluster, rng) for cluster in rng.choices(clusters, scores, k=2)]

    @staticmethod
    def _short(cluster: list[Record], rng: random.Random) -> Record:
        low, high = min(r.nodes for r in cluster), max(r.nodes for r in cluster)
        return rng.choices(cluster, [math.exp(-(r.nodes - low) / (high + 1e-6)) for r in cluster])[
            0
        ]

    def learn(self, record: Record) -> None:
        for proposer in (*self._first, self._mixed):
            proposer.learn(record)
        self._heard += 1
        if record.outcome is Outcome.OK:
            for island in self.islands if not record.place else [self.islands[int(record.place)]]:
                island.setdefault(record.segments, []).append(record)

    def _restart(self, rng: random.Random) -> None:
        """Fill the worse half of the islands anew from the best program of a better one."""
        best = [
            min((r for c in i.values() for r in c), key=lambda r: r.score, default=None)
            for i in self.islands
        ]
        order = sorted(range(len(best)), key=lambda i: best[i].score if best[i] else math.inf)  # type: ignore[union-attr]
        half = len(order) // 2
        for index in order[half:]:
            founder = best[rng.choice(order[:half])]
            self.islands[index] = {founder.segments: [founder]} if founder else {}
        self.resets += 1


class AdaEvolve(Strategy):
    """Islands chosen by UCB, exploration by how much each improves, new ideas on stagnation.

    Mended: every proposal counts, and what an island has gained fades with each of them.
    """

    def __init__(
        self, known: Mapping[str, str], makers: Makers, *, islands: int = 2, patience: int = 30
    ):
        self._first = (Seeds(known), Probes())
        self._mixed = Mixed(makers)
        self.islands = [Archive(20) for _ in range(islands)]
        self._rewards = [0.0] * islands
        self._weights = [0.0] * islands
        self._gains = [0.0] * islands
        self.visits = [0] * islands
        self._stagnation = Stagnation(patience)
        self._best = math.inf
        self.ideas = self._due = 0

    def draft(self, context: Context, rng: random.Random) -> Draft | Brief | None:
        place = self._place()
        members = self.islands[place].members
        intensity = 0.15 + 0.35 / (1 + math.sqrt(self._gains[place] + 1e-8))
        choice = Choice(place=str(place))
        if members and self._due:  # the best program is the parent of what a new idea makes
            self._due -= 1
            choice = Choice(
                context.archive.best, tuple(members[:2]), note="rethink", place=str(place)
            )
        elif members:
            parent = rng.choice(
                members if rng.random() < intensity else members[: max(1, len(members) // 4)]
            )
            choice = Choice(
                parent, tuple(members[-2:] + context.archive.members[:2]), place=str(place)
            )
        for proposer in (*self._first, self._mixed):
            made = proposer.propose(choice, context, rng)
            if made is not None:
                return made
        return None

    def _place(self) -> int:
        if min(self.visits) < 3:
            return self.visits.index(min(self.visits))
        total = sum(self.visits)
        values = [
            self._rewards[i] / max(self._weights[i], 1e-9)
            + 1.41 * math.sqrt(math.log(total + 1) / self.visits[i])
            for i in range(len(self.visits))
        ]
        return values.index(max(values))

    def learn(self, record: Record) -> None:
        for proposer in (*self._first, self._mixed):
            proposer.learn(record)
        gained = 0.0
        if record.outcome is Outcome.OK:
            gained = (
                min(max(self._best - record.score, 0.0) / (abs(self._best) + 1e-8), 1.0)
                if math.isfinite(self._best)
                else 1.0
            )
            self._best = min(self._best, record.score)
            for island in self.islands if not record.place else [self.islands[int(record.place)]]:
                island.add(record)
        if record.place:
            index = int(record.place)
            self.visits[index] += 1
            self._rewards[index] = 0.9 * self._rewards[index] + gained
            self._weights[index] = 0.9 * self._weights[index] + 1.0
            self._gains[index] = 0.9 * self._gains[index] + 0.1 * gained**2
        if self._stagnation.heard(record):
            self.ideas += 1
            self._due = 2


class EvoX(Strategy):
    """Exchanges the strategy that is at work for another one when the best score has stopped growing.

    All of them learn of everything, so that whoever takes over knows what the others know. Where a strategy is
    written by a model, what it writes is data here: which of a set, with which numbers, never code.
    """

    def __init__(self, *strategies: Strategy, patience: int = 20):
        self._strategies = strategies
        self._stagnation = Stagnation(patience)
        self._scores: defaultdict[int, list[float]] = defaultdict(list)
        self._at, self._began, self._best = 0, math.inf, math.inf
        self.used: list[int] = [0]
        self._ends = False

    def draft(self, context: Context, rng: random.Random) -> Draft | Brief | None:
        if self._ends:
            self._ends = False
            self._switch(rng)
        made = self._strategies[self._at].draft(context, rng)
        return replace(made, place=f"{self._at}:{made.place}") if made is not None else None

    def _switch(self, rng: random.Random) -> None:
        self._scores[self._at].append(self._began - self._best)
        untried = [i for i in range(len(self._strategies)) if i not in self._scores]
        best = max(self._scores, key=lambda i: sum(self._scores[i]) / len(self._scores[i]))
        others = [i for i in range(len(self._strategies)) if i != self._at]
        self._at = untried[0] if untried else best if best != self._at else rng.choice(others)
        self._began = self._best
        self.used.append(self._at)

    def learn(self, record: Record) -> None:
        owner, _, place = record.place.partition(":")
        for index, each in enumerate(self._strategies):
            each.learn(replace(record, place=place if owner == str(index) else ""))
        if record.outcome is Outcome.OK:
            self._best = min(self._best, record.score)
            self._began = self._best if math.isinf(self._began) else self._began
        self._ends |= self._stagnation.heard(record)


def makers() -> Makers:
    return ((0.7, Mutation()), (0.3, Crossover()))


def fun() -> FunSearch:
    return FunSearch(SEEDS, makers())


def ada() -> AdaEvolve:
    return AdaEvolve(SEEDS, makers())


def evox() -> EvoX:
    first = [Seeds(SEEDS), Probes()]
    return EvoX(InTurn(first, makers()), FunSearch({}, makers()), AdaEvolve({}, makers()))


@pytest.mark.parametrize("made", [fun, ada, evox])
def test_they_search_and_repeat(made: Callable[[], Strategy], tmp_path: Path) -> None:
    first, again = (searched(made(), tmp_path, 100) for _ in range(2))
    assert first.records == again.records
    assert sum(first.counts[o] for o in (Outcome.OK, Outcome.FAULT, Outcome.VIOLATION)) == 100
    start = min(
        r.score for r in first.records if r.operator.startswith("seed:") and r.score == r.score
    )
    assert first.archive.best is not None
    assert first.archive.best.score < start


def test_funsearch_keeps_clusters_by_what_programs_do_and_starts_islands_anew(
    tmp_path: Path,
) -> None:
    chosen = fun()
    search = searched(chosen, tmp_path, 200)
    assert chosen.resets >= 2
    for island in chosen.islands:
        for signature, cluster in island.items():
            assert {record.segments for record in cluster} == {signature}
    assert {r.place for r in search.records if r.place} == {"0", "1", "2", "3"}


def test_adaevolve_notices_that_nothing_is_any_good_and_leaves_an_island_that_is_not() -> None:
    """200 worse children in a row: the published code asks the same island 200 times and sees nothing."""
    chosen = ada()
    for step in range(12):
        chosen.learn(_record(step, 1.0, Outcome.OK, str(step % 2)))
    places: Counter[int] = Counter()
    for step in range(12, 212):
        place = chosen._place()
        places[place] += 1
        outcome = (Outcome.OK, Outcome.DUPLICATE, Outcome.INVALID, Outcome.NOT_NOVEL)[step % 4]
        chosen.learn(_record(step, 9.0, outcome, str(place)))
    assert chosen.ideas == 211 // 30  # of the 212, the first one was better than nothing
    assert min(places[0], places[1]) > 60


def test_evox_changes_the_strategy_when_the_best_score_stands_still(tmp_path: Path) -> None:
    chosen = evox()
    searched(chosen, tmp_path, 250)
    assert set(chosen.used) == {0, 1, 2}
    assert all(one != other for one, other in zip(chosen.used, chosen.used[1:], strict=False))


def _record(step: int, score: float, outcome: Outcome, place: str) -> Record:
    fine = outcome is Outcome.OK
    return Record(
        step, f"p{step}", f"k{step}", "", "wrap", (), 3, outcome,
        score if fine else math.nan, (score + step,) if fine else (), place=place,
    )  # fmt: skip
