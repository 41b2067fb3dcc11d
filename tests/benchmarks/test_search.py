"""The benchmark ``search``: what is timed is a real search, and every row says beside whom."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture
def search(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("search")


@pytest.fixture
def ours(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("_search_ours")


def test_the_stub_model_never_answers_twice_alike(benchmark: Callable[[str], ModuleType]) -> None:
    stub = benchmark("_search_stub")
    answers = stub.answers()
    programs = [next(answers) for _ in range(50)]
    assert len(set(programs)) == 50
    assert len({stub.segments(program) for program in programs}) == 50
    assert all(len(stub.segments(program)) == 20 for program in programs)
    assert 0.0 < stub.mean(programs[0]) < 1.0


@pytest.mark.parametrize("model", [False, True])
def test_a_timed_search_gets_to_its_size_and_its_log_replays(ours: ModuleType, model: bool) -> None:
    timed = ours.searched("evolve", model, 20)
    steps = [step for step, _ in timed.marks]
    assert steps == sorted(steps)
    assert steps[-1] >= 20 + ours.BLOCK * ours.BLOCKS
    figures = timed.at(20)
    assert len(figures) == ours.BLOCKS
    assert all(0.0 < figure < 1000.0 for figure in figures)
    assert timed.at(10_000) == []
    assert timed.resumed_s > 0.0


def test_rows_stand_beside_the_peers_of_their_size(search: ModuleType, ours: ModuleType) -> None:
    marks = [(step, step / 1000.0) for step in range(10_400)]
    peers = {
        ("openevolve", 10): search.Peer("OpenEvolve", "0.4.0", 5.0),
        ("gepa", 1_000): search.Peer("GEPA", "0.1.4", 12.0),
    }
    rows = search.rows_of("evolve, keyless", ours.Timed(marks, 3.0), peers)
    assert [row.name for row in rows] == [
        "evolve, keyless, 10 programs",
        "evolve, keyless, 1000 programs",
        "evolve, keyless, 10000 programs",
        "evolve, keyless, resume",
    ]
    assert [row.value for row in rows] == pytest.approx([1.0, 1.0, 1.0, 3.0])
    assert rows[0].peer == peers["openevolve", 10]
    assert rows[1].note == "GEPA 0.1.4: 12"
    assert rows[2].peer is None
    assert [row.met for row in rows] == [True, True, True, None]
    few = search.rows_of("published, keyless", ours.Timed(marks[:9]), {})
    assert few == []


def test_a_peer_is_measured_in_a_process_that_make_lets_find_no_neighbours(
    benchmark: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its import of the stub must not depend on how Python was started; GEPA need not be installed to see it."""
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    peers = benchmark("_search_peers")
    said = ""
    try:
        peers._ran("gepa", 1)
    except SystemExit as failed:
        said = str(failed)
    assert "_search_stub" not in said
