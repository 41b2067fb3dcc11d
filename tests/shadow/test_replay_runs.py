"""Comparisons over several traces: the same at any number of workers, resumed, interrupted, refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gnomon
from gnomon.policies.cache import cache
from gnomon.sdk.errors import ConfigurationError, GnomonError, LanguageError, TraceError
from gnomon.shadow.replay.bench import Bench, Entrant, Job, Result, code_of
from gnomon.shadow.replay.compare import ReplayOptions, compare, planned
from gnomon.shadow.replay.pool import Pool
from gnomon.shadow.simulators import register_simulator, save_calibrations, simulator_for
from gnomon.shadow.simulators.cache.simulator import CacheSimulator
from gnomon.shadow.traces.access_trace import AccessTrace
from gnomon.shadow.traces.trace import DecisionTrace

from ..kinds import printers
from .accesses import lookups
from .queueing import demo

POLICIES = ["baseline:peak_ewma", "baseline:power_of_two_choices", "mine.py"]
MINE = "def score(inflight, ewma_ms):\n    return (inflight + 1.0) * ewma_ms\n"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two traces of load balancers, one of each format, and a policy's file."""
    folder = tmp_path_factory.mktemp("traces")
    demo(seed=1, seconds=8.5).save(folder / "one.npz")
    demo(seed=2, seconds=8.5).save(folder / "two.trace")
    (folder / "mine.py").write_text(MINE)
    return folder


