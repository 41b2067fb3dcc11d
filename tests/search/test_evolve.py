"""From a trace store to a winner: the real simulator, the real isolation, the command."""

from __future__ import annotations

import heapq
import html
import json
import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

import gnomon
from gnomon.commands import evolve as command
from gnomon.policies.load_balancer import load_balancer
from gnomon.recorder.sink import StoreSink
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.invariant import Invariant
from gnomon.sdk.records import Decision, Outcome, Record
from gnomon.sdk.runtime import RUNTIME
from gnomon.shadow.evaluation import Status
from gnomon.shadow.isolation.compiled import CompiledOptions
from gnomon.shadow.policy import RecordedPolicy, baseline_policy
from gnomon.shadow.search.driver import Options
from gnomon.shadow.search.evaluating.cached import CachedEngine
from gnomon.shadow.search.log import proposals
from gnomon.shadow.search.records import Budget
from gnomon.shadow.search.results.result import EvolveResult
from gnomon.shadow.search.wiring import Arena, recipe
from gnomon.shadow.traces.trace import DecisionTrace, load_trace

MEANS_MS = (12.0, 20.0, 36.0)
START_NS = 1_700_000_000 * 10**9
HOOK = """
import gnomon

@gnomon.hook("router.pick", kind=gnomon.load_balancer, items="backends",
             item_features=lambda b: (b.inflight, b.ewma_ms, b.weight))
def pick(request, backends):
    return max(backends, key=lambda b: b.name)
"""


def captured(count: int, seed: int) -> list[Record]:
    """Round robin over three servers of one slot each, as a hook would record it."""
    rng = random.Random(seed)
    now, free = 0.0, [0.0] * 3
    inflight, ewma, last = [0] * 3, [20.0] * 3, [-1] * 3
    answers: list[tuple[float, int, float]] = []
    records: list[Record] = []
    for seq in range(count):
        now += rng.expovariate(70.0)
        while answers and answers[0][0] <= now:
            _, member, latency = heapq.heappop(answers)
            inflight[member] -= 1
            ewma[member] += 0.1 * (latency - ewma[member])
        rows = [
            (float(inflight[j]), ewma[j], 1.0, float(seq - last[j]), rng.random()) for j in range(3)
        ]
        pick = seq % 3
        service = MEANS_MS[pick] / 1e3 * rng.uniform(0.6, 1.4)
        free[pick] = max(now, free[pick]) + service
        latency = (free[pick] - now) * 1e3
        inflight[pick] += 1
        last[pick] = seq
        heapq.heappush(answers, (free[pick], pick, latency))
        records += recorded(seq, now, pick, rows, latency)
    return records


