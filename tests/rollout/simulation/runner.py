"""Plays many seeds, on several cores, and goes on where an earlier run of the same code stopped."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from gnomon.sdk.state import write_atomically

from .memory import remembered, tidied
from .world import simulate

ROOT = Path(__file__).resolve().parents[3]
#: Seeds of a chunk: what an interruption loses per worker.
CHUNK = 25
#: What decides how a seed is played.
_CODE = (
    *("policies/rollout", "sdk", "proto/gnomon/v1", "tests/rollout/simulation"),
    *("tests/rollout/history.py", "tests/rollout/events.py", "tests/rollout/vouching.py"),
    "tests/rollout/sticky.py",
)


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

    def line(self) -> str:
        """Return how far it is, in one line."""
        rate = self.rollouts / max(self.seconds, 1e-9)
        return (
            f"{self.seeds} seeds, {self.rollouts} rollouts, {rate:.1f} per CPU second, "
            f"{len(self.problems)} problems"
        )

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


def play(first: int, seeds: int) -> dict[str, Any]:
    """Play seeds one after the other and return what they came to, as plain JSON values."""
    logging.disable(logging.CRITICAL)
    begin = time.process_time()
    part: dict[str, Any] = {"first": first, "seeds": seeds, "rollouts": 0, "events": 0}
    part |= {"met": Counter[str](), "problems": []}
    try:
        with remembered(), tidied() as tidy:
            for seed in range(first, first + seeds):
                _play(seed, part)
                tidy(seed)
    finally:
        logging.disable(logging.NOTSET)
    return {**part, "seconds": time.process_time() - begin}


def _play(seed: int, part: dict[str, Any]) -> None:
    try:
        run = simulate(seed)
    except Exception as error:  # noqa: BLE001 - one world that cannot be played must not hide the others
        part["problems"].append((seed, f"stopped: {type(error).__name__}: {error}"))
        return
    part["met"].update(run.met)
    part["rollouts"] += run.rollouts
    part["events"] += len(run.history)
    part["problems"] += [(seed, words) for words in run.problems]


def played(first: int, seeds: int) -> Report:
    """Play seeds in this process."""
    report = Report()
    report.add(play(first, seeds))
    return report


def soak(rollouts: int, folder: Path, workers: int = 2) -> Report:
    """Play seeds from 0 on until so many rollouts are done; what was played before counts.

    Args:
        rollouts: how many at least.
        folder: keeps one line per chunk, under the name of the code that it was played with, the figures so far
            in ``simulation.json``, and a line on every chunk in ``simulation.log``.
        workers: processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = kept(folder)
    report = summed(known.values())
    if report.rollouts < rollouts:
        waiting = (first for first in count(0, CHUNK) if first not in known)
        with _whole(_file(folder)).open("a", encoding="utf-8") as file:
            for part in _parts(waiting, workers):
                file.write(json.dumps(part) + "\n")
                file.flush()
                report.add(part)
                _tell(folder, report)
                if report.rollouts >= rollouts:
                    break
    _tell(folder, report)
    return report


def kept(folder: Path) -> dict[int, dict[str, Any]]:
    """Return the chunks that this code has played, by their first seed; a line that was cut off is none."""
    path, found = _file(folder), {}
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            part = json.loads(line)
        except ValueError:
            continue
        found[part["first"]] = part
    return found


def summed(parts: Any) -> Report:
    """Return what chunks came to together."""
    report = Report()
    for part in parts:
        report.add(part)
    return report


def _parts(firsts: Iterator[int], workers: int) -> Iterator[dict[str, Any]]:
    """Yield chunks as they are done, each played in one of the workers."""
    with _importable(), ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        playing: set[Future[dict[str, Any]]] = set()
        try:
            while True:
                while len(playing) < workers + 1:
                    playing.add(pool.submit(play, next(firsts), CHUNK))
                done, playing = wait(playing, return_when=FIRST_COMPLETED)
                yield from (one.result() for one in done)
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _importable() -> Iterator[None]:
    """Have workers find these modules: they are given this process's path, in which pytest needs none."""
    sys.path.append(str(ROOT))
    try:
        yield
    finally:
        sys.path.remove(str(ROOT))


def _whole(path: Path) -> Path:
    """End a last line that an interruption cut off, so that the next one stands alone."""
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")
    return path


def _file(folder: Path) -> Path:
    return folder / f"simulation-{fingerprint()}.jsonl"


def _tell(folder: Path, report: Report) -> None:
    text = json.dumps(report.as_json(), indent=1) + "\n"
    write_atomically(folder / "simulation.json", text.encode(), 0o644)
    line = f"{time.strftime('%H:%M:%S')} {report.line()}"
    with (folder / "simulation.log").open("a", encoding="utf-8") as log:
        log.write(line + "\n")
    print(line, file=sys.stderr, flush=True)


def fingerprint() -> str:
    """Return a name for the code that seeds are played with."""
    digest = hashlib.sha256()
    for place in _CODE:
        path = ROOT / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            if file.name.startswith("test_"):  # what is asked of a run decides nothing in it
                continue
            digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]
