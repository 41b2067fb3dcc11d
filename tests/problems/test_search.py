"""A search of a folder: the command, its log, resuming, and what is said at the end."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import gnomon
from gnomon.commands import evolve as command
from gnomon.sdk.errors import ConfigurationError, SearchError, TraceError
from gnomon.shadow.problems.engine import ProblemOptions
from gnomon.shadow.problems.folder import Problem
from gnomon.shadow.problems.result import WARNING, ProblemResult, result_of
from gnomon.shadow.problems.run import search
from gnomon.shadow.problems.settings import ProblemSettings
from gnomon.shadow.search.driver import Options
from gnomon.shadow.search.log import proposals
from gnomon.shadow.search.records import Budget, Outcome
from gnomon.shadow.search.results.finalist import Finalist
from gnomon.shadow.search.results.result import concluded

from .conftest import EVALUATOR, PROGRAM, Write

SMALL = Options(budget=Budget(12), finalists=2)


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the report out, which takes longer than everything else; test_run looks at it."""
    monkeypatch.setattr("gnomon.shadow.problems.run.write_report", lambda *_: None)


def command_line(*arguments: str | Path) -> Any:
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    return CliRunner().invoke(app, ["evolve", *map(str, arguments)])


def test_a_folder_is_searched_by_command(write: Write, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = command_line("--problem", write().folder, "--budget", 12, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    assert done.stderr.count(WARNING) == 1
    said = json.loads(done.stdout)
    assert said["improved"] and said["warning"] == WARNING and said["layers"]
    assert said["initial"]["score"] == 1.5 and said["best"]["score"] > 1.5
    assert said["best"]["again"] == said["best"]["score"] == said["metrics"]["combined_score"]
    assert said["best_by_step"][0] == [0, 1.5]
    assert said["lineage"][-1][1] == "seed:initial"
    best = (out / "best_program.py").read_text()
    assert best == said["best"]["source"] != PROGRAM and best.startswith("# EVOLVE-BLOCK-START\n")
    kept = json.loads((out / "result.json").read_text())
    assert kept == {name: value for name, value in said.items() if name != "folder"}
    records = list(proposals(out / "log.jsonl"))
    assert records[0].score == -1.5 and dict(records[0].metrics) == {"combined_score": 1.5}
    shown = command_line("--problem", write().folder, "--budget", 12, "--out", out, "--resume")
    assert shown.exit_code == 0, shown.output
    assert "higher is better" in shown.stdout and "best program" in shown.stdout


def test_where_nothing_is_better_the_initial_program_stays(write: Write, tmp_path: Path) -> None:
    problem = write(
        evaluator=EVALUATOR.replace("load(path).answer()", "-abs(load(path).answer() - 1.5)")
    )
    result = search(problem, SMALL, tmp_path / "run")
    assert not result.improved and result.best is not None and result.best.source == PROGRAM
    assert any("nothing won" in each and "keep it" in each for each in result.diagnosis)
    assert (tmp_path / "run" / "best_program.py").read_text() == PROGRAM
    done = command_line("--problem", problem.folder, "--budget", 3, "--out", tmp_path / "again")
    assert done.exit_code == 1


@pytest.mark.parametrize("name", ["map_elites", "bandit", "pareto", "independent", "seeds"])
def test_every_strategy_takes_a_folder(write: Write, tmp_path: Path, name: str) -> None:
    options = Options(budget=Budget(6), finalists=1, strategy=name)
    result = search(write(), options, tmp_path / name)
    assert result.counts["ok"] >= 4
    assert result.initial is not None and result.initial.score == 1.5


def test_the_log_is_the_same_at_any_parallelism(write: Write, tmp_path: Path) -> None:
    logs = []
    for parallel in (1, 3):
        out = tmp_path / str(parallel)
        options = Options(budget=Budget(10), finalists=2, parallel=parallel)
        engine = ProblemOptions(workers=parallel)
        logs.append((search(write(), options, out, engine=engine).log_hash, out))
    assert logs[0][0] == logs[1][0]
    assert len({(out / "log.jsonl").read_bytes() for _, out in logs}) == 1


def test_a_run_goes_on_where_it_was_cut(write: Write, tmp_path: Path) -> None:
    whole = search(write(), SMALL, tmp_path / "whole")
    lines = (tmp_path / "whole" / "log.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "log.jsonl").write_bytes(b"".join(lines[:7]) + lines[7][:40])
    options = Options(budget=Budget(12), finalists=2, resume=True)
    again = search(write(), options, tmp_path / "cut")
    assert again.log_hash == whole.log_hash
    assert again.to_json() | {"seconds": 0} == whole.to_json() | {"seconds": 0}


def test_a_run_of_another_problem_is_not_gone_on_with(write: Write, tmp_path: Path) -> None:
    search(write(), SMALL, tmp_path / "run")
    other = write(PROGRAM.replace("1.5", "2.5"))
    resumed = Options(budget=Budget(12), finalists=2, resume=True)
    with pytest.raises(ConfigurationError, match="another problem"):
        search(other, resumed, tmp_path / "run")
    with pytest.raises(ConfigurationError, match="--resume"):
        search(write(), SMALL, tmp_path / "run")
    log = tmp_path / "run" / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b"combined_score", b"combined_sc0re", 1))
    with pytest.raises(TraceError, match="edited|follow"):
        search(write(), resumed, tmp_path / "run")


def test_a_noisy_evaluator_is_said_to_be_noisy(write: Write, tmp_path: Path) -> None:
    noisy = "\nimport random\n" + EVALUATOR.replace(".answer()}", ".answer() + random.random()}")
    result = search(write(evaluator=noisy), SMALL, tmp_path / "run")
    assert any("draws or measures" in each for each in result.diagnosis)
    assert result.best is not None and result.best.score != result.best.again


def test_an_evaluator_that_stops_working_ends_the_run(write: Write, tmp_path: Path) -> None:
    """It worked on the initial program; what is written down is kept."""
    flag = tmp_path / "broken"
    evaluator = (
        f"import os\nif os.path.exists({str(flag)!r}): raise ImportError('gone')\n" + EVALUATOR
    )
    program = PROGRAM.replace(
        "return 1.5", f"open({str(flag)!r}, 'a').close() if X else None\n    return 1.5"
    )
    problem = write(program.replace("def answer", "X = 0\ndef answer"), evaluator)
    flag_once = Options(budget=Budget(40), finalists=1)
    with pytest.raises(SearchError, match="ImportError: gone"):
        search(problem, flag_once, tmp_path / "run")
    kept = [record.outcome for record in proposals(tmp_path / "run" / "log.jsonl")]
    assert Outcome.OK in kept and Outcome.EVALUATOR_ERROR in kept


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--hook", "a"), "--hook means nothing with --problem"),
        (("--traces", "t"), "--traces means nothing"),
        (("--incumbent", "i"), "--incumbent means nothing"),
        (("--start", "weak"), "--start means nothing"),
        (("--isolation", "process"), "--isolation means nothing"),
        (("--repeats", "0"), "repeats=0"),
        (("--budget", "0"), "evaluates no program"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    write: Write, arguments: tuple[str, str], said: str
) -> None:
    done = command_line("--problem", write().folder, *arguments)
    assert done.exit_code == 2
    assert said in done.stderr and "Traceback" not in done.output


def test_a_folder_that_is_none_is_one_line(tmp_path: Path) -> None:
    done = command_line("--problem", tmp_path / "none")
    assert done.exit_code == 2 and done.stderr.count("\n") == 1


def test_from_python(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = gnomon.evolve_problem(write().folder, options=Options(budget=Budget(4), finalists=1))
    assert result.folder == Path(".gnomon/runs/problem")
    assert result.folder.joinpath("best_program.py").is_file()
    assert "problem: higher is better" in str(result) and "<table" in result._repr_html_()


def test_an_interrupted_run_keeps_what_it_found(write: Write, tmp_path: Path) -> None:
    folder, out = write().folder, tmp_path / "run"
    slow = EVALUATOR.replace(
        "def evaluate(path):", "def evaluate(path):\n    import time; time.sleep(0.05)"
    )
    (folder / "evaluator.py").write_text(slow)
    command = [sys.executable, "-m", "gnomon", "evolve", "--problem", str(folder)]
    running = subprocess.Popen(
        [*command, "--budget", "400", "--out", str(out), "--progress", "json"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(gnomon.__file__).parents[1])},
        text=True,
    )
    assert running.stderr is not None
    for line in running.stderr:
        if line.startswith("{") and json.loads(line)["done"] >= 3:
            break
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate()
    assert running.returncode == 3, output
    assert "Interrupted" in output
    kept = list(proposals(out / "log.jsonl"))
    assert len(kept) >= 3 and (out / "result.json").is_file()


def ended(*finalists: Finalist, short: str = "") -> ProblemResult:
    problem = Problem(Path("/p"), PROGRAM, Path("/p/evaluator.py"), ProblemSettings(), "d")
    found = concluded((), finalists, None, stopped="evaluations", log_hash="h" * 64, within=0.0)
    return result_of(found, (), problem, short)


def finalist(name: str, train: float, again: float) -> Finalist:
    return Finalist(name, f"{name}{train}", "source", "op", 9, train, again)


def test_the_best_of_the_second_scores_wins() -> None:
    initial = finalist("initial", -1.0, -1.1)
    lucky, better = finalist("evolved", -9.0, -1.2), finalist("evolved", -2.0, -1.9)
    result = ended(initial, lucky, better)
    assert result.improved and result.best is not None
    assert (result.best.score, result.best.again) == (2.0, 1.9)
    assert any(each.startswith("luck:") for each in result.diagnosis)
    worse = finalist("evolved", -0.9, -3.0)  # better by chance, when evaluated again
    assert not ended(initial, worse).improved
    small = finalist("evolved", -1.0000001, -1.1000001)  # every gain counts
    assert ended(initial, small).improved


def test_without_any_score_there_is_no_best() -> None:
    result = ended(finalist("initial", math.nan, math.nan), short="short.")
    assert result.best is None and not result.improved
    assert result.diagnosis[-1] == "short."
    assert json.loads(json.dumps(result.as_json()))["best"] is None
