"""Inside a disposable fork: check one candidate, compile its score, lock in for good, replay, answer once.

The clean process has the traces, the calibrations and the compiled simulator in its memory already. A
compiled score takes floats and gives one, so it cannot reach them; what it is given is what the
simulator shows at each decision. Its score only ranks: a finalist is replayed in lockstep.
"""

from __future__ import annotations

import importlib
import json
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...policies.registry import kind as kind_named
from ...sdk.errors import LanguageError
from ...sdk.isolation import frames
from ...sdk.isolation.frames import Code
from ...sdk.isolation.lockdown import Cell, seal
from ...sdk.kind import Kind
from ...sdk.language import check
from ..compiled import compile_score
from ..evaluation import Trial
from ..simulators import plugged_in, simulator_for
from ..simulators.base import Replay, Simulator, load_calibrations
from ..traces.trace import Trace

#: A compiler needs memory that can be executed; :func:`serve` gives that up before the first replay.
COMPILES = True

LENGTH = struct.Struct("<I")
#: Index of the faulted decision or -1, replays left when it was stopped, score, number of segments.
HEAD = struct.Struct("<iIdI")
#: More replays of train, with other luck, that ask for the invariants alone: what a policy does in one of
#: twenty replays it has hardly shown in eight, and would show at the gates.
SCREENED = 64
#: Decisions in all of these; in a long replay luck evens out.
SCREENED_DECISIONS = 150_000
#: In place of the index: this, less the index of the kind's invariant that a replay broke.
BROKEN = -2


@dataclass(frozen=True)
class Work:
    """What every fork inherits.

    Attributes:
        kind: what is decided.
        simulator: of that kind.
        traces: by the name of the split.
        calibrations: drawn from the fit's uncertainty.
        seed: of the replays; the calibration's index is added.
        segments: number of stretches of time in an evaluation.
    """

    kind: Kind
    simulator: Simulator
    traces: dict[str, Trace]
    calibrations: tuple[Any, ...]
    seed: int
    segments: int


def prepare(settings: dict[str, Any]) -> Work:
    """Load what is replayed, and compile the simulator by replaying a little."""
    if settings["modules"] or plugged_in(settings["kind"]):
        _show_public_names()
    for module in settings["modules"]:
        importlib.import_module(module)  # kinds from outside register themselves
    kind = kind_named(settings["kind"])
    simulator = simulator_for(kind)
    work = Work(
        kind,
        simulator,
        {name: simulator.trace_type.load(Path(path)) for name, path in settings["traces"].items()},
        load_calibrations(Path(settings["calibrations"]), simulator),
        settings["seed"],
        settings["segments"],
    )
    _warm(work)
    return work


def _show_public_names() -> None:
    """Let modules from outside write ``from gnomon import Kind``: the clean process has a bare package."""
    package = sys.modules[__name__.partition(".")[0]]
    face = Path(package.__path__[0]) / "__init__.py"
    exec(compile(face.read_text("utf-8"), str(face), "exec"), vars(package))  # noqa: S102 - our own text


def _warm(work: Work) -> None:
    """Import and compile all that a candidate's turn would otherwise find missing behind the lock."""
    name = work.kind.input_names[0]
    program = check(
        f"import math\ndef score({name}):\n    t = {name}\n    for i in range(2):\n"
        f"        t = t + math.log1p(abs({name})) / 2.0\n    return max(t, {name} ** 2.0) // 3.0\n",
        work.kind.input_names,
    )
    score = compile_score(program)
    trace = next(iter(work.traces.values())).rows(slice(0, 8))
    replay = work.simulator.compiled(trace, work.calibrations[0], work.seed, score, work.kind.order)
    _broken(work.kind, replay)


