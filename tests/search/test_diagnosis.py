"""What a run is told it did wrong: every kind with the threshold it has, from both sides."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from gnomon.shadow.search.records import Outcome, Record
from gnomon.shadow.search.results import diagnosis as module
from gnomon.shadow.search.results.diagnosis import Evidence, diagnosis
from gnomon.shadow.search.results.finalist import Finalist, best_published, in_order, measured


def finalist(
    name: str, train: float, validation: float, nodes: int = 5, segments: tuple[float, ...] = ()
) -> Finalist:
    return Finalist(name, f"{name}/{nodes}", "source", "made", nodes, train, validation, segments)


def record(
    step: int,
    score: float = math.nan,
    outcome: Outcome = Outcome.FAULT,
    author: str = "keyless",
    reason: str = "",
) -> Record:
    what = Outcome.OK if math.isfinite(score) else outcome
    prompt = "" if author == "keyless" else "digest"
    return Record(
        step, f"p{step}", "k", "s", f"op{step}", (), 3, what, score,
        reason=reason, author=author, prompt=prompt,
    )  # fmt: skip


BASE = finalist("peak_ewma", 10.0, 10.0)
STEADY = [record(step, 10.0 - step / 100) for step in range(60)]


def told(winner: Finalist | None, *finalists: Finalist, records: list[Record] | None = None) -> str:
    everyone = in_order(finalists)
    incumbent = measured(12.0, 12.0)
    seen = Evidence(records or STEADY, everyone, winner, best_published(everyone), incumbent)
    return " | ".join(diagnosis(seen))


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
    free = [*stuck[:39], *(record(step, outcome=Outcome.DUPLICATE) for step in range(39, 60))]
    assert "early convergence" not in told(BASE, records=free)


def test_waste_is_named_by_its_commonest_cause() -> None:
    wasted = [record(step, math.nan if step % 3 else 1.0) for step in range(60)]
    assert "40 of 60 proposals gave no score, most of them fault" in told(BASE, records=wasted)
    stopped = [record(step, outcome=Outcome.STOPPED) for step in range(60)]
    assert "gave no score" not in told(BASE, records=stopped)  # that is what racing is for


def compared(ours: list[float]) -> str:
    base = finalist("peak_ewma", 10.0, 10.0, 5, (10.0,) * 20)
    mean = sum(ours) / len(ours)
    best = finalist("evolved", mean, mean, 9, tuple(ours))
    return told(best, base, best)


def test_a_gain_that_two_stretches_make_is_luck_or_a_hole() -> None:
    said = compared([2.0, 2.0] + [10.0] * 18)
    assert "a gamed objective, or luck: the winner gains 8.0% over peak_ewma, and 0.0%" in said
    assert "without 2 of 20 stretches" in said
    assert "gamed" not in compared([9.0] * 20)
    assert "gamed" not in compared([2.0, 2.0] + [9.5] * 18)


def test_a_stretch_far_below_the_published_is_not_believed() -> None:
    said = compared([9.0] * 17 + [0.9] * 3)
    assert "On 3 of 20 stretches the winner's mean is below 10% of that of peak_ewma" in said
    assert "gamed" not in compared([9.0] * 17 + [1.1] * 3)


def test_published_winners_and_unknown_stretches_are_not_suspected() -> None:
    base = finalist("peak_ewma", 10.0, 10.0, 5, (10.0,) * 20)
    assert "gamed" not in told(base, base)
    best = finalist("evolved", 9.0, 9.0, 9, (0.1,) * 4)
    assert "gamed" not in told(best, base, best)


@pytest.mark.parametrize("outcome", [Outcome.DUPLICATE, Outcome.NOT_NOVEL])
def test_repetition_is_a_third_of_all_proposals(outcome: Outcome) -> None:
    def run(share: int) -> list[Record]:
        new = [record(step, 10.0 - step / 100) for step in range(60 - share)]
        return new + [record(step, outcome=outcome) for step in range(60 - share, 60)]

    assert "repetition: 21 of 60 proposals" in told(BASE, records=run(21))
    assert "repetition" not in told(BASE, records=run(20))


def model(asked: int, silent: int, reason: str = "breaker open: 429") -> list[Record]:
    lines = list(STEADY)
    for index in range(asked):
        unanswered = index < silent
        score = math.nan if unanswered else 9.0
        lines.append(record(60 + index, score, Outcome.UNANSWERED, "a/model", reason))
    return lines


def test_a_model_that_does_not_answer_is_named_with_its_reason() -> None:
    said = told(BASE, records=model(4, 3))
    assert (
        "a model that does not answer: a/model gave no program to 3 of 4 requests, most often: "
        "breaker open: 429"
    ) in said
    assert "does not answer" not in told(BASE, records=model(4, 2))
    assert "does not answer" not in told(BASE, records=model(2, 2))
    assert "most often" not in told(BASE, records=model(4, 4, ""))
    died = model(10, 0) + [
        record(70 + i, outcome=Outcome.UNANSWERED, author="a/model", reason="gone")
        for i in range(5)
    ]
    assert "gave no program to 5 of 15 requests, most often: gone" in told(BASE, records=died)


def test_an_author_of_whom_nothing_can_be_scored_is_named() -> None:
    def by(author: str, count: int) -> str:
        bad = [record(60 + i, outcome=Outcome.INVALID, author=author) for i in range(count)]
        return told(BASE, records=STEADY + bad)

    assert "a fruitless author: none of the 5 programs of a/model got a score" in by("a/model", 5)
    assert "fruitless" not in by("a/model", 4)
    assert "fruitless" not in by("keyless", 5)
    assert "fruitless" not in told(BASE, records=model(6, 6))  # it is told that it is silent


def test_an_evaluator_that_fails_itself_is_named() -> None:
    def failing(count: int) -> str:
        bad = [record(60 + i, outcome=Outcome.EVALUATOR_ERROR) for i in range(count)]
        return told(BASE, records=STEADY + bad)

    assert "a faulty evaluator: it failed itself on 7 of 67 evaluations" in failing(7)
    assert "faulty evaluator" not in failing(6)


def test_every_kind_of_failure_is_in_the_reference() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "search.md"
    section = page.read_text("utf-8").split("`diagnosis` says what kind")[1].split("\n## ")[0]
    documented = re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)[1:]
    assert len(documented) == len(module._KINDS) + 2  # two of whether anything won
    source = Path(module.__file__).read_text("utf-8")
    for label in documented[:-1]:
        assert f'"{label}' in source, label
