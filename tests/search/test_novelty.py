"""Shapes of programs, and the search for like ones against the comparison with all."""

from __future__ import annotations

import random
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.policies.load_balancer import load_balancer
from gnomon.shadow.search.records import Draft, Proposal, program_id
from gnomon.shadow.search.space import Space, seeds
from gnomon.shadow.search.strategies.novelty import Novelty
from gnomon.shadow.search.strategies.shapes import likeness, shape

SPACE = Space(load_balancer)
BASE = "def score(inflight, ewma_ms):\n    return inflight + 2.0 * ewma_ms\n"


@cache
def programs(count: int, seed: int) -> tuple[str, ...]:
    """Return programs that descend from the published ones, many of them close relatives."""
    rng, pool = random.Random(seed), list(seeds(SPACE, "library").values())
    while len(pool) < count:
        child = SPACE.dialect.mutated(rng.choice(pool[-30:]), SPACE, rng)
        if child is not None and child[0] not in pool:
            pool.append(child[0])
    return tuple(pool)


def proposals(sources: tuple[str, ...]) -> list[Proposal]:
    return [
        Proposal(step, program_id(source), str(step), Draft(source, "wrap"), 9)
        for step, source in enumerate(sources)
    ]


@pytest.mark.parametrize(
    "same",
    [
        "def score(ewma_ms, inflight):\n    return ewma_ms * 2.02 + inflight\n",
        'def score(inflight, ewma_ms):\n    """Text."""\n    return inflight + 2.0 * ewma_ms  # other\n',
        "import math\ndef score(inflight, ewma_ms):\n    return inflight + 1.97 * ewma_ms\n",
    ],
)
def test_names_order_and_little_changes_of_numbers_make_no_difference(same: str) -> None:
    assert likeness(shape(BASE), shape(same)) == 1.0


@pytest.mark.parametrize(
    "other",
    [
        "def score(inflight, ewma_ms):\n    return inflight + 3.0 * ewma_ms\n",
        "def score(inflight, ewma_ms):\n    return inflight - 2.0 * ewma_ms\n",
        "def score(inflight, ewma_ms):\n    return ewma_ms + 2.0 * inflight\n",
        "def score(inflight, ewma_ms):\n    return inflight + -2.0 * ewma_ms\n",
    ],
)
def test_another_number_operation_or_feature_does(other: str) -> None:
    assert likeness(shape(BASE), shape(other)) < 0.95


def test_sides_of_what_does_not_commute_differ() -> None:
    one = "def score(inflight, ewma_ms):\n    return inflight - ewma_ms\n"
    other = "def score(inflight, ewma_ms):\n    return ewma_ms - inflight\n"
    assert likeness(shape(one), shape(other)) < 0.95


@pytest.mark.parametrize("text", ["", "(", "def", "\0", "(" * 500, "x" + ".y" * 20_000])
def test_what_is_no_program_is_like_nothing(text: str) -> None:
    assert likeness(shape(text), shape(text)) in (0.0, 1.0)
    assert likeness(shape(text), shape(BASE)) < 0.5


@given(st.integers(0, 119), st.integers(0, 119))
def test_likeness_is_symmetric_and_one_for_itself(one: int, other: int) -> None:
    pool = programs(120, 0)
    left, right = shape(pool[one]), shape(pool[other])
    assert likeness(left, left) == 1.0
    assert likeness(left, right) == likeness(right, left)
    assert 0.0 <= likeness(left, right) <= 1.0


@settings(max_examples=25)
@given(
    st.integers(0, 3),
    st.sampled_from((0.5, 0.8, 0.9, 0.95, 0.99, 1.0)),
    st.lists(st.integers(0, 119), min_size=1, max_size=8),
    st.integers(1, 119),
)
def test_the_index_finds_what_comparing_with_all_finds(
    seed: int, threshold: float, asked: list[int], first: int
) -> None:
    pool = programs(120, seed)
    admitted = proposals(pool)
    novelty = Novelty(threshold)
    for count, index in enumerate(asked):
        known = admitted[: first + count]  # grows from call to call
        wanted = shape(pool[index])
        naive = [(likeness(wanted, shape(each.draft.source)), -each.step) for each in known]
        best, step = max(naive)
        expected = (known[-step], best) if best >= threshold else None
        assert novelty.nearest(pool[index], known) == expected


def test_the_answer_depends_on_the_arguments_alone() -> None:
    novelty, admitted = Novelty(0.9), proposals(programs(60, 1))
    source = programs(60, 1)[40]
    found = novelty.nearest(source, admitted)
    assert found is not None
    assert found[1] == 1.0
    assert shape(found[0].draft.source) == shape(source)
    assert novelty.nearest(source, admitted[:40]) == Novelty(0.9).nearest(source, admitted[:40])
    others = proposals(programs(60, 2))
    assert novelty.nearest(source, others) == Novelty(0.9).nearest(source, others)
    assert novelty.nearest("no program", admitted) is None
