"""The benchmark of gates and isolation: ways that decide alike, rows that mean something, no attack that won."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

Load = Callable[[str], ModuleType]


@pytest.fixture
def gates(benchmark: Load, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    from ..conftest import ROOT

    monkeypatch.syspath_prepend(ROOT)
    return benchmark("gates")


@pytest.fixture
def isolated(benchmark: Load, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = benchmark("_isolated")
    few = {"BLOCKS": 3, "FRAMES": {1: 4, 256: 1}, "STARTS": 4, "FORKS": 2, "FRESH_STARTS": 1}
    for name, value in few.items():
        monkeypatch.setattr(module, name, value)
    return module


@pytest.fixture
def guarded(benchmark: Load, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = benchmark("_guarded")
    monkeypatch.setattr(module, "BLOCKS", 3)
    monkeypatch.setattr(module, "CALLS", 50)
    return module


def sound(rows: list[Any]) -> dict[str, Any]:
    """Return rows by name; each is a positive figure within its spread."""
    for row in rows:
        assert 0.0 < row.spread[0] <= row.value <= row.spread[1], row
    named = {row.name: row for row in rows}
    assert len(named) == len(rows)
    return named


def test_isolation_rows(isolated: ModuleType) -> None:
    named = sound(isolated.rows())
    one = named["lockstep, one stream, a decision, CPU time"]
    many = named["lockstep, 256 streams, a decision, CPU time"]
    assert (one.target, many.target, one.unit) == (50.0, 2.0, "us")
    assert many.value < one.value and one.peer.value < one.value
    assert [row.target for row in named.values() if "candidate" in row.name] == [5.0] * 4
    assert "a worker that speaks JSON lines" in {
        row.peer.name for row in named.values() if row.peer
    }


def test_lockstep_that_decides_otherwise_is_no_row(
    isolated: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolated, "chooser", lambda program, kind: lambda items: -1)
    with pytest.raises(RuntimeError, match="decide differently"):
        list(isolated.lockstep())


def test_the_naive_worker_decides_too(isolated: ModuleType) -> None:
    with isolated.Naive(isolated.SOURCE) as naive:
        assert naive.choose([[2.0, 9.0], [1.0, 3.0], [5.0, 5.0]]) == 1


def test_the_clock_of_two_processes_counts_both(isolated: ModuleType) -> None:
    pid = os.fork()
    if pid == 0:
        while True:
            pass
    try:
        clock = isolated.cpu_with(pid)
        begin, own = clock(), time.process_time()
        time.sleep(0.2)
        assert clock() - begin > time.process_time() - own + 0.02
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_guard_rows(guarded: ModuleType) -> None:
    named = {row.name: row for row in guarded.rows()}
    added = [row for name, row in named.items() if name.startswith("guard")]
    assert len(added) == 2 and {row.unit for row in added} == {"ns"}
    assert added[0].value > 0.0  # what is checked takes time
    assert all(row.peer.value > 0.0 for row in added)
    fuel, golden = (
        next(r for n, r in named.items() if n.startswith(w)) for w in ("fuel", "golden")
    )
    assert fuel.peer.name == "the same without a counter" and golden.unit == "ms"


def test_every_gate_that_was_asked_has_a_row(gates: ModuleType) -> None:
    from gnomon.shadow.gates.verdict import GATES

    *asked, whole = gates.gates("t", gates.balanced(6.0), "peak_ewma", "round_robin")
    names = [row.name for row in asked]
    assert names == [f"t, gate {name}" for name in GATES[: len(names)]] and len(names) > 3
    assert asked[-1].note in ("failed", "inconclusive")
    assert whole.note.endswith(("refused", "inconclusive"))
    assert 0.0 < sum(row.value for row in asked) <= whole.value + 0.01


def test_throughput_counts_candidates(gates: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "CANDIDATES", 2)
    monkeypatch.setattr(gates, "ROUNDS", 1)
    (row,) = gates.throughput()
    assert (row.unit, row.better) == ("candidates/s", "higher")
    assert row.value > 0.0 and row.peer.value > 0.0


def test_an_attack_that_got_something_misses_the_target(gates: ModuleType) -> None:
    none, one = gates.successes([]), gates.successes(["fork"])
    assert (none.met, none.target, one.met) == (True, 0.0, False)
    assert one.note == "fork"
    assert gates.scaled(none, 60.0) is none  # a count does not depend on the machine's speed


def test_a_section_comes_back_from_a_process_of_its_own(gates: ModuleType) -> None:
    rows = gates._apart("guarded")
    assert len(rows) == 4 and all(row.spread[0] <= row.value <= row.spread[1] for row in rows)