def recorded(
    seq: int, now: float, pick: int, rows: list[tuple[float, ...]], latency: float
) -> list[Record]:
    at, flat = START_NS + int(now * 1e9), tuple(value for row in rows for value in row)
    done = at + int(latency * 1e6)
    return [
        Decision(
            seq, at, 900, "", "incumbent", "static", "", "incumbent", 0, -1, pick, 3, flat, 1.0,
            "sampled", 0, 0,
        ),
        Outcome(
            seq, done, True, "reported", (("latency_ms", latency),), "incumbent", -1, at
        ),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace store with 1,500 decisions."""
    folder = tmp_path_factory.mktemp("traces")
    sink = StoreSink(TraceStore(folder), "router")
    hook = SimpleNamespace(process_id="00" * 8, name="router.pick", kind=load_balancer)
    sink.write(hook, captured(1500, 1))
    sink.close()
    return folder


@pytest.fixture(scope="module")
def trace(store: Path) -> DecisionTrace:
    """What is in the store."""
    return load_trace(store, "router.pick")


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    """Runs commands in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return CliRunner()


@pytest.fixture
def app() -> typer.Typer:
    """The command line with this one command."""
    return command_line()


def command_line() -> typer.Typer:
    made = typer.Typer()
    made.callback()(lambda: None)
    command.register(made)
    return made


def test_the_search_never_sees_the_holdout(trace: DecisionTrace) -> None:
    arena = Arena.of(load_balancer, trace)
    seen = len(arena.windows["train"]) + len(arena.windows["validation"])
    assert set(arena.windows) == {"train", "validation"}
    assert 0.7 * len(trace) < seen < 0.8 * len(trace)
    assert len(arena.draws) == 8
    changed = trace.rows(slice(0, len(trace)))
    changed.outcome[seen:] = 1999.0
    assert [d.digest for d in Arena.of(load_balancer, changed).draws] == [
        d.digest for d in arena.draws
    ]


def test_a_published_incumbent_scores_as_the_engine_says(trace: DecisionTrace) -> None:
    arena = Arena.of(load_balancer, trace, CompiledOptions(seed=5, workers=1))
    baseline = load_balancer.baselines["least_outstanding"]
    assert baseline.source is not None
    with arena.open() as engine:
        evaluation = engine.submit(baseline.source, "train").result(60)
    policy = baseline_policy("least_outstanding", load_balancer)
    assert arena.score(policy, "train") == evaluation.score
    assert arena.score(RecordedPolicy(), "train") > evaluation.score


def test_scales_come_from_what_was_recorded(trace: DecisionTrace) -> None:
    scales = Arena.of(load_balancer, trace).scales()
    assert set(scales) == set(load_balancer.input_names)
    assert scales["weight"] == 1.0
    assert 10.0 < scales["ewma_ms"] < 100.0


@pytest.fixture(scope="module")
def whole(store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """An undisturbed run: its exit code and output, and the folder it was started in."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return CliRunner().invoke(command_line(), [*arguments(store), "--json"]), folder


def arguments(store: Path) -> list[str]:
    return ["evolve", "--traces", str(store), "--hook", "router.pick", "--budget", "14"]


def test_the_command_finds_a_better_policy_than_round_robin(whole: tuple[Result, Path]) -> None:
    ended, started_in = whole
    assert ended.exit_code == 0, ended.output
    result = json.loads(ended.stdout)
    folder = started_in / ".gnomon" / "runs" / "router.pick"
    assert result["winner"]["source"] == (folder / "best.py").read_text()
    assert result["winner"]["validation"] < 0.9 * result["incumbent"]["validation"]
    assert json.loads((folder / "result.json").read_text())["log_hash"] == result["log_hash"]
    assert result["verdict"] in html.unescape((folder / "report.html").read_text("utf-8"))
    low, high = result["over_interval"]
    assert low < result["over_incumbent"] < high
    records = list(proposals(folder / "log.jsonl"))
    assert sum(result["counts"].values()) == len(records)
    assert len({len(record.segments) for record in records if record.outcome == "ok"}) == 1


def test_the_command_gives_the_same_log_with_one_evaluation_at_a_time(
    runner: CliRunner, app: typer.Typer, store: Path, whole: tuple[Result, Path]
) -> None:
    log = whole[1] / ".gnomon" / "runs" / "router.pick" / "log.jsonl"
    alone = [*arguments(store), "--parallel", "1", "--out", "again"]
    again = runner.invoke(app, alone)
    assert again.exit_code == 0, again.output
    assert "def score" in again.stdout
    assert json.loads(whole[0].stdout)["log_hash"][:16] in again.stdout
    assert Path("again/log.jsonl").read_bytes() == log.read_bytes()

    refused = runner.invoke(app, alone)
    assert refused.exit_code == 2
    assert "--resume" in refused.stderr
    assert runner.invoke(app, [*alone, "--resume", "--json"]).exit_code == 0


def test_the_hooks_own_function_is_the_incumbent(
    runner: CliRunner,
    app: typer.Typer,
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "own_router.py").write_text(HOOK)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(RUNTIME, "hooks", {})  # another test's module may hold the name
    ended = runner.invoke(
        app,
        ["evolve", "--traces", str(store), "--hook", "own_router:pick", "--budget", "1", "--json"],
    )
    assert ended.exit_code == 0, ended.output
    result = json.loads(ended.stdout)
    # it sends everything to the slowest server
    assert result["incumbent"]["train"] > 5 * result["baseline"]["train"]


def test_an_incumbent_that_nothing_beats_is_kept(
    runner: CliRunner, app: typer.Typer, store: Path
) -> None:
    ended = runner.invoke(
        app,
        ["evolve", "--traces", str(store), "--budget", "1", "--incumbent", "baseline:peak_ewma"],
    )
    assert ended.exit_code == 1, ended.output
    assert "keep the incumbent" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hook", "other"], "other"),
        (["--strategy", "best"], "choose one of evolve"),
        (["--start", "zero"], "choose one of library"),
        (["--isolation", "none"], "choose one of strict"),
        (["--start", "incumbent"], "--incumbent"),
        (["--incumbent", "baseline:none"], "no baseline 'none'"),
        (["--incumbent", "gone.py"], "gone.py"),
        (["--parallel", "99"], "--parallel 99: choose a number from 1 to 8"),
        (["--resume"], "no log of a run"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    runner: CliRunner, app: typer.Typer, store: Path, arguments: list[str], message: str
) -> None:
    ended = runner.invoke(app, ["evolve", "--traces", str(store), "--budget", "3", *arguments])
    assert ended.exit_code == 2, ended.output
    assert message in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


#: The command, held when the log has taken a step until its standard input says that it may go on.
HELD = """
import sys
from gnomon.cli import app
from gnomon.shadow.search.log import RunLog

append = RunLog.append

def held(log, record):
    append(log, record)
    if record.step == int(sys.argv[1]):
        print("held", flush=True)
        sys.stdin.readline()

RunLog.append = held
app(sys.argv[2:])
"""


def held_at(step: int, given: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """The command in a process group of its own, as from a terminal, once its log has a step."""
    process = subprocess.Popen(
        [sys.executable, "-c", HELD, str(step), *given],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    return process


def test_a_run_that_was_interrupted_and_killed_resumes_to_the_same_log(
    runner: CliRunner,
    app: typer.Typer,
    store: Path,
    tmp_path: Path,
    whole: tuple[Result, Path],
) -> None:
    given = [*arguments(store), "--out", "run"]

    def stopped(process: subprocess.Popen[bytes]) -> None:
        said, _ = process.communicate(b"\n", timeout=60)
        assert process.returncode == 3, said
        assert b"--resume" in said
        assert b"nan" not in said
        left = json.loads((tmp_path / "run" / "result.json").read_text())
        assert (left["stopped"], left["diagnosis"]) == ("interrupted", [])

    typed = held_at(3, given, tmp_path)
    os.killpg(typed.pid, signal.SIGINT)  # a terminal interrupts the whole group
    stopped(typed)
    supervised = held_at(8, [*given, "--resume"], tmp_path)
    supervised.terminate()  # a supervisor asks the command alone
    stopped(supervised)
    killed = held_at(12, [*given, "--resume"], tmp_path)
    killed.kill()
    killed.communicate(timeout=60)
    assert runner.invoke(app, [*given, "--resume"]).exit_code == 0
    log = whole[1] / ".gnomon" / "runs" / "router.pick" / "log.jsonl"
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == log.read_bytes()


def test_workers_of_an_executor_give_the_same_log(store: Path, tmp_path: Path) -> None:
    options = Options(budget=Budget(3), seed=2, finalists=1)

    def run(name: str, engine: Any) -> EvolveResult:
        return gnomon.evolve(
            store, tmp_path / name, hook="router.pick", options=options, engine=engine,
            ledger=tmp_path / "ledger.db",
        )  # fmt: skip

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        elsewhere = run("elsewhere", pool)
        assert pool.submit(len, "open").result() == 4
    here = run("here", CompiledOptions(seed=2))
    assert elsewhere.log_hash == here.log_hash and elsewhere.layers == here.layers
    assert elsewhere.winner == here.winner and elsewhere.winner is not None


def test_an_engine_of_the_callers_own_is_taken_and_left_open(
    store: Path, tmp_path: Path, trace: DecisionTrace
) -> None:
    arena = Arena.of(load_balancer, trace, CompiledOptions(seed=2))
    with arena.open() as inner:
        memory = CachedEngine(inner)
        for name in "ab":
            gnomon.evolve(
                store, tmp_path / name, hook="router.pick", engine=memory,
                options=Options(budget=Budget(4), seed=2, finalists=1),
            )  # fmt: skip
        assert memory.shared >= memory.asked // 2 > 8
        peak = str(load_balancer.baselines["peak_ewma"].source)
        assert inner.submit(peak, "train").result().status is Status.OK


def test_invariants_that_cannot_travel_are_refused() -> None:
    always = Invariant("always", lambda items, picked: True)
    with pytest.raises(ConfigurationError, match="cannot travel to an executor's workers"):
        recipe("traces", None, None, None, CompiledOptions(invariants=(always,)))
