"""Who wins, and what a run is told it did wrong."""

from __future__ import annotations

import json
import math

import pytest

from gnomon.shadow.search.records import Outcome, Record
from gnomon.shadow.search.result import (
    EvolveResult,
    Finalist,
    diagnosis,
    gain,
    improvements,
    lineage,
    winner_of,
)


def finalist(name: str, train: float, validation: float, nodes: int = 5) -> Finalist:
    return Finalist(name, f"{name}/{nodes}", "source", "made", nodes, train, validation)


def record(step: int, score: float, program: str = "", *parents: str) -> Record:
    fine = math.isfinite(score)
    outcome = Outcome.OK if fine else Outcome.FAULT
    return Record(step, program or f"p{step}", "k", "s", f"op{step}", parents, 3, outcome, score)


BASE = finalist("peak_ewma", 10.0, 10.0)
STEADY = [record(step, 10.0 - step / 100) for step in range(60)]


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


def told(winner: Finalist | None, *finalists: Finalist, records: list[Record] | None = None) -> str:
    incumbent = finalist("incumbent", 12.0, 12.0)
    everyone = tuple(sorted(finalists, key=lambda f: f.validation))
    published = next((f for f in everyone if f.name not in {"evolved", "incumbent"}), None)
    return " | ".join(diagnosis(records or STEADY, winner, published, incumbent, everyone))


def test_a_good_run_is_told_nothing() -> None:
    best = finalist("evolved", 9.0, 9.0)
    assert told(best, BASE, best) == ""


@pytest.mark.parametrize("validation", [12.0, 11.96, 20.0])
def test_a_winner_that_does_not_beat_the_incumbent_is_not_worth_it(validation: float) -> None:
    assert "keep the incumbent" in told(finalist("evolved", 9.0, validation), BASE)
    assert "keep the incumbent" in told(None)


def test_a_published_winner_means_that_the_search_added_nothing() -> None:
    assert "search added nothing over the published policy peak_ewma" in told(BASE, BASE)


def test_overfitting_is_a_gain_on_train_that_validation_does_not_confirm() -> None:
    assert "overfitting" in told(BASE, BASE, finalist("evolved", 9.0, 9.9))
    failed = told(BASE, BASE, finalist("evolved", 9.0, math.nan))
    assert "is without a score on validation" in failed and "nan" not in failed
    unscored = finalist("peak_ewma", 10.0, math.nan)
    assert "overfitting" not in told(None, unscored, finalist("evolved", 9.0, math.nan))
    assert "overfitting" not in told(BASE, BASE, finalist("evolved", 9.0, 9.4))


def test_drift_is_a_change_of_the_best_published_policy() -> None:
    early, late = finalist("early", 9.0, 11.0), finalist("late", 10.0, 10.0)
    said = told(late, early, late)
    assert "drift: early is the best published policy on train" in said
    assert "the workload changed, or it was luck" in said
    assert "drift" not in told(late, finalist("early", 9.0, 10.1), late)


def test_early_convergence_is_nothing_new_after_the_first_quarter() -> None:
    stuck = [record(step, 10.0 - min(step, 9)) for step in range(60)]
    assert "early convergence: nothing better on train after step 9" in told(BASE, records=stuck)
    assert "early convergence" not in told(BASE, records=stuck[:39])


def test_waste_is_named_by_its_commonest_cause() -> None:
    wasted = [record(step, math.nan if step % 3 else 1.0) for step in range(60)]
    assert "40 of 60 proposals gave no score, most of them fault" in told(BASE, records=wasted)


def test_lineage_follows_first_parents_to_a_seed_and_never_in_circles() -> None:
    records = [record(0, 3.0, "a"), record(1, 2.0, "b", "a", "z"), record(2, 1.0, "c", "b")]
    assert lineage(records, "c") == (("c", "op2"), ("b", "op1"), ("a", "op0"))
    circle = [record(0, 3.0, "a", "b"), record(1, 2.0, "b", "a")]
    assert len(lineage(circle, "a")) == 2
    assert lineage(records, "unknown") == ()


def test_improvements_are_those_on_all_before() -> None:
    scores = (5.0, math.nan, 6.0, 4.0, 4.0, 1.0)
    records = [record(step, score) for step, score in enumerate(scores)]
    assert improvements(records) == ((0, 5.0), (3, 4.0), (5, 1.0))


def test_a_result_is_plain_json_with_null_for_what_is_missing() -> None:
    result = EvolveResult(
        winner=None,
        baseline=finalist("peak_ewma", math.nan, 1.0),
        incumbent=None,
        finalists=(),
        search_added=math.nan,
        origin="none",
        stopped="time",
        counts={Outcome.OK: 1},
        best_by_step=((0, 1.0),),
        lineage=(),
        diagnosis=("a",),
        log_hash="h",
        seconds=1.0,
    )
    plain = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert plain["search_added"] is None
    assert plain["baseline"]["train"] is None
    assert plain["counts"] == {"ok": 1}
    assert plain["best_by_step"] == [[0, 1.0]]
