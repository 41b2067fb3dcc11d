"""The canary's rows: what they count, which of them share runs, and that runs are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def canary(benchmark: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The module, with an empty folder of runs; the processes that make them find it too."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    module = benchmark("_canary")
    monkeypatch.setattr(module, "RUNS", tmp_path)
    return module


def never(seed: int) -> tuple[str, int]:
    raise AssertionError(f"run {seed} is made again")


def put(canary: Any, name: str, ends: list[tuple[str, int]]) -> None:
    canary._keep(canary._path(name), ends)


def test_runs_that_were_made_are_not_made_again(canary: Any) -> None:
    ends = [("abort", 300), ("hold", 8000), ("promote", 5000)]
    put(canary, "one", ends)
    assert canary.kept("one", never, 3) == ends
    assert canary.kept("one", never, 2) == ends[:2]


def test_runs_go_on_after_those_that_were_kept(canary: Any) -> None:
    put(canary, "kayenta", [("abort", 0)])
    found = canary.kept("kayenta", canary.partial(canary._kayenta, 0.0), 3)
    assert found == [("abort", 0), *(canary._kayenta(0.0, seed) for seed in (1, 2))]
    assert json.loads(canary._path("kayenta").read_text()) == [list(end) for end in found]


def test_no_two_canaries_share_their_runs(canary: Any) -> None:
    """Effects that differ in their sign alone once did."""
    names = [f"power-{name}" for name, *_ in canary.POWER]
    names += [f"block-power-{name}" for name, *_ in canary.BLOCK_POWER]
    paths = {canary._path(name) for name in names}
    assert len(paths) == len(names)
    assert all(path.parent == canary._path("x").parent for path in paths)


def filled(canary: Any, end: Callable[[str], str], runs: int) -> list[Any]:
    made = canary.kept
    canary.kept = lambda name, one, few: [(end(name), 30)] * few
    try:
        return list(canary.rows())
    finally:
        canary.kept = made


def test_rows_count_what_is_false_and_what_is_wanted(
    canary: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GNOMON_BENCH_CANARY", "2000")
    rows = {row.name: row for row in filled(canary, lambda name: "abort", 2000)}
    false = rows["canary, equal policies, sticky, iid: false abort"]
    assert (false.value, false.target, false.met) == (100.0, 3.5, False)
    none = rows["canary, equal policies, sticky, iid: false promote"]
    assert none.value == pytest.approx(100 * (1 - 0.025 ** (1 / 2000)))
    assert none.met
    assert "0 of 2000 runs" in none.note
    lost = rows["canary, sticky, -5 %, CV 0.53, 10 % share: promote"]
    assert (lost.value, lost.met) == (0.0, False)
    assert "200 the other way" in lost.note
    beside = rows["canary, equal policies, sticky, iid: false abort beside a common rule's"]
    assert beside.peer.value == 100.0


def test_shipping_has_these_rows() -> None:
    assert "canaries = _canary.rows()" in (ROOT / "benchmarks" / "shipping.py").read_text()
