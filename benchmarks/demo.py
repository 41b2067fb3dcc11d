"""The demo over several seeds: does a good policy win, and does an equal one not?

``GNOMON_BENCH_SEEDS`` (10) quick runs and ``GNOMON_BENCH_NULLS`` (20) null runs. Each run is kept under
``build/bench/demo/`` and not repeated, so an interrupted tally goes on where it was.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from results import OUT, Row

RUNS = OUT / "demo"


def run() -> list[Row]:
    """Run what is missing and count how the runs ended."""
    seeds = int(os.environ.get("GNOMON_BENCH_SEEDS", "10"))
    nulls = int(os.environ.get("GNOMON_BENCH_NULLS", "20"))
    quick = [_summary("quick", seed) for seed in range(seeds)]
    null = [_summary("null", seed) for seed in range(nulls)]
    return [*_quick_rows(quick), *_null_rows(null)]


def _summary(kind: str, seed: int) -> dict[str, Any]:
    folder = RUNS / f"{kind}-{seed}"
    path = folder / "summary.json"
    if not path.exists():
        command = [sys.executable, "-m", "gnomon", "demo", "--quick", "--seed", str(seed)]
        command += ["--out", str(folder), *(["--null"] if kind == "null" else [])]
        folder.parent.mkdir(parents=True, exist_ok=True)
        with Path(f"{folder}.log").open("w") as log:
            subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    if not path.exists():
        raise SystemExit(f"{kind} run {seed} left no summary; see {folder}.log")
    summary: dict[str, Any] = json.loads(path.read_text())
    print(f"   {kind} {seed}: {summary['ended']} after {summary['seconds']} s", flush=True)
    return summary


def _quick_rows(runs: list[dict[str, Any]]) -> list[Row]:
    ended = [run["ended"] for run in runs]
    rows = [
        _share("quick demo: promoted and the wrong one taken back", ended.count("good"), runs, 0.8),
        _count("quick demo: something happened that must not", ended.count("wrong"), runs, 0),
        _count("quick demo: inconclusive", ended.count("inconclusive"), runs),
    ]
    first = [run["rollouts"]["first"] for run in runs if "first" in run.get("rollouts", {})]
    wrong = [run["wrong"]["cost"] for run in runs if "wrong" in run]
    figures = {
        "quick demo: measured effect of the promoted policy": (
            [100 * canary["measured"]["estimate"] for canary in first],
            "%",
        ),
        "quick demo: time from shipping to stable": ([canary["seconds"] for canary in first], "s"),
        "quick demo: cost of the wrong policy": (
            [cost["extra_ms_requests"] / 1e3 for cost in wrong],
            "s x requests",
        ),
    }
    rows += [_median(name, values, unit) for name, (values, unit) in figures.items() if values]
    return rows


def _null_rows(runs: list[dict[str, Any]]) -> list[Row]:
    judged = [run["null"] for run in runs if "null" in run]
    promoted = sum(null["promoted"] for null in judged)
    states = Counter(null["state"] for null in judged)
    note = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    never = len(runs) - len(judged)
    return [
        _share("null demo: promoted", promoted, runs, 0.05, "lower", note),
        _count("null demo: inconclusive, held at the end", states["HOLD"], runs),
        _count("null demo: inconclusive, never came to a canary", never, runs),
    ]


def _share(
    name: str,
    count: int,
    runs: list[dict[str, Any]],
    target: float,
    better: Any = "higher",
    note: str = "",
) -> Row:
    share = count / max(len(runs), 1)
    note = note or f"{count} of {len(runs)}"
    return Row(name, share, "of runs", better, target, (share, share), note=note)


def _count(name: str, count: int, runs: list[dict[str, Any]], target: float | None = None) -> Row:
    return Row(name, count, "runs", "lower", target, (count, count), note=f"of {len(runs)}")


def _median(name: str, values: list[float], unit: str) -> Row:
    return Row(name, median(values), unit, "lower", None, (min(values), max(values)))
