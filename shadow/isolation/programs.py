"""The engine for candidates of program form: the host steps the simulator, the candidate only answers."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ...sdk.isolation.program import ProgramProcess, program_zygote
from ...sdk.isolation.zygote import Zygote
from ...sdk.kind import Kind
from ..evaluation import Evaluation, Split, Status, Trial
from ..gates.watch import blocking
from ..programs import Answers, ProgramWatch, asking, drawn_questions, drive_program
from ..simulators import simulator_for
from ..simulators.base import Replay
from ..splits import segments
from ..traces.trace import Trace
from . import feedback
from .engine import CompiledOptions, ForkEngine

#: Questions that the kind draws; the gates ask these and more.
_DRAWN = 100


class ProgramEngine(ForkEngine):
    """An engine for programs.

    The score of an evaluation is the worst, over all calibrations, of the mean clipped outcome. Every
    answer is held to the invariants, those to questions that the kind draws too: a policy that is only
    lawful on this trace is nothing to find.

    Args:
        kind: of program form.
        traces: by split; a split that is not given is refused, which is how a holdout stays closed.
        calibrations: drawn from the fit's uncertainty.
        options: ``modules`` and ``paths`` mean nothing here.

    Raises:
        IsolationError: the isolation cannot be had.
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
        self._traces = dict(traces)
        self._calibrations = tuple(calibrations)
        self._simulator = simulator_for(kind)
        invariants = (*kind.invariants, *self._options.invariants)
        self._blocking = blocking(invariants)
        self._drawn = drawn_questions(kind, _DRAWN, self._options.seed)
        self._whole = [i for i in invariants if i.scope == "replay" and i.severity == "block"]
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _clean(self) -> Zygote:
        total_s = self._options.seconds(self._kind)
        return program_zygote(self._kind, self._options.isolation, total_s=total_s)

    def _evaluated(
        self, zygote: Zygote, source: str, split: Split, trial: Trial | None
    ) -> Evaluation:
        watch = ProgramWatch(self._kind, self._blocking)
        until = time.monotonic() + self._options.seconds(self._kind)
        with ProgramProcess(zygote, source, self._kind) as process, self._held(process):
            self._ask_drawn(process, watch)
            if watch.found:
                return self._violated(watch)
            answer = asking(process, self._kind, watch, until)
            return self._replayed(answer, watch, split, trial or Trial())

    def _ask_drawn(self, process: ProgramProcess, watch: ProgramWatch) -> None:
        """Ask what the kind draws; on a fault the incumbent would answer, so that breaks nothing."""
        for question in self._drawn if self._blocking else ():
            answer = process.ask_terms(question.terms)
            if answer.ok:
                watch(question, answer.outputs)

    def _replayed(
        self, answer: Answers, watch: ProgramWatch, split: Split, trial: Trial
    ) -> Evaluation:
        """Replay under every calibration, or until the trial ends it."""
        worst, parts = -math.inf, tuple[float, ...]()
        for index, calibration in enumerate(self._calibrations):
            seed = self._options.seed + index
            stream = self._simulator.stream(self._traces[split], calibration, seed)
            replay = drive_program(stream, answer)
            wrong = self._violated(watch) if watch.found else self._wrong(replay)
            if wrong is not None:
                return wrong
            mean, stretches = replay.mean, segments(replay, self._options.segments)
            if mean > worst:
                worst, parts = mean, stretches
            left = len(self._calibrations) - 1 - index
            if left and trial.ends(index, mean, stretches):
                return self._scored(worst, parts, left)
        return self._scored(worst, parts)

    def _violated(self, watch: ProgramWatch) -> Evaluation:
        found = watch.found[0]
        (invariant,) = (i for i in self._blocking if i.name == found.invariant)
        shown = feedback.case(found.asked._asdict(), found.answer)
        return self._broke(invariant, found.detail, f"{found.detail} {shown}")

    def _wrong(self, replay: Replay) -> Evaluation | None:
        """Return what a replay shows to be wrong; None for nothing."""
        if replay.fault >= 0:
            said = feedback.faulted(self._kind, replay.fault)
            return self._failed(Status.FAULT, f"no answer fit at decision {replay.fault}", said)
        for invariant in self._whole:
            if not invariant.holds(replay.summary()):
                return self._broke(invariant)
        if not math.isfinite(replay.mean):
            return self._failed(Status.EVALUATOR_ERROR, "the replay has no finite score")
        return None