def serve(descriptor: int, state: Work, cell: Cell) -> None:
    """Receive one job, answer it, end."""
    job = _receive(descriptor)
    kind = state.kind
    try:
        program = check(
            job["source"], kind.input_names, max_nodes=kind.max_nodes, max_fuel=kind.max_fuel
        )
    except LanguageError as error:
        text = frames.plain(str(error)).encode("ascii")
        frames.write_all(descriptor, frames.pack(Code.REJECTED, text))
        return
    frames.write_all(descriptor, frames.pack(Code.READY))
    score = compile_score(program)
    seal(descriptor, cell)
    body = _scores(score, job["rows"]) if "rows" in job else replays(state, job, score)
    frames.write_all(descriptor, frames.pack(Code.RESULT, body))


def _scores(score: Any, rows: list[list[float]]) -> bytes:
    return np.array([score(*row) for row in rows], dtype="<f8").tobytes()


def replays(work: Work, job: dict[str, Any], score: Any) -> bytes:
    """Return the worst mean outcome over all calibrations, with its segments."""
    trace, luck = work.traces[job["split"]], _luck(work) if job["split"] == "train" else 0
    trial = Trial(**job["trial"]) if job.get("trial") else Trial()
    worst, segments = -np.inf, np.empty(0)
    for index, calibration in enumerate(work.calibrations):
        replay = work.simulator.compiled(
            trace, calibration, work.seed + index, score, work.kind.order
        )
        if (wrong := _wrong(work.kind, replay)) != -1:
            return _failed(wrong)
        stretched = stretches(replay, work.segments)
        if replay.mean > worst:
            worst, segments = replay.mean, stretched
        left = len(work.calibrations) - 1 - index + luck
        if left and trial.ends(index, replay.mean, stretched.tolist()):
            return _answer(left, worst, segments)
    if (wrong := _screened(work, luck, score)) != -1:
        return _failed(wrong)
    return _answer(0, worst, segments)


def _answer(left: int, worst: float, segments: Any) -> bytes:
    body: bytes = segments.astype("<f8").tobytes()
    return HEAD.pack(-1, left, worst, len(segments)) + body


def _failed(wrong: int) -> bytes:
    return HEAD.pack(wrong, 0, np.nan, 0)


def _luck(work: Work) -> int:
    """Return how many replays under other luck a score has to stand."""
    if not _asked(work.kind):
        return 0
    return min(SCREENED, SCREENED_DECISIONS // len(work.traces["train"]))


def _screened(work: Work, count: int, score: Any) -> int:
    """Return what is wrong with train's replays under other luck, as a head says it; -1 for nothing."""
    trace, draws = work.traces.get("train"), len(work.calibrations)
    for luck in range(count):
        replay = work.simulator.compiled(
            trace, work.calibrations[luck % draws], work.seed + draws + luck, score, work.kind.order
        )
        if (wrong := _wrong(work.kind, replay)) != -1:
            return wrong
    return -1


def _wrong(kind: Kind, replay: Replay) -> int:
    """Return the index of the decision that faulted, or what stands for a broken invariant; else -1."""
    if replay.fault >= 0:
        return replay.fault
    broken = _broken(kind, replay)
    return BROKEN - broken if broken >= 0 else -1


def _asked(kind: Kind) -> list[int]:
    """Return the indices of the invariants over a replay that block."""
    return [index for index, each in enumerate(kind.invariants) if each.asked_of("replay", "block")]


def _broken(kind: Kind, replay: Replay) -> int:
    """Return the index of the first blocking invariant that does not hold over a replay, or -1."""
    summary = replay.summary()
    broken = (index for index in _asked(kind) if not kind.invariants[index].holds(summary))
    return next(broken, -1)


def stretches(replay: Replay, count: int) -> Any:
    """Return the mean outcome of ``count`` stretches of equally many decisions, f8[count]."""
    parts = np.array_split(replay.outcome, min(count, max(1, len(replay.outcome))))
    return np.array([part.mean() for part in parts])


def _receive(descriptor: int) -> dict[str, Any]:
    (length,) = LENGTH.unpack(frames.read_exactly(descriptor, LENGTH.size))
    job: dict[str, Any] = json.loads(frames.read_exactly(descriptor, length))
    return job
