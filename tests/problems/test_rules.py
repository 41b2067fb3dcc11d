"""The arithmetic of metrics is that of the package, value by value."""

from __future__ import annotations

import math
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gnomon.shadow.problems import rules

NUMBERS = st.one_of(
    st.floats(),
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=False, allow_infinity=False).map(np.float64),
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(np.float32),
    st.integers(-100, 100).map(np.int64),
    st.sampled_from([1e308, -1e308, 0.5]),
)
VALUES = st.one_of(NUMBERS, st.booleans(), st.text(max_size=3), st.none())
NAMES = st.sampled_from(["combined_score", "error", "complexity", "a", "b", "c"])
METRICS = st.dictionaries(NAMES, VALUES, max_size=5)


def known(metrics: dict[str, Any]) -> bool:
    """Whether the package that is installed has the rules of 0.4.1 for such metrics, or the same ones before."""
    if version("openevolve") != "0.4.0":
        return True
    numbers = [v for v in metrics.values() if isinstance(v, int | float)]
    flags = any(isinstance(v, bool) for v in numbers)
    return not flags and all(abs(v) < 1e300 for v in numbers if math.isfinite(v))


def same(ours: float, theirs: float) -> bool:
    return ours == theirs or (math.isnan(ours) and math.isnan(theirs))


@given(METRICS, st.sampled_from([(), ("complexity", "diversity"), ("a", "b")]))
def test_fitness(metrics: dict[str, Any], features: tuple[str, ...]) -> None:
    utils = pytest.importorskip("openevolve.utils.metrics_utils", reason="openevolve is missing")
    assume(known(metrics))
    assert same(
        rules.fitness(metrics, features), utils.get_fitness_score(dict(metrics), list(features))
    )


@given(METRICS, st.sampled_from([-1.0, 0.0, 0.5, 1.0]))
def test_thresholds(metrics: dict[str, Any], threshold: float) -> None:
    package = pytest.importorskip("openevolve.evaluator", reason="openevolve is missing")
    assume(known(metrics))
    theirs = package.Evaluator._passes_threshold(SimpleNamespace(), metrics, threshold)
    assert bool(rules.passes(metrics, threshold)) == bool(theirs)


def test_by_hand() -> None:
    assert rules.fitness({}) == 0.0
    assert rules.fitness({"combined_score": "0.25", "a": 9.0}) == 0.25
    assert rules.fitness({"combined_score": "none", "a": 1.0, "b": 2.0}) == 1.5
    assert rules.fitness({"a": 1.0, "complexity": 99.0}, ("complexity",)) == 1.0
    assert rules.fitness({"complexity": 99.0}, ("complexity",)) == 99.0
    assert rules.fitness({"combined_score": -(10**400)}) == -math.inf
    assert rules.fitness({"a": math.nan, "b": True, "c": "x", "d": 4}) == 4.0
    assert rules.mean([1e308, 1e308]) == 1e308
    assert not rules.passes({}, -1.0)
    assert not rules.passes({"error": 1.0}, 0.5)
    assert rules.merged({"a": 1, "error": 2.0, "t": "x"}, {"a": 3, "flag": True}) == {
        "a": 3.0,
        "flag": True,
    }
