"""The bandit: who gains is tried more, what costs less is preferred, and what is unknown stays unknown."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.errors import ConfigurationError
from gnomon.shadow.search.bandit import Bandit


def played(bandit: Bandit, gains: dict[str, float], rounds: int, seed: int = 0) -> Counter[str]:
    """Return how often each arm was picked when it gains so much one time in four."""
    rng = random.Random(seed)
    picks: Counter[str] = Counter()
    for _ in range(rounds):
        arm = bandit.pick(rng)
        picks[arm] += 1
        bandit.submitted(arm)
        bandit.told(arm, gains[arm] if rng.random() < 0.25 else 0.0)
    return picks


def test_every_arm_is_tried_before_one_is_tried_twice() -> None:
    bandit, rng = Bandit(["a", "b", "c", "d"]), random.Random(1)
    picked = []
    for _ in range(4):
        picked.append(bandit.pick(rng))
        bandit.submitted(picked[-1])
    assert sorted(picked) == ["a", "b", "c", "d"]


def test_an_arm_that_gains_more_is_tried_more_often() -> None:
    picks = played(Bandit(["poor", "rich"]), {"poor": 0.01, "rich": 0.2}, 600)
    assert picks["rich"] > 2 * picks["poor"]
    assert picks["poor"] > 0.05 * 600  # but never given up


def test_arms_that_gain_nothing_are_tried_in_proportion_to_their_weights() -> None:
    picks = played(
        Bandit(["a", "b", "c"], [6.0, 3.0, 1.0], epsilon=0.0), dict.fromkeys("abc", 0.0), 500
    )
    assert [picks[arm] / 500 for arm in "abc"] == pytest.approx([0.6, 0.3, 0.1], abs=0.03)


def test_an_arm_that_wears_out_loses_its_lead() -> None:
    bandit = Bandit(["a", "b"])
    played(bandit, {"a": 0.3, "b": 0.0}, 200)
    assert bandit.values()["a"] > bandit.values()["b"]
    later = played(bandit, {"a": 0.0, "b": 0.3}, 400, seed=1)
    assert later["b"] > later["a"]


@pytest.mark.parametrize("failure", [0.0, -5.0, -math.inf, math.nan])
def test_a_failure_counts_as_no_gain_however_bad_it_was(failure: float) -> None:
    one, other = Bandit(["a", "b"]), Bandit(["a", "b"])
    for bandit, reward in ((one, 0.0), (other, failure)):
        bandit.told("a", 0.1)
        bandit.told("a", reward)
        bandit.told("b", 0.05)
    assert one.values() == other.values()


def test_the_cheaper_of_equals_is_preferred() -> None:
    bandit = Bandit(["cheap", "dear"], epsilon=0.0)
    for _ in range(20):
        bandit.told("cheap", 0.1, 0.001)
        bandit.told("dear", 0.1, 0.01)
    assert bandit.values()["cheap"] > bandit.values()["dear"]
    assert bandit.pick(random.Random(0)) == "cheap"


def test_cheapness_of_what_gains_nothing_is_worth_nothing() -> None:
    bandit = Bandit(["cheap", "dear"], epsilon=0.0)
    for _ in range(20):
        bandit.told("cheap", 0.0, 0.001)
        bandit.told("dear", 0.1, 0.01)
    assert bandit.values()["dear"] > bandit.values()["cheap"]


def test_an_unknown_cost_is_neither_zero_nor_cheap() -> None:
    bandit = Bandit(["known", "unknown"])
    for _ in range(20):
        bandit.told("known", 0.1, 0.01)
        bandit.told("unknown", 0.1, None)
    assert bandit.values()["known"] > bandit.values()["unknown"]
    free = Bandit(["free", "unknown"])
    for _ in range(20):
        free.told("free", 0.1, 0.0)
        free.told("unknown", 0.1, None)
    assert free.values()["free"] > free.values()["unknown"]


def test_costs_do_not_count_where_none_is_known() -> None:
    plain, costly = Bandit(["a", "b"], cost_weight=0.0), Bandit(["a", "b"], cost_weight=0.5)
    for bandit in (plain, costly):
        bandit.told("a", 0.2)
        bandit.told("b", 0.1)
    assert plain.values() == costly.values()


def test_the_means_are_those_of_the_published_rule() -> None:
    """One arm told 0.5 then 0, by hand: sums fade to .95 x / (1 + .05 x), counts to .95."""
    bandit = Bandit(["a"], exploration=0.0)
    bandit.told("a", 0.5)
    bandit.told("a", 0.0)
    gained = math.expm1(0.5)
    total, weight, largest = gained, 1.0, gained
    for step in range(2):
        weight = (weight if step == 0 else weight + 1.0) * 0.95
        total = 0.95 * total / (1 + 0.05 * total)
        largest = max(0.95 * largest / (1 + 0.05 * largest), total / weight)
    assert bandit.values()["a"] == pytest.approx(total / weight / largest, rel=1e-12)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.floats(allow_nan=True, allow_infinity=True),
            st.none() | st.floats(0, 1e9),
        ),
        max_size=60,
    ),
    st.integers(0, 2**32),
)
def test_whatever_is_told_an_arm_is_picked_and_values_are_numbers(
    told: list[tuple[str, float, float | None]], seed: int
) -> None:
    bandit = Bandit("abc")
    for arm, reward, cost in told:
        bandit.submitted(arm)
        bandit.told(arm, reward, cost)
    assert not any(math.isnan(value) or value < 0 for value in bandit.values().values())
    assert sorted(bandit.ranked(random.Random(seed))) == ["a", "b", "c"]
    assert bandit.pick(random.Random(seed)) == bandit.pick(random.Random(seed))


def test_every_arm_keeps_its_share_of_epsilon() -> None:
    bandit = Bandit(["a", "b", "c"], epsilon=0.3, exploration=0.0)
    for arm, reward in (("a", 1.0), ("b", 0.0), ("c", 0.0)):
        bandit.told(arm, reward)
    rng = random.Random(5)
    picks = Counter(bandit.pick(rng) for _ in range(4000))
    spread = 5 * math.sqrt(4000 * 0.15 * 0.85)
    assert abs(picks["b"] - 600) < spread
    assert abs(picks["c"] - 600) < spread


@pytest.mark.parametrize(
    ("arms", "more", "words"),
    [
        ([], {}, "name at least one"),
        (["a", "a"], {}, "each once"),
        (["a"], {"weights": [1.0, 2.0]}, "each of 1 arms"),
        (["a", "b"], {"weights": [1.0, 0.0]}, "one above 0"),
        (["a"], {"epsilon": 1.5}, "epsilon=1.5"),
        (["a"], {"decay": 0.0}, "decay=0.0"),
        (["a"], {"cost_weight": -0.1}, "cost_weight=-0.1"),
        (["a"], {"exploration": -1.0}, "exploration=-1.0"),
    ],
)
def test_bad_arms_and_numbers_are_refused(
    arms: list[str], more: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Bandit(arms, **more)


def test_an_arm_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="unknown arm 'x'; known arms: a, b"):
        Bandit(["a", "b"]).told("x", 1.0)
