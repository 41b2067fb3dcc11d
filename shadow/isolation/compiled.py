"""The compiled engine: ranks candidates by replaying them, each in a fork that is thrown away."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import struct
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from ...policies.registry import modules
from ...sdk.errors import ConfigurationError, IsolationError
from ...sdk.isolation import frames
from ...sdk.isolation.layers import Limits
from ...sdk.isolation.zygote import CandidateStopped, Fork, Zygote
from ...sdk.kind import Kind
from ..evaluation import Evaluation, Split, Status, Trial
from ..gates.watch import blocking
from ..simulators import plugged_in
from ..simulators.base import save_calibrations
from ..traces.trace import Trace
from . import feedback
from .engine import CompiledOptions, ForkEngine
from .guard import InvariantGuard

__all__ = ["CompiledEngine", "CompiledOptions"]

_ENTRY = "gnomon.shadow.isolation.compiled_child"
_HEAD = struct.Struct("<iIdI")  # as in compiled_child
_BROKEN = -2  # as there
_LENGTH = struct.Struct("<I")
_MEMORY_MB = 1024  # a compiler's
_MOST_ROWS = 4096  # of one request for scores: its answer is one message


class CompiledEngine(ForkEngine):
    """An engine whose forks compile a score and replay all by themselves.

    The score of an evaluation is the worst, over all calibrations, of the mean clipped outcome.

    Args:
        kind: what is decided; known to the registry under its name (see ``options.modules``).
        traces: by split; a split that is not given is refused, which is how a holdout stays closed.
        calibrations: drawn from the fit's uncertainty.
        options: how it runs.

    Raises:
        IsolationError: the isolation cannot be had, or the clean process cannot prepare.
        ConfigurationError: nothing to replay.
    """

    def __init__(
        self,
        kind: Kind,
        traces: Mapping[Split, Trace],
        calibrations: Sequence[Any],
        options: CompiledOptions | None = None,
    ) -> None:
        super().__init__(kind, traces, calibrations, options)
        self._folder = tempfile.TemporaryDirectory(prefix="gnomon-engine-")
        self._guard: InvariantGuard | None = None
        try:
            self._settings = self._store(kind, traces, calibrations)
            self._guard = _guard(kind, next(iter(traces.values())), calibrations[0], self._options)
            self._open()
        except BaseException:
            self.close()
            raise

    def scores(self, source: str, rows: npt.NDArray[np.float64]) -> Future[Any]:
        """Return the compiled scores of (n, F) rows, NaN for a fault; an Evaluation if there are none.

        Raises:
            ConfigurationError: more than 4,096 rows, or the engine is closed.
        """
        if len(rows) > _MOST_ROWS:
            raise ConfigurationError(f"{len(rows)} rows are too many; at most {_MOST_ROWS}")
        job = {"source": source, "rows": rows.tolist()}
        return self._put(lambda zygote: self._ask(zygote, job))

    def close(self) -> None:
        """Kill what runs, cancel what waits, and free everything; safe to call twice."""
        super().close()
        if self._guard is not None:
            self._guard.close()
        self._folder.cleanup()

    def _store(
        self, kind: Kind, traces: Mapping[Split, Trace], calibrations: Sequence[Any]
    ) -> dict[str, Any]:
        folder = Path(self._folder.name)
        for split, trace in traces.items():
            trace.save(folder / f"{split}.trace")
        save_calibrations(folder / "calibrations.npz", tuple(calibrations))
        return {
            "kind": kind.name,
            "traces": {split: str(folder / f"{split}.trace") for split in traces},
            "calibrations": str(folder / "calibrations.npz"),
            "modules": list(dict.fromkeys((*modules(), *self._options.modules))),
            "seed": self._options.seed,
            "segments": self._options.segments,
        }

    def _clean(self) -> Zygote:
        deadline = self._options.seconds(self._kind)
        cache = os.environ.get("NUMBA_CACHE_DIR")
        return Zygote(
            _ENTRY,
            self._settings,
            mode=self._options.isolation,
            limits=Limits(frame_s=deadline, total_s=deadline, memory_mb=_MEMORY_MB),
            paths=[
                *self._options.paths,
                *_module_paths(self._settings["modules"]),
                *_plugged_in_paths(self._settings["kind"]),
                *_library_paths(),
            ],
            environment={"NUMBA_CACHE_DIR": cache} if cache else {},
        )

    def _evaluated(self, zygote: Zygote, source: str, split: Split, trial: Trial | None) -> Any:
        job: dict[str, Any] = {"source": source, "split": split}
        answer = self._ask(zygote, job if trial is None else job | {"trial": asdict(trial)})
        good = isinstance(answer, Evaluation) and answer.status is Status.OK
        broken = self._guard.broken(source) if good and self._guard is not None else None
        return self._broke(*broken) if broken is not None else answer

    def _ask(self, zygote: Zygote, job: dict[str, Any]) -> Any:
        fork = zygote.fork()
        try:
            with self._held(fork):
                return self._converse(fork, job)
        finally:
            fork.kill()

    def _converse(self, fork: Fork, job: dict[str, Any]) -> Any:
        """Send the job; until the candidate is checked, whatever goes wrong is our own fault."""
        body = json.dumps(job).encode()
        try:
            fork.send(_LENGTH.pack(len(body)) + body)
            code, answer = fork.message()
        except CandidateStopped as stopped:
            raise IsolationError(f"before the candidate ran: {stopped.detail}") from None
        if code is frames.Code.READY:
            code, answer = fork.message()
        if code is frames.Code.RESULT:
            return self._result(job, answer)
        text = answer.decode("ascii", "replace")
        if code is frames.Code.REJECTED:
            return self._failed(Status.REJECTED, text, feedback.plain(text))
        return self._failed(Status.EVALUATOR_ERROR, text)

    def _result(self, job: dict[str, Any], answer: bytes) -> Any:
        try:
            if "rows" in job:
                return _scores(answer, len(job["rows"]))
            return self._evaluation(_floor(job), *_parts(answer))
        except (ValueError, struct.error):  # the fork was taken over: it ends, and so does its say
            detail = "its process answered what no score can"
            return Evaluation(Status.DIED, detail=detail, layers=self.layers)

    def _evaluation(
        self, floor: float, fault: int, left: int, score: float, segments: tuple[float, ...]
    ) -> Evaluation:
        if fault >= 0:
            said = feedback.faulted(self._kind, fault)
            return self._failed(Status.FAULT, f"a score faulted at decision {fault}", said)
        if fault <= _BROKEN:
            if _BROKEN - fault >= len(self._kind.invariants):
                raise ValueError("an invariant that there is not")
            return self._broke(self._kind.invariants[_BROKEN - fault])
        if not math.isfinite(score):
            return self._failed(Status.EVALUATOR_ERROR, "the replay has no finite score")
        if left and not score > floor:
            raise ValueError("nobody said that it may stop there")
        return self._scored(score, segments, left)


def _floor(job: dict[str, Any]) -> float:
    """Return what a mean has to be above for a fork to stop: infinite where nobody said that it may."""
    trial = job.get("trial")
    if trial is None:
        return math.inf
    return -math.inf if trial["first"] else float(trial["bar"])


def _parts(answer: bytes) -> tuple[int, int, float, tuple[float, ...]]:
    """Return fault, replays left, score and segments of a fork's answer; raises where it is none, to the last byte."""
    fault, left, score, count = _HEAD.unpack_from(answer)
    if len(answer) != _HEAD.size + 8 * count:
        raise ValueError(f"{len(answer)} bytes are no answer of {count} segments")
    segments = struct.unpack_from(f"<{count}d", answer, _HEAD.size)
    if not all(map(math.isfinite, segments)):
        raise ValueError("a segment that is not finite")
    return fault, left, score, segments


