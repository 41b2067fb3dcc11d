"""``gnomon runs``: list, show, export and report, on whole, running, cut and edited runs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

import gnomon
from gnomon.shadow.search.lines import Final, Scored
from gnomon.shadow.search.log import RunLog
from gnomon.shadow.search.records import Outcome, Record

from .conftest import Folder
from .test_completion import values as offered

CONFIG = {
    "kind": "load_balancer", "strategy": "evolve", "seed": 7, "subject": {"hook": "router.pick"},
}  # fmt: skip
RUNS = Path(".gnomon/runs")


def record(step: int, score: float = math.nan, parent: str = "") -> Record:
    outcome = Outcome.OK if math.isfinite(score) else Outcome.FAULT
    return Record(
        step, f"p{step}", f"k{step}", f"def score(noise):\n    return {step}\n", "wrap",
        (parent,) if parent else (), 4, outcome, score,
    )  # fmt: skip


def written(folder: Path, final: bool = True) -> Path:
    with RunLog(folder, CONFIG) as log:
        for each in (record(0, 3.0), record(1, 2.0, "p0"), record(2, parent="p1")):
            log.append(each)
        if final:
            finalists = (Scored("evolved", "p1", 2.0, 2.1), Scored("peak_ewma", "p0", 3.0, 3.0))
            log.finish(
                Final("evaluations", "p1", finalists, Scored("incumbent", "incumbent", 4.0, 4.0))
            )
    return folder


def edit(folder: Path) -> None:
    log = folder / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b"return 1", b"return 9"))


def test_a_list_says_what_each_run_is(folder: Folder, tree: Callable[[Path], set[str]]) -> None:
    written(RUNS / "router.pick")
    written(RUNS / "team" / "other", final=False)
    before = tree(folder.path)
    found = {row["folder"]: row for row in folder.json("runs", "list")["runs"]}
    whole, half = found[str(RUNS / "router.pick")], found[str(RUNS / "team" / "other")]
    assert (whole["state"], half["state"]) == ("finished", "interrupted")
    assert (whole["proposals"], whole["evaluated"], whole["best"]) == (3, 3, 2.0)
    assert (whole["subject"], whole["strategy"]) == ("router.pick", "evolve")
    shown = folder.run("runs", "list")
    assert "team/other" in shown.stdout and "interrupted" in shown.stdout
    assert tree(folder.path) == before
    assert [str(row.folder) for row in gnomon.list_runs().rows] == list(found)


def test_a_run_that_is_held_is_listed_as_running(folder: Folder) -> None:
    with RunLog(RUNS / "x", CONFIG):
        assert folder.json("runs", "list")["runs"][0]["state"] == "running"
        assert folder.json("runs", "show", "x")["state"] == "running"
        assert folder.json("runs", "report", "x")["proposals"] == 0
    with RunLog(RUNS / "x", CONFIG, resume=True):  # nobody who looked took the lock away
        pass


def test_a_damaged_run_is_listed_with_what_is_wrong(folder: Folder) -> None:
    edit(written(RUNS / "a"))
    written(RUNS / "b")
    found = folder.json("runs", "list", code=1)["runs"]
    states = {row["folder"]: (row["state"], row["damage"]) for row in found}
    assert states[str(RUNS / "b")] == ("finished", "")
    assert states[str(RUNS / "a")][0] == "damaged"
    assert "line 3 does not follow" in states[str(RUNS / "a")][1]
    assert "line 3 does not follow" in folder.run("runs", "list").stdout


def test_a_list_of_nothing_is_an_answer_and_no_folder_is_not(folder: Folder) -> None:
    assert "is no folder of runs; name one, or run gnomon evolve" in folder.refused("runs", "list")
    RUNS.mkdir(parents=True)
    assert "no runs" in folder.run("runs", "list").stdout


def test_a_run_is_shown_with_its_lineage(folder: Folder) -> None:
    written(RUNS / "router.pick")
    shown = folder.run("runs", "show", "router.pick")  # by its name among the usual runs
    assert shown.exit_code == 0, shown.output
    assert "the search added +30.0% over the best published policy, peak_ewma" in shown.stdout
    assert "-    return 0" in shown.stdout and "+    return 1" in shown.stdout
    assert "-33.3%" in shown.stdout
    data = folder.json("runs", "show", RUNS / "router.pick" / "log.jsonl")
    assert [step["program"] for step in data["line"]] == ["p0", "p1"]
    assert data["result"]["origin"] == "evolved"
    assert data["config"] == CONFIG
    assert "written to" not in shown.stdout  # there is no best.py
    (RUNS / "router.pick" / "best.py").write_text("")
    assert f"written to {RUNS}/router.pick/best.py" in str(gnomon.show_run("router.pick"))


def test_an_interrupted_run_says_how_it_goes_on(folder: Folder) -> None:
    written(RUNS / "x", final=False)
    shown = folder.run("runs", "show", "x").stdout
    assert "Interrupted. Continue with the same options and --resume" in shown
    assert f"see {RUNS}/x" in shown
    assert "no verdict yet" in shown


def test_rows_go_to_standard_output_or_to_a_file(folder: Folder) -> None:
    written(RUNS / "x")
    lines = folder.run("runs", "export", "x").stdout.splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2]
    told = folder.json("runs", "export", "x", "--out", "rows.jsonl")
    assert told == {
        "path": "rows.jsonl",
        "proposals": 3,
        "bytes": Path("rows.jsonl").stat().st_size,
    }
    assert Path("rows.jsonl").read_text().splitlines() == lines
    assert folder.run("runs", "export", "x", "--out", "rows.parquet").exit_code == 0
    assert gnomon.export_run("x", "again.jsonl").proposals == 3


def test_a_report_is_written_into_the_folder(folder: Folder) -> None:
    written(RUNS / "x")
    told = folder.json("runs", "report", "x")
    assert told["path"] == str(RUNS / "x" / "report.html")
    assert (RUNS / "x" / "report.html").read_text("utf-8").rstrip().endswith("</html>")
    assert gnomon.report_run("x").path == RUNS / "x" / "report.html"


@pytest.mark.parametrize("command", ["show", "export", "report"])
def test_a_run_that_cannot_be_read_is_refused_in_a_line(folder: Folder, command: str) -> None:
    edit(written(RUNS / "x"))
    assert "line 3 does not follow" in folder.refused("runs", command, "x")
    assert "holds no run of a search" in folder.refused("runs", command, "nowhere")
    (RUNS / "y").mkdir()
    (RUNS / "y" / "log.jsonl").write_text('{"id":')
    assert "no header yet" in folder.refused("runs", command, "y")
    assert not (RUNS / "x" / "report.html").exists()


def test_where_rows_cannot_go_is_refused(folder: Folder) -> None:
    written(RUNS / "x")
    assert "rows.csv is no export" in folder.refused("runs", "export", "x", "--out", "rows.csv")
    (folder.path / "rows.jsonl").mkdir()
    said = folder.refused("runs", "export", "x", "--out", "rows.jsonl")
    assert "rows.jsonl cannot be written; name another file" in said


def test_runs_are_completed(folder: Folder) -> None:
    written(RUNS / "router.pick")
    assert offered("gnomon runs show rou") == {"router.pick"}
    assert offered("gnomon runs show x") == set()
