"""What it costs to ask a candidate in a locked-in process, beside asking it here and beside a naive worker.

CPU time of both processes, which take turns, and wall time, which besides holds what waking each other takes
and whatever else the machine runs; ours and the peers by turns in short blocks. A decision is among 4 items of 5 features. The naive worker is a new
interpreter that reads and writes JSON lines, executes the source as it is, and is locked in by nothing.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from platform import python_version
from typing import Any, Self

import numpy as np
from results import Peer, Row

from gnomon.policies.expert_placement import expert_placement
from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.isolation.program import ProgramProcess, program_zygote
from gnomon.sdk.isolation.zygote import Zygote
from gnomon.sdk.language import check, check_program, chooser
from gnomon.shadow.isolation.lockstep import LockstepCandidate, lockstep_zygote
from gnomon.shadow.programs import drawn_questions

SOURCE = "def score(inflight, ewma_ms):\n    return (inflight + 1.0) * ewma_ms\n"
ITEMS, FEATURES = 4, 5
BLOCKS = 25
#: Frames in one block, by the number of streams.
FRAMES = {1: 100, 256: 8}
STARTS, FORKS, FRESH_STARTS = 60, 20, 8
QUESTIONS = 12
TARGET_ONE_US, TARGET_MANY_US, TARGET_START_MS = 50.0, 2.0, 5.0
PYTHON = python_version()

_NAIVE = """
import json, sys
space = {}
exec(json.loads(sys.stdin.readline()), space)
score = space["score"]
for line in sys.stdin:
    rows = json.loads(line)
    print(min(range(len(rows)), key=lambda i: score(rows[i][0], rows[i][1])), flush=True)
