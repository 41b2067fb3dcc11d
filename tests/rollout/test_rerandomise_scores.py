"""Scores of assignments: the stronger an effect, the higher, also where slices are few or do not vary."""

from __future__ import annotations

import random

import pytest

from gnomon.policies.rollout.rerandomise import DRAWS, scores

from . import sticky


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


@pytest.mark.parametrize("studentised", [True, False])
@pytest.mark.parametrize("shape", ["any", "empty slices", "no spread", "all alike", "one", "none"])
def test_numpy_scores_the_same(studentised: bool, shape: str) -> None:
    """Simulations take the sums over assignments by numpy: a benchmark must speak of what runs."""
    rng = random.Random(shape)
    counts = [rng.randint(1, 30) for _ in range(120)]
    if shape == "empty slices":
        counts = [n * (rng.random() < 0.3) for n in counts]
    values = [n * rng.gauss(9.0, 1.0) for n in counts]
    if shape == "no spread":
        counts, values = [10] * 120, [260.0] * 20 + [200.0] * 100
    if shape == "all alike":
        counts, values = [10] * 120, [200.0] * 120
    if shape == "none":
        counts, values = [0] * 120, [0.0] * 120
    treated = 1 if shape == "one" else 20
    plain = scores(values, counts, treated, studentised=studentised)
    found = sticky.numpy_scores(values, counts, treated, studentised=studentised)
    assert found == pytest.approx(plain, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("effect", [-0.2, 0.0, 0.2])
def test_canaries_end_the_same_by_numpy(effect: float) -> None:
    course = sticky.Course(effect, share=0.5, horizon=2000)
    plain = sticky.play(4, sticky.uneven, course)
    with sticky.by_numpy():
        assert sticky.play(4, sticky.uneven, course) == plain
