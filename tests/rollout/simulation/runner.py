"""Plays many seeds, on several cores, and goes on where an earlier run of the same code stopped."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .publisher import remembered
from .world import simulate

ROOT = Path(__file__).resolve().parents[3]
_CHUNK = 25
_CODE = ("policies/rollout", "sdk", "tests/rollout/simulation", "tests/rollout/history.py")


@dataclass(slots=True)
class Report:
    """What many worlds came to.

    Attributes:
        seeds, rollouts, events: how many.
        seconds: of one core.
        met: how often every transition and kind of trouble was met.
        problems: seed and what was not allowed.
    """

    seeds: int = 0
    rollouts: int = 0
    events: int = 0
    seconds: float = 0.0
    met: Counter[str] = field(default_factory=Counter)
    problems: list[tuple[int, str]] = field(default_factory=list)

    def add(self, part: dict[str, Any]) -> None:
        """Add what :func:`play` returned."""
        for name in ("seeds", "rollouts", "events", "seconds"):
            setattr(self, name, getattr(self, name) + part[name])
        self.met.update(part["met"])
        self.problems += [(seed, words) for seed, words in part["problems"]]

    def told(self) -> str:
        """Return the problems, each with the command that plays its seed again."""
        lines = [f"{words}\n    replay: {replay(seed)}" for seed, words in self.problems[:20]]
        return "\n".join([f"{len(self.problems)} problems", *lines])

    def as_json(self) -> dict[str, Any]:
        """Return it for a file."""
        return {
            "seeds": self.seeds,
            "rollouts": self.rollouts,
            "events": self.events,
            "cpu_seconds": round(self.seconds, 1),
            "rollouts_per_cpu_second": round(self.rollouts / max(self.seconds, 1e-9), 1),
            "problems": self.problems,
            "met": dict(sorted(self.met.items())),
        }


def replay(seed: int) -> str:
    """Return the command that plays a seed again and prints its history."""
    return f"{sys.executable} -m tests.rollout.simulation --seed {seed} --history"


def play(first: int, count: int) -> dict[str, Any]:
    """Play seeds one after the other and return what they came to, as plain JSON values."""
    logging.disable(logging.CRITICAL)
    begin, met = time.process_time(), Counter[str]()
    rollouts = events = 0
    problems: list[tuple[int, str]] = []
    try:
        with remembered():
            for seed in range(first, first + count):
                run = simulate(seed)
                met.update(run.met)
                rollouts += run.rollouts
                events += len(run.history)
                problems += [(seed, words) for words in run.problems]
    finally:
        logging.disable(logging.NOTSET)
    seconds = time.process_time() - begin
    sums = {"seeds": count, "rollouts": rollouts, "events": events, "seconds": seconds}
    return {**sums, "first": first, "met": met, "problems": problems}


def played(first: int, count: int) -> Report:
    """Play seeds in this process."""
    report = Report()
    report.add(play(first, count))
    return report


def soak(rollouts: int, folder: Path, workers: int = 2) -> Report:
    """Play seeds from 0 on until so many rollouts are done; what was played before counts.

    Args:
        rollouts: how many at least.
        folder: keeps one line per chunk, under the name of the code that it was played with.
        workers: processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"simulation-{fingerprint()}.jsonl"
    report, first = Report(), 0
    for line in kept.read_text("utf-8").splitlines() if kept.exists() else ():
        report.add(json.loads(line))
        first = max(first, json.loads(line)["first"] + _CHUNK)
    with ThreadPoolExecutor(workers) as pool, kept.open("a", encoding="utf-8") as file:
        while report.rollouts < rollouts:
            for line in pool.map(_apart, range(first, first + 4 * workers * _CHUNK, _CHUNK)):
                file.write(line + "\n")
                report.add(json.loads(line))
            file.flush()
            first += 4 * workers * _CHUNK
            _write(folder, report)
    _write(folder, report)
    return report


def _write(folder: Path, report: Report) -> None:
    text = json.dumps(report.as_json(), indent=1)
    (folder / "simulation.json").write_text(text + "\n", "utf-8")


def _apart(first: int) -> str:
    """Play a chunk in a process of its own."""
    command = [sys.executable, "-m", "tests.rollout.simulation", "--chunk", str(first), str(_CHUNK)]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    return done.stdout.decode().strip()


def fingerprint() -> str:
    """Return a name for the code that seeds are played with."""
    digest = hashlib.sha256()
    for place in _CODE:
        path = ROOT / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]
