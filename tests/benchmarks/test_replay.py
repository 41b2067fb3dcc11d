"""The replay benchmark: sections that are there, rows that mean something, targets scaled once."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture
def replay(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("replay")


def test_sections_are_those_whose_modules_are_there(
    replay: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "find_spec", lambda name: name == "_lb_replay")
    assert replay.sections() == ["cache 100000", "cache 1000000", "cache 10000000", "cores", "compile", "load balancer"]  # fmt: skip
    monkeypatch.setattr(replay, "find_spec", lambda name: True)
    assert {"cache", "scheduler", "expert placement"} <= set(replay.sections())


def test_an_absolute_target_is_scaled_and_a_ratio_is_not(replay: ModuleType) -> None:
    rate = replay.Row("a", 3.0, "M requests/s", "higher", 4.0, (3.0, 3.0))
    assert rate.met is False
    slow = replay.scaled(rate, 60.0)  # a machine of half the speed
    assert slow.met is True and "scaled by 0.50" in slow.note
    assert replay.scaled(slow, 60.0) == slow
    spent = replay.Row("b", 3.0, "ms", "lower", 2.0, (3.0, 3.0))
    assert replay.scaled(spent, 60.0).met is True
    ratio = replay._times("c", [100.0, 90.0, 110.0], 5.0, 30.0)
    assert (ratio.value, ratio.spread, ratio.met) == (20.0, (18.0, 22.0), False)
    assert replay.scaled(ratio, 60.0) is ratio


def test_the_generator_is_pinned_and_skewed(replay: ModuleType) -> None:
    one, other = replay.accesses(20_000), replay.accesses(20_000)
    assert one.digest == other.digest
    assert 0.2 < replay.replaying(one)() < 0.9


def test_rows_come_back_from_a_process_of_their_own(
    replay: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "LENGTHS", (20_000,))
    (row,) = replay._apart("cache 20000")
    assert row.value > 0.1 and row.unit == "M requests/s"
    assert row.spread[0] <= row.value <= row.spread[1]
    assert json.loads(json.dumps(row.as_json()))["met"] is None


def test_compiling_is_measured(replay: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "CANDIDATES", 3)
    spent, memory = replay.measured("compile")
    assert spent.value > 1.0 and spent.unit == "ms"
    assert memory.value >= 0.0
