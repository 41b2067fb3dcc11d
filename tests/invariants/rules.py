"""Strategies of rules and of what they are asked about, for tests of the rules and of their file."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.rules.base import Rule
from gnomon.sdk.rules.program import (
    ChangedAtMost,
    Covers,
    Distinct,
    Monotone,
    OccursAtMost,
    OccursWith,
    OutputWithin,
    Permutation,
    SumEquals,
)
from gnomon.sdk.rules.score import (
    Among,
    Avoids,
    ItemsWithin,
    NearLeast,
    NearMost,
    NotDominated,
    Prefers,
)

FEATURES = [name for name in load_balancer.input_names if name != "noise"]
numbers = st.floats(-1e6, 1e6, allow_nan=False)
features = st.sampled_from(FEATURES)
ranges = st.tuples(numbers, numbers).map(sorted)


def _two() -> st.SearchStrategy[list[str]]:
    return st.lists(features, min_size=2, max_size=4, unique=True)


def score_rules() -> st.SearchStrategy[Rule]:
    """Rules over items and pick, of every shape."""
    factor, plus = st.floats(1.0, 8.0), st.floats(0.0, 50.0)
    return st.one_of(
        st.builds(Prefers, features, st.sampled_from(["at_most", "at_least", "equal"]), numbers),
        st.builds(NearLeast, features, factor, plus),
        st.builds(NearMost, features, factor, plus),
        st.builds(Among, features, st.sampled_from(["lowest", "highest"]), st.integers(1, 9)),
        _two().map(lambda names: NotDominated(tuple(names[:1]), tuple(names[1:]))),
        st.builds(lambda names, a, b: Avoids(names[0], a, names[1], b), _two(), numbers, numbers),
        st.builds(lambda name, ends: ItemsWithin(name, *ends), features, ranges),
    )


def program_rules(output: str = "machine", of: str = "work") -> st.SearchStrategy[Rule]:
    """Rules over an output and an input of its shape, of every shape of rule."""
    return st.one_of(
        st.builds(lambda ends: OutputWithin(output, *ends), ranges),
        st.just(Distinct(output)),
        st.just(Permutation(output)),
        st.just(Covers(output, of)),
        st.just(SumEquals(output, of)),
        st.sampled_from([Monotone(output, of, "rises"), Monotone(output, of, "falls")]),
        st.builds(OccursAtMost, st.just(output), st.integers(1, 50)),
        st.builds(OccursWith, st.just(output), st.just(of), st.integers(0, 5)),
        st.builds(ChangedAtMost, st.just(output), st.just(of), st.floats(0.0, 1.0)),
    )


def tables(least: int = 1, most: int = 6) -> st.SearchStrategy[list[Any]]:
    """Items of the load balancer, with values that tie often."""
    value = st.one_of(st.integers(0, 4).map(float), st.floats(0.0, 100.0))
    row = st.tuples(*(value for _ in load_balancer.inputs)).map(load_balancer.item_type._make)
    return st.lists(row, min_size=least, max_size=most)
