"""Comparisons that run: shared evaluations, any number at once, interrupted and resumed, from the command line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from gnomon.cli import app
from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import ConfigurationError, SearchError
from gnomon.shadow.evaluation import Evaluation, Split, Status
from gnomon.shadow.search.driver import Options, evolve
from gnomon.shadow.search.records import Budget
from gnomon.shadow.search.results.compare import Plan, Standing, compare
from gnomon.shadow.search.results.result import EvolveResult
from gnomon.shadow.search.wiring import Arena

from ..isolation.systems import recorded

if TYPE_CHECKING:
    from .conftest import RankEngine

PLAN = Plan(("evolve", "pareto", "seeds"), (0, 1), Options(budget=Budget(25)))


class Toy(Arena):
    """The arena of a real trace, whose engine answers at once and counts."""

    engines: list[RankEngine]
    made: type[RankEngine]
    broken: bool = False

    @contextmanager
    def open(self) -> Iterator[RankEngine]:  # type: ignore[override]
        error = Evaluation(Status.EVALUATOR_ERROR, detail="no disk")
        engine = self.made(2, lambda *_: error if self.broken else None)
        self.engines.append(engine)
        yield engine
        engine.close()

    def bound(self, window: Split) -> float:
        return -math.inf  # of other scores than these


@pytest.fixture(scope="module")
def toy(rank_engine: type[RankEngine]) -> Toy:
    arena = Toy.of(load_balancer, recorded(8.0))
    assert isinstance(arena, Toy)
    object.__setattr__(arena, "made", rank_engine)
    object.__setattr__(arena, "engines", [])
    return arena


@pytest.fixture(autouse=True)
def no_reports(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Leave the plots out, which take longer than these searches."""
    if "toy" in request.fixturenames:

        def noted(result: EvolveResult, out: Path) -> None:
            (out / "result.json").write_text(json.dumps(result.to_json()))

        monkeypatch.setattr("gnomon.shadow.search.results.compare.write", noted)


def logs(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("log.jsonl")}


def test_searches_are_those_that_evolve_makes_and_share_their_evaluations(
    toy: Toy, tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    told = compare(toy, PLAN, tmp_path / "all")
    assert told.stopped == "done"
    assert [(run.strategy, run.seed) for run in told.runs] == [
        (name, seed) for seed in (0, 1) for name in PLAN.strategies
    ]
    assert all(run.evaluations == 25 for run in told.runs)
    calls = toy.engines[-1].calls
    published = toy.kind.baselines.values()
    assert {calls[each.source, "train"] for each in published if each.source} == {1}
    assert told.shared > 5 * len([each for each in published if each.source])
    assert sum(calls.values()) + told.shared >= 6 * 25
    alone = replace(
        PLAN.options, strategy="pareto", seed=1, scales=toy.scales(), subject=toy.subject()
    )
    engine = rank_engine()
    result = evolve(load_balancer, engine, alone, tmp_path / "alone")
    engine.close()
    mine = next(run for run in told.runs if (run.strategy, run.seed) == ("pareto", 1))
    assert result.winner is not None
    assert (mine.program, mine.gain) == (result.winner.program, result.search_added)
    one = (tmp_path / "alone" / "log.jsonl").read_bytes()
    assert (tmp_path / "all" / "pareto" / "seed-1" / "log.jsonl").read_bytes() == one


def test_any_number_at_once_gives_the_same(toy: Toy, tmp_path: Path) -> None:
    one, three = (
        compare(toy, replace(PLAN, at_once=count), tmp_path / str(count)) for count in (1, 3)
    )
    assert logs(tmp_path / "1") == logs(tmp_path / "3")
    assert replace(one, shared=0, folder=None) == replace(three, shared=0, folder=None)


def test_an_interrupted_comparison_goes_on_to_the_same_end(toy: Toy, tmp_path: Path) -> None:
    whole = compare(toy, PLAN, tmp_path / "whole")
    seen: list[Standing] = []
    half = compare(toy, PLAN, tmp_path / "half", progress=seen.append, stop=lambda: len(seen) > 70)
    assert half.stopped == "interrupted"
    assert 0 < len(half.runs) < 6
    assert half.verdict.startswith("no verdict: interrupted")
    assert json.loads((tmp_path / "half" / "comparison.json").read_text())["better"] == []
    with pytest.raises(ConfigurationError, match="holds a run already: pass --resume"):
        compare(toy, PLAN, tmp_path / "half")
    before = {run.program for run in half.runs}
    again = replace(PLAN, options=replace(PLAN.options, resume=True))
    rest = compare(toy, again, tmp_path / "half")
    assert replace(rest, shared=0, folder=None) == replace(whole, shared=0, folder=None)
    assert before <= {run.program for run in rest.runs}
    assert logs(tmp_path / "half") == logs(tmp_path / "whole")


def test_every_end_of_a_search_is_told_once(toy: Toy, tmp_path: Path) -> None:
    seen: list[Standing] = []
    compare(toy, replace(PLAN, at_once=3), tmp_path, progress=seen.append)
    ends = [standing for standing in seen if standing.glance is None]
    assert [standing.done for standing in ends] == [1, 2, 3, 4, 5, 6]
    assert {(s.strategy, s.seed) for s in ends} == {(n, s) for n in PLAN.strategies for s in (0, 1)}
    assert len(seen) > 6 * 25


def test_a_search_that_fails_ends_all(toy: Toy, tmp_path: Path) -> None:
    object.__setattr__(toy, "broken", True)
    try:
        with pytest.raises(SearchError, match="no disk"):
            compare(toy, replace(PLAN, at_once=2), tmp_path)
    finally:
        object.__setattr__(toy, "broken", False)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"strategies": ()}, "nothing to compare"),
        ({"seeds": ()}, "nothing to compare"),
        ({"strategies": ("evolve", "evolve")}, "strategy 'evolve' is named twice"),
        ({"seeds": (1, 2, 1)}, "seed 1 is named twice"),
        ({"strategies": ("evolve", "best")}, "unknown strategy 'best'; known strategies: evolve"),
        ({"at_once": 0}, "at_once=0"),
    ],
)
def test_a_plan_that_compares_nothing_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        replace(PLAN, **values)


def test_the_command_compares_on_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recorded(8.0).save(Path("trace.npz"))
    words = ["compare", "--traces", "trace.npz", "--incumbent", "baseline:round_robin"]
    words += ["--strategies", "evolve, published", "--seeds", "1", "--budget", "9", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1, result.output
    told = json.loads(result.stdout)
    assert told["rival"] == "published"
    assert {arm["strategy"] for arm in told["arms"]} == {"evolve", "published"}
    assert "with fewer than 5 seeds nothing is claimed" in told["verdict"]
    assert "2/2 " in result.stderr
    (folder,) = Path(".gnomon/runs").iterdir()
    assert (folder / "evolve" / "seed-0" / "report.html").is_file()
    assert json.loads((folder / "comparison.json").read_text()) == told
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 2
    assert "pass --resume" in again.stderr
    for bad, said in (("--seeds", "--seeds 0"), ("--at-once", "--at-once 0")):
        refused = CliRunner().invoke(app, [*words, bad, "0"])
        assert refused.exit_code == 2
        assert said in refused.stderr