"""


def rows() -> list[Row]:
    """Return the rows of lockstep, of starts, and of the program form."""
    return [*lockstep(), *starts(), *program()]


def by_turns(
    ways: dict[str, Callable[[], Any]],
    blocks: int,
    each: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Return seconds by a clock for one call of every way, one figure per block."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(blocks):
        for name, way in ways.items():
            begin = clock()
            for _ in range(each):
                way()
            found[name].append((clock() - begin) / each)
    return found


def cpu_with(pid: int) -> Callable[[], float]:
    """Return a clock of the CPU seconds of this process and of another one."""
    other = ~pid << 3 | 2  # the kernel's name for the clock of a process
    return lambda: time.process_time() + time.clock_gettime(other)


def cpu_with_forks(pid: int) -> Callable[[], float]:
    """Return a clock of the CPU seconds of this process, another one, and all its children that ended."""
    both, ticks = cpu_with(pid), os.sysconf("SC_CLK_TCK")

    def clock() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return both() + sum(map(int, fields[13:15])) / ticks

    return clock


def pid_of(handle: int) -> int:
    """Return the process id behind a handle."""
    lines = Path(f"/proc/self/fdinfo/{handle}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))


def row(
    name: str,
    seconds: Sequence[float],
    unit: str,
    target: float | None = None,
    peer: Peer | None = None,
    note: str = "",
) -> Row:
    """Return a row of times, in ``ms`` or ``us``, the lower the better."""
    times = {"ms": 1e3, "us": 1e6}[unit]
    values = [times * value for value in seconds]
    spread = (min(values), max(values))
    return Row(name, statistics.median(values), unit, "lower", target, spread, peer, note)


def lockstep() -> Iterator[Row]:
    """Yield the time of a decision with one stream and with many."""
    decide = chooser(check(SOURCE, load_balancer.input_names), load_balancer)
    with ExitStack() as stack:
        zygote = stack.enter_context(lockstep_zygote())
        ours = stack.enter_context(LockstepCandidate(zygote, SOURCE, load_balancer))
        naive = stack.enter_context(Naive(SOURCE))
        for streams, frames in FRAMES.items():
            batch = np.random.default_rng(0).random((streams, ITEMS, FEATURES))
            inside = batch.tolist()
            if ours.choose(batch).tolist() != [decide(items) for items in inside]:
                raise RuntimeError("the two ways decide differently; correct one of them")
            ways: dict[str, Callable[[], Any]] = {
                "ours": lambda batch=batch: ours.choose(batch),
                "here": lambda inside=inside: [decide(items) for items in inside],
            }
            cpu = cpu_with(pid_of(ours._fork._handle))
            yield _decision(streams, by_turns(ways, BLOCKS, frames, cpu), "CPU time")
            if streams == 1:
                ways["naive"] = lambda items=inside[0]: naive.choose(items)
            found = by_turns(ways, BLOCKS, frames)
            yield _decision(streams, found, "wall time")
            if streams == 1:
                peer = _peer("a worker that speaks JSON lines", found["naive"], 1e6)
                name = "lockstep, one stream beside a naive worker, wall time"
                yield row(name, found["ours"], "us", None, peer)


def _decision(streams: int, found: dict[str, list[float]], clock: str) -> Row:
    each = {name: [value / streams for value in values] for name, values in found.items()}
    name = "lockstep, one stream" if streams == 1 else f"lockstep, {streams} streams"
    target = TARGET_ONE_US if streams == 1 else TARGET_MANY_US
    peer = _peer("in this process, unisolated", each["here"], 1e6)
    return row(f"{name}, a decision, {clock}", each["ours"], "us", target, peer)


def starts() -> Iterator[Row]:
    """Yield what it takes until a candidate, and a clean process, is ready."""
    begin = time.perf_counter()
    zygote = lockstep_zygote()
    first = [time.perf_counter() - begin]
    with zygote:
        yield from _candidate(
            "a candidate: fork, locked in, checked, ready, killed",
            zygote,
            lambda: LockstepCandidate(zygote, SOURCE, load_balancer).close(),
        )
    fresh = by_turns({"naive": lambda: Naive(SOURCE).close()}, FRESH_STARTS, 1)["naive"]
    yield row("a naive worker: a new interpreter, locked in by nothing, wall time", fresh, "ms")
    for _ in range(2):
        begin = time.perf_counter()
        lockstep_zygote().close()
        first.append(time.perf_counter() - begin)
    yield row("a clean process, once per engine", first, "ms")


def _candidate(name: str, zygote: Zygote, once: Callable[[], None]) -> Iterator[Row]:
    """Yield CPU time and wall time of a candidate's start and end."""
    forks = cpu_with_forks(zygote.pid)
    cpu = by_turns({"ours": once}, STARTS // FORKS, FORKS, forks)["ours"]
    yield row(f"{name}, CPU time", cpu, "ms", TARGET_START_MS)
    wall = by_turns({"ours": once}, STARTS, 1)["ours"]
    yield row(f"{name}, wall time", wall, "ms", TARGET_START_MS)


def program() -> Iterator[Row]:
    """Yield what a candidate in program form costs: to start, and to answer a question that its kind draws."""
    source = expert_placement.baselines["static"].source
    assert source is not None and expert_placement.program is not None
    asked = [each.terms for each in drawn_questions(expert_placement, QUESTIONS, 0)]
    here = check_program(source, expert_placement.program).bind(dict(expert_placement.host))
    with program_zygote(expert_placement) as zygote:
        yield from _candidate(
            "program form, a candidate",
            zygote,
            lambda: ProgramProcess(zygote, source, expert_placement).close(),
        )
        with ProgramProcess(zygote, source, expert_placement) as process:
            ways: dict[str, Callable[[], Any]] = {
                "ours": lambda: [process.ask_terms(terms) for terms in asked],
                "here": lambda: [here(*terms.values()) for terms in asked],
            }
            found = by_turns(ways, BLOCKS, 1, cpu_with(pid_of(process._fork._handle)))
    each = {name: [value / len(asked) for value in values] for name, values in found.items()}
    peer = _peer("in this process, unisolated", each["here"], 1e6)
    note = f"static placement, mean over {QUESTIONS} questions that the kind draws"
    yield row("program form, a question, CPU time", each["ours"], "us", None, peer, note)


def _peer(name: str, seconds: Sequence[float], times: float) -> Peer:
    return Peer(name, f"Python {PYTHON}", times * statistics.median(seconds))


class Naive:
    """A candidate in a new interpreter that speaks JSON lines."""

    def __init__(self, source: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _NAIVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._tell(source)

    def choose(self, items: Sequence[Sequence[float]]) -> int:
        """Return the index that it picks."""
        self._tell(items)
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it after one answer, so that it has surely been ready."""
        self.choose([[0.0] * FEATURES])
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _tell(self, value: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()