def _scores(answer: bytes, rows: int) -> npt.NDArray[np.float64]:
    """Return the scores of so many rows; raises where a fork's answer holds more or fewer."""
    if len(answer) != 8 * rows:
        raise ValueError(f"{len(answer)} bytes are no scores of {rows} rows")
    return np.frombuffer(answer, dtype="<f8")


def _guard(
    kind: Kind, trace: Trace, calibration: Any, options: CompiledOptions
) -> InvariantGuard | None:
    """Return what looks for violations, or None when no invariant could be broken."""
    decisions = blocking((*kind.invariants, *options.invariants))
    whole = (each for each in options.invariants if each.asked_of("replay", "block"))
    invariants = (*decisions, *whole)
    if not invariants:
        return None
    return InvariantGuard(kind, invariants, trace, calibration, options.isolation)


def _module_paths(names: Sequence[str]) -> list[str]:
    """Return the folders from which modules from outside are imported in this process."""
    found = (importlib.util.find_spec(name.partition(".")[0]) for name in names)
    places = [place for spec in found if spec is not None for place in _places(spec)]
    return list(dict.fromkeys(places))


def _plugged_in_paths(kind: str) -> list[str]:
    """Return the folders of the installed packages that give a kind, and of what says that they do."""
    points = plugged_in(kind)
    saying = [str(point.dist.locate_file("")) for point in points if point.dist is not None]
    return [*_module_paths([point.module for point in points]), *dict.fromkeys(saying)]


def _places(spec: ModuleSpec) -> list[str]:
    if spec.submodule_search_locations:
        return [str(Path(place).parent) for place in spec.submodule_search_locations]
    return [str(Path(spec.origin).parent)] if spec.has_location and spec.origin else []


def _library_paths() -> list[str]:
    """Return the folders of the libraries that the simulators need."""
    return list(dict.fromkeys(str(Path(m.__file__ or "").parents[1]) for m in (np, numba)))
