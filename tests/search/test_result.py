"""Who wins, what the search added, how sure that is, and how it is said."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.shadow.search.records import Outcome, Record
from gnomon.shadow.search.results.finalist import Finalist, measured, winner_of
from gnomon.shadow.search.results.gains import gain, gain_interval
from gnomon.shadow.search.results.result import EvolveResult, concluded, scores_table


def finalist(
    name: str, train: float, validation: float, nodes: int = 5, segments: tuple[float, ...] = ()
) -> Finalist:
    return Finalist(name, f"{name}/{nodes}", "source", "made", nodes, train, validation, segments)


def record(step: int, score: float, author: str = "keyless", cost: float | None = 0.0) -> Record:
    fine = math.isfinite(score)
    outcome = Outcome.OK if fine else Outcome.FAULT
    return Record(
        step, f"p{step}", "k", "s", f"op:{step}", (), 3, outcome, score, author=author, cost=cost
    )


BASE = finalist("peak_ewma", 10.0, 10.0)
STEADY = [record(step, 10.0 - step / 100) for step in range(60)]
INCUMBENT = measured(12.0, 12.0)


def test_the_best_on_validation_wins() -> None:
    best = finalist("evolved", 9.0, 9.0, 30)
    assert winner_of([BASE, finalist("evolved", 9.5, 9.5), best]) is best


def test_of_equals_the_shortest_wins_and_a_published_one_before_an_evolved_one() -> None:
    longer, shorter = finalist("evolved", 9.0, 9.0, 30), finalist("evolved", 9.1, 9.04, 9)
    assert winner_of([BASE, longer, shorter]) is shorter
    assert winner_of([BASE, finalist("evolved", 9.99, 9.96, 5)]) is BASE
    assert winner_of([BASE, finalist("evolved", 9.99, 9.96, 6)]) is BASE


def test_luck_on_validation_alone_does_not_win() -> None:
    assert winner_of([BASE, finalist("evolved", 10.1, 5.0)]) is BASE


def test_programs_without_a_score_do_not_win() -> None:
    assert winner_of([]) is None
    assert winner_of([finalist("a", 1.0, math.nan), BASE]) is BASE


def test_who_failed_on_train_neither_wins_nor_sets_the_bar() -> None:
    starving, evolved = finalist("least_ewma", math.nan, 5.0), finalist("evolved", 9.0, 9.0)
    assert winner_of([starving, BASE]) is BASE
    assert winner_of([starving]) is None
    assert winner_of([BASE, finalist("random", 8.0, math.nan), evolved]) is evolved


def test_negative_scores_compare_as_others_do() -> None:
    less, more = finalist("a", -10.0, -10.0, 9), finalist("b", -5.0, -5.0, 2)
    assert winner_of([less, more]) is less
    assert gain(-5.0, -10.0) == 1.0
    assert math.isnan(gain(0.0, 1.0))
    assert math.isnan(gain(math.nan, 1.0))


def found(*finalists: Finalist, incumbent: Finalist | None = INCUMBENT) -> EvolveResult:
    return concluded(STEADY, finalists, incumbent, stopped="evaluations", log_hash="h" * 64)


def stretches(mean: float, seed: int, spread: float = 0.02) -> tuple[float, ...]:
    rng = np.random.default_rng(seed)
    return tuple((mean * (1.0 + spread * rng.standard_normal(20))).tolist())


def test_the_evolved_program_that_is_shown_is_one_that_could_have_won() -> None:
    lucky, fair = finalist("evolved", 11.0, 8.0), finalist("evolved", 9.5, 10.0, 30)
    name, train, validation, _ = scores_table(found(BASE, lucky, fair)).rows[-1]
    assert (name, train, validation) == ("best evolved", "9.5", "10")
    name, *_ = scores_table(found(BASE, lucky)).rows[-1]
    assert name == "best evolved (loses on train, so takes no part)"
    assert [row[0] for row in scores_table(found(BASE)).rows] == [
        "incumbent", "best published: peak_ewma",
    ]  # fmt: skip


def test_a_run_that_is_out_of_time_says_how_it_goes_on() -> None:
    late = concluded(STEADY, (BASE,), INCUMBENT, stopped="time", log_hash="h")
    assert "Out of time. To go on: the same options and --resume" in str(late)
    assert late.winner == BASE and "winner: published" in str(late)
    nothing = concluded(STEADY, (), INCUMBENT, stopped="time", log_hash="h")
    assert "--resume" in str(nothing)
    assert "--resume" not in str(found(BASE))


def test_half_a_validation_has_no_winner() -> None:
    finalists = (BASE, finalist("evolved", 9.0, 9.0))
    result = concluded(STEADY, finalists, INCUMBENT, stopped="interrupted", log_hash="h")
    assert (result.winner, result.improved, result.over_interval) == (None, False, None)
    assert result.origin == "none" and math.isnan(result.search_added)


def test_a_published_winner_adds_nothing_and_is_still_worth_verifying() -> None:
    result = found(BASE, finalist("evolved", 11.0, 11.0))
    assert (result.search_added, result.added_interval) == (0.0, None)
    assert result.origin == "published baseline peak_ewma, search added 0 %"
    assert result.verdict == (
        "peak_ewma is better than the incumbent by +16.7%; the search added nothing over it"
    )


def test_what_the_search_added_has_an_interval_where_the_stretches_are_known() -> None:
    base = finalist("peak_ewma", 10.0, 10.0, 5, stretches(10.0, 1))
    best = finalist("evolved", 9.0, 9.0, 9, stretches(9.0, 2))
    result = found(base, best)
    assert result.search_added == pytest.approx(0.1)
    assert result.added_interval is not None
    low, high = result.added_interval
    assert 0.0 < low < 0.1 < high < 0.2
    assert result.verdict.startswith("the search added +10.0% (95 %: +")
    assert "over the best published policy, peak_ewma; over the incumbent +25.0%" in result.verdict
    assert "luck" not in result.verdict
    assert result.over_interval is None  # measured, not replayed in stretches


def test_a_gain_that_is_the_same_everywhere_is_sure() -> None:
    base = finalist("peak_ewma", 10.0, 10.0, 5, (7.0, 13.0) * 10)
    result = found(base, finalist("evolved", 9.0, 9.0, 9, (6.3, 11.7) * 10))
    assert result.added_interval == (pytest.approx(0.1), pytest.approx(0.1))


def test_a_score_that_is_not_the_mean_of_its_stretches_has_no_interval() -> None:
    base = finalist("peak_ewma", 10.0, 10.0, 5, (10.0,) * 20)
    assert found(base, finalist("evolved", 9.0, 9.0, 9, (9.9,) * 20)).added_interval is None


def test_a_gain_within_the_noise_is_said_to_be_perhaps_luck() -> None:
    base = finalist("peak_ewma", 10.0, 10.0, 5, stretches(10.0, 1, 0.3))
    result = found(base, finalist("evolved", 9.0, 9.8, 9, stretches(9.8, 2, 0.3)))
    assert result.improved
    assert result.added_interval is not None
    assert result.added_interval[0] < 0.0
    assert "which may be luck" in result.verdict


def test_the_incumbent_is_kept_in_words() -> None:
    result = found(finalist("evolved", 9.0, 12.6, 9), incumbent=INCUMBENT)
    assert not result.improved
    assert result.verdict == (
        "keep the incumbent: nothing that was tried beats it on validation; the best of them, "
        "evolved, changes the score by +5.0%"
    )
    assert found(incumbent=None).verdict == (
        "keep the incumbent: no program could be scored on validation"
    )


def test_nothing_is_called_a_winner_that_does_not_beat_the_incumbent() -> None:
    assert "winner: evolved" in str(found(BASE, finalist("evolved", 9.0, 9.0)))
    kept = str(found(finalist("evolved", 9.0, 12.6, 9)))
    assert "the best of what was tried: evolved" in kept
    assert "winner:" not in kept


def test_half_a_run_has_neither_verdict_nor_diagnosis() -> None:
    result = concluded(STEADY, (), INCUMBENT, stopped="interrupted", log_hash="h")
    assert result.diagnosis == ()
    assert result.verdict.startswith("no verdict yet")
    assert not result.improved


def test_the_choice_among_more_finalists_widens_the_interval() -> None:
    base, ours = stretches(10.0, 1), stretches(9.0, 2)
    one, many = gain_interval(base, ours), gain_interval(base, ours, among=8)
    assert one is not None
    assert many is not None
    assert many[0] < one[0] < 0.1 < one[1] < many[1]


@pytest.mark.parametrize(
    ("base", "ours"),
    [
        ((1.0,) * 7, (1.0,) * 7),
        ((1.0,) * 20, (1.0,) * 19),
        ((1.0,) * 20, (-1.0,) * 20),
        ((math.nan,) * 20, (1.0,) * 20),
        ((0.0,) * 20, (1.0,) * 20),
    ],
)
def test_there_is_no_interval_where_there_is_none_to_be_had(
    base: tuple[float, ...], ours: tuple[float, ...]
) -> None:
    assert gain_interval(base, ours) is None


def test_intervals_hold_what_they_promise() -> None:
    """Of 400 windows of a policy that is in truth no better, at most 2.5 % may show a sure gain."""
    rng = np.random.default_rng(7)
    load = rng.lognormal(2.0, 0.3, (400, 20))
    ours, base = (load * rng.lognormal(0.0, 0.2, load.shape) for _ in range(2))
    sure = 0
    for one, other in zip(ours, base, strict=True):
        limits = gain_interval(tuple(other.tolist()), tuple(one.tolist()))
        assert limits is not None
        sure += limits[0] > 0.0
    assert sure <= 400 * 0.025 + 5 * math.sqrt(400 * 0.025 * 0.975)


@given(st.lists(st.floats(0.0, 1e6), min_size=8, max_size=24), st.integers(1, 9))
def test_equal_programs_have_gained_nothing(values: list[float], among: int) -> None:
    limits = gain_interval(values, values, among)
    assert limits is None or limits[0] <= 0.0 <= limits[1]


def test_a_result_is_plain_json_with_null_for_what_is_missing() -> None:
    records = [record(0, 1.0, "a/model", None), record(1, math.nan, "a/model", 0.25)]
    baseline = finalist("peak_ewma", math.nan, 1.0)
    result = concluded(records, (baseline,), None, stopped="time", log_hash="h")
    plain = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert plain["search_added"] is None
    assert plain["seconds"] is None
    assert plain["baseline"]["train"] is None
    assert plain["counts"] == {"fault": 1, "ok": 1}
    assert plain["best_by_step"] == [[0, 1.0]]
    assert plain["bill"] == {"dollars": 0.25, "unpriced": 1, "tokens_in": 0, "tokens_out": 0}
    assert plain["authors"][0]["name"] == "a/model"
    assert plain["verdict"].startswith("keep the incumbent")


def test_what_is_shown_says_what_was_spent_and_what_paid() -> None:
    records = [record(0, 2.0), record(1, 1.0, "a/model", 0.25)]
    shown = str(concluded(records, (BASE,), None, stopped="dollars", log_hash="h"))
    assert "spent: $0.2500, 0 tokens in, 0 out" in shown
    assert "stopped: dollars" in shown
    author = next(line for line in shown.splitlines() if line.startswith("a/model"))
    assert author.split() == ["a/model", "1", "1", "1", "1", "1", "0.2500", "0", "0"]
    free = str(concluded(STEADY, (BASE,), None, stopped="evaluations", log_hash="h"))
    assert "spent" not in free
    assert "dollars" not in free
