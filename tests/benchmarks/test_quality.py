"""The benchmark ``quality``: intervals, pairs by trace, and evaluations that are asked for once."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gnomon.shadow.evaluation import Evaluation, Split, Status


@pytest.fixture
def quality(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("quality")


@pytest.fixture
def remembered(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("_remembered")


class Counting:
    """An engine that counts what it is asked."""

    layers: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def submit(self, source: str, split: Split, trial: object = None) -> Future[Evaluation]:
        self.calls.append((source, split))
        future: Future[Evaluation] = Future()
        good = Evaluation(Status.OK, 0.1 + len(source), (0.1, 1 / 3))
        bad = {
            "fault": Evaluation(Status.FAULT, detail="at 3"),
            "broken": Evaluation(Status.EVALUATOR_ERROR),
        }
        future.set_result(bad.get(source, good))
        return future

    def close(self) -> None: ...


def found(
    strategy: str, seed: int, holdout: float, budget: int = 400, **more: Any
) -> dict[str, Any]:
    usual = {
        "kind": "cache", "trace": f"t{seed}", "seed": seed, "strategy": strategy, "budget": budget,
        "origin": "evolved", "train": 0.0, "validation": holdout + 1.0, "holdout": holdout,
    }  # fmt: skip
    return usual | more


def test_a_mean_has_students_interval(quality: ModuleType) -> None:
    one = quality.mean([1.0, 2.0, 3.0, 4.0, 10.0])
    half = 2.776 * statistics.stdev([1.0, 2.0, 3.0, 4.0, 10.0]) / math.sqrt(5)
    assert (one.value, one.low, one.high) == pytest.approx((4.0, 4.0 - half, 4.0 + half))
    assert quality.mean([3.0]) == quality.Mean(3.0, 3.0, 3.0)


def test_the_default_is_compared_trace_by_trace_with_the_best_arm(quality: ModuleType) -> None:
    """An arm is chosen by its mean; traces differ by far more than strategies do."""
    records = [
        found(name, seed, 10.0 * seed + more)
        for seed in range(5)
        for name, more in (
            (quality.DEFAULT, 1.5),
            ("seeds", 1.0),
            ("random", 0.0),
            ("independent", 0.5),
            ("published", 0.0),
        )
    ]
    first, *others = quality.rows(records)
    assert "over seeds" in first.name
    assert (first.value, first.target, first.met) == (pytest.approx(0.5), 0.0, True)
    assert first.spread == pytest.approx((0.5, 0.5))
    assert "over random +1.50" in first.note
    assert first.note.endswith("5 traces")
    assert [row.value for row in others] == pytest.approx([21.5, 20.5, 20.0, 20.0, 21.0])
    assert "validation +22.50" in others[0].note
    assert "truth" not in others[0].note
    worse = [record | {"holdout": -1.0} for record in records if record["strategy"] != "seeds"]
    worse += [record for record in records if record["strategy"] == "seeds"]
    assert quality.rows(worse)[0].met is False
    some = [record for record in records if record["seed"] or record["strategy"] != "random"]
    assert quality.rows(some)[0].met is None  # a trace of an arm's is missing


def test_an_evaluation_is_asked_for_once_in_all_runs(
    remembered: ModuleType, tmp_path: Path
) -> None:
    engine, path = Counting(), tmp_path / "scores" / "a.jsonl"
    asked = [("one", "train"), ("one", "holdout"), ("fault", "train"), ("one", "train")]
    for _ in range(2):
        known = remembered.Remembered(lambda: engine, path)
        results = [known.submit(source, split).result() for source, split in asked]
        known.close()
        assert results[0] == results[3] == Evaluation(Status.OK, 3.1, (0.1, 1 / 3))
        assert (results[2].status, results[2].detail) == (Status.FAULT, "at 3")
        assert math.isnan(results[2].score)
    assert engine.calls == asked[:3]


def test_a_line_that_was_cut_is_asked_for_again_and_an_error_always(
    remembered: ModuleType, tmp_path: Path
) -> None:
    engine, path = Counting(), tmp_path / "a.jsonl"
    for source in ("one", "two", "broken"):
        known = remembered.Remembered(lambda: engine, path)
        known.submit(source, "train")
        known.close()
    path.write_bytes(path.read_bytes()[:-7])
    for _ in range(2):
        known = remembered.Remembered(lambda: engine, path)
        for source in ("one", "two", "broken"):
            known.submit(source, "train")
        known.close()
    assert [source for source, _ in engine.calls] == [
        "one",
        "two",
        "broken",
        "two",
        "broken",
        "broken",
    ]
