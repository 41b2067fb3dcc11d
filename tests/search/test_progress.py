"""What is told of a search while it runs, and how it is stopped."""

from __future__ import annotations

import json
import math
import re
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.shadow.evaluation import Evaluation
from gnomon.shadow.search.archive import Archive
from gnomon.shadow.search.driver import Options, evolve
from gnomon.shadow.search.log import read_run
from gnomon.shadow.search.progress import Progress, duration
from gnomon.shadow.search.records import Budget, Outcome, Record

if TYPE_CHECKING:
    from .conftest import RankEngine

SMALL = Options(budget=Budget(30), seed=3, incumbent_scores=(1.7, 1.8))


def record(step: int, score: float = math.nan, **more: Any) -> Record:
    outcome = Outcome.OK if math.isfinite(score) else Outcome.FAULT
    values = {"operator": "jitter", "outcome": outcome} | more
    operator, outcome = values.pop("operator"), values.pop("outcome")
    segments = (score,) if math.isfinite(score) else ()
    return Record(
        step, f"p{step}", "k", "s", operator, (), 3, outcome, score, segments, **values
    )  # fmt: skip


def glance(records: list[Record], budget: Budget | None = None, **more: Any) -> Progress:
    """A glance at a search that has these records."""
    archive = Archive()
    for each in records:
        archive.add(each)
    search: Any = SimpleNamespace(
        space=SimpleNamespace(higher=False),
        records=records,
        archive=archive,
        counts=Counter(each.outcome for each in records),
        budget=budget or Budget(100),
        standing="",
    )
    values: dict[str, Any] = {
        "phase": "search", "incumbent": math.nan, "done": 10, "total": 100, "fresh": 10, "seconds": 25.0, "phase_seconds": 20.0,
    }  # fmt: skip
    return Progress(search=search, **(values | more))


def test_a_line_says_what_there_is_and_nothing_of_what_there_is_not() -> None:
    bare = glance([], fresh=0, done=0)
    assert bare.line() == "search: no score yet; nothing proposed yet"
    seeds = [
        record(0, 9.5, operator="seed:peak_ewma"),
        record(1, 11.0, operator="seed:round_robin"),
        record(2, 8.25),
        record(3),
    ]
    assert glance(seeds, incumbent=12.0, flying=2).line() == (
        "search: best 8.25 on train (peak_ewma 9.5, incumbent 12); 1 fault, 3 ok; 2 under way; "
        "3 archived; 3 min left"
    )


def test_money_is_shown_with_its_cap_and_an_unknown_price_is_said() -> None:
    paid = [record(0, 2.0, author="m", cost=0.25, tokens_in=1200, tokens_out=30, prompt="d")]
    line = glance(paid, Budget(100, dollars=2.0), writing=3, flying=1).line()
    assert "spent $0.2500, 1,200 tokens in, 30 out (at most $2.00)" in line
    assert "1 under way, 3 being written" in line
    unknown = [replace(paid[0], cost=None)]
    assert "spent unknown dollars (1 answers without a price)" in glance(unknown).line()


def test_a_silent_writer_is_noticed_until_it_answers_again() -> None:
    silent = record(
        0, outcome=Outcome.UNANSWERED, author="a/model", prompt="d", reason="breaker open:\n 429"
    )
    said = glance([silent, record(1, 2.0)]).line()
    assert "a/model gave no program: breaker open: 429" in said
    assert "gave no program" not in glance([silent, record(1, 2.0, prompt="d")]).line()
    dead = [replace(silent, step=step) for step in range(5)]
    assert (
        glance(dead)
        .line()
        .endswith(
            "left alone: a/model since step 4 (5 answers of no use in a row; the last: breaker open: 429); "
            "keyless search goes on"
        )
    )


@pytest.mark.parametrize(
    ("strategy", "says"),
    [
        ("map_elites", r"1 islands, [1-9]\d* cells filled"),
        ("bandit", r"1 islands, \d+ of 100 proposals without a better one"),
        ("pareto", r"[1-9]\d* programs on the fronts"),
    ],
)
def test_a_strategy_says_where_it_stands(
    tmp_path: Path, rank_engine: type[RankEngine], strategy: str, says: str
) -> None:
    lines, engine = [], rank_engine()
    options = replace(SMALL, strategy=strategy)
    told = lambda now: lines.append((now.line(), now.to_json()["strategy"]))
    watched = evolve(load_balancer, engine, options, tmp_path / "a", progress=told)
    engine.close()
    assert re.search(says, lines[-1][0])
    assert re.fullmatch(says, lines[-1][1])
    engine = rank_engine()
    assert evolve(load_balancer, engine, options, tmp_path / "b").log_hash == watched.log_hash
    engine.close()