@pytest.fixture
def there(saved: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(saved)
    return saved


def both(out: Path | None = None, **how: Any) -> dict[str, Any]:
    options: dict[str, Any] = {"replicas": 12, "isolation": "process", "slo": "150"} | how
    table = gnomon.replay(
        ["one.npz", "two.trace"],
        POLICIES,
        incumbent="baseline:weighted_round_robin",
        out=out,
        **options,
    )
    return table.as_json()


@pytest.fixture(scope="module")
def alone(saved: Path) -> dict[str, Any]:
    """What one process finds."""
    before = Path.cwd()
    os.chdir(saved)
    try:
        return both()
    finally:
        os.chdir(before)


def test_workers_find_what_one_process_finds(there: Path, alone: dict[str, Any]) -> None:
    assert both(workers=2) == alone


def test_all_traces_are_compared_and_summed_up(alone: dict[str, Any]) -> None:
    tables = [alone, *alone["further"]]
    assert [table["label"] for table in tables] == ["one.npz", "two.trace"]
    assert len({table["trace"] for table in tables}) == 2
    for row in alone["overall"]:
        rows = [next(r for r in t["rows"] if r["policy"] == row["policy"]) for t in tables]
        estimates = [each["change"]["estimate"] for each in rows]
        assert row["change"]["estimate"] == pytest.approx(np.mean(estimates))
        assert row["worst"] == max(estimates)
        assert row["worst_on"] == tables[int(np.argmax(estimates))]["label"]
        assert row["together"]["low"] <= row["change"]["low"] <= row["change"]["high"]
    by_name = {row["policy"]: row for row in alone["rows"]}
    assert by_name["mine.py"]["mean"] == by_name["peak_ewma"]["mean"]  # the same rule
    assert by_name["mine.py"]["tier"] == "out of process"
    assert "rlimits" in by_name["mine.py"]["layers"]
    assert all(len(row["segments"]) == 20 for row in alone["rows"])
    json.dumps(alone, allow_nan=False)


def test_finished_cells_are_kept_and_not_measured_again(
    there: Path, alone: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    assert both(out) == alone
    cells = sorted((out / "cells").iterdir())
    assert len(cells) == 2 * (1 + 2 * len(POLICIES))  # 12 replicas are two batches
    assert "<svg" in (out / "report.html").read_text()
    assert json.loads((out / "table.json").read_text()) == alone
    measured: list[Job] = []
    run = Bench.run
    monkeypatch.setattr(Bench, "run", lambda self, job: (measured.append(job), run(self, job))[1])
    cells[0].unlink()
    cells[1].write_text('{"measured": ')  # torn by a machine that fell over
    assert both(out, resume=True) == alone
    assert len(measured) == 2
    with pytest.raises(ConfigurationError, match="holds a run already"):
        both(out)


def test_what_changes_a_result_changes_the_key() -> None:
    entrant = Entrant("a", "a.py", "0" * 64)
    job = Job("t", None, "c", entrant, 0, 10, (), False, False, "strict", ())
    slo = gnomon.shadow.replay.cells.Slo("latency_ms", 5.0)
    others = [
        replace(job, size=0.1),
        replace(job, first=1),
        replace(job, count=9),
        replace(job, slos=(slo,)),
        replace(job, isolation="process"),
        replace(job, entrant=replace(entrant, digest="1" * 64)),
        replace(job, bounded=True),
    ]
    keys = {each.key("trace", "fit") for each in (job, *others)}
    keys |= {job.key("other", "fit"), job.key("trace", "other"), job.key("trace", "fit", "code")}
    assert len(keys) == len(others) + 4
    moved = replace(job, trace="elsewhere", calibration="elsewhere", files=("b.py",))
    assert moved.key("trace", "fit") == job.key("trace", "fit")


def test_a_simulator_counts_as_changed_when_its_module_does() -> None:
    assert "class CacheSimulator" in code_of(CacheSimulator())
    assert "def office" in code_of(printers.simulated)


def test_good_decisions_are_those_within_every_level(there: Path) -> None:
    table = gnomon.replay(
        "one.npz",
        ["baseline:random"],
        incumbent="baseline:round_robin",
        replicas=2,
        slo=["latency_ms=60", "150"],
    )
    trace = demo(seed=1, seconds=8.5)
    for row in table.rows:
        simulator = simulator_for(gnomon.load_balancer)
        policy = gnomon.shadow.policy.baseline_policy(row.policy, gnomon.load_balancer)
        runs = policy.replays(simulator, trace, simulator.calibrate(trace), range(2))
        good = np.mean([(run.ok & (run.outcome <= 60.0)).mean() for run in runs])
        assert row.good == pytest.approx(good)
        assert row.good_per_s == pytest.approx(good * len(trace) / trace.span_s)
    assert "good/s" in str(table)


class Sized(CacheSimulator):
    """Caches whose capacity is a share of all keys."""

    def sized(self, trace: AccessTrace, share: float) -> AccessTrace:
        return replace(trace, capacity=np.array([max(1.0, float(int(trace.keys * share)))]))


@pytest.fixture
def sized() -> Iterator[None]:
    before = simulator_for(cache)
    register_simulator(Sized())
    yield
    register_simulator(before)


def test_sizes_are_tables_of_their_own(
    sized: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keys = np.random.default_rng(0).zipf(1.2, 4000) % 300
    lookups(keys.tolist(), 5).save(Path("c.npz"))
    table = gnomon.replay("c.npz", ["baseline:fifo"], replicas=2, sizes=[0.02, 0.1, 0.5])
    assert [each.size for each in table.tables] == [0.02, 0.1, 0.5]
    means = [each.rows[0].mean for each in table.tables]
    assert means == sorted(means, reverse=True) and len(set(means)) == 3
    assert {each.fidelity.answer for each in table.tables} == {"nothing recorded"}
    assert "c.npz at 10%" in str(table) or "at 10%" in str(table)


def test_a_kind_without_a_size_says_so(there: Path) -> None:
    with pytest.raises(ConfigurationError, match="has no size to vary"):
        gnomon.replay("one.npz", sizes=[0.1], incumbent="baseline:random", replicas=2)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"replicas": 1}, "replicas=1"),
        ({"workers": 0}, "workers=0"),
        ({"sizes": (0.0,)}, "size 0 is no share"),
        ({"sizes": (1.5,)}, "size 1.5 is no share"),
        ({"resume": True}, "resume needs the folder"),
        ({"isolation": "none"}, "none"),
        ({"seed": -1}, "seed=-1: choose a number from 0 on"),
    ],
)
def test_options_that_make_no_sense_are_refused(how: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ReplayOptions(**how)


def _plan(traces: list[str], policies: list[str] = [], hooks: list[str] = [], **how: Any) -> Any:  # noqa: B006
    return planned(traces, policies, hooks, "baseline:random", ReplayOptions(**how))


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda: _plan(["one.npz", "one.npz"]), ConfigurationError, "named twice"),
        (lambda: _plan(["one.npz", "copy.trace"]), ConfigurationError, "hold the same trace"),
        (lambda: _plan(["empty.npz"]), TraceError, "is empty"),
        (lambda: _plan(["one.npz"] * 3, hooks=["a", "b"]), ConfigurationError, "2 hooks for 3"),
        (lambda: _plan(["one.npz"], hooks=["other"]), TraceError, "holds hook 'test.pick'"),
        (lambda: _plan(["one.npz"], slo=("fast",)), ConfigurationError, "write VALUE or METRIC"),
        (lambda: _plan(["one.npz"], slo=("5000",)), ConfigurationError, "met by every outcome"),
        (lambda: _plan(["one.npz"], slo=("-1",)), ConfigurationError, "finite number"),
        (
            lambda: _plan(["one.npz"], ["random", "baseline:random"]),
            ConfigurationError,
            "named 'random'",
        ),
        (lambda: _plan(["one.npz"], ["nothing.py"]), ConfigurationError, "nothing.py"),
        (lambda: _plan(["one.npz"], ["baseline:best"]), ConfigurationError, "no baseline 'best'"),
        (lambda: _plan(["one.npz"], ["bad.py"]), LanguageError, "bad.py"),
        (lambda: _plan(["none.trace"]), TraceError, "not a saved trace"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(
    there: Path, ask: Callable[[], object], error: type[GnomonError], message: str
) -> None:
    Path("bad.py").write_text("import os\n\n\ndef score(inflight):\n    return inflight\n")
    Path("random").write_text(MINE)
    if not Path("copy.trace").exists():
        whole = DecisionTrace.load(Path("one.npz"))
        whole.save(Path("copy.trace"))
        whole.rows(slice(0, 0)).save(Path("empty.npz"))
    with pytest.raises(error, match=message):
        ask()


def test_a_metric_that_no_replay_has_is_refused_with_those_there_are(there: Path) -> None:
    plan = _plan(["one.npz"], ["baseline:random"], replicas=2, slo=("ttft_ms=3",))
    with pytest.raises(ConfigurationError, match="there are latency_ms"):
        compare(plan)


def test_kinds_are_not_mixed(there: Path, tmp_path: Path) -> None:
    lookups([1, 2, 3] * 100, 2).save(tmp_path / "c.npz")
    with pytest.raises(ConfigurationError, match="of kind cache"):
        planned(["one.npz", str(tmp_path / "c.npz")], [], [], None, ReplayOptions())


def test_a_policy_that_fails_is_a_row_and_ends_nothing(there: Path) -> None:
    Path("faulty.py").write_text(
        "import math\n\n\ndef score(inflight):\n    return math.sqrt(2.0 - inflight)\n"
    )
    table = gnomon.replay(
        ["one.npz", "two.trace"],
        ["faulty.py", "baseline:random"],
        incumbent="baseline:round_robin",
        replicas=2,
        isolation="process",
    )
    assert "a score faulted at decision" in table.rows[-1].fault
    last = table.overall[-1]
    assert (last.policy, last.change, len(last.failed_on)) == ("faulty.py", None, 2)
    assert "failed on one.npz" in str(table)


def _job(folder: Path, text: str = "baseline:random") -> Job:
    trace = demo(seed=1, seconds=8.5)
    save_calibrations(folder / "c.npz", (simulator_for(gnomon.load_balancer).calibrate(trace),))
    entrant = Entrant("p", text, "0")
    where = (str(folder / "one.npz"), None, str(folder / "c.npz"))
    return Job(*where, entrant, 0, 1, (), False, False, "process", ())


def same(one: Result, other: Result) -> bool:
    return json.dumps(one.as_json()) == json.dumps(other.as_json())  # NaN is no level of service


DIES = """
import os, sys
from pathlib import Path
if not Path("died").exists():
    Path("died").touch()
    sys.stdin.readline()
    os.kill(os.getpid(), 9)
from gnomon.shadow.replay.worker import main
main()
"""


def test_a_process_that_dies_is_replaced_and_its_cell_tried_again(there: Path) -> None:
    Path("died").unlink(missing_ok=True)
    job = _job(there)
    with Pool(1, command=[sys.executable, "-c", DIES]) as pool:
        ((at, result),) = pool.measured([job])
    with Bench() as bench:
        assert at == 0
        assert same(result, bench.run(job))
    assert Path("died").exists()


def test_a_cell_that_kills_every_process_is_an_error(there: Path) -> None:
    with (
        Pool(1, command=[sys.executable, "-c", "input(); raise SystemExit(7)"]) as pool,
        pytest.raises(ConfigurationError, match=r"exit code 7.*fewer --workers"),
    ):
        list(pool.measured([_job(there)]))


def test_processes_are_recycled_and_say_what_was_refused(there: Path) -> None:
    job = _job(there)
    with Pool(1, recycled_after=2) as pool:
        found = [result for _, result in pool.measured([job] * 3)]
        assert len(pool._workers) == 1
        with pytest.raises(ConfigurationError, match="no baseline 'best'"):
            list(pool.measured([_job(there, "baseline:best")]))
    assert same(found[0], found[1]) and same(found[1], found[2])


def test_an_interrupt_keeps_what_is_finished(there: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "gnomon", "replay", "one.npz", "two.trace", "--replicas", "200"),
        *("--incumbent", "baseline:random", "--workers", "2", "--out", str(out)),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 240.0
    while not (out / "cells").is_dir() or not any((out / "cells").iterdir()):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 3
    assert f"kept in {out}, --resume goes on" in said.splitlines()[-1]
    kept = [*(out / "cells").iterdir()]
    assert kept and all(json.loads(cell.read_text())["measured"] for cell in kept)
    assert not (out / "table.json").exists()
