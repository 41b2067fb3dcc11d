"""Gates and isolation: what asking a candidate safely costs, how long each gate takes, and what attacks got.

Lockstep and the program form: CPU time of both processes, which take turns, and wall time, which besides
holds what waking each other takes and whatever else the machine runs; a decision is among 4 items of 5
features. The naive worker is a new interpreter that speaks JSON lines and is locked in by nothing. The
guard: CPU time of the calling thread beyond the bare program's whole call. Gates: seconds of wall time of one
verification each, on a load balancer's, a cache's and an expert placement's trace from pinned generators.
Hostile successes: attacks of the corpus in `tests/hostile` that got anything. Targets for times are
scaled by a bare call in the same run. Every section has a process of its own.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from platform import python_version
from typing import Any

from _scaling import bare_call_ns, scaled
from results import ROOT, Peer, Row

SECTIONS = ("isolated", "guarded", "throughput", "verifications", "hostile")
CANDIDATES, ROUNDS = 12, 3
SECONDS = 40.0  # of the load balancer's trace
ACCESSES, WINDOWS = 60_000, 240


def run() -> list[Row]:
    """Measure every section in a process of its own and return the rows."""
    return [row for section in SECTIONS for row in _apart(section)]


def _apart(section: str) -> list[Row]:
    # make has scripts not find their neighbours by themselves; generators and corpus are the tests' own
    found = os.pathsep.join((str(Path(__file__).resolve().parent), str(ROOT)))
    done = subprocess.run(
        [sys.executable, __file__, section],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        env=os.environ | {"PYTHONPATH": found},
    )
    return [_row_of(data) for data in json.loads(done.stdout.splitlines()[-1])]


def _row_of(data: dict[str, Any]) -> Row:
    peer = Peer(**data["peer"]) if data["peer"] else None
    return Row(**data | {"peer": peer, "spread": tuple(data["spread"])})


def measured(section: str) -> list[Row]:
    """Measure one section, here; targets that are absolute are scaled by a bare call."""
    sections: dict[str, Callable[[], Any]] = {
        "isolated": lambda: import_module("_isolated").rows(),
        "guarded": lambda: import_module("_guarded").rows(),
        "throughput": throughput,
        "verifications": verifications,
        "hostile": hostile,
    }
    return [scaled(row, bare_call_ns()) for row in sections[section]()]


# --- the engine ---------------------------------------------------------------------------------------


def throughput() -> Iterator[Row]:
    """Yield candidates that the compiled engine ranks in a second, beside compiling and replaying here."""
    from gnomon.policies.load_balancer import load_balancer
    from gnomon.sdk.language import check
    from gnomon.shadow.compiled import compile_score
    from gnomon.shadow.isolation.compiled import CompiledEngine, CompiledOptions
    from gnomon.shadow.simulators import simulator_for

    simulator, trace = simulator_for(load_balancer), balanced(10.0)
    draws = simulator.draws(trace, 8, 0)
    source = load_balancer.baselines["peak_ewma"].source or ""
    sources = [source.replace("1.0", f"{n}.0") for n in range(1, CANDIDATES + 1)]

    def here() -> None:
        for each in sources:
            score = compile_score(check(each, load_balancer.input_names))
            for index, draw in enumerate(draws):
                simulator.compiled(trace, draw, index, score, load_balancer.order)

    with CompiledEngine(load_balancer, {"train": trace}, draws, CompiledOptions()) as engine:

        def forks() -> None:
            statuses = {engine.submit(each, "train") for each in sources}
            if any(str(future.result().status) != "ok" for future in statuses):
                raise RuntimeError("a candidate of the benchmark's own failed; correct it")

        forks()
        here()
        ours, bare = [], []
        for _ in range(ROUNDS):
            ours.append(CANDIDATES / _seconds(forks))
            bare.append(CANDIDATES / _seconds(here))
    peer = Peer(
        "one thread of this process, unisolated",
        f"Python {python_version()}",
        statistics.median(bare),
    )
    name = f"compiled engine, 2 workers, 8 replays of {len(trace)} decisions"
    spread = (min(ours), max(ours))
    yield Row(name, statistics.median(ours), "candidates/s", "higher", None, spread, peer)


def _seconds(work: Callable[[], None]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


# --- the gates ----------------------------------------------------------------------------------------


def verifications() -> Iterator[Row]:
    """Yield the seconds of every gate of three verifications, each made before: a first one also compiles."""
    for case in cases():
        first = sum(row.value for row in gates(*case) if row.name.endswith("all gates"))
        *each, whole = gates(*case)
        yield from each
        yield replace(
            whole, note=f"{whole.note}; {first:.1f} s the first time, which also compiles"
        )


def cases() -> Iterator[tuple[str, Any, str, str]]:
    """Yield title, trace, incumbent and candidate (names of published policies)."""
    from replay import accesses

    from tests.programs.loads import trace as loads

    yield "load balancer", balanced(SECONDS), "round_robin", "peak_ewma"
    yield "cache", accesses(ACCESSES), "sampled_lru", "hyperbolic"
    yield "expert placement", loads(windows=WINDOWS), "static", "eplb_sticky"


def gates(title: str, trace: Any, incumbent: str, candidate: str) -> Iterator[Row]:
    """Yield a row for every gate that was asked, and one for all; the last says what came of it."""
    from gnomon.policies.registry import kind as kind_named
    from gnomon.policies.rollout.ledger import Ledger
    from gnomon.shadow.gates.case import Target
    from gnomon.shadow.gates.verify import verify
    from gnomon.shadow.policy import baseline_policy

    kind = kind_named(trace.kind)
    source = kind.baselines[candidate].source
    assert source is not None, "only a source can be a candidate"
    target = Target(trace.hook, kind, baseline_policy(incumbent, kind), kind.invariants)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.db")
        verdict = verify(trace, source, target, ledger=ledger)
        ledger.close()
    whole = time.perf_counter() - begin
    for gate in verdict.gates:
        spread = (gate.seconds, gate.seconds)
        note = "" if gate.passed else gate.answer
        name = f"{title}, gate {gate.name}"
        yield Row(name, gate.seconds, "s", "lower", None, spread, None, note)
    note = f"{candidate} for {incumbent}, {len(trace)} decisions: {verdict.decision}"
    yield Row(f"{title}, all gates", whole, "s", "lower", None, (whole, whole), None, note)


def balanced(seconds: float) -> Any:
    """Return what two routers record that send requests to four backends by weighted round robin."""
    from tests.isolation.systems import recorded

    return recorded(seconds, seed=1)


# --- what attacks got ---------------------------------------------------------------------------------


def hostile() -> Iterator[Row]:
    """Yield how many attacks of the corpus got anything; none where the corpus is not there."""
    if not (ROOT / "tests" / "hostile" / "runner.py").exists():
        print("no hostile corpus here: tests/hostile is missing", file=sys.stderr)
        return
    yield successes(import_module("tests.hostile.runner").successes())


def successes(names: Any) -> Row:
    """Return the row of the attacks that got something."""
    count = float(len(names))
    note = ", ".join(sorted(map(str, names)))
    return Row("hostile successes", count, "attacks", "lower", 0.0, (count, count), None, note)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps([asdict(row) for row in measured(sys.argv[1])]))
    else:
        for row in run():
            print(f"{row.name:60s}{row.value:12.4g} {row.unit:14s} {row.target or '':>8} {row.met}")