@pytest.mark.parametrize(
    ("seconds", "more", "left"),
    [
        (math.inf, {}, 180.0),  # 90 are to come at 2 s each
        (100.0, {}, 75.0),  # the clock ends it first
        (10.0, {}, 0.0),
        (math.inf, {"fresh": 0}, math.inf),
        (60.0, {"fresh": 0}, 35.0),
        (math.inf, {"done": 100}, 0.0),
    ],
)
def test_time_left_is_by_the_pace_or_by_the_clock(
    seconds: float, more: dict[str, Any], left: float
) -> None:
    found = glance([], Budget(100, seconds=seconds), **more).left
    assert found == left


def test_durations() -> None:
    assert [duration(s) for s in (0.4, 99.0, 240.0, 7200.0)] == ["0 s", "99 s", "4 min", "2.0 h"]


def test_json_has_no_number_that_json_lacks() -> None:
    for each in (glance([], fresh=0), glance([record(0, 1.0)], Budget(9, dollars=1.0))):
        values = json.loads(json.dumps(each.to_json(), allow_nan=False))
        assert {"best", "counts", "dollars", "seconds_left", "notice"} <= set(values)
    assert values["best"] == 1.0
    assert values["most_dollars"] == 1.0


def test_the_reference_lists_the_fields() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "search.md"
    section = page.read_text("utf-8").split("\n## Progress\n")[1].split("\n## ")[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", "".join(rows))) == set(glance([]).to_json())


def test_a_run_tells_of_itself(tmp_path: Path, rank_engine: type[RankEngine]) -> None:
    engine, lines = rank_engine(), []

    def told(now: Progress) -> None:
        lines.append((now.phase, now.done, now.total, now.line()))
        json.dumps(now.to_json(), allow_nan=False)

    evolve(load_balancer, engine, SMALL, tmp_path, progress=told)
    engine.close()
    searching = [line for line in lines if line[0] == "search"]
    assert searching[-1][1:3] == (30, 30)
    assert "incumbent 1.7" in searching[-1][3]
    assert [done for _, done, *_ in searching] == sorted(done for _, done, *_ in searching)
    phase, done, total, _ = lines[-1]
    assert phase == "validation"
    assert done == total


def test_a_resumed_run_counts_what_the_log_held(
    tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    told: list[Progress] = []
    for resume, stop in ((False, lambda: len(told) > 12), (True, lambda: False)):
        engine = rank_engine()
        evolve(
            load_balancer, engine, replace(SMALL, resume=resume), tmp_path,
            progress=told.append, stop=stop,
        )  # fmt: skip
        engine.close()
        if not resume:
            before = told[-1].done
            told.clear()
    assert told[0].done >= before > 0
    assert told[0].fresh < told[0].done


def test_what_is_under_way_is_finished_when_a_run_is_stopped(
    tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    gate, begun = threading.Event(), threading.Event()
    stopping: list[bool] = []

    def held(source: str, again: int) -> Evaluation | None:
        begun.set()
        gate.wait(30)
        return None

    def told(now: Progress) -> None:
        if now.stopping:
            stopping.append(True)
            gate.set()  # only now may the evaluations end

    engine = rank_engine(2, held)
    result = evolve(load_balancer, engine, SMALL, tmp_path, progress=told, stop=begun.is_set)
    engine.close()
    assert result.stopped == "interrupted"
    assert stopping
    kept = read_run(tmp_path / "log.jsonl").records
    assert len(kept) == sum(engine.calls.values()) == 2
    assert all(each.outcome is Outcome.OK for each in kept)

    again = rank_engine()
    resumed = evolve(load_balancer, again, replace(SMALL, resume=True), tmp_path)
    again.close()
    assert not set(engine.calls) & {call for call in again.calls if call[1] == "train"}
    whole = rank_engine()
    other = evolve(load_balancer, whole, SMALL, tmp_path / "whole")
    whole.close()
    assert resumed.log_hash == other.log_hash


def test_a_run_that_is_stopped_while_it_validates_is_interrupted(
    tmp_path: Path, rank_engine: type[RankEngine]
) -> None:
    phases: list[str] = []
    engine = rank_engine()
    result = evolve(
        load_balancer, engine, SMALL, tmp_path,
        progress=lambda now: phases.append(now.phase), stop=lambda: "validation" in phases,
    )  # fmt: skip
    engine.close()
    assert result.stopped == "interrupted"
    assert read_run(tmp_path / "log.jsonl").final is None
