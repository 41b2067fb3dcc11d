"""Constants by CMA-ES: they improve, and nothing but the seed decides how."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.shadow.search.archive import Archive
from gnomon.shadow.search.context import Choice, Context
from gnomon.shadow.search.keyless.dialect import ScoreDialect
from gnomon.shadow.search.keyless.tuning import Tuning, constants, skeleton, with_constants
from gnomon.shadow.search.proposers import Constants, Extended
from gnomon.shadow.search.records import Outcome, Record
from gnomon.shadow.search.space import Space, seeds

INPUTS = ("a", "b", "noise")


class Dialect(ScoreDialect):
    """Score form with these inputs."""

    def __init__(self) -> None:
        super().__init__(load_balancer)

    def with_constants(self, source: str, values: Sequence[float]) -> str:
        return with_constants(source, values, INPUTS)


DIALECT = Dialect()
SOURCE = "def score(a, b):\n    return a * 1.0 + b ** -2.0 if a > 0.5 else -3.0\n"
TARGET = (1.3, -2.6, 0.35, -3.9)


def toy(source: str) -> float:
    return sum((x - t) ** 2 for x, t in zip(constants(source), TARGET, strict=True))


def run(seed: int, limit: int = 64) -> tuple[list[str], Tuning]:
    tuning = Tuning(SOURCE, toy(SOURCE), DIALECT, seed)
    asked: list[str] = []
    while not tuning.over and len(asked) < limit:
        batch = []
        while (item := tuning.ask()) is not None:
            batch.append(item)
        for ticket, source in reversed(batch):  # in any order
            tuning.tell(ticket, toy(source))
        asked += [source for _, source in batch]
    return asked, tuning


def test_constants_are_found_with_their_signs_and_put_back() -> None:
    assert constants(SOURCE) == (0.5, 1.0, -2.0, -3.0)
    other = with_constants(SOURCE, (0.25, -1.5, 2.0, 4.0), INPUTS)
    assert constants(other) == (0.25, -1.5, 2.0, 4.0)
    assert skeleton(other) == skeleton(SOURCE)
    with pytest.raises(ValueError, match="zip"):
        with_constants(SOURCE, (1.0,), INPUTS)


def test_loop_bounds_are_no_constants() -> None:
    source = "def score(a):\n    for i in range(3):\n        a += 2.0\n    return a\n"
    assert constants(source) == (2.0,)


@pytest.mark.parametrize("seed", range(5))
def test_constants_improve_on_a_quadratic(seed: int) -> None:
    asked, tuning = run(seed)
    assert tuning.best < 0.6 * toy(SOURCE)
    assert tuning.best == min(toy(source) for source in asked)


def test_one_seed_gives_one_run_and_touches_no_global_generator() -> None:
    np.random.seed(4321)
    expected = np.random.random(3).tolist()
    np.random.seed(4321)
    assert run(7)[0] == run(7)[0] != run(8)[0]
    assert np.random.random(3).tolist() == expected


def test_programs_without_a_score_rank_last_and_a_run_that_finds_nothing_ends() -> None:
    tuning = Tuning(SOURCE, 1.0, DIALECT, 0)
    asked = 0
    while not tuning.over:
        item = tuning.ask()
        assert item is not None
        tuning.tell(item[0], float("inf"))
        asked += 1
    assert asked <= 40
    assert tuning.best == 1.0


def test_a_generation_is_told_before_the_next_is_asked() -> None:
    tuning = Tuning(SOURCE, 1.0, DIALECT, 0)
    batch = []
    while (item := tuning.ask()) is not None:
        batch.append(item)
    assert tuning.ask() is None
    for ticket, _ in batch[:-1]:
        tuning.tell(ticket, 2.0 + ticket)
    assert tuning.ask() is None
    tuning.tell(batch[-1][0], 2.0)
    assert tuning.ask() is not None


@pytest.mark.parametrize(
    ("score", "over"), [(1.0, True), (2.0, True), (math.inf, True), (0.5, False)]
)
def test_a_run_ends_where_its_constants_change_nothing(score: float, over: bool) -> None:
    """A threshold on what is 0 or 1 may lie anywhere between; whatever is tried there is wasted."""
    tuning = Tuning(SOURCE, 1.0, DIALECT, 0)
    while (item := tuning.ask()) is not None and not tuning.over and tuning._generations == 0:
        tuning.tell(item[0], score)
    assert tuning.over is over


def test_a_sentinel_is_no_constant_to_tune() -> None:
    source = "def score(a, b):\n    if b < 0.5:\n        return 1e300\n    return a * -2.0\n"
    assert constants(source) == (0.5, -2.0)
    assert constants(with_constants(source, (0.25, 3.0), INPUTS)) == (0.25, 3.0)
    assert "1e+300" in with_constants(source, (0.25, 3.0), INPUTS)
    assert skeleton(source) == skeleton(source.replace("-2.0", "-3.0"))
    assert skeleton(source) != skeleton(source.replace("1e300", "-1e300"))


def test_when_one_program_is_tuned_another_has_its_turn() -> None:
    archive = Archive()
    for step, source in enumerate((SOURCE, "def score(b):\n    return b * 2.0 + b * b\n")):
        archive.add(Record(step, f"p{step}", "", source, "", (), 5, Outcome.OK, 1.0 + step))
    proposer, rng, parents = Constants(), random.Random(1), []
    for step in range(2, 60):
        context = Context(Space(load_balancer), archive, step, settled=True)
        draft = proposer.propose(Choice(pool=archive.members), context, rng)
        assert draft is not None
        parents.append(draft.parents[0])
        failed = (draft.source, draft.operator, draft.parents, 5, Outcome.FAULT)
        proposer.learn(Record(step, f"p{step}", f"k{step}", *failed))
    assert parents[0] == "p0"
    assert parents.index("p1") <= 16


def test_the_best_seeds_are_extended_one_after_the_other_and_a_few_only() -> None:
    space = Space(load_balancer)
    maker, rng, parents = Extended(), random.Random(3), []
    for step, source in enumerate(seeds(space, "library").values()):
        score = 10.0 - step
        maker.learn(
            Record(step, f"p{step}", f"k{step}", source, f"seed:{step}", (), 5, Outcome.OK, score)
        )
    worst = Record(50, "p50", "k50", SOURCE, "wrap", (), 5, Outcome.OK, 0.1)
    maker.learn(worst)  # evolved: not what a search begins with
    for step in range(100, 500):
        draft = maker.propose(Choice(), Context(space, Archive(), step, settled=True), rng)
        if draft is None:
            break
        assert draft.operator == "constants"
        parents.append(draft.parents[0])
        failed = (draft.source, draft.operator, draft.parents, 5, Outcome.FAULT)
        maker.learn(Record(step, f"p{step}", f"k{step}", *failed))
    assert list(dict.fromkeys(parents)) == ["p8", "p7", "p6", "p5"]
    assert len(parents) < 400
