"""What every simulator owes, asked of one: deterministic, the same luck for all, blind to what is to come."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...sdk.language import check
from ..compiled import compile_score
from ..traces.job_trace import QueueTrace
from ..traces.trace import DecisionTrace
from .base import FloatArray, Replay, Simulator

#: Index of a decision and its rows to an index.
_Pick = Callable[[int, FloatArray], int]
_MOST = 2000  # decisions that are replayed


@dataclass(frozen=True, eq=False)
class _Seen:
    """A replay with everything that was shown."""

    rows: list[FloatArray]
    replay: Replay


def problems(simulator: Simulator, trace: Any, seed: int = 0) -> tuple[str, ...]:
    """Return what is wrong with a simulator, in sentences; nothing when it does what it owes.

    Args:
        simulator: of the trace's kind, score form.
        trace: some hundred decisions; more than 2,000 are cut.
        seed: of the replays.
    """
    short = trace.rows(slice(0, _MOST))
    fitted = simulator.calibrate(short)
    asked = _Asked(simulator, short, fitted, seed)
    checks = (_deterministic, _pick_by_pick, _blind_to_the_trace, _conserving, _compiled, _values)
    return tuple(problem for each in checks for problem in each(asked))


@dataclass(frozen=True, eq=False)
class _Asked:
    simulator: Simulator
    trace: Any
    fitted: Any
    seed: int

    def seen(self, pick: _Pick, trace: Any = None) -> _Seen:
        """Replay, and keep copies of what is shown."""
        stream = self.simulator.stream(trace or self.trace, self.fitted, self.seed)
        rows: list[FloatArray] = []
        try:
            shown = next(stream)
            while True:
                rows.append(np.array(shown))
                shown = stream.send(pick(len(rows) - 1, rows[-1]))
        except StopIteration as stop:
            return _Seen(rows, stop.value)


def _hashed(salt: int) -> _Pick:
    """Return a policy whose picks look random and follow from the decision's index alone."""
    return lambda index, rows: (index * 2654435761 + salt * 40503 >> 7) % len(rows)


def _switching(at: int) -> _Pick:
    first, second = _hashed(1), _hashed(2)
    return lambda index, rows: (first if index < at else second)(index, rows)


def _same(one: Replay, other: Replay) -> bool:
    columns = ("time", "outcome", "ok", "action")
    return one.fault == other.fault and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in columns
    )


def _first_difference(one: list[FloatArray], other: list[FloatArray], until: int) -> int | None:
    for index, (a, b) in enumerate(zip(one[:until], other[:until], strict=False)):
        if not np.array_equal(a, b):
            return index
    return None


def _deterministic(asked: _Asked) -> Iterator[str]:
    one, other = asked.seen(_hashed(1)), asked.seen(_hashed(1))
    if _first_difference(one.rows, other.rows, len(one.rows)) is not None or not _same(
        one.replay, other.replay
    ):
        yield "two replays with one seed and the same picks differ: keep no state, draw from the seed"


def _pick_by_pick(asked: _Asked) -> Iterator[str]:
    """Until two policies differ, they are shown the same: noise, arrivals, everything."""
    whole = asked.seen(_hashed(1))
    at = len(whole.rows) // 2
    changed = asked.seen(_switching(at))
    found = _first_difference(whole.rows, changed.rows, at + 1)
    if found is not None:
        yield f"decision {found} shows what depends on picks made at decision {at} and later"
    if not np.array_equal(whole.replay.time, changed.replay.time):
        yield "times of decisions depend on the picks: replays could not be compared block by block"


def _blind_to_the_trace(asked: _Asked) -> Iterator[str]:
    """What comes later in the recording must not be seen before."""
    at = len(asked.trace) // 2
    whole = asked.seen(_hashed(1))
    cut = asked.seen(_hashed(1), asked.trace.rows(slice(0, at)))
    found = _first_difference(whole.rows, cut.rows, _comparable(asked.trace, whole, cut))
    if found is not None:
        yield f"decision {found} shows what depends on rows of the trace from {at} on"
    if isinstance(asked.trace, DecisionTrace):
        mixed = asked.seen(_hashed(1), _mixed(asked.trace, at))
        found = _first_difference(whole.rows, mixed.rows, at)
        if found is not None:
            yield f"decision {found} shows recorded outcomes or picks that are later than itself"


def _comparable(trace: Any, whole: _Seen, cut: _Seen) -> int:
    """Return how many decisions of both replays must show the same.

    In a queue those who came later are rightly seen by the decisions about those who came before: until then.
    """
    shown = list(zip(whole.rows, cut.rows, strict=False))
    if not isinstance(trace, QueueTrace):
        return len(shown)
    if len(trace.instances) > 1:  # decisions of one process follow those of another
        return 0
    return next((i for i, (a, b) in enumerate(shown) if len(a) > len(b)), len(shown))


def _mixed(trace: DecisionTrace, at: int) -> DecisionTrace:
    """Return the trace with everything recorded from a decision on turned round but for the times."""
    turned: dict[str, Any] = {
        name: np.concatenate((column[:at], column[at:][::-1]))
        for name in ("action", "features", "outcome", "ok", "propensity")
        for column in (getattr(trace, name),)
    }
    return replace(trace, **turned)


def _conserving(asked: _Asked) -> Iterator[str]:
    seen = asked.seen(_hashed(3))
    replay, clip = seen.replay, asked.simulator.kind.objective.clip
    n = len(replay.outcome)
    if {len(replay.time), len(replay.ok), len(replay.action)} != {n}:
        yield "columns of the replay differ in length: every decision has one outcome"
    if not np.isfinite(replay.outcome).all() or (replay.outcome > clip).any():
        yield f"an outcome is not finite, or above the clip of {clip:g}"
    if isinstance(asked.trace, DecisionTrace) and n != len(asked.trace):
        yield f"{n} outcomes for {len(asked.trace)} decisions"
    faulted = asked.seen(lambda index, rows: -1 if index == 5 else 0)
    if faulted.replay.fault != 5 or len(faulted.rows) != 6:
        yield "a pick of -1 at decision 5 must end the replay there, with fault=5"


def _compiled(asked: _Asked) -> Iterator[str]:
    """A compiled score decides as the same score asked row by row."""
    kind = asked.simulator.kind
    sign = 1.0 if kind.order == "lowest" else -1.0
    for name in kind.input_names:
        program = check(f"def score({name}):\n    return {name} * 3.0 - 1.0\n", kind.input_names)
        score = program.bind()

        def pick(_index: int, rows: FloatArray, score: Any = score) -> int:
            keys = [(sign * score(*row), row[-1]) for row in rows.tolist()]
            return (
                -1
                if any(math.isnan(k) for k, _ in keys)
                else min(range(len(keys)), key=keys.__getitem__)
            )

        fast = asked.simulator.compiled(
            asked.trace, asked.fitted, asked.seed, compile_score(program), kind.order
        )
        if not _same(asked.seen(pick).replay, fast):
            yield f"compiled() and stream() differ for a score of {name}"
            return


def _values(asked: _Asked) -> Iterator[str]:
    fitted, simulator = asked.fitted, asked.simulator
    if simulator.restore(fitted.arrays()).digest != fitted.digest:
        yield "restore(calibration.arrays()) is another calibration"
    if simulator.calibrate(asked.trace).digest != fitted.digest:
        yield "calibrate() of one trace gives two calibrations"
    drawn = [each.digest for each in simulator.draws(asked.trace, 2, asked.seed)]
    if drawn != [each.digest for each in simulator.draws(asked.trace, 2, asked.seed)]:
        yield "draws() of one seed differ"
