"""Which model of an ensemble gets the calls: what it gains counts, what it costs, and its weight."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.shadow.models.ensemble import ensemble
from gnomon.shadow.models.options import Model, ModelOptions
from gnomon.shadow.search.archive import Archive
from gnomon.shadow.search.authors.prompts import templates
from gnomon.shadow.search.authors.prompts.builder import Prompts
from gnomon.shadow.search.authors.prompts.statement import of_space
from gnomon.shadow.search.context import Choice, Context
from gnomon.shadow.search.records import Brief, Outcome, Record
from gnomon.shadow.search.space import Space
from gnomon.shadow.search.strategies import keyless

SPACE = Space(load_balancer)
PROMPTS = Prompts(templates.load(), of_space(SPACE))
PROGRAM = "def score(noise):\n    return noise\n"
PARENT = Record(0, "p", "k", PROGRAM, "seed:x", (), 5, Outcome.OK, 100.0)
CALLS = 150


def calls(
    one: tuple[float, float | None], other: tuple[float, float | None], weight: float = 1.0
) -> float:
    """Return the share of the first of two models.

    Args:
        one, other: how often its program is better by a twentieth, and the dollars of its answer; one without
            dollars never answers, for nothing.
        weight: of the other one.
    """
    names = ("openai-compatible:one", "openai-compatible:other")
    ways = dict(zip(names, (one, other), strict=True))
    models = tuple(
        Model(name, each, "http://127.0.0.1:9/v1")
        for name, each in zip(names, (1.0, weight), strict=True)
    )
    asked: Counter[str] = Counter()
    with ensemble(ModelOptions(models), PROMPTS, keyless(), own={}) as authors:
        written = authors.makers[0][1]
        rng = random.Random(5)
        for step in range(1, CALLS + 1):
            brief = written.propose(Choice(PARENT), Context(SPACE, Archive(), step, True), rng)
            if brief is None:  # the breaker is open for both
                continue
            assert isinstance(brief, Brief)
            asked[brief.author] += 1
            written.learn(_result(brief, step, *ways[brief.author], rng))
    return asked[names[0]] / asked.total()


def _result(
    brief: Brief, step: int, often: float, cost: float | None, rng: random.Random
) -> Record:
    about = (step, str(step), str(step), PROGRAM, brief.operator, brief.parents, 5)
    if cost is None:
        return Record(*about, Outcome.UNANSWERED, math.nan, author=brief.author, cost=0.0)
    score = 95.0 if rng.random() < often else 105.0
    return Record(*about, Outcome.OK, score, author=brief.author, cost=cost, tokens_in=9)


@pytest.mark.parametrize(
    ("other", "weight"),
    [((0.0, 0.01), 1.0), ((0.0, 0.001), 1.0), ((0.0, None), 1.0), ((0.0, 0.01), 3.0)],
    ids=["of no use", "of no use and cheap", "that never answers, for nothing", "with a weight"],
)
def test_a_good_model_gets_most_calls(other: tuple[float, float | None], weight: float) -> None:
    assert calls((0.3, 0.01), other, weight) > 0.6


def test_of_two_that_gain_alike_the_cheap_one_gets_most_calls() -> None:
    assert calls((0.3, 0.001), (0.3, 0.01)) > 0.6


def test_weights_are_shares_while_nothing_sets_models_apart() -> None:
    assert calls((0.0, 0.01), (0.0, 0.01), 3.0) == pytest.approx(0.25, abs=0.05)
