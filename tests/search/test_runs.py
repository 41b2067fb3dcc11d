"""Runs as they lie in their folders: what state they are in, what the log alone says, rows for other tools."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import ConfigurationError, TraceError
from gnomon.shadow.search.driver import Options, evolve
from gnomon.shadow.search.holder import held
from gnomon.shadow.search.log import RunLog
from gnomon.shadow.search.records import FREE, Budget, Outcome, Record
from gnomon.shadow.search.results.export import as_jsonl, rows, write
from gnomon.shadow.search.results.result import EvolveResult
from gnomon.shadow.search.results.runs import Run, State, folders, load

if TYPE_CHECKING:
    from .conftest import RankEngine

SMALL = Options(budget=Budget(30), seed=3, subject={"hook": "router.pick"})
SOURCE = "def score(noise):\n    return noise + {}\n"


def record(step: int, score: float = math.nan, parent: str = "", **more: Any) -> Record:
    outcome = Outcome.OK if math.isfinite(score) else Outcome.FAULT
    values: dict[str, Any] = {"operator": "wrap", "source": SOURCE.format(step), "nodes": 4} | more
    return Record(
        step=step, program=f"p{step}", key=f"k{step}", parents=(parent,) if parent else (),
        outcome=outcome, score=score, **values,
    )  # fmt: skip


RECORDS = [
    record(0, 3.0, operator="seed:peak_ewma"),
    record(1, 2.0, "p0", author="a/model", cost=None, tokens_in=9, metrics=(("p99", math.nan),)),
    record(2, parent="p1", reason="\ud800 lone"),
    record(3, 2.5, "p1"),
]


def written(folder: Path, records: list[Record] = RECORDS) -> Path:
    with RunLog(folder, {"kind": "load_balancer", "seed": 7}) as log:
        log.hint(0, "try less")
        for each in records:
            log.append(each)
    return folder


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, rank_engine: type[RankEngine]
) -> tuple[Path, EvolveResult]:
    folder, engine = tmp_path_factory.mktemp("run"), rank_engine()
    result = evolve(load_balancer, engine, SMALL, folder)
    engine.close()
    return folder, result


def test_the_log_alone_tells_the_whole_result(finished: tuple[Path, EvolveResult]) -> None:
    folder, result = finished
    run = load(folder)
    assert run.state is State.FINISHED
    assert run.subject == "router.pick"
    again = run.result()
    told, known = again.to_json(), result.to_json()
    for name in known.keys() - {"seconds", "finalists", "baseline"}:
        assert told[name] == known[name], name
    unsourced = [replace(f, source="", nodes=0) for f in result.finalists]
    assert [replace(f, source="", nodes=0) for f in again.finalists] == unsourced
    assert again.verdict == result.verdict


@pytest.mark.parametrize("scores", [None, (1.9, 1.8)])
@pytest.mark.parametrize("name", ["", "least_outstanding"])
def test_the_incumbent_is_known_from_the_log(
    tmp_path: Path, rank_engine: type[RankEngine], name: str, scores: tuple[float, float] | None
) -> None:
    source = load_balancer.baselines[name].source or "" if name else ""
    options = replace(SMALL, budget=Budget(5), incumbent=source, incumbent_scores=scores)
    engine = rank_engine()
    result = evolve(load_balancer, engine, options, tmp_path)
    engine.close()
    assert (result.incumbent is None) == (not name and scores is None)
    assert load(tmp_path).result().incumbent == result.incumbent
    assert load(tmp_path).result().over_interval == result.over_interval


def test_a_run_is_loaded_from_its_folder_or_its_log(tmp_path: Path) -> None:
    written(tmp_path)
    run = load(tmp_path / "log.jsonl")
    assert run.folder == tmp_path
    assert (run.hints, len(run.records)) == (((0, "try less"),), 4)
    assert (run.setting("seed"), run.setting("subject.hook")) == ("7", "")
    assert run.subject == "load_balancer"
    assert [r.program for r in run.line()] == ["p0", "p1"]


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_what_is_no_run_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="holds no run of a search; name a folder"):
        load(tmp_path / name)


def test_a_run_that_is_being_written_is_read_without_its_lock(tmp_path: Path) -> None:
    with RunLog(tmp_path, {"seed": 7}) as log:
        log.append(RECORDS[0])
        assert load(tmp_path).state is State.RUNNING
        with log.path.open("ab") as file:
            file.write(b'{"id":"half a line')  # as a reader may find it
        run = load(tmp_path)
        assert (run.state, len(run.records)) == (State.RUNNING, 1)
        assert run.result().verdict.startswith("no verdict yet")
    assert load(tmp_path).state is State.INTERRUPTED


HOLD = """
import sys
from pathlib import Path
from gnomon.shadow.search.log import RunLog
log = RunLog(Path(sys.argv[1]), {"seed": 7})
print("held", flush=True)
sys.stdin.read()
"""


def test_a_run_that_was_killed_is_told_from_one_that_goes_on(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert load(tmp_path).state is State.RUNNING
        before = (tmp_path / "lock").read_text()
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait(30)
    finally:
        holder.kill()
        holder.communicate()
    assert (tmp_path / "lock").read_text() == before  # nobody tidied up
    assert load(tmp_path).state is State.INTERRUPTED
    host, _, began = before.split()
    (tmp_path / "lock").write_text(f"{host} {os.getpid()} {began}")  # its number, given to another
    assert load(tmp_path).state is State.INTERRUPTED
    (tmp_path / "lock").write_text(f"elsewhere 1 {began}")
    assert load(tmp_path).state is State.ELSEWHERE


@pytest.mark.parametrize(
    "text", ["", "x", "host pid began", "a b c d", "\xff\x00", f"h {10**30} 1", "h -1 1"]
)
def test_a_lock_of_any_content_says_something(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text, encoding="latin-1")
    assert held(tmp_path) in (False, None)


def test_runs_are_found_at_any_depth(tmp_path: Path) -> None:
    for name in ("b", "a/c", "a"):
        written(tmp_path / name)
    (tmp_path / "other").mkdir()
    assert [str(f.relative_to(tmp_path)) for f in folders(tmp_path)] == ["a", "a/c", "b"]


def test_rows_say_where_each_program_came_from(tmp_path: Path) -> None:
    found = list(rows(load(written(tmp_path))))
    assert [row["generation"] for row in found] == [0, 1, 2, 2]
    assert [row["improved"] for row in found] == [True, True, False, False]
    assert found[0]["diff"] == ""
    assert found[1]["diff"].splitlines()[-2:] == ["-    return noise + 0", "+    return noise + 1"]
    assert (found[1]["dollars"], found[1]["metrics"]) == (None, {"p99": None})
    assert (found[0]["family"], found[0]["operator"]) == ("seed", "seed:peak_ewma")
    assert found[2]["score"] is None


def test_the_reference_lists_the_columns(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "search.md"
    section = page.read_text("utf-8").split("\n## Export\n")[1].split("\n## ")[0]
    cells = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    names = set(re.findall(r"`(\w+)`", "".join(cells)))
    assert names == set(next(rows(load(written(tmp_path)))))


def test_both_formats_hold_the_same_rows(tmp_path: Path) -> None:
    run = load(written(tmp_path / "run"))
    write(run, tmp_path / "rows.jsonl")
    write(run, tmp_path / "rows.parquet")
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    table = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    for line, row in zip(lines, table, strict=True):
        row["metrics"] = dict(row["metrics"])
        line["reason"] = line["reason"].encode("utf-8", "replace").decode()
        assert line == row
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl", "rows.parquet", "run"]


def test_lines_are_ascii_json_without_what_json_lacks(finished: tuple[Path, EvolveResult]) -> None:
    run: Run = load(finished[0])
    lines = list(as_jsonl(run))
    assert len(lines) == len(run.records)
    for line, each in zip(lines, run.records, strict=True):
        assert line.isascii() and line.endswith("\n")
        assert "NaN" not in line and "Infinity" not in line
        assert json.loads(line)["outcome"] == each.outcome
    assert sum(r.outcome not in FREE for r in run.records) == 30


def test_another_ending_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    run = load(written(tmp_path / "run"))
    with pytest.raises(
        ConfigurationError, match=r"rows\.csv is no export; end its name in \.jsonl"
    ):
        write(run, tmp_path / "rows.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_damaged_log_is_a_trace_error(tmp_path: Path) -> None:
    path = written(tmp_path) / "log.jsonl"
    path.write_bytes(path.read_bytes().replace(b"noise + 1", b"noise + 9"))
    with pytest.raises(TraceError, match="line 4 does not follow"):
        load(tmp_path)


def test_a_log_cut_anywhere_is_read_up_to_there(tmp_path: Path) -> None:
    """What a reader may find while a run writes: every beginning of a log is the log of a shorter run."""
    whole = (written(tmp_path / "whole") / "log.jsonl").read_bytes()
    records = load(tmp_path / "whole").records
    (tmp_path / "cut").mkdir()
    path = tmp_path / "cut" / "log.jsonl"
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        lines = whole[:size].count(b"\n")
        if lines == 0:
            with pytest.raises(TraceError, match="no header yet"):
                load(tmp_path / "cut")
        else:
            run = load(tmp_path / "cut")
            assert repr(run.records) == repr(records[: max(lines - 2, 0)])
            assert (run.state, run.final) == (State.INTERRUPTED, None)
            run.result()
