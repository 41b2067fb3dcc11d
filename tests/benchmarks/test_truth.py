"""The benchmark ``truth``: exact limits, figures from records, and runs that are kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def truth(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("truth")


def record(**given: Any) -> dict[str, Any]:
    usual = {
        "world": "w", "seed": 0, "modelled": True, "incumbent": "i", "sort": "other", "effect": 0.1,
        "error": 0.01, "p99": 0.0, "failing": 0.0, "fidelity": "passed", "gate": "holdout",
        "no_better": True, "in_turn": False, "predicted": {"low": 0.0, "high": 0.2}, "rails": {},
    }  # fmt: skip
    return usual | given


def test_the_rule_of_three(truth: ModuleType) -> None:
    assert truth.upper(0, 100) == pytest.approx(1.0 - 0.05 ** (1.0 / 100.0))
    assert truth.upper(0, 0) == 1.0
    assert truth.upper(7, 7) == 1.0


@given(n=st.integers(1, 60), data=st.data())
def test_the_limit_is_the_share_at_which_so_few_are_improbable(n: int, data: Any) -> None:
    import sys

    from ..conftest import ROOT

    sys.path.insert(0, str(ROOT / "benchmarks"))
    import truth

    count = data.draw(st.integers(0, n - 1))
    limit = truth.upper(count, n)
    assert count / n < limit <= 1.0
    fewer = sum(math.comb(n, k) * limit**k * (1.0 - limit) ** (n - k) for k in range(count + 1))
    assert fewer == pytest.approx(0.05, abs=1e-6)


def test_figures_come_from_records(truth: ModuleType) -> None:
    rails = {"tail": {"margin": 0.1}, "failures": {"margin": 0.005}}
    records = [
        record(gate="", in_turn=True, rails=rails, p99=0.2),  # wrong, and hurts the tail
        record(sort="equal", effect=0.0),
        record(seed=1, effect=-0.05, no_better=False, gate="", rails=rails),
        record(seed=1, effect=-0.10, no_better=False, predicted={"low": -0.09, "high": -0.01}),
        record(seed=2, modelled=False, fidelity="failed", gate="fidelity"),
    ]
    found = {row.name: row for row in truth.rows(records)}
    assert found["falsely accepted: policies that are no better"].value == 50.0
    assert found["falsely accepted: equal policies"].note.startswith("0 of 1")
    assert found["falsely accepted per holdout, 5 asked in turn"].note.startswith("1 of 3")
    assert found["accepted at a true effect of -2.5% to -7.5%"].value == 100.0
    assert found["accepted at a true effect of -7.5% to -15.0%"].value == 0.0
    assert found["accepted, truly beyond the margin: 99th percentile"].note.startswith("1 of 2")
    assert found["true effect better than predicted"].note.startswith("1 of 4")
    blocked = "recordings that fidelity does not pass, worlds with what no simulator has"
    assert found[blocked].value == 100.0


def test_a_recording_that_was_judged_is_not_judged_again(
    truth: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from worlds.settings import SETTINGS

    asked = []

    def judge(setting: Any, truths: Any, incumbent: str, seed: Any) -> Any:
        asked.append(incumbent)
        return [record(incumbent=incumbent)]

    monkeypatch.setattr(truth, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(truth, "judge", judge)
    name, setting = next(iter(SETTINGS.items()))
    first = truth.kept(name, setting, {}, 0)
    assert truth.kept(name, setting, {}, 0) == first
    assert asked == list(setting.incumbents)
    assert not list((tmp_path / "runs").glob("*.partial"))


def test_equal_policies_are_judged_and_count_as_no_better(truth: ModuleType) -> None:
    from worlds.settings import EQUALS, RANDOM_RESIDENT, SETTINGS

    equals = EQUALS[RANDOM_RESIDENT]
    short = replace(SETTINGS["keys, steady"], seconds=40.0, candidates=(RANDOM_RESIDENT, *equals))
    records = list(truth.judge(short, {}, RANDOM_RESIDENT, (1, 2)))
    assert {each["candidate"] for each in records} == set(equals)
    for each in records:
        assert (each["sort"], each["effect"], each["no_better"]) == ("equal", 0.0, True)
        assert each["predicted"]["low"] < 0.0 < each["predicted"]["high"]
        assert each["gate"] and not each["in_turn"]


def test_what_other_code_answered_is_not_counted(truth: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "shadow").mkdir()
    limits = tmp_path / "shadow" / "limits.py"
    limits.write_text("wide = 1\n")
    before = truth.asked(tmp_path)
    assert truth.asked(tmp_path) == before
    limits.write_text("wide = 2\n")
    assert truth.asked(tmp_path) != before
