"""Scores of assignments: the stronger an effect, the higher, also where slices are few or do not vary."""

from __future__ import annotations

import pytest

from gnomon.policies.rollout.rerandomise import DRAWS, scores


@pytest.mark.parametrize("studentised", [True, False])
@pytest.mark.parametrize("lift", [1.05, 1.3, 3.0, 100.0])
def test_a_strong_effect_in_a_few_slices_scores_highest(studentised: bool, lift: float) -> None:
    """What it takes to be seen must not be taken for spread."""
    counts = [40 + i % 7 for i in range(200)]
    values = [count * (20.0 + (i * 7 % 11) / 50) for i, count in enumerate(counts)]
    values[:20] = [value * lift for value in values[:20]]
    found = scores(values, counts, 20, studentised=studentised)
    assert len(found) == DRAWS
    assert found[0] == max(found) > 0.0
    assert sum(score >= found[0] for score in found) == 1


@pytest.mark.parametrize("studentised", [True, False])
def test_arms_that_differ_and_do_not_vary_score_highest(studentised: bool) -> None:
    values = [26.0 * 10] * 20 + [20.0 * 10] * 180
    found = scores(values, [10] * 200, 20, studentised=studentised)
    assert sum(score >= found[0] for score in found) == 1


@pytest.mark.parametrize("studentised", [True, False])
def test_slices_that_are_all_alike_score_nothing(studentised: bool) -> None:
    found = scores([0.1 * 7] * 200, [7] * 200, 20, studentised=studentised)
    assert found == [0.0] * DRAWS
