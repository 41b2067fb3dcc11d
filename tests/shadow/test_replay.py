"""Comparing policies on a trace, as a call and as a command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gnomon.commands import replay as command
from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.isolation.layers import WEAK_LAYERS
from gnomon.shadow.policy import ScorePolicy, baseline_policy
from gnomon.shadow.replay.compare import replay
from gnomon.shadow.simulators import register_simulator, simulator_for
from gnomon.shadow.traces.trace import DecisionTrace

from .queueing import demo

FAULTY = "import math\n\n\ndef score(inflight):\n    return math.sqrt(1.0 - inflight)\n"


@pytest.fixture(scope="module")
def trace() -> DecisionTrace:
    return demo(seed=0, seconds=30.0)


def test_policies_are_ranked_against_the_incumbent(trace: DecisionTrace) -> None:
    lines: list[str] = []
    names = ("peak_ewma", "random", "power_of_two_choices")
    policies = [baseline_policy(name, load_balancer) for name in names]
    incumbent = baseline_policy("weighted_round_robin", load_balancer)
    faulty = ScorePolicy("faulty", FAULTY, load_balancer)
    table = replay(
        trace, [faulty, *policies], incumbent=incumbent, replicas=4, progress=lines.append
    )
    assert [row.policy for row in table.rows[:2]] == ["weighted_round_robin", "peak_ewma"]
    assert [row.policy for row in table.rows[-2:]] == ["random", "faulty"]
    first, best, *_, worst, failed = table.rows
    assert first.change is None
    assert best.change is not None
    assert best.change.high < 0.0 < worst.mean - first.mean
    assert best.mean / first.mean - 1.0 == pytest.approx(best.change.estimate, abs=0.01)
    assert failed.fault.startswith("a score faulted at decision")
    assert failed.change is None
    assert table.bound < best.mean
    assert sum(best.shares) == pytest.approx(1.0)
    assert table.fidelity.policy == "weighted_round_robin"
    assert any("compiling" in line for line in lines)


def test_policies_of_one_name_are_told_apart(trace: DecisionTrace) -> None:
    worse = ScorePolicy("mine", "def score(noise):\n    return noise\n", load_balancer)
    better = ScorePolicy("mine", load_balancer.baselines["peak_ewma"].source or "", load_balancer)
    incumbent = baseline_policy("weighted_round_robin", load_balancer)
    table = replay(trace, [worse, better], incumbent=incumbent, replicas=2)
    first, second = (row.change for row in table.rows[1:])
    assert first is not None and second is not None
    assert first.estimate < 0.0 < second.estimate


def test_without_policies_all_published_ones_are_compared(trace: DecisionTrace) -> None:
    incumbent = baseline_policy("weighted_round_robin", load_balancer)
    table = replay(trace.window(0.0, 15.0), incumbent=incumbent, replicas=2)
    assert {row.policy for row in table.rows} == set(load_balancer.baselines)
    (starved,) = [row for row in table.rows if row.policy == "least_ewma"]
    assert starved.mean > 2 * table.rows[0].mean
    json.dumps(table.as_json(), allow_nan=False)


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    made.callback()(lambda: None)
    command.register(made)
    return made


def test_the_command_prints_tables_and_json(
    app: typer.Typer, trace: DecisionTrace, tmp_path: Path
) -> None:
    path = tmp_path / "trace.npz"
    trace.save(path)
    candidate = tmp_path / "candidate.py"
    candidate.write_text("def score(inflight, ewma_ms):\n    return (inflight + 1.0) * ewma_ms\n")
    common = ["replay", str(path), "--replicas", "3", "--incumbent"]
    mine = ["--policy", str(candidate), "--policy", "baseline:peak_ewma", "--isolation", "process"]
    done = CliRunner().invoke(app, [*common, "baseline:weighted_round_robin", *mine, "--json"])
    data = json.loads(done.stdout)
    assert done.exit_code == 0, done.output
    assert data["fidelity"]["answer"] == "ok"
    rows = {row["policy"]: row for row in data["rows"]}
    assert rows[str(candidate)]["tier"] == "out of process"
    assert rows[str(candidate)]["mean"] == rows["peak_ewma"]["mean"]
    assert rows["peak_ewma"]["tier"] == "compiled"
    assert rows[str(candidate)]["layers"] == list(WEAK_LAYERS) and rows["peak_ewma"]["layers"] == []
    shown = CliRunner().invoke(app, [*common, "baseline:round_robin", *mine])
    assert shown.exit_code == 1  # that is not what ran
    assert "beyond tolerance" in shown.stdout
    assert "replaying" in shown.stderr
    assert "no policy can have a mean below" in shown.stdout


def test_the_command_takes_several_traces_and_draws_them(
    app: typer.Typer, trace: DecisionTrace, tmp_path: Path
) -> None:
    trace.window(0.0, 9.0).save(tmp_path / "a.npz")
    trace.window(9.0, 18.0).save(tmp_path / "b.trace")
    words = ["replay", str(tmp_path / "a.npz"), str(tmp_path / "b.trace"), "--replicas", "2"]
    words += ["--incumbent", "baseline:round_robin", "--policy", "baseline:random", "--slo", "99"]
    for name, begins in (("p.svg", b"<?xml"), ("p.png", b"\x89PNG")):
        done = CliRunner().invoke(app, [*words, "--plot", str(tmp_path / name)])
        assert "over 2 traces and sizes" in done.stdout, done.output
        assert "good: ok with latency_ms=99 or less" in done.stdout
        assert (tmp_path / name).read_bytes().startswith(begins)
    data = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert [row["policy"] for row in data["overall"]] == ["random"]
    assert 0.0 < data["further"][0]["rows"][1]["good"] < 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--incumbent", "fastest"], "'fastest' is no policy"),
        (["--policy", "baseline:fastest"], "no baseline 'fastest'"),
        (["--policy", "missing.py"], "missing.py"),
        (["--isolation", "none"], "none"),
        (["--plot", "p.pdf"], "p.pdf is no plot"),
        (["--sizes", "1%,many"], "'many' is no share"),
        (["--sizes", "200%"], "size 2 is no share"),
        (["--slo", "slow"], "'slow' is none"),
        (["--workers", "0"], "workers=0"),
        (["--resume"], "name it with --out"),
        (["another.npz", "--traces", "third"], "name them all in one way"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    app: typer.Typer, trace: DecisionTrace, tmp_path: Path, arguments: list[str], message: str
) -> None:
    trace.save(tmp_path / "trace.npz")
    done = CliRunner().invoke(app, ["replay", str(tmp_path / "trace.npz"), *arguments])
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_missing_store_is_exit_code_2(app: typer.Typer, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["replay", str(tmp_path / "nowhere")])
    assert done.exit_code == 2
    assert "nowhere" in done.stderr


def test_a_simulator_may_be_replaced() -> None:
    simulator = simulator_for(load_balancer)
    register_simulator(simulator)
    assert simulator_for(load_balancer) is simulator
