"""What a comparison says of its runs: pairs, limits, and when nothing may be claimed."""

from __future__ import annotations

import json
import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.shadow.search.results.comparison import Comparison, Run, compared, limits

#: Student's t at 97.5 % and 4 degrees of freedom, from a table.
T4 = 2.776


def runs(**validations: list[float]) -> list[Run]:
    """Return runs by strategy, one per seed; the best published policy has 100 on validation."""
    return [
        Run(name, seed, "evolved", "p", score, score, (100 - score) / 100, 50, "evaluations")
        for name, scores in validations.items()
        for seed, score in enumerate(scores)
    ]


def told(found: list[Run], stopped: str = "done") -> Comparison:
    return compared(found, budget=50, shared=3, stopped=stopped)


def test_limits_are_students_t() -> None:
    values = [1.0, 2.0, 4.0, 4.5, 6.0]
    reach = T4 * statistics.stdev(values) / math.sqrt(5)
    found = limits(values, 0.05)
    assert found == pytest.approx((3.5 - reach, 3.5 + reach), abs=1e-3)
    assert limits([1.0], 0.05) is None


def test_what_is_ahead_is_paired_by_seed() -> None:
    """Seeds differ by far more than strategies do, and every one says the same."""
    found = told(runs(evolve=[49, 69, 79, 89, 99], seeds=[50, 70, 80, 90, 100]))
    evolve = found.arms[0]
    assert found.rival == "seeds"
    assert evolve.ahead == pytest.approx(
        statistics.fmean([1 / 50, 1 / 70, 1 / 80, 1 / 90, 1 / 100])
    )
    assert evolve.ahead_limits is not None
    assert evolve.ahead_limits[0] > 0
    assert evolve.gain_limits is not None
    assert evolve.gain_limits[0] < 0  # alone it would say nothing
    assert found.better == ("evolve",)
    assert found.verdict.startswith("better than seeds, the best control arm: evolve; the best of")


def test_no_better_is_a_plain_answer() -> None:
    found = told(runs(evolve=[90, 96, 91, 97, 92], seeds=[91, 92, 93, 94, 95], random=[99] * 5))
    assert found.better == ()
    assert found.verdict.startswith("no strategy is better than seeds, the best control arm;")


def test_the_rival_is_the_control_arm_that_did_best() -> None:
    found = told(runs(pareto=[90] * 5, independent=[95] * 5, seeds=[92] * 5, published=[100] * 5))
    assert found.rival == "seeds"
    assert [arm.strategy for arm in found.arms] == ["pareto", "seeds", "independent", "published"]
    assert [arm.control for arm in found.arms] == [False, True, True, True]


def test_with_few_seeds_nothing_is_claimed_however_clear_it_looks() -> None:
    found = told(runs(evolve=[50, 50.001, 50.002, 50], seeds=[90, 90, 90, 90]))
    assert found.better == ()
    assert "with fewer than 5 seeds nothing is claimed" in found.verdict
    one = told(runs(evolve=[50], seeds=[90]))
    assert one.arms[0].gain_limits is None
    assert one.arms[0].ahead == pytest.approx(40 / 90)


def test_without_a_control_arm_the_published_policies_are_the_measure() -> None:
    found = told(runs(evolve=[90, 91, 92, 93, 94], bandit=[99, 101, 100, 98, 103]))
    assert found.rival == ""
    assert found.better == ("evolve",)
    assert found.verdict.startswith("better than the best published policy: evolve;")


def test_the_more_strategies_the_wider_the_limits() -> None:
    """A lead that one strategy alone may claim is luck among five."""
    rivals = [90.0] * 5
    lead = [89.9, 89.7, 89.6, 89.5, 89.2]
    assert told(runs(evolve=lead, seeds=rivals)).better == ("evolve",)
    names = ("bandit", "pareto", "map_elites", "other")
    many = runs(evolve=lead, seeds=rivals, **{name: rivals for name in names})
    assert told(many).better == ()


def test_a_run_without_a_winner_is_no_number() -> None:
    broken = Run("evolve", 5, "", "", math.nan, math.nan, math.nan, 50, "evaluations")
    found = told([*runs(evolve=[90] * 5, seeds=[91] * 5), broken])
    assert found.arms[0].seeds == 5
    assert found.arms[0].gain == pytest.approx(0.1)
    none = told([broken])
    assert none.verdict.startswith("no verdict: no strategy beside")
    json.dumps(none.as_json(), allow_nan=False)
    assert "evolve" in str(none)


def test_half_a_comparison_has_no_verdict() -> None:
    found = told(runs(evolve=[50] * 5, seeds=[90] * 5), "interrupted")
    assert found.verdict == ("no verdict: interrupted; continue with the same options and --resume")


def test_equal_strategies_are_hardly_ever_called_better() -> None:
    """1,000 comparisons of four equal strategies with one control: at most 2.5 % may claim a win."""
    rng = random.Random(0)
    claims = 0
    for _ in range(1000):
        scores = {
            name: [rng.gauss(90, 1) for _ in range(5)]
            for name in ("evolve", "bandit", "pareto", "map_elites", "seeds")
        }
        claims += bool(told(runs(**scores)).better)
    assert claims <= 1000 * 0.025 + 5 * math.sqrt(1000 * 0.025 * 0.975)


@given(
    st.dictionaries(
        st.sampled_from(("evolve", "bandit", "seeds", "random")),
        st.lists(st.floats(0.001, 1e6) | st.just(math.nan), min_size=1, max_size=6),
        min_size=1,
    )
)
def test_whatever_the_scores_there_is_a_table_and_a_sentence(
    validations: dict[str, list[float]],
) -> None:
    found = told(runs(**validations))
    assert found.verdict
    assert len(found.arms) == len(validations)
    gains = [arm.gain for arm in found.arms if not math.isnan(arm.gain)]
    assert gains == sorted(gains, reverse=True)
    json.dumps(found.as_json(), allow_nan=False)
    assert str(found).count("\n") >= len(validations)
