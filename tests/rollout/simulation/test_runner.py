"""Playing very many seeds: what was played is kept, what was cut off is played again, what stops is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import runner
from .runner import CHUNK, Report, kept, play, soak


def part(first: int, rollouts: int = 100, problems: Any = ()) -> dict[str, Any]:
    sums = {"seeds": CHUNK, "rollouts": rollouts, "events": 9, "seconds": 5.0}
    return {**sums, "first": first, "met": {"nack": 1}, "problems": list(problems)}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Chunks that were played anew."""
    firsts: list[int] = []

    def parts(waiting: Iterator[int], workers: int) -> Iterator[dict[str, Any]]:
        for first in waiting:
            firsts.append(first)
            yield part(first)

    monkeypatch.setattr(runner, "_parts", parts)
    return firsts


def test_a_soak_goes_on_where_it_was_interrupted(tmp_path: Path, asked: list[int]) -> None:
    assert soak(250, tmp_path).rollouts == 300
    assert asked == [0, 25, 50]
    report = soak(450, tmp_path)
    assert asked == [0, 25, 50, 75, 100]
    assert (report.seeds, report.met["nack"]) == (125, 5)
    assert soak(450, tmp_path).rollouts == 500
    assert len(asked) == 5


def test_a_line_that_was_cut_off_is_played_again(tmp_path: Path, asked: list[int]) -> None:
    soak(250, tmp_path)
    (file,) = tmp_path.glob("simulation-*.jsonl")
    file.write_text(file.read_text()[:-20])
    assert list(kept(tmp_path)) == [0, 25]
    assert soak(250, tmp_path).seeds == 75
    assert asked[3:] == [50]
    assert list(kept(tmp_path)) == [0, 25, 50]


def test_other_code_begins_anew(
    tmp_path: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    soak(100, tmp_path)
    monkeypatch.setattr(runner, "fingerprint", lambda: "other")
    assert kept(tmp_path) == {}
    soak(100, tmp_path)
    assert asked == [0, 0]


def test_progress_can_be_read_meanwhile(tmp_path: Path, asked: list[int]) -> None:
    soak(200, tmp_path)
    figures = json.loads((tmp_path / "simulation.json").read_text())
    assert figures["rollouts"] == 200
    last = (tmp_path / "simulation.log").read_text().splitlines()[-1]
    assert last.endswith("50 seeds, 200 rollouts, 20.0 per CPU second, 0 problems")


def test_a_world_that_stops_is_a_problem_and_hides_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = runner.simulate

    def stops(seed: int) -> Any:
        if seed == 4:
            raise AssertionError("no such thing")
        return real(seed)

    monkeypatch.setattr(runner, "simulate", stops)
    found = play(3, 3)
    assert found["problems"] == [(4, "stopped: AssertionError: no such thing")]
    assert found["rollouts"] >= 2


def test_chunks_are_played_in_processes_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "CHUNK", 1)
    report = soak(1, tmp_path, workers=1)
    assert report.rollouts >= 1
    assert not report.problems
    assert isinstance(report, Report)
    alone = play(0, 1)
    assert kept(tmp_path)[0]["met"] == dict(alone["met"])
